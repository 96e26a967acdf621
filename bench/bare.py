"""Job: the plainest program that could stand in the station's place: a paho callback, and one CAN frame for a message.

Thread: paho's, as in the station. Lock: none. Units: none. `python bench/bare.py BROKER_PORT CAN_PORT count|send`

Same client library, MQTT version, subscription and QoS as the station; it understands nothing.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import can
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

#: No module listens to this identifier.
CAN_ID = 0x1ABCDEF0
MARK, ANSWER = b"mark", "answer"


def main() -> None:
    broker_port, can_port, sends = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "send"
    bus = can.Bus(interface="socketcand", host="127.0.0.1", port=can_port, channel="can0") if sends else None

    def on_connect(client: paho.Client, *_: Any) -> None:
        client.subscribe("bare/+/+/+", 1)  # a root of its own: the station is not to do the same work beside it

    def on_message(client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        if message.payload == MARK:
            client.publish(ANSWER, b"")
        elif bus is not None:
            bus.send(can.Message(arbitration_id=CAN_ID, is_extended_id=True, data=message.payload[:8]))

    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_connect = on_connect
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.on_message = on_message
    client.connect("127.0.0.1", broker_port)
    client.loop_start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
