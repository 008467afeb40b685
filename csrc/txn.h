/* SPDX-License-Identifier: Apache-2.0 */
/* txn.h - several rows written at once: all become visible by one store, in any number of stripes.
 *
 * The caller holds the locks of all stripes concerned, in ascending order, and all of them are in order.
 *   1. txn_begin   descriptor.status := (number, PENDING). Per stripe: rows[1] := rows[0], tx := name, and only then its
 *                  participants bit: a stripe that is named by a bit knows why.
 *   2. txn_put, txn_remove   per row: a record {tx, slot, old, new = 0} is written to the stripe's log and counted; the new
 *                  row's block goes into record.new by a micro-operation; slot := pending | record.
 *                  Readers of a pending slot take record.old while the status is PENDING.
 *   3. txn_end     COMMIT POINT: status := (number, COMMITTED), or ABORTED. Readers take record.new from here on.
 *                  Per stripe: rows[0] := rows[1]; the log becomes a leftover; tx := 0.
 *   4. txn_resolve per record: slot := new, old row retired (aborted: slot := old, new row retired); then the log's blocks
 *                  are retired, and with the last one the stripe's participants bit is cleared.
 * In a bag a record's slots name lists (bag.h), and the row or the cut is not made before the slot is pending: record.new starts
 * as record.old. So a slot that is not pending owes its record nothing, and what 4 unlinks is what one list has and the other
 * has not: of the old one when committed, of the new one when aborted (then record.new := old goes before slot := old).
 * A death before 3 aborts: the first repair that meets the name makes the status ABORTED (nobody else can commit: only the
 * dead wrote it). A death after it changes nothing: repair does the rest of 3 for its stripe, which is a few stores, and
 * leaves 4 to the writers that come by, a bounded number of records each. A descriptor is used again when it has no
 * participant, so the status answers for every pending slot there is.
 * A writer that meets a pending slot of a leftover resolves that record first; a slot that no longer points at its
 * record has been resolved. */
#ifndef TMGR_TXN_H
#define TMGR_TXN_H

#include "index.h"

struct txn {
    uint64_t name;
    struct descriptor *descriptor;
    uint64_t stripes;                /* bit set */
    struct tx_log *log[STRIPES_MAX]; /* block to which the stripe's next record goes */
    uint32_t expected[STRIPES_MAX];  /* records per stripe, at most: sizes the first block */
};

/* ABSENT: every descriptor of these stripes still has participants; *busy: the stripes to be resolved first. */
int txn_begin(struct tmgr_table *t, struct txn *txn, uint64_t stripes, uint64_t *busy);
/* The row that the key has inside the transaction: OK and its block's offset, or ABSENT. place as from index_locate. */
int txn_current(struct tmgr_table *t, struct txn *txn, const struct place *place, uint64_t *row);
int txn_put(struct tmgr_table *t, struct txn *txn, struct stripe *s, struct place *place, const struct probe *probe,
            const uint8_t *row, size_t len);
int txn_remove(struct tmgr_table *t, struct txn *txn, struct stripe *s, struct place *place);
/* In a bag txn_put adds a row, txn_remove removes all, and this the newest `rows` of the key: `rest` is what follows them. */
int txn_cut(struct tmgr_table *t, struct txn *txn, struct stripe *s, struct place *place, uint64_t rest, uint64_t rows);
/* Steps 3 and 4. */
int txn_end(struct tmgr_table *t, struct txn *txn, bool commit);

/* Step 4, at most `units` records or blocks. Under the stripe's lock. */
int txn_resolve(struct tmgr_table *t, struct stripe *s, uint64_t *units);
/* The one pending slot of a leftover that stands in the way. */
int txn_resolve_slot(struct tmgr_table *t, struct stripe *s, const word *slot);
/* Give back the log that is kept for small transactions. Under the stripe's lock, with nothing left over. */
int txn_release_log(struct tmgr_table *t, struct stripe *s);
/* What a block of a log counts for. */
uint64_t txn_log_bytes(const struct tx_log *log);
/* After a death: decide, and the rest of step 3 for this stripe. */
int txn_repair(struct tmgr_table *t, struct stripe *s);

#endif
