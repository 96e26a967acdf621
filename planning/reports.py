"""Job: what the station publishes: which messages are due now, and how they read.

Thread: the caller's, one at a time (pure; no clock). Lock: none. Units: kW and % as the JSON keys say; `now_s` is
monotonic and decides what is due, `wall_s` is Unix seconds and only becomes `ts`.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from planning.model import FaultReport, GunReport, StationReport, StationState
from planning.payload import Rejection

#: A retained allocation counts for this long; a dispenser that has an older one must not rely on it.
VALID_S = 25
#: Everything is said again after this long, changed or not.
REPEAT_S = 10.0
#: A topic is published at most twice within this time; what changes meanwhile waits and goes out in one.
BURST_S = 1.0
BURST = 2
#: A change of power smaller than this is no news.
POWER_STEP_KW = 1.0
#: So much of a text that another program wrote is passed on.
MOST_TEXT = 400


@dataclass(frozen=True, slots=True)
class OutMessage:
    """One message to be published. QoS 0: telemetry, the newest of a topic counts. QoS 1: must not be lost."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


@dataclass(slots=True)
class Pace:
    """When one topic was published, and what is compared to find news: exact facts, and powers in steps."""

    facts: object = None
    powers_kw: tuple[float, ...] = ()
    sent_at_s: deque[float] = field(default_factory=lambda: deque(maxlen=BURST))

    def wait_s(self, facts: object, powers_kw: tuple[float, ...], now_s: float) -> float:
        """Seconds until this has to be published; 0: now."""
        if not self.sent_at_s:
            return 0.0
        if not self._is_news(facts, powers_kw):
            return max(0.0, self.sent_at_s[-1] + REPEAT_S - now_s)
        if len(self.sent_at_s) < BURST:
            return 0.0
        return max(0.0, self.sent_at_s[0] + BURST_S - now_s)

    def sent(self, facts: object, powers_kw: tuple[float, ...], now_s: float) -> None:
        self.facts, self.powers_kw = facts, powers_kw
        self.sent_at_s.append(now_s)

    def _is_news(self, facts: object, powers_kw: tuple[float, ...]) -> bool:
        moved = any(abs(new - old) >= POWER_STEP_KW for new, old in zip(powers_kw, self.powers_kw, strict=True))
        return moved or facts != self.facts


class Reports:
    """Turns each new StationReport into the messages that are due; faults are told once, telemetry repeats."""

    def __init__(self, version: str, topic_root: str, devices: Mapping[str, tuple[int, ...]], gun_count: int) -> None:
        """`devices`: device name -> its guns, as in planning.settings.Devices; a gun without device gets nulls."""
        self._version = version
        self._root = topic_root
        self._device_of = {gun: (name, n) for name, guns in devices.items() for n, gun in enumerate(guns, start=1)}
        self._guns = {gun: Pace() for gun in range(1, gun_count + 1)}
        self._station = Pace()
        self._due_at_s = 0.0

    def step(self, now_s: float, wall_s: float, report: StationReport) -> list[OutMessage]:
        """The messages due at `now_s`: fault changes first, then the guns', then the station's."""
        messages = [self.fault(fault, wall_s) for fault in report.news]
        waits_s = [self._gun_step(now_s, wall_s, gun, messages) for gun in report.guns]
        waits_s.append(self._station_step(now_s, wall_s, report, messages))
        self._due_at_s = now_s + min(waits_s)
        return messages

    def due_s(self, now_s: float) -> float:
        """Seconds until `step` is needed again when no new report comes."""
        return max(0.0, self._due_at_s - now_s)

    def renew(self) -> None:
        """Say all telemetry again at the next step: the broker may have forgotten it (after each new connection)."""
        for topic in (*self._guns.values(), self._station):
            topic.sent_at_s.clear()
        self._due_at_s = 0.0

    def rejected(self, rejection: Rejection, wall_s: float) -> OutMessage:
        """What is told about a refused message; MessageProcessor sees to once a second."""
        content = {
            "ts": _stamp(wall_s),
            "topic": rejection.topic,
            "reason": rejection.reason.value,
            "payload": rejection.payload,
        }
        where = "station" if rejection.gun is None else str(rejection.gun)
        return OutMessage(f"{self._root}/{where}/rejected/central", _json(content))

    def update(self, content: Mapping[str, object]) -> OutMessage:
        """What deploy.py wrote about the last update; a key that it left out is null. Any thread."""
        known = {key: _plain(content.get(key)) for key in ("ts", "state", "running", "available", "reason")}
        return OutMessage(f"{self._root}/station/update/central", _json(known), qos=1, retain=True)

    def last_will(self) -> OutMessage:
        """What the broker says for us when we are gone; also our own last word at a planned stop."""
        return last_will(self._root)

    # --- telemetry ------------------------------------------------------------------------------------------------

    def _gun_step(self, now_s: float, wall_s: float, gun: GunReport, messages: list[OutMessage]) -> float:
        facts = (gun.modules, gun.state, gun.reason)
        powers_kw = (gun.demand_kw, gun.allocated_kw, gun.delivered_kw)
        topic = self._guns[gun.gun]
        if topic.wait_s(facts, powers_kw, now_s) <= 0:
            topic.sent(facts, powers_kw, now_s)
            messages.append(self._allocation(wall_s, gun))
        return topic.wait_s(facts, powers_kw, now_s)

    def _allocation(self, wall_s: float, gun: GunReport) -> OutMessage:
        device, device_gun_id = self._device_of.get(gun.gun, (None, None))
        content: dict[str, object] = {
            "ts": _stamp(wall_s),
            "valid_s": VALID_S,
            "device": device,
            "device_gun_id": device_gun_id,
            "demand_kw": _rounded(gun.demand_kw),
            "allocated_kw": _rounded(gun.allocated_kw),
            "delivered_kw": _rounded(gun.delivered_kw),
            "modules": list(gun.modules),
            "state": gun.state.value,
            "reason": gun.reason,
            "soc_pct": _rounded(gun.soc_pct),
        }
        if gun.eta_next_module_s is not None:
            content["eta_next_module_s"] = round(gun.eta_next_module_s)
        return OutMessage(f"{self._root}/{gun.gun}/allocation/central", _json(content), retain=True)

    def _station_step(self, now_s: float, wall_s: float, report: StationReport, messages: list[OutMessage]) -> float:
        faults = tuple((fault.code, fault.id, fault.severity) for fault in report.faults if fault.active)
        facts = (report.state, report.site_limit_kw, report.modules_available, faults)
        powers_kw = (report.power_kw,)
        if self._station.wait_s(facts, powers_kw, now_s) <= 0:
            self._station.sent(facts, powers_kw, now_s)
            messages.append(self._status(wall_s, report))
        return self._station.wait_s(facts, powers_kw, now_s)

    def _status(self, wall_s: float, report: StationReport) -> OutMessage:
        content = {
            "ts": _stamp(wall_s),
            "state": report.state.value,
            "power_kw": _rounded(report.power_kw),
            "site_limit_kw": _rounded(report.site_limit_kw),
            "modules_available": report.modules_available,
            "faults": [_fault_facts(fault) for fault in report.faults if fault.active],
            "version": self._version,
        }
        return OutMessage(status_topic(self._root), _json(content), retain=True)

    # --- faults ---------------------------------------------------------------------------------------------------

    def fault(self, fault: FaultReport, wall_s: float) -> OutMessage:
        """What is told when a fault was raised or has ended. Any thread."""
        content = {"ts": _stamp(wall_s), **_fault_facts(fault), "active": fault.active, "text": fault.text}
        return OutMessage(f"{self._root}/station/fault/central", _json(content), qos=1)


    def fault_line(self, fault: FaultReport, now_s: float, wall_s: float) -> str:
        """The line of faults.log: start and, once it is over, end, in Unix seconds. Any thread."""
        ended = None if fault.ended_s is None else _stamp(wall_s - now_s + fault.ended_s)
        since = {"start": _stamp(wall_s - now_s + fault.since_s), "end": ended}
        return _json({**since, **_fault_facts(fault), "text": fault.text}).decode()


def status_topic(topic_root: str) -> str:
    return f"{topic_root}/station/status/central"


def last_will(topic_root: str) -> OutMessage:
    """The station's status once it is gone, retained."""
    return OutMessage(status_topic(topic_root), _json({"state": StationState.OFFLINE.value}), qos=1, retain=True)


def _fault_facts(fault: FaultReport) -> dict[str, object]:
    return {"code": fault.code, "severity": fault.severity.value, "scope": fault.scope.value, "id": fault.id}


def _plain(value: object) -> str | float | None:
    """A text or a number of a file that another program wrote; anything else must not break the JSON of all."""
    if isinstance(value, str):
        return value[:MOST_TEXT]
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _stamp(wall_s: float) -> float:
    return round(wall_s, 3)


def _rounded(value: float | None) -> float | None:
    """Two decimals are enough for people; a number that is none must not break the JSON of all."""
    return round(value, 2) if value is not None and math.isfinite(value) else None


def _json(content: Mapping[str, object]) -> bytes:
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
