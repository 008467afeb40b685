/* SPDX-License-Identifier: Apache-2.0 */
/* os.h - the only door to the system, together with os_process.h. Functions return 0 or an errno unless they say otherwise;
 * none retries for ever. */
#ifndef TMGR_OS_H
#define TMGR_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "os_process.h"

int os_segment_new(int *fd, uint32_t mode);          /* nameless, empty */
int os_segment_publish(int fd, const char *segment); /* EEXIST */
int os_segment_open(const char *segment, bool write, int *fd);
/* Copy bytes out of it without mapping it; false if it is shorter. */
bool os_segment_read(int fd, uint64_t offset, void *to, size_t len);
int os_segment_unlink(const char *segment);
int os_segment_rename(const char *from, const char *to);      /* EEXIST, ENOENT */
bool os_segment_name(int fd, char *segment, size_t capacity); /* what it was last called, removed or not */
bool os_segment_is(const char *segment, int fd);              /* does the name lead to this very segment? */
/* A number for the directory of all names, 0 if there is none. Another one where another is mounted over it. */
uint64_t os_segments_place(void);
struct os_file {
    uint64_t bytes, reserved;
    uint32_t mode, uid;
    bool trusted; /* it belongs to this user or to root: nobody else can have made it what it is */
    bool linked;  /* some name leads to it */
    uint32_t gid;
};
int os_segment_stat(int fd, struct os_file *file);
int os_segment_give(int fd, uint32_t uid, uint32_t gid); /* to be this user's and this group's */
int os_segment_lock(int fd, int64_t wait_ns);            /* flock. EAGAIN */
void os_segment_unlock(int fd);                          /* and close */
/* Backs [from, to) with memory, all or nothing. ENOSPC when the file system or the memory limit would not bear it. */
int os_segment_reserve(int fd, uint64_t from, uint64_t to);
uint64_t os_segment_limit(int fd); /* what the file system could hold at most */

/* Maps up to `window` bytes of address space over the segment, at least `least`; halves it where the system refuses. */
int os_map(int fd, bool write, uint64_t least, uint64_t window, uint8_t **base, uint64_t *mapped);
/* The mapping enlarged to `window` bytes, at least `least`; it may move. */
int os_map_more(uint64_t least, uint64_t window, uint8_t **base, uint64_t *mapped);
int os_protect(uint8_t *base, uint64_t mapped, bool write);
void os_unmap(uint8_t *base, uint64_t mapped);
void os_close(int fd);

uint64_t os_now_ns(void); /* since the epoch */
uint64_t os_monotonic_ns(void);
uint64_t os_tick(void); /* a coarse monotonic clock, cheap enough for every call; changes every few ms */
void os_random(void *at, size_t len);
void os_yield(void);

#endif
