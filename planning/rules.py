"""Job: the allocation rules that config.ini names: in which order guns are served, and what each is sure to get first.

Thread: any (pure). Lock: none. Units: kW.

A rule is an order and a sharing. The order lists the asking guns, best first; each then gets all it needs while modules
last. The sharing says which module counts are granted before that, one after the other, as far as modules reach.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from planning.request import AllocationLimits, GunRequest
from planning.settings import Priority


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the guns stand before (or after) an allocation."""

    order: Sequence[int]  # as last served, best first
    holding: frozenset[int]  # guns with at least one module
    waiting: frozenset[int]  # guns that hold less than they ask for


@dataclass(frozen=True, slots=True)
class Grant:
    """Promise `gun` this many modules (in all) before the order is followed."""

    gun: int
    modules: int


Order = Callable[[Sequence[GunRequest], Standing, AllocationLimits], tuple[GunRequest, ...]]
Sharing = Callable[[Sequence[GunRequest], AllocationLimits], tuple[Grant, ...]]


@dataclass(frozen=True, slots=True)
class Rule:
    order: Order
    sharing: Sharing


def order_by_demand(guns: Sequence[GunRequest], standing: Standing, limits: AllocationLimits) -> tuple[GunRequest, ...]:
    """Highest demand first, equal demands by lower gun number; the last order holds against small differences."""
    factor = 1.0 + limits.priority_hysteresis_pct / 100.0

    def overtakes(gun: GunRequest, ahead: GunRequest) -> bool:
        if gun.gun in standing.waiting and ahead.gun in standing.holding:
            return gun.demand_kw > ahead.demand_kw * factor
        return (-gun.demand_kw, gun.gun) < (-ahead.demand_kw, ahead.gun)

    order: list[GunRequest] = []
    for gun in _as_last_served(guns, standing.order):
        place = len(order)
        while place and overtakes(gun, order[place - 1]):
            place -= 1
        order.insert(place, gun)
    return tuple(order)


def _as_last_served(guns: Sequence[GunRequest], last_order: Sequence[int]) -> list[GunRequest]:
    """Guns of the last order first, newcomers behind them by demand."""
    known = {gun: place for place, gun in enumerate(last_order)}
    return sorted(guns, key=lambda gun: (known.get(gun.gun, len(known)), -gun.demand_kw, gun.gun))


def minimum_each(guns: Sequence[GunRequest], limits: AllocationLimits) -> tuple[Grant, ...]:
    """min_modules_per_gun for everybody who asks, longest session first."""
    if limits.min_modules_per_gun <= 0:
        return ()
    by_session = sorted(guns, key=lambda gun: (gun.session_since_ms, gun.gun))
    return tuple(Grant(gun.gun, count) for gun in by_session for count in range(1, limits.min_modules_per_gun + 1))


RULES: Mapping[Priority, Rule] = {
    Priority.HIGHEST_DEMAND: Rule(order_by_demand, minimum_each),
}
