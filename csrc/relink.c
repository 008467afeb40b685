/* SPDX-License-Identifier: Apache-2.0 */
#include "relink.h"
#include "lock.h"
#include "os.h"

#include <errno.h>

/* May this process have the table back: as who may write to it, or where nobody alive owns it but a manager that keeps it?
 * (owner_admits would say that it is gone.) */
static int admit(struct tmgr_table *t) {
    struct owner_record record;
    uint64_t owner = owner_read(t, &record), rule = load_relaxed(&record.rule);
    bool is_owner = (owner & IDENTITY_MASK) == load_relaxed(&os_self()->identity);
    if (t->foreign)
        return TMGR_NAMESPACE;
    if (t->head_only || !segment_make_writable(t))
        return TMGR_READONLY;
    bool is_alive = owner_word_alive(owner);
    if (!is_alive && rule_heir(rule) == TMGR_HEIR_NONE)
        return TMGR_NO_TABLE;
    return rule_permits(rule, is_owner, true) || !is_alive || rule_reason(rule) == TMGR_KEPT ? TMGR_OK : TMGR_ACCESS;
}

struct copy {
    int fd;
    uint8_t *base;
    uint64_t mapped;
};

static int copy_begin(struct tmgr_table *t, struct copy *copy) {
    struct os_file file;
    uint64_t size = load_relaxed(&t->control->size);
    int error = os_segment_stat(t->fd, &file);
    if (error == 0)
        error = os_segment_new(&copy->fd, file.mode);
    if (error != 0)
        return segment_error(error);
    error = os_segment_give(copy->fd, file.uid, file.gid);
    if (error == 0)
        error = os_segment_reserve(copy->fd, 0, size);
    if (error == 0)
        error = os_map(copy->fd, true, size, size, &copy->base, &copy->mapped);
    if (error == 0)
        return TMGR_OK;
    os_close(copy->fd);
    return segment_error(error);
}

static void copy_end(const struct copy *copy) {
    os_unmap(copy->base, copy->mapped);
    os_close(copy->fd);
}

/* The locks stand there as this process holds them in the old segment. */
static void copy_fill(struct tmgr_table *t, const struct copy *copy) {
    struct control *control = (struct control *)(void *)copy->base;
    struct stripe *stripes = (struct stripe *)(void *)(copy->base + STRIPES_OFFSET);
    copy_racy(copy->base, t->base, copy->mapped);
    lock_init(control->control_lock);
    lock_init(control->arena_lock);
    for (uint32_t i = 0; i < t->n_stripes; i++)
        lock_init(stripes[i].lock);
    publish(&control->state, STATE_LIVE);
}

static void unlock_stripes(struct tmgr_table *t, uint32_t n) {
    while (n > 0)
        stripe_unlock(&t->stripes[--n]);
}

/* Nothing changes the segment any more. */
static int freeze(struct tmgr_table *t, struct copy *copy, int64_t wait_ns) {
    uint32_t n = 0;
    int status = TMGR_OK;
    while (n < t->n_stripes && status == TMGR_OK) {
        status = stripe_lock(t, &t->stripes[n], wait_ns);
        n += status == TMGR_OK;
    }
    if (status == TMGR_OK)
        status = copy_begin(t, copy);
    if (status == TMGR_OK)
        publish(&t->control->state, STATE_MOVING);
    unlock_stripes(t, n);
    return status;
}

/* Under the control lock. */
static int move_locked(struct tmgr_table *t, int64_t wait_ns) {
    char name[256];
    struct copy copy;
    struct os_file file;
    uint64_t state = load_relaxed(&t->control->state);
    int error = os_segment_stat(t->fd, &file);
    if (error != 0)
        return segment_error(error);
    if (state == STATE_DROPPED || state == STATE_MOVED) /* MOVED: and by now the copy is not there either */
        return TMGR_NO_TABLE;
    if (owner_is_hidden(t)) /* for others the table may well be where it was */
        return segment_error(EXDEV);
    if (file.linked)
        return TMGR_OK;
    int status = state == STATE_MOVING ? copy_begin(t, &copy) : freeze(t, &copy, wait_ns);
    if (status != TMGR_OK)
        return status;
    copy_fill(t, &copy);
    segment_last_name(t, name);
    status = segment_error(os_segment_publish(copy.fd, name)); /* COMMIT POINT */
    if (status == TMGR_OK)
        publish(&t->control->state, STATE_MOVED);
    copy_end(&copy);
    return status;
}

int tmgr_relink(struct tmgr_table *t, int64_t wait_ns) {
    int status;
    do {
        status = segment_enter_last(t);
        if (status != TMGR_OK)
            return status;
        status = load_acquire(&t->control->size) > t->mapped ? AGAIN : admit(t);
        if (status == TMGR_OK)
            status = owner_lock(t, wait_ns);
        if (status == TMGR_OK) {
            status = move_locked(t, wait_ns);
            owner_unlock(t);
        }
        segment_leave(t);
    } while (status == AGAIN && (status = segment_remap(t)) == TMGR_OK);
    return status;
}
