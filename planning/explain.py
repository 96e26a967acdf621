"""Job: find the reason that fits what a gun gets.

Thread: any (pure). Lock: none. Units: kW.
"""

from __future__ import annotations

from collections.abc import Sequence

from planning import reasons
from planning.reasons import Reason
from planning.request import GunRequest, TargetBound


def why_nothing(gun: GunRequest) -> Reason:
    """For a gun that does not ask: blocked, held to 0 kW, or without demand."""
    if gun.blocked_reason is not None:
        return reasons.BLOCKED[gun.blocked_reason]
    return _bound(gun, 0.0, 0) if gun.demand_kw > 0 else reasons.IDLE


def why_so_much(gun: GunRequest, may_kw: float, modules: int) -> Reason:
    """For a gun that gets all that it may have."""
    if gun.precharge_only:
        return reasons.PRECHARGE if modules else reasons.site_limit(may_kw, 0.0)
    if may_kw < gun.target_kw:
        return reasons.site_limit(may_kw, gun.target_kw)
    return _bound(gun, gun.target_kw, modules)


def why_short(
    missing: int, named: tuple[int, ...], holders: int, unreachable: Sequence[int], usable: int
) -> Reason:
    """For a gun that lacks modules: others hold them, no contactor leads to them, or there are no more.

    `holders`: how many other guns have a module that this one could use, `named` the first of them; `unreachable`:
    modules that no contactor joins to it; `usable`: how many the station has at all, without those welded elsewhere.
    """
    if named:
        return reasons.shared(missing, named, holders - len(named))
    if unreachable:
        return reasons.no_crosspoint(missing, unreachable)
    return reasons.no_modules(missing, usable)


def _bound(gun: GunRequest, target_kw: float, modules: int) -> Reason:
    match gun.limit_reason:
        case TargetBound.GUN_LIMIT:
            return reasons.gun_limit(target_kw, gun.gun)
        case TargetBound.COMMAND_LIMIT:
            return reasons.command_limit(target_kw)
        case TargetBound.CURRENT_LIMIT:
            return reasons.current_limit(target_kw)
        case TargetBound.DEMAND:
            return reasons.served(target_kw, modules)
