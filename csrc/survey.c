/* SPDX-License-Identifier: Apache-2.0 */
#include "survey.h"

#include <stdlib.h>

enum {
    LEAST_ROWS = 64,
    ENTRIES_PER_ROW_MOST = 16,     /* of the page map: looking at so many takes as long as following a slot */
    BYTES_MOST = 64 * 1024 * 1024, /* of a stripe: some ten milliseconds */
    PASSING_FREE = 64,             /* rows that may pass, */
    PASSING_PART = 16,             /* and one in so many besides, before the buckets are the better way */
    FETCH_AHEAD = 4096             /* bytes */
};

/* A survey under way. */
struct surveyor {
    struct tmgr_table *t;
    const struct filter *filter;
    uint64_t bytes; /* published */
    uint64_t *marks;
    uint32_t shift;
    uint64_t seen, passed;
};

bool survey_rejects_on_second_look(struct tmgr_table *t, uint64_t offset, uint64_t head, const struct filter *filter) {
    uint8_t bytes[LOOKED_AT];
    size_t len = head & ROW_LEN_MASK, have = len < LOOKED_AT ? len : LOOKED_AT;
    if (!offset_is_valid(t, offset, ROW_START + LOOKED_AT))
        return false;
    copy_racy_words(bytes, at(t, offset + ROW_START), have);
    return filter_look(filter, bytes, have) == FILTER_REJECTS;
}

static inline uint8_t byte_of(const word *words, size_t i) {
    return (uint8_t)(load_relaxed(&words[i / 8]) >> i % 8 * 8);
}

/* Can a block of `room` bytes be a row, by its beginning? Buckets and logs are blocks, too. */
static inline bool may_be_row(const uint8_t *base, uint64_t offset, uint64_t head, uint64_t room) {
    const word *row = (const word *)(const void *)(base + offset + ROW_START);
    uint64_t len = head & ROW_LEN_MASK;
    if (head & ROW_EXTENTS) {
        const struct extents *parts = (const void *)row;
        uint64_t capacity = load_relaxed(&parts->capacity), key_len = load_relaxed(&parts->key_len);
        return capacity <= room && key_len <= room &&
               ROW_START + sizeof *parts + capacity * sizeof(word) + key_len <= room;
    }
    uint8_t first = (uint8_t)load_relaxed(row);
    return len + ROW_START <= room && ((first & 0xf0) == 0x90 || first == 0xdc || first == 0xdd);
}

/* Does the filter's first test reject the row's bytes, where they stand? As filter_rejects_at_once. A row with as many elements as
 * it should have has the one that is looked at, so its length need not be known. */
static inline bool rejects_at_once(const word *row, const struct filter *filter) {
    size_t at = 1;
    if (!filter->is_quick || (uint8_t)load_relaxed(row) != filter->header)
        return false;
    for (uint32_t left = filter->tests[0].position; left > 0; left--) {
        size_t step = filter_plain_len[byte_of(row, at)];
        at += step;
        if (step == 0 || at >= FIRST_LOOK)
            return false;
    }
    uint8_t first = byte_of(row, at);
    return first < 0x80 && (filter->passes[first >> 6] >> (first & 63) & 1) == 0;
}

/* Note the block's position if it may be a row that passes. */
static void look_closer(struct surveyor *v, uint64_t offset, uint64_t room) {
    const uint8_t *base = v->t->base;
    uint64_t head = load_relaxed((const word *)(const void *)(base + offset));
    if (!may_be_row(base, offset, head, room))
        return;
    enum filter_verdict verdict = survey_look(base, offset, head, v->filter);
    if (verdict == FILTER_REJECTS ||
        (verdict == FILTER_WANTS_MORE && survey_rejects_on_second_look(v->t, offset, head, v->filter)))
        return;
    uint64_t cell = position_of_hash(head >> 32) >> v->shift;
    v->marks[cell / 64] |= UINT64_C(1) << cell % 64;
    v->passed++;
}

/* The blocks that begin in some pages; false: give up. */
static bool look_at_blocks(struct surveyor *v, const struct chunk *chunk, uint64_t chunk_offset, uint32_t page,
                           uint32_t pages, uint32_t class) {
    uint64_t room = class < N_CLASSES ? arena_class_bytes(class) : RUN_BYTES_MAX;
    const uint8_t *place = v->t->base + chunk_offset + (uint64_t)page * PAGE_BYTES;
    const uint8_t *last = v->t->base + v->bytes - ROW_START - FIRST_LOOK;
    for (const word *used = &chunk->used[page * 4], *end = used + pages * 4; used < end;
         used++, place += 64 * UNIT_BYTES)
        for (uint64_t bits = load_relaxed(used); bits != 0; bits &= bits - 1) { /* a page's used bits are four words */
            const uint8_t *block = place + (size_t)__builtin_ctzll(bits) * UNIT_BYTES;
            if (block > last)
                return false;
            __builtin_prefetch(block + FETCH_AHEAD);
            __builtin_prefetch(block + FETCH_AHEAD + ROW_START + FIRST_LOOK - 1);
            const word *words = (const word *)(const void *)block;
            v->seen++;
            if (!rejects_at_once(words + 1, v->filter) || load_relaxed(words) & ROW_EXTENTS)
                look_closer(v, offset_of(v->t, block), room);
        }
    return v->passed <= PASSING_FREE + v->seen / PASSING_PART;
}

static bool look_at_chunk(struct surveyor *v, uint64_t offset, uint64_t owner) {
    const struct chunk *chunk = at(v->t, offset);
    uint64_t available = (v->bytes - offset) / PAGE_BYTES;
    uint32_t end = available < CHUNK_PAGES ? (uint32_t)available : CHUNK_PAGES;
    for (uint32_t page = CHUNK_HEADER_PAGES, pages; page < end; page += pages) {
        uint64_t entry = load_relaxed(&chunk->map[page]);
        pages = entry_distance(entry) == 0 ? entry_pages(entry) : 1;
        pages = pages == 0 ? 1 : pages < end - page ? pages : end - page;
        if (entry_owner(entry) == owner && !look_at_blocks(v, chunk, offset, page, pages, entry_class(entry)))
            return false;
    }
    return true;
}

void survey_make(struct tmgr_table *t, struct stripe *s, const struct hset_view *view, const struct filter *filter,
                 struct survey *survey) {
    struct surveyor v = {.t = t, .filter = filter, .bytes = load_acquire(&t->control->size)};
    uint64_t rows = load_relaxed(&s->rows[0]), cells = 128; /* some two for each bucket */
    *survey = (struct survey){NULL, 0};
    if (v.bytes > t->mapped) /* a row may lie where this handle does not reach: the next call maps more */
        return;
    if (rows < LEAST_ROWS || load_relaxed(&s->bytes) > BYTES_MOST || v.bytes / PAGE_BYTES > rows * ENTRIES_PER_ROW_MOST)
        return;
    v.shift = 32 - 7;
    for (; cells < 2 * view->n_buckets; cells *= 2)
        v.shift--;
    v.marks = calloc(cells / 64, sizeof *v.marks);
    if (v.marks == NULL)
        return;
    bool done = true;
    for (uint64_t offset = t->arena; done && offset + sizeof(struct chunk) < v.bytes; offset += CHUNK_BYTES)
        done = look_at_chunk(&v, offset, stripe_number(t, s) + 1);

    fence_acquire(); /* as in hset_view_holds: who saw a block that was touched sees the epoch */
    if (done && load_relaxed(&s->epoch) - view->epoch <= 1)
        *survey = (struct survey){v.marks, v.shift};
    else
        free(v.marks);
}

void survey_free(struct survey *survey) {
    free(survey->marks);
    survey->marks = NULL;
}

uint64_t survey_next(const struct survey *survey, uint64_t position) {
    if (survey->marks == NULL || position >= UINT64_C(1) << 32)
        return position;
    uint64_t cell = position >> survey->shift, cells = UINT64_C(1) << (32 - survey->shift), i = cell / 64;
    uint64_t bits = survey->marks[i] >> cell % 64 << cell % 64;
    while (bits == 0 && ++i < cells / 64)
        bits = survey->marks[i];
    if (bits == 0)
        return UINT64_C(1) << 32;
    uint64_t next = (i * 64 + (uint64_t)__builtin_ctzll(bits)) << survey->shift;
    return next > position ? next : position;
}
