/* SPDX-License-Identifier: Apache-2.0 */
/* codec_encode_scalar.h - encoding what has no parts: numbers, strings, dates, Decimals, UUIDs. */
#ifndef TABLEMGR_CODEC_ENCODE_SCALAR_H
#define TABLEMGR_CODEC_ENCODE_SCALAR_H

#include "codec_encoder.h"

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

#endif
