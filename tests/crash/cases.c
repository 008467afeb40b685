/* SPDX-License-Identifier: Apache-2.0 */
/* cases.c - what is killed: one operation each, and the table that it is killed on. */
#include "cases.h"

#include "ordered.h"

/* -- cases about rows ---------------------------------------------------------------------------------------------- */

static void make_insert(struct setup *setup, uint64_t i, struct op *op) {
    *op = op_single(VERB_INSERT, 10000 + i, 1 + random_below(&setup->random, 60000), 40);
}

static void make_big_insert(struct setup *setup, uint64_t i, struct op *op) {
    *op = op_single(VERB_INSERT, 10000 + i, 1 + random_below(&setup->random, 60000), 7000);
}

static void make_overwrite(struct setup *setup, uint64_t i, struct op *op) {
    *op = op_single(VERB_INSERT, i % 10, 1 + random_below(&setup->random, 60000), 60);
}

static void small_table(struct setup *setup) { setup_fill(setup, 0, 40, 40, 120); }

static void prepare_new_key(struct setup *setup) {
    small_table(setup);
    setup->op = op_single(VERB_INSERT, 1000, 5, 60);
}

static void prepare_first_row(struct setup *setup) { setup->op = op_single(VERB_INSERT, 1, 5, 60); }

static void prepare_same_size(struct setup *setup) {
    small_table(setup);
    setup_put(setup, 7, 60);
    setup->op = op_single(VERB_INSERT, 7, 5, 60);
}

static void prepare_larger(struct setup *setup) {
    prepare_same_size(setup);
    setup->op = op_single(VERB_INSERT, 7, 6, 900);
}

static void prepare_smaller(struct setup *setup) {
    small_table(setup);
    setup_put(setup, 7, 900);
    setup->op = op_single(VERB_INSERT, 7, 6, 10);
}

static void prepare_advance(struct setup *setup) {
    small_table(setup);
    for (uint64_t i = 0; i < 300; i++)
        setup_put(setup, i % 10, 60);
    setup_until(setup, EVENT_EPOCH, make_overwrite);
}

static void prepare_advance_by_delete(struct setup *setup) {
    prepare_advance(setup);
    setup->op = op_single(VERB_DELETE, 3, 0, 0);
}

static void prepare_insert_new(struct setup *setup) {
    small_table(setup);
    setup->op = op_single(VERB_INSERT_NEW, 1001, 5, 60);
}

static void prepare_delete(struct setup *setup) {
    small_table(setup);
    setup->op = op_single(VERB_DELETE, 12, 0, 0);
}

static void prepare_take(struct setup *setup) {
    small_table(setup);
    setup->op = op_single(VERB_TAKE, 13, 0, 0);
}

static void prepare_delete_object(struct setup *setup) {
    small_table(setup);
    setup->op = op_single(VERB_DELETE_OBJECT, 14, 0, 0);
}

static void prepare_compare_and_swap(struct setup *setup) {
    small_table(setup);
    setup->op = op_single(VERB_COMPARE_AND_SWAP, 15, 7, 200);
}

static void prepare_update_counter(struct setup *setup) {
    small_table(setup);
    setup->op = op_single(VERB_UPDATE_COUNTER, 16, 7, 0);
}

static void prepare_update_default(struct setup *setup) {
    small_table(setup);
    setup->op = op_single(VERB_UPDATE_COUNTER, 1002, 7, 50);
}

static void prepare_update_element(struct setup *setup) {
    small_table(setup);
    setup->op = op_single(VERB_UPDATE_ELEMENT, 17, 70000, 0);
}

static void prepare_split(struct setup *setup) {
    setup_fill(setup, 0, 100, 40, 60);
    setup_until(setup, EVENT_SPLIT, make_insert);
}

static void prepare_overflow(struct setup *setup) {
    setup_fill(setup, 0, 100, 40, 60);
    setup_until(setup, EVENT_OVERFLOW, make_insert);
}

static void prepare_growth(struct setup *setup) {
    setup_fill(setup, 0, 20, 40, 60);
    setup_until(setup, EVENT_GROWTH, make_big_insert);
}

static void prepare_run(struct setup *setup) {
    small_table(setup);
    setup->op = op_single(VERB_INSERT, 1003, 5, 20000);
}

static void prepare_run_shrinks(struct setup *setup) {
    small_table(setup);
    setup_put(setup, 8, 20000);
    setup->op = op_single(VERB_INSERT, 8, 5, 50);
}

static void prepare_extents(struct setup *setup) {
    small_table(setup);
    setup->op = op_single(VERB_INSERT, 1004, 5, 270000);
}

static void prepare_extents_replaced(struct setup *setup) {
    small_table(setup);
    setup_put(setup, 8, 600000);
    setup->op = op_single(VERB_INSERT, 8, 5, 270000);
}

static void prepare_extents_deleted(struct setup *setup) {
    small_table(setup);
    setup_put(setup, 8, 600000);
    setup->op = op_single(VERB_DELETE, 8, 0, 0);
}

static void prepare_extents_drained(struct setup *setup) {
    prepare_extents_replaced(setup);
    setup_put(setup, 8, 60);
    setup_until(setup, EVENT_GIVE, make_overwrite);
}

/* The block that lists a row's extents holds its key too: with a long one it has pages of its own. */
static void prepare_extents_long_key(struct setup *setup) {
    setup_fill(setup, 0, 10, 60, 60);
    setup_put(setup, LONG_KEY_ID, 600000);
    setup_put(setup, LONG_KEY_ID, 60);
    setup_until(setup, EVENT_GIVE, make_overwrite);
}

static void prepare_run_drained(struct setup *setup) {
    prepare_run_shrinks(setup);
    setup_put(setup, 8, 60);
    setup_until(setup, EVENT_GIVE, make_overwrite);
}

static void make_delete(struct setup *setup, uint64_t i, struct op *op) {
    (void)setup;
    *op = op_single(VERB_DELETE, 40 + i % 600, 0, 0);
}

static void prepare_slab_given(struct setup *setup) {
    setup_fill(setup, 0, 640, 100, 100);
    setup_until(setup, EVENT_GIVE, make_delete);
}

enum { FULL_BYTES = 400 << 10, FULL_ROW = 30000 };

/* Of a full table's rows four in five are deleted: the large one finds free pages when rows have been moved together. */
static void prepare_evacuation(struct setup *setup) {
    uint64_t n = setup_full(setup, FULL_BYTES, 40, 80);
    for (uint64_t i = 0; i < n; i++) {
        struct op op = op_single(VERB_DELETE, 40 + i, 0, 0);
        if (i % 5 != 0)
            setup_run(setup, &op);
    }
    setup->op = op_single(VERB_INSERT, 1000000, 5, FULL_ROW);
}

static void prepare_apply(struct setup *setup) {
    small_table(setup);
    setup->op = (struct op){.verb = VERB_APPLY};
    op_add(&setup->op, TMGR_OP_INSERT, 1000, 5, 60);
    op_add(&setup->op, TMGR_OP_INSERT, 3, 6, 300);
    op_add(&setup->op, TMGR_OP_DELETE, 4, 0, 0);
    op_add(&setup->op, TMGR_OP_INSERT_NEW, 1001, 7, 60);
    op_add(&setup->op, TMGR_OP_UPDATE_COUNTER, 5, 9, 0);
    op_add(&setup->op, TMGR_OP_DELETE_OBJECT, 6, 0, 0);
    op_add(&setup->op, TMGR_OP_UPDATE_ELEMENT, 1002, 11, 20);
    op_add(&setup->op, TMGR_OP_INSERT, 1005, 12, 30);
    op_add(&setup->op, TMGR_OP_INSERT, 1000, 13, 31);
    op_add(&setup->op, TMGR_OP_INSERT, 7, 14, 40);
}

static void prepare_apply_bulk(struct setup *setup) {
    small_table(setup);
    setup->op = (struct op){.verb = VERB_APPLY};
    for (uint64_t i = 0; i < 60; i++)
        op_add(&setup->op, TMGR_OP_INSERT, i < 20 ? i : 1000 + i, 100 + i, 30);
}

static void prepare_apply_advance(struct setup *setup) {
    small_table(setup);
    for (uint64_t i = 0; i < 320; i++)
        setup_put(setup, i % 10, 60);
    setup->op = (struct op){.verb = VERB_APPLY};
    for (uint64_t i = 0; i < 40; i++)
        op_add(&setup->op, TMGR_OP_INSERT, i, 100 + i, 61);
}

static void prepare_apply_aborts(struct setup *setup) {
    prepare_apply(setup);
    op_add(&setup->op, TMGR_OP_UPDATE_COUNTER, 1900, 1, 0); /* absent, and no default row */
}

static void prepare_apply_refused(struct setup *setup) {
    prepare_apply(setup);
    op_add(&setup->op, TMGR_OP_INSERT_ALL_NEW, 9, 1, 20); /* is there */
}

static void prepare_apply_large(struct setup *setup) {
    small_table(setup);
    setup->op = (struct op){.verb = VERB_APPLY};
    op_add(&setup->op, TMGR_OP_INSERT, 1000, 5, 20000);
    op_add(&setup->op, TMGR_OP_INSERT, 3, 6, 9000);
    op_add(&setup->op, TMGR_OP_DELETE, 4, 0, 0);
}

static void prepare_delete_many(struct setup *setup) {
    small_table(setup);
    setup->op = (struct op){.verb = VERB_DELETE_MANY};
    for (uint64_t id = 10; id < 18; id++)
        op_add(&setup->op, TMGR_OP_DELETE, id, 0, 0);
}

static void prepare_delete_all(struct setup *setup) {
    small_table(setup);
    setup->op = (struct op){.verb = VERB_DELETE_ALL};
}

static void prepare_after_delete_all(struct setup *setup) {
    struct op op = {.verb = VERB_DELETE_ALL};
    setup_fill(setup, 0, 150, 40, 60);
    setup_run(setup, &op);
    setup->op = op_single(VERB_INSERT, 1000, 5, 60);
}

/* -- cases about the life of a table ------------------------------------------------------------------------------- */

static const struct life life_create = {.op = LIFE_CREATE, .start = START_ABSENT};
static const struct life life_create_over_gone = {.op = LIFE_CREATE, .start = START_GONE};
static const struct life life_attach_gone = {.op = LIFE_ATTACH, .start = START_GONE};
static const struct life life_claim = {.op = LIFE_CLAIM, .start = START_ORPHAN};
static const struct life life_inherit = {.op = LIFE_KEEP, .start = START_ORPHAN};
static const struct life life_settle = {.op = LIFE_SETTLE, .start = START_HEIR};
static const struct life life_give_away = {.op = LIFE_GIVE_AWAY, .start = START_ORPHAN, .victim_claims = true};
static const struct life life_pass_on = {.op = LIFE_PASS_ON, .start = START_ORPHAN, .victim_keeps = true};
static const struct life life_setopts = {.op = LIFE_SETOPTS, .start = START_ORPHAN, .victim_claims = true};
static const struct life life_rename = {.op = LIFE_RENAME, .start = START_OWNED};
static const struct life life_rename_over_gone = {.op = LIFE_RENAME, .start = START_OWNED, .other_is_gone = true};
static const struct life life_drop = {.op = LIFE_DROP, .start = START_OWNED};
static const struct life life_drop_segment = {.op = LIFE_DROP_SEGMENT, .start = START_ORPHAN};

/* -- the list ------------------------------------------------------------------------------------------------------ */

const struct crash_case crash_cases[] = {
    {"new_key", 1, prepare_new_key, NULL},
    {"first_row", 1, prepare_first_row, NULL},
    {"overwrite_same_size", 1, prepare_same_size, NULL},
    {"overwrite_larger", 1, prepare_larger, NULL},
    {"overwrite_smaller", 1, prepare_smaller, NULL},
    {"overwrite_advances_epoch", 1, prepare_advance, NULL},
    {"delete_advances_epoch", 1, prepare_advance_by_delete, NULL},
    {"insert_new", 1, prepare_insert_new, NULL},
    {"delete", 1, prepare_delete, NULL},
    {"take", 1, prepare_take, NULL},
    {"delete_object", 1, prepare_delete_object, NULL},
    {"compare_and_swap", 1, prepare_compare_and_swap, NULL},
    {"update_counter", 1, prepare_update_counter, NULL},
    {"update_with_default", 1, prepare_update_default, NULL},
    {"update_element", 1, prepare_update_element, NULL},
    {"split", 1, prepare_split, NULL},
    {"overflow_bucket", 1, prepare_overflow, NULL},
    {"growth", 1, prepare_growth, NULL},
    {"run_of_pages", 1, prepare_run, NULL},
    {"run_of_pages_replaced", 1, prepare_run_shrinks, NULL},
    {"extents", 1, prepare_extents, NULL},
    {"extents_replaced", 1, prepare_extents_replaced, NULL},
    {"extents_deleted", 1, prepare_extents_deleted, NULL},
    {"extents_drained", 2, prepare_extents_drained, NULL},
    {"extents_long_key", 2, prepare_extents_long_key, NULL},
    {"run_of_pages_drained", 2, prepare_run_drained, NULL},
    {"slab_given_back", 2, prepare_slab_given, NULL},
    {"evacuation", 1, prepare_evacuation, NULL},
    {"apply_one_stripe", 1, prepare_apply, NULL},
    {"apply_four_stripes", 4, prepare_apply, NULL},
    {"apply_bulk", 4, prepare_apply_bulk, NULL},
    {"apply_bulk_one_stripe", 1, prepare_apply_bulk, NULL},
    {"apply_advances_epoch", 1, prepare_apply_advance, NULL},
    {"apply_aborts", 4, prepare_apply_aborts, NULL},
    {"apply_refused", 4, prepare_apply_refused, NULL},
    {"apply_large_rows", 4, prepare_apply_large, NULL},
    {"delete_many", 4, prepare_delete_many, NULL},
    {"delete_all", 4, prepare_delete_all, NULL},
    {"delete_all_one_stripe", 1, prepare_delete_all, NULL},
    {"write_after_delete_all", 1, prepare_after_delete_all, NULL},
    {"ordered_first_row", ORDERED, ordered_first_row, NULL},
    {"ordered_new_key", ORDERED, ordered_new_key, NULL},
    {"ordered_overwrite_larger", ORDERED, ordered_larger, NULL},
    {"ordered_overwrite_smaller", ORDERED, ordered_smaller, NULL},
    {"ordered_update_with_default", ORDERED, ordered_update_default, NULL},
    {"ordered_delete", ORDERED, ordered_delete, NULL},
    {"ordered_leaf_split", ORDERED, ordered_leaf_split, NULL},
    {"ordered_edge_split", ORDERED, ordered_edge_split, NULL},
    {"ordered_root_growth", ORDERED, ordered_root_growth, NULL},
    {"ordered_node_growth", ORDERED, ordered_node_growth, NULL},
    {"ordered_leaf_merge", ORDERED, ordered_leaf_merge, NULL},
    {"ordered_merge_advances_epoch", ORDERED, ordered_epoch_merge, NULL},
    {"ordered_root_shrink", ORDERED, ordered_root_shrink, NULL},
    {"ordered_last_row", ORDERED, ordered_last_row, NULL},
    {"ordered_delete_many", ORDERED, ordered_delete_many, NULL},
    {"ordered_slab_given_back", ORDERED, ordered_slab_given, NULL},
    {"ordered_apply", ORDERED, ordered_apply, NULL},
    {"ordered_apply_aborts", ORDERED, ordered_apply_aborts, NULL},
    {"ordered_apply_bulk", ORDERED, ordered_apply_bulk, NULL},
    {"ordered_apply_bulk_aborts", ORDERED, ordered_apply_bulk_aborts, NULL},
    {"ordered_apply_one_key", ORDERED, ordered_apply_one_key, NULL},
    {"ordered_apply_deletes", ORDERED, ordered_apply_deletes, NULL},
    {"ordered_delete_all", ORDERED, ordered_delete_all, NULL},
    {"ordered_write_after_delete_all", ORDERED, ordered_after_delete_all, NULL},
    {"ordered_write_after_larger_delete_all", ORDERED, ordered_after_larger_delete_all, NULL},
    {"ordered_full_at_row", ORDERED, ordered_full_row, NULL},
    {"ordered_full_at_node", ORDERED, ordered_full_node, NULL},
    {"ordered_full_apply", ORDERED, ordered_full_apply, NULL},
    {"create", 2, NULL, &life_create},
    {"create_over_gone", 2, NULL, &life_create_over_gone},
    {"attach_gone", 2, NULL, &life_attach_gone},
    {"claim", 2, small_table, &life_claim},
    {"inherit", 2, small_table, &life_inherit},
    {"settle", 2, small_table, &life_settle},
    {"give_away", 2, small_table, &life_give_away},
    {"pass_on", 2, small_table, &life_pass_on},
    {"setopts", 2, small_table, &life_setopts},
    {"rename", 2, small_table, &life_rename},
    {"rename_over_gone", 2, small_table, &life_rename_over_gone},
    {"drop", 2, small_table, &life_drop},
    {"drop_segment", 2, small_table, &life_drop_segment},
};
const size_t n_crash_cases = sizeof crash_cases / sizeof *crash_cases;
