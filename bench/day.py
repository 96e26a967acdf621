"""Job: a day of three hundred cars on the simulated station, beside stations that reallocate in no time.

Thread: MainThread, and a process for each rule. Lock: none. Units: kW, kWh, s.

The cars have the curves of real ones and come as on a public site, most of them by day. The simulated station is the
whole control with modules, contactors and devices that take their time (virtual time, readings handed over). The ideal
one has the same rule, settings, guns and devices, but modules move and currents rise at once: what differs is what
switching costs. A second one holds nothing back either (margins, hysteresis, delays and dwell at 0): what differs
between the two is what gentleness costs. A driver leaves when he has what he wanted; who finds no gun waits for one.
"""

from __future__ import annotations

import logging
import math
import os
import random
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from itertools import repeat
from pathlib import Path

from bench.table import Table
from planning.allocation import allocate
from planning.request import NOTHING_HELD, AllocationLimits, GunRequest, ModuleOffer
from planning.settings import Priority
from simulator.arrivals import Arrival
from simulator.devices import PREPARE_S, UNPLUG_S, ChargingPoint, Session
from simulator.vehicle import Car, car_models
from simulator.virtual import Level, VirtualStation, settings_at

CARS, DAY_S, SEED = 300, 86_400.0, 1
GUNS, MODULES, MODULE_KW, GUN_KW = 6, 9, 40, 240.0
#: Cars that come in each hour of the day, in parts: an assumption, a quiet night, two peaks and a lively evening.
HOURS = (1, 1, 1, 1, 1, 2, 4, 6, 7, 6, 5, 5, 6, 6, 5, 6, 7, 8, 8, 6, 4, 3, 2, 1)
SOC_PCT, WANTED_KWH, MOST_SOC_PCT = (10.0, 50.0), (10.0, 30.0), 80.0
#: A car that asks for this much and gets less than a tenth of it stands without power.
ASKS_KW, POWER_SHARE = 1.0, 0.1
#: It gets less than this of what its modules could give: they are still on their way up.
RAMPED_SHARE = 0.8
STEP_S = 1.0
DEFAULTS = AllocationLimits()
NOTHING_HELD_BACK = AllocationLimits(
    priority_hysteresis_pct=0.0, release_delay_ms=0, step_margin_kw=0.0, move_dwell_ms=0, rotation_period_ms=0
)


def arrivals() -> list[Arrival]:
    """The day's cars; one seed, one day."""
    dice = random.Random(SEED)
    hours = dice.choices(range(24), weights=HOURS, k=CARS)
    at_s = sorted(3600.0 * (hour + dice.random()) for hour in hours)
    return [_arrival(dice, at) for at in at_s]


def _arrival(dice: random.Random, at_s: float) -> Arrival:
    model, soc_pct = dice.choice(car_models()), dice.uniform(*SOC_PCT)
    target_pct = min(MOST_SOC_PCT, soc_pct + 100.0 * dice.uniform(*WANTED_KWH) / model.battery_kwh)
    guns = tuple(dice.sample(range(1, GUNS + 1), GUNS))
    return Arrival(at_s, model, soc_pct, target_pct, guns)


# --- what happened to each car --------------------------------------------------------------------------------------


class Loss(Enum):
    """What a car that asks does not get although its modules are planned, or it is about to get its first one."""

    PRECHARGE = "waiting for the first module"
    HAND_OVER = "no current yet"
    RAMP = "on the way up"


@dataclass(slots=True)
class Visit:
    """One car on its gun."""

    arrived_s: float
    plugged_s: float
    car: Car
    delivered_kwh: float = 0.0  # at the gun's outlet
    without_power_s: float = 0.0
    ended_s: float | None = None

    def alone_s(self) -> float:
        """How long it would have stood here with all modules for itself."""
        car = Car(self.car.model, 100.0 * self.car.arrived_with_kwh / self.car.model.battery_kwh, target_soc_pct=100.0)
        seconds = PREPARE_S + UNPLUG_S
        while car.energy_kwh < self.car.energy_kwh:
            power_kw = min(car.wanted_kw(), GUN_KW)
            if power_kw <= 0.0:
                break
            fill(car, power_kw, 10.0)
            seconds += 10.0
        return seconds


def fill(car: Car, power_kw: float, for_s: float) -> None:
    """Power at the gun's outlet; the resistance of the pack keeps its part, as in the simulated plant."""
    ocv_v, ohm = car.ocv_v(), car.resistance_ohm
    current_a = (math.sqrt(ocv_v**2 + 4000.0 * ohm * power_kw) - ocv_v) / (2.0 * ohm)
    car.charge(ocv_v * current_a / 1000.0 * for_s / 3600.0)


@dataclass(slots=True)
class Day:
    visits: list[Visit] = field(default_factory=list)
    moves: int = 0
    lost_kwh: Counter[Loss] = field(default_factory=Counter)

    @property
    def delivered_kwh(self) -> float:
        return sum(visit.delivered_kwh for visit in self.visits)

    def without_power_s(self) -> list[float]:
        return sorted(visit.without_power_s for visit in self.visits)

    def jain(self) -> float:
        """Fairness of the speed at which cars were served, against being alone: 1 = all the same."""
        done = [visit for visit in self.visits if visit.ended_s is not None]
        shares = [visit.alone_s() / (visit.ended_s - visit.plugged_s) for visit in done if visit.ended_s]
        return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


# --- the two stations -----------------------------------------------------------------------------------------------


def simulated(rule: Priority) -> Day:
    """The day on the whole control."""
    logging.disable(logging.CRITICAL)
    day, timetable = Day(), arrivals()
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_at(Path(folder), f"[Allocation]\npriority = {rule.value}\n")
        station = VirtualStation(settings, level=Level.READINGS, seed=SEED, arrivals=timetable, plain=())
        points = [point for device in station.forecourt.devices for point in device.points]
        standing: dict[int, Visit] = {}
        now_s = 0.0
        while now_s < DAY_S:
            now_s += STEP_S
            station.run_to(now_s)
            station.records.clear()
            for point in points:
                visit = standing.get(point.gun)
                if visit is not None and point.car is not visit.car:
                    visit.ended_s = now_s
                    del standing[point.gun]
                    visit = None
                if visit is None and isinstance(point.car, Car):
                    visit = standing[point.gun] = Visit(timetable[len(day.visits)].at_s, now_s, point.car)
                    day.visits.append(visit)
                if visit is not None:
                    _take_stock(day, visit, station, point)
        day.moves = station.plant.referee.closings
    return day


def _take_stock(day: Day, visit: Visit, station: VirtualStation, point: ChargingPoint) -> None:
    """What this car got in the last second, and why it was not more."""
    gets_kw = station.plant.bus_current_a(point.gun) * station.plant.bus_voltage_v(point.gun) / 1000.0
    visit.delivered_kwh += gets_kw * STEP_S / 3600.0
    wants_kw = min(visit.car.wanted_kw(), GUN_KW)
    if wants_kw <= ASKS_KW or station.clock.time_s - visit.plugged_s <= PREPARE_S:
        return
    visit.without_power_s += STEP_S * (gets_kw < POWER_SHARE * wants_kw)
    decision = station.core.demand.decision
    modules = len(decision.allocation.of(point.gun).modules) if decision is not None else 0
    preparing = point.session is Session.PREPARING
    could_kw = wants_kw if preparing else min(wants_kw, modules * MODULE_KW)
    if gets_kw < RAMPED_SHARE * could_kw:
        cause = Loss.PRECHARGE if preparing else Loss.HAND_OVER if gets_kw < POWER_SHARE * could_kw else Loss.RAMP
        day.lost_kwh[cause] += (could_kw - gets_kw) * STEP_S / 3600.0


class _IdealGun:
    def __init__(self) -> None:
        self.visit: Visit | None = None
        self.leaves_s: float | None = None

    def wanted_kw(self, now_s: float) -> float:
        if self.visit is None or now_s - self.visit.plugged_s < PREPARE_S:
            return 0.0
        return min(self.visit.car.wanted_kw(), GUN_KW)


def ideal(rule: Priority, limits: AllocationLimits) -> Day:
    """The day on a station whose modules move in no time."""
    day, coming = Day(), arrivals()
    guns = {number: _IdealGun() for number in range(1, GUNS + 1)}
    everybody = frozenset(guns)
    modules = [ModuleOffer(module, MODULE_KW, 0.0, everybody) for module in range(1, MODULES + 1)]
    held = NOTHING_HELD
    for second in range(int(DAY_S)):
        now_s = float(second)
        for gun in guns.values():
            _let_go(gun, now_s)
        while coming and coming[0].at_s <= now_s:
            free = next((guns[number] for number in coming[0].guns_tried if guns[number].visit is None), None)
            if free is None:
                break
            arrival = coming.pop(0)
            free.visit = Visit(arrival.at_s, now_s, arrival.car())
            day.visits.append(free.visit)
        result = allocate(list(_requests(guns, now_s)), modules, held, rule, limits, second * 1000)
        held = result.assignment
        for given in result.guns:
            visit = guns[given.gun].visit
            if visit is not None:
                fill(visit.car, given.allocated_kw, 1.0)
                visit.delivered_kwh += given.allocated_kw / 3600.0
                wanted_kw = guns[given.gun].wanted_kw(now_s)
                visit.without_power_s += wanted_kw > ASKS_KW and given.allocated_kw < POWER_SHARE * wanted_kw
    return day


def _let_go(gun: _IdealGun, now_s: float) -> None:
    visit = gun.visit
    if visit is None:
        return
    if gun.leaves_s is None and visit.car.full:
        gun.leaves_s = now_s + UNPLUG_S
    if gun.leaves_s is not None and now_s >= gun.leaves_s:
        visit.ended_s, gun.visit, gun.leaves_s = now_s, None, None


def _requests(guns: dict[int, _IdealGun], now_s: float) -> Iterator[GunRequest]:
    for number, gun in guns.items():
        wanted_kw = gun.wanted_kw(now_s)
        visit = gun.visit
        since_ms = int(visit.plugged_s * 1000) if visit is not None else 0
        soc_pct = visit.car.soc_pct if visit is not None else None
        yield GunRequest(number, wanted_kw, wanted_kw, soc_pct=soc_pct, session_since_ms=since_ms)


# --- the table ------------------------------------------------------------------------------------------------------


def tables() -> list[Table]:
    rules = list(Priority)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        real = pool.map(simulated, rules)
        same = pool.map(ideal, rules, repeat(DEFAULTS))
        free = pool.map(ideal, rules, repeat(NOTHING_HELD_BACK))
        days = list(zip(rules, real, same, free, strict=True))
    return [
        Table(
            f"A day of {CARS} cars",
            f"Cars of the vehicle curves, seed {SEED}; each driver wants {WANTED_KWH[0]:g} to {WANTED_KWH[1]:g} kWh, "
            "counted at the gun's outlet. 'ideal': the same rule and settings, but modules move and currents rise in "
            "no time (limit: 97 %). 'nothing held back': such a station with margins, hysteresis, delays and dwell at "
            "0. 'without power': a plugged car that asks and gets less than a tenth of it. 'Jain': fairness of how "
            "fast cars were served, against being alone.",
            (
                "rule", "delivered kWh", "of ideal %", "of nothing held back %", "cars done",
                "wait for a gun, mean s", "without power, mean s", "p95 s", "longest s", "Jain", "ideal Jain",
                "contactors closed",
            ),
            [_row(*each) for each in days],
        ),
        Table(
            "What switching costs",
            "kWh that cars did not get although modules were planned for them. At a full station the first module of a "
            "car comes from another gun, and its terminals must have rested for terminal_discharge_time (10 s) before "
            "it may close onto a dead bus; power rises by ramp_up (25 A/s). The ideal station has none of it, and a "
            "car that stands longer keeps the next one waiting: where all guns are taken this adds up.",
            ("rule", *(loss.value for loss in Loss), "of ideal %"),
            [_losses(rule, day, best) for rule, day, best, _ in days],
        ),
    ]  # fmt: skip


def _losses(rule: Priority, real: Day, best: Day) -> Sequence[object]:
    lost_kwh = [real.lost_kwh[loss] for loss in Loss]
    return rule.value, *(round(kwh, 1) for kwh in lost_kwh), round(100.0 * sum(lost_kwh) / best.delivered_kwh, 2)


def _row(rule: Priority, real: Day, best: Day, free: Day) -> Sequence[object]:
    waits_s = real.without_power_s()
    return (
        rule.value,
        real.delivered_kwh,
        round(100.0 * real.delivered_kwh / best.delivered_kwh, 2),
        round(100.0 * real.delivered_kwh / free.delivered_kwh, 2),
        sum(visit.ended_s is not None for visit in real.visits),
        statistics.fmean(visit.plugged_s - visit.arrived_s for visit in real.visits),
        statistics.fmean(waits_s),
        waits_s[int(0.95 * len(waits_s))],
        waits_s[-1],
        round(real.jain(), 3),
        round(best.jain(), 3),
        real.moves,
    )
