/* SPDX-License-Identifier: Apache-2.0 */
#include "sweep.h"

enum { AHEAD_ROWS = 4, AHEAD_BUCKETS = 8, RING = 16, SLOTS_MOST = 4 * BUCKET_SLOTS };
enum {
    SURVEYED_PART = 4
}; /* looking at a row in a survey takes this part of the time that it takes through a bucket */

/* A bucket that is to come. What is prepared here serves as long as the number of buckets is what it was. */
struct stop {
    uint64_t number, after;
    uint64_t
        least; /* position from which on its rows are asked for: not the bucket's first one after a delete_all (hset.h) */
    uint32_t mask; /* the bits of a hash that are `number` in the bucket's rows */
    const struct bucket *bucket;
};

/* The buckets from the cursor on that the survey has marked, in a ring: prepared as far as AHEAD_BUCKETS ahead. */
struct course {
    const struct survey *survey;
    uint64_t next; /* position of the bucket to be prepared next; POSITION_END: none */
    uint32_t first, n;
    struct stop stops[RING];
};

static struct stop *stop_at(struct course *course, uint32_t i) { return &course->stops[(course->first + i) % RING]; }

/* Start loading the rows' first bytes: the word before them and FIRST_LOOK bytes, which may lie in two lines. */
static void prefetch_rows(struct tmgr_table *t, const struct bucket *bucket) {
    for (int i = 0; i < BUCKET_SLOTS; i++) {
        uint64_t slot = load_relaxed(&bucket->slots[i]);
        if (slot == 0)
            continue;
        const uint8_t *row = at(t, slot_offset(slot)); /* a wrong one does no harm: it is not loaded from */
        __builtin_prefetch(row);
        __builtin_prefetch(row + ROW_START + FIRST_LOOK - 1);
    }
}

/* Prepare buckets until the ring is full or the stripe ends. */
static void course_fill(struct tmgr_table *t, struct course *course, const struct hset_view *view) {
    while (course->n <= AHEAD_BUCKETS && (course->next = survey_next(course->survey, course->next)) < POSITION_END) {
        struct stop *stop = stop_at(course, course->n);
        uint64_t before;
        stop->least = course->next;
        stop->number = hset_interval(view->n_buckets, stop->least, &before, &stop->after);
        stop->mask = (uint32_t)((POSITION_END / (stop->after - before)) - 1);
        stop->bucket = hset_bucket(t, view->root, stop->number);
        __builtin_prefetch(stop->bucket);
        course->next = stop->after;
        if (++course->n > AHEAD_ROWS && stop_at(course, course->n - 1 - AHEAD_ROWS)->bucket != NULL)
            prefetch_rows(t, stop_at(course, course->n - 1 - AHEAD_ROWS)->bucket);
    }
}

static void course_begin(struct tmgr_table *t, struct course *course, const struct hset_view *view, uint64_t position) {
    course->next = position;
    course->first = course->n = 0;
    course_fill(t, course, view);
    for (uint32_t i = 0; i < course->n && i < AHEAD_ROWS; i++)
        if (stop_at(course, i)->bucket != NULL)
            prefetch_rows(t, stop_at(course, i)->bucket);
}

static void course_step(struct tmgr_table *t, struct course *course, const struct hset_view *view) {
    course->first = (course->first + 1) % RING;
    course->n--;
    course_fill(t, course, view);
    if (course->next >= POSITION_END && course->n > AHEAD_ROWS - 1 && stop_at(course, AHEAD_ROWS - 1)->bucket != NULL)
        prefetch_rows(t, stop_at(course, AHEAD_ROWS - 1)->bucket);
}

/* -- a bucket ---------------------------------------------------------------------------------------------------------------- */

/* A row that the filter has not rejected by its first bytes. */
struct candidate {
    uint64_t position, offset, head;
    bool wants_more;
    size_t start; /* where its copy begins in the caller's buffer */
};

struct candidates {
    uint32_t n;
    struct candidate list[SLOTS_MOST]; /* in the order of the table */
};

static void add_candidate(struct candidates *candidates, struct candidate candidate) {
    uint32_t place = candidates->n++;
    for (; place > 0 && candidates->list[place - 1].position > candidate.position; place--)
        candidates->list[place] = candidates->list[place - 1];
    candidates->list[place] = candidate;
}

/* The rows of the slots of one bucket, the first or another of its chain. What is loaded from a row lies below `bytes`. */
static inline int look_at_slots(struct tmgr_table *t, const struct bucket *bucket, const struct stop *stop,
                                const struct filter *filter, uint64_t bytes, struct candidates *candidates,
                                size_t *looked_at) {
    /* Loaded once: the compiler cannot know that what is copied below is none of these. */
    const uint8_t *base = t->base;
    uint64_t arena = t->arena;
    uint32_t mask = stop->mask, number = (uint32_t)stop->number;
    size_t seen = 0;
    for (int i = 0; i < BUCKET_SLOTS; i++) {
        uint64_t slot = load_acquire(&bucket->slots[i]);
        if (slot == 0)
            continue;
        if (__builtin_expect((slot & SLOT_PENDING) != 0, 0)) {
            if (pending_resolve(t, &slot) != TMGR_OK)
                return TMGR_BUSY;
            if (slot == 0)
                continue;
        }
        uint64_t offset = slot_offset(slot);
        if (offset < arena || offset + ROW_START + FIRST_LOOK > bytes)
            return TMGR_BUSY;
        const word *row = (const word *)(const void *)(base + offset);
        uint64_t head = load_relaxed(row), len = head & ROW_LEN_MASK;
        if (((uint32_t)(head >> 32) & mask) != number)
            continue; /* a row that a split has copied already, or not yet cleared */
        enum filter_verdict verdict = survey_look(base, offset, head, filter);
        seen += len;
        if (verdict == FILTER_REJECTS)
            continue;
        add_candidate(candidates,
                      (struct candidate){position_of_hash(head >> 32), offset, head, verdict == FILTER_WANTS_MORE, 0});
    }
    *looked_at += seen;
    return TMGR_OK;
}

/* BUSY: overtaken, or a bucket that takes more than is usual. */
static int look_at_bucket(struct tmgr_table *t, struct stripe *s, const struct hset_view *view, const struct stop *stop,
                          const struct filter *filter, struct tmgr_buffer *out, size_t *n_rows, size_t *looked_at) {
    struct candidates candidates; /* not initialised as a whole */
    size_t bytes = 0, n_out = 0;
    uint64_t reachable = reachable_bytes(t);
    int buckets = 0;
    candidates.n = 0;
    for (const struct bucket *bucket = stop->bucket; bucket != NULL;) {
        if (++buckets * BUCKET_SLOTS > SLOTS_MOST)
            return TMGR_BUSY;
        int status = look_at_slots(t, bucket, stop, filter, reachable, &candidates, &bytes);
        if (status != TMGR_OK)
            return status;
        uint64_t next = load_acquire(&bucket->next);
        bucket = next != 0 ? at_checked(t, next, sizeof *bucket) : NULL;
        if (next != 0 && (bucket == NULL || next % sizeof *bucket != t->arena % sizeof *bucket))
            return TMGR_BUSY;
    }
    for (uint32_t i = 0; i < candidates.n; i++) {
        struct candidate candidate = candidates.list[i];
        if (candidate.position < stop->least ||
            (candidate.wants_more && survey_rejects_on_second_look(t, candidate.offset, candidate.head, filter)))
            continue;
        candidate.start = out->len;
        int status = row_copy(t, s, view->epoch, candidate.offset, out);
        if (status != TMGR_OK)
            return status;
        candidates.list[n_out++] = candidate;
    }
    if (!hset_view_holds(t, s, view))
        return TMGR_BUSY;
    for (size_t i = 1; i < n_out; i++)
        for (size_t j = i; j-- > 0 && candidates.list[j].position == candidates.list[i].position;)
            if (hset_same_key(t, out, candidates.list[j].start, candidates.list[i].start))
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
    int status = hset_bucket_rows(t, s, position, position, out, &n, &before, after);
    if (status == TMGR_OK) {
        *n_rows += n;
        *looked_at += out->len - len;
    }
    return status;
}

/* Buckets of one stripe. With a survey all of them: it is not kept. */
static int sweep_stripe(struct tmgr_table *t, struct stripe *s, struct tmgr_cursor *cursor, const struct filter *filter,
                        size_t want_bytes, size_t most, struct tmgr_buffer *out, size_t *n_rows, size_t *looked_at) {
    struct survey survey = {NULL, 0};
    struct course course = {.survey = &survey};
    struct hset_view view;
    bool is_open = false;
    int status = TMGR_OK;
    if (cursor->position == 0 && hset_view_open(t, s, &view) == TMGR_OK)
        survey_make(t, s, &view, filter, &survey);
    bool is_surveyed = survey.marks != NULL;
    *looked_at += is_surveyed ? load_relaxed(&s->bytes) / SURVEYED_PART : 0;
    while ((cursor->position = survey_next(&survey, cursor->position)) < POSITION_END &&
           (is_surveyed || (out->len < want_bytes && *looked_at < most))) {
        size_t len = out->len;
        uint64_t after = POSITION_END;
        bool is_new = !is_open;
        status = TMGR_OK;
        if (is_new) {
            status = hset_view_open(t, s, &view);
            is_open = status == TMGR_OK;
            if (is_open)
                course_begin(t, &course, &view, cursor->position);
        }
        if (status == TMGR_OK) {
            const struct stop *stop = stop_at(&course, 0);
            after = stop->after;
            status =
                stop->bucket != NULL ? look_at_bucket(t, s, &view, stop, filter, out, n_rows, looked_at) : TMGR_BUSY;
        }
        if (status == TMGR_BUSY) {
            out->len = len;
            is_open = false;
            if (!is_new) { /* perhaps only because the view had become old */
                status = TMGR_OK;
                continue;
            }
            status = read_bucket(t, s, cursor->position, out, n_rows, looked_at, &after);
        } else if (status == TMGR_OK) {
            course_step(t, &course, &view);
        }
        if (status != TMGR_OK && status != TMGR_ABSENT) {
            out->len = len;
            break;
        }
        status = TMGR_OK;
        cursor->position = after;
    }
    survey_free(&survey);
    return status;
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
