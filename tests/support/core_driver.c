/* SPDX-License-Identifier: Apache-2.0 */
/* core_driver.c - calls of the core with flat arguments, for ctypes. */
#include "match.h"

#include <stdlib.h>

#include "term.h"

int driver_match(const uint8_t *program, size_t len, const uint8_t *row, size_t row_len, uint8_t *out, size_t capacity,
                 size_t *out_len, uint32_t *clause);

/* Open, run, copy the result (as one term) and close. Returns a tmgr_status; TOO_LONG if `out` is too small. */
int driver_match(const uint8_t *program, size_t len, const uint8_t *row, size_t row_len, uint8_t *out, size_t capacity,
                 size_t *out_len, uint32_t *clause) {
    struct match match;
    struct match_result result;
    enum tmgr_status status = match_open(&match, program, len);
    if (status != TMGR_OK) {
        return status;
    }
    status = match_run(&match, row, row_len, &result);
    if (status == TMGR_OK) {
        struct tmgr_buffer buffer = {0};
        *clause = result.clause;
        if (!match_append(&result, &buffer)) {
            status = TMGR_NO_MEMORY;
        } else if (buffer.len > capacity) {
            status = TMGR_TOO_LONG;
        } else {
            memcpy(out, buffer.data, buffer.len);
            *out_len = buffer.len;
        }
        free(buffer.data);
    }
    match_close(&match);
    return status;
}
