"""Job: from a decision to the orders of the modules: what each gun's drive is told, and who is read fast.

Thread: the test's. Lock: none. Units: kW, V, A, s. The drives write down what they are given; all else is real.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from test_drive import LIMITS

from planning.decision import Decision
from planning.drive import Drive, DriveInput, Phase
from planning.faults import FaultBook, FaultCode
from planning.feed import Feed
from planning.foresight import Question
from planning.gun_control import GunControl
from planning.model import OFF_ORDER, GunSnapshot, GunValues, ModuleOrder, ModuleState, ModuleStatus, VehicleStatus
from planning.module_pool import ModulePool
from planning.module_trust import ModuleTrust
from planning.orders import FAST_READS, Orders
from planning.reasons import BLOCKED, PRECHARGE, Reason, ReasonCode
from planning.request import Allocation, AllocationLimits, Assignment, GunResult
from planning.settings import Priority, Safety
from planning.transition import Stage
from simulator.virtual import settings_at

GUNS, MODULES = 3, 6
NOW = 1000.0
FINE = Reason(ReasonCode.SERVED, "everything asked for")
CHARGING = GunValues(status=VehicleStatus.CHARGING, demand_kw=75.0)
READINGS = tuple(
    ModuleStatus(m, ModuleState.ON, on=True, voltage_v=400.0, current_a=10.0 * m) for m in range(1, MODULES + 1)
)


class NotingDrive(Drive):
    """Does what the test says and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__(LIMITS)
        self.given: list[DriveInput] = []
        self.says: dict[int, ModuleOrder] = {}
        self.then: Phase | None = None

    def step(self, now_s: float, given: DriveInput) -> Mapping[int, ModuleOrder]:
        self.given.append(given)
        if self.then is not None and (given.may_start or self.driving):
            self.phase = self.then
        return self.says


@dataclass
class FeedWords:
    """The two words of Feed that orders are made from."""

    lost_a: dict[int, float] = field(default_factory=dict)
    low: dict[int, bool] = field(default_factory=dict)

    def low_range(self, gun: int) -> bool | None:
        return self.low.get(gun)


class Bench:
    """Guns that charge, modules by seat, and one step of orders."""

    def __init__(self, path: Path) -> None:
        settings = settings_at(path)
        self.controls = {gun: GunControl(gun, settings, LIMITS) for gun in range(1, GUNS + 1)}
        for control in self.controls.values():
            control.drive = NotingDrive()
        self.faults, self.feed = FaultBook(), FeedWords()
        self.pool = ModulePool(MODULES, 40.0, 133.0, ModuleTrust(MODULES, Safety(), self.faults), self.faults)
        self.orders = Orders(self.controls, self.pool, cast(Feed, self.feed), MODULES)
        self.seats: list[tuple[Stage, int]] = [(Stage.FREE, 0)] * MODULES
        self.wants = [0] * MODULES
        self.reason, self.share_kw = FINE, 60.0

    def drive(self, gun: int) -> NotingDrive:
        return cast(NotingDrive, self.controls[gun].drive)

    def tell(self, gun: int, values: GunValues = CHARGING, at_s: float = NOW) -> None:
        told_at_s = at_s if values.bus_voltage_v is not None else None
        self.controls[gun].take(GunSnapshot(gun, values, at_s, told_at_s), 0.0)

    def seat(self, module: int, stage: Stage, gun: int, want: int | None = None) -> None:
        self.seats[module - 1] = (stage, gun)
        self.wants[module - 1] = gun if want is None else want

    def decision(self) -> Decision:
        by_gun: dict[int, tuple[tuple[int, Stage], ...]] = {}
        for module, (stage, gun) in enumerate(self.seats, 1):
            if gun:
                by_gun[gun] = (*by_gun.get(gun, ()), (module, stage))
        results = tuple(GunResult(gun, (), 0.0, self.share_kw, 0, 0, self.reason) for gun in self.controls)
        targets_kw = tuple(70.0 + gun for gun in self.controls)
        return Decision(
            0, Allocation(Assignment(), results, None), targets_kw, tuple(self.wants), tuple(self.seats), 0, (), by_gun,
            Question((), (), Assignment(), Priority.HIGHEST_DEMAND, AllocationLimits(), 0),
        )  # fmt: skip

    def step(self) -> list[ModuleOrder]:
        return list(self.orders.step(NOW, self.decision(), READINGS))

    def given(self, gun: int = 1) -> DriveInput:
        self.step()
        return self.drive(gun).given[-1]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.tell(1)
    bench.seat(2, Stage.SERVE, 1)
    return bench


# --- who gets which order ---------------------------------------------------------------------------------------------


def test_before_the_first_decision_everything_is_off(bench: Bench) -> None:
    assert list(bench.orders.step(NOW, None, READINGS)) == [OFF_ORDER] * MODULES
    assert bench.orders.fast_reads(None) == ()


def test_each_order_goes_to_its_module_and_the_rest_is_off(bench: Bench) -> None:
    bench.seat(6, Stage.SERVE, 3)
    first, last = ModuleOrder(True, 430.0, 50.0), ModuleOrder(True, 800.0, 20.0)
    bench.drive(1).says = {2: first, 4: OFF_ORDER}
    bench.drive(3).says = {6: last}
    assert bench.step() == [OFF_ORDER, first, OFF_ORDER, OFF_ORDER, OFF_ORDER, last]


def test_a_module_that_is_off_is_put_into_the_range_of_the_gun_that_wants_it(bench: Bench) -> None:
    bench.seat(3, Stage.FREE, 0, want=3)
    bench.feed.low = {3: True, 1: False}
    bench.drive(1).says = {2: OFF_ORDER}
    low, high = ModuleOrder(low_range=True), ModuleOrder(low_range=False)
    assert bench.step() == [OFF_ORDER, high, low, OFF_ORDER, OFF_ORDER, OFF_ORDER]


def test_a_gun_without_modules_is_left_alone_once_its_drive_is_off(bench: Bench) -> None:
    bench.drive(2).phase, bench.drive(2).then = Phase.RUN, Phase.OFF
    bench.step()
    bench.step()
    assert (len(bench.drive(1).given), len(bench.drive(2).given), len(bench.drive(3).given)) == (2, 1, 0)


def test_a_module_that_did_not_start_pauses_and_is_named_once(bench: Bench) -> None:
    bench.drive(1).no_start = {2}
    bench.step()
    assert bench.drive(1).no_start == set()
    assert [(fault.code, fault.id) for fault in bench.faults.active] == [(FaultCode.MODULE_NO_START.name, "m2")]
    assert not bench.pool.usable(READINGS[1])
    assert bench.pool.usable(READINGS[0])


# --- what a drive is given --------------------------------------------------------------------------------------------


def test_a_drive_is_given_what_was_told_and_what_its_modules_read(bench: Bench) -> None:
    values = replace(CHARGING, target_voltage_v=420.0, voltage_limit_v=450.0, current_limit_a=90.0, bus_voltage_v=399.0)
    bench.tell(1, values, NOW - 3.0)
    bench.tell(1, replace(values, bus_voltage_v=400.0), NOW)
    bench.seat(3, Stage.MATCH, 1)
    bench.seat(4, Stage.OPEN, 1)
    bench.seat(5, Stage.LOST, 1)
    bench.seat(1, Stage.CLOSE_LIVE, 1)
    bench.feed.lost_a = {5: 33.0, 6: 44.0}
    assert bench.given() == DriveInput(
        wanted=True, may_start=True, limit_kw=60.0, limit_a=90.0, target_v=420.0, voltage_limit_v=450.0,
        told_bus_v=400.0, members={2: READINGS[1]}, matching=(1, 3), closing=(1,), counted_a=33.0,
        measured_a=10.0 + 20.0 + 40.0 + 50.0,
    )  # fmt: skip


@pytest.mark.parametrize(("target_kw", "share_kw", "limit_kw"), [(71.0, 60.0, 60.0), (71.0, 80.0, 71.0)])
def test_the_least_of_target_and_share_of_the_site_binds(
    bench: Bench, target_kw: float, share_kw: float, limit_kw: float
) -> None:
    bench.share_kw = share_kw
    assert bench.decision().targets_kw[0] == target_kw
    assert bench.given().limit_kw == limit_kw


def test_a_silent_device_lowers_what_the_drive_may_have(bench: Bench) -> None:
    bench.tell(1, at_s=NOW - 62.5)
    bench.controls[1].grow_old(NOW - 2.5)
    bench.controls[1].grow_old(NOW - 2.0)
    assert bench.given().limit_kw == pytest.approx(60.0 * 0.6, abs=6.1)
    assert bench.given().limit_kw < 60.0


@pytest.mark.parametrize(
    ("values", "share_kw", "reason", "wanted"),
    [
        (CHARGING, 60.0, FINE, True),
        (CHARGING, 0.0, FINE, False),
        (CHARGING, 0.5, FINE, True),
        (CHARGING, 60.0, BLOCKED[ReasonCode.DISABLED], False),
        (replace(CHARGING, status=VehicleStatus.FAULT), 60.0, FINE, False),
        (replace(CHARGING, demand_kw=0.0), 60.0, FINE, False),
        (replace(CHARGING, status=VehicleStatus.WAITING), 60.0, FINE, False),
        (replace(CHARGING, status=VehicleStatus.WAITING, target_voltage_v=400.0), 0.0, PRECHARGE, True),
        (
            replace(CHARGING, status=VehicleStatus.WAITING, target_voltage_v=400.0),
            60.0, BLOCKED[ReasonCode.EMERGENCY_STOP], False,
        ),
    ],
)  # fmt: skip
def test_a_drive_is_wanted_while_the_car_asks_and_nothing_blocks(
    bench: Bench, values: GunValues, share_kw: float, reason: Reason, wanted: bool
) -> None:
    bench.tell(1, values)
    bench.share_kw, bench.reason = share_kw, reason
    assert bench.given().wanted is wanted


@pytest.mark.parametrize("wanted_here", [True, False])
def test_a_welded_module_serves_its_gun_while_it_is_given_to_it(bench: Bench, wanted_here: bool) -> None:
    bench.seat(1, Stage.WELDED, 1, want=1 if wanted_here else 0)
    bench.seat(3, Stage.UNLOAD, 1)
    assert set(bench.given().members) == ({1, 2} if wanted_here else {2})


# --- reading slots ----------------------------------------------------------------------------------------------------


def begin_searches(bench: Bench) -> dict[int, bool]:
    """Every gun wants to search; which may."""
    for gun in bench.controls:
        bench.tell(gun)
        bench.seat(gun, Stage.SERVE, gun)
        bench.drive(gun).then = Phase.SEARCH
    bench.seat(2, Stage.SERVE, 2)
    bench.step()
    return {gun: bench.drive(gun).given[-1].may_start for gun in bench.controls}


def test_two_guns_search_at_once_and_the_third_waits(bench: Bench) -> None:
    assert begin_searches(bench) == {1: True, 2: True, 3: False}
    bench.drive(1).then = Phase.RUN
    bench.step()
    assert bench.drive(3).searching, "a slot is free again"


def test_a_search_that_goes_on_takes_one_slot_not_two(bench: Bench) -> None:
    bench.drive(1).phase = Phase.SEARCH
    assert begin_searches(bench) == {1: True, 2: True, 3: False}


def test_a_gun_that_needs_no_search_does_not_wait(bench: Bench) -> None:
    begin_searches(bench)
    bench.tell(3, replace(CHARGING, target_voltage_v=400.0))
    assert bench.given(3).may_start


def test_nothing_starts_while_a_contactor_closes_on_the_dead_bus(bench: Bench) -> None:
    bench.seat(3, Stage.CLOSE_DEAD, 1)
    bench.tell(1, replace(CHARGING, target_voltage_v=400.0))
    assert not bench.given().may_start


def fast(bench: Bench, *seats: tuple[int, Stage], leaders: Mapping[int, int] | None = None) -> tuple[int, ...]:
    for module, stage in seats:
        bench.seat(module, stage, 1)
    for gun, leader in (leaders or {}).items():
        bench.drive(gun).phase = Phase.SEARCH
        cast(Any, bench.drive(gun))._leader = leader
    return bench.orders.fast_reads(bench.decision())


def test_who_searches_is_read_fast_then_who_matches_then_who_unloads(bench: Bench) -> None:
    assert fast(bench) == ()
    assert fast(bench, (3, Stage.UNLOAD)) == (3,)
    assert fast(bench, (5, Stage.CLOSE_LIVE)) == (5, 3)
    assert fast(bench, (6, Stage.MATCH)) == (6, 5)
    assert fast(bench, leaders={2: 4}) == (4, 6)
    assert fast(bench, leaders={3: 1}) == (4, 1)
    assert FAST_READS == 2, "V and I each 100 ms for at most two modules"


def test_nobody_is_read_fast_while_no_gun_has_a_module(bench: Bench) -> None:
    bench.seat(2, Stage.FREE, 0)
    assert fast(bench, leaders={2: 4}) == ()
