/* SPDX-License-Identifier: Apache-2.0 */
/* setup.c - see setup.h. Where a case needs an event, the layout itself is looked at: the image of a segment before and
 * after a write. */
#include "cases.h"

#include "hash.h"
#include "layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Ids below LOOKED_AT are what a reader looks for: nobody but the operation may write them. */
enum { TRIES = 20000, LOOKED_AT = 200 };

static void fail(const struct setup *setup, const char *what, int status) {
    fprintf(stderr, "setup: %s: %s (%s)\n", setup->scratch.segment, what, tmgr_status_text(status));
    exit(3);
}

/* -- the table's own words, read from the mapping ------------------------------------------------------------------ */

static struct control *control_of(uint8_t *base) { return (struct control *)(void *)base; }
static struct stripe *stripes_of(uint8_t *base) { return (struct stripe *)(void *)(base + STRIPES_OFFSET); }

static uint32_t stripe_in(const struct image *image, uint64_t id) {
    uint8_t key[KEY_BYTES_MAX];
    const struct control *control = control_of(image->at[0].bytes);
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
    return offset + 64 <= image->at[0].len ? (struct bucket *)(void *)(image->at[0].bytes + offset) : NULL;
}

struct shape {
    uint64_t buckets, overflows, epochs, size, pages; /* pages in use */
    uint64_t height, leaves, inners, youngest, last;  /* of a tree; the node furthest off; rows in the last leaf */
};

static void tree_shape(const struct image *image, uint64_t offset, struct shape *shape) {
    if (offset == 0 || offset + sizeof(struct node) > image->at[0].len)
        return;
    const struct node *node = (const struct node *)(const void *)(image->at[0].bytes + offset);
    uint64_t level = node->shape & 0xff, order = node->order;
    shape->height = level + 1 > shape->height ? level + 1 : shape->height;
    shape->youngest = offset > shape->youngest ? offset : shape->youngest;
    shape->leaves += level == 0;
    shape->inners += level > 0;
    shape->last = level == 0 ? order & 15 : shape->last;
    for (uint64_t rank = 0; level > 0 && rank < (order & 15); rank++)
        tree_shape(image, node->slots[order >> (4 + 4 * rank) & 15], shape);
}

static struct shape shape_of(const struct image *image) {
    const struct control *control = control_of(image->at[0].bytes);
    struct shape shape = {.size = control->size};
    for (uint64_t at = control->arena_offset; at < control->size; at += CHUNK_BYTES) {
        const struct chunk *chunk = (const struct chunk *)(const void *)(image->at[0].bytes + at);
        for (uint64_t page = 0; page < CHUNK_PAGES && at + page * PAGE_BYTES < control->size; page++)
            shape.pages += chunk->map[page] != 0;
    }
    for (uint64_t i = 0; i < control->n_stripes; i++) {
        const struct stripe *stripe = &stripes_of(image->at[0].bytes)[i];
        const struct root *root = &stripe->root[stripe->gen & 1];
        shape.epochs += stripe->epoch;
        if (control->type_keypos << 32 >> 32 == TMGR_ORDERED_SET) {
            tree_shape(image, root->top, &shape);
            continue;
        }
        shape.buckets += root->n_buckets;
        for (uint64_t number = 0; number < root->n_buckets; number++) {
            const struct bucket *bucket = bucket_at(image, root, number);
            for (int steps = 0; bucket && bucket->next && steps < 1000; steps++) {
                shape.overflows++;
                bucket = (const struct bucket *)(const void *)(image->at[0].bytes + bucket->next);
            }
        }
    }
    return shape;
}

/* -- building ------------------------------------------------------------------------------------------------------ */

struct op op_single(enum verb verb, uint64_t id, uint64_t stamp, size_t payload) {
    struct op op = {.verb = verb, .n = 1};
    op.items[0] = (struct item){.id = id, .stamp = stamp, .payload = payload};
    return op;
}

void op_add(struct op *op, uint32_t kind, uint64_t id, uint64_t stamp, size_t payload) {
    op->items[op->n++] = (struct item){.kind = kind, .id = id, .stamp = stamp, .payload = payload};
}

/* False: the table was full, and the model stays as it is. */
static bool run_unless_full(struct setup *setup, const struct op *op) {
    struct bound bound;
    struct outcome got, wanted;
    op_bind(&bound, op, &setup->model);
    op_run(&bound, setup->table, WAIT_NS, &got);
    if (got.status != TMGR_FULL)
        op_model(&bound, &setup->model, &wanted);
    bound_free(&bound);
    if (got.status != TMGR_FULL && !outcomes_equal(&got, &wanted)) {
        char text[400];
        op_text(op, text, sizeof text);
        fail(setup, text, got.status);
    }
    return got.status != TMGR_FULL;
}

void setup_run(struct setup *setup, const struct op *op) {
    if (!run_unless_full(setup, op))
        fail(setup, "a write", TMGR_FULL);
}

void setup_put(struct setup *setup, uint64_t id, size_t payload) {
    struct op op = op_single(VERB_INSERT, id, 1 + random_below(&setup->random, 60000), payload);
    setup_run(setup, &op);
}

void setup_fill(struct setup *setup, uint64_t from, uint64_t to, size_t least, size_t most) {
    for (uint64_t id = from; id < to; id++)
        setup_put(setup, id, least + (size_t)random_below(&setup->random, most - least + 1));
}

enum { NEED_BYTES = 8 * PAGE_BYTES }; /* by so much at least the segment grows where an operation needs memory */

static bool has_happened(enum event event, const struct shape *before, const struct shape *after, bool refused) {
    bool same = after->height == before->height && !refused;
    int64_t leaves = (int64_t)(after->leaves - before->leaves), inners = (int64_t)(after->inners - before->inners);
    switch (event) {
    case EVENT_SPLIT:
        return after->buckets > before->buckets;
    case EVENT_OVERFLOW:
        return after->overflows > before->overflows;
    case EVENT_EPOCH:
        return after->epochs > before->epochs;
    case EVENT_GIVE:
        return after->pages < before->pages;
    case EVENT_NODE_GROWTH:
        return after->youngest >= before->size && after->youngest != before->youngest;
    case EVENT_NO_RESHAPE:
        return same && leaves == 0 && inners == 0;
    case EVENT_LEAF_SPLIT:
        return same && leaves == 1 && inners == 0;
    case EVENT_EDGE_SPLIT:
        return same && leaves == 1 && inners == 0 && after->last == 2 && before->last == NODE_ENTRIES;
    case EVENT_INNER_SPLIT:
        return same && inners == 1;
    case EVENT_ROOT_GROWTH:
        return after->height == before->height + 1;
    case EVENT_ROOT_SPLIT:
        return after->height == before->height + 1 && inners == 2;
    case EVENT_LEAF_MERGE:
        return same && leaves == -1 && inners == 0;
    case EVENT_EPOCH_MERGE:
        return same && leaves == -1 && inners == 0 && after->epochs > before->epochs;
    case EVENT_INNER_MERGE:
        return same && inners < 0;
    case EVENT_ROOT_SHRINK:
        return after->height < before->height;
    case EVENT_REFUSAL:
        return refused;
    case EVENT_FULL_ROW:
        return refused && leaves > 0;
    case EVENT_FULL_NODE:
        return refused && leaves == 0 && before->last == NODE_ENTRIES; /* inserts are made at the edge */
    default:
        return after->size >= before->size + NEED_BYTES;
    case EVENT_GROWTH_AHEAD:
        return after->size > before->size && after->size < before->size + NEED_BYTES;
    }
}

static void attach(struct setup *setup) {
    int status = tmgr_attach(setup->scratch.segment, TMGR_MAP_WRITE, &setup->table);
    if (status != TMGR_OK)
        fail(setup, "attach", status);
}

static void put_back(struct setup *setup, const struct image *image, struct model *model) {
    tmgr_free(setup->table);
    image_restore(image, &setup->scratch);
    attach(setup);
    model_free(&setup->model);
    setup->model = *model;
}

void setup_until(struct setup *setup, enum event event, maker_fn make) {
    struct image before = {0}, after = {0};
    struct model model;
    bool has = false;
    for (uint64_t i = 0; i < TRIES && !has; i++) {
        image_save(&before, &setup->scratch);
        model_copy(&model, &setup->model);
        make(setup, i, &setup->op);
        bool refused = !run_unless_full(setup, &setup->op);
        image_save(&after, &setup->scratch);
        struct shape was = shape_of(&before), is = shape_of(&after);
        has = has_happened(event, &was, &is, refused);
        setup->refusal = has && refused ? TMGR_FULL : TMGR_OK;
        if (has || refused)
            put_back(setup, &before, &model);
        else
            model_free(&model);
    }
    image_free(&before);
    image_free(&after);
    if (!has)
        fail(setup, "the event does not happen", TMGR_OK);
}

/* -- setting up ---------------------------------------------------------------------------------------------------- */

static void create(struct setup *setup, uint64_t max_bytes) {
    struct tmgr_options options = life_options(setup);
    options.max_bytes = max_bytes;
    int status = tmgr_create(setup->scratch.segment, "crash", 5, &options, &setup->table);
    if (status != TMGR_OK)
        fail(setup, "create", status);
}

uint64_t setup_full(struct setup *setup, uint64_t max_bytes, uint64_t from, size_t payload) {
    uint8_t *row = malloc(payload + ROW_OVERHEAD_MAX);
    uint64_t n = 0;
    int status;
    tmgr_drop(setup->table, true);
    tmgr_free(setup->table);
    create(setup, max_bytes);
    while ((status = tmgr_insert(setup->table, row, row_encode(row, from + n, 1, payload), WAIT_NS)) == TMGR_OK)
        model_put(&setup->model, from + n++, 1, payload);
    free(row);
    if (status != TMGR_FULL)
        fail(setup, "filling", status);
    return n;
}

void setup_limit(struct setup *setup, uint64_t max_bytes) {
    tmgr_free(setup->table);
    scratch_remove(&setup->scratch);
    create(setup, max_bytes);
}

static bool is_in_op(const struct op *op, uint64_t id) {
    for (size_t i = 0; i < op->n; i++)
        if (op->items[i].id == id)
            return true;
    return false;
}

/* A key in the leaf at work, or next to it. */
static void choose_beside(struct setup *setup) {
    uint64_t id = setup->op.n ? setup->op.items[0].id + 2 : SECOND_ID;
    while (id < LOOKED_AT || model_find(&setup->model, id) || is_in_op(&setup->op, id))
        id += 2;
    setup->again = setup->beside = op_single(VERB_INSERT, id, 3, SECOND_PAYLOAD);
}

/* The next writer passes the stripe that the victim died in: an id whose key hashes there. */
static void choose_again(struct setup *setup) {
    if (setup->is_ordered) {
        choose_beside(setup);
        return;
    }
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
    setup->again = setup->beside = op_single(VERB_INSERT, id, 3, SECOND_PAYLOAD);
    if (setup->is_bag && setup->op.n > 0)
        setup->again.items[0].id = setup->op.items[0].id;
}

/* A table under the name, made by a process that has ended. */
static void create_orphan(struct setup *setup, const char *name, uint32_t heir) {
    struct tmgr_options options = life_options(setup);
    pid_t owner = fork();
    int ended;
    options.heir = heir;
    if (heir == TMGR_HEIR_PROCESS) {
        options.heir_data = LIFE_HEIR;
        options.heir_data_len = sizeof LIFE_HEIR - 1;
    }
    if (owner == 0) {
        options.heir_process.pid = (uint32_t)getppid();
        _exit(tmgr_create(name, "crash", 5, &options, &setup->table));
    }
    if (owner < 0 || waitpid(owner, &ended, 0) != owner || ended != 0)
        fail(setup, "the owner's end", TMGR_OK);
}

static void start(struct setup *setup, const struct life *life) {
    static const uint32_t heirs[] = {
        [START_ORPHAN] = TMGR_HEIR_MANAGER, [START_HEIR] = TMGR_HEIR_PROCESS, [START_GONE] = TMGR_HEIR_NONE};
    if (life && life->other_is_gone)
        create_orphan(setup, setup->scratch.other, TMGR_HEIR_NONE);
    if (!life || life->start == START_OWNED)
        create(setup, 0);
    else if (life->start != START_ABSENT)
        create_orphan(setup, setup->scratch.segment, heirs[life->start]);
    if (life && (life->start == START_ORPHAN || life->start == START_HEIR))
        attach(setup);
}

void setup_make(struct setup *setup, const struct crash_case *which, uint64_t seed) {
    memset(setup, 0, sizeof *setup);
    setup->type = which->type;
    setup->is_ordered = which->type == TMGR_ORDERED_SET;
    setup->is_bag = which->type == TMGR_BAG || which->type == TMGR_DUPLICATE_BAG;
    setup->n_stripes = which->n_stripes;
    setup->random = random_from(seed);
    scratch_seed(seed);
    model_init(&setup->model);
    setup->model.type = setup->type;
    scratch_name(&setup->scratch, which->name);
    scratch_remove(&setup->scratch);
    start(setup, which->life);
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
