"""Job: the reference trace: how often contactors operate, and what the cars get, beside two plain ways of sharing.

Thread: MainThread. Lock: none. Units: kW, s (1 tick = 1 s). `python -m bench.trace [TICKS] [SEEDS]`

A random walk of six guns: an idle one starts with probability 0.004 a tick at 60 to 240 kW; an active one is multiplied
by a normal of mean 0.9995 and deviation 0.02, is capped at 240 kW and ends below 12 kW. Modules move in no time here:
what a move costs is counted, not modelled. One operation is one contactor that closes or opens.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from planning.allocation import allocate
from planning.request import NOTHING_HELD, AllocationLimits, GunRequest, ModuleOffer
from planning.settings import Priority

GUNS, MODULES, MODULE_KW, MOST_KW = 6, 9, 40.0, 240.0
STARTS, START_KW, MEAN, DEVIATION, ENDS_KW = 0.004, 60.0, 0.9995, 0.02, 12.0
TICKS, SEEDS = 20_000, 5

Demands = Sequence[float]  # index gun - 1
Owners = Sequence[int]  # index module - 1: the gun that has it, 0: nobody
Way = Callable[[Demands], Owners]  # one tick of a way to share; it remembers what it wants


def walk(seed: int, ticks: int) -> Iterator[Demands]:
    """The demands of each tick."""
    dice = random.Random(seed)
    demands = [0.0] * GUNS
    for _ in range(ticks):
        for gun, demand_kw in enumerate(demands):
            if demand_kw > 0.0:
                demand_kw = min(MOST_KW, demand_kw * dice.gauss(MEAN, DEVIATION))
                demands[gun] = demand_kw if demand_kw >= ENDS_KW else 0.0
            elif dice.random() < STARTS:
                demands[gun] = dice.uniform(START_KW, MOST_KW)
        yield tuple(demands)


# --- ways to share --------------------------------------------------------------------------------------------------


def _counts(demands: Demands) -> dict[int, int]:
    """Modules of each gun: highest demand first, equal ones by lower gun number."""
    left, counts = MODULES, {}
    for gun in sorted(range(1, GUNS + 1), key=lambda gun: (-demands[gun - 1], gun)):
        counts[gun] = min(left, math.ceil(demands[gun - 1] / MODULE_KW))
        left -= counts[gun]
    return counts


def _fair_counts(demands: Demands) -> dict[int, int]:
    """One module to each in turn, highest demand first."""
    counts = dict.fromkeys(range(1, GUNS + 1), 0)
    in_order = sorted(counts, key=lambda gun: (-demands[gun - 1], gun))
    left = MODULES
    for level in range(MODULES):
        for gun in in_order:
            if left and demands[gun - 1] > level * MODULE_KW:
                counts[gun] += 1
                left -= 1
    return counts


def remapped(demands: Demands) -> Owners:
    """From scratch each tick: modules 1, 2, ... go to the first gun, the next ones to the second."""
    counts = _counts(demands)
    owners = [gun for gun in counts for _ in range(counts[gun])]
    return (*owners, *[0] * (MODULES - len(owners)))


class PlainSticky:
    """The counts of the moment, everybody keeps his own modules as far as they go."""

    def __init__(self, counts: Callable[[Demands], dict[int, int]]) -> None:
        self._counts = counts
        self._owners = [0] * MODULES

    def __call__(self, demands: Demands) -> Owners:
        lacks = dict(self._counts(demands))
        for module, gun in enumerate(self._owners):
            if gun and lacks[gun] > 0:
                lacks[gun] -= 1
            else:
                self._owners[module] = 0
        lacking = [gun for gun, lack in lacks.items() for _ in range(lack)]
        for module, gun in enumerate(self._owners):
            if not gun and lacking:
                self._owners[module] = lacking.pop(0)
        return tuple(self._owners)


class Ours:
    """planning.allocation, remembering of each gun what the control does."""

    def __init__(self, rule: Priority, limits: AllocationLimits) -> None:
        self._rule, self._limits = rule, limits
        everybody = frozenset(range(1, GUNS + 1))
        self._modules = [ModuleOffer(module, int(MODULE_KW), 0.0, everybody) for module in range(1, MODULES + 1)]
        self._held = NOTHING_HELD
        self._now_ms = 0
        self._since_ms: dict[int, int] = {}
        self._waiting_ms: dict[int, int] = {}

    def __call__(self, demands: Demands) -> Owners:
        self._now_ms += 1000
        requests = [self._request(gun, demand_kw) for gun, demand_kw in enumerate(demands, 1)]
        result = allocate(requests, self._modules, self._held, self._rule, self._limits, self._now_ms)
        self._held = result.assignment
        owners = [0] * MODULES
        for holding in self._held.holdings:
            owners[holding.module - 1] = holding.gun
        return tuple(owners)

    def _request(self, gun: int, demand_kw: float) -> GunRequest:
        if demand_kw <= 0.0:
            self._since_ms.pop(gun, None)
        if demand_kw <= 0.0 or self._held.modules_of(gun):
            self._waiting_ms.pop(gun, None)
        else:
            self._waiting_ms.setdefault(gun, self._now_ms)
        since_ms = self._since_ms.setdefault(gun, self._now_ms) if demand_kw > 0.0 else 0
        waiting_ms = self._waiting_ms.get(gun)
        return GunRequest(gun, demand_kw, demand_kw, session_since_ms=since_ms, waiting_since_ms=waiting_ms)


# --- the comparison -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    operations: int
    delivered_kws: float
    wanted_kws: float
    ticks: int

    @property
    def per_1000(self) -> float:
        return 1000.0 * self.operations / self.ticks

    @property
    def delivered_share(self) -> float:
        return self.delivered_kws / self.wanted_kws


def follow(way: Callable[[], Way], seeds: int, ticks: int) -> Outcome:
    """Walk every seed's trace with a new station each."""
    operations, delivered_kws, wanted_kws = 0, 0.0, 0.0
    for seed in range(1, seeds + 1):
        share, before = way(), (0,) * MODULES
        for demands in walk(seed, ticks):
            owners = share(demands)
            for gun, then in zip(owners, before, strict=True):
                operations += (gun != then) * (bool(gun) + bool(then))
            delivered_kws += sum(min(d, MODULE_KW * owners.count(gun)) for gun, d in enumerate(demands, 1))
            wanted_kws += sum(demands)
            before = tuple(owners)
    return Outcome(operations, delivered_kws, wanted_kws, seeds * ticks)
