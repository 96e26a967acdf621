"""A MessageProcessor on the bench: six guns, recorded commands and refusals, and a clock that is moved by hand."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from gun import Gun
from message_processor import MessageProcessor
from planning.model import GunValues
from planning.payload import Rejection
from planning.settings import Devices, Mqtt, Priority

DEVICES = Devices({"D1": (1, 2), "D2": (3, 4), "D3": (5, 6)})


@dataclass
class HandClock:
    """Stands still until a test moves it."""

    monotonic_s: float = 1000.0
    unix_s: float = 1_800_000_000.0

    def now_s(self) -> float:
        return self.monotonic_s

    def wall_s(self) -> float:
        return self.unix_s

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        raise AssertionError("nobody waits on the network thread")

    def advance(self, seconds: float) -> None:
        self.monotonic_s += seconds
        self.unix_s += seconds


@dataclass
class RecordedCommands:
    """The station's commands, as they were called."""

    calls: list[tuple[object, ...]] = field(default_factory=list)
    in_the_way: Sequence[str] = ()

    def set_site_limit(self, limit_kw: float) -> None:
        self.calls.append(("site_limit", limit_kw))

    def set_max_power(self, gun: int, limit_kw: float) -> None:
        self.calls.append(("max_power", gun, limit_kw))

    def set_module_enabled(self, module: int, enabled: bool) -> None:
        self.calls.append(("enabled", module, enabled))

    def set_priority(self, rule: Priority) -> None:
        self.calls.append(("priority", rule))

    def set_draining(self, draining: bool) -> None:
        self.calls.append(("drain", draining))

    def in_the_way_of_reset(self) -> Sequence[str]:
        return self.in_the_way

    def reset(self) -> None:
        self.calls.append(("reset",))


class Bench:
    def __init__(self, mqtt: Mqtt | None = None, synchronised: bool = True) -> None:
        self.clock = HandClock()
        self.guns = {number: Gun(number) for number in range(1, 7)}
        self.commands = RecordedCommands()
        self.told: list[Rejection] = []
        self.synchronised = synchronised
        self.processor = MessageProcessor(
            self.guns, DEVICES, mqtt or Mqtt(), self.commands, self.told.append, self.clock, lambda: self.synchronised
        )

    def say(self, topic: str | bytes, payload: str | bytes, retain: bool = False) -> str | None:
        """Hand in one message; the reason when it was refused."""
        before = self.processor.rejected.copy()
        raw_topic = topic.encode() if isinstance(topic, str) else topic
        raw_payload = payload.encode() if isinstance(payload, str) else payload
        self.processor.handle(raw_topic, raw_payload, retain)
        grown = [reason.value for reason, count in self.processor.rejected.items() if count > before[reason]]
        assert len(grown) <= 1
        return grown[0] if grown else None

    def values(self, gun: int = 1) -> GunValues:
        return self.guns[gun].snapshot().values
