"""Job: the aim of the allocation as an integer program for HiGHS, written apart from planning/.

Thread: the test's. Lock: none. Units: whole kW, so that every sum is exact.

One binary for each module on each gun that may have it. The aim has parts that come one after the other; each part is
optimised alone and then held while the next one is: power gun by gun (fair_share: how many guns have one module, two
modules, ...), fewest modules, fewest moves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Any

import highspy

from planning.request import AllocationLimits, Assignment, GunRequest, ModuleOffer
from planning.settings import Priority


class _Sense(Enum):
    MOST = "most"
    LEAST = "least"


@dataclass(frozen=True, slots=True)
class Optimum:
    """The value of every part of the aim, in its sequence, larger is better."""

    parts: tuple[int, ...]


class Program:
    """The feasible ways of one state, and what they are worth."""

    def __init__(
        self,
        guns: Sequence[GunRequest],
        modules: Sequence[ModuleOffer],
        current: Assignment,
        limits: AllocationLimits,
    ) -> None:
        self._guns, self._limits = guns, limits
        self._highs = highspy.Highs()
        self._highs.setOptionValue("output_flag", False)
        self._highs.setOptionValue("threads", 1)
        self._highs.setOptionValue("mip_rel_gap", 0.0)
        self._highs.setOptionValue("mip_abs_gap", 0.0)
        asking = [gun.gun for gun in guns]
        self._has: dict[tuple[int, int], Any] = {}
        for offer in modules:
            for gun in asking:
                if offer.available_kw > 0 and gun in offer.guns_allowed and offer.pinned_gun in (None, gun):
                    self._has[gun, offer.module] = self._highs.addBinary()
        self._power_kw = {offer.module: offer.available_kw for offer in modules}
        self._moved = [x for (gun, m), x in self._has.items() if current.gun_of(m) != gun]
        for offer in modules:
            self._at_most(self._sum(m for m in self._has if m[1] == offer.module), 1)
        self._count = {gun: self._sum(m for m in self._has if m[0] == gun) for gun in asking}
        for count in self._count.values():
            self._at_most(count, limits.max_modules_per_gun)

    def best_in_order(self, order: Sequence[int]) -> Optimum:
        """Promised modules by session, power gun by gun in `order`, fewest modules, fewest moves."""
        served = {gun.gun: self._highs.addVariable(lb=0, ub=gun.target_kw) for gun in self._guns}
        for gun, kw in served.items():
            has_kw = self._sum((m for m in self._has if m[0] == gun), self._power_kw)
            self._highs.addConstr(kw - has_kw <= 0)
        if self._limits.site_budget_kw is not None:
            self._highs.addConstr(self._highs.qsum(served.values()) <= self._limits.site_budget_kw)
        by_session = sorted(self._guns, key=lambda g: (g.session_since_ms, g.gun))
        promised = [self._promised(gun) for gun in by_session] if self._limits.min_modules_per_gun else []
        aims = [*promised, *(served[gun] for gun in order)]
        return self._one_after_the_other([(aim, _Sense.MOST) for aim in aims])

    def fairest(self, order: Sequence[int]) -> Optimum:
        """How many guns have one useful module, two, ...; then counts in `order`; fewest modules, fewest moves."""
        needs = {gun.gun: -(-round(gun.target_kw) // 40) for gun in self._guns}
        most = max(needs.values(), default=0)
        reached: dict[int, list[Any]] = {level: [] for level in range(1, most + 1)}
        useful: dict[int, list[Any]] = {}
        for gun, need in needs.items():
            steps = [self._highs.addBinary() for _ in range(need)]
            useful[gun] = steps
            for level, step in enumerate(steps, 1):
                reached[level].append(step)
            for lower, higher in pairwise(steps):
                self._highs.addConstr(higher - lower <= 0)
            if steps:
                self._highs.addConstr(self._highs.qsum(steps) - self._count[gun] <= 0)
        aims = [self._highs.qsum(steps) for steps in reached.values() if steps]
        aims += [self._highs.qsum(useful[gun]) for gun in order if useful[gun]]
        return self._one_after_the_other([(aim, _Sense.MOST) for aim in aims])

    def _promised(self, gun: GunRequest) -> Any:
        """Modules of this gun that min_modules_per_gun counts."""
        need = -(-round(gun.target_kw) // 40)
        counted = self._highs.addVariable(lb=0, ub=min(self._limits.min_modules_per_gun, need))
        self._highs.addConstr(counted - self._count[gun.gun] <= 0)
        return counted

    def _one_after_the_other(self, aims: list[tuple[Any, _Sense]]) -> Optimum:
        parts = []
        for aim, sense in [*aims, (self._sum(self._has), _Sense.LEAST), (self._highs.qsum(self._moved), _Sense.LEAST)]:
            (self._highs.maximize if sense is _Sense.MOST else self._highs.minimize)(aim)
            assert self._highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
            value = round(self._highs.getObjectiveValue())
            if sense is _Sense.MOST:
                self._highs.addConstr(aim >= value - 1e-4)
            else:
                self._highs.addConstr(aim <= value + 1e-4)
            parts.append(value if sense is _Sense.MOST else -value)
        return Optimum(tuple(parts))

    def _sum(self, which: Any, weight: Mapping[int, int] | None = None) -> Any:
        terms = [self._has[key] if weight is None else self._has[key] * weight[key[1]] for key in which]
        return self._highs.qsum(terms)

    def _at_most(self, count: Any, most: int) -> None:
        self._highs.addConstr(count <= most)


def optimum(
    guns: Sequence[GunRequest],
    modules: Sequence[ModuleOffer],
    current: Assignment,
    rule: Priority,
    limits: AllocationLimits,
    order: Sequence[int],
) -> Optimum:
    """`order`: the asking guns, best first, as the rule says."""
    program = Program([gun for gun in guns if gun.asks], modules, current, limits)
    return program.fairest(order) if rule is Priority.FAIR_SHARE else program.best_in_order(order)
