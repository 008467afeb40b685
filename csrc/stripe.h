/* SPDX-License-Identifier: Apache-2.0 */
/* stripe.h - the micro-operation, by which everything in a stripe changes, and the quarantine of what it replaces.
 *
 * Micro-operation (the caller holds the stripe's lock; every store is a publish, so a kill leaves a prefix):
 *   1. stripe_begin      op := ALLOC; a block is taken, its offset standing in new_block before its used bit is set.
 *   2. the caller fills the block; nobody can reach it.
 *   3. stripe_commit     at, to, rows_after, bytes_after, old_block, tail_before; op := ARMED.
 *   4.                   COMMIT POINT: the word at `at` := to.
 *   5.                   rows, bytes, ring[tail_before] := old_block, tail, likewise trash, op := IDLE.
 * Without a new block it starts at 3. Killed in 1-3: the repair frees new_block. Killed after 4: it does 5 again.
 * Readers see the word before or after 4.
 *
 * Quarantine (the reuse epoch). A block unlinked while the epoch is g is rewritten only when it is g + 2 or more; a reader
 * that saw the epoch move by at most one has read no rewritten block (proof: README.md). A read is thus repeated only
 * when a whole generation was retired meanwhile. */
#ifndef TMGR_STRIPE_H
#define TMGR_STRIPE_H

#include "arena.h"

/* Room in the ring for one more block, the epoch advanced if it is time. Before every micro-operation that retires. */
int stripe_make_room(struct tmgr_table *t, struct stripe *s);
/* Advance the epoch now and free what has been in quarantine long enough. */
int stripe_advance(struct tmgr_table *t, struct stripe *s);
/* Everything out of quarantine: readers that are under way start again. */
int stripe_flush(struct tmgr_table *t, struct stripe *s);

int stripe_begin(struct tmgr_table *t, struct stripe *s, uint64_t bytes, uint64_t *offset);
/* The same with a block of the slab at `first`; ABSENT if it has none. */
int stripe_begin_in(struct tmgr_table *t, struct stripe *s, uint64_t first, uint64_t *offset);
/* `to` differs from what the word at `place` holds. old_block (0: none): offset | BLOCK_EXTENTS. */
void stripe_commit(struct tmgr_table *t, struct stripe *s, word *place, uint64_t to, int64_t rows_change,
                   uint64_t new_bytes, uint64_t old_block, uint64_t old_bytes);
/* The same, where what it unlinks is a piece of a list: the cells from `start` to before `end`. It goes into trash, where
 * bag_make_room has made room for it; its bytes count on until its cells are retired one by one. */
void stripe_commit_piece(struct tmgr_table *t, struct stripe *s, word *place, uint64_t to, int64_t rows_change,
                         uint64_t start, uint64_t end);
/* Undo stripe_begin. */
int stripe_abandon(struct tmgr_table *t, struct stripe *s);
/* At rest, as it must be found when its lock is taken and it is not dirty. */
bool stripe_is_idle(const struct stripe *s);
/* After a death: finish or undo the micro-operation and the drain under way. */
int stripe_finish(struct tmgr_table *t, struct stripe *s);
/* Free a block with all that belongs to it, past its quarantine. */
int stripe_free(struct tmgr_table *t, struct stripe *s, uint64_t block);

/* The list of a large row's runs; NULL if damaged. */
const struct extents *extents_at(struct tmgr_table *t, uint64_t offset);
/* Bytes of the block in which it stands, the key included; 0 for NULL. */
static inline uint64_t extents_bytes(const struct tmgr_table *t, const struct extents *parts) {
    return parts != NULL
               ? t->row_start + sizeof *parts + 8 * load_relaxed(&parts->capacity) + load_relaxed(&parts->key_len)
               : 0;
}

#define BLOCK_EXTENTS UINT64_C(1) /* in ring, old_block and new_block: the block is a row with extents */

#endif
