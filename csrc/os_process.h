/* SPDX-License-Identifier: Apache-2.0 */
/* os_process.h - the door to the system as far as processes go: who this is, who lives, and early word of a death. */
#ifndef TMGR_OS_PROCESS_H
#define TMGR_OS_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "atomics.h"

/* Who this process is. Recomputed by itself after every kind of fork (the page is wiped in the child). */
struct os_self {
    word identity; /* pid << OWNER_PID_SHIFT | start << OWNER_START_SHIFT; 0: not known yet */
    word pid_namespace, time_namespace;
    word pid;
    word start; /* clock ticks since boot */
};
const struct os_self *os_self_find(void);
extern _Atomic(struct os_self *) os_self_page; /* what os_self_find keeps */
static inline const struct os_self *os_self(void) {
    struct os_self *self = atomic_load_explicit(&os_self_page, memory_order_acquire);
    return self != NULL && load_acquire(&self->identity) != 0 ? self : os_self_find();
}

/* Start time of a process in clock ticks; 0 if there is no such process or it cannot be read. */
uint64_t os_process_start(uint32_t pid);
/* The same of a process that is alive; 0 for a dead one, too. */
uint64_t os_process_start_alive(uint32_t pid);
/* Dead: no such process, or it has ended though not been waited for, or the pid is another process's by now, or every
 * thread of it is ending: the kernel says so milliseconds before a pidfd does, which waits until it has taken down the
 * memory. Nothing is concluded from what /proc does not say: hidepid hides the living, and "Z" is the state of a process
 * whose main thread has ended while others run on. */
bool os_process_alive(uint32_t pid, uint64_t start);
/* Whether this very process is dead and /proc tells how it ended, as waitpid would: until somebody has waited for it. */
bool os_process_end(uint32_t pid, uint64_t start, int *status);

/* False where the kernel or an emulator does not know robust locks: then no writing. */
bool os_robust_locks_work(void);

/* A whole file, ended by a zero byte; what does not fit is left out. Its length; negative: it cannot be read. */
ssize_t os_read_file(const char *path, char *text, size_t capacity);

/* A page without a name, and a descriptor to show it to others, who cannot change its size; after an error -1 and NULL. */
struct os_page_id {
    uint64_t device, inode;
};
int os_page_new(int *fd, uint8_t **page, struct os_page_id *id);
bool os_page_is(int fd, const struct os_page_id *id); /* is the descriptor still that page's? */
int os_page_map(int fd, const uint8_t **page); /* such a page of another process, to be read. EINVAL: it is none */
void os_page_unmap(const uint8_t *page);

/* Sleeps until one of the words is woken (by os_wake, or as a robust lock by the kernel), a signal comes, or at once if one
 * does not hold its value. *woken: which; n: none. ENOSYS: before Linux 5.16. */
enum { OS_SLEEP_MAX = 128 };
int os_sleep(const half_word *const words[], const uint32_t values[], size_t n, size_t *woken);
void os_wake(half_word *at); /* one who sleeps on it */

#endif
