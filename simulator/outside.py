"""Job: what came from outside in a recorded run: what cars asked for, what people commanded, what broke by itself.

Thread: any. Lock: none. Units: ms of the run's own clock, kWh.

A run is taken apart into what the station's own decisions brought about (contact states, facts), which is left out, and
the rest, which other decisions meet as well. What a car asks for lies apart by gun: a car that got less stays longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from planning.decision import Value
from planning.model import ContactState, VehicleStatus
from planning.settings import Settings
from planning.transition import Fact, GunFact
from simulator.replay_account import Meter
from simulator.replay_run import Step

Values = tuple[tuple[str, Value], ...]

#: What is told by the car or follows from its battery: demand, status, state of charge, precharge, electrical limit.
_CAR_LETTERS = "dsope"
#: A car that had to wait for the one before it comes so long after that one has gone.
NEXT_CAR_MS = 30_000
#: A car has what it had within this.
SAME_KWH = 0.01
#: A car that asked so long without getting any more was left wanting.
IN_VAIN_MS = 10_000
_CHARGES = (VehicleStatus.CHARGING.name, VehicleStatus.NEVER_TOLD.name)
_FAULTY = tuple(
    state.value
    for state in (ContactState.CLOSE_FAILED, ContactState.OPEN_FAILED, ContactState.DROPPED, ContactState.INTRUDER)
)


@dataclass(frozen=True, slots=True)
class Change:
    at_ms: int
    values: Values


@dataclass(slots=True)
class Outside:
    """One run as everybody around the station made it."""

    settings: Settings
    begin_ms: int = 0
    end_ms: int = 0
    station: list[Change] = field(default_factory=list)
    cars: dict[int, list[Change]] = field(default_factory=dict)  # gun -> what its car told
    telling: frozenset[int] = frozenset()  # guns whose devices tell voltages


class Collector:
    """Takes the steps of a replay one by one."""

    def __init__(self, settings: Settings) -> None:
        self.outside = Outside(settings, cars={gun: [] for gun in range(1, settings.general.gun_count + 1)})
        self._begun = False
        self._before: dict[str, Value] = {}  # facts and contact states as recorded last
        self._troubled: set[str] = set()  # contacts that were faulty

    def look(self, step: Step, inputs: Mapping[str, Value]) -> None:
        """`inputs`: the core's, behind that step."""
        outside, at_ms = self.outside, step.decision.at_ms
        keys: Iterable[str] = (word.partition("=")[0] for word in step.line.inputs.split()[1:])
        if not self._begun:  # of a run that goes on: everything as it is now
            self._begun, outside.begin_ms, keys = True, at_ms, list(inputs)
        outside.end_ms = at_ms
        cars: dict[int, list[tuple[str, Value]]] = {}
        rest: list[tuple[str, Value]] = []
        for key in keys:
            if key[0] == "g" and key[-1] in _CAR_LETTERS:
                cars.setdefault(int(key[1:-1]), []).append((key, inputs[key]))
            elif key[0] == "x":
                rest += self._contact(key, inputs[key])
            elif key[-1] == "f":
                rest += self._facts(key, int(inputs[key]))
            else:
                rest.append((key, inputs[key]))
            if self._tells_voltages(key, inputs[key]):
                outside.telling |= {int(key[1:-1])}
        if rest:
            outside.station.append(Change(at_ms, tuple(rest)))
        for gun, values in cars.items():
            outside.cars[gun].append(Change(at_ms, tuple(values)))

    def _contact(self, key: str, told: Value) -> Values:
        """Of contacts that obey nothing is kept: they obey other decisions too."""
        before = self._before.get(key, ContactState.OPEN.value)
        self._before[key] = told
        known = key in self._troubled
        if told in _FAULTY:
            self._troubled.add(key)
        if known or ContactState.UNKNOWN.value in (told, before):
            return ((key, told),)
        return ((key, before), (key, told)) if told in _FAULTY else ()

    def _facts(self, key: str, bits: int) -> Values:
        """The emergency order of a gun and the silence of a module; the rest follows from what was decided."""
        mask = int(GunFact.EMERGENCY if key[0] == "g" else Fact.LOST)
        before = self._before.get(key, 0)
        self._before[key] = bits & mask
        return ((key, bits & mask),) if before != bits & mask else ()

    @staticmethod
    def _tells_voltages(key: str, value: Value) -> bool:
        if key[0] != "g" or isinstance(value, str):
            return False
        return (key[-1] == "f" and bool(int(value) & GunFact.TOLD_DEAD)) or (key[-1] == "p" and value > 0)


class CarSide:
    """What the car of one gun tells, and when: as recorded, or held back until it has the energy that it had.

    One that asked in vain until it went, or the record ended, was never full: it asks on whatever it gets.
    """

    def __init__(
        self, gun: int, changes: list[Change], meter: Meter, had_kwh: list[float] | None, end_ms: int
    ) -> None:
        """`had_kwh`: the `given_kwh` of the run to compare with; None: everything comes as recorded.

        `end_ms`: of the record.
        """
        self.late_ms = 0  # how much later than recorded the last change came
        self._gun, self._meter, self._had_kwh = gun, meter, had_kwh
        self._changes, self._end_ms = changes, end_ms
        self._ends = _session_ends(changes)
        self._place = 0  # of the next change
        self._came_ms = 0  # when the last one came
        self._given_kwh: list[float] = []
        self._car = _Car()
        self._session_at = 0  # the change that began it
        self._session_kwh = 0.0  # what had been given when it began
        self._full = False
        self._left_wanting = False  # in the record

    @property
    def left(self) -> int:
        """Changes that have not come."""
        return len(self._changes) - self._place

    def given_kwh(self) -> list[float]:
        """What the gun had given when each change came, and at the end. The meter has been advanced to the end."""
        return [*self._given_kwh, self._meter.kwh]

    def owed_kwh(self) -> float:
        """What the car that stands here still lacks of what it had."""
        if self._had_kwh is None or self._full or not self._car.here:
            return 0.0
        return max(0.0, self._whole_kwh() - self._got_kwh())

    def due_ms(self) -> int | None:
        """When there is something to tell, as far as it is known now; None: nothing, or not before power flows."""
        dues = (self._full_ms(), self._change_ms())
        return min((ms for ms in dues if ms is not None), default=None)

    def take(self, now_ms: int) -> Values:
        """What it tells by now; the meter has been advanced to this moment."""
        told: list[tuple[str, Value]] = []
        full_ms = self._full_ms()
        if full_ms is not None and full_ms <= now_ms:
            self._full = True
            told += self._without_wish(())
        while (at_ms := self._change_ms()) is not None and at_ms <= now_ms:
            told += self._next(now_ms)
        return tuple(told)

    def _next(self, now_ms: int) -> Values:
        change = self._changes[self._place]
        self._given_kwh.append(self._meter.kwh)
        self._came_ms, self.late_ms = now_ms, now_ms - change.at_ms
        was_here = self._car.here
        self._car.hear(change.values)
        if self._car.here and not was_here:
            self._session_at, self._session_kwh = self._place, self._meter.kwh
            self._left_wanting = self._had_kwh is not None and self._asked_in_vain()
        self._full = self._full and self._car.here
        self._place += 1
        return self._without_wish(change.values) if self._full else change.values

    def _without_wish(self, values: Values) -> Values:
        """It has what it had: it stands there as long as it did, and asks for nothing."""
        return (*(pair for pair in values if pair[0][-1] not in "dp"), (f"g{self._gun}d", 0.0))

    def _change_ms(self) -> int | None:
        if not self.left:
            return None
        at_ms = self._changes[self._place].at_ms
        if self._had_kwh is None or not self._place:
            return at_ms
        pause_ms = at_ms - self._changes[self._place - 1].at_ms
        if not self._car.here:  # pauses within a session stay as long as they were, those between cars may shrink
            pause_ms = min(pause_ms, NEXT_CAR_MS)
        at_ms = max(at_ms, self._came_ms + pause_ms)
        if self._full or not self._car.charges:
            return at_ms
        owed_ms = self._meter.reaches_ms(self._session_kwh + self._had(self._place) - SAME_KWH)
        return None if owed_ms is None else max(at_ms, owed_ms)

    def _full_ms(self) -> int | None:
        if self._had_kwh is None or self._full or self._left_wanting or not self._car.charges:
            return None
        whole_kwh = self._whole_kwh()
        full_ms = self._meter.reaches_ms(self._session_kwh + whole_kwh) if whole_kwh > SAME_KWH else None
        return full_ms if full_ms is not None and full_ms < self._end_ms else None

    def _asked_in_vain(self) -> bool:
        """Whether the car that comes now went on asking in the record when it had all that it ever got."""
        car, end = replace(self._car), self._ends[self._place]
        gone_ms = self._changes[end].at_ms if end < len(self._changes) else self._end_ms
        all_kwh = self._had(end) - SAME_KWH
        for place in range(self._session_at, end):
            car.hear(self._changes[place].values)
            if car.charges and self._had(place) >= all_kwh:
                return gone_ms - self._changes[place].at_ms >= IN_VAIN_MS
        return False

    def _got_kwh(self) -> float:
        return self._meter.kwh - self._session_kwh

    def _had(self, place: int) -> float:
        """What this session had been given when the change at `place` came."""
        assert self._had_kwh is not None
        return self._had_kwh[place] - self._had_kwh[self._session_at]

    def _whole_kwh(self) -> float:
        return self._had(self._ends[self._place])


@dataclass(slots=True)
class _Car:
    """What was told last."""

    status: Value = VehicleStatus.NEVER_TOLD.name
    demand_kw: Value = 0.0

    def hear(self, values: Values) -> None:
        for key, value in values:
            if key[-1] == "s":
                self.status = value
            elif key[-1] == "d":
                self.demand_kw = value

    @property
    def here(self) -> bool:
        """A car stands at the gun; one whose device tells no status is here while it asks for something."""
        if self.status == VehicleStatus.NEVER_TOLD.name:
            return bool(self.demand_kw)
        return self.status != VehicleStatus.NO_CAR.name

    @property
    def charges(self) -> bool:
        return self.status in _CHARGES and bool(self.demand_kw)


def _session_ends(changes: list[Change]) -> list[int]:
    """For the car before each change, and after the last: the change with which it goes; behind the last one: never."""
    car, gone = _Car(), []
    for change in changes:
        car.hear(change.values)
        gone.append(not car.here)
    ends = [len(changes)] * (len(changes) + 1)
    for place in range(len(changes) - 1, -1, -1):
        ends[place] = place if gone[place] else ends[place + 1]
    return ends
