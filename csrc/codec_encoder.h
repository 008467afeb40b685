/* SPDX-License-Identifier: Apache-2.0 */
/* codec_encoder.h - an encoder: where it writes, where in the argument it is, and the headers of msgpack.
 *
 * An encoder remembers, as a chain on the C stack, where in the argument it is; only an error turns that into text
 * ('row[2]["a"][0]'). */
#ifndef TABLEMGR_CODEC_ENCODER_H
#define TABLEMGR_CODEC_ENCODER_H

#include "codec_state.h"

#if PY_VERSION_HEX < 0x030D0000
#define Py_BEGIN_CRITICAL_SECTION(object) {
#define Py_END_CRITICAL_SECTION()         }
#endif

/* Where a value is: a step from the place it is in, or a root with a name. */
struct place {
    const struct place *parent;
    enum { ROOT, ROOT_INDEX, INDEX, VALUE_OF, KEY_OF_DICT, IN_SET } kind;
    const char *name; /* ROOT: name; ROOT_INDEX: name[index] */
    Py_ssize_t index;
    PyObject *key; /* VALUE_OF; borrowed */
};

struct encoder {
    const struct codec_state *state;
    struct tmgr_buffer *out;
    const struct place *place;
    int depth;
    bool is_key; /* only what a key may be */
    bool pickle; /* what has no encoding is pickled */
};

/* Append the encoding of an object. False with an exception set. */
static bool encode_value(struct encoder *e, PyObject *object);

/* -- errors ---------------------------------------------------------------------------------------------------------- */

/* A message with an object in it, as repr() or, where that raises, as its type: an int of more digits than Python writes. The
 * format is for a str, "%.100U". NULL with an exception set that is not about the object: KeyboardInterrupt and its kin. */
static PyObject *with_repr(const char *format, PyObject *object) {
    PyObject *text = PyObject_Repr(object);
    if (text == NULL && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyErr_Clear();
        text = PyUnicode_FromFormat("<%s>", Py_TYPE(object)->tp_name);
    }
    PyObject *message = text == NULL ? NULL : PyUnicode_FromFormat(format, text);
    Py_XDECREF(text);
    return message;
}

/* One step of a place as text; a new reference. */
static PyObject *place_step(const struct place *place) {
    switch (place->kind) {
    case ROOT:
        return PyUnicode_FromString(place->name);
    case ROOT_INDEX:
        return PyUnicode_FromFormat("%s[%zd]", place->name, place->index);
    case INDEX:
        return PyUnicode_FromFormat("[%zd]", place->index);
    case VALUE_OF:
        if (PyUnicode_CheckExact(place->key)) {
            return PyUnicode_FromFormat("[\"%.40U\"]", place->key);
        }
        return with_repr("[%.40U]", place->key);
    case KEY_OF_DICT:
        return PyUnicode_FromString(" (a key of this dict)");
    default:
        return PyUnicode_FromString(" (an element of this set)");
    }
}

/* The whole place as text; a new reference. */
static PyObject *place_text(const struct place *place) {
    PyObject *text = place_step(place);
    while (text != NULL && (place = place->parent) != NULL) {
        PyObject *step = place_step(place);
        if (step == NULL) {
            Py_DECREF(text);
            return NULL;
        }
        PyObject *longer = PyUnicode_Concat(step, text);
        Py_DECREF(step);
        Py_DECREF(text);
        text = longer;
    }
    return text;
}

/* Raise `type` with "PLACE: " and the formatted message, with what was raised before as its cause. Returns false. */
static bool fail_at(const struct encoder *e, PyObject *type, const char *format, ...) {
    PyObject *had_type, *had_value, *had_traceback;
    PyErr_Fetch(&had_type, &had_value, &had_traceback);
    va_list arguments;
    va_start(arguments, format);
    PyObject *text = PyUnicode_FromFormatV(format, arguments);
    va_end(arguments);
    PyObject *place = text == NULL ? NULL : place_text(e->place);
    PyObject *message = place == NULL ? NULL : PyUnicode_FromFormat("%U: %U", place, text);
    Py_XDECREF(text);
    Py_XDECREF(place);
    if (message == NULL) {
        Py_XDECREF(had_type);
        Py_XDECREF(had_value);
        Py_XDECREF(had_traceback);
    } else if (had_type != NULL) {
        PyErr_Restore(had_type, had_value, had_traceback);
        raise_from_current(type, message);
    } else {
        PyErr_SetObject(type, message);
        Py_DECREF(message);
    }
    return false;
}

#define STORABLE                                                                                                       \
    "None, bool, int, float, str, bytes, bytearray, datetime, date, time, timedelta, Decimal, UUID, tuple, list, "     \
    "dict, set, frozenset"

/* The built-in or standard type of which this is a subclass; NULL: none. */
static const char *base_of(const struct codec_state *state, PyTypeObject *type) {
    PyTypeObject *const bases[] = {
        &PyLong_Type,
        &PyFloat_Type,
        &PyUnicode_Type,
        &PyBytes_Type,
        &PyByteArray_Type,
        &PyTuple_Type,
        &PyList_Type,
        &PyDict_Type,
        &PySet_Type,
        &PyFrozenSet_Type,
        PyDateTimeAPI->DateTimeType,
        PyDateTimeAPI->DateType,
        PyDateTimeAPI->TimeType,
        PyDateTimeAPI->DeltaType,
        (PyTypeObject *)state->decimal_type,
        (PyTypeObject *)state->uuid_type,
    };
    for (size_t i = 0; i < sizeof bases / sizeof bases[0]; i++) {
        if (type != bases[i] && PyType_IsSubtype(type, bases[i])) {
            const char *dot = strrchr(bases[i]->tp_name, '.');
            return dot == NULL ? bases[i]->tp_name : dot + 1;
        }
    }
    return NULL;
}

static bool refuse_type(struct encoder *e, PyObject *object) {
    const char *name = Py_TYPE(object)->tp_name;
    const char *base = base_of(e->state, Py_TYPE(object));
    if (e->is_key) {
        return fail_at(e, PyExc_TypeError,
                       "cannot use a value of type %s in a key; keys are None, bool, int, float, str, bytes, datetime, "
                       "date, time, timedelta, Decimal, UUID, and tuples of these, with codec=\"pickle\" too%s%s",
                       name, base == NULL ? "" : ", and exactly these: convert it to ", base == NULL ? "" : base);
    }
    if (base != NULL) {
        return fail_at(e, PyExc_TypeError,
                       "cannot store a value of type %s, a subclass of %s: convert it to %s, or create and attach the "
                       "table with codec=\"pickle\"",
                       name, base, base);
    }
    return fail_at(e, PyExc_TypeError,
                   "cannot store a value of type %s: convert it to one of " STORABLE
                   ", or create and attach the table with codec=\"pickle\"",
                   name);
}

/* -- headers ----------------------------------------------------------------------------------------------------------- */

/* The length or count of a str, bytes, array or map: `fix` with up to fix_max, or a first byte for 8 (0: there is no
 * such form), 16 and 32 bits. */
struct header_forms {
    uint8_t fix, fix_max, first8, first16, first32;
};
static const struct header_forms str_forms = {0xa0, 31, 0xd9, 0xda, 0xdb};
static const struct header_forms bytes_forms = {0, 0, 0xc4, 0xc5, 0xc6};
static const struct header_forms array_forms = {0x90, 15, 0, 0xdc, 0xdd};
static const struct header_forms map_forms = {0x80, 15, 0, 0xde, 0xdf};

static inline bool put_byte(struct encoder *e, uint8_t byte) {
    if (!reserve(e->out, 1)) {
        return false;
    }
    e->out->data[e->out->len++] = byte;
    return true;
}

/* First byte, then `n` bytes of a word. */
static inline bool put_word(struct encoder *e, uint8_t first, uint64_t word, size_t n) {
    if (!reserve(e->out, 9)) {
        return false;
    }
    e->out->data[e->out->len] = first;
    store_wide(e->out->data + e->out->len + 1, word, n);
    e->out->len += 1 + n;
    return true;
}

static inline bool put_header(struct encoder *e, const struct header_forms *forms, Py_ssize_t n) {
    if (n <= forms->fix_max && forms->fix != 0) {
        return put_byte(e, (uint8_t)(forms->fix + n));
    }
    if (n <= UINT8_MAX && forms->first8 != 0) {
        return put_word(e, forms->first8, (uint64_t)n, 1);
    }
    if (n <= UINT16_MAX) {
        return put_word(e, forms->first16, (uint64_t)n, 2);
    }
    if (n > UINT32_MAX) {
        return fail_at(e, PyExc_ValueError, "too long: a row holds less than 1 GiB");
    }
    return put_word(e, forms->first32, (uint64_t)n, 4);
}

static inline bool put_bytes(struct encoder *e, const void *bytes, size_t n) {
    if (!reserve(e->out, n)) {
        return false;
    }
    memcpy(e->out->data + e->out->len, bytes, n);
    e->out->len += n;
    return true;
}

/* The longest extension header; its payload is written behind such a gap, and moved when its length is known. */
enum { EXT_GAP = 6 };

static bool begin_extension(struct encoder *e, size_t *start) {
    *start = e->out->len;
    if (!reserve(e->out, EXT_GAP)) {
        return false;
    }
    e->out->len += EXT_GAP;
    return true;
}

static bool end_extension(struct encoder *e, size_t start, enum extension type) {
    uint8_t *at = e->out->data + start;
    size_t payload = e->out->len - start - EXT_GAP;
    size_t header = 2;
    if (payload > UINT32_MAX) {
        return fail_at(e, PyExc_ValueError, "too long: a row holds less than 1 GiB");
    }
    if (payload <= 16 && payload != 0 && (payload & (payload - 1)) == 0) {
        at[0] = (uint8_t)(0xd4 + __builtin_ctzll(payload));
    } else {
        unsigned log2_bytes = payload <= UINT8_MAX ? 0 : payload <= UINT16_MAX ? 1 : 2;
        header = 2 + ((size_t)1 << log2_bytes);
        at[0] = (uint8_t)(0xc7 + log2_bytes);
        store_big_endian(at + 1, payload, (size_t)1 << log2_bytes);
    }
    at[header - 1] = (uint8_t)type;
    memmove(at + header, at + EXT_GAP, payload);
    e->out->len = start + header + payload;
    return true;
}

static bool put_extension(struct encoder *e, enum extension type, const void *payload, size_t n) {
    size_t start;
    return begin_extension(e, &start) && put_bytes(e, payload, n) && end_extension(e, start, type);
}

#endif
