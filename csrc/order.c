/* SPDX-License-Identifier: Apache-2.0 */
/* order.c - see order.h. Two terms are viewed, then compared by the rule of their type; a comparison that finds them
 * equal leaves both cursors behind them, so sequences are walked once. */
#include "order.h"

#include <stdlib.h>

#include "decimal.h"
#include "number.h"
#include "term.h"
#include "view.h"

static const uint64_t day_microseconds = UINT64_C(86400000000);

/* -- comparing flat terms -------------------------------------------------------------------------------------------- */

static int compare_words(uint64_t a, uint64_t b) { return (a > b) - (a < b); }

static int compare_bytes(const uint8_t *a, size_t an, const uint8_t *b, size_t bn) {
    size_t n = an < bn ? an : bn;
    int order = n == 0 ? 0 : memcmp(a, b, n);
    return order != 0 ? order : compare_words(an, bn);
}

/* A datetime or time: whether it is aware, its instant in microseconds (never negative), and what breaks ties. */
struct moment {
    bool is_aware;
    uint64_t instant;
    uint64_t offset; /* biased, so that the order of the words is that of the offsets */
    uint8_t fold;
};

/* The date of a time is day 1: so the offset never leads below zero. */
static struct moment moment_of(const struct view *view) {
    bool has_date = view->kind == VIEW_DATETIME;
    const uint8_t *clock = view->payload + (has_date ? 4 : 0);
    uint64_t day = has_date ? term_load(view->payload, 4) + 1 : 1;
    struct moment moment = {.instant = day * day_microseconds + term_load(clock, 8), .fold = clock[8]};
    if (view->payload + view->len > clock + 9) {
        uint64_t offset = term_load(clock + 9, 8);
        moment.is_aware = true;
        moment.instant -= offset;
        moment.offset = offset + day_microseconds;
    }
    return moment;
}

static int compare_moments(const struct view *a, const struct view *b) {
    struct moment first = moment_of(a);
    struct moment second = moment_of(b);
    if (first.is_aware != second.is_aware) {
        return first.is_aware ? 1 : -1;
    }
    if (first.instant != second.instant) {
        return compare_words(first.instant, second.instant);
    }
    if (first.offset != second.offset) {
        return compare_words(first.offset, second.offset);
    }
    return (int)first.fold - (int)second.fold;
}

/* The days are signed; seconds and microseconds count up from them. */
static int compare_timedeltas(const uint8_t *a, const uint8_t *b) {
    int32_t days = (int32_t)term_load(a, 4);
    int32_t other_days = (int32_t)term_load(b, 4);
    return days != other_days ? (days > other_days) - (days < other_days) : memcmp(a + 4, b + 4, 8);
}

/* -- comparing containers -------------------------------------------------------------------------------------------- */

/* Two places to compare, of which each moves behind its term where the two are equal. */
struct cursors {
    const uint8_t *a, *a_end, *b, *b_end;
    unsigned depth;
};

static int compare_next(struct cursors *c);

/* All bytes that are left. */
static int compare_raw(struct cursors *c) {
    int order = compare_bytes(c->a, (size_t)(c->a_end - c->a), c->b, (size_t)(c->b_end - c->b));
    c->a = c->a_end;
    c->b = c->b_end;
    return order;
}

/* n terms against m, one by one, then the number of them; the cursors stand on the first ones. */
static int compare_sequences(struct cursors *c, uint32_t n, uint32_t m) {
    for (uint32_t i = 0; i < n && i < m; i++) {
        int order = compare_next(c);
        if (order != 0) {
            return order;
        }
    }
    return compare_words(n, m);
}

/* An element of a set, or a key of a dict with its value behind it. */
struct member {
    const uint8_t *at, *end;
    uint32_t n_terms;
    unsigned depth;
};

static int compare_members(const void *left, const void *right) {
    const struct member *a = left;
    const struct member *b = right;
    struct cursors c = {a->at, a->end, b->at, b->end, a->depth};
    return compare_sequences(&c, a->n_terms, a->n_terms);
}

/* The members in ascending order, to be freed; NULL: no memory, or malformed. *behind: where they end. */
static struct member *sorted_members(const struct view *view, unsigned depth, const uint8_t **behind) {
    uint32_t n_terms = view->kind == VIEW_DICT ? 2 : 1;
    const uint8_t *at = view->payload;
    const uint8_t *end = view->payload + view->len;
    struct member *members = malloc(((size_t)view->count + 1) * sizeof *members);
    for (uint32_t i = 0; members != NULL && i < view->count; i++) {
        size_t len = 0;
        if (!term_skip_many(at, end, n_terms, &len)) {
            free(members);
            return NULL;
        }
        members[i] = (struct member){at, at + len, n_terms, depth};
        at += len;
    }
    if (members != NULL) {
        qsort(members, view->count, sizeof *members, compare_members);
        *behind = at;
    }
    return members;
}

/* Dicts and sets of the same number of members. */
static int compare_unordered(struct cursors *c, const struct view *a, const struct view *b) {
    const uint8_t *a_behind = c->a_end;
    const uint8_t *b_behind = c->b_end;
    struct member *first = sorted_members(a, c->depth + 1, &a_behind);
    struct member *second = first == NULL ? NULL : sorted_members(b, c->depth + 1, &b_behind);
    int order = second == NULL ? compare_raw(c) : 0;
    for (uint32_t i = 0; second != NULL && i < a->count && order == 0; i++) {
        order = compare_members(&first[i], &second[i]);
    }
    free(first);
    free(second);
    c->a = a_behind;
    c->b = b_behind;
    return order;
}

static int compare_container(struct cursors *c, const struct view *a, const struct view *b) {
    if (a->kind >= VIEW_DICT) {
        return a->count != b->count ? compare_words(a->count, b->count) : compare_unordered(c, a, b);
    }
    struct cursors inside = {a->payload, a->payload + a->len, b->payload, b->payload + b->len, c->depth + 1};
    int order = compare_sequences(&inside, a->count, b->count);
    c->a = inside.a;
    c->b = inside.b;
    return order;
}

static int compare_flat(const struct view *a, const struct view *b) {
    switch (a->kind) {
    case VIEW_NUMBER:
        return number_compare(&a->number, &b->number);
    case VIEW_DATETIME:
    case VIEW_TIME:
        return compare_moments(a, b);
    case VIEW_TIMEDELTA:
        return compare_timedeltas(a->payload, b->payload);
    case VIEW_DECIMAL:
        return decimal_compare(a->payload, a->len, b->payload, b->len);
    case VIEW_NONE:
    case VIEW_FALSE:
    case VIEW_TRUE:
        return 0;
    default:
        return compare_bytes(a->payload, a->len, b->payload, b->len);
    }
}

static int compare_next(struct cursors *c) {
    struct view a, b;
    if (c->depth > ORDER_DEPTH) {
        return compare_raw(c);
    }
    view_read(&a, c->a, c->a_end);
    view_read(&b, c->b, c->b_end);
    if (a.kind != b.kind) {
        return a.kind < b.kind ? -1 : 1;
    }
    if (a.kind >= VIEW_TUPLE && a.kind <= VIEW_FROZENSET) {
        int order = compare_container(c, &a, &b);
        c->a = a.behind != NULL ? a.behind : c->a;
        c->b = b.behind != NULL ? b.behind : c->b;
        return order;
    }
    c->a = a.behind;
    c->b = b.behind;
    return compare_flat(&a, &b);
}

int order_compare(const uint8_t *a, size_t an, const uint8_t *b, size_t bn) {
    /* The usual keys: two short strings, or two ints. */
    if (an > 0 && bn > 0) {
        if ((a[0] & 0xe0) == 0xa0 && (b[0] & 0xe0) == 0xa0) {
            size_t n = a[0] & 0x1fu;
            size_t m = b[0] & 0x1fu;
            if (n < an && m < bn) {
                return compare_bytes(a + 1, n, b + 1, m);
            }
        }
        int64_t small, other;
        if (number_read_small(a, a + an, &small) && number_read_small(b, b + bn, &other)) {
            return (small > other) - (small < other);
        }
    }
    struct cursors c = {a, a + an, b, b + bn, 0};
    return compare_next(&c);
}

/* -- keys -------------------------------------------------------------------------------------------------------------- */

/* *at moves behind it. */
static bool check_term(const uint8_t **at, const uint8_t *end, unsigned depth) {
    struct view view;
    view_read(&view, *at, end);
    if (view.kind > VIEW_TUPLE || (view.kind == VIEW_TUPLE && depth == TERM_DEPTH)) {
        return false;
    }
    if (view.kind == VIEW_DECIMAL && !decimal_is_valid(view.payload, view.len)) {
        return false;
    }
    *at = view.behind;
    if (view.kind != VIEW_TUPLE) {
        return true;
    }
    const uint8_t *inside = view.payload;
    for (uint32_t i = 0; i < view.count; i++) {
        if (!check_term(&inside, view.behind, depth + 1)) {
            return false;
        }
    }
    return inside == view.behind;
}

bool order_check_key(const uint8_t *key, size_t n) {
    const uint8_t *at = key;
    return check_term(&at, key + n, 0) && at == key + n;
}
