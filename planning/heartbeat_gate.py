"""Job: the gate of the heartbeat: which checks must hold for an edge, and how fast the edges end when one does not.

Thread: control (or any one at a time). Lock: none. Units: s (monotonic).

The hardware drops the coil supply 500 ms after the last edge. An edge says: this loop is on time, what it wrote is what
the registers hold, and somebody watches the other threads. A check that fails opens the safe door, and the edges go on
for EDGES_IN_DOOR_S, so that the coils open in order and unloaded. They end at once where that order cannot be trusted.
Systemd's watchdog is fed by the same gate: main.py feeds it only while `passed_at_s` is fresh.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

#: After a pause of this length nobody may pick the coils up again by beating on: they may have dropped under load.
STALL_S = 0.3
#: MainThread stamps every 0.1 s; without it nobody would see that a CAN thread died.
UNWATCHED_S = 2.0
#: Design: at the latest 1.5 s after a failed check the edges end.
EDGES_IN_DOOR_S = 1.5


@dataclass(frozen=True, slots=True)
class GateView:
    """What the gate looks at in one step."""

    armed: bool
    paused_s: float  # since the step before
    unwatched_s: float  # since MainThread last looked; 0 while nobody is to look (tests, simulations)
    image_verified: bool | None  # by readback; None: not wired, or not proven yet
    in_door_s: float | None  # since the safe door was opened


class Check(Enum):
    """(why the edges end, at once)"""

    ON_TIME = ("the control loop stood still", True)
    IMAGE = ("the coil registers do not hold what was written", True)
    WATCHED = ("the supervising thread stands still", False)

    @property
    def words(self) -> str:
        words: str = self.value[0]
        return words

    @property
    def at_once(self) -> bool:
        at_once: bool = self.value[1]
        return at_once


class HeartbeatGate:
    """One question a step: may the heartbeat line have an edge?"""

    def __init__(self) -> None:
        #: simulations that step slowly raise these
        self.stall_s, self.unwatched_s = STALL_S, UNWATCHED_S
        #: the first check that failed; it stays failed, only a new start of the program opens the gate again
        self.failed: Check | None = None
        #: when the gate last let an edge through (or would have, before the station is armed)
        self.passed_at_s = float("-inf")
        self._checks: tuple[tuple[Check, Callable[[GateView], bool]], ...] = (
            (Check.ON_TIME, lambda view: view.paused_s <= self.stall_s),
            (Check.IMAGE, lambda view: view.image_verified is not False),
            (Check.WATCHED, lambda view: view.unwatched_s <= self.unwatched_s),
        )

    def step(self, now_s: float, view: GateView) -> bool:
        """True: an edge may follow. `failed` says what has to be answered by the safe door."""
        if view.armed and self.failed is None:
            self.failed = next((check for check, holds in self._checks if not holds(view)), None)
        if self.failed is not None and self.failed.at_once:
            return False
        if view.in_door_s is not None:
            return view.in_door_s <= EDGES_IN_DOOR_S
        if self.failed is None:
            self.passed_at_s = now_s
        return True
