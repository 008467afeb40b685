/* SPDX-License-Identifier: Apache-2.0 */
/* codec_query.h - compiled queries over a table: results decoded, rows counted, deleted or replaced. */
#ifndef TABLEMGR_CODEC_QUERY_H
#define TABLEMGR_CODEC_QUERY_H

#include "codec_plan.h"

enum { QUERY_BYTES = 1 << 20 }; /* rows that one call of the core looks at, between which signals are handled */

struct query_call {
    const char *verb;
    int mode;
    int reverse;
    struct plan *plan;
    Py_ssize_t limit; /* -1: none */
    struct tmgr_query query;
    struct tmgr_cursor cursor;
};

static int step_query(struct request *r, int64_t wait_ns) {
    return r->api->query(r->table, r->query, r->query_mode, r->cursor, r->limit, QUERY_BYTES, r->result, &r->n,
                         wait_ns);
}

static const uint8_t *bytes_or_null(PyObject *object, size_t *len) {
    *len = object == Py_None ? 0 : (size_t)PyBytes_GET_SIZE(object);
    return object == Py_None ? NULL : (const uint8_t *)PyBytes_AS_STRING(object);
}

static bool fill(struct tmgr_buffer *buffer, const char *bytes, Py_ssize_t len) {
    if (len == 0) {
        return true;
    }
    if (!reserve(buffer, (size_t)len)) {
        return false;
    }
    memcpy(buffer->data, bytes, (size_t)len);
    buffer->len = (size_t)len;
    return true;
}

/* The cursor of a continuation: (stripe, position, last, rest). It may come from anywhere: the core bounds what it says. */
static bool cursor_argument(PyObject *object, struct tmgr_cursor *cursor) {
    unsigned long long position;
    unsigned stripe;
    const char *last, *rest;
    Py_ssize_t last_len, rest_len;
    if (object == Py_None) {
        return true;
    }
    if (!PyTuple_Check(object) ||
        !PyArg_ParseTuple(object, "IKy#y#:continuation", &stripe, &position, &last, &last_len, &rest, &rest_len)) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "query: the cursor must be a tuple");
        }
        return false;
    }
    cursor->stripe = stripe;
    cursor->position = position;
    return fill(&cursor->last, last, last_len) && fill(&cursor->rest, rest, rest_len);
}

static PyObject *cursor_object(const struct tmgr_cursor *cursor) {
    return Py_BuildValue("IKy#y#", cursor->stripe, (unsigned long long)cursor->position,
                         cursor->last.len > 0 ? (const char *)cursor->last.data : "", (Py_ssize_t)cursor->last.len,
                         cursor->rest.len > 0 ? (const char *)cursor->rest.data : "", (Py_ssize_t)cursor->rest.len);
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
                 : call->query.keys != NULL      ? do_read(self, &r, step_query)
                                                 : do_long_read(self, &r, step_query);
        if (status != TMGR_OK && status != TMGR_END && status != TMGR_PRESENT) {
            refuse(self, status, call->verb, NULL);
            return -1;
        }
        total += (long long)r.n;
        if ((list != NULL && !take_results(self, &r, call->plan->is_rows, list)) || PyErr_CheckSignals() < 0) {
            return -1;
        }
    }
    *more = status == TMGR_PRESENT;
    return total;
}

/* query(verb, mode, plan, reverse, limit, cursor): mode 0 gives (list, cursor or None), others a number. */
static PyObject *binding_query(struct binding *self, PyObject *arguments) {
    struct query_call call;
    PyObject *cursor, *answer = NULL, *list = NULL;
    memset(&call, 0, sizeof call);
    if (!PyArg_ParseTuple(arguments, "siO!pnO:query", &call.verb, &call.mode, self->state->plan_type,
                          (PyObject **)&call.plan, &call.reverse, &call.limit, &cursor)) {
        return NULL;
    }
    if (call.mode < TMGR_QUERY_RESULTS || call.mode > TMGR_QUERY_REPLACE) {
        PyErr_SetString(PyExc_ValueError, "query: there is no such mode");
        return NULL;
    }
    struct scratch *scratch = NULL;
    bool more = false;
    if (cursor_argument(cursor, &call.cursor) && (scratch = scratch_take(self)) != NULL &&
        (call.query.program = program_take(call.plan)) != NULL &&
        (call.mode != TMGR_QUERY_RESULTS || (list = PyList_New(0)) != NULL)) {
        call.query.keys = bytes_or_null(call.plan->keys[call.reverse != 0], &call.query.keys_len);
        call.query.prefix = bytes_or_null(call.plan->prefix, &call.query.prefix_len);
        call.query.flags = (call.query.keys != NULL ? (unsigned)TMGR_QUERY_BY_KEY : 0) |
                           (call.reverse ? (unsigned)TMGR_RANGE_REVERSE : 0);
        long long total = run_query(self, &call, scratch, list, &more);
        if (total >= 0 && list == NULL) {
            answer = PyLong_FromLongLong(total);
        } else if (total >= 0) {
            PyObject *next = more ? cursor_object(&call.cursor) : Py_NewRef(Py_None);
            answer = next != NULL ? PyTuple_Pack(2, list, next) : NULL;
            Py_XDECREF(next);
        }
    }
    if (call.query.program != NULL) {
        program_give(call.plan, call.query.program);
    }
    if (scratch != NULL) {
        scratch_give(self, scratch);
    }
    Py_XDECREF(list);
    free(call.cursor.last.data);
    free(call.cursor.rest.data);
    return answer;
}

#endif
