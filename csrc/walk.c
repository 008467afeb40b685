/* SPDX-License-Identifier: Apache-2.0 */
#include "walk.h"
#include "hash.h"

int walk_rows(struct tmgr_table *t, struct tmgr_cursor *cursor, size_t want_bytes, struct tmgr_buffer *out,
              size_t *n_rows) {
    int status = TMGR_OK;
    while (!cursor->done && cursor->stripe < t->n_stripes && (out->len < want_bytes || *n_rows == 0)) {
        size_t n;
        uint64_t before, after;
        status = hset_bucket_rows(t, &t->stripes[cursor->stripe], cursor->position, cursor->position, out, &n, &before,
                                  &after);
        if (status != TMGR_OK)
            break;
        *n_rows += n;
        hset_prefetch_position(t, &t->stripes[cursor->stripe], after);
        cursor->position = after;
        if (after >= POSITION_END) {
            cursor->position = 0;
            cursor->done = ++cursor->stripe >= t->n_stripes;
        }
    }
    return *n_rows > 0 ? TMGR_OK
                       : status; /* what was read before a failure is good; the next call meets the failure again */
}

struct standing standing_of(struct tmgr_table *t, const uint8_t *key, size_t key_len) {
    uint64_t hash = hash_bytes(key, key_len, t->hash_seed);
    return (struct standing){(uint64_t)(stripe_of_hash(t, hash) - t->stripes), position_of_hash(hash), key, key_len};
}

int standing_compare(const struct standing *a, const struct standing *b) {
    if (a->stripe != b->stripe)
        return a->stripe < b->stripe ? -1 : 1;
    if (a->position != b->position)
        return a->position < b->position ? -1 : 1;
    int order = memcmp(a->key, b->key, a->key_len < b->key_len ? a->key_len : b->key_len);
    return order != 0 ? order : (a->key_len > b->key_len) - (a->key_len < b->key_len);
}

/* The row nearest to `from` (NULL: to the bucket's end that we come from) on its far side, in a bag all rows with its key, which
 * follow each other; *found empty if none. */
static int nearest(struct tmgr_table *t, int direction, const struct standing *from, const struct tmgr_buffer *rows,
                   size_t n_rows, struct term_span *found) {
    struct standing best = {0, 0, NULL, 0};
    size_t offset = 0;
    for (size_t i = 0; i < n_rows; i++) {
        const uint8_t *row = rows->data + offset;
        size_t len = term_skip(row, rows->data + rows->len);
        struct term_span key;
        if (len == 0 || !term_key_of(row, len, t->keypos, &key))
            return TMGR_CORRUPT;
        struct standing here = standing_of(t, row + key.offset, key.len);
        int order = best.key == NULL ? -1 : standing_compare(&here, &best) * direction;
        if (order == 0) {
            found->len += len;
        } else if (order < 0 && (from == NULL || standing_compare(&here, from) * direction > 0)) {
            best = here;
            *found = (struct term_span){offset, len};
        }
        offset += len;
    }
    return TMGR_OK;
}

static int step_from(struct tmgr_table *t, int direction, const struct standing *from, struct tmgr_buffer *rows,
                     struct term_span *found) {
    uint64_t stripe = from != NULL ? from->stripe : direction > 0 ? 0 : t->n_stripes - 1;
    uint64_t position = from != NULL ? from->position : direction > 0 ? 0 : POSITION_END - 1;
    for (;;) {
        size_t n;
        uint64_t before, after;
        rows->len = 0;
        int status = hset_bucket_rows(t, &t->stripes[stripe], position, 0, rows, &n, &before, &after);
        if (status == TMGR_OK)
            status = nearest(t, direction, from, rows, n, found);
        if (status != TMGR_OK || found->len != 0)
            return status;
        if (direction > 0 ? after < POSITION_END : before > 0) {
            position = direction > 0 ? after : before - 1;
        } else {
            if (direction > 0 ? stripe + 1 >= t->n_stripes : stripe == 0)
                return TMGR_END;
            stripe = direction > 0 ? stripe + 1 : stripe - 1;
            position = direction > 0 ? 0 : POSITION_END - 1;
        }
    }
}

int walk_step(struct tmgr_table *t, int direction, const uint8_t *key, size_t key_len, struct tmgr_buffer *rows,
              struct term_span *found) {
    struct standing from = {0, 0, NULL, 0};
    if (key != NULL)
        from = standing_of(t, key, key_len);
    return step_from(t, direction < 0 ? -1 : 1, key != NULL ? &from : NULL, rows, found);
}
