"""Job: the allocation as people at the station see it: who gets how many modules, when they move, and why."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest

from planning.allocation import allocate
from planning.reasons import BLOCKED, ReasonCode
from planning.request import NOTHING_HELD, AllocationLimits, GunRequest, TargetBound
from planning.rules import RULES
from planning.settings import Priority
from tests.allocation_helpers import NINE, Station, ask, counts, holding, offer, six

RULE = Priority.HIGHEST_DEMAND


def test_the_day_of_the_contract() -> None:
    station = Station()
    assert station.counts(six(g1=75)) == {1: 2}
    result = station.step(six(g1=75, g3=300))
    assert counts(result) == {1: 2, 3: 6}
    assert result.of(3).allocated_kw == 240
    assert str(result.of(3).reason) == "GUN_LIMIT held to 240 kW by gun3_max_power"
    result = station.step(six(g1=75, g3=300, g5=100))
    assert counts(result) == {3: 6, 5: 3}
    assert str(result.of(1).reason) == "SHARED 2 modules short: held by guns 3 and 5"
    assert result.of(1).missing == 2
    result = station.step(six(g1=75, g5=100))
    assert len(result.of(1).modules) == 2
    assert str(result.of(1).reason) == "SERVED 75 kW as asked by 2 modules"
    assert str(result.of(3).reason) == "IDLE no demand"


def test_equal_demands_are_served_by_lower_gun_number() -> None:
    assert Station().counts(six(g2=240, g4=240)) == {2: 6, 4: 3}


def test_input_sequence_does_not_matter() -> None:
    guns, modules = list(six(g1=75, g2=130, g5=300)), list(NINE)
    expected = allocate(guns, modules, NOTHING_HELD, RULE, AllocationLimits(), 0)
    for seed in range(20):
        random.Random(seed).shuffle(guns)
        random.Random(seed + 99).shuffle(modules)
        assert repr(allocate(guns, modules, NOTHING_HELD, RULE, AllocationLimits(), 0)) == repr(expected)


# --- margins, delays and dwell ------------------------------------------------------------------------------------


def test_waiting_gun_overtakes_only_by_the_hysteresis() -> None:
    station = Station()
    station.step(six(g1=220))
    assert station.counts(six(g1=220, g2=240)) == {1: 6, 2: 3}
    assert station.counts(six(g1=220, g2=242)) == {1: 6, 2: 3}, "exactly 10 % above is not more than 10 %"
    assert station.counts(six(g1=220, g2=243)) == {1: 3, 2: 6}
    assert station.counts(six(g1=243, g2=240), after_s=60) == {1: 3, 2: 6}, "the way back needs 10 % too"


@pytest.mark.parametrize(("second_kw", "expected"), [(72, {1: 2, 2: 1, 3: 6}), (79, {1: 1, 2: 2, 3: 6})])
def test_two_guns_that_have_all_they_need_keep_their_order_within_the_hysteresis(
    second_kw: float, expected: dict[int, int]
) -> None:
    station = Station()
    station.step(six(g1=70))
    station.step(six(g1=70, g2=second_kw))
    assert station.counts(six(g1=70, g2=second_kw, g3=300)) == expected


def test_need_falls_only_by_the_step_margin() -> None:
    station = Station(release_delay_ms=0)
    assert station.counts(six(g1=81)) == {1: 3}
    assert station.counts(six(g1=76)) == {1: 3}
    assert station.counts(six(g1=75.5)) == {1: 2}
    assert station.counts(six(g1=80)) == {1: 2}
    station = Station(release_delay_ms=0, step_margin_kw=6)
    assert station.counts(six(g1=81)) == {1: 3}
    assert station.counts(six(g1=74.1)) == {1: 3}
    assert station.counts(six(g1=74)) == {1: 2}


def test_a_lower_limit_releases_without_margin() -> None:
    station = Station(release_delay_ms=0)
    station.step([ask(1, 280, limit_kw=280)])
    assert station.counts([replace(ask(1, 280), target_kw=240.0, limit_reason=TargetBound.COMMAND_LIMIT)]) == {1: 6}


def test_excess_waits_for_release_delay() -> None:
    station = Station()
    station.step(six(g1=240))
    result = station.step(six(g1=100))
    assert len(result.of(1).modules) == 6
    assert result.next_due_ms == station.now_ms + 5000
    assert str(result.of(1).reason) == "SERVED 100 kW as asked by 3 modules"
    assert station.counts(six(g1=100), after_s=4.999) == {1: 6}
    assert station.counts(six(g1=100), after_s=0.001) == {1: 3}
    assert station.counts(six(), after_s=1) == {1: 3}
    assert station.counts(six(), after_s=5) == {}


def test_demand_that_comes_back_in_time_moves_nothing() -> None:
    station = Station()
    first = station.step(six(g1=240))
    station.step(six(g1=100))
    assert station.step(six(g1=240), after_s=4).assignment == first.assignment


def test_excess_goes_at_once_to_a_gun_that_waits() -> None:
    station = Station()
    station.step(six(g1=240, g2=120))
    assert station.counts(six(g1=160, g2=120, g4=80)) == {1: 4, 2: 3, 4: 2}


def test_free_modules_go_first_then_busy_ones_then_those_of_others() -> None:
    modules = [offer(1, hours=50.0), offer(2, hours=10.0), offer(3, hours=1.0, busy_until_ready=True), offer(4)]
    station = Station(modules)
    station.assignment = holding({4: 2})
    assert station.step(six(g1=40)).of(1).modules == (2,), "fewest hours"
    assert station.step(six(g1=80)).of(1).modules == (1, 2), "free before busy"
    assert station.step(six(g1=120)).of(1).modules == (1, 2, 3), "busy before what gun 2 gives up"
    assert station.step(six(g1=160)).of(1).modules == (1, 2, 3, 4)


def test_of_what_a_gun_gives_up_another_gets_what_carries_no_current_then_the_fewest_hours() -> None:
    """Gun 2 takes two of three, and the one with the most hours stays."""
    modules = [offer(1, hours=50.0), offer(2, hours=10.0), offer(3, hours=30.0)]
    station = Station(modules, move_dwell_ms=0)
    assert station.counts(six(g1=120)) == {1: 3}
    assert station.step(six(g1=40, g2=40)).of(2).modules == (2,)
    station = Station([modules[0], modules[1], replace(modules[2], busy_until_ready=True)], move_dwell_ms=0)
    assert station.counts(six(g1=120)) == {1: 3}
    result = station.step(six(g1=40, g2=40))
    assert result.of(2).modules == (3,), "on its way to gun 1: nobody misses its current"
    assert 2 in result.of(1).modules, "and gun 1 keeps the one with the fewest hours"


def test_among_equal_hours_the_contactor_that_is_worn_least_closes() -> None:
    modules = [offer(m, hours=7.0, wear=wear) for m, wear in ((1, {2: 900}), (2, {2: 500}), (3, {1: 999, 2: 40}))]
    assert Station(modules).step(six(g2=40)).of(2).modules == (3,)
    assert Station(modules).step(six(g1=40)).of(1).modules == (1,)


def test_moved_module_stays_for_the_dwell() -> None:
    station = Station(modules=NINE[:4])
    station.step(six(g1=120))
    assert station.counts(six(g1=120, g2=160)) == {2: 4}
    assert station.counts(six(g1=200, g2=160)) == {1: 1, 2: 3}, "only the three that moved stay"
    assert station.counts(six(g1=200, g2=160), after_s=28) == {1: 1, 2: 3}
    assert station.counts(six(g1=200, g2=160), after_s=2) == {1: 4}


@pytest.mark.parametrize(
    "freed_by",
    [
        ask(2, 0.0),
        replace(ask(2, 160), blocked_reason=ReasonCode.FAULT),
        replace(ask(2, 160), target_kw=0.0, limit_reason=TargetBound.COMMAND_LIMIT),
    ],
)
def test_limit_fault_and_end_of_demand_end_the_dwell(freed_by: object) -> None:
    station = Station(modules=NINE[:4])
    station.step(six(g1=160))
    assert station.counts(six(g1=160, g2=200)) == {2: 4}
    assert station.counts([ask(1, 160), freed_by]) == {1: 4}  # type: ignore[list-item]


def test_lowered_limit_frees_what_it_makes_superfluous_during_the_dwell() -> None:
    station = Station(modules=NINE[:4])
    station.step(six(g1=160))
    station.step(six(g1=160, g2=200))
    limited = replace(ask(2, 200), target_kw=40.0, limit_reason=TargetBound.COMMAND_LIMIT)
    assert station.counts([ask(1, 160), limited]) == {1: 3, 2: 1}


def test_taper_to_one_module_releases_exactly_five() -> None:
    station = Station()
    station.step(six(g1=240))
    for demand_kw in [*range(240, 39, -5), *[40.0] * 10, *[36.0] * 10]:
        station.step(six(g1=demand_kw))
    assert station.counts(six(g1=36)) == {1: 1}
    assert station.moves == 6 + 5


def test_fall_to_40_kw_releases_exactly_five() -> None:
    station = Station()
    station.step(six(g1=240))
    station.step(six(g1=40))
    assert station.counts(six(g1=40), after_s=5) == {1: 1}
    assert station.moves == 6 + 5


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("others", [{}, {"g2": 240, "g3": 60}, {"g2": 240, "g3": 240, "g4": 240}])
@pytest.mark.parametrize("step_kw", [40, 120, 200, 240])
def test_noise_of_5_percent_around_a_step_moves_nothing(
    step_kw: int, others: dict[str, float], rule: Priority
) -> None:
    station, noise = Station(rule=rule), random.Random(step_kw)
    station.step(six(g1=step_kw * 1.05, **others))
    after_start = station.moves
    for second in range(400):
        factor = 0.95 if second % 50 < 10 else noise.uniform(0.95, 1.05)
        station.step(six(g1=step_kw * factor, **others))
    assert station.moves == after_start


def test_what_stays_in_the_noise_below_a_step_for_half_a_minute_has_fallen() -> None:
    station = Station(release_delay_ms=0)
    assert station.counts(six(g1=220)) == {1: 6}
    below = station.step(six(g1=195))
    assert counts(below) == {1: 6}, "five give 200 kW, but a wave of 5 % would want the sixth again"
    assert below.next_due_ms == station.now_ms + 30_000
    assert station.counts(six(g1=190), after_s=29) == {1: 6}
    assert station.counts(six(g1=197), after_s=0.5) == {1: 6}, "a wave within step_margin of the step: it begins anew"
    assert station.counts(six(g1=195), after_s=0.5) == {1: 6}
    assert station.counts(six(g1=195), after_s=29.9) == {1: 6}
    assert station.counts(six(g1=195), after_s=0.1) == {1: 5}
    assert station.counts(six(g1=200), after_s=0.1) == {1: 5}


def test_order_flips_of_nearly_equal_demands_move_nothing() -> None:
    station, noise = Station(), random.Random(1)
    station.step(six(g1=200, g2=200, g3=200))
    after_start = station.moves
    for _ in range(300):
        demands = {f"g{gun}": noise.uniform(197, 200) for gun in (1, 2, 3)}
        station.step(six(**demands), after_s=10)
    assert station.moves == after_start


@pytest.mark.parametrize("rule", [Priority.HIGHEST_DEMAND, Priority.FAIR_SHARE])
@pytest.mark.parametrize(("demand_kw", "modules"), [(80, 5), (160, 9), (120, 7)])
def test_a_spare_module_does_not_wander_between_two_cars_around_a_step(
    rule: Priority, demand_kw: float, modules: int
) -> None:
    """Each needs the odd module at times; who passed the other while it needed none would take it back and forth."""
    station, noise = Station(modules=NINE[:modules], rule=rule), random.Random(3)
    station.step([ask(1, demand_kw), ask(2, demand_kw)])
    for _ in range(60):
        station.step([ask(gun, demand_kw * noise.uniform(0.97, 1.03)) for gun in (1, 2)])
    after_start = station.moves
    for _ in range(3600):
        station.step([ask(gun, demand_kw * noise.uniform(0.97, 1.03)) for gun in (1, 2)])
    assert station.moves == after_start


# --- promises and turns -------------------------------------------------------------------------------------------


def test_min_modules_go_first_longest_session_first() -> None:
    station = Station(min_modules_per_gun=1)
    guns = [ask(1, 240), ask(2, 240), ask(3, 30), ask(4, 20)]
    assert station.counts(guns) == {1: 6, 2: 1, 3: 1, 4: 1}
    station = Station(modules=NINE[:2], min_modules_per_gun=1)
    guns = [replace(gun, session_since_ms=-gun.gun) for gun in guns]
    assert station.counts(guns) == {3: 1, 4: 1}


def test_scarce_modules_rotate_among_waiting_guns() -> None:
    station = Station(modules=NINE[:1])
    waits_since: dict[int, int | None] = {1: 0, 2: 0, 3: 0}
    turns = []
    for _ in range(7 * 30):
        guns = [ask(gun, 100 + 50 * gun, waiting_since_ms=waits_since[gun]) for gun in (1, 2, 3)]
        result = station.step(guns, after_s=10)
        for gun in (1, 2, 3):
            since = waits_since[gun]
            waits_since[gun] = None if result.of(gun).modules else station.now_ms if since is None else since
        (owner,) = counts(result)
        turns.append(owner)
    assert turns == [3] * 30 + [1] * 30 + [2] * 30 + [3] * 30 + [1] * 30 + [2] * 30 + [3] * 30


def test_who_comes_when_a_turn_is_long_over_waits_no_longer_than_the_gap_between_two_turns() -> None:
    """And not for the next change of something else: nobody may come to say anything for an hour."""
    station = Station(modules=NINE[:2])
    station.step([ask(1, 40), ask(2, 40)])
    comes = station.step([ask(1, 40), ask(2, 40), ask(3, 40)], after_s=390)
    assert comes.of(3).modules == ()
    assert comes.next_due_ms == station.now_ms + 150_000
    waiting = [ask(1, 40), ask(2, 40), ask(3, 40, waiting_since_ms=station.now_ms)]
    assert station.step(waiting, after_s=149.999).of(3).modules == ()
    assert counts(station.step(waiting, after_s=0.001)) == {1: 1, 3: 1}


def test_a_turn_interrupts_one_car_and_not_all() -> None:
    """Five modules, six cars: each is interrupted for a minute in turn, and each turn is one move."""
    station = Station(modules=NINE[:5])
    waits_since: dict[int, int | None] = dict.fromkeys(range(1, 7), 0)
    before: dict[int, int] = {}
    left_out: list[tuple[int, int]] = []
    at_ms = 1000
    while at_ms <= 1_000_000:
        guns = [ask(gun, 40, waiting_since_ms=since) for gun, since in waits_since.items()]
        result = station.step(guns, after_s=(at_ms - station.now_ms) / 1000)
        holders = {holding.module: holding.gun for holding in result.assignment.holdings}
        assert sum(before.get(module) != gun for module, gun in holders.items()) <= (1 if before else 5)
        for gun, since in waits_since.items():
            waits_since[gun] = None if result.of(gun).modules else at_ms if since is None else since
        if holders != before:
            (waiting,) = [gun for gun in waits_since if gun not in holders.values()]
            left_out.append((at_ms // 1000, waiting))
        before = holders
        assert result.next_due_ms is not None
        at_ms = result.next_due_ms
    seconds, guns_out = zip(*left_out, strict=True)
    assert guns_out[:8] == (6, 5, 4, 3, 2, 1, 6, 5)
    assert all(later - earlier == 60 for earlier, later in pairwise(seconds[1:]))


def test_no_rotation_when_modules_suffice_for_one_each() -> None:
    station = Station(modules=NINE[:3])
    guns = [ask(1, 120), ask(2, 100, waiting_since_ms=0), ask(3, 100, waiting_since_ms=0)]
    assert station.counts(guns) == {1: 3}
    assert station.counts(guns, after_s=1000) == {1: 3}


# --- limits and parts missing -------------------------------------------------------------------------------------


def test_site_limit_is_handed_out_in_order() -> None:
    result = Station(site_budget_kw=300.0).step(six(g1=50, g3=300, g5=100))
    assert [gun.allocated_kw for gun in result.guns] == [0, 0, 240, 0, 60, 0]
    assert [gun.share_kw for gun in result.guns] == [0, 0, 240, 0, 60, 0]
    assert counts(result) == {3: 6, 5: 2}, "the last module of gun 5 runs partly"
    assert str(result.of(5).reason) == "SITE_LIMIT 60 of 100 kW: the site limit leaves no more"
    assert result.of(1).reason.code is ReasonCode.SITE_LIMIT


def test_promised_module_has_its_share_of_the_site_limit() -> None:
    result = Station(site_budget_kw=240.0, min_modules_per_gun=1).step(six(g1=50, g3=240))
    assert [result.of(gun).allocated_kw for gun in (1, 3)] == [40, 200]


def test_a_minimum_keeps_back_no_more_of_the_site_limit_than_its_modules_give() -> None:
    """Nine modules at half their power once left 40 of 100 kW unused."""
    weak = [offer(module, 20) for module in range(1, 10)]
    result = Station(weak, min_modules_per_gun=1, site_budget_kw=100.0).step(six(g1=40, g2=40, g3=240))
    assert [result.of(gun).allocated_kw for gun in (1, 2, 3)] == [20, 20, 60]


def test_a_share_of_the_site_that_stays_below_a_step_frees_the_module() -> None:
    station = Station(rule=Priority.GUN_PRIORITY, site_budget_kw=270.0, gun_priority=(3, 1), release_delay_ms=0)
    assert station.counts(six(g3=100, g1=240)) == {3: 3, 1: 5}
    assert station.counts(six(g3=116, g1=240)) == {3: 3, 1: 5}, "154 kW may be noise"
    assert station.counts(six(g3=116, g1=240), after_s=30.0) == {3: 3, 1: 4}, "and 30 s later it is none"


def test_a_share_of_the_site_that_wanders_below_the_limit_of_a_gun_moves_nothing() -> None:
    station = Station(rule=Priority.GUN_PRIORITY, site_budget_kw=222.0, gun_priority=(3, 1), release_delay_ms=0)
    limited = ask(1, 200, limit_kw=150)
    assert station.counts([limited, ask(3, 100)])[1] == 4
    station.moves = 0
    for wander_kw in (3, -3, 2, -4, 4, -1) * 5:
        station.step([limited, ask(3, 100 + wander_kw)])
    assert station.moves == 0


def test_unused_site_budget_goes_on() -> None:
    result = Station(modules=NINE[:4], site_budget_kw=200.0).step([ask(1, 400, limit_kw=300), ask(2, 40)])
    assert result.of(1).allocated_kw == 160
    assert result.of(2).reason.code is ReasonCode.SHARED


def test_derated_modules_are_more() -> None:
    station = Station([offer(module, 25) for module in range(1, 10)])
    assert station.counts(six(g1=75)) == {1: 3}
    station = Station([offer(1, 10), offer(2, 40), offer(3, 30), offer(4, 40)])
    assert station.step(six(g1=70)).of(1).modules == (2, 3)


def test_greedy_choice_is_not_good_enough() -> None:
    """Gun 2 reaches module 1 alone; gun 1, served first, must leave it although it has the fewest hours."""
    modules = [offer(1), offer(2, guns=(1,))]
    result = Station(modules).step(six(g1=40, g2=30))
    assert (result.of(1).modules, result.of(2).modules) == ((2,), (1,))


def test_pinned_module_serves_its_gun_or_nobody() -> None:
    modules = [offer(1, pinned_gun=2), *NINE[1:3]]
    assert Station(modules).step(six(g1=120)).of(1).modules == (2, 3)
    assert Station(modules).step(six(g2=40, g3=80)).of(2).modules == (1,)


def test_a_module_welded_to_another_gun_is_no_contactor_out_of_service() -> None:
    modules = [offer(1, pinned_gun=2), offer(2), offer(3, guns=(2, 3))]
    assert str(Station(modules[:2]).step(six(g1=80)).of(1).reason) == (
        "NO_MODULES 1 module short: 1 module is the only one that can be used"
    )
    assert str(Station(modules).step(six(g1=80)).of(1).reason) == (
        "NO_CROSSPOINT 1 module short: the contactor to module 3 is out of service"
    )


def test_a_car_that_precharges_lacks_nothing_with_its_one_module() -> None:
    result = Station([offer(1, 1), offer(2, 0)]).step([replace(ask(1, 0), precharge_only=True)])
    assert (result.of(1).reason.code, result.of(1).missing) == (ReasonCode.PRECHARGE, 0)


def test_max_modules_per_gun() -> None:
    result = Station(max_modules_per_gun=2).step(six(g1=120))
    assert str(result.of(1).reason) == "MODULE_LIMIT held to 80 kW: a gun gets 2 modules at most"


def test_precharge_gets_exactly_one_module() -> None:
    precharge = ask(1, 0.0, precharge_only=True)
    result = Station().step([precharge, ask(2, 240), ask(3, 80)])
    assert counts(result) == {1: 1, 2: 6, 3: 2}
    assert result.of(1).reason.code is ReasonCode.PRECHARGE
    assert result.of(1).allocated_kw == 0


def test_failed_module_and_contactor_are_replaced_at_once() -> None:
    station = Station()
    assert station.step(six(g1=80)).of(1).modules == (1, 2)
    station.modules = [offer(1, 0), offer(2, guns=(2, 3)), *NINE[2:]]
    assert station.step(six(g1=80)).of(1).modules == (3, 4)


@pytest.mark.parametrize("code", sorted(BLOCKED, key=lambda code: code.value))
def test_blocked_gun_gets_nothing_and_says_why(code: ReasonCode) -> None:
    station = Station()
    station.step(six(g1=240))
    result = station.step([replace(ask(1, 240), blocked_reason=code)])
    assert result.of(1).modules == ()
    assert result.of(1).reason is BLOCKED[code]
    assert result.assignment.order == ()


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ([], "NO_MODULES no power module can be used"),
        (NINE[:2], "NO_MODULES 2 modules short: 2 modules are all that can be used"),
        ([offer(1), offer(2, guns=(2,))], "NO_CROSSPOINT 3 modules short: the contactor to module 2 is out of service"),
    ],
)
def test_why_a_gun_gets_less(modules: list[object], expected: str) -> None:
    result = Station(modules).step([ask(1, 160)])  # type: ignore[arg-type]
    assert str(result.of(1).reason) == expected


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        (TargetBound.COMMAND_LIMIT, "COMMAND_LIMIT held to 50 kW by the gun's max_power command"),
        (TargetBound.CURRENT_LIMIT, "CURRENT_LIMIT held to 50 kW by the current limit of car or cable"),
    ],
)
def test_what_bounds_a_served_gun(bound: TargetBound, expected: str) -> None:
    result = Station().step([replace(ask(1, 90), target_kw=50.0, limit_reason=bound)])
    assert str(result.of(1).reason) == expected


def test_a_large_station_is_served_without_comparing_all_ways() -> None:
    modules = [offer(module, 40 if module % 5 else 31) for module in range(1, 28)]
    result = Station(modules, max_modules_per_gun=27).step([ask(1, 600, limit_kw=600), ask(2, 400, limit_kw=400)])
    assert [result.of(gun).allocated_kw for gun in (1, 2)] == [600, 400]


# --- the other rules --------------------------------------------------------------------------------------------------


def cars(*told: tuple[int, float | None, int]) -> list[GunRequest]:
    """(gun, state of charge, session since): each asks for five modules of nine."""
    return [replace(ask(gun, 200), soc_pct=soc, session_since_ms=since) for gun, soc, since in told]


def test_first_come_serves_the_longest_session_in_full() -> None:
    station = Station(rule=Priority.FIRST_COME)
    assert station.counts(cars((1, 80, 3), (2, 10, 1), (3, 50, 2))) == {2: 5, 3: 4}
    assert station.counts(cars((1, 5, 3), (2, 99, 1), (3, 50, 2))) == {2: 5, 3: 4}, "whatever the cars do"


def test_lowest_soc_serves_the_emptiest_car_and_one_that_tells_none_last() -> None:
    station = Station(rule=Priority.LOWEST_SOC)
    assert station.counts(cars((1, 60, 1), (2, None, 2), (3, 20, 3))) == {3: 5, 1: 4}


def test_two_cars_of_nearly_one_charge_do_not_take_turns_with_every_point() -> None:
    """The one that is served rises; the other overtakes it ten points later, once."""
    station = Station([offer(module) for module in range(1, 6)], rule=Priority.LOWEST_SOC, move_dwell_ms=0)
    served = []
    soc = {1: 30.0, 2: 31.0}
    for _ in range(60):
        counts = station.counts(cars((1, soc[1], 1), (2, soc[2], 2)), after_s=60.0)
        (gun,) = counts
        served.append(gun)
        soc[gun] += 1.0
    changes = sum(one != other for one, other in pairwise(served))
    assert served[0] == 1 and 1 <= changes <= 6


def test_gun_priority_serves_as_listed_and_the_others_by_number() -> None:
    station = Station(rule=Priority.GUN_PRIORITY, gun_priority=(3, 2))
    assert station.counts(cars((1, 1, 1), (2, 99, 2), (3, 50, 3))) == {3: 5, 2: 4}
    assert station.counts(cars((1, 1, 1), (4, 99, 2), (5, 50, 3)), after_s=60.0) == {1: 5, 4: 4}


@pytest.mark.parametrize("rule", RULES)
def test_a_car_that_only_precharges_gets_its_module_at_a_busy_station_too(rule: Priority) -> None:
    """Else it could never say what it wants: its demand is 0 until it is connected."""
    station = Station(rule=rule, gun_priority=(2, 3, 1))
    busy = cars((2, 90, 5), (3, 80, 6))
    assert sum(station.counts(busy).values()) == 9
    waits = replace(ask(1, 0), precharge_only=True, soc_pct=100.0, session_since_ms=900)
    assert station.counts([waits, *busy])[1] == 1
    assert station.step([waits, *busy], after_s=3600.0).of(1).reason.code is ReasonCode.PRECHARGE


@pytest.mark.parametrize("rule", RULES)
def test_where_modules_are_fewer_than_guns_a_car_that_only_precharges_comes_last(rule: Priority) -> None:
    station = Station([offer(1)], rule=rule, gun_priority=(1, 2))
    waits = replace(ask(1, 0), precharge_only=True, soc_pct=1.0, session_since_ms=0)
    assert station.counts([waits, *cars((2, 90, 5))]) == {2: 1}


def test_fair_share_gives_each_in_turn_and_the_odd_module_to_the_highest_demand() -> None:
    station = Station(rule=Priority.FAIR_SHARE)
    assert station.counts([ask(1, 240), ask(2, 200), ask(3, 240), ask(4, 30)]) == {1: 3, 2: 2, 3: 3, 4: 1}


def test_fair_share_on_a_hot_day_counts_what_modules_give() -> None:
    """Two cars of 40 kW need two modules of 20 kW each; their name plates say one."""
    station = Station([offer(module, 20) for module in range(1, 10)], rule=Priority.FAIR_SHARE)
    assert station.counts(six(g1=40, g2=40, g3=240)) == {1: 2, 2: 2, 3: 5}


def test_fair_share_hands_out_the_site_budget_equally_and_returns_the_unused() -> None:
    station = Station(rule=Priority.FAIR_SHARE, site_budget_kw=130.0)
    result = station.step([ask(1, 240), ask(2, 200), ask(3, 20)])
    assert [result.of(gun).allocated_kw for gun in (1, 2, 3)] == [55.0, 55.0, 20.0]


def test_what_a_gun_cannot_use_of_its_equal_share_goes_to_the_others() -> None:
    only_one = [offer(1, guns=(1, 2)), *(offer(module, guns=(2,)) for module in range(2, 10))]
    station = Station(only_one, rule=Priority.FAIR_SHARE, site_budget_kw=150.0)
    result = station.step([ask(1, 200), ask(2, 200)])
    assert [result.of(gun).allocated_kw for gun in (1, 2)] == [40.0, 110.0]


def test_rules_are_named_by_the_settings() -> None:
    assert set(Priority) == set(RULES)
    with pytest.raises(KeyError):
        Station().step(six()).of(7)


def test_fair_share_says_who_holds_what_is_missing_and_what_the_site_keeps_back() -> None:
    """It once told every gun of a full station that the site limit left no more."""
    guns = six(g1=200, g2=190, g3=180, g4=170, g5=160, g6=150)
    result = Station(rule=Priority.FAIR_SHARE).step(guns)
    assert str(result.of(4).reason) == "SHARED 4 modules short: held by guns 1, 2, 3, 5 and 6"
    assert (result.of(4).need, result.of(4).missing) == (5, 4)
    result = Station(rule=Priority.FAIR_SHARE, site_budget_kw=300.0).step(guns)
    assert [gun.share_kw for gun in result.guns] == [60.0, 60.0, 60.0, 40.0, 40.0, 40.0]
    assert str(result.of(1).reason) == "SITE_LIMIT 60 of 200 kW: the site limit leaves no more"
    assert str(result.of(4).reason) == "SHARED 1 module short: held by guns 1, 2, 3, 5 and 6"


def test_fair_share_moves_nothing_when_two_guns_change_places_by_little() -> None:
    station = Station(rule=Priority.FAIR_SHARE)
    before = station.step(six(g1=200, g2=190, g3=180, g4=170, g5=160, g6=150)).assignment.holdings
    after = station.step(six(g1=200, g2=190, g3=172, g4=178, g5=160, g6=150), after_s=60).assignment.holdings
    assert after == before
