"""Job: the deterministic core: recorded inputs in, allocation and contactor commands out, and the replay of a record.

Thread: control (or any one at a time). Lock: none. Units: kW, %, ms since the start of the record.

The inputs are one flat list of `key=value`; each run of the core is one record: the time and what changed since
the last run. It runs when an input changed or a timer of its own is due, never otherwise: the records alone repeat it.

    g3d demand kW          g3s vehicle status      g3o SOC %            g3p a voltage is told (precharge)
    g3e electrical limit, whole kW (none: -1)      g3c commanded limit kW (none: -1)
    g3b why the gun may get nothing ('' = it may)  g3f GunFact bits
    m4a available, whole kW (0: nothing new)       m4h operating hours  m4f Fact bits
    x3.4 ContactState      w3.4 wear of that contactor                  site DC budget kW (none: -1)
    rule Priority          reset counts the resets by a person
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from planning.core_state import Words, allocation_of, allocation_words, put_seat, seat_words
from planning.faults import FaultCode
from planning.foresight import Question
from planning.model import ContactState, VehicleStatus
from planning.reasons import ReasonCode
from planning.request import Allocation, AllocationLimits, Assignment, GunRequest, ModuleOffer, TargetBound
from planning.settings import Priority, Settings
from planning.transition import (
    OUT_OF_SERVICE,
    GunFact,
    SequenceEvent,
    Sequencer,
    Stage,
    Times,
)

Value = int | float | str

#: What a gun asks for counts only in these states.
_ASKING = (VehicleStatus.NEVER_TOLD, VehicleStatus.WAITING, VehicleStatus.CHARGING)
#: A contactor that is closed without being told to.
_ALONE = (ContactState.INTRUDER, ContactState.OPEN_FAILED)
#: Marks of contactors that are closed and known to be.
_CLOSED_MARKS = (FaultCode.CONTACTOR_WELDED, FaultCode.CONTACTOR_CLOSED_ALONE)
_CONTACT = {state.value: state for state in ContactState}
#: Rows chained in one run: order, confirmation and the next order may fall together, no more.
_CHAIN = 3


@dataclass(frozen=True, slots=True)
class Decision:
    """What one run of the core decided."""

    at_ms: int
    allocation: Allocation
    targets_kw: tuple[float, ...]  # index gun - 1: the least of demand and limits, without the site's share
    wants: tuple[int, ...]  # index module - 1: the gun that allocation gives it to; 0: none
    seats: tuple[tuple[Stage, int], ...]  # index module - 1: (stage, gun)
    coils: int  # bit of each crosspoint whose coil shall be on
    events: tuple[SequenceEvent, ...]
    #: gun -> its seats (module, stage), in the order of the modules; a gun without seats is missing
    by_gun: Mapping[int, tuple[tuple[int, Stage], ...]]
    question: Question  # that the allocation answers

    def line(self) -> str:
        """Canonical text: equal decisions give equal bytes."""
        guns = " ".join(
            f"g{g.gun}={','.join(map(str, g.modules)) or '-'}:{g.allocated_kw:.3f}:{g.reason.code.value}"
            for g in self.allocation.guns
        )
        seats = " ".join(f"{stage.name}@{gun}" for stage, gun in self.seats)
        return f"{self.at_ms} {guns} | {seats} | {self.coils:014x}"


@dataclass(slots=True)
class _GunMemory:
    session_since_ms: int | None = None
    waiting_since_ms: int | None = None
    keeps_kw: float = 0.0  # what it had when the rule was changed, one module at most
    welded: bool = False
    locked: bool = False


@dataclass(slots=True)
class _Memory:
    guns: dict[int, _GunMemory]
    #: crosspoints that stay as they are until a person resets
    out_of_service: dict[tuple[int, int], FaultCode] = field(default_factory=dict)
    #: guns under an emergency order of the core's own (a contactor closed alone)
    emergency: set[int] = field(default_factory=set)
    #: modules that hang on a gun which is not that of their seat: nothing may be planned on them
    elsewhere: set[int] = field(default_factory=set)
    resets: int = 0


class DecisionCore:
    """Allocation and switching sequence over the recorded inputs."""

    def __init__(self, settings: Settings) -> None:
        general, safety = settings.general, settings.safety
        self._settings = settings
        self._rule = settings.allocation.priority
        self._guns = range(1, general.gun_count + 1)
        self._modules = range(1, general.module_count + 1)
        self._unset: dict[str, Value] = dict(self._defaults())  # what an input is until something is told
        self._inputs = dict(self._unset)
        self._changes: list[str] = []
        self._assignment = Assignment()
        self._memory = _Memory({gun: _GunMemory() for gun in self._guns})
        self._due_ms: int | None = None
        self._allocation: Allocation | None = None
        self._question: Question | None = None
        self._targets_kw: tuple[float, ...] = ()
        self._wants: tuple[int, ...] = ()
        self._crosspoints = [(gun, module) for gun in self._guns for module in self._modules]
        self._alone_possible = True  # a contact has moved since they were last looked at, or one is alone
        self._allocation_stale = True
        self.sequencer = Sequencer(
            general.module_count,
            Times(
                open_anyway_ms=round(safety.open_anyway_s * 1000),
                emergency_open_ms=round(safety.emergency_open_s * 1000),
                close_retry_delay_ms=round(safety.close_retry_delay_s * 1000),
            ),
        )

    def _defaults(self) -> Iterator[tuple[str, Value]]:
        for gun in self._guns:
            yield f"g{gun}d", 0.0
            yield f"g{gun}s", VehicleStatus.NEVER_TOLD.name
            yield f"g{gun}o", -1.0
            yield f"g{gun}p", 0
            yield f"g{gun}e", -1
            yield f"g{gun}c", -1.0
            yield f"g{gun}b", ""
            yield f"g{gun}f", 0
            for module in self._modules:
                yield f"x{gun}.{module}", ContactState.OPEN.value
                yield f"w{gun}.{module}", 0
        for module in self._modules:
            yield f"m{module}a", 0
            yield f"m{module}h", 0
            yield f"m{module}f", 0
        yield "site", -1.0
        yield "rule", self._rule.name
        yield "reset", 0

    # --- memory ---------------------------------------------------------------------------------------------------

    def state(self) -> Words:
        """All that the next steps follow from, but the settings. Between two steps, after the first."""
        assert self._allocation is not None
        memory = self._memory
        return {
            "inputs": {key: value for key, value in self._inputs.items() if value != self._unset[key]},
            "due": self._due_ms,
            "stale": self._allocation_stale,
            "alone": self._alone_possible,
            "allocation": allocation_words(self._allocation),
            "targets": list(self._targets_kw),
            "wants": list(self._wants),
            "seats": [seat_words(seat) for seat in self.sequencer.seats],
            "guns": [
                [g.session_since_ms, g.waiting_since_ms, g.keeps_kw, g.welded, g.locked] for g in memory.guns.values()
            ],
            "out": [[gun, module, code.name] for (gun, module), code in memory.out_of_service.items()],
            "emergency": sorted(memory.emergency),
            "elsewhere": sorted(memory.elsewhere),
            "resets": memory.resets,
        }

    def restore(self, state: Words, now_ms: int) -> None:
        """Go on from a `state`; before the first step. Raises KeyError, TypeError or ValueError: it is none."""
        for key, value in dict(state["inputs"]).items():
            self._inputs[key] = _typed(self, key, str(value))
        self._rule = Priority[str(self._inputs["rule"])]
        self._due_ms, self._allocation_stale, self._alone_possible = state["due"], state["stale"], state["alone"]
        self._allocation = allocation = allocation_of(state["allocation"])
        self._assignment = allocation.assignment
        self._targets_kw, self._wants = tuple(state["targets"]), tuple(state["wants"])
        # who looks ahead gets an answer from the next allocation on
        self._question = Question((), (), self._assignment, self._rule, self._limits(), now_ms)
        for seat, seat_state in zip(self.sequencer.seats, state["seats"], strict=True):
            put_seat(seat, seat_state)
        guns = {gun: _GunMemory(*words) for gun, words in zip(self._guns, state["guns"], strict=True)}
        out = {(gun, module): FaultCode[code] for gun, module, code in state["out"]}
        self._memory = _Memory(guns, out, set(state["emergency"]), set(state["elsewhere"]), state["resets"])

    # --- inputs ---------------------------------------------------------------------------------------------------

    def put(self, key: str, value: Value) -> None:
        """Set an input; only a change counts and is recorded."""
        if self._inputs[key] != value:
            self.change(key, value)

    def change(self, key: str, value: Value) -> None:
        """An input has changed, or did and came back before the core ran: the record names both."""
        self._inputs[key] = value
        self._changes.append(key)
        # contact states and facts move the sequence, what contactors wear waits for the next allocation, the state of
        # charge counts for one rule only
        if key[0] == "x":
            self._alone_possible = True
        elif key[0] != "w" and key[-1] != "f" and (key[-1] != "o" or self._rule is Priority.LOWEST_SOC):
            self._allocation_stale = True

    @property
    def inputs(self) -> Mapping[str, Value]:
        """All inputs as they are now; changes with them."""
        return self._inputs

    def due(self, now_ms: int) -> bool:
        return bool(self._changes) or (self._due_ms is not None and now_ms >= self._due_ms)

    @property
    def rule(self) -> Priority:
        """By which modules are shared just now."""
        return self._rule

    @property
    def due_ms(self) -> int | None:
        """When one of the core's own timers is due."""
        return self._due_ms

    def locked(self, gun: int) -> bool:
        """A welded contactor keeps the gun from a new session until a person has reset."""
        return self._memory.guns[gun].locked

    def number(self, key: str) -> float:
        value = self._inputs[key]
        assert not isinstance(value, str)
        return value

    # --- the run --------------------------------------------------------------------------------------------------

    def step(self, now_ms: int) -> tuple[str, Decision]:
        """Run once; returns the record of the inputs and the decision."""
        record = self._record(now_ms)
        self._reset(now_ms)
        events = self._contacts_alone(now_ms)
        allocation = self._allocate(now_ms)
        events += self._sequence(now_ms)
        events += self._contacts_alone(now_ms)  # a module that came free just now may hang on another gun
        self._end_emergencies()
        if self._allocation_stale:
            allocation = self._allocate(now_ms)
            events += self._sequence(now_ms)
        dues = (allocation.next_due_ms, self.sequencer.next_due_ms(now_ms))
        self._due_ms = min((due for due in dues if due is not None), default=None)
        return record, self._decision(now_ms, allocation, events)

    def _decision(self, now_ms: int, allocation: Allocation, events: list[SequenceEvent]) -> Decision:
        assert self._question is not None
        seats = self.sequencer.seats
        by_gun: dict[int, tuple[tuple[int, Stage], ...]] = {}
        for seat in seats:
            if seat.gun:
                by_gun[seat.gun] = (*by_gun.get(seat.gun, ()), (seat.module, seat.stage))
        return Decision(
            at_ms=now_ms,
            allocation=allocation,
            targets_kw=self._targets_kw,
            wants=self._wants,
            seats=tuple((seat.stage, seat.gun) for seat in seats),
            coils=self._coils(),
            events=tuple(events),
            by_gun=by_gun,
            question=self._question,
        )

    def _record(self, now_ms: int) -> str:
        changes = " ".join(f"{key}={self._inputs[key]}" for key in dict.fromkeys(self._changes))
        self._changes.clear()
        return f"{now_ms} {changes}".rstrip()

    def _reset(self, now_ms: int) -> None:
        resets = int(self.number("reset"))
        if resets == self._memory.resets:
            return
        self._memory.resets = resets
        self.sequencer.release(self._contact, now_ms)
        still = {(seat.gun, seat.module) for seat in self.sequencer.seats if seat.stage is Stage.WELDED}
        self._memory.out_of_service = {x: c for x, c in self._memory.out_of_service.items() if x in still}
        for gun, memory in self._memory.guns.items():
            memory.welded = memory.locked = any(gun == g for g, _ in still)

    # --- allocation -----------------------------------------------------------------------------------------------

    def _allocate(self, now_ms: int) -> Allocation:
        due_ms = self._allocation.next_due_ms if self._allocation is not None else None
        if self._allocation is not None and not self._allocation_stale and not (due_ms and now_ms >= due_ms):
            return self._allocation
        self._allocation_stale = False
        self._take_rule()
        guns = [self._request(gun, now_ms) for gun in self._guns]
        offers = [self._offer(module) for module in self._modules]
        self._question = Question(guns, offers, self._assignment, self._rule, self._limits(), now_ms)
        allocation = self._question.answer()
        self._assignment, self._allocation = allocation.assignment, allocation
        self._targets_kw = tuple(request.target_kw for request in guns)
        holders = {holding.module: holding.gun for holding in allocation.assignment.holdings}
        self._wants = tuple(holders.get(module, 0) for module in self._modules)
        return allocation

    def _take_rule(self) -> None:
        """A new rule: who is served now keeps one module, so that no car drops to zero for it."""
        rule = Priority[str(self._inputs["rule"])]
        if rule is self._rule:
            return
        self._rule = rule
        for result in self._allocation.guns if self._allocation is not None else ():
            most_kw = min(result.allocated_kw, self._settings.general.module_power_capacity_kw)
            self._memory.guns[result.gun].keeps_kw = most_kw

    def _limits(self) -> AllocationLimits:
        chosen, general = self._settings.allocation, self._settings.general
        site_kw = self.number("site")
        return AllocationLimits(
            module_capacity_kw=general.module_power_capacity_kw,
            max_modules_per_gun=general.max_modules_per_gun,
            min_modules_per_gun=chosen.min_modules_per_gun,
            priority_hysteresis_pct=chosen.priority_hysteresis_pct,
            release_delay_ms=round(chosen.release_delay_s * 1000),
            step_margin_kw=chosen.step_margin_kw,
            move_dwell_ms=round(chosen.move_dwell_s * 1000),
            rotation_period_ms=round(chosen.rotation_period_s * 1000),
            site_budget_kw=None if site_kw < 0 else site_kw,
            gun_priority=chosen.gun_priority,
        )

    def _request(self, gun: int, now_ms: int) -> GunRequest:
        status = VehicleStatus[str(self._inputs[f"g{gun}s"])]
        asking = status in _ASKING
        demand_kw = self.number(f"g{gun}d") if asking else 0.0
        limits = [
            (self._settings.power_limits.gun_max_power_kw[gun], TargetBound.GUN_LIMIT),
            (self.number(f"g{gun}c"), TargetBound.COMMAND_LIMIT),
            (self.number(f"g{gun}e"), TargetBound.CURRENT_LIMIT),
        ]
        most_kw = min(kw for kw, _ in limits if kw >= 0)
        # a gun that may have nothing is not precharged either
        precharge = asking and demand_kw == 0.0 and self.number(f"g{gun}p") > 0 and most_kw > 0
        limits.insert(0, (demand_kw, TargetBound.DEMAND))
        target_kw, reason = min(((kw, why) for kw, why in limits if kw >= 0), key=lambda limit: limit[0])
        memory = self._remember(gun, demand_kw > 0 or precharge, now_ms)
        soc_pct = self.number(f"g{gun}o")
        return GunRequest(
            gun=gun,
            demand_kw=demand_kw,
            target_kw=target_kw,
            limit_reason=reason,
            soc_pct=None if soc_pct < 0 else soc_pct,
            session_since_ms=memory.session_since_ms or 0,
            waiting_since_ms=memory.waiting_since_ms,
            precharge_only=precharge,
            keeps_kw=memory.keeps_kw,
            blocked_reason=self._blocked(gun),
        )

    def _remember(self, gun: int, wanting: bool, now_ms: int) -> _GunMemory:
        memory = self._memory.guns[gun]
        if not wanting:
            memory.session_since_ms = memory.waiting_since_ms = None
            memory.keeps_kw = 0.0
            memory.locked = memory.locked or memory.welded
        else:
            memory.session_since_ms = now_ms if memory.session_since_ms is None else memory.session_since_ms
            if self._assignment.modules_of(gun):
                memory.waiting_since_ms = None
            else:
                memory.keeps_kw = 0.0  # a fault took its last module: it waits like the others
                memory.waiting_since_ms = now_ms if memory.waiting_since_ms is None else memory.waiting_since_ms
        return memory

    def _blocked(self, gun: int) -> ReasonCode | None:
        told = str(self._inputs[f"g{gun}b"])
        if told:
            return ReasonCode[told]
        if gun in self._memory.emergency:
            return ReasonCode.FAULT
        return ReasonCode.WELD_LOCKED if self._memory.guns[gun].locked else None

    def _offer(self, module: int) -> ModuleOffer:
        seat = self.sequencer.seats[module - 1]
        marks = {gun: code for (gun, m), code in self._memory.out_of_service.items() if m == module}
        # one that did not close may be closed all the same: its module serves that gun (it cannot) or nobody
        # (one that dropped may close again by itself: a bad driver does both)
        stuck = any(code not in _CLOSED_MARKS for code in marks.values())
        welded = seat.stage is Stage.WELDED
        allowed = frozenset({seat.gun}) if welded else frozenset(g for g in self._guns if g not in marks)
        return ModuleOffer(
            module=module,
            available_kw=0 if stuck or module in self._memory.elsewhere else int(self.number(f"m{module}a")),
            hours=self.number(f"m{module}h"),
            guns_allowed=allowed,
            wear={gun: wear for gun in self._guns if (wear := int(self.number(f"w{gun}.{module}")))},
            pinned_gun=seat.gun if welded else None,
            busy_until_ready=seat.stage not in (Stage.FREE, Stage.SERVE, Stage.WELDED),
        )

    # --- switching ------------------------------------------------------------------------------------------------

    def _contact(self, gun: int, module: int) -> ContactState:
        return _CONTACT[str(self._inputs[f"x{gun}.{module}"])]

    def _contacts_alone(self, now_ms: int) -> list[SequenceEvent]:
        """A contactor closed alone: emergency order for every gun of its module, then the module is pinned."""
        alone = [key for key in self._crosspoints if self._contact(*key) in _ALONE] if self._alone_possible else []
        self._alone_possible = bool(alone)
        seats = self.sequencer.seats
        elsewhere = {module for gun, module in alone if seats[module - 1].gun != gun}
        if elsewhere != self._memory.elsewhere:
            self._memory.elsewhere = elsewhere
            self._allocation_stale = True
        noticed = [self._contact_alone(gun, module, now_ms) for gun, module in alone]
        return [event for event in noticed if event is not None]

    def _end_emergencies(self) -> None:
        """The core's own emergency order ends when nothing of the gun is on its bus any more."""
        still = {gun for gun in self._memory.emergency if self._on_bus(gun)}
        if still != self._memory.emergency:
            self._memory.emergency = still
            self._allocation_stale = True

    def _contact_alone(self, gun: int, module: int, now_ms: int) -> SequenceEvent | None:
        seat = self.sequencer.seats[module - 1]
        # the table itself deals with the crosspoint of the seat, and what is known to be closed is dealt with
        known = self._memory.out_of_service.get((gun, module)) in _CLOSED_MARKS
        if known or seat.gun == gun:
            return None
        self._memory.emergency |= {gun, seat.gun} - {0}
        self._allocation_stale = True
        if seat.stage not in (Stage.FREE, Stage.WELDED):
            return None
        alone = self._contact(gun, module) is ContactState.INTRUDER
        code = FaultCode.CONTACTOR_CLOSED_ALONE if alone else FaultCode.CONTACTOR_WELDED
        event = SequenceEvent(module, gun, seat.stage, Stage.WELDED, code)
        if seat.stage is Stage.WELDED:
            self._memory.guns[seat.gun].locked = True  # two guns hang together: neither may be served
        else:
            self.sequencer.weld(module, gun, now_ms)
        self._mark(gun, module, code)
        self._memory.guns[gun].locked = True
        return event

    def _on_bus(self, gun: int) -> bool:
        idle = (Stage.FREE, Stage.WELDED)
        return any(seat.gun == gun and seat.stage not in idle for seat in self.sequencer.seats)

    def _mark(self, gun: int, module: int, code: FaultCode) -> None:
        self._memory.out_of_service[(gun, module)] = code
        if code in _CLOSED_MARKS:
            self._memory.guns[gun].welded = True
        self._allocation_stale = True

    def _sequence(self, now_ms: int) -> list[SequenceEvent]:
        facts = [int(self.number(f"m{module}f")) for module in self._modules]
        gun_facts = {gun: int(self.number(f"g{gun}f")) for gun in self._guns}
        for gun in self._memory.emergency:
            gun_facts[gun] |= int(GunFact.EMERGENCY)
        events: list[SequenceEvent] = []
        for _ in range(_CHAIN):
            fired = self.sequencer.step(now_ms, self._wants, self._contact, facts, gun_facts)
            events += fired
            for event in fired:
                if event.fault in OUT_OF_SERVICE:
                    assert event.fault is not None
                    self._mark(event.gun, event.module, event.fault)
                    if event.fault is FaultCode.CONTACTOR_CLOSED_ALONE:
                        self._memory.emergency.add(event.gun)
                elif Stage.FREE in (event.before, event.after):
                    self._allocation_stale = True
            if not fired:
                break
        return events

    def _coils(self) -> int:
        count = len(self._modules)
        image = 0
        for seat in self.sequencer.seats:
            if seat.stage.coil:
                image |= 1 << ((seat.gun - 1) * count + seat.module - 1)
        return image


def replay(settings: Settings, records: Iterable[str]) -> Iterator[Decision]:
    """Repeat the decisions of a record. A line that begins with # is the head of a start: everything begins anew.

    What else a record says (settings, proofs, marks: planning/record.py) is passed over. Raises ValueError with the
    line when one cannot be read.
    """
    core = DecisionCore(settings)
    for number, record in enumerate(records, 1):
        if record.startswith("#"):
            core = DecisionCore(settings)
        elif record.strip() and record[0] not in NO_INPUTS:
            try:
                now_ms = take(core, record)
            except (KeyError, ValueError) as error:
                raise ValueError(f"line {number} of the record cannot be read: {record[:80]!r}") from error
            yield core.step(now_ms)[1]


#: First characters of lines and of words that are no inputs: settings, marks, what is missing; proofs and what follows.
NO_INPUTS = frozenset(":@!")
NO_INPUT_WORDS = ("=", ">")


def take(core: DecisionCore, record: str) -> int:
    """Put the changes of one record; returns its time. Raises KeyError or ValueError when it cannot be read."""
    at, *changes = record.split()
    now_ms = int(at)
    for change in changes:
        if not change.startswith(NO_INPUT_WORDS):
            key, _, text = change.partition("=")
            core.change(key, _typed(core, key, text))
    return now_ms


#: What may stand behind the keys that hold words, by the last letter of the key (contact states: no letter).
_WORDS = {
    "s": frozenset(status.name for status in VehicleStatus),
    "b": frozenset({"", *(code.name for code in ReasonCode)}),
    "e": frozenset(rule.name for rule in Priority),
}


def _typed(core: DecisionCore, key: str, text: str) -> Value:
    value = type(core._inputs[key])(text)
    if isinstance(value, str) and value not in _WORDS.get(key[-1], _CONTACT):
        raise ValueError(f"{key} cannot be {value!r}")
    return value
