/* SPDX-License-Identifier: Apache-2.0 */
/* arena.h - pages and blocks of a segment.
 *
 * Purpose: hands blocks of 16 bytes to 256 KiB to stripes, and takes them back. It does not know rows, and it decides
 * nothing about when a block may be used again: that is stripe.h.
 *
 * A page belongs to one stripe or to nobody; its map entry says so. Blocks are marked in used bits, one per 16 bytes.
 * There is no list or head that has to be believed after a death: what is free is what has no entry and no bit.
 *
 * Life of a run of pages, each step one `page_step` of the stripe's intent, redone or undone by arena_finish_step():
 *   GRAB   under the arena lock: step, entries := mine.  Undone: entries that are mine := 0. Nothing was in them. The first
 *          page's entry comes last, and goes first, so that it speaks for all pages of the run: of what a death leaves
 *          behind it others may take the rest (survey.h skips runs by it).
 *   LIST   slab into the stripe's partial list of its class, at the head.            Redone.
 *   UNLIST out of it.                                                                 Redone.
 *   GIVE   used bits are all zero; entries that are mine := 0, no lock needed.        Redone.
 *   SHRINK its last blocks are free: the slab has fewer pages; entries of the rest := 0. Redone.
 * The arena lock covers choosing free pages and growing, so between choosing and the step nobody takes the same pages. If
 * its holder dies, its own stripe's repair undoes the GRAB; the next holder of the arena lock has nothing to repair.
 *
 * Growth: under the arena lock memory is reserved past the end, then `size` is published (COMMIT POINT). A kill between
 * the two leaves pages that the next growth finds already reserved. Reserving a page takes longer than most writes do, so
 * no write pays for many: each that begins a page reserves two beyond the frontier, up to a distance that bears what is
 * taken at once (a slab, a segment of buckets), and only what that does not cover is reserved when it is taken. */
#ifndef TMGR_ARENA_H
#define TMGR_ARENA_H

#include "handle.h"

/* Size in bytes of the block that holds `bytes`, and that is counted for it (in a full table it may get a larger one);
 * 0 if no block does. */
uint64_t arena_block_size(uint64_t bytes);
/* Take a block for stripe s: its offset is published to *log before its used bit is set. OK, FULL, BUSY, AGAIN, CORRUPT. */
int arena_take(struct tmgr_table *t, struct stripe *s, uint64_t bytes, word *log, uint64_t *offset);
/* Take a run of `most` pages, or if there is none and growing failed, the longest that there is. *run, and *log before the
 * used bit: its offset | its number of pages. Statuses as above. */
int arena_take_run(struct tmgr_table *t, struct stripe *s, uint64_t most, word *log, uint64_t *run);
/* Is there memory for so many bytes beyond all that was ever taken? Any other answer than the truth costs time only. */
bool arena_is_ahead(struct tmgr_table *t, uint64_t bytes);
/* Is this a block of s that is in use? */
bool arena_holds(struct tmgr_table *t, struct stripe *s, uint64_t offset);
/* Give a block back. Harmless if it was given back before or its pages are no longer ours. OK or CORRUPT. */
int arena_free(struct tmgr_table *t, struct stripe *s, uint64_t offset);
/* Finish or undo what a dead holder of the stripe's lock was doing with pages. */
int arena_finish_step(struct tmgr_table *t, struct stripe *s);
/* Start loading what arena_free of this block will need. */
void arena_prefetch(struct tmgr_table *t, uint64_t offset);
/* Make the count of used blocks of the slab that holds `offset` exact again: after a death in arena_take or arena_free. */
int arena_recount(struct tmgr_table *t, struct stripe *s, uint64_t offset);
/* Give back slabs of s that are kept though empty. */
int arena_trim(struct tmgr_table *t, struct stripe *s);

/* For evacuation: slabs that may have free blocks, and blocks of a slab of one's choice. */
struct arena_slab {
    uint64_t first; /* offset of its first page */
    uint32_t used, blocks, pages;
};
/* At most `most` of the stripe's listed slabs of a class, from *cursor on (0: from the start); *cursor is 0 at the end. */
int arena_slabs(struct tmgr_table *t, struct stripe *s, uint32_t class, uint64_t *cursor, struct arena_slab *slabs,
                size_t most, size_t *n);
/* Take the first free block of the slab at `first`; like arena_take, and ABSENT if it has none or is none. */
int arena_take_in(struct tmgr_table *t, struct stripe *s, uint64_t first, word *log, uint64_t *offset);
/* Give back all but the first `pages` pages of the slab at `first`; ABSENT if a block in or into them is used. */
int arena_shrink(struct tmgr_table *t, struct stripe *s, uint64_t first, uint32_t pages);
/* Nothing else is left: so many blocks may come from larger classes. */
void arena_allow_misfits(struct tmgr_table *t, uint64_t blocks);
/* Pages that hold so many blocks of a class. */
uint32_t arena_pages_for(uint32_t class, uint64_t blocks);

static inline uint64_t entry_owner(uint64_t entry) { return entry & 0xffff; }
static inline uint32_t entry_class(uint64_t entry) { return entry >> 16 & 0xff; }
static inline uint32_t entry_distance(uint64_t entry) { return entry >> ENTRY_DISTANCE_SHIFT & 0x3f; }
static inline uint32_t entry_pages(uint64_t entry) { return entry >> ENTRY_PAGES_SHIFT & 0x7f; }
static inline uint64_t entry_count(uint64_t entry) { return entry >> ENTRY_COUNT_SHIFT & ENTRY_FIELD_MASK; }
static inline uint64_t entry_cursor(uint64_t entry) { return entry >> ENTRY_CURSOR_SHIFT; }

static inline uint64_t chunk_base(const struct tmgr_table *t, uint64_t offset) {
    return t->arena + ((offset - t->arena) & ~(uint64_t)(CHUNK_BYTES - 1));
}
static inline struct chunk *chunk_of(const struct tmgr_table *t, uint64_t offset) {
    return at(t, chunk_base(t, offset));
}
static inline uint32_t page_in_chunk(const struct tmgr_table *t, uint64_t offset) {
    return (uint32_t)((offset - t->arena) % CHUNK_BYTES / PAGE_BYTES);
}
uint64_t arena_class_bytes(uint32_t class);

#endif
