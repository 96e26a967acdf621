"""Job: the exact edges of one gun's limits and of what counts as told: kW, A, volts and their ages.

Thread: the test's. Lock: none. Units: kW, V, A, s.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_drive import LIMITS, charging

from planning.gun_control import GunControl
from planning.model import GunSnapshot, GunValues, VehicleStatus
from simulator.virtual import settings_at

CHARGING = GunValues(status=VehicleStatus.CHARGING, demand_kw=75.0)
PRECHARGE = GunValues(status=VehicleStatus.WAITING, target_voltage_v=400.0)
NOW = 1000.0
DEAD_V = 60.0


@pytest.fixture
def gun(tmp_path: Path) -> GunControl:
    return GunControl(1, settings_at(tmp_path), LIMITS)


def tell(gun: GunControl, values: GunValues, at_s: float = NOW, measured_a: float = 0.0) -> None:
    gun.take(GunSnapshot(1, values, at_s, at_s if values.bus_voltage_v is not None else None), measured_a)


# --- what it may have -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target_v", "current_a", "limit_kw"),
    [
        (None, 100.0, 100),  # no voltage known: what max_output_voltage would make of it
        (0.0, 100.0, 100),
        (None, 0.0, 0),
        (None, None, -1),
        (400.0, 100.0, 40),
        (401.0, 100.0, 41),  # rounded up: the drive keeps to the exact A
        (478.0, None, 239),  # the cable's 500 A
        (479.0, None, -1),  # 239.5 kW, rounded up as much as the gun may have
        (800.0, None, -1),
        (400.0, 600.0, 200),  # the car allows more than the cable carries
    ],
)
def test_the_current_limit_counts_as_whole_kilowatts(
    gun: GunControl, target_v: float | None, current_a: float | None, limit_kw: int
) -> None:
    tell(gun, replace(CHARGING, target_voltage_v=target_v, current_limit_a=current_a))
    assert gun.electrical_limit_kw() == limit_kw


def test_where_current_flows_counts_before_what_the_car_wants(gun: GunControl) -> None:
    tell(gun, replace(CHARGING, target_voltage_v=450.0, current_limit_a=100.0))
    gun.drive = charging(400.0).drive
    assert gun.electrical_limit_kw() == 40


@pytest.mark.parametrize(
    ("gun_kw", "commanded_kw", "current_a", "limits"),
    [
        (240, None, None, (40.0, 2.0)),  # one module
        (30, None, None, (30.0, 2.0)),
        (30, 35.0, None, (30.0, 2.0)),
        (240, 12.0, None, (12.0, 2.0)),
        (240, 0.0, None, (0.0, 2.0)),
        (240, None, 1.5, (40.0, 1.5)),
    ],
)
def test_precharge_has_one_module_and_two_amperes_at_most(
    tmp_path: Path, gun_kw: int, commanded_kw: float | None, current_a: float | None, limits: tuple[float, float]
) -> None:
    gun = GunControl(1, settings_at(tmp_path, f"[PowerLimits]\ngun1_max_power = {gun_kw}\n"), LIMITS)
    tell(gun, replace(PRECHARGE, current_limit_a=current_a))
    gun.commanded_kw = commanded_kw
    assert gun.drive_limits(75.0, 50.0, NOW) == limits


def test_each_gun_has_its_own_limits(tmp_path: Path) -> None:
    text = "[PowerLimits]\ngun1_max_power = 240\ngun2_max_power = 20\ngun2_max_current = 80\n"
    gun = GunControl(2, settings_at(tmp_path, text), LIMITS)
    assert gun.name == "g2"
    tell(gun, CHARGING)
    assert gun.drive_limits(15.0, None, NOW) == (15.0, 80.0)
    tell(gun, PRECHARGE)
    assert gun.drive_limits(75.0, None, NOW) == (20.0, 2.0)


# --- age --------------------------------------------------------------------------------------------------------------


def test_a_gun_that_was_never_heard_is_neither_old_nor_driven(gun: GunControl) -> None:
    assert not gun.grow_old(NOW)
    assert (gun.silent, gun.unplugged_live, gun.emergency) == (False, False, False)
    assert gun.ramp_down(NOW) == 1.0
    assert gun.told_bus_v(NOW) is None
    assert gun.told_steady_v(NOW) is None
    assert gun.charged_bus_v(NOW, DEAD_V) is None
    assert gun.told_dead_at_s is None
    assert gun.commanded_kw is None


@pytest.mark.parametrize("values", [replace(CHARGING, demand_kw=0.0, target_voltage_v=400.0), CHARGING])
def test_either_wish_is_forgotten_five_seconds_after_it_grew_old(gun: GunControl, values: GunValues) -> None:
    tell(gun, values)
    assert [gun.grow_old(NOW + age_s) for age_s in (60.0, 61.0, 65.5, 66.0)] == [False, False, False, True]
    assert gun.ramp_down(NOW + 63.5) == 0.5
    assert gun.ramp_down(NOW + 70.0) == 0.0


def test_a_message_in_mid_ramp_gives_everything_back(gun: GunControl) -> None:
    tell(gun, CHARGING)
    gun.grow_old(NOW + 61.0)
    tell(gun, CHARGING, NOW + 63.0)
    assert not gun.grow_old(NOW + 63.0)
    assert gun.drive_limits(75.0, None, NOW + 63.0) == (75.0, 500.0)
    assert not gun.grow_old(NOW + 123.5)
    assert gun.ramp_down(NOW + 123.5) == 1.0, "the next silence has a ramp of its own"


# --- told voltages ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bus_v", "dead"), [(59.9, True), (60.0, False)])
def test_dead_is_below_sixty_volts(gun: GunControl, bus_v: float, dead: bool) -> None:
    tell(gun, replace(CHARGING, bus_voltage_v=bus_v))
    assert (gun.told_dead_at_s == NOW) is dead


def test_a_voltage_told_in_the_moment_of_feeding_does_not_count(gun: GunControl) -> None:
    tell(gun, replace(CHARGING, bus_voltage_v=400.0))
    gun.fed(NOW)
    assert gun.told_bus_v(NOW) is None
    gun.fed(NOW - 0.125)
    assert gun.told_bus_v(NOW) == 400.0


@pytest.mark.parametrize(
    ("car", "bus_v", "fed_before_s", "charged"),
    [
        (False, 400.0, 5.5, True), (False, 400.0, 5.0, False), (False, 400.0, 1.0, False), (False, 60.0, 6.0, True),
        (False, 59.9, 6.0, False), (True, 400.0, 5.5, False), (True, 400.0, 10.0, False), (True, 400.0, 10.5, True),
        (True, 59.9, 11.0, False),
    ],
)  # fmt: skip
def test_a_bus_that_outlives_its_bleeder_is_charged(
    gun: GunControl, car: bool, bus_v: float, fed_before_s: float, charged: bool
) -> None:
    """With a car there, up to 5 s pass before the dispenser has parted it from the bus."""
    gun.fed(NOW - fed_before_s)
    status = VehicleStatus.CHARGING if car else VehicleStatus.NO_CAR
    tell(gun, replace(CHARGING, status=status, bus_voltage_v=bus_v))
    assert gun.charged_bus_v(NOW + 1.0, DEAD_V) == (bus_v if charged else None)
    assert gun.charged_bus_v(NOW + 10.1, DEAD_V) is None, "too old to count"


#: (when told after NOW, V); when looked at; since when fed; does the last one count as steady?
STEADY: dict[str, tuple[list[tuple[float, float]], float, float | None, bool]] = {
    "two seconds apart": ([(0.0, 400.0), (2.0, 400.0)], 2.0, None, True),
    "not two seconds apart": ([(0.0, 400.0), (1.875, 400.0)], 2.0, None, False),
    "told in between too": ([(0.0, 400.0), (1.0, 400.0), (2.0, 400.0)], 2.0, None, True),
    "the newest within five volts": ([(0.0, 400.0), (2.0, 400.0), (3.0, 404.875)], 3.0, None, True),
    "the newest five volts off": ([(0.0, 400.0), (2.0, 400.0), (3.0, 405.0)], 3.0, None, False),
    "the newest five volts below": ([(0.0, 400.0), (2.0, 400.0), (3.0, 395.0)], 3.0, None, False),
    "the second five volts off": ([(0.0, 400.0), (2.0, 405.0), (3.0, 402.0)], 3.0, None, False),
    "told twice before it was fed": ([(0.0, 400.0), (2.0, 400.0)], 2.0, 0.0, False),
    "told twice after it was fed": ([(0.0, 400.0), (2.0, 400.0)], 2.0, -0.125, True),
    "once before and once after": ([(0.0, 400.0), (2.0, 400.0)], 2.0, 1.0, False),
    "the first within twenty seconds": ([(0.0, 400.0), (10.0, 400.0)], 20.0, None, True),
    "the first older than that": ([(0.0, 400.0), (10.5, 400.0)], 20.25, None, False),
}  # fmt: skip


@pytest.mark.parametrize("what", STEADY)
def test_steady_is_told_twice_the_same_after_we_fed_the_bus(gun: GunControl, what: str) -> None:
    told, look_s, fed_s, steady = STEADY[what]
    if fed_s is not None:
        gun.fed(NOW + fed_s)
    for at_s, bus_v in told:
        tell(gun, replace(CHARGING, bus_voltage_v=bus_v), NOW + at_s)
    assert gun.told_steady_v(NOW + look_s) == (told[-1][1] if steady else None)


# --- a new status -----------------------------------------------------------------------------------------------------


def test_a_new_status_asks_the_car_again_and_the_old_one_does_not(gun: GunControl) -> None:
    tell(gun, CHARGING)
    gun.drive.over_limit = True
    tell(gun, replace(CHARGING, soc_pct=50.0))
    assert gun.drive.over_limit
    tell(gun, replace(CHARGING, status=VehicleStatus.FINISHING))
    assert not gun.drive.over_limit


@pytest.mark.parametrize(
    ("status", "ends"),
    [
        (VehicleStatus.WAITING, True), (VehicleStatus.NO_CAR, True), (VehicleStatus.FINISHING, False),
        (VehicleStatus.FAULT, False),
    ],
)  # fmt: skip
def test_what_was_learnt_of_the_battery_goes_with_the_car(gun: GunControl, status: VehicleStatus, ends: bool) -> None:
    tell(gun, CHARGING)
    gun.drive = charging(400.0).drive
    tell(gun, replace(CHARGING, status=status))
    assert (gun.drive.bus_v(106.0, None) is None) is ends


@pytest.mark.parametrize(("demand_kw", "ends"), [(0.0, True), (None, True), (5.0, False)])
def test_a_gun_without_status_ends_its_session_with_its_demand(
    gun: GunControl, demand_kw: float | None, ends: bool
) -> None:
    gun.drive = charging(400.0).drive
    tell(gun, GunValues(demand_kw=demand_kw))
    assert (gun.drive.bus_v(106.0, None) is None) is ends


def test_no_demand_does_not_end_the_session_of_a_car_that_told_a_status(gun: GunControl) -> None:
    tell(gun, CHARGING)
    gun.drive = charging(400.0).drive
    tell(gun, replace(CHARGING, demand_kw=0.0))
    assert gun.drive.bus_v(106.0, None) == 400.0
