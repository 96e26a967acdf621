"""Debian's mosquitto on a free loopback port, and a plain client beside the product: tests with a real broker."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

LIMIT_S = 5.0
#: As contrib/vesec-station.service does; here tests compete for the processors. Without the right `nice` just goes on.
AHEAD = ("nice", "-n", "-10")


def find_mosquitto() -> str:
    """Path of the broker. Without it the test is skipped; on the gate (CI=true) a skip would hide it, so it fails."""
    found = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is not None:
        return found
    message = "mosquitto is not installed (Debian: apt-get install mosquitto)"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


#: Below those that the kernel gives to whoever connects: what is free now is still free when a server has started.
PORTS = range(12_000, 32_000)


def free_port() -> int:
    """A port of this machine that nobody serves."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", random.SystemRandom().choice(PORTS)))
            return int(probe.getsockname()[1])


def until(condition: Callable[[], object], what: str, limit_s: float = LIMIT_S) -> None:
    """Wait until `condition()` is true, with a limit."""
    tick = threading.Event()
    for _ in range(int(limit_s / 0.01)):
        if condition():
            return
        tick.wait(0.01)
    pytest.fail(f"within {limit_s:g} s not reached: {what}")


class Mosquitto:
    """One broker; `options` are further lines of mosquitto.conf for its only listener."""

    def __init__(self, folder: Path, options: str = "allow_anonymous true") -> None:
        self.port = free_port()
        self._log = folder / f"mosquitto-{self.port}.log"
        self._config = folder / f"mosquitto-{self.port}.conf"
        # "user root": else a broker started by root drops its rights and cannot read the test's own folder.
        self._config.write_text(f"user root\npersistence false\nlistener {self.port} 127.0.0.1\n{options}\n")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log.read_text()

    def start(self) -> None:
        with self._log.open("ab") as log:
            command = [*AHEAD, find_mosquitto(), "-c", str(self._config), "-v"]
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        until(self._answers, "mosquitto listens")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(LIMIT_S)
            self._process = None

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            pytest.fail(f"mosquitto did not start:\n{self.log}")
        try:
            socket.create_connection(("127.0.0.1", self.port), 0.2).close()
        except OSError:
            return False
        return True


@contextmanager
def running(folder: Path, options: str = "allow_anonymous true") -> Iterator[Mosquitto]:
    broker = Mosquitto(folder, options)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


class Peer:
    """Another client on the broker: what it hears lies in `heard` as (topic, payload, retain)."""

    def __init__(self, port: int, *topics: str, client_id: str = "") -> None:
        self.heard: Queue[tuple[str, bytes, bool]] = Queue()
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        for topic in topics:
            self._subscribed.clear()
            self._client.subscribe(topic, 1)
            assert self._subscribed.wait(LIMIT_S)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def say(self, topic: str, payload: bytes | str, retain: bool = False) -> None:
        """Publish with QoS 1 and wait for the broker's word."""
        self._client.publish(topic, payload, 1, retain).wait_for_publish(LIMIT_S)

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        self.heard.put((message.topic, bytes(message.payload), bool(message.retain)))
