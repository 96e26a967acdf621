"""Job: the allocation rules that config.ini names: in which order guns are served, and what each is sure to get first.

Thread: any (pure). Lock: none. Units: kW.

A rule is an order and a sharing. The order lists the asking guns, best first; each then gets all it needs while modules
last. The sharing says which module counts are granted before that, one after the other, as far as modules reach. The
site budget is handed out in the order, or equally, what one does not use going back to the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from planning.claims import NOISE_SHARE
from planning.line import from_last_order
from planning.request import AllocationLimits, GunRequest
from planning.settings import Priority

#: A car that tells no state of charge counts as one that needs nothing urgently.
UNKNOWN_SOC_PCT = 101.0


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the guns stand before (or after) an allocation."""

    order: Sequence[int]  # as last served, best first
    holding: frozenset[int]  # guns with at least one module


@dataclass(frozen=True, slots=True)
class Grant:
    """Promise `gun` this many modules (in all) before the order is followed."""

    gun: int
    modules: int
    most_kw: float | None = None  # of the site budget; None: all that these modules can give
    module_kw: float | None = None  # what one counts as: no more are promised than fill the need; None: its name plate


Order = Callable[[Sequence[GunRequest], Standing, AllocationLimits], tuple[GunRequest, ...]]
#: of the guns in their order, and what the strongest module gives (kW)
Sharing = Callable[[Sequence[GunRequest], AllocationLimits, float], tuple[Grant, ...]]


@dataclass(frozen=True, slots=True)
class Rule:
    order: Order
    sharing: Sharing
    equal_budget: bool = False


def order_by_demand(guns: Sequence[GunRequest], standing: Standing, limits: AllocationLimits) -> tuple[GunRequest, ...]:
    """Highest demand first, equal demands by lower gun number; the last order holds against small differences.

    Whether a gun waits or has all it needs: one that passed freely while it has would a moment later take from the
    other what it needs more.
    """
    factor = 1.0 + limits.priority_hysteresis_pct / 100.0

    def overtakes(gun: GunRequest, ahead: GunRequest) -> bool:
        if ahead.gun in standing.holding:
            return gun.demand_kw > ahead.demand_kw * factor
        return (-gun.demand_kw, gun.gun) < (-ahead.demand_kw, ahead.gun)

    def kind(gun: GunRequest) -> bool:
        return gun.gun in standing.holding

    return from_last_order(guns, standing.order, lambda gun: -gun.demand_kw, overtakes, kind)


def order_by_soc(guns: Sequence[GunRequest], standing: Standing, limits: AllocationLimits) -> tuple[GunRequest, ...]:
    """Lowest state of charge first, equal ones by lower gun number; one that tells none comes after those that do.

    A gun overtakes one that holds modules only when its car is priority_hysteresis points below: the car that is
    served rises, and two of them would else take turns with every point.
    """

    def overtakes(gun: GunRequest, ahead: GunRequest) -> bool:
        if ahead.gun in standing.holding and gun.precharge_only is ahead.precharge_only:
            return _soc_pct(gun) + limits.priority_hysteresis_pct < _soc_pct(ahead)
        return (*_by_soc(gun), gun.gun) < (*_by_soc(ahead), ahead.gun)

    def kind(gun: GunRequest) -> tuple[bool, bool]:
        return gun.gun in standing.holding, gun.precharge_only

    return from_last_order(guns, standing.order, _by_soc, overtakes, kind)


def order_by_session(
    guns: Sequence[GunRequest], standing: Standing, limits: AllocationLimits
) -> tuple[GunRequest, ...]:
    """Longest session first, equal ones by lower gun number. Nothing that a car does changes it."""
    return tuple(sorted(guns, key=lambda gun: (gun.precharge_only, gun.session_since_ms, gun.gun)))


def order_by_list(guns: Sequence[GunRequest], standing: Standing, limits: AllocationLimits) -> tuple[GunRequest, ...]:
    """As gun_priority lists them; those that it leaves out come after it, by number."""
    place = {gun: index for index, gun in enumerate(limits.gun_priority)}
    return tuple(sorted(guns, key=lambda gun: (gun.precharge_only, place.get(gun.gun, len(place)), gun.gun)))


def _soc_pct(gun: GunRequest) -> float:
    return UNKNOWN_SOC_PCT if gun.soc_pct is None else gun.soc_pct


def _by_soc(gun: GunRequest) -> tuple[bool, float]:
    return gun.precharge_only, _soc_pct(gun)


def minimum_each(guns: Sequence[GunRequest], limits: AllocationLimits, strongest_kw: float) -> tuple[Grant, ...]:
    """min_modules_per_gun for everybody who asks, longest session first."""
    if limits.min_modules_per_gun <= 0:
        return ()
    by_session = sorted(guns, key=lambda gun: (gun.session_since_ms, gun.gun))
    return tuple(Grant(gun.gun, count) for gun in by_session for count in range(1, limits.min_modules_per_gun + 1))


def kept(guns: Sequence[GunRequest]) -> tuple[Grant, ...]:
    """Whatever the rule: guns that were served when it was changed keep one module, longest session first."""
    keeping = sorted((gun.session_since_ms, gun.gun, gun.keeps_kw) for gun in guns if gun.keeps_kw > 0)
    return tuple(Grant(gun, 1, most_kw) for _, gun, most_kw in keeping)


def precharging(guns: Sequence[GunRequest]) -> tuple[Grant, ...]:
    """Whatever the rule, as long as there is a module for everybody: one for each car that only precharges.

    It asks for 0 kW until its contactor is closed, so no order would ever serve it at a busy station; and it ends the
    session when precharge takes longer than 7 to 10 s (DIN 70121).
    """
    waiting = sorted((gun.session_since_ms, gun.gun) for gun in guns if gun.precharge_only)
    return tuple(Grant(gun, 1) for _, gun in waiting)


def equally(guns: Sequence[GunRequest], limits: AllocationLimits, strongest_kw: float) -> tuple[Grant, ...]:
    """One module after the other to everybody in turn, in the order of the guns: the least share is as large as can be.

    What a contactor or a limit keeps from one gun goes to the others. Where modules are fewer than guns, a car that
    only precharges comes last. On a hot day a need is more modules: the shares count what a module gives then.
    """
    rounds = [
        Grant(gun.gun, count, module_kw=strongest_kw)
        for count in range(1, limits.max_modules_per_gun + 1)
        for gun in guns
        if not gun.precharge_only and (count - 1) * strongest_kw < _most_kw(gun, limits)
    ]
    last = [Grant(gun.gun, 1) for gun in guns if gun.precharge_only]
    return (*minimum_each(guns, limits, strongest_kw), *rounds, *last)


def _most_kw(gun: GunRequest, limits: AllocationLimits) -> float:
    """No need is above this: a gun that has modules keeps them by the margin (Claim.want_w says whether)."""
    return gun.target_kw * (1.0 + NOISE_SHARE) + limits.step_margin_kw


RULES: Mapping[Priority, Rule] = {
    Priority.HIGHEST_DEMAND: Rule(order_by_demand, minimum_each),
    Priority.FIRST_COME: Rule(order_by_session, minimum_each),
    Priority.LOWEST_SOC: Rule(order_by_soc, minimum_each),
    Priority.GUN_PRIORITY: Rule(order_by_list, minimum_each),
    Priority.FAIR_SHARE: Rule(order_by_demand, equally, equal_budget=True),
}
