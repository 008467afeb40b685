/* SPDX-License-Identifier: Apache-2.0 */
/* row.h - rows in blocks: written once before publication, copied out by racing readers, compared under the lock. */
#ifndef TMGR_ROW_H
#define TMGR_ROW_H

#include "stripe.h"
#include "term.h"

/* A key as the caller gave it, with what is derived from it once. */
struct probe {
    const uint8_t *key;
    size_t len;
    uint64_t hash;
};

/* Begin a micro-operation with a block that holds the row whose key is probe; *bytes: what it takes. */
int row_begin(struct tmgr_table *t, struct stripe *s, const uint8_t *row, uint64_t len, const struct probe *probe,
              uint64_t *offset, uint64_t *bytes);
/* The block's name for the ring, and the bytes it takes. */
uint64_t row_block(struct tmgr_table *t, uint64_t offset, uint64_t *bytes);

/* Under the stripe's lock: has the row at `offset` this key? */
bool row_has_key(struct tmgr_table *t, uint64_t offset, const struct probe *probe);
/* Under the stripe's lock: the row in one piece, in place or gathered in scratch. NULL: no memory, or damaged. */
const uint8_t *row_view(struct tmgr_table *t, uint64_t offset, struct tmgr_buffer *scratch, size_t *len);

/* Low half of the key's hash. */
static inline uint32_t row_hash(struct tmgr_table *t, uint64_t offset) {
    return (uint32_t)(load_relaxed((word *)at(t, offset)) >> 32);
}

/* Without a lock: append the row to `out` (8 bytes more are reserved). What was copied counts only if the epoch is found
 * to have moved by at most one afterwards; s and epoch serve to look before a large allocation. OK, BUSY (cannot be
 * right: start again), NO_MEMORY. */
int row_copy(struct tmgr_table *t, const struct stripe *s, uint64_t epoch, uint64_t offset, struct tmgr_buffer *out);
#endif
