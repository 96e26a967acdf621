"""The stand-in for RPi.GPIO: a controller in a process of its own against the plant's side of the shared file."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from cabinet import WITH_READBACK

from planning.settings import Gpio
from simulator.gpio_face import FarEnd
from simulator.gpio_shm import ControllerSide, PlantSide, SharedGpio

PROJECT = Path(__file__).resolve().parents[1]
LIMIT_S = 10.0

#: Obeys one line at a time on stdin and answers each with one line on stdout.
CHILD = """
import sys
import RPi.GPIO as GPIO
from contactor_controller import ShiftRegisterDriver
from planning.settings import Gpio
driver = ShiftRegisterDriver(GPIO, Gpio(readback_pin=19), 54)
for line in sys.stdin:
    name, *arguments = line.split()
    print(getattr(driver, name)(*map(int, arguments)), flush=True)
"""


class Controller:
    """The child process; `tell` raises queue.Empty when no answer comes within LIMIT_S."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            env={**os.environ, "STATION_PLANT": str(folder), "PYTHONPATH": str(PROJECT / "simulator/standin")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,  # the project is found through the stand-in, not through the working directory
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._stdin = self.process.stdin
        self._answers: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def tell(self, *words: object) -> str:
        print(*words, file=self._stdin, flush=True)
        return self._answers.get(timeout=LIMIT_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT_S)
        self._reader.join(LIMIT_S)
        self._stdin.close()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self, lines: IO[str]) -> None:
        for line in lines:
            self._answers.put(line.strip())


@pytest.fixture
def plant(tmp_path: Path) -> PlantSide:
    return PlantSide(tmp_path, WITH_READBACK, seed=3)


@pytest.fixture
def controller(plant: PlantSide, tmp_path: Path) -> Iterator[Controller]:
    controller = Controller(tmp_path)
    yield controller
    controller.kill()


def test_two_processes_and_a_kill(plant: PlantSide, controller: Controller, tmp_path: Path) -> None:
    assert plant.coils == 0
    assert plant.coil_image_latched != 0  # random, as chips power up
    controller.tell("set_up")
    assert plant.controller_pid == controller.process.pid
    controller.tell("write_image", 0)
    assert controller.tell("write_image", 0b101) == "True"
    assert (plant.coils, plant.coil_image_latched) == (0, 0b101)
    controller.tell("enable_outputs", 1)
    assert plant.coils == 0b101

    plant.feedback_inputs = 0b111
    assert controller.tell("read_feedback") == str(0b111)
    plant.feedback_inputs = 1 << 53
    assert controller.tell("read_feedback") == str(1 << 53)
    assert controller.tell("emergency_stop_healthy") == "True"
    plant.emergency_stop_healthy = False
    assert controller.tell("emergency_stop_healthy") == "False"
    assert plant.feedback_inputs == 1 << 53

    assert plant.last_heartbeat_edge_s is None
    controller.tell("heartbeat_edge")
    first_s = plant.last_heartbeat_edge_s
    controller.tell("heartbeat_edge")
    assert plant.heartbeat_edges == 2
    assert first_s is not None
    assert plant.last_heartbeat_edge_s is not None
    assert plant.last_heartbeat_edge_s > first_s

    controller.kill()
    assert (plant.coils, plant.output_enabled) == (0b101, True)  # a Pi keeps driving

    successor = SharedGpio(ControllerSide(tmp_path))
    assert successor.coils == 0b101
    successor.setmode(successor.BCM)
    successor.setup(WITH_READBACK.output_enable_pin, successor.OUT, initial=successor.HIGH)
    assert (plant.coils, plant.coil_image_latched) == (0, 0b101)


def test_without_a_plant_it_refuses_in_a_sentence(tmp_path: Path) -> None:
    def stand_in_says(station_plant: str) -> str:
        environment = {"PYTHONPATH": str(PROJECT / "simulator/standin"), "STATION_PLANT": station_plant}
        ended = subprocess.run(
            [sys.executable, "-c", "import RPi.GPIO"], env=environment, capture_output=True, text=True, timeout=LIMIT_S
        )
        assert ended.returncode == 1
        return ended.stderr.splitlines()[-1]

    assert "RuntimeError: This RPi.GPIO is the simulator's stand-in and needs STATION_PLANT" in stand_in_says("")
    assert "RuntimeError: No simulated station at" in stand_in_says(str(tmp_path))


def test_the_wiring_travels_with_the_file(tmp_path: Path) -> None:
    plant: FarEnd = PlantSide(tmp_path, Gpio(data_pin=2, clock_pin=3), gun_count=2, module_count=3)
    side = ControllerSide(tmp_path)
    assert side.pins() == Gpio(data_pin=2, clock_pin=3)
    assert (side.gun_count, side.module_count) == (2, 3)
    assert plant.emergency_stop_healthy
