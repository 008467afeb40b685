/* SPDX-License-Identifier: Apache-2.0 */
#include "evacuate.h"
#include "hash.h"

#include <stdlib.h>

enum {
    SLABS = 256,       /* looked at together */
    MOVES_MOST = 1024, /* of rows in one call, the last slab's not counted: readers get their turn, and so do writers */
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

/* The slot that points at exactly this block; NULL if there is none. Of a list in a bag only the newest cell has one: the others
 * stay where they are, for the cells that point at them are constant. */
static word *slot_to(struct tmgr_table *t, struct stripe *s, uint64_t offset, uint64_t block_bytes) {
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
    return !(place.content & SLOT_PENDING) && slot_offset(place.content) == offset ? place.slot : NULL;
}

/* The slots of all blocks of a slab; false if one of them is no row, or not of the number that the slab says. */
static bool slots_of(struct tmgr_table *t, struct stripe *s, uint32_t class, const struct arena_slab *slab,
                     word *slots[BLOCKS_MOST]) {
    uint64_t bytes = arena_class_bytes(class), n = 0;
    for (uint64_t i = 0; i < slab->blocks; i++) {
        uint64_t offset = slab->first + i * bytes;
        if (!arena_holds(t, s, offset))
            continue;
        word *slot = n < slab->used && n < BLOCKS_MOST ? slot_to(t, s, offset, bytes) : NULL;
        if (slot == NULL)
            return false;
        slots[n++] = slot;
    }
    return n == slab->used;
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

/* The slot's row from its block, of so many bytes, to the one begun with. */
static int move(struct tmgr_table *t, struct stripe *s, word *slot, uint64_t block_bytes, uint64_t to) {
    uint64_t content = load_relaxed(slot), from = slot_offset(content), bytes;
    size_t key_len;
    if (key_in(t, from, block_bytes, &key_len, &bytes) == NULL)
        return poison(t, POISON_ROWS); /* it was one a moment ago */
    fill_racy(at(t, to), at(t, from), bytes);
    stripe_commit(t, s, slot, slot_make(slot_tag(content), to, 0), 0, arena_block_size(bytes), from,
                  arena_block_size(bytes));
    return TMGR_OK;
}

/* How far a call has come. */
struct progress {
    uint64_t want, pages, moves;
};

static bool is_enough(const struct progress *progress) {
    return progress->pages >= progress->want || progress->moves >= MOVES_MOST;
}

/* Empty slab i if its rows can go and the others have room for them. ABSENT: they have not, nor for those behind it. */
static int empty(struct tmgr_table *t, struct stripe *s, uint32_t class, struct slabs *slabs, size_t i,
                 struct progress *progress) {
    struct arena_slab *slab = &slabs->list[i];
    uint64_t elsewhere = slabs->free - free_in(slab), n = slab->used;
    word *slots[BLOCKS_MOST];
    if (elsewhere < n)
        return TMGR_ABSENT;
    if (!slots_of(t, s, class, slab, slots)) {
        slabs->pinned[slabs->n_pinned++] = (uint32_t)i;
        return TMGR_OK;
    }
    for (uint64_t j = 0; j < n; j++) {
        uint64_t to;
        int status = begin(t, s, slabs, i, &to);
        if (status == TMGR_OK)
            status = move(t, s, slots[j], arena_class_bytes(class), to);
        if (status != TMGR_OK)
            return status;
    }
    slabs->free = elsewhere - n;
    progress->moves += n;
    progress->pages += slab->pages;
    slab->pages = 0;
    return TMGR_OK;
}

/* Give back the last pages of a slab that is kept, if its rows fit into fewer. Its rows go to its first blocks. */
static int shorten(struct tmgr_table *t, struct stripe *s, uint32_t class, struct arena_slab *slab,
                   struct progress *progress) {
    uint64_t bytes = arena_class_bytes(class), n = 0, to;
    uint32_t pages = arena_pages_for(class, slab->used);
    word *slots[BLOCKS_MOST];
    for (uint64_t i = slab->blocks; pages < slab->pages && i-- > pages * PAGE_BYTES / bytes;) {
        if (!arena_holds(t, s, slab->first + i * bytes))
            continue;
        word *slot = n < BLOCKS_MOST ? slot_to(t, s, slab->first + i * bytes, bytes) : NULL;
        if (slot != NULL)
            slots[n++] = slot;
        else
            pages = arena_pages_for(class, i + 1); /* this one stays, and all before it */
    }
    if (slab->used == 0 || pages >= slab->pages)
        return TMGR_OK;
    for (uint64_t j = 0; j < n; j++) {
        uint64_t from = slot_offset(load_relaxed(slots[j]));
        if ((from - slab->first) / bytes < pages * PAGE_BYTES / bytes)
            break; /* they come from the end on */
        int status = stripe_make_room(t, s);
        if (status == TMGR_OK)
            status = stripe_begin_in(t, s, slab->first, &to);
        if (status == TMGR_OK)
            status = move(t, s, slots[j], bytes, to);
        if (status != TMGR_OK)
            return status;
        progress->moves++;
    }
    int status = stripe_flush(t, s);
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

int evacuate(struct tmgr_table *t, struct stripe *s, uint64_t want, uint64_t *pages) {
    struct progress progress = {.want = want};
    int status = TMGR_OK;
    for (uint32_t class = 0; class < N_CLASSES && status == TMGR_OK && !is_enough(&progress); class ++)
        status = evacuate_class(t, s, class, &progress);
    *pages = progress.pages;
    if (status == TMGR_OK && progress.moves > 0)
        status = stripe_flush(t, s);
    return status == TMGR_OK ? arena_trim(t, s) : status;
}
