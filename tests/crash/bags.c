/* SPDX-License-Identifier: Apache-2.0 */
/* bags.c - see bags.h. */
#include "bags.h"

enum {
    KEY = 8,             /* whose list is changed */
    COPY = 7,            /* stamp of rows that are the same */
    PAYLOAD = 30,        /* of most rows */
    FRESH = 1000,        /* ids from here on are new */
    TIDIED_AT_ONCE = 64, /* cells that a writer retires before its own work */
    FULL_BYTES = 400 << 10,
    FULL_ROW = 30000
};

static void add(struct setup *setup, uint64_t id, uint64_t stamp, size_t payload) {
    struct op op = op_single(VERB_INSERT, id, stamp, payload);
    setup_run(setup, &op);
}

/* Rows of the key, all different. */
static void add_list(struct setup *setup, uint64_t id, uint64_t n) {
    for (uint64_t i = 0; i < n; i++)
        add(setup, id, 100 + i, PAYLOAD);
}

/* Keys with one row to three. */
static void some_lists(struct setup *setup) {
    for (uint64_t id = 10; id < 40; id++)
        add_list(setup, id, 1 + id % 3);
}

static void apply_deletes(struct setup *setup, uint64_t from, uint64_t to) {
    struct op op = {.verb = VERB_APPLY};
    for (uint64_t id = from; id < to; id++)
        op_add(&op, TMGR_OP_DELETE, id, 0, 0);
    setup_run(setup, &op);
}

static void make_insert(struct setup *setup, uint64_t i, struct op *op) {
    *op = op_single(VERB_INSERT, FRESH + i, 1 + random_below(&setup->random, 60000), PAYLOAD);
}

/* -- one row more -- */

void bag_insert(struct setup *setup) {
    some_lists(setup);
    add_list(setup, KEY, 6);
    setup->op = op_single(VERB_INSERT, KEY, 5, PAYLOAD);
}

/* A bag has it, and stays as it is. */
void bag_insert_again(struct setup *setup) {
    some_lists(setup);
    add_list(setup, KEY, 6);
    setup->op = op_single(VERB_INSERT, KEY, 103, PAYLOAD);
}

void bag_insert_large(struct setup *setup) {
    some_lists(setup);
    add_list(setup, KEY, 3);
    setup->op = op_single(VERB_INSERT, KEY, 5, 270000);
}

/* The writer retires as many cells of lists that were deleted before as a writer does, and the epoch advances. */
void bag_insert_tidies(struct setup *setup) {
    some_lists(setup);
    add_list(setup, KEY, 3);
    for (uint64_t id = 0; id < 4; id++)
        add_list(setup, FRESH + id, 20);
    apply_deletes(setup, FRESH, FRESH + 4);
    setup->op = op_single(VERB_INSERT, KEY, 5, PAYLOAD);
}

static void many_lists(struct setup *setup) {
    for (uint64_t id = 10; id < 100; id++)
        add_list(setup, id, 1 + id % 3);
}

void bag_split(struct setup *setup) {
    many_lists(setup);
    setup_until(setup, EVENT_SPLIT, make_insert);
}

void bag_overflow(struct setup *setup) {
    many_lists(setup);
    setup_until(setup, EVENT_OVERFLOW, make_insert);
}

/* -- rows of a key go -- */

static void delete_list(struct setup *setup, enum verb verb, uint64_t n) {
    some_lists(setup);
    add_list(setup, KEY, n);
    setup->op = op_single(verb, KEY, 0, 0);
}

void bag_delete_row(struct setup *setup) { delete_list(setup, VERB_DELETE, 1); }
void bag_delete(struct setup *setup) { delete_list(setup, VERB_DELETE, 40); }
void bag_take(struct setup *setup) { delete_list(setup, VERB_TAKE, 12); }

void bag_delete_large(struct setup *setup) {
    delete_list(setup, VERB_DELETE, 3);
    add(setup, KEY, 5, 300000);
    add(setup, KEY, 6, 20000);
    add(setup, KEY, 7, PAYLOAD);
}

/* There are as many lists in the trash as go in, the first of which is longer than what a writer retires: this one has to
 * make room. */
void bag_delete_with_trash(struct setup *setup) {
    delete_list(setup, VERB_DELETE, 6);
    add_list(setup, FRESH, TIDIED_AT_ONCE + 20);
    for (uint64_t id = 1; id < 8; id++)
        add_list(setup, FRESH + id, 2);
    apply_deletes(setup, FRESH, FRESH + 8);
}

/* -- rows of a list go -- */

/* Five rows of COPY, so that the newest, or the oldest, or neither of all is one. */
static void delete_copies(struct setup *setup, const char *list) {
    some_lists(setup);
    for (uint64_t i = 0; list[i]; i++)
        add(setup, KEY, list[i] == 'c' ? COPY : 100 + i, PAYLOAD);
    setup->op = op_single(VERB_DELETE_OBJECT, KEY, COPY, PAYLOAD);
}

void bag_delete_object_newest(struct setup *setup) { delete_copies(setup, "-----cc"); }
void bag_delete_object_between(struct setup *setup) { delete_copies(setup, "--c--c-cc-"); }
void bag_delete_object_oldest(struct setup *setup) { delete_copies(setup, "c---"); }
void bag_delete_object_only(struct setup *setup) { delete_copies(setup, "c"); }

static void replace(struct setup *setup, uint32_t kind, size_t payload) {
    some_lists(setup);
    add_list(setup, KEY, 9);
    setup->op = op_single(VERB_REPLACE_ROWS, KEY, 500, payload);
    setup->op.items[0].kind = kind;
}

void bag_replace_some(struct setup *setup) { replace(setup, 0, 50); }
void bag_replace_deletes(struct setup *setup) { replace(setup, 0, 0); }
void bag_replace_deletes_all(struct setup *setup) { replace(setup, 1, 0); }

/* -- several rows at once -- */

/* Of keys that have rows and of new ones, several of one key among them; and rows go. */
void bag_apply(struct setup *setup) {
    some_lists(setup);
    add_list(setup, KEY, 4);
    setup->op = (struct op){.verb = VERB_APPLY};
    op_add(&setup->op, TMGR_OP_INSERT, KEY, 5, PAYLOAD);
    op_add(&setup->op, TMGR_OP_INSERT, FRESH, 6, PAYLOAD);
    op_add(&setup->op, TMGR_OP_INSERT, FRESH, 7, PAYLOAD);
    op_add(&setup->op, TMGR_OP_DELETE, 11, 0, 0);
    op_add(&setup->op, TMGR_OP_DELETE_OBJECT, 14, 101, PAYLOAD);
    op_add(&setup->op, TMGR_OP_INSERT_NEW, FRESH + 1, 8, PAYLOAD);
    op_add(&setup->op, TMGR_OP_INSERT_NEW, 12, 8, PAYLOAD); /* is there */
    op_add(&setup->op, TMGR_OP_INSERT, 13, 100, PAYLOAD);   /* as is this row */
    op_add(&setup->op, TMGR_OP_INSERT, KEY, 9, 300);
    op_add(&setup->op, TMGR_OP_DELETE_OBJECT, KEY, 102, PAYLOAD);
}

void bag_apply_bulk(struct setup *setup) {
    some_lists(setup);
    setup->op = (struct op){.verb = VERB_APPLY};
    for (uint64_t i = 0; i < 60; i++)
        op_add(&setup->op, TMGR_OP_INSERT, i < 20 ? 10 + i % 2 : FRESH + i / 5, 200 + i, PAYLOAD);
}

/* A key's rows come, go one by one, come again and go all; an old key's likewise the other way round. */
void bag_apply_one_key(struct setup *setup) {
    some_lists(setup);
    add_list(setup, KEY, 5);
    setup->op = (struct op){.verb = VERB_APPLY};
    for (uint64_t i = 0; i < 3; i++)
        op_add(&setup->op, TMGR_OP_INSERT, FRESH, 200 + i, PAYLOAD);
    op_add(&setup->op, TMGR_OP_DELETE_OBJECT, FRESH, 200, PAYLOAD);
    op_add(&setup->op, TMGR_OP_DELETE_OBJECT, KEY, 103, PAYLOAD);
    op_add(&setup->op, TMGR_OP_INSERT, KEY, 300, PAYLOAD);
    op_add(&setup->op, TMGR_OP_DELETE_OBJECT, KEY, 101, PAYLOAD);
    op_add(&setup->op, TMGR_OP_DELETE, FRESH, 0, 0);
    op_add(&setup->op, TMGR_OP_INSERT, FRESH, 205, PAYLOAD);
    op_add(&setup->op, TMGR_OP_DELETE, KEY, 0, 0);
    op_add(&setup->op, TMGR_OP_INSERT, KEY, 301, PAYLOAD);
    op_add(&setup->op, TMGR_OP_INSERT, KEY, 302, PAYLOAD);
    op_add(&setup->op, TMGR_OP_DELETE_OBJECT, KEY, 302, PAYLOAD);
}

void bag_insert_all_new(struct setup *setup) {
    some_lists(setup);
    setup->op = (struct op){.verb = VERB_APPLY};
    for (uint64_t i = 0; i < 9; i++)
        op_add(&setup->op, TMGR_OP_INSERT_ALL_NEW, FRESH + i % 4, 200 + i, PAYLOAD);
}

static void make_large_insert(struct setup *setup, uint64_t i, struct op *op) {
    *op = op_single(VERB_INSERT, 10 + i % 30, 1 + random_below(&setup->random, 60000), 7000);
}

/* The last row finds no memory: the others, which went on lists or came off them, are taken back. */
void bag_full_apply(struct setup *setup) {
    setup_limit(setup, FULL_BYTES);
    some_lists(setup);
    add_list(setup, KEY, 6);
    setup_until(setup, EVENT_REFUSAL, make_large_insert);
    setup->op = (struct op){.verb = VERB_APPLY};
    op_add(&setup->op, TMGR_OP_INSERT, KEY, 5, PAYLOAD);
    op_add(&setup->op, TMGR_OP_INSERT, KEY, 6, PAYLOAD);
    op_add(&setup->op, TMGR_OP_DELETE_OBJECT, KEY, 103, PAYLOAD);
    op_add(&setup->op, TMGR_OP_INSERT, FRESH, 7, PAYLOAD);
    op_add(&setup->op, TMGR_OP_DELETE, 14, 0, 0);
    op_add(&setup->op, TMGR_OP_INSERT, 17, 8, 7000);
}

void bag_delete_many(struct setup *setup) {
    some_lists(setup);
    setup->op = (struct op){.verb = VERB_DELETE_MANY};
    for (uint64_t id = 10; id < 16; id++)
        op_add(&setup->op, TMGR_OP_DELETE, id, 0, 0);
}

/* -- everything -- */

/* While some of a list is still to be retired. */
void bag_delete_all(struct setup *setup) {
    some_lists(setup);
    for (uint64_t id = 0; id < 4; id++)
        add_list(setup, FRESH + id, 20);
    apply_deletes(setup, FRESH, FRESH + 4);
    setup->op = (struct op){.verb = VERB_DELETE_ALL};
}

/* The writer takes the old table down, lists and all. */
void bag_after_delete_all(struct setup *setup) {
    struct op op = {.verb = VERB_DELETE_ALL};
    some_lists(setup);
    setup_run(setup, &op);
    setup->op = op_single(VERB_INSERT, KEY, 5, PAYLOAD);
}

/* -- memory -- */

static void make_delete(struct setup *setup, uint64_t i, struct op *op) {
    (void)setup;
    *op = op_single(VERB_DELETE, FRESH + i % 200, 0, 0);
}

void bag_slab_given(struct setup *setup) {
    for (uint64_t id = 0; id < 200; id++)
        add_list(setup, FRESH + id, 3);
    setup_until(setup, EVENT_GIVE, make_delete);
}

/* Of a full table's rows four in five are deleted, and some that stay get a second one: the large row finds free pages when
 * rows have been moved together, the newest of lists among them. */
void bag_evacuation(struct setup *setup) {
    uint64_t n = setup_full(setup, FULL_BYTES, 40, 80);
    for (uint64_t i = 0; i < n; i++) {
        struct op op = op_single(VERB_DELETE, 40 + i, 0, 0);
        if (i % 5 != 0)
            setup_run(setup, &op);
    }
    for (uint64_t i = 0; i < 60; i += 5)
        add(setup, 40 + i, 2, 80);
    setup->op = op_single(VERB_INSERT, 1000000, 5, FULL_ROW);
}
