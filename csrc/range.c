/* SPDX-License-Identifier: Apache-2.0 */
#include "range.h"

#include <stdlib.h>

/* The narrower of a bound that is there and another. */
static int narrow(struct sorted *bound, bool *given, const uint8_t *other, size_t len, bool upper, bool *flag) {
    if (*given) {
        int order = sorted_compare(other, len, bound->bytes, bound->len);
        if (upper ? order >= 0 : order <= 0)
            return TMGR_OK;
        sorted_free(bound);
    }
    if (sorted_room(bound, len) == NULL)
        return TMGR_NO_MEMORY;
    memcpy(bound->bytes, other, len);
    bound->len = len;
    *given = true;
    *flag = false;
    return TMGR_OK;
}

/* A range's bounds as sort keys. */
struct bounds {
    struct sorted lo, hi;
    bool has_lo, has_hi;
    struct oset_range range;
};

static void bounds_free(struct bounds *bounds) {
    if (bounds->has_lo)
        sorted_free(&bounds->lo);
    if (bounds->has_hi)
        sorted_free(&bounds->hi);
}

static int bounds_of_prefix(struct bounds *bounds, const uint8_t *prefix, size_t len) {
    uint32_t n;
    size_t header = term_tuple(prefix, prefix + len, &n), capacity = sortkey_bound(len) + 1;
    uint8_t *bytes = header != 0 ? malloc(capacity) : NULL;
    if (bytes == NULL)
        return header != 0 ? TMGR_NO_MEMORY : TMGR_BAD_ROW;
    size_t made = sortkey_tuple_prefix(prefix + header, len - header, n, bytes, capacity - 1);
    int status =
        made != 0 ? narrow(&bounds->lo, &bounds->has_lo, bytes, made, false, &bounds->range.after_lo) : TMGR_BAD_ROW;
    if (status == TMGR_OK) {
        bytes[made] = 0xff; /* above every rank, and so above all that begins with the prefix */
        status = narrow(&bounds->hi, &bounds->has_hi, bytes, made + 1, true, &bounds->range.up_to_hi);
    }
    free(bytes);
    return status;
}

/* Go on behind a key. */
static int bounds_behind(struct bounds *bounds, const struct tmgr_buffer *key) {
    struct sorted sorted;
    bool reverse = bounds->range.reverse;
    int status = sorted_make(&sorted, key->data, key->len);
    if (status != TMGR_OK)
        return status;
    if (reverse)
        status = narrow(&bounds->hi, &bounds->has_hi, sorted.bytes, sorted.len, true, &bounds->range.up_to_hi);
    else
        status = narrow(&bounds->lo, &bounds->has_lo, sorted.bytes, sorted.len, false, &bounds->range.after_lo);
    sorted_free(&sorted);
    if (status == TMGR_OK && !reverse)
        bounds->range.after_lo = true;
    return status;
}

static int bounds_make(struct bounds *bounds, const struct tmgr_range *range, const struct tmgr_buffer *behind) {
    *bounds = (struct bounds){.range = {.after_lo = range->flags & TMGR_RANGE_AFTER_LO,
                                        .up_to_hi = range->flags & TMGR_RANGE_UP_TO_HI,
                                        .reverse = range->flags & TMGR_RANGE_REVERSE}};
    int status = TMGR_OK;
    if (range->lo != NULL) {
        status = sorted_make(&bounds->lo, range->lo, range->lo_len);
        bounds->has_lo = status == TMGR_OK;
    }
    if (status == TMGR_OK && range->hi != NULL) {
        status = sorted_make(&bounds->hi, range->hi, range->hi_len);
        bounds->has_hi = status == TMGR_OK;
    }
    if (status == TMGR_OK && range->prefix != NULL)
        status = bounds_of_prefix(bounds, range->prefix, range->prefix_len);
    if (status == TMGR_OK && behind->len > 0)
        status = bounds_behind(bounds, behind);
    if (status != TMGR_OK) {
        bounds_free(bounds);
        return status;
    }
    bounds->range.lo = bounds->has_lo ? bounds->lo.bytes : NULL;
    bounds->range.lo_len = bounds->has_lo ? bounds->lo.len : 0;
    bounds->range.hi = bounds->has_hi ? bounds->hi.bytes : NULL;
    bounds->range.hi_len = bounds->has_hi ? bounds->hi.len : 0;
    return TMGR_OK;
}

/* Is the key on the far side of where the cursor stood? Else the tree is damaged, and the walk would not end. */
static bool lies_beyond(const uint8_t *key, size_t len, const struct tmgr_buffer *last, uint32_t flags) {
    struct sorted here, there;
    if (sorted_make(&here, key, len) != TMGR_OK)
        return false;
    bool beyond = sorted_make(&there, last->data, last->len) == TMGR_OK;
    if (beyond) {
        int order = sorted_compare(here.bytes, here.len, there.bytes, there.len);
        beyond = flags & TMGR_RANGE_REVERSE ? order < 0 : order > 0;
        sorted_free(&there);
    }
    sorted_free(&here);
    return beyond;
}

int range_rows(struct tmgr_table *t, const struct tmgr_range *range, struct tmgr_cursor *cursor, size_t max_rows,
               size_t want_bytes, struct tmgr_buffer *out, size_t *n_rows) {
    struct bounds bounds;
    struct term_span key;
    size_t last;
    bool more;
    if (cursor->done)
        return TMGR_OK;
    int status = bounds_make(&bounds, range, &cursor->last);
    if (status != TMGR_OK)
        return status;
    bounds.range.rows = max_rows;
    bounds.range.bytes = want_bytes;
    status = oset_rows(t, &t->stripes[0], &bounds.range, out, n_rows, &last, &more);
    bounds_free(&bounds);
    if (status != TMGR_OK)
        return status;
    cursor->done = !more;
    if (*n_rows == 0)
        return TMGR_OK;
    const uint8_t *row = out->data + last;
    if (!term_key_of(row, (size_t)(out->data + out->len - row), t->keypos, &key))
        return TMGR_CORRUPT;
    if (cursor->last.len > 0 && !lies_beyond(row + key.offset, key.len, &cursor->last, range->flags))
        return TMGR_CORRUPT;
    cursor->last.len = 0;
    return buffer_append(&cursor->last, row + key.offset, key.len) ? TMGR_OK : TMGR_NO_MEMORY;
}

int range_step(struct tmgr_table *t, int direction, const uint8_t *key, size_t key_len, struct tmgr_buffer *rows,
               struct term_span *found) {
    struct oset_range range = {.rows = 1, .bytes = SIZE_MAX, .after_lo = true, .reverse = direction < 0};
    struct sorted from;
    size_t n = 0, last;
    bool more;
    if (key != NULL) {
        int status = sorted_make(&from, key, key_len);
        if (status != TMGR_OK)
            return status;
        *(direction < 0 ? &range.hi : &range.lo) = from.bytes;
        *(direction < 0 ? &range.hi_len : &range.lo_len) = from.len;
    }
    rows->len = 0;
    int status = oset_rows(t, &t->stripes[0], &range, rows, &n, &last, &more);
    if (key != NULL)
        sorted_free(&from);
    *found = (struct term_span){0, rows->len};
    return status == TMGR_OK && n == 0 ? TMGR_END : status;
}
