"""Job: the referee of the simulated station: writes down every switching that a real station would not forgive.

Thread: that of the plant (no lock). Units: s monotonic, V, A. The limits are those of the electrical rules, typed
here a second time on purpose: the referee shares no constant with the controller it judges.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum

from planning.model import Crosspoint

#: A bus or a module output below this is dead (touch-safe by IEC 61851-23).
DEAD_V = 60.0
#: A module may close onto a live bus from this much below it, up to level.
WINDOW_V = 20.0
#: What two honest meters may differ by, on top of the window: 1 V, or 0.2 % of each of them.
METER_V = 1.0
METER_SHARE = 0.004
#: An unloaded bus falls with its bleeder while the poles travel: 1000 V to 60 V in 5 s, up to 30 ms.
FALL_V = 6.0
#: A contactor that opens above this current loses one of its few load breaks.
LOAD_BREAK_A = 5.0
#: A module that joins a live bus is limited to this, with half a per cent for its regulator.
JOIN_A = 1.005


class ViolationKind(Enum):
    """What went against the rules; a test names the kinds it provokes and asserts that there are no others."""

    CLOSE_HIGH = "close_high"  # module more than the window above the bus: an arc, then a welded contact
    CLOSE_UNMATCHED = "close_unmatched"  # onto a live bus, neither matched nor allowed as a dead close
    CLOSE_UNLIMITED = "close_unlimited"  # matched, but the module was not limited to the joining current
    CLOSE_CHARGED = "close_charged"  # the lead behind the diode still held a voltage from an earlier gun
    OPEN_LOADED = "open_loaded"  # a load break
    JOINED = "joined"  # two guns tied together through one module
    OUTPUT_LOADED = "output_loaded"  # a dispenser opened its output contactor under load


@dataclass(frozen=True, slots=True)
class Violation:
    at_s: float
    kind: ViolationKind
    crosspoint: Crosspoint  # module 0: the dispenser's output contactor
    detail: str


@dataclass(frozen=True, slots=True)
class Closing:
    """What the two sides of a contactor looked like at the moment its main poles met."""

    module_on: bool
    module_v: float  # output capacitor, before the diode
    terminal_v: float  # lead between diode and contactor
    limit_a: float  # present current limit of the module
    bus_v: float
    others_closed: bool  # another contactor of the gun was closed


class Referee:
    """Keeps the violations in order, and counts what is normal too."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.counts: Counter[ViolationKind] = Counter()
        self.closings = 0
        self.openings = 0

    def closed(self, now_s: float, crosspoint: Crosspoint, closing: Closing) -> None:
        """Judge the closing of one module contactor."""
        self.closings += 1
        kind = judge_closing(closing)
        if kind is not None:
            self.record(now_s, kind, crosspoint, _told(closing))

    def opened(self, now_s: float, crosspoint: Crosspoint, current_a: float) -> None:
        """Judge the opening of one module contactor at `current_a`."""
        self.openings += 1
        if current_a > LOAD_BREAK_A:
            self.record(now_s, ViolationKind.OPEN_LOADED, crosspoint, f"{current_a:.1f} A")

    def record(self, now_s: float, kind: ViolationKind, crosspoint: Crosspoint, detail: str) -> None:
        self.counts[kind] += 1
        self.violations.append(Violation(now_s, kind, crosspoint, detail))


def judge_closing(closing: Closing) -> ViolationKind | None:
    """The first thing wrong with a closing, the worst first; None when it is allowed."""
    below_v = closing.bus_v - closing.module_v
    bus_dead = closing.bus_v < DEAD_V
    module_dead = not closing.module_on and closing.module_v < DEAD_V
    if module_dead and (bus_dead or not closing.others_closed):
        charged = closing.terminal_v >= DEAD_V and closing.terminal_v - closing.bus_v > WINDOW_V
        return ViolationKind.CLOSE_CHARGED if charged else None
    if below_v < -(WINDOW_V + METER_V):
        return ViolationKind.CLOSE_HIGH
    # too low harms nothing, for the diode blocks: it is judged by what the meters can tell
    lowest_v = WINDOW_V + max(METER_V, METER_SHARE * closing.bus_v)
    matched = closing.module_on and not bus_dead and -METER_V - FALL_V <= below_v <= lowest_v
    if not matched:
        return ViolationKind.CLOSE_UNMATCHED
    return ViolationKind.CLOSE_UNLIMITED if closing.limit_a > JOIN_A else None


def _told(closing: Closing) -> str:
    state = "on" if closing.module_on else "off"
    others = "others closed" if closing.others_closed else "no other closed"
    return (
        f"module {state} {closing.module_v:.1f} V, lead {closing.terminal_v:.1f} V, limit {closing.limit_a:.1f} A, "
        f"bus {closing.bus_v:.1f} V, {others}"
    )
