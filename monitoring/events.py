"""Job: keep the log's lines for people (INFO and above) for whoever looks on.

Thread: `emit` is called by every thread that logs; `take` by `onlook` alone. Lock: none: a deque's ends are safe from
any thread, and nobody who logs may wait for another. Units: Unix seconds.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from monitoring.feed import Words

#: Lines that may wait for `onlook`, which takes them twice a second; of more the newest count.
MOST_WAITING = 1000
#: So many are kept for a page process that was started anew.
KEPT = 500
LONGEST_TEXT = 1000

_LEVELS = ((logging.CRITICAL, "CRITICAL"), (logging.ERROR, "ERROR"), (logging.WARNING, "WARNING"))


class Events(logging.Handler):
    """Hangs on the root logger; costs whoever logs some microseconds and never raises."""

    def __init__(self, escape: Callable[[str], str], wall_s: Callable[[], float]) -> None:
        """`escape` makes a text safe for one line; `wall_s` is the station's clock, which a simulation may speed up."""
        super().__init__(logging.INFO)
        self.unreadable = 0
        self._escape, self._wall_s = escape, wall_s
        self._waiting: deque[tuple[float, int, str]] = deque(maxlen=MOST_WAITING)
        self._kept: deque[Words] = deque(maxlen=KEPT)
        self._seq = 0

    def handle(self, record: logging.LogRecord) -> bool:
        """Without the lock of logging.Handler: nothing here needs it."""
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Any thread."""
        try:
            self._waiting.append((self._wall_s(), record.levelno, record.getMessage()[:LONGEST_TEXT]))
        except Exception:  # a format that does not fit its arguments: the log itself tells of it
            self.unreadable += 1

    def after(self, seq: int, limit: int) -> list[Words]:
        """At most `limit` lines after the one with this number, oldest first. Thread `onlook`."""
        self._take()
        return [event for event in self._kept if event["seq"] > seq][:limit]

    def _take(self) -> None:
        for _ in range(len(self._waiting)):
            ts, level, text = self._waiting.popleft()
            self._seq += 1
            self._kept.append(
                {"seq": self._seq, "ts": round(ts, 3), "level": _name(level), "text": self._escape(text)}
            )


def _name(level: int) -> str:
    return next((name for least, name in _LEVELS if level >= least), "INFO")
