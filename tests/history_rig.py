"""Job: a writer of the history without its thread: stepped by hand, in the test's own time; and what it wrote.

Thread: the test's. Lock: none. Units: s.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from history_feed import PERIOD_S, BusyStation
from sqlalchemy import select

from monitoring.history import MEGABYTE, tables
from monitoring.history.database import Database, database
from monitoring.history.readings import seen
from monitoring.history.writer import Writer
from monitoring.schema import Line


class HandClock:
    """Stands until it is moved."""

    def __init__(self, now_s: float = 1_000.0, wall_s: float = 1_795_000_000.0) -> None:
        self.time_s, self._wall_offset_s = now_s, wall_s - now_s

    def now_s(self) -> float:
        return self.time_s

    def wall_s(self) -> float:
        return self.time_s + self._wall_offset_s

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        raise RuntimeError("Nothing waits here")


class HandWriter:
    """Puts lines and steps; `close` as the page process ends, `kill` as by kill -9."""

    def __init__(self, url: str, folder: Path, clock: HandClock | None = None, max_megabytes: float = 500.0) -> None:
        self.clock = clock or HandClock()
        self.seq = 0  # for tests that make their own snapshots
        self.place: Database = database(url, folder)
        self.writer = Writer(self.place, 365, int(max_megabytes * MEGABYTE), self.clock)

    def take(self, line: Line) -> None:
        """One line of the feed, half a second after the last."""
        self.clock.time_s += PERIOD_S
        found = seen(line, self.clock.now_s())
        assert found is not None
        self.writer.put(found)
        self.writer.step(self.clock.now_s())

    def run(self, station: BusyStation, seconds: float) -> None:
        for _ in range(round(seconds / PERIOD_S)):
            self.take(station.next())

    def idle(self, seconds: float) -> None:
        """No lines come."""
        for _ in range(round(seconds / PERIOD_S)):
            self.clock.time_s += PERIOD_S
            self.writer.step(self.clock.now_s())

    def close(self) -> None:
        self.writer.finish()

    def kill(self) -> None:
        """Nothing more is written."""
        self.writer._close()
        self.place.close()


def rows(place: Database, name: str) -> list[dict[str, Any]]:
    """All rows of a table, in the order of their keys."""
    table = tables.metadata.tables[name]
    with place.readers.connect() as connection:
        found = connection.execute(select(table).order_by(*table.primary_key)).mappings().all()
    return [dict(row) for row in found]
