"""Job: the reference trace: how often contactors operate, and what the cars get, beside two plain ways of sharing.

Thread: MainThread, and a process for each core. Lock: none. Units: kW, s (1 tick = 1 s).

A random walk of six guns: an idle one starts with probability 0.004 a tick at 60 to 240 kW; an active one is multiplied
by a normal of mean 0.9995 and deviation 0.02, is capped at 240 kW and ends below 12 kW. Modules move in no time here:
what a move costs is counted, not modelled. One operation is one contactor that closes or opens.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from bench.table import Table
from planning.allocation import allocate
from planning.request import NOTHING_HELD, AllocationLimits, GunRequest, ModuleOffer
from planning.settings import Priority

GUNS, MODULES, MODULE_KW, MOST_KW = 6, 9, 40.0, 240.0
STARTS, START_KW, MEAN, DEVIATION, ENDS_KW = 0.004, 60.0, 0.9995, 0.02, 12.0
TICKS, SEEDS = 20_000, 5
#: The curve over the settings is walked in a shorter trace; each setting alone is changed from its default.
CURVE_TICKS, CURVE_SEEDS = 6_000, 2
DEFAULTS = AllocationLimits()
CURVE: Sequence[tuple[str, AllocationLimits]] = (
    ("defaults", DEFAULTS),
    *((f"step_margin {kw:g} kW", replace(DEFAULTS, step_margin_kw=kw)) for kw in (0.0, 2.0, 8.0, 16.0)),
    *((f"release_delay {s} s", replace(DEFAULTS, release_delay_ms=1000 * s)) for s in (0, 2, 20, 60)),
    *((f"priority_hysteresis {p:g} %", replace(DEFAULTS, priority_hysteresis_pct=p)) for p in (0.0, 5.0, 20.0, 40.0)),
    *((f"move_dwell {s} s", replace(DEFAULTS, move_dwell_ms=1000 * s)) for s in (0, 10, 60, 300)),
)

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


# --- the tables -----------------------------------------------------------------------------------------------------

#: The rules that have a baseline written here, and what the baseline counts by.
BASELINES = {Priority.HIGHEST_DEMAND: _counts, Priority.FAIR_SHARE: _fair_counts}
HEAD = ("operations per 1,000 ticks", "of plain sticky", "delivered / wanted %", "of plain sticky's energy %")


def _remapped() -> Way:
    return remapped


def _row(name: Sequence[str], outcome: Outcome, plain: Outcome) -> Sequence[object]:
    return (
        *name,
        f"{outcome.per_1000:.1f}",
        f"{outcome.operations / plain.operations:.3f}",
        f"{100.0 * outcome.delivered_share:.2f}",
        f"{100.0 * outcome.delivered_kws / plain.delivered_kws:.2f}",
    )


def tables() -> list[Table]:
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        whole = partial(pool.submit, seeds=SEEDS, ticks=TICKS)
        short = partial(pool.submit, seeds=CURVE_SEEDS, ticks=CURVE_TICKS)
        remap = whole(follow, _remapped)
        plain = {rule: whole(follow, partial(PlainSticky, counts)) for rule, counts in BASELINES.items()}
        ours = {rule: whole(follow, partial(Ours, rule, DEFAULTS)) for rule in Priority}
        plain_short = {rule: short(follow, partial(PlainSticky, counts)) for rule, counts in BASELINES.items()}
        curve = [
            (rule, name, short(follow, partial(Ours, rule, limits))) for rule in BASELINES for name, limits in CURVE
        ]
        by_demand = plain[Priority.HIGHEST_DEMAND]
        rows = [
            _row(("re-mapped from scratch, by demand",), remap.result(), by_demand.result()),
            *(_row((f"plain sticky, {rule.value}",), p.result(), p.result()) for rule, p in plain.items()),
            *(
                _row((f"ours, {rule.value}",), way.result(), plain.get(rule, by_demand).result())
                for rule, way in ours.items()
            ),
        ]
        curve_rows = [
            _row((rule.value, name), outcome.result(), plain_short[rule].result()) for rule, name, outcome in curve
        ]
    return [
        Table(
            "The reference trace",
            f"{SEEDS} seeds of {TICKS:,} ticks of 1 s, default settings. An operation is one contactor that closes or "
            "opens. fair_share stands beside plain sticky with the same equal counts, all others beside plain sticky "
            "by demand. Limits: highest_demand at most 0.4 of the operations at 98.5 % of the energy, fair_share 0.85 "
            "at 99.5 %.",
            ("way", *HEAD),
            rows,
        ),
        Table(
            "The curve over the settings",
            f"{CURVE_SEEDS} seeds of {CURVE_TICKS:,} ticks; one setting changed at a time. What the defaults were "
            "chosen from: more hold costs energy, less hold costs contactors.",
            ("rule", "setting", *HEAD),
            curve_rows,
        ),
    ]
