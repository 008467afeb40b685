/* SPDX-License-Identifier: Apache-2.0 */
/* codec_ops.h - operations, which a batch and the updates are made of, and the inserts: of a row, or of a list of rows as a batch. */
#ifndef TABLEMGR_CODEC_OPS_H
#define TABLEMGR_CODEC_OPS_H

#include "codec_write.h"

/* Append an op of which the lengths are known. */
static bool append_op(struct tmgr_buffer *ops, const struct tmgr_op *op) {
    if (!reserve(ops, sizeof *op)) {
        return false;
    }
    memcpy(ops->data + ops->len, op, sizeof *op);
    ops->len += sizeof *op;
    return true;
}

/* Fill in the addresses, when the bytes do not move any more: of each op its updates, its key and its row lie in this
 * order, behind those of the op before. An empty encoding is one that is not there. */
static inline void place_ops(struct tmgr_op *op, size_t n, const uint8_t *bytes) {
    for (; n > 0; n--, op++) {
        op->updates = op->updates_len == 0 ? NULL : bytes;
        bytes += op->updates_len;
        op->key = op->key_len == 0 ? NULL : bytes;
        bytes += op->key_len;
        op->row = op->row_len == 0 ? NULL : bytes;
        bytes += op->row_len;
    }
}

/* Place the ops of a buffer and make them the request's. */
static void request_ops(struct request *request, struct tmgr_buffer *ops, const struct tmgr_buffer *bytes) {
    struct tmgr_op *first = (struct tmgr_op *)(void *)ops->data;
    request->n = ops->len / sizeof *first;
    request->ops = first;
    place_ops(first, request->n, bytes->data);
}

enum { OBJECTS_AHEAD = 8 }; /* of a list whose elements are on their way from memory while one is encoded */

/* The row that comes 2 * OBJECTS_AHEAD rows later is set on its way from memory, and the elements of the one in between, which must
 * be at hand by then. With the GIL only: nothing else keeps these objects alive. */
static inline void prefetch_rows(PyObject *list, Py_ssize_t i) {
#ifndef Py_GIL_DISABLED
    Py_ssize_t n = PyList_GET_SIZE(list);
    if (i + 2 * OBJECTS_AHEAD < n) {
        prefetch_object(PyList_GET_ITEM(list, i + 2 * OBJECTS_AHEAD));
    }
    PyObject *row = i + OBJECTS_AHEAD < n ? PyList_GET_ITEM(list, i + OBJECTS_AHEAD) : NULL;
    if (row != NULL && PyTuple_CheckExact(row)) {
        for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(row) && k < 4; k++) {
            prefetch_object(PyTuple_GET_ITEM(row, k));
        }
    }
#else
    (void)list, (void)i;
#endif
}

/* The rows of a list, an op of this kind for each, into the scratch. False with an exception set. */
static bool encode_rows(struct binding *self, struct scratch *scratch, PyObject *list, uint32_t kind) {
    struct place here = {.kind = ROOT_INDEX, .name = "rows"};
    struct encoder e = encoder_for(self, &scratch->arguments, &here);
    Py_ssize_t n = PyList_GET_SIZE(list);
    for (; here.index < n; here.index++) {
        size_t start = scratch->arguments.len;
        prefetch_rows(list, here.index);
        PyObject *row = list_item(list, here.index);
        bool done =
            row != NULL && encode_row(&e, row, self->keypos, NULL) &&
            append_op(&scratch->ops, &(struct tmgr_op){.kind = kind, .row_len = scratch->arguments.len - start});
        Py_XDECREF(row);
        if (!done) {
            return row == NULL ? fail_changed(&e, list) : false;
        }
    }
    return true;
}

/* Run the ops in the scratch as one change. */
static int apply(struct binding *self, struct scratch *scratch, struct request *r) {
    request_ops(r, &scratch->ops, &scratch->arguments);
    if (r->n == 0) {
        return self->api->admit(self->table, true);
    }
    return is_long(r->n, scratch) ? wait_for_lock(self, r, step_apply) : do_write(self, r, step_apply);
}

/* The status of inserting a row or a list of rows; RAISED where an argument is wrong. */
static int insert_any(struct binding *self, struct scratch *scratch, PyObject *rows, bool is_new, const char *verb) {
    struct request r = request_for(self, scratch);
    if (LIKELY(PyTuple_CheckExact(rows))) {
        return row_argument(self, scratch, &r, rows, verb)
                   ? write_row(self, scratch, &r, is_new ? step_insert_new : step_insert)
                   : RAISED;
    }
    bool done = PyList_CheckExact(rows);
    if (!done) {
        PyErr_Format(PyExc_TypeError, "%s: a row is a tuple, and several are a list of tuples, exactly these; not %s",
                     verb, Py_TYPE(rows)->tp_name);
    }
    if (!done || !encode_rows(self, scratch, rows, is_new ? TMGR_OP_INSERT_ALL_NEW : TMGR_OP_INSERT)) {
        refuse_arguments(self, verb, true);
        return RAISED;
    }
    int status = apply(self, scratch, &r);
    if (status == TMGR_OK || status == TMGR_PRESENT || status == TMGR_BUSY || status == RAISED || r.n == 0) {
        return status;
    }
    PyObject *detail = PyUnicode_FromFormat("rows[%zu]", r.failed);
    if (detail != NULL) {
        refuse(self, status, verb, detail);
        Py_DECREF(detail);
    }
    return RAISED;
}

static PyObject *binding_insert(struct binding *self, PyObject *rows) {
    struct scratch *scratch = scratch_take(self);
    if (scratch == NULL) {
        return NULL;
    }
    int status = insert_any(self, scratch, rows, false, "insert");
    scratch_give(self, scratch);
    if (UNLIKELY(status != TMGR_OK)) {
        return refuse(self, status, "insert", NULL);
    }
    Py_RETURN_NONE;
}

static PyObject *binding_insert_new(struct binding *self, PyObject *rows) {
    struct scratch *scratch = scratch_take(self);
    if (scratch == NULL) {
        return NULL;
    }
    int status = insert_any(self, scratch, rows, true, "insert_new");
    scratch_give(self, scratch);
    if (status == TMGR_OK || status == TMGR_PRESENT) {
        return PyBool_FromLong(status == TMGR_OK);
    }
    return refuse(self, status, "insert_new", NULL);
}

#endif
