/* SPDX-License-Identifier: Apache-2.0 */
#include "relink.h"
#include "lock.h"
#include "os.h"

#include <errno.h>

/* May this process have the table back, or drop it: as who may write to it, or where nobody alive owns it but a manager that
 * keeps it? (owner_admits would say that it is gone.) force: whoever can. */
static int admit(struct tmgr_table *t, bool force) {
    struct owner_record record;
    uint64_t owner = owner_read(t, &record), rule = load_relaxed(&record.rule);
    bool is_owner = (owner & IDENTITY_MASK) == load_relaxed(&os_self()->identity);
    if (t->foreign)
        return TMGR_NAMESPACE;
    if (!segment_make_writable(t))
        return owner_refusal(t, TMGR_READONLY);
    if (force)
        return TMGR_OK;
    bool is_alive = owner_word_alive(owner);
    if (!is_alive && rule_heir(rule) == TMGR_HEIR_NONE)
        return TMGR_NO_TABLE;
    return rule_permits(rule, is_owner, true) || !is_alive || rule_is_kept(rule) ? TMGR_OK : TMGR_ACCESS;
}

struct copy {
    int fd;
    uint8_t *base;
    uint64_t mapped;
};

static int copy_begin(struct tmgr_table *t, struct copy *copy) {
    struct os_file file;
    uint64_t size = load_acquire(&t->control->size);
    if (size > t->mapped) /* looked at when nothing grows any more */
        return AGAIN;
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
    store_relaxed(&control->copies, load_relaxed(&control->copies) + 1);
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
    if (status == TMGR_OK && !compare_exchange(&t->control->state, STATE_LIVE, STATE_MOVING)) {
        copy_end(copy); /* dropped by whoever began that before the name was taken away */
        status = TMGR_NO_TABLE;
    }
    unlock_stripes(t, n);
    return status;
}

/* Under the control lock, so no relinker is at work: the state, and OK where there is no copy. AGAIN: there is one, to be followed
 * to. Whoever follows says MOVED before he writes to the copy; so if the copy has gone by now, and it still says MOVING, nobody
 * who comes from here has written to it. */
static int look_for_copy(struct tmgr_table *t, uint64_t *state) {
    *state = load_acquire(&t->control->state);
    if (*state < STATE_MOVING)
        return TMGR_OK;
    int status = segment_has_copy(t);
    *state = load_acquire(&t->control->state);
    return status == TMGR_OK ? AGAIN : status == TMGR_NO_TABLE ? TMGR_OK : status;
}

/* So that a name that is taken costs neither a copy nor the state. */
static bool is_taken(const char *name) {
    int fd;
    if (os_segment_open(name, false, &fd) != 0)
        return false;
    os_close(fd);
    return true;
}

/* Under the control lock. OK: it has its name; AGAIN: the copy has, and is to be followed to. */
static int move_locked(struct tmgr_table *t, int64_t wait_ns) {
    char name[256];
    struct copy copy;
    struct os_file file;
    uint64_t state;
    int error = os_segment_stat(t->fd, &file);
    if (error != 0)
        return segment_error(error);
    int status = look_for_copy(t, &state);
    if (status != TMGR_OK)
        return status;
    if (state == STATE_DROPPED || state == STATE_MOVED) /* MOVED: and by now the copy is not there either */
        return TMGR_NO_TABLE;
    if (owner_is_hidden(t)) /* for others the table may well be where it was */
        return segment_error(EXDEV);
    if (file.linked)
        return TMGR_OK;
    segment_last_name(t, name);
    if (is_taken(name))
        return segment_error(EEXIST);
    status = state == STATE_MOVING ? copy_begin(t, &copy) : freeze(t, &copy, wait_ns);
    if (status != TMGR_OK)
        return status;
    copy_fill(t, &copy);
    status = segment_error(os_segment_publish(copy.fd, name)); /* COMMIT POINT */
    if (status == TMGR_OK)
        compare_exchange(&t->control->state, STATE_MOVING, STATE_MOVED); /* unless who has followed already did */
    copy_end(&copy);
    /* AGAIN: this handle is to be one on the copy, should the name be lost again. */
    return status == TMGR_OK ? AGAIN : status;
}

int tmgr_relink(struct tmgr_table *t, int64_t wait_ns) {
    for (;;) {
        int status = segment_enter_last(t);
        if (status != TMGR_OK)
            return status;
        status = t->head_only ? TMGR_READONLY : admit(t, false);
        if (status == TMGR_OK)
            status = owner_lock(t, wait_ns);
        if (status == TMGR_OK) {
            status = move_locked(t, wait_ns);
            owner_unlock(t);
        }
        bool outgrown = load_acquire(&t->control->size) > t->mapped;
        segment_leave(t);
        if (status == AGAIN)
            status = outgrown ? segment_remap(t) : TMGR_OK;
        else
            return status;
        if (status != TMGR_OK)
            return status;
    }
}

/* -- drop ---------------------------------------------------------------------------------------------------------------------- */

/* What has no name is dropped by its state alone: nobody links it back then. NO_TABLE: it has a name, or is gone already. */
static int drop_removed(struct tmgr_table *t, bool force) {
    struct os_file file;
    uint64_t state;
    if (os_segment_stat(t->fd, &file) != 0 || file.linked || owner_is_hidden(t))
        return TMGR_NO_TABLE;
    int status = admit(t, force);
    if (status == TMGR_OK)
        status = owner_lock(t, NAME_WAIT_NS);
    if (status != TMGR_OK)
        return status;
    status = look_for_copy(t, &state);
    if (status == TMGR_OK && (state == STATE_DROPPED || state == STATE_MOVED))
        status = TMGR_NO_TABLE;
    if (status == TMGR_OK && !compare_exchange(&t->control->state, state, STATE_DROPPED)) /* COMMIT POINT */
        status = AGAIN;
    owner_unlock(t);
    return status;
}

int tmgr_drop(struct tmgr_table *t, bool force) {
    int status;
    do {
        status = segment_enter_last(t);
        if (status != TMGR_OK)
            return status;
        status = force ? TMGR_OK : owner_admits(t, true);
        if (status == TMGR_OK && !force && !t->may_write)
            status = owner_refusal(t, TMGR_READONLY);
        if (status == TMGR_OK)
            status = segment_drop(t, NAME_WAIT_NS);
        if (status == TMGR_NO_TABLE)
            status = drop_removed(t, force);
        segment_leave(t);
    } while (status == AGAIN);
    return status;
}
