"""Job: what is special about one release of the stand-in station; a good one does nothing here."""

from __future__ import annotations

VERSION = "1.0.0"
KNOWN_KEYS = {"power", "name"}


def at_start() -> None:
    """Called before anything else."""


def while_running(ran_s: float, status: dict[str, object]) -> None:
    """Called before each status.json; may change it, hang or end."""
