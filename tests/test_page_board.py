"""Job: the board of the page process: newest snapshot, power of an hour, events, ended faults.

Thread: the test's, and readers beside it. Lock: none. Units: kW, s.
"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from page_bench import line_of

from monitoring.board import ENDED_KEPT, EVENTS_KEPT, Board
from monitoring.power_ring import KEPT_STEPS, PowerRing, means
from monitoring.schema import Event, Fault, Line, Snapshot
from simulator.virtual import Level, VirtualStation, settings_at


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    station = VirtualStation(settings_at(tmp_path_factory.mktemp("station")), level=Level.READINGS)
    station.run_to(20.0)
    return line_of(station)


def event(seq: int) -> Event:
    return Event(seq=seq, ts=seq, level="INFO", text=f"event {seq}")


def fault(since_ts: float, ended_ts: float | None) -> Fault:
    return Fault(
        code="LOAD_BREAK", severity="warning", scope="crosspoint", id="g1m1", text="x", since_ts=since_ts,
        ended_ts=ended_ts, latched=False,
    )  # fmt: skip


def test_before_the_first_line_there_is_nothing() -> None:
    board = Board()
    assert board.snapshot() is None and board.snapshot_json() == b""
    assert board.age_s(5.0) == float("inf")
    assert board.events() == [] and board.faults().ended == [] and board.power(60).ts == []


def test_the_newest_snapshot_is_written_as_json_once(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    board, written = Board(), []
    dump = Snapshot.model_dump_json
    monkeypatch.setattr(Snapshot, "model_dump_json", lambda self: written.append(1) or dump(self))
    board.put(line, 10.0)
    first = board.snapshot_json()
    assert all(board.snapshot_json() is first for _ in range(50)) and len(written) == 1
    assert Snapshot.model_validate_json(first) == line.snapshot == board.snapshot()
    assert board.age_s(12.5) == 2.5
    board.put(Line(events=[event(1)]), 13.0)
    assert board.age_s(13.0) == 3.0, "a line without a snapshot renews nothing"


def test_events_are_kept_once_and_bounded() -> None:
    board = Board()
    board.put(Line(events=[event(n) for n in range(1, 301)]), 0.0)
    board.put(Line(events=[event(n) for n in range(251, 701)]), 0.0)  # told again, as to a page that was started anew
    assert [each.seq for each in board.events()] == list(range(201, 701)) and len(board.events()) == EVENTS_KEPT
    assert [each.seq for each in board.events(limit=3)] == [698, 699, 700]
    assert [each.seq for each in board.events(after=300, limit=3)] == [301, 302, 303], "to read on from there"
    assert board.events(after=700) == []


def test_ended_faults_are_kept_newest_first(line: Line) -> None:
    board = Board()
    for number in range(ENDED_KEPT + 5):
        board.put(Line(fault_news=[fault(number, None), fault(number, number + 1.0)]), 0.0)
    ended = board.faults().ended
    assert len(ended) == ENDED_KEPT and ended[0].since_ts == ENDED_KEPT + 4 and ended[-1].since_ts == 5.0
    assert board.faults().active == []
    assert line.snapshot is not None
    both = line.snapshot.model_copy(update={"faults": [fault(1, None), fault(2, None)]})
    board.put(Line(snapshot=both), 0.0)
    assert [each.since_ts for each in board.faults().active] == [2.0, 1.0]


# --- the hour of power ------------------------------------------------------------------------------------------------


def test_each_step_has_the_mean_of_what_was_told_in_it() -> None:
    ring = PowerRing()
    for ts, kw in ((100.0, 10.0), (102.5, 20.0), (104.9, 30.0), (105.0, 50.0), (116.0, 7.0)):
        ring.add(ts, [kw, 1.0])
    power = means(ring.steps(), 60)
    assert power.step_s == 5 and power.ts == [100.0, 105.0, 115.0]
    assert power.guns_kw == {"1": [20.0, 50.0, 7.0], "2": [1.0, 1.0, 1.0]}
    assert power.station_kw == [21.0, 51.0, 8.0]
    assert means(ring.steps(), 1) == power


def test_an_hour_is_kept_and_minutes_are_cut_from_its_end() -> None:
    ring = PowerRing()
    for number in range(2 * KEPT_STEPS):
        ring.add(5.0 * number, [float(number)])
    hour, minute = means(ring.steps(), 60), means(ring.steps(), 1)
    assert len(hour.ts) == KEPT_STEPS == 720 and hour.ts[-1] == 5.0 * (2 * KEPT_STEPS - 1)
    assert minute.ts == hour.ts[-12:] and minute.station_kw == hour.station_kw[-12:]


def test_a_clock_that_is_set_back_begins_anew() -> None:
    ring = PowerRing()
    ring.add(1000.0, [5.0])
    ring.add(500.0, [6.0])
    ring.add(505.0, [7.0])
    assert means(ring.steps(), 60).ts == [500.0, 505.0]


# --- threads ----------------------------------------------------------------------------------------------------------


def test_many_readers_never_see_halves(line: Line, tmp_path: Path) -> None:
    """A snapshot and its JSON belong together, whenever they are read."""
    assert line.snapshot is not None
    lines = [Line(snapshot=line.snapshot.model_copy(update={"seq": seq, "ts": 1000.0 + seq})) for seq in range(1, 200)]
    board, ended, wrong = Board(), threading.Event(), []

    def read() -> None:
        while not ended.is_set():
            power = board.power(60)
            if not len(power.ts) == len(power.station_kw) == len(power.guns_kw.get("1", power.ts)):
                wrong.append(power)
            board.events(), board.faults(), board.snapshot_json()

    readers = [threading.Thread(target=read, name=f"reader-{n}") for n in range(4)]
    for reader in readers:
        reader.start()
    for each in lines:
        board.put(each, 0.0)
    ended.set()
    for reader in readers:
        reader.join(5.0)
    assert wrong == [] and board.snapshot() == lines[-1].snapshot
