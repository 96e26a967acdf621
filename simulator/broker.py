"""Job: an MQTT broker inside the process (amqtt, MQTT 3.1.1), so that the simulated station needs nothing from
outside.

Thread: one of its own with an asyncio loop; `start` and `stop` from any other. Lock: none. Units: s. Listens on
127.0.0.1 only; anybody on this machine may connect, as on a desk.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading

from amqtt.broker import Broker, BrokerConfig
from amqtt.errors import AMQTTError
from amqtt.session import Session

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
#: How many ports after the wanted one are tried.
PORTS_TRIED = 50
_CHATTY = ("amqtt", "transitions")


class BrokerError(RuntimeError):
    """The embedded broker did not start; the text says why."""


class _ModestBroker(Broker):  # type: ignore[misc]
    """amqtt 0.12 sends a new client the retained messages of everybody's subscriptions.

    A client that only publishes and hangs up (mosquitto_pub) leaves them unread; the system then resets the connection
    and its own message is lost with it.
    """

    async def _publish_retained_messages_for_subscription(self, wanted: tuple[str, int], session: Session) -> None:
        if any(holder is session for holder, _ in self._subscriptions.get(wanted[0], ())):
            await super()._publish_retained_messages_for_subscription(wanted, session)


class EmbeddedBroker:
    """The broker as something to start and stop. `port` is valid after `start`."""

    def __init__(self, port: int = 1883) -> None:
        """`port`: the wanted one; when it is taken the next free one is used."""
        self.port = port
        self._wanted_port = port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)

    def start(self, timeout_s: float = 10.0) -> int:
        """Start listening and give the port. Raises BrokerError when no port is free or it takes too long."""
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._thread.start()
        if not self._ready.wait(timeout_s):
            raise BrokerError(f"The embedded broker did not start within {timeout_s:.0f} s")
        if self._failure is not None:
            raise BrokerError(f"The embedded broker did not start: {self._failure}") from self._failure
        return self.port

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Hang up on all clients and end the thread; False when it did not end in time. Twice does no harm."""
        if self._loop is not None and self._stopping is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            self._failure = error
            log.debug("The embedded broker ended: %s", error)
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        broker = await self._start_broker()
        self._ready.set()
        await self._stopping.wait()
        await broker.shutdown()

    async def _start_broker(self) -> Broker:
        for port in range(self._wanted_port, self._wanted_port + PORTS_TRIED):
            if not _is_free(port):
                continue
            broker = _ModestBroker(_config(port))
            try:
                await broker.start()
            except AMQTTError:  # somebody was faster
                continue
            self.port = port
            return broker
        raise BrokerError(f"no free port from {self._wanted_port} to {self._wanted_port + PORTS_TRIED - 1}")


def _config(port: int) -> BrokerConfig:
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    return BrokerConfig.from_dict(config)


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
