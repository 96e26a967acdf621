"""Job: when to try the broker again, with which MQTT version, and whether somebody else uses our client id.

Thread: one at a time (pure; time and chance are arguments). Lock: none. Units: s, monotonic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

UNANSWERED_LIMIT = 2  # connections without CONNACK, until the other version is tried
STABLE_S = 10.0  # a connection that held so long makes the next delay short again
TAKEOVERS_PER_MINUTE = 5
JITTER = 0.25  # stations that lost one broker together must not come back together


class Version(Enum):
    V5 = "5"
    V311 = "3.1.1"


class Ending(Enum):
    """How a connection to the broker ended."""

    NOT_REACHED = "no TCP or TLS"
    UNANSWERED = "no CONNACK"
    VERSION_REFUSED = "CONNACK: version not known"
    REFUSED = "CONNACK: no"
    LOST = "after CONNACK, by itself or with a reason"
    CLOSED = "after CONNACK, by the broker without a word"
    TAKEN_OVER = "another client with our id"


@dataclass(slots=True)
class Reconnect:
    """The plan after each ending. `uniform(low, high)` is random.uniform, or a fixed number in a test."""

    shortest_s: float
    longest_s: float
    uniform: Callable[[float, float], float]
    version: Version = Version.V5
    retry_at_s: float = float("-inf")
    _failures: int = 0
    _unanswered: int = 0
    _takeovers: deque[float] = field(default_factory=lambda: deque(maxlen=TAKEOVERS_PER_MINUTE + 1))

    def ended(self, ending: Ending, served_s: float, now_s: float) -> None:
        """Note an ending; `served_s`: how long that connection was of use."""
        if served_s >= STABLE_S:
            self._failures = 0
        self._note_takeover(ending, now_s)
        wanted_s = min(self.longest_s, self.shortest_s * 2**self._failures) * self.uniform(1 - JITTER, 1 + JITTER)
        self.retry_at_s = now_s + min(self.longest_s, max(self.shortest_s, wanted_s))
        self._failures = min(self._failures + 1, 10)
        self._choose_version(ending, now_s)

    def identity_conflict(self, now_s: float) -> bool:
        """True when more than five connections were pushed out within the last minute."""
        taken = self._takeovers
        return len(taken) > TAKEOVERS_PER_MINUTE and now_s - taken[0] <= 60.0

    def _note_takeover(self, ending: Ending, now_s: float) -> None:
        if ending is Ending.NOT_REACHED:
            self._takeovers.clear()  # the broker itself is in trouble
        elif ending in (Ending.TAKEN_OVER, Ending.CLOSED):
            # Mosquitto 2.0.11 says nothing to a client that another one pushes out, MQTT 3.1.1 has no word for it.
            self._takeovers.append(now_s)

    def _choose_version(self, ending: Ending, now_s: float) -> None:
        self._unanswered = self._unanswered + 1 if ending is Ending.UNANSWERED else 0
        if ending is Ending.VERSION_REFUSED and self.version is Version.V5:
            self.version = Version.V311
            self.retry_at_s = now_s  # this answer is sure, so nothing is gained by waiting
        elif self._unanswered >= UNANSWERED_LIMIT:
            self._unanswered = 0
            self.version = Version.V311 if self.version is Version.V5 else Version.V5
