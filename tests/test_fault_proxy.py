"""Job: the fault proxy breaks lines as it says.

Thread: the test's, the proxy's, and one for the far end. Lock: none. Units: s, bytes.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from fault_proxy import DELAY_S, FaultProxy, Line


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that says everything back; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(end: socket.socket) -> None:
        with end:
            while data := _recv(end):
                end.sendall(data)

    def run() -> None:
        while True:
            try:
                end, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(end,), daemon=True).start()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield int(listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(2.0)


def _recv(end: socket.socket) -> bytes:
    try:
        return end.recv(1000)
    except OSError:
        return b""


def connect(proxy: FaultProxy) -> socket.socket:
    end = socket.create_connection(("127.0.0.1", proxy.port), 2.0)
    end.settimeout(2.0)
    return end


def test_it_passes_and_it_slices(echo: int) -> None:
    with FaultProxy(echo) as proxy, connect(proxy) as end:
        end.sendall(b"hello")
        assert end.recv(100) == b"hello"
        proxy.mode = Line.SLICES
        end.sendall(b"hello")
        heard = b""
        while len(heard) < 5:
            heard += end.recv(100)
        assert heard == b"hello"


def test_a_delay_comes_on_both_ways(echo: int) -> None:
    with FaultProxy(echo) as proxy, connect(proxy) as end:
        proxy.mode = Line.DELAY
        sent_s = time.monotonic()
        end.sendall(b"x")
        assert end.recv(1) == b"x"
        assert time.monotonic() - sent_s >= 2 * DELAY_S


def test_a_black_hole_swallows_and_says_nothing(echo: int) -> None:
    with FaultProxy(echo) as proxy, connect(proxy) as end:
        proxy.mode = Line.BLACK_HOLE
        end.sendall(b"x")
        end.settimeout(0.3)
        with pytest.raises(TimeoutError):
            end.recv(1)


def test_a_reset_is_no_orderly_end(echo: int) -> None:
    with FaultProxy(echo) as proxy, connect(proxy) as end:
        end.sendall(b"x")
        assert end.recv(1) == b"x"
        proxy.reset_all()
        with pytest.raises(ConnectionResetError):
            end.recv(1)
