/* SPDX-License-Identifier: Apache-2.0 */
/* codec_packed.h - rows as they are packed: whole tables out and in without an object per row, for save and load.
 *
 * Out: Pages, an iterator over (number of rows, their bytes). In: insert_packed, which takes bytes of any origin. The core
 * verifies that they are rows; here is verified what only the codec knows: that each of them decodes, that its key is one,
 * and that this is in the one form that encode_key gives it, or a lookup, which compares bytes, would not find it. A
 * pickled value is taken as it is, where the table takes such values: nothing is unpickled. */
#ifndef TABLEMGR_CODEC_PACKED_H
#define TABLEMGR_CODEC_PACKED_H

#include "codec_batch.h"

/* -- out ------------------------------------------------------------------------------------------------------------------ */

/* (number of rows, bytes) of the next rows; the GIL is released while they are fetched. */
static PyObject *pages_fetch(struct scan *self) {
    struct binding *binding = self->binding;
    struct request r = {.api = binding->api,
                        .table = binding->table,
                        .cursor = &self->cursor,
                        .want_bytes = self->want_bytes,
                        .result = &self->rows};
    int status = self->has_ended ? TMGR_END : do_long_read(binding, &r, step_scan);
    self->has_ended = status != TMGR_OK;
    if (status != TMGR_OK) {
        return status == TMGR_END ? NULL : refuse(binding, status, "save", NULL);
    }
    return Py_BuildValue("ny#", (Py_ssize_t)r.n, (const char *)self->rows.data, (Py_ssize_t)self->rows.len);
}

static PyObject *pages_next(struct scan *self) {
    if (!enter_object(&self->busy, "iterator")) {
        return NULL;
    }
    PyObject *page = pages_fetch(self);
    leave_object(&self->busy);
    return page;
}

/* pages(want_bytes): each page but the last has at least that many bytes, and whole rows. */
static PyObject *binding_pages(struct binding *self, PyObject *want_bytes) {
    size_t bytes = PyLong_AsSize_t(want_bytes);
    if (bytes == (size_t)-1 && PyErr_Occurred()) {
        return NULL;
    }
    int status = self->api->admit(self->table, false);
    if (status != TMGR_OK) {
        return refuse(self, status, "save", NULL);
    }
    struct scan *pages = (struct scan *)self->state->pages_type->tp_alloc(self->state->pages_type, 0);
    if (pages != NULL) {
        Py_INCREF(self);
        pages->binding = self;
        pages->want_bytes = bytes;
    }
    return (PyObject *)pages;
}

static PyType_Slot pages_slots[] = {
    {Py_tp_doc, "All rows of a table as they are packed, fetched in pages while others write."},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, pages_next},
    {Py_tp_traverse, scan_traverse},
    {Py_tp_dealloc, scan_dealloc},
    {0, NULL},
};
static PyType_Spec pages_spec = {
    .name = "tablemgr._codec.Pages",
    .basicsize = sizeof(struct scan),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = pages_slots,
};

/* -- verifying ------------------------------------------------------------------------------------------------------------ */

/* What a term may be at its place: anything, or what a set or the keys of a dict can hold. */
enum role { ANYTHING, HASHABLE };

/* Move behind the term at d->at if it decodes and may stand there; false with ValueError set. */
static bool check_term(struct decoder *d, enum role role);

static bool misshapen(const char *what) {
    PyErr_Format(PyExc_ValueError, "cannot decode: %s", what);
    return false;
}

static inline bool check_text(struct decoder *d, uint64_t n) {
    if (!has(d, n)) {
        return misshapen("the data is cut off in a str");
    }
    const uint8_t *at = d->at;
    d->at += n;
    if (LIKELY(is_ascii(at, n))) {
        return true;
    }
    PyObject *str = PyUnicode_DecodeUTF8((const char *)at, (Py_ssize_t)n, NULL);
    Py_XDECREF(str);
    return str != NULL;
}

static inline bool check_bytes(struct decoder *d, uint64_t n) {
    if (!has(d, n)) {
        return misshapen("the data is cut off");
    }
    d->at += n;
    return true;
}

static bool check_list(struct decoder *d, uint64_t n, enum role role) {
    if (!enter_container(d, n, 1)) {
        return false;
    }
    for (; n > 0; n--) {
        if (!check_term(d, role)) {
            return false;
        }
    }
    d->depth--;
    return true;
}

static bool check_dict(struct decoder *d, uint64_t n) {
    if (!enter_container(d, n, 2)) {
        return false;
    }
    for (; n > 0; n--) {
        if (!check_term(d, HASHABLE) || !check_term(d, ANYTHING)) {
            return false;
        }
    }
    d->depth--;
    return true;
}

/* A number or a time of an extension type: those are few, and have their rules in one place. */
static bool check_by_decoding(struct decoder *d, uint8_t type, enum role role) {
    PyObject *value = decode_payload(d, type);
    bool done = value != NULL;
    if (done && role == HASHABLE && PyObject_Hash(value) == -1) { /* a signalling NaN */
        blame_unhashable(d);
        done = false;
    }
    Py_XDECREF(value);
    return done;
}

static bool check_payload(struct decoder *d, uint8_t type, enum role role) {
    uint64_t n;
    switch (type) {
    case EXT_TUPLE:
        return take_array(d, &n) && check_list(d, n, role);
    case EXT_SET:
        return role == ANYTHING ? take_array(d, &n) && check_list(d, n, HASHABLE)
                                : misshapen("a set in a set or as key");
    case EXT_FROZENSET:
        return take_array(d, &n) && check_list(d, n, HASHABLE);
    case EXT_BYTEARRAY:
        d->at = d->end;
        return role == ANYTHING || misshapen("a bytearray in a set or as key");
    case EXT_PICKLE:
        d->at = d->end;
        return d->pickle || misshapen("a pickled value in a table of another codec");
    default:
        return check_by_decoding(d, type, role);
    }
}

/* An extension type, from its type byte on: its payload is verified within its own bounds, and has to fill them. */
static bool check_extension(struct decoder *d, uint64_t n, enum role role) {
    uint64_t type;
    if (!take_word(d, 1, &type) || !has(d, n)) {
        return misshapen("the data is cut off in an extension type");
    }
    const uint8_t *end = d->end;
    d->end = d->at + n;
    bool done = check_payload(d, (uint8_t)type, role) &&
                (d->at == d->end || misshapen("an extension type's payload is too long"));
    d->end = end;
    return done;
}

/* First bytes from 0xc0 to 0xdf. */
static bool check_tagged(struct decoder *d, uint8_t first, enum role role) {
    static const uint8_t size_bytes[] = {0, 0, 0, 0, 1, 2, 4, 1, 2, 4, 0, 0, 0, 0, 0, 0,
                                         0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4};
    uint64_t n = 0;
    if (size_bytes[first - 0xc0] != 0 && !take_word(d, size_bytes[first - 0xc0], &n)) {
        return false;
    }
    if (first >= 0xdc) {
        return role == ANYTHING ? first >= 0xde ? check_dict(d, n) : check_list(d, n, ANYTHING)
                                : misshapen("a list or dict in a set or as key");
    }
    if (first >= 0xd9) {
        return check_text(d, n);
    }
    if (first >= 0xd4) {
        return check_extension(d, UINT64_C(1) << (first - 0xd4), role);
    }
    if (first >= 0xcc) {
        return check_bytes(d, UINT64_C(1) << (first & 3));
    }
    if (first >= 0xca) {
        return check_bytes(d, first == 0xca ? 4 : 8);
    }
    if (first >= 0xc7) {
        return check_extension(d, n, role);
    }
    if (first >= 0xc4) {
        return check_bytes(d, n);
    }
    return first != 0xc1 || misshapen("a byte that msgpack does not use");
}

static bool check_term(struct decoder *d, enum role role) {
    if (UNLIKELY(d->at == d->end)) {
        return misshapen("the data is cut off");
    }
    uint8_t first = *d->at++;
    if (first >= 0xa0 && first < 0xc0) {
        return check_text(d, first & 0x1fu);
    }
    if (first < 0x80 || first >= 0xe0) {
        return true;
    }
    if (first >= 0xc0) {
        return check_tagged(d, first, role);
    }
    if (role != ANYTHING) {
        return misshapen("a list or dict in a set or as key");
    }
    return first < 0x90 ? check_dict(d, first & 0x0fu) : check_list(d, first & 0x0fu, ANYTHING);
}

/* Keys whose one form is seen at once: a str or a number from 0 up, of 32 bits at most. */
static inline bool is_plain_key(struct decoder *d) {
    uint8_t first = d->at != d->end ? *d->at : 0xc1;
    size_t len = first < 0x80                     ? 1
                 : (first & 0xe0) == 0xa0         ? 1 + (size_t)(first & 0x1f)
                 : first >= 0xcc && first <= 0xce ? 1 + ((size_t)1 << (first - 0xcc))
                 : first == 0xd9 && has(d, 2)     ? 2 + (size_t)d->at[1]
                                                  : 0;
    if (len == 0 || !has(d, len)) {
        return false;
    }
    const uint8_t *at = d->at + 1;
    bool is_plain = first == 0xcc   ? at[0] >= 0x80
                    : first == 0xcd ? at[0] != 0
                    : first == 0xce ? (at[0] | at[1]) != 0
                    : first == 0xd9 ? at[0] >= 0x20 && is_ascii(at + 1, len - 2)
                                    : is_ascii(at, len - 1);
    d->at += is_plain ? len : 0;
    return is_plain;
}

/* Any other: encoding what it decodes to has to give the same bytes. `again` is for that. */
static bool check_key(struct decoder *d, struct tmgr_buffer *again) {
    const uint8_t *start = d->at;
    if (LIKELY(is_plain_key(d))) {
        return true;
    }
    struct decoder plain = *d; /* no pickles */
    plain.pickle = false;
    PyObject *key = decode_value(&plain);
    again->len = 0;
    struct encoder e = {.state = d->state, .out = again, .place = &key_place};
    bool done = key != NULL && encode_key(&e, key);
    Py_XDECREF(key);
    if (!done) {
        raise_from_current(PyExc_ValueError, PyUnicode_FromString("cannot decode: a key that cannot be one"));
        return false;
    }
    d->at = plain.at;
    size_t len = (size_t)(d->at - start);
    return (again->len == len && memcmp(again->data, start, len) == 0) ||
           misshapen("a key that is not in the form by which it would be found");
}

/* Move behind the row at d->at; false with ValueError set. Its elements may nest MAX_DEPTH deep. */
static bool check_row(struct decoder *d, uint32_t keypos, struct tmgr_buffer *again) {
    uint64_t n;
    d->depth = 0;
    if (!take_array(d, &n)) {
        return false;
    }
    if (n <= keypos) {
        return misshapen("a row that ends before its key");
    }
    for (uint64_t i = 0; i < n; i++) {
        if (!(i == keypos ? check_key(d, again) : check_term(d, ANYTHING))) {
            return false;
        }
    }
    return true;
}

/* -- in ------------------------------------------------------------------------------------------------------------------- */

enum { PREFETCHED = 16 }; /* rows whose place is on its way, at least, while others are inserted */

/* Insert the rows that end where `ends` says, from r->count on: what is in stays in if another one is refused. */
static int step_insert_each(struct request *r, int64_t wait_ns) {
    const size_t *ends = (const size_t *)(const void *)r->key;
    for (size_t prefetched = r->count; r->count < r->n; r->count++) {
        size_t start = r->count == 0 ? 0 : ends[r->count - 1];
        if (prefetched - r->count < PREFETCHED && prefetched < r->n) {
            size_t n = r->n - prefetched < 2 * PREFETCHED ? r->n - prefetched : 2 * PREFETCHED;
            r->api->prefetch(r->table, r->row, prefetched == 0 ? 0 : ends[prefetched - 1], ends + prefetched, n);
            prefetched += n;
        }
        int status = r->api->insert(r->table, r->row + start, ends[r->count] - start, wait_ns);
        if (status != TMGR_OK) {
            return status;
        }
    }
    return TMGR_OK;
}

/* Verify all that is in `data` and note where each row ends; false with ValueError set. */
static bool check_rows(struct binding *self, struct scratch *scratch, const Py_buffer *data) {
    const uint8_t *start = data->buf;
    struct decoder d = {.state = self->state, .at = start, .end = start + data->len, .pickle = self->pickle};
    while (d.at != d.end) {
        if (!check_row(&d, self->keypos, &scratch->arguments) || !reserve(&scratch->ops, sizeof(size_t))) {
            return false;
        }
        size_t end = (size_t)(d.at - start);
        memcpy(scratch->ops.data + scratch->ops.len, &end, sizeof end);
        scratch->ops.len += sizeof end;
    }
    return true;
}

/* insert_packed(data): insert rows that lie one after the other, each by itself; returns their number. If a row is not
 * sound, a ValueError says so and none is inserted. */
static PyObject *binding_insert_packed(struct binding *self, PyObject *data) {
    static const char verb[] = "load";
    PyObject *answer = NULL;
    Py_buffer bytes;
    if (PyObject_GetBuffer(data, &bytes, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    struct scratch *scratch = scratch_take(self);
    if (scratch != NULL && check_rows(self, scratch, &bytes)) {
        struct request r = request_for(self, scratch);
        r.row = bytes.buf;
        r.key = scratch->ops.data; /* where each row ends */
        r.n = scratch->ops.len / sizeof(size_t);
        int status = r.n == 0 ? self->api->admit(self->table, true) : wait_for_lock(self, &r, step_insert_each);
        answer = status == TMGR_OK ? PyLong_FromSize_t(r.n) : refuse(self, status, verb, NULL);
    } else if (scratch != NULL) {
        refuse_arguments(self, verb, true);
    }
    if (scratch != NULL) {
        scratch_give(self, scratch);
    }
    PyBuffer_Release(&bytes);
    return answer;
}

#endif
