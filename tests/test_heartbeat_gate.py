"""Job: each check of the gate alone ends the heartbeat, at once or through the safe door.

Thread: the test's. Lock: none. Units: s.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from planning.heartbeat_gate import Check, GateView, HeartbeatGate

GOOD = GateView(armed=True, paused_s=0.05, unwatched_s=0.1, image_verified=True, in_door_s=None)


def test_while_all_checks_hold_every_step_has_its_edge() -> None:
    gate = HeartbeatGate()
    assert all(gate.step(now_s, GOOD) for now_s in (1.0, 1.05, 1.1))
    assert (gate.failed, gate.passed_at_s) == (None, 1.1)


@pytest.mark.parametrize(
    ("spoiled", "check"),
    [({"paused_s": 0.31}, Check.ON_TIME), ({"image_verified": False}, Check.IMAGE)],
    ids=["late loop", "image not proven"],
)
def test_a_late_loop_and_an_unproven_image_end_the_edges_at_once_and_for_good(
    spoiled: dict[str, Any], check: Check
) -> None:
    gate = HeartbeatGate()
    gate.step(1.0, GOOD)
    assert not gate.step(1.1, replace(GOOD, **spoiled))
    assert gate.failed is check
    assert not gate.step(1.2, GOOD), "only a new start opens the gate again"
    assert gate.passed_at_s == 1.0, "systemd's watchdog is not fed any more"


def test_a_supervisor_that_stands_still_opens_the_door_but_lets_the_coils_open_in_order() -> None:
    gate = HeartbeatGate()
    assert gate.step(1.0, replace(GOOD, unwatched_s=2.1))
    assert gate.failed is Check.WATCHED
    assert gate.passed_at_s == float("-inf")


def test_the_edges_end_a_second_and_a_half_after_the_door_was_opened() -> None:
    gate = HeartbeatGate()
    assert gate.step(1.0, replace(GOOD, in_door_s=0.0))
    assert gate.step(2.5, replace(GOOD, in_door_s=1.5))
    assert not gate.step(2.51, replace(GOOD, in_door_s=1.51))
    assert gate.passed_at_s == float("-inf"), "on the way out the watchdog is not fed"


def test_nothing_fails_before_the_station_is_armed() -> None:
    gate = HeartbeatGate()
    view = replace(GOOD, armed=False, paused_s=9.0, unwatched_s=9.0)
    assert gate.step(1.0, view)
    assert gate.failed is None


def test_readback_that_is_not_wired_is_no_failure() -> None:
    assert HeartbeatGate().step(1.0, replace(GOOD, image_verified=None))
