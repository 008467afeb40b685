/* SPDX-License-Identifier: Apache-2.0 */
/* repair.h - the one way in for writers: take a stripe's lock and find the stripe in order. */
#ifndef TMGR_REPAIR_H
#define TMGR_REPAIR_H

#include "txn.h"

enum { TODO_UNITS = 64 }; /* of left-over work that every writer does before its own */

/* Take the lock of s; after a death of its last holder repair what that left. Then the stripe follows delete_all, and some
 * of its to-do work is done. OK, BUSY, AGAIN, CORRUPT. */
int stripe_lock(struct tmgr_table *t, struct stripe *s, int64_t wait_ns);
void stripe_unlock(struct stripe *s);
/* All of the to-do work. */
int stripe_catch_up(struct tmgr_table *t, struct stripe *s);

#endif
