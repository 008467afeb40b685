/* SPDX-License-Identifier: Apache-2.0 */
/* world.h - what the life of a table comes to: which of the two names leads to a table, who owns it by which rule; and
 * what each operation makes of that. The processes are roles, for their numbers differ from kill to kill. */
#ifndef WORLD_H
#define WORLD_H

#include "cases.h"

enum role { ROLE_NOBODY, ROLE_TRACER, ROLE_FIRST, ROLE_SECOND, ROLE_CHECKER, ROLE_PREDECESSOR };
struct people {
    struct process tracer, first, second, checker;
};
struct facts {
    bool is_there, has_rows;
    uint32_t access, heir, reason, end;
    int32_t exit; /* with an end that is known */
    enum role owner, heir_process, from;
    uint64_t seq, heir_data, transfer_data;
};
struct world {
    struct facts at[PLACES]; /* all zero where no table is */
};

/* What a handle says of its table; has_rows as given. */
bool facts_of(struct tmgr_table *table, const struct people *people, bool has_rows, struct facts *facts,
              char problem[PROBLEM_MAX]);
/* Attaches to both names, read-only; a table has all rows of the model, or none. False: what is wrong is in problem. */
bool world_gather(const struct setup *setup, const struct people *people, struct world *world,
                  char problem[PROBLEM_MAX]);
bool worlds_equal(const struct world *a, const struct world *b);
void world_text(const struct world *world, char *out, size_t size);
/* The place that an operation finds its table at; PLACES: none. */
size_t world_find(const struct world *world);
/* What `op` by `who` makes of it, the tracer and who being alive and all others dead; and the status it returns. */
int world_after(struct world *world, enum life_op op, enum role who);
/* When nobody but the tracer and the checker is alive any more: a table without an heir goes with its owner. */
void world_bury(struct world *world);
/* The same for the operations on a handle, of the table at that place. */
int facts_after(struct facts *facts, enum life_op op, enum role who);
/* Whether `who` may write to the table. */
bool facts_admit(const struct facts *facts, enum role who);

#endif
