/* SPDX-License-Identifier: Apache-2.0 */
/* sortkey.h - keys as bytes that memcmp puts into the order of an ordered_set.
 *
 * Scope. Pure functions on private bytes; no shared memory, no locks, no allocation, no recursion. Nothing is read
 * beyond the given length, whatever the bytes are: what is no key is refused.
 *
 * What holds. For keys a and b with sort keys A and B: a is less than b exactly if memcmp says so of A and B; the two are
 * one key of an ordered_set exactly if A and B are the same bytes; and neither is a proper prefix of the other, so the
 * shorter length is enough for memcmp. A sort key does not give its key back: 1 and 1.0 have the same one.
 *
 * The order. None < False < True < numbers < str < bytes < date < datetime < time < timedelta < Decimal < UUID < tuple.
 *   number     by value, ints of any size and floats exactly; 0.0 equals -0.0; NaN last
 *   str        by code point, which is the order of UTF-8 bytes; bytes, UUID by bytes
 *   datetime   naive before aware; by instant, then UTC offset, then fold; time the same
 *   Decimal    -Infinity < finite ones by value < Infinity < NaNs by their text; 1.0 equals 1.00, and 0 equals -0
 *   tuple      element by element, a tuple before its extensions, as Python has it
 *
 * The bytes. The first one says what follows; none is 0x00 or 0xff, so that these end a tuple and lie behind every one.
 *
 *   0x04 0x08 0x0c   None, False, True: nothing follows
 *   0x20 to 0x60     number; 0x40 is zero, 0x21 and 0x5f the infinities, 0x60 NaN: nothing follows. Others are written as
 *                    sign * 0.digits * 128**exponent, the first digit not 0. The first byte has sign and exponent; digits
 *                    follow as 2 * digit + 1, the last as 2 * digit (it is not 0). Exponents outside -8 to 19 have
 *                    a first byte for all below, or all above, and 3 bytes of their own before the digits. Where the
 *                    number is negative, all but the first byte are inverted.
 *   0x68, 0x70       str, bytes; 0 is written 01 01, 1 is written 01 02, and 00 is the end
 *   0x78             date: 4 bytes of ordinal
 *   0x80, 0x81       naive and aware datetime: 8 bytes. Naive: microseconds * 2 + fold. Aware: the instant; then 5 bytes of
 *                    UTC offset and fold
 *   0x84, 0x85       naive and aware time: the same with 5 bytes in place of 8
 *   0x88             timedelta: 4 bytes of days, 5 of microseconds
 *   0x90 to 0xd0     Decimal; 0xb0 is zero. As numbers, to the base of 10, two digits to a byte, 8 bytes for a far exponent.
 *                    0xd0 is a NaN; its text follows, and 00
 *   0xe0             UUID: 16 bytes
 *   0xf0             tuple: its elements' sort keys, then 00
 *
 * A str of n bytes without NULs takes n + 2, an int below 128 takes 2, one of 64 bits at most 11, a float at most 13. */
#ifndef TABLEMGR_SORTKEY_H
#define TABLEMGR_SORTKEY_H

#include <stddef.h>
#include <stdint.h>

#include "tablemgr.h"

enum { SORTKEY_MAX = 2 * TMGR_KEY_MAX + 16 }; /* sortkey_bound of the longest key */

/* Bytes that are enough for the sort key of any key of this length, TMGR_KEY_MAX at most, encoded; for the tuple prefix
 * of elements of this length as well. More than it is long, for words are stored whole. */
static inline size_t sortkey_bound(size_t key_len) { return 2 * key_len + 16; }

/* The sort key of an encoded key into `out`, which must not overlap it. Bytes written, at least 1; 0: malformed, of no type
 * that a key may have (at any depth), nested deeper than TERM_DEPTH, or capacity is below sortkey_bound(len). What is
 * in `out` behind the bytes written, or after 0, is of no use. */
size_t sortkey_make(const uint8_t *key, size_t len, uint8_t *out, size_t capacity);

/* What the sort keys of all tuples begin with whose first n elements equal these: `elements` are n encoded keys in
 * sequence, `len` bytes in all. So these tuples have the sort keys from it up to it followed by 0xff. As sortkey_make. */
size_t sortkey_tuple_prefix(const uint8_t *elements, size_t len, uint32_t n, uint8_t *out, size_t capacity);

#endif
