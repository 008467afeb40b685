/* SPDX-License-Identifier: Apache-2.0 */
/* codec_order.h - the order of an ordered_set's keys, shown to Python on encoded keys: for tests and tools. */
#ifndef TABLEMGR_CODEC_ORDER_H
#define TABLEMGR_CODEC_ORDER_H

#include "codec_state.h"

static bool is_bound(const struct codec_state *state) {
    if (state->api == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "call bind() before");
    }
    return state->api != NULL;
}

/* The sort key that was made, as bytes, or the exception for the status; the buffer is freed. */
static PyObject *sort_key_result(struct tmgr_buffer *out, int status) {
    PyObject *bytes = NULL;
    if (status == TMGR_OK) {
        bytes = PyBytes_FromStringAndSize((const char *)out->data, (Py_ssize_t)out->len);
    } else if (status == TMGR_NO_MEMORY) {
        PyErr_NoMemory();
    } else {
        PyErr_SetString(PyExc_ValueError, "not the encoding of a key");
    }
    free(out->data);
    return bytes;
}

static PyObject *codec_sortkey(PyObject *module, PyObject *key) {
    const struct codec_state *state = PyModule_GetState(module);
    Py_buffer data;
    if (!is_bound(state) || PyObject_GetBuffer(key, &data, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    struct tmgr_buffer out = {0};
    int status = state->api->sort_key(data.buf, (size_t)data.len, &out);
    PyBuffer_Release(&data);
    return sort_key_result(&out, status);
}

static PyObject *codec_sortkey_prefix(PyObject *module, PyObject *arguments) {
    const struct codec_state *state = PyModule_GetState(module);
    Py_buffer data;
    unsigned n;
    if (!is_bound(state) || !PyArg_ParseTuple(arguments, "y*I:sortkey_prefix", &data, &n)) {
        return NULL;
    }
    struct tmgr_buffer out = {0};
    int status = state->api->sort_prefix(data.buf, (size_t)data.len, n, &out);
    PyBuffer_Release(&data);
    return sort_key_result(&out, status);
}

#endif
