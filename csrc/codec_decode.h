/* SPDX-License-Identifier: Apache-2.0 */
/* codec_decode.h - msgpack to Python objects. The bytes may come from any program: nothing is read beyond their end,
 * counts are held against the bytes that are left before memory is taken, and nesting is bounded. What does not decode
 * is a ValueError, or CorruptTableError where it is a table's; only an unpickled object's own code can raise something else. */
#ifndef TABLEMGR_CODEC_DECODE_H
#define TABLEMGR_CODEC_DECODE_H

#include "codec_state.h"

struct decoder {
    const struct codec_state *state;
    const uint8_t *at;
    const uint8_t *end;
    int depth;
    bool pickle;
    PyObject *fail; /* of the binding whose table it is of (codec_binding.h); NULL: of none */
};

/* The object at d->at, which moves behind it. NULL with an exception set. */
static PyObject *decode_value(struct decoder *d);

/* Returns NULL, with an exception set in place of the one that may be set. */
static PyObject *fail_decode(const struct decoder *d, const char *what) {
    if (d->fail == NULL) {
        PyErr_Format(PyExc_ValueError, "cannot decode: %s", what);
        return NULL;
    }
    PyErr_Clear();
    PyObject *nothing = PyObject_CallFunction(d->fail, "iss", TMGR_CORRUPT, "reading a row", what);
    Py_XDECREF(nothing); /* it raises */
    return NULL;
}

static inline bool has(const struct decoder *d, uint64_t n) { return LIKELY(n <= (uint64_t)(d->end - d->at)); }

/* Take an unsigned word of n bytes; false with ValueError set. */
static inline bool take_word(struct decoder *d, size_t n, uint64_t *word) {
    if (!has(d, n)) {
        fail_decode(d, "the data is cut off");
        return false;
    }
    *word = load_big_endian(d->at, n);
    d->at += n;
    return true;
}

/* -- flat values --------------------------------------------------------------------------------------------------------- */

static inline bool is_ascii(const uint8_t *at, size_t n) {
    uint64_t all = 0;
    uint64_t word;
    for (; n >= 8; at += 8, n -= 8) {
        memcpy(&word, at, 8);
        all |= word;
    }
    for (; n > 0; at++, n--) {
        all |= *at;
    }
    return (all & UINT64_C(0x8080808080808080)) == 0;
}

static inline PyObject *decode_str(struct decoder *d, uint64_t n) {
    if (!has(d, n)) {
        return fail_decode(d, "the data is cut off in a str");
    }
    const uint8_t *at = d->at;
    d->at += n;
    /* The interpreter has the strings of one character ready, and does the rest of Unicode. */
    if (n < 2 || !is_ascii(at, n)) {
        PyObject *str = PyUnicode_DecodeUTF8((const char *)at, (Py_ssize_t)n, NULL);
        bool is_damaged = UNLIKELY(str == NULL) && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError);
        return is_damaged ? fail_decode(d, "a str is not UTF-8") : str;
    }
    PyObject *str = PyUnicode_New((Py_ssize_t)n, 127);
    if (LIKELY(str != NULL)) {
        memcpy(PyUnicode_1BYTE_DATA(str), at, n);
    }
    return str;
}

static inline PyObject *decode_bytes(struct decoder *d, uint64_t n) {
    if (!has(d, n)) {
        return fail_decode(d, "the data is cut off in bytes");
    }
    const uint8_t *at = d->at;
    d->at += n;
    return PyBytes_FromStringAndSize((const char *)at, (Py_ssize_t)n);
}

static PyObject *decode_float(struct decoder *d, size_t n) {
    uint64_t word;
    if (!take_word(d, n, &word)) {
        return NULL;
    }
    if (n == 8) {
        double value;
        memcpy(&value, &word, sizeof value);
        return PyFloat_FromDouble(value);
    }
    uint32_t half = (uint32_t)word;
    float value;
    memcpy(&value, &half, sizeof value);
    return PyFloat_FromDouble((double)value);
}

/* An int of n bytes; the sign is spread by shifting up and back. */
static PyObject *decode_int(struct decoder *d, size_t n, bool is_signed) {
    uint64_t word;
    if (!take_word(d, n, &word)) {
        return NULL;
    }
    unsigned shift = (unsigned)(64 - 8 * n);
    return is_signed ? PyLong_FromLongLong((int64_t)(word << shift) >> shift) : PyLong_FromUnsignedLongLong(word);
}

/* -- containers ------------------------------------------------------------------------------------------------------------ */

/* Before n elements, of which each has `least` bytes at least. */
static bool enter_container(struct decoder *d, uint64_t n, uint64_t least) {
    if (!has(d, n * least)) {
        fail_decode(d, "the data is cut off in a container");
        return false;
    }
    if (d->depth == MAX_DEPTH) {
        fail_decode(d, "nested deeper than 100");
        return false;
    }
    d->depth++;
    return true;
}

static PyObject *decode_list(struct decoder *d, uint64_t n) {
    if (!enter_container(d, n, 1)) {
        return NULL;
    }
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (Py_ssize_t i = 0; list != NULL && i < (Py_ssize_t)n; i++) {
        PyObject *item = decode_value(d);
        if (item == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, i, item);
    }
    d->depth--;
    return list;
}

/* The key that a row was looked up by. */
struct known_key {
    PyObject *object; /* NULL: none, or one whose decoding could be another object than it */
    const uint8_t *data;
    size_t len;
    uint32_t position; /* in the row */
};

/* Whether an object is what its encoding decodes to: of the very type, and immutable. */
static inline bool is_its_own_copy(PyObject *object) {
    return PyUnicode_CheckExact(object) || PyBytes_CheckExact(object) || PyLong_CheckExact(object);
}

/* Whether the object at d->at, element `position`, is the known key. No encoding is a prefix of another, so comparing its
 * bytes decides. */
static inline bool is_known(const struct decoder *d, const struct known_key *known, Py_ssize_t position) {
    return known->object != NULL && position == (Py_ssize_t)known->position && has(d, known->len) &&
           same_short(d->at, known->data, known->len);
}

/* n elements that the caller made sure of with `has`. Where the key is known, the caller's object becomes the row's: one
 * object less to make for each row that is looked up. A tuple that can be in no cycle is taken from the garbage collector's
 * lists at once; it would do that itself, but only after it has walked the tuple. */
static inline PyObject *decode_tuple_items(struct decoder *d, uint64_t n, const struct known_key *known) {
    PyObject *tuple = PyTuple_New((Py_ssize_t)n);
    bool can_be_in_cycle = false;
    for (Py_ssize_t i = 0; tuple != NULL && i < (Py_ssize_t)n; i++) {
        PyObject *item;
        if (known != NULL && is_known(d, known, i)) {
            item = known->object;
            Py_INCREF(item);
            d->at += known->len;
        } else {
            item = decode_value(d);
        }
        if (UNLIKELY(item == NULL)) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, i, item);
        can_be_in_cycle |= PyType_HasFeature(Py_TYPE(item), Py_TPFLAGS_HAVE_GC) != 0;
    }
    if (!can_be_in_cycle && LIKELY(tuple != NULL)) {
        PyObject_GC_UnTrack(tuple);
    }
    return tuple;
}

/* A TypeError of hashing means that the bytes name something no dict or set could hold. */
static void blame_unhashable(const struct decoder *d) {
    if (PyErr_ExceptionMatches(PyExc_TypeError)) {
        fail_decode(d, "a dict's key or a set's element is not hashable");
    }
}

static PyObject *decode_dict(struct decoder *d, uint64_t n) {
    if (!enter_container(d, n, 2)) {
        return NULL;
    }
    PyObject *dict = PyDict_New();
    for (uint64_t i = 0; dict != NULL && i < n; i++) {
        PyObject *key = decode_value(d);
        PyObject *value = key == NULL ? NULL : decode_value(d);
        if (value == NULL) {
            Py_CLEAR(dict);
        } else if (PyDict_SetItem(dict, key, value) < 0) {
            blame_unhashable(d);
            Py_CLEAR(dict);
        }
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    d->depth--;
    return dict;
}

/* The header of an array; false with ValueError set, also where its elements cannot all be there. */
static inline bool take_array(struct decoder *d, uint64_t *n) {
    if (has(d, 1) && (*d->at & 0xf0) == 0x90) {
        *n = *d->at++ & 0x0fu;
    } else if (has(d, 1) && (*d->at == 0xdc || *d->at == 0xdd)) {
        size_t size_bytes = *d->at++ == 0xdc ? 2 : 4;
        if (!take_word(d, size_bytes, n)) {
            return false;
        }
    } else {
        fail_decode(d, "there is no array where one has to be");
        return false;
    }
    if (!has(d, *n)) {
        fail_decode(d, "the data is cut off in an array");
        return false;
    }
    return true;
}

static PyObject *decode_tuple(struct decoder *d) {
    uint64_t n;
    if (!take_array(d, &n) || !enter_container(d, n, 1)) {
        return NULL;
    }
    PyObject *tuple = decode_tuple_items(d, n, NULL);
    d->depth--;
    return tuple;
}

static PyObject *decode_set(struct decoder *d, bool is_frozen) {
    uint64_t n;
    if (!take_array(d, &n) || !enter_container(d, n, 1)) {
        return NULL;
    }
    PyObject *set = is_frozen ? PyFrozenSet_New(NULL) : PySet_New(NULL);
    for (uint64_t i = 0; set != NULL && i < n; i++) {
        PyObject *item = decode_value(d);
        if (item == NULL) {
            Py_CLEAR(set);
        } else if (PySet_Add(set, item) < 0) {
            blame_unhashable(d);
            Py_CLEAR(set);
        }
        Py_XDECREF(item);
    }
    d->depth--;
    return set;
}

/* -- the other extension types ------------------------------------------------------------------------------------------------ */

static PyObject *decode_big_int(struct decoder *d) {
    Py_ssize_t n = d->end - d->at - 1;
    if (n < 1 || d->at[0] > 1) {
        return fail_decode(d, "a damaged int");
    }
    bool is_negative = d->at[0] == 1;
    PyObject *number =
        PyObject_CallMethod((PyObject *)&PyLong_Type, "from_bytes", "y#s", (const char *)d->at + 1, n, "big");
    d->at = d->end;
    if (number != NULL && is_negative) {
        PyObject *negative = PyNumber_Negative(number);
        Py_DECREF(number);
        number = negative;
    }
    return number;
}

static PyObject *decode_decimal(struct decoder *d) {
    Py_ssize_t n = d->end - d->at;
    if (!is_ascii(d->at, (size_t)n)) {
        return fail_decode(d, "a damaged Decimal");
    }
    PyObject *decimal = PyObject_CallFunction(d->state->decimal_type, "s#", (const char *)d->at, n);
    d->at = d->end;
    if (decimal == NULL && PyErr_ExceptionMatches(PyExc_ArithmeticError)) {
        fail_decode(d, "a damaged Decimal");
    }
    return decimal;
}

static PyObject *decode_uuid(struct decoder *d) {
    if (d->end - d->at != 16) {
        return fail_decode(d, "a damaged UUID");
    }
    PyObject *arguments = PyTuple_New(0);
    PyObject *keywords = Py_BuildValue("{s:y#}", "bytes", (const char *)d->at, (Py_ssize_t)16);
    d->at = d->end;
    PyObject *uuid =
        arguments == NULL || keywords == NULL ? NULL : PyObject_Call(d->state->uuid_type, arguments, keywords);
    Py_XDECREF(arguments);
    Py_XDECREF(keywords);
    return uuid;
}

/* The UTC offset at the end of a datetime or time: None if there is none. NULL with an exception set. */
static PyObject *decode_zone(struct decoder *d) {
    uint64_t word;
    if (d->at == d->end) {
        Py_RETURN_NONE;
    }
    if (!take_word(d, 8, &word)) {
        return NULL;
    }
    int64_t offset = (int64_t)word;
    if (offset == 0) {
        PyObject *utc = PyDateTime_TimeZone_UTC;
        Py_INCREF(utc);
        return utc;
    }
    if (offset <= -(int64_t)DAY_MICROSECONDS || offset >= (int64_t)DAY_MICROSECONDS) {
        return fail_decode(d, "a UTC offset of a day or more");
    }
    PyObject *delta = PyDelta_FromDSU(0, (int)(offset / 1000000), (int)(offset % 1000000));
    PyObject *zone = delta == NULL ? NULL : PyTimeZone_FromOffset(delta);
    Py_XDECREF(delta);
    return zone;
}

/* A time of day: microseconds and fold; false with ValueError set. */
struct clock {
    int hour, minute, second, microsecond, fold;
};

static bool take_clock(struct decoder *d, struct clock *clock) {
    uint64_t microseconds, fold;
    if (!take_word(d, 8, &microseconds) || !take_word(d, 1, &fold)) {
        return false;
    }
    if (microseconds >= DAY_MICROSECONDS || fold > 1) {
        fail_decode(d, "a time of day out of range");
        return false;
    }
    int seconds = (int)(microseconds / 1000000);
    *clock = (struct clock){.hour = seconds / 3600,
                            .minute = seconds / 60 % 60,
                            .second = seconds % 60,
                            .microsecond = (int)(microseconds % 1000000),
                            .fold = (int)fold};
    return true;
}

static bool take_date(struct decoder *d, int *year, int *month, int *day) {
    uint64_t ordinal;
    if (!take_word(d, 4, &ordinal)) {
        return false;
    }
    if (ordinal < 1 || ordinal > ORDINAL_MAX) {
        fail_decode(d, "a date out of range");
        return false;
    }
    date_of((uint32_t)ordinal, year, month, day);
    return true;
}

static PyObject *decode_date(struct decoder *d) {
    int year, month, day;
    return take_date(d, &year, &month, &day) ? PyDate_FromDate(year, month, day) : NULL;
}

static PyObject *decode_datetime(struct decoder *d) {
    int year, month, day;
    struct clock clock;
    if (!take_date(d, &year, &month, &day) || !take_clock(d, &clock)) {
        return NULL;
    }
    PyObject *zone = decode_zone(d);
    if (zone == NULL) {
        return NULL;
    }
    PyObject *datetime = PyDateTimeAPI->DateTime_FromDateAndTimeAndFold(year, month, day, clock.hour, clock.minute,
                                                                        clock.second, clock.microsecond, zone,
                                                                        clock.fold, PyDateTimeAPI->DateTimeType);
    Py_DECREF(zone);
    return datetime;
}

static PyObject *decode_time(struct decoder *d) {
    struct clock clock;
    if (!take_clock(d, &clock)) {
        return NULL;
    }
    PyObject *zone = decode_zone(d);
    if (zone == NULL) {
        return NULL;
    }
    PyObject *time = PyDateTimeAPI->Time_FromTimeAndFold(clock.hour, clock.minute, clock.second, clock.microsecond,
                                                         zone, clock.fold, PyDateTimeAPI->TimeType);
    Py_DECREF(zone);
    return time;
}

static PyObject *decode_timedelta(struct decoder *d) {
    uint64_t days, seconds, microseconds;
    if (!take_word(d, 4, &days) || !take_word(d, 4, &seconds) || !take_word(d, 4, &microseconds)) {
        return NULL;
    }
    int signed_days = (int32_t)(uint32_t)days;
    if (signed_days < -999999999 || signed_days > 999999999 || seconds >= 86400 || microseconds >= 1000000) {
        return fail_decode(d, "a timedelta out of range");
    }
    return PyDelta_FromDSU(signed_days, (int)seconds, (int)microseconds);
}

static PyObject *decode_pickled(struct decoder *d) {
    if (!d->pickle) {
        return fail_decode(d, "a pickled value; attach the table with codec=\"pickle\" if you trust who wrote it");
    }
    PyObject *value = PyObject_CallFunction(d->state->pickle_loads, "y#", (const char *)d->at, d->end - d->at);
    d->at = d->end;
    return value;
}

static PyObject *decode_payload(struct decoder *d, uint8_t type) {
    PyObject *bytearray;
    switch (type) {
    case EXT_TUPLE:
        return decode_tuple(d);
    case EXT_BIG_INT:
        return decode_big_int(d);
    case EXT_SET:
        return decode_set(d, false);
    case EXT_FROZENSET:
        return decode_set(d, true);
    case EXT_BYTEARRAY:
        bytearray = PyByteArray_FromStringAndSize((const char *)d->at, d->end - d->at);
        d->at = d->end;
        return bytearray;
    case EXT_DECIMAL:
        return decode_decimal(d);
    case EXT_UUID:
        return decode_uuid(d);
    case EXT_DATE:
        return decode_date(d);
    case EXT_DATETIME:
        return decode_datetime(d);
    case EXT_TIME:
        return decode_time(d);
    case EXT_TIMEDELTA:
        return decode_timedelta(d);
    case EXT_PICKLE:
        return decode_pickled(d);
    default:
        return fail_decode(d, "an extension type of no meaning here");
    }
}

/* An extension type, from its type byte on: the payload is decoded within its own bounds, and has to fill them. */
static PyObject *decode_extension(struct decoder *d, uint64_t n) {
    uint64_t type;
    if (!take_word(d, 1, &type)) {
        return NULL;
    }
    if (!has(d, n)) {
        return fail_decode(d, "the data is cut off in an extension type");
    }
    const uint8_t *end = d->end;
    d->end = d->at + n;
    PyObject *value = decode_payload(d, (uint8_t)type);
    if (value != NULL && d->at != d->end) {
        Py_DECREF(value);
        value = fail_decode(d, "an extension type's payload is too long");
    }
    d->end = end;
    return value;
}

/* -- everything ------------------------------------------------------------------------------------------------------------ */

/* First bytes from 0xc0 to 0xdf. */
static PyObject *decode_tagged(struct decoder *d, uint8_t first) {
    uint64_t n = 0;
    switch (first) {
    case 0xc0:
        Py_RETURN_NONE;
    case 0xc2:
        Py_RETURN_FALSE;
    case 0xc3:
        Py_RETURN_TRUE;
    case 0xc4:
    case 0xc5:
    case 0xc6:
        return take_word(d, (size_t)1 << (first - 0xc4), &n) ? decode_bytes(d, n) : NULL;
    case 0xc7:
    case 0xc8:
    case 0xc9:
        return take_word(d, (size_t)1 << (first - 0xc7), &n) ? decode_extension(d, n) : NULL;
    case 0xca:
    case 0xcb:
        return decode_float(d, first == 0xca ? 4 : 8);
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
        return decode_int(d, (size_t)1 << (first - 0xcc), false);
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
        return decode_int(d, (size_t)1 << (first - 0xd0), true);
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
        return decode_extension(d, UINT64_C(1) << (first - 0xd4));
    case 0xd9:
    case 0xda:
    case 0xdb:
        return take_word(d, (size_t)1 << (first - 0xd9), &n) ? decode_str(d, n) : NULL;
    case 0xdc:
    case 0xdd:
        return take_word(d, first == 0xdc ? 2 : 4, &n) ? decode_list(d, n) : NULL;
    case 0xde:
    case 0xdf:
        return take_word(d, first == 0xde ? 2 : 4, &n) ? decode_dict(d, n) : NULL;
    default:
        return fail_decode(d, "a byte that msgpack does not use");
    }
}

static PyObject *decode_value(struct decoder *d) {
    if (UNLIKELY(d->at == d->end)) {
        return fail_decode(d, "the data is cut off");
    }
    uint8_t first = *d->at++;
    if (first >= 0xa0 && first < 0xc0) {
        return decode_str(d, first & 0x1fu);
    }
    if (first < 0x80 || first >= 0xe0) {
        return PyLong_FromLong((int8_t)first);
    }
    if (first < 0x90) {
        return decode_dict(d, first & 0x0fu);
    }
    if (first < 0xa0) {
        return decode_list(d, first & 0x0fu);
    }
    return decode_tagged(d, first);
}

/* Behind a first byte from 0xc0 to 0xdf: take its length or count, and say how many bytes (*len) and how many more
 * values (*n) follow. */
static bool skip_tagged(struct decoder *d, uint8_t first, uint64_t *len, uint64_t *n) {
    static const uint8_t size_bytes[] = {0, 0, 0, 0, 1, 2, 4, 1, 2, 4, 0, 0, 0, 0, 0, 0,
                                         0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4};
    static const uint8_t flat_bytes[] = {0, 0, 0, 0, 0, 0, 0, 1, 1,  1, 4, 8, 1, 2, 4, 8,
                                         1, 2, 4, 8, 2, 3, 5, 9, 17, 0, 0, 0, 0, 0, 0, 0};
    uint64_t count = 0;
    if (size_bytes[first - 0xc0] != 0 && !take_word(d, size_bytes[first - 0xc0], &count)) {
        return false;
    }
    *len = flat_bytes[first - 0xc0];
    if (first >= 0xdc) {
        *n += first >= 0xde ? 2 * count : count;
    } else {
        *len += count;
    }
    return true;
}

/* Move behind n values without making them; false with ValueError set. What they hold is only counted, so nesting
 * costs no stack. */
static bool skip_values(struct decoder *d, uint64_t n) {
    while (n > 0) {
        uint64_t len = 0;
        uint64_t first;
        if (!has(d, n) || !take_word(d, 1, &first)) {
            return fail_decode(d, "the data is cut off") != NULL;
        }
        n--;
        if (first < 0x80 || first >= 0xe0) {
            continue;
        }
        if (first < 0xa0) {
            n += (first & 0x0f) << (first < 0x90);
            continue;
        }
        if (first < 0xc0) {
            len = first & 0x1f;
        } else if (!skip_tagged(d, (uint8_t)first, &len, &n)) {
            return false;
        }
        if (!has(d, len)) {
            return fail_decode(d, "the data is cut off") != NULL;
        }
        d->at += len;
    }
    return true;
}

/* The row at d->at, as a tuple. Its elements may nest MAX_DEPTH deep. */
static PyObject *decode_row(struct decoder *d) {
    uint64_t n;
    return take_array(d, &n) ? decode_tuple_items(d, n, NULL) : NULL;
}

/* As decode_row, of a row that was looked up by its key. */
static PyObject *decode_row_of(struct decoder *d, const struct known_key *known) {
    uint64_t n;
    return take_array(d, &n) ? decode_tuple_items(d, n, known) : NULL;
}

#endif
