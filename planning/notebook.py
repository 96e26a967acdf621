"""Job: lines for the log that were thought of while a lock was held, to be written after it was released.

Thread: any (a deque's ends are safe). Lock: none. Units: s.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from typing import NamedTuple

REMIND_S = 60.0


class Note(NamedTuple):
    level: int  # of `logging`
    text: str


class Notebook:
    """Collects notes; whoever holds no lock takes and writes them."""

    def __init__(self) -> None:
        self._notes: deque[Note] = deque()
        self._complained_at_s: dict[str, float] = {}

    def note(self, level: int, text: str) -> None:
        self._notes.append(Note(level, text))

    def complain(self, topic: str, text: str, now_s: float) -> None:
        """A WARNING once, and again each minute as long as the topic is complained of."""
        if now_s - self._complained_at_s.get(topic, -math.inf) >= REMIND_S:
            self._complained_at_s[topic] = now_s
            self.note(logging.WARNING, text)

    def take(self) -> Note | None:
        """The oldest note that was not taken yet."""
        try:
            return self._notes.popleft()
        except IndexError:
            return None
