"""Job: the 54 contactors as mechanics: travel, main poles, mirror contacts, and what can break in them.

Thread: that of the plant (no lock). Units: s monotonic. Contact index i = (gun-1)*9 + (module-1). A mirror contact
cannot be closed while a main pole is: going up it opens before the poles meet, going down it closes after they
parted.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from enum import Enum
from heapq import heappop, heappush

GUNS, MODULES = 6, 9
CONTACTS = GUNS * MODULES
#: The two test inputs of the feedback chain: input 54 is wired 1, input 55 is wired 0.
TEST_BIT = 1 << CONTACTS
#: Travel of HFE82-type contactors, each its own (data sheets say at most 30 ms up, 10 to 30 ms down).
TRAVEL_S = (0.008, 0.030)
#: How long the mirror contact is ahead of the closing poles, and behind the opening ones.
MIRROR_S = 0.002


class ContactFault(Enum):
    WELDED = "welded"  # once closed, it stays closed
    STUCK_OPEN = "stuck_open"  # the coil pulls, nothing moves
    READS_OPEN = "reads_open"  # feedback line shorted: always 0
    READS_CLOSED = "reads_closed"  # feedback wire broken: always 1 (pulled up)


class _Part(Enum):
    MIRROR = 0
    POLES = 1


def _crossed(image: int, pairs: list[tuple[int, int]]) -> int:
    for first, second in pairs:
        if (image >> first ^ image >> second) & 1:
            image ^= 1 << first | 1 << second
    return image


class Contacts:
    """Coil image in, feedback image out, and in between metal that takes its time.

    `on_poles(index, closed, at_s)` is called when main poles meet or part.
    """

    def __init__(self, rng: random.Random, on_poles: Callable[[int, bool, float], None]) -> None:
        self.closed = [False] * CONTACTS  # main poles
        self.travels = [(rng.uniform(*TRAVEL_S), rng.uniform(*TRAVEL_S)) for _ in range(CONTACTS)]
        self.faults: dict[int, ContactFault] = {}
        self._on_poles = on_poles
        self._coils = 0
        self._off_mirror = 0  # bit set: the mirror contact is open
        self._read_one = self._read_zero = 0
        #: pairs of contacts whose coil wires, or whose feedback wires, were crossed when the cabinet was built
        self.crossed_coils: list[tuple[int, int]] = []
        self.crossed_feedback: list[tuple[int, int]] = []
        self._orders = [0] * CONTACTS  # a new order for a contact makes its older moves void
        self._moves: list[tuple[float, int, int, _Part, bool]] = []
        self.next_due_s = float("inf")

    def drive(self, image: int, now_s: float) -> None:
        """Energise exactly the coils whose bits are set."""
        image = _crossed(image, self.crossed_coils)
        changed = (image ^ self._coils) & (TEST_BIT - 1)
        self._coils = image
        while changed:
            index = (changed & -changed).bit_length() - 1
            changed &= changed - 1
            self._order(index, bool(image >> index & 1), now_s)

    def feedback(self) -> int:
        """Inputs of the feedback chain: 0 = proven open, 1 = closed or not proven."""
        image = (self._off_mirror | self._read_one) & ~self._read_zero
        return _crossed(image, self.crossed_feedback) | TEST_BIT

    def settle(self, now_s: float) -> None:
        """Let everything arrive that is due by `now_s`."""
        while self._moves and self._moves[0][0] <= now_s:
            at_s, order, index, part, closed = heappop(self._moves)
            if order == self._orders[index]:
                self._arrive(index, part, closed, at_s)
        self.next_due_s = self._moves[0][0] if self._moves else float("inf")

    def break_contact(self, index: int, fault: ContactFault, now_s: float) -> None:
        """Put a fault into one contactor; WELDED and STUCK_OPEN act from its next move on."""
        self.faults[index] = fault
        self._note_wiring()
        if fault is ContactFault.STUCK_OPEN and self.closed[index]:
            self._order(index, False, now_s)

    def slam(self, index: int, now_s: float) -> None:
        """Close a contactor that nobody commanded, and weld it."""
        self.faults.pop(index, None)
        self._order(index, True, now_s)
        self.faults[index] = ContactFault.WELDED
        self._note_wiring()  # it takes the place of a fault of the feedback line

    def repair(self, index: int, now_s: float) -> None:
        """Take the fault away; the contactor follows its coil again."""
        self.faults.pop(index, None)
        self._note_wiring()
        self._order(index, bool(self._coils >> index & 1), now_s)

    def _note_wiring(self) -> None:
        self._read_one = self._read_zero = 0
        for index, fault in self.faults.items():
            self._read_one |= (fault is ContactFault.READS_CLOSED) << index
            self._read_zero |= (fault is ContactFault.READS_OPEN) << index

    def _order(self, index: int, closed: bool, now_s: float) -> None:
        self._orders[index] += 1
        fault = self.faults.get(index)
        if (closed and fault is ContactFault.STUCK_OPEN) or (not closed and self._holds(index, fault)):
            return
        up_s, down_s = self.travels[index]
        if closed:
            self._plan(now_s + up_s - MIRROR_S, index, _Part.MIRROR, True)
            self._plan(now_s + up_s, index, _Part.POLES, True)
        else:
            self._plan(now_s + down_s, index, _Part.POLES, False)
            self._plan(now_s + down_s + MIRROR_S, index, _Part.MIRROR, False)

    def _holds(self, index: int, fault: ContactFault | None) -> bool:
        return fault is ContactFault.WELDED and self.closed[index]

    def _plan(self, at_s: float, index: int, part: _Part, closed: bool) -> None:
        heappush(self._moves, (at_s, self._orders[index], index, part, closed))
        self.next_due_s = self._moves[0][0]

    def _arrive(self, index: int, part: _Part, closed: bool, at_s: float) -> None:
        if part is _Part.MIRROR:
            self._off_mirror = self._off_mirror & ~(1 << index) | closed << index
        elif self.closed[index] != closed:
            self.closed[index] = closed
            self._on_poles(index, closed, at_s)
