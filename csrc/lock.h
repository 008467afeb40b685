/* SPDX-License-Identifier: Apache-2.0 */
/* lock.h - the only door to pthreads: robust process-shared mutexes in shared memory, and one private mutex.
 *
 * Order: control lock < stripes ascending < arena lock. A thread never holds locks of two tables: the kernel looks at
 * 2048 robust locks of a dead thread and no further. */
#ifndef TMGR_LOCK_H
#define TMGR_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "atomics.h"

enum lock_outcome {
    LOCK_HELD,
    LOCK_HELD_DEAD, /* held now; the last holder died: repair, then lock_mark_consistent, then go on */
    LOCK_BUSY,      /* not within wait_ns */
    LOCK_BROKEN     /* not a lock (damaged segment), or given up for ever */
};

void lock_init(uint8_t *lock);
enum lock_outcome lock_take(uint8_t *lock, int64_t wait_ns);
void lock_mark_consistent(uint8_t *lock);
void lock_release(uint8_t *lock);
/* Does the memory look like a lock made by this build's C library? */
bool lock_is_sound(const uint8_t *lock);
/* Takes a fresh lock for the rest of the calling thread's life. At its end the kernel marks it, and wakes one who sleeps on
 * its word. */
void lock_keep(uint8_t *lock);
bool lock_is_kept(const uint8_t *lock); /* its holder lives */
const half_word *lock_word(const uint8_t *lock);
/* A number that differs between C libraries whose locks do not fit each other. */
uint64_t lock_fingerprint(void);

/* The process's own mutex, for the list of its handles. */
void lock_private(void);
void unlock_private(void);
/* Have the process's mutex held across forks, and `child` called in each child. Registers once. */
void lock_at_fork(void (*child)(void));

#endif
