/* SPDX-License-Identifier: Apache-2.0 */
#include "lock.h"
#include "layout.h"
#include "os.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

static_assert(sizeof(pthread_mutex_t) <= LOCK_BYTES, "a lock fits its cache line");
/* One thread may hold every stripe's lock, the control's and the arena's, and its lifeline. */
static_assert(STRIPES_MAX + 3 <= 2048, "the kernel repairs the first 2048 locks of a dead thread only");

/* What the kernel reads and writes of a robust lock's word, by linux/futex.h. */
#define WORD_WAITERS 0x80000000u
#define WORD_DIED    0x40000000u
#define WORD_HOLDER  0x3fffffffu

enum { SPINS = 200 }; /* a holder needs a few hundred nanoseconds; a sleep in the kernel costs microseconds */

static pthread_mutex_t *mutex(uint8_t *lock) { return (pthread_mutex_t *)(void *)lock; }

void lock_init(uint8_t *lock) {
    pthread_mutexattr_t kind;
    pthread_mutexattr_init(&kind);
    pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(mutex(lock), &kind);
    pthread_mutexattr_destroy(&kind);
}

static void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static enum lock_outcome outcome(int error) {
    switch (error) {
    case 0:
        return LOCK_HELD;
    case EOWNERDEAD:
        return LOCK_HELD_DEAD;
    case EBUSY:
    case ETIMEDOUT:
    case EAGAIN:
    case EDEADLK:
        return LOCK_BUSY;
    default:
        return LOCK_BROKEN;
    }
}

enum lock_outcome lock_take(uint8_t *lock, int64_t wait_ns) {
    if (!lock_is_sound(lock))
        return LOCK_BROKEN;
    int error = pthread_mutex_trylock(mutex(lock));
    for (int i = 0; error == EBUSY && i < SPINS; i++) {
        pause_briefly();
        if (i % 8 == 7)
            error = pthread_mutex_trylock(mutex(lock));
    }
    if (error == EBUSY && wait_ns > 0) {
        uint64_t end = os_monotonic_ns() + (uint64_t)wait_ns;
        struct timespec until = {.tv_sec = (time_t)(end / 1000000000), .tv_nsec = (long)(end % 1000000000)};
        error = pthread_mutex_clocklock(mutex(lock), CLOCK_MONOTONIC, &until);
    }
    return outcome(error);
}

void lock_mark_consistent(uint8_t *lock) { pthread_mutex_consistent(mutex(lock)); }
void lock_release(uint8_t *lock) { pthread_mutex_unlock(mutex(lock)); }

const half_word *lock_word(const uint8_t *lock) {
    return (const half_word *)(const void *)(lock + offsetof(pthread_mutex_t, __data.__lock));
}

bool lock_is_kept(const uint8_t *lock) {
    uint32_t value = atomic_load_explicit(lock_word(lock), memory_order_relaxed);
    return (value & WORD_HOLDER) != 0 && (value & WORD_DIED) == 0;
}

void lock_keep(uint8_t *lock) {
    pthread_mutex_lock(mutex(lock));
    atomic_fetch_or_explicit((half_word *)(uintptr_t)lock_word(lock), WORD_WAITERS, memory_order_relaxed);
}

/* The kind is the one field of a mutex that never changes: a wrong one would send glibc down another path, which may
 * follow pointers that lie in the segment. */
bool lock_is_sound(const uint8_t *lock) {
    static _Atomic int expected = -1;
    int kind, found = atomic_load_explicit(&expected, memory_order_relaxed);
    if (found < 0) {
        _Alignas(64) uint8_t fresh[LOCK_BYTES] = {0};
        lock_init(fresh);
        memcpy(&found, fresh + offsetof(pthread_mutex_t, __data.__kind), sizeof found);
        atomic_store_explicit(&expected, found, memory_order_relaxed);
    }
    memcpy(&kind, lock + offsetof(pthread_mutex_t, __data.__kind), sizeof kind);
    return kind == found;
}

uint64_t lock_fingerprint(void) {
    return (uint64_t)sizeof(pthread_mutex_t) << 16 | (uint64_t)offsetof(pthread_mutex_t, __data.__kind) << 8 |
           (uint64_t)sizeof(void *);
}

static pthread_mutex_t process_lock = PTHREAD_MUTEX_INITIALIZER;

void lock_private(void) { pthread_mutex_lock(&process_lock); }
void unlock_private(void) { pthread_mutex_unlock(&process_lock); }

static void (*in_child)(void);

static void after_fork(void) {
    static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
    memcpy(&process_lock, &fresh, sizeof fresh);
    in_child();
}

static void register_at_fork(void) { pthread_atfork(lock_private, unlock_private, after_fork); }

void lock_at_fork(void (*child)(void)) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    in_child = child;
    pthread_once(&once, register_at_fork);
}
