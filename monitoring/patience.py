"""Job: hang up on whoever holds a connection without asking for anything, or holds too many of them.

Thread: the page's event loop. Lock: none. Units: s.

uvicorn waits for ever for the first request, and for the end of one that comes byte by byte; its only limit is on the
connections of all together, which one such client would use up.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

#: From the first byte, or the connection itself, to the end of the request's head.
HEAD_S = 10.0
#: Connections of one address; a browser holds six at the most.
MOST_OF_ONE = 120


class PatientProtocol(H11Protocol):
    """HTTP/1.1 with a limit to patience."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.client is not None and self._held_by(self.client[0]) > MOST_OF_ONE:
            transport.abort()
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait_no_more()
        elif self._patience is None and not self.transport.is_closing():
            self._wait()

    def _held_by(self, address: str) -> int:
        clients = [other.client for other in self.connections if isinstance(other, H11Protocol)]
        return sum(client is not None and client[0] == address for client in clients)

    def _wait(self) -> None:
        self._patience = self.loop.call_later(HEAD_S, self.transport.abort)

    def _wait_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
