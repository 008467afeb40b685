/* SPDX-License-Identifier: Apache-2.0 */
/* table.h - what the public verbs share: keys as they are looked for, spare memory, the exact count. */
#ifndef TMGR_TABLE_H
#define TMGR_TABLE_H

#include "hash.h"
#include "index.h"

/* A key as the index looks for it. Its bytes stay the caller's, who has looked at them. */
static inline struct probe probe_of(struct tmgr_table *t, const uint8_t *key, size_t len) {
    return (struct probe){key, len, t->ordered ? 0 : hash_bytes(key, len, t->hash_seed)};
}

/* The next key of a sequence, which is moved behind it. OK, BAD_ROW, TOO_LONG; nothing is read beyond `end`. */
static inline int probe_next(struct tmgr_table *t, const uint8_t **keys, const uint8_t *end, struct probe *probe) {
    size_t len = term_skip_flat(*keys, end);
    if (len == 0 || len > TMGR_KEY_MAX)
        return len == 0 ? TMGR_BAD_ROW : TMGR_TOO_LONG;
    *probe = probe_of(t, *keys, len);
    *keys += len;
    return TMGR_OK;
}

/* An empty buffer, the process's spare one if nobody has it; to be given back. NULL: no memory. */
struct tmgr_buffer *scratch_take(void);
void scratch_put(struct tmgr_buffer *buffer);

/* Rows of all stripes, never between the two sides of a multi-row write. Inside the gate. OK, BUSY. */
int table_count(struct tmgr_table *t, uint64_t *rows);

#endif
