"""A scripted broker on a raw loopback socket: it speaks only what the test tells it to, right or wrong."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

CONNECT, PUBLISH, PUBACK, SUBSCRIBE, PINGREQ, DISCONNECT = 1, 3, 4, 8, 12, 14

Script = Callable[["Connection", int, bytes], None]


def packet(kind: int, body: bytes, flags: int = 0) -> bytes:
    """One MQTT packet; bodies below 16 KiB are enough here."""
    length = len(body)
    size = bytes([length]) if length < 128 else bytes([length % 128 | 0x80, length // 128])
    return bytes([kind << 4 | flags]) + size + body


def publish(topic: bytes, payload: bytes, version: int = 5) -> bytes:
    """A QoS 0 PUBLISH, whose topic may be anything."""
    return packet(PUBLISH, len(topic).to_bytes(2, "big") + topic + (b"\0" if version == 5 else b"") + payload)


class Connection:
    """One accepted client: `version` is what its CONNECT asked for."""

    def __init__(self, sock: socket.socket) -> None:
        self.version = 0
        self._sock = sock

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def accept(self) -> None:
        """CONNACK: yes."""
        self.send(packet(2, b"\0\0\0" if self.version == 5 else b"\0\0"))

    def subscribed(self, body: bytes, count: int, code: int = 1) -> None:
        """SUBACK with the same code for each of `count` filters."""
        self.send(packet(9, body[:2] + (b"\0" if self.version == 5 else b"") + bytes([code] * count)))

    def close(self) -> None:
        self._sock.close()

    def read(self) -> tuple[int, bytes]:
        head = self._exactly(1)[0]
        length = shift = 0
        while True:
            byte = self._exactly(1)[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return head >> 4, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self._sock.recv(count - len(data))
            if not more:
                raise ConnectionError("the client is gone")
            data += more
        return data


class FakeBroker:
    """Accepts on a free loopback port and calls `script(connection, packet type, body)` for each packet."""

    def __init__(self, script: Script) -> None:
        self.connects: list[int] = []  # the version each CONNECT asked for
        self.packets: list[int] = []
        self._script = script
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="fake-broker", daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> FakeBroker:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for sock in self._open:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join(2)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            self._open.append(sock)
            thread = threading.Thread(target=self._serve, args=(Connection(sock),), name="fake-client", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: Connection) -> None:
        try:
            while True:
                kind, body = connection.read()
                self.packets.append(kind)
                if kind == CONNECT:
                    connection.version = body[6]
                    self.connects.append(connection.version)
                self._script(connection, kind, body)
        except OSError:
            connection.close()
