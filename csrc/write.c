/* SPDX-License-Identifier: Apache-2.0 */
/* write.c - the public verbs that write one row, or one row after the other: look at the arguments, pass the gate, take the
 * stripe's lock, do it, and try again where the segment had to be mapped anew or memory had to be reclaimed. */
#include "write.h"
#include "evacuate.h"
#include "repair.h"
#include "same.h"
#include "segment.h"

enum {
    RECLAIM_WAIT_NS = 1000000, /* for each stripe */
    RECLAIMS_MOST = 16,        /* for one write */
    MISFITS = 64,              /* blocks taken from larger classes before compaction is tried again */
    MISFITS_PER_ROW = 4        /* the row's, a bucket's, the log's */
};

/* Does it with the stripe's lock held. */
typedef int (*locked_fn)(struct tmgr_table *t, struct stripe *s, struct call *call);

/* -- with the lock held --------------------------------------------------------------------------------------------------- */

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
        status = write_locate(t, s, probe, &place);
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
        status = abandoned != TMGR_OK ? abandoned : write_locate(t, s, probe, &place);
    return status == TMGR_OK || status == TMGR_ABSENT ? put(t, s, probe, &place, call->row, call->row_len) : status;
}

static int insert_new_locked(struct tmgr_table *t, struct stripe *s, struct call *call) {
    struct place place;
    int status = write_locate(t, s, &call->probe, &place);
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
    int status = write_locate(t, s, &call->probe, &place);
    return status == TMGR_OK ? remove_at(t, s, call, &place) : status;
}

static int take_locked(struct tmgr_table *t, struct stripe *s, struct call *call) {
    struct place place;
    int status = write_locate(t, s, &call->probe, &place);
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
    int status = write_locate(t, s, &call->probe, place);
    if (status != TMGR_OK)
        return status;
    size_t len;
    const uint8_t *row = write_stored_row(t, call, slot_offset(place->content), &len);
    if (row == NULL)
        return TMGR_NO_MEMORY;
    return same_terms(row, len, call->row, call->row_len) ? TMGR_OK : TMGR_ABSENT;
}

static int delete_object_locked(struct tmgr_table *t, struct stripe *s, struct call *call) {
    struct place place;
    int status = locate_exactly(t, s, call, &place);
    return status == TMGR_OK ? remove_at(t, s, call, &place) : status;
}

/* Of a bag, where the rows to be removed are its newest. */
static int delete_newest_locked(struct tmgr_table *t, struct stripe *s, struct call *call) {
    struct place place;
    struct bag_matches found;
    int status = write_locate(t, s, &call->probe, &place);
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

int write_build_update(struct tmgr_table *t, struct call *call, const struct tmgr_op *op, const uint8_t *row,
                       size_t len) {
    call->built->len = 0;
    return op->kind == TMGR_OP_UPDATE_COUNTER
               ? (int)term_update_counter(row, len, t->keypos, op->updates, op->updates_len, call->built, call->out)
               : (int)term_update_element(row, len, t->keypos, op->updates, op->updates_len, call->built);
}

int write_build_default(struct tmgr_table *t, struct call *call, const struct tmgr_op *op) {
    call->scratch->len = 0;
    int status = (int)term_with_key(op->row, op->row_len, t->keypos, op->key, op->key_len, call->scratch);
    return status == TMGR_OK ? write_build_update(t, call, op, call->scratch->data, call->scratch->len) : status;
}

static int update_locked(struct tmgr_table *t, struct stripe *s, struct call *call) {
    struct place place;
    int status = write_locate(t, s, &call->probe, &place);
    if (status == TMGR_OK) {
        size_t len;
        const uint8_t *row = write_stored_row(t, call, slot_offset(place.content), &len);
        status = row != NULL ? write_build_update(t, call, call->op, row, len) : TMGR_NO_MEMORY;
        if (status == TMGR_OK && call->built->len == len && memcmp(call->built->data, row, len) == 0)
            return TMGR_OK; /* nothing to write */
    } else if (status == TMGR_ABSENT && call->op->row != NULL) {
        status = write_build_default(t, call, call->op);
    }
    if (status != TMGR_OK)
        return status;
    if (call->built->len > ROW_BYTES_MAX)
        return TMGR_TOO_LONG;
    return put(t, s, &call->probe, &place, call->built->data, call->built->len);
}

/* -- when memory has run out ---------------------------------------------------------------------------------------------- */

/* Everything out of a stripe's quarantine, off its to-do list and out of kept slabs; then slabs of up to `want` pages are
 * emptied. *pages: how many that made. False if others have the lock. */
static bool reclaim_stripe(struct tmgr_table *t, struct stripe *s, uint64_t want, uint64_t *steps, uint64_t *pages) {
    *pages = 0;
    int status = stripe_lock(t, s, RECLAIM_WAIT_NS);
    if (status != TMGR_OK)
        return status != TMGR_BUSY;
    if (stripe_catch_up(t, s) == TMGR_OK && txn_release_log(t, s) == TMGR_OK && stripe_flush(t, s) == TMGR_OK &&
        arena_trim(t, s) == TMGR_OK)
        evacuate(t, s, want, steps, pages);
    stripe_unlock(s);
    return true;
}

/* Memory for a write of so many rows, of about so many bytes: stripe by stripe and round by round until there is twice as much as
 * it takes, so that not every write does this. False if there is nothing left to be gained. */
static bool reclaim(struct tmgr_table *t, uint64_t bytes, uint64_t rows) {
    uint64_t want = 2 * (bytes / PAGE_BYTES + (rows < t->n_stripes ? rows : t->n_stripes)), before, pages = 0, gained,
             steps = SEARCH_STEPS;
    bool all = true;
    do {
        before = pages;
        for (uint32_t i = 0; i < t->n_stripes && pages < want; i++) {
            uint32_t next = atomic_load(&t->reclaim_next) % t->n_stripes;
            all &= reclaim_stripe(t, &t->stripes[next], want - pages, &steps, &gained);
            pages += gained;
            if (pages < want) /* else there may be more where this came from */
                atomic_store(&t->reclaim_next, next + 1);
        }
    } while (pages > before && pages < want);
    if (pages == 0)
        arena_allow_misfits(t, MISFITS + MISFITS_PER_ROW * rows);
    return pages > 0 || !all || steps == 0;
}

/* The first search for memory also serves the quarantine and allows misfits; a further one has a point only if others were
 * quicker to take what the last one made. */
int write_reclaim_for(struct tmgr_table *t, struct call *call, uint64_t bytes, uint64_t rows) {
    if (call->is_last_try || call->reclaims == RECLAIMS_MOST)
        return TMGR_FULL;
    call->reclaims++;
    call->is_last_try = !reclaim(t, bytes, rows);
    return AGAIN;
}

uint64_t write_bytes_of(const struct call *call) {
    return call->row_len + call->other_len + (call->built != NULL ? call->built->len : 0);
}

/* -- the verbs ------------------------------------------------------------------------------------------------------------ */

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
        status = write_reclaim_for(t, call, write_bytes_of(call), 1);
    segment_leave(t);
    return status;
}

static int run(struct tmgr_table *t, locked_fn verb, struct call *call) {
    uint64_t until = write_end_of(call->wait_ns);
    int status;
    do
        status = once(t, verb, call);
    while (write_once_more(until, status, call));
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

int write_check_row(struct tmgr_table *t, const uint8_t *row, size_t len, struct probe *probe) {
    struct term_span key;
    enum tmgr_status why;
    if (term_row(row, len, t->keypos, &key, &why) && len <= ROW_BYTES_MAX) {
        *probe = probe_of(t, row + key.offset, key.len);
        return TMGR_OK;
    }
    int status = tmgr_admit(t, true);
    return status != TMGR_OK ? status : len > ROW_BYTES_MAX ? TMGR_TOO_LONG : (int)why;
}

int write_check_key(struct tmgr_table *t, const uint8_t *key, size_t len, struct probe *probe) {
    if (len <= TMGR_KEY_MAX && len > 0 && term_skip(key, key + len) == len) {
        *probe = probe_of(t, key, len);
        return TMGR_OK;
    }
    int status = tmgr_admit(t, true);
    return status != TMGR_OK ? status : len > TMGR_KEY_MAX ? TMGR_TOO_LONG : TMGR_BAD_ROW;
}

int tmgr_insert(struct tmgr_table *t, const uint8_t *row, size_t row_len, int64_t wait_ns) {
    struct call call = {.row = row, .row_len = row_len, .wait_ns = wait_ns};
    int status = write_check_row(t, row, row_len, &call.probe);
    return status == TMGR_OK ? run(t, insert_locked, &call) : status;
}

int tmgr_insert_new(struct tmgr_table *t, const uint8_t *row, size_t row_len, int64_t wait_ns) {
    struct call call = {.row = row, .row_len = row_len, .wait_ns = wait_ns};
    int status = write_check_row(t, row, row_len, &call.probe);
    return status == TMGR_OK ? run(t, insert_new_locked, &call) : status;
}

int tmgr_delete(struct tmgr_table *t, const uint8_t *key, size_t key_len, int64_t wait_ns) {
    struct call call = {.wait_ns = wait_ns};
    int status = write_check_key(t, key, key_len, &call.probe);
    return status == TMGR_OK ? run(t, delete_locked, &call) : status;
}

int tmgr_take(struct tmgr_table *t, const uint8_t *key, size_t key_len, struct tmgr_buffer *row, int64_t wait_ns) {
    struct call call = {.out = row, .wait_ns = wait_ns};
    int status = write_check_key(t, key, key_len, &call.probe);
    return status == TMGR_OK ? run(t, take_locked, &call) : status;
}

int write_delete_object(struct tmgr_table *t, struct call *call) {
    return t->bag ? run(t, delete_newest_locked, call) : run_with_scratch(t, delete_object_locked, call);
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
        status = write_check_row(t, old_row, old_len, &call.probe);
    if (status == TMGR_OK)
        status = write_check_row(t, new_row, new_len, &other);
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
        status = write_check_key(t, op->key, op->key_len, &call.probe);
    return status == TMGR_OK ? run_with_scratch(t, update_locked, &call) : status;
}

int tmgr_delete_many(struct tmgr_table *t, const uint8_t *keys, size_t keys_len, size_t n, uint64_t *removed,
                     int64_t wait_ns) {
    const uint8_t *end = keys + keys_len;
    int status = tmgr_admit(t, true);
    for (size_t i = 0; i < n && status == TMGR_OK; i++) {
        struct call call = {.wait_ns = wait_ns};
        status = probe_next(t, &keys, end, &call.probe);
        if (status == TMGR_OK)
            status = run(t, delete_locked, &call);
        *removed += status == TMGR_OK ? call.removed : 0;
        status = status == TMGR_ABSENT ? TMGR_OK : status;
    }
    return status;
}
