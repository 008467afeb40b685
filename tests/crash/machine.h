/* SPDX-License-Identifier: Apache-2.0 */
/* machine.h - all that decides, with what is in shared memory, what a stopped child will do: registers, stack and heap.
 *
 * Two children that are alike in it, on the same bytes, do the same from there on. So that they can come to be alike, what
 * is left of earlier work is kept out of it: the child works on a stack of its own, with empty registers. */
#ifndef MACHINE_H
#define MACHINE_H

#include "scratch.h"

/* Child: fn(context) on the fresh stack, which may be used once; returns when it has returned. */
void machine_run(void (*fn)(void *context), void *context);
/* Of a child that is stopped in machine_run's fn: nothing is left in its vector registers. False: it cannot be done. */
bool machine_reset(pid_t child);
/* A digest of it; the child's own number and start time are left out. 0: it cannot be told. */
uint64_t machine_digest(pid_t child, const struct process *self);

#endif
