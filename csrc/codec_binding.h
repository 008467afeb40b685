/* SPDX-License-Identifier: Apache-2.0 */
/* codec_binding.h - Binding, the verbs' view of one handle, and how a call of the core is made from Python.
 *
 * The GIL. Reads never block, so they keep it. A write first tries with no wait, keeping it; if the lock is not to be had,
 * and for long batches from the start, the GIL is released and the core waits in slices, between which signal handlers
 * run. A read that writers overtook 64 times (BUSY) gives way to them and tries again. Both end at lock_timeout.
 *
 * Memory. Encodings and results live in a scratch that the Binding keeps from call to call. A call takes it out for its
 * own use; whoever comes meanwhile (another thread, or Python code run by pickle) finds none and makes one. So there is
 * nothing to lock, and nothing is shared while it is used. */
#ifndef TABLEMGR_CODEC_BINDING_H
#define TABLEMGR_CODEC_BINDING_H

#include <math.h>
#include <sched.h>
#include <time.h>

#include "codec_decode.h"
#include "codec_encode.h"

struct scratch {
    struct tmgr_buffer arguments; /* encoded keys, rows, updates */
    struct tmgr_buffer result;    /* rows as the core copied them out */
    struct tmgr_buffer ops;       /* an array of struct tmgr_op */
};

struct binding {
    PyObject_HEAD const struct codec_state *state;
    const struct tmgr_api *api;
    struct tmgr_table *table; /* alive as long as `owner` */
    struct scratch *scratch;  /* NULL while a call uses it */
    struct tmgr_buffer rows;  /* for the next iterator, from the last one; empty while one has it */
    PyObject *fail;           /* fail(status, verb, detail) raises what a status means */
    PyObject *owner;
    double lock_timeout; /* seconds */
    uint32_t keypos;
    bool pickle;
    bool bag; /* a bag or duplicate_bag: any number of rows per key */
};

/* -- scratch ----------------------------------------------------------------------------------------------------------- */

/* Put `mine` (or NULL) where the Binding keeps its scratch, and get what was there. With the GIL a plain exchange is
 * atomic enough: no Python code runs in between. */
static inline struct scratch *scratch_exchange(struct binding *self, struct scratch *mine) {
#ifdef Py_GIL_DISABLED
    return __atomic_exchange_n(&self->scratch, mine, __ATOMIC_ACQ_REL);
#else
    struct scratch *theirs = self->scratch;
    self->scratch = mine;
    return theirs;
#endif
}

static void scratch_free(struct scratch *scratch) {
    if (scratch != NULL) {
        free(scratch->arguments.data);
        free(scratch->result.data);
        free(scratch->ops.data);
        free(scratch);
    }
}

/* A scratch for one call, arguments empty; NULL with MemoryError set. */
static inline struct scratch *scratch_take(struct binding *self) {
    struct scratch *scratch = scratch_exchange(self, NULL);
    if (UNLIKELY(scratch == NULL)) {
        scratch = calloc(1, sizeof *scratch);
        if (scratch == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
    }
    scratch->arguments.len = 0;
    scratch->ops.len = 0;
    return scratch;
}

/* What a single huge row or batch needed is not kept for ever. */
enum { SCRATCH_KEPT = 1 << 20 };

static inline void scratch_give(struct binding *self, struct scratch *scratch) {
    if (UNLIKELY(scratch->arguments.capacity > SCRATCH_KEPT || scratch->result.capacity > SCRATCH_KEPT ||
                 scratch->ops.capacity > SCRATCH_KEPT)) {
        scratch_free(scratch);
        return;
    }
    scratch = scratch_exchange(self, scratch);
    if (UNLIKELY(scratch != NULL)) {
        scratch_free(scratch);
    }
}

static inline struct encoder encoder_for(const struct binding *self, struct tmgr_buffer *out,
                                         const struct place *place) {
    return (struct encoder){.state = self->state, .out = out, .place = place, .pickle = self->pickle};
}

static inline struct decoder decoder_for(const struct binding *self, const struct tmgr_buffer *bytes) {
    return (struct decoder){.state = self->state,
                            .at = bytes->data,
                            .end = bytes->data + bytes->len,
                            .pickle = self->pickle,
                            .fail = self->fail};
}

/* -- failing ----------------------------------------------------------------------------------------------------------- */

enum { RAISED = -1 }; /* beside the statuses of the core: an exception is set */

/* Raise what a status means. Returns NULL. */
static PyObject *refuse(struct binding *self, int status, const char *verb, PyObject *detail) {
    if (status == RAISED) {
        return NULL;
    }
    if (status == TMGR_NO_MEMORY && self->fail == NULL) {
        return PyErr_NoMemory();
    }
    PyObject *result =
        self->fail == NULL ? NULL : PyObject_CallFunction(self->fail, "isO", status, verb, detail ? detail : Py_None);
    if (result != NULL || !PyErr_Occurred()) {
        Py_XDECREF(result);
        PyErr_Format(PyExc_SystemError, "%s: status %d of the core raised nothing", verb, status);
    }
    return NULL;
}

/* An exception about the arguments of a call that the table admits: fail gets OK and the exception, and names the table in
 * it, if no Python code of the caller's has raised it. Takes the references. Returns NULL. */
static PyObject *blame(struct binding *self, const char *verb, PyObject *type, PyObject *value, PyObject *traceback) {
    if (traceback != NULL || self->fail == NULL || (type != PyExc_TypeError && type != PyExc_ValueError)) {
        PyErr_Restore(type, value, traceback);
        return NULL;
    }
    PyErr_NormalizeException(&type, &value, &traceback);
    refuse(self, TMGR_OK, verb, value);
    Py_XDECREF(type);
    Py_XDECREF(value);
    return NULL;
}

/* An exception about the arguments is set. A closed or missing table, or one that does not admit this process, comes
 * first, so ask the core about these and let its answer win. Returns NULL. */
static PyObject *refuse_arguments(struct binding *self, const char *verb, bool is_write) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    int status = self->api->admit(self->table, is_write);
    if (status == TMGR_OK) {
        return blame(self, verb, type, value, traceback);
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return refuse(self, status, verb, NULL);
}

/* The same where the core was asked before. Returns NULL. */
static PyObject *blame_arguments(struct binding *self, const char *verb) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    return blame(self, verb, type, value, traceback);
}

/* Raise that tables of this type have no such verb, unless something comes before that. Returns NULL. */
static PyObject *refuse_table(struct binding *self, const char *verb) {
    int status = self->api->admit(self->table, true);
    return refuse(self, status == TMGR_OK ? TMGR_OPERATION : status, verb, NULL);
}

/* Raise what a status means, and say for which key. Returns NULL. */
static PyObject *refuse_key(struct binding *self, int status, const char *verb, PyObject *key) {
    PyObject *detail = status == RAISED ? NULL : with_repr("key %.100U", key);
    if (detail == NULL) {
        return NULL;
    }
    refuse(self, status, verb, detail);
    Py_DECREF(detail);
    return NULL;
}

/* Raise KeyError(key), as a dict does; the verbs of a table leave it to fail, which names the table. Returns NULL. */
static PyObject *absent(PyObject *key) {
    /* In a tuple, or a key that is a tuple would become several arguments. */
    PyObject *arguments = PyTuple_Pack(1, key);
    if (arguments != NULL) {
        PyErr_SetObject(PyExc_KeyError, arguments);
        Py_DECREF(arguments);
    }
    return NULL;
}

/* -- calling ----------------------------------------------------------------------------------------------------------- */

/* The arguments and results of any call of the core; each step uses its own. */
struct request {
    const struct tmgr_api *api;
    struct tmgr_table *table;
    const uint8_t *key;
    size_t key_len;
    const uint8_t *row;
    size_t row_len;
    const struct tmgr_op *ops;
    size_t n; /* ops or keys */
    struct tmgr_buffer *result;
    struct tmgr_cursor *cursor;
    const struct tmgr_range *range;
    const struct tmgr_query *query;
    enum tmgr_query_mode query_mode;
    size_t limit; /* rows */
    size_t want_bytes;
    int direction;
    size_t failed; /* index of the op that was refused */
    uint64_t count;
};

/* One call of the core with a wait for locks; reads leave wait_ns alone. */
typedef int (*step_fn)(struct request *request, int64_t wait_ns);

static inline struct request request_for(const struct binding *self, struct scratch *scratch) {
    return (struct request){.api = self->api, .table = self->table, .result = &scratch->result};
}

static int64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The end of lock_timeout from now, on the monotonic clock. What is no number or below 0 is 0. */
static int64_t deadline_of(const struct binding *self) {
    double seconds = self->lock_timeout;
    if (!(seconds > 0)) {
        return 0;
    }
    return seconds > 1e9 ? INT64_MAX : monotonic_ns() + (int64_t)(seconds * 1e9);
}

enum { SLICE_NS = 50 * 1000 * 1000 };

/* Wait for locks without the GIL, in slices. Returns BUSY at lock_timeout, RAISED if a signal handler raised. */
static int wait_for_lock(struct binding *self, struct request *request, step_fn step) {
    int64_t deadline = deadline_of(self);
    for (;;) {
        int status;
        int64_t left = deadline - monotonic_ns();
        int64_t slice = left < 0 ? 0 : left < SLICE_NS ? left : SLICE_NS;
        Py_BEGIN_ALLOW_THREADS status = step(request, slice);
        Py_END_ALLOW_THREADS if (status != TMGR_BUSY || left <= 0) { return status; }
        if (PyErr_CheckSignals() < 0) {
            return RAISED;
        }
    }
}

/* Read again, giving way to the writers that overtake; as wait_for_lock. */
static int read_again(struct binding *self, struct request *request, step_fn step) {
    int64_t deadline = deadline_of(self);
    for (;;) {
        int status;
        int64_t now = monotonic_ns();
        int64_t slice_end = deadline - now < SLICE_NS ? deadline : now + SLICE_NS;
        Py_BEGIN_ALLOW_THREADS do {
            sched_yield();
            status = step(request, 0);
        }
        while (status == TMGR_BUSY && monotonic_ns() < slice_end)
            ;
        Py_END_ALLOW_THREADS if (status != TMGR_BUSY || now >= deadline) { return status; }
        if (PyErr_CheckSignals() < 0) {
            return RAISED;
        }
    }
}

static inline int do_read(struct binding *self, struct request *request, step_fn step) {
    int status = step(request, 0);
    return LIKELY(status != TMGR_BUSY) ? status : read_again(self, request, step);
}

static inline int do_write(struct binding *self, struct request *request, step_fn step) {
    int status = step(request, 0);
    return LIKELY(status != TMGR_BUSY) ? status : wait_for_lock(self, request, step);
}

/* From this many rows or bytes on, a call is long enough for other threads to want the GIL meanwhile. */
enum { LONG_ROWS = 64, LONG_BYTES = 1 << 18 };

static inline bool is_long(size_t rows, const struct scratch *scratch) {
    return UNLIKELY(rows > LONG_ROWS || scratch->arguments.len > LONG_BYTES);
}

static int do_long_read(struct binding *self, struct request *request, step_fn step) {
    int status;
    Py_BEGIN_ALLOW_THREADS status = step(request, 0);
    Py_END_ALLOW_THREADS return status != TMGR_BUSY ? status : read_again(self, request, step);
}

/* -- arguments --------------------------------------------------------------------------------------------------------- */

static const struct place key_place = {.kind = ROOT, .name = "key"};
static const struct place row_place = {.kind = ROOT, .name = "row"};

/* The key into the scratch and the request; false with the right exception set. */
static inline bool key_argument(struct binding *self, struct scratch *scratch, struct request *request, PyObject *key,
                                const char *verb, bool is_write) {
    struct encoder e = encoder_for(self, &scratch->arguments, &key_place);
    if (UNLIKELY(!encode_key(&e, key))) {
        refuse_arguments(self, verb, is_write);
        return false;
    }
    request->key = scratch->arguments.data;
    request->key_len = scratch->arguments.len;
    return true;
}

/* The row into the scratch and the request; as key_argument, of a writing verb. */
static inline bool row_argument(struct binding *self, struct scratch *scratch, struct request *request, PyObject *row,
                                const char *verb) {
    struct encoder e = encoder_for(self, &scratch->arguments, &row_place);
    if (UNLIKELY(!encode_row(&e, row, self->keypos, NULL))) {
        refuse_arguments(self, verb, true);
        return false;
    }
    request->row = scratch->arguments.data;
    request->row_len = scratch->arguments.len;
    return true;
}

static bool has_arguments(const char *verb, Py_ssize_t n, Py_ssize_t least, Py_ssize_t most) {
    if (n < least || n > most) {
        PyErr_Format(PyExc_TypeError, "%s: %zd to %zd arguments, not %zd", verb, least, most, n);
        return false;
    }
    return true;
}

enum { MOST_ARGUMENTS = 3 };

/* Arguments by position or name into `values`, NULL where there is none. names: those of all that there can be, ended by
 * NULL; the first `n_positional` cannot be named, the first `n_required` must be there. False with TypeError set. */
static bool take_arguments(const char *verb, const char *const *names, Py_ssize_t n_positional, Py_ssize_t n_required,
                           PyObject *const *arguments, Py_ssize_t n, PyObject *given_names, PyObject **values) {
    Py_ssize_t most = 0;
    for (; names[most] != NULL; most++) {
        values[most] = most < n ? arguments[most] : NULL;
    }
    if (n > most) {
        PyErr_Format(PyExc_TypeError, "%s: %zd arguments at most, not %zd", verb, most, n);
        return false;
    }
    for (Py_ssize_t i = 0; given_names != NULL && i < PyTuple_GET_SIZE(given_names); i++) {
        PyObject *name = PyTuple_GET_ITEM(given_names, i);
        Py_ssize_t place = n_positional;
        while (place < most && PyUnicode_CompareWithASCIIString(name, names[place]) != 0) {
            place++;
        }
        if (place == most || values[place] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s: %s argument %R", verb, place == most ? "there is no" : "twice the",
                         name);
            return false;
        }
        values[place] = arguments[n + i];
    }
    for (Py_ssize_t i = 0; i < n_required; i++) {
        if (values[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s: the argument '%s' is missing", verb, names[i]);
            return false;
        }
    }
    return true;
}

/* -- life -------------------------------------------------------------------------------------------------------------- */

/* Made whole or not at all: a Binding without a table cannot be called. */
static PyObject *binding_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    unsigned long long address;
    PyObject *fail, *owner;
    unsigned keypos;
    int pickle, bag = 0;
    double lock_timeout;
    if (keywords != NULL && PyDict_GET_SIZE(keywords) != 0) {
        PyErr_SetString(PyExc_TypeError, "Binding takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(arguments, "KIpdOO|p:Binding", &address, &keypos, &pickle, &lock_timeout, &fail, &owner,
                          &bag)) {
        return NULL;
    }
    const struct codec_state *state = PyType_GetModuleState(type);
    if (state == NULL || state->api == NULL || address == 0) {
        PyErr_SetString(PyExc_RuntimeError, "Binding: call bind() before, and give the address of a handle");
        return NULL;
    }
    struct binding *self = (struct binding *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->state = state;
    self->api = state->api;
    self->table = (struct tmgr_table *)(uintptr_t)address;
    self->keypos = keypos;
    self->pickle = pickle != 0;
    self->bag = bag != 0;
    self->lock_timeout = lock_timeout;
    Py_INCREF(fail);
    self->fail = fail;
    Py_INCREF(owner);
    self->owner = owner;
    return (PyObject *)self;
}

static int binding_traverse(struct binding *self, visitproc visit, void *arg) {
    Py_VISIT(self->fail);
    Py_VISIT(self->owner);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

/* The owner stays: the table's memory has to be there for as long as a method can still be called. */
static int binding_clear(struct binding *self) {
    Py_CLEAR(self->fail);
    return 0;
}

static void binding_dealloc(struct binding *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    scratch_free(self->scratch);
    free(self->rows.data);
    Py_XDECREF(self->fail);
    Py_XDECREF(self->owner);
    type->tp_free(self);
    Py_DECREF(type);
}

#endif
