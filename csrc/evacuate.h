/* SPDX-License-Identifier: Apache-2.0 */
/* evacuate.h - makes whole free pages of the blocks that deleted rows left behind.
 *
 * Only for a write that found no memory. Pages belong to a stripe and a size class until all their blocks are free; after
 * many deletes every slab may have some free blocks and none be empty. Here the rows of the emptiest slabs are moved into
 * free blocks of the fullest ones of the same class and stripe, and the emptied slabs give their pages back to everybody.
 *
 * A move is an update that writes the same bytes: one micro-operation per row (take a block of a chosen slab, copy,
 * COMMIT POINT: what points at the row := the new offset; the old block retired), so a reader sees the row at its old or its new
 * place, a death leaves it at one of them, and the repair knows nothing of evacuation. Counts of rows and bytes stay as they are.
 * What points at a row is its slot, or in a bag the next newer cell of its list. A copy of a cell that was retired itself goes on
 * pointing at the old copy of the next, which is retired no earlier: a reader that may still be at the one may be at the other.
 *
 * A block is moved only if it is shown to be a row: its key, read with bounds, is found in this stripe and its slot, or the list
 * that it holds, leads to exactly this block. Of a row with extents the list moves and the runs stay. Slabs with anything else in them (buckets, nodes,
 * logs) are kept, and filled up first. */
#ifndef TMGR_EVACUATE_H
#define TMGR_EVACUATE_H

#include "index.h"

enum { SEARCH_STEPS = 256 * 1024 }; /* along lists, in one search for memory */

/* Under the lock of s, which has no to-do work and nothing in quarantine: empty slabs of up to about `want` pages, within
 * about a millisecond, and what up to *steps steps along lists take; *steps: what is left of them. *pages: how many came free.
 * What cannot be compacted costs a look at the counts of listed slabs. OK or CORRUPT. */
int evacuate(struct tmgr_table *t, struct stripe *s, uint64_t want, uint64_t *steps, uint64_t *pages);

#endif
