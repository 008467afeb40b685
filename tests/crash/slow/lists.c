/* SPDX-License-Identifier: Apache-2.0 */
/* lists.c - see lists.h. */
#include "lists.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_NS = 1000 * 1000 * 1000, PAYLOAD = 30, ROUNDS = 40, STAMPS = 1000, ROW_BYTES = PAYLOAD + ROW_OVERHEAD_MAX };

static void expect_ok(int status) {
    if (status != TMGR_OK) {
        fprintf(stderr, "lists: %s\n", tmgr_status_text(status));
        exit(3);
    }
}

static void add(struct tmgr_table *table, uint64_t id, uint64_t stamp) {
    uint8_t row[ROW_BYTES];
    expect_ok(tmgr_insert(table, row, row_encode(row, id, stamp, PAYLOAD), WAIT_NS));
}

void list_begin(struct tmgr_table *table, uint64_t id) {
    for (uint64_t stamp = 0; stamp < LIST_ROWS; stamp++)
        add(table, id, stamp);
}

void list_shift(struct tmgr_table *table, uint64_t id) {
    uint8_t row[ROW_BYTES];
    uint64_t removed;
    for (uint64_t oldest = 0; oldest < ROUNDS; oldest++) {
        add(table, id, oldest + LIST_ROWS);
        expect_ok(tmgr_delete_object(table, row, row_encode(row, id, oldest, PAYLOAD), &removed, WAIT_NS));
    }
}

/* Stamps of two lists do not follow each other. */
void list_renew(struct tmgr_table *table, uint64_t id) {
    struct model empty;
    model_init(&empty);
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        struct op op = {.verb = VERB_APPLY, .n = 1 + LIST_ROWS};
        struct bound bound;
        struct outcome outcome;
        op.items[0] = (struct item){.kind = TMGR_OP_DELETE, .id = id};
        for (uint64_t i = 1; i <= LIST_ROWS; i++)
            op.items[i] =
                (struct item){.kind = TMGR_OP_INSERT, .id = id, .stamp = 2 * LIST_ROWS * round + i, .payload = PAYLOAD};
        op_bind(&bound, &op, &empty);
        op_run(&bound, table, WAIT_NS, &outcome);
        expect_ok(outcome.status);
        bound_free(&bound);
    }
    model_free(&empty);
}

void list_come_and_go(struct tmgr_table *table, uint64_t id) {
    uint8_t key[KEY_BYTES_MAX];
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        expect_ok(tmgr_delete(table, key, key_encode(key, id), WAIT_NS));
        for (uint64_t i = 1; i <= LIST_ROWS; i++)
            add(table, id, 2 * LIST_ROWS * round + i);
    }
}

bool list_is_sound(uint64_t id, const struct tmgr_buffer *rows) {
    uint8_t row[ROW_BYTES];
    size_t at = 0;
    for (uint64_t stamp = 0; stamp < STAMPS && at < rows->len; stamp++) {
        size_t len = row_encode(row, id, stamp, PAYLOAD);
        if (len <= rows->len - at && memcmp(rows->data + at, row, len) == 0)
            at += len;
        else if (at > 0)
            return false; /* the one that follows is another */
    }
    return at == rows->len;
}
