# SPDX-License-Identifier: Apache-2.0
"""The functions of guards and bodies: each makes an expression that is computed for each row, in C."""

from __future__ import annotations

from tablemgr.matching import Call, Expression


def and_(first: object, *rest: object) -> Expression:
    """True if all are; those behind the first that is False are not evaluated. Fails on anything but bools."""
    return Call("and_", first, *rest)


def or_(first: object, *rest: object) -> Expression:
    """True if one is; those behind it are not evaluated. Fails on anything but bools."""
    return Call("or_", first, *rest)


def not_(value: object) -> Expression:
    """The other bool, as `~` has it."""
    return Call("not_", value)


def is_same(a: object, b: object) -> Expression:
    """Whether both have the same type and value, numbers too: 1 is not the same as 1.0."""
    return Call("is_same", a, b)


def is_none(value: object) -> Expression:
    """Whether it is None."""
    return Call("is_none", value)


def is_bool(value: object) -> Expression:
    """Whether it is True or False."""
    return Call("is_bool", value)


def is_int(value: object) -> Expression:
    """Whether it is an int. A bool is none."""
    return Call("is_int", value)


def is_float(value: object) -> Expression:
    """Whether it is a float."""
    return Call("is_float", value)


def is_number(value: object) -> Expression:
    """Whether it is an int or a float."""
    return Call("is_number", value)


def is_str(value: object) -> Expression:
    """Whether it is a str."""
    return Call("is_str", value)


def is_bytes(value: object) -> Expression:
    """Whether it is bytes."""
    return Call("is_bytes", value)


def is_bytearray(value: object) -> Expression:
    """Whether it is a bytearray."""
    return Call("is_bytearray", value)


def is_date(value: object) -> Expression:
    """Whether it is a date; a datetime is none."""
    return Call("is_date", value)


def is_datetime(value: object) -> Expression:
    """Whether it is a datetime."""
    return Call("is_datetime", value)


def is_time(value: object) -> Expression:
    """Whether it is a time of day."""
    return Call("is_time", value)


def is_timedelta(value: object) -> Expression:
    """Whether it is a timedelta."""
    return Call("is_timedelta", value)


def is_decimal(value: object) -> Expression:
    """Whether it is a Decimal."""
    return Call("is_decimal", value)


def is_uuid(value: object) -> Expression:
    """Whether it is a UUID."""
    return Call("is_uuid", value)


def is_tuple(value: object) -> Expression:
    """Whether it is a tuple."""
    return Call("is_tuple", value)


def is_list(value: object) -> Expression:
    """Whether it is a list."""
    return Call("is_list", value)


def is_dict(value: object) -> Expression:
    """Whether it is a dict."""
    return Call("is_dict", value)


def is_set(value: object) -> Expression:
    """Whether it is a set; a frozenset is none."""
    return Call("is_set", value)


def is_frozenset(value: object) -> Expression:
    """Whether it is a frozenset."""
    return Call("is_frozenset", value)


def element(value: object, position: object) -> Expression:
    """The element of a tuple or list at a position from 0. Fails outside, and on negative positions."""
    return Call("element", value, position)


def size(value: object) -> Expression:
    """Characters of a str, bytes of bytes and bytearrays, elements of tuples, lists, dicts and sets."""
    return Call("size", value)


def length(value: object) -> Expression:
    """Elements of a list. Fails on anything else."""
    return Call("length", value)


def first(value: object) -> Expression:
    """The first element of a list or tuple. Fails on an empty one."""
    return Call("first", value)


def last(value: object) -> Expression:
    """The last element of a list or tuple. Fails on an empty one."""
    return Call("last", value)


def rest(value: object) -> Expression:
    """A list without its first element. Fails on an empty one."""
    return Call("rest", value)


def map_get(mapping: object, key: object) -> Expression:
    """The value of a key in a dict, found by type and value. Fails without it."""
    return Call("map_get", mapping, key)


def is_map_key(mapping: object, key: object) -> Expression:
    """Whether a dict has a key, by type and value."""
    return Call("is_map_key", mapping, key)


def abs_(value: object) -> Expression:
    """The absolute value of a number, as `abs()` of an expression has it."""
    return Call("abs_", value)


def round_(value: object) -> Expression:
    """The int nearest to a number, the even one of two. Fails on inf and NaN."""
    return Call("round_", value)


def floor(value: object) -> Expression:
    """The greatest int not above a number. Fails on inf and NaN."""
    return Call("floor", value)


def ceil(value: object) -> Expression:
    """The least int not below a number. Fails on inf and NaN."""
    return Call("ceil", value)


def trunc(value: object) -> Expression:
    """A number without its fraction, an int. Fails on inf and NaN."""
    return Call("trunc", value)


def float_(value: object) -> Expression:
    """The float nearest to a number. Fails on an int beyond the floats."""
    return Call("float_", value)


def min_(first: object, *rest: object) -> Expression:
    """The least in the order of an ordered_set; of equal ones the first."""
    return _fold("min_", first, rest)


def max_(first: object, *rest: object) -> Expression:
    """The greatest in the order of an ordered_set; of equal ones the first."""
    return _fold("max_", first, rest)


def _fold(name: str, value: object, rest: tuple[object, ...]) -> Expression:
    """A function of two over any number of values, one at least."""
    if not rest:
        raise TypeError(f"{name} takes two values or more")
    for other in rest:
        value = Call(name, value, other)
    assert isinstance(value, Expression)
    return value


def band(a: object, b: object) -> Expression:
    """The bits that both ints have; Python's `&` of ints."""
    return Call("band", a, b)


def bor(a: object, b: object) -> Expression:
    """The bits that one of two ints has; Python's `|` of ints."""
    return Call("bor", a, b)


def bxor(a: object, b: object) -> Expression:
    """The bits in which two ints differ; Python's `^` of ints."""
    return Call("bxor", a, b)


def bnot(value: object) -> Expression:
    """The other bits of an int, `-value - 1`; Python's `~` of ints."""
    return Call("bnot", value)


def bsl(value: object, by: object) -> Expression:
    """An int shifted left. Fails on a negative count, and where the result has more than 16,384 bits."""
    return Call("bsl", value, by)


def bsr(value: object, by: object) -> Expression:
    """An int shifted right, rounding down. Fails on a negative count."""
    return Call("bsr", value, by)
