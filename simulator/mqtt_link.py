"""Job: carries the simulated devices' messages to a broker, and the station's allocations (and typed demands) back.

Thread: paho's own; `publish` and `take` from the plant's thread. Lock: none (a queue). Units: s.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterable
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from simulator.devices import Told

log = logging.getLogger(__name__)

MAX_WAITING = 1000


class DeviceLink:
    """One connection for all simulated devices; it comes back by itself."""

    def __init__(self, host: str, port: int, topic_root: str = "vesec") -> None:
        self._heard: queue.Queue[tuple[str, bytes]] = queue.Queue(MAX_WAITING)
        self._topics = [(f"{topic_root}/+/allocation/central", 1), (f"{topic_root}/+/demand/+", 0)]
        self._address = (host, port)
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 5)

    def start(self) -> None:
        """Connect in the background and keep trying."""
        self._client.connect_async(*self._address, keepalive=10)
        self._client.loop_start()

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, messages: Iterable[Told]) -> None:
        """Send what the devices say; while there is no broker it is lost, as with a real device."""
        if self._client.is_connected():
            for topic, payload in messages:
                self._client.publish(topic, payload, qos=0)

    def take(self) -> list[tuple[str, bytes]]:
        """What the station said, and who asked for power, since the last call."""
        messages = []
        while not self._heard.empty():
            messages.append(self._heard.get_nowait())
        return messages

    def _on_connect(self, client: mqtt.Client, *_rest: Any) -> None:
        client.subscribe(self._topics)

    def _on_message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        try:
            self._heard.put_nowait((message.topic, bytes(message.payload)))
        except queue.Full:
            log.warning("The simulated devices do not keep up: an allocation message is lost")
