/* SPDX-License-Identifier: Apache-2.0 */
/* decimal.h - the order of Decimals, from the ASCII that str() makes of them.
 *
 * Scope. Pure functions, bounded by explicit lengths; text that is no Decimal has a place too, behind all others.
 *
 * Order. -Infinity < finite ones by value < Infinity < NaNs by their text < what is malformed by its text. Equal values
 * are equal however they are written: 1.0 and 1.00, 0 and -0 and 0E+9. */
#ifndef TABLEMGR_DECIMAL_H
#define TABLEMGR_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* <0, 0, >0. */
int decimal_compare(const uint8_t *a, size_t an, const uint8_t *b, size_t bn);

/* Whether str() of a Decimal could have written this. */
bool decimal_is_valid(const uint8_t *text, size_t n);

#endif
