/* SPDX-License-Identifier: Apache-2.0 */
/* view.h - what an encoded term is: its type, where its content lies, and what it says of itself.
 *
 * Scope. Pure functions, bounded by an explicit end whatever the bytes are. A view borrows the bytes. It says that the
 * term's own bytes are in order: of what a container holds, only that there could be so many elements. */
#ifndef TABLEMGR_VIEW_H
#define TABLEMGR_VIEW_H

#include <stddef.h>
#include <stdint.h>

#include "number.h"

/* In the order of order.h. */
enum view_kind {
    VIEW_NONE,
    VIEW_FALSE,
    VIEW_TRUE,
    VIEW_NUMBER,
    VIEW_STR,
    VIEW_BYTES,
    VIEW_DATE,
    VIEW_DATETIME,
    VIEW_TIME,
    VIEW_TIMEDELTA,
    VIEW_DECIMAL,
    VIEW_UUID,
    VIEW_TUPLE, /* the last that may be a key */
    VIEW_LIST,
    VIEW_DICT,
    VIEW_SET,
    VIEW_FROZENSET,
    VIEW_BYTEARRAY,
    VIEW_PICKLE,
    VIEW_EXTENSION,
    VIEW_MALFORMED
};

struct view {
    enum view_kind kind;
    const uint8_t *payload;
    size_t len;            /* bytes of payload; LIST and DICT: up to the end of what the term may fill */
    uint32_t count;        /* TUPLE, LIST, DICT, SET, FROZENSET: elements, or pairs of a dict */
    const uint8_t *behind; /* the end of the term; NULL for LIST and DICT, which have to be walked */
    struct number number;
};

/* What stands at `at`. What is malformed takes all up to the end; its payload, and that of an extension type without a
 * meaning, begins at `at`. */
void view_read(struct view *view, const uint8_t *at, const uint8_t *end);

#endif
