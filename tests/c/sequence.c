/* SPDX-License-Identifier: Apache-2.0 */
/* sequence.c - see sequence.h. */
#include "sequence.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CALLS_MAX = 100000 };

int key_order(uint64_t a, uint64_t b) {
    bool a_is_text = a % 2 == 1 || a >= LONG_KEY_ID, b_is_text = b % 2 == 1 || b >= LONG_KEY_ID;
    if (a_is_text != b_is_text)
        return a_is_text ? 1 : -1;
    return (a > b) - (a < b);
}

static int compare(const void *a, const void *b) {
    return key_order((*(const struct entry *const *)a)->id, (*(const struct entry *const *)b)->id);
}

void sequence_make(struct sequence *sequence, const struct model *model) {
    sequence->n = 0;
    sequence->at = malloc((model->count + 1) * sizeof *sequence->at);
    if (!sequence->at)
        abort();
    for (size_t i = 0; i < model->capacity; i++)
        if (model->entries[i].row)
            sequence->at[sequence->n++] = &model->entries[i];
    qsort(sequence->at, sequence->n, sizeof *sequence->at, compare);
}

void sequence_free(struct sequence *sequence) {
    free(sequence->at);
    *sequence = (struct sequence){NULL, 0};
}

bool span_holds(const struct span *span, uint64_t id) {
    int lo = span->has_lo ? key_order(id, span->lo) : 1, hi = span->has_hi ? key_order(id, span->hi) : -1;
    return (span->flags & TMGR_RANGE_AFTER_LO ? lo > 0 : lo >= 0) &&
           (span->flags & TMGR_RANGE_UP_TO_HI ? hi <= 0 : hi < 0);
}

static size_t count_rows(const struct tmgr_buffer *rows, size_t from) {
    size_t n = 0;
    for (size_t at = from, len; at < rows->len; at += len, n++)
        if ((len = object_len(rows->data + at, rows->len - at)) == 0)
            return SIZE_MAX;
    return n;
}

static bool append(struct tmgr_buffer *to, const struct tmgr_buffer *from) {
    if (to->len + from->len > to->capacity) {
        size_t capacity = 2 * (to->len + from->len);
        uint8_t *data = realloc(to->data, capacity);
        if (!data)
            return false;
        to->data = data;
        to->capacity = capacity;
    }
    if (from->len)
        memcpy(to->data + to->len, from->data, from->len);
    to->len += from->len;
    return true;
}

int span_read(struct tmgr_table *table, const struct span *span, struct tmgr_buffer *rows) {
    uint8_t lo[KEY_BYTES_MAX], hi[KEY_BYTES_MAX];
    struct tmgr_range range = {.flags = span->flags};
    struct tmgr_cursor cursor = {0};
    struct tmgr_buffer part = {0};
    int status = TMGR_OK;
    if (span->has_lo) {
        range.lo = lo;
        range.lo_len = key_encode(lo, span->lo);
    }
    if (span->has_hi) {
        range.hi = hi;
        range.hi_len = key_encode(hi, span->hi);
    }
    for (int calls = 0; status == TMGR_OK; calls++) {
        size_t n = 0;
        part.len = 0;
        status = tmgr_rows(table, &range, &cursor, span->max_rows, span->want_bytes, &part, &n);
        if (status != TMGR_OK)
            break;
        if (n == 0 || n > span->max_rows || count_rows(&part, 0) != n || calls > CALLS_MAX)
            status = TMGR_CORRUPT;
        else if (!append(rows, &part))
            status = TMGR_NO_MEMORY;
    }
    tmgr_buffer_free(&part);
    tmgr_buffer_free(&cursor.last);
    return status == TMGR_END ? TMGR_OK : status;
}

static bool is_item(const uint8_t *row, size_t len, const struct item *item) {
    uint8_t *wanted = malloc(item->payload + ROW_OVERHEAD_MAX);
    if (!wanted)
        abort();
    bool equal = row_encode(wanted, item->id, item->stamp, item->payload) == len && memcmp(wanted, row, len) == 0;
    free(wanted);
    return equal;
}

/* Index of the sequence's next row in the span after `i` (SIZE_MAX: from its start); n: there is none. */
static size_t following(const struct span *span, const struct sequence *sequence, size_t i) {
    bool reverse = span->flags & TMGR_RANGE_REVERSE;
    for (;;) {
        if (i == SIZE_MAX)
            i = !reverse ? 0 : sequence->n ? sequence->n - 1 : sequence->n;
        else
            i = !reverse ? i + 1 : i ? i - 1 : sequence->n;
        if (i >= sequence->n || span_holds(span, sequence->at[i]->id))
            return i;
    }
}

bool span_equals(const struct span *span, const struct tmgr_buffer *rows, const struct sequence *sequence,
                 const struct item *more) {
    size_t next = following(span, sequence, SIZE_MAX);
    uint64_t id, last = 0;
    for (size_t at = 0, len; at < rows->len; at += len) {
        const uint8_t *row = rows->data + at;
        len = object_len(row, rows->len - at);
        if (len == 0 || !row_is_sound(row, len, &id) || !span_holds(span, id))
            return false;
        int order = at ? key_order(last, id) : 0;
        if (at && (span->flags & TMGR_RANGE_REVERSE ? order <= 0 : order >= 0))
            return false;
        last = id;
        if (more && id == more->id && is_item(row, len, more))
            continue;
        if (next >= sequence->n || sequence->at[next]->len != len || memcmp(sequence->at[next]->row, row, len) != 0)
            return false;
        next = following(span, sequence, next);
    }
    return next >= sequence->n;
}

bool ranges_equal_model(struct tmgr_table *table, const struct model *model, char problem[PROBLEM_MAX]) {
    static const size_t max_rows[] = {SIZE_MAX, 40, 1, 7}, want_bytes[] = {SIZE_MAX, 1, 900};
    struct sequence sequence;
    struct tmgr_buffer rows = {0};
    bool equal = true;
    sequence_make(&sequence, model);
    for (uint32_t i = 0; i < 32 && equal; i++) {
        uint32_t flags = i & TMGR_RANGE_REVERSE ? TMGR_RANGE_REVERSE : i % 4;
        struct span span = {.flags = flags, .max_rows = max_rows[i / 8], .want_bytes = want_bytes[i % 3]};
        span.has_lo = i >= 8 && i % 5 != 0 && sequence.n > 0;
        span.has_hi = i >= 8 && i % 5 != 1 && sequence.n > 0;
        if (sequence.n > 0) {
            span.lo = sequence.at[sequence.n * (i % 7) / 8]->id;
            span.hi = sequence.at[sequence.n * (1 + i % 7) / 8]->id + (i % 3 == 0 ? 2 : 0);
        }
        rows.len = 0;
        int status = span_read(table, &span, &rows);
        equal = status == TMGR_OK && span_equals(&span, &rows, &sequence, NULL);
        if (!equal)
            snprintf(problem, PROBLEM_MAX, "range %u (flags %u, %s%llu to %s%llu, %zu rows a call): %s, %zu rows", i,
                     span.flags, span.has_lo ? "id " : "start, not ", (unsigned long long)span.lo,
                     span.has_hi ? "id " : "end, not ", (unsigned long long)span.hi, span.max_rows,
                     tmgr_status_text(status), count_rows(&rows, 0));
    }
    sequence_free(&sequence);
    tmgr_buffer_free(&rows);
    return equal;
}
