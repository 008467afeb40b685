/* SPDX-License-Identifier: Apache-2.0 */
/* rows.c - cases about rows: one writer dies in its operation; the next one of the stripe repairs and inserts a row, or
 * check(repair) passes all stripes and looks at everything. */
#include "machine.h"
#include "run.h"
#include "sequence.h"
#include "verify.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SHORT_WAIT_NS = 5 * 1000 * 1000, CANDIDATES_MAX = 16 };

/* Of the case at work; there is one at a time. */
static struct {
    struct bound first, second, beside;
    const struct item *later; /* what comes after the first: second's, or beside's; NULL: a check, no row */
    struct outcome first_wanted;
    struct model candidates[CANDIDATES_MAX];
    struct sequence sequences[CANDIDATES_MAX]; /* of an ordered_set: the candidates by their keys */
    size_t n_candidates;
    struct tmgr_table *table; /* of a child */
} at_work;

static struct {
    struct tmgr_table *table;
    struct tmgr_buffer buffer;
    bool saw_after;
} reader;

/* -- the children that are killed ---------------------------------------------------------------------------------- */

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
    struct outcome outcome;
    run_become_repeatable();
    struct tmgr_table *table = attach_to_write(run);
    tracer_begin();
    op_call(&at_work.first, table, WAIT_NS, &outcome);
    run->shared->first_returned = 1;
    tracer_end();
    op_finish(&at_work.first, &outcome);
    bool is_refused = run->setup.refusal != TMGR_OK && outcome.status == run->setup.refusal;
    _exit(is_refused || outcomes_equal(&outcome, &at_work.first_wanted) ? 0 : 4);
}

static void second_call(void *context) {
    struct run *run = context;
    struct outcome outcome;
    tracer_begin();
    op_call(&at_work.second, at_work.table, WAIT_NS, &outcome);
    run->shared->second_status[0] = outcome.status;
    run->shared->second_returned = 1;
    tracer_end();
}

static void ignore(void *context, const char *problem) {
    (void)context;
    (void)problem;
}

static void check_call(void *context) {
    struct run *run = context;
    tracer_begin();
    run->shared->second_status[0] = tmgr_check(at_work.table, true, ignore, NULL, WAIT_NS);
    run->shared->second_returned = 1;
    tracer_end();
}

static void second_writer(void *context) {
    struct run *run = context;
    run_become_repeatable();
    at_work.table = attach_to_write(run);
    machine_run(run->setup.is_checked ? check_call : second_call, run);
    _exit(0);
}

static bool inserts_second(const struct run *run) { return run->next != NO_NEXT && at_work.later; }

/* In a full table the next writer may be told so, too. */
static bool second_is_refused(const struct run *run) {
    return run->setup.refusal != TMGR_OK && run->shared->second_status[0] == run->setup.refusal;
}

static bool ended(struct run *run, char problem[PROBLEM_MAX]) {
    if (run->next == NO_NEXT || run->shared->second_status[0] == TMGR_OK || second_is_refused(run))
        return true;
    snprintf(problem, PROBLEM_MAX, "the next one: %s", tmgr_status_text(run->shared->second_status[0]));
    return false;
}

static bool expect_next(struct run *run, char problem[PROBLEM_MAX]) {
    (void)run;
    (void)problem;
    return true;
}

/* -- verifying ----------------------------------------------------------------------------------------------------- */

static struct expected expectation(const struct run *run, bool second_started) {
    bool no_second = !at_work.later || (run->shared->second_returned && second_is_refused(run));
    return (struct expected){.candidates = at_work.candidates,
                             .n = at_work.n_candidates,
                             .first_returned = run->shared->first_returned,
                             .second = at_work.later,
                             .second_started = second_started && !no_second,
                             .second_returned = run->shared->second_returned && !no_second,
                             .order_is_open = run->setup.op.verb == VERB_DELETE_ALL};
}

static bool verify(struct run *run, uint64_t seed, char problem[PROBLEM_MAX]) {
    struct expected expected = expectation(run, run->next != NO_NEXT);
    return verify_rows(&run->setup, &expected, seed, seed & 2, problem);
}

/* -- the reader beside a stopped writer ---------------------------------------------------------------------------- */

static bool reader_begin(struct run *run, char problem[PROBLEM_MAX]) {
    memset(&reader, 0, sizeof reader);
    int status = tmgr_attach(run->setup.scratch.segment, TMGR_MAP_READ, &reader.table);
    if (status != TMGR_OK)
        snprintf(problem, PROBLEM_MAX, "the reader cannot attach: %s", tmgr_status_text(status));
    return status == TMGR_OK;
}

static void reader_end(struct run *run) {
    (void)run;
    tmgr_free(reader.table);
    tmgr_buffer_free(&reader.buffer);
}

/* What was read is what some of the candidates hold: that must be one of them, and not one that is over. */
static bool is_in_time(const struct run *run, const bool equals[CANDIDATES_MAX], const char *what, uint64_t id,
                       char problem[PROBLEM_MAX]) {
    bool is_before = false, is_after = equals[at_work.n_candidates - 1];
    for (size_t i = 0; i + 1 < at_work.n_candidates; i++)
        is_before |= equals[i];
    bool is_multi = run->setup.op.verb == VERB_DELETE_MANY;
    if ((!is_before && !is_after) || (reader.saw_after && !is_after && !is_multi)) {
        snprintf(problem, PROBLEM_MAX, "a reader sees by %s at id %llu %s", what, (unsigned long long)id,
                 !is_before && !is_after ? "what nobody wrote" : "what was before, after it had seen what came after");
        return false;
    }
    reader.saw_after |= is_after && !is_before;
    return true;
}

/* The rows that the lookup gave are the entry's, perhaps with one behind them that the next writer inserts. */
static bool is_found(const struct run *run, const struct entry *entry, uint64_t id, int status) {
    size_t len = entry ? entry->len : 0, more = reader.buffer.len - len;
    const struct tmgr_op *next = at_work.second.ops;
    if (status != TMGR_OK)
        return status == TMGR_ABSENT && !entry;
    if (reader.buffer.len < len || (entry && memcmp(reader.buffer.data, entry->row, len) != 0))
        return false;
    if (more == 0)
        return true;
    return inserts_second(run) && id == run->setup.again.items[0].id && more == next->row_len &&
           memcmp(reader.buffer.data + len, next->row, more) == 0;
}

static bool look_for(const struct run *run, uint64_t id, char problem[PROBLEM_MAX]) {
    uint8_t key[KEY_BYTES_MAX];
    int status = tmgr_lookup(reader.table, key, key_encode(key, id), &reader.buffer);
    if (status != TMGR_OK && status != TMGR_ABSENT) {
        snprintf(problem, PROBLEM_MAX, "a reader's lookup: %s", tmgr_status_text(status));
        return false;
    }
    bool equals[CANDIDATES_MAX] = {false};
    for (size_t i = 0; i < at_work.n_candidates; i++)
        equals[i] = is_found(run, model_find(&at_work.candidates[i], id), id, status);
    return is_in_time(run, equals, "a lookup", id, problem);
}

/* The rows between two keys, by as many calls as it takes, while the writer stands still: all of before, or of after. */
static bool look_over(const struct run *run, const struct span *span, char problem[PROBLEM_MAX]) {
    const struct item *second = inserts_second(run) ? &run->setup.again.items[0] : NULL;
    bool equals[CANDIDATES_MAX] = {false};
    reader.buffer.len = 0;
    int status = span_read(reader.table, span, &reader.buffer);
    if (status != TMGR_OK) {
        snprintf(problem, PROBLEM_MAX, "a reader's range: %s", tmgr_status_text(status));
        return false;
    }
    for (size_t i = 0; i < at_work.n_candidates; i++)
        equals[i] = span_equals(span, &reader.buffer, &at_work.sequences[i], second);
    return is_in_time(run, equals, "a range", span->lo, problem);
}

/* Now a part of the table around a key that the operation may change, now all of it. */
static bool look_in_order(const struct run *run, size_t done, char problem[PROBLEM_MAX]) {
    static const size_t max_rows[] = {SIZE_MAX, 1, 3, 13};
    static const uint64_t reaches[] = {2, 60, 400};
    const struct op *op = &run->setup.op;
    uint64_t id = op->n ? op->items[done / 3 % op->n].id : 1000, reach = reaches[done % 3];
    bool is_whole = done % 24 == 0;
    struct span span = {.has_lo = !is_whole,
                        .has_hi = !is_whole,
                        .lo = id > reach ? id - reach : id,
                        .hi = id + reach,
                        .flags = done / 2 % 2 ? TMGR_RANGE_REVERSE : (uint32_t)(done * 5 / 2 % 4),
                        .max_rows = is_whole ? SIZE_MAX : max_rows[done / 8 % 4],
                        .want_bytes = done % 5 ? SIZE_MAX : 1};
    return look_over(run, &span, problem);
}

/* The next writer's row may be there, and counts. */
static bool length_is_right(const struct run *run, char problem[PROBLEM_MAX]) {
    uint64_t rows = 0, more = inserts_second(run) ? 1 : 0;
    int status = tmgr_len(reader.table, &rows);
    bool is_multi = run->setup.op.verb == VERB_DELETE_MANY;
    for (size_t i = 0; i < at_work.n_candidates && status == TMGR_OK; i++)
        if (is_multi || i == 0 || i + 1 == at_work.n_candidates)
            if (rows >= at_work.candidates[i].count && rows <= at_work.candidates[i].count + more)
                return true;
    snprintf(problem, PROBLEM_MAX, "a reader's len: %llu, %s", (unsigned long long)rows, tmgr_status_text(status));
    return false;
}

static bool all_is_right(const struct run *run, char problem[PROBLEM_MAX]) {
    const struct item *second = &run->setup.again.items[0];
    bool equal = false;
    for (size_t i = 0; i < at_work.n_candidates && !equal; i++)
        for (int with = 0; with <= inserts_second(run) && !equal; with++) {
            struct model model;
            model_copy(&model, &at_work.candidates[i]);
            if (with)
                model_put(&model, second->id, second->stamp, second->payload);
            equal = table_equals_model(reader.table, &model, problem);
            model_free(&model);
        }
    return equal;
}

/* Everything read must be true of before or of after, and once of after never again of before; and no read may wait,
 * which it would for ever. */
static bool reader_look(struct run *run, size_t done, char problem[PROBLEM_MAX]) {
    const struct op *op = &run->setup.op;
    size_t n = op->n < 4 ? op->n : 4;
    for (size_t i = 0; i < n; i++)
        if (!look_for(run, op->items[(done + i) % op->n].id, problem))
            return false;
    return look_for(run, done % 60, problem) && length_is_right(run, problem) &&
           (!run->setup.is_ordered || look_in_order(run, done, problem)) &&
           (done % 32 != 0 || all_is_right(run, problem));
}

/* -- stopped ------------------------------------------------------------------------------------------------------- */

/* Another writer of the stripe, while the first is stopped: it is served, or told BUSY in time. Exit 0, 1, or a
 * problem. */
static int write_beside(struct run *run) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct outcome outcome;
        run_limit_time();
        struct tmgr_table *table = attach_to_write(run);
        uint64_t begin = run_now_ns();
        op_run(&at_work.beside, table, SHORT_WAIT_NS, &outcome);
        uint64_t took = run_now_ns() - begin;
        bool in_time = outcome.status == TMGR_BUSY ? took >= SHORT_WAIT_NS && took < LATE_NS : true;
        bool is_refused = run->setup.refusal != TMGR_OK && outcome.status == run->setup.refusal;
        _exit(!in_time ? 3 : outcome.status == TMGR_OK ? 0 : outcome.status == TMGR_BUSY || is_refused ? 1 : 2);
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
    bool is_astray;
    pid_t child = run_child(run, &run->image, first_writer, &run->trace, k, 0, false, &is_astray).pid;
    tracer_leave_stopped(child);
    run->n_stops++;
    struct expected expected = expectation(run, false);
    if (verify_read(&run->setup, &expected, &model, problem))
        model_free(&model);
    else
        run_report(run, problem);
    int beside = write_beside(run);
    if (beside > 1)
        run_report(run, problems[beside < 4 ? beside : 4]);
    run->n_busy += beside == 1;
    int status = run_continue(child);
    if (status < 0)
        run_report(run, "the stopped writer does not come to its end");
    else if (status != 0 && !(run->setup.op.verb == VERB_DELETE_ALL && beside == 0))
        run_report(run, "the stopped writer's result is not the expected one");
    run->shared->first_returned = 1;
    run->shared->second_returned = beside == 0;
    run->next = beside == 0 ? 0 : NO_NEXT;
    const struct item *later = at_work.later;
    at_work.later = run->setup.beside.items;
    run_verify(run);
    at_work.later = later;
    run->next = NO_NEXT;
}

/* -- setting up ---------------------------------------------------------------------------------------------------- */

/* The tables that the operation may leave: before, after; of delete_many, where each key is by itself, all prefixes. */
static void prepare(struct run *run) {
    const struct setup *setup = &run->setup;
    size_t prefixes = setup->op.verb == VERB_DELETE_MANY ? setup->op.n : 1;
    memset(&at_work, 0, sizeof at_work);
    for (size_t i = 0; i <= prefixes; i++) {
        struct model *model = &at_work.candidates[at_work.n_candidates++];
        model_copy(model, &setup->model);
        if (i == 0)
            continue;
        if (setup->refusal != TMGR_OK) {
            at_work.first_wanted = (struct outcome){.status = setup->refusal};
            continue;
        }
        struct op part = setup->op;
        struct bound bound;
        part.n = setup->op.verb == VERB_DELETE_MANY ? i : part.n;
        op_bind(&bound, &part, model);
        op_model(&bound, model, &at_work.first_wanted);
        bound_free(&bound);
    }
    for (size_t i = 0; i < at_work.n_candidates; i++)
        sequence_make(&at_work.sequences[i], &at_work.candidates[i]);
    op_bind(&at_work.first, &setup->op, &setup->model);
    op_bind(&at_work.second, &setup->again, &setup->model);
    op_bind(&at_work.beside, &setup->beside, &setup->model);
    at_work.later = setup->is_checked ? NULL : setup->again.items;
}

static void release(struct run *run) {
    (void)run;
    for (size_t i = 0; i < at_work.n_candidates; i++) {
        sequence_free(&at_work.sequences[i]);
        model_free(&at_work.candidates[i]);
    }
    bound_free(&at_work.first);
    bound_free(&at_work.second);
    bound_free(&at_work.beside);
}

static const char *const nexts[] = {"insert"}, *const checks[] = {"check"};

#define ROWS(after, n_after)                                                                                           \
    {.prepare = prepare,                                                                                               \
     .release = release,                                                                                               \
     .first = first_writer,                                                                                            \
     .second = second_writer,                                                                                          \
     .nexts = after,                                                                                                   \
     .n_nexts = n_after,                                                                                               \
     .reader_begin = reader_begin,                                                                                     \
     .reader_look = reader_look,                                                                                       \
     .reader_end = reader_end,                                                                                         \
     .ended = ended,                                                                                                   \
     .verify = verify,                                                                                                 \
     .expect_next = expect_next,                                                                                       \
     .stop_at = stop_at}
const struct subject subject_rows = ROWS(nexts, 1), subject_checked_rows = ROWS(checks, 1);
