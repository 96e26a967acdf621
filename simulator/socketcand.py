"""Job: a socketcand server on the loopback, so that a controller in another process finds the modules on "its" CAN
bus.

Thread: the caller's (`poll`), or one of its own (`start`). Lock: none. Units: s. Text protocol of socketcand in raw
mode: `< hi >`, `< open can0 >` and `< rawmode >` answered by `< ok >`, then `< send ID dlc b0 .. >` in and `< frame
ID sec.usec DATA >` out. A frame goes to the modules and to every other client.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable

from simulator.can_face import Answer, FrameLog, Line, Speaker

log = logging.getLogger(__name__)

#: python-can takes what it reads after `< rawmode >` as a whole: no frame may come in one segment with `< ok >`.
HUSH_S = 0.05
#: A client that leaves this much unread is dropped.
MAX_BACKLOG = 1 << 16
MAX_COMMAND = 256


class _Client:
    """One controller's connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.unread = ""
        self.unsent = b""
        self.raw_from_s: float | None = None  # frames are passed on from then

    def tell(self, text: str) -> bool:
        """Send, or keep for later; False when the client is beyond help."""
        self.unsent += text.encode("ascii")
        return self.flush()

    def flush(self) -> bool:
        try:
            while self.unsent:
                self.unsent = self.unsent[self.connection.send(self.unsent) :]
        except BlockingIOError:
            return len(self.unsent) < MAX_BACKLOG
        except OSError:
            return False
        return True


class SocketcandServer:
    """The simulated bus as a TCP port on 127.0.0.1.

    Hooks: `cut` (connections stay, frames pass no more), `lose_sends` (so many frames of clients vanish), `foreign`,
    `tell_error`, `flood` as in WireBus.
    """

    def __init__(
        self,
        answer: Answer,
        port: int = 0,
        now_s: Callable[[], float] = time.monotonic,
        on_frame: FrameLog | None = None,
        speaker: Speaker | None = None,
    ) -> None:
        """Listen at once; port 0 takes a free one. Raises OSError when the port is taken."""
        self.cut = False
        self.lose_sends = 0
        self.malformed = 0
        self.frames = 0
        self._answer = answer
        self._now_s = now_s
        self._on_frame = on_frame
        self._line = Line(speaker)
        self._clients: dict[socket.socket, _Client] = {}
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    # --- running ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Serve from a thread of its own; not together with `poll`."""
        self._thread = threading.Thread(target=self._run, name="socketcand", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the thread and close every connection and the port."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
        self.drop_clients()
        self._selector.close()
        self._listener.close()

    def poll(self, timeout_s: float) -> None:
        """One round: wait for traffic at most `timeout_s` (or until a reply is due), then handle what came."""
        wait_s = min(timeout_s, max(0.0, self._line.next_end_s() - self._now_s()))
        for key, _ in self._selector.select(wait_s):
            if key.fileobj is self._listener:
                self._accept()
            else:
                self._read(self._clients[key.fileobj])  # type: ignore[index]
        now_s = self._now_s()
        while (frame := self._line.pop(now_s)) is not None:
            self._spread(*frame, sender=None)

    def drop_clients(self) -> None:
        """Hang up on everybody, as a server that dies does."""
        for client in list(self._clients.values()):
            self._drop(client)

    @property
    def client_count(self) -> int:
        return len(self._clients)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self.poll(0.05)
        except Exception:
            log.exception("The socketcand server ended")
            raise

    # --- connections --------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = _Client(connection)
        self._clients[connection] = client
        self._selector.register(connection, selectors.EVENT_READ)
        self._tell(client, "< hi >")

    def _drop(self, client: _Client) -> None:
        if self._clients.pop(client.connection, None) is not None:
            self._selector.unregister(client.connection)
            client.connection.close()

    def _tell(self, client: _Client, text: str) -> None:
        if not client.tell(text):
            self._drop(client)

    def _read(self, client: _Client) -> None:
        try:
            received = client.connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._drop(client)
            return
        *commands, client.unread = (client.unread + received.decode("ascii", "replace")).split(">")
        for command in commands:
            self._obey(client, command.strip().removeprefix("<").split())
        if len(client.unread) > MAX_COMMAND:
            self._drop(client)

    def _obey(self, client: _Client, words: list[str]) -> None:
        if words[:1] == ["send"]:
            self._send(client, words)
        elif words[:1] == ["open"]:
            self._tell(client, "< ok >")
        elif words == ["rawmode"]:
            client.raw_from_s = self._now_s() + HUSH_S
            self._tell(client, "< ok >")
        elif words == ["echo"]:
            self._tell(client, "< echo >")
        else:
            self.malformed += 1

    # --- what a test or the control file breaks -----------------------------------------------------------------------

    def foreign(self, can_id: int, data: bytes) -> None:
        """Let a frame arrive that no module sent."""
        self._spread(self._now_s(), can_id, data, sender=None)

    def tell_error(self, error_class: int) -> None:
        """Let the controller chip report an error to everybody, whether frames pass or not."""
        self._tell_all(f"< error {error_class:03X} {self._now_s():.6f} >", sender=None)

    def flood(self, share_pct: float) -> None:
        """Strangers take this share of the bus from now on; 0 ends it."""
        self._line.flood(share_pct, self._now_s())

    # --- frames -------------------------------------------------------------------------------------------------------

    def _send(self, client: _Client, words: list[str]) -> None:
        try:
            can_id, length = int(words[1], 16), int(words[2], 16)
            data = bytes(int(word, 16) for word in words[3:])
        except (IndexError, ValueError):
            self.malformed += 1
            return
        if length != len(data) or length > 8 or client.raw_from_s is None:
            self.malformed += 1
            return
        now_s = self._now_s()
        client.raw_from_s = min(client.raw_from_s, now_s)
        if self.lose_sends > 0:
            self.lose_sends -= 1
            return
        heard_at_s = self._line.occupy(now_s)
        self._spread(now_s, can_id, data, sender=client, extended=len(words[1]) == 8)
        if not self.cut and len(words[1]) == 8:
            self._line.queue(heard_at_s, self._answer(can_id, data, now_s))

    def _spread(self, at_s: float, can_id: int, data: bytes, *, sender: _Client | None, extended: bool = True) -> None:
        self.frames += 1
        if self._on_frame is not None:
            self._on_frame(at_s, can_id, data, sender is not None)
        if self.cut:
            return
        name = f"{can_id:08X}" if extended else f"{can_id:03X}"
        self._tell_all(f"< frame {name} {at_s:.6f} {data.hex().upper()} >", sender)

    def _tell_all(self, text: str, sender: _Client | None) -> None:
        now_s = self._now_s()
        for client in list(self._clients.values()):
            if client is not sender and client.raw_from_s is not None and now_s >= client.raw_from_s:
                self._tell(client, text)
