"""Job: may this contactor close? The last judgement before the coil, made from feedback and raw readings alone.

Thread: any (pure). Lock: none. Units: in each name; times are monotonic seconds.

It stands below the planner and trusts nobody: an allocator that asks for nonsense gets a refusal, never a short circuit
between two batteries. Every comparison is written so that NaN refuses.
"""

from __future__ import annotations

from dataclasses import dataclass

from planning.model import CloseEvidence, CloseRefusal, ModuleState, ModuleStatus
from planning.settings import Safety

#: The module's set-point on a live bus may be this far above bus minus match_offset: rounding to the wire's unit, and
#: the battery's own drift of a few V/s between setting and closing. It stays well below the bus, so no load is taken.
SET_POINT_TOLERANCE_V = 2.0


@dataclass(frozen=True, slots=True)
class ContactFacts:
    """What ContactorController itself knows at the moment of the request."""

    armed: bool  # outputs enabled and arm() called
    emergency_stop_healthy: bool
    feedback_valid: bool  # test bits right, debounced and fresh
    in_service: bool
    others_open: bool  # every other contactor of the module: not commanded, proven open, in service
    proven_open: bool  # this contactor: not commanded and proven open
    gun_dark: bool  # no contactor of the gun is commanded, closed or unproven
    pickup_allowed: bool  # fewer than pickups_per_250ms coils picked up within 250 ms


def judge_close(facts: ContactFacts, evidence: CloseEvidence, safety: Safety, now_s: float) -> CloseRefusal | None:
    """The first reason not to close, or None. PICKUPS comes last: with it alone, asking again a moment later helps."""
    refusal = _judge_contacts(facts) or _judge_voltages(facts, evidence, safety, now_s)
    if refusal is None and not facts.pickup_allowed:
        return CloseRefusal.PICKUPS
    return refusal


def _judge_contacts(facts: ContactFacts) -> CloseRefusal | None:
    if not facts.armed:
        return CloseRefusal.NOT_ARMED
    if not facts.emergency_stop_healthy:
        return CloseRefusal.EMERGENCY_STOP
    if not facts.feedback_valid:
        return CloseRefusal.FEEDBACK_INVALID
    if not facts.in_service:
        return CloseRefusal.OUT_OF_SERVICE
    if not facts.others_open:
        return CloseRefusal.MODULE_ELSEWHERE
    if not facts.proven_open:
        return CloseRefusal.NOT_PROVEN_OPEN
    return None


def _judge_voltages(facts: ContactFacts, evidence: CloseEvidence, safety: Safety, now_s: float) -> CloseRefusal | None:
    if _bus_is_dead(facts.gun_dark, evidence, safety.dead_voltage_v):
        return _judge_dead_bus(evidence, safety, now_s)
    return _judge_live_bus(evidence, safety, now_s)


def _bus_is_dead(gun_dark: bool, evidence: CloseEvidence, dead_voltage_v: float) -> bool:
    """Told dead, or nothing is connected to it; any sign of life outweighs both."""
    signs = (evidence.bus_told_v, evidence.bus_voltage_v)
    alive = any(voltage_v is not None and not voltage_v < dead_voltage_v for voltage_v in signs)
    if alive or evidence.bus_has_live_module:
        return False
    return gun_dark or evidence.bus_told_v is not None


def _judge_dead_bus(evidence: CloseEvidence, safety: Safety, now_s: float) -> CloseRefusal | None:
    module = evidence.module
    fresh_s = safety.fresh_reading_s
    if module.set_on or not _says(module, False, now_s, fresh_s):
        return CloseRefusal.MODULE_NOT_OFF
    dead = module.voltage_v is not None and module.voltage_v < safety.dead_voltage_v
    if not dead or not _fresh(module.voltage_at_s, now_s, fresh_s):
        return CloseRefusal.MODULE_NOT_DEAD
    if not _rested(module, evidence.told_dead_at_s, safety.terminal_discharge_time_s, now_s):
        return CloseRefusal.MODULE_NOT_RESTED
    return None


def _judge_live_bus(evidence: CloseEvidence, safety: Safety, now_s: float) -> CloseRefusal | None:
    module, bus_voltage_v = evidence.module, evidence.bus_voltage_v
    if bus_voltage_v is None:
        return CloseRefusal.NEED_VOLTAGE
    if module.on is False:
        return CloseRefusal.BUS_NOT_DEAD  # it is ready for a dead bus, and this one is not
    if not _says(module, True, now_s, safety.fresh_reading_s):
        return CloseRefusal.MODULE_NOT_ON
    if not _unloaded(module, safety, now_s):
        return CloseRefusal.MODULE_LOADED
    if not _matched(module, bus_voltage_v, safety, now_s):
        return CloseRefusal.NOT_MATCHED
    return None


def _says(module: ModuleStatus, on: bool, now_s: float, fresh_s: float) -> bool:
    """Its own fresh status word; two modules on one address (REFUSED) have no status of their own."""
    return module.on is on and module.state is not ModuleState.REFUSED and _fresh(module.on_at_s, now_s, fresh_s)


def _rested(module: ModuleStatus, told_dead_at_s: float | None, discharge_s: float, now_s: float) -> bool:
    """Rule 7.4: its terminals, behind the diode, stay charged long after its own meter has fallen."""
    if module.last_on_at_s is None:
        return True
    told_since = told_dead_at_s is not None and told_dead_at_s > module.last_on_at_s
    return told_since or now_s - module.last_on_at_s >= discharge_s


def _unloaded(module: ModuleStatus, safety: Safety, now_s: float) -> bool:
    """Limited to idle current by its set-point, and measured to give no more."""
    return (
        module.set_current_a <= safety.idle_current_a
        and module.current_a is not None
        and module.current_a <= safety.idle_current_a
        and _fresh(module.current_at_s, now_s, safety.fresh_reading_s)
    )


def _matched(module: ModuleStatus, bus_voltage_v: float, safety: Safety, now_s: float) -> bool:
    """Set below the bus, and two different fresh readings show it there."""
    newest_s, before_s = module.voltage_at_s, module.voltage_before_at_s
    return (
        module.set_voltage_v <= bus_voltage_v - safety.match_offset_v + SET_POINT_TOLERANCE_V
        and _fresh(newest_s, now_s, safety.fresh_reading_s)
        and _fresh(before_s, now_s, safety.fresh_reading_s)
        and newest_s != before_s
        and _read_since_set(module)
        and _in_window(module.voltage_v, bus_voltage_v, safety.match_window_v)
        and _in_window(module.voltage_before_v, bus_voltage_v, safety.match_window_v)
    )


def _read_since_set(module: ModuleStatus) -> bool:
    """A voltage asked for before the set-point changed may be that of a module on its way to where it was sent then."""
    return module.voltage_asked_at_s is not None and module.voltage_asked_at_s > module.set_voltage_at_s


def _in_window(voltage_v: float | None, bus_voltage_v: float, window_v: float) -> bool:
    """From the bus voltage itself down to window_v below it, both inclusive."""
    return voltage_v is not None and 0.0 <= bus_voltage_v - voltage_v <= window_v


def _fresh(at_s: float | None, now_s: float, limit_s: float) -> bool:
    # A reading may be a little younger than `now_s`: the bus thread stamps while the control step runs.
    return at_s is not None and now_s - at_s < limit_s
