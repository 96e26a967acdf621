"""Job: what one allocation costs: six guns and nine modules, thousands of them, and the same by an integer program.

Thread: MainThread. Lock: none. Units: ms of the wall clock.
"""

from __future__ import annotations

import gc
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import islice, pairwise
from types import FrameType

from bench.day import NOTHING_HELD_BACK
from bench.table import Table
from main import YOUNG_OBJECTS
from planning.allocation import allocate
from planning.request import NOTHING_HELD, AllocationLimits, GunRequest, ModuleOffer
from planning.settings import Priority
from tests.allocation_states import State, random_state
from tests.integer_program import optimum

STATES, COMPARED, ROUNDS, TRIES = 4000, 60, 5, 3
SIZES, MODULES_PER_GUN = (10, 100, 1000, 10_000), 1.5
GUNS, MODULES, MODULE_KW = 6, 9, 40
EVERYBODY = frozenset(range(1, GUNS + 1))
TICKS, TICK_MS = 20, 7000

_Wishes = tuple[Sequence[GunRequest], Sequence[ModuleOffer], int]  # of guns, of modules, at ms


def quantiles_ms(seconds: Sequence[float]) -> tuple[float, float, float]:
    """p50, p99 and max."""
    ordered = sorted(1000.0 * value for value in seconds)
    p50, p99 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.50, 0.99))
    return p50, p99, ordered[-1]


# --- six guns, nine modules -----------------------------------------------------------------------------------------


def _equal(dice: random.Random) -> Iterator[ModuleOffer]:
    failed = dice.sample(range(1, MODULES + 1), dice.randrange(3))
    for module in range(1, MODULES + 1):
        if module not in failed:
            yield ModuleOffer(module, MODULE_KW, dice.randrange(5000), EVERYBODY)


def _derated(dice: random.Random) -> Iterator[ModuleOffer]:
    for offer in _equal(dice):
        yield replace(offer, available_kw=dice.choice((MODULE_KW, MODULE_KW, 33, 27, dice.randrange(5, 40))))


def _broken(dice: random.Random) -> Iterator[ModuleOffer]:
    for offer in _derated(dice):
        yield replace(offer, guns_allowed=frozenset(gun for gun in EVERYBODY if dice.random() < 0.85))


MODULE_KINDS = {"equal modules": _equal, "derated": _derated, "derated, broken crosspoints": _broken}


def _day(offers: Callable[[random.Random], Iterator[ModuleOffer]], dice: random.Random) -> Iterator[_Wishes]:
    """The decisions of a short day: demands that wander, in whole kW as the integer program has them."""
    modules = list(offers(dice))
    demands = [dice.choice((0.0, dice.uniform(10, 300))) for _ in EVERYBODY]
    for tick in range(TICKS):
        demands = [demand * dice.gauss(1.0, 0.1) if dice.random() < 0.95 else 200.0 for demand in demands]
        guns = [
            GunRequest(gun, kw, min(kw, 240.0), soc_pct=kw / 4, session_since_ms=gun)
            for gun, kw in enumerate(map(round, demands), 1)
        ]
        yield guns, modules, tick * TICK_MS


def _days(offers: Callable[[random.Random], Iterator[ModuleOffer]], rule: Priority) -> list[float]:
    """Seconds of each allocation of many short days, with what was held before."""
    dice, limits, took_s = random.Random(1), AllocationLimits(), []
    for _ in range(STATES // TICKS):
        held = NOTHING_HELD
        for guns, modules, at_ms in _day(offers, dice):
            begun_s = time.perf_counter()
            result = allocate(guns, modules, held, rule, limits, at_ms)
            took_s.append(time.perf_counter() - begun_s)
            held = result.assignment
    return took_s


def times() -> Table:
    rows = []
    for name, offers in MODULE_KINDS.items():
        for rule in (Priority.HIGHEST_DEMAND, Priority.FAIR_SHARE):
            p50, p99, longest = quantiles_ms(_days(offers, rule))
            rows.append((name, rule.value, STATES, p50, p99, longest))
    return Table(
        "One allocation, 6 guns and 9 modules",
        "Random days with history, default settings, up to two modules failed. Limits: p99 1 ms with equal modules, "
        "20 ms with others.",
        ("modules", "rule", "n", "p50 ms", "p99 ms", "max ms"),
        rows,
    )


# --- beside an integer program --------------------------------------------------------------------------------------


def _states(kind: str, rule: Priority) -> Iterator[State]:
    """States of the days above, with all margins at 0 (the program knows none); or the random ones of the tests."""
    dice, limits = random.Random(1), NOTHING_HELD_BACK
    for seed in range(COMPARED):
        if kind not in MODULE_KINDS:
            yield random_state(random.Random(seed), rule)
            continue
        held = NOTHING_HELD
        for guns, modules, at_ms in islice(_day(MODULE_KINDS[kind], dice), TICKS // 2):
            before, held = held, allocate(guns, modules, held, rule, limits, at_ms).assignment
        yield State(guns, modules, before, limits, at_ms)


def _beside_highs(kind: str, rule: Priority) -> Sequence[object]:
    """One after the other: by turns, each would find its memory filled with what the other one left."""
    states = list(_states(kind, rule))

    def ours(state: State) -> None:
        allocate(state.guns, state.modules, state.current, rule, state.limits, state.now_ms)

    def theirs(state: State) -> None:
        optimum(state.guns, state.modules, state.current, rule, state.limits, state.order(rule))

    ours_ms, theirs_ms = (_median_ms(each, states) for each in (ours, theirs))
    return kind, rule.value, len(states), ours_ms, theirs_ms, theirs_ms / ours_ms


def _median_ms(decide: Callable[[State], None], states: Sequence[State]) -> float:
    return 1000.0 * statistics.median(_best_s(partial(decide, state)) for state in states)


def _best_s(work: Callable[[], object]) -> float:
    """The shortest of some times: what is compared is the work, not what else the machine did meanwhile."""
    took_s = []
    for _ in range(TRIES):
        begun_s = time.perf_counter()
        work()
        took_s.append(time.perf_counter() - begun_s)
    return min(took_s)


def beside_highs() -> Table:
    kinds = [(kind, rule) for kind in MODULE_KINDS for rule in (Priority.HIGHEST_DEMAND, Priority.FAIR_SHARE)]
    kinds += [("random states", rule) for rule in Priority]
    return Table(
        "The same decision by an integer program",
        "Decisions of the days above, and random states with history, derated modules, broken crosspoints and limits; "
        "margins and delays at 0, where the answers are equal (`tests/test_optimum.py`; with fair_share the program "
        "counts modules and knows nothing of derated ones). HiGHS through highspy, one thread, building the program "
        "included. Medians of the best of three tries. Limit: 100 times.",
        ("modules", "rule", "n", "ours ms", "HiGHS ms", "times"),
        [_beside_highs(kind, rule) for kind, rule in kinds],
    )


# --- larger stations ------------------------------------------------------------------------------------------------


def growth() -> Table:
    """The median of some rounds each, half of the guns with other wishes from round to round."""
    rows = []
    for rule in (Priority.HIGHEST_DEMAND, Priority.FAIR_SHARE):
        rounds = [_rounds(size, rule) for size in SIZES]
        medians_s = [statistics.median(took_s) for took_s, _ in rounds]
        calls = [calls for _, calls in rounds]
        columns = (SIZES, medians_s, _ratios(medians_s), calls, _ratios(calls), _ratios([n_log_n(n) for n in SIZES]))
        for size, median_s, ratio, made, more, bound in zip(*columns, strict=True):
            rows.append((rule.value, size, int(size * MODULES_PER_GUN), 1000.0 * median_s, ratio, made, more, bound))
    return Table(
        "Larger stations",
        f"Equal modules, {MODULES_PER_GUN} for each gun; 'ratio': to the row above; n log n would be the last column. "
        "Calls (of functions, Python's and C's) tell how the work grows; time grows more where it leaves the caches. "
        "Medians of the best of three tries.",
        ("rule", "guns", "modules", "ms", "ratio", "calls", "ratio of calls", "n log n"),
        rows,
    )


def _ratios(values: Sequence[float]) -> list[str]:
    return ["", *(f"{after / before:.1f}" for before, after in pairwise(values))]


def n_log_n(size: int) -> float:
    return size * math.log(size)


def _rounds(size: int, rule: Priority) -> tuple[list[float], int]:
    """Seconds of each round, and the calls of one more."""
    dice, everybody = random.Random(1), frozenset(range(1, size + 1))
    modules = [ModuleOffer(module, MODULE_KW, 0.0, everybody) for module in range(1, int(size * MODULES_PER_GUN) + 1)]
    held, took_s = NOTHING_HELD, []
    demands = [dice.choice((0.0, dice.uniform(10, 240))) for _ in everybody]
    calls = _Calls()
    for number in range(ROUNDS + 1):
        demands = [demand * dice.gauss(1.0, 0.05) if dice.random() < 0.5 else demand for demand in demands]
        guns = [GunRequest(gun, demand, demand, session_since_ms=gun) for gun, demand in enumerate(demands, 1)]
        decide = partial(allocate, guns, modules, held, rule, AllocationLimits(), 60_000 * number)
        took_s.append(_best_s(decide))
        with calls if number == ROUNDS else nullcontext():
            held = decide().assignment
    return took_s, calls.made


class _Calls:
    """Counts the calls that are made within."""

    def __init__(self) -> None:
        self.made = 0

    def __enter__(self) -> None:
        sys.setprofile(self._look)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _look(self, _: FrameType, event: str, __: object) -> None:
        self.made += event in ("call", "c_call")


def _collect_as_the_program_does() -> None:
    """Python's garbage collector as main.py sets it; its own looks, at all that a bench holds, cost as much again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


def tables() -> list[Table]:
    _collect_as_the_program_does()
    return [times(), beside_highs(), growth()]
