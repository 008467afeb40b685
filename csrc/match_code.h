/* SPDX-License-Identifier: Apache-2.0 */
/* match_code.h - programs of patterns, guards and bodies: their layout, and the verification that makes them harmless.
 *
 * Scope. Bytes in, a verdict out; nothing is allocated, nothing runs. A program that was verified needs no checks when
 * it runs: every operand lies in it, every jump leads forward to an instruction, the stack neither under- nor overflows,
 * and a slot is read only where the pattern has bound it before.
 *
 * Layout. Words are 32 bits in the machine's order, unaligned: a program never leaves the machine.
 *     header    magic, length of all, number of clauses, number of slots
 *     clauses   for each the offset and length of: code, key, prefix (length 0: none); 6 words
 *     bytes     what the offsets name
 * key is the encoded key that every row has which the clause matches; prefix is an encoded tuple with which the key, a
 * tuple, begins by value. So clauses with a key are lookups, those with a prefix ranges of an ordered_set.
 * Code is a pattern, then expressions in postfix form: each guard with REQUIRE behind it, then the body with RETURN
 * behind it, or RETURN_ROW. An instruction is a byte and, where it says so below, operands: words, or encoded terms
 * whose length a word before them has. */
#ifndef TABLEMGR_MATCH_CODE_H
#define TABLEMGR_MATCH_CODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { MATCH_MAGIC = 0x314d4754, MATCH_HEADER_BYTES = 16, MATCH_CLAUSE_BYTES = 24 };
enum { MATCH_SLOTS_MAX = 256, MATCH_STACK_MAX = 65536, MATCH_NESTING_MAX = 200 };

enum match_op {
    /* Patterns: one for each term, in the row's order. */
    MATCH_ANY,
    MATCH_BIND,     /* slot */
    MATCH_SAME,     /* slot, bound before */
    MATCH_LITERAL,  /* length, encoded term */
    MATCH_ROW_OF,   /* n, m: the row, of n elements, the first m of which have patterns, which follow */
    MATCH_TUPLE_OF, /* n, m */
    MATCH_LIST_OF,  /* n, m */
    MATCH_DICT_OF,  /* n: then n times length, encoded key, pattern of the value */
    /* Values: each pushes one. */
    MATCH_CONSTANT, /* length, encoded term */
    MATCH_VARIABLE, /* slot, bound */
    MATCH_ROW,      /* the row as a tuple */
    MATCH_ROW_ITEM, /* position: the row's element */
    /* Of the topmost value. */
    MATCH_IS, /* bits: which kinds of view.h; MATCH_IS_INT, MATCH_IS_FLOAT */
    MATCH_NOT,
    MATCH_SIZE,   /* characters of a str, bytes, elements */
    MATCH_LENGTH, /* of a list */
    MATCH_FIRST,  /* of a list or tuple; fails on an empty one */
    MATCH_LAST,
    MATCH_REST,  /* a list without its first element; fails on an empty one */
    MATCH_UNARY, /* enum arithmetic_op from NEGATE on */
    /* Of the two topmost values. */
    MATCH_BINARY, /* enum arithmetic_op below NEGATE */
    MATCH_EQUAL,
    MATCH_NOT_EQUAL,
    MATCH_LESS,
    MATCH_LESS_EQUAL,
    MATCH_GREATER,
    MATCH_GREATER_EQUAL,
    MATCH_IS_SAME, /* by encoding */
    MATCH_AND,     /* of bools, both evaluated */
    MATCH_OR,
    MATCH_XOR,
    MATCH_MIN,
    MATCH_MAX,
    MATCH_ELEMENT,    /* of a tuple or list, position from 0 */
    MATCH_MAP_GET,    /* dict, key: its value; fails without it */
    MATCH_IS_MAP_KEY, /* dict, key */
    /* Flow, forward only: the topmost value has to be a bool. */
    MATCH_AND_THEN, /* length: False skips so many bytes and stays, True is dropped */
    MATCH_OR_ELSE,  /* length: the same with True and False */
    MATCH_BOOL,     /* fails unless it is one */
    /* Making: of the n topmost values, or 2 * n (key, value). Of equal keys the last value wins. */
    MATCH_MAKE_TUPLE, /* n */
    MATCH_MAKE_LIST,  /* n */
    MATCH_MAKE_DICT,  /* n */
    MATCH_REQUIRE,    /* drops it; the clause does not apply unless it is True */
    MATCH_RETURN,
    MATCH_RETURN_ROW, /* the row, uncopied */
    MATCH_OPS
};
enum { MATCH_IS_INT = 1 << 30, MATCH_IS_FLOAT = 1 << 29 }; /* in place of 1 << VIEW_NUMBER */

/* A part of a program. */
struct match_bytes {
    const uint8_t *at;
    uint32_t len;
};

struct match_clause {
    struct match_bytes code;
    struct match_bytes key;    /* len 0: not bound */
    struct match_bytes prefix; /* len 0: not bound */
};

/* What running a program needs. */
struct match_shape {
    uint32_t n_clauses;
    uint32_t n_slots;
    uint32_t n_stack; /* values at most at once */
    bool is_rows;     /* every body is the row itself */
};

static inline uint32_t match_word(const uint8_t *at) {
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* Whether these bytes are a program, wholly and in every part. */
bool match_verify(const uint8_t *program, size_t len, struct match_shape *shape);

/* Clause i < n_clauses of a program that was verified. */
struct match_clause match_clause_of(const uint8_t *program, uint32_t i);

#endif
