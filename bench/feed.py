"""Job: more messages than anybody can take: encoded beforehand and written in one go, so that the sender costs nothing.

Thread: the caller's, and one that reads the broker's acknowledgements away. Lock: none. Units: none. MQTT 3.1.1, QoS 1.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable

CONNECT, PUBLISH_QOS_1, DISCONNECT = 0x10, 0x32, b"\xe0\x00"
CLEAN_SESSION = 2


def _packet(kind: int, content: bytes) -> bytes:
    length, head = len(content), bytearray([kind])
    while True:
        length, digit = divmod(length, 128)
        head.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(head) + content


def _text(text: str) -> bytes:
    return len(text).to_bytes(2, "big") + text.encode()


def encoded(messages: Iterable[tuple[str, str]]) -> bytes:
    """PUBLISH packets of (topic, payload), one behind the other."""
    return b"".join(
        _packet(PUBLISH_QOS_1, _text(topic) + (number % 65535 + 1).to_bytes(2, "big") + payload.encode())
        for number, (topic, payload) in enumerate(messages)
    )


class Feed:
    """A client of the broker on 127.0.0.1 that only talks."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 5.0)
        self._socket.sendall(_packet(CONNECT, _text("MQTT") + bytes([4, CLEAN_SESSION, 0, 0]) + _text("feed")))
        self._socket.settimeout(None)
        self._reader = threading.Thread(target=self._read_away, name="feed", daemon=True)
        self._reader.start()

    def pour(self, packets: bytes) -> None:
        """Returns when the broker's socket has taken all."""
        self._socket.sendall(packets)

    def close(self) -> None:
        self._socket.sendall(DISCONNECT)  # the broker then ends the connection, and with it the reader
        self._reader.join(5.0)
        self._socket.close()

    def _read_away(self) -> None:
        while self._socket.recv(1 << 16):
            pass
