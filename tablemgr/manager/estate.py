# SPDX-License-Identifier: Apache-2.0
"""The tables of an instance in the manager's hands: found, settled after a death, inherited, given away.

Everything that must survive the manager is in the segments; an `Estate` is a view of them that can be thrown away and
made again. A segment also says whether its owner only keeps it: where the manager lives inside an application's
process, that tells the tables it holds for others from those that the application owns.

A look at a table costs a few microseconds and no descriptor; it is attached to only where there is something to do. So
a manager starts fast, and costs next to nothing while nothing happens, however many tables there are.

It reaches segments through `Outside` (outside.py), so its tests need neither shared memory nor processes.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Final

from tablemgr import _ffi, processes
from tablemgr._ffi import Ending
from tablemgr.errors import LockTimeoutError, NotOwnerError, TableError, TableNotFoundError, TableOwnedError
from tablemgr.manager.decisions import Identity, Record, in_order
from tablemgr.manager.journal import Event, Journal
from tablemgr.manager.outside import Outside, Seen, TableHandle, UnmanageableError

ROUND_TABLES: Final = 200  # looked at in one round; of more, the next ones in the next round

_log = logging.getLogger("tablemgr.manager")


class Given(enum.Enum):
    """What became of handing a table over."""

    DONE = "done"
    RECEIVER_DEAD = "receiver dead"  # and the manager holds it on
    LOST = "lost"  # somebody dropped it, or claimed it to drop it: look again


def _cannot(name: str, error: Exception) -> UnmanageableError:
    busy = isinstance(error, LockTimeoutError)
    return UnmanageableError(f"the manager cannot use table {name!r}: {error}", busy)


class Estate:
    """All tables of one instance. Not thread-safe: it belongs to the manager's loop.

    exit_of: how a dead process ended, if that is known; is_alive: a faster way to ask than the outside's. may_offer:
    whether a table that is inherited belongs to whoever comes first.
    """

    def __init__(
        self,
        outside: Outside,
        journal: Journal | None = None,
        exit_of: Callable[[Identity], int | None] | None = None,
        is_alive: Callable[[Identity], bool] | None = None,
        may_offer: Callable[[str], bool] | None = None,
    ) -> None:
        self._outside = outside
        self._journal = journal or Journal()
        self._exit_of = exit_of or (lambda process: processes.exit_status(*process, None))
        self._is_alive = is_alive or outside.alive
        self._may_offer = may_offer or (lambda name: True)
        self._is_visiting = False
        self._visited: tuple[TableHandle, Seen] | None = None
        self._records: dict[str, Record] = {}
        self._seen: dict[str, Seen] = {}
        self._by_owner: dict[Identity, dict[str, None]] = {}  # names of what is not held
        self._held: dict[str, None] = {}  # and of what is
        self._new_owners: set[Identity] = set()
        self._concerned: dict[Identity, list[str]] = {}
        self._told: dict[str, tuple[int, int]] = {}  # number of the last transfer noticed
        self._found: set[str] = set()  # the names, at the last round
        self._known: dict[str, None] = {}  # names seen in a round; those that were not looked at for longest first
        self._reported: dict[str, str] = {}

    @property
    def me(self) -> Identity:
        """The manager's process."""
        return self._outside.me

    @property
    def n_tables(self) -> int:
        """How many tables there are, as last seen."""
        return len(self._records)

    def records(self) -> list[Record]:
        """The tables as last seen, in the order of their creation."""
        return in_order(self._records.values())

    def owners(self) -> Collection[Identity]:
        """The processes that own tables which are not held, as last seen."""
        return self._by_owner.keys()

    def take_new_owners(self) -> set[Identity]:
        """Those that were seen for the first time since the last call."""
        owners, self._new_owners = self._new_owners, set()
        return owners

    @contextmanager
    def visit(self) -> Iterator[None]:
        """In the block, the table that was attached to last stays so: after a death was settled it is given away."""
        self._is_visiting = True
        try:
            yield
        finally:
            self._is_visiting = False
            self._leave()

    def known(self, name: str) -> Record | None:
        """The table as last seen."""
        return self._records.get(name)

    def look(self, name: str) -> Record | None:
        """The table as it is now, after settling its owner's death if that is due; None if there is none.

        An orphan is inherited by the manager on the way. Raises UnmanageableError where the manager can do nothing.
        """
        try:
            return self._digest(name, self._glance(name), self._is_alive)
        except UnmanageableError:
            self._forget(name)
            raise

    def found_dead(self, name: str) -> Identity | None:
        """The owner of a table if that has ended, which nobody may have been told of yet; nothing is settled."""
        try:
            seen = self._glance(name)
            if seen is None or seen.owner == self.me or self._is_alive(Identity(*seen.owner)):
                return None
            self._digest(name, seen, lambda _: True)
        except UnmanageableError:
            return None  # `look` says so
        return Identity(*seen.owner)

    def look_after_death(self, name: str) -> Record | None:
        """`look`, where the owner as last seen is dead: then there is no need to see it once more."""
        seen = self._seen.get(name)
        if seen is None or seen.owner == self.me:
            return self.look(name)
        try:
            return self._digest(name, seen, lambda _: False)
        except UnmanageableError:
            self._forget(name)
            raise

    def round(self) -> None:
        """Look at the tables of the instance, in the order of their creation: new ones, and many of the others."""
        found = self._outside.names()
        fresh: set[str] = set()
        if found is not self._found:
            for name in (self._known.keys() | self._records.keys()) - found:  # looked at since, and gone without a word
                self._known.pop(name, None)
                self._forget(name)
                self._reported.pop(name, None)
            fresh = found - self._known.keys()
        seen = []
        for name in [*islice(self._known, ROUND_TABLES), *fresh]:
            self._known.pop(name, None)
            self._known[name] = None
            with self._reporting(name):
                glance = self._glance(name)
                if glance is None:
                    self._forget(name)
                else:
                    seen.append((glance.created_ns, name, glance))
        self._found = found  # all of them were looked at
        alive: dict[Identity, bool] = {}

        def is_alive(process: Identity) -> bool:
            if process not in alive:
                alive[process] = self._is_alive(process)
            return alive[process]

        for _, name, glance in sorted(seen, key=lambda entry: entry[:2]):
            if glance == self._seen.get(name) and is_alive(Identity(*glance.owner)):
                continue  # nothing has happened to it
            with self._reporting(name):
                self._digest(name, glance, is_alive)
                self._reported.pop(name, None)

    def take_concerned(self) -> dict[Identity, list[str]]:
        """The processes with whose tables something has happened since the last call, and which tables."""
        concerned, self._concerned = self._concerned, {}
        return concerned

    def owned_by(self, process: Identity, told: Iterable[str] = ()) -> list[str]:
        """The tables that this process owns, as far as was seen, in the order of their creation.

        told: which it said that it has taken or made; besides, it may have taken what was offered and not come to say.
        Nothing is settled here.
        """
        for name in [*told, *islice(self._held, ROUND_TABLES)]:
            with suppress(UnmanageableError):
                seen = self._glance(name)
                if seen is not None and seen.owner == process:
                    self._digest(name, seen, lambda _: True)
        names = self._by_owner.get(process, ())
        return [record.name for record in in_order(self._records[name] for name in names)]

    def give(self, record: Record, receiver: Identity, kept: bool = False) -> Given:
        """Hand a held table over, as inherited from its last owner. kept: the receiver holds it for others, too."""
        name = record.name
        seen: Seen | None = None
        try:
            with self._attached(name, record.table_id) as (handle, _):
                self._outside.part_with(handle, receiver)
                handle.pass_on(receiver, kept)
                with suppress(UnmanageableError):  # whatever has come of it since, it was given
                    seen = self._outside.glance_of(name, handle)
        except (TableNotFoundError, NotOwnerError):
            return Given.LOST
        except LookupError:
            return Given.RECEIVER_DEAD
        except (TableError, OSError) as error:
            raise _cannot(name, error) from error
        self._remember(Record(name, record.table_id, receiver, record.created, held=False))
        self._concerned.setdefault(receiver, []).append(name)
        self._seen.pop(name, None)
        if seen is not None and seen.owner == receiver:
            self._seen[name] = seen
            self._told[name] = seen.table_id, seen.transfer_seq
        return Given.DONE

    def release(self) -> None:
        """Make orphans of the tables that the manager holds, though its process lives on.

        An orphan is a table whose owner is dead: they are given to a process that ends at once.
        """
        held = [record for record in self.records() if record.held]
        if not held:
            return
        try:
            with self._outside.mortal() as mortal:
                for record in held:
                    self.give(record, mortal, kept=True)
        except (UnmanageableError, OSError) as error:
            _log.warning("tables stay with process %d until it ends: %s", self.me.pid, error)

    # -- one table ----------------------------------------------------------------------------------------------------

    def _glance(self, name: str) -> Seen | None:
        try:
            return self._outside.glance(name)
        except (OSError, ValueError) as error:
            raise _cannot(name, error) from error

    def _digest(self, name: str, seen: Seen | None, is_alive: Callable[[Identity], bool]) -> Record | None:
        """What follows from what was seen: a hand-over if the owner is dead, and what is remembered of it."""
        try:
            if seen is not None and seen.owner != self.me and not is_alive(Identity(*seen.owner)):
                seen = self._settle(name)
            if seen is not None:
                self._note(name, seen)
        except TableNotFoundError:
            seen = None  # dropped while we looked
        except (TableError, OSError, ValueError) as error:
            raise _cannot(name, error) from error
        if seen is None:
            self._forget(name)
            return None
        self._seen[name] = seen
        owner = Identity(*seen.owner)
        before = self._records.get(name)
        was_held = before is not None and before.held and before.table_id == seen.table_id
        if was_held and seen.transfer_reason == _ffi.REASON_INHERITED:  # what was offered has been taken
            self._journal.note(Event.GIVEN, table=name, pid=owner.pid)
        return self._remember(Record(name, seen.table_id, owner, seen.created_ns, owner == self.me and seen.kept))

    def _settle(self, name: str) -> Seen | None:
        """Do what the heir of a dead owner's table says, the manager being the heir where that is another dead one."""
        with self._attached(name) as (handle, seen):
            # In one step with the change of owner: the kernel may have told us alone, and we may be killed between.
            ending = self._ending(seen.transfer_from if seen.kept else seen.owner)
            what = _ffi.CLAIM_TO_OFFER if self._may_offer(name) else _ffi.CLAIM_TO_KEEP
            with suppress(TableOwnedError):  # its heir has it, or another was faster
                handle.claim(what, None if ending.status is None else ending)
            now = self._outside.glance_of(name, handle)
            if now is not None and now.kept and now.owner == self.me:
                self._journal.note(Event.INHERITED, table=name, previous=seen.owner[0])
            return now

    def _ending(self, process: tuple[int, int]) -> Ending:
        return Ending(process, self._exit_of(Identity(*process)))

    def _note(self, name: str, seen: Seen) -> None:
        """Say in the segment how the owner before ended, and remember whom the change of owner concerns."""
        if seen.transfer_reason == _ffi.REASON_NEVER:
            return
        is_open = seen.transfer_reason != _ffi.REASON_GIFT and seen.transfer_end == _ffi.END_OPEN
        if is_open:
            with self._attached(name, seen.table_id) as (handle, _):
                handle.note_end(self._ending(seen.transfer_from))
        if self._told.get(name) != (seen.table_id, seen.transfer_seq):
            self._told[name] = seen.table_id, seen.transfer_seq
        elif not is_open:
            return
        self._concerned.setdefault(Identity(*seen.owner), []).append(name)

    @contextmanager
    def _attached(self, name: str, table_id: int = 0) -> Iterator[tuple[TableHandle, Seen]]:
        """What bears the name now, and what that is; or the table with this id, if it was attached to in this visit."""
        if self._visited is None or self._visited[1].table_id != table_id:
            self._leave()
            self._visited = self._outside.attach(name)
        try:
            yield self._visited
        except BaseException:
            self._leave()
            raise
        if not self._is_visiting:
            self._leave()

    def _leave(self) -> None:
        if self._visited is not None:
            self._visited[0].close()
            self._visited = None

    def _remember(self, record: Record) -> Record:
        self._unlist(record.name)
        self._records[record.name] = record
        if record.held:
            self._held[record.name] = None
        else:
            if record.owner not in self._by_owner:
                self._by_owner[record.owner] = {}
                self._new_owners.add(record.owner)
            self._by_owner[record.owner][record.name] = None
        return record

    def _forget(self, name: str) -> None:
        self._unlist(name)
        self._records.pop(name, None)
        self._told.pop(name, None)
        self._seen.pop(name, None)

    def _unlist(self, name: str) -> None:
        record = self._records.get(name)
        self._held.pop(name, None)
        if record is not None and not record.held:
            names = self._by_owner[record.owner]
            del names[name]
            if not names:
                del self._by_owner[record.owner]

    @contextmanager
    def _reporting(self, name: str) -> Iterator[None]:
        """Log once what will be the same in every round."""
        try:
            yield
        except UnmanageableError as error:
            self._forget(name)
            if self._reported.get(name) != str(error) and not error.foreign:
                self._reported[name] = str(error)
                _log.warning("%s", error)
