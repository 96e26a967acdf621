"""Job: the faults as the history keeps them: each with its start and its end, from what stands and from what is told.

Thread: one at a time (history). Lock: none. Units: s; `*_ts` Unix seconds.

A line of the feed that was lost may have told a start or an end, so what stands in the snapshot decides; the news add
what came and went between two snapshots. A page process that starts anew is told the last news again: what an earlier
one has written is known by its beginning and is not written twice. A controller that starts anew begins with no faults:
what stood before ended with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from monitoring.history.readings import Reading
from monitoring.schema import Fault

#: A fault that began so far from the one we know is another one.
ANOTHER_S = 2.0


@dataclass(slots=True)
class FaultRow:
    """One fault; it stands while `ended_ts` is None."""

    run: str
    code: str
    where: str
    severity: str
    scope: str
    text: str
    told_ts: float  # its beginning as the controller tells it: tells one from the next
    since_ts: float
    seen_ts: float
    ended_ts: float | None = None
    row: int | None = None


@dataclass(frozen=True, slots=True)
class KeptFault:
    """A fault of this run that an earlier page process wrote."""

    row: int
    code: str
    where: str
    since_ts: float
    stands: bool  # as far as that process knew


class FaultBook:
    """Those that stand, by (code, place); those that ended wait in `ended` until they are written."""

    def __init__(self) -> None:
        self.standing: dict[tuple[str, str], FaultRow] = {}
        self.ended: list[FaultRow] = []
        #: something began or ended since it was last set to False
        self.news = False
        self._run = ""
        self._seen_ts = 0.0
        self._kept: list[KeptFault] = []

    def begin_run(self, run: str) -> None:
        """The controller started anew, or is seen for the first time."""
        if self._run:
            for key in list(self.standing):
                self._end(key, self._seen_ts)
            self._kept = []
        for row in self.standing.values():
            row.run = run  # told before the first snapshot
        self._run = run

    def take_news(self, news: Iterable[Fault]) -> None:
        """What the controller told, in its order."""
        for fault in news:
            if fault.ended_ts is None:
                self._raise(fault)
                continue
            key = (fault.code, fault.id)
            if key not in self.standing:
                if any(_same(each, fault) for each in self.ended):
                    continue  # a snapshot had said so already
                self._raise(fault)
            self._end(key, fault.ended_ts)

    def take(self, reading: Reading, clock_moved_s: float) -> None:
        """What stands now."""
        for row in self.standing.values():
            row.since_ts += clock_moved_s  # it keeps its length
        stands = {(fault.code, fault.id): fault for fault in reading.faults}
        for key, row in list(self.standing.items()):
            now = stands.get(key)
            if now is None:
                self._end(key, reading.ts)
            elif abs(now.since_ts - row.told_ts) > ANOTHER_S:
                self._end(key, now.since_ts)
        for fault in reading.faults:
            self._raise(fault)
        for row in self.standing.values():
            row.seen_ts = max(row.since_ts, reading.ts)
        self._seen_ts = reading.ts

    def adopt(self, kept: Iterable[KeptFault]) -> list[KeptFault]:
        """What an earlier page process wrote in this run; returns what stood for it and does not stand any more."""
        self._kept = list(kept)
        rows = [*self.ended, *self.standing.values()]
        for row in rows:
            if row.row is None:
                self._find_row(row)
        known = {row.row for row in rows}
        return [each for each in self._kept if each.stands and each.row not in known]

    def _raise(self, fault: Fault) -> None:
        key = (fault.code, fault.id)
        if key in self.standing:
            return
        row = self.standing[key] = FaultRow(
            run=self._run, code=fault.code, where=fault.id, severity=fault.severity, scope=fault.scope, text=fault.text,
            told_ts=fault.since_ts, since_ts=fault.since_ts, seen_ts=fault.since_ts,
        )  # fmt: skip
        self._find_row(row)
        self.news = True

    def _find_row(self, row: FaultRow) -> None:
        """Whether it was written already: the same beginning; or it stood, and the clock was moved since."""
        here = [each for each in self._kept if (each.code, each.where) == (row.code, row.where)]
        same = next((each for each in here if abs(each.since_ts - row.told_ts) <= ANOTHER_S), None)
        if same is None and row.ended_ts is None:
            same = next((each for each in here if each.stands), None)
        if same is not None:
            row.row, row.since_ts = same.row, same.since_ts
            self._kept.remove(same)

    def _end(self, key: tuple[str, str], ended_ts: float) -> None:
        row = self.standing.pop(key)
        row.ended_ts = row.seen_ts = max(row.since_ts, ended_ts)
        self.ended.append(row)
        self.news = True


def _same(row: FaultRow, fault: Fault) -> bool:
    return (row.code, row.where) == (fault.code, fault.id) and abs(row.told_ts - fault.since_ts) <= ANOTHER_S
