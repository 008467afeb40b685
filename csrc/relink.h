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
 *  5. state := MOVED. A handle that finds MOVING or MOVED goes to what bears the name, if that has the same table_id.
 *
 * A death before 2 leaves the table as it was: removed. Between 2 and 4 the copy, nameless, goes with the dead process;
 * whoever has a handle does the same again, from 3, for the old segment is still whole and constant. After 4 the handles find the
 * copy. Nothing leaks: what has no name goes with its last handle. The control lock is held from 1 to 5, so a relinker that
 * is stopped is waited for (BUSY), and none links an older copy later on.
 *
 * One order of events brings back what was there before the first removal, not what came after it: a death exactly between 4
 * and 5, the table removed once more, or dropped, and then a relink through a handle that made no call in between. It is
 * no split: handles on the younger copy say that their segment was removed, as before. */
#ifndef TMGR_RELINK_H
#define TMGR_RELINK_H

#include "repair.h"
#include "segment.h"

#endif
