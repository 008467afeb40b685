/* SPDX-License-Identifier: Apache-2.0 */
/* model.h - rows that prove who wrote them, and a model of a table, of any type, to compare the core with.
 *
 * A test row is the msgpack array [key, stamp, payload, checksum]. The checksum is stamp + hash(key, payload), so it
 * holds after an update_counter that adds the same number to both, and a row put together from two writes fails it.
 * Keys: an even id is the integer itself, an odd id a 16-byte string, and
 * from LONG_KEY_ID on it is a string of 4000 bytes.
 *
 * An operation is described by ids, stamps and payload lengths (struct op), bound to bytes against a model
 * (op_bind: everything a call needs, so that the call itself allocates nothing), and then run on a table
 * (op_run) or on a model (op_model). Both fill a struct outcome; equal outcomes are the test. */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tablemgr.h"

/* -- random numbers: xorshift64*, the same on every machine --------------------------------------------------------- */

struct random {
    uint64_t state;
};
struct random random_from(uint64_t seed);
uint64_t random_next(struct random *random);
/* 0 <= result < bound; bound > 0. */
uint64_t random_below(struct random *random, uint64_t bound);

/* -- rows ----------------------------------------------------------------------------------------------------------- */

enum { LONG_KEY_ID = 5000000, LONG_KEY_BYTES = 4000, KEY_BYTES_MAX = 4064, ROW_OVERHEAD_MAX = 4160 };

/* Both return the length; `out` holds KEY_BYTES_MAX, or payload + ROW_OVERHEAD_MAX bytes. */
size_t key_encode(uint8_t *out, uint64_t id);
size_t row_encode(uint8_t *out, uint64_t id, uint64_t stamp, size_t payload);
/* True if these bytes are one whole row of row_encode's make (updates included); its id is stored. */
bool row_is_sound(const uint8_t *row, size_t len, uint64_t *id);
/* Length of the msgpack object at data, which test rows and lists of them are made of; 0: none of ours. */
size_t object_len(const uint8_t *data, size_t len);

/* A compiled clause (match.h): test rows whose stamp is not 1, as they are. Its length; `out` holds PROGRAM_BYTES. */
enum { PROGRAM_BYTES = 128 };
size_t program_of_stamped(uint8_t *out);

/* -- the model ------------------------------------------------------------------------------------------------------ */

struct entry {
    uint64_t id;
    uint64_t stamp;
    uint64_t hash; /* of key and payload: checksum - stamp */
    uint8_t *row;  /* NULL: the slot is free. Of a bag all rows with the id, in the order of their insertion */
    size_t len;
    size_t n; /* rows */
};
struct model {
    struct entry *entries; /* open addressing, linear probing, no holes in a run */
    size_t capacity;       /* power of two */
    size_t count;          /* rows */
    uint32_t type;         /* enum tmgr_type; model_init makes a set, of which an ordered_set is none the wiser */
};
void model_init(struct model *model);
void model_free(struct model *model);
void model_copy(struct model *to, const struct model *from);
const struct entry *model_find(const struct model *model, uint64_t id);
void model_put(struct model *model, uint64_t id, uint64_t stamp, size_t payload);
void model_clear(struct model *model);

/* -- operations ----------------------------------------------------------------------------------------------------- */

enum verb {
    VERB_INSERT,
    VERB_INSERT_NEW,
    VERB_DELETE,
    VERB_TAKE,
    VERB_DELETE_OBJECT,
    VERB_COMPARE_AND_SWAP, /* from the row the model has for the id to (stamp, payload) */
    VERB_UPDATE_COUNTER,   /* adds stamp; payload != 0: with a default row of that payload */
    VERB_UPDATE_ELEMENT,   /* stores stamp; payload as above */
    VERB_APPLY,
    VERB_DELETE_MANY,
    VERB_DELETE_ALL,
    VERB_REPLACE_ROWS, /* of a bag, what select_delete and select_replace do to a key: every second row of it (kind 1: all) goes
                          (payload 0) or becomes another */
    VERB_COUNT
};
const char *verb_name(enum verb verb);

enum { ITEMS_MAX = 256 };

struct item {
    uint32_t kind; /* enum tmgr_op_kind, for VERB_APPLY */
    uint64_t id;
    uint64_t stamp;
    size_t payload;
    uint32_t group; /* as in struct tmgr_op */
};
struct op {
    enum verb verb;
    size_t n;
    struct item items[ITEMS_MAX];
};

struct bound {
    const struct op *op;
    uint8_t *memory;
    struct tmgr_op ops[ITEMS_MAX]; /* one per item; single verbs use the first */
    const uint8_t *old_row;        /* compare_and_swap; replace_rows: all of the key */
    size_t old_len;
    const uint8_t *keys; /* delete_many */
    size_t keys_len;
    struct tmgr_buffer result; /* with room for any row of the op, so that the call need not allocate */
};
struct outcome {
    int status;
    uint64_t removed;
    size_t failed;
    uint64_t digest; /* of the bytes returned: row of take, results of update_counter */
};

void op_bind(struct bound *bound, const struct op *op, const struct model *model);
void bound_free(struct bound *bound);
/* op_call is the call alone; op_finish makes its outcome comparable; op_run is both. */
void op_call(struct bound *bound, struct tmgr_table *table, int64_t wait_ns, struct outcome *outcome);
void op_finish(const struct bound *bound, struct outcome *outcome);
void op_run(struct bound *bound, struct tmgr_table *table, int64_t wait_ns, struct outcome *outcome);
/* The same on the model, which must be in the state the op was bound against. */
void op_model(const struct bound *bound, struct model *model, struct outcome *outcome);
bool outcomes_equal(const struct outcome *a, const struct outcome *b);
/* "insert id=4 stamp=9 payload=30" and so on. */
void op_text(const struct op *op, char *out, size_t size);

/* -- comparing ------------------------------------------------------------------------------------------------------ */

enum { PROBLEM_MAX = 400 };

/* Every row of the model is in the table, nothing else is, len says so. False: what is wrong is in problem. */
bool table_equals_model(struct tmgr_table *table, const struct model *model, char problem[PROBLEM_MAX]);
/* n seeded operations over ids below id_bound, each compared with the model, reads among them. */
bool run_mixed(struct tmgr_table *table, struct model *model, uint64_t seed, size_t n, uint64_t id_bound,
               char problem[PROBLEM_MAX]);
/* One random operation over ids below id_bound. */
void op_random(struct op *op, struct random *random, uint64_t id_bound);
/* tmgr_check finds nothing. */
bool check_is_clean(struct tmgr_table *table, bool repair, char problem[PROBLEM_MAX]);

#endif
