/* SPDX-License-Identifier: Apache-2.0 */
/* node.h - a node of the tree of oset.h as its readers and its writers see it: loaded once, its order word, its heads, and the way
 * from the root down to a leaf. For oset_read.c and oset_write.c only, each of which has its own copies, for all that is done to a
 * tree runs through them. `inline` stands at the small ones; which of the others to call, the compiler decides.
 *
 * Nothing here stores. A node may be overwritten while it is read without the lock: everything that is loaded is held
 * against its bounds before it is used, and it counts only if the reader's view is found to hold afterwards. */
#ifndef TMGR_NODE_H
#define TMGR_NODE_H

#include "oset.h"

/* -- nodes --------------------------------------------------------------------------------------------------------------- */

/* A node with its constants loaded once, because a reader's may be overwritten meanwhile. */
struct seen {
    struct node *node;
    uint64_t order;
    uint32_t level, skip, low_len;
};

/* No number of an entry is 13 or above: both high bits of its four and one of the others. */
static inline bool entries_are_in_range(uint64_t order) {
    uint64_t high = order & order << 1, either = order << 2 | order << 3, listed = UINT64_C(1) << 4 * (order & 15);
    return (high & either & UINT64_C(0x8888888888888888) & ((listed - 1) << 4)) == 0;
}

/* Load a node once. True: what was loaded is within bounds. False: damaged, or, for a reader, overtaken. */
static inline bool look(struct tmgr_table *t, uint64_t offset, struct seen *seen) {
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

/* The first n bytes of 8 as a number that grows as memcmp has it. */
static inline uint64_t big_endian(uint64_t bytes, size_t n) {
    return n >= 8 ? __builtin_bswap64(bytes) : n == 0 ? 0 : __builtin_bswap64(bytes) & UINT64_MAX << 8 * (8 - n);
}

/* The first n bytes, at most 8, as such a number. All 8 are readable, for sort keys stand in buffers with SORT_SLACK bytes more. */
static inline uint64_t sort_word(const uint8_t *sort, size_t n) {
    uint64_t bytes;
    memcpy(&bytes, sort, 8);
    return big_endian(bytes, n);
}

/* The first `n` bytes of low against the key, as memcmp; a prefix is less. */
static inline int low_compare(const struct node *node, uint32_t n, const uint8_t *sort, size_t len) {
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
static inline uint64_t head_of(const struct node *node, uint32_t skip, const uint8_t *sort, size_t len) {
    int order = skip > 0 ? low_compare(node, skip, sort, len < skip ? len : skip) : 0;
    if (order != 0)
        return order > 0 ? 0 : UINT64_MAX;
    return len > skip ? sort_word(sort + skip, len - skip) : 0;
}

/* An order with these ranks, of which `count` are listed; counted as one more change. */
static inline uint64_t with_changes(uint64_t order, uint64_t count, uint64_t ranks) {
    uint64_t changes = ((order >> ORDER_CHANGES_SHIFT) + 1) << ORDER_CHANGES_SHIFT;
    return changes | (ranks & ((UINT64_C(1) << 4 * NODE_ENTRIES) - 1)) << 4 | count;
}

/* The order with the entry listed at this rank, those from there on one further. There is room. */
static inline uint64_t order_insert(uint64_t order, uint32_t rank, uint64_t entry) {
    uint64_t ranks = order >> 4, below = ranks & ((UINT64_C(1) << 4 * rank) - 1);
    return with_changes(order, order_count(order) + 1,
                        below | entry << 4 * rank | (ranks >> 4 * rank) << 4 * (rank + 1));
}

/* The order without the entry of this rank, those behind it one nearer. */
static inline uint64_t order_remove(uint64_t order, uint32_t rank) {
    uint64_t ranks = order >> 4, below = ranks & ((UINT64_C(1) << 4 * rank) - 1);
    return with_changes(order, order_count(order) - 1, below | ranks >> 4 * (rank + 1) << 4 * rank);
}

/* The order of the first `count` entries only. */
static inline uint64_t order_first(uint64_t order, uint32_t count) { return with_changes(order, count, order >> 4); }

/* An entry that the order does not list; it lists fewer than NODE_ENTRIES. */
static inline uint32_t free_entry(uint64_t order) {
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
static inline int child_rank(struct tmgr_table *t, const struct seen *seen, const uint8_t *sort, size_t len,
                             bool before, bool at_edge) {
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

/* Start loading a node. Any offset will do: one that cannot be a node's loads nothing. */
static inline void prefetch_node(struct tmgr_table *t, uint64_t offset) {
    if (!offset_is_valid(t, offset, sizeof(struct node)))
        return;
    const uint8_t *node = at(t, offset);
    for (size_t i = 0; i < sizeof(struct node); i += 64)
        __builtin_prefetch(node + i);
}

/* The leaf for a key; sort NULL: the first leaf, or with `before` the last one. at_edge: look at the last child first while that
 * is the one, for keys come in ascending order often. */
static inline bool descend(struct tmgr_table *t, uint64_t top, const uint8_t *sort, size_t len, bool before,
                           bool at_edge, struct path *path) {
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

/* Where a descent has ended. */
static inline const struct seen *leaf_of(const struct path *path) { return &path->seats[path->depth - 1].at; }

#endif
