"""Job: how a gun's current is shared among its modules, and how fast it may rise.

Thread: control (or any one at a time). Lock: none. Units: A, s, monotonic.

The sum of the set-points never exceeds what the gun may have at that step. A gun's sum falls at once and rises by the
ramp. A module that joins takes first what is free; then the others hand over to it in small steps, each only after
the joining one is measured to give what it has, so the delivered current does not dip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: The rise is put on the wire in pieces of this length, so that ramps do not fill the bus: 9 modules x 2 frames x 2/s.
RAMP_PIECE_S = 0.5
#: Set-points run ahead of the current that flows by this long a piece of the ramp at most: a car that connects late, or
#: that takes less than it may, must not meet all at once what nobody took so far. Readings are up to 0.75 s old.
LEAD_S = 1.0
#: One hand-over step between modules of a gun, as a share of the gun's current, and at least this many A.
HAND_OVER_SHARE = 0.05
HAND_OVER_MIN_A = 2.0
#: A joining module counts as giving its share when it is measured this close to it.
GIVING_WITHIN_A = 2.0
#: Differences below this are left alone.
EVEN_WITHIN_A = 0.5


def water_fill(total_a: float, caps_a: Sequence[float]) -> list[float]:
    """Share `total_a` equally, nobody above its cap; what the caps cannot hold is left over."""
    shares = [0.0] * len(caps_a)
    rest_a = total_a
    for left, index in zip(range(len(caps_a), 0, -1), sorted(range(len(caps_a)), key=caps_a.__getitem__), strict=True):
        shares[index] = min(caps_a[index], max(0.0, rest_a) / left)
        rest_a -= shares[index]
    return shares


class Sharing:
    """The set-point currents of one gun's modules."""

    def __init__(self, ramp_up_a_per_s: float) -> None:
        self._ramp_up_a_per_s = ramp_up_a_per_s
        self._set_a: dict[int, float] = {}
        self._total_a = 0.0
        self._raised_at_s = float("-inf")
        self._handed_at_s = float("-inf")
        self._wanted_a = 0.0
        #: the ramp has arrived and the shares are even
        self.settled = True

    def reset(self) -> None:
        self._set_a = {}
        self._total_a = 0.0
        self._raised_at_s = float("-inf")

    @property
    def total_a(self) -> float:
        """The sum of the set-points."""
        return sum(self._set_a.values())

    def set_a(self, module: int) -> float:
        return self._set_a.get(module, 0.0)

    def step(
        self, now_s: float, allowed_a: float, caps_a: Mapping[int, float], measured_a: Mapping[int, float]
    ) -> Mapping[int, float]:
        """The new set-points. `allowed_a`: what the gun may have now; `caps_a`: what each module can give now."""
        members = sorted(caps_a)
        self._set_a = {m: min(self._set_a.get(m, 0.0), caps_a[m]) for m in members}
        most_a = sum(measured_a.values()) + LEAD_S * self._ramp_up_a_per_s
        self._ramp(now_s, min(allowed_a, sum(caps_a.values())), most_a)
        self._fall()
        even = dict(zip(members, water_fill(self._total_a, [caps_a[m] for m in members]), strict=True))
        self._take_free(even)
        self._hand_over(now_s, even, measured_a)
        uneven = any(abs(a - even[m]) > EVEN_WITHIN_A for m, a in self._set_a.items())
        arrived = self._total_a >= min(self._wanted_a, most_a) - EVEN_WITHIN_A
        self.settled = arrived and not (uneven and self._giving(even, measured_a))
        return self._set_a

    def _ramp(self, now_s: float, allowed_a: float, most_a: float) -> None:
        """The gun's current falls at once and rises 25 A/s, in pieces; a new wish starts with a piece at once.

        `most_a`: it does not rise above this, but what it has it keeps.
        """
        if allowed_a <= self._total_a:
            self._total_a = allowed_a
        else:
            elapsed_s = now_s - self._raised_at_s
            fresh = abs(allowed_a - self._wanted_a) > 1.0
            if elapsed_s >= RAMP_PIECE_S or fresh:
                rise_a = self._ramp_up_a_per_s * min(elapsed_s, RAMP_PIECE_S)
                self._total_a = min(allowed_a, max(self._total_a, min(self._total_a + rise_a, most_a)))
                self._raised_at_s = now_s
        self._wanted_a = allowed_a

    def _fall(self) -> None:
        total_a = sum(self._set_a.values())
        if total_a > self._total_a:
            scale = self._total_a / total_a
            self._set_a = {m: a * scale for m, a in self._set_a.items()}

    def _take_free(self, even: Mapping[int, float]) -> None:
        """What is free goes to those below their even share."""
        free_a = self._total_a - sum(self._set_a.values())
        short = {m: even[m] - a for m, a in self._set_a.items() if even[m] > a}
        short_a = sum(short.values())
        if free_a <= 0.0 or short_a <= 0.0:
            return
        part = min(1.0, free_a / short_a)
        for m, a in short.items():
            self._set_a[m] += a * part

    def _hand_over(self, now_s: float, even: Mapping[int, float], measured_a: Mapping[int, float]) -> None:
        """Even out in small steps; a step waits until the modules that gain are measured to give what they have."""
        over = {m: a - even[m] for m, a in self._set_a.items() if a - even[m] > EVEN_WITHIN_A}
        under = {m: even[m] - a for m, a in self._set_a.items() if even[m] - a > 0.0}
        if not over or not under or now_s - self._handed_at_s < RAMP_PIECE_S:
            return
        if not self._giving(even, measured_a):
            return
        over_a, under_a = sum(over.values()), sum(under.values())
        step_a = min(over_a, under_a, max(HAND_OVER_MIN_A, self._total_a * HAND_OVER_SHARE))
        for m, a in over.items():
            self._set_a[m] -= step_a * a / over_a
        for m, a in under.items():
            self._set_a[m] += step_a * a / under_a
        self._handed_at_s = now_s

    def _giving(self, even: Mapping[int, float], measured_a: Mapping[int, float]) -> bool:
        """Those below their even share are measured to give what they have."""
        below = (m for m, a in self._set_a.items() if even[m] > a)
        return all(measured_a.get(m, 0.0) >= self._set_a[m] - GIVING_WITHIN_A for m in below)
