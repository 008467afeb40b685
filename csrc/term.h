/* SPDX-License-Identifier: Apache-2.0 */
/* term.h - what the core knows of msgpack: where an object ends, which element is the key, and how a row is changed.
 *
 * Scope. Works on private copies of rows and on arguments; never on shared memory, no locks, no system calls, no
 * knowledge of tables. Every function is bounded by an explicit end and reads nothing beyond it, whatever the bytes
 * are: malformed input gives 0, false or a status. Nothing recurses, so nesting costs no stack and needs no limit here.
 *
 * Words. A *term* is one msgpack object; its encoding is self-delimiting, so no term is a proper prefix of another.
 * An *integer* is any msgpack int, or extension type TERM_BIG_INT: a sign byte (0 plus, 1 minus), then the magnitude,
 * big-endian. What is written here is canonical: the smallest form, a big int only where 64 bits do not do. */
#ifndef TABLEMGR_TERM_H
#define TABLEMGR_TERM_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tablemgr.h"

/* Extension types; their payloads are described in csrc/README.md. */
enum term_extension {
    TERM_TUPLE = 1,
    TERM_BIG_INT,
    TERM_SET,
    TERM_FROZENSET,
    TERM_BYTEARRAY,
    TERM_DECIMAL,
    TERM_UUID,
    TERM_DATE,
    TERM_DATETIME,
    TERM_TIME,
    TERM_TIMEDELTA,
    TERM_PICKLE
};

enum { TERM_DEPTH = 100 };           /* nesting of a row's elements */
enum { TERM_ORDINAL_MAX = 3652059 }; /* the proleptic ordinal of 9999-12-31 */

/* A part of a row: offset from the row's first byte. */
struct term_span {
    size_t offset;
    size_t len;
};

/* -- memory -------------------------------------------------------------------------------------------------------- */

/* Make room for `more` bytes after buffer->len. False: no memory, or it would overflow; the buffer is as it was. */
bool buffer_reserve(struct tmgr_buffer *buffer, size_t more);
bool buffer_append(struct tmgr_buffer *buffer, const void *bytes, size_t len);

/* -- reading ------------------------------------------------------------------------------------------------------- */

/* An unsigned word of n bytes, big-endian. */
static inline uint64_t term_load(const uint8_t *at, size_t n) {
    uint64_t value = 0;
    uint32_t four;
    uint16_t two;
    switch (n) { /* what numbers and lengths have, in one step */
    case 1:
        return *at;
    case 2:
        memcpy(&two, at, sizeof two);
        return be16toh(two);
    case 4:
        memcpy(&four, at, sizeof four);
        return be32toh(four);
    case 8:
        memcpy(&value, at, sizeof value);
        return be64toh(value);
    default:
        break;
    }
    for (size_t i = 0; i < n; i++) {
        value = value << 8 | at[i];
    }
    return value;
}

/* Length of the one term at `at`; 0 if it is malformed or does not end by `end`. */
size_t term_skip(const uint8_t *at, const uint8_t *end);
/* The same, for terms that are usually flat and short. */
static inline size_t term_skip_flat(const uint8_t *at, const uint8_t *end) {
    if (at < end) {
        uint8_t first = at[0];
        size_t len = first < 0x80 || first >= 0xe0                       ? 1
                     : (first & 0xe0) == 0xa0                            ? 1u + (first & 0x1fu)
                     : first >= 0xcc && first <= 0xd3                    ? 1 + ((size_t)1 << (first & 3))
                     : first == 0xcb                                     ? 9
                     : (first == 0xd9 || first == 0xc4) && end - at >= 2 ? 2u + at[1]
                                                                         : 0;
        if (len != 0) {
            return len <= (size_t)(end - at) ? len : 0;
        }
    }
    return term_skip(at, end);
}

/* Length of the `n` terms in sequence at `at`; false if they are malformed or do not end by `end`. */
bool term_skip_many(const uint8_t *at, const uint8_t *end, uint64_t n, size_t *len);
/* Length of the header of the array at `at`, and its number of elements; 0 if there is no array header. */
size_t term_array(const uint8_t *at, const uint8_t *end, uint32_t *n_elements);
/* The same of a tuple: the length of all that stands before its first element. */
size_t term_tuple(const uint8_t *at, const uint8_t *end, uint32_t *n_elements);
/* The span of element `position`; false if the row is malformed up to there or has no such element. */
bool term_element(const uint8_t *row, size_t len, uint32_t position, struct term_span *element);

/* Verify a row that came from outside: one well-formed array that fills `len` exactly. Gives the span of its key.
 * *why (set on false only): BAD_ROW, SHORT_ROW, TOO_LONG (key over TMGR_KEY_MAX). */
bool term_row(const uint8_t *row, size_t len, uint32_t keypos, struct term_span *key, enum tmgr_status *why);

/* The key of a row whose shape was verified when it was stored. Still bounded by `len`, as the copy may be torn. */
static inline bool term_key_of(const uint8_t *row, size_t len, uint32_t keypos, struct term_span *key) {
    /* The usual row: fewer than 16 elements, the key first and a short string. */
    if (keypos == 0 && len > 2 && row[0] > 0x90 && row[0] < 0xa0 && (row[1] & 0xe0) == 0xa0) {
        key->offset = 1;
        key->len = 1u + (row[1] & 0x1fu);
        return key->len < len;
    }
    return term_element(row, len, keypos, key);
}

/* Whether the row's key is this one. As terms are self-delimiting, comparing key_len bytes decides; the stored key
 * need not be measured. */
static inline bool term_key_is(const uint8_t *row, size_t len, uint32_t keypos, const uint8_t *key, size_t key_len) {
    if (keypos == 0 && len > key_len && row[0] > 0x90 && row[0] < 0xa0) {
        return memcmp(row + 1, key, key_len) == 0;
    }
    struct term_span span;
    return term_element(row, len, keypos, &span) && span.len == key_len && memcmp(row + span.offset, key, key_len) == 0;
}

/* -- writing: the smallest form; each returns how many bytes it wrote ----------------------------------------------- */

enum { TERM_INT_MAX = 9, TERM_HEADER_MAX = 6 };

size_t term_write_uint64(uint8_t *at, uint64_t value);
size_t term_write_int64(uint8_t *at, int64_t value);
/* The header before `payload` bytes, n elements, or n pairs. */
size_t term_write_extension(uint8_t *at, uint8_t type, size_t payload);
size_t term_write_array(uint8_t *at, uint32_t n);
size_t term_write_map(uint8_t *at, uint32_t n);

/* -- changing ------------------------------------------------------------------------------------------------------ */
/* Each replaces the content of `out` by the new row; `out` must not hold the arguments. What is in `out` (and
 * `results`) after any other status than OK is of no use. */

/* The row with its key replaced: the default row of an update. BAD_ROW, SHORT_ROW, NO_MEMORY. */
enum tmgr_status term_with_key(const uint8_t *row, size_t len, uint32_t keypos, const uint8_t *key, size_t key_len,
                               struct tmgr_buffer *out);

/* updates: an array of arrays [position, value], done in order, so the last one of a position wins.
 * BAD_ROW (the row or the updates are misshapen), BAD_POSITION, KEY_POSITION, NO_MEMORY. */
enum tmgr_status term_update_element(const uint8_t *row, size_t len, uint32_t keypos, const uint8_t *updates,
                                     size_t updates_len, struct tmgr_buffer *out);

/* updates: an array of arrays [position, n] or [position, n, threshold, reset], integers of any size, done in order,
 * each seeing the results before it. The element becomes the sum, or `reset` where the sum lies beyond the threshold:
 * above it for n >= 0, below it for n < 0. results (may be NULL): an array of the new values, one for each update.
 * BAD_ROW (the row or the updates are misshapen), BAD_POSITION, KEY_POSITION, NOT_INTEGER (the element), NO_MEMORY. */
enum tmgr_status term_update_counter(const uint8_t *row, size_t len, uint32_t keypos, const uint8_t *updates,
                                     size_t updates_len, struct tmgr_buffer *out, struct tmgr_buffer *results);

#endif
