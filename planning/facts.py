"""Job: what the readings of a module prove: off, cold, rested, matched, unloaded. From volts and amperes to yes or no.

Thread: any (pure functions). Lock: none. Units: V, A, s (monotonic).
"""

from __future__ import annotations

from planning.model import ModuleState, ModuleStatus
from planning.settings import Safety


def _fresh(at_s: float | None, now_s: float, safety: Safety) -> bool:
    return at_s is not None and now_s - at_s <= safety.fresh_reading_s


def proven_off_since_s(status: ModuleStatus) -> float | None:
    """When the last proof of being off was asked for; None: it is on, or may be."""
    if status.on is not False or status.set_on or status.on_asked_at_s is None:
        return None
    if status.last_on_at_s is not None and status.on_asked_at_s <= status.last_on_at_s:
        return None
    return status.on_asked_at_s


def may_be_on(status: ModuleStatus) -> bool:
    """A module that never answered is told OFF and counts as off; one that fell silent counts as on (rule 7.6)."""
    return status.state is not ModuleState.UNHEARD and proven_off_since_s(status) is None


def cold(status: ModuleStatus, now_s: float, safety: Safety) -> bool:
    """Off and below dead_voltage, both by fresh readings that were asked for after it was last on."""
    off_since_s = proven_off_since_s(status)
    if off_since_s is None or not _fresh(status.on_at_s, now_s, safety):
        return False
    if status.voltage_v is None or not _fresh(status.voltage_at_s, now_s, safety):
        return False
    return status.voltage_v < safety.dead_voltage_v


def rested(
    status: ModuleStatus,
    now_s: float,
    safety: Safety,
    bus_told_dead_at_s: float | None,
    parted_at_s: float | None = None,
) -> bool:
    """Rule 7.4: terminal_discharge_time after its terminals were last fed, or its bus told dead before they parted.

    They are fed while the module is on, and by the bus (other modules, the car) until its contactor has opened at
    `parted_at_s`: an idle module that hung on a live bus is as charged as one that was on.
    """
    fed = [at_s for at_s in (status.last_on_at_s, parted_at_s) if at_s is not None]
    if not fed:
        return True
    if bus_told_dead_at_s is not None and bus_told_dead_at_s > (status.last_on_at_s or float("-inf")):
        return True
    return now_s - max(fed) >= safety.terminal_discharge_time_s


def matched(status: ModuleStatus, bus_v: float | None, now_s: float, safety: Safety) -> bool:
    """Rule 7.2(b): on, limited to and loaded by no more than idle_current, two fresh readings just below the bus."""
    if bus_v is None or not status.on or not status.set_on or status.set_current_a > safety.idle_current_a:
        return False
    if status.current_a is None or status.current_a > safety.idle_current_a:
        return False
    if not _fresh(status.current_at_s, now_s, safety) or status.voltage_at_s == status.voltage_before_at_s:
        return False
    if not _read_since_set(status):
        return False
    readings = ((status.voltage_v, status.voltage_at_s), (status.voltage_before_v, status.voltage_before_at_s))
    return all(
        volts is not None and _fresh(at_s, now_s, safety) and 0.0 <= bus_v - volts <= safety.match_window_v
        for volts, at_s in readings
    )


def _read_since_set(status: ModuleStatus) -> bool:
    """During a search a set-point may overshoot for a moment; what was read before says nothing of where it went."""
    return status.voltage_asked_at_s is not None and status.voltage_asked_at_s > status.set_voltage_at_s


def unloaded(status: ModuleStatus, ordered_off_at_s: float, safety: Safety) -> bool:
    """Rule 7.3: below open_current by a reading that was asked for after the OFF was confirmed."""
    echo_s = status.off_echo_at_s
    confirmed_s = echo_s if echo_s is not None and echo_s >= ordered_off_at_s else proven_off_since_s(status)
    if confirmed_s is None or status.current_a is None or status.current_asked_at_s is None:
        return False
    return status.current_asked_at_s >= confirmed_s and status.current_a < safety.open_current_a


def silent_for_s(status: ModuleStatus, now_s: float) -> float:
    """Seconds without a frame; 0 while it counts as heard."""
    if status.state is not ModuleState.SILENT:
        return 0.0
    return now_s - status.heard_at_s if status.heard_at_s is not None else float("inf")


def counted_a(status: ModuleStatus) -> float:
    """Rule 7.6: what a silent module must be assumed to give: the larger of last set and last measured."""
    return max(status.set_current_a, status.current_a or 0.0)
