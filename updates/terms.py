"""Job: the few words that every file of updates/ shares.

Thread: MainThread. Lock: none. Units: s.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Protocol


class Exit(IntEnum):
    """How deploy.py ends."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    ROLLED_BACK = 3


class UpdateState(Enum):
    """What update.json and MQTT tell."""

    CURRENT = "current"
    AVAILABLE = "available"
    STAGING = "staging"
    POSTPONED = "postponed"
    WATCHING = "watching"
    REFUSED = "refused"
    ROLLED_BACK = "rolled_back"


class Refused(Exception):
    """It cannot be done; the text says why and what to do. Nothing that runs was touched."""


class Postponed(Refused):
    """Everything is ready, and the station is not idle."""


class Say(Protocol):
    """One plain line for the person who typed the command."""

    def __call__(self, line: str) -> None: ...


class Clock(Protocol):
    """Time, so that tests can bring their own."""

    def now_s(self) -> float:
        """Monotonic."""

    def wall_s(self) -> float:
        """Unix seconds, for comparison with the stamps of status.json."""

    def minute_of_day(self) -> int:
        """0 to 1439, local time."""

    def wait(self, seconds: float) -> None: ...


def short(commit: str) -> str:
    """A commit as people and status.json name it."""
    return commit[:12]
