"""A contactor cabinet in virtual time: the real controller, simulated chips, and contacts that follow their coils."""

from __future__ import annotations

import dataclasses

import contactor_controller
from planning.model import CloseEvidence, CloseRefusal, Crosspoint, ModuleState, ModuleStatus
from planning.settings import Gpio, GpioDriver, Safety
from simulator.gpio_face import SimulatedGpio

WITH_READBACK = dataclasses.replace(Gpio(), readback_pin=19)
SAFETY = Safety()
TRAVEL_S = 0.03


def direct_pins() -> Gpio:
    """Two guns, two modules, a pin for each coil and feedback."""
    crosspoints = [(gun, module) for gun in (1, 2) for module in (1, 2)]
    return Gpio(
        driver=GpioDriver.DIRECT,
        direct_pins=dict(zip(crosspoints, (2, 3, 4, 7), strict=True)),
        direct_feedback_pins=dict(zip(crosspoints, (8, 9, 10, 11), strict=True)),
    )


def off_module(module: int, now_s: float, voltage_v: float = 5.0) -> ModuleStatus:
    """A module that reads off and dead, heard just now."""
    return ModuleStatus(
        module, ModuleState.OFF, on=False, on_at_s=now_s - 0.1, voltage_v=voltage_v, voltage_at_s=now_s - 0.1
    )


def matched_module(module: int, now_s: float, bus_voltage_v: float = 400.0) -> ModuleStatus:
    """A module that idles 10 V below the bus, as rule 7.2(b) wants it."""
    voltage_v = bus_voltage_v - 10.0
    return ModuleStatus(
        module,
        ModuleState.ON,
        on=True,
        on_at_s=now_s - 0.1,
        voltage_v=voltage_v,
        voltage_at_s=now_s - 0.1,
        voltage_asked_at_s=now_s - 0.11,
        voltage_before_v=voltage_v,
        voltage_before_at_s=now_s - 0.3,
        current_a=0.2,
        current_at_s=now_s - 0.1,
        set_on=True,
        set_voltage_v=voltage_v,
        set_voltage_at_s=now_s - 1.0,
        set_current_a=1.0,
    )


def dead_bus(module: ModuleStatus, told_v: float | None = None) -> CloseEvidence:
    return CloseEvidence(module, bus_voltage_v=told_v, bus_told_v=told_v, bus_has_live_module=False)


def live_bus(module: ModuleStatus, bus_voltage_v: float | None = 400.0) -> CloseEvidence:
    return CloseEvidence(module, bus_voltage_v=bus_voltage_v, bus_told_v=None, bus_has_live_module=True)


class Cabinet:
    """Contacts follow their coils after TRAVEL_S; masks hold some of them open or closed."""

    def __init__(self, pins: Gpio | None = None, guns: int = 6, modules: int = 9, seed: int = 1) -> None:
        self.now_s = 100.0
        self.pins = Gpio() if pins is None else pins
        self.gpio = SimulatedGpio(self.pins, lambda: self.now_s, guns, modules, seed)
        self.contactors = contactor_controller.ContactorController(self.gpio, self.pins, SAFETY, guns, modules)
        self.held_closed = 0
        self.held_open = 0
        self._coils: list[tuple[float, int]] = []
        self._modules = modules

    def bit(self, crosspoint: Crosspoint) -> int:
        return 1 << (crosspoint.gun - 1) * self._modules + crosspoint.module - 1

    def run(self, duration_s: float, healthy: bool = True, period_s: float = 0.01) -> None:
        """Step the controller every 10 ms, the metal moving in between."""
        for _ in range(round(duration_s / period_s)):
            self.now_s += period_s
            self.move_contacts()
            self.contactors.step(self.now_s, healthy)

    def move_contacts(self) -> None:
        self._coils.append((self.now_s, self.gpio.coils))
        while len(self._coils) > 1 and self._coils[1][0] <= self.now_s - TRAVEL_S:
            self._coils.pop(0)
        self.gpio.feedback_inputs = (self._coils[0][1] | self.held_closed) & ~self.held_open

    def start(self) -> Cabinet:
        """Through the safe start, up to armed."""
        self.contactors.prepare(self.now_s)
        self.run(0.3, healthy=False)
        self.contactors.enable_outputs(self.now_s)
        self.run(0.1, healthy=False)
        self.contactors.arm()
        return self

    def close(self, gun: int, module: int) -> CloseRefusal | None:
        """Ask for a close onto a bus told dead."""
        evidence = dead_bus(off_module(module, self.now_s), told_v=3.0)
        return self.contactors.request_close(Crosspoint(gun, module), evidence, self.now_s)

    def open(self, gun: int, module: int) -> None:
        self.contactors.request_open(Crosspoint(gun, module), self.now_s)
