"""Job: hours of the whole station in virtual time: safe switching, power for every car, the same run every time."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import pytest

from simulator.arrivals import timetable
from simulator.virtual import Level, VirtualStation, settings_at
from tests.long_run import Run, run

ROOT = Path(__file__).parent.parent
QUARTER_HOUR_CARS = 6


def readings(folder: Path, hours: float = 0.25, cars: int = QUARTER_HOUR_CARS) -> Run:
    return run(Level.READINGS, folder, hours, cars)


def assert_safe(result: Run) -> None:
    """No closing outside rule 7.2, no opening under load, no two guns joined, power for whoever has a module."""
    referee = result.station.plant.referee
    assert referee.closings > 0
    assert result.station.plant.violations == []
    assert result.late_power == []


def test_a_quarter_of_an_hour_over_the_full_wire_is_safe_and_allocates_as_the_readings_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wire = run(Level.WIRE, tmp_path, hours=0.25, cars=QUARTER_HOUR_CARS)
    referee = wire.station.plant.referee
    with capsys.disabled():
        print(
            f"\na quarter of an hour over the wire in {wire.cpu_s:.0f} s ({900 / wire.cpu_s:.0f} x): "
            f"{referee.closings} closings, "
            f"{referee.openings} openings, {wire.station.forecourt.served} cars, "
            f"longest wait for power {wire.longest_wait_s:.0f} s, "
            f"CAN load at most {wire.load_1s_pct:.1f} % over 1 s, {wire.load_10s_pct:.1f} % over 10 s"
        )
    assert_safe(wire)
    assert wire.load_1s_pct <= 30.0
    assert wire.load_10s_pct <= 20.0
    assert readings(tmp_path).allocations == wire.allocations


def test_the_same_seed_gives_the_same_events_byte_for_byte(tmp_path: Path) -> None:
    first = run(Level.WIRE, tmp_path, hours=0.03, cars=6)
    again = run(Level.WIRE, tmp_path, hours=0.03, cars=6)
    other = run(Level.WIRE, tmp_path, hours=0.03, cars=6, seed=2)
    assert first.events == again.events
    assert first.station.records == again.station.records
    assert first.events != other.events


@pytest.mark.soak
def test_two_hours_at_reading_level_are_safe(tmp_path: Path) -> None:
    assert_safe(readings(tmp_path, hours=2.0, cars=20))


@pytest.mark.soak
def test_memory_does_not_grow_over_hours(tmp_path: Path) -> None:
    """What the rooms and the decisions keep after an hour of cars is what they keep an hour later."""
    arrivals = timetable(3, 30, mean_gap_s=240.0)
    station = VirtualStation(settings_at(tmp_path), level=Level.READINGS, seed=3, arrivals=arrivals)

    def go_on(until_s: float) -> None:
        while station.clock.time_s < until_s:
            station.run_to(station.clock.time_s + 60.0)
            station.records.clear()  # on site they go to a file

    go_on(1800.0)
    tracemalloc.start()
    try:
        go_on(3600.0)
        gc.collect()
        before = tracemalloc.take_snapshot()
        go_on(7200.0)
        gc.collect()
        after = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    ours = (str(ROOT / "planning"), *map(str, ROOT.glob("*.py")))
    changes = after.compare_to(before, "filename")
    grown = sum(each.size_diff for each in changes if each.traceback[0].filename.startswith(ours))
    print(f"memory of rooms and decisions after an hour more: {grown / 1000:+.1f} kB")
    assert grown < 40_000, "1 MB a day"


@pytest.mark.soak
def test_four_hours_with_many_cars_over_the_wire(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(Level.WIRE, tmp_path, hours=4.0, cars=80)
    with capsys.disabled():
        print(f"\n4 h over the wire in {result.cpu_s:.0f} s ({14400 / result.cpu_s:.0f} x), 80 cars")
    assert_safe(result)
    assert result.load_1s_pct <= 30.0
    assert result.load_10s_pct <= 20.0
    assert 14400 / result.cpu_s >= 60.0


@pytest.mark.soak
def test_a_day_at_reading_level_takes_a_minute(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = readings(tmp_path, hours=24.0, cars=48)  # eight cars a gun; the time grows with the cars
    with capsys.disabled():
        print(f"\n24 h at reading level in {result.cpu_s:.0f} s, {result.station.forecourt.served} cars")
    assert_safe(result)
    assert result.cpu_s <= 120.0, "a minute on a quiet machine; a busy neighbour on the other core can double it"
