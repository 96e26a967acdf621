"""Job: all modules on one wire, each in the dialect of its make: takes every frame that anybody sends, gives what comes
back and what modules say by themselves.

Thread: that of the plant (no lock). Units: s.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

from planning.settings import Settings
from simulator.board import EVERYBODY, Board, Dialect, Identity, Reply, Said
from simulator.infypower_dialect import INFYPOWER
from simulator.maxwell_mxr_dialect import MAXWELL_MXR, WINLINE
from simulator.plant import Plant
from simulator.power_module import PowerModule
from simulator.tonhe_dialect import TONHE
from simulator.uugreen_dialect import MAXWELL_ENR, UUGREEN

__all__ = ["Board", "Identity", "ModuleWire", "Reply"]

DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect for dialect in (UUGREEN, MAXWELL_ENR, INFYPOWER, MAXWELL_MXR, WINLINE, TONHE)
}
#: From the end of the request to the begin of the reply.
REPLY_S = (0.001, 0.004)


class ModuleWire:
    """See the file's head."""

    def __init__(
        self,
        modules: Iterable[PowerModule],
        seed: int = 0,
        identities: Mapping[int, Identity] | None = None,
        makes: Mapping[int, str] | None = None,
        addresses: Mapping[int, int] | None = None,
    ) -> None:
        """`identities`: type plates of some modules, the others get theirs by `seed`; `makes`: module -> make, uugreen
        where it is silent; `addresses`: module -> address, its number where it is silent."""
        self._rng = random.Random(seed)
        self._next_delay = self._rng.random
        plates, names, at = identities or {}, makes or {}, addresses or {}
        self.boards: list[Board] = []
        self._by_dialect: dict[Dialect, dict[int, list[Board]]] = {}
        self._watched: list[Board] = []
        self._speakers: list[Board] = []
        for module in modules:
            identity = plates.get(module.number) or Identity.by_chance(self._rng)
            dialect = DIALECTS[names.get(module.number, UUGREEN.name)]
            self._add(Board(module, at.get(module.number, module.number), identity, dialect))
        for board in self.boards:
            board.speaks_for = len(self._by_dialect[board.dialect][EVERYBODY]) if self._is_first(board) else 0

    def _is_first(self, board: Board) -> bool:
        return board is self._by_dialect[board.dialect][EVERYBODY][0]

    def _add(self, board: Board) -> None:
        self.boards.append(board)
        theirs = self._by_dialect.setdefault(board.dialect, {EVERYBODY: []})
        theirs[EVERYBODY].append(board)
        theirs.setdefault(board.address, []).append(board)
        if board.dialect.watchdog_s is not None:
            self._watched.append(board)
        if board.dialect.speech_s is not None:
            self._speakers.append(board)
            board.speaks_at_s = 0.01 * len(self._speakers)

    def board(self, number: int) -> Board:
        """The communication board of module `number` (1 to 9)."""
        return self.boards[number - 1]

    def add_duplicate(self, address: int) -> Board:
        """A second module, with a serial of its own and nothing on its output, answers on this address too."""
        dialect = next(board.dialect for board in self.boards if board.address == address)
        stranger = Board(PowerModule(0, self._rng, []), address, Identity.by_chance(self._rng), dialect)
        self._add(stranger)
        for twin in self._by_dialect[dialect][address]:
            twin.show(dialect.twin)
        return stranger

    def swap_addresses(self, one: int, other: int) -> None:
        """Two modules of one make were given each other's address."""
        first, second = self.board(one), self.board(other)
        by_address = self._by_dialect[first.dialect]
        first.address, second.address = second.address, first.address
        by_address[first.address], by_address[second.address] = [first], [second]

    def remove(self, board: Board) -> None:
        """Pull one module's CAN plug for good."""
        theirs = self._by_dialect[board.dialect]
        for boards in (self.boards, theirs[EVERYBODY], theirs[board.address], self._watched, self._speakers):
            if board in boards:
                boards.remove(board)

    # --- the wire ----------------------------------------------------------------------------------------------------

    def answer(self, can_id: int, data: bytes, now_s: float) -> list[Reply]:
        """Replies to one extended data frame, as (delay in s, identifier, data); none if it is no request."""
        if len(data) != 8:
            return []
        replies: list[Reply] = []
        for dialect, by_address in self._by_dialect.items():
            target = dialect.target(can_id, data)
            if target is None:
                continue
            for board in by_address.get(target, ()):
                if not board.hears(now_s):
                    continue
                said = dialect.reply(board, can_id, data, now_s, target == EVERYBODY)
                if said and not board.muted:
                    replies += self._in_time(said)
        return replies

    @property
    def speaks_at_s(self) -> float:
        """When a module next says something by itself; infinite: none does."""
        return min(board.speaks_at_s for board in self._speakers) if self._speakers else float("inf")

    def speak(self, now_s: float) -> list[Reply]:
        """What modules say by themselves now."""
        replies: list[Reply] = []
        for board in self._speakers:
            if board.speaks_at_s > now_s:
                continue
            board.speaks_at_s = now_s + (board.dialect.speech_s or float("inf"))
            if board.hears(now_s) and not board.muted:
                replies += self._in_time(board.dialect.speech(board, now_s))
        return replies

    def watch(self, now_s: float) -> None:
        """Let the modules' own watchdogs look; call it at least each second."""
        for board in self._watched:
            board.watch(now_s)

    def _in_time(self, said: list[Said]) -> list[Reply]:
        delay_s = REPLY_S[0] + (REPLY_S[1] - REPLY_S[0]) * self._next_delay()
        return [(delay_s, can_id, data) for can_id, data in said]


def wire_of(plant: Plant, settings: Settings, seed: int) -> ModuleWire:
    """The modules as the settings say that they are."""
    modules = settings.modules.by_number
    return ModuleWire(
        plant.modules,
        seed,
        makes={number: module.protocol for number, module in modules.items()},
        addresses={number: module.address for number, module in modules.items()},
    )
