/* SPDX-License-Identifier: Apache-2.0 */
/* number.c - see number.h. */
#include "number.h"

#include <string.h>

#include "term.h"

/* -- reading ------------------------------------------------------------------------------------------------------- */

/* Sign and magnitude; what int64_t holds becomes SMALL. */
static void set_int(struct number *number, bool is_negative, const uint8_t *magnitude, size_t len) {
    while (len > 0 && magnitude[0] == 0) {
        magnitude++;
        len--;
    }
    uint64_t word = len <= 8 ? term_load(magnitude, len) : UINT64_MAX;
    if (word <= (uint64_t)INT64_MAX + (is_negative ? 1 : 0)) {
        number->kind = NUMBER_SMALL;
        number->small = (int64_t)(is_negative ? 0 - word : word);
        return;
    }
    number->kind = NUMBER_BIG;
    number->is_negative = is_negative;
    number->magnitude = magnitude;
    number->len = len;
}

static size_t read_big(const uint8_t *at, const uint8_t *end, struct number *number) {
    uint8_t first = at[0];
    size_t size_bytes = first <= 0xc9 ? (size_t)1 << (first - 0xc7) : 0;
    size_t header = 2 + size_bytes;
    size_t left = (size_t)(end - at);
    if (left < header || at[header - 1] != TERM_BIG_INT) {
        return 0;
    }
    uint64_t payload = size_bytes == 0 ? UINT64_C(1) << (first - 0xd4) : term_load(at + 1, size_bytes);
    if (payload < 2 || payload > left - header || at[header] > 1) {
        return 0;
    }
    set_int(number, at[header] == 1, at + header + 1, (size_t)payload - 1);
    return header + (size_t)payload;
}

static size_t read_float(const uint8_t *at, size_t n, struct number *number) {
    uint64_t word = term_load(at + 1, n);
    number->kind = NUMBER_FLOAT;
    if (n == 8) {
        memcpy(&number->real, &word, sizeof number->real);
    } else {
        uint32_t half = (uint32_t)word;
        float value;
        memcpy(&value, &half, sizeof value);
        number->real = (double)value;
    }
    return 1 + n;
}

size_t number_read(const uint8_t *at, const uint8_t *end, struct number *number) {
    number->kind = NUMBER_NONE;
    if (at == end) {
        return 0;
    }
    uint8_t first = at[0];
    if (first < 0x80 || first >= 0xe0) {
        number->kind = NUMBER_SMALL;
        number->small = (int8_t)first;
        return 1;
    }
    if ((first >= 0xc7 && first <= 0xc9) || (first >= 0xd4 && first <= 0xd8)) {
        return read_big(at, end, number);
    }
    if (first < 0xca || first > 0xd3) {
        return 0;
    }
    size_t n = first <= 0xcb ? (size_t)4 << (first - 0xca) : (size_t)1 << ((first - 0xcc) & 3);
    if ((size_t)(end - at) < 1 + n) {
        return 0;
    }
    if (first <= 0xcb) {
        return read_float(at, n, number);
    }
    if (first <= 0xcf) {
        set_int(number, false, at + 1, n);
        return 1 + n;
    }
    unsigned shift = (unsigned)(64 - 8 * n);
    number->kind = NUMBER_SMALL;
    /* Shifting left and back spreads the sign; both compilers shift signed numbers arithmetically. */
    number->small = (int64_t)(term_load(at + 1, n) << shift) >> shift;
    return 1 + n;
}

/* -- comparing ----------------------------------------------------------------------------------------------------- */

/* A finite number other than zero as sign * 0.top... * 2**exponent: the 64 bits of `top` begin with a one. */
struct leading {
    bool is_negative;
    int64_t exponent;
    uint64_t top;
    const uint8_t *rest; /* bytes of magnitude behind what `top` holds wholly, from the one it holds in part */
    size_t rest_len;
    uint8_t rest_mask; /* bits of the first of these that `top` lacks */
};

static void normalise(struct leading *leading, uint64_t top, int64_t exponent) {
    int zeros = __builtin_clzll(top);
    leading->top = top << zeros;
    leading->exponent = exponent - zeros;
}

static void lead_big(const struct number *number, struct leading *leading) {
    size_t n = number->len < 8 ? number->len : 8;
    uint64_t top = term_load(number->magnitude, n) << (8 * (8 - n));
    unsigned zeros = (unsigned)__builtin_clz(number->magnitude[0]) - 24;
    leading->is_negative = number->is_negative;
    leading->exponent = (int64_t)(8 * number->len) - zeros;
    leading->top = top << zeros;
    if (number->len > 8) {
        leading->top |= (uint64_t)number->magnitude[8] >> (8 - zeros);
        leading->rest = number->magnitude + 8;
        leading->rest_len = number->len - 8;
        leading->rest_mask = (uint8_t)(0xffu >> zeros);
    }
}

/* False for zero. */
static bool lead(const struct number *number, struct leading *leading) {
    *leading = (struct leading){0};
    if (number->kind == NUMBER_SMALL) {
        if (number->small == 0) {
            return false;
        }
        leading->is_negative = number->small < 0;
        normalise(leading, number->small < 0 ? 0 - (uint64_t)number->small : (uint64_t)number->small, 64);
        return true;
    }
    if (number->kind == NUMBER_BIG) {
        lead_big(number, leading);
        return true;
    }
    if (number->real == 0) {
        return false;
    }
    uint64_t bits;
    memcpy(&bits, &number->real, sizeof bits);
    uint64_t mantissa = bits & ((UINT64_C(1) << 52) - 1);
    int64_t exponent = (int64_t)(bits >> 52 & 0x7ff);
    leading->is_negative = bits >> 63 != 0;
    /* A normal number is 1.mantissa * 2**(exponent - 1023), a subnormal one 0.mantissa * 2**-1022. */
    normalise(leading, exponent == 0 ? mantissa : mantissa | UINT64_C(1) << 52, (exponent == 0 ? 1 : exponent) - 1011);
    return true;
}

/* Whether the bits behind `top` are not all zero. */
static bool has_rest(const struct leading *leading) {
    if (leading->rest_len == 0) {
        return false;
    }
    if ((leading->rest[0] & leading->rest_mask) != 0) {
        return true;
    }
    for (size_t i = 1; i < leading->rest_len; i++) {
        if (leading->rest[i] != 0) {
            return true;
        }
    }
    return false;
}

/* |a| against |b|. Two with a rest are both BIG and of one length here, so that their bytes decide. */
static int compare_leading(const struct leading *a, const struct leading *b) {
    if (a->exponent != b->exponent) {
        return a->exponent < b->exponent ? -1 : 1;
    }
    if (a->top != b->top) {
        return a->top < b->top ? -1 : 1;
    }
    if (a->rest_len > 0 && b->rest_len > 0) {
        return memcmp(a->rest, b->rest, a->rest_len);
    }
    return (int)has_rest(a) - (int)has_rest(b);
}

static int compare_finite(const struct number *a, const struct number *b) {
    struct leading first, second;
    bool is_zero = !lead(a, &first);
    bool is_other_zero = !lead(b, &second);
    if (is_zero || is_other_zero) {
        int sign = is_zero ? 0 : first.is_negative ? -1 : 1;
        int other_sign = is_other_zero ? 0 : second.is_negative ? -1 : 1;
        return sign - other_sign;
    }
    if (first.is_negative != second.is_negative) {
        return first.is_negative ? -1 : 1;
    }
    return first.is_negative ? compare_leading(&second, &first) : compare_leading(&first, &second);
}

/* -1 and 1 for the infinities, 2 for NaN, else 0. */
static int beyond(const struct number *number) {
    if (number->kind != NUMBER_FLOAT || number->real - number->real == 0) {
        return 0;
    }
    return number->real < 0 ? -1 : number->real > 0 ? 1 : 2;
}

int number_compare(const struct number *a, const struct number *b) {
    if (a->kind == NUMBER_SMALL && b->kind == NUMBER_SMALL) {
        return (a->small > b->small) - (a->small < b->small);
    }
    int end = beyond(a);
    int other_end = beyond(b);
    if (end != 0 || other_end != 0) {
        return end - other_end;
    }
    if (a->kind == NUMBER_FLOAT && b->kind == NUMBER_FLOAT) {
        return (a->real > b->real) - (a->real < b->real);
    }
    return compare_finite(a, b);
}
