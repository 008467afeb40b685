/* SPDX-License-Identifier: Apache-2.0 */
#include "evacuate.h"
#include "bag.h"
#include "hash.h"

#include <stdlib.h>

enum {
    SLABS = 256,       /* looked at together */
    MOVES_MOST = 1024, /* of rows in one call, the last slab's not counted: readers get their turn, and so do writers */
    STEPS_MOST = 128 * 1024, /* along lists in one call, to know what points at rows; then only newest rows are moved */
    RETIRED_LEAST = 64,      /* blocks, and one more for 16 rows: then the stripe has changed */
    BLOCKS_MOST = 8 * PAGE_BYTES / UNIT_BYTES /* in a slab */
};

/* The listed slabs of one class, the emptiest first. */
struct slabs {
    struct arena_slab list[SLABS];
    size_t n;
    size_t back;            /* the fullest slab that may have a free block */
    uint32_t pinned[SLABS]; /* slabs that cannot be emptied */
    size_t n_pinned;
    uint64_t free; /* blocks, in slabs that are kept */
};

static uint32_t free_in(const struct arena_slab *slab) { return slab->blocks - slab->used; }

static int by_use(const void *left, const void *right) {
    const struct arena_slab *a = left, *b = right;
    uint64_t x = (uint64_t)a->used * b->blocks, y = (uint64_t)b->used * a->blocks;
    return (x > y) - (x < y);
}

/* -- is it a row? -------------------------------------------------------------------------------------------------------- */

/* The key of what may be a row in a block of so many bytes, and how many of them the row takes; NULL if it is none. */
static const uint8_t *key_in(struct tmgr_table *t, uint64_t offset, uint64_t block_bytes, size_t *len,
                             uint64_t *bytes) {
    uint64_t head = load_relaxed((word *)at(t, offset));
    if (head & ROW_EXTENTS) {
        const struct extents *parts = extents_at(t, offset);
        *bytes = extents_bytes(t, parts);
        if (parts == NULL || *bytes > block_bytes)
            return NULL;
        *len = load_relaxed(&parts->key_len);
        return (const uint8_t *)&parts->at[load_relaxed(&parts->capacity)];
    }
    struct term_span key;
    *bytes = t->row_start + (head & ROW_LEN_MASK);
    if (*bytes > block_bytes || !term_key_of(at(t, offset + t->row_start), head & ROW_LEN_MASK, t->keypos, &key))
        return NULL;
    *len = key.len;
    return (const uint8_t *)at(t, offset + t->row_start) + key.offset;
}

/* The slot of the key of what may be a row in this block; NULL if there is none. */
static word *slot_of(struct tmgr_table *t, struct stripe *s, uint64_t offset, uint64_t block_bytes) {
    struct probe probe = {NULL, 0, 0};
    struct place place;
    uint64_t bytes;
    probe.key = key_in(t, offset, block_bytes, &probe.len, &bytes);
    if (probe.key == NULL || probe.len == 0 || probe.len > TMGR_KEY_MAX)
        return NULL;
    probe.hash = t->ordered ? 0 : hash_bytes(probe.key, probe.len, t->hash_seed);
    if (row_hash(t, offset) != (uint32_t)probe.hash || stripe_of_hash(t, probe.hash) != s ||
        index_locate(t, s, &probe, &place) != TMGR_OK)
        return NULL;
    return !(place.content & SLOT_PENDING) ? place.slot : NULL;
}

/* A slab that is to be emptied, or part of it, and what points at its rows, by the numbers of their blocks: the slot, or in a bag
 * the second word of the next newer cell. */
struct rows {
    uint64_t first, block_bytes, blocks;
    uint64_t from, n; /* all used blocks from this one on, so many, hold rows */
    word *pointer[BLOCKS_MOST];
};

/* Whether a slot or a cell's second word points at this row. */
static bool leads_to(const word *pointer, uint64_t offset) {
    uint64_t content = load_relaxed(pointer);
    return content == offset || slot_offset(content) == offset;
}

/* The slots of what is in a slab, from its last block down to number `least` or to one that is used and has none. */
static void find_slots(struct tmgr_table *t, struct stripe *s, uint32_t class, const struct arena_slab *slab,
                       uint64_t least, struct rows *rows) {
    rows->first = slab->first;
    rows->block_bytes = arena_class_bytes(class);
    rows->blocks = slab->blocks < BLOCKS_MOST ? slab->blocks : BLOCKS_MOST;
    rows->n = 0;
    memset(rows->pointer, 0, rows->blocks * sizeof *rows->pointer);
    for (rows->from = rows->blocks; rows->from > least; rows->from--) {
        uint64_t i = rows->from - 1, offset = rows->first + i * rows->block_bytes;
        if (!arena_holds(t, s, offset))
            continue;
        rows->pointer[i] = slot_of(t, s, offset, rows->block_bytes);
        if (rows->pointer[i] == NULL)
            break;
        rows->n++;
    }
}

/* What points at this row is `pointer`. */
static void note(struct rows *rows, uint64_t offset, word *pointer) {
    uint64_t i = (offset - rows->first) / rows->block_bytes;
    if (i < rows->blocks && offset == rows->first + i * rows->block_bytes)
        rows->pointer[i] = pointer;
}

/* Note what points at the rows of a list, all but the newest. */
static int walk(struct tmgr_table *t, struct rows *rows, const word *slot, uint64_t *steps) {
    uint64_t row = slot_offset(load_relaxed(slot)), done = 0;
    int status = TMGR_OK;
    while (row != 0 && *steps > 0 && status == TMGR_OK) {
        word *pointer = cell_word(t, row);
        status = bag_step(t, &row, &done);
        note(rows, row, pointer);
        --*steps;
    }
    return status;
}

/* After find_slots: what points at the rows themselves, which is a slot only where a row is its key's newest. In at most so many
 * steps along lists; *steps: what is left of them. */
static int find_pointers(struct tmgr_table *t, struct rows *rows, uint64_t *steps) {
    int status = TMGR_OK;
    for (uint64_t i = rows->blocks; i-- > rows->from && status == TMGR_OK;) {
        uint64_t offset = rows->first + i * rows->block_bytes;
        if (rows->pointer[i] == NULL || leads_to(rows->pointer[i], offset))
            continue;
        status = walk(t, rows, rows->pointer[i], steps);
        if (!leads_to(rows->pointer[i], offset))
            rows->from = i + 1; /* no row any more, or too far down its list */
    }
    return status;
}

/* -- moving ---------------------------------------------------------------------------------------------------------------- */

/* The slab that gets the next row: one that is kept anyway, else the fullest. NULL: there is none behind number i. */
static struct arena_slab *target(struct slabs *slabs, size_t i) {
    for (; slabs->n_pinned > 0; slabs->n_pinned--) {
        struct arena_slab *slab = &slabs->list[slabs->pinned[slabs->n_pinned - 1]];
        if (free_in(slab) > 0)
            return slab;
    }
    for (; slabs->back > i; slabs->back--)
        if (free_in(&slabs->list[slabs->back]) > 0)
            return &slabs->list[slabs->back];
    return NULL;
}

/* A micro-operation begun, with a block of a slab other than number i. ABSENT: there is none. */
static int begin(struct tmgr_table *t, struct stripe *s, struct slabs *slabs, size_t i, uint64_t *to) {
    int status = stripe_make_room(t, s);
    if (status != TMGR_OK)
        return status;
    for (status = TMGR_ABSENT; status == TMGR_ABSENT;) {
        struct arena_slab *slab = target(slabs, i);
        if (slab == NULL)
            break;
        status = stripe_begin_in(t, s, slab->first, to);
        slab->used = status == TMGR_OK ? slab->used + 1 : slab->blocks;
    }
    return status;
}

/* Row number i of a slab from its block to the one begun with. */
static int move(struct tmgr_table *t, struct stripe *s, struct rows *rows, uint64_t i, uint64_t to) {
    uint64_t from = rows->first + i * rows->block_bytes, bytes;
    word *pointer = rows->pointer[i];
    uint64_t content = load_relaxed(pointer); /* a cell's word is the offset itself */
    size_t key_len;
    if (key_in(t, from, rows->block_bytes, &key_len, &bytes) == NULL)
        return poison(t, POISON_ROWS); /* it was one a moment ago */
    fill_racy(at(t, to), at(t, from), bytes);
    stripe_commit(t, s, pointer, content == from ? to : slot_make(slot_tag(content), to, 0), 0, arena_block_size(bytes),
                  from, arena_block_size(bytes));
    if (t->bag)
        note(rows, cell_next(t, to), cell_word(t, to));
    return TMGR_OK;
}

/* How far a call has come. */
struct progress {
    uint64_t want, pages, moves;
    uint64_t steps; /* that are left, along lists */
};

static bool is_enough(const struct progress *progress) {
    return progress->pages >= progress->want || progress->moves >= MOVES_MOST;
}

/* Empty slab i if its rows can go and the others have room for them. ABSENT: they have not, nor for those behind it. */
static int empty(struct tmgr_table *t, struct stripe *s, uint32_t class, struct slabs *slabs, size_t i,
                 struct progress *progress) {
    struct arena_slab *slab = &slabs->list[i];
    uint64_t elsewhere = slabs->free - free_in(slab), to;
    struct rows rows;
    int status = TMGR_OK;
    if (elsewhere < slab->used)
        return TMGR_ABSENT;
    find_slots(t, s, class, slab, 0, &rows);
    bool are_rows = rows.from == 0 && rows.n == slab->used; /* the number that the slab says */
    if (are_rows)
        status = find_pointers(t, &rows, &progress->steps);
    if (status != TMGR_OK)
        return status;
    if (!are_rows || rows.from > 0) {
        slabs->pinned[slabs->n_pinned++] = (uint32_t)i;
        return TMGR_OK;
    }
    for (uint64_t j = 0; j < rows.blocks; j++) {
        if (rows.pointer[j] == NULL)
            continue;
        status = begin(t, s, slabs, i, &to);
        if (status == TMGR_OK)
            status = move(t, s, &rows, j, to);
        if (status != TMGR_OK)
            return status;
    }
    slabs->free = elsewhere - rows.n;
    progress->moves += rows.n;
    progress->pages += slab->pages;
    slab->pages = 0;
    return TMGR_OK;
}

/* Give back the last pages of a slab that is kept, if its rows fit into fewer. Its rows go to its first blocks. */
static int shorten(struct tmgr_table *t, struct stripe *s, uint32_t class, struct arena_slab *slab,
                   struct progress *progress) {
    uint64_t bytes = arena_class_bytes(class), least, to;
    uint32_t pages = arena_pages_for(class, slab->used);
    struct rows rows;
    if (slab->used == 0 || pages >= slab->pages)
        return TMGR_OK;
    least = pages * PAGE_BYTES / bytes;
    find_slots(t, s, class, slab, least, &rows);
    int status = find_pointers(t, &rows, &progress->steps);
    if (rows.from > least)
        pages = arena_pages_for(class, rows.from); /* the one before it stays, and all before that */
    if (status != TMGR_OK || pages >= slab->pages)
        return status;
    for (uint64_t i = rows.blocks; i-- > pages * PAGE_BYTES / bytes;) {
        if (rows.pointer[i] == NULL)
            continue;
        status = stripe_make_room(t, s);
        if (status == TMGR_OK)
            status = stripe_begin_in(t, s, slab->first, &to);
        if (status == TMGR_OK)
            status = move(t, s, &rows, i, to);
        if (status != TMGR_OK)
            return status;
        progress->moves++;
    }
    status = stripe_flush(t, s);
    if (status == TMGR_OK)
        status = arena_shrink(t, s, slab->first, pages);
    if (status == TMGR_OK)
        progress->pages += slab->pages - pages;
    return status;
}

static int evacuate_class(struct tmgr_table *t, struct stripe *s, uint32_t class, struct progress *progress) {
    uint64_t cursor = 0, looked = 0;
    struct slabs slabs;
    if (load_relaxed(&s->partial[class]) == 0)
        return TMGR_OK;
    do {
        int status = arena_slabs(t, s, class, &cursor, slabs.list, SLABS, &slabs.n);
        if (status != TMGR_OK)
            return status;
        if (looked > reachable_bytes(t) / PAGE_BYTES)
            return poison(t, POISON_PAGES); /* a list that leads in a circle */
        looked += slabs.n;
        slabs.n_pinned = slabs.free = 0;
        for (size_t i = 0; i < slabs.n; i++)
            slabs.free += free_in(&slabs.list[i]);
        qsort(slabs.list, slabs.n, sizeof *slabs.list, by_use);
        slabs.back = slabs.n > 0 ? slabs.n - 1 : 0;
        for (size_t i = 0; i < slabs.n && status == TMGR_OK && !is_enough(progress); i++)
            status = empty(t, s, class, &slabs, i, progress);
        for (size_t i = 0; i < slabs.n && (status == TMGR_OK || status == TMGR_ABSENT) && !is_enough(progress); i++)
            status = shorten(t, s, class, &slabs.list[i], progress);
        if (status != TMGR_OK && status != TMGR_ABSENT)
            return status;
    } while (cursor != 0 && !is_enough(progress));
    return TMGR_OK;
}

/* Steps along lists are not taken again where they gained nothing, by this handle, before the stripe has changed. */
static bool may_walk(const struct tmgr_table *t, const struct stripe *s) {
    uint64_t in_vain = t->walked_in_vain[stripe_number(t, s)];
    return t->bag &&
           (in_vain == 0 || load_relaxed(&s->tail) - in_vain >= RETIRED_LEAST + load_relaxed(&s->rows[0]) / 16);
}

int evacuate(struct tmgr_table *t, struct stripe *s, uint64_t want, uint64_t *steps, uint64_t *pages) {
    uint64_t most = !may_walk(t, s) ? 0 : *steps < STEPS_MOST ? *steps : STEPS_MOST;
    struct progress progress = {.want = want, .steps = most};
    int status = TMGR_OK;
    for (uint32_t class = 0; class < N_CLASSES && status == TMGR_OK && !is_enough(&progress); class ++)
        status = evacuate_class(t, s, class, &progress);
    if (most > 0)
        t->walked_in_vain[stripe_number(t, s)] =
            progress.pages == 0 && progress.steps < most ? load_relaxed(&s->tail) : 0;
    *steps -= most - progress.steps;
    *pages = progress.pages;
    if (status == TMGR_OK && progress.moves > 0)
        status = stripe_flush(t, s);
    return status == TMGR_OK ? arena_trim(t, s) : status;
}
