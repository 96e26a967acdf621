"""Job: every request of six guns with every set of up to two failed modules: the allocation beside a plain count.

Thread: MainThread; `make sweep` has a process for each core. Lock: none. Units: kW.

`python -m tests.allocation_sweep [RULE ...]` tries all 7^6 x 46 pairs for each rule, about half an hour of one core a
rule. `make soak` tries all vectors with one set each, its size in turn, and proves of a third of them with another set
of the same size that only the names of the modules differ; `make test` a sample.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor

from planning.allocation import allocate
from planning.reasons import ReasonCode
from planning.request import NOTHING_HELD, Allocation, AllocationLimits, GunRequest, ModuleOffer
from planning.settings import Priority

#: One demand for each need of 0 to 6 modules of 40 kW; none of them fills its last module.
DEMANDS_KW = (0.0, 35.0, 75.0, 110.0, 150.0, 185.0, 230.0)
GUNS, MODULES, MODULE_KW = 6, 9, 40
VECTORS = len(DEMANDS_KW) ** GUNS
#: What the other rules go by; no two are alike.
SOC_PCT = (55.0, 20.0, 80.0, 5.0, 95.0, 40.0)
SESSION_SINCE_MS = (400, 100, 600, 300, 200, 500)
LISTED = (4, 2, 6)
LIMITS = AllocationLimits(gun_priority=LISTED)
FAILED_SETS = tuple(set_ for size in range(3) for set_ in itertools.combinations(range(1, MODULES + 1), size))
BY_SIZE = {size: [set_ for set_ in FAILED_SETS if len(set_) == size] for size in range(3)}
OFFERS = tuple(ModuleOffer(m, MODULE_KW, 0.0, frozenset(range(1, GUNS + 1))) for m in range(1, MODULES + 1))
SERVED, SHORT = {ReasonCode.SERVED}, {ReasonCode.SHARED, ReasonCode.NO_MODULES}

Counts = Sequence[int]  # index gun - 1


def needs_of(number: int) -> Counts:
    """The modules that each gun needs in vector `number`."""
    return tuple(number // len(DEMANDS_KW) ** place % len(DEMANDS_KW) for place in range(GUNS))


def requests(needs: Counts) -> list[GunRequest]:
    return [
        GunRequest(
            gun,
            DEMANDS_KW[need],
            DEMANDS_KW[need],
            soc_pct=SOC_PCT[gun - 1],
            session_since_ms=SESSION_SINCE_MS[gun - 1],
        )
        for gun, need in enumerate(needs, 1)
    ]


def offers_without(failed: Sequence[int]) -> list[ModuleOffer]:
    return [offer for offer in OFFERS if offer.module not in failed]


def share(needs: Counts, failed: Sequence[int], rule: Priority) -> Allocation:
    return allocate(requests(needs), offers_without(failed), NOTHING_HELD, rule, LIMITS, 1000)


# --- what is right, counted in the plainest way -------------------------------------------------------------------


def in_order(needs: Counts, rule: Priority) -> list[int]:
    """All guns, best first, as the words of the rule say."""
    keys = {
        Priority.HIGHEST_DEMAND: lambda gun: (-needs[gun - 1], gun),
        Priority.FAIR_SHARE: lambda gun: (-needs[gun - 1], gun),
        Priority.FIRST_COME: lambda gun: SESSION_SINCE_MS[gun - 1],
        Priority.LOWEST_SOC: lambda gun: SOC_PCT[gun - 1],
        Priority.GUN_PRIORITY: lambda gun: (LISTED.index(gun) if gun in LISTED else len(LISTED), gun),
    }
    return sorted(range(1, GUNS + 1), key=keys[rule])


def right_counts(needs: Counts, modules: int, rule: Priority) -> Counts:
    """How many modules each gun gets: each in turn all it needs, or under fair_share one after the other."""
    counts = [0] * GUNS
    rounds = range(max(needs)) if rule is Priority.FAIR_SHARE else range(1)
    for _ in rounds:
        for gun in in_order(needs, rule):
            most = needs[gun - 1] - counts[gun - 1]
            takes = min(modules, most, 1 if rule is Priority.FAIR_SHARE else most)
            counts[gun - 1] += takes
            modules -= takes
    return counts


def faults(needs: Counts, failed: Sequence[int], rule: Priority, result: Allocation) -> Iterator[str]:
    """Whatever in this allocation is not as section 8 of the contract has it."""
    given = [module for gun in result.guns for module in gun.modules]
    if len(given) != len(set(given)):
        yield "a module serves two guns"
    if set(given) & set(failed):
        yield "a failed module serves"
    if sorted(given) != [holding.module for holding in result.assignment.holdings]:
        yield "assignment and results differ"
    counts = [len(gun.modules) for gun in result.guns]
    right = right_counts(needs, MODULES - len(failed), rule)
    if counts != right:
        yield f"counts {counts}, right are {right}"
    if [gun.gun for gun in result.guns] != list(range(1, GUNS + 1)):
        yield "not every gun has its result"
    waiting = any(need > count for need, count in zip(needs, counts, strict=True))
    if waiting and len(given) < MODULES - len(failed):
        yield "a module does nothing while a gun waits"
    for gun, need, count in zip(result.guns, needs, counts, strict=True):
        if gun.allocated_kw != min(DEMANDS_KW[need], count * MODULE_KW):
            yield f"gun {gun.gun} is to give {gun.allocated_kw} kW with {count} modules"
        if (gun.need, gun.missing) != (need, need - count):
            yield f"gun {gun.gun} needs {gun.need} and lacks {gun.missing}"
        codes = {ReasonCode.IDLE} if not need else SERVED if need == count else SHORT
        if gun.reason.code not in codes or not gun.reason.sentence:
            yield f"gun {gun.gun} is told {gun.reason}"


def renamed(counts_of: Mapping[int, Sequence[int]], failed: Sequence[int]) -> dict[int, list[int]]:
    """The modules of each gun as places among those that work: what is left when their names do not matter."""
    places = {offer.module: place for place, offer in enumerate(offers_without(failed))}
    return {gun: [places[module] for module in modules] for gun, modules in counts_of.items()}


def modules_of(result: Allocation) -> dict[int, Sequence[int]]:
    return {gun.gun: gun.modules for gun in result.guns}


# --- sweeps -------------------------------------------------------------------------------------------------------


def check_in_turn(numbers: Iterable[int], rule: Priority) -> int:
    """Each vector with one set, size and set in turn, and every second with another: only the names may differ."""
    pairs = 0
    for number in numbers:
        needs = needs_of(number)
        sets = BY_SIZE[number // len(DEMANDS_KW) % len(BY_SIZE)]  # not `number % 3`: that is the sum of the needs
        failed = sets[number % len(sets)]
        result = share(needs, failed, rule)
        wrong = list(faults(needs, failed, rule, result))
        assert not wrong, f"{rule.value}, needs {needs}, without {failed}: {'; '.join(wrong)}"
        pairs += 1
        if failed and number % 2:
            other = sets[(number // len(sets) + 1) % len(sets)]
            beside = share(needs, other, rule)
            assert renamed(modules_of(result), failed) == renamed(modules_of(beside), other)
            pairs += 1
    return pairs


def check_all(first: int, last: int, rule: Priority) -> int:
    """Every pair of the vectors first..last-1; how many were tried. Raises AssertionError with the first bad one."""
    for number in range(first, last):
        needs = needs_of(number)
        for failed in FAILED_SETS:
            wrong = list(faults(needs, failed, rule, share(needs, failed, rule)))
            assert not wrong, f"{rule.value}, needs {needs}, without {failed}: {'; '.join(wrong)}"
    return (last - first) * len(FAILED_SETS)


def main() -> None:
    rules = [Priority(name) for name in sys.argv[1:]] or list(Priority)
    block = 7**4
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for rule in rules:
            begun_s = time.perf_counter()
            begins = range(0, VECTORS, block)
            tried = sum(pool.map(check_all, begins, [begin + block for begin in begins], itertools.repeat(rule)))
            print(f"{rule.value}: {tried:,} pairs, 0 wrong, {time.perf_counter() - begun_s:.0f} s", flush=True)


if __name__ == "__main__":
    main()
