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
    struct filter_test tests[FILTER_TESTS]; /* positions ascend */
};

/* The filter of an opened match, whose bytes it borrows. */
void filter_make(struct filter *filter, const struct match *match);

enum filter_verdict { FILTER_PASSES, FILTER_REJECTS, FILTER_WANTS_MORE };
/* Of a row that begins with these bytes. WANTS_MORE: they were too few to tell. */
enum filter_verdict filter_look(const struct filter *filter, const uint8_t *row, size_t len);

#endif
