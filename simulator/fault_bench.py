"""Job: what a line that breaks something may touch, and how its words name modules, contactors, guns and numbers.

Thread: that of the plant. Lock: none. Units: none. Everything here raises ValueError with a sentence for a person.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from planning.model import Crosspoint
from simulator.board import Board
from simulator.chip_faults import Chips
from simulator.contacts import GUNS, MODULES
from simulator.module_wire import ModuleWire
from simulator.plant import Plant


class Link(Protocol):
    """The CAN bus as far as it can be broken everywhere: in virtual time and behind a TCP port."""

    cut: bool
    lose_sends: int

    def foreign(self, can_id: int, data: bytes) -> None: ...

    def tell_error(self, error_class: int) -> None: ...

    def flood(self, share_pct: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Bench:
    """All that a line may touch. Without wires (long runs on readings alone) there are neither link nor chips."""

    plant: Plant
    wire: ModuleWire
    link: Link | None = None
    chips: Chips | None = None

    def can(self) -> Link:
        if self.link is None:
            raise ValueError("Readings are handed over directly here: this needs the wire (`level = wire`)")
        return self.link

    def registers(self) -> Chips:
        if self.chips is None:
            raise ValueError("There are no registers here: this needs the wire (`level = wire`) and shift registers")
        return self.chips


Words = list[str]
Action = Callable[[Bench, Words, float], None]


def one_of(word: str, *known: str) -> str:
    """The word, if it is one of these."""
    if word not in known:
        raise ValueError(f"'{word}' is not known: {', '.join(known)}")
    return word


def number_of(word: str, letter: str, highest: int) -> int:
    """m4 is 4."""
    match = re.fullmatch(rf"{letter}(\d+)", word)
    if match is None or not 1 <= int(match[1]) <= highest:
        raise ValueError(f"'{word}' is not known: {letter}1 to {letter}{highest}")
    return int(match[1])


def gun_of(words: Words) -> int:
    return number_of(words[0], "g", GUNS)


def crosspoint_of(words: Words) -> Crosspoint:
    match = re.fullmatch(r"g(\d+)m(\d+)", words[0])
    if match is None:
        raise ValueError(f"'{words[0]}' is no contactor: g1m1 to g{GUNS}m{MODULES}")
    return Crosspoint(int(match[1]), int(match[2]))


def powered_of(bench: Bench, words: Words) -> Board:
    """A module whose power part is meant, which is there at every level."""
    return bench.wire.board(number_of(words[0], "m", MODULES))


def board_of(bench: Bench, words: Words) -> Board:
    """A module whose communication board is meant, which nobody reads without the wire."""
    bench.can()
    return powered_of(bench, words)
