"""Job: the safe door: OFF once, contactors open unloaded or at one second, done within three.

Thread: the test's. Lock: none. Units: s, A.
"""

from __future__ import annotations

from planning.model import Crosspoint, ModuleState, ModuleStatus
from planning.safe_door import SafeDoor
from planning.settings import Safety

NOW = 500.0
LOADED = ModuleStatus(1, ModuleState.ON, on=True, current_a=80.0, current_asked_at_s=NOW - 0.1)
UNLOADED = ModuleStatus(
    2, ModuleState.OFF, on=False, off_echo_at_s=NOW + 0.05, current_a=0.2, current_asked_at_s=NOW + 0.1
)
BOTH = [LOADED, UNLOADED]
X1, X2 = Crosspoint(1, 1), Crosspoint(1, 2)


def test_off_is_told_once() -> None:
    door = SafeDoor(Safety(), NOW)
    told = [door.step(NOW + tenth / 10, BOTH, [X1, X2], False).off_all for tenth in range(10)]
    assert told == [True] + [False] * 9


def test_what_is_unloaded_opens_first_the_rest_at_a_second() -> None:
    door = SafeDoor(Safety(), NOW)
    assert door.step(NOW + 0.2, BOTH, [X1, X2], False).open == (X2,)
    assert door.step(NOW + 0.99, BOTH, [X1], False).open == ()
    assert door.step(NOW + 1.0, BOTH, [X1], False).open == (X1,)


def test_it_is_done_when_all_is_proven_open_and_no_coil_is_on() -> None:
    door = SafeDoor(Safety(), NOW)
    assert not door.step(NOW + 0.5, BOTH, [], False).done
    assert not door.step(NOW + 0.5, BOTH, [X1], True).done
    assert door.step(NOW + 0.5, BOTH, [], True).done


def test_it_is_done_in_time_whatever_is_proven() -> None:
    door = SafeDoor(Safety(), NOW)
    assert not door.step(NOW + 2.6, BOTH, [], False).done
    assert door.step(NOW + 2.71, BOTH, [], False).done
