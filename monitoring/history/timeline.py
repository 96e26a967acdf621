"""Job: how much time passed from one snapshot to the next, whatever the wall clock did meanwhile.

Thread: one at a time (history). Lock: none. Units: s; `ts` is Unix seconds, `now_s` monotonic of the page process.

A Pi without a clock of its own starts in the past and is set right minutes later; somebody may set it back an hour. A
snapshot tells the station's wall clock and counts up by one each half second, and we know when it came. Where these
agree the wall clock is right (it also knows of lines that waited in the pipe); where they do not, it was moved. A
simulated station may run faster than the clock on our wall: then they disagree by the same factor again and again.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The feed tells the station this often, by the clock on the wall.
PERIOD_S = 0.5
#: The feed may be late by this and by this share of the time; a clock that is moved by less is not noticed.
SLACK_S, SLACK_SHARE = 1.0, 0.2
#: Told time may stand still for so long and then catch up.
OWED_MOST_S = 30.0
#: Station time may run so much slower or faster than ours.
SLOWEST, FASTEST = 0.1, 1_000.0


@dataclass(frozen=True, slots=True)
class Passed:
    """From the last snapshot to this one."""

    elapsed_s: float
    clock_moved_s: float  # 0: it went as it should
    new_run: bool  # the controller started anew in between (or this is the first snapshot of all)


@dataclass(frozen=True, slots=True)
class _Moment:
    run: str
    seq: int
    ts: float
    now_s: float


class Timeline:
    """Remembers the last snapshot, and how long the told time stood still while snapshots came."""

    def __init__(self) -> None:
        self._last: _Moment | None = None
        self._speed = 1.0
        self._owed_s = 0.0  # told time that is still to come: the control told nothing new, we saw the same again
        self._guess: float | None = None  # the factor of the last snapshot, when it did not fit

    def take(self, run: str, seq: int, ts: float, now_s: float) -> Passed | None:
        """What passed since the snapshot before; None: this one is not newer."""
        last, here = self._last, _Moment(run, seq, ts, now_s)
        if last is None or last.run != run:
            self._last = here
            return Passed(0.0, 0.0, True)
        if seq <= last.seq:
            return None
        self._last = here
        told_s, counted_s, waited_s = ts - last.ts, (seq - last.seq) * PERIOD_S, max(0.0, now_s - last.now_s)
        should_s = counted_s * self._speed
        fits = _agree(told_s, should_s) or _agree(told_s, waited_s * self._speed)
        fits = fits or should_s < told_s <= should_s + self._owed_s + SLACK_S
        guess, self._guess = self._guess, None
        if told_s >= 0.0 and fits:
            self._owed_s = min(OWED_MOST_S, max(0.0, self._owed_s + should_s - told_s))
            return Passed(told_s, 0.0, False)
        ours_s = max(counted_s, waited_s)
        factor = told_s / ours_s
        if guess is not None and abs(factor - guess) <= SLACK_SHARE * guess:
            self._speed = factor
            return Passed(told_s, 0.0, False)
        self._guess = factor if SLOWEST <= factor <= FASTEST else None
        elapsed_s = ours_s * self._speed
        return Passed(elapsed_s, told_s - elapsed_s, False)


def _agree(told_s: float, should_s: float) -> bool:
    return abs(told_s - should_s) <= SLACK_S + SLACK_SHARE * should_s
