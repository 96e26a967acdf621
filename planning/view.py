"""Job: what one step of the station saw and decided, for whoever looks on: history, web page, metrics.

Thread: any (frozen; references only, so that making one costs next to nothing). Lock: none. Units: in each name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from planning.model import CanStatus, ContactState, GunValues, ModuleStatus, StationReport
from planning.settings import Priority
from planning.transition import Stage


@dataclass(frozen=True, slots=True)
class GunView:
    """One gun beyond its report: what its device told, and what is measured of it."""

    values: GunValues
    heard_at_s: float | None  # when any valid message of it last came
    bus_v: float | None  # None: not known
    current_a: float  # of all its modules
    commanded_kw: float | None  # None: nobody limits it
    kept_out: bool  # the station drains: no new session here


@dataclass(frozen=True, slots=True)
class StationView:
    """The whole station at one moment. Index 0 is gun 1, module 1, contact g1m1."""

    now_s: float
    report: StationReport
    guns: tuple[GunView, ...]
    modules: tuple[ModuleStatus, ...]
    seats: tuple[tuple[Stage, int], ...]  # of each module: where it is in the switching sequence, and of which gun
    usable: tuple[bool, ...]  # modules that may be planned with
    enabled: tuple[bool, ...]  # nobody has taken the module out of use by a command
    contacts: tuple[ContactState, ...]  # index (gun-1)*module_count + (module-1)
    coils: int  # bit i: coil of contact i is commanded on
    can: CanStatus
    rule: Priority
    draining: bool
    emergency_stop_healthy: bool
    slowest_step_s: float  # the longest time from one step to the next since the view before
    worn: Mapping[str, object]  # as WearBook.kept()


def hottest_c(details: Mapping[str, float]) -> float | None:
    """The highest temperature that a module tells of; how far it is from its limit (`margin_c`) is none."""
    told = (value for name, value in details.items() if name.endswith("_c") and name != "margin_c")
    return max(filter(math.isfinite, told), default=None)
