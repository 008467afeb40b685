/* SPDX-License-Identifier: Apache-2.0 */
/* handle.h - one process's view of a segment, and bounds-checked access by offset. */
#ifndef TMGR_HANDLE_H
#define TMGR_HANDLE_H

#include "layout.h"
#include "tablemgr.h"

/* Internal statuses beside enum tmgr_status. */
enum { AGAIN = -1 }; /* the segment has outgrown the mapping: leave, map more, call again */

struct tmgr_table {
    /* Constant while calls are in flight. */
    uint8_t *base;
    struct control *control;
    struct stripe *stripes;
    uint64_t mapped; /* bytes of address space */
    uint64_t hash_seed;
    uint64_t arena;     /* offset of the first chunk */
    uint32_t n_stripes; /* power of two */
    uint32_t stripe_shift;
    uint32_t keypos;
    uint32_t type;
    bool ordered;       /* an ordered_set: oset.h finds its rows, not hset.h */
    bool bag;           /* a bag or duplicate_bag: a slot holds a list, see bag.h */
    uint32_t row_start; /* of a row's bytes in its block */
    int fd;
    _Atomic bool writable; /* the mapping */
    bool may_write;        /* the descriptor and the namespaces: the mapping can be made writable */
    bool head_only, foreign;
    char segment[256];
    uint64_t place; /* of the directory that it was attached in, see os.h */

    _Atomic int64_t in_flight;            /* calls inside; close and remap wait for 0 */
    _Atomic int gate;                     /* GATE_*: who may enter */
    _Atomic bool outgrown;                /* growth needs a larger mapping: the next call to enter sees to it */
    _Atomic uint32_t reclaim_next;        /* stripe in which the next search for memory begins */
    uint64_t walked_in_vain[STRIPES_MAX]; /* evacuate.c: blocks retired by then, or 0; under the stripe's lock */
    word checked_tick;                    /* when the owner of a table without an heir was last seen alive */
    struct tmgr_table *previous, *next;   /* this process's handles, under lock_private */
};

enum { GATE_OPEN = 0, GATE_REMAP = 1, GATE_CLOSED = 2 };

/* Published size as far as this handle maps it. Every offset read from shared memory is held against it, because the
 * segment may be damaged and a racing reader may have read anything. */
static inline uint64_t reachable_bytes(const struct tmgr_table *t) {
    uint64_t size = load_relaxed(&t->control->size);
    return size < t->mapped ? size : t->mapped;
}

static inline bool offset_is_valid(const struct tmgr_table *t, uint64_t offset, uint64_t len) {
    uint64_t bytes = reachable_bytes(t);
    return offset >= t->arena && offset < bytes && len <= bytes - offset && offset % UNIT_BYTES == 0;
}

static inline void *at(const struct tmgr_table *t, uint64_t offset) { return t->base + offset; }
/* NULL if the range is not in the arena. */
static inline void *at_checked(const struct tmgr_table *t, uint64_t offset, uint64_t len) {
    return offset_is_valid(t, offset, len) ? t->base + offset : NULL;
}
static inline uint64_t offset_of(const struct tmgr_table *t, const void *place) {
    return (uint64_t)((const uint8_t *)place - t->base);
}
static inline uint32_t stripe_number(const struct tmgr_table *t, const struct stripe *s) {
    return (uint32_t)(s - t->stripes);
}

static inline uint64_t slot_offset(uint64_t slot) { return (slot >> 1 & ((UINT64_C(1) << 40) - 1)) << 4; }
static inline uint64_t slot_tag(uint64_t slot) { return slot >> SLOT_TAG_SHIFT; }
static inline uint64_t tag_of_hash(uint64_t hash) { return hash >> 8 & 0x7fffff; }
static inline uint64_t slot_make(uint64_t tag, uint64_t offset, uint64_t pending) {
    return tag << SLOT_TAG_SHIFT | offset >> 4 << 1 | pending;
}

/* Refuse the table from now on: a repair or a writer found what must not be. Readers of tools may still look. */
static inline int poison(struct tmgr_table *t, uint64_t why) {
    if (t->writable && load_relaxed(&t->control->poisoned) == 0)
        publish(&t->control->poisoned, why);
    return TMGR_CORRUPT;
}
enum poison_reason {
    POISON_PAGES = 1,
    POISON_RING,
    POISON_BUCKETS,
    POISON_ROWS,
    POISON_LOG,
    POISON_OWNER,
    POISON_LOCK
};

#endif
