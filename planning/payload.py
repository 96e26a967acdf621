"""Job: the payload grammar: bytes of a message -> a number, a word or true/false, or the reason why not.

Thread: any (pure). Lock: none. Units: each value keeps the unit of its message; `ts_s` is Unix seconds.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NoReturn

from planning.model import ValueKind, VehicleStatus
from planning.settings import Priority

#: Longest payload that is looked at, in bytes; a longer one is refused before anything is parsed.
MAX_PAYLOAD_BYTES = 1024
#: How much of a refused payload is shown to people, in characters.
SHOWN_CHARACTERS = 64

#: Payloads whose meaning is remembered: devices repeat themselves all day.
REMEMBERED = 256

_BLANKS = " \t\r\n"
# float() would also take nan, 4_0, full-width digits and hex; these patterns know ASCII digits only.
_DECIMAL = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_JSON_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:[eE]\+?[0-9]+)?")
_COUNTER = re.compile(r"[0-9]{1,18}")
_KEYS = frozenset({"value", "ts", "seq"})
_SEPARATORS = str.maketrans("", "", " -_")


class Reason(Enum):
    """Why a message was refused; the value is published as `reason` (INTERNAL is only counted)."""

    FORMAT = "FORMAT"
    RANGE = "RANGE"
    SIZE = "SIZE"
    TOPIC = "TOPIC"
    RETAINED = "RETAINED"
    CLOCK = "CLOCK"
    REPLAY = "REPLAY"
    INTERNAL = "INTERNAL"


class RefusedError(ValueError):
    """A message that is not accepted: the reason that is counted, and a sentence for the log."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Rejection:
    """One refused message, ready to be told: texts are escaped ASCII, `gun` is the station's number or None."""

    gun: int | None
    topic: str
    reason: Reason
    payload: str
    sentence: str


class NumberText(str):
    """A JSON number as it was written, so that it passes the same strict pattern as plain text."""

    __slots__ = ()




#: What `value` may be before its kind is known: a number as written, a text, true or false.
Value = NumberText | str | bool


@dataclass(frozen=True, slots=True)
class Content:
    """A payload whose form is right; the kind of the message decides what `value` may be."""

    value: Value
    ts_s: float | None = None
    seq: int | None = None
    unknown_keys: int = 0


# --- form ---------------------------------------------------------------------------------------------------------


@lru_cache(REMEMBERED)
def parse(payload: bytes) -> Content:
    """Read a payload: plain text, a JSON number, string, true, false, or an object with `value`, `ts`, `seq`.

    Raises RefusedError(SIZE or FORMAT).
    """
    text = _decode(payload).strip(_BLANKS)
    if not text:
        raise RefusedError(Reason.FORMAT, "the payload is empty")
    if text[0] not in '{["':
        return Content(_plain(text))
    found = _load_json(text)
    if isinstance(found, dict):
        return _from_object(found)
    return Content(_checked_value(found))


def _decode(payload: bytes) -> str:
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise RefusedError(Reason.SIZE, f"{len(payload)} bytes; at most {MAX_PAYLOAD_BYTES} are allowed")
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        raise RefusedError(Reason.FORMAT, "the payload is not UTF-8 text") from None
    if text.startswith("\ufeff"):
        raise RefusedError(Reason.FORMAT, "the payload starts with a byte order mark; send UTF-8 without it")
    return text


def _plain(text: str) -> Value:
    if text in ("true", "false"):
        return text == "true"
    return NumberText(text) if _JSON_NUMBER.fullmatch(text) else text


def _load_json(text: str) -> object:
    try:
        return json.loads(
            text,
            parse_int=NumberText,
            parse_float=NumberText,
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique,
        )
    except RecursionError:
        raise RefusedError(Reason.FORMAT, "the JSON is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise RefusedError(Reason.FORMAT, f"not JSON: {error.msg} at character {error.pos + 1}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise RefusedError(Reason.FORMAT, f"{name} is no number")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RefusedError(Reason.FORMAT, "a key stands twice in the object")
    return found


def _from_object(found: Mapping[str, object]) -> Content:
    if "value" not in found:
        raise RefusedError(Reason.FORMAT, 'the object has no key "value"')
    return Content(
        _checked_value(found["value"]),
        _timestamp(found["ts"]) if "ts" in found else None,
        _sequence(found["seq"]) if "seq" in found else None,
        sum(key not in _KEYS for key in found),
    )


def _checked_value(value: object) -> Value:
    if isinstance(value, (str, bool)):
        return value
    raise RefusedError(Reason.FORMAT, "the value must be a number or a text, not null, a list or an object")


def _timestamp(value: object) -> float:
    if not isinstance(value, NumberText):
        raise RefusedError(Reason.FORMAT, "ts must be a number: Unix seconds")
    return number(value)


def _sequence(value: object) -> int:
    if not isinstance(value, NumberText) or not _COUNTER.fullmatch(value):
        raise RefusedError(Reason.FORMAT, "seq must be a whole number of at most 18 digits")
    return int(value)


# --- meaning ------------------------------------------------------------------------------------------------------


def number(value: Value) -> float:
    """The number that a value means: a plain decimal, or a JSON number. Raises RefusedError(FORMAT).

    A decimal too long for a float is infinite here: the range refuses it. No sign, so there is no -0 either.
    """
    if isinstance(value, bool):
        raise RefusedError(Reason.FORMAT, "true and false are no numbers")
    text = value.strip(_BLANKS)
    if _DECIMAL.fullmatch(text):
        return float(text)
    if isinstance(value, NumberText) and _JSON_NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    raise RefusedError(Reason.FORMAT, "not a plain decimal number such as 75 or 120.5: no comma, sign or unit")


def number_within(value: Value, low: float, high: float, unit: str) -> float:
    """The number, refused with RANGE outside low..high (both allowed)."""
    found = number(value)
    if not low <= found <= high:
        raise RefusedError(Reason.RANGE, f"{low:g} to {high:g} {unit} are allowed")
    return found


def boolean(value: Value) -> bool:
    """true or false, nothing else. Raises RefusedError(FORMAT)."""
    if isinstance(value, bool):
        return value
    raise RefusedError(Reason.FORMAT, "true or false is expected, in small letters")


def simple_name(text: str) -> str:
    """The text without what does not matter in names: case, space, `-`, `_`."""
    # Only ASCII: lower() would turn the Kelvin sign into a k.
    return text.translate(_SEPARATORS).lower() if text.isascii() else text


STATUS_WORDS: Mapping[str, VehicleStatus] = {
    **dict.fromkeys(("disconnected", "available", "idle", "a"), VehicleStatus.NO_CAR),
    **dict.fromkeys(("connected", "preparing", "b"), VehicleStatus.WAITING),
    **dict.fromkeys(("charging", "c", "d"), VehicleStatus.CHARGING),
    **dict.fromkeys(("suspended", "finishing"), VehicleStatus.FINISHING),
    **dict.fromkeys(("fault", "faulted", "error", "e", "f"), VehicleStatus.FAULT),
}


def vehicle_status(value: Value) -> VehicleStatus:
    """The status that a word or letter means. Raises RefusedError(FORMAT) for an unknown one."""
    if isinstance(value, str):
        status = STATUS_WORDS.get(simple_name(value.strip(_BLANKS)))
        if status is not None:
            return status
    raise RefusedError(Reason.FORMAT, f"unknown status; known are {', '.join(STATUS_WORDS)}")


_PRIORITIES: Mapping[str, Priority] = {simple_name(rule.value): rule for rule in Priority}


def priority(value: Value) -> Priority:
    """The allocation rule of this name. Raises RefusedError(FORMAT) for an unknown one."""
    rule = _PRIORITIES.get(simple_name(value.strip(_BLANKS))) if isinstance(value, str) else None
    if rule is None:
        raise RefusedError(Reason.FORMAT, f"unknown rule; known are {', '.join(known.value for known in Priority)}")
    return rule


@dataclass(frozen=True, slots=True)
class Range:
    """What a number may be, both ends allowed."""

    low: float
    high: float
    unit: str


#: message_type (simple name) -> what it says; `status` is the short form of vehicle_status.
KINDS: Mapping[str, ValueKind] = {
    **{simple_name(kind.value): kind for kind in ValueKind},
    "status": ValueKind.STATUS,
}

RANGES: Mapping[ValueKind, Range] = {
    ValueKind.SOC: Range(0, 100, "%"),
    ValueKind.DEMAND: Range(0, 1000, "kW"),
    ValueKind.TARGET_VOLTAGE: Range(0, 1500, "V"),
    ValueKind.BUS_VOLTAGE: Range(0, 1500, "V"),
    ValueKind.VOLTAGE_LIMIT: Range(0, 1500, "V"),
    ValueKind.CURRENT_LIMIT: Range(0, 1000, "A"),
}


def value_of(kind: ValueKind, value: Value) -> float | VehicleStatus:
    """The value of a message of this kind, in its unit. Raises RefusedError(FORMAT or RANGE)."""
    if kind is ValueKind.STATUS:
        return vehicle_status(value)
    allowed = RANGES[kind]
    return number_within(value, allowed.low, allowed.high, allowed.unit)


def escaped(raw: bytes, limit: int = SHOWN_CHARACTERS) -> str:
    """The first `limit` characters of foreign bytes as printable ASCII: no terminal or log line is broken by it."""
    text = raw[: limit * 4].decode("utf-8", "backslashreplace")[:limit]
    return text.encode("unicode_escape").decode("ascii")
