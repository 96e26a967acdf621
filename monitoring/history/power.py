"""Job: the power of the station and of each gun: means of a second and of a minute from snapshots twice a second.

Thread: one at a time (history). Lock: none. Units: W (whole), s; `ts` Unix seconds at which the second or minute began.

A minute is the mean of its seconds that were seen and says how many these were. It is handed out when it is over; a
process that is killed in the middle of it has its seconds in the database, from which the next one makes it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MINUTE_S = 60


@dataclass(frozen=True, slots=True)
class PowerRow:
    """Mean power over `seconds` of the second or minute that began at `ts`."""

    ts: int
    station_w: int
    guns_w: tuple[int, ...]  # gun 1 first
    seconds: int = 1


@dataclass(slots=True)
class _Minute:
    """Sums over the seconds that were seen: the station, then gun by gun."""

    ts: int
    sums_ws: list[int]
    seconds: int = 0

    def add(self, row: PowerRow) -> None:
        values = (row.station_w, *row.guns_w)
        if len(values) != len(self.sums_ws):  # the station was given more or fewer guns within this minute
            self.sums_ws, self.seconds = [0] * len(values), 0
        self.sums_ws = [total + row.seconds * value for total, value in zip(self.sums_ws, values, strict=True)]
        self.seconds += row.seconds

    def row(self) -> PowerRow:
        station_w, *guns_w = (round(total / self.seconds) for total in self.sums_ws)
        return PowerRow(self.ts, station_w, tuple(guns_w), min(MINUTE_S, self.seconds))


class PowerBook:
    """Finished seconds wait in `seconds`, finished minutes in `minutes`, until they are written.

    Bounded: what is too much goes, the oldest first, and is counted in `dropped` (rows).
    """

    def __init__(self, seconds_kept: int, minutes_kept: int) -> None:
        self.seconds: deque[PowerRow] = deque()
        self.dropped = 0
        #: a minute was finished since it was last set to False
        self.news = False
        self._seconds_kept, self._minutes_kept = seconds_kept, minutes_kept
        self._minutes: dict[int, _Minute] = {}
        self._minute: int | None = None  # the one that grows
        self._second: int | None = None
        self._sums_kw: list[float] = []
        self._count = 0
        self._adopted = False

    @property
    def minutes(self) -> list[PowerRow]:
        """Those that are over."""
        return [minute.row() for minute in self._minutes.values() if minute.ts != self._minute]

    def take(self, ts: float, station_kw: float, guns_kw: Sequence[float]) -> None:
        """One snapshot. When a second is over its row is finished."""
        second = math.floor(ts)
        values = [station_kw, *guns_kw]
        if second != self._second or len(values) != len(self._sums_kw):
            self.finish()
            self._second, self._sums_kw, self._count = second, [0.0] * len(values), 0
        self._sums_kw = [total + value for total, value in zip(self._sums_kw, values, strict=True)]
        self._count += 1

    def finish(self) -> None:
        """The second that is being seen is over."""
        if self._second is None:
            return
        station_w, *guns_w = (round(1000.0 * total / self._count) for total in self._sums_kw)
        row = PowerRow(self._second, station_w, tuple(guns_w))
        self._second = None
        self.seconds.append(row)
        while len(self.seconds) > self._seconds_kept:
            self.seconds.popleft()
            self.dropped += 1
        self._add_to_minute(row)

    def adopt(self, kept: Iterable[PowerRow]) -> list[PowerRow]:
        """What an earlier process saw of minutes that it did not finish; returns those in which we saw nothing.

        Asked a second time nothing is added again.
        """
        if self._minute is None and self._second is not None:
            self._minute = self._second - self._second % MINUTE_S  # none of its seconds is over yet
        left = []
        for row in kept:
            if row.ts not in self._minutes and row.ts != self._minute:
                left.append(row)
            elif not self._adopted:
                self._minutes.setdefault(row.ts, _Minute(row.ts, [0] * (1 + len(row.guns_w)))).add(row)
        self._adopted = True
        return left

    def written(self, seconds: int, minutes: Iterable[int]) -> None:
        """The first `seconds` rows and these minutes are in the database."""
        for _ in range(min(seconds, len(self.seconds))):
            self.seconds.popleft()
        for ts in minutes:
            self._minutes.pop(ts, None)

    def throw_away(self) -> int:
        """Forget what waits; how many rows that were."""
        lost = len(self.seconds) + len(self._minutes)
        self.seconds.clear()
        self._minutes.clear()
        return lost

    def _add_to_minute(self, row: PowerRow) -> None:
        ts = row.ts - row.ts % MINUTE_S
        if self._minute is not None and ts != self._minute:
            self.news = True
        self._minute = ts
        self._minutes.setdefault(ts, _Minute(ts, [0] * (1 + len(row.guns_w)))).add(row)
        while len(self._minutes) > self._minutes_kept:
            del self._minutes[min(self._minutes)]
            self.dropped += 1


def minutes_of(seconds: Iterable[PowerRow]) -> list[PowerRow]:
    """The minutes that these seconds make."""
    made: dict[int, _Minute] = {}
    for row in seconds:
        ts = row.ts - row.ts % MINUTE_S
        made.setdefault(ts, _Minute(ts, [0] * (1 + len(row.guns_w)))).add(row)
    return [minute.row() for minute in made.values()]
