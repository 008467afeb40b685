/* SPDX-License-Identifier: Apache-2.0 */
/* test_sortkey.c - sort keys: of random keys they fit into sortkey_bound, are self-delimiting and in the order of order.h;
 * damaged keys do no harm.
 * Usage: test_sortkey [seed [rounds]]; the seed is printed. Meant for ASan and UBSan: every argument is passed in a heap
 * block of exactly its length. tests/unit/test_sortkey.py holds the order against Python's. */
#include "sortkey.h"

#include <inttypes.h>
#include <stdlib.h>

#include "check.h"
#include "order.h"
#include "term.h"

static uint64_t random_state;

static uint64_t random_next(void) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545f4914f6cdd1dULL;
}

static size_t random_below(size_t bound) { return (size_t)((random_next() >> 11) % bound); }

static void put_byte(struct tmgr_buffer *out, size_t byte) { buffer_append(out, (uint8_t[]){(uint8_t)byte}, 1); }

static void put_random_bytes(struct tmgr_buffer *out, size_t n) {
    bool is_low = random_below(2) == 0;
    while (n-- > 0) {
        put_byte(out, is_low ? random_below(3) : random_next());
    }
}

static void put_random_key(struct tmgr_buffer *out, unsigned depth);

static void put_extension(struct tmgr_buffer *out, uint8_t type, const void *payload, size_t n) {
    uint8_t header[] = {0xc8, (uint8_t)(n >> 8), (uint8_t)n, type};
    buffer_append(out, header, sizeof header);
    buffer_append(out, payload, n);
}

static void put_tuple(struct tmgr_buffer *out, unsigned depth) {
    struct tmgr_buffer inside = {0};
    size_t n = random_below(4);
    put_byte(&inside, 0x90 + n);
    while (n-- > 0) {
        put_random_key(&inside, depth - 1);
    }
    if (inside.len <= UINT16_MAX) {
        put_extension(out, TERM_TUPLE, inside.data, inside.len);
    }
    free(inside.data);
}

/* A Decimal, a date or time, a UUID, an int of any size; most are well formed. */
static void put_random_extension(struct tmgr_buffer *out) {
    static const char *const decimals[] = {"0",    "-0.00",    "12.34", "-1E+17", "1E-999999999", "9.999E+999", "sNaN1",
                                           "-NaN", "Infinity", "1E+99", ".",      "0.00012300"};
    uint8_t payload[40];
    const char *text = decimals[random_below(sizeof decimals / sizeof decimals[0])];
    for (size_t i = 0; i < sizeof payload; i++) {
        payload[i] = (uint8_t)(random_below(2) == 0 ? random_next() : 0);
    }
    payload[0] = 0;
    size_t big_int = 2 + random_below(30);
    switch (random_below(7)) {
    case 0:
        put_extension(out, TERM_DECIMAL, text, strlen(text));
        break;
    case 1:
        put_extension(out, TERM_BIG_INT, payload, big_int);
        break;
    case 2:
        put_extension(out, TERM_UUID, payload, 16);
        break;
    case 3:
        put_extension(out, TERM_DATE, payload, 4);
        break;
    case 4:
        memset(payload + 4, 0, 3);
        memset(payload + 12, (uint8_t)random_below(2), 1);
        memset(payload + 13, random_below(2) == 0 ? 0 : 0xff, 4);
        put_extension(out, TERM_DATETIME, payload, random_below(2) == 0 ? 13 : 21);
        break;
    case 5:
        memset(payload, 0, 3);
        payload[8] = (uint8_t)random_below(2);
        put_extension(out, TERM_TIME, payload, 9);
        break;
    default:
        memset(payload + 4, 0, 2);
        memset(payload + 8, 0, 2);
        put_extension(out, TERM_TIMEDELTA, payload, 12);
    }
}

static void put_random_key(struct tmgr_buffer *out, unsigned depth) {
    size_t n = random_below(40);
    switch (random_below(depth > 0 ? 9 : 8)) {
    case 0:
        put_byte(out, n % 2 == 0 ? random_below(0x80) : 0xe0 + random_below(0x20));
        break;
    case 1:
        put_byte(out, 0xca + (n %= 10));
        put_random_bytes(out, n < 2 ? (size_t)4 << n : (size_t)1 << ((n - 2) % 4));
        break;
    case 2:
        put_byte(out, 0xc0 + n % 4);
        break;
    case 3:
        put_byte(out, 0xc4);
        put_byte(out, n);
        put_random_bytes(out, n);
        break;
    case 4:
    case 5:
        put_byte(out, 0xa0 + n % 32);
        put_random_bytes(out, n % 32);
        break;
    case 6:
    case 7:
        put_random_extension(out);
        break;
    default:
        put_tuple(out, depth);
    }
}

/* The sort key in a block of its own, of exactly the room that is asked for; *n is its length, 0 if there is none. */
static uint8_t *make_exact(const uint8_t *key, size_t len, size_t *n) {
    uint8_t *copy = malloc(len);
    uint8_t *out = malloc(sortkey_bound(len));
    memcpy(copy, key, len);
    CHECK(sortkey_make(copy, len, out, sortkey_bound(len) - 1) == 0);
    *n = sortkey_make(copy, len, out, sortkey_bound(len));
    /* The prefix form takes a term more or less as it takes terms. */
    uint8_t *prefix = malloc(sortkey_bound(len));
    size_t prefix_len = sortkey_tuple_prefix(copy, len, 1, prefix, sortkey_bound(len));
    CHECK(prefix_len == (*n == 0 ? 0 : *n + 1));
    CHECK(*n == 0 || memcmp(out, prefix + 1, *n) == 0);
    free(prefix);
    free(copy);
    return out;
}

static int sign_of(int order) { return (order > 0) - (order < 0); }

static void mutate(struct tmgr_buffer *bytes) {
    for (size_t n = random_below(3); n > 0; n--) {
        bytes->data[random_below(bytes->len)] = (uint8_t)random_next();
    }
    if (random_below(4) == 0) {
        bytes->len = 1 + random_below(bytes->len);
    }
}

static void test_sort_keys_of_any_bytes(unsigned long rounds) {
    struct tmgr_buffer key = {0}, other = {0};
    unsigned long made = 0;
    for (unsigned long i = 0; i < rounds; i++) {
        size_t n, m;
        key.len = other.len = 0;
        put_random_key(&key, 3);
        if (i % 2 == 0) {
            mutate(&key);
        }
        if (i % 4 < 2) {
            put_random_key(&other, 3);
        } else { /* a neighbour */
            buffer_append(&other, key.data, key.len);
            mutate(&other);
        }
        uint8_t *a = make_exact(key.data, key.len, &n);
        uint8_t *b = make_exact(other.data, other.len, &m);
        made += n > 0;
        if (n > 0) {
            CHECK(n <= 2 * key.len);
            CHECK(term_skip(key.data, key.data + key.len) == key.len);
            CHECK(a[0] != 0 && a[0] != 0xff);
            CHECK(order_check_key(key.data, key.len));
        }
        if (n > 0 && m > 0) {
            int order = memcmp(a, b, n < m ? n : m);
            CHECK(order != 0 || n == m);
            CHECK(sign_of(order) == sign_of(order_compare(key.data, key.len, other.data, other.len)));
        }
        free(a);
        free(b);
    }
    CHECK(made > rounds / 4);
    free(key.data);
    free(other.data);
}

int main(int argc, char **argv) {
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    unsigned long rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 200000;
    random_state = seed * 0x9e3779b97f4a7c15ULL | 1;
    printf("test_sortkey: seed %" PRIu64 ", %lu rounds\n", seed, rounds);
    test_sort_keys_of_any_bytes(rounds);
    return check_summary();
}
