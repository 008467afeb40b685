/* SPDX-License-Identifier: Apache-2.0 */
/* codec_encode_container.h - encoding what has parts: tuples, lists, dicts, sets. */
#ifndef TABLEMGR_CODEC_ENCODE_CONTAINER_H
#define TABLEMGR_CODEC_ENCODE_CONTAINER_H

#include "codec_encoder.h"

static bool enter(struct encoder *e) {
    if (e->depth == MAX_DEPTH) {
        return fail_at(e, PyExc_ValueError, "nested deeper than %d", MAX_DEPTH);
    }
    e->depth++;
    return true;
}

/* A sequence changed while it was encoded: by Python code that encoding it ran, or by another thread. */
static bool fail_changed(const struct encoder *e, PyObject *container) {
    return fail_at(e, PyExc_ValueError, "this %s changed its length while it was being stored",
                   Py_TYPE(container)->tp_name);
}

static bool encode_tuple_items(struct encoder *e, PyObject *tuple) {
    struct place here = {.parent = e->place, .kind = INDEX};
    Py_ssize_t n = PyTuple_GET_SIZE(tuple);
    e->place = &here;
    for (; here.index < n; here.index++) {
        if (!encode_value(e, PyTuple_GET_ITEM(tuple, here.index))) {
            return false;
        }
    }
    e->place = here.parent;
    return true;
}

static bool encode_tuple(struct encoder *e, PyObject *tuple) {
    size_t start;
    if (!enter(e) || !begin_extension(e, &start) || !put_header(e, &array_forms, PyTuple_GET_SIZE(tuple)) ||
        !encode_tuple_items(e, tuple)) {
        return false;
    }
    e->depth--;
    return end_extension(e, start, EXT_TUPLE);
}

/* Element i with a reference of its own; NULL if the list is shorter by now. */
static inline PyObject *list_item(PyObject *list, Py_ssize_t i) {
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *item = PyList_GetItemRef(list, i);
    if (item == NULL) {
        PyErr_Clear();
    }
    return item;
#else
    if (i >= PyList_GET_SIZE(list)) {
        return NULL;
    }
    PyObject *item = PyList_GET_ITEM(list, i);
    Py_INCREF(item);
    return item;
#endif
}

static bool encode_list(struct encoder *e, PyObject *list) {
    struct place here = {.parent = e->place, .kind = INDEX};
    Py_ssize_t n = PyList_GET_SIZE(list);
    if (!enter(e) || !put_header(e, &array_forms, n)) {
        return false;
    }
    e->place = &here;
    for (; here.index < n; here.index++) {
        PyObject *item = list_item(list, here.index);
        bool done = item != NULL && encode_value(e, item);
        Py_XDECREF(item);
        if (!done) {
            return item == NULL ? fail_changed(e, list) : false;
        }
    }
    e->place = here.parent;
    e->depth--;
    return PyList_GET_SIZE(list) == n || fail_changed(e, list);
}

static bool encode_pair(struct encoder *e, PyObject *key, PyObject *value) {
    struct place here = {.parent = e->place, .kind = KEY_OF_DICT, .key = key};
    e->place = &here;
    if (!encode_value(e, key)) {
        return false;
    }
    here.kind = VALUE_OF;
    if (!encode_value(e, value)) {
        return false;
    }
    e->place = here.parent;
    return true;
}

static bool encode_dict_items(struct encoder *e, PyObject *dict, Py_ssize_t n) {
    PyObject *key, *value;
    Py_ssize_t position = 0;
    Py_ssize_t seen = 0;
    while (PyDict_Next(dict, &position, &key, &value)) {
        Py_INCREF(key);
        Py_INCREF(value);
        bool done = encode_pair(e, key, value);
        Py_DECREF(key);
        Py_DECREF(value);
        if (!done) {
            return false;
        }
        seen++;
        if (PyDict_GET_SIZE(dict) != n) {
            break;
        }
    }
    return (seen == n && PyDict_GET_SIZE(dict) == n) || fail_changed(e, dict);
}

static bool encode_dict(struct encoder *e, PyObject *dict) {
    bool done;
    Py_BEGIN_CRITICAL_SECTION(dict);
    Py_ssize_t n = PyDict_GET_SIZE(dict);
    done = enter(e) && put_header(e, &map_forms, n) && encode_dict_items(e, dict, n);
    Py_END_CRITICAL_SECTION();
    e->depth--;
    return done;
}

/* An encoded element of a set. */
struct piece {
    const uint8_t *data;
    size_t len;
};

static int compare_pieces(const void *left, const void *right) {
    const struct piece *a = left;
    const struct piece *b = right;
    /* No encoding is a prefix of another, so the shorter length decides. */
    return memcmp(a->data, b->data, a->len < b->len ? a->len : b->len);
}

/* Bring the elements that lie from `start` to the end into the order of their bytes. lens: of the n elements. */
static bool sort_elements(struct tmgr_buffer *out, size_t start, const size_t *lens, size_t n) {
    size_t total = out->len - start;
    struct piece *pieces = PyMem_Malloc(n * sizeof *pieces + 1);
    uint8_t *copy = PyMem_Malloc(total + 1);
    bool has_memory = pieces != NULL && copy != NULL;
    if (has_memory) {
        memcpy(copy, out->data + start, total);
        const uint8_t *from = copy;
        for (size_t i = 0; i < n; i++) {
            pieces[i] = (struct piece){from, lens[i]};
            from += lens[i];
        }
        qsort(pieces, n, sizeof *pieces, compare_pieces);
        uint8_t *to = out->data + start;
        for (size_t i = 0; i < n; i++) {
            memcpy(to, pieces[i].data, pieces[i].len);
            to += pieces[i].len;
        }
    } else {
        PyErr_NoMemory();
    }
    PyMem_Free(pieces);
    PyMem_Free(copy);
    return has_memory;
}

/* items: the elements, as a list of our own. */
static bool encode_set_items(struct encoder *e, PyObject *items) {
    struct place here = {.parent = e->place, .kind = IN_SET};
    Py_ssize_t n = PyList_GET_SIZE(items);
    size_t *lens = PyMem_Malloc((size_t)n * sizeof *lens + 1);
    if (lens == NULL) {
        PyErr_NoMemory();
        return false;
    }
    bool done = put_header(e, &array_forms, n);
    size_t start = e->out->len;
    e->place = &here;
    for (; done && here.index < n; here.index++) {
        size_t before = e->out->len;
        done = encode_value(e, PyList_GET_ITEM(items, here.index));
        lens[here.index] = e->out->len - before;
    }
    done = done && sort_elements(e->out, start, lens, (size_t)n);
    e->place = here.parent;
    PyMem_Free(lens);
    return done;
}

static bool encode_set(struct encoder *e, PyObject *set, enum extension type) {
    size_t start;
    if (!enter(e) || !begin_extension(e, &start)) {
        return false;
    }
    PyObject *items = PySequence_List(set);
    bool done = items != NULL && encode_set_items(e, items);
    Py_XDECREF(items);
    e->depth--;
    return done && end_extension(e, start, type);
}

#endif
