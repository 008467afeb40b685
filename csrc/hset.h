/* SPDX-License-Identifier: Apache-2.0 */
/* hset.h - the hash table of one stripe: linear hashing over cache-line buckets.
 *
 * Reading (no lock): find, count and copy; writing (stripe's lock held, stripe in order): by micro-operations.
 *
 * What readers may rely on, and why a kill is harmless:
 *  - A slot changes by one store. It holds nothing, a row (of a bag: a list of rows, bag.h), or a pending record (txn.h). Nothing ever moves inside a bucket
 *    or into another one, except in a split.
 *  - A split copies the rows of bucket b that belong into bucket N (which nobody reads yet), then n_buckets := N + 1
 *    (COMMIT POINT), then clears them in b. A reader with the old count finds them in b, or sees the count changed.
 *    Repair: bucket N is emptied (they were copies), and in the bucket that was split last strangers are cleared (they are
 *    copies of what stands in N - 1). It needs no record.
 *  - n_buckets never falls while a root is current, so a miss needs n_buckets and the table's generation unchanged,
 *    or the key's bucket the same under both counts.
 *  - delete_all is control.gen := g + 1. A stripe whose gen is behind reads as empty; its next writer switches to the other
 *    root (hset_synchronise), and the old one is torn down row by row through the quarantine (hset_tear_down).
 *
 * Order of traversal: stripe, then hash bits 0..31 reversed, then key bytes. A bucket holds one interval of it, and a split
 * halves that interval, so a position stays good whatever is written.
 *
 * Readers are in hset_read.c, writers in hset_write.c; bucket.h is for these two. */
#ifndef TMGR_HSET_H
#define TMGR_HSET_H

#include "bag.h"

/* -- shared with txn.h --------------------------------------------------------------------------------------------------- */

/* The slot that counts in a pending slot's stead: *slot becomes the old or the new one, 0 for no row. BUSY if the record
 * is being cleaned: load the slot again. Any reader. */
int pending_resolve(struct tmgr_table *t, uint64_t *slot);
/* Descriptor of a transaction's name; NULL if it is none. */
static inline struct descriptor *descriptor_of(struct tmgr_table *t, uint64_t tx) {
    uint64_t number = tx & 0xff;
    return number < (uint64_t)t->n_stripes * DESCRIPTORS
               ? &t->stripes[number / DESCRIPTORS].descriptors[number % DESCRIPTORS]
               : NULL;
}

/* -- reading -------------------------------------------------------------------------------------------------------------- */

/* What a reader starts from. */
struct hset_view {
    uint64_t epoch, gen, n_buckets;
    const struct root *root;
    struct bucket *bucket; /* of the key; hset_find_begin only */
};

/* The row with this key appended to out. OK, ABSENT, BUSY (overtaken), NO_MEMORY. In two steps: the first sets the
 * bucket on its way from memory, and what the caller does then (it asks whether it may read at all) costs no time of its own.
 * `status`: what the first step came to. */
int hset_find_begin(struct tmgr_table *t, struct stripe *s, const struct probe *probe, struct hset_view *view);
int hset_find_end(struct tmgr_table *t, struct stripe *s, const struct probe *probe, const struct hset_view *view,
                  int status, struct tmgr_buffer *out);
enum { HSET_NIL = 0xc0 }; /* msgpack's nil stands for a row that is not there */
/* The rows of n keys, one after the other, a msgpack nil for a key that has none. The misses of 16 keys overlap.
 * As hset_find_end, each key by itself. */
int hset_find_many(struct tmgr_table *t, const struct probe *probes, size_t n, struct tmgr_buffer *out);
/* All rows of a key of a bag, oldest first; *n_rows: how many. n_rows NULL: the newest one will do. As hset_find_end. */
int hset_find_list(struct tmgr_table *t, struct stripe *s, const struct probe *probe, struct tmgr_buffer *out,
                   size_t *n_rows);
/* Start loading what looking for this key will need: first its bucket (NULL if there is none), then the row. */
const struct bucket *hset_prefetch_bucket(struct tmgr_table *t, struct stripe *s, uint64_t hash);
void hset_prefetch_row(struct tmgr_table *t, const struct bucket *bucket, uint64_t hash);
/* Start loading the rows of the bucket that holds `position`, and the bucket after it. */
void hset_prefetch_position(struct tmgr_table *t, struct stripe *s, uint64_t position);
/* All rows of the bucket that holds `position` (reversed hash bits) from the position `least` on, in order, those of a list
 * together, appended to out. *after: first position behind the bucket, 2^32 at the stripe's end; *before: its first one.
 * Whoever goes forwards gives `least` = position: after a delete_all there are fewer buckets, and the position at which a walk goes
 * on may be in the middle of one, whose first rows it has seen if they are back by now. */
int hset_bucket_rows(struct tmgr_table *t, struct stripe *s, uint64_t position, uint64_t least, struct tmgr_buffer *out,
                     size_t *n_rows, uint64_t *before, uint64_t *after);

/* For sweep.h, which walks buckets itself. As a reader begins: OK, ABSENT (the stripe is empty), BUSY (a delete_all came between
 * two loads); the bucket that holds a position, and its interval; and whether what was loaded since counts: the epoch moved by
 * at most one, and the generation and the number of buckets are what they were. */
int hset_view_open(struct tmgr_table *t, struct stripe *s, struct hset_view *view);
uint64_t hset_interval(uint64_t n_buckets, uint64_t position, uint64_t *before, uint64_t *after);
bool hset_view_holds(struct tmgr_table *t, const struct stripe *s, const struct hset_view *view);
/* Whether the rows that begin at these places of what was copied from one bucket have the same key. Then the reader has met
 * it in one slot, and again in a later one after it was deleted and came back: no state of the table, so the bucket is read
 * anew. Asked only of rows of equal position, which are hardly ever two. */
bool hset_same_key(const struct tmgr_table *t, const struct tmgr_buffer *rows, size_t first, size_t second);

static inline uint64_t position_of_hash(uint64_t hash) {
    uint32_t x = (uint32_t)hash;
    x = (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
    x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
    x = (x >> 4 & 0x0f0f0f0fu) | (x & 0x0f0f0f0fu) << 4;
    return __builtin_bswap32(x);
}

/* -- writing: under the stripe's lock --------------------------------------------------------------------------------------- */

struct place {
    word *slot;          /* the key's slot; or a free one; or NULL: the bucket needs an overflow bucket */
    uint64_t content;    /* what the slot holds, 0 if the key is absent */
    struct bucket *last; /* of the chain */
    /* Of an ordered_set's key that is absent, for the extend that follows: the leaf, its order as it was, and where the key goes. */
    struct node *leaf;
    uint64_t order, head;
    uint32_t rank;
};
/* A row's block as a writer sees it through a slot: pending ones by what they will be if their transaction commits; 0: none. */
uint64_t hset_slot_row(struct tmgr_table *t, uint64_t slot, bool *damaged);
/* ABSENT or OK, or a failure. */
int hset_locate(struct tmgr_table *t, struct stripe *s, const struct probe *probe, struct place *place);
/* The first buckets, if there are none. */
int hset_start(struct tmgr_table *t, struct stripe *s);
/* Make place->slot a free slot for this key. */
int hset_extend(struct tmgr_table *t, struct stripe *s, const struct probe *probe, struct place *place);
/* Split buckets until there are enough for `rows`, at most `most` of them. Running out of memory only ends it early. */
int hset_grow(struct tmgr_table *t, struct stripe *s, uint64_t rows, uint64_t most);
/* Follow a delete_all. */
int hset_synchronise(struct tmgr_table *t, struct stripe *s);
/* At most `units` micro-operations of tearing the other root down; *left: what is left of units. */
int hset_tear_down(struct tmgr_table *t, struct stripe *s, uint64_t *units);
/* After a death: finish or undo a split. */
int hset_repair(struct tmgr_table *t, struct stripe *s);

/* -- for check.c -------------------------------------------------------------------------------------------------------------- */
struct bucket *hset_bucket(struct tmgr_table *t, const struct root *root, uint64_t number);
uint64_t hset_home(uint64_t n_buckets, uint64_t hash);
static inline struct root *current_root(struct stripe *s) { return &s->root[load_acquire(&s->gen) & 1]; }
static inline struct root *other_root(struct stripe *s) { return &s->root[(load_acquire(&s->gen) & 1) ^ 1]; }
enum { FIRST_BUCKETS = 8, ROWS_PER_BUCKET = 4, CHAIN_MAX = 4096 };
static inline uint64_t stripe_index(const struct tmgr_table *t, uint64_t hash) {
    return t->n_stripes > 1 ? hash >> t->stripe_shift : 0;
}
static inline struct stripe *stripe_of_hash(struct tmgr_table *t, uint64_t hash) {
    return &t->stripes[stripe_index(t, hash)];
}

#endif
