/* SPDX-License-Identifier: Apache-2.0 */
/* sequence.h - the rows of a model in the order of an ordered_set, and ranges of a table to compare with it. */
#ifndef SEQUENCE_H
#define SEQUENCE_H

#include "model.h"

/* The order of the keys of two ids, as memcmp: ints come before strings, and either kind goes by its number. */
int key_order(uint64_t a, uint64_t b);

/* A model's rows by their keys. It points into the model, which must not change meanwhile. */
struct sequence {
    const struct entry **at;
    size_t n;
};
void sequence_make(struct sequence *sequence, const struct model *model);
void sequence_free(struct sequence *sequence);

/* A range between the keys of two ids, and how it is read: so many rows a call. */
struct span {
    bool has_lo, has_hi;
    uint64_t lo, hi;
    uint32_t flags; /* a sum of enum tmgr_range_flag */
    size_t max_rows, want_bytes;
};
bool span_holds(const struct span *span, uint64_t id);
/* All rows of the range, by as many calls as it takes, appended to rows. The status of the last call, or OK in place of
 * END; CORRUPT if a call counts other rows than it gives, or gives none without an END. */
int span_read(struct tmgr_table *table, const struct span *span, struct tmgr_buffer *rows);
/* Are the rows those of the sequence within the span, each once and in order? `more` (NULL: none): a row of this id,
 * stamp and payload may be among them. */
bool span_equals(const struct span *span, const struct tmgr_buffer *rows, const struct sequence *sequence,
                 const struct item *more);
/* Reads the whole table and parts of it, in both directions, in calls of all sizes: it is the model. */
bool ranges_equal_model(struct tmgr_table *table, const struct model *model, char problem[PROBLEM_MAX]);

#endif
