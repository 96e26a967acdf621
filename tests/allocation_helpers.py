"""Job: short words for the allocation tests: a station, its guns and what they hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from planning.allocation import allocate
from planning.request import (
    NOTHING_HELD,
    Allocation,
    AllocationLimits,
    Assignment,
    GunRequest,
    Holding,
    ModuleOffer,
    TargetBound,
)
from planning.settings import Priority

ALL_GUNS = frozenset(range(1, 7))


def offer(module: int, available_kw: int = 40, guns: Iterable[int] = ALL_GUNS, **more: object) -> ModuleOffer:
    return replace(ModuleOffer(module, available_kw, float(module), frozenset(guns)), **more)  # type: ignore[arg-type]


NINE = tuple(offer(module) for module in range(1, 10))


def ask(gun: int, demand_kw: float, limit_kw: float = 240.0, **more: object) -> GunRequest:
    """A gun that asks for `demand_kw`, held to `limit_kw` by its own limit."""
    bound = TargetBound.GUN_LIMIT if demand_kw > limit_kw else TargetBound.DEMAND
    request = GunRequest(gun, demand_kw, min(demand_kw, limit_kw), bound)
    return replace(request, **more)  # type: ignore[arg-type]


def six(**demands_kw: float) -> tuple[GunRequest, ...]:
    """Six guns; `six(g1=75)` lets gun 1 ask for 75 kW and the others for nothing."""
    return tuple(ask(gun, demands_kw.get(f"g{gun}", 0.0)) for gun in range(1, 7))


class Station:
    """Allocates again and again, each time from what it allocated before."""

    def __init__(
        self, modules: Sequence[ModuleOffer] = NINE, rule: Priority = Priority.HIGHEST_DEMAND, **limits: object
    ) -> None:
        self.modules, self.rule = modules, rule
        self.limits = AllocationLimits(**limits)  # type: ignore[arg-type]
        self.assignment: Assignment = NOTHING_HELD
        self.now_ms = 0
        self.moves = 0

    def step(self, guns: Sequence[GunRequest], after_s: float = 1.0) -> Allocation:
        self.now_ms += round(after_s * 1000)
        result = allocate(guns, self.modules, self.assignment, self.rule, self.limits, self.now_ms)
        before = {(h.module, h.gun) for h in self.assignment.holdings}
        self.moves += len(before ^ {(h.module, h.gun) for h in result.assignment.holdings})
        self.assignment = result.assignment
        return result

    def counts(self, guns: Sequence[GunRequest], after_s: float = 1.0) -> dict[int, int]:
        return counts(self.step(guns, after_s))


def counts(result: Allocation) -> dict[int, int]:
    """Modules of each gun that has any."""
    return {gun.gun: len(gun.modules) for gun in result.guns if gun.modules}


def holding(held: Mapping[int, int], since_ms: int = 0, moved: bool = False, order: tuple[int, ...] = ()) -> Assignment:
    """An assignment from module -> gun."""
    return Assignment(tuple(Holding(m, g, since_ms, moved) for m, g in sorted(held.items())), order)
