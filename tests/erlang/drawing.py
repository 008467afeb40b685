# SPDX-License-Identifier: Apache-2.0
"""Random sequences of operations that ETS and a table both have, on few keys, with faults now and then."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tablemgr import match_functions, matching
from tests.erlang.operations import Abilities, Operation, Row, Setting

BIG = 10**20
NUMBERS: list[Any] = [*range(-3, 10), 0.0, 0.5, 1.0, 2.0, -1.5, 2**53, 2.0**53, 2**53 + 1, BIG, 1e20, -(2**70), 2**64]
STRINGS: list[Any] = ["", "a", "a\0", "ab", "b", "é", "\N{GRINNING FACE}", "long" * 50]
NAMES: list[Any] = [None, False, True]
BYTES: list[Any] = [b"", b"a", b"\xff"]
PLAIN = [*NUMBERS, *STRINGS, *NAMES, *BYTES]
FAMILIES: list[Callable[[random.Random, list[Any]], Any]] = [
    lambda rng, numbers: rng.choice(numbers),
    lambda rng, numbers: rng.choice(numbers + STRINGS + BYTES),
    lambda rng, _: rng.choice(NAMES + STRINGS + BYTES),
    lambda rng, numbers: (rng.choice(numbers), rng.choice(numbers + STRINGS)),
    lambda rng, _: ((rng.choice(STRINGS), rng.randrange(3)), rng.randrange(3)),
]


def replace(clause: matching.Clause, **parts: Any) -> matching.Clause:
    """The clause with other parts."""
    return matching.Clause(**{"head": clause.head, "guards": clause.guards, "body": clause.body, **parts})


def any_key(rng: random.Random, numbers: list[Any]) -> Any:
    """A key of any kind, tuples of tuples included."""
    if rng.random() < 0.7:
        return rng.choice([*numbers, *STRINGS, *NAMES, *BYTES])
    return tuple(any_key(rng, numbers) for _ in range(rng.randrange(4)))


def any_value(rng: random.Random) -> Any:
    """A value of any kind that both have."""
    chance = rng.random()
    if chance < 0.75:
        return rng.choice(PLAIN)
    parts = [any_value(rng) for _ in range(rng.randrange(3))]
    if chance < 0.85:
        return tuple(parts)
    return parts if chance < 0.93 else dict(zip(rng.sample(["a", "b", 1, None], 2), parts, strict=False))


def _has_holes(pattern: Any) -> bool:
    if isinstance(pattern, (tuple, list)):
        return any(map(_has_holes, pattern))
    if isinstance(pattern, dict):
        return any(map(_has_holes, pattern.values()))
    return pattern is matching.ANY or isinstance(pattern, matching.Variable)


class Draw:
    """Draws the operations of one sequence, of what this Erlang has."""

    def __init__(self, rng: random.Random, type: str, has: Abilities) -> None:
        self.rng = rng
        self.has = has
        self.splits_lists = type in ("bag", "duplicate_bag") and not has.keeps_lists
        alike = rng.random() < 0.8
        self.setting = Setting(type, rng.choice([0, 0, 0, 1, 2]), alike)
        self.family = rng.choice(FAMILIES) if alike else any_key
        self.numbers = NUMBERS + [-0.0] * has.signs_zero
        self.pool = [self.family(rng, self.numbers) for _ in range(rng.choice([3, 10, 30]))]
        self.rows: list[Row] = []

    def sequence(self, length: int) -> list[Operation]:
        """So many operations, and a look at what is left."""
        drawn = [Operation("insert", (self.list_of_rows(self.rng.randrange(20)),))]
        drawn += [self._operation() for _ in range(length)]
        left = [Operation(verb, ()) for verb in ("rows", "contents", "keys")]
        return [*drawn, *left, *(Operation("lookup", (key,)) for key in self.pool)]

    def key(self) -> Any:
        """A key that is probably in the table, or its neighbour."""
        return self.rng.choice(self.pool) if self.rng.random() < 0.9 else self.family(self.rng, self.numbers)

    def row(self) -> Row:
        """A row, with a number after the key as a rule."""
        rng = self.rng
        before = [any_value(rng) for _ in range(self.setting.keypos)]
        after = [any_value(rng) for _ in range(rng.choice([0, 0, 0, 1, 2]))]
        if rng.random() < 0.9:
            after.insert(0, rng.choice([rng.randrange(-5, 20), rng.choice(NUMBERS)]))
        row = (*before, self.key(), *after)
        self.rows.append(row)
        return row

    def known_row(self) -> Row:
        """A row that was put in at some time, or one that is nearly that."""
        rng = self.rng
        if not self.rows or rng.random() < 0.1:
            return self.row()
        row = list(rng.choice(self.rows[-20:]))
        if rng.random() < 0.2:
            row[rng.randrange(len(row))] = any_value(rng)
            row[self.setting.keypos] = self.key()
        return tuple(row)

    def list_of_rows(self, count: int) -> list[Row]:
        """So many rows, or fewer where none may have the key of another."""
        rows = [self.row() for _ in range(count)]
        if not self.splits_lists:
            return rows
        return list({repr(row[self.setting.keypos]): row for row in rows}.values())

    def rows_to_insert(self) -> Any:
        """A row or a list of rows; now and then what is no row."""
        rng = self.rng
        chance = rng.random()
        if chance < 0.55:
            return self.row()
        rows = self.list_of_rows(rng.choice([0, 1, 2, 3, 5, 20]))
        if chance < 0.95:
            return rows
        bad: Any = rng.choice([(), 5, "row", None, (1,) * self.setting.keypos])
        if rng.random() < 0.4:
            return bad
        rows.insert(rng.randrange(len(rows) + 1), bad)
        return rows

    def position(self) -> Any:
        """A position, which may be outside the row or that of the key."""
        return self.rng.choice([-1, 0, 1, 1, 1, 2, 2, 3, 4, 9])

    def count(self) -> Any:
        """An increment, threshold or reset value."""
        return self.rng.choice([-(2**65), -7, -1, 0, 1, 1, 2, 3, 10, BIG] * 3 + [1.5, "1"])

    def counter_op(self) -> Any:
        """One (pos, n) or (pos, n, threshold, reset)."""
        position = self.setting.keypos + 1 if self.rng.random() < 0.8 else self.position()
        if self.rng.random() < 0.5:
            return position, self.count()
        return position, self.count(), self.count(), self.count()

    def update_counter(self) -> Operation:
        """In all its forms."""
        rng = self.rng
        op: Any = rng.choice([self.count, self.counter_op, self.counter_ops])()
        return Operation("update_counter", (self.key(), op, *self.default(0.5)))

    def counter_ops(self) -> Any:
        """A list of them."""
        return [self.counter_op() for _ in range(self.rng.randrange(4))]

    def default(self, probability: float) -> list[Row]:
        """A default row, or none."""
        return [self.row()] if self.rng.random() < probability else []

    def update_element(self) -> Operation:
        """In all its forms."""
        rng = self.rng
        specs = [
            (self.setting.keypos + 1 if rng.random() < 0.6 else self.position(), any_value(rng))
            for _ in range(rng.randrange(4))
        ]
        spec: Any = specs[0] if len(specs) == 1 and rng.random() < 0.8 else specs
        default = self.default(0.4) if ("update_element", 4) in self.has.functions else []
        return Operation("update_element", (self.key(), spec, *default))

    def lookup_element(self) -> Operation:
        """With and without default."""
        default = [None] if ("lookup_element", 4) in self.has.functions and self.rng.random() < 0.5 else []
        return Operation("lookup_element", (self.key(), self.position(), *default))

    def step(self) -> Operation:
        """A step of a traversal in an ordered_set, from any key."""
        rng = self.rng
        verb = rng.choice(["first", "last", "next", "prev"])
        args = (self.key(),) if verb in ("next", "prev") else ()
        if (f"{verb}_lookup", 1 + len(args)) in self.has.functions and rng.random() < 0.5:
            verb += "_lookup"
        return Operation(verb, args)

    def range(self) -> Operation:
        """A range, in an ordered_set."""
        rng = self.rng
        bounds = [rng.choice([None, self.key(), self.key()]) for _ in range(2)]
        return Operation("range", (*bounds, rng.random() < 0.4, rng.choice([None, None, 0, 1, 3])))

    def _operation(self) -> Operation:
        rng = self.rng
        chance = rng.random() * 100
        if chance < 22:
            return Operation("insert", (self.rows_to_insert(),))
        if chance < 28:
            return Operation("insert_new", (self.rows_to_insert(),))
        if chance < 38:
            return Operation(rng.choice(["lookup", "lookup", "contains", "take", "delete", "delete"]), (self.key(),))
        if chance < 43:
            return Operation("delete_object", (self.known_row(),))
        if chance < 44:
            return Operation(rng.choice(["delete_all", "rows", "keys", "contents", "keys_backwards"]), ())
        if chance < 45:
            return Operation("rename", (rng.choice(["taken", "renamed", "table"]),))
        if chance < 57:
            return self.update_counter()
        if chance < 65:
            return self.update_element()
        if chance < 70:
            return self.lookup_element()
        if self.setting.in_order and chance < 80:
            return self.step() if rng.random() < 0.6 else self.range()
        return self.match() if chance < 84 else self.select()

    # -- patterns and clauses --

    def pattern(self) -> tuple[Any, list[matching.Variable]]:
        """A pattern that a known row may match, and its variables, those of the whole of a row apart."""
        rng = self.rng
        if rng.random() < 0.05:
            return (matching.ANY, []) if rng.random() < 0.5 else (v := matching.var(1), [v])
        bound: dict[int, matching.Variable] = {}
        row = self.known_row()
        holes = rng.choice([0.2, 0.7, 0.95])
        pattern = tuple(
            self._with_holes(part, holes if at != self.setting.keypos or rng.random() < 0.6 else 0.0, bound)
            for at, part in enumerate(row)
        )
        return pattern, list(bound.values())

    def _with_holes(self, value: Any, holes: float, bound: dict[int, matching.Variable]) -> Any:
        rng = self.rng
        if rng.random() < holes:
            if rng.random() < 0.4:
                return matching.ANY
            number = rng.choice([0, 1, 2, 3, 10])
            return bound.setdefault(number, matching.var(number))
        if isinstance(value, (tuple, list)):
            return type(value)([self._with_holes(part, holes, bound) for part in value])
        if isinstance(value, dict):
            return {key: self._with_holes(part, holes, bound) for key, part in value.items() if rng.random() < 0.8}
        return value

    def match(self) -> Operation:
        """match, match_object or match_delete."""
        rng = self.rng
        return Operation(rng.choice(["match", "match_object", "match_delete"]), (self.pattern()[0],))

    def select(self) -> Operation:
        """One of the select family, whole or in chunks."""
        rng = self.rng
        verb = rng.choice(["select"] * 4 + ["select_reverse", "select_count", "select_delete", "select_replace"] * 2)
        if verb == "select_replace":
            return Operation(verb, (self.replacing_clause(),))
        clauses = [self.clause(whole=True) for _ in range(rng.choice([0, 0, 0, 1]))] + [self.clause(whole=False)]
        if rng.random() < 0.03:
            return Operation(verb, (*clauses, self.malformed_clause()))
        if len(clauses) > 1:  # which of them made a list is not to be seen
            clauses = [replace(clause, body=True) if clause.body is matching.VARS else clause for clause in clauses]
        if verb in ("select_count", "select_delete"):
            bodies = [rng.choice([True, True, True, 1, clause.body]) for clause in clauses]
            clauses = [replace(clause, body=body) for clause, body in zip(clauses, bodies, strict=True)]
        elif rng.random() < 0.3:
            return self.chunks(verb, clauses)
        return Operation(verb, tuple(clauses))

    def chunks(self, verb: str, clauses: list[matching.Clause]) -> Operation:
        """With a limit; where both have one order, something happens after the first chunk."""
        rng = self.rng
        between = [Operation("delete", (self.key(),)) for _ in range(rng.randrange(3) if self.setting.in_order else 0)]
        pattern = self.pattern()[0]
        if self.setting.in_order:
            clauses = [replace(clause, body=matching.ROW) for clause in clauses]  # none fails: the chunks end alike
            if rng.random() < 0.5:
                between.append(Operation("insert", (self.row(),)))
                clauses, pattern = [matching.Clause(matching.ANY)], matching.ANY
        limit = rng.choice([1, 2, 3, 5, 100])
        if verb == "select" and rng.random() < 0.3:
            return Operation("chunks", (rng.choice(["match", "match_object"]), limit, between, pattern))
        return Operation("chunks", (verb, limit, between, *clauses))

    def malformed_clause(self) -> matching.Clause:
        """A variable that the head does not bind, somewhere; known for what it is on an empty table too."""
        rng = self.rng
        clause, unbound = self.clause(whole=True), matching.var(77)
        if rng.random() < 0.5:
            return replace(clause, body=rng.choice([unbound, (1, unbound), [unbound], unbound + 1]))
        return replace(clause, guards=[*clause.guards, rng.choice([unbound, match_functions.is_int(unbound)])])

    def clause(self, whole: bool) -> matching.Clause:
        """A clause; whole: whose body cannot fail."""
        rng = self.rng
        head, variables = self.pattern()
        guards = [self.condition(variables, 2) for _ in range(rng.choice([0, 0, 1, 2]))]
        if rng.random() < 0.3:
            body: Any = rng.choice([matching.ROW, matching.VARS, True, "text", 5])
        elif whole:
            body = tuple(variables)
        else:
            body = self.number(variables, 2) if rng.random() < 0.5 else self.condition(variables, 2, 0)
            if rng.random() < 0.3:
                body = rng.choice([(body, matching.ROW), [body, (1, "a")], {"a": body}])
        return matching.Clause(head, guards, body)

    def replacing_clause(self) -> matching.Clause:
        """A clause whose body is a row, with the key of before as a rule."""
        rng = self.rng
        head, variables = self.pattern()
        if not isinstance(head, tuple) or rng.random() < 0.1:
            return self.clause(whole=True)
        if head[self.setting.keypos] is matching.ANY:
            head = (*head[: self.setting.keypos], matching.var(7), *head[self.setting.keypos + 1 :])
            variables = [*variables, matching.var(7)]
        body: list[Any] = list(head)
        for at, part in enumerate(body):
            if at != self.setting.keypos or rng.random() < 0.05:
                body[at] = rng.choice(
                    [*variables, self.number([], 0), (rng.choice([*variables, 1]), 2), any_value(rng)]
                )
            elif _has_holes(part) and not isinstance(part, matching.Variable):
                body[at] = match_functions.element(matching.ROW, self.setting.keypos)
        if rng.random() < 0.3:
            body.append("more")
        guards = [self.condition(variables, 1) for _ in range(rng.randrange(2))]
        return matching.Clause(head, guards, tuple(body))

    def number(self, variables: list[matching.Variable], depth: int) -> Any:
        """An expression that is a number if the variables in it are."""
        rng = self.rng
        if depth == 0 or rng.random() < 0.3:
            return rng.choice([*variables, *variables, rng.choice(NUMBERS), rng.randrange(5)])
        a, b = self.number(variables, depth - 1), self.number(variables, depth - 1)
        kind = rng.randrange(12)
        if kind < 5:
            return matching.Call(rng.choice(["+", "-", "*"]), a, b)
        if kind == 5:
            return matching.Call("/", a, rng.choice([1, 2, 4, 0.5, 0]))
        if kind == 6:
            return matching.Call(rng.choice(["//", "%"]), match_functions.trunc(a), rng.choice([3, -4, 0]))
        if kind == 7:
            return matching.Call(rng.choice(["band", "bor", "bxor"]), a, b)
        if kind == 8:
            return matching.Call(rng.choice(["bsl", "bsr"]), a, rng.randrange(70))
        if kind == 9 and "max_" in self.has.expressions:
            return matching.Call(rng.choice(["min_", "max_"]), self.number(variables, 0), self.number([], 0))
        value = rng.choice([*variables, a])
        if kind == 10 and variables:  # without any a number is wanted
            return rng.choice(
                [
                    match_functions.size(matching.ROW),
                    match_functions.length(value),
                    match_functions.element(value, rng.randrange(3)),
                    match_functions.first(match_functions.rest(value)),
                    match_functions.map_get(value, rng.choice(["a", 1])),
                ]
            )
        unary = {"abs_", "floor", "ceil", "trunc", "float_", "neg", "bnot"} & self.has.expressions
        return matching.Call(rng.choice(sorted(unary)), a)

    def condition(self, variables: list[matching.Variable], depth: int, bounds: int = 1) -> Any:
        """An expression that is a bool as a rule. bounds: depth of what numbers are compared with; 0 cannot fail."""
        rng = self.rng
        value = rng.choice([*variables, *variables, 1, "a", None])
        if depth > 0 and rng.random() < 0.4:
            a, b = self.condition(variables, depth - 1, bounds), self.condition(variables, depth - 1, bounds)
            name = rng.choice(["&", "|", "^", "and_", "or_", "not_"])
            return matching.Call(name, a) if name == "not_" else matching.Call(name, a, b)
        if rng.random() < 0.5:
            tests = ["is_none", "is_bool", "is_int", "is_float", "is_number", "is_tuple", "is_list", "is_dict"]
            return matching.Call(rng.choice(tests), value)
        if rng.random() < 0.5:
            return matching.Call(rng.choice(["==", "!=", "is_same"]), value, rng.choice([*variables, *PLAIN[:20], "a"]))
        if rng.random() < 0.1:
            return match_functions.is_map_key(value, rng.choice(["a", 1]))
        comparison = matching.Call(rng.choice(["<", "<=", ">", ">="]), value, self.number([], bounds))
        return match_functions.and_(match_functions.is_number(value), comparison)
