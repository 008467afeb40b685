/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - see options.h. */
#include "options.h"

#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

static void usage(const char *help, int code) {
    fputs(help, code ? stderr : stdout);
    exit(code);
}

static uint64_t number(const char *text, const char *help) {
    char *end;
    uint64_t value = strtoull(text, &end, 0);
    if (*text == 0 || *text == '-' || *end != 0)
        usage(help, 2);
    return value;
}

struct options options_parse(int argc, char **argv, const char *help) {
    enum { CASE, SCRIPT, NEXT, SEED, KILLS, REPAIRS, STOPS, WATCH, FAILURES, EVERY, LIST, K, J, CPU, HELP };
    static const struct option names[] = {{"case", 1, NULL, CASE},
                                          {"read", 1, NULL, CASE},
                                          {"script", 1, NULL, SCRIPT},
                                          {"next", 1, NULL, NEXT},
                                          {"seed", 1, NULL, SEED},
                                          {"kills", 1, NULL, KILLS},
                                          {"repairs", 1, NULL, REPAIRS},
                                          {"stops", 1, NULL, STOPS},
                                          {"watch", 1, NULL, WATCH},
                                          {"failures", 1, NULL, FAILURES},
                                          {"every", 0, NULL, EVERY},
                                          {"list", 0, NULL, LIST},
                                          {"k", 1, NULL, K},
                                          {"j", 1, NULL, J},
                                          {"cpu", 1, NULL, CPU},
                                          {"help", 0, NULL, HELP},
                                          {NULL, 0, NULL, 0}};
    struct options options = {
        .name = "all", .script = "all", .seed = 1, .stops = 40, .watch = 1, .failures = 5, .k = -1, .j = -1, .cpu = -1};
    const char **texts[] = {[CASE] = &options.name, [SCRIPT] = &options.script, [NEXT] = &options.next};
    size_t *sizes[] = {[KILLS] = &options.kills,
                       [REPAIRS] = &options.repairs,
                       [STOPS] = &options.stops,
                       [WATCH] = &options.watch,
                       [FAILURES] = &options.failures};
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case CASE:
        case SCRIPT:
        case NEXT:
            *texts[option] = optarg;
            break;
        case KILLS:
        case REPAIRS:
        case STOPS:
        case WATCH:
        case FAILURES:
            *sizes[option] = number(optarg, help);
            break;
        case SEED:
            options.seed = number(optarg, help);
            break;
        case K:
            options.k = (long)number(optarg, help);
            break;
        case J:
            options.j = (long)number(optarg, help);
            break;
        case CPU:
            options.cpu = (int)number(optarg, help);
            break;
        case EVERY:
            options.every = true;
            break;
        case LIST:
            options.list = true;
            break;
        default:
            usage(help, option == HELP ? 0 : 2);
        }
    }
    if (optind < argc)
        usage(help, 2);
    return options;
}

void options_pin(const struct options *options) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)(options->cpu >= 0 ? options->cpu : sched_getcpu()), &one);
    sched_setaffinity(0, sizeof one, &one);
}
