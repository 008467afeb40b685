/* SPDX-License-Identifier: Apache-2.0 */
/* ownership.c - the public verbs about a table as a whole: who owns it (what is done about that is in owner.c), and what it
 * is; and the table of functions, which leads to all public verbs that the codec calls. */
#include "segment.h"
#include "table.h"

/* -- processes, and what a table is -------------------------------------------------------------------------------------- */

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

int tmgr_end(const struct tmgr_process *process, int *status) {
    return os_process_end(process->pid, process->start, status);
}

static void describe_owner(struct tmgr_table *t, struct tmgr_info *info) {
    struct owner_record record;
    uint64_t owner, rule;
    do { /* first the death, then the heir: a dead owner names none any more */
        owner = load_acquire(&t->control->owner);
        info->owner_alive = t->foreign || owner_word_alive(owner);
    } while (owner_read(t, &record) != owner);
    rule = load_relaxed(&record.rule);
    info->access = rule_access(rule);
    info->heir = rule_heir(rule);
    info->transfer_reason = rule_reason(rule);
    info->owner = owner_process(owner);
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
    table_count(t, &info->rows);
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

/* -- ownership ----------------------------------------------------------------------------------------------------------- */

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
        status = owner_refusal(t, TMGR_READONLY);
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

int tmgr_give_away(struct tmgr_table *t, const struct tmgr_process *receiver, const void *data, size_t data_len,
                   int64_t wait_ns) {
    int status = enter_control(t, true);
    if (status != TMGR_OK)
        return status;
    status = owner_give_away(t, receiver, data, data_len, wait_ns);
    segment_leave(t);
    return status;
}

int tmgr_pass_on(struct tmgr_table *t, const struct tmgr_process *receiver, bool kept, int64_t wait_ns) {
    int status = enter_control(t, true);
    if (status != TMGR_OK)
        return status;
    status = owner_pass_on(t, receiver, kept, wait_ns);
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
