/* SPDX-License-Identifier: Apache-2.0 */
/* sweep.h - all rows of a set that may be what a query asks for, in the order of the table (walk.h): the same walk, but rows
 * that a filter rejects are not copied, and what the next buckets need is on its way from memory while this one is looked at.
 * In a large stripe of which little may pass, a survey tells beforehand which buckets are worth it (survey.h).
 *
 * The reuse epoch covers it as it covers copying: each bucket is looked at between two loads of the epoch (the first of them may be some buckets back). What is loaded is
 * the slots, the first word of each row, and up to LOOKED_AT bytes behind it, word by word into private memory; their number and
 * place are held against the published size before, so that even words of a rewritten block lead nowhere. The filter runs on
 * the copy. A row it has rejected, like one that was copied whole, counts only when the second load has shown that the epoch
 * moved by at most one; and that neither generation nor number of buckets changed. Else the bucket is looked at anew,
 * and if that is overtaken, too, read by hset_bucket_rows. */
#ifndef TMGR_SWEEP_H
#define TMGR_SWEEP_H

#include "survey.h"
#include "walk.h"

/* Rows of whole buckets from the cursor on that the filter lets pass, appended to out until it holds want_bytes, or `most` bytes of rows
 * have been looked at; *looked_at is raised by these. As walk_rows, but OK says nothing of *n_rows. */
int sweep_rows(struct tmgr_table *t, struct tmgr_cursor *cursor, const struct filter *filter, size_t want_bytes,
               size_t most, struct tmgr_buffer *out, size_t *n_rows, size_t *looked_at);

#endif
