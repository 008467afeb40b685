/* SPDX-License-Identifier: Apache-2.0 */
/* stages.c - one case: one operation on one prepared table.
 *
 *   watch    one run, stepped; between the steps a reader with a read-only mapping looks, the writer being stopped
 *   kill     for each chosen k: the table is put back, a fresh child runs k instructions and is SIGKILLed
 *   repair   for each different state a kill left, and each operation that may follow: that is watched as well, and for
 *            each chosen j the process that makes it, and mends what there is to mend, is SIGKILLed after j
 *   stop     for sampled k: the child is left SIGSTOPped, others read and write, then it goes on
 *
 * What is chosen: see effects.h. What was left is verified by a child of its own, which may crash or hang without
 * harm. */
#include "machine.h"
#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- watching ------------------------------------------------------------------------------------------------------ */

struct watcher {
    struct run *run;
    struct effects *effects;
    size_t every;
    long *at;                  /* k or j of the run */
    struct coverage *coverage; /* NULL: recording goes on to the end, whatever others have done */
    struct process self;
    struct digests ways; /* those of the coverage, for when this one is recorded */
};

/* The child is where another was that has been followed from there to its end, on the same bytes. */
static bool joins(struct watcher *watcher, pid_t child) {
    struct effects *effects = watcher->effects;
    if (!watcher->coverage || !effects_just_changed(effects))
        return false;
    uint64_t machine = machine_digest(child, &watcher->self), way = machine ^ effects->keys[effects->n - 1];
    if (machine != 0 && digests_has(&watcher->coverage->ways, way))
        effects->joined = way;
    else if (machine != 0)
        digests_add(&watcher->ways, way);
    return effects->joined != 0;
}

static bool watch_step(void *context, pid_t child, size_t done) {
    struct watcher *watcher = context;
    struct run *run = watcher->run;
    char problem[PROBLEM_MAX] = "";
    effects_note(watcher->effects, &run->setup.scratch, child,
                 run->shared->first_returned + 2 * (uint64_t)run->shared->second_returned +
                     16 * (uint64_t)(run->next + 1) + (run->expectation << 12));
    if (joins(watcher, child))
        return false;
    if (watcher->every == 0 || done % watcher->every != 0)
        return true;
    *watcher->at = (long)done;
    uint64_t begin = run_now_ns();
    bool good = run->subject->reader_look(run, done / watcher->every, problem);
    uint64_t took = run_now_ns() - begin;
    run->n_reads++;
    if (good && took > LATE_NS) {
        snprintf(problem, sizeof problem, "a reader took %llu ms", (unsigned long long)(took / 1000000));
        good = false;
    }
    if (!good)
        run_report(run, problem);
    return good || !run_has_failed_enough(run);
}

/* Steps a child through its calls, or with a coverage until it goes on as others have gone; notes what each step does,
 * and has a reader look. False: it has been reported. */
static bool record(struct run *run, const struct process *child, struct trace *trace, struct effects *effects,
                   size_t every, long *at, struct coverage *coverage) {
    struct watcher watcher = {
        .run = run, .effects = effects, .every = every, .at = at, .coverage = coverage, .self = *child};
    struct cast cast = run_cast(run);
    char problem[PROBLEM_MAX] = "";
    size_t failures = run->n_failures;
    effects_begin(effects, &run->setup.scratch, child->pid, &cast);
    if (coverage && !machine_reset(child->pid))
        watcher.coverage = NULL;
    if (every > 0 && !run->subject->reader_begin(run, problem)) {
        run_report(run, problem);
        watcher.every = every = 0;
    }
    bool ended = tracer_record(child->pid, trace, STEPS_LIMIT, watch_step, &watcher);
    *at = (long)trace->n;
    if (ended)
        watch_step(&watcher, child->pid, trace->n);
    if (ended && !run->subject->ended(run, problem))
        run_report(run, problem);
    else if (!ended && !effects->joined && run->n_failures == failures)
        run_report(run, "the operation does not come to its end");
    ended |= effects->joined != 0;
    run->n_joined += effects->joined != 0;
    if (ended && coverage)
        digests_merge(&coverage->ways, &watcher.ways);
    digests_free(&watcher.ways);
    if (every > 0)
        run->subject->reader_end(run);
    for (size_t k = 1; k < effects->n; k++)
        run->n_changes += effects->keys[k] != effects->keys[k - 1];
    return ended;
}

static bool watch(struct run *run) {
    run->k = run->j = -1;
    run->shared->first_returned = run->shared->second_returned = 0;
    image_restore(&run->image, &run->setup.scratch);
    run->first = run_process(tracer_fork(run->subject->first, run));
    bool ended = record(run, &run->first, &run->trace, &run->effects, run->options->watch, &run->k, NULL);
    tracer_kill(run->first.pid);
    return ended;
}

/* -- killing ------------------------------------------------------------------------------------------------------- */

/* A kill on the recorded way at every step. False: the child has left it. */
static bool kill_slowly(struct run *run, const struct image *from, tracer_child_fn writer, const struct trace *trace,
                        size_t k, uint32_t first_returned, struct process *victim, uint64_t *digest) {
    bool is_astray;
    *victim = run_child(run, from, writer, trace, k, first_returned, true, &is_astray);
    tracer_kill(victim->pid);
    struct cast cast = run_cast(run);
    *digest = scratch_digest(&run->setup.scratch, &cast);
    return !is_astray;
}

/* Two more kills that are to leave the same, where one or the other may have been at another step than it seemed: a child
 * that has read other numbers of the kernel has made more rounds of a loop. Do these leave different things as well? */
static void confirm(struct run *run, const struct image *from, tracer_child_fn writer, const struct trace *trace,
                    const struct effects *effects, size_t k, uint32_t first_returned, struct process *victim) {
    uint64_t here, there;
    size_t like = 0;
    while (like < trace->n && (like == k || effects->keys[like] != effects->keys[k]))
        like++;
    if (effects->keys[like] == effects->keys[k] && like != k &&
        kill_slowly(run, from, writer, trace, k, first_returned, victim, &here) &&
        kill_slowly(run, from, writer, trace, like, first_returned, victim, &there) && here != there)
        run_report(run, "the same before the kill, and not the same after it");
}

/* The next process on what the first one left, killed after j instructions. */
static void kill_second(struct run *run, const struct image *left, const struct trace *trace,
                        const struct effects *effects, struct coverage *coverage, size_t j, uint32_t first_returned) {
    bool is_astray;
    uint64_t digest;
    run->j = (long)j;
    run->second = run_child(run, left, run->subject->second, trace, j, first_returned, false, &is_astray);
    tracer_kill(run->second.pid);
    run->n_repair_kills++;
    run_look_at(run, &digest);
    if (!is_astray && !coverage_agrees(coverage, effects->keys[j], digest))
        confirm(run, left, run->subject->second, trace, effects, j, first_returned, &run->second);
}

/* Watched and killed, the next process on what the first one left. True: it did what had been done after another death. */
static bool repair_with(struct run *run, const struct image *left, struct coverage *coverage, size_t most,
                        uint32_t first_returned) {
    struct trace trace;
    struct effects effects;
    char problem[PROBLEM_MAX];
    size_t n = 0;
    image_restore(left, &run->setup.scratch);
    run->shared->first_returned = first_returned;
    run->shared->second_returned = 0;
    if (!run->subject->expect_next(run, problem)) {
        run_report(run, problem);
        return false;
    }
    image_restore(left, &run->setup.scratch);
    run->second = run_process(tracer_fork(run->subject->second, run));
    bool is_whole = most == 0 && !run->options->every && run->options->j < 0;
    bool ended =
        record(run, &run->second, &trace, &effects, run->options->watch * 16, &run->j, is_whole ? coverage : NULL);
    tracer_kill(run->second.pid);
    size_t *js = NULL;
    uint64_t what = first_returned + 2 * (uint64_t)run->next + 64 * run->expectation;
    bool is_alike = ended && !run->options->every && run->options->j < 0 &&
                    !digests_add(&coverage->behaviours, effects_behaviour(&effects, &trace) ^ what << 48);
    run->n_alike += is_alike;
    if (ended && !is_alike)
        js = coverage_choose(coverage, &run->random, &trace, &effects, most, run->options->every, &n);
    if (js && run->options->j >= 0) {
        js[0] = (size_t)run->options->j < trace.n ? (size_t)run->options->j : trace.n;
        n = 1;
    }
    for (size_t i = 0; i < n && !run_has_failed_enough(run); i++)
        kill_second(run, left, &trace, &effects, coverage, js[i], first_returned);
    free(js);
    trace_free(&trace);
    effects_free(&effects);
    return is_alike;
}

/* Later rounds of a loop that are followed by the same as those before, again and again: copying a row. */
static bool is_passed(struct streak *streak, bool is_whole) {
    if (!is_whole || streak->n_alike < ALIKE || ++streak->n_passed % FOLLOWED == 0)
        return false;
    return true;
}

/* The first, killed after k instructions. */
static bool kill_first(struct run *run, size_t k) {
    bool is_astray;
    run->k = (long)k;
    run->j = -1;
    run->next = NO_NEXT;
    run->second = (struct process){0};
    run->expectation = 0;
    run->first = run_child(run, &run->image, run->subject->first, &run->trace, k, 0, false, &is_astray);
    tracer_kill(run->first.pid);
    run->n_kills++;
    return is_astray;
}

/* most: of all that may follow together; 0: all. */
static void repair_after(struct run *run, size_t k, struct coverage *coverage, size_t most) {
    struct image left = {0};
    kill_first(run, k);
    uint32_t first_returned = run->shared->first_returned;
    image_save(&left, &run->setup.scratch);
    size_t n = run->subject->n_nexts, from = 0, n_tried = n;
    if (most && n > 2 && !run->options->next) { /* in a sample two of them, with more kills each */
        from = (size_t)random_below(&run->random, n);
        n_tried = 2;
    }
    for (size_t i = 0; i < n_tried && !run_has_failed_enough(run); i++) {
        size_t next = (from + i) % n, share = most ? (most + n_tried - 1) / n_tried : 0;
        if (run->options->next && strcmp(run->options->next, run->subject->nexts[next]) != 0)
            continue;
        run->next = (int)next;
        run->j = -1;
        struct streak *streak = coverage_streak(coverage, k ? run->trace.pc[k - 1] : 0, run->next);
        if (is_passed(streak, most == 0 && !run->options->every && run->options->k < 0))
            run->n_passed++;
        else
            streak->n_alike = repair_with(run, &left, coverage, share, first_returned) ? streak->n_alike + 1 : 0;
    }
    run->next = NO_NEXT;
    run->second = (struct process){0};
    run->expectation = 0;
    image_free(&left);
}

static void repair_all(struct run *run, const size_t *ks, size_t n, struct coverage *coverage) {
    size_t most = run->options->repairs;
    for (size_t i = 0; i < n && !run_has_failed_enough(run); i++) {
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
        repair_after(run, ks[i], coverage, share);
    }
}

static void kill_all(struct run *run, struct coverage *repairs) {
    struct coverage coverage = {0};
    size_t n, n_distinct = 0;
    size_t *ks = coverage_choose(&coverage, &run->random, &run->trace, &run->effects, run->options->kills,
                                 run->options->every, &n);
    for (size_t i = 0; i < n && !run_has_failed_enough(run); i++) {
        uint64_t digest;
        bool is_astray = kill_first(run, ks[i]);
        bool is_new = run_look_at(run, &digest);
        if (!is_astray && !coverage_agrees(&coverage, run->effects.keys[ks[i]], digest))
            confirm(run, &run->image, run->subject->first, &run->trace, &run->effects, ks[i], 0, &run->first);
        if (is_new)
            ks[n_distinct++] = ks[i];
    }
    run->n_skipped += coverage.n_skipped;
    coverage_free(&coverage);
    repair_all(run, ks, n_distinct, repairs);
    free(ks);
}

static void kill_one(struct run *run, struct coverage *coverage) {
    size_t only = (size_t)run->options->k < run->trace.n ? (size_t)run->options->k : run->trace.n;
    uint64_t digest;
    kill_first(run, only);
    run_look_at(run, &digest);
    repair_after(run, only, coverage, run->options->repairs);
    if (run->options->stops > 0)
        run->subject->stop_at(run, only);
}

/* -- stopping ------------------------------------------------------------------------------------------------------ */

static void stop_all(struct run *run) {
    struct coverage coverage = {0};
    size_t n;
    if (run->options->stops == 0)
        return;
    size_t *ks = coverage_choose(&coverage, &run->random, &run->trace, &run->effects, run->options->stops, false, &n);
    for (size_t i = 0; i < n && !run_has_failed_enough(run); i++) {
        run->k = (long)ks[i];
        run->j = -1;
        run->next = NO_NEXT;
        run->subject->stop_at(run, ks[i]);
    }
    coverage_free(&coverage);
    free(ks);
}

/* -- a case -------------------------------------------------------------------------------------------------------- */

static void print_counts(const struct run *run, double seconds) {
    printf("case=%s seed=%llu instructions=%zu changes=%zu skipped=%zu kills=%zu repair_kills=%zu alike=%zu joined=%zu "
           "passed=%zu states=%zu "
           "reads=%zu "
           "stops=%zu busy=%zu astray=%zu failures=%zu seconds=%.1f\n",
           run->which->name, (unsigned long long)run->options->seed, run->trace.n, run->n_changes, run->n_skipped,
           run->n_kills, run->n_repair_kills, run->n_alike, run->n_joined, run->n_passed, run->n_states, run->n_reads,
           run->n_stops, run->n_busy, run->n_astray, run->n_failures, seconds);
    fflush(stdout);
}

size_t run_case(const struct options *options, const struct crash_case *which, struct shared *shared) {
    struct run run = {.options = options,
                      .which = which,
                      .subject = which->life ? &subject_life : &subject_rows,
                      .shared = shared,
                      .random = random_from(options->seed + 1),
                      .next = NO_NEXT};
    uint64_t begin = run_now_ns();
    setup_make(&run.setup, which, options->seed);
    if (run.setup.is_checked)
        run.subject = &subject_checked_rows;
    image_save(&run.image, &run.setup.scratch);
    run.subject->prepare(&run);
    struct coverage repairs = {0};
    if (watch(&run)) {
        if (options->k >= 0) {
            kill_one(&run, &repairs);
        } else {
            kill_all(&run, &repairs);
            stop_all(&run);
        }
    }
    run.n_skipped += repairs.n_skipped;
    coverage_free(&repairs);
    print_counts(&run, (double)(run_now_ns() - begin) * 1e-9);
    run.subject->release(&run);
    trace_free(&run.trace);
    effects_free(&run.effects);
    digests_free(&run.verified);
    image_free(&run.image);
    setup_free(&run.setup);
    return run.n_failures;
}
