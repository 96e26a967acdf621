"""Job: who comes to charge, when, at which gun: a seeded timetable.

Thread: any (pure). Lock: none. Units: s since the start of the simulation, %, kW. One seed, one timetable.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from simulator.vehicle import Car, CarModel, car_models

FIRST_ARRIVAL_S = 2.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """One car on its way; the gun is chosen when it comes (the first free one of `guns_tried`)."""

    at_s: float
    model: CarModel
    soc_pct: float
    target_soc_pct: float
    guns_tried: tuple[int, ...]

    def car(self) -> Car:
        """The car, as it arrives."""
        return Car(self.model, self.soc_pct, self.target_soc_pct)


def timetable(seed: int, cars: int, mean_gap_s: float = 60.0, guns: int = 6) -> list[Arrival]:
    """The next `cars` arrivals, with exponentially distributed gaps (Poisson traffic)."""
    rng = random.Random(seed)
    models = car_models()
    at_s = FIRST_ARRIVAL_S
    arrivals = []
    for _ in range(cars):
        wishes = list(range(1, guns + 1))
        rng.shuffle(wishes)
        arrivals.append(
            Arrival(
                at_s=round(at_s, 3),
                model=rng.choice(models),
                soc_pct=round(rng.uniform(5.0, 60.0), 1),
                target_soc_pct=rng.choice((80.0, 80.0, 90.0, 100.0)),
                guns_tried=tuple(wishes),
            )
        )
        at_s += rng.expovariate(1.0 / mean_gap_s)
    return arrivals
