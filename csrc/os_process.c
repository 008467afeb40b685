/* SPDX-License-Identifier: Apache-2.0 */
#include "os_process.h"
#include "layout.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* -- who this is, and who lives ------------------------------------------------------------------------------------------------ */

static uint64_t namespace_inode(const char *path) {
    struct stat found;
    return stat(path, &found) == 0 ? (uint64_t)found.st_ino : 0;
}

ssize_t os_read_file(const char *path, char *text, size_t capacity) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    size_t len = 0;
    while (len + 1 < capacity) {
        ssize_t got = read(fd, text + len, capacity - 1 - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        len += (size_t)got;
    }
    close(fd);
    text[len] = 0;
    return (ssize_t)len;
}

/* What /proc says of a process or of one of its threads. */
struct stat_line {
    uint64_t start;     /* clock ticks since boot */
    uint64_t n_threads; /* of the process: those that have ended count until they are gone, the first one to the last */
    int exit;           /* what waitpid would tell of an ending one, or 0 to those who may not know */
    bool is_ending; /* it executes no instruction of the program any more: PF_EXITING of linux/sched.h, see proc(5) */
};

static bool read_stat(const char *path, struct stat_line *found) {
    enum { FLAGS = 9, N_THREADS = 20, START = 22, EXIT = 52, EXITING = 4 };
    char text[2048];
    if (os_read_file(path, text, sizeof text) <= 0)
        return false;
    uint64_t fields[EXIT + 1] = {0};
    const char *at = strrchr(text, ')'); /* the command's name may hold blanks and parentheses */
    for (int field = 3; at != NULL && field <= EXIT; field++) {
        at = strchr(at + 1, ' ');
        if (at != NULL && (field == FLAGS || field == N_THREADS || field == START || field == EXIT))
            fields[field] = strtoull(at + 1, NULL, 10);
    }
    *found = (struct stat_line){.start = fields[START],
                                .n_threads = fields[N_THREADS],
                                .exit = (int)fields[EXIT],
                                .is_ending = (fields[FLAGS] & EXITING) != 0};
    return fields[START] != 0;
}

static bool process_stat(uint32_t pid, struct stat_line *found) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%u/stat", pid);
    return read_stat(path, found);
}

uint64_t os_process_start(uint32_t pid) {
    struct stat_line found;
    return process_stat(pid, &found) ? found.start : 0;
}

/* The threads that /proc lists and that are still there: how many, and the sum of their numbers. False: one of them is not
 * ending, or they cannot be listed. */
static bool threads_end(uint32_t pid, uint64_t *n, uint64_t *sum) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "/proc/%u/task", pid);
    DIR *directory = opendir(path);
    bool all_end = directory != NULL;
    *n = *sum = 0;
    for (struct dirent *entry; all_end && (entry = readdir(directory)) != NULL;) {
        struct stat_line thread;
        snprintf(path, sizeof path, "/proc/%u/task/%s/stat", pid, entry->d_name);
        if (entry->d_name[0] == '.' || !read_stat(path, &thread))
            continue;
        all_end = thread.is_ending;
        *n += 1;
        *sum += strtoull(entry->d_name, NULL, 10);
    }
    if (directory != NULL)
        closedir(directory);
    return all_end;
}

/* Whether all threads of a process whose first one is ending are ending. A list may lack threads, where others go while it
 * is read. But those that two lists hold were there when they were counted in between; if these were all, and all
 * ending, there was nobody left to start another one. Where another thread calls exec it becomes the first one. While threads
 * go they are counted again: who was told once that it is dead is not to hear that it lives. */
static bool is_ending(uint32_t pid) {
    enum { COUNTS = 1000 };
    struct stat_line between;
    uint64_t n, sum, n_again, sum_again;
    for (int i = 0; i < COUNTS; i++) {
        if (!process_stat(pid, &between) || !between.is_ending)
            return false;
        if (between.n_threads == 1) /* it was ending before they were counted, if it still is the same */
            return true;
        if (!threads_end(pid, &n, &sum) || !process_stat(pid, &between) || !between.is_ending ||
            !threads_end(pid, &n_again, &sum_again))
            return false;
        if (between.n_threads == n && n_again == n && sum_again == sum)
            return true;
    }
    return false;
}

/* -1: none to be had; then dead says whether that is because there is no such process. */
static int open_pidfd(uint32_t pid, bool *dead) {
    int fd = pid != 0 ? (int)syscall(SYS_pidfd_open, (pid_t)pid, 0) : -1;
    /* ENOENT: the number of a thread, not of a process */
    *dead = fd < 0 && (pid == 0 || errno == ESRCH || errno == EINVAL || errno == ENOENT);
    return fd;
}

/* Asked twice: the kernel may say so once of a process that lives, while a thread of it that called exec becomes the first
 * one (seen on Linux 6.18). A signal may interrupt even this: that says nothing about the process. */
static bool has_ended(int pidfd) {
    struct pollfd ended = {.fd = pidfd, .events = POLLIN, .revents = 0};
    return poll(&ended, 1, 0) > 0 && poll(&ended, 1, 0) > 0;
}

/* Of a process whose pidfd was opened before, so that the stat read is this very process's, or it has ended since. */
static bool is_dead(uint32_t pid, uint64_t start, int pidfd) {
    struct stat_line now;
    if (has_ended(pidfd))
        return true;
    if (process_stat(pid, &now)) {
        if (start != 0 && now.start != start)
            return true;
        if (!now.is_ending)
            return false;
        if (is_ending(pid))
            return true;
    }
    return has_ended(pidfd); /* the last of it may have gone meanwhile, so that there was nothing to read */
}

bool os_process_alive(uint32_t pid, uint64_t start) {
    bool dead;
    int fd = open_pidfd(pid, &dead);
    if (fd < 0)
        return !dead;
    dead = is_dead(pid, start, fd);
    close(fd);
    return !dead;
}

uint64_t os_process_start_alive(uint32_t pid) {
    bool dead;
    int fd = open_pidfd(pid, &dead);
    uint64_t start = dead ? 0 : os_process_start(pid);
    if (fd >= 0) {
        dead = is_dead(pid, start, fd); /* asked after reading: if not, what was read is of this very process */
        close(fd);
    }
    return dead ? 0 : start;
}

bool os_process_end(uint32_t pid, uint64_t start, int *status) {
    char path[64], user_namespace[64];
    struct stat_line found;
    snprintf(path, sizeof path, "/proc/%u/ns/user", pid);
    bool is_told = readlink(path, user_namespace, sizeof user_namespace) > 0; /* who may read it, is told the status */
    if (!process_stat(pid, &found) || found.start != start || !found.is_ending || !is_ending(pid))
        return false;
    *status = found.exit;
    return found.exit != 0 || is_told;
}

/* One page that fork wipes in the child, so that no call needs getpid. Filled by any thread, always with the same values;
 * identity last, because it says that the rest is there. NULL: no memory. */
_Atomic(struct os_self *) os_self_page;

static struct os_self *self_page(void) {
    struct os_self *self = atomic_load_explicit(&os_self_page, memory_order_acquire);
    if (self != NULL)
        return self;
    void *fresh = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fresh == MAP_FAILED)
        return NULL;
    madvise(fresh, PAGE_BYTES, MADV_WIPEONFORK);
    if (atomic_compare_exchange_strong(&os_self_page, &self, fresh))
        return fresh;
    munmap(fresh, PAGE_BYTES);
    return self;
}

const struct os_self *os_self_find(void) {
    static _Thread_local struct os_self not_kept;
    struct os_self *self = self_page();
    bool is_kept = self != NULL;
    self = is_kept ? self : &not_kept;
    if (is_kept && load_acquire(&self->identity) != 0)
        return self;
    struct stat_line found;
    uint32_t pid = (uint32_t)getpid();
    /* Not by the pid: /proc may still be that of another pid namespace, where the number is another process's. */
    uint64_t start = read_stat("/proc/self/stat", &found) ? found.start : 0;
    store_relaxed(&self->pid, pid);
    store_relaxed(&self->start, start);
    store_relaxed(&self->pid_namespace, namespace_inode("/proc/self/ns/pid"));
    store_relaxed(&self->time_namespace, namespace_inode("/proc/self/ns/time"));
    if (start != 0) /* else it could not be read just now, and is asked for again */
        publish(&self->identity, (uint64_t)pid << OWNER_PID_SHIFT | start << OWNER_START_SHIFT);
    return self;
}

bool os_robust_locks_work(void) {
    void *head = NULL;
    size_t len = 0;
    return syscall(SYS_get_robust_list, 0, &head, &len) == 0 && head != NULL;
}

/* -- lifelines ----------------------------------------------------------------------------------------------------------- */

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U /* Linux 6.3 */
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 16 /* Linux 5.1 */
#endif
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449 /* Linux 5.16 */
#endif

static int page_new(int fd, uint8_t **page, struct os_page_id *id) {
    struct stat file;
    if (ftruncate(fd, PAGE_BYTES) != 0 || fstat(fd, &file) != 0)
        return errno;
    /* Who maps it is not to lose the page under its feet; that nobody else writes to it is as well, and no more. */
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
        return errno;
    void *at = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return errno;
    fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE);
    *page = at;
    *id = (struct os_page_id){file.st_dev, file.st_ino};
    return 0;
}

int os_page_new(int *fd, uint8_t **page, struct os_page_id *id) {
    const char *name = "tablemgr-lifeline"; /* for people who read /proc/PID/maps */
    *page = NULL;
    *fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (*fd < 0 && errno == EINVAL)
        *fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (*fd < 0)
        return errno;
    int error = page_new(*fd, page, id);
    if (error != 0) {
        close(*fd);
        *fd = -1;
    }
    return error;
}

bool os_page_is(int fd, const struct os_page_id *id) {
    struct stat file;
    return fstat(fd, &file) == 0 && file.st_dev == id->device && file.st_ino == id->inode;
}

int os_page_map(int fd, const uint8_t **page) {
    struct stat file;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || fstat(fd, &file) != 0 || file.st_size != PAGE_BYTES)
        return EINVAL;
    void *at = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return errno;
    *page = at;
    return 0;
}

void os_page_unmap(const uint8_t *page) { munmap((void *)(uintptr_t)page, PAGE_BYTES); }

int os_sleep(const half_word *const words[], const uint32_t values[], size_t n, size_t *woken) {
    struct { /* futex_waitv of linux/futex.h since 5.16 */
        uint64_t value, address;
        uint32_t flags, reserved;
    } sleeps[OS_SLEEP_MAX];
    enum { SIZE_U32 = 2 };
    for (size_t i = 0; i < n; i++) {
        sleeps[i].value = values[i];
        sleeps[i].address = (uintptr_t)words[i];
        sleeps[i].flags = SIZE_U32;
        sleeps[i].reserved = 0;
    }
    long number = syscall(SYS_futex_waitv, sleeps, (unsigned)n, 0, NULL, 0);
    *woken = number >= 0 ? (size_t)number : n;
    return number >= 0 || errno == EAGAIN || errno == EINTR ? 0 : errno;
}

void os_wake(half_word *at) { syscall(SYS_futex, at, FUTEX_WAKE, 1, NULL, NULL, 0); }
