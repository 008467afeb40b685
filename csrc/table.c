/* SPDX-License-Identifier: Apache-2.0 */
/* table.c - the public verbs: look at the arguments, pass the gate, take the locks, do it, and try again where the segment
 * had to be mapped anew or memory had to be reclaimed. */
#include "evacuate.h"
#include "hash.h"
#include "lock.h"
#include "os.h"
#include "range.h"
#include "repair.h"
#include "same.h"
#include "segment.h"
#include "walk.h"

#include <stdlib.h>

static struct probe probe_of(struct tmgr_table *t, const uint8_t *key, size_t len) {
    return (struct probe){key, len, t->ordered ? 0 : hash_bytes(key, len, t->hash_seed)};
}

/* -- scratch memory: one spare per process, more are allocated while it is out ---------------------------------------------- */

static _Atomic(struct tmgr_buffer *) spare;

static struct tmgr_buffer *scratch_take(void) {
    struct tmgr_buffer *buffer = atomic_exchange(&spare, NULL);
    return buffer != NULL ? buffer : calloc(1, sizeof *buffer);
}

static void scratch_put(struct tmgr_buffer *buffer) {
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

/* The next key of a sequence. */
static inline int next_key(struct tmgr_table *t, const uint8_t **keys, const uint8_t *end, struct probe *probe) {
    size_t len = term_skip_flat(*keys, end);
    if (len == 0 || len > TMGR_KEY_MAX)
        return len == 0 ? TMGR_BAD_ROW : TMGR_TOO_LONG;
    *probe = probe_of(t, *keys, len);
    *keys += len;
    return TMGR_OK;
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
            status = next_key(t, &keys, end, &probes[group]);
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

/* Rows of all stripes. A multi-row write changes every stripe's count by the one store of its status, so the sum is of one side
 * of it if no status changed while the counts were taken; likewise control.gen and delete_all. */
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

static int count(struct tmgr_table *t, uint64_t *rows) {
    for (int tries = 0; tries < 10000; tries++)
        if (count_once(t, rows))
            return TMGR_OK;
    return TMGR_BUSY;
}

int tmgr_len(struct tmgr_table *t, uint64_t *rows) {
    int status = segment_enter(t, false);
    if (status != TMGR_OK)
        return status;
    status = count(t, rows);
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

enum {
    RECLAIM_WAIT_NS = 1000000, /* for each stripe */
    RECLAIMS_MOST = 16,        /* for one write */
    MISFITS = 64,              /* blocks taken from larger classes before compaction is tried again */
    MISFITS_PER_ROW = 4        /* the row's, a bucket's, the log's */
};

/* -- writing: one row ------------------------------------------------------------------------------------------------------------ */

/* A write's arguments and results. */
struct call {
    struct probe probe;
    const uint8_t *row; /* to be inserted, or to be compared with */
    size_t row_len;
    const uint8_t *other; /* the row that replaces */
    size_t other_len;
    const struct tmgr_op *op;
    struct tmgr_buffer *out;
    struct tmgr_buffer *scratch, *built; /* for gathered and for updated rows */
    uint64_t removed;                    /* rows */
    const struct bucket *bucket;         /* of the key, on its way; a hint */
    int64_t wait_ns;
    unsigned reclaims; /* how often memory was reclaimed for it */
    bool is_last_try;  /* the last time gave nothing that a further one could add to */
};
/* Does it with the stripe's lock held. */
typedef int (*locked_fn)(struct tmgr_table *t, struct stripe *s, struct call *call);

/* index_locate, with slots of left-over transactions resolved on the way. */
static int locate(struct tmgr_table *t, struct stripe *s, const struct probe *probe, struct place *place) {
    for (;;) {
        int status = index_locate(t, s, probe, place);
        if (status != TMGR_OK || !(place->content & SLOT_PENDING) || load_relaxed(&s->tx) != 0)
            return status;
        status = txn_resolve_slot(t, s, place->slot);
        if (status != TMGR_OK)
            return status;
    }
}

/* A row more, unless it is a bag that has this very row. */
static int add(struct tmgr_table *t, struct stripe *s, const struct probe *probe, struct place *place,
               const uint8_t *row, size_t len) {
    uint64_t list = slot_offset(place->content), cell, bytes;
    int status = t->type == TMGR_BAG ? bag_find(t, list, row, len, &cell) : TMGR_ABSENT;
    if (status != TMGR_ABSENT)
        return status;
    status = stripe_make_room(t, s);
    if (status == TMGR_OK && place->slot == NULL)
        status = index_extend(t, s, probe, place);
    if (status == TMGR_OK)
        status = row_begin(t, s, row, len, probe, &cell, &bytes);
    if (status != TMGR_OK)
        return status;
    cell_link(t, cell, list);
    stripe_commit(t, s, place->slot, slot_make(tag_of_hash(probe->hash), cell, 0), 1, bytes, 0, 0);
    return list == 0 ? index_grow(t, s, load_relaxed(&s->rows[0]), 2) : TMGR_OK;
}

static int put(struct tmgr_table *t, struct stripe *s, const struct probe *probe, struct place *place,
               const uint8_t *row, size_t len) {
    uint64_t offset, bytes, old = 0, old_bytes = 0;
    if (t->bag)
        return add(t, s, probe, place, row, len);
    int status = stripe_make_room(t, s);
    if (status == TMGR_OK && place->slot == NULL)
        status = index_extend(t, s, probe, place);
    if (status == TMGR_OK)
        status = row_begin(t, s, row, len, probe, &offset, &bytes);
    if (status != TMGR_OK)
        return status;
    if (place->content != 0)
        old = row_block(t, slot_offset(place->content), &old_bytes);
    bool fresh = place->content == 0;
    stripe_commit(t, s, place->slot, slot_make(tag_of_hash(probe->hash), offset, 0), fresh, bytes, old, old_bytes);
    return fresh ? index_grow(t, s, load_relaxed(&s->rows[0]), 2) : TMGR_OK;
}

/* An insert writes a block whatever it finds; so the block is made while the row that it may replace is on its way from
 * memory. Where the bucket turns out to be full, or in the way of a left-over, it is given back and put() does it. */
static int insert_locked(struct tmgr_table *t, struct stripe *s, struct call *call) {
    struct place place;
    uint64_t offset, bytes, old = 0, old_bytes = 0;
    const struct probe *probe = &call->probe;
    int status;
    if (t->ordered || t->bag) {
        status = locate(t, s, probe, &place);
        return status == TMGR_OK || status == TMGR_ABSENT ? put(t, s, probe, &place, call->row, call->row_len) : status;
    }
    hset_prefetch_row(t, call->bucket, probe->hash);
    status = stripe_make_room(t, s);
    if (status == TMGR_OK)
        status = row_begin(t, s, call->row, call->row_len, probe, &offset, &bytes);
    if (status != TMGR_OK)
        return status;
    status = hset_locate(t, s, probe, &place);
    if ((status == TMGR_OK || status == TMGR_ABSENT) && place.slot != NULL && !(place.content & SLOT_PENDING)) {
        if (status == TMGR_OK)
            old = row_block(t, slot_offset(place.content), &old_bytes);
        stripe_commit(t, s, place.slot, slot_make(tag_of_hash(probe->hash), offset, 0), status == TMGR_ABSENT, bytes,
                      old, old_bytes);
        return status == TMGR_ABSENT ? hset_grow(t, s, load_relaxed(&s->rows[0]), 2) : TMGR_OK;
    }
    int abandoned = stripe_abandon(t, s);
    if (status == TMGR_OK || status == TMGR_ABSENT)
        status = abandoned != TMGR_OK ? abandoned : locate(t, s, probe, &place);
    return status == TMGR_OK || status == TMGR_ABSENT ? put(t, s, probe, &place, call->row, call->row_len) : status;
}

static int insert_new_locked(struct tmgr_table *t, struct stripe *s, struct call *call) {
    struct place place;
    int status = locate(t, s, &call->probe, &place);
    if (status == TMGR_OK)
        return TMGR_PRESENT;
    return status == TMGR_ABSENT ? put(t, s, &call->probe, &place, call->row, call->row_len) : status;
}

/* Of a bag the newest `rows` rows; `rest` is what follows them. */
static int cut_at(struct tmgr_table *t, struct stripe *s, struct place *place, uint64_t rest, uint64_t rows) {
    uint64_t to = rest != 0 ? slot_make(slot_tag(place->content), rest, 0) : 0;
    int status = bag_make_room(t, s);
    return status == TMGR_OK ? bag_commit(t, s, place->slot, to, -(int64_t)rows, slot_offset(place->content), rest)
                             : status;
}

/* All rows of the key. */
static int remove_at(struct tmgr_table *t, struct stripe *s, struct call *call, struct place *place) {
    uint64_t bytes, block;
    int status;
    call->removed = 1;
    if (t->bag) {
        status = bag_count(t, slot_offset(place->content), &call->removed);
        return status == TMGR_OK ? cut_at(t, s, place, 0, call->removed) : status;
    }
    status = stripe_make_room(t, s);
    if (status != TMGR_OK)
        return status;
    block = row_block(t, slot_offset(place->content), &bytes);
    stripe_commit(t, s, place->slot, 0, -1, 0, block, bytes);
    return index_tidy(t, s, &call->probe);
}

static int delete_locked(struct tmgr_table *t, struct stripe *s, struct call *call) {
    struct place place;
    int status = locate(t, s, &call->probe, &place);
    return status == TMGR_OK ? remove_at(t, s, call, &place) : status;
}

static const uint8_t *stored_row(struct tmgr_table *t, struct call *call, uint64_t offset, size_t *len) {
    return row_view(t, offset, call->scratch, len);
}

static int take_locked(struct tmgr_table *t, struct stripe *s, struct call *call) {
    struct place place;
    int status = locate(t, s, &call->probe, &place);
    if (status != TMGR_OK)
        return status;
    size_t n_rows = 0;
    call->out->len = 0;
    status = t->bag ? bag_copy(t, NULL, 0, slot_offset(place.content), call->out, &n_rows)
                    : row_copy(t, NULL, 0, slot_offset(place.content), call->out);
    return status == TMGR_OK ? remove_at(t, s, call, &place) : status == TMGR_BUSY ? poison(t, POISON_ROWS) : status;
}

/* OK if the stored row is the one the caller named. */
static int locate_exactly(struct tmgr_table *t, struct stripe *s, struct call *call, struct place *place) {
    int status = locate(t, s, &call->probe, place);
    if (status != TMGR_OK)
        return status;
    size_t len;
    const uint8_t *row = stored_row(t, call, slot_offset(place->content), &len);
    if (row == NULL)
        return TMGR_NO_MEMORY;
    return same_terms(row, len, call->row, call->row_len) ? TMGR_OK : TMGR_ABSENT;
}

static int delete_object_locked(struct tmgr_table *t, struct stripe *s, struct call *call) {
    struct place place;
    int status = locate_exactly(t, s, call, &place);
    return status == TMGR_OK ? remove_at(t, s, call, &place) : status;
}

enum { NOT_ON_TOP = -2 }; /* internal status: it takes a transaction */

/* Of a bag, where the rows to be removed are its newest. */
static int delete_newest_locked(struct tmgr_table *t, struct stripe *s, struct call *call) {
    struct place place;
    struct bag_matches found;
    int status = locate(t, s, &call->probe, &place);
    if (status == TMGR_OK)
        status = bag_matches(t, slot_offset(place.content), call->row, call->row_len, &found);
    if (status != TMGR_OK)
        return status;
    if (found.depth != found.n)
        return NOT_ON_TOP;
    call->removed = found.n;
    return cut_at(t, s, &place, cell_next(t, found.oldest), found.n);
}

static int swap_locked(struct tmgr_table *t, struct stripe *s, struct call *call) {
    struct place place;
    int status = locate_exactly(t, s, call, &place);
    return status == TMGR_OK ? put(t, s, &call->probe, &place, call->other, call->other_len) : status;
}

/* The row that the update makes of the stored one, or of the default; in call->built. */
static int build_update(struct tmgr_table *t, struct call *call, const struct tmgr_op *op, const uint8_t *row,
                        size_t len) {
    call->built->len = 0;
    return op->kind == TMGR_OP_UPDATE_COUNTER
               ? (int)term_update_counter(row, len, t->keypos, op->updates, op->updates_len, call->built, call->out)
               : (int)term_update_element(row, len, t->keypos, op->updates, op->updates_len, call->built);
}

static int build_default(struct tmgr_table *t, struct call *call, const struct tmgr_op *op) {
    call->scratch->len = 0;
    int status = (int)term_with_key(op->row, op->row_len, t->keypos, op->key, op->key_len, call->scratch);
    return status == TMGR_OK ? build_update(t, call, op, call->scratch->data, call->scratch->len) : status;
}

static int update_locked(struct tmgr_table *t, struct stripe *s, struct call *call) {
    struct place place;
    int status = locate(t, s, &call->probe, &place);
    if (status == TMGR_OK) {
        size_t len;
        const uint8_t *row = stored_row(t, call, slot_offset(place.content), &len);
        status = row != NULL ? build_update(t, call, call->op, row, len) : TMGR_NO_MEMORY;
        if (status == TMGR_OK && call->built->len == len && memcmp(call->built->data, row, len) == 0)
            return TMGR_OK; /* nothing to write */
    } else if (status == TMGR_ABSENT && call->op->row != NULL) {
        status = build_default(t, call, call->op);
    }
    if (status != TMGR_OK)
        return status;
    if (call->built->len > ROW_BYTES_MAX)
        return TMGR_TOO_LONG;
    return put(t, s, &call->probe, &place, call->built->data, call->built->len);
}

/* Everything out of a stripe's quarantine, off its to-do list and out of kept slabs; then slabs of up to `want` pages are
 * emptied. *pages: how many that made. False if others have the lock. */
static bool reclaim_stripe(struct tmgr_table *t, struct stripe *s, uint64_t want, uint64_t *pages) {
    *pages = 0;
    int status = stripe_lock(t, s, RECLAIM_WAIT_NS);
    if (status != TMGR_OK)
        return status != TMGR_BUSY;
    if (stripe_catch_up(t, s) == TMGR_OK && txn_release_log(t, s) == TMGR_OK && stripe_flush(t, s) == TMGR_OK &&
        arena_trim(t, s) == TMGR_OK)
        evacuate(t, s, want, pages);
    stripe_unlock(s);
    return true;
}

/* Memory for a write of so many rows, of about so many bytes: stripe by stripe and round by round until there is twice as much as
 * it takes, so that not every write does this. False if there is nothing left to be gained. */
static bool reclaim(struct tmgr_table *t, uint64_t bytes, uint64_t rows) {
    uint64_t want = 2 * (bytes / PAGE_BYTES + (rows < t->n_stripes ? rows : t->n_stripes)), before, pages = 0, gained;
    bool all = true;
    do {
        before = pages;
        for (uint32_t i = 0; i < t->n_stripes && pages < want; i++) {
            uint32_t next = atomic_load(&t->reclaim_next) % t->n_stripes;
            all &= reclaim_stripe(t, &t->stripes[next], want - pages, &gained);
            pages += gained;
            if (pages < want) /* else there may be more where this came from */
                atomic_store(&t->reclaim_next, next + 1);
        }
    } while (pages > before && pages < want);
    if (pages == 0)
        arena_allow_misfits(t, MISFITS + MISFITS_PER_ROW * rows);
    return pages > 0 || !all;
}

/* After a write that found no memory: AGAIN if it has a chance now, else FULL. The first search for memory also serves the
 * quarantine and allows misfits; a further one has a point only if others were quicker to take what the last one made. */
static int reclaim_for(struct tmgr_table *t, struct call *call, uint64_t bytes, uint64_t rows) {
    if (call->is_last_try || call->reclaims == RECLAIMS_MOST)
        return TMGR_FULL;
    call->reclaims++;
    call->is_last_try = !reclaim(t, bytes, rows);
    return AGAIN;
}

/* What the call writes, about. */
static uint64_t bytes_of(const struct call *call) {
    return call->row_len + call->other_len + (call->built != NULL ? call->built->len : 0);
}

static int once(struct tmgr_table *t, locked_fn verb, struct call *call) {
    int status = segment_enter(t, true);
    if (status != TMGR_OK)
        return status;
    struct stripe *s = stripe_of_hash(t, call->probe.hash);
    call->bucket = index_prefetch(t, s, call->probe.hash);
    status = stripe_lock(t, s, call->wait_ns);
    if (status == TMGR_OK) {
        if (call->wait_ns > 0) /* access may have changed while we waited */
            status = owner_admits(t, true);
        if (status == TMGR_OK)
            status = verb(t, s, call);
        stripe_unlock(s);
    }
    if (status == TMGR_FULL)
        status = reclaim_for(t, call, bytes_of(call), 1);
    segment_leave(t);
    return status;
}

/* The end of a wait, in monotonic ns; 0: no waiting. */
static uint64_t end_of(int64_t wait_ns) { return wait_ns > 0 ? os_monotonic_ns() + (uint64_t)wait_ns : 0; }

/* Whether a write that came to `status` is tried once more. A wait may have been cut short by the arena's lock. */
static bool once_more(uint64_t until, int status, struct call *call) {
    if (status != TMGR_BUSY)
        return status == AGAIN;
    uint64_t now = until != 0 ? os_monotonic_ns() : 0;
    call->wait_ns = (int64_t)(until - now);
    return now < until;
}

static int run(struct tmgr_table *t, locked_fn verb, struct call *call) {
    uint64_t until = end_of(call->wait_ns);
    int status;
    do
        status = once(t, verb, call);
    while (once_more(until, status, call));
    return status;
}

static int run_with_scratch(struct tmgr_table *t, locked_fn verb, struct call *call) {
    call->scratch = scratch_take();
    call->built = scratch_take();
    int status = call->scratch != NULL && call->built != NULL ? run(t, verb, call) : TMGR_NO_MEMORY;
    if (call->scratch != NULL)
        scratch_put(call->scratch);
    if (call->built != NULL)
        scratch_put(call->built);
    return status;
}

/* Admission comes before the arguments: a caller without access is told that, whatever the row is. */
static int check_row(struct tmgr_table *t, const uint8_t *row, size_t len, struct probe *probe) {
    struct term_span key;
    enum tmgr_status why;
    if (term_row(row, len, t->keypos, &key, &why) && len <= ROW_BYTES_MAX) {
        *probe = probe_of(t, row + key.offset, key.len);
        return TMGR_OK;
    }
    int status = tmgr_admit(t, true);
    return status != TMGR_OK ? status : len > ROW_BYTES_MAX ? TMGR_TOO_LONG : (int)why;
}

static int check_key(struct tmgr_table *t, const uint8_t *key, size_t len, struct probe *probe) {
    if (len <= TMGR_KEY_MAX && len > 0 && term_skip(key, key + len) == len) {
        *probe = probe_of(t, key, len);
        return TMGR_OK;
    }
    int status = tmgr_admit(t, true);
    return status != TMGR_OK ? status : len > TMGR_KEY_MAX ? TMGR_TOO_LONG : TMGR_BAD_ROW;
}

int tmgr_insert(struct tmgr_table *t, const uint8_t *row, size_t row_len, int64_t wait_ns) {
    struct call call = {.row = row, .row_len = row_len, .wait_ns = wait_ns};
    int status = check_row(t, row, row_len, &call.probe);
    return status == TMGR_OK ? run(t, insert_locked, &call) : status;
}

int tmgr_insert_new(struct tmgr_table *t, const uint8_t *row, size_t row_len, int64_t wait_ns) {
    struct call call = {.row = row, .row_len = row_len, .wait_ns = wait_ns};
    int status = check_row(t, row, row_len, &call.probe);
    return status == TMGR_OK ? run(t, insert_new_locked, &call) : status;
}

int tmgr_delete(struct tmgr_table *t, const uint8_t *key, size_t key_len, int64_t wait_ns) {
    struct call call = {.wait_ns = wait_ns};
    int status = check_key(t, key, key_len, &call.probe);
    return status == TMGR_OK ? run(t, delete_locked, &call) : status;
}

int tmgr_take(struct tmgr_table *t, const uint8_t *key, size_t key_len, struct tmgr_buffer *row, int64_t wait_ns) {
    struct call call = {.out = row, .wait_ns = wait_ns};
    int status = check_key(t, key, key_len, &call.probe);
    return status == TMGR_OK ? run(t, take_locked, &call) : status;
}

/* What tables of one row per key have alone: after admission, before the arguments. */
static int check_type(struct tmgr_table *t) {
    if (!t->bag)
        return TMGR_OK;
    int status = tmgr_admit(t, true);
    return status != TMGR_OK ? status : TMGR_OPERATION;
}

static int same_key(struct tmgr_table *t, const struct probe *a, const struct probe *b) {
    if (a->len == b->len && memcmp(a->key, b->key, a->len) == 0)
        return TMGR_OK;
    if (!t->ordered)
        return TMGR_KEY_DIFFERS;
    struct sorted left, right;
    int status = sorted_make(&left, a->key, a->len);
    if (status != TMGR_OK)
        return status;
    status = sorted_make(&right, b->key, b->len);
    if (status == TMGR_OK) {
        bool same = sorted_compare(left.bytes, left.len, right.bytes, right.len) == 0;
        status = same ? TMGR_OK : TMGR_KEY_DIFFERS;
        sorted_free(&right);
    }
    sorted_free(&left);
    return status;
}

int tmgr_compare_and_swap(struct tmgr_table *t, const uint8_t *old_row, size_t old_len, const uint8_t *new_row,
                          size_t new_len, int64_t wait_ns) {
    struct call call = {.row = old_row, .row_len = old_len, .other = new_row, .other_len = new_len, .wait_ns = wait_ns};
    struct probe other;
    int status = check_type(t);
    if (status == TMGR_OK)
        status = check_row(t, old_row, old_len, &call.probe);
    if (status == TMGR_OK)
        status = check_row(t, new_row, new_len, &other);
    if (status != TMGR_OK)
        return status;
    status = same_key(t, &call.probe, &other);
    if (status != TMGR_OK) {
        int admitted = tmgr_admit(t, true);
        return admitted != TMGR_OK ? admitted : status;
    }
    return run_with_scratch(t, swap_locked, &call);
}

int tmgr_update(struct tmgr_table *t, const struct tmgr_op *op, struct tmgr_buffer *results, int64_t wait_ns) {
    struct call call = {.op = op, .out = results, .wait_ns = wait_ns};
    if (op->kind != TMGR_OP_UPDATE_COUNTER && op->kind != TMGR_OP_UPDATE_ELEMENT)
        return TMGR_BAD_OPTION;
    int status = check_type(t);
    if (status == TMGR_OK)
        status = check_key(t, op->key, op->key_len, &call.probe);
    return status == TMGR_OK ? run_with_scratch(t, update_locked, &call) : status;
}

int tmgr_delete_many(struct tmgr_table *t, const uint8_t *keys, size_t keys_len, size_t n, uint64_t *removed,
                     int64_t wait_ns) {
    const uint8_t *end = keys + keys_len;
    int status = tmgr_admit(t, true);
    for (size_t i = 0; i < n && status == TMGR_OK; i++) {
        struct call call = {.wait_ns = wait_ns};
        status = next_key(t, &keys, end, &call.probe);
        if (status == TMGR_OK)
            status = run(t, delete_locked, &call);
        *removed += status == TMGR_OK ? call.removed : 0;
        status = status == TMGR_ABSENT ? TMGR_OK : status;
    }
    return status;
}

/* -- writing: several stripes ------------------------------------------------------------------------------------------------------ */

static void unlock_stripes(struct tmgr_table *t, uint64_t stripes) {
    for (; stripes != 0; stripes &= stripes - 1)
        stripe_unlock(&t->stripes[__builtin_ctzll(stripes)]);
}

/* Ascending, all or none. */
static int lock_stripes(struct tmgr_table *t, uint64_t stripes, int64_t wait_ns) {
    uint64_t until = 0; /* the clock is asked only where there is something to wait for */
    for (uint64_t left = stripes; left != 0; left &= left - 1) {
        struct stripe *s = &t->stripes[__builtin_ctzll(left)];
        int status = stripe_lock(t, s, 0);
        if (status == TMGR_BUSY && wait_ns > 0) {
            uint64_t now = os_monotonic_ns();
            until = until != 0 ? until : now + (uint64_t)wait_ns;
            status = stripe_lock(t, s, now < until ? (int64_t)(until - now) : 0);
        }
        if (status != TMGR_OK) {
            unlock_stripes(t, stripes & ((left & -left) - 1));
            return status;
        }
    }
    return TMGR_OK;
}

/* The left-over records of these stripes hold every descriptor that we could use: resolve them all. */
static int catch_up(struct tmgr_table *t, uint64_t stripes, int64_t wait_ns) {
    int status = t->n_stripes < 64 && stripes >> t->n_stripes != 0 ? poison(t, POISON_LOG) : TMGR_OK;
    for (; stripes != 0 && status == TMGR_OK; stripes &= stripes - 1) {
        struct stripe *s = &t->stripes[__builtin_ctzll(stripes)];
        status = stripe_lock(t, s, wait_ns);
        if (status == TMGR_OK) {
            status = stripe_catch_up(t, s);
            /* It takes part in nothing now. A bit that is still set belongs to nobody (damage), and would be waited for. */
            for (uint32_t i = 0; i < t->n_stripes * DESCRIPTORS && status == TMGR_OK; i++)
                fetch_and(&t->stripes[i / DESCRIPTORS].descriptors[i % DESCRIPTORS].participants,
                          ~(UINT64_C(1) << stripe_number(t, s)));
            stripe_unlock(s);
        }
    }
    return status;
}

struct batch {
    const struct tmgr_op *ops;
    struct probe *probes;
    size_t *
        order; /* of a list of rows: the ops stripe by stripe, so that what a stripe needs is at hand for all of its rows */
    size_t n, failed;
    uint64_t stripes;
    uint64_t removed; /* rows that were named by DELETE_OBJECT; of a bag only */
    bool replaces;    /* the one op, a DELETE, is tmgr_replace_rows */
    bool in_group;    /* the keys of the group of INSERT_NEW have been looked at */
    struct txn txn;
    struct call call;
};

static int apply_update(struct tmgr_table *t, struct batch *batch, size_t i, struct stripe *s, struct place *place,
                        bool present) {
    const struct tmgr_op *op = &batch->ops[i];
    struct call *call = &batch->call;
    uint64_t offset;
    int status;
    if (present) {
        size_t len;
        txn_current(t, &batch->txn, place, &offset);
        const uint8_t *row = stored_row(t, call, offset, &len);
        status = row != NULL ? build_update(t, call, op, row, len) : TMGR_NO_MEMORY;
    } else if (op->row == NULL && op->kind == TMGR_OP_UPDATE_ELEMENT) {
        return TMGR_OK; /* which outside of a batch is answered with "false" */
    } else {
        status = op->row != NULL ? build_default(t, call, op) : TMGR_ABSENT;
    }
    if (status == TMGR_OK && call->built->len > ROW_BYTES_MAX)
        status = TMGR_TOO_LONG;
    return status == TMGR_OK ? txn_put(t, &batch->txn, s, place, &batch->probes[i], call->built->data, call->built->len)
                             : status;
}

static int apply_delete_object(struct tmgr_table *t, struct batch *batch, size_t i, struct stripe *s,
                               struct place *place) {
    uint64_t offset;
    size_t len;
    txn_current(t, &batch->txn, place, &offset);
    const uint8_t *row = stored_row(t, &batch->call, offset, &len);
    if (row == NULL)
        return TMGR_NO_MEMORY;
    bool same = same_terms(row, len, batch->ops[i].row, batch->ops[i].row_len);
    return same ? txn_remove(t, &batch->txn, s, place) : TMGR_OK;
}

/* The rows newer than the oldest that goes, and that stay, are inserted again behind it, oldest first. Copies, for what is
 * unlinked may be used again before they are all there. */
static int cut_and_keep(struct tmgr_table *t, struct batch *batch, size_t i, struct stripe *s, struct place *place,
                        uint64_t list, const struct bag_matches *found) {
    const struct tmgr_op *op = &batch->ops[i];
    uint64_t rest = cell_next(t, found->oldest), kept = found->depth - found->n;
    uint64_t *ends = malloc((kept + 1) * sizeof *ends); /* of the kept rows in `built`, newest first */
    struct tmgr_buffer *rows = batch->call.built;
    int status = ends != NULL ? TMGR_OK : TMGR_NO_MEMORY;
    size_t n = 0;
    rows->len = 0;
    for (uint64_t cell = list; status == TMGR_OK && cell != found->oldest; cell = cell_next(t, cell)) {
        status = row_is(t, cell, op->row, op->row_len);
        if (status == TMGR_ABSENT) {
            status = row_copy(t, NULL, 0, cell, rows);
            ends[++n] = rows->len;
            status = status == TMGR_BUSY ? poison(t, POISON_ROWS) : status;
        }
    }
    if (status == TMGR_OK)
        status = txn_cut(t, &batch->txn, s, place, rest, found->depth);
    for (; status == TMGR_OK && n > 0; n--) {
        uint64_t start = n > 1 ? ends[n - 1] : 0;
        status = txn_put(t, &batch->txn, s, place, &batch->probes[i], rows->data + start, ends[n] - start);
    }
    free(ends);
    return status;
}

static int apply_delete_from_bag(struct tmgr_table *t, struct batch *batch, size_t i, struct stripe *s,
                                 struct place *place) {
    struct bag_matches found;
    uint64_t list;
    txn_current(t, &batch->txn, place, &list);
    int status = bag_matches(t, list, batch->ops[i].row, batch->ops[i].row_len, &found);
    if (status == TMGR_OK) {
        batch->removed += found.n;
        status = cut_and_keep(t, batch, i, s, place, list, &found);
    }
    return status == TMGR_ABSENT ? TMGR_OK : status;
}

/* tmgr_replace_rows: op.updates are the old rows, op.row the new ones. The oldest that stay as they are are left alone. */
static int replace_rows(struct tmgr_table *t, struct batch *batch, const struct tmgr_op *op, struct stripe *s,
                        struct place *place) {
    struct tmgr_buffer *rows = batch->call.scratch;
    uint64_t list, cell;
    size_t n = 0, old_at = 0, new_at = 0, len = 0;
    txn_current(t, &batch->txn, place, &list);
    rows->len = 0;
    int status = bag_copy(t, NULL, 0, list, rows, &n);
    if (status != TMGR_OK)
        return status == TMGR_BUSY ? poison(t, POISON_ROWS) : status;
    if (rows->len != op->updates_len || memcmp(rows->data, op->updates, rows->len) != 0)
        return TMGR_ABSENT;
    for (; old_at < op->updates_len && n > 0; old_at += len, new_at += len, n--) {
        len = term_skip(op->updates + old_at, op->updates + op->updates_len);
        size_t new_len = new_at < op->row_len ? term_skip(op->row + new_at, op->row + op->row_len) : 0;
        if (len == 0 || len != new_len || memcmp(op->updates + old_at, op->row + new_at, len) != 0)
            break;
    }
    cell = list;
    for (size_t i = 0; i < n; i++)
        cell = cell_next(t, cell);
    if (n > 0)
        status = txn_cut(t, &batch->txn, s, place, cell, n);
    for (; status == TMGR_OK && new_at < op->row_len; new_at += len) {
        len = term_skip(op->row + new_at, op->row + op->row_len);
        status = len != 0 ? txn_put(t, &batch->txn, s, place, &batch->probes[0], op->row + new_at, len) : TMGR_BAD_ROW;
    }
    return status;
}

static int apply_insert(struct tmgr_table *t, struct batch *batch, size_t i, struct stripe *s, struct place *place,
                        bool present) {
    const struct tmgr_op *op = &batch->ops[i];
    if (t->type == TMGR_BAG && present) {
        uint64_t list, cell;
        txn_current(t, &batch->txn, place, &list);
        int status = bag_find(t, list, op->row, op->row_len, &cell);
        if (status != TMGR_ABSENT)
            return status;
    }
    return txn_put(t, &batch->txn, s, place, &batch->probes[i], op->row, op->row_len);
}

/* The key's place, and whether it is there as the transaction sees it. */
static int locate_in(struct tmgr_table *t, struct batch *batch, struct stripe *s, const struct probe *probe,
                     struct place *place, bool *present) {
    for (;;) {
        int status = index_locate(t, s, probe, place);
        uint64_t row;
        *present = false;
        if (status != TMGR_OK)
            return status == TMGR_ABSENT ? TMGR_OK : status;
        const struct tx_record *record =
            place->content & SLOT_PENDING ? at(t, slot_offset(place->content)) : NULL; /* checked by index_locate */
        if (record != NULL && load_relaxed(&record->tx) != batch->txn.name) {
            status = txn_resolve_slot(t, s, place->slot);
            if (status != TMGR_OK)
                return status;
            continue;
        }
        *present = txn_current(t, &batch->txn, place, &row) == TMGR_OK;
        return TMGR_OK;
    }
}

static int apply_one(struct tmgr_table *t, struct batch *batch, size_t i) {
    const struct tmgr_op *op = &batch->ops[i];
    struct stripe *s = stripe_of_hash(t, batch->probes[i].hash);
    struct place place;
    bool present;
    int status = locate_in(t, batch, s, &batch->probes[i], &place, &present);
    if (status != TMGR_OK)
        return status;
    switch (op->kind) {
    case TMGR_OP_INSERT_NEW:
        if (present && !batch->in_group)
            return TMGR_OK;
        /* fall through */
    case TMGR_OP_INSERT:
    case TMGR_OP_INSERT_ALL_NEW:
        return apply_insert(t, batch, i, s, &place, present);
    case TMGR_OP_DELETE:
        if (batch->replaces)
            return present ? replace_rows(t, batch, op, s, &place) : TMGR_ABSENT;
        return present ? txn_remove(t, &batch->txn, s, &place) : TMGR_OK;
    case TMGR_OP_DELETE_OBJECT:
        return !present ? TMGR_OK
               : t->bag ? apply_delete_from_bag(t, batch, i, s, &place)
                        : apply_delete_object(t, batch, i, s, &place);
    default:
        return apply_update(t, batch, i, s, &place, present);
    }
}

/* A group of INSERT_NEW from op i on: all of it, or nothing if one of its keys is there. */
static int apply_group(struct tmgr_table *t, struct batch *batch, size_t i) {
    size_t n = batch->ops[i].group;
    bool present = false;
    int status = TMGR_OK;
    for (size_t j = 0; j < n && status == TMGR_OK && !present; j++) {
        struct place place;
        const struct probe *probe = &batch->probes[i + j];
        status = locate_in(t, batch, stripe_of_hash(t, probe->hash), probe, &place, &present);
    }
    batch->in_group = true;
    for (size_t j = 0; j < n && status == TMGR_OK && !present; j++)
        status = apply_one(t, batch, i + j);
    batch->in_group = false;
    return status;
}

/* The buckets that these rows will need, made before any slot is pending, because pending slots hold up splits. */
static int prepare_stripes(struct tmgr_table *t, struct batch *batch) {
    memset(batch->txn.expected, 0, sizeof batch->txn.expected);
    for (size_t i = 0; i < batch->n; i++) /* rows of one key in a bag often come one after the other */
        if (!t->bag || i == 0 || batch->probes[i].hash != batch->probes[i - 1].hash)
            batch->txn.expected[stripe_of_hash(t, batch->probes[i].hash) - t->stripes]++;
    int status = TMGR_OK;
    for (uint64_t left = batch->stripes; left != 0 && status == TMGR_OK; left &= left - 1) {
        struct stripe *s = &t->stripes[__builtin_ctzll(left)];
        uint64_t expected = batch->txn.expected[stripe_number(t, s)];
        if (expected > FIRST_BUCKETS && !t->ordered)
            status = hset_start(t, s);
        if (status == TMGR_OK)
            status = index_grow(t, s, load_relaxed(&s->rows[0]) + expected, expected);
    }
    return status;
}

static int any_present(struct tmgr_table *t, struct batch *batch) {
    for (size_t i = 0; i < batch->n; i++) {
        struct place place;
        if (batch->ops[i].kind != TMGR_OP_INSERT_ALL_NEW)
            continue;
        batch->failed = i;
        int status = locate(t, stripe_of_hash(t, batch->probes[i].hash), &batch->probes[i], &place);
        if (status != TMGR_ABSENT)
            return status == TMGR_OK ? TMGR_PRESENT : status;
    }
    return TMGR_OK;
}

/* Only ops of one key depend on each other, and those stay in order, for they are of one stripe. But which op is found
 * wanting first is told to the caller, so only what cannot be refused is put in another order than the caller's. */
static void sort_list(struct tmgr_table *t, struct batch *batch) {
    size_t next[STRIPES_MAX + 1] = {0};
    bool is_list = !t->ordered && batch->order != NULL;
    for (size_t i = 0; i < batch->n && is_list; i++) {
        is_list = batch->ops[i].group <= 1 &&
                  (batch->ops[i].kind == TMGR_OP_INSERT || batch->ops[i].kind == TMGR_OP_INSERT_ALL_NEW);
        next[stripe_index(t, batch->probes[i].hash) + 1]++;
    }
    for (uint32_t i = 1; i <= STRIPES_MAX; i++)
        next[i] += next[i - 1];
    for (size_t i = 0; i < batch->n && is_list; i++)
        batch->order[next[stripe_index(t, batch->probes[i].hash)]++] = i;
    if (!is_list) {
        free(batch->order);
        batch->order = NULL;
    }
}

enum { AHEAD = 8 }; /* operations whose buckets and rows are on their way while one is done */

static inline size_t nth_op(const struct batch *batch, size_t k) { return batch->order != NULL ? batch->order[k] : k; }

static int apply_locked(struct tmgr_table *t, struct batch *batch, uint64_t *busy) {
    batch->removed = 0;
    int status = any_present(t, batch);
    if (status == TMGR_OK)
        status = prepare_stripes(t, batch);
    if (status == TMGR_OK)
        status = txn_begin(t, &batch->txn, batch->stripes, busy);
    if (status != TMGR_OK)
        return status;
    *busy = 0;
    const struct bucket *ahead[AHEAD] = {NULL};
    for (size_t k = 0; k < batch->n && status == TMGR_OK; k++) {
        size_t i = nth_op(batch, k);
        if (k + AHEAD / 2 < batch->n)
            hset_prefetch_row(t, ahead[(k + AHEAD / 2) % AHEAD], batch->probes[nth_op(batch, k + AHEAD / 2)].hash);
        if (k + AHEAD < batch->n) {
            uint64_t hash = batch->probes[nth_op(batch, k + AHEAD)].hash;
            ahead[k % AHEAD] = index_prefetch(t, stripe_of_hash(t, hash), hash);
        }
        batch->failed = i;
        if (batch->ops[i].group > 1) {
            status = apply_group(t, batch, i);
            k += batch->ops[i].group - 1;
        } else {
            status = apply_one(t, batch, i);
        }
    }
    int ended = txn_end(t, &batch->txn, status == TMGR_OK);
    /* What was taken away has left holes in a tree, and, if nothing came of it, what was put in. */
    for (size_t i = 0; t->ordered && i < batch->n && ended == TMGR_OK; i++)
        if (status != TMGR_OK || batch->ops[i].kind == TMGR_OP_DELETE || batch->ops[i].kind == TMGR_OP_DELETE_OBJECT)
            ended = index_tidy(t, &t->stripes[0], &batch->probes[i]);
    for (uint64_t left = batch->stripes; left != 0 && status == TMGR_OK && ended == TMGR_OK; left &= left - 1) {
        struct stripe *s = &t->stripes[__builtin_ctzll(left)];
        ended = index_grow(t, s, load_relaxed(&s->rows[0]), 2);
    }
    return status != TMGR_OK ? status : ended;
}

static int apply_once(struct tmgr_table *t, struct batch *batch) {
    uint64_t busy = 0;
    int status = segment_enter(t, true);
    if (status != TMGR_OK)
        return status;
    status = lock_stripes(t, batch->stripes, batch->call.wait_ns);
    if (status == TMGR_OK) {
        if (batch->call.wait_ns > 0)
            status = owner_admits(t, true);
        if (status == TMGR_OK)
            status = apply_locked(t, batch, &busy);
        unlock_stripes(t, batch->stripes);
    }
    if (busy != 0) {
        status = catch_up(t, busy, batch->call.wait_ns);
        status = status == TMGR_OK ? AGAIN : status;
    } else if (status == TMGR_FULL) {
        uint64_t bytes = bytes_of(&batch->call);
        for (size_t i = 0; i < batch->n; i++)
            bytes += batch->ops[i].row_len + batch->ops[i].updates_len + sizeof(struct tx_record);
        status = reclaim_for(t, &batch->call, bytes, batch->n);
    }
    segment_leave(t);
    return status;
}

static int check_ops(struct tmgr_table *t, struct batch *batch) {
    int status = TMGR_OK;
    for (size_t i = 0; t->bag && i < batch->n; i++) {
        batch->failed = i;
        if (batch->ops[i].kind >= TMGR_OP_UPDATE_COUNTER)
            return TMGR_OPERATION;
    }
    for (size_t i = 0; i < batch->n && status == TMGR_OK; i++) {
        const struct tmgr_op *op = &batch->ops[i];
        batch->failed = i;
        if (op->kind > TMGR_OP_UPDATE_ELEMENT ||
            (op->group > 1 && (op->kind != TMGR_OP_INSERT_NEW || op->group > batch->n - i)))
            status = TMGR_BAD_OPTION;
        else if (op->kind == TMGR_OP_DELETE || op->kind >= TMGR_OP_UPDATE_COUNTER)
            status = check_key(t, op->key, op->key_len, &batch->probes[i]);
        else
            status = check_row(t, op->row, op->row_len, &batch->probes[i]);
        batch->stripes |= UINT64_C(1) << stripe_index(t, batch->probes[i].hash);
    }
    return status;
}

static int apply(struct tmgr_table *t, struct batch *batch, int64_t wait_ns) {
    int status = tmgr_admit(t, true);
    if (status != TMGR_OK || batch->n == 0)
        return status;
    batch->call.wait_ns = wait_ns;
    batch->probes = calloc(batch->n, sizeof *batch->probes);
    batch->call.scratch = scratch_take();
    batch->call.built = scratch_take();
    status = batch->probes != NULL && batch->call.scratch != NULL && batch->call.built != NULL ? check_ops(t, batch)
                                                                                               : TMGR_NO_MEMORY;
    uint64_t until = end_of(wait_ns);
    if (status == TMGR_OK && batch->n > t->n_stripes) {
        batch->order = malloc(batch->n * sizeof *batch->order); /* does without if there is no memory for it */
        sort_list(t, batch);
    }
    if (status == TMGR_OK)
        do
            status = apply_once(t, batch);
        while (once_more(until, status, &batch->call));
    free(batch->order);
    free(batch->probes);
    if (batch->call.scratch != NULL)
        scratch_put(batch->call.scratch);
    if (batch->call.built != NULL)
        scratch_put(batch->call.built);
    return status;
}

int tmgr_apply(struct tmgr_table *t, const struct tmgr_op *ops, size_t n_ops, size_t *failed, int64_t wait_ns) {
    struct batch batch = {.ops = ops, .n = n_ops};
    int status = apply(t, &batch, wait_ns);
    if (failed != NULL && n_ops > 0)
        *failed = batch.failed;
    return status;
}

int tmgr_delete_object(struct tmgr_table *t, const uint8_t *row, size_t row_len, uint64_t *removed, int64_t wait_ns) {
    struct call call = {.row = row, .row_len = row_len, .wait_ns = wait_ns};
    int status = check_row(t, row, row_len, &call.probe);
    if (status != TMGR_OK)
        return status;
    status = t->bag ? run(t, delete_newest_locked, &call) : run_with_scratch(t, delete_object_locked, &call);
    if (status == NOT_ON_TOP) {
        struct tmgr_op op = {.kind = TMGR_OP_DELETE_OBJECT, .row = row, .row_len = row_len};
        struct batch batch = {.ops = &op, .n = 1};
        status = apply(t, &batch, wait_ns);
        if (status == TMGR_OK && batch.removed == 0)
            status = TMGR_ABSENT; /* somebody else has removed it meanwhile */
        call.removed = batch.removed;
    }
    if (removed != NULL)
        *removed = status == TMGR_OK ? call.removed : 0;
    return status;
}

int tmgr_replace_rows(struct tmgr_table *t, const uint8_t *key, size_t key_len, const uint8_t *old_rows, size_t old_len,
                      const uint8_t *new_rows, size_t new_len, int64_t wait_ns) {
    struct tmgr_op op = {.kind = TMGR_OP_DELETE,
                         .key = key,
                         .key_len = key_len,
                         .updates = old_rows,
                         .updates_len = old_len,
                         .row = new_rows,
                         .row_len = new_len};
    struct batch batch = {.ops = &op, .n = 1, .replaces = true};
    int status = tmgr_admit(t, true);
    if (status == TMGR_OK && !t->bag)
        status = TMGR_OPERATION;
    return status == TMGR_OK ? apply(t, &batch, wait_ns) : status;
}

static int delete_all_locked(struct tmgr_table *t, uint64_t *removed) {
    int status = TMGR_OK;
    *removed = 0;
    for (uint32_t i = 0; i < t->n_stripes && status == TMGR_OK; i++) {
        status = stripe_catch_up(t, &t->stripes[i]); /* the other root becomes the current one: it must be empty */
        *removed += load_relaxed(&t->stripes[i].rows[0]);
    }
    if (status != TMGR_OK)
        return status;
    publish(&t->control->gen, load_relaxed(&t->control->gen) + 1); /* COMMIT POINT */
    for (uint32_t i = 0; i < t->n_stripes && status == TMGR_OK; i++)
        status = hset_synchronise(t, &t->stripes[i]);
    return status;
}

/* What an earlier delete_all has left, stripe by stripe, so that little is to be done with all of them locked. */
static int tear_down_slowly(struct tmgr_table *t, int64_t wait_ns) {
    enum { TURNS_MOST = 1 << 20 }; /* twice what the largest stripe takes: a list of logs leads back to itself */
    int status = TMGR_OK;
    for (uint32_t i = 0; i < t->n_stripes && status == TMGR_OK; i++) {
        struct stripe *s = &t->stripes[i];
        for (int turns = 0; status == TMGR_OK &&
                            (load_acquire(&other_root(s)->segments[0]) != 0 || load_acquire(&s->leftover) != 0);) {
            status = stripe_lock(t, s, wait_ns); /* which does TODO_UNITS of it */
            if (status != TMGR_OK)
                return status;
            stripe_unlock(s);
            if (++turns > TURNS_MOST)
                return poison(t, POISON_LOG);
        }
    }
    return status;
}

int tmgr_delete_all(struct tmgr_table *t, uint64_t *removed, int64_t wait_ns) {
    int status;
    do {
        status = segment_enter(t, true);
        if (status != TMGR_OK)
            return status;
        uint64_t all = t->n_stripes == 64 ? UINT64_MAX : (UINT64_C(1) << t->n_stripes) - 1;
        status = tear_down_slowly(t, wait_ns);
        if (status == TMGR_OK)
            status = lock_stripes(t, all, wait_ns);
        if (status == TMGR_OK) {
            status = delete_all_locked(t, removed);
            unlock_stripes(t, all);
        }
        segment_leave(t);
    } while (status == AGAIN);
    return status;
}

/* -- ownership -------------------------------------------------------------------------------------------------------------------- */

int tmgr_self(struct tmgr_process *process) {
    const struct os_self *self = os_self();
    *process = (struct tmgr_process){(uint32_t)load_relaxed(&self->pid), load_relaxed(&self->start)};
    return TMGR_OK;
}

int tmgr_alive(struct tmgr_process *process) {
    if (process->start == 0)
        process->start = os_process_start(process->pid);
    return os_process_alive(process->pid, process->start);
}

static void describe_owner(struct tmgr_table *t, struct tmgr_info *info) {
    struct owner_record record;
    uint64_t owner = owner_read(t, &record), rule = load_relaxed(&record.rule);
    info->access = rule_access(rule);
    info->heir = rule_heir(rule);
    info->transfer_reason = rule_reason(rule);
    info->owner = owner_process(owner);
    info->owner_alive = t->foreign || owner_word_alive(owner);
    info->heir_process = owner_process(load_relaxed(&record.heir));
    info->heir_alive = info->heir == TMGR_HEIR_PROCESS && (t->foreign || owner_word_alive(load_relaxed(&record.heir)));
    info->transfer_from = owner_process(load_relaxed(&record.from));
    info->transfer_ns = load_relaxed(&record.when_ns);
    info->transfer_seq = load_relaxed(&record.seq);
    info->transfer_end = rule_end(rule);
    info->transfer_exit = rule_exit(rule);
    info->heir_data_len = (uint32_t)(load_relaxed(&record.heir_data_len) % (TMGR_DATA_MAX + 1));
    info->transfer_data_len = (uint32_t)(load_relaxed(&record.transfer_data_len) % (TMGR_DATA_MAX + 1));
    memcpy(info->heir_data, record.heir_data, info->heir_data_len);
    memcpy(info->transfer_data, record.transfer_data, info->transfer_data_len);
}

int tmgr_describe(struct tmgr_table *t, struct tmgr_info *info) {
    int status = segment_enter_last(t);
    if (status != TMGR_OK)
        return status;
    const struct control *control = t->control;
    uint64_t index = load_acquire(&control->name_index) % 2;
    struct os_file file = {.linked = true, .trusted = true};
    memset(info, 0, sizeof *info);
    os_segment_stat(t->fd, &file);
    info->bytes_reserved = file.reserved;
    info->mode = file.mode;
    info->uid = file.uid;
    info->trusted = file.trusted;
    info->type = (uint32_t)load_relaxed(&control->type_keypos);
    info->keypos = t->keypos;
    info->codec = (uint32_t)load_relaxed(&control->codec);
    info->n_stripes = t->n_stripes;
    count(t, &info->rows);
    for (uint32_t i = 0; i < t->n_stripes; i++) {
        info->bytes_used += load_relaxed(&t->stripes[i].bytes);
        info->retired += load_relaxed(&t->stripes[i].tail);
    }
    info->max_bytes = load_relaxed(&control->max_bytes);
    info->created_ns = load_relaxed(&control->created_ns);
    info->last_repair_ns = load_relaxed(&control->last_repair_ns);
    info->repairs = load_relaxed(&control->repairs);
    info->table_id = load_relaxed(&control->table_id);
    info->dropped = load_acquire(&control->state) != STATE_LIVE || !file.linked || owner_is_hidden(t);
    info->moved = load_acquire(&control->state) == STATE_MOVED;
    info->removed = load_acquire(&control->state) != STATE_DROPPED && !info->moved && !file.linked;
    info->unmounted = owner_is_hidden(t);
    info->poisoned = load_relaxed(&control->poisoned) != 0;
    info->foreign_namespace = t->foreign;
    info->readonly = !t->may_write;
    info->name_len = (uint32_t)(load_relaxed(&control->names[index].len) % (TMGR_NAME_MAX + 1));
    copy_racy((uint8_t *)info->name, control->names[index].text, info->name_len);
    describe_owner(t, info);
    segment_leave(t);
    return TMGR_OK;
}

/* Ownership calls need a writable control page, whatever the access of the table. */
static int enter_control(struct tmgr_table *t, bool write) {
    int status = segment_enter_last(t);
    if (status != TMGR_OK)
        return status;
    if (load_acquire(&t->control->state) != STATE_LIVE)
        status = TMGR_NO_TABLE;
    else if (write && t->foreign)
        status = TMGR_NAMESPACE;
    else if (write && !segment_make_writable(t))
        status = TMGR_READONLY;
    if (status != TMGR_OK)
        segment_leave(t);
    return status;
}

/* Where the table has to go with its owner. */
static int drop_if_gone(struct tmgr_table *t, int status) {
    if (status != TMGR_NO_TABLE)
        return status;
    status = segment_drop(t, 0); /* BUSY: another process is removing it */
    return status == TMGR_OK || status == TMGR_BUSY ? TMGR_NO_TABLE : status;
}

int tmgr_claim(struct tmgr_table *t, enum tmgr_claim what, const struct tmgr_ending *ending, int64_t wait_ns) {
    int status = enter_control(t, true);
    if (status != TMGR_OK)
        return status;
    status = drop_if_gone(t, owner_claim(t, what, ending, wait_ns));
    segment_leave(t);
    return status;
}

int tmgr_settle(struct tmgr_table *t, const struct tmgr_ending *ending, int64_t wait_ns) {
    int status = enter_control(t, false);
    if (status != TMGR_OK)
        return status;
    if (!t->foreign && !owner_word_alive(load_acquire(&t->control->owner)))
        segment_make_writable(t);
    status = owner_settle(t, ending, wait_ns);
    status = drop_if_gone(t, status == TMGR_READONLY ? TMGR_ABSENT : status);
    segment_leave(t);
    return status;
}

int tmgr_give_away(struct tmgr_table *t, uint32_t pid, const void *data, size_t data_len, int64_t wait_ns) {
    int status = enter_control(t, true);
    if (status != TMGR_OK)
        return status;
    status = owner_give_away(t, pid, data, data_len, wait_ns);
    segment_leave(t);
    return status;
}

int tmgr_pass_on(struct tmgr_table *t, uint32_t pid, bool kept, int64_t wait_ns) {
    int status = enter_control(t, true);
    if (status != TMGR_OK)
        return status;
    status = owner_pass_on(t, pid, kept, wait_ns);
    segment_leave(t);
    return status;
}

int tmgr_note_end(struct tmgr_table *t, const struct tmgr_ending *ending, int64_t wait_ns) {
    int status = enter_control(t, true);
    if (status != TMGR_OK)
        return status;
    status = owner_note_end(t, ending, wait_ns);
    segment_leave(t);
    return status;
}

int tmgr_setopts(struct tmgr_table *t, uint32_t what, const struct tmgr_options *options, int64_t wait_ns) {
    int status = enter_control(t, true);
    if (status != TMGR_OK)
        return status;
    status = owner_setopts(t, what, options, wait_ns);
    segment_leave(t);
    return status;
}

/* -- the table of functions ---------------------------------------------------------------------------------------------------------- */

const struct tmgr_api *tmgr_api(void) {
    static const struct tmgr_api api = {
        .admit = tmgr_admit,
        .lookup = tmgr_lookup,
        .contains = tmgr_contains,
        .lookup_many = tmgr_lookup_many,
        .scan = tmgr_scan,
        .rows = tmgr_rows,
        .step = tmgr_step,
        .insert = tmgr_insert,
        .insert_new = tmgr_insert_new,
        .prefetch = tmgr_prefetch,
        .delete_key = tmgr_delete,
        .take = tmgr_take,
        .delete_object = tmgr_delete_object,
        .compare_and_swap = tmgr_compare_and_swap,
        .update = tmgr_update,
        .apply = tmgr_apply,
        .delete_many = tmgr_delete_many,
        .delete_all = tmgr_delete_all,
        .len = tmgr_len,
        .buffer_free = tmgr_buffer_free,
        .sort_key = tmgr_sort_key,
        .sort_prefix = tmgr_sort_prefix,
        .query = tmgr_query,
        .program_open = tmgr_program_open,
        .program_free = tmgr_program_free,
        .program_ask = tmgr_program_ask,
    };
    return &api;
}
