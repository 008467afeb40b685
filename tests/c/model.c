/* SPDX-License-Identifier: Apache-2.0 */
/* model.c - see model.h. */
#include "model.h"

#include "match_code.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_NS = 1000 * 1000 * 1000 };

/* -- random numbers ------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x) {
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ULL;
    return x ^ (x >> 33);
}

struct random random_from(uint64_t seed) {
    struct random random = {mix(seed + 0x9e3779b97f4a7c15ULL) | 1};
    return random;
}

uint64_t random_next(struct random *random) {
    random->state ^= random->state >> 12;
    random->state ^= random->state << 25;
    random->state ^= random->state >> 27;
    return random->state * 0x2545f4914f6cdd1dULL;
}

uint64_t random_below(struct random *random, uint64_t bound) { return (random_next(random) >> 11) % bound; }

static void *allocate(size_t size) {
    void *memory = malloc(size ? size : 1);
    if (!memory) {
        fprintf(stderr, "model: no memory\n");
        abort();
    }
    return memory;
}

/* -- rows ----------------------------------------------------------------------------------------------------------- */

static size_t put_big_endian(uint8_t *out, uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
    return bytes;
}

static uint64_t get_big_endian(const uint8_t *data, unsigned bytes) {
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value = value << 8 | data[i];
    return value;
}

static size_t uint_encode(uint8_t *out, uint64_t value) {
    if (value < 128) {
        out[0] = (uint8_t)value;
        return 1;
    }
    unsigned bytes = value < 256 ? 1 : value < 65536 ? 2 : value <= UINT32_MAX ? 4 : 8;
    out[0] = (uint8_t)(bytes == 1 ? 0xcc : bytes == 2 ? 0xcd : bytes == 4 ? 0xce : 0xcf);
    return 1 + put_big_endian(out + 1, value, bytes);
}

static size_t uint_decode(const uint8_t *data, size_t len, uint64_t *value) {
    if (len == 0)
        return 0;
    if (data[0] < 128) {
        *value = data[0];
        return 1;
    }
    if (data[0] < 0xcc || data[0] > 0xcf)
        return 0;
    unsigned bytes = 1u << (data[0] - 0xcc);
    if (len < 1 + (size_t)bytes)
        return 0;
    *value = get_big_endian(data + 1, bytes);
    return 1 + (size_t)bytes;
}

static size_t bin_head(uint8_t *out, size_t len) {
    unsigned bytes = len < 256 ? 1 : len < 65536 ? 2 : 4;
    out[0] = (uint8_t)(bytes == 1 ? 0xc4 : bytes == 2 ? 0xc5 : 0xc6);
    return 1 + put_big_endian(out + 1, len, bytes);
}

size_t object_len(const uint8_t *data, size_t len) {
    uint64_t value;
    if (len == 0)
        return 0;
    if (data[0] == 0xc0) /* nil */
        return 1;
    if (data[0] >= 0x90 && data[0] <= 0x9f) {
        size_t at = 1;
        for (unsigned n = data[0] & 15; n > 0; n--) {
            size_t part = object_len(data + at, len - at);
            if (part == 0)
                return 0;
            at += part;
        }
        return at;
    }
    if (data[0] >= 0xa0 && data[0] <= 0xbf)
        return (size_t)(data[0] & 31) < len ? 1 + (size_t)(data[0] & 31) : 0;
    if ((data[0] >= 0xc4 && data[0] <= 0xc6) || data[0] == 0xda) {
        unsigned bytes = data[0] == 0xda ? 2 : 1u << (data[0] - 0xc4);
        if (len < 1 + (size_t)bytes)
            return 0;
        uint64_t body = get_big_endian(data + 1, bytes);
        return body <= len - 1 - bytes ? 1 + bytes + (size_t)body : 0;
    }
    return uint_decode(data, len, &value);
}

static uint64_t bytes_hash(uint64_t hash, const uint8_t *data, size_t len) {
    while (len >= 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        hash = (hash ^ word) * 0x9fb21c651e98df25ULL;
        hash ^= hash >> 32;
        data += 8;
        len -= 8;
    }
    for (; len > 0; len--)
        hash = (hash ^ *data++) * 0x100000001b3ULL;
    return mix(hash);
}

/* 31 bits, so that stamp + hash stays far below the end of every integer type on the way. */
static uint64_t row_hash(const uint8_t *key, size_t key_len, const uint8_t *payload, size_t payload_len) {
    return bytes_hash(bytes_hash(payload_len, key, key_len), payload, payload_len) >> 33;
}

size_t key_encode(uint8_t *out, uint64_t id) {
    char text[24];
    snprintf(text, sizeof text, "user%012llu", (unsigned long long)(id % 1000000000000ULL));
    if (id >= LONG_KEY_ID) {
        out[0] = 0xda;
        put_big_endian(out + 1, LONG_KEY_BYTES, 2);
        memset(out + 3, 'k', LONG_KEY_BYTES);
        memcpy(out + 3, text, 16);
        return 3 + LONG_KEY_BYTES;
    }
    if (id % 2 == 0)
        return uint_encode(out, id);
    out[0] = 0xa0 | 16;
    memcpy(out + 1, text, 16);
    return 17;
}

/* Writes [key, stamp, payload, stamp + hash] around a payload made from id and seed; returns the length. */
static size_t row_write(uint8_t *out, uint64_t id, uint64_t stamp, const uint8_t *payload, size_t payload_len,
                        uint64_t *hash) {
    size_t at = 0;
    out[at++] = 0x94;
    size_t key_len = key_encode(out + at, id);
    const uint8_t *key = out + at;
    at += key_len;
    at += uint_encode(out + at, stamp);
    at += bin_head(out + at, payload_len);
    memmove(out + at, payload, payload_len);
    *hash = row_hash(key, key_len, out + at, payload_len);
    at += payload_len;
    return at + uint_encode(out + at, stamp + *hash);
}

static size_t row_make(uint8_t *out, uint64_t id, uint64_t stamp, size_t payload_len, uint64_t *hash) {
    uint8_t *payload = allocate(payload_len);
    struct random random = random_from(id * 1000003 + stamp * 7919 + payload_len);
    for (size_t i = 0; i < payload_len; i += 8) {
        uint64_t word = random_next(&random);
        memcpy(payload + i, &word, payload_len - i < 8 ? payload_len - i : 8);
    }
    size_t len = row_write(out, id, stamp, payload, payload_len, hash);
    free(payload);
    return len;
}

size_t row_encode(uint8_t *out, uint64_t id, uint64_t stamp, size_t payload) {
    uint64_t hash;
    return row_make(out, id, stamp, payload, &hash);
}

bool row_is_sound(const uint8_t *row, size_t len, uint64_t *id) {
    uint64_t number, stamp, checksum;
    if (len < 5 || row[0] != 0x94)
        return false;
    size_t at = 1, key_at = at, key_len;
    if (row[at] == (0xa0 | 16) || row[at] == 0xda) {
        key_len = object_len(row + at, len - at);
        size_t digits = at + (row[at] == 0xda ? 3 : 1) + 4;
        if (key_len < 17)
            return false;
        number = 0;
        for (size_t i = digits; i < digits + 12; i++) {
            if (row[i] < '0' || row[i] > '9')
                return false;
            number = number * 10 + (uint64_t)(row[i] - '0');
        }
    } else {
        key_len = uint_decode(row + at, len - at, &number);
        if (key_len == 0)
            return false;
    }
    at += key_len;
    size_t part = uint_decode(row + at, len - at, &stamp);
    if (part == 0)
        return false;
    at += part;
    part = object_len(row + at, len - at);
    if (part < 2 || row[at] < 0xc4 || row[at] > 0xc6)
        return false;
    size_t head = 1 + (1u << (row[at] - 0xc4));
    uint64_t hash = row_hash(row + key_at, key_len, row + at + head, part - head);
    at += part;
    part = uint_decode(row + at, len - at, &checksum);
    if (part == 0 || at + part != len || checksum != stamp + hash)
        return false;
    *id = number;
    return true;
}

size_t program_of_stamped(uint8_t *out) {
    static const uint8_t row_of[] = {MATCH_ROW_OF, 4, 0, 0, 0, 2, 0, 0, 0, MATCH_ANY, MATCH_BIND, 0, 0, 0, 0};
    static const uint8_t guard[] = {MATCH_VARIABLE, 0, 0, 0, 0, MATCH_CONSTANT, 1, 0, 0, 0, 1, MATCH_NOT_EQUAL,
                                    MATCH_REQUIRE};
    static const uint8_t body[] = {MATCH_RETURN_ROW};
    uint32_t start = MATCH_HEADER_BYTES + MATCH_CLAUSE_BYTES, len = sizeof row_of + sizeof guard + sizeof body;
    uint32_t words[] = {MATCH_MAGIC, start + len, 1, 1, start, len, 0, 0, 0, 0};
    memcpy(out, words, sizeof words);
    memcpy(out + start, row_of, sizeof row_of);
    memcpy(out + start + sizeof row_of, guard, sizeof guard);
    memcpy(out + start + sizeof row_of + sizeof guard, body, sizeof body);
    return start + len;
}

/* -- the model ------------------------------------------------------------------------------------------------------ */

void model_init(struct model *model) {
    model->capacity = 64;
    model->count = 0;
    model->type = TMGR_SET;
    model->entries = allocate(model->capacity * sizeof *model->entries);
    memset(model->entries, 0, model->capacity * sizeof *model->entries);
}

void model_clear(struct model *model) {
    for (size_t i = 0; i < model->capacity; i++)
        free(model->entries[i].row);
    memset(model->entries, 0, model->capacity * sizeof *model->entries);
    model->count = 0;
}

void model_free(struct model *model) {
    model_clear(model);
    free(model->entries);
}

static struct entry *model_slot(const struct model *model, uint64_t id) {
    size_t at = (size_t)mix(id) & (model->capacity - 1);
    while (model->entries[at].row && model->entries[at].id != id)
        at = (at + 1) & (model->capacity - 1);
    return &model->entries[at];
}

const struct entry *model_find(const struct model *model, uint64_t id) {
    const struct entry *entry = model_slot(model, id);
    return entry->row ? entry : NULL;
}

static void model_grow(struct model *model) {
    struct model bigger = {allocate(2 * model->capacity * sizeof(struct entry)), 2 * model->capacity, model->count,
                           model->type};
    memset(bigger.entries, 0, bigger.capacity * sizeof *bigger.entries);
    for (size_t i = 0; i < model->capacity; i++)
        if (model->entries[i].row)
            *model_slot(&bigger, model->entries[i].id) = model->entries[i];
    free(model->entries);
    *model = bigger;
}

static bool is_bag(const struct model *model) { return model->type == TMGR_BAG || model->type == TMGR_DUPLICATE_BAG; }

/* The first of the entry's rows that is this one, from offset `from` on; entry->len: none. */
static size_t find_row(const struct entry *entry, size_t from, const uint8_t *row, size_t len) {
    while (from < entry->len) {
        size_t here = object_len(entry->row + from, entry->len - from);
        if (here == len && memcmp(entry->row + from, row, len) == 0)
            break;
        from += here;
    }
    return from;
}

/* A row more behind those of the entry, unless it is a bag and has it. */
static void append_row(struct model *model, struct entry *slot, struct entry *added) {
    if (model->type == TMGR_BAG && find_row(slot, 0, added->row, added->len) < slot->len) {
        free(added->row);
        return;
    }
    uint8_t *rows = allocate(slot->len + added->len);
    memcpy(rows, slot->row, slot->len);
    memcpy(rows + slot->len, added->row, added->len);
    free(slot->row);
    free(added->row);
    slot->row = rows;
    slot->len += added->len;
    slot->n++;
    model->count++;
}

/* The model takes the row over. */
static void model_store(struct model *model, struct entry entry) {
    if (2 * (model->count + 1) > model->capacity)
        model_grow(model);
    struct entry *slot = model_slot(model, entry.id);
    if (slot->row && is_bag(model)) {
        append_row(model, slot, &entry);
        return;
    }
    if (slot->row)
        free(slot->row);
    else
        model->count++;
    *slot = entry;
}

void model_put(struct model *model, uint64_t id, uint64_t stamp, size_t payload) {
    struct entry entry = {.id = id, .stamp = stamp, .n = 1, .row = allocate(payload + ROW_OVERHEAD_MAX)};
    entry.len = row_make(entry.row, id, stamp, payload, &entry.hash);
    model_store(model, entry);
}

/* How many rows there were. */
static size_t model_remove(struct model *model, uint64_t id) {
    struct entry *slot = model_slot(model, id);
    size_t n = slot->n;
    if (!slot->row)
        return 0;
    free(slot->row);
    slot->row = NULL;
    model->count -= n;
    size_t hole = (size_t)(slot - model->entries);
    for (size_t at = (hole + 1) & (model->capacity - 1); model->entries[at].row;
         at = (at + 1) & (model->capacity - 1)) {
        struct entry moved = model->entries[at];
        model->entries[at].row = NULL;
        *model_slot(model, moved.id) = moved;
    }
    return n;
}

/* How many rows there were that are this one. */
static size_t model_remove_row(struct model *model, uint64_t id, const uint8_t *row, size_t len) {
    struct entry *slot = model_slot(model, id);
    size_t n = 0;
    if (!slot->row)
        return 0;
    for (size_t at; (at = find_row(slot, 0, row, len)) < slot->len; n++) {
        if (slot->n == 1) {
            model_remove(model, id);
            return n + 1;
        }
        memmove(slot->row + at, slot->row + at + len, slot->len - at - len);
        slot->len -= len;
        slot->n--;
        model->count--;
    }
    return n;
}

void model_copy(struct model *to, const struct model *from) {
    to->capacity = from->capacity;
    to->count = from->count;
    to->type = from->type;
    to->entries = allocate(from->capacity * sizeof *to->entries);
    for (size_t i = 0; i < from->capacity; i++) {
        to->entries[i] = from->entries[i];
        if (from->entries[i].row) {
            to->entries[i].row = allocate(from->entries[i].len);
            memcpy(to->entries[i].row, from->entries[i].row, from->entries[i].len);
        }
    }
}

/* The row with another stamp: what an update of elements 1 and 3 makes of it. */
static void model_restamp(struct model *model, uint64_t id, uint64_t stamp) {
    struct entry *slot = model_slot(model, id);
    size_t at = 1;
    uint64_t ignored;
    at += object_len(slot->row + at, slot->len - at);
    at += uint_decode(slot->row + at, slot->len - at, &ignored);
    size_t part = object_len(slot->row + at, slot->len - at);
    size_t head = 1 + (1u << (slot->row[at] - 0xc4));
    struct entry entry = {.id = id, .stamp = stamp, .n = 1, .row = allocate(part - head + ROW_OVERHEAD_MAX)};
    entry.len = row_write(entry.row, id, stamp, slot->row + at + head, part - head, &entry.hash);
    model_store(model, entry);
}

/* -- operations ----------------------------------------------------------------------------------------------------- */

const char *verb_name(enum verb verb) {
    static const char *const names[VERB_COUNT] = {
        [VERB_INSERT] = "insert",
        [VERB_INSERT_NEW] = "insert_new",
        [VERB_DELETE] = "delete",
        [VERB_TAKE] = "take",
        [VERB_DELETE_OBJECT] = "delete_object",
        [VERB_COMPARE_AND_SWAP] = "compare_and_swap",
        [VERB_UPDATE_COUNTER] = "update_counter",
        [VERB_UPDATE_ELEMENT] = "update_element",
        [VERB_APPLY] = "apply",
        [VERB_DELETE_MANY] = "delete_many",
        [VERB_DELETE_ALL] = "delete_all",
        [VERB_REPLACE_ROWS] = "replace_rows",
    };
    return names[verb];
}

void op_text(const struct op *op, char *out, size_t size) {
    size_t at = (size_t)snprintf(out, size, "%s", verb_name(op->verb));
    for (size_t i = 0; i < op->n && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, " [kind=%u id=%llu stamp=%llu payload=%zu]", op->items[i].kind,
                               (unsigned long long)op->items[i].id, (unsigned long long)op->items[i].stamp,
                               op->items[i].payload);
}

/* The kind a single verb has as a step of tmgr_apply, which the model and the bytes are the same for. */
static uint32_t item_kind(const struct op *op, size_t i) {
    switch (op->verb) {
    case VERB_APPLY:
        return op->items[i].kind;
    case VERB_INSERT_NEW:
        return TMGR_OP_INSERT_ALL_NEW;
    case VERB_DELETE:
    case VERB_TAKE:
    case VERB_DELETE_MANY:
        return TMGR_OP_DELETE;
    case VERB_DELETE_OBJECT:
        return TMGR_OP_DELETE_OBJECT;
    case VERB_UPDATE_COUNTER:
        return TMGR_OP_UPDATE_COUNTER;
    case VERB_UPDATE_ELEMENT:
        return TMGR_OP_UPDATE_ELEMENT;
    default:
        return TMGR_OP_INSERT;
    }
}

/* Hash of the payload that step i finds: the model's row, what an earlier step of the call left, or the default row. */
static uint64_t hash_for_update(const struct op *op, size_t i, const struct model *model) {
    const struct entry *entry = model_find(model, op->items[i].id);
    const struct item *last = NULL; /* the step that made the present row; NULL: it is the model's */
    bool is_there = entry != NULL, is_changed = false;
    for (size_t j = 0; j <= i; j++) {
        const struct item *item = &op->items[j];
        uint32_t kind = item_kind(op, j);
        bool is_update = kind == TMGR_OP_UPDATE_COUNTER || kind == TMGR_OP_UPDATE_ELEMENT;
        if (item->id != op->items[i].id)
            continue;
        if (kind == TMGR_OP_DELETE || (kind == TMGR_OP_DELETE_OBJECT && item->payload == 0 && !is_changed)) {
            is_there = false;
            is_changed = true;
        } else if (kind == TMGR_OP_INSERT || kind == TMGR_OP_INSERT_ALL_NEW ||
                   (!is_there && !(is_update && item->payload == 0) && kind != TMGR_OP_DELETE_OBJECT)) {
            last = item;
            is_there = true;
            is_changed = true;
        } else if (is_update) {
            is_changed = true;
        }
    }
    if (!last)
        return entry ? entry->hash : 0;
    uint64_t hash;
    uint8_t *row = allocate(last->payload + ROW_OVERHEAD_MAX);
    row_make(row, last->id, last->stamp, last->payload, &hash);
    free(row);
    return hash;
}

static size_t updates_encode(uint8_t *out, uint32_t kind, uint64_t stamp, uint64_t hash) {
    bool is_counter = kind == TMGR_OP_UPDATE_COUNTER;
    size_t at = 0;
    out[at++] = 0x92;
    out[at++] = 0x92;
    out[at++] = 1;
    at += uint_encode(out + at, stamp);
    out[at++] = 0x92;
    out[at++] = 3;
    return at + uint_encode(out + at, is_counter ? stamp : stamp + hash);
}

enum { UPDATES_MAX = 64 };

/* What replace_rows makes of the rows of a key, one after the other; the length. */
static size_t replacement(uint8_t *out, const struct item *item, const struct entry *entry) {
    size_t at = 0, from = 0;
    for (uint64_t nth = 0; entry && nth < entry->n; nth++) {
        size_t len = object_len(entry->row + from, entry->len - from);
        bool is_chosen = item->kind == 1 || nth % 2 == 1;
        if (!is_chosen)
            memcpy(out + at, entry->row + from, len);
        if (!is_chosen)
            at += len;
        else if (item->payload != 0)
            at += row_encode(out + at, item->id, item->stamp + nth, item->payload);
        from += len;
    }
    return at;
}

void op_bind(struct bound *bound, const struct op *op, const struct model *model) {
    bound->op = op;
    bound->old_row = NULL;
    bound->old_len = 0;
    bound->result.len = 0;
    size_t size = 0, largest = 256;
    for (size_t i = 0; i < op->n; i++) {
        const struct entry *entry = model_find(model, op->items[i].id);
        size_t row = op->items[i].payload + ROW_OVERHEAD_MAX + (entry ? entry->len : 0);
        if (op->verb == VERB_REPLACE_ROWS && entry)
            row += entry->n * (op->items[i].payload + ROW_OVERHEAD_MAX);
        largest = row > largest ? row : largest;
        size += 2 * row + 2 * KEY_BYTES_MAX + UPDATES_MAX;
    }
    bound->memory = allocate(size);
    bound->result.data = allocate(largest);
    bound->result.capacity = largest;
    uint8_t *at = bound->memory;
    bound->keys = at;
    if (op->verb == VERB_DELETE_MANY)
        for (size_t i = 0; i < op->n; i++)
            at += key_encode(at, op->items[i].id);
    bound->keys_len = (size_t)(at - bound->keys);
    for (size_t i = 0; i < op->n; i++) {
        const struct item *item = &op->items[i];
        const struct entry *entry = model_find(model, item->id);
        struct tmgr_op *step = &bound->ops[i];
        *step = (struct tmgr_op){.kind = item_kind(op, i), .group = item->group, .key = at};
        step->key_len = key_encode(at, item->id);
        at += step->key_len;
        bool is_update = step->kind == TMGR_OP_UPDATE_COUNTER || step->kind == TMGR_OP_UPDATE_ELEMENT;
        if (is_update) {
            step->updates = at;
            step->updates_len = updates_encode(at, step->kind, item->stamp, hash_for_update(op, i, model));
            at += step->updates_len;
        }
        if (op->verb == VERB_COMPARE_AND_SWAP || op->verb == VERB_REPLACE_ROWS) {
            bound->old_row = at;
            if (entry)
                memcpy(at, entry->row, entry->len);
            bound->old_len = entry ? entry->len : row_encode(at, item->id, 0, 1);
            at += bound->old_len;
        }
        if (step->kind == TMGR_OP_DELETE || (is_update && item->payload == 0))
            continue;
        step->row = at;
        if (op->verb == VERB_REPLACE_ROWS) {
            step->row_len = replacement(at, item, entry);
        } else if (step->kind == TMGR_OP_DELETE_OBJECT && entry &&
                   item->payload == 0) { /* the very row that is there */
            size_t from = 0;
            for (uint64_t nth = item->stamp % entry->n; nth > 0; nth--)
                from += object_len(entry->row + from, entry->len - from);
            step->row_len = object_len(entry->row + from, entry->len - from);
            memcpy(at, entry->row + from, step->row_len);
        } else {
            step->row_len = row_encode(at, item->id, item->stamp, item->payload);
        }
        at += step->row_len;
    }
}

void bound_free(struct bound *bound) {
    free(bound->memory);
    free(bound->result.data);
    bound->memory = NULL;
    bound->result = (struct tmgr_buffer){0};
}

/* Array of the two new values, as update_counter returns them. */
static uint64_t counter_digest(uint64_t stamp, uint64_t hash) {
    uint8_t out[32];
    size_t at = 0;
    out[at++] = 0x92;
    at += uint_encode(out + at, stamp);
    at += uint_encode(out + at, stamp + hash);
    return bytes_hash(1, out, at);
}

void op_call(struct bound *bound, struct tmgr_table *table, int64_t wait_ns, struct outcome *outcome) {
    const struct tmgr_op *step = bound->ops;
    *outcome = (struct outcome){0};
    bound->result.len = 0;
    switch (bound->op->verb) {
    case VERB_INSERT:
        outcome->status = tmgr_insert(table, step->row, step->row_len, wait_ns);
        break;
    case VERB_INSERT_NEW:
        outcome->status = tmgr_insert_new(table, step->row, step->row_len, wait_ns);
        break;
    case VERB_DELETE:
        outcome->status = tmgr_delete(table, step->key, step->key_len, wait_ns);
        break;
    case VERB_TAKE:
        outcome->status = tmgr_take(table, step->key, step->key_len, &bound->result, wait_ns);
        break;
    case VERB_DELETE_OBJECT:
        outcome->status = tmgr_delete_object(table, step->row, step->row_len, &outcome->removed, wait_ns);
        break;
    case VERB_COMPARE_AND_SWAP:
        outcome->status =
            tmgr_compare_and_swap(table, bound->old_row, bound->old_len, step->row, step->row_len, wait_ns);
        break;
    case VERB_UPDATE_COUNTER:
    case VERB_UPDATE_ELEMENT:
        outcome->status = tmgr_update(table, step, &bound->result, wait_ns);
        break;
    case VERB_APPLY:
        outcome->status = tmgr_apply(table, bound->ops, bound->op->n, &outcome->failed, wait_ns);
        break;
    case VERB_DELETE_MANY:
        outcome->status =
            tmgr_delete_many(table, bound->keys, bound->keys_len, bound->op->n, &outcome->removed, wait_ns);
        break;
    case VERB_DELETE_ALL:
        outcome->status = tmgr_delete_all(table, &outcome->removed, wait_ns);
        break;
    case VERB_REPLACE_ROWS:
        outcome->status = tmgr_replace_rows(table, step->key, step->key_len, bound->old_row, bound->old_len, step->row,
                                            step->row_len, wait_ns);
        break;
    default:
        abort();
    }
}

void op_run(struct bound *bound, struct tmgr_table *table, int64_t wait_ns, struct outcome *outcome) {
    op_call(bound, table, wait_ns, outcome);
    op_finish(bound, outcome);
}

void op_finish(const struct bound *bound, struct outcome *outcome) {
    if (outcome->status != TMGR_OK) {
        outcome->removed = 0;
        if (bound->op->verb != VERB_APPLY || outcome->status == TMGR_BUSY)
            outcome->failed = 0;
        return;
    }
    outcome->failed = 0;
    if (bound->op->verb == VERB_TAKE || bound->op->verb == VERB_UPDATE_COUNTER)
        outcome->digest = bytes_hash(1, bound->result.data, bound->result.len);
}

/* One step on the model; `before` is the model as it was before the call. */
static int step_model(const struct bound *bound, size_t i, struct model *model, const struct model *before) {
    const struct item *item = &bound->op->items[i];
    const struct tmgr_op *step = &bound->ops[i];
    const struct entry *entry = model_find(model, item->id);
    switch (step->kind) {
    case TMGR_OP_INSERT_ALL_NEW:
        if (model_find(before, item->id))
            return TMGR_PRESENT;
        model_put(model, item->id, item->stamp, item->payload);
        return TMGR_OK;
    case TMGR_OP_INSERT_NEW:
        if (!entry)
            model_put(model, item->id, item->stamp, item->payload);
        return TMGR_OK;
    case TMGR_OP_INSERT:
        model_put(model, item->id, item->stamp, item->payload);
        return TMGR_OK;
    case TMGR_OP_DELETE:
        return model_remove(model, item->id) ? TMGR_OK : TMGR_ABSENT;
    case TMGR_OP_DELETE_OBJECT:
        return model_remove_row(model, item->id, step->row, step->row_len) ? TMGR_OK : TMGR_ABSENT;
    default:
        if (!entry && item->payload == 0)
            return TMGR_ABSENT;
        if (!entry)
            model_put(model, item->id, item->stamp, item->payload);
        entry = model_find(model, item->id);
        model_restamp(model, item->id, item->stamp + (step->kind == TMGR_OP_UPDATE_COUNTER ? entry->stamp : 0));
        return TMGR_OK;
    }
}

static bool is_update(uint32_t kind) { return kind == TMGR_OP_UPDATE_COUNTER || kind == TMGR_OP_UPDATE_ELEMENT; }

/* A group of INSERT_NEW from step i on: all, or nothing if one of its keys is there. */
static void group_model(const struct bound *bound, size_t i, struct model *model) {
    const struct item *items = &bound->op->items[i];
    bool is_present = false;
    for (uint32_t j = 0; j < items->group; j++)
        is_present |= model_find(model, items[j].id) != NULL;
    for (uint32_t j = 0; j < items->group && !is_present; j++)
        model_put(model, items[j].id, items[j].stamp, items[j].payload);
}

static void apply_model(const struct bound *bound, struct model *model, struct outcome *outcome) {
    struct model before;
    for (size_t i = 0; i < bound->op->n && is_bag(model); i++)
        if (is_update(bound->ops[i].kind)) {
            outcome->status = TMGR_OPERATION;
            outcome->failed = i;
            return;
        }
    for (size_t i = 0; i < bound->op->n; i++) /* looked at before anything is done */
        if (bound->ops[i].kind == TMGR_OP_INSERT_ALL_NEW && model_find(model, bound->op->items[i].id)) {
            outcome->status = TMGR_PRESENT;
            outcome->failed = i;
            return;
        }
    model_copy(&before, model);
    for (size_t i = 0; i < bound->op->n; i++) {
        if (bound->ops[i].group > 1) {
            group_model(bound, i, model);
            i += bound->ops[i].group - 1;
            continue;
        }
        int status = step_model(bound, i, model, &before);
        bool may_miss = bound->ops[i].kind == TMGR_OP_DELETE || bound->ops[i].kind == TMGR_OP_DELETE_OBJECT ||
                        bound->ops[i].kind == TMGR_OP_UPDATE_ELEMENT;
        if (status == TMGR_OK || may_miss)
            continue;
        outcome->status = status;
        outcome->failed = i;
        model_free(model);
        *model = before;
        return;
    }
    model_free(&before);
}

static int replace_model(const struct bound *bound, struct model *model) {
    const struct tmgr_op *step = bound->ops;
    struct entry *slot = model_slot(model, bound->op->items[0].id);
    if (!slot->row || slot->len != bound->old_len || memcmp(slot->row, bound->old_row, slot->len) != 0)
        return TMGR_ABSENT;
    struct entry entry = *slot;
    entry.row = allocate(step->row_len);
    memcpy(entry.row, step->row, step->row_len);
    entry.len = step->row_len;
    entry.n = 0;
    for (size_t at = 0; at < entry.len; at += object_len(entry.row + at, entry.len - at))
        entry.n++;
    model_remove(model, entry.id);
    if (entry.n == 0) {
        free(entry.row);
        return TMGR_OK;
    }
    model->count += entry.n;
    *model_slot(model, entry.id) = entry;
    return TMGR_OK;
}

void op_model(const struct bound *bound, struct model *model, struct outcome *outcome) {
    const struct op *op = bound->op;
    const struct item *item = op->items;
    const struct entry *entry = op->n ? model_find(model, item->id) : NULL;
    memset(outcome, 0, sizeof *outcome);
    if (is_bag(model) &&
        (op->verb == VERB_COMPARE_AND_SWAP || op->verb == VERB_UPDATE_COUNTER || op->verb == VERB_UPDATE_ELEMENT)) {
        outcome->status = TMGR_OPERATION;
        return;
    }
    size_t rows_before = model->count;
    switch (op->verb) {
    case VERB_APPLY:
        apply_model(bound, model, outcome);
        return;
    case VERB_DELETE_MANY:
        for (size_t i = 0; i < op->n; i++)
            outcome->removed += model_remove(model, op->items[i].id);
        return;
    case VERB_DELETE_ALL:
        outcome->removed = model->count;
        model_clear(model);
        return;
    case VERB_COMPARE_AND_SWAP:
        if (!entry || entry->len != bound->old_len || memcmp(entry->row, bound->old_row, entry->len) != 0) {
            outcome->status = TMGR_ABSENT;
            return;
        }
        model_put(model, item->id, item->stamp, item->payload);
        return;
    case VERB_REPLACE_ROWS:
        outcome->status = replace_model(bound, model);
        return;
    case VERB_TAKE:
        if (entry)
            outcome->digest = bytes_hash(1, entry->row, entry->len);
        break;
    default:
        break;
    }
    outcome->status = step_model(bound, 0, model, model);
    if (op->verb == VERB_DELETE_OBJECT)
        outcome->removed = rows_before - model->count;
    if (op->verb == VERB_UPDATE_COUNTER && outcome->status == TMGR_OK) {
        entry = model_find(model, item->id);
        outcome->digest = counter_digest(entry->stamp, entry->hash);
    }
}

bool outcomes_equal(const struct outcome *a, const struct outcome *b) {
    return a->status == b->status && a->removed == b->removed && a->digest == b->digest &&
           (a->failed == b->failed || a->status == TMGR_PRESENT);
}

/* -- comparing ------------------------------------------------------------------------------------------------------ */

static bool rows_equal_model(struct tmgr_table *table, const struct model *model, struct tmgr_buffer *buffer,
                             char problem[PROBLEM_MAX]) {
    for (size_t i = 0; i < model->capacity; i++) {
        const struct entry *entry = &model->entries[i];
        uint8_t key[KEY_BYTES_MAX];
        if (!entry->row)
            continue;
        size_t key_len = key_encode(key, entry->id);
        int status = tmgr_lookup(table, key, key_len, buffer);
        if (status != TMGR_OK) {
            snprintf(problem, PROBLEM_MAX, "lookup of id %llu, which is in the table: %s",
                     (unsigned long long)entry->id, tmgr_status_text(status));
            return false;
        }
        if (buffer->len != entry->len || memcmp(buffer->data, entry->row, entry->len) != 0) {
            uint64_t id = 0;
            snprintf(problem, PROBLEM_MAX, "lookup of id %llu gives another row (%zu bytes instead of %zu, %s)",
                     (unsigned long long)entry->id, buffer->len, entry->len,
                     row_is_sound(buffer->data, buffer->len, &id) ? "one that was written once" : "torn");
            return false;
        }
    }
    return true;
}

static bool scan_from(struct tmgr_table *table, const struct model *model, struct tmgr_cursor *cursor,
                      struct tmgr_buffer *buffer, char problem[PROBLEM_MAX]) {
    size_t n_rows, seen = 0;
    uint64_t id;
    for (;;) {
        buffer->len = 0;
        int status = tmgr_scan(table, cursor, 4096, buffer, &n_rows);
        if (status != TMGR_OK && status != TMGR_END) {
            snprintf(problem, PROBLEM_MAX, "scan: %s", tmgr_status_text(status));
            return false;
        }
        size_t at = 0, in_chunk = 0;
        while (at < buffer->len) {
            size_t len = object_len(buffer->data + at, buffer->len - at);
            const struct entry *entry = NULL;
            if (len && row_is_sound(buffer->data + at, len, &id))
                entry = model_find(model, id);
            if (!entry || entry->len > buffer->len - at || memcmp(entry->row, buffer->data + at, entry->len) != 0) {
                snprintf(problem, PROBLEM_MAX, "scan gives a row that is not in the table, or not all of its key's");
                return false;
            }
            at += entry->len;
            in_chunk += entry->n;
        }
        if (status == TMGR_OK && in_chunk != n_rows) {
            snprintf(problem, PROBLEM_MAX, "scan counts %zu rows and gives %zu", n_rows, in_chunk);
            return false;
        }
        seen += in_chunk;
        if (status == TMGR_END)
            break;
    }
    if (seen != model->count) {
        snprintf(problem, PROBLEM_MAX, "scan gives %zu rows of %zu", seen, model->count);
        return false;
    }
    return true;
}

static bool scan_equals_model(struct tmgr_table *table, const struct model *model, struct tmgr_buffer *buffer,
                              char problem[PROBLEM_MAX]) {
    struct tmgr_cursor cursor = {0};
    bool equal = scan_from(table, model, &cursor, buffer, problem);
    tmgr_buffer_free(&cursor.last);
    return equal;
}

bool table_equals_model(struct tmgr_table *table, const struct model *model, char problem[PROBLEM_MAX]) {
    struct tmgr_buffer buffer = {0};
    uint64_t rows = 0;
    bool equal = rows_equal_model(table, model, &buffer, problem);
    int status = TMGR_OK;
    if (equal && ((status = tmgr_len(table, &rows)) != TMGR_OK || rows != model->count)) {
        snprintf(problem, PROBLEM_MAX, "len is %llu instead of %zu (%s)", (unsigned long long)rows, model->count,
                 tmgr_status_text(status));
        equal = false;
    }
    equal = equal && scan_equals_model(table, model, &buffer, problem);
    tmgr_buffer_free(&buffer);
    return equal;
}

static size_t random_payload(struct random *random) {
    uint64_t kind = random_below(random, 200);
    if (kind == 0)
        return 9000 + (size_t)random_below(random, 20000);
    if (kind < 10)
        return 500 + (size_t)random_below(random, 3000);
    return 1 + (size_t)random_below(random, 150);
}

void op_random(struct op *op, struct random *random, uint64_t id_bound) {
    static const enum verb weights[] = {
        VERB_INSERT,         VERB_INSERT,           VERB_INSERT,
        VERB_INSERT,         VERB_INSERT_NEW,       VERB_INSERT_NEW,
        VERB_DELETE,         VERB_DELETE,           VERB_TAKE,
        VERB_DELETE_OBJECT,  VERB_COMPARE_AND_SWAP, VERB_UPDATE_COUNTER,
        VERB_UPDATE_COUNTER, VERB_UPDATE_ELEMENT,   VERB_APPLY,
        VERB_APPLY,
    };
    op->verb = weights[random_below(random, sizeof weights / sizeof *weights)];
    op->n = op->verb == VERB_APPLY ? 1 + (size_t)random_below(random, 12) : 1;
    uint64_t rare = random_below(random, 400);
    if (rare == 0) {
        op->verb = VERB_DELETE_ALL;
        op->n = 0;
    } else if (rare < 4) {
        op->verb = VERB_DELETE_MANY;
        op->n = 1 + (size_t)random_below(random, 8);
    }
    bool may_fail = random_below(random, 8) == 0;
    for (size_t i = 0; i < op->n; i++) {
        struct item *item = &op->items[i];
        item->kind = (uint32_t)random_below(random, 7);
        item->group = 0;
        if (item->kind == TMGR_OP_INSERT_ALL_NEW && !may_fail)
            item->kind = TMGR_OP_INSERT;
        item->id = random_below(random, id_bound);
        item->stamp = 1 + random_below(random, 70000);
        item->payload = random_payload(random);
        bool is_update = op->verb == VERB_UPDATE_COUNTER || op->verb == VERB_UPDATE_ELEMENT ||
                         item->kind == TMGR_OP_UPDATE_COUNTER || item->kind == TMGR_OP_UPDATE_ELEMENT;
        if (is_update && may_fail)
            item->payload = 0;
        if (op->verb == VERB_DELETE_OBJECT && random_below(random, 4) != 0)
            item->payload = 0;
    }
}

/* Refused for want of memory, rightly: less is left than what the write takes and what stripes may keep, a page of each size
 * class. Nothing was done then. */
static bool is_refused(struct tmgr_table *table, const struct op *op, int status) {
    enum { CLASSES = 36, PAGE = 4096 };
    struct tmgr_info info;
    uint64_t payload = 0;
    bool only_deletes =
        op->verb == VERB_DELETE || op->verb == VERB_TAKE || op->verb == VERB_DELETE_MANY || op->verb == VERB_DELETE_ALL;
    if (status != TMGR_FULL || only_deletes || tmgr_describe(table, &info) != TMGR_OK || info.max_bytes == 0)
        return false;
    for (size_t i = 0; i < op->n; i++)
        payload += op->items[i].payload;
    return info.bytes_used + 2 * payload + (uint64_t)info.n_stripes * CLASSES * PAGE > info.max_bytes;
}

bool run_mixed(struct tmgr_table *table, struct model *model, uint64_t seed, size_t n, uint64_t id_bound,
               char problem[PROBLEM_MAX]) {
    struct random random = random_from(seed);
    struct op op;
    struct bound bound;
    struct outcome got, wanted;
    for (size_t i = 0; i < n; i++) {
        op_random(&op, &random, id_bound);
        op_bind(&bound, &op, model);
        op_run(&bound, table, WAIT_NS, &got);
        wanted = got;
        if (!is_refused(table, &op, got.status))
            op_model(&bound, model, &wanted);
        bound_free(&bound);
        uint64_t rows = 0;
        bool equal = outcomes_equal(&got, &wanted);
        if (equal && tmgr_len(table, &rows) == TMGR_OK && rows == model->count)
            continue;
        char text[PROBLEM_MAX / 2];
        op_text(&op, text, sizeof text);
        if (equal)
            snprintf(problem, PROBLEM_MAX, "mixed %zu: len %llu instead of %zu after %s", i, (unsigned long long)rows,
                     model->count, text);
        else
            snprintf(problem, PROBLEM_MAX, "mixed %zu: %s (removed %llu, failed %zu) instead of %s (%llu, %zu)%s: %s",
                     i, tmgr_status_text(got.status), (unsigned long long)got.removed, got.failed,
                     tmgr_status_text(wanted.status), (unsigned long long)wanted.removed, wanted.failed,
                     got.status == wanted.status ? ", or other bytes" : "", text);
        return false;
    }
    return true;
}

struct first_problem {
    char *text;
    bool is_taken;
};

static void keep_first(void *context, const char *problem) {
    struct first_problem *first = context;
    if (!first->is_taken)
        snprintf(first->text, PROBLEM_MAX, "check: %s", problem);
    first->is_taken = true;
}

bool check_is_clean(struct tmgr_table *table, bool repair, char problem[PROBLEM_MAX]) {
    struct first_problem first = {problem, false};
    int status = tmgr_check(table, repair, keep_first, &first, WAIT_NS);
    if (status != TMGR_OK && !first.is_taken)
        snprintf(problem, PROBLEM_MAX, "check%s: %s", repair ? " with repair" : "", tmgr_status_text(status));
    return status == TMGR_OK && !first.is_taken;
}
