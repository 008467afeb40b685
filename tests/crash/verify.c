/* SPDX-License-Identifier: Apache-2.0 */
/* verify.c - see verify.h. */
#include "verify.h"

#include "sequence.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MIXED = 1000, MIXED_IDS = 120, PASSES_PER_STRIPE = 16 };

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

/* -- rows ---------------------------------------------------------------------------------------------------------- */

static bool equals(const struct setup *setup, struct tmgr_table *table, const struct model *model,
                   char problem[PROBLEM_MAX]) {
    return table_equals_model(table, model, problem) &&
           (!setup->is_ordered || ranges_equal_model(table, model, problem));
}

bool verify_read(const struct setup *setup, const struct expected *expected, struct model *model,
                 char problem[PROBLEM_MAX]) {
    struct tmgr_table *table;
    if (!attach(setup->scratch.segment, TMGR_MAP_READ, &table, problem))
        return false;
    bool equal = false;
    char first_problem[PROBLEM_MAX] = "";
    bool may_lack = !expected->second_returned || expected->order_is_open;
    for (size_t i = expected->first_returned ? expected->n - 1 : 0; i < expected->n && !equal; i++)
        for (int with = may_lack ? 0 : 1; with <= (int)expected->second_started && !equal; with++) {
            model_copy(model, &expected->candidates[i]);
            if (with)
                model_put(model, expected->second->id, expected->second->stamp, expected->second->payload);
            equal = equals(setup, table, model, problem);
            if (!equal)
                model_free(model);
            if (!equal && first_problem[0] == 0)
                memcpy(first_problem, problem, PROBLEM_MAX);
        }
    tmgr_free(table);
    if (!equal)
        return wrong(problem, "not before: %.150s; nor after: %.150s", first_problem, problem);
    return equal;
}

static bool run_again(const struct setup *setup, struct tmgr_table *table, struct model *model,
                      char problem[PROBLEM_MAX]) {
    struct bound bound;
    struct outcome got, wanted;
    op_bind(&bound, &setup->op, model);
    op_run(&bound, table, WAIT_NS, &got);
    bool is_refused = setup->refusal != TMGR_OK && got.status == setup->refusal;
    if (!is_refused) /* nor need it be: what the dead have left may have made room */
        op_model(&bound, model, &wanted);
    bound_free(&bound);
    if (!is_refused && !outcomes_equal(&got, &wanted))
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

static bool pass_often(const struct setup *setup, struct tmgr_table *table, char problem[PROBLEM_MAX]) {
    for (int i = 0; i < 40; i++)
        if (!pass_stripes(setup, table, problem))
            return false;
    return true;
}

/* A full table gets room for what comes. */
static bool make_room(const struct setup *setup, struct tmgr_table *table, struct model *model,
                      char problem[PROBLEM_MAX]) {
    uint64_t removed = 0;
    if (setup->refusal == TMGR_OK)
        return true;
    int status = tmgr_delete_all(table, &removed, WAIT_NS);
    model_clear(model);
    return status == TMGR_OK ? pass_often(setup, table, problem)
                             : wrong(problem, "delete_all: %s", tmgr_status_text(status));
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
    if (!pass_often(setup, table, problem))
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
        good = make_room(setup, table, &model, part) && run_mixed(table, &model, seed, MIXED, MIXED_IDS, part) &&
               equals(setup, table, &model, part) && check_is_clean(table, false, part) &&
               check_is_clean(table, true, part);
    }
    if (good) {
        stage = "emptied";
        good = empties(setup, table, &model, part);
    }
    tmgr_free(table);
    model_free(&model);
    return good || wrong(problem, "%s: %.300s", stage, part);
}

/* -- the life of a table ------------------------------------------------------------------------------------------- */

static bool expect(int got, int wanted, const char *what, char problem[PROBLEM_MAX]) {
    return got == wanted ||
           wrong(problem, "%s: %s instead of %s", what, tmgr_status_text(got), tmgr_status_text(wanted));
}

/* Rows can be written to it, and it can be owned as its words say. */
static bool use(const struct setup *setup, size_t place, struct facts *facts, uint64_t seed,
                char problem[PROBLEM_MAX]) {
    struct tmgr_table *table;
    struct model model;
    if (!expect(tmgr_attach(setup->scratch.name[place], TMGR_MAP_WRITE, &table), TMGR_OK, "attach", problem))
        return false;
    model_init(&model);
    model.type = setup->type;
    if (facts->has_rows) {
        model_free(&model);
        model_copy(&model, &setup->model);
    }
    struct facts claimed = *facts, settled;
    int claim = facts_after(&claimed, LIFE_CLAIM, ROLE_CHECKER);
    settled = claimed;
    int settle = facts_after(&settled, LIFE_SETTLE, ROLE_CHECKER);
    bool good = check_is_clean(table, false, problem) && table_equals_model(table, &model, problem) &&
                expect(tmgr_claim(table, TMGR_CLAIM_ORPHAN, NULL, WAIT_NS), claim, "claim", problem) &&
                expect(tmgr_settle(table, NULL, WAIT_NS), settle, "settle", problem);
    *facts = claimed;
    uint64_t removed;
    if (good && facts_admit(facts, ROLE_CHECKER)) {
        /* delete_all: back to the rows that worlds are compared by. */
        good = run_mixed(table, &model, seed, MIXED, MIXED_IDS, problem) &&
               table_equals_model(table, &model, problem) && check_is_clean(table, false, problem) &&
               expect(tmgr_delete_all(table, &removed, WAIT_NS), TMGR_OK, "delete_all", problem);
        facts->has_rows = false;
    } else if (good) {
        good = expect(tmgr_delete_all(table, &removed, WAIT_NS), TMGR_ACCESS, "delete_all", problem) &&
               table_equals_model(table, &model, problem);
    }
    tmgr_free(table);
    model_free(&model);
    return good;
}

/* The operation that was killed first, made again to its end. */
static bool act_again(const struct setup *setup, enum life_op op, const struct people *people, struct world *world,
                      char problem[PROBLEM_MAX]) {
    struct tmgr_table *table = NULL;
    struct world found;
    int wanted = world_after(world, op, ROLE_CHECKER);
    int got = life_call(setup, op, &table, WAIT_NS);
    tmgr_free(table);
    if (!expect(got, wanted, "the same again", problem) || !world_gather(setup, people, &found, problem))
        return false;
    char is[PROBLEM_MAX / 3], should_be[PROBLEM_MAX / 3];
    if (worlds_equal(&found, world))
        return true;
    world_text(&found, is, sizeof is);
    world_text(world, should_be, sizeof should_be);
    return wrong(problem, "the same again makes %s instead of %s", is, should_be);
}

static bool nothing_is_left(const struct setup *setup, char problem[PROBLEM_MAX]) {
    char found[256];
    struct tmgr_table *table;
    for (size_t i = 0; i < PLACES; i++) {
        int status = tmgr_drop_segment(setup->scratch.name[i]);
        if (status != TMGR_OK && !expect(status, TMGR_NO_TABLE, "drop at the end", problem))
            return false;
        if (!expect(tmgr_attach(setup->scratch.name[i], TMGR_MAP_READ, &table), TMGR_NO_TABLE, "attach at the end",
                    problem))
            return false;
    }
    return scratch_is_alone(&setup->scratch, found, sizeof found) || wrong(problem, "left over: %s", found);
}

/* The name is free for a new table. */
static bool is_free(const struct setup *setup, uint64_t seed, char problem[PROBLEM_MAX]) {
    struct tmgr_table *table = NULL;
    struct model model;
    if (!expect(life_call(setup, LIFE_CREATE, &table, WAIT_NS), TMGR_OK, "create", problem) ||
        !expect(life_call(setup, LIFE_ATTACH, &table, WAIT_NS), TMGR_OK, "attach", problem))
        return false;
    model_init(&model);
    model.type = setup->type;
    bool good = run_mixed(table, &model, seed, MIXED, MIXED_IDS, problem) && check_is_clean(table, false, problem);
    tmgr_free(table);
    model_free(&model);
    return good;
}

bool verify_life(const struct setup *setup, enum life_op op, const struct people *people, struct world *world,
                 uint64_t seed, char problem[PROBLEM_MAX]) {
    for (size_t i = 0; i < PLACES; i++)
        if (world->at[i].is_there && !use(setup, i, &world->at[i], seed, problem))
            return false;
    if (!act_again(setup, op, people, world, problem) || !nothing_is_left(setup, problem))
        return false;
    return is_free(setup, seed, problem) && nothing_is_left(setup, problem);
}
