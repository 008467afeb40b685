/* SPDX-License-Identifier: Apache-2.0 */
/* codec_verbs.h - the methods of Binding: encode the arguments, one call of the core, decode the answer.
 *
 * Order of checks, everywhere: closed or missing table and access (the core, or refuse_arguments for it), the shape of
 * the arguments, the key, the content. Conditions (a row is there or not) are answered here; every other status goes to
 * fail(). */
#ifndef TABLEMGR_CODEC_VERBS_H
#define TABLEMGR_CODEC_VERBS_H

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

/* A position that may lie anywhere: -1 stands for all that no row has. False with TypeError set. */
static bool position_argument(PyObject *object, const char *verb, Py_ssize_t *position) {
    PyObject *index = index_argument(object, verb, "a position");
    if (index == NULL) {
        return false;
    }
    int overflow;
    long value = PyLong_AsLongAndOverflow(index, &overflow);
    Py_DECREF(index);
    *position = overflow != 0 || value < 0 ? -1 : value;
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

/* -- reading many rows ------------------------------------------------------------------------------------------------------ */

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
    const char *doing = n == 1 ? (r.direction < 0 ? "last" : "first") : (r.direction < 0 ? "prev" : "next");
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

enum { OBJECTS_AHEAD = 8 }; /* of a list whose elements are on their way from memory while one is encoded */

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

/* -- writing one row -------------------------------------------------------------------------------------------------------- */

static inline int write_row(struct binding *self, struct scratch *scratch, struct request *r, step_fn step) {
    return is_long(1, scratch) ? wait_for_lock(self, r, step) : do_write(self, r, step);
}

/* put(key, value): insert the row (key, value) without making the tuple. */
static PyObject *binding_put(struct binding *self, PyObject *const *arguments, Py_ssize_t n) {
    static const struct place value_place = {.kind = ROOT, .name = "value"};
    if (!has_arguments("put", n, 2, 2)) {
        return NULL;
    }
    struct scratch *scratch = scratch_take(self);
    if (UNLIKELY(scratch == NULL)) {
        return NULL;
    }
    bool done = false;
    struct request r = request_for(self, scratch);
    struct encoder e = encoder_for(self, &scratch->arguments, &key_place);
    if (LIKELY(put_byte(&e, 0x92) && encode_key(&e, arguments[0]))) {
        e.place = &value_place;
        done = encode_value(&e, arguments[1]);
    }
    if (LIKELY(done)) {
        r.row = scratch->arguments.data;
        r.row_len = scratch->arguments.len;
        int status = write_row(self, scratch, &r, step_insert);
        if (UNLIKELY(status != TMGR_OK)) {
            refuse(self, status, "put", NULL);
            done = false;
        }
    } else {
        refuse_arguments(self, "put", true);
    }
    scratch_give(self, scratch);
    if (!done) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* The status of removing a key; RAISED where it cannot be one. */
static inline int delete_one(struct binding *self, PyObject *key) {
    int status = RAISED;
    struct scratch *scratch = scratch_take(self);
    if (UNLIKELY(scratch == NULL)) {
        return RAISED;
    }
    struct request r = request_for(self, scratch);
    if (LIKELY(key_argument(self, scratch, &r, key, "delete", true))) {
        status = do_write(self, &r, step_delete);
    }
    scratch_give(self, scratch);
    return status;
}

/* How many rows of a bag went with a key. */
static PyObject *delete_rows(struct binding *self, PyObject *key) {
    PyObject *answer = NULL;
    struct scratch *scratch = scratch_take(self);
    if (scratch == NULL) {
        return NULL;
    }
    struct request r = request_for(self, scratch);
    if (key_argument(self, scratch, &r, key, "delete", true)) {
        r.n = 1;
        int status = do_write(self, &r, step_delete_many);
        answer = status == TMGR_OK ? PyLong_FromUnsignedLongLong(r.count) : refuse(self, status, "delete", NULL);
    }
    scratch_give(self, scratch);
    return answer;
}

static PyObject *binding_delete(struct binding *self, PyObject *key) {
    return self->bag ? delete_rows(self, key) : answer_count(self, delete_one(self, key), "delete");
}

static PyObject *binding_take(struct binding *self, PyObject *key) {
    PyObject *answer = NULL;
    struct scratch *scratch = scratch_take(self);
    if (scratch == NULL) {
        return NULL;
    }
    struct request r = request_for(self, scratch);
    if (key_argument(self, scratch, &r, key, "take", true)) {
        answer = answer_rows(self, &r, key, do_write(self, &r, step_take), "take");
    }
    scratch_give(self, scratch);
    return answer;
}

static PyObject *binding_delete_object(struct binding *self, PyObject *row) {
    PyObject *answer = NULL;
    struct scratch *scratch = scratch_take(self);
    if (scratch == NULL) {
        return NULL;
    }
    struct request r = request_for(self, scratch);
    if (row_argument(self, scratch, &r, row, "delete_object")) {
        int status = write_row(self, scratch, &r, step_delete_object);
        answer = status == TMGR_OK || status == TMGR_ABSENT ? PyLong_FromUnsignedLongLong(r.count)
                                                            : refuse(self, status, "delete_object", NULL);
    }
    scratch_give(self, scratch);
    return answer;
}

/* compare_and_swap(old_row, new_row) */
static PyObject *binding_compare_and_swap(struct binding *self, PyObject *const *arguments, Py_ssize_t n) {
    static const char verb[] = "compare_and_swap";
    static const struct place places[] = {{.kind = ROOT, .name = "old_row"}, {.kind = ROOT, .name = "new_row"}};
    PyObject *answer = NULL;
    if (self->bag) {
        return refuse_table(self, verb);
    }
    if (!has_arguments(verb, n, 2, 2)) {
        return refuse_arguments(self, verb, true);
    }
    struct scratch *scratch = scratch_take(self);
    if (scratch == NULL) {
        return NULL;
    }
    struct request r = request_for(self, scratch);
    struct encoder e = encoder_for(self, &scratch->arguments, &places[0]);
    bool done = encode_row(&e, arguments[0], self->keypos, NULL);
    size_t old_len = scratch->arguments.len;
    if (done) {
        e.place = &places[1];
        done = encode_row(&e, arguments[1], self->keypos, NULL);
    }
    if (done) {
        r.key = scratch->arguments.data;
        r.key_len = old_len;
        r.row = scratch->arguments.data + old_len;
        r.row_len = scratch->arguments.len - old_len;
        answer = answer_bool(self, write_row(self, scratch, &r, step_compare_and_swap), verb);
    } else {
        refuse_arguments(self, verb, true);
    }
    scratch_give(self, scratch);
    return answer;
}

/* -- operations: what a batch and the updates are made of ------------------------------------------------------------------- */

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

/* -- updates ------------------------------------------------------------------------------------------------------------------ */

static bool encode_index(struct encoder *e, PyObject *object, const char *verb, const char *what) {
    if (LIKELY(PyLong_CheckExact(object))) {
        return encode_int(e, object);
    }
    PyObject *index = index_argument(object, verb, what);
    bool done = index != NULL && encode_int(e, index);
    Py_XDECREF(index);
    return done;
}

/* (position, n) or (position, n, threshold, reset) */
static bool encode_counter_op(struct encoder *e, PyObject *op) {
    static const char *const parts[] = {"a position", "an increment", "a threshold", "a reset value"};
    static const char verb[] = "update_counter";
    Py_ssize_t n = PyTuple_CheckExact(op) ? PyTuple_GET_SIZE(op) : 0;
    if (n != 2 && n != 4) {
        PyErr_Format(
            PyExc_TypeError,
            "%s: an operation is n, (pos, n), (pos, n, threshold, reset), or a list of such tuples; not %.100R", verb,
            op);
        return false;
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
        PyErr_Format(PyExc_TypeError, "update_element: an update is (pos, value) or a list of such tuples; not %.100R",
                     op);
        return false;
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

/* -- removing many rows -------------------------------------------------------------------------------------------------------- */

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

static PyObject *binding_delete_all(struct binding *self, PyObject *unused) {
    (void)unused;
    struct request r = {.api = self->api, .table = self->table};
    int status = wait_for_lock(self, &r, step_delete_all);
    return status == TMGR_OK ? PyLong_FromUnsignedLongLong(r.count) : refuse(self, status, "delete_all", NULL);
}

#endif
