"""Job: the recorded core: the same records give the same decisions byte for byte, and records stay small.

Thread: the test's. Lock: none. Units: ms, kW; station time in s.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recorded import decided_lines

from planning.decision import Decision, DecisionCore, Value, replay
from planning.faults import FaultCode
from planning.model import ContactState, VehicleStatus
from planning.reasons import ReasonCode
from planning.rules import RULES
from planning.settings import Priority, Settings
from planning.transition import Fact, GunFact, Stage
from simulator.arrivals import timetable
from simulator.virtual import Level, VirtualStation, settings_at

WATCHED_S = 1500.0
DAY_S = 86_400.0
DAY_BYTES = 5_000_000
READY = int(Fact.COLD | Fact.RESTED)
OPEN, CLOSED = ContactState.OPEN.value, ContactState.CLOSED.value


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_at(tmp_path_factory.mktemp("config"))


class Run:
    """A core and all that it said."""

    def __init__(self, config: Settings) -> None:
        self.core = DecisionCore(config)
        self.now_ms = 1000
        self.records: list[str] = []
        self.lines: list[str] = []
        for module in range(1, 10):
            self.core.put(f"m{module}a", 40)

    def step(self, after_ms: int = 10, **values: Value) -> Decision:
        self.now_ms += after_ms
        for key, value in values.items():
            self.core.put(key.replace("_", "."), value)
        record, decision = self.core.step(self.now_ms)
        self.records.append(record)
        self.lines.append(decision.line())
        return decision

    def charge(self, gun: int, demand_kw: float) -> Decision:
        """Serve this gun until its modules are closed onto a bus that is told dead."""
        put = self.core.put
        put(f"g{gun}s", VehicleStatus.CHARGING.name)
        put(f"g{gun}d", demand_kw)
        put(f"g{gun}f", int(GunFact.TOLD_DEAD))
        decision = self.step()
        mine = [module for module, want in enumerate(decision.wants, 1) if want == gun]
        for module in mine:
            put(f"m{module}f", READY)
        self.step()
        for module in mine:
            put(f"x{gun}.{module}", CLOSED)
            put(f"m{module}f", 0)
        return self.step(**{f"g{gun}f": int(GunFact.LIVE | GunFact.VOLTAGE_KNOWN | GunFact.DRIVING)})

    def follow(self, decision: Decision) -> Decision:
        """Let the contacts do what the coils are told, once."""
        for gun in range(1, 7):
            for module in range(1, 10):
                on = decision.coils >> ((gun - 1) * 9 + module - 1) & 1
                if self.core._inputs[f"x{gun}.{module}"] in (OPEN, CLOSED):
                    self.core.put(f"x{gun}.{module}", CLOSED if on else OPEN)
        return self.step()


# --- a record repeats -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def busy(config: Settings) -> tuple[VirtualStation, list[str]]:
    """25 busy minutes: a car every minute, all guns taken."""
    station = VirtualStation(config, level=Level.READINGS, arrivals=timetable(7, 40, mean_gap_s=60.0))
    lines = decided_lines(station)
    station.run_to(WATCHED_S)
    assert station.forecourt.served >= 6
    assert station.plant.violations == []
    return station, lines


def test_the_record_of_a_busy_station_repeats(config: Settings, busy: tuple[VirtualStation, list[str]]) -> None:
    station, lines = busy
    assert len(lines) > 200
    assert [decision.line() for decision in replay(config, station.records)] == lines


def test_a_day_of_records_is_small(busy: tuple[VirtualStation, list[str]]) -> None:
    station, _ = busy
    size = sum(len(record) + 1 for record in station.records)
    a_day = size * DAY_S / WATCHED_S
    assert a_day < DAY_BYTES, f"{a_day / 1e6:.1f} MB a day"


def test_without_a_change_and_a_timer_nothing_is_recorded(config: Settings) -> None:
    core = DecisionCore(config)
    assert not core.due(10_000), "nothing was told yet"
    core.put("g1d", 0.0)
    assert not core.due(10_000), "the same value is no change"
    core.put("g1d", 10.0)
    assert core.due(10_000)
    assert core.step(10_000)[0] == "10000 g1d=10.0"
    assert not core.due(10_001)


def test_a_value_that_came_back_is_recorded_with_what_counts(config: Settings) -> None:
    core = DecisionCore(config)
    for kw in (10.0, 20.0, 30.0):
        core.put("g1d", kw)
    assert core.step(5)[0] == "5 g1d=30.0"


def test_one_file_may_hold_several_starts(config: Settings) -> None:
    run = Run(config)
    run.charge(1, 75.0)
    told = ["# station started", *run.records, "", "  ", "# station started", *run.records]
    assert [decision.line() for decision in replay(config, told)] == run.lines * 2


@pytest.mark.parametrize(
    "wrong",
    ["x", "5 g1d=", "5 g1d=x", "5 nothing=3", "5 g7d=1.0", "5 g1s", "5 x1.1=Q", "5 g1b=x", "5.5 g1d=3.0", "5 g1e=2.5"],
)
def test_a_line_that_cannot_be_read_is_named(config: Settings, wrong: str) -> None:
    with pytest.raises(ValueError, match="line 3 of the record"):
        list(replay(config, ["# head", "1 g1d=10.0", wrong]))


def _keys() -> st.SearchStrategy[tuple[str, Value]]:
    guns, modules = st.integers(1, 6), st.integers(1, 9)
    contact = st.sampled_from([state.value for state in ContactState])
    reasons = st.sampled_from(["", ReasonCode.FAULT.name, ReasonCode.NO_LOAD.name, ReasonCode.CAN_FAULT.name])
    return st.one_of(
        st.tuples(guns.map("g{}d".format), st.floats(0.0, 1000.0)),
        st.tuples(guns.map("g{}s".format), st.sampled_from([status.name for status in VehicleStatus])),
        st.tuples(guns.map("g{}o".format), st.floats(0.0, 100.0)),
        st.tuples(guns.map("g{}p".format), st.integers(0, 1)),
        st.tuples(guns.map("g{}e".format), st.integers(-1, 240)),
        st.tuples(guns.map("g{}c".format), st.floats(-1.0, 240.0)),
        st.tuples(guns.map("g{}b".format), reasons),
        st.tuples(guns.map("g{}f".format), st.integers(0, 31)),
        st.tuples(modules.map("m{}a".format), st.integers(0, 40)),
        st.tuples(modules.map("m{}h".format), st.integers(0, 5000)),
        st.tuples(modules.map("m{}f".format), st.integers(0, 63)),
        st.tuples(st.tuples(guns, modules).map(lambda x: f"x{x[0]}.{x[1]}"), contact),
        st.tuples(st.just("site"), st.floats(-1.0, 500.0)),
        st.tuples(st.just("reset"), st.integers(0, 3)),
    )


PAUSES_MS = st.sampled_from([0, 5, 60, 1000, 5000, 30_000])


@given(st.lists(st.tuples(PAUSES_MS, st.lists(_keys(), max_size=12)), max_size=25))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_input_repeats_and_closes_one_contactor_a_module(
    config: Settings, steps: list[tuple[int, list[tuple[str, Value]]]]
) -> None:
    run = Run(config)
    for after_ms, changes in steps:
        for key, value in changes:
            run.core.put(key, value)
        decision = run.step(after_ms)
        for module in range(9):
            coils = [gun for gun in range(6) if decision.coils >> (gun * 9 + module) & 1]
            assert len(coils) <= 1
            assert coils == [] or decision.seats[module][1] == coils[0] + 1
    assert [decision.line() for decision in replay(config, run.records)] == run.lines


# --- what lies between allocation and sequence ----------------------------------------------------------------------


def _stages(decision: Decision) -> dict[int, Stage]:
    return {module: stage for module, (stage, gun) in enumerate(decision.seats, 1) if gun}


def test_modules_close_on_a_bus_told_dead_and_serve(config: Settings) -> None:
    decision = Run(config).charge(1, 75.0)
    assert _stages(decision) == {1: Stage.SERVE, 2: Stage.SERVE}
    assert decision.coils == 0b11


def test_a_stuck_crosspoint_is_used_no_more_and_a_reset_brings_it_back(config: Settings) -> None:
    run = Run(config)
    run.step(g1s=VehicleStatus.CHARGING.name, g1d=30.0, m1f=READY, m2f=READY)
    run.step(x1_1=ContactState.CLOSE_FAILED.value)
    run.step(x1_1=OPEN)
    run.step(after_ms=1000)
    events = run.step(x1_1=ContactState.CLOSE_FAILED.value).events
    assert FaultCode.CONTACTOR_STUCK_OPEN in [event.fault for event in events]
    decision = run.step(x1_1=OPEN)
    assert decision.wants[:2] == (0, 1), "its module serves nobody, another takes over"
    run.step(after_ms=60_000, g1d=0.0)
    run.step(after_ms=60_000, reset=1, x1_2=OPEN)
    assert run.step(g1d=400.0).wants.count(1) == 6
    assert run.step(g2d=400.0, g2s=VehicleStatus.CHARGING.name).wants.count(0) == 0


def test_a_contactor_that_closes_alone_stops_both_guns_of_its_module_at_once(config: Settings) -> None:
    run = Run(config)
    run.charge(1, 75.0)
    run.charge(2, 35.0)
    decision = run.step(x2_1=ContactState.INTRUDER.value)
    assert set(_stages(decision).values()) == {Stage.BREAK}
    assert [result.reason.code for result in decision.allocation.guns[:2]] == [ReasonCode.FAULT] * 2
    decision = run.step(after_ms=60)
    assert decision.coils == 0
    decision = run.follow(decision)
    assert _stages(decision)[1] is Stage.WELDED
    assert decision.seats[0][1] == 2


def test_a_module_that_hangs_on_a_gun_is_never_brought_to_another(config: Settings) -> None:
    """It comes free of gun 1 while gun 3 asks for all there is, but a contactor closed alone joins it to gun 2."""
    run = Run(config)
    run.charge(1, 35.0)
    for module in range(2, 10):
        run.core.put(f"m{module}a", 0)
    run.step(g3s="CHARGING", g3d=400.0, g3f=int(GunFact.LIVE | GunFact.VOLTAGE_KNOWN | GunFact.DRIVING))
    run.step(x2_1=ContactState.INTRUDER.value, m1f=int(Fact.RESTED | Fact.UNLOADED))
    events = [*run.step(after_ms=60).events, *run.step(x1_1=OPEN).events]
    assert [(event.gun, event.after) for event in events] == [(1, Stage.FREE), (2, Stage.WELDED)]


def test_the_emergency_of_a_contactor_alone_ends_with_the_last_contact(config: Settings) -> None:
    """The other modules of the gun open a little later than the one in question: the gun is served again after them."""
    run = Run(config)
    run.charge(1, 75.0)
    run.step(x2_1=ContactState.INTRUDER.value)
    run.step(after_ms=60)
    run.step(x1_1=OPEN)  # module 1 is free and pinned to gun 2, module 2 still on its way
    run.step()
    decision = run.step(x1_2=OPEN)
    decision = run.step(after_ms=1) if run.core.due(run.now_ms + 1) else decision
    assert decision.allocation.of(1).reason.code is ReasonCode.SERVED
    assert 1 not in decision.allocation.of(1).modules


def test_a_module_welded_to_two_guns_serves_neither(config: Settings) -> None:
    run = Run(config)
    run.step(x1_1=ContactState.OPEN_FAILED.value)
    run.step(x2_1=ContactState.INTRUDER.value)
    decision = run.step(g1s="CHARGING", g1d=30.0, g2s="CHARGING", g2d=30.0, g3s="CHARGING", g3d=30.0)
    codes = [result.reason.code for result in decision.allocation.guns[:3]]
    assert codes == [ReasonCode.WELD_LOCKED, ReasonCode.WELD_LOCKED, ReasonCode.SERVED]
    assert decision.wants[0] == 0
    assert not run.core.due(run.now_ms + 1) or run.step(1).events == ()


def test_a_gun_may_finish_its_session_on_a_welded_contactor_and_is_locked_then(config: Settings) -> None:
    run = Run(config)
    run.charge(1, 75.0)
    run.step(m2a=0)  # module 2 has to go
    run.step(m2f=int(Fact.UNLOADED))
    decision = run.step(after_ms=200, x1_2=ContactState.OPEN_FAILED.value, m2a=40)
    assert _stages(decision)[2] is Stage.WELDED
    assert not run.core.locked(1)
    assert run.step().allocation.of(1).reason.code is ReasonCode.SERVED, "it may finish"
    run.step(after_ms=60_000, g1d=0.0)
    assert run.core.locked(1)
    assert run.step(g1d=50.0).allocation.of(1).reason.code is ReasonCode.WELD_LOCKED
    run.step(reset=1)
    assert run.core.locked(1), "it is still closed"
    run.step(x1_2=OPEN)
    run.step(reset=2)
    assert not run.core.locked(1)


def test_a_timer_of_the_sequence_wakes_the_core(config: Settings) -> None:
    run = Run(config)
    run.charge(1, 35.0)
    run.step(m1a=0)
    assert run.core.due_ms is not None
    assert run.core.due_ms <= run.now_ms + 3000
    while run.core.due_ms is not None and run.now_ms < 60_000:
        decision = run.step(run.core.due_ms - run.now_ms)
        if not decision.coils & 1:
            break
    assert FaultCode.LOAD_BREAK in [event.fault for event in decision.events]


@pytest.mark.parametrize("priority", list(RULES))
def test_every_rule_repeats(tmp_path: Path, priority: Priority) -> None:
    text = f"[PowerLimits]\ngun1_max_power = 240\n[Allocation]\npriority = {priority.value}\n"
    config = settings_at(tmp_path, text)
    station = VirtualStation(config, level=Level.READINGS, seed=3, arrivals=timetable(11, 12, mean_gap_s=15.0))
    lines = decided_lines(station)
    station.run_to(250.0)
    assert station.plant.violations == []
    assert [decision.line() for decision in replay(config, station.records)] == lines


@pytest.mark.parametrize("limited", ["command", "config"])
def test_a_gun_that_may_have_nothing_is_not_precharged_either(tmp_path: Path, limited: str) -> None:
    text = "[PowerLimits]\ngun1_max_power = 0\n" if limited == "config" else ""
    run = Run(settings_at(tmp_path, text))
    waiting = VehicleStatus.WAITING.name
    allowed = run.step(g1s=waiting, g1p=1, g2s=waiting, g2p=1, g1c=0.0 if limited == "command" else -1.0)
    assert allowed.allocation.guns[0].modules == ()
    assert len(allowed.allocation.guns[1].modules) == 1


# --- a new rule while guns charge -----------------------------------------------------------------------------------


def asks(demand_kw: float) -> dict[str, Value]:
    return {"d": float(demand_kw), "s": VehicleStatus.CHARGING.name}


@settings(max_examples=150, deadline=None)
@given(
    demands_kw=st.lists(st.sampled_from((0, 20, 75, 100, 160, 240, 300)), min_size=6, max_size=6),
    site_kw=st.sampled_from((-1.0, -1.0, 60.0, 150.0, 237.5)),
    weak=st.sets(st.integers(1, 9), max_size=4),
    rules=st.lists(st.sampled_from(Priority), min_size=1, max_size=4),
)
def test_no_gun_drops_to_zero_for_a_new_rule(
    config: Settings, demands_kw: list[int], site_kw: float, weak: set[int], rules: list[Priority]
) -> None:
    run = Run(config)
    run.core.put("site", site_kw)
    for module in weak:
        run.core.put(f"m{module}a", 9 + module)
    for gun, demand_kw in enumerate(demands_kw, 1):
        for key, value in asks(demand_kw).items():
            run.core.put(f"g{gun}{key}", value)
    before = run.step().allocation
    for rule in rules:
        after = run.step(1000, rule=rule.name).allocation
        for had, has in zip(before.guns, after.guns, strict=True):
            if had.allocated_kw > 0:
                assert has.allocated_kw > 0 and set(had.modules) & set(has.modules), f"gun {had.gun} under {rule.value}"
        assert run.step(10).allocation == after, "settled"
        before = run.step(40_000).allocation
        for had, has in zip(after.guns, before.guns, strict=True):
            assert (has.allocated_kw > 0) >= (had.allocated_kw > 0), f"gun {had.gun} later under {rule.value}"
    assert [decision.line() for decision in replay(config, run.records)] == run.lines


def test_what_a_gun_keeps_over_a_new_rule_ends_with_its_session(config: Settings) -> None:
    run = Run(config)
    run.core.put("rule", Priority.FAIR_SHARE.name)
    run.step()
    for gun in range(1, 7):
        for key, value in asks(240).items():
            run.core.put(f"g{gun}{key}", value)
    counts = [len(gun.modules) for gun in run.step().allocation.guns]
    assert counts == [2, 2, 2, 1, 1, 1]
    counts = [len(gun.modules) for gun in run.step(rule=Priority.HIGHEST_DEMAND.name).allocation.guns]
    assert counts == [4, 1, 1, 1, 1, 1]
    run.step(g6d=0.0)
    run.step(40_000)
    counts = [len(gun.modules) for gun in run.step(g6d=240.0).allocation.guns]
    assert counts == [5, 1, 1, 1, 1, 0], "a new session stands in line like everybody"
