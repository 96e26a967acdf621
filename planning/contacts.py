"""Job: what is believed of every contactor: the commanded image against the debounced feedback, and for how long.

Thread: the one that calls it (ContactorController: the control thread). Lock: none. Pure: no pin, no clock.
Units: s, monotonic; images are ints, bit i = contact index i.

In a feedback image 1 means "not proven open": closed, wire broken or no supply. Only a 0 proves anything.
"""

from __future__ import annotations

from collections.abc import Iterator

from planning.model import ContactState, Crosspoint, crosspoint_index

#: Station time adds up in floats; 20 ms made of two steps of 10 ms may come out a hair short.
ROUNDING_S = 1e-6


class Matrix:
    """Which contact stands at which crosspoint, and the masks of the rows (guns) and columns (modules)."""

    def __init__(self, gun_count: int, module_count: int) -> None:
        self.crosspoints = tuple(
            Crosspoint(gun, module) for gun in range(1, gun_count + 1) for module in range(1, module_count + 1)
        )
        self._index = {c: crosspoint_index(c.gun, c.module, module_count) for c in self.crosspoints}
        #: By gun and by module number; entry 0 is empty.
        self.gun_masks = [self._mask(gun=gun) for gun in range(gun_count + 1)]
        self.module_masks = [self._mask(module=module) for module in range(module_count + 1)]

    def index(self, crosspoint: Crosspoint) -> int:
        """Raises ValueError for a crosspoint that this station does not have."""
        try:
            return self._index[crosspoint]
        except KeyError:
            first, last = self.crosspoints[0], self.crosspoints[-1]
            raise ValueError(f"There is no crosspoint {crosspoint} on this station, only {first} to {last}") from None

    def listed(self, mask: int) -> tuple[Crosspoint, ...]:
        return tuple(self.crosspoints[index] for index in bits_of(mask))

    def _mask(self, gun: int | None = None, module: int | None = None) -> int:
        return sum(1 << index for c, index in self._index.items() if c.gun == gun or c.module == module)


class Contacts:
    """Commanded image, debounced feedback and the ContactState that follows for each contact.

    `states[i]` is kept up to date by `feed()` and `command()`; `unproven` is the mask of contacts that must be
    taken for closed: the debounced and the newest raw image both have to say open, and a contact whose coil was
    released on its way up must have had open_timeout_s to fall back, for a reading on the way proves nothing.
    """

    def __init__(self, count: int, debounce_s: float, close_timeout_s: float, open_timeout_s: float) -> None:
        self.mask = (1 << count) - 1
        self.image = 0  # commanded: 1 = coil on
        self.closed = self.mask  # debounced feedback
        self.valid = False
        self.read_at_s = float("-inf")  # last image whose test bits were right
        self.states = [ContactState.UNKNOWN] * count
        self._debounce_s = debounce_s
        self._close_timeout_s = close_timeout_s
        self._open_timeout_s = open_timeout_s
        self._latched_at_s = [float("-inf")] * count
        self._confirmed = 0  # feedback has agreed with the present command since its latch edge
        self._raw = self.mask
        self._falling_back = 0  # released while they read open: they may still touch
        self._moving = 0  # the states that time alone can change
        self._valid_since_s: float | None = None
        self._differs_since_s: dict[int, float] = {}  # contacts whose raw feedback differs from the debounced

    @property
    def unproven(self) -> int:
        return self.closed | self._raw | self._falling_back

    @property
    def unsettled(self) -> bool:
        """True while a contact moves, bounces, or the image is not valid: read again soon."""
        return bool(self._moving or self._differs_since_s) or not self.valid

    def command(self, image: int, now_s: float) -> None:
        """`image` was latched at `now_s`; the time limits of the bits that changed count from here."""
        changed = self.image ^ image
        self._falling_back = (self._falling_back | self.image & ~self.closed) & ~image
        self.image = image
        self._confirmed &= ~changed
        for index in bits_of(changed):
            self._latched_at_s[index] = now_s
        self._judge(changed, now_s)

    def restart_limits(self, now_s: float) -> None:
        """Count every contact's limit from `now_s`: the first zero image was latched."""
        self._latched_at_s = [now_s] * len(self._latched_at_s)
        self._confirmed = 0

    def feed(self, raw: int | None, now_s: float) -> None:
        """A feedback image was read; None: its test bits were wrong, so nothing in it proves anything."""
        if raw is None:
            self._invalidate()
            return
        self.read_at_s = now_s
        if raw == self.closed and self.valid and not self._moving and not self._differs_since_s:
            return
        self._raw = raw
        changed = self._debounce(raw, now_s)
        if not self.valid and self._settled_again(now_s):
            changed = self.mask
        if self.valid:
            self._judge(changed | self._moving, now_s)

    def _invalidate(self) -> None:
        self._valid_since_s = None
        if self.valid or self.closed != self.mask:
            self.valid = False
            self.closed = self._raw = self.mask
            self.states = [ContactState.UNKNOWN] * len(self.states)
            self._moving = 0
        self._differs_since_s.clear()

    def _settled_again(self, now_s: float) -> bool:
        """Right test bits must last as long as a contact must, before the image counts."""
        if self._valid_since_s is None:
            self._valid_since_s = now_s
        self.valid = now_s - self._valid_since_s >= self._debounce_s - ROUNDING_S
        return self.valid

    def _debounce(self, raw: int, now_s: float) -> int:
        """Take over each bit that has differed for debounce_s; the mask of those taken over."""
        differs = raw ^ self.closed
        since_s = self._differs_since_s
        if not differs and not since_s:
            return 0
        for index in [index for index in since_s if not differs >> index & 1]:
            del since_s[index]
        taken = 0
        for index in bits_of(differs):
            if now_s - since_s.setdefault(index, now_s) >= self._debounce_s - ROUNDING_S:
                del since_s[index]
                taken |= 1 << index
        self.closed ^= taken
        return taken

    def _judge(self, which: int, now_s: float) -> None:
        if not self.valid:
            return
        self._end_falls(now_s)
        self._confirmed |= ~(self.image ^ self.closed) & which & ~self._falling_back
        for index in bits_of(which):
            bit = 1 << index
            state = self.states[index] = self._state(index, bit, now_s)
            if state is ContactState.CLOSING or state is ContactState.OPENING:
                self._moving |= bit
            else:
                self._moving &= ~bit

    def _end_falls(self, now_s: float) -> None:
        """Once it was seen closed, its opening will be a proof; otherwise open_timeout_s must have passed."""
        for index in bits_of(self._falling_back):
            if self.closed >> index & 1 or now_s - self._latched_at_s[index] + ROUNDING_S >= self._open_timeout_s:
                self._falling_back &= ~(1 << index)

    def _state(self, index: int, bit: int, now_s: float) -> ContactState:
        age_s = now_s - self._latched_at_s[index] + ROUNDING_S
        if self.image & bit:
            if self.closed & bit:
                return ContactState.CLOSED
            if self._confirmed & bit:
                return ContactState.DROPPED
            return ContactState.CLOSING if age_s < self._close_timeout_s else ContactState.CLOSE_FAILED
        if not self.closed & bit:
            return ContactState.OPENING if self._falling_back & bit else ContactState.OPEN
        if self._confirmed & bit:
            return ContactState.INTRUDER
        return ContactState.OPENING if age_s < self._open_timeout_s else ContactState.OPEN_FAILED


def bits_of(mask: int) -> Iterator[int]:
    """The indices of the set bits, lowest first."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
