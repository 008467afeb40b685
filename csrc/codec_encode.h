/* SPDX-License-Identifier: Apache-2.0 */
/* codec_encode.h - Python objects to canonical msgpack: equal keys, type by type, have equal bytes.
 *
 * Types are matched exactly: a subclass carries more than its base type's bytes can say. An encoder remembers, as a
 * chain on the C stack, where in the argument it is; only an error turns that into text ('row[2]["a"][0]').
 *
 * Python code can run in between (pickle, a numpy scalar's item()), and without the GIL other threads do: containers
 * are read with strong references, and one that changes its length meanwhile is an error. */
#ifndef TABLEMGR_CODEC_ENCODE_H
#define TABLEMGR_CODEC_ENCODE_H

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
        return PyUnicode_FromFormat("[%.40R]", place->key);
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

/* -- numbers ----------------------------------------------------------------------------------------------------------- */

static inline bool put_uint64(struct encoder *e, uint64_t value) {
    if (value < 0x80) {
        return put_byte(e, (uint8_t)value);
    }
    unsigned log2_bytes = value <= UINT8_MAX ? 0 : value <= UINT16_MAX ? 1 : value <= UINT32_MAX ? 2 : 3;
    return put_word(e, (uint8_t)(0xcc + log2_bytes), value, (size_t)1 << log2_bytes);
}

static inline bool put_int64(struct encoder *e, int64_t value) {
    if (value >= 0) {
        return put_uint64(e, (uint64_t)value);
    }
    if (value >= -32) {
        return put_byte(e, (uint8_t)value);
    }
    unsigned log2_bytes = value >= INT8_MIN ? 0 : value >= INT16_MIN ? 1 : value >= INT32_MIN ? 2 : 3;
    return put_word(e, (uint8_t)(0xd0 + log2_bytes), (uint64_t)value, (size_t)1 << log2_bytes);
}

/* An int outside int64 and uint64: sign byte and magnitude. */
static bool encode_big_int(struct encoder *e, PyObject *object, bool is_negative) {
    bool done = false;
    PyObject *magnitude = PyNumber_Absolute(object);
    PyObject *bits = magnitude == NULL ? NULL : PyObject_CallMethod(magnitude, "bit_length", NULL);
    Py_ssize_t n_bits = bits == NULL ? -1 : PyLong_AsSsize_t(bits);
    PyObject *bytes = n_bits < 0 ? NULL : PyObject_CallMethod(magnitude, "to_bytes", "ns", (n_bits + 7) / 8, "big");
    size_t start;
    if (bytes != NULL && begin_extension(e, &start)) {
        done = put_byte(e, is_negative) && put_bytes(e, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes)) &&
               end_extension(e, start, EXT_BIG_INT);
    }
    Py_XDECREF(bytes);
    Py_XDECREF(bits);
    Py_XDECREF(magnitude);
    return done;
}

static bool encode_wide_int(struct encoder *e, PyObject *object, bool is_negative) {
    if (!is_negative) {
        unsigned long long value = PyLong_AsUnsignedLongLong(object);
        if (value != (unsigned long long)-1 || !PyErr_Occurred()) {
            return put_uint64(e, value);
        }
        PyErr_Clear();
    }
    return encode_big_int(e, object, is_negative);
}

static inline bool encode_int(struct encoder *e, PyObject *object) {
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    return LIKELY(overflow == 0) ? put_int64(e, value) : encode_wide_int(e, object, overflow < 0);
}

static inline bool encode_float(struct encoder *e, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return put_word(e, 0xcb, value != value ? CANONICAL_NAN_BITS : bits, 8);
}

/* -- strings ----------------------------------------------------------------------------------------------------------- */

/* UTF-8 length of a string that is not ASCII; -1: it has a lone surrogate, at *bad. */
static Py_ssize_t utf8_length(int kind, const void *data, Py_ssize_t n, Py_ssize_t *bad) {
    Py_ssize_t length = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        Py_UCS4 c = PyUnicode_READ(kind, data, i);
        if (c >= 0xd800 && c <= 0xdfff) {
            *bad = i;
            return -1;
        }
        length += c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    }
    return length;
}

static uint8_t *put_utf8(uint8_t *at, Py_UCS4 c) {
    if (c < 0x80) {
        *at++ = (uint8_t)c;
    } else if (c < 0x800) {
        *at++ = (uint8_t)(0xc0 | c >> 6);
        *at++ = (uint8_t)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *at++ = (uint8_t)(0xe0 | c >> 12);
        *at++ = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        *at++ = (uint8_t)(0x80 | (c & 0x3f));
    } else {
        *at++ = (uint8_t)(0xf0 | c >> 18);
        *at++ = (uint8_t)(0x80 | (c >> 12 & 0x3f));
        *at++ = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        *at++ = (uint8_t)(0x80 | (c & 0x3f));
    }
    return at;
}

/* Not PyUnicode_AsUTF8AndSize, which would leave a second copy of every such string in the string. */
static bool encode_wide_str(struct encoder *e, PyObject *object) {
    Py_ssize_t n = PyUnicode_GET_LENGTH(object);
    int kind = (int)PyUnicode_KIND(object);
    const void *data = PyUnicode_DATA(object);
    Py_ssize_t bad = 0;
    Py_ssize_t length = utf8_length(kind, data, n, &bad);
    if (length < 0) {
        return fail_at(
            e, PyExc_ValueError,
            "cannot store a str with a lone surrogate (code point 0x%x at index %zd); encode it to bytes first",
            (int)PyUnicode_READ(kind, data, bad), bad);
    }
    if (!put_header(e, &str_forms, length) || !reserve(e->out, (size_t)length)) {
        return false;
    }
    uint8_t *at = e->out->data + e->out->len;
    for (Py_ssize_t i = 0; i < n; i++) {
        at = put_utf8(at, PyUnicode_READ(kind, data, i));
    }
    e->out->len += (size_t)length;
    return true;
}

static inline bool encode_str(struct encoder *e, PyObject *object) {
#if PY_VERSION_HEX < 0x030C0000
    if (UNLIKELY(PyUnicode_READY(object) < 0)) {
        return false;
    }
#endif
    if (UNLIKELY(!PyUnicode_IS_ASCII(object))) {
        return encode_wide_str(e, object);
    }
    size_t n = (size_t)PyUnicode_GET_LENGTH(object);
    if (LIKELY(n <= str_forms.fix_max)) { /* as keys are: header and bytes in one */
        if (UNLIKELY(!reserve(e->out, n + 1))) {
            return false;
        }
        uint8_t *at = e->out->data + e->out->len;
        *at = (uint8_t)(str_forms.fix + n);
        copy_short(at + 1, PyUnicode_DATA(object), n);
        e->out->len += n + 1;
        return true;
    }
    return put_header(e, &str_forms, (Py_ssize_t)n) && put_bytes(e, PyUnicode_DATA(object), n);
}

static inline bool encode_bytes(struct encoder *e, PyObject *object) {
    size_t n = (size_t)PyBytes_GET_SIZE(object);
    if (LIKELY(n <= UINT8_MAX)) {
        if (UNLIKELY(!reserve(e->out, n + 2))) {
            return false;
        }
        uint8_t *at = e->out->data + e->out->len;
        at[0] = bytes_forms.first8;
        at[1] = (uint8_t)n;
        memcpy(at + 2, PyBytes_AS_STRING(object), n);
        e->out->len += n + 2;
        return true;
    }
    return put_header(e, &bytes_forms, (Py_ssize_t)n) && put_bytes(e, PyBytes_AS_STRING(object), n);
}

static bool encode_bytearray(struct encoder *e, PyObject *object) {
    bool done;
    Py_BEGIN_CRITICAL_SECTION(object);
    done = put_extension(e, EXT_BYTEARRAY, PyByteArray_AS_STRING(object), (size_t)PyByteArray_GET_SIZE(object));
    Py_END_CRITICAL_SECTION();
    return done;
}

/* -- dates, decimals, UUIDs ---------------------------------------------------------------------------------------------- */

/* Append the UTC offset of an aware datetime or time in microseconds; nothing for a naive one. */
static bool put_offset(struct encoder *e, PyObject *tzinfo) {
    if (tzinfo == Py_None) {
        return true;
    }
    if ((PyObject *)Py_TYPE(tzinfo) != e->state->timezone_type) {
        return fail_at(e, PyExc_TypeError,
                       "cannot store a time zone of type %s, only datetime.timezone: use .astimezone(timezone.utc)%s",
                       Py_TYPE(tzinfo)->tp_name,
                       e->is_key ? "" : ", or create and attach the table with codec=\"pickle\"");
    }
    int64_t microseconds = 0;
    if (tzinfo != PyDateTime_TimeZone_UTC) {
        PyObject *offset = PyObject_CallMethod(tzinfo, "utcoffset", "O", Py_None);
        if (offset == NULL) {
            return false;
        }
        microseconds = (INT64_C(86400) * PyDateTime_DELTA_GET_DAYS(offset) + PyDateTime_DELTA_GET_SECONDS(offset)) *
                           INT64_C(1000000) +
                       PyDateTime_DELTA_GET_MICROSECONDS(offset);
        Py_DECREF(offset);
    }
    uint8_t bytes[8];
    store_big_endian(bytes, (uint64_t)microseconds, 8);
    return put_bytes(e, bytes, sizeof bytes);
}

static uint64_t day_microseconds(int hour, int minute, int second, int microsecond) {
    return (uint64_t)((hour * 60 + minute) * 60 + second) * 1000000 + (uint64_t)microsecond;
}

static bool encode_date(struct encoder *e, PyObject *object) {
    uint8_t bytes[4];
    store_big_endian(
        bytes, ordinal_of(PyDateTime_GET_YEAR(object), PyDateTime_GET_MONTH(object), PyDateTime_GET_DAY(object)), 4);
    return put_extension(e, EXT_DATE, bytes, sizeof bytes);
}

static bool encode_datetime(struct encoder *e, PyObject *object) {
    uint8_t bytes[13];
    size_t start;
    store_big_endian(
        bytes, ordinal_of(PyDateTime_GET_YEAR(object), PyDateTime_GET_MONTH(object), PyDateTime_GET_DAY(object)), 4);
    store_big_endian(bytes + 4,
                     day_microseconds(PyDateTime_DATE_GET_HOUR(object), PyDateTime_DATE_GET_MINUTE(object),
                                      PyDateTime_DATE_GET_SECOND(object), PyDateTime_DATE_GET_MICROSECOND(object)),
                     8);
    bytes[12] = (uint8_t)PyDateTime_DATE_GET_FOLD(object);
    return begin_extension(e, &start) && put_bytes(e, bytes, sizeof bytes) &&
           put_offset(e, PyDateTime_DATE_GET_TZINFO(object)) && end_extension(e, start, EXT_DATETIME);
}

static bool encode_time(struct encoder *e, PyObject *object) {
    uint8_t bytes[9];
    size_t start;
    store_big_endian(bytes,
                     day_microseconds(PyDateTime_TIME_GET_HOUR(object), PyDateTime_TIME_GET_MINUTE(object),
                                      PyDateTime_TIME_GET_SECOND(object), PyDateTime_TIME_GET_MICROSECOND(object)),
                     8);
    bytes[8] = (uint8_t)PyDateTime_TIME_GET_FOLD(object);
    return begin_extension(e, &start) && put_bytes(e, bytes, sizeof bytes) &&
           put_offset(e, PyDateTime_TIME_GET_TZINFO(object)) && end_extension(e, start, EXT_TIME);
}

static bool encode_timedelta(struct encoder *e, PyObject *object) {
    uint8_t bytes[12];
    store_big_endian(bytes, (uint32_t)PyDateTime_DELTA_GET_DAYS(object), 4);
    store_big_endian(bytes + 4, (uint32_t)PyDateTime_DELTA_GET_SECONDS(object), 4);
    store_big_endian(bytes + 8, (uint32_t)PyDateTime_DELTA_GET_MICROSECONDS(object), 4);
    return put_extension(e, EXT_TIMEDELTA, bytes, sizeof bytes);
}

/* str() of a Decimal writes its exponent with the letter that the current context says: 'E' here, whatever that is. */
static bool encode_decimal(struct encoder *e, PyObject *object) {
    PyObject *text = PyObject_Str(object);
    if (text == NULL) {
        return false;
    }
    Py_ssize_t n;
    const char *ascii = PyUnicode_AsUTF8AndSize(text, &n);
    size_t start;
    bool done = ascii != NULL && begin_extension(e, &start) && put_bytes(e, ascii, (size_t)n);
    if (done) {
        for (uint8_t *at = e->out->data + start + EXT_GAP; at < e->out->data + e->out->len; at++) {
            *at = *at == 'e' ? 'E' : *at;
        }
        done = end_extension(e, start, EXT_DECIMAL);
    }
    Py_DECREF(text);
    return done;
}

static bool encode_uuid(struct encoder *e, PyObject *object) {
    PyObject *number = PyObject_GetAttrString(object, "int");
    PyObject *bytes = number == NULL ? NULL : PyObject_CallMethod(number, "to_bytes", "is", 16, "big");
    bool done = bytes != NULL && put_extension(e, EXT_UUID, PyBytes_AS_STRING(bytes), 16);
    Py_XDECREF(bytes);
    Py_XDECREF(number);
    return done;
}

/* -- containers ---------------------------------------------------------------------------------------------------------- */

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

/* -- everything ------------------------------------------------------------------------------------------------------------ */

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
