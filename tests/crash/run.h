/* SPDX-License-Identifier: Apache-2.0 */
/* run.h - a case at work: what every stage shares, and what a subject (rows, the life of a table) has to bring. */
#ifndef RUN_H
#define RUN_H

#include "cases.h"
#include "effects.h"
#include "options.h"
#include "tracer.h"

enum { STEPS_LIMIT = 4 * 1000 * 1000, CHECKER_SECONDS = 30, CHECKER_PATIENCE = 600, NO_NEXT = -1 };

/* An answer that should come at once, or within the milliseconds that it was given, came late: on a busy machine, too. */
#define LATE_NS (UINT64_C(5) * 1000 * 1000 * 1000)

/* Seen by this process and its children. */
struct shared {
    volatile uint32_t first_returned;  /* the operation that is killed */
    volatile uint32_t second_returned; /* of the next process's calls, so many */
    volatile int32_t first_status, second_status[2];
    char problem[PROBLEM_MAX];
};

struct run;

struct subject {
    /* After the table is made: the expectations. */
    void (*prepare)(struct run *run);
    void (*release)(struct run *run);
    /* In a child: the operation, from tracer_begin to tracer_end. The next one's is run->next. */
    tracer_child_fn first, second;
    /* What may follow a death. */
    const char *const *nexts;
    size_t n_nexts;
    /* A reader beside the stopped child, in this process. look: every so many steps; false and a problem: it saw what
     * was not so. done: of the child's steps. */
    bool (*reader_begin)(struct run *run, char problem[PROBLEM_MAX]);
    bool (*reader_look)(struct run *run, size_t done, char problem[PROBLEM_MAX]);
    void (*reader_end)(struct run *run);
    /* The child has made its calls to their end, and is stopped there: are the results the expected ones? */
    bool (*ended)(struct run *run, char problem[PROBLEM_MAX]);
    /* In a child of its own, which may crash or hang: all that must hold of what the deaths have left. */
    bool (*verify)(struct run *run, uint64_t seed, char problem[PROBLEM_MAX]);
    /* The next process is to be started on what the first one left. */
    bool (*expect_next)(struct run *run, char problem[PROBLEM_MAX]);
    /* Stopped after k instructions, others go on, it goes on itself. */
    void (*stop_at)(struct run *run, size_t k);
};
extern const struct subject subject_rows, subject_checked_rows, subject_life;

struct run {
    const struct options *options;
    const struct crash_case *which;
    const struct subject *subject;
    struct setup setup;
    struct shared *shared;
    struct image image; /* the prepared table */
    struct trace trace; /* of the operation */
    struct effects effects;
    struct digests verified;
    struct random random;
    struct process first, second; /* victims: the one of the operation, the one of the next; pid 0: none yet */
    int next;                     /* which of subject->nexts; NO_NEXT: the operation itself is at work */
    uint64_t expectation;         /* tells kills that may leave different things apart */
    long k, j;                    /* of the kill at hand */
    size_t n_kills, n_repair_kills, n_states, n_stops, n_busy, n_reads, n_astray, n_failures, n_changes, n_skipped,
        n_alike, n_joined, n_passed;
};

/* Prints the failure and the line that repeats it. */
void run_report(struct run *run, const char *problem);
bool run_has_failed_enough(const struct run *run);
struct cast run_cast(const struct run *run);
uint64_t run_now_ns(void);
/* In a child that is to be killed: from here on its clocks stand still, and its memory is the same in every one. */
void run_become_repeatable(void);
void run_use_own_heap(void); /* the half of it that heap.c does */
/* How many bytes of its heap a child has used, and where that is. */
size_t run_heap_of(pid_t child, const uint8_t **start);

/* In a child: it is ended by SIGPROF after CHECKER_SECONDS of its processor's time, by SIGALRM after CHECKER_PATIENCE. */
void run_limit_time(void);

/* Who the child is. */
struct process run_process(pid_t child);
/* The scratch is put back to the image, and a child brought to k instructions of the trace: it is stopped there.
 * *is_astray: it has got there by another way. That is known for sure if it goes slowly, looking at every step; else
 * only where it ends is looked at. */
struct process run_child(struct run *run, const struct image *from, tracer_child_fn writer, const struct trace *trace,
                         size_t k, uint32_t first_returned, bool slowly, bool *is_astray);
/* A child left stopped goes on. Its wait status; negative: it does not come to its end, and was killed. */
int run_continue(pid_t child);
/* subject->verify in a child. False: reported. */
bool run_verify(struct run *run);
/* What a killed child left. True if it is new; then it was verified. *digest: of it. */
bool run_look_at(struct run *run, uint64_t *digest);

/* One case, all stages. Returns the number of failures, having printed the counts. */
size_t run_case(const struct options *options, const struct crash_case *which, struct shared *shared);

#endif
