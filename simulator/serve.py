"""Job: the plant as a process of its own on the real clock: modules on a socketcand port, contactors behind shared
pins.

Thread: MainThread alone turns the loop every 2 ms (an embedded broker and the devices' MQTT client have their own).
Lock: none. Units: s monotonic, V, A, kW. Either side may be killed or frozen; the other one finds out by itself.
"""

from __future__ import annotations

import configparser
import json
import logging
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planning.settings import Gpio
from simulator.arrivals import timetable
from simulator.broker import EmbeddedBroker
from simulator.cabinet import Cabinet
from simulator.contacts import GUNS
from simulator.devices import CLOSE_AFTER_S, Forecourt, default_devices
from simulator.faults import Bench, apply
from simulator.gpio_shm import PlantSide
from simulator.gun_bus import FixedBattery
from simulator.module_wire import ModuleWire
from simulator.mqtt_link import DeviceLink
from simulator.plant import Plant
from simulator.socketcand import SocketcandServer

log = logging.getLogger(__name__)

LOOP_S = 0.002
STATE_S = 0.1
VIOLATIONS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class ServeOptions:
    folder: Path
    battery_v: float = 640.0  # behind every dispenser, without end, when no cars come
    cars: int = 0
    seed: int = 1
    can_port: int = 0  # 0: a free one
    broker: tuple[str, int] | None = None  # None: one of its own


class FixedCars:
    """A car on every gun for ever; the dispenser connects it 0.2 s after a contactor of its gun closed."""

    def __init__(self, plant: Plant, voltage_v: float, now_s: float) -> None:
        self._plant = plant
        self._since_s: list[float | None] = [None] * GUNS
        for gun in range(1, GUNS + 1):
            plant.plug(gun, FixedBattery(voltage_v), now_s)

    def step(self, now_s: float) -> None:
        for gun in range(1, GUNS + 1):
            if not self._plant.has_modules(gun):
                self._since_s[gun - 1] = None
                self._plant.set_output(gun, False, now_s)
                continue
            since_s = self._since_s[gun - 1]
            if since_s is None:
                self._since_s[gun - 1] = now_s
            elif now_s - since_s >= CLOSE_AFTER_S:
                self._plant.set_output(gun, True, now_s)


class PlantProcess:
    """Everything that the process owns."""

    def __init__(self, options: ServeOptions) -> None:
        """Take the ports and make the files. Raises OSError when the folder or the CAN port cannot be had."""
        self._folder = options.folder
        self._folder.mkdir(parents=True, exist_ok=True)
        now_s = time.monotonic()
        self.plant = Plant(options.seed, now_s)
        self.wire = ModuleWire(self.plant.modules, options.seed)
        self.server = SocketcandServer(self.wire.answer, options.can_port)
        self._far_end = PlantSide(self._folder, _pins(self._folder), seed=options.seed)
        self._cabinet = Cabinet(self.plant, self._far_end)
        self._bench = Bench(self.plant, self.wire, self.server)
        self._control = _Control(self._folder / "control")
        self._started_s = now_s
        self._state_due_s = now_s
        self._last_command = ""
        self._stopping = False
        self._own_broker = EmbeddedBroker() if options.broker is None else None
        self.broker = options.broker or ("127.0.0.1", self._own_broker.start() if self._own_broker else 0)
        self._fixed_cars = FixedCars(self.plant, options.battery_v, now_s) if options.cars == 0 else None
        self._forecourt: Forecourt | None = None
        self._link: DeviceLink | None = None
        if options.cars:
            self._forecourt = Forecourt(default_devices(self.plant), timetable(options.seed, options.cars), now_s)
            self._link = DeviceLink(*self.broker)
            self._link.start()

    def run(self) -> None:
        """Turn the loop until SIGTERM, SIGINT or `stop`."""
        signal.signal(signal.SIGTERM, lambda *_: self.stop())
        signal.signal(signal.SIGINT, lambda *_: self.stop())
        self._write_ready()
        try:
            while not self._stopping:
                self.server.poll(LOOP_S)
                self.step(time.monotonic())
        finally:
            self._close()

    def stop(self) -> None:
        """End `run` after its present round."""
        self._stopping = True

    def step(self, now_s: float) -> None:
        """One round: pins, circuit, dispensers; ten times a second also devices, commands and state.json."""
        self._cabinet.step(now_s)
        if self._fixed_cars is not None:
            self._fixed_cars.step(now_s)
        if now_s >= self._state_due_s:
            self._state_due_s = now_s + STATE_S
            self._step_devices(now_s)
            self._obey(now_s)
            _write(self._folder / "state.json", self.state(now_s))

    def state(self, now_s: float) -> dict[str, Any]:
        """What state.json shows."""
        plant, referee = self.plant, self.plant.referee
        return {
            "monotonic_s": round(now_s, 3),
            "up_s": round(now_s - self._started_s, 3),
            "power_kw": round(plant.power_kw(), 3),
            "guns": [_gun_state(plant, gun, now_s) for gun in range(1, GUNS + 1)],
            "modules": [_module_state(plant, number, now_s) for number in range(1, len(plant.modules) + 1)],
            "closed": [str(crosspoint) for crosspoint in plant.closed_contacts()],
            "coils": f"{self._far_end.coils:014x}",
            "supply_on": self._cabinet.supply_on,
            "supply_drops": self._cabinet.supply_drops,
            "estop_healthy": plant.estop_healthy,
            "heartbeat_edges": self._far_end.heartbeat_edges,
            "closings": referee.closings,
            "openings": referee.openings,
            "violation_counts": {kind.value: count for kind, count in referee.counts.items()},
            "violations": [
                {
                    "at_s": round(violation.at_s - self._started_s, 3),
                    "kind": violation.kind.value,
                    "crosspoint": str(violation.crosspoint),
                    "detail": violation.detail,
                }
                for violation in referee.violations[-VIOLATIONS_SHOWN:]
            ],
            "can": {
                "frames": self.server.frames,
                "malformed": self.server.malformed,
                "clients": self.server.client_count,
            },
            "last_command": self._last_command,
        }

    def _step_devices(self, now_s: float) -> None:
        if self._forecourt is not None and self._link is not None:
            for topic, payload in self._link.take():
                self._forecourt.hear(topic, payload)
            self._link.publish(self._forecourt.step(now_s))

    def _obey(self, now_s: float) -> None:
        for line in self._control.lines():
            try:
                self._last_command = apply(line, self._bench, now_s)
                print(f"done: {self._last_command}", flush=True)
            except ValueError as error:
                self._last_command = f"refused: {line}"
                print(error, flush=True)

    def _write_ready(self) -> None:
        config = self._folder / "config.ini"
        if not config.exists():
            config.write_text(_config_text(self.server.port, self.broker), encoding="utf-8")
        ready = {
            "pid": os.getpid(),
            "can_port": self.server.port,
            "broker": list(self.broker),
            "control": str(self._folder / "control"),
        }
        _write(self._folder / "state.json", self.state(time.monotonic()))
        _write(self._folder / "plant.json", ready)
        print(_greeting(self._folder, self.server.port, self.broker), flush=True)

    def _close(self) -> None:
        (self._folder / "plant.json").unlink(missing_ok=True)
        self._control.close()
        self.server.stop()
        if self._link is not None:
            self._link.stop()
        if self._own_broker is not None:
            self._own_broker.stop()


class _Control:
    """A named pipe that takes one command a line: `echo "weld g1m3" > DIR/control`."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o600)
        self._path = path
        # Opened for writing too, so that it never reports an end of file when a writer leaves.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._unread = b""

    def lines(self) -> list[str]:
        """Complete lines that came since the last call."""
        try:
            self._unread += os.read(self._fd, 4096)
        except BlockingIOError:
            return []
        *lines, self._unread = self._unread.split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines if line.strip()]

    def close(self) -> None:
        os.close(self._fd)
        self._path.unlink(missing_ok=True)


def _gun_state(plant: Plant, number: int, now_s: float) -> dict[str, Any]:
    gun = plant.guns[number - 1]
    return {
        "gun": number,
        "bus_v": round(gun.voltage_v(now_s), 2),
        "current_a": round(gun.current_a, 2),
        "power_kw": round(gun.power_w / 1000.0, 3),
        "energy_kwh": round(gun.energy_j / 3.6e6, 4),
        "peak_v": round(gun.peak_v, 1),
        "peak_a": round(gun.peak_a, 1),
        "output_closed": gun.connected,
        "modules": [module.number for module in gun.modules],
    }


def _module_state(plant: Plant, number: int, now_s: float) -> dict[str, Any]:
    module = plant.modules[number - 1]
    return {
        "module": number,
        "on": module.on,
        "voltage_v": round(module.output_v(now_s), 2),
        "current_a": round(module.current_a, 2),
        "set_v": module.set_v,
        "set_a": module.set_a,
    }


def _pins(folder: Path) -> Gpio:
    """The pins of DIR/config.ini if it names any, else the default wiring."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read([folder / "config.ini", folder / "config.local.ini"], encoding="utf-8-sig")
    if not parser.has_section("GPIO"):
        return Gpio()
    known = Gpio.__dataclass_fields__
    pins = {key: parser.getint("GPIO", key) for key in parser.options("GPIO") if key in known and key.endswith("_pin")}
    return Gpio(**pins)  # type: ignore[arg-type]


def _config_text(can_port: int, broker: tuple[str, int]) -> str:
    return f"""\
# Made by `python -m simulator --serve` for a controller on this machine.
[CAN]
interface = socketcand
channel = can0
option_host = 127.0.0.1
option_port = {can_port}

[MQTT]
broker = {broker[0]}
port = {broker[1]}
"""


def _greeting(folder: Path, can_port: int, broker: tuple[str, int]) -> str:
    project = Path(__file__).resolve().parents[1]
    return f"""\
Simulated station ready: modules on socketcand 127.0.0.1:{can_port}, broker {broker[0]}:{broker[1]}.
Start the controller with
  PYTHONPATH={project / "simulator" / "standin"} STATION_PLANT={folder.resolve()} \\
    {project / ".venv/bin/python"} {project / "main.py"} --config {folder.resolve() / "config.ini"}
Break things with  echo "weld g1m3" > {folder / "control"}   (echo help lists all); look at {folder / "state.json"}."""


def _write(path: Path, content: dict[str, Any]) -> None:
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps(content), encoding="utf-8")
    fresh.replace(path)
