/* SPDX-License-Identifier: Apache-2.0 */
/* codec_state.h - what the parts of the codec extension share: the imported Python types, buffers, extension types.
 *
 * The codec is one compilation unit, codec.c, which includes its parts in this order: state, decode, encoder, encode_container,
 * encode_scalar, encode, binding, plan, clause, steps, ask, write, ops, read, update, batch, dict, keys, order, packed, query. So the
 * compiler sees a verb whole, from the Python argument to the core's call and back. */
#ifndef TABLEMGR_CODEC_STATE_H
#define TABLEMGR_CODEC_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <datetime.h>
#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <structmember.h>

#include "tablemgr.h"

/* A method that takes more than PyCFunction says. */
#define FASTCALL(function) ((PyCFunction)(void (*)(void))(function))

#define LIKELY(condition)   __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* Payloads are described in csrc/README.md. */
enum extension {
    EXT_TUPLE = 1,
    EXT_BIG_INT,
    EXT_SET,
    EXT_FROZENSET,
    EXT_BYTEARRAY,
    EXT_DECIMAL,
    EXT_UUID,
    EXT_DATE,
    EXT_DATETIME,
    EXT_TIME,
    EXT_TIMEDELTA,
    EXT_PICKLE
};

enum { MAX_DEPTH = 100 };
enum { ORDINAL_MAX = 3652059 }; /* 9999-12-31 */
#define DAY_MICROSECONDS   UINT64_C(86400000000)
#define CANONICAL_NAN_BITS UINT64_C(0x7ff8000000000000)

struct codec_state {
    const struct tmgr_api *api; /* NULL until bind() */
    PyObject *decimal_type, *uuid_type, *timezone_type;
    PyObject *pickle_dumps, *pickle_loads;
    PyTypeObject *binding_type, *scan_type, *pages_type, *batch_type, *dict_type;
    PyTypeObject *plan_type, *prepared_type, *clause_type, *ask_type;
    /* The words of tablemgr.matching, from language(). */
    PyObject *any, *row, *vars;
    PyTypeObject *variable_type, *call_type;
    PyObject *number_name, *name_name, *operands_name, *clauses_name; /* of attributes */
};

/* -- bytes being written --------------------------------------------------------------------------------------------- */

/* Room for `more` bytes behind the end; false with MemoryError set. */
static bool grow(struct tmgr_buffer *out, size_t more) {
    if (more > PY_SSIZE_T_MAX / 4 - out->len) {
        PyErr_NoMemory();
        return false;
    }
    size_t capacity = (out->len + more) + (out->len + more) / 2 + 512;
    uint8_t *data = realloc(out->data, capacity);
    if (data == NULL) {
        PyErr_NoMemory();
        return false;
    }
    out->data = data;
    out->capacity = capacity;
    return true;
}

static inline bool reserve(struct tmgr_buffer *out, size_t more) {
    return LIKELY(more <= out->capacity - out->len) || grow(out, more);
}

/* Keys are short: for those a call costs more than what it copies or compares. */
enum { SHORT_BYTES = 32 };

static inline void copy_short(uint8_t *to, const void *from, size_t n) {
    const uint8_t *bytes = from;
    if (n >= 16 && n <= SHORT_BYTES) { /* two pieces that overlap, here and below */
        memcpy(to, bytes, 16);
        memcpy(to + n - 16, bytes + n - 16, 16);
    } else if (n >= 8 && n < 16) {
        memcpy(to, bytes, 8);
        memcpy(to + n - 8, bytes + n - 8, 8);
    } else {
        memcpy(to, bytes, n);
    }
}

static inline uint64_t load_eight(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, 8);
    return word;
}

static inline bool same_short(const uint8_t *a, const uint8_t *b, size_t n) {
    if (n < 8 || n > SHORT_BYTES) {
        return memcmp(a, b, n) == 0;
    }
    uint64_t differs = load_eight(a + n - 8) ^ load_eight(b + n - 8);
    for (size_t i = 0; i + 8 < n; i += 8) {
        differs |= load_eight(a + i) ^ load_eight(b + i);
    }
    return differs == 0;
}

/* Start loading an object that is needed in a moment. */
static inline void prefetch_object(PyObject *object) {
    __builtin_prefetch(object);
    __builtin_prefetch((const uint8_t *)object + 64);
}

/* Words of 1, 2, 4 or 8 bytes, big-endian. */
static inline void store_big_endian(uint8_t *at, uint64_t value, size_t n) {
    uint64_t swapped = htobe64(value << (64 - 8 * n));
    memcpy(at, &swapped, n);
}

/* As store_big_endian, where 8 bytes may be written: one store, whatever n is. */
static inline void store_wide(uint8_t *at, uint64_t value, size_t n) {
    uint64_t swapped = htobe64(value << (64 - 8 * n));
    memcpy(at, &swapped, 8);
}

static inline uint64_t load_big_endian(const uint8_t *at, size_t n) {
    uint64_t eight;
    uint32_t four;
    uint16_t two;
    switch (n) {
    case 1:
        return *at;
    case 2:
        memcpy(&two, at, 2);
        return be16toh(two);
    case 4:
        memcpy(&four, at, 4);
        return be32toh(four);
    default:
        memcpy(&eight, at, 8);
        return be64toh(eight);
    }
}

/* -- exceptions ------------------------------------------------------------------------------------------------------- */

/* Raise `type` with a message; the exception that is set becomes its cause. Steals message; NULL leaves all as it is. */
static void raise_from_current(PyObject *type, PyObject *message) {
    PyObject *cause_type, *cause, *traceback, *new_type, *new_value, *new_traceback;
    if (message == NULL) {
        return;
    }
    PyErr_Fetch(&cause_type, &cause, &traceback);
    PyErr_NormalizeException(&cause_type, &cause, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(cause, traceback);
    }
    PyErr_SetObject(type, message);
    PyErr_Fetch(&new_type, &new_value, &new_traceback);
    PyErr_NormalizeException(&new_type, &new_value, &new_traceback);
    PyException_SetCause(new_value, cause); /* steals */
    PyErr_Restore(new_type, new_value, new_traceback);
    Py_DECREF(message);
    Py_XDECREF(cause_type);
    Py_XDECREF(traceback);
}

/* -- the calendar ------------------------------------------------------------------------------------------------------ */

static const uint16_t days_before_month[] = {0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};

static bool is_leap(int year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }

static int days_before_year(int year) {
    int y = year - 1;
    return y * 365 + y / 4 - y / 100 + y / 400;
}

/* The proleptic Gregorian ordinal, as date.toordinal(). */
static uint32_t ordinal_of(int year, int month, int day) {
    return (uint32_t)(days_before_year(year) + days_before_month[month] + (month > 2 && is_leap(year)) + day);
}

/* The date of an ordinal from 1 to ORDINAL_MAX. */
static void date_of(uint32_t ordinal, int *year, int *month, int *day) {
    int n = (int)ordinal;
    int y = n / 366 + 1; /* not after the true year, and at most 20 years before it */
    while (n > days_before_year(y + 1)) {
        y++;
    }
    int rest = n - days_before_year(y);
    int m = 12;
    while (rest <= days_before_month[m] + (m > 2 && is_leap(y))) {
        m--;
    }
    *year = y;
    *month = m;
    *day = rest - days_before_month[m] - (m > 2 && is_leap(y));
}

#endif
