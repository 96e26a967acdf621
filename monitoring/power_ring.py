"""Job: the power of the last hour: its mean in each step of 5 s, of every gun and of the station.

Thread: whoever holds the board's lock; `means` any. Lock: none. Units: kW; Unix seconds, as told in the snapshots.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from monitoring.schema import Power

STEP_S = 5
KEPT_MINUTES = 60
KEPT_STEPS = KEPT_MINUTES * 60 // STEP_S


class Step(NamedTuple):
    """What was told within one step: sums, and how often."""

    number: int  # Unix time / STEP_S
    told: int
    guns_kw: tuple[float, ...]

    def means_kw(self) -> list[float]:
        return [round(total / self.told, 3) for total in self.guns_kw]


class PowerRing:
    """Takes each snapshot's powers; what is older than an hour falls out."""

    def __init__(self) -> None:
        self._steps: deque[Step] = deque(maxlen=KEPT_STEPS)

    def add(self, ts: float, guns_kw: Sequence[float]) -> None:
        """The powers of gun 1, 2, ... at `ts`. A clock that was set back begins a new hour."""
        number = int(ts // STEP_S)
        last = self._steps[-1] if self._steps else None
        if last is None or number > last.number:
            self._steps.append(Step(number, 1, tuple(guns_kw)))
        elif number == last.number:
            sums = tuple(total + kw for total, kw in zip(last.guns_kw, guns_kw, strict=True))
            self._steps[-1] = Step(number, last.told + 1, sums)
        else:
            self._steps.clear()
            self._steps.append(Step(number, 1, tuple(guns_kw)))

    def steps(self) -> list[Step]:
        """All that is kept, oldest first."""
        return list(self._steps)


def means(steps: Sequence[Step], minutes: int) -> Power:
    """The last `minutes` (1 to 60) up to the newest step, oldest first."""
    newest = steps[-1].number if steps else 0
    kept = [step for step in steps if step.number > newest - minutes * 60 // STEP_S]
    means_kw = [step.means_kw() for step in kept]
    guns = range(len(means_kw[0])) if means_kw else ()
    return Power(
        step_s=STEP_S,
        ts=[float(step.number * STEP_S) for step in kept],
        station_kw=[round(sum(each), 3) for each in means_kw],
        guns_kw={str(index + 1): [each[index] for each in means_kw] for index in guns},
    )
