/* SPDX-License-Identifier: Apache-2.0 */
/* codec_query.h - compiled queries over a table: results decoded, rows counted, deleted or replaced. */
#ifndef TABLEMGR_CODEC_QUERY_H
#define TABLEMGR_CODEC_QUERY_H

#include "codec_verbs.h"

enum { QUERY_BYTES = 1 << 20 }; /* rows that one call of the core looks at, between which signals are handled */

struct query_call {
    int mode;
    int is_rows, reverse;
    Py_buffer program, keys, prefix; /* the latter two may be absent */
    bool has_keys, has_prefix;
    Py_ssize_t limit; /* -1: none */
    struct tmgr_query query;
    struct tmgr_cursor cursor;
};

static int step_query(struct request *r, int64_t wait_ns) {
    return r->api->query(r->table, r->query, r->query_mode, r->cursor, r->limit, QUERY_BYTES, r->result, &r->n,
                         wait_ns);
}

/* A bytes object or None; false with an exception set. */
static bool optional_bytes(PyObject *object, Py_buffer *view, bool *has) {
    *has = object != Py_None;
    return !*has || PyObject_GetBuffer(object, view, PyBUF_SIMPLE) == 0;
}

/* The cursor of a continuation: (stripe, position, key, skip). It may come from anywhere: the core bounds what it says. */
static bool cursor_argument(PyObject *object, struct tmgr_cursor *cursor) {
    unsigned long long position, skip;
    unsigned stripe;
    const char *key;
    Py_ssize_t len;
    if (object == Py_None) {
        return true;
    }
    if (!PyTuple_Check(object) ||
        !PyArg_ParseTuple(object, "IKy#K:continuation", &stripe, &position, &key, &len, &skip)) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "query: the cursor must be a tuple");
        }
        return false;
    }
    cursor->stripe = stripe;
    cursor->position = position;
    cursor->skip = skip;
    if (len == 0) {
        return true;
    }
    if (!reserve(&cursor->last, (size_t)len)) {
        return false;
    }
    memcpy(cursor->last.data, key, (size_t)len);
    cursor->last.len = (size_t)len;
    return true;
}

static PyObject *cursor_object(const struct tmgr_cursor *cursor) {
    return Py_BuildValue("IKy#K", cursor->stripe, (unsigned long long)cursor->position,
                         cursor->last.len > 0 ? (const char *)cursor->last.data : "", (Py_ssize_t)cursor->last.len,
                         (unsigned long long)cursor->skip);
}

/* The results of one call of the core appended to the list. */
static bool take_results(struct binding *self, const struct request *r, bool is_rows, PyObject *list) {
    struct decoder d = decoder_for(self, r->result);
    for (size_t i = 0; i < r->n; i++) {
        PyObject *item = is_rows ? decode_row(&d) : decode_value(&d);
        if (item == NULL || PyList_Append(list, item) < 0) {
            Py_XDECREF(item);
            return false;
        }
        Py_DECREF(item);
    }
    return true;
}

/* Run it to its end, or until `limit` results are there. The count, or -1 with an exception set; *more: the limit ended it. */
static long long run_query(struct binding *self, struct query_call *call, struct scratch *scratch, PyObject *list,
                           bool *more) {
    static const char *const verbs[] = {"select", "select_count", "select_delete", "select_replace"};
    long long total = 0;
    int status = TMGR_OK;
    *more = false;
    while (status == TMGR_OK) {
        struct request r = request_for(self, scratch);
        r.query = &call->query;
        r.query_mode = (enum tmgr_query_mode)call->mode;
        r.cursor = &call->cursor;
        r.limit = call->limit < 0 ? SIZE_MAX : (size_t)(call->limit - total);
        status = call->mode >= TMGR_QUERY_DELETE ? do_write(self, &r, step_query)
                 : call->has_keys                ? do_read(self, &r, step_query)
                                                 : do_long_read(self, &r, step_query);
        if (status != TMGR_OK && status != TMGR_END && status != TMGR_PRESENT) {
            refuse(self, status, verbs[call->mode], NULL);
            return -1;
        }
        total += (long long)r.n;
        if ((list != NULL && !take_results(self, &r, call->is_rows, list)) || PyErr_CheckSignals() < 0) {
            return -1;
        }
    }
    *more = status == TMGR_PRESENT;
    return total;
}

static void query_call_free(struct query_call *call) {
    PyBuffer_Release(&call->program);
    if (call->has_keys) {
        PyBuffer_Release(&call->keys);
    }
    if (call->has_prefix) {
        PyBuffer_Release(&call->prefix);
    }
    free(call->cursor.last.data);
}

/* query(mode, program, is_rows, keys, prefix, reverse, limit, cursor): mode 0 gives (list, cursor or None), others a number. */
static PyObject *binding_query(struct binding *self, PyObject *arguments) {
    struct query_call call;
    PyObject *keys, *prefix, *cursor, *answer = NULL, *list = NULL;
    memset(&call, 0, sizeof call);
    if (!PyArg_ParseTuple(arguments, "iy*pOOpnO:query", &call.mode, &call.program, &call.is_rows, &keys, &prefix,
                          &call.reverse, &call.limit, &cursor)) {
        return NULL;
    }
    struct scratch *scratch = NULL;
    bool more = false;
    bool ready = call.mode >= TMGR_QUERY_RESULTS && call.mode <= TMGR_QUERY_REPLACE &&
                 optional_bytes(keys, &call.keys, &call.has_keys) &&
                 optional_bytes(prefix, &call.prefix, &call.has_prefix) && cursor_argument(cursor, &call.cursor) &&
                 (scratch = scratch_take(self)) != NULL &&
                 (call.mode != TMGR_QUERY_RESULTS || (list = PyList_New(0)) != NULL);
    if (ready) {
        call.query = (struct tmgr_query){.program = call.program.buf,
                                         .program_len = (size_t)call.program.len,
                                         .keys = call.has_keys ? call.keys.buf : NULL,
                                         .keys_len = call.has_keys ? (size_t)call.keys.len : 0,
                                         .prefix = call.has_prefix ? call.prefix.buf : NULL,
                                         .prefix_len = call.has_prefix ? (size_t)call.prefix.len : 0,
                                         .flags = (call.has_keys ? (unsigned)TMGR_QUERY_BY_KEY : 0) |
                                                  (call.reverse ? (unsigned)TMGR_RANGE_REVERSE : 0)};
        long long total = run_query(self, &call, scratch, list, &more);
        if (total >= 0 && list == NULL) {
            answer = PyLong_FromLongLong(total);
        } else if (total >= 0) {
            PyObject *next = more ? cursor_object(&call.cursor) : Py_NewRef(Py_None);
            answer = next != NULL ? PyTuple_Pack(2, list, next) : NULL;
            Py_XDECREF(next);
        }
    } else if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_ValueError, "query: there is no such mode");
    }
    if (scratch != NULL) {
        scratch_give(self, scratch);
    }
    Py_XDECREF(list);
    query_call_free(&call);
    return answer;
}

#endif
