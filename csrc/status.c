/* SPDX-License-Identifier: Apache-2.0 */
#include "tablemgr.h"

#include <assert.h>

static const char *const texts[] = {
    [TMGR_OK] = "done",
    [TMGR_ABSENT] = "no such row",
    [TMGR_PRESENT] = "a row with this key is there",
    [TMGR_END] = "no further row",
    [TMGR_BUSY] = "a lock was not to be had in time",
    [TMGR_NO_TABLE] = "no such table, or it was dropped",
    [TMGR_TABLE_EXISTS] = "the name is taken",
    [TMGR_OWNED] = "owned by a live process",
    [TMGR_NOT_OWNER] = "only the owner may do this",
    [TMGR_ACCESS] = "the table's access does not admit this process",
    [TMGR_READONLY] = "the mapping is read-only",
    [TMGR_NAMESPACE] = "made in another pid or time namespace: reading only",
    [TMGR_CLOSED] = "the handle is closed",
    [TMGR_FULL] = "no memory left for the table",
    [TMGR_TOO_LONG] = "too long",
    [TMGR_BAD_ROW] = "not a well-formed msgpack array",
    [TMGR_SHORT_ROW] = "the row has no key element",
    [TMGR_BAD_POSITION] = "a position outside the row",
    [TMGR_KEY_POSITION] = "the key itself may not be changed",
    [TMGR_NOT_INTEGER] = "the element is not an integer",
    [TMGR_KEY_DIFFERS] = "the two rows have different keys",
    [TMGR_BAD_OPTION] = "an option out of its range",
    [TMGR_NO_PROCESS] = "no such process",
    [TMGR_OPERATION] = "tables of this type have no such operation",
    [TMGR_SELF] = "the receiver is the owner",
    [TMGR_LAYOUT] = "not a table of this build's layout",
    [TMGR_CORRUPT] = "damaged",
    [TMGR_NO_MEMORY] = "this process has no memory left",
    [TMGR_OS] = "a system call failed",
};
static_assert(sizeof texts / sizeof *texts == TMGR_STATUS_COUNT, "every status has a text");

const char *tmgr_status_text(int status) {
    return status >= 0 && status < TMGR_STATUS_COUNT ? texts[status] : "unknown status";
}
