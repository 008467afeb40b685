/* SPDX-License-Identifier: Apache-2.0 */
/* effects.c - see effects.h. */
#include "effects.h"

#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    CHECK_EVERY = 61
}; /* so many steps: an instruction that is thought to store nothing, or nothing elsewhere, is looked at all the same */

static void *need(void *memory) {
    if (!memory) {
        perror("effects");
        exit(3);
    }
    return memory;
}

static uint64_t mix(uint64_t a, uint64_t b) {
    a = (a ^ b) * UINT64_C(0x9fb21c651e98df25);
    return a ^ a >> 29;
}

/* -- noting -------------------------------------------------------------------------------------------------------- */

static void digest_all(struct effects *effects, struct scratch *scratch) {
    image_save(&effects->now, scratch);
    effects->sum = 0;
    for (size_t i = 0; i < PLACES; i++) {
        size_t n = (scratch->at[i].mapped + SCRATCH_PAGE - 1) / SCRATCH_PAGE;
        if (n > effects->n_digests[i])
            effects->digests[i] = need(realloc(effects->digests[i], n * sizeof *effects->digests[i]));
        effects->n_digests[i] = n > effects->n_digests[i] ? n : effects->n_digests[i];
        for (size_t page = 0; page < n; page++)
            effects->sum += effects->digests[i][page] = page_digest(scratch, i, page, &effects->cast);
    }
}

static void note_writes(struct effects *effects, const struct scratch *scratch, size_t place, size_t from, size_t len) {
    for (size_t at = from; at + 8 <= from + len; at += 8)
        if (memcmp(effects->now.at[place].bytes + at, scratch->at[place].map + at, 8) != 0)
            effects->writes = mix(mix(effects->writes, effects->n << 40 | place << 39 | at),
                                  scratch_word(scratch, place, at, &effects->cast));
}

/* Only what differs from the copy is digested anew. */
static void digest_page(struct effects *effects, const struct scratch *scratch, size_t i, size_t page) {
    const struct place *place = &scratch->at[i];
    uint8_t *copy = effects->now.at[i].bytes;
    size_t at = page * SCRATCH_PAGE, len = place->mapped - at < SCRATCH_PAGE ? place->mapped - at : SCRATCH_PAGE;
    if (memcmp(copy + at, place->map + at, len) == 0)
        return;
    note_writes(effects, scratch, i, at, len);
    memcpy(copy + at, place->map + at, len);
    effects->sum -= effects->digests[i][page];
    effects->sum += effects->digests[i][page] = page_digest(scratch, i, page, &effects->cast);
}

static void digest_changes(struct effects *effects, const struct scratch *scratch) {
    for (size_t i = 0; i < PLACES; i++) {
        size_t mapped = scratch->at[i].mapped;
        if (mapped != 0 && memcmp(effects->now.at[i].bytes, scratch->at[i].map, mapped) != 0)
            for (size_t page = 0; page * SCRATCH_PAGE < mapped; page++)
                digest_page(effects, scratch, i, page);
    }
}

/* The same where the child has stored nowhere but in the bytes from this address of its on. */
static void digest_change_at(struct effects *effects, const struct scratch *scratch, uintptr_t at) {
    for (size_t i = 0; i < effects->n_maps; i++) {
        const struct map *map = &effects->maps[i];
        if (at + STORE_BYTES <= map->from || at >= map->to)
            continue;
        size_t first = at > map->from ? at - map->from : 0, last = at + STORE_BYTES - 1 - map->from;
        for (size_t page = first / SCRATCH_PAGE; page <= last / SCRATCH_PAGE; page++)
            if (page * SCRATCH_PAGE < scratch->at[map->place].mapped)
                digest_page(effects, scratch, map->place, page);
    }
}

/* Where the child has mapped what bears the names; without it every store is looked for everywhere. */
static void find_maps(struct effects *effects, const struct scratch *scratch, pid_t child) {
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/maps", (int)child);
    FILE *maps = fopen(path, "re");
    effects->n_maps = 0;
    effects->knows_maps = maps != NULL;
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long from, to, offset, inode;
        if (sscanf(line, "%lx-%lx %*s %lx %*s %lu", &from, &to, &offset, &inode) != 4)
            continue;
        for (size_t i = 0; i < PLACES; i++) {
            if (inode == 0 || inode != scratch->at[i].inode)
                continue;
            effects->knows_maps &= effects->n_maps < MAPS;
            if (effects->n_maps < MAPS)
                effects->maps[effects->n_maps++] = (struct map){from, to, i};
            effects->knows_maps &= offset == 0;
        }
    }
    if (maps)
        fclose(maps);
}

/* After a system call names may have come, gone or changed places, and segments grown. */
static void look_again(struct effects *effects, struct scratch *scratch) {
    bool same = true;
    scratch_look(scratch);
    for (size_t i = 0; i < PLACES; i++)
        same &= scratch->at[i].mapped == effects->now.at[i].len;
    if (same)
        return;
    digest_all(effects, scratch);
    effects->writes = mix(effects->writes, effects->sum);
}

/* The first lock of the list and the one that is being taken or released; the rest of the list lies in the segment. */
static uint64_t robust_list(const struct effects *effects, pid_t child) {
    struct robust_list_head head;
    struct iovec here = {.iov_base = &head, .iov_len = sizeof head};
    struct iovec there = {.iov_base = effects->robust, .iov_len = sizeof head};
    if (process_vm_readv(child, &here, 1, &there, 1, 0) != (ssize_t)sizeof head)
        return 0;
    return mix((uint64_t)(uintptr_t)head.list.next, (uint64_t)(uintptr_t)head.list_op_pending);
}

void effects_begin(struct effects *effects, struct scratch *scratch, pid_t child, const struct cast *cast) {
    size_t len;
    memset(effects, 0, sizeof *effects);
    effects->cast = *cast;
    if (syscall(SYS_get_robust_list, child, &effects->robust, &len) != 0) {
        perror("get_robust_list");
        exit(3);
    }
    digest_all(effects, scratch);
    find_maps(effects, scratch, child);
}

static uint64_t look_closely(struct effects *effects, struct scratch *scratch, pid_t child, uint64_t extra) {
    if (effects->last == EFFECT_CALL) {
        effects->kernel = mix(effects->kernel, 1);
        look_again(effects, scratch);
        find_maps(effects, scratch, child);
    }
    if (!effects->knows_place || effects->n % CHECK_EVERY == 0)
        digest_changes(effects, scratch);
    return mix(mix(mix(effects->sum, robust_list(effects, child)), effects->kernel), extra);
}

void effects_note(struct effects *effects, struct scratch *scratch, pid_t child, uint64_t extra) {
    if (effects->n == effects->capacity) {
        effects->capacity = effects->capacity ? 2 * effects->capacity : 8192;
        effects->keys = need(realloc(effects->keys, effects->capacity * sizeof *effects->keys));
    }
    if (effects->last == EFFECT_NONE && effects->n > 0 && effects->n % CHECK_EVERY != 0) {
        effects->keys[effects->n] = effects->keys[effects->n - 1];
    } else {
        bool could_change = effects->last != EFFECT_NONE || effects->n == 0;
        if (effects->knows_place) {
            digest_change_at(effects, scratch, effects->stored_at);
            could_change = false; /* beyond that */
        }
        uint64_t sum = effects->sum;
        effects->keys[effects->n] = look_closely(effects, scratch, child, extra);
        if (!could_change && effects->sum != sum) {
            fprintf(stderr, "effects: an instruction before step %zu changed something unnoticed\n", effects->n);
            exit(3);
        }
    }
    effects->n++;
    effects->last = tracer_next_effect(child);
    effects->knows_place =
        effects->knows_maps && effects->last == EFFECT_STORE && tracer_next_store(child, &effects->stored_at);
}

void effects_free(struct effects *effects) {
    image_free(&effects->now);
    free(effects->keys);
    for (size_t i = 0; i < PLACES; i++)
        free(effects->digests[i]);
    memset(effects, 0, sizeof *effects);
}

bool effects_just_changed(const struct effects *effects) {
    return effects->n < 2 || effects->keys[effects->n - 1] != effects->keys[effects->n - 2];
}

uint64_t effects_behaviour(const struct effects *effects, const struct trace *trace) {
    uint64_t sum = mix(mix(effects->writes, trace->n), effects->joined);
    for (size_t k = 0; k < trace->n; k++)
        sum = mix(sum, trace->pc[k]);
    return sum;
}

/* -- choosing ------------------------------------------------------------------------------------------------------ */

enum why { NOT = 0, PLACE = 1, CHANGE = 2, LATER_ROUND = 3, FAR_ROUND = 4, CONTROL = 5, WHYS = 6 };

static enum why why_at(struct coverage *coverage, const struct trace *trace, const struct effects *effects, size_t k) {
    bool is_new = digests_add(&coverage->places, k < trace->n ? trace->pc[k] : 1);
    if (!digests_has(&coverage->keys, effects->keys[k]) && (k == 0 || effects->keys[k] != effects->keys[k - 1]))
        return k > 0 && trace->nth[k - 1] >= ROUNDS ? LATER_ROUND : CHANGE;
    return is_new ? PLACE : NOT;
}

/* Evenly at random, in order: so many of those that are of this kind stay, the others become NOT. */
static void thin(uint8_t *whys, size_t n, enum why kind, size_t wanted, struct random *random) {
    size_t left = 0;
    for (size_t k = 0; k < n; k++)
        left += whys[k] == kind;
    for (size_t k = 0; k < n; k++) {
        if (whys[k] != kind)
            continue;
        if (wanted > 0 && random_below(random, left) < wanted)
            wanted--;
        else
            whys[k] = NOT;
        left--;
    }
}

/* To get to the nth round takes n stops: the further, the rarer. */
static void thin_far(uint8_t *whys, const struct trace *trace, struct random *random) {
    for (size_t k = 1; k <= trace->n; k++)
        if (whys[k] == LATER_ROUND && random_below(random, trace->nth[k - 1]) >= ROUNDS)
            whys[k] = FAR_ROUND;
}

static void take_controls(uint8_t *whys, size_t n, size_t wanted, struct random *random) {
    for (size_t i = 0; i < wanted; i++) {
        size_t k = (size_t)random_below(random, n);
        whys[k] = whys[k] == NOT ? CONTROL : whys[k];
    }
}

static void count(const uint8_t *whys, size_t n, size_t counts[WHYS]) {
    memset(counts, 0, WHYS * sizeof *counts);
    for (size_t k = 0; k < n; k++)
        counts[whys[k]]++;
}

static void sample(uint8_t *whys, const struct trace *trace, size_t most, struct random *random) {
    size_t n = trace->n + 1;
    size_t counts[WHYS];
    thin_far(whys, trace, random);
    thin(whys, n, FAR_ROUND, 0, random);
    thin(whys, n, LATER_ROUND, most / 20, random);
    count(whys, n, counts);
    most -= counts[LATER_ROUND];
    size_t places = most / 4 < counts[PLACE] ? most / 4 : counts[PLACE];
    size_t changes = most - places < counts[CHANGE] ? most - places : counts[CHANGE];
    thin(whys, n, PLACE, most - changes, random);
    thin(whys, n, CHANGE, changes, random);
    count(whys, n, counts);
    take_controls(whys, n, most - counts[PLACE] - counts[CHANGE], random);
}

size_t *coverage_choose(struct coverage *coverage, struct random *random, const struct trace *trace,
                        const struct effects *effects, size_t most, bool every, size_t *n_chosen) {
    size_t n = trace->n + 1, counts[WHYS];
    uint8_t *whys = need(calloc(n, 1));
    size_t *chosen = need(malloc((n + 1) * sizeof *chosen));
    for (size_t k = 0; k < n; k++)
        whys[k] = (uint8_t)(every ? CHANGE : why_at(coverage, trace, effects, k));
    if (most) {
        sample(whys, trace, most, random);
    } else if (!every) {
        count(whys, n, counts);
        thin_far(whys, trace, random);
        count(whys, n, counts);
        size_t later =
            LATER - coverage->n_later < counts[LATER_ROUND] ? LATER - coverage->n_later : counts[LATER_ROUND];
        coverage->n_skipped += counts[LATER_ROUND] + counts[FAR_ROUND] - later;
        thin(whys, n, FAR_ROUND, 0, random);
        coverage->n_later += later;
        thin(whys, n, LATER_ROUND, later, random);
        size_t controls = (CONTROLS - coverage->n_controls + 1) / 2;
        take_controls(whys, n, controls, random);
        coverage->n_controls += controls;
    }
    *n_chosen = 0;
    for (size_t k = 0; k < n; k++)
        if (whys[k] != NOT)
            chosen[(*n_chosen)++] = k;
    free(whys);
    return chosen;
}

bool coverage_agrees(struct coverage *coverage, uint64_t key, uint64_t digest) {
    bool is_new_key = digests_add(&coverage->keys, key);
    return digests_add(&coverage->pairs, mix(key, digest)) == is_new_key;
}

struct streak *coverage_streak(struct coverage *coverage, uintptr_t place, int next) {
    for (size_t i = 0; i < coverage->n_streaks; i++)
        if (coverage->streaks[i].place == place && coverage->streaks[i].next == next)
            return &coverage->streaks[i];
    size_t n = ++coverage->n_streaks;
    coverage->streaks = need(realloc(coverage->streaks, n * sizeof *coverage->streaks));
    coverage->streaks[n - 1] = (struct streak){.place = place, .next = next};
    return &coverage->streaks[n - 1];
}

void coverage_free(struct coverage *coverage) {
    free(coverage->streaks);
    digests_free(&coverage->places);
    digests_free(&coverage->keys);
    digests_free(&coverage->pairs);
    digests_free(&coverage->behaviours);
    digests_free(&coverage->ways);
    memset(coverage, 0, sizeof *coverage);
}
