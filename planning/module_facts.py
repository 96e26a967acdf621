"""Job: the Fact bits of a seat in the switching sequence, and the GunFact bits of a bus, from readings.

Thread: control (or any one at a time). Lock: none. Units: V, A, s (monotonic).

Only what the present stage asks for is worked out: the facts are recorded inputs, and an idle module shall add none.
"""

from __future__ import annotations

from dataclasses import dataclass

from planning import facts
from planning.gun_control import LOW_RANGE_BELOW_V, GunControl
from planning.model import ModuleState, ModuleStatus
from planning.settings import Safety
from planning.transition import Fact, GunFact, Seat, Stage


@dataclass(frozen=True, slots=True)
class SeatView:
    """What surrounds one seat."""

    status: ModuleStatus
    bus_v: float | None  # of the seat's gun (or the gun that wants it), by rule 7.2
    bus_told_dead_at_s: float | None  # its bus, while its contactor was closed
    low_range: bool | None  # the range it shall have; None: leave it alone
    may_break: bool  # silent for long enough, and its turn


def seat_facts(seat: Seat, want: int, view: SeatView, now_s: float, safety: Safety) -> int:
    """Fact bits of one seat."""
    stage, status = seat.stage, view.status
    bits = Fact(0)
    if stage is Stage.FREE:
        parted_at_s = None if seat.parted_ms is None else seat.parted_ms / 1000.0
        return int(_free_facts(view, parted_at_s, now_s, safety)) if want else 0
    if status.state in (ModuleState.SILENT, ModuleState.UNHEARD):
        bits |= Fact.LOST
    if stage is Stage.MATCH and _range_fits(view) and facts.matched(status, view.bus_v, now_s, safety):
        bits |= Fact.MATCHED
    if stage in (Stage.UNLOAD, Stage.BREAK) and facts.unloaded(status, seat.since_ms / 1000.0, safety):
        bits |= Fact.UNLOADED
    if stage is Stage.LOST and view.may_break:
        bits |= Fact.BREAK_NOW
    return int(bits)


def _free_facts(view: SeatView, parted_at_s: float | None, now_s: float, safety: Safety) -> Fact:
    status = view.status
    bits = Fact(0)
    if status.state not in (ModuleState.OFF, ModuleState.ON):
        return Fact.LOST
    if facts.rested(status, now_s, safety, view.bus_told_dead_at_s, parted_at_s):
        bits |= Fact.RESTED
    if _range_fits(view) and facts.cold(status, now_s, safety):
        bits |= Fact.COLD
    return bits


def _range_fits(view: SeatView) -> bool:
    """The module has the range that the session chose, and a low one never joins a gun above 480 V."""
    low = view.status.low_range
    if view.low_range is not None and low is not view.low_range:
        return False
    return not (low and view.bus_v is not None and view.bus_v > LOW_RANGE_BELOW_V)


def gun_facts(
    control: GunControl, bus_v: float | None, live_module: bool, emergency: bool, now_s: float, safety: Safety
) -> int:
    """GunFact bits of one bus. `live_module`: a module on it is on, or may be."""
    bits = GunFact(0)
    told_v = control.told_bus_v(now_s)
    alive = any(volts is not None and volts >= safety.dead_voltage_v for volts in (bus_v, told_v))
    known = bus_v is not None and bus_v >= safety.dead_voltage_v
    if told_v is not None and told_v < safety.dead_voltage_v and not live_module:
        bits |= GunFact.TOLD_DEAD
    elif alive or live_module:
        bits |= GunFact.LIVE
    # a bus that nobody holds up may fall at any moment: only a driven or a told one is matched
    if known and (control.drive.driving or control.told_steady_v(now_s) is not None):
        bits |= GunFact.VOLTAGE_KNOWN
    if emergency:
        bits |= GunFact.EMERGENCY
    if control.drive.driving:
        bits |= GunFact.DRIVING
    return int(bits)
