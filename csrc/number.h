/* SPDX-License-Identifier: Apache-2.0 */
/* number.h - numbers of any kind compared exactly: ints of any size and floats, by value.
 *
 * Scope. Reads encoded numbers and compares them; pure functions, bounded by an explicit end. No comparison goes
 * through a rounded double: 2**53 + 1 is greater than float(2**53), and 10**400 is less than inf.
 *
 * Order. By value; 0.0 equals -0.0; NaN equals itself and comes behind everything else. */
#ifndef TABLEMGR_NUMBER_H
#define TABLEMGR_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "term.h"

enum number_kind {
    NUMBER_NONE,
    NUMBER_SMALL, /* an int that int64_t holds */
    NUMBER_BIG,   /* any other int */
    NUMBER_FLOAT
};

struct number {
    enum number_kind kind;
    bool is_negative;         /* BIG */
    int64_t small;            /* SMALL */
    double real;              /* FLOAT */
    const uint8_t *magnitude; /* BIG: big-endian, without leading zeros; borrowed */
    size_t len;               /* BIG: bytes of magnitude */
};

/* The number encoded at `at`; returns its length, 0 (and kind NONE) if there is no number or it does not end by `end`.
 * A BIG's magnitude stays where it is encoded. */
size_t number_read(const uint8_t *at, const uint8_t *end, struct number *number);

/* A well-formed int that int64_t holds, quickly; false for all others, and perhaps for one that is not in its smallest
 * form. */
static inline bool number_read_small(const uint8_t *at, const uint8_t *end, int64_t *small) {
    uint8_t first = at[0];
    if (first < 0x80 || first >= 0xe0) {
        *small = (int8_t)first;
        return true;
    }
    size_t n = (size_t)1 << (first & 3);
    if (first < 0xcc || first > 0xd3 || (size_t)(end - at) <= n) {
        return false;
    }
    unsigned shift = (unsigned)(64 - 8 * n);
    uint64_t word = term_load(at + 1, n);
    /* Shifting left and back spreads the sign; both compilers shift signed numbers arithmetically. */
    *small = first >= 0xd0 ? (int64_t)(word << shift) >> shift : (int64_t)word;
    return first != 0xcf || word <= INT64_MAX;
}

/* <0, 0, >0. Both are numbers. */
int number_compare(const struct number *a, const struct number *b);

#endif
