/* SPDX-License-Identifier: Apache-2.0 */
/* segment.h - the life of a segment and of a handle: create, attach, close, drop, rename; the gate that calls pass. */
#ifndef TMGR_SEGMENT_H
#define TMGR_SEGMENT_H

#include "owner.h"

/* Through the gate: the handle stays mapped until segment_leave. OK, CLOSED, NO_TABLE, CORRUPT, ACCESS, NAMESPACE,
 * READONLY, NO_MEMORY. */
int segment_enter(struct tmgr_table *t, bool write);
/* The same for calls that any process may make on any table: only the handle has to be open. */
int segment_enter_any(struct tmgr_table *t);
void segment_leave(struct tmgr_table *t);
/* Writable mapping, if the descriptor allows it. */
bool segment_make_writable(struct tmgr_table *t);
/* errno of a failed system call of this thread, kept for tmgr_errno; gives the status it stands for. */
int segment_error(int error);
/* Drop, whatever the rights of this process in the table. */
int segment_drop(struct tmgr_table *t, int64_t wait_ns);

#endif
