/* SPDX-License-Identifier: Apache-2.0 */
/* sorted.c - the one function of sorted.h that is not inline: the sort key of an encoded key. */
#include "sorted.h"

int sorted_make(struct sorted *sorted, const uint8_t *key, size_t len) {
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
