/* SPDX-License-Identifier: Apache-2.0 */
/* match_eval.c - see match_eval.h. A stack machine over encoded terms: what an instruction takes from the row or the
 * program it only points to. Each function here that gives a verdict leaves its result in *out. */
#include "match_eval.h"

#include <string.h>

#include "arithmetic.h"
#include "match_code.h"
#include "number.h"
#include "order.h"
#include "same.h"
#include "term.h"
#include "view.h"

static const uint8_t false_term[] = {0xc2};
static const uint8_t true_term[] = {0xc3};

static struct match_value value_of(bool is_true) {
    const uint8_t *at = is_true ? true_term : false_term;
    return (struct match_value){at, at + 1};
}

static size_t length_of(struct match_value value) { return (size_t)(value.end - value.at); }

static bool is_bool(struct match_value value) { return value.at[0] == 0xc2 || value.at[0] == 0xc3; }

static bool is_true(struct match_value value) { return value.at[0] == 0xc3; }

static bool is_same(struct match_value a, struct match_value b) {
    return same_terms(a.at, length_of(a), b.at, length_of(b));
}

static enum match_verdict verdict_of(bool done) { return done ? MATCH_APPLIES : MATCH_FAILS; }

/* -- making ------------------------------------------------------------------------------------------------------------ */

/* Room for `most` bytes, of which as many are taken as `keep` is told. */
static enum match_verdict room(struct match_machine *machine, size_t most, uint8_t **at) {
    if (most > MATCH_MADE_MAX || machine->made_len > MATCH_MADE_MAX - most) {
        return MATCH_FAILS;
    }
    if (most > machine->made_capacity - machine->made_len) {
        machine->made_wanted = machine->made_len + most;
        return MATCH_STOPPED;
    }
    *at = machine->made + machine->made_len;
    return MATCH_APPLIES;
}

static struct match_value keep(struct match_machine *machine, uint8_t *at, size_t len) {
    machine->made_len += len;
    return (struct match_value){at, at + len};
}

/* A tuple of the array that begins with `header` and goes on with n pieces of bytes. */
static enum match_verdict make(struct match_machine *machine, const uint8_t *header, size_t header_len,
                               const struct match_value *pieces, size_t n, bool is_tuple, struct match_value *out) {
    size_t payload = header_len;
    for (size_t i = 0; i < n; i++) {
        payload += length_of(pieces[i]);
    }
    uint8_t *at;
    enum match_verdict verdict = room(machine, payload + TERM_HEADER_MAX, &at);
    if (verdict != MATCH_APPLIES) {
        return verdict;
    }
    size_t len = is_tuple ? term_write_extension(at, TERM_TUPLE, payload) : 0;
    memcpy(at + len, header, header_len);
    len += header_len;
    for (size_t i = 0; i < n; i++) {
        memcpy(at + len, pieces[i].at, length_of(pieces[i]));
        len += length_of(pieces[i]);
    }
    *out = keep(machine, at, len);
    return MATCH_APPLIES;
}

static enum match_verdict make_sequence(struct match_machine *machine, uint8_t op, const struct match_value *items,
                                        uint32_t n, struct match_value *out) {
    uint8_t header[TERM_HEADER_MAX];
    size_t len = term_write_array(header, n);
    return make(machine, header, len, items, n, op == MATCH_MAKE_TUPLE, out);
}

/* Where two keys are the same, the first keeps its place and takes the other's value, as in Python. */
static enum match_verdict make_dict(struct match_machine *machine, struct match_value *items, uint32_t n,
                                    struct match_value *out) {
    uint8_t header[TERM_HEADER_MAX];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!order_check_key(items[2 * i].at, length_of(items[2 * i]))) {
            return MATCH_FAILS;
        }
        uint32_t place = 0;
        while (place < kept && !is_same(items[2 * place], items[2 * i])) {
            place++;
        }
        items[2 * place] = items[2 * i];
        items[2 * place + 1] = items[2 * i + 1];
        kept += place == kept ? 1 : 0;
    }
    size_t len = term_write_map(header, kept);
    return make(machine, header, len, items, 2 * (size_t)kept, false, out);
}

static enum match_verdict make_row(struct match_machine *machine, struct match_value *out) {
    return make(machine, machine->row.at, length_of(machine->row), NULL, 0, true, out);
}

static enum match_verdict make_int(struct match_machine *machine, uint64_t value, struct match_value *out) {
    uint8_t *at;
    enum match_verdict verdict = room(machine, TERM_INT_MAX, &at);
    if (verdict == MATCH_APPLIES) {
        *out = keep(machine, at, term_write_uint64(at, value));
    }
    return verdict;
}

/* -- taking apart ------------------------------------------------------------------------------------------------------ */

static bool is_sequence(const struct view *view) { return view->kind == VIEW_TUPLE || view->kind == VIEW_LIST; }

/* Element i of a tuple's or list's view. */
static bool find_element(const struct view *view, uint64_t i, struct match_value *out) {
    const uint8_t *end = view->payload + view->len;
    size_t before;
    if (i >= view->count || !term_skip_many(view->payload, end, i, &before)) {
        return false;
    }
    size_t len = term_skip(view->payload + before, end);
    *out = (struct match_value){view->payload + before, view->payload + before + len};
    return len > 0;
}

static bool find_position(struct match_value value, uint32_t position, struct match_value *out) {
    struct view view;
    view_read(&view, value.at, value.end);
    return is_sequence(&view) && find_element(&view, position, out);
}

static bool find_at(struct match_value sequence, struct match_value position, struct match_value *out) {
    struct view view;
    struct number number;
    view_read(&view, sequence.at, sequence.end);
    return is_sequence(&view) && number_read(position.at, position.end, &number) > 0 && number.kind == NUMBER_SMALL &&
           number.small >= 0 && find_element(&view, (uint64_t)number.small, out);
}

/* False: it is no dict, or a malformed one. *found: whether it has the key. */
static bool find_key(struct match_value dict, struct match_value key, bool *found, struct match_value *out) {
    struct view view;
    view_read(&view, dict.at, dict.end);
    *found = false;
    if (view.kind != VIEW_DICT) {
        return false;
    }
    const uint8_t *at = view.payload;
    for (uint32_t i = 0; i < view.count; i++) {
        size_t key_len = term_skip(at, dict.end);
        size_t len = key_len == 0 ? 0 : term_skip(at + key_len, dict.end);
        if (len == 0) {
            return false;
        }
        if (is_same((struct match_value){at, at + key_len}, key)) {
            *found = true;
            *out = (struct match_value){at + key_len, at + key_len + len};
            return true;
        }
        at += key_len + len;
    }
    return true;
}

static enum match_verdict make_rest(struct match_machine *machine, struct match_value list, struct match_value *out) {
    struct view view;
    struct match_value first;
    uint8_t header[TERM_HEADER_MAX];
    view_read(&view, list.at, list.end);
    if (view.kind != VIEW_LIST || !find_element(&view, 0, &first)) {
        return MATCH_FAILS;
    }
    struct match_value rest = {first.end, list.end};
    return make(machine, header, term_write_array(header, view.count - 1), &rest, 1, false, out);
}

/* Code points of UTF-8: bytes that continue none. */
static uint64_t count_characters(const uint8_t *at, size_t len) {
    uint64_t n = 0;
    for (size_t i = 0; i < len; i++) {
        n += (at[i] & 0xc0) != 0x80;
    }
    return n;
}

static bool measure(struct match_value value, bool only_lists, uint64_t *size) {
    struct view view;
    view_read(&view, value.at, value.end);
    if (only_lists && view.kind != VIEW_LIST) {
        return false;
    }
    switch (view.kind) {
    case VIEW_STR:
        *size = count_characters(view.payload, view.len);
        return true;
    case VIEW_BYTES:
    case VIEW_BYTEARRAY:
        *size = view.len;
        return true;
    case VIEW_TUPLE:
    case VIEW_LIST:
    case VIEW_DICT:
    case VIEW_SET:
    case VIEW_FROZENSET:
        *size = view.count;
        return true;
    default:
        return false;
    }
}

static bool is_of_kind(struct match_value value, uint32_t kinds) {
    struct view view;
    view_read(&view, value.at, value.end);
    if (view.kind == VIEW_NUMBER) {
        return (kinds & (view.number.kind == NUMBER_FLOAT ? MATCH_IS_FLOAT : MATCH_IS_INT)) != 0;
    }
    return (kinds >> view.kind & 1) != 0;
}

/* -- instructions ------------------------------------------------------------------------------------------------------ */

/* By reference here: the halves of a value that was just pushed are still on their way to memory, one by one. */
static inline int compare(const struct match_value *a, const struct match_value *b) {
    int64_t small, other;
    if (number_read_small(a->at, a->end, &small) && number_read_small(b->at, b->end, &other)) {
        return (small > other) - (small < other);
    }
    if (a->at[0] == 0xcb && b->at[0] == 0xcb) {
        struct number real, other_real;
        if (number_read(a->at, a->end, &real) > 0 && number_read(b->at, b->end, &other_real) > 0) {
            return number_compare(&real, &other_real);
        }
    }
    return order_compare(a->at, length_of(*a), b->at, length_of(*b));
}

static inline bool holds(uint8_t op, const struct match_value *a, const struct match_value *b) {
    if (op == MATCH_IS_SAME) {
        return is_same(*a, *b);
    }
    int order = compare(a, b);
    switch (op) {
    case MATCH_EQUAL:
        return order == 0;
    case MATCH_NOT_EQUAL:
        return order != 0;
    case MATCH_LESS:
        return order < 0;
    case MATCH_LESS_EQUAL:
        return order <= 0;
    case MATCH_GREATER:
        return order > 0;
    default: /* GREATER_EQUAL */
        return order >= 0;
    }
}

static bool connect(uint8_t op, struct match_value a, struct match_value b, struct match_value *out) {
    if (!is_bool(a) || !is_bool(b)) {
        return false;
    }
    bool first = is_true(a);
    bool second = is_true(b);
    *out = value_of(op == MATCH_AND ? first && second : op == MATCH_OR ? first || second : first != second);
    return true;
}

static enum match_verdict calculate(struct match_machine *machine, uint32_t op, struct match_value a,
                                    struct match_value b, struct match_value *out) {
    uint8_t *at;
    enum match_verdict verdict = room(machine, ARITHMETIC_MAX, &at);
    if (verdict != MATCH_APPLIES) {
        return verdict;
    }
    size_t len = arithmetic((enum arithmetic_op)op, a.at, a.end, b.at, b.end, at);
    *out = keep(machine, at, len);
    return verdict_of(len > 0);
}

/* Of one value. */
static enum match_verdict with_one(struct match_machine *machine, uint8_t op, struct match_value a,
                                   struct match_value *out) {
    struct view view;
    uint64_t size;
    switch (op) {
    case MATCH_NOT:
        *out = value_of(!is_true(a));
        return verdict_of(is_bool(a));
    case MATCH_SIZE:
    case MATCH_LENGTH:
        return measure(a, op == MATCH_LENGTH, &size) ? make_int(machine, size, out) : MATCH_FAILS;
    case MATCH_FIRST:
        return verdict_of(find_position(a, 0, out));
    case MATCH_LAST:
        view_read(&view, a.at, a.end);
        return verdict_of(is_sequence(&view) && view.count > 0 && find_element(&view, view.count - 1, out));
    case MATCH_REST:
        return make_rest(machine, a, out);
    default: /* BOOL */
        *out = a;
        return verdict_of(is_bool(a));
    }
}

/* Of two values; the result takes the place of the first. */
static enum match_verdict with_two(uint8_t op, struct match_value *a, const struct match_value *b) {
    bool found;
    switch (op) {
    case MATCH_AND:
    case MATCH_OR:
    case MATCH_XOR:
        return verdict_of(connect(op, *a, *b, a));
    case MATCH_MIN:
        *a = compare(b, a) < 0 ? *b : *a;
        return MATCH_APPLIES;
    case MATCH_MAX:
        *a = compare(b, a) > 0 ? *b : *a;
        return MATCH_APPLIES;
    case MATCH_ELEMENT:
        return verdict_of(find_at(*a, *b, a));
    case MATCH_MAP_GET:
        return verdict_of(find_key(*a, *b, &found, a) && found);
    default: /* IS_MAP_KEY */
        if (!find_key(*a, *b, &found, a)) {
            return MATCH_FAILS;
        }
        *a = value_of(found);
        return MATCH_APPLIES;
    }
}

/* Element of the row; no copy of the row is made for it. */
static bool find_in_row(const struct match_machine *machine, uint32_t position, struct match_value *out) {
    struct term_span span;
    if (!term_element(machine->row.at, length_of(machine->row), position, &span)) {
        return false;
    }
    *out = (struct match_value){machine->row.at + span.offset, machine->row.at + span.offset + span.len};
    return true;
}

/* Whether nothing in the term lies deeper than a row's element may; *at moves behind it. */
static bool is_shallow(const uint8_t **at, const uint8_t *end, unsigned depth) {
    struct view view;
    view_read(&view, *at, end);
    bool is_container = view.kind >= VIEW_TUPLE && view.kind <= VIEW_FROZENSET;
    if (is_container && depth == TERM_DEPTH) {
        return false;
    }
    const uint8_t *inside = view.payload;
    uint64_t n = !is_container ? 0 : view.kind == VIEW_DICT ? 2 * (uint64_t)view.count : view.count;
    for (; n > 0; n--) {
        if (!is_shallow(&inside, view.payload + view.len, depth + 1)) {
            return false;
        }
    }
    *at = view.behind != NULL ? view.behind : inside;
    return view.kind != VIEW_MALFORMED;
}

static bool may_return(const struct match_machine *machine, struct match_value value) {
    const uint8_t *at = value.at;
    /* What was not made has the depth that it was stored with; each level has a byte at least. */
    return machine->made_len == 0 || length_of(value) <= TERM_DEPTH || is_shallow(&at, value.end, 0);
}

/* Push one of the values that are there. *code stands on the operands and moves behind them. */
static enum match_verdict push(struct match_machine *machine, uint8_t op, const uint8_t **code,
                               struct match_value *out) {
    uint32_t word;
    if (op == MATCH_ROW) {
        return make_row(machine, out);
    }
    word = match_word(*code);
    *code += 4;
    if (op == MATCH_CONSTANT) {
        *out = (struct match_value){*code, *code + word};
        *code += word;
        return MATCH_APPLIES;
    }
    if (op == MATCH_VARIABLE) {
        *out = machine->slots[word];
        return MATCH_APPLIES;
    }
    return verdict_of(find_in_row(machine, word, out));
}

/* Instructions whose operand is a word that makes a part of their meaning. *top is behind the topmost value. */
static enum match_verdict with_word(struct match_machine *machine, uint8_t op, uint32_t word,
                                    struct match_value **top) {
    struct match_value *values;
    enum match_verdict verdict;
    switch (op) {
    case MATCH_IS:
        (*top)[-1] = value_of(is_of_kind((*top)[-1], word));
        return MATCH_APPLIES;
    case MATCH_UNARY:
        return calculate(machine, word, (*top)[-1], (*top)[-1], &(*top)[-1]);
    case MATCH_BINARY:
        --*top;
        return calculate(machine, word, (*top)[-1], (*top)[0], &(*top)[-1]);
    default: /* MAKE_TUPLE, MAKE_LIST, MAKE_DICT */
        values = *top - (op == MATCH_MAKE_DICT ? 2 * (size_t)word : word);
        struct match_value made;
        verdict = op == MATCH_MAKE_DICT ? make_dict(machine, values, word, &made)
                                        : make_sequence(machine, op, values, word, &made);
        if (verdict == MATCH_APPLIES) {
            values[0] = made;
            *top = values + 1;
        }
        return verdict;
    }
}

enum match_verdict match_eval(struct match_machine *machine, const uint8_t *code, struct match_value *result,
                              bool *is_row) {
    struct match_value *top = machine->stack; /* behind the topmost value */
    enum match_verdict verdict = MATCH_APPLIES;
    while (verdict == MATCH_APPLIES) {
        uint8_t op = *code++;
        uint32_t word;
        if (op <= MATCH_ROW_ITEM) {
            verdict = push(machine, op, &code, top++);
            continue;
        }
        switch (op) {
        case MATCH_RETURN:
            *result = top[-1];
            *is_row = false;
            return verdict_of(may_return(machine, *result));
        case MATCH_RETURN_ROW:
            *result = machine->row;
            *is_row = true;
            return MATCH_APPLIES;
        case MATCH_REQUIRE:
            top--;
            verdict = verdict_of(is_true(*top));
            break;
        case MATCH_AND_THEN:
        case MATCH_OR_ELSE:
            verdict = verdict_of(is_bool(top[-1]));
            word = match_word(code);
            code += 4;
            if (is_true(top[-1]) == (op == MATCH_OR_ELSE)) {
                code += word;
            } else {
                top--;
            }
            break;
        case MATCH_IS:
        case MATCH_UNARY:
        case MATCH_BINARY:
        case MATCH_MAKE_TUPLE:
        case MATCH_MAKE_LIST:
        case MATCH_MAKE_DICT:
            word = match_word(code);
            code += 4;
            verdict = with_word(machine, op, word, &top);
            break;
        case MATCH_NOT:
        case MATCH_SIZE:
        case MATCH_LENGTH:
        case MATCH_FIRST:
        case MATCH_LAST:
        case MATCH_REST:
        case MATCH_BOOL:
            verdict = with_one(machine, op, top[-1], &top[-1]);
            break;
        default:
            top--;
            if (op <= MATCH_IS_SAME) {
                top[-1] = value_of(holds(op, &top[-1], &top[0]));
            } else {
                verdict = with_two(op, &top[-1], &top[0]);
            }
            break;
        }
    }
    return verdict;
}
