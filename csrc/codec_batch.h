/* SPDX-License-Identifier: Apache-2.0 */
/* codec_batch.h - two objects with a life of their own: Scan, the iterator over all rows or those of a range, and Batch, the
 * base of Atomic: the operations of an atomic() block. Neither holds anything in shared memory between calls. */
#ifndef TABLEMGR_CODEC_BATCH_H
#define TABLEMGR_CODEC_BATCH_H

#include "codec_update.h"

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

/* An iterator that has not begun; verb: whose it is. NULL with an exception set. */
static struct scan *new_scan(struct binding *self, const char *verb) {
    int status = self->api->admit(self->table, false);
    if (status != TMGR_OK) {
        refuse(self, status, verb, NULL);
        return NULL;
    }
    struct scan *scan = (struct scan *)self->state->scan_type->tp_alloc(self->state->scan_type, 0);
    if (scan != NULL) {
        Py_INCREF(self);
        scan->binding = self;
        scan->want_bytes = SCAN_FIRST_BYTES;
        scan->limit = SIZE_MAX;
        lend_rows(self, scan);
    }
    return scan;
}

static PyObject *binding_scan(struct binding *self, PyObject *unused) {
    (void)unused;
    return (PyObject *)new_scan(self, "iter");
}

/* range(lo, hi, reverse, limit): None is no bound, and no limit. */
static PyObject *binding_range(struct binding *self, PyObject *const *arguments, Py_ssize_t n) {
    if (!has_arguments("range", n, 4, 4)) {
        return NULL;
    }
    struct scan *scan = new_scan(self, "range");
    if (scan == NULL) {
        return NULL;
    }
    struct place here = {.kind = ROOT, .name = "bound"};
    struct encoder e = encoder_for(self, &scan->keys, &here);
    size_t lo_len = 0;
    bool done = arguments[0] == Py_None || encode_key(&e, arguments[0]);
    lo_len = scan->keys.len;
    done = done && (arguments[1] == Py_None || encode_key(&e, arguments[1]));
    if (!done) {
        blame_arguments(self, "range");
    }
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

/* One call at a time records: Python code that the encoding runs, or another thread, may come back meanwhile, and is
 * refused. So what is in the scratch stays in its place until that call has ended. */
enum phase { NEW, OPEN, RECORDING, ENDED };

struct batch {
    PyObject_HEAD struct binding *binding;
    struct scratch *scratch; /* the Binding's, taken from the begin of the block to its end: all ops, in order */
    enum phase phase;
};

/* Go from one phase to another; false: the block is not in the first. */
static inline bool pass(struct batch *self, enum phase from, enum phase to) {
#ifdef Py_GIL_DISABLED
    return __atomic_compare_exchange_n(&self->phase, &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
#else
    bool is_there = self->phase == from;
    self->phase = is_there ? to : self->phase;
    return is_there;
#endif
}

/* Raise that the block is not open. Returns NULL. */
static PyObject *refuse_phase(struct batch *self) {
    enum phase phase = __atomic_load_n(&self->phase, __ATOMIC_RELAXED);
    if (phase == NEW || phase == ENDED) {
        PyErr_SetString(PyExc_RuntimeError, "an atomic block records between its begin and its end only: "
                                            "with table.atomic() as tx");
    } else {
        PyErr_SetString(PyExc_ValueError, "this atomic block is in use by another call");
    }
    return NULL;
}

/* What is recorded, by enum tmgr_op_kind. */
static const struct verb {
    const char *name;
    const char *arguments[MOST_ARGUMENTS + 1];
    Py_ssize_t n_required;
} batch_verbs[] = {
    [TMGR_OP_INSERT] = {"insert", {"rows"}, 1},
    [TMGR_OP_INSERT_NEW] = {"insert_new", {"rows"}, 1},
    [TMGR_OP_DELETE] = {"delete", {"key"}, 1},
    [TMGR_OP_DELETE_OBJECT] = {"delete_object", {"row"}, 1},
    [TMGR_OP_UPDATE_COUNTER] = {"update_counter", {"key", "op", "default"}, 2},
    [TMGR_OP_UPDATE_ELEMENT] = {"update_element", {"key", "spec", "default"}, 2},
};

/* A list, an op for each row. One of new rows goes in whole or, if one of its keys is there, not at all. */
static bool encode_group(struct binding *binding, struct scratch *scratch, uint32_t kind, PyObject *list) {
    size_t first = scratch->ops.len;
    if (!encode_rows(binding, scratch, list, kind)) {
        return false;
    }
    size_t n = (scratch->ops.len - first) / sizeof(struct tmgr_op);
    if (kind == TMGR_OP_INSERT_NEW && n > 1) {
        ((struct tmgr_op *)(void *)(scratch->ops.data + first))->group = (uint32_t)n;
    }
    return true;
}

/* Append the ops of one call; false with an exception set. */
static bool encode_record(struct binding *binding, struct scratch *scratch, uint32_t kind, PyObject *const *values) {
    struct tmgr_op op = {.kind = kind};
    if (kind == TMGR_OP_UPDATE_COUNTER || kind == TMGR_OP_UPDATE_ELEMENT) {
        return encode_update(binding, scratch, values, values[2] == NULL ? 2 : 3, &op, batch_verbs[kind].name) &&
               append_op(&scratch->ops, &op);
    }
    if (PyList_CheckExact(values[0]) && (kind == TMGR_OP_INSERT || kind == TMGR_OP_INSERT_NEW)) {
        return encode_group(binding, scratch, kind, values[0]);
    }
    size_t start = scratch->arguments.len;
    bool is_delete = kind == TMGR_OP_DELETE;
    struct encoder e = encoder_for(binding, &scratch->arguments, is_delete ? &key_place : &row_place);
    bool done = is_delete ? encode_key(&e, values[0]) : encode_row(&e, values[0], binding->keypos, NULL);
    *(is_delete ? &op.key_len : &op.row_len) = scratch->arguments.len - start;
    return done && append_op(&scratch->ops, &op);
}

/* Record a call, all of it or nothing. */
static PyObject *batch_record(PyObject *object, uint32_t kind, PyObject *const *arguments, Py_ssize_t n,
                              PyObject *names) {
    const struct verb *verb = &batch_verbs[kind];
    struct batch *self = (struct batch *)object;
    PyObject *values[MOST_ARGUMENTS];
    if (UNLIKELY(!take_arguments(verb->name, verb->arguments, 0, verb->n_required, arguments, n, names, values))) {
        return NULL;
    }
    if (UNLIKELY(!pass(self, OPEN, RECORDING))) {
        return refuse_phase(self);
    }
    struct scratch *scratch = self->scratch;
    size_t bytes_before = scratch->arguments.len;
    size_t ops_before = scratch->ops.len;
    bool done = encode_record(self->binding, scratch, kind, values);
    if (UNLIKELY(!done)) {
        scratch->arguments.len = bytes_before;
        scratch->ops.len = ops_before;
        refuse_arguments(self->binding, verb->name, true);
    }
    pass(self, RECORDING, OPEN);
    return LIKELY(done) ? Py_NewRef(Py_None) : NULL;
}

static PyObject *batch_insert(PyObject *self, PyObject *const *arguments, Py_ssize_t n, PyObject *names) {
    return batch_record(self, TMGR_OP_INSERT, arguments, n, names);
}

static PyObject *batch_insert_new(PyObject *self, PyObject *const *arguments, Py_ssize_t n, PyObject *names) {
    return batch_record(self, TMGR_OP_INSERT_NEW, arguments, n, names);
}

static PyObject *batch_delete(PyObject *self, PyObject *const *arguments, Py_ssize_t n, PyObject *names) {
    return batch_record(self, TMGR_OP_DELETE, arguments, n, names);
}

static PyObject *batch_delete_object(PyObject *self, PyObject *const *arguments, Py_ssize_t n, PyObject *names) {
    return batch_record(self, TMGR_OP_DELETE_OBJECT, arguments, n, names);
}

static PyObject *batch_update_counter(PyObject *self, PyObject *const *arguments, Py_ssize_t n, PyObject *names) {
    return batch_record(self, TMGR_OP_UPDATE_COUNTER, arguments, n, names);
}

static PyObject *batch_update_element(PyObject *self, PyObject *const *arguments, Py_ssize_t n, PyObject *names) {
    return batch_record(self, TMGR_OP_UPDATE_ELEMENT, arguments, n, names);
}

/* A copy of the key of an op. */
static PyObject *decode_key(struct binding *binding, const struct tmgr_op *op) {
    struct decoder d = {.state = binding->state, .at = op->key, .end = op->key + op->key_len};
    return decode_value(&d);
}

/* Raise what was wrong with the op that the core refused. Returns NULL. */
static PyObject *refuse_op(struct binding *binding, int status, const struct request *r) {
    if (r->failed >= r->n || status == TMGR_BUSY || status == RAISED) {
        return refuse(binding, status, "atomic", NULL);
    }
    const struct tmgr_op *op = &r->ops[r->failed];
    PyObject *detail = status == TMGR_ABSENT ? decode_key(binding, op)
                                             : PyUnicode_FromFormat("operation %zu of the atomic block", r->failed);
    if (detail != NULL) {
        refuse(binding, status, batch_verbs[op->kind].name, detail);
        Py_DECREF(detail);
    }
    return NULL;
}

static PyObject *batch_enter(PyObject *object, PyObject *unused) {
    (void)unused;
    struct batch *self = (struct batch *)object;
    if (!pass(self, NEW, RECORDING)) {
        PyErr_SetString(PyExc_RuntimeError, "an atomic block runs once: call table.atomic() again");
        return NULL;
    }
    int status = self->binding->api->admit(self->binding->table, false);
    bool is_of_no_use =
        status == TMGR_CLOSED || status == TMGR_NO_TABLE; /* other refusals come at the end of the block */
    self->scratch = is_of_no_use ? NULL : scratch_take(self->binding);
    bool done = self->scratch != NULL;
    pass(self, RECORDING, done ? OPEN : NEW);
    if (is_of_no_use) {
        return refuse(self->binding, status, "atomic", NULL);
    }
    return done ? Py_NewRef(object) : NULL;
}

/* Run what was recorded, all of it or nothing; nothing after an exception. The block has ended then, either way. */
static PyObject *batch_exit(PyObject *object, PyObject *const *arguments, Py_ssize_t n) {
    struct batch *self = (struct batch *)object;
    if (!has_arguments("__exit__", n, 3, 3)) {
        return NULL;
    }
    if (!pass(self, OPEN, ENDED)) {
        return refuse_phase(self);
    }
    struct scratch *scratch = self->scratch;
    self->scratch = NULL;
    int status = TMGR_OK;
    if (arguments[0] == Py_None) {
        struct request r = request_for(self->binding, scratch);
        r.failed = SIZE_MAX;
        status = apply(self->binding, scratch, &r);
        if (UNLIKELY(status != TMGR_OK)) {
            refuse_op(self->binding, status, &r);
        }
    }
    scratch_give(self->binding, scratch);
    return status == TMGR_OK ? Py_NewRef(Py_None) : NULL;
}

/* From a Binding, which no class derives from, so its type is told by what is its own. */
static PyObject *batch_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    PyObject *binding = PyTuple_GET_SIZE(arguments) == 1 && keywords == NULL ? PyTuple_GET_ITEM(arguments, 0) : NULL;
    if (binding == NULL || Py_TYPE(binding)->tp_new != binding_new) {
        PyErr_SetString(PyExc_TypeError, "an atomic block is made by table.atomic()");
        return NULL;
    }
    struct batch *self = (struct batch *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->binding = (struct binding *)Py_NewRef(binding);
    }
    return (PyObject *)self;
}

static int batch_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(((struct batch *)self)->binding);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void batch_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    struct batch *self = (struct batch *)object;
    PyObject_GC_UnTrack(self);
    if (self->scratch != NULL) { /* the block was left without its end */
        scratch_give(self->binding, self->scratch);
    }
    Py_XDECREF(self->binding);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef batch_methods[] = {
    {"insert", FASTCALL(batch_insert), METH_FASTCALL | METH_KEYWORDS,
     "insert($self, /, rows)\n--\n\nPut in a row or a list of rows, in place of those with the same keys."},
    {"insert_new", FASTCALL(batch_insert_new), METH_FASTCALL | METH_KEYWORDS,
     "insert_new($self, /, rows)\n--\n\n"
     "Put in a row or a list of rows, or nothing if there is one with one of the keys by then."},
    {"delete", FASTCALL(batch_delete), METH_FASTCALL | METH_KEYWORDS,
     "delete($self, /, key)\n--\n\nRemove the rows with this key."},
    {"delete_object", FASTCALL(batch_delete_object), METH_FASTCALL | METH_KEYWORDS,
     "delete_object($self, /, row)\n--\n\nRemove this very row."},
    {"update_counter", FASTCALL(batch_update_counter), METH_FASTCALL | METH_KEYWORDS,
     "update_counter($self, /, key, op, default=...)\n--\n\nAdd to ints in the row with this key."},
    {"update_element", FASTCALL(batch_update_element), METH_FASTCALL | METH_KEYWORDS,
     "update_element($self, /, key, spec, default=...)\n--\n\nReplace elements of the row with this key."},
    {"__enter__", batch_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nBegin to record; once."},
    {"__exit__", FASTCALL(batch_exit), METH_FASTCALL,
     "__exit__($self, kind, error, trace, /)\n--\n\nRun what was recorded, all of it or nothing."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot batch_slots[] = {
    {Py_tp_doc, "Operations recorded for one multi-row write."},
    {Py_tp_new, batch_new},
    {Py_tp_methods, batch_methods},
    {Py_tp_traverse, batch_traverse},
    {Py_tp_dealloc, batch_dealloc},
    {0, NULL},
};
static PyType_Spec batch_spec = {
    .name = "tablemgr._codec.Batch",
    .basicsize = sizeof(struct batch),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = batch_slots,
};

#endif
