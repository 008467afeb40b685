/* SPDX-License-Identifier: Apache-2.0 */
/* readers.c - a reader is stopped after r instructions of a read, others write, and then it reads on.
 *
 * For each r, each read and each script of writes: the table is put back, a fresh child with a read-only mapping is
 * stepped through r instructions of the read, the whole script runs meanwhile, and the child goes on to its end. What
 * it then returns must have been true at some moment of the read: every row sound and one that was written; a key that
 * is there throughout found; in a scan each row that is there throughout exactly once; the length one that it had. */
#include "handle.h"
#include "hash.h"
#include "lists.h"
#include "model.h"
#include "options.h"
#include "scratch.h"
#include "sequence.h"
#include "tracer.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    WAIT_NS = 1000 * 1000 * 1000,
    N_STRIPES = 2,
    STABLE = 120,               /* ids below are never touched by a script */
    CHURNED = 40,               /* ids from STABLE on are overwritten, always there */
    FLICKER = STABLE + CHURNED, /* this one is deleted and inserted */
    FRESH = 1000,
    SPREAD = 32,
    BACK_ROWS = 7,
    STEPS_LIMIT = 2000000,
    PAIR_STEPS = 10000000, /* of a read beside a script, about: a long read is stopped less often */
    SECONDS = 10
};

/* -- what the reader and the tracer share -------------------------------------------------------------------------- */

struct result {
    volatile int32_t status;
    volatile uint32_t n_unsound, n_missing, n_repeated, n_astray, n_rows;
    volatile uint64_t rows;
};

static struct scratch scratch;
static struct image image;
static struct result *result;
static uint64_t seed;
static bool has_large_rows; /* else reads are short enough to be stopped everywhere */
static bool is_ordered, is_bag;

/* In an ordered_set the ids are spread out, those from FRESH on between the others. One and the same in a set. */
static uint64_t spread(uint64_t id) {
    if (!is_ordered)
        return id;
    if (id < FRESH)
        return id / 2 * SPREAD + id % 2;
    uint64_t n = (id - FRESH) / 2;
    return n % (FLICKER / 2) * SPREAD + 2 * (1 + n / (FLICKER / 2)) + id % 2;
}

/* Back to the id; FRESH for any of those. */
static uint64_t gathered(uint64_t number) {
    return !is_ordered ? number : number % SPREAD < 2 ? number / SPREAD * 2 + number % 2 : FRESH;
}

static size_t key_of(uint8_t *out, uint64_t id) { return key_encode(out, spread(id)); }

static uint64_t hash_of(const struct tmgr_table *table, uint64_t id) {
    uint8_t key[KEY_BYTES_MAX];
    return hash_bytes(key, key_of(key, id), table->hash_seed);
}

/* -- reads --------------------------------------------------------------------------------------------------------- */

static void judge_rows(const struct tmgr_buffer *buffer, uint8_t *seen) {
    uint64_t id;
    for (size_t at = 0, len; at < buffer->len; at += len) {
        len = object_len(buffer->data + at, buffer->len - at);
        if (len == 0 || (buffer->data[at] != 0xc0 && !row_is_sound(buffer->data + at, len, &id))) {
            result->n_unsound++;
            return;
        }
        if (buffer->data[at] == 0xc0)
            continue;
        result->n_rows++;
        id = gathered(id);
        if (seen && id <= FLICKER && seen[id]++)
            result->n_repeated++;
    }
}

/* In ascending order, or descending. */
static void judge_order(const struct tmgr_buffer *buffer, int direction) {
    uint64_t id, last = 0;
    for (size_t at = 0, len; at < buffer->len; at += len) {
        len = object_len(buffer->data + at, buffer->len - at);
        if (len == 0 || !row_is_sound(buffer->data + at, len, &id))
            return;
        result->n_astray += at > 0 && key_order(last, id) != -direction;
        last = id;
    }
}

static int read_stable(struct tmgr_table *table, struct tmgr_buffer *buffer) {
    uint8_t key[KEY_BYTES_MAX];
    int status = tmgr_lookup(table, key, key_of(key, 17), buffer);
    judge_rows(buffer, NULL);
    return status;
}

static int read_churned(struct tmgr_table *table, struct tmgr_buffer *buffer) {
    uint8_t key[KEY_BYTES_MAX];
    int status = tmgr_lookup(table, key, key_of(key, STABLE + 3), buffer);
    judge_rows(buffer, NULL);
    return status;
}

static int read_flicker(struct tmgr_table *table, struct tmgr_buffer *buffer) {
    uint8_t key[KEY_BYTES_MAX];
    int status = tmgr_lookup(table, key, key_of(key, FLICKER), buffer);
    if (status == TMGR_OK)
        judge_rows(buffer, NULL);
    return status == TMGR_ABSENT ? TMGR_OK : status;
}

static int read_large(struct tmgr_table *table, struct tmgr_buffer *buffer) {
    uint8_t key[KEY_BYTES_MAX];
    int status = tmgr_lookup(table, key, key_of(key, STABLE + 1), buffer);
    judge_rows(buffer, NULL);
    return status;
}

static int read_contains(struct tmgr_table *table, struct tmgr_buffer *buffer) {
    uint8_t key[KEY_BYTES_MAX];
    (void)buffer;
    return tmgr_contains(table, key, key_of(key, STABLE + 5));
}

static int read_len(struct tmgr_table *table, struct tmgr_buffer *buffer) {
    uint64_t rows = 0;
    (void)buffer;
    int status = tmgr_len(table, &rows);
    result->rows = rows;
    return status;
}

static int read_scan(struct tmgr_table *table, struct tmgr_buffer *buffer) {
    static uint8_t seen[FLICKER + 1];
    struct tmgr_cursor cursor = {0};
    size_t n_rows;
    int status;
    while ((status = tmgr_scan(table, &cursor, 2000, buffer, &n_rows)) == TMGR_OK)
        judge_rows(buffer, seen);
    for (size_t id = 0; id < FLICKER; id++)
        result->n_missing += !seen[id];
    return status == TMGR_END ? TMGR_OK : status;
}

/* The bucket of one key alone, so that every instruction of that is stopped at. */
static int read_bucket(struct tmgr_table *table, struct tmgr_buffer *buffer) {
    uint8_t seen[FLICKER + 1] = {0};
    uint64_t hash = hash_of(table, FLICKER);
    struct tmgr_cursor cursor = {.stripe = (uint32_t)(hash >> 63)};
    for (int bit = 0; bit < 32; bit++)
        cursor.position |= (hash >> bit & 1) << (31 - bit);
    size_t n_rows;
    int status = tmgr_scan(table, &cursor, 1, buffer, &n_rows);
    judge_rows(buffer, seen);
    return status == TMGR_END ? TMGR_OK : status;
}

/* A filter rejects three rows of four, and a survey finds where the others are: those that are overwritten, always there. */
static int read_filtered(struct tmgr_table *table, struct tmgr_buffer *buffer) {
    static uint8_t seen[FLICKER + 1], bytes[PROGRAM_BYTES];
    struct tmgr_query query = {0};
    struct tmgr_cursor cursor = {0};
    size_t n;
    int status = tmgr_program_open(bytes, program_of_stamped(bytes), &query.program);
    if (status != TMGR_OK)
        return status;
    do {
        status = tmgr_query(table, &query, TMGR_QUERY_RESULTS, &cursor, SIZE_MAX, SIZE_MAX, buffer, &n, 0);
        if (status == TMGR_OK || status == TMGR_END)
            judge_rows(buffer, seen);
    } while (status == TMGR_OK);
    for (size_t id = STABLE; id < FLICKER; id++)
        result->n_missing += !seen[id];
    tmgr_program_free(query.program);
    return status == TMGR_END ? TMGR_OK : status;
}

static int read_step(struct tmgr_table *table, struct tmgr_buffer *buffer) {
    uint8_t key[KEY_BYTES_MAX];
    int status = tmgr_step(table, 1, key, key_of(key, 33), buffer);
    if (status == TMGR_OK)
        judge_rows(buffer, NULL);
    if (status != TMGR_OK && status != TMGR_END)
        return status;
    status = tmgr_step(table, -1, key, key_of(key, 34), buffer);
    if (status == TMGR_OK)
        judge_rows(buffer, NULL);
    return status == TMGR_END ? TMGR_OK : status;
}

static int read_many(struct tmgr_table *table, struct tmgr_buffer *buffer) {
    static uint8_t keys[12 * KEY_BYTES_MAX];
    size_t len = 0;
    for (uint64_t id = 0; id < 12; id++)
        len += key_of(keys + len, STABLE - 6 + id);
    int status = tmgr_lookup_many(table, keys, len, 12, buffer);
    judge_rows(buffer, NULL);
    return status == TMGR_OK && result->n_rows != 12 ? TMGR_ABSENT : status;
}

static int read_ranges(struct tmgr_table *table, struct tmgr_buffer *buffer, uint32_t flags, size_t want_bytes) {
    uint8_t seen[FLICKER + 1] = {0};
    struct span span = {.flags = flags, .max_rows = SIZE_MAX, .want_bytes = want_bytes};
    int status = span_read(table, &span, buffer);
    judge_rows(buffer, seen);
    judge_order(buffer, flags & TMGR_RANGE_REVERSE ? -1 : 1);
    for (size_t id = 0; id < FLICKER; id++)
        result->n_missing += !seen[id];
    return status;
}

static int read_range(struct tmgr_table *table, struct tmgr_buffer *buffer) {
    return read_ranges(table, buffer, 0, SIZE_MAX);
}

static int read_range_back(struct tmgr_table *table, struct tmgr_buffer *buffer) {
    return read_ranges(table, buffer, TMGR_RANGE_REVERSE, SIZE_MAX);
}

static int read_range_in_parts(struct tmgr_table *table, struct tmgr_buffer *buffer) {
    return read_ranges(table, buffer, 0, 400);
}

/* Of a bag; judged when the reader has come to its end. */
static int read_list(struct tmgr_table *table, struct tmgr_buffer *buffer) {
    uint8_t key[KEY_BYTES_MAX];
    return tmgr_lookup(table, key, key_of(key, FLICKER), buffer);
}

static void judge_list(const struct tmgr_buffer *buffer) {
    judge_rows(buffer, NULL);
    result->n_astray += !list_is_sound(FLICKER, buffer);
}

static const struct reading {
    const char *name;
    int (*read)(struct tmgr_table *table, struct tmgr_buffer *buffer);
    bool is_ordered, is_bag;
} readings[] = {{"stable", read_stable, false, false},
                {"churned", read_churned, false, false},
                {"flicker", read_flicker, false, false},
                {"large", read_large, false, false},
                {"contains", read_contains, false, false},
                {"len", read_len, false, false},
                {"scan", read_scan, false, false},
                {"bucket", read_bucket, false, false},
                {"filtered", read_filtered, false, false},
                {"step", read_step, false, false},
                {"many", read_many, false, false},
                {"ordered_stable", read_stable, true, false},
                {"ordered_flicker", read_flicker, true, false},
                {"ordered_step", read_step, true, false},
                {"ordered_many", read_many, true, false},
                {"ordered_range", read_range, true, false},
                {"ordered_range_back", read_range_back, true, false},
                {"ordered_range_in_parts", read_range_in_parts, true, false},
                {"list", read_list, false, true}};

/* -- scripts of writes --------------------------------------------------------------------------------------------- */

static void expect_ok(int status, const char *what) {
    if (status != TMGR_OK) {
        fprintf(stderr, "readers: %s: %s\n", what, tmgr_status_text(status));
        exit(3);
    }
}

static void put(struct tmgr_table *table, uint64_t id, uint64_t stamp, size_t payload) {
    static uint8_t row[700000 + ROW_OVERHEAD_MAX];
    expect_ok(tmgr_insert(table, row, row_encode(row, spread(id), stamp, payload), WAIT_NS), "insert");
}

static void take_away(struct tmgr_table *table, uint64_t id) {
    uint8_t key[KEY_BYTES_MAX];
    int status = tmgr_delete(table, key, key_of(key, id), WAIT_NS);
    expect_ok(status == TMGR_ABSENT ? TMGR_OK : status, "delete");
}

/* Id STABLE + 1 has a row with extents, STABLE + 2 one of a run of pages; the others are small. */
static size_t payload_of(uint64_t id, uint64_t round) {
    if (has_large_rows && id == STABLE + 1)
        return 300000 + 1000 * (size_t)(round % 7);
    return has_large_rows && id == STABLE + 2 ? 20000 : 30 + (size_t)(id + round) % 80;
}

static void overwrite_all(struct tmgr_table *table, uint64_t rounds) {
    for (uint64_t round = 0; round < rounds; round++)
        for (uint64_t id = STABLE; id < FLICKER; id++)
            put(table, id, 100 + round, payload_of(id, round));
}

static void overwrite_once(struct tmgr_table *table) {
    put(table, STABLE + 3, 77, 60);
    put(table, STABLE + 5, 77, 60);
}

static void overwrite_some(struct tmgr_table *table) { overwrite_all(table, 1); }
static void overwrite_many_times(struct tmgr_table *table) { overwrite_all(table, 5); }

static void flicker(struct tmgr_table *table) {
    for (uint64_t round = 0; round < 70; round++) {
        take_away(table, FLICKER);
        put(table, FLICKER, round, 20 + (size_t)round);
    }
}

/* The key goes, others of its bucket take its slot and those before it, and it comes back in a later one. */
static void come_back(struct tmgr_table *table) {
    const uint64_t same = UINT64_C(1) << 63 | 0xff; /* of two stripes one, and the bucket of up to 256 */
    take_away(table, FLICKER);
    for (uint64_t id = FRESH, n = 0; n < BACK_ROWS; id += 2)
        if (is_ordered || ((hash_of(table, id) ^ hash_of(table, FLICKER)) & same) == 0) {
            put(table, id, 1, 30);
            n++;
        }
    put(table, FLICKER, 2, 50);
}

static void grow(struct tmgr_table *table) {
    for (uint64_t id = FRESH; id < FRESH + 250; id++)
        put(table, id, 1, 30);
}

static void grow_and_shrink(struct tmgr_table *table) {
    grow(table);
    for (uint64_t id = FRESH; id < FRESH + 250; id++)
        take_away(table, id);
    overwrite_all(table, 2);
}

static void one_insert_each(struct tmgr_table *table) {
    for (uint64_t id = FRESH; id < FRESH + 12; id++)
        put(table, id, 1, 30);
}

static void multi_row(struct tmgr_table *table) {
    struct model empty;
    model_init(&empty);
    for (uint64_t round = 0; round < 6; round++) {
        struct op op = {.verb = VERB_APPLY, .n = CHURNED};
        struct bound bound;
        struct outcome outcome;
        for (uint64_t i = 0; i < CHURNED; i++)
            op.items[i] = (struct item){.kind = TMGR_OP_INSERT,
                                        .id = spread(STABLE + i),
                                        .stamp = 500 + round,
                                        .payload = payload_of(STABLE + i, round)};
        op_bind(&bound, &op, &empty);
        op_run(&bound, table, WAIT_NS, &outcome);
        expect_ok(outcome.status, "apply");
        bound_free(&bound);
    }
    model_free(&empty);
}

/* Everything away and back in one: readers may see it without any row. */
static void delete_all_and_refill(struct tmgr_table *table) {
    uint64_t removed;
    for (uint64_t round = 0; round < 2; round++) {
        expect_ok(tmgr_delete_all(table, &removed, WAIT_NS), "delete_all");
        for (uint64_t id = 0; id <= FLICKER; id++)
            put(table, id, 900, payload_of(id, round));
        overwrite_all(table, 1);
    }
}

static void shift(struct tmgr_table *table) { list_shift(table, FLICKER); }
static void renew(struct tmgr_table *table) { list_renew(table, FLICKER); }
static void come_and_go(struct tmgr_table *table) { list_come_and_go(table, FLICKER); }

static const struct script {
    const char *name;
    void (*write)(struct tmgr_table *table);
    uint64_t more_rows; /* at most so many rows more than before, at some moment */
    uint64_t fewer_rows;
    bool is_of_bags; /* then rows are the list's */
} scripts[] = {{"overwrite_once", overwrite_once, 0, 0, false},
               {"overwrite", overwrite_some, 0, 0, false},
               {"overwrite_many_times", overwrite_many_times, 0, 0, false},
               {"flicker", flicker, 0, 1, false},
               {"come_back", come_back, BACK_ROWS, 1, false},
               {"insert", one_insert_each, 12, 0, false},
               {"grow", grow, 250, 0, false},
               {"grow_and_shrink", grow_and_shrink, 250, 0, false},
               {"multi_row", multi_row, 0, 0, false},
               {"delete_all", delete_all_and_refill, 0, FLICKER + 1, false},
               {"shift", shift, 1, 0, true},
               {"renew", renew, 0, 0, true},
               {"come_and_go", come_and_go, 0, LIST_ROWS, true}};

/* -- one run ------------------------------------------------------------------------------------------------------- */

static struct tmgr_table *attach(enum tmgr_mapping mapping) {
    struct tmgr_table *table;
    expect_ok(tmgr_attach(scratch.segment, mapping, &table), "attach");
    return table;
}

static void reader(void *context) {
    const struct reading *reading = context;
    struct tmgr_table *table = attach(TMGR_MAP_READ);
    struct tmgr_buffer buffer = {0};
    uint64_t rows;
    tmgr_len(table, &rows); /* who this process is, and the like, is found out before */
    memset(result, 0, sizeof *result);
    tracer_begin();
    int status = reading->read(table, &buffer);
    result->status = status;
    tracer_end();
    if (reading->is_bag && status == TMGR_OK)
        judge_list(&buffer);
    _exit(0);
}

static void prepare(void) {
    struct tmgr_options options = {
        .access = TMGR_PUBLIC, .mode = 0600, .n_stripes = N_STRIPES, .heir = TMGR_HEIR_MANAGER};
    struct tmgr_table *table;
    options.type = is_bag ? TMGR_DUPLICATE_BAG : is_ordered ? TMGR_ORDERED_SET : TMGR_SET;
    scratch_seed(seed);
    scratch_name(&scratch, "readers");
    scratch_remove(&scratch);
    expect_ok(tmgr_create(scratch.segment, "readers", 7, &options, &table), "create");
    for (uint64_t id = 0; id < (is_bag ? FLICKER : FLICKER + 1); id++)
        put(table, id, 1, payload_of(id, seed));
    for (uint64_t id = FRESH; id < FRESH + 6 * BACK_ROWS; id++) /* buckets enough, or come_back would split one */
        put(table, id, 1, 30);
    for (uint64_t id = FRESH; id < FRESH + 6 * BACK_ROWS; id++)
        take_away(table, id);
    if (is_bag)
        list_begin(table, FLICKER);
    overwrite_all(table, 2);
    tmgr_free(table);
    image_save(&image, &scratch);
}

static bool is_true(const struct reading *reading, const struct script *script, char problem[PROBLEM_MAX]) {
    bool emptied = script->fewer_rows > 1; /* then no key is there throughout */
    uint64_t rows = reading->is_bag ? result->n_rows : result->rows,
             at_first = reading->is_bag ? LIST_ROWS : FLICKER + 1;
    if (result->n_unsound)
        snprintf(problem, PROBLEM_MAX, "%u torn rows", result->n_unsound);
    else if (result->n_astray)
        snprintf(problem, PROBLEM_MAX, "%u rows out of order", result->n_astray);
    else if (result->n_repeated || (result->n_missing && !emptied))
        snprintf(problem, PROBLEM_MAX, "%u rows twice, %u missing", result->n_repeated, result->n_missing);
    else if (result->status != TMGR_OK && !(emptied && result->status == TMGR_ABSENT))
        snprintf(problem, PROBLEM_MAX, "%s", tmgr_status_text(result->status));
    else if ((reading->read == read_len || reading->is_bag) &&
             (rows > at_first + script->more_rows || rows + script->fewer_rows < at_first))
        snprintf(problem, PROBLEM_MAX, "%llu rows", (unsigned long long)rows);
    else
        return true;
    return false;
}

/* The stopped reader goes on freely. True if it came to its end. */
static bool finish(pid_t child) {
    int status;
    tracer_leave_stopped(child);
    kill(child, SIGCONT);
    alarm(SECONDS);
    bool ended = waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    alarm(0);
    return ended;
}

/* The table that this reading is made on, and the reading's instructions. */
static void record(const struct reading *reading, struct trace *trace) {
    has_large_rows = reading->read == read_large;
    is_ordered = reading->is_ordered;
    is_bag = reading->is_bag;
    prepare();
    pid_t child = tracer_fork(reader, (void *)(uintptr_t)reading);
    if (!tracer_record(child, trace, STEPS_LIMIT, NULL, NULL)) {
        fprintf(stderr, "readers: %s does not come to its end\n", reading->name);
        exit(3);
    }
    tracer_kill(child);
}

/* How likely a stop after r instructions is, beside others: less in later rounds of a loop. */
static double weight(const struct trace *trace, size_t r) {
    return r == trace->n || trace->nth[r] < 6 ? 1 : 4.0 / (trace->nth[r] + 1.0);
}

static size_t run_pair(const struct reading *reading, const struct script *script, const struct trace *trace,
                       size_t most, long only) {
    struct random random = random_from(seed);
    size_t n_failures = 0, n_stops = 0;
    char problem[PROBLEM_MAX];
    pid_t child;
    double all = 0;
    if (most > PAIR_STEPS / (trace->n + 1) + 1)
        most = PAIR_STEPS / (trace->n + 1) + 1;
    for (size_t r = 0; r <= trace->n; r++)
        all += weight(trace, r);
    for (size_t r = 0; r <= trace->n && n_failures < 3; r++) {
        double share = weight(trace, r) * (most != 0 ? (double)most / all : 1);
        if (only >= 0 ? r != (size_t)only : (double)random_below(&random, 1 << 30) >= share * (1 << 30))
            continue;
        bool gone;
        image_restore(&image, &scratch);
        child = tracer_fork(reader, (void *)(uintptr_t)reading);
        tracer_run_to(child, trace, trace, r, &gone);
        if (gone) /* it took another way past the landmark */
            continue;
        n_stops++;
        struct tmgr_table *table = attach(TMGR_MAP_WRITE);
        script->write(table);
        tmgr_free(table);
        bool ended = finish(child);
        if (!ended)
            snprintf(problem, sizeof problem, "it crashes or hangs");
        if (!ended || !is_true(reading, script, problem)) {
            n_failures++;
            printf("FAIL read=%s script=%s r=%zu seed=%llu: %s\n", reading->name, script->name, r,
                   (unsigned long long)seed, problem);
            printf("reproduce: python -m tests.crash --read %s --script %s --seed %llu --k %zu\n", reading->name,
                   script->name, (unsigned long long)seed, r);
        }
    }
    printf("read=%s script=%s instructions=%zu stops=%zu failures=%zu\n", reading->name, script->name, trace->n,
           n_stops, n_failures);
    fflush(stdout);
    return n_failures;
}

static void on_alarm(int number) {
    static const char text[] = "readers: a reader hangs\n";
    (void)number;
    if (write(2, text, sizeof text - 1) < 0)
        _exit(4);
    _exit(3);
}

static const char help[] =
    "usage: readers [--read NAME|all] [--script NAME|all] [--seed N] [--stops N] [--k R] [--cpu N]\n"
    "  --stops N   about so many stops of each read beside each script, of a long read fewer; 0: all but later rounds "
    "of loops\n"
    "  --k R       only the stop after R instructions\n";

int main(int argc, char **argv) {
    struct options options = options_parse(argc, argv, help);
    size_t n_failures = 0;
    seed = options.seed;
    options_pin(&options);
    signal(SIGALRM, on_alarm);
    result = mmap(NULL, sizeof *result, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < sizeof readings / sizeof *readings; i++) {
        struct trace trace;
        if (strcmp(options.name, "all") != 0 && strcmp(options.name, readings[i].name) != 0)
            continue;
        record(&readings[i], &trace);
        for (size_t j = 0; j < sizeof scripts / sizeof *scripts; j++)
            if (scripts[j].is_of_bags == readings[i].is_bag &&
                (strcmp(options.script, "all") == 0 || strcmp(options.script, scripts[j].name) == 0))
                n_failures += run_pair(&readings[i], &scripts[j], &trace, options.stops, options.k);
        trace_free(&trace);
    }
    scratch_remove(&scratch);
    return n_failures ? 1 : 0;
}
