/* SPDX-License-Identifier: Apache-2.0 */
/* segment.h - the life of a segment: create, attach, drop, rename; the gate that calls pass.
 *
 * Creating and attaching are in segment.c, the gate is in segment_gate.c, names are in segment_names.c; the handles are those of mapping.h. */
#ifndef TMGR_SEGMENT_H
#define TMGR_SEGMENT_H

#include "owner.h"

enum { NAME_WAIT_NS = 1000000000, NAME_TRIES = 100 }; /* for whoever is changing or removing a name */

static inline void segment_leave(struct tmgr_table *t) { atomic_fetch_sub(&t->in_flight, 1); }
int segment_wait_at_gate(struct tmgr_table *t);
/* Through the gate, for calls that any process may make on any table: the handle is open, and stays mapped until
 * segment_leave. OK, CLOSED. */
static inline int segment_enter_any(struct tmgr_table *t) {
    atomic_fetch_add(&t->in_flight, 1); /* before looking at the gate; close and remap do the reverse */
    return atomic_load(&t->gate) == GATE_OPEN ? TMGR_OK : segment_wait_at_gate(t);
}

/* The same; and where the table lives on in a copy, that is what the handle maps from here on, if it can be found. */
int segment_enter_last(struct tmgr_table *t);
/* The segment has outgrown the mapping. Whoever comes first maps more, when the calls in flight have left; BUSY if one of them
 * does not leave soon (it may be waiting for a lock that a stopped process holds). */
int segment_remap(struct tmgr_table *t);
/* The name that the segment has, or had when it was removed. */
void segment_last_name(struct tmgr_table *t, char name[256]);

int segment_admit_fully(struct tmgr_table *t, bool write);
/* Behind the gate: may this process read (write) this table here and now? If not, it has left again; and the mapping may
 * have been replaced by a larger one, or by that of a copy (relink.h). OK, CLOSED, NO_TABLE, CORRUPT, ACCESS, NAMESPACE,
 * READONLY, NO_MEMORY, BUSY. */
static inline int segment_admit(struct tmgr_table *t, bool write) {
    if (load_acquire(&t->control->size) > t->mapped || t->head_only || load_relaxed(&t->control->poisoned) != 0 ||
        (write && (!t->writable || atomic_load_explicit(&t->outgrown, memory_order_relaxed))) ||
        owner_admits(t, write) != TMGR_OK)
        return segment_admit_fully(t, write);
    return TMGR_OK;
}
/* Both. */
static inline int segment_enter(struct tmgr_table *t, bool write) {
    int status = segment_enter_any(t);
    return status == TMGR_OK ? segment_admit(t, write) : status;
}
/* Writable mapping, if the descriptor allows it. */
bool segment_make_writable(struct tmgr_table *t);
/* For a call that was refused, behind the gate and without a lock: true if the owner is dead and its heir, a live
 * process, has the table now, which may be this one. Whoever notices a death hands over (owner_settle). */
bool segment_hands_over(struct tmgr_table *t);
/* errno of a failed system call of this thread, kept for tmgr_errno; gives the status it stands for. */
int segment_error(int error);
/* Drop what has a name, whatever the rights of this process in the table. NO_TABLE: it has none, or is dropped already. */
int segment_drop(struct tmgr_table *t, int64_t wait_ns);
/* Does what bears the table's name hold a later copy of it? OK, NO_TABLE, NO_MEMORY, OS. */
int segment_has_copy(struct tmgr_table *t);

/* -- between the files of this header ---------------------------------------------------------------------------------------- */

/* Map into a new handle what bears its name; the gate stays closed. */
int segment_attach(struct tmgr_table *t, enum tmgr_mapping mapping);
/* Its name leads to something else than what was opened by it, or to nothing. */
bool segment_has_lost_name(struct tmgr_table *t);
/* The one of the two names of a control that this index chooses. */
void segment_set_name(struct control *control, uint64_t index, const char *name, size_t len);
/* The name is taken: by a table that is gone but for its name? Then take the name away. */
int segment_clear_gone(const char *segment, uint64_t until);

#endif
