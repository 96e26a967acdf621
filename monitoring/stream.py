"""Job: tell every open page what is new, as server-sent events.

Thread: the page's event loop; `told` is called by `feed`. Lock: none (what both use is replaced, not changed).
Units: s (monotonic).

A snapshot is written once, whoever looks on. A page that reads too slowly skips snapshots and gets the newest next;
nothing is kept for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from monitoring.board import Board
from monitoring.schema import Line, News, Snapshot

#: A page gets a snapshot so often; what a person waits for is told at once.
SNAPSHOT_S = 0.9
#: Without a snapshot for so long a page is told that what it shows is old.
STALE_S = 3.0
LOOK_S = 0.5
COMMENT_S = 10.0
#: A page that takes nothing for so long is let go.
SLOW_S = 20.0
NEWS_KEPT = 50
MOST_PAGES = 150


class Stream:
    """The newest event of each kind, and who waits for the next."""

    def __init__(self, board: Board, now_s: Callable[[], float]) -> None:
        self.pages = 0
        self._board, self._now_s = board, now_s
        self._snapshot: tuple[int, bytes] = (0, b"")
        self._news: deque[tuple[int, bytes]] = deque(maxlen=NEWS_KEPT)
        self._moved = 0  # number of the line in which a word or a switch last changed
        self._standing: object = None
        self._told = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ring = asyncio.Event()
        self._closing = False

    # --- thread feed ----------------------------------------------------------------------------------------------

    def told(self, line: Line) -> None:
        """A line was put on the board."""
        self._told += 1
        if line.snapshot is not None:
            self._snapshot = self._told, _event("snapshot", self._board.snapshot_json())
            standing = _standing(line.snapshot)
            if standing != self._standing:
                self._moved, self._standing = self._told, standing
        if line.events or line.fault_news:
            news = News(events=line.events, fault_news=line.fault_news)
            self._news.append((self._told, _event("news", news.model_dump_json().encode())))
        self._wake()

    def close(self) -> None:
        """Let every page go. Any thread."""
        self._closing = True
        self._wake()

    def _wake(self) -> None:
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._ring_all)

    # --- event loop -----------------------------------------------------------------------------------------------

    def _ring_all(self) -> None:
        ring, self._ring = self._ring, asyncio.Event()
        ring.set()

    def response(self) -> Response:
        """The answer to one page. Event loop."""
        self._loop = asyncio.get_running_loop()
        return EventStream(self)

    async def serve(self, send: Callable[[bytes], Awaitable[None]], gone: asyncio.Task[None]) -> None:
        """Tell one page until it goes, is too slow, or the program ends."""
        page = _Page(self._told, self._now_s())
        await self._hand(send, b"retry: 2000\n\n")
        while not self._closing and not gone.done():
            chunk = b"".join(self._due(page, self._now_s()))
            if chunk:
                await self._hand(send, chunk)
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._ring.wait(), LOOK_S)

    async def _hand(self, send: Callable[[bytes], Awaitable[None]], chunk: bytes) -> None:
        await asyncio.wait_for(send(chunk), SLOW_S)

    def _due(self, page: _Page, now_s: float) -> Iterator[bytes]:
        """What this page is to be told now."""
        number, frame = self._snapshot
        news = [each for each in self._news.copy() if each[0] > page.news]
        at_once = bool(news) or page.snapshot < self._moved
        if number > page.snapshot and (at_once or now_s - page.snapshot_at_s >= SNAPSHOT_S):
            page.snapshot, page.snapshot_at_s = number, now_s
            yield frame
        if news:
            page.news = news[-1][0]
            yield from (frame for _, frame in news)
        age_s = self._board.age_s(now_s)
        if age_s > STALE_S and now_s - page.stale_at_s >= 1.0:
            page.stale_at_s = now_s
            told_s = "null" if age_s == float("inf") else f"{age_s:.1f}"
            yield _event("stale", f'{{"age_s":{told_s}}}'.encode())
        if now_s - page.comment_at_s >= COMMENT_S:
            page.comment_at_s = now_s
            yield b": still here\n\n"


def _standing(snapshot: Snapshot) -> object:
    """Words and switches; figures move all the time and wait for the next second."""
    station = snapshot.station
    return (
        (station.state, station.armed, station.mqtt, station.emergency_stop_healthy, station.can.up),
        (station.site_limit_kw, station.rule, station.draining),
        [(gun.state, gun.vehicle_status, gun.modules, gun.commanded_kw) for gun in snapshot.guns],
        [(module.state, module.gun) for module in snapshot.modules],
        [(contact.state, contact.commanded, contact.fault) for contact in snapshot.crosspoints],
    )


class _Page:
    """What one page has been told."""

    def __init__(self, told: int, now_s: float) -> None:
        self.snapshot = 0
        self.snapshot_at_s = self.stale_at_s = float("-inf")
        self.news = told
        self.comment_at_s = now_s


class EventStream(Response):
    """text/event-stream without end."""

    media_type = "text/event-stream"

    def __init__(self, stream: Stream) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._stream.pages >= MOST_PAGES:
            busy = Response('{"detail":"Too many pages look on. Close some."}', 503, media_type="application/json")
            await busy(scope, receive, send)
            return
        self._stream.pages += 1
        gone = asyncio.create_task(_until_gone(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            with suppress(TimeoutError):
                await self._stream.serve(lambda chunk: _body(send, chunk, True), gone)
                await _body(send, b"", False)
        finally:
            self._stream.pages -= 1
            gone.cancel()


async def _body(send: Send, chunk: bytes, more: bool) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": more})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _event(name: str, data: bytes) -> bytes:
    """JSON has no line break outside its strings, and none inside: one data line does."""
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"
