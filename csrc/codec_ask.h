/* SPDX-License-Identifier: Apache-2.0 */
/* codec_ask.h - AskVerbs, the base of Table's Selecting: select, match and match_object where the clause binds the key.
 *
 * Such a clause is a lookup and is to cost as much: one call, which finds the row and asks the program of it before it is
 * decoded. A Clause or Query that was asked before knows its plan and its key; any other plain clause finds the plan of its
 * shape (codec_clause.h). Everything else, errors too, is left to methods in Python: _select, _match, _match_object. */
#ifndef TABLEMGR_CODEC_ASK_H
#define TABLEMGR_CODEC_ASK_H

#include "codec_clause.h"
#include "codec_steps.h"

enum { SHAPES_KEPT = 256 };

struct ask_verbs {
    PyObject_HEAD struct binding *binding; /* NULL until _use() */
    PyObject *plans;                       /* dict: of each shape the Plan, or None where it is not in order */
    struct tmgr_buffer last_shape;         /* the shape that was asked for last, */
    PyObject *last_plan;                   /* and its plan, or NULL */
    uint64_t use;
};

/* -- asking ------------------------------------------------------------------------------------------------------------------- */

/* What the program gives for the rows up to the end of the result, as a list. */
static PyObject *answers_of(struct binding *binding, struct tmgr_program *program, const struct request *r,
                            const struct known_key *known) {
    struct decoder d = decoder_for(binding, r->result);
    const uint8_t *end = d.end;
    PyObject *list = PyList_New(0);
    for (const uint8_t *row = d.at; list != NULL && row != end; row = d.end) {
        struct tmgr_answer answer;
        d.at = row;
        d.end = end;
        if (binding->bag && !skip_values(&d, 1)) {
            Py_CLEAR(list);
            break;
        }
        d.end = binding->bag ? d.at : end;
        int status = r->api->program_ask(program, row, (size_t)(d.end - row), &answer);
        if (status == TMGR_ABSENT) {
            continue;
        }
        if (status != TMGR_OK) {
            PyErr_NoMemory();
            Py_CLEAR(list);
            break;
        }
        struct decoder inside = d;
        inside.at = answer.at;
        inside.end = answer.at + answer.len;
        PyObject *item = answer.is_row ? decode_row_of(&inside, known) : decode_value(&inside);
        if (item == NULL || PyList_Append(list, item) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(item);
    }
    return list;
}

/* Whether the row that was found has this very key: the lookup in an ordered_set finds 1.0 for 1, a pattern does not match it. */
static bool has_very_key(struct binding *binding, const struct request *r) {
    struct decoder d = decoder_for(binding, r->result);
    uint64_t n;
    return take_array(&d, &n) && skip_values(&d, binding->keypos) && has(&d, r->key_len) &&
           same_short(d.at, r->key, r->key_len);
}

/* The answers for the rows of a key. The caller holds the plan and the key's bytes. */
static PyObject *ask_key(struct binding *binding, struct scratch *scratch, struct plan *plan, const uint8_t *key,
                         size_t key_len, PyObject *object, const char *verb) {
    struct request r = request_for(binding, scratch);
    r.key = key;
    r.key_len = key_len;
    int status = do_read(binding, &r, step_lookup);
    if (status != TMGR_OK) {
        return status == TMGR_ABSENT ? PyList_New(0) : refuse(binding, status, verb, NULL);
    }
    if (!binding->bag && !has_very_key(binding, &r)) {
        return PyList_New(0);
    }
    struct tmgr_program *program = program_take(plan);
    if (program == NULL) {
        return NULL;
    }
    struct known_key known = known_key(binding, object, key, key_len);
    PyObject *list = answers_of(binding, program, &r, &known);
    program_give(plan, program);
    return list;
}

/* -- finding the plan ---------------------------------------------------------------------------------------------------------- */

/* The Plan of the shape in scratch->ops, or None; compiled if it is new. NULL with an exception set. A new reference. */
static PyObject *plan_of_shape(PyObject *self, struct scratch *scratch, PyObject *head, PyObject *guards,
                               PyObject *body) {
    struct ask_verbs *verbs = (struct ask_verbs *)self;
    const struct tmgr_buffer *shape = &scratch->ops;
    struct tmgr_buffer *last = &verbs->last_shape;
    if (LIKELY(verbs->last_plan != NULL && last->len == shape->len &&
               memcmp(last->data, shape->data, shape->len) == 0)) {
        return Py_NewRef(verbs->last_plan);
    }
    PyObject *name = PyBytes_FromStringAndSize((const char *)shape->data, (Py_ssize_t)shape->len);
    PyObject *plan = name != NULL ? PyDict_GetItemWithError(verbs->plans, name) : NULL;
    Py_XINCREF(plan);
    if (plan == NULL && name != NULL && !PyErr_Occurred()) {
        plan = PyObject_CallMethod(self, "_plan_of_shape", "OOO", head, guards, body);
        if (plan != NULL && PyDict_GET_SIZE(verbs->plans) >= SHAPES_KEPT) {
            PyDict_Clear(verbs->plans);
        }
        if (plan != NULL && PyDict_SetItem(verbs->plans, name, plan) < 0) {
            Py_CLEAR(plan);
        }
    }
    if (plan != NULL && name != NULL) {
        size_t len = (size_t)PyBytes_GET_SIZE(name);
        last->len = 0;
        if (reserve(last, len)) {
            memcpy(last->data, PyBytes_AS_STRING(name), len);
            last->len = len;
            Py_XSETREF(verbs->last_plan, Py_NewRef(plan));
        } else {
            Py_CLEAR(plan);
        }
    }
    Py_XDECREF(name);
    return plan;
}

static bool is_plan(const struct binding *binding, PyObject *object) {
    return Py_IS_TYPE(object, binding->state->plan_type);
}

/* The answers of a clause that binds the key; NULL without an exception: it is for the methods in Python. `keeper` (NULL:
 * none) is prepared for the next time. */
static PyObject *ask_parts(PyObject *self, PyObject *head, PyObject *guards, PyObject *body, struct prepared *keeper,
                           const char *verb) {
    struct ask_verbs *verbs = (struct ask_verbs *)self;
    struct binding *binding = verbs->binding;
    PyObject *answer = NULL;
    struct scratch *scratch = scratch_take(binding);
    if (UNLIKELY(scratch == NULL)) {
        return NULL;
    }
    if (shape_of(binding, scratch, head, guards, body)) {
        PyObject *plan = plan_of_shape(self, scratch, head, guards, body);
        const struct tmgr_buffer *key = &scratch->arguments;
        PyObject *object = PyTuple_GET_ITEM(head, binding->keypos);
        PyObject *encoded = NULL;
        if (plan != NULL && is_plan(binding, plan) && keeper != NULL) {
            encoded = PyBytes_FromStringAndSize((const char *)key->data, (Py_ssize_t)key->len);
            if (encoded != NULL) {
                prepare(keeper, plan, encoded, is_its_own_copy(object) ? object : Py_None, verbs->use);
            }
            Py_XDECREF(encoded);
        }
        if (plan != NULL && is_plan(binding, plan) && (keeper == NULL || encoded != NULL)) {
            answer = ask_key(binding, scratch, (struct plan *)plan, key->data, key->len, object, verb);
        }
        Py_XDECREF(plan);
    }
    scratch_give(binding, scratch);
    return answer;
}

/* The same of one that was prepared for this use. */
static PyObject *ask_prepared(struct binding *binding, struct prepared *prepared, const char *verb) {
    struct scratch *scratch = scratch_take(binding);
    if (UNLIKELY(scratch == NULL)) {
        return NULL;
    }
    PyObject *plan = Py_NewRef(prepared->plan), *encoded = Py_NewRef(prepared->encoded),
             *key = Py_NewRef(prepared->key);
    PyObject *answer = ask_key(binding, scratch, (struct plan *)plan, (const uint8_t *)PyBytes_AS_STRING(encoded),
                               (size_t)PyBytes_GET_SIZE(encoded), key, verb);
    Py_DECREF(plan);
    Py_DECREF(encoded);
    Py_DECREF(key);
    scratch_give(binding, scratch);
    return answer;
}

/* Of a Clause, or of a Query of one Clause, NULL without an exception otherwise. */
static PyObject *ask_question(PyObject *self, PyObject *question, const char *verb) {
    struct ask_verbs *verbs = (struct ask_verbs *)self;
    const struct codec_state *state = verbs->binding->state;
    struct prepared *keeper = (struct prepared *)question;
    if (LIKELY(keeper->plan != NULL && keeper->use == verbs->use)) {
        return ask_prepared(verbs->binding, keeper, verb);
    }
    PyObject *clauses = NULL, *clause = question;
    if (!PyObject_TypeCheck(question, state->clause_type)) {
        clauses = PyObject_GetAttr(question, state->clauses_name);
        bool is_one = clauses != NULL && PyTuple_CheckExact(clauses) && PyTuple_GET_SIZE(clauses) == 1;
        clause = is_one ? PyTuple_GET_ITEM(clauses, 0) : NULL;
        if (clause == NULL || !PyObject_TypeCheck(clause, state->clause_type)) {
            Py_XDECREF(clauses);
            return NULL;
        }
    }
    struct clause *parts = (struct clause *)clause;
    PyObject *answer = NULL;
    if (parts->head != NULL) { /* it is NULL where the garbage collector has been */
        answer = ask_parts(self, parts->head, parts->guards, parts->body, keeper, verb);
    }
    Py_XDECREF(clauses);
    return answer;
}

/* -- the verbs ----------------------------------------------------------------------------------------------------------------- */

/* Leave the call to a method in Python. */
static PyObject *ask_in_python(PyObject *self, const char *method, PyObject *const *arguments, Py_ssize_t n,
                               PyObject *names) {
    PyObject *function = PyObject_GetAttrString(self, method);
    PyObject *answer = function != NULL ? PyObject_Vectorcall(function, arguments, (size_t)n, names) : NULL;
    Py_XDECREF(function);
    return answer;
}

static inline bool is_ready(PyObject *self) { return ((struct ask_verbs *)self)->binding != NULL; }

static PyObject *ask_select(PyObject *self, PyObject *const *arguments, Py_ssize_t n, PyObject *names) {
    if (LIKELY(n == 1 && names == NULL && is_ready(self)) &&
        PyObject_TypeCheck(arguments[0], ((struct ask_verbs *)self)->binding->state->prepared_type)) {
        PyObject *answer = ask_question(self, arguments[0], "select");
        if (LIKELY(answer != NULL) || PyErr_Occurred()) {
            return answer;
        }
    }
    return ask_in_python(self, "_select", arguments, n, names);
}

static PyObject *ask_pattern(PyObject *self, PyObject *const *arguments, Py_ssize_t n, PyObject *names, bool is_match) {
    if (LIKELY(n == 1 && names == NULL && is_ready(self))) {
        const struct codec_state *state = ((struct ask_verbs *)self)->binding->state;
        PyObject *no_guards = PyTuple_New(0);
        PyObject *answer = no_guards != NULL
                               ? ask_parts(self, arguments[0], no_guards, is_match ? state->vars : state->row, NULL,
                                           is_match ? "match" : "match_object")
                               : NULL;
        Py_XDECREF(no_guards);
        if (LIKELY(answer != NULL) || PyErr_Occurred()) {
            return answer;
        }
    }
    return ask_in_python(self, is_match ? "_match" : "_match_object", arguments, n, names);
}

static PyObject *ask_match(PyObject *self, PyObject *const *arguments, Py_ssize_t n, PyObject *names) {
    return ask_pattern(self, arguments, n, names, true);
}

static PyObject *ask_match_object(PyObject *self, PyObject *const *arguments, Py_ssize_t n, PyObject *names) {
    return ask_pattern(self, arguments, n, names, false);
}

/* -- the type ------------------------------------------------------------------------------------------------------------------ */

static PyObject *ask_use(PyObject *self, PyTypeObject *defining, PyObject *const *arguments, Py_ssize_t n,
                         PyObject *names) {
    const struct codec_state *state = PyType_GetModuleState(defining);
    struct ask_verbs *verbs = (struct ask_verbs *)self;
    if (names != NULL || n != 2 || !Py_IS_TYPE(arguments[0], state->binding_type) || verbs->binding != NULL ||
        state->row == NULL) {
        PyErr_SetString(PyExc_TypeError, "_use: a Binding, and whether the table is ordered; once, after language()");
        return NULL;
    }
    verbs->plans = PyDict_New();
    if (verbs->plans == NULL) {
        return NULL;
    }
    Py_INCREF(arguments[0]);
    verbs->binding = (struct binding *)arguments[0];
    verbs->use = use_of(verbs->binding->keypos, arguments[1] == Py_True, verbs->binding->pickle);
    Py_RETURN_NONE;
}

static int ask_traverse(PyObject *self, visitproc visit, void *arg) {
    struct ask_verbs *verbs = (struct ask_verbs *)self;
    Py_VISIT(verbs->binding);
    Py_VISIT(verbs->plans);
    Py_VISIT(verbs->last_plan);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void ask_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    struct ask_verbs *verbs = (struct ask_verbs *)self;
    PyObject_GC_UnTrack(self);
    Py_XDECREF(verbs->binding);
    Py_XDECREF(verbs->plans);
    Py_XDECREF(verbs->last_plan);
    free(verbs->last_shape.data);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef ask_methods[] = {
    {"_use", FASTCALL(ask_use), METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     "_use($self, binding, ordered, /)\n--\n\nThe table's Binding, once, before anything else."},
    {"select", FASTCALL(ask_select), METH_FASTCALL | METH_KEYWORDS,
     "select($self, /, *clauses, limit=None, reverse=False)\n--\n\n"
     "What the clauses make of the rows they apply to; of several clauses the first that applies decides.\n\n"
     "clauses: `Clause`s, or one `Query`; or what an earlier call with a limit gave to go on with. limit: at most so\n"
     "many results, and what to go on with. reverse: an ordered_set from its end; other types have no other order.\n\n"
     "Returns a list; with a limit (list, continuation), where the continuation is END when nothing is left. Raises\n"
     "BadMatchError for a malformed clause, on an empty table too, and TypeError if there is none."},
    {"match", FASTCALL(ask_match), METH_FASTCALL | METH_KEYWORDS,
     "match($self, /, pattern, limit=None)\n--\n\n"
     "For each row that the pattern matches, the bound values in the order of the variables' numbers.\n\n"
     "pattern: a tuple with `ANY` and `var(n)` at any depth, `ANY`, or a variable for the whole row; or what an\n"
     "earlier call with a limit gave to go on with. A repeated variable must match itself; a dict matches a dict\n"
     "that has its items. limit: at most so many, and what to go on with.\n\n"
     "Returns a list of tuples; with a limit (list, continuation), where the continuation is END when nothing is\n"
     "left. Raises TypeError for what is no pattern, BadMatchError for another call's continuation."},
    {"match_object", FASTCALL(ask_match_object), METH_FASTCALL | METH_KEYWORDS,
     "match_object($self, /, pattern, limit=None)\n--\n\nThe rows that the pattern matches; otherwise as `match`."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot ask_slots[] = {
    {Py_tp_doc, "What a table is asked with patterns and clauses, where they bind the key."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_methods, ask_methods},
    {Py_tp_traverse, ask_traverse},
    {Py_tp_dealloc, ask_dealloc},
    {0, NULL},
};
static PyType_Spec ask_spec = {
    .name = "tablemgr._codec.AskVerbs",
    .basicsize = sizeof(struct ask_verbs),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = ask_slots,
};

#endif
