/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - kills a writer after every instruction, and its repairer after every instruction, and looks at what is left.
 *
 * One case is one operation on one prepared table. Its stages:
 *   watch    one run, stepped; between the steps a reader with a read-only mapping looks, the writer being stopped
 *   kill     for each k: the table is put back, a fresh child runs k instructions of the operation and is SIGKILLed
 *   repair   for each different state a kill left, and each j: the next writer, which repairs, is SIGKILLed after j
 *   stop     for sampled k: the child is left SIGSTOPped, others read and write, then it goes on
 * After each kill the bytes of the segment are compared with those of all kills before (clocks stand still in the
 * children, and a dead thread's id is left out). Bytes seen before need not be looked at again: the verdict depends on
 * nothing else. New ones are verified by a child of their own, which may crash or hang without harm.
 *
 * Prints one line per case; on a failure a line that begins with FAIL and one that reproduces it. Exit code 1 then. */
#include "cases.h"
#include "tracer.h"
#include "verify.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    WAIT_NS = 1000 * 1000 * 1000,
    SHORT_WAIT_NS = 5 * 1000 * 1000,
    STEPS_LIMIT = 4 * 1000 * 1000,
    ROUNDS_FULL = 8, /* of a loop: each instruction is killed at in the first so many rounds, then in a sample */
    CHECKER_SECONDS = 30,
    READ_LIMIT_NS = 1000 * 1000 * 1000,
    CANDIDATES_MAX = 16
};

/* -- clocks stand still in a child that is to be killed ---------------------------------------------------------------- */

static bool clock_stands_still;

/* Takes the place of the C library's, for the core as well, which is linked into this program. */
int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!clock_stands_still)
        return (int)syscall(SYS_clock_gettime, clock, now);
    *now = (struct timespec){.tv_sec = 1700000000, .tv_nsec = 0};
    return 0;
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* -- options and state ------------------------------------------------------------------------------------------------- */

struct options {
    const char *name;
    uint64_t seed;
    size_t kills, repairs, stops; /* at most so many of each per case; 0: all, none for stops */
    size_t watch;                 /* the reader looks after every so many steps; 0: not at all */
    size_t failures;              /* a case ends after so many */
    long k, j;                    /* only this kill, only this one of the repair; -1: not given */
    int cpu;
};

/* Seen by this process and its children. */
struct shared {
    volatile uint32_t first_returned, second_returned;
    char problem[PROBLEM_MAX];
};

struct run {
    const struct options *options;
    const struct crash_case *which;
    struct setup setup;
    struct shared *shared;
    struct image image; /* the prepared table */
    struct bound first, second;
    struct outcome first_wanted, second_wanted;
    struct model candidates[CANDIDATES_MAX];
    size_t n_candidates;
    struct facts before, after; /* of a life case */
    struct digests verified;
    struct random random;
    struct trace trace;
    size_t n_kills, n_repair_kills, n_states, n_stops, n_busy, n_reads, n_astray, n_failures;
    long k, j; /* of the kill at hand */
};

static void report(struct run *run, const char *problem) {
    run->n_failures++;
    printf("FAIL case=%s k=%ld j=%ld seed=%llu: %s\n", run->which->name, run->k, run->j,
           (unsigned long long)run->options->seed, problem);
    printf("reproduce: python -m tests.crash --case %s --seed %llu --k %ld", run->which->name,
           (unsigned long long)run->options->seed, run->k);
    if (run->j >= 0)
        printf(" --j %ld", run->j);
    printf("\n");
    fflush(stdout);
}

/* -- the children that are killed -------------------------------------------------------------------------------------- */

static struct tmgr_table *attach_to_write(const struct run *run) {
    struct tmgr_table *table;
    int status = tmgr_attach(run->setup.scratch.segment, TMGR_MAP_WRITE, &table);
    if (status != TMGR_OK) {
        fprintf(stderr, "attach: %s\n", tmgr_status_text(status));
        _exit(5);
    }
    return table;
}

static void first_writer(void *context) {
    struct run *run = context;
    struct tmgr_process self;
    struct outcome outcome;
    clock_stands_still = true;
    tmgr_self(&self);
    struct tmgr_table *table = attach_to_write(run);
    tracer_begin();
    op_call(&run->first, table, WAIT_NS, &outcome);
    run->shared->first_returned = 1;
    tracer_end();
    op_finish(&run->first, &outcome);
    _exit(outcomes_equal(&outcome, &run->first_wanted) ? 0 : 4);
}

static void life_writer(void *context) {
    struct run *run = context;
    const struct life *life = run->which->life;
    struct tmgr_process self;
    clock_stands_still = true;
    tmgr_self(&self);
    struct tmgr_table *table = life->starts_absent ? NULL : attach_to_write(run);
    if (life->victim_claims && tmgr_claim(table, life->claim, WAIT_NS) != TMGR_OK)
        _exit(5);
    tracer_begin();
    int status = life->act(&run->setup, table);
    run->shared->first_returned = 1;
    tracer_end();
    _exit(status == TMGR_OK ? 0 : 4);
}

static void second_writer(void *context) {
    struct run *run = context;
    struct tmgr_process self;
    struct outcome outcome;
    clock_stands_still = true;
    tmgr_self(&self);
    struct tmgr_table *table = attach_to_write(run);
    tracer_begin();
    op_call(&run->second, table, WAIT_NS, &outcome);
    run->shared->second_returned = 1;
    tracer_end();
    _exit(outcome.status == TMGR_OK ? 0 : 4);
}

static tracer_child_fn writer_of(const struct run *run) { return run->which->life ? life_writer : first_writer; }

/* -- verifying --------------------------------------------------------------------------------------------------------- */

static struct expected expectation(const struct run *run, bool second_started) {
    return (struct expected){.candidates = run->candidates,
                             .n = run->n_candidates,
                             .first_returned = run->shared->first_returned,
                             .second_started = second_started,
                             .second_returned = run->shared->second_returned,
                             .order_is_open = run->setup.op.verb == VERB_DELETE_ALL};
}

static void describe_end(int status, char problem[PROBLEM_MAX]) {
    if (WIFSIGNALED(status))
        snprintf(problem, PROBLEM_MAX, "the checker %s (signal %d)", WTERMSIG(status) == SIGALRM ? "hangs" : "crashed",
                 WTERMSIG(status));
    else if (WEXITSTATUS(status) != 1)
        snprintf(problem, PROBLEM_MAX, "the checker ended with %d", WEXITSTATUS(status));
}

/* In a child of its own. victim: whom the tables may name as owner. */
static bool verify_in_child(struct run *run, bool second_started, pid_t victim, uint64_t digest) {
    struct shared *shared = run->shared;
    uint32_t tracer = (uint32_t)getpid();
    uint64_t seed = run->options->seed ^ digest;
    shared->problem[0] = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(CHECKER_SECONDS);
        bool good;
        if (run->which->life) {
            good = verify_life(&run->setup, run->which->life, &run->before, &run->after, shared->first_returned, tracer,
                               (uint32_t)victim, seed, shared->problem);
        } else {
            struct expected expected = expectation(run, second_started);
            good = verify_rows(&run->setup, &expected, seed, digest & 2, shared->problem);
        }
        _exit(good ? 0 : 1);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child) {
        perror("fork");
        exit(3);
    }
    if (status == 0)
        return true;
    describe_end(status, shared->problem);
    report(run, shared->problem);
    return false;
}

/* What a killed writer left. True if the state is new (and then it was verified). */
static bool look_at(struct run *run, pid_t first, pid_t last, bool second_started) {
    uint64_t digest = scratch_digest(&run->setup.scratch, last);
    uint64_t key = digest ^ (run->shared->first_returned ? 0x5555555555555554ULL : 0) ^
                   (run->shared->second_returned ? 0x3333333333333330ULL : 0);
    if (!digests_add(&run->verified, key | 1))
        return false;
    run->n_states++;
    verify_in_child(run, second_started, first, digest);
    return true;
}

/* -- stage: watch ------------------------------------------------------------------------------------------------------ */

struct watcher {
    struct run *run;
    struct tmgr_table *table;
    struct tmgr_buffer buffer;
    bool saw_after;
    uint64_t last_len;
};

static bool watch_key(struct watcher *watcher, uint64_t id, char problem[PROBLEM_MAX]) {
    const struct run *run = watcher->run;
    uint8_t key[KEY_BYTES_MAX];
    int status = tmgr_lookup(watcher->table, key, key_encode(key, id), &watcher->buffer);
    if (status != TMGR_OK && status != TMGR_ABSENT) {
        snprintf(problem, PROBLEM_MAX, "a reader's lookup: %s", tmgr_status_text(status));
        return false;
    }
    bool is_before = false, is_after = false;
    for (size_t i = 0; i < run->n_candidates; i++) {
        const struct entry *entry = model_find(&run->candidates[i], id);
        bool equal = entry ? status == TMGR_OK && watcher->buffer.len == entry->len &&
                                 memcmp(watcher->buffer.data, entry->row, entry->len) == 0
                           : status == TMGR_ABSENT;
        is_before |= equal && i + 1 < run->n_candidates;
        is_after |= equal && i + 1 == run->n_candidates;
    }
    bool is_multi = run->setup.op.verb == VERB_DELETE_MANY;
    if ((!is_before && !is_after) || (watcher->saw_after && !is_after && !is_multi)) {
        snprintf(problem, PROBLEM_MAX, "a reader sees of id %llu %s", (unsigned long long)id,
                 !is_before && !is_after ? "what nobody wrote" : "what was before, after it had seen what came after");
        return false;
    }
    watcher->saw_after |= is_after && !is_before;
    return true;
}

/* Between two instructions of the writer. Everything read must be true of before or of after, and once of after never
 * again of before; and no read may wait, which it would for ever. */
static bool watch_step(void *context, pid_t child, size_t done) {
    struct watcher *watcher = context;
    struct run *run = watcher->run;
    const struct op *op = &run->setup.op;
    char problem[PROBLEM_MAX];
    (void)child;
    if (run->options->watch == 0 || done % run->options->watch != 0)
        return true;
    uint64_t begin = now_ns(), rows = 0;
    run->k = (long)done;
    bool good = true;
    size_t n = op->n < 4 ? op->n : 4;
    for (size_t i = 0; i < n && good; i++)
        good = watch_key(watcher, op->items[(done / run->options->watch + i) % op->n].id, problem);
    good = good && watch_key(watcher, done % 60, problem);
    int status = tmgr_len(watcher->table, &rows);
    if (good &&
        (status != TMGR_OK || (rows != run->candidates[0].count &&
                               rows != run->candidates[run->n_candidates - 1].count && op->verb != VERB_DELETE_MANY))) {
        snprintf(problem, PROBLEM_MAX, "a reader's len: %llu, %s", (unsigned long long)rows, tmgr_status_text(status));
        good = false;
    }
    if (good && done / run->options->watch % 32 == 0) {
        bool equal = false;
        for (size_t i = 0; i < run->n_candidates && !equal; i++)
            equal = table_equals_model(watcher->table, &run->candidates[i], problem);
        good = equal;
    }
    if (good && now_ns() - begin > READ_LIMIT_NS) {
        snprintf(problem, PROBLEM_MAX, "a reader took %llu ms", (unsigned long long)((now_ns() - begin) / 1000000));
        good = false;
    }
    run->n_reads++;
    if (!good)
        report(run, problem);
    return good || run->n_failures < run->options->failures;
}

/* Records the operation's trace, with a reader beside it if that is asked for and the case is about rows. */
static bool watch(struct run *run) {
    struct watcher watcher = {.run = run};
    bool with_reader = !run->which->life && run->options->watch > 0;
    run->k = run->j = -1;
    run->shared->first_returned = run->shared->second_returned = 0;
    image_restore(&run->image, &run->setup.scratch);
    if (with_reader && tmgr_attach(run->setup.scratch.segment, TMGR_MAP_READ, &watcher.table) != TMGR_OK) {
        report(run, "the reader cannot attach");
        return false;
    }
    pid_t child = tracer_fork(writer_of(run), run);
    bool ended = tracer_record(child, &run->trace, STEPS_LIMIT, with_reader ? watch_step : NULL, &watcher);
    run->k = (long)run->trace.n;
    if (ended && run->which->life) { /* what the whole operation makes of the table */
        char problem[PROBLEM_MAX];
        if (!facts_gather(&run->setup, (uint32_t)getpid(), (uint32_t)child, &run->after, problem)) {
            report(run, problem);
            ended = false;
        }
    } else if (!ended) {
        report(run, "the operation does not come to its end");
    }
    tracer_kill(child);
    if (watcher.table)
        tmgr_free(watcher.table);
    tmgr_buffer_free(&watcher.buffer);
    return ended;
}

/* -- stage: kill ------------------------------------------------------------------------------------------------------- */

/* A child stopped after k instructions. The breakpoint that saves steps is missed by a child that takes another way than
 * the recorded one (the C library's heap is not the same every time): then another child is stepped all the way. */
static pid_t run_child(struct run *run, const struct image *from, tracer_child_fn writer, const struct trace *trace,
                       size_t k, uint32_t first_returned) {
    bool gone = false;
    for (int tries = 0; tries < 2; tries++) {
        image_restore(from, &run->setup.scratch);
        run->shared->first_returned = first_returned;
        run->shared->second_returned = 0;
        pid_t child = tracer_fork(writer, run);
        if (!tracer_run_to(child, tries == 0 ? trace : NULL, trace, k, &gone))
            run->n_astray++;
        if (!gone)
            return child;
    }
    fprintf(stderr, "crash: the child cannot be followed\n");
    exit(3);
}

/* The first writer, killed after k instructions of the prepared table's operation. */
static pid_t kill_first(struct run *run, size_t k) {
    pid_t child = run_child(run, &run->image, writer_of(run), &run->trace, k, 0);
    tracer_kill(child);
    run->n_kills++;
    return child;
}

/* Which of 0..n to kill at: all but later rounds of loops if `most` is 0, else a sample that prefers what is rare. */
static size_t *choose(struct random *random, const struct trace *trace, size_t most, size_t *n_chosen) {
    size_t n = trace->n + 1, n_rare = 0, left = 0;
    uint32_t rounds = most ? 3 : ROUNDS_FULL;
    size_t *all = malloc((n + 1) * sizeof *all);
    for (size_t k = 0; k < n; k++)
        n_rare += k == trace->n || trace->nth[k] < rounds;
    size_t n_common = n - n_rare, of_rare = n_rare, of_common = n_common < 600 ? n_common : 600;
    if (most && most < n_rare + n_common) {
        of_rare = n_common == 0 ? most : most - most / 4;
        of_rare = of_rare < n_rare ? of_rare : n_rare;
        of_common = most - of_rare < n_common ? most - of_rare : n_common;
    } else if (most) {
        of_common = n_common;
    }
    /* Selection sampling: each group's share, evenly at random, in order. */
    size_t rare_left = n_rare, common_left = n_common;
    for (size_t k = 0; k < n; k++) {
        bool is_rare = k == trace->n || trace->nth[k] < rounds;
        size_t *wanted = is_rare ? &of_rare : &of_common, *remaining = is_rare ? &rare_left : &common_left;
        if (*wanted > 0 && random_below(random, *remaining) < *wanted) {
            all[left++] = k;
            --*wanted;
        }
        --*remaining;
    }
    *n_chosen = left;
    return all;
}

static bool too_many_failures(const struct run *run) { return run->n_failures >= run->options->failures; }

static size_t *kill_all(struct run *run, size_t *n_distinct) {
    size_t n;
    size_t *ks = choose(&run->random, &run->trace, run->options->kills, &n);
    *n_distinct = 0;
    for (size_t i = 0; i < n && !too_many_failures(run); i++) {
        run->k = (long)ks[i];
        run->j = -1;
        pid_t child = kill_first(run, ks[i]);
        if (look_at(run, child, child, false))
            ks[(*n_distinct)++] = ks[i];
    }
    return ks;
}

/* -- stage: repair ----------------------------------------------------------------------------------------------------- */

/* The second writer on what the first one left, killed after j instructions. */
static void kill_second(struct run *run, const struct image *left, const struct trace *trace, size_t j, pid_t first,
                        uint32_t first_returned) {
    pid_t child = run_child(run, left, second_writer, trace, j, first_returned);
    tracer_kill(child);
    run->n_repair_kills++;
    look_at(run, first, child, true);
}

static void kill_repair_of(struct run *run, size_t k, size_t most) {
    struct image left = {0};
    struct trace trace;
    pid_t first = kill_first(run, k);
    uint32_t first_returned = run->shared->first_returned;
    image_save(&left, &run->setup.scratch);
    run->k = (long)k;
    run->j = -1;
    pid_t child = tracer_fork(second_writer, run);
    bool ended = tracer_record(child, &trace, STEPS_LIMIT, NULL, NULL);
    tracer_kill(child);
    if (!ended) {
        run->j = (long)trace.n;
        report(run, "the writer that repairs does not come to its end");
    }
    size_t n;
    size_t *js = choose(&run->random, &trace, most, &n);
    if (run->options->j >= 0) {
        js[0] = (size_t)run->options->j < trace.n ? (size_t)run->options->j : trace.n;
        n = 1;
    }
    for (size_t i = 0; i < n && ended && !too_many_failures(run); i++) {
        run->j = (long)js[i];
        kill_second(run, &left, &trace, js[i], first, first_returned);
    }
    free(js);
    trace_free(&trace);
    image_free(&left);
}

static void kill_all_repairs(struct run *run, const size_t *ks, size_t n) {
    size_t most = run->options->repairs;
    for (size_t i = 0; i < n && !too_many_failures(run); i++) {
        size_t left = n - i, share = 0;
        if (most) {
            if (run->n_repair_kills >= most)
                break;
            share = (most - run->n_repair_kills + left - 1) / left;
            /* Few kills for many states: some of the states, more of the instructions each. */
            if (share < 20 && random_below(&run->random, 20) >= share)
                continue;
            share = share < 20 ? 20 : share;
        }
        kill_repair_of(run, ks[i], share);
    }
}

/* -- stage: stop ------------------------------------------------------------------------------------------------------- */

/* Another writer of the stripe, while the first is stopped: it is served, or told BUSY in time. Exit 0, 1, or a problem. */
static int write_beside(struct run *run) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct outcome outcome;
        alarm(CHECKER_SECONDS);
        struct tmgr_table *table = attach_to_write(run);
        uint64_t begin = now_ns();
        op_run(&run->second, table, SHORT_WAIT_NS, &outcome);
        uint64_t took = now_ns() - begin;
        bool in_time = outcome.status == TMGR_BUSY ? took >= SHORT_WAIT_NS && took < READ_LIMIT_NS : true;
        _exit(!in_time ? 3 : outcome.status == TMGR_OK ? 0 : outcome.status == TMGR_BUSY ? 1 : 2);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return 4;
    return WEXITSTATUS(status);
}

static void stop_at(struct run *run, size_t k) {
    static const char *const problems[] = {NULL, NULL, "a writer beside a stopped one fails",
                                           "BUSY comes too early or too late", "a writer beside a stopped one hangs"};
    char problem[PROBLEM_MAX];
    struct model model;
    run->k = (long)k;
    run->j = -1;
    pid_t child = run_child(run, &run->image, first_writer, &run->trace, k, 0);
    tracer_leave_stopped(child);
    run->n_stops++;
    struct expected expected = expectation(run, false);
    if (verify_read(&run->setup, &expected, &model, problem))
        model_free(&model);
    else
        report(run, problem);
    int beside = write_beside(run);
    if (beside > 1)
        report(run, problems[beside < 4 ? beside : 4]);
    run->n_busy += beside == 1;
    kill(child, SIGCONT);
    int status = -1;
    uint64_t begin = now_ns();
    pid_t ended;
    while ((ended = waitpid(child, &status, WNOHANG)) == 0 && now_ns() - begin < UINT64_C(10) * READ_LIMIT_NS)
        sched_yield();
    if (ended != child) {
        tracer_kill(child);
        report(run, "the stopped writer does not come to its end");
    } else if (status != 0 && !(run->setup.op.verb == VERB_DELETE_ALL && beside == 0)) {
        report(run, "the stopped writer's result is not the expected one");
    }
    run->shared->first_returned = 1;
    run->shared->second_returned = beside == 0;
    verify_in_child(run, beside == 0, child, random_next(&run->random));
}

static void stop_all(struct run *run) {
    size_t n;
    if (run->which->life || run->options->stops == 0)
        return;
    size_t *ks = choose(&run->random, &run->trace, run->options->stops, &n);
    for (size_t i = 0; i < n && !too_many_failures(run); i++)
        stop_at(run, ks[i]);
    free(ks);
}

/* -- a case ------------------------------------------------------------------------------------------------------------ */

/* The tables that the operation may leave: before, after; of delete_many, where each key is by itself, all prefixes. */
static void make_candidates(struct run *run) {
    struct setup *setup = &run->setup;
    size_t prefixes = setup->op.verb == VERB_DELETE_MANY ? setup->op.n : 1;
    for (size_t i = 0; i <= prefixes; i++) {
        struct model *model = &run->candidates[run->n_candidates++];
        model_copy(model, &setup->model);
        if (i == 0)
            continue;
        struct op part = setup->op;
        struct bound bound;
        part.n = setup->op.verb == VERB_DELETE_MANY ? i : part.n;
        op_bind(&bound, &part, model);
        op_model(&bound, model, &run->first_wanted);
        bound_free(&bound);
    }
    op_bind(&run->first, &setup->op, &setup->model);
    op_bind(&run->second, &setup->again, &setup->model);
}

static void run_free(struct run *run) {
    for (size_t i = 0; i < run->n_candidates; i++)
        model_free(&run->candidates[i]);
    if (!run->which->life) {
        bound_free(&run->first);
        bound_free(&run->second);
    }
    trace_free(&run->trace);
    digests_free(&run->verified);
    image_free(&run->image);
    setup_free(&run->setup);
}

static size_t run_case(const struct options *options, const struct crash_case *which, struct shared *shared) {
    struct run run = {.options = options, .which = which, .shared = shared, .random = random_from(options->seed + 1)};
    uint64_t begin = now_ns();
    setup_make(&run.setup, which, options->seed);
    image_save(&run.image, &run.setup.scratch);
    if (which->life) {
        char problem[PROBLEM_MAX];
        if (!facts_gather(&run.setup, (uint32_t)getpid(), 0, &run.before, problem))
            report(&run, problem);
    } else {
        make_candidates(&run);
    }
    /* A victim that first claims is the owner before the traced call: its facts are taken at the call's first step. */
    if (which->life && which->life->victim_claims) {
        char problem[PROBLEM_MAX];
        pid_t child = tracer_fork(life_writer, &run);
        if (!facts_gather(&run.setup, (uint32_t)getpid(), (uint32_t)child, &run.before, problem))
            report(&run, problem);
        tracer_kill(child);
    }
    if (watch(&run)) {
        size_t n_distinct = 0, *ks;
        if (options->k >= 0) {
            size_t only = (size_t)options->k < run.trace.n ? (size_t)options->k : run.trace.n;
            run.k = (long)only;
            run.j = -1;
            pid_t child = kill_first(&run, only);
            look_at(&run, child, child, false);
            if (!which->life) {
                kill_repair_of(&run, only, options->repairs);
                stop_at(&run, only);
            }
        } else {
            ks = kill_all(&run, &n_distinct);
            if (!which->life)
                kill_all_repairs(&run, ks, n_distinct);
            stop_all(&run);
            free(ks);
        }
    }
    printf("case=%s seed=%llu instructions=%zu kills=%zu repair_kills=%zu states=%zu reads=%zu stops=%zu busy=%zu "
           "astray=%zu failures=%zu seconds=%.1f\n",
           which->name, (unsigned long long)options->seed, run.trace.n, run.n_kills, run.n_repair_kills, run.n_states,
           run.n_reads, run.n_stops, run.n_busy, run.n_astray, run.n_failures, (double)(now_ns() - begin) * 1e-9);
    fflush(stdout);
    size_t failures = run.n_failures;
    run_free(&run);
    return failures;
}

/* -- command line ------------------------------------------------------------------------------------------------------ */

static void usage(void) {
    fprintf(stderr,
            "usage: crash [--list] --case NAME|all [--seed N] [--kills N] [--repairs N] [--stops N] [--watch N]\n"
            "             [--failures N] [--k K [--j J]] [--cpu N]    (kills, repairs: 0 is all)\n");
    exit(2);
}

static struct options parse(int argc, char **argv) {
    enum { CASE, SEED, KILLS, REPAIRS, STOPS, WATCH, FAILURES, K, J, CPU, LIST };
    static const struct option names[] = {
        {"case", 1, NULL, CASE},         {"seed", 1, NULL, SEED},   {"kills", 1, NULL, KILLS},
        {"repairs", 1, NULL, REPAIRS},   {"stops", 1, NULL, STOPS}, {"watch", 1, NULL, WATCH},
        {"failures", 1, NULL, FAILURES}, {"k", 1, NULL, K},         {"j", 1, NULL, J},
        {"cpu", 1, NULL, CPU},           {"list", 0, NULL, LIST},   {NULL, 0, NULL, 0}};
    struct options options = {.seed = 1, .stops = 20, .watch = 1, .failures = 5, .k = -1, .j = -1, .cpu = -1};
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case CASE:
            options.name = optarg;
            break;
        case SEED:
            options.seed = strtoull(optarg, NULL, 0);
            break;
        case KILLS:
            options.kills = strtoull(optarg, NULL, 0);
            break;
        case REPAIRS:
            options.repairs = strtoull(optarg, NULL, 0);
            break;
        case STOPS:
            options.stops = strtoull(optarg, NULL, 0);
            break;
        case WATCH:
            options.watch = strtoull(optarg, NULL, 0);
            break;
        case FAILURES:
            options.failures = strtoull(optarg, NULL, 0);
            break;
        case K:
            options.k = strtol(optarg, NULL, 0);
            break;
        case J:
            options.j = strtol(optarg, NULL, 0);
            break;
        case CPU:
            options.cpu = (int)strtol(optarg, NULL, 0);
            break;
        case LIST:
            for (size_t i = 0; i < n_crash_cases; i++)
                puts(crash_cases[i].name);
            exit(0);
        default:
            usage();
        }
    }
    if (!options.name)
        usage();
    return options;
}

int main(int argc, char **argv) {
    struct options options = parse(argc, argv);
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("mmap");
        return 3;
    }
    cpu_set_t one; /* a step is two context switches: on one processor they cost half */
    CPU_ZERO(&one);
    CPU_SET((size_t)(options.cpu >= 0 ? options.cpu : sched_getcpu()), &one);
    sched_setaffinity(0, sizeof one, &one);
    size_t failures = 0, n_run = 0;
    for (size_t i = 0; i < n_crash_cases; i++)
        if (strcmp(options.name, "all") == 0 || strcmp(options.name, crash_cases[i].name) == 0) {
            failures += run_case(&options, &crash_cases[i], shared);
            n_run++;
        }
    if (n_run == 0)
        usage();
    return failures ? 1 : 0;
}
