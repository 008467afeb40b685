/* SPDX-License-Identifier: Apache-2.0 */
/* table.c - the public verbs that read: look at the arguments, pass the gate, and look. */
#include "table.h"
#include "range.h"
#include "segment.h"
#include "walk.h"

#include <stdlib.h>

/* -- scratch memory: one spare per process, more are allocated while it is out ---------------------------------------------- */

static _Atomic(struct tmgr_buffer *) spare;

struct tmgr_buffer *scratch_take(void) {
    struct tmgr_buffer *buffer = atomic_exchange(&spare, NULL);
    return buffer != NULL ? buffer : calloc(1, sizeof *buffer);
}

void scratch_put(struct tmgr_buffer *buffer) {
    buffer->len = 0;
    if (buffer->capacity > 1 << 20)
        tmgr_buffer_free(buffer);
    buffer = atomic_exchange(&spare, buffer);
    if (buffer != NULL) {
        tmgr_buffer_free(buffer);
        free(buffer);
    }
}

void tmgr_buffer_free(struct tmgr_buffer *buffer) {
    free(buffer->data);
    *buffer = (struct tmgr_buffer){NULL, 0, 0};
}

/* -- reading ------------------------------------------------------------------------------------------------------------------ */

/* The rows of a key of a bag; n_rows NULL: the newest will do. The call has entered, but not been admitted. */
static int find_in_bag(struct tmgr_table *t, const struct probe *probe, struct tmgr_buffer *rows, size_t *n_rows) {
    int status = segment_admit(t, false);
    if (status != TMGR_OK)
        return status;
    rows->len = 0;
    status = hset_find_list(t, stripe_of_hash(t, probe->hash), probe, rows, n_rows);
    segment_leave(t);
    return status;
}

int tmgr_lookup(struct tmgr_table *t, const uint8_t *key, size_t key_len, struct tmgr_buffer *row) {
    int status = segment_enter_any(t);
    if (status != TMGR_OK)
        return status;
    struct probe probe = probe_of(t, key, key_len);
    if (t->bag)
        return find_in_bag(t, &probe, row, &(size_t){0});
    struct hset_view view = {.bucket = NULL};
    const uint8_t *base = t->base;
    int begun = index_find_begin(t, stripe_of_hash(t, probe.hash), &probe, &view);
    status = segment_admit(t, false);
    if (status != TMGR_OK)
        return status;
    if (t->base != base)
        begun = TMGR_BUSY; /* mapped anew: what the view points at has moved */
    row->len = 0;
    status = index_find_end(t, stripe_of_hash(t, probe.hash), &probe, &view, begun, row);
    segment_leave(t);
    return status;
}

static int contains_in_bag(struct tmgr_table *t, const uint8_t *key, size_t key_len, struct tmgr_buffer *row) {
    int status = segment_enter_any(t);
    if (status != TMGR_OK)
        return status;
    struct probe probe = probe_of(t, key, key_len);
    return find_in_bag(t, &probe, row, NULL);
}

int tmgr_contains(struct tmgr_table *t, const uint8_t *key, size_t key_len) {
    struct tmgr_buffer *row = scratch_take();
    if (row == NULL)
        return TMGR_NO_MEMORY;
    int status = t->bag ? contains_in_bag(t, key, key_len, row) : tmgr_lookup(t, key, key_len, row);
    scratch_put(row);
    return status;
}

enum { GROUP = 128 }; /* keys looked up together */

/* The rows of a key of a bag as one array: array 32, whose length is known when they are there. */
static int lookup_list(struct tmgr_table *t, const struct probe *probe, struct tmgr_buffer *out) {
    size_t head = out->len, n_rows = 0;
    if (!buffer_append(out, (const uint8_t[5]){0xdd}, 5))
        return TMGR_NO_MEMORY;
    int status = hset_find_list(t, stripe_of_hash(t, probe->hash), probe, out, &n_rows);
    n_rows = status == TMGR_OK ? n_rows : 0;
    for (int i = 0; i < 4; i++)
        out->data[head + 1 + (size_t)i] = (uint8_t)(n_rows >> (24 - 8 * i));
    return status == TMGR_ABSENT ? TMGR_OK : status;
}

int tmgr_lookup_many(struct tmgr_table *t, const uint8_t *keys, size_t keys_len, size_t n, struct tmgr_buffer *out) {
    int status = segment_enter(t, false);
    if (status != TMGR_OK)
        return status;
    const uint8_t *end = keys + keys_len;
    out->len = 0;
    while (n > 0 && status == TMGR_OK) {
        struct probe probes[GROUP];
        size_t group = 0;
        for (; group < GROUP && group < n && status == TMGR_OK; group++)
            status = probe_next(t, &keys, end, &probes[group]);
        if (status == TMGR_OK && !t->bag)
            status = index_find_many(t, probes, group, out);
        for (size_t i = 0; t->bag && i < group && status == TMGR_OK; i++)
            status = lookup_list(t, &probes[i], out);
        n -= group;
    }
    segment_leave(t);
    return status;
}

void tmgr_prefetch(struct tmgr_table *t, const uint8_t *rows, size_t start, const size_t *ends, size_t n) {
    if (segment_enter_any(t) != TMGR_OK)
        return;
    for (size_t i = 0; i < n; start = ends[i++]) {
        struct term_span key;
        if (!t->head_only && !t->ordered && term_key_of(rows + start, ends[i] - start, t->keypos, &key)) {
            uint64_t hash = hash_bytes(rows + start + key.offset, key.len, t->hash_seed);
            index_prefetch(t, stripe_of_hash(t, hash), hash);
        }
    }
    segment_leave(t);
}

/* A write that is past its commit point counts, though its writer may have died or been stopped before it said so. */
static void rows_after_commit(struct tmgr_table *t, const struct stripe *s, uint64_t *rows) {
    if (load_acquire(&s->intent.op) != OP_ARMED)
        return;
    uint64_t place = load_acquire(&s->intent.at), to = load_acquire(&s->intent.to),
             after = load_acquire(&s->intent.rows_after);
    if (place % 8 == 0 && place >= STRIPES_OFFSET && place <= reachable_bytes(t) - 8 &&
        load_acquire((word *)at(t, place)) == to && load_acquire(&s->intent.op) == OP_ARMED)
        *rows = after;
}

/* Rows of all stripes. A multi-row write changes every stripe's count by the one store of its status, so the sum is of one side
 * of it if no status changed while the counts were taken; likewise control.gen and delete_all. */
static bool count_once(struct tmgr_table *t, uint64_t *rows) {
    uint64_t status[STRIPES_MAX * DESCRIPTORS];
    uint64_t gen = load_acquire(&t->control->gen);
    for (uint32_t i = 0; i < t->n_stripes * DESCRIPTORS; i++)
        status[i] = load_acquire(&t->stripes[i / DESCRIPTORS].descriptors[i % DESCRIPTORS].status);
    *rows = 0;
    for (uint32_t i = 0; i < t->n_stripes; i++) {
        struct stripe *s = &t->stripes[i];
        uint64_t stripe_gen = load_acquire(&s->gen), tx = load_acquire(&s->tx), number = tx & 0xff;
        uint64_t plain = load_acquire(&s->rows[0]), changed = load_acquire(&s->rows[1]);
        rows_after_commit(t, s, &plain);
        fence_acquire();
        if (load_relaxed(&s->tx) != tx || load_relaxed(&s->gen) != stripe_gen || stripe_gen > gen)
            return false;
        bool committed =
            tx != 0 && number < (uint64_t)t->n_stripes * DESCRIPTORS && status[number] == (tx >> 8 << 2 | TX_COMMITTED);
        *rows += stripe_gen < gen ? 0 : committed ? changed : plain;
    }
    fence_acquire();
    for (uint32_t i = 0; i < t->n_stripes * DESCRIPTORS; i++)
        if (load_relaxed(&t->stripes[i / DESCRIPTORS].descriptors[i % DESCRIPTORS].status) != status[i])
            return false;
    return load_relaxed(&t->control->gen) == gen;
}

int table_count(struct tmgr_table *t, uint64_t *rows) {
    for (int tries = 0; tries < 10000; tries++)
        if (count_once(t, rows))
            return TMGR_OK;
    return TMGR_BUSY;
}

int tmgr_len(struct tmgr_table *t, uint64_t *rows) {
    int status = segment_enter(t, false);
    if (status != TMGR_OK)
        return status;
    status = table_count(t, rows);
    segment_leave(t);
    return status;
}

/* -- traversal ----------------------------------------------------------------------------------------------------------------- */

int tmgr_scan(struct tmgr_table *t, struct tmgr_cursor *cursor, size_t want_bytes, struct tmgr_buffer *out,
              size_t *n_rows) {
    int status = segment_enter(t, false);
    if (status != TMGR_OK)
        return status;
    out->len = 0;
    *n_rows = 0;
    status = t->ordered ? range_rows(t, &(struct tmgr_range){0}, cursor, SIZE_MAX, want_bytes, out, n_rows)
                        : walk_rows(t, cursor, want_bytes, out, n_rows);
    segment_leave(t);
    return status != TMGR_OK ? status : *n_rows == 0 ? TMGR_END : TMGR_OK;
}

int tmgr_rows(struct tmgr_table *t, const struct tmgr_range *range, struct tmgr_cursor *cursor, size_t max_rows,
              size_t want_bytes, struct tmgr_buffer *out, size_t *n_rows) {
    int status = segment_enter(t, false);
    if (status != TMGR_OK)
        return status;
    out->len = 0;
    *n_rows = 0;
    status = t->ordered ? range_rows(t, range, cursor, max_rows, want_bytes, out, n_rows) : TMGR_OPERATION;
    segment_leave(t);
    return status != TMGR_OK ? status : *n_rows == 0 ? TMGR_END : TMGR_OK;
}

int tmgr_step(struct tmgr_table *t, int direction, const uint8_t *key, size_t key_len, struct tmgr_buffer *row) {
    int status = segment_enter(t, false);
    if (status != TMGR_OK)
        return status;
    struct tmgr_buffer *rows = scratch_take();
    struct term_span found = {0, 0};
    if (t->ordered)
        status = rows != NULL ? range_step(t, direction, key, key_len, rows, &found) : TMGR_NO_MEMORY;
    else
        status = rows != NULL ? walk_step(t, direction, key, key_len, rows, &found) : TMGR_NO_MEMORY;
    row->len = 0;
    if (status == TMGR_OK && !buffer_append(row, rows->data + found.offset, found.len))
        status = TMGR_NO_MEMORY;
    if (rows != NULL)
        scratch_put(rows);
    segment_leave(t);
    return status;
}
