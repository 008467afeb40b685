/* SPDX-License-Identifier: Apache-2.0 */
/* match.h - patterns, guards and bodies: decides over rows and maps them, without decoding them.
 *
 * Scope. Pure functions on private bytes: a program (match_code.h), and a row that was copied out. No shared memory, no
 * locks, no system calls. match_open verifies the program, whatever its bytes are; after that match_run cannot crash,
 * loop or overflow, whatever the row's bytes are. Memory is taken when a program is opened, and where an evaluation
 * makes more than any before it; not per row.
 *
 * Meaning. A program is a list of clauses: pattern, guards, body. The first clause whose pattern matches, whose guards
 * are all True and whose body has a value decides; the result is that value. An expression that fails (a wrong type, a
 * division by zero, a position outside) makes its clause not apply. Values compare as in order.h; literals and repeated
 * variables in a pattern match by encoding, that is by type and value. */
#ifndef TABLEMGR_MATCH_H
#define TABLEMGR_MATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "match_code.h"
#include "match_eval.h"
#include "tablemgr.h"

/* An opened program, for one thread at a time. Borrows the program's bytes. */
struct match {
    uint32_t n_clauses;
    bool is_rows; /* every body is the row itself */
    struct match_clause *clauses;
    struct match_machine machine;
};

/* A result lies in the row, in the program or in the match; it is good until the next run. */
struct match_result {
    uint32_t clause;
    bool is_row; /* the row itself, an array; else a term */
    const uint8_t *at;
    size_t len;
};

/* Verify a program and make ready to run it; to be closed if OK. BAD_OPTION: it is none. NO_MEMORY. */
enum tmgr_status match_open(struct match *match, const uint8_t *program, size_t len);
void match_close(struct match *match);

/* OK: a clause applies. ABSENT: none does. NO_MEMORY. */
enum tmgr_status match_run(struct match *match, const uint8_t *row, size_t row_len, struct match_result *result);

/* Whether the result is True: what a count or a deletion asks. */
static inline bool match_is_true(const struct match_result *result) {
    return !result->is_row && result->len == 1 && result->at[0] == 0xc3;
}

/* Append the result as one term: a row as a tuple. False: no memory. */
bool match_append(const struct match_result *result, struct tmgr_buffer *out);

/* The result as rows are stored, an array: the row itself, or what is in a tuple. False: it is no tuple. */
bool match_as_row(const struct match_result *result, const uint8_t **row, size_t *row_len);

#endif
