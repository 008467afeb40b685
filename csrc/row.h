/* SPDX-License-Identifier: Apache-2.0 */
/* row.h - rows in blocks: written once before publication, copied out by racing readers, compared under the lock. */
#ifndef TMGR_ROW_H
#define TMGR_ROW_H

#include "hash.h"
#include "stripe.h"
#include "term.h"

/* A key as the caller gave it, with what is derived from it once. */
struct probe {
    const uint8_t *key;
    size_t len;
    uint64_t hash;
};

/* Begin a micro-operation with a block that holds the row whose key is probe; *bytes: what it takes. A row over
 * RUN_BYTES_MAX goes into runs of pages and the block lists them; so does one over 2 KiB for which a full table has no block. */
int row_begin(struct tmgr_table *t, struct stripe *s, const uint8_t *row, uint64_t len, const struct probe *probe,
              uint64_t *offset, uint64_t *bytes);
/* The block's name for the ring, and the bytes it takes. */
uint64_t row_block(struct tmgr_table *t, uint64_t offset, uint64_t *bytes);

/* Under the stripe's lock: has the row at `offset` this key? */
bool row_has_key(struct tmgr_table *t, uint64_t offset, const struct probe *probe);
/* Under the stripe's lock: the row's key, where it stands, whatever the row's size. NULL: damaged. */
const uint8_t *row_key(struct tmgr_table *t, uint64_t offset, size_t *len);
/* Under the stripe's lock: the row in one piece, in place or gathered in scratch. NULL: no memory, or damaged. */
const uint8_t *row_view(struct tmgr_table *t, uint64_t offset, struct tmgr_buffer *scratch, size_t *len);

/* Under the stripe's lock: is it this very row? OK, ABSENT, NO_MEMORY. */
int row_is(struct tmgr_table *t, uint64_t offset, const uint8_t *row, size_t len);

/* Low half of the key's hash. */
static inline uint32_t row_hash(struct tmgr_table *t, uint64_t offset) {
    return (uint32_t)(load_relaxed((word *)at(t, offset)) >> 32);
}

/* Without a lock: append the row to `out` (8 bytes more are reserved). What was copied counts only if the epoch is found
 * to have moved by at most one afterwards; s and epoch serve to look before a large allocation. OK, BUSY (cannot be
 * right: start again), NO_MEMORY. */
int row_copy(struct tmgr_table *t, const struct stripe *s, uint64_t epoch, uint64_t offset, struct tmgr_buffer *out);

enum { UNCHECKED_MAX = 256 }; /* bytes copied without first asking whether the length can be right */
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "row_key_is puts words together from the low end");

/* Without a lock: are the row's bytes from the second one on this key's? There are as many. By words that are loaded once; a
 * word of the key spans two of the row's. */
static inline bool row_key_is(const word *row, const struct probe *probe) {
    const uint8_t *key = probe->key;
    size_t left = probe->len;
    uint64_t have = load_relaxed(row) >> 8;
    for (; left >= 8; left -= 8, key += 8) {
        uint64_t next = load_relaxed(++row);
        if ((have | next << 56) != hash_read8(key))
            return false;
        have = next >> 8;
    }
    for (; left > 0; left--, have >>= 8)
        if ((uint8_t)have != *key++)
            return false;
    return true;
}

/* Of tables with one row per key. Without a lock: row_copy if the row has this key; ABSENT if it has another. out is as before unless OK. Below, the row of
 * any shape; this, inline, is the usual one: short, the key in front, fewer than 16 elements. It is compared where it
 * stands: until the epoch is looked at, that is worth as much as a comparison of the copy. */
int row_find_any(struct tmgr_table *t, const struct stripe *s, uint64_t epoch, uint64_t offset,
                 const struct probe *probe, struct tmgr_buffer *out);
__attribute__((always_inline)) static inline int row_find(struct tmgr_table *t, const struct stripe *s, uint64_t epoch,
                                                          uint64_t offset, const struct probe *probe,
                                                          struct tmgr_buffer *out) {
    uint64_t bytes = reachable_bytes(t);
    if (offset < t->arena || offset + UNIT_BYTES > bytes)
        return TMGR_BUSY;
    const word *row = (const word *)at(t, offset) + 1;
    uint64_t head = load_relaxed(row - 1), len = head & ROW_LEN_MASK;
    if ((uint32_t)(head >> 32) != (uint32_t)probe->hash)
        return TMGR_ABSENT;
    uint8_t first = (uint8_t)load_relaxed(row);
    if (head & ROW_EXTENTS || len > UNCHECKED_MAX || len <= probe->len || t->keypos != 0 || first <= 0x90 ||
        first >= 0xa0)
        return row_find_any(t, s, epoch, offset, probe, out);
    if (offset + 8 + len > bytes)
        return TMGR_BUSY;
    if (!row_key_is(row, probe))
        return TMGR_ABSENT;
    if (out->capacity - out->len < len + 8 && !buffer_reserve(out, len + 8))
        return TMGR_NO_MEMORY;
    copy_racy_words(out->data + out->len, (const uint8_t *)row, len);
    out->len += len;
    return TMGR_OK;
}
#endif
