/* SPDX-License-Identifier: Apache-2.0 */
/* scratch.c - see scratch.h. */
#include "scratch.h"

#include "layout.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static void fail(const char *what) {
    fprintf(stderr, "scratch: %s: %s\n", what, strerror(errno));
    exit(3);
}

static uint64_t chance = 1;

void scratch_seed(uint64_t seed) { chance = seed * 0x9e3779b97f4a7c15ULL | 1; }

/* Takes the place of the C library's, for the core as well, which is linked into the same program. */
ssize_t getrandom(void *memory, size_t len, unsigned flags) {
    uint8_t *bytes = memory;
    (void)flags;
    for (size_t i = 0; i < len; i++) {
        chance ^= chance >> 12;
        chance ^= chance << 25;
        chance ^= chance >> 27;
        bytes[i] = (uint8_t)(chance * 0x2545f4914f6cdd1dULL >> 56);
    }
    return (ssize_t)len;
}

static struct scratch last_named; /* what is to be removed should this process end early */
static pid_t namer;

static void remove_named(void) {
    if (getpid() == namer) {
        shm_unlink(last_named.segment);
        shm_unlink(last_named.other);
    }
}

void scratch_name(struct scratch *scratch, const char *label) {
    memset(scratch, 0, sizeof *scratch);
    snprintf(scratch->prefix, sizeof scratch->prefix, "/tablemgr-crash.%d.", (int)getpid());
    snprintf(scratch->segment, sizeof scratch->segment, "%s%s", scratch->prefix, label);
    snprintf(scratch->other, sizeof scratch->other, "%sother", scratch->prefix);
    scratch->name[0] = scratch->segment;
    scratch->name[1] = scratch->other;
    scratch->at[0].fd = scratch->at[1].fd = -1;
    last_named = *scratch;
    if (namer == 0)
        atexit(remove_named);
    namer = getpid();
}

static void unmap(struct place *place) {
    if (place->map)
        munmap(place->map, place->mapped);
    place->map = NULL;
    place->mapped = 0;
}

static void let_go(struct place *place) {
    unmap(place);
    if (place->fd >= 0)
        close(place->fd);
    place->fd = -1;
    place->inode = 0;
}

void scratch_remove(struct scratch *scratch) {
    for (size_t i = 0; i < PLACES; i++) {
        let_go(&scratch->at[i]);
        shm_unlink(scratch->name[i]);
    }
}

static void look(struct place *place, const char *name) {
    char path[128];
    struct stat named, open_file;
    snprintf(path, sizeof path, "/dev/shm%s", name);
    if (stat(path, &named) != 0) {
        let_go(place);
        return;
    }
    if (place->fd >= 0 && (fstat(place->fd, &open_file) != 0 || open_file.st_ino != named.st_ino))
        let_go(place);
    if (place->fd < 0 && (place->fd = open(path, O_RDWR | O_CLOEXEC)) < 0)
        fail(path);
    if (place->mapped != (size_t)named.st_size)
        unmap(place);
    place->mapped = (size_t)named.st_size;
    place->inode = named.st_ino;
    if (!place->map && place->mapped > 0) {
        place->map = mmap(NULL, place->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, place->fd, 0);
        if (place->map == MAP_FAILED)
            fail("mmap");
    }
}

void scratch_look(struct scratch *scratch) {
    for (size_t i = 0; i < PLACES; i++)
        look(&scratch->at[i], scratch->name[i]);
}

void image_save(struct image *image, struct scratch *scratch) {
    scratch_look(scratch);
    for (size_t i = 0; i < PLACES; i++) {
        const struct place *place = &scratch->at[i];
        if (place->mapped > image->at[i].capacity) {
            if (image->at[i].bytes)
                munmap(image->at[i].bytes, image->at[i].capacity);
            image->at[i].capacity = 2 * place->mapped;
            image->at[i].bytes =
                mmap(NULL, image->at[i].capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
            if (image->at[i].bytes == MAP_FAILED)
                fail("mmap");
        }
        image->at[i].len = place->mapped;
        if (place->mapped > 0)
            memcpy(image->at[i].bytes, place->map, place->mapped);
    }
}

void image_free(struct image *image) {
    for (size_t i = 0; i < PLACES; i++)
        if (image->at[i].bytes)
            munmap(image->at[i].bytes, image->at[i].capacity);
    memset(image, 0, sizeof *image);
}

static void restore(const uint8_t *bytes, size_t len, struct place *place, const char *name) {
    if (len == 0) {
        shm_unlink(name);
        let_go(place);
        return;
    }
    look(place, name);
    if (place->fd < 0) {
        int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
        if (fd < 0)
            fail("shm_open");
        close(fd);
        look(place, name);
    }
    if (place->mapped != len) {
        /* Shortened and filled again: nobody but this process has it mapped between two kills. */
        if (ftruncate(place->fd, 0) != 0 || posix_fallocate(place->fd, 0, (off_t)len) != 0)
            fail("ftruncate");
        look(place, name);
    }
    for (size_t at = 0; at < len; at += SCRATCH_PAGE) {
        size_t piece = len - at < SCRATCH_PAGE ? len - at : SCRATCH_PAGE;
        if (memcmp(place->map + at, bytes + at, piece) != 0)
            memcpy(place->map + at, bytes + at, piece);
    }
}

void image_restore(const struct image *image, struct scratch *scratch) {
    for (size_t i = 0; i < PLACES; i++)
        restore(image->at[i].bytes, image->at[i].len, &scratch->at[i], scratch->name[i]);
}

/* Where locks and owner words stand; elsewhere a number may be anything. */
static bool is_in_lock(size_t offset) {
    if (offset < PAGE_BYTES)
        return (offset >= offsetof(struct control, control_lock) &&
                offset < offsetof(struct control, control_lock) + LOCK_BYTES) ||
               (offset >= offsetof(struct control, arena_lock) &&
                offset < offsetof(struct control, arena_lock) + LOCK_BYTES);
    return offset >= STRIPES_OFFSET && offset < STRIPES_OFFSET + STRIPES_MAX * sizeof(struct stripe) &&
           (offset - STRIPES_OFFSET) % sizeof(struct stripe) < LOCK_BYTES;
}

static bool is_owner_word(size_t offset) {
    size_t in_record = offset % sizeof(struct owner_record);
    if (offset < RECORDS_OFFSET)
        return offset == offsetof(struct control, owner);
    return offset < STRIPES_OFFSET &&
           (in_record == offsetof(struct owner_record, heir) || in_record == offsetof(struct owner_record, from));
}

/* What the word would be if processes had no numbers. A lock holds the number of its holder, which is also a thread's,
 * in the low half of a word; an owner word holds it from bit 42 on, start time and all, down to the number of its
 * record. */
static uint64_t without_numbers(uint64_t value, size_t offset, const struct cast *cast) {
    for (uint64_t i = 0; i < 2; i++) {
        uint64_t pid = (uint64_t)cast->at[i].pid,
                 identity = pid << OWNER_PID_SHIFT | cast->at[i].start << OWNER_START_SHIFT;
        if (pid != 0 && (uint32_t)value == pid && is_in_lock(offset))
            return (value & ~(uint64_t)UINT32_MAX) | (0xfffffff0u + i);
        if (pid != 0 && (value & ~(uint64_t)(RECORDS - 1)) == identity && is_owner_word(offset))
            return (value & (RECORDS - 1)) | UINT64_C(0xfffffffffffff0) << 8 | (i + 1) << 4;
    }
    return value;
}

uint64_t scratch_word(const struct scratch *scratch, size_t place, size_t offset, const struct cast *cast) {
    uint64_t value;
    memcpy(&value, scratch->at[place].map + offset, sizeof value);
    return without_numbers(value, offset, cast);
}

uint64_t page_digest(const struct scratch *scratch, size_t place, size_t page, const struct cast *cast) {
    uint64_t lanes[4] = {1, 2, 3, 4};
    const struct place *at = &scratch->at[place];
    size_t begin = page * SCRATCH_PAGE, end = begin + SCRATCH_PAGE < at->mapped ? begin + SCRATCH_PAGE : at->mapped;
    const uint64_t *words = (const uint64_t *)(const void *)(at->map + begin);
    for (size_t i = 0; i + 4 <= (end - begin) / 8; i += 4)
        for (size_t lane = 0; lane < 4; lane++) {
            lanes[lane] = (lanes[lane] ^ without_numbers(words[i + lane], begin + 8 * (i + lane), cast)) *
                          UINT64_C(0x9fb21c651e98df25);
            lanes[lane] ^= lanes[lane] >> 29;
        }
    uint64_t digest = place * UINT64_C(0x9e3779b97f4a7c15) + page + 1;
    for (size_t lane = 0; lane < 4; lane++)
        digest = (digest ^ lanes[lane]) * UINT64_C(0xff51afd7ed558ccd) + (digest >> 31);
    return digest;
}

uint64_t scratch_digest(struct scratch *scratch, const struct cast *cast) {
    uint64_t sum = 0;
    scratch_look(scratch);
    for (size_t place = 0; place < PLACES; place++)
        for (size_t page = 0; page * SCRATCH_PAGE < scratch->at[place].mapped; page++)
            sum += page_digest(scratch, place, page, cast);
    return sum;
}

bool scratch_is_alone(const struct scratch *scratch, char *found, size_t size) {
    const char *prefix = scratch->prefix + 1;
    bool alone = true;
    DIR *directory = opendir("/dev/shm");
    if (!directory)
        fail("/dev/shm");
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0 && strcmp(entry->d_name, scratch->segment + 1) != 0 &&
            strcmp(entry->d_name, scratch->other + 1) != 0) {
            snprintf(found, size, "%s", entry->d_name);
            alone = false;
        }
    closedir(directory);
    return alone;
}

/* Shared memory, because fork does not copy its page tables: they would be most of what a child costs. */
static uint64_t *slots_new(size_t capacity) {
    void *slots = mmap(NULL, capacity * sizeof(uint64_t), PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (slots == MAP_FAILED)
        fail("mmap");
    return slots;
}

static void slots_free(struct digests *digests) {
    if (digests->slots)
        munmap(digests->slots, digests->capacity * sizeof *digests->slots);
}

static size_t digest_slot(const struct digests *digests, uint64_t digest) {
    size_t at = (size_t)(digest >> 7) & (digests->capacity - 1);
    while (digests->slots[at] && digests->slots[at] != digest)
        at = (at + 1) & (digests->capacity - 1);
    return at;
}

bool digests_has(const struct digests *digests, uint64_t digest) {
    digest = digest ? digest : 1;
    return digests->capacity && digests->slots[digest_slot(digests, digest)] == digest;
}

bool digests_add(struct digests *digests, uint64_t digest) {
    digest = digest ? digest : 1;
    if (2 * (digests->count + 1) > digests->capacity) {
        struct digests bigger = {NULL, digests->capacity ? 2 * digests->capacity : 1024, digests->count};
        bigger.slots = slots_new(bigger.capacity);
        for (size_t i = 0; i < digests->capacity; i++)
            if (digests->slots[i])
                bigger.slots[digest_slot(&bigger, digests->slots[i])] = digests->slots[i];
        slots_free(digests);
        *digests = bigger;
    }
    size_t at = digest_slot(digests, digest);
    if (digests->slots[at] == digest)
        return false;
    digests->slots[at] = digest;
    digests->count++;
    return true;
}

void digests_merge(struct digests *digests, const struct digests *from) {
    for (size_t i = 0; i < from->capacity; i++)
        if (from->slots[i])
            digests_add(digests, from->slots[i]);
}

void digests_free(struct digests *digests) {
    slots_free(digests);
    memset(digests, 0, sizeof *digests);
}
