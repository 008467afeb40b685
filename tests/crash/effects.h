/* SPDX-License-Identifier: Apache-2.0 */
/* effects.h - what a kill would leave, noted after every step of a traced child; and from that, where to kill.
 *
 * What a SIGKILL leaves of a process depends on nothing but
 *   - the bytes under both scratch names, and whether the names are there,
 *   - the head of its list of robust locks, which the kernel walks when it dies,
 *   - what it has asked of the kernel since (a system call is taken to change something, always).
 * Between two steps that change none of these a kill leaves the same; so it is enough to kill once between them.
 * That this is so is tried as well: some such steps are killed at, and must leave the same bytes. */
#ifndef EFFECTS_H
#define EFFECTS_H

#include "model.h"
#include "scratch.h"
#include "tracer.h"

enum {
    ROUNDS = 64,   /* stores of a loop: all in so many first rounds of the instruction, later ones in a sample */
    LATER = 60,    /* that sample, per case */
    CONTROLS = 60, /* of steps that change nothing, per case */
    ALIKE = 6,     /* deaths behind rounds of one instruction after which the same was done: then one in so many... */
    FOLLOWED = 8   /* ...is followed further */
};

enum { MAPS = 8, STORE_BYTES = 64 };

struct effects {
    uint64_t *keys; /* [k], 0..n: what a kill after k steps would leave. Equal keys: the same */
    size_t n, capacity;
    uint64_t writes;  /* all changes of all steps, in their order: what was made of which word */
    struct image now; /* as it was after the last step noted */
    uint64_t *digests[PLACES], sum;
    size_t n_digests[PLACES];
    uint64_t kernel; /* changes at each system call */
    struct cast cast;
    void *robust;
    enum tracer_effect last; /* of the step being made */
    uintptr_t stored_at;     /* by it, if knows_place */
    bool knows_place, knows_maps;
    struct map {
        uintptr_t from, to;
        size_t place;
    } maps[MAPS]; /* of the child */
    size_t n_maps;
    uint64_t joined; /* not 0: recording ended where another went on that was in the same way (machine.h) */
};

/* The child is stopped in tracer_begin; cast: who it and its predecessor are. */
void effects_begin(struct effects *effects, struct scratch *scratch, pid_t child, const struct cast *cast);
/* The child has made one step more, or none yet. extra: whatever else makes a difference to the one who looks. */
void effects_note(struct effects *effects, struct scratch *scratch, pid_t child, uint64_t extra);
void effects_free(struct effects *effects);

/* Deaths behind one instruction, and what was done by one of those that may follow. */
struct streak {
    uintptr_t place;
    int next;
    unsigned n_alike;  /* the latest so many were followed by what had been done before */
    unsigned n_passed; /* since then not followed */
};

/* What has been killed at in one stage of a case. */
struct coverage {
    struct digests places;     /* instructions */
    struct digests keys;       /* what kills were to leave */
    struct digests pairs;      /* each with what it did leave */
    struct digests behaviours; /* of what followed a death */
    struct digests ways;       /* what decides what comes, at changes of those that were recorded to their end */
    struct streak *streaks;
    size_t n_streaks, n_later, n_controls;
    size_t n_skipped; /* changes in later rounds of loops that were left out */
};
/* The child has just changed something, unless it has done nothing yet. */
bool effects_just_changed(const struct effects *effects);
/* What the traced child has done: each instruction, and what each made of the segment. Two that did the same on states
 * that are not the same did not care about the difference, and the same is true of what their kills leave. */
uint64_t effects_behaviour(const struct effects *effects, const struct trace *trace);

/* Which of 0..n to kill at. Each place that is new and each key that is new, but for later rounds of loops; and some
 * that are neither. `most` not 0: a sample of so many, three quarters of them of new keys. every: all. The caller
 * frees. */
size_t *coverage_choose(struct coverage *coverage, struct random *random, const struct trace *trace,
                        const struct effects *effects, size_t most, bool every, size_t *n_chosen);
/* The kill that was to leave `key` left `digest`. False: another that was to leave the same has left something else. */
bool coverage_agrees(struct coverage *coverage, uint64_t key, uint64_t digest);
/* Of this place and this that follows; there is one. It lasts until the next call. */
struct streak *coverage_streak(struct coverage *coverage, uintptr_t place, int next);
void coverage_free(struct coverage *coverage);

#endif
