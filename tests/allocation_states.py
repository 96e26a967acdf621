"""Job: random states of the station for the allocation: wishes, history, derated modules, broken crosspoints, limits.

Thread: any (pure). Lock: none. Units: whole kW.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from planning.request import AllocationLimits, Assignment, GunRequest, ModuleOffer, TargetBound
from planning.settings import Priority
from tests.allocation_helpers import holding

LISTED = (4, 2, 6)
GUNS = range(1, 7)


@dataclass(frozen=True, slots=True)
class State:
    guns: Sequence[GunRequest]
    modules: Sequence[ModuleOffer]
    current: Assignment
    limits: AllocationLimits
    now_ms: int = 0

    def order(self, rule: Priority) -> list[int]:
        """The asking guns, best first, by the words of the contract."""
        asking = [gun for gun in self.guns if gun.asks]
        places = {gun: place for place, gun in enumerate(LISTED)}
        keys = {
            Priority.HIGHEST_DEMAND: lambda gun: -gun.demand_kw,
            Priority.FAIR_SHARE: lambda gun: -gun.demand_kw,
            Priority.FIRST_COME: lambda gun: gun.session_since_ms,
            Priority.LOWEST_SOC: lambda gun: gun.soc_pct,
            Priority.GUN_PRIORITY: lambda gun: places.get(gun.gun, len(places) + gun.gun),
        }
        return [gun.gun for gun in sorted(asking, key=keys[rule])]


def random_state(dice: random.Random, rule: Priority) -> State:
    """No two guns are equal for a rule: who comes first among equals is a matter of who is served already."""
    fair = rule is Priority.FAIR_SHARE
    demands = [0 if dice.random() < 0.15 else demand for demand in dice.sample(range(1, 320), 6)]
    socs, sessions = dice.sample(range(101), 6), dice.sample(range(1000), 6)
    guns = [_gun(dice, gun, demands[gun - 1], socs[gun - 1], sessions[gun - 1]) for gun in GUNS]
    unlike, broken = dice.random() < 0.7 and not fair, dice.random() < 0.6
    modules = [_module(dice, module, unlike, broken) for module in range(1, 10)]
    current = holding({module: dice.choice(GUNS) for module in range(1, 10) if dice.random() < 0.6})
    limited = dice.random() < 0.25 and not fair
    return State(
        guns,
        modules,
        current,
        AllocationLimits(
            max_modules_per_gun=dice.choice([9, 9, 9, 4, 2]),
            min_modules_per_gun=0 if limited or fair else dice.choice([0, 0, 0, 1, 2]),
            priority_hysteresis_pct=0.0,
            release_delay_ms=0,
            step_margin_kw=0.0,
            move_dwell_ms=0,
            rotation_period_ms=0,
            site_budget_kw=float(dice.randrange(1, 400)) if limited else None,
            gun_priority=LISTED,
        ),
    )


def _gun(dice: random.Random, gun: int, demand_kw: int, soc_pct: int, session_ms: int) -> GunRequest:
    limit_kw = dice.choice([240, 240, 240, 100, 30])
    return GunRequest(
        gun,
        demand_kw,
        min(demand_kw, limit_kw),
        TargetBound.GUN_LIMIT if demand_kw > limit_kw else TargetBound.DEMAND,
        soc_pct=float(soc_pct),
        session_since_ms=session_ms,
    )


def _module(dice: random.Random, module: int, unlike: bool, broken: bool) -> ModuleOffer:
    allowed = frozenset(gun for gun in GUNS if not broken or dice.random() < 0.85)
    pinned = dice.choice(sorted(allowed)) if broken and allowed and dice.random() < 0.1 else None
    power_kw = dice.choice([40, 40, 40, 30, 20, dice.randrange(1, 41)]) if unlike else 40
    return ModuleOffer(module, 0 if dice.random() < 0.1 else power_kw, dice.randrange(100), allowed, pinned)
