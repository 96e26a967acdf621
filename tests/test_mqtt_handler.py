"""MqttHandler against a real mosquitto, and against a scripted broker for what a good one never does."""

from __future__ import annotations

import logging
import random
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from authority import Authority
from fake_broker import CONNECT, DISCONNECT, PINGREQ, PUBLISH, SUBSCRIBE, Connection, FakeBroker, packet, publish
from mosquitto import LIMIT_S, Mosquitto, Peer, free_port, running, until

import mqtt_handler
from message_processor import subscriptions
from mqtt_handler import MqttHandler, explain, load_client_id
from planning.reports import OutMessage, last_will
from planning.settings import Mqtt
from worker import SystemClock

TOPICS = subscriptions("vesec")
HERE = Mqtt(broker="127.0.0.1")
FAULT_TOPIC = "vesec/station/fault/central"


class Inbox:
    """What came in, and how often the handler connected."""

    def __init__(self) -> None:
        self.messages: Queue[tuple[bytes, bytes, bool]] = Queue()
        self.connected = threading.Event()
        self.connections = 0
        self.handlers: list[MqttHandler] = []

    def on_message(self, topic: bytes, payload: bytes, retain: bool) -> None:
        self.messages.put((topic, payload, retain))

    def on_connected(self) -> None:
        self.connections += 1
        self.connected.set()

    def next(self) -> tuple[bytes, bytes, bool]:
        return self.messages.get(timeout=LIMIT_S)


@contextmanager
def handler(
    mqtt: Mqtt,
    inbox: Inbox,
    client_id: str = "station",
    on_message: Callable[[bytes, bytes, bool], None] | None = None,
    backoff_s: tuple[float, float] = (0.05, 0.2),
) -> Iterator[MqttHandler]:
    made = MqttHandler(
        mqtt, client_id, TOPICS, last_will("vesec"), on_message or inbox.on_message, inbox.on_connected,
        SystemClock(), backoff_s,
    )  # fmt: skip
    made.start()
    try:
        yield made
    finally:
        assert made.stop(4.0)
        assert not [t for t in threading.enumerate() if t.name == f"paho-mqtt-client-{client_id}"]


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running(tmp_path) as started:
        yield started


def polite(connection: Connection, kind: int, body: bytes) -> None:
    """What a good broker does."""
    if kind == CONNECT:
        connection.accept()
    elif kind == SUBSCRIBE:
        connection.subscribed(body, len(TOPICS))
    elif kind == PINGREQ:
        connection.send(packet(13, b""))


# --- a real broker ------------------------------------------------------------------------------------------------


@pytest.mark.mosquitto
def test_bytes_in_and_bytes_out_over_mqtt_5(broker: Mosquitto, inbox: Inbox) -> None:
    with (
        Peer(broker.port, "vesec/+/allocation/central") as peer,
        handler(replace(HERE, port=broker.port), inbox) as mqtt,
    ):
        assert inbox.connected.wait(LIMIT_S)
        assert mqtt.connected and mqtt.alive and mqtt.stats.protocol == "5"
        peer.say("vesec/1/demand/D1", "75")
        assert inbox.next() == (b"vesec/1/demand/D1", b"75", False)
        mqtt.publish(OutMessage("vesec/1/allocation/central", b"{}", retain=True))
        assert peer.heard.get(timeout=LIMIT_S)[:2] == ("vesec/1/allocation/central", b"{}")
        peer.say("vesec/module/3/enabled/central/set", "false")
        assert inbox.next()[0] == b"vesec/module/3/enabled/central/set", "our own message came back before it"


@pytest.mark.mosquitto
def test_a_stored_copy_comes_with_the_retain_flag(broker: Mosquitto, inbox: Inbox) -> None:
    with Peer(broker.port) as peer:
        peer.say("vesec/1/demand/D1", "400", retain=True)
        with handler(replace(HERE, port=broker.port), inbox):
            assert inbox.next() == (b"vesec/1/demand/D1", b"400", True)


@pytest.mark.mosquitto
def test_a_restarted_broker_is_found_again_with_all_subscriptions(broker: Mosquitto, inbox: Inbox) -> None:
    with handler(replace(HERE, port=broker.port), inbox) as mqtt:
        assert inbox.connected.wait(LIMIT_S)
        broker.stop()
        until(lambda: not mqtt.connected, "the loss is noticed")
        mqtt.publish(OutMessage("vesec/1/allocation/central", b"stale"))
        mqtt.publish(OutMessage(FAULT_TOPIC, b"kept", qos=1))
        broker.start()
        until(lambda: inbox.connections == 2, "connected again")
        with Peer(broker.port) as peer:
            peer.say("vesec/2/soc/D3", "55")
            assert inbox.next() == (b"vesec/2/soc/D3", b"55", False)
        assert (mqtt.stats.dropped_telemetry, mqtt.stats.dropped_events) == (1, 0)
        until(lambda: f"'{FAULT_TOPIC}'" in broker.log, "the event of the outage was published")


@pytest.mark.mosquitto
def test_a_stop_publishes_the_last_word_and_leaves_no_will(broker: Mosquitto, inbox: Inbox) -> None:
    with Peer(broker.port, "vesec/station/#") as peer:
        with handler(replace(HERE, port=broker.port), inbox) as mqtt:
            assert inbox.connected.wait(LIMIT_S)
            mqtt.publish(OutMessage(FAULT_TOPIC, b"waiting", qos=1))
            assert mqtt.stop(4.0, OutMessage("vesec/station/status/central", b"last", qos=1, retain=True))
            assert mqtt.stop(4.0), "a second stop does no harm"
        heard = [peer.heard.get(timeout=LIMIT_S)[1] for _ in range(2)]
        peer.say("vesec/station/end", "end")
        assert heard == [b"waiting", b"last"]
        assert peer.heard.get(timeout=LIMIT_S)[1] == b"end", "the will was published although the stop was clean"


@pytest.mark.mosquitto
def test_a_wrong_password_is_named(tmp_path: Path, inbox: Inbox, caplog: pytest.LogCaptureFixture) -> None:
    users, secret = tmp_path / "users", tmp_path / "secret"
    mosquitto_passwd = shutil.which("mosquitto_passwd") or "/usr/bin/mosquitto_passwd"
    with running(tmp_path) as probe:  # skips when there is no mosquitto at all
        probe.stop()
    subprocess.run([mosquitto_passwd, "-b", "-c", str(users), "station", "right"], check=True, capture_output=True)
    users.chmod(0o644)
    secret.write_text("wrong\n")
    with running(tmp_path, f"allow_anonymous false\npassword_file {users}") as broker:
        settings = replace(HERE, port=broker.port, username="station", password_file=secret)
        with handler(settings, inbox) as mqtt:
            until(lambda: "username and password_file" in caplog.text, "the refusal is explained")
            assert not mqtt.connected
            secret.write_text("right\n")
            assert inbox.connected.wait(LIMIT_S), "a corrected password file is read again"
    warnings = [r for r in caplog.records if "password_file" in r.getMessage()]
    assert len(warnings) == 1, "the same cause is said once a minute"


@pytest.mark.mosquitto
def test_two_stations_with_one_client_id_are_told_so(
    broker: Mosquitto, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    settings = replace(HERE, port=broker.port)
    with handler(settings, inbox, "twin", backoff_s=(0.01, 0.02)):
        assert inbox.connected.wait(LIMIT_S)
        rival = MqttHandler(
            settings, "twin", TOPICS, last_will("vesec"), Inbox().on_message, None, SystemClock(), (0.01, 0.02)
        )
        rival.start()
        until(lambda: "Identity conflict" in caplog.text, "the conflict is said")
        assert rival.stop(4.0)
    assert "[MQTT] client_id" in caplog.text


# --- TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed, so no certificates can be made")
    made = Authority(tmp_path)
    made.issue("server", "IP:127.0.0.1")
    made.issue("client", "DNS:client")
    return made


@pytest.mark.mosquitto
def test_tls_works_and_each_fault_is_named(
    authority: Authority, tmp_path: Path, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    tls = f"cafile {tmp_path}/ca.pem\ncertfile {tmp_path}/server.pem\nkeyfile {tmp_path}/server.key"
    with running(tmp_path, f"allow_anonymous true\nrequire_certificate true\n{tls}") as broker:
        whole = replace(
            HERE, port=broker.port, tls=True, ca_file=tmp_path / "ca.pem",
            cert_file=tmp_path / "client.pem", key_file=tmp_path / "client.key",
        )  # fmt: skip
        with handler(whole, inbox):
            assert inbox.connected.wait(LIMIT_S)
        wrong = {
            "unknown CA": replace(whole, ca_file=None),
            "for another host name": replace(whole, broker="localhost"),
            "wants a client certificate": replace(whole, cert_file=None, key_file=None),
        }
        with ExitStack() as stack:
            stopped = [stack.enter_context(handler(mqtt, Inbox(), name)) for name, mqtt in wrong.items()]
            for cause in wrong:
                until(lambda cause=cause: cause in caplog.text, cause)
            assert not any(mqtt.connected for mqtt in stopped)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "cannot be resolved"),
        (ConnectionRefusedError(111, "refused"), "nobody listens on 127.0.0.1:1883"),
        (TimeoutError(), "does not answer"),
        (OSError(113, "No route to host"), "cannot be reached"),
        (UnicodeError("label empty or too long"), "is no host name"),
        (FileNotFoundError(2, "No such file or directory", "/etc/ca.pem"), "/etc/ca.pem cannot be read"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "TLS"),
    ],
)
def test_causes_are_said_in_plain_words(error: Exception, words: str) -> None:
    assert words in explain(error, HERE)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tls": True, "ca_file": "missing.pem"}, "missing.pem cannot be read: No such file"),
        ({"tls": True, "cert_file": "missing.pem"}, "missing.pem cannot be read: No such file"),
        ({"username": "u", "password_file": "missing"}, "missing cannot be read: No such file"),
        ({"username": "u", "password_file": "latin"}, "password_file) is not UTF-8 text"),
        ({"broker": "bad..host"}, "'bad..host' is no host name"),
    ],
)
def test_a_wrong_file_or_host_name_is_named(
    changes: dict[str, Any], words: str, tmp_path: Path, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "latin").write_bytes(b"\xe9\n")
    files = {key: tmp_path / value if key.endswith("_file") else value for key, value in changes.items()}
    with handler(replace(HERE, port=free_port(), **files), inbox):
        until(lambda: words in caplog.text, words)


@pytest.mark.parametrize(("code", "words"), [(9, "clock"), (10, "expired"), (62, "host name"), (20, "unknown CA")])
def test_a_certificate_that_is_not_trusted_is_explained(code: int, words: str) -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "as OpenSSL says"
    assert words in explain(error, HERE)


# --- a broker that is not what it should be -----------------------------------------------------------------------


@pytest.mark.parametrize("answer", [b"\0\x84\0", b"\0\x01"], ids=["v5 code 132", "3.1.1 code 1"])
def test_a_broker_that_refuses_mqtt_5_gets_3_1_1_at_once(answer: bytes, inbox: Inbox) -> None:
    def script(connection: Connection, kind: int, body: bytes) -> None:
        if kind == CONNECT and connection.version == 5:
            connection.send(packet(2, answer))
            connection.close()
        else:
            polite(connection, kind, body)

    with FakeBroker(script) as fake, handler(replace(HERE, port=fake.port), inbox, backoff_s=(60, 60)) as mqtt:
        assert inbox.connected.wait(LIMIT_S)
        assert fake.connects == [5, 4]
        assert mqtt.connected and mqtt.stats.protocol == "3.1.1"


def test_a_broker_that_closes_on_mqtt_5_twice_gets_3_1_1(inbox: Inbox) -> None:
    def script(connection: Connection, kind: int, body: bytes) -> None:
        if kind == CONNECT and connection.version == 5:
            connection.close()
        else:
            polite(connection, kind, body)

    with FakeBroker(script) as fake, handler(replace(HERE, port=fake.port), inbox):
        assert inbox.connected.wait(LIMIT_S)
        assert fake.connects == [5, 5, 4]


def test_a_mute_broker_is_given_up(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mqtt_handler, "ANSWER_TIMEOUT_S", 0.1)
    with FakeBroker(lambda *_: None) as fake, handler(replace(HERE, port=fake.port), inbox) as mqtt:
        until(lambda: fake.connects[:3] == [5, 5, 4], "both versions are tried")
        assert not mqtt.connected
    assert "did not answer our CONNECT" in caplog.text


def test_a_silent_link_is_rebuilt_though_paho_says_connected(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mqtt_handler, "SILENT_KEEPALIVES", 0.1)

    def script(connection: Connection, kind: int, body: bytes) -> None:
        if kind != PINGREQ:
            polite(connection, kind, body)

    with FakeBroker(script) as fake, handler(replace(HERE, port=fake.port, keepalive_s=5), inbox):
        until(lambda: len(fake.connects) >= 2, "a second connection")
    assert "not a byte from the broker" in caplog.text


def test_answered_pings_keep_a_quiet_link(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    pings = threading.Semaphore(0)

    def script(connection: Connection, kind: int, body: bytes) -> None:
        polite(connection, kind, body)
        if kind == PINGREQ:
            pings.release()

    monkeypatch.setattr(mqtt_handler, "SILENT_KEEPALIVES", 2.5)
    with FakeBroker(script) as fake, handler(replace(HERE, port=fake.port, keepalive_s=1), inbox) as mqtt:
        assert all(pings.acquire(timeout=LIMIT_S) for _ in range(3))
        assert mqtt.connected and fake.connects == [5]


def test_a_paho_thread_that_died_is_replaced(inbox: Inbox, caplog: pytest.LogCaptureFixture) -> None:
    def script(connection: Connection, kind: int, body: bytes) -> None:
        polite(connection, kind, body)
        if kind == SUBSCRIBE:
            connection.send(publish(b"vesec/1/soc/D1", str(len(fake.connects)).encode()))

    def on_message(topic: bytes, payload: bytes, retain: bool) -> None:
        if payload == b"1":
            assert made and made[0]._link is not None
            made[0]._link._client.loop_stop()  # on its own thread: the loop ends and tells nobody
        inbox.on_message(topic, payload, retain)

    made: list[MqttHandler] = []
    with FakeBroker(script) as fake:
        fake_settings = replace(HERE, port=fake.port)
        mqtt = MqttHandler(
            fake_settings, "mortal", TOPICS, last_will("vesec"), on_message, None, SystemClock(), (0.05, 0.2)
        )
        made.append(mqtt)
        mqtt.start()
        assert [inbox.next()[1], inbox.next()[1]] == [b"1", b"2"]
        assert mqtt.alive and mqtt.stop(2.0)
    assert "thread ended without a word" in caplog.text


def test_b32_a_topic_that_is_no_utf8_does_not_end_the_thread(inbox: Inbox) -> None:
    def script(connection: Connection, kind: int, body: bytes) -> None:
        polite(connection, kind, body)
        if kind == SUBSCRIBE:
            connection.send(publish(b"vesec/1/\xff\xfe/D1", b"75") + publish(b"vesec/1/soc/D1", b"50"))

    with FakeBroker(script) as fake, handler(replace(HERE, port=fake.port), inbox):
        assert inbox.next() == (b"vesec/1/\xff\xfe/D1", b"75", False)
        assert inbox.next() == (b"vesec/1/soc/D1", b"50", False)
        assert fake.connects == [5]


# What paho cannot read may end its thread by an exception; that must only cost one connection.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_rubbish_from_the_broker_only_costs_the_connection(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_handler, "ANSWER_TIMEOUT_S", 0.5)
    chance = random.Random(7)
    rounds = 40

    def script(connection: Connection, kind: int, body: bytes) -> None:
        polite(connection, kind, body)
        if kind == SUBSCRIBE and len(fake.connects) <= rounds:
            connection.send(packet(chance.randrange(16), chance.randbytes(chance.randrange(60)), chance.randrange(16)))
            connection.close()
        elif kind == SUBSCRIBE:
            connection.send(publish(b"vesec/1/soc/D1", b"50", 5 if connection.version == 5 else 4))

    with FakeBroker(script) as fake, handler(replace(HERE, port=fake.port), inbox, backoff_s=(0.001, 0.002)) as mqtt:
        until(lambda: len(fake.connects) > rounds and mqtt.connected, "served after all the rubbish", 15.0)
        until(lambda: b"vesec/1/soc/D1" in [topic for topic, *_ in inbox.messages.queue], "a message came")
        assert mqtt.stats.abandoned_threads == 0


def test_an_exception_while_handling_does_not_end_the_thread(inbox: Inbox, caplog: pytest.LogCaptureFixture) -> None:
    def script(connection: Connection, kind: int, body: bytes) -> None:
        polite(connection, kind, body)
        if kind == SUBSCRIBE:
            connection.send(publish(b"bad", b"") + publish(b"good", b""))

    def on_message(topic: bytes, payload: bytes, retain: bool) -> None:
        if topic == b"bad":
            raise RuntimeError("this must not end the thread")
        inbox.on_message(topic, payload, retain)

    with (
        FakeBroker(script) as fake,
        handler(replace(HERE, port=fake.port), inbox, on_message=on_message) as mqtt,
    ):
        assert inbox.next()[0] == b"good"
        assert mqtt.stats.callback_errors == 1 and fake.connects == [5]
    assert "this must not end the thread" in caplog.text


def test_a_refused_subscription_is_named(inbox: Inbox, caplog: pytest.LogCaptureFixture) -> None:
    def script(connection: Connection, kind: int, body: bytes) -> None:
        if kind == SUBSCRIBE:
            connection.subscribed(body, len(TOPICS), code=0x87)
        else:
            polite(connection, kind, body)

    with FakeBroker(script) as fake, handler(replace(HERE, port=fake.port), inbox):
        assert inbox.connected.wait(LIMIT_S)
    assert [topic for topic in TOPICS if f"subscription to {topic} (Not authorized)" in caplog.text] == list(TOPICS)


def test_an_event_without_acknowledgement_is_sent_again_and_a_stop_does_not_hang(inbox: Inbox) -> None:
    bodies: Queue[bytes] = Queue()

    def script(connection: Connection, kind: int, body: bytes) -> None:
        polite(connection, kind, body)
        if kind == PUBLISH:
            bodies.put(body)
            if bodies.qsize() == 1 and len(fake.connects) == 1:
                connection.close()  # taken, never acknowledged

    with FakeBroker(script) as fake:
        with handler(replace(HERE, port=fake.port), inbox) as mqtt:
            assert inbox.connected.wait(LIMIT_S)
            mqtt.publish(OutMessage(FAULT_TOPIC, b"once more", qos=1))
            assert bodies.get(timeout=LIMIT_S).endswith(b"once more")
            assert bodies.get(timeout=LIMIT_S).endswith(b"once more")
            assert len(fake.connects) == 2
            assert mqtt.stop(0.6)
        until(lambda: DISCONNECT in fake.packets, "a clean stop, though the event is still not acknowledged")


def test_a_stop_while_nothing_listens_is_quick_and_the_cause_was_said(
    inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    with handler(replace(HERE, port=free_port()), inbox, backoff_s=(60.0, 60.0)) as mqtt:
        until(lambda: "nobody listens" in caplog.text, "the cause is said")
        assert not mqtt.connected and mqtt.alive
    assert caplog.text.count("nobody listens") == 1


# --- what needs no broker -----------------------------------------------------------------------------------------


def test_publishing_never_waits_and_events_are_bounded(inbox: Inbox) -> None:
    with handler(replace(HERE, port=free_port()), inbox) as mqtt:
        for number in range(230):
            mqtt.publish(OutMessage(FAULT_TOPIC, str(number).encode(), qos=1))
            mqtt.publish(OutMessage("vesec/1/allocation/central", b"{}"))
        assert (mqtt.stats.dropped_events, mqtt.stats.dropped_telemetry) == (30, 230)


@pytest.mark.parametrize(
    ("settings", "warns"),
    [
        (Mqtt(broker="broker.invalid"), True),
        (Mqtt(broker="broker.invalid", username="station"), False),
        (Mqtt(broker="broker.invalid", tls=True), False),
        (Mqtt(broker="127.0.0.1", port=1), False),
        (Mqtt(broker="localhost", port=1), False),
    ],
)
def test_an_open_broker_is_warned_of_exactly_once(
    settings: Mqtt, warns: bool, inbox: Inbox, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_handler._Link, "open", lambda self: (_ for _ in ()).throw(ConnectionRefusedError()))
    with handler(settings, inbox), caplog.at_level(logging.WARNING):
        pass
    said = [r.getMessage() for r in caplog.records if "anyone" in r.getMessage()]
    assert len(said) == warns
    assert all(key in line for line in said for key in ("[MQTT] broker", "tls", "username", "password_file"))


def test_the_client_id_is_made_once_and_kept(tmp_path: Path) -> None:
    first = load_client_id("vesec-1", tmp_path)
    assert first == load_client_id("vesec-1", tmp_path)
    assert first.startswith("vesec-1-") and len(first) == len("vesec-1-") + 12
    assert [file.name for file in tmp_path.iterdir()] == ["client_id"]
    (tmp_path / "client_id").write_bytes(b"\0\xff half written")
    assert load_client_id("vesec-1", tmp_path) != first
