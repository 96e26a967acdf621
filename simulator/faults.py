"""Job: what a person types to break the simulated station: one line, one fault, and how to mend it again.

Thread: that of the plant. Lock: none. Units: A, V in the lines. `apply(line, ...)` does it and says what it did.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from planning.model import Crosspoint
from simulator.contacts import GUNS, MODULES, ContactFault
from simulator.gun_bus import FixedBattery
from simulator.module_wire import STATUS_SHORT_CIRCUIT, ModuleWire, WireModule
from simulator.plant import Plant


class Link(Protocol):
    """The CAN side that can be cut."""

    cut: bool

    def drop_clients(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Bench:
    """All that a line may touch."""

    plant: Plant
    wire: ModuleWire
    link: Link


Words = list[str]
Action = Callable[[Bench, Words, float], None]

HELP = """\
weld|stick|reads_open|reads_closed|slam|repair g1m3   a contactor (stick: no longer closes; slam: closes by itself)
mute|deaf|freeze|ignore_off|ignore_set|reboot|duplicate|heal m4   a module
derate m4 20      it can give 20 A only
overdo_v|overdo_a m4 1.3    it gives this multiple of the voltage or current that it is set to
scale_v|scale_a m4 0.1      it tells this multiple of the voltage or current that it measures
fail m4 [bits]    it switches off and shows these status bits (hexadecimal)
battery g2 640    another battery voltage; battery g2 none: nothing connected
estop press|release
can cut|join|drop"""


def apply(line: str, bench: Bench, now_s: float) -> str:
    """Do what one line says and give it back. Raises ValueError, with all that can be said, when it says nothing."""
    words = line.split()
    action = _ACTIONS.get(words[0]) if words else None
    if action is None:
        raise ValueError(f"'{line.strip()}' is no command. There are:\n{HELP}")
    try:
        action(bench, words[1:], now_s)
    except IndexError:
        raise ValueError(f"'{line.strip()}' is too short. There are:\n{HELP}") from None
    return " ".join(words)


def _crosspoint(word: str) -> Crosspoint:
    match = re.fullmatch(r"g(\d+)m(\d+)", word)
    if match is None:
        raise ValueError(f"'{word}' is no contactor: g1m1 to g{GUNS}m{MODULES}")
    return Crosspoint(int(match[1]), int(match[2]))


def _number(word: str, letter: str, highest: int) -> int:
    match = re.fullmatch(rf"{letter}(\d+)", word)
    if match is None or not 1 <= int(match[1]) <= highest:
        raise ValueError(f"'{word}' is not known: {letter}1 to {letter}{highest}")
    return int(match[1])


def _board(bench: Bench, words: Words) -> WireModule:
    return bench.wire.board(_number(words[0], "m", MODULES))


def _contact(fault: ContactFault) -> Action:
    return lambda bench, words, now_s: bench.plant.break_contact(_crosspoint(words[0]), fault, now_s)


def _mute(bench: Bench, words: Words, now_s: float) -> None:
    del now_s
    _board(bench, words).muted = True


def _deafen(bench: Bench, words: Words, now_s: float) -> None:
    del now_s
    _board(bench, words).deaf = True


def _ignore_off(bench: Bench, words: Words, now_s: float) -> None:
    del now_s
    _board(bench, words).module.ignores_off = True


def _ignore_set(bench: Bench, words: Words, now_s: float) -> None:
    del now_s
    _board(bench, words).module.ignores_set_points = True


def _derate(bench: Bench, words: Words, now_s: float) -> None:
    del now_s
    _board(bench, words).module.derate(float(words[1]))


def _overdo_v(bench: Bench, words: Words, now_s: float) -> None:
    del now_s
    _board(bench, words).module.overdo(float(words[1]), 1.0)


def _overdo_a(bench: Bench, words: Words, now_s: float) -> None:
    del now_s
    _board(bench, words).module.overdo(1.0, float(words[1]))


def _scale_v(bench: Bench, words: Words, now_s: float) -> None:
    del now_s
    _board(bench, words).scale_v = float(words[1])


def _scale_a(bench: Bench, words: Words, now_s: float) -> None:
    del now_s
    _board(bench, words).scale_a = float(words[1])


def _fail(bench: Bench, words: Words, now_s: float) -> None:
    _board(bench, words).fail(int(words[1], 16) if len(words) > 1 else STATUS_SHORT_CIRCUIT, now_s)


def _battery(bench: Bench, words: Words, now_s: float) -> None:
    gun = _number(words[0], "g", GUNS)
    bench.plant.plug(gun, None if words[1] == "none" else FixedBattery(float(words[1])), now_s)


def _emergency_stop(bench: Bench, words: Words, now_s: float) -> None:
    if words[0] not in ("press", "release"):
        raise ValueError("estop press or estop release")
    if words[0] == "press":
        bench.plant.press_emergency_stop(now_s)
    else:
        bench.plant.release_emergency_stop(now_s)


def _can(bench: Bench, words: Words, now_s: float) -> None:
    del now_s
    if words[0] not in ("cut", "join", "drop"):
        raise ValueError("can cut, can join or can drop")
    if words[0] == "drop":
        bench.link.drop_clients()
    else:
        bench.link.cut = words[0] == "cut"


_ACTIONS: dict[str, Action] = {
    "weld": _contact(ContactFault.WELDED),
    "stick": _contact(ContactFault.STUCK_OPEN),
    "reads_open": _contact(ContactFault.READS_OPEN),
    "reads_closed": _contact(ContactFault.READS_CLOSED),
    "slam": lambda bench, words, now_s: bench.plant.slam(_crosspoint(words[0]), now_s),
    "repair": lambda bench, words, now_s: bench.plant.repair_contact(_crosspoint(words[0]), now_s),
    "mute": _mute,
    "deaf": _deafen,
    "freeze": lambda bench, words, now_s: _board(bench, words).freeze(now_s),
    "ignore_off": _ignore_off,
    "ignore_set": _ignore_set,
    "reboot": lambda bench, words, now_s: _board(bench, words).reboot(now_s),
    "duplicate": lambda bench, words, now_s: _double(bench, words),
    "heal": lambda bench, words, now_s: _board(bench, words).heal(),
    "derate": _derate,
    "overdo_v": _overdo_v,
    "overdo_a": _overdo_a,
    "scale_v": _scale_v,
    "scale_a": _scale_a,
    "fail": _fail,
    "battery": _battery,
    "estop": _emergency_stop,
    "can": _can,
}


def _double(bench: Bench, words: Words) -> None:
    bench.wire.add_duplicate(_board(bench, words).address)
