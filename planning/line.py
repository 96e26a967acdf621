"""Job: the line in which guns are served, from the last one: who may pass those ahead, and how far.

Thread: any (pure). Lock: none. Units: none.

A gun passes those ahead of it, one after the other, as long as it overtakes them. In a large station it may pass
hundreds; the line is kept in pieces, and a piece that the gun overtakes whole costs a look at its best guns alone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from planning.request import GunRequest

#: A piece of the line that grows longer than this is cut in two.
PIECE = 32

Overtakes = Callable[[GunRequest, GunRequest], bool]  # (a gun, one ahead of it)


def from_last_order(
    guns: Sequence[GunRequest],
    last_order: Sequence[int],
    key: Callable[[GunRequest], Any],
    overtakes: Overtakes,
    kind: Callable[[GunRequest], Hashable],
) -> tuple[GunRequest, ...]:
    """Each gun passes those ahead of it as long as it overtakes them. Newcomers start behind the others, by `key`.

    Who overtakes a gun must overtake every gun of the same `kind` with a greater (`key`, number).
    """
    known = {gun: place for place, gun in enumerate(last_order)}
    line = [_Piece(key, kind)]
    for gun in sorted(guns, key=lambda gun: (known.get(gun.gun, len(known)), key(gun), gun.gun)):
        index = len(line) - 1
        while index and line[index].overtaken_by(gun, overtakes):
            index -= 1
        line[index].take_in(gun, overtakes)
        if len(line[index].guns) > PIECE:
            line[index : index + 1] = line[index].cut()
    return tuple(gun for piece in line for gun in piece.guns)


class _Piece:
    """Some guns of the line, one behind the other."""

    def __init__(self, key: Callable[[GunRequest], Any], kind: Callable[[GunRequest], Hashable]) -> None:
        self.guns: list[GunRequest] = []
        self._key, self._kind = key, kind
        self._best: dict[Hashable, GunRequest] = {}  # of each kind; empty until somebody asks

    def overtaken_by(self, gun: GunRequest, overtakes: Overtakes) -> bool:
        """True when it overtakes them all."""
        if not self._best:
            for mine in self.guns:
                self._compare(mine)
        return all(overtakes(gun, best) for best in self._best.values())

    def take_in(self, gun: GunRequest, overtakes: Overtakes) -> None:
        """Put it behind the last one that it does not overtake."""
        place = len(self.guns)
        while place and overtakes(gun, self.guns[place - 1]):
            place -= 1
        self.guns.insert(place, gun)
        if self._best:
            self._compare(gun)

    def cut(self) -> list[_Piece]:
        halves = [_Piece(self._key, self._kind), _Piece(self._key, self._kind)]
        halves[0].guns, halves[1].guns = self.guns[: PIECE // 2], self.guns[PIECE // 2 :]
        return halves

    def _compare(self, gun: GunRequest) -> None:
        best = self._best.setdefault(self._kind(gun), gun)
        if (self._key(gun), gun.gun) < (self._key(best), best.gun):
            self._best[self._kind(gun)] = gun
