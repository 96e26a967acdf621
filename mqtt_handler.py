"""Job: the connection to the broker: keep one, bytes in, bytes out.

Thread: `mqtt-out` (ours) connects, watches and publishes; paho's own network thread calls `on_message`. Each connection
is a new paho client that never reconnects by itself: a lost, stuck or dead one is thrown away whole, always the same
way. Lock: one for the outbox, held to copy. Units: s, monotonic, of the real clock (a network has no station time).
"""

from __future__ import annotations

import ipaddress
import logging
import os
import random
import re
import secrets
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from planning.outbox import Outbox
from planning.reconnect import Ending, Reconnect, Version
from planning.reports import OutMessage
from planning.settings import Mqtt
from worker import Clock, Worker

log = logging.getLogger(__name__)

#: Called with topic, payload and the retain flag on paho's thread.
OnMessage = Callable[[bytes, bytes, bool], None]

CONNECT_TIMEOUT_S = 5.0  # TCP and TLS
ANSWER_TIMEOUT_S = 5.0  # CONNACK and SUBACK; paho itself would wait for one keepalive and longer
LISTEN_AFTER_S = 1.0  # without a message; see _Link.listen
SILENT_KEEPALIVES = 3  # a live broker answers each ping, so this long without a byte means that paho is stuck
TICK_S = 0.5
WARN_EVERY_S = 60.0
IN_FLIGHT = 20  # events without an acknowledgement; the rest waits in our own bounded outbox
MAX_PACKET_BYTES = 2 * 1024 * 1024  # told to an MQTT 5 broker: nothing bigger may fill the memory

_PROTOCOLS = {Version.V5: MQTTProtocolVersion.MQTTv5, Version.V311: MQTTProtocolVersion.MQTTv311}
_UNSUPPORTED_VERSION, _BAD_USER, _NOT_AUTHORISED = 132, 134, 135  # reason codes of MQTT 5; paho translates 3.1.1
_ENDINGS = {142: Ending.TAKEN_OVER, 128: Ending.CLOSED}  # 128: paho's word for a connection that just ended


class LinkError(Exception):
    """No connection, with a cause that a person understands."""


@dataclass(frozen=True, slots=True)
class MqttStats:
    """Counters since the start, and the connection as it is now."""

    connected: bool
    protocol: str
    connections: int
    published: int
    dropped_telemetry: int
    dropped_events: int
    refused_publishes: int
    callback_errors: int
    abandoned_threads: int


# --- client id and causes -----------------------------------------------------------------------------------------


def load_client_id(station_id: str, folder: Path) -> str:
    """The station id and a random part that is stored beside config.ini, so that no two stations ever share one.

    Raises OSError when it can neither be read nor written.
    """
    file = folder / "client_id"
    stored = file.read_text("ascii", "replace").strip() if file.is_file() else ""
    if not re.fullmatch(r"[0-9a-f]{12}", stored):
        stored = secrets.token_hex(6)
        fresh = file.with_name(f"client_id.{os.getpid()}.new")
        fresh.write_text(stored + "\n", "ascii")
        fresh.replace(file)
    return f"{station_id}-{stored}"


_CERTIFICATE_CAUSES = {
    9: "its certificate is not yet valid; check the clock of this machine",
    10: "its certificate has expired (or the clock of this machine is wrong)",
    18: "its certificate is signed by nobody else; name it as [MQTT] ca_file",
    62: "its certificate is for another host name than [MQTT] broker",
    64: "its certificate is for another address than [MQTT] broker",
}
_UNKNOWN_CA = "its certificate is signed by an unknown CA; see [MQTT] ca_file"


def explain(error: Exception, mqtt: Mqtt) -> str:
    """The cause of a failed connection in words for the person who can mend it."""
    where = f"{mqtt.broker}:{mqtt.port}"
    match error:
        case LinkError():
            return str(error)
        case ssl.SSLCertVerificationError():
            cause = _CERTIFICATE_CAUSES.get(error.verify_code, _UNKNOWN_CA)
            return f"{where} is not trusted: {cause} ({error.verify_message})"
        case ssl.SSLError():
            return _explain_tls(str(getattr(error, "reason", None) or error), where)
        case socket.gaierror():
            return f"the name {mqtt.broker} cannot be resolved; check [MQTT] broker and the network"
        case ConnectionRefusedError():
            return f"nobody listens on {where}; is the broker running?"
        case ConnectionResetError():
            return f"{where} closed the connection; check [MQTT] port and tls"
        case TimeoutError():
            return f"{where} does not answer; check address, cable and firewall"
        case UnicodeError():
            return f"{mqtt.broker!r} is no host name; see [MQTT] broker"
        case OSError(filename=str() | Path() as file):
            return f"{file} cannot be read: {error.strerror}; see [MQTT]"
        case _:
            return f"{where} cannot be reached: {error}"


def _explain_tls(reason: str, where: str) -> str:
    if "WRONG_VERSION" in reason or "RECORD_LAYER" in reason:
        return f"{where} does not speak TLS; check [MQTT] port and tls"
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
        return f"{where} wants a client certificate; see [MQTT] cert_file and key_file"
    return f"TLS with {where} failed: {reason}"


def explain_refusal(reason: ReasonCode) -> str:
    """The cause in a CONNACK that says no."""
    if reason.value in (_BAD_USER, _NOT_AUTHORISED):
        return f"the broker refuses us ({reason}); check [MQTT] username and password_file, and the broker's users"
    return f"the broker refuses us ({reason})"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls_context(mqtt: Mqtt) -> ssl.SSLContext:
    for file in (mqtt.ca_file, mqtt.cert_file, mqtt.key_file):
        if file is not None:
            file.open("rb").close()  # OpenSSL would not say which file is missing
    context = ssl.create_default_context(cafile=mqtt.ca_file)
    if mqtt.cert_file is not None:
        context.load_cert_chain(mqtt.cert_file, mqtt.key_file)
    return context


def _closed_after_handshake(mqtt: Mqtt) -> str | None:
    """Why a broker ends TLS right after the handshake: TLS 1.3 tells only then that it wants a certificate."""
    try:
        with (
            socket.create_connection((mqtt.broker, mqtt.port), CONNECT_TIMEOUT_S) as plain,
            _tls_context(mqtt).wrap_socket(plain, server_hostname=mqtt.broker) as secure,
        ):
            secure.settimeout(1.0)
            secure.recv(1)
    except TimeoutError:
        return None  # it waits for our CONNECT: TLS itself is in order
    except (OSError, ValueError) as error:
        return explain(error, mqtt)
    return None


# --- one connection -----------------------------------------------------------------------------------------------


class _Link:
    """One paho client from CONNECT to its end. Its fields are set on paho's thread and read on `mqtt-out`."""

    def __init__(
        self,
        mqtt: Mqtt,
        client_id: str,
        topics: Sequence[str],
        will: OutMessage,
        version: Version,
        on_message: OnMessage,
        wake: Callable[[], None],
        clock: Clock,
    ) -> None:
        self.version = version
        self.accepted = False  # CONNACK says yes
        self.subscribed = False  # SUBACK came, so messages will come as well
        self.refusal: ReasonCode | None = None
        self.closed: ReasonCode | None = None
        self.errors = 0
        self.acknowledged: SimpleQueue[tuple[int, ReasonCode]] = SimpleQueue()
        self._mqtt = mqtt
        self._topics = topics
        self._on_message = on_message
        self._wake = wake
        self._clock = clock
        self._retired = False
        self._listening = True  # to each packet
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._opened_at_s = self._heard_at_s = clock.now_s()
        self._client = self._make_client(client_id, will)

    def _make_client(self, client_id: str, will: OutMessage) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if self.version is Version.V5 else True,
            protocol=_PROTOCOLS[self.version],
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.will_set(will.topic, will.payload, will.qos, will.retain)
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_disconnect = self._disconnected
        client.on_publish = self._published
        client.on_message = self._message
        client.on_log = self._heard
        return client

    def open(self) -> None:
        """Connect over TCP and TLS, send CONNECT, start paho's thread. Waits up to CONNECT_TIMEOUT_S an address.

        Raises OSError (ssl.SSLError among them) and ValueError with the true cause: this is why no probe is needed.
        """
        if self._mqtt.username is not None:
            self._client.username_pw_set(self._mqtt.username, self._password())
        if self._mqtt.tls:
            self._client.tls_set_context(_tls_context(self._mqtt))
        if self.version is Version.V5:
            limits = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            limits.MaximumPacketSize = MAX_PACKET_BYTES
            self._client.connect(
                self._mqtt.broker, self._mqtt.port, self._mqtt.keepalive_s, clean_start=True, properties=limits
            )
        else:
            self._client.connect(self._mqtt.broker, self._mqtt.port, self._mqtt.keepalive_s)
        self._opened_at_s = self._heard_at_s = self._clock.now_s()
        self._client.loop_start()

    def _password(self) -> str | None:
        if self._mqtt.password_file is None:
            return None
        try:
            return self._mqtt.password_file.read_text("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise LinkError(f"{self._mqtt.password_file} ([MQTT] password_file) is not UTF-8 text") from None

    @property
    def ready(self) -> bool:
        return self.subscribed and self.closed is None

    def listen(self, now_s: float) -> None:
        """Hear of each packet while no message comes; messages are a sign of life by themselves.

        paho writes a line for each packet that somebody wants to hear of: a sixth of its time in a flood.
        """
        if not self._listening and now_s - self._heard_at_s > LISTEN_AFTER_S:
            self._listening, self._client.on_log = True, self._heard

    def fault(self, now_s: float) -> str | None:
        """Why this connection is of no use any more; None while it is."""
        if self.refusal is not None:
            return explain_refusal(self.refusal)
        if self.closed is not None:
            # paho's word for a line that simply ended tells nobody anything
            why = "without a word: it stopped, or the network did" if self.closed.value == 0x80 else str(self.closed)
            return f"the broker closed the connection, {why}"
        if self._thread is not None and not self._thread.is_alive():
            return "paho's network thread ended without a word"
        if not self.subscribed and now_s - self._opened_at_s > ANSWER_TIMEOUT_S:
            return f"the broker did not answer our {'SUBSCRIBE' if self.accepted else 'CONNECT'}"
        silent_s = now_s - self._heard_at_s
        if self._client.keepalive and silent_s > SILENT_KEEPALIVES * self._client.keepalive:
            return f"not a byte from the broker for {silent_s:.0f} s although the connection seems to stand"
        return None

    @property
    def ending(self) -> Ending:
        """How it ended, once `fault` says that it did."""
        if self.refusal is not None:
            return Ending.VERSION_REFUSED if self.refusal.value == _UNSUPPORTED_VERSION else Ending.REFUSED
        if not self.accepted:
            return Ending.UNANSWERED
        return Ending.LOST if self.closed is None else _ENDINGS.get(self.closed.value, Ending.LOST)

    def publish(self, message: OutMessage) -> int:
        """Hand a message to paho; its message id, by which the acknowledgement comes. Raises LinkError, ValueError."""
        info = self._client.publish(message.topic, message.payload, message.qos, message.retain)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise LinkError(paho.error_string(info.rc))
        return info.mid

    def close(self, polite: bool, limit_s: float) -> bool:
        """End the connection and paho's thread; True when the thread ended. Waits at most 2 x `limit_s`.

        Polite: with DISCONNECT, so that the broker keeps the last will to itself.
        """
        self._retired = True
        if polite and self.closed is None:
            self._client.disconnect()
            self._ended.wait(limit_s)
        self._cut()
        # loop_stop() joins without a limit; one unacknowledged QoS 1 message can hold it for ever.
        stopper = threading.Thread(target=self._stop_loop, name="mqtt-loop-stop", daemon=True)
        stopper.start()
        stopper.join(limit_s)
        return not stopper.is_alive()

    def _cut(self) -> None:
        connection = self._client.socket()
        if isinstance(connection, socket.socket):
            try:
                # Not SSLSocket.shutdown: that drops the TLS state under the feet of paho's thread.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            except OSError:
                log.debug("The socket was closed already")

    def _stop_loop(self) -> None:
        try:
            self._client.loop_stop()
        except AttributeError:
            log.debug("paho's thread ended while it was being stopped")

    # --- on paho's thread; an exception here would end it ---------------------------------------------------------

    def _connected(self, client: paho.Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        try:
            if reason.is_failure:
                self.refusal = reason
            else:
                self.accepted = True
                self._subscribe()
        except Exception:
            self._note_error("the answer to CONNECT")
        self._wake()

    def _subscribe(self) -> None:
        if self.version is Version.V5:
            # Our own messages need not come back.
            options = SubscribeOptions(qos=1, noLocal=True)
            self._client.subscribe([(topic, options) for topic in self._topics])
        else:
            self._client.subscribe([(topic, 1) for topic in self._topics])

    def _subscribed(self, client: paho.Client, userdata: Any, mid: int, reasons: list[ReasonCode], props: Any) -> None:
        try:
            for topic, reason in zip(self._topics, reasons, strict=False):
                if reason.is_failure:
                    log.warning(
                        "The broker refuses the subscription to %s (%s): give this station's user the right to read it",
                        topic, reason,
                    )  # fmt: skip
            self.subscribed = True
        except Exception:
            self._note_error("the answer to SUBSCRIBE")
        self._wake()

    def _disconnected(
        self, client: paho.Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Any
    ) -> None:
        # The first reason is the true one: paho calls twice when the broker said why.
        if self.closed is None:
            self.closed = reason
        self._ended.set()
        self._wake()

    def _published(self, client: paho.Client, userdata: Any, mid: int, reason: ReasonCode, properties: Any) -> None:
        self.acknowledged.put((mid, reason))
        self._wake()

    def _message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        if self._retired:
            return
        self._heard_at_s = self._clock.now_s()
        if self._listening:
            self._listening, self._client.on_log = False, None
        try:
            self._on_message(_raw_topic(message), bytes(message.payload), bool(message.retain))
        except Exception:
            self._note_error("a message")

    def _heard(self, client: paho.Client, userdata: Any, level: int, text: str) -> None:
        # paho renews its own stamp of received bytes when it sends a ping; here alone each packet read is said.
        if text.startswith("Received"):
            self._heard_at_s = self._clock.now_s()
            self._thread = threading.current_thread()

    def _note_error(self, what: str) -> None:
        self.errors += 1
        log.exception("Handling %s failed on the network thread", what)


def _raw_topic(message: paho.MQTTMessage) -> bytes:
    try:
        return message.topic.encode()
    except UnicodeDecodeError as error:
        return error.object  # the very bytes that are no UTF-8


# --- the room -----------------------------------------------------------------------------------------------------


class MqttHandler:
    """Keeps one connection to the broker, from `start` to `stop`, and never makes a caller wait for it."""

    def __init__(
        self,
        mqtt: Mqtt,
        client_id: str,
        topics: Sequence[str],
        will: OutMessage,
        on_message: OnMessage,
        on_connected: Callable[[], None] | None,
        clock: Clock,
        backoff_s: tuple[float, float] = (1.0, 15.0),
        on_failure: Callable[[str, BaseException], None] | None = None,
        version: Version = Version.V5,
    ) -> None:
        """`on_message`: on paho's thread. `on_connected`: on `mqtt-out`, each time after the subscriptions stand.

        `version`: the one to try first; a broker that does not know it, or says nothing, is tried with the other one.
        """
        self._mqtt = mqtt
        self._client_id = client_id
        self._topics = tuple(topics)
        self._will = will
        self._on_message = on_message
        self._on_connected = on_connected
        self._clock = clock
        self._reconnect = Reconnect(*backoff_s, random.uniform, version)
        self._worker = Worker("mqtt-out", self._step, clock, on_failure)
        self._lock = threading.Lock()
        self._outbox = Outbox()
        self._in_flight: dict[int, OutMessage] = {}
        self._link: _Link | None = None
        self._ready_at_s: float | None = None  # since when the present connection serves
        self._warned: dict[str, float] = {}
        self._stop_by_s: float | None = None
        self._stopped = threading.Event()
        self._connections = self._published = self._refused = self._errors = self._abandoned = 0

    def start(self) -> None:
        """Start connecting and return at once. Raises RuntimeError when started twice."""
        if not self._mqtt.tls and self._mqtt.username is None and not _is_loopback(self._mqtt.broker):
            log.warning(
                "The broker %s is used without TLS and without a user: anyone who reaches it can command this station."
                " [MQTT] broker, tls, username and password_file in config.local.ini change that",
                self._mqtt.broker,
            )
        self._worker.start()

    def stop(self, timeout_s: float = 2.0, last: OutMessage | None = None) -> bool:
        """Publish what waits and `last`, disconnect, end both threads; False when that took too long. Never hangs.

        Any thread but `mqtt-out`. `last` replaces the last will, which a broker keeps to itself after a clean end.
        """
        if not self._worker.alive:
            return True
        if last is not None:
            with self._lock:
                self._outbox.put(last, online=True)
        self._stop_by_s = self._clock.now_s() + timeout_s / 2
        self._worker.wake()
        return self._stopped.wait(timeout_s) and self._worker.stop(timeout_s)

    def publish(self, message: OutMessage) -> None:
        """Put a message into the outbox; it is sent on `mqtt-out`. Any thread, never waits."""
        with self._lock:
            self._outbox.put(message, online=self._ready_at_s is not None)
        self._worker.wake()

    @property
    def connected(self) -> bool:
        """True while the broker has accepted us, confirmed the subscriptions and not closed. Any thread."""
        link = self._link
        return self._ready_at_s is not None and link is not None and link.ready

    @property
    def alive(self) -> bool:
        """True while `mqtt-out` lives: it replaces a paho thread that ended. Any thread."""
        return self._worker.alive

    def client_id_taken(self, now_s: float) -> bool:
        """True while another client with our id pushes us out again and again. Any thread."""
        return self._reconnect.identity_conflict(now_s)

    @property
    def stats(self) -> MqttStats:
        """Counters for the log and the page. Any thread."""
        link = self._link
        with self._lock:
            telemetry, events = self._outbox.dropped_telemetry, self._outbox.dropped_events
        return MqttStats(
            connected=self.connected,
            protocol=self._reconnect.version.value,
            connections=self._connections,
            published=self._published,
            dropped_telemetry=telemetry,
            dropped_events=events,
            refused_publishes=self._refused,
            callback_errors=self._errors + (link.errors if link else 0),
            abandoned_threads=self._abandoned,
        )

    # --- on mqtt-out ----------------------------------------------------------------------------------------------

    def _step(self, now_s: float) -> float:
        if self._stop_by_s is not None:
            return self._wind_down(now_s, self._stop_by_s)
        if self._link is None:
            if now_s < self._reconnect.retry_at_s:
                return self._reconnect.retry_at_s - now_s
            self._open()
            return 0.0
        self._link.listen(now_s)
        fault = self._link.fault(now_s)
        if fault is not None:
            self._lose(self._link, fault, now_s)
            return 0.0
        if self._link.ready:
            self._serve(self._link, now_s)
        return TICK_S

    def _open(self) -> None:
        link = _Link(
            self._mqtt, self._client_id, self._topics, self._will, self._reconnect.version,
            self._on_message, self._worker.wake, self._clock,
        )  # fmt: skip
        try:
            link.open()
        except Exception as error:
            # Not only OSError: a host name can raise ValueError, and this thread has to go on whatever paho raises.
            self._reconnect.ended(Ending.NOT_REACHED, 0.0, self._clock.now_s())
            self._warn(f"No connection to the broker: {explain(error, self._mqtt)}")
        else:
            self._link = link

    def _serve(self, link: _Link, now_s: float) -> None:
        if self._ready_at_s is None:
            self._welcome(link, now_s)
        self._settle(link)
        self._send(link)

    def _welcome(self, link: _Link, now_s: float) -> None:
        self._ready_at_s = now_s
        self._connections += 1
        log.info(
            "Connected to the broker %s:%s as %s (MQTT %s)",
            self._mqtt.broker, self._mqtt.port, self._client_id, link.version.value,
        )  # fmt: skip
        if self._on_connected is not None:
            try:
                self._on_connected()
            except Exception:
                self._errors += 1
                log.exception("What follows a connection failed")

    def _settle(self, link: _Link) -> None:
        """Forget the events that the broker has acknowledged."""
        while True:
            try:
                mid, reason = link.acknowledged.get_nowait()
            except Empty:
                return
            message = self._in_flight.pop(mid, None)
            if message is not None and reason.is_failure:
                self._refused += 1
                self._warn(f"The broker does not take {message.topic} ({reason}): give this station's user that right")

    def _send(self, link: _Link) -> None:
        with self._lock:
            batch = self._outbox.take(IN_FLIGHT - len(self._in_flight))
        for message in batch:
            try:
                mid = link.publish(message)
            except (LinkError, OSError):
                self._keep(message)  # the link's own fault follows
            except ValueError as error:
                log.error("A message for %s cannot be sent: %s", message.topic, error)
            else:
                self._published += 1
                if message.qos > 0:
                    self._in_flight[mid] = message

    def _keep(self, message: OutMessage) -> None:
        if message.qos > 0:
            with self._lock:
                self._outbox.put(message, online=False)

    def _lose(self, link: _Link, fault: str, now_s: float) -> None:
        """Throw the connection away, keep its unacknowledged events, and say why."""
        served_s = now_s - self._ready_at_s if self._ready_at_s is not None else 0.0
        cause = self._verified(link, fault)
        self._discard(link, polite=False, limit_s=1.0)
        self._reconnect.ended(link.ending, served_s, now_s)
        if link.ending is Ending.VERSION_REFUSED and self._reconnect.version is not link.version:
            log.info("The broker does not know MQTT %s; trying %s", link.version.value, self._reconnect.version.value)
            return
        self._warn(f"No connection to the broker: {cause}")
        if self._reconnect.identity_conflict(now_s):
            self._warn(
                f"Identity conflict: another client seems to use the client id {self._client_id} on {self._mqtt.broker}"
                " and each pushes the other out; give each its own [MQTT] client_id"
            )

    def _verified(self, link: _Link, fault: str) -> str:
        if self._mqtt.tls and link.closed is not None and link.ending is Ending.UNANSWERED:
            return _closed_after_handshake(self._mqtt) or fault
        return fault

    def _discard(self, link: _Link, polite: bool, limit_s: float) -> None:
        if not link.close(polite, limit_s):
            self._abandoned += 1
            log.warning("paho's network thread did not end in time and is left behind")
        self._settle(link)
        self._errors += link.errors
        self._link = None
        self._ready_at_s = None
        with self._lock:
            self._outbox.put_back(tuple(self._in_flight.values()))
            self._outbox.drop_telemetry()
        self._in_flight.clear()

    def _warn(self, sentence: str) -> None:
        """Say it at once, and again only after a minute."""
        now_s = self._clock.now_s()
        if now_s - self._warned.get(sentence, float("-inf")) < WARN_EVERY_S:
            return
        if len(self._warned) > 20:
            self._warned.clear()
        self._warned[sentence] = now_s
        log.warning("%s", sentence)

    def _wind_down(self, now_s: float, stop_by_s: float) -> float:
        """Send what waits, then leave; called until the events are acknowledged or the time is up."""
        link = self._link
        if link is not None and link.ready and now_s < stop_by_s:
            self._serve(link, now_s)
            if self._in_flight or len(self._outbox):
                return min(TICK_S, stop_by_s - now_s)
        if link is not None:
            self._discard(link, polite=True, limit_s=0.4)
        self._stopped.set()
        return 3600.0
