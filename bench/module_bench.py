"""Job: one controller of modules and nine simulated ones of any make on a wire, in virtual time; nothing else.

Thread: the caller's. Lock: none. Units: s of bench time, V, A. Orders are renewed every 20 ms.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

from planning.model import OFF_ORDER, Crosspoint, ModuleOrder, ModuleStatus
from planning.settings import Can, Module, Modules, Safety
from power_module_controller import PowerModuleController
from protocols import PROTOCOLS
from protocols.base import Make
from simulator.board import Board
from simulator.can_face import FRAME_S, WireBus
from simulator.gun_bus import FixedBattery
from simulator.module_wire import ModuleWire
from simulator.plant import Plant, index_of

NUMBERS = range(1, 10)
CONTROL_STEP_S = 0.02
PLANT_STEP_S = 0.01
LINK_STEP_S = 0.05
BATTERY_V = 640.0


class Passed(NamedTuple):
    """A frame on the wire: when it was given to it (of a reply: when it had passed), and when it had passed."""

    at_s: float
    passed_s: float
    can_id: int
    data: bytes
    ours: bool


class _Clock:
    def __init__(self, bench: MakeBench) -> None:
        self._bench = bench

    def now_s(self) -> float:
        return self._bench.now_s

    def wall_s(self) -> float:
        return self._bench.now_s

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        raise AssertionError("nothing waits in virtual time")


class MakeBench:
    """See the file's head. `make` for all modules, or `makes` for each one."""

    def __init__(self, make: str = "uugreen", makes: Mapping[int, str] | None = None, seed: int = 1) -> None:
        names = dict.fromkeys(NUMBERS, make) | dict(makes or {})
        self.now_s = 0.0
        self.frames: list[Passed] = []
        self._free_s = 0.0
        self.plant = Plant(seed)
        self.wire = ModuleWire(self.plant.modules, seed, makes=names)
        self.bus = WireBus(self.wire.answer, lambda: self.now_s, self._note, self.wire)
        modules = Modules({number: Module(number, number, name, True) for number, name in names.items()})
        self.makes: dict[int, Make] = {number: PROTOCOLS[name] for number, name in names.items()}
        self.orders = [OFF_ORDER] * len(names)
        self.watched: tuple[int, ...] = ()
        self.alive = True  # False: the controller's process is gone
        self._due_s = {"control": 0.0, "plant": 0.0, "link": 0.0}
        self.controller = PowerModuleController(Can(), modules, Safety(), lambda: self.bus, _Clock(self), self._failed)
        self.controller.open(self.now_s)

    # --- what the caller does -----------------------------------------------------------------------------------------

    def order(self, module: int, voltage_v: float, current_a: float) -> None:
        """From now on, until another order comes."""
        self.orders[module - 1] = ModuleOrder(True, voltage_v, current_a)

    def order_off(self, module: int) -> None:
        self.orders[module - 1] = OFF_ORDER

    def connect(self, *modules: int, battery_v: float | None = BATTERY_V) -> None:
        """Close their contactors onto gun 1, behind which a battery hangs."""
        self.plant.plug(1, None if battery_v is None else FixedBattery(battery_v), self.now_s)
        coils = sum(1 << index_of(Crosspoint(1, module)) for module in modules)
        self.plant.set_coils(coils, self.now_s)
        self.plant.set_output(1, True, self.now_s)
        self.run(0.1)

    def run(self, seconds: float) -> None:
        self.run_until(lambda: False, seconds)

    def run_until(self, done: Callable[[], bool], limit_s: float) -> float | None:
        """Let time pass until `done`; how long it took, None at the limit."""
        begin_s = self.now_s
        end_s = begin_s + limit_s
        while not done():
            next_s = min(self._next_s(), end_s)
            self.now_s = max(self.now_s, next_s)
            if self.now_s >= end_s and not self._next_s() < end_s:
                return self.now_s - begin_s if done() else None
            self._step()
        return self.now_s - begin_s

    # --- what the caller looks at -------------------------------------------------------------------------------------

    def status(self, module: int = 1) -> ModuleStatus:
        return self.controller.status(self.now_s)[module - 1]

    def amps(self, module: int = 1) -> float:
        """What it delivers, whatever it says."""
        return self.plant.modules[module - 1].current_a

    def board(self, module: int = 1) -> Board:
        return self.wire.board(module)

    def ours(self, since_s: float = 0.0) -> list[Passed]:
        """Frames that the controller sent."""
        return [frame for frame in self.frames if frame.ours and frame.at_s >= since_s]

    def load_pct(self, begin_s: float, seconds: float) -> float:
        """Share of the wire, 150 bits a frame at 125 kbit/s."""
        count = sum(begin_s <= frame.at_s < begin_s + seconds for frame in self.frames)
        return count * 150 / 125_000 / seconds * 100

    def highest_load_pct(self, since_s: float, window_s: float) -> float:
        times = [frame.at_s for frame in self.frames if frame.at_s >= since_s]
        first, most = 0, 0
        for last, at_s in enumerate(times):
            while times[first] <= at_s - window_s:
                first += 1
            most = max(most, last - first + 1)
        return most * 150 / 125_000 / window_s * 100

    # --- time ---------------------------------------------------------------------------------------------------------

    def _next_s(self) -> float:
        tx_s = self.now_s + self.controller.tx_due_s(self.now_s) if self.alive else float("inf")
        return max(self.now_s, min(tx_s, self.bus.next_arrival_s(), *self._due_s.values()))

    def _step(self) -> None:
        now_s = self.now_s
        if self._is_due("plant", PLANT_STEP_S):
            self.plant.advance_to(now_s)
            self.wire.watch(now_s)
        if self.bus.next_arrival_s() <= now_s:
            message = self.bus.recv(0)
            if message is not None and self.alive:
                self.controller.receive(message, now_s)
        if self._is_due("control", CONTROL_STEP_S) and self.alive:
            self.controller.apply(self.orders, now_s)
            self.controller.watch(self.watched)
            self.controller.status(now_s)
        if self._is_due("link", LINK_STEP_S) and self.alive:
            self.controller.keep_link(now_s)
        if self.alive and self.controller.tx_due_s(now_s) <= 1e-9:
            self.controller.step_tx(now_s)

    def _is_due(self, what: str, step_s: float) -> bool:
        if self.now_s < self._due_s[what]:
            return False
        self._due_s[what] = self.now_s + step_s
        return True

    def _note(self, at_s: float, can_id: int, data: bytes, ours: bool) -> None:
        self._free_s = max(self._free_s, at_s) + FRAME_S if ours else at_s
        self.frames.append(Passed(at_s, self._free_s, can_id, data, ours))

    def _failed(self, thread: str, error: BaseException) -> None:
        raise AssertionError(f"{thread} failed") from error
