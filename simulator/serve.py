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
from simulator.contacts import GUNS, MODULES
from simulator.devices import CLOSE_AFTER_S, Forecourt, default_devices
from simulator.faults import Bench, apply
from simulator.gpio_shm import PlantSide
from simulator.gun_bus import FixedBattery
from simulator.module_wire import ModuleWire
from simulator.mqtt_link import DeviceLink
from simulator.plant import Plant
from simulator.plant_state import plant_state
from simulator.socketcand import SocketcandServer

log = logging.getLogger(__name__)

LOOP_S = 0.002
STATE_S = 0.1


@dataclass(frozen=True, slots=True)
class ServeOptions:
    folder: Path
    battery_v: float = 640.0  # behind every dispenser, without end, when no cars come
    cars: int = 0
    seed: int = 1
    protocol: str | None = None  # make of all modules; None: as DIR/config.ini says, else uugreen
    can_port: int = 0  # 0: the one that DIR/config.ini names, else a free one
    broker: tuple[str, int] | None = None  # None: one of its own
    frame_log: Path | None = None  # every CAN frame as it is heard
    event_log: Path | None = None  # everything that happened in the plant


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
        config = _read_config(self._folder)
        makes, addresses = _makes(config, options.protocol), _addresses(config)
        self.wire = ModuleWire(self.plant.modules, options.seed, makes=makes, addresses=addresses)
        can_port = options.can_port or config.getint("CAN", "option_port", fallback=0)
        self._frame_log = None if options.frame_log is None else _FrameLog(options.frame_log)
        self.server = SocketcandServer(self.wire.answer, can_port, on_frame=self._frame_log, speaker=self.wire)
        self._event_log = None if options.event_log is None else _EventLog(options.event_log, self.plant, now_s)
        self._far_end = PlantSide(self._folder, _pins(config), seed=options.seed)
        self._cabinet = Cabinet(self.plant, self._far_end)
        self._bench = Bench(self.plant, self.wire, self.server, self._far_end)
        self._control = _Control(self._folder / "control")
        self._started_s = now_s
        self._state_due_s = now_s
        self._last_command = ""
        self._stopping = False
        mqtt_port = config.getint("MQTT", "port", fallback=1883)
        self._own_broker = EmbeddedBroker(mqtt_port) if options.broker is None else None
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
        self.wire.watch(now_s)
        if self._fixed_cars is not None:
            self._fixed_cars.step(now_s)
        if self._event_log is not None:
            self._event_log.write()
        if now_s >= self._state_due_s:
            self._state_due_s = now_s + STATE_S
            self._step_devices(now_s)
            self._obey(now_s)
            _write(self._folder / "state.json", self.state(now_s))

    def state(self, now_s: float) -> dict[str, Any]:
        """What state.json shows."""
        server = self.server
        return plant_state(self.plant, now_s, self._started_s) | {
            "coils": f"{self._far_end.coils:014x}",
            "outputs_enabled": self._far_end.output_enabled,
            "supply_on": self._cabinet.supply_on,
            "supply_drops": self._cabinet.supply_drops,
            "heartbeat_edges": self._far_end.heartbeat_edges,
            "last_heartbeat_edge_s": self._far_end.last_heartbeat_edge_s,
            "can": {"frames": server.frames, "malformed": server.malformed, "clients": server.client_count},
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
            text = _config_text(self.server.port, self.broker, self.wire.board(1).dialect.name)
            config.write_text(text, encoding="utf-8")
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
        for opened in (self._frame_log, self._event_log):
            if opened is not None:
                opened.close()


class _EventLog:
    """One line an event: monotonic s, kind and detail as in `Plant.events`."""

    def __init__(self, path: Path, plant: Plant, started_s: float) -> None:
        self._file = path.open("w", buffering=1, encoding="utf-8")
        self._events, self._started_s = plant.events, started_s

    def write(self) -> None:
        """All that happened since the last call; they are not kept elsewhere."""
        while self._events:
            at_ms, rest = self._events.popleft().split(" ", 1)
            self._file.write(f"{self._started_s + int(at_ms) / 1000.0:.4f} {rest}\n")

    def close(self) -> None:
        self._file.close()


class _FrameLog:
    """One line a frame: monotonic s, `>` from the controller or `<` to it, identifier and data in hexadecimal."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", buffering=1, encoding="ascii")

    def __call__(self, at_s: float, can_id: int, data: bytes, from_controller: bool) -> None:
        self._file.write(f"{at_s:.6f} {'>' if from_controller else '<'} {can_id:08X} {data.hex()}\n")

    def close(self) -> None:
        self._file.close()


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


def _read_config(folder: Path) -> configparser.ConfigParser:
    """What a controller in this folder will read: after a restart the plant is found where it was."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read([folder / "config.ini", folder / "config.local.ini"], encoding="utf-8-sig")
    return parser


def _makes(config: configparser.ConfigParser, protocol: str | None) -> dict[int, str]:
    """The make of each module: as asked for, else as the configuration says."""
    numbers = range(1, MODULES + 1)
    if protocol is not None:
        return dict.fromkeys(numbers, protocol)
    common = config.get("CAN", "protocol", fallback="uugreen")
    return {number: config.get("Modules", f"module{number}_protocol", fallback=common) for number in numbers}


def _addresses(config: configparser.ConfigParser) -> dict[int, int]:
    return {n: config.getint("Modules", f"module{n}_address", fallback=n) for n in range(1, MODULES + 1)}


def _pins(config: configparser.ConfigParser) -> Gpio:
    """The pins that the configuration names, the others as by default."""
    if not config.has_section("GPIO"):
        return Gpio()
    known = Gpio.__dataclass_fields__
    pins = {key: config.getint("GPIO", key) for key in config.options("GPIO") if key in known and key.endswith("_pin")}
    return Gpio(**pins)  # type: ignore[arg-type]


def _config_text(can_port: int, broker: tuple[str, int], protocol: str) -> str:
    return f"""\
# Made by `python -m simulator --serve` for a controller on this machine.
[CAN]
interface = socketcand
channel = can0
option_host = 127.0.0.1
option_port = {can_port}
protocol = {protocol}

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
