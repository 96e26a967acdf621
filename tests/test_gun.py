"""Gun: values, their age, and observers."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gun import FIELDS, Gun
from planning.model import GunSnapshot, GunValues, ValueKind, VehicleStatus

SILENCED = (ValueKind.DEMAND, ValueKind.TARGET_VOLTAGE, ValueKind.BUS_VOLTAGE)


def listened(gun: Gun) -> list[GunSnapshot]:
    heard: list[GunSnapshot] = []
    gun.subscribe(heard.append)
    return heard


def test_a_new_gun_was_told_nothing() -> None:
    assert Gun(3).snapshot() == GunSnapshot(3, GunValues(), None, None)


@pytest.mark.parametrize("kind", [kind for kind in ValueKind if kind is not ValueKind.STATUS])
def test_each_kind_sets_its_own_field_and_no_other(kind: ValueKind) -> None:
    gun = Gun(1)
    assert gun.update(kind, 12.5, 7.0)
    values = gun.snapshot().values
    told = {name for name in FIELDS.values() if getattr(values, name) not in (None, VehicleStatus.NEVER_TOLD)}
    assert told == {FIELDS[kind]} and getattr(values, FIELDS[kind]) == 12.5


def test_status_is_a_value_too() -> None:
    gun = Gun(1)
    assert gun.update(ValueKind.STATUS, VehicleStatus.CHARGING, 7.0)
    assert gun.snapshot().values.status is VehicleStatus.CHARGING


def test_observers_hear_changes_only_but_every_message_renews_the_age() -> None:
    gun = Gun(1)
    heard = listened(gun)
    assert gun.update(ValueKind.DEMAND, 75.0, 10.0)
    assert not gun.update(ValueKind.DEMAND, 75.0, 20.0)
    assert [s.values.demand_kw for s in heard] == [75.0]
    assert heard[0].heard_at_s == 10.0 and gun.snapshot().heard_at_s == 20.0
    gun.touch(30.0)
    assert gun.snapshot().heard_at_s == 30.0 and len(heard) == 1


def test_bus_voltage_has_an_age_of_its_own() -> None:
    gun = Gun(1)
    gun.update(ValueKind.BUS_VOLTAGE, 400.0, 10.0)
    gun.update(ValueKind.BUS_VOLTAGE, 400.0, 11.0)
    gun.update(ValueKind.SOC, 50.0, 12.0)
    assert (gun.snapshot().bus_voltage_at_s, gun.snapshot().heard_at_s) == (11.0, 12.0)


def test_target_voltage_zero_means_none() -> None:
    gun = Gun(1)
    assert not gun.update(ValueKind.TARGET_VOLTAGE, 0.0, 1.0)
    gun.update(ValueKind.TARGET_VOLTAGE, 400.0, 2.0)
    assert gun.update(ValueKind.TARGET_VOLTAGE, 0.0, 3.0)
    assert gun.snapshot().values.target_voltage_v is None


def test_limits_of_zero_are_limits() -> None:
    gun = Gun(1)
    gun.update(ValueKind.CURRENT_LIMIT, 0.0, 1.0)
    assert gun.snapshot().values.current_limit_a == 0.0


def test_a_silent_device_is_forgotten_so_that_a_repeat_brings_service_back() -> None:
    gun = Gun(1)
    gun.update(ValueKind.STATUS, VehicleStatus.CHARGING, 1.0)
    for kind in FIELDS:
        if kind is not ValueKind.STATUS:
            gun.update(kind, 50.0, 1.0)
    heard = listened(gun)
    assert gun.forget_demand()
    left = GunValues(VehicleStatus.CHARGING, soc_pct=50.0, voltage_limit_v=50.0, current_limit_a=50.0)
    assert heard[-1].values == left
    assert heard[-1].bus_voltage_at_s is None and heard[-1].heard_at_s == 1.0
    assert not gun.forget_demand()
    assert gun.update(ValueKind.DEMAND, 50.0, 90.0) and heard[-1].values.demand_kw == 50.0


def test_an_observer_that_raises_does_not_silence_the_others(caplog: pytest.LogCaptureFixture) -> None:
    gun = Gun(4)

    def broken(snapshot: GunSnapshot) -> None:
        raise RuntimeError("broken observer")

    gun.subscribe(broken)
    heard = listened(gun)
    assert gun.update(ValueKind.DEMAND, 1.0, 0.0)
    assert len(heard) == 1
    assert "Gun 4" in caplog.text and "broken observer" in caplog.text


def test_the_lock_is_free_while_observers_run() -> None:
    gun = Gun(1)
    seen: list[GunSnapshot] = []

    def asks_from_elsewhere(snapshot: GunSnapshot) -> None:
        asker = threading.Thread(target=lambda: seen.append(gun.snapshot()))
        asker.start()
        asker.join(2.0)
        assert not asker.is_alive(), "the lock is held while observers are called"

    gun.subscribe(asks_from_elsewhere)
    gun.update(ValueKind.DEMAND, 5.0, 1.0)
    assert [s.values.demand_kw for s in seen] == [5.0]


@given(st.lists(st.tuples(st.sampled_from([k for k in ValueKind if k is not ValueKind.STATUS]), st.integers(0, 3))))
def test_what_observers_heard_last_is_what_the_gun_holds(messages: list[tuple[ValueKind, int]]) -> None:
    gun = Gun(1)
    heard = listened(gun)
    changes = [gun.update(kind, float(value), float(at)) for at, (kind, value) in enumerate(messages)]
    assert len(heard) == sum(changes)
    assert (heard[-1].values if heard else GunValues()) == gun.snapshot().values
    assert gun.snapshot().heard_at_s == (len(messages) - 1 if messages else None)
