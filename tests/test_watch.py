"""Job: what concerns the whole station: what stops it, what holds it stopped, and what a reset needs first.

Thread: the test's. Lock: none. Units: s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from planning.faults import FaultBook, FaultCode
from planning.model import CanStatus, Crosspoint, ModuleState, ModuleStatus
from planning.reasons import ReasonCode
from planning.watch import FEEDBACK_PATIENCE_S, SENDING_PATIENCE_S, Watch

OFF = ModuleStatus(1, ModuleState.OFF, on=False, on_asked_at_s=9.0, last_on_at_s=1.0)
ON = ModuleStatus(1, ModuleState.ON, on=True)
SILENT = ModuleStatus(1, ModuleState.SILENT, on=False)
LINK = CanStatus(up=True)
NOT_OPEN = [Crosspoint(1, module) for module in range(1, 5)]


@dataclass
class Contactors:
    """The three things that are looked at."""

    emergency_stop_healthy: bool = True
    feedback_valid: bool = True
    all_proven_open: bool = True


class Bench:
    def __init__(self) -> None:
        self.book = FaultBook()
        self.watch = Watch(self.book)
        self.watch.armed()
        self.contactors: Any = Contactors()

    def step(self, now_s: float, module: ModuleStatus = OFF, can: CanStatus = LINK) -> bool:
        return self.watch.step(now_s, can, self.contactors, [module], {1}, True)

    def in_the_way(self, module: ModuleStatus = OFF) -> list[str]:
        return self.watch.in_the_way_of_reset(self.contactors, [module], NOT_OPEN)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_pressed_button_stops_all_once_and_holds_after_its_release(bench: Bench) -> None:
    bench.contactors.emergency_stop_healthy = False
    assert bench.step(10.0)
    assert not bench.step(10.1), "OFF is told once, the orders keep everything off"
    bench.contactors.emergency_stop_healthy = True
    bench.step(11.0)
    assert bench.watch.block is ReasonCode.EMERGENCY_STOP
    assert bench.watch.emergency


@pytest.mark.parametrize(
    ("contactors", "module", "words"),
    [
        (Contactors(emergency_stop_healthy=False), OFF, ["the emergency stop is still pressed"]),
        (Contactors(all_proven_open=False), OFF, ["not proven open: contactor g1m1, g1m2, g1m3 and 1 more"]),
        (Contactors(), ON, ["not proven off: module 1"]),
        (Contactors(), SILENT, ["not proven off: module 1"]),
        (Contactors(), OFF, []),
    ],
)
def test_what_a_reset_of_the_emergency_stop_needs(
    bench: Bench, contactors: Contactors, module: ModuleStatus, words: list[str]
) -> None:
    bench.contactors.emergency_stop_healthy = False
    bench.step(10.0)
    bench.contactors = contactors
    assert bench.in_the_way(module) == words


def test_while_nothing_is_blocked_a_reset_needs_nothing(bench: Bench) -> None:
    bench.contactors.all_proven_open = False
    assert bench.in_the_way(ON) == []


def test_before_it_is_armed_nothing_is_reset() -> None:
    assert Watch(FaultBook()).in_the_way_of_reset(Contactors(), [OFF], []) == ["the station is still starting"]  # type: ignore[arg-type]


def test_feedback_may_blink_for_half_a_second(bench: Bench) -> None:
    bench.contactors.feedback_valid = False
    assert not bench.step(10.0)
    assert not bench.step(10.0 + FEEDBACK_PATIENCE_S - 0.01)
    assert not bench.watch.emergency
    assert bench.step(10.0 + FEEDBACK_PATIENCE_S)
    assert bench.watch.emergency
    bench.contactors.feedback_valid = True
    bench.step(12.0)
    assert not bench.watch.emergency


def test_all_modules_silent_is_a_can_fault_since_then(bench: Bench) -> None:
    bench.step(10.0, SILENT)
    bench.step(12.0, SILENT)
    assert bench.watch.can_fault_since_s == 10.0
    assert bench.book.stands(FaultCode.CAN_FAULT, "station")
    bench.step(13.0)
    assert bench.watch.can_fault_since_s is None
    assert bench.book.active == ()


def test_a_second_controller_latches(bench: Bench) -> None:
    assert bench.step(10.0, can=CanStatus(up=True, second_controller=True))
    bench.step(11.0)
    assert bench.watch.emergency


def test_lost_frames_are_alarmed_until_none_is_lost_for_a_while(bench: Bench) -> None:
    bench.step(10.0, can=CanStatus(up=True, send_failures=2))
    assert bench.book.stands(FaultCode.CAN_SEND_FAILED, "station")
    bench.step(10.0 + SENDING_PATIENCE_S, can=CanStatus(up=True, send_failures=2))
    assert bench.book.active == ()
