/* SPDX-License-Identifier: Apache-2.0 */
/* load_hooks.h - something happens between two loads of a process's choice. Given to the compiler with -include, for the core
 * and the test alike: the core's own text stays as it is.
 *
 * Every C11 atomic load counts down load_countdown before it and again behind it, for what the core asks of the kernel lies
 * between the two; at 0 load_event is called. */
#ifndef LOAD_HOOKS_H
#define LOAD_HOOKS_H

#include <stdatomic.h>
#include <stdint.h>

extern uint64_t load_countdown; /* 0: nothing happens */
extern void (*load_event)(void);

static inline void load_count(void) {
    if (load_countdown != 0 && --load_countdown == 0)
        load_event();
}

#ifdef __clang__
#define LOAD_ATOMIC __c11_atomic_load
#else
#define LOAD_ATOMIC __atomic_load_n
#endif

#undef atomic_load_explicit
#define atomic_load_explicit(at, order)                                                                                \
    __extension__({                                                                                                    \
        load_count();                                                                                                  \
        __auto_type loaded_value = LOAD_ATOMIC((at), (order));                                                         \
        load_count();                                                                                                  \
        loaded_value;                                                                                                  \
    })

#endif
