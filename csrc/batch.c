/* SPDX-License-Identifier: Apache-2.0 */
/* batch.c - the public verbs that write several rows, or in several stripes, as one: look at the arguments, pass the gate, take
 * the locks of all stripes concerned, do it in a transaction, and try again as write.c does. */
#include "repair.h"
#include "same.h"
#include "segment.h"
#include "write.h"

#include <stdlib.h>

/* -- several stripes ------------------------------------------------------------------------------------------------------ */

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

/* -- several rows --------------------------------------------------------------------------------------------------------- */

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
        const uint8_t *row = write_stored_row(t, call, offset, &len);
        status = row != NULL ? write_build_update(t, call, op, row, len) : TMGR_NO_MEMORY;
    } else if (op->row == NULL && op->kind == TMGR_OP_UPDATE_ELEMENT) {
        return TMGR_OK; /* which outside of a batch is answered with "false" */
    } else {
        status = op->row != NULL ? write_build_default(t, call, op) : TMGR_ABSENT;
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
    const uint8_t *row = write_stored_row(t, &batch->call, offset, &len);
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
        int status = write_locate(t, stripe_of_hash(t, batch->probes[i].hash), &batch->probes[i], &place);
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
        uint64_t bytes = write_bytes_of(&batch->call);
        for (size_t i = 0; i < batch->n; i++)
            bytes += batch->ops[i].row_len + batch->ops[i].updates_len + sizeof(struct tx_record);
        status = write_reclaim_for(t, &batch->call, bytes, batch->n);
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
            status = write_check_key(t, op->key, op->key_len, &batch->probes[i]);
        else
            status = write_check_row(t, op->row, op->row_len, &batch->probes[i]);
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
    uint64_t until = write_end_of(wait_ns);
    if (status == TMGR_OK && batch->n > t->n_stripes) {
        batch->order = malloc(batch->n * sizeof *batch->order); /* does without if there is no memory for it */
        sort_list(t, batch);
    }
    if (status == TMGR_OK)
        do
            status = apply_once(t, batch);
        while (write_once_more(until, status, &batch->call));
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
    int status = write_check_row(t, row, row_len, &call.probe);
    if (status != TMGR_OK)
        return status;
    status = write_delete_object(t, &call);
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

/* -- all rows ------------------------------------------------------------------------------------------------------------- */

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
