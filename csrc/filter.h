/* SPDX-License-Identifier: Apache-2.0 */
/* filter.h - a few tests taken from a program, that reject most rows by their first bytes.
 *
 * Scope. Pure functions on private bytes. What a filter rejects, the program it was made from gives nothing for; what it lets
 * pass may be anything. So it may look at the beginning of a row only, which is in one cache line or two where the whole row
 * is in three, and leaves every value that is not plain to the program.
 *
 * The tests: the number of elements; literals in the pattern; and the guards that come first and compare a variable with a
 * small int by < <= == != > >=, or by == with a short str, one by one or joined by &. */
#ifndef TABLEMGR_FILTER_H
#define TABLEMGR_FILTER_H

#include "match.h"

enum { FILTER_TESTS = 8 };

struct filter_test {
    uint32_t position; /* of the element */
    uint8_t op;        /* MATCH_LITERAL, or a comparison */
    uint8_t is_text;   /* the comparison is with a short str, else with `number` */
    uint32_t len;      /* of `bytes` */
    const uint8_t *bytes;
    int64_t number;
};

struct filter {
    uint32_t n_tests; /* 0: it lets everything pass */
    uint8_t header;   /* the first byte of the rows */
    bool is_quick;    /* the first test is of a number: passes[] has a bit for each from 0 to 127 */
    uint64_t passes[2];
    struct filter_test tests[FILTER_TESTS]; /* positions ascend */
};

/* The filter of an opened match, whose bytes it borrows. */
void filter_make(struct filter *filter, const struct match *match);

enum filter_verdict { FILTER_PASSES, FILTER_REJECTS, FILTER_WANTS_MORE };

/* Bytes of the terms that begin with each byte: 0 if a filter leaves them alone. */
enum { FILTER_BY_SECOND = 0xff };
extern const uint8_t filter_plain_len[256];

/* Of the term at `at`, of which `left` > 0 bytes are there. */
enum filter_verdict filter_look_at(const struct filter_test *test, const uint8_t *at, size_t left);

/* Of a row that begins with these bytes. WANTS_MORE: they were too few to tell. */
static inline enum filter_verdict filter_look(const struct filter *filter, const uint8_t *row, size_t len) {
    if (len == 0 || row[0] != filter->header) {
        /* Fewer than 16 elements have one form only that a writer uses; the program decides about others. */
        return len > 0 && row[0] > 0x90 && row[0] < 0xa0 ? FILTER_REJECTS : FILTER_PASSES;
    }
    size_t at = 1;
    uint32_t position = 0;
    for (uint32_t i = 0; i < filter->n_tests; i++) {
        const struct filter_test *test = &filter->tests[i];
        for (; position < test->position; position++) {
            if (at >= len) {
                return FILTER_WANTS_MORE;
            }
            size_t step = filter_plain_len[row[at]];
            if (step == FILTER_BY_SECOND) {
                step = at + 1 < len ? (size_t)row[at + 1] + 2 : len;
            }
            if (step == 0) {
                return FILTER_PASSES;
            }
            at += step;
        }
        if (at >= len) {
            return FILTER_WANTS_MORE;
        }
        enum filter_verdict verdict = filter_look_at(test, row + at, len - at);
        if (verdict != FILTER_PASSES) {
            return verdict;
        }
    }
    return FILTER_PASSES;
}

/* The first test alone, where it is of a number from 0 to 127 behind short elements, within the first `len` bytes. */
static inline bool filter_rejects_at_once(const struct filter *filter, const uint8_t *row, size_t len) {
    size_t at = 1;
    if (!filter->is_quick || row[0] != filter->header) {
        return false;
    }
    for (uint32_t left = filter->tests[0].position; left > 0; left--) {
        size_t step = filter_plain_len[row[at]];
        at += step;
        if (step == 0 || at >= len) {
            return false;
        }
    }
    return row[at] < 0x80 && (filter->passes[row[at] >> 6] >> (row[at] & 63) & 1) == 0;
}

#endif
