"""A small UUGreen module and a CAN wire in virtual time, with byte encoders of their own, for tests of the controller.

`Bench` plays the bus: one frame at a time, the lowest identifier first, 1.2 ms each; modules answer 1 ms after it.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from can import BusABC, CanOperationError, Message

from planning.model import OFF_ORDER, ModuleOrder, ModuleStatus
from planning.settings import Can, Module, Modules, Safety
from power_module_controller import PowerModuleController

FRAME_S = 0.0012
REPLY_S = 0.001
OFF_BIT, CC_BIT = 1 << 25, 1 << 27
BASE = 0x02200000


class WireFrame(NamedTuple):
    """What passed on the bus, with the time at which it was complete."""

    at_s: float
    can_id: int
    data: bytes
    ours: bool  # sent by the controller under test

    @property
    def module(self) -> int:
        return self.can_id >> 14 & 0x7F

    @property
    def kind(self) -> int:
        return self.data[0] & 15

    @property
    def command(self) -> int:
        return self.data[1]

    @property
    def value(self) -> int:
        return int.from_bytes(self.data[4:], "big")


@dataclass
class FakeModule:
    """Holds what it was set to; gives the set voltage and, with a load, the set current."""

    address: int
    identity: int = 0x23A9
    number: int = 1449
    on: bool = False
    volts: float = 0.0
    amps: float = 0.0
    load_a: float = 0.0
    range_code: int = 1
    status_bits: int = 0
    alive: bool = True
    deaf_to: frozenset[int] = frozenset()  # commands it neither executes nor answers
    reply_delay_s: float = REPLY_S
    forgets: bool = True  # set-points while off
    raw: dict[int, int] = field(default_factory=dict)  # command -> value it answers instead
    range_writes: int = 0

    def hear(self, can_id: int, data: bytes) -> tuple[int, bytes] | None:
        """Execute a request; the reply, when there is one."""
        target, kind, command = can_id >> 14 & 0x7F, data[0] & 15, data[1]
        if not self.alive or can_id & 0x1FE03FFF != BASE or target not in (0, self.address):
            return None
        if kind not in (0, 2) or command in self.deaf_to:
            return None
        value = int.from_bytes(data[4:], "big")
        if kind == 0:
            self._set(command, value)
            return self._reply(1, command, value) if target else None
        if command == 5:
            word = 24 << 22 | 6 << 18 | 17 << 13 | self.number
            return self._reply(4, 5, word)
        return self._reply(3, command, self.raw.get(command, self._read(command)))

    def power_cycle(self) -> None:
        self.on, self.volts, self.amps = False, 0.0, 0.0

    def _set(self, command: int, value: int) -> None:
        usable = self.on or not self.forgets
        if command == 2:
            self.volts = value / 1000
        elif command == 3:
            self.amps = value / 1000
        elif command == 4:
            self.on = value == 0
            if not usable:
                self.volts = self.amps = 0.0
        elif command == 95 and not self.on:
            self.range_code = value
            self.range_writes += 1

    def _read(self, command: int) -> int:
        current = min(self.amps, self.load_a) if self.on else 0.0
        voltage = self.volts if self.on else 0.0
        status = self.status_bits | (0 if self.on else OFF_BIT) | (CC_BIT if current and current == self.amps else 0)
        return {
            8: status,
            98: round(voltage * 1000),
            48: round(current * 1000),
            114: round(current * 10) << 16 | 1330,
            101: self.range_code,
            30: 31250,
            20: 400_000,
        }.get(command, 0)

    def _reply(self, kind: int, command: int, value: int) -> tuple[int, bytes]:
        data = bytes((kind, command, 0, 0)) + value.to_bytes(4, "big")
        return BASE | self.address << 14 | self.identity, data


class FakeBus(BusABC):
    """The controller's end of the wire. `full_until_s`: the kernel's queue is full; `broken`: any use fails."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(channel="fake")
        self.channel_info = "fake wire"
        self._is_shutdown = True  # nothing to release
        self.bench = bench
        self.broken = False
        self.full_until_s = 0.0
        self.waiting = 0  # frames of ours that the wire has not taken: the kernel's queue
        self.most_waiting = 0

    def send(self, msg: Message, timeout: float | None = None) -> None:
        if self.broken:
            raise OSError(errno.ENETDOWN, "Network is down")
        if self.bench.now_s < self.full_until_s:
            raise CanOperationError("Failed to transmit", error_code=errno.ENOBUFS)
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        self.bench.sent.append((self.bench.now_s, msg.arbitration_id, bytes(msg.data)))
        self.bench.offer(self.bench.now_s, msg.arbitration_id, bytes(msg.data), ours=True)


def settings_for(
    modules: Sequence[int], protocols: Mapping[int, str] | None = None, enabled: bool = True
) -> tuple[Can, Modules, Safety]:
    names = protocols or {}
    by_number = {number: Module(number, number, names.get(number, "uugreen"), enabled) for number in modules}
    return Can(), Modules(by_number), Safety()


class VirtualClock:
    """The bench's time, for the few places that ask a clock."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def now_s(self) -> float:
        return self._bench.now_s

    def wall_s(self) -> float:
        return 1.0e9 + self._bench.now_s

    def wait(self, event: Any, timeout_s: float) -> bool:
        raise AssertionError("nothing waits in virtual time")


class Bench:
    """Modules, wire and controller in one virtual time. Orders are renewed every 20 ms as the control thread does."""

    def __init__(self, modules: Sequence[FakeModule], numbers: Sequence[int] | None = None, **changes: Any) -> None:
        self.now_s = 100.0
        self.modules = list(modules)
        self.wire: list[WireFrame] = []
        self.sent: list[tuple[float, int, bytes]] = []
        self.opened: list[FakeBus] = []
        self.refuse_open: Exception | None = None
        self.renew = True
        self.watch_link = False  # call keep_link, as can-rx does
        self._pending: list[tuple[float, int, int, bytes, bool]] = []
        self._count = itertools.count()
        self._free_s = 0.0
        self._apply_s = 0.0
        can, config, safety = settings_for(numbers or [module.address for module in modules], **changes)
        self.controller = PowerModuleController(can, config, safety, self._open, VirtualClock(self))
        self.orders = [OFF_ORDER] * max(config.by_number)

    def _open(self) -> BusABC:
        if self.refuse_open is not None:
            raise self.refuse_open
        self.opened.append(FakeBus(self))
        return self.opened[-1]

    @property
    def bus(self) -> FakeBus:
        return self.opened[-1]

    def open(self) -> Bench:
        """Open the bus and let everything settle: all modules heard and off."""
        self.controller.open(self.now_s)
        return self

    def ready(self) -> Bench:
        self.open().run(2.0)
        return self

    def offer(self, ready_s: float, can_id: int, data: bytes, ours: bool = False) -> None:
        """A node wants to send."""
        self._pending.append((ready_s, next(self._count), can_id, data, ours))

    def deliver(self, message: Message) -> None:
        """Hand a frame to the controller past the wire."""
        self.controller.receive(message, self.now_s)

    def order(self, module: int, order: ModuleOrder) -> None:
        self.orders[module - 1] = order
        self.controller.apply(self.orders, self.now_s)

    def run(self, seconds: float) -> None:
        self.run_until(lambda: False, seconds)

    def run_until(self, done: Callable[[], bool], limit_s: float = 10.0) -> bool:
        """Let time pass until `done`; False at the limit."""
        end_s = self.now_s + limit_s
        while not done():
            frame_s = self._next_frame_s()
            next_s = min(frame_s, self.now_s + self.controller.tx_due_s(self.now_s), self._apply_s)
            if next_s > end_s:
                self.now_s = end_s
                return done()
            self.now_s = max(self.now_s, next_s)
            if self.now_s >= self._apply_s:
                self._control_step()
            if self.controller.tx_due_s(self.now_s) <= 1e-9:
                self.controller.step_tx(self.now_s)
            if frame_s <= self.now_s:
                self._pass_frame()
        return True

    def status(self, module: int = 1) -> ModuleStatus:
        found = [status for status in self.controller.status(self.now_s) if status.module == module]
        return found[0]

    def ours(self, since_s: float = 0.0) -> list[WireFrame]:
        return [frame for frame in self.wire if frame.ours and frame.at_s > since_s]

    def _control_step(self) -> None:
        self._apply_s = self.now_s + 0.02
        if self.renew:
            self.controller.apply(self.orders, self.now_s)
        self.controller.status(self.now_s)
        if self.watch_link:
            self.controller.keep_link(self.now_s)

    def _next_frame_s(self) -> float:
        if not self._pending:
            return float("inf")
        start_s = max(self._free_s, min(item[0] for item in self._pending))
        return start_s + FRAME_S

    def _pass_frame(self) -> None:
        start_s = max(self._free_s, min(item[0] for item in self._pending))
        ready = [item for item in self._pending if item[0] <= start_s]
        first_of_ours = min((item[1] for item in ready if item[4]), default=-1)  # the kernel's queue is in order
        item = min((item for item in ready if not item[4] or item[1] == first_of_ours), key=lambda item: item[2])
        self._pending.remove(item)
        end_s = start_s + FRAME_S
        self._free_s = end_s
        _, _, can_id, data, ours = item
        self.wire.append(WireFrame(end_s, can_id, data, ours))
        if not ours:
            self.controller.receive(Message(arbitration_id=can_id, data=data, is_extended_id=True), end_s)
            return
        self.bus.waiting -= 1
        for module in self.modules:
            reply = module.hear(can_id, data)
            if reply is not None:
                self.offer(end_s + module.reply_delay_s, *reply)
