"""Job: a decision core's memory as plain words, so that a replay may begin in the middle of a run.

Thread: any (pure). Lock: none. Units: kW, ms since the start of the record. The words are JSON: numbers come back bit
by bit. Who reads them may meet a damaged line: KeyError, TypeError and ValueError mean that they are none of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from planning.reasons import Reason, ReasonCode
from planning.request import Allocation, Assignment, GunResult, Holding
from planning.transition import Seat, Stage

Words = dict[str, Any]


def allocation_words(allocation: Allocation) -> Words:
    given = allocation.assignment
    return {
        "held": [[h.module, h.gun, h.since_ms, h.moved, h.excess_since_ms] for h in given.holdings],
        "order": list(given.order),
        "falling": [list(pair) for pair in given.falling],
        "due": allocation.next_due_ms,
        "guns": [
            [
                g.gun, list(g.modules), g.allocated_kw, g.share_kw, g.need, g.missing, g.reason.code.name,
                g.reason.sentence,
            ]
            for g in allocation.guns
        ],
    }  # fmt: skip


def allocation_of(words: Words) -> Allocation:
    assignment = Assignment(
        tuple(Holding(*held) for held in words["held"]),
        tuple(words["order"]),
        tuple((int(gun), int(since_ms)) for gun, since_ms in words["falling"]),
    )
    return Allocation(assignment, tuple(_result(*gun) for gun in words["guns"]), words["due"])


def _result(
    gun: int, modules: Sequence[int], allocated_kw: float, share_kw: float | None, need: int, missing: int,
    code: str, sentence: str,
) -> GunResult:  # fmt: skip
    return GunResult(gun, tuple(modules), allocated_kw, share_kw, need, missing, Reason(ReasonCode[code], sentence))


def seat_words(seat: Seat) -> list[Any]:
    return [
        seat.stage.name, seat.gun, seat.last_gun, seat.parted_ms, seat.since_ms, seat.failed_closes, seat.not_before_ms,
    ]  # fmt: skip


def put_seat(seat: Seat, words: Sequence[Any]) -> None:
    stage, seat.gun, seat.last_gun, seat.parted_ms, seat.since_ms, seat.failed_closes, seat.not_before_ms = words
    seat.stage = Stage[stage]
