"""Job: the accounts of a day's runs added up by gun, and where two days of them differ most.

Thread: any. Lock: none. Units: kWh, kW, s of the day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from simulator.replay_account import PIECE_MS, Account

#: What differs is looked for in stretches of so many pieces of energy.
STRETCH_PIECES = 15
PIECE_S = PIECE_MS // 1000
#: Less is no difference.
LEAST_KWH = 0.05


@dataclass(slots=True)
class GunSum:
    kwh: float = 0.0
    allocated_kwh: float = 0.0
    waiting_s: float = 0.0
    closings: int = 0
    openings: int = 0
    loaded: int = 0
    emergencies: int = 0
    module_s: Counter[int] = field(default_factory=Counter)  # module -> s that it served
    pieces_kwh: dict[int, float] = field(default_factory=dict)  # PIECE_S number of the day -> energy

    def add(self, other: GunSum) -> None:
        """Take another gun, or another run of this one, in."""
        self.kwh += other.kwh
        self.allocated_kwh += other.allocated_kwh
        self.waiting_s += other.waiting_s
        self.closings += other.closings
        self.openings += other.openings
        self.loaded += other.loaded
        self.emergencies += other.emergencies
        self.module_s.update(other.module_s)
        for piece, kwh in other.pieces_kwh.items():
            self.pieces_kwh[piece] = self.pieces_kwh.get(piece, 0.0) + kwh

    @property
    def operations(self) -> int:
        return self.closings + self.openings


class DaySum:
    """A day of a station."""

    def __init__(self) -> None:
        self.guns: dict[int, GunSum] = {}
        self.decisions = 0
        self.begin_s: float | None = None
        self.end_s = 0.0

    def add(self, account: Account, offset_ms: int) -> None:
        """`offset_ms`: time of the day minus the run's own."""
        self.decisions += account.decisions
        if account.begin_ms is None:
            return
        begin_s = (account.begin_ms + offset_ms) / 1000.0
        self.begin_s = begin_s if self.begin_s is None else min(self.begin_s, begin_s)
        self.end_s = max(self.end_s, (account.end_ms + offset_ms) / 1000.0)
        for number, gun in account.guns.items():
            shift = round(offset_ms / PIECE_MS)
            self.guns.setdefault(number, GunSum()).add(
                GunSum(
                    gun.meter.kwh, gun.allocated_kwh, gun.waiting_ms / 1000.0, gun.closings, gun.openings, gun.loaded,
                    gun.emergencies, Counter({module: round(ms / 1000) for module, ms in gun.modules.items()}),
                    {piece + shift: kwh for piece, kwh in gun.meter.pieces_kwh.items()},
                )
            )  # fmt: skip

    @property
    def station(self) -> GunSum:
        """All guns together."""
        total = GunSum()
        for gun in self.guns.values():
            total.add(gun)
        return total


@dataclass(frozen=True, slots=True)
class Difference:
    """What one gun got in one stretch of the day, twice."""

    begin_s: int
    end_s: int
    gun: int
    before_kwh: float
    after_kwh: float

    @property
    def kwh(self) -> float:
        return self.after_kwh - self.before_kwh

    def mean_kw(self, kwh: float) -> float:
        return kwh * 3600.0 / (self.end_s - self.begin_s)


def largest_differences(before: DaySum, after: DaySum, count: int = 5) -> list[Difference]:
    """The stretches in which a gun got most more or less, the largest first."""
    found = []
    for gun, was in before.guns.items():
        then, now = _stretches(was.pieces_kwh), _stretches(after.guns[gun].pieces_kwh)
        for stretch in {*then, *now}:
            begin_s = stretch * STRETCH_PIECES * PIECE_S
            found.append(
                Difference(
                    begin_s, begin_s + STRETCH_PIECES * PIECE_S, gun, then.get(stretch, 0.0), now.get(stretch, 0.0)
                )
            )
    found = [each for each in found if abs(each.kwh) >= LEAST_KWH]
    return sorted(found, key=lambda each: (-abs(each.kwh), each.begin_s, each.gun))[:count]


def _stretches(pieces_kwh: dict[int, float]) -> dict[int, float]:
    sums: dict[int, float] = {}
    for piece, kwh in pieces_kwh.items():
        sums[piece // STRETCH_PIECES] = sums.get(piece // STRETCH_PIECES, 0.0) + kwh
    return sums


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Text in columns: the first to the left, the others to the right."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def clock(seconds: float) -> str:
    """h:mm:ss"""
    whole = round(abs(seconds))
    return f"{'-' if seconds <= -0.5 else ''}{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
