/* SPDX-License-Identifier: Apache-2.0 */
#include "arena.h"
#include "lock.h"
#include "os.h"

enum {
    GROW_BYTES = 32 * 1024,      /* at once, where memory is needed and not there */
    STEP_BYTES = 2 * PAGE_BYTES, /* at once, ahead of need: what a page of rows takes and as much again for the rest */
    AHEAD_BYTES = 256 * 1024,    /* wanted beyond the frontier, in a small table AHEAD_SHARE of what it has */
    AHEAD_SHARE = 8,
    SEARCH_CHUNKS = 64, /* looked at before growing: bounds what one write pays */
    ARENA_WAIT_NS = 2000000,
    GROWING_CLASSES = 28, /* up to 2 KiB: their slabs have 1, 2, 4, then 8 pages */
    SLAB_PAGES_MOST = 8
};
static_assert(GROWING_CLASSES <= 64, "two bits each in slab_sizes");

/* -- size classes: 16, 32 .. 256, then four to a doubling up to 8192 ------------------------------------------------ */

uint64_t arena_class_bytes(uint32_t class) {
    if (class < 16)
        return 16u * (class + 1);
    uint32_t doubling = (class - 16) / 4, quarter = (class - 16) % 4;
    return (UINT64_C(256) << doubling) / 4 * (5 + quarter);
}

static uint32_t class_of(uint64_t bytes) {
    if (bytes <= 256)
        return bytes == 0 ? 0 : (uint32_t)((bytes - 1) / 16);
    uint32_t doubling = 63u - (uint32_t)__builtin_clzll(bytes - 1) - 8u; /* 257..512 -> 0 */
    uint64_t quarter = (UINT64_C(256) << doubling) / 4;
    return 16 + doubling * 4 + (uint32_t)((bytes - 1) / quarter) - 4;
}

/* Whole pages need no slab. */
static bool fits_slab(uint64_t bytes) {
    return bytes <= SLAB_BLOCK_MAX && arena_class_bytes(class_of(bytes)) % PAGE_BYTES != 0;
}

uint64_t arena_block_size(uint64_t bytes) {
    if (bytes <= 256)
        return bytes == 0 ? UNIT_BYTES : (bytes + UNIT_BYTES - 1) & ~(uint64_t)(UNIT_BYTES - 1);
    if (fits_slab(bytes))
        return arena_class_bytes(class_of(bytes));
    return bytes <= RUN_BYTES_MAX ? (bytes + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1) : 0;
}

static uint32_t pages_of(uint64_t bytes) { return (uint32_t)((bytes + PAGE_BYTES - 1) / PAGE_BYTES); }

/* -- used bits --------------------------------------------------------------------------------------------------------- */

static word *used_word(struct tmgr_table *t, uint64_t offset, uint64_t *bit) {
    uint64_t unit = (offset - t->arena) % CHUNK_BYTES / UNIT_BYTES;
    *bit = UINT64_C(1) << unit % 64;
    return &chunk_of(t, offset)->used[unit / 64];
}

static bool is_used(struct tmgr_table *t, uint64_t offset) {
    uint64_t bit;
    word *bits = used_word(t, offset, &bit);
    return (load_relaxed(bits) & bit) != 0;
}

static void set_used(struct tmgr_table *t, uint64_t offset) {
    uint64_t bit;
    word *bits = used_word(t, offset, &bit);
    publish(bits, load_relaxed(bits) | bit);
}

static void clear_used(struct tmgr_table *t, uint64_t offset) {
    uint64_t bit;
    word *bits = used_word(t, offset, &bit);
    publish(bits, load_relaxed(bits) & ~bit);
}

/* A page's 256 bits are four words of their own. */
static bool run_is_empty(struct tmgr_table *t, uint64_t first, uint32_t pages) {
    const word *bits = &chunk_of(t, first)->used[page_in_chunk(t, first) * 4];
    for (uint32_t i = 0; i < pages * 4; i++)
        if (load_relaxed(&bits[i]) != 0)
            return false;
    return true;
}

/* -- page map ---------------------------------------------------------------------------------------------------------- */

static word *entry_at(struct tmgr_table *t, uint64_t offset) {
    return &chunk_of(t, offset)->map[page_in_chunk(t, offset)];
}
static uint64_t mine(struct tmgr_table *t, struct stripe *s) { return stripe_number(t, s) + 1; }

static uint64_t step_make(uint64_t first, uint32_t pages, enum page_step_kind kind) {
    return first | (uint64_t)pages << 4 | (uint64_t)kind;
}

/* What is asked of the search for free pages. */
struct wish {
    uint32_t pages;
    uint32_t least_here; /* as few do, if they lie in the chunk that is being filled */
    uint32_t least;      /* as few do, if the table cannot grow */
};

/* First page of the first free run of `pages` pages in a chunk, or of the longest if it is longer than *longest, which
 * then says how long; else 0. Under the arena lock. */
static uint32_t free_run_in(const struct chunk *chunk, uint32_t pages, uint32_t available, uint32_t *longest) {
    uint32_t run = 0, first = 0;
    for (uint32_t page = CHUNK_HEADER_PAGES; page < available && *longest < pages; page++) {
        /* acquire: pairs with the publish() of GIVE, so that what we write there comes after what the giver did */
        run = load_acquire(&chunk->map[page]) == 0 ? run + 1 : 0;
        if (run > *longest) {
            *longest = run;
            first = page + 1 - run;
        }
    }
    return first;
}

/* The first free run of *pages pages in chunks [from, to), or the longest there of at least `least`; *pages: its length. */
static uint64_t search(struct tmgr_table *t, uint32_t *pages, uint32_t least, uint64_t from, uint64_t to) {
    uint64_t bytes = reachable_bytes(t), first = 0, chunk = 0;
    uint32_t longest = least - 1;
    for (uint64_t n = from; n < to && longest < *pages; n++) {
        uint64_t base = t->arena + n * CHUNK_BYTES;
        if (base + CHUNK_HEADER_PAGES * PAGE_BYTES >= bytes)
            break;
        uint64_t available = (bytes - base) / PAGE_BYTES;
        uint32_t page =
            free_run_in(at(t, base), *pages, available < CHUNK_PAGES ? (uint32_t)available : CHUNK_PAGES, &longest);
        if (page != 0) {
            first = base + (uint64_t)page * PAGE_BYTES;
            chunk = n;
        }
    }
    if (first == 0)
        return 0;
    *pages = longest;
    if (longest <= SLAB_PAGES_MOST) /* a large run may have to go further than slabs need to */
        store_relaxed(&t->control->search_chunk, chunk);
    return first;
}

/* `bytes` more, or as much as there is; FULL; AGAIN if the mapping is too small for it. Under the arena lock. */
static int grow(struct tmgr_table *t, uint64_t bytes) {
    uint64_t size = load_relaxed(&t->control->size), limit = load_relaxed(&t->control->max_bytes);
    uint64_t to = size + bytes < limit ? size + bytes : limit & ~(uint64_t)(PAGE_BYTES - 1);
    to = to < t->mapped ? to : t->mapped & ~(uint64_t)(PAGE_BYTES - 1);
    if (to <= size) {
        if (size + PAGE_BYTES > limit || t->mapped >= limit) {
            store_relaxed(&t->control->short_of_memory, 1);
            return TMGR_FULL;
        }
        atomic_store(&t->outgrown, true);
        return AGAIN;
    }
    int error = os_segment_reserve(t->fd, size, to);
    store_relaxed(&t->control->short_of_memory, error != 0);
    if (error != 0)
        return TMGR_FULL;
    publish(&t->control->size, to); /* COMMIT POINT */
    return TMGR_OK;
}

/* Free pages as wished, grown if need be: the first of *pages. */
static int find_run(struct tmgr_table *t, struct wish wish, uint32_t *pages, uint64_t *first) {
    uint64_t hint = load_relaxed(&t->control->search_chunk);
    *pages = wish.pages;
    *first = search(t, pages, wish.least_here, hint, hint + 1);
    if (*first == 0)
        *first = search(t, pages, wish.pages, hint + 1, hint + SEARCH_CHUNKS);
    while (*first == 0) {
        int status = grow(t, GROW_BYTES);
        if (status != TMGR_OK) {
            *first = search(t, pages, status == TMGR_FULL ? wish.least : wish.least_here, 0, UINT64_MAX);
            return *first != 0 ? TMGR_OK : status;
        }
        uint64_t last = (load_relaxed(&t->control->size) - 1 - t->arena) / CHUNK_BYTES;
        *first = search(t, pages, wish.pages, last > 0 ? last - 1 : 0, last + 1);
    }
    return TMGR_OK;
}

bool arena_is_ahead(struct tmgr_table *t, uint64_t bytes) {
    uint64_t frontier = load_relaxed(&t->control->frontier);
    return load_relaxed(&t->control->size) - frontier >= bytes; /* of a frontier that lies beyond the end too */
}

/* The header pages of a chunk are touched as they come: their page faults would meet in the write that takes the chunk's
 * first page. Whatever it comes to, the write goes on; a death in it is one while growing. */
static void reserve_ahead(struct tmgr_table *t) {
    uint64_t size = load_relaxed(&t->control->size), wanted = size / AHEAD_SHARE;
    wanted = wanted < AHEAD_BYTES ? wanted : AHEAD_BYTES;
    if (arena_is_ahead(t, wanted) || load_relaxed(&t->control->short_of_memory) ||
        size + STEP_BYTES > load_relaxed(&t->control->max_bytes) || size + STEP_BYTES > t->mapped)
        return;
    enum lock_outcome outcome = lock_take(t->control->arena_lock, 0);
    if (outcome == LOCK_HELD_DEAD)
        lock_mark_consistent(t->control->arena_lock);
    else if (outcome != LOCK_HELD)
        return;
    size = load_relaxed(&t->control->size);
    if (grow(t, STEP_BYTES) == TMGR_OK)
        for (uint64_t page = size; page < load_relaxed(&t->control->size); page += PAGE_BYTES)
            if (page_in_chunk(t, page) < CHUNK_HEADER_PAGES)
                (void)load_relaxed((const word *)at(t, page));
    lock_release(t->control->arena_lock);
}

/* GRAB, ending in the step `then`. The caller finishes that step. */
static int grab(struct tmgr_table *t, struct stripe *s, struct wish wish, uint32_t class, enum page_step_kind then,
                uint64_t *first, uint32_t *n_pages) {
    enum lock_outcome outcome = lock_take(t->control->arena_lock, ARENA_WAIT_NS);
    if (outcome == LOCK_HELD_DEAD)
        lock_mark_consistent(t->control->arena_lock); /* nothing to repair here: see the head of arena.h */
    else if (outcome != LOCK_HELD)
        return outcome == LOCK_BUSY ? TMGR_BUSY : poison(t, POISON_LOCK);
    uint32_t pages;
    int status = find_run(t, wish, &pages, first);
    if (status == TMGR_OK) {
        publish(&s->intent.page_step, step_make(*first, pages, STEP_GRAB));
        for (uint32_t i = pages; i-- > 0;) /* the first page's last: it speaks for all (arena.h) */
            publish(entry_at(t, *first + (uint64_t)i * PAGE_BYTES), mine(t, s) | (uint64_t) class << 16 |
                                                                        (uint64_t)i << ENTRY_DISTANCE_SHIFT |
                                                                        (uint64_t)pages << ENTRY_PAGES_SHIFT);
        publish(&s->intent.page_step, then == STEP_NONE ? 0 : step_make(*first, pages, then));
        fence_release(); /* the last user's epoch is before our first store into the pages (pairs with readers' check) */
        *n_pages = pages;
        if (*first + (uint64_t)pages * PAGE_BYTES > load_relaxed(&t->control->frontier))
            store_relaxed(&t->control->frontier, *first + (uint64_t)pages * PAGE_BYTES);
    }
    lock_release(t->control->arena_lock);
    return status;
}

static void set_free(struct tmgr_table *t, struct stripe *s, uint64_t first, uint32_t pages) {
    for (uint32_t i = 0; i < pages; i++) {
        word *entry = entry_at(t, first + (uint64_t)i * PAGE_BYTES);
        if (entry_owner(load_relaxed(entry)) == mine(t, s))
            publish(entry, 0);
    }
    uint64_t chunk = (first - t->arena) / CHUNK_BYTES;
    if (chunk < load_relaxed(&t->control->search_chunk))
        store_relaxed(&t->control->search_chunk, chunk);
}

static void give(struct tmgr_table *t, struct stripe *s, uint64_t first, uint32_t pages) {
    publish(&s->intent.page_step, step_make(first, pages, STEP_GIVE));
    set_free(t, s, first, pages);
    publish(&s->intent.page_step, 0);
}

/* -- partial lists: slabs that may have a free block ------------------------------------------------------------------- */

static uint64_t page_number(uint64_t offset) { return offset / PAGE_BYTES; }

static _Atomic uint32_t *link_next(struct tmgr_table *t, uint64_t number) {
    return &chunk_of(t, number * PAGE_BYTES)->links[page_in_chunk(t, number * PAGE_BYTES)].next;
}
static _Atomic uint32_t *link_prev(struct tmgr_table *t, uint64_t number) {
    return &chunk_of(t, number * PAGE_BYTES)->links[page_in_chunk(t, number * PAGE_BYTES)].prev;
}
static void set_link(_Atomic uint32_t *link, uint64_t number) {
    atomic_store_explicit(link, (uint32_t)number, memory_order_release);
}
static uint64_t get_link(const _Atomic uint32_t *link) { return atomic_load_explicit(link, memory_order_relaxed); }

/* Is it the first page of a slab of ours? What a list in a damaged segment says is believed only then. */
static inline bool is_slab(struct tmgr_table *t, struct stripe *s, uint64_t number, uint32_t class) {
    uint64_t first = number * PAGE_BYTES, bytes = reachable_bytes(t);
    uint32_t page = page_in_chunk(t, first);
    if (first < t->arena || first >= bytes || page < CHUNK_HEADER_PAGES)
        return false;
    uint64_t entry = load_relaxed(entry_at(t, first)), pages = entry_pages(entry);
    /* owner, class, and no distance */
    return (entry & ((UINT64_C(1) << ENTRY_PAGES_SHIFT) - 1)) == (mine(t, s) | (uint64_t) class << 16) && pages > 0 &&
           page + pages <= CHUNK_PAGES && pages * PAGE_BYTES <= bytes - first;
}

/* Both redo themselves: until their last store they read nothing that they have changed. */
static int finish_list(struct tmgr_table *t, struct stripe *s, uint64_t first) {
    word *entry = entry_at(t, first);
    uint32_t class = entry_class(load_relaxed(entry));
    uint64_t number = page_number(first), head = class < N_CLASSES ? load_relaxed(&s->partial[class]) : 0;
    if (class >= N_CLASSES || (head != 0 && !is_slab(t, s, head, class)))
        return poison(t, POISON_PAGES);
    if (head != number) {
        set_link(link_prev(t, number), 0);
        set_link(link_next(t, number), head);
        if (head != 0)
            set_link(link_prev(t, head), number);
        publish(&s->partial[class], number);
    }
    publish(entry, load_relaxed(entry) | ENTRY_LISTED);
    publish(&s->intent.page_step, 0);
    return TMGR_OK;
}

static int finish_unlist(struct tmgr_table *t, struct stripe *s, uint64_t first) {
    word *entry = entry_at(t, first);
    uint32_t class = entry_class(load_relaxed(entry));
    uint64_t number = page_number(first), next = get_link(link_next(t, number)), prev = get_link(link_prev(t, number));
    if (class >= N_CLASSES || (next != 0 && !is_slab(t, s, next, class)) || (prev != 0 && !is_slab(t, s, prev, class)))
        return poison(t, POISON_PAGES);
    if (next != 0)
        set_link(link_prev(t, next), prev);
    if (prev != 0)
        set_link(link_next(t, prev), next);
    else
        publish(&s->partial[class], next);
    publish(entry, load_relaxed(entry) & ~ENTRY_LISTED);
    if (entry_count(load_relaxed(entry)) == 0)
        give(t, s, first,
             entry_pages(load_relaxed(entry))); /* straight on: nothing else would remember an unlisted slab */
    else
        publish(&s->intent.page_step, 0);
    return TMGR_OK;
}

static int list_slab(struct tmgr_table *t, struct stripe *s, uint64_t first) {
    publish(&s->intent.page_step, step_make(first, 0, STEP_LIST));
    return finish_list(t, s, first);
}

static int unlist_slab(struct tmgr_table *t, struct stripe *s, uint64_t first) {
    publish(&s->intent.page_step, step_make(first, 0, STEP_UNLIST));
    return finish_unlist(t, s, first);
}

/* The entries of what is kept first: whatever the pages behind belong to by then, a slab never reaches into them. */
static int finish_shrink(struct tmgr_table *t, struct stripe *s, uint64_t first, uint32_t before, uint32_t after) {
    for (uint32_t i = 0; i < after; i++) {
        word *entry = entry_at(t, first + (uint64_t)i * PAGE_BYTES);
        uint64_t rest = load_relaxed(entry) & ~(UINT64_C(0x7f) << ENTRY_PAGES_SHIFT);
        if (i == 0)
            rest &= (UINT64_C(1) << ENTRY_CURSOR_SHIFT) - 1;
        publish(entry, rest | (uint64_t)after << ENTRY_PAGES_SHIFT);
    }
    set_free(t, s, first + (uint64_t)after * PAGE_BYTES, before - after);
    publish(&s->intent.page_step, 0);
    return TMGR_OK;
}

int arena_finish_step(struct tmgr_table *t, struct stripe *s) {
    uint64_t step = load_relaxed(&s->intent.page_step);
    if (step == 0)
        return TMGR_OK;
    uint64_t first = step & ~(uint64_t)(PAGE_BYTES - 1);
    uint32_t pages = step >> 4 & 0xff, kind = step & 15, after = 0;
    if (kind == STEP_SHRINK) {
        after = pages & 15;
        pages >>= 4;
    }
    if (!offset_is_valid(t, first, (uint64_t)(pages > 0 ? pages : 1) * PAGE_BYTES) ||
        page_in_chunk(t, first) < CHUNK_HEADER_PAGES || page_in_chunk(t, first) + pages > CHUNK_PAGES)
        return poison(t, POISON_PAGES);
    switch (kind) {
    case STEP_SHRINK:
        if (entry_owner(load_relaxed(entry_at(t, first))) != mine(t, s) || after == 0 || after >= pages)
            return poison(t, POISON_PAGES);
        return finish_shrink(t, s, first, pages, after);
    case STEP_LIST:
    case STEP_UNLIST:
        if (entry_owner(load_relaxed(entry_at(t, first))) != mine(t, s))
            return poison(t, POISON_PAGES);
        return kind == STEP_LIST ? finish_list(t, s, first) : finish_unlist(t, s, first);
    case STEP_GRAB: /* undone; if it was a run, its bit may be set already */
        if (entry_owner(load_relaxed(entry_at(t, first))) == mine(t, s))
            clear_used(t, first);
        set_free(t, s, first, pages);
        break;
    case STEP_GIVE:
        set_free(t, s, first, pages);
        break;
    default:
        return poison(t, POISON_PAGES);
    }
    publish(&s->intent.page_step, 0);
    return TMGR_OK;
}

/* -- blocks --------------------------------------------------------------------------------------------------------------- */

static inline uint64_t slab_blocks(uint64_t entry) {
    return entry_pages(entry) * PAGE_BYTES / (uint32_t)arena_class_bytes(entry_class(entry));
}

static uint64_t with_count(uint64_t entry, uint64_t count, uint64_t cursor) {
    entry &= (UINT64_C(1) << ENTRY_COUNT_SHIFT) - 1;
    return entry | count << ENTRY_COUNT_SHIFT | cursor << ENTRY_CURSOR_SHIFT;
}

/* The first free block of blocks [from, to) of the slab; `to` if there is none. A word of used bits at a time, for one block
 * after the other was a tenth of an update: where blocks of `units` units begin, every so many bits, no bit may be set. */
static uint64_t first_free(struct tmgr_table *t, uint64_t first, uint64_t units, uint64_t from, uint64_t to) {
    const word *used = &chunk_of(t, first)->used[page_in_chunk(t, first) * 4];
    uint64_t begins = 1;
    for (uint64_t step = units; step < 64; step *= 2)
        begins |= begins << step;
    for (uint64_t unit = from * units; unit < to * units;) {
        uint64_t whole = unit - unit % 64, here = begins << unit % 64, free = here & ~load_relaxed(&used[whole / 64]);
        if (free != 0) {
            uint64_t block = (uint32_t)(whole + (uint32_t)__builtin_ctzll(free)) / (uint32_t)units;
            return block < to ? block : to;
        }
        unit = whole + 63 - (uint32_t)__builtin_clzll(here) + units;
    }
    return to;
}

/* Number of a free block of the slab of n, from the cursor on and then from the start; n if there is none. */
static inline uint64_t free_block_in(struct tmgr_table *t, uint64_t first, uint64_t entry, uint64_t n) {
    uint64_t units = arena_class_bytes(entry_class(entry)) / UNIT_BYTES,
             cursor = entry_cursor(entry) < n ? entry_cursor(entry) : n;
    if (cursor < n && !is_used(t, first + cursor * units * UNIT_BYTES)) /* as in a slab that is being filled */
        return cursor;
    uint64_t i = first_free(t, first, units, cursor, n);
    if (i < n)
        return i;
    i = first_free(t, first, units, 0, cursor);
    return i < cursor ? i : n;
}

int arena_recount(struct tmgr_table *t, struct stripe *s, uint64_t offset) {
    if (!offset_is_valid(t, offset, UNIT_BYTES) || page_in_chunk(t, offset) < CHUNK_HEADER_PAGES)
        return poison(t, POISON_PAGES);
    uint64_t entry = load_relaxed(entry_at(t, offset));
    if (entry_owner(entry) != mine(t, s) || entry_class(entry) >= N_CLASSES)
        return TMGR_OK;
    uint64_t first = (offset & ~(uint64_t)(PAGE_BYTES - 1)) - (uint64_t)entry_distance(entry) * PAGE_BYTES;
    if (!is_slab(t, s, page_number(first), entry_class(entry)))
        return poison(t, POISON_PAGES);
    entry = load_relaxed(entry_at(t, first));
    uint64_t count = 0;
    for (uint64_t i = 0; i < slab_blocks(entry); i++)
        count += is_used(t, first + i * arena_class_bytes(entry_class(entry)));
    publish(entry_at(t, first), with_count(entry, count, 0));
    return TMGR_OK;
}

/* Small at first, because there are as many as stripes times classes in use. The pages of the larger classes are the fewest
 * that whole blocks fill. */
static uint32_t slab_pages(struct stripe *s, uint32_t class) {
    if (class >= GROWING_CLASSES) {
        uint64_t bytes = arena_class_bytes(class);
        uint32_t pages = (uint32_t)((bytes + PAGE_BYTES - 1) / PAGE_BYTES);
        while ((uint64_t)pages * PAGE_BYTES % bytes != 0)
            pages++;
        return pages;
    }
    word *sizes = &s->slab_sizes[class / 32];
    uint64_t shift = class % 32 * 2, log2 = load_relaxed(sizes) >> shift & 3;
    if (log2 < 3)
        store_relaxed(sizes, load_relaxed(sizes) + (UINT64_C(1) << shift));
    return 1u << log2;
}

/* Where memory is short, slabs are as small as they can be without losing more than a sixteenth behind the last block. */
static uint32_t frugal_pages(uint32_t class) {
    uint64_t bytes = arena_class_bytes(class);
    for (uint32_t pages = 1; pages < SLAB_PAGES_MOST; pages++)
        if ((uint64_t)pages * PAGE_BYTES % bytes <= (uint64_t)pages * PAGE_BYTES / 16)
            return pages;
    return SLAB_PAGES_MOST;
}

/* A new slab, listed. */
static int take_slab(struct tmgr_table *t, struct stripe *s, uint32_t class) {
    uint32_t one_block = pages_of(arena_class_bytes(class));
    uint32_t pages = load_relaxed(&t->control->short_of_memory) ? frugal_pages(class) : slab_pages(s, class);
    struct wish wish = {pages, class < GROWING_CLASSES ? 1 : pages, one_block};
    uint64_t first;
    int status = grab(t, s, wish, class, STEP_LIST, &first, &pages);
    return status == TMGR_OK ? finish_list(t, s, first) : status;
}

static int take_run(struct tmgr_table *t, struct stripe *s, uint64_t bytes, word *log, uint64_t *offset) {
    uint32_t pages = pages_of(bytes);
    int status = grab(t, s, (struct wish){pages, pages, pages}, CLASS_RUN, STEP_GRAB, offset, &pages);
    if (status != TMGR_OK)
        return status;
    publish(log, *offset);
    set_used(t, *offset);
    publish(&s->intent.page_step, 0);
    return TMGR_OK;
}

int arena_take_run(struct tmgr_table *t, struct stripe *s, uint64_t most, word *log, uint64_t *run) {
    uint32_t pages = most < RUN_PAGES_MAX ? (uint32_t)most : RUN_PAGES_MAX;
    uint64_t first;
    int status = grab(t, s, (struct wish){pages, pages, 1}, CLASS_RUN, STEP_GRAB, &first, &pages);
    if (status != TMGR_OK)
        return status;
    *run = first | pages;
    publish(log, *run);
    set_used(t, first);
    publish(&s->intent.page_step, 0);
    return TMGR_OK;
}

/* The next larger class in which the stripe may have a free block, aligned as blocks of `bytes` are (buckets are cache
 * lines); N_CLASSES if there is none. */
static uint32_t roomier(struct stripe *s, uint32_t class, uint64_t bytes) {
    uint64_t size = arena_block_size(bytes), alignment = size & -size;
    alignment = alignment < 64 ? alignment : 64;
    do
        class ++;
    while (class < N_CLASSES && (load_relaxed(&s->partial[class]) == 0 || arena_class_bytes(class) % alignment != 0));
    return class;
}

/* Block i of a slab of n, which is free. */
static inline void take_block(struct tmgr_table *t, uint64_t first, uint64_t entry, uint64_t i, uint64_t n, word *log,
                              uint64_t *offset) {
    *offset = first + i * arena_class_bytes(entry_class(entry));
    publish(log, *offset);
    set_used(t, *offset);
    publish(entry_at(t, first), with_count(entry, entry_count(entry) + 1, i + 1 < n ? i + 1 : 0));
    if (*offset % PAGE_BYTES < arena_class_bytes(entry_class(entry)))
        reserve_ahead(t);
    fence_release(); /* the epoch that freed this block, whoever stored it, before what the caller fills in */
}

/* Where no page is to be had, a block of a larger class does; but only once evacuation has found none either, for a small
 * row in a large block keeps its pages from rows that need them. */
int arena_take(struct tmgr_table *t, struct stripe *s, uint64_t bytes, word *log, uint64_t *offset) {
    if (!fits_slab(bytes))
        return take_run(t, s, bytes, log, offset);
    uint32_t class = class_of(bytes);
    bool full = false;
    for (;;) {
        uint64_t head = load_relaxed(&s->partial[class]), first = head * PAGE_BYTES;
        int status;
        if (head == 0) {
            status = full ? TMGR_FULL : take_slab(t, s, class);
            full = status == TMGR_FULL;
            if (full && load_relaxed(&t->control->misfits) > 0 && (class = roomier(s, class, bytes)) < N_CLASSES)
                continue;
            if (status != TMGR_OK)
                return status;
            continue;
        }
        if (!is_slab(t, s, head, class))
            return poison(t, POISON_PAGES);
        uint64_t entry = load_relaxed(entry_at(t, first)), n = slab_blocks(entry);
        if (!(entry & ENTRY_LISTED))
            return poison(t, POISON_PAGES); /* else a list that leads in a circle would be followed for ever */
        uint64_t i = entry_count(entry) < n ? free_block_in(t, first, entry, n) : n;
        if (i < n) {
            take_block(t, first, entry, i, n, log, offset);
            if (full) {
                uint64_t left = load_relaxed(&t->control->misfits);
                store_relaxed(&t->control->misfits, left > 0 ? left - 1 : 0);
            }
            return TMGR_OK;
        }
        status = unlist_slab(t, s, first);
        if (status != TMGR_OK)
            return status;
    }
}

/* A slab that got its first free block is listed; one that is empty goes back, unless it is the only one listed (a table
 * that swings between no row and one shall not take and give pages each time). */
static int slab_has_room(struct tmgr_table *t, struct stripe *s, uint64_t first, uint64_t entry, bool keep_last) {
    if (!(entry & ENTRY_LISTED)) {
        int status = list_slab(t, s, first);
        if (status != TMGR_OK)
            return status;
    }
    if (entry_count(entry) != 0 || !run_is_empty(t, first, entry_pages(entry)))
        return TMGR_OK;
    uint64_t number = page_number(first);
    if (keep_last && load_relaxed(&s->partial[entry_class(entry)]) == number && get_link(link_next(t, number)) == 0)
        return TMGR_OK;
    return unlist_slab(t, s, first); /* which gives an empty one back */
}

bool arena_holds(struct tmgr_table *t, struct stripe *s, uint64_t offset) {
    return offset_is_valid(t, offset, UNIT_BYTES) && page_in_chunk(t, offset) >= CHUNK_HEADER_PAGES &&
           entry_owner(load_relaxed(entry_at(t, offset))) == mine(t, s) && is_used(t, offset);
}

int arena_free(struct tmgr_table *t, struct stripe *s, uint64_t offset) {
    if (!offset_is_valid(t, offset, UNIT_BYTES) || page_in_chunk(t, offset) < CHUNK_HEADER_PAGES)
        return poison(t, POISON_RING);
    uint64_t entry = load_relaxed(entry_at(t, offset));
    if (entry_owner(entry) != mine(t, s))
        return TMGR_OK; /* redone after the page was given away */
    uint64_t first = (offset & ~(uint64_t)(PAGE_BYTES - 1)) - (uint64_t)entry_distance(entry) * PAGE_BYTES;
    if (entry_class(entry) == CLASS_RUN) {
        if (offset != first || page_in_chunk(t, first) + entry_pages(entry) > CHUNK_PAGES)
            return poison(t, POISON_PAGES);
        clear_used(t, offset);
        give(t, s, first, entry_pages(entry));
        return TMGR_OK;
    }
    if (entry_class(entry) >= N_CLASSES || !is_slab(t, s, page_number(first), entry_class(entry)) ||
        (offset - first) % arena_class_bytes(entry_class(entry)) != 0)
        return poison(t, POISON_PAGES);
    if (!is_used(t, offset)) { /* redone after a death, which may have come before the count */
        int status = arena_recount(t, s, offset);
        if (status != TMGR_OK)
            return status;
    } else {
        clear_used(t, offset);
        entry = load_relaxed(entry_at(t, first));
        uint64_t count = entry_count(entry) > 0 ? entry_count(entry) - 1 : 0;
        publish(entry_at(t, first), with_count(entry, count, (offset - first) / arena_class_bytes(entry_class(entry))));
    }
    return slab_has_room(t, s, first, load_relaxed(entry_at(t, first)), true);
}

/* Is this what a partial list may lead to? */
static bool is_listed(struct tmgr_table *t, struct stripe *s, uint64_t number, uint32_t class) {
    return is_slab(t, s, number, class) && load_relaxed(entry_at(t, number * PAGE_BYTES)) & ENTRY_LISTED;
}

int arena_trim(struct tmgr_table *t, struct stripe *s) {
    uint64_t steps = reachable_bytes(t) / PAGE_BYTES; /* more than any list has, unless it leads in a circle */
    for (uint32_t class = 0; class < N_CLASSES; class ++)
        for (uint64_t number = load_relaxed(&s->partial[class]), next; number != 0; number = next) {
            if (steps-- == 0 || !is_listed(t, s, number, class))
                return poison(t, POISON_PAGES);
            next = get_link(link_next(t, number));
            int status =
                slab_has_room(t, s, number * PAGE_BYTES, load_relaxed(entry_at(t, number * PAGE_BYTES)), false);
            if (status != TMGR_OK)
                return status;
        }
    return TMGR_OK;
}

int arena_slabs(struct tmgr_table *t, struct stripe *s, uint32_t class, uint64_t *cursor, struct arena_slab *slabs,
                size_t most, size_t *n) {
    uint64_t number = *cursor != 0 ? *cursor : load_relaxed(&s->partial[class]);
    for (*n = 0; *n < most && number != 0; number = get_link(link_next(t, number))) {
        if (!is_listed(t, s, number, class))
            return poison(t, POISON_PAGES);
        uint64_t entry = load_relaxed(entry_at(t, number * PAGE_BYTES));
        if (entry_count(entry) > slab_blocks(entry))
            return poison(t, POISON_PAGES);
        slabs[(*n)++] = (struct arena_slab){number * PAGE_BYTES, (uint32_t)entry_count(entry),
                                            (uint32_t)slab_blocks(entry), entry_pages(entry)};
    }
    *cursor = number;
    return TMGR_OK;
}

int arena_take_in(struct tmgr_table *t, struct stripe *s, uint64_t first, word *log, uint64_t *offset) {
    uint64_t entry = load_relaxed(entry_at(t, first));
    if (entry_class(entry) >= N_CLASSES || !is_listed(t, s, page_number(first), entry_class(entry)))
        return TMGR_ABSENT;
    uint64_t n = slab_blocks(entry), i = free_block_in(t, first, with_count(entry, entry_count(entry), 0), n);
    if (i == n)
        return TMGR_ABSENT;
    take_block(t, first, entry, i, n, log, offset);
    return TMGR_OK;
}

uint32_t arena_pages_for(uint32_t class, uint64_t blocks) { return pages_of(blocks * arena_class_bytes(class)); }

void arena_allow_misfits(struct tmgr_table *t, uint64_t blocks) { store_relaxed(&t->control->misfits, blocks); }

int arena_shrink(struct tmgr_table *t, struct stripe *s, uint64_t first, uint32_t pages) {
    uint64_t entry = load_relaxed(entry_at(t, first)), bytes = arena_class_bytes(entry_class(entry));
    uint32_t before = entry_pages(entry);
    if (entry_class(entry) >= N_CLASSES || !is_listed(t, s, page_number(first), entry_class(entry)) || pages == 0 ||
        pages >= before || before > SLAB_PAGES_MOST)
        return TMGR_ABSENT;
    for (uint64_t i = (uint64_t)pages * PAGE_BYTES / bytes; i < slab_blocks(entry); i++)
        if (is_used(t, first + i * bytes))
            return TMGR_ABSENT;
    publish(&s->intent.page_step, step_make(first, pages | before << 4, STEP_SHRINK));
    return finish_shrink(t, s, first, before, pages);
}

void arena_prefetch(struct tmgr_table *t, uint64_t offset) {
    if (!offset_is_valid(t, offset, UNIT_BYTES))
        return;
    uint64_t bit;
    __builtin_prefetch((const void *)used_word(t, offset, &bit), 1);
    __builtin_prefetch((const void *)entry_at(t, offset), 1);
}
