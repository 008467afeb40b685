/* SPDX-License-Identifier: Apache-2.0 */
/* survey.h - where in a stripe of a set rows may be that a filter lets pass, found in the order of memory.
 *
 * The buckets lead to rows all over the memory of a table, a miss or two for each. A survey goes through the stripe's pages instead
 * (page map, used bits, the first bytes of each block), which the processor fetches ahead by itself, and notes the positions (walk.h)
 * of what the filter does not reject. The sweep then reads only buckets that may hold such a position.
 *
 * It is no reading of the table: a block may be a row that is not published yet or not any more, or no row at all, and then a bucket is read for nothing.
 * What counts is that it overlooks nothing. Claim: each row that was in the table when the survey began was seen as
 * it was then, or the survey fails. Let B be its block. B's used bit and its page's entry were set before B was published, and stay
 * until B's quarantine ends, as do its bytes; runs of pages do not overlap, nor does what a
 * death left of one have a first page (arena.h, GRAB), so no other run's entry makes the survey skip B's page.
 * B was retired in no epoch before the one that was loaded first, for then what took B's place would have been in the table;
 * so if the epoch moved by at most one until the survey's end, none of these was touched (README.md, "Why a reader needs no lock"). That a
 * bucket without a noted position is not read is thus as if it had been read when the survey began: a sweep is not isolated
 * from other writes, and so that is all that it says of any bucket.
 * What is loaded is held against the published size, which the handle has to reach. A writer that stopped or died changes none of this. */
#ifndef TMGR_SURVEY_H
#define TMGR_SURVEY_H

#include "filter.h"
#include "hset.h"

enum { FIRST_LOOK = 32, LOOKED_AT = 128 }; /* bytes of a row that a filter is shown; and the second time */
static_assert(FIRST_LOOK % 8 == 0 && LOOKED_AT % 8 == 0, "whole words");

struct survey {
    uint64_t *marks; /* a bit for each 2^shift positions; NULL: everything is marked */
    uint32_t shift;
};

/* Of a stripe whose view was opened just now. Without marks if it was overtaken, if reading the buckets is less work, for rows that
 * pass are many or the stripe is small, if it would take too long for one call, or for want of memory. To be freed. */
void survey_make(struct tmgr_table *t, struct stripe *s, const struct hset_view *view, const struct filter *filter,
                 struct survey *survey);
void survey_free(struct survey *survey);
/* The first position from this one on that may be a marked one's; 2^32: there is none. */
uint64_t survey_next(const struct survey *survey, uint64_t position);

/* The verdict on a row by its first bytes, loaded word by word into private memory: they lie below the published size. `head`: the row's first word. */
static inline enum filter_verdict survey_look(const uint8_t *base, uint64_t offset, uint64_t head,
                                              const struct filter *filter) {
    const word *row = (const word *)(const void *)(base + offset + ROW_START);
    uint64_t len = head & ROW_LEN_MASK;
    uint8_t first[FIRST_LOOK]; /* what lies behind a short row is not looked at */
#pragma GCC unroll 4
    for (int i = 0; i < FIRST_LOOK / 8; i++)
        copy_word(first + 8 * i, &row[i]);
    if (head & ROW_EXTENTS)
        return FILTER_PASSES;
    len = len < FIRST_LOOK ? len : FIRST_LOOK;
    return filter_rejects_at_once(filter, first, len) ? FILTER_REJECTS : filter_look(filter, first, len);
}

/* Does the filter reject a row that wanted more when more of it is looked at? False also where that cannot be told. */
bool survey_rejects_on_second_look(struct tmgr_table *t, uint64_t offset, uint64_t head, const struct filter *filter);

#endif
