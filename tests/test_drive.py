"""Job: voltage and current of one gun, against a battery of a few lines: search, follow, no load, limits, matching.

Thread: the test's. Lock: none. Units: V, A, kW, s.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planning.drive import NO_LOAD_PAUSE_S, NO_LOAD_READ_S, START_TIMEOUT_S, Drive, DriveInput, DriveLimits, Phase
from planning.model import ModuleOrder, ModuleState, ModuleStatus

LIMITS = DriveLimits(
    min_v=150.0, max_v=1000.0, module_kw=40.0, module_a=133.0, search_rate_v_per_s=100.0, search_current_a=2.0,
    idle_current_a=1.0, voltage_margin_v=30.0, voltage_follow_v_per_s=5.0, voltage_rise_factor=1.1,
    ramp_up_a_per_s=25.0, match_offset_v=10.0, fresh_s=1.0, over_fraction=0.1, over_kw=2.0, over_a=5.0,
)  # fmt: skip
STEP_S = 0.1
WANTED = DriveInput(
    wanted=True, may_start=True, limit_kw=40.0, limit_a=500.0, target_v=None, voltage_limit_v=None, told_bus_v=None,
    members={}, matching=(), closing=(), counted_a=0.0, measured_a=0.0,
)  # fmt: skip


class Plant:
    """A battery behind the modules of a Drive. Modules come up after `soft_start_s` and follow their orders."""

    def __init__(self, battery_v: float | None, *modules: int, soft_start_s: float = 1.0) -> None:
        self.drive = Drive(LIMITS)
        self.battery_v = battery_v
        self.now_s = 100.0
        self.soft_start_s = soft_start_s
        self.takes_a = 1000.0  # what the car takes at most: below the set-points it is constant voltage
        self.given = WANTED
        self.on_since_s: dict[int, float] = {}
        self.status = {module: ModuleStatus(module, ModuleState.OFF, on=False) for module in modules}
        self.dead: set[int] = set()  # modules that take no ON
        self.extra_a = 0.0  # what flows without being set
        self.asked_s: float | None = None  # when the present currents were asked for; None: nobody knows

    def run(self, for_s: float, **change: object) -> None:
        self.given = replace(self.given, **change)  # type: ignore[arg-type]
        for _ in range(round(for_s / STEP_S)):
            self.step()

    def step(self) -> None:
        self.now_s += STEP_S
        orders = self.drive.orders
        left_a = self.takes_a
        for module in self.status:
            current_a = self._respond(module, orders.get(module, ModuleOrder()), left_a)
            left_a -= current_a
        self.drive.step(self.now_s, replace(self.given, members=self.status, measured_a=self.measured_a))

    @property
    def measured_a(self) -> float:
        return sum(status.current_a or 0.0 for status in self.status.values()) + self.extra_a

    def _respond(self, module: int, order: ModuleOrder, left_a: float) -> float:
        if not order.on:
            self.on_since_s.pop(module, None)
        elif module not in self.on_since_s and module not in self.dead:
            self.on_since_s[module] = self.now_s
        since_s = self.on_since_s.get(module)
        up = since_s is not None and self.now_s - since_s >= self.soft_start_s
        flows = up and self.battery_v is not None and order.voltage_v > self.battery_v + 1.0
        current_a = min(order.current_a, left_a) if flows else 0.0
        volts = (self.battery_v or 0.0) if flows else order.voltage_v if up else 0.0
        before = self.status[module]
        self.status[module] = replace(
            before, on=since_s is not None, voltage_v=volts, voltage_at_s=self.now_s,
            voltage_before_v=before.voltage_v, voltage_before_at_s=before.voltage_at_s,
            current_a=current_a, current_at_s=self.now_s, current_asked_at_s=self.asked_s,
            current_before_a=before.current_a, current_before_at_s=before.current_at_s,
            constant_current=flows and current_a >= order.current_a,
        )  # fmt: skip
        return current_a

    def set_v(self, module: int = 1) -> float:
        return self.drive.orders[module].voltage_v

    def set_a(self) -> float:
        return sum(order.current_a for order in self.drive.orders.values() if order.on)

    def find(self) -> None:
        """Run until the search has found the battery."""
        for _ in range(200):
            self.step()
            if self.drive.phase is Phase.RUN:
                return
        raise AssertionError(f"still {self.drive.phase}")


# --- search ---------------------------------------------------------------------------------------------------------


def test_the_search_rises_a_hundred_volts_a_second_with_two_amperes() -> None:
    plant = Plant(None, 1, 2)
    before_v, seen = 150.0, []
    for _ in range(60):
        plant.step()
        order = plant.drive.orders[1]
        assert order.current_a == 2.0
        assert order.voltage_v - before_v <= 100.0 * STEP_S + 1e-6
        before_v = order.voltage_v
        seen.append(order.voltage_v)
        assert not plant.drive.orders[2].on, "the lowest module searches alone"
    assert seen[0] == 150.0
    assert seen[-1] > 550.0
    assert plant.drive.leader == 1


def test_the_search_waits_for_the_soft_start() -> None:
    plant = Plant(None, 1, soft_start_s=6.0)
    plant.run(6.0)
    assert plant.set_v() <= 150.0 + LIMITS.search_rate_v_per_s * STEP_S


def test_a_long_pause_between_two_steps_is_no_jump() -> None:
    plant = Plant(None, 1, soft_start_s=0.0)
    plant.run(0.3)
    before_v = plant.set_v()
    plant.now_s += 30.0
    plant.step()
    assert plant.set_v() <= before_v + 50.0


def test_one_reading_of_an_ampere_is_not_enough() -> None:
    plant = Plant(None, 1)
    plant.run(3.0)
    status = plant.status[1]
    plant.now_s += STEP_S
    one = replace(status, current_a=2.0, current_at_s=plant.now_s, current_before_a=0.0)
    plant.drive.step(plant.now_s, replace(WANTED, members={1: one}))
    assert plant.drive.phase is Phase.SEARCH
    two = replace(one, current_at_s=plant.now_s + 0.1, current_before_a=2.0, current_before_at_s=plant.now_s)
    plant.drive.step(plant.now_s + 0.1, replace(WANTED, members={1: two}))
    assert plant.drive.phase is Phase.RUN


def test_old_readings_find_nothing() -> None:
    """What the module gave before the search began is no proof."""
    plant = Plant(None, 1)
    old = replace(plant.status[1], on=True, voltage_v=400.0, current_a=50.0, current_at_s=99.0,
                  current_before_a=50.0, current_before_at_s=98.0)  # fmt: skip
    for step in range(3):
        plant.drive.step(100.0 + step * STEP_S, replace(WANTED, members={1: old}))
    assert plant.drive.phase is Phase.SEARCH


def test_found_it_sets_thirty_volts_above() -> None:
    plant = Plant(400.0, 1, 2)
    plant.find()
    plant.run(0.3)
    assert plant.set_v() == pytest.approx(430.0, abs=1.0)
    assert plant.drive.bus_v(plant.now_s, None) == 400.0
    assert plant.set_a() <= LIMITS.ramp_up_a_per_s * 1.0


def test_a_dead_bus_that_may_not_be_started_waits() -> None:
    plant = Plant(400.0, 1)
    plant.run(5.0, may_start=False)
    assert plant.drive.phase is Phase.OFF
    assert not plant.drive.orders[1].on


def test_no_current_at_the_limit_is_no_load() -> None:
    plant = Plant(None, 1)
    plant.run(6.0, voltage_limit_v=300.0)
    assert plant.drive.phase is Phase.NO_LOAD
    assert not plant.drive.orders.get(1, ModuleOrder()).on
    assert plant.drive.no_load_waiting(plant.now_s)


def test_the_search_never_passes_the_told_limit() -> None:
    plant = Plant(None, 1)
    for _ in range(50):
        plant.run(STEP_S, voltage_limit_v=300.0)
        order = plant.drive.orders.get(1)
        assert order is None or order.voltage_v <= 300.0


def test_three_times_in_a_session_then_only_a_new_status() -> None:
    plant = Plant(None, 1)
    for _ in range(3):
        plant.run(10.0, voltage_limit_v=200.0)
        assert plant.drive.phase is Phase.NO_LOAD
        plant.run(NO_LOAD_PAUSE_S)
    plant.run(3 * NO_LOAD_PAUSE_S)
    assert plant.drive.phase is Phase.NO_LOAD
    plant.drive.new_status()
    plant.run(0.2)
    assert plant.drive.phase is Phase.SEARCH


def test_once_told_a_voltage_the_search_is_over() -> None:
    plant = Plant(400.0, 1)
    plant.run(2.0)
    assert plant.drive.phase is Phase.SEARCH
    plant.run(0.1, target_v=420.0)
    assert plant.drive.phase is Phase.RUN
    assert plant.set_v() == 420.0


def test_a_voltage_that_is_told_no_more_is_searched() -> None:
    plant = Plant(None, 1)
    plant.run(2.0, target_v=400.0)
    plant.run(0.1, target_v=None, voltage_limit_v=300.0)
    assert plant.drive.phase is Phase.SEARCH
    assert plant.set_v() <= 160.0


def test_a_lost_leader_is_replaced() -> None:
    plant = Plant(None, 1, 2)
    plant.run(2.0)
    del plant.status[1]
    plant.run(0.1)
    assert plant.drive.leader == 2
    assert plant.set_v(2) == 150.0


# --- running --------------------------------------------------------------------------------------------------------


def charging(battery_v: float = 400.0, *modules: int) -> Plant:
    plant = Plant(battery_v, *(modules or (1,)))
    plant.find()
    plant.run(6.0)
    return plant


def test_it_follows_the_battery_five_volts_a_second() -> None:
    plant = charging()
    plant.battery_v = 420.0
    before_v = plant.set_v()
    plant.run(2.0)
    assert 5.0 <= plant.set_v() - before_v <= 5.0 * 2.5
    plant.run(10.0)
    assert plant.set_v() == pytest.approx(440.0, abs=2.0), "never above 1.1 x the lowest conducting voltage"


def test_it_is_frozen_in_constant_voltage() -> None:
    plant = charging()
    plant.takes_a = 20.0
    plant.battery_v = 415.0
    before_v = plant.set_v()
    plant.run(5.0)
    assert plant.set_v() == before_v


def test_it_does_not_follow_at_two_amperes_or_less() -> None:
    plant = charging()
    plant.run(0.5, limit_a=2.0)
    plant.battery_v = 425.0
    before_v = plant.set_v()
    plant.run(5.0)
    assert plant.set_v() == before_v


def test_a_jump_within_one_reading_is_a_lost_load() -> None:
    plant = charging()
    plant.battery_v = 429.5
    plant.step()
    assert plant.drive.phase is Phase.RUN
    plant = charging()
    plant.battery_v = 430.0
    plant.drive.orders[1] = replace(plant.drive.orders[1], voltage_v=440.0)
    plant.step()
    assert plant.drive.phase is Phase.NO_LOAD
    assert not any(order.on for order in plant.drive.orders.values())


def test_below_an_ampere_for_a_second_is_a_lost_load() -> None:
    plant = charging()
    plant.takes_a = 0.5
    plant.run(0.9)
    assert plant.drive.phase is Phase.RUN
    plant.run(0.4)
    assert plant.drive.phase is Phase.NO_LOAD


def test_little_current_is_no_lost_load_while_little_is_set() -> None:
    plant = charging()
    plant.run(1.0, limit_a=5.0)
    plant.takes_a = 0.5
    plant.run(20.0)
    assert plant.drive.phase is Phase.RUN


def test_a_car_that_is_slow_to_close_has_the_time_of_a_soft_start() -> None:
    plant = Plant(None, 1)
    plant.run(START_TIMEOUT_S - 1.0, target_v=400.0)
    assert plant.drive.phase is Phase.RUN
    plant.run(3.0)
    assert plant.drive.phase is Phase.NO_LOAD


def test_unwanted_is_off_at_once() -> None:
    plant = charging()
    plant.run(STEP_S, wanted=False)
    assert plant.drive.phase is Phase.OFF
    assert not any(order.on for order in plant.drive.orders.values())


def test_precharge_sets_no_more_than_two_amperes_at_the_told_voltage() -> None:
    plant = Plant(None, 1)
    for _ in range(60):
        plant.run(STEP_S, target_v=400.0, told_bus_v=3.0, limit_a=2.0)
        assert plant.set_a() <= 2.0
        assert plant.set_v() == 400.0


@pytest.mark.parametrize("told_bus_v", [None, 0.0, 5.0, 200.0])
def test_an_empty_bus_does_not_raise_the_power(told_bus_v: float | None) -> None:
    """20 kW at 5 V would be 4000 A: power counts at the voltage that the bus is to have."""
    plant = Plant(None, 1)
    for _ in range(70):
        plant.run(STEP_S, target_v=400.0, told_bus_v=told_bus_v, limit_kw=20.0)
        assert plant.set_a() * 400.0 <= 20_000.0 + 1e-6


def test_current_of_a_silent_module_counts() -> None:
    plant = charging(400.0, 1)
    plant.run(6.0, limit_a=60.0)
    assert plant.set_a() == pytest.approx(60.0)
    plant.run(STEP_S, counted_a=25.0)
    assert plant.set_a() == pytest.approx(35.0)
    plant.run(STEP_S, counted_a=80.0)
    assert plant.set_a() == 0.0


def test_a_limit_acts_at_once_and_comes_back_by_the_ramp() -> None:
    plant = charging()
    assert plant.set_a() * 400.0 == pytest.approx(40_000.0, rel=0.01)
    plant.run(STEP_S, limit_kw=10.0)
    assert plant.set_a() * 400.0 <= 10_000.0
    plant.run(STEP_S, limit_kw=40.0)
    assert plant.set_a() <= 25.0 + 12.5


def test_a_derated_module_is_not_set_higher_than_it_can() -> None:
    plant = charging()
    plant.status[1] = replace(plant.status[1], available_a=30.0)
    plant.run(0.2)
    assert plant.set_a() <= 30.0


# --- over the limit -------------------------------------------------------------------------------------------------


def test_too_much_in_two_readings_a_second_apart_stops_the_gun() -> None:
    plant = charging()
    plant.extra_a = 20.0
    plant.run(1.0)
    assert not plant.drive.over_limit
    plant.run(0.2)
    assert plant.drive.over_limit
    plant.drive.new_status()
    assert not plant.drive.over_limit


def test_a_short_peak_and_a_small_excess_do_not() -> None:
    plant = charging()
    for _ in range(10):
        plant.extra_a = 20.0
        plant.run(0.9)
        plant.extra_a = 0.0
        plant.run(0.1)
    plant.extra_a = 9.0  # of 100 A: less than 10 %
    plant.run(10.0)
    assert not plant.drive.over_limit


def test_what_was_set_in_the_last_three_seconds_is_forgiven() -> None:
    plant = charging()
    plant.extra_a = 80.0
    plant.run(0.1, limit_a=20.0)  # the modules still give what they gave
    plant.run(2.7)
    assert not plant.drive.over_limit
    plant.run(2.0)
    assert plant.drive.over_limit


# --- matching and start ---------------------------------------------------------------------------------------------


def test_a_joining_module_is_held_ten_volts_below_with_an_ampere() -> None:
    plant = charging()
    plant.run(0.1, matching=(4, 7))
    for module in (4, 7):
        order = plant.drive.orders[module]
        assert order.on
        assert 388.0 <= order.voltage_v <= 390.0
        assert order.current_a == 1.0


def test_during_the_search_a_joining_module_warms_up_below_and_no_bus_voltage_is_known() -> None:
    plant = Plant(None, 1)
    plant.run(1.0, matching=(4,))
    assert plant.drive.searching
    order = plant.drive.orders[4]
    assert order.current_a == 1.0
    assert order.voltage_v <= max(LIMITS.min_v, plant.drive.orders[1].voltage_v)
    assert plant.drive.bus_v(plant.now_s, None) is None


def test_a_module_that_does_not_come_up_is_named() -> None:
    plant = charging(400.0, 1, 2)
    plant.status[3] = ModuleStatus(3, ModuleState.OFF, on=False)
    plant.dead.add(3)
    plant.run(START_TIMEOUT_S)
    assert plant.drive.no_start == set()
    plant.run(0.3)
    assert plant.drive.no_start == {3}


def test_its_own_voltage_is_forgotten_after_thirty_seconds_and_with_the_car() -> None:
    plant = charging()
    later_s = plant.now_s + LIMITS.fresh_s + 1.0
    assert plant.drive.bus_v(later_s, None) == 400.0
    assert plant.drive.bus_v(later_s, 395.0) == 395.0, "what is told now is newer"
    assert plant.drive.bus_v(plant.now_s + 31.0, None) is None
    plant.drive.end_session()
    assert plant.drive.bus_v(later_s, None) is None


def test_its_own_voltage_is_forgotten_as_soon_as_no_module_holds_the_bus() -> None:
    """After an emergency stop of 12 s a second module was matched to the bus of before: 346 V onto 102 V."""
    plant = charging()
    plant.run(STEP_S, wanted=False)
    assert plant.drive.bus_v(plant.now_s, None) is None
    plant = charging()
    plant.dead |= set(plant.status)  # each goes off by itself, and its order stands
    plant.on_since_s.clear()
    plant.run(2 * STEP_S)
    assert plant.drive.driving and plant.drive.bus_v(plant.now_s + LIMITS.fresh_s, None) is None


def test_a_car_takes_nothing_only_by_a_current_that_was_asked_for_since() -> None:
    """A limit went down for a quarter of a second; modules that are read each 2 s still told the 0 A of then."""
    plant = charging()
    plant.takes_a = 0.0
    plant.step()
    idle_s = plant.now_s
    plant.asked_s = idle_s + NO_LOAD_READ_S - 0.05
    plant.run(3.0)
    assert plant.drive.phase is Phase.RUN
    plant.asked_s = idle_s + NO_LOAD_READ_S + 0.05
    plant.run(STEP_S)
    assert plant.drive.phase is Phase.NO_LOAD


def test_after_a_short_interruption_the_car_has_its_time_again() -> None:
    """A site limit fell to nothing for 60 ms: what flowed before it made 1 s of patience of the 8 s of a soft start."""
    plant = charging()
    plant.run(1.0, target_v=440.0)
    plant.soft_start_s = 5.0
    plant.drive.step(plant.now_s + 0.01, replace(plant.given, members=plant.status, limit_kw=0.0))
    assert plant.drive.phase is Phase.OFF
    plant.on_since_s.clear()
    plant.drive.step(plant.now_s + 0.07, replace(plant.given, members=plant.status, measured_a=plant.measured_a))
    assert plant.drive.phase is Phase.RUN
    plant.run(7.0)
    assert plant.drive.phase is Phase.RUN and plant.measured_a > 5.0


def test_a_module_whose_poles_travel_holds_what_it_was_matched_to() -> None:
    """It was switched off between coil and contact when the plan changed, and met a charged bus dead."""
    plant = charging()
    plant.run(STEP_S, matching=(4, 7), closing=(7,))
    held = plant.drive.orders[7]
    assert held.on and held.voltage_v < 400.0
    plant.run(STEP_S, wanted=False)
    assert plant.drive.orders[7] == held and 4 not in plant.drive.orders
    plant.run(STEP_S, closing=(), matching=())
    assert 7 not in plant.drive.orders


change = st.fixed_dictionaries(
    {},
    optional={
        "wanted": st.booleans(),
        "limit_kw": st.sampled_from([0.0, 3.0, 20.0, 79.0]),
        "limit_a": st.sampled_from([0.0, 2.0, 50.0, 500.0]),
        "target_v": st.sampled_from([None, 0.0, 380.0, 450.0]),
        "told_bus_v": st.sampled_from([None, 0.0, 380.0]),
        "voltage_limit_v": st.sampled_from([None, 300.0, 430.0]),
        "counted_a": st.sampled_from([0.0, 30.0]),
    },
)


@given(st.lists(st.tuples(change, st.integers(1, 60)), min_size=1, max_size=8), st.sampled_from([None, 350.0, 400.0]))
@settings(max_examples=40, deadline=None)
def test_no_step_ever_sets_more_than_allowed(
    changes: list[tuple[dict[str, object], int]], battery_v: float | None
) -> None:
    plant = Plant(battery_v, 1, 2, 3)
    for what, steps in changes:
        plant.run(0.0, **what)
        for _ in range(steps):
            plant.step()
            given_now, searching = plant.given, plant.drive.phase is Phase.SEARCH
            ceiling_v = min(given_now.voltage_limit_v or 1000.0, 1000.0)
            orders = [order for order in plant.drive.orders.values() if order.on]
            assert not orders or given_now.wanted
            assert all(order.voltage_v <= ceiling_v and order.current_a <= 133.0 for order in orders)
            if not searching:
                allowed_a = max(0.0, given_now.limit_a - given_now.counted_a)
                assert sum(order.current_a for order in orders) <= allowed_a + 1e-6
                possible_w = sum(order.current_a * min(order.voltage_v, battery_v or 0.0) for order in orders)
                assert possible_w <= given_now.limit_kw * 1000.0 + 10.0
