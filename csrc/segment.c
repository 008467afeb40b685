/* SPDX-License-Identifier: Apache-2.0 */
#include "segment.h"
#include "arena.h"
#include "lock.h"
#include "os.h"

#include <errno.h>
#include <stdlib.h>

enum { FIRST_BYTES = 64 * 1024, NAME_TRIES = 100, DRAIN_NS = 5000000, WINDOW_MOST_LOG2 = 39 };

static _Thread_local int last_errno;

int tmgr_errno(void) { return last_errno; }

int segment_error(int error) {
    last_errno = error;
    switch (error) {
    case 0:
        return TMGR_OK;
    case ENOENT:
        return TMGR_NO_TABLE;
    case EEXIST:
        return TMGR_TABLE_EXISTS;
    case ENOSPC:
        return TMGR_FULL;
    case ENOMEM:
        return TMGR_NO_MEMORY;
    case EAGAIN:
        return TMGR_BUSY;
    case EINVAL:
    case ENAMETOOLONG:
        return TMGR_BAD_OPTION;
    default:
        return TMGR_OS;
    }
}

/* Numbers that must be the same in every process that uses a segment. */
static uint64_t fingerprint(void) {
    const uint64_t facts[] = {LAYOUT_VERSION,
                              sizeof(struct stripe),
                              sizeof(struct control),
                              sizeof(struct root),
                              sizeof(struct chunk),
                              STRIPES_OFFSET,
                              N_CLASSES,
                              RING_ENTRIES,
                              lock_fingerprint(),
                              *(const uint8_t *)&(const uint16_t){1} /* byte order */};
    uint64_t sum = LAYOUT_MAGIC;
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        sum = (sum ^ facts[i]) * UINT64_C(0x100000001b3) + (sum >> 29);
    return sum;
}

static uint64_t arena_offset(uint64_t n_stripes) {
    uint64_t end = STRIPES_OFFSET + n_stripes * sizeof(struct stripe);
    return (end + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1);
}

static bool is_foreign(const struct control *control) {
    const struct os_self *self = os_self();
    return load_relaxed(&control->pid_namespace) != load_relaxed(&self->pid_namespace) ||
           load_relaxed(&control->time_namespace) != load_relaxed(&self->time_namespace);
}

/* -- handles -------------------------------------------------------------------------------------------------------------------- */

static struct tmgr_table *handles; /* under lock_private */

static struct tmgr_table *handle_new(const char *segment) {
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

static void handle_unmap(struct tmgr_table *t) {
    if (t->base != NULL)
        os_unmap(t->base, t->mapped);
    if (t->fd >= 0)
        os_close(t->fd);
    t->base = NULL;
    t->fd = -1;
}

/* Everything but base, mapped and fd follows from the control page. */
static void handle_adopt(struct tmgr_table *t) {
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
    t->foreign = is_foreign(t->control);
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

/* One that nobody has used yet. */
static void handle_discard(struct tmgr_table *t) {
    if (t != NULL)
        handle_unmap(t);
    tmgr_free(t);
}

/* -- gate ------------------------------------------------------------------------------------------------------------------------ */

static uint64_t window_for(const struct control *control) {
    uint64_t size = load_relaxed(&control->size), limit = load_relaxed(&control->max_bytes);
    uint64_t most = UINT64_C(1) << WINDOW_MOST_LOG2;
    uint64_t window = limit < most ? limit : most;
    return (window > size ? window : size) & ~(uint64_t)(PAGE_BYTES - 1);
}

/* The gate shut for a mapping to take another's place. False: somebody else is at it, or the handle is closed, and the caller looks
 * again. *drained: the calls in flight have left, which they are given a moment for. */
static bool gate_shut(struct tmgr_table *t, bool *drained) {
    int open = GATE_OPEN;
    if (!atomic_compare_exchange_strong(&t->gate, &open, GATE_REMAP)) {
        os_yield();
        return false;
    }
    uint64_t until = os_monotonic_ns() + DRAIN_NS;
    while (!(*drained = atomic_load(&t->in_flight) == 0) && os_monotonic_ns() < until)
        os_yield();
    return true;
}

int segment_remap(struct tmgr_table *t) {
    bool drained;
    if (!gate_shut(t, &drained))
        return TMGR_OK;
    int status = TMGR_BUSY;
    if (drained) {
        uint64_t size = load_relaxed(&t->control->size), least = size > t->mapped ? size : t->mapped + PAGE_BYTES;
        uint64_t window = least > window_for(t->control) ? least : window_for(t->control);
        lock_private(); /* no fork now: the child would have the handle half moved */
        status = segment_error(os_map_more(least, window, &t->base, &t->mapped));
        handle_adopt(t);
        unlock_private();
    }
    atomic_store(&t->outgrown, false);
    atomic_store(&t->gate, GATE_OPEN);
    return status;
}

int segment_wait_at_gate(struct tmgr_table *t) {
    for (;;) {
        int gate = atomic_load(&t->gate);
        segment_leave(t);
        if (gate == GATE_CLOSED)
            return TMGR_CLOSED;
        os_yield();
        atomic_fetch_add(&t->in_flight, 1);
        if (atomic_load(&t->gate) == GATE_OPEN)
            return TMGR_OK;
    }
}

static int attach_in(struct tmgr_table *t, enum tmgr_mapping mapping);

void segment_last_name(struct tmgr_table *t, char name[256]) {
    if (!os_segment_name(t->fd, name, 256) || name[1] == '#') /* what never had one when it was opened */
        memcpy(name, t->segment, sizeof t->segment);
}

/* Its name leads to something else than what was opened by it, or to nothing. */
static bool has_lost_name(struct tmgr_table *t) { return t->fd >= 0 && !os_segment_is(t->segment, t->fd); }

/* Is the other one this table, and later? (An earlier copy can have the name only where a relinker died, see relink.h.) */
static bool is_later_copy(struct tmgr_table *copy, struct tmgr_table *t) {
    struct os_file file, old;
    return load_relaxed(&copy->control->table_id) == load_relaxed(&t->control->table_id) &&
           load_relaxed(&copy->control->copies) > load_relaxed(&t->control->copies) &&
           load_acquire(&copy->control->state) == STATE_LIVE && os_segment_stat(copy->fd, &file) == 0 &&
           os_segment_stat(t->fd, &old) == 0 && file.uid == old.uid;
}

/* What bears the table's name, as a handle that nobody uses yet. NULL with OK: look again, it was just removed; with NO_TABLE: it
 * is not this table, or there is none; with NO_MEMORY or OS: this process cannot find out. */
static struct tmgr_table *find_copy(struct tmgr_table *t, int *status) {
    char name[256];
    segment_last_name(t, name);
    struct tmgr_table *copy = handle_new(name);
    *status = copy != NULL ? TMGR_OK : TMGR_NO_MEMORY;
    if (copy == NULL)
        return NULL;
    struct os_file file;
    bool trusts = t->may_write && os_segment_stat(t->fd, &file) == 0 && !file.trusted; /* it was told to */
    *status = attach_in(copy, t->head_only   ? TMGR_MAP_HEAD
                              : trusts       ? TMGR_MAP_WRITE
                              : t->may_write ? TMGR_MAP_AUTO
                                             : TMGR_MAP_READ);
    if (*status == TMGR_OK && is_later_copy(copy, t))
        return copy;
    bool out_of_files = *status == TMGR_OS && (last_errno == EMFILE || last_errno == ENFILE);
    if (*status != TMGR_NO_MEMORY && !out_of_files)
        *status = has_lost_name(copy) ? TMGR_OK : TMGR_NO_TABLE;
    handle_discard(copy);
    return NULL;
}

int segment_has_copy(struct tmgr_table *t) {
    int status;
    handle_discard(find_copy(t, &status));
    return status;
}

/* The table lives on in a copy, which bears its name: this handle is to be one on that. Whoever comes first sees to it, when
 * the calls in flight have left. */
static int follow(struct tmgr_table *t) {
    bool drained;
    if (!gate_shut(t, &drained))
        return TMGR_OK;
    struct tmgr_table *copy = NULL;
    int status = TMGR_BUSY;
    if (drained && load_acquire(&t->control->state) >= STATE_MOVING)
        copy = find_copy(t, &status);
    else if (drained)
        status = TMGR_OK; /* another thread has been faster */
    if (copy != NULL) {
        if (segment_make_writable(
                t)) /* before anything is written to the copy: nobody copies the old segment once more */
            compare_exchange(&t->control->state, STATE_MOVING, STATE_MOVED);
        lock_private(); /* no fork now: the child would have the handle half moved */
        handle_unmap(t);
        t->base = copy->base;
        t->mapped = copy->mapped;
        t->fd = copy->fd;
        t->writable = copy->writable;
        t->may_write = copy->may_write;
        t->foreign = copy->foreign;
        t->place = copy->place;
        memcpy(t->segment, copy->segment, sizeof t->segment);
        store_relaxed(&t->checked_tick, 0);
        handle_adopt(t);
        copy->base = NULL;
        copy->fd = -1;
        unlock_private();
        tmgr_free(copy);
    }
    atomic_store(&t->gate, GATE_OPEN);
    return status;
}

int segment_enter_last(struct tmgr_table *t) {
    for (;;) {
        int status = segment_enter_any(t);
        if (status != TMGR_OK || load_acquire(&t->control->state) < STATE_MOVING)
            return status;
        segment_leave(t);
        status = follow(t);
        if (status == TMGR_NO_TABLE) /* not yet, or not any more: the caller sees the state */
            return segment_enter_any(t);
        if (status != TMGR_OK)
            return status;
    }
}

bool segment_make_writable(struct tmgr_table *t) {
    if (!t->writable && t->may_write && os_protect(t->base, t->mapped, true) == 0)
        t->writable = true;
    return t->writable;
}

int segment_admit_fully(struct tmgr_table *t, bool write) {
    for (;;) {
        bool outgrown = write && atomic_load_explicit(&t->outgrown, memory_order_relaxed);
        int status;
        if ((load_acquire(&t->control->size) > t->mapped || outgrown) && !t->head_only) {
            segment_leave(t);
            status = segment_remap(t);
            if (status == TMGR_OK)
                status = segment_enter_any(t);
            if (status != TMGR_OK)
                return status;
            continue;
        }
        status = owner_admits(t, write);
        if (status == TMGR_NO_TABLE && load_acquire(&t->control->state) >= STATE_MOVING) {
            segment_leave(t);
            status = follow(t);
            if (status == TMGR_OK)
                status = segment_enter_any(t);
            if (status != TMGR_OK)
                return status;
            continue;
        }
        if (status == TMGR_OK && load_relaxed(&t->control->poisoned) != 0)
            status = TMGR_CORRUPT;
        if (status == TMGR_OK && (t->head_only || (write && !t->writable && !segment_make_writable(t))))
            status = TMGR_READONLY;
        if (status != TMGR_OK)
            segment_leave(t);
        return status;
    }
}

int tmgr_admit(struct tmgr_table *t, bool write) {
    int status = segment_enter(t, write);
    if (status == TMGR_OK)
        segment_leave(t);
    return status;
}

/* -- create ---------------------------------------------------------------------------------------------------------------------- */

static bool options_are_sound(const struct tmgr_options *o) {
    return o->type <= TMGR_DUPLICATE_BAG && o->access <= TMGR_PRIVATE && o->heir <= TMGR_HEIR_PROCESS &&
           o->n_stripes <= STRIPES_MAX && (o->n_stripes & (o->n_stripes - 1)) == 0;
}

static void set_name(struct control *control, uint64_t index, const char *name, size_t len) {
    fill_racy(control->names[index].text, (const uint8_t *)name, len);
    store_relaxed(&control->names[index].len, len);
}

static int build(struct tmgr_table *t, const char *name, size_t name_len, const struct tmgr_options *o, uint64_t size,
                 uint64_t n_stripes) {
    struct control *control = (struct control *)(void *)t->base;
    const struct os_self *self = os_self();
    uint64_t chance[2], limit = os_segment_limit(t->fd);
    os_random(chance, sizeof chance);
    store_relaxed(&control->fingerprint, fingerprint());
    store_relaxed(&control->table_id, chance[0]);
    store_relaxed(&control->hash_seed, chance[1]);
    store_relaxed(&control->n_stripes, n_stripes);
    store_relaxed(&control->type_keypos, o->type | (uint64_t)o->keypos << 32);
    store_relaxed(&control->codec, o->codec);
    store_relaxed(&control->max_bytes, o->max_bytes != 0 ? o->max_bytes : limit > size ? limit : size);
    store_relaxed(&control->created_ns, os_now_ns());
    store_relaxed(&control->pid_namespace, load_relaxed(&self->pid_namespace));
    store_relaxed(&control->time_namespace, load_relaxed(&self->time_namespace));
    store_relaxed(&control->arena_offset, arena_offset(n_stripes));
    store_relaxed(&control->size, size);
    store_relaxed(&control->state, STATE_LIVE);
    set_name(control, 0, name, name_len);
    lock_init(control->control_lock);
    lock_init(control->arena_lock);
    handle_adopt(t);
    for (uint32_t i = 0; i < t->n_stripes; i++)
        lock_init(t->stripes[i].lock);
    store_relaxed(&control->magic, LAYOUT_MAGIC);
    return owner_init(t, o);
}

/* Until whoever is removing what bears this name has done so, or is given up. */
static void wait_for_remover(const char *segment, uint64_t until) {
    int fd;
    uint64_t now = os_monotonic_ns();
    if (now >= until || os_segment_open(segment, false, &fd) != 0)
        return;
    os_segment_lock(fd, (int64_t)(until - now));
    os_segment_unlock(fd);
}

/* The name is taken: by a table that is gone but for its name? Then take the name away. */
static int clear_gone(const char *segment, uint64_t until) {
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

/* A descriptor of a nameless file never learns its name; one opened by name follows renames. */
static void reopen(struct tmgr_table *t) {
    int fd;
    if (os_segment_open(t->segment, true, &fd) != 0)
        return;
    if (os_segment_is(t->segment, t->fd) && os_segment_is(t->segment, fd)) {
        os_close(t->fd);
        t->fd = fd;
    } else {
        os_close(fd);
    }
}

static int create_in(struct tmgr_table *t, const char *name, size_t name_len, const struct tmgr_options *options) {
    uint64_t n_stripes = options->type == TMGR_ORDERED_SET ? 1 /* one tree */
                         : options->n_stripes != 0         ? options->n_stripes
                                                           : STRIPES_DEFAULT;
    uint64_t size = arena_offset(n_stripes) + FIRST_BYTES;
    if (options->max_bytes != 0 && options->max_bytes < size)
        return TMGR_BAD_OPTION;
    int error = os_segment_new(&t->fd, options->mode);
    if (error == 0)
        error = os_segment_reserve(t->fd, 0, size);
    uint64_t limit = error == 0 ? os_segment_limit(t->fd) : 0, most = UINT64_C(1) << WINDOW_MOST_LOG2;
    uint64_t window = options->max_bytes != 0 ? options->max_bytes : limit;
    window = (window < most ? window : most) & ~(uint64_t)(PAGE_BYTES - 1);
    if (error == 0)
        error = os_map(t->fd, true, size, window > size ? window : size, &t->base, &t->mapped);
    if (error != 0)
        return segment_error(error);
    t->writable = t->may_write = true;
    int status = build(t, name, name_len, options, size, n_stripes);
    uint64_t until = os_monotonic_ns() + NAME_WAIT_NS;
    while (status == TMGR_OK) {
        error = os_segment_publish(t->fd, t->segment); /* COMMIT POINT of the table's existence */
        if (error == 0)
            reopen(t);
        if (error != EEXIST)
            return segment_error(error);
        if (os_monotonic_ns() >= until)
            return TMGR_BUSY; /* whoever is removing the old table is stopped */
        status = clear_gone(t->segment, until);
    }
    return status;
}

int tmgr_create(const char *segment, const char *name, size_t name_len, const struct tmgr_options *options,
                struct tmgr_table **table) {
    if (name_len > TMGR_NAME_MAX || strlen(segment) > TMGR_NAME_MAX)
        return TMGR_TOO_LONG;
    if (!options_are_sound(options))
        return TMGR_BAD_OPTION;
    if (!os_robust_locks_work())
        return segment_error(ENOSYS);
    struct tmgr_table *t = handle_new(segment);
    if (t == NULL)
        return TMGR_NO_MEMORY;
    int status = create_in(t, name, name_len, options);
    if (status != TMGR_OK) {
        handle_discard(t);
        return status;
    }
    atomic_store(&t->gate, GATE_OPEN);
    *table = t;
    return TMGR_OK;
}

/* -- attach ---------------------------------------------------------------------------------------------------------------------- */

/* Is this the control of a table of this build, as large as it says? Nothing in it is believed before this. */
static int verify(const struct control *control, uint64_t file_bytes) {
    uint64_t n = load_relaxed(&control->n_stripes), size = load_relaxed(&control->size);
    uint64_t state = load_relaxed(&control->state);
    if (load_relaxed(&control->magic) != LAYOUT_MAGIC || load_relaxed(&control->fingerprint) != fingerprint())
        return TMGR_LAYOUT;
    if (n == 0 || n > STRIPES_MAX || (n & (n - 1)) != 0 || load_relaxed(&control->arena_offset) != arena_offset(n) ||
        size <= arena_offset(n) || size > file_bytes || size % PAGE_BYTES != 0 || size >= OFFSET_LIMIT ||
        load_relaxed(&control->max_bytes) < size ||
        (load_relaxed(&control->type_keypos) & 0xffffffff) > TMGR_DUPLICATE_BAG || state < STATE_LIVE ||
        state > STATE_MOVED || !lock_is_sound(control->control_lock) || !lock_is_sound(control->arena_lock))
        return TMGR_CORRUPT;
    if (load_relaxed(&control->type_keypos) << 32 >> 32 == TMGR_ORDERED_SET && n != 1)
        return TMGR_CORRUPT;
    return state >= STATE_MOVING ? TMGR_NO_TABLE : TMGR_OK; /* removed since it was opened */
}

/* A copy of the control, if what is open is a table. All that is in it but its size, state, owner and name is constant. */
static int read_head(int fd, struct control *head, struct os_file *file) {
    int status = TMGR_CORRUPT;
    for (int tries = 0; status == TMGR_CORRUPT && tries < 4; tries++) { /* it may grow after its size was asked for */
        if (os_segment_stat(fd, file) != 0 || file->bytes < STRIPES_OFFSET)
            return TMGR_LAYOUT;
        if (file->reserved < file->bytes) /* a hole is a SIGBUS on a full file system: no table has one */
            return TMGR_CORRUPT;
        status = os_segment_read(fd, 0, head, sizeof *head) ? verify(head, file->bytes) : TMGR_LAYOUT;
    }
    return status;
}

static int open_segment(struct tmgr_table *t, enum tmgr_mapping mapping) {
    int error = os_segment_open(t->segment, mapping != TMGR_MAP_READ, &t->fd);
    t->may_write = error == 0 && mapping != TMGR_MAP_READ;
    if ((error == EACCES || error == EROFS) && mapping == TMGR_MAP_AUTO)
        error = os_segment_open(t->segment, false, &t->fd);
    return error == ELOOP || error == ENXIO || error == EISDIR ? TMGR_LAYOUT : segment_error(error);
}

static int attach_in(struct tmgr_table *t, enum tmgr_mapping mapping) {
    struct os_file file = {.trusted = true};
    struct control head;
    int status = open_segment(t, mapping);
    if (status != TMGR_OK)
        return status;
    status = read_head(t->fd, &head, &file);
    if (!file.trusted && (file.mode & 044) == 0)
        return segment_error(EACCES); /* only root comes so far, and it is no use to those whom the mode keeps out */
    if (status != TMGR_OK)
        return status;
    t->foreign = is_foreign(&head);
    t->head_only = mapping == TMGR_MAP_HEAD;
    /* A lock is a list node of glibc's: whoever else writes there could make this process write where it should not. */
    t->may_write = t->may_write && !t->foreign && (file.trusted || mapping == TMGR_MAP_WRITE) && os_robust_locks_work();
    t->writable = t->may_write && mapping != TMGR_MAP_AUTO;
    uint64_t least = t->head_only ? arena_offset(load_relaxed(&head.n_stripes)) : load_relaxed(&head.size);
    int error = os_map(t->fd, t->writable, least, t->head_only ? least : window_for(&head), &t->base, &t->mapped);
    if (error != 0)
        return segment_error(error);
    handle_adopt(t);
    for (uint32_t i = 0; i < t->n_stripes; i++)
        if (!lock_is_sound(t->stripes[i].lock))
            return TMGR_CORRUPT;
    return TMGR_OK;
}

static int attach_admitted(struct tmgr_table *t, enum tmgr_mapping mapping) {
    int status = attach_in(t, mapping);
    if (status == TMGR_OK && load_acquire(&t->control->state) == STATE_DROPPED) {
        segment_drop(t, 0); /* the dropper died between marking it and taking its name away */
        status = TMGR_NO_TABLE;
    }
    if (status == TMGR_OK && owner_admits(t, false) == TMGR_NO_TABLE) {
        segment_drop(t, 0); /* its owner died, and it has no heir */
        status = TMGR_NO_TABLE;
    }
    /* A process that may only read by the table's access gets pages it can only read; owner_admits is asked again, and the
     * mapping made writable, when it writes. */
    if (status == TMGR_OK && mapping == TMGR_MAP_AUTO && t->may_write && owner_admits(t, true) == TMGR_OK)
        segment_make_writable(t);
    return status;
}

int tmgr_attach(const char *segment, enum tmgr_mapping mapping, struct tmgr_table **table) {
    if (strlen(segment) > TMGR_NAME_MAX)
        return TMGR_TOO_LONG;
    struct tmgr_table *t = handle_new(segment);
    if (t == NULL)
        return TMGR_NO_MEMORY;
    int status = attach_admitted(t, mapping);
    for (int tries = 0; status == TMGR_NO_TABLE && has_lost_name(t) && tries < NAME_TRIES; tries++) {
        handle_unmap(t); /* removed since it was opened: what has the name now? */
        status = attach_admitted(t, mapping);
    }
    if (status != TMGR_OK) {
        handle_discard(t);
        return status;
    }
    atomic_store(&t->gate, GATE_OPEN);
    *table = t;
    return TMGR_OK;
}

/* The system copies the words while others write them, so the record counts if the owner word is the same before and after. */
static int glance_at(int fd, struct tmgr_glance *glance) {
    enum { RECORD_WORDS = 5, TRIES = 64 };
    uint64_t record[RECORD_WORDS], owner = 0, again = 0;
    struct os_file file = {.linked = true};
    struct control head;
    memset(glance, 0, sizeof *glance);
    for (int tries = 0; tries < TRIES; tries++) {
        int status = read_head(fd, &head, &file);
        glance->uid = file.uid; /* of what is no table, too */
        if (status != TMGR_OK)
            return status;
        if (!file.linked || load_relaxed(&head.state) != STATE_LIVE)
            return TMGR_NO_TABLE;
        owner = load_relaxed(&head.owner);
        if (!os_segment_read(fd, RECORDS_OFFSET + owner % RECORDS * sizeof(struct owner_record), record,
                             sizeof record) ||
            !os_segment_read(fd, offsetof(struct control, owner), &again, sizeof again))
            return TMGR_LAYOUT;
        if (owner != again)
            continue;
        glance->owner = owner_process(owner);
        glance->heir_process = owner_process(rule_heir(record[0]) == TMGR_HEIR_PROCESS ? record[1] : 0);
        glance->created_ns = load_relaxed(&head.created_ns);
        glance->table_id = load_relaxed(&head.table_id);
        glance->transfer_from = owner_process(record[2]);
        glance->transfer_seq = record[4];
        glance->transfer_reason = rule_reason(record[0]);
        glance->transfer_end = rule_end(record[0]);
        return is_foreign(&head) ? TMGR_NAMESPACE : TMGR_OK;
    }
    return TMGR_BUSY;
}
static_assert(offsetof(struct owner_record, rule) == 0 && offsetof(struct owner_record, heir) == 8 &&
                  offsetof(struct owner_record, from) == 16 && offsetof(struct owner_record, seq) == 32,
              "a glance reads the first words of a record");

int tmgr_glance(const char *segment, struct tmgr_glance *glance) {
    int fd, error = strlen(segment) > TMGR_NAME_MAX ? ENAMETOOLONG : os_segment_open(segment, false, &fd);
    if (error != 0)
        return segment_error(error);
    int status = glance_at(fd, glance);
    os_close(fd);
    return status;
}

int tmgr_glance_of(struct tmgr_table *t, struct tmgr_glance *glance) {
    int status = segment_enter_any(t);
    if (status != TMGR_OK)
        return status;
    status = glance_at(t->fd, glance);
    segment_leave(t);
    return status;
}

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
    if (error == EEXIST && clear_gone(to, os_monotonic_ns() + NAME_WAIT_NS) == TMGR_OK)
        error = os_segment_rename(from, to);
    if (error == 0) {
        uint64_t index = (load_relaxed(&t->control->name_index) + 1) % 2;
        set_name(t->control, index, name, name_len);
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
    if (status == TMGR_OK && !segment_make_writable(t))
        status = TMGR_READONLY;
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
