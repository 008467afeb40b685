/* SPDX-License-Identifier: Apache-2.0 */
/* tracer.h - runs a forked child one machine instruction at a time (ptrace), to stop or kill it after exactly k of
 * them.
 *
 * The child calls tracer_begin(), does its work, and calls tracer_end(). Instruction 0 is the first one after the
 * trap in tracer_begin; a system call counts as one; so does each round of a `rep` instruction. tracer_record()
 * notes where every instruction is. As the child is a fork and repeats itself, tracer_run_to() gets to k faster than
 * by k steps: it runs freely to a place before k, passing it as often as it takes, and steps the rest. */
#ifndef TRACER_H
#define TRACER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Child: become traceable and stop. tracer_end is the place where counting stops. */
void tracer_begin(void);
void tracer_end(void);

typedef void (*tracer_child_fn)(void *context);
/* Forks a child that runs fn(context), which calls tracer_begin and tracer_end; returns it stopped in tracer_begin.
 * The child dies with the tracer. */
pid_t tracer_fork(tracer_child_fn fn, void *context);

struct trace {
    uintptr_t *pc;    /* of each instruction, 0..n-1 */
    size_t *landmark; /* [k]: the place <= k to run to; 0: all is stepped */
    uint32_t *nth;    /* [k]: how often this place was reached before */
    size_t n, capacity;
    uintptr_t end; /* where recording ended */
};
/* Called between two instructions, the child being stopped after `done` of them. False: stop recording (the child
 * stays stopped). */
typedef bool (*tracer_step_fn)(void *context, pid_t child, size_t done);
/* Steps the child from tracer_begin to tracer_end. step may be NULL. False: it died, or did more than `limit`. */
bool tracer_record(pid_t child, struct trace *trace, size_t limit, tracer_step_fn step, void *context);
void trace_free(struct trace *trace);

/* From tracer_begin to k instructions on, or to tracer_end if that comes first. With landmarks (which may be NULL) it
 * runs freely to the one of k; without, every step is compared. False: the child is at another place than
 * `expected` says, somewhere between begin and end all the same; or, *gone, it has passed the landmark's place by
 * another way, ran to its end, and is no more. */
bool tracer_run_to(pid_t child, const struct trace *landmarks, const struct trace *expected, size_t k, bool *gone);
/* What the instruction that the stopped child executes next may do to memory other than its stack. NONE is certain. */
enum tracer_effect { EFFECT_NONE, EFFECT_STORE, EFFECT_CALL };
enum tracer_effect tracer_next_effect(pid_t child);
/* Where it stores, if it may store at all and that can be told: within 64 bytes from *at on. False: anywhere. */
bool tracer_next_store(pid_t child, uintptr_t *at);
/* SIGKILL, and wait until it is dead. */
void tracer_kill(pid_t child);
/* Leave it stopped as by SIGSTOP, untraced; SIGCONT makes it go on. */
void tracer_leave_stopped(pid_t child);

#endif
