/* SPDX-License-Identifier: Apache-2.0 */
/* codec_batch.h - two objects with a life of their own: Scan, the iterator over all rows or those of a range, and Batch, the operations of an
 * atomic() block. Neither holds anything in shared memory between calls. */
#ifndef TABLEMGR_CODEC_BATCH_H
#define TABLEMGR_CODEC_BATCH_H

#include "codec_verbs.h"

/* Taken for the length of one call: Python code that the call runs, or another thread, may come back to the object. With
 * the GIL a plain exchange will do; an atomic one waits until the stores before it are done, which cost a quarter of an
 * iteration over small rows. */
static inline bool enter_object(bool *busy, const char *what) {
#ifdef Py_GIL_DISABLED
    bool was_busy = __atomic_exchange_n(busy, true, __ATOMIC_ACQUIRE);
#else
    bool was_busy = *busy;
    *busy = true;
#endif
    if (UNLIKELY(was_busy)) {
        PyErr_Format(PyExc_ValueError, "this %s is in use by another call", what);
        return false;
    }
    return true;
}

static inline void leave_object(bool *busy) { __atomic_store_n(busy, false, __ATOMIC_RELEASE); }

/* -- Scan ---------------------------------------------------------------------------------------------------------------- */

/* Rows are fetched by the batch, the first ones small, as many loops end early. */
enum { SCAN_FIRST_BYTES = 4096, SCAN_MOST_BYTES = 65536, SCAN_ROWS_KEPT = 1 << 17 };

struct scan {
    PyObject_HEAD struct binding *binding;
    struct tmgr_buffer rows;
    size_t offset; /* of the next row in `rows` */
    size_t left;   /* rows there */
    size_t want_bytes;
    struct tmgr_cursor cursor;
    struct tmgr_buffer keys; /* the bounds of a range, encoded */
    struct tmgr_range range;
    size_t limit; /* rows of a range that are still wanted */
    bool is_range;
    bool busy;
    bool has_ended;
};

static int step_range(struct request *r, int64_t wait_ns) {
    (void)wait_ns;
    return r->api->rows(r->table, r->range, r->cursor, r->limit, r->want_bytes, r->result, &r->n);
}

static int step_scan(struct request *r, int64_t wait_ns) {
    (void)wait_ns;
    return r->api->scan(r->table, r->cursor, r->want_bytes, r->result, &r->n);
}

/* Fetch the next rows; false at the end, or with an exception set. */
static bool scan_fetch(struct scan *self) {
    struct binding *binding = self->binding;
    struct request r = {.api = binding->api,
                        .table = binding->table,
                        .cursor = &self->cursor,
                        .range = &self->range,
                        .limit = self->limit,
                        .want_bytes = self->want_bytes,
                        .result = &self->rows};
    if (self->limit == 0) {
        return false;
    }
    int status = do_read(binding, &r, self->is_range ? step_range : step_scan);
    if (status != TMGR_OK) {
        if (status != TMGR_END) {
            refuse(binding, status, self->is_range ? "range" : "iter", NULL);
        }
        return false;
    }
    self->limit -= self->is_range ? r.n : 0;
    self->offset = 0;
    self->left = r.n;
    self->want_bytes = SCAN_MOST_BYTES;
    return true;
}

static PyObject *scan_row(struct scan *self) {
    while (!self->has_ended && self->left == 0) {
        self->has_ended = !scan_fetch(self);
    }
    if (self->has_ended) {
        return NULL;
    }
    struct decoder d = decoder_for(self->binding, &self->rows);
    d.at += self->offset;
    PyObject *row = decode_row(&d);
    self->offset = (size_t)(d.at - self->rows.data);
    self->left--;
    self->has_ended = row == NULL;
    return row;
}

static PyObject *scan_next(struct scan *self) {
    if (!enter_object(&self->busy, "iterator")) {
        return NULL;
    }
    PyObject *row = scan_row(self);
    leave_object(&self->busy);
    return row;
}

/* Short ranges come one after the other: an iterator leaves its memory for rows to the next. Not without the GIL, which is
 * what keeps two from taking it. */
static void lend_rows(struct binding *binding, struct scan *scan) {
#ifndef Py_GIL_DISABLED
    scan->rows = binding->rows;
    binding->rows = (struct tmgr_buffer){NULL, 0, 0};
#else
    (void)binding;
    (void)scan;
#endif
}

static void return_rows(struct binding *binding, struct scan *scan) {
#ifndef Py_GIL_DISABLED
    if (binding->rows.data == NULL && scan->rows.capacity <= SCAN_ROWS_KEPT) {
        binding->rows = scan->rows;
        return;
    }
#endif
    (void)binding;
    free(scan->rows.data);
}

static PyObject *binding_scan(struct binding *self, PyObject *unused) {
    (void)unused;
    int status = self->api->admit(self->table, false);
    if (status != TMGR_OK) {
        return refuse(self, status, "iter", NULL);
    }
    struct scan *scan = (struct scan *)self->state->scan_type->tp_alloc(self->state->scan_type, 0);
    if (scan != NULL) {
        Py_INCREF(self);
        scan->binding = self;
        scan->want_bytes = SCAN_FIRST_BYTES;
        scan->limit = SIZE_MAX;
        lend_rows(self, scan);
    }
    return (PyObject *)scan;
}

/* range(lo, hi, reverse, limit): None is no bound, and no limit. */
static PyObject *binding_range(struct binding *self, PyObject *const *arguments, Py_ssize_t n) {
    if (!has_arguments("range", n, 4, 4)) {
        return NULL;
    }
    struct scan *scan = (struct scan *)binding_scan(self, NULL);
    if (scan == NULL) {
        return NULL;
    }
    struct place here = {.kind = ROOT, .name = "bound"};
    struct encoder e = encoder_for(self, &scan->keys, &here);
    size_t lo_len = 0;
    bool done = arguments[0] == Py_None || encode_key(&e, arguments[0]);
    lo_len = scan->keys.len;
    done = done && (arguments[1] == Py_None || encode_key(&e, arguments[1]));
    int reverse = done ? PyObject_IsTrue(arguments[2]) : -1;
    scan->limit = reverse >= 0 && arguments[3] != Py_None ? PyLong_AsSize_t(arguments[3]) : SIZE_MAX;
    if (reverse < 0 || PyErr_Occurred()) {
        Py_DECREF(scan);
        return NULL;
    }
    scan->is_range = true;
    if (scan->limit != SIZE_MAX) {
        scan->want_bytes = SCAN_MOST_BYTES; /* the limit says where to end */
    }
    scan->range.lo = arguments[0] != Py_None ? scan->keys.data : NULL;
    scan->range.lo_len = lo_len;
    scan->range.hi = arguments[1] != Py_None ? scan->keys.data + lo_len : NULL;
    scan->range.hi_len = scan->keys.len - lo_len;
    scan->range.flags = reverse ? TMGR_RANGE_REVERSE : 0;
    return (PyObject *)scan;
}

static int scan_traverse(struct scan *self, visitproc visit, void *arg) {
    Py_VISIT(self->binding);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void scan_dealloc(struct scan *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->binding != NULL) {
        return_rows(self->binding, self);
    } else {
        free(self->rows.data);
    }
    free(self->keys.data);
    free(self->cursor.last.data);
    Py_XDECREF(self->binding);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot scan_slots[] = {
    {Py_tp_doc, "All rows of a table, fetched in batches while others write."},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, scan_next},
    {Py_tp_traverse, scan_traverse},
    {Py_tp_dealloc, scan_dealloc},
    {0, NULL},
};
static PyType_Spec scan_spec = {
    .name = "tablemgr._codec.Scan",
    .basicsize = sizeof(struct scan),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = scan_slots,
};

/* -- Batch --------------------------------------------------------------------------------------------------------------- */

struct batch {
    PyObject_HEAD struct binding *binding;
    struct tmgr_buffer bytes; /* the encodings of all ops, in order */
    struct tmgr_buffer ops;   /* an array of struct tmgr_op */
    PyObject *keys;           /* list: for each op the key of an update, else None; a KeyError names it */
    bool busy;
    bool has_ended;
};

/* Take over what was encoded into a scratch: all of it, or nothing. */
static bool batch_append(struct batch *self, const struct scratch *scratch, PyObject *key) {
    size_t n = scratch->ops.len / sizeof(struct tmgr_op);
    if (!reserve(&self->bytes, scratch->arguments.len) || !reserve(&self->ops, scratch->ops.len)) {
        return false;
    }
    Py_ssize_t before = PyList_GET_SIZE(self->keys);
    for (size_t i = 0; i < n; i++) {
        if (PyList_Append(self->keys, key) < 0) {
            PyList_SetSlice(self->keys, before, PY_SSIZE_T_MAX, NULL);
            return false;
        }
    }
    if (n > 0) {
        memcpy(self->bytes.data + self->bytes.len, scratch->arguments.data, scratch->arguments.len);
        memcpy(self->ops.data + self->ops.len, scratch->ops.data, scratch->ops.len);
        self->bytes.len += scratch->arguments.len;
        self->ops.len += scratch->ops.len;
    }
    return true;
}

/* What is to be recorded. */
struct record {
    uint32_t kind;
    const char *verb;
    PyObject *const *arguments;
    Py_ssize_t n;
};

/* A list goes in whole or, if one of its keys is there, not at all. */
static void mark_group(const struct record *record, struct scratch *scratch) {
    size_t n = scratch->ops.len / sizeof(struct tmgr_op);
    if (record->kind == TMGR_OP_INSERT_NEW && n > 1) {
        ((struct tmgr_op *)(void *)scratch->ops.data)->group = (uint32_t)n;
    }
}

/* Encode the arguments of one recorded call; false with an exception set. */
static bool encode_record(struct binding *binding, struct scratch *scratch, const struct record *record) {
    struct tmgr_op op = {.kind = record->kind};
    if (record->kind == TMGR_OP_UPDATE_COUNTER || record->kind == TMGR_OP_UPDATE_ELEMENT) {
        return encode_update(binding, scratch, record->arguments, record->n, &op, record->verb) &&
               append_op(&scratch->ops, &op);
    }
    PyObject *argument = record->arguments[0];
    bool is_delete = record->kind == TMGR_OP_DELETE;
    if (PyList_CheckExact(argument) && (record->kind == TMGR_OP_INSERT || record->kind == TMGR_OP_INSERT_NEW)) {
        if (!encode_rows(binding, scratch, argument, record->kind)) {
            return false;
        }
        mark_group(record, scratch);
        return true;
    }
    struct encoder e = encoder_for(binding, &scratch->arguments, is_delete ? &key_place : &row_place);
    bool done = is_delete ? encode_key(&e, argument) : encode_row(&e, argument, binding->keypos, NULL);
    *(is_delete ? &op.key_len : &op.row_len) = scratch->arguments.len;
    return done && append_op(&scratch->ops, &op);
}

static PyObject *batch_record(struct batch *self, const struct record *record) {
    struct binding *binding = self->binding;
    bool is_update = record->kind == TMGR_OP_UPDATE_COUNTER || record->kind == TMGR_OP_UPDATE_ELEMENT;
    if (self->has_ended) {
        PyErr_Format(PyExc_RuntimeError, "%s: this atomic block has ended", record->verb);
        return NULL;
    }
    struct scratch *scratch = scratch_take(binding);
    if (scratch == NULL) {
        return NULL;
    }
    bool done = encode_record(binding, scratch, record);
    if (!done) {
        refuse_arguments(binding, record->verb, true);
    } else if (enter_object(&self->busy, "atomic block")) {
        done = batch_append(self, scratch, is_update ? record->arguments[0] : Py_None);
        leave_object(&self->busy);
    } else {
        done = false;
    }
    scratch_give(binding, scratch);
    if (!done) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *batch_insert(struct batch *self, PyObject *rows) {
    return batch_record(self, &(struct record){TMGR_OP_INSERT, "insert", &rows, 1});
}

static PyObject *batch_insert_new(struct batch *self, PyObject *rows) {
    return batch_record(self, &(struct record){TMGR_OP_INSERT_NEW, "insert_new", &rows, 1});
}

static PyObject *batch_delete(struct batch *self, PyObject *key) {
    return batch_record(self, &(struct record){TMGR_OP_DELETE, "delete", &key, 1});
}

static PyObject *batch_delete_object(struct batch *self, PyObject *row) {
    return batch_record(self, &(struct record){TMGR_OP_DELETE_OBJECT, "delete_object", &row, 1});
}

static PyObject *batch_update_counter(struct batch *self, PyObject *const *arguments, Py_ssize_t n) {
    return batch_record(self, &(struct record){TMGR_OP_UPDATE_COUNTER, "update_counter", arguments, n});
}

static PyObject *batch_update_element(struct batch *self, PyObject *const *arguments, Py_ssize_t n) {
    return batch_record(self, &(struct record){TMGR_OP_UPDATE_ELEMENT, "update_element", arguments, n});
}

/* Raise what was wrong with the op that the core refused. Returns NULL. */
static PyObject *refuse_op(struct batch *self, int status, size_t failed) {
    static const char *const verbs[] = {
        [TMGR_OP_INSERT] = "insert",
        [TMGR_OP_INSERT_NEW] = "insert_new",
        [TMGR_OP_DELETE] = "delete",
        [TMGR_OP_DELETE_OBJECT] = "delete_object",
        [TMGR_OP_UPDATE_COUNTER] = "update_counter",
        [TMGR_OP_UPDATE_ELEMENT] = "update_element",
    };
    const struct tmgr_op *ops = (const struct tmgr_op *)(void *)self->ops.data;
    size_t n = self->ops.len / sizeof *ops;
    if (status == TMGR_ABSENT && failed < n) {
        return refuse(self->binding, status, verbs[ops[failed].kind], PyList_GET_ITEM(self->keys, (Py_ssize_t)failed));
    }
    if (failed >= n || status == TMGR_BUSY || status == RAISED) {
        return refuse(self->binding, status, "atomic", NULL);
    }
    PyObject *detail = PyUnicode_FromFormat("operation %zu of the atomic block", failed);
    if (detail != NULL) {
        refuse(self->binding, status, verbs[ops[failed].kind], detail);
        Py_DECREF(detail);
    }
    return NULL;
}

static int batch_apply(struct batch *self, size_t *failed) {
    struct binding *binding = self->binding;
    struct request r = {.api = binding->api, .table = binding->table, .failed = SIZE_MAX};
    request_ops(&r, &self->ops, &self->bytes);
    if (r.n == 0) {
        return binding->api->admit(binding->table, true);
    }
    bool is_long_call = r.n > LONG_ROWS || self->bytes.len > LONG_BYTES;
    int status = is_long_call ? wait_for_lock(binding, &r, step_apply) : do_write(binding, &r, step_apply);
    *failed = r.failed;
    return status;
}

/* commit(): run what was recorded, all of it or nothing. The block has ended then, either way. */
static PyObject *batch_commit(struct batch *self, PyObject *unused) {
    (void)unused;
    size_t failed = SIZE_MAX;
    if (!enter_object(&self->busy, "atomic block")) {
        return NULL;
    }
    bool had_ended = self->has_ended;
    self->has_ended = true;
    int status = had_ended ? RAISED : batch_apply(self, &failed);
    if (had_ended) {
        PyErr_SetString(PyExc_RuntimeError, "commit: this atomic block has ended");
    } else if (status != TMGR_OK) {
        refuse_op(self, status, failed);
    }
    leave_object(&self->busy);
    if (status != TMGR_OK) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *binding_batch(struct binding *self, PyObject *unused) {
    (void)unused;
    struct batch *batch = (struct batch *)self->state->batch_type->tp_alloc(self->state->batch_type, 0);
    if (batch == NULL) {
        return NULL;
    }
    Py_INCREF(self);
    batch->binding = self;
    batch->keys = PyList_New(0);
    if (batch->keys == NULL) {
        Py_DECREF(batch);
        return NULL;
    }
    return (PyObject *)batch;
}

static int batch_traverse(struct batch *self, visitproc visit, void *arg) {
    Py_VISIT(self->binding);
    Py_VISIT(self->keys);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void batch_dealloc(struct batch *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    free(self->bytes.data);
    free(self->ops.data);
    Py_XDECREF(self->binding);
    Py_XDECREF(self->keys);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef batch_methods[] = {
    {"insert", (PyCFunction)batch_insert, METH_O, "insert(row | [rows])"},
    {"insert_new", (PyCFunction)batch_insert_new, METH_O, "insert_new(row)"},
    {"delete", (PyCFunction)batch_delete, METH_O, "delete(key)"},
    {"delete_object", (PyCFunction)batch_delete_object, METH_O, "delete_object(row)"},
    {"update_counter", FASTCALL(batch_update_counter), METH_FASTCALL, "update_counter(key, op[, default])"},
    {"update_element", FASTCALL(batch_update_element), METH_FASTCALL, "update_element(key, spec[, default])"},
    {"commit", (PyCFunction)batch_commit, METH_NOARGS, "commit(): all of it, or nothing and an exception."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot batch_slots[] = {
    {Py_tp_doc, "Operations recorded for one multi-row write."},
    {Py_tp_methods, batch_methods},
    {Py_tp_traverse, batch_traverse},
    {Py_tp_dealloc, batch_dealloc},
    {0, NULL},
};
static PyType_Spec batch_spec = {
    .name = "tablemgr._codec.Batch",
    .basicsize = sizeof(struct batch),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = batch_slots,
};

#endif
