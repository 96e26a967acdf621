"""Job: the longest control step of the last minute: a snapshot tells that of its half second only.

Thread: whoever holds the board's lock. Lock: none. Units: s (monotonic).
"""

from __future__ import annotations

from collections import deque

WINDOW_S = 60.0


class StepTimes:
    """Takes what each snapshot tells; what is older than a minute falls out."""

    def __init__(self) -> None:
        self._told: deque[tuple[float, float]] = deque()

    def add(self, now_s: float, slowest_s: float) -> None:
        while self._told and now_s - self._told[0][0] > WINDOW_S:
            self._told.popleft()
        self._told.append((now_s, slowest_s))

    def slowest_s(self, now_s: float) -> float:
        """0 when nothing was told within the minute."""
        return max((slowest_s for at_s, slowest_s in self._told if now_s - at_s <= WINDOW_S), default=0.0)
