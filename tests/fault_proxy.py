"""Job: a line between two TCP ends that can be broken as lines break: black hole, reset, slices, delay, refusal.

Thread: one of its own. Lock: none (one mode, set by the test). Units: s, bytes. Loopback only.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from enum import Enum

SLICE_PAUSE_S = 0.0005
DELAY_S = 0.3
LOOK_S = 0.01


class Line(Enum):
    PASS = "pass"
    BLACK_HOLE = "takes everything, passes nothing, and tells nobody"
    SLICES = "one byte at a time"
    DELAY = "everything comes late"
    REFUSE = "takes no connection, and resets those it has"


@dataclass(eq=False)
class _Way:
    """One direction of one connection."""

    source: socket.socket
    target: socket.socket
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)  # (when it may leave, bytes)


class FaultProxy:
    """Listens on `port` and passes on to `target_port`; `mode` may be changed at any time."""

    def __init__(self, target_port: int) -> None:
        self.mode = Line.PASS
        self.connections = 0
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._ways: list[_Way] = []
        self._ending = threading.Event()
        self._reset = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(2.0)

    def reset_all(self) -> None:
        """RST on every connection; the line itself stays as it is."""
        self._reset.set()

    # --- the proxy's thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ending.is_set():
            for key, _ in self._selector.select(LOOK_S if not self._busy else 0.0005):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._take(key.data)
            if self.mode is Line.REFUSE or self._reset.is_set():
                self._reset.clear()
                self._cut_all()
            self._pass_on(time.monotonic())
        self._cut_all()
        self._listener.close()
        self._selector.close()

    @property
    def _busy(self) -> bool:
        return any(way.waiting for way in self._ways)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        if self.mode is Line.REFUSE:
            _cut(near)
            return
        try:
            far = socket.create_connection(("127.0.0.1", self._target_port), 1.0)
        except OSError:
            _cut(near)
            return
        self.connections += 1
        for source, target in ((near, far), (far, near)):
            source.setblocking(False)
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            way = _Way(source, target)
            self._ways.append(way)
            self._selector.register(source, selectors.EVENT_READ, way)

    def _take(self, way: _Way) -> None:
        try:
            data = way.source.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            if self.mode is not Line.BLACK_HOLE:
                self._drop(way)
            else:
                self._selector.unregister(way.source)
        elif self.mode is not Line.BLACK_HOLE:
            self._queue(way, data)

    def _queue(self, way: _Way, data: bytes) -> None:
        now_s = time.monotonic()
        if self.mode is Line.SLICES:
            first_s = max(now_s, way.waiting[-1][0] if way.waiting else 0.0)
            way.waiting.extend((first_s + (n + 1) * SLICE_PAUSE_S, bytes((byte,))) for n, byte in enumerate(data))
        else:
            way.waiting.append((now_s + (DELAY_S if self.mode is Line.DELAY else 0.0), data))

    def _pass_on(self, now_s: float) -> None:
        for way in list(self._ways):
            while way.waiting and way.waiting[0][0] <= now_s:
                _, data = way.waiting.popleft()
                try:
                    way.target.sendall(data)
                except OSError:
                    self._drop(way)
                    break

    def _drop(self, way: _Way) -> None:
        """End a connection in order, both ways."""
        for each in [w for w in self._ways if w.source in (way.source, way.target)]:
            self._ways.remove(each)
            if each.source in {key.fileobj for key in self._selector.get_map().values()}:
                self._selector.unregister(each.source)
            each.source.close()

    def _cut_all(self) -> None:
        for way in list(self._ways):
            _linger(way.source)
            self._drop(way)


def _linger(end: socket.socket) -> None:
    """Closing then sends RST instead of FIN."""
    try:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        return


def _cut(end: socket.socket) -> None:
    _linger(end)
    end.close()
