"""Job: the state of the station in the words that people and MQTT get: gun states, reasons, power.

Thread: control (or any one at a time). Lock: none. Units: kW, A, V, s (monotonic).
"""

from __future__ import annotations

from collections.abc import Sequence

from planning.drive import Phase
from planning.gun_control import GunControl
from planning.model import GunReport, GunState, ModuleStatus, VehicleStatus
from planning.reasons import Reason, ReasonCode
from planning.request import GunResult
from planning.transition import Stage

_FAULT_CODES = (ReasonCode.FAULT, ReasonCode.OVER_POWER, ReasonCode.EMERGENCY_STOP, ReasonCode.WELD_LOCKED)
#: What the reasons of the sequence and the drive say while modules are chosen but do not deliver yet.
_WORDS = {
    ReasonCode.SEARCHING: "the battery voltage is being searched",
    ReasonCode.CONNECTING: "contactors are closing",
    ReasonCode.DISCHARGING: "its modules come from elsewhere or discharge first",
    ReasonCode.STOPPING: "current goes down and contactors open",
}

#: of one gun: (module, stage)
Seats = Sequence[tuple[int, Stage]]


def delivered(modules: Sequence[ModuleStatus], seats: Seats) -> tuple[float, float]:
    """(kW, A) measured on the bus of the gun whose seats these are."""
    power_w = total_a = 0.0
    for module, stage in seats:
        status = modules[module - 1]
        if status.current_a and stage.on_bus:
            total_a += status.current_a
            power_w += status.current_a * (status.voltage_v or 0.0)
    return power_w / 1000.0, total_a


def gun_report(
    control: GunControl, result: GunResult, modules: Sequence[ModuleStatus], seats: Seats, now_s: float
) -> GunReport:
    """All that is told of one gun."""
    delivered_kw, _ = delivered(modules, seats)
    state = gun_state(control, result, seats)
    return GunReport(
        gun=control.gun,
        state=state,
        demand_kw=control.values.demand_kw or 0.0,
        allocated_kw=round(result.allocated_kw * control.ramp_down(now_s), 3),
        delivered_kw=delivered_kw,
        modules=result.modules,
        reason=str(reason(control, result, seats, state)),
        soc_pct=control.values.soc_pct,
    )


def gun_state(control: GunControl, result: GunResult, seats: Seats) -> GunState:
    if result.reason.code in _FAULT_CODES or control.emergency:
        return GunState.FAULT
    if result.reason.code in (ReasonCode.DISABLED, ReasonCode.DRAINING):
        return GunState.DISABLED
    if control.drive.phase is Phase.RUN and result.modules:
        return GunState.CHARGING
    if result.modules and result.need:
        waiting = control.values.status is VehicleStatus.WAITING and not control.values.target_voltage_v
        return GunState.WAITING if waiting else GunState.CONNECTING
    if any(stage is not Stage.WELDED for _, stage in seats):
        return GunState.STOPPING
    asks = control.present and bool(control.values.demand_kw or control.values.target_voltage_v)
    return GunState.WAITING if asks or control.values.status is VehicleStatus.WAITING else GunState.IDLE


def reason(control: GunControl, result: GunResult, seats: Seats, state: GunState) -> Reason:
    """The allocation's reason, unless the sequence or the drive has the better one just now."""
    if control.drive.phase is Phase.SEARCH:
        return Reason(ReasonCode.SEARCHING, _WORDS[ReasonCode.SEARCHING])
    if state is GunState.STOPPING and result.reason.code is ReasonCode.IDLE:
        return Reason(ReasonCode.STOPPING, _WORDS[ReasonCode.STOPPING])
    if state is GunState.CONNECTING:
        here = {module for module, _ in seats}
        code = ReasonCode.CONNECTING if here.intersection(result.modules) else ReasonCode.DISCHARGING
        return Reason(code, _WORDS[code])
    if control.silent and control.values.demand_kw:
        return Reason(ReasonCode.SILENT_DEVICE, "the dispenser is silent: its demand goes to 0")
    return result.reason
