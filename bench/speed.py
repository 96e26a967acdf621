"""Job: how many times faster than the clock the whole station runs in virtual time, at both levels.

Thread: MainThread. Lock: none. Units: s. `python -m bench.speed [STATION_SECONDS]`
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from pathlib import Path

from simulator.arrivals import timetable
from simulator.virtual import Level, VirtualStation, settings_at

SEED, CARS = 1, 40


def times_real_time(level: Level, station_s: float) -> float:
    """Station seconds per second of this machine, cars coming by themselves."""
    with tempfile.TemporaryDirectory() as folder:
        station = VirtualStation(settings_at(Path(folder)), level=level, seed=SEED, arrivals=timetable(SEED, CARS))
        begun_s = time.perf_counter()
        station.run_to(station_s)
        return station_s / (time.perf_counter() - begun_s)


def main() -> None:
    logging.disable(logging.CRITICAL)
    station_s = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    for level in Level:
        factor = times_real_time(level, station_s)
        print(f"{level.name:8} {factor:7.0f} x real time over {station_s:.0f} s of the station")


if __name__ == "__main__":
    main()
