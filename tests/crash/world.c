/* SPDX-License-Identifier: Apache-2.0 */
/* world.c - see world.h. */
#include "world.h"

#include <stdio.h>
#include <string.h>

/* -- looking ------------------------------------------------------------------------------------------------------- */

static uint64_t digest(const void *data, size_t len) {
    const uint8_t *bytes = data;
    uint64_t hash = UINT64_C(14695981039346656037) ^ len;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(1099511628211);
    return hash;
}

static enum role role_of(const struct tmgr_process *process, const struct people *people) {
    const struct process all[] = {{0, 0}, people->tracer, people->first, people->second, people->checker};
    for (size_t role = 0; role < sizeof all / sizeof *all; role++)
        if (process->pid == (uint32_t)all[role].pid && (role == 0 || process->start == all[role].start))
            return (enum role)role;
    return ROLE_PREDECESSOR;
}

bool facts_of(struct tmgr_table *table, const struct people *people, bool has_rows, struct facts *facts,
              char problem[PROBLEM_MAX]) {
    struct tmgr_info info;
    int status = tmgr_describe(table, &info);
    if (status != TMGR_OK) {
        snprintf(problem, PROBLEM_MAX, "describe: %s", tmgr_status_text(status));
        return false;
    }
    *facts = (struct facts){.is_there = true,
                            .has_rows = has_rows,
                            .access = info.access,
                            .heir = info.heir,
                            .reason = info.transfer_reason,
                            .end = info.transfer_end,
                            .exit = info.transfer_exit,
                            .owner = role_of(&info.owner, people),
                            .heir_process = role_of(&info.heir_process, people),
                            .from = role_of(&info.transfer_from, people),
                            .seq = info.transfer_seq,
                            .heir_data = digest(info.heir_data, info.heir_data_len),
                            .transfer_data = digest(info.transfer_data, info.transfer_data_len)};
    if (info.dropped || info.poisoned) {
        snprintf(problem, PROBLEM_MAX, "an attached table is dropped or poisoned");
        return false;
    }
    return true;
}

static bool gather_at(const struct setup *setup, size_t place, const struct people *people, struct facts *facts,
                      char problem[PROBLEM_MAX]) {
    struct tmgr_table *table;
    uint64_t rows = 0;
    *facts = (struct facts){0};
    int status = tmgr_attach(setup->scratch.name[place], TMGR_MAP_READ, &table);
    if (status == TMGR_NO_TABLE)
        return true;
    if (status == TMGR_OK)
        status = tmgr_len(table, &rows);
    if (status != TMGR_OK) {
        snprintf(problem, PROBLEM_MAX, "attach: %s", tmgr_status_text(status));
        return false;
    }
    bool good = rows == 0 || table_equals_model(table, &setup->model, problem);
    good = good && facts_of(table, people, rows > 0, facts, problem);
    tmgr_free(table);
    return good;
}

bool world_gather(const struct setup *setup, const struct people *people, struct world *world,
                  char problem[PROBLEM_MAX]) {
    for (size_t i = 0; i < PLACES; i++)
        if (!gather_at(setup, i, people, &world->at[i], problem))
            return false;
    return true;
}

static bool facts_equal(const struct facts *a, const struct facts *b) {
    return a->is_there == b->is_there && a->has_rows == b->has_rows && a->access == b->access && a->heir == b->heir &&
           a->reason == b->reason && a->end == b->end && a->exit == b->exit && a->owner == b->owner &&
           a->heir_process == b->heir_process && a->from == b->from && a->seq == b->seq &&
           a->heir_data == b->heir_data && a->transfer_data == b->transfer_data;
}

bool worlds_equal(const struct world *a, const struct world *b) {
    return facts_equal(&a->at[0], &b->at[0]) && facts_equal(&a->at[1], &b->at[1]);
}

void world_text(const struct world *world, char *out, size_t size) {
    static const char *const roles[] = {"nobody", "tracer", "first", "second", "checker", "predecessor"};
    size_t len = (size_t)snprintf(out, size, "no table");
    for (size_t i = 0; i < PLACES; i++) {
        const struct facts *facts = &world->at[i];
        if (!facts->is_there || (i > 0 && len >= size))
            continue;
        char *to = world->at[0].is_there && i > 0 ? out + len : out;
        len = (size_t)snprintf(
            to, size - (size_t)(to - out),
            "[name %zu: %s, owner %s, from %s (reason %u, seq %llu, end %u %d), heir %u %s, access %u, data %x %x]", i,
            facts->has_rows ? "rows" : "empty", roles[facts->owner], roles[facts->from], facts->reason,
            (unsigned long long)facts->seq, facts->end, (int)facts->exit, facts->heir, roles[facts->heir_process],
            facts->access, (unsigned)facts->heir_data, (unsigned)facts->transfer_data);
    }
}

/* -- what operations do -------------------------------------------------------------------------------------------- */

size_t world_find(const struct world *world) {
    for (size_t i = 0; i < PLACES; i++)
        if (world->at[i].is_there)
            return i;
    return PLACES;
}

static bool is_alive(enum role role, enum role who) {
    return role == ROLE_TRACER || role == ROLE_CHECKER || (role == who && role != ROLE_NOBODY);
}

static void hand_over(struct facts *facts, enum role to, uint32_t reason) {
    facts->from = facts->owner;
    facts->owner = to;
    facts->reason = reason;
    facts->seq++;
    facts->end = TMGR_END_OPEN;
    facts->exit = 0;
}

/* From one who only kept the table: what is known of the owner before that stays. */
static void hand_on(struct facts *facts, enum role to, uint32_t reason) {
    struct facts before = *facts;
    hand_over(facts, to, reason);
    facts->from = before.from;
    facts->end = before.end;
    facts->exit = before.exit;
}

static bool is_kept(const struct facts *facts) { return facts->reason == TMGR_KEPT || facts->reason == TMGR_OFFERED; }

/* A manager that only kept the table is nobody's predecessor, and leaves what it was told to its successor. */
static void inherit(struct facts *facts, enum role to, uint32_t reason) {
    facts->transfer_data = facts->heir_data;
    if (reason != TMGR_KEPT && reason != TMGR_OFFERED)
        facts->heir_data = digest(NULL, 0);
    facts->heir = TMGR_HEIR_MANAGER;
    facts->heir_process = ROLE_NOBODY;
    (is_kept(facts) ? hand_on : hand_over)(facts, to, reason);
}

static int settle(struct facts *facts, enum role who) {
    if (is_alive(facts->owner, who))
        return TMGR_OWNED;
    if (!is_alive(facts->heir_process, who))
        return TMGR_ABSENT;
    inherit(facts, facts->heir_process, TMGR_INHERITED);
    return TMGR_OK;
}

static int note_end(struct facts *facts) {
    if (facts->reason == TMGR_NEVER || facts->reason == TMGR_GIFT || facts->end != TMGR_END_OPEN)
        return TMGR_ABSENT;
    facts->end = TMGR_END_KNOWN;
    facts->exit = -LIFE_SIGNAL;
    return TMGR_OK;
}

/* In the step that changes the owner. */
static int settle_told(struct facts *facts, enum role who) {
    int status = settle(facts, who);
    if (status == TMGR_OK)
        note_end(facts);
    return status;
}

static int claim(struct facts *facts, enum life_op op, enum role who) {
    int status = op == LIFE_KEEP_TOLD ? settle_told(facts, who) : settle(facts, who);
    if (status == TMGR_OK)
        return facts->owner == who ? TMGR_OK : TMGR_OWNED;
    if (status == TMGR_OWNED && (op != LIFE_CLAIM_KEPT || !is_kept(facts)))
        return facts->owner == who ? TMGR_OK : TMGR_OWNED;
    bool keeps = op == LIFE_KEEP || op == LIFE_KEEP_TOLD;
    inherit(facts, who, keeps ? TMGR_KEPT : op == LIFE_OFFER ? TMGR_OFFERED : TMGR_CLAIMED);
    if (op == LIFE_KEEP_TOLD)
        note_end(facts);
    return TMGR_OK;
}

static int take(struct facts *facts, enum role who) {
    if (facts->reason != TMGR_OFFERED)
        return TMGR_OWNED;
    hand_on(facts, who, TMGR_INHERITED);
    return TMGR_OK;
}

static int pass_on(struct facts *facts, enum role who, uint32_t reason) {
    if (facts->owner != who || !is_kept(facts))
        return TMGR_NOT_OWNER;
    hand_on(facts, ROLE_TRACER, reason);
    return TMGR_OK;
}

static int change_options(struct facts *facts, enum life_op op, enum role who) {
    if (facts->owner != who)
        return TMGR_NOT_OWNER;
    if (op != LIFE_DISINHERIT)
        facts->access = op == LIFE_SETOPTS ? TMGR_PUBLIC : TMGR_PROTECTED;
    if (op == LIFE_PROTECT)
        return TMGR_OK;
    bool has_heir = op != LIFE_DISINHERIT;
    facts->heir = has_heir ? TMGR_HEIR_PROCESS : TMGR_HEIR_NONE;
    facts->heir_process = has_heir ? ROLE_TRACER : ROLE_NOBODY;
    facts->heir_data = has_heir ? digest(LIFE_HEIR, sizeof LIFE_HEIR - 1) : digest(NULL, 0);
    return TMGR_OK;
}

bool facts_admit(const struct facts *facts, enum role who) {
    return facts->access == TMGR_PUBLIC || facts->owner == who;
}

int facts_after(struct facts *facts, enum life_op op, enum role who) {
    switch (op) {
    case LIFE_CLAIM:
    case LIFE_KEEP:
    case LIFE_CLAIM_KEPT:
    case LIFE_KEEP_TOLD:
    case LIFE_OFFER:
        return claim(facts, op, who);
    case LIFE_TAKE:
        return take(facts, who);
    case LIFE_PASS_ON:
        return pass_on(facts, who, TMGR_INHERITED);
    case LIFE_PASS_ON_KEPT:
        return pass_on(facts, who, TMGR_KEPT);
    case LIFE_NOTE_END:
        return note_end(facts);
    case LIFE_SETTLE_TOLD:
        return settle_told(facts, who);
    case LIFE_SETTLE:
        return settle(facts, who);
    case LIFE_GIVE_AWAY:
        if (facts->owner != who)
            return TMGR_NOT_OWNER;
        hand_over(facts, ROLE_TRACER, TMGR_GIFT);
        facts->transfer_data = digest(LIFE_GIFT, sizeof LIFE_GIFT - 1);
        return TMGR_OK;
    case LIFE_SETOPTS:
    case LIFE_PROTECT:
    case LIFE_DISINHERIT:
    case LIFE_SETOPTS_BOTH:
        return change_options(facts, op, who);
    case LIFE_DROP:
        if (!facts_admit(facts, who))
            return TMGR_ACCESS;
        *facts = (struct facts){0};
        return TMGR_OK;
    case LIFE_RELINK: /* it has its name */
        return facts_admit(facts, who) || !is_alive(facts->owner, who) || is_kept(facts) ? TMGR_OK : TMGR_ACCESS;
    case LIFE_DROP_SEGMENT:
        *facts = (struct facts){0};
        return TMGR_OK;
    default:
        return TMGR_OK;
    }
}

static int create(struct facts *facts, enum role who) {
    if (facts->is_there) {
        settle(facts, who); /* whoever finds a death hands over */
        return TMGR_TABLE_EXISTS;
    }
    *facts = (struct facts){.is_there = true,
                            .heir = TMGR_HEIR_MANAGER,
                            .owner = who,
                            .heir_data = digest(NULL, 0),
                            .transfer_data = digest(NULL, 0)};
    return TMGR_OK;
}

int world_after(struct world *world, enum life_op op, enum role who) {
    size_t place = world_find(world);
    if (op == LIFE_CREATE)
        return create(&world->at[0], who);
    if (place == PLACES)
        return TMGR_NO_TABLE;
    if (op != LIFE_RENAME)
        return facts_after(&world->at[place], op, who);
    struct facts *facts = &world->at[place];
    if (!facts_admit(facts, who) && (settle(facts, who) != TMGR_OK || !facts_admit(facts, who)))
        return TMGR_ACCESS; /* but whoever finds a death hands over */
    if (place == 0 && world->at[1].is_there) {
        settle(&world->at[1], who);
        return TMGR_TABLE_EXISTS;
    }
    if (place == 0) {
        world->at[1] = world->at[0];
        world->at[0] = (struct facts){0};
    }
    return TMGR_OK;
}

void world_bury(struct world *world) {
    for (size_t i = 0; i < PLACES; i++)
        if (world->at[i].heir == TMGR_HEIR_NONE && !is_alive(world->at[i].owner, ROLE_NOBODY))
            world->at[i] = (struct facts){0};
}
