"""Job: the power of the station and of each gun: means of a second and of a minute from snapshots twice a second.

Thread: one at a time (history). Lock: none. Units: W (whole), s; `ts` Unix seconds at which the second or minute began.

A minute is the mean of its seconds that were seen and says how many these were; it is handed out again and again while it
grows, so that whoever is killed in the middle of it has lost seconds and not the minute.
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


class PowerBook:
    """Finished seconds wait in `seconds`, minutes (the present one too) in `minutes`, until they are written.

    Bounded: what is too much goes, the oldest first, and is counted in `dropped` (rows).
    """

    def __init__(self, seconds_kept: int, minutes_kept: int) -> None:
        self.seconds: deque[PowerRow] = deque()
        self.minutes: dict[int, PowerRow] = {}
        self.dropped = 0
        #: a minute was finished since it was last set to False
        self.news = False
        self._seconds_kept, self._minutes_kept = seconds_kept, minutes_kept
        self._second: int | None = None
        self._minute: int | None = None
        self._sums_kw: list[float] = []
        self._count = 0
        self._adopted = False

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

    def adopt(self, kept: Iterable[PowerRow]) -> None:
        """Minutes that an earlier process began and that we go on with."""
        if self._adopted:
            return
        self._adopted = True
        for row in kept:
            if row.ts in self.minutes:
                self.minutes[row.ts] = _together(row, self.minutes[row.ts])

    def written(self, seconds: int, minutes: Iterable[int]) -> None:
        """The first `seconds` rows and these minutes are in the database; the present minute goes on growing."""
        for _ in range(min(seconds, len(self.seconds))):
            self.seconds.popleft()
        for ts in minutes:
            if ts != self._minute:
                self.minutes.pop(ts, None)

    def _add_to_minute(self, row: PowerRow) -> None:
        ts = row.ts - row.ts % MINUTE_S
        if self._minute is not None and ts != self._minute:
            self.news = True
        self._minute = ts
        before = self.minutes.get(ts)
        self.minutes[ts] = PowerRow(ts, row.station_w, row.guns_w) if before is None else _together(before, row)
        while len(self.minutes) > self._minutes_kept:
            del self.minutes[min(self.minutes)]
            self.dropped += 1


def _together(one: PowerRow, other: PowerRow) -> PowerRow:
    """The mean of both, weighed by their seconds."""
    if len(one.guns_w) != len(other.guns_w):  # the station was given more or fewer guns within this minute
        return other
    seconds = one.seconds + other.seconds

    def mean_w(one_w: int, other_w: int) -> int:
        return round((one_w * one.seconds + other_w * other.seconds) / seconds)

    guns_w = tuple(mean_w(a, b) for a, b in zip(one.guns_w, other.guns_w, strict=True))
    return PowerRow(one.ts, mean_w(one.station_w, other.station_w), guns_w, min(MINUTE_S, seconds))
