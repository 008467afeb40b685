/* SPDX-License-Identifier: Apache-2.0 */
/* cases.c - what is killed: one operation each, and the table that it is killed on. */
#include "cases.h"

#include "bags.h"
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

static void prepare_growth_ahead(struct setup *setup) {
    setup_fill(setup, 0, 400, 40, 60);
    setup_until(setup, EVENT_GROWTH_AHEAD, make_insert);
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

/* A transaction of a few rows, whose log is kept for the next. */
static void apply_before(struct setup *setup, uint64_t n) {
    struct op op = {.verb = VERB_APPLY};
    for (uint64_t i = 0; i < n; i++)
        op_add(&op, TMGR_OP_INSERT, 20 + i, 50 + i, 50);
    setup_run(setup, &op);
}

static void prepare_apply_again(struct setup *setup) {
    prepare_apply(setup);
    apply_before(setup, 3);
}

/* Its log has no room for another ten. */
static void prepare_apply_with_full_log(struct setup *setup) {
    prepare_apply(setup);
    apply_before(setup, 12);
}

/* A full table gives the log back when it looks for memory. */
static void prepare_full_apply(struct setup *setup) {
    setup_limit(setup, FULL_BYTES);
    small_table(setup);
    apply_before(setup, 3);
    setup_until(setup, EVENT_REFUSAL, make_big_insert);
    setup->op = (struct op){.verb = VERB_APPLY};
    op_add(&setup->op, TMGR_OP_INSERT, 3, 6, 30);
    op_add(&setup->op, TMGR_OP_INSERT, 1000, 5, 60);
    op_add(&setup->op, TMGR_OP_INSERT, 1001, 7, 7000);
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

static void prepare_insert_all_new(struct setup *setup) {
    small_table(setup);
    setup->op = (struct op){.verb = VERB_APPLY};
    for (uint64_t i = 0; i < 6; i++)
        op_add(&setup->op, TMGR_OP_INSERT_ALL_NEW, 1000 + i, 5 + i, 60);
}

/* Of two groups, each to be inserted whole or not at all, one has a key that is there. */
static void prepare_apply_groups(struct setup *setup) {
    small_table(setup);
    setup->op = (struct op){.verb = VERB_APPLY};
    for (uint64_t i = 0; i < 6; i++)
        op_add(&setup->op, TMGR_OP_INSERT_NEW, i == 1 ? 11 : 1000 + i, 5 + i, 60);
    setup->op.items[0].group = setup->op.items[3].group = 3;
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

/* -- cases where check(repair) follows: of each kind of thing that it may have to repair --------------------------- */

static void prepare_then_check(struct setup *setup, void (*prepare)(struct setup *setup)) {
    prepare(setup);
    setup->is_checked = true;
}
static void check_after_overwrite(struct setup *setup) { prepare_then_check(setup, prepare_larger); }
static void check_after_split(struct setup *setup) { prepare_then_check(setup, prepare_split); }
static void check_after_apply(struct setup *setup) { prepare_then_check(setup, prepare_apply); }
static void check_after_delete_all(struct setup *setup) { prepare_then_check(setup, prepare_delete_all); }
static void check_after_bag_delete(struct setup *setup) { prepare_then_check(setup, bag_delete); }
static void check_after_leaf_split(struct setup *setup) { prepare_then_check(setup, ordered_leaf_split); }

/* -- cases about the life of a table ------------------------------------------------------------------------------- */

static const struct life life_create = {.op = LIFE_CREATE, .start = START_ABSENT};
static const struct life life_create_over_gone = {.op = LIFE_CREATE, .start = START_GONE};
static const struct life life_attach_gone = {.op = LIFE_ATTACH, .start = START_GONE};
static const struct life life_claim = {.op = LIFE_CLAIM, .start = START_ORPHAN};
static const struct life life_inherit = {.op = LIFE_KEEP, .start = START_ORPHAN};
static const struct life life_offer = {.op = LIFE_OFFER, .start = START_ORPHAN};
static const struct life life_take = {.op = LIFE_TAKE, .start = START_ORPHAN, .beforehand = LIFE_OFFER};
static const struct life life_settle = {.op = LIFE_SETTLE, .start = START_HEIR};
static const struct life life_give_away = {.op = LIFE_GIVE_AWAY, .start = START_ORPHAN, .beforehand = LIFE_CLAIM};
static const struct life life_pass_on = {.op = LIFE_PASS_ON, .start = START_ORPHAN, .beforehand = LIFE_KEEP};
static const struct life life_pass_on_kept = {.op = LIFE_PASS_ON_KEPT, .start = START_ORPHAN, .beforehand = LIFE_KEEP};
static const struct life life_inherit_told = {.op = LIFE_KEEP_TOLD, .start = START_ORPHAN};
static const struct life life_settle_told = {.op = LIFE_SETTLE_TOLD, .start = START_HEIR};
static const struct life life_note_end = {.op = LIFE_NOTE_END, .start = START_ORPHAN, .beforehand = LIFE_KEEP};
static const struct life life_note_end_to_heir = {.op = LIFE_NOTE_END, .start = START_HEIR, .beforehand = LIFE_SETTLE};
static const struct life life_protect = {.op = LIFE_PROTECT, .start = START_ORPHAN, .beforehand = LIFE_CLAIM};
static const struct life life_disinherit = {.op = LIFE_DISINHERIT, .start = START_ORPHAN, .beforehand = LIFE_CLAIM};
static const struct life life_setopts_both = {.op = LIFE_SETOPTS_BOTH, .start = START_ORPHAN, .beforehand = LIFE_CLAIM};
static const struct life life_setopts = {.op = LIFE_SETOPTS, .start = START_ORPHAN, .beforehand = LIFE_CLAIM};
static const struct life life_rename = {.op = LIFE_RENAME, .start = START_OWNED};
static const struct life life_rename_over_gone = {.op = LIFE_RENAME, .start = START_OWNED, .other_is_gone = true};
static const struct life life_relink = {.op = LIFE_RELINK, .start = START_ORPHAN, .beforehand = LIFE_LOSE};
static const struct life life_drop = {.op = LIFE_DROP, .start = START_OWNED};
static const struct life life_drop_segment = {.op = LIFE_DROP_SEGMENT, .start = START_ORPHAN};

/* -- the list ------------------------------------------------------------------------------------------------------ */

const struct crash_case crash_cases[] = {
    {"new_key", TMGR_SET, 1, prepare_new_key, NULL},
    {"first_row", TMGR_SET, 1, prepare_first_row, NULL},
    {"overwrite_same_size", TMGR_SET, 1, prepare_same_size, NULL},
    {"overwrite_larger", TMGR_SET, 1, prepare_larger, NULL},
    {"overwrite_smaller", TMGR_SET, 1, prepare_smaller, NULL},
    {"overwrite_advances_epoch", TMGR_SET, 1, prepare_advance, NULL},
    {"delete_advances_epoch", TMGR_SET, 1, prepare_advance_by_delete, NULL},
    {"insert_new", TMGR_SET, 1, prepare_insert_new, NULL},
    {"delete", TMGR_SET, 1, prepare_delete, NULL},
    {"take", TMGR_SET, 1, prepare_take, NULL},
    {"delete_object", TMGR_SET, 1, prepare_delete_object, NULL},
    {"compare_and_swap", TMGR_SET, 1, prepare_compare_and_swap, NULL},
    {"update_counter", TMGR_SET, 1, prepare_update_counter, NULL},
    {"update_with_default", TMGR_SET, 1, prepare_update_default, NULL},
    {"update_element", TMGR_SET, 1, prepare_update_element, NULL},
    {"split", TMGR_SET, 1, prepare_split, NULL},
    {"overflow_bucket", TMGR_SET, 1, prepare_overflow, NULL},
    {"growth", TMGR_SET, 1, prepare_growth, NULL},
    {"growth_ahead", TMGR_SET, 1, prepare_growth_ahead, NULL},
    {"run_of_pages", TMGR_SET, 1, prepare_run, NULL},
    {"run_of_pages_replaced", TMGR_SET, 1, prepare_run_shrinks, NULL},
    {"extents", TMGR_SET, 1, prepare_extents, NULL},
    {"extents_replaced", TMGR_SET, 1, prepare_extents_replaced, NULL},
    {"extents_deleted", TMGR_SET, 1, prepare_extents_deleted, NULL},
    {"extents_drained", TMGR_SET, 2, prepare_extents_drained, NULL},
    {"extents_long_key", TMGR_SET, 2, prepare_extents_long_key, NULL},
    {"run_of_pages_drained", TMGR_SET, 2, prepare_run_drained, NULL},
    {"slab_given_back", TMGR_SET, 2, prepare_slab_given, NULL},
    {"evacuation", TMGR_SET, 1, prepare_evacuation, NULL},
    {"apply_one_stripe", TMGR_SET, 1, prepare_apply, NULL},
    {"apply_four_stripes", TMGR_SET, 4, prepare_apply, NULL},
    {"apply_bulk", TMGR_SET, 4, prepare_apply_bulk, NULL},
    {"apply_bulk_one_stripe", TMGR_SET, 1, prepare_apply_bulk, NULL},
    {"apply_again", TMGR_SET, 1, prepare_apply_again, NULL},
    {"apply_again_four_stripes", TMGR_SET, 4, prepare_apply_again, NULL},
    {"apply_with_full_log", TMGR_SET, 1, prepare_apply_with_full_log, NULL},
    {"full_apply", TMGR_SET, 1, prepare_full_apply, NULL},
    {"apply_advances_epoch", TMGR_SET, 1, prepare_apply_advance, NULL},
    {"apply_aborts", TMGR_SET, 4, prepare_apply_aborts, NULL},
    {"apply_refused", TMGR_SET, 4, prepare_apply_refused, NULL},
    {"apply_large_rows", TMGR_SET, 4, prepare_apply_large, NULL},
    {"apply_groups", TMGR_SET, 4, prepare_apply_groups, NULL},
    {"insert_all_new", TMGR_SET, 4, prepare_insert_all_new, NULL},
    {"delete_many", TMGR_SET, 4, prepare_delete_many, NULL},
    {"delete_all", TMGR_SET, 4, prepare_delete_all, NULL},
    {"delete_all_one_stripe", TMGR_SET, 1, prepare_delete_all, NULL},
    {"write_after_delete_all", TMGR_SET, 1, prepare_after_delete_all, NULL},
    {"ordered_first_row", TMGR_ORDERED_SET, 1, ordered_first_row, NULL},
    {"ordered_new_key", TMGR_ORDERED_SET, 1, ordered_new_key, NULL},
    {"ordered_overwrite_larger", TMGR_ORDERED_SET, 1, ordered_larger, NULL},
    {"ordered_overwrite_smaller", TMGR_ORDERED_SET, 1, ordered_smaller, NULL},
    {"ordered_update_with_default", TMGR_ORDERED_SET, 1, ordered_update_default, NULL},
    {"ordered_delete", TMGR_ORDERED_SET, 1, ordered_delete, NULL},
    {"ordered_leaf_split", TMGR_ORDERED_SET, 1, ordered_leaf_split, NULL},
    {"ordered_edge_split", TMGR_ORDERED_SET, 1, ordered_edge_split, NULL},
    {"ordered_root_growth", TMGR_ORDERED_SET, 1, ordered_root_growth, NULL},
    {"ordered_node_growth", TMGR_ORDERED_SET, 1, ordered_node_growth, NULL},
    {"ordered_leaf_merge", TMGR_ORDERED_SET, 1, ordered_leaf_merge, NULL},
    {"ordered_merge_advances_epoch", TMGR_ORDERED_SET, 1, ordered_epoch_merge, NULL},
    {"ordered_root_shrink", TMGR_ORDERED_SET, 1, ordered_root_shrink, NULL},
    {"ordered_last_row", TMGR_ORDERED_SET, 1, ordered_last_row, NULL},
    {"ordered_delete_many", TMGR_ORDERED_SET, 1, ordered_delete_many, NULL},
    {"ordered_slab_given_back", TMGR_ORDERED_SET, 1, ordered_slab_given, NULL},
    {"ordered_apply", TMGR_ORDERED_SET, 1, ordered_apply, NULL},
    {"ordered_apply_aborts", TMGR_ORDERED_SET, 1, ordered_apply_aborts, NULL},
    {"ordered_apply_bulk", TMGR_ORDERED_SET, 1, ordered_apply_bulk, NULL},
    {"ordered_apply_bulk_aborts", TMGR_ORDERED_SET, 1, ordered_apply_bulk_aborts, NULL},
    {"ordered_apply_one_key", TMGR_ORDERED_SET, 1, ordered_apply_one_key, NULL},
    {"ordered_apply_deletes", TMGR_ORDERED_SET, 1, ordered_apply_deletes, NULL},
    {"ordered_delete_all", TMGR_ORDERED_SET, 1, ordered_delete_all, NULL},
    {"ordered_write_after_delete_all", TMGR_ORDERED_SET, 1, ordered_after_delete_all, NULL},
    {"ordered_write_after_larger_delete_all", TMGR_ORDERED_SET, 1, ordered_after_larger_delete_all, NULL},
    {"ordered_full_at_row", TMGR_ORDERED_SET, 1, ordered_full_row, NULL},
    {"ordered_full_at_node", TMGR_ORDERED_SET, 1, ordered_full_node, NULL},
    {"ordered_full_apply", TMGR_ORDERED_SET, 1, ordered_full_apply, NULL},
    {"bag_first_row", TMGR_BAG, 1, prepare_first_row, NULL},
    {"bag_new_key", TMGR_BAG, 1, prepare_new_key, NULL},
    {"bag_insert_new", TMGR_DUPLICATE_BAG, 1, prepare_insert_new, NULL},
    {"bag_insert", TMGR_BAG, 1, bag_insert, NULL},
    {"bag_insert_again", TMGR_BAG, 1, bag_insert_again, NULL},
    {"duplicate_bag_insert_again", TMGR_DUPLICATE_BAG, 1, bag_insert_again, NULL},
    {"bag_insert_large", TMGR_DUPLICATE_BAG, 1, bag_insert_large, NULL},
    {"bag_insert_tidies", TMGR_DUPLICATE_BAG, 1, bag_insert_tidies, NULL},
    {"bag_split", TMGR_DUPLICATE_BAG, 1, bag_split, NULL},
    {"bag_overflow", TMGR_DUPLICATE_BAG, 1, bag_overflow, NULL},
    {"bag_delete_row", TMGR_BAG, 1, bag_delete_row, NULL},
    {"bag_delete", TMGR_DUPLICATE_BAG, 1, bag_delete, NULL},
    {"bag_delete_large", TMGR_DUPLICATE_BAG, 1, bag_delete_large, NULL},
    {"bag_delete_with_trash", TMGR_DUPLICATE_BAG, 1, bag_delete_with_trash, NULL},
    {"bag_take", TMGR_BAG, 1, bag_take, NULL},
    {"bag_delete_object_newest", TMGR_DUPLICATE_BAG, 1, bag_delete_object_newest, NULL},
    {"bag_delete_object_between", TMGR_DUPLICATE_BAG, 1, bag_delete_object_between, NULL},
    {"bag_delete_object_oldest", TMGR_BAG, 1, bag_delete_object_oldest, NULL},
    {"bag_delete_object_only", TMGR_BAG, 1, bag_delete_object_only, NULL},
    {"bag_replace_some", TMGR_DUPLICATE_BAG, 1, bag_replace_some, NULL},
    {"bag_replace_deletes", TMGR_BAG, 1, bag_replace_deletes, NULL},
    {"bag_replace_deletes_all", TMGR_DUPLICATE_BAG, 1, bag_replace_deletes_all, NULL},
    {"bag_apply", TMGR_BAG, 4, bag_apply, NULL},
    {"bag_apply_one_stripe", TMGR_DUPLICATE_BAG, 1, bag_apply, NULL},
    {"bag_apply_bulk", TMGR_DUPLICATE_BAG, 2, bag_apply_bulk, NULL},
    {"bag_apply_one_key", TMGR_DUPLICATE_BAG, 2, bag_apply_one_key, NULL},
    {"bag_insert_all_new", TMGR_BAG, 2, bag_insert_all_new, NULL},
    {"bag_full_apply", TMGR_DUPLICATE_BAG, 1, bag_full_apply, NULL},
    {"bag_delete_many", TMGR_DUPLICATE_BAG, 2, bag_delete_many, NULL},
    {"bag_delete_all", TMGR_DUPLICATE_BAG, 2, bag_delete_all, NULL},
    {"bag_write_after_delete_all", TMGR_DUPLICATE_BAG, 1, bag_after_delete_all, NULL},
    {"bag_slab_given_back", TMGR_DUPLICATE_BAG, 1, bag_slab_given, NULL},
    {"bag_evacuation", TMGR_DUPLICATE_BAG, 1, bag_evacuation, NULL},
    {"check_after_overwrite", TMGR_SET, 1, check_after_overwrite, NULL},
    {"check_after_split", TMGR_SET, 1, check_after_split, NULL},
    {"check_after_apply", TMGR_SET, 4, check_after_apply, NULL},
    {"check_after_delete_all", TMGR_SET, 4, check_after_delete_all, NULL},
    {"check_after_bag_delete", TMGR_DUPLICATE_BAG, 1, check_after_bag_delete, NULL},
    {"check_after_leaf_split", TMGR_ORDERED_SET, 1, check_after_leaf_split, NULL},
    {"create", TMGR_SET, 2, NULL, &life_create},
    {"create_over_gone", TMGR_SET, 2, NULL, &life_create_over_gone},
    {"attach_gone", TMGR_SET, 2, NULL, &life_attach_gone},
    {"claim", TMGR_SET, 2, small_table, &life_claim},
    {"inherit", TMGR_SET, 2, small_table, &life_inherit},
    {"offer", TMGR_SET, 2, small_table, &life_offer},
    {"take_offered", TMGR_SET, 2, small_table, &life_take},
    {"settle", TMGR_SET, 2, small_table, &life_settle},
    {"give_away", TMGR_SET, 2, small_table, &life_give_away},
    {"pass_on", TMGR_SET, 2, small_table, &life_pass_on},
    {"pass_on_kept", TMGR_SET, 2, small_table, &life_pass_on_kept},
    {"inherit_told", TMGR_SET, 2, small_table, &life_inherit_told},
    {"settle_told", TMGR_SET, 2, small_table, &life_settle_told},
    {"note_end", TMGR_SET, 2, small_table, &life_note_end},
    {"note_end_to_heir", TMGR_SET, 2, small_table, &life_note_end_to_heir},
    {"setopts", TMGR_SET, 2, small_table, &life_setopts},
    {"setopts_access", TMGR_SET, 2, small_table, &life_protect},
    {"setopts_heir_none", TMGR_SET, 2, small_table, &life_disinherit},
    {"setopts_both", TMGR_SET, 2, small_table, &life_setopts_both},
    {"rename", TMGR_SET, 2, small_table, &life_rename},
    {"rename_over_gone", TMGR_SET, 2, small_table, &life_rename_over_gone},
    {"relink", TMGR_SET, 2, small_table, &life_relink},
    {"drop", TMGR_SET, 2, small_table, &life_drop},
    {"ordered_create", TMGR_ORDERED_SET, 1, NULL, &life_create},
    {"bag_create", TMGR_BAG, 2, NULL, &life_create},
    {"drop_segment", TMGR_SET, 2, small_table, &life_drop_segment},
};
const size_t n_crash_cases = sizeof crash_cases / sizeof *crash_cases;
