"""Job: what waits to be published: the newest telemetry of each topic, and events that must not be lost.

Thread: any, under the owner's lock. Lock: none of its own. Units: none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from planning.reports import OutMessage

#: So many events (QoS 1) are kept while the broker is away; then the oldest goes, counted.
MAX_EVENTS = 200


class Outbox:
    """Bounded by the number of topics for QoS 0 (newest wins) and by MAX_EVENTS for QoS 1 (in order)."""

    def __init__(self) -> None:
        self.dropped_telemetry = 0
        self.dropped_events = 0
        self._telemetry: dict[str, OutMessage] = {}
        self._events: deque[OutMessage] = deque()

    def __len__(self) -> int:
        return len(self._telemetry) + len(self._events)

    def put(self, message: OutMessage, online: bool) -> None:
        """Keep a message until it is taken; telemetry is dropped while offline: it would be stale when it leaves."""
        if message.qos > 0:
            self._events.append(message)
            self._shorten()
        elif online:
            self._telemetry[message.topic] = message
        else:
            self.dropped_telemetry += 1

    def take(self, events: int) -> list[OutMessage]:
        """Remove and return the next messages, at most so many `events` and all telemetry; events first."""
        taken = [self._events.popleft() for _ in range(min(events, len(self._events)))]
        taken += self._telemetry.values()
        self._telemetry.clear()
        return taken

    def put_back(self, events: Sequence[OutMessage]) -> None:
        """Events that were sent and never acknowledged: first in the queue again, in their order."""
        self._events.extendleft(reversed(events))
        self._shorten()

    def drop_telemetry(self) -> None:
        """The connection is lost: nothing that is old by the next one may be sent then."""
        self.dropped_telemetry += len(self._telemetry)
        self._telemetry.clear()

    def _shorten(self) -> None:
        while len(self._events) > MAX_EVENTS:
            self._events.popleft()
            self.dropped_events += 1
