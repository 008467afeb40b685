/* SPDX-License-Identifier: Apache-2.0 */
/* view.c - see view.h. */
#include "view.h"

#include "term.h"

static const uint64_t day_microseconds = UINT64_C(86400000000);

/* Microseconds of the day, fold, and where it is aware the offset: a time's payload, and the end of a datetime's. */
static bool is_clock(const uint8_t *at, size_t len) {
    if ((len != 9 && len != 17) || term_load(at, 8) >= day_microseconds || at[8] > 1) {
        return false;
    }
    return len == 9 || term_load(at + 9, 8) + day_microseconds - 1 < 2 * day_microseconds - 1;
}

static bool is_timedelta(const uint8_t *at, size_t len) {
    return len == 12 && term_load(at + 4, 4) < 86400 && term_load(at + 8, 4) < 1000000;
}

/* The array inside a tuple or set: moves the payload to its first element. */
static enum view_kind look_inside(struct view *view, enum view_kind kind) {
    size_t header = term_array(view->payload, view->payload + view->len, &view->count);
    view->payload += header;
    view->len -= header;
    return header > 0 && view->count <= view->len ? kind : VIEW_MALFORMED;
}

static enum view_kind look_extension(struct view *view, uint8_t type) {
    const uint8_t *at = view->payload;
    size_t len = view->len;
    switch (type) {
    case TERM_TUPLE:
        return look_inside(view, VIEW_TUPLE);
    case TERM_SET:
        return look_inside(view, VIEW_SET);
    case TERM_FROZENSET:
        return look_inside(view, VIEW_FROZENSET);
    case TERM_BYTEARRAY:
        return VIEW_BYTEARRAY;
    case TERM_DECIMAL:
        return VIEW_DECIMAL;
    case TERM_UUID:
        return len == 16 ? VIEW_UUID : VIEW_MALFORMED;
    case TERM_DATE:
        return len == 4 ? VIEW_DATE : VIEW_MALFORMED;
    case TERM_DATETIME:
        return len > 4 && term_load(at, 4) <= TERM_ORDINAL_MAX && is_clock(at + 4, len - 4) ? VIEW_DATETIME
                                                                                            : VIEW_MALFORMED;
    case TERM_TIME:
        return is_clock(at, len) ? VIEW_TIME : VIEW_MALFORMED;
    case TERM_TIMEDELTA:
        return is_timedelta(at, len) ? VIEW_TIMEDELTA : VIEW_MALFORMED;
    case TERM_PICKLE:
        return VIEW_PICKLE;
    default:
        return VIEW_EXTENSION;
    }
}

/* A str, bytes or extension term whose header has `size_bytes` of length and then `type_bytes`: its bounds. */
static bool bound(struct view *view, const uint8_t *at, const uint8_t *end, size_t size_bytes, size_t type_bytes) {
    size_t header = 1 + size_bytes + type_bytes;
    size_t left = (size_t)(end - at);
    if (left < header) {
        return false;
    }
    uint64_t len = term_load(at + 1, size_bytes);
    view->payload = at + header;
    view->len = (size_t)len;
    view->behind = view->payload + (len <= left - header ? len : 0);
    return len <= left - header;
}

static enum view_kind look_tagged(struct view *view, const uint8_t *at, const uint8_t *end) {
    uint8_t first = at[0];
    size_t size_bytes;
    switch (first) {
    case 0xc0:
    case 0xc2:
    case 0xc3:
        view->behind = at + 1;
        return first == 0xc0 ? VIEW_NONE : first == 0xc2 ? VIEW_FALSE : VIEW_TRUE;
    case 0xc4:
    case 0xc5:
    case 0xc6:
        return bound(view, at, end, (size_t)1 << (first - 0xc4), 0) ? VIEW_BYTES : VIEW_MALFORMED;
    case 0xd9:
    case 0xda:
    case 0xdb:
        return bound(view, at, end, (size_t)1 << (first - 0xd9), 0) ? VIEW_STR : VIEW_MALFORMED;
    case 0xc7:
    case 0xc8:
    case 0xc9:
        size_bytes = (size_t)1 << (first - 0xc7);
        return bound(view, at, end, size_bytes, 1) ? look_extension(view, at[1 + size_bytes]) : VIEW_MALFORMED;
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
        view->len = (size_t)1 << (first - 0xd4);
        if ((size_t)(end - at) < 2 + view->len) {
            return VIEW_MALFORMED;
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
            return VIEW_MALFORMED;
        }
        view->count = (uint32_t)term_load(at + 1, size_bytes);
        view->payload = at + 1 + size_bytes;
        view->len = (size_t)(end - view->payload);
        return view->count > view->len ? VIEW_MALFORMED : first <= 0xdd ? VIEW_LIST : VIEW_DICT;
    default:
        return VIEW_MALFORMED;
    }
}

void view_read(struct view *view, const uint8_t *at, const uint8_t *end) {
    view->behind = NULL;
    view->payload = at;
    view->len = 0;
    size_t len = number_read(at, end, &view->number);
    if (len > 0) {
        view->kind = VIEW_NUMBER;
        view->behind = at + len;
        return;
    }
    if (at == end) {
        view->kind = VIEW_MALFORMED;
    } else if (at[0] >= 0xa0 && at[0] < 0xc0) {
        view->len = at[0] & 0x1fu;
        view->payload = at + 1;
        view->kind = view->len <= (size_t)(end - at) - 1 ? VIEW_STR : VIEW_MALFORMED;
        view->behind = at + 1 + (view->kind == VIEW_STR ? view->len : 0);
    } else if (at[0] >= 0x80 && at[0] < 0xa0) {
        view->count = at[0] & 0x0fu;
        view->payload = at + 1;
        view->len = (size_t)(end - at) - 1;
        view->kind = view->count > view->len ? VIEW_MALFORMED : at[0] >= 0x90 ? VIEW_LIST : VIEW_DICT;
    } else {
        view->kind = look_tagged(view, at, end);
    }
    if (view->kind >= VIEW_EXTENSION) {
        view->behind = view->kind == VIEW_MALFORMED ? end : view->behind;
        view->payload = at;
        view->len = (size_t)(view->behind - at);
    }
}
