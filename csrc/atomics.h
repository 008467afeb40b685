/* SPDX-License-Identifier: Apache-2.0 */
/* atomics.h - the only door to shared words. The order is in the function's name; no other order is used here.
 *
 * Two rules (README.md, "Why a kill is harmless"):
 *  - A writer makes every store whose place in the sequence matters with publish(). A kill leaves a prefix of program
 *    order, so for the crash it is enough that the compiler keeps it; store-release also keeps it for readers.
 *  - A reader takes links with load_acquire() and bytes with copy_racy(), then fence_acquire(), then looks whether the
 *    epoch moved. copy_racy() reads words that a writer may be rewriting: the result counts only after that look. */
#ifndef TMGR_ATOMICS_H
#define TMGR_ATOMICS_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef _Atomic uint64_t word;      /* every shared field that anybody reads without its lock */
typedef _Atomic uint32_t half_word; /* what the kernel lets sleep on */

static_assert(sizeof(word) == 8 && ATOMIC_LLONG_LOCK_FREE == 2, "8-byte stores must be single instructions");

static inline uint64_t load_acquire(const word *at) { return atomic_load_explicit(at, memory_order_acquire); }
static inline uint64_t load_relaxed(const word *at) { return atomic_load_explicit(at, memory_order_relaxed); }
static inline void publish(word *at, uint64_t value) { atomic_store_explicit(at, value, memory_order_release); }
/* For words whose order to others does not matter: hints, statistics. */
static inline void store_relaxed(word *at, uint64_t value) { atomic_store_explicit(at, value, memory_order_relaxed); }
static inline void fence_acquire(void) { atomic_thread_fence(memory_order_acquire); }
static inline void fence_release(void) { atomic_thread_fence(memory_order_release); }
static inline bool compare_exchange(word *at, uint64_t from, uint64_t to) {
    return atomic_compare_exchange_strong_explicit(at, &from, to, memory_order_acq_rel, memory_order_acquire);
}
static inline void fetch_or(word *at, uint64_t bits) { atomic_fetch_or_explicit(at, bits, memory_order_acq_rel); }
static inline void fetch_and(word *at, uint64_t bits) { atomic_fetch_and_explicit(at, bits, memory_order_acq_rel); }

static inline void copy_word(uint8_t *to, const word *from) {
    uint64_t value = load_relaxed(from);
    memcpy(to, &value, 8);
}

/* Copies out of shared memory that may be rewritten meanwhile: word by word, so that no byte is loaded twice. `from`
 * is 8-byte aligned and its last word is readable to the end (blocks are multiples of 16 bytes). Writes whole words,
 * up to 7 bytes behind to + len. Four at a time: a find is to be so short that the processor begins the next
 * one while the misses of this one are under way. */
static inline void copy_racy_words(uint8_t *to, const uint8_t *from, size_t len) {
    const word *words = (const word *)(const void *)from;
    size_t left = (len + 7) / 8;
    for (; left >= 4; left -= 4, words += 4, to += 32) {
        copy_word(to, &words[0]);
        copy_word(to + 8, &words[1]);
        copy_word(to + 16, &words[2]);
        copy_word(to + 24, &words[3]);
    }
    for (; left > 0; left--, words++, to += 8)
        copy_word(to, words);
}

/* The same to where no byte behind to + len may be written. */
static inline void copy_racy(uint8_t *to, const uint8_t *from, size_t len) {
    size_t whole = len & ~(size_t)7;
    copy_racy_words(to, from, whole);
    if (len != whole) {
        uint64_t value = load_relaxed((const word *)(const void *)(from + whole));
        memcpy(to + whole, &value, len - whole);
    }
}

/* The writer's side of copy_racy(): fills a block that nobody can reach validly, though a late reader may look at it. */
static inline void fill_racy(uint8_t *to, const uint8_t *from, size_t len) {
    word *words = (word *)(void *)to;
    size_t left = len / 8;
    uint64_t values[4];
    for (; left >= 4; left -= 4, words += 4, from += 32) {
        memcpy(values, from, 32);
        store_relaxed(&words[0], values[0]);
        store_relaxed(&words[1], values[1]);
        store_relaxed(&words[2], values[2]);
        store_relaxed(&words[3], values[3]);
    }
    for (; left > 0; left--, words++, from += 8) {
        memcpy(values, from, 8);
        store_relaxed(words, values[0]);
    }
    if (len % 8 != 0) {
        uint64_t value = 0;
        memcpy(&value, from, len % 8);
        store_relaxed(words, value);
    }
}

#endif
