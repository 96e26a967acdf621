"""Job: the plant without wires: readings handed over as they are, coils and feedback as images. For long runs.

Thread: the caller's alone. Lock: none. Units: V, A, s of station time. Stands in for CAN and shift registers; what it
hands over is what a controller on the wire would have read within the last moment, meter errors included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from contactor_controller import PinDriver
from planning.model import CanStatus, ModuleOrder, ModuleState, ModuleStatus
from planning.settings import Gpio, Settings
from simulator.plant import Plant
from simulator.power_module import PowerModule

_LINK = CanStatus(up=True)
#: two readings are two only when they lie this far apart (a watched module is read every 100 ms)
READING_S = 0.1


class PlainCabinet:
    """The wiring between coils and plant."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        self.image = 0
        self.enabled = False

    def step(self, now_s: float) -> None:
        self.plant.advance_to(now_s)
        self.plant.set_coils(self.image if self.enabled else 0, now_s)


class PlainDriver(PinDriver):
    """A driver whose pins are images: ContactorController above it is the one that runs on site."""

    def __init__(self, cabinet: PlainCabinet, pins: Gpio) -> None:
        super().__init__(NoGpio(), pins)
        self._cabinet = cabinet

    def set_up(self) -> None:
        self._cabinet.image, self._cabinet.enabled = 0, False

    def write_image(self, image: int) -> bool:
        self.check_owner()
        self._cabinet.image = image
        return True

    def read_feedback(self) -> int | None:
        return self._cabinet.plant.feedback() & ((1 << 54) - 1)

    def enable_outputs(self, enabled: bool) -> None:
        self._cabinet.enabled = enabled

    def heartbeat_edge(self) -> None:
        """Nobody counts edges here."""

    def heartbeat_stop(self) -> None:
        """Nobody counts edges here."""

    def emergency_stop_healthy(self) -> bool:
        return self._cabinet.plant.estop_healthy

    def tear_down(self) -> None:
        self._cabinet.enabled = False


class NoGpio:
    """Stands where the GPIO library is expected; PlainDriver touches no pin."""

    BCM = IN = OUT = PUD_OFF = PUD_DOWN = PUD_UP = FALLING = 0

    def setmode(self, mode: int, /) -> None:
        raise NotImplementedError

    def setwarnings(self, enabled: bool, /) -> None:
        raise NotImplementedError

    def setup(self, channel: int, direction: int, /, pull_up_down: int = 0, initial: int | None = None) -> None:
        raise NotImplementedError

    def output(self, channel: int, value: Any, /) -> None:
        raise NotImplementedError

    def input(self, channel: int, /) -> int:
        raise NotImplementedError

    def add_event_detect(self, channel: int, edge: int, /, callback: Callable[[int], None]) -> None:
        raise NotImplementedError

    def cleanup(self) -> None:
        raise NotImplementedError


def plain_driver(cabinet: PlainCabinet, pins: Gpio) -> PlainDriver:
    return PlainDriver(cabinet, pins)


class PlainModules:
    """ModulesPort straight on the plant: every order arrives at once, every reading is fresh."""

    def __init__(self, plant: Plant, settings: Settings) -> None:
        self._plant = plant
        self._enabled = [settings.modules.by_number[m.number].enabled for m in plant.modules]
        self._orders: list[ModuleOrder] = [ModuleOrder()] * len(plant.modules)
        self._off_at_s: list[float | None] = [None] * len(plant.modules)
        self._last_on_s: list[float | None] = [None] * len(plant.modules)
        self._before: list[tuple[float, float, float]] = [(0.0, 0.0, -1.0)] * len(plant.modules)
        self._now: list[tuple[float, float, float]] = [(0.0, 0.0, -1.0)] * len(plant.modules)

    def status(self, now_s: float) -> Sequence[ModuleStatus]:
        return [self._status(index, module, now_s) for index, module in enumerate(self._plant.modules)]

    def can_status(self) -> CanStatus:
        return _LINK

    def watch(self, modules: Sequence[int]) -> None:
        """Everything is read all the time here."""

    def apply(self, orders: Sequence[ModuleOrder], now_s: float) -> None:
        for index, (order, before) in enumerate(zip(orders, self._orders, strict=True)):
            if order is not before and order != before:
                self._order(index, order, now_s)

    def off_now(self, modules: Sequence[int] | None, now_s: float) -> None:
        for number in modules if modules is not None else range(1, len(self._orders) + 1):
            self._order(number - 1, ModuleOrder(), now_s)

    def _order(self, index: int, order: ModuleOrder, now_s: float) -> None:
        module = self._plant.modules[index]
        self._orders[index] = order
        if order.low_range is not None and not module.on:
            module.set_range(order.low_range)
        if order.on:
            module.switch(True, now_s)
            module.set_voltage(order.voltage_v)
            module.set_current(order.current_a)
        elif module.on:
            self._last_on_s[index] = now_s
            module.switch(False, now_s)
            self._off_at_s[index] = now_s

    def _status(self, index: int, module: PowerModule, now_s: float) -> ModuleStatus:
        volts, amps = module.output_v(now_s) * module.gain_v, module.current_a * module.gain_a
        if now_s - self._now[index][2] >= READING_S - 1e-9:
            self._before[index] = self._now[index]
        self._now[index] = (volts, amps, now_s)
        volts_before, amps_before, before_s = self._before[index]
        on, order = module.on, self._orders[index]
        if on:
            self._last_on_s[index] = now_s
        state = ModuleState.ON if on else ModuleState.OFF
        return ModuleStatus(
            module=module.number,
            state=state if self._enabled[index] else ModuleState.DISABLED,
            heard_at_s=now_s,
            on=on,
            on_at_s=now_s,
            on_asked_at_s=now_s + 1e-6,  # asked for after what was ordered a moment ago
            off_echo_at_s=self._off_at_s[index],
            last_on_at_s=self._last_on_s[index],
            voltage_v=volts,
            voltage_at_s=now_s,
            voltage_asked_at_s=now_s,
            voltage_before_v=volts_before,
            voltage_before_at_s=before_s,
            current_a=amps,
            current_at_s=now_s,
            current_asked_at_s=now_s + 2e-6,  # on the wire the current is asked for after the status
            current_before_a=amps_before,
            current_before_at_s=before_s,
            available_a=module.available_a,
            constant_current=module.constant_current,
            low_range=module.low_range,
            set_on=order.on,
            set_voltage_v=order.voltage_v,
            set_current_a=order.current_a,
        )
