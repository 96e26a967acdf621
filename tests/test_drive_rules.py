"""Job: the exact edges of the drive's rules: which reading counts, how often and how long it tries, what it sets.

Thread: the test's. Lock: none. Units: V, A, kW, s. The battery behind the drive is that of test_drive.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_drive import LIMITS, STEP_S, WANTED, Plant, charging

from planning.drive import FOLLOW_PIECE_S, NO_LOAD_PAUSE_S, NO_LOAD_TRIES, START_TIMEOUT_S, Drive, Phase
from planning.model import ModuleState, ModuleStatus

#: Times in these steps add up without a rest.
EXACT_S = 0.125


def look(plant: Plant, after_s: float = STEP_S, **change: Any) -> None:
    """One step with module 1 reading as it did, but for what is changed."""
    plant.now_s += after_s
    plant.status[1] = replace(plant.status[1], **change)
    plant.drive.step(plant.now_s, replace(plant.given, members=plant.status, measured_a=plant.measured_a))


# --- which reading counts ---------------------------------------------------------------------------------------------

#: What differs from a good reading of 405 V and 50 A, times in s before now; does the module conduct by it?
READINGS: dict[str, tuple[dict[str, float | bool | None], bool]] = {
    "a good one": ({}, True),
    "current read before the voltage": ({"current_at_s": 0.2}, False),
    "current read at an unknown time": ({"current_at_s": None}, False),
    "voltage read at an unknown time": ({"voltage_at_s": None}, False),
    "a module that is off": ({"on": False}, False),
    "a voltage of one second": ({"voltage_at_s": 1.0, "voltage_asked_at_s": None}, True),
    "an older voltage": ({"voltage_at_s": 1.125, "voltage_asked_at_s": None}, False),
    "one ampere": ({"current_a": 1.0}, True),
    "less than an ampere": ({"current_a": 0.9}, False),
    "no current known": ({"current_a": None}, False),
    "asked when the current began": ({"voltage_asked_at_s": 0.25}, True),
    "asked before the current began": ({"voltage_asked_at_s": 0.375}, False),
    "asked between two currents, the first too small": ({"current_before_a": 0.9}, False),
    "asked between two currents, the first an ampere": ({"current_before_a": 1.0}, True),
    "asked between two currents, the first unknown": ({"current_before_a": None}, False),
    "asked between two currents, the first of an unknown time": ({"current_before_at_s": None}, False),
    "asked after both currents": ({"current_before_a": None, "current_at_s": 0.125, "voltage_asked_at_s": 0.125}, True),
    "nobody knows when it was asked": ({"current_before_a": None, "voltage_asked_at_s": None}, True),
}  # fmt: skip
GOOD: dict[str, float | bool | None] = {
    "on": True, "voltage_v": 405.0, "voltage_at_s": 0.125, "voltage_asked_at_s": 0.1875,
    "current_a": 50.0, "current_at_s": 0.0, "current_before_a": 50.0, "current_before_at_s": 0.25,
}  # fmt: skip


@pytest.mark.parametrize("what", READINGS)
def test_a_voltage_counts_when_current_flowed_before_and_after_it(what: str) -> None:
    change, counts = READINGS[what]
    plant = charging()
    plant.now_s = float(round(plant.now_s))
    now_s = plant.now_s + EXACT_S
    values = {
        name: now_s - value if name.endswith("at_s") and value is not None else value
        for name, value in (GOOD | change).items()
    }
    look(plant, EXACT_S, **values)
    assert plant.drive.phase is Phase.RUN
    assert plant.drive.conducting_v == (405.0 if counts else 400.0)


@pytest.mark.parametrize(
    ("first_a", "second_a", "bus_v"), [(50.0, 20.0, 400.0), (20.0, 50.0, 402.0), (30.0, 30.0, 400.0)]
)
def test_the_module_that_gives_most_tells_the_voltage(first_a: float, second_a: float, bus_v: float) -> None:
    plant = charging(400.0, 1, 2)
    plant.now_s += STEP_S
    for module, volts, amps in ((1, 400.0, first_a), (2, 402.0, second_a)):
        plant.status[module] = replace(
            plant.status[module], voltage_v=volts, voltage_at_s=plant.now_s, current_a=amps, current_at_s=plant.now_s
        )
    plant.drive.step(plant.now_s, replace(plant.given, members=plant.status, measured_a=first_a + second_a))
    assert plant.drive.conducting_v == bus_v


def test_the_same_reading_again_is_no_jump() -> None:
    """One module conducts at 400 V, the other read 430 V at that same moment: nothing has risen within a reading."""
    plant = charging(400.0, 1, 2)
    plant.now_s += STEP_S
    for module, volts, amps in ((1, 400.0, 50.0), (2, 431.0, 50.0)):
        plant.status[module] = replace(
            plant.status[module], voltage_v=volts, voltage_at_s=plant.now_s - STEP_S, current_a=amps,
            current_at_s=plant.now_s,
        )  # fmt: skip
    plant.drive.step(plant.now_s, replace(plant.given, members=plant.status, measured_a=100.0))
    assert plant.drive.phase is Phase.RUN


def searching() -> Plant:
    plant = Plant(None, 1)
    plant.run(2.0)
    plant.now_s = float(round(plant.now_s))
    return plant


def found_by(plant: Plant, **change: Any) -> Phase:
    """One step with two readings of 2 A at 300 V, but for what is changed."""
    now_s = plant.now_s + EXACT_S
    good: dict[str, Any] = {
        "on": True, "voltage_v": 300.0, "voltage_at_s": now_s, "current_a": 2.0, "current_at_s": now_s,
        "current_before_a": 2.0, "current_before_at_s": now_s - EXACT_S,
    }  # fmt: skip
    look(plant, EXACT_S, **(good | change))
    return plant.drive.phase


@pytest.mark.parametrize(
    ("change", "phase"),
    [
        ({}, Phase.RUN),
        ({"current_a": 1.0, "current_before_a": 1.0}, Phase.RUN),
        ({"current_before_a": 0.9}, Phase.SEARCH),
        ({"current_a": None}, Phase.SEARCH),
        ({"on": False}, Phase.SEARCH),
        ({"voltage_v": None}, Phase.SEARCH),
        ({"current_before_at_s": None}, Phase.SEARCH),
    ],
)
def test_two_currents_of_an_ampere_end_the_search(change: dict[str, Any], phase: Phase) -> None:
    assert found_by(searching(), **change) is phase


def test_a_current_of_the_moment_in_which_the_search_began_does_not_end_it() -> None:
    drive = Drive(LIMITS)
    status = ModuleStatus(
        1, ModuleState.ON, on=True, voltage_v=300.0, voltage_at_s=100.0,
        current_a=2.0, current_at_s=100.125, current_before_a=2.0, current_before_at_s=100.0,
    )  # fmt: skip
    drive.step(100.0, replace(WANTED, members={1: replace(status, current_a=0.0)}))
    drive.step(100.125, replace(WANTED, members={1: status}))
    assert drive.phase is Phase.SEARCH
    drive.step(100.25, replace(WANTED, members={1: replace(status, current_before_at_s=100.0625)}))
    assert drive.phase is Phase.RUN


def test_what_ended_the_search_is_the_bus_voltage_though_current_was_read_first() -> None:
    plant = searching()
    now_s = plant.now_s + EXACT_S
    assert found_by(plant, current_at_s=now_s - EXACT_S / 2) is Phase.RUN
    assert plant.drive.conducting_v == 300.0
    assert plant.drive.bus_v(now_s, None) == 300.0
    look(plant, EXACT_S)
    assert plant.drive.phase is Phase.RUN, "it is found, though no later reading conducts yet"


# --- how often and how long it tries ----------------------------------------------------------------------------------


def tries(plant: Plant, for_s: float) -> int:
    """How often a search began within this time."""
    begun, before = 0, plant.drive.phase
    for _ in range(round(for_s / STEP_S)):
        plant.step()
        begun += plant.drive.phase is Phase.SEARCH and before is not Phase.SEARCH
        before = plant.drive.phase
    return begun


LONG_S = 5 * (NO_LOAD_PAUSE_S + 5.0)


def test_three_tries_for_a_status_and_for_a_session_and_not_one_more() -> None:
    plant = Plant(None, 1)
    plant.run(0.0, voltage_limit_v=200.0)
    assert tries(plant, LONG_S) == NO_LOAD_TRIES == 3
    plant.drive.new_status()
    assert tries(plant, LONG_S) == 3
    plant.drive.end_session()
    assert tries(plant, LONG_S) == 3


def test_the_pause_after_no_load_lasts_sixty_seconds() -> None:
    plant = Plant(None, 1)
    while plant.drive.phase is not Phase.NO_LOAD:
        plant.run(STEP_S, voltage_limit_v=200.0)
    assert plant.drive.no_load_waiting(plant.now_s + 59.99)
    assert not plant.drive.no_load_waiting(plant.now_s + 60.0)


@pytest.mark.parametrize("limit_v", [150.0, 200.0])
def test_at_the_limit_it_waits_a_second_for_current(limit_v: float) -> None:
    plant = Plant(None, 1, soft_start_s=0.0)
    plant.run(0.0, voltage_limit_v=limit_v)
    at_limit = 0
    while plant.drive.phase is not Phase.NO_LOAD:
        plant.step()
        up = (plant.status[1].voltage_v or 0.0) >= limit_v
        at_limit += up and plant.drive.phase is Phase.SEARCH
    assert 9 <= at_limit <= 11


def test_a_limit_below_what_the_modules_can_starts_nothing() -> None:
    plant = Plant(None, 1)
    plant.run(1.0, voltage_limit_v=149.0)
    assert plant.drive.phase is Phase.OFF


def test_the_time_of_a_soft_start_is_given_again_after_a_pause() -> None:
    plant = charging()
    plant.run(STEP_S, wanted=False)
    plant.battery_v = None
    plant.run(START_TIMEOUT_S - 1.0, wanted=True, target_v=400.0)
    assert plant.drive.phase is Phase.RUN
    plant.run(3.0)
    assert plant.drive.phase is Phase.NO_LOAD


def test_a_second_without_current_is_counted_from_its_beginning() -> None:
    plant = charging()
    plant.now_s = float(round(plant.now_s))
    nothing = {"current_a": 0.0, "current_before_a": 0.0}
    for _ in range(8):
        look(plant, EXACT_S, **nothing)
        assert plant.drive.phase is Phase.RUN
    look(plant, EXACT_S, **nothing)
    assert plant.drive.phase is Phase.NO_LOAD


def test_an_ampere_is_current() -> None:
    plant = charging()
    plant.takes_a = 1.0
    plant.run(5.0)
    assert plant.drive.phase is Phase.RUN


def test_a_module_that_does_not_read_on_has_eight_seconds() -> None:
    drive, status = Drive(LIMITS), ModuleStatus(1, ModuleState.ON, on=None)
    told = replace(WANTED, members={1: status}, target_v=400.0)
    drive.step(100.0, told)
    drive.step(100.0 + START_TIMEOUT_S, told)
    assert drive.no_start == set()
    drive.step(100.0 + START_TIMEOUT_S + EXACT_S, told)
    assert drive.no_start == {1}


def test_a_module_that_goes_off_has_its_whole_time_again() -> None:
    drive, status = Drive(LIMITS), ModuleStatus(1, ModuleState.ON, on=True)
    told = replace(WANTED, members={1: status}, target_v=400.0)
    drive.step(100.0, told)
    drive.step(107.0, told)
    gone = replace(told, members={1: replace(status, on=False)})
    drive.step(107.5, gone)
    drive.step(115.0, gone)
    assert drive.no_start == set()
    drive.step(115.25, gone)
    assert drive.no_start == {1}


def test_a_module_that_is_told_off_meanwhile_begins_anew() -> None:
    drive, status = Drive(LIMITS), ModuleStatus(1, ModuleState.OFF, on=False)
    told = replace(WANTED, members={1: status}, target_v=400.0)
    drive.step(100.0, told)
    drive.step(105.0, replace(told, wanted=False))
    drive.step(106.0, told)
    drive.step(113.0, told)
    assert drive.no_start == set()


def test_nothing_is_over_and_nobody_leads_before_it_starts() -> None:
    drive = Drive(LIMITS)
    assert drive.over_limit is False
    assert (drive.leader, drive.set_total_a, drive.conducting_v) == (0, 0.0, None)
    assert drive.steady
    drive.over_limit = True
    drive.new_status()
    assert drive.over_limit is False


# --- what it sets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit_kw", "limit_a", "set_a"), [(40.0, 500.0, 2.0), (40.0, 1.5, 1.5), (0.3, 500.0, 2.0), (0.15, 500.0, 1.0)]
)
def test_the_search_keeps_to_the_limits_of_the_gun(limit_kw: float, limit_a: float, set_a: float) -> None:
    plant = Plant(None, 1)
    plant.run(STEP_S, limit_kw=limit_kw, limit_a=limit_a)
    assert plant.drive.orders[1].voltage_v == 150.0
    assert plant.drive.orders[1].current_a == pytest.approx(set_a, rel=1e-9)


def test_the_search_waits_for_a_module_forty_volts_behind() -> None:
    plant = searching()
    for behind_v, rises in ((40.0, False), (39.9, True)):
        before_v = plant.set_v()
        look(plant, EXACT_S, voltage_v=before_v - behind_v)
        assert (plant.set_v() > before_v) is rises


def test_a_module_gives_no_more_than_its_power_at_the_bus_voltage() -> None:
    plant = charging()
    plant.run(3.0, limit_kw=1000.0)
    assert plant.set_a() == pytest.approx(100.0, rel=1e-9)
    plant.battery_v = 399.0
    plant.run(1.0)
    assert plant.set_a() == pytest.approx(100.0, rel=1e-9), "the grid, not the noise, says what 40 kW are"
    plant.battery_v = 410.0
    plant.step()
    assert plant.set_a() == pytest.approx(40_000.0 / 410.0, rel=1e-9)


def test_a_module_that_is_off_has_its_whole_power_before_it() -> None:
    plant = Plant(400.0, 1, soft_start_s=20.0)
    plant.dead.add(1)
    plant.status[1] = replace(plant.status[1], available_a=0.0)
    plant.run(0.5, target_v=420.0)
    assert plant.set_a() > 0.0, "what a module that is off says it could give means nothing"


@pytest.mark.parametrize(("battery_v", "set_a"), [(399.0, 50.0), (396.0, 50.0), (395.75, 20_000.0 / 396.0)])
def test_noise_within_the_grid_moves_no_set_point(battery_v: float, set_a: float) -> None:
    plant = charging()
    plant.run(3.0, limit_kw=20.0)
    assert plant.set_a() == pytest.approx(50.0, rel=1e-9)
    plant.battery_v = battery_v
    plant.step()
    plant.run(1.0)
    assert plant.set_a() == pytest.approx(set_a, rel=1e-9)


def test_before_the_first_current_power_counts_at_the_voltage_of_this_attempt() -> None:
    plant = charging()
    plant.run(STEP_S, wanted=False)
    plant.battery_v = None
    plant.run(3.0, wanted=True, target_v=800.0, limit_kw=10.0)
    assert plant.set_a() == pytest.approx(12.5)


def test_a_told_voltage_needs_no_search_and_the_battery_is_learnt_all_the_same() -> None:
    plant = Plant(400.0, 1)
    plant.run(6.0, target_v=420.0)
    assert plant.drive.conducting_v == 400.0
    assert plant.set_a() == pytest.approx(40_000.0 / 400.0)


def test_without_a_measured_current_the_set_points_rise_by_one_second_of_the_ramp() -> None:
    drive = Drive(LIMITS)
    told = replace(WANTED, members={1: ModuleStatus(1, ModuleState.ON, on=True)}, target_v=400.0)
    for step in range(40):
        drive.step(100.0 + step * EXACT_S, told)
    assert drive.set_total_a == 25.0


def test_it_follows_in_steps_of_half_a_second_up_and_down() -> None:
    plant = charging()
    for battery_v, goal_v in ((405.0, 435.0), (400.0, 430.0)):
        plant.battery_v = battery_v
        seen = [plant.set_v()]
        for _ in range(40):
            plant.step()
            seen.append(plant.set_v())
        most_v = LIMITS.voltage_follow_v_per_s * FOLLOW_PIECE_S
        assert all(abs(later - earlier) <= most_v for earlier, later in zip(seen, seen[4:], strict=False))
        assert seen[-1] == pytest.approx(goal_v)


@pytest.mark.parametrize(("battery_v", "set_v"), [(400.75, 430.0), (401.0, 431.0), (399.25, 430.0)])
def test_it_follows_no_less_than_a_volt(battery_v: float, set_v: float) -> None:
    plant = charging()
    plant.battery_v = battery_v
    plant.run(2.0)
    assert plant.set_v() == set_v


def test_the_lowest_voltage_of_the_session_binds_after_a_second_search() -> None:
    plant = charging()
    plant.run(STEP_S, wanted=False)
    plant.battery_v = 420.0
    plant.run(STEP_S, wanted=True)
    plant.find()
    assert plant.set_v() == pytest.approx(440.0)
    plant.battery_v = 425.0
    plant.run(20.0)
    assert plant.set_v() == pytest.approx(440.0)
    plant.drive.end_session()
    plant.run(STEP_S, wanted=False)
    plant.run(STEP_S, wanted=True)
    plant.find()
    plant.run(STEP_S)
    assert plant.set_v() == pytest.approx(455.0), "the next car's battery counts from its own voltage"


def test_a_car_that_is_forgotten_in_mid_run_keeps_the_voltage_below_what_is_told() -> None:
    plant = charging()
    plant.drive.end_session()
    plant.takes_a = 0.0
    plant.run(STEP_S)
    assert plant.set_v() == 430.0
    plant.run(STEP_S, voltage_limit_v=415.0)
    assert plant.set_v() == 415.0


# --- modules that match -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("battery_v", "limit_v", "match_v"),
    [(400.0, None, 390.0), (401.5, None, 390.0), (399.0, None, 388.0), (400.0, 431.0, 390.0), (155.0, None, 150.0)],
)
def test_a_matching_module_stands_on_a_grid_ten_volts_below(
    battery_v: float, limit_v: float | None, match_v: float
) -> None:
    plant = charging(battery_v)
    plant.run(STEP_S, matching=(4,), voltage_limit_v=limit_v)
    order = plant.drive.orders[4]
    assert (order.on, order.voltage_v, order.current_a) == (True, match_v, 1.0)


@pytest.mark.parametrize(("limit_v", "matches"), [(390.0, True), (389.0, False)])
def test_a_matching_module_never_passes_the_told_limit(limit_v: float, matches: bool) -> None:
    plant = charging()
    plant.run(STEP_S, matching=(4,), voltage_limit_v=limit_v)
    assert (4 in plant.drive.orders) is matches


def test_matching_modules_follow_the_search_in_steps_of_fifty_volts() -> None:
    plant = Plant(None, 1, soft_start_s=0.0)
    seen = set()
    for _ in range(20):
        plant.run(STEP_S, matching=(4,))
        search_v, match_v = plant.set_v(), plant.set_v(4)
        assert match_v == max(150.0, search_v // 50.0 * 50.0 - 10.0)
        seen.add(match_v)
    assert seen == {150.0, 190.0, 240.0, 290.0}


def test_while_the_told_voltage_is_not_reached_a_joining_module_warms_up_at_its_minimum() -> None:
    plant = Plant(None, 1)
    plant.run(1.0, target_v=400.0, matching=(4,))
    assert plant.set_v(4) == 150.0
    plant.run(STEP_S, told_bus_v=380.0)
    assert plant.set_v(4) == 370.0
    plant.run(STEP_S, wanted=False, told_bus_v=None)
    assert 4 not in plant.drive.orders, "nobody drives, nothing is known"


# --- over the limit ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("battery_v", "limit_a", "counted_a", "over_a"),
    [
        (400.0, 80.0, 0.0, 8.0),  # a tenth
        (400.0, 20.0, 0.0, 5.0),  # five amperes
        (200.0, 20.0, 0.0, 10.0),  # two kilowatts
        (400.0, 80.0, 20.0, 30.0),  # a silent module may give its 20 A still
    ],
)
@pytest.mark.parametrize("more_a", [0.0, 0.25])
def test_the_margin_is_a_tenth_two_kilowatts_or_five_amperes_whichever_is_more(
    battery_v: float, limit_a: float, counted_a: float, over_a: float, more_a: float
) -> None:
    plant = charging(battery_v)
    plant.run(6.0, limit_a=limit_a)
    plant.run(0.0, counted_a=counted_a, limit_a=limit_a + counted_a)
    plant.extra_a = over_a + more_a
    plant.run(2.0)
    assert plant.drive.over_limit is (more_a > 0.0)


def test_two_readings_a_second_apart_and_not_sooner() -> None:
    plant = charging()
    plant.now_s = float(round(plant.now_s))
    plant.extra_a = 30.0
    for _ in range(8):
        look(plant, EXACT_S)
        assert not plant.drive.over_limit
    look(plant, EXACT_S)
    assert plant.drive.over_limit


def test_a_gun_that_was_stopped_begins_to_count_anew() -> None:
    plant = charging()
    plant.extra_a = 30.0
    plant.run(0.7)
    plant.extra_a = 0.0
    plant.run(1.0, wanted=False)
    plant.run(0.0, wanted=True)
    plant.find()
    plant.extra_a = 30.0
    plant.run(0.7)
    assert not plant.drive.over_limit
