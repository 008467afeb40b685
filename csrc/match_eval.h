/* SPDX-License-Identifier: Apache-2.0 */
/* match_eval.h - guards and bodies: runs the verified code behind a clause's pattern.
 *
 * Scope. Values are encoded terms that lie in the row, in the program, or in `made`, where results that are new are
 * written one behind the other. Nothing is allocated here: where `made` is too small, the evaluation stops, says how
 * much it needs, and is begun again by the caller with more. */
#ifndef TABLEMGR_MATCH_EVAL_H
#define TABLEMGR_MATCH_EVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MATCH_MADE_MAX = 16 << 20 }; /* bytes; an evaluation that makes more fails */

/* An encoded term. */
struct match_value {
    const uint8_t *at, *end;
};

struct match_machine {
    struct match_value row;
    struct match_value *slots; /* what the pattern has bound */
    struct match_value *stack;
    uint8_t *made;
    size_t made_len, made_capacity;
    size_t made_wanted; /* more than the capacity: why an evaluation stopped */
};

enum match_verdict { MATCH_APPLIES, MATCH_FAILS, MATCH_STOPPED };

/* Run code from behind the pattern to its RETURN. APPLIES: *result is the body's value, or the row (*is_row). */
enum match_verdict match_eval(struct match_machine *machine, const uint8_t *code, struct match_value *result,
                              bool *is_row);

#endif
