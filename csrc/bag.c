/* SPDX-License-Identifier: Apache-2.0 */
#include "bag.h"

#include <stdlib.h>

/* Cells that a list may have before it must lead in a circle. */
static uint64_t most_cells(const struct tmgr_table *t) { return reachable_bytes(t) / UNIT_BYTES; }

static bool is_cell(const struct tmgr_table *t, uint64_t offset) { return offset_is_valid(t, offset, CELL_ROW_START); }

/* -- reading -------------------------------------------------------------------------------------------------------------- */

enum { CELLS_INLINE = 64 };

struct cells {
    uint64_t *list;
    size_t n, capacity;
    uint64_t first[CELLS_INLINE];
};

static bool cells_grow(struct cells *cells) {
    uint64_t *bigger = malloc(2 * cells->capacity * sizeof *bigger);
    if (bigger == NULL)
        return false;
    memcpy(bigger, cells->list, cells->n * sizeof *bigger);
    if (cells->list != cells->first)
        free(cells->list);
    cells->list = bigger;
    cells->capacity *= 2;
    return true;
}

static int collect(struct tmgr_table *t, const struct stripe *s, uint64_t epoch, uint64_t list, struct cells *cells) {
    uint64_t most = most_cells(t);
    for (; list != 0; list = cell_next(t, list)) {
        if (!is_cell(t, list) || cells->n > most)
            return TMGR_BUSY;
        if (cells->n == cells->capacity) {
            fence_acquire();
            if (s != NULL && load_relaxed(&s->epoch) - epoch > 1)
                return TMGR_BUSY; /* before memory is taken for what may be no list any more */
            if (!cells_grow(cells))
                return TMGR_NO_MEMORY;
        }
        cells->list[cells->n++] = list;
    }
    return TMGR_OK;
}

int bag_copy(struct tmgr_table *t, const struct stripe *s, uint64_t epoch, uint64_t list, struct tmgr_buffer *out,
             size_t *n_rows) {
    struct cells cells = {.list = cells.first, .n = 0, .capacity = CELLS_INLINE};
    int status = collect(t, s, epoch, list, &cells);
    for (size_t i = cells.n; i > 0 && status == TMGR_OK; i--)
        status = row_copy(t, s, epoch, cells.list[i - 1], out);
    *n_rows += status == TMGR_OK ? cells.n : 0;
    if (cells.list != cells.first)
        free(cells.list);
    return status;
}

/* -- walking ---------------------------------------------------------------------------------------------------------------- */

int bag_step(struct tmgr_table *t, uint64_t *cell, uint64_t *steps) {
    uint64_t next = cell_next(t, *cell);
    if ((next != 0 && !is_cell(t, next)) || ++*steps > most_cells(t))
        return poison(t, POISON_ROWS);
    *cell = next;
    return TMGR_OK;
}

static int start_at(struct tmgr_table *t, uint64_t list) {
    return list == 0 || is_cell(t, list) ? TMGR_OK : poison(t, POISON_ROWS);
}

int bag_count(struct tmgr_table *t, uint64_t list, uint64_t *n) {
    int status = start_at(t, list);
    for (*n = 0; list != 0 && status == TMGR_OK;)
        status = bag_step(t, &list, n);
    return status;
}

int bag_find(struct tmgr_table *t, uint64_t cell, const uint8_t *row, size_t len, uint64_t *found) {
    uint64_t steps = 0;
    int status = start_at(t, cell);
    while (cell != 0 && status == TMGR_OK) {
        *found = cell;
        status = row_is(t, cell, row, len);
        if (status != TMGR_ABSENT)
            return status;
        status = bag_step(t, &cell, &steps);
    }
    return status == TMGR_OK ? TMGR_ABSENT : status;
}

int bag_matches(struct tmgr_table *t, uint64_t list, const uint8_t *row, size_t len, struct bag_matches *found) {
    uint64_t steps = 0;
    int status = start_at(t, list);
    *found = (struct bag_matches){0, 0, 0};
    while (list != 0 && status == TMGR_OK) {
        status = row_is(t, list, row, len);
        if (status == TMGR_OK)
            *found = (struct bag_matches){list, found->n + 1, steps + 1};
        if (status == TMGR_OK || status == TMGR_ABSENT)
            status = bag_step(t, &list, &steps);
    }
    return status == TMGR_OK && found->n == 0 ? TMGR_ABSENT : status;
}

/* Where two lists come together; 0: nowhere. What was only added to is found after the cells that were added. */
static int joint_of(struct tmgr_table *t, uint64_t a, uint64_t b, uint64_t *joint) {
    uint64_t x = a, y = b, a_cells = 0, b_cells = 0;
    int status = start_at(t, a);
    *joint = 0;
    if (status == TMGR_OK)
        status = start_at(t, b);
    if (a == 0 || b == 0)
        return status;
    while ((x != 0 || y != 0) && status == TMGR_OK) {
        if (x == b || y == a) {
            *joint = x == b ? b : a;
            return TMGR_OK;
        }
        if (x != 0)
            status = bag_step(t, &x, &a_cells);
        if (y != 0 && status == TMGR_OK)
            status = bag_step(t, &y, &b_cells);
    }
    uint64_t x_steps = 0, y_steps = 0;
    for (x = a; a_cells > b_cells && status == TMGR_OK; a_cells--)
        status = bag_step(t, &x, &x_steps);
    for (y = b; b_cells > a_cells && status == TMGR_OK; b_cells--)
        status = bag_step(t, &y, &y_steps);
    while (x != y && status == TMGR_OK) { /* as many cells are left of both: they meet, at the latest in 0 */
        status = bag_step(t, &x, &x_steps);
        if (status == TMGR_OK)
            status = bag_step(t, &y, &y_steps);
    }
    *joint = x;
    return status;
}

int bag_piece(struct tmgr_table *t, uint64_t list, uint64_t keep, uint64_t also, uint64_t *end) {
    uint64_t second, steps = 0;
    int status = joint_of(t, list, keep, end);
    if (status == TMGR_OK)
        status = joint_of(t, list, also, &second);
    if (status != TMGR_OK || second == 0)
        return status;
    if (*end == 0) {
        *end = second;
        return TMGR_OK;
    }
    for (uint64_t cell = list; status == TMGR_OK; status = bag_step(t, &cell, &steps))
        if (cell == *end || cell == second) {
            *end = cell;
            break;
        }
    return status;
}

/* -- unlinking ---------------------------------------------------------------------------------------------------------------- */

int bag_tidy(struct tmgr_table *t, struct stripe *s, uint64_t *units) {
    uint64_t head, steps = 0;
    for (; *units > 0 && (head = load_relaxed(&s->trash_head)) != load_relaxed(&s->trash_tail); (*units)--) {
        word *start = &s->trash[head % TRASH_ENTRIES].start;
        uint64_t cell = load_relaxed(start), next = cell, bytes;
        if (cell == load_relaxed(&s->trash[head % TRASH_ENTRIES].end)) {
            publish(&s->trash_head, head + 1);
            continue;
        }
        int status = cell != 0 && is_cell(t, cell) ? bag_step(t, &next, &steps) : poison(t, POISON_ROWS);
        if (status == TMGR_OK)
            status = stripe_make_room(t, s);
        if (status != TMGR_OK)
            return status;
        uint64_t block = row_block(t, cell, &bytes);
        stripe_commit(t, s, start, next, 0, 0, block, bytes);
    }
    return TMGR_OK;
}

int bag_make_room(struct tmgr_table *t, struct stripe *s) {
    int status = TMGR_OK;
    for (uint64_t units = 1;
         status == TMGR_OK && load_relaxed(&s->trash_tail) - load_relaxed(&s->trash_head) >= TRASH_ENTRIES; units = 1)
        status = bag_tidy(t, s, &units);
    return status == TMGR_OK ? stripe_make_room(t, s) : status;
}

int bag_commit(struct tmgr_table *t, struct stripe *s, word *place, uint64_t to, int64_t rows_change, uint64_t start,
               uint64_t end) {
    uint64_t next = start, bytes, steps = 0;
    int status = start != 0 && is_cell(t, start) ? bag_step(t, &next, &steps) : poison(t, POISON_ROWS);
    if (status != TMGR_OK)
        return status;
    if (next == end) {
        uint64_t block = row_block(t, start, &bytes);
        stripe_commit(t, s, place, to, rows_change, 0, block, bytes);
    } else {
        stripe_commit_piece(t, s, place, to, rows_change, start, end);
    }
    return TMGR_OK;
}
