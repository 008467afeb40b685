/* SPDX-License-Identifier: Apache-2.0 */
/* verify.h - what must hold after a death, looked at by another process. */
#ifndef VERIFY_H
#define VERIFY_H

#include "world.h"

/* What the table may hold. The first of two operations may have left any of the candidates: [0] is the table before,
 * [n-1] the table after it. */
struct expected {
    const struct model *candidates;
    size_t n;
    bool first_returned;       /* then only the last candidate will do */
    const struct item *second; /* what another process inserts */
    bool second_started;       /* it was under way */
    bool second_returned;      /* then its row is there */
    bool order_is_open;        /* the second's row may be gone again: the first was a delete_all */
};

/* Through a read-only mapping: which candidate it is. model receives it, the second's row included; the caller frees
 * it. False: none; the problem says how the last candidate differs. */
bool verify_read(const struct setup *setup, const struct expected *expected, struct model *model,
                 char problem[PROBLEM_MAX]);
/* All of it: verify_read, writes in other stripes (which take what pages are free), every stripe passed by a writer,
 * check, the operation once more, mixed operations, check, all rows away, check. repair_first: check(repair) comes
 * second. */
bool verify_rows(const struct setup *setup, const struct expected *expected, uint64_t seed, bool repair_first,
                 char problem[PROBLEM_MAX]);

/* Of a world that is as it may be, seen by the checker: each table can be written to, owned as its words say and
 * removed; `op` does what it should; in the end nothing is left, and the name is free. */
bool verify_life(const struct setup *setup, enum life_op op, const struct people *people, struct world *world,
                 uint64_t seed, char problem[PROBLEM_MAX]);

#endif
