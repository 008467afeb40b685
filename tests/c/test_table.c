/* SPDX-License-Identifier: Apache-2.0 */
/* test_table.c - every function of tablemgr.h from one process: what it returns, what it refuses, and what it leaves.
 *
 * Each table is attached twice, so its segment is mapped at two addresses; what one handle writes the other reads. */
#include "sequence.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { WAIT_NS = 1000 * 1000 * 1000 };

/* -- helpers ------------------------------------------------------------------------------------------------------------ */

struct pair {
    char segment[64];
    struct tmgr_table *writer, *reader; /* two mappings of one segment */
};

static struct tmgr_process parent, nobody = {.pid = 0x3ffffe};

static struct tmgr_options public_options(void) {
    return (struct tmgr_options){.access = TMGR_PUBLIC, .mode = 0600, .heir = TMGR_HEIR_MANAGER};
}

static void name_segment(char segment[64]) {
    static int n;
    snprintf(segment, 64, "/tablemgr-test.%d.%d", (int)getpid(), n++);
}

static struct pair open_pair(const struct tmgr_options *options) {
    struct pair pair = {0};
    name_segment(pair.segment);
    CHECK(tmgr_create(pair.segment, "test", 4, options, &pair.writer) == TMGR_OK);
    CHECK(tmgr_attach(pair.segment, TMGR_MAP_READ, &pair.reader) == TMGR_OK);
    return pair;
}

static struct pair open_type(uint32_t type, uint32_t n_stripes) {
    struct tmgr_options options = public_options();
    options.type = type;
    options.n_stripes = n_stripes;
    return open_pair(&options);
}

static struct pair open_public(uint32_t n_stripes) { return open_type(TMGR_SET, n_stripes); }

static void close_pair(struct pair *pair) {
    char problem[PROBLEM_MAX] = "";
    bool clean = check_is_clean(pair->writer, false, problem);
    if (!clean)
        fprintf(stderr, "%s\n", problem);
    CHECK(clean);
    tmgr_free(pair->reader);
    CHECK(tmgr_drop(pair->writer, true) == TMGR_OK);
    tmgr_free(pair->writer);
    CHECK(shm_open(pair->segment, O_RDONLY, 0) == -1 && errno == ENOENT);
}

static int insert(struct tmgr_table *table, uint64_t id, uint64_t stamp, size_t payload) {
    uint8_t *row = malloc(payload + ROW_OVERHEAD_MAX);
    int status = tmgr_insert(table, row, row_encode(row, id, stamp, payload), WAIT_NS);
    free(row);
    return status;
}

static int lookup(struct tmgr_table *table, uint64_t id, struct tmgr_buffer *buffer) {
    uint8_t key[KEY_BYTES_MAX];
    buffer->len = 0;
    return tmgr_lookup(table, key, key_encode(key, id), buffer);
}

static bool is_row(const struct tmgr_buffer *buffer, uint64_t id, uint64_t stamp, size_t payload) {
    uint8_t *row = malloc(payload + ROW_OVERHEAD_MAX);
    size_t len = row_encode(row, id, stamp, payload);
    bool equal = buffer->len == len && memcmp(buffer->data, row, len) == 0;
    free(row);
    return equal;
}

static uint64_t len_of(struct tmgr_table *table) {
    uint64_t rows = UINT64_MAX;
    CHECK(tmgr_len(table, &rows) == TMGR_OK);
    return rows;
}

static bool equals(struct tmgr_table *table, const struct model *model) {
    char problem[PROBLEM_MAX] = "";
    bool equal = table_equals_model(table, model, problem);
    if (!equal)
        fprintf(stderr, "%s\n", problem);
    return equal;
}

#define BYTES(...) ((const uint8_t[]){__VA_ARGS__}), sizeof((const uint8_t[]){__VA_ARGS__})

/* -- rows --------------------------------------------------------------------------------------------------------------- */

static void test_a_row_is_found_as_it_was_inserted(void) {
    struct pair pair = open_public(0);
    struct tmgr_buffer buffer = {0};
    uint8_t key[KEY_BYTES_MAX];
    CHECK(lookup(pair.reader, 1, &buffer) == TMGR_ABSENT);
    CHECK(insert(pair.writer, 1, 7, 100) == TMGR_OK);
    CHECK(lookup(pair.reader, 1, &buffer) == TMGR_OK && is_row(&buffer, 1, 7, 100));
    CHECK(insert(pair.writer, 1, 8, 10) == TMGR_OK);
    CHECK(lookup(pair.reader, 1, &buffer) == TMGR_OK && is_row(&buffer, 1, 8, 10));
    CHECK(len_of(pair.reader) == 1);
    CHECK(tmgr_contains(pair.reader, key, key_encode(key, 1)) == TMGR_OK);
    CHECK(tmgr_contains(pair.reader, key, key_encode(key, 2)) == TMGR_ABSENT);
    tmgr_buffer_free(&buffer);
    close_pair(&pair);
}

static void test_keys_are_equal_when_their_bytes_are(void) {
    struct pair pair = open_public(0);
    CHECK(tmgr_insert(pair.writer, BYTES(0x92, 1, 10), WAIT_NS) == TMGR_OK);
    CHECK(tmgr_insert(pair.writer, BYTES(0x92, 0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 11), WAIT_NS) == TMGR_OK);
    CHECK(tmgr_insert(pair.writer, BYTES(0x92, 0xc3, 12), WAIT_NS) == TMGR_OK);
    CHECK(tmgr_insert(pair.writer, BYTES(0x92, 0xc0, 13), WAIT_NS) == TMGR_OK);
    CHECK(tmgr_insert(pair.writer, BYTES(0x92, 0xa1, '1', 14), WAIT_NS) == TMGR_OK);
    CHECK(tmgr_insert(pair.writer, BYTES(0x92, 0xc4, 1, '1', 15), WAIT_NS) == TMGR_OK);
    CHECK(len_of(pair.reader) == 6);
    struct tmgr_buffer buffer = {0};
    CHECK(tmgr_lookup(pair.reader, BYTES(0xc3), &buffer) == TMGR_OK && buffer.len == 3 && buffer.data[2] == 12);
    tmgr_buffer_free(&buffer);
    close_pair(&pair);
}

static void test_the_key_position_is_the_tables(void) {
    struct tmgr_options options = public_options();
    options.keypos = 2;
    struct pair pair = open_pair(&options);
    struct tmgr_buffer buffer = {0};
    CHECK(tmgr_insert(pair.writer, BYTES(0x93, 1, 2, 3), WAIT_NS) == TMGR_OK);
    CHECK(tmgr_insert(pair.writer, BYTES(0x92, 1, 2), WAIT_NS) == TMGR_SHORT_ROW);
    CHECK(tmgr_lookup(pair.reader, BYTES(3), &buffer) == TMGR_OK && buffer.len == 4);
    CHECK(tmgr_lookup(pair.reader, BYTES(1), &buffer) == TMGR_ABSENT);
    tmgr_buffer_free(&buffer);
    close_pair(&pair);
}

static void test_what_is_no_row_is_refused(void) {
    struct pair pair = open_public(0);
    CHECK(tmgr_insert(pair.writer, BYTES(0x92, 1), WAIT_NS) == TMGR_BAD_ROW);
    CHECK(tmgr_insert(pair.writer, BYTES(0x91, 1, 2), WAIT_NS) == TMGR_BAD_ROW);
    CHECK(tmgr_insert(pair.writer, BYTES(1), WAIT_NS) == TMGR_BAD_ROW);
    CHECK(tmgr_insert(pair.writer, BYTES(0x81, 1, 2), WAIT_NS) == TMGR_BAD_ROW);
    CHECK(tmgr_insert(pair.writer, BYTES(0x90), WAIT_NS) == TMGR_SHORT_ROW);
    CHECK(tmgr_insert(pair.writer, (const uint8_t *)"", 0, WAIT_NS) == TMGR_BAD_ROW);
    CHECK(tmgr_insert(pair.writer, BYTES(0xdd, 0xff, 0xff, 0xff, 0xff), WAIT_NS) == TMGR_BAD_ROW);
    CHECK(len_of(pair.reader) == 0);
    close_pair(&pair);
}

static void test_a_key_over_64_kib_is_refused(void) {
    struct pair pair = open_public(0);
    size_t most = TMGR_KEY_MAX + 16;
    uint8_t *row = calloc(1, most);
    struct tmgr_buffer buffer = {0};
    for (size_t key_len = TMGR_KEY_MAX; key_len <= TMGR_KEY_MAX + 1; key_len++) {
        size_t body = key_len - 5;
        row[0] = 0x91;
        row[1] = 0xc6;
        row[2] = (uint8_t)(body >> 24);
        row[3] = (uint8_t)(body >> 16);
        row[4] = (uint8_t)(body >> 8);
        row[5] = (uint8_t)body;
        int status = tmgr_insert(pair.writer, row, 1 + key_len, WAIT_NS);
        CHECK(status == (key_len == TMGR_KEY_MAX ? TMGR_OK : TMGR_TOO_LONG));
    }
    row[2] = 0, row[3] = 1, row[4] = 0, row[5] = 0; /* 65,536 bytes */
    CHECK(tmgr_lookup(pair.reader, row + 1, TMGR_KEY_MAX, &buffer) == TMGR_OK && buffer.len == 1 + TMGR_KEY_MAX);
    CHECK(tmgr_delete(pair.writer, row + 1, TMGR_KEY_MAX, WAIT_NS) == TMGR_OK);
    tmgr_buffer_free(&buffer);
    free(row);
    close_pair(&pair);
}

static void test_rows_of_every_size_come_back(void) {
    static const size_t sizes[] = {0,    1,    15,   16,    100,   255,    256,    1000,   4000,   4096,    8000,
                                   8192, 8200, 9000, 65535, 65536, 250000, 262144, 262200, 524288, 3000000, 20000000};
    struct pair pair = open_public(1);
    struct tmgr_buffer buffer = {0};
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            CHECK(insert(pair.writer, i, 5, sizes[i]) == TMGR_OK);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            CHECK(lookup(pair.reader, i, &buffer) == TMGR_OK && is_row(&buffer, i, 5, sizes[i]));
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            size_t other = sizes[sizeof sizes / sizeof *sizes - 1 - i];
            CHECK(insert(pair.writer, i, 6, other) == TMGR_OK);
            CHECK(lookup(pair.reader, i, &buffer) == TMGR_OK && is_row(&buffer, i, 6, other));
        }
        uint64_t removed;
        CHECK(round == 0 || (tmgr_delete_all(pair.writer, &removed, WAIT_NS) == TMGR_OK && removed == 22));
    }
    tmgr_buffer_free(&buffer);
    close_pair(&pair);
}

static void test_insert_new_leaves_what_is_there(void) {
    struct pair pair = open_public(0);
    struct tmgr_buffer buffer = {0};
    uint8_t row[200];
    CHECK(tmgr_insert_new(pair.writer, row, row_encode(row, 1, 5, 20), WAIT_NS) == TMGR_OK);
    CHECK(tmgr_insert_new(pair.writer, row, row_encode(row, 1, 6, 20), WAIT_NS) == TMGR_PRESENT);
    CHECK(lookup(pair.reader, 1, &buffer) == TMGR_OK && is_row(&buffer, 1, 5, 20));
    tmgr_buffer_free(&buffer);
    close_pair(&pair);
}

static void test_deletes_say_what_they_removed(void) {
    struct pair pair = open_public(0);
    struct tmgr_buffer buffer = {0};
    uint8_t key[KEY_BYTES_MAX], row[200], keys[5 * KEY_BYTES_MAX];
    size_t key_len = key_encode(key, 1), keys_len = 0;
    uint64_t removed = 99;
    CHECK(tmgr_delete(pair.writer, key, key_len, WAIT_NS) == TMGR_ABSENT);
    CHECK(insert(pair.writer, 1, 5, 20) == TMGR_OK);
    CHECK(tmgr_delete(pair.writer, key, key_len, WAIT_NS) == TMGR_OK);
    CHECK(tmgr_take(pair.writer, key, key_len, &buffer, WAIT_NS) == TMGR_ABSENT);
    CHECK(insert(pair.writer, 1, 5, 20) == TMGR_OK);
    CHECK(tmgr_take(pair.writer, key, key_len, &buffer, WAIT_NS) == TMGR_OK && is_row(&buffer, 1, 5, 20));
    CHECK(len_of(pair.reader) == 0);
    CHECK(insert(pair.writer, 1, 5, 20) == TMGR_OK);
    CHECK(tmgr_delete_object(pair.writer, row, row_encode(row, 1, 6, 20), NULL, WAIT_NS) == TMGR_ABSENT);
    CHECK(tmgr_delete_object(pair.writer, row, row_encode(row, 1, 5, 20), NULL, WAIT_NS) == TMGR_OK);
    for (uint64_t id = 0; id < 4; id++)
        CHECK(insert(pair.writer, id, 5, 20) == TMGR_OK);
    for (uint64_t id = 2; id < 7; id++)
        keys_len += key_encode(keys + keys_len, id);
    removed = 0;
    CHECK(tmgr_delete_many(pair.writer, keys, keys_len, 5, &removed, WAIT_NS) == TMGR_OK && removed == 2);
    CHECK(tmgr_delete_all(pair.writer, &removed, WAIT_NS) == TMGR_OK && removed == 2);
    CHECK(tmgr_delete_all(pair.writer, &removed, WAIT_NS) == TMGR_OK && removed == 0);
    CHECK(len_of(pair.reader) == 0);
    tmgr_buffer_free(&buffer);
    close_pair(&pair);
}

static void test_compare_and_swap_wants_the_very_row(void) {
    struct pair pair = open_public(0);
    struct tmgr_buffer buffer = {0};
    uint8_t old[200], fresh[200], other[200];
    size_t old_len = row_encode(old, 1, 5, 20), fresh_len = row_encode(fresh, 1, 6, 50);
    size_t other_len = row_encode(other, 2, 6, 50);
    CHECK(tmgr_compare_and_swap(pair.writer, old, old_len, fresh, fresh_len, WAIT_NS) == TMGR_ABSENT);
    CHECK(tmgr_insert(pair.writer, old, old_len, WAIT_NS) == TMGR_OK);
    CHECK(tmgr_compare_and_swap(pair.writer, fresh, fresh_len, old, old_len, WAIT_NS) == TMGR_ABSENT);
    CHECK(tmgr_compare_and_swap(pair.writer, old, old_len, other, other_len, WAIT_NS) == TMGR_KEY_DIFFERS);
    CHECK(tmgr_compare_and_swap(pair.writer, old, old_len, old, old_len, WAIT_NS) == TMGR_OK);
    CHECK(tmgr_compare_and_swap(pair.writer, old, old_len, fresh, fresh_len, WAIT_NS) == TMGR_OK);
    CHECK(lookup(pair.reader, 1, &buffer) == TMGR_OK && is_row(&buffer, 1, 6, 50));
    tmgr_buffer_free(&buffer);
    close_pair(&pair);
}

static int update(struct tmgr_table *table, uint32_t kind, const uint8_t *updates, size_t updates_len,
                  const uint8_t *row, size_t row_len, struct tmgr_buffer *results) {
    const uint8_t key[] = {1};
    struct tmgr_op op = {.kind = kind,
                         .key = key,
                         .key_len = 1,
                         .row = row,
                         .row_len = row_len,
                         .updates = updates,
                         .updates_len = updates_len};
    return tmgr_update(table, &op, results, WAIT_NS);
}

static void test_counters_count_and_refuse(void) {
    struct pair pair = open_public(0);
    struct tmgr_buffer results = {0};
    CHECK(update(pair.writer, TMGR_OP_UPDATE_COUNTER, BYTES(0x91, 0x92, 1, 5), NULL, 0, &results) == TMGR_ABSENT);
    CHECK(update(pair.writer, TMGR_OP_UPDATE_COUNTER, BYTES(0x91, 0x92, 1, 5), BYTES(0x92, 0, 7), &results) == TMGR_OK);
    CHECK(results.len == 2 && results.data[0] == 0x91 && results.data[1] == 12);
    CHECK(update(pair.writer, TMGR_OP_UPDATE_COUNTER, BYTES(0x92, 0x92, 1, 0xff, 0x94, 1, 5, 15, 2), NULL, 0,
                 &results) == TMGR_OK);
    CHECK(results.len == 3 && results.data[1] == 11 && results.data[2] == 2);
    CHECK(update(pair.writer, TMGR_OP_UPDATE_COUNTER, BYTES(0x91, 0x92, 0, 5), NULL, 0, NULL) == TMGR_KEY_POSITION);
    CHECK(update(pair.writer, TMGR_OP_UPDATE_COUNTER, BYTES(0x91, 0x92, 2, 5), NULL, 0, NULL) == TMGR_BAD_POSITION);
    CHECK(update(pair.writer, TMGR_OP_UPDATE_ELEMENT, BYTES(0x91, 0x92, 1, 0xa1, 'x'), NULL, 0, NULL) == TMGR_OK);
    CHECK(update(pair.writer, TMGR_OP_UPDATE_COUNTER, BYTES(0x91, 0x92, 1, 5), NULL, 0, NULL) == TMGR_NOT_INTEGER);
    CHECK(update(pair.writer, TMGR_OP_UPDATE_ELEMENT, BYTES(0x91, 0x92, 0, 1), NULL, 0, NULL) == TMGR_KEY_POSITION);
    CHECK(update(pair.writer, TMGR_OP_UPDATE_ELEMENT, BYTES(0x91, 0x92, 9, 1), NULL, 0, NULL) == TMGR_BAD_POSITION);
    CHECK(tmgr_lookup(pair.reader, BYTES(1), &results) == TMGR_OK);
    CHECK(results.len == 4 && memcmp(results.data, "\x92\x01\xa1x", 4) == 0);
    tmgr_buffer_free(&results);
    close_pair(&pair);
}

static void test_apply_does_all_or_nothing(void) {
    struct pair pair = open_public(4);
    struct model model;
    struct bound bound;
    struct outcome got, wanted;
    struct op op = {.verb = VERB_APPLY, .n = 100};
    model_init(&model);
    for (uint64_t i = 0; i < 100; i++)
        op.items[i] = (struct item){.kind = TMGR_OP_INSERT, .id = i % 70, .stamp = i, .payload = 30 + i};
    op_bind(&bound, &op, &model);
    op_run(&bound, pair.writer, WAIT_NS, &got);
    op_model(&bound, &model, &wanted);
    bound_free(&bound);
    CHECK(outcomes_equal(&got, &wanted) && got.status == TMGR_OK && model.count == 70);
    CHECK(equals(pair.reader, &model));
    op.items[90] = (struct item){.kind = TMGR_OP_UPDATE_COUNTER, .id = 500, .stamp = 1};
    for (uint64_t i = 0; i < 90; i++)
        op.items[i].kind = i % 3 == 0 ? TMGR_OP_DELETE : TMGR_OP_INSERT;
    op_bind(&bound, &op, &model);
    op_run(&bound, pair.writer, WAIT_NS, &got);
    bound_free(&bound);
    CHECK(got.status == TMGR_ABSENT && got.failed == 90);
    CHECK(equals(pair.reader, &model));
    model_free(&model);
    close_pair(&pair);
}

static void overwrite_together(struct pair *pair, struct model *model, size_t n) {
    struct bound bound;
    struct outcome got, wanted;
    struct op op = {.verb = VERB_APPLY, .n = n};
    for (uint64_t i = 0; i < n; i++)
        op.items[i] = (struct item){.kind = TMGR_OP_INSERT, .id = i, .stamp = 1 + model->count, .payload = 30};
    op_bind(&bound, &op, model);
    op_run(&bound, pair->writer, WAIT_NS, &got);
    op_model(&bound, model, &wanted);
    bound_free(&bound);
    CHECK(outcomes_equal(&got, &wanted) && got.status == TMGR_OK);
}

/* Of 14 records three transactions of 4 rows have theirs: the fourth retires the log for another. */
static void test_small_transactions_have_a_log_in_common(void) {
    enum { ROWS = 4, TIMES = 30 };
    struct pair pair = open_public(1);
    struct tmgr_info before, after;
    struct model model;
    model_init(&model);
    overwrite_together(&pair, &model, ROWS);
    CHECK(tmgr_describe(pair.reader, &before) == TMGR_OK);
    for (int i = 0; i < TIMES; i++)
        overwrite_together(&pair, &model, ROWS);
    CHECK(tmgr_describe(pair.reader, &after) == TMGR_OK && after.bytes_used == before.bytes_used);
    CHECK(after.retired - before.retired == ROWS * TIMES + TIMES / 3);
    CHECK(equals(pair.reader, &model));
    overwrite_together(&pair, &model, 40); /* has a log of its own, which goes with it */
    CHECK(tmgr_describe(pair.reader, &after) == TMGR_OK && after.bytes_used < before.bytes_used + 36 * 100);
    model_free(&model);
    close_pair(&pair);
}

static void mixed_operations_match_a_model(uint32_t type, uint32_t n_stripes) {
    struct pair pair = open_type(type, n_stripes);
    struct model model;
    char problem[PROBLEM_MAX] = "";
    model_init(&model);
    model.type = type;
    for (uint64_t round = 0; round < 12; round++) {
        bool good = run_mixed(pair.writer, &model, 100 * n_stripes + round, 1000, 20 << round % 8, problem);
        if (!good)
            fprintf(stderr, "type %u, stripes %u, round %d: %s\n", type, n_stripes, (int)round, problem);
        CHECK(good);
        CHECK(equals(pair.reader, &model));
        good = check_is_clean(pair.writer, false, problem);
        if (!good)
            fprintf(stderr, "type %u, stripes %u, round %d: %s\n", type, n_stripes, (int)round, problem);
        CHECK(good);
    }
    model_free(&model);
    close_pair(&pair);
}

static void test_a_thousand_mixed_operations_match_a_model(void) {
    for (uint32_t n_stripes = 1; n_stripes <= 64; n_stripes *= 8) {
        mixed_operations_match_a_model(TMGR_SET, n_stripes);
        mixed_operations_match_a_model(TMGR_BAG, n_stripes);
        mixed_operations_match_a_model(TMGR_DUPLICATE_BAG, n_stripes);
    }
    mixed_operations_match_a_model(TMGR_ORDERED_SET, 1);
}

/* -- many rows ---------------------------------------------------------------------------------------------------------- */

static void test_a_table_grows_to_many_rows_and_uses_its_memory_again(void) {
    enum { ROWS = 40000 };
    struct pair pair = open_public(4);
    struct tmgr_info info;
    struct tmgr_buffer buffer = {0};
    uint64_t removed, reserved = 0;
    for (int round = 0; round < 4; round++) {
        for (uint64_t id = 0; id < ROWS; id++)
            CHECK(insert(pair.writer, id, id, 40 + id % 60) == TMGR_OK);
        CHECK(len_of(pair.reader) == ROWS);
        for (uint64_t id = 0; id < ROWS; id += 97)
            CHECK(lookup(pair.reader, id, &buffer) == TMGR_OK && is_row(&buffer, id, id, 40 + id % 60));
        CHECK(tmgr_describe(pair.reader, &info) == TMGR_OK && info.rows == ROWS);
        CHECK(round == 0 || info.bytes_reserved <= reserved + reserved / 4);
        reserved = round == 0 ? info.bytes_reserved : reserved;
        CHECK(info.bytes_used > (uint64_t)ROWS * 60 && info.bytes_used < info.bytes_reserved);
        CHECK(tmgr_delete_all(pair.writer, &removed, WAIT_NS) == TMGR_OK && removed == ROWS);
        CHECK(len_of(pair.reader) == 0 && lookup(pair.reader, 5, &buffer) == TMGR_ABSENT);
    }
    tmgr_buffer_free(&buffer);
    close_pair(&pair);
}

static void test_freed_memory_serves_rows_of_any_size(void) {
    struct pair pair = open_public(1);
    struct tmgr_info info;
    uint64_t most = 0;
    uint8_t key[KEY_BYTES_MAX];
    for (int round = 0; round < 6; round++) {
        size_t payload = round % 2 ? 20000 : 60;
        uint64_t n = 6000000 / (payload + 40);
        for (uint64_t id = 0; id < n; id++)
            CHECK(insert(pair.writer, id, 1, payload) == TMGR_OK);
        for (uint64_t id = 0; id < n; id++)
            CHECK(tmgr_delete(pair.writer, key, key_encode(key, id), WAIT_NS) == TMGR_OK);
        CHECK(tmgr_describe(pair.reader, &info) == TMGR_OK);
        if (round < 2)
            most = info.bytes_reserved;
        else
            CHECK(info.bytes_reserved <= most + most / 4);
    }
    close_pair(&pair);
}

static void test_max_bytes_is_a_limit_that_leaves_the_table_whole(void) {
    struct tmgr_options options = public_options();
    struct model model;
    struct tmgr_info info;
    options.max_bytes = 3 << 20;
    options.n_stripes = 2;
    struct pair pair = open_pair(&options);
    uint64_t id = 0;
    int status;
    model_init(&model);
    while ((status = insert(pair.writer, id, 3, 500)) == TMGR_OK && id < 100000)
        model_put(&model, id++, 3, 500);
    CHECK(status == TMGR_FULL && id > 2000);
    CHECK(equals(pair.reader, &model));
    CHECK(insert(pair.writer, 1000000, 3, 2000000) == TMGR_FULL);
    CHECK(tmgr_describe(pair.reader, &info) == TMGR_OK && info.bytes_reserved <= options.max_bytes &&
          info.max_bytes == options.max_bytes);
    for (uint64_t gone = 0; gone < id; gone++) { /* a full table can be emptied, and filled again */
        uint8_t key[KEY_BYTES_MAX];
        CHECK(tmgr_delete(pair.writer, key, key_encode(key, gone), WAIT_NS) == TMGR_OK);
    }
    CHECK(len_of(pair.reader) == 0);
    for (uint64_t again = 0; again < id * 3 / 4; again++)
        CHECK(insert(pair.writer, again, 4, 500) == TMGR_OK);
    model_free(&model);
    close_pair(&pair);
}

static struct outcome write_both(struct tmgr_table *table, struct model *model, enum verb verb, uint64_t id,
                                 uint64_t stamp, size_t payload) {
    struct op op = {.verb = verb, .n = 1, .items = {{.id = id, .stamp = stamp, .payload = payload}}};
    struct bound bound;
    struct outcome got, wanted;
    op_bind(&bound, &op, model);
    op_run(&bound, table, WAIT_NS, &got);
    op_model(&bound, model, &wanted);
    bound_free(&bound);
    CHECK(outcomes_equal(&got, &wanted));
    return got;
}

/* Single pages lie free between rows of a page each: a large row is put together from them. */
static void test_a_large_row_needs_no_pages_in_a_row(void) {
    enum { PAGE_ROW = 4000, LARGE = 150000, SINGLES = 100 };
    struct tmgr_options options = public_options();
    struct tmgr_buffer buffer = {0};
    struct tmgr_info before, after;
    struct model model;
    options.max_bytes = 1 << 20;
    options.n_stripes = 1;
    struct pair pair = open_pair(&options);
    uint64_t n = 0;
    model_init(&model);
    for (; insert(pair.writer, n, 3, PAGE_ROW) == TMGR_OK; n++)
        model_put(&model, n, 3, PAGE_ROW);
    CHECK(n > 2 * SINGLES);
    for (uint64_t id = 0; id < 2 * SINGLES; id += 2)
        write_both(pair.writer, &model, VERB_DELETE, id, 0, 0);
    CHECK(tmgr_describe(pair.reader, &before) == TMGR_OK);
    for (uint64_t round = 0; round < 6; round++) { /* inserted, replaced, deleted, and inserted again */
        write_both(pair.writer, &model, round == 3 ? VERB_DELETE : VERB_INSERT, 1000000, round,
                   LARGE + 5000 * (size_t)round);
        CHECK(equals(pair.reader, &model));
        CHECK(tmgr_describe(pair.reader, &after) == TMGR_OK);
        CHECK(round == 3
                  ? after.bytes_used == before.bytes_used
                  : after.bytes_used > before.bytes_used + LARGE && after.bytes_used < before.bytes_used + 2 * LARGE);
    }
    CHECK(lookup(pair.reader, 1000000, &buffer) == TMGR_OK);
    CHECK(insert(pair.writer, 1000001, 3, LARGE * 3) == TMGR_FULL);
    CHECK(equals(pair.reader, &model));
    tmgr_buffer_free(&buffer);
    model_free(&model);
    close_pair(&pair);
}

/* Half of the rows go, then there is room for rows of another size; bytes used say what is used. */
static void test_a_full_table_moves_rows_together(void) {
    static const size_t payloads[] = {60, 700, 5000, 40000, 30};
    struct tmgr_options options = public_options();
    struct tmgr_info info;
    struct model model;
    struct random random = random_from(4);
    options.max_bytes = 4 << 20;
    options.n_stripes = 4;
    struct pair pair = open_pair(&options);
    uint64_t next = 0;
    model_init(&model);
    for (size_t i = 0; i < sizeof payloads / sizeof *payloads; i++) {
        uint64_t inserted = 0, least = i == 0 ? 0 : payloads[i] < 100 ? 500000 : 800000;
        for (; insert(pair.writer, next, 3, payloads[i]) == TMGR_OK; next++) {
            model_put(&model, next, 3, payloads[i]);
            inserted += payloads[i];
        }
        CHECK(inserted > least);
        CHECK(equals(pair.reader, &model));
        for (uint64_t id = 0; id < next; id++)
            if (random_below(&random, 2) == 0 && model_find(&model, id) != NULL)
                write_both(pair.writer, &model, VERB_DELETE, id, 0, 0);
    }
    CHECK(len_of(pair.reader) == model.count);
    for (uint64_t id = 0; id < next; id++)
        if (model_find(&model, id) != NULL)
            write_both(pair.writer, &model, VERB_DELETE, id, 0, 0);
    CHECK(tmgr_describe(pair.reader, &info) == TMGR_OK && info.rows == 0 && info.bytes_used < options.max_bytes / 4);
    model_free(&model);
    close_pair(&pair);
}

static int delete_id(struct tmgr_table *table, uint64_t id) {
    uint8_t key[KEY_BYTES_MAX];
    return tmgr_delete(table, key, key_encode(key, id), WAIT_NS);
}

static uint64_t bytes_used(struct tmgr_table *table) {
    struct tmgr_info info = {0};
    CHECK(tmgr_describe(table, &info) == TMGR_OK);
    return info.bytes_used;
}

/* Of a table of one stripe that keys with so many rows each share with rows that are alone: half of either go, and rows of a third
 * size get most of the room. What points at a row of a list is found by walking it, again and again here. */
static void long_lists_are_moved(uint64_t keys, uint64_t rows_of_a_key) {
    enum { ALONE = 1000000, THIRD = 2000000, ABSENT = 3000000 };
    struct tmgr_options options = public_options();
    options.type = TMGR_DUPLICATE_BAG;
    options.n_stripes = 1;
    options.max_bytes = 16 << 20;
    struct pair pair = open_pair(&options);
    uint64_t alone = 0, third = 0, removed = 0;
    for (uint64_t stamp = 1; stamp <= rows_of_a_key; stamp++)
        for (uint64_t key = 0; key < keys; key++)
            CHECK(insert(pair.writer, key, stamp, 20) == TMGR_OK);
    while (insert(pair.writer, ALONE + alone, 1, 900) == TMGR_OK)
        alone++;
    uint64_t full = bytes_used(pair.writer);
    for (uint64_t key = 1; key < keys; key += 2)
        CHECK(delete_id(pair.writer, key) == TMGR_OK);
    for (uint64_t i = 0; i < alone; i += 2)
        CHECK(delete_id(pair.writer, ALONE + i) == TMGR_OK);
    for (uint64_t i = 0; i < keys * rows_of_a_key / 64; i++) /* by when the last list is counted off */
        CHECK(delete_id(pair.writer, ABSENT) == TMGR_ABSENT);
    uint64_t deleted = bytes_used(pair.writer);
    while (insert(pair.writer, THIRD + third, 1, 300) == TMGR_OK)
        third++;
    CHECK(bytes_used(pair.writer) - deleted > (full - deleted) / 10 * 9);
    removed = alone / 2 + alone % 2 + keys / 2 * rows_of_a_key;
    CHECK(len_of(pair.reader) == keys * rows_of_a_key + alone + third - removed);
    close_pair(&pair);
}

static void test_a_full_bag_moves_the_rows_of_long_lists(void) {
    long_lists_are_moved(600, 100);
    long_lists_are_moved(2, 30000);
}

static void test_a_full_table_refuses_multi_row_writes_whole(void) {
    struct tmgr_options options = public_options();
    struct model model;
    char problem[PROBLEM_MAX] = "";
    options.max_bytes = 2 << 20;
    options.n_stripes = 2;
    struct pair pair = open_pair(&options);
    model_init(&model);
    bool was_full = false;
    for (uint64_t round = 0; round < 400 && !was_full; round++) {
        struct op op = {.verb = VERB_APPLY, .n = 30};
        struct bound bound;
        struct outcome got, wanted;
        for (uint64_t i = 0; i < 30; i++)
            op.items[i] = (struct item){.kind = TMGR_OP_INSERT, .id = 30 * round + i, .stamp = 1, .payload = 700};
        op_bind(&bound, &op, &model);
        op_run(&bound, pair.writer, WAIT_NS, &got);
        was_full = got.status == TMGR_FULL;
        if (!was_full)
            op_model(&bound, &model, &wanted);
        bound_free(&bound);
        CHECK(was_full || got.status == TMGR_OK);
    }
    CHECK(was_full);
    CHECK(equals(pair.reader, &model));
    CHECK(check_is_clean(pair.writer, false, problem));
    model_free(&model);
    close_pair(&pair);
}

/* -- traversal ---------------------------------------------------------------------------------------------------------- */

enum { WALK_ROWS = 3000 };

/* Counts each id of a scan's buffer. */
static void count_rows(const struct tmgr_buffer *buffer, uint32_t *seen, size_t n_ids) {
    for (size_t at = 0; at < buffer->len;) {
        size_t len = object_len(buffer->data + at, buffer->len - at);
        uint64_t id = 0;
        CHECK(len > 0 && row_is_sound(buffer->data + at, len, &id) && id < n_ids);
        if (len == 0 || id >= n_ids)
            return;
        seen[id]++;
        at += len;
    }
}

static void test_steps_and_scans_give_the_same_order_both_ways(void) {
    struct pair pair = open_public(4);
    struct tmgr_buffer all = {0}, row = {0};
    struct tmgr_cursor cursor = {0};
    size_t n_rows, total = 0;
    uint8_t key[KEY_BYTES_MAX];
    size_t key_len = 0;
    for (uint64_t id = 0; id < WALK_ROWS; id++)
        CHECK(insert(pair.writer, id, 1, 10 + id % 50) == TMGR_OK);
    int status;
    do {
        struct tmgr_buffer part = {0};
        status = tmgr_scan(pair.reader, &cursor, 1000, &part, &n_rows);
        CHECK(status == TMGR_OK || status == TMGR_END);
        total += status == TMGR_OK ? n_rows : 0;
        all.data = realloc(all.data, all.len + part.len + 1);
        if (part.len)
            memcpy(all.data + all.len, part.data, part.len);
        all.len += part.len;
        tmgr_buffer_free(&part);
    } while (status == TMGR_OK);
    CHECK(total == WALK_ROWS);
    size_t at = 0;
    while ((status = tmgr_step(pair.reader, 1, key_len ? key : NULL, key_len, &row)) == TMGR_OK) {
        CHECK(at + row.len <= all.len && memcmp(all.data + at, row.data, row.len) == 0);
        at += row.len;
        key_len = object_len(row.data + 1, row.len - 1);
        memcpy(key, row.data + 1, key_len);
        row.len = 0;
    }
    CHECK(status == TMGR_END && at == all.len);
    key_len = 0;
    while ((status = tmgr_step(pair.reader, -1, key_len ? key : NULL, key_len, &row)) == TMGR_OK) {
        CHECK(row.len <= at && memcmp(all.data + at - row.len, row.data, row.len) == 0);
        at -= row.len;
        key_len = object_len(row.data + 1, row.len - 1);
        memcpy(key, row.data + 1, key_len);
        row.len = 0;
    }
    CHECK(status == TMGR_END && at == 0);
    free(all.data);
    tmgr_buffer_free(&row);
    close_pair(&pair);
}

static void test_a_key_that_is_gone_keeps_its_place_in_the_order(void) {
    struct pair pair = open_public(2);
    struct tmgr_buffer row = {0}, next = {0};
    uint8_t keys[100][KEY_BYTES_MAX];
    size_t lens[100], n = 0;
    for (uint64_t id = 0; id < 100; id++)
        CHECK(insert(pair.writer, id, 1, 20) == TMGR_OK);
    while (n < 100 && tmgr_step(pair.reader, 1, n ? keys[n - 1] : NULL, n ? lens[n - 1] : 0, &row) == TMGR_OK) {
        lens[n] = object_len(row.data + 1, row.len - 1);
        memcpy(keys[n], row.data + 1, lens[n]);
        n++;
        row.len = 0;
    }
    CHECK(n == 100);
    for (size_t i = 1; i + 1 < n; i += 2)
        CHECK(tmgr_delete(pair.writer, keys[i], lens[i], WAIT_NS) == TMGR_OK);
    for (size_t i = 1; i + 1 < n; i += 2) {
        next.len = 0;
        CHECK(tmgr_step(pair.reader, 1, keys[i], lens[i], &next) == TMGR_OK);
        CHECK(object_len(next.data + 1, next.len - 1) == lens[i + 1] &&
              memcmp(next.data + 1, keys[i + 1], lens[i + 1]) == 0);
        next.len = 0;
        CHECK(tmgr_step(pair.reader, -1, keys[i], lens[i], &next) == TMGR_OK);
        CHECK(memcmp(next.data + 1, keys[i - 1], lens[i - 1]) == 0);
    }
    tmgr_buffer_free(&row);
    tmgr_buffer_free(&next);
    close_pair(&pair);
}

/* Between two calls of a scan others insert (so that buckets split), overwrite and delete. */
static void test_a_scan_sees_each_row_that_stays_exactly_once(void) {
    struct pair pair = open_public(2);
    struct random random = random_from(5);
    struct tmgr_buffer buffer = {0};
    struct tmgr_cursor cursor = {0};
    enum { ALL = 40000 };
    uint32_t *seen = calloc(ALL, sizeof *seen);
    uint64_t fresh = WALK_ROWS;
    uint8_t key[KEY_BYTES_MAX];
    size_t n_rows;
    int status;
    for (uint64_t id = 0; id < WALK_ROWS; id++)
        CHECK(insert(pair.writer, id, 1, 30) == TMGR_OK);
    do {
        buffer.len = 0;
        status = tmgr_scan(pair.reader, &cursor, 300, &buffer, &n_rows);
        CHECK(status == TMGR_OK || status == TMGR_END);
        count_rows(&buffer, seen, ALL);
        for (int i = 0; i < 8 && fresh < ALL; i++)
            CHECK(insert(pair.writer, fresh++, 1, 30) == TMGR_OK);
        for (int i = 0; i < 4; i++)
            CHECK(insert(pair.writer, random_below(&random, WALK_ROWS / 2), 2, 60) == TMGR_OK);
        uint64_t gone = WALK_ROWS / 2 + random_below(&random, WALK_ROWS / 4);
        tmgr_delete(pair.writer, key, key_encode(key, gone), WAIT_NS);
    } while (status == TMGR_OK);
    for (uint64_t id = 0; id < WALK_ROWS / 2; id++)
        CHECK(seen[id] == 1);
    for (uint64_t id = WALK_ROWS * 3 / 4; id < WALK_ROWS; id++)
        CHECK(seen[id] == 1);
    for (uint64_t id = 0; id < ALL; id++)
        CHECK(seen[id] <= 1);
    CHECK(fresh > WALK_ROWS + 1000);
    free(seen);
    tmgr_buffer_free(&buffer);
    close_pair(&pair);
}

static void test_lookup_many_answers_each_key(void) {
    struct pair pair = open_public(4);
    struct tmgr_buffer out = {0};
    uint8_t keys[300 * KEY_BYTES_MAX];
    size_t keys_len = 0, at = 0;
    for (uint64_t id = 0; id < 300; id += 3)
        CHECK(insert(pair.writer, id, 1, 10 + id) == TMGR_OK);
    for (uint64_t id = 0; id < 300; id++)
        keys_len += key_encode(keys + keys_len, id);
    CHECK(tmgr_lookup_many(pair.reader, keys, keys_len, 300, &out) == TMGR_OK);
    for (uint64_t id = 0; id < 300; id++) {
        size_t len = object_len(out.data + at, out.len - at);
        uint64_t found;
        CHECK(len > 0);
        CHECK(id % 3 ? out.data[at] == 0xc0 : row_is_sound(out.data + at, len, &found) && found == id);
        at += len;
    }
    CHECK(at == out.len);
    tmgr_buffer_free(&out);
    close_pair(&pair);
}

/* -- ordered tables ----------------------------------------------------------------------------------------------------- */

static struct pair open_ordered(void) {
    struct tmgr_options options = public_options();
    options.type = TMGR_ORDERED_SET;
    return open_pair(&options);
}

static bool ranges_equal(struct tmgr_table *table, const struct model *model) {
    char problem[PROBLEM_MAX] = "";
    bool equal = ranges_equal_model(table, model, problem);
    if (!equal)
        fprintf(stderr, "%s\n", problem);
    return equal;
}

/* From no row to many and back, in an order of its own each way. */
static void test_an_ordered_set_grows_and_shrinks_in_order(void) {
    enum { ROWS = 1500, STEP = 7 * 61 };
    struct pair pair = open_ordered();
    struct model model;
    model_init(&model);
    CHECK(ranges_equal(pair.reader, &model));
    for (uint64_t i = 0; i < ROWS; i++) {
        write_both(pair.writer, &model, VERB_INSERT, i * STEP % ROWS, 1, 20 + i % 50);
        CHECK(i % 300 != 0 || ranges_equal(pair.reader, &model));
    }
    CHECK(equals(pair.reader, &model) && ranges_equal(pair.reader, &model));
    for (uint64_t i = 0; i < ROWS; i++) {
        write_both(pair.writer, &model, VERB_DELETE, i * (STEP + 4) % ROWS, 0, 0);
        CHECK(i % 300 != 0 || ranges_equal(pair.reader, &model));
    }
    CHECK(len_of(pair.reader) == 0 && equals(pair.reader, &model) && ranges_equal(pair.reader, &model));
    model_free(&model);
    close_pair(&pair);
}

static void test_an_ordered_set_matches_a_model_after_mixed_operations(void) {
    struct pair pair = open_ordered();
    struct model model;
    char problem[PROBLEM_MAX] = "";
    model_init(&model);
    for (uint64_t round = 0; round < 12; round++) {
        bool good = run_mixed(pair.writer, &model, 700 + round, 1000, 20 << round % 8, problem) &&
                    check_is_clean(pair.writer, false, problem);
        if (!good)
            fprintf(stderr, "round %d: %s\n", (int)round, problem);
        CHECK(good);
        CHECK(equals(pair.reader, &model) && ranges_equal(pair.reader, &model));
    }
    model_free(&model);
    close_pair(&pair);
}

/* Rows [1], [2] .. [60], and some of tuples (1, 0) .. (1, 9), (2, 0) .. (2, 9) when they are wanted. */
static void fill_in_order(struct tmgr_table *table, bool with_tuples) {
    for (uint8_t i = 1; i <= 60; i++)
        CHECK(tmgr_insert(table, BYTES(0x91, i), WAIT_NS) == TMGR_OK);
    for (uint8_t i = 0; with_tuples && i < 20; i++)
        CHECK(tmgr_insert(table, BYTES(0x91, 0xc7, 3, 1, 0x92, (uint8_t)(1 + i / 10), (uint8_t)(i % 10)), WAIT_NS) ==
              TMGR_OK);
}

static void test_steps_start_at_keys_that_need_not_be_there(void) {
    struct pair pair = open_ordered();
    struct tmgr_buffer row = {0};
    CHECK(tmgr_step(pair.reader, 1, NULL, 0, &row) == TMGR_END);
    fill_in_order(pair.writer, false);
    CHECK(tmgr_step(pair.reader, 1, NULL, 0, &row) == TMGR_OK && row.len == 2 && row.data[1] == 1);
    CHECK(tmgr_step(pair.reader, -1, NULL, 0, &row) == TMGR_OK && row.len == 2 && row.data[1] == 60);
    for (uint8_t i = 1; i < 60; i++) {
        const uint8_t half[] = {0xcb, 0x3f, 0xe0, 0, 0, 0, 0, 0, 0}; /* 0.5 */
        CHECK(tmgr_step(pair.reader, 1, &i, 1, &row) == TMGR_OK && row.data[1] == i + 1);
        CHECK(i == 1 || (tmgr_step(pair.reader, -1, &i, 1, &row) == TMGR_OK && row.data[1] == i - 1));
        CHECK(tmgr_step(pair.reader, 1, half, sizeof half, &row) == TMGR_OK && row.data[1] == 1);
        CHECK(tmgr_step(pair.reader, -1, half, sizeof half, &row) == TMGR_END);
    }
    CHECK(tmgr_step(pair.reader, 1, BYTES(60), &row) == TMGR_END);
    CHECK(tmgr_step(pair.reader, -1, BYTES(1), &row) == TMGR_END);
    CHECK(tmgr_step(pair.reader, -1, BYTES(0xa1, 'x'), &row) == TMGR_OK && row.data[1] == 60); /* above all ints */
    CHECK(tmgr_step(pair.reader, 1, BYTES(0x81, 1, 2), &row) == TMGR_BAD_ROW);                 /* no key */
    tmgr_buffer_free(&row);
    close_pair(&pair);
}

static void test_a_prefix_is_a_range_of_tuples(void) {
    struct pair pair = open_ordered();
    struct tmgr_buffer rows = {0};
    struct tmgr_cursor cursor = {0};
    struct tmgr_range range = {0};
    size_t n = 0;
    const uint8_t prefix[] = {0xd5, 1, 0x91, 2}, not_a_tuple[] = {2};
    fill_in_order(pair.writer, true);
    range.prefix = prefix, range.prefix_len = sizeof prefix;
    CHECK(tmgr_rows(pair.reader, &range, &cursor, 100, SIZE_MAX, &rows, &n) == TMGR_OK && n == 10);
    for (size_t i = 0; i < n && rows.len == 7 * n; i++)
        CHECK(rows.data[7 * i + 5] == 2 && rows.data[7 * i + 6] == i);
    CHECK(tmgr_rows(pair.reader, &range, &cursor, 100, SIZE_MAX, &rows, &n) == TMGR_END && n == 0);
    tmgr_buffer_free(&cursor.last);
    cursor = (struct tmgr_cursor){0};
    range.flags = TMGR_RANGE_REVERSE;
    CHECK(tmgr_rows(pair.reader, &range, &cursor, 3, SIZE_MAX, &rows, &n) == TMGR_OK && n == 3 && rows.data[6] == 9);
    CHECK(tmgr_rows(pair.reader, &range, &cursor, 3, SIZE_MAX, &rows, &n) == TMGR_OK && n == 3 && rows.data[6] == 6);
    tmgr_buffer_free(&cursor.last);
    cursor = (struct tmgr_cursor){0};
    range.prefix = not_a_tuple, range.prefix_len = 1;
    CHECK(tmgr_rows(pair.reader, &range, &cursor, 3, SIZE_MAX, &rows, &n) == TMGR_BAD_ROW && n == 0);
    tmgr_buffer_free(&rows);
    close_pair(&pair);
}

static void test_ranges_are_refused_where_they_mean_nothing(void) {
    struct pair ordered = open_ordered(), set = open_public(1);
    struct tmgr_buffer rows = {0};
    struct tmgr_cursor cursor = {0};
    struct tmgr_range range = {0};
    size_t n = 9;
    CHECK(tmgr_rows(set.reader, &range, &cursor, 3, 100, &rows, &n) == TMGR_OPERATION && n == 0);
    range.lo = (const uint8_t *)"\x81\x01\x02", range.lo_len = 3; /* a dict */
    fill_in_order(ordered.writer, false);
    CHECK(tmgr_rows(ordered.reader, &range, &cursor, 3, 100, &rows, &n) == TMGR_BAD_ROW && n == 0);
    range.lo = (const uint8_t *)"\x28", range.lo_len = 1; /* above hi */
    range.hi = (const uint8_t *)"\x1e", range.hi_len = 1;
    CHECK(tmgr_rows(ordered.reader, &range, &cursor, 3, 100, &rows, &n) == TMGR_END && cursor.done);
    tmgr_close(ordered.reader);
    CHECK(tmgr_rows(ordered.reader, &range, &cursor, 3, 100, &rows, &n) == TMGR_CLOSED);
    tmgr_buffer_free(&rows);
    tmgr_buffer_free(&cursor.last);
    close_pair(&ordered);
    close_pair(&set);
}

/* Between two calls others insert, so that nodes split, and delete, so that they merge. */
static void test_a_range_sees_each_row_that_stays_exactly_once(void) {
    enum { STAY = 400, APART = 40 };
    for (uint32_t flags = 0; flags <= TMGR_RANGE_REVERSE; flags += TMGR_RANGE_REVERSE) {
        struct pair pair = open_ordered();
        struct random random = random_from(6);
        struct tmgr_buffer rows = {0};
        struct tmgr_cursor cursor = {0};
        struct tmgr_range range = {.flags = flags};
        uint64_t last = 0, id, seen = 0;
        size_t n;
        for (uint64_t i = 0; i < STAY; i++)
            CHECK(insert(pair.writer, i * APART, 1, 30) == TMGR_OK);
        while (tmgr_rows(pair.reader, &range, &cursor, 5, SIZE_MAX, &rows, &n) == TMGR_OK) {
            for (size_t at = 0, len; at < rows.len; at += len, last = id) {
                len = object_len(rows.data + at, rows.len - at);
                CHECK(len > 0 && row_is_sound(rows.data + at, len, &id));
                CHECK((seen == 0 && at == 0) || key_order(last, id) == (flags ? 1 : -1));
                seen += id % APART == 0;
            }
            for (int i = 0; i < 40; i++) {
                uint64_t other = random_below(&random, STAY * APART);
                uint8_t key[KEY_BYTES_MAX];
                if (other % APART == 0)
                    continue;
                if (i < 20)
                    CHECK(insert(pair.writer, other, 2, 30) == TMGR_OK);
                else
                    tmgr_delete(pair.writer, key, key_encode(key, other), WAIT_NS);
            }
        }
        CHECK(seen == STAY);
        tmgr_buffer_free(&rows);
        tmgr_buffer_free(&cursor.last);
        close_pair(&pair);
    }
}

/* -- handles, names, access --------------------------------------------------------------------------------------------- */

static void test_one_name_is_one_table(void) {
    struct pair pair = open_public(0);
    struct tmgr_options options = public_options();
    struct tmgr_table *second;
    char other[64];
    CHECK(tmgr_create(pair.segment, "test", 4, &options, &second) == TMGR_TABLE_EXISTS);
    name_segment(other);
    CHECK(tmgr_attach(other, TMGR_MAP_AUTO, &second) == TMGR_NO_TABLE);
    CHECK(tmgr_create(other, "x", 1, &options, &second) == TMGR_OK);
    CHECK(tmgr_rename(second, pair.segment, "test", 4) == TMGR_TABLE_EXISTS);
    CHECK(insert(second, 1, 1, 1) == TMGR_OK);
    CHECK(tmgr_drop(second, false) == TMGR_OK);
    CHECK(insert(second, 1, 1, 1) == TMGR_NO_TABLE);
    CHECK(tmgr_drop(second, false) == TMGR_NO_TABLE);
    tmgr_free(second);
    CHECK(tmgr_drop_segment(other) == TMGR_NO_TABLE);
    close_pair(&pair);
}

static void test_bad_options_are_refused(void) {
    struct tmgr_options good = public_options(), bad;
    struct tmgr_table *table;
    char segment[64], name[300], long_segment[400];
    name_segment(segment);
    memset(name, 'n', sizeof name);
    memset(long_segment, 's', sizeof long_segment - 1);
    long_segment[0] = '/';
    long_segment[sizeof long_segment - 1] = 0;
    bad = good, bad.type = 7;
    CHECK(tmgr_create(segment, "x", 1, &bad, &table) == TMGR_BAD_OPTION);
    bad = good, bad.access = 3;
    CHECK(tmgr_create(segment, "x", 1, &bad, &table) == TMGR_BAD_OPTION);
    bad = good, bad.n_stripes = 3;
    CHECK(tmgr_create(segment, "x", 1, &bad, &table) == TMGR_BAD_OPTION);
    bad = good, bad.n_stripes = 128;
    CHECK(tmgr_create(segment, "x", 1, &bad, &table) == TMGR_BAD_OPTION);
    bad = good, bad.heir = 9;
    CHECK(tmgr_create(segment, "x", 1, &bad, &table) == TMGR_BAD_OPTION);
    bad = good, bad.max_bytes = 1000;
    CHECK(tmgr_create(segment, "x", 1, &bad, &table) == TMGR_BAD_OPTION);
    bad = good, bad.heir = TMGR_HEIR_PROCESS, bad.heir_process = nobody;
    CHECK(tmgr_create(segment, "x", 1, &bad, &table) == TMGR_NO_PROCESS);
    bad = good, bad.heir_data = name, bad.heir_data_len = TMGR_DATA_MAX + 1;
    CHECK(tmgr_create(segment, "x", 1, &bad, &table) == TMGR_TOO_LONG);
    CHECK(tmgr_create(segment, name, 256, &good, &table) == TMGR_TOO_LONG);
    CHECK(tmgr_create(long_segment, "x", 1, &good, &table) == TMGR_TOO_LONG);
    CHECK(tmgr_attach(segment, TMGR_MAP_AUTO, &table) == TMGR_NO_TABLE);
}

static void test_a_closed_handle_says_so(void) {
    struct pair pair = open_public(0);
    struct tmgr_buffer buffer = {0};
    uint64_t rows;
    tmgr_close(pair.reader);
    tmgr_close(pair.reader);
    CHECK(lookup(pair.reader, 1, &buffer) == TMGR_CLOSED);
    CHECK(tmgr_len(pair.reader, &rows) == TMGR_CLOSED);
    CHECK(tmgr_admit(pair.reader, false) == TMGR_CLOSED);
    CHECK(insert(pair.writer, 1, 1, 1) == TMGR_OK);
    tmgr_free(NULL);
    close_pair(&pair);
}

static void test_a_read_only_mapping_refuses_writes(void) {
    struct pair pair = open_public(0);
    CHECK(insert(pair.reader, 1, 1, 1) == TMGR_READONLY);
    CHECK(tmgr_admit(pair.reader, false) == TMGR_OK && tmgr_admit(pair.reader, true) == TMGR_READONLY);
    CHECK(len_of(pair.reader) == 0);
    close_pair(&pair);
}

static void test_a_dropped_table_is_gone_for_every_handle(void) {
    struct pair pair = open_public(0);
    struct tmgr_buffer buffer = {0};
    struct tmgr_info info;
    CHECK(insert(pair.writer, 1, 1, 1) == TMGR_OK);
    CHECK(tmgr_drop(pair.writer, false) == TMGR_OK);
    CHECK(lookup(pair.reader, 1, &buffer) == TMGR_NO_TABLE);
    CHECK(insert(pair.writer, 1, 1, 1) == TMGR_NO_TABLE);
    CHECK(tmgr_describe(pair.reader, &info) == TMGR_OK && info.dropped == 1);
    tmgr_free(pair.writer);
    tmgr_free(pair.reader);
}

static void test_rename_moves_the_name_and_nothing_else(void) {
    struct pair pair = open_public(0);
    struct tmgr_buffer buffer = {0};
    struct tmgr_info info;
    struct tmgr_table *table;
    char other[64];
    name_segment(other);
    CHECK(insert(pair.writer, 1, 1, 1) == TMGR_OK);
    CHECK(tmgr_rename(pair.writer, other, "other", 5) == TMGR_OK);
    CHECK(tmgr_attach(pair.segment, TMGR_MAP_READ, &table) == TMGR_NO_TABLE);
    CHECK(tmgr_attach(other, TMGR_MAP_READ, &table) == TMGR_OK);
    CHECK(lookup(table, 1, &buffer) == TMGR_OK && lookup(pair.reader, 1, &buffer) == TMGR_OK);
    CHECK(tmgr_describe(table, &info) == TMGR_OK && info.name_len == 5 && memcmp(info.name, "other", 5) == 0);
    tmgr_free(table);
    tmgr_buffer_free(&buffer);
    close_pair(&pair);
    CHECK(tmgr_drop_segment(other) == TMGR_NO_TABLE);
}

static void test_describe_tells_what_was_asked_for(void) {
    struct tmgr_options options = public_options();
    struct tmgr_info info;
    struct tmgr_process self;
    options.codec = 1;
    options.keypos = 3;
    options.mode = 0640;
    options.n_stripes = 8;
    options.heir_data = "\xa4"
                        "data";
    options.heir_data_len = 5;
    struct pair pair = open_pair(&options);
    CHECK(tmgr_self(&self) == TMGR_OK && self.pid == (uint32_t)getpid() && tmgr_alive(&self) == 1);
    CHECK(tmgr_describe(pair.reader, &info) == TMGR_OK);
    CHECK(info.type == TMGR_SET && info.access == TMGR_PUBLIC && info.keypos == 3 && info.codec == 1);
    CHECK(info.mode == 0640 && info.n_stripes == 8 && info.rows == 0 && info.readonly == 1);
    CHECK(info.owner.pid == self.pid && info.owner.start == self.start && info.owner_alive == 1);
    CHECK(info.heir == TMGR_HEIR_MANAGER && info.heir_data_len == 5 &&
          memcmp(info.heir_data,
                 "\xa4"
                 "data",
                 5) == 0);
    CHECK(info.name_len == 4 && memcmp(info.name, "test", 4) == 0 && info.dropped == 0 && info.poisoned == 0);
    CHECK(info.created_ns > 0 && info.repairs == 0 && info.table_id != 0 && info.foreign_namespace == 0);
    CHECK(info.transfer_reason == TMGR_NEVER);
    close_pair(&pair);
}

/* Runs fn(segment) in another process; its result. */
static int in_child(int (*fn)(const char *), const char *segment) {
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        tmgr_after_fork();
        _exit(fn(segment));
    }
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static int read_elsewhere(const char *segment) {
    struct tmgr_table *table;
    struct tmgr_buffer buffer = {0};
    int status = tmgr_attach(segment, TMGR_MAP_AUTO, &table);
    return status != TMGR_OK ? 100 + status : lookup(table, 1, &buffer);
}

static int write_elsewhere(const char *segment) {
    struct tmgr_table *table;
    int status = tmgr_attach(segment, TMGR_MAP_AUTO, &table);
    return status != TMGR_OK ? 100 + status : insert(table, 1, 2, 3);
}

static int claim_elsewhere(const char *segment) {
    struct tmgr_table *table;
    int status = tmgr_attach(segment, TMGR_MAP_AUTO, &table);
    return status != TMGR_OK ? 100 + status : tmgr_claim(table, TMGR_CLAIM_ORPHAN, NULL, WAIT_NS);
}

static int create_and_end(const char *segment) {
    struct tmgr_options options = public_options();
    struct tmgr_table *table;
    int status = tmgr_create(segment, "orphan", 6, &options, &table);
    return status != TMGR_OK ? status : insert(table, 1, 1, 10);
}

static int create_mortal(const char *segment) {
    struct tmgr_options options = public_options();
    struct tmgr_table *table;
    options.heir = TMGR_HEIR_NONE;
    return tmgr_create(segment, "mortal", 6, &options, &table);
}

static void test_access_is_enforced_for_other_processes(void) {
    static const struct {
        uint32_t access;
        int read, write;
    } rules[] = {{TMGR_PUBLIC, TMGR_OK, TMGR_OK},
                 {TMGR_PROTECTED, TMGR_OK, TMGR_ACCESS},
                 {TMGR_PRIVATE, TMGR_ACCESS, TMGR_ACCESS}};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        struct tmgr_options options = public_options();
        options.access = rules[i].access;
        struct pair pair = open_pair(&options);
        CHECK(insert(pair.writer, 1, 1, 1) == TMGR_OK);
        CHECK(in_child(read_elsewhere, pair.segment) == rules[i].read);
        CHECK(in_child(write_elsewhere, pair.segment) == rules[i].write);
        CHECK(in_child(claim_elsewhere, pair.segment) == TMGR_OWNED);
        close_pair(&pair);
    }
}

static void test_an_orphan_can_be_claimed_and_given(void) {
    struct tmgr_info info;
    struct tmgr_table *table;
    struct tmgr_process self;
    char segment[64];
    name_segment(segment);
    CHECK(tmgr_self(&self) == TMGR_OK);
    CHECK(in_child(create_and_end, segment) == TMGR_OK);
    CHECK(tmgr_attach(segment, TMGR_MAP_WRITE, &table) == TMGR_OK);
    CHECK(tmgr_describe(table, &info) == TMGR_OK && info.owner_alive == 0 && info.rows == 1);
    uint32_t creator = info.owner.pid;
    CHECK(tmgr_setopts(table, TMGR_CHANGE_ACCESS, &(struct tmgr_options){.access = 2}, WAIT_NS) == TMGR_NOT_OWNER);
    CHECK(tmgr_settle(table, NULL, WAIT_NS) == TMGR_ABSENT);
    CHECK(tmgr_claim(table, TMGR_CLAIM_ORPHAN, NULL, WAIT_NS) == TMGR_OK &&
          tmgr_claim(table, TMGR_CLAIM_ORPHAN, NULL, WAIT_NS) == TMGR_OK);
    CHECK(tmgr_settle(table, NULL, WAIT_NS) == TMGR_OWNED);
    CHECK(tmgr_describe(table, &info) == TMGR_OK && info.owner.pid == self.pid && info.transfer_from.pid == creator);
    CHECK(info.transfer_reason == TMGR_CLAIMED && info.heir == TMGR_HEIR_MANAGER);
    CHECK(tmgr_give_away(table, &self, "\xc0", 1, WAIT_NS) == TMGR_SELF);
    CHECK(tmgr_give_away(table, &nobody, "\xc0", 1, WAIT_NS) == TMGR_NO_PROCESS);
    struct tmgr_process with_start = parent, before_it = parent;
    CHECK(tmgr_alive(&with_start) == 1 && with_start.start > 1);
    before_it.start = with_start.start - 1;
    CHECK(tmgr_give_away(table, &before_it, "\xc0", 1, WAIT_NS) == TMGR_NO_PROCESS); /* its pid is another's by now */
    struct tmgr_options heir = {.heir = TMGR_HEIR_PROCESS, .heir_process = before_it};
    CHECK(tmgr_setopts(table, TMGR_CHANGE_HEIR, &heir, WAIT_NS) == TMGR_NO_PROCESS);
    heir.heir_process = with_start;
    CHECK(tmgr_setopts(table, TMGR_CHANGE_HEIR, &heir, WAIT_NS) == TMGR_OK);
    struct tmgr_options word = {.heir_data = "\xa4word", .heir_data_len = 5}, none = {.heir = TMGR_HEIR_NONE};
    CHECK(tmgr_setopts(table, TMGR_CHANGE_HEIR_DATA, &word, WAIT_NS) == TMGR_OK);
    CHECK(tmgr_describe(table, &info) == TMGR_OK && info.heir == TMGR_HEIR_PROCESS && info.heir_data_len == 5);
    CHECK(tmgr_setopts(table, TMGR_CHANGE_HEIR, &none, WAIT_NS) == TMGR_OK);
    CHECK(tmgr_setopts(table, TMGR_CHANGE_HEIR_DATA, &word, WAIT_NS) == TMGR_BAD_OPTION);
    CHECK(tmgr_setopts(table, TMGR_CHANGE_HEIR_DATA, &none, WAIT_NS) == TMGR_OK); /* that is how it is */
    CHECK(tmgr_give_away(table, &parent, segment, TMGR_DATA_MAX + 1, WAIT_NS) == TMGR_TOO_LONG);
    CHECK(tmgr_give_away(table, &parent,
                         "\xa4"
                         "gift",
                         5, WAIT_NS) == TMGR_OK);
    CHECK(tmgr_describe(table, &info) == TMGR_OK && info.owner.pid == (uint32_t)getppid());
    CHECK(info.transfer_reason == TMGR_GIFT && info.transfer_data_len == 5 && info.transfer_from.pid == self.pid);
    CHECK(tmgr_give_away(table, &parent, "\xc0", 1, WAIT_NS) == TMGR_NOT_OWNER);
    CHECK(tmgr_drop(table, true) == TMGR_OK);
    tmgr_free(table);
}

static void test_a_table_without_an_heir_goes_with_its_owner(void) {
    struct tmgr_table *table;
    char segment[64];
    name_segment(segment);
    CHECK(in_child(create_mortal, segment) == TMGR_OK);
    CHECK(tmgr_attach(segment, TMGR_MAP_WRITE, &table) == TMGR_NO_TABLE);
    CHECK(tmgr_drop_segment(segment) == TMGR_NO_TABLE);
}

static int create_mortal_and_pause(const char *segment) {
    int status = create_mortal(segment);
    raise(SIGSTOP);
    return status;
}

static void test_who_is_refused_a_table_that_went_with_its_owner_hears_that_it_is_gone(void) {
    char segment[64];
    struct tmgr_table *table, *reader;
    name_segment(segment);
    int status, pid = fork();
    if (pid == 0) {
        tmgr_after_fork();
        _exit(create_mortal_and_pause(segment));
    }
    CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    CHECK(tmgr_attach(segment, TMGR_MAP_WRITE, &table) == TMGR_OK);
    CHECK(tmgr_attach(segment, TMGR_MAP_READ, &reader) == TMGR_OK);
    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
    struct tmgr_options options = {.access = TMGR_PUBLIC};
    struct tmgr_table *tables[] = {table, reader};
    for (size_t i = 0; i < 2; i++) {
        CHECK(tmgr_setopts(tables[i], TMGR_CHANGE_ACCESS, &options, WAIT_NS) == TMGR_NO_TABLE);
        CHECK(tmgr_give_away(tables[i], &parent, "\xc0", 1, WAIT_NS) == TMGR_NO_TABLE);
        CHECK(tmgr_pass_on(tables[i], &parent, false, WAIT_NS) == TMGR_NO_TABLE);
    }
    CHECK(tmgr_rename(reader, segment, "other", 5) == TMGR_NO_TABLE);
    CHECK(insert(reader, 1, 1, 1) == TMGR_NO_TABLE);
    CHECK(tmgr_claim(table, TMGR_CLAIM_ORPHAN, NULL, WAIT_NS) == TMGR_NO_TABLE);
    CHECK(tmgr_drop(reader, false) == TMGR_NO_TABLE);
    tmgr_free(reader);
    tmgr_free(table);
}

static void test_a_live_heir_inherits(void) {
    struct tmgr_options options = public_options();
    struct tmgr_table *table;
    struct tmgr_info info;
    char segment[64];
    name_segment(segment);
    CHECK(in_child(create_and_end, segment) == TMGR_OK);
    CHECK(tmgr_attach(segment, TMGR_MAP_WRITE, &table) == TMGR_OK);
    CHECK(tmgr_claim(table, TMGR_CLAIM_TO_KEEP, NULL, WAIT_NS) == TMGR_OK);
    CHECK(tmgr_describe(table, &info) == TMGR_OK && info.transfer_reason == TMGR_KEPT);
    options.heir = TMGR_HEIR_PROCESS;
    options.heir_process = parent;
    options.access = TMGR_PROTECTED;
    CHECK(tmgr_setopts(table, TMGR_CHANGE_HEIR | TMGR_CHANGE_ACCESS, &options, WAIT_NS) == TMGR_OK);
    CHECK(tmgr_describe(table, &info) == TMGR_OK && info.heir == TMGR_HEIR_PROCESS && info.access == TMGR_PROTECTED);
    CHECK(info.heir_process.pid == (uint32_t)getppid() && info.heir_alive == 1);
    CHECK(tmgr_drop(table, false) == TMGR_OK);
    tmgr_free(table);
}

static int claim_and_end(const char *segment, enum tmgr_claim what) {
    struct tmgr_table *table;
    int status = tmgr_attach(segment, TMGR_MAP_HEAD, &table);
    return status != TMGR_OK ? 100 + status : tmgr_claim(table, what, NULL, WAIT_NS);
}

static int keep_and_end(const char *segment) { return claim_and_end(segment, TMGR_CLAIM_TO_KEEP); }

static int claim_what_is_kept(const char *segment) { return claim_and_end(segment, TMGR_CLAIM_ORPHAN_OR_KEPT); }

/* Passed on by a manager, it comes from the owner before, with that owner's word, however many managers kept it. */
static void test_a_keeper_is_no_predecessor(void) {
    struct tmgr_info info;
    struct tmgr_table *table;
    char segment[64];
    name_segment(segment);
    CHECK(in_child(create_and_end, segment) == TMGR_OK);
    CHECK(tmgr_attach(segment, TMGR_MAP_WRITE, &table) == TMGR_OK);
    CHECK(tmgr_describe(table, &info) == TMGR_OK);
    uint32_t creator = info.owner.pid;
    CHECK(in_child(keep_and_end, segment) == TMGR_OK);
    CHECK(tmgr_claim(table, TMGR_CLAIM_TO_KEEP, NULL, WAIT_NS) == TMGR_OK);
    CHECK(tmgr_describe(table, &info) == TMGR_OK && info.transfer_reason == TMGR_KEPT);
    CHECK(info.owner.pid == (uint32_t)getpid() && info.transfer_from.pid == creator);
    CHECK(in_child(claim_elsewhere, segment) == TMGR_OWNED); /* a claim leaves it to its live keeper */
    CHECK(tmgr_pass_on(table, &nobody, false, WAIT_NS) == TMGR_NO_PROCESS);
    CHECK(tmgr_pass_on(table, &(struct tmgr_process){.pid = parent.pid, .start = 1}, false, WAIT_NS) ==
          TMGR_NO_PROCESS);
    CHECK(tmgr_pass_on(table, &(struct tmgr_process){.pid = (uint32_t)getpid()}, true, WAIT_NS) == TMGR_OK);
    CHECK(tmgr_describe(table, &info) == TMGR_OK && info.transfer_reason == TMGR_KEPT);
    CHECK(tmgr_pass_on(table, &(struct tmgr_process){.pid = (uint32_t)getpid()}, false, WAIT_NS) == TMGR_OK);
    CHECK(tmgr_describe(table, &info) == TMGR_OK && info.transfer_reason == TMGR_INHERITED);
    CHECK(info.owner.pid == (uint32_t)getpid() && info.transfer_from.pid == creator);
    CHECK(tmgr_pass_on(table, &parent, false, WAIT_NS) == TMGR_NOT_OWNER); /* it is kept no longer */
    CHECK(in_child(claim_what_is_kept, segment) == TMGR_OWNED);
    CHECK(tmgr_drop(table, true) == TMGR_OK);
    tmgr_free(table);
}

static int offer_and_end(const char *segment) { return claim_and_end(segment, TMGR_CLAIM_TO_OFFER); }

static int claim_what_is_offered(const char *segment) { return claim_and_end(segment, TMGR_CLAIM_OFFERED); }

/* Whoever takes it has it as if the manager had passed it on; nothing else is taken so. */
static void test_what_is_offered_can_be_taken(void) {
    struct tmgr_info info;
    struct tmgr_table *table;
    char segment[64];
    name_segment(segment);
    CHECK(in_child(create_and_end, segment) == TMGR_OK);
    CHECK(tmgr_attach(segment, TMGR_MAP_WRITE, &table) == TMGR_OK);
    CHECK(tmgr_claim(table, TMGR_CLAIM_OFFERED, NULL, WAIT_NS) == TMGR_OWNED); /* an orphan that nobody offers */
    CHECK(in_child(keep_and_end, segment) == TMGR_OK);
    CHECK(tmgr_claim(table, TMGR_CLAIM_OFFERED, NULL, WAIT_NS) == TMGR_OWNED); /* kept for those who stand in line */
    CHECK(in_child(offer_and_end, segment) == TMGR_OK);
    CHECK(tmgr_claim(table, TMGR_CLAIM_TO_KEEP, NULL, WAIT_NS) == TMGR_OK); /* a successor with a line */
    CHECK(in_child(claim_what_is_offered, segment) == TMGR_OWNED);
    CHECK(tmgr_claim(table, TMGR_CLAIM_OFFERED, NULL, WAIT_NS) == TMGR_OWNED); /* nor by another thread of its keeper */
    CHECK(tmgr_pass_on(table, &(struct tmgr_process){.pid = (uint32_t)getpid()}, true, WAIT_NS) == TMGR_OK);
    CHECK(in_child(claim_what_is_offered, segment) == TMGR_OWNED);
    CHECK(tmgr_drop(table, true) == TMGR_OK);
    tmgr_free(table);

    CHECK(in_child(create_and_end, segment) == TMGR_OK);
    CHECK(tmgr_attach(segment, TMGR_MAP_WRITE, &table) == TMGR_OK);
    CHECK(tmgr_describe(table, &info) == TMGR_OK);
    uint32_t creator = info.owner.pid;
    struct tmgr_ending killed = {info.owner, TMGR_END_KNOWN, -9};
    CHECK(tmgr_claim(table, TMGR_CLAIM_TO_OFFER, NULL, WAIT_NS) == TMGR_OK);
    CHECK(tmgr_claim(table, TMGR_CLAIM_TO_KEEP, NULL, WAIT_NS) == TMGR_OK); /* it is kept already */
    CHECK(tmgr_note_end(table, &killed, WAIT_NS) == TMGR_OK);
    CHECK(tmgr_describe(table, &info) == TMGR_OK && info.transfer_reason == TMGR_OFFERED);
    CHECK(in_child(claim_elsewhere, segment) == TMGR_OWNED);
    CHECK(in_child(claim_what_is_offered, segment) == TMGR_OK);
    CHECK(tmgr_describe(table, &info) == TMGR_OK && info.transfer_reason == TMGR_INHERITED);
    CHECK(info.owner.pid != (uint32_t)getpid() && info.transfer_from.pid == creator);
    CHECK(info.transfer_end == TMGR_END_KNOWN && info.transfer_exit == -9);
    CHECK(tmgr_pass_on(table, &parent, false, WAIT_NS) == TMGR_NOT_OWNER);
    CHECK(tmgr_claim(table, TMGR_CLAIM_OFFERED, NULL, WAIT_NS) == TMGR_OWNED); /* its taker is dead */
    CHECK(tmgr_claim(table, TMGR_CLAIM_ORPHAN, NULL, WAIT_NS) == TMGR_OK);
    CHECK(tmgr_claim(table, TMGR_CLAIM_OFFERED, NULL, WAIT_NS) == TMGR_OWNED); /* the caller's */
    CHECK(tmgr_describe(table, &info) == TMGR_OK && info.transfer_reason == TMGR_CLAIMED);
    CHECK(tmgr_drop(table, true) == TMGR_OK);
    tmgr_free(table);
}

static bool end_is(struct tmgr_table *table, enum tmgr_end end, int32_t exit) {
    struct tmgr_info info;
    return tmgr_describe(table, &info) == TMGR_OK && info.transfer_end == end && info.transfer_exit == exit;
}

/* How an owner ended is said once, stays through keepers and options, and goes with the next gift. */
static void test_the_end_of_an_owner_is_said_once_and_stays(void) {
    struct tmgr_info info;
    struct tmgr_table *table;
    struct tmgr_options options = public_options();
    char segment[64];
    name_segment(segment);
    CHECK(in_child(create_and_end, segment) == TMGR_OK);
    CHECK(tmgr_attach(segment, TMGR_MAP_WRITE, &table) == TMGR_OK);
    CHECK(tmgr_describe(table, &info) == TMGR_OK);
    struct tmgr_ending killed = {info.owner, TMGR_END_KNOWN, -9}, returned = {info.owner, TMGR_END_KNOWN, 3},
                       open = {info.owner, TMGR_END_OPEN, 0}, other = killed;
    other.process.start++;
    CHECK(tmgr_note_end(table, &killed, WAIT_NS) == TMGR_ABSENT); /* its owner still */
    CHECK(tmgr_claim(table, TMGR_CLAIM_TO_KEEP, &other, WAIT_NS) == TMGR_OK && end_is(table, TMGR_END_OPEN, 0));
    CHECK(tmgr_note_end(table, &other, WAIT_NS) == TMGR_ABSENT);
    CHECK(tmgr_note_end(table, &open, WAIT_NS) == TMGR_BAD_OPTION);
    CHECK(tmgr_note_end(table, &killed, WAIT_NS) == TMGR_OK && end_is(table, TMGR_END_KNOWN, -9));
    CHECK(tmgr_note_end(table, &returned, WAIT_NS) == TMGR_ABSENT);
    CHECK(tmgr_pass_on(table, &(struct tmgr_process){.pid = (uint32_t)getpid()}, true, WAIT_NS) == TMGR_OK &&
          end_is(table, TMGR_END_KNOWN, -9));
    CHECK(tmgr_pass_on(table, &(struct tmgr_process){.pid = (uint32_t)getpid()}, false, WAIT_NS) == TMGR_OK &&
          end_is(table, TMGR_END_KNOWN, -9));
    CHECK(tmgr_setopts(table, TMGR_CHANGE_ACCESS, &options, WAIT_NS) == TMGR_OK && end_is(table, TMGR_END_KNOWN, -9));
    CHECK(tmgr_give_away(table, &parent, NULL, 0, WAIT_NS) == TMGR_OK && end_is(table, TMGR_END_OPEN, 0));
    CHECK(tmgr_drop(table, true) == TMGR_OK);
    tmgr_free(table);
}

/* In the same step as the change of owner, by whoever knows then: the first keeper, or a later one. */
static void test_the_end_of_an_owner_comes_with_the_inheritance(void) {
    struct tmgr_info info;
    struct tmgr_table *table;
    char segment[64];
    name_segment(segment);
    CHECK(in_child(create_and_end, segment) == TMGR_OK);
    CHECK(tmgr_attach(segment, TMGR_MAP_WRITE, &table) == TMGR_OK);
    CHECK(tmgr_describe(table, &info) == TMGR_OK);
    struct tmgr_ending killed = {info.owner, TMGR_END_KNOWN, -9}, wrong = {info.owner, (enum tmgr_end)5, -9};
    CHECK(tmgr_settle(table, &killed, WAIT_NS) == TMGR_ABSENT && end_is(table, TMGR_END_OPEN, 0));
    CHECK(in_child(keep_and_end, segment) == TMGR_OK && end_is(table, TMGR_END_OPEN, 0));
    CHECK(tmgr_claim(table, TMGR_CLAIM_TO_KEEP, &wrong, WAIT_NS) == TMGR_OK && end_is(table, TMGR_END_OPEN, 0));
    CHECK(tmgr_drop(table, true) == TMGR_OK);
    tmgr_free(table);

    CHECK(in_child(create_and_end, segment) == TMGR_OK);
    CHECK(tmgr_attach(segment, TMGR_MAP_WRITE, &table) == TMGR_OK);
    CHECK(tmgr_describe(table, &info) == TMGR_OK);
    killed.process = info.owner;
    CHECK(in_child(keep_and_end, segment) == TMGR_OK && end_is(table, TMGR_END_OPEN, 0));
    CHECK(tmgr_claim(table, TMGR_CLAIM_TO_KEEP, &killed, WAIT_NS) == TMGR_OK && end_is(table, TMGR_END_KNOWN, -9));
    CHECK(tmgr_drop(table, true) == TMGR_OK);
    tmgr_free(table);

    CHECK(in_child(create_and_end, segment) == TMGR_OK);
    CHECK(tmgr_attach(segment, TMGR_MAP_WRITE, &table) == TMGR_OK);
    CHECK(tmgr_describe(table, &info) == TMGR_OK);
    struct tmgr_ending returned = {info.owner, TMGR_END_KNOWN, 3};
    CHECK(tmgr_claim(table, TMGR_CLAIM_TO_KEEP, &returned, WAIT_NS) == TMGR_OK && end_is(table, TMGR_END_KNOWN, 3));
    CHECK(tmgr_describe(table, &info) == TMGR_OK && info.transfer_seq == 1);
    CHECK(tmgr_pass_on(table, &(struct tmgr_process){.pid = (uint32_t)getpid()}, false, WAIT_NS) == TMGR_OK &&
          end_is(table, TMGR_END_KNOWN, 3));
    CHECK(tmgr_drop(table, true) == TMGR_OK);
    tmgr_free(table);
}

/* A glance agrees with a description, and tells what is no table, or none any more. */
static void test_a_glance_tells_whose_a_segment_is(void) {
    struct tmgr_info info;
    struct tmgr_glance glance, attached;
    struct tmgr_table *table;
    char segment[64], name[TMGR_NAME_MAX + 1];
    name_segment(segment);
    CHECK(tmgr_glance(segment, &glance) == TMGR_NO_TABLE);
    CHECK(in_child(create_and_end, segment) == TMGR_OK);
    CHECK(tmgr_attach(segment, TMGR_MAP_WRITE, &table) == TMGR_OK);
    CHECK(tmgr_claim(table, TMGR_CLAIM_ORPHAN, NULL, WAIT_NS) == TMGR_OK);
    CHECK(tmgr_describe(table, &info) == TMGR_OK && tmgr_glance(segment, &glance) == TMGR_OK);
    CHECK(glance.owner.pid == info.owner.pid && glance.owner.start == info.owner.start);
    CHECK(glance.transfer_from.pid == info.transfer_from.pid && glance.transfer_reason == info.transfer_reason);
    CHECK(glance.transfer_seq == info.transfer_seq && glance.table_id == info.table_id);
    CHECK(glance.created_ns == info.created_ns && glance.uid == info.uid && glance.heir_process.pid == 0);
    CHECK(tmgr_glance_of(table, &attached) == TMGR_OK && attached.table_id == glance.table_id);
    CHECK(attached.owner.pid == glance.owner.pid && attached.transfer_seq == glance.transfer_seq);
    CHECK(tmgr_name(table, name) == TMGR_OK && strlen(name) == info.name_len && strcmp(name, info.name) == 0);
    CHECK(tmgr_drop(table, true) == TMGR_OK && tmgr_glance(segment, &glance) == TMGR_NO_TABLE);
    CHECK(tmgr_glance_of(table, &glance) == TMGR_NO_TABLE && tmgr_name(table, name) == TMGR_OK);
    tmgr_close(table);
    CHECK(tmgr_glance_of(table, &glance) == TMGR_CLOSED && tmgr_name(table, name) == TMGR_CLOSED);
    tmgr_free(table);
}

static void test_of_claimants_of_a_kept_table_one_succeeds(void) {
    struct tmgr_info info;
    struct tmgr_table *table;
    char segment[64];
    name_segment(segment);
    CHECK(in_child(create_and_end, segment) == TMGR_OK);
    CHECK(tmgr_attach(segment, TMGR_MAP_WRITE, &table) == TMGR_OK);
    CHECK(tmgr_describe(table, &info) == TMGR_OK);
    uint32_t creator = info.owner.pid;
    CHECK(tmgr_claim(table, TMGR_CLAIM_TO_KEEP, NULL, WAIT_NS) == TMGR_OK);
    CHECK(in_child(claim_what_is_kept, segment) == TMGR_OK);
    CHECK(tmgr_pass_on(table, &parent, false, WAIT_NS) == TMGR_NOT_OWNER);
    CHECK(tmgr_describe(table, &info) == TMGR_OK && info.transfer_reason == TMGR_CLAIMED);
    CHECK(info.owner.pid != (uint32_t)getpid() && info.transfer_from.pid == creator);
    CHECK(tmgr_drop(table, true) == TMGR_OK);
    tmgr_free(table);
}

static void test_a_forked_child_is_another_process(void) {
    struct tmgr_options options = public_options();
    options.access = TMGR_PROTECTED;
    struct pair pair = open_pair(&options);
    CHECK(insert(pair.writer, 1, 1, 1) == TMGR_OK);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        tmgr_after_fork();
        struct tmgr_buffer buffer = {0};
        bool right = insert(pair.writer, 2, 1, 1) == TMGR_ACCESS && lookup(pair.writer, 1, &buffer) == TMGR_OK;
        _exit(right ? 0 : 1);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(len_of(pair.reader) == 1);
    close_pair(&pair);
}

static void test_every_status_has_a_text(void) {
    for (int status = 0; status < TMGR_STATUS_COUNT; status++)
        CHECK(tmgr_status_text(status) != NULL && tmgr_status_text(status)[0] != 0);
    CHECK(tmgr_status_text(-5) != NULL && tmgr_status_text(1000) != NULL);
}

int main(void) {
    parent.pid = (uint32_t)getppid();
    test_a_row_is_found_as_it_was_inserted();
    test_keys_are_equal_when_their_bytes_are();
    test_the_key_position_is_the_tables();
    test_what_is_no_row_is_refused();
    test_a_key_over_64_kib_is_refused();
    test_rows_of_every_size_come_back();
    test_insert_new_leaves_what_is_there();
    test_deletes_say_what_they_removed();
    test_compare_and_swap_wants_the_very_row();
    test_counters_count_and_refuse();
    test_apply_does_all_or_nothing();
    test_small_transactions_have_a_log_in_common();
    test_a_thousand_mixed_operations_match_a_model();
    test_a_table_grows_to_many_rows_and_uses_its_memory_again();
    test_freed_memory_serves_rows_of_any_size();
    test_max_bytes_is_a_limit_that_leaves_the_table_whole();
    test_a_large_row_needs_no_pages_in_a_row();
    test_a_full_table_moves_rows_together();
    test_a_full_bag_moves_the_rows_of_long_lists();
    test_a_full_table_refuses_multi_row_writes_whole();
    test_steps_and_scans_give_the_same_order_both_ways();
    test_a_key_that_is_gone_keeps_its_place_in_the_order();
    test_a_scan_sees_each_row_that_stays_exactly_once();
    test_lookup_many_answers_each_key();
    test_an_ordered_set_grows_and_shrinks_in_order();
    test_an_ordered_set_matches_a_model_after_mixed_operations();
    test_steps_start_at_keys_that_need_not_be_there();
    test_a_prefix_is_a_range_of_tuples();
    test_ranges_are_refused_where_they_mean_nothing();
    test_a_range_sees_each_row_that_stays_exactly_once();
    test_one_name_is_one_table();
    test_bad_options_are_refused();
    test_a_closed_handle_says_so();
    test_a_read_only_mapping_refuses_writes();
    test_a_dropped_table_is_gone_for_every_handle();
    test_rename_moves_the_name_and_nothing_else();
    test_describe_tells_what_was_asked_for();
    test_access_is_enforced_for_other_processes();
    test_an_orphan_can_be_claimed_and_given();
    test_a_table_without_an_heir_goes_with_its_owner();
    test_who_is_refused_a_table_that_went_with_its_owner_hears_that_it_is_gone();
    test_a_live_heir_inherits();
    test_a_keeper_is_no_predecessor();
    test_what_is_offered_can_be_taken();
    test_the_end_of_an_owner_is_said_once_and_stays();
    test_the_end_of_an_owner_comes_with_the_inheritance();
    test_a_glance_tells_whose_a_segment_is();
    test_of_claimants_of_a_kept_table_one_succeeds();
    test_a_forked_child_is_another_process();
    test_every_status_has_a_text();
    return check_summary();
}
