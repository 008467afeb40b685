/* SPDX-License-Identifier: Apache-2.0 */
/* bucket.h - where a bucket of the hash table of hset.h stands: the bucket of a hash, its segment, its memory, the next one of its chain.
 * For hset_read.c and hset_write.c only, each of which has its own copies, for all that is done to a table runs through them. chain_next
 * is not `inline`: with a copy of it in each loop, a find would no longer be one piece.
 *
 * Nothing here stores. Without the lock a bucket may be overwritten while it is read: every offset is held against its
 * bounds before it is followed. */
#ifndef TMGR_BUCKET_H
#define TMGR_BUCKET_H

#include "hset.h"

static inline uint32_t log2_floor(uint64_t n) { return 63u - (uint32_t)__builtin_clzll(n); }

/* Without a branch: whether its bucket has been split already is anybody's guess. */
static inline uint64_t home(uint64_t n_buckets, uint64_t hash) {
    uint32_t bits = log2_floor(n_buckets);
    uint64_t number = hash & ((UINT64_C(2) << bits) - 1);
    return number - ((uint64_t)(number >= n_buckets) << bits);
}

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

/* Next bucket of a chain: 1, 0 at its end, -1 if the link is damaged (or, for a reader, overtaken). */
static int chain_next(struct tmgr_table *t, struct bucket **bucket) {
    uint64_t next = load_acquire(&(*bucket)->next);
    if (next == 0)
        return 0;
    *bucket = at_checked(t, next, sizeof(struct bucket));
    return *bucket != NULL && next % sizeof(struct bucket) == t->arena % sizeof(struct bucket) ? 1 : -1;
}

#endif
