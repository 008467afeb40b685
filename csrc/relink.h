/* SPDX-License-Identifier: Apache-2.0 */
/* relink.h - a table whose name was taken away by other means than a drop (rm, an init system that tidies up) gets it back.
 *
 * The kernel links no file again that has lost its last name, so the name goes to a copy, and the handles to the copy. At
 * any moment there is one table, or for the time being none:
 *
 *  1. The control lock, then all stripe locks: each stripe is found in order, nobody is changing anything. Memory for the copy
 *     is reserved: FULL leaves everything as it was.
 *  2. state := MOVING, under all these locks; the stripes' are released. From here on the old segment is constant: writers look
 *     at the state when they have a stripe's lock, changes of the owner when they have the control lock, readers in every call.
 *  3. The bytes are copied, and the copy's locks made anew.
 *  4. The copy is linked to the name, unless that is taken. COMMIT POINT.
 *  5. state := MOVED. A handle that finds MOVING or MOVED goes to what bears the name, if that is a later copy of the same
 *     table (table_id, copies, user), and says MOVED itself, if it may write, before it does anything there. The relinker goes
 *     there before its call returns: what is removed again before anybody has gone there is gone for good.
 *
 * A death before 2 leaves the table as it was: removed. Between 2 and 4 the copy, nameless, goes with the dead process;
 * whoever has a handle does the same again, from 3, for the old segment is still whole and constant. After 4 the handles find the
 * copy. Nothing leaks: what has no name goes with its last handle. The control lock is held from 1 to 5, so a relinker that
 * is stopped is waited for (BUSY), and none links an older copy later on; who has waited looks for the copy before anything else.
 *
 * Drop: what has no name is dropped under the control lock, from LIVE or, where there is no copy, from MOVING; the copy, where
 * there is one. A death before that store leaves it removed, after it dropped.
 *
 * One order of events brings back what was there before the first removal, not what came after it: a death exactly between 4
 * and 5; no handle that can write to the old segment makes a call while the copy has its name, so that all that is written there
 * comes from handles attached to it by name; the copy is removed or dropped; and then a relink through a handle on the old
 * segment. It is no split: handles on the copy say that their segment was removed or dropped, as before. */
#ifndef TMGR_RELINK_H
#define TMGR_RELINK_H

#include "repair.h"
#include "segment.h"

#endif
