/* SPDX-License-Identifier: Apache-2.0 */
/* verify.c - see verify.h. */
#include "verify.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WAIT_NS = 1000 * 1000 * 1000, MIXED = 1000, MIXED_IDS = 120, PASSES_PER_STRIPE = 16 };

__attribute__((format(printf, 2, 3))) static bool wrong(char problem[PROBLEM_MAX], const char *format, ...) {
    char text[PROBLEM_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(problem, text, sizeof text);
    return false;
}

static bool attach(const char *segment, enum tmgr_mapping mapping, struct tmgr_table **table,
                   char problem[PROBLEM_MAX]) {
    int status = tmgr_attach(segment, mapping, table);
    return status == TMGR_OK || wrong(problem, "attach: %s", tmgr_status_text(status));
}

/* -- rows -------------------------------------------------------------------------------------------------------------- */

bool verify_read(const struct setup *setup, const struct expected *expected, struct model *model,
                 char problem[PROBLEM_MAX]) {
    struct tmgr_table *table;
    if (!attach(setup->scratch.segment, TMGR_MAP_READ, &table, problem))
        return false;
    const struct item *second = &setup->again.items[0];
    uint8_t key[KEY_BYTES_MAX];
    int found = tmgr_contains(table, key, key_encode(key, second->id));
    bool is_there = found == TMGR_OK, equal = false;
    char first_problem[PROBLEM_MAX] = "";
    if (is_there ? !expected->second_started : expected->second_returned && !expected->order_is_open)
        return wrong(problem, "the second writer's row is %s: %s", is_there ? "there" : "missing",
                     tmgr_status_text(found));
    for (size_t i = expected->first_returned ? expected->n - 1 : 0; i < expected->n && !equal; i++) {
        model_copy(model, &expected->candidates[i]);
        if (is_there)
            model_put(model, second->id, second->stamp, second->payload);
        equal = table_equals_model(table, model, problem);
        if (!equal)
            model_free(model);
        if (!equal && i == 0)
            memcpy(first_problem, problem, PROBLEM_MAX);
    }
    tmgr_free(table);
    if (!equal && first_problem[0])
        return wrong(problem, "not before: %.150s; nor after: %.150s", first_problem, problem);
    return equal;
}

static bool run_again(const struct setup *setup, struct tmgr_table *table, struct model *model,
                      char problem[PROBLEM_MAX]) {
    struct bound bound;
    struct outcome got, wanted;
    op_bind(&bound, &setup->op, model);
    op_run(&bound, table, WAIT_NS, &got);
    op_model(&bound, model, &wanted);
    bound_free(&bound);
    if (!outcomes_equal(&got, &wanted))
        return wrong(problem, "the same operation again: %s, removed %llu, instead of %s, %llu",
                     tmgr_status_text(got.status), (unsigned long long)got.removed, tmgr_status_text(wanted.status),
                     (unsigned long long)wanted.removed);
    return table_equals_model(table, model, problem);
}

/* A writer in every stripe: deletes of keys that are not there. */
static bool pass_stripes(const struct setup *setup, struct tmgr_table *table, char problem[PROBLEM_MAX]) {
    struct op op = {.verb = VERB_DELETE_MANY, .n = PASSES_PER_STRIPE * setup->n_stripes};
    struct bound bound;
    struct outcome got;
    struct model empty;
    for (size_t i = 0; i < op.n; i++)
        op.items[i].id = ABSENT_ID + i;
    model_init(&empty);
    op_bind(&bound, &op, &empty);
    op_run(&bound, table, WAIT_NS, &got);
    bound_free(&bound);
    model_free(&empty);
    return (got.status == TMGR_OK && got.removed == 0) ||
           wrong(problem, "deletes of absent keys: %s, removed %llu", tmgr_status_text(got.status),
                 (unsigned long long)got.removed);
}

/* Writers of other stripes come before the dead one's next: pages that it had given back are theirs now. */
static bool write_elsewhere(const struct setup *setup, struct tmgr_table *table, struct model *model,
                            char problem[PROBLEM_MAX]) {
    static const size_t payloads[] = {20, 60, 500, 3000, 20000, 60, 7000, 250000};
    for (size_t i = 0; i < setup->n_elsewhere; i++) {
        struct op op = {.verb = VERB_INSERT, .n = 1};
        struct bound bound;
        struct outcome got, wanted;
        op.items[0] = (struct item){.id = setup->elsewhere[i], .stamp = i, .payload = payloads[i % 8]};
        op_bind(&bound, &op, model);
        op_run(&bound, table, WAIT_NS, &got);
        op_model(&bound, model, &wanted);
        bound_free(&bound);
        if (!outcomes_equal(&got, &wanted))
            return wrong(problem, "insert: %s", tmgr_status_text(got.status));
    }
    return table_equals_model(table, model, problem);
}

/* Without rows nothing but empty structure may be used. */
static bool empties(const struct setup *setup, struct tmgr_table *table, struct model *model,
                    char problem[PROBLEM_MAX]) {
    uint64_t removed = 0, rows = 1;
    int status = tmgr_delete_all(table, &removed, WAIT_NS);
    if (status != TMGR_OK || removed != model->count)
        return wrong(problem, "delete_all at the end: %s, removed %llu of %zu", tmgr_status_text(status),
                     (unsigned long long)removed, model->count);
    model_clear(model);
    for (int i = 0; i < 40; i++)
        if (!pass_stripes(setup, table, problem))
            return false;
    if (tmgr_len(table, &rows) != TMGR_OK || rows != 0)
        return wrong(problem, "%llu rows after delete_all", (unsigned long long)rows);
    return check_is_clean(table, false, problem);
}

bool verify_rows(const struct setup *setup, const struct expected *expected, uint64_t seed, bool repair_first,
                 char problem[PROBLEM_MAX]) {
    struct model model;
    struct tmgr_table *table;
    if (!verify_read(setup, expected, &model, problem) ||
        !attach(setup->scratch.segment, TMGR_MAP_WRITE, &table, problem))
        return false;
    char part[PROBLEM_MAX];
    const char *stage = "check(repair) first";
    bool good = !repair_first || check_is_clean(table, true, part);
    if (good) {
        stage = "writes in other stripes";
        good = write_elsewhere(setup, table, &model, part);
    }
    if (good) {
        stage = "after a writer passed every stripe";
        good = pass_stripes(setup, table, part) && check_is_clean(table, false, part) &&
               table_equals_model(table, &model, part);
    }
    if (good) {
        stage = "the operation again";
        good = run_again(setup, table, &model, part) && check_is_clean(table, false, part);
    }
    if (good) {
        stage = "mixed operations";
        good = run_mixed(table, &model, seed, MIXED, MIXED_IDS, part) && table_equals_model(table, &model, part) &&
               check_is_clean(table, false, part) && check_is_clean(table, true, part);
    }
    if (good) {
        stage = "emptied";
        good = empties(setup, table, &model, part);
    }
    tmgr_free(table);
    model_free(&model);
    return good || wrong(problem, "%s: %.300s", stage, part);
}

/* -- the life of a table ----------------------------------------------------------------------------------------------- */

static uint64_t digest(const uint8_t *data, size_t len) {
    uint64_t hash = 14695981039346656037ULL ^ len;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ data[i]) * 1099511628211ULL;
    return hash;
}

static enum role role_of(const struct tmgr_process *process, uint32_t tracer, uint32_t victim) {
    return process->pid == 0        ? ROLE_NOBODY
           : process->pid == tracer ? ROLE_TRACER
           : process->pid == victim ? ROLE_VICTIM
                                    : ROLE_PREDECESSOR;
}

bool facts_gather(const struct setup *setup, uint32_t tracer, uint32_t victim, struct facts *facts,
                  char problem[PROBLEM_MAX]) {
    struct tmgr_table *table;
    struct tmgr_info info;
    memset(facts, 0, sizeof *facts);
    int status = tmgr_attach(setup->scratch.segment, TMGR_MAP_READ, &table);
    if (status == TMGR_NO_TABLE) {
        status = tmgr_attach(setup->scratch.other, TMGR_MAP_READ, &table);
        if (status == TMGR_NO_TABLE)
            return true;
        facts->is_renamed = true;
    }
    if (status != TMGR_OK || (status = tmgr_describe(table, &info)) != TMGR_OK)
        return wrong(problem, "attach or describe: %s", tmgr_status_text(status));
    bool equal = table_equals_model(table, &setup->model, problem);
    tmgr_free(table);
    facts->is_there = true;
    facts->access = info.access;
    facts->heir = info.heir;
    facts->reason = info.transfer_reason;
    facts->owner = role_of(&info.owner, tracer, victim);
    facts->heir_process = role_of(&info.heir_process, tracer, victim);
    facts->from = role_of(&info.transfer_from, tracer, victim);
    facts->seq = info.transfer_seq;
    facts->heir_data = digest(info.heir_data, info.heir_data_len);
    facts->transfer_data = digest(info.transfer_data, info.transfer_data_len);
    return equal;
}

bool facts_equal(const struct facts *a, const struct facts *b) {
    return a->is_there == b->is_there && a->is_renamed == b->is_renamed && a->access == b->access &&
           a->heir == b->heir && a->reason == b->reason && a->owner == b->owner && a->heir_process == b->heir_process &&
           a->from == b->from && a->seq == b->seq && a->heir_data == b->heir_data &&
           a->transfer_data == b->transfer_data;
}

void facts_text(const struct facts *facts, char *out, size_t size) {
    static const char *const roles[] = {"nobody", "tracer", "victim", "predecessor"};
    if (!facts->is_there)
        snprintf(out, size, "no table");
    else
        snprintf(out, size, "%sowner %s, from %s (reason %u, seq %llu), heir %u %s, access %u, data %x %x",
                 facts->is_renamed ? "renamed, " : "", roles[facts->owner], roles[facts->from], facts->reason,
                 (unsigned long long)facts->seq, facts->heir, roles[facts->heir_process], facts->access,
                 (unsigned)facts->heir_data, (unsigned)facts->transfer_data);
}

static bool expect(int got, int wanted, const char *what, char problem[PROBLEM_MAX]) {
    return got == wanted ||
           wrong(problem, "%s: %s instead of %s", what, tmgr_status_text(got), tmgr_status_text(wanted));
}

/* The table can be owned as its words say: a dead owner's table is claimed, or falls to its live heir. */
static bool own(struct tmgr_table *table, const struct life *life, const struct facts *facts, bool *is_ours,
                char problem[PROBLEM_MAX]) {
    *is_ours = false;
    if (facts->owner == ROLE_TRACER)
        return expect(tmgr_claim(table, life->claim, WAIT_NS), TMGR_OWNED, "claim of the tracer's table", problem);
    if (facts->heir_process == ROLE_TRACER)
        return expect(tmgr_claim(table, life->claim, WAIT_NS), TMGR_OWNED, "claim of what falls to the tracer", problem) &&
               expect(tmgr_settle(table, WAIT_NS), TMGR_OWNED, "settle after that", problem);
    *is_ours = true;
    return expect(tmgr_settle(table, WAIT_NS), TMGR_ABSENT, "settle of an orphan", problem) &&
           expect(tmgr_claim(table, life->claim, WAIT_NS), TMGR_OK, "claim of an orphan", problem);
}

static bool act_again(const struct setup *setup, const struct life *life, struct tmgr_table *table,
                      const struct facts *facts, char problem[PROBLEM_MAX]) {
    struct setup copy = *setup;
    bool is_ours = facts->owner == ROLE_TRACER;
    if (life->owner_is_dead && !own(table, life, facts, &is_ours, problem))
        return false;
    if (life->starts_absent)
        return expect(life->act(&copy, NULL), TMGR_TABLE_EXISTS, "create again", problem);
    if (life->victim_claims)
        return expect(life->act(&copy, table), is_ours ? TMGR_OK : TMGR_NOT_OWNER, "the same again", problem);
    if (life->owner_is_dead)
        return true;
    if (facts->is_renamed) /* back to the first name */
        return expect(tmgr_rename(table, setup->scratch.segment, "crash", 5), TMGR_OK, "rename back", problem);
    return expect(life->act(&copy, table), TMGR_OK, "the same again", problem);
}

bool verify_life(const struct setup *setup, const struct life *life, const struct facts *before,
                 const struct facts *after, bool returned, uint32_t tracer, uint32_t victim, uint64_t seed,
                 char problem[PROBLEM_MAX]) {
    struct facts facts;
    struct tmgr_table *table;
    struct model model;
    char found[256];
    if (!facts_gather(setup, tracer, victim, &facts, problem))
        return false;
    if (!facts_equal(&facts, after) && (returned || !facts_equal(&facts, before))) {
        facts_text(&facts, found, sizeof found);
        return wrong(problem, "neither before nor after: %s", found);
    }
    if (!facts.is_there) { /* the name is free for a new table */
        model_init(&model);
        struct tmgr_options options = setup_options(setup->n_stripes);
        return expect(tmgr_create(setup->scratch.segment, "crash", 5, &options, &table), TMGR_OK, "create", problem) &&
               run_mixed(table, &model, seed, MIXED, MIXED_IDS, problem) && check_is_clean(table, false, problem) &&
               expect(tmgr_drop(table, false), TMGR_OK, "drop", problem) &&
               (scratch_is_alone(&setup->scratch, found, sizeof found) || wrong(problem, "left over: %s", found));
    }
    if (!attach(facts.is_renamed ? setup->scratch.other : setup->scratch.segment, TMGR_MAP_WRITE, &table, problem))
        return false;
    model_copy(&model, &setup->model);
    if (!run_mixed(table, &model, seed, MIXED, MIXED_IDS, problem) || !table_equals_model(table, &model, problem) ||
        !check_is_clean(table, false, problem) || !act_again(setup, life, table, &facts, problem))
        return false;
    int status = tmgr_drop(table, true);
    if (status != TMGR_OK && status != TMGR_NO_TABLE)
        return wrong(problem, "drop at the end: %s", tmgr_status_text(status));
    if (!expect(tmgr_attach(setup->scratch.segment, TMGR_MAP_READ, &table), TMGR_NO_TABLE, "attach at the end",
                problem) ||
        !expect(tmgr_attach(setup->scratch.other, TMGR_MAP_READ, &table), TMGR_NO_TABLE, "attach at the end", problem))
        return false;
    return scratch_is_alone(&setup->scratch, found, sizeof found) || wrong(problem, "left over: %s", found);
}
