"""Job: a StationView in the words of monitoring/schema.py, as one line of JSON for the page process.

Thread: `onlook` alone. Lock: none. Units: in each name; `_s` is the station's monotonic clock, `ts` Unix seconds.
It imports none of the page's packages: a test reads what it writes with schema.py, which is strict.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from planning.faults import FaultCode, Latch
from planning.model import (
    ContactState,
    Crosspoint,
    FaultReport,
    GunReport,
    GunState,
    ModuleState,
    ModuleStatus,
    Scope,
)
from planning.reasons import BLOCKED, ReasonCode
from planning.view import GunView, StationView, hottest_c

Words = dict[str, Any]

#: Faults whose moment of beginning is remembered; more than can stand and be kept.
REMEMBERED = 2000
_CROSSPOINT_STATES = {state: state.name.lower() for state in ContactState}
_STARTING = str(BLOCKED[ReasonCode.NOT_ARMED])


@dataclass(frozen=True, slots=True)
class About:
    """What stays the same while the controller runs."""

    station_id: str
    version: str
    run: str
    started_ts: float
    module_kw: float
    gun_max_kw: Mapping[int, float]
    devices: Mapping[str, Sequence[int]]
    module_count: int


@dataclass(frozen=True, slots=True)
class Seen:
    """All that one snapshot is made from, taken at one moment."""

    view: StationView
    now_s: float
    wall_s: float
    armed: bool
    modules_heard: int
    contactors_closed: int
    stepped_at_s: float
    mqtt: bool
    accepted: int
    rejected: Mapping[str, int]
    details: Sequence[Mapping[str, float]]  # temperatures and the like, by module
    losses_kw: Mapping[int, Mapping[int, float]]

    @property
    def offset_s(self) -> float:
        """Unix time minus the station's clock."""
        return self.wall_s - self.now_s


class EnergyMeter:
    """What each gun got since the start: the area under the power from view to view. It never falls."""

    def __init__(self, guns: Iterable[int]) -> None:
        self.kwh = dict.fromkeys(guns, 0.0)
        self._power_kw: Mapping[int, float] = {}
        self._at_s: float | None = None

    def step(self, view: StationView) -> None:
        power_kw = {gun.gun: max(0.0, _finite(gun.delivered_kw)) for gun in view.report.guns}
        if self._at_s is not None and view.now_s > self._at_s:
            half_h = (view.now_s - self._at_s) / 7200.0
            for gun in self.kwh:
                self.kwh[gun] += half_h * (self._power_kw.get(gun, 0.0) + power_kw.get(gun, 0.0))
        self._at_s, self._power_kw = view.now_s, power_kw


class FaultWords:
    """Faults as they are told: one keeps its `since_ts`, whatever the clock on the wall does meanwhile."""

    def __init__(self) -> None:
        self._since_ts: dict[tuple[str, str, float], float] = {}

    def of(self, fault: FaultReport, offset_s: float) -> Words:
        key = fault.code, fault.id, fault.since_s
        since_ts = self._since_ts.setdefault(key, _stamp(fault.since_s + offset_s))
        while len(self._since_ts) > REMEMBERED:
            del self._since_ts[next(iter(self._since_ts))]
        ended_ts = None if fault.ended_s is None else max(since_ts, _stamp(fault.ended_s + offset_s))
        return {
            "code": fault.code,
            "severity": fault.severity.value,
            "scope": fault.scope.value,
            "id": fault.id,
            "text": fault.text,
            "since_ts": since_ts,
            "ended_ts": ended_ts,
            "latched": FaultCode[fault.code].latch is Latch.PERSON,
        }


class Feed:
    """Counts energy and snapshots, and words each of them."""

    def __init__(self, about: About) -> None:
        self.lost = 0  # snapshots that nobody took
        self._about = about
        self._seq = 0
        self._meter = EnergyMeter(about.gun_max_kw)
        self._faults = FaultWords()
        self._device_of = {gun: (name, n) for name, guns in about.devices.items() for n, gun in enumerate(guns, 1)}

    def count(self, view: StationView) -> None:
        """Take over what was delivered until this view, told or not."""
        self._meter.step(view)

    def fault(self, fault: FaultReport, offset_s: float) -> Words:
        """A fault that was raised or has ended."""
        return self._faults.of(fault, offset_s)

    def snapshot(self, seen: Seen) -> Words:
        """All that is known, as schema.Snapshot."""
        self._seq += 1
        return {
            "ts": _stamp(seen.view.now_s + seen.offset_s),
            "seq": self._seq,
            "station": self._station(seen),
            "guns": self._guns(seen.view),
            "modules": _modules(seen),
            "crosspoints": _crosspoints(seen.view, self._about.module_count),
            "faults": [self._faults.of(fault, seen.offset_s) for fault in seen.view.report.faults],
        }

    def _station(self, seen: Seen) -> Words:
        about, view, report = self._about, seen.view, seen.view.report
        return {
            "station_id": about.station_id,
            "version": about.version,
            "run": about.run,
            "started_ts": about.started_ts,
            "state": report.state.value,
            "armed": seen.armed,
            "mqtt": seen.mqtt,
            "emergency_stop_healthy": view.emergency_stop_healthy,
            "power_kw": _round(report.power_kw, 3),
            "energy_kwh": _round(sum(self._meter.kwh.values()), 4),
            "site_limit_kw": _round_or_none(report.site_limit_kw, 3),
            "rule": view.rule.value,
            "draining": view.draining,
            "module_kw": about.module_kw,
            "modules_available": report.modules_available,
            "modules_heard": seen.modules_heard,
            "contactors_closed": seen.contactors_closed,
            "slowest_step_s": _round(view.slowest_step_s, 4),
            "step_age_s": _round(max(0.0, seen.now_s - seen.stepped_at_s), 3),
            "loss_kw_without_module": {
                str(module): {str(gun): _round(kw, 3) for gun, kw in guns.items()}
                for module, guns in seen.losses_kw.items()
            },
            "lost_snapshots": self.lost,
            "can": _can(view),
            "messages": {"accepted": seen.accepted, "rejected": dict(seen.rejected)},
        }

    def _guns(self, view: StationView) -> list[Words]:
        reports = {report.gun: report for report in view.report.guns}
        return [self._gun(gun, seen, reports.get(gun), view.now_s) for gun, seen in enumerate(view.guns, 1)]

    def _gun(self, gun: int, view: GunView, report: GunReport | None, now_s: float) -> Words:
        """`report`: None before the first decision."""
        values = view.values
        device, device_gun_id = self._device_of.get(gun, (None, None))
        code, _, sentence = (report.reason if report is not None else _STARTING).partition(" ")
        return {
            "gun": gun,
            "device": device,
            "device_gun_id": device_gun_id,
            "state": (report.state if report is not None else GunState.IDLE).value,
            "vehicle_status": values.status.value,
            "soc_pct": _round_or_none(values.soc_pct, 2),
            "asked_kw": _round(values.demand_kw or 0.0, 3),
            "allocated_kw": _round(report.allocated_kw if report is not None else 0.0, 3),
            "delivered_kw": _round(report.delivered_kw if report is not None else 0.0, 3),
            "current_a": _round(view.current_a, 2),
            "voltage_v": _round_or_none(view.bus_v, 2),
            "energy_kwh": _round(self._meter.kwh[gun], 4),
            "modules": list(report.modules) if report is not None else [],
            "reason_code": code,
            "reason": sentence,
            "eta_next_module_s": _round_or_none(report.eta_next_module_s, 1) if report is not None else None,
            "max_power_kw": self._about.gun_max_kw[gun],
            "commanded_kw": _round_or_none(view.commanded_kw, 3),
            "kept_out": view.kept_out,
            "target_voltage_v": _round_or_none(values.target_voltage_v, 2),
            "voltage_limit_v": _round_or_none(values.voltage_limit_v, 2),
            "current_limit_a": _round_or_none(values.current_limit_a, 2),
            "heard_s": _since(view.heard_at_s, now_s),
        }


# --- modules ----------------------------------------------------------------------------------------------------------


def _modules(seen: Seen) -> list[Words]:
    view = seen.view
    worn = view.worn
    hours, kwh, starts = (_worn(worn, f"module_{what}") for what in ("hours", "kwh", "starts"))
    return [
        {
            **_module(status, view.now_s),
            "state": _state(status.state, view.enabled[index]).value,
            "usable": view.usable[index],
            "gun": view.seats[index][1] or None,
            "stage": view.seats[index][0].words,
            "temperature_c": _round_or_none(hottest_c(seen.details[index] if index < len(seen.details) else {}), 1),
            "hours": _round(hours[index], 1),
            "energy_kwh": _round(kwh[index], 1),
            "starts": int(starts[index]),
        }
        for index, status in enumerate(view.modules)
    ]


def _module(status: ModuleStatus, now_s: float) -> Words:
    return {
        "module": status.module,
        "voltage_v": _round_or_none(status.voltage_v, 2),
        "current_a": _round_or_none(status.current_a, 2),
        "power_kw": _round((status.voltage_v or 0.0) * (status.current_a or 0.0) / 1000.0, 3),
        "serial": status.serial,
        "alarms": list(status.alarms),
        "warnings": list(status.warnings),
        "heard_s": _since(status.heard_at_s, now_s),
    }


def _state(state: ModuleState, enabled: bool) -> ModuleState:
    """The controller of the modules does not know what a person commanded; one that still delivers is on."""
    return ModuleState.DISABLED if state is ModuleState.OFF and not enabled else state


def _worn(worn: Mapping[str, object], name: str) -> Sequence[float]:
    values = worn[name]
    assert isinstance(values, list)
    return values


# --- crosspoints and CAN ----------------------------------------------------------------------------------------------


def _crosspoints(view: StationView, module_count: int) -> list[Words]:
    """Gun by gun, each with its modules in order."""
    faults = _out_of_service(view.report.faults)
    worn = view.worn["contactors"]
    assert isinstance(worn, dict)
    return [
        _crosspoint(Crosspoint(index // module_count + 1, index % module_count + 1), state, view, index, faults, worn)
        for index, state in enumerate(view.contacts)
    ]


def _crosspoint(
    place: Crosspoint,
    state: ContactState,
    view: StationView,
    index: int,
    faults: Mapping[str, str],
    worn: Mapping[str, Mapping[str, int]],
) -> Words:
    name = str(place)
    operations = worn.get(name, {})
    return {
        "gun": place.gun,
        "module": place.module,
        "commanded": bool(view.coils >> index & 1),
        "state": _CROSSPOINT_STATES[state],
        "fault": faults.get(name),
        "unloaded": operations.get("unloaded", 0),
        "loaded": operations.get("loaded", 0),
    }


def _out_of_service(faults: Iterable[FaultReport]) -> dict[str, str]:
    """Crosspoint -> the first fault that stands there until a person ends it; what passes by itself is left out."""
    found: dict[str, str] = {}
    for fault in faults:
        if fault.scope is Scope.CROSSPOINT and FaultCode[fault.code].latch is Latch.PERSON:
            found.setdefault(fault.id, fault.code)
    return found


def _can(view: StationView) -> Words:
    can = view.can
    return {
        "up": can.up,
        "load_1s_pct": _round(can.load_1s_pct, 2),
        "load_10s_pct": _round(can.load_10s_pct, 2),
        "sent": can.sent,
        "received": can.received,
        "send_failures": can.send_failures,
        "rejected": can.rejected,
        "foreign": can.foreign,
        "bus_offs": can.bus_offs,
    }


# --- numbers and lines ------------------------------------------------------------------------------------------------


def line(content: Mapping[str, object]) -> bytes:
    """One line for the pipe. JSON has no line break of its own, and those inside texts are escaped."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _round(value: float, digits: int) -> float:
    """A number that is none must not break the line of all."""
    return round(_finite(value), digits)


def _round_or_none(value: float | None, digits: int) -> float | None:
    return round(value, digits) if value is not None and math.isfinite(value) else None


def _since(at_s: float | None, now_s: float) -> float | None:
    return None if at_s is None else _round(max(0.0, now_s - at_s), 2)


def _stamp(ts: float) -> float:
    return _round(ts, 3)
