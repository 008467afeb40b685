/* SPDX-License-Identifier: Apache-2.0 */
#include "sweep.h"

enum { AHEAD_ROWS = 4, AHEAD_BUCKETS = 8, LOOKED_AT = 128, FIRST_LOOK = 32, SLOTS_MOST = 4 * BUCKET_SLOTS };
static_assert(FIRST_LOOK % 8 == 0 && LOOKED_AT % 8 == 0, "whole words");

/* A bucket that is to come. What is prepared here serves as long as the number of buckets is what it was. */
struct stop {
    uint64_t number, after;
    const struct bucket *bucket;
};

/* The buckets from the cursor on, in a ring: prepared as far as AHEAD_BUCKETS ahead. */
struct course {
    uint64_t n_buckets, gen;
    uint64_t next; /* position of the bucket to be prepared next; POSITION_END: none */
    uint32_t first, n;
    struct stop stops[AHEAD_BUCKETS + 1];
};

static struct stop *stop_at(struct course *course, uint32_t i) {
    return &course->stops[(course->first + i) % (AHEAD_BUCKETS + 1)];
}

/* Start loading the rows' first bytes: the word before them and FIRST_LOOK bytes, which may lie in two lines. */
static void prefetch_rows(struct tmgr_table *t, const struct bucket *bucket) {
    for (int i = 0; i < BUCKET_SLOTS; i++) {
        uint64_t slot = load_relaxed(&bucket->slots[i]);
        if (slot == 0 || !offset_is_valid(t, slot_offset(slot), UNIT_BYTES))
            continue;
        const uint8_t *row = at(t, slot_offset(slot));
        __builtin_prefetch(row);
        if (((uintptr_t)row & 63) + ROW_START + FIRST_LOOK > 64)
            __builtin_prefetch(row + ROW_START + FIRST_LOOK - 1);
    }
}

/* Prepare buckets until the ring is full or the stripe ends. */
static void course_fill(struct tmgr_table *t, struct course *course, const struct hset_view *view) {
    while (course->n <= AHEAD_BUCKETS && course->next < POSITION_END) {
        struct stop *stop = stop_at(course, course->n);
        uint64_t before;
        stop->number = hset_interval(view->n_buckets, course->next, &before, &stop->after);
        stop->bucket = hset_bucket(t, view->root, stop->number);
        __builtin_prefetch(stop->bucket);
        course->next = stop->after;
        if (++course->n > AHEAD_ROWS && stop_at(course, course->n - 1 - AHEAD_ROWS)->bucket != NULL)
            prefetch_rows(t, stop_at(course, course->n - 1 - AHEAD_ROWS)->bucket);
    }
}

static void course_begin(struct tmgr_table *t, struct course *course, const struct hset_view *view, uint64_t position) {
    course->n_buckets = view->n_buckets;
    course->gen = view->gen;
    course->next = position;
    course->first = course->n = 0;
    course_fill(t, course, view);
    for (uint32_t i = 0; i < course->n && i < AHEAD_ROWS; i++)
        if (stop_at(course, i)->bucket != NULL)
            prefetch_rows(t, stop_at(course, i)->bucket);
}

static void course_step(struct tmgr_table *t, struct course *course, const struct hset_view *view) {
    course->first = (course->first + 1) % (AHEAD_BUCKETS + 1);
    course->n--;
    course_fill(t, course, view);
    if (course->next >= POSITION_END && course->n > AHEAD_ROWS - 1 && stop_at(course, AHEAD_ROWS - 1)->bucket != NULL)
        prefetch_rows(t, stop_at(course, AHEAD_ROWS - 1)->bucket);
}

/* -- a bucket ---------------------------------------------------------------------------------------------------------------- */

struct standing_row {
    uint64_t position, offset, head;
};

/* Does the filter reject the row? False also where that cannot be told. */
static inline bool rejected(struct tmgr_table *t, const struct filter *filter, const struct standing_row *row) {
    uint8_t bytes[LOOKED_AT];
    size_t len = row->head & ROW_LEN_MASK, have = len < FIRST_LOOK ? len : FIRST_LOOK;
    if (row->head & ROW_EXTENTS || !offset_is_valid(t, row->offset, ROW_START + LOOKED_AT))
        return false;
    copy_racy_words(bytes, at(t, row->offset + ROW_START), FIRST_LOOK); /* what lies behind a short row is not looked at */
    enum filter_verdict verdict = filter_look(filter, bytes, have);
    if (verdict == FILTER_WANTS_MORE && len > FIRST_LOOK) {
        have = len < LOOKED_AT ? len : LOOKED_AT;
        copy_racy_words(bytes + FIRST_LOOK, at(t, row->offset + ROW_START + FIRST_LOOK), have - FIRST_LOOK);
        verdict = filter_look(filter, bytes, have);
    }
    return verdict == FILTER_REJECTS;
}

/* BUSY: overtaken, or a bucket that takes more than is usual. */
static int look_at_bucket(struct tmgr_table *t, struct stripe *s, const struct hset_view *view, const struct stop *stop,
                          const struct filter *filter, struct tmgr_buffer *out, size_t *n_rows, size_t *looked_at) {
    struct standing_row rows[SLOTS_MOST];
    uint32_t n = 0;
    size_t bytes = 0, n_out = 0;
    for (const struct bucket *bucket = stop->bucket; bucket != NULL;) {
        if (n + BUCKET_SLOTS > SLOTS_MOST)
            return TMGR_BUSY;
        for (int i = 0; i < BUCKET_SLOTS; i++) {
            uint64_t slot = load_acquire(&bucket->slots[i]);
            if (slot & SLOT_PENDING && pending_resolve(t, &slot) != TMGR_OK)
                return TMGR_BUSY;
            if (slot == 0)
                continue;
            if (!offset_is_valid(t, slot_offset(slot), UNIT_BYTES))
                return TMGR_BUSY;
            uint64_t head = load_relaxed((const word *)at(t, slot_offset(slot)));
            if (hset_home(view->n_buckets, head >> 32) != stop->number)
                continue; /* a row that a split has copied already, or not yet cleared */
            struct standing_row row = {position_of_hash(head >> 32), slot_offset(slot), head};
            uint32_t place = n++;
            for (; place > 0 && rows[place - 1].position > row.position; place--)
                rows[place] = rows[place - 1];
            rows[place] = row;
        }
        uint64_t next = load_acquire(&bucket->next);
        bucket = next != 0 ? at_checked(t, next, sizeof *bucket) : NULL;
        if (next != 0 && (bucket == NULL || next % sizeof *bucket != t->arena % sizeof *bucket))
            return TMGR_BUSY;
    }
    for (uint32_t i = 0; i < n; i++) {
        bytes += rows[i].head & ROW_LEN_MASK;
        if (rejected(t, filter, &rows[i]))
            continue;
        int status = row_copy(t, s, view->epoch, rows[i].offset, out);
        if (status != TMGR_OK)
            return status;
        n_out++;
    }
    if (!hset_view_holds(t, s, view))
        return TMGR_BUSY;
    *n_rows += n_out;
    *looked_at += bytes;
    return TMGR_OK;
}

/* -- the walk ------------------------------------------------------------------------------------------------------------------ */

/* The bucket read by the usual walk, which tries again until it is not overtaken. */
static int read_bucket(struct tmgr_table *t, struct stripe *s, uint64_t position, struct tmgr_buffer *out,
                       size_t *n_rows, size_t *looked_at, uint64_t *after) {
    size_t n = 0, len = out->len;
    uint64_t before;
    int status = hset_bucket_rows(t, s, position, out, &n, &before, after);
    if (status == TMGR_OK) {
        *n_rows += n;
        *looked_at += out->len - len;
    }
    return status;
}

/* Buckets of one stripe. */
static int sweep_stripe(struct tmgr_table *t, struct stripe *s, struct tmgr_cursor *cursor, const struct filter *filter,
                        size_t want_bytes, size_t most, struct tmgr_buffer *out, size_t *n_rows, size_t *looked_at) {
    struct course course = {.n_buckets = 0};
    while (cursor->position < POSITION_END && out->len < want_bytes && *looked_at < most) {
        struct hset_view view;
        size_t len = out->len;
        uint64_t after = POSITION_END;
        int status = hset_view_open(t, s, &view);
        if (status == TMGR_OK) {
            if (course.n_buckets != view.n_buckets || course.gen != view.gen)
                course_begin(t, &course, &view, cursor->position);
            const struct stop *stop = stop_at(&course, 0);
            after = stop->after;
            status = stop->bucket != NULL ? look_at_bucket(t, s, &view, stop, filter, out, n_rows, looked_at) : TMGR_BUSY;
            course_step(t, &course, &view);
        }
        if (status == TMGR_BUSY) {
            out->len = len;
            course.n_buckets = 0;
            status = read_bucket(t, s, cursor->position, out, n_rows, looked_at, &after);
        }
        if (status != TMGR_OK && status != TMGR_ABSENT) {
            out->len = len;
            return status;
        }
        cursor->position = after;
    }
    return TMGR_OK;
}

int sweep_rows(struct tmgr_table *t, struct tmgr_cursor *cursor, const struct filter *filter, size_t want_bytes,
               size_t most, struct tmgr_buffer *out, size_t *n_rows, size_t *looked_at) {
    int status = TMGR_OK;
    while (status == TMGR_OK && !cursor->done && cursor->stripe < t->n_stripes && out->len < want_bytes &&
           *looked_at < most) {
        status = sweep_stripe(t, &t->stripes[cursor->stripe], cursor, filter, want_bytes, most, out, n_rows, looked_at);
        if (status == TMGR_OK && cursor->position >= POSITION_END) {
            cursor->position = 0;
            cursor->done = ++cursor->stripe >= t->n_stripes;
        }
    }
    return *n_rows > 0 ? TMGR_OK : status; /* as walk_rows: what was read before a failure is good */
}
