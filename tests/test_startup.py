"""Job: the safe start, phase by phase: nothing is enabled before everything is proven off.

Thread: the test's. Lock: none. Units: s.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from planning.startup import LINK_PATIENCE_S, TABLE, SafeStart, StartAction, StartPhase, StartView

GOOD = StartView(link_up=True, feedback_valid=True, modules_proven_off=True, start_hear_s=3.0)


def walk(views: StartView, until_s: float, step_s: float = 0.01) -> list[tuple[float, StartAction]]:
    """(when, what) of everything that is to be done."""
    start, done = SafeStart(), []
    for index in range(round(until_s / step_s) + 1):
        now_s = index * step_s
        action = start.step(100.0 + now_s, views)
        if action is not StartAction.NOTHING:
            done.append((round(now_s, 2), action))
    return done


def test_the_good_start_in_its_order_and_times() -> None:
    done = walk(GOOD, 5.0)
    assert [action for _, action in done] == [
        StartAction.OFF_ALL, StartAction.LATCH_ZEROS, StartAction.OFF_ALL, StartAction.ENABLE_OUTPUTS, StartAction.ARM,
    ]  # fmt: skip
    off_s, zeros_s, again_s, enabled_s, armed_s = (at_s for at_s, _ in done)
    assert zeros_s - off_s >= 0.06
    assert again_s - zeros_s >= 0.3
    assert enabled_s >= again_s
    assert armed_s - enabled_s >= 0.1
    assert armed_s < 1.0


def test_without_a_link_the_coils_are_seen_to_but_nothing_is_enabled() -> None:
    done = walk(replace(GOOD, link_up=False), 120.0, 0.1)
    assert [action for _, action in done] == [StartAction.OFF_ALL, StartAction.LATCH_ZEROS, StartAction.OFF_ALL]
    assert done[0][0] == LINK_PATIENCE_S


def test_invalid_feedback_holds_the_start() -> None:
    done = walk(replace(GOOD, feedback_valid=False), 120.0, 0.1)
    assert [action for _, action in done] == [StartAction.OFF_ALL, StartAction.LATCH_ZEROS]


def test_a_silent_module_is_waited_for_three_seconds() -> None:
    done = dict(reversed(item) for item in walk(replace(GOOD, modules_proven_off=False), 10.0))
    assert 3.0 <= done[StartAction.ENABLE_OUTPUTS] <= 3.1


def test_the_time_to_hear_begins_when_the_link_comes() -> None:
    start = SafeStart()
    for tenth in range(300):
        start.step(tenth / 10, replace(GOOD, link_up=False, modules_proven_off=False))
    assert start.phase is StartPhase.HEAR
    for tenth in range(300, 329):
        start.step(tenth / 10, replace(GOOD, modules_proven_off=False))
    assert start.phase is StartPhase.HEAR
    start.step(33.1, replace(GOOD, modules_proven_off=False))
    assert start.phase is StartPhase.ENABLED


def test_feedback_that_fails_with_the_outputs_enabled_does_not_arm() -> None:
    start = SafeStart()
    now_s = 0.0
    while start.phase is not StartPhase.ENABLED:
        now_s += 0.05
        start.step(now_s, GOOD)
    for _ in range(100):
        now_s += 0.05
        assert start.step(now_s, replace(GOOD, feedback_valid=False)) is StartAction.NOTHING
    assert not start.armed


@pytest.mark.parametrize("phase", StartPhase)
def test_every_phase_but_the_last_leads_on(phase: StartPhase) -> None:
    assert (phase in TABLE) is (phase is not StartPhase.ARMED)
    assert SafeStart().step(0.0, replace(GOOD, link_up=False)) is StartAction.NOTHING
