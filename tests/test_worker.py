"""Job: a thread of ours runs when it is woken, rests when it is woken too often, and not when it is urgent.

Thread: the test's runs the worker's loop too, up to the last wait. Lock: none. Units: s.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from simulator.virtual import VirtualStation, settings_at
from worker import CROWD, Worker


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
