/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz.c - damaged segments: whatever their bytes are, every call returns a status.
 *
 * A sound table is prepared once; each case damages a copy of it and hands that to a child, which attaches, reads, walks,
 * checks, writes and checks again. A child that a signal ends, or that is not done in time, is a finding.
 *
 *   fuzz ordered ...                        one of the following, of an ordered_set
 *   fuzz leftover ...                       the kept logs have a record left that is not resolved
 *   fuzz words FIRST LAST STEP KINDS SEED   each STEP-th word of the segment's bytes [FIRST, LAST), changed in KINDS ways
 *   fuzz nodes STEP KINDS SEED              each STEP-th word of the tree's nodes, changed in KINDS ways
 *   fuzz samples N SEED                     N words anywhere, 1 to 8 at once
 *   fuzz lengths SEED                       cut off or grown at every length that could matter
 *   fuzz foreign N SEED                     no table at all: random bytes, text, headers over garbage
 *   fuzz one CASE SEED                      the case that a finding names, in this very process
 *   fuzz layout                             prints the regions, one "name first last" per line */
#include "handle.h"
#include "layout.h"
#include "model.h"
#include "scratch.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    N_STRIPES = 2,
    ROWS = 150,
    SECONDS = 5,
    KINDS = 9,
    RANGE_CALLS = 300,
    WAIT_NS = 2 * 1000 * 1000,
    CALLS_MAX = 20000
};
enum { MAX_BYTES = 2 << 20, FILLER = 300000 };

struct counts {
    volatile uint64_t cases, refused, named, silent, findings;
};

static struct scratch scratch;
static struct image sound, damaged;
static struct counts *counts;
static uint64_t seed;
static bool is_ordered, has_leftover;

/* -- the sound table --------------------------------------------------------------------------------------------------- */

static void expect_ok(int status, const char *what) {
    if (status != TMGR_OK) {
        fprintf(stderr, "fuzz: %s: %s\n", what, tmgr_status_text(status));
        exit(3);
    }
}

static void put(struct tmgr_table *table, uint64_t id, size_t payload) {
    uint8_t *row = malloc(payload + ROW_OVERHEAD_MAX);
    expect_ok(tmgr_insert(table, row, row_encode(row, id, 7, payload), WAIT_NS), "insert");
    free(row);
}

/* Each stripe has kept a log after these. */
static void write_together(struct tmgr_table *table) {
    struct model model;
    model_init(&model);
    for (uint64_t stamp = 1; stamp <= 3; stamp++) {
        struct op op = {.verb = VERB_APPLY, .n = 5};
        struct bound bound;
        struct outcome got;
        for (uint64_t i = 0; i < op.n; i++)
            op.items[i] = (struct item){.kind = TMGR_OP_INSERT, .id = 40 + i, .stamp = stamp, .payload = 30};
        op_bind(&bound, &op, &model);
        op_run(&bound, table, WAIT_NS, &got);
        bound_free(&bound);
        expect_ok(got.status, "apply");
    }
    model_free(&model);
}

/* As after a death behind the commit point of the last transaction, with all but its last record resolved. */
static void leave_over(struct tmgr_table *table) {
    for (uint32_t i = 0; i < table->n_stripes; i++) {
        struct stripe *s = &table->stripes[i];
        struct tx_log *log = at_checked(table, load_relaxed(&s->kept_log), KEPT_LOG_BYTES);
        if (load_relaxed(&s->kept_log) == 0 || log == NULL)
            continue;
        uint64_t number = load_relaxed(&log->tx) & 0xff;
        struct stripe *home = &table->stripes[number / DESCRIPTORS];
        fetch_or(&home->descriptors[number % DESCRIPTORS].participants, UINT64_C(1) << i);
        store_relaxed(&log->done, load_relaxed(&log->n) - 1);
        store_relaxed(&s->leftover, load_relaxed(&s->kept_log));
    }
}

/* Rows of all sizes, some overwritten, some deleted, so that rings, lists and overflow buckets are in use. */
static void prepare(void) {
    struct tmgr_options options = {
        .access = TMGR_PUBLIC, .mode = 0600, .n_stripes = N_STRIPES, .heir = TMGR_HEIR_MANAGER, .max_bytes = MAX_BYTES};
    struct tmgr_table *table;
    struct random random = random_from(seed);
    uint8_t key[KEY_BYTES_MAX];
    options.type = is_ordered ? TMGR_ORDERED_SET : TMGR_SET;
    scratch_seed(seed);
    scratch_name(&scratch, "fuzz");
    scratch_remove(&scratch);
    expect_ok(tmgr_create(scratch.segment, "fuzz", 4, &options, &table), "create");
    for (uint64_t id = 0; id < ROWS; id++)
        put(table, id, 20 + (size_t)random_below(&random, 200));
    put(table, ROWS, 9000);
    put(table, ROWS + 1, 300000);
    put(table, ROWS + 2, 900000); /* a second chunk, free again below */
    expect_ok(tmgr_delete(table, key, key_encode(key, ROWS + 2), WAIT_NS), "delete");
    for (uint64_t i = 0; i < 60; i++)
        put(table, random_below(&random, ROWS), 30 + (size_t)random_below(&random, 100));
    for (uint64_t id = 0; id < 20; id++)
        expect_ok(tmgr_delete(table, key, key_encode(key, id), WAIT_NS), "delete");
    write_together(table);
    if (has_leftover)
        leave_over(table);
    tmgr_free(table);
    image_save(&sound, &scratch);
    image_save(&damaged, &scratch);
}

/* -- the child: everything one can do ------------------------------------------------------------------------------------ */

static void count_problem(void *context, const char *problem) {
    (void)problem;
    ++*(size_t *)context;
}

/* Each call returns. Damage may lead a range in a circle, which its caller would notice. */
static void read_ranges(struct tmgr_table *table, struct tmgr_buffer *buffer) {
    for (uint32_t flags = 0; flags < 8; flags++) {
        uint8_t lo[KEY_BYTES_MAX], hi[KEY_BYTES_MAX];
        struct tmgr_range range = {.flags = flags};
        struct tmgr_cursor cursor = {0};
        size_t n_rows;
        int status = TMGR_OK;
        if (flags % 3 != 0)
            range.lo = lo, range.lo_len = key_encode(lo, 30);
        if (flags & TMGR_RANGE_UP_TO_HI || flags % 2)
            range.hi = hi, range.hi_len = key_encode(hi, ROWS - 3);
        for (int i = 0; i < RANGE_CALLS && status == TMGR_OK; i++)
            status = tmgr_rows(table, &range, &cursor, 1 + 20 * (flags % 3), 512, buffer, &n_rows);
        tmgr_buffer_free(&cursor.last);
    }
}

static void read_all(struct tmgr_table *table) {
    struct tmgr_buffer buffer = {0};
    struct tmgr_cursor cursor = {0};
    struct tmgr_info info;
    uint8_t keys[40 * KEY_BYTES_MAX];
    size_t n_rows, keys_len = 0;
    uint64_t rows;
    int status = TMGR_OK;
    tmgr_describe(table, &info);
    tmgr_len(table, &rows);
    for (uint64_t id = 0; id < 40; id++) {
        uint8_t *key = keys + keys_len;
        size_t len = key_encode(key, id * 4);
        keys_len += len;
        tmgr_lookup(table, key, len, &buffer);
        tmgr_contains(table, key, len);
    }
    buffer.len = 0;
    tmgr_lookup_many(table, keys, keys_len, 40, &buffer);
    for (int i = 0; i < CALLS_MAX && status == TMGR_OK; i++) {
        buffer.len = 0;
        status = tmgr_scan(table, &cursor, 512, &buffer, &n_rows);
    }
    if (status == TMGR_OK && !is_ordered) /* a cursor only goes forward: a walk has an end */
        abort();
    for (int direction = -1; direction <= 1; direction += 2) {
        uint8_t key[KEY_BYTES_MAX];
        size_t len = 0;
        for (int i = 0; i < 60; i++) {
            buffer.len = 0;
            if (tmgr_step(table, direction, len ? key : NULL, len, &buffer) != TMGR_OK || buffer.len < 2)
                break;
            len = object_len(buffer.data + 1, buffer.len - 1);
            if (len == 0 || len > sizeof key)
                break;
            memcpy(key, buffer.data + 1, len);
        }
    }
    read_ranges(table, &buffer);
    tmgr_buffer_free(&cursor.last);
    tmgr_buffer_free(&buffer);
}

/* The last of these rows finds no memory, so rows are moved together; those before it may get short runs. */
static void fill_up(struct tmgr_table *table) {
    static uint8_t row[FILLER + ROW_OVERHEAD_MAX];
    uint8_t key[KEY_BYTES_MAX];
    for (uint64_t i = 0; i * FILLER < MAX_BYTES; i++)
        tmgr_insert(table, row, row_encode(row, 10 * ROWS + i, 7, FILLER), WAIT_NS);
    for (uint64_t i = 0; i * FILLER < MAX_BYTES; i++)
        tmgr_delete(table, key, key_encode(key, 10 * ROWS + i), WAIT_NS);
}

static void write_all(struct tmgr_table *table) {
    struct random random = random_from(seed);
    struct model model;
    struct bound bound;
    struct outcome outcome;
    struct op op;
    model_init(&model);
    fill_up(table);
    for (int i = 0; i < 80; i++) {
        op_random(&op, &random, ROWS + 40);
        if (op.verb == VERB_DELETE_ALL)
            continue;
        op_bind(&bound, &op, &model);
        op_run(&bound, table, WAIT_NS, &outcome);
        bound_free(&bound);
    }
    uint64_t removed;
    tmgr_delete_all(table, &removed, WAIT_NS);
    for (uint64_t id = 0; id < 60; id++) {
        uint8_t row[100 + ROW_OVERHEAD_MAX];
        tmgr_insert(table, row, row_encode(row, id, 7, 100), WAIT_NS);
    }
    model_free(&model);
}

/* 0: attach refused; 1: check named something; 2: it did not. */
static int use(void) {
    struct tmgr_table *table;
    size_t n_problems = 0;
    bool is_attached = false;
    if (tmgr_attach(scratch.segment, TMGR_MAP_READ, &table) == TMGR_OK) {
        is_attached = true;
        read_all(table);
        if (tmgr_check(table, false, count_problem, &n_problems, WAIT_NS) != TMGR_OK)
            n_problems++;
        tmgr_free(table);
    }
    if (tmgr_attach(scratch.segment, TMGR_MAP_WRITE, &table) == TMGR_OK) {
        is_attached = true;
        size_t n_more = 0;
        if (tmgr_check(table, false, count_problem, &n_more, WAIT_NS) != TMGR_OK)
            n_problems++;
        write_all(table);
        read_all(table);
        tmgr_check(table, true, count_problem, &n_more, WAIT_NS);
        tmgr_free(table);
    }
    if (tmgr_attach(scratch.segment, TMGR_MAP_HEAD, &table) == TMGR_OK) {
        struct tmgr_info info;
        tmgr_describe(table, &info);
        tmgr_settle(table, NULL, WAIT_NS);
        tmgr_claim(table, TMGR_CLAIM_ORPHAN, NULL, WAIT_NS);
        tmgr_drop(table, true);
        tmgr_free(table);
    }
    tmgr_drop_segment(scratch.segment);
    return !is_attached ? 0 : n_problems ? 1 : 2;
}

static void judge(const char *name) {
    image_restore(&damaged, &scratch);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(SECONDS);
        _exit(use());
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child) {
        perror("fork");
        exit(3);
    }
    counts->cases++;
    if (WIFEXITED(status) && WEXITSTATUS(status) <= 2) {
        counts->refused += WEXITSTATUS(status) == 0;
        counts->named += WEXITSTATUS(status) == 1;
        counts->silent += WEXITSTATUS(status) == 2;
        if (WEXITSTATUS(status) == 2 && getenv("FUZZ_SILENT"))
            printf("silent %s\n", name);
        return;
    }
    counts->findings++;
    if (WIFSIGNALED(status))
        printf("FINDING %s: %s (signal %d); reproduce: fuzz%s one %s %llu\n", name,
               WTERMSIG(status) == SIGALRM ? "hangs" : "crashes", WTERMSIG(status), is_ordered ? " ordered" : "", name,
               (unsigned long long)seed);
    else
        printf("FINDING %s: exit code %d; reproduce: fuzz%s one %s %llu\n", name, WEXITSTATUS(status),
               is_ordered ? " ordered" : "", name, (unsigned long long)seed);
    fflush(stdout);
}

/* -- damage -------------------------------------------------------------------------------------------------------------- */

static void start_over(void) {
    damaged.at[0].len = sound.at[0].len;
    memcpy(damaged.at[0].bytes, sound.at[0].bytes, sound.at[0].len);
}

static uint64_t *word_at(struct image *image, size_t offset) {
    return (uint64_t *)(void *)(image->at[0].bytes + offset);
}

static uint64_t kept_log_of(size_t stripe) {
    return is_ordered && stripe > 0
               ? 0
               : *word_at(&sound, STRIPES_OFFSET + stripe * sizeof(struct stripe) + offsetof(struct stripe, kept_log));
}

/* The kinds: a bit at either end, all, none, a random bit, a random word, a word from elsewhere, itself one unit on. */
static void damage_word(size_t offset, unsigned kind, struct random *random) {
    uint64_t *target = word_at(&damaged, offset);
    switch (kind) {
    case 0:
        *target ^= 1;
        break;
    case 1:
        *target ^= UINT64_C(1) << 63;
        break;
    case 2:
        *target = UINT64_MAX;
        break;
    case 3:
        *target = 0;
        break;
    case 4:
        *target ^= UINT64_C(1) << random_below(random, 64);
        break;
    case 5:
        *target = random_next(random);
        break;
    case 6:
        *target = *word_at(&sound, 8 * random_below(random, sound.at[0].len / 8));
        break;
    case 7:
        *target += UNIT_BYTES;
        break;
    default:
        *target = kept_log_of(random_below(random, N_STRIPES));
        break;
    }
}

static struct random random_of_word(size_t offset, unsigned kind) { return random_from(seed + 8 * offset + kind); }

static void word_case(size_t offset, unsigned kind) {
    struct random random = random_of_word(offset, kind);
    start_over();
    damage_word(offset, kind, &random);
}

static void words(size_t first, size_t last, size_t step, unsigned kinds) {
    char name[64];
    for (size_t offset = first; offset + 8 <= last && offset + 8 <= sound.at[0].len; offset += 8 * step)
        for (unsigned kind = 0; kind < kinds; kind++) {
            word_case(offset, kind);
            if (*word_at(&damaged, offset) == *word_at(&sound, offset))
                continue;
            snprintf(name, sizeof name, "word:%zu:%u", offset, kind);
            judge(name);
        }
}

/* The words of a node and of those below it. */
static void nodes(uint64_t offset, size_t step, unsigned kinds) {
    const struct node *node = (const struct node *)(const void *)(sound.at[0].bytes + offset);
    uint64_t order = node->order, shape = node->shape;
    if (offset == 0)
        return;
    words((size_t)offset, (size_t)offset + sizeof *node + (shape >> 32), step, kinds);
    for (uint64_t rank = 0; (shape & 0xff) > 0 && rank < (order & 15); rank++)
        nodes(node->slots[order >> (4 + 4 * rank) & 15], step, kinds);
}

static uint64_t top_of_tree(void) {
    const struct stripe *stripe = (const struct stripe *)(const void *)(sound.at[0].bytes + STRIPES_OFFSET);
    return stripe->root[stripe->gen & 1].top;
}

/* Half of the sampled words are words that are not zero: there is more to be read wrong in them. */
static void sample_case(uint64_t number) {
    struct random random = random_from(seed * 1000003 + number);
    start_over();
    for (uint64_t n = 1 + random_below(&random, 8); n > 0; n--) {
        size_t offset = 8 * (size_t)random_below(&random, sound.at[0].len / 8);
        for (int tries = 0; tries < 1000 && random_below(&random, 2) && *word_at(&sound, offset) == 0; tries++)
            offset = 8 * (size_t)random_below(&random, sound.at[0].len / 8);
        damage_word(offset, (unsigned)random_below(&random, KINDS), &random);
    }
}

static void length_case(size_t len) {
    start_over();
    damaged.at[0].len = len;
    if (len > damaged.at[0].capacity)
        exit(3);
    if (len > sound.at[0].len)
        memset(damaged.at[0].bytes + sound.at[0].len, 0, len - sound.at[0].len);
}

/* A file of no bytes: image_restore takes an empty image for "no segment". */
static void judge_empty(void) {
    length_case(8);
    image_restore(&damaged, &scratch);
    if (ftruncate(scratch.at[0].fd, 0) != 0)
        exit(3);
    counts->cases++;
    struct tmgr_table *table;
    for (int mapping = TMGR_MAP_WRITE; mapping <= TMGR_MAP_HEAD; mapping++)
        if (tmgr_attach(scratch.segment, (enum tmgr_mapping)mapping, &table) == TMGR_OK) {
            counts->findings++;
            printf("FINDING empty: attached\n");
        }
    counts->refused++;
}

static void foreign_case(uint64_t number) {
    struct random random = random_from(seed * 7919 + number);
    length_case(8 * (1 + (size_t)random_below(&random, sound.at[0].len / 8)));
    uint64_t kind = number % 4;
    size_t keep = kind == 0 ? 0 : kind == 1 ? 16 : kind == 2 ? PAGE_BYTES : 2 * PAGE_BYTES;
    for (size_t at = keep; at + 8 <= damaged.at[0].len; at += 8)
        *word_at(&damaged, at) = number % 3 == 0 ? 0x2020202020202020ULL : random_next(&random);
}

static void one(const char *name) {
    unsigned long long a = 0, b = 0;
    if (sscanf(name, "word:%llu:%llu", &a, &b) == 2)
        word_case((size_t)a, (unsigned)b);
    else if (sscanf(name, "sample:%llu", &a) == 1)
        sample_case(a);
    else if (sscanf(name, "length:%llu", &a) == 1)
        length_case((size_t)a);
    else if (sscanf(name, "foreign:%llu", &a) == 1)
        foreign_case(a);
    else
        exit(2);
    image_restore(&damaged, &scratch);
    printf("%d\n", use());
}

static void lengths(void) {
    char name[64];
    judge_empty();
    for (size_t len = 8; len < sound.at[0].len + CHUNK_BYTES && len <= damaged.at[0].capacity;
         len += len < 4 * PAGE_BYTES    ? 512
                : len < sound.at[0].len ? 24 * PAGE_BYTES + 8
                                        : 64 * PAGE_BYTES) {
        length_case(len);
        snprintf(name, sizeof name, "length:%zu", len);
        judge(name);
    }
    length_case(sound.at[0].len - PAGE_BYTES);
    judge("length:last-page");
}

static void print_layout(void) {
    const struct control *control = (const struct control *)(const void *)sound.at[0].bytes;
    size_t arena = (size_t)control->arena_offset;
    printf("control 0 %zu\n", sizeof(struct control));
    printf("records %d %d\n", RECORDS_OFFSET, RECORDS_OFFSET + RECORDS * 2048);
    printf("stripes %d %zu\n", STRIPES_OFFSET, STRIPES_OFFSET + control->n_stripes * sizeof(struct stripe));
    for (size_t i = 0; i < control->n_stripes; i++) {
        size_t log = (size_t)kept_log_of(i);
        printf("log%zu %zu %zu\n", i, log, log + KEPT_LOG_BYTES);
    }
    for (size_t chunk = 0; arena + chunk * CHUNK_BYTES < sound.at[0].len; chunk++) {
        size_t at = arena + chunk * CHUNK_BYTES;
        printf("map%zu %zu %zu\n", chunk, at, at + offsetof(struct chunk, links));
        printf("links%zu %zu %zu\n", chunk, at + offsetof(struct chunk, links), at + offsetof(struct chunk, used));
        printf("used%zu %zu %zu\n", chunk, at + offsetof(struct chunk, used), at + sizeof(struct chunk));
        printf("blocks%zu %zu %zu\n", chunk, at + sizeof(struct chunk), at + CHUNK_BYTES);
    }
}

int main(int argc, char **argv) {
    uint64_t a[5] = {0};
    char name[64];
    for (; argc > 1 && (strcmp(argv[1], "ordered") == 0 || strcmp(argv[1], "leftover") == 0); argc--, argv++)
        *(argv[1][0] == 'o' ? &is_ordered : &has_leftover) = true;
    if (argc < 2)
        return 2;
    const char *mode = argv[1];
    for (int i = 2; i < argc && i < 7; i++)
        a[i - 2] = strtoull(argv[i], NULL, 0);
    seed = argc > 2 ? strtoull(argv[argc - 1], NULL, 0) : 1;
    counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    prepare();
    if (strcmp(mode, "words") == 0) {
        words((size_t)a[0], (size_t)a[1], (size_t)a[2], (unsigned)a[3]);
    } else if (strcmp(mode, "nodes") == 0) {
        nodes(top_of_tree(), (size_t)a[0], (unsigned)a[1]);
    } else if (strcmp(mode, "samples") == 0) {
        for (uint64_t i = 0; i < a[0]; i++) {
            sample_case(i);
            snprintf(name, sizeof name, "sample:%llu", (unsigned long long)i);
            judge(name);
        }
    } else if (strcmp(mode, "lengths") == 0) {
        lengths();
    } else if (strcmp(mode, "foreign") == 0) {
        for (uint64_t i = 0; i < a[0]; i++) {
            foreign_case(i);
            snprintf(name, sizeof name, "foreign:%llu", (unsigned long long)i);
            judge(name);
        }
    } else if (strcmp(mode, "one") == 0) {
        one(argv[2]);
    } else if (strcmp(mode, "layout") == 0) {
        print_layout();
    } else {
        return 2;
    }
    scratch_remove(&scratch);
    if (strcmp(mode, "one") != 0 && strcmp(mode, "layout") != 0)
        printf("cases=%llu refused=%llu named=%llu silent=%llu findings=%llu seed=%llu\n",
               (unsigned long long)counts->cases, (unsigned long long)counts->refused,
               (unsigned long long)counts->named, (unsigned long long)counts->silent,
               (unsigned long long)counts->findings, (unsigned long long)seed);
    return counts->findings ? 1 : 0;
}
