"""Job: which reading is asked of which module when, and which are left out when the bus fills up.

Thread: can-tx. Lock: none. Units: s, % of the bit rate.

The arithmetic, for nine modules at 125 kbit/s and 150 bits a frame (1 frame/s = 0.12 %), with broadcast reads:

    round: 3 requests + 27 replies each 500 ms                 60 frames/s    7.2 %
    two modules watched: 2 x 2 x (request + reply) each 100 ms 80 frames/s    9.6 %
    refresh: V and I of nine modules with echo each 2 s        18 frames/s    2.2 %
    slow: 1 request + 9 replies each 5 s                        2 frames/s    0.2 %
                                                                        sum  19.2 % (20 % allowed over 10 s)

Set-points that move take the place of the refresh, at most 25 a second for all modules together (50 frames/s with
echoes, 6 %: 22.8 %). Then reads give way, slow ones first, then the watched ones: each 200 ms (18.0 %), then none
(13.2 %). Control frames and the round never do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

S = TypeVar("S")

MAX_WATCHED = 2


class Thinning(IntEnum):
    """How much is left out."""

    NONE = 0
    NO_SLOW = 1
    WATCH_HALF = 2
    NO_WATCH = 3


#: Above this load over 1 s, or over 10 s (%), the step applies. The contract's limits are 30 % and 20 %. A second may
#: hold the refresh of all modules at once, so its limits are wider.
_STEPS = (
    (Thinning.NO_WATCH, 25.0, 19.6),
    (Thinning.WATCH_HALF, 23.0, 19.3),
    (Thinning.NO_SLOW, 22.5, 18.7),
)
#: What was left out stays out so long after it was last too much: the load over 10 s follows slowly.
_HOLD_S = 5.0


def thinning(load_1s_pct: float, load_10s_pct: float) -> Thinning:
    """The step for the present load."""
    for step, limit_1s_pct, limit_10s_pct in _STEPS:
        if load_1s_pct > limit_1s_pct or load_10s_pct > limit_10s_pct:
            return step
    return Thinning.NONE


class Thinner:
    """The step to use now: more at once, less only after a while."""

    def __init__(self) -> None:
        self._step = Thinning.NONE
        self._until_s = -math.inf

    def step(self, load_1s_pct: float, load_10s_pct: float, now_s: float) -> Thinning:
        wanted = thinning(load_1s_pct, load_10s_pct)
        if wanted >= self._step or now_s >= self._until_s:
            self._step = wanted
            self._until_s = now_s + _HOLD_S
        return self._step


@dataclass(slots=True)
class _Read(Generic[S]):
    signal: S
    module: int | None  # None: all of them at once
    period_s: float
    due_s: float

    def again(self, now_s: float) -> None:
        """The next time, in step with the last; after a pause from now on."""
        self.due_s += self.period_s
        if self.due_s <= now_s:
            self.due_s = now_s + self.period_s


class ReadSchedule(Generic[S]):
    """The reads of the modules of one make. `broadcast`: one request asks all of them."""

    def __init__(
        self,
        modules: Sequence[int],
        broadcast: bool,
        round_s: float,
        round_signals: Sequence[S],
        slow_s: float,
        slow_signals: Sequence[S],
        watch_s: float,
        watch_signals: Sequence[S],
    ) -> None:
        self._modules = tuple(modules)
        targets: tuple[int | None, ...] = (None,) if broadcast else self._modules
        wanted = [(signal, target) for target in targets for signal in round_signals]
        step_s = round_s / len(wanted)
        self._round = [_Read(signal, target, round_s, i * step_s) for i, (signal, target) in enumerate(wanted)]
        slow = [(signal, target) for signal in slow_signals for target in targets]
        slow_round_s = slow_s * len(slow_signals)
        self._slow = [
            _Read(signal, target, slow_round_s, slow_s + i * slow_round_s / len(slow))
            for i, (signal, target) in enumerate(slow)
        ]
        self._watch_s = watch_s
        self._watch_signals = tuple(watch_signals)
        self._watched: list[_Read[S]] = []

    def watch(self, modules: Sequence[int], now_s: float) -> None:
        """Ask these modules more often (those of this make, at most two); those already watched keep their rhythm."""
        wanted = [module for module in modules[:MAX_WATCHED] if module in self._modules]
        kept = [read for read in self._watched if read.module in wanted]
        watched = {read.module for read in kept}
        pairs = [(module, signal) for module in wanted if module not in watched for signal in self._watch_signals]
        self._watched = kept + [_Read(signal, module, self._watch_s, now_s) for module, signal in pairs]

    def due(self, now_s: float, thin: Thinning) -> list[tuple[S, int | None]]:
        """The reads to ask now."""
        asked = self._take(self._round, now_s)
        if self._watched:
            watched = self._take_watched(now_s, thin)
            asked += watched if thin < Thinning.NO_WATCH else []
        if thin < Thinning.NO_SLOW:
            asked += self._take(self._slow, now_s)
        return asked

    def next_s(self) -> float:
        """When something is due next."""
        return min(read.due_s for read in (*self._round, *self._watched))

    def _take_watched(self, now_s: float, thin: Thinning) -> list[tuple[S, int | None]]:
        period_s = self._watch_s * (2 if thin >= Thinning.WATCH_HALF else 1)
        for read in self._watched:
            read.period_s = period_s
        return self._take(self._watched, now_s)

    @staticmethod
    def _take(reads: list[_Read[S]], now_s: float) -> list[tuple[S, int | None]]:
        asked = []
        for read in reads:
            if read.due_s <= now_s:
                asked.append((read.signal, read.module))
                read.again(now_s)
        return asked
