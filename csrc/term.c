/* SPDX-License-Identifier: Apache-2.0 */
/* term.c - see term.h. Three parts: walking terms, arithmetic on integers of any size, changing rows.
 *
 * A row is changed in a copy: `out` starts as the row, each update replaces one element in place and moves the tail
 * only where the length differs. So later updates see earlier ones by themselves, and nothing is decoded that is not
 * touched. */
#include "term.h"

#include <stdlib.h>

/* -- memory -------------------------------------------------------------------------------------------------------- */

bool buffer_reserve(struct tmgr_buffer *buffer, size_t more) {
    if (more <= buffer->capacity - buffer->len) {
        return true;
    }
    if (more > SIZE_MAX / 4 - buffer->len) {
        return false;
    }
    size_t capacity = (buffer->len + more) + (buffer->len + more) / 2 + 64;
    uint8_t *data = realloc(buffer->data, capacity);
    if (data == NULL) {
        return false;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

bool buffer_append(struct tmgr_buffer *buffer, const void *bytes, size_t len) {
    if (!buffer_reserve(buffer, len)) {
        return false;
    }
    if (len > 0) {
        memcpy(buffer->data + buffer->len, bytes, len);
    }
    buffer->len += len;
    return true;
}

/* Replace `len` bytes at `offset` by others, moving the tail. The bytes must not lie in the buffer. */
static bool buffer_splice(struct tmgr_buffer *buffer, size_t offset, size_t len, const void *bytes, size_t new_len) {
    if (new_len > len && !buffer_reserve(buffer, new_len - len)) {
        return false;
    }
    if (new_len != len) {
        size_t tail = offset + len;
        memmove(buffer->data + offset + new_len, buffer->data + tail, buffer->len - tail);
        buffer->len = buffer->len - len + new_len;
    }
    memcpy(buffer->data + offset, bytes, new_len);
    return true;
}

/* -- walking ------------------------------------------------------------------------------------------------------- */

static void store_big_endian(uint8_t *at, uint64_t value, size_t n) {
    while (n > 0) {
        at[--n] = (uint8_t)value;
        value >>= 8;
    }
}

/* What follows a first byte: how many bytes belong to the header, how many of them at its end (after the first) are a
 * length or a count, and what that measures. */
enum content { PLAIN, BYTES, ELEMENTS, PAIRS, INVALID };
struct shape {
    uint8_t header;     /* bytes, the first one included */
    uint8_t size_bytes; /* bytes of the length or count right after the first byte */
    uint8_t content;    /* enum content */
};

/* clang-format off */
static const struct shape shapes[] = { /* a line for each family of first bytes */
    /* 0xc0 nil, unused, false, true */ {1, 0, PLAIN}, {1, 0, INVALID}, {1, 0, PLAIN}, {1, 0, PLAIN},
    /* 0xc4 bin 8, 16, 32 */ {2, 1, BYTES}, {3, 2, BYTES}, {5, 4, BYTES},
    /* 0xc7 ext 8, 16, 32 */ {3, 1, BYTES}, {4, 2, BYTES}, {6, 4, BYTES},
    /* 0xca float 32, 64 */ {5, 0, PLAIN}, {9, 0, PLAIN},
    /* 0xcc uint 8, 16, 32, 64 */ {2, 0, PLAIN}, {3, 0, PLAIN}, {5, 0, PLAIN}, {9, 0, PLAIN},
    /* 0xd0 int 8, 16, 32, 64 */ {2, 0, PLAIN}, {3, 0, PLAIN}, {5, 0, PLAIN}, {9, 0, PLAIN},
    /* 0xd4 fixext 1, 2, 4, 8, 16 */ {3, 0, PLAIN}, {4, 0, PLAIN}, {6, 0, PLAIN}, {10, 0, PLAIN}, {18, 0, PLAIN},
    /* 0xd9 str 8, 16, 32 */ {2, 1, BYTES}, {3, 2, BYTES}, {5, 4, BYTES},
    /* 0xdc array 16, 32 */ {3, 2, ELEMENTS}, {5, 4, ELEMENTS},
    /* 0xde map 16, 32 */ {3, 2, PAIRS}, {5, 4, PAIRS},
};
/* clang-format on */
_Static_assert(sizeof shapes / sizeof shapes[0] == 0xe0 - 0xc0, "one shape for each first byte from 0xc0 to 0xdf");

/* Bytes of the term at `at` (at < end) without the terms inside it; their number is added to *inside. 0: malformed. */
static size_t skip_flat(const uint8_t *at, const uint8_t *end, uint64_t *inside) {
    uint8_t first = at[0];
    size_t left = (size_t)(end - at);
    if (first < 0x80 || first >= 0xe0) {
        return 1;
    }
    if (first >= 0xa0 && first < 0xc0) {
        size_t len = 1u + (first & 0x1fu);
        return len <= left ? len : 0;
    }
    if (first < 0xa0) {
        *inside += (first & 0x0fu) * (first < 0x90 ? 2u : 1u);
        return 1;
    }
    struct shape shape = shapes[first - 0xc0];
    if (shape.header > left || shape.content == INVALID) {
        return 0;
    }
    uint64_t count = term_load(at + 1, shape.size_bytes);
    if (shape.content == BYTES) {
        return count <= left - shape.header ? (size_t)(shape.header + count) : 0;
    }
    *inside += shape.content == PAIRS ? 2 * count : count;
    return shape.header;
}

bool term_skip_many(const uint8_t *at, const uint8_t *end, uint64_t n, size_t *len) {
    const uint8_t *start = at;
    /* Every term has a byte of its own, so more terms than bytes cannot be: this also keeps n far from overflow. */
    while (n > 0) {
        if (n > (uint64_t)(end - at)) {
            return false;
        }
        size_t step = skip_flat(at, end, &n);
        if (step == 0) {
            return false;
        }
        at += step;
        n--;
    }
    *len = (size_t)(at - start);
    return true;
}

size_t term_skip(const uint8_t *at, const uint8_t *end) {
    size_t len;
    return term_skip_many(at, end, 1, &len) ? len : 0;
}

size_t term_array(const uint8_t *at, const uint8_t *end, uint32_t *n_elements) {
    size_t left = (size_t)(end - at);
    if (left >= 1 && (at[0] & 0xf0) == 0x90) {
        *n_elements = at[0] & 0x0fu;
        return 1;
    }
    if (left >= 3 && at[0] == 0xdc) {
        *n_elements = (uint32_t)term_load(at + 1, 2);
        return 3;
    }
    if (left >= 5 && at[0] == 0xdd) {
        *n_elements = (uint32_t)term_load(at + 1, 4);
        return 5;
    }
    return 0;
}

size_t term_tuple(const uint8_t *at, const uint8_t *end, uint32_t *n_elements) {
    /* fixext 1 to 16, then ext 8, 16, 32 with 1, 2, 4 bytes of length; the type stands last. */
    size_t left = (size_t)(end - at);
    size_t header = left == 0                        ? 0
                    : at[0] >= 0xd4 && at[0] <= 0xd8 ? 2
                    : at[0] >= 0xc7 && at[0] <= 0xc9 ? 2 + (UINT64_C(1) << (at[0] - 0xc7))
                                                     : 0;
    if (header == 0 || left < header || at[header - 1] != TERM_TUPLE)
        return 0;
    size_t array = term_array(at + header, end, n_elements);
    return array != 0 ? header + array : 0;
}

bool term_element(const uint8_t *row, size_t len, uint32_t position, struct term_span *element) {
    uint32_t n_elements;
    const uint8_t *end = row + len;
    size_t header = term_array(row, end, &n_elements);
    size_t before;
    if (header == 0 || position >= n_elements || !term_skip_many(row + header, end, position, &before)) {
        return false;
    }
    element->offset = header + before;
    element->len = term_skip(row + element->offset, end);
    return element->len > 0;
}

bool term_row(const uint8_t *row, size_t len, uint32_t keypos, struct term_span *key, enum tmgr_status *why) {
    uint32_t n_elements;
    const uint8_t *end = row + len, *key_at = row;
    size_t step = term_array(row, end, &n_elements), key_len = 0;
    const uint8_t *at = row + step;
    *why = TMGR_BAD_ROW;
    if (step == 0) {
        return false;
    }
    for (uint32_t i = 0; i < n_elements; i++, at += step) {
        step = term_skip_flat(at, end);
        if (step == 0) {
            return false;
        }
        if (i == keypos) {
            key_at = at;
            key_len = step;
        }
    }
    if (at != end) {
        return false;
    }
    *key = (struct term_span){(size_t)(key_at - row), key_len};
    *why = keypos >= n_elements ? TMGR_SHORT_ROW : TMGR_TOO_LONG;
    return keypos < n_elements && key_len <= TMGR_KEY_MAX;
}

/* -- integers ------------------------------------------------------------------------------------------------------ */

/* An integer as sign and magnitude, big-endian without leading zeros. The magnitude lies in the term it was read
 * from, in `small`, or in a scratch buffer. */
struct number {
    bool is_negative;
    const uint8_t *magnitude;
    size_t len;
    uint8_t small[8];
};

/* The value of an integer term that fits; no big int does, as those that do are not canonical. */
static bool read_int64(const uint8_t *term, int64_t *value) {
    uint8_t first = term[0];
    if (first < 0x80 || first >= 0xe0) {
        *value = (int8_t)first;
        return true;
    }
    if (first >= 0xcc && first <= 0xcf) {
        uint64_t word = term_load(term + 1, (size_t)1 << (first - 0xcc));
        *value = (int64_t)word;
        return word <= INT64_MAX;
    }
    if (first >= 0xd0 && first <= 0xd3) {
        size_t n = (size_t)1 << (first - 0xd0);
        unsigned shift = (unsigned)(64 - 8 * n);
        /* Shifting left and back spreads the sign; both compilers shift signed numbers arithmetically. */
        *value = (int64_t)(term_load(term + 1, n) << shift) >> shift;
        return true;
    }
    return false;
}

static void strip_leading_zeros(struct number *number) {
    while (number->len > 0 && number->magnitude[0] == 0) {
        number->magnitude++;
        number->len--;
    }
    if (number->len == 0) {
        number->is_negative = false;
    }
}

static void number_from_uint64(struct number *number, bool is_negative, uint64_t magnitude) {
    store_big_endian(number->small, magnitude, 8);
    number->is_negative = is_negative;
    number->magnitude = number->small;
    number->len = 8;
    strip_leading_zeros(number);
}

/* Bytes before the payload of an extension term, its type and payload length; 0 if it is another kind of term. */
static size_t read_extension(const uint8_t *term, uint8_t *type, size_t *payload) {
    uint8_t first = term[0];
    if (first >= 0xd4 && first <= 0xd8) {
        *payload = (size_t)1 << (first - 0xd4);
        *type = term[1];
        return 2;
    }
    if (first >= 0xc7 && first <= 0xc9) {
        size_t size_bytes = (size_t)1 << (first - 0xc7);
        *payload = (size_t)term_load(term + 1, size_bytes);
        *type = term[1 + size_bytes];
        return 2 + size_bytes;
    }
    return 0;
}

/* A well-formed term as a number; false if it is no integer. `number` must stay where it is: it may point to itself. */
static bool read_number(const uint8_t *term, struct number *number) {
    int64_t value;
    if (read_int64(term, &value)) {
        number_from_uint64(number, value < 0, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
        return true;
    }
    if (term[0] == 0xcf) {
        number_from_uint64(number, false, term_load(term + 1, 8));
        return true;
    }
    uint8_t type;
    size_t payload;
    size_t header = read_extension(term, &type, &payload);
    if (header == 0 || type != TERM_BIG_INT || payload < 2 || term[header] > 1) {
        return false;
    }
    number->is_negative = term[header] == 1;
    number->magnitude = term + header + 1;
    number->len = payload - 1;
    strip_leading_zeros(number);
    return true;
}

static bool is_integer(const uint8_t *term) {
    int64_t value;
    struct number number;
    return read_int64(term, &value) || read_number(term, &number);
}

static int compare_magnitudes(const struct number *a, const struct number *b) {
    if (a->len != b->len) {
        return a->len < b->len ? -1 : 1;
    }
    return memcmp(a->magnitude, b->magnitude, a->len);
}

static int compare_numbers(const struct number *a, const struct number *b) {
    if (a->is_negative != b->is_negative) {
        return a->is_negative ? -1 : 1;
    }
    return a->is_negative ? compare_magnitudes(b, a) : compare_magnitudes(a, b);
}

/* |large| + |small|, or |large| - |small|, into `digits`, which has room for large->len + 1 bytes. */
static void combine_magnitudes(const struct number *large, const struct number *small, bool add, uint8_t *digits) {
    int carry = 0;
    for (size_t i = 0; i < large->len; i++) {
        int digit = i < small->len ? small->magnitude[small->len - 1 - i] : 0;
        int sum = large->magnitude[large->len - 1 - i] + (add ? digit : -digit) + carry;
        digits[large->len - i] = (uint8_t)(sum & 0xff);
        carry = sum < 0 ? -1 : sum >> 8;
    }
    digits[0] = (uint8_t)carry; /* 0 after a subtraction, as large >= small */
}

/* sum = a + b, its magnitude in `scratch`, which is overwritten and must not hold a or b. */
static bool add_numbers(const struct number *a, const struct number *b, struct tmgr_buffer *scratch,
                        struct number *sum) {
    const struct number *large = compare_magnitudes(a, b) >= 0 ? a : b;
    const struct number *small = large == a ? b : a;
    scratch->len = 0;
    if (!buffer_reserve(scratch, large->len + 1)) {
        return false;
    }
    combine_magnitudes(large, small, a->is_negative == b->is_negative, scratch->data);
    sum->is_negative = large->is_negative;
    sum->magnitude = scratch->data;
    sum->len = large->len + 1;
    strip_leading_zeros(sum);
    return true;
}

size_t term_write_uint64(uint8_t *at, uint64_t value) {
    if (value < 0x80) {
        at[0] = (uint8_t)value;
        return 1;
    }
    unsigned log2_bytes = value <= UINT8_MAX ? 0 : value <= UINT16_MAX ? 1 : value <= UINT32_MAX ? 2 : 3;
    at[0] = (uint8_t)(0xcc + log2_bytes);
    store_big_endian(at + 1, value, (size_t)1 << log2_bytes);
    return 1 + ((size_t)1 << log2_bytes);
}

size_t term_write_int64(uint8_t *at, int64_t value) {
    if (value >= 0) {
        return term_write_uint64(at, (uint64_t)value);
    }
    if (value >= -32) {
        at[0] = (uint8_t)value;
        return 1;
    }
    unsigned log2_bytes = value >= INT8_MIN ? 0 : value >= INT16_MIN ? 1 : value >= INT32_MIN ? 2 : 3;
    at[0] = (uint8_t)(0xd0 + log2_bytes);
    store_big_endian(at + 1, (uint64_t)value, (size_t)1 << log2_bytes);
    return 1 + ((size_t)1 << log2_bytes);
}

size_t term_write_extension(uint8_t *at, uint8_t type, size_t payload) {
    for (unsigned log2 = 0; log2 <= 4; log2++) {
        if (payload == (size_t)1 << log2) {
            at[0] = (uint8_t)(0xd4 + log2);
            at[1] = type;
            return 2;
        }
    }
    unsigned log2_bytes = payload <= UINT8_MAX ? 0 : payload <= UINT16_MAX ? 1 : 2;
    size_t size_bytes = (size_t)1 << log2_bytes;
    at[0] = (uint8_t)(0xc7 + log2_bytes);
    store_big_endian(at + 1, payload, size_bytes);
    at[1 + size_bytes] = type;
    return 2 + size_bytes;
}

/* 0x90, 0xdc, 0xdd for arrays; 0x80, 0xde, 0xdf for maps. */
static size_t write_count(uint8_t *at, uint8_t fix, uint8_t first16, uint32_t n) {
    if (n <= 15) {
        at[0] = (uint8_t)(fix + n);
        return 1;
    }
    size_t size_bytes = n <= UINT16_MAX ? 2 : 4;
    at[0] = (uint8_t)(first16 + (n <= UINT16_MAX ? 0 : 1));
    store_big_endian(at + 1, n, size_bytes);
    return 1 + size_bytes;
}

size_t term_write_array(uint8_t *at, uint32_t n) { return write_count(at, 0x90, 0xdc, n); }

size_t term_write_map(uint8_t *at, uint32_t n) { return write_count(at, 0x80, 0xde, n); }

/* The canonical term of a number, replacing the content of `out`, which must not hold the number. */
static bool write_number(const struct number *number, struct tmgr_buffer *out) {
    out->len = 0;
    if (number->len > UINT32_MAX - 1 || !buffer_reserve(out, number->len + 16)) {
        return false;
    }
    if (number->len <= 8) {
        uint64_t magnitude = term_load(number->magnitude, number->len);
        if (!number->is_negative) {
            out->len = term_write_uint64(out->data, magnitude);
            return true;
        }
        if (magnitude <= (uint64_t)1 << 63) {
            out->len = term_write_int64(out->data, (int64_t)(0 - magnitude));
            return true;
        }
    }
    out->len = term_write_extension(out->data, TERM_BIG_INT, number->len + 1);
    out->data[out->len++] = number->is_negative;
    return buffer_append(out, number->magnitude, number->len);
}

/* -- changing rows ------------------------------------------------------------------------------------------------- */

/* Start a changed row: `out` becomes a copy of `row`. */
static enum tmgr_status copy_row(const uint8_t *row, size_t len, struct tmgr_buffer *out) {
    out->len = 0;
    return buffer_append(out, row, len) ? TMGR_OK : TMGR_NO_MEMORY;
}

enum tmgr_status term_with_key(const uint8_t *row, size_t len, uint32_t keypos, const uint8_t *key, size_t key_len,
                               struct tmgr_buffer *out) {
    struct term_span old_key;
    enum tmgr_status why;
    /* The key that is replaced may be as long as it likes. */
    if (!term_row(row, len, keypos, &old_key, &why) && why != TMGR_TOO_LONG) {
        return why;
    }
    if (copy_row(row, len, out) != TMGR_OK || !buffer_splice(out, old_key.offset, old_key.len, key, key_len)) {
        return TMGR_NO_MEMORY;
    }
    return TMGR_OK;
}

/* The parts of the next update in a list of them: terms that lie in sequence. */
struct update {
    uint32_t n_parts;
    const uint8_t *parts[4]; /* position and what follows it */
    size_t lens[4];
};

/* Read the update at *at and move on; false if it is misshapen, or has other than `few` or `many` parts. */
static bool read_update(const uint8_t **at, const uint8_t *end, uint32_t few, uint32_t many, struct update *update) {
    size_t header = term_array(*at, end, &update->n_parts);
    if (header == 0 || (update->n_parts != few && update->n_parts != many)) {
        return false;
    }
    *at += header;
    for (uint32_t i = 0; i < update->n_parts; i++) {
        update->parts[i] = *at;
        update->lens[i] = term_skip(*at, end);
        if (update->lens[i] == 0) {
            return false;
        }
        *at += update->lens[i];
    }
    return is_integer(update->parts[0]);
}

/* Find the element an update is about. */
static enum tmgr_status find_target(const struct tmgr_buffer *row, uint32_t keypos, const struct update *update,
                                    struct term_span *element) {
    int64_t position;
    if (!read_int64(update->parts[0], &position) || position < 0 || position > UINT32_MAX) {
        return TMGR_BAD_POSITION;
    }
    if (position == keypos) {
        return TMGR_KEY_POSITION;
    }
    return term_element(row->data, row->len, (uint32_t)position, element) ? TMGR_OK : TMGR_BAD_POSITION;
}

/* Begin: check the row, copy it, and open the array of updates. */
static enum tmgr_status begin_updates(const uint8_t *row, size_t len, const uint8_t **at, const uint8_t *end,
                                      uint32_t *n_updates, struct tmgr_buffer *out) {
    uint32_t n_elements;
    size_t header = term_array(*at, end, n_updates);
    *at += header;
    if (header == 0 || term_array(row, row + len, &n_elements) == 0 || term_skip(row, row + len) != len) {
        return TMGR_BAD_ROW;
    }
    return copy_row(row, len, out);
}

enum tmgr_status term_update_element(const uint8_t *row, size_t len, uint32_t keypos, const uint8_t *updates,
                                     size_t updates_len, struct tmgr_buffer *out) {
    const uint8_t *at = updates;
    const uint8_t *end = updates + updates_len;
    uint32_t n_updates;
    enum tmgr_status status = begin_updates(row, len, &at, end, &n_updates, out);
    for (; status == TMGR_OK && n_updates > 0; n_updates--) {
        struct update update;
        struct term_span element;
        if (!read_update(&at, end, 2, 2, &update)) {
            return TMGR_BAD_ROW;
        }
        status = find_target(out, keypos, &update, &element);
        if (status == TMGR_OK && !buffer_splice(out, element.offset, element.len, update.parts[1], update.lens[1])) {
            return TMGR_NO_MEMORY;
        }
    }
    return status == TMGR_OK && at != end ? TMGR_BAD_ROW : status;
}

/* The new value, where everything fits in 64 bits. */
static bool count_small(const uint8_t *element, const struct update *update, uint8_t value[9], size_t *value_len) {
    int64_t old, n, sum, threshold, reset;
    if (!read_int64(element, &old) || !read_int64(update->parts[1], &n) || __builtin_add_overflow(old, n, &sum)) {
        return false;
    }
    if (update->n_parts == 4) {
        if (!read_int64(update->parts[2], &threshold) || !read_int64(update->parts[3], &reset)) {
            return false;
        }
        sum = (n >= 0 ? sum > threshold : sum < threshold) ? reset : sum;
    }
    *value_len = term_write_int64(value, sum);
    return true;
}

/* The new value into `value`, whatever the sizes. */
static enum tmgr_status count_large(const uint8_t *element, const struct update *update, struct tmgr_buffer *value) {
    struct number old, n, sum, threshold, reset;
    struct tmgr_buffer scratch = {0};
    enum tmgr_status status = TMGR_NO_MEMORY;
    if (!read_number(element, &old)) {
        return TMGR_NOT_INTEGER;
    }
    if (!read_number(update->parts[1], &n)) {
        return TMGR_BAD_ROW;
    }
    if (update->n_parts == 4 && !(read_number(update->parts[2], &threshold) && read_number(update->parts[3], &reset))) {
        return TMGR_BAD_ROW;
    }
    if (add_numbers(&old, &n, &scratch, &sum)) {
        int order = update->n_parts == 4 ? compare_numbers(&sum, &threshold) : 0;
        bool is_beyond = n.is_negative ? order < 0 : order > 0;
        status = write_number(is_beyond ? &reset : &sum, value) ? TMGR_OK : TMGR_NO_MEMORY;
    }
    free(scratch.data);
    return status;
}

/* Put the new value into the row and behind the results. */
static bool put_value(struct tmgr_buffer *out, const struct term_span *element, const uint8_t *value, size_t len,
                      struct tmgr_buffer *results) {
    return buffer_splice(out, element->offset, element->len, value, len) &&
           (results == NULL || buffer_append(results, value, len));
}

static enum tmgr_status update_one_counter(const struct update *update, uint32_t keypos, struct tmgr_buffer *out,
                                           struct tmgr_buffer *results) {
    struct term_span element;
    enum tmgr_status status = find_target(out, keypos, update, &element);
    if (status != TMGR_OK) {
        return status;
    }
    uint8_t small[9];
    size_t small_len;
    if (count_small(out->data + element.offset, update, small, &small_len)) {
        return put_value(out, &element, small, small_len, results) ? TMGR_OK : TMGR_NO_MEMORY;
    }
    struct tmgr_buffer value = {0};
    status = count_large(out->data + element.offset, update, &value);
    if (status == TMGR_OK && !put_value(out, &element, value.data, value.len, results)) {
        status = TMGR_NO_MEMORY;
    }
    free(value.data);
    return status;
}

static bool begin_results(struct tmgr_buffer *results, uint32_t n) {
    uint8_t header[TERM_HEADER_MAX];
    results->len = 0;
    return buffer_append(results, header, term_write_array(header, n));
}

enum tmgr_status term_update_counter(const uint8_t *row, size_t len, uint32_t keypos, const uint8_t *updates,
                                     size_t updates_len, struct tmgr_buffer *out, struct tmgr_buffer *results) {
    const uint8_t *at = updates;
    const uint8_t *end = updates + updates_len;
    uint32_t n_updates;
    enum tmgr_status status = begin_updates(row, len, &at, end, &n_updates, out);
    if (status == TMGR_OK && results != NULL && !begin_results(results, n_updates)) {
        return TMGR_NO_MEMORY;
    }
    for (; status == TMGR_OK && n_updates > 0; n_updates--) {
        struct update update;
        if (!read_update(&at, end, 2, 4, &update)) {
            return TMGR_BAD_ROW;
        }
        status = update_one_counter(&update, keypos, out, results);
    }
    return status == TMGR_OK && at != end ? TMGR_BAD_ROW : status;
}
