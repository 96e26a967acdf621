"""Job: the dispenser devices D1 to D3 as the station meets them: what they tell over MQTT, and their output
contactors.

Thread: that of the plant (no lock; `hear` may be called from another thread, it only replaces one value). Units: kW,
V, A, %, s monotonic. A device works with three values (status, soc, demand); a full one tells voltages too and
precharges.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from simulator.arrivals import Arrival
from simulator.gun_bus import Battery, FixedBattery
from simulator.vehicle import INLET_A, Car

log = logging.getLogger(__name__)

#: (topic, payload)
Told = tuple[str, str]

DEVICES: Mapping[str, tuple[int, ...]] = {"D1": (1, 2), "D2": (3, 4), "D3": (5, 6)}

REPEAT_S = 5.0
#: A value that jumps is told this often at most; a status always at once. One that only drifts waits to be repeated.
CHANGE_S = 1.0
DRIFT_SHARE = 0.05
#: Cable lock, talk between car and dispenser, cable check.
PREPARE_S = 4.0
CLOSE_AFTER_S = 0.2
#: The output contactor opens below this, or when nobody took the current away for so long.
OPEN_BELOW_A = 1.0
OPEN_ANYWAY_S = 5.0
#: A full device closes its contactor onto the battery within this difference (precharge of IEC 61851-23).
PRECHARGED_V = 20.0
#: Somebody who types a demand by hand is taken for gone this long after the last one (demand_timeout and a little).
HAND_S = 70.0
#: The driver needs a moment to unplug, and does it with the contactor open.
UNPLUG_S = 5.0


class Dispenser(Protocol):
    """What a device drives and measures; the Plant offers it."""

    def plug(self, gun: int, battery: Battery | None, now_s: float) -> None: ...
    def set_output(self, gun: int, closed: bool, now_s: float) -> None: ...
    def bus_voltage_v(self, gun: int) -> float: ...
    def bus_current_a(self, gun: int) -> float: ...
    def has_modules(self, gun: int) -> bool: ...


class OutputRule(Enum):
    """When a plain device closes its output contactor."""

    TOLD = "told"  # the station's allocation message names modules
    SEEN = "seen"  # a contactor of the gun is closed


class Session(Enum):
    """Where a gun's visit stands; the value is the status word that the device sends."""

    FREE = "available"
    PREPARING = "preparing"
    CHARGING = "charging"
    FINISHING = "finishing"


@dataclass(slots=True)
class _LastTold:
    text: str
    at_s: float


class HandCar(FixedBattery):
    """The car of somebody who types the demand: 640 V, never full, takes what it gets."""

    soc_pct = 50.0
    voltage_limit_v = 800.0
    full = False

    def __init__(self) -> None:
        super().__init__(640.0)

    def wanted_kw(self) -> float:
        return 0.0


class ChargingPoint:
    """One gun's half of a device: the car on it, the session, the output contactor."""

    def __init__(self, gun: int, dispenser: Dispenser, full: bool, rule: OutputRule) -> None:
        self.gun = gun
        self.session = Session.FREE
        self.car: Car | HandCar | None = None
        self.output_closed = False
        self.modules_told = False
        self.faulted = False
        #: until when somebody asks for power by hand on this gun; the device itself keeps quiet so long
        self.by_hand_until_s: float | None = None
        #: the station says that the car takes nothing: the driver will not wait for more
        self.no_load_told = False
        self._dispenser = dispenser
        self._full = full
        self._rule = rule
        self._since_s = 0.0  # when the session came to where it stands
        self._prepared = False  # cable check done, voltage may be asked for
        self._modules_since_s: float | None = None
        self._none_since_s: float | None = None

    def plug_in(self, car: Car, now_s: float) -> None:
        """A car arrives. Raises RuntimeError when the gun is taken."""
        if self.car is not None:
            raise RuntimeError(f"gun {self.gun} has a car already")
        self.car = car
        self._dispenser.plug(self.gun, car, now_s)
        self._enter(Session.PREPARING, now_s)

    def unplug(self, now_s: float) -> None:
        """The car leaves, in order or not."""
        self._move_output(False, now_s)
        self._dispenser.plug(self.gun, None, now_s)
        self.car = None
        self.by_hand_until_s = None
        self._enter(Session.FREE, now_s)

    def ask_by_hand(self, now_s: float) -> None:
        """Somebody typed a demand for this gun: a car that takes whatever it gets stands there, as long as they ask."""
        if self.car is None:
            self.car = HandCar()
            self._dispenser.plug(self.gun, self.car, now_s)
            self._enter(Session.CHARGING, now_s)
            self.by_hand_until_s = now_s
        if self.by_hand_until_s is not None:
            self.by_hand_until_s = now_s + HAND_S

    def step(self, now_s: float) -> None:
        """Move the session and the output contactor on."""
        self._step_output(now_s)
        if self.car is not None:
            self._step_session(self.car, now_s)

    def values(self) -> dict[str, str]:
        """What the device tells now: message type to payload."""
        if self.by_hand_until_s is not None:
            return {"vehicle_status": Session.CHARGING.value}
        status = "faulted" if self.faulted else self.session.value
        values = {"vehicle_status": status, "demand": f"{self._demand_kw():.1f}"}
        if self.car is not None:
            values["soc"] = f"{self.car.soc_pct:.0f}"
        if self._full:
            values |= self._voltages()
        return values

    def _voltages(self) -> dict[str, str]:
        car = self.car
        limits = {"voltage_limit": f"{car.voltage_limit_v:.1f}", "current_limit": f"{INLET_A:.0f}"} if car else {}
        return limits | {
            "target_voltage": f"{self._target_v():.1f}",
            "bus_voltage": f"{self._dispenser.bus_voltage_v(self.gun):.1f}",
        }

    def _demand_kw(self) -> float:
        charging = self.car is not None and self.session is Session.CHARGING and not self.faulted
        return self.car.wanted_kw() if charging and self.car is not None else 0.0

    def _target_v(self) -> float:
        """Battery voltage until the contactor is closed (precharge), then the highest that the pack allows."""
        if self.car is None or self.session is Session.FINISHING or not self._precharging():
            return 0.0
        return self.car.voltage_limit_v if self.output_closed else self.car.ocv_v()

    def _precharging(self) -> bool:
        return self.session is Session.CHARGING or self._prepared

    def _enter(self, session: Session, now_s: float) -> None:
        self.session, self._since_s = session, now_s
        self._prepared = self.no_load_told = False

    def _step_session(self, car: Car | HandCar, now_s: float) -> None:
        for_s = now_s - self._since_s
        if self.by_hand_until_s is not None:
            if now_s >= self.by_hand_until_s and not self.output_closed:
                self.unplug(now_s)
        elif self.session is Session.PREPARING and for_s >= PREPARE_S:
            self._prepared = True
            if not self._full or self.output_closed:
                self._enter(Session.CHARGING, now_s)
        elif self.session is Session.CHARGING and (car.full or self.no_load_told):
            self._enter(Session.FINISHING, now_s)
        elif self.session is Session.FINISHING and for_s >= UNPLUG_S and not self.output_closed:
            self.unplug(now_s)

    # --- output contactor ---------------------------------------------------------------------------------------------

    def _step_output(self, now_s: float) -> None:
        has_modules = self._dispenser.has_modules(self.gun) if self._rule is OutputRule.SEEN else self.modules_told
        if has_modules and self.session is not Session.FREE:
            self._none_since_s = None
            self._modules_since_s = now_s if self._modules_since_s is None else self._modules_since_s
            if not self.output_closed and now_s - self._modules_since_s >= CLOSE_AFTER_S and self._may_close():
                self._move_output(True, now_s)
            return
        self._modules_since_s = None
        self._none_since_s = now_s if self._none_since_s is None else self._none_since_s
        unloaded = self._dispenser.bus_current_a(self.gun) < OPEN_BELOW_A
        if self.output_closed and (unloaded or now_s - self._none_since_s >= OPEN_ANYWAY_S):
            self._move_output(False, now_s)

    def _may_close(self) -> bool:
        if self.car is None or self.faulted:
            return False
        if not self._full:
            return self.session is Session.CHARGING
        off_v = abs(self._dispenser.bus_voltage_v(self.gun) - self.car.ocv_v())
        return self._precharging() and off_v <= PRECHARGED_V

    def _move_output(self, closed: bool, now_s: float) -> None:
        self.output_closed = closed
        self._dispenser.set_output(self.gun, closed, now_s)


class Device:
    """One MQTT device with its guns; gun_id n in its topics is the n-th of `guns`."""

    def __init__(
        self,
        name: str,
        guns: Iterable[int],
        dispenser: Dispenser,
        *,
        full: bool = False,
        rule: OutputRule = OutputRule.TOLD,
        topic_root: str = "vesec",
    ) -> None:
        """`full`: it tells voltages and limits too; `rule`: what makes a plain one close its output contactor."""
        self.name = name
        self.points = [ChargingPoint(gun, dispenser, full, rule) for gun in guns]
        self.silent = False  # hook: the device tells nothing more, its contactors stay as they are
        self._root = topic_root
        self._allocations = {f"{topic_root}/{point.gun}/allocation/central": point for point in self.points}
        self._demands = {f"{topic_root}/{n}/demand/{name}": point for n, point in enumerate(self.points, 1)}
        self._told: dict[str, _LastTold] = {}
        self._free_told: dict[int, tuple[tuple[Session, bool], float]] = {}

    def hear(self, topic: str, payload: str | bytes) -> None:
        """Take a message of the station; anything but an allocation of its own guns is ignored."""
        point = self._allocations.get(topic)
        if point is None:
            return
        try:
            content = json.loads(payload)
            modules, reason = content["modules"], str(content.get("reason", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            log.warning("Device %s cannot read the allocation on %s", self.name, topic)
            return
        point.modules_told = bool(modules)
        point.no_load_told = reason.startswith("NO_LOAD")

    def overhear(self, topic: str, payload: bytes, now_s: float) -> None:
        """Take a demand as it went to the station: one that is not the device's own was typed by a person."""
        point = self._demands.get(topic)
        if point is None or (point.car is not None and point.by_hand_until_s is None):
            return
        try:
            asked = float(payload) > 0.0
        except ValueError:
            return
        if asked:
            point.ask_by_hand(now_s)

    def step(self, now_s: float) -> list[Told]:
        """Move on to `now_s` and say what there is to say. Call every 0.1 s or so."""
        messages: list[Told] = []
        for gun_id, point in enumerate(self.points, 1):
            point.step(now_s)
            if self._nothing_new(point, now_s):
                continue
            for kind, text in point.values().items():
                topic = f"{self._root}/{gun_id}/{kind}/{self.name}"
                once = point.by_hand_until_s is not None and topic in self._told and self._told[topic].text == text
                if not (self.silent or once) and self._is_due(topic, text, now_s, kind == "vehicle_status"):
                    self._told[topic] = _LastTold(text, now_s)
                    messages.append((topic, text))
        return messages

    def _nothing_new(self, point: ChargingPoint, now_s: float) -> bool:
        """A gun without a car has only its repetitions to tell."""
        state = (point.session, point.faulted)
        told = self._free_told.get(point.gun)
        if point.car is None and told is not None and told[0] == state and now_s - told[1] < REPEAT_S:
            return True
        self._free_told[point.gun] = (state, now_s)
        return False

    def _is_due(self, topic: str, text: str, now_s: float, urgent: bool) -> bool:
        last = self._told.get(topic)
        if last is None:
            return True
        age_s = now_s - last.at_s
        return age_s >= REPEAT_S or (text != last.text and (urgent or (age_s >= CHANGE_S and _jumped(last.text, text))))


def _jumped(before: str, after: str) -> bool:
    try:
        old, new = float(before), float(after)
    except ValueError:
        return True
    return abs(new - old) > DRIFT_SHARE * max(old, new)


class Forecourt:
    """All devices, and the cars of a timetable; a car that finds every gun taken waits for the next free one."""

    def __init__(self, devices: Iterable[Device], arrivals: Iterable[Arrival], start_s: float = 0.0) -> None:
        self.devices = list(devices)
        self.served = 0
        self._start_s = start_s
        self._coming = sorted(arrivals, key=lambda arrival: arrival.at_s)
        self._points = {point.gun: point for device in self.devices for point in device.points}

    def hear(self, topic: str, payload: str | bytes) -> None:
        """Hand a message of the station to every device."""
        for device in self.devices:
            device.hear(topic, payload)

    def overhear(self, topic: str, payload: bytes, now_s: float) -> None:
        """Show a demand on its way to the station to every device."""
        for device in self.devices:
            device.overhear(topic, payload, now_s)

    def step(self, now_s: float) -> list[Told]:
        """Let cars arrive, then every device say what it has to say."""
        while self._coming and self._start_s + self._coming[0].at_s <= now_s:
            point = self._free_point(self._coming[0])
            if point is None:
                break
            point.plug_in(self._coming.pop(0).car(), now_s)
            self.served += 1
        return [message for device in self.devices for message in device.step(now_s)]

    def _free_point(self, arrival: Arrival) -> ChargingPoint | None:
        for gun in arrival.guns_tried:
            point = self._points.get(gun)
            if point is not None and point.session is Session.FREE:
                return point
        return None


#: D1 tells no more than a device must; the others tell voltages and limits too, as most do.
PLAIN = frozenset({"D1"})


def default_devices(
    dispenser: Dispenser,
    *,
    plain: Collection[str] = PLAIN,
    rule: OutputRule = OutputRule.TOLD,
    topic_root: str = "vesec",
) -> list[Device]:
    """D1 (guns 1, 2), D2 (3, 4), D3 (5, 6). `plain`: those that tell status, soc and demand only."""
    return [
        Device(name, guns, dispenser, full=name not in plain, rule=rule, topic_root=topic_root)
        for name, guns in DEVICES.items()
    ]
