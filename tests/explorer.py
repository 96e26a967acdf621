"""Job: every state that the hand-over of modules between two guns can be in, found by trying everything.

Thread: the test's. Lock: none. Units: ms (a tick is 100 ms), V.

The software is the real one: DecisionCore with its allocation and switching sequence, the facts from readings, the
interlock and ContactorController.step over a driver in memory. Only what is outside is made up: metal that follows its
coil, hangs or sticks; modules that hear and answer, or do not; cars that ask and stop asking; a process that is killed.
At each tick one thing may happen, and all of them are tried. Two states are the same when they hold the same and every
age that a timer still looks at is the same; so the search ends, and what it has not found cannot be reached.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from contactor_controller import ContactorController, PinDriver
from planning import facts
from planning.contacts import bits_of
from planning.decision import DecisionCore
from planning.model import CloseEvidence, Crosspoint, ModuleState, ModuleStatus, VehicleStatus
from planning.module_facts import SeatView, seat_facts
from planning.settings import Settings
from planning.transition import OUT_OF_SERVICE, Duty, GunFact, SequenceEvent, Stage, Times
from simulator.readings import NoGpio

TICK_MS = 100
INNER_MS = 20
GUNS = 2
BATTERY_V = (0.0, 400.0, 600.0)  # of gun 1 and 2
DEAD_V = 60.0
#: Longer ages than this are all the same to every timer (the longest is the discharge of 1 s).
CAP_MS = 1_200
#: The built-in time-outs of the sequence, scaled like those of [Safety].
TIMES = {"match_ms": 500, "close_refused_ms": 300, "rematch_ms": 300, "pause_ms": 300}
#: The stages that a timer ends, and the longest age that it looks at.
LOOKED_AT_MS = {
    Stage.CLOSE_DEAD: 400, Stage.MATCH: 600, Stage.CLOSE_LIVE: 400, Stage.UNLOAD: 400, Stage.BREAK: 200,
    Stage.RETRY: 300,
}  # fmt: skip
CONFIG = """\
[General]
gun_count = 2
module_count = {modules}
[Devices]
D1 = 1, 2
[Allocation]
priority_hysteresis = 0
release_delay = 0
step_margin = 0
move_dwell = 0
rotation_period = 86400
[Safety]
close_timeout = 0.2
open_timeout = 0.15
close_retry_delay = 0.2
open_wait = 0.2
open_anyway = 0.3
fresh_reading = 0.2
off_repeat = 0.1
silent_after = 0.25
can_fault_open = 0.4
silent_open = 0.5
terminal_discharge_time = 1
pickups_per_250ms = 40
"""


class BadState(AssertionError):
    """What must never be, with the way that led there."""


class MetalDriver(PinDriver):
    """Coils and feedback as two ints."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(NoGpio(), settings.gpio)
        self.edges = True
        self.coils = 0
        self.metal = 0

    def set_up(self) -> None:
        self.coils = 0

    def write_image(self, image: int) -> bool:
        self.coils = image
        return True

    def read_feedback(self) -> int | None:
        return self.metal

    def enable_outputs(self, enabled: bool) -> None: ...
    def heartbeat_edge(self) -> None: ...
    def heartbeat_stop(self) -> None: ...
    def tear_down(self) -> None: ...

    def emergency_stop_healthy(self) -> bool:
        return True


class Act(Enum):
    """What may happen in one tick."""

    NOTHING = "nothing"
    DEMAND_1 = "gun 1 asks, or stops asking"
    DEMAND_2 = "gun 2 asks, or stops asking"
    LOSE = "a module hears and says nothing"
    HANG = "the contactors that let go now hang: welded"
    STICK = "the contactors that pick up now do not move"
    KILL = "the process is killed and starts anew"


Choice = tuple[Act, int]


@dataclass(slots=True)
class Module:
    """A module and what the station knows of it."""

    number: int
    on: bool = False
    driving: bool = False  # it carries current when its metal is closed
    volts: float = 0.0
    lead_v: float = 0.0
    lead_at_ms: int = -CAP_MS
    told_on: bool = False
    told_v: float = 0.0
    replied_ms: int = -CAP_MS
    before_ms: int = -CAP_MS
    seen_v: float = 0.0
    seen_before_v: float = 0.0
    seen_on: bool = False
    echo_ms: int = -CAP_MS
    last_on_ms: int = -CAP_MS


@dataclass(slots=True)
class Outside:
    """Everything that is not software."""

    modules: list[Module]
    now_ms: int = 0
    demands: list[bool] = field(default_factory=lambda: [False] * (GUNS + 1))
    welds_left: int = 0
    sticks_left: int = 0
    welded: int = 0  # metal that hangs for ever once closed
    stuck: int = 0
    lost: int = 0  # the module that is not heard in this tick
    forced: int = 0  # contacts that the sequence opened under load because it must


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is tried."""

    modules: int = 2
    loss: bool = True
    welds: int = 1
    sticks: int = 0
    kills: bool = True


class World:
    """The software over its outside; `tick` moves all of it on, `save` and `load` take it to any state."""

    def __init__(self, settings: Settings, bounds: Bounds) -> None:
        self.settings, self.bounds = settings, bounds
        self.count = bounds.modules
        self.core = DecisionCore(settings)
        sequencer = self.core.sequencer
        sequencer._times = dataclasses.replace(sequencer._times, **TIMES)
        assert isinstance(sequencer._times, Times)
        self.driver = MetalDriver(settings)
        self.contactors = ContactorController(
            NoGpio(), settings.gpio, settings.safety, GUNS, self.count, driver=self.driver
        )
        modules = [Module(number) for number in range(1, self.count + 1)]
        self.out = Outside(modules, welds_left=bounds.welds, sticks_left=bounds.sticks)
        memory = self.core._memory
        self._software: list[Any] = [
            self.core, memory, *memory.guns.values(), *sequencer.seats, self.contactors, self.contactors._contacts,
        ]  # fmt: skip
        self._everything = [*self._software, self.driver, self.out, *modules]
        self._new = _frozen(self._software)
        self._columns = [sum(1 << g * self.count + m for g in range(GUNS)) for m in range(self.count)]
        self._start()

    # --- saving ---------------------------------------------------------------------------------------------------

    def save(self) -> list[Frozen]:
        return _frozen(self._everything)

    def load(self, saved: list[Frozen]) -> None:
        _thaw(self._everything, saved)

    def key(self) -> tuple[Any, ...]:
        """Equal for states that behave the same for ever: of each age only what a timer still looks at."""
        now, out, core, contacts = self.out.now_ms, self.out, self.core, self.contactors._contacts
        memory, seats = core._memory, core.sequencer.seats

        def age(at_ms: float, cap_ms: int) -> int:
            return min(cap_ms, round(now - at_ms))

        places = tuple(
            (s.stage, s.gun, s.last_gun, age(s.since_ms, LOOKED_AT_MS.get(s.stage, 0)), s.failed_closes,
             max(0, s.not_before_ms - now))
            for s in seats
        )  # fmt: skip
        kept = (
            tuple(sorted((k, v.name) for k, v in memory.out_of_service.items())), tuple(sorted(memory.emergency)),
            tuple(sorted(memory.elsewhere)), tuple((g.welded, g.locked) for g in memory.guns.values()),
        )  # fmt: skip
        metal = (
            contacts.image, contacts.closed, contacts._raw, contacts._falling_back, contacts._confirmed,
            tuple(contacts.states), tuple(age(at * 1000.0, 250) for at in contacts._latched_at_s),
            self.contactors._out_of_service, self.driver.metal,
        )  # fmt: skip
        pairs = zip(out.modules, seats, strict=True)
        modules = tuple(self._module_key(module, seat.since_ms, seat.parted_ms, age) for module, seat in pairs)
        rest = (tuple(out.demands), out.welds_left, out.sticks_left, out.welded, out.stuck)
        return (places, kept, core._wants, metal, modules, rest)

    def _module_key(
        self, module: Module, since_ms: int, parted_ms: int | None, age: Callable[[float, int], int]
    ) -> tuple[Any, ...]:
        before_age = age(module.before_ms, 300)
        lead_v = self._lead_v(module)
        fed_ms = max(module.last_on_ms, -CAP_MS if parted_ms is None else parted_ms)
        return (
            module.on, module.driving, module.volts, module.told_on, module.told_v,
            module.seen_on, module.seen_v, age(module.replied_ms, 600),
            before_age, module.seen_before_v if before_age < 300 else 0.0,
            module.echo_ms >= since_ms, module.replied_ms > module.last_on_ms, age(fed_ms, CAP_MS),
            lead_v, age(module.lead_at_ms, CAP_MS) if lead_v else 0,
        )  # fmt: skip

    # --- one tick -------------------------------------------------------------------------------------------------

    def choices(self) -> Iterator[Choice]:
        """Everything that may happen in the next tick."""
        bounds, out = self.bounds, self.out
        yield Act.NOTHING, 0
        yield Act.DEMAND_1, 0
        yield Act.DEMAND_2, 0
        if bounds.loss:
            for module in range(1, self.count + 1):
                yield Act.LOSE, module
        letting_go = self.driver.metal & ~self.driver.coils & ~out.welded
        picking_up = self.driver.coils & ~self.driver.metal & ~out.stuck
        if out.welds_left and letting_go:
            yield Act.HANG, letting_go
        if out.sticks_left and picking_up:
            yield Act.STICK, picking_up
        if bounds.kills:
            yield Act.KILL, 0

    def tick(self, choice: Choice) -> None:
        """One tick in which this happens. Raises BadState."""
        act, what = choice
        out = self.out
        out.lost = 0
        if act is Act.KILL:
            self._kill()
            return
        if act is Act.DEMAND_1 or act is Act.DEMAND_2:
            gun = 1 if act is Act.DEMAND_1 else 2
            out.demands[gun] = not out.demands[gun]
        elif act is Act.LOSE:
            out.lost = what
        elif act is Act.HANG:
            out.welded, out.welds_left = out.welded | what, out.welds_left - 1
        elif act is Act.STICK:
            out.stuck, out.sticks_left = out.stuck | what, out.sticks_left - 1
        self._move_metal()
        self._wait(TICK_MS - INNER_MS)
        self._circuit()
        self._answer()
        self._decide()

    def _wait(self, for_ms: int) -> None:
        for _ in range(for_ms // INNER_MS):
            self.out.now_ms += INNER_MS
            self.contactors.step(self._now_s, True)

    @property
    def _now_s(self) -> float:
        return self.out.now_ms / 1000.0

    def _move_metal(self) -> None:
        out, driver = self.out, self.driver
        before = driver.metal
        driver.metal = (driver.coils | before & out.welded) & ~(out.stuck & ~before)
        for index in bits_of(before & ~driver.metal):
            module = out.modules[index % self.count]
            module.lead_v, module.lead_at_ms = self._bus_v(index // self.count + 1, before), out.now_ms
        for column in self._columns:
            if (driver.metal & column).bit_count() > 1:
                raise BadState("a module stands on two guns")

    def _bus_v(self, gun: int, metal: int | None = None) -> float:
        """A dispenser joins its car while its gun has a module; a bus without any is empty."""
        row = ((1 << self.count) - 1) << (gun - 1) * self.count
        return BATTERY_V[gun] if (self.driver.metal if metal is None else metal) & row else 0.0

    def _lead_v(self, module: Module) -> float:
        return module.lead_v if self.out.now_ms - module.lead_at_ms < 1000 else 0.0

    def _circuit(self) -> None:
        """Modules do what they were last told and heard."""
        for module, (stage, gun) in zip(self.out.modules, self._seats, strict=True):
            if module.number == self.out.lost:
                continue
            duty = stage.duty if gun else Duty.OFF
            bus_v = self._bus_v(gun) if gun else 0.0
            wanted = bool(gun) and self.core._wants[module.number - 1] == gun
            on = bus_v > 0 and (duty is Duty.MATCH or (duty is Duty.DRIVE and wanted))
            module.on = module.told_on = on
            module.driving = on and duty is Duty.DRIVE
            module.volts = 0.0 if not on else bus_v if module.driving else bus_v - 10.0
            module.told_v = max(0.0, bus_v - 10.0)

    def _answer(self) -> None:
        """Every module but the lost one tells what it is."""
        now = self.out.now_ms
        for module in self.out.modules:
            if module.number == self.out.lost:
                continue
            module.before_ms, module.seen_before_v = module.replied_ms, module.seen_v
            module.replied_ms, module.seen_v, module.seen_on = now, module.volts, module.on
            if not module.on:
                module.echo_ms = now
            else:
                module.last_on_ms = now

    @property
    def _seats(self) -> list[tuple[Stage, int]]:
        return [(seat.stage, seat.gun) for seat in self.core.sequencer.seats]

    # --- the glue, as thin as in DemandProcessor --------------------------------------------------------------------

    def _decide(self) -> None:
        now_ms = self.out.now_ms + INNER_MS
        self._feed(now_ms)
        self.out.now_ms = now_ms
        self.contactors.step(self._now_s, True)
        for index, state in enumerate(self.contactors.states):
            self.core.put(f"x{index // self.count + 1}.{index % self.count + 1}", state.value)
        if not self.core.due(now_ms):
            return
        _, decision = self.core.step(now_ms)
        for event in decision.events:
            self._on_event(event)
        self._switch(decision.coils)

    def _feed(self, now_ms: int) -> None:
        put, now_s, safety = self.core.put, now_ms / 1000.0, self.settings.safety
        for gun in range(1, GUNS + 1):
            put(f"g{gun}d", 80.0 if gun == 1 and self.out.demands[1] else 60.0 if self.out.demands[gun] else 0.0)
            put(f"g{gun}s", VehicleStatus.CHARGING.name)
            put(f"g{gun}f", int(self._gun_facts(gun)))
        wants = self.core._wants or (0,) * self.count
        for module, seat, want in zip(self.out.modules, self.core.sequencer.seats, wants, strict=True):
            status = self.status(module, now_ms)
            silent_s = now_s - module.replied_ms / 1000.0
            gun = seat.gun or want
            view = SeatView(status, self._known_v(gun, now_ms) if gun else None, None, None,
                            silent_s >= safety.silent_open_s)  # fmt: skip
            usable = status.state in (ModuleState.OFF, ModuleState.ON)
            put(f"m{module.number}a", 40 if usable else 0)
            put(f"m{module.number}f", seat_facts(seat, want, view, now_s, safety) if gun else 0)

    def _gun_facts(self, gun: int) -> GunFact:
        on = [m for m, (stage, g) in zip(self.out.modules, self._seats, strict=True) if g == gun and stage.on_bus]
        bits = GunFact(0)
        if any(facts.may_be_on(self.status(m, self.out.now_ms)) for m in on):
            bits |= GunFact.LIVE
        driving = any(stage is Stage.SERVE and g == gun for stage, g in self._seats) and self.out.demands[gun]
        if driving:
            bits |= GunFact.DRIVING
        if self._known_v(gun, self.out.now_ms) is not None and driving:
            bits |= GunFact.VOLTAGE_KNOWN
        return bits

    def _known_v(self, gun: int, now_ms: int) -> float | None:
        """The reading of a module that conducts on this gun, not older than fresh_reading."""
        for module, (stage, g) in zip(self.out.modules, self._seats, strict=True):
            conducts = g == gun and stage is Stage.SERVE and module.seen_on and module.seen_v >= DEAD_V
            if conducts and now_ms - module.replied_ms < self.settings.safety.fresh_reading_s * 1000:
                return module.seen_v
        return None

    def status(self, module: Module, now_ms: int) -> ModuleStatus:
        """What PowerModuleController would believe of it."""
        silent = now_ms - module.replied_ms > self.settings.safety.silent_after_s * 1000
        state = ModuleState.SILENT if silent else ModuleState.ON if module.seen_on else ModuleState.OFF
        at_s, before_s = module.replied_ms / 1000.0, module.before_ms / 1000.0
        amps = 50.0 if module.driving and module.seen_on else 0.0
        last_on_s = now_ms / 1000.0 if silent and module.seen_on else module.last_on_ms / 1000.0
        return ModuleStatus(
            module.number, state, heard_at_s=at_s, on=module.seen_on, on_at_s=at_s, on_asked_at_s=at_s,
            off_echo_at_s=module.echo_ms / 1000.0, last_on_at_s=last_on_s,
            voltage_v=module.seen_v, voltage_at_s=at_s, voltage_asked_at_s=at_s,
            voltage_before_v=module.seen_before_v, voltage_before_at_s=before_s,
            current_a=amps, current_at_s=at_s, current_asked_at_s=at_s, set_on=module.told_on,
            set_voltage_v=module.told_v, set_current_a=50.0 if module.driving else 1.0 if module.told_on else 0.0,
        )  # fmt: skip

    def _on_event(self, event: SequenceEvent) -> None:
        crosspoint = Crosspoint(event.gun, event.module)
        if event.fault in OUT_OF_SERVICE:
            self.contactors.take_out_of_service(crosspoint)
        must = event.before in (Stage.BREAK, Stage.LOST) or event.fault is not None
        if event.after is Stage.OPEN and must:
            self.out.forced |= 1 << self._index(crosspoint)

    def _index(self, crosspoint: Crosspoint) -> int:
        return (crosspoint.gun - 1) * self.count + crosspoint.module - 1

    def _switch(self, wanted: int) -> None:
        present = self.contactors.coil_image
        for index in bits_of(present & ~wanted):
            self._judge_open(index)
            self.contactors.request_open(self._crosspoint(index), self._now_s)
        for index in bits_of(wanted & ~present):
            self._close(index)
        self.out.forced = 0

    def _crosspoint(self, index: int) -> Crosspoint:
        return Crosspoint(index // self.count + 1, index % self.count + 1)

    def _close(self, index: int) -> None:
        crosspoint, now_ms = self._crosspoint(index), self.out.now_ms
        others = [
            self.status(m, now_ms)
            for m, (stage, gun) in zip(self.out.modules, self._seats, strict=True)
            if gun == crosspoint.gun and stage.on_bus and m.number != crosspoint.module
        ]
        evidence = CloseEvidence(
            module=self.status(self.out.modules[crosspoint.module - 1], now_ms),
            bus_voltage_v=self._known_v(crosspoint.gun, now_ms) if others else None,
            bus_told_v=None,
            bus_has_live_module=any(map(facts.may_be_on, others)),
        )
        before = self.driver.coils
        if self.contactors.request_close(crosspoint, evidence, self._now_s) is None:
            self._judge_close(index, before)

    # --- the referee ----------------------------------------------------------------------------------------------

    def _judge_close(self, index: int, coils: int) -> None:
        crosspoint = self._crosspoint(index)
        column, bit = self._columns[crosspoint.module - 1], 1 << index
        if (coils | self.driver.metal) & column & ~bit:
            raise BadState(f"{crosspoint} closes while its module is closed elsewhere")
        module, bus_v = self.out.modules[crosspoint.module - 1], self._bus_v(crosspoint.gun)
        if bus_v == 0.0 and (module.on or module.volts >= DEAD_V or self._lead_v(module) >= DEAD_V):
            raise BadState(f"{crosspoint} closes charged onto a dead bus")
        if bus_v > 0.0 and not (module.on and 0.0 <= bus_v - module.volts <= 20.0 and not module.driving):
            raise BadState(f"{crosspoint} closes unmatched onto {bus_v:.0f} V")

    def _judge_open(self, index: int) -> None:
        module = self.out.modules[index % self.count]
        loaded = self.driver.metal >> index & 1 and module.on and module.driving
        if loaded and not self.out.forced >> index & 1:
            raise BadState(f"{self._crosspoint(index)} opens under load")

    # --- start and restart ------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """planning/startup.py in one go: OFF to all, zeros, every contact looked at, outputs on, armed."""
        for module in self.out.modules:
            module.on = module.driving = module.told_on = False
            module.volts = 0.0
        self.contactors.prepare(self._now_s)
        self._move_metal()
        self._wait(400)
        for index in bits_of(self.driver.metal):
            self.contactors.take_out_of_service(self._crosspoint(index))
        self._answer()
        for module in self.out.modules:
            module.last_on_ms = self.out.now_ms  # what it did before is not known
        self.contactors.enable_outputs(self._now_s)
        self.contactors.arm()
        self._decide()

    def _kill(self) -> None:
        """The heartbeat ends, the coils drop; the plant lives on, the program is new."""
        now_ms = self.out.now_ms
        self.driver.coils = 0
        self._move_metal()
        _thaw(self._software, self._new)
        self.out.now_ms = now_ms + 600
        for module in self.out.modules:
            module.replied_ms = module.before_ms = -CAP_MS + self.out.now_ms
        self._start()


MUTABLE = (list, dict, set, deque)
#: What never changes, or is saved by itself.
NOT_SAVED = ("sequencer", "_driver", "_contacts", "_settings", "_memory", "guns", "modules", "_matrix", "_safety")
#: Of one object: the attributes that nobody changes in place, and the containers.
Frozen = tuple[tuple[tuple[str, Any], ...], tuple[tuple[str, Any], ...]]


def _frozen(objects: list[Any]) -> list[Frozen]:
    """The attributes of each, with containers copied one level deep (what they hold is immutable)."""
    return [_frozen_one(each) for each in objects]


def _frozen_one(each: Any) -> Frozen:
    plain: list[tuple[str, Any]] = []
    containers: list[tuple[str, Any]] = []
    for name in _names(each):
        value = getattr(each, name)
        if isinstance(value, MUTABLE):
            containers.append((name, value.copy()))
        else:
            plain.append((name, value))
    return tuple(plain), tuple(containers)


def _thaw(objects: list[Any], frozen: list[Frozen]) -> None:
    for each, (plain, containers) in zip(objects, frozen, strict=True):
        if hasattr(each, "__dict__"):
            vars(each).update(plain)
        else:
            for name, value in plain:
                setattr(each, name, value)
        for name, value in containers:
            setattr(each, name, value.copy())


def _names(each: Any) -> tuple[str, ...]:
    """Of an object with slots the class knows them for good; of any other, those that it has now."""
    kind = type(each)
    if not dataclasses.is_dataclass(kind):
        return tuple(name for name in vars(each) if name not in NOT_SAVED)
    if kind not in _known_names:
        _known_names[kind] = tuple(f.name for f in dataclasses.fields(kind) if f.name not in NOT_SAVED)
    return _known_names[kind]


_known_names: dict[type, tuple[str, ...]] = {}


# --- the search -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Found:
    states: int = 0
    transitions: int = 0
    deepest: int = 0
    bad: str = ""
    way: tuple[str, ...] = ()


def explore(make: Callable[[], World], most_states: int = 2_000_000) -> Found:
    """Every state that can be reached, breadth first; ends at the first bad one with the shortest way to it."""
    world = make()
    found = Found(states=1)
    first = world.save()
    seen = {world.key()}
    parents: list[tuple[int, Choice]] = [(-1, (Act.NOTHING, 0))]
    waiting: deque[tuple[int, int, Any]] = deque([(0, 0, first)])
    while waiting:
        number, depth, saved = waiting.popleft()
        found.deepest = max(found.deepest, depth)
        world.load(saved)
        for tried, choice in enumerate(list(world.choices())):
            if tried:
                world.load(saved)
            found.transitions += 1
            try:
                world.tick(choice)
            except BadState as bad:
                found.bad, found.way = str(bad), _way(parents, number, choice)
                return found
            key = world.key()
            if key not in seen:
                seen.add(key)
                found.states += 1
                if found.states > most_states:
                    raise RuntimeError(f"more than {most_states} states: the bounds are too wide")
                parents.append((number, choice))
                waiting.append((len(parents) - 1, depth + 1, world.save()))
    return found


def _way(parents: list[tuple[int, Choice]], number: int, last: Choice) -> tuple[str, ...]:
    steps = [_words(last)]
    while number > 0:
        number, choice = parents[number]
        steps.append(_words(choice))
    return tuple(reversed(steps))


def _words(choice: Choice) -> str:
    act, what = choice
    return f"{act.value} (m{what})" if act is Act.LOSE else act.value
