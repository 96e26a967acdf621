"""The embedded broker: an ordinary client can use it, a taken port does no harm, and it ends when told."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator

import paho.mqtt.client as mqtt
import pytest
from mosquitto import free_port
from paho.mqtt.enums import CallbackAPIVersion

from simulator.broker import EmbeddedBroker
from simulator.mqtt_link import DeviceLink

LIMIT_S = 5.0


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(free_port())
    broker.start()
    yield broker
    assert broker.stop()


class Client:
    """A paho client that is connected and subscribed when the constructor is done."""

    def __init__(self, port: int, topic: str) -> None:
        self.heard: queue.Queue[tuple[str, bytes, bool]] = queue.Queue()
        subscribed = threading.Event()
        self.paho = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.paho.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self.paho.on_subscribe = lambda *_: subscribed.set()
        self.paho.on_message = lambda _c, _u, m: self.heard.put((m.topic, m.payload, m.retain))
        self.paho.connect("127.0.0.1", port)
        self.paho.loop_start()
        assert subscribed.wait(LIMIT_S)

    def close(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()


def test_messages_retained_ones_and_the_devices_link_pass_through(broker: EmbeddedBroker) -> None:
    station = Client(broker.port, "vesec/+/+/D1")
    link = DeviceLink("127.0.0.1", broker.port)
    link.start()
    try:
        station.paho.publish("vesec/1/allocation/central", '{"modules": [1]}', qos=1, retain=True)
        heard: list[tuple[str, bytes]] = []
        ticks = threading.Event()
        for _ in range(100):
            link.publish([("vesec/1/demand/D1", "62.5")])
            heard = heard or link.take()
            if heard and not station.heard.empty():
                break
            ticks.wait(LIMIT_S / 100)
        assert ("vesec/1/allocation/central", b'{"modules": [1]}') in heard
        assert station.heard.get(timeout=LIMIT_S)[:2] == ("vesec/1/demand/D1", b"62.5")
        latecomer = Client(broker.port, "vesec/1/allocation/#")
        assert latecomer.heard.get(timeout=LIMIT_S) == ("vesec/1/allocation/central", b'{"modules": [1]}', True)
        latecomer.close()
    finally:
        link.stop()
        station.close()


def test_a_taken_port_moves_it_to_the_next_free_one(broker: EmbeddedBroker) -> None:
    second = EmbeddedBroker(broker.port)
    assert second.start() > broker.port
    assert second.stop()
    assert second.stop()
    assert broker.alive


def test_it_listens_on_the_loopback_only(broker: EmbeddedBroker) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as other:
        other.bind(("127.0.0.2", broker.port))  # would fail if it listened on every address


def test_who_only_publishes_and_hangs_up_is_heard_and_told_nothing(broker: EmbeddedBroker) -> None:
    station = Client(broker.port, "vesec/#")
    try:
        station.paho.publish("vesec/1/allocation/central", "[1]", qos=1, retain=True)
        assert station.heard.get(timeout=LIMIT_S)[1] == b"[1]"
        with socket.create_connection(("127.0.0.1", broker.port), LIMIT_S) as person:
            person.sendall(bytes.fromhex("100c00044d5154540402003c0000"))  # CONNECT, as mosquitto_pub sends it
            assert person.recv(4) == bytes.fromhex("20020000")
            person.sendall(b"\x30\x15\x00\x11vesec/1/demand/D1" + b"75" + b"\xe0\x00")  # PUBLISH and DISCONNECT
            assert station.heard.get(timeout=LIMIT_S)[:2] == ("vesec/1/demand/D1", b"75")
            assert person.recv(4) == b""
    finally:
        station.close()
