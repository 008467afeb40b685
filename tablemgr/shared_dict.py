# SPDX-License-Identifier: Apache-2.0
"""`SharedDict`: a dict that processes share and that outlives them, on a table of (key, value) rows."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, MutableMapping, ValuesView
from types import MappingProxyType
from typing import Any, Final, SupportsIndex, TypeVar, cast, overload

from tablemgr import _codec
from tablemgr._ffi import LOCK_TIMEOUT
from tablemgr.errors import TableExistsError, TableMismatchError, TableNotFoundError
from tablemgr.table import Table, attach, create

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

_MISSING: Final = object()


class SharedDict(_codec.DictVerbs[K, V], MutableMapping[K, V]):
    """A dict in shared memory, by name: made if it is not there, else attached to. Needs no manager.

    Args:
        name: of the table below, which is of type "set", has keypos 0 and (key, value) rows.
        mapping: a mapping or iterable of pairs that fills a new table; an existing one is left as it is.
        access, heir, heir_data, max_bytes, mode, codec, lock_timeout, instance: as for `create`. By default the dict is
            public, and outlives all processes until it is dropped (`.table.drop()`).

    Keys and values are those of a `Table`; values are copies, so changing one that came out changes nothing in here:
    assign it again. Keys are equal when type and value are: 1, 1.0 and True are three keys. Every method has the
    guarantees of the table's verbs; update and the operators built on it are one atomic change.

    Iteration goes on while others write: what is there throughout comes exactly once. Pickles as its name.
    Raises TableMismatchError if the table is there with another type, key position or codec, and what `create` raises.
    """

    __slots__ = ("__weakref__", "_table")

    def __init__(
        self,
        name: str,
        mapping: Mapping[K, V] | Iterable[tuple[K, V]] = (),
        *,
        access: str = "public",
        heir: Any = "manager",
        heir_data: Any = None,
        max_bytes: SupportsIndex | None = None,
        mode: int = 0o600,
        codec: str = "msgpack",
        lock_timeout: float = LOCK_TIMEOUT,
        instance: str | None = None,
    ) -> None:
        pairs = _pairs(mapping)
        while True:
            try:
                table = attach(name, codec=codec, lock_timeout=lock_timeout, instance=instance)
                break
            except TableNotFoundError:
                pass
            try:
                table = create(
                    name,
                    access=access,
                    heir=heir,
                    heir_data=heir_data,
                    max_bytes=max_bytes,
                    mode=mode,
                    codec=codec,
                    lock_timeout=lock_timeout,
                    instance=instance,
                )
            except TableExistsError:
                continue  # another process was faster: attach to its table
            try:
                if pairs:
                    table.insert(pairs)
            except BaseException:
                table.drop()
                raise
            break
        self._bind(table)

    def _bind(self, table: Table) -> None:
        if (table._type, table.keypos) != ("set", 0):
            table.close()
            raise TableMismatchError(
                f"table {table.name!r} is of type {table._type!r} with its keys at position {table.keypos}: a "
                "SharedDict needs the type 'set' and position 0"
            )
        self._table = table
        self._use(table._binding)

    @classmethod
    def fromkeys(cls, name: str, keys: Iterable[K], value: Any = None, /, **options: Any) -> SharedDict[K, Any]:
        """A dict whose keys all have the same value; like dict's, but by name: one that is there is left as it is.

        options: those of SharedDict. Raises what SharedDict raises.
        """
        return cls(name, [(key, value) for key in keys], **options)

    @property
    def table(self) -> Table:
        """The table below, for its other verbs."""
        return self._table

    # -- one key (what is not here is in DictVerbs) -----------------------------------------------------------------

    def setdefault(self, key: K, default: Any = None) -> Any:
        """The value of a key, which gets the default if it has none; of several callers one sets it, all get that."""
        binding = self._table._binding
        while True:
            value = binding.get(key, _MISSING)
            if value is not _MISSING:
                return value
            if binding.insert_new((key, default)):
                return default

    @overload
    def pop(self, key: K, /) -> V: ...
    @overload
    def pop(self, key: K, /, default: V | T) -> V | T: ...
    def pop(self, key: K, /, default: Any = _MISSING) -> Any:
        """Remove a key and return its value, in one step: of several callers one gets it. KeyError without default."""
        rows = self._table.take(key)
        if rows:
            return self._taken(rows[0])[1]
        if default is _MISSING:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[K, V]:
        """Remove any item and return it; of several callers one gets it. Raises KeyError if there is none."""
        table = self._table
        while True:
            row = table._binding.step(1)
            if row is None:
                raise KeyError("popitem(): dictionary is empty")
            rows = table.take(row[0])
            if rows:
                return self._taken(rows[0])

    def _taken(self, row: tuple[Any, ...]) -> tuple[K, V]:
        """A row that was taken out; what is refused is put back, unless its key has another row by now."""
        if len(row) != 2:
            self._table.insert_new(row)
            raise _no_pair(self._table, row)
        return row

    # -- all keys -------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[K]:
        return (row[0] for row in self._table)

    def __reversed__(self) -> Iterator[K]:
        return (row[0] for row in self._backwards())

    def _backwards(self) -> Iterator[tuple[Any, ...]]:
        """The rows from the last to the first, while others write."""
        found = self._table.last_lookup()
        while isinstance(found, tuple):
            key, rows = found
            yield rows[0]
            found = self._table.prev_lookup(key)

    def __eq__(self, other: object) -> bool:
        """Whether the other is a mapping with equal items; two SharedDicts tell 1 and 1.0 apart as keys."""
        if not isinstance(other, Mapping):
            return NotImplemented
        if len(self) != len(other):
            return False
        if isinstance(other, SharedDict):
            return all(other.get(key, _MISSING) == value for key, value in self.items())
        return self.copy() == dict(other.items())

    __hash__ = None  # type: ignore[assignment] # as dict has it

    def keys(self) -> KeysView[K]:
        """A live view of the keys."""
        return _Keys(self)

    def values(self) -> ValuesView[V]:
        """A live view of the values; iterating gives copies."""
        return _Values(self)

    def items(self) -> ItemsView[K, V]:
        """A live view of the items; iterating gives copies."""
        return _Items(self)

    def clear(self) -> None:
        """Remove all items in one step."""
        self._table.delete_all()

    def copy(self) -> dict[K, V]:
        """A dict with the items. What Python takes for equal keys, like 1 and 1.0, is one key there."""
        return dict(self.items())

    def update(self, other: Any = (), /, **named: Any) -> None:
        """Set the items of a mapping or an iterable of pairs, and named ones, in one atomic change."""
        rows = _pairs(other)
        rows += named.items()
        self._table.insert(rows)

    def __or__(self, other: Mapping[Any, Any]) -> dict[Any, Any]:
        if not isinstance(other, Mapping):
            return NotImplemented
        return self.copy() | dict(other)

    def __ror__(self, other: Mapping[Any, Any]) -> dict[Any, Any]:
        if not isinstance(other, Mapping):
            return NotImplemented
        return dict(other) | self.copy()

    def __ior__(  # type: ignore[misc] # takes pairs too, unlike |; so does dict
        self, other: Mapping[K, V] | Iterable[tuple[K, V]]
    ) -> SharedDict[K, V]:
        self.update(other)
        return self

    def __repr__(self) -> str:
        if self._table.closed:
            return f"<SharedDict {self._table.name!r}, closed>"
        return f"<SharedDict {self._table.name!r} of instance {self._table.instance!r}>"

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return _over, (type(self), self._table)


class _View:
    """What a view of a dict has beyond those of `collections.abc`."""

    _mapping: SharedDict[Any, Any]

    @property
    def mapping(self) -> MappingProxyType[Any, Any]:
        """The dict that is viewed, to look at only."""
        return MappingProxyType(self._mapping)


class _Keys(_View, KeysView[K]):
    """Keys of a SharedDict."""

    _mapping: SharedDict[K, Any]

    def __reversed__(self) -> Iterator[K]:
        return reversed(self._mapping)


class _Values(_View, ValuesView[V]):
    """Values of a SharedDict, from a scan of the rows instead of a lookup per key."""

    _mapping: SharedDict[Any, V]

    def __iter__(self) -> Iterator[V]:
        return self._values(self._mapping.table)

    def __reversed__(self) -> Iterator[V]:
        return self._values(self._mapping._backwards())

    def _values(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[V]:
        for row in rows:
            if len(row) != 2:
                raise _no_pair(self._mapping.table, row)
            yield row[1]

    def __contains__(self, value: object) -> bool:
        return any(each is value or each == value for each in self)


class _Items(_View, ItemsView[K, V]):
    """Items of a SharedDict, from a scan of the rows instead of a lookup per key."""

    _mapping: SharedDict[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return cast("Iterator[tuple[K, V]]", iter(self._mapping.table))

    def __reversed__(self) -> Iterator[tuple[K, V]]:
        return cast("Iterator[tuple[K, V]]", self._mapping._backwards())

    def __contains__(self, item: object) -> bool:
        return isinstance(item, tuple) and len(item) == 2 and super().__contains__(item)


def _no_pair(table: Table, row: tuple[Any, ...]) -> TableMismatchError:
    """What is said of a row that is no item of a dict: somebody put it into the table."""
    return TableMismatchError(
        f"table {table.name!r} has a row with {len(row)} element{'s' if len(row) > 1 else ''}, its key is {row[0]!r}: "
        "the rows of a SharedDict are (key, value); `.table` reads any"
    )


def _pairs(source: Any) -> list[tuple[Any, Any]]:
    """(key, value) rows of what dict() would take."""
    if isinstance(source, SharedDict):
        return list(source.items())
    if hasattr(source, "keys"):
        return [(key, source[key]) for key in source.keys()]  # noqa: SIM118 - any object with keys() and [], as in dict()
    pairs = []
    for index, pair in enumerate(source):
        try:
            items = tuple(pair)
        except TypeError:
            raise TypeError(f"element #{index} of an update is no (key, value) pair: {type(pair).__name__}") from None
        if len(items) != 2:
            raise ValueError(f"element #{index} of an update has length {len(items)}: a (key, value) pair has 2")
        pairs.append(items)
    return pairs


def _over(kind: type[SharedDict[Any, Any]], table: Table) -> SharedDict[Any, Any]:
    """The other end of a pickled dict."""
    made = kind.__new__(kind)
    made._bind(table)
    return made
