/* SPDX-License-Identifier: Apache-2.0 */
/* match.c - see match.h. Here: opening, patterns, and the choice of the clause. */
#include "match.h"

#include <stdlib.h>

#include "order.h"
#include "same.h"
#include "term.h"
#include "view.h"

/* -- opening ----------------------------------------------------------------------------------------------------------- */

enum { FIRST_MADE = 1 << 10 }; /* the least that is taken for `made`, when something is made for the first time */

enum tmgr_status match_open(struct match *match, const uint8_t *program, size_t len) {
    struct match_shape shape;
    *match = (struct match){0};
    if (!match_verify(program, len, &shape)) {
        return TMGR_BAD_OPTION;
    }
    size_t clauses = shape.n_clauses * sizeof *match->clauses;
    size_t values = ((size_t)shape.n_slots + shape.n_stack) * sizeof *match->machine.slots;
    uint8_t *memory = malloc(clauses + values + 1);
    if (memory == NULL) {
        return TMGR_NO_MEMORY;
    }
    match->n_clauses = shape.n_clauses;
    match->is_rows = shape.is_rows;
    match->clauses = (struct match_clause *)(void *)memory;
    match->machine.slots = (struct match_value *)(void *)(memory + clauses);
    match->machine.stack = match->machine.slots + shape.n_slots;
    for (uint32_t i = 0; i < shape.n_clauses; i++) {
        match->clauses[i] = match_clause_of(program, i);
    }
    return TMGR_OK;
}

void match_close(struct match *match) {
    free(match->clauses);
    free(match->machine.made);
    *match = (struct match){0};
}

/* -- patterns ---------------------------------------------------------------------------------------------------------- */

/* Where a pattern and the row stand. Recursion is as deep as the pattern nests, which was verified. */
struct matcher {
    const uint8_t *code;
    struct match_value *slots;
};

/* Match the term at *at, which then stands behind it. Where it does not match, *at and the code stand anywhere. */
static bool match_term(struct matcher *m, const uint8_t **at, const uint8_t *end);

static uint32_t take_word(struct matcher *m) {
    uint32_t word = match_word(m->code);
    m->code += 4;
    return word;
}

/* Of n elements that stand at *at; those without a pattern are left where they are. */
static bool match_elements(struct matcher *m, uint32_t n_patterns, const uint8_t **at, const uint8_t *end) {
    for (; n_patterns > 0; n_patterns--) {
        if (!match_term(m, at, end)) {
            return false;
        }
    }
    return true;
}

static bool match_sequence(struct matcher *m, enum view_kind kind, const uint8_t **at, const uint8_t *end) {
    uint32_t n = take_word(m);
    uint32_t n_patterns = take_word(m);
    struct view view;
    view_read(&view, *at, end);
    if (view.kind != kind || view.count != n) {
        return false;
    }
    const uint8_t *inside = view.payload;
    size_t rest = 0;
    if (!match_elements(m, n_patterns, &inside, view.payload + view.len) ||
        (view.behind == NULL && !term_skip_many(inside, end, n - n_patterns, &rest))) {
        return false;
    }
    *at = view.behind != NULL ? view.behind : inside + rest;
    return true;
}

/* The value of the key in the dict; NULL: it has none. */
static const uint8_t *find_item(const struct view *dict, const uint8_t *key, size_t key_len, const uint8_t *end) {
    const uint8_t *at = dict->payload;
    for (uint32_t i = 0; i < dict->count; i++) {
        size_t len = term_skip(at, end);
        if (len == 0) {
            return NULL;
        }
        if (len == key_len && memcmp(at, key, len) == 0) {
            return at + len;
        }
        at += len;
        len = term_skip(at, end);
        if (len == 0) {
            return NULL;
        }
        at += len;
    }
    return NULL;
}

static bool match_dict(struct matcher *m, const uint8_t **at, const uint8_t *end) {
    uint32_t n = take_word(m);
    struct view view;
    view_read(&view, *at, end);
    if (view.kind != VIEW_DICT || view.count < n) {
        return false;
    }
    for (; n > 0; n--) {
        uint32_t key_len = take_word(m);
        const uint8_t *value = find_item(&view, m->code, key_len, end);
        m->code += key_len;
        if (value == NULL || !match_term(m, &value, end)) {
            return false;
        }
    }
    size_t len = term_skip(*at, end);
    *at += len;
    return len > 0;
}

static bool match_literal(struct matcher *m, const uint8_t **at, const uint8_t *end) {
    uint32_t len = take_word(m);
    /* Terms delimit themselves: the row's need not be measured. */
    bool matches = (size_t)(end - *at) >= len && memcmp(*at, m->code, len) == 0;
    m->code += len;
    *at += matches ? len : 0;
    return matches;
}

static bool match_term(struct matcher *m, const uint8_t **at, const uint8_t *end) {
    uint8_t op = *m->code++;
    if (op == MATCH_LITERAL) {
        return match_literal(m, at, end);
    }
    if (op == MATCH_TUPLE_OF || op == MATCH_LIST_OF) {
        return match_sequence(m, op == MATCH_TUPLE_OF ? VIEW_TUPLE : VIEW_LIST, at, end);
    }
    if (op == MATCH_DICT_OF) {
        return match_dict(m, at, end);
    }
    struct match_value value = {*at, *at + term_skip_flat(*at, end)};
    size_t len = (size_t)(value.end - value.at);
    *at = value.end;
    if (len == 0) {
        return false;
    }
    if (op == MATCH_BIND) {
        m->slots[take_word(m)] = value;
    } else if (op == MATCH_SAME) {
        const struct match_value *bound = &m->slots[take_word(m)];
        return same_terms(bound->at, (size_t)(bound->end - bound->at), value.at, len);
    } /* else ANY */
    return true;
}

static bool match_row(struct matcher *m, const uint8_t *row, const uint8_t *end) {
    if (*m->code++ == MATCH_ANY) {
        return true;
    }
    uint32_t n = take_word(m);
    uint32_t n_patterns = take_word(m);
    uint32_t n_elements;
    size_t header = term_array(row, end, &n_elements);
    const uint8_t *at = row + header;
    return header > 0 && n_elements == n && match_elements(m, n_patterns, &at, end);
}

/* -- clauses ----------------------------------------------------------------------------------------------------------- */

static enum match_verdict run_clauses(struct match *match, struct match_result *result) {
    struct match_machine *machine = &match->machine;
    struct match_value value = {0};
    for (uint32_t i = 0; i < match->n_clauses; i++) {
        struct matcher matcher = {match->clauses[i].code.at, machine->slots};
        if (!match_row(&matcher, machine->row.at, machine->row.end)) {
            continue;
        }
        machine->made_len = 0;
        enum match_verdict verdict = match_eval(machine, matcher.code, &value, &result->is_row);
        if (verdict != MATCH_FAILS) {
            result->clause = i;
            result->at = value.at;
            result->len = (size_t)(value.end - value.at);
            return verdict;
        }
    }
    return MATCH_FAILS;
}

/* Room for what an evaluation wanted, and as much again. What was made is lost. */
static bool enlarge(struct match_machine *machine) {
    size_t capacity = 2 * machine->made_wanted > FIRST_MADE ? 2 * machine->made_wanted : FIRST_MADE;
    uint8_t *made = malloc(capacity);
    if (made == NULL) {
        return false;
    }
    free(machine->made);
    machine->made = made;
    machine->made_capacity = capacity;
    return true;
}

enum tmgr_status match_run(struct match *match, const uint8_t *row, size_t row_len, struct match_result *result) {
    struct match_machine *machine = &match->machine;
    machine->row = (struct match_value){row, row + row_len};
    for (;;) {
        enum match_verdict verdict = run_clauses(match, result);
        if (verdict != MATCH_STOPPED) {
            return verdict == MATCH_APPLIES ? TMGR_OK : TMGR_ABSENT;
        }
        if (!enlarge(machine)) {
            return TMGR_NO_MEMORY;
        }
    }
}

/* -- results ----------------------------------------------------------------------------------------------------------- */

bool match_append(const struct match_result *result, struct tmgr_buffer *out) {
    uint8_t header[TERM_HEADER_MAX];
    size_t len = result->is_row ? term_write_extension(header, TERM_TUPLE, result->len) : 0;
    return buffer_append(out, header, len) && buffer_append(out, result->at, result->len);
}

bool match_as_row(const struct match_result *result, const uint8_t **row, size_t *row_len) {
    struct view view;
    *row = result->at;
    *row_len = result->len;
    if (result->is_row) {
        return true;
    }
    view_read(&view, result->at, result->at + result->len);
    if (view.kind != VIEW_TUPLE) {
        return false;
    }
    /* The array begins behind the extension's header, which says how long it is. */
    uint8_t first = result->at[0];
    size_t header = first >= 0xd4 ? 2 : 2 + ((size_t)1 << (first - 0xc7));
    *row += header;
    *row_len -= header;
    return true;
}
