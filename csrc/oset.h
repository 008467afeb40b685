/* SPDX-License-Identifier: Apache-2.0 */
/* oset.h - the ordered table of a stripe: a B+tree that is changed in place by single stores.
 *
 * A node has 13 entries in no order, and one word, `order`, that lists the numbers of those that count in the order of their
 * keys (the permutation of Masstree's border nodes: Mao, Kohler, Morris, EuroSys 2012). An entry is written while the word does
 * not list it; the store of the word is the COMMIT POINT. So an insert moves nothing and copies no node:
 *   leaf:   head (8 bytes of the sort key) and slot. A slot is what it is in hset.h: nothing, a row, a pending record; it changes
 *           by one store. Slot 0 is a hole: a key made room for, or taken away. Readers pass it by, the next writer drops it.
 *   inner:  head and offset of the child; the child's `low` is the separator: no key below it is led there.
 * Entries never move inside a node, so a reader that took `order` once has the node as of that moment.
 *
 *   split  {C in P}  R := upper half of C (micro-operation, COMMIT POINT: P.order lists R); reshapes + 1, before and after; C.order := lower half.
 *                    In between both hold the upper half: readers of a range stop at the separator, in a leaf by comparing keys, above it
 *                    by noticing that the next separator lies behind them; a key that is not found
 *                    counts as absent only if `reshapes` is what it was: C may have been cut after P was read, or the entry of P used again.
 *   merge  {L, R in P}  M := both (COMMIT POINT: L's slot in P := M, L retired); P.order without R, R retired. In between
 *                    both lead to equal entries.
 *   root   grows by a node above it, and shrinks to its only child: one store of `top`.
 * Split and merge leave what is missing after their commit point in `reshape` (absolute values); oset_repair does it again.
 * A pending record knows its slot: a split tells the records of the entries it moved (before C is cut); merges wait for them.
 * Merging keeps a table that is written at one end and emptied at the other from filling up with empty nodes.
 *
 * Writers go under the one lock of the table's one stripe. Readers need no lock and are validated by the reuse epoch.
 * Readers are in oset_read.c, writers in oset_write.c; node.h is for these two. */
#ifndef TMGR_OSET_H
#define TMGR_OSET_H

#include "hset.h"
#include "sorted.h"

/* Bounds of a range, as sort keys; NULL: none. */
struct oset_range {
    const uint8_t *lo, *hi;
    size_t lo_len, hi_len;
    bool after_lo; /* lo itself is not in it */
    bool up_to_hi; /* hi itself is */
    bool reverse;  /* from the end */
    size_t rows;   /* at most so many, */
    size_t bytes;  /* and no further leaf once there are so many */
};

/* -- reading ---------------------------------------------------------------------------------------------------------- */

int oset_find(struct tmgr_table *t, struct stripe *s, const struct probe *probe, struct tmgr_buffer *out);
/* Rows of the range appended to out in its order; *n_rows more, the last of them at *last_row; *more: the range may hold others beyond the last. The keys of each
 * leaf are of one moment. OK also without any row. BUSY, NO_MEMORY, CORRUPT. */
int oset_rows(struct tmgr_table *t, struct stripe *s, const struct oset_range *range, struct tmgr_buffer *out,
              size_t *n_rows, size_t *last_row, bool *more);

/* -- writing: under the stripe's lock. As their namesakes in hset.h ------------------------------------------------------ */

int oset_locate(struct tmgr_table *t, struct stripe *s, const struct probe *probe, struct place *place);
int oset_extend(struct tmgr_table *t, struct stripe *s, const struct probe *probe, struct place *place);
/* After a removal of this key: drop holes, merge nodes that have become small. */
int oset_tidy(struct tmgr_table *t, struct stripe *s, const struct probe *probe);
int oset_tear_down(struct tmgr_table *t, struct stripe *s, uint64_t *units);
int oset_repair(struct tmgr_table *t, struct stripe *s);

/* -- for check.c -------------------------------------------------------------------------------------------------------------- */

struct node *oset_node(struct tmgr_table *t, uint64_t offset);
uint64_t oset_node_bytes(const struct node *node);
uint64_t oset_head(const struct node *node, const uint8_t *sort, size_t len);
static inline uint32_t node_level(uint64_t shape) { return shape & 0xff; }
static inline uint32_t node_skip(uint64_t shape) { return shape >> 8 & 0xffffff; }
static inline uint32_t node_low_len(uint64_t shape) { return (uint32_t)(shape >> 32); }
static inline uint32_t order_count(uint64_t order) { return order & 15; }
static inline uint32_t order_entry(uint64_t order, uint32_t rank) { return order >> (4 + 4 * rank) & 15; }

#endif
