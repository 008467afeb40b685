/* SPDX-License-Identifier: Apache-2.0 */
/* life_ops.c - the calls that make up the life of a table; see cases.h. */
#include "cases.h"

#include <sys/mman.h>
#include <unistd.h>

struct tmgr_options life_options(const struct setup *setup) {
    return (struct tmgr_options){.type = setup->type,
                                 .access = TMGR_PUBLIC,
                                 .mode = 0600,
                                 .n_stripes = setup->n_stripes,
                                 .heir = TMGR_HEIR_MANAGER};
}

static int attach_by_any_name(const struct setup *setup, struct tmgr_table **table) {
    int status = tmgr_attach(setup->scratch.segment, TMGR_MAP_WRITE, table);
    return status == TMGR_NO_TABLE ? tmgr_attach(setup->scratch.other, TMGR_MAP_WRITE, table) : status;
}

static int drop_by_any_name(const struct setup *setup) {
    int status = tmgr_drop_segment(setup->scratch.segment);
    return status == TMGR_NO_TABLE ? tmgr_drop_segment(setup->scratch.other) : status;
}

static int create(const struct setup *setup) {
    struct tmgr_options options = life_options(setup);
    struct tmgr_table *created;
    return tmgr_create(setup->scratch.segment, "crash", 5, &options, &created);
}

static int make_heir(struct tmgr_table *table, enum tmgr_access access, int64_t wait_ns) {
    struct tmgr_options options = {.access = access,
                                   .heir = TMGR_HEIR_PROCESS,
                                   .heir_process = {.pid = (uint32_t)getppid()},
                                   .heir_data = LIFE_HEIR,
                                   .heir_data_len = sizeof LIFE_HEIR - 1};
    return tmgr_setopts(table, TMGR_CHANGE_HEIR | TMGR_CHANGE_ACCESS, &options, wait_ns);
}

/* The other option is not to be looked at. */
static int change_one(struct tmgr_table *table, enum tmgr_change what, int64_t wait_ns) {
    struct tmgr_options options = {.access = what == TMGR_CHANGE_ACCESS ? TMGR_PROTECTED : TMGR_PRIVATE,
                                   .heir = TMGR_HEIR_NONE};
    return tmgr_setopts(table, what, &options, wait_ns);
}

/* Where it is told how an owner ended. */
static int call_told(struct tmgr_table *table, enum life_op op, int64_t wait_ns) {
    struct tmgr_info info;
    int status = tmgr_describe(table, &info);
    if (status != TMGR_OK)
        return status;
    bool is_before = op == LIFE_NOTE_END || info.transfer_reason == TMGR_KEPT || info.transfer_reason == TMGR_OFFERED;
    struct tmgr_ending ending = {is_before ? info.transfer_from : info.owner, TMGR_END_KNOWN, -LIFE_SIGNAL};
    if (op == LIFE_KEEP_TOLD)
        return tmgr_claim(table, TMGR_CLAIM_TO_KEEP, &ending, wait_ns);
    return op == LIFE_SETTLE_TOLD ? tmgr_settle(table, &ending, wait_ns) : tmgr_note_end(table, &ending, wait_ns);
}

int life_call(const struct setup *setup, enum life_op op, struct tmgr_table **table, int64_t wait_ns) {
    if (op == LIFE_CREATE)
        return create(setup);
    if (op == LIFE_DROP_SEGMENT)
        return drop_by_any_name(setup);
    struct tmgr_process parent = {.pid = (uint32_t)getppid()};
    int status = *table ? TMGR_OK : attach_by_any_name(setup, table);
    if (status != TMGR_OK) {
        *table = NULL;
        return status;
    }
    switch (op) {
    case LIFE_CLAIM:
        return tmgr_claim(*table, TMGR_CLAIM_ORPHAN, NULL, wait_ns);
    case LIFE_KEEP:
        return tmgr_claim(*table, TMGR_CLAIM_TO_KEEP, NULL, wait_ns);
    case LIFE_CLAIM_KEPT:
        return tmgr_claim(*table, TMGR_CLAIM_ORPHAN_OR_KEPT, NULL, wait_ns);
    case LIFE_OFFER:
        return tmgr_claim(*table, TMGR_CLAIM_TO_OFFER, NULL, wait_ns);
    case LIFE_TAKE:
        return tmgr_claim(*table, TMGR_CLAIM_OFFERED, NULL, wait_ns);
    case LIFE_PASS_ON:
        return tmgr_pass_on(*table, &parent, false, wait_ns);
    case LIFE_PASS_ON_KEPT:
        return tmgr_pass_on(*table, &parent, true, wait_ns);
    case LIFE_KEEP_TOLD:
    case LIFE_SETTLE_TOLD:
    case LIFE_NOTE_END:
        return call_told(*table, op, wait_ns);
    case LIFE_SETTLE:
        return tmgr_settle(*table, NULL, wait_ns);
    case LIFE_GIVE_AWAY:
        return tmgr_give_away(*table, &parent, LIFE_GIFT, sizeof LIFE_GIFT - 1, wait_ns);
    case LIFE_SETOPTS:
        return make_heir(*table, TMGR_PUBLIC, wait_ns);
    case LIFE_PROTECT:
        return change_one(*table, TMGR_CHANGE_ACCESS, wait_ns);
    case LIFE_DISINHERIT:
        return change_one(*table, TMGR_CHANGE_HEIR, wait_ns);
    case LIFE_SETOPTS_BOTH:
        return make_heir(*table, TMGR_PROTECTED, wait_ns);
    case LIFE_RENAME:
        return tmgr_rename(*table, setup->scratch.other, "renamed", 7);
    case LIFE_DROP:
        return tmgr_drop(*table, false);
    case LIFE_LOSE:
        return shm_unlink(setup->scratch.segment) == 0 ? TMGR_OK : TMGR_OS;
    case LIFE_RELINK:
        return tmgr_relink(*table, wait_ns);
    default:
        return TMGR_OK;
    }
}
