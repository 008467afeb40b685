/* SPDX-License-Identifier: Apache-2.0 */
/* owner.h - who owns a table, who inherits it, who may do what.
 *
 * The owner word (pid, start time, record number) is the truth, and its store is the COMMIT POINT of every change of
 * owner, heir or access. What goes with it stands in one of four records; the one in use is never written, so a death at
 * any instruction leaves either the old word with its record whole or the new one with its own. Changes are made under the
 * control lock; its next holder after a death has nothing to repair. A reader copies a record and looks whether the
 * word is still the same.
 *
 * A death is established before the lock is taken, the heir is read only then, and the word is compared again under the lock:
 * a dead process cannot become owner again, so an unchanged word means that nothing changed.
 *
 * A manager inherits in order to keep a table for others (reason KEPT). That is said in the record, so its successor, and
 * whoever wants to claim or drop what is kept, knows it from the segment alone; from and heir data stay the dead owner's.
 * What nobody stands in line for at that moment it offers (OFFERED): then the next owner takes it by itself, in one step. Who
 * asks the manager for it instead gets it at once, so a line comes about only while a stopped process holds the control lock. */
#ifndef TMGR_OWNER_H
#define TMGR_OWNER_H

#include "handle.h"
#include "os.h"

/* First record of a new table. */
int owner_init(struct tmgr_table *t, const struct tmgr_options *options);
/* A consistent copy of owner word and record. */
uint64_t owner_read(struct tmgr_table *t, struct owner_record *record);
bool owner_word_alive(uint64_t identity);
static inline struct tmgr_process owner_process(uint64_t identity) {
    struct tmgr_process process = {(uint32_t)(identity >> OWNER_PID_SHIFT),
                                   identity >> OWNER_START_SHIFT & ((UINT64_C(1) << 40) - 1)};
    return process;
}
static inline uint32_t rule_access(uint64_t rule) { return rule & 0xff; }
static inline uint32_t rule_heir(uint64_t rule) { return rule >> 8 & 0xff; }
static inline uint32_t rule_reason(uint64_t rule) { return rule >> 16 & 0xff; }
static inline bool is_keeping(uint64_t reason) { return reason == TMGR_KEPT || reason == TMGR_OFFERED; }
static inline bool rule_is_kept(uint64_t rule) { return is_keeping(rule_reason(rule)); }
#define RULE_END_SHIFT  24
#define RULE_EXIT_SHIFT 32
#define RULE_END_MASK   (UINT64_C(3) << RULE_END_SHIFT | UINT64_C(0xffffffff) << RULE_EXIT_SHIFT)
/* enum tmgr_end, of the owner before. */
static inline uint32_t rule_end(uint64_t rule) { return rule >> RULE_END_SHIFT & 3; }
static inline int32_t rule_exit(uint64_t rule) { return (int32_t)(uint32_t)(rule >> RULE_EXIT_SHIFT); }

/* -- admission ------------------------------------------------------------------------------------------------------------- */

#define IDENTITY_MASK (~(uint64_t)(RECORDS - 1))
static_assert((1 << OWNER_START_SHIFT) == RECORDS, "the record number fills the bits below the start time");

static inline struct owner_record *owner_records(struct tmgr_table *t) {
    return (struct owner_record *)(void *)(t->base + RECORDS_OFFSET);
}
static inline bool rule_permits(uint64_t rule, bool is_owner, bool write) {
    return is_owner || rule_access(rule) == TMGR_PUBLIC || (!write && rule_access(rule) != TMGR_PRIVATE);
}
static inline bool same_namespaces(struct tmgr_table *t, const struct os_self *self) {
    return load_relaxed(&t->control->pid_namespace) == load_relaxed(&self->pid_namespace) &&
           load_relaxed(&t->control->time_namespace) == load_relaxed(&self->time_namespace);
}

/* Has another file system been mounted over all names since the handle was made? Where there is no such directory any more (the
 * root was changed) names lead to no other table either. */
bool owner_is_hidden(struct tmgr_table *t);
/* What to refuse a call with: the status, which speaks of rights; or NO_TABLE if the table went with its owner, which comes
 * first. Asks the kernel each time: only a call that is refused pays for it. */
int owner_refusal(struct tmgr_table *t, int status);
int owner_admits_fully(struct tmgr_table *t, bool write);
/* May this process read (write) now? OK, NO_TABLE (dropped, or its owner died and there is no heir), ACCESS, NAMESPACE.
 * The usual yes is found here, in every call of every verb; all else by owner_admits_fully. */
static inline int owner_admits(struct tmgr_table *t, bool write) {
    const struct os_self *self = os_self();
    uint64_t owner = load_acquire(&t->control->owner);
    uint64_t rule = load_relaxed(&owner_records(t)[owner % RECORDS].rule);
    fence_acquire();
    bool is_owner = (owner & IDENTITY_MASK) == load_relaxed(&self->identity) && !t->foreign;
    if (rule_permits(rule, is_owner, write) && load_relaxed(&t->control->owner) == owner &&
        load_acquire(&t->control->state) == STATE_LIVE && (!write || same_namespaces(t, self)) &&
        os_tick() == load_relaxed(&t->checked_tick))
        return TMGR_OK;
    return owner_admits_fully(t, write);
}

/* -- changes --------------------------------------------------------------------------------------------------------------- */

/* The control lock, which all changes of owner, heir and access are made under. */
int owner_lock(struct tmgr_table *t, int64_t wait_ns);
void owner_unlock(struct tmgr_table *t);
int owner_claim(struct tmgr_table *t, enum tmgr_claim what, const struct tmgr_ending *ending, int64_t wait_ns);
/* As tmgr_settle, but where the table has to go it says NO_TABLE and leaves the dropping to the caller. */
int owner_settle(struct tmgr_table *t, const struct tmgr_ending *ending, int64_t wait_ns);
int owner_give_away(struct tmgr_table *t, const struct tmgr_process *receiver, const void *data, size_t data_len,
                    int64_t wait_ns);
int owner_pass_on(struct tmgr_table *t, const struct tmgr_process *receiver, bool kept, int64_t wait_ns);
int owner_note_end(struct tmgr_table *t, const struct tmgr_ending *ending, int64_t wait_ns);
int owner_setopts(struct tmgr_table *t, uint32_t what, const struct tmgr_options *options, int64_t wait_ns);

#endif
