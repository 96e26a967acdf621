"""Job: the history as the page process uses it: start, put, stop, and what readers read with.

Thread: `put` from one thread, the rest from any. Lock: none. Units: days, MB, s.
"""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import Engine

from monitoring.history.database import Database, Unusable, database
from monitoring.history.readings import seen
from monitoring.history.writer import Writer
from monitoring.schema import Line
from worker import Clock, SystemClock

log = logging.getLogger(__name__)

MEGABYTE = 1_000_000


class History:
    """Sessions, power, faults and contactor operations in a database; nobody ever waits for it."""

    def __init__(
        self, url: str, retention_days: int, max_megabytes: int, folder: Path, clock: Clock | None = None
    ) -> None:
        """`folder`: where config.ini lies; a relative file of SQLite lies there too.

        A url that cannot be used is told in the log and in `trouble`; then nothing is kept, and nothing fails.
        """
        self.clock: Clock = clock or SystemClock()
        self._unusable: str | None = None
        self._database: Database | None = None
        self._writer: Writer | None = None
        try:
            self._database = database(url, folder)
        except Unusable as error:
            self._unusable = f"There is no history: {error}"
            return
        self._writer = Writer(self._database, retention_days, max_megabytes * MEGABYTE, self.clock)

    @property
    def engine(self) -> Engine | None:
        """For readers: connections that cannot write. None: there is no database to read."""
        return self._database.readers if self._database is not None else None

    @property
    def dropped(self) -> int:
        """Lines and rows that were lost because the database could not take them in time."""
        return self._writer.dropped if self._writer is not None else 0

    @property
    def waiting(self) -> int:
        """Lines that wait for the writer."""
        return self._writer.waiting if self._writer is not None else 0

    @property
    def trouble(self) -> str | None:
        """Why nothing is written at present, as a sentence; None: all is well."""
        if self._writer is None:
            return self._unusable
        if self._writer.worker.failure is not None:
            return f"The thread of the history ended: {self._writer.worker.failure!r}"
        return self._writer.trouble

    def start(self) -> None:
        """Begin to write."""
        if self._writer is None:
            log.warning("%s", self._unusable)
        else:
            self._writer.worker.start()

    def put(self, line: Line) -> None:
        """Take one line of the feed; never waits. Always from the same thread."""
        if self._writer is not None and (found := seen(line, self.clock.now_s())) is not None:
            self._writer.put(found)

    def stop(self, timeout_s: float = 2.0) -> bool:
        """Write what is left and let go; False when the database held the thread up for longer than this."""
        if self._writer is None:
            return True
        if not self._writer.worker.stop(timeout_s):
            return False
        self._writer.finish()
        return True
