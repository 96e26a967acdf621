"""Job: draining: who is served to its end, who is kept out, when that ends, and that the record repeats it.

Thread: the test's. Lock: none. Units: kW, s. The whole way stands in tests/scenarios/66_draining.ini.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from recorded import decided_lines
from test_gun_control import CHARGING, tell

from planning.decision import replay
from planning.gun_control import GunControl
from planning.model import GunValues, VehicleStatus
from simulator.arrivals import timetable
from simulator.virtual import Level, VirtualStation, settings_at

from test_drive import LIMITS  # isort: skip


@pytest.fixture
def gun(tmp_path: Path) -> GunControl:
    return GunControl(1, settings_at(tmp_path), LIMITS)


NO_CAR = GunValues(status=VehicleStatus.NO_CAR)


def test_a_gun_that_never_told_a_status_and_asks_nothing_is_free(gun: GunControl) -> None:
    gun.drain(True)
    assert gun.kept_out
    tell(gun, GunValues(demand_kw=40.0))
    assert gun.kept_out, "whoever asks now comes too late"
    gun.drain(False)
    assert not gun.kept_out


def test_one_that_asks_without_a_status_is_served_until_it_asks_no_more(gun: GunControl) -> None:
    tell(gun, GunValues(demand_kw=40.0))
    gun.drain(True)
    assert not gun.kept_out
    tell(gun, GunValues(demand_kw=0.0))
    assert gun.kept_out


@pytest.mark.parametrize(
    "status", [VehicleStatus.WAITING, VehicleStatus.CHARGING, VehicleStatus.FINISHING, VehicleStatus.FAULT]
)
def test_a_car_that_is_here_stays_until_it_leaves(gun: GunControl, status: VehicleStatus) -> None:
    tell(gun, GunValues(status=status, demand_kw=10.0))
    gun.drain(True)
    assert not gun.kept_out
    tell(gun, CHARGING)
    assert not gun.kept_out
    tell(gun, NO_CAR)
    assert gun.kept_out
    tell(gun, CHARGING)
    assert gun.kept_out, "the next car is a new one"


def test_cars_that_change_between_two_looks_are_told_apart(gun: GunControl) -> None:
    """The gun says each status that it went through, though only the last one stands when the station looks."""
    tell(gun, CHARGING)
    gun.drain(True)
    tell(gun, NO_CAR)
    tell(gun, GunValues(status=VehicleStatus.WAITING))
    assert gun.kept_out


def test_without_draining_nobody_is_kept_out(gun: GunControl) -> None:
    for values in (NO_CAR, GunValues(demand_kw=0.0), CHARGING):
        tell(gun, values)
        assert not gun.kept_out


def test_the_record_of_a_station_that_drains_repeats_and_names_why(tmp_path: Path) -> None:
    config = settings_at(tmp_path)
    station = VirtualStation(config, level=Level.READINGS, seed=5, arrivals=timetable(5, 12, mean_gap_s=20.0))
    lines = decided_lines(station)
    station.run_to(120.0)
    left = {gun for gun in station.core.guns if not has_car(station, gun)}
    for gun in station.core.guns.values():
        gun.subscribe(lambda told: left.add(told.gun) if told.values.status is VehicleStatus.NO_CAR else None)
    assert station.core.messages.command("station/drain", b"true", "a test") is None
    assert left == {3}
    for now_s in (124.0, 800.0, 2400.0):
        station.run_to(now_s)
        kept_out = {report.gun for report in station.reports[-1].guns if report.reason.startswith("DRAINING ")}
        assert kept_out == left, "whoever was here is served, whoever left lets nobody in"
        assert all(report.modules == () for report in station.reports[-1].guns if report.gun in left)
    assert left > {3} and station.reports[-1].power_kw > 50.0
    assert all(has_car(station, gun) for gun in left), "new cars stand there and wait"
    assert station.core.messages.command("station/drain", b"false", "a test") is None
    station.run_to(2500.0)
    assert not any("DRAINING" in report.reason for report in station.reports[-1].guns)
    assert any("g3b=DRAINING" in record for record in station.records)
    assert [decision.line() for decision in replay(config, station.records)] == lines
    assert station.plant.violations == []


def has_car(station: VirtualStation, gun: int) -> bool:
    return station.core.guns[gun].snapshot().values.status is not VehicleStatus.NO_CAR
