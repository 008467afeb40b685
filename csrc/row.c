/* SPDX-License-Identifier: Apache-2.0 */
#include "row.h"

/* -- writing ------------------------------------------------------------------------------------------------------------- */

static int extents_begin(struct tmgr_table *t, struct stripe *s, const uint8_t *row, uint64_t len,
                         const struct probe *probe, uint64_t *offset, uint64_t *bytes) {
    uint64_t n = (len + RUN_BYTES_MAX - 1) / RUN_BYTES_MAX;
    uint64_t head_bytes = 8 + sizeof(struct extents) + 8 * n + probe->len;
    int status = stripe_begin(t, s, head_bytes, offset);
    if (status != TMGR_OK)
        return status;
    *bytes = arena_block_size(head_bytes);
    struct extents *parts = at(t, *offset + 8);
    store_relaxed((word *)at(t, *offset), len | ROW_EXTENTS | probe->hash << 32);
    store_relaxed(&parts->key_len, probe->len);
    fill_racy((uint8_t *)&parts->at[n], probe->key, probe->len);
    publish(&parts->n, 0);
    publish(&s->intent.new_block, *offset | BLOCK_EXTENTS); /* from here a repair frees the runs too */
    for (uint64_t i = 0; i < n; i++) {
        uint64_t piece = i + 1 < n ? RUN_BYTES_MAX : len - i * RUN_BYTES_MAX, run;
        publish(&parts->at[i], 0);
        publish(&parts->n, i + 1);
        status = arena_take(t, s, piece, &parts->at[i], &run);
        if (status != TMGR_OK) {
            stripe_abandon(t, s);
            return status;
        }
        fill_racy(at(t, run), row + i * RUN_BYTES_MAX, piece);
        *bytes += arena_block_size(piece);
    }
    return TMGR_OK;
}

int row_begin(struct tmgr_table *t, struct stripe *s, const uint8_t *row, uint64_t len, const struct probe *probe,
              uint64_t *offset, uint64_t *bytes) {
    if (8 + len > RUN_BYTES_MAX)
        return extents_begin(t, s, row, len, probe, offset, bytes);
    int status = stripe_begin(t, s, 8 + len, offset);
    if (status != TMGR_OK)
        return status;
    *bytes = arena_block_size(8 + len);
    store_relaxed((word *)at(t, *offset), len | probe->hash << 32);
    fill_racy(at(t, *offset + 8), row, len);
    return TMGR_OK;
}

uint64_t row_block(struct tmgr_table *t, uint64_t offset, uint64_t *bytes) {
    uint64_t head = load_relaxed((word *)at(t, offset)), len = head & ROW_LEN_MASK;
    if (!(head & ROW_EXTENTS)) {
        *bytes = arena_block_size(8 + len);
        return offset;
    }
    const struct extents *parts = extents_at(t, offset);
    uint64_t n = parts != NULL ? load_relaxed(&parts->n) : 0;
    *bytes = parts != NULL ? arena_block_size(8 + sizeof *parts + 8 * n + load_relaxed(&parts->key_len)) : 0;
    if (n > 0)
        *bytes += (n - 1) * RUN_BYTES_MAX + arena_block_size(len - (n - 1) * RUN_BYTES_MAX);
    return offset | BLOCK_EXTENTS;
}

/* -- under the lock ------------------------------------------------------------------------------------------------------- */

static bool row_fits(struct tmgr_table *t, uint64_t offset, uint64_t *head) {
    if (!offset_is_valid(t, offset, UNIT_BYTES))
        return false;
    *head = load_relaxed((word *)at(t, offset));
    return *head & ROW_EXTENTS ? extents_at(t, offset) != NULL : offset_is_valid(t, offset, 8 + (*head & ROW_LEN_MASK));
}

bool row_has_key(struct tmgr_table *t, uint64_t offset, const struct probe *probe) {
    uint64_t head;
    if (!row_fits(t, offset, &head) || (uint32_t)(head >> 32) != (uint32_t)probe->hash)
        return false;
    if (!(head & ROW_EXTENTS))
        return term_key_is(at(t, offset + 8), head & ROW_LEN_MASK, t->keypos, probe->key, probe->len);
    const struct extents *parts = at(t, offset + 8);
    uint64_t n = load_relaxed(&parts->n);
    return load_relaxed(&parts->key_len) == probe->len &&
           offset_is_valid(t, offset, 8 + sizeof *parts + 8 * n + probe->len) &&
           memcmp(&parts->at[n], probe->key, probe->len) == 0;
}

const uint8_t *row_view(struct tmgr_table *t, uint64_t offset, struct tmgr_buffer *scratch, size_t *len) {
    uint64_t head;
    if (!row_fits(t, offset, &head))
        return NULL;
    *len = head & ROW_LEN_MASK;
    if (!(head & ROW_EXTENTS))
        return at(t, offset + 8);
    scratch->len = 0;
    return row_copy(t, NULL, 0, offset, scratch) == TMGR_OK ? scratch->data : NULL;
}

/* -- racing --------------------------------------------------------------------------------------------------------------- */

static bool overtaken(const struct stripe *s, uint64_t epoch) {
    fence_acquire();
    return s != NULL && load_relaxed(&s->epoch) - epoch > 1;
}

static int copy_extents(struct tmgr_table *t, uint64_t offset, uint64_t len, uint8_t *to) {
    const struct extents *parts = extents_at(t, offset);
    uint64_t n = parts != NULL ? load_relaxed(&parts->n) : 0;
    if (parts == NULL || n != (len + RUN_BYTES_MAX - 1) / RUN_BYTES_MAX)
        return TMGR_BUSY;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t piece = i + 1 < n ? RUN_BYTES_MAX : len - i * RUN_BYTES_MAX, run = load_relaxed(&parts->at[i]);
        if (!offset_is_valid(t, run, piece))
            return TMGR_BUSY;
        copy_racy_words(to + i * RUN_BYTES_MAX, at(t, run), piece);
    }
    return TMGR_OK;
}

int row_copy(struct tmgr_table *t, const struct stripe *s, uint64_t epoch, uint64_t offset, struct tmgr_buffer *out) {
    if (!offset_is_valid(t, offset, UNIT_BYTES))
        return TMGR_BUSY;
    uint64_t head = load_relaxed((const word *)at(t, offset)), len = head & ROW_LEN_MASK; /* the length, loaded once */
    if (len > ROW_BYTES_MAX || (len > UNCHECKED_MAX && overtaken(s, epoch)))
        return TMGR_BUSY;
    if (!(head & ROW_EXTENTS) && !offset_is_valid(t, offset, 8 + len))
        return TMGR_BUSY;
    if (out->capacity - out->len < len + 8 && !buffer_reserve(out, len + 8))
        return TMGR_NO_MEMORY;
    if (head & ROW_EXTENTS) {
        int status = copy_extents(t, offset, len, out->data + out->len);
        if (status != TMGR_OK)
            return status;
    } else {
        copy_racy_words(out->data + out->len, at(t, offset + 8), len);
    }
    out->len += len;
    return TMGR_OK;
}

int row_find_any(struct tmgr_table *t, const struct stripe *s, uint64_t epoch, uint64_t offset,
                 const struct probe *probe, struct tmgr_buffer *out) {
    size_t before = out->len;
    int status = row_copy(t, s, epoch, offset, out);
    if (status != TMGR_OK || term_key_is(out->data + before, out->len - before, t->keypos, probe->key, probe->len))
        return status;
    out->len = before;
    return TMGR_ABSENT;
}
