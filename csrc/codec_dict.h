/* SPDX-License-Identifier: Apache-2.0 */
/* codec_dict.h - DictVerbs, the base of SharedDict: a dict's operations on one key of a table of (key, value) rows.
 *
 * In Python each of them would be a frame around a method of Binding; here they are that method. The names with two
 * underscores are plain methods: a class in Python that derives from this one gets its slots from them. */
#ifndef TABLEMGR_CODEC_DICT_H
#define TABLEMGR_CODEC_DICT_H

#include "codec_batch.h"
#include "codec_read.h"
#include "codec_update.h"

struct dict_verbs {
    PyObject_HEAD struct binding *binding; /* NULL until _use(), then the same for good, so a call need not hold it */
};

/* The binding to call; NULL with RuntimeError set. */
static inline struct binding *dict_binding(PyObject *self) {
    struct binding *binding = ((struct dict_verbs *)self)->binding;
    if (UNLIKELY(binding == NULL)) {
        PyErr_Format(PyExc_RuntimeError, "this %s has no table: its __init__ was not called", Py_TYPE(self)->tp_name);
    }
    return binding;
}

static PyObject *dict_use(PyObject *self, PyTypeObject *defining, PyObject *const *arguments, Py_ssize_t n,
                          PyObject *names) {
    const struct codec_state *state = PyType_GetModuleState(defining);
    struct dict_verbs *verbs = (struct dict_verbs *)self;
    if (names != NULL || n != 1 || !Py_IS_TYPE(arguments[0], state->binding_type)) {
        PyErr_SetString(PyExc_TypeError, "_use: the argument is a Binding");
        return NULL;
    }
    if (verbs->binding != NULL) {
        PyErr_Format(PyExc_RuntimeError, "this %s has its table already", Py_TYPE(self)->tp_name);
        return NULL;
    }
    Py_INCREF(arguments[0]);
    verbs->binding = (struct binding *)arguments[0];
    Py_RETURN_NONE;
}

/* -- the verbs --------------------------------------------------------------------------------------------------------------- */

static PyObject *dict_getitem(PyObject *self, PyObject *key) {
    struct binding *binding = dict_binding(self);
    return LIKELY(binding != NULL) ? binding_getitem(binding, key) : NULL;
}

static PyObject *dict_setitem(PyObject *self, PyObject *const *arguments, Py_ssize_t n) {
    struct binding *binding = dict_binding(self);
    return LIKELY(binding != NULL) ? binding_put(binding, arguments, n) : NULL;
}

static PyObject *dict_delitem(PyObject *self, PyObject *key) {
    struct binding *binding = dict_binding(self);
    if (UNLIKELY(binding == NULL)) {
        return NULL;
    }
    int status = delete_one(binding, key);
    if (LIKELY(status == TMGR_OK)) {
        Py_RETURN_NONE;
    }
    return status == TMGR_ABSENT ? absent(key) : refuse(binding, status, "delete", NULL);
}

static PyObject *dict_contains(PyObject *self, PyObject *key) {
    struct binding *binding = dict_binding(self);
    return LIKELY(binding != NULL) ? binding_contains(binding, key) : NULL;
}

static PyObject *dict_len(PyObject *self, PyObject *unused) {
    struct binding *binding = dict_binding(self);
    return LIKELY(binding != NULL) ? binding_length(binding, unused) : NULL;
}

static PyObject *dict_get(PyObject *self, PyObject *const *arguments, Py_ssize_t n, PyObject *names) {
    static const char *const known[] = {"key", "default", NULL};
    PyObject *values[MOST_ARGUMENTS];
    struct binding *binding = dict_binding(self);
    if (UNLIKELY(binding == NULL || !take_arguments("get", known, 1, 1, arguments, n, names, values))) {
        return NULL;
    }
    return get_or(binding, values[0], values[1] == NULL ? Py_None : values[1]);
}

/* Encode what update_counter(key, (1, by), (key, initial)) would: see encode_update. NULL for by is 1, for initial 0. */
static bool encode_increment(struct binding *self, struct scratch *scratch, PyObject *key, PyObject *by,
                             PyObject *initial, struct tmgr_op *op) {
    static const uint8_t one_op_on_element_1[] = {0x91, 0x92, 1};
    struct tmgr_buffer *out = &scratch->arguments;
    struct encoder e = encoder_for(self, out, &key_place);
    if (!put_bytes(&e, one_op_on_element_1, sizeof one_op_on_element_1) ||
        !(by == NULL ? put_byte(&e, 1) : encode_index(&e, by, "increment", "what is added"))) {
        return false;
    }
    struct span span = {.offset = out->len};
    if (!encode_key(&e, key)) {
        return false;
    }
    span.len = out->len - span.offset;
    if (!put_byte(&e, 0x92) || !put_copy(&e, &span) ||
        !(initial == NULL ? put_byte(&e, 0) : encode_index(&e, initial, "increment", "the default"))) {
        return false;
    }
    op->updates_len = span.offset;
    op->key_len = span.len;
    op->row_len = out->len - span.offset - span.len;
    return true;
}

static PyObject *dict_increment(PyObject *self, PyObject *const *arguments, Py_ssize_t n, PyObject *names) {
    static const char *const known[] = {"key", "by", "default", NULL};
    PyObject *values[MOST_ARGUMENTS];
    struct binding *binding = dict_binding(self);
    if (UNLIKELY(binding == NULL || !take_arguments("increment", known, 0, 1, arguments, n, names, values))) {
        return NULL;
    }
    struct scratch *scratch = scratch_take(binding);
    if (UNLIKELY(scratch == NULL)) {
        return NULL;
    }
    PyObject *sum = NULL;
    struct tmgr_op op = {.kind = TMGR_OP_UPDATE_COUNTER};
    if (LIKELY(encode_increment(binding, scratch, values[0], values[1], values[2], &op))) {
        int status = update_one(binding, scratch, &op);
        sum = LIKELY(status == TMGR_OK) ? decode_only_element(binding, &scratch->result)
                                        : refuse_key(binding, status, "increment", values[0]);
    } else {
        refuse_arguments(binding, "increment", true);
    }
    scratch_give(binding, scratch);
    return sum;
}

/* -- the type ----------------------------------------------------------------------------------------------------------------- */

static int dict_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(((struct dict_verbs *)self)->binding);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void dict_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(((struct dict_verbs *)self)->binding);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef dict_methods[] = {
    {"_use", FASTCALL(dict_use), METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     "_use($self, binding, /)\n--\n\nThe table's Binding, once, before anything else."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "For type hints: generic over keys and values."},
    {"__getitem__", dict_getitem, METH_O,
     "__getitem__($self, key, /)\n--\n\nA copy of the value of a key, or KeyError."},
    {"__setitem__", FASTCALL(dict_setitem), METH_FASTCALL,
     "__setitem__($self, key, value, /)\n--\n\nSet the value of a key."},
    {"__delitem__", dict_delitem, METH_O, "__delitem__($self, key, /)\n--\n\nRemove a key, or KeyError."},
    {"__contains__", dict_contains, METH_O, "__contains__($self, key, /)\n--\n\nWhether the key is there."},
    {"__len__", dict_len, METH_NOARGS, "__len__($self, /)\n--\n\nThe number of keys."},
    {"get", FASTCALL(dict_get), METH_FASTCALL | METH_KEYWORDS,
     "get($self, key, /, default=None)\n--\n\nA copy of the value of a key, or default if there is none."},
    {"increment", FASTCALL(dict_increment), METH_FASTCALL | METH_KEYWORDS,
     "increment($self, /, key, by=1, default=0)\n--\n\n"
     "Add to the int that is the value of a key, or to default if there is none; returns the sum, an int.\n\n"
     "One step: of several callers at once each is counted. by, default: ints of any size.\n\n"
     "Raises TypeError where value, by or default is not an int (a bool is none)."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot dict_slots[] = {
    {Py_tp_doc, "A dict's operations on one key of a table of (key, value) rows."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_methods, dict_methods},
    {Py_tp_traverse, dict_traverse},
    {Py_tp_dealloc, dict_dealloc},
    {0, NULL},
};
static PyType_Spec dict_spec = {
    .name = "tablemgr._codec.DictVerbs",
    .basicsize = sizeof(struct dict_verbs),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = dict_slots,
};

#endif
