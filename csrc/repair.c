/* SPDX-License-Identifier: Apache-2.0 */
#include "repair.h"
#include "lock.h"
#include "os.h"

/* What the last holder was at is finished or undone; each step may be cut short by another death and done again.
 * A transaction is decided last: its records point at blocks and slots that the steps before have put in order. */
static int repair(struct tmgr_table *t, struct stripe *s) {
    int status = stripe_finish(t, s);
    if (status == TMGR_OK)
        status = index_repair(t, s);
    if (status == TMGR_OK)
        status = txn_repair(t, s);
    if (status != TMGR_OK)
        return status;
    publish(&t->control->repairs, load_relaxed(&t->control->repairs) + 1);
    publish(&t->control->last_repair_ns, os_now_ns());
    publish(&s->dirty, 0);
    return TMGR_OK;
}

static int to_do(struct tmgr_table *t, struct stripe *s, uint64_t units) {
    int status = txn_resolve(t, s, &units); /* before tear-down, for records point into buckets */
    if (status == TMGR_OK)
        status = bag_tidy(t, s, &units);
    return status == TMGR_OK && load_relaxed(&s->leftover) == 0 ? index_tear_down(t, s, &units) : status;
}

int stripe_catch_up(struct tmgr_table *t, struct stripe *s) { return to_do(t, s, UINT64_MAX); }

int stripe_lock(struct tmgr_table *t, struct stripe *s, int64_t wait_ns) {
    enum lock_outcome outcome = lock_take(s->lock, wait_ns);
    if (outcome == LOCK_BUSY)
        return TMGR_BUSY;
    if (outcome == LOCK_BROKEN)
        return poison(t, POISON_LOCK);
    if (outcome == LOCK_HELD_DEAD) {
        publish(&s->dirty, 1); /* before the lock forgets it */
        lock_mark_consistent(s->lock);
    }
    int status = TMGR_OK;
    if (load_acquire(&t->control->size) > t->mapped)
        status = AGAIN; /* the stripe may use pages that this handle does not map */
    else if (load_relaxed(&t->control->state) >= STATE_MOVING)
        status = AGAIN; /* a write here would be missing from the copy: the caller enters anew, which leads there */
    else if (load_relaxed(&t->control->poisoned) != 0)
        status = TMGR_CORRUPT;
    else if (load_relaxed(&s->dirty) != 0)
        status = repair(t, s);
    if (status == TMGR_OK && !stripe_is_idle(s))
        status = poison(t, POISON_RING);
    if (status == TMGR_OK)
        status = hset_synchronise(t, s);
    if (status == TMGR_OK)
        status = to_do(t, s, TODO_UNITS);
    if (status != TMGR_OK)
        lock_release(s->lock);
    return status;
}

void stripe_unlock(struct stripe *s) { lock_release(s->lock); }
