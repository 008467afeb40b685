/* SPDX-License-Identifier: Apache-2.0 */
#include "oset.h"

#include <stdlib.h>

enum { READ_TRIES = 64, MERGE_AT = 3, MERGED_MAX = 10, HEADROOM = 2 };

/* -- sort keys --------------------------------------------------------------------------------------------------------- */

int sorted_make(struct sorted *sorted, const uint8_t *key, size_t len) {
    size_t capacity = sizeof sorted->small;
    sorted->bytes = sorted->small;
    if (sortkey_bound(len) > capacity) {
        capacity = sortkey_bound(len);
        sorted->bytes = malloc(capacity);
        if (sorted->bytes == NULL)
            return TMGR_NO_MEMORY;
    }
    sorted->len = sortkey_make(key, len, sorted->bytes, capacity);
    if (sorted->len != 0)
        return TMGR_OK;
    sorted_free(sorted);
    return TMGR_BAD_ROW;
}

uint8_t *sorted_room(struct sorted *sorted, size_t len) {
    sorted->bytes = len + SORT_SLACK <= sizeof sorted->small ? sorted->small : malloc(len + SORT_SLACK);
    return sorted->bytes;
}

void sorted_free(struct sorted *sorted) {
    if (sorted->bytes != sorted->small)
        free(sorted->bytes);
    sorted->bytes = sorted->small;
}

int sorted_compare(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len) {
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

static size_t common(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len) {
    size_t n = 0;
    while (n < a_len && n < b_len && a[n] == b[n])
        n++;
    return n;
}

/* -- nodes --------------------------------------------------------------------------------------------------------------- */

/* A node with its constants loaded once, because a reader's may be overwritten meanwhile. */
struct seen {
    struct node *node;
    uint64_t order;
    uint32_t level, skip, low_len;
};

/* No number of an entry is 13 or above: both high bits of its four and one of the others. */
static bool entries_are_in_range(uint64_t order) {
    uint64_t high = order & order << 1, either = order << 2 | order << 3, listed = UINT64_C(1) << 4 * (order & 15);
    return (high & either & UINT64_C(0x8888888888888888) & ((listed - 1) << 4)) == 0;
}

/* False: damaged, or, for a reader, overtaken. */
static bool look(struct tmgr_table *t, uint64_t offset, struct seen *seen) {
    if (!offset_is_valid(t, offset, sizeof(struct node)))
        return false;
    seen->node = at(t, offset);
    seen->order = load_acquire(&seen->node->order);
    uint64_t shape = load_relaxed(&seen->node->shape);
    seen->level = node_level(shape);
    seen->skip = node_skip(shape);
    seen->low_len = node_low_len(shape);
    return seen->level < LEVELS_MAX && seen->skip <= seen->low_len && seen->low_len <= SORTKEY_MAX &&
           order_count(seen->order) <= NODE_ENTRIES && entries_are_in_range(seen->order) &&
           offset_is_valid(t, offset, sizeof(struct node) + (uint64_t)seen->low_len);
}

struct node *oset_node(struct tmgr_table *t, uint64_t offset) {
    struct seen seen;
    return look(t, offset, &seen) ? seen.node : NULL;
}

uint64_t oset_node_bytes(const struct node *node) {
    return arena_block_size(sizeof *node + node_low_len(load_relaxed(&node->shape)));
}

/* The first n bytes of 8 as a number that grows as memcmp has it. */
static uint64_t big_endian(uint64_t bytes, size_t n) {
    return n >= 8 ? __builtin_bswap64(bytes) : n == 0 ? 0 : __builtin_bswap64(bytes) & UINT64_MAX << 8 * (8 - n);
}

/* All 8 bytes are readable, for sort keys stand in buffers with SORT_SLACK bytes more. */
static uint64_t sort_word(const uint8_t *sort, size_t n) {
    uint64_t bytes;
    memcpy(&bytes, sort, 8);
    return big_endian(bytes, n);
}

/* The first `n` bytes of low against the key, as memcmp; a prefix is less. */
static int low_compare(const struct node *node, uint32_t n, const uint8_t *sort, size_t len) {
    size_t both = n < len ? n : len;
    for (size_t i = 0; i < both; i += 8) {
        uint64_t ours = big_endian(load_relaxed(&node->low[i / 8]), both - i), theirs = sort_word(sort + i, both - i);
        if (ours != theirs)
            return ours < theirs ? -1 : 1;
    }
    return (n > len) - (n < len);
}

/* Grows with the key: 8 bytes after the first `skip`, which all keys of the node were thought to share. Keys that do not share
 * them have the least or the greatest head. Equal heads decide nothing. */
static uint64_t head_of(const struct node *node, uint32_t skip, const uint8_t *sort, size_t len) {
    int order = skip > 0 ? low_compare(node, skip, sort, len < skip ? len : skip) : 0;
    if (order != 0)
        return order > 0 ? 0 : UINT64_MAX;
    return len > skip ? sort_word(sort + skip, len - skip) : 0;
}

uint64_t oset_head(const struct node *node, const uint8_t *sort, size_t len) {
    return head_of(node, node_skip(load_relaxed(&node->shape)), sort, len);
}

static uint64_t with_changes(uint64_t order, uint64_t count, uint64_t ranks) {
    uint64_t changes = ((order >> ORDER_CHANGES_SHIFT) + 1) << ORDER_CHANGES_SHIFT;
    return changes | (ranks & ((UINT64_C(1) << 4 * NODE_ENTRIES) - 1)) << 4 | count;
}

static uint64_t order_insert(uint64_t order, uint32_t rank, uint64_t entry) {
    uint64_t ranks = order >> 4, below = ranks & ((UINT64_C(1) << 4 * rank) - 1);
    return with_changes(order, order_count(order) + 1,
                        below | entry << 4 * rank | (ranks >> 4 * rank) << 4 * (rank + 1));
}

static uint64_t order_remove(uint64_t order, uint32_t rank) {
    uint64_t ranks = order >> 4, below = ranks & ((UINT64_C(1) << 4 * rank) - 1);
    return with_changes(order, order_count(order) - 1, below | ranks >> 4 * (rank + 1) << 4 * rank);
}

static uint64_t order_first(uint64_t order, uint32_t count) { return with_changes(order, count, order >> 4); }

/* An entry that the order does not list. */
static uint32_t free_entry(uint64_t order) {
    uint32_t listed = 0;
    for (uint32_t rank = 0; rank < order_count(order); rank++)
        listed |= 1u << order_entry(order, rank);
    return (uint32_t)__builtin_ctz(~listed);
}

/* -- going down ---------------------------------------------------------------------------------------------------------------- */

/* From the root to a leaf; rank: of the child that was taken. */
struct path {
    int depth;
    struct seat {
        struct seen at;
        uint32_t rank;
    } seats[LEVELS_MAX];
};

/* Rank of the last child whose separator is not above the key (before: below it); the first child serves all lower ones.
 * -1: damaged or overtaken. */
static int child_rank(struct tmgr_table *t, const struct seen *seen, const uint8_t *sort, size_t len, bool before,
                      bool at_edge) {
    uint64_t head = head_of(seen->node, seen->skip, sort, len);
    int low = 0, high = (int)order_count(seen->order) - 1;
    while (low < high) {
        int middle = at_edge ? high : (low + high + 1) / 2;
        at_edge = false;
        uint32_t entry = order_entry(seen->order, (uint32_t)middle);
        if (entry >= NODE_ENTRIES)
            return -1;
        uint64_t there = load_relaxed(&seen->node->heads[entry]);
        bool right = there < head;
        if (there == head) {
            struct seen child;
            if (!look(t, load_acquire(&seen->node->slots[entry]), &child))
                return -1;
            right = low_compare(child.node, child.low_len, sort, len) < (before ? 0 : 1);
        }
        low = right ? middle : low;
        high = right ? high : middle - 1;
    }
    return low;
}

static void prefetch_node(struct tmgr_table *t, uint64_t offset) {
    if (!offset_is_valid(t, offset, sizeof(struct node)))
        return;
    const uint8_t *node = at(t, offset);
    for (size_t i = 0; i < sizeof(struct node); i += 64)
        __builtin_prefetch(node + i);
}

/* The leaf for a key; sort NULL: the first leaf, or with `before` the last one. at_edge: look at the last child first while that
 * is the one, for keys come in ascending order often. */
static bool descend(struct tmgr_table *t, uint64_t top, const uint8_t *sort, size_t len, bool before, bool at_edge,
                    struct path *path) {
    struct seat *seat = &path->seats[0];
    path->depth = 1;
    if (!look(t, top, &seat->at))
        return false;
    while (seat->at.level > 0) {
        if (order_count(seat->at.order) == 0 || path->depth == LEVELS_MAX)
            return false;
        int rank = sort != NULL ? child_rank(t, &seat->at, sort, len, before, at_edge)
                   : before     ? (int)order_count(seat->at.order) - 1
                                : 0;
        uint32_t entry = rank >= 0 ? order_entry(seat->at.order, (uint32_t)rank) : NODE_ENTRIES;
        if (entry >= NODE_ENTRIES)
            return false;
        seat->rank = (uint32_t)rank;
        at_edge = at_edge && seat->rank + 1 == order_count(seat->at.order);
        uint64_t child = load_acquire(&seat->at.node->slots[entry]);
        prefetch_node(t, child);
        uint32_t level = seat->at.level;
        seat++;
        path->depth++;
        if (!look(t, child, &seat->at) || seat->at.level != level - 1)
            return false;
    }
    return true;
}

static const struct seen *leaf_of(const struct path *path) { return &path->seats[path->depth - 1].at; }

/* -- reading --------------------------------------------------------------------------------------------------------------------- */

struct view {
    uint64_t epoch, gen, reshapes, top;
    const struct root *root;
};

/* As view_open of hset.c. */
static int view_open(struct tmgr_table *t, struct stripe *s, struct view *view) {
    view->epoch = load_acquire(&s->epoch);
    view->gen = load_acquire(&t->control->gen);
    uint64_t stripe_gen = load_acquire(&s->gen);
    if (stripe_gen < view->gen)
        return TMGR_ABSENT;
    if (stripe_gen > view->gen)
        return TMGR_BUSY;
    view->root = &s->root[view->gen & 1];
    view->reshapes = load_acquire(&view->root->reshapes);
    view->top = load_acquire(&view->root->top);
    return view->top != 0 ? TMGR_OK : TMGR_ABSENT;
}

static bool view_overtaken(const struct stripe *s, const struct view *view) {
    fence_acquire(); /* pairs with fence_release in stripe_advance */
    return load_relaxed(&s->epoch) - view->epoch > 1;
}

/* Does what was not seen count as absent? Pairs with split, which counts before it uses an entry again, and with
 * finish_split, which counts before it cuts. */
static bool miss_holds(struct tmgr_table *t, const struct stripe *s, const struct view *view) {
    return !view_overtaken(s, view) && load_relaxed(&t->control->gen) == view->gen &&
           load_relaxed(&view->root->reshapes) == view->reshapes;
}

/* What a slot leads to: OK with the row's offset, ABSENT, or BUSY. */
static int slot_take(struct tmgr_table *t, const word *place, uint64_t *row) {
    uint64_t slot = load_acquire(place);
    if (slot & SLOT_PENDING) {
        int status = pending_resolve(t, &slot);
        if (status != TMGR_OK)
            return status;
    }
    *row = slot_offset(slot);
    return slot == 0 ? TMGR_ABSENT : offset_is_valid(t, *row, UNIT_BYTES) ? TMGR_OK : TMGR_BUSY;
}

/* Is the key of a copied row this one by value? The copy may be torn: then it is no key, and BUSY. */
static int same_key(struct tmgr_table *t, const uint8_t *row, size_t len, const struct probe *probe,
                    const struct sorted *sorted) {
    if (term_key_is(row, len, t->keypos, probe->key, probe->len))
        return TMGR_OK;
    struct term_span key;
    struct sorted other;
    int status = term_key_of(row, len, t->keypos, &key) && key.len <= TMGR_KEY_MAX
                     ? sorted_make(&other, row + key.offset, key.len)
                     : TMGR_BAD_ROW;
    if (status != TMGR_OK)
        return status == TMGR_BAD_ROW ? TMGR_BUSY : status;
    bool same = other.len == sorted->len && memcmp(other.bytes, sorted->bytes, other.len) == 0;
    sorted_free(&other);
    return same ? TMGR_OK : TMGR_ABSENT;
}

static int find_once(struct tmgr_table *t, struct stripe *s, const struct probe *probe, const struct sorted *sorted,
                     struct tmgr_buffer *out) {
    struct view view;
    struct path path;
    size_t before = out->len;
    int status = view_open(t, s, &view);
    if (status != TMGR_OK)
        return status;
    if (!descend(t, view.top, sorted->bytes, sorted->len, false, false, &path))
        return TMGR_BUSY;
    const struct seen *leaf = leaf_of(&path);
    uint64_t head = head_of(leaf->node, leaf->skip, sorted->bytes, sorted->len), row;
    for (uint32_t rank = 0; rank < order_count(leaf->order); rank++) {
        uint32_t entry = order_entry(leaf->order, rank);
        if (entry >= NODE_ENTRIES)
            return TMGR_BUSY;
        if (load_relaxed(&leaf->node->heads[entry]) != head)
            continue;
        status = slot_take(t, &leaf->node->slots[entry], &row);
        if (status == TMGR_OK)
            status = row_copy(t, s, view.epoch, row, out);
        if (status == TMGR_OK)
            status = same_key(t, out->data + before, out->len - before, probe, sorted);
        if (status == TMGR_OK && !view_overtaken(s, &view))
            return TMGR_OK;
        out->len = before;
        if (status != TMGR_ABSENT)
            return status == TMGR_OK ? TMGR_BUSY : status;
    }
    return miss_holds(t, s, &view) ? TMGR_ABSENT : TMGR_BUSY;
}

/* What must have changed if a read was overtaken; else the table is damaged. As in hset.c. */
static uint64_t changes(struct tmgr_table *t, struct stripe *s) {
    uint64_t gen = load_acquire(&t->control->gen);
    return load_acquire(&s->epoch) + load_acquire(&s->root[gen & 1].reshapes) + gen + load_acquire(&s->gen) +
           load_acquire(&s->tx) + load_acquire(&s->tail) + load_acquire(&s->bytes);
}

static int damaged_if_still(struct tmgr_table *t, struct stripe *s, uint64_t before, int status) {
    bool still = changes(t, s) == before && load_acquire(&t->control->size) <= t->mapped;
    return status == TMGR_BUSY && still ? TMGR_CORRUPT : status;
}

int oset_find(struct tmgr_table *t, struct stripe *s, const struct probe *probe, struct tmgr_buffer *out) {
    struct sorted sorted;
    int status = sorted_make(&sorted, probe->key, probe->len);
    if (status != TMGR_OK)
        return status == TMGR_BAD_ROW ? TMGR_ABSENT : status;
    uint64_t before = changes(t, s);
    status = TMGR_BUSY;
    for (int tries = 0; status == TMGR_BUSY && tries < READ_TRIES; tries++)
        status = find_once(t, s, probe, &sorted, out);
    sorted_free(&sorted);
    return damaged_if_still(t, s, before, status);
}

/* -- ranges ------------------------------------------------------------------------------------------------------------------------- */

/* A bound within one leaf. */
struct fence {
    const uint8_t *sort; /* NULL: none */
    size_t len;
    uint64_t head;
};

static struct fence fence_in(const struct seen *leaf, const uint8_t *sort, size_t len) {
    return (struct fence){sort, len, sort != NULL ? head_of(leaf->node, leaf->skip, sort, len) : 0};
}

/* What one leaf contributes to a range. */
struct piece {
    size_t n_rows, last_row; /* where in `out` the last of them begins */
    bool last;               /* nothing of the range lies beyond this leaf */
    struct tmgr_buffer next; /* the bound at which the range goes on */
};

/* The way to a leaf. From it the next one is found without going down from the root, as long as the epoch in which the way was
 * found protects its nodes. */
struct way {
    struct view view;
    struct path path;
    bool leads_on;
    bool stepped; /* it came here from the leaf before */
};

/* One rank on in a seat's node: OK, or ABSENT at its end. */
static int rank_beside(const struct seat *seat, bool reverse, uint32_t distance, uint32_t *rank) {
    if (reverse ? seat->rank < distance : seat->rank + distance >= order_count(seat->at.order))
        return TMGR_ABSENT;
    *rank = reverse ? seat->rank - distance : seat->rank + distance;
    return order_entry(seat->at.order, *rank) < NODE_ENTRIES ? TMGR_OK : TMGR_ABSENT;
}

/* The child at a rank that rank_beside has given. */
static uint64_t child_at(const struct seat *seat, uint32_t rank) {
    return load_acquire(&seat->at.node->slots[order_entry(seat->at.order, rank)]);
}

/* The inner node beside the leaf's parent takes its place, if both have the same parent: OK, or ABSENT. */
static int step_parent_aside(struct tmgr_table *t, struct way *way, bool reverse) {
    struct seat *seat = &way->path.seats[way->path.depth - 2];
    struct seen next;
    uint32_t rank;
    if (way->path.depth < 3 || rank_beside(seat - 1, reverse, 1, &rank) != TMGR_OK ||
        !look(t, child_at(seat - 1, rank), &next) || next.level != 1 || order_count(next.order) == 0)
        return TMGR_ABSENT;
    seat[-1].rank = rank;
    *seat = (struct seat){next, reverse ? order_count(next.order) : UINT32_MAX}; /* before its first child */
    return TMGR_OK;
}

/* The leaf beside: OK, or ABSENT if it is to be found from the root. */
static int step_aside(struct tmgr_table *t, struct way *way, bool reverse) {
    if (!way->leads_on || way->path.depth < 2)
        return TMGR_ABSENT;
    struct seat *above = &way->path.seats[way->path.depth - 2];
    uint32_t rank;
    if (rank_beside(above, reverse, 1, &rank) != TMGR_OK &&
        (step_parent_aside(t, way, reverse) != TMGR_OK || rank_beside(above, reverse, 1, &rank) != TMGR_OK))
        return TMGR_ABSENT;
    if (!look(t, child_at(above, rank), &above[1].at) || above[1].at.level != 0)
        return TMGR_ABSENT;
    above->rank = rank;
    return TMGR_OK;
}

static int find_way(struct tmgr_table *t, struct stripe *s, const struct oset_range *range, struct way *way) {
    way->stepped = step_aside(t, way, range->reverse) == TMGR_OK;
    if (way->stepped)
        return TMGR_OK;
    int status = view_open(t, s, &way->view);
    if (status != TMGR_OK)
        return status;
    bool found = range->reverse
                     ? descend(t, way->view.top, range->hi, range->hi_len, !range->up_to_hi, false, &way->path)
                     : descend(t, way->view.top, range->lo, range->lo_len, false, false, &way->path);
    return found ? TMGR_OK : TMGR_BUSY;
}

static void prefetch_rows(struct tmgr_table *t, const struct seen *leaf) {
    for (uint32_t rank = 0; rank < order_count(leaf->order); rank++) {
        uint32_t entry = order_entry(leaf->order, rank);
        uint64_t offset = entry < NODE_ENTRIES ? slot_offset(load_relaxed(&leaf->node->slots[entry])) : 0;
        if (!offset_is_valid(t, offset, UNIT_BYTES))
            continue;
        const uint8_t *row = at(t, offset);
        __builtin_prefetch(row);
        __builtin_prefetch(row + 64);
        __builtin_prefetch(row + 127); /* 128 bytes lie in three lines more often than not */
    }
}

enum { LEAVES_AHEAD = 2, NODES_AHEAD = 4 }; /* leaves whose rows, and that themselves, are on their way */

/* The leaf that a range comes to `distance` leaves later; 0: that is not known. */
static uint64_t leaf_beside(struct tmgr_table *t, const struct way *way, bool reverse, uint32_t distance) {
    if (way->path.depth < 2)
        return 0;
    const struct seat *above = &way->path.seats[way->path.depth - 2];
    uint32_t rank;
    if (rank_beside(above, reverse, distance, &rank) == TMGR_OK)
        return child_at(above, rank);
    if (way->path.depth < 3 || rank_beside(above - 1, reverse, 1, &rank) != TMGR_OK)
        return 0;
    uint32_t here = reverse ? above->rank + 1 : order_count(above->at.order) - above->rank;
    struct seat next = {.rank = 0};
    if (!look(t, child_at(above - 1, rank), &next.at) || next.at.level != 1 || order_count(next.at.order) == 0)
        return 0;
    next.rank = reverse ? order_count(next.at.order) - 1 : 0;
    return rank_beside(&next, reverse, distance - here, &rank) == TMGR_OK ? child_at(&next, rank) : 0;
}

/* Start loading what the range, which wants `most` rows more, needs next: this leaf's rows and, while they come, the next leaves'
 * rows and the nodes behind them. */
static void prefetch_ahead(struct tmgr_table *t, const struct way *way, const struct seen *leaf, bool reverse,
                           size_t most) {
    struct seen next;
    size_t rows = order_count(leaf->order);
    if (!way->stepped) { /* nothing is under way yet */
        for (uint32_t i = 1; i < NODES_AHEAD && rows < most; i++)
            prefetch_node(t, leaf_beside(t, way, reverse, i));
        prefetch_rows(t, leaf);
    }
    for (uint32_t i = 1; i <= LEAVES_AHEAD && rows < most; i++) {
        if (!look(t, leaf_beside(t, way, reverse, i), &next) || next.level != 0)
            break;
        if (!way->stepped || i == LEAVES_AHEAD)
            prefetch_rows(t, &next);
        rows += order_count(next.order);
    }
    if (rows < most)
        prefetch_node(t, leaf_beside(t, way, reverse, NODES_AHEAD));
}

static bool copy_low(const struct seen *seen, struct tmgr_buffer *to) {
    to->len = 0;
    if (!buffer_reserve(to, (size_t)seen->low_len + SORT_SLACK))
        return false;
    copy_racy(to->data, (const uint8_t *)seen->node->low, seen->low_len);
    to->len = seen->low_len;
    return true;
}

/* The separator behind the leaf in piece->next; last if there is none. */
static int upper_separator(struct tmgr_table *t, const struct path *path, struct piece *piece) {
    for (int i = path->depth - 2; i >= 0; i--) {
        const struct seat *seat = &path->seats[i];
        if (seat->rank + 1 >= order_count(seat->at.order))
            continue;
        struct seen right;
        uint32_t entry = order_entry(seat->at.order, seat->rank + 1);
        if (entry >= NODE_ENTRIES || !look(t, load_acquire(&seat->at.node->slots[entry]), &right))
            return TMGR_BUSY;
        return copy_low(&right, &piece->next) ? TMGR_OK : TMGR_NO_MEMORY;
    }
    piece->last = true;
    return TMGR_OK;
}

/* -1 below the range's part in this leaf, 0 in it, 1 above it, 2: the copied row's key has to be looked at. */
static int place_by_head(uint64_t head, const struct fence *lo, const struct fence *hi, const struct fence *end) {
    if ((lo->sort != NULL && head == lo->head) || (hi->sort != NULL && head == hi->head) ||
        (end->sort != NULL && head == end->head))
        return 2;
    if (lo->sort != NULL && head < lo->head)
        return -1;
    return (hi->sort != NULL && head > hi->head) || (end->sort != NULL && head > end->head) ? 1 : 0;
}

static int place_by_key(const struct sorted *key, const struct oset_range *range, const struct fence *lo,
                        const struct fence *hi, const struct fence *end) {
    if (lo->sort != NULL) {
        int order = sorted_compare(key->bytes, key->len, lo->sort, lo->len);
        if (order < 0 || (order == 0 && range->after_lo))
            return -1;
    }
    if (hi->sort != NULL) {
        int order = sorted_compare(key->bytes, key->len, hi->sort, hi->len);
        if (order > 0 || (order == 0 && !range->up_to_hi))
            return 1;
    }
    return end->sort != NULL && sorted_compare(key->bytes, key->len, end->sort, end->len) >= 0 ? 1 : 0;
}

/* Append the row of an entry if it is in the range. As above, or a failure: 3 BUSY, 4 NO_MEMORY. */
static int take_entry(struct tmgr_table *t, struct stripe *s, const struct view *view, const struct seen *leaf,
                      uint32_t entry, const struct oset_range *range, const struct fence *fences,
                      struct tmgr_buffer *out) {
    uint64_t row;
    size_t before = out->len;
    struct term_span key;
    struct sorted sorted;
    int where = place_by_head(load_relaxed(&leaf->node->heads[entry]), &fences[0], &fences[1], &fences[2]);
    if (where != 0 && where != 2)
        return where;
    int status = slot_take(t, &leaf->node->slots[entry], &row);
    if (status == TMGR_ABSENT)
        return -1;
    if (status == TMGR_OK)
        status = row_copy(t, s, view->epoch, row, out);
    if (status == TMGR_OK && where == 2) {
        const uint8_t *copy = out->data + before;
        status = term_key_of(copy, out->len - before, t->keypos, &key) && key.len <= TMGR_KEY_MAX
                     ? sorted_make(&sorted, copy + key.offset, key.len)
                     : TMGR_BUSY;
        if (status == TMGR_OK) {
            where = place_by_key(&sorted, range, &fences[0], &fences[1], &fences[2]);
            sorted_free(&sorted);
        }
    }
    if (status != TMGR_OK || where != 0)
        out->len = before;
    return status == TMGR_OK ? where : status == TMGR_NO_MEMORY ? 4 : 3;
}

static int leaf_rows_once(struct tmgr_table *t, struct stripe *s, const struct oset_range *range, size_t most,
                          struct tmgr_buffer *out, struct way *way, struct piece *piece) {
    piece->n_rows = 0;
    piece->last = false;
    int status = find_way(t, s, range, way);
    if (status != TMGR_OK) {
        piece->last = true;
        return status == TMGR_ABSENT ? TMGR_OK : status;
    }
    const struct seen *leaf = leaf_of(&way->path);
    prefetch_ahead(t, way, leaf, range->reverse, most);
    status = upper_separator(t, &way->path, piece);
    if (status != TMGR_OK)
        return status;
    struct fence fences[3] = {fence_in(leaf, range->lo, range->lo_len), fence_in(leaf, range->hi, range->hi_len),
                              fence_in(leaf, piece->last ? NULL : piece->next.data, piece->next.len)};
    uint32_t count = order_count(leaf->order);
    int where = 0;
    for (uint32_t i = 0; i < count && piece->n_rows < most; i++) {
        uint32_t entry = order_entry(leaf->order, range->reverse ? count - 1 - i : i);
        if (entry >= NODE_ENTRIES)
            return TMGR_BUSY;
        size_t before = out->len;
        where = take_entry(t, s, &way->view, leaf, entry, range, fences, out);
        if (where == 0)
            piece->last_row = before;
        if (where > 2)
            return where == 3 ? TMGR_BUSY : TMGR_NO_MEMORY;
        piece->n_rows += where == 0;
        if (where == 1 && !range->reverse)
            break;
    }
    if (range->reverse) {
        piece->last = leaf->low_len == 0;
        if (!piece->last && !copy_low(leaf, &piece->next))
            return TMGR_NO_MEMORY;
        if (!piece->last && range->hi != NULL &&
            sorted_compare(piece->next.data, piece->next.len, range->hi, range->hi_len) >= (range->up_to_hi ? 1 : 0))
            return TMGR_BUSY; /* as below: the node before still lists children that the range has behind it */
        piece->last = piece->last || (range->lo != NULL &&
                                      sorted_compare(piece->next.data, piece->next.len, range->lo, range->lo_len) <= 0);
    } else if (!piece->last && range->lo != NULL &&
               sorted_compare(piece->next.data, piece->next.len, range->lo, range->lo_len) <= 0) {
        /* An inner node whose split was cut short still lists children that lie behind its separator, and this way has led
         * through them: from the root the bound leads past it. In a damaged tree it ends a walk without end. */
        return TMGR_BUSY;
    } else if (!piece->last && range->hi != NULL) {
        int order = sorted_compare(piece->next.data, piece->next.len, range->hi, range->hi_len);
        piece->last = order > 0 || (order == 0 && !range->up_to_hi);
    }
    return miss_holds(t, s, &way->view) && load_relaxed(&leaf->node->order) == leaf->order ? TMGR_OK : TMGR_BUSY;
}

static int leaf_rows(struct tmgr_table *t, struct stripe *s, const struct oset_range *range, size_t most,
                     struct tmgr_buffer *out, struct way *way, struct piece *piece) {
    size_t len = out->len;
    uint64_t before = changes(t, s);
    int status = TMGR_BUSY;
    for (int tries = 0; status == TMGR_BUSY && tries < READ_TRIES; tries++) {
        out->len = len;
        status = leaf_rows_once(t, s, range, most, out, way, piece);
        way->leads_on = status == TMGR_OK;
    }
    if (status != TMGR_OK)
        out->len = len;
    return damaged_if_still(t, s, before, status);
}

int oset_rows(struct tmgr_table *t, struct stripe *s, const struct oset_range *whole, struct tmgr_buffer *out,
              size_t *n_rows, size_t *last_row, bool *more) {
    struct oset_range range = *whole;
    struct piece piece = {0, 0, false, {NULL, 0, 0}};
    struct tmgr_buffer bound = {NULL, 0, 0}, swap;
    struct way way;
    int status;
    way.leads_on = false;
    *n_rows = 0;
    for (;;) {
        status = leaf_rows(t, s, &range, whole->rows - *n_rows, out, &way, &piece);
        if (status == TMGR_OK && piece.n_rows > 0) {
            *n_rows += piece.n_rows;
            *last_row = piece.last_row;
        }
        *more = status == TMGR_OK && (!piece.last || *n_rows == whole->rows);
        if (status != TMGR_OK || !*more || *n_rows >= whole->rows || (*n_rows > 0 && out->len >= whole->bytes))
            break;
        swap = bound;
        bound = piece.next;
        piece.next = swap;
        if (range.reverse) {
            range.hi = bound.data;
            range.hi_len = bound.len;
            range.up_to_hi = false;
        } else {
            range.lo = bound.data;
            range.lo_len = bound.len;
            range.after_lo = false;
        }
    }
    tmgr_buffer_free(&piece.next);
    tmgr_buffer_free(&bound);
    if (status == TMGR_BUSY && *n_rows > 0) { /* what was read is good; the next call meets the rest */
        *more = true;
        status = TMGR_OK;
    }
    return status;
}

/* -- writing ------------------------------------------------------------------------------------------------------------------------ */

static struct root *root_of(struct stripe *s) { return current_root(s); }

static int descend_writing(struct tmgr_table *t, struct stripe *s, const struct sorted *sorted, struct path *path) {
    return descend(t, load_relaxed(&root_of(s)->top), sorted->bytes, sorted->len, false, true, path)
               ? TMGR_OK
               : poison(t, POISON_BUCKETS);
}

/* The sort key of the row that a slot stands for; ABSENT if there is none. */
static int slot_sorted(struct tmgr_table *t, uint64_t slot, struct sorted *sorted) {
    bool damaged = false;
    uint64_t row = hset_slot_row(t, slot, &damaged);
    if (damaged || (row != 0 && !offset_is_valid(t, row, UNIT_BYTES)))
        return poison(t, POISON_ROWS);
    if (row == 0)
        return TMGR_ABSENT;
    size_t len;
    const uint8_t *key = row_key(t, row, &len);
    int status = key != NULL ? sorted_make(sorted, key, len) : TMGR_BAD_ROW;
    return status == TMGR_BAD_ROW ? poison(t, POISON_ROWS) : status;
}

/* The entry's key against this one: *order as memcmp. ABSENT: it has no key, which lies nowhere. */
static int entry_compare(struct tmgr_table *t, const struct node *node, uint32_t entry, uint64_t head,
                         const struct sorted *sorted, int *order) {
    uint64_t there = load_relaxed(&node->heads[entry]);
    *order = there < head ? -1 : 1;
    if (there != head)
        return TMGR_OK;
    struct sorted key;
    int status = slot_sorted(t, load_relaxed(&node->slots[entry]), &key);
    if (status != TMGR_OK)
        return status;
    *order = sorted_compare(key.bytes, key.len, sorted->bytes, sorted->len);
    sorted_free(&key);
    return TMGR_OK;
}

/* Rank of the key in a leaf: its own (OK), or the one that it would have (ABSENT). */
static int leaf_rank(struct tmgr_table *t, const struct seen *leaf, const struct sorted *sorted, uint32_t *rank) {
    uint64_t head = head_of(leaf->node, leaf->skip, sorted->bytes, sorted->len);
    uint32_t count = order_count(leaf->order), last = count > 0 ? order_entry(leaf->order, count - 1) : NODE_ENTRIES;
    *rank =
        last < NODE_ENTRIES && load_relaxed(&leaf->node->heads[last]) < head ? count : 0; /* it goes to the end often */
    for (; *rank < count; (*rank)++) {
        uint32_t entry = order_entry(leaf->order, *rank);
        int order;
        int status = entry < NODE_ENTRIES ? entry_compare(t, leaf->node, entry, head, sorted, &order)
                                          : poison(t, POISON_BUCKETS);
        if (status == TMGR_ABSENT)
            continue;
        if (status != TMGR_OK)
            return status;
        if (order >= 0)
            return order == 0 ? TMGR_OK : TMGR_ABSENT;
    }
    return TMGR_ABSENT;
}

int oset_locate(struct tmgr_table *t, struct stripe *s, const struct probe *probe, struct place *place) {
    *place = (struct place){.slot = NULL};
    if (load_relaxed(&root_of(s)->top) == 0)
        return TMGR_ABSENT;
    struct sorted sorted;
    struct path path;
    uint32_t rank;
    int status = sorted_make(&sorted, probe->key, probe->len);
    if (status != TMGR_OK)
        return status;
    status = descend_writing(t, s, &sorted, &path);
    if (status == TMGR_OK)
        status = leaf_rank(t, leaf_of(&path), &sorted, &rank);
    if (status == TMGR_OK) {
        struct node *leaf = leaf_of(&path)->node;
        place->slot = &leaf->slots[order_entry(leaf_of(&path)->order, rank)];
        place->content = load_relaxed(place->slot);
    } else if (status == TMGR_ABSENT) {
        const struct seen *leaf = leaf_of(&path);
        place->leaf = leaf->node;
        place->order = leaf->order;
        place->head = head_of(leaf->node, leaf->skip, sorted.bytes, sorted.len);
        place->rank = rank;
    }
    sorted_free(&sorted);
    return status;
}

static void list_entry(struct node *node, uint32_t entry, uint64_t head, uint64_t slot) {
    publish(&node->heads[entry], head);
    publish(&node->slots[entry], slot);
}

/* A free entry of the leaf becomes the key's: a hole until the caller fills it. */
static void take_free_entry(struct node *leaf, uint64_t order, uint32_t rank, uint64_t head, struct place *place) {
    uint32_t entry = free_entry(order);
    list_entry(leaf, entry, head, 0);
    publish(&leaf->order, order_insert(order, rank, entry));
    place->slot = &leaf->slots[entry];
    place->content = 0;
}

/* A node that no one can reach yet, at `offset`. */
static struct node *node_begin(struct tmgr_table *t, uint64_t offset, uint32_t level, uint32_t skip, const uint8_t *low,
                               size_t low_len) {
    struct node *node = at(t, offset);
    store_relaxed(&node->order, 0);
    store_relaxed(&node->shape, level | (uint64_t)skip << 8 | (uint64_t)low_len << 32);
    fill_racy((uint8_t *)node->low, low, low_len);
    return node;
}

/* A new root above `below` (0: the first leaf). */
static int grow_top(struct tmgr_table *t, struct stripe *s, uint64_t below, uint32_t level) {
    uint64_t offset;
    if (level >= LEVELS_MAX)
        return poison(t, POISON_BUCKETS);
    int status = stripe_begin(t, s, sizeof(struct node), &offset);
    if (status != TMGR_OK)
        return status;
    struct node *node = node_begin(t, offset, level, 0, NULL, 0);
    if (below != 0) {
        list_entry(node, 0, 0, below);
        store_relaxed(&node->order, order_insert(0, 0, 0));
    }
    stripe_commit(t, s, &root_of(s)->top, offset, 0, oset_node_bytes(node), 0, 0);
    return TMGR_OK;
}

/* Drop the entries without a row: slot 0, or the record of a key that its transaction has taken away again (which at its end
 * clears a slot that is not listed any more, or finds it used for another key and leaves it alone). */
static void drop_holes(struct tmgr_table *t, struct seen *leaf) {
    uint64_t order = leaf->order;
    for (uint32_t rank = 0; rank < order_count(order);) {
        uint32_t entry = order_entry(order, rank);
        bool damaged = false;
        if (entry < NODE_ENTRIES && hset_slot_row(t, load_relaxed(&leaf->node->slots[entry]), &damaged) == 0 &&
            !damaged)
            order = order_remove(order, rank);
        else
            rank++;
    }
    if (order != leaf->order)
        publish(&leaf->node->order, order);
    leaf->order = order;
}

/* -- split ------------------------------------------------------------------------------------------------------------------------ */

static bool leads_to(const struct node *node, uint64_t child) {
    uint64_t order = load_relaxed(&node->order);
    for (uint32_t rank = 0; rank < order_count(order) && order_entry(order, rank) < NODE_ENTRIES; rank++)
        if (load_relaxed(&node->slots[order_entry(order, rank)]) == child)
            return true;
    return false;
}

/* Pending records are told where their slots are now. */
static int repoint(struct tmgr_table *t, struct node *leaf) {
    uint64_t order = load_relaxed(&leaf->order);
    for (uint32_t rank = 0; rank < order_count(order); rank++) {
        word *place = &leaf->slots[order_entry(order, rank)];
        uint64_t slot = load_relaxed(place);
        if (!(slot & SLOT_PENDING))
            continue;
        struct tx_record *record = at_checked(t, slot_offset(slot), sizeof *record);
        if (record == NULL)
            return poison(t, POISON_LOG);
        publish(&record->at, offset_of(t, place));
    }
    return TMGR_OK;
}

static void forget_reshape(struct stripe *s) { publish(&s->reshape.kind, RESHAPE_NONE); }

/* After the commit point. Every store is absolute. */
static int finish_split(struct tmgr_table *t, struct stripe *s) {
    struct node *node = oset_node(t, load_relaxed(&s->reshape.node)),
                *twin = oset_node(t, load_relaxed(&s->reshape.twin));
    if (node == NULL || twin == NULL)
        return poison(t, POISON_BUCKETS);
    publish(&root_of(s)->reshapes, load_relaxed(&s->reshape.reshapes_after)); /* before the cut: see miss_holds */
    int status = node_level(load_relaxed(&twin->shape)) == 0 ? repoint(t, twin) : TMGR_OK;
    publish(&node->order, load_relaxed(&s->reshape.order_after));
    forget_reshape(s);
    return status;
}

/* Sort key of an entry: of a leaf's row, of a child's low. */
static int entry_sorted(struct tmgr_table *t, const struct seen *seen, uint32_t rank, struct sorted *sorted) {
    uint64_t slot = load_relaxed(&seen->node->slots[order_entry(seen->order, rank)]);
    if (seen->level == 0)
        return slot_sorted(t, slot, sorted);
    struct seen child;
    if (!look(t, slot, &child))
        return poison(t, POISON_BUCKETS);
    sorted->len = child.low_len;
    sorted->bytes = sorted_room(sorted, child.low_len);
    if (sorted->bytes == NULL)
        return TMGR_NO_MEMORY;
    copy_racy(sorted->bytes, (const uint8_t *)child.node->low, child.low_len);
    return TMGR_OK;
}

/* Entries [from, to) of a node appended to a new one, with heads of its own. */
static int copy_entries(struct tmgr_table *t, const struct seen *seen, uint32_t from, uint32_t to, struct node *node) {
    uint32_t n = order_count(load_relaxed(&node->order));
    for (uint32_t rank = from; rank < to; rank++) {
        struct sorted sorted;
        uint64_t slot = load_relaxed(&seen->node->slots[order_entry(seen->order, rank)]);
        int status = entry_sorted(t, seen, rank, &sorted);
        if (status == TMGR_ABSENT)
            continue; /* without a row */
        if (status != TMGR_OK)
            return status;
        list_entry(node, n, oset_head(node, sorted.bytes, sorted.len), slot);
        store_relaxed(&node->order, order_insert(load_relaxed(&node->order), n, n));
        sorted_free(&sorted);
        n++;
    }
    return TMGR_OK;
}

/* What the upper part's node starts with: `low` above the last entry that stays and not above the first that goes, and as long as
 * what the entries share, less a little: a key that is to come is to share it too. */
static int choose_low(struct tmgr_table *t, const struct seen *seen, uint32_t cut, struct sorted *low, uint32_t *skip) {
    struct sorted other;
    uint32_t count = order_count(seen->order);
    int status = entry_sorted(t, seen, cut, low);
    if (status == TMGR_ABSENT)
        status = poison(t, POISON_ROWS);
    if (status != TMGR_OK)
        return status;
    status = entry_sorted(t, seen, cut - 1, &other);
    size_t needed = low->len, shared = 0;
    if (status == TMGR_OK) {
        shared = common(low->bytes, low->len, other.bytes, other.len);
        if (seen->level == 0)
            needed = shared + 1;
        sorted_free(&other);
        if (cut + 1 < count)
            status = entry_sorted(t, seen, count - 1, &other);
    }
    if (status == TMGR_OK && cut + 1 < count) {
        shared = common(low->bytes, low->len, other.bytes, other.len);
        sorted_free(&other);
    }
    if (status != TMGR_OK) {
        sorted_free(low);
        return status == TMGR_ABSENT ? poison(t, POISON_ROWS) : status;
    }
    *skip = shared > HEADROOM ? (uint32_t)shared - HEADROOM : 0;
    if (seen->level == 0)
        low->len = needed > *skip ? needed : *skip;
    *skip = *skip < low->len ? *skip : (uint32_t)low->len;
    return TMGR_OK;
}

/* The node of seat k is full and its parent is not. at_end: keys come in ascending order, so the upper part starts small. */
static int split(struct tmgr_table *t, struct stripe *s, struct path *path, int k, bool at_end) {
    struct seen *seen = &path->seats[k].at, *parent = &path->seats[k - 1].at;
    uint32_t count = order_count(seen->order), cut = at_end ? count - 1 : count / 2, skip;
    struct sorted low;
    uint64_t offset;
    int status = choose_low(t, seen, cut, &low, &skip);
    if (status != TMGR_OK)
        return status;
    status = stripe_begin(t, s, sizeof(struct node) + low.len, &offset);
    if (status == TMGR_OK) {
        struct node *twin = node_begin(t, offset, seen->level, skip, low.bytes, low.len);
        uint32_t entry = free_entry(parent->order);
        status = copy_entries(t, seen, cut, count, twin);
        if (status == TMGR_OK) {
            /* Counted once more before an entry is used that a merge or a cut has freed: a reader that still has the old order
             * would be led to the twin by it, and take what is not there for absent. */
            publish(&root_of(s)->reshapes, load_relaxed(&root_of(s)->reshapes) + 1);
            list_entry(parent->node, entry, head_of(parent->node, parent->skip, low.bytes, low.len), offset);
            publish(&s->reshape.node, offset_of(t, seen->node));
            publish(&s->reshape.parent, offset_of(t, parent->node));
            publish(&s->reshape.twin, offset);
            publish(&s->reshape.order_after, order_first(seen->order, cut));
            publish(&s->reshape.reshapes_after, load_relaxed(&root_of(s)->reshapes) + 1);
            publish(&s->reshape.kind, RESHAPE_SPLIT);
            stripe_commit(t, s, &parent->node->order, order_insert(parent->order, path->seats[k - 1].rank + 1, entry),
                          0, oset_node_bytes(twin), 0, 0); /* COMMIT POINT */
            status = finish_split(t, s);
        } else {
            stripe_abandon(t, s);
        }
    }
    sorted_free(&low);
    return status;
}

/* Is the leaf the last of all? */
static bool on_right_edge(const struct path *path) {
    for (int i = 0; i < path->depth - 1; i++)
        if (path->seats[i].rank + 1 < order_count(path->seats[i].at.order))
            return false;
    return true;
}

/* The leaf is full: split the highest node of the full ones above it, so that it finds room in its parent. */
static int make_room(struct tmgr_table *t, struct stripe *s, struct path *path, bool at_end) {
    int k = path->depth - 1;
    while (k > 0 && order_count(path->seats[k - 1].at.order) == NODE_ENTRIES)
        k--;
    if (k > 0)
        return split(t, s, path, k, at_end);
    return grow_top(t, s, load_relaxed(&root_of(s)->top), path->seats[0].at.level + 1);
}

int oset_extend(struct tmgr_table *t, struct stripe *s, const struct probe *probe, struct place *place) {
    struct sorted sorted;
    struct path path;
    uint32_t rank = 0;
    /* Where oset_locate has just been: the lock has been held since, so the leaf is the key's if its order is what it was. */
    if (place->leaf != NULL && order_count(place->order) < NODE_ENTRIES &&
        load_relaxed(&place->leaf->order) == place->order) {
        take_free_entry(place->leaf, place->order, place->rank, place->head, place);
        return TMGR_OK;
    }
    int status = sorted_make(&sorted, probe->key, probe->len);
    if (status != TMGR_OK)
        return status;
    /* Each turn but the last makes the tree higher or splits a node on the way down. */
    for (int turns = 0; status == TMGR_OK && place->slot == NULL; turns++) {
        if (turns > 3 * LEVELS_MAX) {
            status = poison(t, POISON_BUCKETS);
        } else if (load_relaxed(&root_of(s)->top) == 0) {
            status = grow_top(t, s, 0, 0);
        } else {
            status = descend_writing(t, s, &sorted, &path);
            if (status != TMGR_OK)
                break;
            struct seen *leaf = &path.seats[path.depth - 1].at;
            drop_holes(t, leaf);
            status = leaf_rank(t, leaf, &sorted, &rank);
            if (status != TMGR_ABSENT) {
                status = status == TMGR_OK ? poison(t, POISON_ROWS) : status;
            } else if (order_count(leaf->order) == NODE_ENTRIES) {
                status = make_room(t, s, &path, rank == NODE_ENTRIES && on_right_edge(&path));
            } else {
                take_free_entry(leaf->node, leaf->order, rank,
                                head_of(leaf->node, leaf->skip, sorted.bytes, sorted.len), place);
                status = TMGR_OK;
            }
        }
    }
    sorted_free(&sorted);
    return status;
}

/* -- merge ------------------------------------------------------------------------------------------------------------------------ */

static bool has_pending(const struct seen *seen) {
    for (uint32_t rank = 0; seen->level == 0 && rank < order_count(seen->order); rank++)
        if (load_relaxed(&seen->node->slots[order_entry(seen->order, rank)]) & SLOT_PENDING)
            return true;
    return false;
}

/* After the commit point. */
static int finish_merge(struct tmgr_table *t, struct stripe *s) {
    struct node *right = oset_node(t, load_relaxed(&s->reshape.node)),
                *parent = oset_node(t, load_relaxed(&s->reshape.parent));
    int status = right != NULL && parent != NULL ? stripe_make_room(t, s) : poison(t, POISON_BUCKETS);
    if (status != TMGR_OK)
        return status;
    uint64_t after = load_relaxed(&s->reshape.order_after);
    if (load_relaxed(&parent->order) != after)
        stripe_commit(t, s, &parent->order, after, 0, 0, offset_of(t, right), oset_node_bytes(right));
    forget_reshape(s);
    return TMGR_OK;
}

/* Two neighbours below seat k become one; ABSENT if they stay as they are. */
static int merge(struct tmgr_table *t, struct stripe *s, struct path *path, int k) {
    struct seat *above = &path->seats[k - 1];
    struct seen sides[2], *parent = &above->at;
    uint32_t rank = above->rank + 1 < order_count(parent->order) ? above->rank : above->rank - 1, skip = 0;
    if (order_count(parent->order) < 2)
        return TMGR_ABSENT;
    for (uint32_t i = 0; i < 2; i++) {
        if (!look(t, load_relaxed(&parent->node->slots[order_entry(parent->order, rank + i)]), &sides[i]))
            return poison(t, POISON_BUCKETS);
        if (sides[i].level == 0)
            drop_holes(t, &sides[i]);
    }
    uint32_t counts[2] = {order_count(sides[0].order), order_count(sides[1].order)}, total = counts[0] + counts[1];
    uint32_t least = counts[0] < counts[1] ? counts[0] : counts[1];
    bool is_spent =
        least == (sides[0].level > 0); /* nothing in it, or one child: it goes whatever the other one holds */
    if (total > (is_spent ? NODE_ENTRIES : MERGED_MAX) || has_pending(&sides[0]) || has_pending(&sides[1]))
        return TMGR_ABSENT;
    struct sorted low, first, last;
    int status = entry_sorted(t, parent, rank, &low); /* the left one's low */
    if (status == TMGR_OK && total > 0) {
        const struct seen *from = order_count(sides[0].order) > 0 ? &sides[0] : &sides[1],
                          *to = order_count(sides[1].order) > 0 ? &sides[1] : &sides[0];
        status = entry_sorted(t, from, 0, &first);
        if (status == TMGR_OK) {
            status = entry_sorted(t, to, order_count(to->order) - 1, &last);
            if (status == TMGR_OK) {
                size_t shared = common(first.bytes, first.len, last.bytes, last.len);
                size_t with_low = common(first.bytes, first.len, low.bytes, low.len);
                shared = shared < with_low ? shared : with_low; /* the bytes skipped are low's */
                skip = shared > HEADROOM ? (uint32_t)shared - HEADROOM : 0;
                sorted_free(&last);
            }
            sorted_free(&first);
        }
        if (status != TMGR_OK)
            sorted_free(&low);
    }
    if (status == TMGR_OK) {
        uint64_t offset;
        status = stripe_make_room(t, s);
        if (status == TMGR_OK)
            status = stripe_begin(t, s, sizeof(struct node) + low.len, &offset);
        if (status == TMGR_OK) {
            struct node *twin = node_begin(t, offset, sides[0].level, skip, low.bytes, low.len);
            status = copy_entries(t, &sides[0], 0, order_count(sides[0].order), twin);
            if (status == TMGR_OK)
                status = copy_entries(t, &sides[1], 0, order_count(sides[1].order), twin);
            if (status == TMGR_OK) {
                publish(&s->reshape.node, offset_of(t, sides[1].node));
                publish(&s->reshape.parent, offset_of(t, parent->node));
                publish(&s->reshape.twin, offset);
                publish(&s->reshape.order_after, order_remove(parent->order, rank + 1));
                publish(&s->reshape.kind, RESHAPE_MERGE);
                stripe_commit(t, s, &parent->node->slots[order_entry(parent->order, rank)], offset, 0,
                              oset_node_bytes(twin), offset_of(t, sides[0].node), oset_node_bytes(sides[0].node));
                status = finish_merge(t, s);
            } else {
                stripe_abandon(t, s);
            }
        }
        sorted_free(&low);
    }
    return status;
}

/* The root is a node with one child: the child takes its place. */
static int shrink_top(struct tmgr_table *t, struct stripe *s) {
    struct seen seen;
    uint64_t top = load_relaxed(&root_of(s)->top);
    while (look(t, top, &seen) && seen.level > 0 && order_count(seen.order) == 1) {
        int status = stripe_make_room(t, s);
        if (status != TMGR_OK)
            return status;
        uint64_t child = load_relaxed(&seen.node->slots[order_entry(seen.order, 0)]);
        stripe_commit(t, s, &root_of(s)->top, child, 0, 0, top, oset_node_bytes(seen.node));
        top = child;
    }
    return TMGR_OK;
}

int oset_tidy(struct tmgr_table *t, struct stripe *s, const struct probe *probe) {
    struct sorted sorted;
    struct path path;
    if (load_relaxed(&root_of(s)->top) == 0)
        return TMGR_OK;
    int status = sorted_make(&sorted, probe->key, probe->len);
    if (status != TMGR_OK)
        return status;
    status = descend_writing(t, s, &sorted, &path);
    if (status == TMGR_OK)
        drop_holes(t, &path.seats[path.depth - 1].at);
    for (int k = path.depth - 1, height = path.depth; status == TMGR_OK && k > 0; k--) {
        if (order_count(path.seats[k].at.order) > MERGE_AT)
            break;
        status = merge(t, s, &path, k);
        if (status == TMGR_OK && k > 1) { /* the parent may have become small: look at it as it is now */
            status = descend_writing(t, s, &sorted, &path);
            if (path.depth != height)
                break;
        }
    }
    sorted_free(&sorted);
    if (status == TMGR_OK)
        status = shrink_top(t, s);
    /* Merging is a kindness: where there is no memory for it the table stays as it is. */
    return status == TMGR_CORRUPT ? status : TMGR_OK;
}

/* -- after a death, after delete_all ------------------------------------------------------------------------------------------------ */

int oset_repair(struct tmgr_table *t, struct stripe *s) {
    uint64_t kind = load_relaxed(&s->reshape.kind);
    if (kind == RESHAPE_NONE)
        return TMGR_OK;
    struct node *parent = oset_node(t, load_relaxed(&s->reshape.parent));
    if (parent == NULL || (kind != RESHAPE_SPLIT && kind != RESHAPE_MERGE))
        return poison(t, POISON_BUCKETS);
    if (leads_to(parent, load_relaxed(&s->reshape.twin)))
        return kind == RESHAPE_SPLIT ? finish_split(t, s) : finish_merge(t, s);
    forget_reshape(s);
    return TMGR_OK;
}

/* One micro-operation of tearing down a tree that nobody reads: the last entry of its last node goes. */
static int tear_off(struct tmgr_table *t, struct stripe *s, struct root *root) {
    word *link = &root->top;
    uint64_t link_after = 0, order, bytes;
    struct node *node = oset_node(t, load_relaxed(&root->top));
    for (int depth = 0; node != NULL && depth < LEVELS_MAX; depth++) {
        order = load_relaxed(&node->order);
        uint32_t last = order_count(order) - 1;
        if (order_count(order) == 0) {
            uint64_t offset = offset_of(t, node);
            stripe_commit(t, s, link, link_after, 0, 0, offset, oset_node_bytes(node));
            return TMGR_OK;
        }
        uint64_t slot =
            order_entry(order, last) < NODE_ENTRIES ? load_relaxed(&node->slots[order_entry(order, last)]) : 1;
        if (node_level(load_relaxed(&node->shape)) > 0) {
            link = &node->order;
            link_after = order_remove(order, last);
            node = oset_node(t, slot);
            continue;
        }
        if (slot == 0) {
            publish(&node->order, order_remove(order, last));
            return TMGR_OK;
        }
        if (slot & SLOT_PENDING || !offset_is_valid(t, slot_offset(slot), UNIT_BYTES))
            break;
        uint64_t block = row_block(t, slot_offset(slot), &bytes);
        stripe_commit(t, s, &node->order, order_remove(order, last), 0, 0, block, bytes);
        return TMGR_OK;
    }
    return poison(t, POISON_BUCKETS);
}

int oset_tear_down(struct tmgr_table *t, struct stripe *s, uint64_t *units) {
    struct root *root = other_root(s);
    for (; *units > 0 && load_relaxed(&root->top) != 0; (*units)--) {
        int status = stripe_make_room(t, s);
        if (status == TMGR_OK)
            status = tear_off(t, s, root);
        if (status != TMGR_OK)
            return status;
    }
    return TMGR_OK;
}
