"""Job: what goes into an allocation and what comes out of it.

Thread: any (frozen). Lock: none. Units: in each name; times are whole monotonic milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from planning.reasons import Reason, ReasonCode


class TargetBound(Enum):
    """What bounds a gun's target before the site limit."""

    DEMAND = "demand"
    GUN_LIMIT = "gunN_max_power"
    COMMAND_LIMIT = "max_power command"
    CURRENT_LIMIT = "current limit times bus voltage"


@dataclass(frozen=True, slots=True)
class GunRequest:
    """What one gun asks for at this moment.

    `demand_kw` counts as the vehicle status says (0: wants nothing) and orders the guns; `target_kw` is the least of
    demand, gun limit, commanded limit and current limit x bus voltage, without the site's share.
    """

    gun: int
    demand_kw: float
    target_kw: float
    limit_reason: TargetBound = TargetBound.DEMAND
    soc_pct: float | None = None
    session_since_ms: int = 0
    #: since when it has wanted power without holding a single module; None: it holds one or wants none
    waiting_since_ms: int | None = None
    #: target voltage told while the demand is 0: exactly one module, before anybody gets a second one
    precharge_only: bool = False
    #: it had this much when the rule was changed: never less than one module for it, while this session lasts
    keeps_kw: float = 0.0
    #: a code of reasons.BLOCKED: the gun gets nothing and its modules are free at once
    blocked_reason: ReasonCode | None = None

    @property
    def asks(self) -> bool:
        return self.blocked_reason is None and (self.target_kw > 0 or self.precharge_only)


@dataclass(frozen=True, slots=True)
class ModuleOffer:
    """What one module can do now. A module that is not offered counts as one without power."""

    module: int
    available_kw: int  # 0: it leaves its gun and nothing new is planned on it
    hours: float
    guns_allowed: frozenset[int]  # guns whose crosspoint with this module is in service
    pinned_gun: int | None = None  # welded or possibly closed there: this gun or nobody
    busy_until_ready: bool = False  # just released or still in transit: taken last among the free ones
    #: gun -> wear of the contactor to it; decides among modules of equal hours. A gun that is missing has none.
    wear: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Holding:
    """One module on its gun."""

    module: int
    gun: int
    since_ms: int
    moved: bool = False  # taken from another gun: stays for move_dwell
    excess_since_ms: int | None = None  # not needed since then: leaves after release_delay, or at once to who waits


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who holds what, and the memory that the next allocation needs. Holdings ascend by module."""

    holdings: tuple[Holding, ...] = ()
    #: guns as last served, best first: a gun that waits passes one ahead of it only by priority_hysteresis
    order: tuple[int, ...] = ()
    #: gun and since when it could do with one module less but for the noise of its demand, by gun
    falling: tuple[tuple[int, int], ...] = ()

    def modules_of(self, gun: int) -> tuple[int, ...]:
        return tuple(holding.module for holding in self.holdings if holding.gun == gun)

    def gun_of(self, module: int) -> int | None:
        return next((holding.gun for holding in self.holdings if holding.module == module), None)


NOTHING_HELD = Assignment()


@dataclass(frozen=True, slots=True)
class AllocationLimits:
    """Section [Allocation] and the limits of the station; defaults as in config.ini."""

    module_capacity_kw: float = 40.0
    max_modules_per_gun: int = 9
    min_modules_per_gun: int = 0
    priority_hysteresis_pct: float = 10.0
    release_delay_ms: int = 5_000
    step_margin_kw: float = 4.0
    move_dwell_ms: int = 30_000
    rotation_period_ms: int = 300_000  # 0: never
    site_budget_kw: float | None = None  # on the DC side; None: no limit
    gun_priority: Sequence[int] = (1, 2, 3, 4, 5, 6)


@dataclass(frozen=True, slots=True)
class GunResult:
    """What one gun gets. `modules` also names excess ones that wait for release_delay."""

    gun: int
    modules: tuple[int, ...]
    allocated_kw: float  # what these modules may give within target and site share; 0 in precharge
    share_kw: float | None  # of the site budget: never to be exceeded; None: the site has no limit
    need: int  # modules that its target and share ask for, at full module power
    missing: int  # of these, how many it does not get
    reason: Reason


@dataclass(frozen=True, slots=True)
class Allocation:
    """The next assignment and, for every gun in ascending order, what it gets and why."""

    assignment: Assignment
    guns: tuple[GunResult, ...]
    next_due_ms: int | None  # when a release, dwell or rotation is due next; None: nothing is timed

    def of(self, gun: int) -> GunResult:
        """Raises KeyError for a gun that made no request."""
        for result in self.guns:
            if result.gun == gun:
                return result
        raise KeyError(gun)
