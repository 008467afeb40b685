# SPDX-License-Identifier: Apache-2.0
"""The manager's event loop: the line, the requests, the pidfds, the clock. Every decision is `decisions`'.

Nothing here waits, but for one moment after a death. A request is carried out at once or its sender takes a place in
the line.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterator

from tablemgr import _ffi, bell, names, processes, protocol, rendezvous
from tablemgr.errors import ManagerRunningError, TableError
from tablemgr.manager.conversations import Conversation, Conversations
from tablemgr.manager.decisions import Identity, Line, Record, Verdict, Waiter, judge, next_answer, to_watch
from tablemgr.manager.estate import Estate, Given
from tablemgr.manager.journal import Event, Journal
from tablemgr.manager.limits import Limits
from tablemgr.manager.outside import SharedMemory, UnmanageableError
from tablemgr.manager.sole import Sole
from tablemgr.manager.watch import Watch

ROUND_SECONDS = 1.0  # between two looks at all owner words
RETURN_SECONDS = 0.1  # for those who stood in line when a manager ended to come back, each to its place
OFFERED_MAX = 16  # tables of one death; of more, somebody may ask for one before its turn has come, and be overtaken
MOMENT_SECONDS = 1e-6  # the shortest sleep, some 60 microseconds; a yield does not let another one run (Linux 6.18)
_IN_LINE = "line"  # what a manager notes in its lock while somebody stands in line, or is to come back to it

_log = logging.getLogger("tablemgr.manager")


class Server:
    """One manager of one instance. `open` makes it the manager, `run` serves until `stop`, `close` ends it.

    Guarantee: it can be SIGKILLed anywhere; what it did is in the segments, and its successor goes on from there.
    """

    def __init__(
        self,
        instance: str,
        patience: float | None = None,
        *,
        limits: Limits | None = None,
        listener: socket.socket | None = None,
        prepare: Callable[[Journal], None] | None = None,
    ) -> None:
        """listener: one passed by socket activation. prepare: called by `open`, before anybody is served."""
        self.instance = instance
        self.journal = Journal()
        self._passed = listener
        self._prepare = prepare
        self.since = time.time()  # epoch seconds
        self.is_client = False  # this process uses tables: it is to be told of each death before the table goes on
        self._lock = rendezvous.FileLock(instance, "lock")
        self._conversations = Conversations(
            instance, self.journal, limits or Limits(), patience, self._request, self._leave
        )
        self._line = Line()
        self._is_forming = False  # again, the line of the manager before: until then nobody gets an orphan
        self._is_busy = False  # with many tables
        self._noted = False  # that there is a line
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._stopped: asyncio.Event | None = None
        self._watch: Watch | None = None
        self._bell: bell.Bell | None = None

    def open(self) -> None:
        """Become the manager: take the lock, find and settle all tables, then listen; needs no event loop.

        Raises ManagerRunningError if the instance has one, whatever directory that uses, ManagerUnavailableError if the
        directory is not usable, OSError.
        """
        if not self._lock.acquire():
            raise ManagerRunningError(
                f"instance {self.instance!r} has a manager already: process {self._lock.holder()}; "
                "use it, stop it, or choose another instance"
            )
        try:
            self._sole = Sole(self.instance)
        except BaseException:
            self._lock.release()
            raise
        self._is_forming = self._noted = self._lock.left == _IN_LINE
        self._estate = Estate(SharedMemory(self.instance), self.journal, self._exit_of, self._is_alive, self._may_offer)
        try:
            if self._prepare is not None:
                self._prepare(self.journal)
            self._estate.round()
            self._conversations.open(self._passed)
        except BaseException:
            self._estate.release()  # the process may live on, and is no manager
            self._sole.close()
            self._lock.release()
            raise

    async def run(self) -> None:
        """Serve until `stop` is called."""
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._watch = Watch(self._loop, self._died)
        self._conversations.start(self._loop)
        self._listen_to_bell()
        forming = self._loop.call_later(RETURN_SECONDS, self._line_has_formed)
        try:
            while not self._stopped.is_set():
                try:
                    self._round()
                except Exception as error:  # whatever is wrong with one table, the others are served on
                    self.journal.note(Event.ROUND_FAILED, logging.ERROR, error=error, reason=str(error))
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), ROUND_SECONDS)
            self._drain()
        finally:
            forming.cancel()
            self._conversations.stop()
            if self._bell is not None:
                self._loop.remove_reader(self._bell)
                self._bell.close()
            self._watch.close()

    def _drain(self) -> None:
        """Before the end: answer what was asked already, and tell those in line to go to the successor.

        One pass and no wait. Who asks after it finds the connection closed, and asks the successor as well.
        """
        self.journal.note(Event.ENDING, clients=len(self._conversations), waiting=len(self._line))
        self._conversations.drain()
        self._is_forming = self._is_forming or len(self._line) > 0  # at the successor
        for waiter in self._line.all():
            self._answer(waiter, protocol.Refused("ending", "the manager ends; its successor keeps your place in line"))

    @property
    def tables(self) -> int:
        """How many tables it looks after. Any thread may ask."""
        return self._estate.n_tables

    @property
    def clients(self) -> int:
        """How many connections there are. Any thread may ask."""
        return len(self._conversations)

    @property
    def waiting(self) -> int:
        """How many stand in line. Any thread may ask."""
        return len(self._line)

    def stop(self) -> None:
        """Make `run` return; only from the loop's own thread."""
        if self._stopped is not None:
            self._stopped.set()

    def close(self, exiting: bool = False) -> None:
        """No longer be the manager: the socket goes, then the lock; the tables that it holds stay as orphans.

        exiting: the process is about to end, which makes its tables orphans without further ado.
        """
        if not self._conversations.is_open:
            return
        self._conversations.close()
        with contextlib.suppress(TableError, OSError):
            names.tidy(self.instance)  # nobody else would look for the names of the dead
        if not exiting:
            self._estate.release()
        self._sole.close()
        self._lock.release()

    # -- the clock and the dead ---------------------------------------------------------------------------------------

    def _round(self) -> None:
        """Once a second: new tables, owners that nobody told us of, peers that are overdue."""
        with self._busy():
            self._estate.round()
        for name in self._line.names():
            self._attend(name)
        self._rewatch()
        self._conversations.round()
        if self._conversations.is_lost:
            _log.warning("no client finds the manager of instance %r any more: its socket was removed", self.instance)
            self.stop()  # or it would keep the instance from having one that can be found

    def _is_alive(self, process: Identity) -> bool:
        known = None if self._watch is None else self._watch.is_alive(process)
        return _ffi.process_alive(*process) if known is None else known

    def _exit_of(self, process: Identity) -> int | None:
        if self._watch is not None:
            return self._watch.exit_of(process)
        return processes.exit_status(*process, None)

    def _ring(self) -> None:
        """Wake up whoever waits to be told what has just happened to its tables."""
        for process, tables in self._estate.take_concerned().items():
            bell.ring(self.instance, process, tables)

    def _listen_to_bell(self) -> None:
        """Owners ring when they have changed something: then there is no need to wait for the next round."""
        try:
            self._bell = bell.Bell(self.instance, None)
        except OSError as error:
            _log.warning("without a bell (%s): what owners change by themselves is noticed once a second", error)
            return
        self._loop.add_reader(self._bell, self._rung)

    def _rung(self) -> None:
        assert self._bell is not None
        for name in self._bell.heard() or ():  # if some were lost, the next round looks at all
            self._attend(name)
        self._follow_up()

    def _follow_up(self) -> None:
        """After anything that may have changed an owner: watch the new one, tell whom it concerns."""
        assert self._watch is not None
        for process in self._estate.take_new_owners() - {self._estate.me}:
            self._watch.include(process)
        self._ring()

    def _rewatch(self) -> None:
        """Watch all that are to be watched, and nobody else."""
        assert self._watch is not None
        self._estate.take_new_owners()
        self._watch.set(to_watch(self._estate.owners(), self._conversations.peers(), self._estate.me))
        self._ring()

    def _died(self, process: Identity) -> None:
        """A watched process ended: its tables move in the order of their creation, each as far as it can at once."""
        left = self._conversations.of(process)
        told: list[str] = []
        for conversation in left:
            words = self._conversations.last_words(conversation)
            told += [request.name for request in words if isinstance(request, protocol.Watch)]
            self._leave(conversation.key)
        orphaned = self._estate.owned_by(process, told)
        if orphaned:
            self.journal.note(Event.DEATH, pid=process.pid, tables=len(orphaned))
        with self._busy(len(orphaned) > OFFERED_MAX):
            for name in orphaned:
                self._attend(name, owner_died=True)
        if orphaned:
            time.sleep(MOMENT_SECONDS)  # who has got one first: its processor may be this one
        for conversation in left:  # last: somebody waits for the tables
            self._conversations.end(conversation)
        self._rewatch()

    # -- the line -----------------------------------------------------------------------------------------------------

    def _may_offer(self, name: str) -> bool:
        """Not what somebody waits for, or has come to wait for while we had no time to read of it."""
        return not (self.is_client or self._is_forming or self._is_busy or self._line.of(name))

    @contextlib.contextmanager
    def _busy(self, is_busy: bool = True) -> Iterator[None]:
        """In the block there is no time for requests, and perhaps for many tables: who waits for one is not known."""
        self._is_busy = is_busy
        try:
            yield
        finally:
            self._is_busy = False

    def _note_line(self) -> None:
        """Have the successor know, however this manager ends, whether there is somebody to wait for."""
        if (self._is_forming or len(self._line) > 0) != self._noted:
            self._noted = not self._noted
            self._lock.note(_IN_LINE if self._noted else "")

    def _line_has_formed(self) -> None:
        """Who stood in line when the manager before ended has come back by now: serve in the order of asking."""
        self._is_forming = False
        for name in self._line.names():
            self._attend(name)
            for waiter in self._line.of(name):
                if waiter.deadline is not None and waiter.deadline <= time.monotonic():
                    self._expire(waiter)
        self._note_line()
        self._follow_up()

    def _attend(self, name: str, owner_died: bool = False) -> None:
        """Look at a table and tell everybody in its line what there is to be told.

        An owner that is found dead on the way, before we were told of its end, leaves all its tables at once.
        """
        if not owner_died and (dead := self._estate.found_dead(name)) is not None:
            self._died(dead)
        try:
            with self._estate.visit():
                record = self._estate.look_after_death(name) if owner_died else self._estate.look(name)
                if self._is_forming and record is not None and record.held:
                    return
                while (answer := next_answer(record, self._line.of(name))) is not None:
                    waiter, verdict = answer
                    conversation = self._conversations[waiter.key]
                    if verdict is Verdict.GIVE:
                        given = self._give(record, waiter, conversation)
                        if given is Given.RECEIVER_DEAD:
                            self._conversations.end(conversation)  # the next one
                            continue
                        if given is Given.LOST:
                            record = self._estate.look(name)
                            continue
                        record = self._estate.known(name)
                    self._answer(waiter, _told(verdict, waiter))
                    if record is None:
                        record = self._estate.look(name)
                    if record is None:
                        return  # one creator at a time: the next is told when this one has had its chance
        except UnmanageableError as error:
            if error.busy:
                return  # those in the line wait for the next round, or the end of their patience
            for waiter in self._line.of(name):
                self._answer(waiter, _refusal(error))

    def _give(self, record: Record | None, waiter: Waiter, conversation: Conversation) -> Given:
        """Give a held table to a waiter, if that still wants it."""
        if record is None or conversation.has_left():
            return Given.RECEIVER_DEAD
        given = self._estate.give(record, waiter.asker)
        if given is Given.DONE:
            self.journal.note(Event.GIVEN, table=waiter.name, pid=waiter.asker.pid)
        return given

    def _claim(self, conversation: Conversation, peer: Identity, claim: protocol.Claim) -> None:
        self.journal.note(Event.CLAIM, logging.DEBUG, table=claim.name, pid=peer.pid)
        now = time.monotonic()
        asked = min(claim.asked, now)
        waiter = Waiter(conversation.key, claim.name, claim.table_id, peer, asked, claim.until)
        self._line.join(waiter)
        self._attend(claim.name)
        if waiter.key in self._line and claim.until is not None:
            if claim.until <= now:
                self._expire(waiter)
            else:
                # the loop's clock is the monotonic clock, but only by the habit of its implementation
                due = self._loop.time() + claim.until - now
                self._timers[waiter.key] = self._loop.call_at(due, self._expire, waiter)
        self._note_line()
        self._follow_up()

    def _expire(self, waiter: Waiter) -> None:
        """The time to wait is over: one last look, then the answer."""
        self._attend(waiter.name)
        if waiter.key not in self._line:
            return
        try:
            record = self._estate.look(waiter.name)
        except UnmanageableError as error:
            self._answer(waiter, _refusal(error))
            return
        verdict = judge(record, waiter)
        if self._is_forming and verdict is Verdict.GIVE:
            return  # the answer comes when the line has formed
        if record is not None and verdict in (Verdict.OWNED, Verdict.GIVE):
            self._answer(waiter, protocol.Owned(record.name, *record.owner))
        else:
            self._answer(waiter, _told(verdict, waiter))

    def _answer(self, waiter: Waiter, reply: protocol.Reply) -> None:
        self._leave(waiter.key)
        self._conversations.say(self._conversations[waiter.key], reply)

    def _leave(self, key: int) -> None:
        self._line.leave(key)
        self._note_line()
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    # -- requests -----------------------------------------------------------------------------------------------------

    def _request(self, conversation: Conversation, request: protocol.Request) -> None:
        if isinstance(request, protocol.Hello):
            self._greet(conversation, request)
        elif conversation.peer is None or conversation.key in self._line:
            raise protocol.ProtocolError("requests begin with Hello and wait for their answers")
        elif isinstance(request, protocol.Claim):
            self._claim(conversation, conversation.peer, request)
        elif isinstance(request, protocol.Watch):
            self._look_now(conversation, request.name)
        elif isinstance(request, protocol.Status):
            self._report(conversation)
        else:
            self._conversations.say(conversation, protocol.Done())
            self.stop()

    def _greet(self, conversation: Conversation, hello: protocol.Hello) -> None:
        if hello.version != protocol.VERSION:
            told = f"the manager speaks version {protocol.VERSION} of the protocol, you {hello.version}: restart it"
            self._conversations.refuse(conversation, "version", told)
        elif conversation.peer is not None:
            raise protocol.ProtocolError("Hello is said once")
        elif (hello.pid, hello.start) != (conversation.pid, _ffi.process_start(conversation.pid) or hello.start):
            self._conversations.refuse(
                conversation, "stranger", "the connection is another process's, or from another namespace"
            )
        else:
            conversation.peer = Identity(hello.pid, hello.start)
            conversation.deadline = None
            assert self._watch is not None
            self._watch.include(conversation.peer)  # before anything is committed for it
            if conversation.lifeline is not None:
                self._watch.show_lifeline(conversation.peer, conversation.lifeline)
                conversation.drop_lifeline()
            self.journal.note(Event.CONNECTED, logging.DEBUG, pid=hello.pid)
            self._conversations.say(conversation, protocol.Welcome(protocol.VERSION, *self._estate.me, self.since))

    def _look_now(self, conversation: Conversation, name: str) -> None:
        self._attend(name)
        self._follow_up()
        self._conversations.say(conversation, protocol.Done())

    def _report(self, conversation: Conversation) -> None:
        waiters = self._line.all()
        listed = tuple(protocol.Waiting(w.name, *w.asker) for w in waiters[: protocol.LISTED_MAX])
        self._conversations.say(conversation, protocol.StatusReport(self._estate.n_tables, len(waiters), listed))


def _refusal(error: UnmanageableError) -> protocol.Refused:
    return protocol.Refused("busy" if error.busy else "unmanageable", str(error)[:1000])


def _told(verdict: Verdict, waiter: Waiter) -> protocol.Reply:
    if verdict is Verdict.CREATE:
        return protocol.Absent(waiter.name)
    if verdict is Verdict.LOOK_AGAIN:
        return protocol.Changed(waiter.name)
    return protocol.Given(waiter.name)
