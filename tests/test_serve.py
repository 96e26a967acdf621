"""The plant as a process of its own: its files, faults by line, CAN and pins from the outside, the monostable."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import can
import pytest

from planning.settings import Gpio
from simulator.cabinet import Cabinet
from simulator.gpio_face import SimulatedGpio
from simulator.gpio_shm import ControllerSide
from simulator.plant import Plant

PROJECT = Path(__file__).resolve().parents[1]
LIMIT_S = 10.0


def until(condition: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
    """Wait for a condition, with a limit."""
    ticks, ends_s = threading.Event(), time.monotonic() + limit_s
    while time.monotonic() < ends_s:
        if result := condition():
            return result
        ticks.wait(0.01)
    raise AssertionError("it did not happen in time")


class Served:
    """A running `python -m simulator --serve`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "simulator", "--serve", str(self.folder), "--broker", "127.0.0.1:1"]
        self.process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL)
        self.ready = until(lambda: self.read("plant.json"))

    def read(self, name: str) -> dict[str, Any] | None:
        path = self.folder / name
        return json.loads(path.read_text()) if path.exists() else None  # type: ignore[no-any-return]

    def state(self) -> dict[str, Any]:
        return self.read("state.json") or {}

    def command(self, line: str) -> None:
        with (self.folder / "control").open("w") as control:
            control.write(line + "\n")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path / "plant")
    yield served
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(LIMIT_S) == 0
    assert not (served.folder / "control").exists()
    assert not (served.folder / "plant.json").exists()


@pytest.mark.process
def test_the_plant_in_its_own_process_closes_charges_and_drops_when_the_heartbeat_ends(served: Served) -> None:
    config = (served.folder / "config.ini").read_text()
    assert f"option_port = {served.ready['can_port']}" in config
    pins = ControllerSide(served.folder)
    pins.set_outputs(1, True)

    def alive() -> dict[str, Any]:
        pins.count_heartbeat_edge()
        return served.state()

    until(lambda: alive()["closed"] == ["g1m1"])
    until(lambda: alive()["guns"][0]["output_closed"])
    with can.Bus(interface="socketcand", channel="can0", host="127.0.0.1", port=served.ready["can_port"]) as bus:
        bus.send(can.Message(arbitration_id=0x0220_4000, data=bytes.fromhex("1200000000000000"), is_extended_id=True))
        assert until(lambda: bus.recv(0.1)).data[:2].hex() == "1300"
    until(lambda: served.state()["supply_drops"] == 1)
    until(lambda: served.state()["closed"] == [])
    assert served.state()["violations"] == []


@pytest.mark.process
def test_killed_and_started_again_it_is_found_where_it_was(served: Served) -> None:
    port = served.ready["can_port"]
    served.process.kill()
    served.process.wait(LIMIT_S)
    (served.folder / "plant.json").unlink()
    served.start()
    assert served.ready["can_port"] == port


@pytest.mark.process
def test_a_line_in_the_control_pipe_breaks_something(served: Served) -> None:
    served.command("slam g2m3")
    until(lambda: served.state()["closed"] == ["g2m3"])
    served.command("estop press")
    until(lambda: not served.state()["estop_healthy"])
    served.command("do something")
    until(lambda: served.state()["last_command"] == "refused: do something")
    assert served.process.poll() is None


def test_the_monostable_drops_the_coils_half_a_second_after_the_last_edge() -> None:
    now_s = 0.0
    plant = Plant(seed=1)
    gpio = SimulatedGpio(Gpio(), lambda: now_s)
    cabinet = Cabinet(plant, gpio)
    chain = gpio.output_chain
    assert chain is not None
    chain.restore(latched=1, enabled=True)

    def run_to(end_s: float) -> None:
        nonlocal now_s
        while now_s < end_s - 1e-9:
            now_s += 0.01
            cabinet.step(now_s)

    run_to(1.0)
    assert plant.closed_contacts() == []  # no first edge, no supply
    gpio.setmode(gpio.BCM)
    gpio.setup(Gpio().heartbeat_pin, gpio.OUT)
    gpio.output(Gpio().heartbeat_pin, 1)
    run_to(1.5)
    assert len(plant.closed_contacts()) == 1
    assert gpio.feedback_inputs == 1 | 1 << 54
    run_to(1.56)
    assert plant.closed_contacts() == []
    assert cabinet.supply_drops == 1
