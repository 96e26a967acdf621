"""Job: a thread of ours runs when it is woken, rests when it is woken too often, and not when it is urgent.

Thread: the test's runs the worker's loop too, up to the last wait. Lock: none. Units: s.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from simulator.virtual import VirtualStation, settings_at
from worker import CROWD, SystemClock, Worker


class ScriptedClock:
    """Each wait does the next thing of its script, and time moves only as the script says."""

    def __init__(self, *script: Callable[[], object]) -> None:
        self.time_s = 0.0
        self.waits_s: list[float] = []
        self._script = list(script)

    def now_s(self) -> float:
        return self.time_s

    def wall_s(self) -> float:
        return self.time_s

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        self.waits_s.append(timeout_s)
        self._script.pop(0)()
        return event.is_set()


def run(rest_share: float, *script: Callable[[Worker], object]) -> list[float]:
    """A worker whose step takes 2 ms and may wait 50 ms; what it waited, in the sequence of the script."""
    clock = ScriptedClock(*[lambda do=do: do(worker) for do in script], lambda: worker.stop())

    def step(now_s: float) -> float:
        clock.time_s = now_s + 0.002
        return 0.05

    worker = Worker("test", step, clock, rest_share=rest_share)
    worker._run()
    return [round(wait_s, 6) for wait_s in clock.waits_s]


def gently(worker: Worker) -> None:
    worker.wake(urgent=False)


def at_once(worker: Worker) -> None:
    worker.wake()


def nothing(_: Worker) -> None:
    pass


def test_without_a_wake_it_waits_for_its_time_and_rests_no_more() -> None:
    assert run(8.0, nothing, nothing) == [0.05, 0.05, 0.05]


def test_woken_gently_it_rests_in_proportion_to_its_step() -> None:
    assert run(8.0, gently, nothing) == [0.05, 0.016, 0.05]
    assert run(100.0, gently, nothing) == [0.05, 0.05, 0.05], "never beyond its own time"
    assert run(0.0, gently) == [0.05, 0.05]


def test_in_a_flood_it_keeps_to_its_own_time() -> None:
    def flood(worker: Worker) -> None:
        for _ in range(CROWD + 1):
            gently(worker)

    assert run(8.0, flood, nothing, gently, nothing) == [0.05, 0.05, 0.05, 0.016, 0.05], "and is over it at once"


def test_an_urgent_wake_ends_the_rest_or_lets_none_begin() -> None:
    ended: list[bool] = []
    run(8.0, gently, lambda worker: (at_once(worker), ended.append(worker._rest_over.is_set())))
    assert ended == [True], "the rest waits for just this"
    assert run(8.0, at_once, nothing) == [0.05, 0.05, 0.05]


class Wakes:
    """Stands for the control thread and notes how it is woken."""

    def __init__(self) -> None:
        self.urgent: list[bool] = []

    def wake(self, urgent: bool = True) -> None:
        self.urgent.append(urgent)


@pytest.mark.parametrize("status", ["fault", "available"])
def test_a_new_status_is_urgent_and_a_new_value_is_not(tmp_path: Path, status: str) -> None:
    """A fault, and a car that is gone while current flows, are emergency orders."""
    station, wakes = VirtualStation(settings_at(tmp_path)), Wakes()
    station.core.demand._worker = wakes  # type: ignore[assignment]
    station.publish("vesec/1/vehicle_status/D1", "charging")
    wakes.urgent.clear()
    station.publish("vesec/1/demand/D1", "75")
    station.publish("vesec/1/vehicle_status/D1", status)
    station.publish("vesec/1/demand/D1", "50")
    station.core.demand.reset()
    assert wakes.urgent == [False, True, False, True]


# --- a simulated time -------------------------------------------------------------------------------------------------


def test_a_time_that_is_held_stands_still_and_then_goes_on_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    wall_s = [1000.0]
    monkeypatch.setattr("worker.time.monotonic", lambda: wall_s[0])
    clock = SystemClock(speed=4.0)

    def at(clock_on_the_wall_s: float) -> float:
        wall_s[0] = clock_on_the_wall_s
        return clock.now_s()

    clock.hold(1000.5)
    assert [at(1000.1), at(1000.2), at(1003.0)] == pytest.approx([1000.4, 1000.5, 1000.5])
    clock.hold(1001.0)
    assert [at(1003.0), at(1003.1), at(1003.2)] == pytest.approx([1000.5, 1000.9, 1001.0]), "nothing is made up for"


def test_the_time_on_the_wall_cannot_be_held() -> None:
    clock = SystemClock()
    clock.hold(0.0)
    assert clock.now_s() > 0.0
