"""The real program on the real clock: mosquitto, the simulated station and main.py, each in a process of its own.

Thread: the test's; `Talker` has one that repeats values as devices do. Lock: one, over the repeated values. Units: s
(monotonic, the same clock in every process), kW, V, A.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import paho.mqtt.client as paho
import pytest
from mosquitto import AHEAD, LIMIT_S, Mosquitto, Peer, free_port
from paho.mqtt.enums import CallbackAPIVersion

from simulator.gpio_shm import ControllerSide

PROJECT = Path(__file__).resolve().parents[1]
#: Devices repeat their values at least every 10 s; these do it every 5 s.
REPEAT_S = 5.0
#: The program may need this long to end: 3 s for the safe door and a moment for the rest.
END_S = 5.0
FRAME_BITS, BIT_RATE = 150, 125_000

#: [Safety] towards the fast end of its ranges, for tests that are not about these times. A steeper ramp would lift the
#: bus by more than match_window while a module joins: its match is as old as the last reading.
FAST = """\
[Safety]
terminal_discharge_time = 1.6
search_rate = 200
ramp_up = 100
"""

#: Most tests are not about the page, whose process would compete for the processors.
NO_PAGE = "\n[Dashboard]\nenabled = false\n"

Found = TypeVar("Found")


def wait_for(
    condition: Callable[[], Found | None], what: str | Callable[[], str], limit_s: float = LIMIT_S
) -> Found:
    """Wait until `condition()` gives something true and return it; fails after `limit_s`, with what it waited for."""
    tick, end_s = threading.Event(), time.monotonic() + limit_s
    while True:
        if found := condition():
            return found
        if time.monotonic() >= end_s:
            pytest.fail(f"within {limit_s:g} s not reached: {what if isinstance(what, str) else what()}")
        tick.wait(0.01)


# --- processes ----------------------------------------------------------------------------------------------------


class Process:
    """A program with its console in a file; whatever happens, `kill` ends it."""

    def __init__(self, command: Sequence[str], console: Path, environment: dict[str, str] | None = None) -> None:
        self._console = console
        with console.open("wb") as output:
            self._popen = subprocess.Popen(
                [*AHEAD, *command], cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    @property
    def console(self) -> str:
        return self._console.read_text(errors="replace")

    def wait_line(self, pattern: str, limit_s: float = LIMIT_S) -> str:
        """Wait for a line that `pattern` is found in."""

        def line() -> str | None:
            found = next((text for text in self.console.splitlines() if re.search(pattern, text)), None)
            assert found or self.running, f"ended before /{pattern}/:\n{self.console}"
            return found

        return wait_for(line, lambda: f"/{pattern}/ in\n{self.console}", limit_s)

    def wait_end(self, limit_s: float = END_S) -> int:
        """The exit code."""
        try:
            return self._popen.wait(limit_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the program did not end within {limit_s:g} s:\n{self.console}")

    def end(self, number: signal.Signals = signal.SIGTERM, limit_s: float = END_S) -> int:
        """Ask it to end; the exit code."""
        self._popen.send_signal(number)
        return self.wait_end(limit_s)

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def kill(self) -> None:
        if self.running:
            self._popen.kill()
        self._popen.wait(LIMIT_S)


def run_main(*arguments: str | Path, plant: Path | None = None, limit_s: float = 10.0) -> tuple[int, str]:
    """Run main.py to its end: exit code and what it said."""
    environment = {**os.environ, **(gpio_of(plant) if plant is not None else {"PYTHONPATH": ""})}
    command = [sys.executable, "main.py", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit_s
    )
    return done.returncode, done.stdout + done.stderr


def gpio_of(plant: Path) -> dict[str, str]:
    """The environment in which RPi.GPIO is the stand-in that leads to this plant."""
    return {"PYTHONPATH": str(PROJECT / "simulator" / "standin"), "STATION_PLANT": str(plant)}


# --- the plant ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as the plant's log has it."""

    at_s: float
    from_controller: bool
    can_id: int
    data: bytes

    @property
    def module(self) -> int:
        """Address that a request goes to; 0: all."""
        return self.can_id >> 14 & 0x7F

    @property
    def set_current(self) -> bool:
        """UUGreen: message type 0 (set), quantity 3 (current limit)."""
        return self.from_controller and self.data[:2] == b"\x00\x03"

    @property
    def set_power(self) -> bool:
        """UUGreen: quantity 4; the last byte 1 means off."""
        return self.from_controller and self.data[0] & 0x0F == 0 and self.data[1] == 4

    @property
    def off(self) -> bool:
        return self.set_power and self.data[7] == 1

    @property
    def on(self) -> bool:
        return self.set_power and self.data[7] == 0


class Plant:
    """`python -m simulator --serve` in `folder`: modules, contactors, and a 640 V car on every gun."""

    def __init__(self, folder: Path, broker_port: int, protocol: str = "uugreen") -> None:
        self.folder = folder
        self._broker_port = broker_port
        self._protocol = protocol
        self.process: Process | None = None

    def start(self) -> None:
        (self.folder / "plant.json").unlink(missing_ok=True)
        self.folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "simulator", "--serve", str(self.folder)]
        command += ["--broker", f"127.0.0.1:{self._broker_port}", "--frame-log", str(self.folder / "frames.log")]
        command += ["--event-log", str(self.folder / "events.log"), "--protocol", self._protocol]
        self.process = Process(command, self.folder / "plant.out")
        wait_for(lambda: (self.folder / "plant.json").exists(), f"the plant is ready: {self.process.console}", 10.0)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()

    def state(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        return content

    def command(self, line: str) -> None:
        """Break or mend something; see simulator/faults.py."""
        with (self.folder / "control").open("w") as control:
            control.write(line + "\n")

    def gun(self, number: int) -> dict[str, Any]:
        gun: dict[str, Any] = self.state()["guns"][number - 1]
        return gun

    def power_kw(self, gun: int) -> float:
        return float(self.gun(gun)["power_kw"])

    def wait_power(self, gun: int, power_kw: float, limit_s: float = 15.0) -> None:
        """Wait until the gun gives `power_kw`, within 5 %."""

        def near() -> bool:
            return math.isclose(self.power_kw(gun), power_kw, rel_tol=0.05, abs_tol=0.1)

        wait_for(near, f"gun {gun} gives {power_kw:g} kW", limit_s)

    def frames(self) -> list[Frame]:
        lines = (self.folder / "frames.log").read_text().splitlines()
        fields = (line.split() for line in lines)
        return [Frame(float(f[0]), f[1] == ">", int(f[2], 16), bytes.fromhex(f[3])) for f in fields if len(f) == 4]

    def events(self, kind: str = "") -> list[tuple[float, str]]:
        """(monotonic s, detail) of everything of that kind that happened in the plant; all kinds: with the kind."""
        lines = (self.folder / "events.log").read_text().splitlines()
        fields = [line.split(" ", 2) for line in lines if line.count(" ") >= 2]
        wanted = [each for each in fields if kind in ("", each[1])]
        return [(float(at), detail if kind else f"{what} {detail}") for at, what, detail in wanted]

    def pins(self) -> tuple[int, bool]:
        """Coil image in the latches, and whether the outputs are enabled; true even when the plant is dead."""
        return ControllerSide(self.folder).outputs()


def highest_load_pct(frames: Iterable[Frame], window_s: float) -> float:
    """The most that any `window_s` held, in % of the bit rate, at 150 bits a frame."""
    times = sorted(frame.at_s for frame in frames)
    most = first = 0
    for last, at_s in enumerate(times):
        while at_s - times[first] >= window_s:
            first += 1
        most = max(most, last - first + 1)
    return most * FRAME_BITS / (BIT_RATE * window_s) * 100


def summary(name: str, values_s: Sequence[float]) -> tuple[float, float]:
    """Print n, p50, p99 and max in ms; returns p50 and p99 in s."""
    ordered = sorted(values_s)
    p50, p99 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.50, 0.99))
    print(f"{name}: n={len(ordered)} p50={p50 * 1e3:.1f} p99={p99 * 1e3:.1f} max={ordered[-1] * 1e3:.1f} ms")
    return p50, p99


# --- the devices --------------------------------------------------------------------------------------------------


class Talker:
    """The devices' side of the broker: what is told once is repeated every 5 s until `forget`."""

    def __init__(self, port: int) -> None:
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._values: dict[str, str] = {}
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name="rig-talker", daemon=True)
        self._thread.start()

    def tell(self, topic: str, value: object) -> float:
        """Publish now and again and again; the monotonic time just before."""
        with self._lock:
            self._values[topic] = str(value)
        return self.tell_once(topic, value)

    def tell_once(self, topic: str, value: object) -> float:
        at_s = time.monotonic()
        self._client.publish(topic, str(value))
        return at_s

    def charge(self, device: str, gun_id: int, demand_kw: float, target_v: float | None = None) -> float:
        """A car charges and asks for `demand_kw`; the time of the demand. A told voltage spares the search for it."""
        at_s = self.tell(f"vesec/{gun_id}/demand/{device}", demand_kw)
        if target_v is not None:
            self.tell(f"vesec/{gun_id}/target_voltage/{device}", target_v)
        self.tell(f"vesec/{gun_id}/vehicle_status/{device}", "charging")
        self.tell(f"vesec/{gun_id}/soc/{device}", 40)
        return at_s

    def stop(self) -> None:
        self._ending.set()
        self._thread.join(LIMIT_S)
        self._client.disconnect()
        self._client.loop_stop()

    def _repeat(self) -> None:
        while not self._ending.wait(REPEAT_S):
            with self._lock:
                values = list(self._values.items())
            for topic, value in values:
                self._client.publish(topic, value)


# --- all of it ----------------------------------------------------------------------------------------------------


class Rig:
    """Broker, plant and program; made by `rig(...)`, which ends all of them."""

    def __init__(self, folder: Path, broker_options: str = "", protocol: str = "uugreen") -> None:
        self.broker = Mosquitto(folder, "allow_anonymous true\n" + broker_options)
        self.plant = Plant(folder / "plant", self.broker.port, protocol)
        self.talker: Talker | None = None
        self.main: Process | None = None
        self.files = self.plant.folder

    @property
    def config(self) -> Path:
        return self.plant.folder / "config.ini"

    @property
    def say(self) -> Talker:
        if self.talker is None:
            self.talker = Talker(self.broker.port)
        return self.talker

    def start_main(
        self, ready: bool = True, limit_s: float = 10.0, patch: str = "", files: Path | None = None
    ) -> Process:
        """Start main.py against the plant and wait until it is ready to serve.

        `patch`: Python that runs before it. `files`: its config and all that it writes lie there, not with the plant.
        """
        self.files = files or self.plant.folder
        config = self.files / "config.ini"
        command = [sys.executable, "main.py", "--config", str(config)]
        if patch:
            run = "import sys, main; sys.exit(main.main())"
            command = [sys.executable, "-c", f"{patch}\n{run}", "--config", str(config)]
        self.main = Process(command, self.plant.folder / "main.out", gpio_of(self.plant.folder))
        if ready:
            self.main.wait_line("Station ready", limit_s)
            self.main.wait_line("Connected to the broker", limit_s)
        return self.main

    def status(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.files / "status.json").read_text())
        return content

    def peer(self, *topics: str) -> Peer:
        return Peer(self.broker.port, *topics)

    def stop(self) -> None:
        if self.talker is not None:
            self.talker.stop()
        if self.main is not None:
            self.main.kill()
        self.plant.stop()
        self.broker.stop()


@contextmanager
def rig(
    folder: Path, local: str = FAST, start: bool = True, broker_options: str = "", protocol: str = "uugreen"
) -> Iterator[Rig]:
    """A running station; `local` becomes config.local.ini, `protocol` is the make of its modules.

    Without a section [Dashboard] in `local` it has no page.
    """
    made = Rig(folder, broker_options, protocol)
    try:
        made.broker.start()
        made.plant.start()
        local += "" if "[Dashboard]" in local else NO_PAGE
        (made.plant.folder / "config.local.ini").write_text(local)
        if start:
            made.start_main()
        yield made
    finally:
        made.stop()


__all__ = [
    "FAST", "NO_PAGE", "Frame", "Plant", "Process", "Rig", "Talker", "free_port", "gpio_of", "highest_load_pct", "rig",
    "run_main", "summary", "wait_for",
]  # fmt: skip
