"""Job: the switching sequence: every row fires, and the mistakes that would cost a contactor cannot be made.

Thread: the test's. Lock: none. Units: ms.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from planning.faults import FaultCode
from planning.model import PROVEN_OPEN, ContactState
from planning.transition import (
    OUT_OF_SERVICE,
    TABLE,
    Duty,
    Fact,
    GunFact,
    Row,
    SequenceEvent,
    Sequencer,
    Stage,
    Times,
    table_lines,
)

TIMES = Times(open_anyway_ms=3000, emergency_open_ms=60, close_retry_delay_ms=1000)
READY = Fact.COLD | Fact.RESTED
NOTHING = Fact(0)
QUIET = GunFact(0)
DRIVEN = GunFact.LIVE | GunFact.VOLTAGE_KNOWN | GunFact.DRIVING
OPEN, CLOSED = ContactState.OPEN, ContactState.CLOSED
HERE, ELSEWHERE, NOBODY = 1, 2, 0


@dataclass(frozen=True, slots=True)
class At:
    """The situation of one module whose seat (if any) is gun 1's."""

    want: int = HERE
    contact: ContactState = OPEN
    facts: Fact = NOTHING
    gun: GunFact = QUIET
    age_ms: int = 0
    failed: int = 0


SILENT_FOR_GOOD = Fact.LOST | Fact.BREAK_NOW
EMERGENCY = GunFact.EMERGENCY
#: stage -> condition of the row -> the least situation in which that row, and no earlier one, fires
SITUATIONS: dict[Stage, dict[str, At]] = {
    Stage.FREE: {
        "wanted_bus_dead": At(facts=READY),
        "wanted_bus_live": At(facts=Fact.RESTED, gun=DRIVEN),
    },
    Stage.CLOSE_DEAD: {
        "still_closed": At(contact=ContactState.INTRUDER),
        "emergency": At(gun=EMERGENCY),
        "unwanted_not_picked_up": At(want=NOBODY),
        "unwanted": At(want=ELSEWHERE, contact=ContactState.CLOSING),
        "closed": At(contact=CLOSED),
        "close_failed_twice": At(contact=ContactState.CLOSE_FAILED, failed=1),
        "close_failed": At(contact=ContactState.CLOSE_FAILED),
        "dropped": At(contact=ContactState.DROPPED),
        "refused_too_long": At(age_ms=TIMES.close_refused_ms),
    },
    Stage.MATCH: {
        "still_closed": At(contact=ContactState.OPEN_FAILED, gun=DRIVEN),
        "emergency": At(gun=EMERGENCY),
        "silent": At(facts=Fact.LOST, gun=DRIVEN),
        "unwanted": At(want=NOBODY, gun=DRIVEN),
        "bus_lost": At(facts=Fact.MATCHED),
        "matched": At(facts=Fact.MATCHED, gun=DRIVEN),
        "match_timeout": At(gun=DRIVEN, age_ms=TIMES.match_ms),
    },
    Stage.CLOSE_LIVE: {
        "still_closed": At(contact=ContactState.INTRUDER, gun=DRIVEN),
        "emergency": At(gun=EMERGENCY),
        "silent": At(facts=Fact.LOST, gun=DRIVEN),
        "unwanted_not_picked_up": At(want=NOBODY, gun=DRIVEN),
        "bus_lost_not_picked_up": At(),
        "unwanted_arrived": At(want=NOBODY, contact=CLOSED, gun=DRIVEN),
        "closed": At(contact=CLOSED, gun=DRIVEN),
        "close_failed_twice": At(contact=ContactState.CLOSE_FAILED, gun=DRIVEN, failed=1),
        "close_failed": At(contact=ContactState.CLOSE_FAILED, gun=DRIVEN),
        "dropped": At(contact=ContactState.DROPPED, gun=DRIVEN),
        "match_not_held": At(gun=DRIVEN, age_ms=TIMES.rematch_ms),
    },
    Stage.SERVE: {
        "emergency": At(contact=CLOSED, gun=EMERGENCY),
        "dropped": At(contact=ContactState.DROPPED),
        "silent": At(contact=CLOSED, facts=Fact.LOST),
        "unwanted": At(contact=CLOSED, want=ELSEWHERE),
    },
    Stage.UNLOAD: {
        "emergency": At(contact=CLOSED, gun=EMERGENCY),
        "dropped": At(contact=ContactState.DROPPED),
        "silent": At(contact=CLOSED, facts=Fact.LOST),
        "unloaded": At(contact=CLOSED, facts=Fact.UNLOADED),
        "open_anyway": At(contact=CLOSED, age_ms=TIMES.open_anyway_ms),
    },
    Stage.LOST: {
        "emergency": At(contact=CLOSED, facts=Fact.LOST, gun=EMERGENCY),
        "dropped": At(contact=ContactState.DROPPED, facts=Fact.LOST),
        "silent_too_long": At(contact=CLOSED, facts=SILENT_FOR_GOOD),
        "heard_again": At(contact=CLOSED),
    },
    Stage.BREAK: {
        "unloaded": At(contact=CLOSED, facts=Fact.UNLOADED, gun=EMERGENCY),
        "emergency_open": At(contact=CLOSED, gun=EMERGENCY, age_ms=TIMES.emergency_open_ms),
    },
    Stage.OPEN: {
        "open_": At(),
        "still_closed": At(contact=ContactState.OPEN_FAILED),
    },
    Stage.RETRY: {
        "still_closed": At(contact=ContactState.OPEN_FAILED),
        "pause_over": At(age_ms=TIMES.close_retry_delay_ms),
    },
    Stage.WELDED: {},
}
ROWS = [(stage, row) for stage, rows in TABLE.items() for row in rows]
START_MS = 100_000


def _row_id(each: Row | Stage) -> str:
    return each.when.__name__ if isinstance(each, Row) else each.name


class Bench:
    """A sequencer of which the test turns the knobs; one module unless said otherwise."""

    def __init__(self, modules: int = 1) -> None:
        self.sequencer = Sequencer(modules, TIMES)
        self.now_ms = START_MS
        self.wants = [NOBODY] * modules
        self.facts = [NOTHING] * modules
        self.guns = {1: QUIET, 2: QUIET}
        self.contacts: dict[tuple[int, int], ContactState] = {}

    def step(self, after_ms: int = 0) -> list[SequenceEvent]:
        self.now_ms += after_ms
        facts, guns = [int(bits) for bits in self.facts], {gun: int(bits) for gun, bits in self.guns.items()}
        return self.sequencer.step(self.now_ms, self.wants, self.contact, facts, guns)

    def contact(self, gun: int, module: int) -> ContactState:
        return self.contacts.get((gun, module), OPEN)

    def stage(self, module: int = 1) -> Stage:
        return self.sequencer.seats[module - 1].stage

    def put(self, stage: Stage, gun: int = HERE, module: int = 1) -> None:
        """Begin with the module in this stage."""
        seat = self.sequencer.seats[module - 1]
        seat.stage, seat.since_ms = stage, self.now_ms
        seat.gun = 0 if stage is Stage.FREE else gun
        seat.last_gun = seat.gun

    def arrange(self, stage: Stage, at: At) -> None:
        self.put(stage)
        self.sequencer.seats[0].failed_closes = at.failed
        self.wants, self.facts, self.guns[1] = [at.want], [at.facts], at.gun
        self.contacts[(1, 1)] = at.contact


# --- the table ------------------------------------------------------------------------------------------------------


def test_every_stage_has_rows_but_the_one_that_a_person_ends() -> None:
    assert set(TABLE) == set(Stage)
    assert [stage for stage, rows in TABLE.items() if not rows] == [Stage.WELDED]
    assert {row.then for _, row in ROWS} <= set(TABLE)


def test_every_stage_can_be_reached_and_left_to_free() -> None:
    reached = {Stage.FREE}
    while len(more := reached | {row.then for stage in reached for row in TABLE[stage]}) > len(reached):
        reached = more
    assert reached == set(Stage)
    back = {Stage.FREE, Stage.WELDED}
    while len(more := back | {stage for stage, row in ROWS if row.then in back}) > len(back):
        back = more
    assert back == set(Stage)


def test_there_is_a_situation_for_every_row() -> None:
    rows = {stage: [row.when.__name__ for row in rows] for stage, rows in TABLE.items()}
    assert rows == {stage: list(situations) for stage, situations in SITUATIONS.items()}


@pytest.mark.parametrize(("stage", "row"), ROWS, ids=_row_id)
def test_the_row_fires(stage: Stage, row: Row) -> None:
    bench, at = Bench(), SITUATIONS[stage][row.when.__name__]
    bench.arrange(stage, at)
    expected = SequenceEvent(1, HERE, stage, row.then, row.fault)
    if at.age_ms:
        assert bench.step(at.age_ms - 1) == [], "fires before its time"
        assert bench.step(1) == [expected]
    else:
        assert bench.step() == [expected]
    assert bench.stage() is row.then


@pytest.mark.parametrize("stage", Stage)
def test_coil_and_duty_agree(stage: Stage) -> None:
    if stage.coil:
        assert stage.on_bus, "a coil that may be on counts as joined to the bus"
    if not stage.on_bus:
        assert stage.duty is not Duty.DRIVE, "only a module on a bus delivers"


def test_the_table_can_be_printed() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "planning.transition"], capture_output=True, text=True, check=True, timeout=20,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert run.stdout.splitlines() == table_lines()
    assert "    close failed twice -> OPEN  [CONTACTOR_STUCK_OPEN]" in table_lines()


# --- closing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("want", [NOBODY, ELSEWHERE])
def test_a_module_that_is_given_away_while_its_poles_travel_arrives_first(want: int) -> None:
    """It was switched off at once and met the live bus dead, 20 ms after the plan had changed."""
    bench = Bench()
    bench.arrange(Stage.CLOSE_LIVE, At(want=want, contact=ContactState.CLOSING, gun=DRIVEN))
    assert bench.step() == [] and bench.stage().duty is Duty.MATCH
    bench.contacts[(1, 1)] = CLOSED
    assert [event.after for event in bench.step()] == [Stage.UNLOAD]


@pytest.mark.parametrize("facts", [NOTHING, Fact.COLD, Fact.RESTED, Fact.RESTED | Fact.UNLOADED | Fact.MATCHED])
@pytest.mark.parametrize("gun", [QUIET, GunFact.TOLD_DEAD])
def test_no_dead_close_without_cold_and_rested(facts: Fact, gun: GunFact) -> None:
    bench = Bench()
    bench.wants, bench.facts, bench.guns[1] = [HERE], [facts], gun
    assert bench.step() == []


@pytest.mark.parametrize("gun", [DRIVEN, GunFact.TOLD_DEAD | GunFact.DRIVING, GunFact.TOLD_DEAD | EMERGENCY, EMERGENCY,
                                 GunFact.LIVE, GunFact.LIVE | GunFact.VOLTAGE_KNOWN | EMERGENCY])  # fmt: skip
def test_no_dead_close_on_a_bus_that_is_not_dead_or_not_calm(gun: GunFact) -> None:
    bench = Bench()
    bench.wants, bench.facts, bench.guns[1] = [HERE], [READY], gun
    assert all(event.after is not Stage.CLOSE_DEAD for event in bench.step())


def test_only_one_module_closes_on_a_dark_bus_that_is_not_told_dead() -> None:
    bench = Bench(modules=3)
    bench.wants, bench.facts = [HERE] * 3, [READY] * 3
    bench.step()
    assert [bench.stage(module) for module in (1, 2, 3)] == [Stage.CLOSE_DEAD, Stage.FREE, Stage.FREE]
    bench.guns[1] = GunFact.TOLD_DEAD
    bench.step()
    assert [bench.stage(module) for module in (2, 3)] == [Stage.CLOSE_DEAD] * 2


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage.on_bus])
def test_a_bus_is_dark_only_when_nobody_may_be_on_it(stage: Stage) -> None:
    bench = Bench(modules=2)
    bench.put(stage, HERE, module=2)
    bench.wants, bench.facts = [HERE, HERE], [READY, NOTHING]
    bench.contacts[(1, 2)] = CLOSED
    bench.step()
    assert bench.stage(1) is Stage.FREE


def test_a_live_bus_of_another_gun_needs_rest_the_own_one_does_not() -> None:
    bench = Bench()
    bench.guns = {1: DRIVEN, 2: DRIVEN}
    bench.sequencer.seats[0].last_gun = 1
    bench.wants = [2]
    assert bench.step() == []
    bench.facts = [Fact.RESTED]
    assert bench.step()[0].after is Stage.MATCH
    bench = Bench()
    bench.guns[1] = DRIVEN
    bench.sequencer.seats[0].last_gun = 1
    bench.wants = [1]
    assert bench.step()[0].after is Stage.MATCH


def test_a_module_that_only_matched_has_seen_that_gun() -> None:
    """It was on for gun 1: what its lead holds then is gun 1's voltage."""
    bench = Bench()
    bench.arrange(Stage.FREE, At(facts=Fact.RESTED, gun=DRIVEN))
    bench.step()
    bench.wants, bench.facts, bench.guns[2] = [2], [NOTHING], DRIVEN
    bench.step()
    bench.step()
    assert bench.stage() is Stage.FREE
    assert bench.step() == [], "not to gun 2 before it has rested"


def _fail_a_close(bench: Bench, stage: Stage) -> list[SequenceEvent]:
    bench.contacts[(1, 1)] = ContactState.CLOSE_FAILED
    events = bench.step(300)
    assert events[0].before is stage
    bench.contacts[(1, 1)] = OPEN
    return events


def test_a_failed_close_is_tried_once_more_after_a_second_and_no_third_time() -> None:
    bench = Bench()
    bench.wants, bench.facts = [HERE], [READY]
    bench.step()
    assert [event.fault for event in _fail_a_close(bench, Stage.CLOSE_DEAD)] == [None]
    assert bench.stage() is Stage.RETRY
    assert bench.step(999) == []
    bench.step(1)
    bench.step()
    assert bench.stage() is Stage.CLOSE_DEAD
    assert [event.fault for event in _fail_a_close(bench, Stage.CLOSE_DEAD)] == [FaultCode.CONTACTOR_STUCK_OPEN]
    assert not bench.stage().coil
    bench.step()
    # whoever marks the crosspoint out of service (the core) no longer wants it there
    assert FaultCode.CONTACTOR_STUCK_OPEN in OUT_OF_SERVICE
    bench.wants = [NOBODY]
    assert bench.step(60_000) == []


def test_a_failed_close_on_one_gun_does_not_count_on_another() -> None:
    bench = Bench()
    bench.arrange(Stage.RETRY, At(failed=1, want=NOBODY))
    bench.step(TIMES.close_retry_delay_ms)
    bench.wants, bench.facts = [ELSEWHERE], [READY]
    bench.step()
    bench.contacts[(2, 1)] = ContactState.CLOSE_FAILED
    assert [event.after for event in bench.step(300)] == [Stage.RETRY]


def test_a_good_close_forgets_the_failed_one() -> None:
    bench = Bench()
    bench.arrange(Stage.CLOSE_DEAD, At(contact=CLOSED, failed=1))
    bench.step()
    assert bench.sequencer.seats[0].failed_closes == 0


@pytest.mark.parametrize(
    ("stage", "after_ms"), [(Stage.MATCH, TIMES.match_ms), (Stage.CLOSE_DEAD, TIMES.close_refused_ms)]
)
def test_what_did_not_come_about_is_left_alone_for_a_while(stage: Stage, after_ms: int) -> None:
    bench = Bench()
    bench.arrange(stage, At(facts=READY, gun=DRIVEN if stage is Stage.MATCH else QUIET))
    bench.step(after_ms)
    bench.step()
    assert bench.stage() is Stage.FREE
    assert bench.step(TIMES.pause_ms - 1) == []
    assert bench.step(1) != []


# --- leaving --------------------------------------------------------------------------------------------------------


def test_unloading_waits_for_the_proof_and_opens_anyway_at_three_seconds() -> None:
    bench = Bench()
    bench.arrange(Stage.SERVE, At(contact=CLOSED, want=NOBODY))
    bench.step()
    assert bench.stage() is Stage.UNLOAD
    assert bench.step(2999) == []
    assert [event.fault for event in bench.step(1)] == [FaultCode.LOAD_BREAK]
    bench.arrange(Stage.UNLOAD, At(contact=CLOSED, want=NOBODY, facts=Fact.UNLOADED))
    assert [event.fault for event in bench.step()] == [None]


def test_an_emergency_opens_at_sixty_milliseconds_or_unloaded() -> None:
    bench = Bench()
    bench.arrange(Stage.SERVE, At(contact=CLOSED, gun=EMERGENCY))
    bench.step()
    assert bench.stage() is Stage.BREAK
    assert bench.step(59) == []
    assert bench.step(1)[0].after is Stage.OPEN
    bench.arrange(Stage.BREAK, At(contact=CLOSED, facts=Fact.UNLOADED))
    assert bench.step(5)[0].after is Stage.OPEN


def test_a_silent_module_waits_for_its_turn_to_break() -> None:
    bench = Bench()
    bench.arrange(Stage.SERVE, At(contact=CLOSED, facts=Fact.LOST))
    bench.step()
    assert bench.step(600_000) == []
    assert bench.stage() is Stage.LOST
    bench.facts = [SILENT_FOR_GOOD]
    assert [event.fault for event in bench.step()] == [FaultCode.LOAD_BREAK]


@pytest.mark.parametrize("contact", [ContactState.OPENING, ContactState.UNKNOWN, ContactState.OPEN_FAILED])
def test_open_is_over_only_with_the_proof(contact: ContactState) -> None:
    bench = Bench()
    bench.arrange(Stage.OPEN, At(contact=contact, want=NOBODY))
    bench.step(60_000)
    assert bench.stage() is not Stage.FREE


@pytest.mark.parametrize("gun", [QUIET, DRIVEN, EMERGENCY])
@pytest.mark.parametrize("contact", ContactState)
def test_a_welded_contact_never_gets_its_coil(gun: GunFact, contact: ContactState) -> None:
    bench = Bench()
    bench.arrange(Stage.WELDED, At(facts=READY | Fact.MATCHED, gun=gun, contact=contact))
    for want in (HERE, ELSEWHERE, NOBODY):
        bench.wants = [want]
        assert bench.step(10_000) == []
    assert not bench.stage().coil


def test_a_person_releases_what_is_proven_open_and_nothing_else() -> None:
    for contact in ContactState:
        bench = Bench()
        bench.put(Stage.WELDED)
        bench.contacts[(1, 1)] = contact
        bench.sequencer.release(bench.contact, bench.now_ms)
        assert (bench.stage() is Stage.FREE) is (contact in PROVEN_OPEN)


def test_a_person_gives_the_module_a_fresh_start() -> None:
    bench = Bench(modules=2)
    bench.put(Stage.WELDED, module=2)
    for seat in bench.sequencer.seats:
        seat.failed_closes, seat.not_before_ms = 1, START_MS + 5000
    bench.sequencer.release(bench.contact, START_MS + 7)
    assert [(seat.failed_closes, seat.not_before_ms) for seat in bench.sequencer.seats] == [(0, 0)] * 2
    free, freed = bench.sequencer.seats
    assert (freed.gun, freed.since_ms, freed.parted_ms) == (0, START_MS + 7, START_MS + 7)
    assert free.parted_ms is None, "this one has not let go of anything"


def test_a_weld_ties_its_own_module_to_that_gun() -> None:
    bench = Bench(modules=3)
    bench.sequencer.weld(2, ELSEWHERE, START_MS + 3)
    first, welded, last = bench.sequencer.seats
    assert (welded.stage, welded.gun, welded.last_gun) == (Stage.WELDED, ELSEWHERE, ELSEWHERE)
    assert welded.since_ms == START_MS + 3
    assert {first.stage, last.stage} == {Stage.FREE}


# --- each seat for itself -------------------------------------------------------------------------------------------


def test_each_module_goes_where_it_is_wanted_by_its_own_proofs() -> None:
    bench = Bench(modules=3)
    bench.wants, bench.facts = [HERE, ELSEWHERE, NOBODY], [READY, READY, READY]
    bench.step()
    assert [(seat.stage, seat.gun) for seat in bench.sequencer.seats] == [
        (Stage.CLOSE_DEAD, HERE), (Stage.CLOSE_DEAD, ELSEWHERE), (Stage.FREE, 0),
    ]  # fmt: skip
    bench = Bench(modules=3)
    bench.wants, bench.facts = [HERE, ELSEWHERE, HERE], [NOTHING, READY, NOTHING]
    assert [event.module for event in bench.step()] == [2]


@pytest.mark.parametrize(("stage", "gun"), [(Stage.SERVE, ELSEWHERE), (Stage.MATCH, HERE), (Stage.RETRY, HERE)])
def test_a_module_elsewhere_or_behind_an_open_contactor_leaves_the_bus_dark(stage: Stage, gun: int) -> None:
    bench = Bench(modules=2)
    bench.put(stage, gun, module=2)
    bench.wants, bench.facts = [HERE, gun], [READY, NOTHING]
    bench.guns[gun] = QUIET
    bench.contacts[(gun, 2)] = CLOSED if stage.on_bus else OPEN
    bench.step()
    assert bench.stage(1) is Stage.CLOSE_DEAD


def test_only_a_proven_opening_counts_as_parting() -> None:
    bench = Bench()
    bench.arrange(Stage.OPEN, At(want=NOBODY))
    bench.step(40)
    assert bench.sequencer.seats[0].parted_ms == START_MS + 40
    for stage, at in ((Stage.RETRY, At(want=NOBODY, age_ms=1000)), (Stage.CLOSE_DEAD, At(want=NOBODY))):
        bench = Bench()
        bench.arrange(stage, at)
        bench.step(at.age_ms)
        assert bench.stage() is Stage.FREE
        assert bench.sequencer.seats[0].parted_ms is None, "it was never on that bus"


def test_an_order_to_open_is_not_yet_a_parting() -> None:
    bench = Bench()
    bench.arrange(Stage.UNLOAD, At(contact=CLOSED, facts=Fact.UNLOADED))
    assert bench.step(10)[0].after is Stage.OPEN
    assert bench.sequencer.seats[0].parted_ms is None
    bench.contacts[(1, 1)] = ContactState.OPEN_FAILED
    assert bench.step(10)[0].after is Stage.WELDED
    assert bench.sequencer.seats[0].parted_ms is None


# --- timers and everything at once ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("stage", "row"), [(s, r) for s, r in ROWS if SITUATIONS[s][r.when.__name__].age_ms],
                         ids=_row_id)  # fmt: skip
def test_the_next_due_time_is_never_late(stage: Stage, row: Row) -> None:
    bench, at = Bench(), SITUATIONS[stage][row.when.__name__]
    bench.arrange(stage, at)
    due_ms = bench.sequencer.next_due_ms(bench.now_ms)
    assert due_ms == START_MS + at.age_ms


def test_a_pause_is_a_timer_too() -> None:
    bench = Bench()
    bench.sequencer.seats[0].not_before_ms = START_MS + 10
    assert bench.sequencer.next_due_ms(START_MS) == START_MS + 10
    assert bench.sequencer.next_due_ms(START_MS + 10) is None
    bench.put(Stage.SERVE)
    assert bench.sequencer.next_due_ms(START_MS) is None, "a module that serves waits for nothing"


_facts = st.integers(0, 63).map(Fact)
_guns = st.integers(0, 31).map(GunFact)


class AnySequence(RuleBasedStateMachine):
    """Whatever is wanted, told and seen: no module is ever given two coils, and no stage is skipped."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(modules=3)

    @rule(module=st.integers(0, 2), want=st.integers(0, 2))
    def want(self, module: int, want: int) -> None:
        self.bench.wants[module] = want

    @rule(module=st.integers(0, 2), facts=_facts)
    def prove(self, module: int, facts: Fact) -> None:
        self.bench.facts[module] = facts

    @rule(gun=st.integers(1, 2), facts=_guns)
    def tell(self, gun: int, facts: GunFact) -> None:
        self.bench.guns[gun] = facts

    @rule(gun=st.integers(1, 2), module=st.integers(1, 3), contact=st.sampled_from(ContactState))
    def see(self, gun: int, module: int, contact: ContactState) -> None:
        self.bench.contacts[(gun, module)] = contact

    @rule(after_ms=st.sampled_from([0, 1, 59, 300, 1000, 3000, 12_000]))
    def step(self, after_ms: int) -> None:
        before = [(seat.stage, seat.gun, seat.last_gun) for seat in self.bench.sequencer.seats]
        for event in self.bench.step(after_ms):
            stage, gun, last_gun = before[event.module - 1]
            facts = self.bench.facts[event.module - 1]
            assert (event.before, event.after) in {(s, row.then) for s, row in ROWS}
            assert stage is event.before
            assert gun in (0, event.gun), "from one gun to another only by way of FREE"
            if event.after is Stage.CLOSE_DEAD:
                assert READY in facts
            if event.before is Stage.FREE and event.gun != last_gun:
                assert facts & Fact.RESTED

    @precondition(lambda self: any(seat.stage is Stage.WELDED for seat in self.bench.sequencer.seats))
    @rule()
    def reset(self) -> None:
        self.bench.sequencer.release(self.bench.contact, self.bench.now_ms)

    @invariant()
    def one_coil_a_module(self) -> None:
        for seat in self.bench.sequencer.seats:
            assert (seat.gun == 0) is (seat.stage is Stage.FREE)
            assert not seat.stage.coil or seat.gun in (1, 2)

    @invariant()
    def timers_lie_ahead(self) -> None:
        due_ms = self.bench.sequencer.next_due_ms(self.bench.now_ms)
        assert due_ms is None or due_ms > self.bench.now_ms


TestAnySequence = AnySequence.TestCase
TestAnySequence.settings = hypothesis_settings(max_examples=40, stateful_step_count=30, deadline=None)
