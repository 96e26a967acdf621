"""Job: the order and the pace of our frames on the CAN bus, and how much of the bus they use.

Thread: one caller at a time (can-tx for the queue, the holder of the readings' lock for the meter). Lock: none.
Units: s, frames, % of the bit rate.

OFF overtakes everything, lower set-points overtake higher ones, reads wait for both, and those in their turn for those
that something waits for. A newer value replaces an older one of the same key, so the queue never holds yesterday's
set-point. Frames to modules of one make leave at the spacing of that make; OFF leaves back to back (a module that loses
it is told again until it shows off). Neither lets more than five frames wait in the kernel: at 125 kbit/s a frame of
150 bits takes 1.2 ms, so an OFF is on the wire 6 ms after it was queued, or 16 ms when eight replies win the
arbitration before it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, TypeVar

F = TypeVar("F")

#: What a frame of 8 bytes with an extended identifier costs: 131 bits, plus stuffing (144 on average, 160 at worst).
BITS_PER_FRAME = 150
KERNEL_FRAMES = 5
#: A frame of somebody else that has begun is in front of ours, so one less of ours goes to the kernel.
_OURS_IN_KERNEL = KERNEL_FRAMES - 1
#: Linux refuses a frame at once when its queue is full (ENOBUFS); it is worth trying again so often and so long.
RETRY_STEP_S = 0.002
RETRY_LIMIT_S = 0.05
_TINY_S = 1e-9


class Priority(IntEnum):
    ALL_OFF = 0
    OFF = 1
    LOWER = 2
    HEAR = 3  # a question to a module that would else count as silent
    RAISE = 4  # also first values, ON, range
    ASK = 5  # a reading that something waits for
    READ = 6


_QUESTIONS = (Priority.HEAR, Priority.ASK, Priority.READ)


@dataclass(slots=True, eq=False)
class Outgoing(Generic[F]):
    """A frame that waits. `key` with `module` names what it says; `modules` are those it speaks to."""

    priority: Priority
    module: int  # 0: all
    key: Hashable
    frame: F
    modules: tuple[int, ...] = field(default=())
    make: str = ""  # whose spacing it keeps
    paced: bool = True  # False: it leaves at once, whatever left before
    refused_s: float | None = None  # when the kernel first refused it


class SendQueue(Generic[F]):
    """See the file's head. A frame stays in the queue until `sent` or `refused` takes it out."""

    def __init__(self, bitrate: int, spacing_s: Mapping[str, float]) -> None:
        """`spacing_s`: make -> least time between two frames to its modules."""
        self.frame_s = BITS_PER_FRAME / bitrate
        self._spacing_s = dict(spacing_s)
        self._waiting: tuple[dict[tuple[int, Hashable], Outgoing[F]], ...] = tuple({} for _ in Priority)
        self._free_s = dict.fromkeys(spacing_s, -math.inf)  # make -> when its spacing is over
        self._turn_s = dict.fromkeys(spacing_s, -math.inf)  # ... and when a frame that keeps it may leave all the same
        self._drained_s = -math.inf  # when the wire has taken all that we gave to the kernel
        self._hold_s = -math.inf

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._waiting)

    def put(self, item: Outgoing[F]) -> None:
        """Queue a frame. It takes the place of one with the same key, at the more urgent of the two priorities."""
        name = (item.module, item.key)
        if item.priority is Priority.LOWER:
            self._waiting[Priority.RAISE].pop(name, None)
        elif item.priority is Priority.RAISE and name in self._waiting[Priority.LOWER]:
            item.priority = Priority.LOWER
        elif item.priority in _QUESTIONS:
            item.priority = self._most_urgent(name, item.priority)
        waiting = self._waiting[item.priority]
        replaced = waiting.get(name)
        if replaced is not None:
            item.refused_s = replaced.refused_s
        waiting[name] = item

    def _most_urgent(self, name: tuple[int, Hashable], priority: Priority) -> Priority:
        """A question that waits already keeps the more urgent of its two places."""
        for other in _QUESTIONS:
            if other < priority and name in self._waiting[other]:
                return other
            if other > priority:
                self._waiting[other].pop(name, None)
        return priority

    @property
    def control_waits(self) -> bool:
        """True when any set-point, ON or range waits."""
        return bool(self._waiting[Priority.RAISE] or self._waiting[Priority.LOWER])

    def holds(self, module: int, key: Hashable) -> bool:
        """True when a set-point of this name waits."""
        name = (module, key)
        return name in self._waiting[Priority.RAISE] or name in self._waiting[Priority.LOWER]

    def flush(self, module: int | None) -> None:
        """Throw away what could switch on or raise `module` (None: any module)."""
        for priority in (Priority.LOWER, Priority.RAISE):
            waiting = self._waiting[priority]
            for name in [name for name in waiting if module is None or name[0] == module]:
                del waiting[name]

    def clear(self) -> None:
        """Forget everything: the link is gone."""
        for waiting in self._waiting:
            waiting.clear()
        self._hold_s = self._drained_s = -math.inf

    def wait_s(self, now_s: float) -> float:
        """Seconds until a frame may leave; infinite when none waits."""
        first_s = min((self._due_s(item) for item in self._in_order()), default=math.inf)
        return max(0.0, max(first_s, self._room_s()) - now_s)

    def next(self, now_s: float) -> Outgoing[F] | None:
        """The frame that may leave now: the most urgent one whose make has had its pause."""
        if self._room_s() > now_s + _TINY_S:
            return None
        return next((item for item in self._in_order() if self._due_s(item) <= now_s + _TINY_S), None)

    def _room_s(self) -> float:
        """When the kernel may have one more."""
        return max(self._hold_s, self._drained_s - (_OURS_IN_KERNEL - 1) * self.frame_s)

    def _due_s(self, item: Outgoing[F]) -> float:
        return min(self._free_s[item.make], self._turn_s[item.make]) if item.paced else -math.inf

    def sent(self, item: Outgoing[F], answered: bool, now_s: float) -> None:
        """The kernel took it. An answer may win the arbitration before our next frame: it counts as wire time too."""
        self._take_out(item)
        spacing_s = self._spacing_s[item.make]
        self._free_s[item.make] = now_s + spacing_s
        if item.paced:  # OFF again and again must not keep questions away for ever
            self._turn_s[item.make] = now_s + 2.0 * spacing_s
        self._drained_s = max(now_s, self._drained_s) + self.frame_s * (2 if answered else 1)

    def refused(self, item: Outgoing[F], now_s: float) -> bool:
        """The kernel's queue is full: hold everything for a moment. True: tried long enough, the frame is given up."""
        self._hold_s = now_s + RETRY_STEP_S
        if item.refused_s is None:
            item.refused_s = now_s
        if now_s - item.refused_s < RETRY_LIMIT_S - _TINY_S:
            return False
        self._take_out(item)
        return True

    def _in_order(self) -> Iterator[Outgoing[F]]:
        for waiting in self._waiting:
            yield from waiting.values()

    def _take_out(self, item: Outgoing[F]) -> None:
        waiting, name = self._waiting[item.priority], (item.module, item.key)
        if waiting.get(name) is item:
            del waiting[name]


class LoadMeter:
    """Frames of the last second and of the last ten, in tenths of a second."""

    _SLOTS = 100

    def __init__(self, bitrate: int) -> None:
        self._pct_per_frame_1s = BITS_PER_FRAME * 100 / bitrate
        self._slots = [0] * self._SLOTS
        self._tenth = 0
        self._last_1s = 0
        self._last_10s = 0

    def add(self, now_s: float) -> None:
        tenth = int(now_s * 10)
        if tenth != self._tenth:
            self._roll(tenth)
        self._slots[tenth % self._SLOTS] += 1
        self._last_1s += 1
        self._last_10s += 1

    def pct(self, now_s: float) -> tuple[float, float]:
        """Share of the bit rate over 1 s and over 10 s."""
        tenth = int(now_s * 10)
        if tenth != self._tenth:
            self._roll(tenth)
        return self._last_1s * self._pct_per_frame_1s, self._last_10s * self._pct_per_frame_1s / 10

    def _roll(self, tenth: int) -> None:
        if tenth - self._tenth >= self._SLOTS or tenth < self._tenth:
            self._slots = [0] * self._SLOTS
            self._last_1s = self._last_10s = 0
        else:
            for passed in range(self._tenth + 1, tenth + 1):
                self._last_1s -= self._slots[(passed - 10) % self._SLOTS]
                self._last_10s -= self._slots[passed % self._SLOTS]
                self._slots[passed % self._SLOTS] = 0
        self._tenth = tenth
