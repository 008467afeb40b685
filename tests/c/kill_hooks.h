/* SPDX-License-Identifier: Apache-2.0 */
/* kill_hooks.h - a process that dies before a store of its choice. Given to the compiler with -include, for the core and
 * the test alike: the core's own text stays as it is.
 *
 * Every C11 atomic that writes first counts down kill_countdown; at 0 the process gets SIGKILL and the store is not made.
 * Only stores into the segment count: some of those into the process's own memory come by the clock, which would make the
 * same number mean another store from run to run. Stores of relaxed order are counted only with kill_counts_relaxed: rows
 * are filled with them, thousands for a large one, and by the rule of atomics.h nothing rests on their order. */
#ifndef KILL_HOOKS_H
#define KILL_HOOKS_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

extern uint64_t kill_countdown; /* 0: nobody dies */
extern int kill_signal;         /* SIGKILL; or SIGSTOP: it makes the store when it is let go on */
extern bool kill_counts_relaxed;
extern uintptr_t kill_base, kill_bytes; /* where the segment is mapped */

static inline void kill_count(const volatile void *at, memory_order order) {
    bool counts = (uintptr_t)at - kill_base < kill_bytes && (order != memory_order_relaxed || kill_counts_relaxed);
    if (kill_countdown != 0 && counts && --kill_countdown == 0) {
        kill(getpid(), kill_signal);
        while (kill_signal == SIGKILL)
            pause();
    }
}

/* The operations themselves: gcc makes the names of C11 macros, so once redefined they cannot be asked. */
#ifdef __clang__
#define KILL_STORE            __c11_atomic_store
#define KILL_FETCH(operation) __c11_atomic_fetch_##operation
#define KILL_EXCHANGE_STRONG  __c11_atomic_compare_exchange_strong
#define KILL_EXCHANGE_WEAK    __c11_atomic_compare_exchange_weak
#else
#define KILL_STORE                                  __atomic_store_n
#define KILL_FETCH(operation)                       __atomic_fetch_##operation
#define KILL_EXCHANGE_STRONG(at, from, to, yes, no) __atomic_compare_exchange_n((at), (from), (to), false, (yes), (no))
#define KILL_EXCHANGE_WEAK(at, from, to, yes, no)   __atomic_compare_exchange_n((at), (from), (to), true, (yes), (no))
#endif

#undef atomic_store_explicit
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and_explicit
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak_explicit
#define atomic_store_explicit(at, value, order)     (kill_count((at), (order)), KILL_STORE((at), (value), (order)))
#define atomic_fetch_add_explicit(at, value, order) (kill_count((at), (order)), KILL_FETCH(add)((at), (value), (order)))
#define atomic_fetch_sub_explicit(at, value, order) (kill_count((at), (order)), KILL_FETCH(sub)((at), (value), (order)))
#define atomic_fetch_or_explicit(at, value, order)  (kill_count((at), (order)), KILL_FETCH(or)((at), (value), (order)))
#define atomic_fetch_and_explicit(at, value, order) (kill_count((at), (order)), KILL_FETCH(and)((at), (value), (order)))
#define atomic_compare_exchange_strong_explicit(at, from, to, yes, no)                                                 \
    (kill_count((at), (yes)), KILL_EXCHANGE_STRONG((at), (from), (to), (yes), (no)))
#define atomic_compare_exchange_weak_explicit(at, from, to, yes, no)                                                   \
    (kill_count((at), (yes)), KILL_EXCHANGE_WEAK((at), (from), (to), (yes), (no)))

#endif
