/* SPDX-License-Identifier: Apache-2.0 */
/* cases.h - the operations that are killed: writes, and those that make up the life of a table. */
#ifndef CASES_H
#define CASES_H

#include "setup.h"

/* A case about the life of a table instead of its rows. */
enum life_op {
    LIFE_ATTACH,
    LIFE_CREATE,
    LIFE_CLAIM,
    LIFE_KEEP,       /* a claim as the manager, for whoever is to have it */
    LIFE_CLAIM_KEPT, /* a claim, also of what a live manager keeps */
    LIFE_OFFER,      /* a claim as the manager, for whoever comes first */
    LIFE_TAKE,       /* what is offered */
    LIFE_SETTLE,
    LIFE_KEEP_TOLD, /* with how the owner ended: by LIFE_SIGNAL */
    LIFE_SETTLE_TOLD,
    LIFE_GIVE_AWAY,    /* to the caller's parent, as below */
    LIFE_PASS_ON,      /* what is kept, likewise */
    LIFE_PASS_ON_KEPT, /* to be kept by the parent for others, too */
    LIFE_NOTE_END,     /* of the owner before, likewise */
    LIFE_SETOPTS,      /* the parent becomes the heir */
    LIFE_PROTECT,      /* of the options the access alone */
    LIFE_DISINHERIT,   /* the heir alone: nobody */
    LIFE_SETOPTS_BOTH, /* the parent becomes the heir of a protected table */
    LIFE_RENAME,       /* to the other name */
    LIFE_DROP,
    LIFE_DROP_SEGMENT,
    LIFE_LOSE,  /* what rm does to the name */
    LIFE_RELINK /* by the only process that has the table */
};
#define LIFE_GIFT "\xa4gift"
#define LIFE_HEIR "\xa4heir"
enum { LIFE_SIGNAL = 9 };
enum life_start {
    START_ABSENT,
    START_OWNED,  /* by this process */
    START_ORPHAN, /* by a dead one, the heir being the manager */
    START_HEIR,   /* the heir being this process */
    START_GONE    /* there being no heir: nothing is there but the name */
};
struct life {
    enum life_op op; /* to be killed */
    enum life_start start;
    enum life_op beforehand; /* by the victim, before it is traced; LIFE_ATTACH: nothing more than that */
    bool other_is_gone;      /* the other name is START_GONE */
};
/* Makes the call. *table: attached to, by whichever name it bears, if the operation needs it and it is NULL. The status
 * is that of the attach if that fails. */
int life_call(const struct setup *setup, enum life_op op, struct tmgr_table **table, int64_t wait_ns);

/* A public table, whose heir is the manager. */
struct tmgr_options life_options(const struct setup *setup);

struct crash_case {
    const char *name;
    enum tmgr_type type;
    uint32_t n_stripes;
    void (*prepare)(struct setup *setup); /* rows into the table, op; of a life case: rows only, may be NULL */
    const struct life *life;              /* NULL: the case is about rows */
};
extern const struct crash_case crash_cases[];
extern const size_t n_crash_cases;

#endif
