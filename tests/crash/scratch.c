/* SPDX-License-Identifier: Apache-2.0 */
/* scratch.c - see scratch.h. */
#include "scratch.h"

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

enum { COMPARE_BYTES = 4096 };

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
    snprintf(scratch->prefix, sizeof scratch->prefix, "/tablemgr-crash.%d.", (int)getpid());
    snprintf(scratch->segment, sizeof scratch->segment, "%s%s", scratch->prefix, label);
    snprintf(scratch->other, sizeof scratch->other, "%sother", scratch->prefix);
    scratch->fd = -1;
    scratch->map = NULL;
    scratch->mapped = 0;
    last_named = *scratch;
    if (namer == 0)
        atexit(remove_named);
    namer = getpid();
}

static void let_go(struct scratch *scratch) {
    if (scratch->map)
        munmap(scratch->map, scratch->mapped);
    if (scratch->fd >= 0)
        close(scratch->fd);
    scratch->fd = -1;
    scratch->map = NULL;
    scratch->mapped = 0;
}

void scratch_remove(struct scratch *scratch) {
    let_go(scratch);
    shm_unlink(scratch->segment);
    shm_unlink(scratch->other);
}

/* The mapping covers the file under the name, whichever and however long that is now. False: there is none. */
static bool look(struct scratch *scratch) {
    char path[128];
    struct stat named, open_file;
    snprintf(path, sizeof path, "/dev/shm%s", scratch->segment);
    if (stat(path, &named) != 0)
        return false;
    if (scratch->fd >= 0 && (fstat(scratch->fd, &open_file) != 0 || open_file.st_ino != named.st_ino))
        let_go(scratch);
    if (scratch->fd < 0 && (scratch->fd = open(path, O_RDWR | O_CLOEXEC)) < 0)
        fail(path);
    if (scratch->map && scratch->mapped != (size_t)named.st_size) {
        munmap(scratch->map, scratch->mapped);
        scratch->map = NULL;
    }
    scratch->mapped = (size_t)named.st_size;
    if (!scratch->map && scratch->mapped > 0) {
        scratch->map = mmap(NULL, scratch->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, scratch->fd, 0);
        if (scratch->map == MAP_FAILED)
            fail("mmap");
    }
    return true;
}

void image_save(struct image *image, struct scratch *scratch) {
    if (!look(scratch)) {
        image->len = 0;
        return;
    }
    if (scratch->mapped > image->capacity) {
        image_free(image);
        image->capacity = 2 * scratch->mapped;
        image->bytes = mmap(NULL, image->capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (image->bytes == MAP_FAILED)
            fail("mmap");
    }
    image->len = scratch->mapped;
    memcpy(image->bytes, scratch->map, image->len);
}

void image_free(struct image *image) {
    if (image->bytes)
        munmap(image->bytes, image->capacity);
    memset(image, 0, sizeof *image);
}

void image_restore(const struct image *image, struct scratch *scratch) {
    shm_unlink(scratch->other);
    if (image->len == 0) {
        shm_unlink(scratch->segment);
        let_go(scratch);
        return;
    }
    if (!look(scratch)) {
        let_go(scratch);
        int fd = shm_open(scratch->segment, O_RDWR | O_CREAT | O_EXCL, 0600);
        if (fd < 0)
            fail("shm_open");
        close(fd);
        look(scratch);
    }
    if (scratch->mapped != image->len) {
        /* Shortened and filled again: nobody but this process has it mapped between two kills. */
        if (ftruncate(scratch->fd, 0) != 0 || ftruncate(scratch->fd, (off_t)image->len) != 0)
            fail("ftruncate");
        look(scratch);
    }
    for (size_t at = 0; at < image->len; at += COMPARE_BYTES) {
        size_t len = image->len - at < COMPARE_BYTES ? image->len - at : COMPARE_BYTES;
        if (memcmp(scratch->map + at, image->bytes + at, len) != 0)
            memcpy(scratch->map + at, image->bytes + at, len);
    }
}

uint64_t scratch_digest(struct scratch *scratch, pid_t thread) {
    if (!look(scratch))
        return 0;
    uint64_t lanes[4] = {1, 2, 3, 4};
    const uint64_t *words = (const uint64_t *)(const void *)scratch->map;
    size_t n = scratch->mapped / 8;
    for (size_t i = 0; i + 4 <= n; i += 4)
        for (size_t lane = 0; lane < 4; lane++) {
            uint64_t value = words[i + lane];
            if ((uint32_t)value == (uint32_t)thread)
                value &= ~(uint64_t)UINT32_MAX;
            lanes[lane] = (lanes[lane] ^ value) * 0x9fb21c651e98df25ULL;
            lanes[lane] ^= lanes[lane] >> 29;
        }
    uint64_t digest = scratch->mapped;
    for (size_t lane = 0; lane < 4; lane++)
        digest = (digest ^ lanes[lane]) * 0xff51afd7ed558ccdULL + (digest >> 31);
    return digest | 1;
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

static size_t digest_slot(const struct digests *digests, uint64_t digest) {
    size_t at = (size_t)(digest >> 7) & (digests->capacity - 1);
    while (digests->slots[at] && digests->slots[at] != digest)
        at = (at + 1) & (digests->capacity - 1);
    return at;
}

bool digests_add(struct digests *digests, uint64_t digest) {
    if (2 * (digests->count + 1) > digests->capacity) {
        struct digests bigger = {NULL, digests->capacity ? 2 * digests->capacity : 1024, digests->count};
        bigger.slots = calloc(bigger.capacity, sizeof *bigger.slots);
        if (!bigger.slots)
            fail("calloc");
        for (size_t i = 0; i < digests->capacity; i++)
            if (digests->slots[i])
                bigger.slots[digest_slot(&bigger, digests->slots[i])] = digests->slots[i];
        free(digests->slots);
        *digests = bigger;
    }
    size_t at = digest_slot(digests, digest);
    if (digests->slots[at] == digest)
        return false;
    digests->slots[at] = digest;
    digests->count++;
    return true;
}

void digests_free(struct digests *digests) {
    free(digests->slots);
    memset(digests, 0, sizeof *digests);
}
