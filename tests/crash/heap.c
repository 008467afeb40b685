/* SPDX-License-Identifier: Apache-2.0 */
/* heap.c - memory for children, that is handed out the same way in each of them: what malloc does in a fork depends on
 * what the tracer has allocated and freed before, and a child that takes another way is not at instruction k of the
 * trace. */
#include "run.h"

#include <string.h>
#include <sys/uio.h>

/* Take the place of the C library's, which has these other names for its own. */
void *__libc_malloc(size_t len);
void *__libc_calloc(size_t n, size_t len);
void *__libc_realloc(void *memory, size_t len);
void __libc_free(void *memory);

enum { HEAP_BYTES = 256 << 20, HEAD_BYTES = 16 };

static _Alignas(64) uint8_t heap[HEAP_BYTES]; /* zero: never used in the tracer, and never used twice in a child */
static size_t used;
static bool is_used;

void run_use_own_heap(void) { is_used = true; }

size_t run_heap_of(pid_t child, const uint8_t **start) {
    size_t n = 0;
    struct iovec here = {&n, sizeof n}, there = {&used, sizeof used};
    *start = heap;
    return process_vm_readv(child, &here, 1, &there, 1, 0) == (ssize_t)sizeof n ? n : 0;
}

static bool is_ours(const void *memory) {
    return (uintptr_t)memory >= (uintptr_t)heap && (uintptr_t)memory < (uintptr_t)heap + HEAP_BYTES;
}

static void *take(size_t len) {
    if (len > HEAP_BYTES - HEAD_BYTES || used + HEAD_BYTES + len > HEAP_BYTES)
        return NULL;
    uint8_t *memory = heap + used + HEAD_BYTES;
    memcpy(heap + used, &len, sizeof len);
    used += (HEAD_BYTES + len + 63) / 64 * 64;
    return memory;
}

void *malloc(size_t len) { return is_used ? take(len) : __libc_malloc(len); }

void *calloc(size_t n, size_t len) {
    if (!is_used)
        return __libc_calloc(n, len);
    return len != 0 && n > HEAP_BYTES / len ? NULL : take(n * len);
}

void free(void *memory) {
    if (!is_ours(memory))
        __libc_free(memory);
}

void *realloc(void *memory, size_t len) {
    size_t old = 0;
    if (!is_used || (memory && !is_ours(memory)))
        return __libc_realloc(memory, len);
    if (memory)
        memcpy(&old, (uint8_t *)memory - HEAD_BYTES, sizeof old);
    void *fresh = old >= len && memory ? memory : take(len);
    if (fresh && fresh != memory && memory)
        memcpy(fresh, memory, old);
    return fresh;
}
