/* SPDX-License-Identifier: Apache-2.0 */
/* setup.h - the table that an operation is killed on. Where a case needs an event (a split, a growth...), writes go on
 * until the next one would bring it about: each is tried, and undone from an image if it was the one. */
#ifndef SETUP_H
#define SETUP_H

#include "model.h"
#include "scratch.h"

enum { WAIT_NS = 1000 * 1000 * 1000 };
enum { SECOND_ID = 900001, SECOND_PAYLOAD = 77, ABSENT_ID = 2000000, ELSEWHERE_ID = 800000, ELSEWHERE = 24 };

/* What a case is set up from. `table` is attached under scratch->segment while `prepare` runs. */
struct setup {
    struct scratch scratch;
    struct tmgr_table *table;
    struct model model;
    struct random random;
    enum tmgr_type type;
    uint32_t n_stripes;
    bool is_ordered, is_bag;       /* of either kind */
    bool is_checked;               /* what follows a death is check(repair), no writer */
    int refusal;                   /* OK, or what op is answered with, having changed nothing */
    struct op op;                  /* the operation to be killed, of a case about rows */
    struct op again;               /* the next writer's, after a death: an insert in the stripe of op's first item; of a
                                      new key, in an ordered_set next to that; in a bag of one row more of that key */
    struct op beside;              /* another writer's, beside a stopped one: of a new key, likewise */
    uint64_t elsewhere[ELSEWHERE]; /* new keys of other stripes than that one */
    size_t n_elsewhere;
};

struct crash_case;
/* Creates the table of the case and prepares it; leaves it closed. `seed` varies ids, stamps and payloads. */
void setup_make(struct setup *setup, const struct crash_case *which, uint64_t seed);
void setup_free(struct setup *setup);

/* -- for `prepare` of a case: the model follows what is done ------------------------------------------------------- */

void setup_put(struct setup *setup, uint64_t id, size_t payload);
/* Rows with ids from <= id < to, payloads of least to most bytes. */
void setup_fill(struct setup *setup, uint64_t from, uint64_t to, size_t least, size_t most);
/* Instead of the table: one with this limit, full of rows with such payloads and ids from `from` on. How many. */
uint64_t setup_full(struct setup *setup, uint64_t max_bytes, uint64_t from, size_t payload);
void setup_run(struct setup *setup, const struct op *op);
struct op op_single(enum verb verb, uint64_t id, uint64_t stamp, size_t payload);
void op_add(struct op *op, uint32_t kind, uint64_t id, uint64_t stamp, size_t payload);

/* The table, which is empty, is made anew with this limit. */
void setup_limit(struct setup *setup, uint64_t max_bytes);
/* Those of a tree are what it does and nothing more: a leaf is split while its parent has room, and so on. */
enum event {
    EVENT_SPLIT,
    EVENT_OVERFLOW,
    EVENT_EPOCH,
    EVENT_GROWTH,       /* by what the operation needs */
    EVENT_GROWTH_AHEAD, /* by a few pages that it does not need yet */
    EVENT_GIVE,
    EVENT_NO_RESHAPE, /* all nodes stay */
    EVENT_LEAF_SPLIT,
    EVENT_EDGE_SPLIT, /* as that, where the new leaf gets the new key alone and another one */
    EVENT_INNER_SPLIT,
    EVENT_ROOT_GROWTH,
    EVENT_ROOT_SPLIT, /* the root, not a leaf, comes under a new one, and is split with a leaf */
    EVENT_LEAF_MERGE,
    EVENT_EPOCH_MERGE, /* as that, the epoch advancing meanwhile */
    EVENT_INNER_MERGE,
    EVENT_ROOT_SHRINK,
    EVENT_NODE_GROWTH, /* a new node lies beyond the segment's former end */
    EVENT_REFUSAL,     /* with FULL */
    EVENT_FULL_ROW,    /* refused with FULL, a leaf having been split */
    EVENT_FULL_NODE    /* refused with FULL at the right edge, since its leaf cannot be split */
};
typedef void (*maker_fn)(struct setup *setup, uint64_t i, struct op *op);
/* Runs make(0), make(1)... until one has brought the event about; undoes that one and makes it the case's op. What is
 * refused for want of memory is undone and not tried again, unless that is the event. */
void setup_until(struct setup *setup, enum event event, maker_fn make);

#endif
