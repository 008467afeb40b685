/* SPDX-License-Identifier: Apache-2.0 */
/* run.c - see run.h: children, verdicts, reports. */
#include "run.h"

#include <dlfcn.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* -- clocks -------------------------------------------------------------------------------------------------------- */

static bool clock_stands_still;

/* Takes the place of the C library's, for the core as well, which is linked into this program. */
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*of_library)(clockid_t,
                             struct timespec *); /* found before any child is forked; it makes no system call */
    if (!of_library)
        *(void **)&of_library = dlsym(RTLD_NEXT, "clock_gettime");
    if (!clock_stands_still)
        return of_library(clock, now);
    *now = (struct timespec){.tv_sec = 1700000000, .tv_nsec = 0};
    return 0;
}

void run_become_repeatable(void) {
    struct tmgr_process self;
    clock_stands_still = true;
    run_use_own_heap();
    tmgr_self(&self);
}

uint64_t run_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* -- reports ------------------------------------------------------------------------------------------------------- */

void run_report(struct run *run, const char *problem) {
    const char *next = run->next == NO_NEXT ? NULL : run->subject->nexts[run->next];
    unsigned long long seed = run->options->seed;
    run->n_failures++;
    printf("FAIL case=%s k=%ld next=%s j=%ld seed=%llu: %s\n", run->which->name, run->k, next ? next : "-", run->j,
           seed, problem);
    printf("reproduce: python -m tests.crash --case %s --seed %llu --k %ld", run->which->name, seed, run->k);
    if (next)
        printf(" --next %s", next);
    if (run->j >= 0)
        printf(" --j %ld", run->j);
    printf("\n");
    fflush(stdout);
}

bool run_has_failed_enough(const struct run *run) { return run->n_failures >= run->options->failures; }

struct cast run_cast(const struct run *run) { return (struct cast){{run->first, run->second}}; }

struct process run_process(pid_t child) {
    struct tmgr_process process = {.pid = (uint32_t)child};
    tmgr_alive(&process);
    return (struct process){child, process.start};
}

/* -- children ------------------------------------------------------------------------------------------------------ */

/* The breakpoint that saves steps is missed by a child that takes another way than the recorded one (its number has
 * more digits, say): then another child is stepped all the way. */
struct process run_child(struct run *run, const struct image *from, tracer_child_fn writer, const struct trace *trace,
                         size_t k, uint32_t first_returned, bool slowly, bool *is_astray) {
    bool gone = false;
    for (int tries = 0; tries < 2; tries++) {
        image_restore(from, &run->setup.scratch);
        run->shared->first_returned = first_returned;
        run->shared->second_returned = 0;
        pid_t child = tracer_fork(writer, run);
        *is_astray = !tracer_run_to(child, tries == 0 && !slowly ? trace : NULL, trace, k, &gone);
        run->n_astray += *is_astray;
        if (!gone)
            return run_process(child);
    }
    fprintf(stderr, "crash: the child cannot be followed\n");
    exit(3);
}

int run_continue(pid_t child) {
    int status = -1;
    pid_t ended;
    uint64_t begin = run_now_ns();
    kill(child, SIGCONT);
    while ((ended = waitpid(child, &status, WNOHANG)) == 0 && run_now_ns() - begin < 2 * LATE_NS)
        sched_yield();
    if (ended == child)
        return status;
    tracer_kill(child);
    return -1;
}

void run_limit_time(void) {
    struct itimerval most = {.it_value = {.tv_sec = CHECKER_SECONDS}};
    setitimer(ITIMER_PROF, &most, NULL);
    alarm(CHECKER_PATIENCE); /* it may sleep; that others have the processor is no hang */
}

static void describe_end(int status, char problem[PROBLEM_MAX]) {
    if (WIFSIGNALED(status))
        snprintf(problem, PROBLEM_MAX, "the checker %s (signal %d)",
                 WTERMSIG(status) == SIGALRM || WTERMSIG(status) == SIGPROF ? "hangs" : "crashed", WTERMSIG(status));
    else if (WEXITSTATUS(status) != 1)
        snprintf(problem, PROBLEM_MAX, "the checker ended with %d", WEXITSTATUS(status));
}

/* Of the kill at hand: the line that repeats it leads to the same. */
static uint64_t checker_seed(const struct run *run) {
    struct random random = random_from(run->options->seed);
    random = random_from(random_next(&random) + (uint64_t)run->k);
    random = random_from(random_next(&random) + (uint64_t)(run->next + 1));
    random = random_from(random_next(&random) + (uint64_t)(run->j + 1));
    return random_next(&random);
}

bool run_verify(struct run *run) {
    struct shared *shared = run->shared;
    shared->problem[0] = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        run_limit_time();
        _exit(run->subject->verify(run, checker_seed(run), shared->problem) ? 0 : 1);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child) {
        perror("fork");
        exit(3);
    }
    if (status == 0)
        return true;
    describe_end(status, shared->problem);
    run_report(run, shared->problem);
    return false;
}

/* Bytes seen before, under the same expectation, need not be looked at again: the verdict depends on nothing else. */
bool run_look_at(struct run *run, uint64_t *digest) {
    struct cast cast = run_cast(run);
    *digest = scratch_digest(&run->setup.scratch, &cast);
    uint64_t flags = run->shared->first_returned + 2 * (uint64_t)(run->next + 1) + 64 * run->shared->second_returned;
    if (!digests_add(&run->verified, *digest ^ flags * UINT64_C(0x9e3779b97f4a7c15) ^ run->expectation))
        return false;
    run->n_states++;
    run_verify(run);
    return true;
}
