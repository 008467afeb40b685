/* SPDX-License-Identifier: Apache-2.0 */
/* codec_encode.h - Python objects to canonical msgpack: equal keys, type by type, have equal bytes.
 *
 * Types are matched exactly: a subclass carries more than its base type's bytes can say.
 *
 * Python code can run in between (pickle, a numpy scalar's item()), and without the GIL other threads do: containers
 * are read with strong references, and one that changes its length meanwhile is an error. */
#ifndef TABLEMGR_CODEC_ENCODE_H
#define TABLEMGR_CODEC_ENCODE_H

#include "codec_encode_container.h"
#include "codec_encode_scalar.h"

/* A numpy scalar that is a number: known by the names of its types, as numpy may not be there. */
static bool is_numpy_number(PyTypeObject *type) {
    if (strncmp(type->tp_name, "numpy.", 6) != 0 || type->tp_mro == NULL) {
        return false;
    }
    static const char *const kinds[] = {"numpy.integer", "numpy.floating", "numpy.bool_", "numpy.bool"};
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(type->tp_mro); i++) {
        const char *name = ((PyTypeObject *)PyTuple_GET_ITEM(type->tp_mro, i))->tp_name;
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
            if (strcmp(name, kinds[k]) == 0) {
                return true;
            }
        }
    }
    return false;
}

static bool encode_numpy(struct encoder *e, PyObject *object) {
    PyObject *number = PyObject_CallMethod(object, "item", NULL);
    if (number == NULL) {
        return false;
    }
    bool done;
    if (PyBool_Check(number) || PyLong_CheckExact(number) || PyFloat_CheckExact(number)) {
        done = encode_value(e, number);
    } else { /* longdouble: Python has no such number */
        done = refuse_type(e, object);
    }
    Py_DECREF(number);
    return done;
}

static bool encode_pickled(struct encoder *e, PyObject *object) {
    PyObject *bytes = PyObject_CallFunction(e->state->pickle_dumps, "Oi", object, 5);
    if (bytes == NULL || !PyBytes_CheckExact(bytes)) {
        Py_XDECREF(bytes);
        if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_Exception)) {
            return false; /* KeyboardInterrupt and its kin are not about the value */
        }
        return fail_at(e, PyExc_TypeError, "cannot pickle a value of type %s", Py_TYPE(object)->tp_name);
    }
    bool done = put_extension(e, EXT_PICKLE, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
    Py_DECREF(bytes);
    return done;
}

/* What a key may not hold; false (without an exception) if it is none of these. */
static bool is_plain_container(PyTypeObject *type) {
    return type == &PyList_Type || type == &PyDict_Type || type == &PySet_Type || type == &PyFrozenSet_Type ||
           type == &PyByteArray_Type;
}

static bool encode_container(struct encoder *e, PyObject *object, PyTypeObject *type) {
    if (type == &PyList_Type) {
        return encode_list(e, object);
    }
    if (type == &PyDict_Type) {
        return encode_dict(e, object);
    }
    if (type == &PyByteArray_Type) {
        return encode_bytearray(e, object);
    }
    return encode_set(e, object, type == &PySet_Type ? EXT_SET : EXT_FROZENSET);
}

/* Whether a datetime or time is one that only pickle can take: with a tzinfo of another type than timezone. */
static bool has_foreign_zone(const struct encoder *e, PyObject *tzinfo) {
    return tzinfo != Py_None && (PyObject *)Py_TYPE(tzinfo) != e->state->timezone_type;
}

static bool encode_rare(struct encoder *e, PyObject *object, PyTypeObject *type) {
    bool may_pickle = e->pickle && !e->is_key;
    if (PyDateTime_CheckExact(object)) {
        return may_pickle && has_foreign_zone(e, PyDateTime_DATE_GET_TZINFO(object)) ? encode_pickled(e, object)
                                                                                     : encode_datetime(e, object);
    }
    if (PyTime_CheckExact(object)) {
        return may_pickle && has_foreign_zone(e, PyDateTime_TIME_GET_TZINFO(object)) ? encode_pickled(e, object)
                                                                                     : encode_time(e, object);
    }
    if (PyDate_CheckExact(object)) {
        return encode_date(e, object);
    }
    if (PyDelta_CheckExact(object)) {
        return encode_timedelta(e, object);
    }
    if ((PyObject *)type == e->state->decimal_type) {
        return encode_decimal(e, object);
    }
    if ((PyObject *)type == e->state->uuid_type) {
        return encode_uuid(e, object);
    }
    if (is_numpy_number(type)) {
        return encode_numpy(e, object);
    }
    return may_pickle ? encode_pickled(e, object) : refuse_type(e, object);
}

static bool encode_value(struct encoder *e, PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    if (type == &PyUnicode_Type) {
        return encode_str(e, object);
    }
    if (type == &PyLong_Type) {
        return encode_int(e, object);
    }
    if (type == &PyBytes_Type) {
        return encode_bytes(e, object);
    }
    if (type == &PyFloat_Type) {
        return encode_float(e, PyFloat_AS_DOUBLE(object));
    }
    if (object == Py_None || type == &PyBool_Type) {
        return put_byte(e, object == Py_None ? 0xc0 : object == Py_True ? 0xc3 : 0xc2);
    }
    if (type == &PyTuple_Type) {
        return encode_tuple(e, object);
    }
    if (!e->is_key && is_plain_container(type)) {
        return encode_container(e, object, type);
    }
    return encode_rare(e, object, type);
}

/* A key: what a key may be, and no longer than one may be. */
static bool encode_key(struct encoder *e, PyObject *object) {
    size_t start = e->out->len;
    e->is_key = true;
    bool done = encode_value(e, object);
    e->is_key = false;
    if (done && UNLIKELY(e->out->len - start > TMGR_KEY_MAX)) {
        return fail_at(e, PyExc_ValueError, "a key of %zu bytes is too long: at most %d, encoded", e->out->len - start,
                       (int)TMGR_KEY_MAX);
    }
    return done;
}

/* Where an encoding lies in a buffer that may still move. */
struct span {
    size_t offset, len;
};

static bool put_copy(struct encoder *e, const struct span *span) {
    if (!reserve(e->out, span->len)) {
        return false;
    }
    memcpy(e->out->data + e->out->len, e->out->data + span->offset, span->len);
    e->out->len += span->len;
    return true;
}

/* A row. key: an encoded key in the same buffer that stands in for the element at keypos; NULL: encode that element. */
static bool encode_row(struct encoder *e, PyObject *row, uint32_t keypos, const struct span *key) {
    if (UNLIKELY(!PyTuple_CheckExact(row))) {
        return fail_at(e, PyExc_TypeError, "a row is a tuple, and exactly that, not %s", Py_TYPE(row)->tp_name);
    }
    struct place here = {.parent = e->place, .kind = INDEX};
    Py_ssize_t n = PyTuple_GET_SIZE(row);
    if (UNLIKELY(n <= (Py_ssize_t)keypos)) {
        return fail_at(e, PyExc_ValueError, "a row of %zd elements has no key: this table has it at position %u", n,
                       (unsigned)keypos);
    }
    if (!put_header(e, &array_forms, n)) {
        return false;
    }
    e->place = &here;
    for (; here.index < n; here.index++) {
        PyObject *element = PyTuple_GET_ITEM(row, here.index);
        bool done = here.index != (Py_ssize_t)keypos ? encode_value(e, element)
                    : key == NULL                    ? encode_key(e, element)
                                                     : put_copy(e, key);
        if (UNLIKELY(!done)) {
            return false;
        }
    }
    e->place = here.parent;
    return true;
}

#endif
