/* SPDX-License-Identifier: Apache-2.0 */
/* cases.c - see cases.h. Where a case needs an event (a split, a growth...), writes go on until the next one would bring
 * it about: each is tried, and undone from an image if the layout shows that it was the one. */
#include "cases.h"

#include "hash.h"
#include "layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAIT_NS = 1000 * 1000 * 1000, TRIES = 20000 };

static void fail(const struct setup *setup, const char *what, int status) {
    fprintf(stderr, "cases: %s: %s (%s)\n", setup->scratch.segment, what, tmgr_status_text(status));
    exit(3);
}

/* -- the table's own words, read from the mapping ---------------------------------------------------------------------- */

static struct control *control_of(uint8_t *base) { return (struct control *)(void *)base; }
static struct stripe *stripes_of(uint8_t *base) { return (struct stripe *)(void *)(base + STRIPES_OFFSET); }

static uint32_t stripe_in(const struct image *image, uint64_t id) {
    uint8_t key[KEY_BYTES_MAX];
    const struct control *control = control_of(image->bytes);
    uint64_t hash = hash_bytes(key, key_encode(key, id), control->hash_seed);
    uint32_t bits = 0;
    while ((UINT64_C(1) << bits) < control->n_stripes)
        bits++;
    return bits == 0 ? 0 : (uint32_t)(hash >> (64 - bits));
}

static struct bucket *bucket_at(const struct image *image, const struct root *root, uint64_t number) {
    /* Segments of 8, 8, 16, 32 .. 1024 buckets, then of 1024 each. The tables here stay below 2048 buckets. */
    uint64_t segment = 0, first = 0, size = 8;
    while (number >= first + size) {
        first += size;
        segment++;
        if (segment > 1 && size < SEGMENT_BUCKETS)
            size *= 2;
    }
    if (segment >= SEGMENTS_INLINE || root->segments[segment] == 0)
        return NULL;
    uint64_t offset = root->segments[segment] + 64 * (number - first);
    return offset + 64 <= image->len ? (struct bucket *)(void *)(image->bytes + offset) : NULL;
}

struct shape {
    uint64_t buckets, overflows, epochs, size, pages; /* pages in use */
};

static struct shape shape_of(const struct image *image) {
    const struct control *control = control_of(image->bytes);
    struct shape shape = {.size = control->size};
    for (uint64_t at = control->arena_offset; at < control->size; at += CHUNK_BYTES) {
        const struct chunk *chunk = (const struct chunk *)(const void *)(image->bytes + at);
        for (uint64_t page = 0; page < CHUNK_PAGES && at + page * PAGE_BYTES < control->size; page++)
            shape.pages += chunk->map[page] != 0;
    }
    for (uint64_t i = 0; i < control->n_stripes; i++) {
        const struct stripe *stripe = &stripes_of(image->bytes)[i];
        const struct root *root = &stripe->root[stripe->gen & 1];
        shape.epochs += stripe->epoch;
        shape.buckets += root->n_buckets;
        for (uint64_t number = 0; number < root->n_buckets; number++) {
            const struct bucket *bucket = bucket_at(image, root, number);
            for (int steps = 0; bucket && bucket->next && steps < 1000; steps++) {
                shape.overflows++;
                bucket = (const struct bucket *)(const void *)(image->bytes + bucket->next);
            }
        }
    }
    return shape;
}

/* -- building ---------------------------------------------------------------------------------------------------------- */

struct tmgr_options setup_options(uint32_t n_stripes) {
    struct tmgr_options options = {
        .access = TMGR_PUBLIC, .mode = 0600, .n_stripes = n_stripes, .heir = TMGR_HEIR_MANAGER};
    return options;
}

static struct op single(enum verb verb, uint64_t id, uint64_t stamp, size_t payload) {
    struct op op = {.verb = verb, .n = 1};
    op.items[0] = (struct item){.id = id, .stamp = stamp, .payload = payload};
    return op;
}

static void add(struct op *op, uint32_t kind, uint64_t id, uint64_t stamp, size_t payload) {
    op->items[op->n++] = (struct item){.kind = kind, .id = id, .stamp = stamp, .payload = payload};
}

static void run(struct setup *setup, const struct op *op) {
    struct bound bound;
    struct outcome got, wanted;
    op_bind(&bound, op, &setup->model);
    op_run(&bound, setup->table, WAIT_NS, &got);
    op_model(&bound, &setup->model, &wanted);
    bound_free(&bound);
    if (!outcomes_equal(&got, &wanted)) {
        char text[400];
        op_text(op, text, sizeof text);
        fail(setup, text, got.status);
    }
}

static void put(struct setup *setup, uint64_t id, size_t payload) {
    struct op op = single(VERB_INSERT, id, 1 + random_below(&setup->random, 60000), payload);
    run(setup, &op);
}

static void fill(struct setup *setup, uint64_t from, uint64_t to, size_t least, size_t most) {
    for (uint64_t id = from; id < to; id++)
        put(setup, id, least + (size_t)random_below(&setup->random, most - least + 1));
}

enum event { EVENT_SPLIT, EVENT_OVERFLOW, EVENT_EPOCH, EVENT_GROWTH, EVENT_GIVE };

static bool has_happened(enum event event, const struct shape *before, const struct shape *after) {
    switch (event) {
    case EVENT_SPLIT:
        return after->buckets > before->buckets;
    case EVENT_OVERFLOW:
        return after->overflows > before->overflows;
    case EVENT_EPOCH:
        return after->epochs > before->epochs;
    case EVENT_GIVE:
        return after->pages < before->pages;
    default:
        return after->size > before->size;
    }
}

typedef void (*maker_fn)(struct setup *setup, uint64_t i, struct op *op);

static void attach(struct setup *setup) {
    int status = tmgr_attach(setup->scratch.segment, TMGR_MAP_WRITE, &setup->table);
    if (status != TMGR_OK)
        fail(setup, "attach", status);
}

/* Runs make(0), make(1)... until one has brought the event about; undoes that one and makes it the case's op. */
static void until(struct setup *setup, enum event event, maker_fn make) {
    struct image before = {0}, after = {0};
    struct model model;
    for (uint64_t i = 0; i < TRIES; i++) {
        image_save(&before, &setup->scratch);
        model_copy(&model, &setup->model);
        make(setup, i, &setup->op);
        run(setup, &setup->op);
        image_save(&after, &setup->scratch);
        struct shape was = shape_of(&before), is = shape_of(&after);
        if (!has_happened(event, &was, &is)) {
            model_free(&model);
            continue;
        }
        tmgr_free(setup->table);
        image_restore(&before, &setup->scratch);
        attach(setup);
        model_free(&setup->model);
        setup->model = model;
        image_free(&before);
        image_free(&after);
        return;
    }
    fail(setup, "the event does not happen", TMGR_OK);
}

/* -- cases about rows -------------------------------------------------------------------------------------------------- */

static void make_insert(struct setup *setup, uint64_t i, struct op *op) {
    *op = single(VERB_INSERT, 10000 + i, 1 + random_below(&setup->random, 60000), 40);
}

static void make_big_insert(struct setup *setup, uint64_t i, struct op *op) {
    *op = single(VERB_INSERT, 10000 + i, 1 + random_below(&setup->random, 60000), 7000);
}

static void make_overwrite(struct setup *setup, uint64_t i, struct op *op) {
    *op = single(VERB_INSERT, i % 10, 1 + random_below(&setup->random, 60000), 60);
}

static void small_table(struct setup *setup) { fill(setup, 0, 40, 40, 120); }

static void prepare_new_key(struct setup *setup) {
    small_table(setup);
    setup->op = single(VERB_INSERT, 1000, 5, 60);
}

static void prepare_first_row(struct setup *setup) { setup->op = single(VERB_INSERT, 1, 5, 60); }

static void prepare_same_size(struct setup *setup) {
    small_table(setup);
    put(setup, 7, 60);
    setup->op = single(VERB_INSERT, 7, 5, 60);
}

static void prepare_larger(struct setup *setup) {
    prepare_same_size(setup);
    setup->op = single(VERB_INSERT, 7, 6, 900);
}

static void prepare_smaller(struct setup *setup) {
    small_table(setup);
    put(setup, 7, 900);
    setup->op = single(VERB_INSERT, 7, 6, 10);
}

static void prepare_advance(struct setup *setup) {
    small_table(setup);
    for (uint64_t i = 0; i < 300; i++)
        put(setup, i % 10, 60);
    until(setup, EVENT_EPOCH, make_overwrite);
}

static void prepare_advance_by_delete(struct setup *setup) {
    prepare_advance(setup);
    setup->op = single(VERB_DELETE, 3, 0, 0);
}

static void prepare_insert_new(struct setup *setup) {
    small_table(setup);
    setup->op = single(VERB_INSERT_NEW, 1001, 5, 60);
}

static void prepare_delete(struct setup *setup) {
    small_table(setup);
    setup->op = single(VERB_DELETE, 12, 0, 0);
}

static void prepare_take(struct setup *setup) {
    small_table(setup);
    setup->op = single(VERB_TAKE, 13, 0, 0);
}

static void prepare_delete_object(struct setup *setup) {
    small_table(setup);
    setup->op = single(VERB_DELETE_OBJECT, 14, 0, 0);
}

static void prepare_compare_and_swap(struct setup *setup) {
    small_table(setup);
    setup->op = single(VERB_COMPARE_AND_SWAP, 15, 7, 200);
}

static void prepare_update_counter(struct setup *setup) {
    small_table(setup);
    setup->op = single(VERB_UPDATE_COUNTER, 16, 7, 0);
}

static void prepare_update_default(struct setup *setup) {
    small_table(setup);
    setup->op = single(VERB_UPDATE_COUNTER, 1002, 7, 50);
}

static void prepare_update_element(struct setup *setup) {
    small_table(setup);
    setup->op = single(VERB_UPDATE_ELEMENT, 17, 70000, 0);
}

static void prepare_split(struct setup *setup) {
    fill(setup, 0, 100, 40, 60);
    until(setup, EVENT_SPLIT, make_insert);
}

static void prepare_overflow(struct setup *setup) {
    fill(setup, 0, 100, 40, 60);
    until(setup, EVENT_OVERFLOW, make_insert);
}

static void prepare_growth(struct setup *setup) {
    fill(setup, 0, 20, 40, 60);
    until(setup, EVENT_GROWTH, make_big_insert);
}

static void prepare_run(struct setup *setup) {
    small_table(setup);
    setup->op = single(VERB_INSERT, 1003, 5, 20000);
}

static void prepare_run_shrinks(struct setup *setup) {
    small_table(setup);
    put(setup, 8, 20000);
    setup->op = single(VERB_INSERT, 8, 5, 50);
}

static void prepare_extents(struct setup *setup) {
    small_table(setup);
    setup->op = single(VERB_INSERT, 1004, 5, 270000);
}

static void prepare_extents_replaced(struct setup *setup) {
    small_table(setup);
    put(setup, 8, 600000);
    setup->op = single(VERB_INSERT, 8, 5, 270000);
}

static void prepare_extents_deleted(struct setup *setup) {
    small_table(setup);
    put(setup, 8, 600000);
    setup->op = single(VERB_DELETE, 8, 0, 0);
}

static void prepare_extents_drained(struct setup *setup) {
    prepare_extents_replaced(setup);
    put(setup, 8, 60);
    until(setup, EVENT_GIVE, make_overwrite);
}

/* The block that lists a row's extents holds its key too: with a long one it has pages of its own. */
static void prepare_extents_long_key(struct setup *setup) {
    fill(setup, 0, 10, 60, 60);
    put(setup, LONG_KEY_ID, 600000);
    put(setup, LONG_KEY_ID, 60);
    until(setup, EVENT_GIVE, make_overwrite);
}

static void prepare_run_drained(struct setup *setup) {
    prepare_run_shrinks(setup);
    put(setup, 8, 60);
    until(setup, EVENT_GIVE, make_overwrite);
}

static void make_delete(struct setup *setup, uint64_t i, struct op *op) {
    (void)setup;
    *op = single(VERB_DELETE, 40 + i % 600, 0, 0);
}

static void prepare_slab_given(struct setup *setup) {
    fill(setup, 0, 640, 100, 100);
    until(setup, EVENT_GIVE, make_delete);
}

static void prepare_apply(struct setup *setup) {
    small_table(setup);
    setup->op = (struct op){.verb = VERB_APPLY};
    add(&setup->op, TMGR_OP_INSERT, 1000, 5, 60);
    add(&setup->op, TMGR_OP_INSERT, 3, 6, 300);
    add(&setup->op, TMGR_OP_DELETE, 4, 0, 0);
    add(&setup->op, TMGR_OP_INSERT_NEW, 1001, 7, 60);
    add(&setup->op, TMGR_OP_UPDATE_COUNTER, 5, 9, 0);
    add(&setup->op, TMGR_OP_DELETE_OBJECT, 6, 0, 0);
    add(&setup->op, TMGR_OP_UPDATE_ELEMENT, 1002, 11, 20);
    add(&setup->op, TMGR_OP_INSERT, 1005, 12, 30);
    add(&setup->op, TMGR_OP_INSERT, 1000, 13, 31);
    add(&setup->op, TMGR_OP_INSERT, 7, 14, 40);
}

static void prepare_apply_bulk(struct setup *setup) {
    small_table(setup);
    setup->op = (struct op){.verb = VERB_APPLY};
    for (uint64_t i = 0; i < 60; i++)
        add(&setup->op, TMGR_OP_INSERT, i < 20 ? i : 1000 + i, 100 + i, 30);
}

static void prepare_apply_advance(struct setup *setup) {
    small_table(setup);
    for (uint64_t i = 0; i < 320; i++)
        put(setup, i % 10, 60);
    setup->op = (struct op){.verb = VERB_APPLY};
    for (uint64_t i = 0; i < 40; i++)
        add(&setup->op, TMGR_OP_INSERT, i, 100 + i, 61);
}

static void prepare_apply_aborts(struct setup *setup) {
    prepare_apply(setup);
    add(&setup->op, TMGR_OP_UPDATE_COUNTER, 1900, 1, 0); /* absent, and no default row */
}

static void prepare_apply_refused(struct setup *setup) {
    prepare_apply(setup);
    add(&setup->op, TMGR_OP_INSERT_ALL_NEW, 9, 1, 20); /* is there */
}

static void prepare_apply_large(struct setup *setup) {
    small_table(setup);
    setup->op = (struct op){.verb = VERB_APPLY};
    add(&setup->op, TMGR_OP_INSERT, 1000, 5, 20000);
    add(&setup->op, TMGR_OP_INSERT, 3, 6, 9000);
    add(&setup->op, TMGR_OP_DELETE, 4, 0, 0);
}

static void prepare_delete_many(struct setup *setup) {
    small_table(setup);
    setup->op = (struct op){.verb = VERB_DELETE_MANY};
    for (uint64_t id = 10; id < 18; id++)
        add(&setup->op, TMGR_OP_DELETE, id, 0, 0);
}

static void prepare_delete_all(struct setup *setup) {
    small_table(setup);
    setup->op = (struct op){.verb = VERB_DELETE_ALL};
}

static void prepare_after_delete_all(struct setup *setup) {
    struct op op = {.verb = VERB_DELETE_ALL};
    fill(setup, 0, 150, 40, 60);
    run(setup, &op);
    setup->op = single(VERB_INSERT, 1000, 5, 60);
}

/* -- cases about the life of a table ----------------------------------------------------------------------------------- */

static int act_create(struct setup *setup, struct tmgr_table *table) {
    struct tmgr_options options = setup_options(setup->n_stripes);
    struct tmgr_table *created;
    (void)table;
    return tmgr_create(setup->scratch.segment, "crash", 5, &options, &created);
}

static int act_claim(struct setup *setup, struct tmgr_table *table) {
    (void)setup;
    return tmgr_claim(table, TMGR_CLAIM_ORPHAN, WAIT_NS);
}

static int act_inherit(struct setup *setup, struct tmgr_table *table) {
    (void)setup;
    return tmgr_claim(table, TMGR_CLAIM_TO_KEEP, WAIT_NS);
}

static int act_give_away(struct setup *setup, struct tmgr_table *table) {
    (void)setup;
    return tmgr_give_away(table, (uint32_t)getppid(), "\xa4gift", 5, WAIT_NS);
}

static int act_pass_on(struct setup *setup, struct tmgr_table *table) {
    (void)setup;
    return tmgr_pass_on(table, (uint32_t)getppid(), false, WAIT_NS);
}

static int act_setopts(struct setup *setup, struct tmgr_table *table) {
    (void)setup;
    struct tmgr_options options = {.access = TMGR_PUBLIC,
                                   .heir = TMGR_HEIR_PROCESS,
                                   .heir_pid = (uint32_t)getppid(),
                                   .heir_data = "\xa4heir",
                                   .heir_data_len = 5};
    return tmgr_setopts(table, TMGR_CHANGE_HEIR | TMGR_CHANGE_ACCESS, &options, WAIT_NS);
}

static int act_rename(struct setup *setup, struct tmgr_table *table) {
    return tmgr_rename(table, setup->scratch.other, "renamed", 7);
}

static int act_drop(struct setup *setup, struct tmgr_table *table) {
    (void)setup;
    return tmgr_drop(table, false);
}

static const struct life life_create = {.starts_absent = true, .act = act_create};
static const struct life life_claim = {.owner_is_dead = true, .act = act_claim};
static const struct life life_inherit = {.owner_is_dead = true, .act = act_inherit};
static const struct life life_give_away = {.owner_is_dead = true, .victim_claims = true, .act = act_give_away};
static const struct life life_pass_on = {
    .owner_is_dead = true, .victim_claims = true, .claim = TMGR_CLAIM_TO_KEEP, .act = act_pass_on};
static const struct life life_setopts = {.owner_is_dead = true, .victim_claims = true, .act = act_setopts};
static const struct life life_rename = {.act = act_rename};
static const struct life life_drop = {.act = act_drop};

/* -- the list ---------------------------------------------------------------------------------------------------------- */

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
    {"create", 2, NULL, &life_create},
    {"claim", 2, small_table, &life_claim},
    {"inherit", 2, small_table, &life_inherit},
    {"give_away", 2, small_table, &life_give_away},
    {"pass_on", 2, small_table, &life_pass_on},
    {"setopts", 2, small_table, &life_setopts},
    {"rename", 2, small_table, &life_rename},
    {"drop", 2, small_table, &life_drop},
};
const size_t n_crash_cases = sizeof crash_cases / sizeof *crash_cases;

/* -- setting up -------------------------------------------------------------------------------------------------------- */

static void create(struct setup *setup) {
    struct tmgr_options options = setup_options(setup->n_stripes);
    int status = tmgr_create(setup->scratch.segment, "crash", 5, &options, &setup->table);
    if (status != TMGR_OK)
        fail(setup, "create", status);
}

/* The next writer passes the stripe that the victim died in: an id whose key hashes there. */
static void choose_again(struct setup *setup) {
    struct image image = {0};
    image_save(&image, &setup->scratch);
    uint32_t wanted = setup->op.n ? stripe_in(&image, setup->op.items[0].id) : 0;
    uint64_t id = SECOND_ID;
    while (stripe_in(&image, id) != wanted)
        id++;
    for (uint64_t other = ELSEWHERE_ID; setup->n_stripes > 1 && setup->n_elsewhere < ELSEWHERE; other++)
        if (stripe_in(&image, other) != wanted)
            setup->elsewhere[setup->n_elsewhere++] = other;
    image_free(&image);
    setup->again = single(VERB_INSERT, id, 3, SECOND_PAYLOAD);
}

void setup_make(struct setup *setup, const struct crash_case *which, uint64_t seed) {
    memset(setup, 0, sizeof *setup);
    setup->n_stripes = which->n_stripes;
    setup->random = random_from(seed);
    scratch_seed(seed);
    model_init(&setup->model);
    scratch_name(&setup->scratch, which->name);
    scratch_remove(&setup->scratch);
    if (which->life && which->life->starts_absent)
        return;
    if (which->life && which->life->owner_is_dead) {
        pid_t owner = fork();
        int ended;
        if (owner == 0) {
            create(setup);
            _exit(0);
        }
        if (owner < 0 || waitpid(owner, &ended, 0) != owner || ended != 0)
            fail(setup, "the owner's end", TMGR_OK);
        attach(setup);
    } else {
        create(setup);
    }
    if (which->prepare)
        which->prepare(setup);
    if (!which->life)
        choose_again(setup);
    tmgr_free(setup->table);
    setup->table = NULL;
}

void setup_free(struct setup *setup) {
    model_free(&setup->model);
    scratch_remove(&setup->scratch);
}
