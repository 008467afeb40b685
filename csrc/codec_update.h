/* SPDX-License-Identifier: Apache-2.0 */
/* codec_update.h - update_counter and update_element: what they are to do, encoded, and what came of it. */
#ifndef TABLEMGR_CODEC_UPDATE_H
#define TABLEMGR_CODEC_UPDATE_H

#include "codec_ops.h"
#include "codec_read.h"

static bool encode_index(struct encoder *e, PyObject *object, const char *verb, const char *what) {
    if (LIKELY(PyLong_CheckExact(object))) {
        return encode_int(e, object);
    }
    PyObject *index = index_argument(object, verb, what);
    bool done = index != NULL && encode_int(e, index);
    Py_XDECREF(index);
    return done;
}

/* Raise TypeError with what an operation is, and what was given instead. Returns false. */
static bool misshapen_op(const char *format, PyObject *op) {
    PyObject *message = with_repr(format, op);
    if (message != NULL) {
        PyErr_SetObject(PyExc_TypeError, message);
        Py_DECREF(message);
    }
    return false;
}

/* (position, n) or (position, n, threshold, reset) */
static bool encode_counter_op(struct encoder *e, PyObject *op) {
    static const char *const parts[] = {"a position", "an increment", "a threshold", "a reset value"};
    static const char verb[] = "update_counter";
    Py_ssize_t n = PyTuple_CheckExact(op) ? PyTuple_GET_SIZE(op) : 0;
    if (n != 2 && n != 4) {
        return misshapen_op(
            "update_counter: an operation is n, (pos, n), (pos, n, threshold, reset), or a list of such "
            "tuples; not %.100U",
            op);
    }
    bool done = put_header(e, &array_forms, n);
    for (Py_ssize_t i = 0; done && i < n; i++) {
        done = encode_index(e, PyTuple_GET_ITEM(op, i), verb, parts[i]);
    }
    return done;
}

/* (position, value) */
static bool encode_element_op(struct encoder *e, PyObject *op) {
    static const struct place value_place = {.kind = ROOT, .name = "the new value"};
    if (!PyTuple_CheckExact(op) || PyTuple_GET_SIZE(op) != 2) {
        return misshapen_op("update_element: an update is (pos, value) or a list of such tuples; not %.100U", op);
    }
    e->place = &value_place;
    return put_header(e, &array_forms, 2) && encode_index(e, PyTuple_GET_ITEM(op, 0), "update_element", "a position") &&
           encode_value(e, PyTuple_GET_ITEM(op, 1));
}

static bool encode_op_list(struct encoder *e, PyObject *list, bool (*encode_op)(struct encoder *, PyObject *)) {
    Py_ssize_t n = PyList_GET_SIZE(list);
    bool done = put_header(e, &array_forms, n);
    for (Py_ssize_t i = 0; done && i < n; i++) {
        PyObject *op = list_item(list, i);
        done = op != NULL ? encode_op(e, op) : fail_changed(e, list);
        Py_XDECREF(op);
    }
    return done;
}

/* The second argument of update_counter or update_element, as struct tmgr_op has it in `updates`. */
static bool encode_updates(struct binding *self, struct encoder *e, PyObject *spec, uint32_t kind) {
    bool (*encode_op)(struct encoder *, PyObject *) =
        kind == TMGR_OP_UPDATE_COUNTER ? encode_counter_op : encode_element_op;
    if (PyList_CheckExact(spec)) {
        return encode_op_list(e, spec, encode_op);
    }
    if (kind == TMGR_OP_UPDATE_COUNTER && !PyTuple_Check(spec)) { /* n: of the element after the key */
        return put_header(e, &array_forms, 1) && put_header(e, &array_forms, 2) &&
               put_uint64(e, (uint64_t)self->keypos + 1) &&
               encode_index(e, spec, "update_counter", "an operation other than a tuple or a list");
    }
    return put_header(e, &array_forms, 1) && encode_op(e, spec);
}

/* A default row has to be one, whatever else is wrong. */
static bool check_default(struct binding *self, PyObject *row, const char *verb) {
    if (!PyTuple_CheckExact(row)) {
        PyErr_Format(PyExc_TypeError, "%s: the default is a row, which is a tuple, and exactly that, not %s", verb,
                     Py_TYPE(row)->tp_name);
        return false;
    }
    if (PyTuple_GET_SIZE(row) <= (Py_ssize_t)self->keypos) {
        PyErr_Format(PyExc_ValueError,
                     "%s: a default row of %zd elements has no place for the key: that is position %u", verb,
                     PyTuple_GET_SIZE(row), (unsigned)self->keypos);
        return false;
    }
    return true;
}

/* arguments: key, spec[, default]; of op, the kind is given. Its bytes go to the end of the scratch, its lengths into op.
 * The spec's shape comes before the key, so updates lie first; the default row's own key is not looked at, as the key
 * takes its place. */
static bool encode_update(struct binding *self, struct scratch *scratch, PyObject *const *arguments, Py_ssize_t n,
                          struct tmgr_op *op, const char *verb) {
    static const struct place default_place = {.kind = ROOT, .name = "default"};
    struct tmgr_buffer *out = &scratch->arguments;
    size_t start = out->len;
    struct encoder e = encoder_for(self, out, &key_place);
    if (!has_arguments(verb, n, 2, 3) || !encode_updates(self, &e, arguments[1], op->kind) ||
        (n == 3 && !check_default(self, arguments[2], verb))) {
        return false;
    }
    struct span key = {.offset = out->len};
    e.place = &key_place;
    if (!encode_key(&e, arguments[0])) {
        return false;
    }
    key.len = out->len - key.offset;
    e.place = &default_place;
    if (n == 3 && !encode_row(&e, arguments[2], self->keypos, &key)) {
        return false;
    }
    op->updates_len = key.offset - start;
    op->key_len = key.len;
    op->row_len = out->len - key.offset - key.len;
    return true;
}

/* The status of an update whose encodings are in the scratch, of the lengths in op. */
static inline int update_one(struct binding *self, struct scratch *scratch, struct tmgr_op *op) {
    struct request r = request_for(self, scratch);
    place_ops(op, 1, scratch->arguments.data);
    r.ops = op;
    return write_row(self, scratch, &r, step_update);
}

/* The value in an array of one. */
static inline PyObject *decode_only_element(const struct binding *self, const struct tmgr_buffer *array) {
    struct decoder d = decoder_for(self, array);
    d.at++;
    return decode_value(&d);
}

/* The status of an update; RAISED where an argument is wrong. */
static int update(struct binding *self, struct scratch *scratch, PyObject *const *arguments, Py_ssize_t n,
                  uint32_t kind, const char *verb) {
    struct tmgr_op op = {.kind = kind};
    if (!encode_update(self, scratch, arguments, n, &op, verb)) {
        refuse_arguments(self, verb, true);
        return RAISED;
    }
    return update_one(self, scratch, &op);
}

/* update_counter(key, op[, default]): an int, or a list for a list of ops. */
static PyObject *binding_update_counter(struct binding *self, PyObject *const *arguments, Py_ssize_t n) {
    static const char verb[] = "update_counter";
    PyObject *answer = NULL;
    if (self->bag) {
        return refuse_table(self, verb);
    }
    struct scratch *scratch = scratch_take(self);
    if (UNLIKELY(scratch == NULL)) {
        return NULL;
    }
    int status = update(self, scratch, arguments, n, TMGR_OP_UPDATE_COUNTER, verb);
    if (LIKELY(status == TMGR_OK)) {
        struct decoder d = decoder_for(self, &scratch->result);
        answer = PyList_CheckExact(arguments[1]) ? decode_value(&d) : decode_only_element(self, &scratch->result);
    } else if (status == TMGR_ABSENT) {
        refuse(self, status, verb, arguments[0]);
    } else {
        refuse_key(self, status, verb, n > 0 ? arguments[0] : Py_None);
    }
    scratch_give(self, scratch);
    return answer;
}

/* update_element(key, spec[, default]): False where there is neither the key nor a default. */
static PyObject *binding_update_element(struct binding *self, PyObject *const *arguments, Py_ssize_t n) {
    static const char verb[] = "update_element";
    if (self->bag) {
        return refuse_table(self, verb);
    }
    struct scratch *scratch = scratch_take(self);
    if (scratch == NULL) {
        return NULL;
    }
    int status = update(self, scratch, arguments, n, TMGR_OP_UPDATE_ELEMENT, verb);
    scratch_give(self, scratch);
    if (status == TMGR_OK || status == TMGR_ABSENT) {
        return PyBool_FromLong(status == TMGR_OK);
    }
    return refuse_key(self, status, verb, n > 0 ? arguments[0] : Py_None);
}

#endif
