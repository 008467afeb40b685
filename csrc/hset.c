/* SPDX-License-Identifier: Apache-2.0 */
#include "hset.h"

#include <stdlib.h>

/* -- where a bucket stands --------------------------------------------------------------------------------------------------- */

static inline uint32_t log2_floor(uint64_t n) { return 63u - (uint32_t)__builtin_clzll(n); }

/* Without a branch: whether its bucket has been split already is anybody's guess. */
static inline uint64_t home(uint64_t n_buckets, uint64_t hash) {
    uint32_t bits = log2_floor(n_buckets);
    uint64_t number = hash & ((UINT64_C(2) << bits) - 1);
    return number - ((uint64_t)(number >= n_buckets) << bits);
}

uint64_t hset_home(uint64_t n_buckets, uint64_t hash) { return home(n_buckets, hash); }

/* Segment of a bucket, its index in it, and how many buckets the segment has. */
static inline uint64_t segment_of(uint64_t number, uint64_t *index, uint64_t *buckets) {
    if (number < FIRST_BUCKETS) {
        *index = number;
        *buckets = FIRST_BUCKETS;
        return 0;
    }
    if (number < 2 * SEGMENT_BUCKETS) {
        *buckets = UINT64_C(1) << log2_floor(number);
        *index = number - *buckets;
        return log2_floor(number) - 2;
    }
    *index = number % SEGMENT_BUCKETS;
    *buckets = SEGMENT_BUCKETS;
    return 9 + (number - 2 * SEGMENT_BUCKETS) / SEGMENT_BUCKETS;
}

/* The word that holds a segment's offset; NULL if its directory page is missing or the number is out of range. */
static inline word *segment_word(struct tmgr_table *t, const struct root *root, uint64_t segment) {
    if (segment < SEGMENTS_INLINE)
        return (word *)&root->segments[segment];
    uint64_t page = (segment - SEGMENTS_INLINE) / DIRECTORY_ENTRIES,
             entry = (segment - SEGMENTS_INLINE) % DIRECTORY_ENTRIES;
    if (page >= DIRECTORY_PAGES)
        return NULL;
    uint64_t offset = load_acquire(&root->directory[page]);
    word *entries = offset != 0 ? at_checked(t, offset, PAGE_BYTES) : NULL;
    return entries != NULL ? &entries[entry] : NULL;
}

static inline struct bucket *bucket_at(struct tmgr_table *t, const struct root *root, uint64_t number) {
    uint64_t index, buckets;
    word *segment = segment_word(t, root, segment_of(number, &index, &buckets));
    uint64_t offset = segment != NULL ? load_acquire(segment) : 0;
    struct bucket *first = offset != 0 ? at_checked(t, offset, buckets * sizeof(struct bucket)) : NULL;
    return first != NULL ? &first[index] : NULL;
}

struct bucket *hset_bucket(struct tmgr_table *t, const struct root *root, uint64_t number) {
    return bucket_at(t, root, number);
}

/* Next bucket of a chain: 1, 0 at its end, -1 if the link is damaged (or, for a reader, overtaken). */
static int chain_next(struct tmgr_table *t, struct bucket **bucket) {
    uint64_t next = load_acquire(&(*bucket)->next);
    if (next == 0)
        return 0;
    *bucket = at_checked(t, next, sizeof(struct bucket));
    return *bucket != NULL && next % sizeof(struct bucket) == t->arena % sizeof(struct bucket) ? 1 : -1;
}

/* -- pending slots --------------------------------------------------------------------------------------------------------------- */

struct descriptor *descriptor_of(struct tmgr_table *t, uint64_t tx) {
    uint64_t number = tx & 0xff;
    return number < (uint64_t)t->n_stripes * DESCRIPTORS
               ? &t->stripes[number / DESCRIPTORS].descriptors[number % DESCRIPTORS]
               : NULL;
}

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

/* -- writing ------------------------------------------------------------------------------------------------------------------------- */

uint64_t hset_slot_row(struct tmgr_table *t, uint64_t slot, bool *damaged) {
    if (slot & SLOT_PENDING) {
        const struct tx_record *record = at_checked(t, slot_offset(slot), sizeof *record);
        *damaged = record == NULL;
        if (record == NULL)
            return 0;
        uint64_t tx = load_relaxed(&record->tx);
        const struct descriptor *descriptor = descriptor_of(t, tx);
        *damaged = descriptor == NULL;
        if (descriptor == NULL)
            return 0;
        uint64_t status = load_relaxed(&descriptor->status);
        bool aborted = status >> 2 == tx >> 8 && (status & 3) == TX_ABORTED;
        uint64_t row = load_relaxed(aborted ? &record->old_slot : &record->new_slot);
        if (row == 0 && !aborted)
            row = load_relaxed(&record->old_slot); /* a delete: the key is still the old row's */
        slot = row;
    }
    return slot != 0 ? slot_offset(slot) : 0;
}

int hset_locate(struct tmgr_table *t, struct stripe *s, const struct probe *probe, struct place *place) {
    *place = (struct place){.slot = NULL};
    const struct root *root = current_root(s);
    uint64_t n_buckets = load_relaxed(&root->n_buckets), tag = tag_of_hash(probe->hash);
    if (n_buckets == 0)
        return TMGR_ABSENT;
    struct bucket *bucket = n_buckets <= BUCKETS_MAX ? hset_bucket(t, root, hset_home(n_buckets, probe->hash)) : NULL;
    if (bucket == NULL)
        return poison(t, POISON_BUCKETS);
    for (int more = 1, steps = 0; more != 0; more = chain_next(t, &bucket)) {
        if (more < 0 || ++steps > CHAIN_MAX)
            return poison(t, POISON_BUCKETS);
        place->last = bucket;
        for (int i = 0; i < BUCKET_SLOTS; i++) {
            uint64_t slot = load_relaxed(&bucket->slots[i]);
            if (slot == 0 && place->slot == NULL)
                place->slot = &bucket->slots[i];
            if (slot == 0 || slot_tag(slot) != tag)
                continue;
            bool damaged = false;
            uint64_t row = hset_slot_row(t, slot, &damaged);
            if (damaged || (row != 0 && !offset_is_valid(t, row, UNIT_BYTES)))
                return poison(t, POISON_ROWS);
            if (row != 0 && row_has_key(t, row, probe)) {
                place->slot = &bucket->slots[i];
                place->content = slot;
                return TMGR_OK;
            }
        }
    }
    return TMGR_ABSENT;
}

/* A block whose first `cleared` bytes are zero. */
static int link_block(struct tmgr_table *t, struct stripe *s, word *link, uint64_t bytes, uint64_t cleared) {
    uint64_t offset;
    int status = stripe_begin(t, s, bytes, &offset);
    if (status != TMGR_OK)
        return status;
    word *words = at(t, offset);
    for (uint64_t i = 0; i < cleared / 8; i++)
        store_relaxed(&words[i], 0);
    stripe_commit(t, s, link, offset, 0, arena_block_size(bytes), 0, 0);
    return TMGR_OK;
}

/* Buckets up to `number` have memory. Of a new segment only the first bucket is cleared, each of the others before n_buckets comes
 * next to it (split): the page faults of clearing a segment at once would be the longest pause of a growing table. */
static int back_bucket(struct tmgr_table *t, struct stripe *s, struct root *root, uint64_t number) {
    uint64_t index, buckets, segment = segment_of(number, &index, &buckets);
    if (segment >= SEGMENTS_INLINE) {
        word *page = &root->directory[(segment - SEGMENTS_INLINE) / DIRECTORY_ENTRIES];
        int status = load_relaxed(page) == 0 ? link_block(t, s, page, PAGE_BYTES, PAGE_BYTES) : TMGR_OK;
        if (status != TMGR_OK)
            return status;
    }
    word *place = segment_word(t, root, segment);
    if (place == NULL)
        return poison(t, POISON_BUCKETS);
    uint64_t cleared = number < FIRST_BUCKETS ? FIRST_BUCKETS : 1;
    return load_relaxed(place) == 0
               ? link_block(t, s, place, buckets * sizeof(struct bucket), cleared * sizeof(struct bucket))
               : TMGR_OK;
}

int hset_start(struct tmgr_table *t, struct stripe *s) {
    struct root *root = current_root(s);
    if (load_relaxed(&root->n_buckets) != 0)
        return TMGR_OK;
    int status = back_bucket(t, s, root, 0);
    if (status == TMGR_OK)
        publish(&root->n_buckets, FIRST_BUCKETS);
    return status;
}

int hset_extend(struct tmgr_table *t, struct stripe *s, const struct probe *probe, struct place *place) {
    int status = stripe_make_room(t, s);
    if (status == TMGR_OK && place->last == NULL) { /* there was no bucket */
        status = hset_start(t, s);
        if (status == TMGR_OK)
            status = hset_locate(t, s, probe, place) == TMGR_ABSENT && place->slot != NULL ? TMGR_OK
                                                                                           : poison(t, POISON_BUCKETS);
        return status;
    }
    if (status == TMGR_OK)
        status = link_block(t, s, &place->last->next, sizeof(struct bucket), sizeof(struct bucket));
    if (status != TMGR_OK)
        return status;
    place->last = at(t, load_relaxed(&place->last->next));
    place->slot = &place->last->slots[0];
    return TMGR_OK;
}

/* -- split --------------------------------------------------------------------------------------------------------------------------------- */

/* The bit of the hash that a split looks at, from the tag where it is there, else from the row. -1: damaged. */
static int slot_bit(struct tmgr_table *t, uint64_t slot, uint32_t bit) {
    if (bit >= 8 && bit <= 30)
        return (int)(slot_tag(slot) >> (bit - 8) & 1);
    uint64_t row = slot_offset(slot);
    return offset_is_valid(t, row, UNIT_BYTES) ? (int)(row_hash(t, row) >> bit & 1) : -1;
}

/* The free slot in the chain of the bucket under construction; overflow buckets are linked to it empty. */
static int copy_slot(struct tmgr_table *t, struct stripe *s, struct bucket **target, int *used, uint64_t slot) {
    if (*used == BUCKET_SLOTS) {
        int more = chain_next(t, target);
        if (more < 0)
            return poison(t, POISON_BUCKETS);
        if (more == 0 && *target != NULL) {
            int status = link_block(t, s, &(*target)->next, sizeof(struct bucket), sizeof(struct bucket));
            if (status != TMGR_OK)
                return status;
            *target = at(t, load_relaxed(&(*target)->next));
        }
        *used = 0;
    }
    publish(&(*target)->slots[(*used)++], slot);
    return TMGR_OK;
}

/* Clear every slot of the chain whose row (by its hash bit) has moved; with bit 32 every slot. */
static int clear_slots(struct tmgr_table *t, struct bucket *bucket, uint32_t bit) {
    for (int more = 1, steps = 0; more != 0; more = chain_next(t, &bucket)) {
        if (more < 0 || ++steps > CHAIN_MAX)
            return poison(t, POISON_BUCKETS);
        for (int i = 0; i < BUCKET_SLOTS; i++) {
            uint64_t slot = load_relaxed(&bucket->slots[i]);
            if (slot == 0)
                continue;
            if (bit < 32 && slot & SLOT_PENDING)
                continue; /* put there after the split was complete, for splits resolve first: it is no stranger */
            int moved = bit < 32 ? slot_bit(t, slot, bit) : 1;
            if (moved < 0)
                return poison(t, POISON_ROWS);
            if (moved)
                publish(&bucket->slots[i], 0);
        }
    }
    return TMGR_OK;
}

static int chain_has_pending(struct tmgr_table *t, struct bucket *bucket, bool *pending) {
    *pending = false;
    for (int more = 1, steps = 0; more != 0; more = chain_next(t, &bucket)) {
        if (more < 0 || ++steps > CHAIN_MAX)
            return poison(t, POISON_BUCKETS);
        for (int i = 0; i < BUCKET_SLOTS; i++)
            *pending |= (load_relaxed(&bucket->slots[i]) & SLOT_PENDING) != 0;
    }
    return TMGR_OK;
}

/* One bucket more. ABSENT: not now (the bucket to be split still has unresolved slots). */
static int split(struct tmgr_table *t, struct stripe *s, struct root *root) {
    uint64_t n = load_relaxed(&root->n_buckets);
    if (n >= BUCKETS_MAX)
        return TMGR_ABSENT;
    uint32_t bit = log2_floor(n);
    int status = back_bucket(t, s, root, n);
    if (status != TMGR_OK)
        return status;
    struct bucket *source = hset_bucket(t, root, n - (UINT64_C(1) << bit)), *target = hset_bucket(t, root, n);
    bool pending = false;
    if (source == NULL || target == NULL)
        return poison(t, POISON_BUCKETS);
    status = chain_has_pending(t, source, &pending);
    if (status != TMGR_OK || pending)
        return status != TMGR_OK ? status : TMGR_ABSENT;
    int used = 0;
    struct bucket *from = source, *to = target;
    for (int more = 1; more > 0 && status == TMGR_OK; more = chain_next(t, &from))
        for (int i = 0; i < BUCKET_SLOTS && status == TMGR_OK; i++) {
            uint64_t slot = load_relaxed(&from->slots[i]);
            int moves = slot != 0 ? slot_bit(t, slot, bit) : 0;
            if (moves < 0)
                status = poison(t, POISON_ROWS);
            else if (moves)
                status = copy_slot(t, s, &to, &used, slot);
        }
    if (status != TMGR_OK) { /* no memory for an overflow bucket: undo the copies */
        int undone = clear_slots(t, target, 32);
        return undone != TMGR_OK ? undone : status;
    }
    uint64_t index, buckets;
    segment_of(n, &index, &buckets);
    for (uint64_t i = 0; index + 1 < buckets && i < sizeof(struct bucket) / 8; i++)
        store_relaxed((word *)&target[1] + i,
                      0);             /* the first bucket behind the last is empty, as a repair expects it */
    publish(&root->n_buckets, n + 1); /* COMMIT POINT */
    return clear_slots(t, source, bit);
}

/* Is a split due? One that begins a segment of buckets waits for memory that is reserved ahead, up to a quarter more rows:
 * reserving so much at once would be the longest pause of a growing table. */
static bool split_is_due(struct tmgr_table *t, uint64_t n, uint64_t rows) {
    if (n == 0 || rows <= n * ROWS_PER_BUCKET)
        return false;
    uint64_t index, buckets;
    segment_of(n, &index, &buckets);
    return index != 0 || rows > n * (ROWS_PER_BUCKET + 1) || arena_is_ahead(t, buckets * sizeof(struct bucket));
}

int hset_grow(struct tmgr_table *t, struct stripe *s, uint64_t rows, uint64_t most) {
    struct root *root = current_root(s);
    int status = TMGR_OK;
    for (uint64_t n; most > 0 && status == TMGR_OK; most--) {
        n = load_relaxed(&root->n_buckets);
        if (!split_is_due(t, n, rows))
            break;
        status = split(t, s, root);
    }
    return status == TMGR_CORRUPT ? status : TMGR_OK;
}

int hset_repair(struct tmgr_table *t, struct stripe *s) {
    struct root *root = current_root(s);
    uint64_t n = load_relaxed(&root->n_buckets);
    if (n == 0)
        return TMGR_OK;
    if (n < FIRST_BUCKETS || n > BUCKETS_MAX)
        return poison(t, POISON_BUCKETS);
    struct bucket *beyond = n < BUCKETS_MAX ? hset_bucket(t, root, n) : NULL;
    int status = beyond != NULL ? clear_slots(t, beyond, 32) : TMGR_OK;
    if (status != TMGR_OK || n == FIRST_BUCKETS)
        return status;
    uint32_t bit = log2_floor(n - 1);
    struct bucket *source = hset_bucket(t, root, n - 1 - (UINT64_C(1) << bit));
    return source != NULL ? clear_slots(t, source, bit) : poison(t, POISON_BUCKETS);
}

/* -- delete_all ------------------------------------------------------------------------------------------------------------------------------- */

/* Before: the other root is empty. A kill in between is followed by the same again, until the last store. */
int hset_synchronise(struct tmgr_table *t, struct stripe *s) {
    uint64_t gen = load_relaxed(&t->control->gen);
    if (load_relaxed(&s->gen) == gen)
        return TMGR_OK;
    if (load_relaxed(&s->gen) > gen)
        return poison(t, POISON_BUCKETS);
    publish(&s->rows[0], 0);
    publish(&s->gen, gen);
    return TMGR_OK;
}

/* Retire one row (of a bag: one cell) or one overflow bucket of a bucket of the old root: 1 done, 0 nothing is left in it,
 * else -1. */
static int retire_from_bucket(struct tmgr_table *t, struct stripe *s, struct bucket *bucket) {
    struct bucket *chain = bucket;
    for (int more = 1, steps = 0; more != 0; more = chain_next(t, &chain)) {
        if (more < 0 || ++steps > CHAIN_MAX)
            return -1;
        for (int i = 0; i < BUCKET_SLOTS; i++) {
            uint64_t slot = load_relaxed(&chain->slots[i]), bytes;
            if (slot == 0)
                continue;
            if (slot & SLOT_PENDING || !offset_is_valid(t, slot_offset(slot), UNIT_BYTES))
                return -1;
            uint64_t block = row_block(t, slot_offset(slot), &bytes);
            uint64_t next = t->bag ? cell_next(t, slot_offset(slot)) : 0;
            if (next != 0 && !offset_is_valid(t, next, CELL_ROW_START))
                return -1;
            stripe_commit(t, s, &chain->slots[i], next != 0 ? slot_make(slot_tag(slot), next, 0) : 0, 0, 0, block,
                          bytes);
            return 1;
        }
    }
    uint64_t next = load_relaxed(&bucket->next);
    if (next == 0)
        return 0;
    struct bucket *overflow = at_checked(t, next, sizeof *overflow);
    if (overflow == NULL)
        return -1;
    stripe_commit(t, s, &bucket->next, load_relaxed(&overflow->next), 0, 0, next, sizeof *overflow);
    return 1;
}

/* The last segment is retired when its first bucket is empty; n_buckets falls first, so that nothing points into it. */
static int retire_segments(struct tmgr_table *t, struct stripe *s, struct root *root, uint64_t n, bool *done) {
    *done = false;
    for (uint64_t i = DIRECTORY_PAGES * DIRECTORY_ENTRIES + SEGMENTS_INLINE; n == 0 && i-- > 0;) {
        if (i >= SEGMENTS_INLINE && load_relaxed(&root->directory[(i - SEGMENTS_INLINE) / DIRECTORY_ENTRIES]) == 0) {
            i -= (i - SEGMENTS_INLINE) % DIRECTORY_ENTRIES;
            continue;
        }
        word *place = segment_word(t, root, i);
        uint64_t offset = place != NULL ? load_relaxed(place) : 0, index, buckets;
        if (offset != 0) {
            segment_of(i == 0 ? 0 : i < 9 ? UINT64_C(4) << i : (i - 7) * SEGMENT_BUCKETS, &index, &buckets);
            stripe_commit(t, s, place, 0, 0, 0, offset, arena_block_size(buckets * sizeof(struct bucket)));
            return TMGR_OK;
        }
        if (i >= SEGMENTS_INLINE && (i - SEGMENTS_INLINE) % DIRECTORY_ENTRIES == 0) {
            word *page = &root->directory[(i - SEGMENTS_INLINE) / DIRECTORY_ENTRIES];
            stripe_commit(t, s, page, 0, 0, 0, load_relaxed(page), PAGE_BYTES);
            return TMGR_OK;
        }
    }
    *done = true;
    return TMGR_OK;
}

int hset_tear_down(struct tmgr_table *t, struct stripe *s, uint64_t *units) {
    struct root *root = other_root(s);
    if (load_relaxed(&root->segments[0]) == 0) /* the first to be set and the last to be retired */
        return TMGR_OK;
    uint64_t most = reachable_bytes(t) / UNIT_BYTES + BUCKETS_MAX; /* more, and a list leads in a circle */
    for (; *units > 0; (*units)--, most--) {
        int status = most > 0 ? stripe_make_room(t, s) : poison(t, POISON_BUCKETS);
        if (status != TMGR_OK)
            return status;
        uint64_t n = load_relaxed(&root->n_buckets);
        if (n == 0) {
            bool done;
            status = retire_segments(t, s, root, n, &done);
            if (status != TMGR_OK || done)
                return status;
            continue;
        }
        struct bucket *bucket = n <= BUCKETS_MAX ? hset_bucket(t, root, n - 1) : NULL;
        int retired = bucket != NULL ? retire_from_bucket(t, s, bucket) : -1;
        if (retired < 0)
            return poison(t, POISON_BUCKETS);
        if (retired == 0)
            publish(&root->n_buckets, n - 1);
    }
    return TMGR_OK;
}
