# SPDX-License-Identifier: Apache-2.0
"""How the codec extension calls the core: what it asks, how long it waits, what wins when several things are wrong.

A core that answers what a test tells it to stands in for the real one, behind the same struct tmgr_api.
"""

from __future__ import annotations

import ctypes
import gc
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

from tablemgr import _codec, _ffi
from tablemgr.errors import Status

OK, ABSENT, PRESENT, END, BUSY = range(5)


class Buffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("len", ctypes.c_size_t), ("capacity", ctypes.c_size_t)]


class Op(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_uint32),
        ("key", ctypes.c_void_p),
        ("key_len", ctypes.c_size_t),
        ("row", ctypes.c_void_p),
        ("row_len", ctypes.c_size_t),
        ("updates", ctypes.c_void_p),
        ("updates_len", ctypes.c_size_t),
    ]


BYTES, SIZE, WAIT, OUT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64, ctypes.POINTER(Buffer)
COUNT = ctypes.POINTER(ctypes.c_uint64)
SIGNATURES: dict[str, list[Any]] = {
    "admit": [ctypes.c_bool],
    "lookup": [BYTES, SIZE, OUT],
    "contains": [BYTES, SIZE],
    "lookup_many": [BYTES, SIZE, SIZE, OUT],
    "scan": [BYTES, SIZE, OUT, ctypes.POINTER(SIZE)],
    "rows": [BYTES, BYTES, SIZE, SIZE, OUT, ctypes.POINTER(SIZE)],
    "step": [ctypes.c_int, BYTES, SIZE, OUT],
    "insert": [BYTES, SIZE, WAIT],
    "insert_new": [BYTES, SIZE, WAIT],
    "prefetch": [BYTES, SIZE, BYTES, SIZE],
    "delete": [BYTES, SIZE, WAIT],
    "take": [BYTES, SIZE, OUT, WAIT],
    "delete_object": [BYTES, SIZE, COUNT, WAIT],
    "compare_and_swap": [BYTES, SIZE, BYTES, SIZE, WAIT],
    "update": [ctypes.POINTER(Op), OUT, WAIT],
    "apply": [ctypes.POINTER(Op), SIZE, ctypes.POINTER(SIZE), WAIT],
    "delete_many": [BYTES, SIZE, SIZE, COUNT, WAIT],
    "delete_all": [COUNT, WAIT],
    "len": [COUNT],
    "buffer_free": [],
}


class RefusedError(Exception):
    """What the fail function of these tests raises."""


class FakeCore:
    """A struct tmgr_api whose functions are Python's: `answers` says what the next calls of each return."""

    def __init__(self) -> None:
        self.answers: dict[str, list[int]] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.result = b""  # what ends up in every result buffer
        self.ops: list[tuple[int, bytes, bytes, bytes]] = []  # of the last update or apply: kind, key, row, updates
        self.rows: list[bytes] = []  # of all inserts
        self._libc = ctypes.CDLL(None)
        self._libc.malloc.restype = ctypes.c_void_p
        self._functions = [
            ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, *arguments)(self._function(name))
            for name, arguments in SIGNATURES.items()
        ]
        self._struct = (ctypes.c_void_p * len(self._functions))(
            *(ctypes.cast(function, ctypes.c_void_p).value for function in self._functions)
        )
        self.address = ctypes.addressof(self._struct)

    def _function(self, name: str) -> Callable[..., int]:
        def function(_table: int, *arguments: Any) -> int:
            self.calls.append((name, *map(self._plain, arguments)))
            if name == "insert":
                self.rows.append(ctypes.string_at(arguments[0], arguments[1]))
            if name in ("update", "apply"):
                self.ops = [self._op(arguments[0][i]) for i in range(arguments[1] if name == "apply" else 1)]
            for argument in arguments:
                if isinstance(argument, OUT):
                    self._put(argument.contents)
            answers = self.answers.get(name, [])
            return answers.pop(0) if answers else OK

        return function

    def _put(self, buffer: Buffer) -> None:
        if buffer.capacity < len(self.result):
            buffer.data = self._libc.malloc(ctypes.c_size_t(len(self.result)))
            buffer.capacity = len(self.result)
        ctypes.memmove(buffer.data or 0, self.result, len(self.result))
        buffer.len = len(self.result)

    @staticmethod
    def _op(op: Op) -> tuple[int, bytes, bytes, bytes]:
        def part(data: int | None, length: int) -> bytes:
            return ctypes.string_at(data, length) if data else b""

        return op.kind, part(op.key, op.key_len), part(op.row, op.row_len), part(op.updates, op.updates_len)

    @staticmethod
    def _plain(argument: Any) -> Any:
        return argument.contents if hasattr(argument, "contents") else argument

    def replace(self, name: str, function: Any) -> None:
        """Let a C function answer."""
        self._struct[list(SIGNATURES).index(name)] = ctypes.cast(function, ctypes.c_void_p).value

    def count(self, name: str) -> int:
        """How often a function was called."""
        return sum(call[0] == name for call in self.calls)


@pytest.fixture
def core() -> Iterator[FakeCore]:
    """A fake core to which Bindings made in this test are bound."""
    fake = FakeCore()
    _codec.bind(fake.address)
    yield fake
    _codec.bind(_ffi.API_ADDRESS)


def raise_refused(status: int, verb: str, detail: object) -> NoReturn:
    """The fail function of these tests."""
    if status == Status.OK:
        assert isinstance(detail, Exception)
        raise detail
    raise RefusedError(Status(status).name, verb)


def binding(lock_timeout: float = 10.0, keypos: int = 0, fail: Any = raise_refused) -> _codec.Binding:
    """A Binding on a table that does not exist: the fake core looks at no address."""
    return _codec.Binding(1, keypos, False, lock_timeout, fail, None)


WRITES: dict[str, Callable[[_codec.Binding], object]] = {
    "insert": lambda b: b.insert(("k", 1)),
    "insert_new": lambda b: b.insert_new(("k", 1)),
    "delete": lambda b: b.delete("k"),
    "delete_object": lambda b: b.delete_object(("k", 1)),
    "compare_and_swap": lambda b: b.compare_and_swap(("k", 1), ("k", 2)),
    "update": lambda b: b.update_element("k", (1, 2)),
    "apply": lambda b: b.insert([("k", 1), ("l", 2)]),
    "delete_many": lambda b: b.delete_many(["k"]),
    "delete_all": lambda b: b.delete_all(),
}
READS: dict[str, Callable[[_codec.Binding], object]] = {
    "lookup": lambda b: b.lookup("k"),
    "contains": lambda b: b.contains("k"),
    "lookup_many": lambda b: b.lookup_many([]),
    "step": lambda b: b.step(1),
    "len": lambda b: b.length(),
    "scan": lambda b: list(b.scan()),
    "rows": lambda b: list(b.range(1, None, False, None)),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_tries_at_once_and_then_waits_in_slices(core: FakeCore, name: str) -> None:
    """BUSY is asked again, each time with at most 50 ms to wait, until the lock is to be had."""
    core.answers[name] = [BUSY, BUSY, BUSY, OK]
    WRITES[name](binding())
    waits = [call[-1] for call in core.calls if call[0] == name]
    assert len(waits) == 4
    assert all(0 <= wait <= 50_000_000 for wait in waits)
    assert waits[0] == 0 or name == "delete_all"
    assert waits[-1] > 0


@pytest.mark.parametrize("name", READS)
def test_a_read_that_was_overtaken_is_asked_again(core: FakeCore, name: str) -> None:
    """BUSY from a read is no error before lock_timeout."""
    core.result = b"\x91\x01"
    core.answers[name] = [BUSY, BUSY, END if name in ("scan", "rows") else OK]
    READS[name](binding())
    assert core.count(name) == 3


@pytest.mark.parametrize("name", [*WRITES, *READS])
def test_busy_beyond_lock_timeout_is_what_fail_makes_of_it(core: FakeCore, name: str) -> None:
    """With a lock_timeout of 0 the second BUSY is the answer."""
    core.answers[name] = [BUSY] * 1000
    with pytest.raises(RefusedError) as caught:
        (WRITES | READS)[name](binding(lock_timeout=0))
    assert caught.value.args[0] == "BUSY"
    assert core.count(name) <= 3


def test_lock_timeout_may_be_changed_and_infinite(core: FakeCore) -> None:
    """It is read at each wait."""
    b = binding(lock_timeout=float("inf"))
    core.answers["insert"] = [BUSY, BUSY, OK]
    b.insert(("k", 1))
    b.lock_timeout = 0
    core.answers["insert"] = [BUSY, BUSY, BUSY, OK]
    with pytest.raises(RefusedError):
        b.insert(("k", 1))


def test_a_signal_handler_runs_while_a_write_waits(core: FakeCore) -> None:
    """What a handler raises ends the wait: Ctrl-C works against a lock that is not to be had."""

    class SignalledError(Exception):
        pass

    def handler(_number: int, _frame: object) -> NoReturn:
        raise SignalledError

    # A core without Python in it, where the handler cannot run: abs() of the table's address, which is 4, is BUSY.
    core.replace("insert", ctypes.CDLL(None).abs)
    b = _codec.Binding(BUSY, 0, False, 60.0, raise_refused, None)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(SignalledError):
            b.insert(("k", 1))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def opened(b: _codec.Binding) -> _codec.Batch:
    """An atomic block that has begun."""
    return _codec.Batch(b).__enter__()


MISUSES: dict[str, tuple[bool, Callable[[_codec.Binding], object]]] = {
    "lookup": (False, lambda b: b.lookup([])),
    "get": (False, lambda b: b.get([], None)),
    "getitem": (False, lambda b: b.getitem([])),
    "contains": (False, lambda b: b.contains([])),
    "lookup_element": (False, lambda b: b.lookup_element("k", True)),
    "lookup_many": (False, lambda b: b.lookup_many(5)),  # type: ignore[arg-type]
    "lookup_many keys": (False, lambda b: b.lookup_many([[]])),
    "step": (False, lambda b: b.step(1, [])),
    "range": (False, lambda b: b.range([], None, False, None)),
    "insert": (True, lambda b: b.insert(5)),
    "insert value": (True, lambda b: b.insert(("k", object()))),
    "insert list": (True, lambda b: b.insert([5])),
    "insert_new": (True, lambda b: b.insert_new(5)),
    "put": (True, lambda b: b.put("k", object())),
    "delete": (True, lambda b: b.delete([])),
    "delete_many": (True, lambda b: b.delete_many([[]])),
    "take": (True, lambda b: b.take([])),
    "delete_object": (True, lambda b: b.delete_object(5)),
    "compare_and_swap": (True, lambda b: b.compare_and_swap(("k",), 5)),
    "update_counter": (True, lambda b: b.update_counter("k", "1")),
    "update_element": (True, lambda b: b.update_element("k", 1)),
    "batch insert": (True, lambda b: opened(b).insert(5)),  # type: ignore[arg-type]
    "batch delete": (True, lambda b: opened(b).delete([])),
    "batch update_counter": (True, lambda b: opened(b).update_counter("k", "1")),
}


@pytest.mark.parametrize("name", MISUSES)
def test_a_closed_table_comes_before_wrong_arguments(core: FakeCore, name: str) -> None:
    """The core is asked whether it admits the call, as reading or writing; only then the arguments count."""
    is_write, misuse = MISUSES[name]
    with pytest.raises((TypeError, ValueError)):
        misuse(binding())
    entering = [("admit", False)] if name.startswith("batch") else []
    assert core.calls == [*entering, ("admit", is_write)]
    core.answers["admit"] = [Status.CLOSED]
    with pytest.raises(RefusedError, match="CLOSED"):
        misuse(binding())


@pytest.mark.parametrize("name", [*WRITES, *READS])
def test_every_refusal_of_the_core_goes_through_fail(core: FakeCore, name: str) -> None:
    """Statuses that answer no question are raised by the function that knows the table."""
    for status in (Status.CORRUPT, Status.FULL, Status.OS, Status.NO_MEMORY, Status.CLOSED):
        core.answers[name] = [status]
        with pytest.raises(RefusedError, match=status.name):
            (WRITES | READS)[name](binding())


def test_a_fail_function_that_raises_nothing_is_an_error_itself(core: FakeCore) -> None:
    """No status is lost."""
    core.answers["insert"] = [Status.FULL]
    with pytest.raises(SystemError, match="insert: status 13"):
        binding(fail=lambda *_arguments: None).insert(("k", 1))


# -- what reaches the core ---------------------------------------------------------------------------------------------


def test_a_list_is_one_call_with_an_op_for_each_row(core: FakeCore) -> None:
    """insert and insert_new of a list: all rows at once, in their order; of none, only the question whether it may."""
    rows = [("k", 1), ("l", [2]), ("m", {})]
    encoded = [_codec.encode_row(row, 0) for row in rows]
    binding().insert(rows)
    assert core.ops == [(0, b"", row, b"") for row in encoded]
    binding().insert_new(rows)
    assert core.ops == [(2, b"", row, b"") for row in encoded]
    core.calls.clear()
    binding().insert([])
    assert binding().insert_new([]) is True
    assert core.calls == [("admit", True), ("admit", True)]


def test_insert_new_of_a_list_says_whether_it_was_done(core: FakeCore) -> None:
    """PRESENT is False."""
    core.answers["apply"] = [PRESENT]
    assert binding().insert_new([("k", 1), ("l", 2)]) is False
    core.answers["insert_new"] = [PRESENT]
    assert binding().insert_new(("k", 1)) is False


@pytest.mark.parametrize(
    ("op", "updates"),
    [
        (5, [[1, 5]]),
        (-(2**70), [[1, -(2**70)]]),
        ((2, 5), [[2, 5]]),
        ((1, 5, 10, 0), [[1, 5, 10, 0]]),
        ([(1, 5), (2, 1, 3, 2)], [[1, 5], [2, 1, 3, 2]]),
        ([], []),
    ],
)
def test_a_counter_operation_is_a_list_of_lists_for_the_core(core: FakeCore, op: object, updates: list[Any]) -> None:
    """n alone is of the element after the key."""
    core.result = b"\x91\x07"
    assert binding().update_counter("k", op) == ([7] if isinstance(op, list) else 7)
    assert core.ops == [(5, _codec.encode_key("k"), b"", _codec.encode(updates))]
    binding(keypos=1).update_counter("k", 3)
    assert core.ops[0][3] == _codec.encode([[2, 3]])


class Index:
    """What has __index__."""

    def __index__(self) -> int:
        return 3


def test_positions_and_increments_take_what_has_an_index(core: FakeCore) -> None:
    """But no bool, no float and no str."""
    wrong: object
    core.result = b"\x91\x07"
    binding().update_counter("k", (Index(), Index(), Index(), Index()))
    assert core.ops[0][3] == _codec.encode([[3, 3, 3, 3]])
    binding().update_counter("k", Index())
    assert core.ops[0][3] == _codec.encode([[1, 3]])
    for wrong in (
        True,
        1.0,
        "1",
        None,
        (True, 1),
        (1, True),
        (1, 1.0),
        (1, 2, 3),
        (1,),
        (),
        [1],
        [[1, 2]],
        [(1, None)],
    ):
        with pytest.raises(TypeError, match="update_counter"):
            binding().update_counter("k", wrong)
    for wrong in (True, 1, (1,), (1, 2, 3), (True, 1), (1.0, 1), [1], [[1, 2]], [(None, 1)]):
        with pytest.raises(TypeError, match="update_element"):
            binding().update_element("k", wrong)


def test_the_key_takes_its_place_in_the_default_row(core: FakeCore) -> None:
    """Whatever the default row has there, even what could be no key."""
    core.result = b"\x91\x07"
    for keypos, default, row in [
        (0, (None, 1), ("k", 1)),
        (1, (1, [object()], 2), (1, "k", 2)),
        (0, ([], 1), ("k", 1)),
    ]:
        binding(keypos=keypos).update_counter("k", (keypos + 1, 1), default)
        kind, key, sent, _ = core.ops[0]
        assert (kind, key, sent) == (5, _codec.encode_key("k"), _codec.encode_row(row, keypos))
        binding(keypos=keypos).update_element("k", (keypos + 1, None), default)
        assert core.ops[0] == (6, key, sent, _codec.encode([[keypos + 1, None]]))


def test_a_default_row_is_checked_always(core: FakeCore) -> None:
    """No tuple: TypeError; no place for the key: ValueError; both before the core is asked."""
    for default, error in [(None, TypeError), ([1, 2], TypeError), ((), ValueError), ((1,), ValueError)]:
        with pytest.raises(error, match="default"):
            binding(keypos=1).update_counter("k", 1, default)
        with pytest.raises(error, match="default"):
            binding(keypos=1).update_element("k", [], default)
    assert core.count("update") == 0


def test_absent_keys_are_answers_or_key_errors(core: FakeCore) -> None:
    """Each verb has its own way to say that there is no row; a tuple as a key is one argument of KeyError."""
    core.answers = {name: [ABSENT] * 9 for name in SIGNATURES if name != "admit"}
    key = ("a", 1)
    b = binding()
    default = object()
    assert b.lookup(key) == []
    assert b.take(key) == []
    assert b.contains(key) is False
    assert b.get(key, default) is default
    assert b.lookup_element(key, 1, default) is default
    assert b.delete(key) == b.delete_object((key,)) == 0
    assert b.compare_and_swap((key,), (key,)) is False
    assert b.update_element(key, (1, 2)) is False
    with pytest.raises(KeyError) as caught:
        b.getitem(key)
    assert caught.value.args == (key,)
    calls: list[Callable[[], object]] = [lambda: b.lookup_element(key, 1), lambda: b.update_counter(key, 1)]
    for call, verb in zip(calls, ("lookup_element", "update_counter"), strict=True):
        with pytest.raises(RefusedError) as refused:
            call()
        assert refused.value.args == ("ABSENT", verb)


@pytest.mark.parametrize("keypos", [0, 1])
def test_the_caller_s_key_becomes_that_of_the_row_found(core: FakeCore, keypos: int) -> None:
    """The object itself where it is what the row's bytes say, a str, bytes or int; never one of another type."""

    def row(key: object) -> tuple[Any, ...]:
        return (key, [1])[:: -1 if keypos else 1]

    key: Any
    for key in ("a key", b"a key", 1 << 40, "\u20ac"):
        core.result = _codec.encode_row(row(key), keypos)
        b = binding(keypos=keypos)
        for [found] in (b.lookup(key), b.take(key), *b.lookup_many([key])):
            assert found == row(key)
            assert found[keypos] is key
    core.result = _codec.encode_row(row(1), keypos)
    for key in (1.0, True):
        [found] = binding(keypos=keypos).lookup(key)
        assert found == row(1)
        assert type(found[keypos]) is int


def test_results_go_with_their_keys(core: FakeCore) -> None:
    """Rows and nils in the order of the keys, whatever the keys' encodings are."""
    keys = ["a", 300, ("t", 1), b"b" * 300, 2.5, "a"]
    rows = [("a", 1), (300, "x"), None, (b"b" * 300, None), (2.5,), ("a", 1)]
    core.result = b"".join(b"\xc0" if row is None else _codec.encode_row(row, 0) for row in rows)
    assert binding().lookup_many(keys) == [[] if row is None else [row] for row in rows]


def test_the_garbage_collector_looks_at_no_row_of_flat_values(core: FakeCore) -> None:
    """Only at one that could come to be in a cycle: with a list in it, say."""
    flat = ("k", 1, 1.5, None, True, b"b", ("nested", "tuple"))
    core.result = _codec.encode_row(flat[:-1], 0)
    assert not gc.is_tracked(binding().lookup("k")[0])
    core.result = _codec.encode_row(("k", []), 0)
    assert gc.is_tracked(binding().lookup("k")[0])
    core.result = _codec.encode_row(flat, 0)
    assert binding().lookup("k") == [flat]


def test_a_batch_is_one_call_with_what_was_recorded(core: FakeCore) -> None:
    """In order, nothing before the end, and nothing of a record whose arguments were wrong."""
    with _codec.Batch(binding()) as batch:
        batch.insert(("a", 1))
        batch.insert([("b", 2), ("c", 3)])
        batch.insert_new(("d", 4))
        with pytest.raises(TypeError):
            batch.insert([("e", 5), ("f", object())])
        with pytest.raises(TypeError):
            batch.update_counter("e", 1, ("e", object()))
        batch.delete("g")
        batch.delete_object(("h", 6))
        batch.update_counter("i", 7, ("i", 0))
        batch.update_element("j", [(1, 8)])
        assert core.count("apply") == 0

    def row(*elements: object) -> bytes:
        return _codec.encode_row(elements, 0)

    key = _codec.encode_key
    assert core.ops == [
        (0, b"", row("a", 1), b""),
        (0, b"", row("b", 2), b""),
        (0, b"", row("c", 3), b""),
        (1, b"", row("d", 4), b""),
        (3, key("g"), b"", b""),
        (4, b"", row("h", 6), b""),
        (5, key("i"), row("i", 0), _codec.encode([[1, 7]])),
        (6, key("j"), b"", _codec.encode([[1, 8]])),
    ]


def test_a_batch_ends_with_its_block(core: FakeCore) -> None:
    """Recording or ending it afterwards: RuntimeError, also where the core refused it. An exception asks no core."""
    for answer in (OK, Status.FULL):
        batch = opened(binding())
        batch.insert(("a", 1))
        core.answers["apply"] = [answer]
        if answer == OK:
            batch.__exit__(None, None, None)
        else:
            with pytest.raises(RefusedError, match="FULL"):
                batch.__exit__(None, None, None)
        with pytest.raises(RuntimeError, match="between its begin and its end"):
            batch.insert(("b", 1))
        with pytest.raises(RuntimeError, match="between its begin and its end"):
            batch.__exit__(None, None, None)
    assert core.count("apply") == 2
    opened(binding()).__exit__(KeyError, KeyError(), None)
    assert core.count("apply") == 2


def test_a_batch_has_memory_of_its_own(core: FakeCore) -> None:
    """What the table is asked and told within a block, and other blocks, leave what was recorded alone."""
    b = binding()
    with _codec.Batch(b) as outer:
        outer.insert(("a", "x" * 3000))
        b.insert(("other", "y" * 5000))
        opened(b).insert(("left without its end", "z" * 5000))
        with _codec.Batch(b) as inner:
            inner.delete("b")
        assert [op[0] for op in core.ops] == [3]
        outer.delete("c")
    key = _codec.encode_key
    assert core.ops == [(0, b"", _codec.encode_row(("a", "x" * 3000), 0), b""), (3, key("c"), b"", b"")]


# -- life --------------------------------------------------------------------------------------------------------------


class Owner:
    """Something that can be watched."""

    binding: _codec.Binding

    def fail(self, status: int, verb: str, detail: object) -> NoReturn:
        raise_refused(status, verb, detail)


def test_the_owner_lives_as_long_as_anything_that_can_call(core: FakeCore) -> None:
    """Bindings, iterators and batches keep the table's memory alive; a circle through fail is collected."""
    makers: list[Callable[[_codec.Binding], object]] = [
        lambda b: b,
        lambda b: b.scan(),
        lambda b: opened(b),
        lambda b: b.lookup,
    ]
    for make in makers:
        owner = Owner()
        watched = weakref.ref(owner)
        holder = make(_codec.Binding(1, 0, False, 1.0, raise_refused, owner))
        del owner
        gc.collect()
        assert watched() is not None
        del holder
        gc.collect()
        assert watched() is None
    circle = Owner()
    watched = weakref.ref(circle)
    circle.binding = _codec.Binding(1, 0, False, 1.0, circle.fail, circle)
    del circle
    gc.collect()
    assert watched() is None


class Reentrant:
    """Pickles by using the binding that it is being stored through."""

    binding: _codec.Binding

    def __reduce__(self) -> Any:
        self.binding.put("inner", "x" * 5000)
        return (int, ())


def test_a_value_may_use_the_binding_it_is_stored_through(core: FakeCore) -> None:
    """Python code that pickle runs comes back to the same Binding: each call has memory of its own."""
    value = Reentrant()
    value.binding = _codec.Binding(1, 0, True, 1.0, raise_refused, None)
    value.binding.put("outer", [1, value, 2])
    inner, outer = core.rows
    assert _codec.decode_row(inner) == ("inner", "x" * 5000)
    assert _codec.decode_row(outer, pickle=True) == ("outer", [1, 0, 2])


class Recursive:
    """Pickles by recording in the block that it is being recorded in, or by ending it."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        with pytest.raises(ValueError, match="in use by another call"):
            self.call()
        return (int, ())


def test_a_value_cannot_use_the_block_it_is_recorded_in(core: FakeCore) -> None:
    """Python code that pickle runs is refused, whatever it does with the block; the record it is in stays whole."""
    b = _codec.Binding(1, 0, True, 1.0, raise_refused, None)
    with _codec.Batch(b) as batch:
        batch.insert(("a", 1))
        calls: list[Callable[[], object]] = [
            lambda: batch.insert([("big", "x" * 100_000)] * 100),
            lambda: batch.update_counter("k", 1),
            lambda: batch.__exit__(None, None, None),
            lambda: batch.__exit__(KeyError, None, None),
        ]
        for call in calls:
            batch.insert([("v", [1, Recursive(call), 2]), ("w", 2)])
            batch.update_element("u", [(1, Recursive(call)), (2, "y")])
        with pytest.raises(RuntimeError, match="runs once"):
            batch.__enter__()
    assert len(core.ops) == 1 + 3 * len(calls)
    assert _codec.decode_row(core.ops[-3][2], pickle=True) == ("v", [1, 0, 2])
    assert _codec.decode(core.ops[-1][3], pickle=True) == [[1, 0], [2, "y"]]


class Waiting:
    """Pickles when another thread has been at it."""

    def __init__(self, at_it: threading.Barrier) -> None:
        self.at_it = at_it

    def __reduce__(self) -> Any:
        self.at_it.wait()
        self.at_it.wait()
        return (int, ())


def test_a_block_is_refused_to_another_thread_meanwhile(core: FakeCore) -> None:
    """While one thread records, the other may neither record nor end the block; then it may."""
    b = _codec.Binding(1, 0, True, 1.0, raise_refused, None)
    at_it = threading.Barrier(2)
    batch = opened(b)
    thread = threading.Thread(target=lambda: batch.insert(("slow", Waiting(at_it))))
    thread.start()
    at_it.wait()
    try:
        with pytest.raises(ValueError, match="in use by another call"):
            batch.insert(("quick", "x" * 10_000))
        with pytest.raises(ValueError, match="in use by another call"):
            batch.__exit__(None, None, None)
    finally:
        at_it.wait()
        thread.join()
    batch.insert(("quick", 1))
    batch.__exit__(None, None, None)
    assert [_codec.decode_row(op[2], pickle=True) for op in core.ops] == [("slow", 0), ("quick", 1)]


def test_many_threads_use_one_binding(core: FakeCore) -> None:
    """Every row reaches the core whole, whichever thread's turn it is."""
    b = binding()

    def work(thread: int) -> None:
        for i in range(200):
            b.put((thread, i), "y" * (i * 7 % 500))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [_codec.decode_row(row) for row in core.rows]
    assert sorted(found) == sorted(((t, i), "y" * (i * 7 % 500)) for t in range(8) for i in range(200))


def test_bindings_and_their_parts_are_made_in_one_way_only(core: FakeCore) -> None:
    """Wrong arguments are refused, and there is nothing half-made that could be called."""
    arguments: tuple[Any, ...]
    for arguments in ((), (0, 0, False, 1.0, raise_refused, None), (1, 0, False, 1.0, raise_refused)):
        with pytest.raises((TypeError, RuntimeError)):
            _codec.Binding(*arguments)
    with pytest.raises(TypeError):
        _codec.Binding.__new__(_codec.Binding)
    parts: tuple[Any, ...] = (binding().scan(), _codec.Batch(binding()))
    for made in parts:
        with pytest.raises(TypeError):
            type(made)()
        with pytest.raises(TypeError):
            object.__new__(type(made))
