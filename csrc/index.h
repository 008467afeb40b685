/* SPDX-License-Identifier: Apache-2.0 */
/* index.h - the one place that knows which structure finds a table's rows: the hash table of hset.h, or the tree of oset.h.
 * The functions are described there. */
#ifndef TMGR_INDEX_H
#define TMGR_INDEX_H

#include "oset.h"

static inline int index_find_begin(struct tmgr_table *t, struct stripe *s, const struct probe *probe,
                                   struct hset_view *view) {
    return t->ordered ? TMGR_OK : hset_find_begin(t, s, probe, view);
}

static inline int index_find_end(struct tmgr_table *t, struct stripe *s, const struct probe *probe,
                                 const struct hset_view *view, int begun, struct tmgr_buffer *out) {
    return t->ordered ? oset_find(t, s, probe, out) : hset_find_end(t, s, probe, view, begun, out);
}

/* The rows of n keys that have one row each, nil for a key without. */
static inline int index_find_many(struct tmgr_table *t, const struct probe *probes, size_t n, struct tmgr_buffer *out) {
    if (!t->ordered)
        return hset_find_many(t, probes, n, out);
    int status = TMGR_OK;
    for (size_t i = 0; i < n && status == TMGR_OK; i++) {
        status = oset_find(t, &t->stripes[0], &probes[i], out);
        if (status == TMGR_ABSENT)
            status = buffer_append(out, &(uint8_t){HSET_NIL}, 1) ? TMGR_OK : TMGR_NO_MEMORY;
    }
    return status;
}

/* ABSENT with place->slot NULL: call index_extend. */
static inline int index_locate(struct tmgr_table *t, struct stripe *s, const struct probe *probe, struct place *place) {
    return t->ordered ? oset_locate(t, s, probe, place) : hset_locate(t, s, probe, place);
}

/* After ABSENT with no slot: a free slot for this key. */
static inline int index_extend(struct tmgr_table *t, struct stripe *s, const struct probe *probe, struct place *place) {
    return t->ordered ? oset_extend(t, s, probe, place) : hset_extend(t, s, probe, place);
}

/* After an insertion, `most` times at most. */
static inline int index_grow(struct tmgr_table *t, struct stripe *s, uint64_t rows, uint64_t most) {
    return t->ordered ? TMGR_OK : hset_grow(t, s, rows, most);
}

/* After a removal of this key. */
static inline int index_tidy(struct tmgr_table *t, struct stripe *s, const struct probe *probe) {
    return t->ordered ? oset_tidy(t, s, probe) : TMGR_OK;
}

static inline int index_tear_down(struct tmgr_table *t, struct stripe *s, uint64_t *units) {
    return t->ordered ? oset_tear_down(t, s, units) : hset_tear_down(t, s, units);
}

static inline int index_repair(struct tmgr_table *t, struct stripe *s) {
    return t->ordered ? oset_repair(t, s) : hset_repair(t, s);
}

static inline const struct bucket *index_prefetch(struct tmgr_table *t, struct stripe *s, uint64_t hash) {
    return t->ordered ? NULL : hset_prefetch_bucket(t, s, hash);
}

#endif
