"""Job: the wire between controller and modules: bus timing, an in-memory bus for virtual time, python-can's virtual
bus.

Thread: WireBus none (the caller's), VirtualCanFace one of its own. Lock: none; `answer` locks if the plant is shared.
Units: s. At 125 kbit/s an extended frame with 8 bytes takes 1.05 to 1.28 ms.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import Protocol

import can

from simulator.board import Reply

log = logging.getLogger(__name__)

FRAME_S = 0.0012
#: Of the identifiers on the bus the lower one wins: strangers give way to modules and controller.
STRANGERS = tuple(0x1800_0000 + number for number in range(7))
#: Class bits of an error frame (Linux, can/error.h).
ERROR_BUS_OFF, ERROR_RESTARTED = 0x040, 0x100
#: ModuleWire.answer, or a function around it that locks the plant.
Answer = Callable[[int, bytes, float], list[Reply]]
#: Told of each frame on the wire: time, identifier, data, True if a controller sent it.
FrameLog = Callable[[float, int, bytes, bool], None]


class Speaker(Protocol):
    """Modules that say something without being asked."""

    @property
    def speaks_at_s(self) -> float: ...

    def speak(self, now_s: float) -> list[Reply]: ...


class Line:
    """The bus as a queue of one: one frame at a time, replies in the order in which they became ready.

    `flood`: strangers send too, evenly, as soon as it is their turn and nothing of ours is ready.
    """

    def __init__(self, speaker: Speaker | None = None) -> None:
        self._speaker = speaker
        self._free_at_s = float("-inf")
        self._stranger_due_s = self._stranger_period_s = float("inf")
        self._stranger = 0
        self._ready: list[tuple[float, int, int, bytes]] = []
        self._count = 0  # keeps frames that became ready together in the order they were queued

    def occupy(self, now_s: float) -> float:
        """Send a frame as soon as the bus is free; the time at which everybody has it."""
        self._free_at_s = max(self._free_at_s, now_s) + FRAME_S
        return self._free_at_s

    def queue(self, heard_at_s: float, replies: Iterable[Reply]) -> None:
        """Take the modules' replies to a frame that they heard at `heard_at_s`."""
        for delay_s, can_id, data in replies:
            self._count += 1
            heappush(self._ready, (heard_at_s + delay_s, self._count, can_id, data))

    def flood(self, share_pct: float, now_s: float) -> None:
        """From now on frames of strangers take this share of the bus; 0 ends it."""
        if not 0.0 <= share_pct <= 100.0:
            raise ValueError(f"{share_pct:g} is no share of the bus: 0 to 100 %")
        self._stranger_period_s = 100.0 * FRAME_S / share_pct if share_pct else float("inf")
        self._stranger_due_s = now_s if share_pct else float("inf")

    def next_end_s(self) -> float:
        """When the next frame that waits will have been sent, or somebody speaks; infinite when neither is due."""
        begin_s = min(self._ready[0][0], self._stranger_due_s) if self._ready else self._stranger_due_s
        end_s = max(begin_s, self._free_at_s) + FRAME_S
        return end_s if self._speaker is None else min(end_s, self._speaker.speaks_at_s)

    def pop(self, now_s: float) -> tuple[float, int, bytes] | None:
        """The next reply, or frame of a stranger, that is complete by `now_s`: (time, identifier, data)."""
        if self._speaker is not None and self._speaker.speaks_at_s <= now_s:
            self.queue(now_s, self._speaker.speak(now_s))
        end_s = self.next_end_s()
        if end_s > now_s:
            return None
        begin_s = end_s - FRAME_S
        self._free_at_s = end_s
        if self._ready and self._ready[0][0] <= begin_s:
            _, _, can_id, data = heappop(self._ready)
            return end_s, can_id, data
        self._stranger_due_s = begin_s + self._stranger_period_s
        self._stranger = (self._stranger + 1) % len(STRANGERS)
        return end_s, STRANGERS[self._stranger], bytes(8)

    def clear(self) -> None:
        """Forget what waits (the link broke)."""
        self._ready.clear()


class WireBus(can.BusABC):
    """A python-can bus in memory: `recv` never waits, and time is what `now_s()` says. The order is always the same.

    Hooks: `down` (every call raises), `refuse_sends` (so many sends raise ENOBUFS), `lose_sends` (so many vanish),
    `inject` (a frame from nowhere), `cut` (frames pass in neither direction, and nobody is told), `flood` (strangers
    take a share of the bus).
    """

    def __init__(
        self,
        answer: Answer,
        now_s: Callable[[], float],
        on_frame: FrameLog | None = None,
        speaker: Speaker | None = None,
    ) -> None:
        super().__init__(channel="wire")
        self._is_shutdown = True  # there is nothing to release, so nobody need complain that it was not
        self.down = False
        self.cut = False
        self.refuse_sends = 0
        self.lose_sends = 0
        self.sent = 0
        self._answer = answer
        self._now_s = now_s
        self._on_frame = on_frame
        self._line = Line(speaker)
        self._injected: deque[can.Message] = deque()

    def send(self, msg: can.Message, timeout: float | None = None) -> None:
        """Put a frame on the wire; the modules have it when the bus got round to it."""
        del timeout
        self._check_up()
        if self.refuse_sends > 0:
            self.refuse_sends -= 1
            raise can.CanOperationError("No buffer space available", errno.ENOBUFS)
        if self.lose_sends > 0:
            self.lose_sends -= 1
            return
        self.sent += 1
        now_s = self._now_s()
        heard_at_s = self._line.occupy(now_s)
        if self._on_frame is not None:
            self._on_frame(now_s, msg.arbitration_id, bytes(msg.data), True)
        if not self.cut and _is_plain(msg):
            self._line.queue(heard_at_s, self._answer(msg.arbitration_id, bytes(msg.data), now_s))

    def recv(self, timeout: float | None = None) -> can.Message | None:
        """The next frame that has arrived by now, or None at once whatever the timeout."""
        del timeout
        self._check_up()
        if self._injected:
            return self._injected.popleft()
        frame = None if self.cut else self._line.pop(self._now_s())
        if frame is None:
            return None
        at_s, can_id, data = frame
        if self._on_frame is not None:
            self._on_frame(at_s, can_id, data, False)
        return _message(at_s, can_id, data)

    def inject(self, msg: can.Message) -> None:
        """Let any frame arrive: foreign, malformed, an error frame."""
        self._injected.append(msg)

    def foreign(self, can_id: int, data: bytes) -> None:
        """Let a frame arrive that no module sent."""
        self.inject(_message(self._now_s(), can_id, data))

    def tell_error(self, error_class: int) -> None:
        """Let the controller chip report an error, as an error frame."""
        self.inject(can.Message(arbitration_id=error_class, is_error_frame=True, is_extended_id=False, data=bytes(8)))

    def flood(self, share_pct: float) -> None:
        """Strangers take this share of the bus from now on; 0 ends it."""
        self._line.flood(share_pct, self._now_s())

    def next_arrival_s(self) -> float:
        """When the next frame will be there; infinite when none is on its way (for loops in virtual time)."""
        if self.down:
            return float("inf")
        if self._injected:
            return float("-inf")
        return float("inf") if self.cut else self._line.next_end_s()

    def drop(self) -> None:
        """Nobody listens: what was on its way is lost."""
        self._line.clear()
        self._injected.clear()

    def _check_up(self) -> None:
        if self.down:
            self._line.clear()
            raise can.CanOperationError("Network is down", errno.ENETDOWN)


class VirtualCanFace:
    """Serves the modules on python-can's `virtual` interface, for a controller in this same process."""

    def __init__(
        self,
        answer: Answer,
        channel: str,
        now_s: Callable[[], float] = time.monotonic,
        speed: float = 1.0,
        speaker: Speaker | None = None,
    ) -> None:
        """`now_s` and `speed`: station time, and how many of its seconds pass in one on the wall."""
        self.failure: BaseException | None = None
        self._answer = answer
        self._now_s = now_s
        self._speed = speed
        self._line = Line(speaker)
        self._bus: can.BusABC = can.Bus(interface="virtual", channel=channel)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="simulated-can", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> bool:
        """End the thread and leave the bus; False when the thread did not end in time."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        self._bus.shutdown()
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._round()
        except BaseException as error:
            self.failure = error
            log.exception("The simulated modules left the CAN bus")

    def _round(self) -> None:
        wait_s = (self._line.next_end_s() - self._now_s()) / self._speed
        message = self._bus.recv(timeout=min(max(0.0, wait_s), 0.05))
        now_s = self._now_s()
        if message is not None and _is_plain(message):
            heard_at_s = self._line.occupy(now_s)
            self._line.queue(heard_at_s, self._answer(message.arbitration_id, bytes(message.data), now_s))
        while (frame := self._line.pop(now_s)) is not None:
            self._bus.send(_message(*frame))


def _is_plain(message: can.Message) -> bool:
    return message.is_extended_id and not message.is_error_frame and not message.is_remote_frame


def _message(at_s: float, can_id: int, data: bytes) -> can.Message:
    return can.Message(timestamp=at_s, arbitration_id=can_id, is_extended_id=True, data=data)
