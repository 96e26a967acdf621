"""Job: the switching sequence: how a module comes onto a gun and leaves it again, as a table of stages.

Thread: control (or any one at a time). Lock: none. Units: ms since any fixed moment, all whole numbers.

Each module has one seat in the sequence. A stage commands (coil, duty); the rows of the stage say which confirmation
or time-out leads where and which fault that is. Nothing here knows volts: `Fact` bits say what the readings prove.
`python -m planning.transition` prints the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntFlag

from planning.faults import FaultCode
from planning.model import PROVEN_OPEN, ContactState


class Duty(Enum):
    """What the module of a seat shall do."""

    OFF = "off"
    OFF_NOW = "off, emergency order"
    MATCH = "on, unloaded, just below the bus"
    DRIVE = "as the drive of its gun says"


class Stage(Enum):
    """(words, coil, duty of the module, its contactor may be closed)"""

    FREE = ("free", False, Duty.OFF, False)
    CLOSE_DEAD = ("closing on a dead bus", True, Duty.OFF, True)
    MATCH = ("matching the voltage of a live bus", False, Duty.MATCH, False)
    CLOSE_LIVE = ("closing on a live bus", True, Duty.MATCH, True)
    SERVE = ("serving", True, Duty.DRIVE, True)
    UNLOAD = ("unloading", True, Duty.OFF, True)
    LOST = ("silent while closed", True, Duty.OFF, True)
    BREAK = ("emergency order", True, Duty.OFF_NOW, True)
    OPEN = ("opening", False, Duty.OFF, True)
    RETRY = ("pausing after a failed close", False, Duty.OFF, False)
    # The coil stays off (no repeated commands to a dead contact); the module may finish the session of that gun.
    WELDED = ("welded", False, Duty.DRIVE, True)

    def __init__(self, words: str, coil: bool, duty: Duty, on_bus: bool) -> None:
        self.words = words
        self.coil = coil
        self.duty = duty
        self.on_bus = on_bus


class Fact(IntFlag):
    """What the readings of a module prove, with respect to the gun of its seat."""

    COLD = 1  # off and below dead_voltage, by fresh readings asked for after it was last on
    RESTED = 2  # its lead is empty: terminal_discharge_time over, or its last bus was told dead
    MATCHED = 4  # on, unloaded, two fresh readings 0 to match_window below the bus
    UNLOADED = 8  # below open_current by a reading asked for after its OFF was confirmed
    LOST = 16  # silent
    BREAK_NOW = 32  # silent for so long that its contactor opens under whatever flows


class GunFact(IntFlag):
    """What is known of a gun's bus."""

    TOLD_DEAD = 1  # told below dead_voltage, fresh, and no module on it is or may be on
    LIVE = 2  # its voltage is above dead_voltage, told or measured
    VOLTAGE_KNOWN = 4  # rule 7.2(b) has a bus voltage
    EMERGENCY = 8  # emergency order for this gun
    DRIVING = 16  # its drive has a module on (or about to be)


@dataclass(frozen=True, slots=True)
class Times:
    """Time-outs of the sequence in ms, from [Safety]; the rest are ours, with their reason."""

    open_anyway_ms: int
    emergency_open_ms: int
    close_retry_delay_ms: int
    #: soft start 1 to 3 s, 8 s at the worst (module makes' start time-out), the search up to 1000 V, two readings
    match_ms: int = 20_000
    #: a close that the interlock keeps refusing is given up; pick-up slots are free again after 250 ms
    close_refused_ms: int = 3_000
    #: a live close needs the match to hold; if it does not within this time, match again
    rematch_ms: int = 1_500
    #: pause after a match or close that did not come about
    pause_ms: int = 10_000


@dataclass(slots=True)
class Seat:
    """Where one module stands in the sequence."""

    module: int
    stage: Stage = Stage.FREE
    gun: int = 0  # the gun that the stage is about; 0 while free
    last_gun: int = 0  # whose bus its output terminals saw last
    parted_ms: int | None = None  # when its contactor to that bus was proven open
    since_ms: int = 0
    failed_closes: int = 0
    not_before_ms: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """What a row looks at."""

    seat: Seat
    want: int  # the gun that allocation gives this module to; 0 = none
    contact: ContactState  # of the crosspoint of the seat (OPEN while free)
    facts: Fact
    gun_facts: GunFact  # of the seat's gun, or of `want` while free
    bus_open: bool  # no module is, or may be, on the bus of that gun
    age_ms: int
    now_ms: int
    times: Times


Condition = Callable[[Case], bool]


@dataclass(frozen=True, slots=True)
class Row:
    when: Condition
    then: Stage
    fault: FaultCode | None = None


# --- conditions: their names are what the printed table says ---------------------------------------------------------


def emergency(case: Case) -> bool:
    return bool(case.gun_facts & GunFact.EMERGENCY)


def unwanted(case: Case) -> bool:
    return case.want != case.seat.gun


def silent(case: Case) -> bool:
    return bool(case.facts & Fact.LOST)


def silent_too_long(case: Case) -> bool:
    return bool(case.facts & Fact.BREAK_NOW)


def heard_again(case: Case) -> bool:
    return not case.facts & Fact.LOST


def closed(case: Case) -> bool:
    return case.contact is ContactState.CLOSED


def open_(case: Case) -> bool:
    return case.contact is ContactState.OPEN


def close_failed(case: Case) -> bool:
    return case.contact is ContactState.CLOSE_FAILED and case.seat.failed_closes == 0


def close_failed_twice(case: Case) -> bool:
    return case.contact is ContactState.CLOSE_FAILED and case.seat.failed_closes > 0


def dropped(case: Case) -> bool:
    return case.contact is ContactState.DROPPED


def still_closed(case: Case) -> bool:
    return case.contact in (ContactState.OPEN_FAILED, ContactState.INTRUDER)


def unloaded(case: Case) -> bool:
    return bool(case.facts & Fact.UNLOADED)


def matched(case: Case) -> bool:
    return bool(case.facts & Fact.MATCHED)


def bus_lost(case: Case) -> bool:
    """Nobody holds the bus up and nobody tells its voltage. While it is still searched, modules may warm up."""
    return not case.gun_facts & (GunFact.VOLTAGE_KNOWN | GunFact.DRIVING)


def open_anyway(case: Case) -> bool:
    return case.age_ms >= case.times.open_anyway_ms


def emergency_open(case: Case) -> bool:
    return case.age_ms >= case.times.emergency_open_ms


def match_timeout(case: Case) -> bool:
    return case.age_ms >= case.times.match_ms


def refused_too_long(case: Case) -> bool:
    return case.contact is ContactState.OPEN and case.age_ms >= case.times.close_refused_ms


def match_not_held(case: Case) -> bool:
    return case.contact is ContactState.OPEN and case.age_ms >= case.times.rematch_ms


def pause_over(case: Case) -> bool:
    return case.contact is ContactState.OPEN and case.age_ms >= case.times.close_retry_delay_ms


def unwanted_not_picked_up(case: Case) -> bool:
    return unwanted(case) and case.contact is ContactState.OPEN


def unwanted_arrived(case: Case) -> bool:
    """While the poles travel the module stays as it is: switched off, it would meet a live bus dead."""
    return unwanted(case) and closed(case)


def bus_lost_not_picked_up(case: Case) -> bool:
    """The last module left the bus that this one was matched to: its terminals are charged, the bus is not."""
    return bus_lost(case) and case.contact is ContactState.OPEN


def may_match(case: Case) -> bool:
    """Rule 7.4: back to the same gun at once, to another only rested."""
    return case.want == case.seat.last_gun or bool(case.facts & Fact.RESTED)


def empty(case: Case) -> bool:
    """Off and cold, and rested even for the gun it comes from: its lead behind the diode empties more slowly than the
    output that it measures and than the bus."""
    return bool(case.facts & Fact.COLD) and bool(case.facts & Fact.RESTED)


def wanted_bus_dead(case: Case) -> bool:
    dead = bool(case.gun_facts & GunFact.TOLD_DEAD) or (case.bus_open and not case.gun_facts & GunFact.LIVE)
    calm = not case.gun_facts & (GunFact.DRIVING | GunFact.EMERGENCY)
    ready = empty(case) and case.now_ms >= case.seat.not_before_ms
    return case.want != 0 and ready and dead and calm


def wanted_bus_live(case: Case) -> bool:
    known = not bus_lost(case) and not case.gun_facts & GunFact.EMERGENCY
    ready = may_match(case) and not case.facts & Fact.LOST and case.now_ms >= case.seat.not_before_ms
    return case.want != 0 and ready and known


# --- the table -------------------------------------------------------------------------------------------------------

TABLE: Mapping[Stage, tuple[Row, ...]] = {
    Stage.FREE: (
        Row(wanted_bus_dead, Stage.CLOSE_DEAD),
        Row(wanted_bus_live, Stage.MATCH),
    ),
    Stage.CLOSE_DEAD: (
        Row(still_closed, Stage.WELDED, FaultCode.CONTACTOR_CLOSED_ALONE),
        Row(emergency, Stage.OPEN),
        Row(unwanted_not_picked_up, Stage.FREE),
        Row(unwanted, Stage.OPEN),
        Row(closed, Stage.SERVE),
        Row(close_failed_twice, Stage.OPEN, FaultCode.CONTACTOR_STUCK_OPEN),
        Row(close_failed, Stage.RETRY),
        Row(dropped, Stage.OPEN, FaultCode.CONTACTOR_DROPPED),
        Row(refused_too_long, Stage.OPEN, FaultCode.CLOSE_REFUSED),
    ),
    Stage.MATCH: (
        Row(still_closed, Stage.WELDED, FaultCode.CONTACTOR_CLOSED_ALONE),
        Row(emergency, Stage.OPEN),
        Row(silent, Stage.OPEN),
        Row(unwanted, Stage.OPEN),
        Row(bus_lost, Stage.OPEN),
        Row(matched, Stage.CLOSE_LIVE),
        Row(match_timeout, Stage.OPEN, FaultCode.MATCH_TIMEOUT),
    ),
    Stage.CLOSE_LIVE: (
        Row(still_closed, Stage.WELDED, FaultCode.CONTACTOR_CLOSED_ALONE),
        Row(emergency, Stage.BREAK),
        Row(silent, Stage.LOST),
        Row(unwanted_not_picked_up, Stage.OPEN),
        Row(bus_lost_not_picked_up, Stage.OPEN),
        Row(unwanted_arrived, Stage.UNLOAD),
        Row(closed, Stage.SERVE),
        Row(close_failed_twice, Stage.OPEN, FaultCode.CONTACTOR_STUCK_OPEN),
        Row(close_failed, Stage.RETRY),
        Row(dropped, Stage.OPEN, FaultCode.CONTACTOR_DROPPED),
        Row(match_not_held, Stage.MATCH),
    ),
    Stage.SERVE: (
        Row(emergency, Stage.BREAK),
        Row(dropped, Stage.OPEN, FaultCode.CONTACTOR_DROPPED),
        Row(silent, Stage.LOST),
        Row(unwanted, Stage.UNLOAD),
    ),
    Stage.UNLOAD: (
        Row(emergency, Stage.BREAK),
        Row(dropped, Stage.OPEN, FaultCode.CONTACTOR_DROPPED),
        Row(silent, Stage.LOST),
        Row(unloaded, Stage.OPEN),
        Row(open_anyway, Stage.OPEN, FaultCode.LOAD_BREAK),
    ),
    Stage.LOST: (
        Row(emergency, Stage.BREAK),
        Row(dropped, Stage.OPEN, FaultCode.CONTACTOR_DROPPED),
        Row(silent_too_long, Stage.OPEN, FaultCode.LOAD_BREAK),
        Row(heard_again, Stage.UNLOAD),
    ),
    Stage.BREAK: (
        Row(unloaded, Stage.OPEN),
        Row(emergency_open, Stage.OPEN),
    ),
    Stage.OPEN: (
        Row(open_, Stage.FREE),
        Row(still_closed, Stage.WELDED, FaultCode.CONTACTOR_WELDED),
    ),
    Stage.RETRY: (
        Row(still_closed, Stage.WELDED, FaultCode.CONTACTOR_WELDED),
        Row(pause_over, Stage.FREE),
    ),
    Stage.WELDED: (),  # only a person ends it: Sequencer.release()
}

#: Faults after which a crosspoint stays out of service until a person resets it.
OUT_OF_SERVICE = frozenset(
    {
        FaultCode.CONTACTOR_STUCK_OPEN,
        FaultCode.CONTACTOR_WELDED,
        FaultCode.CONTACTOR_DROPPED,
        FaultCode.CONTACTOR_CLOSED_ALONE,
    }
)

#: Stages that may not lead on at once after a time-out: the module pauses before it is tried again.
_PAUSED_AFTER = frozenset({FaultCode.MATCH_TIMEOUT, FaultCode.CLOSE_REFUSED})


@dataclass(frozen=True, slots=True)
class SequenceEvent:
    """A row that fired."""

    module: int
    gun: int
    before: Stage
    after: Stage
    fault: FaultCode | None = None


class Sequencer:
    """The seats of all modules. Same inputs at the same times give the same seats."""

    def __init__(self, module_count: int, times: Times) -> None:
        self.seats = tuple(Seat(module) for module in range(1, module_count + 1))
        self._times = times

    def step(
        self,
        now_ms: int,
        wants: Sequence[int],
        contact: Callable[[int, int], ContactState],
        facts: Sequence[int],
        gun_facts: Mapping[int, int],
    ) -> list[SequenceEvent]:
        """One row at most for each seat, in the order of the modules. `wants`, `facts`: index module - 1."""
        events = []
        for seat in self.seats:
            event = self._step_seat(seat, now_ms, wants[seat.module - 1], contact, facts[seat.module - 1], gun_facts)
            if event is not None:
                events.append(event)
        return events

    def weld(self, module: int, gun: int, now_ms: int) -> None:
        """A contactor of this module is closed without command: the module belongs to that gun or to nobody."""
        seat = self.seats[module - 1]
        seat.stage, seat.gun, seat.last_gun, seat.since_ms = Stage.WELDED, gun, gun, now_ms

    def release(self, contact: Callable[[int, int], ContactState], now_ms: int) -> None:
        """A person has reset: seats whose contactor is proven open again are free."""
        for seat in self.seats:
            seat.failed_closes = 0
            seat.not_before_ms = 0
            if seat.stage is Stage.WELDED and contact(seat.gun, seat.module) in PROVEN_OPEN:
                seat.stage, seat.gun, seat.since_ms = Stage.FREE, 0, now_ms
                seat.parted_ms = now_ms  # when it really let go nobody has seen

    def next_due_ms(self, now_ms: int) -> int | None:
        """When a time-out of the present stages is next due; None: none runs."""
        dues = [due for seat in self.seats if (due := self._due_ms(seat)) is not None and due > now_ms]
        return min(dues, default=None)

    def _due_ms(self, seat: Seat) -> int | None:
        times = self._times
        after_ms = {
            Stage.CLOSE_DEAD: times.close_refused_ms,
            Stage.MATCH: times.match_ms,
            Stage.CLOSE_LIVE: times.rematch_ms,
            Stage.UNLOAD: times.open_anyway_ms,
            Stage.BREAK: times.emergency_open_ms,
            Stage.RETRY: times.close_retry_delay_ms,
        }.get(seat.stage)
        if after_ms is not None:
            return seat.since_ms + after_ms
        return seat.not_before_ms if seat.stage is Stage.FREE else None

    def _step_seat(
        self,
        seat: Seat,
        now_ms: int,
        want: int,
        contact: Callable[[int, int], ContactState],
        facts: int,
        gun_facts: Mapping[int, int],
    ) -> SequenceEvent | None:
        rows = TABLE[seat.stage]
        gun = seat.gun or want
        if not rows or not gun:
            return None
        case = Case(
            seat,
            want,
            contact(gun, seat.module) if seat.gun else ContactState.OPEN,
            Fact(facts),
            GunFact(gun_facts[gun]),
            self._bus_open(gun),
            now_ms - seat.since_ms,
            now_ms,
            self._times,
        )
        for row in rows:
            if row.when(case):
                return self._move(seat, gun, row, now_ms)
        return None

    def _bus_open(self, gun: int) -> bool:
        return not any(seat.gun == gun and seat.stage.on_bus for seat in self.seats)

    def _move(self, seat: Seat, gun: int, row: Row, now_ms: int) -> SequenceEvent:
        event = SequenceEvent(seat.module, gun, seat.stage, row.then, row.fault)
        if gun != seat.last_gun:
            seat.failed_closes = 0
        if row.then is Stage.RETRY:
            seat.failed_closes += 1
        elif row.then is Stage.SERVE:
            seat.failed_closes = 0
        if row.fault in _PAUSED_AFTER:
            seat.not_before_ms = now_ms + self._times.pause_ms
        seat.last_gun = gun
        if seat.stage is Stage.OPEN and row.then is Stage.FREE:
            seat.parted_ms = now_ms
        seat.stage, seat.since_ms = row.then, now_ms
        seat.gun = 0 if row.then is Stage.FREE else gun
        return event


def table_lines() -> list[str]:
    """The table as text, one line a row, for docs and for people."""
    lines = []
    for stage, rows in TABLE.items():
        lines.append(f"{stage.name}: coil {'on' if stage.coil else 'off'}, module {stage.duty.value}")
        for row in rows:
            fault = f"  [{row.fault.name}]" if row.fault else ""
            lines.append(f"    {row.when.__name__.strip('_').replace('_', ' ')} -> {row.then.name}{fault}")
    return lines


if __name__ == "__main__":
    print("\n".join(table_lines()))
