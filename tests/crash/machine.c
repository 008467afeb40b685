/* SPDX-License-Identifier: Apache-2.0 */
/* machine.c - see machine.h. x86-64 Linux. */
#include "machine.h"

#include "layout.h"
#include "run.h"

#include <elf.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <ucontext.h>

enum { STACK_BYTES = 1 << 20, RED_ZONE = 128, VECTORS_BYTES = 16 << 10, PIECE_BYTES = 64 << 10 };
/* Of the area that holds the vector registers: the one that says how they round, and which of them are not as at first. */
enum { MXCSR_OFFSET = 24, MXCSR_AT_FIRST = 0x1f80, IN_USE_OFFSET = 512 };

static _Alignas(64) uint8_t stack[STACK_BYTES]; /* zero in the tracer, and so in each child */
static void (*run_fn)(void *context);
static void *run_context;

static void on_stack(void) { run_fn(run_context); }

void machine_run(void (*fn)(void *context), void *context) {
    ucontext_t here, there;
    static const int kept[] = {REG_RBP, REG_R12, REG_R13, REG_R14, REG_R15};
    run_fn = fn;
    run_context = context;
    getcontext(&there);
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = sizeof stack;
    there.uc_link = &here;
    makecontext(&there, on_stack, 0);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        there.uc_mcontext.gregs[kept[i]] = 0;
    swapcontext(&here, &there);
}

static bool get_vectors(pid_t child, uint8_t *bytes, size_t *len) {
    struct iovec area = {bytes, *len};
    bool good = ptrace(PTRACE_GETREGSET, child, (void *)NT_X86_XSTATE, &area) == 0;
    *len = area.iov_len;
    return good && *len > IN_USE_OFFSET + 8;
}

bool machine_reset(pid_t child) {
    static _Alignas(64) uint8_t vectors[VECTORS_BYTES];
    size_t len = sizeof vectors;
    uint32_t rounding = MXCSR_AT_FIRST;
    if (!get_vectors(child, vectors, &len))
        return false;
    memcpy(vectors + MXCSR_OFFSET, &rounding, sizeof rounding);
    memset(vectors + IN_USE_OFFSET, 0, 8);
    struct iovec area = {vectors, len};
    return ptrace(PTRACE_SETREGSET, child, (void *)NT_X86_XSTATE, &area) == 0;
}

static uint64_t mix(uint64_t a, uint64_t b) {
    a = (a ^ b) * UINT64_C(0x9fb21c651e98df25);
    return a ^ a >> 29;
}

/* As it would be if processes had no numbers. */
static uint64_t without_self(uint64_t value, const struct process *self) {
    uint64_t pid = (uint64_t)self->pid;
    if (value == self->start || value >> OWNER_PID_SHIFT == pid)
        return 1;
    if ((uint32_t)value == pid)
        value &= ~(uint64_t)UINT32_MAX;
    return value >> 32 == pid ? (uint32_t)value : value;
}

static uint64_t add(uint64_t sum, const void *bytes, size_t len, const struct process *self) {
    const uint64_t *words = bytes;
    for (size_t i = 0; i < len / 8; i++)
        sum = mix(sum, without_self(words[i], self));
    return sum;
}

static bool add_memory(uint64_t *sum, pid_t child, const uint8_t *from, size_t len, const struct process *self) {
    static _Alignas(64) uint8_t piece[PIECE_BYTES];
    for (size_t at = 0; at < len; at += sizeof piece) {
        size_t n = len - at < sizeof piece ? len - at : sizeof piece;
        struct iovec here = {piece, n}, there = {(void *)(uintptr_t)(from + at), n};
        if (process_vm_readv(child, &here, 1, &there, 1, 0) != (ssize_t)n)
            return false;
        *sum = add(*sum, piece, n, self);
    }
    return true;
}

uint64_t machine_digest(pid_t child, const struct process *self) {
    static _Alignas(64) uint8_t vectors[VECTORS_BYTES];
    struct user_regs_struct registers;
    size_t len = sizeof vectors;
    if (ptrace(PTRACE_GETREGS, child, NULL, &registers) != 0 || !get_vectors(child, vectors, &len))
        return 0;
    const uint8_t *bottom = (const uint8_t *)(uintptr_t)(registers.rsp / 8 * 8 - RED_ZONE), *heap;
    if (bottom < stack || bottom > stack + sizeof stack)
        return 0;
    uint64_t sum = add(1, &registers, sizeof registers, self);
    sum = add(sum, vectors, len, self);
    size_t used = run_heap_of(child, &heap);
    bool good = add_memory(&sum, child, bottom, (size_t)(stack + sizeof stack - bottom), self) &&
                add_memory(&sum, child, heap, used, self);
    return !good ? 0 : sum ? sum : 1;
}
