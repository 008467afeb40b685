/* SPDX-License-Identifier: Apache-2.0 */
/* oset_write.c - changing an ordered_set, under the stripe's lock: making room for a key, splitting and merging nodes, finishing
 * either after a death, and tearing a tree down. The protocol is in oset.h. */
#include "node.h"

enum { MERGE_AT = 3, MERGED_MAX = 10, HEADROOM = 2 };

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

static size_t common(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len) {
    size_t n = 0;
    while (n < a_len && n < b_len && a[n] == b[n])
        n++;
    return n;
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

/* -- for check.c -------------------------------------------------------------------------------------------------------------- */

struct node *oset_node(struct tmgr_table *t, uint64_t offset) {
    struct seen seen;
    return look(t, offset, &seen) ? seen.node : NULL;
}

uint64_t oset_node_bytes(const struct node *node) {
    return arena_block_size(sizeof *node + node_low_len(load_relaxed(&node->shape)));
}

uint64_t oset_head(const struct node *node, const uint8_t *sort, size_t len) {
    return head_of(node, node_skip(load_relaxed(&node->shape)), sort, len);
}
