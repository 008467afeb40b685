/* SPDX-License-Identifier: Apache-2.0 */
/* lifeline.c - early word of a death.
 *
 * A pidfd tells of the end of a process when the kernel has taken down its memory: that is milliseconds after the last
 * instruction. The robust locks of its threads are marked before that, and one sleeper on each is woken. So a process
 * holds one for as long as it lives, in a page of its own, which it shows to the manager; that sleeps on many at once.
 *
 * A marked lock says that the thread which held it has ended, and no more: whether the process is dead is for tmgr_alive
 * to say. The page stays mapped as long as that thread lives, for the kernel and the C library follow the list of its
 * robust locks through it. A child made by fork has an empty list, and makes a line of its own. */
#include "lock.h"
#include "os.h"
#include "segment.h"

#include <errno.h>

static_assert(TMGR_LIFELINES_MAX + 1 == OS_SLEEP_MAX, "an alarm beside the lifelines");

int tmgr_lifeline(int *fd) {
    static uint64_t made_by; /* identity of the process whose line it is; all of it under the process's mutex */
    static int line = -1;
    static uint8_t *page;
    static struct os_page_id id;
    uint64_t self = load_relaxed(&os_self()->identity);
    int error = 0;
    if (self == 0) /* unknown just now: a forked child could take its parent's line for its own */
        return segment_error(ESRCH);
    lock_at_fork(tmgr_after_fork); /* so that no child begins with the mutex held */
    lock_private();
    bool is_kept = page != NULL && made_by == self && lock_is_kept(page);
    bool is_shown = line >= 0 && os_page_is(line, &id); /* a program may have closed it, and opened something there */
    if (!is_kept || !is_shown) {
        if (is_shown)
            os_close(line);
        if (page != NULL && made_by == self && !is_kept) /* its holder has ended */
            os_page_unmap(page);
        error = os_page_new(&line, &page, &id);
        if (error == 0) {
            lock_init(page);
            lock_keep(page);
            made_by = self;
        }
    }
    *fd = line;
    unlock_private();
    return error == 0 ? TMGR_OK : segment_error(error);
}

int tmgr_lifeline_map(int fd, const uint8_t **line) {
    int error = os_page_map(fd, line);
    return error == 0 ? TMGR_OK : segment_error(error);
}

void tmgr_lifeline_unmap(const uint8_t *line) { os_page_unmap(line); }

/* The first line whose holder has ended, or whose word has changed since; n: none. */
static size_t first_ended(const uint8_t *const lines[], size_t n, const uint32_t values[]) {
    for (size_t i = 0; i < n; i++)
        if (!lock_is_kept(lines[i]) || atomic_load_explicit(lock_word(lines[i]), memory_order_relaxed) != values[i])
            return i;
    return n;
}

int tmgr_lifelines_wait(const uint8_t *const lines[], size_t n, uint32_t *alarm, uint32_t heard, size_t *ended) {
    const half_word *words[OS_SLEEP_MAX];
    uint32_t values[OS_SLEEP_MAX];
    size_t woken;
    if (n > TMGR_LIFELINES_MAX)
        return TMGR_BAD_OPTION;
    for (size_t i = 0; i < n; i++) {
        words[i] = lock_word(lines[i]);
        values[i] = atomic_load_explicit(words[i], memory_order_relaxed);
    }
    words[n] = (const half_word *)alarm;
    values[n] = heard;
    *ended = first_ended(lines, n, values);
    if (*ended < n)
        return TMGR_OK;
    int error = os_sleep(words, values, n + 1, &woken);
    /* A line that is woken or written to without an end is a nuisance, and is let go of in the same way. */
    *ended = woken < n ? woken : first_ended(lines, n, values);
    return error == 0 ? TMGR_OK : segment_error(error);
}

void tmgr_alarm(uint32_t *alarm) {
    atomic_fetch_add_explicit((half_word *)alarm, 1, memory_order_relaxed);
    os_wake((half_word *)alarm);
}
