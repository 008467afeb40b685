/* SPDX-License-Identifier: Apache-2.0 */
#include "os.h"
#include "layout.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SHM_DIRECTORY "/dev/shm"
#define RESERVE_PIECE (UINT64_C(2) << 20) /* kernels before 5.17 undo a fallocate that a signal interrupts */
#define GRANT_BYTES   (UINT64_C(8) << 20) /* asked for ahead */
#define GRANT_NS      UINT64_C(100000000)
#define MEMORY_MARGIN (UINT64_C(4) << 20) /* kept free below a memory limit: the charge would summon the OOM killer */

/* -- segments --------------------------------------------------------------------------------------------------------- */

static bool segment_path(const char *segment, char *path, size_t capacity) {
    if (segment[0] != '/' || segment[1] == 0 || strchr(segment + 1, '/') != NULL)
        return false;
    return snprintf(path, capacity, SHM_DIRECTORY "%s", segment) < (int)capacity;
}

int os_segment_new(int *fd, uint32_t mode) {
    *fd = open(SHM_DIRECTORY, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (*fd < 0)
        return errno;
    if (fchmod(*fd, mode & 0777) == 0)
        return 0;
    int error = errno;
    close(*fd);
    return error;
}

int os_segment_publish(int fd, const char *segment) {
    char path[PATH_MAX], self[64];
    if (!segment_path(segment, path, sizeof path))
        return EINVAL;
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0 ? 0 : errno;
}

int os_segment_open(const char *segment, bool write, int *fd) {
    char path[PATH_MAX];
    if (!segment_path(segment, path, sizeof path))
        return EINVAL;
    *fd = open(path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    return *fd >= 0 ? 0 : errno;
}

bool os_segment_read(int fd, uint64_t offset, void *to, size_t len) {
    return pread(fd, to, len, (off_t)offset) == (ssize_t)len;
}

int os_segment_unlink(const char *segment) {
    char path[PATH_MAX];
    if (!segment_path(segment, path, sizeof path))
        return EINVAL;
    return unlink(path) == 0 ? 0 : errno;
}

int os_segment_rename(const char *from, const char *to) {
    char old_path[PATH_MAX], new_path[PATH_MAX];
    if (!segment_path(from, old_path, sizeof old_path) || !segment_path(to, new_path, sizeof new_path))
        return EINVAL;
    return renameat2(AT_FDCWD, old_path, AT_FDCWD, new_path, RENAME_NOREPLACE) == 0 ? 0 : errno;
}

bool os_segment_name(int fd, char *segment, size_t capacity) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    path[len > 0 ? len : 0] = 0;
    static const char gone[] = " (deleted)"; /* says the kernel of a name that was taken away */
    size_t kept = strlen(path) > sizeof gone - 1 ? strlen(path) - (sizeof gone - 1) : 0;
    if (strcmp(path + kept, gone) == 0)
        path[kept] = 0;
    const char *name = strrchr(path, '/'); /* the directory may go by another name, through a symbolic link */
    if (name == NULL || strlen(name) >= capacity)
        return false;
    memcpy(segment, name, strlen(name) + 1);
    return true;
}

bool os_segment_is(const char *segment, int fd) {
    char path[PATH_MAX];
    struct stat named, open_file;
    return segment_path(segment, path, sizeof path) && lstat(path, &named) == 0 && fstat(fd, &open_file) == 0 &&
           named.st_ino == open_file.st_ino && named.st_dev == open_file.st_dev;
}

int os_segment_stat(int fd, struct os_file *file) {
    struct stat found;
    if (fstat(fd, &found) != 0)
        return errno;
    if (!S_ISREG(found.st_mode))
        return EINVAL;
    *file = (struct os_file){.bytes = (uint64_t)found.st_size,
                             .reserved = (uint64_t)found.st_blocks * 512,
                             .mode = found.st_mode & 0777,
                             .uid = found.st_uid,
                             .trusted = found.st_uid == geteuid() || found.st_uid == 0,
                             .linked = found.st_nlink > 0,
                             .gid = found.st_gid};
    return 0;
}

/* Not told by the device of a segment, which may differ from its directory's (overlay file systems). */
uint64_t os_segments_place(void) {
    struct stat found;
    return stat(SHM_DIRECTORY, &found) == 0 ? (uint64_t)found.st_dev << 40 ^ (uint64_t)found.st_ino : 0;
}

int os_segment_give(int fd, uint32_t uid, uint32_t gid) {
    struct stat is;
    if (fstat(fd, &is) == 0 && is.st_uid == uid && is.st_gid == gid)
        return 0;
    return fchown(fd, uid, gid) == 0 && fchmod(fd, is.st_mode & 0777) == 0 ? 0 : errno;
}

int os_segment_lock(int fd, int64_t wait_ns) {
    uint64_t until = os_monotonic_ns() + (uint64_t)(wait_ns > 0 ? wait_ns : 0);
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return errno;
        if (os_monotonic_ns() >= until)
            return EAGAIN;
        struct timespec pause = {.tv_sec = 0, .tv_nsec = 200000};
        nanosleep(&pause, NULL);
    }
    return 0;
}

void os_segment_unlock(int fd) {
    flock(fd, LOCK_UN); /* a child forked meanwhile holds the same lock through its copy of the descriptor */
    close(fd);
}

/* -- memory limits: best effort, for the kernel would kill us instead of refusing ------------------------------------ */

static bool read_number(const char *directory, const char *file, uint64_t *value) {
    char path[PATH_MAX], text[64];
    if (snprintf(path, sizeof path, "%s/%s", directory, file) >= (int)sizeof path)
        return false;
    if (os_read_file(path, text, sizeof text) <= 0 || text[0] < '0' || text[0] > '9')
        return false;
    *value = strtoull(text, NULL, 10);
    return true;
}

/* File pages count as used, though the kernel gives them up before it kills anybody. */
static uint64_t reclaimable(const char *directory) {
    char path[PATH_MAX], text[8192];
    if (snprintf(path, sizeof path, "%s/memory.stat", directory) >= (int)sizeof path ||
        os_read_file(path, text, sizeof text) <= 0)
        return 0;
    uint64_t sum = 0;
    const char *const names[] = {"\ninactive_file ", "\nactive_file "};
    for (size_t i = 0; i < 2; i++) {
        const char *at = strstr(text, names[i]);
        if (at != NULL)
            sum += strtoull(at + strlen(names[i]), NULL, 10);
    }
    return sum;
}

static bool directory_bears(const char *directory, bool v2, uint64_t bytes) {
    uint64_t limit, used;
    if (!read_number(directory, v2 ? "memory.max" : "memory.limit_in_bytes", &limit) ||
        !read_number(directory, v2 ? "memory.current" : "memory.usage_in_bytes", &used))
        return true;
    if (used + bytes + MEMORY_MARGIN <= limit)
        return true;
    uint64_t cache = reclaimable(directory);
    return (cache < used ? used - cache : 0) + bytes + MEMORY_MARGIN <= limit;
}

static bool memory_limit_bears(uint64_t bytes) {
    char groups[4096], directory[PATH_MAX];
    if (os_read_file("/proc/self/cgroup", groups, sizeof groups) <= 0)
        return true;
    for (char *rest = groups, *line; (line = strsep(&rest, "\n")) != NULL;) {
        char *controllers = strchr(line, ':');
        char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (group == NULL)
            continue;
        *group++ = 0;
        bool v2 = controllers[1] == 0;
        if (!v2 && strcmp(controllers + 1, "memory") != 0)
            continue;
        const char *root = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
        for (;;) { /* this group and every ancestor */
            size_t len = strlen(group);
            if (snprintf(directory, sizeof directory, "%s%s", root, len > 1 ? group : "") >= (int)sizeof directory)
                return true;
            if (!directory_bears(directory, v2, bytes))
                return false;
            char *slash = strrchr(group, '/');
            if (slash == NULL || len <= 1)
                break;
            slash[slash == group ? 1 : 0] = 0;
        }
    }
    return true;
}

/* What the limits were found to bear, in bytes that this process has not reserved yet, and when that was: asking takes ten
 * times as long as reserving a small piece. So it is asked for more than is needed, and believed for a moment. If
 * they do not bear that much, each piece is asked for by itself. Threads may take from it twice over: it is best effort. */
static bool limits_bear(uint64_t bytes) {
    static word granted, asked_ns;
    uint64_t left = load_relaxed(&granted), now = os_monotonic_ns();
    if (left >= bytes && now - load_relaxed(&asked_ns) < GRANT_NS) {
        store_relaxed(&granted, left - bytes);
        return true;
    }
    store_relaxed(&granted, 0);
    if (memory_limit_bears(bytes + GRANT_BYTES)) {
        store_relaxed(&asked_ns, now);
        store_relaxed(&granted, GRANT_BYTES);
        return true;
    }
    return memory_limit_bears(bytes);
}

/* fallocate and not its emulating wrapper, and never a bare ftruncate: the first touch of a tmpfs hole on a full file
 * system is a SIGBUS. A kill leaves the size as it was, or grown with all its pages. */
int os_segment_reserve(int fd, uint64_t from, uint64_t to) {
    if (!limits_bear(to - from))
        return ENOSPC;
    while (from < to) {
        uint64_t piece = to - from < RESERVE_PIECE ? to - from : RESERVE_PIECE;
        if (fallocate(fd, 0, (off_t)from, (off_t)piece) != 0) {
            if (errno == EINTR)
                continue;
            return errno == EFBIG || errno == EDQUOT || errno == ENOMEM ? ENOSPC : errno;
        }
        from += piece;
    }
    return 0;
}

uint64_t os_segment_limit(int fd) {
    struct statvfs system;
    uint64_t bytes = 0;
    if (fstatvfs(fd, &system) == 0)
        bytes = (uint64_t)system.f_blocks * system.f_frsize;
    if (bytes == 0) /* a tmpfs without a limit */
        bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * PAGE_BYTES;
    return bytes & ~(uint64_t)(PAGE_BYTES - 1);
}

/* -- mapping ----------------------------------------------------------------------------------------------------------- */

int os_map(int fd, bool write, uint64_t least, uint64_t window, uint8_t **base, uint64_t *mapped) {
    int protection = PROT_READ | (write ? PROT_WRITE : 0);
    for (;;) {
        void *at = mmap(NULL, window, protection, MAP_SHARED | MAP_NORESERVE, fd, 0);
        if (at != MAP_FAILED) {
            madvise(at, window, MADV_DONTDUMP); /* a dropped segment would be written into core files whole */
            *base = at;
            *mapped = window;
            return 0;
        }
        if (errno != ENOMEM || window <= least)
            return errno;
        window = window / 2 > least ? (window / 2) & ~(uint64_t)(PAGE_BYTES - 1) : least;
    }
}

int os_map_more(uint64_t least, uint64_t window, uint8_t **base, uint64_t *mapped) {
    for (;;) {
        void *at = mremap(*base, *mapped, window, MREMAP_MAYMOVE);
        if (at != MAP_FAILED) {
            *base = at;
            *mapped = window;
            return 0;
        }
        if (errno != ENOMEM || window <= least)
            return errno;
        window = window / 2 > least ? (window / 2) & ~(uint64_t)(PAGE_BYTES - 1) : least;
    }
}

int os_protect(uint8_t *base, uint64_t mapped, bool write) {
    return mprotect(base, mapped, PROT_READ | (write ? PROT_WRITE : 0)) == 0 ? 0 : errno;
}

void os_unmap(uint8_t *base, uint64_t mapped) { munmap(base, mapped); }
void os_close(int fd) { close(fd); }

/* -- clocks, chance ------------------------------------------------------------------------------------------------------ */

static uint64_t clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t os_now_ns(void) { return clock_ns(CLOCK_REALTIME); }
uint64_t os_monotonic_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
uint64_t os_tick(void) { return clock_ns(CLOCK_MONOTONIC_COARSE); }
void os_yield(void) { sched_yield(); }

void os_random(void *at, size_t len) {
    uint8_t *bytes = at;
    while (len > 0) {
        ssize_t got = getrandom(bytes, len, 0);
        if (got > 0) {
            bytes += got;
            len -= (size_t)got;
        }
    }
}
