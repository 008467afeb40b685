/* SPDX-License-Identifier: Apache-2.0 */
/* walk.h - the order of the hash tables, and going through them in it: stripe, reversed hash, key bytes. Inside the gate; no
 * lock. A position stays good whatever is written (hset.h). */
#ifndef TMGR_WALK_H
#define TMGR_WALK_H

#include "hset.h"

#define POSITION_END (UINT64_C(1) << 32)

/* Where a key stands in the order. */
struct standing {
    uint64_t stripe, position;
    const uint8_t *key;
    size_t key_len;
};
struct standing standing_of(struct tmgr_table *t, const uint8_t *key, size_t key_len);
int standing_compare(const struct standing *a, const struct standing *b);

/* Rows of whole buckets from the cursor on, appended to out until it holds want_bytes. OK also without any: done. */
int walk_rows(struct tmgr_table *t, struct tmgr_cursor *cursor, size_t want_bytes, struct tmgr_buffer *out,
              size_t *n_rows);
/* The row, or the rows, behind (direction -1: before) a key, or with key NULL the first or last; in `rows`, where *found says. END. */
int walk_step(struct tmgr_table *t, int direction, const uint8_t *key, size_t key_len, struct tmgr_buffer *rows,
              struct term_span *found);

#endif
