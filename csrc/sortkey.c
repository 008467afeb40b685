/* SPDX-License-Identifier: Apache-2.0 */
/* sortkey.c - see sortkey.h. A term of n bytes never gives more than 2 * n bytes (each function here says why), and words
 * are stored whole, at most 9 bytes beyond what counts: this is sortkey_bound, which is checked once, at the door. */
#include "sortkey.h"

#include <endian.h>
#include <stdbool.h>
#include <string.h>

#include "term.h"

enum first_byte {
    FIRST_END = 0x00,
    FIRST_NONE = 0x04,
    FIRST_FALSE = 0x08,
    FIRST_TRUE = 0x0c,
    FIRST_NUMBER = 0x40, /* zero; STEP_NAN to both sides */
    FIRST_STR = 0x68,
    FIRST_BYTES = 0x70,
    FIRST_DATE = 0x78,
    FIRST_DATETIME = 0x80, /* + 1: aware */
    FIRST_TIME = 0x84,     /* + 1: aware */
    FIRST_TIMEDELTA = 0x88,
    FIRST_DECIMAL = 0xb0, /* zero; STEP_NAN to both sides */
    FIRST_UUID = 0xe0,
    FIRST_TUPLE = 0xf0
};

/* From zero's first byte up for positive numbers, down for negative ones. */
enum step { STEP_FAR_BELOW = 1, STEP_NEAR = 2, STEP_FAR_ABOVE = 30, STEP_INFINITE = 31, STEP_NAN = 32 };
enum { NEAR_MIN = -8, NEAR_MAX = 19 };
_Static_assert(STEP_NEAR + NEAR_MAX - NEAR_MIN == STEP_FAR_ABOVE - 1, "a step for each near exponent");

enum { NUMBER_EXPONENT_BYTES = 3, DECIMAL_EXPONENT_BYTES = 8 };

static const uint64_t day_microseconds = UINT64_C(86400000000);
/* More than a Decimal's exponent can be, and far from overflow. */
static const int64_t decimal_exponent_max = INT64_C(4000000000000000000);

/* What is read, and what is written. Every put_ function takes the bytes of one term from `at` on. */
struct writer {
    const uint8_t *at, *end;
    uint8_t *out;
};

static inline uint64_t load_word(const uint8_t *at, size_t n) {
    uint64_t value = 0;
    if (n == 8) {
        memcpy(&value, at, 8);
        return be64toh(value);
    }
    for (size_t i = 0; i < n; i++) {
        value = value << 8 | at[i];
    }
    return value;
}

/* The n low bytes of value, big-endian; 8 bytes are written. */
static inline uint8_t *put_word(uint8_t *out, uint64_t value, size_t n) {
    uint64_t swapped = htobe64(value << (64 - 8 * n));
    memcpy(out, &swapped, 8);
    return out + n;
}

/* -- numbers ------------------------------------------------------------------------------------------------------- */

static inline uint8_t stepped(int zero, bool is_negative, int step) {
    return (uint8_t)(is_negative ? zero - step : zero + step);
}

/* What a number other than zero begins with: sign and exponent. */
static inline uint8_t *put_exponent(uint8_t *out, int zero, bool is_negative, int64_t exponent, size_t far_bytes) {
    if (exponent >= NEAR_MIN && exponent <= NEAR_MAX) {
        *out = stepped(zero, is_negative, STEP_NEAR - NEAR_MIN + (int)exponent);
        return out + 1;
    }
    uint64_t biased = (uint64_t)exponent + (UINT64_C(1) << (8 * far_bytes - 1));
    *out = stepped(zero, is_negative, exponent < NEAR_MIN ? STEP_FAR_BELOW : STEP_FAR_ABOVE);
    return put_word(out + 1, is_negative ? ~biased : biased, far_bytes);
}

/* The 8 digits of the low 56 bits, one to a byte: split in two, and each half again. */
static inline uint64_t spread(uint64_t x) {
    x = (x & UINT64_C(0x000000000fffffff)) | (x & UINT64_C(0x00fffffff0000000)) << 4;
    x = (x & UINT64_C(0x00003fff00003fff)) | (x & UINT64_C(0x0fffc0000fffc000)) << 2;
    return (x & UINT64_C(0x007f007f007f007f)) | (x & UINT64_C(0x3f803f803f803f80)) << 1;
}

/* magnitude * 128**scale. An int of n bytes, 1 to 8, has (8 * n + 6) / 7 digits at most; one of 1 byte is below 128. */
static inline uint8_t *put_number(uint8_t *out, bool is_negative, uint64_t magnitude, int scale) {
    if (magnitude == 0) {
        *out = FIRST_NUMBER;
        return out + 1;
    }
    unsigned digits = (63 - (unsigned)__builtin_clzll(magnitude)) / 7 + 1;
    unsigned written = digits - (unsigned)__builtin_ctzll(magnitude) / 7;
    uint64_t flip = is_negative ? UINT64_MAX : 0;
    out = put_exponent(out, FIRST_NUMBER, is_negative, (int)digits + scale, NUMBER_EXPONENT_BYTES);
    uint8_t *end = out + written;
    for (; digits > 8; digits--) {
        *out++ = (uint8_t)((magnitude >> 7 * (digits - 1)) << 1 | 1) ^ (uint8_t)flip;
    }
    put_word(out, (spread(magnitude << 7 * (8 - digits)) << 1 | UINT64_C(0x0101010101010101)) ^ flip, 8);
    end[-1] ^= 1;
    return end;
}

static inline uint8_t *put_int64(uint8_t *out, int64_t value) {
    return put_number(out, value < 0, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 0);
}

/* mantissa * 2**exponent becomes (mantissa * 2**(exponent mod 7)) * 128**(exponent div 7): 59 bits at most. At most 13
 * bytes for 9, 9 for the 5 of a 32-bit one. */
static uint8_t *put_float(uint8_t *out, double value) {
    if (value != value) {
        *out = FIRST_NUMBER + STEP_NAN;
        return out + 1;
    }
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    bool is_negative = bits >> 63 != 0;
    uint64_t mantissa = bits & ((UINT64_C(1) << 52) - 1);
    int exponent = (int)(bits >> 52 & 0x7ff);
    if (exponent == 0x7ff) {
        *out = stepped(FIRST_NUMBER, is_negative, STEP_INFINITE);
        return out + 1;
    }
    if (exponent == 0) {
        exponent = 1;
    } else {
        mantissa |= UINT64_C(1) << 52;
    }
    exponent -= 1075;
    int scale = (exponent + 7 * 154) / 7 - 154; /* rounded down: -1074 is the least */
    return put_number(out, is_negative, mantissa << (exponent - 7 * scale), scale);
}

/* The 7 bits of a big-endian magnitude whose lowest is bit `shift`. */
static uint8_t digit_at(const uint8_t *magnitude, size_t len, size_t shift) {
    size_t byte = len - 1 - shift / 8;
    unsigned pair = magnitude[byte] | (byte > 0 ? (unsigned)magnitude[byte - 1] << 8 : 0);
    return (uint8_t)(pair >> shift % 8 & 0x7f);
}

/* Sign and magnitude. A magnitude of n bytes gives 4 + (8 * n + 6) / 7 bytes for n + 3. */
static bool put_big_int(struct writer *w, const uint8_t *payload, size_t len) {
    if (len < 2 || payload[0] > 1) {
        return false;
    }
    bool is_negative = payload[0] == 1;
    const uint8_t *magnitude = payload + 1;
    len--;
    while (len > 0 && magnitude[0] == 0) {
        magnitude++;
        len--;
    }
    if (len <= 8) {
        w->out = put_number(w->out, is_negative, load_word(magnitude, len), 0);
        return true;
    }
    size_t bits = 8 * len - ((size_t)__builtin_clz(magnitude[0]) - 24);
    size_t digits = (bits + 6) / 7;
    size_t last = 0;
    while (digit_at(magnitude, len, last) == 0) {
        last += 7;
    }
    uint8_t flip = is_negative ? 0xff : 0;
    uint8_t *out = put_exponent(w->out, FIRST_NUMBER, is_negative, (int64_t)digits, NUMBER_EXPONENT_BYTES);
    for (size_t shift = 7 * (digits - 1); shift > last; shift -= 7) {
        *out++ = (uint8_t)(digit_at(magnitude, len, shift) << 1 | 1) ^ flip;
    }
    *out++ = (uint8_t)(digit_at(magnitude, len, last) << 1) ^ flip;
    w->out = out;
    return true;
}

/* -- strings ------------------------------------------------------------------------------------------------------- */

/* Whether one of 8 bytes is 0 or 1. */
static inline bool has_escaped(uint64_t word) {
    uint64_t high = word & UINT64_C(0xfefefefefefefefe);
    return ((high - UINT64_C(0x0101010101010101)) & ~high & UINT64_C(0x8080808080808080)) != 0;
}

static inline uint8_t *put_escaped(uint8_t *out, const uint8_t *at, size_t n) {
    for (const uint8_t *end = at + n; at < end; at++) {
        if (*at < 2) {
            *out++ = 1;
            *out++ = (uint8_t)(*at + 1);
        } else {
            *out++ = *at;
        }
    }
    return out;
}

/* 2 * n + 2 bytes at most, for at least n + 1. */
static inline uint8_t *put_text(uint8_t *out, uint8_t first, const uint8_t *at, size_t n) {
    uint64_t word;
    *out++ = first;
    for (; n >= 8; at += 8, n -= 8) {
        memcpy(&word, at, 8);
        memcpy(out, &word, 8);
        out = has_escaped(word) ? put_escaped(out, at, 8) : out + 8;
    }
    out = put_escaped(out, at, n);
    *out++ = FIRST_END;
    return out;
}

/* -- dates and times ----------------------------------------------------------------------------------------------- */

/* Microseconds of the day, fold, and where it is aware the offset: a time, and the end of a datetime. `days`: what goes
 * before, and at least 1, so that no offset leads below zero. 1 + 8 + 5 bytes at most for 24; of a time, 11 for 20. */
static bool put_clock(struct writer *w, uint8_t first, uint64_t days, size_t word_bytes, const uint8_t *at,
                      size_t len) {
    if (len != 9 && len != 17) {
        return false;
    }
    uint64_t clock = load_word(at, 8);
    uint64_t fold = at[8];
    if (clock >= day_microseconds || fold > 1) {
        return false;
    }
    uint64_t instant = days * day_microseconds + clock;
    if (len == 9) {
        *w->out++ = first;
        w->out = put_word(w->out, instant << 1 | fold, word_bytes);
        return true;
    }
    uint64_t offset = load_word(at + 9, 8);
    uint64_t biased = offset + day_microseconds;
    if (biased - 1 >= 2 * day_microseconds - 1) {
        return false;
    }
    *w->out++ = (uint8_t)(first + 1);
    w->out = put_word(w->out, instant - offset, word_bytes);
    w->out = put_word(w->out, biased << 1 | fold, 5);
    return true;
}

static bool put_date(struct writer *w, const uint8_t *at, size_t len) {
    uint64_t ordinal = len == 4 ? load_word(at, 4) : 0;
    if (ordinal < 1 || ordinal > TERM_ORDINAL_MAX) {
        return false;
    }
    *w->out++ = FIRST_DATE;
    w->out = put_word(w->out, ordinal, 4);
    return true;
}

static bool put_datetime(struct writer *w, const uint8_t *at, size_t len) {
    uint64_t ordinal = len > 4 ? load_word(at, 4) : 0;
    if (ordinal < 1 || ordinal > TERM_ORDINAL_MAX) {
        return false;
    }
    return put_clock(w, FIRST_DATETIME, ordinal, 8, at + 4, len - 4);
}

static bool put_timedelta(struct writer *w, const uint8_t *at, size_t len) {
    if (len != 12) {
        return false;
    }
    /* From -999999999 to 999999999, counted from 0. */
    uint64_t days = (load_word(at, 4) + 999999999) & UINT32_MAX;
    uint64_t seconds = load_word(at + 4, 4);
    uint64_t microseconds = load_word(at + 8, 4);
    if (days > 2 * UINT64_C(999999999) || seconds >= 86400 || microseconds >= 1000000) {
        return false;
    }
    *w->out++ = FIRST_TIMEDELTA;
    w->out = put_word(w->out, days, 4);
    w->out = put_word(w->out, seconds * 1000000 + microseconds, 5);
    return true;
}

/* -- Decimals ------------------------------------------------------------------------------------------------------ */

static bool is_digit(uint8_t byte) { return byte >= '0' && byte <= '9'; }

static bool is_word(const uint8_t *at, size_t len, const char *word) {
    return len == strlen(word) && memcmp(at, word, len) == 0;
}

/* NaN or sNaN, perhaps with digits. */
static bool is_nan(const uint8_t *at, const uint8_t *end) {
    at += at < end && *at == 's' ? 1 : 0;
    if (end - at < 3 || !is_word(at, 3, "NaN")) {
        return false;
    }
    for (at += 3; at < end && is_digit(*at); at++) {
    }
    return at == end;
}

/* E, sign, digits, up to the end; nothing is 0. */
static bool read_exponent(const uint8_t *at, const uint8_t *end, int64_t *exponent) {
    *exponent = 0;
    if (at == end) {
        return true;
    }
    if (end - at < 3 || at[0] != 'E' || (at[1] != '+' && at[1] != '-')) {
        return false;
    }
    bool is_negative = at[1] == '-';
    for (at += 2; at < end; at++) {
        if (!is_digit(*at) || *exponent > decimal_exponent_max / 10) {
            return false;
        }
        *exponent = *exponent * 10 + (*at - '0');
    }
    *exponent = is_negative ? -*exponent : *exponent;
    return true;
}

/* The digits from the first to the last other than 0, which may have a point among them, two to a byte. */
static uint8_t *put_decimal_digits(uint8_t *out, bool is_negative, const uint8_t *at, const uint8_t *end) {
    uint8_t flip = is_negative ? 0xff : 0;
    while (at < end) {
        uint8_t pair[2] = {0, 0};
        for (int i = 0; i < 2 && at < end; i++) {
            at += *at == '.' ? 1 : 0; /* another digit follows: the last is none that is 0, and no point */
            pair[i] = (uint8_t)(*at++ - '0');
        }
        *out++ = (uint8_t)((10 * pair[0] + pair[1]) << 1 | (at < end)) ^ flip;
    }
    return out;
}

/* Digits, perhaps with a point, perhaps with an exponent: sign * 0.digits * 10**exponent. Text of n bytes gives
 * 1 + 8 + (n + 1) / 2 bytes at most for n + 2; with a far exponent n is at least 4. */
static bool put_finite_decimal(struct writer *w, bool is_negative, const uint8_t *at, const uint8_t *end) {
    const uint8_t *point = NULL;
    const uint8_t *first = NULL; /* of the digits other than 0 */
    const uint8_t *last = NULL;
    size_t digits = 0;
    int64_t exponent;
    for (; at < end && (is_digit(*at) || (*at == '.' && point == NULL)); at++) {
        if (*at == '.') {
            point = at;
            continue;
        }
        digits++;
        if (*at != '0') {
            first = first == NULL ? at : first;
            last = at;
        }
    }
    if (digits == 0 || !read_exponent(at, end, &exponent)) {
        return false;
    }
    if (first == NULL) {
        *w->out++ = FIRST_DECIMAL;
        return true;
    }
    const uint8_t *units = point == NULL ? at : point; /* where the point stands, or would */
    exponent += (units - first) + (first > units ? 1 : 0);
    w->out = put_exponent(w->out, FIRST_DECIMAL, is_negative, exponent, DECIMAL_EXPONENT_BYTES);
    w->out = put_decimal_digits(w->out, is_negative, first, last + 1);
    return true;
}

static bool put_decimal(struct writer *w, const uint8_t *text, size_t len) {
    bool is_negative = len > 0 && text[0] == '-';
    const uint8_t *at = text + (is_negative ? 1 : 0);
    const uint8_t *end = text + len;
    if (is_word(at, (size_t)(end - at), "Infinity")) {
        *w->out++ = stepped(FIRST_DECIMAL, is_negative, STEP_INFINITE);
        return true;
    }
    if (is_nan(at, end)) {
        w->out = put_text(w->out, FIRST_DECIMAL + STEP_NAN, text, len);
        return true;
    }
    return put_finite_decimal(w, is_negative, at, end);
}

/* -- terms --------------------------------------------------------------------------------------------------------- */

/* Tuples that are being written, the outermost first: where each ends, and how many of its elements are to come. */
struct tuples {
    unsigned depth;
    uint32_t left[TERM_DEPTH];
    const uint8_t *ends[TERM_DEPTH];
};

/* `payload` to w->end: an array. From now on the innermost tuple bounds what is read; its elements come next. */
static bool open_tuple(struct writer *w, struct tuples *tuples, const uint8_t *payload, size_t len) {
    uint32_t n;
    size_t header = term_array(payload, payload + len, &n);
    if (header == 0 || tuples == NULL || tuples->depth == TERM_DEPTH) {
        return false;
    }
    *w->out++ = FIRST_TUPLE;
    tuples->left[tuples->depth] = n;
    tuples->ends[tuples->depth] = w->end;
    tuples->depth++;
    w->at = payload + header;
    w->end = payload + len;
    return true;
}

static bool put_extension(struct writer *w, struct tuples *tuples, size_t header, size_t len) {
    if (header > (size_t)(w->end - w->at) || len > (size_t)(w->end - w->at) - header) {
        return false;
    }
    uint8_t type = w->at[header - 1];
    const uint8_t *payload = w->at + header;
    if (type == TERM_TUPLE) {
        return open_tuple(w, tuples, payload, len);
    }
    w->at = payload + len;
    switch (type) {
    case TERM_BIG_INT:
        return put_big_int(w, payload, len);
    case TERM_DECIMAL:
        return put_decimal(w, payload, len);
    case TERM_DATE:
        return put_date(w, payload, len);
    case TERM_DATETIME:
        return put_datetime(w, payload, len);
    case TERM_TIME:
        return put_clock(w, FIRST_TIME, 1, 5, payload, len);
    case TERM_TIMEDELTA:
        return put_timedelta(w, payload, len);
    case TERM_UUID:
        *w->out++ = FIRST_UUID;
        memcpy(w->out, payload, len == 16 ? 16 : 0);
        w->out += 16;
        return len == 16;
    default:
        return false;
    }
}

/* str or bytes whose length stands in `size_bytes` after the first byte. */
static bool put_long_text(struct writer *w, uint8_t first, size_t size_bytes) {
    size_t left = (size_t)(w->end - w->at) - 1;
    if (left < size_bytes) {
        return false;
    }
    uint64_t len = load_word(w->at + 1, size_bytes);
    if (len > left - size_bytes) {
        return false;
    }
    w->out = put_text(w->out, first, w->at + 1 + size_bytes, (size_t)len);
    w->at += 1 + size_bytes + len;
    return true;
}

/* A number of n bytes after the first. */
static inline bool put_fixed(struct writer *w, uint8_t first, size_t n) {
    if ((size_t)(w->end - w->at) <= n) {
        return false;
    }
    uint64_t word = load_word(w->at + 1, n);
    w->at += 1 + n;
    if (first >= 0xd0) {
        unsigned shift = (unsigned)(64 - 8 * n);
        /* Shifting left and back spreads the sign; both compilers shift signed numbers arithmetically. */
        w->out = put_int64(w->out, (int64_t)(word << shift) >> shift);
    } else if (first >= 0xcc) {
        w->out = put_number(w->out, false, word, 0);
    } else if (n == 8) {
        double value;
        memcpy(&value, &word, sizeof value);
        w->out = put_float(w->out, value);
    } else {
        uint32_t half = (uint32_t)word;
        float value;
        memcpy(&value, &half, sizeof value);
        w->out = put_float(w->out, (double)value);
    }
    return true;
}

/* The first bytes from 0xc0 to 0xdf. */
static bool put_tagged(struct writer *w, struct tuples *tuples) {
    uint8_t first = w->at[0];
    size_t size_bytes;
    if (first >= 0xca && first <= 0xd3) {
        return put_fixed(w, first, first <= 0xcb ? (size_t)4 << (first - 0xca) : (size_t)1 << (first & 3));
    }
    if (first >= 0xd4 && first <= 0xd8) {
        return put_extension(w, tuples, 2, (size_t)1 << (first - 0xd4));
    }
    if (first >= 0xc7 && first <= 0xc9) {
        size_bytes = (size_t)1 << (first - 0xc7);
        bool has_header = (size_t)(w->end - w->at) > 1 + size_bytes;
        return has_header && put_extension(w, tuples, 2 + size_bytes, (size_t)load_word(w->at + 1, size_bytes));
    }
    if (first >= 0xc4 && first <= 0xc6) {
        return put_long_text(w, FIRST_BYTES, (size_t)1 << (first - 0xc4));
    }
    if (first >= 0xd9 && first <= 0xdb) {
        return put_long_text(w, FIRST_STR, (size_t)1 << (first - 0xd9));
    }
    if (first != 0xc0 && first != 0xc2 && first != 0xc3) {
        return false;
    }
    *w->out++ = first == 0xc0 ? FIRST_NONE : first == 0xc2 ? FIRST_FALSE : FIRST_TRUE;
    w->at++;
    return true;
}

/* The next term, or of a tuple its beginning. */
static inline bool put_term(struct writer *w, struct tuples *tuples) {
    if (w->at == w->end) {
        return false;
    }
    uint8_t first = w->at[0];
    if (first >= 0xa0 && first < 0xc0) {
        size_t len = first & 0x1fu;
        if (len >= (size_t)(w->end - w->at)) {
            return false;
        }
        w->out = put_text(w->out, FIRST_STR, w->at + 1, len);
        w->at += 1 + len;
        return true;
    }
    if (first < 0x80 || first >= 0xe0) {
        w->out = put_int64(w->out, (int8_t)first);
        w->at++;
        return true;
    }
    return first >= 0xc0 && put_tagged(w, tuples);
}

/* n terms in sequence, up to w->end. */
static bool put_terms(struct writer *w, uint32_t n) {
    struct tuples tuples;
    tuples.depth = 0;
    for (;;) {
        while (n == 0) {
            if (w->at != w->end) {
                return false;
            }
            if (tuples.depth == 0) {
                return true;
            }
            *w->out++ = FIRST_END;
            tuples.depth--;
            n = tuples.left[tuples.depth];
            w->end = tuples.ends[tuples.depth];
        }
        n--;
        unsigned depth = tuples.depth;
        if (!put_term(w, &tuples)) {
            return false;
        }
        if (tuples.depth > depth) {
            uint32_t inside = tuples.left[depth];
            tuples.left[depth] = n;
            n = inside;
        }
    }
}

size_t sortkey_make(const uint8_t *key, size_t len, uint8_t *out, size_t capacity) {
    if (len > TMGR_KEY_MAX || capacity < sortkey_bound(len)) {
        return 0;
    }
    struct writer w = {key, key + len, out};
    return put_terms(&w, 1) ? (size_t)(w.out - out) : 0;
}

size_t sortkey_tuple_prefix(const uint8_t *elements, size_t len, uint32_t n, uint8_t *out, size_t capacity) {
    if (len > TMGR_KEY_MAX || capacity < sortkey_bound(len)) {
        return 0;
    }
    struct writer w = {elements, elements + len, out + 1};
    *out = FIRST_TUPLE;
    return put_terms(&w, n) ? (size_t)(w.out - out) : 0;
}

/* -- for callers outside the core ---------------------------------------------------------------------------------- */

int tmgr_sort_key(const uint8_t *key, size_t key_len, struct tmgr_buffer *out) {
    out->len = 0;
    if (key_len > TMGR_KEY_MAX) {
        return TMGR_BAD_ROW;
    }
    if (!buffer_reserve(out, sortkey_bound(key_len))) {
        return TMGR_NO_MEMORY;
    }
    out->len = sortkey_make(key, key_len, out->data, out->capacity);
    return out->len > 0 ? TMGR_OK : TMGR_BAD_ROW;
}

int tmgr_sort_prefix(const uint8_t *elements, size_t elements_len, uint32_t n, struct tmgr_buffer *out) {
    out->len = 0;
    if (elements_len > TMGR_KEY_MAX) {
        return TMGR_BAD_ROW;
    }
    if (!buffer_reserve(out, sortkey_bound(elements_len))) {
        return TMGR_NO_MEMORY;
    }
    out->len = sortkey_tuple_prefix(elements, elements_len, n, out->data, out->capacity);
    return out->len > 0 ? TMGR_OK : TMGR_BAD_ROW;
}
