"""Job: the whole station on a desk inside one process: plant, modules, chips, cars, devices and a broker.

Thread: `simulated-plant` turns the plant; the CAN face, the broker and the devices' client have their own. Lock: none.
Units: s of station time (which may run faster than the clock), kW. Made by wires.py on --simulate, never on site.
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import replace

import can

from planning.reconnect import Version
from planning.settings import Can, Gpio, Mqtt, Settings
from simulator.arrivals import timetable
from simulator.broker import EmbeddedBroker
from simulator.cabinet import Cabinet
from simulator.can_face import VirtualCanFace
from simulator.contacts import GUNS, MODULES
from simulator.devices import Forecourt, default_devices
from simulator.gpio_face import SimulatedGpio
from simulator.module_wire import wire_of
from simulator.mqtt_link import DeviceLink
from simulator.plant import Plant
from worker import SystemClock, Worker

log = logging.getLogger(__name__)

PLANT_STEP_S = 0.005
#: Station time that runs faster than the clock on the wall is never further ahead of the plant than this: a contactor
#: that could not move because the machine was busy would else count as welded.
LEAD_S = 0.05
DEVICES_STEP_S = 0.1


class CabinetError(RuntimeError):
    """The simulated cabinet is wired for another station; the text says what to do."""


class Desk:
    """Everything around the controller. `settings` holds what the controller is to be built with."""

    def __init__(
        self,
        settings: Settings,
        clock: SystemClock,
        *,
        speed: float = 1.0,
        seed: int = 1,
        cars: int = 20,
        broker: tuple[str, int] | None = None,
        protocol: str | None = None,
    ) -> None:
        """`protocol`: make of all modules; None: as the settings say.

        Raises CabinetError for a station of another size, BrokerError when no broker can be started.
        """
        check_size(settings)
        self._clock = clock
        self._channel = f"desk-{uuid.uuid4()}"
        self._own_broker = EmbeddedBroker(settings.mqtt.port) if broker is None else None
        host, port = broker or ("127.0.0.1", self._own_broker.start() if self._own_broker else 0)
        self.broker = (host, port)
        #: the embedded broker does not answer MQTT 5 at all
        self.mqtt_version = Version.V5 if self._own_broker is None else Version.V311
        self.settings = desk_settings(settings, host, port, self._channel, protocol)
        now_s = clock.now_s()
        self.plant = Plant(seed, now_s)
        self.wire = wire_of(self.plant, self.settings, seed)
        self.gpio = SimulatedGpio(self.settings.gpio, clock.now_s, seed=seed)
        self._cabinet = Cabinet(self.plant, self.gpio)
        self._can = VirtualCanFace(self.wire.answer, self._channel, clock.now_s, speed, self.wire)
        root = settings.mqtt.topic_root
        self.forecourt = Forecourt(default_devices(self.plant, topic_root=root), timetable(seed, cars), now_s)
        self._link = DeviceLink(host, port, root)
        self._devices_due_s = now_s
        self._worker = Worker("simulated-plant", self._step, clock)

    def open_bus(self) -> can.BusABC:
        """The controller's end of the CAN bus."""
        return can.Bus(interface="virtual", channel=self._channel)

    def start(self) -> None:
        self._can.start()
        self._link.start()
        self._worker.start()

    def stop(self) -> None:
        """End everything; the broker last."""
        self._worker.stop()
        self._clock.hold(float("inf"))
        self._link.stop()
        self._can.stop()
        if self._own_broker is not None:
            self._own_broker.stop()

    def greeting(self) -> list[str]:
        """How to talk to the simulated station."""
        host, port = self.broker
        address = f"-h {host} -p {port}"
        return [
            f"Simulated station: {GUNS} guns, {MODULES} modules, cars come by themselves. "
            f"MQTT broker on {host}:{port}.",
            "Ask for power yourself (a value typed once is served for demand_timeout), and watch what is told:",
            f"  mosquitto_pub {address} -t vesec/1/demand/D1 -m 75",
            f"  mosquitto_sub {address} -v -t 'vesec/+/allocation/central' -t 'vesec/station/#'",
            "Stop with Ctrl-C.",
        ]

    def _step(self, now_s: float) -> float:
        self._clock.hold(now_s + LEAD_S)
        self._cabinet.step(now_s)
        self.wire.watch(now_s)
        if now_s >= self._devices_due_s:
            self._devices_due_s = now_s + DEVICES_STEP_S
            for topic, payload in self._link.take():
                self.forecourt.hear(topic, payload)
                self.forecourt.overhear(topic, payload, now_s)
            self._link.publish(self.forecourt.step(now_s))
        return PLANT_STEP_S


def check_size(settings: Settings) -> None:
    """Raises CabinetError: the place of a coil in the chain depends on module_count, and the plant knows one size."""
    guns, modules = settings.general.gun_count, settings.general.module_count
    if (guns, modules) != (GUNS, MODULES):
        raise CabinetError(
            f"its cabinet is wired for gun_count = {GUNS} and module_count = {MODULES}; config.ini has "
            f"{guns} and {modules}. To try a station with fewer modules, leave both and set module9_enabled = false"
        )


def desk_settings(settings: Settings, host: str, port: int, channel: str, protocol: str | None) -> Settings:
    """The settings as read, with broker, TLS, CAN and GPIO replaced by what stands on the desk."""
    mqtt = Mqtt(
        broker=host,
        port=port,
        keepalive_s=settings.mqtt.keepalive_s,
        topic_root=settings.mqtt.topic_root,
        accept_retained=settings.mqtt.accept_retained,
        home_assistant=settings.mqtt.home_assistant,
    )
    modules = dict(settings.modules.by_number)
    if protocol is not None:
        modules = {n: replace(m, protocol=protocol) for n, m in modules.items()}
    logging_settings = settings.logging
    if "file" not in settings.given.get("Logging", ()):
        logging_settings = replace(logging_settings, file=settings.folder / "simulated.log")
    history = settings.history
    if "url" not in settings.given.get("History", ()):
        history = replace(history, url="sqlite:///simulated.db")
    return replace(
        settings,
        mqtt=mqtt,
        can=Can(interface="virtual", channel=channel, protocol=protocol or settings.can.protocol),
        gpio=Gpio(),
        modules=replace(settings.modules, by_number=modules),
        logging=logging_settings,
        history=history,
    )
