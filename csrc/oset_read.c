/* SPDX-License-Identifier: Apache-2.0 */
/* oset_read.c - reading an ordered_set, without a lock: the view that a read is held against, the row of a key, the rows of a range
 * leaf by leaf, and what is sent for ahead of them. The protocol is in oset.h. */
#include "node.h"

enum { READ_TRIES = 64 };

/* -- reading --------------------------------------------------------------------------------------------------------------------- */

struct view {
    uint64_t epoch, gen, reshapes, top;
    const struct root *root;
};

/* As view_open of hset_read.c. */
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

/* Does what was not seen count as absent? Pairs, in oset_write.c, with split, which counts before it uses an entry again, and
 * with finish_split, which counts before it cuts. */
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

/* What must have changed if a read was overtaken; else the table is damaged. As in hset_read.c. */
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
