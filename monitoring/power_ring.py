"""Job: the power of the last hour: its mean in each step of 5 s, of every gun and of the station.

Thread: whoever holds the board's lock. Lock: none. Units: kW; Unix seconds, as told in the snapshots.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from monitoring.schema import Power

STEP_S = 5
KEPT_MINUTES = 60
KEPT_STEPS = KEPT_MINUTES * 60 // STEP_S


@dataclass(slots=True)
class _Step:
    """What was told within one step: sums, and how often."""

    number: int  # Unix time / STEP_S
    told: int
    guns_kw: list[float]

    def means_kw(self) -> list[float]:
        return [round(total / self.told, 3) for total in self.guns_kw]


class PowerRing:
    """Takes each snapshot's powers; what is older than an hour falls out."""

    def __init__(self) -> None:
        self._steps: deque[_Step] = deque(maxlen=KEPT_STEPS)

    def add(self, ts: float, guns_kw: Sequence[float]) -> None:
        """The powers of gun 1, 2, ... at `ts`. A clock that was set back begins a new hour."""
        number = int(ts // STEP_S)
        last = self._steps[-1] if self._steps else None
        if last is not None and number == last.number and len(guns_kw) == len(last.guns_kw):
            last.told += 1
            last.guns_kw = [total + kw for total, kw in zip(last.guns_kw, guns_kw, strict=True)]
            return
        if last is not None and (number <= last.number or len(guns_kw) != len(last.guns_kw)):
            self._steps.clear()
        self._steps.append(_Step(number, 1, list(guns_kw)))

    def last(self, minutes: int) -> Power:
        """The last `minutes` (1 to 60) by the newest step, oldest first."""
        newest = self._steps[-1].number if self._steps else 0
        steps = [step for step in self._steps if step.number > newest - minutes * 60 // STEP_S]
        means_kw = [step.means_kw() for step in steps]
        count = len(means_kw[0]) if means_kw else 0
        return Power(
            step_s=STEP_S,
            ts=[float(step.number * STEP_S) for step in steps],
            station_kw=[round(sum(each), 3) for each in means_kw],
            guns_kw={str(gun): [each[gun - 1] for each in means_kw] for gun in range(1, count + 1)},
        )
