/* SPDX-License-Identifier: Apache-2.0 */
/* cases.h - the write operations that are killed, and the tables they are killed on. */
#ifndef CASES_H
#define CASES_H

#include "model.h"
#include "scratch.h"

enum { SECOND_ID = 900001, SECOND_PAYLOAD = 77, ABSENT_ID = 2000000, ELSEWHERE_ID = 800000, ELSEWHERE = 24 };

/* What a case is set up from. `table` is attached under scratch->segment while `prepare` runs. */
struct setup {
    struct scratch scratch;
    struct tmgr_table *table;
    struct model model;
    struct random random;
    uint32_t n_stripes;
    struct op op;                  /* the operation to be killed, of a case about rows */
    struct op again;               /* the next writer's: an insert of a new key in the stripe of op's first item */
    uint64_t elsewhere[ELSEWHERE]; /* new keys of other stripes than that one */
    size_t n_elsewhere;
};

/* A case about the life of a table instead of its rows: `act` is the call to be killed. */
struct life {
    bool starts_absent; /* there is no table before */
    bool owner_is_dead; /* the table's owner has ended */
    bool victim_claims; /* the victim becomes the owner before it is traced */
    enum tmgr_claim claim;
    int (*act)(struct setup *setup, struct tmgr_table *table);
};

struct crash_case {
    const char *name;
    uint32_t n_stripes;
    void (*prepare)(struct setup *setup); /* rows into the table, op; of a life case: rows only, may be NULL */
    const struct life *life;              /* NULL: the case is about rows */
};
extern const struct crash_case crash_cases[];
extern const size_t n_crash_cases;

/* Creates the table of the case and prepares it; leaves it closed. `seed` varies ids, stamps and payloads. */
void setup_make(struct setup *setup, const struct crash_case *which, uint64_t seed);
void setup_free(struct setup *setup);
/* A public table owned by this process, whose heir is the manager. */
struct tmgr_options setup_options(uint32_t n_stripes);

#endif
