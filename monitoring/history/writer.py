"""Job: the one thread that writes the history: takes what was seen, commits every few seconds, keeps what cannot be
written.

Thread: `history` (a Worker); `put` from one other thread. Lock: none (a bounded deque between the two). Units: s
(monotonic).

What began or ended is written within a second, an open session every WRITE_S; both survive a power cut. The power of
the last seconds goes with them, or alone every WRITE_S, and then for a power cut only once a minute. While the database
cannot be written, all of it waits in memory, bounded; the log says so in plain words, once a minute.
"""

from __future__ import annotations

import logging
from collections import deque

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError

from monitoring.history import migrations
from monitoring.history.chronicle import Chronicle
from monitoring.history.database import FAILURES, Database, is_broken, words
from monitoring.history.migrations import NotOurs
from monitoring.history.prune import Pruner
from monitoring.history.readings import Seen
from monitoring.history.record import take_up, write
from planning.notebook import REMIND_S, Notebook
from worker import Clock, Worker

log = logging.getLogger(__name__)

STEP_S = 0.5
#: Whatever happens, no more than this waits to be written while the database works.
WRITE_S = 5.0
#: Lines that wait for the thread (five minutes), should a database hold it up.
LINES_KEPT = 600
#: A database that cannot be written is tried again after the first of these, then always after twice as long, up to the
#: second.
AGAIN_S, AGAIN_MOST_S = 1.0, 15.0


class Writer:
    """Owns the connection that writes, and all that waits to be written."""

    def __init__(self, database: Database, retention_days: int, max_bytes: int, clock: Clock) -> None:
        self.worker = Worker("history", self.step, clock)
        #: why nothing is written at present, as a sentence; None: all is well. Any thread
        self.trouble: str | None = None
        self.written = 0  # transactions
        self._database = database
        self._retention_days, self._max_bytes = retention_days, max_bytes
        self._clock = clock
        self._queue: deque[Seen] = deque()
        self._lines_dropped = 0
        self._books = Chronicle()
        self._pruner = Pruner(database, retention_days, max_bytes)
        self._notebook = Notebook()
        self._connection: Connection | None = None
        self._taken_up = False
        self._written_at_s = float("-inf")
        self._again_s, self._again_at_s = AGAIN_S, float("-inf")
        self._dropped_told, self._dropped_told_at_s = 0, float("-inf")

    # --- the other thread ---------------------------------------------------------------------------------------------

    def put(self, seen: Seen) -> None:
        """Never waits. When too much waits already, the oldest line goes and is counted."""
        if len(self._queue) >= LINES_KEPT:
            self._lines_dropped += 1
            try:
                self._queue.popleft()
            except IndexError:  # taken in this very moment
                self._lines_dropped -= 1
        self._queue.append(seen)

    @property
    def dropped(self) -> int:
        """Lines and rows that were lost because the database could not take them in time. Any thread."""
        return self._lines_dropped + self._books.dropped

    @property
    def waiting(self) -> int:
        """Lines that the thread has not taken yet. Any thread."""
        return len(self._queue)

    # --- the thread ---------------------------------------------------------------------------------------------------

    def step(self, now_s: float) -> float:
        """Take what came, write what is due; returns when it wants to be called again. The Worker's step."""
        self._take(now_s)
        books = self._books
        due = books.news or now_s - self._written_at_s >= WRITE_S
        if books.last is not None and due and now_s >= self._again_at_s:
            self._try_to_write(now_s)
        self._tell_dropped(now_s)
        self._tell()
        return STEP_S

    def finish(self) -> None:
        """Write what is left and let go. After the worker ended, on whichever thread ended it."""
        self._take(self._clock.now_s())
        self._books.sessions.stop()
        self._books.power.finish()
        if self._books.last is not None and self.trouble is None:
            self._try_to_write(self._clock.now_s(), prune=False)
        self._tell()
        self._close()
        self._database.close()

    def _take(self, now_s: float) -> None:
        while True:
            try:
                seen = self._queue.popleft()
            except IndexError:
                return
            try:
                self._books.take(seen)
            except Exception as error:  # one line that nobody foresaw must not end the history
                self._notebook.complain("line", f"A snapshot could not be taken into the history: {error!r}", now_s)
                self._books.give_up(1)

    def _try_to_write(self, now_s: float, prune: bool = True) -> None:
        try:
            self._write(now_s, prune)
        except (IntegrityError, DataError) as error:
            rows = self._books.throw_away()
            self._written_at_s = now_s
            self._notebook.note(
                logging.ERROR, f"The database refuses rows of the history, {rows} are lost: {words(error)}"
            )
            self._close()
        except NotOurs as error:
            self._failed(f"{self._database.name} is left alone: {error}", now_s)
        except FAILURES as error:
            self._failed(f"{self._database.name} cannot be written: {words(error)}", now_s)
            if is_broken(error):
                self._set_aside()
        else:
            if self.trouble is not None:
                self._notebook.note(logging.INFO, f"The history is written again, to {self._database.name}")
            self.trouble = None
            self._again_s = AGAIN_S

    def _write(self, now_s: float, prune: bool) -> None:
        books, database = self._books, self._database
        if self._connection is not None and not database.still_there():
            self._notebook.note(logging.WARNING, f"{database.name} was taken away: a new one is made")
            self._close()
        connection = self._connection = self._connection or self._open()
        assert books.last is not None
        database.durable(connection, books.news or bool(books.sessions.open) or not self._taken_up)
        with connection.begin():
            if not self._taken_up:
                self._pruner.begin(connection, books.last.ts, now_s)
                take_up(connection, books)
            committed = write(connection, books)
        committed()
        self._taken_up = True
        self.written += 1
        if not books.waits:
            self._written_at_s = now_s
        if prune:
            self._pruner.step(connection, books.last.ts, books.clock_moved_s, now_s)

    def _open(self) -> Connection:
        connection = self._database.open()
        try:
            before = migrations.migrate(connection)
        except BaseException:
            connection.close()
            raise
        if before == 0:
            self._notebook.note(logging.INFO, f"A new history begins in {self._database.name}")
        return connection

    def _failed(self, sentence: str, now_s: float) -> None:
        self._close()
        self.trouble = f"The history is not written: {sentence}"
        self._again_at_s = now_s + self._again_s
        self._again_s = min(AGAIN_MOST_S, 2 * self._again_s)
        waits = f"What is new waits in memory and is tried again ({self.dropped} lost so far)."
        self._notebook.complain("database", f"{self.trouble}. {waits}", now_s)

    def _set_aside(self) -> None:
        aside = self._database.set_aside()
        if aside is not None:
            self._notebook.note(logging.ERROR, f"The history is damaged. It was moved to {aside}, and a new one begins")

    def _close(self) -> None:
        if self._connection is not None:
            try:
                self._connection.close()
            except FAILURES as error:
                log.debug("The connection of the history ended badly: %s", words(error))
            self._connection = None

    def _tell_dropped(self, now_s: float) -> None:
        lost = self.dropped - self._dropped_told
        if lost and now_s - self._dropped_told_at_s >= REMIND_S:
            self._dropped_told, self._dropped_told_at_s = self.dropped, now_s
            self._notebook.note(
                logging.WARNING, f"The history lost {lost} lines or rows that it could not write in time"
            )

    def _tell(self) -> None:
        while (note := self._notebook.take()) is not None:
            log.log(note.level, "%s", note.text)
