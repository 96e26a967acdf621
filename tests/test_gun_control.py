"""Job: one gun between device and drive: age, ramp, emergency, what it may have.

Thread: the test's. Lock: none. Units: kW, V, A, s.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_drive import LIMITS

from planning.gun_control import TOLD_FRESH_S, GunControl
from planning.model import GunSnapshot, GunValues, VehicleStatus
from simulator.virtual import settings_at

CHARGING = GunValues(status=VehicleStatus.CHARGING, demand_kw=75.0)
NOW = 1000.0


@pytest.fixture
def gun(tmp_path: Path) -> GunControl:
    return GunControl(1, settings_at(tmp_path), LIMITS)


def tell(gun: GunControl, values: GunValues, at_s: float = NOW, measured_a: float = 0.0) -> None:
    gun.take(GunSnapshot(1, values, at_s, at_s if values.bus_voltage_v is not None else None), measured_a)


# --- age ------------------------------------------------------------------------------------------------------------


def test_a_silent_device_ramps_to_nothing_in_five_seconds_and_is_forgotten(gun: GunControl) -> None:
    tell(gun, CHARGING)
    assert not gun.grow_old(NOW + 60.0)
    assert not gun.silent
    assert not gun.grow_old(NOW + 60.1)
    assert gun.silent
    assert gun.ramp_down(NOW + 60.1) == 1.0
    assert gun.ramp_down(NOW + 62.6) == pytest.approx(0.5)
    assert gun.drive_limits(75.0, None, NOW + 62.6)[0] == pytest.approx(37.5)
    assert not gun.grow_old(NOW + 65.0)
    assert gun.grow_old(NOW + 65.2)
    assert gun.ramp_down(NOW + 65.2) == 0.0


def test_any_message_renews_the_age(gun: GunControl) -> None:
    tell(gun, CHARGING)
    gun.grow_old(NOW + 61.0)
    gun.hear(GunSnapshot(1, CHARGING, NOW + 62.0, None))
    assert not gun.grow_old(NOW + 62.1)
    assert not gun.silent
    assert gun.ramp_down(NOW + 62.1) == 1.0


def test_it_stays_silent_after_it_was_forgotten_until_it_is_heard(gun: GunControl) -> None:
    tell(gun, CHARGING)
    gun.grow_old(NOW + 61.0)
    gun.take(GunSnapshot(1, replace(CHARGING, demand_kw=None), NOW, None), 0.0)
    gun.grow_old(NOW + 100.0)
    assert gun.silent
    tell(gun, CHARGING, NOW + 101.0)
    gun.grow_old(NOW + 101.0)
    assert not gun.silent


def test_a_gun_that_asks_for_nothing_may_be_silent(gun: GunControl) -> None:
    tell(gun, GunValues(status=VehicleStatus.NO_CAR))
    assert not gun.grow_old(NOW + 1000.0)
    assert not gun.silent


def test_timeout_nought_turns_the_age_off(tmp_path: Path) -> None:
    text = "[PowerLimits]\ngun1_max_power = 240\n[Safety]\ndemand_timeout = 0\n"
    gun = GunControl(1, settings_at(tmp_path, text), LIMITS)
    tell(gun, CHARGING)
    assert not gun.grow_old(NOW + 1e6)
    assert not gun.silent


def test_a_told_bus_voltage_grows_old(gun: GunControl) -> None:
    tell(gun, replace(CHARGING, bus_voltage_v=400.0))
    assert gun.told_bus_v(NOW + TOLD_FRESH_S) == 400.0
    assert gun.told_bus_v(NOW + TOLD_FRESH_S + 0.1) is None


def test_a_bus_told_dead_is_remembered_until_it_is_told_alive(gun: GunControl) -> None:
    tell(gun, replace(CHARGING, bus_voltage_v=59.0))
    assert gun.told_dead_at_s == NOW
    tell(gun, replace(CHARGING, bus_voltage_v=400.0), NOW + 5.0)
    assert gun.told_dead_at_s is None


def test_what_was_told_before_the_bus_was_fed_counts_no_more(gun: GunControl) -> None:
    tell(gun, replace(CHARGING, bus_voltage_v=0.0))
    gun.fed(NOW + 1.0)
    assert gun.told_bus_v(NOW + 1.0) is None
    tell(gun, replace(CHARGING, bus_voltage_v=1.0), NOW + 2.0)
    assert gun.told_bus_v(NOW + 2.0) == 1.0


def test_a_bus_told_dead_counts_until_it_is_fed_and_for_ten_seconds(gun: GunControl) -> None:
    """A module that idles on a bus that others feed has terminals as charged as theirs."""
    tell(gun, replace(CHARGING, bus_voltage_v=0.0))
    assert gun.dead_bus_at_s(NOW + TOLD_FRESH_S) == NOW
    assert gun.dead_bus_at_s(NOW + TOLD_FRESH_S + 0.1) is None
    gun.fed(NOW + 1.0)
    assert gun.dead_bus_at_s(NOW + 1.0) is None
    tell(gun, replace(CHARGING, bus_voltage_v=0.0), NOW + 1.0)
    assert gun.dead_bus_at_s(NOW + 1.0) is None, "told in the moment of feeding"
    tell(gun, replace(CHARGING, bus_voltage_v=0.0), NOW + 1.5)
    assert gun.dead_bus_at_s(NOW + 2.0) == NOW + 1.5


@pytest.mark.parametrize(
    ("second_v", "after_s", "steady"), [(398.0, 2.0, True), (398.0, 1.0, False), (380.0, 2.0, False)]
)
def test_a_bus_is_steady_when_told_twice_the_same(
    gun: GunControl, second_v: float, after_s: float, steady: bool
) -> None:
    tell(gun, replace(CHARGING, bus_voltage_v=400.0))
    assert gun.told_steady_v(NOW) is None
    tell(gun, replace(CHARGING, bus_voltage_v=second_v), NOW + after_s)
    assert (gun.told_steady_v(NOW + after_s) == second_v) is steady


def test_what_was_told_of_the_bus_of_one_car_says_nothing_of_the_next_ones(gun: GunControl) -> None:
    """A module matched to a voltage of before would close with all of it onto a bus that is empty by now."""
    told = replace(CHARGING, bus_voltage_v=400.0)
    for at_s in (NOW, NOW + 2.0):
        tell(gun, told, at_s)
    assert gun.told_steady_v(NOW + 2.0) == 400.0
    gun.take(GunSnapshot(1, replace(told, status=VehicleStatus.NO_CAR), NOW + 3.0, NOW + 2.0), 0.0)
    gun.take(GunSnapshot(1, told, NOW + 4.0, NOW + 2.0), 0.0)
    assert gun.told_steady_v(NOW + 4.0) is None
    assert gun.told_bus_v(NOW + 4.0) == 400.0, "but nobody calls it dead"
    tell(gun, told, NOW + 5.0)
    assert gun.told_steady_v(NOW + 5.0) is None
    tell(gun, told, NOW + 7.0)
    assert gun.told_steady_v(NOW + 7.0) == 400.0


def test_a_fault_that_is_over_at_once_is_answered_all_the_same(gun: GunControl) -> None:
    tell(gun, replace(CHARGING, status=VehicleStatus.FAULT))
    tell(gun, CHARGING)
    assert gun.emergency
    gun.fault_answered()
    assert not gun.emergency


# --- emergency ------------------------------------------------------------------------------------------------------


def test_a_fault_is_an_emergency_until_a_status_that_is_none(gun: GunControl) -> None:
    tell(gun, replace(CHARGING, status=VehicleStatus.FAULT))
    assert gun.emergency
    gun.fault_answered()
    assert gun.emergency
    tell(gun, CHARGING)
    assert not gun.emergency


@pytest.mark.parametrize(("measured_a", "emergency"), [(5.0, False), (5.1, True)])
def test_no_car_while_current_flows(gun: GunControl, measured_a: float, emergency: bool) -> None:
    tell(gun, CHARGING)
    tell(gun, GunValues(status=VehicleStatus.NO_CAR), measured_a=measured_a)
    assert gun.emergency is emergency
    tell(gun, GunValues(status=VehicleStatus.FAULT))
    gun.fault_answered()
    assert gun.emergency, "a fault does not end it"
    tell(gun, GunValues(status=VehicleStatus.WAITING))
    assert not gun.emergency


def test_over_the_limit_stops_the_gun_until_a_new_status(gun: GunControl) -> None:
    tell(gun, CHARGING)
    gun.drive.over_limit = True
    assert gun.emergency
    tell(gun, replace(CHARGING, demand_kw=10.0))
    assert gun.emergency, "a new demand is no new status"
    tell(gun, GunValues(status=VehicleStatus.FINISHING))
    assert not gun.emergency


# --- what it may have -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "demand_kw", "target_v", "charging", "precharging"),
    [
        (VehicleStatus.NEVER_TOLD, 50.0, None, True, False),
        (VehicleStatus.NEVER_TOLD, 0.0, 400.0, False, True),
        (VehicleStatus.CHARGING, 50.0, None, True, False),
        (VehicleStatus.CHARGING, 50.0, 400.0, True, False),
        (VehicleStatus.CHARGING, None, 400.0, False, True),
        (VehicleStatus.CHARGING, 0.0, None, False, False),
        (VehicleStatus.WAITING, 50.0, None, False, False),
        (VehicleStatus.WAITING, 50.0, 400.0, False, True),
        (VehicleStatus.FINISHING, 50.0, 400.0, False, False),
        (VehicleStatus.NO_CAR, 50.0, 400.0, False, False),
        (VehicleStatus.FAULT, 50.0, 400.0, False, False),
    ],
)
def test_who_charges_and_who_precharges(
    gun: GunControl, status: VehicleStatus, demand_kw: float | None, target_v: float | None,
    charging: bool, precharging: bool,
) -> None:  # fmt: skip
    tell(gun, GunValues(status=status, demand_kw=demand_kw, target_voltage_v=target_v))
    assert (gun.charging, gun.precharging) == (charging, precharging)
    if precharging:
        assert gun.drive_limits(75.0, None, NOW)[1] == 2.0


def test_the_share_of_the_site_and_the_cable_bind(gun: GunControl) -> None:
    tell(gun, CHARGING)
    assert gun.drive_limits(75.0, None, NOW) == (75.0, 500.0)
    assert gun.drive_limits(75.0, 40.0, NOW) == (40.0, 500.0)
    tell(gun, replace(CHARGING, current_limit_a=120.0))
    assert gun.drive_limits(75.0, None, NOW) == (75.0, 120.0)


@pytest.mark.parametrize(("limit_v", "low"), [(None, False), (450.0, True), (480.0, True), (480.1, False)])
def test_the_low_range_does_up_to_480_volts(gun: GunControl, limit_v: float | None, low: bool) -> None:
    tell(gun, replace(CHARGING, voltage_limit_v=limit_v))
    assert gun.low_range is low
