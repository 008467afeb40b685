"""What the manager's protocol promises, as plain Python: whose a table is after each call, and who is told what.

A call returns what the real one is to return: the name of the exception, or a value. Between calls everything is
settled: what follows from a death has happened.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

Transfer: TypeAlias = tuple[int, str, Any]
"""pid of the owner before, reason and data."""
MANAGER = "manager"


@dataclass(eq=False)
class Person:
    """A process that uses tables. told: per table, what its events are to be, in order, and not read yet."""

    pid: int
    alive: bool = True
    told: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    wants: Wish | None = None  # while it stands in line


@dataclass
class Wish:
    """A new_table that waits."""

    name: str
    heir: Any
    data: Any


@dataclass
class Table:
    """owner is None: it is an orphan, which a manager keeps if there is one. transfer: how the owner has it.

    heir: "manager", a Person, or None, and data what it will be told; of an orphan: what the next owner will be told.
    """

    name: str
    type: str
    owner: Person | None
    heir: Any
    data: Any
    transfer: Transfer | None = None
    dead: int = 0  # pid of the owner that left the orphan


class Model:
    """One instance."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}  # in the order of their creation
        self.lines: dict[str, list[Person]] = {}
        self.names: dict[str, Person] = {}
        self.has_manager = True
        self.exits: dict[int, set[int | None]] = {}  # of the dead

    # -- calls -------------------------------------------------------------------------------------------------------

    def new_table(self, who: Person, name: str, kind: str, heir: Any, data: Any) -> Any:
        """With wait=0: the error, or (inherited, transfer)."""
        if isinstance(heir, Person) and not heir.alive:
            return "LookupError"
        table = self.tables.get(name)
        if table is not None and table.type != kind:
            return "TableMismatchError"
        if not self.has_manager:
            return "ManagerUnavailableError"
        if table is not None and table.owner not in (None, who):
            return "TableOwnedError"
        return self.get(who, name, kind, heir, data)

    def get(self, who: Person, name: str, kind: str, heir: Any, data: Any) -> Any:
        """Nobody else has it: it is created or handed over. The heir may have died meanwhile."""
        table, is_dead = self.tables.get(name), isinstance(heir, Person) and not heir.alive
        if table is None:
            if is_dead:
                return "LookupError"
            self.tables[name] = Table(name, kind, who, heir, data)
            return False, None
        if table.owner is None:
            self._hand_over(table, who)
        table.heir, table.data = MANAGER if is_dead else heir, data
        return table.transfer is not None, table.transfer

    def claim_table(self, who: Person, name: str) -> Any:
        """(inherited, transfer), of which no event tells."""
        table = self.tables.get(name)
        if table is not None and table.owner is who:
            return "TableOwnedError"
        if not self.has_manager:
            return "ManagerUnavailableError"
        if table is not None and table.owner is not None:
            return "TableOwnedError"
        result = self.get(who, name, "set", MANAGER, None)
        if table is not None:
            del who.told[name][-2:]
        return result

    def add_table(self, who: Person, name: str, data: Any) -> Any:
        table = self.tables.get(name)
        if table is None:
            return "TableNotFoundError"
        if not self.has_manager:
            return "ManagerUnavailableError"
        if table.owner not in (None, who):
            return "NotOwnerError"
        if table.owner is None:
            self._hand_over(table, who)
        table.heir, table.data = MANAGER, data
        return None

    def end_management(self, who: Person, name: str) -> Any:
        """del_table and abandon_table."""
        if (error := self._not_mine(who, name)) is not None:
            return error
        table = self.tables[name]
        if table.heir is None:
            return "TableNotFoundError"
        table.heir = table.data = None
        return None

    def setopts(self, who: Person, name: str, heir: Any, data: Any) -> Any:
        if (error := self._not_mine(who, name)) is not None:
            return error
        if isinstance(heir, Person) and not heir.alive:
            return "LookupError"
        self.tables[name].heir, self.tables[name].data = heir, data
        return None

    def give_away(self, who: Person, name: str, to: Person | None, data: Any) -> Any:
        if (error := self._not_mine(who, name)) is not None:
            return error
        if to is who:
            return "ValueError"
        if to is None or not to.alive:
            return "LookupError"
        table = self.tables[name]
        table.owner, table.transfer = to, (who.pid, "gift", data)
        to.told.setdefault(name, []).append(("transfer", *table.transfer))
        return None

    def drop(self, who: Person, name: str) -> Any:
        table = self.tables.get(name)
        if table is None:
            return "TableNotFoundError"
        if table.owner not in (None, who):
            return "AccessError"
        del self.tables[name]
        return None

    def register(self, who: Person, name: str) -> Any:
        if self.whereis(name) not in (None, who):
            return "ValueError"
        self.names[name] = who
        return None

    def whereis(self, name: str) -> Person | None:
        person = self.names.get(name)
        return person if person is not None and person.alive else None

    # -- the line ----------------------------------------------------------------------------------------------------

    def wait(self, who: Person, wish: Wish) -> None:
        """Join the line, after new_table said that somebody else owns the table."""
        who.wants = wish
        self.lines.setdefault(wish.name, []).append(who)

    def served(self, name: str) -> list[Person]:
        """Of those in line, the ones of whom one gets the table now."""
        line, table = self.lines.get(name, []), self.tables.get(name)
        if not self.has_manager:
            return []
        if table is None:
            return line  # each may be the one that creates it
        if table.owner is None:
            return line[:1]
        return [who for who in line if who is table.owner]

    def serve(self, who: Person, kind: str) -> Any:
        """What the wait of one of them ends with."""
        wish = who.wants
        assert wish is not None
        self._leave(who)
        return self.get(who, wish.name, kind, wish.heir, wish.data)

    # -- deaths ------------------------------------------------------------------------------------------------------

    def die(self, who: Person) -> None:
        """By SIGKILL."""
        who.alive = False
        self.exits[who.pid] = {-9} if self.has_manager else {-9, None}
        self._leave(who)
        for table in [table for table in self.tables.values() if table.owner is who]:
            if table.heir is None:
                del self.tables[table.name]
                continue
            heir, table.owner, table.dead = table.heir, None, who.pid
            if isinstance(heir, Person) and heir.alive:
                self._hand_over(table, heir)
                table.heir, table.data = MANAGER, None

    def end_manager(self) -> None:
        """By SIGKILL: it may have inherited, and not come to say how the owner ended, which is the step after that."""
        self.has_manager = False
        for known in self.exits.values():
            known.add(None)

    def _hand_over(self, table: Table, who: Person) -> None:
        table.owner, table.transfer = who, (table.dead, "heir", table.data)
        who.told.setdefault(table.name, []).extend([("transfer", *table.transfer), ("died", table.dead)])

    def _leave(self, who: Person) -> None:
        if who.wants is not None:
            self.lines[who.wants.name].remove(who)
            who.wants = None

    def _not_mine(self, who: Person, name: str) -> str | None:
        table = self.tables.get(name)
        if table is None:
            return "TableNotFoundError"
        return None if table.owner is who else "NotOwnerError"
