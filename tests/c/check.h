/* SPDX-License-Identifier: Apache-2.0 */
/* check.h - CHECK counts, says where it failed, and goes on; check_summary prints the closing line and gives main's
 * result. For test programs of one C file. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>

static unsigned long check_passed, check_failed;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (condition) {                                                                                               \
            check_passed++;                                                                                            \
        } else {                                                                                                       \
            check_failed++;                                                                                            \
            fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__, #condition);                      \
        }                                                                                                              \
    } while (0)

static inline int check_summary(void) {
    printf("%lu passed, %lu failed\n", check_passed, check_failed);
    return check_failed == 0 ? 0 : 1;
}

#endif
