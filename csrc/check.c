/* SPDX-License-Identifier: Apache-2.0 */
/* check.c - walks everything and names each broken invariant. Nothing depends on it; it believes nothing it reads.
 *
 *   I1  control: constants, size and names are as attach demands; not poisoned.
 *   I2  page map: every entry is free or part of one whole run of one stripe; free pages have no used bit.
 *   I3  slabs: the count in the entry equals the used bits; bits stand only where a block starts; one with a free block
 *       is in its stripe's list, and the list holds slabs of that stripe and class only.
 *   I4  every used block is reachable exactly once: from a bucket, a ring, a log; and every reachable block is used and
 *       belongs to the stripe that reaches it.
 *   I5  a row's key is well-formed, its hash is the one in the block and in the slot's tag, and leads to this stripe and
 *       this bucket; no key stands twice.
 *   I5t of a tree: levels fall by one; every entry has the head and the place that its key demands, between the separators.
 *   I5b of a bag: the cells of a list have one key, and of a `bag` no list has a row twice.
 *   I6  rows and bytes of a stripe equal what is reachable.
 *   I7  at rest: no intent, no page step, no transaction; nothing beyond the last bucket; the ring's marks are in order. */
#include "hash.h"
#include "lock.h"
#include "repair.h"
#include "segment.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEPT = 64 };

struct walk {
    struct tmgr_table *t;
    struct stripe *s; /* being walked */
    uint64_t bytes;   /* published size, read once */
    uint64_t *marked; /* like the used bits, of the whole arena */
    uint64_t rows, block_bytes;
    size_t n_problems;
    char kept[KEPT][TMGR_PROBLEM_MAX]; /* told at the end, if nobody wrote meanwhile */
};

static void problem(struct walk *w, const char *format, ...) {
    if (w->n_problems < KEPT) {
        va_list args;
        va_start(args, format);
        vsnprintf(w->kept[w->n_problems], TMGR_PROBLEM_MAX, format, args);
        va_end(args);
    }
    w->n_problems++;
}

static unsigned number(const struct walk *w) { return stripe_number(w->t, w->s); }

/* -- I2, I3: pages ------------------------------------------------------------------------------------------------------------- */

static bool in_arena(const struct walk *w, uint64_t offset, uint64_t len) {
    return offset >= w->t->arena && offset < w->bytes && len <= w->bytes - offset && offset % UNIT_BYTES == 0;
}

static uint64_t unit_of(const struct walk *w, uint64_t offset) { return (offset - w->t->arena) / UNIT_BYTES; }

static bool used(const struct walk *w, uint64_t offset) {
    uint64_t unit = unit_of(w, offset) % (CHUNK_BYTES / UNIT_BYTES);
    return load_relaxed(&chunk_of(w->t, offset)->used[unit / 64]) >> unit % 64 & 1;
}

static uint64_t entry_of(const struct walk *w, uint64_t offset) {
    return load_relaxed(&chunk_of(w->t, offset)->map[page_in_chunk(w->t, offset)]);
}

static bool entry_is_sound(const struct walk *w, uint64_t first, uint64_t entry, uint32_t available) {
    uint32_t pages = entry_pages(entry);
    return entry_owner(entry) <= w->t->n_stripes && entry_class(entry) <= CLASS_RUN && entry_distance(entry) == 0 &&
           pages > 0 && pages <= RUN_PAGES_MAX && page_in_chunk(w->t, first) + pages <= available;
}

static void check_slab(struct walk *w, uint64_t first, uint64_t entry) {
    uint64_t block = arena_class_bytes(entry_class(entry)), bytes = (uint64_t)entry_pages(entry) * PAGE_BYTES;
    uint64_t n = bytes / block, count = 0, stray = 0;
    for (uint64_t at_unit = 0; at_unit < bytes; at_unit += UNIT_BYTES)
        if (used(w, first + at_unit)) {
            count++;
            stray += at_unit % block != 0 || at_unit / block >= n;
        }
    if (stray != 0)
        problem(w, "I3 slab at %llu: %llu used bits where no block starts", (unsigned long long)first,
                (unsigned long long)stray);
    if (count != entry_count(entry))
        problem(w, "I3 slab at %llu: %llu blocks used, its entry says %llu", (unsigned long long)first,
                (unsigned long long)count, (unsigned long long)entry_count(entry));
    if (count < n && !(entry & ENTRY_LISTED))
        problem(w, "I3 slab at %llu has free blocks and is in no list", (unsigned long long)first);
}

static void check_run(struct walk *w, uint64_t first, uint64_t entry) {
    for (uint32_t i = 1; i < entry_pages(entry); i++) {
        uint64_t other = entry_of(w, first + (uint64_t)i * PAGE_BYTES);
        if (entry_owner(other) != entry_owner(entry) || entry_class(other) != entry_class(entry) ||
            entry_distance(other) != i || entry_pages(other) != entry_pages(entry))
            problem(w, "I2 run at %llu: page %u does not belong to it", (unsigned long long)first, i);
    }
    if (entry_class(entry) < CLASS_RUN) {
        check_slab(w, first, entry);
        return;
    }
    for (uint64_t at_unit = UNIT_BYTES; at_unit < (uint64_t)entry_pages(entry) * PAGE_BYTES; at_unit += UNIT_BYTES)
        if (used(w, first + at_unit)) {
            problem(w, "I3 run at %llu: a used bit inside it", (unsigned long long)first);
            return;
        }
}

static void check_pages(struct walk *w) {
    for (uint64_t base = w->t->arena; base + CHUNK_HEADER_PAGES * PAGE_BYTES < w->bytes; base += CHUNK_BYTES) {
        uint64_t pages = (w->bytes - base) / PAGE_BYTES;
        uint32_t available = pages < CHUNK_PAGES ? (uint32_t)pages : CHUNK_PAGES;
        for (uint32_t page = CHUNK_HEADER_PAGES; page < available;) {
            uint64_t first = base + (uint64_t)page * PAGE_BYTES, entry = entry_of(w, first);
            if (entry == 0) {
                for (uint64_t at_unit = 0; at_unit < PAGE_BYTES; at_unit += UNIT_BYTES)
                    if (used(w, first + at_unit)) {
                        problem(w, "I2 free page at %llu has used bits", (unsigned long long)first);
                        break;
                    }
                page++;
            } else if (!entry_is_sound(w, first, entry, available)) {
                problem(w, "I2 page at %llu: entry %016llx is no run", (unsigned long long)first,
                        (unsigned long long)entry);
                page++;
            } else {
                check_run(w, first, entry);
                page += entry_pages(entry);
            }
        }
    }
}

static void check_partial(struct walk *w) {
    for (uint32_t class = 0; class < N_CLASSES; class ++) {
        uint64_t page = load_relaxed(&w->s->partial[class]), previous = 0, steps = 0;
        for (; page != 0; steps++) {
            uint64_t first = page * PAGE_BYTES;
            if (!in_arena(w, first, PAGE_BYTES) || page_in_chunk(w->t, first) < CHUNK_HEADER_PAGES ||
                steps > w->bytes / PAGE_BYTES) {
                problem(w, "I3 stripe %u class %u: the list of slabs leads to page %llu", number(w), class,
                        (unsigned long long)page);
                break;
            }
            uint64_t entry = entry_of(w, first);
            struct chunk *chunk = chunk_of(w->t, first);
            uint32_t index = page_in_chunk(w->t, first);
            if (entry_owner(entry) != number(w) + 1 || entry_class(entry) != class || entry_distance(entry) != 0 ||
                !(entry & ENTRY_LISTED) ||
                atomic_load_explicit(&chunk->links[index].prev, memory_order_relaxed) != previous)
                problem(w, "I3 stripe %u class %u: page %llu does not belong into the list", number(w), class,
                        (unsigned long long)page);
            previous = page;
            page = atomic_load_explicit(&chunk->links[index].next, memory_order_relaxed);
        }
    }
}

/* -- I4: blocks ------------------------------------------------------------------------------------------------------------------- */

static bool is_marked(const struct walk *w, uint64_t offset) {
    uint64_t unit = unit_of(w, offset);
    return w->marked[unit / 64] >> unit % 64 & 1;
}

/* Mark a block as reached; its size, or 0. */
static uint64_t reach(struct walk *w, uint64_t offset, const char *from) {
    uint64_t entry =
        in_arena(w, offset, UNIT_BYTES) && page_in_chunk(w->t, offset) >= CHUNK_HEADER_PAGES ? entry_of(w, offset) : 0;
    uint64_t first = (offset & ~(uint64_t)(PAGE_BYTES - 1)) - (uint64_t)entry_distance(entry) * PAGE_BYTES;
    uint64_t size = entry_class(entry) < CLASS_RUN ? arena_class_bytes(entry_class(entry))
                                                   : (uint64_t)entry_pages(entry) * PAGE_BYTES;
    if (entry_owner(entry) != number(w) + 1 || entry_class(entry) > CLASS_RUN || size == 0 ||
        !in_arena(w, first, size) || (offset - first) % size != 0 || !in_arena(w, offset, size) || !used(w, offset)) {
        problem(w, "I4 stripe %u: %s leads to %llu, which is no used block of the stripe", number(w), from,
                (unsigned long long)offset);
        return 0;
    }
    uint64_t unit = unit_of(w, offset), bit = UINT64_C(1) << unit % 64;
    if (w->marked[unit / 64] & bit) {
        problem(w, "I4 stripe %u: the block at %llu is reached twice (%s)", number(w), (unsigned long long)offset,
                from);
        return 0;
    }
    w->marked[unit / 64] |= bit;
    return size;
}

/* Reach a block that holds `bytes`, and count it for what such a block counts. */
static bool reach_counted(struct walk *w, uint64_t offset, uint64_t bytes, const char *from) {
    uint64_t size = reach(w, offset, from);
    if (size != 0 && size < bytes)
        problem(w, "I4 stripe %u: %s leads to %llu, which is too small a block", number(w), from,
                (unsigned long long)offset);
    if (size < bytes)
        return false;
    w->block_bytes += arena_block_size(bytes);
    return true;
}

/* A row's block with its extents; bytes, 0 if it is damaged. */
static uint64_t reach_row(struct walk *w, uint64_t offset, const char *from) {
    uint64_t size = reach(w, offset, from), bytes = 0;
    if (size == 0)
        return 0;
    uint64_t head = load_relaxed((word *)at(w->t, offset));
    if (!(head & ROW_EXTENTS)) {
        if (w->t->row_start + (head & ROW_LEN_MASK) <= size)
            return arena_block_size(w->t->row_start + (head & ROW_LEN_MASK));
        problem(w, "I4 stripe %u: the row at %llu is longer than its block", number(w), (unsigned long long)offset);
        return 0;
    }
    const struct extents *parts = extents_at(w->t, offset);
    uint64_t n = parts != NULL && extents_bytes(w->t, parts) <= size ? load_relaxed(&parts->n) : 0, total = 0;
    for (uint64_t i = 0; i < n && size != 0; i++) {
        uint64_t run = load_relaxed(&parts->at[i]), room = (run & EXTENT_PAGES) * PAGE_BYTES;
        size = reach(w, run & ~EXTENT_PAGES, "a large row") == room ? room : 0;
        total += room;
    }
    if (size != 0 && total >= (head & ROW_LEN_MASK) && total - (head & ROW_LEN_MASK) < PAGE_BYTES) {
        row_block(w->t, offset, &bytes);
        return bytes;
    }
    problem(w, "I4 stripe %u: the large row at %llu is damaged", number(w), (unsigned long long)offset);
    return 0;
}

/* The cells of a list from `cell` to before `end`, their bytes counted; how many there are. */
static uint64_t reach_cells(struct walk *w, uint64_t cell, uint64_t end, const char *from) {
    uint64_t n = 0;
    for (; cell != 0 && cell != end; n++) {
        uint64_t bytes = reach_row(w, cell, from);
        if (bytes == 0)
            break;
        w->block_bytes += bytes;
        cell = cell_next(w->t, cell);
        from = "a cell";
    }
    return n;
}

static void check_trash(struct walk *w) {
    uint64_t head = load_relaxed(&w->s->trash_head), tail = load_relaxed(&w->s->trash_tail);
    if (tail - head > TRASH_ENTRIES) {
        problem(w, "I7 stripe %u: marks of the trash %llu %llu", number(w), (unsigned long long)head,
                (unsigned long long)tail);
        return;
    }
    for (; head < tail; head++)
        reach_cells(w, load_relaxed(&w->s->trash[head % TRASH_ENTRIES].start),
                    load_relaxed(&w->s->trash[head % TRASH_ENTRIES].end), "trash");
}

static void check_ring(struct walk *w) {
    uint64_t head = load_relaxed(&w->s->head), limit = load_relaxed(&w->s->limit), mark = load_relaxed(&w->s->mark),
             tail = load_relaxed(&w->s->tail);
    if (head > limit || limit > mark || mark > tail || tail - head > RING_ENTRIES) {
        problem(w, "I7 stripe %u: ring marks %llu %llu %llu %llu", number(w), (unsigned long long)head,
                (unsigned long long)limit, (unsigned long long)mark, (unsigned long long)tail);
        return;
    }
    for (; head < tail; head++) {
        uint64_t block = load_relaxed(&w->s->ring[head % RING_ENTRIES]);
        if (block & BLOCK_EXTENTS)
            reach_row(w, block & ~BLOCK_EXTENTS, "the ring");
        else
            reach(w, block, "the ring");
    }
}

/* The two lists of a record, which may share an end; how many cells has the one that counts. */
static uint64_t reach_lists(struct walk *w, uint64_t old, uint64_t new, bool committed) {
    uint64_t old_cells = reach_cells(w, old, 0, "a record"), new_cells = 0, shared = old_cells, cell = old;
    for (uint64_t other = new, i = 0; other != 0 && in_arena(w, other, CELL_ROW_START) && i < w->bytes / UNIT_BYTES;
         other = cell_next(w->t, other), i++)
        if (is_marked(w, other)) { /* by the walk of the old list, if the table is sound */
            for (shared = 0; cell != other && shared < old_cells; shared++)
                cell = cell_next(w->t, cell);
            shared = old_cells - shared;
            new_cells = reach_cells(w, new, other, "a record") + shared;
            return committed ? new_cells : old_cells;
        }
    new_cells = reach_cells(w, new, 0, "a record");
    return committed ? new_cells : old_cells;
}

/* Rows that hang on records which have not been resolved. */
static void check_record(struct walk *w, const struct tx_record *record, bool committed) {
    uint64_t place = load_relaxed(&record->at), old = load_relaxed(&record->old_slot),
             new = load_relaxed(&record->new_slot);
    if (place % 8 != 0 || !in_arena(w, place & ~UINT64_C(15), UNIT_BYTES)) {
        problem(w, "I4 stripe %u: a record of a log names slot %llu", number(w), (unsigned long long)place);
        return;
    }
    uint64_t slot = load_relaxed((word *)at(w->t, place));
    bool pending = slot & SLOT_PENDING && slot_offset(slot) == offset_of(w->t, record);
    if (w->t->bag) {
        if (pending)
            w->rows += reach_lists(w, slot_offset(old), slot_offset(new), committed);
        return;
    }
    if (pending && old != 0)
        w->block_bytes += reach_row(w, slot_offset(old), "a record");
    if (new != 0 && (pending || !committed))
        w->block_bytes += reach_row(w, slot_offset(new), "a record");
    if (pending && (committed ? new : old) != 0)
        w->rows++;
}

/* Its offset, if it may be looked into; else 0. */
static uint64_t check_kept_log(struct walk *w) {
    uint64_t offset = load_relaxed(&w->s->kept_log);
    if (offset == 0 || !reach_counted(w, offset, KEPT_LOG_BYTES, "the kept log"))
        return 0;
    const struct tx_log *log = at(w->t, offset);
    uint64_t n = load_relaxed(&log->n), done = load_relaxed(&log->done);
    if (load_relaxed(&log->capacity) != KEPT_LOG_RECORDS || n > KEPT_LOG_RECORDS ||
        (done != n && load_relaxed(&w->s->leftover) == 0 && load_relaxed(&w->s->tx) == 0))
        problem(w, "I4 stripe %u: the kept log at %llu is damaged", number(w), (unsigned long long)offset);
    return offset;
}

static void check_logs(struct walk *w) {
    uint64_t sibling = load_relaxed(&w->s->leftover), kept = check_kept_log(w), steps = 0;
    while (sibling != 0 && steps++ < 1 << 20) {
        uint64_t offset = sibling;
        sibling = 0;
        for (bool first = true; offset != 0; first = false) {
            bool is_kept = offset == kept; /* reached already, and counted; once only */
            uint64_t size = is_kept ? KEPT_LOG_BYTES : reach(w, offset, "a log");
            kept = is_kept ? 0 : kept;
            const struct tx_log *log = at(w->t, offset);
            const struct descriptor *descriptor = size != 0 ? descriptor_of(w->t, load_relaxed(&log->tx)) : NULL;
            uint64_t status = descriptor != NULL ? load_acquire(&descriptor->status) : 0;
            uint64_t n = size != 0 ? load_relaxed(&log->n) : 0;
            if (size < sizeof *log || status >> 2 != load_relaxed(&log->tx) >> 8 || (status & 3) == TX_PENDING ||
                n > (size - sizeof *log) / sizeof(struct tx_record)) {
                problem(w, "I4 stripe %u: the log at %llu is damaged", number(w), (unsigned long long)offset);
                return;
            }
            w->block_bytes += is_kept ? 0 : txn_log_bytes(log);
            for (uint64_t i = load_relaxed(&log->done); i < n; i++)
                check_record(w, &log->records[i], (status & 3) == TX_COMMITTED);
            if (first)
                sibling = load_relaxed(&log->sibling);
            offset = load_relaxed(&log->next);
        }
    }
}

/* -- I5: buckets ------------------------------------------------------------------------------------------------------------------- */

static void check_list(struct walk *w, uint64_t list, bool current);

static void check_row(struct walk *w, uint64_t slot, uint64_t bucket, uint64_t n_buckets, bool current) {
    uint64_t offset = slot_offset(slot), bytes = reach_row(w, offset, "a bucket");
    struct tmgr_buffer scratch = {NULL, 0, 0};
    struct term_span key;
    size_t len;
    w->block_bytes += bytes;
    if (bytes != 0 && w->t->bag)
        check_list(w, offset, current);
    const uint8_t *row = bytes != 0 ? row_view(w->t, offset, &scratch, &len) : NULL;
    if (row != NULL && current) {
        w->rows++;
        enum tmgr_status why;
        if (!term_row(row, len, w->t->keypos, &key, &why)) {
            problem(w, "I5 stripe %u bucket %llu: the row at %llu is malformed", number(w), (unsigned long long)bucket,
                    (unsigned long long)offset);
        } else {
            uint64_t hash = hash_bytes(row + key.offset, key.len, w->t->hash_seed);
            struct probe probe = {row + key.offset, key.len, hash};
            struct place place;
            if (row_hash(w->t, offset) != (uint32_t)hash || slot_tag(slot) != tag_of_hash(hash) ||
                stripe_of_hash(w->t, hash) != w->s || hset_home(n_buckets, hash) != bucket)
                problem(w, "I5 stripe %u bucket %llu: the row at %llu does not belong here", number(w),
                        (unsigned long long)bucket, (unsigned long long)offset);
            else if (load_relaxed(&w->t->control->poisoned) == 0 &&
                     (hset_locate(w->t, w->s, &probe, &place) != TMGR_OK || place.content != slot))
                problem(w, "I5 stripe %u bucket %llu: the key of the row at %llu is not found, or stands twice",
                        number(w), (unsigned long long)bucket, (unsigned long long)offset);
        }
    }
    tmgr_buffer_free(&scratch);
}

/* A cell and a hash of its whole row. */
struct told {
    uint64_t hash, cell;
};

static int by_hash(const void *left, const void *right) {
    const struct told *a = left, *b = right;
    return (a->hash > b->hash) - (a->hash < b->hash);
}

/* The older cells of a list whose newest one check_row has seen. */
static void check_list(struct walk *w, uint64_t list, bool current) {
    struct tmgr_buffer scratch = {NULL, 0, 0}, key = {NULL, 0, 0};
    uint64_t cell = list, cells = 1 + reach_cells(w, cell_next(w->t, list), 0, "a cell"), n = 0;
    struct told *told = current ? malloc(cells * sizeof *told) : NULL;
    w->rows += current ? cells - 1 : 0;
    for (; told != NULL && n < cells; cell = cell_next(w->t, cell)) {
        struct term_span span;
        size_t len;
        const uint8_t *row = row_view(w->t, cell, &scratch, &len);
        if (row == NULL || !term_key_of(row, len, w->t->keypos, &span) ||
            (n > 0 && (span.len != key.len || memcmp(key.data, row + span.offset, span.len) != 0))) {
            problem(w, "I5b stripe %u: the row at %llu is malformed, or its key is not its list's", number(w),
                    (unsigned long long)cell);
            break;
        }
        if (n == 0 && !buffer_append(&key, row + span.offset, span.len))
            break;
        told[n++] = (struct told){hash_bytes(row, len, w->t->hash_seed), cell};
    }
    if (w->t->type == TMGR_BAG && told != NULL)
        qsort(told, n, sizeof *told, by_hash);
    for (uint64_t i = 1; w->t->type == TMGR_BAG && told != NULL && i < n; i++) {
        size_t len;
        const uint8_t *row = told[i].hash == told[i - 1].hash ? row_view(w->t, told[i].cell, &scratch, &len) : NULL;
        if (row != NULL && row_is(w->t, told[i - 1].cell, row, len) == TMGR_OK)
            problem(w, "I5b stripe %u: the rows at %llu and %llu are the same", number(w),
                    (unsigned long long)told[i - 1].cell, (unsigned long long)told[i].cell);
    }
    free(told);
    tmgr_buffer_free(&scratch);
    tmgr_buffer_free(&key);
}

static void check_bucket(struct walk *w, const struct root *root, uint64_t index, uint64_t n_buckets, bool current) {
    struct bucket *bucket = hset_bucket(w->t, root, index);
    if (bucket == NULL) {
        problem(w, "I4 stripe %u: bucket %llu has no memory", number(w), (unsigned long long)index);
        return;
    }
    for (int steps = 0; bucket != NULL; steps++) {
        for (int i = 0; i < BUCKET_SLOTS; i++) {
            uint64_t slot = load_relaxed(&bucket->slots[i]);
            if (slot == 0 || slot & SLOT_PENDING)
                continue; /* pending ones are reached through their logs */
            if (index >= n_buckets)
                problem(w, "I7 stripe %u: bucket %llu lies beyond the last and is not empty", number(w),
                        (unsigned long long)index);
            else
                check_row(w, slot, index, n_buckets, current);
        }
        uint64_t next = load_relaxed(&bucket->next);
        bool follows = next != 0 && reach_counted(w, next, sizeof *bucket, "an overflow link");
        bucket = follows && steps < CHAIN_MAX ? at(w->t, next) : NULL;
    }
}

static void check_root(struct walk *w, const struct root *root, bool current) {
    uint64_t n_buckets = load_relaxed(&root->n_buckets);
    if (n_buckets > BUCKETS_MAX || (current && n_buckets != 0 && n_buckets < FIRST_BUCKETS)) {
        problem(w, "I7 stripe %u: %llu buckets", number(w), (unsigned long long)n_buckets);
        return;
    }
    for (uint64_t i = 0; i < DIRECTORY_PAGES; i++) {
        uint64_t page = load_relaxed(&root->directory[i]);
        bool is_there = page != 0 && reach_counted(w, page, PAGE_BYTES, "a directory");
        const word *entries = is_there ? at(w->t, page) : NULL;
        for (uint64_t j = 0; entries != NULL && j < DIRECTORY_ENTRIES; j++)
            if (load_relaxed(&entries[j]) != 0)
                reach_counted(w, load_relaxed(&entries[j]), SEGMENT_BUCKETS * sizeof(struct bucket),
                              "a directory page");
    }
    for (uint64_t i = 0; i < SEGMENTS_INLINE; i++) {
        uint64_t buckets = i == 0 ? FIRST_BUCKETS : i < 9 ? UINT64_C(4) << i : SEGMENT_BUCKETS;
        if (load_relaxed(&root->segments[i]) != 0)
            reach_counted(w, load_relaxed(&root->segments[i]), buckets * sizeof(struct bucket), "a bucket segment");
    }
    for (uint64_t i = 0; i < n_buckets && w->n_problems < KEPT; i++)
        check_bucket(w, root, i, n_buckets, current);
    if (n_buckets < BUCKETS_MAX && hset_bucket(w->t, root, n_buckets) != NULL)
        check_bucket(w, root, n_buckets, n_buckets, current); /* made by a split that was not finished: empty */
}

/* -- I5t: trees -------------------------------------------------------------------------------------------------------------------- */

/* The keys that may stand below a node: sort keys, NULL for none. */
struct span_of_keys {
    const uint8_t *low, *high;
    size_t low_len, high_len;
};

static void misplaced(struct walk *w, uint64_t offset, const char *what) {
    problem(w, "I5t stripe %u: node %llu: %s", number(w), (unsigned long long)offset, what);
}

static bool key_lies_in(const struct span_of_keys *span, const uint8_t *sort, size_t len) {
    return sorted_compare(sort, len, span->low, span->low_len) >= 0 &&
           (span->high == NULL || sorted_compare(sort, len, span->high, span->high_len) < 0);
}

/* One row of a leaf; `low` becomes its key, for the next one has to lie above it. */
static void check_leaf_entry(struct walk *w, const struct node *node, uint32_t entry, const struct span_of_keys *span,
                             struct tmgr_buffer *low, bool current) {
    uint64_t slot = load_relaxed(&node->slots[entry]), at_node = offset_of(w->t, node);
    if (slot == 0 || slot & SLOT_PENDING)
        return; /* a hole; what is pending is reached through its log */
    struct tmgr_buffer scratch = {NULL, 0, 0};
    struct term_span key;
    struct sorted sorted;
    size_t len;
    enum tmgr_status why;
    uint64_t bytes = reach_row(w, slot_offset(slot), "a leaf");
    const uint8_t *row = bytes != 0 ? row_view(w->t, slot_offset(slot), &scratch, &len) : NULL;
    w->block_bytes += bytes;
    w->rows += row != NULL && current;
    if (row != NULL &&
        (!term_row(row, len, w->t->keypos, &key, &why) || sorted_make(&sorted, row + key.offset, key.len) != TMGR_OK)) {
        misplaced(w, at_node, "a row is malformed");
    } else if (row != NULL) {
        struct span_of_keys rest = {low->data, span->high, low->len, span->high_len};
        if (!key_lies_in(&rest, sorted.bytes, sorted.len) ||
            (low->capacity > low->len && low->data[low->len] != 0 &&
             sorted_compare(sorted.bytes, sorted.len, low->data, low->len) == 0))
            misplaced(w, at_node, "a key is out of order, stands twice or belongs elsewhere");
        if (load_relaxed(&node->heads[entry]) != oset_head(node, sorted.bytes, sorted.len))
            misplaced(w, at_node, "a head is not that of its key");
        low->len = 0;
        if (buffer_reserve(low, sorted.len + 1)) {
            buffer_append(low, sorted.bytes, sorted.len);
            low->data[low->len] = 1; /* a key, which may not stand again */
        }
        sorted_free(&sorted);
    }
    tmgr_buffer_free(&scratch);
}

static bool entries_are_distinct(uint64_t order) {
    uint32_t listed = 0;
    for (uint32_t rank = 0; rank < order_count(order); rank++) {
        uint32_t bit = 1u << order_entry(order, rank);
        if (listed & bit || order_entry(order, rank) >= NODE_ENTRIES)
            return false;
        listed |= bit;
    }
    return order_count(order) <= NODE_ENTRIES;
}

/* A private copy of a node's low, because a writer may be rewriting it (nothing is locked where the mapping is read-only). */
static bool copy_low(const struct walk *w, uint64_t offset, struct tmgr_buffer *to) {
    if (!in_arena(w, offset, sizeof(struct node)))
        return false;
    const struct node *node = at(w->t, offset);
    uint64_t len = node_low_len(load_relaxed(&node->shape));
    to->len = 0;
    if (len > SORTKEY_MAX || !in_arena(w, offset, sizeof *node + len) || !buffer_reserve(to, len + SORT_SLACK))
        return false;
    copy_racy(to->data, (const uint8_t *)node->low, len);
    to->len = len;
    return true;
}

static void check_node(struct walk *w, uint64_t offset, uint32_t level, const struct span_of_keys *span, bool current);

/* A child of `node` (the first one: is_first), which `next` follows, 0 for none. False: damaged. */
static bool check_child(struct walk *w, const struct node *node, uint32_t entry, bool is_first, uint64_t next,
                        uint32_t level, const struct span_of_keys *span, bool current) {
    struct tmgr_buffer low = {NULL, 0, 0}, high = {NULL, 0, 0};
    struct span_of_keys below = *span;
    uint64_t child = load_relaxed(&node->slots[entry]);
    bool sound = copy_low(w, child, &low) && (next == 0 || copy_low(w, next, &high));
    if (sound) {
        below.low = low.data;
        below.low_len = low.len;
        if (next != 0) {
            below.high = high.data;
            below.high_len = high.len;
        }
        if (!key_lies_in(span, below.low, below.low_len) ||
            (next != 0 && sorted_compare(low.data, low.len, high.data, high.len) >= 0))
            misplaced(w, offset_of(w->t, node), "separators are out of order");
        if (!is_first && load_relaxed(&node->heads[entry]) != oset_head(node, low.data, low.len))
            misplaced(w, offset_of(w->t, node), "a head is not that of its separator");
        check_node(w, child, level, &below, current);
    }
    tmgr_buffer_free(&low);
    tmgr_buffer_free(&high);
    return sound;
}

/* `level` of the node; above LEVELS_MAX: that of the root, whatever it is. */
static void check_node(struct walk *w, uint64_t offset, uint32_t level, const struct span_of_keys *span, bool current) {
    struct tmgr_buffer low = {NULL, 0, 0};
    if (oset_node(w->t, offset) == NULL || !copy_low(w, offset, &low)) {
        misplaced(w, offset, "it is no node");
        tmgr_buffer_free(&low);
        return;
    }
    const struct node *node = at(w->t, offset);
    uint64_t shape = load_relaxed(&node->shape), order = load_relaxed(&node->order);
    bool sound = reach_counted(w, offset, sizeof *node + low.len, "a tree");
    if (sound && ((level <= LEVELS_MAX && node_level(shape) != level) || !entries_are_distinct(order))) {
        misplaced(w, offset, "its level or its order is damaged");
        sound = false;
    }
    if (sound && sorted_compare(low.data, low.len, span->low, span->low_len) != 0)
        misplaced(w, offset, "its low is not its separator");
    low.len = 0;
    sound = sound && buffer_reserve(&low, span->low_len + 1) && buffer_append(&low, span->low, span->low_len);
    if (sound)
        low.data[low.len] = 0; /* no key: the first row may be equal to it */
    for (uint32_t rank = 0; sound && rank < order_count(order) && w->n_problems < KEPT; rank++) {
        uint32_t entry = order_entry(order, rank);
        bool is_last = rank + 1 == order_count(order);
        if (node_level(shape) == 0)
            check_leaf_entry(w, node, entry, span, &low, current);
        else if (!check_child(w, node, entry, rank == 0,
                              is_last ? 0 : load_relaxed(&node->slots[order_entry(order, rank + 1)]),
                              node_level(shape) - 1, span, current)) {
            misplaced(w, offset, "a child is damaged");
            sound = false;
        }
    }
    tmgr_buffer_free(&low);
}

static void check_tree(struct walk *w, const struct root *root, bool current) {
    static const uint8_t nothing[SORT_SLACK];
    struct span_of_keys all = {nothing, NULL, 0, 0};
    if (load_relaxed(&root->top) != 0)
        check_node(w, load_relaxed(&root->top), UINT32_MAX, &all, current);
}

/* -- everything ------------------------------------------------------------------------------------------------------------------------ */

static void check_stripe(struct walk *w) {
    struct stripe *s = w->s;
    w->rows = w->block_bytes = 0;
    if (!lock_is_sound(s->lock))
        problem(w, "I1 stripe %u: its lock is damaged", number(w));
    if (load_relaxed(&s->intent.op) != OP_IDLE || load_relaxed(&s->intent.page_step) != 0 ||
        load_relaxed(&s->intent.new_block) != 0 || load_relaxed(&s->intent.trash_start) != 0 ||
        load_relaxed(&s->tx) != 0 || load_relaxed(&s->tx_log) != 0 || load_relaxed(&s->dirty) != 0 ||
        load_relaxed(&s->reshape.kind) != RESHAPE_NONE)
        problem(w, "I7 stripe %u: a write was cut short and has not been repaired", number(w));
    for (uint32_t i = 0; i < w->t->n_stripes * DESCRIPTORS; i++)
        if (load_relaxed(&w->t->stripes[i / DESCRIPTORS].descriptors[i % DESCRIPTORS].participants) >> number(w) & 1 &&
            load_relaxed(&s->leftover) == 0 && load_relaxed(&s->tx) == 0)
            problem(w, "I7 stripe %u: descriptor %u counts on it, and it has no records", number(w), i);
    bool behind = load_acquire(&s->gen) != load_acquire(&w->t->control->gen);
    void (*check_index)(struct walk *, const struct root *, bool) = w->t->ordered ? check_tree : check_root;
    check_index(w, current_root(s), !behind);
    check_index(w, other_root(s), false);
    check_logs(w);
    if (!behind && w->rows != load_relaxed(&s->rows[0]))
        problem(w, "I6 stripe %u: %llu rows are reachable, %llu are counted", number(w), (unsigned long long)w->rows,
                (unsigned long long)load_relaxed(&s->rows[0]));
    if (w->block_bytes != load_relaxed(&s->bytes))
        problem(w, "I6 stripe %u: %llu bytes are reachable, %llu are counted", number(w),
                (unsigned long long)w->block_bytes, (unsigned long long)load_relaxed(&s->bytes));
    check_trash(w);
    check_ring(w);
    check_partial(w);
}

static void check_leaks(struct walk *w) {
    for (uint64_t base = w->t->arena; base + CHUNK_HEADER_PAGES * PAGE_BYTES < w->bytes; base += CHUNK_BYTES) {
        const struct chunk *chunk = at(w->t, base);
        for (uint64_t i = 0; i < CHUNK_BYTES / UNIT_BYTES / 64; i++) {
            uint64_t first = base + i * 64 * UNIT_BYTES;
            if (first >= w->bytes)
                break;
            uint64_t lost = load_relaxed(&chunk->used[i]) & ~w->marked[unit_of(w, first) / 64];
            for (; lost != 0; lost &= lost - 1)
                problem(w, "I4 the block at %llu is used and cannot be reached: leaked",
                        (unsigned long long)(first + (uint64_t)__builtin_ctzll(lost) * UNIT_BYTES));
        }
    }
}

static void check_control(struct walk *w) {
    const struct control *control = w->t->control;
    if (load_relaxed(&control->poisoned) != 0)
        problem(w, "I1 the table is poisoned: a repair found damage of kind %llu",
                (unsigned long long)load_relaxed(&control->poisoned));
    if (load_relaxed(&control->magic) != LAYOUT_MAGIC || load_relaxed(&control->n_stripes) != w->t->n_stripes ||
        load_relaxed(&control->arena_offset) != w->t->arena || load_relaxed(&control->hash_seed) != w->t->hash_seed ||
        load_relaxed(&control->size) % PAGE_BYTES != 0 ||
        load_relaxed(&control->size) > load_relaxed(&control->max_bytes))
        problem(w, "I1 the control page is damaged");
    if (load_relaxed(&control->size) > w->t->mapped)
        problem(w, "I1 the table says it is larger than what is mapped");
}

static uint64_t activity(struct tmgr_table *t) {
    uint64_t sum = load_acquire(&t->control->gen);
    for (uint32_t i = 0; i < t->n_stripes; i++) {
        const struct stripe *s = &t->stripes[i];
        sum += load_acquire(&s->tail) + load_acquire(&s->epoch) + load_acquire(&s->bytes) + load_acquire(&s->rows[0]) +
               load_acquire(&s->intent.op) + load_acquire(&s->tx);
        for (uint32_t j = 0; j < DESCRIPTORS; j++)
            sum += load_acquire(&s->descriptors[j].status);
    }
    return sum;
}

static void walk_all(struct walk *w) {
    check_control(w);
    check_pages(w);
    for (uint32_t i = 0; i < w->t->n_stripes; i++) {
        w->s = &w->t->stripes[i];
        check_stripe(w);
    }
    check_leaks(w);
}

/* As many stripes as can be locked, ascending; a poisoned table's are walked as they are. */
static int lock_all(struct tmgr_table *t, bool repair, int64_t wait_ns, uint32_t *locked) {
    int status = TMGR_OK;
    for (*locked = 0; *locked < t->n_stripes && status == TMGR_OK; *locked += status == TMGR_OK) {
        struct stripe *s = &t->stripes[*locked];
        status = stripe_lock(t, s, wait_ns);
        if (status == TMGR_OK && repair) {
            status = stripe_catch_up(t, s);
            if (status != TMGR_OK)
                stripe_unlock(s);
        }
    }
    return status == TMGR_CORRUPT ? TMGR_OK : status;
}

static int check_once(struct tmgr_table *t, bool repair, struct walk *w, int64_t wait_ns) {
    uint32_t locked = 0;
    int status = TMGR_OK;
    if (t->writable)
        status = lock_all(t, repair, wait_ns, &locked);
    if (status == TMGR_OK) {
        uint64_t before = activity(t);
        w->t = t;
        w->bytes = reachable_bytes(t);
        w->n_problems = 0;
        w->marked = calloc((w->bytes - t->arena) / UNIT_BYTES / 64 + CHUNK_PAGES, sizeof *w->marked);
        if (w->marked == NULL)
            status = TMGR_NO_MEMORY;
        else
            walk_all(w);
        free(w->marked);
        if (status == TMGR_OK && locked < t->n_stripes && activity(t) != before)
            status = TMGR_BUSY;
    }
    while (locked > 0)
        stripe_unlock(&t->stripes[--locked]);
    return status;
}

/* What is left to do is done through a writable mapping, which a handle that has not written yet has not got. */
static int enter(struct tmgr_table *t, bool repair) {
    int status = segment_enter(t, repair);
    bool may_not_write = status == TMGR_ACCESS || status == TMGR_READONLY || status == TMGR_NAMESPACE;
    return repair && may_not_write ? segment_enter(t, false) : status;
}

int tmgr_check(struct tmgr_table *t, bool repair, tmgr_problem_fn tell, void *context, int64_t wait_ns) {
    struct walk *w = malloc(sizeof *w);
    int status = w != NULL ? AGAIN : TMGR_NO_MEMORY;
    while (status == AGAIN) {
        status = enter(t, repair);
        bool inside = status == TMGR_OK;
        if (status == TMGR_CORRUPT && !t->head_only) { /* poisoned: walk it all the same */
            status = segment_enter_any(t);
            inside = status == TMGR_OK;
        }
        if (inside) {
            status = check_once(t, repair, w, wait_ns);
            segment_leave(t);
        }
    }
    if (status == TMGR_OK) {
        for (size_t i = 0; i < w->n_problems && i < KEPT; i++)
            tell(context, w->kept[i]);
        status = w->n_problems > 0 ? TMGR_CORRUPT : TMGR_OK;
    }
    free(w);
    return status;
}
