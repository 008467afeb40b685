/* SPDX-License-Identifier: Apache-2.0 */
/* write.h - what a write of one row (write.c) and of several as one (batch.c) share. */
#ifndef TMGR_WRITE_H
#define TMGR_WRITE_H

#include "os.h"
#include "table.h"
#include "txn.h"

/* A write's arguments and results. */
struct call {
    struct probe probe;
    const uint8_t *row; /* to be inserted, or to be compared with */
    size_t row_len;
    const uint8_t *other; /* the row that replaces */
    size_t other_len;
    const struct tmgr_op *op;
    struct tmgr_buffer *out;
    struct tmgr_buffer *scratch, *built; /* for gathered and for updated rows */
    uint64_t removed;                    /* rows */
    const struct bucket *bucket;         /* of the key, on its way; a hint */
    int64_t wait_ns;
    unsigned reclaims; /* how often memory was reclaimed for it */
    bool is_last_try;  /* the last time gave nothing that a further one could add to */
};

/* -- arguments ------------------------------------------------------------------------------------------------------------ */

/* Before the gate. Admission comes before the arguments: a caller without access is told that, whatever the row is. OK, and
 * *probe is the row's key; else why not. */
int write_check_row(struct tmgr_table *t, const uint8_t *row, size_t len, struct probe *probe);
/* The same of an encoded key. */
int write_check_key(struct tmgr_table *t, const uint8_t *key, size_t len, struct probe *probe);

/* -- with the stripe's lock held ------------------------------------------------------------------------------------------ */

/* index_locate, with slots of left-over transactions resolved on the way. */
static inline int write_locate(struct tmgr_table *t, struct stripe *s, const struct probe *probe, struct place *place) {
    for (;;) {
        int status = index_locate(t, s, probe, place);
        if (status != TMGR_OK || !(place->content & SLOT_PENDING) || load_relaxed(&s->tx) != 0)
            return status;
        status = txn_resolve_slot(t, s, place->slot);
        if (status != TMGR_OK)
            return status;
    }
}

/* A row's bytes, good until the next call that uses call->scratch. NULL: no memory. */
static inline const uint8_t *write_stored_row(struct tmgr_table *t, struct call *call, uint64_t offset, size_t *len) {
    return row_view(t, offset, call->scratch, len);
}

/* The row that the update makes of the stored one; in call->built. Nothing is written yet. */
int write_build_update(struct tmgr_table *t, struct call *call, const struct tmgr_op *op, const uint8_t *row,
                       size_t len);
/* The same of the op's default row, with the op's key. */
int write_build_default(struct tmgr_table *t, struct call *call, const struct tmgr_op *op);

/* -- again, or not -------------------------------------------------------------------------------------------------------- */

/* What the call writes, about. */
uint64_t write_bytes_of(const struct call *call);
/* Inside the gate, after a write that found no memory and has released its locks: AGAIN, a bounded number of times for a call,
 * if it has a chance now, else FULL. */
int write_reclaim_for(struct tmgr_table *t, struct call *call, uint64_t bytes, uint64_t rows);
/* The end of a wait, in monotonic ns; 0: no waiting. */
static inline uint64_t write_end_of(int64_t wait_ns) { return wait_ns > 0 ? os_monotonic_ns() + (uint64_t)wait_ns : 0; }
/* Whether a write that came to `status` is tried once more. A wait may have been cut short by the arena's lock. */
static inline bool write_once_more(uint64_t until, int status, struct call *call) {
    if (status != TMGR_BUSY)
        return status == AGAIN;
    uint64_t now = until != 0 ? os_monotonic_ns() : 0;
    call->wait_ns = (int64_t)(until - now);
    return now < until;
}

/* -- a whole write ---------------------------------------------------------------------------------------------------------- */

enum { NOT_ON_TOP = -2 }; /* internal status: it takes a transaction */

/* The rows that are call->row go, and call->removed says how many; as a verb of its own, from the gate on. NOT_ON_TOP: of a bag,
 * and newer rows of the key stay: nothing was done. */
int write_delete_object(struct tmgr_table *t, struct call *call);

#endif
