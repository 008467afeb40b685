/* SPDX-License-Identifier: Apache-2.0 */
/* ordered.c - see ordered.h. Ids are spread out, so that new keys come between others: ints and strings, half of each. */
#include "ordered.h"

enum { FIRST_ID = 1000, SPREAD = 16, SMALL_ROW = 120, EDGE_ID = 700001, FULL_BYTES = 700 << 10 };

/* -- rows that are there, and keys that are not -- */

static uint64_t new_id(struct setup *setup, uint64_t rows) {
    uint64_t id;
    do
        id = FIRST_ID + random_below(&setup->random, SPREAD * rows);
    while (model_find(&setup->model, id));
    return id;
}

static uint64_t some_id(struct setup *setup) {
    size_t at = (size_t)random_below(&setup->random, setup->model.capacity);
    while (!setup->model.entries[at].row)
        at = (at + 1) % setup->model.capacity;
    return setup->model.entries[at].id;
}

static void grow_tree(struct setup *setup, uint64_t rows) {
    while (setup->model.count < rows)
        setup_put(setup, new_id(setup, rows), 20 + (size_t)random_below(&setup->random, 60));
}

static void make_insert(struct setup *setup, uint64_t i, struct op *op) {
    (void)i;
    *op = op_single(VERB_INSERT, new_id(setup, 1000), 1 + random_below(&setup->random, 60000), 40);
}

/* Behind all other keys. */
static void make_edge_insert(struct setup *setup, uint64_t i, struct op *op) {
    uint64_t id = EDGE_ID + 6 * i;
    while (model_find(&setup->model, id))
        id += 6;
    *op = op_single(VERB_INSERT, id, 1 + random_below(&setup->random, 60000), 40);
}

static void make_delete(struct setup *setup, uint64_t i, struct op *op) {
    (void)i;
    *op = op_single(VERB_DELETE, some_id(setup), 0, 0);
}

/* -- single rows -- */

void ordered_first_row(struct setup *setup) { setup->op = op_single(VERB_INSERT, FIRST_ID, 5, 60); }

void ordered_new_key(struct setup *setup) {
    grow_tree(setup, 60);
    setup_until(setup, EVENT_NO_RESHAPE, make_insert);
}

void ordered_larger(struct setup *setup) {
    grow_tree(setup, 60);
    setup->op = op_single(VERB_INSERT, some_id(setup), 6, 900);
}

void ordered_smaller(struct setup *setup) {
    grow_tree(setup, 60);
    uint64_t id = some_id(setup);
    setup_put(setup, id, 900);
    setup->op = op_single(VERB_INSERT, id, 6, 10);
}

void ordered_update_default(struct setup *setup) {
    grow_tree(setup, 60);
    setup->op = op_single(VERB_UPDATE_COUNTER, new_id(setup, 60), 7, 50);
}

void ordered_delete(struct setup *setup) {
    grow_tree(setup, 60);
    setup_until(setup, EVENT_NO_RESHAPE, make_delete);
}

/* -- the tree grows -- */

void ordered_leaf_split(struct setup *setup) {
    grow_tree(setup, 60);
    setup_until(setup, EVENT_LEAF_SPLIT, make_insert);
}

void ordered_edge_split(struct setup *setup) {
    grow_tree(setup, 60);
    setup_until(setup, EVENT_EDGE_SPLIT, make_edge_insert);
}

void ordered_inner_split(struct setup *setup) {
    grow_tree(setup, 150);
    setup_until(setup, EVENT_INNER_SPLIT, make_insert);
}

void ordered_root_growth(struct setup *setup) {
    grow_tree(setup, 5);
    setup_until(setup, EVENT_ROOT_GROWTH, make_insert);
}

void ordered_root_split(struct setup *setup) {
    grow_tree(setup, 60);
    setup_until(setup, EVENT_ROOT_SPLIT, make_insert);
}

static size_t overwrite_payload;

/* Of a small row, so that no large block comes free. */
static void make_overwrite(struct setup *setup, uint64_t i, struct op *op) {
    uint64_t id = some_id(setup);
    while (model_find(&setup->model, id)->len > SMALL_ROW)
        id = some_id(setup);
    (void)i;
    *op = op_single(VERB_INSERT, id, 1 + random_below(&setup->random, 60000), overwrite_payload);
}

/* The last leaf is full, and so is memory for whatever is as large as `least`. */
static void fill_up(struct setup *setup, enum event event, size_t least) {
    static const size_t payloads[] = {20000, 7000, 3000, 900, 400, 250, 200};
    setup_until(setup, EVENT_EDGE_SPLIT, make_edge_insert);
    for (size_t i = 0; i < sizeof payloads / sizeof *payloads && payloads[i] >= least; i++) {
        overwrite_payload = payloads[i];
        setup_until(setup, event, make_overwrite);
    }
}

void ordered_node_growth(struct setup *setup) {
    grow_tree(setup, 60);
    fill_up(setup, EVENT_GROWTH, 0);
    setup_until(setup, EVENT_NODE_GROWTH, make_edge_insert);
}

/* -- the tree shrinks -- */

void ordered_leaf_merge(struct setup *setup) {
    grow_tree(setup, 120);
    setup_until(setup, EVENT_LEAF_MERGE, make_delete);
}

void ordered_epoch_merge(struct setup *setup) {
    grow_tree(setup, 200);
    setup_until(setup, EVENT_EPOCH_MERGE, make_delete);
}

void ordered_inner_merge(struct setup *setup) {
    grow_tree(setup, 300);
    setup_until(setup, EVENT_INNER_MERGE, make_delete);
}

void ordered_root_shrink(struct setup *setup) {
    grow_tree(setup, 30);
    setup_until(setup, EVENT_ROOT_SHRINK, make_delete);
}

void ordered_last_row(struct setup *setup) {
    grow_tree(setup, 30);
    while (setup->model.count > 1) {
        struct op op;
        make_delete(setup, 0, &op);
        setup_run(setup, &op);
    }
    make_delete(setup, 0, &setup->op);
}

/* All rows, two leaves at first. */
void ordered_delete_many(struct setup *setup) {
    grow_tree(setup, 14);
    setup_until(setup, EVENT_ROOT_SHRINK, make_delete);
    setup->op = (struct op){.verb = VERB_DELETE_MANY};
    for (size_t i = 0; i < setup->model.capacity; i++)
        if (setup->model.entries[i].row)
            op_add(&setup->op, TMGR_OP_DELETE, setup->model.entries[i].id, 0, 0);
}

void ordered_slab_given(struct setup *setup) {
    grow_tree(setup, 500);
    setup_until(setup, EVENT_GIVE, make_delete);
}

/* -- several rows at once -- */

static void add_inserts(struct setup *setup, uint64_t n, uint64_t rows) {
    setup->op = (struct op){.verb = VERB_APPLY};
    for (uint64_t i = 0; i < n; i++)
        op_add(&setup->op, TMGR_OP_INSERT, i % 3 == 0 ? some_id(setup) : new_id(setup, rows), 100 + i, 30);
}

/* Rows of old keys, and new keys in between: slots that records wait for are moved by a split. */
void ordered_apply(struct setup *setup) {
    grow_tree(setup, 10);
    add_inserts(setup, 8, 10);
}

void ordered_apply_aborts(struct setup *setup) {
    ordered_apply(setup);
    op_add(&setup->op, TMGR_OP_UPDATE_COUNTER, 1, 1, 0); /* absent, and no default row */
}

void ordered_apply_bulk(struct setup *setup) {
    grow_tree(setup, 50);
    add_inserts(setup, 60, 50);
}

void ordered_apply_bulk_aborts(struct setup *setup) {
    ordered_apply_bulk(setup);
    op_add(&setup->op, TMGR_OP_UPDATE_COUNTER, 1, 1, 0);
}

/* A key comes, goes and comes again while its leaf fills up and is split; an old one goes, comes and goes. */
void ordered_apply_one_key(struct setup *setup) {
    grow_tree(setup, 11);
    uint64_t fresh = new_id(setup, 11), old = some_id(setup);
    setup->op = (struct op){.verb = VERB_APPLY};
    for (uint64_t i = 0; i < 2; i++) {
        op_add(&setup->op, TMGR_OP_INSERT, fresh, 100 + i, 30);
        op_add(&setup->op, TMGR_OP_DELETE, old, 0, 0);
        op_add(&setup->op, TMGR_OP_INSERT, new_id(setup, 11), 200 + i, 30);
        op_add(&setup->op, TMGR_OP_DELETE, fresh, 0, 0);
        op_add(&setup->op, TMGR_OP_INSERT, new_id(setup, 11), 300 + i, 30);
        op_add(&setup->op, TMGR_OP_INSERT, old, 400 + i, 40);
    }
    op_add(&setup->op, TMGR_OP_DELETE, old, 0, 0);
    op_add(&setup->op, TMGR_OP_INSERT, fresh, 500, 50);
}

/* Leaves are merged once the deletes are decided. */
void ordered_apply_deletes(struct setup *setup) {
    grow_tree(setup, 16);
    setup->op = (struct op){.verb = VERB_APPLY};
    for (size_t i = 0; i < setup->model.capacity && setup->op.n < 12; i++)
        if (setup->model.entries[i].row)
            op_add(&setup->op, TMGR_OP_DELETE, setup->model.entries[i].id, 0, 0);
    op_add(&setup->op, TMGR_OP_INSERT, new_id(setup, 16), 7, 30);
}

/* -- everything -- */

void ordered_delete_all(struct setup *setup) {
    grow_tree(setup, 60);
    setup->op = (struct op){.verb = VERB_DELETE_ALL};
}

static void tear_down(struct setup *setup, uint64_t rows) {
    struct op op = {.verb = VERB_DELETE_ALL};
    grow_tree(setup, rows);
    setup_run(setup, &op);
    setup->op = op_single(VERB_INSERT, FIRST_ID, 5, 60);
}

/* The writer takes all of the old tree down, or as much of it as a writer does. */
void ordered_after_delete_all(struct setup *setup) { tear_down(setup, 30); }
void ordered_after_larger_delete_all(struct setup *setup) { tear_down(setup, 150); }

/* -- a full table -- */

static void make_large_insert(struct setup *setup, uint64_t i, struct op *op) {
    make_edge_insert(setup, i, op);
    op->items[0].payload = 7000;
}

void ordered_full_row(struct setup *setup) {
    setup_limit(setup, FULL_BYTES);
    grow_tree(setup, 200);
    fill_up(setup, EVENT_REFUSAL, 7000);
    setup_until(setup, EVENT_FULL_ROW, make_large_insert);
}

void ordered_full_node(struct setup *setup) {
    setup_limit(setup, FULL_BYTES);
    grow_tree(setup, 200);
    fill_up(setup, EVENT_REFUSAL, 0);
    setup_until(setup, EVENT_FULL_NODE, make_edge_insert);
}

void ordered_full_apply(struct setup *setup) {
    ordered_full_row(setup);
    setup->op = (struct op){.verb = VERB_APPLY};
    for (uint64_t i = 0; i < 6; i++)
        op_add(&setup->op, TMGR_OP_INSERT, i % 3 == 0 ? some_id(setup) : EDGE_ID + 2 * i, 100 + i, 30);
    op_add(&setup->op, TMGR_OP_INSERT, new_id(setup, 200), 1, 7000);
}
