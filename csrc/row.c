/* SPDX-License-Identifier: Apache-2.0 */
#include "row.h"

#include <stdlib.h>

#include "same.h"

/* -- writing ------------------------------------------------------------------------------------------------------------- */

enum { EXTENTS_FROM = 2048 }; /* bytes of a block below which a row is not taken apart */

/* The runs of a row into the list at parts. ABSENT: the list is too short for as short runs as there are. */
static int extents_fill(struct tmgr_table *t, struct stripe *s, struct extents *parts, const uint8_t *row, uint64_t len,
                        uint64_t *bytes) {
    uint64_t most = RUN_PAGES_MAX, run;
    for (uint64_t i = 0, done = 0; done < len; i++) {
        uint64_t pages = (len - done + PAGE_BYTES - 1) / PAGE_BYTES;
        if (i == load_relaxed(&parts->capacity))
            return TMGR_ABSENT;
        publish(&parts->at[i], 0);
        publish(&parts->n, i + 1);
        int status = arena_take_run(t, s, pages < most ? pages : most, &parts->at[i], &run);
        if (status != TMGR_OK)
            return status;
        if ((run & EXTENT_PAGES) < pages)
            most = run & EXTENT_PAGES; /* there is no longer one */
        uint64_t room = (run & EXTENT_PAGES) * PAGE_BYTES, piece = len - done < room ? len - done : room;
        fill_racy(at(t, run & ~EXTENT_PAGES), row + done, piece);
        done += piece;
        *bytes += room;
    }
    return TMGR_OK;
}

static int extents_try(struct tmgr_table *t, struct stripe *s, const uint8_t *row, uint64_t len,
                       const struct probe *probe, uint64_t capacity, uint64_t *offset, uint64_t *bytes) {
    uint64_t head_bytes = t->row_start + sizeof(struct extents) + 8 * capacity + probe->len;
    int status = head_bytes <= RUN_BYTES_MAX ? stripe_begin(t, s, head_bytes, offset) : TMGR_FULL;
    if (status != TMGR_OK)
        return status;
    struct extents *parts = at(t, *offset + t->row_start);
    store_relaxed((word *)at(t, *offset), len | ROW_EXTENTS | probe->hash << 32);
    store_relaxed(&parts->capacity, capacity);
    store_relaxed(&parts->key_len, probe->len);
    fill_racy((uint8_t *)&parts->at[capacity], probe->key, probe->len);
    publish(&parts->n, 0);
    publish(&s->intent.new_block, *offset | BLOCK_EXTENTS); /* from here a repair frees the runs too */
    *bytes = arena_block_size(head_bytes);
    status = extents_fill(t, s, parts, row, len, bytes);
    if (status == TMGR_OK)
        return TMGR_OK;
    int abandoned = stripe_abandon(t, s);
    return abandoned == TMGR_OK ? status : abandoned;
}

/* In a table that is not full all runs have 64 pages; in one that is, they may get shorter down to one. */
static int extents_begin(struct tmgr_table *t, struct stripe *s, const uint8_t *row, uint64_t len,
                         const struct probe *probe, uint64_t *offset, uint64_t *bytes) {
    uint64_t capacity = (len + RUN_BYTES_MAX - 1) / RUN_BYTES_MAX;
    int status = TMGR_ABSENT;
    for (uint64_t times = 1; times <= RUN_PAGES_MAX && status == TMGR_ABSENT; times *= 8)
        status = extents_try(t, s, row, len, probe, capacity * times, offset, bytes);
    return status;
}

int row_begin(struct tmgr_table *t, struct stripe *s, const uint8_t *row, uint64_t len, const struct probe *probe,
              uint64_t *offset, uint64_t *bytes) {
    uint64_t block = t->row_start + len;
    if (block > RUN_BYTES_MAX)
        return extents_begin(t, s, row, len, probe, offset, bytes);
    int status = stripe_begin(t, s, block, offset);
    if (status == TMGR_FULL && block > EXTENTS_FROM)
        return extents_begin(t, s, row, len, probe, offset, bytes);
    if (status != TMGR_OK)
        return status;
    *bytes = arena_block_size(block);
    store_relaxed((word *)at(t, *offset), len | probe->hash << 32);
    fill_racy(at(t, *offset + t->row_start), row, len);
    return TMGR_OK;
}

uint64_t row_block(struct tmgr_table *t, uint64_t offset, uint64_t *bytes) {
    uint64_t head = load_relaxed((word *)at(t, offset)), len = head & ROW_LEN_MASK;
    if (!(head & ROW_EXTENTS)) {
        *bytes = arena_block_size(t->row_start + len);
        return offset;
    }
    const struct extents *parts = extents_at(t, offset);
    *bytes = parts != NULL ? arena_block_size(extents_bytes(t, parts)) : 0;
    for (uint64_t i = 0; parts != NULL && i < load_relaxed(&parts->n); i++)
        *bytes += (load_relaxed(&parts->at[i]) & EXTENT_PAGES) * PAGE_BYTES;
    return offset | BLOCK_EXTENTS;
}

/* -- under the lock ------------------------------------------------------------------------------------------------------- */

static bool row_fits(struct tmgr_table *t, uint64_t offset, uint64_t *head) {
    if (!offset_is_valid(t, offset, UNIT_BYTES))
        return false;
    *head = load_relaxed((word *)at(t, offset));
    return *head & ROW_EXTENTS ? extents_at(t, offset) != NULL
                               : offset_is_valid(t, offset, t->row_start + (*head & ROW_LEN_MASK));
}

bool row_has_key(struct tmgr_table *t, uint64_t offset, const struct probe *probe) {
    uint64_t head;
    if (!row_fits(t, offset, &head) || (uint32_t)(head >> 32) != (uint32_t)probe->hash)
        return false;
    if (!(head & ROW_EXTENTS))
        return term_key_is(at(t, offset + t->row_start), head & ROW_LEN_MASK, t->keypos, probe->key, probe->len);
    const struct extents *parts = at(t, offset + t->row_start);
    return load_relaxed(&parts->key_len) == probe->len && offset_is_valid(t, offset, extents_bytes(t, parts)) &&
           memcmp(&parts->at[load_relaxed(&parts->capacity)], probe->key, probe->len) == 0;
}

const uint8_t *row_key(struct tmgr_table *t, uint64_t offset, size_t *len) {
    struct term_span key;
    uint64_t head;
    if (!row_fits(t, offset, &head))
        return NULL;
    if (head & ROW_EXTENTS) {
        const struct extents *parts = at(t, offset + t->row_start);
        *len = load_relaxed(&parts->key_len);
        return offset_is_valid(t, offset, extents_bytes(t, parts)) && *len <= TMGR_KEY_MAX
                   ? (const uint8_t *)&parts->at[load_relaxed(&parts->capacity)]
                   : NULL;
    }
    const uint8_t *row = at(t, offset + t->row_start);
    if (!term_key_of(row, head & ROW_LEN_MASK, t->keypos, &key) || key.len > TMGR_KEY_MAX)
        return NULL;
    *len = key.len;
    return row + key.offset;
}

const uint8_t *row_view(struct tmgr_table *t, uint64_t offset, struct tmgr_buffer *scratch, size_t *len) {
    uint64_t head;
    if (!row_fits(t, offset, &head))
        return NULL;
    *len = head & ROW_LEN_MASK;
    if (!(head & ROW_EXTENTS))
        return at(t, offset + t->row_start);
    scratch->len = 0;
    return row_copy(t, NULL, 0, offset, scratch) == TMGR_OK ? scratch->data : NULL;
}

int row_is(struct tmgr_table *t, uint64_t offset, const uint8_t *row, size_t len) {
    struct tmgr_buffer scratch = {NULL, 0, 0};
    size_t stored_len;
    if ((load_relaxed((word *)at(t, offset)) & ROW_LEN_MASK) != len)
        return TMGR_ABSENT;
    const uint8_t *stored = row_view(t, offset, &scratch, &stored_len);
    int status = stored == NULL ? TMGR_NO_MEMORY : same_terms(stored, stored_len, row, len) ? TMGR_OK : TMGR_ABSENT;
    if (scratch.data != NULL)
        free(scratch.data);
    return status;
}

/* -- racing --------------------------------------------------------------------------------------------------------------- */

static bool overtaken(const struct stripe *s, uint64_t epoch) {
    fence_acquire();
    return s != NULL && load_relaxed(&s->epoch) - epoch > 1;
}

static int copy_extents(struct tmgr_table *t, uint64_t offset, uint64_t len, uint8_t *to) {
    const struct extents *parts = extents_at(t, offset);
    uint64_t n = parts != NULL ? load_relaxed(&parts->n) : 0, done = 0;
    if (n > RUN_BYTES_MAX / 8 || !offset_is_valid(t, offset, t->row_start + sizeof *parts + 8 * n))
        return TMGR_BUSY; /* loaded anew, so held against the bounds anew */
    for (uint64_t i = 0; i < n && done < len; i++) {
        uint64_t run = load_relaxed(&parts->at[i]), room = (run & EXTENT_PAGES) * PAGE_BYTES;
        uint64_t piece = len - done < room ? len - done : room;
        if (!offset_is_valid(t, run & ~EXTENT_PAGES, piece))
            return TMGR_BUSY;
        copy_racy_words(to + done, at(t, run & ~EXTENT_PAGES), piece);
        done += piece;
    }
    return done == len ? TMGR_OK : TMGR_BUSY;
}

int row_copy(struct tmgr_table *t, const struct stripe *s, uint64_t epoch, uint64_t offset, struct tmgr_buffer *out) {
    if (!offset_is_valid(t, offset, UNIT_BYTES))
        return TMGR_BUSY;
    uint64_t head = load_relaxed((const word *)at(t, offset)), len = head & ROW_LEN_MASK; /* the length, loaded once */
    if (len > ROW_BYTES_MAX || (len > UNCHECKED_MAX && overtaken(s, epoch)))
        return TMGR_BUSY;
    if (!(head & ROW_EXTENTS) && !offset_is_valid(t, offset, t->row_start + len))
        return TMGR_BUSY;
    if (out->capacity - out->len < len + 8 && !buffer_reserve(out, len + 8))
        return TMGR_NO_MEMORY;
    if (head & ROW_EXTENTS) {
        int status = copy_extents(t, offset, len, out->data + out->len);
        if (status != TMGR_OK)
            return status;
    } else {
        copy_racy_words(out->data + out->len, at(t, offset + t->row_start), len);
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
