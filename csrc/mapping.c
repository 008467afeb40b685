/* SPDX-License-Identifier: Apache-2.0 */
#include "mapping.h"
#include "lock.h"
#include "os.h"

#include <stdlib.h>

static struct tmgr_table *handles; /* under lock_private */

struct tmgr_table *handle_new(const char *segment) {
    struct tmgr_table *t = calloc(1, sizeof *t);
    if (t == NULL || strlen(segment) >= sizeof t->segment) {
        free(t);
        return NULL;
    }
    memcpy(t->segment, segment, strlen(segment) + 1);
    t->fd = -1;
    t->place = os_segments_place();
    atomic_store(&t->gate, GATE_CLOSED);
    lock_at_fork(tmgr_after_fork);
    lock_private();
    t->next = handles;
    if (handles != NULL)
        handles->previous = t;
    handles = t;
    unlock_private();
    return t;
}

void handle_unmap(struct tmgr_table *t) {
    if (t->base != NULL)
        os_unmap(t->base, t->mapped);
    if (t->fd >= 0)
        os_close(t->fd);
    t->base = NULL;
    t->fd = -1;
}

void handle_adopt(struct tmgr_table *t) {
    t->control = (struct control *)(void *)t->base;
    t->stripes = (struct stripe *)(void *)(t->base + STRIPES_OFFSET);
    t->hash_seed = load_relaxed(&t->control->hash_seed);
    t->n_stripes = (uint32_t)load_relaxed(&t->control->n_stripes);
    t->stripe_shift = 64u - (uint32_t)__builtin_ctz(t->n_stripes);
    t->keypos = (uint32_t)(load_relaxed(&t->control->type_keypos) >> 32);
    t->type = (uint32_t)load_relaxed(&t->control->type_keypos);
    t->ordered = t->type == TMGR_ORDERED_SET;
    t->bag = t->type == TMGR_BAG || t->type == TMGR_DUPLICATE_BAG;
    t->row_start = t->bag ? CELL_ROW_START : ROW_START;
    t->arena = load_relaxed(&t->control->arena_offset);
}

/* A child is another process: what it may write is found out anew, and until then its pages are read-only. */
static void handle_after_fork(struct tmgr_table *t) {
    atomic_store(&t->in_flight, 0); /* the parent's other threads do not exist here */
    if (atomic_load(&t->gate) == GATE_CLOSED)
        return;
    handle_adopt(t); /* one of those threads may have been remapping it */
    t->foreign = control_is_foreign(t->control);
    t->may_write = t->may_write && !t->foreign;
    t->writable = t->writable && os_protect(t->base, t->mapped, false) != 0;
    atomic_store(&t->gate, GATE_OPEN);
}

void tmgr_after_fork(void) {
    for (struct tmgr_table *t = handles; t != NULL; t = t->next)
        handle_after_fork(t);
}

void tmgr_close(struct tmgr_table *t) {
    int open = GATE_OPEN;
    while (!atomic_compare_exchange_weak(&t->gate, &open, GATE_CLOSED)) {
        if (open == GATE_CLOSED)
            return;
        open = GATE_OPEN;
        os_yield();
    }
    while (atomic_load(&t->in_flight) != 0)
        os_yield();
    handle_unmap(t);
}

void tmgr_free(struct tmgr_table *t) {
    if (t == NULL)
        return;
    tmgr_close(t);
    lock_private();
    if (t->previous != NULL)
        t->previous->next = t->next;
    else
        handles = t->next;
    if (t->next != NULL)
        t->next->previous = t->previous;
    unlock_private();
    free(t);
}

void tmgr_free_made(struct tmgr_table **made) { tmgr_free(*made); }

void handle_discard(struct tmgr_table *t) {
    if (t != NULL)
        handle_unmap(t);
    tmgr_free(t);
}

bool control_is_foreign(const struct control *control) {
    const struct os_self *self = os_self();
    return load_relaxed(&control->pid_namespace) != load_relaxed(&self->pid_namespace) ||
           load_relaxed(&control->time_namespace) != load_relaxed(&self->time_namespace);
}

uint64_t mapping_window(const struct control *control) {
    uint64_t size = load_relaxed(&control->size), limit = load_relaxed(&control->max_bytes);
    uint64_t most = UINT64_C(1) << WINDOW_MOST_LOG2;
    uint64_t window = limit < most ? limit : most;
    return (window > size ? window : size) & ~(uint64_t)(PAGE_BYTES - 1);
}
