"""Job: the one way to a safe station: everything off, contactors opened when unloaded or at the latest after a second.

Thread: control, or MainThread when the control thread is gone. Lock: none. Units: s (monotonic), A.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from planning import facts
from planning.model import Crosspoint, ModuleStatus
from planning.settings import Safety

#: proof of open and the last images need this much of the time before the door has to be shut
RESERVE_S = 0.3


@dataclass(frozen=True, slots=True)
class DoorOrders:
    off_all: bool  # tell all modules OFF (once)
    open: tuple[Crosspoint, ...]  # open these contactors now
    done: bool  # outputs can be disabled, the program can end


class SafeDoor:
    """Opened once; opening it again does no harm. `step` until it says done: safe_door_s at the longest."""

    def __init__(self, safety: Safety, now_s: float) -> None:
        self._safety = safety
        self._opened_at_s = now_s
        self._told = False

    def age_s(self, now_s: float) -> float:
        """Seconds since it was opened."""
        return now_s - self._opened_at_s

    def step(
        self, now_s: float, modules: Sequence[ModuleStatus], closed: Collection[Crosspoint], all_proven_open: bool
    ) -> DoorOrders:
        """`closed`: crosspoints whose coil is on; `all_proven_open`: by feedback."""
        age_s = now_s - self._opened_at_s
        late = age_s >= self._safety.safe_door_open_s
        off_all, self._told = not self._told, True
        openable = tuple(x for x in closed if late or self._unloaded(modules[x.module - 1]))
        proven = not closed and all_proven_open
        done = proven or age_s >= self._safety.safe_door_s - RESERVE_S
        return DoorOrders(off_all, openable, done)

    def _unloaded(self, module: ModuleStatus) -> bool:
        return facts.unloaded(module, self._opened_at_s, self._safety)
