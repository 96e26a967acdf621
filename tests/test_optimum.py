"""Job: the allocation is the optimum: against an integer program on random states with history, and what both cost.

Thread: the test's. Lock: none. Units: whole kW.
"""

from __future__ import annotations

import random

import pytest

from planning.allocation import allocate
from planning.request import Allocation
from planning.settings import Priority
from tests.allocation_states import GUNS, State, random_state
from tests.integer_program import Optimum, optimum

EVERY_RUN, SOAK, BLOCK = 8, 2000, 100


def worth(state: State, result: Allocation, rule: Priority) -> Optimum:
    """The parts of the aim as the result has them."""
    owners = {held.module: held.gun for held in result.assignment.holdings}
    counts = {gun: list(owners.values()).count(gun) for gun in GUNS}
    asked = {gun.gun: gun for gun in state.guns}
    order = state.order(rule)
    needs = {gun: -(-round(asked[gun].target_kw) // 40) for gun in order}
    if rule is Priority.FAIR_SHARE:
        useful = {gun: min(counts[gun], needs[gun]) for gun in order}
        levels = range(1, max(needs.values(), default=0) + 1)
        parts = [sum(useful[gun] >= level for gun in order) for level in levels]
        parts += [useful[gun] for gun in order if needs[gun]]
    else:
        least = state.limits.min_modules_per_gun
        by_session = sorted(order, key=lambda gun: asked[gun].session_since_ms)
        parts = [min(counts[gun], least, needs[gun]) for gun in by_session] if least else []
        parts += [round(result.of(gun).allocated_kw) for gun in order]
    moves = sum(state.current.gun_of(module) != gun for module, gun in owners.items())
    return Optimum((*parts, -len(owners), -moves))


def check(rule: Priority, seeds: range) -> None:
    for seed in seeds:
        state = random_state(random.Random(seed), rule)
        result = allocate(state.guns, state.modules, state.current, rule, state.limits, state.now_ms)
        best = optimum(state.guns, state.modules, state.current, rule, state.limits, state.order(rule))
        assert worth(state, result, rule) == best, f"seed {seed} of {rule.value}: {state}"


@pytest.mark.parametrize("rule", Priority)
def test_equals_the_integer_program(rule: Priority) -> None:
    check(rule, range(EVERY_RUN))


@pytest.mark.soak
@pytest.mark.parametrize("begin", range(EVERY_RUN, SOAK, BLOCK))
def test_equals_the_integer_program_on_two_thousand_states(begin: int) -> None:
    """The rules take turns, so that each meets 400 states."""
    rules = sorted(Priority, key=lambda rule: rule.value)
    for seed in range(begin, begin + BLOCK):
        check(rules[seed % len(rules)], range(seed, seed + 1))
