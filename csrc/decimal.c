/* SPDX-License-Identifier: Apache-2.0 */
/* decimal.c - see decimal.h. A finite Decimal is sign * 0.digits * 10**exponent, its digits beginning with another one
 * than 0 (zero has none): then exponents decide, and digits where these are equal. */
#include "decimal.h"

#include <string.h>

/* In their order: -Infinity and Infinity are INFINITE with a sign. */
enum kind { FINITE, INFINITE, NOT_A_NUMBER, MALFORMED };

struct decimal {
    enum kind kind;
    bool is_negative;
    const uint8_t *digits; /* from the first digit other than 0 on; a point may stand among them */
    size_t len;            /* bytes of digits; 0: zero */
    int64_t exponent;
};

/* More than a Decimal's exponent can be, and far from overflow. */
static const int64_t exponent_max = INT64_C(4000000000000000000);

static bool is_digit(uint8_t byte) { return byte >= '0' && byte <= '9'; }

static bool begins_with(const uint8_t *at, const uint8_t *end, const char *word) {
    size_t n = strlen(word);
    return (size_t)(end - at) >= n && memcmp(at, word, n) == 0;
}

/* E, sign, digits: all up to the end. */
static bool parse_exponent(const uint8_t *at, const uint8_t *end, int64_t *exponent) {
    bool is_negative = end - at >= 3 && at[1] == '-';
    *exponent = 0;
    if (end - at < 3 || at[0] != 'E' || (at[1] != '+' && at[1] != '-')) {
        return false;
    }
    for (at += 2; at < end; at++) {
        if (!is_digit(*at)) {
            return false;
        }
        *exponent = *exponent < exponent_max / 10 ? *exponent * 10 + (*at - '0') : exponent_max;
    }
    *exponent = is_negative ? -*exponent : *exponent;
    return true;
}

/* Digits, perhaps with a point among them, then perhaps an exponent. */
static enum kind parse_finite(const uint8_t *at, const uint8_t *end, struct decimal *decimal) {
    const uint8_t *point = NULL;
    const uint8_t *start = at;
    int64_t exponent = 0;
    for (; at < end && (is_digit(*at) || (*at == '.' && point == NULL)); at++) {
        point = *at == '.' ? at : point;
    }
    const uint8_t *behind = at;
    if (at < end && !parse_exponent(at, end, &exponent)) {
        return MALFORMED;
    }
    if (behind - start < (point == NULL ? 1 : 2)) {
        return MALFORMED;
    }
    /* Where the point stands, or would; less what is left of the first digit other than 0, or right of it. */
    const uint8_t *units = point == NULL ? behind : point;
    while (start < behind && (*start == '0' || *start == '.')) {
        start++;
    }
    decimal->digits = start;
    decimal->len = (size_t)(behind - start);
    decimal->exponent = exponent + (units - start) + (start > units ? 1 : 0);
    return FINITE;
}

static enum kind parse_special(const uint8_t *at, const uint8_t *end) {
    if (begins_with(at, end, "Infinity") && end - at == 8) {
        return INFINITE;
    }
    at += begins_with(at, end, "s") ? 1 : 0;
    if (!begins_with(at, end, "NaN")) {
        return MALFORMED;
    }
    for (at += 3; at < end; at++) {
        if (!is_digit(*at)) {
            return MALFORMED;
        }
    }
    return NOT_A_NUMBER;
}

static struct decimal parse(const uint8_t *text, size_t n) {
    struct decimal decimal = {.is_negative = n > 0 && text[0] == '-'};
    const uint8_t *at = text + (decimal.is_negative ? 1 : 0);
    const uint8_t *end = text + n;
    decimal.kind = at < end && (is_digit(*at) || *at == '.') ? parse_finite(at, end, &decimal) : parse_special(at, end);
    return decimal;
}

bool decimal_is_valid(const uint8_t *text, size_t n) { return parse(text, n).kind != MALFORMED; }

/* The next digit; 0 behind the last one. */
static unsigned next_digit(const uint8_t **at, const uint8_t *end) {
    if (*at < end && **at == '.') {
        ++*at;
    }
    return *at < end ? (unsigned)(*(*at)++ - '0') : 0;
}

static int compare_digits(const struct decimal *a, const struct decimal *b) {
    const uint8_t *at = a->digits;
    const uint8_t *other = b->digits;
    const uint8_t *end = at + a->len;
    const uint8_t *other_end = other + b->len;
    while (at < end || other < other_end) {
        unsigned digit = next_digit(&at, end);
        unsigned other_digit = next_digit(&other, other_end);
        if (digit != other_digit) {
            return digit < other_digit ? -1 : 1;
        }
    }
    return 0;
}

static int sign_of(const struct decimal *decimal) {
    return decimal->kind == FINITE && decimal->len == 0 ? 0 : decimal->is_negative ? -1 : 1;
}

/* Neither a NaN nor malformed. */
static int compare_values(const struct decimal *a, const struct decimal *b) {
    int sign = sign_of(a);
    if (sign != sign_of(b)) {
        return sign < sign_of(b) ? -1 : 1;
    }
    if (sign == 0) {
        return 0;
    }
    if (a->kind != b->kind) {
        return a->kind == INFINITE ? sign : -sign;
    }
    if (a->kind == INFINITE) {
        return 0;
    }
    if (a->exponent != b->exponent) {
        return a->exponent < b->exponent ? -sign : sign;
    }
    return compare_digits(a, b) * sign;
}

int decimal_compare(const uint8_t *a, size_t an, const uint8_t *b, size_t bn) {
    struct decimal first = parse(a, an);
    struct decimal second = parse(b, bn);
    if (first.kind <= INFINITE && second.kind <= INFINITE) {
        return compare_values(&first, &second);
    }
    if (first.kind != second.kind) {
        return first.kind < second.kind ? -1 : 1;
    }
    int order = memcmp(a, b, an < bn ? an : bn);
    return order != 0 ? order : (an > bn) - (an < bn);
}
