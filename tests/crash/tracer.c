/* SPDX-License-Identifier: Apache-2.0 */
/* tracer.c - see tracer.h. x86-64 Linux. */
#include "tracer.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __x86_64__
#error "the tracer is written for x86-64"
#endif

enum {
    STEPS_PER_LANDMARK = 2,
    STEPS_PER_PASS = 2
}; /* what a breakpoint costs, in single steps: at first, and each time */

static void fail(const char *what) {
    fprintf(stderr, "tracer: %s: %s\n", what, strerror(errno));
    exit(3);
}

__attribute__((noinline)) void tracer_begin(void) {
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        fail("PTRACE_TRACEME");
    __asm__ volatile("int3" ::: "memory");
}

__attribute__((noinline)) void tracer_end(void) { __asm__ volatile("" ::: "memory"); }

static bool wait_stopped(pid_t child, int *signal) {
    int status;
    while (waitpid(child, &status, __WALL) < 0)
        if (errno != EINTR)
            fail("waitpid");
    if (!WIFSTOPPED(status))
        return false;
    *signal = WSTOPSIG(status);
    return true;
}

static uintptr_t get_pc(pid_t child) {
    errno = 0;
    uintptr_t pc = (uintptr_t)ptrace(PTRACE_PEEKUSER, child, offsetof(struct user, regs.rip), NULL);
    if (errno != 0)
        fail("PTRACE_PEEKUSER");
    return pc;
}

pid_t tracer_fork(tracer_child_fn fn, void *context) {
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        fn(context);
        _exit(0);
    }
    int signal;
    if (!wait_stopped(child, &signal) || signal != SIGTRAP) {
        fprintf(stderr, "tracer: the child did not reach tracer_begin\n");
        exit(3);
    }
    if (ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_EXITKILL) != 0)
        fail("PTRACE_SETOPTIONS");
    return child;
}

/* One instruction. Signals that are not ours (none are expected) are passed on. False: it is dead. */
static bool step_one(pid_t child) {
    int signal = 0;
    do {
        if (ptrace(PTRACE_SINGLESTEP, child, NULL, signal == SIGTRAP ? 0 : signal) != 0)
            return false;
        if (!wait_stopped(child, &signal))
            return false;
        if (signal == SIGSEGV || signal == SIGBUS || signal == SIGILL || signal == SIGFPE || signal == SIGABRT) {
            fprintf(stderr, "tracer: the child got signal %d at %#lx\n", signal, (unsigned long)get_pc(child));
            return false;
        }
    } while (signal != SIGTRAP);
    return true;
}

static void trace_add(struct trace *trace, uintptr_t pc) {
    if (trace->n == trace->capacity) {
        trace->capacity = trace->capacity ? 2 * trace->capacity : 4096;
        trace->pc = realloc(trace->pc, trace->capacity * sizeof *trace->pc);
        if (!trace->pc)
            fail("realloc");
    }
    trace->pc[trace->n++] = pc;
}

/* How often each place was reached: open addressing from place to count. And from which place on to step: the one from
 * where, breakpoint and steps together, it costs least. */
static void find_landmarks(struct trace *trace) {
    size_t capacity = 1024;
    while (capacity < 2 * trace->n)
        capacity *= 2;
    struct {
        uintptr_t pc;
        uint32_t count;
    } *seen = calloc(capacity, sizeof *seen);
    trace->landmark = calloc(trace->n + 1, sizeof *trace->landmark);
    trace->nth = calloc(trace->n + 1, sizeof *trace->nth);
    if (!seen || !trace->landmark || !trace->nth)
        fail("calloc");
    size_t landmark = 0, cost = 0;
    for (size_t k = 0; k < trace->n; k++, cost++) {
        size_t at = (size_t)(trace->pc[k] * 0x9e3779b97f4a7c15ULL >> 20) & (capacity - 1);
        while (seen[at].count && seen[at].pc != trace->pc[k])
            at = (at + 1) & (capacity - 1);
        seen[at].pc = trace->pc[k];
        trace->nth[k] = seen[at].count++;
        size_t there = STEPS_PER_LANDMARK + STEPS_PER_PASS * (size_t)trace->nth[k];
        if (k > 0 && there <= cost) {
            landmark = k;
            cost = there;
        }
        trace->landmark[k] = landmark;
    }
    trace->landmark[trace->n] = landmark;
    free(seen);
}

bool tracer_record(pid_t child, struct trace *trace, size_t limit, tracer_step_fn step, void *context) {
    memset(trace, 0, sizeof *trace);
    bool ended = false;
    for (;;) {
        uintptr_t pc = trace->end = get_pc(child);
        if (pc == (uintptr_t)&tracer_end) {
            ended = true;
            break;
        }
        if (step && !step(context, child, trace->n))
            break;
        if (trace->n == limit)
            break;
        trace_add(trace, pc);
        if (!step_one(child))
            break;
    }
    find_landmarks(trace);
    return ended;
}

void trace_free(struct trace *trace) {
    free(trace->pc);
    free(trace->landmark);
    free(trace->nth);
    memset(trace, 0, sizeof *trace);
}

/* Runs freely to a place, and on until it has been passed so many times. */
static bool run_to_place(pid_t child, uintptr_t place, uint32_t passes) {
    errno = 0;
    long text = ptrace(PTRACE_PEEKTEXT, child, place, NULL);
    if (errno != 0)
        fail("PTRACE_PEEKTEXT");
    for (uint32_t i = 0; i <= passes; i++) {
        int signal = 0;
        if (ptrace(PTRACE_POKETEXT, child, place, (text & ~0xffL) | 0xcc) != 0)
            fail("PTRACE_POKETEXT");
        if (ptrace(PTRACE_CONT, child, NULL, NULL) != 0 || !wait_stopped(child, &signal))
            return false;
        if (signal != SIGTRAP || get_pc(child) != place + 1)
            return false;
        if (ptrace(PTRACE_POKETEXT, child, place, text) != 0 ||
            ptrace(PTRACE_POKEUSER, child, offsetof(struct user, regs.rip), place) != 0)
            fail("PTRACE_POKEUSER");
        if (i < passes && !step_one(child))
            return false;
    }
    return true;
}

bool tracer_run_to(pid_t child, const struct trace *landmarks, const struct trace *expected, size_t k, bool *gone) {
    size_t landmark = landmarks ? landmarks->landmark[k] : 0, done = 0;
    *gone = true;
    if (landmark > 0) {
        if (!run_to_place(child, landmarks->pc[landmark], landmarks->nth[landmark]))
            return false;
        done = landmark;
    }
    bool is_right = true;
    for (; done < k; done++) {
        if (!landmarks) { /* its way, and its end, are looked at */
            uintptr_t pc = get_pc(child);
            is_right &= pc == expected->pc[done];
            if (pc == (uintptr_t)&tracer_end)
                break;
        }
        if (!step_one(child))
            return false;
    }
    *gone = false;
    return is_right && get_pc(child) == (k < expected->n ? expected->pc[k] : expected->end);
}

static bool is_one_of(uint8_t code, const char *codes) { return code != 0 && strchr(codes, code) != NULL; }

static bool second_page_stores(const uint8_t *code) {
    if (code[0] >> 4 == 8 || code[0] >> 4 == 4) /* jumps and moves on a condition */
        return false;
    return !is_one_of(code[0], "\x1e\x1f\x10\x28\x6f\xaf\xb6\xb7\xbe\xbf"); /* no-ops, loads, imul, movzx, movsx */
}

enum tracer_effect tracer_next_effect(pid_t child) {
    const uint8_t *code = (const uint8_t *)get_pc(child); /* the same as in this process, which it was forked from */
    if (code[0] == 0x0f && code[1] == 0x05)
        return EFFECT_CALL;
    while (is_one_of(*code, "\x66\xf2\xf3\x3e\x64\x65"))
        code++;
    if (*code >> 4 == 4) /* REX */
        code++;
    if (*code == 0x0f)
        return second_page_stores(code + 1) ? EFFECT_STORE : EFFECT_NONE;
    if (*code >> 4 == 7 || *code >> 4 == 5 || (*code & 0xf8) == 0xb8) /* jump, push and pop, mov of a constant */
        return EFFECT_NONE;
    if (*code < 0x40 && (*code & 6) == 2) /* arithmetic and cmp into a register */
        return EFFECT_NONE;
    if (is_one_of(*code, "\x38\x39\x3c\x3d\x63\x69\x6b\x84\x85\x8a\x8b\x8d\x90\xa8\xa9\xc3\xe8\xe9\xeb"))
        return EFFECT_NONE;
    bool has_operand =
        (*code < 0x40 && (*code & 6) == 0) || is_one_of(*code, "\x80\x81\x83\x88\x89\xc1\xc7\xd1\xd3\xf7");
    bool is_register = code[1] >> 6 == 3, is_compare = is_one_of(*code, "\x80\x81\x83") && (code[1] >> 3 & 7) == 7;
    return has_operand && (is_register || is_compare) ? EFFECT_NONE : EFFECT_STORE;
}

/* The address that the operand behind `code` (mod, base, index, displacement) leads to; `end` of the instruction serves
 * operands relative to it, which are none of shared memory. False: a register. */
static bool operand_address(const uint8_t *code, uint8_t rex, const struct user_regs_struct *r, uintptr_t *at) {
    const unsigned long long numbered[] = {r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi,
                                           r->r8,  r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15};
    uint8_t mod = code[0] >> 6, low = code[0] & 7;
    int32_t displacement = 0;
    uintptr_t sum = 0;
    bool has_base = true;
    if (mod == 3)
        return false;
    code++;
    if (low == 4) {
        uint8_t scale = code[0] >> 6, index = (uint8_t)((code[0] >> 3 & 7) | (rex & 2) << 2);
        low = code[0] & 7;
        code++;
        if (index != 4)
            sum += (uintptr_t)numbered[index] << scale;
    } else if (low == 5 && mod == 0) { /* relative to the program: its own data */
        *at = r->rip;
        return true;
    }
    if (low == 5 && mod == 0)
        has_base = false;
    if (has_base)
        sum += (uintptr_t)numbered[low | (rex & 1) << 3];
    if (mod == 1)
        displacement = (int8_t)code[0];
    else if (mod == 2 || !has_base)
        memcpy(&displacement, code, 4);
    *at = sum + (uintptr_t)(intptr_t)displacement;
    return true;
}

bool tracer_next_store(pid_t child, uintptr_t *at) {
    struct user_regs_struct r;
    uintptr_t segment = 0;
    uint8_t rex = 0;
    if (ptrace(PTRACE_GETREGS, child, NULL, &r) != 0)
        return false;
    const uint8_t *code = (const uint8_t *)(uintptr_t)r.rip;
    for (; is_one_of(*code, "\x66\xf2\xf3\xf0\x3e\x64\x65"); code++)
        segment = *code == 0x64 ? r.fs_base : *code == 0x65 ? r.gs_base : segment;
    if (*code >> 4 == 4)
        rex = *code++ & 15;
    if (is_one_of(*code, "\xa4\xa5\xaa\xab")) { /* a round of movs, stos */
        *at = r.rdi;
        return true;
    }
    if (*code == 0xc5) { /* AVX, in two forms */
        rex = code[1] & 0x80 ? 0 : 4;
        code += 2;
    } else if (*code == 0xc4) {
        rex = (uint8_t)(~code[1] >> 5 & 7);
        code += 3;
    } else if (*code == 0x0f) {
        code++;
        if (!is_one_of(*code, "\x11\x13\x17\x29\x2b\x7f\xb0\xb1\xc0\xc1\xd6\xe7") && *code >> 4 != 9)
            return false;
    } else if ((*code >= 0x40 || (*code & 6) != 0) &&
               !is_one_of(*code, "\x80\x81\x83\x86\x87\x88\x89\xc0\xc1\xc6\xc7\xd0\xd1\xd2\xd3\xf6\xf7\xfe")) {
        return false;
    }
    if (!operand_address(code + 1, rex, &r, at))
        return false;
    *at += segment;
    return true;
}

void tracer_kill(pid_t child) {
    int status;
    if (kill(child, SIGKILL) != 0)
        fail("kill");
    do {
        if (waitpid(child, &status, __WALL) < 0 && errno != EINTR)
            fail("waitpid");
    } while (!WIFSIGNALED(status) && !WIFEXITED(status));
}

void tracer_leave_stopped(pid_t child) {
    if (ptrace(PTRACE_DETACH, child, NULL, SIGSTOP) != 0)
        fail("PTRACE_DETACH");
    int status;
    if (waitpid(child, &status, __WALL | WUNTRACED) != child || !WIFSTOPPED(status))
        fail("stop");
}
