/* SPDX-License-Identifier: Apache-2.0 */
/* range.h - rows of an ordered_set between two keys. Inside the gate; no lock. */
#ifndef TMGR_RANGE_H
#define TMGR_RANGE_H

#include "oset.h"

/* Rows of the range behind the cursor, which is moved to the last of them, appended to out. OK also without any: done. */
int range_rows(struct tmgr_table *t, const struct tmgr_range *range, struct tmgr_cursor *cursor, size_t max_rows,
               size_t want_bytes, struct tmgr_buffer *out, size_t *n_rows);
/* The row behind (direction -1: before) a key, or with key NULL the first or last; in `rows`, where *found says. END. */
int range_step(struct tmgr_table *t, int direction, const uint8_t *key, size_t key_len, struct tmgr_buffer *rows,
               struct term_span *found);

#endif
