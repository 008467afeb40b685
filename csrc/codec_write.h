/* SPDX-License-Identifier: Apache-2.0 */
/* codec_write.h - the methods of Binding that write one row or remove rows: put, delete, take, delete_object, compare_and_swap, delete_all. */
#ifndef TABLEMGR_CODEC_WRITE_H
#define TABLEMGR_CODEC_WRITE_H

#include "codec_steps.h"

static inline int write_row(struct binding *self, struct scratch *scratch, struct request *r, step_fn step) {
    return is_long(1, scratch) ? wait_for_lock(self, r, step) : do_write(self, r, step);
}

/* put(key, value): insert the row (key, value) without making the tuple. */
static PyObject *binding_put(struct binding *self, PyObject *const *arguments, Py_ssize_t n) {
    static const struct place value_place = {.kind = ROOT, .name = "value"};
    if (!has_arguments("put", n, 2, 2)) {
        return NULL;
    }
    struct scratch *scratch = scratch_take(self);
    if (UNLIKELY(scratch == NULL)) {
        return NULL;
    }
    bool done = false;
    struct request r = request_for(self, scratch);
    struct encoder e = encoder_for(self, &scratch->arguments, &key_place);
    if (LIKELY(put_byte(&e, 0x92) && encode_key(&e, arguments[0]))) {
        e.place = &value_place;
        done = encode_value(&e, arguments[1]);
    }
    if (LIKELY(done)) {
        r.row = scratch->arguments.data;
        r.row_len = scratch->arguments.len;
        int status = write_row(self, scratch, &r, step_insert);
        if (UNLIKELY(status != TMGR_OK)) {
            refuse(self, status, "put", NULL);
            done = false;
        }
    } else {
        refuse_arguments(self, "put", true);
    }
    scratch_give(self, scratch);
    if (!done) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* The status of removing a key; RAISED where it cannot be one. */
static inline int delete_one(struct binding *self, PyObject *key) {
    int status = RAISED;
    struct scratch *scratch = scratch_take(self);
    if (UNLIKELY(scratch == NULL)) {
        return RAISED;
    }
    struct request r = request_for(self, scratch);
    if (LIKELY(key_argument(self, scratch, &r, key, "delete", true))) {
        status = do_write(self, &r, step_delete);
    }
    scratch_give(self, scratch);
    return status;
}

/* How many rows of a bag went with a key. */
static PyObject *delete_rows(struct binding *self, PyObject *key) {
    PyObject *answer = NULL;
    struct scratch *scratch = scratch_take(self);
    if (scratch == NULL) {
        return NULL;
    }
    struct request r = request_for(self, scratch);
    if (key_argument(self, scratch, &r, key, "delete", true)) {
        r.n = 1;
        int status = do_write(self, &r, step_delete_many);
        answer = status == TMGR_OK ? PyLong_FromUnsignedLongLong(r.count) : refuse(self, status, "delete", NULL);
    }
    scratch_give(self, scratch);
    return answer;
}

static PyObject *binding_delete(struct binding *self, PyObject *key) {
    return self->bag ? delete_rows(self, key) : answer_count(self, delete_one(self, key), "delete");
}

static PyObject *binding_take(struct binding *self, PyObject *key) {
    PyObject *answer = NULL;
    struct scratch *scratch = scratch_take(self);
    if (scratch == NULL) {
        return NULL;
    }
    struct request r = request_for(self, scratch);
    if (key_argument(self, scratch, &r, key, "take", true)) {
        answer = answer_rows(self, &r, key, do_write(self, &r, step_take), "take");
    }
    scratch_give(self, scratch);
    return answer;
}

static PyObject *binding_delete_object(struct binding *self, PyObject *row) {
    PyObject *answer = NULL;
    struct scratch *scratch = scratch_take(self);
    if (scratch == NULL) {
        return NULL;
    }
    struct request r = request_for(self, scratch);
    if (row_argument(self, scratch, &r, row, "delete_object")) {
        int status = write_row(self, scratch, &r, step_delete_object);
        answer = status == TMGR_OK || status == TMGR_ABSENT ? PyLong_FromUnsignedLongLong(r.count)
                                                            : refuse(self, status, "delete_object", NULL);
    }
    scratch_give(self, scratch);
    return answer;
}

/* compare_and_swap(old_row, new_row) */
static PyObject *binding_compare_and_swap(struct binding *self, PyObject *const *arguments, Py_ssize_t n) {
    static const char verb[] = "compare_and_swap";
    static const struct place places[] = {{.kind = ROOT, .name = "old_row"}, {.kind = ROOT, .name = "new_row"}};
    PyObject *answer = NULL;
    if (self->bag) {
        return refuse_table(self, verb);
    }
    if (!has_arguments(verb, n, 2, 2)) {
        return refuse_arguments(self, verb, true);
    }
    struct scratch *scratch = scratch_take(self);
    if (scratch == NULL) {
        return NULL;
    }
    struct request r = request_for(self, scratch);
    struct encoder e = encoder_for(self, &scratch->arguments, &places[0]);
    bool done = encode_row(&e, arguments[0], self->keypos, NULL);
    size_t old_len = scratch->arguments.len;
    if (done) {
        e.place = &places[1];
        done = encode_row(&e, arguments[1], self->keypos, NULL);
    }
    if (done) {
        r.key = scratch->arguments.data;
        r.key_len = old_len;
        r.row = scratch->arguments.data + old_len;
        r.row_len = scratch->arguments.len - old_len;
        answer = answer_bool(self, write_row(self, scratch, &r, step_compare_and_swap), verb);
    } else {
        refuse_arguments(self, verb, true);
    }
    scratch_give(self, scratch);
    return answer;
}

static PyObject *binding_delete_all(struct binding *self, PyObject *unused) {
    (void)unused;
    struct request r = {.api = self->api, .table = self->table};
    int status = wait_for_lock(self, &r, step_delete_all);
    return status == TMGR_OK ? PyLong_FromUnsignedLongLong(r.count) : refuse(self, status, "delete_all", NULL);
}

#endif
