/* SPDX-License-Identifier: Apache-2.0 */
/* codec_read.h - the methods of Binding that read: one key's rows or what is in them, the next key, how many rows there are. */
#ifndef TABLEMGR_CODEC_READ_H
#define TABLEMGR_CODEC_READ_H

#include "codec_steps.h"

/* -- reading one row --------------------------------------------------------------------------------------------------------- */

static PyObject *binding_lookup(struct binding *self, PyObject *key) {
    PyObject *answer = NULL;
    struct scratch *scratch = scratch_take(self);
    if (scratch == NULL) {
        return NULL;
    }
    struct request r = request_for(self, scratch);
    if (key_argument(self, scratch, &r, key, "lookup", false)) {
        answer = answer_rows(self, &r, key, do_read(self, &r, step_lookup), "lookup");
    }
    scratch_give(self, scratch);
    return answer;
}

/* The value of a row (key, value) whose key has this many bytes. */
static inline PyObject *decode_pair_value(const struct binding *self, const struct tmgr_buffer *row, size_t key_len) {
    struct decoder d = decoder_for(self, row);
    uint64_t n;
    if (!take_array(&d, &n)) {
        return NULL;
    }
    if (n < 2 || !has(&d, key_len)) {
        PyErr_Format(PyExc_ValueError, "this row of %d elements is no (key, value) pair", (int)n);
        return NULL;
    }
    d.at += key_len;
    return decode_value(&d);
}

/* The value for a key; NULL without an exception: there is none. */
static inline PyObject *find_value(struct binding *self, PyObject *key, const char *verb) {
    PyObject *value = NULL;
    struct scratch *scratch = scratch_take(self);
    if (UNLIKELY(scratch == NULL)) {
        return NULL;
    }
    struct request r = request_for(self, scratch);
    if (LIKELY(key_argument(self, scratch, &r, key, verb, false))) {
        int status = do_read(self, &r, step_lookup);
        if (LIKELY(status == TMGR_OK)) {
            value = decode_pair_value(self, &scratch->result, r.key_len);
        } else if (status != TMGR_ABSENT) {
            refuse(self, status, verb, NULL);
        }
    }
    scratch_give(self, scratch);
    return value;
}

static inline PyObject *get_or(struct binding *self, PyObject *key, PyObject *other) {
    PyObject *value = find_value(self, key, "get");
    if (value == NULL && !PyErr_Occurred()) {
        value = other;
        Py_INCREF(value);
    }
    return value;
}

static PyObject *binding_get(struct binding *self, PyObject *const *arguments, Py_ssize_t n) {
    return has_arguments("get", n, 2, 2) ? get_or(self, arguments[0], arguments[1]) : NULL;
}

static PyObject *binding_getitem(struct binding *self, PyObject *key) {
    PyObject *value = find_value(self, key, "get");
    return LIKELY(value != NULL) || PyErr_Occurred() ? value : absent(key);
}

static PyObject *binding_contains(struct binding *self, PyObject *key) {
    PyObject *answer = NULL;
    struct scratch *scratch = scratch_take(self);
    if (scratch == NULL) {
        return NULL;
    }
    struct request r = request_for(self, scratch);
    if (key_argument(self, scratch, &r, key, "contains", false)) {
        answer = answer_bool(self, do_read(self, &r, step_contains), "contains");
    }
    scratch_give(self, scratch);
    return answer;
}

/* -- positions ------------------------------------------------------------------------------------------------------------ */

/* An int or what has __index__, but no bool, as an int; NULL with TypeError set. */
static PyObject *index_argument(PyObject *object, const char *verb, const char *what) {
    if (PyBool_Check(object) || !PyIndex_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s: %s must be an int, not %s", verb, what, Py_TYPE(object)->tp_name);
        return NULL;
    }
    return PyNumber_Index(object);
}

/* A position that may lie anywhere: -1 stands for all before the first, the largest for those beyond it. False with TypeError set. */
static bool position_argument(PyObject *object, const char *verb, Py_ssize_t *position) {
    PyObject *index = index_argument(object, verb, "a position");
    if (index == NULL) {
        return false;
    }
    int overflow;
    long value = PyLong_AsLongAndOverflow(index, &overflow);
    Py_DECREF(index);
    *position = overflow > 0 ? PY_SSIZE_T_MAX : overflow < 0 || value < 0 ? -1 : value;
    return true;
}

static PyObject *decode_element(struct binding *self, const struct tmgr_buffer *row, Py_ssize_t position) {
    struct decoder d = decoder_for(self, row);
    uint64_t n;
    if (!take_array(&d, &n)) {
        return NULL;
    }
    if (position < 0 || (uint64_t)position >= n) {
        PyObject *detail = PyUnicode_FromFormat("it has 0 to %d", (int)n - 1);
        if (detail != NULL) {
            refuse(self, TMGR_BAD_POSITION, "lookup_element", detail);
            Py_DECREF(detail);
        }
        return NULL;
    }
    return skip_values(&d, (uint64_t)position) ? decode_value(&d) : NULL;
}

/* The element of each row in the result, as a list. */
static PyObject *decode_elements(struct binding *self, const struct tmgr_buffer *rows, Py_ssize_t position) {
    struct decoder d = decoder_for(self, rows);
    PyObject *list = PyList_New(0);
    while (list != NULL && has(&d, 1)) {
        struct tmgr_buffer row = {.data = rows->data + (d.at - rows->data)};
        row.len = (size_t)(d.end - d.at);
        PyObject *element = decode_element(self, &row, position);
        if (element == NULL || PyList_Append(list, element) < 0 || !skip_values(&d, 1)) {
            Py_CLEAR(list);
        }
        Py_XDECREF(element);
    }
    return list;
}

/* lookup_element(key, position[, default]); in a bag a list, of the element of each row. */
static PyObject *binding_lookup_element(struct binding *self, PyObject *const *arguments, Py_ssize_t n) {
    static const char verb[] = "lookup_element";
    Py_ssize_t position;
    PyObject *answer = NULL;
    if (!has_arguments(verb, n, 2, 3) || !position_argument(arguments[1], verb, &position)) {
        return refuse_arguments(self, verb, false);
    }
    if (position < 0) {
        int status = self->api->admit(self->table, false);
        return refuse(self, status == TMGR_OK ? TMGR_BAD_POSITION : status, verb, NULL);
    }
    struct scratch *scratch = scratch_take(self);
    if (scratch == NULL) {
        return NULL;
    }
    struct request r = request_for(self, scratch);
    if (key_argument(self, scratch, &r, arguments[0], verb, false)) {
        int status = do_read(self, &r, step_lookup);
        if (status == TMGR_OK) {
            answer = self->bag ? decode_elements(self, &scratch->result, position)
                               : decode_element(self, &scratch->result, position);
        } else if (status == TMGR_ABSENT && n == 3) {
            answer = arguments[2];
            Py_INCREF(answer);
        } else {
            refuse(self, status, verb, status == TMGR_ABSENT ? arguments[0] : NULL);
        }
    }
    scratch_give(self, scratch);
    return answer;
}

/* -- keys in the table's order --------------------------------------------------------------------------------------------------------- */

/* The next row in the table's order, or a list of all that have its key, or None. */
static PyObject *take_step(struct binding *self, PyObject *const *arguments, Py_ssize_t n, bool all) {
    PyObject *answer = NULL;
    if (!has_arguments("step", n, 1, 2)) {
        return NULL;
    }
    struct scratch *scratch = scratch_take(self);
    if (scratch == NULL) {
        return NULL;
    }
    struct request r = request_for(self, scratch);
    r.direction = PyLong_AsLong(arguments[0]) < 0 ? -1 : 1;
    static const char *const verbs[2][2][2] = {{{"next", "prev"}, {"first", "last"}},
                                               {{"next_lookup", "prev_lookup"}, {"first_lookup", "last_lookup"}}};
    const char *doing = verbs[all][n == 1][r.direction < 0];
    if (n == 1 || key_argument(self, scratch, &r, arguments[1], doing, false)) {
        int status = do_read(self, &r, step_step);
        if (status == TMGR_OK) {
            struct decoder d = decoder_for(self, &scratch->result);
            struct known_key unknown = {NULL, NULL, 0, self->keypos};
            answer = all ? list_of_rows(&d, &unknown) : decode_row(&d);
        } else if (status == TMGR_END) {
            answer = Py_None;
            Py_INCREF(answer);
        } else {
            refuse(self, status, doing, NULL);
        }
    }
    scratch_give(self, scratch);
    return answer;
}

/* step(direction[, key]): the first row of the next key, or None. */
static PyObject *binding_step(struct binding *self, PyObject *const *arguments, Py_ssize_t n) {
    return take_step(self, arguments, n, false);
}

/* step_rows(direction[, key]): all rows of the next key, or None. */
static PyObject *binding_step_rows(struct binding *self, PyObject *const *arguments, Py_ssize_t n) {
    return take_step(self, arguments, n, true);
}

static PyObject *binding_length(struct binding *self, PyObject *unused) {
    (void)unused;
    struct request r = {.api = self->api, .table = self->table};
    int status = do_read(self, &r, step_len);
    return status == TMGR_OK ? PyLong_FromUnsignedLongLong(r.count) : refuse(self, status, "len", NULL);
}

#endif
