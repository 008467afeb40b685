/* SPDX-License-Identifier: Apache-2.0 */
/* segment_gate.c - the gate that calls on a handle pass: shut while the mapping is replaced, by a larger one or by that of a copy, and who
 * is admitted behind it. */
#include "lock.h"
#include "mapping.h"
#include "os.h"
#include "segment.h"

#include <errno.h>

enum { DRAIN_NS = 5000000 };

/* -- a larger mapping ---------------------------------------------------------------------------------------------------------------- */

/* The gate shut for a mapping to take another's place. False: somebody else is at it, or the handle is closed, and the caller looks
 * again. *drained: the calls in flight have left, which they are given a moment for. */
static bool gate_shut(struct tmgr_table *t, bool *drained) {
    int open = GATE_OPEN;
    if (!atomic_compare_exchange_strong(&t->gate, &open, GATE_REMAP)) {
        os_yield();
        return false;
    }
    uint64_t until = os_monotonic_ns() + DRAIN_NS;
    while (!(*drained = atomic_load(&t->in_flight) == 0) && os_monotonic_ns() < until)
        os_yield();
    return true;
}

int segment_remap(struct tmgr_table *t) {
    bool drained;
    if (!gate_shut(t, &drained))
        return TMGR_OK;
    int status = TMGR_BUSY;
    if (drained) {
        uint64_t size = load_relaxed(&t->control->size), least = size > t->mapped ? size : t->mapped + PAGE_BYTES;
        uint64_t window = least > mapping_window(t->control) ? least : mapping_window(t->control);
        lock_private(); /* no fork now: the child would have the handle half moved */
        status = segment_error(os_map_more(least, window, &t->base, &t->mapped));
        handle_adopt(t);
        unlock_private();
    }
    atomic_store(&t->outgrown, false);
    atomic_store(&t->gate, GATE_OPEN);
    return status;
}

int segment_wait_at_gate(struct tmgr_table *t) {
    for (;;) {
        int gate = atomic_load(&t->gate);
        segment_leave(t);
        if (gate == GATE_CLOSED)
            return TMGR_CLOSED;
        os_yield();
        atomic_fetch_add(&t->in_flight, 1);
        if (atomic_load(&t->gate) == GATE_OPEN)
            return TMGR_OK;
    }
}

/* -- the copy of a removed table ----------------------------------------------------------------------------------------------------- */

/* Is the other one this table, and later? (An earlier copy can have the name only where a relinker died, see relink.h.) */
static bool is_later_copy(struct tmgr_table *copy, struct tmgr_table *t) {
    struct os_file file, old;
    return load_relaxed(&copy->control->table_id) == load_relaxed(&t->control->table_id) &&
           load_relaxed(&copy->control->copies) > load_relaxed(&t->control->copies) &&
           load_acquire(&copy->control->state) == STATE_LIVE && os_segment_stat(copy->fd, &file) == 0 &&
           os_segment_stat(t->fd, &old) == 0 && file.uid == old.uid;
}

/* What bears the table's name, as a handle that nobody uses yet. NULL with OK: look again, it was just removed; with NO_TABLE: it
 * is not this table, or there is none; with NO_MEMORY or OS: this process cannot find out. */
static struct tmgr_table *find_copy(struct tmgr_table *t, int *status) {
    char name[256];
    segment_last_name(t, name);
    struct tmgr_table *copy = handle_new(name);
    *status = copy != NULL ? TMGR_OK : TMGR_NO_MEMORY;
    if (copy == NULL)
        return NULL;
    struct os_file file;
    bool trusts = t->may_write && os_segment_stat(t->fd, &file) == 0 && !file.trusted; /* it was told to */
    *status = segment_attach(copy, t->head_only   ? TMGR_MAP_HEAD
                                   : trusts       ? TMGR_MAP_WRITE
                                   : t->may_write ? TMGR_MAP_AUTO
                                                  : TMGR_MAP_READ);
    if (*status == TMGR_OK && is_later_copy(copy, t))
        return copy;
    bool out_of_files = *status == TMGR_OS && (tmgr_errno() == EMFILE || tmgr_errno() == ENFILE);
    if (*status != TMGR_NO_MEMORY && !out_of_files)
        *status = segment_has_lost_name(copy) ? TMGR_OK : TMGR_NO_TABLE;
    handle_discard(copy);
    return NULL;
}

int segment_has_copy(struct tmgr_table *t) {
    int status;
    handle_discard(find_copy(t, &status));
    return status;
}

/* The table lives on in a copy, which bears its name: this handle is to be one on that. Whoever comes first sees to it, when
 * the calls in flight have left. */
static int follow(struct tmgr_table *t) {
    bool drained;
    if (!gate_shut(t, &drained))
        return TMGR_OK;
    struct tmgr_table *copy = NULL;
    int status = TMGR_BUSY;
    if (drained && load_acquire(&t->control->state) >= STATE_MOVING)
        copy = find_copy(t, &status);
    else if (drained)
        status = TMGR_OK; /* another thread has been faster */
    if (copy != NULL) {
        if (segment_make_writable(
                t)) /* before anything is written to the copy: nobody copies the old segment once more */
            compare_exchange(&t->control->state, STATE_MOVING, STATE_MOVED);
        lock_private(); /* no fork now: the child would have the handle half moved */
        handle_unmap(t);
        t->base = copy->base;
        t->mapped = copy->mapped;
        t->fd = copy->fd;
        t->writable = copy->writable;
        t->may_write = copy->may_write;
        t->foreign = copy->foreign;
        t->place = copy->place;
        memcpy(t->segment, copy->segment, sizeof t->segment);
        store_relaxed(&t->checked_tick, 0);
        handle_adopt(t);
        copy->base = NULL;
        copy->fd = -1;
        unlock_private();
        tmgr_free(copy);
    }
    atomic_store(&t->gate, GATE_OPEN);
    return status;
}

/* -- admission ----------------------------------------------------------------------------------------------------------------------- */

int segment_enter_last(struct tmgr_table *t) {
    for (;;) {
        int status = segment_enter_any(t);
        if (status != TMGR_OK || load_acquire(&t->control->state) < STATE_MOVING)
            return status;
        segment_leave(t);
        status = follow(t);
        if (status == TMGR_NO_TABLE) /* not yet, or not any more: the caller sees the state */
            return segment_enter_any(t);
        if (status != TMGR_OK)
            return status;
    }
}

bool segment_make_writable(struct tmgr_table *t) {
    if (!t->writable && t->may_write && os_protect(t->base, t->mapped, true) == 0)
        t->writable = true;
    return t->writable;
}

bool segment_hands_over(struct tmgr_table *t) {
    return !t->foreign && !owner_word_alive(load_acquire(&t->control->owner)) && segment_make_writable(t) &&
           owner_settle(t, NULL, 0) == TMGR_OK;
}

int segment_admit_fully(struct tmgr_table *t, bool write) {
    for (;;) {
        bool outgrown = write && atomic_load_explicit(&t->outgrown, memory_order_relaxed);
        int status;
        if ((load_acquire(&t->control->size) > t->mapped || outgrown) && !t->head_only) {
            segment_leave(t);
            status = segment_remap(t);
            if (status == TMGR_OK)
                status = segment_enter_any(t);
            if (status != TMGR_OK)
                return status;
            continue;
        }
        status = owner_admits(t, write);
        if (status == TMGR_ACCESS && segment_hands_over(t))
            continue;
        if (status == TMGR_NO_TABLE && load_acquire(&t->control->state) >= STATE_MOVING) {
            segment_leave(t);
            status = follow(t);
            if (status == TMGR_OK)
                status = segment_enter_any(t);
            if (status != TMGR_OK)
                return status;
            continue;
        }
        if (status == TMGR_OK && load_relaxed(&t->control->poisoned) != 0)
            status = TMGR_CORRUPT;
        if (status == TMGR_OK && (t->head_only || (write && !t->writable && !segment_make_writable(t))))
            status = owner_refusal(t, TMGR_READONLY);
        if (status != TMGR_OK)
            segment_leave(t);
        return status;
    }
}

int tmgr_admit(struct tmgr_table *t, bool write) {
    int status = segment_enter(t, write);
    if (status == TMGR_OK)
        segment_leave(t);
    return status;
}
