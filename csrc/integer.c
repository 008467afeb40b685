/* SPDX-License-Identifier: Apache-2.0 */
/* integer.c - see integer.h. Schoolbook algorithms on words of 32 bits. */
#include "integer.h"

#include <string.h>

#include "term.h"

/* -- making and measuring -------------------------------------------------------------------------------------------- */

static void trim(struct integer *a) {
    while (a->n > 0 && a->words[a->n - 1] == 0) {
        a->n--;
    }
    a->is_negative = a->is_negative && a->n > 0;
}

static void set_word(struct integer *a, bool is_negative, uint64_t magnitude) {
    a->is_negative = is_negative;
    a->n = 2;
    a->words[0] = (uint32_t)magnitude;
    a->words[1] = (uint32_t)(magnitude >> 32);
    trim(a);
}

static void copy(struct integer *out, const struct integer *a) {
    if (out != a) {
        out->is_negative = a->is_negative;
        out->n = a->n;
        memcpy(out->words, a->words, a->n * sizeof a->words[0]);
    }
}

static size_t bit_length(const struct integer *a) {
    return a->n == 0 ? 0 : (size_t)32 * a->n - (size_t)__builtin_clz(a->words[a->n - 1]);
}

bool integer_from_number(const struct number *number, struct integer *out) {
    if (number->kind == NUMBER_SMALL) {
        set_word(out, number->small < 0, number->small < 0 ? 0 - (uint64_t)number->small : (uint64_t)number->small);
        return true;
    }
    if (number->kind != NUMBER_BIG || number->len > sizeof out->words) {
        return false;
    }
    out->is_negative = number->is_negative;
    out->n = (unsigned)((number->len + 3) / 4);
    memset(out->words, 0, out->n * sizeof out->words[0]);
    for (size_t i = 0; i < number->len; i++) {
        out->words[i / 4] |= (uint32_t)number->magnitude[number->len - 1 - i] << (8 * (i % 4));
    }
    trim(out);
    return true;
}

bool integer_from_double(double value, struct integer *out) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    int exponent = (int)(bits >> 52 & 0x7ff) - 1075;
    uint64_t mantissa = (bits & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1) << 52;
    if (exponent == 0x7ff - 1075) {
        return false;
    }
    set_word(out, bits >> 63 != 0, exponent >= 0 ? mantissa : exponent > -64 ? mantissa >> -exponent : 0);
    if (exponent <= 0) {
        return true;
    }
    struct integer unshifted;
    copy(&unshifted, out);
    return integer_shift(&unshifted, exponent, out);
}

/* -- sums ------------------------------------------------------------------------------------------------------------ */

static int compare_magnitudes(const struct integer *a, const struct integer *b) {
    if (a->n != b->n) {
        return a->n < b->n ? -1 : 1;
    }
    for (unsigned i = a->n; i-- > 0;) {
        if (a->words[i] != b->words[i]) {
            return a->words[i] < b->words[i] ? -1 : 1;
        }
    }
    return 0;
}

static bool add_magnitudes(const struct integer *large, const struct integer *small, struct integer *out) {
    uint64_t carry = 0;
    unsigned n = large->n;
    for (unsigned i = 0; i < n; i++) {
        carry += (uint64_t)large->words[i] + (i < small->n ? small->words[i] : 0);
        out->words[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry != 0) {
        if (n == INTEGER_WORDS) {
            return false;
        }
        out->words[n++] = (uint32_t)carry;
    }
    out->n = n;
    return true;
}

static void subtract_magnitudes(const struct integer *large, const struct integer *small, struct integer *out) {
    uint64_t borrow = 0;
    unsigned n = large->n;
    for (unsigned i = 0; i < n; i++) {
        uint64_t difference = (uint64_t)large->words[i] - (i < small->n ? small->words[i] : 0) - borrow;
        out->words[i] = (uint32_t)difference;
        borrow = difference >> 63;
    }
    out->n = n;
}

static bool sum(const struct integer *a, const struct integer *b, bool is_b_negative, struct integer *out) {
    bool swapped = compare_magnitudes(a, b) < 0;
    const struct integer *large = swapped ? b : a;
    const struct integer *small = swapped ? a : b;
    bool is_negative = swapped ? is_b_negative : a->is_negative;
    bool fits = true;
    if (a->is_negative == is_b_negative) {
        fits = add_magnitudes(large, small, out);
    } else {
        subtract_magnitudes(large, small, out);
    }
    out->is_negative = is_negative;
    trim(out);
    return fits;
}

bool integer_add(const struct integer *a, const struct integer *b, struct integer *out) {
    return sum(a, b, b->is_negative, out);
}

bool integer_subtract(const struct integer *a, const struct integer *b, struct integer *out) {
    return sum(a, b, !b->is_negative, out);
}

/* -- products and quotients -------------------------------------------------------------------------------------------- */

bool integer_multiply(const struct integer *a, const struct integer *b, struct integer *out) {
    uint32_t words[2 * INTEGER_WORDS];
    unsigned n = a->n + b->n;
    memset(words, 0, n * sizeof words[0]);
    for (unsigned i = 0; i < a->n; i++) {
        uint64_t carry = 0;
        for (unsigned k = 0; k < b->n; k++) {
            carry += (uint64_t)a->words[i] * b->words[k] + words[i + k];
            words[i + k] = (uint32_t)carry;
            carry >>= 32;
        }
        words[i + b->n] = (uint32_t)carry;
    }
    while (n > 0 && words[n - 1] == 0) {
        n--;
    }
    if (n > INTEGER_WORDS) {
        return false;
    }
    memcpy(out->words, words, n * sizeof words[0]);
    out->n = n;
    out->is_negative = n > 0 && a->is_negative != b->is_negative;
    return true;
}

/* words = a << bits, bits < 32; with one word more than a. */
static void shift_words(const struct integer *a, unsigned bits, uint32_t *words) {
    uint64_t carry = 0;
    for (unsigned i = 0; i < a->n; i++) {
        carry |= (uint64_t)a->words[i] << bits;
        words[i] = (uint32_t)carry;
        carry >>= 32;
    }
    words[a->n] = (uint32_t)carry;
}

/* One digit of the quotient: take digit * v from the n + 1 words at u, where it goes in that often. Knuth's D3 to D6. */
static uint32_t take_digit(uint32_t *u, const uint32_t *v, unsigned n) {
    uint64_t top = (uint64_t)u[n] << 32 | u[n - 1];
    uint64_t digit = top / v[n - 1];
    uint64_t rest = top % v[n - 1];
    while (digit > UINT32_MAX || (n > 1 && digit * v[n - 2] > (rest << 32 | u[n - 2]))) {
        digit--;
        rest += v[n - 1];
        if (rest > UINT32_MAX) {
            break;
        }
    }
    uint64_t carry = 0;
    uint64_t borrow = 0;
    for (unsigned i = 0; i < n; i++) {
        carry += digit * v[i];
        uint64_t difference = (uint64_t)u[i] - (uint32_t)carry - borrow;
        u[i] = (uint32_t)difference;
        borrow = difference >> 63;
        carry >>= 32;
    }
    uint64_t difference = (uint64_t)u[n] - carry - borrow;
    u[n] = (uint32_t)difference;
    if (difference >> 63 != 0) { /* once too often: put v back */
        digit--;
        uint64_t back = 0;
        for (unsigned i = 0; i < n; i++) {
            back += (uint64_t)u[i] + v[i];
            u[i] = (uint32_t)back;
            back >>= 32;
        }
        u[n] += (uint32_t)back;
    }
    return (uint32_t)digit;
}

/* |a| / |b| rounded down, and the rest; b is not zero. */
static void divide_magnitudes(const struct integer *a, const struct integer *b, struct integer *quotient,
                              struct integer *remainder) {
    uint32_t u[INTEGER_WORDS + 1];
    uint32_t v[INTEGER_WORDS + 1];
    quotient->is_negative = remainder->is_negative = false;
    quotient->n = 0;
    if (compare_magnitudes(a, b) < 0) {
        copy(remainder, a);
        remainder->is_negative = false;
        return;
    }
    unsigned bits = (unsigned)__builtin_clz(b->words[b->n - 1]);
    shift_words(a, bits, u);
    shift_words(b, bits, v);
    for (unsigned i = a->n - b->n + 1; i-- > 0;) {
        quotient->words[i] = take_digit(u + i, v, b->n);
    }
    quotient->n = a->n - b->n + 1;
    trim(quotient);
    for (unsigned i = 0; i < b->n; i++) {
        uint64_t wide = u[i] | (uint64_t)(i + 1 < b->n ? u[i + 1] : 0) << 32;
        remainder->words[i] = (uint32_t)(wide >> bits);
    }
    remainder->n = b->n;
    trim(remainder);
}

bool integer_divide(const struct integer *a, const struct integer *b, struct integer *quotient,
                    struct integer *remainder) {
    static const struct integer one = {.n = 1, .words = {1}};
    if (b->n == 0) {
        return false;
    }
    divide_magnitudes(a, b, quotient, remainder);
    bool is_exact = remainder->n == 0;
    quotient->is_negative = quotient->n > 0 && a->is_negative != b->is_negative;
    remainder->is_negative = remainder->n > 0 && a->is_negative;
    if (is_exact || a->is_negative == b->is_negative) {
        return true;
    }
    return integer_subtract(quotient, &one, quotient) && integer_add(remainder, b, remainder);
}

/* -- bits -------------------------------------------------------------------------------------------------------------- */

/* Word i of the two's complement, from the lowest word up; *carry begins as 1. */
static uint32_t complement_word(const struct integer *a, unsigned i, uint64_t *carry) {
    uint32_t word = i < a->n ? a->words[i] : 0;
    if (!a->is_negative) {
        return word;
    }
    *carry += (uint32_t)~word;
    word = (uint32_t)*carry;
    *carry >>= 32;
    return word;
}

static uint32_t combine(enum integer_bit_op op, uint32_t a, uint32_t b) {
    return op == INTEGER_AND ? a & b : op == INTEGER_OR ? a | b : a ^ b;
}

bool integer_bits(enum integer_bit_op op, const struct integer *a, const struct integer *b, struct integer *out) {
    uint32_t words[INTEGER_WORDS + 1];
    uint64_t carry = 1;
    uint64_t other_carry = 1;
    uint64_t result_carry = 1;
    unsigned n = (a->n > b->n ? a->n : b->n) + 1; /* one more, for the sign */
    bool is_negative = combine(op, a->is_negative, b->is_negative) != 0;
    for (unsigned i = 0; i < n; i++) {
        uint32_t word = complement_word(a, i, &carry);
        word = combine(op, word, complement_word(b, i, &other_carry));
        if (is_negative) {
            result_carry += (uint32_t)~word;
            word = (uint32_t)result_carry;
            result_carry >>= 32;
        }
        words[i] = word;
    }
    while (n > 0 && words[n - 1] == 0) {
        n--;
    }
    if (n > INTEGER_WORDS) {
        return false;
    }
    memcpy(out->words, words, n * sizeof words[0]);
    out->n = n;
    out->is_negative = is_negative;
    return true;
}

static bool shift_left(const struct integer *a, size_t by, struct integer *out) {
    size_t whole = by / 32;
    unsigned bits = by % 32;
    size_t n = a->n + whole + 1;
    uint32_t words[INTEGER_WORDS + 1];
    if (bit_length(a) + by > INTEGER_BITS) {
        return false;
    }
    memset(words, 0, whole * sizeof words[0]);
    uint64_t carry = 0;
    for (unsigned i = 0; i < a->n; i++) {
        carry |= (uint64_t)a->words[i] << bits;
        words[whole + i] = (uint32_t)carry;
        carry >>= 32;
    }
    words[n - 1] = (uint32_t)carry;
    out->n = (unsigned)(carry == 0 ? n - 1 : n);
    memcpy(out->words, words, out->n * sizeof words[0]);
    out->is_negative = a->is_negative;
    return true;
}

static bool shift_right(const struct integer *a, size_t by, struct integer *out) {
    static const struct integer one = {.n = 1, .words = {1}};
    size_t whole = by / 32;
    unsigned bits = by % 32;
    bool is_exact = true;
    for (size_t i = 0; i < whole && i < a->n; i++) {
        is_exact = is_exact && a->words[i] == 0;
    }
    out->n = 0;
    out->is_negative = a->is_negative;
    for (size_t i = whole; i < a->n; i++) {
        uint64_t wide = a->words[i] | (uint64_t)(i + 1 < a->n ? a->words[i + 1] : 0) << 32;
        is_exact = is_exact && (i > whole || (a->words[i] & ((UINT64_C(1) << bits) - 1)) == 0);
        out->words[out->n++] = (uint32_t)(wide >> bits);
    }
    trim(out);
    return is_exact || !a->is_negative || integer_subtract(out, &one, out);
}

bool integer_shift(const struct integer *a, int64_t by, struct integer *out) {
    if (a->n == 0) {
        copy(out, a);
        return true;
    }
    if (by >= 0) {
        return by <= INTEGER_BITS && shift_left(a, (size_t)by, out);
    }
    return shift_right(a, by < -INTEGER_BITS ? (size_t)INTEGER_BITS : (size_t)-by, out);
}

/* -- floats ------------------------------------------------------------------------------------------------------------- */

/* 2**exponent, from -1074 to 1023. */
static double power_of_two(int exponent) {
    uint64_t bits = exponent >= -1022 ? (uint64_t)(exponent + 1023) << 52 : UINT64_C(1) << (exponent + 1074);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The float nearest to digits * 2**exponent, or to a little more where there is a rest; digits are more than a float
 * has, or there is no rest. */
static bool nearest(unsigned __int128 digits, bool has_rest, int exponent, double *out) {
    uint64_t high = (uint64_t)(digits >> 64);
    int n = high != 0 ? 128 - __builtin_clzll(high) : digits != 0 ? 64 - __builtin_clzll((uint64_t)digits) : 0;
    int above = n + exponent; /* less than 2**above */
    int kept = above >= -1021 ? 53 : 53 + above + 1021;
    if (n == 0 || kept < 0) {
        *out = 0;
        return true;
    }
    int dropped = n > kept ? n - kept : 0;
    unsigned __int128 mantissa = n == dropped ? 0 : digits >> dropped;
    if (dropped > 0) {
        unsigned __int128 rest = digits - (n == dropped ? 0 : mantissa << dropped);
        unsigned __int128 half = (unsigned __int128)1 << (dropped - 1);
        mantissa += rest > half || (rest == half && (has_rest || (mantissa & 1) != 0));
    }
    if (above > 1024 || (above == 1024 && mantissa >> 53 != 0)) {
        return false;
    }
    *out = mantissa == 0 ? 0 : (double)(uint64_t)mantissa * power_of_two(exponent + dropped);
    return true;
}

/* Bits from `from` on, at most 128. */
static unsigned __int128 bits_from(const struct integer *a, size_t from, bool *has_rest) {
    unsigned __int128 digits = 0;
    *has_rest = false;
    for (size_t i = 0; i < a->n; i++) {
        size_t place = 32 * i;
        if (place >= from) {
            digits |= (unsigned __int128)a->words[i] << (place - from);
        } else if (from - place < 32) {
            digits |= a->words[i] >> (from - place);
            *has_rest = *has_rest || (a->words[i] & ((UINT32_C(1) << (from - place)) - 1)) != 0;
        } else {
            *has_rest = *has_rest || a->words[i] != 0;
        }
    }
    return digits;
}

bool integer_to_double(const struct integer *a, double *out) {
    size_t n = bit_length(a);
    size_t from = n > 96 ? n - 96 : 0;
    bool has_rest;
    unsigned __int128 digits = bits_from(a, from, &has_rest);
    if (!nearest(digits, has_rest, (int)from, out)) {
        return false;
    }
    *out = a->is_negative ? -*out : *out;
    return true;
}

bool integer_ratio(const struct integer *a, const struct integer *b, double *out) {
    /* A quotient of 66 or 67 bits: more than a float has, and the remainder says the rest. */
    int64_t shift = 66 - (int64_t)bit_length(a) + (int64_t)bit_length(b);
    struct integer scaled, quotient, remainder;
    bool is_negative = a->is_negative != b->is_negative;
    if (b->n == 0 || !integer_shift(shift >= 0 ? a : b, shift >= 0 ? shift : -shift, &scaled)) {
        return false;
    }
    divide_magnitudes(shift >= 0 ? &scaled : a, shift >= 0 ? b : &scaled, &quotient, &remainder);
    bool has_rest;
    unsigned __int128 digits = bits_from(&quotient, 0, &has_rest);
    if (!nearest(digits, remainder.n > 0, (int)-shift, out)) {
        return false;
    }
    *out = is_negative ? -*out : *out;
    return true;
}

/* -- writing ------------------------------------------------------------------------------------------------------------ */

size_t integer_write(const struct integer *a, uint8_t *at) {
    size_t n = (bit_length(a) + 7) / 8;
    if (n <= 8) {
        uint64_t magnitude = (a->n > 0 ? a->words[0] : 0) | (uint64_t)(a->n > 1 ? a->words[1] : 0) << 32;
        if (!a->is_negative) {
            return term_write_uint64(at, magnitude);
        }
        if (magnitude <= UINT64_C(1) << 63) {
            return term_write_int64(at, (int64_t)(0 - magnitude));
        }
    }
    size_t header = term_write_extension(at, TERM_BIG_INT, n + 1);
    at[header] = a->is_negative;
    for (size_t i = 0; i < n; i++) {
        at[header + n - i] = (uint8_t)(a->words[i / 4] >> (8 * (i % 4)));
    }
    return header + 1 + n;
}
