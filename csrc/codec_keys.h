/* SPDX-License-Identifier: Apache-2.0 */
/* codec_keys.h - the methods of Binding that take many keys: lookup_many, delete_many. */
#ifndef TABLEMGR_CODEC_KEYS_H
#define TABLEMGR_CODEC_KEYS_H

#include "codec_steps.h"

/* What an iterable gives, as a tuple; NULL with an exception set. */
static PyObject *tuple_of(PyObject *iterable) {
    if (PyTuple_CheckExact(iterable)) {
        Py_INCREF(iterable);
        return iterable;
    }
    for (Py_ssize_t i = 0; PyList_CheckExact(iterable) && i < PyList_GET_SIZE(iterable); i++) {
        prefetch_object(PyList_GET_ITEM(iterable, i));
    }
    return PySequence_Tuple(iterable);
}

/* The keys, a tuple, one after the other, and where each ends; false with the right exception set. */
static bool keys_argument(struct binding *self, struct scratch *scratch, struct request *r, PyObject *keys,
                          const char *verb, bool is_write) {
    struct place here = {.kind = ROOT_INDEX, .name = "keys"};
    struct encoder e = encoder_for(self, &scratch->arguments, &here);
    Py_ssize_t n = keys != NULL ? PyTuple_GET_SIZE(keys) : 0;
    bool done = keys != NULL && reserve(&scratch->ops, (size_t)n * sizeof(size_t));
    size_t *ends = (size_t *)(void *)scratch->ops.data;
    for (; done && here.index < n; here.index++) {
        done = encode_key(&e, PyTuple_GET_ITEM(keys, here.index));
        ends[here.index] = scratch->arguments.len;
    }
    if (!done) {
        refuse_arguments(self, verb, is_write);
        return false;
    }
    r->key = scratch->arguments.data;
    r->key_len = scratch->arguments.len;
    r->n = (size_t)here.index;
    return true;
}

/* An array of rows, as a list. */
static PyObject *list_of_array(struct decoder *d, const struct known_key *known) {
    uint64_t n;
    PyObject *list = take_array(d, &n) ? PyList_New(0) : NULL;
    for (; list != NULL && n > 0; n--) {
        PyObject *row = decode_row_of(d, known);
        if (row == NULL || PyList_Append(list, row) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(row);
    }
    return list;
}

/* A result for each key, a row or nil or in a bag an array of rows, as a list of lists of rows. ends: of the keys. */
static PyObject *decode_results(const struct binding *self, const struct request *r, PyObject *keys,
                                const size_t *ends) {
    struct decoder d = decoder_for(self, r->result);
    Py_ssize_t n = PyTuple_GET_SIZE(keys);
    PyObject *answer = PyList_New(n);
    size_t start = 0;
    for (Py_ssize_t i = 0; answer != NULL && i < n; start = ends[i++]) {
        PyObject *rows;
        if (has(&d, 1) && *d.at == 0xc0) {
            d.at++;
            rows = PyList_New(0);
        } else {
            struct known_key known = known_key(self, PyTuple_GET_ITEM(keys, i), r->key + start, ends[i] - start);
            rows = self->bag ? list_of_array(&d, &known) : list_of_row(&d, &known);
        }
        if (rows == NULL) {
            Py_CLEAR(answer);
            break;
        }
        PyList_SET_ITEM(answer, i, rows);
    }
    return answer;
}

static PyObject *binding_lookup_many(struct binding *self, PyObject *iterable) {
    static const char verb[] = "lookup_many";
    PyObject *answer = NULL;
    struct scratch *scratch = scratch_take(self);
    if (scratch == NULL) {
        return NULL;
    }
    struct request r = request_for(self, scratch);
    PyObject *keys = tuple_of(iterable);
    if (keys_argument(self, scratch, &r, keys, verb, false)) {
        int status =
            is_long(r.n, scratch) ? do_long_read(self, &r, step_lookup_many) : do_read(self, &r, step_lookup_many);
        answer = status == TMGR_OK ? decode_results(self, &r, keys, (const size_t *)(const void *)scratch->ops.data)
                                   : refuse(self, status, verb, NULL);
    }
    Py_XDECREF(keys);
    scratch_give(self, scratch);
    return answer;
}

static PyObject *binding_delete_many(struct binding *self, PyObject *iterable) {
    static const char verb[] = "delete_many";
    PyObject *answer = NULL;
    struct scratch *scratch = scratch_take(self);
    if (scratch == NULL) {
        return NULL;
    }
    struct request r = request_for(self, scratch);
    PyObject *keys = tuple_of(iterable);
    if (keys_argument(self, scratch, &r, keys, verb, true)) {
        int status =
            is_long(r.n, scratch) ? wait_for_lock(self, &r, step_delete_many) : do_write(self, &r, step_delete_many);
        answer = status == TMGR_OK ? PyLong_FromUnsignedLongLong(r.count) : refuse(self, status, verb, NULL);
    }
    Py_XDECREF(keys);
    scratch_give(self, scratch);
    return answer;
}

#endif
