"""Job: what is foreseen is what then happens: the next module of a gun, and the loss of a module."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from allocation_helpers import NINE, Station, ask, offer, six
from hypothesis import given, settings
from hypothesis import strategies as st

from planning.foresight import Question, losses_kw, next_module_ms
from planning.request import NOTHING_HELD, Allocation, AllocationLimits, GunRequest
from planning.settings import Priority

RULES = st.sampled_from(Priority)


def question(guns: tuple[GunRequest, ...], rule: Priority = Priority.HIGHEST_DEMAND, **limits: object) -> Question:
    return Question(guns, NINE, NOTHING_HELD, rule, AllocationLimits(**limits), 0)  # type: ignore[arg-type]


def needed(answer: Allocation, gun: int) -> int:
    return sum(held.gun == gun and held.excess_since_ms is None for held in answer.assignment.holdings)


def test_whoever_waits_while_modules_are_fewer_than_cars_knows_when_his_turn_comes() -> None:
    asked = Question(six(g1=40, g2=40, g3=40), NINE[:2], NOTHING_HELD, Priority.HIGHEST_DEMAND, AllocationLimits(), 0)
    answer = asked.answer()
    assert answer.of(3).missing == 1
    assert next_module_ms(asked, answer) == {3: 300_000}


def test_a_gun_that_waits_for_another_to_finish_cannot_know() -> None:
    asked = question(six(g1=240, g2=240, g3=240))
    assert next_module_ms(asked, asked.answer()) == {}


def test_the_loss_of_any_module_hits_whom_the_rule_serves_last() -> None:
    asked = question(six(g1=240, g2=120))
    assert losses_kw(asked, asked.answer()) == {module: {2: 40.0} for module in range(1, 10)}
    asked = question(six(g1=70))
    assert losses_kw(asked, asked.answer()) == {1: {}, 2: {}}, "others take its place"


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), rule=RULES)
def test_what_is_foreseen_happens(seed: int, rule: Priority) -> None:
    dice = random.Random(seed)
    modules = [offer(m, dice.choice([40, 40, 25])) for m in range(1, dice.choice([3, 5, 9]) + 1)]
    station = Station(
        modules, rule, rotation_period_ms=dice.choice([0, 60_000]), move_dwell_ms=dice.choice([0, 30_000]),
        release_delay_ms=dice.choice([0, 5000]),
    )  # fmt: skip
    guns = [ask(gun, dice.choice([0, 40, 75, 160, 240])) for gun in range(1, 7)]
    station.step([replace(gun, demand_kw=gun.demand_kw / 2, target_kw=gun.target_kw / 2) for gun in guns])
    asked = Question(guns, modules, station.assignment, rule, station.limits, station.now_ms + 1000)
    answer = asked.answer()
    foreseen = next_module_ms(asked, answer)
    had = {gun.gun: needed(answer, gun.gun) for gun in answer.guns}
    seen: dict[int, int] = {}
    lacking = {gun.gun for gun in answer.guns if gun.missing}
    for at_ms in range(asked.now_ms + 1000, asked.now_ms + 130_000, 1000):
        asked = asked.later(answer, at_ms)
        answer = asked.answer()
        for gun in lacking - set(seen):
            if needed(answer, gun) > had[gun]:
                seen[gun] = at_ms
    soon = {gun: at_ms for gun, at_ms in foreseen.items() if at_ms <= asked.now_ms}
    assert all(seen.get(gun) == pytest.approx(at_ms, abs=1000) for gun, at_ms in soon.items())


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), rule=RULES)
def test_a_loss_is_what_the_allocation_without_the_module_says(seed: int, rule: Priority) -> None:
    dice = random.Random(seed)
    guns = [ask(gun, dice.choice([0, 40, 75, 160, 240])) for gun in range(1, 7)]
    asked = question(tuple(guns), rule, site_budget_kw=dice.choice([None, 150.0]))
    answer = asked.answer()
    for module, lost in losses_kw(asked, answer).items():
        after = asked.without(module, answer).answer()
        assert module not in {held.module for held in after.assignment.holdings}
        for had, has in zip(answer.guns, after.guns, strict=True):
            assert max(0.0, had.allocated_kw - has.allocated_kw) == pytest.approx(lost.get(had.gun, 0.0), abs=0.01)
