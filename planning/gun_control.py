"""Job: one gun between its device and its drive: age of what was told, session, emergency, what the drive may have.

Thread: control (or any one at a time). Lock: none. Units: kW, V, A, s (monotonic).
"""

from __future__ import annotations

import math

from planning.drive import Drive, DriveLimits
from planning.model import GunSnapshot, GunValues, VehicleStatus
from planning.settings import Settings

#: A told bus voltage counts for this long: devices repeat what they say at least every 10 s.
TOLD_FRESH_S = 10.0
#: Two told voltages this far apart in time and this close in volts show a bus that something holds up; a bleeder
#: takes a bus from 1000 V to 60 V within 5 s.
BLEEDER_S = 5.0
#: While a car is there the dispenser's output contactor lets go only when the current has gone, up to so long after we
#: fed the bus last; until then the car holds the bus up.
OUTPUT_OPENS_S = 5.0
STEADY_APART_S = 2.0
STEADY_WITHIN_V = 5.0
#: Rule 7.2/7.8: a car that is not charging yet gets no more than this (cable check, precharge).
PRECHARGE_A = 2.0
#: Above this current "no car" is an emergency (IEC 61851-23 as open implementations cite it: 5 A).
UNPLUGGED_LIVE_A = 5.0
#: A lower voltage limit than this runs a module with two ranges in the low one.
LOW_RANGE_BELOW_V = 480.0

_PRESENT = (VehicleStatus.NEVER_TOLD, VehicleStatus.WAITING, VehicleStatus.CHARGING)


class GunControl:
    """What the control thread knows and remembers of one gun."""

    def __init__(self, gun: int, settings: Settings, limits: DriveLimits) -> None:
        self.gun = gun
        self.name = f"g{gun}"
        self.values = GunValues()
        self.drive = Drive(limits)
        #: kW that the person or system above allows now; None: no such limit
        self.commanded_kw: float | None = None
        #: the station drains and there was no car here: the next one gets nothing before the draining ends
        self.kept_out = False
        self._draining = False
        #: the device fell silent and its demand is on the way to 0
        self.silent = False
        #: no car was told while current flowed
        self.unplugged_live = False
        #: when the bus was last told dead; None: never, or it was fed or told alive since
        self.told_dead_at_s: float | None = None
        self._settings = settings
        self._heard_at_s: float | None = None
        self._bus_told_at_s: float | None = None
        self._silent_since_s: float | None = None
        self._driven_at_s = float("-inf")
        #: when the last car left: what was told of the bus before says nothing of the next one's
        self._left_at_s = float("-inf")
        #: the last two told bus voltages that lie STEADY_APART_S apart: (when, V)
        self._told: tuple[float, float] | None = None
        self._told_before: tuple[float, float] | None = None
        #: a fault was told since the last look, though it may be over
        self._fault_told = False

    # --- what the device told -------------------------------------------------------------------------------------

    def take(self, snapshot: GunSnapshot, measured_a: float) -> None:
        """Take over what the gun says now; `measured_a`: what flows to the gun."""
        before, self.values = self.values.status, snapshot.values
        self.hear(snapshot)
        status = self.values.status
        if status is VehicleStatus.NEVER_TOLD and not self.values.demand_kw:
            self.drive.end_session()  # such a gun has nothing but its demand to tell one car from the next
            self.kept_out = self._draining
        if status is before:
            return
        self.drive.new_status()
        self._fault_told = self._fault_told or status is VehicleStatus.FAULT
        if status is VehicleStatus.WAITING:
            self.drive.end_session()
        if status is VehicleStatus.NO_CAR:
            self._left_at_s, self._told, self._told_before = snapshot.heard_at_s or self._left_at_s, None, None
            self.drive.end_session()
            self.kept_out = self._draining
            self.unplugged_live = measured_a > UNPLUGGED_LIVE_A
        elif status is not VehicleStatus.FAULT:
            self.unplugged_live = False

    def hear(self, snapshot: GunSnapshot) -> None:
        """Renew the ages alone: the device repeated what it had said."""
        self._heard_at_s = snapshot.heard_at_s
        self._bus_told_at_s = snapshot.bus_voltage_at_s
        bus_v = snapshot.values.bus_voltage_v
        if bus_v is None or self._bus_told_at_s is None:
            return
        dead = bus_v < self._settings.safety.dead_voltage_v
        self.told_dead_at_s = self._bus_told_at_s if dead and self._bus_told_at_s > self._driven_at_s else None
        if self._bus_told_at_s <= self._left_at_s:
            return
        if self._told is None or self._bus_told_at_s - self._told[0] >= STEADY_APART_S:
            self._told_before, self._told = self._told, (self._bus_told_at_s, bus_v)

    def grow_old(self, now_s: float) -> bool:
        """Watch the age; True at the moment at which the gun's demand is to be forgotten."""
        timeout_s = self._settings.safety.demand_timeout_s
        asked = bool(self.values.demand_kw) or bool(self.values.target_voltage_v)
        old = timeout_s > 0 and self._heard_at_s is not None and now_s - self._heard_at_s > timeout_s
        if not (old and asked):
            self.silent = old and self.silent
            self._silent_since_s = None
            return False
        self.silent = True
        if self._silent_since_s is None:
            self._silent_since_s = now_s
        return now_s - self._silent_since_s >= self._settings.safety.demand_ramp_s

    def ramp_down(self, now_s: float) -> float:
        """1 while the device is heard, falling to 0 within demand_ramp once it is silent."""
        if self._silent_since_s is None:
            return 1.0
        return max(0.0, 1.0 - (now_s - self._silent_since_s) / self._settings.safety.demand_ramp_s)

    @property
    def heard_at_s(self) -> float | None:
        """When any valid message of this gun last came; None: never."""
        return self._heard_at_s

    # --- what follows from it --------------------------------------------------------------------------------------

    def fed(self, now_s: float) -> None:
        """A module drives the bus, or may: what was told of it before proves nothing any more."""
        self._driven_at_s = now_s
        self.told_dead_at_s = None

    def told_bus_v(self, now_s: float) -> float | None:
        """Told, fresh, and after the bus was last fed by us. None: nothing that counts was told."""
        told_at_s = self._bus_told_at_s
        if told_at_s is None or now_s - told_at_s > TOLD_FRESH_S or told_at_s <= self._driven_at_s:
            return None
        return self.values.bus_voltage_v

    def dead_bus_at_s(self, now_s: float) -> float | None:
        """When the bus was last told dead; None: not lately, or it was fed or told alive since."""
        told_at_s = self.told_dead_at_s
        return told_at_s if told_at_s is not None and now_s - told_at_s <= TOLD_FRESH_S else None

    def charged_bus_v(self, now_s: float, dead_voltage_v: float) -> float | None:
        """Told above dead_voltage although we have not fed the bus for longer than its bleeder needs; else None.

        The bleeder's time begins when nobody feeds the bus any more: with a car there OUTPUT_OPENS_S later.
        """
        told_v, told_at_s = self.told_bus_v(now_s), self._bus_told_at_s
        if told_v is None or told_at_s is None or told_v < dead_voltage_v:
            return None
        dead_after_s = BLEEDER_S if self.values.status is VehicleStatus.NO_CAR else BLEEDER_S + OUTPUT_OPENS_S
        return told_v if told_at_s - self._driven_at_s > dead_after_s else None

    def told_steady_v(self, now_s: float) -> float | None:
        """Told twice, seconds apart, the same: a bus that a car holds up, not one that its bleeder empties."""
        newest_v, last, before = self.told_bus_v(now_s), self._told, self._told_before
        if newest_v is None or last is None or before is None or before[0] <= self._driven_at_s:
            return None
        if now_s - before[0] > 2 * TOLD_FRESH_S:
            return None
        steady = abs(newest_v - before[1]) < STEADY_WITHIN_V and abs(last[1] - before[1]) < STEADY_WITHIN_V
        return newest_v if steady else None

    @property
    def present(self) -> bool:
        """A car may be asking for something."""
        return self.values.status in _PRESENT

    @property
    def precharging(self) -> bool:
        """A voltage is told but no charging yet: 2 A at most."""
        if not self.present or not self.values.target_voltage_v:
            return False
        return not self.values.demand_kw or self.values.status is VehicleStatus.WAITING

    @property
    def charging(self) -> bool:
        """Power is asked for now."""
        asked = self.values.status in (VehicleStatus.CHARGING, VehicleStatus.NEVER_TOLD)
        return asked and bool(self.values.demand_kw)

    @property
    def emergency(self) -> bool:
        """The emergency order stands for this gun alone."""
        faulted = self._fault_told or self.values.status is VehicleStatus.FAULT
        return faulted or self.unplugged_live or self.drive.over_limit

    def fault_answered(self) -> None:
        """The emergency order for a fault that was told has been given; it may end when the status has."""
        self._fault_told = False

    def drain(self, draining: bool) -> None:
        """While the station drains a gun without a car takes none in; one that has a car serves it to its end."""
        never_told = self.values.status is VehicleStatus.NEVER_TOLD and not self.values.demand_kw
        free = never_told or self.values.status is VehicleStatus.NO_CAR
        self._draining = draining
        self.kept_out = draining and (self.kept_out or free)

    @property
    def max_current_a(self) -> float:
        told_a = self.values.current_limit_a
        limit_a = self._settings.power_limits.gun_max_current_a[self.gun]
        return limit_a if told_a is None else min(limit_a, told_a)

    def electrical_limit_kw(self) -> int:
        """Current limit x bus voltage in whole kW, rounded up (the drive keeps to the exact A); -1: binds nothing."""
        # a bus on its way up says nothing yet: what counts is where current flows, or where the car wants to be, else
        # the highest that it may come to
        values, most_v = self.values, self._settings.general.max_output_voltage_v
        charging_v = self.drive.conducting_v or values.target_voltage_v or min(values.voltage_limit_v or most_v, most_v)
        limit_kw = math.ceil(self.max_current_a * charging_v / 1000.0)
        return limit_kw if limit_kw < self._settings.power_limits.gun_max_power_kw[self.gun] else -1

    def drive_limits(self, target_kw: float, share_kw: float | None, now_s: float) -> tuple[float, float]:
        """(kW, A) that the gun may have now, at most."""
        if self.precharging:
            settings, commanded_kw = self._settings, self.commanded_kw
            most_kw = min(settings.general.module_power_capacity_kw, settings.power_limits.gun_max_power_kw[self.gun])
            most_kw = most_kw if commanded_kw is None else min(most_kw, commanded_kw)
            return most_kw, min(PRECHARGE_A, self.max_current_a)
        limit_kw = target_kw if share_kw is None else min(target_kw, share_kw)
        return limit_kw * self.ramp_down(now_s), self.max_current_a

    @property
    def low_range(self) -> bool:
        """voltage_range = auto: the low range does for this car."""
        limit_v = self.values.voltage_limit_v
        return limit_v is not None and limit_v <= LOW_RANGE_BELOW_V
