/* SPDX-License-Identifier: Apache-2.0 */
/* hset_read.c - reading a hash table, without a lock: the view that a read is held against, the row of a key, the rows of many keys,
 * the list of a bag's key, the rows of a bucket in the order of traversal, and what is sent for ahead of them. The protocol is
 * in hset.h. */
#include "bucket.h"

#include <stdlib.h>

uint64_t hset_home(uint64_t n_buckets, uint64_t hash) { return home(n_buckets, hash); }

struct bucket *hset_bucket(struct tmgr_table *t, const struct root *root, uint64_t number) {
    return bucket_at(t, root, number);
}

/* -- pending slots --------------------------------------------------------------------------------------------------------------- */

int pending_resolve(struct tmgr_table *t, uint64_t *slot) {
    const struct tx_record *record = at_checked(t, slot_offset(*slot), sizeof *record);
    if (record == NULL)
        return TMGR_BUSY;
    uint64_t tx = load_relaxed(&record->tx);
    const struct descriptor *descriptor = descriptor_of(t, tx);
    if (descriptor == NULL)
        return TMGR_BUSY;
    uint64_t status = load_acquire(&descriptor->status); /* the moment at which this read takes effect */
    if (status >> 2 != tx >> 8)
        return TMGR_BUSY; /* cleaned since: descriptors are used again only after that */
    *slot = load_relaxed((status & 3) == TX_COMMITTED ? &record->new_slot : &record->old_slot);
    return TMGR_OK;
}

/* -- reading ------------------------------------------------------------------------------------------------------------------------ */

/* ABSENT: the stripe is empty. BUSY: a delete_all came between the two loads. */
static inline int view_open(struct tmgr_table *t, struct stripe *s, struct hset_view *view) {
    view->epoch = load_acquire(&s->epoch);
    view->gen = load_acquire(&t->control->gen);
    uint64_t stripe_gen = load_acquire(&s->gen);
    if (stripe_gen < view->gen)
        return TMGR_ABSENT;
    if (stripe_gen > view->gen)
        return TMGR_BUSY;
    view->root = &s->root[view->gen & 1];
    view->n_buckets = load_acquire(&view->root->n_buckets);
    if (view->n_buckets == 0)
        return TMGR_ABSENT;
    return view->n_buckets <= BUCKETS_MAX ? TMGR_OK : TMGR_BUSY;
}

static bool view_overtaken(const struct stripe *s, const struct hset_view *view) {
    fence_acquire(); /* pairs with fence_release in stripe_advance: who read a rewritten byte sees the epoch */
    return load_relaxed(&s->epoch) - view->epoch > 1;
}

/* Does "not found" hold? Pairs with the publish of n_buckets in a split, and of control.gen. */
static bool miss_holds(struct tmgr_table *t, const struct stripe *s, const struct hset_view *view, uint64_t hash) {
    if (view_overtaken(s, view) || load_relaxed(&t->control->gen) != view->gen)
        return false;
    uint64_t now = load_relaxed(&view->root->n_buckets);
    return now == view->n_buckets ||
           (now > view->n_buckets && now <= BUCKETS_MAX && hset_home(now, hash) == hset_home(view->n_buckets, hash));
}

static inline void prefetch_row(struct tmgr_table *t, uint64_t slot) {
    if (slot == 0 || !offset_is_valid(t, slot_offset(slot), UNIT_BYTES))
        return;
    const uint8_t *row = at(t, slot_offset(slot));
    __builtin_prefetch(row);
    __builtin_prefetch(row + 64);
}

/* Copy out what the slot leads to, if it has the key. out is as before unless OK. */
static inline int copy_if_key(struct tmgr_table *t, struct stripe *s, const struct hset_view *view, uint64_t slot,
                              const struct probe *probe, struct tmgr_buffer *out) {
    if (__builtin_expect((slot & SLOT_PENDING) != 0, 0)) {
        int status = pending_resolve(t, &slot);
        if (status != TMGR_OK)
            return status;
        if (slot == 0)
            return TMGR_ABSENT;
    }
    return row_find(t, s, view->epoch, slot_offset(slot), probe, out);
}

/* Bit i is set if slot i has this tag. All seven are compared without a branch: which of them it is cannot be predicted,
 * and a misprediction found only when the bucket has come from memory would undo all that was begun behind it. */
static inline uint32_t slots_with_tag(const struct bucket *bucket, uint64_t tag) {
    uint32_t found = 0;
#pragma GCC unroll 8
    for (int i = 0; i < BUCKET_SLOTS; i++)
        found |= (uint32_t)(slot_tag(load_relaxed(&bucket->slots[i])) == tag) << i;
    return found;
}

static inline int find_begin(struct tmgr_table *t, struct stripe *s, const struct probe *probe,
                             struct hset_view *view) {
    int status = view_open(t, s, view);
    if (status != TMGR_OK)
        return status;
    view->bucket = bucket_at(t, view->root, home(view->n_buckets, probe->hash));
    __builtin_prefetch(view->bucket);
    return view->bucket != NULL ? TMGR_OK : TMGR_BUSY;
}

int hset_find_begin(struct tmgr_table *t, struct stripe *s, const struct probe *probe, struct hset_view *view) {
    return find_begin(t, s, probe, view);
}

static inline int find_end(struct tmgr_table *t, struct stripe *s, const struct probe *probe,
                           const struct hset_view *view, struct tmgr_buffer *out) {
    uint64_t tag = tag_of_hash(probe->hash);
    size_t before = out->len;
    struct bucket *bucket = view->bucket;
    for (int more = 1, steps = 0; more != 0; more = chain_next(t, &bucket)) {
        if (more < 0 || ++steps > CHAIN_MAX)
            return TMGR_BUSY;
        for (uint32_t found = slots_with_tag(bucket, tag); found != 0; found &= found - 1) {
            uint64_t slot = load_acquire(&bucket->slots[__builtin_ctz(found)]);
            if (slot == 0 || slot_tag(slot) != tag)
                continue;
            int status = copy_if_key(t, s, view, slot, probe, out);
            if (status == TMGR_ABSENT)
                continue;
            if (status == TMGR_OK && view_overtaken(s, view)) {
                out->len = before;
                status = TMGR_BUSY;
            }
            return status;
        }
    }
    return miss_holds(t, s, view, probe->hash) ? TMGR_ABSENT : TMGR_BUSY;
}

enum { READ_TRIES = 64 };

/* What must have changed if a read was overtaken. If it failed READ_TRIES times and nothing did, the table is damaged. */
static uint64_t changes(struct tmgr_table *t, struct stripe *s) {
    uint64_t gen = load_acquire(&t->control->gen);
    return load_acquire(&s->epoch) + load_acquire(&s->root[gen & 1].n_buckets) + gen + load_acquire(&s->gen) +
           load_acquire(&s->tx) + load_acquire(&s->tail) + load_acquire(&s->bytes);
}

/* ...unless the segment has outgrown the mapping: then the next call maps more. */
static bool nothing_changed(struct tmgr_table *t, struct stripe *s, uint64_t before) {
    return changes(t, s) == before && load_acquire(&t->control->size) <= t->mapped;
}

/* The other tries, where the first was overtaken. */
static int find_again(struct tmgr_table *t, struct stripe *s, const struct probe *probe, struct tmgr_buffer *out) {
    uint64_t before = changes(t, s);
    int status = TMGR_BUSY;
    for (int tries = 0; status == TMGR_BUSY && tries < READ_TRIES; tries++) {
        struct hset_view view;
        status = hset_find_begin(t, s, probe, &view);
        if (status == TMGR_OK)
            status = find_end(t, s, probe, &view, out);
    }
    return status == TMGR_BUSY && nothing_changed(t, s, before) ? TMGR_CORRUPT : status;
}

int hset_find_end(struct tmgr_table *t, struct stripe *s, const struct probe *probe, const struct hset_view *view,
                  int status, struct tmgr_buffer *out) {
    if (status == TMGR_OK)
        status = find_end(t, s, probe, view, out);
    return status != TMGR_BUSY ? status : find_again(t, s, probe, out);
}

/* -- many keys ------------------------------------------------------------------------------------------------------------ */

enum { BUCKETS_AHEAD = 16, ROWS_AHEAD = 8 }; /* keys whose bucket, and whose row, is on its way */

/* A find on its way: its slot is known as soon as its bucket has come, and its row is copied when that has. */
struct find {
    struct hset_view view;
    struct stripe *stripe;
    uint64_t slot; /* the one that has the tag, if there is just one and it is of no transaction; else 0 */
    int status;
};

static inline void find_slot(struct tmgr_table *t, struct find *find, const struct probe *probe) {
    find->slot = 0;
    if (find->status != TMGR_OK)
        return;
    const struct bucket *bucket = find->view.bucket;
    uint32_t found = slots_with_tag(bucket, tag_of_hash(probe->hash));
    if (found == 0) { /* most likely it is in the next bucket of the chain, if there is one */
        uint64_t next = load_relaxed(&bucket->next);
        if (next != 0 && offset_is_valid(t, next, sizeof(struct bucket)))
            __builtin_prefetch(at(t, next));
        return;
    }
    uint64_t slot = load_acquire(&bucket->slots[__builtin_ctz(found)]);
    prefetch_row(t, slot);
    if ((found & (found - 1)) == 0 && !(slot & SLOT_PENDING))
        find->slot = slot;
}

/* What the slot leads to if that is the key's row, else whatever a find from the bucket on comes to. */
static inline int find_row(struct tmgr_table *t, const struct find *find, const struct probe *probe,
                           struct tmgr_buffer *out) {
    size_t before = out->len;
    if (find->slot != 0 &&
        row_find(t, find->stripe, find->view.epoch, slot_offset(find->slot), probe, out) == TMGR_OK) {
        if (!view_overtaken(find->stripe, &find->view))
            return TMGR_OK;
        out->len = before;
    }
    return hset_find_end(t, find->stripe, probe, &find->view, find->status, out);
}

int hset_find_many(struct tmgr_table *t, const struct probe *probes, size_t n, struct tmgr_buffer *out) {
    struct find finds[BUCKETS_AHEAD];
    for (size_t begun = 0, ended = 0; ended < n; begun++) {
        struct find *find = &finds[begun % BUCKETS_AHEAD];
        if (begun >= BUCKETS_AHEAD) {
            int status = find_row(t, find, &probes[ended], out);
            if (status == TMGR_ABSENT)
                status = buffer_append(out, &(uint8_t){HSET_NIL}, 1) ? TMGR_OK : TMGR_NO_MEMORY;
            if (status != TMGR_OK)
                return status;
            ended++;
        }
        if (begun < n) {
            find->stripe = stripe_of_hash(t, probes[begun].hash);
            find->status = find_begin(t, find->stripe, &probes[begun], &find->view);
        }
        if (begun >= ROWS_AHEAD && begun - ROWS_AHEAD < n)
            find_slot(t, &finds[(begun - ROWS_AHEAD) % BUCKETS_AHEAD], &probes[begun - ROWS_AHEAD]);
    }
    return TMGR_OK;
}

/* -- lists ---------------------------------------------------------------------------------------------------------------- */

/* Copy out the list that the slot leads to, if it has the key. out is as before unless OK. */
static int copy_list_if_key(struct tmgr_table *t, struct stripe *s, const struct hset_view *view, uint64_t slot,
                            const struct probe *probe, struct tmgr_buffer *out, size_t *n_rows) {
    int status = slot & SLOT_PENDING ? pending_resolve(t, &slot) : TMGR_OK;
    uint64_t list = slot_offset(slot);
    size_t before = out->len;
    if (status != TMGR_OK || slot == 0)
        return status != TMGR_OK ? status : TMGR_ABSENT;
    if (!offset_is_valid(t, list, CELL_ROW_START))
        return TMGR_BUSY;
    if (row_hash(t, list) != (uint32_t)probe->hash)
        return TMGR_ABSENT;
    if (n_rows == NULL) {
        status = row_copy(t, s, view->epoch, list, out);
    } else {
        *n_rows = 0;
        status = bag_copy(t, s, view->epoch, list, out, n_rows);
    }
    if (status == TMGR_OK && !term_key_is(out->data + before, out->len - before, t->keypos, probe->key, probe->len))
        status = TMGR_ABSENT;
    if (status != TMGR_OK)
        out->len = before;
    return status;
}

static int find_list_once(struct tmgr_table *t, struct stripe *s, const struct probe *probe, struct tmgr_buffer *out,
                          size_t *n_rows) {
    struct hset_view view;
    int status = view_open(t, s, &view);
    if (status != TMGR_OK)
        return status;
    struct bucket *bucket = hset_bucket(t, view.root, hset_home(view.n_buckets, probe->hash));
    size_t before = out->len;
    for (int more = bucket != NULL, steps = 0; more != 0; more = chain_next(t, &bucket)) {
        if (more < 0 || ++steps > CHAIN_MAX)
            return TMGR_BUSY;
        for (int i = 0; i < BUCKET_SLOTS; i++) {
            uint64_t slot = load_acquire(&bucket->slots[i]);
            if (slot == 0 || slot_tag(slot) != tag_of_hash(probe->hash))
                continue;
            status = copy_list_if_key(t, s, &view, slot, probe, out, n_rows);
            if (status == TMGR_ABSENT)
                continue;
            if (status == TMGR_OK && view_overtaken(s, &view)) {
                out->len = before;
                status = TMGR_BUSY;
            }
            return status;
        }
    }
    return bucket != NULL && miss_holds(t, s, &view, probe->hash) ? TMGR_ABSENT : TMGR_BUSY;
}

int hset_find_list(struct tmgr_table *t, struct stripe *s, const struct probe *probe, struct tmgr_buffer *out,
                   size_t *n_rows) {
    int status = find_list_once(t, s, probe, out, n_rows);
    if (status != TMGR_BUSY)
        return status;
    uint64_t before = changes(t, s);
    for (int tries = 0; status == TMGR_BUSY && tries < READ_TRIES; tries++)
        status = find_list_once(t, s, probe, out, n_rows);
    return status == TMGR_BUSY && nothing_changed(t, s, before) ? TMGR_CORRUPT : status;
}

const struct bucket *hset_prefetch_bucket(struct tmgr_table *t, struct stripe *s, uint64_t hash) {
    struct hset_view view;
    if (view_open(t, s, &view) != TMGR_OK)
        return NULL;
    const struct bucket *bucket = hset_bucket(t, view.root, hset_home(view.n_buckets, hash));
    __builtin_prefetch(bucket);
    return bucket;
}

void hset_prefetch_row(struct tmgr_table *t, const struct bucket *bucket, uint64_t hash) {
    for (int i = 0; bucket != NULL && i < BUCKET_SLOTS; i++) {
        uint64_t slot = load_relaxed(&bucket->slots[i]);
        if (slot_tag(slot) == tag_of_hash(hash) && slot != 0) {
            prefetch_row(t, slot);
            return;
        }
    }
}

/* -- traversal ---------------------------------------------------------------------------------------------------------------------- */

struct item {
    uint64_t position, offset;
    size_t start; /* where its rows begin in the caller's buffer */
};
enum { ITEMS_INLINE = 64 };

/* A bucket's rows as they are to be emitted. Grows past ITEMS_INLINE only under a flood of equal hashes. */
struct items {
    struct item *list;
    size_t n, capacity;
    struct item first[ITEMS_INLINE];
};

static bool items_add(struct items *items, struct item item) {
    if (items->n == items->capacity) {
        size_t capacity = 2 * items->capacity;
        struct item *bigger = malloc(capacity * sizeof *bigger);
        if (bigger == NULL)
            return false;
        memcpy(bigger, items->list, items->n * sizeof *bigger);
        if (items->list != items->first)
            free(items->list);
        items->list = bigger;
        items->capacity = capacity;
    }
    size_t place = items->n++; /* buckets are short: insertion sort */
    for (; place > 0 && items->list[place - 1].position > item.position; place--)
        items->list[place] = items->list[place - 1];
    items->list[place] = item;
    return true;
}

static int collect(struct tmgr_table *t, const struct hset_view *view, uint64_t number, struct items *items) {
    struct bucket *bucket = hset_bucket(t, view->root, number);
    for (int more = bucket != NULL, steps = 0; more != 0; more = chain_next(t, &bucket)) {
        if (more < 0 || ++steps > CHAIN_MAX)
            return TMGR_BUSY;
        for (int i = 0; i < BUCKET_SLOTS; i++) {
            uint64_t slot = load_acquire(&bucket->slots[i]);
            if (slot & SLOT_PENDING && pending_resolve(t, &slot) != TMGR_OK)
                return TMGR_BUSY;
            if (slot == 0)
                continue;
            if (!offset_is_valid(t, slot_offset(slot), UNIT_BYTES))
                return TMGR_BUSY;
            uint32_t hash = row_hash(t, slot_offset(slot));
            if (hset_home(view->n_buckets, hash) != number)
                continue; /* a row that a split has copied already, or not yet cleared */
            if (!items_add(items, (struct item){position_of_hash(hash), slot_offset(slot), 0}))
                return TMGR_NO_MEMORY;
        }
    }
    return bucket != NULL ? TMGR_OK : TMGR_BUSY;
}

/* The bucket that holds a position, and the interval of positions that it holds. */
static uint64_t interval(uint64_t n_buckets, uint64_t position, uint64_t *before, uint64_t *after) {
    uint64_t number = hset_home(n_buckets, position_of_hash(position)); /* reversal is its own inverse */
    uint32_t bits = log2_floor(n_buckets);
    if (number >= UINT64_C(1) << bits || number + (UINT64_C(1) << bits) < n_buckets)
        bits++; /* this bucket is, or was, split at this level */
    *before = bits > 0 ? position >> (32 - bits) << (32 - bits) : 0;
    *after = *before + (UINT64_C(1) << (32 - bits));
    return number;
}

int hset_view_open(struct tmgr_table *t, struct stripe *s, struct hset_view *view) { return view_open(t, s, view); }

uint64_t hset_interval(uint64_t n_buckets, uint64_t position, uint64_t *before, uint64_t *after) {
    return interval(n_buckets, position, before, after);
}

bool hset_view_holds(struct tmgr_table *t, const struct stripe *s, const struct hset_view *view) {
    return !view_overtaken(s, view) && load_relaxed(&t->control->gen) == view->gen &&
           load_relaxed(&view->root->n_buckets) == view->n_buckets;
}

enum { AHEAD_ROWS = 2, AHEAD_BUCKETS = 4 }; /* the next bucket's rows would come too late (1.3 times the time) */

void hset_prefetch_position(struct tmgr_table *t, struct stripe *s, uint64_t position) {
    struct hset_view view;
    uint64_t before, after;
    if (view_open(t, s, &view) != TMGR_OK)
        return;
    for (int step = 0; step <= AHEAD_BUCKETS && position < UINT64_C(1) << 32; step++, position = after) {
        uint64_t number = interval(view.n_buckets, position, &before, &after);
        if (step != AHEAD_ROWS && step != AHEAD_BUCKETS)
            continue;
        const struct bucket *bucket = hset_bucket(t, view.root, number);
        if (bucket == NULL)
            return;
        if (step == AHEAD_BUCKETS)
            __builtin_prefetch(bucket);
        else
            for (int i = 0; i < BUCKET_SLOTS; i++)
                prefetch_row(t, load_relaxed(&bucket->slots[i]));
    }
}

bool hset_same_key(const struct tmgr_table *t, const struct tmgr_buffer *rows, size_t first, size_t second) {
    struct term_span key;
    return term_key_of(rows->data + second, rows->len - second, t->keypos, &key) &&
           term_key_is(rows->data + first, rows->len - first, t->keypos, rows->data + second + key.offset, key.len);
}

static bool has_key_twice(const struct tmgr_table *t, const struct items *items, const struct tmgr_buffer *rows) {
    for (size_t i = 1; i < items->n; i++)
        for (size_t j = i; j-- > 0 && items->list[j].position == items->list[i].position;)
            if (hset_same_key(t, rows, items->list[j].start, items->list[i].start))
                return true;
    return false;
}

/* Away with what stands before a position. */
static void items_from(struct items *items, uint64_t least) {
    size_t n = 0;
    for (size_t i = 0; i < items->n; i++)
        if (items->list[i].position >= least)
            items->list[n++] = items->list[i];
    items->n = n;
}

static int bucket_rows_once(struct tmgr_table *t, struct stripe *s, uint64_t position, uint64_t least,
                            struct tmgr_buffer *out, size_t *n_rows, uint64_t *before, uint64_t *after) {
    struct hset_view view;
    *before = 0;
    *after = UINT64_C(1) << 32;
    *n_rows = 0;
    int status = view_open(t, s, &view);
    if (status != TMGR_OK)
        return status == TMGR_ABSENT ? TMGR_OK : status;
    uint64_t number = interval(view.n_buckets, position, before, after);
    struct items items; /* not initialised as a whole: that would clear a KiB for every bucket */
    items.list = items.first;
    items.n = 0;
    items.capacity = ITEMS_INLINE;
    status = collect(t, &view, number, &items);
    if (least > *before)
        items_from(&items, least);
    for (size_t i = 0; i < items.n && status == TMGR_OK; i++) {
        items.list[i].start = out->len;
        if (t->bag) {
            status = bag_copy(t, s, view.epoch, items.list[i].offset, out, n_rows);
        } else {
            status = row_copy(t, s, view.epoch, items.list[i].offset, out);
            ++*n_rows;
        }
    }
    if (status == TMGR_OK && (!hset_view_holds(t, s, &view) || has_key_twice(t, &items, out)))
        status = TMGR_BUSY;
    if (items.list != items.first)
        free(items.list);
    return status;
}

int hset_bucket_rows(struct tmgr_table *t, struct stripe *s, uint64_t position, uint64_t least, struct tmgr_buffer *out,
                     size_t *n_rows, uint64_t *before, uint64_t *after) {
    size_t len = out->len;
    uint64_t start = changes(t, s);
    int status = TMGR_BUSY;
    for (int tries = 0; status == TMGR_BUSY && tries < READ_TRIES; tries++) {
        out->len = len;
        status = bucket_rows_once(t, s, position, least, out, n_rows, before, after);
    }
    if (status != TMGR_OK)
        out->len = len;
    return status == TMGR_BUSY && nothing_changed(t, s, start) ? TMGR_CORRUPT : status;
}
