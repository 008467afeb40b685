/* SPDX-License-Identifier: Apache-2.0 */
#include "match.h"
#include "range.h"
#include "segment.h"
#include "sweep.h"

#include <stdlib.h>

struct tmgr_program {
    struct match match;
    struct filter filter;
    uint8_t bytes[];
};

int tmgr_program_open(const uint8_t *bytes, size_t len, struct tmgr_program **program) {
    struct tmgr_program *opened = malloc(sizeof *opened + len);
    if (opened == NULL)
        return TMGR_NO_MEMORY;
    memcpy(opened->bytes, bytes, len);
    int status = (int)match_open(&opened->match, opened->bytes, len);
    if (status != TMGR_OK) {
        free(opened);
        return status;
    }
    filter_make(&opened->filter, &opened->match);
    *program = opened;
    return TMGR_OK;
}

void tmgr_program_free(struct tmgr_program *program) {
    if (program == NULL)
        return;
    match_close(&program->match);
    free(program);
}

int tmgr_program_ask(struct tmgr_program *program, const uint8_t *row, size_t row_len, struct tmgr_answer *answer) {
    struct match_result result;
    int status = (int)match_run(&program->match, row, row_len, &result);
    if (status == TMGR_OK)
        *answer = (struct tmgr_answer){result.at, result.len, result.is_row};
    return status;
}

/* A query under way. */
struct run {
    struct tmgr_table *t;
    const struct tmgr_query *query;
    enum tmgr_query_mode mode;
    struct tmgr_cursor *cursor;
    struct match *match;
    struct tmgr_buffer rows; /* of the batch being looked at */
    size_t n_rows;
    bool exact; /* the cursor follows row by row: there is a limit, or rows are written */
    size_t max_results;
    size_t examined, most; /* bytes of rows: so far, and after which it is enough for one call */
    struct tmgr_buffer *out;
    size_t n;
    int64_t wait_ns;
};

enum { BATCH_BYTES = 64 * 1024 };

/* -- the next rows --------------------------------------------------------------------------------------------------------- */

/* What follows the batch, where the cursor does not follow row by row. */
struct behind {
    uint32_t stripe, done;
    uint64_t position;
};

static int fetch_of_key(struct run *run, struct behind *behind) {
    const uint8_t *key = run->query->keys, *end = key + run->query->keys_len;
    size_t len = 0;
    for (uint64_t i = 0; i <= run->cursor->position; i++) {
        key += len;
        len = key < end ? term_skip(key, end) : 0;
        if (len == 0) {
            behind->done = 1;
            return TMGR_OK;
        }
    }
    behind->position++;
    int status = tmgr_lookup(run->t, key, len, &run->rows);
    for (size_t at_row = 0; status == TMGR_OK && at_row < run->rows.len; run->n_rows++) {
        len = term_skip(run->rows.data + at_row, run->rows.data + run->rows.len);
        if (len == 0)
            return TMGR_CORRUPT;
        at_row += len;
    }
    return status == TMGR_ABSENT ? TMGR_OK : status;
}

static int fetch_of_tree(struct run *run) {
    struct tmgr_range range = {.prefix = run->query->prefix,
                               .prefix_len = run->query->prefix_len,
                               .flags = run->query->flags & TMGR_RANGE_REVERSE};
    struct tmgr_cursor ahead = {0};
    if (!run->exact)
        return range_rows(run->t, &range, run->cursor, SIZE_MAX, BATCH_BYTES, &run->rows, &run->n_rows);
    if (!buffer_append(&ahead.last, run->cursor->last.data, run->cursor->last.len))
        return TMGR_NO_MEMORY;
    size_t most = run->max_results - run->n < 64 ? run->max_results - run->n + 64 : SIZE_MAX;
    int status = range_rows(run->t, &range, &ahead, most, BATCH_BYTES / 4, &run->rows, &run->n_rows);
    if (status == TMGR_OK && run->n_rows == 0)
        run->cursor->done = 1;
    tmgr_buffer_free(&ahead.last);
    return status;
}

static int fetch_of_buckets(struct run *run, struct behind *behind) {
    const struct filter *filter = &run->query->program->filter;
    if (!run->exact && filter->n_tests > 0 && !run->t->bag)
        return sweep_rows(run->t, run->cursor, filter, BATCH_BYTES, run->most, &run->rows, &run->n_rows,
                          &run->examined);
    if (!run->exact)
        return walk_rows(run->t, run->cursor, BATCH_BYTES, &run->rows, &run->n_rows);
    struct tmgr_cursor ahead = {.stripe = run->cursor->stripe, .position = run->cursor->position};
    int status = walk_rows(run->t, &ahead, 1, &run->rows, &run->n_rows);
    *behind = (struct behind){ahead.stripe, ahead.done, ahead.position};
    return status;
}

static int fetch(struct run *run, struct behind *behind) {
    struct tmgr_cursor *cursor = run->cursor;
    *behind = (struct behind){cursor->stripe, cursor->done, cursor->position};
    run->rows.len = 0;
    run->n_rows = 0;
    if (run->query->flags & TMGR_QUERY_BY_KEY)
        return fetch_of_key(run, behind);
    int status = segment_enter(run->t, false);
    if (status != TMGR_OK)
        return status;
    status = run->t->ordered ? fetch_of_tree(run) : fetch_of_buckets(run, behind);
    if (status == TMGR_OK && !run->exact)
        *behind = (struct behind){cursor->stripe, cursor->done, cursor->position};
    segment_leave(run->t);
    return status;
}

/* -- one row ------------------------------------------------------------------------------------------------------------------ */

/* The row of this key as it is by now, matched: OK, or ABSENT if it is gone or does not match any more. */
static int match_again(struct run *run, const uint8_t *key, size_t len, struct tmgr_buffer *row,
                       struct match_result *result) {
    int status = tmgr_lookup(run->t, key, len, row);
    return status == TMGR_OK ? (int)match_run(run->match, row->data, row->len, result) : status;
}

static int write_once(struct run *run, const uint8_t *row, size_t len, const struct match_result *result) {
    if (run->mode == TMGR_QUERY_DELETE)
        return match_is_true(result) ? tmgr_delete_object(run->t, row, len, NULL, run->wait_ns) : TMGR_PRESENT;
    const uint8_t *new_row;
    size_t new_len;
    if (!match_as_row(result, &new_row, &new_len))
        return TMGR_PRESENT;
    if (new_len == len && memcmp(new_row, row, len) == 0)
        return TMGR_OK;
    return tmgr_compare_and_swap(run->t, row, len, new_row, new_len, run->wait_ns);
}

/* What the query makes of a list of rows, appended to `made`; how many rows it deletes or replaces. */
static int remake_list(struct run *run, const uint8_t *rows, size_t len, struct tmgr_buffer *made, size_t *n) {
    int status = TMGR_OK;
    *n = made->len = 0;
    for (size_t at_row = 0, row_len; status == TMGR_OK && at_row < len; at_row += row_len) {
        struct match_result result;
        const uint8_t *row = rows + at_row, *keep = row;
        size_t keep_len = row_len = term_skip(row, rows + len);
        if (row_len == 0)
            return TMGR_CORRUPT;
        status = (int)match_run(run->match, row, row_len, &result);
        if (status == TMGR_OK && run->mode == TMGR_QUERY_DELETE && match_is_true(&result)) {
            ++*n;
            keep_len = 0;
        } else if (status == TMGR_OK && run->mode == TMGR_QUERY_REPLACE) {
            *n += match_as_row(&result, &keep, &keep_len);
        }
        if (status == TMGR_OK || status == TMGR_ABSENT)
            status = buffer_append(made, keep, keep_len) ? TMGR_OK : TMGR_NO_MEMORY;
    }
    return status;
}

/* Delete or replace rows of one key of a bag, all in one step, if they are still the ones that they were; if another writer has
 * changed them, ask again what is to become of them. Row by row it would take a walk, and copies, for each. */
static int write_list(struct run *run, const uint8_t *rows, size_t len) {
    struct tmgr_buffer now = {NULL, 0, 0}, made = {NULL, 0, 0};
    struct term_span key;
    size_t n = 0, first = term_skip(rows, rows + len);
    if (first == 0 || !term_key_of(rows, first, run->t->keypos, &key))
        return TMGR_CORRUPT;
    const uint8_t *key_bytes = rows + key.offset; /* of the batch, so it stays where it is */
    int status = remake_list(run, rows, len, &made, &n);
    while (status == TMGR_OK && n > 0) {
        status = tmgr_replace_rows(run->t, key_bytes, key.len, rows, len, made.data, made.len, run->wait_ns);
        if (status != TMGR_ABSENT)
            break;
        status = tmgr_lookup(run->t, key_bytes, key.len, &now);
        rows = now.data;
        len = now.len;
        n = 0;
        if (status == TMGR_OK)
            status = remake_list(run, rows, len, &made, &n);
    }
    tmgr_buffer_free(&now);
    tmgr_buffer_free(&made);
    run->n += status == TMGR_OK ? n : 0;
    return status == TMGR_ABSENT ? TMGR_OK : status;
}

/* Delete or replace the row if it is still as it was; if another writer has changed it, ask again whether it matches. */
static int write_row(struct run *run, const uint8_t *row, size_t len, struct match_result result) {
    struct tmgr_buffer now = {NULL, 0, 0};
    struct term_span key;
    if (!term_key_of(row, len, run->t->keypos, &key))
        return TMGR_CORRUPT;
    const uint8_t *key_bytes = row + key.offset;
    int status = write_once(run, row, len, &result);
    while (status == TMGR_ABSENT) {
        status = match_again(run, key_bytes, key.len, &now, &result);
        if (status != TMGR_OK)
            break;
        status = write_once(run, now.data, now.len, &result);
    }
    tmgr_buffer_free(&now);
    run->n += status == TMGR_OK;
    return status == TMGR_ABSENT || status == TMGR_PRESENT ? TMGR_OK : status;
}

/* PRESENT: it is a result, but there are enough. */
static int look_at_row(struct run *run, const uint8_t *row, size_t len) {
    struct match_result result;
    int status = (int)match_run(run->match, row, len, &result);
    if (status != TMGR_OK)
        return status == TMGR_ABSENT ? TMGR_OK : status;
    if (run->mode >= TMGR_QUERY_DELETE)
        return write_row(run, row, len, result);
    if (run->mode == TMGR_QUERY_COUNT) {
        run->n += match_is_true(&result);
        return TMGR_OK;
    }
    if (run->n == run->max_results)
        return TMGR_PRESENT;
    run->n++;
    bool appended =
        run->match->is_rows ? buffer_append(run->out, result.at, result.len) : match_append(&result, run->out);
    return appended ? TMGR_OK : TMGR_NO_MEMORY;
}

/* -- a batch -------------------------------------------------------------------------------------------------------------------- */

/* A row of a bucket, and where it stands. */
struct stood {
    struct standing standing;
    const uint8_t *row;
    size_t len;
};

/* The cursor stands behind this key. */
static bool pass(struct run *run, const uint8_t *key, size_t len) {
    run->cursor->last.len = 0;
    return buffer_append(&run->cursor->last, key, len);
}

/* Rows from the first on that has not been looked at, *n of them bytes until then. PRESENT: there are enough. */
static int look_at_each(struct run *run, const uint8_t *rows, size_t len, size_t *n) {
    int status = TMGR_OK;
    for (*n = 0; *n < len;) {
        size_t row_len = term_skip(rows + *n, rows + len);
        if (row_len == 0)
            return TMGR_CORRUPT;
        status = look_at_row(run, rows + *n, row_len);
        if (status != TMGR_OK)
            break;
        *n += row_len;
    }
    return status;
}

/* All rows of a key. PRESENT: there are enough; if some have been passed all are, and the others are the cursor's rest, because no
 * place among them outlasts that rows are deleted. ets:select/3 keeps the rest of a bucket likewise. */
static int look_at_key(struct run *run, const uint8_t *rows, size_t len, bool *passed) {
    size_t n = 0;
    bool by_list = run->t->bag && run->mode >= TMGR_QUERY_DELETE;
    int status = by_list ? write_list(run, rows, len) : look_at_each(run, rows, len, &n);
    *passed = status == TMGR_OK || (status == TMGR_PRESENT && n > 0);
    if (*passed && status == TMGR_PRESENT && !buffer_append(&run->cursor->rest, rows + n, len - n))
        status = TMGR_NO_MEMORY;
    return status;
}

static int look_at_rest(struct run *run) {
    struct tmgr_buffer *rest = &run->cursor->rest;
    size_t n = 0;
    int status = look_at_each(run, rest->data, rest->len, &n);
    if (n > 0)
        memmove(rest->data, rest->data + n, rest->len -= n);
    return status;
}

static int sorted_rows(struct run *run, struct stood *list) {
    const uint8_t *row = run->rows.data, *end = row + run->rows.len;
    for (size_t i = 0; i < run->n_rows; i++) {
        struct term_span key;
        size_t len = term_skip(row, end), place = i;
        if (len == 0 || !term_key_of(row, len, run->t->keypos, &key))
            return TMGR_CORRUPT;
        struct stood one = {standing_of(run->t, row + key.offset, key.len), row, len};
        for (; place > 0 && standing_compare(&list[place - 1].standing, &one.standing) > 0; place--)
            list[place] = list[place - 1];
        list[place] = one;
        row += len;
    }
    return TMGR_OK;
}

/* A bucket's rows, in the order of keys where their hashes agree, from the cursor on. */
static int look_at_bucket(struct run *run, const struct behind *behind) {
    struct stood *list = malloc((run->n_rows + 1) * sizeof *list);
    struct tmgr_buffer from = {NULL, 0, 0};
    struct standing last = {0, 0, NULL, 0};
    int status = list != NULL ? sorted_rows(run, list) : TMGR_NO_MEMORY;
    if (status == TMGR_OK && run->cursor->last.len > 0) {
        if (!buffer_append(&from, run->cursor->last.data, run->cursor->last.len))
            status = TMGR_NO_MEMORY;
        last = standing_of(run->t, from.data, from.len);
    }
    for (size_t i = 0, next; i < run->n_rows && status == TMGR_OK; i = next) {
        const struct stood *one = &list[i];
        size_t len = one->len;
        bool passed;
        for (next = i + 1; next < run->n_rows && standing_compare(&list[next].standing, &one->standing) == 0; next++)
            len += list[next].len; /* they lie one behind the other */
        if (last.key != NULL && standing_compare(&one->standing, &last) <= 0)
            continue;
        status = look_at_key(run, one->row, len, &passed);
        if (passed && !pass(run, one->standing.key, one->standing.key_len))
            status = TMGR_NO_MEMORY;
    }
    if (status == TMGR_OK) {
        run->cursor->stripe = behind->stripe;
        run->cursor->position = behind->position;
        run->cursor->done = behind->done;
        /* What was passed may lie beyond this bucket, if it was a larger one then. */
        if (run->cursor->last.len > 0) {
            last = standing_of(run->t, run->cursor->last.data, run->cursor->last.len);
            if (last.stripe < behind->stripe || last.position < behind->position || behind->done)
                run->cursor->last.len = 0;
        }
    }
    tmgr_buffer_free(&from);
    free(list);
    return status;
}

static int look_at_rows_of_key(struct run *run, const struct behind *behind) {
    bool passed = true;
    int status = run->n_rows > 0 ? look_at_key(run, run->rows.data, run->rows.len, &passed) : TMGR_OK;
    if (passed) {
        run->cursor->position = behind->position;
        run->cursor->done = behind->done;
    }
    return status;
}

/* Rows in the order of keys. */
static int look_at_rows_in_order(struct run *run) {
    const uint8_t *row = run->rows.data, *end = row + run->rows.len;
    int status = TMGR_OK;
    for (size_t i = 0, len; i < run->n_rows && status == TMGR_OK; i++, row += len) {
        struct term_span key;
        len = term_skip(row, end);
        if (len == 0)
            return TMGR_CORRUPT;
        status = look_at_row(run, row, len);
        if (status == TMGR_OK && run->exact &&
            (!term_key_of(row, len, run->t->keypos, &key) || !pass(run, row + key.offset, key.len)))
            status = TMGR_NO_MEMORY;
    }
    return status;
}

static int run_query(struct run *run, size_t want_bytes) {
    int status = look_at_rest(run);
    while (status == TMGR_OK && !run->cursor->done && run->out->len < want_bytes && run->examined < want_bytes) {
        struct behind behind;
        status = fetch(run, &behind);
        if (status != TMGR_OK)
            break;
        if (run->query->flags & TMGR_QUERY_BY_KEY)
            status = look_at_rows_of_key(run, &behind);
        else if (run->exact && !run->t->ordered)
            status = look_at_bucket(run, &behind);
        else
            status = look_at_rows_in_order(run);
        run->examined += run->rows.len;
    }
    return status;
}

int tmgr_query(struct tmgr_table *t, const struct tmgr_query *query, enum tmgr_query_mode mode,
               struct tmgr_cursor *cursor, size_t max_results, size_t want_bytes, struct tmgr_buffer *out, size_t *n,
               int64_t wait_ns) {
    struct run run = {.t = t,
                      .query = query,
                      .match = &query->program->match,
                      .mode = mode,
                      .cursor = cursor,
                      .exact = max_results != SIZE_MAX || mode >= TMGR_QUERY_DELETE,
                      .max_results = max_results,
                      .out = out,
                      .most = want_bytes,
                      .wait_ns = wait_ns};
    out->len = 0;
    *n = 0;
    /* A cursor may have been kept, and come back from anywhere. */
    if (!(query->flags & TMGR_QUERY_BY_KEY) && (cursor->stripe >= t->n_stripes || cursor->position >= POSITION_END))
        cursor->done = 1;
    int status = tmgr_admit(t, mode >= TMGR_QUERY_DELETE);
    if (status == TMGR_OK && mode == TMGR_QUERY_REPLACE && t->type == TMGR_BAG)
        status = TMGR_OPERATION; /* two rows could become the same */
    if (status != TMGR_OK)
        return status;
    status = run_query(&run, want_bytes);
    *n = run.n;
    tmgr_buffer_free(&run.rows);
    if (status == TMGR_OK && cursor->done)
        return TMGR_END;
    return status == TMGR_BUSY && run.n > 0 ? TMGR_OK : status; /* what is done is done; the next call goes on */
}
