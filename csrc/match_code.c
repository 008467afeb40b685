/* SPDX-License-Identifier: Apache-2.0 */
/* match_code.c - see match_code.h. One walk over each clause's code, which keeps the height of the stack and what is
 * bound. Blocks that may be skipped nest, so the walk recurses into them, MATCH_NESTING_MAX deep at most. */
#include "match_code.h"

#include "arithmetic.h"
#include "term.h"

struct verifier {
    const uint8_t *at, *end;
    uint32_t n_slots;
    uint32_t height, n_stack; /* of the stack: now, and at most */
    bool bound[MATCH_SLOTS_MAX];
};

/* -- operands ---------------------------------------------------------------------------------------------------------- */

static bool take_word(struct verifier *v, uint32_t *word) {
    if (v->end - v->at < 4) {
        return false;
    }
    *word = match_word(v->at);
    v->at += 4;
    return true;
}

static bool take_term(struct verifier *v) {
    uint32_t len;
    if (!take_word(v, &len) || len == 0 || len > (size_t)(v->end - v->at) || term_skip(v->at, v->at + len) != len) {
        return false;
    }
    v->at += len;
    return true;
}

static bool take_slot(struct verifier *v, uint32_t *slot) { return take_word(v, slot) && *slot < v->n_slots; }

/* -- patterns ---------------------------------------------------------------------------------------------------------- */

static bool verify_pattern(struct verifier *v, unsigned depth);

static bool verify_sequence(struct verifier *v, unsigned depth) {
    uint32_t n, m;
    if (!take_word(v, &n) || !take_word(v, &m) || m > n) {
        return false;
    }
    for (; m > 0; m--) {
        if (!verify_pattern(v, depth + 1)) {
            return false;
        }
    }
    return true;
}

static bool verify_dict(struct verifier *v, unsigned depth) {
    uint32_t n;
    if (!take_word(v, &n)) {
        return false;
    }
    for (; n > 0; n--) {
        if (!take_term(v) || !verify_pattern(v, depth + 1)) {
            return false;
        }
    }
    return true;
}

static bool verify_slot(struct verifier *v, bool is_bound) {
    uint32_t slot;
    if (!take_slot(v, &slot) || v->bound[slot] != is_bound) {
        return false;
    }
    v->bound[slot] = true;
    return true;
}

/* A pattern of the row at depth 0, else of a term in it. */
static bool verify_pattern(struct verifier *v, unsigned depth) {
    if (v->at == v->end || depth > MATCH_NESTING_MAX) {
        return false;
    }
    uint8_t op = *v->at++;
    if (depth == 0) {
        return op == MATCH_ANY || (op == MATCH_ROW_OF && verify_sequence(v, depth));
    }
    switch (op) {
    case MATCH_ANY:
        return true;
    case MATCH_BIND:
    case MATCH_SAME:
        return verify_slot(v, op == MATCH_SAME);
    case MATCH_LITERAL:
        return take_term(v);
    case MATCH_TUPLE_OF:
    case MATCH_LIST_OF:
        return verify_sequence(v, depth);
    case MATCH_DICT_OF:
        return verify_dict(v, depth);
    default:
        return false;
    }
}

/* -- expressions ------------------------------------------------------------------------------------------------------- */

/* Values are taken, but only what lies above `base`, and one is pushed. */
static bool replace(struct verifier *v, uint32_t base, uint32_t taken) {
    if (v->height - base < taken || v->height - taken >= MATCH_STACK_MAX) {
        return false;
    }
    v->height = v->height - taken + 1;
    v->n_stack = v->height > v->n_stack ? v->height : v->n_stack;
    return true;
}

static bool verify_block(struct verifier *v, const uint8_t *end, uint32_t base, unsigned depth);

/* A block that may be skipped: where it is not, its one value takes the place of the bool before it. */
static bool verify_skip(struct verifier *v, const uint8_t *end, uint32_t base, unsigned depth) {
    uint32_t len;
    if (v->height == base || !take_word(v, &len) || v->at > end || len > (size_t)(end - v->at) ||
        depth > MATCH_NESTING_MAX) {
        return false;
    }
    v->height--;
    return verify_block(v, v->at + len, v->height, depth + 1);
}

static bool verify_push(struct verifier *v, uint8_t op) {
    uint32_t word;
    switch (op) {
    case MATCH_CONSTANT:
        return take_term(v);
    case MATCH_VARIABLE:
        return take_slot(v, &word) && v->bound[word];
    case MATCH_ROW_ITEM:
        return take_word(v, &word);
    default: /* ROW */
        return true;
    }
}

static bool verify_making(struct verifier *v, uint8_t op, uint32_t base) {
    uint32_t n;
    if (!take_word(v, &n) || n > MATCH_STACK_MAX) {
        return false;
    }
    return replace(v, base, op == MATCH_MAKE_DICT ? 2 * n : n);
}

static bool verify_instruction(struct verifier *v, uint8_t op, const uint8_t *end, uint32_t base, unsigned depth) {
    uint32_t word;
    if (op >= MATCH_CONSTANT && op <= MATCH_ROW_ITEM) {
        return verify_push(v, op) && replace(v, base, 0);
    }
    switch (op) {
    case MATCH_IS:
        return take_word(v, &word) && replace(v, base, 1);
    case MATCH_UNARY:
        return take_word(v, &word) && word >= ARITHMETIC_NEGATE && word < ARITHMETIC_OPS && replace(v, base, 1);
    case MATCH_BINARY:
        return take_word(v, &word) && word < ARITHMETIC_NEGATE && replace(v, base, 2);
    case MATCH_AND_THEN:
    case MATCH_OR_ELSE:
        return verify_skip(v, end, base, depth);
    case MATCH_MAKE_TUPLE:
    case MATCH_MAKE_LIST:
    case MATCH_MAKE_DICT:
        return verify_making(v, op, base);
    case MATCH_BOOL:
        return replace(v, base, 1);
    default:
        return (op >= MATCH_NOT && op <= MATCH_REST && replace(v, base, 1)) ||
               (op >= MATCH_EQUAL && op <= MATCH_IS_MAP_KEY && replace(v, base, 2));
    }
}

/* Code up to exactly `end` that leaves one value above `base`. */
static bool verify_block(struct verifier *v, const uint8_t *end, uint32_t base, unsigned depth) {
    while (v->at < end) {
        uint8_t op = *v->at++;
        if (!verify_instruction(v, op, end, base, depth) || v->at > end) {
            return false;
        }
    }
    return v->height == base + 1;
}

/* Guards and body, up to exactly the end. */
static bool verify_expressions(struct verifier *v, bool *is_row) {
    while (v->at < v->end) {
        uint8_t op = *v->at++;
        if (op == MATCH_RETURN || op == MATCH_RETURN_ROW) {
            *is_row = op == MATCH_RETURN_ROW;
            return v->at == v->end && v->height == (*is_row ? 0 : 1);
        }
        if (op == MATCH_REQUIRE) {
            if (v->height != 1) {
                return false;
            }
            v->height = 0;
        } else if (!verify_instruction(v, op, v->end, 0, 0)) {
            return false;
        }
    }
    return false;
}

/* -- the whole --------------------------------------------------------------------------------------------------------- */

static bool is_inside(const uint8_t *words, size_t len) {
    uint32_t offset = match_word(words);
    return offset <= len && match_word(words + 4) <= len - offset;
}

static bool is_term(const struct match_bytes *bytes) {
    return bytes->len == 0 || term_skip(bytes->at, bytes->at + bytes->len) == bytes->len;
}

struct match_clause match_clause_of(const uint8_t *program, uint32_t i) {
    const uint8_t *words = program + MATCH_HEADER_BYTES + (size_t)i * MATCH_CLAUSE_BYTES;
    return (struct match_clause){
        .code = {program + match_word(words), match_word(words + 4)},
        .key = {program + match_word(words + 8), match_word(words + 12)},
        .prefix = {program + match_word(words + 16), match_word(words + 20)},
    };
}

static bool verify_clause(const uint8_t *program, uint32_t i, struct match_shape *shape) {
    struct match_clause clause = match_clause_of(program, i);
    struct verifier v = {.at = clause.code.at, .end = clause.code.at + clause.code.len, .n_slots = shape->n_slots};
    bool is_row = false;
    if (!is_term(&clause.key) || !is_term(&clause.prefix) || !verify_pattern(&v, 0) ||
        !verify_expressions(&v, &is_row)) {
        return false;
    }
    shape->is_rows = shape->is_rows && is_row;
    shape->n_stack = v.n_stack > shape->n_stack ? v.n_stack : shape->n_stack;
    return true;
}

bool match_verify(const uint8_t *program, size_t len, struct match_shape *shape) {
    if (len < MATCH_HEADER_BYTES || match_word(program) != MATCH_MAGIC || match_word(program + 4) != len) {
        return false;
    }
    *shape = (struct match_shape){match_word(program + 8), match_word(program + 12), 0, true};
    size_t room = len - MATCH_HEADER_BYTES;
    if (shape->n_clauses > room / MATCH_CLAUSE_BYTES || shape->n_slots > MATCH_SLOTS_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < shape->n_clauses; i++) {
        const uint8_t *words = program + MATCH_HEADER_BYTES + (size_t)i * MATCH_CLAUSE_BYTES;
        if (!is_inside(words, len) || !is_inside(words + 8, len) || !is_inside(words + 16, len) ||
            !verify_clause(program, i, shape)) {
            return false;
        }
    }
    return true;
}
