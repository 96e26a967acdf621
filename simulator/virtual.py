"""Job: the whole station in virtual time, one thread, always in the same order: as fast as Python goes.

Thread: the caller's alone. Lock: none. Units: s of station time, from 0.

Two levels. WIRE: everything as on site down to frames and clock edges. READINGS: the plant hands readings and feedback
over directly, for long runs; decisions, planning and interlock are the same code.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from contactor_controller import ContactorController
from demand_processor import Pace
from planning.model import GunSnapshot, StationReport
from planning.payload import Rejection
from planning.reports import OutMessage, Reports
from planning.settings import Settings
from power_module_controller import PowerModuleController
from simulator.arrivals import Arrival
from simulator.cabinet import Cabinet
from simulator.can_face import WireBus
from simulator.devices import PLAIN, Forecourt, default_devices
from simulator.gpio_face import SimulatedGpio
from simulator.module_wire import wire_of
from simulator.plant import Plant
from simulator.readings import NoGpio, PlainCabinet, PlainModules, plain_driver
from station import Core, build_core, for_makes

PLANT_STEP_S = 0.010
#: can-rx looks after its link as often as a receive without a frame lasts
LINK_STEP_S = 0.05
CALM_STEP_S = 0.050
#: both levels look at the devices at the same moments, so that they tell the same
DEVICES_STEP_S = 1.0
#: at reading level the control steps at this pace
FEEDBACK_STEP_S = 0.02
STEPS_S = {Pace.MOVING: 0.1, Pace.WAITING: 0.5, Pace.QUIET: 5.0}


class Level(Enum):
    WIRE = "wire"
    READINGS = "readings"


class VirtualClock:
    """Time that stands still until the loop moves it on."""

    def __init__(self) -> None:
        self.time_s = 0.0

    def now_s(self) -> float:
        return self.time_s

    def wall_s(self) -> float:
        return self.time_s

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        raise RuntimeError("Nothing waits in virtual time")


@dataclass(slots=True)
class Told:
    """One published message, and when."""

    at_s: float
    message: OutMessage


class VirtualStation:
    """The station with its plant, devices and cars; `run_to` moves everything on."""

    def __init__(
        self,
        settings: Settings,
        *,
        level: Level = Level.WIRE,
        seed: int = 1,
        arrivals: list[Arrival] | None = None,
        plain: Collection[str] = PLAIN,
    ) -> None:
        self.settings, self.level = settings, level
        self._for_makes = for_makes(settings)
        self.clock = VirtualClock()
        self.plant = Plant(seed)
        self.records: list[str] = []
        self.told: list[Told] = []
        self.rejected: list[Rejection] = []
        self.reports: list[StationReport] = []
        #: called for every message that is published; tests that want them all keep them
        self.on_message: Callable[[float, OutMessage], None] | None = None
        root = settings.mqtt.topic_root
        self._reports = Reports("virtual", root, settings.devices.guns, settings.general.gun_count)
        # without cars there are no devices either: whoever runs the station speaks for them
        devices = [] if arrivals is None else default_devices(self.plant, plain=plain, topic_root=root)
        self.forecourt = Forecourt(devices, arrivals or [])
        self.wire = wire_of(self.plant, settings, seed)
        self._plant_due_s = self._devices_due_s = self._control_due_s = self._tx_due_s = self._link_due_s = 0.0
        #: called after every step of the control
        self.on_step: Callable[[float], None] = lambda _: None
        self._build()
        self._build_core()

    def rebuild(self, dead_s: float) -> None:
        """kill -9, and `dead_s` later a new process: the pins stay as they are driven, the plant goes on living."""
        if self.level is not Level.WIRE:
            raise ValueError("only the station on the wire can be killed")
        self._run_dead(self.clock.time_s + dead_s)
        self.gpio.forget_process()
        self.records.append("# killed")
        self._build_modules()
        self._build_contactors()
        self.modules.open(self.clock.time_s)
        self._build_core()
        self._control_due_s = self._tx_due_s = self._link_due_s = self.clock.time_s

    def _build_modules(self) -> None:
        settings = self.settings
        self.modules = PowerModuleController(
            settings.can, settings.modules, settings.safety, lambda: self.bus, self.clock, self._failed
        )

    def _build_contactors(self) -> None:
        settings, general = self._for_makes, self.settings.general
        gpio: Any = self.gpio
        self.contactors = ContactorController(
            gpio, settings.gpio, settings.safety, general.gun_count, general.module_count
        )
        self.contactors.on_emergency_edge = self._run_control_now

    def _build_core(self) -> None:
        modules: Any = self.modules if self.level is Level.WIRE else self._plain_modules
        self.core: Core = build_core(
            self._for_makes, modules, self.contactors, self.clock, self.records.append, self._tell,
            self.rejected.append, lambda: False,
        )  # fmt: skip
        if self.level is Level.READINGS:
            self.core.demand.gate.stall_s = float("inf")  # steps are seconds apart here
        for gun in self.core.guns.values():
            gun.subscribe(self._wake)

    def _build(self) -> None:
        settings, clock = self.settings, self.clock
        if self.level is Level.WIRE:
            self.bus = WireBus(self.wire.answer, clock.now_s, speaker=self.wire)
            self.gpio = SimulatedGpio(settings.gpio, clock.now_s)
            self._cabinet: Cabinet | PlainCabinet = Cabinet(self.plant, self.gpio)
            self._build_modules()
            self._build_contactors()
            self.modules.open(0.0)
            return
        general = settings.general
        self._cabinet = cabinet = PlainCabinet(self.plant)
        self._plain_modules = PlainModules(self.plant, settings)
        self.contactors = ContactorController(
            NoGpio(), settings.gpio, settings.safety, general.gun_count, general.module_count,
            driver=plain_driver(cabinet, settings.gpio),
        )  # fmt: skip

    # --- running ------------------------------------------------------------------------------------------------------

    def run_to(self, end_s: float) -> None:
        """Move everything on until `end_s`."""
        run = self._run_wire if self.level is Level.WIRE else self._run_readings
        run(end_s)

    def run_until(self, condition: Callable[[], bool], limit_s: float, step_s: float = 0.05) -> float:
        """Run until the condition holds; returns the time it took. Raises TimeoutError after `limit_s`."""
        start_s = self.clock.time_s
        while not condition():
            if self.clock.time_s - start_s >= limit_s:
                raise TimeoutError(f"not reached within {limit_s} s of station time")
            self.run_to(self.clock.time_s + step_s)
        return self.clock.time_s - start_s

    def publish(self, topic: str, payload: str | bytes, retain: bool = False) -> None:
        """A device's message, as the broker would hand it over."""
        data = payload.encode() if isinstance(payload, str) else payload
        self.core.messages.handle(topic.encode(), data, retain)

    def _run_wire(self, end_s: float) -> None:
        clock, bus, modules = self.clock, self.bus, self.modules
        while True:
            arrival_s = bus.next_arrival_s()
            now_s = min(
                self._plant_due_s, self._control_due_s, self._tx_due_s, arrival_s, self._devices_due_s,
                self._link_due_s,
            )  # fmt: skip
            if now_s > end_s:
                break
            if now_s > clock.time_s:
                clock.time_s = now_s
            now_s = clock.time_s
            if self._plant_due_s <= now_s:
                self._cabinet.step(now_s)
                self.wire.watch(now_s)
                self._plant_due_s = now_s + (CALM_STEP_S if self.plant.calm else PLANT_STEP_S)
            if arrival_s <= now_s:
                message = bus.recv(0)
                if message is not None:
                    modules.receive(message, now_s)
                self._tx_due_s = min(self._tx_due_s, now_s + modules.tx_due_s(now_s))
            if self._link_due_s <= now_s:
                self._link_due_s = now_s + LINK_STEP_S
                if modules.keep_link(now_s) is None:
                    bus.drop()
            if self._devices_due_s <= now_s:
                self._step_devices(now_s)
            if self._control_due_s <= now_s:
                self._cabinet.step(now_s)
                self._control_due_s = now_s + max(0.002, self.core.demand.step(now_s))
                self._tx_due_s = now_s
                self.on_step(now_s)
            if self._tx_due_s <= now_s:
                self._tx_due_s = now_s + modules.step_tx(now_s)
        clock.time_s = end_s

    def _run_dead(self, end_s: float) -> None:
        """There is no process: the plant lives on, devices speak to nobody, and nothing is answered."""
        while (now_s := min(self._plant_due_s, self._devices_due_s)) <= end_s:
            self.clock.time_s = now_s = max(self.clock.time_s, now_s)
            if self._plant_due_s <= now_s:
                self._cabinet.step(now_s)
                self.wire.watch(now_s)
                self._plant_due_s = now_s + (CALM_STEP_S if self.plant.calm else PLANT_STEP_S)
            if self._devices_due_s <= now_s:
                self._devices_due_s = now_s + DEVICES_STEP_S
                self.forecourt.step(now_s)
        self.bus.drop()
        self.clock.time_s = end_s

    def _run_readings(self, end_s: float) -> None:
        clock, demand = self.clock, self.core.demand
        while True:
            now_s = min(self._control_due_s, self._devices_due_s)
            if now_s > end_s:
                break
            clock.time_s = max(clock.time_s, now_s)
            now_s = clock.time_s
            self._cabinet.step(now_s)
            if self._devices_due_s <= now_s:
                self._step_devices(now_s)
            if self._control_due_s <= now_s:
                demand.step(now_s)
                pause_s = FEEDBACK_STEP_S if self.contactors.moving else STEPS_S[demand.pace]
                self._control_due_s = now_s + pause_s
        clock.time_s = end_s

    def _step_devices(self, now_s: float) -> None:
        self._devices_due_s = now_s + DEVICES_STEP_S
        handle = self.core.messages.handle
        for topic, payload in self.forecourt.step(now_s):
            handle(topic.encode(), payload.encode(), False)

    # --- what comes out -----------------------------------------------------------------------------------------------

    def _tell(self, report: StationReport) -> None:
        now_s = self.clock.time_s
        if self.reports and self.reports[-1] is report:
            return
        self.reports[:] = [report]
        for message in self._reports.step(now_s, now_s, report):
            self.forecourt.hear(message.topic, message.payload)
            if self.on_message is not None:
                self.on_message(now_s, message)

    def _run_control_now(self) -> None:
        self._control_due_s = self.clock.time_s

    def _wake(self, _: GunSnapshot) -> None:
        self._control_due_s = self.clock.time_s

    def _failed(self, thread: str, error: BaseException) -> None:
        raise RuntimeError(f"{thread} failed") from error


def settings_at(folder: Path, text: str = "") -> Settings:
    """Settings from a config.ini with this text in `folder`."""
    import config_manager

    path = folder / "config.ini"
    path.write_text(text or "[PowerLimits]\ngun1_max_power = 240\n")
    return config_manager.load(path)
