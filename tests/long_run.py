"""Job: run the whole station for hours of station time and note what the long tests ask for.

Thread: the test's. Lock: none. Units: s, kW, %.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from planning.model import VehicleStatus
from simulator.arrivals import timetable
from simulator.virtual import Level, VirtualStation, settings_at

#: a car that has a module and asks for power gets it within this time
POWER_WITHIN_S = 90.0
LOOK_S = 1.0
MIN_POWER_W = 100.0


@dataclass(slots=True)
class Run:
    """What came out of a run."""

    station: VirtualStation
    #: seconds of the processor, which other work on the machine does not lengthen
    cpu_s: float = 0.0
    #: (gun, modules) each time the allocation of a gun changed
    allocations: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    #: (gun, waited s) of every wait for power with a module at hand that was too long
    late_power: list[tuple[int, float]] = field(default_factory=list)
    longest_wait_s: float = 0.0
    load_1s_pct: float = 0.0
    load_10s_pct: float = 0.0

    @property
    def events(self) -> str:
        """Everything that happened in the plant, as text."""
        return "\n".join(self.station.plant.events)


def run(level: Level, folder: Path, hours: float, cars: int, seed: int = 1) -> Run:
    """Let `cars` cars come within `hours`."""
    arrivals = timetable(seed, cars, mean_gap_s=hours * 3600.0 / cars)
    station = VirtualStation(settings_at(folder), level=level, seed=seed, arrivals=arrivals)
    result = Run(station)
    waits = _Waits(result)
    told: dict[int, tuple[int, ...]] = {}
    start_s = time.process_time()
    now_s = 0.0
    while now_s < hours * 3600.0:
        now_s += LOOK_S
        station.run_to(now_s)
        decision = station.core.demand.decision
        if decision is not None:
            for each in decision.allocation.guns:
                if told.get(each.gun, ()) != each.modules:
                    told[each.gun] = each.modules
                    result.allocations.append((each.gun, each.modules))
            waits.look(now_s, told)
        if level is Level.WIRE:
            can = station.modules.can_status()
            result.load_1s_pct = max(result.load_1s_pct, can.load_1s_pct)
            result.load_10s_pct = max(result.load_10s_pct, can.load_10s_pct)
    result.cpu_s = time.process_time() - start_s
    return result


class _Waits:
    """How long each gun has had a module and a car that asks, but no power."""

    def __init__(self, result: Run) -> None:
        self._result = result
        self._since_s: dict[int, float] = {}

    def look(self, now_s: float, modules: dict[int, tuple[int, ...]]) -> None:
        station = self._result.station
        for gun, given in modules.items():
            values = station.core.guns[gun].snapshot().values
            asks = values.status is VehicleStatus.CHARGING and bool(values.demand_kw)
            if not given or not asks or station.plant.guns[gun - 1].power_w > MIN_POWER_W:
                self._end(gun, now_s)
                continue
            self._since_s.setdefault(gun, now_s)

    def _end(self, gun: int, now_s: float) -> None:
        waited_s = now_s - self._since_s.pop(gun, now_s)
        self._result.longest_wait_s = max(self._result.longest_wait_s, waited_s)
        if waited_s > POWER_WITHIN_S:
            self._result.late_power.append((gun, waited_s))
