/* SPDX-License-Identifier: Apache-2.0 */
/* segment_names.c - the names of a segment, the table's in its control page and the file's in the directory: read, cleared of a table that
 * is gone, dropped and renamed. */
#include "os.h"
#include "segment.h"

#include <errno.h>

int tmgr_name(struct tmgr_table *t, char *name) {
    int status = segment_enter_any(t);
    if (status != TMGR_OK)
        return status;
    uint64_t index = load_acquire(&t->control->name_index) % 2;
    uint64_t len = load_relaxed(&t->control->names[index].len) % (TMGR_NAME_MAX + 1);
    copy_racy((uint8_t *)name, t->control->names[index].text, len);
    name[len] = 0;
    segment_leave(t);
    return TMGR_OK;
}

void segment_set_name(struct control *control, uint64_t index, const char *name, size_t len) {
    fill_racy(control->names[index].text, (const uint8_t *)name, len);
    store_relaxed(&control->names[index].len, len);
}

void segment_last_name(struct tmgr_table *t, char name[256]) {
    if (!os_segment_name(t->fd, name, 256) || name[1] == '#') /* what never had one when it was opened */
        memcpy(name, t->segment, sizeof t->segment);
}

bool segment_has_lost_name(struct tmgr_table *t) { return t->fd >= 0 && !os_segment_is(t->segment, t->fd); }

/* Until whoever is removing what bears this name has done so, or is given up. */
static void wait_for_remover(const char *segment, uint64_t until) {
    int fd;
    uint64_t now = os_monotonic_ns();
    if (now >= until || os_segment_open(segment, false, &fd) != 0)
        return;
    os_segment_lock(fd, (int64_t)(until - now));
    os_segment_unlock(fd);
}

int segment_clear_gone(const char *segment, uint64_t until) {
    struct tmgr_table *old;
    int status = tmgr_attach(segment, TMGR_MAP_HEAD, &old);
    if (status == TMGR_NO_TABLE) { /* attach has seen to it, unless another process is at it */
        wait_for_remover(segment, until);
        return TMGR_OK;
    }
    if (status != TMGR_OK)
        return TMGR_TABLE_EXISTS;
    status = tmgr_settle(old, NULL, NAME_WAIT_NS);
    tmgr_free(old);
    if (status == TMGR_NO_TABLE)
        wait_for_remover(segment, until);
    return status == TMGR_NO_TABLE ? TMGR_OK : status == TMGR_BUSY ? TMGR_BUSY : TMGR_TABLE_EXISTS;
}

/* -- drop and rename: under a lock on the segment's own inode, because an unlink cannot be made conditional ------------------- */

static bool is_linked(struct tmgr_table *t) {
    struct os_file file;
    return os_segment_stat(t->fd, &file) == 0 && file.linked && !owner_is_hidden(t);
}

/* Lock the segment under the name that it has now (another process may have renamed it, or be doing so). */
static int lock_named(struct tmgr_table *t, char name[256], int64_t wait_ns, int *lock_fd) {
    int error = ENOENT;
    for (int tries = 0; tries < NAME_TRIES && is_linked(t); tries++) {
        if (os_segment_is(t->segment, t->fd))
            memcpy(name, t->segment, sizeof t->segment);
        else if (!os_segment_name(t->fd, name, 256))
            continue;
        error = os_segment_open(name, false, lock_fd);
        if (error == ENOENT)
            continue;
        if (error != 0)
            return segment_error(error);
        error = os_segment_lock(*lock_fd, wait_ns);
        if (error == 0 && os_segment_is(name, *lock_fd) && os_segment_is(name, t->fd))
            return TMGR_OK;
        os_segment_unlock(*lock_fd);
        if (error != 0)
            return segment_error(error);
    }
    return is_linked(t) ? TMGR_BUSY : TMGR_NO_TABLE;
}

/* The state word, also for a handle whose own mapping must stay read-only; right in any namespace. True if it was changed. */
static bool change_state(struct tmgr_table *t, const char *name, uint64_t from, uint64_t to) {
    uint8_t *page;
    uint64_t bytes;
    int fd;
    if (segment_make_writable(t))
        return compare_exchange(&t->control->state, from, to);
    if (os_segment_open(name, true, &fd) != 0)
        return false;
    bool changed = false;
    if (os_segment_is(name, fd) && os_segment_is(name, t->fd) && /* not the copy of what was removed meanwhile */
        os_map(fd, true, PAGE_BYTES, PAGE_BYTES, &page, &bytes) == 0) {
        changed = compare_exchange(&((struct control *)(void *)page)->state, from, to);
        os_unmap(page, bytes);
    }
    os_close(fd);
    return changed;
}

/* Once it is marked nobody links it back. If its name is taken away by others before or after that, what bears it is no
 * business of this drop. */
static int drop_locked(struct tmgr_table *t, const char *name) {
    bool marked =
        change_state(t, name, STATE_LIVE, STATE_DROPPED); /* COMMIT POINT: handles see it at their next call */
    if (load_acquire(&t->control->state) >= STATE_MOVING)
        return TMGR_NO_TABLE;
    int error = os_segment_is(name, t->fd) ? os_segment_unlink(name) : ENOENT;
    if (marked && error != 0 && error != ENOENT)
        change_state(t, name, STATE_DROPPED, STATE_LIVE); /* not ours to remove: as it was */
    return marked && error == ENOENT ? TMGR_OK : segment_error(error);
}

int segment_drop(struct tmgr_table *t, int64_t wait_ns) {
    char name[256];
    int lock_fd, status = lock_named(t, name, wait_ns, &lock_fd);
    if (status != TMGR_OK)
        return status;
    status = drop_locked(t, name);
    os_segment_unlock(lock_fd);
    return status;
}

/* What cannot be attached because it is no table, or a damaged one. */
static int drop_unsound(const char *segment) {
    int fd, error = os_segment_open(segment, false, &fd);
    if (error == ELOOP || error == ENXIO)
        return segment_error(os_segment_unlink(segment)); /* a link or a pipe */
    if (error != 0)
        return segment_error(error);
    error = os_segment_lock(fd, NAME_WAIT_NS);
    if (error == 0)
        error = os_segment_is(segment, fd) ? os_segment_unlink(segment) : ENOENT;
    os_segment_unlock(fd);
    return segment_error(error);
}

int tmgr_drop_segment(const char *segment) {
    struct tmgr_table *t;
    int status = TMGR_NO_TABLE;
    for (int tries = 0; tries < NAME_TRIES; tries++) {
        status = tmgr_attach(segment, TMGR_MAP_HEAD, &t);
        if (status != TMGR_OK)
            break;
        status = segment_drop(t, NAME_WAIT_NS);
        tmgr_free(t);
        if (status != TMGR_NO_TABLE) /* else it was removed meanwhile, and perhaps linked back */
            return status;
    }
    return status == TMGR_LAYOUT || status == TMGR_CORRUPT ? drop_unsound(segment) : status;
}

static int rename_locked(struct tmgr_table *t, const char *from, const char *to, const char *name, size_t name_len) {
    int error = os_segment_rename(from, to); /* COMMIT POINT */
    if (error == EEXIST && segment_clear_gone(to, os_monotonic_ns() + NAME_WAIT_NS) == TMGR_OK)
        error = os_segment_rename(from, to);
    if (error == 0) {
        uint64_t index = (load_relaxed(&t->control->name_index) + 1) % 2;
        segment_set_name(t->control, index, name, name_len);
        publish(&t->control->name_index, index);
    }
    return segment_error(error);
}

int tmgr_rename(struct tmgr_table *t, const char *segment, const char *name, size_t name_len) {
    if (name_len > TMGR_NAME_MAX || strlen(segment) > TMGR_NAME_MAX)
        return TMGR_TOO_LONG;
    char current[256];
    int lock_fd, status = segment_enter_last(t);
    if (status != TMGR_OK)
        return status;
    status = owner_admits(t, true);
    if (status == TMGR_ACCESS && segment_hands_over(t))
        status = owner_admits(t, true);
    if (status == TMGR_OK && !segment_make_writable(t))
        status = owner_refusal(t, TMGR_READONLY);
    if (status == TMGR_OK)
        status = lock_named(t, current, NAME_WAIT_NS, &lock_fd);
    if (status == TMGR_OK) {
        if (strcmp(segment, current) != 0)
            status = rename_locked(t, current, segment, name, name_len);
        os_segment_unlock(lock_fd);
    }
    segment_leave(t);
    return status;
}
