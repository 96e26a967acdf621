"""Job: 40 recorded minutes in front of other decisions: what was asked for holds in each, and the model is near.

Thread: the test's. Lock: none. Units: kW, kWh, s of station time.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import DAY, busy_stretch, once, quietly, write_day

from planning.decision import Decision, DecisionCore
from planning.model import ContactState
from planning.settings import Priority, Settings
from planning.transition import Stage
from simulator import replay
from simulator.arrivals import timetable
from simulator.obedient_plant import ObedientPlant
from simulator.outside import CarSide, Change, Collector, Outside
from simulator.recorded_day import read_day
from simulator.replay_account import Account, Meter
from simulator.replay_run import RunReplay
from simulator.virtual import Level, VirtualStation, settings_at
from simulator.what_if import Otherwise, Outcome, play

#: The model's energy of this stretch is this near to the recorded one; each gun's within the second.
NEAR_PCT, GUN_NEAR_PCT = 2.0, 6.0


class Stretch:
    """A recorded busy stretch and what can be asked of it."""

    def __init__(self, folder: Path, own: Path) -> None:
        """`folder` is read by all workers of a run; what this one writes goes to `own`."""
        self.settings = settings_at(own)
        self.path = folder / f"inputs-{DAY}.log"
        self.account, self.outside = outside_of(self.path, self.settings)


def outside_of(path: Path, config: Settings) -> tuple[Account, Outside]:
    """Of the first run of a day."""
    replayed = RunReplay(read_day(path)[0], config)
    account, collector = Account(config), Collector(config)
    for step in replayed.steps():
        account.look(step.decision, replayed.core)
        collector.look(step, replayed.core.inputs)
    return account, collector.outside


@pytest.fixture(scope="module")
def stretch(tmp_path_factory: pytest.TempPathFactory) -> Stretch:
    return Stretch(once(tmp_path_factory, "stretch", busy_stretch), tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def same(stretch: Stretch) -> Outcome:
    return play(stretch.outside, Otherwise())


class Look:
    """What has to hold of every decision."""

    def __init__(self, limit_kw: float | None = None, without: frozenset[int] = frozenset()) -> None:
        self.limit_kw, self.without = limit_kw, without
        self.decisions = 0
        self.most_kw = 0.0
        self.rules: set[Priority] = set()

    def __call__(self, decision: Decision, core: DecisionCore) -> None:
        self.decisions += 1
        self.rules.add(decision.question.rule)
        given_kw = sum(gun.allocated_kw for gun in decision.allocation.guns)
        self.most_kw = max(self.most_kw, given_kw)
        if self.limit_kw is not None:
            assert given_kw <= self.limit_kw + 1e-6, decision.line()
        for module in self.without:
            assert decision.wants[module - 1] == 0, decision.line()
            assert decision.seats[module - 1][0] is Stage.FREE, decision.line()
        held = [module for gun in decision.allocation.guns for module in gun.modules]
        assert len(held) == len(set(held)), "a module on two guns"
        for gun, target_kw in zip(decision.allocation.guns, decision.targets_kw, strict=True):
            assert gun.allocated_kw <= target_kw + 1e-9
        for module in range(9):
            coils = [gun for gun in range(6) if decision.coils >> (gun * 9 + module) & 1]
            assert len(coils) <= 1
            assert not coils or decision.seats[module][1] == coils[0] + 1
        for key, value in core.inputs.items():
            assert key[0] != "x" or value not in ("I", "W", "f", "d"), "nothing was broken in this stretch"


# --- the model ------------------------------------------------------------------------------------------------------


def test_the_model_of_unchanged_decisions_is_near_the_record(stretch: Stretch, same: Outcome) -> None:
    recorded = stretch.account
    error_pct = 100.0 * (same.account.kwh / recorded.kwh - 1.0)
    by_gun = {
        gun: 100.0 * (same.account.guns[gun].meter.kwh / account.meter.kwh - 1.0)
        for gun, account in recorded.guns.items()
    }
    print(
        f"recorded {recorded.kwh:.1f} kWh, model {same.account.kwh:.1f} ({error_pct:+.2f} %), by gun "
        + ", ".join(f"{gun}: {pct:+.1f} %" for gun, pct in by_gun.items())
        + f"; contactor operations {recorded.operations} and {same.account.operations}; decisions "
        f"{recorded.decisions} and {same.account.decisions}"
    )
    assert recorded.kwh > 150.0
    assert abs(error_pct) <= NEAR_PCT
    assert max(map(abs, by_gun.values())) <= GUN_NEAR_PCT
    assert abs(same.account.operations - recorded.operations) <= 0.15 * recorded.operations


def test_what_the_record_comes_to_is_near_what_the_plant_delivered(tmp_path: Path) -> None:
    """The account works out power from decisions; the simulated plant measures it."""
    config = settings_at(tmp_path)
    delivered_kwh = 0.0
    with quietly():
        station = VirtualStation(config, level=Level.READINGS, seed=3, arrivals=timetable(3, 20, mean_gap_s=60.0))
        for second in range(1, 1201):
            station.run_to(float(second))
            delivered_kwh += station.plant.power_kw() / 3600.0
    account, _ = outside_of(write_day(tmp_path, station.records), config)
    print(f"delivered {delivered_kwh:.1f} kWh, worked out {account.kwh:.1f} kWh")
    assert account.kwh == pytest.approx(delivered_kwh, rel=0.05)


# --- what was asked for ---------------------------------------------------------------------------------------------

OTHER_WAYS = [
    Otherwise(rule=Priority.FAIR_SHARE),
    Otherwise(rule=Priority.LOWEST_SOC),
    Otherwise(site_limit_kw=120.0),
    Otherwise(site_limit_kw=0.0),
    Otherwise(without_modules=frozenset({4})),
    Otherwise(without_modules=frozenset({1, 2, 3, 5, 6, 7})),
    Otherwise(Priority.FAIR_SHARE, 150.0, frozenset({4}), cars_stay=True),
]


#: Each plays the stretch once more: two of them in every run, all in the long one.
IN_EVERY_RUN = (2, 6)


@pytest.mark.parametrize(
    "otherwise",
    [
        pytest.param(way, id=way.words(), marks=() if place in IN_EVERY_RUN else pytest.mark.soak)
        for place, way in enumerate(OTHER_WAYS)
    ],
)
def test_what_shall_be_different_is_so_in_every_decision(stretch: Stretch, same: Outcome, otherwise: Otherwise) -> None:
    limit_kw = None if otherwise.site_limit_kw is None else otherwise.site_limit_kw * 0.95
    look = Look(limit_kw, otherwise.without_modules)
    outcome = play(stretch.outside, otherwise, same, watch=look)
    assert look.decisions > 100
    assert look.rules == {otherwise.rule or Priority.HIGHEST_DEMAND}
    served = {module for gun in outcome.account.guns.values() for module in gun.modules}
    assert not served & otherwise.without_modules
    if limit_kw is not None:
        assert outcome.account.kwh <= limit_kw * 1.0 + 0.1, "an hour of it at the most"
        assert look.most_kw >= 0.9 * limit_kw, "it was reached"


def test_a_limit_that_was_lower_stays_and_less_is_given_with_less(stretch: Stretch, same: Outcome) -> None:
    wide = play(stretch.outside, Otherwise(site_limit_kw=10_000.0))
    assert wide.account.kwh == pytest.approx(same.account.kwh, rel=0.02)
    assert play(stretch.outside, Otherwise(site_limit_kw=50.0)).account.kwh < 0.5 * same.account.kwh


def test_a_fair_share_leaves_nobody_waiting_as_long(stretch: Stretch, same: Outcome) -> None:
    fair = play(stretch.outside, Otherwise(rule=Priority.FAIR_SHARE)).account
    longest = [max(gun.waiting_ms for gun in account.guns.values()) for account in (fair, same.account)]
    assert longest[0] < longest[1]


@pytest.mark.soak
def test_the_same_question_gets_the_same_answer(stretch: Stretch, same: Outcome) -> None:
    _, again = outside_of(stretch.path, stretch.settings)
    lines: list[list[str]] = [[], []]
    play(stretch.outside, OTHER_WAYS[-1], same, watch=lambda decision, _: lines[0].append(decision.line()))
    play(again, OTHER_WAYS[-1], play(again, Otherwise()), watch=lambda decision, _: lines[1].append(decision.line()))
    assert lines[0] == lines[1]


# --- cars that stay -------------------------------------------------------------------------------------------------


def test_cars_that_stay_get_what_they_had_and_no_more(stretch: Stretch, same: Outcome) -> None:
    limit = 140.0
    going = play(stretch.outside, Otherwise(site_limit_kw=limit), same).account
    outcome = play(stretch.outside, Otherwise(site_limit_kw=limit, cars_stay=True), same)
    staying = outcome.account
    owed_kwh = sum(left.owed_kwh for left in outcome.left.values())
    print(f"had {same.account.kwh:.1f} kWh, going {going.kwh:.1f}, staying {staying.kwh:.1f}, owed {owed_kwh:.1f}")
    assert going.kwh - 0.5 <= staying.kwh <= same.account.kwh + 0.5
    for gun, account in staying.guns.items():
        assert account.meter.kwh <= same.account.guns[gun].meter.kwh + 0.1
    assert any(left.late_ms > 0 for left in outcome.left.values())


@pytest.mark.soak
def test_without_a_difference_cars_that_stay_come_and_go_as_recorded(stretch: Stretch, same: Outcome) -> None:
    lines: list[list[str]] = [[], []]
    play(stretch.outside, Otherwise(), watch=lambda decision, _: lines[0].append(decision.line()))
    again = play(
        stretch.outside, Otherwise(cars_stay=True), same, watch=lambda decision, _: lines[1].append(decision.line())
    )
    assert lines[1] == lines[0], "the same decisions to the last one, cars that wait at the end of the record included"
    assert again.account.kwh == same.account.kwh
    assert max(left.late_ms for left in again.left.values()) == 0


def car(gun: int, *words: tuple[int, float, str]) -> list[Change]:
    return [Change(at_ms, ((f"g{gun}d", kw), (f"g{gun}s", status))) for at_ms, kw, status in words]


def told(side: CarSide, meter: Meter, until_ms: int, step_ms: int = 100) -> list[tuple[int, dict[str, object]]]:
    heard = []
    for now_ms in range(0, until_ms, step_ms):
        meter.advance(now_ms)
        due_ms = side.due_ms()
        if due_ms is not None and due_ms <= now_ms:
            heard.append((now_ms, dict(side.take(now_ms))))
    return heard


CHARGE = car(1, (0, 0.0, "NO_CAR"), (1000, 36.0, "CHARGING"), (101_000, 18.0, "CHARGING"), (201_000, 0.0, "FINISHING"),
             (210_000, 0.0, "NO_CAR"), (300_000, 36.0, "CHARGING"))  # fmt: skip
#: 36 kW for 100 s are 1 kWh, 18 kW another half.
HAD_KWH = [0.0, 0.0, 1.0, 1.5, 1.5, 1.5, 2.0]


def test_a_car_that_gets_half_stays_twice_as_long_and_the_next_one_waits() -> None:
    meter = Meter(1000.0)
    side = CarSide(1, CHARGE, meter, HAD_KWH, 400_000)
    meter.aim(18.0)
    heard = told(side, meter, 360_000)
    at = [now_ms for now_ms, _ in heard]
    # 1 kWh at 18 kW takes 200 s, less what counts as the same; half a kWh 100 s; the wait of 9 s stays
    assert at[2] == pytest.approx(201_000, abs=2_500)
    assert at[3] == pytest.approx(301_000, abs=2_500)
    assert at[4] - at[3] == 9_000
    assert len(at) == 6
    assert at[5] - at[4] == 30_000, "it had come at 300 s and waits for the gun"


def test_a_car_that_gets_twice_as_much_asks_for_nothing_once_it_has_what_it_had() -> None:
    meter = Meter(1000.0)
    side = CarSide(1, CHARGE, meter, HAD_KWH, 400_000)
    heard = []
    for now_ms in range(0, 260_000, 100):
        meter.advance(now_ms)
        due_ms = side.due_ms()
        if due_ms is not None and due_ms <= now_ms:
            values = dict(side.take(now_ms))
            heard.append((now_ms, values))
            if "g1d" in values:
                meter.aim(72.0 if values["g1d"] else 0.0)
    assert meter.kwh == pytest.approx(1.5, abs=0.01)
    full = [now_ms for now_ms, values in heard if values == {"g1d": 0.0}]
    assert full == [pytest.approx(76_000, abs=500)]
    assert heard[-1][0] == pytest.approx(210_000, abs=200), "it stands there as long as it did"
    assert all(not values.get("g1d") for now_ms, values in heard if now_ms > full[0])


def test_a_car_that_was_left_wanting_asks_on_when_it_has_what_it_had() -> None:
    """It asked for 100 s more and got nothing: it was never full."""
    meter = Meter(1000.0)
    words = ((0, 0.0, "NO_CAR"), (1000, 36.0, "CHARGING"), (110_000, 35.9, "CHARGING"), (201_000, 0.0, "NO_CAR"))
    side = CarSide(1, car(1, *words), meter, [0.0, 0.0, 1.0, 1.0, 1.0], 400_000)
    meter.aim(36.0)
    heard = told(side, meter, 101_500)
    meter.aim(0.0)
    heard += told(side, meter, 300_000)
    assert meter.kwh == pytest.approx(1.0, abs=0.02)
    assert [(now_ms, values["g1d"]) for now_ms, values in heard] == [(at_ms, kw) for at_ms, kw, _ in words]


@given(
    st.lists(st.tuples(st.integers(1, 60_000), st.sampled_from([0.0, 11.0, 240.0])), min_size=1, max_size=12),
    st.floats(0.001, 3.0),
)
@settings(max_examples=100, deadline=None)
def test_a_meter_counts_the_same_in_one_go_and_in_many_and_foresees_what_it_counts(
    parts: Sequence[tuple[int, float]], ahead_kwh: float
) -> None:
    one, many = Meter(10.0), Meter(10.0)
    at_ms = 0
    for for_ms, goal_kw in parts:
        for meter in (one, many):
            meter.aim(goal_kw)
        for now_ms in range(at_ms, at_ms + for_ms, max(1, for_ms // 7)):
            many.advance(now_ms)
        at_ms += for_ms
        one.advance(at_ms)
        many.advance(at_ms)
    assert many.kwh == pytest.approx(one.kwh, abs=1e-9)
    assert sum(one.pieces_kwh.values()) == pytest.approx(one.kwh)
    due_ms = one.reaches_ms(one.kwh + ahead_kwh)
    if due_ms is not None:
        before_kwh = one.kwh
        one.advance(due_ms)
        assert one.kwh >= before_kwh + ahead_kwh - 1e-9
        assert one.kwh <= before_kwh + ahead_kwh + 240.0 * 2 / 3.6e6


# --- recorded faults ------------------------------------------------------------------------------------------------


@pytest.fixture
def plant(tmp_path: Path) -> tuple[ObedientPlant, DecisionCore]:
    config = settings_at(tmp_path)
    return ObedientPlant(config, 0, frozenset()), DecisionCore(config)


def contact(core: DecisionCore) -> object:
    return core.inputs["x1.1"]


def command(plant: ObedientPlant, core: DecisionCore, coils: int, now_ms: int) -> None:
    from dataclasses import replace

    plant.obey(replace(core.step(now_ms)[1], coils=coils), now_ms)


@pytest.mark.parametrize(
    ("told", "after_close", "after_open"),
    [("", "C", "O"), ("W", "C", "W"), ("f", "f", "O"), ("d", "f", "O")],
)
def test_a_contactor_that_broke_that_day_is_broken_for_other_decisions_too(
    plant: tuple[ObedientPlant, DecisionCore], told: str, after_close: str, after_open: str
) -> None:
    obedient, core = plant
    core.put("g1d", 1.0)
    if told:
        obedient.hear_contact(0, "o" if told == "W" else "c", 0)
        obedient.hear_contact(0, told, 0)
    command(obedient, core, 1, 100)
    obedient.look(core, 120)
    assert contact(core) == ContactState.CLOSING.value
    obedient.look(core, 1000)
    assert contact(core) == after_close
    command(obedient, core, 0, 1100)
    obedient.look(core, 2000)
    assert contact(core) == after_open


def test_a_contactor_that_closed_alone_does_so_again_and_is_mended_when_it_was(
    plant: tuple[ObedientPlant, DecisionCore],
) -> None:
    obedient, core = plant
    core.put("g1d", 1.0)
    obedient.hear_contact(0, "I", 0)
    obedient.look(core, 10)
    assert contact(core) == "I"
    obedient.hear_contact(0, "O", 20)
    obedient.look(core, 30)
    assert contact(core) == "O"


def test_a_stuck_contactor_closes_again_once_a_person_has_reset(plant: tuple[ObedientPlant, DecisionCore]) -> None:
    obedient, core = plant
    core.put("g1d", 1.0)
    obedient.hear_contact(0, "f", 0)
    obedient.hear_reset()
    command(obedient, core, 1, 100)
    obedient.look(core, 1000)
    assert contact(core) == "C"


# --- the report -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report(stretch: Stretch, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    path = tmp_path_factory.mktemp("report") / "difference.html"
    import contextlib
    import io

    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        code = replay.main(
            [
                str(stretch.path), "--config", str(stretch.path.parent / "config.ini"), "--rule", "fair_share",
                "--site-limit", "150", "--without-module", "4", "--report", str(path),
            ]
        )  # fmt: skip
    assert code == replay.EXIT_SAME
    return told.getvalue(), path.read_text()


def test_the_report_in_words_has_every_gun_the_error_and_the_largest_differences(report: tuple[str, str]) -> None:
    words, _ = report
    assert "What if: --rule fair_share --site-limit 150 --without-module 4" in words
    for gun in ("1", "2", "3", "4", "5", "6", "all"):
        row = next(line for line in words.splitlines() if re.match(rf"{gun} +[\d,]+\.\d", line))
        assert len(row.split()) == 11
    assert re.search(r"Model error: .* \([+-]\d\.\d\d %\)", words)
    assert "Cars ask and leave as recorded: one that gets less would in truth stay longer" in words
    assert len(re.findall(r"  \d+:\d\d to \d+:\d\d  gun \d: [\d.]+ kWh instead of [\d.]+ \(mean", words)) == 5
    assert max(map(len, words.splitlines())) <= 120


class Page(HTMLParser):
    """What a browser and a screen reader meet."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_needs_nothing_else_and_says_in_words_what_it_draws(report: tuple[str, str]) -> None:
    _, html = report
    page = Page()
    page.feed(html)
    assert [tag for tag, _ in page.tags if tag in ("script", "link", "img", "iframe")] == []
    assert "http:" not in html and "https:" not in html and "url(" not in html
    plots = [attrs for tag, attrs in page.tags if tag == "svg" and attrs.get("role") == "img"]
    assert len(plots) == 7
    assert all(re.search(r"kWh, otherwise [\d,]+\.\d kWh; waiting", attrs["aria-label"] or "") for attrs in plots)
    hidden = [attrs for tag, attrs in page.tags if tag == "svg" and attrs.get("role") != "img"]
    assert all(attrs.get("aria-hidden") == "true" for attrs in hidden)
    assert ("html", {"lang": "en"}) in page.tags
    assert "prefers-color-scheme:dark" in html
    for plot in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        xml.etree.ElementTree.fromstring(plot)
    assert len(html) < 400_000


def test_the_plots_hold_the_energy_of_the_table(stretch: Stretch, same: Outcome, report: tuple[str, str]) -> None:
    """The area under the first plot, read back from its path, is the model's energy."""
    _, html = report
    path = re.search(r'class="was" d="M0 200((?:H[\d.e+]+V[\d.]+)*)', html[html.index("<figure>") :])
    assert path is not None
    top_kw = float(re.findall(r"<span>(\d+)</span>", html[html.index('class="scale"') :])[0])
    words = html[html.index('class="hours"') : html.index("</figure>")]
    hours = [int(h) + int(m) / 60.0 for h, m in re.findall(r">(\d+):(\d\d)</span>", words)]
    span_h = hours[-1] - hours[0]
    area, at, height = 0.0, 0.0, 200.0
    for x, y in re.findall(r"H([\d.e+]+)V([\d.]+)", path[1]):
        area += (float(x) - at) * (200.0 - height)
        at, height = float(x), float(y)
    assert area / 1440.0 * span_h * top_kw / 200.0 == pytest.approx(same.account.kwh, rel=0.02)
