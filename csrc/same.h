/* SPDX-License-Identifier: Apache-2.0 */
/* same.h - whether two encoded terms have the same type and the same value, at every depth: 1 is not 1.0.
 *
 * Scope. A pure function on bytes that do not change meanwhile; no locks, no system calls. Nothing is read beyond the
 * given ends, whatever the bytes are. The encoding is canonical but for one thing: the items of a dict stand in the order
 * of their insertion, which is no part of its value. So bytes decide, and where they differ, dicts are taken apart. */
#ifndef TABLEMGR_SAME_H
#define TABLEMGR_SAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* For bytes that differ; `len` is the length of both. Allocates only for dicts of the same size that differ in order. */
bool same_but_for_order(const uint8_t *a, const uint8_t *b, size_t len);

/* By its first byte: can there be a dict in the term? */
static inline bool same_may_nest(uint8_t first) {
    return (first >= 0x80 && first < 0xa0) || (first >= 0xc7 && first <= 0xc9) || (first >= 0xd4 && first <= 0xd8) ||
           (first >= 0xdc && first < 0xe0);
}

static inline bool same_terms(const uint8_t *a, size_t an, const uint8_t *b, size_t bn) {
    return an == bn && (memcmp(a, b, an) == 0 || (same_may_nest(a[0]) && same_but_for_order(a, b, an)));
}

#endif
