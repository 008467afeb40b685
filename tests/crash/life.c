/* SPDX-License-Identifier: Apache-2.0 */
/* life.c - cases about the life of a table: a process dies in one of its operations, the next one makes another. */
#include "machine.h"
#include "run.h"
#include "verify.h"
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CALLS_MAX = 2, SHORT_WAIT_NS = 5 * 1000 * 1000 };

/* What may follow a death. */
struct next {
    size_t n;
    enum life_op calls[CALLS_MAX];
};
static const char *const names[] = {"attach",     "create",     "claim",        "settle",       "give_away",
                                    "setopts",    "rename",     "drop",         "drop_segment", "create_and_claim",
                                    "claim_kept", "pass_on",    "pass_on_kept", "note_end",     "note_end_again",
                                    "protect",    "disinherit", "setopts_both", "keep_told",    "take",
                                    "offer_take"};
static const struct next nexts[] = {{1, {LIFE_ATTACH}},
                                    {1, {LIFE_CREATE}},
                                    {1, {LIFE_CLAIM}},
                                    {1, {LIFE_SETTLE}},
                                    {2, {LIFE_CLAIM, LIFE_GIVE_AWAY}},
                                    {2, {LIFE_CLAIM, LIFE_SETOPTS}},
                                    {1, {LIFE_RENAME}},
                                    {1, {LIFE_DROP}},
                                    {1, {LIFE_DROP_SEGMENT}},
                                    {2, {LIFE_CREATE, LIFE_CLAIM}},
                                    {1, {LIFE_CLAIM_KEPT}},
                                    {2, {LIFE_KEEP, LIFE_PASS_ON}},
                                    {2, {LIFE_KEEP, LIFE_PASS_ON_KEPT}},
                                    {2, {LIFE_KEEP, LIFE_NOTE_END}},
                                    {2, {LIFE_NOTE_END, LIFE_KEEP}},
                                    {2, {LIFE_CLAIM, LIFE_PROTECT}},
                                    {2, {LIFE_CLAIM, LIFE_DISINHERIT}},
                                    {2, {LIFE_CLAIM, LIFE_SETOPTS_BOTH}},
                                    {1, {LIFE_KEEP_TOLD}},
                                    {1, {LIFE_TAKE}},
                                    {2, {LIFE_OFFER, LIFE_TAKE}}};
enum { N_NEXTS = sizeof nexts / sizeof *nexts };

/* Of the case at work; there is one at a time. worlds[i] is what i returned calls have made, of the operation itself
 * or of what follows it; a call that was cut short has made either that or the following one. */
static struct {
    struct world before, after;
    int status;
    struct world worlds[CALLS_MAX + 1];
    int statuses[CALLS_MAX];
    size_t n; /* calls */
} at_work;

static struct {
    struct tmgr_table *tables[PLACES];
    bool is_gone[PLACES];
    struct tmgr_buffer buffer;
    bool looks_by_name; /* an attach would finish a removal, and so get in the way of the one that is watched */
    size_t seen;        /* index of the latest world seen */
} reader;

static struct people people_of(const struct run *run) {
    return (struct people){.tracer = run_process(getpid()), .first = run->first, .second = run->second};
}

/* -- the children that are killed ---------------------------------------------------------------------------------- */

static void first_process(void *context) {
    struct run *run = context;
    const struct life *life = run->which->life;
    struct tmgr_table *table = NULL;
    run_become_repeatable();
    bool attaches = life->op != LIFE_ATTACH && life->op != LIFE_CREATE && life->op != LIFE_DROP_SEGMENT;
    if (attaches && life_call(&run->setup, LIFE_ATTACH, &table, WAIT_NS) != TMGR_OK)
        _exit(5);
    if (attaches && life_call(&run->setup, life->beforehand, &table, WAIT_NS) != TMGR_OK)
        _exit(5);
    tracer_begin();
    run->shared->first_status = life_call(&run->setup, life->op, &table, WAIT_NS);
    run->shared->first_returned = 1;
    tracer_end();
    _exit(0);
}

static void second_calls(void *context) {
    struct run *run = context;
    struct tmgr_table *table = NULL;
    tracer_begin();
    for (uint32_t i = 0; i < nexts[run->next].n; i++) {
        run->shared->second_status[i] = life_call(&run->setup, nexts[run->next].calls[i], &table, WAIT_NS);
        run->shared->second_returned = i + 1;
    }
    tracer_end();
}

static void second_process(void *context) {
    run_become_repeatable();
    machine_run(second_calls, context);
    _exit(0);
}

/* -- expectations -------------------------------------------------------------------------------------------------- */

static void expect_first(void) {
    at_work.n = 1;
    at_work.worlds[0] = at_work.before;
    at_work.worlds[1] = at_work.after;
    at_work.statuses[0] = at_work.status;
}

static void prepare(struct run *run) {
    char problem[PROBLEM_MAX];
    struct people people;
    /* A victim that first claims, say, is the owner before the call. */
    run->first = (struct process){0};
    people = people_of(run);
    if (!world_gather(&run->setup, &people, &at_work.after, problem))
        run_report(run, problem);
    if (run->which->life->beforehand != LIFE_ATTACH)
        run->first = run_process(tracer_fork(first_process, run));
    people = people_of(run);
    if (!world_gather(&run->setup, &people, &at_work.before, problem))
        run_report(run, problem);
    if (run->first.pid)
        tracer_kill(run->first.pid);
    if (run->which->life->op == LIFE_RELINK) { /* all is as it was before the name was lost */
        at_work.status = TMGR_OK;
    } else {
        at_work.after = at_work.before;
        at_work.status = world_after(&at_work.after, run->which->life->op, ROLE_FIRST);
    }
    expect_first();
}

static void release(struct run *run) { (void)run; }

static bool is_one_of(const struct world *world, size_t from, size_t to, char problem[PROBLEM_MAX]) {
    char found[PROBLEM_MAX / 3], wanted[PROBLEM_MAX / 3];
    for (size_t i = from; i <= to; i++)
        if (worlds_equal(world, &at_work.worlds[i]))
            return true;
    world_text(world, found, sizeof found);
    world_text(&at_work.worlds[to], wanted, sizeof wanted);
    snprintf(problem, PROBLEM_MAX, "found %s, expected %s%s", found, wanted, from < to ? " or what was before" : "");
    return false;
}

/* How many of the calls have returned, and what the one at work may have made. */
static void range(const struct run *run, size_t *from, size_t *to) {
    *from = run->next == NO_NEXT ? run->shared->first_returned : run->shared->second_returned;
    *to = *from < at_work.n ? *from + 1 : *from;
}

static bool ended(struct run *run, char problem[PROBLEM_MAX]) {
    struct people people = people_of(run);
    struct world world;
    for (size_t i = 0; i < at_work.n; i++) {
        int got = run->next == NO_NEXT ? run->shared->first_status : run->shared->second_status[i];
        if (got != at_work.statuses[i]) {
            snprintf(problem, PROBLEM_MAX, "call %zu: %s instead of %s", i, tmgr_status_text(got),
                     tmgr_status_text(at_work.statuses[i]));
            return false;
        }
    }
    return world_gather(&run->setup, &people, &world, problem) && is_one_of(&world, at_work.n, at_work.n, problem);
}

static bool expect_next(struct run *run, char problem[PROBLEM_MAX]) {
    const struct next *next = &nexts[run->next];
    struct people people = people_of(run);
    struct world world;
    people.second = (struct process){0};
    if (!world_gather(&run->setup, &people, &world, problem))
        return false;
    at_work.n = next->n;
    at_work.worlds[0] = world;
    for (size_t i = 0; i < next->n; i++) {
        at_work.statuses[i] = world_after(&world, next->calls[i], ROLE_SECOND);
        at_work.worlds[i + 1] = world;
    }
    run->expectation = worlds_equal(&at_work.worlds[0], &at_work.before) ? 1 : 2;
    return true;
}

/* -- verifying ----------------------------------------------------------------------------------------------------- */

static bool verify(struct run *run, uint64_t seed, char problem[PROBLEM_MAX]) {
    struct people people = people_of(run);
    struct world world;
    size_t from, to;
    people.tracer = run_process(getppid());
    people.checker = run_process(getpid());
    if (run->next == NO_NEXT)
        expect_first();
    for (size_t i = 0; i <= at_work.n; i++)
        world_bury(&at_work.worlds[i]);
    range(run, &from, &to);
    return world_gather(&run->setup, &people, &world, problem) && is_one_of(&world, from, to, problem) &&
           verify_life(&run->setup, run->which->life->op, &people, &world, seed, problem);
}

/* -- the reader beside a stopped process --------------------------------------------------------------------------- */

static bool reader_begin(struct run *run, char problem[PROBLEM_MAX]) {
    const struct scratch *scratch = &run->setup.scratch;
    memset(&reader, 0, sizeof reader);
    if (run->next == NO_NEXT)
        expect_first();
    reader.looks_by_name = true;
    for (size_t i = 0; i < PLACES; i++) {
        bool is_there = at_work.worlds[0].at[i].is_there;
        reader.looks_by_name &= is_there || scratch->at[i].mapped == 0; /* else the name of a table that is gone */
        int status = is_there ? tmgr_attach(scratch->name[i], TMGR_MAP_READ, &reader.tables[i]) : TMGR_OK;
        if (status != TMGR_OK) {
            snprintf(problem, PROBLEM_MAX, "the reader cannot attach: %s", tmgr_status_text(status));
            return false;
        }
    }
    for (size_t i = 1; i <= at_work.n; i++)
        if (world_find(&at_work.worlds[i]) == PLACES && world_find(&at_work.worlds[0]) != PLACES)
            reader.looks_by_name = false;
    return true;
}

static void reader_end(struct run *run) {
    (void)run;
    for (size_t i = 0; i < PLACES; i++)
        tmgr_free(reader.tables[i]);
    tmgr_buffer_free(&reader.buffer);
}

/* Worlds from the latest seen on that a handle opened at the start may tell of: there is no way back. */
static bool is_possible(const struct facts *facts, char problem[PROBLEM_MAX]) {
    for (size_t i = reader.seen; i <= at_work.n; i++)
        for (size_t place = 0; place < PLACES; place++) {
            struct world seen = {{*facts}}, could = {{at_work.worlds[i].at[place]}};
            if (worlds_equal(&seen, &could)) {
                reader.seen = i;
                return true;
            }
        }
    struct world found = {{*facts}};
    char text[PROBLEM_MAX / 2];
    world_text(&found, text, sizeof text);
    snprintf(problem, PROBLEM_MAX, "a reader is told what is not so, or no longer: %s", text);
    return false;
}

/* Once the table is dropped every read says so, and only then. */
static bool look_through(struct run *run, size_t place, size_t done, char problem[PROBLEM_MAX]) {
    struct tmgr_table *table = reader.tables[place];
    uint8_t key[KEY_BYTES_MAX];
    uint64_t rows = 0, id = done % 60;
    struct people people = people_of(run);
    struct facts facts;
    bool has_rows = at_work.worlds[0].at[place].has_rows, may_go = false;
    for (size_t i = 1; i <= at_work.n; i++)
        may_go |= world_find(&at_work.worlds[i]) == PLACES;
    const struct entry *entry = has_rows ? model_find(&run->setup.model, id) : NULL;
    int status = tmgr_lookup(table, key, key_encode(key, id), &reader.buffer), counted = tmgr_len(table, &rows);
    if (may_go && status == TMGR_NO_TABLE && counted == TMGR_NO_TABLE) {
        reader.is_gone[place] = true;
        return true;
    }
    bool good = !reader.is_gone[place] && counted == TMGR_OK && rows == (has_rows ? run->setup.model.count : 0) &&
                (entry ? status == TMGR_OK && reader.buffer.len == entry->len &&
                             memcmp(reader.buffer.data, entry->row, entry->len) == 0
                       : status == TMGR_ABSENT);
    if (!good) {
        snprintf(problem, PROBLEM_MAX, "a reader's lookup of id %llu: %s, len %llu: %s", (unsigned long long)id,
                 tmgr_status_text(status), (unsigned long long)rows, tmgr_status_text(counted));
        return false;
    }
    return facts_of(table, &people, has_rows, &facts, problem) && is_possible(&facts, problem);
}

static bool look_by_name(struct run *run, char problem[PROBLEM_MAX]) {
    struct people people = people_of(run);
    struct world world;
    if (!world_gather(&run->setup, &people, &world, problem))
        return false;
    for (size_t i = reader.seen; i <= at_work.n; i++)
        if (worlds_equal(&world, &at_work.worlds[i])) {
            reader.seen = i;
            return true;
        }
    return is_one_of(&world, reader.seen, at_work.n, problem);
}

static bool reader_look(struct run *run, size_t done, char problem[PROBLEM_MAX]) {
    for (size_t i = 0; i < PLACES; i++)
        if (reader.tables[i] && !look_through(run, i, done, problem))
            return false;
    return !reader.looks_by_name || done % 4 != 0 || look_by_name(run, problem);
}

/* -- stopped ------------------------------------------------------------------------------------------------------- */

/* Which of what may follow. */
static size_t choose_beside(struct run *run) {
    size_t which = (size_t)random_below(&run->random, N_NEXTS);
    for (size_t i = 0; i < N_NEXTS && run->options->next; i++)
        if (strcmp(run->options->next, names[i]) == 0)
            return i;
    return which;
}

/* One of what may follow, made beside the stopped process. Its answer may be BUSY, but it has to come. */
static bool act_beside(struct run *run, const struct next *next) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct tmgr_table *table = NULL;
        run_limit_time();
        uint64_t begin = run_now_ns();
        for (size_t i = 0; i < next->n; i++)
            life_call(&run->setup, next->calls[i], &table, SHORT_WAIT_NS);
        _exit(run_now_ns() - begin > LATE_NS * next->n ? 1 : 0);
    }
    int status;
    return child >= 0 && waitpid(child, &status, 0) == child && status == 0;
}

static void stop_at(struct run *run, size_t k) {
    char problem[PROBLEM_MAX];
    bool is_astray;
    size_t which = choose_beside(run);
    pid_t child = run_child(run, &run->image, first_process, &run->trace, k, 0, false, &is_astray).pid;
    tracer_leave_stopped(child);
    run->n_stops++;
    if (!act_beside(run, &nexts[which])) {
        snprintf(problem, sizeof problem, "%s beside a stopped process hangs", names[which]);
        run_report(run, problem);
    }
    if (run_continue(child) != 0)
        run_report(run, "the stopped process does not come to its end");
    /* Who came first is open; what is there has to be sound. */
    fflush(NULL);
    pid_t checker = fork();
    if (checker == 0) {
        struct people people = {.tracer = run_process(getppid()), .checker = run_process(getpid())};
        struct world world;
        run_limit_time();
        bool good = world_gather(&run->setup, &people, &world, problem) &&
                    verify_life(&run->setup, run->which->life->op, &people, &world, k, problem);
        if (!good)
            printf("%s\n", problem);
        fflush(stdout);
        _exit(good ? 0 : 1);
    }
    int status;
    if (checker < 0 || waitpid(checker, &status, 0) != checker || status != 0)
        run_report(run, "what is left after a stop is not sound");
}

const struct subject subject_life = {.prepare = prepare,
                                     .release = release,
                                     .first = first_process,
                                     .second = second_process,
                                     .nexts = names,
                                     .n_nexts = N_NEXTS,
                                     .reader_begin = reader_begin,
                                     .reader_look = reader_look,
                                     .reader_end = reader_end,
                                     .ended = ended,
                                     .verify = verify,
                                     .expect_next = expect_next,
                                     .stop_at = stop_at};
