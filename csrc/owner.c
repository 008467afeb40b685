/* SPDX-License-Identifier: Apache-2.0 */
#include "owner.h"
#include "lock.h"
#include "os.h"

static_assert(TMGR_DATA_MAX == sizeof(((struct owner_record *)0)->heir_data), "the public limit is the field's size");

/* Everything about a new owner, with nothing known of the end of the one before. */
static uint64_t rule_make(uint64_t access, uint64_t heir, uint64_t reason) { return access | heir << 8 | reason << 16; }
/* The same owner with other options. */
static uint64_t rule_change(uint64_t rule, uint64_t access, uint64_t heir) {
    return (rule & ~UINT64_C(0xffff)) | access | heir << 8;
}

bool owner_word_alive(uint64_t identity) {
    struct tmgr_process process = owner_process(identity);
    return (identity & IDENTITY_MASK) == load_relaxed(&os_self()->identity) ||
           os_process_alive(process.pid, process.start);
}

uint64_t owner_read(struct tmgr_table *t, struct owner_record *record) {
    uint64_t before = load_acquire(&t->control->owner), after;
    for (;;) {
        const struct owner_record *used = &owner_records(t)[before % RECORDS];
        uint64_t changes = load_acquire(&used->changes); /* before all else of the record: see below */
        copy_racy((uint8_t *)record, (const uint8_t *)used, sizeof *record);
        fence_acquire(); /* pairs with the publish of the owner word in commit() */
        after = load_acquire(&t->control->owner);
        if (after == before && load_relaxed(&used->changes) == changes)
            return before; /* the count tells when the word came round to the same value meanwhile */
        before = after;
    }
}

/* The owner word, and the rule that was its own at some moment. Of a dead owner: the last one, for it changes nothing more. */
static uint64_t read_rule(struct tmgr_table *t, uint64_t *rule) {
    for (;;) {
        uint64_t owner = load_acquire(&t->control->owner);
        *rule = load_relaxed(&owner_records(t)[owner % RECORDS].rule);
        fence_acquire();
        if (load_relaxed(&t->control->owner) == owner)
            return owner;
    }
}

/* -- admission ------------------------------------------------------------------------------------------------------------- */

bool owner_is_hidden(struct tmgr_table *t) {
    uint64_t place = os_segments_place();
    return place != 0 && t->place != 0 && place != t->place;
}

/* Has the table gone without a word in the segment: its name removed by other means than a drop, another file system mounted
 * over all names (whoever asks by name gets another table), or its owner dead where there is no heir? Asking the kernel costs
 * microseconds, so it is done at most once per tick of the coarse clock (a few milliseconds). */
static bool has_gone(struct tmgr_table *t, uint64_t owner, bool needs_owner) {
    uint64_t tick = os_tick();
    struct os_file file;
    if (load_relaxed(&t->checked_tick) == tick)
        return false;
    if ((os_segment_stat(t->fd, &file) == 0 && !file.linked) || owner_is_hidden(t))
        return true;
    if (needs_owner && !t->foreign && !owner_word_alive(owner))
        return true;
    store_relaxed(&t->checked_tick, tick);
    return false;
}

int owner_refusal(struct tmgr_table *t, int status) {
    uint64_t rule, owner = read_rule(t, &rule);
    if (t->foreign || rule_heir(rule) != TMGR_HEIR_NONE || owner_word_alive(owner))
        return status;
    return read_rule(t, &rule) == owner && rule_heir(rule) == TMGR_HEIR_NONE ? TMGR_NO_TABLE : status;
}

int owner_admits_fully(struct tmgr_table *t, bool write) {
    const struct os_self *self = os_self();
    for (;;) {
        uint64_t rule, now, owner = read_rule(t, &rule);
        if (load_acquire(&t->control->state) != STATE_LIVE)
            return TMGR_NO_TABLE;
        bool is_owner = (owner & IDENTITY_MASK) == load_relaxed(&self->identity) && !t->foreign;
        if (has_gone(t, owner, !is_owner && rule_heir(rule) == TMGR_HEIR_NONE)) {
            if (read_rule(t, &now) != owner || rule_heir(now) != rule_heir(rule))
                continue; /* first the death, then the heir: it may have named one before it died */
            return TMGR_NO_TABLE;
        }
        if (!rule_permits(rule, is_owner, write))
            return owner_refusal(t, TMGR_ACCESS);
        return write && !same_namespaces(t, self) ? owner_refusal(t, TMGR_NAMESPACE) : TMGR_OK;
    }
}

/* -- changes ----------------------------------------------------------------------------------------------------------------- */

static int take_control(struct tmgr_table *t, int64_t wait_ns) {
    if (!t->writable)
        return TMGR_READONLY;
    if (t->foreign)
        return TMGR_NAMESPACE;
    int status = owner_lock(t, wait_ns);
    if (status == TMGR_OK && load_relaxed(&t->control->state) != STATE_LIVE) {
        owner_unlock(t); /* a copy that is being made of it, or is the table by now, would not have the change */
        status = TMGR_NO_TABLE;
    }
    return status;
}

int owner_lock(struct tmgr_table *t, int64_t wait_ns) {
    switch (lock_take(t->control->control_lock, wait_ns)) {
    case LOCK_HELD_DEAD:
        lock_mark_consistent(t->control->control_lock); /* nothing to repair: see the head of owner.h */
        return TMGR_OK;
    case LOCK_HELD:
        return TMGR_OK;
    case LOCK_BUSY:
        return TMGR_BUSY;
    default:
        return poison(t, POISON_LOCK);
    }
}

void owner_unlock(struct tmgr_table *t) { lock_release(t->control->control_lock); }

static void copy_record(struct owner_record *to, const struct owner_record *from) {
    fill_racy((uint8_t *)to, (const uint8_t *)from, sizeof *to);
}

/* Under the control lock: make `next` the record that counts, if the owner word is still `expected`. */
static int commit(struct tmgr_table *t, uint64_t expected, uint64_t identity, const struct owner_record *next) {
    if (load_relaxed(&t->control->owner) != expected ||
        load_relaxed(&owner_records(t)[expected % RECORDS].changes) != load_relaxed(&next->changes) - 1)
        return TMGR_BUSY;
    uint64_t number = (expected + 1) % RECORDS;
    copy_record(&owner_records(t)[number], next);
    publish(&t->control->owner, (identity & IDENTITY_MASK) | number); /* COMMIT POINT */
    return TMGR_OK;
}

/* next: what owner_read gave together with `expected`, changed. */
static int change(struct tmgr_table *t, uint64_t expected, uint64_t identity, struct owner_record *next,
                  int64_t wait_ns) {
    int status = take_control(t, wait_ns);
    if (status == TMGR_OK) {
        store_relaxed(&next->changes, load_relaxed(&next->changes) + 1);
        status = commit(t, expected, identity, next);
        owner_unlock(t);
    }
    return status;
}

static bool set_data(uint8_t *to, word *to_len, const void *data, size_t len) {
    if (len > TMGR_DATA_MAX)
        return false;
    memset(to, 0, TMGR_DATA_MAX);
    if (len > 0)
        memcpy(to, data, len);
    store_relaxed(to_len, len);
    return true;
}

/* The word of a live process, without a record number; 0 if it is none, another one having its pid by now included. */
static uint64_t live_identity(const struct tmgr_process *process) {
    uint64_t start = os_process_start_alive(process->pid);
    if (start == 0 || (process->start != 0 && process->start != start))
        return 0;
    return (uint64_t)process->pid << OWNER_PID_SHIFT | start << OWNER_START_SHIFT;
}

/* Fill in heir and access as asked for; the record is private to the caller. */
static int apply_options(struct owner_record *record, uint32_t what, const struct tmgr_options *options) {
    uint64_t rule = load_relaxed(&record->rule);
    uint32_t access = rule_access(rule), heir = rule_heir(rule);
    if (what & TMGR_CHANGE_ACCESS) {
        if (options->access > TMGR_PRIVATE)
            return TMGR_BAD_OPTION;
        access = options->access;
    }
    if (what & TMGR_CHANGE_HEIR) {
        uint64_t identity = 0;
        if (options->heir > TMGR_HEIR_PROCESS)
            return TMGR_BAD_OPTION;
        if (options->heir == TMGR_HEIR_PROCESS) {
            identity = live_identity(&options->heir_process);
            if (identity == 0)
                return TMGR_NO_PROCESS;
        }
        heir = options->heir;
        store_relaxed(&record->heir, identity);
    }
    if (what & (TMGR_CHANGE_HEIR | TMGR_CHANGE_HEIR_DATA)) {
        if (!(what & TMGR_CHANGE_HEIR) && heir == TMGR_HEIR_NONE && options->heir_data_len > 0)
            return TMGR_BAD_OPTION;
        if (!set_data(record->heir_data, &record->heir_data_len, options->heir_data, options->heir_data_len))
            return TMGR_TOO_LONG;
    }
    store_relaxed(&record->rule, rule_change(rule, access, heir));
    return TMGR_OK;
}

int owner_init(struct tmgr_table *t, const struct tmgr_options *options) {
    struct owner_record record;
    memset(&record, 0, sizeof record);
    int status = apply_options(&record, TMGR_CHANGE_HEIR | TMGR_CHANGE_ACCESS, options);
    if (status != TMGR_OK)
        return status;
    copy_record(&owner_records(t)[0], &record);
    publish(&t->control->owner, load_relaxed(&os_self()->identity));
    return TMGR_OK;
}

static void note_transfer(struct owner_record *record, uint64_t from, uint64_t reason) {
    uint64_t rule = load_relaxed(&record->rule);
    store_relaxed(&record->rule, rule_make(rule_access(rule), rule_heir(rule), reason));
    store_relaxed(&record->from, from & IDENTITY_MASK);
    store_relaxed(&record->when_ns, os_now_ns());
    store_relaxed(&record->seq, load_relaxed(&record->seq) + 1);
}

static bool is_said(const struct tmgr_ending *ending) {
    return ending != NULL && (ending->end == TMGR_END_UNKNOWN || ending->end == TMGR_END_KNOWN);
}

/* What a rule says of the end of the owner before, `from`; 0 if the ending is another process's, or not said. */
static uint64_t rule_of_ending(const struct tmgr_ending *ending, uint64_t from) {
    struct tmgr_process before = owner_process(from);
    if (!is_said(ending) || ending->process.pid != before.pid || ending->process.start != before.start)
        return 0;
    uint64_t status = ending->end == TMGR_END_KNOWN ? (uint32_t)ending->exit : 0;
    return (uint64_t)ending->end << RULE_END_SHIFT | status << RULE_EXIT_SHIFT;
}

/* What a manager kept goes on to the next, as from the owner before: all that is known of that one's end stays. */
static void note_passing(struct owner_record *record, uint64_t reason) {
    uint64_t ends = load_relaxed(&record->rule) & RULE_END_MASK;
    note_transfer(record, load_relaxed(&record->from), reason);
    store_relaxed(&record->rule, load_relaxed(&record->rule) | ends);
}

/* With the heir's data; the heir is the manager from then on. A manager that only kept the table is no predecessor. */
static void note_inheritance(struct owner_record *record, uint64_t owner, uint64_t reason,
                             const struct tmgr_ending *ending) {
    uint64_t rule = load_relaxed(&record->rule), from = owner, ends = 0;
    if (rule_is_kept(rule)) {
        from = load_relaxed(&record->from);
        ends = rule & RULE_END_MASK;
    }
    set_data(record->transfer_data, &record->transfer_data_len, record->heir_data,
             (size_t)(load_relaxed(&record->heir_data_len) % (TMGR_DATA_MAX + 1)));
    if (!is_keeping(reason)) /* a manager's successor is to find them again */
        set_data(record->heir_data, &record->heir_data_len, NULL, 0);
    store_relaxed(&record->heir, 0);
    store_relaxed(&record->rule, rule_make(rule_access(rule), TMGR_HEIR_MANAGER, 0));
    note_transfer(record, from, reason);
    if (ends == 0)
        ends = rule_of_ending(ending, from);
    store_relaxed(&record->rule, load_relaxed(&record->rule) | ends);
}

int owner_settle(struct tmgr_table *t, const struct tmgr_ending *ending, int64_t wait_ns) {
    struct owner_record record;
    uint64_t owner = load_acquire(&t->control->owner);
    if (t->foreign || owner_word_alive(owner))
        return TMGR_OWNED;
    if (owner_read(t, &record) != owner)
        return TMGR_BUSY;
    switch (rule_heir(load_relaxed(&record.rule))) {
    case TMGR_HEIR_NONE:
        return TMGR_NO_TABLE;
    case TMGR_HEIR_PROCESS:
        break;
    default:
        return TMGR_ABSENT;
    }
    uint64_t heir = load_relaxed(&record.heir);
    if (!owner_word_alive(heir))
        return TMGR_ABSENT;
    note_inheritance(&record, owner, TMGR_INHERITED, ending);
    return change(t, owner, heir, &record, wait_ns);
}

static uint64_t reason_of(enum tmgr_claim what) {
    return what == TMGR_CLAIM_TO_KEEP ? TMGR_KEPT : what == TMGR_CLAIM_TO_OFFER ? TMGR_OFFERED : TMGR_CLAIMED;
}

/* owner_pass_on, made by the receiver. The manager need not be alive, for nobody is in line before the caller. */
static int claim_offered(struct tmgr_table *t, int64_t wait_ns) {
    struct owner_record record;
    uint64_t owner = owner_read(t, &record);
    if (rule_reason(load_relaxed(&record.rule)) != TMGR_OFFERED)
        return TMGR_OWNED;
    note_passing(&record, TMGR_INHERITED);
    return change(t, owner, load_relaxed(&os_self()->identity), &record, wait_ns);
}

int owner_claim(struct tmgr_table *t, enum tmgr_claim what, const struct tmgr_ending *ending, int64_t wait_ns) {
    if (what == TMGR_CLAIM_OFFERED)
        return claim_offered(t, wait_ns);
    struct owner_record record;
    uint64_t self = load_relaxed(&os_self()->identity), owner = load_acquire(&t->control->owner);
    int status = owner_settle(t, ending, wait_ns);
    if (status == TMGR_OK)
        return (load_acquire(&t->control->owner) & IDENTITY_MASK) == self ? TMGR_OK : TMGR_OWNED;
    if (status != TMGR_ABSENT && status != TMGR_OWNED)
        return status;
    if (owner_read(t, &record) != owner)
        return TMGR_BUSY;
    if (status == TMGR_OWNED) {
        bool is_kept = rule_is_kept(load_relaxed(&record.rule));
        if (t->foreign || !is_kept || what != TMGR_CLAIM_ORPHAN_OR_KEPT)
            return (owner & IDENTITY_MASK) == self && !t->foreign ? TMGR_OK : TMGR_OWNED;
    }
    note_inheritance(&record, owner, reason_of(what), ending);
    return change(t, owner, self, &record, wait_ns);
}

static int own_record(struct tmgr_table *t, uint64_t *owner, struct owner_record *record) {
    *owner = owner_read(t, record);
    bool is_owner = (*owner & IDENTITY_MASK) == load_relaxed(&os_self()->identity) && !t->foreign;
    return is_owner ? TMGR_OK : owner_refusal(t, TMGR_NOT_OWNER);
}

int owner_give_away(struct tmgr_table *t, const struct tmgr_process *receiver, const void *data, size_t data_len,
                    int64_t wait_ns) {
    struct owner_record record;
    uint64_t owner;
    int status = own_record(t, &owner, &record);
    if (status != TMGR_OK)
        return status;
    if (receiver->pid == load_relaxed(&os_self()->pid))
        return TMGR_SELF;
    uint64_t identity = live_identity(receiver);
    if (identity == 0)
        return TMGR_NO_PROCESS;
    if (!set_data(record.transfer_data, &record.transfer_data_len, data, data_len))
        return TMGR_TOO_LONG;
    note_transfer(&record, owner, TMGR_GIFT);
    return change(t, owner, identity, &record, wait_ns);
}

int owner_pass_on(struct tmgr_table *t, const struct tmgr_process *receiver, bool kept, int64_t wait_ns) {
    struct owner_record record;
    uint64_t owner;
    int status = own_record(t, &owner, &record);
    if (status != TMGR_OK)
        return status;
    if (!rule_is_kept(load_relaxed(&record.rule)))
        return TMGR_NOT_OWNER;
    uint64_t identity = live_identity(receiver);
    if (identity == 0)
        return TMGR_NO_PROCESS;
    note_passing(&record, kept ? TMGR_KEPT : TMGR_INHERITED);
    return change(t, owner, identity, &record, wait_ns);
}

int owner_note_end(struct tmgr_table *t, const struct tmgr_ending *ending, int64_t wait_ns) {
    struct owner_record record;
    uint64_t owner = owner_read(t, &record), rule = load_relaxed(&record.rule);
    uint64_t ends = rule_of_ending(ending, load_relaxed(&record.from));
    uint32_t reason = rule_reason(rule);
    if (!is_said(ending))
        return TMGR_BAD_OPTION;
    if (reason == TMGR_NEVER || reason == TMGR_GIFT || rule_end(rule) != TMGR_END_OPEN || ends == 0)
        return TMGR_ABSENT;
    store_relaxed(&record.rule, rule | ends);
    return change(t, owner, owner, &record, wait_ns);
}

int owner_setopts(struct tmgr_table *t, uint32_t what, const struct tmgr_options *options, int64_t wait_ns) {
    struct owner_record record;
    uint64_t owner;
    int status = own_record(t, &owner, &record);
    if (status == TMGR_OK)
        status = apply_options(&record, what, options);
    return status == TMGR_OK ? change(t, owner, owner, &record, wait_ns) : status;
}
