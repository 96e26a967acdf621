"""Job: what the allocation would answer next: when a gun gets one more module, what the loss of a module would cost.

Thread: any (pure). Lock: none. Units: kW outside, ms.

Both ask `allocate` itself, with the same inputs at a later moment or without one module: they cannot disagree with what
then happens. Only what the station does by itself is foreseeable, dwell times, turns, delays; not what cars will ask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from planning.allocation import allocate
from planning.request import Allocation, AllocationLimits, Assignment, GunRequest, ModuleOffer
from planning.settings import Priority

#: So many moments at which something is due are looked at, and so far ahead.
LOOK_AHEAD = 8
HORIZON_MS = 900_000
#: Less than this is no loss: kW are whole watts.
LOSS_KW = 0.001


@dataclass(frozen=True, slots=True)
class Question:
    """All that an allocation was made from."""

    guns: Sequence[GunRequest]
    modules: Sequence[ModuleOffer]
    current: Assignment
    rule: Priority
    limits: AllocationLimits
    now_ms: int

    def answer(self) -> Allocation:
        return allocate(self.guns, self.modules, self.current, self.rule, self.limits, self.now_ms)

    def later(self, answer: Allocation, at_ms: int) -> Question:
        """The same wishes at `at_ms`, from what `answer` gave."""
        holders = {holding.gun for holding in answer.assignment.holdings}
        guns = [
            replace(gun, waiting_since_ms=None if gun.gun in holders else _waiting(gun, self.now_ms))
            for gun in self.guns
        ]
        return replace(self, guns=guns, current=answer.assignment, now_ms=at_ms)

    def without(self, module: int, answer: Allocation) -> Question:
        """The same moment, and this module can give nothing any more."""
        modules = [replace(offer, available_kw=0) if offer.module == module else offer for offer in self.modules]
        return replace(self.later(answer, self.now_ms), modules=modules)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What follows from one allocation if nothing else happens."""

    question: Question
    answer: Allocation
    next_module_at_ms: Mapping[int, int]  # see next_module_ms
    losses_kw: Mapping[int, Mapping[int, float]]  # see losses_kw


def look_ahead(question: Question, answer: Allocation) -> Outlook:
    """Some ten allocations: for a thread that nobody waits for."""
    return Outlook(question, answer, next_module_ms(question, answer), losses_kw(question, answer))


def next_module_ms(question: Question, answer: Allocation) -> Mapping[int, int]:
    """Gun that lacks modules -> when it gets one more if nobody asks for anything else. Missing: not foreseeable."""
    lacking = {gun.gun: _needed(answer, gun.gun) for gun in answer.guns if gun.missing}
    found: dict[int, int] = {}
    for _ in range(LOOK_AHEAD):
        due_ms = answer.next_due_ms
        if due_ms is None or len(found) == len(lacking) or due_ms > question.now_ms + HORIZON_MS:
            break
        question = question.later(answer, due_ms)
        answer = question.answer()
        for gun, count in lacking.items():
            if gun not in found and _needed(answer, gun) > count:
                found[gun] = due_ms
    return found


def losses_kw(question: Question, answer: Allocation) -> Mapping[int, Mapping[int, float]]:
    """Module that is in use -> what each gun would lose if it failed now, once the others are shared anew."""
    return {
        holding.module: _lost(answer, question.without(holding.module, answer).answer())
        for holding in answer.assignment.holdings
        if holding.excess_since_ms is None
    }


def _lost(before: Allocation, after: Allocation) -> dict[int, float]:
    lost = {
        had.gun: round(had.allocated_kw - has.allocated_kw, 3)
        for had, has in zip(before.guns, after.guns, strict=True)
    }
    return {gun: kw for gun, kw in lost.items() if kw >= LOSS_KW}


def _needed(answer: Allocation, gun: int) -> int:
    return sum(1 for held in answer.assignment.holdings if held.gun == gun and held.excess_since_ms is None)


def _waiting(gun: GunRequest, now_ms: int) -> int | None:
    """Since when a gun without modules waits; one that wants nothing does not."""
    if not gun.asks:
        return gun.waiting_since_ms
    return now_ms if gun.waiting_since_ms is None else gun.waiting_since_ms
