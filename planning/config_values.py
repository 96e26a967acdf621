"""Job: the text behind one = of config.ini to a value, or a ValueError that says in plain words what is wrong with it.

Thread: any (pure). Lock: none. Units: those of the key. Nothing here looks at the disk or the network.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from decimal import Decimal
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any

from planning.config_keys import CONSOLE_PINS, Key, Kind

MAX_VALUE_LENGTH = 1000
MAX_NUMBER_LENGTH = 20

_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_COMMENT_BEHIND = re.compile(r"(?:^|\s)[;#]")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?", re.IGNORECASE)
_WINDOW = re.compile(r"([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})")


def parse(key: Key, text: str) -> Any:
    """The value of `text` for `key`; a file stays text. Raises ValueError with the reason as a sentence."""
    check_text(text, may_be_empty=key.kind is Kind.GUNS and key.section == "Devices")
    return _PARSERS[key.kind](key, text)


def check_text(text: str, may_be_empty: bool = False) -> None:
    """What holds for every value. Raises ValueError with the reason."""
    if "\n" in text:
        raise ValueError(
            "the next line begins with a blank and so counts as part of this value. Begin every key at the left edge"
        )
    if not text and not may_be_empty:
        raise ValueError("nothing stands behind the =")
    if len(text) > MAX_VALUE_LENGTH:
        raise ValueError(f"{len(text)} characters are too long, {MAX_VALUE_LENGTH} are allowed")
    if not text.isprintable():
        raise ValueError("it contains an invisible character (a tab, a special blank or a control character)")
    if _COMMENT_BEHIND.search(text):
        raise ValueError("a comment behind the value counts as part of it. A comment needs a line of its own")


def show(value: Any) -> str:
    """A value as it would stand in config.ini."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, float):
        return f"{Decimal(repr(value)):f}".removesuffix(".0")
    if isinstance(value, tuple):
        return ", ".join(show(part) for part in value)
    return str(value)


def show_window(window: tuple[int, int]) -> str:
    return "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in window)


def nearest(word: str, known: tuple[str, ...]) -> str:
    """The known name that `word` was most likely meant to be, or ""."""
    by_folded = {name.casefold(): name for name in known}
    close = get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[close[0]] if close else ""


def _decimal(text: str) -> str:
    if len(text) > MAX_NUMBER_LENGTH:
        raise ValueError(f"a number of {len(text)} characters is too long")
    if not _DECIMAL.fullmatch(text):
        raise ValueError("not a plain decimal number (digits 0-9, a point; no comma, unit, exponent or leading zero)")
    return text


def _in_range(key: Key, value: float) -> None:
    assert key.low is not None and key.high is not None
    if key.zero and value == 0:
        return
    if value < key.low:
        raise ValueError("below the minimum")
    if value > key.high:
        raise ValueError("above the maximum")


def _number(key: Key, text: str) -> float:
    value = float(_decimal(text))
    _in_range(key, value)
    return value


def _whole(text: str) -> int:
    if "." in _decimal(text):
        raise ValueError("not a whole number")
    return int(text)


def _integer(key: Key, text: str) -> int:
    value = _whole(text)
    _in_range(key, value)
    return value


def _boolean(key: Key, text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("neither true nor false")
    return text == "true"


def _choice(key: Key, text: str) -> Any:
    if text not in key.choices:
        close = nearest(text, key.choices)
        raise ValueError("not a known name" + (f", did you mean {close}" if close else ""))
    return text if key.enum is None else key.enum(text)


def _text(key: Key, text: str) -> str:
    if len(text) > 200:
        raise ValueError(f"{len(text)} characters are too long")
    return text


def _name(key: Key, text: str) -> str:
    # A leading dash would be taken for an option by git.
    if not re.fullmatch(r"[A-Za-z0-9._][A-Za-z0-9._-]{0,63}", text):
        raise ValueError("not a plain name (it may not begin with a dash)")
    return text


def _database(key: Key, text: str) -> str:
    if not re.fullmatch(r"sqlite:///(?!:memory:).+|postgres(ql)?(\+psycopg)?://.+", text) or len(text) > 200:
        raise ValueError("not the URL of a database that is known here")
    return text


def _topic(key: Key, text: str) -> str:
    if len(text) > 64 or text.startswith(("/", "$", "-")) or text.endswith("/") or "//" in text:
        raise ValueError("too long, or a / or another sign stands where it must not")
    if not re.fullmatch(r"[\w./-]+", text):
        raise ValueError("it contains a sign with a meaning of its own or a blank")
    return text


def parse_host(text: str) -> str:
    """A host name or IP literal. Raises ValueError with the reason. No look-up is made."""
    if "://" in text or "/" in text:
        raise ValueError("this is a URL. Write the host name alone, and the port in its own key")
    if text.startswith("["):
        raise ValueError("an IPv6 address stands here without brackets")
    try:
        return str(ipaddress.ip_address(text)) if "%" not in text else str(ipaddress.IPv6Address(text))
    except ValueError:
        return _host_name(text)


def is_loopback(host: str) -> bool:
    """Only this computer can reach what listens there. A name but localhost may mean anything."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().removesuffix(".") == "localhost"


def _host_name(text: str) -> str:
    if ":" in text:
        raise ValueError("a colon stands in the host name. The port has its own key")
    labels = text.removesuffix(".").split(".")
    if labels[-1].isdigit():
        raise ValueError("it looks like an IP address but is none")
    for label in labels:
        _check_label(label)
    if len(text) > 253:
        raise ValueError("a host name has at most 253 characters")
    return text


def _check_label(label: str) -> None:
    if not label:
        raise ValueError("a part between two dots is empty")
    try:
        ascii_label = label.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ValueError("a part between two dots is longer than 63 characters or no name") from error
    if not _LABEL.fullmatch(ascii_label):
        raise ValueError("a host name has letters, digits and inner dashes only")


def parse_pin(text: str) -> int:
    """A BCM pin number. Raises ValueError with the reason."""
    number = _whole(text)
    if number in CONSOLE_PINS:
        raise ValueError("GPIO 14 and 15 are the serial console and high while the computer boots")
    if not 0 <= number <= 27:
        raise ValueError("no such pin on the header")
    return number


def _guns(key: Key, text: str) -> tuple[int, ...]:
    return tuple(_whole(part.strip()) for part in text.split(",")) if text else ()


def _window(key: Key, text: str) -> tuple[int, int]:
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise ValueError("not two times of day")
    h1, m1, h2, m2 = (int(part) for part in match.groups())
    start, end = h1 * 60 + m1, h2 * 60 + m2
    if m1 > 59 or m2 > 59 or start > 23 * 60 + 59 or end > 24 * 60:
        raise ValueError("no such time of day")
    if start == end:
        raise ValueError("the window is empty. The whole day is 00:00-24:00")
    return start, end


def _path(key: Key, text: str) -> Path:
    return Path(text)


_PARSERS: dict[Kind, Callable[[Key, str], Any]] = {
    Kind.NUMBER: _number,
    Kind.INTEGER: _integer,
    Kind.BOOLEAN: _boolean,
    Kind.CHOICE: _choice,
    Kind.TEXT: _text,
    Kind.NAME: _name,
    Kind.TOPIC: _topic,
    Kind.HOST: lambda key, text: parse_host(text),
    Kind.PIN: lambda key, text: parse_pin(text),
    Kind.GUNS: _guns,
    Kind.DATABASE: _database,
    Kind.WINDOW: _window,
    Kind.FILE: _path,
    Kind.SECRET_FILE: _path,
    Kind.OUTPUT_FILE: _path,
}
