/* SPDX-License-Identifier: Apache-2.0 */
/* codec_plan.h - Plan: a compiled query as the core takes it, and where it has to look.
 *
 * The core's program is for one thread at a time. A Plan keeps one that is opened; a call takes it out for its own use, and
 * whoever comes meanwhile opens another: as with the scratch of a Binding, there is nothing to lock. */
#ifndef TABLEMGR_CODEC_PLAN_H
#define TABLEMGR_CODEC_PLAN_H

#include "codec_binding.h"

struct plan {
    PyObject_HEAD const struct tmgr_api *api;
    struct tmgr_program *spare; /* NULL while a call uses it */
    PyObject *code;             /* bytes */
    PyObject *keys[2]; /* bytes, or None: the keys whose rows are all that it can apply to; the same backwards */
    PyObject *prefix;  /* bytes or None */
    bool is_rows;
};

static inline struct tmgr_program *program_exchange(struct plan *plan, struct tmgr_program *mine) {
#ifdef Py_GIL_DISABLED
    return __atomic_exchange_n(&plan->spare, mine, __ATOMIC_ACQ_REL);
#else
    struct tmgr_program *theirs = plan->spare;
    plan->spare = mine;
    return theirs;
#endif
}

/* The status of opening a program of the plan's code. */
static int program_open(const struct plan *plan, struct tmgr_program **program) {
    return plan->api->program_open((const uint8_t *)PyBytes_AS_STRING(plan->code), (size_t)PyBytes_GET_SIZE(plan->code),
                                   program);
}

/* A program for one call; NULL with MemoryError set. */
static inline struct tmgr_program *program_take(struct plan *plan) {
    struct tmgr_program *program = program_exchange(plan, NULL);
    if (UNLIKELY(program == NULL) && program_open(plan, &program) != TMGR_OK) {
        PyErr_NoMemory(); /* the code was opened before */
        return NULL;
    }
    return program;
}

static inline void program_give(struct plan *plan, struct tmgr_program *program) {
    program = program_exchange(plan, program);
    if (UNLIKELY(program != NULL)) {
        plan->api->program_free(program);
    }
}

static bool is_bytes_or_none(PyObject *object) { return object == Py_None || PyBytes_CheckExact(object); }

/* Plan(code, is_rows, keys, keys_backwards, prefix) */
static PyObject *plan_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    PyObject *code, *keys, *backwards, *prefix;
    int is_rows;
    if (keywords != NULL && PyDict_GET_SIZE(keywords) != 0) {
        PyErr_SetString(PyExc_TypeError, "Plan takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(arguments, "SpOOO:Plan", &code, &is_rows, &keys, &backwards, &prefix)) {
        return NULL;
    }
    const struct codec_state *state = PyType_GetModuleState(type);
    if (state == NULL || state->api == NULL || !is_bytes_or_none(keys) || !is_bytes_or_none(backwards) ||
        !is_bytes_or_none(prefix)) {
        PyErr_SetString(PyExc_TypeError, "Plan: call bind() before; keys and prefix are bytes or None");
        return NULL;
    }
    struct plan *self = (struct plan *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->api = state->api;
    self->code = Py_NewRef(code);
    self->keys[0] = Py_NewRef(keys);
    self->keys[1] = Py_NewRef(backwards);
    self->prefix = Py_NewRef(prefix);
    self->is_rows = is_rows != 0;
    int status = program_open(self, &self->spare);
    if (status != TMGR_OK) {
        Py_DECREF(self);
        if (status == TMGR_NO_MEMORY) {
            return PyErr_NoMemory();
        }
        PyErr_SetString(PyExc_ValueError, "Plan: the code is no program");
        return NULL;
    }
    return (PyObject *)self;
}

static void plan_dealloc(struct plan *self) {
    PyTypeObject *type = Py_TYPE(self);
    if (self->api != NULL) {
        self->api->program_free(self->spare);
    }
    Py_XDECREF(self->code);
    Py_XDECREF(self->keys[0]);
    Py_XDECREF(self->keys[1]);
    Py_XDECREF(self->prefix);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot plan_slots[] = {
    {Py_tp_doc, "A compiled query, verified and ready to run."},
    {Py_tp_new, plan_new},
    {Py_tp_dealloc, plan_dealloc},
    {0, NULL},
};
static PyType_Spec plan_spec = {
    .name = "tablemgr._codec.Plan",
    .basicsize = sizeof(struct plan),
    .flags = Py_TPFLAGS_DEFAULT, /* what it refers to are bytes: no cycle leads through it */
    .slots = plan_slots,
};

#endif
