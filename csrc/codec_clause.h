/* SPDX-License-Identifier: Apache-2.0 */
/* codec_clause.h - clauses as C sees them: their parts, their shape, and what they were prepared to.
 *
 * Shape. Compiling a clause takes longer than asking it of a row. So clauses that differ only in the key that they bind share
 * a Plan: a clause's shape is a text of bytes that tells everything of it but the bound key (and the table, which has its own
 * shapes). Two clauses of one table with the same shape have the same program. Only plain clauses have one: the key bound, and
 * in head, guards and body nothing but variables, expressions, tuples, numbers, str, bytes, bools and None. */
#ifndef TABLEMGR_CODEC_CLAUSE_H
#define TABLEMGR_CODEC_CLAUSE_H

#include "codec_plan.h"

/* -- what a Clause or Query is prepared to ---------------------------------------------------------------------------------- */

/* How a table's keys are told: two tables that agree in it may use the same plans. */
static inline uint64_t use_of(uint32_t keypos, bool ordered, bool pickle) {
    return (uint64_t)keypos << 2 | (uint64_t)ordered << 1 | pickle;
}

/* Base of Clause and Query. For the use that asked last, if the key is bound: the plan of its shape, and the key. */
struct prepared {
    PyObject_HEAD PyObject *plan; /* NULL: not prepared */
    PyObject *encoded;            /* bytes: the key */
    PyObject *key;                /* the object itself, or None: see struct known_key */
    uint64_t use;
};

static void prepare(struct prepared *self, PyObject *plan, PyObject *encoded, PyObject *key, uint64_t use) {
    PyObject *old[] = {self->plan, self->encoded, self->key};
    self->plan = Py_NewRef(plan);
    self->encoded = Py_NewRef(encoded);
    self->key = Py_NewRef(key);
    self->use = use;
    for (size_t i = 0; i < sizeof old / sizeof old[0]; i++) {
        Py_XDECREF(old[i]);
    }
}

static int prepared_traverse(PyObject *self, visitproc visit, void *arg) {
    struct prepared *prepared = (struct prepared *)self; /* what it holds leads to nothing further */
    Py_VISIT(prepared->plan);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void prepared_release(PyObject *self) {
    struct prepared *prepared = (struct prepared *)self;
    Py_CLEAR(prepared->plan);
    Py_CLEAR(prepared->encoded);
    Py_CLEAR(prepared->key);
}

static void prepared_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    prepared_release(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot prepared_slots[] = {
    {Py_tp_doc, "Base of what can be asked again and again: keeps what it was compiled to."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_traverse, prepared_traverse},
    {Py_tp_dealloc, prepared_dealloc},
    {0, NULL},
};
static PyType_Spec prepared_spec = {
    .name = "tablemgr._codec.Prepared",
    .basicsize = sizeof(struct prepared),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = prepared_slots,
};

/* -- a clause's parts --------------------------------------------------------------------------------------------------------- */

struct clause {
    struct prepared base;
    PyObject *head, *guards, *body;
};

static void clause_dealloc(PyObject *self);

static PyObject *clause_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    static char *names[] = {"head", "guards", "body", NULL};
    PyObject *parts[3] = {NULL, NULL, NULL};
    PyTypeObject *own = type; /* ClauseParts, from which it derives */
    while (own->tp_dealloc != clause_dealloc) {
        own = own->tp_base;
    }
    const struct codec_state *state = PyType_GetModuleState(own);
    if (state == NULL || state->row == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Clause: call language() before");
        return NULL;
    }
    Py_ssize_t n = PyTuple_GET_SIZE(arguments);
    if (LIKELY(keywords == NULL && n >= 1 && n <= 3)) {
        for (Py_ssize_t i = 0; i < n; i++) {
            parts[i] = PyTuple_GET_ITEM(arguments, i);
        }
    } else if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O|OO:Clause", names, &parts[0], &parts[1],
                                            &parts[2])) {
        return NULL;
    }
    PyObject *guards = parts[1] != NULL ? Py_NewRef(parts[1]) : PyTuple_New(0);
    struct clause *self = guards != NULL ? (struct clause *)type->tp_alloc(type, 0) : NULL;
    if (self == NULL) {
        Py_XDECREF(guards);
        return NULL;
    }
    self->head = Py_NewRef(parts[0]);
    self->guards = guards;
    self->body = Py_NewRef(parts[2] != NULL ? parts[2] : state->row);
    return (PyObject *)self;
}

static int clause_traverse(PyObject *self, visitproc visit, void *arg) {
    struct clause *clause = (struct clause *)self;
    Py_VISIT(clause->head);
    Py_VISIT(clause->guards);
    Py_VISIT(clause->body);
    return prepared_traverse(self, visit, arg);
}

static int clause_clear(PyObject *self) {
    struct clause *clause = (struct clause *)self;
    Py_CLEAR(clause->head);
    Py_CLEAR(clause->guards);
    Py_CLEAR(clause->body);
    return 0;
}

static void clause_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    clause_clear(self);
    prepared_release(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef clause_members[] = {
    {"head", T_OBJECT_EX, offsetof(struct clause, head), READONLY, "the pattern"},
    {"guards", T_OBJECT_EX, offsetof(struct clause, guards), READONLY, "what has to be True besides"},
    {"body", T_OBJECT_EX, offsetof(struct clause, body), READONLY, "what comes out"},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot clause_slots[] = {
    {Py_tp_doc, "ClauseParts(head, guards=(), body=...)\n--\n\nThe parts of a Clause, which derives from this."},
    {Py_tp_new, clause_new},
    {Py_tp_members, clause_members},
    {Py_tp_traverse, clause_traverse},
    {Py_tp_clear, clause_clear},
    {Py_tp_dealloc, clause_dealloc},
    {0, NULL},
};
static PyType_Spec clause_spec = {
    .name = "tablemgr._codec.ClauseParts",
    .basicsize = sizeof(struct clause),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = clause_slots,
};

/* language(ANY, ROW, VARS, Variable, Call): the words that patterns and expressions are made of. */
static PyObject *codec_language(PyObject *module, PyObject *arguments) {
    struct codec_state *state = PyModule_GetState(module);
    PyObject *any, *row, *vars, *variable, *call;
    if (!PyArg_ParseTuple(arguments, "OOOO!O!:language", &any, &row, &vars, &PyType_Type, &variable, &PyType_Type,
                          &call)) {
        return NULL;
    }
    Py_XSETREF(state->any, Py_NewRef(any));
    Py_XSETREF(state->row, Py_NewRef(row));
    Py_XSETREF(state->vars, Py_NewRef(vars));
    Py_XSETREF(state->variable_type, (PyTypeObject *)Py_NewRef(variable));
    Py_XSETREF(state->call_type, (PyTypeObject *)Py_NewRef(call));
    Py_RETURN_NONE;
}

/* -- the shape ---------------------------------------------------------------------------------------------------------------- */

/* Before each part of a shape, so that it can be read in one way only. */
enum shape_tag {
    SHAPE_ANY = 1,
    SHAPE_ROW,
    SHAPE_VARS,
    SHAPE_VARIABLE,
    SHAPE_CALL,
    SHAPE_TUPLE,
    SHAPE_VALUE,
    SHAPE_KEY
};
enum { SHAPE_DEPTH = 20 };

static bool shape_term(struct encoder *e, PyObject *term, int depth);

static bool shape_items(struct encoder *e, enum shape_tag tag, PyObject *tuple, int depth) {
    Py_ssize_t n = PyTuple_GET_SIZE(tuple);
    if (!put_byte(e, (uint8_t)tag) || !put_uint64(e, (uint64_t)n)) {
        return false;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        if (!shape_term(e, PyTuple_GET_ITEM(tuple, i), depth + 1)) {
            return false;
        }
    }
    return true;
}

static bool shape_variable(struct encoder *e, PyObject *variable) {
    PyObject *number = PyObject_GetAttr(variable, e->state->number_name);
    bool done = number != NULL && PyLong_CheckExact(number) && put_byte(e, SHAPE_VARIABLE) && encode_int(e, number);
    Py_XDECREF(number);
    return done;
}

static bool shape_call(struct encoder *e, PyObject *call, int depth) {
    PyObject *name = PyObject_GetAttr(call, e->state->name_name);
    PyObject *operands = name == NULL ? NULL : PyObject_GetAttr(call, e->state->operands_name);
    bool done = operands != NULL && PyUnicode_CheckExact(name) && PyTuple_CheckExact(operands) &&
                put_byte(e, SHAPE_CALL) && encode_str(e, name) && shape_items(e, SHAPE_TUPLE, operands, depth);
    Py_XDECREF(name);
    Py_XDECREF(operands);
    return done;
}

/* False, perhaps with an exception set: it is no plain one. */
static bool shape_term(struct encoder *e, PyObject *term, int depth) {
    const struct codec_state *state = e->state;
    PyTypeObject *type = Py_TYPE(term);
    if (term == state->any || term == state->row || term == state->vars) {
        return put_byte(e, term == state->any ? SHAPE_ANY : term == state->row ? SHAPE_ROW : SHAPE_VARS);
    }
    if (type == state->variable_type) {
        return shape_variable(e, term);
    }
    if (depth == SHAPE_DEPTH) {
        return false;
    }
    if (type == state->call_type) {
        return shape_call(e, term, depth);
    }
    if (type == &PyTuple_Type) {
        return shape_items(e, SHAPE_TUPLE, term, depth);
    }
    bool is_plain = type == &PyUnicode_Type || type == &PyLong_Type || type == &PyBytes_Type || type == &PyFloat_Type ||
                    type == &PyBool_Type || term == Py_None;
    return is_plain && put_byte(e, SHAPE_VALUE) && encode_value(e, term);
}

static bool shape_head(struct encoder *e, PyObject *head, uint32_t keypos) {
    Py_ssize_t n = PyTuple_GET_SIZE(head);
    if (!put_uint64(e, (uint64_t)n)) {
        return false;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        if (!(i == (Py_ssize_t)keypos ? put_byte(e, SHAPE_KEY) : shape_term(e, PyTuple_GET_ITEM(head, i), 1))) {
            return false;
        }
    }
    return true;
}

/* A list may be changed by another thread: its items are held. */
static bool shape_guards(struct encoder *e, PyObject *guards) {
    if (PyTuple_CheckExact(guards)) {
        return shape_items(e, SHAPE_TUPLE, guards, 0);
    }
    if (!PyList_CheckExact(guards)) {
        return false;
    }
    PyObject *tuple = PyList_AsTuple(guards);
    bool done = tuple != NULL && shape_items(e, SHAPE_TUPLE, tuple, 0);
    Py_XDECREF(tuple);
    return done;
}

/* The key that a clause binds into scratch->arguments, its shape into scratch->ops. False, with no exception set: it has
 * none. */
static bool shape_of(struct binding *binding, struct scratch *scratch, PyObject *head, PyObject *guards,
                     PyObject *body) {
    uint32_t keypos = binding->keypos;
    if (!PyTuple_CheckExact(head) || PyTuple_GET_SIZE(head) <= (Py_ssize_t)keypos) {
        return false;
    }
    const struct codec_state *state = binding->state;
    PyObject *key = PyTuple_GET_ITEM(head, keypos);
    if (key == state->any || Py_TYPE(key) == state->variable_type || Py_TYPE(key) == state->call_type) {
        return false;
    }
    struct encoder key_encoder = {.state = state, .out = &scratch->arguments, .place = &key_place};
    struct encoder e = {.state = state, .out = &scratch->ops, .place = &key_place};
    if (encode_key(&key_encoder, key) && shape_head(&e, head, keypos) && shape_guards(&e, guards) &&
        shape_term(&e, body, 0)) {
        return true;
    }
    PyErr_Clear();
    return false;
}

#endif
