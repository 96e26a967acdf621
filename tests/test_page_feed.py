"""Job: what the control process writes and what the page process reads are the same words; energy; faults; events.

Thread: the test's. Lock: none. Units: kW, kWh, s. Real views of the simulated station go through the strict schema.
"""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from page_bench import about_of, seen_of
from pydantic import ValidationError

from logger_config import escape
from monitoring.events import KEPT, Events
from monitoring.feed import Feed, line
from monitoring.schema import Line
from planning.faults import FaultBook, FaultCode
from planning.view import hottest_c
from simulator.arrivals import timetable
from simulator.gun_bus import FixedBattery
from simulator.virtual import Level, VirtualStation, settings_at


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> VirtualStation:
    """Cars at the guns, a contactor that is out of service, a module that does not answer."""
    station = VirtualStation(settings_at(tmp_path_factory.mktemp("busy")), seed=3, arrivals=timetable(3, 8, 5.0))
    station.run_to(20.0)
    station.wire.board(4).muted = True
    station.run_to(45.0)
    return station


@pytest.fixture
def feed(busy: VirtualStation) -> Feed:
    return Feed(about_of(busy))


def read(content: dict[str, Any]) -> Line:
    return Line.model_validate_json(line(content), strict=False)


def test_a_view_of_the_running_station_reads_as_it_was(busy: VirtualStation, feed: Feed) -> None:
    seen = seen_of(busy)
    feed.count(seen.view)
    snapshot = read({"snapshot": feed.snapshot(seen)}).snapshot
    assert snapshot is not None
    report = seen.view.report
    assert [gun.gun for gun in snapshot.guns] == [1, 2, 3, 4, 5, 6]
    assert [f"{gun.reason_code} {gun.reason}" for gun in snapshot.guns] == [gun.reason for gun in report.guns]
    assert [tuple(gun.modules) for gun in snapshot.guns] == [gun.modules for gun in report.guns]
    assert [(gun.device, gun.device_gun_id) for gun in snapshot.guns[:3]] == [("D1", 1), ("D1", 2), ("D2", 1)]
    assert sum(gun.delivered_kw for gun in snapshot.guns) == pytest.approx(snapshot.station.power_kw, abs=0.01)
    assert snapshot.station.power_kw > 10.0
    closed = {(x.gun, x.module) for x in snapshot.crosspoints if x.state == "closed"}
    assert closed == {(x.gun, x.module) for x in busy.plant.closed_contacts()}
    assert closed and closed == {(x.gun, x.module) for x in snapshot.crosspoints if x.commanded}
    assert {module.module for module in snapshot.modules if module.gun} >= {module for _, module in closed}
    assert snapshot.modules[3].state == "silent"
    assert ("MODULE_SILENT", "m4") in {(fault.code, fault.id) for fault in snapshot.faults}
    assert all(module.temperature_c is not None for module in snapshot.modules if module.state == "on")
    assert snapshot.ts == pytest.approx(1000.0 + seen.view.now_s, abs=0.001)


def test_before_the_first_decision_there_are_words_too(tmp_path: Path) -> None:
    station = VirtualStation(settings_at(tmp_path), level=Level.READINGS)
    station.run_to(0.01)
    seen = seen_of(station)
    seen = replace(seen, view=replace(seen.view, report=replace(seen.view.report, guns=())))
    snapshot = read({"snapshot": Feed(about_of(station)).snapshot(seen)}).snapshot
    assert snapshot is not None
    assert {gun.reason_code for gun in snapshot.guns} == {"NOT_ARMED"}
    assert not snapshot.station.armed


def paths(content: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every key of every object in it."""
    found = []
    if isinstance(content, dict):
        for key, value in content.items():
            found += [(*before, key), *paths(value, (*before, key))]
    elif isinstance(content, list) and content:
        found += paths(content[0], (*before, 0))
    return found


#: Objects whose keys are numbers or reasons: any may be missing there.
FREE = {"loss_kw_without_module", "rejected"}


def test_a_key_too_few_or_too_many_is_seen_on_the_other_side(busy: VirtualStation, feed: Feed) -> None:
    whole = json.loads(line({"snapshot": feed.snapshot(seen_of(busy))}))
    read(whole)
    looked_at = 0
    for path in paths(whole):
        if path == ("snapshot",) or FREE & set(path[:-1]):
            continue
        broken = json.loads(json.dumps(whole))
        place = broken
        for step in path[:-1]:
            place = place[step]
        value = place.pop(path[-1])
        with pytest.raises(ValidationError):
            read(broken)
        place[path[-1]] = value
        place["surplus"] = value
        with pytest.raises(ValidationError):
            read(broken)
        looked_at += 1
    assert looked_at > 90


def test_a_number_that_is_none_does_not_break_the_line(busy: VirtualStation, feed: Feed) -> None:
    seen = seen_of(busy)
    broken = replace(
        seen,
        view=replace(
            seen.view,
            modules=tuple(replace(status, voltage_v=math.nan, current_a=math.inf) for status in seen.view.modules),
            report=replace(
                seen.view.report,
                power_kw=math.nan,
                guns=tuple(replace(gun, delivered_kw=math.nan) for gun in seen.view.report.guns),
            ),
        ),
    )
    feed.count(broken.view)
    snapshot = read({"snapshot": feed.snapshot(broken)}).snapshot
    assert snapshot is not None
    assert snapshot.modules[0].voltage_v is None and snapshot.station.power_kw == 0.0


def test_energy_is_what_the_plant_gave_and_never_falls(tmp_path: Path) -> None:
    station = VirtualStation(settings_at(tmp_path))
    station.plant.plug(1, FixedBattery(640.0), 0.0)
    station.run_to(5.0)
    feed, before_kwh, given_kwh, last_s = Feed(about_of(station)), 0.0, 0.0, 5.0
    for step in range(1, 240):
        now_s = 5.0 + 0.5 * step
        if step % 10 == 1:
            for kind, value in (("vehicle_status", "charging"), ("demand", "75"), ("target_voltage", "680")):
                station.publish(f"vesec/1/{kind}/D1", value)
        station.plant.set_output(1, station.plant.has_modules(1), station.clock.time_s)
        station.run_to(now_s)
        given_kwh += station.plant.guns[0].power_w / 1000.0 * (now_s - last_s) / 3600.0
        last_s = now_s
        seen = seen_of(station)
        feed.count(seen.view)
        snapshot = feed.snapshot(seen)
        assert snapshot["guns"][0]["energy_kwh"] >= before_kwh
        before_kwh = snapshot["guns"][0]["energy_kwh"]
        assert snapshot["station"]["energy_kwh"] == pytest.approx(before_kwh, abs=0.001)
    print(f"given {given_kwh:.3f} kWh, counted {before_kwh:.3f} kWh")
    assert before_kwh == pytest.approx(given_kwh, rel=0.03) and before_kwh > 1.5


def test_a_fault_keeps_its_beginning_whatever_the_clock_on_the_wall_does(feed: Feed) -> None:
    book = FaultBook()
    book.raise_fault(FaultCode.CONTACTOR_WELDED, "g1m3", 10.0)
    begun = feed.fault(book.take_news()[0], 1000.0)
    assert (begun["since_ts"], begun["ended_ts"], begun["latched"]) == (1010.0, None, True)
    book.clear(FaultCode.CONTACTOR_WELDED, "g1m3", 15.0)
    ended = feed.fault(book.take_news()[0], 900.0)
    assert (ended["since_ts"], ended["ended_ts"]) == (1010.0, 1010.0), "set back by 100 s: not ended before it began"
    read({"fault_news": [begun, ended]})


@pytest.mark.parametrize(
    ("details", "hottest"),
    [
        ({}, None),
        ({"inlet_c": 31.0, "pfc_c": 55.25, "dcdc_1_c": 48.0, "margin_c": 90.0, "group": 99.0}, 55.2),
        ({"margin_c": 12.0}, None),
        ({"ambient_c": -5.0}, -5.0),
        ({"ambient_c": math.nan}, None),
    ],
)
def test_the_hottest_temperature(details: dict[str, float], hottest: float | None) -> None:
    assert hottest_c(details) == (None if hottest is None else pytest.approx(hottest, abs=0.06))


def test_only_what_a_person_must_end_keeps_a_crosspoint_out_of_service(busy: VirtualStation, feed: Feed) -> None:
    book, seen = FaultBook(), seen_of(busy)
    book.raise_fault(FaultCode.LOAD_BREAK, "g1m1", 1.0)
    book.raise_fault(FaultCode.CONTACTOR_STUCK_OPEN, "g2m4", 2.0)
    seen = replace(seen, view=replace(seen.view, report=replace(seen.view.report, faults=book.active)))
    crosspoints = feed.snapshot(seen)["crosspoints"]
    assert {(x["gun"], x["module"]): x["fault"] for x in crosspoints if x["fault"]} == {(2, 4): "CONTACTOR_STUCK_OPEN"}


# --- the log ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def events() -> Events:
    return Events(escape, lambda: 5.0)


def record(text: str, level: int = logging.INFO, arguments: tuple[object, ...] = ()) -> logging.LogRecord:
    return logging.LogRecord("x", level, __file__, 1, text, arguments, None)


def test_events_are_numbered_and_safe_to_show(events: Events) -> None:
    events.handle(record("one %s", logging.WARNING, ("\x1b[31m\nnext",)))
    events.handle(record("two", 25))
    found = events.after(0, 10)
    assert found == [
        {"seq": 1, "ts": 5.0, "level": "WARNING", "text": "one \\x1b[31m\\nnext"},
        {"seq": 2, "ts": 5.0, "level": "INFO", "text": "two"},
    ]
    read({"events": found})
    assert events.after(1, 10) == found[1:] and events.after(2, 10) == []


def test_a_line_that_does_not_fit_its_arguments_raises_nothing(events: Events) -> None:
    events.handle(record("%d", arguments=("text",)))
    assert events.after(0, 10) == [] and events.unreadable == 1


def test_a_flood_of_lines_is_bounded_and_the_newest_count(events: Events) -> None:
    for number in range(5000):
        events.handle(record("line %d " + "x" * 3000, arguments=(number,)))
    found = events.after(0, 10_000)
    assert len(found) == KEPT and found[-1]["text"].startswith("line 4999 ")
    assert max(len(each["text"]) for each in found) <= 1000


def test_debug_lines_cost_nothing_and_others_microseconds(events: Events) -> None:
    logger = logging.getLogger("page-events-test")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(events)
    logger.debug("not kept")
    assert events.after(0, 10) == []
    took_s = []
    for number in range(2000):
        begun_s = time.perf_counter()
        events.handle(record("Gun %d: 75 kW by modules %s - SERVED", arguments=(number, "1 2")))
        took_s.append(time.perf_counter() - begun_s)
    took_s.sort()
    print(f"a line: p50 {took_s[1000] * 1e6:.1f} us, p99 {took_s[1980] * 1e6:.1f} us")
    assert took_s[1980] < 0.0005
