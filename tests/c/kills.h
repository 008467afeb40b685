/* SPDX-License-Identifier: Apache-2.0 */
/* kills.h - for tests compiled with kill_hooks.h: how a child that was to die before a store has ended. */
#ifndef KILLS_H
#define KILLS_H

#include <sys/types.h>

enum {
    WAIT_NS = 1000 * 1000 * 1000,
    CHILD_SECONDS = 100, /* then a child is in a loop: a list that leads in a circle */
    KILLED = -1,
    LOST = -2
};

/* Waits for it. KILLED; what it returned if it had fewer stores; LOST if it ended in another way, which is a failure. */
int end_of_child(pid_t child);

#endif
