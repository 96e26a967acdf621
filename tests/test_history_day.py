"""Sessions of a simulated station against its plant's own meters: what the history says was delivered was delivered."""

from __future__ import annotations

from pathlib import Path

import pytest
from history_rig import HandClock, HandWriter, rows
from page_bench import OFFSET_S, about_of

from monitoring.feed import Feed, Seen
from monitoring.history.database import database
from monitoring.schema import Line, Snapshot
from simulator.arrivals import timetable
from simulator.virtual import Level, VirtualStation, settings_at

STEP_S = 0.5


def line_of(station: VirtualStation, feed: Feed) -> Line:
    """As it is told, without a look ahead at what the loss of a module would cost."""
    seen = Seen(
        view=station.core.demand.view() or pytest.fail("nothing was decided"),
        now_s=station.clock.time_s, wall_s=OFFSET_S + station.clock.time_s, armed=True, modules_heard=9,
        contactors_closed=0, stepped_at_s=station.clock.time_s, mqtt=True, accepted=0, rejected={}, details=(),
        losses_kw={},
    )  # fmt: skip
    feed.count(seen.view)
    return Line(snapshot=Snapshot(**feed.snapshot(seen)))


def play(folder: Path, hours: float, cars: int) -> tuple[VirtualStation, int]:
    """Let a station run with the history looking on; the station, and how many transactions it took."""
    station = VirtualStation(
        settings_at(folder), level=Level.READINGS, arrivals=timetable(1, cars, mean_gap_s=0.8 * hours * 3600.0 / cars)
    )
    station.run_to(STEP_S)
    hand, feed = HandWriter("sqlite:///history.db", folder, HandClock(0.0, OFFSET_S)), Feed(about_of(station))
    for n in range(2, round(hours * 3600.0 / STEP_S) + 1):
        station.run_to(n * STEP_S)
        hand.take(line_of(station, feed))
    commits = hand.writer.written
    hand.close()
    return station, commits


def compare(folder: Path, hours: float, cars: int) -> None:
    station, commits = play(folder, hours, cars)
    place = database("sqlite:///history.db", folder)
    sessions = rows(place, "sessions")
    worst_pct = 0.0
    for number, bus in enumerate(station.plant.guns, 1):
        told_kwh = sum(row["energy_kwh"] for row in sessions if row["gun"] == number)
        metered_kwh = bus.energy_j / 3.6e6
        worst_pct = max(worst_pct, 100.0 * abs(told_kwh - metered_kwh) / metered_kwh if metered_kwh else 0.0)
        assert told_kwh == pytest.approx(metered_kwh, rel=0.01, abs=0.02), f"gun {number}"
    assert len(sessions) == station.forecourt.served
    assert {row["ended"] for row in sessions if row["to_ts"] is not None} <= {"FINISHED", "CAR_LEFT", "DEMAND_ENDED"}
    assert all(row["soc_to_pct"] >= row["soc_from_pct"] for row in sessions if row["charging_s"])
    assert all(row["seen_ts"] - row["from_ts"] >= row["charging_s"] + row["waited_s"] - 1e-3 for row in sessions)
    assert min(row["waited_s"] for row in sessions) <= 30.0, "the first car gets what there is"
    size = (folder / "history.db").stat().st_size
    seconds = len(rows(place, "power_seconds"))
    place.close()
    print(
        f"{hours:g} h, {len(sessions)} sessions, {sum(row['energy_kwh'] for row in sessions):.1f} kWh, "
        f"off by {worst_pct:.3f} % at most; {size / 1e6:.2f} MB on the disk, {size / seconds:.0f} bytes a second seen, "
        f"{commits} commits"
    )


def test_a_quarter_of_an_hour_is_what_the_meters_say(tmp_path: Path) -> None:
    compare(tmp_path, 0.25, 8)


@pytest.mark.soak
def test_six_hours_are_what_the_meters_say(tmp_path: Path) -> None:
    compare(tmp_path, 6.0, 50)
