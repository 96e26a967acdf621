"""Job: the safe start as a table of phases: nothing is switched on before everything is proven off.

Thread: control (or any one at a time). Lock: none. Units: s, monotonic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum


class StartPhase(Enum):
    LINK = "modules are told OFF as soon as the CAN link is up"
    QUIET = "modules have time to fall silent"
    ZEROS = "coil registers hold zeros, contactors have time to open"
    HEAR = "every module is told OFF and heard"
    ENABLED = "outputs enabled, feedback looked at once more"
    ARMED = "ready"


@dataclass(frozen=True, slots=True)
class StartView:
    """What the start looks at."""

    link_up: bool
    feedback_valid: bool
    modules_proven_off: bool  # every module in use answered and shows off
    start_hear_s: float


class StartAction(Enum):
    """What the caller shall do when a phase is entered."""

    OFF_ALL = "tell all modules OFF"
    LATCH_ZEROS = "set up the pins, outputs disabled, zeros latched"
    ENABLE_OUTPUTS = "output enable low"
    ARM = "heartbeat and closes allowed"
    NOTHING = "nothing"


#: the CAN link has this long to come up before the coils are seen to without it
LINK_PATIENCE_S = 1.0
QUIET_S = 0.06
ZEROS_S = 0.3
ENABLED_S = 0.15

Condition = Callable[[StartView, float, float], bool]  # (view, seconds in the phase, seconds with the link up)


def _link_up_or_late(view: StartView, age_s: float, _: float) -> bool:
    return view.link_up or age_s >= LINK_PATIENCE_S


def _quiet(_: StartView, age_s: float, __: float) -> bool:
    return age_s >= QUIET_S


def _zeros_settled(view: StartView, age_s: float, _: float) -> bool:
    return age_s >= ZEROS_S and view.feedback_valid


def _all_heard_or_late(view: StartView, _: float, linked_s: float) -> bool:
    return view.link_up and (view.modules_proven_off or linked_s >= view.start_hear_s)


def _still_valid(view: StartView, age_s: float, _: float) -> bool:
    return age_s >= ENABLED_S and view.feedback_valid


TABLE: Mapping[StartPhase, tuple[Condition, StartPhase, StartAction]] = {
    StartPhase.LINK: (_link_up_or_late, StartPhase.QUIET, StartAction.OFF_ALL),
    StartPhase.QUIET: (_quiet, StartPhase.ZEROS, StartAction.LATCH_ZEROS),
    StartPhase.ZEROS: (_zeros_settled, StartPhase.HEAR, StartAction.OFF_ALL),
    StartPhase.HEAR: (_all_heard_or_late, StartPhase.ENABLED, StartAction.ENABLE_OUTPUTS),
    StartPhase.ENABLED: (_still_valid, StartPhase.ARMED, StartAction.ARM),
}


class SafeStart:
    """Walks the table; `step` says what to do now."""

    def __init__(self) -> None:
        self.phase = StartPhase.LINK
        self._since_s: float | None = None
        self._link_up_since_s: float | None = None

    @property
    def armed(self) -> bool:
        return self.phase is StartPhase.ARMED

    def step(self, now_s: float, view: StartView) -> StartAction:
        if self.phase is StartPhase.ARMED:
            return StartAction.NOTHING
        if self._since_s is None:
            self._since_s = now_s
        if not view.link_up:
            self._link_up_since_s = None
        elif self._link_up_since_s is None:
            self._link_up_since_s = now_s
        linked_s = 0.0 if self._link_up_since_s is None else now_s - self._link_up_since_s
        ready, then, action = TABLE[self.phase]
        if not ready(view, now_s - self._since_s, linked_s):
            return StartAction.NOTHING
        self.phase, self._since_s = then, now_s
        return action
