/* SPDX-License-Identifier: Apache-2.0 */
/* segment.c - creating a segment, attaching one, and a glance at one that is not attached; what an error of the system means. */
#include "segment.h"
#include "lock.h"
#include "mapping.h"
#include "os.h"

#include <errno.h>

enum { FIRST_BYTES = 64 * 1024 };

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

/* -- create ---------------------------------------------------------------------------------------------------------------------- */

static bool options_are_sound(const struct tmgr_options *o) {
    return o->type <= TMGR_DUPLICATE_BAG && o->access <= TMGR_PRIVATE && o->heir <= TMGR_HEIR_PROCESS &&
           o->n_stripes <= STRIPES_MAX && (o->n_stripes & (o->n_stripes - 1)) == 0;
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
    segment_set_name(control, 0, name, name_len);
    lock_init(control->control_lock);
    lock_init(control->arena_lock);
    handle_adopt(t);
    for (uint32_t i = 0; i < t->n_stripes; i++)
        lock_init(t->stripes[i].lock);
    store_relaxed(&control->magic, LAYOUT_MAGIC);
    return owner_init(t, o);
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
        status = segment_clear_gone(t->segment, until);
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

int segment_attach(struct tmgr_table *t, enum tmgr_mapping mapping) {
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
    t->foreign = control_is_foreign(&head);
    t->head_only = mapping == TMGR_MAP_HEAD;
    /* A lock is a list node of glibc's: whoever else writes there could make this process write where it should not. */
    t->may_write = t->may_write && !t->foreign && (file.trusted || mapping == TMGR_MAP_WRITE) && os_robust_locks_work();
    t->writable = t->may_write && mapping != TMGR_MAP_AUTO;
    uint64_t least = t->head_only ? arena_offset(load_relaxed(&head.n_stripes)) : load_relaxed(&head.size);
    int error = os_map(t->fd, t->writable, least, t->head_only ? least : mapping_window(&head), &t->base, &t->mapped);
    if (error != 0)
        return segment_error(error);
    handle_adopt(t);
    for (uint32_t i = 0; i < t->n_stripes; i++)
        if (!lock_is_sound(t->stripes[i].lock))
            return TMGR_CORRUPT;
    return TMGR_OK;
}

static int attach_admitted(struct tmgr_table *t, enum tmgr_mapping mapping) {
    int status = segment_attach(t, mapping);
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
    for (int tries = 0; status == TMGR_NO_TABLE && segment_has_lost_name(t) && tries < NAME_TRIES; tries++) {
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

/* The system copies the words while others write them, so the record counts if the owner word is the same before and after. It
 * may have come round to the same value, but then by changes of options: of what is taken here they change one word, the heir. */
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
        return control_is_foreign(&head) ? TMGR_NAMESPACE : TMGR_OK;
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
