/* SPDX-License-Identifier: Apache-2.0 */
/* codec_steps.h - what the methods of Binding have in common: the core's functions in one shape, and answers to what they come to.
 *
 * A method encodes its arguments, makes one call of the core and decodes the answer. Order of checks, everywhere: closed or
 * missing table and access (the core, or refuse_arguments for it), the shape of the arguments, the key, the content.
 * Conditions (a row is there or not) are answered by the method; every other status goes to fail(). */
#ifndef TABLEMGR_CODEC_STEPS_H
#define TABLEMGR_CODEC_STEPS_H

#include "codec_binding.h"

/* -- steps: the core's functions in one shape ---------------------------------------------------------------------------- */

static int step_lookup(struct request *r, int64_t wait_ns) {
    (void)wait_ns;
    return r->api->lookup(r->table, r->key, r->key_len, r->result);
}

static int step_contains(struct request *r, int64_t wait_ns) {
    (void)wait_ns;
    return r->api->contains(r->table, r->key, r->key_len);
}

static int step_lookup_many(struct request *r, int64_t wait_ns) {
    (void)wait_ns;
    return r->api->lookup_many(r->table, r->key, r->key_len, r->n, r->result);
}

static int step_len(struct request *r, int64_t wait_ns) {
    (void)wait_ns;
    return r->api->len(r->table, &r->count);
}

static int step_step(struct request *r, int64_t wait_ns) {
    (void)wait_ns;
    return r->api->step(r->table, r->direction, r->key, r->key_len, r->result);
}

static int step_insert(struct request *r, int64_t wait_ns) {
    return r->api->insert(r->table, r->row, r->row_len, wait_ns);
}

static int step_insert_new(struct request *r, int64_t wait_ns) {
    return r->api->insert_new(r->table, r->row, r->row_len, wait_ns);
}

static int step_delete(struct request *r, int64_t wait_ns) {
    return r->api->delete_key(r->table, r->key, r->key_len, wait_ns);
}

static int step_take(struct request *r, int64_t wait_ns) {
    return r->api->take(r->table, r->key, r->key_len, r->result, wait_ns);
}

static int step_delete_object(struct request *r, int64_t wait_ns) {
    return r->api->delete_object(r->table, r->row, r->row_len, &r->count, wait_ns);
}

/* The old row lies in key, the new one in row. */
static int step_compare_and_swap(struct request *r, int64_t wait_ns) {
    return r->api->compare_and_swap(r->table, r->key, r->key_len, r->row, r->row_len, wait_ns);
}

static int step_update(struct request *r, int64_t wait_ns) {
    return r->api->update(r->table, r->ops, r->result, wait_ns);
}

static int step_apply(struct request *r, int64_t wait_ns) {
    return r->api->apply(r->table, r->ops, r->n, &r->failed, wait_ns);
}

/* A call that ends with BUSY may have removed some of the rows: the sum is over all calls. */
static int step_delete_many(struct request *r, int64_t wait_ns) {
    uint64_t removed = 0;
    int status = r->api->delete_many(r->table, r->key, r->key_len, r->n, &removed, wait_ns);
    r->count += removed;
    return status;
}

static int step_delete_all(struct request *r, int64_t wait_ns) {
    return r->api->delete_all(r->table, &r->count, wait_ns);
}

/* -- answers --------------------------------------------------------------------------------------------------------------- */

/* A key and its encoding, which the rows looked up by it have in them. */
static inline struct known_key known_key(const struct binding *self, PyObject *key, const uint8_t *data, size_t len) {
    return (struct known_key){is_its_own_copy(key) ? key : NULL, data, len, self->keypos};
}

/* The next row, as a list of one. */
static inline PyObject *list_of_row(struct decoder *d, const struct known_key *known) {
    PyObject *row = decode_row_of(d, known);
    if (UNLIKELY(row == NULL)) {
        return NULL;
    }
    PyObject *list = PyList_New(1);
    if (UNLIKELY(list == NULL)) {
        Py_DECREF(row);
        return NULL;
    }
    PyList_SET_ITEM(list, 0, row);
    return list;
}

/* The rows up to the end of the result, of which there is at least one, as a list. */
static PyObject *list_of_rows(struct decoder *d, const struct known_key *known) {
    PyObject *list = list_of_row(d, known);
    while (list != NULL && has(d, 1)) {
        PyObject *row = decode_row_of(d, known);
        if (row == NULL || PyList_Append(list, row) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(row);
    }
    return list;
}

/* The rows of a key: those in the result, or none; NULL with an exception set for another status. */
static PyObject *answer_rows(struct binding *self, const struct request *r, PyObject *key, int status,
                             const char *verb) {
    if (status == TMGR_OK) {
        struct decoder d = decoder_for(self, r->result);
        struct known_key known = known_key(self, key, r->key, r->key_len);
        return UNLIKELY(self->bag) ? list_of_rows(&d, &known) : list_of_row(&d, &known);
    }
    return status == TMGR_ABSENT ? PyList_New(0) : refuse(self, status, verb, NULL);
}

/* OK and ABSENT as True and False, or 1 and 0; other statuses raise. */
static PyObject *answer_bool(struct binding *self, int status, const char *verb) {
    if (LIKELY(status == TMGR_OK || status == TMGR_ABSENT)) {
        return PyBool_FromLong(status == TMGR_OK);
    }
    return refuse(self, status, verb, NULL);
}

static PyObject *answer_count(struct binding *self, int status, const char *verb) {
    if (LIKELY(status == TMGR_OK || status == TMGR_ABSENT)) {
        return PyLong_FromLong(status == TMGR_OK);
    }
    return refuse(self, status, verb, NULL);
}

#endif
