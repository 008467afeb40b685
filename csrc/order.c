/* SPDX-License-Identifier: Apache-2.0 */
/* order.c - see order.h. A term is looked at (its type and where its payload lies), then compared by the rule of its
 * type; a comparison that finds two terms equal leaves both cursors behind them, so sequences are walked once. */
#include "order.h"

#include <stdlib.h>

#include "decimal.h"
#include "number.h"
#include "term.h"

/* Types in their order. */
enum rank {
    RANK_NONE,
    RANK_FALSE,
    RANK_TRUE,
    RANK_NUMBER,
    RANK_STR,
    RANK_BYTES,
    RANK_DATE,
    RANK_DATETIME,
    RANK_TIME,
    RANK_TIMEDELTA,
    RANK_DECIMAL,
    RANK_UUID,
    RANK_TUPLE, /* the last that may be a key */
    RANK_LIST,
    RANK_DICT,
    RANK_SET,
    RANK_FROZENSET,
    RANK_BYTEARRAY,
    RANK_PICKLE,
    RANK_EXTENSION,
    RANK_MALFORMED
};

struct view {
    enum rank rank;
    const uint8_t *payload;
    size_t len;            /* bytes of payload; LIST and DICT: up to the end of what the term may fill */
    uint32_t count;        /* TUPLE, LIST, DICT, SET, FROZENSET: elements, or pairs of a dict */
    const uint8_t *behind; /* the end of the term; NULL for LIST and DICT, which have to be walked */
    struct number number;
};

static const uint64_t day_microseconds = UINT64_C(86400000000);

static uint64_t load_word(const uint8_t *at, size_t n) {
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++) {
        value = value << 8 | at[i];
    }
    return value;
}

/* -- looking ------------------------------------------------------------------------------------------------------- */

/* Microseconds of the day, fold, and where it is aware the offset: a time's payload, and the end of a datetime's. */
static bool is_clock(const uint8_t *at, size_t len) {
    if ((len != 9 && len != 17) || load_word(at, 8) >= day_microseconds || at[8] > 1) {
        return false;
    }
    return len == 9 || load_word(at + 9, 8) + day_microseconds - 1 < 2 * day_microseconds - 1;
}

static bool is_timedelta(const uint8_t *at, size_t len) {
    return len == 12 && load_word(at + 4, 4) < 86400 && load_word(at + 8, 4) < 1000000;
}

/* The array inside a tuple or set: moves the payload to its first element. */
static enum rank look_inside(struct view *view, enum rank rank) {
    size_t header = term_array(view->payload, view->payload + view->len, &view->count);
    view->payload += header;
    view->len -= header;
    return header > 0 && view->count <= view->len ? rank : RANK_MALFORMED;
}

static enum rank look_extension(struct view *view, uint8_t type) {
    const uint8_t *at = view->payload;
    size_t len = view->len;
    switch (type) {
    case TERM_TUPLE:
        return look_inside(view, RANK_TUPLE);
    case TERM_SET:
        return look_inside(view, RANK_SET);
    case TERM_FROZENSET:
        return look_inside(view, RANK_FROZENSET);
    case TERM_BYTEARRAY:
        return RANK_BYTEARRAY;
    case TERM_DECIMAL:
        return RANK_DECIMAL;
    case TERM_UUID:
        return len == 16 ? RANK_UUID : RANK_MALFORMED;
    case TERM_DATE:
        return len == 4 ? RANK_DATE : RANK_MALFORMED;
    case TERM_DATETIME:
        return len > 4 && load_word(at, 4) <= TERM_ORDINAL_MAX && is_clock(at + 4, len - 4) ? RANK_DATETIME
                                                                                            : RANK_MALFORMED;
    case TERM_TIME:
        return is_clock(at, len) ? RANK_TIME : RANK_MALFORMED;
    case TERM_TIMEDELTA:
        return is_timedelta(at, len) ? RANK_TIMEDELTA : RANK_MALFORMED;
    case TERM_PICKLE:
        return RANK_PICKLE;
    default:
        return RANK_EXTENSION;
    }
}

/* A str, bytes or extension term whose header has `size_bytes` of length and then `type_bytes`: its bounds. */
static bool bound(struct view *view, const uint8_t *at, const uint8_t *end, size_t size_bytes, size_t type_bytes) {
    size_t header = 1 + size_bytes + type_bytes;
    size_t left = (size_t)(end - at);
    if (left < header) {
        return false;
    }
    uint64_t len = load_word(at + 1, size_bytes);
    view->payload = at + header;
    view->len = (size_t)len;
    view->behind = view->payload + (len <= left - header ? len : 0);
    return len <= left - header;
}

static enum rank look_tagged(struct view *view, const uint8_t *at, const uint8_t *end) {
    uint8_t first = at[0];
    size_t size_bytes;
    switch (first) {
    case 0xc0:
    case 0xc2:
    case 0xc3:
        view->behind = at + 1;
        return first == 0xc0 ? RANK_NONE : first == 0xc2 ? RANK_FALSE : RANK_TRUE;
    case 0xc4:
    case 0xc5:
    case 0xc6:
        return bound(view, at, end, (size_t)1 << (first - 0xc4), 0) ? RANK_BYTES : RANK_MALFORMED;
    case 0xd9:
    case 0xda:
    case 0xdb:
        return bound(view, at, end, (size_t)1 << (first - 0xd9), 0) ? RANK_STR : RANK_MALFORMED;
    case 0xc7:
    case 0xc8:
    case 0xc9:
        size_bytes = (size_t)1 << (first - 0xc7);
        return bound(view, at, end, size_bytes, 1) ? look_extension(view, at[1 + size_bytes]) : RANK_MALFORMED;
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
        view->len = (size_t)1 << (first - 0xd4);
        if ((size_t)(end - at) < 2 + view->len) {
            return RANK_MALFORMED;
        }
        view->payload = at + 2;
        view->behind = view->payload + view->len;
        return look_extension(view, at[1]);
    case 0xdc:
    case 0xdd:
    case 0xde:
    case 0xdf:
        size_bytes = (size_t)2 << (first & 1);
        if ((size_t)(end - at) < 1 + size_bytes) {
            return RANK_MALFORMED;
        }
        view->count = (uint32_t)load_word(at + 1, size_bytes);
        view->payload = at + 1 + size_bytes;
        view->len = (size_t)(end - view->payload);
        return view->count > view->len ? RANK_MALFORMED : first <= 0xdd ? RANK_LIST : RANK_DICT;
    default:
        return RANK_MALFORMED;
    }
}

/* What stands at `at`, bounded by `end`. What is malformed takes all up to the end; an unknown extension type has its
 * header in its payload. */
static void look(struct view *view, const uint8_t *at, const uint8_t *end) {
    view->behind = NULL;
    size_t len = number_read(at, end, &view->number);
    if (len > 0) {
        view->rank = RANK_NUMBER;
        view->behind = at + len;
        return;
    }
    if (at == end) {
        view->rank = RANK_MALFORMED;
    } else if (at[0] >= 0xa0 && at[0] < 0xc0) {
        view->len = at[0] & 0x1fu;
        view->payload = at + 1;
        view->rank = view->len <= (size_t)(end - at) - 1 ? RANK_STR : RANK_MALFORMED;
        view->behind = at + 1 + (view->rank == RANK_STR ? view->len : 0);
    } else if (at[0] >= 0x80 && at[0] < 0xa0) {
        view->count = at[0] & 0x0fu;
        view->payload = at + 1;
        view->len = (size_t)(end - at) - 1;
        view->rank = view->count > view->len ? RANK_MALFORMED : at[0] >= 0x90 ? RANK_LIST : RANK_DICT;
    } else {
        view->rank = look_tagged(view, at, end);
    }
    if (view->rank >= RANK_EXTENSION) {
        view->behind = view->rank == RANK_MALFORMED ? end : view->behind;
        view->payload = at;
        view->len = (size_t)(view->behind - at);
    }
}

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
    bool has_date = view->rank == RANK_DATETIME;
    const uint8_t *clock = view->payload + (has_date ? 4 : 0);
    uint64_t day = has_date ? load_word(view->payload, 4) + 1 : 1;
    struct moment moment = {.instant = day * day_microseconds + load_word(clock, 8), .fold = clock[8]};
    if (view->payload + view->len > clock + 9) {
        uint64_t offset = load_word(clock + 9, 8);
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
    int32_t days = (int32_t)load_word(a, 4);
    int32_t other_days = (int32_t)load_word(b, 4);
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
    uint32_t n_terms = view->rank == RANK_DICT ? 2 : 1;
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
    if (a->rank >= RANK_DICT) {
        return a->count != b->count ? compare_words(a->count, b->count) : compare_unordered(c, a, b);
    }
    struct cursors inside = {a->payload, a->payload + a->len, b->payload, b->payload + b->len, c->depth + 1};
    int order = compare_sequences(&inside, a->count, b->count);
    c->a = inside.a;
    c->b = inside.b;
    return order;
}

static int compare_flat(const struct view *a, const struct view *b) {
    switch (a->rank) {
    case RANK_NUMBER:
        return number_compare(&a->number, &b->number);
    case RANK_DATETIME:
    case RANK_TIME:
        return compare_moments(a, b);
    case RANK_TIMEDELTA:
        return compare_timedeltas(a->payload, b->payload);
    case RANK_DECIMAL:
        return decimal_compare(a->payload, a->len, b->payload, b->len);
    case RANK_NONE:
    case RANK_FALSE:
    case RANK_TRUE:
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
    look(&a, c->a, c->a_end);
    look(&b, c->b, c->b_end);
    if (a.rank != b.rank) {
        return a.rank < b.rank ? -1 : 1;
    }
    if (a.rank >= RANK_TUPLE && a.rank <= RANK_FROZENSET) {
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
    /* The usual keys: two short strings, or two ints of a byte. */
    if (an > 0 && bn > 0) {
        if ((a[0] & 0xe0) == 0xa0 && (b[0] & 0xe0) == 0xa0) {
            size_t n = a[0] & 0x1fu;
            size_t m = b[0] & 0x1fu;
            if (n < an && m < bn) {
                return compare_bytes(a + 1, n, b + 1, m);
            }
        } else if (a[0] < 0x80 && b[0] < 0x80) {
            return (int)a[0] - (int)b[0];
        }
    }
    struct cursors c = {a, a + an, b, b + bn, 0};
    return compare_next(&c);
}

/* -- prefixes ---------------------------------------------------------------------------------------------------------- */

/* The first `bits` bits of bytes, as if zeros followed them. */
static uint64_t leading_bits(const uint8_t *at, size_t len, unsigned bits) {
    size_t n = len < 8 ? len : 8;
    uint64_t word = n == 0 ? 0 : load_word(at, n) << (8 * (8 - n));
    return word >> (64 - bits);
}

/* 60 bits in the order of the terms of this rank. */
static uint64_t value_prefix(const struct view *view) {
    const uint8_t *at = view->payload;
    struct moment moment;
    switch (view->rank) {
    case RANK_NUMBER:
        return number_prefix(&view->number);
    case RANK_STR:
    case RANK_BYTES:
    case RANK_UUID:
    case RANK_DATE:
        return leading_bits(at, view->len, 60);
    case RANK_DATETIME:
    case RANK_TIME:
        moment = moment_of(view);
        return (uint64_t)moment.is_aware << 59 | moment.instant;
    case RANK_TIMEDELTA:
        return ((load_word(at, 4) ^ UINT64_C(0x80000000)) << 17 | load_word(at + 4, 4)) << 11 |
               load_word(at + 8, 4) >> 9;
    case RANK_DECIMAL:
        return decimal_prefix(at, view->len);
    default:
        return 0;
    }
}

uint64_t order_prefix(const uint8_t *key, size_t n) {
    const uint8_t *at = key;
    const uint8_t *end = key + n;
    uint64_t prefix = 0;
    for (unsigned shift = 0; shift < 64; shift += 4) {
        struct view view;
        look(&view, at, end);
        /* Lists and what comes behind them are no keys: the last two of the 16 values are theirs. */
        uint64_t rank = view.rank <= RANK_LIST ? (uint64_t)view.rank : RANK_LIST + 1;
        prefix |= (rank << 60 | value_prefix(&view)) >> shift;
        if (view.rank != RANK_TUPLE || view.count == 0) {
            break;
        }
        at = view.payload;
        end = view.payload + view.len;
    }
    return prefix;
}

/* -- keys -------------------------------------------------------------------------------------------------------------- */

/* *at moves behind it. */
static bool check_term(const uint8_t **at, const uint8_t *end, unsigned depth) {
    struct view view;
    look(&view, *at, end);
    if (view.rank > RANK_TUPLE || (view.rank == RANK_TUPLE && depth == TERM_DEPTH)) {
        return false;
    }
    if (view.rank == RANK_DECIMAL && !decimal_is_valid(view.payload, view.len)) {
        return false;
    }
    *at = view.behind;
    if (view.rank != RANK_TUPLE) {
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
