/* SPDX-License-Identifier: Apache-2.0 */
/* integer.h - arithmetic on integers of up to INTEGER_BITS bits, with Python's results.
 *
 * Scope. Pure functions on values of fixed size: nothing is allocated, and what would not fit is refused. Results may
 * be the arguments unless it is said otherwise. Every bool result: false says that there is no result. */
#ifndef TABLEMGR_INTEGER_H
#define TABLEMGR_INTEGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "number.h"

enum { INTEGER_WORDS = 512, INTEGER_BITS = 32 * INTEGER_WORDS };
enum { INTEGER_TERM_MAX = 4 * INTEGER_WORDS + 8 }; /* bytes of the longest encoding */

struct integer {
    bool is_negative;
    unsigned n;                    /* words in use; the highest is not 0, and zero has none and is not negative */
    uint32_t words[INTEGER_WORDS]; /* the lowest first */
};

enum integer_bit_op { INTEGER_AND, INTEGER_OR, INTEGER_XOR };

/* False: too long, or no int. */
bool integer_from_number(const struct number *number, struct integer *out);
/* The float without its fraction. False: infinite or NaN. */
bool integer_from_double(double value, struct integer *out);

bool integer_add(const struct integer *a, const struct integer *b, struct integer *out);
bool integer_subtract(const struct integer *a, const struct integer *b, struct integer *out);
/* out is neither a nor b. */
bool integer_multiply(const struct integer *a, const struct integer *b, struct integer *out);
/* The quotient rounded down, and the remainder, which has b's sign. Neither is a or b. False: b is zero. */
bool integer_divide(const struct integer *a, const struct integer *b, struct integer *quotient,
                    struct integer *remainder);
/* As on two's complements of endless length. */
bool integer_bits(enum integer_bit_op op, const struct integer *a, const struct integer *b, struct integer *out);
/* To the left by `by` bits, to the right (rounding down) by -by. out is not a. */
bool integer_shift(const struct integer *a, int64_t by, struct integer *out);

/* The nearest float, ties to even. False: beyond the largest. */
bool integer_to_double(const struct integer *a, double *out);
/* The float nearest to a / b. False: b is zero, or the ratio is beyond the largest float. */
bool integer_ratio(const struct integer *a, const struct integer *b, double *out);

/* The canonical encoding; returns its length, at most INTEGER_TERM_MAX. */
size_t integer_write(const struct integer *a, uint8_t *at);

#endif
