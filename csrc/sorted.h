/* SPDX-License-Identifier: Apache-2.0 */
/* sorted.h - a key's sort key (sortkey.h) in private memory: a short one stands in the struct itself, a long one in memory of
 * its own. */
#ifndef TMGR_SORTED_H
#define TMGR_SORTED_H

#include <stdlib.h>
#include <string.h>

#include "sortkey.h"

struct sorted {
    uint8_t *bytes;
    size_t len;
    uint8_t small[304];
};
enum { SORT_SLACK = 8 }; /* readable bytes behind every sort key that is given to these functions */

/* Room for a sort key of this length in `bytes`; NULL: no memory. To be freed. */
static inline uint8_t *sorted_room(struct sorted *sorted, size_t len) {
    sorted->bytes = len + SORT_SLACK <= sizeof sorted->small ? sorted->small : malloc(len + SORT_SLACK);
    return sorted->bytes;
}

/* What was taken for it goes back; again does no harm. */
static inline void sorted_free(struct sorted *sorted) {
    if (sorted->bytes != sorted->small)
        free(sorted->bytes);
    sorted->bytes = sorted->small;
}

/* OK, NO_MEMORY, BAD_ROW (it is no key). To be freed unless that failed. */
static inline int sorted_make(struct sorted *sorted, const uint8_t *key, size_t len) {
    size_t capacity = sizeof sorted->small;
    sorted->bytes = sorted->small;
    if (sortkey_bound(len) > capacity) {
        capacity = sortkey_bound(len);
        sorted->bytes = malloc(capacity);
        if (sorted->bytes == NULL)
            return TMGR_NO_MEMORY;
    }
    sorted->len = sortkey_make(key, len, sorted->bytes, capacity);
    if (sorted->len != 0)
        return TMGR_OK;
    sorted_free(sorted);
    return TMGR_BAD_ROW;
}

/* As memcmp, a prefix being less. */
static inline int sorted_compare(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len) {
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

#endif
