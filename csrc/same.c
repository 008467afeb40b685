/* SPDX-License-Identifier: Apache-2.0 */
#include "same.h"

#include <stdlib.h>

#include "term.h"
#include "view.h"

enum { SAME_DEPTH = 128, FEW_ITEMS = 8 }; /* more levels than the codec writes; items looked for one by one */

struct item {
    const uint8_t *key, *value;
    size_t key_len, value_len;
};

static bool same_at(const uint8_t *a, size_t an, const uint8_t *b, size_t bn, unsigned depth);

static bool take(const uint8_t **at, const uint8_t *end, size_t *len) {
    *len = term_skip(*at, end);
    *at += *len;
    return *len != 0;
}

static bool take_item(const uint8_t **at, const uint8_t *end, struct item *item) {
    item->key = *at;
    if (!take(at, end, &item->key_len))
        return false;
    item->value = *at;
    return take(at, end, &item->value_len);
}

static int compare_keys(const void *left, const void *right) {
    const struct item *a = left, *b = right;
    int order = memcmp(a->key, b->key, a->key_len < b->key_len ? a->key_len : b->key_len);
    return order != 0 ? order : (a->key_len > b->key_len) - (a->key_len < b->key_len);
}

/* The items in the order of their keys' bytes; NULL: malformed, or no memory. */
static struct item *sorted_items(const struct view *dict, const uint8_t *end) {
    struct item *items = malloc(dict->count * sizeof *items);
    const uint8_t *at = dict->payload;
    for (uint32_t i = 0; items != NULL && i < dict->count; i++)
        if (!take_item(&at, end, &items[i])) {
            free(items);
            return NULL;
        }
    if (items != NULL)
        qsort(items, dict->count, sizeof *items, compare_keys);
    return items;
}

static bool same_items(const struct item *a, const struct item *b, unsigned depth) {
    return compare_keys(a, b) == 0 && same_at(a->value, a->value_len, b->value, b->value_len, depth);
}

static bool has_same_item(const struct view *dict, const uint8_t *end, const struct item *wanted, unsigned depth) {
    const uint8_t *at = dict->payload;
    struct item item;
    for (uint32_t i = 0; i < dict->count && take_item(&at, end, &item); i++)
        if (compare_keys(&item, wanted) == 0)
            return same_items(&item, wanted, depth);
    return false;
}

/* Keys of a dict differ, so as many items that are all found make the same dict. */
static bool same_dicts(const struct view *a, const uint8_t *a_end, const struct view *b, const uint8_t *b_end,
                       unsigned depth) {
    struct item *first = a->count > FEW_ITEMS ? sorted_items(a, a_end) : NULL;
    struct item *second = first != NULL ? sorted_items(b, b_end) : NULL;
    bool same = true;
    if (second != NULL) {
        for (uint32_t i = 0; same && i < a->count; i++)
            same = same_items(&first[i], &second[i], depth);
    } else { /* few, or no memory: slower, and right */
        const uint8_t *at = a->payload;
        struct item item;
        for (uint32_t i = 0; same && i < a->count; i++)
            same = take_item(&at, a_end, &item) && has_same_item(b, b_end, &item, depth);
    }
    free(first);
    free(second);
    return same;
}

static bool same_sequences(const struct view *a, const uint8_t *a_end, const struct view *b, const uint8_t *b_end,
                           unsigned depth) {
    const uint8_t *at = a->payload, *other = b->payload;
    for (uint32_t i = 0; i < a->count; i++) {
        size_t len, other_len;
        if (!take(&at, a_end, &len) || !take(&other, b_end, &other_len) ||
            !same_at(at - len, len, other - other_len, other_len, depth))
            return false;
    }
    return true;
}

static bool same_at(const uint8_t *a, size_t an, const uint8_t *b, size_t bn, unsigned depth) {
    if (an != bn)
        return false;
    if (memcmp(a, b, an) == 0)
        return true;
    if (depth == SAME_DEPTH)
        return false;
    struct view left, right;
    view_read(&left, a, a + an);
    view_read(&right, b, b + bn);
    if (left.kind != right.kind)
        return false;
    switch (left.kind) {
    case VIEW_DICT:
        return left.count == right.count && same_dicts(&left, a + an, &right, b + bn, depth + 1);
    case VIEW_TUPLE:
    case VIEW_LIST:
        return left.count == right.count && same_sequences(&left, a + an, &right, b + bn, depth + 1);
    default: /* the others have no dict in them: bytes have decided */
        return false;
    }
}

bool same_but_for_order(const uint8_t *a, const uint8_t *b, size_t len) { return same_at(a, len, b, len, 0); }
