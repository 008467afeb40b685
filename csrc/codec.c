/* SPDX-License-Identifier: Apache-2.0 */
/* codec.c - the extension tablemgr._codec: Python objects to rows and back, fused with the core's calls on rows.
 *
 * A verb of the package costs one Python call, one call of the core and no copy that is not needed: this file turns the
 * arguments into msgpack in a buffer it keeps, calls the core through struct tmgr_api, and makes the answer's objects
 * straight from the core's copy of the row. Everything that is not per row goes through cffi.
 *
 * The Python surface (types in tablemgr/_codec.pyi; arguments are positional unless shown with a name):
 *   bind(api_address)                      where struct tmgr_api is; before the first Binding
 *   encode(object, *, pickle=False)        any value, as bytes
 *   encode_key(object), encode_row(row, keypos, *, pickle=False)
 *   decode(data, *, pickle=False)          the value of one object; an array is a list
 *   decode_row(data, *, pickle=False)      the row of one array
 *   sortkey(key), sortkey_prefix(elements, n)   of encoded keys, as bytes in the order of an ordered_set
 *   Binding(table_address, keypos, pickle, lock_timeout, fail, owner)
 *       fail(status, verb, detail) raises what a status means; owner keeps the memory at table_address alive
 *       lock_timeout                       seconds, may be set
 *       lookup(key) get(key, default) getitem(key) lookup_element(key, pos[, default]) contains(key) lookup_many(keys)
 *       length() scan() step(direction[, key])
 *       insert(row | rows) insert_new(row | rows) put(key, value) take(key) delete(key) delete_many(keys)
 *       delete_object(row) delete_all() compare_and_swap(old, new)
 *       update_counter(key, op[, default]) update_element(key, spec[, default])
 *       pages(want_bytes) insert_packed(data)   rows as they are packed
 *       query(verb, mode, plan, reverse, limit, cursor)   verb: what a refusal names
 *   language(ANY, ROW, VARS, Variable, Call)   what clauses are made of
 *   Plan(code, is_rows, keys, keys_backwards, prefix)   a compiled query
 *   Prepared, ClauseParts, AskVerbs        bases of Query, Clause and Selecting
 *   Batch(binding)                         base of Atomic: insert insert_new delete delete_object update_counter
 *                                          update_element, in a with statement
 *   DictVerbs, base of SharedDict: _use(binding), then by operators and get(key[, default]) increment(key[, by, default]) */
#include "codec_ask.h"
#include "codec_dict.h"
#include "codec_keys.h"
#include "codec_order.h"
#include "codec_packed.h"
#include "codec_query.h"

/* -- functions on bytes ------------------------------------------------------------------------------------------------- */

static const struct codec_state *state_of(PyObject *module) { return PyModule_GetState(module); }

/* What was encoded, as bytes, if it was; the buffer is released. */
static PyObject *bytes_of(struct tmgr_buffer *out, bool done) {
    PyObject *bytes = done ? PyBytes_FromStringAndSize((const char *)out->data, (Py_ssize_t)out->len) : NULL;
    free(out->data);
    return bytes;
}

static PyObject *codec_encode(PyObject *module, PyObject *arguments, PyObject *keywords) {
    static char *names[] = {"", "pickle", NULL};
    static const struct place place = {.kind = ROOT, .name = "value"};
    PyObject *object;
    int pickle = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O|$p:encode", names, &object, &pickle)) {
        return NULL;
    }
    struct tmgr_buffer out = {0};
    struct encoder e = {.state = state_of(module), .out = &out, .place = &place, .pickle = pickle != 0};
    return bytes_of(&out, encode_value(&e, object));
}

static PyObject *codec_encode_key(PyObject *module, PyObject *object) {
    struct tmgr_buffer out = {0};
    struct encoder e = {.state = state_of(module), .out = &out, .place = &key_place};
    return bytes_of(&out, encode_key(&e, object));
}

static PyObject *codec_encode_row(PyObject *module, PyObject *arguments, PyObject *keywords) {
    static char *names[] = {"", "", "pickle", NULL};
    PyObject *row;
    unsigned keypos;
    int pickle = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OI|$p:encode_row", names, &row, &keypos, &pickle)) {
        return NULL;
    }
    struct tmgr_buffer out = {0};
    struct encoder e = {.state = state_of(module), .out = &out, .place = &row_place, .pickle = pickle != 0};
    return bytes_of(&out, encode_row(&e, row, keypos, NULL));
}

static PyObject *decode_all(PyObject *module, PyObject *arguments, PyObject *keywords, const char *format,
                            PyObject *(*decode)(struct decoder *)) {
    static char *names[] = {"", "pickle", NULL};
    Py_buffer data;
    int pickle = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, format, names, &data, &pickle)) {
        return NULL;
    }
    const uint8_t *at = data.buf;
    struct decoder d = {.state = state_of(module), .at = at, .end = at + data.len, .pickle = pickle != 0};
    PyObject *value = decode(&d);
    if (value != NULL && d.at != d.end) {
        Py_CLEAR(value);
        fail_decode(&d, "there is more behind the end");
    }
    PyBuffer_Release(&data);
    return value;
}

static PyObject *codec_decode(PyObject *module, PyObject *arguments, PyObject *keywords) {
    return decode_all(module, arguments, keywords, "y*|$p:decode", decode_value);
}

static PyObject *codec_decode_row(PyObject *module, PyObject *arguments, PyObject *keywords) {
    return decode_all(module, arguments, keywords, "y*|$p:decode_row", decode_row);
}

static PyObject *codec_bind(PyObject *module, PyObject *address) {
    struct codec_state *state = PyModule_GetState(module);
    void *api = PyLong_AsVoidPtr(address);
    if (api == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "bind: the address is 0");
        }
        return NULL;
    }
    state->api = api;
    Py_RETURN_NONE;
}

/* -- Binding -------------------------------------------------------------------------------------------------------------- */

static PyMethodDef binding_methods[] = {
    {"lookup", (PyCFunction)binding_lookup, METH_O, "lookup(key): list of rows"},
    {"get", FASTCALL(binding_get), METH_FASTCALL, "get(key, default): the value of a (key, value) row"},
    {"getitem", (PyCFunction)binding_getitem, METH_O, "getitem(key): the value of a (key, value) row, or KeyError"},
    {"lookup_element", FASTCALL(binding_lookup_element), METH_FASTCALL, "lookup_element(key, pos[, default])"},
    {"contains", (PyCFunction)binding_contains, METH_O, "contains(key): bool"},
    {"lookup_many", (PyCFunction)binding_lookup_many, METH_O, "lookup_many(keys): list of lists of rows"},
    {"length", (PyCFunction)binding_length, METH_NOARGS, "length(): int"},
    {"query", (PyCFunction)binding_query, METH_VARARGS,
     "query(verb, mode, plan, reverse, limit, cursor): results, or how many rows"},
    {"range", (PyCFunction)(void (*)(void))binding_range, METH_FASTCALL,
     "range(lo, hi, reverse, limit): iterator over the rows of an ordered_set between two keys"},
    {"scan", (PyCFunction)binding_scan, METH_NOARGS, "scan(): iterator over all rows"},
    {"step", FASTCALL(binding_step), METH_FASTCALL, "step(direction[, key]): row or None"},
    {"step_rows", FASTCALL(binding_step_rows), METH_FASTCALL, "step_rows(direction[, key]): list of rows or None"},
    {"insert", (PyCFunction)binding_insert, METH_O, "insert(row | [rows])"},
    {"insert_new", (PyCFunction)binding_insert_new, METH_O, "insert_new(row | [rows]): bool"},
    {"put", FASTCALL(binding_put), METH_FASTCALL, "put(key, value): insert((key, value))"},
    {"take", (PyCFunction)binding_take, METH_O, "take(key): list of rows"},
    {"delete", (PyCFunction)binding_delete, METH_O, "delete(key): int"},
    {"delete_many", (PyCFunction)binding_delete_many, METH_O, "delete_many(keys): int"},
    {"delete_object", (PyCFunction)binding_delete_object, METH_O, "delete_object(row): int"},
    {"delete_all", (PyCFunction)binding_delete_all, METH_NOARGS, "delete_all(): int"},
    {"compare_and_swap", FASTCALL(binding_compare_and_swap), METH_FASTCALL, "compare_and_swap(old, new): bool"},
    {"update_counter", FASTCALL(binding_update_counter), METH_FASTCALL, "update_counter(key, op[, default])"},
    {"update_element", FASTCALL(binding_update_element), METH_FASTCALL, "update_element(key, spec[, default]): bool"},
    {"pages", (PyCFunction)binding_pages, METH_O, "pages(want_bytes): iterator over (number of rows, bytes)"},
    {"insert_packed", (PyCFunction)binding_insert_packed, METH_O, "insert_packed(data): int"},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef binding_members[] = {
    {"lock_timeout", T_DOUBLE, offsetof(struct binding, lock_timeout), 0, "seconds a call waits for locks"},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot binding_slots[] = {
    {Py_tp_doc, "The verbs on the rows of one handle."},
    {Py_tp_new, binding_new},
    {Py_tp_methods, binding_methods},
    {Py_tp_members, binding_members},
    {Py_tp_traverse, binding_traverse},
    {Py_tp_clear, binding_clear},
    {Py_tp_dealloc, binding_dealloc},
    {0, NULL},
};
static PyType_Spec binding_spec = {
    .name = "tablemgr._codec.Binding",
    .basicsize = sizeof(struct binding),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = binding_slots,
};

/* -- the module ------------------------------------------------------------------------------------------------------------ */

static PyObject *imported(const char *module_name, const char *name) {
    PyObject *module = PyImport_ImportModule(module_name);
    PyObject *object = module == NULL ? NULL : PyObject_GetAttrString(module, name);
    Py_XDECREF(module);
    return object;
}

static bool import_types(struct codec_state *state) {
    PyDateTime_IMPORT;
    if (PyDateTimeAPI == NULL) {
        return false;
    }
    state->decimal_type = imported("decimal", "Decimal");
    state->uuid_type = imported("uuid", "UUID");
    state->timezone_type = imported("datetime", "timezone");
    state->pickle_dumps = imported("pickle", "dumps");
    state->pickle_loads = imported("pickle", "loads");
    return state->decimal_type != NULL && state->uuid_type != NULL && state->timezone_type != NULL &&
           state->pickle_dumps != NULL && state->pickle_loads != NULL;
}

static bool intern_names(struct codec_state *state) {
    state->number_name = PyUnicode_InternFromString("number");
    state->name_name = PyUnicode_InternFromString("name");
    state->operands_name = PyUnicode_InternFromString("operands");
    state->clauses_name = PyUnicode_InternFromString("clauses");
    return state->number_name != NULL && state->name_name != NULL && state->operands_name != NULL &&
           state->clauses_name != NULL;
}

static int codec_exec(PyObject *module) {
    struct codec_state *state = PyModule_GetState(module);
    if (!import_types(state) || !intern_names(state)) {
        return -1;
    }
    state->binding_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &binding_spec, NULL);
    state->scan_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &scan_spec, NULL);
    state->pages_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &pages_spec, NULL);
    state->batch_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &batch_spec, NULL);
    state->dict_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &dict_spec, NULL);
    state->plan_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &plan_spec, NULL);
    state->prepared_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &prepared_spec, NULL);
    state->clause_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &clause_spec, (PyObject *)state->prepared_type);
    state->ask_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &ask_spec, NULL);
    PyTypeObject *const types[] = {state->binding_type,  state->scan_type,   state->pages_type,
                                   state->batch_type,    state->dict_type,   state->plan_type,
                                   state->prepared_type, state->clause_type, state->ask_type};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (types[i] == NULL || PyModule_AddType(module, types[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

static int codec_traverse(PyObject *module, visitproc visit, void *arg) {
    struct codec_state *state = PyModule_GetState(module);
    Py_VISIT(state->decimal_type);
    Py_VISIT(state->uuid_type);
    Py_VISIT(state->timezone_type);
    Py_VISIT(state->pickle_dumps);
    Py_VISIT(state->pickle_loads);
    Py_VISIT(state->binding_type);
    Py_VISIT(state->scan_type);
    Py_VISIT(state->pages_type);
    Py_VISIT(state->batch_type);
    Py_VISIT(state->dict_type);
    Py_VISIT(state->plan_type);
    Py_VISIT(state->prepared_type);
    Py_VISIT(state->clause_type);
    Py_VISIT(state->ask_type);
    Py_VISIT(state->any);
    Py_VISIT(state->row);
    Py_VISIT(state->vars);
    Py_VISIT(state->variable_type);
    Py_VISIT(state->call_type);
    return 0;
}

static int codec_clear(PyObject *module) {
    struct codec_state *state = PyModule_GetState(module);
    Py_CLEAR(state->decimal_type);
    Py_CLEAR(state->uuid_type);
    Py_CLEAR(state->timezone_type);
    Py_CLEAR(state->pickle_dumps);
    Py_CLEAR(state->pickle_loads);
    Py_CLEAR(state->binding_type);
    Py_CLEAR(state->scan_type);
    Py_CLEAR(state->pages_type);
    Py_CLEAR(state->batch_type);
    Py_CLEAR(state->dict_type);
    Py_CLEAR(state->plan_type);
    Py_CLEAR(state->prepared_type);
    Py_CLEAR(state->clause_type);
    Py_CLEAR(state->ask_type);
    Py_CLEAR(state->any);
    Py_CLEAR(state->row);
    Py_CLEAR(state->vars);
    Py_CLEAR(state->variable_type);
    Py_CLEAR(state->call_type);
    Py_CLEAR(state->number_name);
    Py_CLEAR(state->name_name);
    Py_CLEAR(state->operands_name);
    Py_CLEAR(state->clauses_name);
    return 0;
}

static PyMethodDef codec_functions[] = {
    {"bind", codec_bind, METH_O, "bind(api_address): where struct tmgr_api is"},
    {"encode", FASTCALL(codec_encode), METH_VARARGS | METH_KEYWORDS, "encode(object, *, pickle=False): bytes"},
    {"encode_key", codec_encode_key, METH_O, "encode_key(object): bytes"},
    {"encode_row", FASTCALL(codec_encode_row), METH_VARARGS | METH_KEYWORDS,
     "encode_row(row, keypos, *, pickle=False): bytes"},
    {"decode", FASTCALL(codec_decode), METH_VARARGS | METH_KEYWORDS, "decode(data, *, pickle=False): object"},
    {"decode_row", FASTCALL(codec_decode_row), METH_VARARGS | METH_KEYWORDS,
     "decode_row(data, *, pickle=False): tuple"},
    {"language", codec_language, METH_VARARGS, "language(ANY, ROW, VARS, Variable, Call): what clauses are made of"},
    {"sortkey", codec_sortkey, METH_O, "sortkey(key): bytes"},
    {"sortkey_prefix", codec_sortkey_prefix, METH_VARARGS, "sortkey_prefix(elements, n): bytes"},
    {NULL, NULL, 0, NULL},
};
static PyModuleDef_Slot codec_slots[] = {
    {Py_mod_exec, codec_exec},
    {0, NULL},
};
static struct PyModuleDef codec_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "tablemgr._codec",
    .m_doc = "Python objects to rows and back, fused with the core's calls on rows.",
    .m_size = sizeof(struct codec_state),
    .m_methods = codec_functions,
    .m_slots = codec_slots,
    .m_traverse = codec_traverse,
    .m_clear = codec_clear,
};

PyMODINIT_FUNC PyInit__codec(void) { return PyModuleDef_Init(&codec_module); }
