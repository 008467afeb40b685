/* SPDX-License-Identifier: Apache-2.0 */
/* layout.h - everything that lives in a segment. Nothing else does; change it and the fingerprint below changes.
 *
 *   0        control          one page: constants, published size, state, locks, name
 *   4 KiB    records[4]       owner records, 2 KiB each
 *   12 KiB   stripes[n]       one struct stripe each
 *   arena    chunk 0, 1, ...  1 MiB each, 256 pages of 4 KiB: 3 pages of header (page map, links, used bits), 253 of blocks
 *
 * Words used below. offset: bytes from the segment's base. block: what is allocated; it has a used bit, one bit for
 * every 16 bytes of a chunk, set where a block starts. slab: a run of pages cut into blocks of one size class.
 * slot: one word in a bucket, 0 or tag | offset | pending bit. cell: a row's block in a bag. record (of a transaction): see struct tx_record.
 *
 * A word is written only under the lock its comment names, always through atomics.h. "Readers" load it without a lock.
 * "Repair:" says what the next holder of that lock needs the field for. */
#ifndef TMGR_LAYOUT_H
#define TMGR_LAYOUT_H

#include "atomics.h"
#include <assert.h>
#include <stddef.h>

enum {
    PAGE_BYTES = 4096,
    CHUNK_BYTES = 1 << 20,
    CHUNK_PAGES = CHUNK_BYTES / PAGE_BYTES,
    CHUNK_HEADER_PAGES = 3,
    UNIT_BYTES = 16, /* what one used bit stands for; every block is a multiple of it */
    RUN_PAGES_MAX = 64,
    RUN_BYTES_MAX = RUN_PAGES_MAX * PAGE_BYTES,
    STRIPES_MAX = 64,
    STRIPES_DEFAULT = 64,
    DESCRIPTORS = 4, /* per stripe */
    RING_ENTRIES = 64,
    TRASH_ENTRIES = 8, /* pieces of lists that wait to be retired */
    ADVANCE_AT = 28,   /* retired blocks after which the epoch advances; twice that fits the ring */
    N_CLASSES = 36,
    CLASS_RUN = 36, /* a block that is a run of pages by itself */
    SLAB_BLOCK_MAX = 8192,
    BUCKET_SLOTS = 7,
    RECORDS = 4,
    LOCK_BYTES = 64
};

#define OFFSET_LIMIT (UINT64_C(1) << 44) /* 40 bits of 16-byte units */

/* -- slots and rows -------------------------------------------------------------------------------------------------
 * slot: bits 63..41 tag = hash bits 8..30, bits 40..1 offset / 16, bit 0 pending. Nonzero slots have a nonzero offset.
 * not pending: the offset is a row's block. pending: the offset is a tx_record that says which of two slots counts.
 * The bucket number takes the low bits of the hash, the stripe the top ones, the traversal order bits 0..31 reversed. */
#define SLOT_PENDING   UINT64_C(1)
#define SLOT_TAG_SHIFT 41

/* First word of a row's block: length of the row in bytes, flag, low half of the key's hash. The row's bytes follow;
 * with ROW_EXTENTS a struct extents follows instead. Immutable from publication to the end of its quarantine. */
#define ROW_LEN_MASK  UINT64_C(0x7fffffff)
#define ROW_EXTENTS   UINT64_C(0x80000000)
#define ROW_BYTES_MAX (UINT64_C(1) << 30)

/* In a bag or duplicate_bag the block is a cell of a list, which has all rows of one key, newest first, and the slot holds the
 * newest one: a second word, the offset of the next older cell or 0, stands between the first word and the rest. It is
 * constant like the row (evacuate.h may point it at another copy of the same cell), so lists share nothing but ends, and a reader
 * that has a cell has the list as of one moment. */
enum { ROW_START = 8, CELL_ROW_START = 16 /* where the row's bytes, or the extents, stand in the block */ };

/* A row that is too large for one block, or for which there is none in one piece: n runs of pages hold its bytes, all
 * full but the last. The key stands here once more, behind the words of all runs, so that comparing it never needs one. */
struct extents {
    word n;        /* runs taken */
    word capacity; /* runs that there is room for; constant */
    word key_len;  /* bytes; constant */
    word at[];     /* of each run: offset | number of pages. After `capacity` words the key's bytes. */
};
#define EXTENT_PAGES UINT64_C(0xfff)
static_assert(RUN_PAGES_MAX <= EXTENT_PAGES && EXTENT_PAGES < PAGE_BYTES, "a run's pages fit below its offset");

struct bucket {
    word slots[BUCKET_SLOTS];
    word next; /* offset of an overflow bucket, or 0; once set it stays until the whole root is torn down */
};
static_assert(sizeof(struct bucket) == 64, "a bucket is one cache line");

/* Bucket array: segments of 8, 8, 16, 32 .. 1024 buckets (0..8), then of 1024 each. Offsets of the first 24 stand here,
 * those of the others in directory pages of 512. Set before n_buckets covers them, cleared only by teardown. Bucket n_buckets
 * is empty wherever there is memory for it; what lies behind it is anything. */
enum { SEGMENTS_INLINE = 24, DIRECTORY_PAGES = 16, DIRECTORY_ENTRIES = PAGE_BYTES / 8, SEGMENT_BUCKETS = 1024 };
#define BUCKETS_MAX (2048u + (SEGMENTS_INLINE - 9u + DIRECTORY_PAGES * DIRECTORY_ENTRIES) * SEGMENT_BUCKETS)
struct root {
    union {
        word n_buckets; /* 0, or 8 and more. COMMIT POINT of a split. Never shrinks while the root is current. */
        word reshapes;  /* of an ordered_set: splits so far. Readers. */
    };
    union {
        word segments[SEGMENTS_INLINE];
        word
            top; /* of an ordered_set: offset of the tree's root node, or 0. COMMIT POINT of a change of it. Readers. */
    };
    word directory[DIRECTORY_PAGES];
};

/* -- ordered_set: see oset.h ----------------------------------------------------------------------------------------- */

/* order: number of entries that count (bits 0..3), their numbers by rank (4 bits each from bit 4), changes (bits 56..63: a
 * reader that finds the word as it was has seen no entry used for another key; within one epoch the 8 bits cannot wrap). */
enum { NODE_ENTRIES = 13, LEVELS_MAX = 24, ORDER_CHANGES_SHIFT = 56 };
struct node {
    word order;               /* COMMIT POINT of each change of the node. Readers. */
    word shape;               /* level (bits 0..7; 0: a leaf), skip (8..31), bytes of low (32..63); constant */
    word heads[NODE_ENTRIES]; /* 8 bytes of the entry's sort key after the first `skip`; see oset_head(). Readers. */
    word slots[NODE_ENTRIES]; /* leaf: slot; else offset of the child. Readers. */
    word low[];               /* sort key, perhaps shortened, below which no key is led here; constant */
};
static_assert(4 + 4 * NODE_ENTRIES <= ORDER_CHANGES_SHIFT, "ranks and changes do not overlap");

enum reshape_kind { RESHAPE_NONE = 0, RESHAPE_SPLIT = 1, RESHAPE_MERGE = 2 };
/* What is left to do after the commit point of a split or a merge. Absolute. Repair. */
struct reshape {
    word kind;
    word node;           /* split: C; merge: R */
    word parent;         /* P */
    word twin;           /* split: R; merge: M. The commit point has been passed if P leads to it. */
    word order_after;    /* split: of C; merge: of P */
    word reshapes_after; /* split */
};

/* -- multi-row writes ----------------------------------------------------------------------------------------------- */

enum tx_state { TX_PENDING = 1, TX_COMMITTED = 2, TX_ABORTED = 3 };

/* Status of one multi-row write, in fixed memory because slots of several stripes refer to it. Used again only when
 * no participant is left. Written under the lock of the stripe it stands in. */
struct descriptor {
    word status;       /* transaction number << 2 | tx_state. COMMIT POINT of a multi-row write. Readers. */
    word participants; /* bit per stripe that still has records of it; each bit is cleared under that stripe's lock */
};

/* A transaction's name: descriptor number (stripe * DESCRIPTORS + i) in bits 0..7, transaction number above; 0: none.
 * A log is a chain of blocks; it is the redo log of one stripe's part, and its records are what pending slots point at. */
struct tx_record {
    word tx;       /* constant */
    word at;       /* offset of the slot; changes only where a tree moves the slot */
    word old_slot; /* what the slot held; constant */
    word
        new_slot; /* what it holds if tx committed; changes only while tx is pending, in a bag also when it was aborted */
};
enum { KEPT_LOG_RECORDS = 14, KEPT_LOG_BYTES = 64 + KEPT_LOG_RECORDS * 32 };
struct tx_log {
    word next;    /* next block of this log, or 0 */
    word sibling; /* in a leftover's first block: next leftover log, or 0 */
    word tx;
    word capacity; /* records that fit; constant */
    word n;        /* records written */
    word done;     /* records resolved; repair: resolving goes on here */
    word unused[2];
    struct tx_record records[];
};
static_assert(sizeof(struct tx_log) == 64 && sizeof(struct tx_record) == 32, "records are aligned to units");
static_assert(KEPT_LOG_BYTES == 512, "what a block has; a stripe of a small table has one, too");

/* -- stripe ----------------------------------------------------------------------------------------------------------- */

enum intent_op { OP_IDLE = 0, OP_ALLOC = 1, OP_ARMED = 2 };
enum page_step_kind { STEP_NONE = 0, STEP_GRAB = 1, STEP_LIST = 2, STEP_UNLIST = 3, STEP_GIVE = 4, STEP_SHRINK = 5 };

/* What a repair must know. One micro-operation at a time: take a block, fill it, publish it (or something else) by one
 * store, retire what it replaced. All values are absolute, so that redoing them is harmless. */
struct intent {
    word op;
    word new_block; /* block taken and not yet published; set before its used bit */
    word at, to;    /* OP_ARMED: committed if and only if the word at offset `at` equals `to` */
    word rows_after, bytes_after;
    word old_block;   /* block to retire, or 0 */
    word tail_before; /* ring tail to put it at */
    word page_step;   /* page offset | number of pages (SHRINK: after | before << 4) << 4 | page_step_kind */
    word trash_start; /* a piece of a list to put into trash, or 0, which it is whenever op is IDLE */
    word trash_end, trash_tail_before;
    word unused[4];
};

struct stripe {
    uint8_t lock[LOCK_BYTES]; /* robust process-shared mutex; all below is written under it */

    /* Read-mostly line. */
    word epoch; /* reuse epoch: a block unlinked in epoch g is rewritten at g+2 at the earliest. Readers. */
    word gen;   /* the generation this stripe was emptied for; root[gen & 1] is current. Readers. */
    word unused_readers[6];

    /* Counts. Readers of the table's length take rows[1] if tx committed, else rows[0]. */
    word tx; /* transaction this stripe takes part in, or 0. Repair: decides it. */
    word rows[2];
    word bytes;    /* of all blocks reachable (not of those in quarantine) */
    word tx_log;   /* first block of the log of `tx` */
    word leftover; /* first block of the first log that is decided but not yet resolved: the to-do list */
    word dirty;    /* 1: a holder died and its work has not been repaired yet */
    word
        kept_log; /* tx_log that serves one small transaction after the other, or 0; changed by micro-operations only */

    struct descriptor descriptors[DESCRIPTORS];
    struct root root[2]; /* the other one is being torn down after delete_all, or empty */
    struct reshape reshape;

    struct intent intent;

    /* Quarantine: ring[head..limit) is being drained, [limit..mark) was retired before the last advance of the epoch,
     * [mark..tail) since. head <= limit <= mark <= tail, tail - head <= RING_ENTRIES. */
    word head, limit, mark, tail;
    word retired_bytes; /* since the last advance; hint */
    word largest;       /* block retired since the last advance; hint */
    word trash_head, trash_tail;
    word ring[RING_ENTRIES];

    /* To-do list of a bag: trash[trash_head..trash_tail) are pieces of lists, unlinked whole by one commit, from the cell
     * at `start` to before the one at `end` (0: all). Retired cell by cell: start := next of it is the COMMIT POINT. */
    struct {
        word start, end;
    } trash[TRASH_ENTRIES];

    word partial[N_CLASSES]; /* first slab of each class that may have a free block: page number, or 0 */
    word slab_sizes[2];      /* log2 of the pages of the next slab, two bits for each class up to 2 KiB; hint */
    word unused_partial[2];
};
static_assert(sizeof(struct stripe) % 64 == 0, "stripes do not share cache lines");
static_assert(offsetof(struct stripe, epoch) % 64 == 0, "readers' words do not share the lock's line");
static_assert(offsetof(struct stripe, intent) % 64 == 0 && sizeof(struct intent) == 128, "two lines");
static_assert(offsetof(struct stripe, ring) % 64 == 0, "");

/* -- arena ------------------------------------------------------------------------------------------------------------ */

/* Page map entry: 0 free; else owner stripe + 1 (bits 0..15), class (16..23), distance from the run's first page (24..29),
 * pages in the run (30..36). Of a slab's first page also: bit 37 the slab is in the stripe's partial list, bits 38..50
 * blocks used (equal to the used bits whenever the stripe's lock is free and repaired), bits 51..63 where to look for a
 * free block first (hint). An entry is taken from 0 under the arena lock; its stripe sets it back to 0. */
#define ENTRY_DISTANCE_SHIFT 24
#define ENTRY_PAGES_SHIFT    30
#define ENTRY_LISTED         (UINT64_C(1) << 37)
#define ENTRY_COUNT_SHIFT    38
#define ENTRY_CURSOR_SHIFT   51
#define ENTRY_FIELD_MASK     UINT64_C(0x1fff) /* of count and cursor */
struct chunk {
    word map[CHUNK_PAGES];
    struct {
        _Atomic uint32_t next, prev; /* partial list, page numbers; of the owning stripe */
    } links[CHUNK_PAGES];
    word used[CHUNK_BYTES / UNIT_BYTES / 64]; /* of the owning stripe; all zero in free pages */
};
static_assert(sizeof(struct chunk) == CHUNK_HEADER_PAGES * PAGE_BYTES, "the header fills its pages");

/* -- control ---------------------------------------------------------------------------------------------------------- */

/* MOVING: its name was taken away by other means than a drop, and it is being copied; nothing is changed in it any more. MOVED:
 * the copy has the name, and is the table (relink.h). Steps, each made only from the state that it names, for they are made
 * under different locks: under the flock of a segment that has its name LIVE -> DROPPED, and back where the name cannot be
 * taken away; under the control lock of a removed one LIVE -> DROPPED, MOVING -> DROPPED, MOVING -> MOVED, and with all
 * stripe locks LIVE -> MOVING; by whoever has found the copy MOVING -> MOVED. */
enum table_state { STATE_LIVE = 1, STATE_DROPPED = 2, STATE_MOVING = 3, STATE_MOVED = 4 };

/* Owner word: pid 22 bits | start 40 | record 2. Who owns the table and under which record: COMMIT POINT of every
 * change of owner, heir or access. The record in use is never written; a change fills another one first. */
#define OWNER_START_SHIFT 2
#define OWNER_PID_SHIFT   42
struct owner_record {
    word rule; /* access (bits 0..7), heir kind (8..15), transfer reason (16..23), what is known of the end of the owner
                   * before (24..25) and how it ended (32..63). Readers. */
    word heir; /* owner word form, record bits 0 */
    word from; /* previous owner, same form; a manager that only kept the table is none */
    word when_ns; /* of the transfer, since the epoch */
    word seq;     /* number of transfers */
    word heir_data_len, transfer_data_len;
    word changes; /* number of changes of owner, heir or access */
    uint8_t heir_data[896];
    uint8_t transfer_data[896];
    uint8_t padding[192];
};
static_assert(sizeof(struct owner_record) == 2048, "");

struct control {
    /* Constant after publication. */
    word magic;
    word fingerprint;
    word table_id;
    word hash_seed;
    word n_stripes;
    word type_keypos; /* type | key position << 32 */
    word codec;
    word max_bytes;
    word created_ns;
    word pid_namespace, time_namespace;
    word arena_offset;
    word copies; /* how often the table has been copied to get its name back: a handle follows to a later copy only */
    word unused_constant[3];

    /* Readers, rarely written. */
    word size;       /* bytes backed by memory. COMMIT POINT of growth, under the arena lock */
    word state;      /* table_state. COMMIT POINT of a drop. Changes only by compare-and-swap, see enum table_state */
    word poisoned;   /* 0, or why a repair gave up */
    word gen;        /* COMMIT POINT of delete_all, under all stripe locks */
    word owner;      /* owner word, under the control lock */
    word name_index; /* which of names[] counts */
    word unused_readers[2];

    word repairs, last_repair_ns; /* statistics, by any repairer */
    word search_chunk;            /* hint: where to look for free pages first */
    word short_of_memory; /* hint: 1 if the last growth failed; slabs are taken small then. Under the arena lock */
    word misfits; /* hint: blocks that may still come from larger classes; counted anew when nothing can be compacted */
    word frontier; /* hint: end of the last page that was ever taken. Under the arena lock */
    word unused_statistics[2];

    uint8_t control_lock[LOCK_BYTES];
    uint8_t arena_lock[LOCK_BYTES];
    struct {
        word len;
        uint8_t text[256];
        uint8_t padding[56];
    } names[2]; /* for people; the segment's file name is what counts */
};
static_assert(sizeof(struct control) <= PAGE_BYTES, "control is one page");

enum { RECORDS_OFFSET = PAGE_BYTES, STRIPES_OFFSET = PAGE_BYTES + RECORDS * 2048 };

#define LAYOUT_MAGIC   UINT64_C(0x316c62746d676c62) /* "blgmtbl1" */
#define LAYOUT_VERSION UINT64_C(6)

#endif
