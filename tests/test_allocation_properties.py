"""Job: what holds for every allocation: invariants, the fixed point, and the optimum found by trying everything."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planning.allocation import allocate
from planning.assign import EXACT_MODULES
from planning.reasons import ReasonCode
from planning.request import (
    NOTHING_HELD,
    Allocation,
    AllocationLimits,
    Assignment,
    GunRequest,
    ModuleOffer,
    TargetBound,
)
from planning.rules import RULES, UNKNOWN_SOC_PCT
from planning.settings import Priority
from tests.allocation_helpers import holding

RULE = Priority.HIGHEST_DEMAND
rules = st.sampled_from(sorted(RULES, key=lambda rule: rule.value))
#: Those that compare what is served gun by gun.
in_order = st.sampled_from(sorted(set(RULES) - {Priority.FAIR_SHARE}, key=lambda rule: rule.value))
SHORT_OF_MODULES = {ReasonCode.SHARED, ReasonCode.NO_CROSSPOINT, ReasonCode.NO_MODULES}


# --- invariants over random days ----------------------------------------------------------------------------------


def random_gun(dice: random.Random, gun: int, holds: bool, now_ms: int) -> GunRequest:
    demand_kw = dice.choice([0, 0, 20, 40, 75, 80, 100, 160, 240, 300, round(dice.uniform(0, 320), 1)])
    limit_kw = dice.choice([240, 240, 240, 120, 33.5, 0])
    blocked = dice.choice([None] * 9 + [ReasonCode.FAULT])
    return GunRequest(
        gun=gun,
        demand_kw=demand_kw,
        target_kw=min(demand_kw, limit_kw),
        limit_reason=dice.choice([b for b in TargetBound if b is not TargetBound.DEMAND])
        if demand_kw > limit_kw
        else TargetBound.DEMAND,
        soc_pct=dice.choice([None, dice.randrange(0, 101), 40.0, 41.0]),
        session_since_ms=dice.randrange(1000),
        waiting_since_ms=None if holds else dice.choice([None, max(0, now_ms - dice.randrange(1, 400_000))]),
        precharge_only=demand_kw == 0 and dice.random() < 0.2,
        blocked_reason=blocked,
    )


def random_module(dice: random.Random, module: int, alike: bool) -> ModuleOffer:
    if alike:
        return ModuleOffer(module, 40, dice.randrange(100), frozenset(range(1, 7)))
    allowed = frozenset(gun for gun in range(1, 7) if dice.random() < 0.85)
    pinned = dice.choice(sorted(allowed)) if allowed and dice.random() < 0.1 else None
    power_kw = dice.choice([40, 40, 40, 0, dice.randrange(0, 41)])
    return ModuleOffer(module, power_kw, dice.randrange(100), allowed, pinned, dice.random() < 0.1)


def random_limits(dice: random.Random) -> AllocationLimits:
    return AllocationLimits(
        max_modules_per_gun=dice.choice([9, 9, 6, 2]),
        min_modules_per_gun=dice.choice([0, 0, 1, 2]),
        release_delay_ms=dice.choice([0, 5000]),
        step_margin_kw=dice.choice([0, 4, 8]),
        move_dwell_ms=dice.choice([0, 30_000]),
        rotation_period_ms=dice.choice([300_000, 60_000, 0]),
        site_budget_kw=dice.choice([None, None, 200.0, 77.5, 0.0]),
    )


def check_modules(result: Allocation, modules: Sequence[ModuleOffer], limits: AllocationLimits) -> None:
    offers = {offer.module: offer for offer in modules}
    held = [holding.module for holding in result.assignment.holdings]
    assert held == sorted(set(held)), "a module is on one gun at most"
    for mine in result.assignment.holdings:
        offer = offers[mine.module]
        assert offer.available_kw > 0
        assert mine.gun in offer.guns_allowed
        assert offer.pinned_gun in (None, mine.gun)
    for gun in {mine.gun for mine in result.assignment.holdings}:
        needed = [h for h in result.assignment.holdings if h.gun == gun and h.excess_since_ms is None]
        assert len(needed) <= limits.max_modules_per_gun


def check_power(result: Allocation, guns: Sequence[GunRequest], limits: AllocationLimits) -> None:
    asked = {gun.gun: gun for gun in guns}
    for gun in result.guns:
        assert 0 <= gun.allocated_kw <= asked[gun.gun].target_kw
        assert gun.reason.sentence
        assert asked[gun.gun].asks or not gun.allocated_kw
        if asked[gun.gun].blocked_reason is not None:
            assert gun.modules == ()
    if limits.site_budget_kw is not None:
        assert sum(gun.share_kw or 0 for gun in result.guns) <= limits.site_budget_kw + 1e-9


def check_nothing_idle(result: Allocation, modules: Sequence[ModuleOffer], limits: AllocationLimits) -> None:
    needed = {h.module for h in result.assignment.holdings if h.excess_since_ms is None}
    for gun in result.guns:
        assert (gun.missing > 0) == (gun.reason.code in SHORT_OF_MODULES | {ReasonCode.MODULE_LIMIT})
        if gun.reason.code in SHORT_OF_MODULES:
            idle = [
                offer.module
                for offer in modules
                if offer.available_kw and gun.gun in offer.guns_allowed and offer.pinned_gun in (None, gun.gun)
                if offer.module not in needed
            ]
            assert idle == [], f"gun {gun.gun} waits while modules {idle} do nothing"


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), alike=st.booleans(), rule=rules)
def test_every_allocation_of_a_random_day_keeps_the_rules(seed: int, alike: bool, rule: Priority) -> None:
    dice = random.Random(seed)
    limits = random_limits(dice)
    assignment, now_ms = NOTHING_HELD, 0
    guns: list[GunRequest] = []
    modules: list[ModuleOffer] = []
    for _ in range(8):
        now_ms += dice.choice([100, 1000, 6000, 31_000, 301_000])
        holders = {h.gun for h in assignment.holdings}
        if not guns or dice.random() < 0.8:
            guns = [random_gun(dice, gun, gun in holders, now_ms) for gun in range(1, 7)]
        if not modules or dice.random() < 0.3:
            modules = [random_module(dice, module, alike) for module in range(1, 10)]
        guns = [replace(gun, waiting_since_ms=None) if gun.gun in holders else gun for gun in guns]
        result = allocate(guns, modules, assignment, rule, limits, now_ms)
        check_modules(result, modules, limits)
        check_power(result, guns, limits)
        check_nothing_idle(result, modules, limits)
        assert result.next_due_ms is None or result.next_due_ms > now_ms
        assert allocate(guns, modules, result.assignment, rule, limits, now_ms) == result, "not a fixed point"
        shuffled = allocate(guns[::-1], modules[::-1], assignment, rule, limits, now_ms)
        assert repr(shuffled) == repr(result), "the sequence of the inputs matters"
        assignment = result.assignment


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), rule=rules)
def test_a_larger_station_is_settled_at_once(seed: int, rule: Priority) -> None:
    """More unlike modules than are compared in every way: asked again, the answer is the same."""
    dice = random.Random(seed)
    limits, assignment = random_limits(dice), NOTHING_HELD
    modules = [random_module(dice, module, alike=False) for module in range(1, dice.randrange(12, 18))]
    for now_ms in (1000, 2000, 40_000):
        guns = [random_gun(dice, gun, True, now_ms) for gun in range(1, 7)]
        result = allocate(guns, modules, assignment, rule, limits, now_ms)
        assert allocate(guns, modules, result.assignment, rule, limits, now_ms) == result
        assignment = result.assignment


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), rules_=st.tuples(rules, rules))
def test_over_a_new_rule_each_gun_keeps_a_module_that_serves_it(seed: int, rules_: tuple[Priority, Priority]) -> None:
    """Not even for a better one does it wait: the car would lose its current. And it is settled at once."""
    dice = random.Random(seed)
    limits = replace(random_limits(dice), site_budget_kw=None, min_modules_per_gun=0)
    guns = [random_gun(dice, gun, True, 0) for gun in range(1, 7)]
    modules = [replace(random_module(dice, module, alike=False), busy_until_ready=False) for module in range(1, 10)]
    last = allocate(guns, modules, NOTHING_HELD, rules_[0], limits, 1000)
    keeps_kw = {gun.gun: min(40.0, gun.allocated_kw) for gun in last.guns if gun.modules}
    for now_ms in (2000, 4000, 6000, 40_000):
        guns = [random_gun(dice, gun, True, 0) for gun in range(1, 7)]
        keeps_kw = {gun.gun: keeps_kw[gun.gun] for gun in guns if gun.asks and gun.gun in keeps_kw}
        guns = [replace(gun, keeps_kw=keeps_kw.get(gun.gun, 0.0)) for gun in guns]
        modules = [replace(offer, available_kw=max(1, offer.available_kw - dice.randrange(9))) for offer in modules]
        result = allocate(guns, modules, last.assignment, rules_[1], limits, now_ms)
        for gun in guns:
            had, has = set(last.of(gun.gun).modules), set(result.of(gun.gun).modules)
            assert had & has or not gun.keeps_kw, f"gun {gun.gun} lost all of {sorted(had)}"
        assert allocate(guns, modules, result.assignment, rules_[1], limits, now_ms) == result
        last = result


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), rule=rules)
def test_nothing_changes_before_next_due(seed: int, rule: Priority) -> None:
    """The caller may sleep until next_due_ms as long as no input changes."""
    dice = random.Random(seed)
    limits = random_limits(dice)
    modules = [random_module(dice, module, alike=seed % 2 == 0) for module in range(1, 10)]
    guns = [replace(random_gun(dice, gun, True, 0), waiting_since_ms=0) for gun in range(1, 7)]
    result = allocate(guns, modules, NOTHING_HELD, rule, limits, 1000)
    guns = [replace(random_gun(dice, gun, True, 0), waiting_since_ms=None) for gun in range(1, 7)]
    result = allocate(guns, modules, result.assignment, rule, limits, 2000)
    until_ms = result.next_due_ms or 10_000_000
    for now_ms in (2001, (2000 + until_ms) // 2, until_ms - 1):
        assert allocate(guns, modules, result.assignment, rule, limits, now_ms).assignment == result.assignment


# --- the optimum --------------------------------------------------------------------------------------------------

EXACT = AllocationLimits(
    priority_hysteresis_pct=0, release_delay_ms=0, step_margin_kw=0, move_dwell_ms=0, rotation_period_ms=0
)


#: What each rule serves first, as design says, typed a second time.
FIRST: dict[Priority, Callable[[GunRequest], float]] = {
    Priority.HIGHEST_DEMAND: lambda gun: -gun.demand_kw,
    Priority.FIRST_COME: lambda gun: gun.session_since_ms,
    Priority.LOWEST_SOC: lambda gun: UNKNOWN_SOC_PCT if gun.soc_pct is None else gun.soc_pct,
    Priority.GUN_PRIORITY: lambda gun: [3, 1].index(gun.gun) if gun.gun in (3, 1) else 2,
}


def worth(
    owners: Sequence[int],
    guns: Sequence[GunRequest],
    modules: Sequence[ModuleOffer],
    current: Assignment,
    limits: AllocationLimits,
    rule: Priority,
) -> tuple[object, ...] | None:
    """What the aim compares, larger is better; None: not allowed. `owners`: gun of each module, 0 = nobody."""
    sums, counts, moves = {0: 0}, {0: 0}, 0
    for owner, offer in zip(owners, modules, strict=True):
        if owner:
            if not offer.available_kw or owner not in offer.guns_allowed or offer.pinned_gun not in (None, owner):
                return None
            moves += current.gun_of(offer.module) != owner
        sums[owner] = sums.get(owner, 0) + offer.available_kw
        counts[owner] = counts.get(owner, 0) + 1
    if any(counts.get(gun.gun, 0) > limits.max_modules_per_gun for gun in guns):
        return None
    by_session = sorted(guns, key=lambda gun: (gun.session_since_ms, gun.gun))
    floors = [
        min(counts.get(gun.gun, 0), limits.min_modules_per_gun, limits.max_modules_per_gun, -(-gun.target_kw // 40))
        for gun in by_session
    ]
    left_kw, served = limits.site_budget_kw or 10_000, []
    for gun in sorted(guns, key=lambda gun: (FIRST[rule](gun), gun.gun)):
        served.append(min(gun.target_kw, sums.get(gun.gun, 0), left_kw))
        left_kw -= served[-1]
    return (floors, served, -sum(n for gun, n in counts.items() if gun), -moves)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), rule=in_order)
def test_equals_the_best_of_all_ways(seed: int, rule: Priority) -> None:
    dice = random.Random(seed)
    size = dice.randrange(1, 6)
    demands = dice.sample(range(1, 120), 3)
    guns = [
        GunRequest(
            gun,
            d,
            min(d, dice.choice([d, 60])),
            TargetBound.GUN_LIMIT,
            dice.choice([None, 10.0, 50.0, 90.0]),
            session_since_ms=dice.randrange(3),
        )
        for gun, d in enumerate(demands, start=1)
    ]
    modules = [
        ModuleOffer(
            module,
            dice.choice([40, 40, 20, 10, 0, dice.randrange(1, 41)]),
            dice.randrange(9),
            allowed := frozenset(gun for gun in (1, 2, 3) if dice.random() < 0.8),
            dice.choice([None] * 8 + sorted(allowed)),
        )
        for module in range(1, size + 1)
    ]
    current = holding({module: dice.choice([1, 2, 3]) for module in range(1, size + 1) if dice.random() < 0.5})
    limited = dice.random() < 0.3
    limits = replace(
        EXACT,
        max_modules_per_gun=dice.choice([9, 9, 2, 1]),
        min_modules_per_gun=0 if limited else dice.choice([0, 0, 1, 2]),
        site_budget_kw=float(dice.randrange(1, 150)) if limited else None,
        gun_priority=(3, 1),
    )
    result = allocate(guns, modules, current, rule, limits, 0)
    owners = [result.assignment.gun_of(offer.module) or 0 for offer in modules]
    ways = itertools.product((0, 1, 2, 3), repeat=size)
    best = max(w for way in ways if (w := worth(way, guns, modules, current, limits, rule)) is not None)
    assert worth(owners, guns, modules, current, limits, rule) == best


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_fair_share_equals_the_best_of_all_ways(seed: int) -> None:
    """Alike modules, broken contactors: the sorted counts, then demand, then fewest modules, then fewest moves."""
    dice = random.Random(seed)
    size = dice.randrange(1, 6)
    guns = [GunRequest(gun, d, d) for gun, d in enumerate(dice.sample(range(1, 200), 3), start=1)]
    most = dice.choice([9, 9, 2])
    modules = [
        ModuleOffer(module, 40, dice.randrange(9), frozenset(gun for gun in (1, 2, 3) if dice.random() < 0.8))
        for module in range(1, size + 1)
    ]
    current = holding({module: dice.choice([1, 2, 3]) for module in range(1, size + 1) if dice.random() < 0.5})
    needs = {gun.gun: min(most, -(-round(gun.target_kw) // 40)) for gun in guns}

    def fair(owners: Sequence[int]) -> tuple[object, ...] | None:
        if any(owner and owner not in offer.guns_allowed for owner, offer in zip(owners, modules, strict=True)):
            return None
        counts = {gun: owners.count(gun) for gun in needs}
        if any(counts[gun] > most for gun in needs):
            return None
        useful = {gun: min(counts[gun], needs[gun]) for gun in needs}
        by_demand = [useful[gun.gun] for gun in sorted(guns, key=lambda gun: -gun.demand_kw)]
        moves = sum(bool(o) and current.gun_of(m.module) != o for o, m in zip(owners, modules, strict=True))
        return (sorted(useful.values()), by_demand, -sum(counts.values()), -moves)

    limits = replace(EXACT, max_modules_per_gun=most)
    result = allocate(guns, modules, current, Priority.FAIR_SHARE, limits, 0)
    owners = [result.assignment.gun_of(offer.module) or 0 for offer in modules]
    best = max(w for way in itertools.product((0, 1, 2, 3), repeat=size) if (w := fair(way)) is not None)
    assert fair(owners) == best


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_fair_share_hands_the_site_budget_out_equally(seed: int) -> None:
    """Whoever gets less than the most that anybody gets, gets all it wants, or has no more modules."""
    dice = random.Random(seed)
    modules = [random_module(dice, module, alike=dice.random() < 0.5) for module in range(1, 10)]
    guns = [replace(random_gun(dice, gun, True, 0), precharge_only=False) for gun in range(1, 7)]
    budget_kw = float(dice.randrange(20, 400))
    limits = replace(EXACT, site_budget_kw=budget_kw)
    result = allocate(guns, modules, NOTHING_HELD, Priority.FAIR_SHARE, limits, 0)
    most_kw = max((gun.allocated_kw for gun in result.guns), default=0.0)
    power_kw = {offer.module: offer.available_kw for offer in modules}
    for gun, asked in zip(result.guns, guns, strict=True):
        has_kw = sum(power_kw[module] for module in gun.modules)
        wants_kw = asked.target_kw if asked.asks else 0.0
        full = gun.allocated_kw >= min(wants_kw, has_kw) - 0.001
        assert full or gun.allocated_kw >= most_kw - 0.001, f"gun {gun.gun} of {result.guns}"


def test_every_set_of_demands_on_alike_modules() -> None:
    """4 guns, 5 modules, each demand 0 to 4 modules: what is served is what a plain sum says, from any start."""
    modules = [ModuleOffer(m, 40, 0.0, frozenset({1, 2, 3, 4})) for m in range(1, 6)]
    before = allocate([GunRequest(1, 160, 160), GunRequest(4, 40, 40)], modules, NOTHING_HELD, RULE, EXACT, 0)
    for needs in itertools.product(range(5), repeat=4):
        guns = [GunRequest(gun, 40.0 * n, 40.0 * n) for gun, n in enumerate(needs, start=1)]
        left = 5
        expected = dict.fromkeys(range(1, 5), 0)
        for gun in sorted(guns, key=lambda gun: (-gun.demand_kw, gun.gun)):
            expected[gun.gun] = min(left, round(gun.demand_kw / 40))
            left -= expected[gun.gun]
        result = allocate(guns, modules, NOTHING_HELD, RULE, EXACT, 0)
        assert {gun.gun: len(gun.modules) for gun in result.guns} == expected
        again = allocate(guns, modules, before.assignment, RULE, EXACT, 0)
        if len(set(needs)) == 4:  # among equals the holder stays first
            assert {gun.gun: len(gun.modules) for gun in again.guns} == expected


@pytest.mark.parametrize("seed", range(30))
def test_comparing_agrees_with_counting_on_alike_modules(seed: int) -> None:
    """A tenth module that no gun reaches makes the modules unlike; the result for the nine must not change."""
    dice = random.Random(seed)
    modules = [random_module(dice, module, alike=True) for module in range(1, 10)]
    unreachable = ModuleOffer(10, 1, 0.0, frozenset())
    assert len(modules) + 1 <= EXACT_MODULES
    guns = [random_gun(dice, gun, True, 0) for gun in range(1, 7)]
    counted = allocate(guns, modules, NOTHING_HELD, RULE, EXACT, 0)
    compared = allocate(guns, [*modules, unreachable], NOTHING_HELD, RULE, EXACT, 0)
    assert [(g.allocated_kw, len(g.modules)) for g in compared.guns] == [
        (g.allocated_kw, len(g.modules)) for g in counted.guns
    ]
