"""Job: what the page process knows of the station just now: the newest snapshot, an hour of power, events and faults.

Thread: `feed` puts, any reads. Lock: one, held to copy. Units: as monitoring/schema.py says; `now_s` is monotonic.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from monitoring.power_ring import PowerRing, means
from monitoring.schema import Event, Fault, Faults, Line, Power, Snapshot
from monitoring.step_times import StepTimes

EVENTS_KEPT = 500
ENDED_KEPT = 200


class Board:
    """Everybody reads the same: a snapshot is parsed once and written as JSON once, however many pages look at it."""

    def __init__(self) -> None:
        #: called after each line, on the thread that put it; must not wait
        self.on_line: Callable[[Line], None] = lambda _: None
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._json = b""
        self._at_s = float("-inf")
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._ended: deque[Fault] = deque(maxlen=ENDED_KEPT)
        self._power = PowerRing()
        self._steps = StepTimes()

    def put(self, line: Line, now_s: float) -> None:
        """Take over one line of the control process. Thread `feed`."""
        snapshot = line.snapshot
        as_json = b"" if snapshot is None else snapshot.model_dump_json().encode()
        with self._lock:
            if snapshot is not None:
                self._snapshot, self._json, self._at_s = snapshot, as_json, now_s
                self._power.add(snapshot.ts, [gun.delivered_kw for gun in snapshot.guns])
                self._steps.add(now_s, snapshot.station.slowest_step_s)
            newest = self._events[-1].seq if self._events else 0
            self._events.extend(event for event in line.events if event.seq > newest)
            self._ended.extend(fault for fault in line.fault_news if fault.ended_ts is not None)
        self.on_line(line)

    def snapshot(self) -> Snapshot | None:
        """The newest; None before the first. Any thread."""
        with self._lock:
            return self._snapshot

    def snapshot_json(self) -> bytes:
        """The newest as JSON, empty before the first. Any thread."""
        with self._lock:
            return self._json

    def age_s(self, now_s: float) -> float:
        """Seconds since the newest snapshot came; infinite before the first. Any thread."""
        with self._lock:
            return now_s - self._at_s

    def slowest_step_s(self, now_s: float) -> float:
        """The longest control step that was told within the last minute. Any thread."""
        with self._lock:
            return self._steps.slowest_s(now_s)

    def events(self, after: int = 0, limit: int = EVENTS_KEPT) -> list[Event]:
        """Oldest first: the next `limit` after this `seq`; the last `limit` when `after` is 0. Any thread."""
        with self._lock:
            found = [event for event in self._events if event.seq > after]
        return found[:limit] if after else found[-limit:]

    def faults(self) -> Faults:
        """Those that stand and those that ended, newest first. Any thread."""
        with self._lock:
            active = [] if self._snapshot is None else self._snapshot.faults
            ended = list(self._ended)
        return Faults(active=active[::-1], ended=ended[::-1])

    def power(self, minutes: int) -> Power:
        """Mean power of the last minutes. Any thread."""
        with self._lock:
            steps = self._power.steps()
        return means(steps, minutes)
