/* SPDX-License-Identifier: Apache-2.0 */
#include "txn.h"

static uint64_t stripe_bit(struct tmgr_table *t, struct stripe *s) { return UINT64_C(1) << stripe_number(t, s); }

/* -- 1: begin ---------------------------------------------------------------------------------------------------------------- */

static struct descriptor *free_descriptor(struct tmgr_table *t, uint64_t stripes, uint64_t *number, uint64_t *busy) {
    *busy = 0;
    for (uint64_t left = stripes; left != 0; left &= left - 1) {
        uint64_t stripe = (uint64_t)__builtin_ctzll(left);
        for (uint64_t i = 0; i < DESCRIPTORS; i++) {
            struct descriptor *descriptor = &t->stripes[stripe].descriptors[i];
            uint64_t participants = load_acquire(&descriptor->participants);
            *number = stripe * DESCRIPTORS + i;
            if (participants == 0)
                return descriptor;
            *busy |= participants;
        }
    }
    return NULL;
}

int txn_begin(struct tmgr_table *t, struct txn *txn, uint64_t stripes, uint64_t *busy) {
    uint64_t number;
    txn->descriptor = free_descriptor(t, stripes, &number, busy);
    if (txn->descriptor == NULL)
        return TMGR_ABSENT;
    uint64_t count = (load_relaxed(&txn->descriptor->status) >> 2) + 1;
    count &= (UINT64_C(1) << 56) - 1;
    txn->name = count << 8 | number;
    txn->stripes = stripes;
    publish(&txn->descriptor->status, count << 2 | TX_PENDING);
    for (uint64_t left = stripes; left != 0; left &= left - 1) {
        struct stripe *s = &t->stripes[__builtin_ctzll(left)];
        publish(&s->rows[1], load_relaxed(&s->rows[0]));
        publish(&s->tx, txn->name);
        fetch_or(&txn->descriptor->participants, stripe_bit(t, s));
        txn->log[stripe_number(t, s)] = NULL;
    }
    return TMGR_OK;
}

/* -- 2: records ---------------------------------------------------------------------------------------------------------------- */

static struct tx_record *record_of(struct tmgr_table *t, uint64_t slot) {
    return slot & SLOT_PENDING ? at_checked(t, slot_offset(slot), sizeof(struct tx_record)) : NULL;
}

static void log_init(struct tx_log *log, uint64_t bytes) {
    store_relaxed(&log->next, 0);
    store_relaxed(&log->sibling, 0);
    store_relaxed(&log->tx, 0);
    store_relaxed(&log->capacity, (bytes - sizeof *log) / sizeof(struct tx_record));
    store_relaxed(&log->n, 0);
    store_relaxed(&log->done, 0);
}

static struct tx_log *kept_log(struct tmgr_table *t, const struct stripe *s) {
    struct tx_log *log = at_checked(t, load_relaxed(&s->kept_log), KEPT_LOG_BYTES);
    bool is_sound = log != NULL && load_relaxed(&log->capacity) == KEPT_LOG_RECORDS &&
                    load_relaxed(&log->n) <= KEPT_LOG_RECORDS && load_relaxed(&log->done) == load_relaxed(&log->n);
    return is_sound ? log : NULL;
}

/* Of a small transaction, the first block that it needs is the stripe's kept log, as long as that has room. No record of it is
 * written twice, for readers may still be at those of the transactions before: a full one is retired by the
 * micro-operation that takes the next. ABSENT: the transaction is not small, or the log is a leftover itself, perhaps. */
static int reuse_log(struct tmgr_table *t, struct txn *txn, struct stripe *s, uint64_t n) {
    uint64_t old = load_relaxed(&s->kept_log), offset = old;
    struct tx_log *log = NULL;
    if (n > KEPT_LOG_RECORDS || load_relaxed(&s->leftover) != 0)
        return TMGR_ABSENT;
    if (old != 0 && (log = kept_log(t, s)) == NULL)
        return poison(t, POISON_LOG);
    if (log == NULL || load_relaxed(&log->n) + n > KEPT_LOG_RECORDS) {
        if (load_relaxed(&t->control->short_of_memory) != 0)
            return TMGR_ABSENT; /* rows may need its page more */
        int status = stripe_make_room(t, s);
        if (status == TMGR_OK)
            status = stripe_begin(t, s, KEPT_LOG_BYTES, &offset);
        if (status != TMGR_OK)
            return status == TMGR_FULL ? TMGR_ABSENT : status; /* a smaller one may do */
        log = at(t, offset);
        log_init(log, KEPT_LOG_BYTES);
        stripe_commit(t, s, &s->kept_log, offset, 0, KEPT_LOG_BYTES, old, old != 0 ? KEPT_LOG_BYTES : 0);
    }
    publish(&log->next, 0); /* a death before tx_log: nobody asks whose it is */
    publish(&log->sibling, 0);
    publish(&log->tx, txn->name);
    publish(&s->tx_log, offset);
    txn->log[stripe_number(t, s)] = log;
    return TMGR_OK;
}

int txn_release_log(struct tmgr_table *t, struct stripe *s) {
    uint64_t old = load_relaxed(&s->kept_log);
    if (old == 0 || load_relaxed(&s->leftover) != 0)
        return TMGR_OK;
    if (kept_log(t, s) == NULL)
        return poison(t, POISON_LOG);
    int status = stripe_make_room(t, s);
    if (status == TMGR_OK)
        stripe_commit(t, s, &s->kept_log, 0, 0, 0, old, KEPT_LOG_BYTES);
    return status;
}

static int log_block(struct tmgr_table *t, struct txn *txn, struct stripe *s) {
    enum { MOST = (RUN_BYTES_MAX - sizeof(struct tx_log)) / sizeof(struct tx_record) };
    struct tx_log *last = txn->log[stripe_number(t, s)];
    uint64_t n = txn->expected[stripe_number(t, s)], offset;
    int status = last == NULL ? reuse_log(t, txn, s, n) : TMGR_ABSENT;
    if (status != TMGR_ABSENT)
        return status;
    n = last != NULL || n > MOST ? MOST : n;
    uint64_t bytes;
    status = TMGR_FULL;
    for (; n > 0 && status == TMGR_FULL; n /= 2) { /* a full table may have no run of so many pages */
        bytes = arena_block_size(sizeof(struct tx_log) + n * sizeof(struct tx_record));
        status = stripe_begin(t, s, bytes, &offset);
    }
    if (status != TMGR_OK)
        return status;
    struct tx_log *log = at(t, offset);
    log_init(log, bytes);
    store_relaxed(&log->tx, txn->name);
    stripe_commit(t, s, last != NULL ? &last->next : &s->tx_log, offset, 0, bytes, 0, 0);
    txn->log[stripe_number(t, s)] = log;
    return TMGR_OK;
}

/* The record of this slot: its own if the transaction has touched it before, else a new one, counted but not yet pointed at:
 * aborting finds its slot unchanged and nothing to retire. */
static int record_for(struct tmgr_table *t, struct txn *txn, struct stripe *s, const struct place *place,
                      struct tx_record **record) {
    *record = record_of(t, place->content);
    if (*record != NULL)
        return TMGR_OK;
    struct tx_log *log = txn->log[stripe_number(t, s)];
    if (log == NULL || load_relaxed(&log->n) == load_relaxed(&log->capacity)) {
        int status = log_block(t, txn, s);
        if (status != TMGR_OK)
            return status;
        log = txn->log[stripe_number(t, s)];
    }
    uint64_t n = load_relaxed(&log->n);
    *record = &log->records[n];
    publish(&(*record)->tx, txn->name);
    publish(&(*record)->at, offset_of(t, place->slot));
    publish(&(*record)->old_slot, place->content);
    publish(&(*record)->new_slot, t->bag ? place->content : 0);
    publish(&log->n, n + 1);
    return TMGR_OK;
}

int txn_current(struct tmgr_table *t, struct txn *txn, const struct place *place, uint64_t *row) {
    const struct tx_record *record = record_of(t, place->content);
    uint64_t slot = record != NULL ? load_relaxed(&record->new_slot) : place->content;
    (void)txn;
    *row = slot_offset(slot);
    return slot != 0 ? TMGR_OK : TMGR_ABSENT;
}

/* record.new_slot := to, the row it held before (which no reader could take) retired. */
static void record_set(struct tmgr_table *t, struct stripe *s, struct tx_record *record, uint64_t to,
                       uint64_t new_bytes) {
    uint64_t before = load_relaxed(&record->new_slot), old_bytes = 0;
    uint64_t old = before != 0 ? row_block(t, slot_offset(before), &old_bytes) : 0;
    if (before != to)
        stripe_commit(t, s, &record->new_slot, to, 0, new_bytes, old, old_bytes);
}

static void point_at(struct tmgr_table *t, const struct place *place, uint64_t tag, const struct tx_record *record) {
    if (!(place->content & SLOT_PENDING))
        publish(place->slot, slot_make(tag, offset_of(t, record), SLOT_PENDING));
}

/* -- 2, in a bag -------------------------------------------------------------------------------------------------------------- */

/* The slot, pending. */
static int take_slot(struct tmgr_table *t, struct txn *txn, struct stripe *s, struct place *place, uint64_t tag,
                     struct tx_record **record) {
    int status = record_for(t, txn, s, place, record);
    if (status != TMGR_OK)
        return status;
    point_at(t, place, tag, *record);
    place->content = load_relaxed(place->slot);
    return TMGR_OK;
}

static int add_row(struct tmgr_table *t, struct txn *txn, struct stripe *s, struct place *place,
                   const struct probe *probe, const uint8_t *row, size_t len) {
    struct tx_record *record;
    uint64_t cell, bytes, tag = tag_of_hash(probe->hash);
    int status = place->slot == NULL ? index_extend(t, s, probe, place) : TMGR_OK;
    if (status == TMGR_OK)
        status = take_slot(t, txn, s, place, tag, &record);
    if (status == TMGR_OK)
        status = row_begin(t, s, row, len, probe, &cell, &bytes);
    if (status != TMGR_OK)
        return status;
    cell_link(t, cell, slot_offset(load_relaxed(&record->new_slot)));
    stripe_commit(t, s, &record->new_slot, slot_make(tag, cell, 0), 0, bytes, 0, 0);
    publish(&s->rows[1], load_relaxed(&s->rows[1]) + 1);
    return TMGR_OK;
}

int txn_cut(struct tmgr_table *t, struct txn *txn, struct stripe *s, struct place *place, uint64_t rest,
            uint64_t rows) {
    struct tx_record *record;
    uint64_t tag = slot_tag(place->content), end;
    int status = bag_make_room(t, s);
    if (status == TMGR_OK)
        status = take_slot(t, txn, s, place, tag, &record);
    if (status != TMGR_OK)
        return status;
    uint64_t list = slot_offset(load_relaxed(&record->new_slot)), to = rest != 0 ? slot_make(tag, rest, 0) : 0;
    status = bag_piece(t, list, rest, slot_offset(load_relaxed(&record->old_slot)), &end);
    if (status == TMGR_OK && end != list)
        status = bag_commit(t, s, &record->new_slot, to, 0, list, end);
    else if (status == TMGR_OK)
        publish(&record->new_slot, to);
    if (status == TMGR_OK)
        publish(&s->rows[1], load_relaxed(&s->rows[1]) - rows);
    return status;
}

/* -- 2, in a set ---------------------------------------------------------------------------------------------------------------- */

int txn_put(struct tmgr_table *t, struct txn *txn, struct stripe *s, struct place *place, const struct probe *probe,
            const uint8_t *row, size_t len) {
    struct tx_record *record;
    uint64_t offset, bytes, current;
    if (t->bag)
        return add_row(t, txn, s, place, probe, row, len);
    int status = stripe_make_room(t, s);
    if (status == TMGR_OK && place->slot == NULL)
        status = index_extend(t, s, probe, place);
    if (status == TMGR_OK)
        status = record_for(t, txn, s, place, &record);
    if (status != TMGR_OK)
        return status;
    bool fresh = txn_current(t, txn, place, &current) == TMGR_ABSENT;
    status = row_begin(t, s, row, len, probe, &offset, &bytes);
    if (status != TMGR_OK)
        return status;
    record_set(t, s, record, slot_make(tag_of_hash(probe->hash), offset, 0), bytes);
    point_at(t, place, tag_of_hash(probe->hash), record);
    publish(&s->rows[1], load_relaxed(&s->rows[1]) + fresh);
    return TMGR_OK;
}

int txn_remove(struct tmgr_table *t, struct txn *txn, struct stripe *s, struct place *place) {
    struct tx_record *record;
    uint64_t list, rows;
    int status;
    if (t->bag) {
        txn_current(t, txn, place, &list);
        status = bag_count(t, list, &rows);
        return status == TMGR_OK ? txn_cut(t, txn, s, place, 0, rows) : status;
    }
    status = stripe_make_room(t, s);
    if (status == TMGR_OK)
        status = record_for(t, txn, s, place, &record);
    if (status != TMGR_OK)
        return status;
    record_set(t, s, record, 0, 0);
    point_at(t, place, slot_tag(place->content), record);
    publish(&s->rows[1], load_relaxed(&s->rows[1]) - 1);
    return TMGR_OK;
}

/* -- 3: end ------------------------------------------------------------------------------------------------------------------------ */

uint64_t txn_log_bytes(const struct tx_log *log) {
    return arena_block_size(sizeof *log + load_relaxed(&log->capacity) * sizeof(struct tx_record));
}

/* Any prefix of this may have been done before: every store is absolute, and `tx` goes to 0 after the log is a leftover and
 * before tx_log does, so that tx_log without tx means the log has been handed over. */
int txn_repair(struct tmgr_table *t, struct stripe *s) {
    uint64_t tx = load_relaxed(&s->tx), offset = load_relaxed(&s->tx_log);
    if (tx == 0) {
        publish(&s->tx_log, 0);
        return TMGR_OK;
    }
    struct descriptor *descriptor = descriptor_of(t, tx);
    struct tx_log *log = offset != 0 ? at_checked(t, offset, sizeof *log) : NULL;
    if (descriptor == NULL || (offset != 0 && log == NULL))
        return poison(t, POISON_LOG);
    if (load_acquire(&descriptor->status) >> 2 != tx >> 8) {
        /* The descriptor is another transaction's by now: the death came when this stripe's bit was not set yet, or cleared
         * already, and either means that it has no records. */
        if (offset != 0)
            return poison(t, POISON_LOG);
        publish(&s->tx, 0);
        return TMGR_OK;
    }
    compare_exchange(&descriptor->status, tx >> 8 << 2 | TX_PENDING, tx >> 8 << 2 | TX_ABORTED);
    if ((load_acquire(&descriptor->status) & 3) == TX_COMMITTED)
        publish(&s->rows[0], load_relaxed(&s->rows[1]));
    if (log == NULL) {
        fetch_and(&descriptor->participants, ~stripe_bit(t, s));
    } else if (load_relaxed(&s->leftover) != offset) {
        publish(&log->sibling, load_relaxed(&s->leftover));
        publish(&s->leftover, offset);
    }
    publish(&s->tx, 0);
    publish(&s->tx_log, 0);
    return TMGR_OK;
}

int txn_end(struct tmgr_table *t, struct txn *txn, bool commit) {
    uint64_t number = txn->name >> 8, units = UINT64_MAX;
    int status = TMGR_OK;
    publish(&txn->descriptor->status, number << 2 | (commit ? TX_COMMITTED : TX_ABORTED)); /* COMMIT POINT */
    for (uint64_t left = txn->stripes; left != 0 && status == TMGR_OK; left &= left - 1) {
        struct stripe *s = &t->stripes[__builtin_ctzll(left)];
        status = txn_repair(t, s);
        if (status == TMGR_OK)
            status = txn_resolve(t, s, &units);
    }
    return status;
}

enum { LOG_BLOCKS_MAX = 1 << 20 }; /* more than any transaction makes: the chain is damaged */

/* -- 4: resolve ----------------------------------------------------------------------------------------------------------------------- */

static int resolve_list(struct tmgr_table *t, struct stripe *s, struct tx_record *record, word *slot, bool committed) {
    uint64_t old = load_relaxed(&record->old_slot), new = load_relaxed(&record->new_slot), end;
    uint64_t gone = slot_offset(committed ? old : new);
    int status = bag_make_room(t, s);
    if (status == TMGR_OK)
        status = bag_piece(t, gone, slot_offset(committed ? new : old), 0, &end);
    if (status != TMGR_OK)
        return status;
    if (committed && gone != end)
        return bag_commit(t, s, slot, new, 0, gone, end);
    if (gone != end)
        status = bag_commit(t, s, &record->new_slot, old, 0, gone, end);
    if (status == TMGR_OK)
        publish(slot, committed ? new : old);
    return status;
}

static int resolve_record(struct tmgr_table *t, struct stripe *s, struct tx_record *record, bool committed) {
    uint64_t place = load_relaxed(&record->at), old = load_relaxed(&record->old_slot),
             new = load_relaxed(&record->new_slot);
    if (place % 8 != 0 || !offset_is_valid(t, place & ~UINT64_C(15), UNIT_BYTES) ||
        (old != 0 && !offset_is_valid(t, slot_offset(old), UNIT_BYTES)) ||
        (new != 0 && !offset_is_valid(t, slot_offset(new), UNIT_BYTES)))
        return poison(t, POISON_LOG);
    word *slot = at(t, place);
    uint64_t content = load_relaxed(slot), bytes;
    bool pending = content & SLOT_PENDING && slot_offset(content) == offset_of(t, record);
    if (t->bag)
        return pending ? resolve_list(t, s, record, slot, committed) : TMGR_OK;
    if (committed && (!pending || old == 0)) { /* as of most rows of a list: nothing is retired */
        if (pending)
            publish(slot, new);
        return TMGR_OK;
    }
    int status = stripe_make_room(t, s);
    if (status != TMGR_OK)
        return status;
    if (committed) {
        uint64_t block = row_block(t, slot_offset(old), &bytes);
        stripe_commit(t, s, slot, new, 0, 0, block, bytes);
        return TMGR_OK;
    }
    if (pending)
        publish(slot, old);
    if (new != 0) {
        uint64_t block = row_block(t, slot_offset(new), &bytes);
        stripe_commit(t, s, &record->new_slot, 0, 0, 0, block, bytes);
    }
    return TMGR_OK;
}

static int decided(struct tmgr_table *t, uint64_t tx, struct descriptor **descriptor, bool *committed) {
    *descriptor = descriptor_of(t, tx);
    uint64_t status = *descriptor != NULL ? load_acquire(&(*descriptor)->status) : 0;
    if (status >> 2 != tx >> 8 || (status & 3) == TX_PENDING)
        return poison(t, POISON_LOG);
    *committed = (status & 3) == TX_COMMITTED;
    return TMGR_OK;
}

int txn_resolve_slot(struct tmgr_table *t, struct stripe *s, const word *slot) {
    struct tx_record *record = record_of(t, load_relaxed(slot));
    struct descriptor *descriptor;
    bool committed;
    if (record == NULL || load_relaxed(&record->at) != offset_of(t, slot))
        return poison(t, POISON_LOG);
    int status = decided(t, load_relaxed(&record->tx), &descriptor, &committed);
    return status == TMGR_OK ? resolve_record(t, s, record, committed) : status;
}

/* A block of the leftover is through: on to the next. It is retired, unless it is the kept log. The participants bit is
 * cleared with the last one, before the block goes. Whoever finds the block again after a death clears the bit again; it is
 * not a later transaction's, for that would have needed this stripe's lock and so have come by here first. */
static int log_done(struct tmgr_table *t, struct stripe *s, struct tx_log *log, struct descriptor *descriptor) {
    uint64_t next = load_relaxed(&log->next), sibling = load_relaxed(&log->sibling);
    int status = stripe_make_room(t, s);
    if (status != TMGR_OK)
        return status;
    if (next != 0) {
        struct tx_log *following = at_checked(t, next, sizeof *following);
        if (following == NULL)
            return poison(t, POISON_LOG);
        publish(&following->sibling, sibling);
    } else {
        fetch_and(&descriptor->participants, ~stripe_bit(t, s));
    }
    if (offset_of(t, log) == load_relaxed(&s->kept_log))
        publish(&s->leftover, next != 0 ? next : sibling);
    else
        stripe_commit(t, s, &s->leftover, next != 0 ? next : sibling, 0, 0, offset_of(t, log), txn_log_bytes(log));
    return TMGR_OK;
}

int txn_resolve(struct tmgr_table *t, struct stripe *s, uint64_t *units) {
    uint64_t blocks = 0;
    for (uint64_t offset; *units > 0 && (offset = load_relaxed(&s->leftover)) != 0;) {
        struct tx_log *log = at_checked(t, offset, sizeof *log);
        struct descriptor *descriptor;
        bool committed = false;
        if (log == NULL || ++blocks > LOG_BLOCKS_MAX ||
            load_relaxed(&log->capacity) > RUN_BYTES_MAX / sizeof(struct tx_record) ||
            load_relaxed(&log->n) > load_relaxed(&log->capacity) || !offset_is_valid(t, offset, txn_log_bytes(log)))
            return poison(t, POISON_LOG);
        uint64_t n = load_relaxed(&log->n);
        int status = TMGR_OK;
        if (load_relaxed(&log->done) < n || load_relaxed(&log->next) != 0)
            status = decided(t, load_relaxed(&log->tx), &descriptor, &committed);
        else if ((descriptor = descriptor_of(t, load_relaxed(&log->tx))) ==
                 NULL) /* it may be in use again: see log_done */
            status = poison(t, POISON_LOG);
        for (uint64_t done = load_relaxed(&log->done); status == TMGR_OK && done < n && *units > 0; (*units)--) {
            status = resolve_record(t, s, &log->records[done], committed);
            if (status == TMGR_OK)
                publish(&log->done, ++done);
        }
        if (status == TMGR_OK && load_relaxed(&log->done) >= n && *units > 0) {
            status = log_done(t, s, log, descriptor);
            (*units)--;
        }
        if (status != TMGR_OK)
            return status;
    }
    return TMGR_OK;
}
