/* SPDX-License-Identifier: Apache-2.0 */
/* arithmetic.h - Python's arithmetic on encoded numbers: terms in, a canonical term out.
 *
 * Scope. Pure functions, nothing allocated. Ints are exact up to INTEGER_BITS bits, and refused beyond; floats are
 * IEEE doubles; an int among floats becomes the nearest one. A bool is no number. What Python raises for (division by
 * zero, an int too large for a float, a negative shift) has no result. */
#ifndef TABLEMGR_ARITHMETIC_H
#define TABLEMGR_ARITHMETIC_H

#include <stddef.h>
#include <stdint.h>

#include "integer.h"

enum { ARITHMETIC_MAX = INTEGER_TERM_MAX }; /* bytes of the longest result */

enum arithmetic_op {
    ARITHMETIC_ADD,
    ARITHMETIC_SUBTRACT,
    ARITHMETIC_MULTIPLY,
    ARITHMETIC_DIVIDE,       /* / */
    ARITHMETIC_FLOOR_DIVIDE, /* // */
    ARITHMETIC_MODULO,       /* % */
    ARITHMETIC_AND,          /* from here on ints only */
    ARITHMETIC_OR,
    ARITHMETIC_XOR,
    ARITHMETIC_SHIFT_LEFT,
    ARITHMETIC_SHIFT_RIGHT,
    ARITHMETIC_NEGATE, /* from here on of one number */
    ARITHMETIC_ABSOLUTE,
    ARITHMETIC_ROUND, /* to the nearest int, ties to even */
    ARITHMETIC_FLOOR,
    ARITHMETIC_CEIL,
    ARITHMETIC_TRUNCATE,
    ARITHMETIC_FLOAT,
    ARITHMETIC_INVERT, /* of an int: -a - 1 */
    ARITHMETIC_OPS
};

/* The term of a op b, or of op a (b is not read): its length, at most ARITHMETIC_MAX; 0 if there is no result. */
size_t arithmetic(enum arithmetic_op op, const uint8_t *a, const uint8_t *a_end, const uint8_t *b, const uint8_t *b_end,
                  uint8_t *out);

#endif
