/* SPDX-License-Identifier: Apache-2.0 */
/* test_match.c - programs over rows: what they decide, and that neither damaged programs nor damaged rows do harm.
 * Usage: test_match [seed [rounds]]; the seed is printed. Meant for ASan and UBSan: every argument is passed in a heap
 * block of exactly its length. */
#include "match.h"

#include <inttypes.h>
#include <stdlib.h>

#include "arithmetic.h"
#include "check.h"
#include "order.h"
#include "term.h"

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
    uint8_t *copy = malloc(len == 0 ? 1 : len);
    memcpy(copy, bytes, len);
    return copy;
}

/* -- assembling ---------------------------------------------------------------------------------------------------- */

struct assembly {
    uint8_t bytes[4096];
    size_t len;
};

static void put(struct assembly *a, const void *bytes, size_t len) {
    memcpy(a->bytes + a->len, bytes, len);
    a->len += len;
}

static void put_word(struct assembly *a, uint32_t word) { put(a, &word, sizeof word); }

static void put_op(struct assembly *a, enum match_op op) { put(a, &(uint8_t){(uint8_t)op}, 1); }

static void put_op_word(struct assembly *a, enum match_op op, uint32_t word) {
    put_op(a, op);
    put_word(a, word);
}

static void put_small(struct assembly *a, enum match_op op, uint8_t small) {
    put_op_word(a, op, 1);
    put(a, &small, 1);
}

/* A program of one clause with this code. */
static struct assembly program_of(const struct assembly *code, uint32_t n_slots) {
    struct assembly program = {.len = 0};
    uint32_t start = MATCH_HEADER_BYTES + MATCH_CLAUSE_BYTES;
    uint32_t words[] = {MATCH_MAGIC, start + (uint32_t)code->len, 1, n_slots, start, (uint32_t)code->len, 0, 0, 0, 0};
    put(&program, words, sizeof words);
    put(&program, code->bytes, code->len);
    return program;
}

/* {k, a, (b, 5, ...), {1: c}} with guards a + b > 3 and (b < 100 or_ a is int), body (c, [a * b], {2: b}, ROW). */
static struct assembly rich_code(void) {
    struct assembly c = {.len = 0};
    put_op_word(&c, MATCH_ROW_OF, 4);
    put_word(&c, 4);
    put_small(&c, MATCH_LITERAL, 7);
    put_op_word(&c, MATCH_BIND, 0);
    put_op_word(&c, MATCH_TUPLE_OF, 3);
    put_word(&c, 2);
    put_op_word(&c, MATCH_BIND, 1);
    put_small(&c, MATCH_LITERAL, 5);
    put_op_word(&c, MATCH_DICT_OF, 1);
    put_word(&c, 1);
    put(&c, "\x01", 1);
    put_op_word(&c, MATCH_BIND, 2);
    put_op_word(&c, MATCH_VARIABLE, 0);
    put_op_word(&c, MATCH_VARIABLE, 1);
    put_op_word(&c, MATCH_BINARY, ARITHMETIC_ADD);
    put_small(&c, MATCH_CONSTANT, 3);
    put_op(&c, MATCH_GREATER);
    put_op(&c, MATCH_REQUIRE);
    put_op_word(&c, MATCH_VARIABLE, 1);
    put_small(&c, MATCH_CONSTANT, 100);
    put_op(&c, MATCH_LESS);
    put_op_word(&c, MATCH_OR_ELSE, 11);
    put_op_word(&c, MATCH_VARIABLE, 0);
    put_op_word(&c, MATCH_IS, MATCH_IS_INT);
    put_op(&c, MATCH_BOOL);
    put_op(&c, MATCH_REQUIRE);
    put_op_word(&c, MATCH_VARIABLE, 2);
    put_op_word(&c, MATCH_VARIABLE, 0);
    put_op_word(&c, MATCH_VARIABLE, 1);
    put_op_word(&c, MATCH_BINARY, ARITHMETIC_MULTIPLY);
    put_op_word(&c, MATCH_MAKE_LIST, 1);
    put_small(&c, MATCH_CONSTANT, 2);
    put_op_word(&c, MATCH_VARIABLE, 1);
    put_op_word(&c, MATCH_MAKE_DICT, 1);
    put_op(&c, MATCH_ROW);
    put_op_word(&c, MATCH_MAKE_TUPLE, 4);
    put_op(&c, MATCH_RETURN);
    return c;
}

/* [7, 10, (20, 5, "x"), {2: 0, 1: "yes"}] */
static const uint8_t rich_row[] = {0x94, 7, 10, 0xc7, 5, 1, 0x93, 20, 5, 0xa1, 'x', 0x82, 2, 0, 1, 0xa3, 'y', 'e', 's'};

/* -- running ------------------------------------------------------------------------------------------------------- */

/* Both in blocks of their own. BAD_OPTION where the program is refused; the result is appended to `out`. */
static enum tmgr_status run(const uint8_t *program, size_t len, const uint8_t *row, size_t row_len,
                            struct tmgr_buffer *out) {
    uint8_t *own_program = exact_copy(program, len);
    uint8_t *own_row = exact_copy(row, row_len);
    struct match match;
    struct match_result result;
    enum tmgr_status status = match_open(&match, own_program, len);
    if (status == TMGR_OK) {
        const uint8_t *as_row;
        size_t as_row_len;
        status = match_run(&match, own_row, row_len, &result);
        if (status == TMGR_OK) {
            CHECK(match_append(&result, out));
            if (match_as_row(&result, &as_row, &as_row_len)) {
                CHECK(as_row >= result.at && as_row + as_row_len == result.at + result.len);
            }
        }
        match_close(&match);
    }
    free(own_program);
    free(own_row);
    return status;
}

static void test_a_rich_clause(void) {
    static const uint8_t expected[] = {0xc7, 34, 1,    0x94, 0xa3, 'y',  'e', 's', 0x91, 0xcc, 200, 0x81,
                                       2,    20, 0xc7, 19,   1,    0x94, 7,   10,  0xc7, 5,    1,   0x93,
                                       20,   5,  0xa1, 'x',  0x82, 2,    0,   1,   0xa3, 'y',  'e', 's'};
    struct assembly code = rich_code();
    struct assembly program = program_of(&code, 3);
    struct tmgr_buffer out = {0};
    CHECK(run(program.bytes, program.len, rich_row, sizeof rich_row, &out) == TMGR_OK);
    CHECK(out.len >= 3 && out.len == (size_t)out.data[1] + 3);
    CHECK(out.len == sizeof expected + 0 && memcmp(out.data + 2, expected + 2, out.len - 2) == 0);
    free(out.data);
    uint8_t other[sizeof rich_row];
    memcpy(other, rich_row, sizeof other);
    other[1] = 8;
    out = (struct tmgr_buffer){0};
    CHECK(run(program.bytes, program.len, other, sizeof other, &out) == TMGR_ABSENT);
    free(out.data);
}

/* The memory that results are made in grows with them, and is then kept. */
static void test_large_results(void) {
    struct assembly code = {.len = 0};
    put_op_word(&code, MATCH_ROW_OF, 2);
    put_word(&code, 2);
    put_op(&code, MATCH_ANY);
    put_op_word(&code, MATCH_BIND, 0);
    for (int i = 0; i < 40; i++) {
        put_op_word(&code, MATCH_VARIABLE, 0);
    }
    put_op_word(&code, MATCH_MAKE_LIST, 40);
    put_op(&code, MATCH_RETURN);
    struct assembly program = program_of(&code, 1);
    size_t text = 100000;
    uint8_t *row = calloc(1, text + 7);
    row[0] = 0x92;
    row[2] = 0xc6;
    row[4] = (uint8_t)(text >> 16);
    row[5] = (uint8_t)(text >> 8);
    row[6] = (uint8_t)text;
    struct match match;
    struct match_result result;
    CHECK(match_open(&match, program.bytes, program.len) == TMGR_OK);
    for (int i = 0; i < 3; i++) {
        CHECK(match_run(&match, row, text + 7, &result) == TMGR_OK);
        CHECK(result.len == 3 + 40 * (text + 5));
        CHECK(term_skip(result.at, result.at + result.len) == result.len);
    }
    match_close(&match);
    free(row);
}

/* Each of these programs reaches outside in another way. */
static void test_harmful_programs_are_refused(void) {
    const struct {
        uint8_t code[24];
        size_t len;
    } programs[] = {
        {{MATCH_ANY}, 1},                                                       /* no end */
        {{MATCH_ANY, MATCH_RETURN}, 2},                                         /* nothing to return */
        {{MATCH_ANY, MATCH_EQUAL, MATCH_RETURN}, 3},                            /* nothing on the stack */
        {{MATCH_ANY, MATCH_ROW, MATCH_ROW, MATCH_RETURN}, 4},                   /* too much on it */
        {{MATCH_ANY, MATCH_ROW, MATCH_RETURN_ROW}, 3},                          /* likewise */
        {{MATCH_ANY, MATCH_RETURN_ROW, MATCH_RETURN_ROW}, 3},                   /* code behind the end */
        {{MATCH_ANY, MATCH_VARIABLE, 0, 0, 0, 0, MATCH_RETURN}, 7},             /* not bound */
        {{MATCH_ANY, MATCH_VARIABLE, 9, 0, 0, 0, MATCH_RETURN}, 7},             /* no slot */
        {{MATCH_BIND, 0, 0, 0, 0, MATCH_RETURN_ROW}, 6},                        /* the row has no slot */
        {{MATCH_ROW_OF, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, MATCH_RETURN_ROW}, 12},   /* more patterns than elements */
        {{MATCH_ROW_OF, 1, 0, 0, 0, 1, 0, 0, 0, 99, MATCH_RETURN_ROW}, 11},     /* no instruction */
        {{MATCH_ANY, MATCH_CONSTANT, 200, 0, 0, 0, 1, MATCH_RETURN}, 8},        /* a constant beyond the end */
        {{MATCH_ANY, MATCH_CONSTANT, 1, 0, 0, 0, 0xa5, MATCH_RETURN}, 8},       /* a malformed one */
        {{MATCH_ANY, MATCH_CONSTANT, 0, 0, 0, 0, MATCH_RETURN}, 7},             /* an empty one */
        {{MATCH_ANY, MATCH_ROW, MATCH_AND_THEN, 0, 0, 0, 0, MATCH_RETURN}, 8},  /* a block without a value */
        {{MATCH_ANY, MATCH_ROW, MATCH_AND_THEN, 1, 0, 0, 0, MATCH_RETURN}, 8},  /* RETURN in a block */
        {{MATCH_ANY, MATCH_ROW, MATCH_AND_THEN, 99, 0, 0, 0, MATCH_RETURN}, 8}, /* a block beyond the end */
        {{MATCH_ANY, MATCH_ROW, MATCH_ROW, MATCH_AND_THEN, 1, 0, 0, 0, MATCH_EQUAL, MATCH_RETURN}, 10}, /* below it */
        {{MATCH_ANY, MATCH_ROW, MATCH_UNARY, 0, 0, 0, 0, MATCH_RETURN}, 8},   /* an operation of two */
        {{MATCH_ANY, MATCH_MAKE_TUPLE, 255, 255, 255, 255, MATCH_RETURN}, 7}, /* of more than there is */
        {{MATCH_ANY, MATCH_MAKE_DICT, 0, 0, 0, 128, MATCH_RETURN}, 7},        /* twice that overflows */
    };
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++) {
        struct assembly code = {.len = 0};
        put(&code, programs[i].code, programs[i].len);
        struct assembly program = program_of(&code, 1);
        struct tmgr_buffer out = {0};
        CHECK(run(program.bytes, program.len, rich_row, sizeof rich_row, &out) == TMGR_BAD_OPTION);
        free(out.data);
    }
}

/* -- damage -------------------------------------------------------------------------------------------------------- */

static void damage(uint8_t *bytes, size_t len, size_t from) {
    for (size_t n = 1 + random_below(4); n > 0; n--) {
        uint8_t *at = &bytes[from + random_below(len - from)];
        *at = random_below(2) == 0 ? (uint8_t)random_next() : (uint8_t)random_below(50);
    }
}

static void test_damage(unsigned long rounds) {
    struct assembly code = rich_code();
    const struct assembly good = program_of(&code, 3);
    unsigned long n_run = 0;
    for (unsigned long round = 0; round < rounds; round++) {
        struct assembly program = good;
        uint8_t row[sizeof rich_row];
        size_t row_len = sizeof row;
        struct tmgr_buffer out = {0};
        memcpy(row, rich_row, sizeof row);
        if (round % 3 != 0) {
            damage(program.bytes, program.len, round % 2 == 0 ? 0 : MATCH_HEADER_BYTES);
        }
        if (round % 3 != 1) {
            damage(row, sizeof row, 0);
            row_len = random_below(4) == 0 ? random_below(sizeof row) : sizeof row;
        }
        enum tmgr_status status = run(program.bytes, program.len, row, row_len, &out);
        n_run += status != TMGR_BAD_OPTION;
        CHECK(status == TMGR_OK || status == TMGR_ABSENT || status == TMGR_BAD_OPTION);
        free(out.data);
    }
    CHECK(n_run > rounds / 3);
}

/* Random bytes in the order, each against each. */
static void test_order_of_anything(unsigned long rounds) {
    for (unsigned long round = 0; round < rounds; round++) {
        uint8_t bytes[2][sizeof rich_row];
        uint8_t *terms[2];
        size_t lens[2];
        for (int i = 0; i < 2; i++) {
            memcpy(bytes[i], rich_row, sizeof rich_row);
            damage(bytes[i], sizeof rich_row, 0);
            size_t from = random_below(6);
            lens[i] = random_below(sizeof rich_row - from);
            terms[i] = exact_copy(bytes[i] + from, lens[i]);
        }
        int order = order_compare(terms[0], lens[0], terms[1], lens[1]);
        int other = order_compare(terms[1], lens[1], terms[0], lens[0]);
        CHECK((order < 0) == (other > 0) && (order > 0) == (other < 0));
        CHECK(order_equal(terms[0], lens[0], terms[0], lens[0]));
        order_check_key(terms[0], lens[0]);
        free(terms[0]);
        free(terms[1]);
    }
}

int main(int argc, char **argv) {
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    unsigned long rounds = argc > 2 ? strtoul(argv[2], NULL, 0) : 30000;
    random_state = seed * 0x9e3779b97f4a7c15ULL + 1;
    printf("seed %" PRIu64 "\n", seed);
    test_a_rich_clause();
    test_large_results();
    test_harmful_programs_are_refused();
    test_damage(rounds);
    test_order_of_anything(rounds);
    return check_summary();
}
