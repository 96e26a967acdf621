"""Job: recorded days for the tests: simulated stations in virtual time whose records are written as logger_config does.

Thread: the test's. Lock: none. Units: s of station time. Virtual time begins with the first second of 1970.
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from planning import record
from planning.decision import Decision
from simulator import faults
from simulator.arrivals import timetable
from simulator.virtual import Level, VirtualStation, settings_at

DAY = "1970-01-01"
HEAD = "# 0.1.0 11111111-2222-3333-4444-555555555555"
_pids = itertools.count(100)


@contextmanager
def quietly() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` has filled: once for all workers of a run, since a simulated hour takes its time."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"recorded-{name}"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            make(folder)
            (folder / "made").touch()
    return folder


def head() -> str:
    return f"{HEAD} {next(_pids)}"


def write_day(folder: Path, records: Iterable[str], day: str = DAY) -> Path:
    """The file of a day; a life that was killed ends where the next one begins."""
    lines = [head() if line == "# killed" else line for line in (head(), *records)]
    path = folder / f"inputs-{day}.log"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def decided_lines(station: VirtualStation) -> list[str]:
    """The lines of the decisions, as they fall in this life of the process."""
    lines: list[str] = []
    core = station.core.demand._core
    step: Callable[[int], tuple[str, Decision]] = core.step

    def watched(now_ms: int) -> tuple[str, Decision]:
        inputs, decision = step(now_ms)
        lines.append(decision.line())
        return inputs, decision

    core.step = watched  # type: ignore[method-assign]
    return lines


def eventful_day(folder: Path) -> tuple[VirtualStation, list[str]]:
    """Over the wire: cars, commands, a module that fails, one that falls silent, a weld, a new rule, two kills.

    Returns the station and every decision of all its lives.
    """
    cars = timetable(5, 40, mean_gap_s=12.0)
    with quietly():
        station = VirtualStation(settings_at(folder), seed=5, arrivals=cars)
        bench = faults.Bench(station.plant, station.wire, station.bus)
        lines = [decided_lines(station)]

        def go(for_s: float) -> None:
            station.run_to(station.clock.time_s + for_s)

        def kill(dead_s: float) -> None:
            station.rebuild(dead_s)
            lines.append(decided_lines(station))

        def do(line: str) -> None:
            faults.apply(line, bench, station.clock.time_s)

        go(40.0)
        station.core.demand.set_site_limit(180.0)
        go(10.0)
        do("fail m2")
        go(8.0)
        do("mute m5")
        station.core.demand.set_max_power(3, 50.0)
        go(12.0)
        kill(0.8)
        go(30.0)
        station.core.demand.set_site_limit(400.0)
        closed = station.plant.closed_contacts()
        if closed:
            do(f"weld {closed[0]}")
        go(15.0)
        station.core.demand.set_module_enabled(7, False)
        station.publish("vesec/1/vehicle_status/D1", "fault")
        go(10.0)
        kill(0.05)
        do("heal m5")
        go(30.0)
    return station, [line for life in lines for line in life]


def busy_stretch(folder: Path, seconds: float = 2400.0) -> None:
    """At reading level: a car a minute, so that soon no gun is free and more is asked for than there is."""
    with quietly():
        cars = timetable(3, int(seconds / 60.0), mean_gap_s=60.0)
        station = VirtualStation(settings_at(folder), level=Level.READINGS, seed=3, arrivals=cars)
        station.run_to(seconds)
    write_day(folder, station.records)


@contextmanager
def marks_every(ms: int) -> Iterator[None]:
    """Marks come this often."""
    before, record.MARK_EVERY_MS = record.MARK_EVERY_MS, ms
    try:
        yield
    finally:
        record.MARK_EVERY_MS = before


__all__ = [
    "DAY", "busy_stretch", "eventful_day", "marks_every", "once", "quietly", "write_day",
]  # fmt: skip
