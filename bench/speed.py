"""Job: how many times faster than the clock the whole station runs in virtual time, at both levels.

Thread: MainThread. Lock: none. Units: s.
"""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path

from bench.table import Table
from simulator.arrivals import timetable
from simulator.virtual import Level, VirtualStation, settings_at

SEED, CARS, STATION_S = 1, 40, 600.0


def times_real_time(level: Level, station_s: float) -> float:
    """Station seconds per second of this machine, cars coming by themselves."""
    with tempfile.TemporaryDirectory() as folder:
        station = VirtualStation(settings_at(Path(folder)), level=level, seed=SEED, arrivals=timetable(SEED, CARS))
        begun_s = time.perf_counter()
        station.run_to(station_s)
        return station_s / (time.perf_counter() - begun_s)


def tables() -> list[Table]:
    logging.disable(logging.CRITICAL)
    rows = [(level.name.lower(), STATION_S, times_real_time(level, STATION_S)) for level in Level]
    return [
        Table(
            "Speed of the simulated station",
            f"Station seconds per second, {CARS} cars coming by themselves. Limit: 60 over the full wire.",
            ("level", "station s", "times real time"),
            rows,
        )
    ]
