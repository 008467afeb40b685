/* SPDX-License-Identifier: Apache-2.0 */
/* options.h - the command line of both programs. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct options {
    const char *name;   /* the case, the read; or "all" */
    const char *script; /* readers: the writes beside it, or "all" */
    const char *next;   /* only this operation after the death; NULL: each */
    uint64_t seed;
    size_t kills, repairs; /* at most so many of each per case; 0: all that matter */
    size_t stops;          /* crash: so many SIGSTOPs per case; readers: of a read beside a script, 0: all */
    size_t watch;          /* the reader looks after every so many steps; 0: not at all */
    size_t failures;       /* a case ends after so many */
    bool every;            /* nothing is left out, though it leaves what another kill has left */
    bool list;
    long k, j; /* only this kill, only this one of the repair; -1: not given */
    int cpu;   /* -1: the one it starts on */
};

/* Prints `help` and exits if the arguments are wrong, or ask for it. */
struct options options_parse(int argc, char **argv, const char *help);
/* A step is two context switches: on one processor they cost half. */
void options_pin(const struct options *options);

#endif
