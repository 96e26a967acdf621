"""Job: Home Assistant on the clock: hears when it starts, says what is due, and keeps what a broker holds for it.

Thread: `status` steps, paho's hears, any may ask for everything anew. Lock: none, two Events. Units: s (monotonic).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from kept_files import read_kept, write_json
from planning.home_assistant import BIRTH, BIRTH_TOPIC, HomeAssistant
from planning.reports import OutMessage
from planning.settings import Settings
from planning.view import StationView
from worker import Clock


class HomeLink:
    """Home Assistant as seen from here: when it is told; home_assistant.json names what a broker holds for it."""

    def __init__(self, settings: Settings, version: str, clock: Clock) -> None:
        self._path = settings.folder / "home_assistant.json"
        held = read_kept(self._path).get("retained")
        self._written = tuple(filter(_is_text, held)) if isinstance(held, list) else ()
        self._home = HomeAssistant(settings, version, self._written)
        self._on, self._clock = settings.mqtt.home_assistant, clock
        self._renewed, self._born = threading.Event(), threading.Event()

    @property
    def subscriptions(self) -> tuple[str, ...]:
        return (BIRTH_TOPIC,) if self._on else ()

    def hear(self, topic: bytes, payload: bytes, retain: bool) -> bool:
        """True: the message was for this. A stored copy says nothing of now. paho's thread."""
        if topic != BIRTH_TOPIC.encode():
            return False
        if payload == BIRTH and not retain:
            self._born.set()
        return True

    def renew(self) -> None:
        """Any thread."""
        self._renewed.set()

    def step(
        self, now_s: float, view: StationView | None, details: Sequence[Mapping[str, float]] = ()
    ) -> list[OutMessage]:
        """What is due now; written down before it is sent, so that it can be taken back. Thread `status`."""
        if self._renewed.is_set():
            self._renewed.clear()
            self._home.renew()
        if self._born.is_set():
            self._born.clear()
            self._home.came_back()
        messages = self._home.step(now_s, self._clock.wall_s(), view, details)
        holds = self._home.holds
        if holds != self._written and write_json(self._path, {"retained": holds}):
            self._written = holds
        return messages


def _is_text(value: object) -> bool:
    return isinstance(value, str)
