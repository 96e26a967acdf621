"""Job: one 40 kW power module as a circuit: soft start, ramps, constant voltage or current, capacitor and blocking
diode.

Thread: that of the plant (no lock). Units: V, A, s monotonic. Set-points go in, volts and amperes come out of the
circuit; no reading is ever a copy of a set-point. Figures: UR100040-SW data sheet (40 kW, 133 A, 150 to 1000 V, 500 V
in low range).
"""

from __future__ import annotations

import random
from math import exp, log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.gun_bus import GunBus

STEP_S = 0.01
MAX_POWER_W = 40_000.0
MAX_CURRENT_A = 133.0
MIN_VOLTAGE_V = 150.0
HIGH_RANGE_V = 1000.0
LOW_RANGE_V = 500.0
#: The current loop lets go much faster than it takes up.
CURRENT_UP_A_PER_S = 150.0
CURRENT_DOWN_A_PER_S = 2000.0
#: With less current allowed than its own losses the output does not come up.
STARVED_A = 0.02

#: Time constants between a fall from 1000 V to 60 V and exp(-t/tau).
_FALL = log(1000.0 / 60.0)


class PowerModule:
    """One module. `output_v` is its capacitor before the diode (what it reports), `terminal_v` the lead after it."""

    __slots__ = (
        "_decay",
        "_limit_a",
        "_output_at_s",
        "_output_tau_s",
        "_output_v",
        "_slew_v",
        "_switched",
        "_target_v",
        "_terminal_at_s",
        "_terminal_tau_s",
        "_terminal_v",
        "allowed_a",
        "available_a",
        "bus",
        "constant_current",
        "current_a",
        "enabled",
        "failed",
        "forgets",
        "gain_a",
        "gain_v",
        "ignores_off",
        "ignores_set_points",
        "low_range",
        "number",
        "on",
        "reference_v",
        "set_a",
        "set_v",
        "soft_start_s",
        "starts_at_s",
        "wrong_a",
        "wrong_v",
    )

    def __init__(
        self,
        number: int,
        rng: random.Random,
        switched: list[PowerModule],
        forget_share: float = 0.34,
        meter_error: float = 0.002,
    ) -> None:
        """The module puts itself on `switched` when it goes on or off.

        `forget_share`: chance that it forgets at ON what it was set while off; `meter_error`: +- share of a reading.
        """
        self.number = number
        self._switched = switched
        self.soft_start_s = rng.uniform(1.0, 3.0)
        self._slew_v = rng.uniform(300.0, 500.0) * STEP_S
        self._output_tau_s = rng.uniform(3.0, 5.0) / _FALL
        self._terminal_tau_s = rng.uniform(5.0, 8.0) / _FALL
        self._decay = exp(-STEP_S / self._output_tau_s)
        self.gain_v = 1.0 + rng.uniform(-meter_error, meter_error)
        self.gain_a = 1.0 + rng.uniform(-meter_error, meter_error)
        self.forgets = rng.random() < forget_share
        self.bus: GunBus | None = None
        self.enabled = True  # hardware enable; the emergency stop takes it away
        self.failed = False  # its own fault keeps it off
        self.ignores_off = self.ignores_set_points = False
        self.wrong_v = self.wrong_a = 1.0  # what it gives, as a multiple of what it was set to
        self.on = False
        self.low_range = False
        self.available_a = MAX_CURRENT_A
        self.set_v = self.set_a = 0.0
        self.starts_at_s = 0.0
        self.reference_v = self.allowed_a = self.current_a = 0.0
        self.constant_current = False
        self._target_v = self._limit_a = 0.0
        self._output_v = self._output_at_s = 0.0
        self._terminal_v = self._terminal_at_s = 0.0

    # --- what it is told ---------------------------------------------------------------------------------------------

    def switch(self, on: bool, now_s: float) -> None:
        """Take an ON or OFF from the wire. ON begins the soft start; an ON while on changes nothing."""
        if on and self.enabled and not self.failed and not self.on:
            self._start(now_s)
        elif not on and self.on and not self.ignores_off:
            self.shut_down(now_s)

    def set_voltage(self, voltage_v: float) -> None:
        """Take a voltage set-point; outside the nameplate it is clamped as the real module does, 0 stays 0."""
        if not self.ignores_set_points and voltage_v != self.set_v:
            self.set_v = voltage_v
            self._aim()

    def set_current(self, current_a: float) -> None:
        """Take a current limit, clamped to the nameplate and to what the module can give now."""
        if not self.ignores_set_points and current_a != self.set_a:
            self.set_a = current_a
            self._aim()

    def set_range(self, low: bool) -> None:
        """Choose the 500 V or the 1000 V range; a module that is on takes no notice."""
        if not self.on:
            self.low_range = low
            self._aim()

    def derate(self, available_a: float) -> None:
        """Limit what the module can give (heat, weak mains); 133 A ends it."""
        self.available_a = available_a
        self._aim()

    def overdo(self, volts: float, amps: float) -> None:
        """Give this multiple of what it is set to; 1 and 1 end it."""
        self.wrong_v, self.wrong_a = volts, amps
        self._aim()

    def shut_down(self, now_s: float) -> None:
        """Stop delivering now, whatever the reason; the capacitor keeps its charge and bleeds."""
        self._output_v, self._output_at_s = self.output_v(now_s), now_s
        self.on = False
        self.current_a = self.allowed_a = 0.0
        self.constant_current = False
        self._switched.append(self)

    def restart(self, now_s: float) -> None:
        """What a brown-out of its own processor does: off, every set-point forgotten."""
        self.shut_down(now_s)
        self.set_v = self.set_a = 0.0
        self._aim()

    def _start(self, now_s: float) -> None:
        self._output_v, self._output_at_s = self.output_v(now_s), now_s
        if self.forgets:
            self.set_v = self.set_a = 0.0
        self.on = True
        self.starts_at_s = now_s + self.soft_start_s
        self.reference_v, self.allowed_a = self._output_v, 0.0
        self._aim()
        self._switched.append(self)

    def _aim(self) -> None:
        highest_v = LOW_RANGE_V if self.low_range else HIGH_RANGE_V
        clamped_v = min(max(self.set_v, MIN_VOLTAGE_V), highest_v) if self.set_v > 0.0 else 0.0
        # The regulator sees the output through its own meter, so its error is in the output too.
        self._target_v = clamped_v * self.wrong_v / self.gain_v
        self._limit_a = min(self.set_a * self.wrong_a, self.available_a, MAX_CURRENT_A) / self.gain_a
        if self.bus is not None:
            self.bus.steady = False

    # --- what it is -------------------------------------------------------------------------------------------------

    def output_v(self, now_s: float) -> float:
        """Voltage of the output capacitor, before the diode."""
        if self.on and now_s >= self.starts_at_s:
            return self._output_v
        return self._output_v * exp(-max(0.0, now_s - self._output_at_s) / self._output_tau_s)

    def terminal_v(self, now_s: float) -> float:
        """Voltage of the lead between diode and contactors: never below the output, slow to fall when it hangs free."""
        if self.bus is not None:
            return self.bus.voltage_v(now_s)
        held_v = self._terminal_v * exp(-max(0.0, now_s - self._terminal_at_s) / self._terminal_tau_s)
        return max(held_v, self.output_v(now_s))

    def starting(self, now_s: float) -> bool:
        return self.on and now_s < self.starts_at_s

    def isolate(self, voltage_v: float, now_s: float) -> None:
        """The last contactor opened: the lead keeps the voltage of the bus it leaves."""
        self._terminal_v, self._terminal_at_s = voltage_v, now_s
        self.bus = None
        self.current_a = 0.0
        self.constant_current = False

    # --- one step of the plant (hot path) -----------------------------------------------------------------------------

    def ramp(self, now_s: float, bus_v: float) -> bool:
        """Move the regulator's reference and current limit by one step; True while something still moves."""
        if now_s < self.starts_at_s:
            self.reference_v = self._output_v = self.output_v(now_s)
            self._output_at_s = now_s
            return True
        reference_v, target_v = self.reference_v, self._target_v
        reference_v = min(reference_v + self._slew_v, target_v)  # up by the slew rate, down at once
        limit_a = self._limit_a
        if limit_a * bus_v > MAX_POWER_W:
            limit_a = MAX_POWER_W / bus_v
        allowed_a = self.allowed_a
        if allowed_a < limit_a:
            allowed_a = min(allowed_a + CURRENT_UP_A_PER_S * STEP_S, limit_a)
        else:
            allowed_a = max(allowed_a - CURRENT_DOWN_A_PER_S * STEP_S, limit_a)
        moved = reference_v != self.reference_v or allowed_a != self.allowed_a
        self.reference_v, self.allowed_a = reference_v, allowed_a
        return moved

    def conduct(self, voltage_v: float, current_a: float, now_s: float) -> bool:
        """Take the node's solution; with no current the diode blocks and the capacitor goes its own way."""
        self.current_a = current_a
        if current_a > 0.0:
            self.constant_current = current_a >= self.allowed_a
            self._output_v, self._output_at_s = voltage_v, now_s
            return False
        self.constant_current = False
        return self.float_alone(now_s)

    def float_alone(self, now_s: float) -> bool:
        """Unloaded: rise with the reference, fall only through the bleeder; True while it moves."""
        if now_s < self.starts_at_s:
            return True
        before_v, reference_v = self._output_v, self.reference_v
        if reference_v < before_v:
            self._output_v = max(reference_v, before_v * self._decay)
        elif self.allowed_a > STARVED_A:
            self._output_v = reference_v
        else:
            self._output_v = before_v * self._decay
        self._output_at_s = now_s
        return abs(self._output_v - before_v) > 0.01
