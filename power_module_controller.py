"""Job: the CAN bus and the power modules on it: tells them what they were ordered, believes what they prove.

Thread: `can-rx` opens the bus, receives and judges; `can-tx` paces what is sent. Any thread may order and ask.
Lock: one, for readings and orders; held to copy and to reckon, never to send, receive, log or wait. The send queue and
the drives belong to can-tx alone. Units: in each name; monotonic seconds.

Nothing stays on by itself: an order that is not renewed for 0.5 s counts as OFF, and a link that was opened again
starts with OFF to all. Set-points are never broadcast; OFF and reads are.
"""

from __future__ import annotations

import errno
import logging
import math
import socket
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from enum import Enum
from typing import Any, NamedTuple, TypeVar

import can.bus
from can import Bus, BusABC, CanError, Message
from can.util import cast_from_string

from planning.can_link import LinkWatch, Strangers
from planning.can_queue import LoadMeter, Outgoing, Priority, SendQueue
from planning.model import OFF_ORDER, CanStatus, ModuleOrder, ModuleStatus
from planning.module_drive import Change, DriveRules, ModuleDrive, Stop, Wish
from planning.module_view import ModuleView, ViewLimits
from planning.notebook import Notebook
from planning.read_schedule import MAX_WATCHED, ReadSchedule, Thinner, Thinning
from planning.settings import Can, Modules, Safety
from protocols import PROTOCOLS
from protocols.base import Frame, Make, MalformedFrame, ModuleReading, Refusal, Signal
from worker import Clock, Worker

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

#: python-can reckons the timeout of `recv` with the clock on the wall: when that is set back by an hour, a receive of
#: 50 ms lasts an hour. Seen in the running station; hence its clock is the monotonic one here.
can.bus.time = time.monotonic  # type: ignore[attr-defined]

ORDER_VALID_S = 0.5
PLAN_STEP_S = 0.05
BUSY_PLAN_STEP_S = 0.025  # while a module is on its way to its order
SETTLED_STEP_S = 0.1  # for a module at which nothing is pending
#: Between two steps up of one set-point: as often as it is read in hand-over, and less often the more modules move, so
#: that all of them together send no more than 40 frames a second (with echoes 9.6 % of the bus).
RAISE_STEP_S = 0.1
RAISE_STEP_PER_MODULE_S = 0.08
#: Modules of one make that move take no more than a quarter of the frames that its spacing leaves; the rest are reads.
RAISE_STEP_SPACINGS = 4
#: Set-points of a module that is on go out again after so long, even if unchanged, or after two rounds of a slow make.
REFRESH_S = 2.0
MOVING_S = 1.0  # a module moves so long after its last new order
#: In a longer round the readings that a contactor waits for after an OFF (open_wait, 2 s) do not wait for their turn.
SLOW_ROUND_S = 1.0
#: A status word with news of faults is read once more, at most so often: two in a row count.
ASK_AGAIN_S = 0.1
ALL_OFF_TIMES = 3
#: Modules with a shorter spacing than this take frames back to back as well; it only keeps the bus free for others.
BACK_TO_BACK_S = 0.01
RECEIVE_WAIT_S = 0.05
CONNECT_TIMEOUT_S = 1.0

_SETS = frozenset({Signal.POWER, Signal.SET_VOLTAGE, Signal.SET_CURRENT, Signal.SET_RANGE, Signal.SET_ALL})
#: ValueError: python-can's select on a socket that the other thread has just closed.
_LINK_ERRORS = (CanError, OSError, ValueError)
_OPEN_ERRORS = (CanError, OSError, ValueError, ImportError)


class _Kind(Enum):
    """What a queued frame is for."""

    OFF = "off"
    ON = "on"
    SET = "set-point"
    RANGE = "range"
    READ = "read"


def open_can_bus(can: Can) -> BusABC:
    """Open the bus that [CAN] names. Raises CanError, OSError, ValueError or ImportError with the reason.

    python-can's socketcand client tries to connect in a tight loop for ten seconds, so the server is tried first.
    """
    options: dict[str, Any] = {name: cast_from_string(value) for name, value in can.options.items()}
    if can.interface == "socketcand":
        _greet_socketcand(str(options.get("host", "")), int(options.get("port", 29536)))
    return Bus(
        interface=can.interface, channel=can.channel, bitrate=can.bitrate, ignore_config=True, **options
    )  # fmt: skip


def _greet_socketcand(host: str, port: int) -> None:
    """Connect once and wait for the server's greeting. OSError when it does not come in time."""
    with socket.create_connection((host, port), CONNECT_TIMEOUT_S) as connection:
        if not connection.recv(64).startswith(b"< hi"):
            raise ConnectionError(f"{host}:{port} is no socketcand server")


class _Slot:
    """One module of the config: its make, its address, what is believed of it and what is ordered."""

    __slots__ = (
        "address",
        "ask_load",
        "ask_status",
        "asked_status_s",
        "barred",
        "drive",
        "emergency",
        "given",
        "make",
        "moved_at_s",
        "number",
        "off_frames",
        "order",
        "plan_at_s",
        "settled_off",
        "view",
    )

    def __init__(self, number: int, address: int, make: Make, view: ModuleView, drive: ModuleDrive) -> None:
        self.number = number
        self.address = address
        self.make = make
        self.view = view
        self.drive = drive
        self.given: ModuleOrder = OFF_ORDER  # as it came
        self.order: ModuleOrder = OFF_ORDER  # within the nameplate
        self.barred = False  # an order ON does not count until an order OFF came
        self.ask_status = False  # a status word must be read again, not only in its turn
        self.asked_status_s = -math.inf
        self.ask_load = False  # it confirmed OFF: its contactor waits for a current that was read after it
        self.emergency = False  # off_now was called and the sender has not seen it yet
        self.plan_at_s = self.moved_at_s = -math.inf
        self.settled_off = False  # it is ordered off and proven off: a reply that says so again changes nothing
        self.off_frames = make.encode_power(address, False)


def _by(key: Callable[[_Slot], K], slots: Sequence[_Slot]) -> dict[K, list[_Slot]]:
    """The modules that share this, together."""
    groups: dict[K, list[_Slot]] = {}
    for slot in slots:
        groups.setdefault(key(slot), []).append(slot)
    return groups


class _Asking(NamedTuple):
    """The reads of all modules that understand the same requests."""

    make: Make
    modules: tuple[int, ...]
    schedule: ReadSchedule[Signal]

    @classmethod
    def of(cls, slots: Sequence[_Slot]) -> _Asking:
        make, modules = slots[0].make, tuple(slot.number for slot in slots)
        reads = make.reads
        schedule = ReadSchedule(
            modules,
            make.timing.broadcast_reads,
            reads.round_s,
            reads.round,
            reads.slow_s,
            reads.slow,
            reads.watch_s,
            reads.watched,
        )
        return cls(make, modules, schedule)


class PowerModuleController:
    """See the file's head. For virtual time: `open`, then `receive` each frame, and `step_tx` after `tx_due_s`."""

    def __init__(
        self,
        can: Can,
        modules: Modules,
        safety: Safety,
        open_bus: Callable[[], BusABC],
        clock: Clock,
        on_failure: Callable[[str, BaseException], None] | None = None,
    ) -> None:
        self._open_bus = open_bus
        self._clock = clock
        self._lock = threading.Lock()
        self._notebook = Notebook()
        self._slots = tuple(
            self._slot(number, module.address, PROTOCOLS[module.protocol], module.enabled, safety)
            for number, module in sorted(modules.by_number.items())
        )
        self._by_number = {slot.number: slot for slot in self._slots}
        self._makes = tuple(dict.fromkeys(slot.make for slot in self._slots))
        self._routes: dict[int, _Slot | None] = {}
        self._schedules = self._asking()
        self._read_frames: dict[tuple[str, int | None, Signal], tuple[Frame, ...]] = {}
        self._queue: SendQueue[Frame] = SendQueue(
            can.bitrate, {make.name: make.timing.spacing_s for make in self._makes}
        )
        self._load = LoadMeter(can.bitrate)
        #: What strangers did; its counters are for people.
        self.strangers = Strangers(can.bitrate, self._notebook)
        self._orders_at_s = -math.inf
        self._thinner = Thinner()
        self._expired = True
        self._raise_step_s = dict.fromkeys(self._makes, RAISE_STEP_S)
        self._all_off_wanted = False
        self._watched: tuple[int, ...] = ()
        self._watch_changed = False
        self._plan_now = True
        self._plan_at_s = -math.inf
        self._tx_at_s = -math.inf  # when step_tx has something to do next

        self._bus: BusABC | None = None
        self._link_failure: str | None = None
        self._opening = False  # can-rx is inside open_bus
        self._link_opened = False  # since the last plan
        self._link = LinkWatch()
        self._sent = self._received = self._send_failures = self._rejected = 0
        self.refused_orders = 0
        self._rx = Worker("can-rx", self.step_rx, clock, on_failure)
        self._tx = Worker("can-tx", self.step_tx, clock, on_failure)

    def _slot(self, number: int, address: int, make: Make, enabled: bool, safety: Safety) -> _Slot:
        plate, timing = make.nameplate, make.timing
        limits = ViewLimits(
            max_v=plate.max_v,
            max_a=plate.max_a,
            power_kw=plate.power_kw,
            silent_after_s=max(safety.silent_after_s, 1.5 * make.reads.round_s),
            answer_timeout_s=timing.answer_timeout_s,
            round_s=make.reads.round_s,
            unasked_age_s=timing.unasked_age_s,
            tells_loop=timing.tells_loop,
            has_ranges=plate.low_range_max_v is not None,
        )
        starts = any(frame.on for frame in make.encode_setpoint(address, plate.min_v, plate.min_current_a))
        rules = DriveRules(
            voltage_step_v=make.voltage_step_v,
            current_step_a=make.current_step_a,
            start_timeout_s=timing.start_timeout_s,
            off_repeat_s=safety.off_repeat_s,
            spacing_s=timing.spacing_s,
            refresh_s=max(REFRESH_S, 2.0 * make.reads.round_s),
            resend_after_on=timing.resend_after_on,
            sets_echoed=timing.sets_echoed,
            has_ranges=plate.low_range_max_v is not None,
            seen_on_s=1.5 * make.reads.round_s if starts else None,
        )
        return _Slot(number, address, make, ModuleView(number, enabled, limits, self._notebook), ModuleDrive(rules))

    def _asking(self) -> tuple[_Asking, ...]:
        """One schedule for each kind of broadcast read: makes that share their frames are asked once."""
        groups = _by(lambda slot: (slot.make.encode_all_off(), slot.make.reads), self._slots)
        return tuple(_Asking.of(slots) for slots in groups.values())

    # --- what others ask of it --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start both threads. RuntimeError when started twice."""
        self._rx.start()
        self._tx.start()

    def stop(self, timeout_s: float = 2.0) -> bool:
        """End both threads, send a last OFF to all, close the bus; False when a thread did not end in time."""
        ended = self._tx.stop(timeout_s)
        self._last_words()
        ended = self._rx.stop(timeout_s) and ended
        self._close()
        return ended

    @property
    def workers(self) -> tuple[Worker, Worker]:
        """can-rx and can-tx, for the supervisor."""
        return self._rx, self._tx

    def late_s(self, now_s: float) -> float:
        """Seconds since the slower of the two threads ended a step. Opening a bus does not count."""
        rx_late_s = 0.0 if self._opening else now_s - self._rx.last_step_s
        return max(rx_late_s, now_s - self._tx.last_step_s)

    def status(self, now_s: float) -> tuple[ModuleStatus, ...]:
        """What is believed of each module, by number. Any thread."""
        with self._lock:
            believed = tuple([slot.view.freeze(now_s) for slot in self._slots])
        self._say()
        return believed

    def can_status(self) -> CanStatus:
        """The state of the link. Any thread."""
        now_s = self._clock.now_s()
        with self._lock:
            load_1s_pct, load_10s_pct = self._load.pct(now_s)
            return CanStatus(
                up=self._bus is not None and self._link_failure is None,
                load_1s_pct=load_1s_pct,
                load_10s_pct=load_10s_pct,
                sent=self._sent,
                received=self._received,
                send_failures=self._send_failures,
                rejected=self._rejected,
                foreign=self.strangers.frames,
                second_controller=self.strangers.second_controller(now_s),
                bus_offs=self.strangers.bus_offs,
                crowded=self.strangers.crowd(now_s),
                unconfigured=tuple(sorted(self.strangers.unconfigured)),
            )

    def details(self) -> tuple[dict[str, float], ...]:
        """Temperatures and the like by module, for people. Any thread."""
        with self._lock:
            return tuple(dict(slot.view.details) for slot in self._slots)

    def apply(self, orders: Sequence[ModuleOrder], now_s: float) -> None:
        """What each module shall do (index: module - 1) for the next 0.5 s. Any thread.

        A voltage or current outside the nameplate is set to its limit; one that is no number or negative counts as OFF.
        """
        changed = False
        with self._lock:
            self._orders_at_s = now_s
            for slot in self._slots:
                order = orders[slot.number - 1] if slot.number <= len(orders) else OFF_ORDER
                if not order.on:
                    slot.barred = False
                if order is not slot.given and order != slot.given:
                    slot.given, slot.order = order, self._checked(slot, order)
                    slot.plan_at_s = slot.moved_at_s = now_s
                    changed = True
            self._plan_now |= changed
        if changed:
            self._wake(now_s)

    def off_now(self, modules: Sequence[int] | None, now_s: float) -> None:
        """Emergency order. None: OFF to everything on the bus, three times, then to each module; else to these alone.

        Their orders ON are ignored until `apply` was called with OFF for them. Any thread.
        """
        with self._lock:
            for slot in self._slots:
                if modules is None or slot.number in modules:
                    slot.barred = slot.emergency = True
                    slot.given = slot.order = OFF_ORDER
                    slot.plan_at_s = now_s
            self._all_off_wanted |= modules is None
            self._plan_now = True
        self._wake(now_s)

    def watch(self, modules: Sequence[int]) -> None:
        """Read voltage and current of these modules each 100 ms; at most two, further ones are left out. Any thread."""
        wanted = tuple(modules[:MAX_WATCHED])
        if wanted != self._watched:
            with self._lock:
                self._watched, self._watch_changed, self._plan_now = wanted, True, True
            self._tx.wake()

    def _checked(self, slot: _Slot, order: ModuleOrder) -> ModuleOrder:
        if not (0.0 <= order.voltage_v < math.inf and 0.0 <= order.current_a < math.inf):
            self.refused_orders += 1
            self._notebook.note(logging.ERROR, f"Module {slot.number} is ordered {order}: it is switched off")
            return OFF_ORDER
        plate = slot.make.nameplate
        max_v = plate.low_range_max_v if order.low_range and plate.low_range_max_v is not None else plate.max_v
        voltage_v = min(max(order.voltage_v, plate.min_v), max_v)
        current_a = min(max(order.current_a, plate.min_current_a), plate.max_a)
        if not order.on or (voltage_v == order.voltage_v and current_a == order.current_a):
            return order
        return ModuleOrder(order.on, voltage_v, current_a, order.low_range)

    def _wake(self, now_s: float) -> None:
        self._tx_at_s = now_s
        self._tx.wake()

    # --- receiving --------------------------------------------------------------------------------------------------

    def step_rx(self, now_s: float) -> float:
        """Keep the link and take what comes; can-rx only. Returns the seconds until it wants to run again."""
        bus = self.keep_link(now_s)
        if bus is None:
            return RECEIVE_WAIT_S
        while (wait_s := now_s + RECEIVE_WAIT_S - self._clock.now_s()) > 0.0:
            if not self._receive_one(bus, wait_s):
                break
        return 0.0

    def _receive_one(self, bus: BusABC, wait_s: float) -> bool:
        """Take one frame; False when none came or the link failed."""
        try:
            message = bus.recv(wait_s)
        except _LINK_ERRORS as error:
            self._link_failed(bus, f"receiving failed: {error}")
            return False
        if message is not None:
            self.receive(message, self._clock.now_s())
        return message is not None

    def receive(self, message: Message, now_s: float) -> None:
        """Judge one frame; can-rx, or the harness."""
        with self._lock:
            self._received += 1
            if message.is_error_frame:
                self._rejected += 1
                self.strangers.error_frame(message.arbitration_id, now_s)
            elif (
                message.is_remote_frame
                or message.is_fd
                or not message.is_extended_id
                or message.dlc != 8
                or len(message.data) != 8
            ):
                self._rejected += 1
            else:
                self._take(message.arbitration_id, bytes(message.data), now_s)
        self._say()

    def _take(self, can_id: int, data: bytes, now_s: float) -> None:
        try:
            slot = self._routes[can_id]
        except KeyError:
            slot = self._route(can_id)
        reading: ModuleReading | None = None
        if slot is not None:
            try:
                reading = slot.make.decode(can_id, data)
            except MalformedFrame:
                self._rejected += 1
                return
        if slot is None or reading is None:
            self._take_foreign(can_id, data, now_s)
            return
        self._load.add(now_s)
        self._link.heard(now_s)
        usable = slot.view.heard(now_s, reading.identity)
        asked_at_s = slot.view.answered(reading.signal, now_s)
        if usable and asked_at_s is not None:
            self._take_reading(slot, reading, now_s, asked_at_s)

    def _route(self, can_id: int) -> _Slot | None:
        """Which module this identifier belongs to; kept, since a module's identifier does not change."""
        if len(self._routes) > 1000:  # strangers with ever new identifiers
            self._routes.clear()
        found = [slot for slot in self._slots if slot.make.address_of(can_id) == slot.address]
        self._routes[can_id] = found[0] if found else None
        return self._routes[can_id]

    def _take_reading(self, slot: _Slot, reading: ModuleReading, now_s: float, asked_at_s: float) -> None:
        view = slot.view
        if reading.refusal is not None:
            view.take_refusal(now_s, reading.refusal is Refusal.STARTING, reading.signal in _SETS)
            return
        if reading.echo or reading.signal in _SETS:
            self._take_echo(slot, reading, now_s)
            return
        flags = reading.flags
        if flags is not None:
            if flags.on is not view.on or (slot.drive.stopped and not slot.settled_off):
                self._plan_soon(slot, now_s)
            view.take_status(
                flags.on, flags.constant_current, flags.faults, flags.warnings, flags.same_serial, now_s, asked_at_s
            )
            if view.unsettled and slot.make.timing.unasked_age_s is None:
                slot.ask_status = True
                self._plan_soon(slot, now_s)
        if reading.voltage_v is not None:
            view.take_voltage(reading.voltage_v, now_s, asked_at_s)
        if reading.current_a is not None:
            view.take_current(reading.current_a, now_s, asked_at_s)
        if reading.available_a is not None:
            view.take_available(reading.available_a)
        if reading.signal is Signal.RANGE:
            view.take_range(reading.low_range, asked_at_s)
        if reading.serial is not None:
            view.take_serial(reading.serial, now_s)
        if reading.more_warnings is not None and reading.more_warnings != view.more_warnings:
            view.take_more_warnings(reading.more_warnings)
        if reading.details:
            view.details.update(reading.details)

    def _take_echo(self, slot: _Slot, reading: ModuleReading, now_s: float) -> None:
        if not reading.echo:
            return
        if reading.on is not None:
            slot.view.take_power_echo(reading.on, now_s)
            slot.ask_load |= reading.on is False and slot.view.may_be_on and slot.make.reads.round_s > SLOW_ROUND_S
            self._plan_soon(slot, now_s)
        elif reading.signal is not Signal.SET_RANGE:
            slot.view.take_set_echo(now_s)

    def _plan_soon(self, slot: _Slot, now_s: float) -> None:
        """A reply that the next frame to this module may wait for."""
        slot.plan_at_s = now_s
        self._plan_now = True
        self._wake(now_s)

    def _take_foreign(self, can_id: int, data: bytes, now_s: float) -> None:
        for make in self._makes:
            if make.is_request(can_id, data):
                self.strangers.request(now_s)
                return
            address = make.address_of(can_id)
            if address is not None:
                self.strangers.module(address, now_s)
                return
        self.strangers.other(now_s)

    # --- sending ----------------------------------------------------------------------------------------------------

    def step_tx(self, now_s: float) -> float:
        """Plan and send what is due; can-tx only. Returns the seconds until it wants to run again."""
        bus = self._bus
        if bus is None or self._link_failure is not None:
            self._tx_at_s = now_s + PLAN_STEP_S
            return PLAN_STEP_S
        if self._plan_now or now_s >= self._plan_at_s:
            self._plan(now_s)
        while (item := self._queue.next(now_s)) is not None and self._send(bus, item, now_s):
            pass
        delay_s = max(0.0, min(self._queue.wait_s(now_s), self._plan_at_s - now_s))
        self._tx_at_s = now_s + delay_s
        return delay_s

    def tx_due_s(self, now_s: float) -> float:
        """Seconds until step_tx has something to do; an order or a reply may shorten it. For virtual time."""
        return max(0.0, self._tx_at_s - now_s)

    def _plan(self, now_s: float) -> None:
        with self._lock:
            self._plan_now = False
            expired = now_s - self._orders_at_s > ORDER_VALID_S
            if expired is not self._expired:
                self._expired = expired
                self._plan_all(now_s)
            thin = self._thinner.step(*self._load.pct(now_s), now_s)
            if self._link_opened:
                self._link_opened = False
                self._start_over()
            if self._all_off_wanted:
                self._all_off_wanted = False
                self._queue_all_off()
            for slot in self._slots:
                if now_s >= slot.plan_at_s or slot.view.introduce:
                    self._plan_module(slot, now_s)
            busy = any(slot.plan_at_s <= now_s for slot in self._slots)
            self._pace_raises(now_s)
            idle_step_s = SETTLED_STEP_S if all(slot.settled_off for slot in self._slots) else PLAN_STEP_S
            self._plan_reads(now_s, thin, BUSY_PLAN_STEP_S if busy else idle_step_s)
        self._say()

    def _pace_raises(self, now_s: float) -> None:
        moving = [slot.make for slot in self._slots if now_s - slot.moved_at_s < MOVING_S]
        for make in self._makes:
            spacing_s = RAISE_STEP_SPACINGS * moving.count(make) * make.timing.spacing_s
            self._raise_step_s[make] = max(RAISE_STEP_S, len(moving) * RAISE_STEP_PER_MODULE_S, spacing_s)

    def _start_over(self) -> None:
        """A link was opened: what waited is of yesterday, and what the modules do is unknown."""
        self._queue.clear()
        for slot in self._slots:
            slot.drive.restart(emergency=False)
            slot.plan_at_s = -math.inf

    def _queue_all_off(self) -> None:
        """Three times; to a make that may lose what follows closely the second and third at its pace."""
        self._queue.flush(None)
        for turn in range(ALL_OFF_TIMES):
            for frames, slots in _by(lambda slot: slot.make.encode_all_off(), self._slots).items():
                numbers, make = tuple(slot.number for slot in slots), slots[0].make
                paced = turn > 0 and make.timing.spacing_s > BACK_TO_BACK_S
                for frame in frames:
                    key = (_Kind.OFF, turn, frame.can_id, frame.data)
                    self._queue.put(Outgoing(Priority.ALL_OFF, 0, key, frame, numbers, make.name, paced))

    def _plan_all(self, now_s: float) -> None:
        for slot in self._slots:
            slot.plan_at_s = now_s

    def _plan_module(self, slot: _Slot, now_s: float) -> None:
        if slot.emergency:
            slot.emergency = False
            slot.drive.restart(emergency=True)
        slot.barred |= slot.view.refused
        order = OFF_ORDER if self._expired or slot.barred else slot.order
        wish = slot.drive.step(slot.view, order, now_s)
        slot.settled_off = wish.settled and slot.drive.stopped
        slot.plan_at_s = now_s + (SETTLED_STEP_S if wish.settled else 0.0)
        if wish.stopped is not None:
            self._ended(slot, wish.stopped)
        if wish.flush:
            self._queue.flush(slot.number)
        if wish.off:
            if wish.zero:
                self._put(slot, Priority.OFF, _Kind.SET, self._zero_frames(slot))
            self._put(slot, Priority.OFF, _Kind.OFF, slot.off_frames)
        elif not slot.drive.stopped:
            self._plan_setpoints(slot, order, wish)
            if wish.on:
                self._put(slot, Priority.RAISE, _Kind.ON, slot.make.encode_power(slot.address, True))
        if wish.ask_range:
            self._put_reads(slot, (Signal.RANGE,))
        if wish.write_range is not None:
            frames = slot.make.encode_range(slot.address, wish.write_range)
            self._put(slot, Priority.RAISE, _Kind.RANGE, frames)
        if slot.ask_status and now_s - slot.asked_status_s >= ASK_AGAIN_S:
            slot.ask_status, slot.asked_status_s = False, now_s
            self._put_reads(slot, (Signal.STATUS,), Priority.ASK)
        if self._nearly_silent(slot, now_s):
            self._put_reads(slot, (Signal.STATUS,), Priority.HEAR)
        if slot.ask_load:
            slot.ask_load = False
            self._put_reads(slot, (Signal.STATUS, *slot.make.reads.watched), Priority.ASK)
        if slot.view.introduce:
            slot.view.introduce = False
            self._put_reads(slot, slot.make.reads.first)

    @staticmethod
    def _nearly_silent(slot: _Slot, now_s: float) -> bool:
        """A whole round of a slow make has passed without a word of it: others were busy with set-points."""
        round_s, heard_at_s = slot.make.reads.round_s, slot.view.heard_at_s
        if round_s <= SLOW_ROUND_S or heard_at_s is None:
            return False
        return now_s - heard_at_s > round_s and not slot.view.silent(now_s)

    @staticmethod
    def _zero_frames(slot: _Slot) -> list[Frame]:
        """Current 0 before an OFF; nothing for a make whose set-points switch on: its OFF says the 0 itself."""
        frames = slot.make.encode_setpoint(slot.address, slot.view.set_voltage_v, 0.0)
        return [frame for frame in frames if frame.current_a is not None and not frame.on]

    def _ended(self, slot: _Slot, why: Stop) -> None:
        """It did not do what it was ordered: no second try before an order OFF."""
        slot.barred = True
        if why is Stop.WENT_OFF and not slot.view.faulty:
            slot.view.restarted()
            return
        did = "did not start" if why is Stop.NO_START else "switched itself off with a fault"
        self._notebook.note(logging.WARNING, f"Module {slot.number} {did}; it stays off until it is ordered off")

    def _plan_setpoints(self, slot: _Slot, order: ModuleOrder, wish: Wish) -> None:
        if wish.voltage is Change.KEEP and wish.current is Change.KEEP and not self._queue.control_waits:
            return
        for index, frame in enumerate(slot.make.encode_setpoint(slot.address, order.voltage_v, order.current_a)):
            changes = set()
            if frame.voltage_v is not None:
                changes.add(wish.voltage)
            if frame.current_a is not None:
                changes.add(wish.current)
            key = (_Kind.SET, index)
            if changes != {Change.KEEP} or self._queue.holds(slot.number, key):
                priority = Priority.LOWER if Change.LOWER in changes else Priority.RAISE
                self._queue.put(Outgoing(priority, slot.number, key, frame, (slot.number,), slot.make.name))

    def _put(self, slot: _Slot, priority: Priority, kind: _Kind, frames: Sequence[Frame]) -> None:
        numbers, paced = (slot.number,), priority > Priority.OFF
        for index, frame in enumerate(frames):
            self._queue.put(Outgoing(priority, slot.number, (kind, index), frame, numbers, slot.make.name, paced))

    def _plan_reads(self, now_s: float, thin: Thinning, step_s: float) -> None:
        next_s = now_s + step_s
        for make, modules, schedule in self._schedules:
            if self._watch_changed:
                schedule.watch(self._watched, now_s)
            for signal, module in schedule.due(now_s, thin):
                if module is None:
                    self._put_read(make, None, signal, 0, modules)
                else:
                    self._put_reads(self._by_number[module], (signal,))
            next_s = min(next_s, schedule.next_s())
        self._watch_changed = False
        self._plan_at_s = max(next_s, now_s + 0.001)

    def _put_reads(self, slot: _Slot, signals: Sequence[Signal], priority: Priority = Priority.READ) -> None:
        for signal in signals:
            self._put_read(slot.make, slot.address, signal, slot.number, (slot.number,), priority)

    def _put_read(
        self,
        make: Make,
        address: int | None,
        signal: Signal,
        module: int,
        modules: tuple[int, ...],
        priority: Priority = Priority.READ,
    ) -> None:
        name = (make.name, address, signal)
        frames = self._read_frames.get(name)
        if frames is None:
            frames = self._read_frames[name] = make.encode_read(address, signal)
        for index, frame in enumerate(frames):
            key = (_Kind.READ, make.name, signal, index)
            self._queue.put(Outgoing(priority, module, key, frame, modules, make.name))

    def _send(self, bus: BusABC, item: Outgoing[Frame], now_s: float) -> bool:
        """True when the kernel took the frame."""
        frame = item.frame
        message = _message(frame)
        try:
            bus.send(message)
        except _LINK_ERRORS as error:
            self._not_sent(bus, item, error, now_s)
            return False
        self._queue.sent(item, frame.answer is not None, now_s)
        with self._lock:
            self._left(item, now_s)
        return True

    def _not_sent(self, bus: BusABC, item: Outgoing[Frame], error: Exception, now_s: float) -> None:
        if not _kernel_full(error):
            self._send_failures += 1
            self._link_failed(bus, f"sending failed: {error}")
        elif self._queue.refused(item, now_s):
            self._send_failures += 1
            text = "The CAN bus takes no frames: the queue was full for 50 ms; look at cable, power and bit rate"
            self._notebook.complain("queue full", text, now_s)
            self._say()

    def _left(self, item: Outgoing[Frame], now_s: float) -> None:
        """Bookkeeping of a frame that is on its way."""
        frame, kind = item.frame, item.key[0]  # type: ignore[index]
        self._sent += 1
        self._load.add(now_s)
        if kind is _Kind.READ:
            self._link.asked()
        for number in item.modules:
            slot = self._by_number[number]
            if frame.answer is not None:
                slot.view.asked(frame.answer, now_s)
            if kind is _Kind.SET:
                slot.view.sent_setpoint(frame.voltage_v, frame.current_a, now_s)
                raise_step_s = self._raise_step_s[slot.make]
                slot.drive.sent_setpoint(frame.voltage_v, frame.current_a, now_s, raise_step_s)
            if frame.on:
                slot.view.sent_on(now_s)
                slot.drive.sent_on(now_s)
            elif frame.on is False:
                slot.view.sent_off(now_s)
                slot.drive.sent_off(now_s)
            elif kind is _Kind.RANGE:
                slot.drive.sent_range(now_s)

    # --- the link ---------------------------------------------------------------------------------------------------

    def open(self, now_s: float) -> bool:
        """Open the bus now; False when it could not be opened. For a harness; can-rx does it by itself."""
        self._link.retry_at_s = now_s
        return self.keep_link(now_s) is not None

    def keep_link(self, now_s: float) -> BusABC | None:
        """Close a failed or silent bus, open a closed one when its time has come; can-rx only."""
        if self._bus is not None:
            reason = self._link_failure or ("no module answers" if self._link.silent(now_s) else None)
            if reason is not None:
                self._give_up_link(reason, now_s)
        if self._bus is None and now_s >= self._link.retry_at_s:
            self._try_open(now_s)
        return self._bus

    def _try_open(self, now_s: float) -> None:
        self._opening = True
        try:
            bus = self._open_bus()
        except _OPEN_ERRORS as error:
            self._link.lost(now_s)
            self._notebook.complain("open", f"The CAN bus cannot be opened: {error}; trying again", now_s)
            self._say()
            return
        finally:
            self._rx.last_step_s = self._clock.now_s()
            self._opening = False
        with self._lock:
            self._link.opened(now_s)
            self._link_failure = None
            self._link_opened = self._all_off_wanted = self._plan_now = True
            self._bus = bus
        self._notebook.note(logging.INFO, f"The CAN bus is open ({bus.channel_info})")
        self._say()
        self._wake(now_s)

    def _give_up_link(self, reason: str, now_s: float) -> None:
        self._close()
        with self._lock:
            for slot in self._slots:
                slot.view.link_lost()
            self._link.lost(now_s)
        self._notebook.complain("closed", f"The CAN bus was closed and will be opened anew: {reason}", now_s)
        self._say()

    def _link_failed(self, bus: BusABC, reason: str) -> None:
        """What happens to a bus that was replaced meanwhile says nothing about the new one."""
        if bus is self._bus:
            self._link_failure = reason

    def sends(self, now_s: float, late_s: float) -> bool:
        """can-tx lives and does not hang in the driver. Any thread."""
        return self._tx.alive and now_s - self._tx.last_step_s <= late_s

    def off_by_hand(self) -> None:
        """OFF to all, three times, on the caller's thread: for station.py when can-tx is dead. Never raises."""
        for _ in range(ALL_OFF_TIMES):
            self._last_words()

    def _last_words(self) -> None:
        bus = self._bus
        if bus is None:
            return
        messages = [_message(frame) for make in self._makes for frame in make.encode_all_off()]
        try:
            for message in messages:
                bus.send(message)
        except _LINK_ERRORS as error:
            log.warning("The last OFF on the CAN bus could not be sent: %s", error)

    def _close(self) -> None:
        with self._lock:
            bus, self._bus = self._bus, None
        if bus is None:
            return
        try:
            bus.shutdown()
        except _LINK_ERRORS as error:
            log.debug("Closing the CAN bus: %s", error)

    # --- log --------------------------------------------------------------------------------------------------------

    def _say(self) -> None:
        """Log what was noted. Never called with the lock held."""
        while (note := self._notebook.take()) is not None:
            log.log(note.level, "%s", note.text)


def _message(frame: Frame) -> Message:
    """The frame for python-can. ValueError: no such frame exists, which is our mistake and not the link's."""
    return Message(arbitration_id=frame.can_id, data=frame.data, is_extended_id=True, check=True)


def _kernel_full(error: Exception) -> bool:
    """The transmit queue of the kernel is full; the frame may be tried again. python-can may say so without a code."""
    if isinstance(error, CanError) and error.error_code is None:
        return "transmit buffer full" in str(error).lower()
    code = error.error_code if isinstance(error, CanError) else getattr(error, "errno", None)
    return code == errno.ENOBUFS
