/* SPDX-License-Identifier: Apache-2.0 */
/* bag.h - the list of rows that a slot of a bag or duplicate_bag holds.
 *
 * A list is named by the offset of its newest cell, 0 being the empty one. A cell (layout.h) is constant once published, but
 * that evacuation may point it at another copy of the same next cell:
 *   insert          a cell more, whose next is the list; the slot := the cell. Nothing is unlinked.
 *   delete, take    the slot := 0.
 *   delete_object   the slot := what follows the oldest equal row, and the rows newer than that which stay are inserted again:
 *                   as one step of a transaction, unless none stay.
 * So a slot's lists, old and new, share an end or nothing, and a reader that has loaded the slot has one of them whole.
 *
 * What a commit unlinks is a piece of a list: its cells from `start` to before `end`. A single cell is retired with the
 * commit; more go into the stripe's trash by the same micro-operation, which costs the same for any number, and bag_tidy,
 * which every writer calls for a few cells, retires them one by one. */
#ifndef TMGR_BAG_H
#define TMGR_BAG_H

#include "row.h"

/* -- a cell --------------------------------------------------------------------------------------------------------------- */

/* The offset of what follows, or 0. */
static inline word *cell_word(struct tmgr_table *t, uint64_t cell) { return (word *)at(t, cell) + 1; }
/* Before publication. */
static inline void cell_link(struct tmgr_table *t, uint64_t cell, uint64_t next) {
    store_relaxed(cell_word(t, cell), next);
}
/* The offset has been looked at. Acquire pairs with the publish of a cell that evacuation has moved. */
static inline uint64_t cell_next(const struct tmgr_table *t, uint64_t cell) {
    return load_acquire((const word *)at(t, cell) + 1);
}

/* -- reading, without a lock ------------------------------------------------------------------------------------------------- */

/* Append all rows of the list, oldest first; *n_rows more. As row_copy. */
int bag_copy(struct tmgr_table *t, const struct stripe *s, uint64_t epoch, uint64_t list, struct tmgr_buffer *out,
             size_t *n_rows);

/* -- under the stripe's lock; a list that cannot be one poisons the table: CORRUPT ---------------------------------------------- */

/* On to the next cell, or to 0; the cell is one. Too many steps: it leads in a circle. */
int bag_step(struct tmgr_table *t, uint64_t *cell, uint64_t *steps);
int bag_count(struct tmgr_table *t, uint64_t list, uint64_t *n);
/* The first cell of the list, from `cell` on, with this very row: OK, ABSENT, NO_MEMORY. */
int bag_find(struct tmgr_table *t, uint64_t cell, const uint8_t *row, size_t len, uint64_t *found);
/* The rows of a list that are this very row. */
struct bag_matches {
    uint64_t oldest, n;
    uint64_t depth; /* rows that are newer than the oldest, or are it */
};
int bag_matches(struct tmgr_table *t, uint64_t list, const uint8_t *row, size_t len, struct bag_matches *found);
/* The piece of `list` that neither `keep` nor `also` shares: from its start to before *end. Empty if *end is `list`. */
int bag_piece(struct tmgr_table *t, uint64_t list, uint64_t keep, uint64_t also, uint64_t *end);
/* Room for what bag_commit unlinks. */
int bag_make_room(struct tmgr_table *t, struct stripe *s);
/* stripe_commit, which unlinks the cells from `start` to before `end`; there is at least one. */
int bag_commit(struct tmgr_table *t, struct stripe *s, word *place, uint64_t to, int64_t rows_change, uint64_t start,
               uint64_t end);
/* Retire at most `units` cells of what is in trash; *units: what is left of them. */
int bag_tidy(struct tmgr_table *t, struct stripe *s, uint64_t *units);

#endif
