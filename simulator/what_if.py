"""Job: the cars, commands and faults of a recorded run once more, in front of other decisions: another rule, a lower
limit, a module less.

Thread: any. Lock: none. Units: kW (AC at the feed for the site), kWh, ms of the run's own clock.

Recorded facts and contact states hold for recorded decisions alone. So an obedient plant answers the decisions here,
and the same plant answers the unchanged ones: only these two are compared with each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from planning.decision import Decision, DecisionCore, Value
from planning.settings import Priority, Settings
from simulator.obedient_plant import ObedientPlant
from simulator.outside import CarSide, Outside, Values
from simulator.replay_account import Account

Progress = Callable[[float], None]  # share of the run that is done
Watch = Callable[[Decision, DecisionCore], None]

#: Progress is told each so many moments.
TELL_EVERY = 2_000


@dataclass(frozen=True, slots=True)
class Otherwise:
    """What shall be different; nothing by default."""

    rule: Priority | None = None
    site_limit_kw: float | None = None  # AC, on top of what was in force
    without_modules: frozenset[int] = frozenset()
    cars_stay: bool = False

    @property
    def nothing(self) -> bool:
        return self.rule is None and self.site_limit_kw is None and not self.without_modules

    def words(self) -> str:
        """As on the command line."""
        parts = [f"--rule {self.rule.value}"] if self.rule is not None else []
        parts += [f"--site-limit {self.site_limit_kw:g}"] if self.site_limit_kw is not None else []
        parts += [f"--without-module {module}" for module in sorted(self.without_modules)]
        return " ".join([*parts, *(["--cars-stay"] if self.cars_stay else [])])


@dataclass(frozen=True, slots=True)
class Left:
    """What was still open at one gun when the record ended."""

    late_ms: int = 0  # how much later than recorded its cars came and went by then
    owed_kwh: float = 0.0  # what the car at it lacked of what it had


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run became."""

    account: Account
    given_kwh: dict[int, list[float]]  # gun -> what it had given at each word of its cars
    left: dict[int, Left]


def play(
    outside: Outside,
    otherwise: Otherwise,
    compare: Outcome | None = None,
    progress: Progress = lambda _: None,
    watch: Watch = lambda _decision, _core: None,
) -> Outcome:
    """Play one run. `compare`: the unchanged run, for cars that stay until they have what they had in it.

    `watch` is called with every decision and the core that made it.
    """
    return _Play(outside, otherwise, compare, watch).run(progress)


class _Play:
    def __init__(self, outside: Outside, otherwise: Otherwise, compare: Outcome | None, watch: Watch) -> None:
        self._outside, self._otherwise, self._watch = outside, otherwise, watch
        settings = _settings(outside.settings, otherwise)
        self._efficiency = settings.general.module_efficiency
        self._module_count = settings.general.module_count
        self._core = DecisionCore(settings)
        self._plant = ObedientPlant(settings, outside.begin_ms, outside.telling)
        self._account = Account(settings)
        had = compare.given_kwh if compare is not None and otherwise.cars_stay else {}
        self._cars = {
            gun: CarSide(gun, changes, self._account.guns[gun].meter, had.get(gun), outside.end_ms)
            for gun, changes in outside.cars.items()
        }
        self._resets: Value = 0
        self._place = 0  # of the next change of the station's side

    def run(self, progress: Progress) -> Outcome:
        outside, core, plant, account = self._outside, self._core, self._plant, self._account
        begin_ms, length_ms = outside.begin_ms, max(1, outside.end_ms - outside.begin_ms)
        for meter in (gun.meter for gun in account.guns.values()):
            meter.advance(begin_ms)
        if self._otherwise.site_limit_kw is not None:
            self._put("site", -1.0, begin_ms)  # the limit holds from the first moment
        moments = 0
        now_ms = begin_ms
        while (due_ms := self._next_ms()) <= outside.end_ms:
            now_ms = max(now_ms, due_ms)
            moments += 1
            if moments % TELL_EVERY == 0:
                progress((now_ms - begin_ms) / length_ms)
            self._hear(now_ms)
            if plant.due_ms is not None and plant.due_ms <= now_ms:
                plant.look(core, now_ms)
            if core.due(now_ms):
                decision = core.step(now_ms)[1]
                account.look(decision, core)
                plant.obey(decision, now_ms)
                self._watch(decision, core)
        account.end(outside.end_ms)
        left = {gun: Left(car.late_ms, car.owed_kwh()) for gun, car in self._cars.items()}
        return Outcome(account, {gun: car.given_kwh() for gun, car in self._cars.items()}, left)

    def _next_ms(self) -> int:
        dues = [self._core.due_ms, self._plant.due_ms, *(car.due_ms() for car in self._cars.values())]
        if self._place < len(self._outside.station):
            dues.append(self._outside.station[self._place].at_ms)
        return min((due for due in dues if due is not None), default=self._outside.end_ms + 1)

    # --- what comes from outside ----------------------------------------------------------------------------------

    def _hear(self, now_ms: int) -> None:
        station = self._outside.station
        while self._place < len(station) and station[self._place].at_ms <= now_ms:
            self._hear_station(station[self._place].values, now_ms)
            self._place += 1
        for gun, car in self._cars.items():
            told_ms = car.due_ms()
            if told_ms is not None and told_ms <= now_ms:
                self._account.guns[gun].meter.advance(now_ms)
                for key, value in car.take(now_ms):
                    self._core.put(key, value)

    def _hear_station(self, values: Values, now_ms: int) -> None:
        for key, value in values:
            self._put(key, value, now_ms)
        # what follows from a recorded contact or fact comes with the next look
        self._plant.due_ms = now_ms if self._plant.due_ms is None else min(self._plant.due_ms, now_ms)

    def _put(self, key: str, value: Value, now_ms: int) -> None:
        """One recorded value: into the core, to the plant that answers it, or with what shall be different."""
        core, plant = self._core, self._plant
        kind = key[-1]
        if key == "site":
            core.put(key, self._site_kw(float(value)))
        elif key == "rule":
            core.put(key, value if self._otherwise.rule is None else self._otherwise.rule.name)
        elif key == "reset":
            if value != self._resets:
                self._resets = value
                plant.hear_reset()
            core.put(key, value)
        elif key[0] == "x":
            gun, module = map(int, key[1:].split("."))
            plant.hear_contact((gun - 1) * self._module_count + module - 1, str(value), now_ms)
        elif key[0] == "g" and kind == "f":
            plant.hear_gun(int(key[1:-1]), int(value))
        elif key[0] == "m" and kind == "f":
            plant.hear_module(int(key[1:-1]), int(value))
        elif key[0] == "m" and kind == "a":
            module, kw = int(key[1:-1]), int(value)
            plant.hear_available(module, kw)
            core.put(key, 0 if module in self._otherwise.without_modules else kw)
        else:
            core.put(key, value)

    def _site_kw(self, recorded_kw: float) -> float:
        """DC budget; -1: none."""
        limit_kw = self._otherwise.site_limit_kw
        if limit_kw is None:
            return recorded_kw
        budget_kw = limit_kw * self._efficiency
        return budget_kw if recorded_kw < 0.0 else min(recorded_kw, budget_kw)


def _settings(settings: Settings, otherwise: Otherwise) -> Settings:
    if otherwise.rule is None:
        return settings
    return replace(settings, allocation=replace(settings.allocation, priority=otherwise.rule))
