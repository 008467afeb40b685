/* SPDX-License-Identifier: Apache-2.0 */
/* mapping.h - this process's handles and what they map: a handle made and freed, closed, carried over a fork.
 *
 * A new handle is in the list that a fork goes through, and its gate is closed. Whoever maps a segment into it (segment.h) adopts what the
 * control page says and opens the gate; who replaces a mapping shuts the gate before, and holds lock_private meanwhile. */
#ifndef TMGR_MAPPING_H
#define TMGR_MAPPING_H

#include "handle.h"

enum { WINDOW_MOST_LOG2 = 39 }; /* of the address space that one mapping reserves for growth */

/* A handle for the segment of this name, with nothing mapped. NULL: no memory. */
struct tmgr_table *handle_new(const char *segment);
/* Everything but base, mapped and fd follows from the control page. */
void handle_adopt(struct tmgr_table *t);
void handle_unmap(struct tmgr_table *t);
/* Free one that nobody has used yet. */
void handle_discard(struct tmgr_table *t);

/* Made by a process of other namespaces, where process and time stand for something else. */
bool control_is_foreign(const struct control *control);
/* Bytes of address space for a mapping: what the segment may grow to. */
uint64_t mapping_window(const struct control *control);

#endif
