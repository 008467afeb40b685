/* SPDX-License-Identifier: Apache-2.0 */
/* filter.c - see filter.h. */
#include "filter.h"

#include "number.h"

/* -- making ------------------------------------------------------------------------------------------------------------ */

/* Reads the code of a clause, which was verified. */
struct reader {
    const uint8_t *at, *end;
    struct filter *filter;
    uint32_t n_elements;
    uint32_t position_of[MATCH_SLOTS_MAX]; /* of each slot that the pattern's top level has bound */
    bool is_bound[MATCH_SLOTS_MAX];
};

static uint32_t take_word(struct reader *r) {
    uint32_t word = match_word(r->at);
    r->at += 4;
    return word;
}

static void add_test(struct reader *r, struct filter_test test) {
    struct filter *filter = r->filter;
    uint32_t place = filter->n_tests;
    if (place == FILTER_TESTS) {
        return; /* one test less rejects less */
    }
    for (; place > 0 && filter->tests[place - 1].position > test.position; place--) {
        filter->tests[place] = filter->tests[place - 1];
    }
    filter->tests[place] = test;
    filter->n_tests++;
}

/* The row's pattern, if it is flat; the reader moves behind it. */
static bool read_pattern(struct reader *r) {
    if (*r->at++ != MATCH_ROW_OF) {
        return false;
    }
    uint32_t n = take_word(r), n_patterns = take_word(r);
    r->n_elements = n;
    for (uint32_t position = 0; position < n_patterns; position++) {
        uint32_t word;
        switch (*r->at++) {
        case MATCH_ANY:
            break;
        case MATCH_BIND:
            word = take_word(r);
            r->position_of[word] = position;
            r->is_bound[word] = true;
            break;
        case MATCH_SAME:
            take_word(r);
            break;
        case MATCH_LITERAL:
            word = take_word(r);
            add_test(r, (struct filter_test){.position = position, .op = MATCH_LITERAL, .len = word, .bytes = r->at});
            r->at += word;
            break;
        default: /* what nests */
            return false;
        }
    }
    return true;
}

static bool is_short_text(const uint8_t *term, uint32_t len) { return (term[0] & 0xe0) == 0xa0 && len > 0; }

/* 5 < v is v > 5. */
static uint8_t turned(uint8_t op) {
    return op == MATCH_LESS            ? MATCH_GREATER
           : op == MATCH_LESS_EQUAL    ? MATCH_GREATER_EQUAL
           : op == MATCH_GREATER       ? MATCH_LESS
           : op == MATCH_GREATER_EQUAL ? MATCH_LESS_EQUAL
                                       : op;
}

/* A comparison of a variable with a constant, or the other way round. False: it is something else. */
static bool read_comparison(struct reader *r) {
    struct filter_test test = {0};
    uint32_t slot = 0;
    bool has_variable = false, has_constant = false, constant_first = false;
    for (int i = 0; i < 2; i++) {
        uint8_t op = r->at < r->end ? *r->at++ : MATCH_OPS;
        if (op == MATCH_VARIABLE && !has_variable) {
            slot = take_word(r);
            has_variable = true;
        } else if (op == MATCH_CONSTANT && !has_constant) {
            test.len = take_word(r);
            test.bytes = r->at;
            r->at += test.len;
            has_constant = true;
            constant_first = !has_variable;
        } else {
            return false;
        }
    }
    test.op = r->at < r->end ? *r->at++ : MATCH_OPS;
    if (test.op < MATCH_EQUAL || test.op > MATCH_GREATER_EQUAL || !r->is_bound[slot]) {
        return false;
    }
    test.op = constant_first ? turned(test.op) : test.op;
    test.is_text = is_short_text(test.bytes, test.len);
    if (test.is_text ? test.op != MATCH_EQUAL : !number_read_small(test.bytes, test.bytes + test.len, &test.number)) {
        return false;
    }
    test.position = r->position_of[slot];
    add_test(r, test);
    return true;
}

/* A guard of comparisons that are joined by &. */
static bool read_guard(struct reader *r) {
    struct filter before = *r->filter;
    bool done = read_comparison(r);
    while (done && r->at < r->end && *r->at != MATCH_REQUIRE) {
        done = read_comparison(r) && r->at < r->end && *r->at++ == MATCH_AND;
    }
    done = done && r->at < r->end && *r->at++ == MATCH_REQUIRE;
    if (!done) {
        *r->filter = before;
    }
    return done;
}

static bool holds(uint8_t op, int64_t a, int64_t b) {
    switch (op) {
    case MATCH_EQUAL:
        return a == b;
    case MATCH_NOT_EQUAL:
        return a != b;
    case MATCH_LESS:
        return a < b;
    case MATCH_LESS_EQUAL:
        return a <= b;
    case MATCH_GREATER:
        return a > b;
    default: /* GREATER_EQUAL */
        return a >= b;
    }
}

static void make_quick(struct filter *filter) {
    const struct filter_test *test = &filter->tests[0];
    filter->is_quick = filter->n_tests > 0 && test->op != MATCH_LITERAL && !test->is_text;
    for (int number = 0; filter->is_quick && number < 128; number++) {
        filter->passes[number / 64] |= (uint64_t)holds(test->op, number, test->number) << number % 64;
    }
}

void filter_make(struct filter *filter, const struct match *match) {
    *filter = (struct filter){0};
    if (match->n_clauses != 1) {
        return;
    }
    const struct match_bytes *code = &match->clauses[0].code;
    struct reader r = {.at = code->at, .end = code->at + code->len, .filter = filter};
    if (!read_pattern(&r) || r.n_elements == 0 || r.n_elements > 15) {
        *filter = (struct filter){0};
        return;
    }
    filter->header = (uint8_t)(0x90 + r.n_elements);
    while (read_guard(&r)) {
    }
    make_quick(filter);
}

/* -- looking ----------------------------------------------------------------------------------------------------------- */

/* By its first byte; 0xff: one more than its second byte says. */
#define ROW_OF_16(value)                                                                                               \
    value, value, value, value, value, value, value, value, value, value, value, value, value, value, value, value
/* clang-format off */
const uint8_t filter_plain_len[256] = {
    /* 0x00 ints */ ROW_OF_16(1), ROW_OF_16(1), ROW_OF_16(1), ROW_OF_16(1),
    ROW_OF_16(1), ROW_OF_16(1), ROW_OF_16(1), ROW_OF_16(1),
    /* 0x80 dicts, lists */ ROW_OF_16(0), ROW_OF_16(0),
    /* 0xa0 str */ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
    17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32,
    /* 0xc0 None, bools, bytes, extension types, floats, ints */ 1, 0, 1, 1, FILTER_BY_SECOND, 0, 0, 0, 0, 0, 5, 9, 2, 3, 5, 9,
    /* 0xd0 ints, extension types of a fixed length, str */ 2, 3, 5, 9, 3, 4, 6, 10, 18, FILTER_BY_SECOND, 0, 0, 0, 0, 0, 0,
    /* 0xe0 ints */ ROW_OF_16(1), ROW_OF_16(1),
};
/* clang-format on */

enum filter_verdict filter_look_at(const struct filter_test *test, const uint8_t *at, size_t left) {
    if (test->op == MATCH_LITERAL || test->is_text) {
        if (test->is_text && (at[0] & 0xe0) != 0xa0) {
            return FILTER_PASSES; /* a longer form of the same str, or something else */
        }
        size_t len = test->len < left ? test->len : left;
        return memcmp(at, test->bytes, len) != 0 ? FILTER_REJECTS : len < test->len ? FILTER_WANTS_MORE : FILTER_PASSES;
    }
    int64_t number;
    if (filter_plain_len[at[0]] > left) {
        return filter_plain_len[at[0]] == FILTER_BY_SECOND ? FILTER_PASSES : FILTER_WANTS_MORE;
    }
    if (!number_read_small(at, at + left, &number)) {
        return FILTER_PASSES;
    }
    return holds(test->op, number, test->number) ? FILTER_PASSES : FILTER_REJECTS;
}
