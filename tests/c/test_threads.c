/* SPDX-License-Identifier: Apache-2.0 */
/* test_threads.c - writers and readers at once, threads standing in for processes.
 * Usage: test_threads one|two [rounds]
 *
 * one: every thread uses the same handle, so one mapping. Meant for TSan, which knows memory by its address.
 * two: half of the threads use a second handle, so the segment is mapped at two addresses. Meant for ASan: an address
 *      that found its way into the segment would be wrong in the other mapping. */
#include "sequence.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#endif

#ifdef UNDER_TSAN
/* TSan does not know this call and would see an unlock without a lock; it knows trylock. */
int pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until) {
    struct timespec now;
    int error;
    while ((error = pthread_mutex_trylock(mutex)) == EBUSY) {
        clock_gettime(clock, &now);
        if (now.tv_sec > until->tv_sec || (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec))
            return ETIMEDOUT;
        sched_yield();
    }
    return error;
}
#endif

static const int64_t WAIT_NS = INT64_C(30) * 1000 * 1000 * 1000; /* under TSan a wait is a loop that yields */
enum { WRITERS = 2, ROWS = 200, COUNTER_ID = 100000, PAIR_ID = 200000, PAIRS = 4 };
enum { MAX_BYTES = 6 << 20, CROWD_ID = 10000, CROWD_ROWS = 40000, CROWD_PHASES = 10, CROWD_BYTES = MAX_BYTES / 2 };
enum { CROWD_LISTS = 1000, LIST_ID = 300000, LISTS = 8, LIST_ROWS = 6, LIST_PAYLOAD = 120 };

struct stage {
    struct tmgr_table *handles[2];
    uint64_t rounds;
    bool is_ordered, is_bag; /* the table is an ordered_set, a duplicate_bag */
    atomic_uint n_writing;   /* writers that are not done yet */
    atomic_uint n_wrong;
};
struct actor {
    struct stage *stage;
    struct tmgr_table *table;
    unsigned number;
};

static void wrong(struct stage *stage, const char *what) {
    if (atomic_fetch_add(&stage->n_wrong, 1) < 5)
        fprintf(stderr, "test_threads: %s\n", what);
}

static void expect(struct stage *stage, int status, const char *what) {
    if (status != TMGR_OK) {
        char text[200];
        snprintf(text, sizeof text, "%s: %s", what, tmgr_status_text(status));
        wrong(stage, text);
    }
}

/* Stamps of a row only grow, so that a reader can tell old from new. 0: not a sound row. */
static uint64_t stamp_of(const struct tmgr_buffer *row) {
    uint64_t id;
    if (!row_is_sound(row->data, row->len, &id))
        return 0;
    size_t at = 1 + object_len(row->data + 1, row->len - 1);
    uint8_t first = row->data[at];
    uint64_t stamp = 0;
    if (first < 128)
        return first;
    for (unsigned i = 0; i < 1u << (first - 0xcc); i++)
        stamp = stamp << 8 | row->data[at + 1 + i];
    return stamp;
}

/* -- writers ------------------------------------------------------------------------------------------------------------- */

static void add_to_counter(struct actor *actor) {
    struct model empty;
    struct op op = {.verb = VERB_UPDATE_COUNTER, .n = 1};
    struct bound bound;
    struct outcome outcome;
    op.items[0] = (struct item){.id = COUNTER_ID, .stamp = 1};
    model_init(&empty);
    op_bind(&bound, &op, &empty);
    op_run(&bound, actor->table, WAIT_NS, &outcome);
    expect(actor->stage, outcome.status, "update_counter");
    bound_free(&bound);
    model_free(&empty);
}

/* Both rows of a pair get the same stamp in one call. */
static void write_pair(struct actor *actor, uint64_t pair, uint64_t stamp) {
    struct model empty;
    struct op op = {.verb = VERB_APPLY, .n = 2};
    struct bound bound;
    struct outcome outcome;
    for (uint64_t i = 0; i < 2; i++)
        op.items[i] = (struct item){
            .kind = TMGR_OP_INSERT, .id = PAIR_ID + 2 * pair + i, .stamp = stamp, .payload = 20 + (size_t)stamp % 90};
    model_init(&empty);
    op_bind(&bound, &op, &empty);
    op_run(&bound, actor->table, WAIT_NS, &outcome);
    expect(actor->stage, outcome.status, "apply");
    bound_free(&bound);
    model_free(&empty);
}

/* Rows of one size after another, half of the keys deleted in between: the table is at its limit, so rows are moved together. */
static void *crowd(void *context) {
    static const size_t payloads[] = {120, 3000, 240, 30000, 800};
    static uint8_t row[30000 + ROW_OVERHEAD_MAX];
    struct actor *actor = context;
    struct random random = random_from(actor->number);
    uint64_t bytes = 0, id = 0, ids = actor->stage->is_bag ? CROWD_LISTS : CROWD_ROWS;
    size_t *lens = calloc(CROWD_ROWS, sizeof *lens);
    for (size_t phase = 0; phase < CROWD_PHASES; phase++) {
        for (size_t i = 0; i < CROWD_ROWS && bytes < CROWD_BYTES; i++, id = (id + 1) % ids) {
            size_t len = row_encode(row, CROWD_ID + id, 1, payloads[phase % 5]);
            expect(actor->stage, tmgr_insert(actor->table, row, len, WAIT_NS), "insert into a crowd");
            size_t replaced = actor->stage->is_bag ? 0 : lens[id];
            bytes += len - replaced;
            lens[id] += len - replaced;
        }
        for (size_t i = 0; i < CROWD_ROWS; i++)
            if (lens[i] != 0 && random_below(&random, 2) == 0) {
                uint8_t key[KEY_BYTES_MAX];
                expect(actor->stage, tmgr_delete(actor->table, key, key_encode(key, CROWD_ID + i), WAIT_NS), "delete");
                bytes -= lens[i];
                lens[i] = 0;
            }
    }
    free(lens);
    atomic_fetch_sub(&actor->stage->n_writing, 1);
    return NULL;
}

/* Each writer has ids of its own (so its last write is known), a counter and pairs shared with the others. */
static void *writer(void *context) {
    struct actor *actor = context;
    struct random random = random_from(actor->number);
    uint8_t row[400 + ROW_OVERHEAD_MAX], key[KEY_BYTES_MAX];
    for (uint64_t round = 1; round <= actor->stage->rounds; round++) {
        uint64_t id = actor->number + WRITERS * random_below(&random, ROWS + 2 * round % 1000);
        if (round % 5 == 0) {
            int status = tmgr_delete(actor->table, key, key_encode(key, id), WAIT_NS);
            expect(actor->stage, status == TMGR_ABSENT ? TMGR_OK : status, "delete");
        } else {
            size_t len = row_encode(row, id, round, 10 + (size_t)random_below(&random, 390));
            expect(actor->stage, tmgr_insert(actor->table, row, len, WAIT_NS), "insert");
        }
        if (round % 3 == 0)
            add_to_counter(actor);
        if (round % 4 == 0)
            write_pair(actor, actor->number % PAIRS, round);
    }
    atomic_fetch_sub(&actor->stage->n_writing, 1);
    return NULL;
}

/* -- readers ------------------------------------------------------------------------------------------------------------- */

static int lookup(struct tmgr_table *table, uint64_t id, struct tmgr_buffer *row) {
    uint8_t key[KEY_BYTES_MAX];
    row->len = 0;
    return tmgr_lookup(table, key, key_encode(key, id), row);
}

/* Whoever has seen the new one of a pair's rows finds the other one new as well. */
static void read_pair(struct actor *actor, uint64_t pair, uint64_t turn, struct tmgr_buffer *row) {
    uint64_t first = PAIR_ID + 2 * pair + turn % 2, second = PAIR_ID + 2 * pair + 1 - turn % 2;
    if (lookup(actor->table, first, row) != TMGR_OK)
        return;
    uint64_t seen = stamp_of(row);
    int status = lookup(actor->table, second, row);
    if (status == TMGR_BUSY)
        return;
    if (seen == 0 || status != TMGR_OK || stamp_of(row) < seen)
        wrong(actor->stage, "a multi-row write is seen half done");
}

static void *reader(void *context) {
    struct actor *actor = context;
    struct random random = random_from(1000 + actor->number);
    struct tmgr_buffer row = {0};
    uint64_t last[ROWS * WRITERS] = {0}, last_count = 0, id;
    for (uint64_t turn = 0; atomic_load(&actor->stage->n_writing) > 0; turn++) {
        uint64_t wanted = random_below(&random, ROWS * WRITERS);
        int status = lookup(actor->table, wanted, &row);
        if (status == TMGR_OK) {
            uint64_t stamp = stamp_of(&row);
            if (stamp == 0 || !row_is_sound(row.data, row.len, &id) || id != wanted || stamp < last[wanted])
                wrong(actor->stage, "a lookup gives a torn, a foreign or an older row");
            last[wanted] = stamp;
        } else if (status != TMGR_ABSENT && status != TMGR_BUSY) {
            expect(actor->stage, status, "lookup");
        }
        read_pair(actor, turn % PAIRS, turn / PAIRS, &row);
        if (lookup(actor->table, COUNTER_ID, &row) == TMGR_OK) {
            if (stamp_of(&row) < last_count)
                wrong(actor->stage, "a counter goes back");
            last_count = stamp_of(&row);
        }
    }
    tmgr_buffer_free(&row);
    return NULL;
}

/* Scans, steps and counts; each row sound, none twice in a scan (ids above the writers' are always there). */
static void *walker(void *context) {
    struct actor *actor = context;
    struct tmgr_buffer buffer = {0};
    while (atomic_load(&actor->stage->n_writing) > 0) {
        struct tmgr_cursor cursor = {0};
        size_t n_rows, fixed = 0;
        uint64_t rows, id;
        int status = TMGR_OK;
        while (status == TMGR_OK || status == TMGR_BUSY) {
            buffer.len = 0;
            status = tmgr_scan(actor->table, &cursor, 2000, &buffer, &n_rows);
            for (size_t at = 0, len; status == TMGR_OK && at < buffer.len; at += len) {
                len = object_len(buffer.data + at, buffer.len - at);
                if (len == 0 || !row_is_sound(buffer.data + at, len, &id)) {
                    wrong(actor->stage, "a scan gives a torn row");
                    break;
                }
                fixed += id >= COUNTER_ID;
            }
        }
        tmgr_buffer_free(&cursor.last);
        if (status != TMGR_END || fixed != 1 + 2 * PAIRS)
            wrong(actor->stage, "a scan misses or repeats rows that are there throughout");
        expect(actor->stage, tmgr_len(actor->table, &rows), "len");
        buffer.len = 0;
        status = tmgr_step(actor->table, 1, NULL, 0, &buffer);
        if (status != TMGR_BUSY)
            expect(actor->stage, status, "step");
    }
    tmgr_buffer_free(&buffer);
    return NULL;
}

/* Ranges of all of an ordered_set and of its middle, both ways: rows sound and in order, those that stay all there. */
static void *ranger(void *context) {
    struct actor *actor = context;
    struct tmgr_buffer rows = {0};
    for (uint64_t turn = 0; atomic_load(&actor->stage->n_writing) > 0; turn++) {
        bool is_part = turn % 3 != 0;
        struct span span = {.has_lo = is_part,
                            .has_hi = is_part,
                            .lo = COUNTER_ID - 400,
                            .hi = PAIR_ID + 2 * PAIRS,
                            .flags = turn % 2 ? TMGR_RANGE_REVERSE : 0,
                            .max_rows = turn % 5 ? SIZE_MAX : 20,
                            .want_bytes = 4000};
        uint64_t id, last = 0, fixed = 0;
        rows.len = 0;
        int status = span_read(actor->table, &span, &rows);
        for (size_t at = 0, len; status == TMGR_OK && at < rows.len; at += len, last = id) {
            len = object_len(rows.data + at, rows.len - at);
            if (len == 0 || !row_is_sound(rows.data + at, len, &id)) {
                wrong(actor->stage, "a range gives a torn row");
                break;
            }
            if ((at > 0 && key_order(last, id) != (turn % 2 ? 1 : -1)) || !span_holds(&span, id))
                wrong(actor->stage, "a range gives a row out of order");
            fixed += id >= COUNTER_ID;
        }
        /* The pairs with odd ids are strings, and so beyond both bounds. */
        if (status == TMGR_OK && fixed != 1 + (is_part ? PAIRS : 2 * PAIRS))
            wrong(actor->stage, "a range misses or repeats rows that are there throughout");
        if (status != TMGR_BUSY)
            expect(actor->stage, status, "rows");
    }
    tmgr_buffer_free(&rows);
    return NULL;
}

/* Lists that nobody writes to stay as they are, though their rows are moved. */
static void *list_reader(void *context) {
    struct actor *actor = context;
    struct tmgr_buffer rows = {0};
    uint8_t wanted[LISTS][LIST_ROWS * (LIST_PAYLOAD + ROW_OVERHEAD_MAX)];
    size_t lens[LISTS] = {0};
    for (uint64_t i = 0; i < LISTS; i++)
        for (uint64_t stamp = 1; stamp <= LIST_ROWS; stamp++)
            lens[i] += row_encode(wanted[i] + lens[i], LIST_ID + i, stamp, LIST_PAYLOAD);
    for (uint64_t turn = 0; atomic_load(&actor->stage->n_writing) > 0; turn++) {
        int status = lookup(actor->table, LIST_ID + turn % LISTS, &rows);
        if (status != TMGR_BUSY)
            expect(actor->stage, status, "lookup of a list");
        if (status == TMGR_OK &&
            (rows.len != lens[turn % LISTS] || memcmp(rows.data, wanted[turn % LISTS], rows.len) != 0))
            wrong(actor->stage, "a list has other rows, or in another order");
    }
    tmgr_buffer_free(&rows);
    return NULL;
}

/* -- close beside calls in flight -------------------------------------------------------------------------------------- */

struct closing {
    struct tmgr_table *table;
    atomic_bool is_reading;
    atomic_uint n_wrong;
};

static void *read_until_closed(void *context) {
    struct closing *closing = context;
    struct tmgr_buffer row = {0};
    int status;
    do {
        status = lookup(closing->table, COUNTER_ID, &row);
        atomic_store(&closing->is_reading, true);
    } while (status == TMGR_OK);
    if (status != TMGR_CLOSED)
        atomic_fetch_add(&closing->n_wrong, 1);
    tmgr_buffer_free(&row);
    return NULL;
}

static void test_a_handle_is_closed_while_another_thread_reads(const char *segment) {
    for (int round = 0; round < 20; round++) {
        struct closing closing = {0};
        pthread_t thread;
        CHECK(tmgr_attach(segment, TMGR_MAP_READ, &closing.table) == TMGR_OK);
        CHECK(pthread_create(&thread, NULL, read_until_closed, &closing) == 0);
        while (!atomic_load(&closing.is_reading))
            sched_yield();
        tmgr_close(closing.table);
        pthread_join(thread, NULL);
        CHECK(atomic_load(&closing.n_wrong) == 0);
        tmgr_free(closing.table);
    }
}

/* -- everything at once ------------------------------------------------------------------------------------------------ */

static void prepare(struct stage *stage) {
    uint8_t row[100 + ROW_OVERHEAD_MAX];
    CHECK(tmgr_insert(stage->handles[0], row, row_encode(row, COUNTER_ID, 0, 20), WAIT_NS) == TMGR_OK);
    for (uint64_t i = 0; i < 2 * PAIRS; i++)
        CHECK(tmgr_insert(stage->handles[0], row, row_encode(row, PAIR_ID + i, 1, 20), WAIT_NS) == TMGR_OK);
}

static void test_writers_and_readers_at_once(struct stage *stage) {
    static void *(*const roles[])(void *) = {writer, writer, reader, reader, walker, crowd, ranger};
    enum { MOST = sizeof roles / sizeof *roles };
    unsigned n = stage->is_ordered ? MOST : MOST - 1;
    pthread_t threads[MOST];
    struct actor actors[MOST];
    struct tmgr_buffer row = {0};
    char problem[PROBLEM_MAX] = "";
    prepare(stage);
    atomic_store(&stage->n_writing, WRITERS + 1); /* and the crowd */
    for (unsigned i = 0; i < n; i++) {
        actors[i] = (struct actor){.stage = stage, .table = stage->handles[i % 2], .number = i};
        CHECK(pthread_create(&threads[i], NULL, roles[i], &actors[i]) == 0);
    }
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    CHECK(atomic_load(&stage->n_wrong) == 0);
    CHECK(lookup(stage->handles[1], COUNTER_ID, &row) == TMGR_OK);
    CHECK(stamp_of(&row) == WRITERS * (stage->rounds / 3));
    CHECK(check_is_clean(stage->handles[0], false, problem));
    if (problem[0])
        fprintf(stderr, "%s\n", problem);
    tmgr_buffer_free(&row);
}

static void test_lists_stay_whole_while_their_rows_are_moved(struct stage *stage) {
    static void *(*const roles[])(void *) = {crowd, list_reader, list_reader};
    enum { N = sizeof roles / sizeof *roles };
    pthread_t threads[N];
    struct actor actors[N];
    uint8_t row[LIST_PAYLOAD + ROW_OVERHEAD_MAX];
    char problem[PROBLEM_MAX] = "";
    prepare(stage);
    for (uint64_t stamp = 1; stamp <= LIST_ROWS; stamp++)
        for (uint64_t i = 0; i < LISTS; i++)
            CHECK(tmgr_insert(stage->handles[0], row, row_encode(row, LIST_ID + i, stamp, LIST_PAYLOAD), WAIT_NS) ==
                  TMGR_OK);
    atomic_store(&stage->n_writing, 1);
    for (unsigned i = 0; i < N; i++) {
        actors[i] = (struct actor){.stage = stage, .table = stage->handles[i % 2], .number = i};
        CHECK(pthread_create(&threads[i], NULL, roles[i], &actors[i]) == 0);
    }
    for (unsigned i = 0; i < N; i++)
        pthread_join(threads[i], NULL);
    CHECK(atomic_load(&stage->n_wrong) == 0);
    CHECK(check_is_clean(stage->handles[0], false, problem));
    if (problem[0])
        fprintf(stderr, "%s\n", problem);
}

int main(int argc, char **argv) {
    bool two = argc > 1 && strcmp(argv[1], "two") == 0;
    uint64_t rounds = argc > 2 ? strtoull(argv[2], NULL, 10) : 20000;
    char segment[64];
    snprintf(segment, sizeof segment, "/tablemgr-test.%d.threads", (int)getpid());
    static const struct {
        uint32_t type, n_stripes;
    } tables[] = {
        {TMGR_SET, 1}, {TMGR_SET, 16}, {TMGR_ORDERED_SET, 1}, {TMGR_DUPLICATE_BAG, 1}, {TMGR_DUPLICATE_BAG, 8}};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        struct stage stage = {.rounds = rounds,
                              .is_ordered = tables[i].type == TMGR_ORDERED_SET,
                              .is_bag = tables[i].type == TMGR_DUPLICATE_BAG};
        struct tmgr_options options = {.type = tables[i].type,
                                       .access = TMGR_PUBLIC,
                                       .mode = 0600,
                                       .n_stripes = tables[i].n_stripes,
                                       .heir = TMGR_HEIR_MANAGER,
                                       .max_bytes = MAX_BYTES};
        CHECK(tmgr_create(segment, "threads", 7, &options, &stage.handles[0]) == TMGR_OK);
        stage.handles[1] = stage.handles[0];
        if (two)
            CHECK(tmgr_attach(segment, TMGR_MAP_WRITE, &stage.handles[1]) == TMGR_OK);
        if (stage.is_bag)
            test_lists_stay_whole_while_their_rows_are_moved(&stage);
        else
            test_writers_and_readers_at_once(&stage);
        test_a_handle_is_closed_while_another_thread_reads(segment);
        CHECK(tmgr_drop(stage.handles[0], false) == TMGR_OK);
        if (two)
            tmgr_free(stage.handles[1]);
        tmgr_free(stage.handles[0]);
    }
    return check_summary();
}
