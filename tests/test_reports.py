"""Reports: what is published, when, and how it reads."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planning.model import FaultReport, GunReport, GunState, Scope, Severity, StationReport, StationState
from planning.payload import Reason, Rejection
from planning.reports import OutMessage, Reports, last_will

WALL_S = 1_800_000_000.1234
GUN = GunReport(3, GunState.CHARGING, 100.0, 80.0, 79.123, (4, 7), "SHARED 2 modules short: held by guns 1 and 4", 55.5)
STATION = StationReport(StationState.READY, (GUN,), 79.5, None, 9, ())
SILENT = FaultReport("MODULE_SILENT", Severity.WARNING, Scope.MODULE, "m3", True, "Module 3 does not answer", 5.0)
WELDED = FaultReport("WELDED", Severity.ERROR, Scope.CROSSPOINT, "g1m3", True, "Contactor g1m3 is welded", 6.0)


@pytest.fixture
def reports() -> Reports:
    return Reports("1.2.3", "vesec", {"D1": (1, 2), "D2": (3, 4), "D3": (5, 6)}, 6)


def topics(messages: list[OutMessage]) -> list[str]:
    return [message.topic.removeprefix("vesec/") for message in messages]


def content(message: OutMessage) -> Any:
    return json.loads(message.payload)


def with_gun(**changes: Any) -> StationReport:
    return replace(STATION, guns=(replace(GUN, **changes),))


def test_an_allocation_reads_as_promised(reports: Reports) -> None:
    message = reports.step(0.0, WALL_S, STATION)[0]
    assert (message.topic, message.qos, message.retain) == ("vesec/3/allocation/central", 0, True)
    assert content(message) == {
        "ts": 1_800_000_000.123,
        "valid_s": 25,
        "device": "D2",
        "device_gun_id": 1,
        "demand_kw": 100.0,
        "allocated_kw": 80.0,
        "delivered_kw": 79.12,
        "modules": [4, 7],
        "state": "charging",
        "reason": "SHARED 2 modules short: held by guns 1 and 4",
        "soc_pct": 55.5,
    }


def test_the_station_status_reads_as_promised(reports: Reports) -> None:
    message = reports.step(0.0, WALL_S, replace(STATION, site_limit_kw=150.0, faults=(WELDED,)))[-1]
    assert (message.topic, message.qos, message.retain) == ("vesec/station/status/central", 0, True)
    assert content(message) == {
        "ts": 1_800_000_000.123,
        "state": "ready",
        "power_kw": 79.5,
        "site_limit_kw": 150.0,
        "modules_available": 9,
        "faults": [{"code": "WELDED", "severity": "error", "scope": "crosspoint", "id": "g1m3"}],
        "version": "1.2.3",
    }


def test_each_fault_is_told_when_raised_and_when_ended_even_within_one_report(reports: Reports) -> None:
    def told(now_s: float, *news: FaultReport) -> list[Any]:
        messages = reports.step(now_s, WALL_S, replace(STATION, news=news))
        found = [message for message in messages if message.topic == "vesec/station/fault/central"]
        assert all(message.qos == 1 and not message.retain for message in found)
        return [content(message) for message in found]

    raised = {
        "ts": 1_800_000_000.123, "code": "MODULE_SILENT", "severity": "warning", "scope": "module", "id": "m3",
        "active": True, "text": "Module 3 does not answer",
    }  # fmt: skip
    assert told(0.0) == []
    assert told(0.1, SILENT) == [raised]
    ended = replace(SILENT, active=False, ended_s=0.2)
    assert told(0.2, ended, SILENT) == [{**raised, "active": False}, raised]
    reports.renew()
    assert told(0.5) == []


def test_the_line_of_a_fault_has_its_start_and_its_end_on_the_wall_clock(reports: Reports) -> None:
    standing = json.loads(reports.fault_line(replace(SILENT, since_s=40.0), 100.0, WALL_S))
    assert (standing["start"], standing["end"], standing["code"], standing["id"]) == (
        round(WALL_S - 60.0, 3), None, "MODULE_SILENT", "m3",
    )  # fmt: skip
    ended = json.loads(reports.fault_line(replace(SILENT, since_s=40.0, ended_s=95.0), 100.0, WALL_S))
    assert (ended["start"], ended["end"]) == (standing["start"], round(WALL_S - 5.0, 3))


@pytest.mark.parametrize(
    "change",
    [
        {"modules": (4,)},
        {"state": GunState.STOPPING},
        {"reason": "OTHER why"},
        {"allocated_kw": 81.0},
        {"demand_kw": 99.0},
    ],
)
def test_news_is_published_at_once(reports: Reports, change: dict[str, Any]) -> None:
    reports.step(0.0, WALL_S, STATION)
    assert topics(reports.step(0.1, WALL_S, with_gun(**change))) == ["3/allocation/central"]


@pytest.mark.parametrize("change", [{}, {"delivered_kw": 79.9}, {"demand_kw": 100.99}, {"soc_pct": 56.0}])
def test_less_than_a_kilowatt_waits_for_the_repetition(reports: Reports, change: dict[str, Any]) -> None:
    reports.step(0.0, WALL_S, STATION)
    assert reports.step(9.9, WALL_S, with_gun(**change)) == []
    assert reports.due_s(9.9) == pytest.approx(0.1)
    assert topics(reports.step(10.0, WALL_S, with_gun(**change))) == ["3/allocation/central", "station/status/central"]


def test_slow_drift_adds_up_to_news(reports: Reports) -> None:
    reports.step(0.0, WALL_S, STATION)
    sent = [len(reports.step(n, WALL_S, with_gun(demand_kw=100.0 + 0.4 * n))) for n in range(1, 4)]
    assert sent == [0, 0, 1]


def test_at_most_two_a_second_and_the_newest_goes_out_last(reports: Reports) -> None:
    sent = []
    for hundredth in range(200):
        for message in reports.step(hundredth / 100, WALL_S, with_gun(demand_kw=100.0 + 2 * hundredth)):
            if message.topic == "vesec/3/allocation/central":
                sent.append((hundredth, content(message)["demand_kw"]))
    assert [at for at, _ in sent] == [0, 1, 100, 101]
    assert sent[-1][1] == 302.0
    assert reports.due_s(1.99) == pytest.approx(0.01)


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), st.booleans()), max_size=60))
def test_never_more_than_two_within_a_second_and_never_silent_for_longer_than_ten(
    steps: list[tuple[int, int, bool]],
) -> None:
    reports = Reports("1", "vesec", {}, 6)
    now_s, sent_at_s = 0.0, []
    for wait_ms, power, stopping in steps:
        now_s += min(wait_ms / 1000, reports.due_s(now_s))
        state = GunState.STOPPING if stopping else GunState.CHARGING
        messages = reports.step(now_s, WALL_S, with_gun(demand_kw=float(power * 10), state=state))
        sent_at_s += [now_s for message in messages if message.topic == "vesec/3/allocation/central"]
    assert all(later - early >= 1.0 - 1e-9 for early, later in zip(sent_at_s, sent_at_s[2:], strict=False))
    assert all(later - early <= 10.0 + 1e-9 for early, later in pairwise(sent_at_s))


def test_a_new_connection_gets_everything_again(reports: Reports) -> None:
    reports.step(0.0, WALL_S, STATION)
    reports.renew()
    assert reports.due_s(0.1) == 0.0
    assert topics(reports.step(0.1, WALL_S, STATION)) == ["3/allocation/central", "station/status/central"]


def test_a_number_that_is_none_does_not_silence_the_station(reports: Reports) -> None:
    messages = reports.step(0.0, WALL_S, with_gun(delivered_kw=math.nan, soc_pct=None))
    assert content(messages[0])["delivered_kw"] is None and content(messages[0])["soc_pct"] is None


def test_a_gun_without_device_has_nulls(reports: Reports) -> None:
    message = Reports("1", "vesec", {}, 6).step(0.0, WALL_S, STATION)[0]
    assert (content(message)["device"], content(message)["device_gun_id"]) == (None, None)


@pytest.mark.parametrize(("gun", "topic"), [(2, "vesec/2/rejected/central"), (None, "vesec/station/rejected/central")])
def test_a_rejection_reads_as_promised(reports: Reports, gun: int | None, topic: str) -> None:
    message = reports.rejected(Rejection(gun, "vesec/2/demand/D1", Reason.RANGE, "5000", "0 to 1000 kW"), WALL_S)
    assert (message.topic, message.qos, message.retain) == (topic, 0, False)
    assert content(message) == {
        "ts": 1_800_000_000.123, "topic": "vesec/2/demand/D1", "reason": "RANGE", "payload": "5000",
    }  # fmt: skip


def test_the_last_will(reports: Reports) -> None:
    expected = OutMessage("vesec/station/status/central", b'{"state":"offline"}', qos=1, retain=True)
    assert reports.last_will() == last_will("vesec") == expected
