"""Job: the bus bar of one gun as a circuit node: capacitance, bleeder, dispenser contactor, battery, modules in
parallel.

Thread: that of the plant (no lock). Units: V, A, ohm, F, J, s monotonic. Each step solves the node by an implicit
Euler step: C dV/dt = sum of the modules' currents - V/R_bleeder - (V - V_battery)/R_battery, each module being a
current source in its limit, else a voltage source behind its output resistance, and nothing below the bus (diode).
"""

from __future__ import annotations

from math import exp
from typing import Protocol

from simulator.power_module import STEP_S, PowerModule

#: Bus bar and dispenser filter; the bleeder then brings 1000 V to 60 V in 4.5 s (5 s are allowed).
CAPACITANCE_F = 60e-6
BLEEDER_OHM = 26_700.0
#: What is left when the bleeder is broken: insulation and meters. 640 V to 60 V then take minutes.
BROKEN_BLEEDER_OHM = 2_000_000.0
#: Load line of a module in constant voltage: 2.7 V at 133 A.
MODULE_SIEMENS = 50.0
#: The battery is told what it received, and asked for its voltage, this often.
BATTERY_STEPS = 200

_STORE_S = CAPACITANCE_F / STEP_S
_SETTLED_V = 0.005


class Battery(Protocol):
    """What hangs behind the dispenser's output contactor while a car is plugged in."""

    resistance_ohm: float

    def ocv_v(self) -> float:
        """Open-circuit voltage now."""

    def charge(self, energy_kwh: float) -> None:
        """Take this much energy in."""


class FixedBattery:
    """A battery that never fills: one open-circuit voltage for ever."""

    def __init__(self, voltage_v: float, resistance_ohm: float = 0.08) -> None:
        self.resistance_ohm = resistance_ohm
        self.voltage_v = voltage_v

    def ocv_v(self) -> float:
        return self.voltage_v

    def charge(self, energy_kwh: float) -> None:
        del energy_kwh


class GunBus:
    """One gun's bus bar. `modules` are joined by closed contactors, `live` those of them that are on."""

    __slots__ = (
        "_at_s",
        "_battery_j",
        "_bleed_tau_s",
        "_countdown",
        "_node_siemens",
        "_ocv_v",
        "_voltage_v",
        "battery",
        "connected",
        "current_a",
        "energy_j",
        "live",
        "modules",
        "number",
        "peak_a",
        "peak_v",
        "peak_w",
        "power_w",
        "steady",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.battery: Battery | None = None
        self.connected = False  # dispenser's output contactor closed
        self.modules: list[PowerModule] = []
        self.live: list[PowerModule] = []
        self.steady = False
        self.current_a = self.power_w = 0.0
        self.energy_j = 0.0  # delivered to the dispenser since the start
        self.peak_v = self.peak_a = self.peak_w = 0.0
        self._voltage_v = self._at_s = 0.0
        self._ocv_v = self._battery_j = 0.0
        self._countdown = BATTERY_STEPS
        self._set_bleeder(BLEEDER_OHM)

    def voltage_v(self, now_s: float) -> float:
        """Voltage of the bus bar."""
        if self.live:
            return self._voltage_v
        if self.connected and self.battery is not None:
            return self._ocv_v
        return self._voltage_v * exp(-max(0.0, now_s - self._at_s) / self._bleed_tau_s)

    def attach(self, battery: Battery | None, connected: bool, now_s: float) -> None:
        """Plug a car in or out, or move the dispenser's output contactor."""
        self.hold(now_s)
        self._pay()
        self.battery, self.connected = battery, connected
        self._ocv_v = battery.ocv_v() if battery is not None else 0.0
        self.steady = False

    def break_bleeder(self, broken: bool, now_s: float) -> None:
        """Break the bleeder: what is charged stays charged; False mends it."""
        self.hold(now_s)
        self._set_bleeder(BROKEN_BLEEDER_OHM if broken else BLEEDER_OHM)

    def _set_bleeder(self, ohm: float) -> None:
        self._bleed_tau_s = CAPACITANCE_F * ohm
        self._node_siemens = _STORE_S + 1.0 / ohm
        self.steady = False

    def regroup(self, modules: list[PowerModule], now_s: float) -> None:
        """Contacts or modules switched: note who is on this bus from now on."""
        self.hold(now_s)
        self.modules = modules
        self.live = [module for module in modules if module.on]
        self.steady = False
        if not self.live:
            self.current_a = self.power_w = 0.0
            self._pay()

    def hold(self, now_s: float) -> None:
        """Begin a new stretch of the bus's history at the voltage it has now."""
        self._voltage_v, self._at_s = self.voltage_v(now_s), now_s

    # --- one step of the plant (hot path) -----------------------------------------------------------------------------

    @property
    def steady_steps(self) -> int:
        """Steps until something may move: the battery's voltage is looked at again now and then."""
        if not self.steady:
            return 1
        return self._countdown if self.connected else 1_000_000

    def step(self, now_s: float, steps: int = 1) -> None:
        """Advance by one plant step while a module is on; by several, up to `steady_steps`, while nothing moves."""
        if not self.steady:
            self._move(now_s)
        self.energy_j += self.power_w * STEP_S * steps
        if self.connected:
            self._battery_j += self._ocv_v * self.current_a * STEP_S * steps
            self._countdown -= steps
            if self._countdown <= 0:
                self._pay()

    def _move(self, now_s: float) -> None:
        before_v = self._voltage_v
        moving = False
        for module in self.live:
            moving |= module.ramp(now_s, before_v)
        voltage_v = self._solve(before_v)
        self._voltage_v, self._at_s = voltage_v, now_s
        total_a = 0.0
        for module in self.live:
            current_a = (module.reference_v - voltage_v) * MODULE_SIEMENS
            current_a = min(max(0.0, current_a), module.allowed_a)
            total_a += current_a
            moving |= module.conduct(voltage_v, current_a, now_s)
        self.current_a, self.power_w = total_a, total_a * voltage_v
        self.peak_v = max(self.peak_v, voltage_v)
        self.peak_a = max(self.peak_a, total_a)
        self.peak_w = max(self.peak_w, self.power_w)
        self.steady = not moving and abs(voltage_v - before_v) < _SETTLED_V

    def _solve(self, guess_v: float) -> float:
        """Voltage at which what flows in equals what flows out (Newton on a falling, piecewise straight line)."""
        siemens, source_a = self._load()
        voltage_v = guess_v
        for _ in range(5):
            total_s, total_a = siemens, source_a
            for module in self.live:
                reference_v = module.reference_v
                if reference_v > voltage_v:
                    allowed_a = module.allowed_a
                    if (reference_v - voltage_v) * MODULE_SIEMENS >= allowed_a:
                        total_a += allowed_a
                    else:
                        total_s += MODULE_SIEMENS
                        total_a += MODULE_SIEMENS * reference_v
            next_v = total_a / total_s
            if -_SETTLED_V < next_v - voltage_v < _SETTLED_V:
                return next_v
            voltage_v = next_v
        return self._bisect(siemens, source_a)

    def _bisect(self, siemens: float, source_a: float) -> float:
        """The same voltage when Newton jumps to and fro over a corner of the line, as on an unloaded bus."""
        low_v = 0.0
        high_v = max(source_a / siemens, max(module.reference_v for module in self.live))
        while high_v - low_v > _SETTLED_V / 2:
            middle_v = (low_v + high_v) / 2
            inflow_a = source_a - siemens * middle_v
            for module in self.live:
                inflow_a += min(max(0.0, (module.reference_v - middle_v) * MODULE_SIEMENS), module.allowed_a)
            if inflow_a > 0.0:
                low_v = middle_v
            else:
                high_v = middle_v
        return (low_v + high_v) / 2

    def _load(self) -> tuple[float, float]:
        """Everything on the node but the modules: conductance, and the current that it would drive at 0 V."""
        siemens, source_a = self._node_siemens, _STORE_S * self._voltage_v
        if self.connected and self.battery is not None:
            battery_s = 1.0 / self.battery.resistance_ohm
            siemens += battery_s
            source_a += battery_s * self._ocv_v
        return siemens, source_a

    def _pay(self) -> None:
        """Hand the energy over to the battery and look how its voltage moved."""
        self._countdown = BATTERY_STEPS
        if self.battery is None:
            return
        if self._battery_j:
            self.battery.charge(self._battery_j / 3.6e6)
            self._battery_j = 0.0
        ocv_v = self.battery.ocv_v()
        if ocv_v != self._ocv_v:
            self._ocv_v = ocv_v
            self.steady = False
