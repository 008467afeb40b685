/* SPDX-License-Identifier: Apache-2.0 */
/* arithmetic.c - see arithmetic.h. Two ints of 64 bits with a result of 64 bits, and two floats, take no detour; other
 * ints go through struct integer. libm is not needed: the few functions of floats are here. */
#include "arithmetic.h"

#include <string.h>

#include "number.h"
#include "term.h"

/* -- floats ------------------------------------------------------------------------------------------------------------- */

static const double beyond_fractions = 4503599627370496.0; /* 2**52: floats from here on have none */

static uint64_t bits_of(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static bool is_negative(double value) { return bits_of(value) >> 63 != 0; }

static double with_sign_of(double value, double sign) {
    uint64_t bits = (bits_of(value) & ~(UINT64_C(1) << 63)) | (bits_of(sign) & (UINT64_C(1) << 63));
    memcpy(&value, &bits, sizeof value);
    return value;
}

static bool is_finite(double value) { return value - value == 0; }

static double floor_of(double value) {
    if (!(value < beyond_fractions && value > -beyond_fractions)) {
        return value;
    }
    double whole = (double)(int64_t)value;
    return with_sign_of(whole > value ? whole - 1 : whole, value);
}

/* To the nearest, ties to even: adding and taking away 2**52 leaves what has no fraction. */
static double round_of(double value) {
    if (!(value < beyond_fractions && value > -beyond_fractions)) {
        return value;
    }
    double shifted = is_negative(value) ? value - beyond_fractions : value + beyond_fractions;
    return is_negative(value) ? shifted + beyond_fractions : shifted - beyond_fractions;
}

/* Mantissa and exponent of a positive finite float: value = mantissa * 2**(exponent - 1075), the mantissa of 53 bits. */
static uint64_t split(double value, int *exponent) {
    uint64_t bits = bits_of(value) & ~(UINT64_C(1) << 63);
    uint64_t mantissa = bits & ((UINT64_C(1) << 52) - 1);
    *exponent = (int)(bits >> 52);
    if (*exponent > 0) {
        return mantissa | UINT64_C(1) << 52;
    }
    int shift = __builtin_clzll(mantissa) - 11;
    *exponent = 1 - shift;
    return mantissa << shift;
}

/* The rest of a / b with a's sign, exactly, as C's fmod; both are finite and b is not 0. */
static double remainder_of(double a, double b) {
    int exponent, other_exponent;
    if (a == 0) {
        return a;
    }
    uint64_t mantissa = split(a, &exponent);
    uint64_t divisor = split(b, &other_exponent);
    if (exponent < other_exponent) {
        return a;
    }
    for (; exponent > other_exponent; exponent--) {
        mantissa = (mantissa >= divisor ? mantissa - divisor : mantissa) << 1;
    }
    mantissa = mantissa >= divisor ? mantissa - divisor : mantissa;
    if (mantissa == 0) {
        return with_sign_of(0, a);
    }
    int shift = __builtin_clzll(mantissa) - 11;
    mantissa <<= shift;
    exponent -= shift;
    uint64_t bits =
        exponent > 0 ? (mantissa & ~(UINT64_C(1) << 52)) | (uint64_t)exponent << 52 : mantissa >> (1 - exponent);
    double rest;
    memcpy(&rest, &bits, sizeof rest);
    return with_sign_of(rest, a);
}

/* Python's divmod of floats; b is not 0. */
static double floor_divide(double a, double b, double *modulo) {
    double rest;
    if (!is_finite(a) || b != b) {
        rest = a - a + b - b; /* NaN */
    } else {
        rest = is_finite(b) ? remainder_of(a, b) : a;
    }
    double quotient = (a - rest) / b;
    if (rest != 0) {
        if (is_negative(b) != is_negative(rest)) {
            rest += b;
            quotient -= 1;
        }
    } else {
        rest = with_sign_of(0, b);
    }
    *modulo = rest;
    if (quotient == 0) {
        return with_sign_of(0, a / b);
    }
    double whole = floor_of(quotient);
    return quotient - whole > 0.5 ? whole + 1 : whole;
}

static size_t write_float(double value, uint8_t *out) {
    uint64_t bits = value != value ? UINT64_C(0x7ff8000000000000) : bits_of(value);
    out[0] = 0xcb;
    for (int i = 8; i > 0; i--) {
        out[i] = (uint8_t)bits;
        bits >>= 8;
    }
    return 9;
}

static size_t with_floats(enum arithmetic_op op, double a, double b, uint8_t *out) {
    double modulo = 0;
    if (op >= ARITHMETIC_DIVIDE && b == 0) {
        return 0;
    }
    switch (op) {
    case ARITHMETIC_ADD:
        return write_float(a + b, out);
    case ARITHMETIC_SUBTRACT:
        return write_float(a - b, out);
    case ARITHMETIC_MULTIPLY:
        return write_float(a * b, out);
    case ARITHMETIC_DIVIDE:
        return write_float(a / b, out);
    case ARITHMETIC_FLOOR_DIVIDE:
        return write_float(floor_divide(a, b, &modulo), out);
    case ARITHMETIC_MODULO:
        floor_divide(a, b, &modulo);
        return write_float(modulo, out);
    default:
        return 0;
    }
}

/* -- ints ---------------------------------------------------------------------------------------------------------------- */

/* Where 64 bits do for the result; false elsewhere. */
static bool with_small(enum arithmetic_op op, int64_t a, int64_t b, int64_t *result) {
    bool is_down;
    switch (op) {
    case ARITHMETIC_ADD:
        return !__builtin_add_overflow(a, b, result);
    case ARITHMETIC_SUBTRACT:
        return !__builtin_sub_overflow(a, b, result);
    case ARITHMETIC_MULTIPLY:
        return !__builtin_mul_overflow(a, b, result);
    case ARITHMETIC_FLOOR_DIVIDE:
    case ARITHMETIC_MODULO:
        if (b == 0 || b == -1) {
            return false;
        }
        is_down = a % b != 0 && (a < 0) != (b < 0);
        *result = op == ARITHMETIC_MODULO ? a % b + (is_down ? b : 0) : a / b - (is_down ? 1 : 0);
        return true;
    case ARITHMETIC_AND:
        *result = a & b;
        return true;
    case ARITHMETIC_OR:
        *result = a | b;
        return true;
    case ARITHMETIC_XOR:
        *result = a ^ b;
        return true;
    default:
        return false;
    }
}

static size_t write_if(bool done, const struct integer *value, uint8_t *out) {
    return done ? integer_write(value, out) : 0;
}

static size_t with_integers(enum arithmetic_op op, const struct integer *a, const struct integer *b, uint8_t *out) {
    struct integer result, other;
    double ratio;
    switch (op) {
    case ARITHMETIC_ADD:
        return write_if(integer_add(a, b, &result), &result, out);
    case ARITHMETIC_SUBTRACT:
        return write_if(integer_subtract(a, b, &result), &result, out);
    case ARITHMETIC_MULTIPLY:
        return write_if(integer_multiply(a, b, &result), &result, out);
    case ARITHMETIC_DIVIDE:
        return integer_ratio(a, b, &ratio) ? write_float(ratio, out) : 0;
    case ARITHMETIC_FLOOR_DIVIDE:
        return write_if(integer_divide(a, b, &result, &other), &result, out);
    case ARITHMETIC_MODULO:
        return write_if(integer_divide(a, b, &other, &result), &result, out);
    case ARITHMETIC_AND:
    case ARITHMETIC_OR:
    case ARITHMETIC_XOR:
        return write_if(integer_bits((enum integer_bit_op)(op - ARITHMETIC_AND), a, b, &result), &result, out);
    default:
        return 0;
    }
}

/* What is shifted out of 64 bits either way: to the left it cannot fit unless it is 0, to the right only the sign stays. */
static size_t shift(const struct number *a, const struct number *b, bool is_left, uint8_t *out) {
    struct integer value, result;
    int64_t by = b->kind == NUMBER_SMALL ? b->small : INT64_MAX;
    bool is_count = b->kind == NUMBER_SMALL ? b->small >= 0 : b->kind == NUMBER_BIG && !b->is_negative;
    return is_count && integer_from_number(a, &value) && integer_shift(&value, is_left ? by : -by, &result)
               ? integer_write(&result, out)
               : 0;
}

/* -- of one number --------------------------------------------------------------------------------------------------------- */

static size_t float_to_int(enum arithmetic_op op, double value, uint8_t *out) {
    struct integer result;
    if (op == ARITHMETIC_FLOOR) {
        value = floor_of(value);
    } else if (op == ARITHMETIC_CEIL) {
        value = -floor_of(-value);
    } else if (op == ARITHMETIC_ROUND) {
        value = round_of(value);
    }
    return write_if(integer_from_double(value, &result), &result, out);
}

static size_t of_float(enum arithmetic_op op, double value, uint8_t *out) {
    switch (op) {
    case ARITHMETIC_NEGATE:
        return write_float(-value, out);
    case ARITHMETIC_ABSOLUTE:
        return write_float(with_sign_of(value, 1), out);
    case ARITHMETIC_FLOAT:
        return write_float(value, out);
    case ARITHMETIC_INVERT:
        return 0;
    default:
        return float_to_int(op, value, out);
    }
}

static size_t of_integer(enum arithmetic_op op, struct integer *value, uint8_t *out) {
    static const struct integer one = {.n = 1, .words = {1}};
    double real;
    switch (op) {
    case ARITHMETIC_FLOAT:
        return integer_to_double(value, &real) ? write_float(real, out) : 0;
    case ARITHMETIC_NEGATE:
        value->is_negative = value->n > 0 && !value->is_negative;
        break;
    case ARITHMETIC_ABSOLUTE:
        value->is_negative = false;
        break;
    case ARITHMETIC_INVERT:
        if (!integer_add(value, &one, value)) {
            return 0;
        }
        value->is_negative = value->n > 0 && !value->is_negative;
        break;
    default: /* an int is its own floor */
        break;
    }
    return integer_write(value, out);
}

/* -- all ---------------------------------------------------------------------------------------------------------------------- */

static bool to_double(const struct number *number, double *out) {
    struct integer value;
    if (number->kind == NUMBER_FLOAT) {
        *out = number->real;
        return true;
    }
    if (number->kind == NUMBER_SMALL) {
        *out = (double)number->small;
        return true;
    }
    return integer_from_number(number, &value) && integer_to_double(&value, out);
}

static size_t arithmetic_of_one(enum arithmetic_op op, const struct number *number, uint8_t *out) {
    struct integer value;
    if (number->kind == NUMBER_FLOAT) {
        return of_float(op, number->real, out);
    }
    return integer_from_number(number, &value) ? of_integer(op, &value, out) : 0;
}

/* Two ints, not both small with a small result; where both are exact as floats, so is their ratio's rounding. */
static size_t arithmetic_of_ints(enum arithmetic_op op, const struct number *a, const struct number *b, uint8_t *out) {
    const int64_t exact = INT64_C(1) << 53;
    struct integer value, other;
    if (op == ARITHMETIC_DIVIDE && a->kind == NUMBER_SMALL && b->kind == NUMBER_SMALL && a->small >= -exact &&
        a->small <= exact && b->small >= -exact && b->small <= exact && b->small != 0) {
        return write_float((double)a->small / (double)b->small, out);
    }
    if (op == ARITHMETIC_SHIFT_LEFT || op == ARITHMETIC_SHIFT_RIGHT) {
        return shift(a, b, op == ARITHMETIC_SHIFT_LEFT, out);
    }
    return integer_from_number(a, &value) && integer_from_number(b, &other) ? with_integers(op, &value, &other, out)
                                                                            : 0;
}

size_t arithmetic(enum arithmetic_op op, const uint8_t *a, const uint8_t *a_end, const uint8_t *b, const uint8_t *b_end,
                  uint8_t *out) {
    struct number first, second;
    int64_t small, other_small, result;
    double real, other;
    if (op < ARITHMETIC_NEGATE && number_read_small(a, a_end, &small) && number_read_small(b, b_end, &other_small) &&
        with_small(op, small, other_small, &result)) {
        return term_write_int64(out, result);
    }
    if (number_read(a, a_end, &first) == 0) {
        return 0;
    }
    if (op >= ARITHMETIC_NEGATE) {
        return arithmetic_of_one(op, &first, out);
    }
    if (number_read(b, b_end, &second) == 0) {
        return 0;
    }
    if (first.kind != NUMBER_FLOAT && second.kind != NUMBER_FLOAT) {
        return arithmetic_of_ints(op, &first, &second, out);
    }
    return to_double(&first, &real) && to_double(&second, &other) ? with_floats(op, real, other, out) : 0;
}
