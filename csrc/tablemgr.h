/* SPDX-License-Identifier: Apache-2.0 */
/* tablemgr.h - the public C interface: shared-memory tables that survive SIGKILL of every process that uses them.
 *
 * A table lives in one named POSIX shared-memory segment. A handle (struct tmgr_table) is one process's view of it;
 * it may be used from any number of threads and in a forked child. No function here prints, exits or installs a
 * signal handler, and none waits for another process longer than its wait_ns argument.
 *
 * Rows are msgpack arrays, keys are the element at the table's key position, and two keys are equal when their
 * encodings are: writers encode canonically (smallest form). See README.md beside this file for the extension types.
 *
 * Guarantee of every writing call: the change becomes visible by one 8-byte store. Killed before it, nothing happened;
 * killed after it, the change is there, and the next writer of the same stripe finishes the bookkeeping.
 *
 * The region between the two "cdef" marks is read by cffi as it stands: no macros, no conditionals in it. */
#ifndef TABLEMGR_H
#define TABLEMGR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* cdef begins */
enum tmgr_status {
    TMGR_OK = 0,
    /* conditions: the answer to the question that was asked */
    TMGR_ABSENT,  /* no row has this key, or the row to be replaced or removed is not the one stored */
    TMGR_PRESENT, /* insert_new found a row with this key */
    TMGR_END,     /* the traversal has no further row */
    TMGR_BUSY,    /* a lock was not to be had within wait_ns, or a read was overtaken; nothing changed: call again */
    /* refusals: nothing changed */
    TMGR_NO_TABLE,     /* no segment of that name, or the table behind the handle was dropped */
    TMGR_TABLE_EXISTS, /* create, rename: the name is taken */
    TMGR_OWNED,        /* claim: the owner, or the heir it falls to, is alive */
    TMGR_NOT_OWNER,    /* only the owner may do this */
    TMGR_ACCESS,       /* the table's access does not admit this process */
    TMGR_READONLY,     /* the handle's mapping is read-only */
    TMGR_NAMESPACE,    /* another pid or time namespace than the table's: reading only */
    TMGR_CLOSED,       /* the handle is closed */
    TMGR_FULL,         /* max_bytes, the file system or the memory limit is reached */
    TMGR_TOO_LONG,     /* key over 64 KiB, row over 1 GiB, name over 255 bytes, heir data over TMGR_DATA_MAX */
    TMGR_BAD_ROW,      /* not one well-formed msgpack array */
    TMGR_SHORT_ROW,    /* the row has no element at the key position */
    TMGR_BAD_POSITION, /* a position outside the row */
    TMGR_KEY_POSITION, /* the key itself may not be changed */
    TMGR_NOT_INTEGER,  /* update_counter: the element is not an integer */
    TMGR_KEY_DIFFERS,  /* compare_and_swap: the two rows have different keys */
    TMGR_BAD_OPTION,   /* an option out of its range */
    TMGR_NO_PROCESS,   /* give_away: no such process, or it is dead */
    TMGR_SELF,         /* give_away: the receiver is the owner */
    TMGR_OPERATION,    /* tables of this type have no such operation */
    /* trouble */
    TMGR_LAYOUT,    /* the segment is not a table of this build's layout */
    TMGR_CORRUPT,   /* damaged, or poisoned by a repair that could not verify what it found */
    TMGR_NO_MEMORY, /* this process has no memory or address space left */
    TMGR_OS,        /* a system call failed: tmgr_errno() */
    TMGR_STATUS_COUNT
};

enum tmgr_type { TMGR_SET = 0, TMGR_ORDERED_SET = 1, TMGR_BAG = 2, TMGR_DUPLICATE_BAG = 3 };
enum tmgr_access { TMGR_PUBLIC = 0, TMGR_PROTECTED = 1, TMGR_PRIVATE = 2 };
enum tmgr_heir { TMGR_HEIR_NONE = 0, TMGR_HEIR_MANAGER = 1, TMGR_HEIR_PROCESS = 2 };
/* KEPT: inherited by a manager, which only keeps the table for whoever is to have it. OFFERED: and anybody may be that. */
enum tmgr_reason {
    TMGR_NEVER = 0,
    TMGR_GIFT = 1,
    TMGR_INHERITED = 2,
    TMGR_CLAIMED = 3,
    TMGR_KEPT = 4,
    TMGR_OFFERED = 5
};
/* OPEN: nobody has said yet how the owner before ended; UNKNOWN: who looked could not learn it. */
enum tmgr_end { TMGR_END_OPEN = 0, TMGR_END_UNKNOWN = 1, TMGR_END_KNOWN = 2 };
/* KEY_MAX: in encoded form; 64 KiB of text or bytes, and the header before them. */
enum tmgr_limits { TMGR_DATA_MAX = 896, TMGR_NAME_MAX = 255, TMGR_KEY_MAX = 65536 + 5, TMGR_PROBLEM_MAX = 200 };

struct tmgr_table; /* a handle */

/* Memory for results, grown by the core with realloc and reused from call to call. All zero is an empty buffer. */
struct tmgr_buffer {
    uint8_t *data;
    size_t len;
    size_t capacity;
};

/* A process: pid and start time in clock ticks since boot (field 22 of /proc/PID/stat). pid 0: none. */
struct tmgr_process {
    uint32_t pid;
    uint64_t start;
};

/* How a process ended, if that is known or known to be unknown (not OPEN). exit: status, or minus the signal. */
struct tmgr_ending {
    struct tmgr_process process;
    enum tmgr_end end;
    int32_t exit;
};

struct tmgr_options {
    uint32_t type;                    /* enum tmgr_type */
    uint32_t access;                  /* enum tmgr_access */
    uint32_t keypos;                  /* counted from 0 */
    uint32_t codec;                   /* the caller's number, stored as it is */
    uint32_t mode;                    /* permission bits of the segment; not subject to the umask */
    uint32_t n_stripes;               /* power of two, 1 to 64; 0: the default. An ordered_set has one in any case */
    uint64_t max_bytes;               /* limit of the segment; 0: what the file system holds */
    uint32_t heir;                    /* enum tmgr_heir */
    struct tmgr_process heir_process; /* with TMGR_HEIR_PROCESS; start 0: whoever has the pid now */
    const void *heir_data;
    size_t heir_data_len;
};

/* What is known of a table without walking it. All counts are of one moment each, not of one and the same moment. */
struct tmgr_info {
    uint32_t type, access, keypos, codec, mode, n_stripes;
    uint32_t uid;     /* whose the segment is */
    uint32_t trusted; /* this user's, or root's */
    uint64_t rows, bytes_used, bytes_reserved, max_bytes;
    struct tmgr_process owner;
    uint32_t owner_alive;
    uint32_t heir; /* enum tmgr_heir */
    struct tmgr_process heir_process;
    uint32_t heir_alive;
    uint64_t created_ns, last_repair_ns; /* since the epoch; 0: never */
    uint64_t repairs;
    uint64_t retired; /* blocks given up so far: one with each row replaced or deleted, now and then one of the index */
    uint64_t table_id; /* random; tells a table from another that bore the same name before */
    uint32_t dropped, poisoned, foreign_namespace, readonly;
    uint32_t removed;   /* dropped by nobody, and yet no name leads to it any more: see tmgr_relink */
    uint32_t moved;     /* a copy was linked in its place, and this handle does not find it: renamed, or removed, too */
    uint32_t unmounted; /* another file system is mounted where its name was */
    uint32_t transfer_reason;          /* enum tmgr_reason: how the present owner got it */
    struct tmgr_process transfer_from; /* the owner before; not a manager that only kept the table */
    uint64_t transfer_ns;
    uint64_t transfer_seq; /* grows by one with every change of owner */
    uint32_t transfer_end; /* enum tmgr_end: whether anybody could say how the owner before ended */
    int32_t transfer_exit; /* with END_KNOWN: its exit status, or minus the signal that killed it */
    uint32_t name_len, heir_data_len, transfer_data_len;
    char name[256]; /* UTF-8 */
    uint8_t heir_data[896];
    uint8_t transfer_data[896];
};

enum tmgr_op_kind {
    TMGR_OP_INSERT = 0,
    TMGR_OP_INSERT_NEW,     /* nothing if the key is there; with `group` nothing if any key of the group is */
    TMGR_OP_INSERT_ALL_NEW, /* the whole call does nothing and returns TMGR_PRESENT if the key was there before it */
    TMGR_OP_DELETE,
    TMGR_OP_DELETE_OBJECT,
    TMGR_OP_UPDATE_COUNTER,
    TMGR_OP_UPDATE_ELEMENT
};

/* One step of tmgr_apply. `row` is the row to insert or to delete, or the default row of an update (NULL: none).
 * `key` serves delete and the updates. `updates` is, for update_counter, a msgpack array of arrays
 * [pos, n] or [pos, n, threshold, reset]; for update_element a msgpack array of arrays [pos, value]. */
struct tmgr_op {
    uint32_t kind;
    uint32_t group; /* of the first INSERT_NEW of a group: how many there are, this one included; else 0 */
    const uint8_t *key;
    size_t key_len;
    const uint8_t *row;
    size_t row_len;
    const uint8_t *updates;
    size_t updates_len;
};

/* A position in the traversal order; all zero is the start. `last` and `rest` are to be freed with tmgr_buffer_free. */
struct tmgr_cursor {
    uint32_t stripe;
    uint32_t done;
    uint64_t position;
    struct tmgr_buffer last; /* the key behind which it stands, where that is within a bucket or a tree */
    struct tmgr_buffer
        rest; /* of a bag: rows of a key among which max_results fell, copied when the first of them was */
};

enum tmgr_range_flag { TMGR_RANGE_AFTER_LO = 1, TMGR_RANGE_UP_TO_HI = 2, TMGR_RANGE_REVERSE = 4 };
/* Part of an ordered_set: lo <= key < hi; a flag takes lo out or hi in. Keys are encoded; NULL: no bound. */
struct tmgr_range {
    const uint8_t *lo, *hi;
    size_t lo_len, hi_len;
    const uint8_t *prefix; /* an encoded tuple, or NULL: only tuples that begin with its elements */
    size_t prefix_len;
    uint32_t flags; /* a sum of enum tmgr_range_flag */
};

typedef void (*tmgr_problem_fn)(void *context, const char *problem);

/* -- life of a table ------------------------------------------------------------------------------------------- */

/* Make a table under a segment name ("/name", at most 255 bytes). It is built nameless and gets its name in one step
 * when it is ready. TABLE_EXISTS, FULL, TOO_LONG, BAD_OPTION, NO_PROCESS (heir), OS. */
int tmgr_create(const char *segment, const char *name, size_t name_len, const struct tmgr_options *options,
                struct tmgr_table **table);
/* HEAD maps the control and the stripes alone, writable: enough for describe, drop, rename and the ownership calls. */
enum tmgr_mapping { TMGR_MAP_WRITE = 0, TMGR_MAP_READ = 1, TMGR_MAP_AUTO = 2, TMGR_MAP_HEAD = 3 };
/* Attach to a table; AUTO is WRITE where the segment's mode allows it, else READ. No side effect on the segment.
 * A segment that is neither this user's nor root's is mapped for reading only, except by WRITE, which says that its user is
 * trusted: who can write to a segment can harm those who lock in it. Where its mode keeps all others out, root is, too.
 * NO_TABLE, LAYOUT, CORRUPT, OS (EACCES...), NO_MEMORY. */
int tmgr_attach(const char *segment, enum tmgr_mapping mapping, struct tmgr_table **table);
/* Whose a segment is, in a few microseconds: no handle, no mapping, no hand-over. Fields as in struct tmgr_info. */
struct tmgr_glance {
    struct tmgr_process owner, heir_process, transfer_from; /* pid 0 if the heir is no process */
    uint64_t created_ns, table_id, transfer_seq;
    uint32_t transfer_reason, transfer_end, uid;
};
/* NO_TABLE (dropped, too), LAYOUT (no table; only uid is set), CORRUPT (the same), NAMESPACE (its processes mean nothing
 * here), BUSY, OS. */
int tmgr_glance(const char *segment, struct tmgr_glance *glance);
/* The same of what is attached, whatever its segment is called by now. */
int tmgr_glance_of(struct tmgr_table *table, struct tmgr_glance *glance);
/* The name that the table has now, and a zero. */
int tmgr_name(struct tmgr_table *table, char *name);
/* Ends the use of a handle: waits for this process's calls in flight, unmaps. Later calls return CLOSED. Idempotent. */
void tmgr_close(struct tmgr_table *table);
/* Closes and releases the handle itself: when no thread can call with it any more. NULL is allowed. */
void tmgr_free(struct tmgr_table *table);
/* The same for what create or attach have put there, if anything: for a caller that can be cut off before it takes it. */
void tmgr_free_made(struct tmgr_table **made);
/* Remove the table for everybody: marks it dropped, then removes the name. Needs write access unless force. One that was
 * removed by other means is dropped too, which needs what tmgr_relink needs. NO_TABLE if it is dropped already; or it was
 * linked back, and then renamed or removed again, and this handle does not find it. */
int tmgr_drop(struct tmgr_table *table, bool force);
/* Remove what bears this segment name, sound or not, without attaching. NO_TABLE, OS. */
int tmgr_drop_segment(const char *segment);
/* Give the table another name. NO_TABLE, TABLE_EXISTS, TOO_LONG, ACCESS. */
int tmgr_rename(struct tmgr_table *table, const char *segment, const char *name, size_t name_len);
/* Link a table that was removed by other means than a drop (rm...) back to its name, if nothing bears that: the segment
 * itself cannot be, so a copy becomes the table, and every handle goes on with that at its next call. OK also if it has
 * happened, or the table is linked. Needs the right to write, or nobody alive to own it; and memory for the copy.
 * TABLE_EXISTS, NO_TABLE (dropped, or its owner is dead and there is no heir), ACCESS, READONLY, NAMESPACE, FULL, BUSY,
 * CORRUPT, OS (EXDEV: another file system is mounted where the name was). */
int tmgr_relink(struct tmgr_table *table, int64_t wait_ns);
/* errno of the last TMGR_OS of the calling thread. */
int tmgr_errno(void);
const char *tmgr_status_text(int status);
/* What a forked child has to do with its parent's handles. Runs by itself (pthread_atfork) in a child made by fork(); to
 * be called in one that was made by a bare clone(). Doing it twice is harmless. */
void tmgr_after_fork(void);

/* What a call that reads (write: or writes) would be told before its arguments are looked at: OK, CLOSED, NO_TABLE,
 * CORRUPT, ACCESS, READONLY, NAMESPACE. */
int tmgr_admit(struct tmgr_table *table, bool write);

/* -- reading: never waits for a writer; BUSY when overtaken 64 times -------------------------------------------- */

/* The row with this key; in a bag or duplicate_bag all of them, one after the other, in the order in which they were inserted.
 * So do tmgr_take and tmgr_step. */
int tmgr_lookup(struct tmgr_table *table, const uint8_t *key, size_t key_len, struct tmgr_buffer *row);
int tmgr_contains(struct tmgr_table *table, const uint8_t *key, size_t key_len);
/* keys: n encoded keys, one after the other. out: n msgpack objects, a row or nil each; in bags an array of rows each. */
int tmgr_lookup_many(struct tmgr_table *table, const uint8_t *keys, size_t keys_len, size_t n, struct tmgr_buffer *out);
/* Exact, and never between the two sides of a multi-row write. */
int tmgr_len(struct tmgr_table *table, uint64_t *rows);
/* Rows from the cursor on, whole buckets, until out holds at least want_bytes; n_rows: how many. END when none is left.
 * Each row that is in the table throughout is seen exactly once over the calls, whatever is written meanwhile. */
int tmgr_scan(struct tmgr_table *table, struct tmgr_cursor *cursor, size_t want_bytes, struct tmgr_buffer *out,
              size_t *n_rows);
/* Rows of a range behind the cursor (all zero: from its start; with REVERSE from its end, last row first), max_rows at most, until
 * out holds at least want_bytes; n_rows: how many. END when none is left, and cursor->done as soon as that is known. Rows of one
 * tree node are of one moment. OPERATION: the table is no ordered_set. BAD_ROW: a bound is no key. */
int tmgr_rows(struct tmgr_table *table, const struct tmgr_range *range, struct tmgr_cursor *cursor, size_t max_rows,
              size_t want_bytes, struct tmgr_buffer *out, size_t *n_rows);
/* A compiled program (match.h), ready to be asked, by one thread at a time. The bytes are copied. BAD_OPTION: they are none. */
struct tmgr_program;
int tmgr_program_open(const uint8_t *bytes, size_t len, struct tmgr_program **program);
void tmgr_program_free(struct tmgr_program *program);
/* What it gives for a row: that row itself, or a term, in memory of the row or of the program: good until that is asked again. */
struct tmgr_answer {
    const uint8_t *at;
    size_t len;
    bool is_row;
};
/* No table is needed. ABSENT: no clause applies. NO_MEMORY. */
int tmgr_program_ask(struct tmgr_program *program, const uint8_t *row, size_t row_len, struct tmgr_answer *answer);
/* Go through the rows from the cursor on and ask a compiled program (match.h) of each: RESULTS appends what its bodies give to
 * out, rows as they are if all bodies are the row; COUNT counts where the body is True, DELETE deletes those rows, REPLACE
 * puts the body in the row's place: each row atomically, and asked again if another writer has changed it. *n: how many.
 * OK: call again, for there may be more (after some want_bytes of rows or results); END: that was all, and the cursor is done;
 * PRESENT: max_results, and there is at least one more. A call after a failure, BUSY too, goes on where it stopped.
 * OPERATION: REPLACE in a table of this type. */
struct tmgr_query {
    struct tmgr_program *program;
    const uint8_t *keys; /* with BY_KEY: encoded keys, one after the other; only their rows are asked */
    size_t keys_len;
    const uint8_t *prefix; /* ordered_set: an encoded tuple with whose elements the keys begin, or NULL */
    size_t prefix_len;
    uint32_t flags; /* TMGR_QUERY_BY_KEY, TMGR_RANGE_REVERSE (ordered_set) */
};
enum tmgr_query_flag { TMGR_QUERY_BY_KEY = 16 };
enum tmgr_query_mode { TMGR_QUERY_RESULTS = 0, TMGR_QUERY_COUNT, TMGR_QUERY_DELETE, TMGR_QUERY_REPLACE };
int tmgr_query(struct tmgr_table *table, const struct tmgr_query *query, enum tmgr_query_mode mode,
               struct tmgr_cursor *cursor, size_t max_results, size_t want_bytes, struct tmgr_buffer *out, size_t *n,
               int64_t wait_ns);
/* The row that follows (direction 1) or precedes (-1) the key in the table's order; key NULL: from the start or end.
 * The key need not be there. END. */
int tmgr_step(struct tmgr_table *table, int direction, const uint8_t *key, size_t key_len, struct tmgr_buffer *row);

/* -- writing: wait_ns bounds the wait for locks (0: try only); BUSY when it ran out -------------------------------- */

/* In place of the row with the same key. In a bag beside those it has, unless this very row is among them (they are walked); in a
 * duplicate_bag in any case. */
int tmgr_insert(struct tmgr_table *table, const uint8_t *row, size_t row_len, int64_t wait_ns);
int tmgr_insert_new(struct tmgr_table *table, const uint8_t *row, size_t row_len, int64_t wait_ns);
/* Start loading what inserting n rows soon will need, each from where the one before ends, the first from `start` on. Only a hint. */
void tmgr_prefetch(struct tmgr_table *table, const uint8_t *rows, size_t start, const size_t *ends, size_t n);
/* All rows with this key; tmgr_delete_many tells how many. */
int tmgr_delete(struct tmgr_table *table, const uint8_t *key, size_t key_len, int64_t wait_ns);
int tmgr_take(struct tmgr_table *table, const uint8_t *key, size_t key_len, struct tmgr_buffer *row, int64_t wait_ns);
/* removed (may be NULL): how many rows; more than one only in a duplicate_bag. */
int tmgr_delete_object(struct tmgr_table *table, const uint8_t *row, size_t row_len, uint64_t *removed,
                       int64_t wait_ns);
/* The rows of a key of a bag, one after the other as tmgr_lookup gives them, become others with that key (none: new_len 0), in this
 * order. ABSENT if they are not exactly the old ones. OPERATION: a table of another type. */
int tmgr_replace_rows(struct tmgr_table *table, const uint8_t *key, size_t key_len, const uint8_t *old_rows,
                      size_t old_len, const uint8_t *new_rows, size_t new_len, int64_t wait_ns);
int tmgr_compare_and_swap(struct tmgr_table *table, const uint8_t *old_row, size_t old_len, const uint8_t *new_row,
                          size_t new_len, int64_t wait_ns);
/* Not in bags (nor is tmgr_compare_and_swap): OPERATION. One op of kind UPDATE_COUNTER or UPDATE_ELEMENT. results (may be NULL): msgpack array of the new values of a
 * counter. ABSENT without a default row. */
int tmgr_update(struct tmgr_table *table, const struct tmgr_op *op, struct tmgr_buffer *results, int64_t wait_ns);
/* All ops in order, each seeing those before it; all become visible together, or none. failed: index of the op that
 * was refused. */
int tmgr_apply(struct tmgr_table *table, const struct tmgr_op *ops, size_t n_ops, size_t *failed, int64_t wait_ns);
/* Like n calls of tmgr_delete: each key atomic by itself. Adds to *removed, so that it can be called again after BUSY. */
int tmgr_delete_many(struct tmgr_table *table, const uint8_t *keys, size_t keys_len, size_t n, uint64_t *removed,
                     int64_t wait_ns);
int tmgr_delete_all(struct tmgr_table *table, uint64_t *removed, int64_t wait_ns);

/* -- ownership ---------------------------------------------------------------------------------------------------- */

/* Always allowed, on private, dropped and poisoned tables too. */
int tmgr_describe(struct tmgr_table *table, struct tmgr_info *info);
/* ORPHAN: a table whose owner is dead and which no live heir process holds. ORPHAN_OR_KEPT: also one that a live manager
 * keeps. TO_KEEP: an orphan, as its heir the manager, for whoever is to have it (reason KEPT instead of CLAIMED). TO_OFFER: for
 * whoever comes first (OFFERED). OFFERED: what a manager offers, and nothing else, as if that had passed it on (INHERITED). */
enum tmgr_claim {
    TMGR_CLAIM_ORPHAN = 0,
    TMGR_CLAIM_ORPHAN_OR_KEPT = 1,
    TMGR_CLAIM_TO_KEEP = 2,
    TMGR_CLAIM_TO_OFFER = 3,
    TMGR_CLAIM_OFFERED = 4
};
/* Become the owner. The heir becomes the manager. OK also if the caller owns it already, but for OFFERED, and then nothing
 * changes. Of any number of claimants exactly one succeeds; the others are told OWNED. ending: how the dead owner ended, put
 * down in the same step; NULL, or of another process: whoever knows may say it later. */
int tmgr_claim(struct tmgr_table *table, enum tmgr_claim what, const struct tmgr_ending *ending, int64_t wait_ns);
/* If the owner is dead, do what its heir says: hand the table to a live heir process (OK), or drop it where there is
 * none (NO_TABLE). Otherwise OWNED (the owner is alive) or ABSENT (an orphan: the manager's, or the heir died).
 * ending: as tmgr_claim. */
int tmgr_settle(struct tmgr_table *table, const struct tmgr_ending *ending, int64_t wait_ns);
/* Owner only. data: a msgpack object for the receiver; its start 0: whoever has the pid now. NO_PROCESS, SELF, TOO_LONG. */
int tmgr_give_away(struct tmgr_table *table, const struct tmgr_process *receiver, const void *data, size_t data_len,
                   int64_t wait_ns);
/* The manager only, of a table that it keeps: hand it to a process, which may be the manager's own, as inherited from the
 * owner before (reason INHERITED, with what that left for its heir). kept: the receiver keeps it for others, too (KEPT).
 * NOT_OWNER, also if the table is not kept; NO_PROCESS. */
int tmgr_pass_on(struct tmgr_table *table, const struct tmgr_process *receiver, bool kept, int64_t wait_ns);
/* Put down how the owner before ended, if it is that process, the present one has the table by its death, and nobody has
 * said so yet; else ABSENT. Any process that may write the segment may say it. */
int tmgr_note_end(struct tmgr_table *table, const struct tmgr_ending *ending, int64_t wait_ns);
enum tmgr_change { TMGR_CHANGE_HEIR = 1, TMGR_CHANGE_ACCESS = 2, TMGR_CHANGE_HEIR_DATA = 4 };
/* Owner only; what: a sum of enum tmgr_change, HEIR includes its data. Fields of options: heir, heir_process, heir_data, access.
 * BAD_OPTION also for data where there is no heir. */
int tmgr_setopts(struct tmgr_table *table, uint32_t what, const struct tmgr_options *options, int64_t wait_ns);
/* This process. */
int tmgr_self(struct tmgr_process *process);
/* 1 alive, 0 dead (or another process by now has the pid). start 0: any process of that pid, its start is filled in. A
 * process is dead when its last instruction is behind it, be its memory still there. */
int tmgr_alive(struct tmgr_process *process);
/* 1: it is dead, and *status what waitpid tells of it; 0: it lives, or nobody but its parent is told (any more). */
int tmgr_end(const struct tmgr_process *process, int *status);

/* -- early word of a death ---------------------------------------------------------------------------------------- */

/* This process's lifeline: the descriptor of a page to be shown to another process (it stays the core's), whose lock the
 * calling thread holds from the first call on. OS, NO_MEMORY. */
int tmgr_lifeline(int *fd);
/* A lifeline that another process has shown; the descriptor may be closed then. BAD_OPTION: it is none. */
int tmgr_lifeline_map(int fd, const uint8_t **line);
void tmgr_lifeline_unmap(const uint8_t *line);
enum { TMGR_LIFELINES_MAX = 127 };
/* Sleeps until the thread that holds one of n lifelines has ended, within microseconds of that (see tmgr_alive for whether
 * its process is dead); or until somebody calls tmgr_alarm, at once if *alarm is not `heard`; or, if a signal comes, for
 * no reason. *ended: which; n: none. OS where the kernel has no way to do so (Linux 5.16). */
int tmgr_lifelines_wait(const uint8_t *const lines[], size_t n, uint32_t *alarm, uint32_t heard, size_t *ended);
void tmgr_alarm(uint32_t *alarm); /* adds 1 to it */

/* -- looking after it --------------------------------------------------------------------------------------------- */

/* Walk everything and name each broken invariant; returns OK, or CORRUPT after at least one call of problem.
 * repair: first bring every stripe into order, as a writer passing it would, if the caller may write. Takes all locks if the
 * mapping is writable; else it reads and can be overtaken (BUSY). */
int tmgr_check(struct tmgr_table *table, bool repair, tmgr_problem_fn problem, void *context, int64_t wait_ns);
void tmgr_buffer_free(struct tmgr_buffer *buffer);

/* -- the order of keys -------------------------------------------------------------------------------------------- */

/* Bytes that memcmp puts into the order of an ordered_set's keys, the same for keys that are equal in one; replaces the
 * content of `out`. BAD_ROW: no key (malformed, of another type, too long, nested too deep). NO_MEMORY. */
int tmgr_sort_key(const uint8_t *key, size_t key_len, struct tmgr_buffer *out);
/* What the sort keys of all tuples begin with whose first n elements are these keys, in sequence. As tmgr_sort_key. */
int tmgr_sort_prefix(const uint8_t *elements, size_t elements_len, uint32_t n, struct tmgr_buffer *out);

/* The functions above for a caller that cannot link to them (the Python codec extension). */
struct tmgr_api {
    int (*admit)(struct tmgr_table *, bool);
    int (*lookup)(struct tmgr_table *, const uint8_t *, size_t, struct tmgr_buffer *);
    int (*contains)(struct tmgr_table *, const uint8_t *, size_t);
    int (*lookup_many)(struct tmgr_table *, const uint8_t *, size_t, size_t, struct tmgr_buffer *);
    int (*scan)(struct tmgr_table *, struct tmgr_cursor *, size_t, struct tmgr_buffer *, size_t *);
    int (*rows)(struct tmgr_table *, const struct tmgr_range *, struct tmgr_cursor *, size_t, size_t,
                struct tmgr_buffer *, size_t *);
    int (*step)(struct tmgr_table *, int, const uint8_t *, size_t, struct tmgr_buffer *);
    int (*insert)(struct tmgr_table *, const uint8_t *, size_t, int64_t);
    int (*insert_new)(struct tmgr_table *, const uint8_t *, size_t, int64_t);
    void (*prefetch)(struct tmgr_table *, const uint8_t *, size_t, const size_t *, size_t);
    int (*delete_key)(struct tmgr_table *, const uint8_t *, size_t, int64_t);
    int (*take)(struct tmgr_table *, const uint8_t *, size_t, struct tmgr_buffer *, int64_t);
    int (*delete_object)(struct tmgr_table *, const uint8_t *, size_t, uint64_t *, int64_t);
    int (*compare_and_swap)(struct tmgr_table *, const uint8_t *, size_t, const uint8_t *, size_t, int64_t);
    int (*update)(struct tmgr_table *, const struct tmgr_op *, struct tmgr_buffer *, int64_t);
    int (*apply)(struct tmgr_table *, const struct tmgr_op *, size_t, size_t *, int64_t);
    int (*delete_many)(struct tmgr_table *, const uint8_t *, size_t, size_t, uint64_t *, int64_t);
    int (*delete_all)(struct tmgr_table *, uint64_t *, int64_t);
    int (*len)(struct tmgr_table *, uint64_t *);
    void (*buffer_free)(struct tmgr_buffer *);
    int (*sort_key)(const uint8_t *, size_t, struct tmgr_buffer *);
    int (*sort_prefix)(const uint8_t *, size_t, uint32_t, struct tmgr_buffer *);
    int (*query)(struct tmgr_table *, const struct tmgr_query *, enum tmgr_query_mode, struct tmgr_cursor *, size_t,
                 size_t, struct tmgr_buffer *, size_t *, int64_t);
    int (*program_open)(const uint8_t *, size_t, struct tmgr_program **);
    void (*program_free)(struct tmgr_program *);
    int (*program_ask)(struct tmgr_program *, const uint8_t *, size_t, struct tmgr_answer *);
};
const struct tmgr_api *tmgr_api(void);
/* cdef ends */

#ifdef __cplusplus
}
#endif

#endif
