"""Job: one shape for every thread of ours, the clock they share, and whether the wall clock can be believed.

Thread: each Worker owns one. Lock: none (an Event and plain stamps), but for one over a time that is simulated.
Units: s; monotonic, or Unix where it says wall.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)

#: More gentle wakes than this from one step to the next are a flood: then the thread keeps to its own time.
CROWD = 8


class Clock(Protocol):
    """Where the rooms' threads get the time from; decisions never see it, they get `now_s`."""

    def now_s(self) -> float:
        """Monotonic seconds. Any thread."""

    def wall_s(self) -> float:
        """Unix seconds for stamps on messages, never for a decision. Any thread."""

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait until `event` is set or `timeout_s` of this clock's seconds have passed; True if set."""


class SystemClock:
    """The machine's clocks; `speed` makes station time run faster than the clock on the wall (simulation only).

    Such a time can be held: it then goes no further than whoever makes the simulated world has come. A busy machine
    makes the world slow, and not the controller blind in a world that went on.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed
        self._lock = threading.Lock()
        self._held_at_s, self._lost_s = float("inf"), 0.0
        self._monotonic_at_start_s = time.monotonic()
        self._wall_at_start_s = time.time()  # noqa: TID251 - the one place that reads the wall clock

    def now_s(self) -> float:
        if self._speed == 1.0:
            return time.monotonic()
        with self._lock:
            passed_s = (time.monotonic() - self._monotonic_at_start_s) * self._speed
            now_s = self._monotonic_at_start_s + passed_s - self._lost_s
            late_s = max(0.0, now_s - self._held_at_s)
            self._lost_s += late_s
            return now_s - late_s

    def hold(self, at_s: float) -> None:
        """Time that runs faster than the one on the wall stops at `at_s` until it is held elsewhere. Any thread."""
        with self._lock:
            self._held_at_s = at_s

    def wall_s(self) -> float:
        if self._speed == 1.0:
            return time.time()  # noqa: TID251 - the one place that reads the wall clock
        return self._wall_at_start_s + self.now_s() - self._monotonic_at_start_s

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return event.wait(max(0.0, timeout_s) / self._speed)


class Worker:
    """A named daemon thread that calls `step(now_s)` again and again until told to stop.

    `step` does all the work and returns the seconds until it wants to run again; `wake()` runs it at once. An exception
    in `step` ends the thread, is kept in `failure` and reported to `on_failure`: the supervisor in main.py decides.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[float], float],
        clock: Clock,
        on_failure: Callable[[str, BaseException], None] | None = None,
        rest_share: float = 0.0,
    ) -> None:
        """`rest_share`: woken without urgency, it leaves the others so many times its own step before the next one."""
        self.name = name
        self.failure: BaseException | None = None
        #: Monotonic time at which the last step ended; the supervisor's sign of life.
        self.last_step_s = clock.now_s()
        self._step = step
        self._clock = clock
        self._on_failure = on_failure
        self._rest_share = rest_share
        self._wake = threading.Event()
        self._rest_over = threading.Event()
        self._gentle_wakes = 0  # since the last rest began
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread. Raises RuntimeError when started twice."""
        self.last_step_s = self._clock.now_s()
        self._thread.start()

    def wake(self, urgent: bool = True) -> None:
        """Run the next step now, or once the thread has rested if that is early enough. Any thread."""
        if urgent:
            self._rest_over.set()
        else:
            self._gentle_wakes += 1  # about as many: two threads at once may count one
        if not self._wake.is_set():
            self._wake.set()

    def stop(self, timeout_s: float = 2.0) -> bool:
        """Ask the thread to end after its present step and wait for it; False when it did not. Any other thread."""
        self._stopping = True
        self.wake()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._rest_over.clear()
                begun_s = self._clock.now_s()
                delay_s = self._step(begun_s)
                self.last_step_s = self._clock.now_s()
                self._wait(delay_s, self.last_step_s + self._rest_share * (self.last_step_s - begun_s))
        except BaseException as error:  # the thread ends either way; nobody may miss why
            self.failure = error
            log.exception("Thread %s ended: %s: %s", self.name, type(error).__name__, error)
            if self._on_failure is not None:
                self._on_failure(self.name, error)

    def _wait(self, delay_s: float, rested_at_s: float) -> None:
        """Until the next step is due or wanted.

        One interpreter lock serves all threads: a step for each message of a flood would keep paho from reading.
        """
        woken = self._clock.wait(self._wake, delay_s)
        crowded, self._gentle_wakes = self._gentle_wakes > CROWD, 0
        if woken and self._rest_share and not self._rest_over.is_set():
            rest_s = delay_s if crowded else min(rested_at_s - self._clock.now_s(), delay_s)
            if rest_s > 0.0:
                self._clock.wait(self._rest_over, rest_s)
        self._wake.clear()


#: wall minus monotonic time may wander by this much since the start (an NTP slew is 500 ppm at most)
MOVED_S = 1.0
#: the kernel is asked at most this often
ASK_S = 5.0
#: adjtimex: return value when the clock is not synchronised (linux/timex.h)
TIME_ERROR = 5
#: struct timex is 208 bytes on 64-bit Linux; all zeros asks and changes nothing
TIMEX_BYTES = 512


def kernel_says_synchronised() -> bool:
    """What the kernel's clock discipline says; False where it cannot be asked."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        state: int = libc.adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    except (OSError, AttributeError):
        return False
    return 0 <= state < TIME_ERROR


class ClockWatch:
    """Made at the start; `synchronised` is asked for each message with a time stamp."""

    def __init__(self, now_s: float, wall_s: float) -> None:
        self._offset_s = wall_s - now_s
        self._asked_at_s = float("-inf")
        self._kernel = False

    def synchronised(self, now_s: float, wall_s: float) -> bool:
        if abs(wall_s - now_s - self._offset_s) > MOVED_S:
            return False
        if now_s - self._asked_at_s > ASK_S:
            self._asked_at_s, self._kernel = now_s, kernel_says_synchronised()
        return self._kernel
