/* SPDX-License-Identifier: Apache-2.0 */
/* order.h - the total order of encoded terms: of the keys of an ordered_set, and of what guards compare.
 *
 * Scope. Pure functions on private bytes; no shared memory, no locks. Nothing is read beyond the given ends, whatever
 * the bytes are; what is malformed has a place too, behind everything else. Recursion ends at ORDER_DEPTH levels of
 * nesting, more than the codec writes; below that, bytes decide.
 *
 * The order. None < False < True < numbers < str < bytes < date < datetime < time < timedelta < Decimal < UUID < tuple
 * (to here: keys) < list < dict < set < frozenset < bytearray < what was pickled < other extension types.
 *   number     by value, ints of any size and floats exactly; 0.0 equals -0.0; NaN last
 *   str        by code point, which is the order of UTF-8 bytes; bytes, bytearray, UUID by bytes
 *   datetime   naive before aware; by instant, then UTC offset, then fold; time the same
 *   Decimal    -Infinity < finite ones by value < Infinity < NaNs by their text; 1.0 equals 1.00, and 0 equals -0
 *   tuple      element by element, a tuple before its extensions, as Python has it; list the same
 *   dict, set, frozenset   fewer elements first; else their elements (key and value of a dict) in ascending order
 *   others     by their bytes, shorter first where one begins with the other
 * Two terms are equal in it where they have the same type, numbers aside, and equal value: so the encoding of a term
 * decides alone for keys without numbers and Decimals in them. */
#ifndef TABLEMGR_ORDER_H
#define TABLEMGR_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { ORDER_DEPTH = 128 };

/* <0, 0, >0. Allocates only for dicts and sets that differ, and compares these by their bytes if memory is out. */
int order_compare(const uint8_t *a, size_t an, const uint8_t *b, size_t bn);

/* Whether order_compare gives 0. */
static inline bool order_equal(const uint8_t *a, size_t an, const uint8_t *b, size_t bn) {
    return (an == bn && memcmp(a, b, an) == 0) || order_compare(a, an, b, bn) == 0;
}

/* Whether these bytes are one well-formed term of a type that may be a key, at every depth, and no more. */
bool order_check_key(const uint8_t *key, size_t n);

#endif
