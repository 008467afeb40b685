/* SPDX-License-Identifier: Apache-2.0 */
/* verify.h - what must hold after a death, looked at by another process. */
#ifndef VERIFY_H
#define VERIFY_H

#include "cases.h"

/* What the table may hold. The first of two operations may have left any of the candidates: [0] is the table before,
 * [n-1] the table after it. */
struct expected {
    const struct model *candidates;
    size_t n;
    bool first_returned;  /* then only the last candidate will do */
    bool second_started;  /* setup->again was under way in another process */
    bool second_returned; /* then its row is there */
    bool order_is_open;   /* the second's row may be gone again: the first was a delete_all */
};

/* Through a read-only mapping: which candidate it is. model receives it, the second's row included; the caller frees
 * it. False: none; the problem says how the last candidate differs. */
bool verify_read(const struct setup *setup, const struct expected *expected, struct model *model,
                 char problem[PROBLEM_MAX]);
/* All of it: verify_read, writes in other stripes (which take what pages are free), every stripe passed by a writer, check,
 * the operation once more, mixed operations, check, all rows away, check. repair_first: check(repair) comes second. */
bool verify_rows(const struct setup *setup, const struct expected *expected, uint64_t seed, bool repair_first,
                 char problem[PROBLEM_MAX]);

/* What describes a table's life: who owns it by which rule, under which name it is found. */
enum role { ROLE_NOBODY, ROLE_TRACER, ROLE_VICTIM, ROLE_PREDECESSOR };
struct facts {
    bool is_there, is_renamed;
    uint32_t access, heir, reason;
    enum role owner, heir_process, from;
    uint64_t seq, heir_data, transfer_data;
};
/* Looks through a read-only mapping; every row must be there. */
bool facts_gather(const struct setup *setup, uint32_t tracer, uint32_t victim, struct facts *facts,
                  char problem[PROBLEM_MAX]);
bool facts_equal(const struct facts *a, const struct facts *b);
void facts_text(const struct facts *facts, char *out, size_t size);
/* The table is `before` or `after` (returned: only after), and can be used, owned and removed as either allows. */
bool verify_life(const struct setup *setup, const struct life *life, const struct facts *before,
                 const struct facts *after, bool returned, uint32_t tracer, uint32_t victim, uint64_t seed,
                 char problem[PROBLEM_MAX]);

#endif
