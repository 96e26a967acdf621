"""Job: from snapshots to what shall be written: sessions, power, faults, operations; bounded, and what goes is counted.

Thread: one at a time (history); no clock, no database. Lock: none. Units: as in the books that it holds.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field

from monitoring.history.faults import FaultBook, FaultRow
from monitoring.history.operations import Operation, OperationCounter
from monitoring.history.power import PowerBook
from monitoring.history.readings import Reading, Seen
from monitoring.history.sessions import Session, SessionTracker
from monitoring.history.timeline import Timeline

log = logging.getLogger(__name__)

#: So much waits for a database that cannot be written: two hours of seconds, a day of minutes, and a busy week of the
#: rest.
SECONDS_KEPT, MINUTES_KEPT = 7_200, 1_440
SESSIONS_KEPT, FAULTS_KEPT, OPERATIONS_KEPT = 2_000, 2_000, 10_000
#: A clock that is moved by less than this is not worth a line in the log.
TELL_MOVED_S = 2.0


@dataclass(slots=True)
class Chronicle:
    """All books, moved on together."""

    sessions: SessionTracker = field(default_factory=SessionTracker)
    faults: FaultBook = field(default_factory=FaultBook)
    power: PowerBook = field(default_factory=lambda: PowerBook(SECONDS_KEPT, MINUTES_KEPT))
    operations: deque[Operation] = field(default_factory=deque)
    counter: OperationCounter = field(default_factory=OperationCounter)
    #: the last snapshot
    last: Reading | None = None
    #: how far the wall clock was moved forward in all, as far as it was noticed
    clock_moved_s: float = 0.0
    _timeline: Timeline = field(default_factory=Timeline)
    _dropped: int = 0

    @property
    def dropped(self) -> int:
        """Rows that were given up because the database could not be written for too long."""
        return self._dropped + self.power.dropped

    @property
    def news(self) -> bool:
        """Something that shall be written at once, and be safe from a power cut."""
        return self.sessions.news or self.faults.news or self.power.news or bool(self.operations)

    def told(self) -> None:
        """The news were written."""
        self.sessions.news = self.faults.news = self.power.news = False

    def take(self, seen: Seen) -> None:
        """Move everything on by one line of the feed."""
        reading = seen.reading
        if reading is None:
            self.faults.take_news(seen.fault_news)
            return
        passed = self._timeline.take(reading.run, reading.seq, reading.ts, seen.now_s)
        if passed is None:
            return
        if passed.new_run:
            self.faults.begin_run(reading.run)
        if passed.clock_moved_s:
            self._clock_moved(passed.clock_moved_s)
        self.last = reading
        self.faults.take_news(seen.fault_news)
        self.faults.take(reading, passed.clock_moved_s)
        self.sessions.take(reading, passed)
        self.operations.extend(self.counter.take(reading.wear, reading.ts))
        self.power.take(reading.ts, reading.power_kw, [gun.delivered_kw for gun in reading.guns])
        self._bound()

    @property
    def waits(self) -> bool:
        """More waits than goes into one transaction."""
        return bool(self.power.seconds or self.operations)

    def give_up(self, lines: int) -> None:
        """So many lines could not be taken."""
        self._dropped += lines

    def throw_away(self) -> int:
        """Forget what waits: the database refuses it for good. How many rows that were."""
        lost = len(self.sessions.ended) + len(self.faults.ended) + len(self.operations) + self.power.throw_away()
        self.sessions.ended.clear()
        self.faults.ended.clear()
        self.operations.clear()
        self._dropped += lost
        self.told()
        return lost

    def _clock_moved(self, moved_s: float) -> None:
        self.clock_moved_s += max(0.0, moved_s)
        if abs(moved_s) >= TELL_MOVED_S:
            log.warning(
                "The wall clock was moved by %+.0f s. Open sessions keep their length and get new dates", moved_s
            )

    def _bound(self) -> None:
        self._dropped += _trim(self.sessions.ended, SESSIONS_KEPT) + _trim(self.faults.ended, FAULTS_KEPT)
        while len(self.operations) > OPERATIONS_KEPT:
            self.operations.popleft()
            self._dropped += 1


def _trim(waiting: list[Session] | list[FaultRow], kept: int) -> int:
    """Drop the oldest; how many went."""
    too_many = max(0, len(waiting) - kept)
    del waiting[:too_many]
    return too_many
