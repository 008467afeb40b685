/* SPDX-License-Identifier: Apache-2.0 */
/* test_store_kills.c - a process dies before one store of the core, and others carry on.
 * Usage: test_store_kills [steps [seed [type]]]
 *
 * Compiled with -include kill_hooks.h. Five sequences where it matters what others do meanwhile are cut short
 * before each of their stores in turn. A seeded random program of `steps` steps does the rest: small and full tables,
 * large rows, deaths inside the repair. Hash seeds are fixed too, so a failure happens again with the seed that it
 * was printed with. More steps make a soak; type (enum tmgr_type) makes it one of tables of that type alone. */
#include "arena.h"
#include "hash.h"
#include "kills.h"
#include "model.h"
#include "repair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { ABSENT_FROM = 700000, REPORTS_MAX = 6 };

static char segment[64];

/* -- tools ------------------------------------------------------------------------------------------------------------- */

/* Like CHECK, with the death that it came after; the first few of each scene are told. */
static void expect(bool good, const char *scene, uint64_t nth, const char *what) {
    static const char *last_scene;
    static unsigned n_reports;
    if (good) {
        check_passed++;
        return;
    }
    check_failed++;
    n_reports = scene == last_scene ? n_reports + 1 : 1;
    last_scene = scene;
    if (n_reports <= REPORTS_MAX)
        fprintf(stderr, "%s, death before store %llu: %s\n", scene, (unsigned long long)nth, what);
}

static void expect_status(int status, const char *scene, uint64_t nth, const char *doing) {
    char what[PROBLEM_MAX];
    snprintf(what, sizeof what, "%s: %s", doing, tmgr_status_text(status));
    expect(status == TMGR_OK || status == TMGR_ABSENT, scene, nth, what);
}

/* The hash seed is the caller's, so that the same ids share a stripe or a bucket in every run. */
static struct tmgr_table *make_table(uint32_t type, uint32_t n_stripes, uint64_t max_bytes, uint64_t hash_seed) {
    struct tmgr_options options = {.type = type, .mode = 0600, .n_stripes = n_stripes, .max_bytes = max_bytes};
    struct tmgr_table *table;
    int status = tmgr_create(segment, "kills", 5, &options, &table);
    if (status != TMGR_OK) {
        fprintf(stderr, "create: %s\n", tmgr_status_text(status));
        exit(2);
    }
    table->control->hash_seed = table->hash_seed = hash_seed;
    return table;
}

static void drop_table(struct tmgr_table *table) {
    tmgr_drop(table, true);
    tmgr_free(table);
}

/* The nth id, from `from` on, whose key belongs to the stripe. */
static uint64_t id_in(struct tmgr_table *table, uint32_t stripe, uint64_t from, unsigned nth) {
    for (uint64_t id = from;; id++) {
        uint8_t key[KEY_BYTES_MAX];
        size_t len = key_encode(key, id);
        if (stripe_of_hash(table, hash_bytes(key, len, table->hash_seed)) == &table->stripes[stripe] && nth-- == 0)
            return id;
    }
}

typedef int (*work_fn)(struct tmgr_table *table, void *context);

/* Has a child do the work and die before its store number nth. As end_of_child: KILLED, the work's status, LOST. */
static int work_and_die(uint64_t nth, struct tmgr_table *table, work_fn work, void *context) {
    pid_t child = fork();
    if (child == 0) {
        tmgr_after_fork();
        alarm(CHILD_SECONDS);
        kill_base = (uintptr_t)table->base;
        kill_bytes = table->mapped;
        kill_countdown = nth;
        int status = work(table, context);
        kill_countdown = 0;
        _exit(status);
    }
    return end_of_child(child);
}

static int call_bound(struct tmgr_table *table, void *bound) {
    struct outcome outcome;
    op_call(bound, table, WAIT_NS, &outcome);
    return outcome.status;
}

/* In table and model at once, unless the table is full. */
static int write_both(struct tmgr_table *table, struct model *model, const struct op *op) {
    struct bound bound;
    struct outcome got, wanted;
    op_bind(&bound, op, model);
    op_run(&bound, table, WAIT_NS, &got);
    if (got.status == TMGR_OK || got.status == TMGR_ABSENT)
        op_model(&bound, model, &wanted);
    bound_free(&bound);
    return got.status;
}

static struct op one(enum verb verb, uint32_t kind, uint64_t id, size_t payload) {
    return (struct op){.verb = verb, .n = 1, .items = {{.kind = kind, .id = id, .stamp = 1, .payload = payload}}};
}

static int insert_both(struct tmgr_table *table, struct model *model, uint64_t id, size_t payload) {
    struct op op = one(VERB_INSERT, TMGR_OP_INSERT, id, payload);
    return write_both(table, model, &op);
}

static int delete_both(struct tmgr_table *table, struct model *model, uint64_t id) {
    struct op op = one(VERB_DELETE, TMGR_OP_DELETE, id, 0);
    return write_both(table, model, &op);
}

/* The write of a child that dies before store nth. The table has the old or the new contents, and `model` follows it. A write
 * that was acknowledged is there; one that was refused is not. */
static int write_and_die(uint64_t nth, struct tmgr_table *table, struct model *model, const struct op *op,
                         char problem[PROBLEM_MAX]) {
    struct model after;
    struct bound bound;
    struct outcome wanted;
    char as_before[PROBLEM_MAX] = "", as_after[PROBLEM_MAX] = "";
    model_copy(&after, model);
    op_bind(&bound, op, model);
    op_model(&bound, &after, &wanted);
    int status = work_and_die(nth, table, call_bound, &bound);
    bound_free(&bound);
    bool done = status == TMGR_OK || status == TMGR_ABSENT, may_be_old = !done, may_be_new = done || status == KILLED;
    if (status != LOST && may_be_old && table_equals_model(table, model, as_before)) {
        model_free(&after);
    } else if (status != LOST && may_be_new && table_equals_model(table, &after, as_after)) {
        model_free(model);
        *model = after;
    } else {
        snprintf(problem, PROBLEM_MAX, "the writer %s; neither old (%.150s) nor new (%.150s)",
                 status == LOST     ? "was lost"
                 : status == KILLED ? "was killed"
                                    : tmgr_status_text(status),
                 as_before, as_after);
        model_free(&after);
        status = LOST;
    }
    return status;
}

/* -- 1: a transaction over two stripes ------------------------------------------------------------------------------------ */

/* What the transaction does in its second stripe. */
struct second_part {
    const char *scene;
    uint32_t kind;
    bool is_present; /* its key */
};

enum { STRIPES = 4, FIRST_ID = 1000 };

/* After the death: a transaction in stripe 0, which holds the descriptor and may use it again, before the other
 * participant has been repaired; then every other stripe. */
static void others_carry_on(struct tmgr_table *table, struct model *model, const char *scene, uint64_t nth) {
    struct op small = one(VERB_APPLY, TMGR_OP_INSERT, id_in(table, 0, FIRST_ID, 2), 20);
    char problem[PROBLEM_MAX] = "";
    expect_status(write_both(table, model, &small), scene, nth, "the next transaction");
    for (uint32_t stripe = 1; stripe < STRIPES; stripe++)
        expect_status(insert_both(table, model, id_in(table, stripe, FIRST_ID, 3), 20), scene, nth, "the next insert");
    expect(table_equals_model(table, model, problem), scene, nth, problem);
    expect(check_is_clean(table, false, problem), scene, nth, problem);
}

static bool a_transaction_dies(const struct second_part *second, uint64_t nth) {
    struct tmgr_table *table = make_table(TMGR_SET, STRIPES, 4 << 20, 1);
    struct model model;
    char problem[PROBLEM_MAX] = "";
    model_init(&model);
    struct op both = {.verb = VERB_APPLY,
                      .n = 2,
                      .items = {{TMGR_OP_INSERT, id_in(table, 0, FIRST_ID, 0), 7, 40},
                                {second->kind, id_in(table, 1, FIRST_ID, 0), 7, 40}}};
    expect_status(insert_both(table, &model, both.items[0].id, 20), second->scene, 0, "the first row");
    if (second->is_present)
        expect_status(insert_both(table, &model, both.items[1].id, 20), second->scene, 0, "the second row");
    int status = write_and_die(nth, table, &model, &both, problem);
    expect(status != LOST, second->scene, nth, problem);
    others_carry_on(table, &model, second->scene, nth);
    model_free(&model);
    drop_table(table);
    return status == KILLED;
}

static void test_others_carry_on_after_every_store_of_a_transaction(void) {
    static const struct second_part parts[] = {
        {"transaction that deletes an absent key", TMGR_OP_DELETE, false},
        {"transaction that deletes", TMGR_OP_DELETE, true},
        {"transaction that inserts", TMGR_OP_INSERT, false},
    };
    kill_counts_relaxed = true;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        uint64_t nth = 1;
        while (a_transaction_dies(&parts[i], nth))
            nth++;
        expect(nth > 20, parts[i].scene, nth, "it has hardly any store");
    }
}

static int check_and_mend(struct tmgr_table *table, void *context) {
    char problem[PROBLEM_MAX] = "";
    (void)context;
    return check_is_clean(table, true, problem) ? TMGR_OK : TMGR_CORRUPT;
}

/* By a process that may write, though it has not yet: its mapping is read-only. */
static void test_check_mends_what_any_store_of_a_transaction_left(void) {
    const char *scene = "check after a transaction";
    struct op both = {.verb = VERB_APPLY,
                      .n = 2,
                      .items = {{TMGR_OP_INSERT, FIRST_ID, 7, 40}, {TMGR_OP_INSERT, FIRST_ID + 1, 7, 40}}};
    int status = KILLED;
    kill_counts_relaxed = true;
    for (uint64_t nth = 1; status == KILLED; nth++) {
        struct tmgr_table *table = make_table(TMGR_SET, STRIPES, 4 << 20, 1);
        struct model model;
        char problem[PROBLEM_MAX] = "";
        model_init(&model);
        status = write_and_die(nth, table, &model, &both, problem);
        expect(status != LOST, scene, nth, problem);
        expect_status(work_and_die(0, table, check_and_mend, NULL), scene, nth, "check");
        model_free(&model);
        drop_table(table);
    }
}

/* -- 2: reclaiming memory -------------------------------------------------------------------------------------------------- */

enum { FULL_BYTES = 300 << 10, FULL_STRIPES = 2, FULL_CLASSES = 4, FULL_ROW = 235 << 10 };

/* Slabs of several sizes that are kept although empty: the large row fits only when they have been given back. */
static void leave_empty_slabs(struct tmgr_table *table, struct model *model, const char *scene) {
    for (int round = 0; round < 2; round++)
        for (uint32_t stripe = 0; stripe < FULL_STRIPES; stripe++)
            for (unsigned i = 0; i < FULL_CLASSES; i++) {
                uint64_t id = id_in(table, stripe, FIRST_ID, i);
                int status = round == 0 ? insert_both(table, model, id, 100 + i * 150) : delete_both(table, model, id);
                expect_status(status, scene, 0, "preparing");
            }
}

static bool a_reclaim_dies(uint64_t nth) {
    const char *scene = "write that reclaims memory";
    struct tmgr_table *table = make_table(TMGR_SET, FULL_STRIPES, FULL_BYTES, 1);
    struct model model;
    char problem[PROBLEM_MAX] = "";
    model_init(&model);
    leave_empty_slabs(table, &model, scene);
    struct op large = one(VERB_INSERT, TMGR_OP_INSERT, id_in(table, 0, FIRST_ID, 50), FULL_ROW);
    int status = write_and_die(nth, table, &model, &large, problem);
    expect(status == KILLED || status == TMGR_OK, scene, nth, status == TMGR_FULL ? "it stays full" : problem);
    for (uint32_t stripe = 0; stripe < FULL_STRIPES; stripe++) /* a writer passes, with nothing to allocate */
        expect_status(delete_both(table, &model, id_in(table, stripe, FIRST_ID, 60)), scene, nth, "the next delete");
    expect(table_equals_model(table, &model, problem), scene, nth, problem);
    expect(check_is_clean(table, false, problem), scene, nth, problem);
    model_free(&model);
    drop_table(table);
    return status == KILLED;
}

static void test_nothing_leaks_after_every_store_of_a_reclaim(void) {
    uint64_t nth = 1;
    kill_counts_relaxed = false; /* else every 8 bytes of the large row */
    while (a_reclaim_dies(nth))
        nth++;
    expect(nth > 100, "write that reclaims memory", nth, "so few: the row fitted at once");
}

/* -- 3: moving rows together --------------------------------------------------------------------------------------------- */

enum {
    DENSE_BYTES = 180 << 10,
    DENSE_ROWS = 400,
    DENSE_KEYS = 5,
    DENSE_PAYLOAD = 500,
    LISTED_ROW = 9000,
    DENSE_ROW = 40000
};

/* A full table of which two keys in three are deleted, so that nearly every slab has rows and free blocks; and a row with
 * extents that are short, because no run of pages was left when it came. In a bag each key has several rows, in different slabs. */
static bool leave_gaps(struct tmgr_table *table, struct model *model) {
    uint64_t n = 0, listed = DENSE_ROWS, keys = table->bag ? DENSE_KEYS : DENSE_ROWS;
    while (n < DENSE_ROWS && insert_both(table, model, FIRST_ID + n % keys, DENSE_PAYLOAD) == TMGR_OK)
        n++;
    for (uint64_t i = 0; i < n && i < keys; i++)
        if (i % 3 != 0 && delete_both(table, model, FIRST_ID + i) != TMGR_OK)
            return false;
    return n > 100 && n < DENSE_ROWS && insert_both(table, model, FIRST_ID + listed, LISTED_ROW) == TMGR_OK;
}

/* Told by the epoch: each move retires a block. */
static uint64_t epochs(const struct tmgr_table *table) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < table->n_stripes; i++)
        sum += load_relaxed(&table->stripes[i].epoch);
    return sum;
}

static bool an_evacuation_dies(uint32_t type, uint32_t n_stripes, const struct op *op, const char *scene,
                               uint64_t nth) {
    struct tmgr_table *table = make_table(type, n_stripes, DENSE_BYTES, 1);
    struct model model;
    char problem[PROBLEM_MAX] = "";
    model_init(&model);
    model.type = type;
    expect(leave_gaps(table, &model), scene, nth, "preparing");
    uint64_t before = epochs(table);
    int status = write_and_die(nth, table, &model, op, problem);
    expect(status == KILLED || status == TMGR_OK, scene, nth, status == TMGR_FULL ? "it stays full" : problem);
    expect(status == KILLED || epochs(table) > before + 2 * n_stripes + 1, scene, nth, "no row had to be moved");
    for (uint32_t stripe = 0; stripe < n_stripes; stripe++) /* a writer passes, with nothing to allocate */
        expect_status(delete_both(table, &model, id_in(table, stripe, ABSENT_FROM, 0)), scene, nth, "the next delete");
    expect(table_equals_model(table, &model, problem), scene, nth, problem);
    expect(check_is_clean(table, false, problem), scene, nth, problem);
    for (size_t i = 0; i < op->n; i++) /* done or not, there is room for it afterwards */
        expect_status(delete_both(table, &model, op->items[i].id), scene, nth, "making room again");
    expect_status(write_both(table, &model, op), scene, nth, "the same once more");
    expect(table_equals_model(table, &model, problem), scene, nth, problem);
    expect(check_is_clean(table, false, problem), scene, nth, problem);
    model_free(&model);
    drop_table(table);
    return status == KILLED;
}

static void test_rows_that_are_moved_survive_every_store_of_it(void) {
    static const struct {
        const char *scene;
        uint32_t type, n_stripes;
        struct op op;
    } writes[] = {
        {"insert into an ordered_set that evacuates",
         TMGR_ORDERED_SET,
         1,
         {.verb = VERB_INSERT, .n = 1, .items = {{TMGR_OP_INSERT, FIRST_ID + 1, 7, DENSE_ROW}}}},
        {"insert into a duplicate_bag that evacuates",
         TMGR_DUPLICATE_BAG,
         1,
         {.verb = VERB_INSERT, .n = 1, .items = {{TMGR_OP_INSERT, FIRST_ID + 1, 7, DENSE_ROW}}}},
        {"insert that evacuates",
         TMGR_SET,
         1,
         {.verb = VERB_INSERT, .n = 1, .items = {{TMGR_OP_INSERT, FIRST_ID + 1, 7, DENSE_ROW}}}},
        {"batch that evacuates",
         TMGR_SET,
         2,
         {.verb = VERB_APPLY,
          .n = 3,
          .items = {{TMGR_OP_INSERT, FIRST_ID, 7, DENSE_ROW / 2},
                    {TMGR_OP_DELETE, FIRST_ID + 3, 0, 0},
                    {TMGR_OP_INSERT, FIRST_ID + 1, 8, DENSE_ROW / 2}}}},
    };
    kill_counts_relaxed = false;
    for (size_t i = 0; i < sizeof writes / sizeof *writes; i++) {
        uint64_t nth = 1;
        while (an_evacuation_dies(writes[i].type, writes[i].n_stripes, &writes[i].op, writes[i].scene, nth))
            nth++;
        expect(nth > 300, writes[i].scene, nth, "so few: nothing was moved");
        printf("%s: %llu stores\n", writes[i].scene, (unsigned long long)nth - 1);
    }
}

/* -- 4: freeing a large row ------------------------------------------------------------------------------------------------- */

enum { LARGE_ROW = 600000, LONG_KEY = 15000, SHORT_KEY = 100, KEY_HEAD = 3, ROW_HEAD = 6 };

/* A key in msgpack (bin 16), so long that the block with the list of the row's runs is a run of pages itself, or not. */
static size_t large_key(uint8_t *out, size_t key_len) {
    out[0] = 0xc5;
    out[1] = (uint8_t)(key_len >> 8);
    out[2] = (uint8_t)key_len;
    memset(out + KEY_HEAD, 'k', key_len);
    return KEY_HEAD + key_len;
}

/* Inserts and deletes [key, payload], whose blocks then wait in the quarantine. The stripe it was in. */
static uint32_t retire_large_row(struct tmgr_table *table, size_t key_len, const char *scene) {
    static uint8_t row[ROW_HEAD + KEY_HEAD + LONG_KEY + LARGE_ROW];
    row[0] = 0x92;
    const uint8_t *key = row + 1;
    size_t encoded = large_key(row + 1, key_len), len = 1 + encoded;
    row[len++] = 0xc6; /* bin 32 */
    for (int shift = 24; shift >= 0; shift -= 8)
        row[len++] = (uint8_t)(LARGE_ROW >> shift);
    memset(row + len, 3, LARGE_ROW);
    expect_status(tmgr_insert(table, row, len + LARGE_ROW, WAIT_NS), scene, 0, "preparing");
    expect(tmgr_delete(table, key, encoded, WAIT_NS) == TMGR_OK, scene, 0, "the row is not there");
    return stripe_number(table, stripe_of_hash(table, hash_bytes(key, encoded, table->hash_seed)));
}

/* By the core's inner functions, because a public verb drains only now and then. */
static int flush_stripe(struct tmgr_table *table, void *context) {
    struct stripe *stripe = &table->stripes[*(uint32_t *)context];
    int status = tmgr_admit(table, true); /* a child's mapping is read-only until it is asked for more */
    if (status == TMGR_OK)
        status = stripe_lock(table, stripe, WAIT_NS);
    if (status != TMGR_OK)
        return status;
    status = stripe_flush(table, stripe);
    stripe_unlock(stripe);
    return status;
}

static bool a_drain_dies(size_t key_len, const char *scene, uint64_t nth) {
    struct tmgr_table *table = make_table(TMGR_SET, 2, 16 << 20, 1);
    struct model model;
    char problem[PROBLEM_MAX] = "";
    model_init(&model);
    uint32_t stripe = retire_large_row(table, key_len, scene);
    int status = work_and_die(nth, table, flush_stripe, &stripe);
    expect(status == KILLED || status == TMGR_OK, scene, nth, "the drain ended in another way");
    for (unsigned i = 0; i < 40; i++) /* pages that the dead has given back, before its stripe is repaired */
        expect_status(insert_both(table, &model, id_in(table, 1 - stripe, FIRST_ID, i), 3000 + i * 1000), scene, nth,
                      "the other stripe's insert");
    expect_status(insert_both(table, &model, id_in(table, stripe, FIRST_ID, 0), 20), scene, nth, "the next insert");
    expect(table_equals_model(table, &model, problem), scene, nth, problem);
    expect(check_is_clean(table, false, problem), scene, nth, problem);
    model_free(&model);
    drop_table(table);
    return status == KILLED;
}

static void test_other_stripes_keep_their_pages_after_every_store_of_a_drain(void) {
    static const struct {
        const char *scene;
        size_t key_len;
    } rows[] = {{"drain of a large row with a long key", LONG_KEY}, {"drain of a large row", SHORT_KEY}};
    kill_counts_relaxed = true;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t nth = 1;
        while (a_drain_dies(rows[i].key_len, rows[i].scene, nth))
            nth++;
        expect(nth > 10, rows[i].scene, nth, "it has hardly any store");
    }
}

/* -- 5: pages for a slab ------------------------------------------------------------------------------------------------- */

enum { SURVEYED_ROWS = 200, SLAB_ROW = 1000, SLAB_ROWS = 60, SLAB_PAGES = 8 };

/* Pages of the stripe in the first chunk. */
static uint64_t pages_of_stripe(struct tmgr_table *table, uint32_t stripe) {
    uint64_t n = 0;
    for (uint32_t page = CHUNK_HEADER_PAGES; page < CHUNK_PAGES; page++)
        n += entry_owner(load_relaxed(&chunk_of(table, table->arena)->map[page])) == stripe + 1;
    return n;
}

/* A table with enough rows for a survey (survey.h) in both stripes, and `more` rows of the size that matters in stripe 0. */
static struct tmgr_table *make_surveyed_table(struct model *model, unsigned more, const char *scene) {
    struct tmgr_table *table = make_table(TMGR_SET, 2, 16 << 20, 1);
    model_init(model);
    for (uint64_t i = 0; i < 2 * SURVEYED_ROWS; i++)
        expect_status(insert_both(table, model, FIRST_ID + i, 100), scene, 0, "preparing");
    for (unsigned i = 0; i < more; i++)
        expect_status(insert_both(table, model, id_in(table, 0, ABSENT_FROM, i), SLAB_ROW), scene, 0, "preparing");
    return table;
}

/* How many such rows there are before the one that takes a slab of SLAB_PAGES. */
static unsigned rows_before_a_slab(const char *scene) {
    struct model model;
    struct tmgr_table *table = make_surveyed_table(&model, 0, scene);
    unsigned n = 0;
    for (uint64_t pages = pages_of_stripe(table, 0), before = pages; pages < before + SLAB_PAGES; n++) {
        before = pages;
        expect_status(insert_both(table, &model, id_in(table, 0, ABSENT_FROM, n), SLAB_ROW), scene, 0, "preparing");
        pages = pages_of_stripe(table, 0);
    }
    model_free(&model);
    drop_table(table);
    return n - 1;
}

/* Rows with another stamp than 1: as a query finds them, which may go by a survey. */
static size_t count_stamped(struct tmgr_table *table, const char *scene, uint64_t nth) {
    uint8_t bytes[PROGRAM_BYTES];
    struct tmgr_query query = {0};
    struct tmgr_cursor cursor = {0};
    struct tmgr_buffer rows = {0};
    size_t n = 0, sum = 0;
    expect_status(tmgr_program_open(bytes, program_of_stamped(bytes), &query.program), scene, nth, "the program");
    int status = TMGR_OK;
    while (status == TMGR_OK) {
        status = tmgr_query(table, &query, TMGR_QUERY_RESULTS, &cursor, SIZE_MAX, SIZE_MAX, &rows, &n, WAIT_NS);
        sum += n;
    }
    expect(status == TMGR_END, scene, nth, "the query ended in another way");
    tmgr_program_free(query.program);
    tmgr_buffer_free(&rows);
    return sum;
}

/* The dead have some of the pages of a run, and others the rest: no row of theirs is overlooked. */
static bool a_grab_dies(unsigned before, uint64_t nth) {
    const char *scene = "insert that takes a slab";
    struct model model;
    struct tmgr_table *table = make_surveyed_table(&model, before, scene);
    struct op insert = one(VERB_INSERT, TMGR_OP_INSERT, id_in(table, 0, ABSENT_FROM, before), SLAB_ROW);
    struct bound bound;
    op_bind(&bound, &insert, &model);
    int status = work_and_die(nth, table, call_bound, &bound);
    expect(status == KILLED || status == TMGR_OK, scene, nth, "the writer was lost");
    for (unsigned i = 0; i < SLAB_ROWS; i++) {
        struct op stamped = one(VERB_INSERT, TMGR_OP_INSERT, id_in(table, 1, ABSENT_FROM, i), SLAB_ROW);
        stamped.items[0].stamp = 7;
        expect_status(write_both(table, &model, &stamped), scene, nth, "the other stripe's insert");
    }
    expect(count_stamped(table, scene, nth) == SLAB_ROWS, scene, nth, "a query overlooks rows of the other stripe");
    bound_free(&bound);
    model_free(&model);
    drop_table(table);
    return status == KILLED;
}

static void test_queries_overlook_nothing_after_every_store_that_takes_a_slab(void) {
    unsigned before = rows_before_a_slab("counting rows of a slab");
    uint64_t nth = 1;
    kill_counts_relaxed = false;
    while (a_grab_dies(before, nth))
        nth++;
    expect(nth > 20, "insert that takes a slab", nth, "it has hardly any store");
}

/* -- 6: a random program ------------------------------------------------------------------------------------------------------ */

enum { STORM_IDS = 220, ABSENT_ID = 500000, STEPS_PER_TABLE = 120, BATCH_MAX = 40, REPAIR_WRITES = 6 };

struct storm {
    struct tmgr_table *table;
    struct model model;
    struct random random;
    int only_type;       /* negative: all */
    uint64_t n_types[4]; /* tables of each type */
    bool has_huge_rows;  /* over 256 KiB, so with extents */
    uint64_t n_ids;
    uint64_t seed, step;
    struct {
        uint64_t writes, kills, repair_kills, full;
    } counts;
};

static uint64_t draw(struct storm *storm, uint64_t bound) { return random_below(&storm->random, bound); }

static size_t draw_payload(struct storm *storm) {
    uint64_t kind = draw(storm, 100);
    if (kind < 70)
        return 1 + (size_t)draw(storm, 120);
    if (kind < 90)
        return (size_t)draw(storm, 2500);
    if (kind < 97)
        return (size_t)draw(storm, 12000);
    return (size_t)(storm->has_huge_rows ? 262000 + draw(storm, 300000) : draw(storm, 40000));
}

static void draw_op(struct storm *storm, struct op *op) {
    uint64_t kind = draw(storm, 100);
    op->verb = kind < 34   ? VERB_INSERT
               : kind < 46 ? VERB_DELETE
               : kind < 54 ? VERB_DELETE_OBJECT
               : kind < 97 ? VERB_APPLY
                           : VERB_DELETE_ALL;
    op->n = op->verb == VERB_APPLY ? 1 + (size_t)draw(storm, draw(storm, 3) != 0 ? 6 : BATCH_MAX) : kind < 97;
    for (size_t i = 0; i < op->n; i++) {
        static const uint32_t kinds[] = {TMGR_OP_INSERT, TMGR_OP_INSERT, TMGR_OP_INSERT,       TMGR_OP_INSERT,
                                         TMGR_OP_DELETE, TMGR_OP_DELETE, TMGR_OP_DELETE_OBJECT};
        op->items[i].kind = op->verb == VERB_APPLY ? kinds[draw(storm, sizeof kinds / sizeof *kinds)] : TMGR_OP_INSERT;
        op->items[i].id = draw(storm, storm->n_ids);
        op->items[i].group = 0;
        op->items[i].stamp = 1 + draw(storm, 70000);
        op->items[i].payload = op->n > 10 ? draw_payload(storm) % 300 : draw_payload(storm);
        if (op->verb == VERB_DELETE_OBJECT || (op->verb == VERB_APPLY && op->items[i].kind == TMGR_OP_DELETE_OBJECT))
            op->items[i].payload = draw(storm, 8) == 0; /* 0: one of the rows that are there */
    }
}

static bool fails(const struct storm *storm, const char *when, const char *problem) {
    fprintf(stderr, "seed %llu step %llu, %s: %s\n", (unsigned long long)storm->seed, (unsigned long long)storm->step,
            when, problem);
    check_failed++;
    return false;
}

static bool matches(struct storm *storm, const char *when) {
    char problem[PROBLEM_MAX] = "";
    if (!table_equals_model(storm->table, &storm->model, problem))
        return fails(storm, when, problem);
    check_passed++;
    return true;
}

static bool write_living(struct storm *storm) {
    struct op op;
    draw_op(storm, &op);
    int status = write_both(storm->table, &storm->model, &op);
    storm->counts.writes++;
    storm->counts.full += status == TMGR_FULL;
    return status == TMGR_OK || status == TMGR_ABSENT || status == TMGR_FULL ||
           fails(storm, "a write", tmgr_status_text(status));
}

static bool write_dying(struct storm *storm) {
    static const uint64_t lengths[] = {20, 120, 400, 3000};
    char problem[PROBLEM_MAX] = "";
    struct op op;
    draw_op(storm, &op);
    uint64_t nth = 1 + draw(storm, lengths[draw(storm, 4)]);
    int status = write_and_die(nth, storm->table, &storm->model, &op, problem);
    storm->counts.kills += status == KILLED;
    if (status != LOST)
        return true;
    char when[PROBLEM_MAX];
    snprintf(when, sizeof when, "%s of %zu items, death before store %llu", verb_name(op.verb), op.n,
             (unsigned long long)nth);
    return fails(storm, when, problem);
}

/* Writers that change nothing: they only repair the stripes they come to. */
static int pass_some_stripes(struct tmgr_table *table, void *context) {
    for (uint64_t i = 0; i < REPAIR_WRITES; i++) {
        uint8_t key[KEY_BYTES_MAX];
        size_t len = key_encode(key, *(uint64_t *)context + i);
        int status = tmgr_delete(table, key, len, WAIT_NS);
        if (status != TMGR_ABSENT)
            return status;
    }
    return TMGR_OK;
}

static bool repair_dying(struct storm *storm, bool again) {
    uint64_t nth = 1 + draw(storm, again ? 12 : 60), first = ABSENT_ID + draw(storm, 100000);
    int status = work_and_die(nth, storm->table, pass_some_stripes, &first);
    storm->counts.repair_kills += status == KILLED;
    if (status != KILLED && status != TMGR_OK)
        return fails(storm, "a repair", status == LOST ? "its process was lost" : tmgr_status_text(status));
    return (draw(storm, 2) == 0 || write_living(storm)) && matches(storm, "after a death in the repair");
}

/* Once a writer has passed each stripe, nothing is left of the deaths. */
static bool check_storm(struct storm *storm) {
    char problem[PROBLEM_MAX] = "";
    for (uint32_t i = 0; i < storm->table->n_stripes; i++) {
        int status = stripe_lock(storm->table, &storm->table->stripes[i], WAIT_NS);
        if (status != TMGR_OK)
            return fails(storm, "taking a stripe's lock", tmgr_status_text(status));
        stripe_unlock(&storm->table->stripes[i]);
    }
    return check_is_clean(storm->table, false, problem) ? matches(storm, "after the check")
                                                        : fails(storm, "after writers passed", problem);
}

static bool storm_step(struct storm *storm) {
    for (uint64_t left = draw(storm, 12); left > 0; left--)
        if (!write_living(storm))
            return false;
    if (!write_dying(storm))
        return false;
    uint64_t repairs = draw(storm, 4);
    for (uint64_t i = 0; i < repairs; i++)
        if (!repair_dying(storm, i > 0))
            return false;
    return draw(storm, 3) != 0 || check_storm(storm);
}

/* One table, until it has had its steps or something is wrong. Returns the number of steps. */
static uint64_t run_storm(struct storm *storm, uint64_t seed, uint64_t steps) {
    static const uint64_t sizes[] = {400 << 10, 1 << 20, 16 << 20};
    storm->random = random_from(seed);
    storm->seed = seed;
    storm->has_huge_rows = draw(storm, 2) != 0;
    uint64_t max_bytes = sizes[draw(storm, 3)];
    uint32_t n_stripes = 1u << draw(storm, 4);
    uint32_t type = (uint32_t)draw(storm, 4);
    type = storm->only_type >= 0 ? (uint32_t)storm->only_type : type;
    storm->table = make_table(type, n_stripes, max_bytes, random_next(&storm->random));
    model_init(&storm->model);
    storm->model.type = type;
    storm->n_ids = type == TMGR_BAG || type == TMGR_DUPLICATE_BAG ? 2 + draw(storm, 40) : STORM_IDS; /* long lists */
    storm->n_types[type]++;
    for (storm->step = 0; storm->step < steps && storm->step < STEPS_PER_TABLE; storm->step++)
        if (!storm_step(storm))
            break;
    model_free(&storm->model);
    drop_table(storm->table);
    return STEPS_PER_TABLE;
}

static void test_contents_survive_deaths_in_writes_and_repairs(uint64_t steps, uint64_t seed, int type) {
    struct storm storm = {.only_type = type};
    kill_counts_relaxed = false;
    for (uint64_t done = 0; done < steps;)
        done += run_storm(&storm, seed++, steps - done);
    printf(
        "random program: %llu sets, %llu ordered, %llu bags, %llu duplicate bags; %llu writes, %llu deaths in writes, "
        "%llu in repairs; full %llu times\n",
        (unsigned long long)storm.n_types[TMGR_SET], (unsigned long long)storm.n_types[TMGR_ORDERED_SET],
        (unsigned long long)storm.n_types[TMGR_BAG], (unsigned long long)storm.n_types[TMGR_DUPLICATE_BAG],
        (unsigned long long)storm.counts.writes, (unsigned long long)storm.counts.kills,
        (unsigned long long)storm.counts.repair_kills, (unsigned long long)storm.counts.full);
}

int main(int argc, char **argv) {
    uint64_t steps = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000, seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    snprintf(segment, sizeof segment, "/tablemgr-test.%d.kills", (int)getpid());
    test_others_carry_on_after_every_store_of_a_transaction();
    test_check_mends_what_any_store_of_a_transaction_left();
    test_nothing_leaks_after_every_store_of_a_reclaim();
    test_rows_that_are_moved_survive_every_store_of_it();
    test_other_stripes_keep_their_pages_after_every_store_of_a_drain();
    test_queries_overlook_nothing_after_every_store_that_takes_a_slab();
    test_contents_survive_deaths_in_writes_and_repairs(steps, seed, argc > 3 ? atoi(argv[3]) : -1);
    return check_summary();
}
