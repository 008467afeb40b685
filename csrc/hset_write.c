/* SPDX-License-Identifier: Apache-2.0 */
/* hset_write.c - changing a hash table, under the stripe's lock: finding the slot of a key and making one, splitting buckets,
 * finishing or undoing a split after a death, following a delete_all, and tearing the other root down. The protocol is in hset.h. */
#include "bucket.h"

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
    struct bucket *bucket = n_buckets <= BUCKETS_MAX ? bucket_at(t, root, home(n_buckets, probe->hash)) : NULL;
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
    struct bucket *source = bucket_at(t, root, n - (UINT64_C(1) << bit)), *target = bucket_at(t, root, n);
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
    struct bucket *beyond = n < BUCKETS_MAX ? bucket_at(t, root, n) : NULL;
    int status = beyond != NULL ? clear_slots(t, beyond, 32) : TMGR_OK;
    if (status != TMGR_OK || n == FIRST_BUCKETS)
        return status;
    uint32_t bit = log2_floor(n - 1);
    struct bucket *source = bucket_at(t, root, n - 1 - (UINT64_C(1) << bit));
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
        struct bucket *bucket = n <= BUCKETS_MAX ? bucket_at(t, root, n - 1) : NULL;
        int retired = bucket != NULL ? retire_from_bucket(t, s, bucket) : -1;
        if (retired < 0)
            return poison(t, POISON_BUCKETS);
        if (retired == 0)
            publish(&root->n_buckets, n - 1);
    }
    return TMGR_OK;
}
