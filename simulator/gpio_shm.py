"""Job: the cabinet's wires as a small memory-mapped file between a controller process and a plant process.

Thread: one on each side, and `gpio-edges` on the controller's, which only reads. Lock: none: every fact is one aligned
8-byte word that only one side writes, and a word is
read and written whole, so no image is ever seen half old and half new. Units: ns (monotonic), BCM pin numbers.
A pipe beside the file stands for the kernel's interrupt: a byte in it says that the emergency stop has changed.

The file outlives the controller: killed without a chance to clean up, it leaves its outputs as they were, as a Pi does.
"""

from __future__ import annotations

import mmap
import os
import random
import select
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from planning.settings import Gpio, GpioDriver
from simulator.chip_faults import stuck
from simulator.chips import CHAIN_BITS, CHAIN_MASK
from simulator.gpio_face import SimulatedGpio

FILE_NAME, EDGES_NAME = "gpio.shm", "gpio.edges"
_MAGIC = 0x5345_5645_4731_0003  # the last half is the version of this layout
_WORDS = 32
_FLAG = 1 << 63

# Written once by the plant.
_WORD_MAGIC = 0
_WORD_GUN_COUNT = 1
_WORD_MODULE_COUNT = 2
_WORD_FIRST_PIN = 3
_PINS = (
    "data_pin",
    "clock_pin",
    "latch_pin",
    "output_enable_pin",
    "feedback_load_pin",
    "feedback_clock_pin",
    "feedback_data_pin",
    "emergency_stop_pin",
    "heartbeat_pin",
    "readback_pin",
)
_NO_PIN = 255
#: The pin is looked at this often even if no byte comes: another process may have read it.
EDGE_LOOK_S = 0.1
# Written by the controller.
_WORD_OUTPUTS = 16  # bits 0-55: latched image; bit 63: output enable is low
_WORD_HEARTBEAT_EDGES = 17
_WORD_HEARTBEAT_NS = 18  # 0: no edge yet
_WORD_CONTROLLER_PID = 19
# Written by the plant.
_WORD_INPUTS = 24  # bits 0-55: feedback inputs; bit 63: emergency stop loop is closed
_WORD_STUCK_ON = 25  # drivers behind the outputs: the registers know nothing of them
_WORD_STUCK_OFF = 26
_WORD_FLIPS = 27  # how often a bit was turned over in the registers; the low 8 bits: which one last
_WORD_CHAINS = 28  # bit 0: the test input reads 0; bit 1: the readback is wrong; from bit 8: stray edges plus 128
_NO_STRAY_EDGES = 128 << 8


class PlantSide:
    """The plant's view of the cabinet: a `gpio_face.FarEnd` whose chips live in the controller's process."""

    def __init__(self, folder: Path, pins: Gpio, gun_count: int = 6, module_count: int = 9, seed: int = 0) -> None:
        """Make `folder`/gpio.shm anew, with chips as they power up: random latches (by `seed`), outputs disabled.

        Raises ValueError when `pins` names the direct wiring, which this file does not carry.
        """
        if pins.driver is not GpioDriver.SHIFT_REGISTER:
            raise ValueError("The plant in its own process serves driver = shift_register only")
        fresh = folder / f"{FILE_NAME}.new"
        fresh.write_bytes(bytes(_WORDS * 8))
        self._words = _open(fresh)
        self._words[_WORD_GUN_COUNT] = gun_count
        self._words[_WORD_MODULE_COUNT] = module_count
        for word, name in enumerate(_PINS, _WORD_FIRST_PIN):
            pin = getattr(pins, name)
            self._words[word] = _NO_PIN if pin is None else pin
        self._words[_WORD_OUTPUTS] = random.Random(seed).getrandbits(CHAIN_BITS)
        self._words[_WORD_INPUTS] = _FLAG
        self._words[_WORD_CHAINS] = _NO_STRAY_EDGES
        self._words[_WORD_MAGIC] = _MAGIC
        (folder / EDGES_NAME).unlink(missing_ok=True)
        os.mkfifo(folder / EDGES_NAME)
        self._edges = _open_pipe(folder)
        fresh.replace(folder / FILE_NAME)  # whole at once: no controller can map half of it

    @property
    def coils(self) -> int:
        """Coils that have current now; 0 while output enable is high."""
        outputs = self._words[_WORD_OUTPUTS]
        driven = (outputs | self._words[_WORD_STUCK_ON]) & ~self._words[_WORD_STUCK_OFF]
        return driven & CHAIN_MASK if outputs & _FLAG else 0

    @property
    def coil_image_latched(self) -> int:
        return self._words[_WORD_OUTPUTS] & CHAIN_MASK

    @property
    def output_enabled(self) -> bool:
        return bool(self._words[_WORD_OUTPUTS] & _FLAG)

    @property
    def heartbeat_edges(self) -> int:
        return self._words[_WORD_HEARTBEAT_EDGES]

    @property
    def last_heartbeat_edge_s(self) -> float | None:
        """Monotonic seconds (the clock is the machine's, so both processes mean the same); None before the first."""
        edge_ns = self._words[_WORD_HEARTBEAT_NS]
        return edge_ns / 1e9 if edge_ns else None

    @property
    def controller_pid(self) -> int | None:
        """The process that drove the pins last, alive or not."""
        return self._words[_WORD_CONTROLLER_PID] or None

    @property
    def feedback_inputs(self) -> int:
        """Bit i = feedback input i is high: not proven open."""
        return self._words[_WORD_INPUTS] & CHAIN_MASK

    @feedback_inputs.setter
    def feedback_inputs(self, inputs: int) -> None:
        self._words[_WORD_INPUTS] = self._words[_WORD_INPUTS] & _FLAG | inputs & CHAIN_MASK

    @property
    def emergency_stop_healthy(self) -> bool:
        return bool(self._words[_WORD_INPUTS] & _FLAG)

    @emergency_stop_healthy.setter
    def emergency_stop_healthy(self, healthy: bool) -> None:
        changed = healthy is not self.emergency_stop_healthy
        self._words[_WORD_INPUTS] = self._words[_WORD_INPUTS] & CHAIN_MASK | (_FLAG if healthy else 0)
        if changed:
            with suppress(BlockingIOError):  # nobody reads, and what waits in the pipe wakes whoever will
                os.write(self._edges, b"e")

    # --- chip_faults.Chips: drivers stand here, the chains in the controller's process --------------------------------

    def stick_output(self, index: int, level: int | None) -> None:
        words = self._words
        words[_WORD_STUCK_ON], words[_WORD_STUCK_OFF] = stuck(
            words[_WORD_STUCK_ON], words[_WORD_STUCK_OFF], index, level
        )

    def flip_output(self, index: int) -> None:
        self._words[_WORD_FLIPS] = ((self._words[_WORD_FLIPS] >> 8) + 1) << 8 | index

    def flip_readback(self, wrong: bool) -> None:
        self._set_chain_bit(1 << 1, wrong)

    def flip_test_input(self, wrong: bool) -> None:
        self._set_chain_bit(1 << 0, wrong)

    def shift_feedback(self, edges: int) -> None:
        self._words[_WORD_CHAINS] = self._words[_WORD_CHAINS] & 0xFF | (edges + 128) << 8

    def _set_chain_bit(self, bit: int, wrong: bool) -> None:
        self._words[_WORD_CHAINS] = self._words[_WORD_CHAINS] & ~bit | (bit if wrong else 0)


class ControllerSide:
    """The chips' view: they tell what they drive and ask what comes in."""

    def __init__(self, folder: Path) -> None:
        """Open `folder`/gpio.shm. Raises RuntimeError when no plant made one there."""
        path = folder / FILE_NAME
        try:
            self._words = _open(path)
        except (OSError, ValueError) as error:
            raise RuntimeError(f"No simulated station at {path} ({error}); `python -m simulator --serve`?") from None
        if self._words[_WORD_MAGIC] != _MAGIC:
            raise RuntimeError(f"{path} was made by another version: start `python -m simulator --serve` anew")
        self._folder = folder
        self._edges: int | None = None
        self.gun_count = self._words[_WORD_GUN_COUNT]
        self.module_count = self._words[_WORD_MODULE_COUNT]

    def pins(self) -> Gpio:
        """The wiring that the plant was started with."""
        numbers = {name: self._words[word] for word, name in enumerate(_PINS, _WORD_FIRST_PIN)}
        readback_pin = numbers.pop("readback_pin")
        return Gpio(**numbers, readback_pin=None if readback_pin == _NO_PIN else readback_pin)  # type: ignore[arg-type]

    def outputs(self) -> tuple[int, bool]:
        """Latched image, and whether the outputs are enabled: what the controller before this one left behind."""
        outputs = self._words[_WORD_OUTPUTS]
        return outputs & CHAIN_MASK, bool(outputs & _FLAG)

    def set_outputs(self, latched: int, enabled: bool) -> None:
        self._words[_WORD_OUTPUTS] = latched | (_FLAG if enabled else 0)

    def count_heartbeat_edge(self) -> None:
        self._words[_WORD_HEARTBEAT_NS] = time.monotonic_ns()
        self._words[_WORD_HEARTBEAT_EDGES] += 1

    def claim(self) -> None:
        """Tell the plant which process drives the pins."""
        self._words[_WORD_CONTROLLER_PID] = os.getpid()

    def inputs(self) -> int:
        return self._words[_WORD_INPUTS]

    def chain_faults(self) -> tuple[int, int]:
        """What the plant has broken in the chains: the words FLIPS and CHAINS."""
        return self._words[_WORD_FLIPS], self._words[_WORD_CHAINS]

    def emergency_stop_healthy(self) -> bool:
        return bool(self._words[_WORD_INPUTS] & _FLAG)

    def wait_for_edge(self, timeout_s: float) -> None:
        """Until the emergency stop has changed, or `timeout_s`."""
        if self._edges is None:
            self._edges = _open_pipe(self._folder)
        if select.select([self._edges], [], [], timeout_s)[0]:
            with suppress(BlockingIOError):  # another process was faster
                os.read(self._edges, 4096)


class SharedGpio(SimulatedGpio):
    """SimulatedGpio whose far end is another process.

    A plant cannot interrupt us, so a thread stands for the kernel's interrupt.
    """

    def __init__(self, side: ControllerSide, now_s: Callable[[], float] = time.monotonic) -> None:
        self._side = side
        self._no_edges = threading.Event()
        super().__init__(side.pins(), now_s, side.gun_count, side.module_count)
        self._faults_taken = (side.chain_faults()[0], _NO_STRAY_EDGES)  # a burst of before does not come again
        if self.output_chain is not None:
            self.output_chain.restore(*side.outputs())

    def setmode(self, mode: int) -> None:
        super().setmode(mode)
        self._side.claim()

    def add_event_detect(
        self, channel: int, edge: int, callback: Callable[[int], None] | None = None, bouncetime: int | None = None
    ) -> None:
        super().add_event_detect(channel, edge, callback, bouncetime)
        if self._callbacks and channel == self._pins.emergency_stop_pin:
            self._no_edges.clear()
            threading.Thread(target=self._watch_edges, name="gpio-edges", daemon=True).start()

    def remove_event_detect(self, channel: int) -> None:
        super().remove_event_detect(channel)
        self._no_edges.set()

    def cleanup(self, channel: int | Iterable[int] | None = None) -> None:
        super().cleanup(channel)
        if not self._callbacks:
            self._no_edges.set()

    def _watch_edges(self) -> None:
        pin, before = self._pins.emergency_stop_pin, self._read_emergency_stop()
        while not self._no_edges.is_set():
            self._side.wait_for_edge(EDGE_LOOK_S)
            level = self._read_emergency_stop()
            callback = self._callbacks.get(pin)
            if before and not level and callback is not None:
                callback(pin)
            before = level

    def _read_feedback_inputs(self) -> int:
        faults = self._side.chain_faults()
        if faults != self._faults_taken:
            self._break_chains(*faults)
        return self._side.inputs()

    def _break_chains(self, flips: int, chains: int) -> None:
        """Let what the plant says come true in the chains of this process."""
        flips_taken, self._faults_taken = self._faults_taken[0], (flips, chains)
        if self.chip_faults is None:
            return
        if flips != flips_taken:
            self.chip_faults.flip_output(flips & 0xFF)
        self.chip_faults.flip_test_input(bool(chains & 1))
        self.chip_faults.flip_readback(bool(chains & 2))
        self.chip_faults.shift_feedback((chains >> 8) - 128)

    def _read_emergency_stop(self) -> int:
        return 1 if self._side.emergency_stop_healthy() else 0

    def _on_outputs(self) -> None:
        self._side.set_outputs(self.coil_image_latched, self.output_enabled)

    def _on_heartbeat_edge(self) -> None:
        self._side.count_heartbeat_edge()


def _open_pipe(folder: Path) -> int:
    """For both ends at once, so that it stays while the other side is gone."""
    return os.open(folder / EDGES_NAME, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _open(path: Path) -> memoryview:
    with path.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), _WORDS * 8)).cast("Q")
