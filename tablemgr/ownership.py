# SPDX-License-Identifier: Apache-2.0
"""The verbs by which an owner says whose a table is and will be: `Owning`, a part of `Table`."""

from __future__ import annotations

from multiprocessing.process import BaseProcess
from typing import Any, Final

from tablemgr import _ffi, bell, codec as codecs, mailbox, segments
from tablemgr._ffi import Handle
from tablemgr.errors import Status
from tablemgr.options import heir_of, one_of, process_of

_MISSING: Final = object()  # not to be changed: None is a value


class Owning:
    """What the owner of a `Table` may do with it."""

    __slots__ = ()

    _handle: Handle
    _instance: str
    _codec: str

    def give_away(self, to: int | str | BaseProcess | segments.Process, data: Any = None) -> None:
        """Make another live process the owner; only the owner may. Heir and rows stay as they are.

        to: its pid, its `multiprocessing.Process`, the name that it registered or the `Process` that `whereis` gave;
        data: a value for it, at most 896 bytes encoded. It is told by a `TableTransfer`. Raises NotOwnerError,
        LookupError if there is no such process or it is dead, ValueError if it is this one. One atomic step.
        """
        self._own("give_away")
        try:
            receiver = process_of(to, "the receiver", self._instance)
            encoded = codecs.encode_data(data, self._codec)
        except Exception as error:
            self._handle.blame("give_away", error)
        mailbox.put_aside(self._instance, self._handle)
        self._handle.give_away(receiver, encoded)
        pid, start = receiver
        start = start or _ffi.process_start(pid) or 0
        if start:
            bell.ring(self._instance, (pid, start), [self._handle.name])
        bell.ring(self._instance, None, [self._handle.name])  # a manager is to watch another process now

    def setopts(self, *, heir: Any = _MISSING, heir_data: Any = _MISSING, access: Any = _MISSING) -> None:
        """Change options as given to create; only the owner may. A new heir without heir_data gets none.

        Raises NotOwnerError, TypeError, ValueError, LookupError (an heir that is no live process). One atomic step.
        """
        raw = self._own("setopts")
        try:
            changes = self._changes(raw, heir, heir_data, access)
        except Exception as error:
            self._handle.blame("setopts", error)
        self._handle.setopts(**changes)

    def _changes(self, raw: _ffi.RawInfo, heir: Any, heir_data: Any, access: Any) -> dict[str, Any]:
        """What setopts is to change, as the core takes it. Raises TypeError, ValueError, LookupError."""
        if heir is _MISSING and heir_data is _MISSING and access is _MISSING:
            raise TypeError("nothing to change; give heir, heir_data or access")
        new_access = None if access is _MISSING else one_of(segments.ACCESSES, access, "access")
        if heir is _MISSING and heir_data is _MISSING:
            return {"access": new_access}
        value = None if heir_data is _MISSING else heir_data
        changes: dict[str, Any] = {"heir_data": codecs.encode_data(value, self._codec), "access": new_access}
        kind = raw.heir
        if heir is not _MISSING:
            kind, process = heir_of(heir, self._instance)
            changes |= {"heir": kind, "heir_process": process}
        if kind == _ffi.HEIR_NONE and value is not None:
            raise ValueError("heir_data without an heir would reach nobody: name an heir, or leave it out")
        return changes

    def _own(self, verb: str) -> _ffi.RawInfo:
        """The table's description, if this process owns it."""
        raw = segments.settled(self._handle, verb)
        if raw.owner != _ffi.self_process():
            self._handle.fail(Status.NOT_OWNER, verb)
        return raw
