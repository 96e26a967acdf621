"""Job: the record of a run, written: inputs, a proof of each decision, settings, and marks to begin a replay from.

Thread: control (or any one at a time). Lock: none. Units: ms since any fixed moment; s since 1970 where it says wall.

    # 0.1.0 BOOT PID                  head of a start, written by main.py; all that follows belongs to it
    : {"at_ms": .., "settings": ..}   what decisions depend on, once behind the head
    10000 g1d=75.0 =a3f2c             inputs that changed (planning/decision.py), and the proof
    10120 m1f=3 =bd01e >110000000/3   ... >modules/coils when they changed: the gun of each module, and the coils, hex
    ! 7 lines are missing             written by logger_config.py when lines were lost before this place
    @ {"core": ..}                    a mark: all that the next decisions follow from

A proof is one letter that counts lines and four of a hash over everything since the head: each line proves all before
it, and the letter tells lines that are missing from lines that were changed. Lines without proof are of older versions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from enum import Enum
from hashlib import blake2b
from typing import Any

from planning.core_state import Words
from planning.decision import Decision, DecisionCore
from planning.settings import AllocationSettings, General, PowerLimits, Priority, Safety, Settings

#: A replay of a day begins at a mark; whoever lost lines waits for the next one. A mark costs some 6 kB.
MARK_EVERY_MS = 3_600_000
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
#: Lines that may be missing unseen by the letter alone come in multiples of this.
COUNTED = len(_LETTERS)
_HASH_BYTES, _HASH_LETTERS = 8, 4
#: Sections that decisions follow from, and a model of the station beside them. Names as in Settings.
_SECTIONS: dict[str, type[Any]] = {
    "power_limits": PowerLimits, "general": General, "allocation": AllocationSettings, "safety": Safety,
}  # fmt: skip


class Chain:
    """The proofs of one run, in their order; writer and reader have the same."""

    def __init__(self, count: int = 0, state: bytes = b"") -> None:
        self.count = count
        self.state = state

    def proof(self, inputs: str, decision: Decision) -> str:
        """The proof of the next line."""
        letter = _LETTERS[self.count % COUNTED]
        self.count += 1
        text = f"{inputs}\n{decision.line()}"
        self.state = blake2b(self.state + text.encode(), digest_size=_HASH_BYTES).digest()
        return f"={letter}{self.state.hex()[:_HASH_LETTERS]}"


def missing_before(expected: str, found: str) -> int:
    """How many lines are missing if these are the proofs of the place and of the line that stands there; 0: none."""
    return (_LETTERS.find(found[1:2]) - _LETTERS.find(expected[1:2])) % COUNTED


def decided(decision: Decision) -> str:
    """Who has which module, and the coils: `>110000000/3`, with commas where a gun has two figures."""
    wide = any(gun > 9 for gun in decision.wants)
    return f">{(',' if wide else '').join(map(str, decision.wants))}/{decision.coils:x}"


class Recorder:
    """Writes the record of one run, a line a decision."""

    def __init__(self, settings: Settings, write: Callable[[str], None], wall_s: Callable[[], float]) -> None:
        """`write` takes one line and never waits."""
        self._settings = settings_words(settings)
        self._write, self._wall_s = write, wall_s
        self._chain = Chain()
        self._decided = ""
        self._marked_ms: int | None = None

    def take(self, inputs: str, decision: Decision, core: DecisionCore) -> None:
        """Write what the core's last step was made from and what proves its decision. Control thread."""
        if self._marked_ms is None:
            self._marked_ms = decision.at_ms
            self._write(": " + _compact(self._about(decision)))
        line, now = f"{inputs} {self._chain.proof(inputs, decision)}", decided(decision)
        if now != self._decided:
            self._decided = now
            line = f"{line} {now}"
        self._write(line)
        if decision.at_ms - self._marked_ms >= MARK_EVERY_MS:
            self._marked_ms = decision.at_ms
            chain = {"count": self._chain.count, "chain": self._chain.state.hex(), "decided": now}
            self._write("@ " + _compact({**self._about(decision), **chain, "core": core.state()}))

    def _about(self, decision: Decision) -> Words:
        return {"at_ms": decision.at_ms, "wall_s": round(self._wall_s(), 3), "settings": self._settings}


def _compact(words: Words) -> str:
    return json.dumps(words, separators=(",", ":"))


# --- settings -------------------------------------------------------------------------------------------------------


def settings_words(settings: Settings) -> Words:
    """What decisions follow from, as JSON holds it."""
    words = {name: asdict(getattr(settings, name)) for name in _SECTIONS}
    del words["general"]["station_id"]  # a name, and free text
    return {section: {key: _plain(value) for key, value in keys.items()} for section, keys in words.items()}


def settings_of(words: Words, base: Settings) -> Settings:
    """`base` with what was recorded in its place. Raises ValueError with the names that this version does not know."""
    unknown = [
        f"{section}.{key}"
        for section, keys in words.items()
        for key in keys
        if section not in _SECTIONS or key not in {field.name for field in fields(_SECTIONS[section])}
    ]
    if unknown:
        raise ValueError(f"it was recorded by a version with other settings: {', '.join(unknown)}")
    sections = {
        section: replace(getattr(base, section), **{key: _value(key, value) for key, value in keys.items()})
        for section, keys in words.items()
    }
    return replace(base, **sections)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _value(key: str, value: Any) -> Any:
    if key == "priority":
        return Priority(value)
    if isinstance(value, dict):  # by gun
        return {int(number): each for number, each in value.items()}
    return tuple(value) if isinstance(value, list) else value
