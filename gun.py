"""Job: one gun: the last accepted values of its device, their age, and who wants to know.

Thread: any; `update` normally on paho's thread, `forget_demand` on the control thread. Lock: one, held to copy.
Units: in the names; times are monotonic seconds.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from planning.model import GunSnapshot, GunValues, ValueKind, VehicleStatus

log = logging.getLogger(__name__)

Observer = Callable[[GunSnapshot], None]

#: The field of GunValues that each kind of message sets.
FIELDS: dict[ValueKind, str] = {
    ValueKind.SOC: "soc_pct",
    ValueKind.DEMAND: "demand_kw",
    ValueKind.STATUS: "status",
    ValueKind.TARGET_VOLTAGE: "target_voltage_v",
    ValueKind.BUS_VOLTAGE: "bus_voltage_v",
    ValueKind.VOLTAGE_LIMIT: "voltage_limit_v",
    ValueKind.CURRENT_LIMIT: "current_limit_a",
}


#: What was told of a car and goes with it.
OF_THE_CAR: dict[str, None] = dict.fromkeys(("target_voltage_v", "voltage_limit_v", "current_limit_a"))
#: What must not outlive a silent device.
OF_THE_DEVICE: dict[str, None] = dict.fromkeys(("demand_kw", "target_voltage_v", "bus_voltage_v"))


class Gun:
    """What gun `number` (as the station counts, from 1) was last told. It judges nothing, not even the age."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._lock = threading.Lock()
        self._told: dict[str, Any] = asdict(GunValues())  # by field: replace() of a frozen one takes five times as long
        self._heard_at_s: float | None = None
        self._bus_voltage_at_s: float | None = None
        self._observers: tuple[Observer, ...] = ()

    def subscribe(self, observer: Observer) -> None:
        """Call `observer` with the snapshot after each change, on the thread that changed. Any thread.

        The lock is free by then, so two threads' snapshots may arrive in either order; `snapshot()` is the newest.
        """
        with self._lock:
            self._observers = (*self._observers, observer)

    def snapshot(self) -> GunSnapshot:
        """The values and their ages at this moment. Any thread."""
        with self._lock:
            return self._copy()

    def update(self, kind: ValueKind, value: float | VehicleStatus, now_s: float) -> bool:
        """Take an accepted value (unit and range as its kind says) and renew the gun's age; True when it changed.

        A target_voltage of 0 means that the car asks for none, and is kept as None. Any thread.
        """
        field, said = FIELDS[kind], None if kind is ValueKind.TARGET_VOLTAGE and value == 0 else value
        with self._lock:
            self._heard_at_s = now_s
            if kind is ValueKind.BUS_VOLTAGE:
                self._bus_voltage_at_s = now_s
            if self._told[field] == said:
                return False
            self._told[field] = said
            if said is VehicleStatus.NO_CAR:
                self._told |= OF_THE_CAR  # the next car shall not get what this one asked for
            snapshot, observers = self._copy(), self._observers
        self._tell(snapshot, observers)
        return True

    def touch(self, now_s: float) -> None:
        """Renew the age alone: the device was heard, nothing new was said. Any thread."""
        with self._lock:
            self._heard_at_s = now_s

    def forget_demand(self) -> bool:
        """Forget what must not outlive a silent device: demand, target and bus voltage. Any thread.

        Status, soc and limits stay. A repeated demand then counts as a change, which brings service back.
        Observers are called when something was forgotten, and True is returned.
        """
        with self._lock:
            if all(self._told[field] is None for field in OF_THE_DEVICE):
                return False
            self._told |= OF_THE_DEVICE
            self._bus_voltage_at_s = None
            snapshot, observers = self._copy(), self._observers
        self._tell(snapshot, observers)
        return True

    def _copy(self) -> GunSnapshot:
        return GunSnapshot(self.number, GunValues(**self._told), self._heard_at_s, self._bus_voltage_at_s)

    def _tell(self, snapshot: GunSnapshot, observers: tuple[Observer, ...]) -> None:
        for observer in observers:
            try:
                observer(snapshot)
            except Exception:
                log.exception("Gun %s: an observer failed; the others are still told", self.number)
