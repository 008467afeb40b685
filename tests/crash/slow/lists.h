/* SPDX-License-Identifier: Apache-2.0 */
/* lists.h - a list of rows of one key of a bag, and scripts of writes that change it: at each moment its rows are some that
 * were inserted one after the other, and so have stamps that follow each other. */
#ifndef LISTS_H
#define LISTS_H

#include "model.h"

enum { LIST_ROWS = 5 };

/* The table gets LIST_ROWS rows of this id. */
void list_begin(struct tmgr_table *table, uint64_t id);
/* One row comes, the oldest goes, and so on. */
void list_shift(struct tmgr_table *table, uint64_t id);
/* All go and others come, in one step each time. */
void list_renew(struct tmgr_table *table, uint64_t id);
/* All go, and others come one by one. */
void list_come_and_go(struct tmgr_table *table, uint64_t id);
/* Are these rows of the list as it was at some moment, oldest first? */
bool list_is_sound(uint64_t id, const struct tmgr_buffer *rows);

#endif
