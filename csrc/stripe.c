/* SPDX-License-Identifier: Apache-2.0 */
#include "stripe.h"

enum { ADVANCE_BYTES_LEAST = 8 * 1024, ADVANCE_BYTES_MOST = 1024 * 1024 };

/* -- quarantine ----------------------------------------------------------------------------------------------------------- */

const struct extents *extents_at(struct tmgr_table *t, uint64_t offset) {
    uint64_t start = t->row_start;
    if (!offset_is_valid(t, offset, start + sizeof(struct extents)))
        return NULL;
    const struct extents *parts = at(t, offset + start);
    uint64_t capacity = load_relaxed(&parts->capacity);
    return capacity <= RUN_BYTES_MAX / 8 && load_relaxed(&parts->n) <= capacity &&
                   offset_is_valid(t, offset, start + sizeof *parts + 8 * capacity)
               ? parts
               : NULL;
}

int stripe_free(struct tmgr_table *t, struct stripe *s, uint64_t block) {
    uint64_t offset = block & ~BLOCK_EXTENTS;
    /* The runs go before the block that lists them, so where that is gone they are. */
    if (block & BLOCK_EXTENTS && arena_holds(t, s, offset)) {
        const struct extents *parts = extents_at(t, offset);
        if (parts == NULL)
            return poison(t, POISON_RING);
        for (uint64_t i = 0; i < load_relaxed(&parts->n); i++) {
            uint64_t run = load_relaxed(&parts->at[i]) & ~EXTENT_PAGES;
            int status = run != 0 ? arena_free(t, s, run) : TMGR_OK;
            if (status != TMGR_OK)
                return status;
        }
    }
    return arena_free(t, s, offset);
}

static bool ring_is_sound(const struct stripe *s) {
    uint64_t head = load_relaxed(&s->head), limit = load_relaxed(&s->limit), mark = load_relaxed(&s->mark),
             tail = load_relaxed(&s->tail);
    return head <= limit && limit <= mark && mark <= tail && tail - head <= RING_ENTRIES;
}

/* Free ring[head..limit). A kill between freeing and `head` frees once more, which is harmless (arena_free). */
static int drain(struct tmgr_table *t, struct stripe *s) {
    if (!ring_is_sound(s))
        return poison(t, POISON_RING);
    uint64_t limit = load_relaxed(&s->limit);
    for (uint64_t i = load_relaxed(&s->head); i < limit; i++)
        arena_prefetch(t, load_relaxed(&s->ring[i % RING_ENTRIES]) & ~BLOCK_EXTENTS);
    for (uint64_t head = load_relaxed(&s->head); head < limit; head++) {
        int status = stripe_free(t, s, load_relaxed(&s->ring[head % RING_ENTRIES]));
        if (status != TMGR_OK)
            return status;
        publish(&s->head, head + 1);
    }
    return TMGR_OK;
}

int stripe_advance(struct tmgr_table *t, struct stripe *s) {
    publish(&s->epoch, load_relaxed(&s->epoch) + 1);
    publish(&s->limit, load_relaxed(&s->mark)); /* retired before the previous advance: two epochs old now */
    publish(&s->mark, load_relaxed(&s->tail));  /* a kill before this only makes it later */
    store_relaxed(&s->retired_bytes, 0);
    store_relaxed(&s->largest, 0);
    fence_release(); /* the epoch before any store into a freed block; pairs with fence_acquire in a reader's end check */
    return drain(t, s);
}

int stripe_make_room(struct tmgr_table *t, struct stripe *s) {
    uint64_t recent = load_relaxed(&s->tail) - load_relaxed(&s->mark);
    if (recent == 0) /* as while rows are only added */
        return TMGR_OK;
    uint64_t enough = load_relaxed(&s->bytes) / 8, largest = 4 * load_relaxed(&s->largest);
    enough = enough < ADVANCE_BYTES_LEAST  ? ADVANCE_BYTES_LEAST
             : enough > ADVANCE_BYTES_MOST ? ADVANCE_BYTES_MOST
                                           : enough;
    if (recent >= ADVANCE_AT || load_relaxed(&s->retired_bytes) >= (enough > largest ? enough : largest))
        return stripe_advance(t, s);
    return TMGR_OK;
}

int stripe_flush(struct tmgr_table *t, struct stripe *s) {
    int status = TMGR_OK;
    for (int i = 0; i < 2 && status == TMGR_OK; i++)
        status = stripe_advance(t, s);
    return status;
}

/* -- micro-operation --------------------------------------------------------------------------------------------------------- */

int stripe_begin(struct tmgr_table *t, struct stripe *s, uint64_t bytes, uint64_t *offset) {
    publish(&s->intent.op, OP_ALLOC);
    int status = arena_take(t, s, bytes, &s->intent.new_block, offset);
    if (status != TMGR_OK)
        publish(&s->intent.op, OP_IDLE);
    return status;
}

int stripe_begin_in(struct tmgr_table *t, struct stripe *s, uint64_t first, uint64_t *offset) {
    publish(&s->intent.op, OP_ALLOC);
    int status = arena_take_in(t, s, first, &s->intent.new_block, offset);
    if (status != TMGR_OK)
        publish(&s->intent.op, OP_IDLE);
    return status;
}

int stripe_abandon(struct tmgr_table *t, struct stripe *s) {
    uint64_t block = load_relaxed(&s->intent.new_block);
    int status = block != 0 ? stripe_free(t, s, block) : TMGR_OK;
    publish(&s->intent.new_block, 0);
    publish(&s->intent.trash_start, 0);
    publish(&s->intent.op, OP_IDLE);
    return status;
}

static void settle(struct stripe *s) {
    struct intent *intent = &s->intent;
    uint64_t old = load_relaxed(&intent->old_block), tail = load_relaxed(&intent->tail_before);
    publish(&s->rows[0], load_relaxed(&intent->rows_after));
    publish(&s->bytes, load_relaxed(&intent->bytes_after));
    if (old != 0) {
        publish(&s->ring[tail % RING_ENTRIES], old);
        publish(&s->tail, tail + 1);
    }
    if (load_relaxed(&intent->trash_start) != 0) {
        tail = load_relaxed(&intent->trash_tail_before);
        publish(&s->trash[tail % TRASH_ENTRIES].start, load_relaxed(&intent->trash_start));
        publish(&s->trash[tail % TRASH_ENTRIES].end, load_relaxed(&intent->trash_end));
        publish(&s->trash_tail, tail + 1);
        publish(&intent->trash_start, 0);
    }
    publish(&intent->new_block, 0);
    publish(&intent->op, OP_IDLE);
}

void stripe_commit(struct tmgr_table *t, struct stripe *s, word *place, uint64_t to, int64_t rows_change,
                   uint64_t new_bytes, uint64_t old_block, uint64_t old_bytes) {
    struct intent *intent = &s->intent;
    publish(&intent->at, offset_of(t, place));
    publish(&intent->to, to);
    publish(&intent->rows_after, load_relaxed(&s->rows[0]) + (uint64_t)rows_change);
    publish(&intent->bytes_after, load_relaxed(&s->bytes) + new_bytes - old_bytes);
    publish(&intent->old_block, old_block);
    publish(&intent->tail_before, load_relaxed(&s->tail));
    publish(&intent->op, OP_ARMED);
    publish(place, to); /* COMMIT POINT */
    settle(s);
    store_relaxed(&s->retired_bytes, load_relaxed(&s->retired_bytes) + old_bytes);
    if (old_bytes > load_relaxed(&s->largest))
        store_relaxed(&s->largest, old_bytes);
}

void stripe_commit_piece(struct tmgr_table *t, struct stripe *s, word *place, uint64_t to, int64_t rows_change,
                         uint64_t start, uint64_t end) {
    publish(&s->intent.trash_end, end);
    publish(&s->intent.trash_tail_before, load_relaxed(&s->trash_tail));
    publish(&s->intent.trash_start, start);
    stripe_commit(t, s, place, to, rows_change, 0, 0, 0);
}

/* The piece that the intent names is not in trash yet, or the last one there. */
static bool trash_fits(const struct stripe *s) {
    uint64_t before = load_relaxed(&s->intent.trash_tail_before), tail = load_relaxed(&s->trash_tail);
    return (before == tail || before + 1 == tail) && before - load_relaxed(&s->trash_head) < TRASH_ENTRIES;
}

int stripe_finish(struct tmgr_table *t, struct stripe *s) {
    struct intent *intent = &s->intent;
    int status = arena_finish_step(t, s);
    uint64_t block = load_relaxed(&intent->new_block), op = load_relaxed(&intent->op);
    if (status == TMGR_OK &&
        block != 0) /* a kill between setting a used bit and counting it left the count one short */
        status = arena_recount(t, s, block & ~BLOCK_EXTENTS);
    if (status != TMGR_OK)
        return status;
    if (op == OP_ARMED) {
        uint64_t place = load_relaxed(&intent->at);
        if (place % 8 != 0 || place < STRIPES_OFFSET || place > reachable_bytes(t) - 8 ||
            load_relaxed(&intent->tail_before) > load_relaxed(&s->tail) ||
            load_relaxed(&intent->tail_before) + 1 < load_relaxed(&s->tail) ||
            (load_relaxed(&intent->trash_start) != 0 && !trash_fits(s)))
            return poison(t, POISON_RING);
        if (load_relaxed((word *)at(t, place)) == load_relaxed(&intent->to))
            settle(s);
        else
            status = stripe_abandon(t, s);
    } else if (op == OP_ALLOC) {
        status = stripe_abandon(t, s);
    } else if (op != OP_IDLE) {
        return poison(t, POISON_RING);
    } else {
        publish(&intent->new_block, 0);
        publish(&intent->trash_start, 0);
    }
    return status == TMGR_OK ? drain(t, s) : status;
}

bool stripe_is_idle(const struct stripe *s) {
    return load_relaxed(&s->intent.op) == OP_IDLE && load_relaxed(&s->intent.new_block) == 0 &&
           load_relaxed(&s->intent.page_step) == 0 && load_relaxed(&s->tx) == 0 && ring_is_sound(s) &&
           load_relaxed(&s->trash_tail) - load_relaxed(&s->trash_head) <= TRASH_ENTRIES;
}
