"""Job: the process is killed, or the emergency stop pressed, at any moment of a busy forecourt: off first, then served.

Thread: the test's. Lock: none. Units: s of station time, W. The moments come from a printed seed; the ten invariants
are looked at in every step of the control.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from invariants import Invariants

from planning.decision import replay
from simulator.arrivals import timetable
from simulator.virtual import VirtualStation, settings_at

MEAN_GAP_S = 20.0
POWER_W = 1_000.0
#: start, discharge of the terminals (10 s), devices that repeat every 10 s, search of the voltage
SERVED_WITHIN_S = 60.0
OPEN_WITHIN_S = 0.4
OFF_COMMAND = 4
DEAD_S = (0.05, 0.3, 0.8, 3.0)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class BusyForecourt:
    """Cars come and go; what the control sends, latches and decides is kept by life of the process."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        cars = timetable(seed, 2_000, mean_gap_s=MEAN_GAP_S)
        self.station = VirtualStation(settings_at(folder), seed=seed, arrivals=cars)
        self.look = Invariants(self.station)
        self.lives: list[list[str]] = [[]]
        self.orders: list[tuple[int, bool]] = []  # (address, off) since the process began
        self.enabled_with: list[int] = []  # images at the moments when the outputs were enabled
        self.slowest_s = 0.0
        self._decision: object = None
        self._listen()

    def _listen(self) -> None:
        station, chain = self.station, self.station.gpio.output_chain
        assert chain is not None
        step, hear, changed = station.on_step, station.bus._on_frame, chain._on_change
        enabled = chain.enabled
        assert hear is not None

        def on_step(now_s: float) -> None:
            step(now_s)
            decision = station.core.demand.decision
            if decision is not None and decision is not self._decision:
                self._decision = decision
                self.lives[-1].append(decision.line())

        def on_frame(at_s: float, can_id: int, data: bytes, ours: bool) -> None:
            hear(at_s, can_id, data, ours)
            if ours and not data[0] & 0x0F:
                self.orders.append((can_id >> 14 & 0x7F, data[1] == OFF_COMMAND and data[7] == 1))

        def on_change() -> None:
            nonlocal enabled
            if chain.enabled and not enabled:
                self.enabled_with.append(chain.latched)
            enabled = chain.enabled
            if changed is not None:
                changed()

        station.on_step, station.bus._on_frame, chain._on_change = on_step, on_frame, on_change

    @property
    def power_w(self) -> float:
        return sum(gun.power_w for gun in self.station.plant.guns)

    def serve(self) -> None:
        """Until power flows again, whoever gets it."""
        took_s = self.station.run_until(lambda: self.power_w > POWER_W, SERVED_WITHIN_S)
        self.slowest_s = max(self.slowest_s, took_s)

    def some_moment(self) -> None:
        self.station.run_to(self.station.clock.time_s + self.rng.uniform(0.0, 20.0))

    def excuse(self, for_s: float) -> None:
        self.look.excuses.forced_until_s = self.station.clock.time_s + for_s

    # --- the two things that happen -------------------------------------------------------------------------------

    def kill(self) -> None:
        dead_s = self.rng.choice(DEAD_S)
        self.excuse(dead_s + 1.0)
        killed_at = len(self.orders)
        self.lives.append([])
        self.enabled_with.clear()
        self.station.rebuild(dead_s)
        assert len(self.orders) == killed_at, "a dead process sends nothing"
        self.orders.clear()
        closings = self.station.plant.referee.closings
        self.station.run_until(lambda: self.station.core.demand._start.armed, 10.0)
        assert self.orders[0] == (0, True), f"the first word was {self.orders[0]}"
        assert all(off for _, off in self.orders), "something else than OFF was ordered before the station was armed"
        assert self.enabled_with == [0], "outputs are enabled once, with zeros latched"
        assert not self.station.plant.closed_contacts()
        assert self.station.plant.referee.closings == closings

    def stop(self) -> None:
        station, plant = self.station, self.station.plant
        self.excuse(1.0)
        plant.press_emergency_stop(station.clock.time_s)
        station.run_to(station.clock.time_s + OPEN_WITHIN_S)
        assert self.look.all_told_off
        assert not plant.closed_contacts()
        closings = plant.referee.closings
        station.run_to(station.clock.time_s + self.rng.uniform(0.0, 3.0))
        plant.release_emergency_stop(station.clock.time_s)
        station.run_to(station.clock.time_s + self.rng.uniform(1.0, 3.0))
        assert station.core.demand._watch.block is not None, "released is not reset"
        assert plant.referee.closings == closings
        station.core.demand.reset()

    def replays(self) -> int:
        """Every life's record gives its decisions again, byte for byte; how many there were."""
        lives: list[list[str]] = [[]]
        for record in self.station.records:
            if record == "# killed":
                lives.append([])
            else:
                lives[-1].append(record)
        assert len(lives) == len(self.lives)
        for records, lines in zip(lives, self.lives, strict=True):
            assert [each.line() for each in replay(self.station.settings, records)] == lines
        return sum(map(len, self.lives))


def rage(folder: Path, seed: int, kills: int, stops: int) -> None:
    forecourt = BusyForecourt(folder, seed)
    todo = [forecourt.kill] * kills + [forecourt.stop] * stops
    forecourt.rng.shuffle(todo)
    forecourt.station.run_until(lambda: forecourt.power_w > POWER_W, 300.0)
    for each in todo:
        forecourt.some_moment()
        each()
        forecourt.serve()
    decisions = forecourt.replays()
    print(
        f"seed {seed}: {kills} kills, {stops} stops, {forecourt.look.steps} steps, {decisions} decisions replayed, "
        f"slowest service {forecourt.slowest_s:.1f} s, {dict(forecourt.look.seen)}"
    )


@pytest.mark.parametrize(
    ("seed", "kills", "stops"), [(1, 5, 4), pytest.param(2, 12, 25, marks=pytest.mark.soak)]
)
def test_killed_and_stopped_at_any_moment(tmp_path: Path, seed: int, kills: int, stops: int) -> None:
    rage(tmp_path, seed, kills, stops)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(11, 21))
def test_two_hundred_kills_and_a_thousand_stops(tmp_path: Path, seed: int) -> None:
    rage(tmp_path, seed, 20, 100)
