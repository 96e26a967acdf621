"""When a charging session begins and ends, and what is told of it: the tracker alone, without database and clock."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from history_feed import START_TS, charging, fault_words, gun_words, snapshot
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from monitoring.history.readings import reading
from monitoring.history.sessions import DEMAND_PAUSE_S, EndReason, Kept, Session, SessionTracker
from monitoring.history.timeline import PERIOD_S, Timeline
from monitoring.schema import Fault, Gun


class Watched:
    """A tracker that is shown one snapshot after the other."""

    def __init__(self) -> None:
        self.tracker, self._timeline = SessionTracker(), Timeline()
        self.ts, self.now_s, self.seq, self.run = START_TS, 100.0, 0, "run-1"

    def show(self, *guns: Gun, steps: int = 1, **given: Any) -> None:
        """The same for so many half seconds."""
        for _ in range(steps):
            self.seq += 1
            self.ts += PERIOD_S
            self.now_s += PERIOD_S
            self.show_now(guns, **given)

    def show_now(self, guns: Sequence[Gun], **given: Any) -> None:
        passed = self._timeline.take(self.run, self.seq, self.ts, self.now_s)
        assert passed is not None
        self.tracker.take(reading(snapshot(self.ts, self.seq, guns, run=self.run, **given)), passed)

    def charge(self, kw: float, seconds: float, from_kwh: float = 0.0, gun: int = 1, **given: Any) -> float:
        """Power flows; the counter at the end."""
        kwh = from_kwh
        for _ in range(round(seconds / PERIOD_S)):
            kwh += kw * PERIOD_S / 3600.0
            self.show(charging(gun, kw, kwh, **given))
        return kwh

    def the_only_one(self) -> Session:
        assert not self.tracker.open
        assert len(self.tracker.ended) == 1
        return self.tracker.ended[0]


@pytest.fixture
def watched() -> Watched:
    made = Watched()
    made.show()  # nobody is there
    return made


def waiting(gun: int = 1, kwh: float = 0.0, **given: Any) -> Gun:
    return gun_words(gun, vehicle_status="waiting", state="waiting", energy_kwh=kwh, **given)


def asking(kw: float, kwh: float = 0.0, **given: Any) -> Gun:
    """It charges and asks, but nothing comes."""
    return gun_words(1, vehicle_status="charging", state="connecting", asked_kw=kw, energy_kwh=kwh, **given)


def test_a_visit_from_plug_to_unplug(watched: Watched) -> None:
    came_ts = watched.ts + PERIOD_S
    watched.show(waiting(soc_pct=31.0), steps=8)
    watched.show(asking(80.0, soc_pct=31.0), steps=20)
    kwh = watched.charge(80.0, 60.0, soc_pct=32.0, modules=[1, 2])
    kwh = watched.charge(20.0, 60.0, kwh, soc_pct=44.0, modules=[2])
    watched.show(gun_words(1, vehicle_status="finishing", energy_kwh=kwh, soc_pct=45.0), steps=10)
    left_ts = watched.ts
    watched.show(gun_words(1, energy_kwh=kwh, soc_pct=45.0))
    session = watched.the_only_one()
    assert (session.gun, session.ended, session.fault) == (1, EndReason.FINISHED, None)
    assert session.from_ts == came_ts
    assert session.to_ts == pytest.approx(left_ts)
    assert session.energy_kwh == pytest.approx((80.0 + 20.0) / 60.0)
    assert (session.soc_from_pct, session.soc_to_pct) == (31.0, 45.0)
    assert session.peak_kw == 80.0
    assert session.charging_s == pytest.approx(120.0)
    assert session.mean_kw == pytest.approx(50.0)
    assert session.waited_s == pytest.approx(10.0)
    assert session.modules == {1, 2}


def test_a_car_that_goes_while_it_asks_has_left(watched: Watched) -> None:
    kwh = watched.charge(50.0, 10.0)
    watched.show(gun_words(1, energy_kwh=kwh))
    assert watched.the_only_one().ended is EndReason.CAR_LEFT


def test_soc_of_the_car_before_does_not_count(watched: Watched) -> None:
    watched.show(waiting(soc_pct=80.0))  # the last one left at 80 %
    watched.show(waiting(soc_pct=12.0), steps=3)
    kwh = watched.charge(50.0, 5.0, soc_pct=13.0)
    watched.show(gun_words(1, energy_kwh=kwh, soc_pct=13.0))
    session = watched.the_only_one()
    assert (session.soc_from_pct, session.soc_to_pct) == (12.0, 13.0)


def test_power_that_still_flows_belongs_to_the_session_that_is_over(watched: Watched) -> None:
    kwh = watched.charge(90.0, 10.0)
    watched.show(gun_words(1, delivered_kw=60.0, energy_kwh=kwh + 0.01, modules=[1]))  # unplugged under load
    assert watched.tracker.open
    watched.show(gun_words(1, delivered_kw=0.0, energy_kwh=kwh + 0.02))
    session = watched.the_only_one()
    assert session.energy_kwh == pytest.approx(kwh + 0.02)
    assert session.ended is EndReason.CAR_LEFT


def test_power_without_a_car_is_a_session_all_the_same(watched: Watched) -> None:
    watched.show(gun_words(1, delivered_kw=5.0, energy_kwh=0.002))
    watched.show(gun_words(1, energy_kwh=0.003))
    assert watched.the_only_one().energy_kwh == pytest.approx(0.003)


def test_a_gun_without_a_status_has_sessions_by_its_demand(watched: Watched) -> None:
    kwh = 0.0
    for _ in range(20):
        kwh += 0.01
        watched.show(charging(1, 72.0, kwh).model_copy(update={"vehicle_status": "never told"}))
    stopped_ts = watched.ts
    quiet = gun_words(1, vehicle_status="never told", energy_kwh=kwh)
    watched.show(quiet, steps=round(DEMAND_PAUSE_S / PERIOD_S) - 1)
    assert watched.tracker.open
    watched.show(quiet)
    session = watched.the_only_one()
    assert session.ended is EndReason.DEMAND_ENDED
    assert session.to_ts == pytest.approx(stopped_ts)


def test_a_pause_of_the_demand_is_no_end(watched: Watched) -> None:
    asks = gun_words(1, vehicle_status="never told", asked_kw=50.0)
    watched.show(asks)
    watched.show(gun_words(1, vehicle_status="never told"), steps=40)
    watched.show(asks, steps=5)
    assert not watched.tracker.ended
    assert watched.tracker.open[1].active_s == pytest.approx(22.5)


@pytest.mark.parametrize(
    ("faults", "reason_code", "code"),
    [
        ([("GUN_FAULT", "g1")], "FAULT", "GUN_FAULT"),
        ([("GUN_SILENT", "g1"), ("GUN_OVER_LIMIT", "g1")], "OVER_POWER", "GUN_OVER_LIMIT"),
        ([("GUN_NO_LOAD", "g2"), ("EMERGENCY_STOP", "station")], "EMERGENCY_STOP", "EMERGENCY_STOP"),
        ([("CONTACTOR_WELDED", "g1m3")], "WELD_LOCKED", "CONTACTOR_WELDED"),
        ([], "OVER_POWER", "OVER_POWER"),
    ],
)
def test_a_fault_ends_it_and_is_named(
    watched: Watched, faults: list[tuple[str, str]], reason_code: str, code: str
) -> None:
    kwh = watched.charge(50.0, 10.0)
    stand = [fault_words(name, where, watched.ts) for name, where in faults]
    gun = gun_words(1, vehicle_status="charging", state="fault", reason_code=reason_code, asked_kw=50.0, energy_kwh=kwh)
    watched.show(gun, faults=stand)
    session = watched.the_only_one()
    assert (session.ended, session.fault) == (EndReason.FAULT, code)
    watched.show(gun, steps=100, faults=stand)
    assert not watched.tracker.open
    watched.charge(50.0, 1.0, kwh)
    assert watched.tracker.open, "a car that charges on after a fault begins a new session"


def test_other_ends(watched: Watched) -> None:
    kwh = watched.charge(50.0, 5.0)
    silent = gun_words(1, vehicle_status="charging", state="idle", asked_kw=0.0, energy_kwh=kwh)
    watched.show(silent, faults=[fault_words("GUN_SILENT", "g1", watched.ts, severity="warning")])
    assert watched.the_only_one().ended is EndReason.DEVICE_SILENT
    watched.tracker.ended.clear()
    kwh = watched.charge(50.0, 5.0, kwh)
    watched.show(gun_words(1, vehicle_status="charging", state="disabled", reason_code="DISABLED", energy_kwh=kwh))
    assert watched.the_only_one().ended is EndReason.OUT_OF_USE
    watched.tracker.ended.clear()
    kwh = watched.charge(50.0, 5.0, kwh)
    watched.show(gun_words(1, vehicle_status="charging", state="disabled", reason_code="DRAINING", energy_kwh=kwh))
    assert watched.the_only_one().ended is EndReason.DRAINED
    watched.tracker.ended.clear()
    kwh = watched.charge(50.0, 5.0, kwh)
    watched.show(charging(1, 50.0, kwh), state="stopping")
    assert watched.tracker.open, "it stops, and power still flows"
    watched.show(gun_words(1, vehicle_status="charging", asked_kw=50.0, energy_kwh=kwh), state="stopping")
    assert watched.the_only_one().ended is EndReason.STATION_STOPPED


def test_a_car_that_came_while_the_station_drains_has_no_session(watched: Watched) -> None:
    watched.show(
        waiting().model_copy(update={"state": "disabled", "reason_code": "DRAINING", "kept_out": True}), steps=9
    )
    assert not watched.tracker.open
    assert not watched.tracker.ended


def test_from_finished_to_waiting_is_the_next_session(watched: Watched) -> None:
    kwh = watched.charge(50.0, 5.0)
    watched.show(gun_words(1, vehicle_status="finishing", energy_kwh=kwh), steps=4)
    watched.show(waiting(kwh=kwh))
    assert watched.tracker.ended[0].ended is EndReason.FINISHED
    assert watched.tracker.open[1].energy_kwh == 0.0
    assert watched.tracker.open[1].from_ts >= watched.tracker.ended[0].to_ts  # type: ignore[operator]


def test_suspended_and_charging_again_is_one_session(watched: Watched) -> None:
    kwh = watched.charge(50.0, 5.0)
    watched.show(gun_words(1, vehicle_status="finishing", energy_kwh=kwh), steps=40)
    kwh = watched.charge(50.0, 5.0, kwh)
    assert not watched.tracker.ended
    assert watched.tracker.open[1].energy_kwh == pytest.approx(kwh)
    assert watched.tracker.open[1].waited_s == 0.0


def test_a_new_run_of_the_controller_ends_it_and_counts_from_zero(watched: Watched) -> None:
    kwh = watched.charge(50.0, 60.0)
    watched.run, watched.seq = "run-2", 0
    watched.show(charging(1, 50.0, 0.5))
    assert watched.tracker.ended[0].ended is EndReason.CONTROLLER_RESTARTED
    assert watched.tracker.ended[0].energy_kwh == pytest.approx(kwh)
    assert watched.tracker.open[1].energy_kwh == pytest.approx(0.5)


def test_lost_snapshots_lose_neither_energy_nor_time(watched: Watched) -> None:
    watched.charge(60.0, 10.0)
    watched.seq += 119
    watched.ts += 59.5
    watched.now_s += 59.5
    watched.charge(60.0, 10.0, 10.0 / 60.0 + 59.5 / 60.0)
    session = watched.tracker.open[1]
    assert session.elapsed_s == pytest.approx(79.0)
    assert session.energy_kwh == pytest.approx(79.5 / 60.0, rel=0.01)


# --- clocks
# -------------------------------------------------------------------------------------------------------------

YEARS_S = 3 * 365 * 86_400.0


@pytest.mark.parametrize("moved_s", [-3600.0, 3600.0, YEARS_S, -YEARS_S / 10, 5.0])
def test_a_clock_that_is_moved_changes_dates_and_no_length(watched: Watched, moved_s: float) -> None:
    kwh = watched.charge(60.0, 30.0)
    from_ts = watched.tracker.open[1].from_ts
    watched.ts += moved_s
    kwh = watched.charge(60.0, 30.0, kwh)
    watched.show(gun_words(1, energy_kwh=kwh))
    session = watched.the_only_one()
    assert session.active_s == pytest.approx(59.5, abs=0.6)
    assert session.to_ts is not None
    assert session.to_ts - session.from_ts == pytest.approx(59.5, abs=0.6)
    assert session.from_ts == pytest.approx(from_ts + moved_s, abs=0.6)
    assert session.clock_moved_s == pytest.approx(moved_s, abs=0.6)
    assert session.mean_kw == pytest.approx(60.0, rel=0.03)


def test_a_small_slip_of_the_clock_is_not_worth_a_word(watched: Watched) -> None:
    watched.charge(60.0, 10.0)
    watched.ts += 0.4
    watched.charge(60.0, 10.0, 0.2)
    assert watched.tracker.open[1].clock_moved_s == 0.0


def test_lines_that_waited_in_the_pipe_are_no_jump_of_the_clock() -> None:
    timeline = Timeline()
    timeline.take("run", 1, 1000.0, 50.0)
    passed = [timeline.take("run", 2 + n, 1000.5 + 0.5 * n, 62.0) for n in range(24)]  # all at once, 12 s later
    assert [each.elapsed_s for each in passed if each is not None] == pytest.approx([0.5] * 24)
    assert all(each is not None and each.clock_moved_s == 0.0 for each in passed)


def test_a_controller_that_stood_still_is_no_jump_of_the_clock() -> None:
    timeline = Timeline()
    timeline.take("run", 1, 1000.0, 50.0)
    passed = timeline.take("run", 2, 1100.0, 150.0)
    assert passed is not None
    assert (passed.elapsed_s, passed.clock_moved_s) == (100.0, 0.0)


def test_a_control_that_tells_nothing_new_for_a_while_is_no_jump_of_the_clock() -> None:
    """The same view is seen ten times, then one that is five seconds newer; again and again."""
    timeline, passed = Timeline(), []
    for n in range(1, 61):
        passed.append(timeline.take("run", n, 1000.0 + n // 10 * 5.0, 50.0 + n / 2))
    assert all(each is not None and each.clock_moved_s == 0.0 for each in passed)
    assert sum(each.elapsed_s for each in passed if each is not None) == pytest.approx(30.0)


@pytest.mark.parametrize("speed", [1.0, 5.0, 60.0])
def test_a_simulated_station_may_run_faster_than_the_clock_on_the_wall(speed: float) -> None:
    timeline = Timeline()
    passed = [timeline.take("run", n, 1000.0 + 0.5 * n * speed, 50.0 + 0.5 * n) for n in range(20)]
    late = [each for each in passed[3:] if each is not None]
    assert [each.elapsed_s for each in late] == pytest.approx([0.5 * speed] * len(late))
    assert all(each.clock_moved_s == 0.0 for each in late)


def test_what_is_not_newer_is_left_aside() -> None:
    timeline = Timeline()
    timeline.take("run", 5, 1000.0, 50.0)
    assert timeline.take("run", 5, 1000.5, 50.5) is None
    assert timeline.take("run", 4, 1000.5, 50.5) is None


# --- going on with what an earlier page process began
# --------------------------------------------------------------------


def kept(**given: Any) -> Kept:
    words: dict[str, Any] = {
        "row": 7, "gun": 1, "from_ts": START_TS - 600.0, "seen_ts": START_TS - 10.0, "counter_kwh": 9.0,
        "energy_kwh": 5.0, "soc_from_pct": 20.0, "peak_kw": 120.0, "charging_s": 500.0, "waited_s": 12.0,
        "clock_moved_s": 0.0, "modules": frozenset({8, 9}),
    }  # fmt: skip
    return Kept(**(words | given))


def test_an_open_session_is_gone_on_with() -> None:
    watched = Watched()
    kwh = watched.charge(60.0, 10.0, 9.2, soc_pct=50.0)
    assert watched.tracker.adopt([kept()]) == []
    session = watched.tracker.open[1]
    assert session.row == 7
    assert session.energy_kwh == pytest.approx(5.0 + kwh - 9.0)
    assert session.from_ts == pytest.approx(START_TS - 600.0)
    assert session.elapsed_s == pytest.approx(610.0)  # the gap of ten seconds counts
    assert (session.soc_from_pct, session.peak_kw, session.modules) == (20.0, 120.0, {1, 8, 9})
    assert watched.tracker.adopt([kept()]) == [], "asked a second time nothing is counted twice"
    assert session.energy_kwh == pytest.approx(5.0 + kwh - 9.0)


def test_a_clock_that_was_moved_between_two_page_processes_keeps_the_length() -> None:
    watched = Watched()
    watched.ts += YEARS_S
    watched.charge(60.0, 10.0, 9.2)
    watched.tracker.adopt([kept()])
    session = watched.tracker.open[1]
    assert session.elapsed_s == pytest.approx(590.0 + 9.5)
    assert session.clock_moved_s == pytest.approx(YEARS_S, rel=1e-6)


def test_an_open_session_whose_car_has_gone_meanwhile_is_handed_back() -> None:
    watched = Watched()
    watched.show()
    assert [each.row for each in watched.tracker.adopt([kept()])] == [7]


def test_a_session_that_began_before_our_eyes_is_not_the_old_one() -> None:
    watched = Watched()
    watched.show()
    watched.charge(60.0, 5.0, 9.2)
    assert [each.row for each in watched.tracker.adopt([kept()])] == [7]


# --- whatever comes
# -----------------------------------------------------------------------------------------------------

STATUSES = st.sampled_from(["never told", "no car", "waiting", "charging", "finishing", "fault"])
STATES = st.sampled_from(["idle", "waiting", "connecting", "charging", "stopping", "fault", "disabled"])
STATION_STATES = st.sampled_from(["ready", "ready", "ready", "ready", "degraded", "emergency_stop", "stopping"])
JUMPS_S = st.sampled_from([0.0, 0.0, 0.0, 0.0, -3600.0, 7200.0, YEARS_S])


class AnyStation(RuleBasedStateMachine):
    """Two guns that tell anything, lost snapshots, clocks that jump, controllers that start anew."""

    @initialize()
    def begin(self) -> None:
        self.watched = Watched()
        self.counters = {1: 0.0, 2: 0.0}
        self.of_runs = {1: 0.0, 2: 0.0}  # what earlier runs had counted
        self.loose = {1: 0.0, 2: 0.0}  # came while no session was open, below what counts as power
        self.watched.show(gun_words(1), gun_words(2))

    @rule(
        statuses=st.tuples(STATUSES, STATUSES), states=st.tuples(STATES, STATES), station=STATION_STATES,
        kws=st.tuples(st.sampled_from([0.0, 0.0, 0.2, 30.0, 150.0]), st.sampled_from([0.0, 0.0, 40.0])),
        asks=st.tuples(st.booleans(), st.booleans()), lost=st.sampled_from([0, 0, 0, 1, 100]), jump_s=JUMPS_S,
        silent=st.booleans(),
    )  # fmt: skip
    def tell(
        self, statuses: tuple[str, str], states: tuple[str, str], station: str, kws: tuple[float, float],
        asks: tuple[bool, bool], lost: int, jump_s: float, silent: bool,
    ) -> None:  # fmt: skip
        watched = self.watched
        before = dict(watched.tracker.open)
        watched.seq += lost
        watched.ts += lost * PERIOD_S + jump_s
        watched.now_s += lost * PERIOD_S
        guns, rises = [], {}
        for gun in (1, 2):
            rises[gun] = kws[gun - 1] * (1 + lost) * PERIOD_S / 3600.0
            self.counters[gun] += rises[gun]
            guns.append(
                gun_words(
                    gun, vehicle_status=statuses[gun - 1], state=states[gun - 1], delivered_kw=kws[gun - 1],
                    asked_kw=50.0 if asks[gun - 1] else 0.0, energy_kwh=self.counters[gun],
                )
            )  # fmt: skip
        faults: list[Fault] = [fault_words("GUN_SILENT", "g1", watched.ts)] if silent else []
        watched.show(*guns, state=station, faults=faults)
        for gun in (1, 2):
            if gun not in before and gun not in watched.tracker.open:
                self.loose[gun] += rises[gun]

    @rule()
    def controller_starts_anew(self) -> None:
        for gun in (1, 2):
            self.of_runs[gun] += self.counters[gun]
            self.counters[gun] = 0.0
        self.watched.run += "+"
        self.watched.seq = 0
        self.watched.show(gun_words(1), gun_words(2))
        assert not self.watched.tracker.open

    @rule(gun=st.sampled_from([1, 2]))
    def car_goes(self, gun: int) -> None:
        """Whatever was: with the car and the power gone the session has ended."""
        others = [
            gun_words(each, vehicle_status="waiting", energy_kwh=self.counters[each]) for each in (1, 2) if each != gun
        ]
        self.watched.show(gun_words(gun, energy_kwh=self.counters[gun]), *others)
        assert gun not in self.watched.tracker.open

    @precondition(lambda self: self.watched.tracker.ended)
    @invariant()
    def sessions_end_after_they_begin(self) -> None:
        for session in self.watched.tracker.ended:
            assert session.ended is not None
            assert session.to_ts is not None
            assert session.to_ts >= session.from_ts
            assert 0.0 <= session.active_s <= session.elapsed_s
            assert session.charging_s + session.waited_s <= session.elapsed_s + 1e-6
            assert (session.fault is not None) == (session.ended is EndReason.FAULT)

    @invariant()
    def sessions_of_a_gun_do_not_overlap(self) -> None:
        """On a clock that nobody moved; else their dates move and the order stays."""
        for gun in (1, 2):
            mine = [each for each in self.watched.tracker.ended if each.gun == gun]
            mine += [each for key, each in self.watched.tracker.open.items() if key == gun]
            moved = any(each.clock_moved_s for each in mine)
            for earlier, later in pairwise(mine):
                assert earlier.to_ts is not None
                assert moved or self._jumped(earlier, later) or earlier.to_ts <= later.from_ts + 1e-3

    def _jumped(self, earlier: Session, later: Session) -> bool:
        """The clock was moved between the two."""
        return abs(later.from_ts - earlier.seen_ts) > 3000.0

    @invariant()
    def energy_is_what_the_counters_say(self) -> None:
        for gun in (1, 2):
            sessions = [*self.watched.tracker.ended, *self.watched.tracker.open.values()]
            told = sum(each.energy_kwh for each in sessions if each.gun == gun)
            counted = self.of_runs[gun] + self.counters[gun] - self.loose[gun]
            assert told == pytest.approx(counted, abs=1e-9)


AnyStation.TestCase.settings = hypothesis_settings(max_examples=40, stateful_step_count=40, deadline=None)
TestAnyStation = AnyStation.TestCase
