"""Job: topic and payload of one message -> one gun's value or one command, or a refusal with its reason.

Thread: paho's alone calls `handle`; the counters may be read by any. Lock: none. Units: as planning.payload says;
times are monotonic seconds, `ts` of a device Unix seconds.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial

from gun import Gun
from planning import payload as grammar
from planning.model import StationCommands, ValueKind
from planning.payload import Content, Reason, RefusedError, Rejection
from planning.settings import Devices, Mqtt
from worker import Clock

log = logging.getLogger(__name__)

#: Longest topic that is looked at, in bytes; ours have at most 40 behind the root.
MAX_TOPIC_BYTES = 256
#: How far a device's clock may be from ours, either way.
CLOCK_TOLERANCE_S = 5.0
#: After this long without an accepted message a topic's counter may start anew: the device was restarted.
SEQUENCE_SILENCE_S = 10.0
#: Rejections of one gun are told and logged once in this time; all are counted.
TELL_EVERY_S = 1.0
#: More messages of one gun than this within RATE_WINDOW_S and its device has gone mad: one that tells all seven values
#: twice a second sends 140. All of them are taken all the same; the newest value counts.
MAX_IN_WINDOW = 500
RATE_WINDOW_S = 10.0
TELL_RATE_EVERY_S = 60.0
#: A command may lower what config.ini allows; these ends only keep nonsense out.
MAX_SITE_LIMIT_KW = 10_000.0
MAX_GUN_LIMIT_KW = 1000.0
#: Spellings of topics that are remembered; a flood of new spellings must not fill the memory.
MAX_ROUTES = 512
#: Values of one kind of one gun that are remembered with their meaning; there are 42 kinds at six guns.
VALUES_REMEMBERED = 16
RESET = "station/reset"
STATION_COMMANDS = ("station/site_limit", "station/priority", "station/drain", RESET)


@dataclass(slots=True)
class _Route:
    """Where the messages of one meaning go, and the last `seq` accepted on it."""

    apply: Callable[[Content, float], None]
    gun: int | None
    is_command: bool = False
    last_seq: int | None = None
    accepted_at_s: float = float("-inf")


@dataclass(slots=True)
class _Quiet:
    """Rejections of one gun: when one was last told, and how many were left out since."""

    told_at_s: float = float("-inf")
    left_out: int = 0


@dataclass(slots=True)
class _Rate:
    """How many messages one gun's topics brought since the window began, and when too many were last told."""

    since_s: float = float("-inf")
    count: int = 0
    told_at_s: float = float("-inf")


@dataclass(slots=True)
class MessageCounts:
    """What `handle` did, for the log and the page."""

    accepted: int = 0
    own: int = 0  # our own messages that came back
    unknown_keys: int = 0
    floods: int = 0  # windows in which a gun's topics brought too many messages
    rejected: Counter[Reason] = field(default_factory=lambda: Counter(dict.fromkeys(Reason, 0)))


def subscriptions(topic_root: str) -> tuple[str, ...]:
    """The topic filters that bring all that `handle` understands, and near misses so that they can be told."""
    return (f"{topic_root}/+/+/+", f"{topic_root}/+/+/central/set", f"{topic_root}/module/+/+/central/set")


class MessageProcessor:
    """Gives each valid message to its gun, each valid command to the station; refuses the rest aloud."""

    def __init__(
        self,
        guns: Mapping[int, Gun],
        devices: Devices,
        mqtt: Mqtt,
        commands: StationCommands,
        tell_rejected: Callable[[Rejection], None],
        clock: Clock,
        clock_synchronised: Callable[[], bool],
        modules: Collection[int] = range(1, 10),
    ) -> None:
        self.counts = MessageCounts()
        self._mqtt = mqtt
        self._commands = commands
        self._tell_rejected = tell_rejected
        self._clock = clock
        self._clock_synchronised = clock_synchronised
        self._positions = {device: len(numbers) for device, numbers in devices.guns.items()}
        self._values = self._value_routes(guns, devices)
        self._orders = self._command_routes(guns, modules)
        self._no_command = (
            f"no such command: {', '.join(STATION_COMMANDS)}, GUN/max_power (gun {min(guns)} to {max(guns)}), "
            f"module/MODULE/enabled (module {min(modules)} to {max(modules)}), "
            f"each between {mqtt.topic_root}/ and /central/set"
        )
        self._routes: dict[bytes, _Route] = {}
        self._quiet: dict[int | None, _Quiet] = {gun: _Quiet() for gun in (None, *guns)}
        self._rates: dict[int | None, _Rate] = {gun: _Rate() for gun in (None, *guns)}

    @property
    def rejected(self) -> Counter[Reason]:
        """Refused messages by reason since the start. Any thread."""
        return self.counts.rejected

    def handle(self, topic: bytes, payload: bytes, retain: bool) -> None:
        """Take one message. Never raises, waits for nothing, publishes nothing. paho's thread."""
        route = None
        try:
            route = self._routes.get(topic)
            if route is None:
                if self._is_own(topic):
                    self.counts.own += 1
                    return
                if retain and not payload:
                    return  # how a broker shows that a retained message was cleared
                route = self._find(topic)
            self._accept(route, payload, retain)
        except RefusedError as refusal:
            self._refuse(route.gun if route else self._gun_named(topic), topic, payload, refusal)
        except Exception as error:
            # Nobody stands above this thread: what is raised here would leave the station deaf.
            log.debug("A message could not be handled", exc_info=True)
            wrong = RefusedError(Reason.INTERNAL, f"it could not be handled ({type(error).__name__}: {error})")
            self._refuse(None, topic, payload, wrong)

    def command(self, name: str, payload: bytes, who: str) -> str | None:
        """Take a command of a person who has shown the page's token; None: taken, else why not, in words.

        `name` as between root and `central/set` of the topic, the payload as over MQTT. Any thread; never raises.
        """
        try:
            route = self._orders.get(name)
            if route is None:
                raise RefusedError(Reason.TOPIC, "there is no such command")
            content = grammar.parse(payload)
            if name == RESET:  # the token stands for what MQTT must prove by TLS and a user
                in_the_way = self._commands.in_the_way_of_reset()
                if in_the_way:  # over MQTT only the log would say so
                    raise RefusedError(Reason.TOPIC, "; ".join(in_the_way))
                self._order_reset(content)
            else:
                route.apply(content, self._clock.now_s())
        except RefusedError as refusal:
            log.warning("Command of %s refused: %s %s: %s", who, name, grammar.escaped(payload), refusal)
            return str(refusal)
        log.info("Command of %s: %s %s", who, name, grammar.escaped(payload))
        return None

    # --- topics ---------------------------------------------------------------------------------------------------

    def _value_routes(self, guns: Mapping[int, Gun], devices: Devices) -> dict[tuple[str, str, ValueKind], _Route]:
        """(device, gun_id as the device counts, kind) -> route: the only addresses that exist."""
        return {
            (device, str(position), kind): _Route(self._value_taker(guns[number], kind), number)
            for device, numbers in devices.guns.items()
            for position, number in enumerate(numbers, start=1)
            if number in guns
            for kind in ValueKind
        }

    def _value_taker(self, gun: Gun, kind: ValueKind) -> Callable[[Content, float], None]:
        # Devices repeat themselves all day. Typed: a JSON number and a JSON text of the same characters differ.
        value_of = lru_cache(VALUES_REMEMBERED, typed=True)(partial(grammar.value_of, kind))

        def take(content: Content, now_s: float) -> None:
            gun.update(kind, value_of(content.value), now_s)

        return take

    def _command_routes(self, guns: Mapping[int, Gun], modules: Collection[int]) -> dict[str, _Route]:
        """What stands between the root and `central/set` -> route."""
        routes = {
            "station/site_limit": _Route(self._set_site_limit, None, True),
            "station/priority": _Route(self._set_priority, None, True),
            "station/drain": _Route(self._set_draining, None, True),
            RESET: _Route(self._reset, None, True),
        }
        for gun in guns:
            routes[f"{gun}/max_power"] = _Route(self._max_power_taker(gun), gun, True)
        for module in modules:
            routes[f"module/{module}/enabled"] = _Route(self._enabled_taker(module), None, True)
        return routes

    def _is_own(self, topic: bytes) -> bool:
        return topic.endswith(b"/central") and topic.startswith(self._mqtt.topic_root.encode() + b"/")

    def _find(self, topic: bytes) -> _Route:
        route = self._orders.get(self._command_name(topic)) or self._value_route(topic)
        if len(self._routes) >= MAX_ROUTES:
            self._routes.clear()
        self._routes[topic] = route
        return route

    def _command_name(self, topic: bytes) -> str:
        head, tail = self._mqtt.topic_root.encode() + b"/", b"/central/set"
        if topic.startswith(head) and topic.endswith(tail) and len(topic) <= MAX_TOPIC_BYTES:
            return topic[len(head) : -len(tail)].decode("utf-8", "replace")
        return ""

    def _value_route(self, topic: bytes) -> _Route:
        root, gun_id, message_type, device = self._levels(topic)
        kind = grammar.KINDS.get(grammar.simple_name(message_type))
        if root != self._mqtt.topic_root or kind is None:
            raise RefusedError(Reason.TOPIC, f"known message types are {', '.join(k.value for k in ValueKind)}")
        route = self._values.get((device, gun_id, kind))
        if route is None:
            raise RefusedError(Reason.TOPIC, self._no_gun(device))
        return route

    def _no_gun(self, device: str) -> str:
        positions = self._positions.get(device)
        if positions:
            return f"{device} counts its own guns: it has gun_id 1 to {positions}"
        return f"no such device in [Devices] of config.ini: {', '.join(self._positions)}"

    def _levels(self, topic: bytes) -> list[str]:
        if len(topic) > MAX_TOPIC_BYTES:
            raise RefusedError(Reason.TOPIC, f"the topic has {len(topic)} bytes; at most {MAX_TOPIC_BYTES}")
        try:
            levels = topic.decode("utf-8").split("/")
        except UnicodeDecodeError:
            raise RefusedError(Reason.TOPIC, "the topic is not UTF-8 text") from None
        if levels[-1] == "set":
            raise RefusedError(Reason.TOPIC, self._no_command)
        if len(levels) != 4:
            root = self._mqtt.topic_root
            raise RefusedError(Reason.TOPIC, f"expected {root}/<gun_id>/<message_type>/<device>")
        return levels

    def _gun_named(self, topic: bytes) -> int | None:
        """The gun that a refused topic still names without doubt, for whoever looks for the cause there."""
        levels = topic[: MAX_TOPIC_BYTES + 1].decode("utf-8", "replace").split("/")
        if len(levels) != 4 or levels[0] != self._mqtt.topic_root:
            return None
        route = self._values.get((levels[3], levels[1], ValueKind.DEMAND))
        return route.gun if route else None

    # --- acceptance -----------------------------------------------------------------------------------------------

    def _accept(self, route: _Route, payload: bytes, retain: bool) -> None:
        if retain and (route.is_command or not self._mqtt.accept_retained):
            if payload:
                raise RefusedError(Reason.RETAINED, "a stored copy says nothing of now; publish without retain")
            return
        content = grammar.parse(payload)
        now_s = self._clock.now_s()
        self._check_clock(content.ts_s)
        self._check_sequence(route, content.seq, now_s)
        route.apply(content, now_s)
        route.accepted_at_s = now_s
        if content.seq is not None:
            route.last_seq = content.seq
        self.counts.accepted += 1
        self.counts.unknown_keys += content.unknown_keys
        self._watch_rate(route.gun, now_s)

    def _check_clock(self, ts_s: float | None) -> None:
        if ts_s is None or not self._clock_synchronised():
            return
        behind_s = self._clock.wall_s() - ts_s
        if abs(behind_s) > CLOCK_TOLERANCE_S:
            side = "old" if behind_s > 0 else "ahead"
            sentence = f"ts is {abs(behind_s):.1f} s {side}; {CLOCK_TOLERANCE_S:g} s are allowed"
            raise RefusedError(Reason.CLOCK, sentence)

    def _check_sequence(self, route: _Route, seq: int | None, now_s: float) -> None:
        if seq is None or route.last_seq is None or now_s - route.accepted_at_s >= SEQUENCE_SILENCE_S:
            return
        if seq <= route.last_seq:
            raise RefusedError(Reason.REPLAY, f"seq {seq} is not greater than {route.last_seq}, the last accepted one")

    def _watch_rate(self, gun: int | None, now_s: float) -> None:
        """Count a message of this gun (None: of no gun); say once a minute that there are too many."""
        rate = self._rates[gun]
        if now_s - rate.since_s >= RATE_WINDOW_S:
            rate.since_s, rate.count = now_s, 0
        rate.count += 1
        if rate.count != MAX_IN_WINDOW + 1:
            return
        self.counts.floods += 1
        if now_s - rate.told_at_s >= TELL_RATE_EVERY_S:
            rate.told_at_s = now_s
            log.warning(
                "%s: %d messages within %.1f s. Its device repeats far too often; only the newest values count",
                f"Gun {gun}" if gun else "No gun of ours", rate.count, now_s - rate.since_s,
            )  # fmt: skip

    # --- commands -------------------------------------------------------------------------------------------------

    def _set_site_limit(self, content: Content, now_s: float) -> None:
        self._commands.set_site_limit(grammar.number_within(content.value, 0, MAX_SITE_LIMIT_KW, "kW"))

    def _set_priority(self, content: Content, now_s: float) -> None:
        self._commands.set_priority(grammar.priority(content.value))

    def _set_draining(self, content: Content, now_s: float) -> None:
        self._commands.set_draining(grammar.boolean(content.value))

    def _max_power_taker(self, gun: int) -> Callable[[Content, float], None]:
        def take(content: Content, now_s: float) -> None:
            self._commands.set_max_power(gun, grammar.number_within(content.value, 0, MAX_GUN_LIMIT_KW, "kW"))

        return take

    def _enabled_taker(self, module: int) -> Callable[[Content, float], None]:
        def take(content: Content, now_s: float) -> None:
            self._commands.set_module_enabled(module, grammar.boolean(content.value))

        return take

    def _reset(self, content: Content, now_s: float) -> None:
        if not self._mqtt.authenticated:
            raise RefusedError(
                Reason.TOPIC,
                "a reset is taken only over TLS with a user or a certificate ([MQTT] tls, username, cert_file); "
                "here restart the controller at the cabinet, or use the page with its token",
            )
        self._order_reset(content)

    def _order_reset(self, content: Content) -> None:
        if not grammar.boolean(content.value):
            raise RefusedError(Reason.FORMAT, "a reset is ordered with true")
        self._commands.reset()

    # --- refusal --------------------------------------------------------------------------------------------------

    def _refuse(self, gun: int | None, topic: bytes, payload: bytes, refusal: RefusedError) -> None:
        self.counts.rejected[refusal.reason] += 1
        quiet = self._quiet[gun]
        now_s = self._clock.now_s()
        self._watch_rate(gun, now_s)
        if now_s - quiet.told_at_s < TELL_EVERY_S:
            quiet.left_out += 1
            return
        left_out, quiet.left_out, quiet.told_at_s = quiet.left_out, 0, now_s
        shown = Rejection(
            gun, grammar.escaped(topic, MAX_TOPIC_BYTES), refusal.reason, grammar.escaped(payload), str(refusal)
        )
        self._report(shown, left_out)

    def _report(self, shown: Rejection, left_out: int) -> None:
        more = f"; {left_out} more refused before it were not shown" if left_out else ""
        log.warning(
            "Message refused (%s) on %s: %s. Payload: %s%s",
            shown.reason.value, shown.topic, shown.sentence, shown.payload or "(empty)", more,
        )  # fmt: skip
        if shown.reason is Reason.INTERNAL:
            return
        try:
            self._tell_rejected(shown)
        except Exception:
            log.exception("A refusal could not be told")
