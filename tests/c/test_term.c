/* SPDX-License-Identifier: Apache-2.0 */
/* test_term.c - msgpack rows: walking, keys, updates, counters of any size, and mutated bytes.
 * Usage: test_term [seed [rounds]]; the seed is printed. Meant for ASan and UBSan: every argument is passed in a heap
 * block of exactly its length. */
#include "term.h"

#include <inttypes.h>
#include <stdlib.h>

#include "check.h"

#define BYTES(...) ((const uint8_t[]){__VA_ARGS__}), sizeof((const uint8_t[]){__VA_ARGS__})

/* -- helpers ------------------------------------------------------------------------------------------------------- */

static uint64_t random_state;

static uint64_t random_next(void) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545f4914f6cdd1dULL;
}

static size_t random_below(size_t bound) { return (size_t)((random_next() >> 11) % bound); }

static uint8_t *exact_copy(const uint8_t *bytes, size_t len) {
    uint8_t *copy = malloc(len);
    if (len > 0) {
        memcpy(copy, bytes, len);
    }
    return copy;
}

static bool holds(const struct tmgr_buffer *buffer, const uint8_t *bytes, size_t len) {
    return buffer->len == len && memcmp(buffer->data, bytes, len) == 0;
}

static size_t put_array_header(struct tmgr_buffer *out, uint32_t n) {
    uint8_t header[] = {0xdd, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    return n < 16 ? buffer_append(out, (uint8_t[]){(uint8_t)(0x90 + n)}, 1) : buffer_append(out, header, 5);
}

/* The canonical term of a 128-bit integer, written independently of term.c. */
static void put_integer(struct tmgr_buffer *out, __int128 value) {
    static const struct {
        __int128 least, most;
        uint8_t first;
        unsigned bytes;
    } forms[] = {{0, 0xff, 0xcc, 1},     {0, 0xffff, 0xcd, 2},    {0, 0xffffffff, 0xce, 4}, {0, UINT64_MAX, 0xcf, 8},
                 {INT8_MIN, 0, 0xd0, 1}, {INT16_MIN, 0, 0xd1, 2}, {INT32_MIN, 0, 0xd2, 4},  {INT64_MIN, 0, 0xd3, 8}};
    uint8_t text[20];
    if (value >= -32 && value < 128) {
        text[0] = (uint8_t)value;
        buffer_append(out, text, 1);
        return;
    }
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (value >= forms[i].least && value <= forms[i].most) {
            text[0] = forms[i].first;
            for (unsigned k = 0; k < forms[i].bytes; k++) {
                text[1 + k] = (uint8_t)((unsigned __int128)value >> (8 * (forms[i].bytes - 1 - k)));
            }
            buffer_append(out, text, 1 + forms[i].bytes);
            return;
        }
    }
    unsigned __int128 magnitude = value < 0 ? -(unsigned __int128)value : (unsigned __int128)value;
    unsigned len = 16;
    while ((uint8_t)(magnitude >> (8 * (len - 1))) == 0) {
        len--;
    }
    uint8_t sign = value < 0;
    if (len + 1 == 16) {
        buffer_append(out, (uint8_t[]){0xd8, TERM_BIG_INT, sign}, 3);
    } else {
        buffer_append(out, (uint8_t[]){0xc7, (uint8_t)(len + 1), TERM_BIG_INT, sign}, 4);
    }
    for (unsigned k = len; k > 0; k--) {
        buffer_append(out, (uint8_t[]){(uint8_t)(magnitude >> (8 * (k - 1)))}, 1);
    }
}

/* update_counter on the row ["k", element] with one update of n_parts integers after the position. */
static enum tmgr_status count(const __int128 *element, const __int128 *parts, uint32_t n_parts, __int128 expected) {
    struct tmgr_buffer row = {0}, updates = {0}, out = {0}, results = {0}, wanted = {0}, wanted_results = {0};
    buffer_append(&row, BYTES(0x92, 0xa1, 'k'));
    put_integer(&row, *element);
    put_array_header(&updates, 1);
    put_array_header(&updates, n_parts + 1);
    put_integer(&updates, 1);
    for (uint32_t i = 0; i < n_parts; i++) {
        put_integer(&updates, parts[i]);
    }
    enum tmgr_status status = term_update_counter(row.data, row.len, 0, updates.data, updates.len, &out, &results);
    if (status == TMGR_OK) {
        buffer_append(&wanted, BYTES(0x92, 0xa1, 'k'));
        put_integer(&wanted, expected);
        put_array_header(&wanted_results, 1);
        put_integer(&wanted_results, expected);
        CHECK(holds(&out, wanted.data, wanted.len));
        CHECK(holds(&results, wanted_results.data, wanted_results.len));
    }
    free(row.data), free(updates.data), free(out.data), free(results.data), free(wanted.data),
        free(wanted_results.data);
    return status;
}

/* -- walking ------------------------------------------------------------------------------------------------------- */

static size_t skip_exact(const uint8_t *bytes, size_t len) {
    uint8_t *copy = exact_copy(bytes, len);
    size_t result = term_skip(copy, copy + len);
    free(copy);
    return result;
}

/* A term of each form is skipped whole, and refused when one byte short. */
static void test_every_form_is_skipped_whole_and_refused_truncated(void) {
    static const struct {
        uint8_t header[6];
        uint8_t header_len;
        uint32_t body;
    } forms[] = {
        {{0x00}, 1, 0},
        {{0x7f}, 1, 0},
        {{0xe0}, 1, 0},
        {{0xff}, 1, 0},
        {{0xc0}, 1, 0},
        {{0xc2}, 1, 0},
        {{0xc3}, 1, 0},
        {{0xc4, 3}, 2, 3},
        {{0xc5, 1, 0}, 3, 256},
        {{0xc6, 0, 1, 0, 0}, 5, 65536},
        {{0xc7, 3, 9}, 3, 3},
        {{0xc8, 1, 0, 9}, 4, 256},
        {{0xc9, 0, 1, 0, 0, 9}, 6, 65536},
        {{0xca}, 1, 4},
        {{0xcb}, 1, 8},
        {{0xcc}, 1, 1},
        {{0xcd}, 1, 2},
        {{0xce}, 1, 4},
        {{0xcf}, 1, 8},
        {{0xd0}, 1, 1},
        {{0xd1}, 1, 2},
        {{0xd2}, 1, 4},
        {{0xd3}, 1, 8},
        {{0xd4}, 1, 2},
        {{0xd5}, 1, 3},
        {{0xd6}, 1, 5},
        {{0xd7}, 1, 9},
        {{0xd8}, 1, 17},
        {{0xd9, 3}, 2, 3},
        {{0xda, 1, 0}, 3, 256},
        {{0xdb, 0, 1, 0, 0}, 5, 65536},
        {{0xdc, 0, 3}, 3, 3},
        {{0xdd, 0, 0, 0, 3}, 5, 3},
        {{0xde, 0, 3}, 3, 6},
        {{0xdf, 0, 0, 0, 3}, 5, 6},
        {{0x93}, 1, 3},
        {{0x83}, 1, 6},
        {{0xa3}, 1, 3},
        {{0xbf}, 1, 31},
        {{0x90}, 1, 0},
        {{0x80}, 1, 0},
        {{0xa0}, 1, 0},
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        size_t len = forms[i].header_len + forms[i].body;
        uint8_t *bytes = calloc(len + 1, 1); /* a body of zeros: bytes, or terms that are 0 */
        memcpy(bytes, forms[i].header, forms[i].header_len);
        CHECK(skip_exact(bytes, len) == len);
        CHECK(skip_exact(bytes, len + 1) == len);
        CHECK(skip_exact(bytes, len - 1) == 0);
        free(bytes);
    }
    CHECK(skip_exact(BYTES(0xc1)) == 0);
    CHECK(skip_exact(BYTES(0x92, 0x01, 0xc1)) == 0);
}

/* Counts that promise more than there is do not overflow, and nesting costs no stack. */
static void test_huge_counts_and_deep_nesting_are_bounded(void) {
    CHECK(skip_exact(BYTES(0xdd, 0xff, 0xff, 0xff, 0xff, 0xdd, 0xff, 0xff, 0xff, 0xff)) == 0);
    CHECK(skip_exact(BYTES(0xdf, 0xff, 0xff, 0xff, 0xff, 0xdf, 0xff, 0xff, 0xff, 0xff)) == 0);
    CHECK(skip_exact(BYTES(0xc6, 0xff, 0xff, 0xff, 0xff)) == 0);
    CHECK(skip_exact(BYTES(0xc9, 0xff, 0xff, 0xff, 0xff, 0x01)) == 0);
    size_t depth = 1000000;
    uint8_t *nest = malloc(depth + 1);
    memset(nest, 0x91, depth);
    nest[depth] = 0xc0;
    CHECK(skip_exact(nest, depth + 1) == depth + 1);
    CHECK(skip_exact(nest, depth) == 0);
    free(nest);
}

/* -- rows and keys --------------------------------------------------------------------------------------------------- */

static void test_a_row_is_one_array_that_fills_its_length(void) {
    struct term_span key;
    enum tmgr_status why;
    CHECK(term_row(BYTES(0x92, 0xa1, 'k', 0x05), 0, &key, &why) && key.offset == 1 && key.len == 2);
    CHECK(term_row(BYTES(0x92, 0xa1, 'k', 0x05), 1, &key, &why) && key.offset == 3 && key.len == 1);
    CHECK(term_row(BYTES(0xdc, 0, 2, 0xa1, 'k', 0x05), 1, &key, &why) && key.offset == 5 && key.len == 1);
    CHECK(!term_row(BYTES(0x92, 0xa1, 'k', 0x05), 2, &key, &why) && why == TMGR_SHORT_ROW);
    CHECK(!term_row(BYTES(0x90), 0, &key, &why) && why == TMGR_SHORT_ROW);
    CHECK(!term_row(BYTES(0x92, 0xa1, 'k', 0x05, 0x06), 0, &key, &why) && why == TMGR_BAD_ROW);
    CHECK(!term_row(BYTES(0x92, 0xa1, 'k'), 0, &key, &why) && why == TMGR_BAD_ROW);
    CHECK(!term_row(BYTES(0x81, 0xa1, 'k', 0x05), 0, &key, &why) && why == TMGR_BAD_ROW);
    CHECK(!term_row(BYTES(0xa1, 'k'), 0, &key, &why) && why == TMGR_BAD_ROW);
    CHECK(!term_row((const uint8_t *)"", 0, 0, &key, &why) && why == TMGR_BAD_ROW);
}

static void test_a_key_may_have_64_kib_and_no_more(void) {
    size_t len = 1 + 5 + TMGR_KEY_MAX;
    uint8_t *row = calloc(len, 1);
    struct term_span key;
    enum tmgr_status why;
    uint32_t payload = TMGR_KEY_MAX - 5;
    memcpy(row, (uint8_t[]){0x91, 0xdb, 0, (uint8_t)(payload >> 16), (uint8_t)(payload >> 8), (uint8_t)payload}, 6);
    CHECK(term_row(row, 1 + TMGR_KEY_MAX, 0, &key, &why) && key.len == TMGR_KEY_MAX);
    payload++;
    memcpy(row, (uint8_t[]){0x91, 0xdb, 0, (uint8_t)(payload >> 16), (uint8_t)(payload >> 8), (uint8_t)payload}, 6);
    CHECK(!term_row(row, 2 + TMGR_KEY_MAX, 0, &key, &why) && why == TMGR_TOO_LONG);
    free(row);
}

static void test_the_key_of_a_stored_row_is_found_and_compared(void) {
    struct term_span key;
    CHECK(term_key_of(BYTES(0x92, 0xa1, 'k', 0x05), 0, &key) && key.offset == 1 && key.len == 2);
    CHECK(term_key_of(BYTES(0x92, 0xcd, 1, 0, 0x05), 0, &key) && key.offset == 1 && key.len == 3);
    CHECK(term_key_of(BYTES(0x92, 0xa1, 'k', 0x05), 1, &key) && key.offset == 3 && key.len == 1);
    CHECK(!term_key_of(BYTES(0x92, 0xa2, 'k'), 0, &key));
    CHECK(!term_key_of(BYTES(0x92, 0xa1, 'k', 0x05), 2, &key));
    CHECK(!term_key_of(BYTES(0x92), 0, &key));
    CHECK(term_key_is(BYTES(0x92, 0xa1, 'k', 0x05), 0, BYTES(0xa1, 'k')));
    CHECK(!term_key_is(BYTES(0x92, 0xa1, 'k', 0x05), 0, BYTES(0xa1, 'j')));
    CHECK(!term_key_is(BYTES(0x92, 0xa1, 'k'), 0, BYTES(0xa2, 'k', 'k')));
    CHECK(term_key_is(BYTES(0x92, 0xa1, 'k', 0x05), 1, BYTES(0x05)));
    CHECK(!term_key_is(BYTES(0x92, 0xa1, 'k', 0x05), 1, BYTES(0x06)));
    CHECK(term_key_is(BYTES(0xdc, 0, 1, 0xa1, 'k'), 0, BYTES(0xa1, 'k')));
}

static void test_a_default_row_gets_the_key_of_the_call(void) {
    struct tmgr_buffer out = {0};
    CHECK(term_with_key(BYTES(0x92, 0xc0, 0x05), 0, BYTES(0xa3, 'a', 'b', 'c'), &out) == TMGR_OK);
    CHECK(holds(&out, BYTES(0x92, 0xa3, 'a', 'b', 'c', 0x05)));
    CHECK(term_with_key(BYTES(0x92, 0x05, 0xa3, 'a', 'b', 'c'), 1, BYTES(0x07), &out) == TMGR_OK);
    CHECK(holds(&out, BYTES(0x92, 0x05, 0x07)));
    CHECK(term_with_key(BYTES(0x91, 0x05), 1, BYTES(0x07), &out) == TMGR_SHORT_ROW);
    CHECK(term_with_key(BYTES(0x92, 0x05), 1, BYTES(0x07), &out) == TMGR_BAD_ROW);
    free(out.data);
}

/* -- updates ------------------------------------------------------------------------------------------------------- */

static void test_elements_are_replaced_and_the_last_update_wins(void) {
    struct tmgr_buffer out = {0};
    const uint8_t row[] = {0x93, 0xa1, 'k', 0x01, 0x02};
#define UPDATE(...) term_update_element(row, sizeof row, 0, BYTES(__VA_ARGS__), &out)
    CHECK(UPDATE(0x91, 0x92, 0x01, 0xa2, 'x', 'y') == TMGR_OK);
    CHECK(holds(&out, BYTES(0x93, 0xa1, 'k', 0xa2, 'x', 'y', 0x02)));
    CHECK(UPDATE(0x93, 0x92, 0x01, 0xa2, 'x', 'y', 0x92, 0x02, 0x09, 0x92, 0x01, 0xc0) == TMGR_OK);
    CHECK(holds(&out, BYTES(0x93, 0xa1, 'k', 0xc0, 0x09)));
    CHECK(UPDATE(0x90) == TMGR_OK);
    CHECK(holds(&out, row, sizeof row));
    CHECK(UPDATE(0x91, 0x92, 0x00, 0xc0) == TMGR_KEY_POSITION);
    CHECK(UPDATE(0x91, 0x92, 0x03, 0xc0) == TMGR_BAD_POSITION);
    CHECK(UPDATE(0x91, 0x92, 0xff, 0xc0) == TMGR_BAD_POSITION);
    CHECK(UPDATE(0x91, 0x92, 0xcf, 0, 0, 0, 1, 0, 0, 0, 1, 0xc0) == TMGR_BAD_POSITION);
    CHECK(UPDATE(0x91, 0x92, 0xc7, 10, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xc0) == TMGR_BAD_POSITION);
    CHECK(UPDATE(0x91, 0x92, 0xc3, 0xc0) == TMGR_BAD_ROW);
    CHECK(UPDATE(0x91, 0x93, 0x01, 0xc0, 0xc0) == TMGR_BAD_ROW);
    CHECK(UPDATE(0x91, 0x91, 0x01) == TMGR_BAD_ROW);
    CHECK(UPDATE(0x92, 0x92, 0x01, 0xc0) == TMGR_BAD_ROW);
    CHECK(UPDATE(0x91, 0x92, 0x01, 0xc0, 0xc0) == TMGR_BAD_ROW);
    CHECK(UPDATE(0xc0) == TMGR_BAD_ROW);
    CHECK(term_update_element(row, sizeof row - 1, 0, BYTES(0x90), &out) == TMGR_BAD_ROW);
#undef UPDATE
    free(out.data);
}

static void test_counters_add_reset_and_see_earlier_results(void) {
    struct tmgr_buffer out = {0}, results = {0};
    const uint8_t row[] = {0x94, 0xa1, 'k', 0x01, 0x02, 0xa1, 'z'};
#define UPDATE(...) term_update_counter(row, sizeof row, 0, BYTES(__VA_ARGS__), &out, &results)
    CHECK(UPDATE(0x91, 0x92, 0x01, 0x05) == TMGR_OK);
    CHECK(holds(&out, BYTES(0x94, 0xa1, 'k', 0x06, 0x02, 0xa1, 'z')) && holds(&results, BYTES(0x91, 0x06)));
    CHECK(UPDATE(0x93, 0x92, 0x01, 0x7f, 0x92, 0x02, 0xff, 0x92, 0x01, 0x7f) == TMGR_OK);
    CHECK(holds(&out, BYTES(0x94, 0xa1, 'k', 0xcc, 0xff, 0x01, 0xa1, 'z')));
    CHECK(holds(&results, BYTES(0x93, 0xcc, 0x80, 0x01, 0xcc, 0xff)));
    CHECK(UPDATE(0x90) == TMGR_OK && holds(&out, row, sizeof row) && holds(&results, BYTES(0x90)));
    CHECK(UPDATE(0x91, 0x92, 0x03, 0x01) == TMGR_NOT_INTEGER);
    CHECK(UPDATE(0x91, 0x92, 0x00, 0x01) == TMGR_KEY_POSITION);
    CHECK(UPDATE(0x91, 0x92, 0x04, 0x01) == TMGR_BAD_POSITION);
    CHECK(UPDATE(0x91, 0x92, 0xff, 0x01) == TMGR_BAD_POSITION);
    CHECK(UPDATE(0x91, 0x92, 0x01, 0xc3) == TMGR_BAD_ROW);
    CHECK(UPDATE(0x91, 0x93, 0x01, 0x01, 0x01) == TMGR_BAD_ROW);
    CHECK(UPDATE(0x91, 0x94, 0x01, 0x01, 0x01, 0xc0) == TMGR_BAD_ROW);
    CHECK(UPDATE(0x92, 0x92, 0x01, 0x01, 0x92, 0x03, 0x01) == TMGR_NOT_INTEGER);
    CHECK(term_update_counter(row, sizeof row, 0, BYTES(0x91, 0x92, 0x01, 0x05), &out, NULL) == TMGR_OK);
#undef UPDATE
    free(out.data), free(results.data);
}

static void test_booleans_and_floats_are_no_counters(void) {
    struct tmgr_buffer out = {0};
    const uint8_t one[] = {0x91, 0x92, 0x01, 0x01};
    CHECK(term_update_counter(BYTES(0x92, 0x00, 0xc3), 0, one, sizeof one, &out, NULL) == TMGR_NOT_INTEGER);
    CHECK(term_update_counter(BYTES(0x92, 0x00, 0xc0), 0, one, sizeof one, &out, NULL) == TMGR_NOT_INTEGER);
    CHECK(term_update_counter(BYTES(0x92, 0x00, 0xca, 0, 0, 0, 0), 0, one, sizeof one, &out, NULL) == TMGR_NOT_INTEGER);
    CHECK(term_update_counter(BYTES(0x92, 0x00, 0xd5, 1, 0, 0), 0, one, sizeof one, &out, NULL) == TMGR_NOT_INTEGER);
    CHECK(term_update_counter(BYTES(0x92, 0x00, 0xd5, 2, 2, 7), 0, one, sizeof one, &out, NULL) == TMGR_NOT_INTEGER);
    CHECK(term_update_counter(BYTES(0x92, 0x00, 0xd4, 2, 0), 0, one, sizeof one, &out, NULL) == TMGR_NOT_INTEGER);
    free(out.data);
}

/* Erlang's rule: beyond the threshold resets, equality does not, and 0 counts as upwards. */
static void test_thresholds_reset_beyond_and_not_at(void) {
    static const __int128 cases[][5] = {
        /* element, n, threshold, reset, expected */
        {5, 5, 10, 0, 10},
        {5, 6, 10, 0, 0},
        {5, 0, 4, 1, 1},
        {5, 0, 5, 1, 5},
        {5, -5, 0, 9, 0},
        {5, -6, 0, 9, 9},
        {5, -1, 10, 7, 7},
        {5, 1, -3, 7, 7},
        {5, 1, (__int128)1 << 70, 7, 6},
        {5, 1, -((__int128)1 << 70), (__int128)1 << 80, (__int128)1 << 80},
        {(__int128)1 << 64, 1, INT64_MAX, -1, -1},
        {-((__int128)1 << 64), -1, INT64_MIN, 3, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK(count(&cases[i][0], &cases[i][1], 3, cases[i][4]) == TMGR_OK);
    }
}

static void test_sums_are_exact_and_canonical_at_every_size(void) {
    static const __int128 edges[] = {0,
                                     1,
                                     31,
                                     32,
                                     33,
                                     127,
                                     128,
                                     255,
                                     256,
                                     65535,
                                     65536,
                                     INT32_MAX,
                                     UINT32_MAX,
                                     INT64_MAX,
                                     UINT64_MAX,
                                     (__int128)UINT64_MAX + 1,
                                     (__int128)1 << 100,
                                     (__int128)1 << 119};
    size_t n = sizeof edges / sizeof edges[0];
    for (size_t i = 0; i < n * n * 4; i++) {
        __int128 a = i & 1 ? -edges[i / 4 % n] : edges[i / 4 % n];
        __int128 b = i & 2 ? -edges[i / 4 / n] : edges[i / 4 / n];
        for (__int128 near = -1; near <= 1; near++) {
            __int128 sum = a + b + near;
            __int128 addend = b + near;
            CHECK(count(&a, &addend, 1, sum) == TMGR_OK);
        }
    }
    for (int i = 0; i < 20000; i++) {
        __int128 a = (__int128)((unsigned __int128)random_next() << 64 | random_next()) >> (2 + random_below(125));
        __int128 b = (__int128)((unsigned __int128)random_next() << 64 | random_next()) >> (2 + random_below(125));
        CHECK(count(&a, &b, 1, a + b) == TMGR_OK);
    }
}

/* Numbers of thousands of bytes: adding b and taking it away again gives the same bytes. */
static void test_huge_integers_add_and_subtract(void) {
    struct tmgr_buffer row = {0}, up = {0}, down = {0}, out = {0}, back = {0};
    for (int round = 0; round < 200; round++) {
        size_t a_len = 9 + random_below(3000), b_len = 9 + random_below(3000);
        uint8_t header[] = {0x92, 0x00, 0xc8, (uint8_t)((a_len + 1) >> 8), (uint8_t)(a_len + 1), 2, 0};
        uint8_t plus[] = {0x91, 0x92, 0x01, 0xc8, (uint8_t)((b_len + 1) >> 8), (uint8_t)(b_len + 1), 2, 0};
        row.len = up.len = down.len = 0;
        if (a_len + 1 <= 255) { /* the smallest form, so that the bytes can come back equal */
            buffer_append(&row,
                          a_len == 15 ? (uint8_t[]){0x92, 0x00, 0xd8, 2, 0}
                                      : (uint8_t[]){0x92, 0x00, 0xc7, (uint8_t)(a_len + 1), 2, 0},
                          a_len == 15 ? 5 : 6);
        } else {
            buffer_append(&row, header, sizeof header);
        }
        buffer_append(&up, plus, sizeof plus);
        plus[sizeof plus - 1] = 1;
        buffer_append(&down, plus, sizeof plus);
        for (size_t i = 0; i < (a_len > b_len ? a_len : b_len); i++) {
            uint8_t byte = i == 0 ? 1 : (uint8_t)(random_below(3) == 0 ? 0xff : random_next());
            if (i < a_len) {
                buffer_append(&row, &byte, 1);
            }
            if (i < b_len) {
                buffer_append(&up, &byte, 1);
                buffer_append(&down, &byte, 1);
            }
        }
        CHECK(term_update_counter(row.data, row.len, 0, up.data, up.len, &out, NULL) == TMGR_OK);
        CHECK(term_update_counter(out.data, out.len, 0, down.data, down.len, &back, NULL) == TMGR_OK);
        CHECK(holds(&back, row.data, row.len));
    }
    free(row.data), free(up.data), free(down.data), free(out.data), free(back.data);
}

/* -- damaged bytes --------------------------------------------------------------------------------------------------- */

/* A random term, nested up to `depth`. */
static void put_random_term(struct tmgr_buffer *out, int depth) {
    size_t kind = random_below(depth > 0 ? 9 : 6);
    size_t n = random_below(5);
    if (kind == 0) {
        buffer_append(out, (uint8_t[]){(uint8_t)(0xc2 + random_below(2))}, 1);
    } else if (kind == 1) {
        buffer_append(out, (uint8_t[]){0xcb, 1, 2, 3, 4, 5, 6, 7, 8}, 9);
    } else if (kind == 2) {
        buffer_append(out, (uint8_t[]){(uint8_t)(0xa0 + n), 'a', 'b', 'c', 'd', 'e'}, 1 + n);
    } else if (kind == 3) {
        buffer_append(out, (uint8_t[]){0xc7, (uint8_t)n, (uint8_t)random_below(13), 0, 1, 2, 3, 4}, 3 + n);
    } else if (kind <= 5) {
        put_integer(out, (__int128)((unsigned __int128)random_next() << 64 | random_next()) >> (2 + random_below(125)));
    } else {
        put_array_header(out, (uint32_t)n);
        for (size_t i = 0; i < n; i++) {
            put_random_term(out, depth - 1);
        }
    }
}

static void mutate(struct tmgr_buffer *buffer) {
    for (size_t n = random_below(4); n > 0 && buffer->len > 0; n--) {
        size_t at = random_below(buffer->len);
        switch (random_below(4)) {
        case 0:
            buffer->data[at] = (uint8_t)random_next();
            break;
        case 1:
            buffer->data[at] ^= (uint8_t)(1u << random_below(8));
            break;
        case 2:
            buffer->len = at;
            break;
        default:
            buffer->data[at] = (uint8_t)(0xc0 + random_below(0x20));
        }
    }
}

/* Whatever the bytes: no read outside them (the sanitizer sees to that), and what is accepted stays a row. */
static void fuzz_once(struct tmgr_buffer *row, struct tmgr_buffer *updates, struct tmgr_buffer *out) {
    uint32_t keypos = (uint32_t)random_below(3);
    struct tmgr_buffer results = {0};
    struct term_span key;
    enum tmgr_status why;
    uint8_t *r = exact_copy(row->data, row->len);
    uint8_t *u = exact_copy(updates->data, updates->len);
    size_t row_len = row->len;
    CHECK(term_skip(r, r + row_len) <= row_len);
    bool is_row = term_row(r, row_len, keypos, &key, &why);
    CHECK(!is_row || (key.len > 0 && key.offset + key.len <= row_len));
    if (term_key_of(r, row_len, keypos, &key)) {
        CHECK(key.offset + key.len <= row_len);
        CHECK(term_key_is(r, row_len, keypos, r + key.offset, key.len));
    }
    if (term_update_element(r, row_len, keypos, u, updates->len, out) == TMGR_OK) {
        CHECK(term_skip(out->data, out->data + out->len) == out->len);
    }
    if (term_update_counter(r, row_len, keypos, u, updates->len, out, &results) == TMGR_OK) {
        CHECK(term_skip(out->data, out->data + out->len) == out->len);
        CHECK(term_skip(results.data, results.data + results.len) == results.len);
    }
    if (term_with_key(r, row_len, keypos, u, updates->len, out) == TMGR_OK) {
        CHECK(out->len > updates->len);
    }
    free(r), free(u), free(results.data);
}

static void test_damaged_bytes_are_refused_without_harm(unsigned long rounds) {
    struct tmgr_buffer row = {0}, updates = {0}, out = {0};
    for (unsigned long i = 0; i < rounds; i++) {
        size_t n_elements = 1 + random_below(5), n_updates = random_below(4);
        row.len = updates.len = 0;
        put_array_header(&row, (uint32_t)n_elements);
        for (size_t k = 0; k < n_elements; k++) {
            put_random_term(&row, 3);
        }
        put_array_header(&updates, (uint32_t)n_updates);
        for (size_t k = 0; k < n_updates; k++) {
            bool has_threshold = random_below(3) == 0;
            put_array_header(&updates, has_threshold ? 4 : 2);
            put_integer(&updates, (__int128)random_below(n_elements + 1));
            for (int part = has_threshold ? 3 : 1; part > 0; part--) {
                random_below(4) == 0 ? put_random_term(&updates, 2) : put_integer(&updates, (__int128)random_next());
            }
        }
        mutate(&row);
        mutate(&updates);
        fuzz_once(&row, &updates, &out);
    }
    free(row.data), free(updates.data), free(out.data);
}

int main(int argc, char **argv) {
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    unsigned long rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 200000;
    random_state = seed * 0x9e3779b97f4a7c15ULL | 1;
    printf("test_term: seed %" PRIu64 ", %lu rounds of damaged bytes\n", seed, rounds);
    test_every_form_is_skipped_whole_and_refused_truncated();
    test_huge_counts_and_deep_nesting_are_bounded();
    test_a_row_is_one_array_that_fills_its_length();
    test_a_key_may_have_64_kib_and_no_more();
    test_the_key_of_a_stored_row_is_found_and_compared();
    test_a_default_row_gets_the_key_of_the_call();
    test_elements_are_replaced_and_the_last_update_wins();
    test_counters_add_reset_and_see_earlier_results();
    test_booleans_and_floats_are_no_counters();
    test_thresholds_reset_beyond_and_not_at();
    test_sums_are_exact_and_canonical_at_every_size();
    test_huge_integers_add_and_subtract();
    test_damaged_bytes_are_refused_without_harm(rounds);
    return check_summary();
}
