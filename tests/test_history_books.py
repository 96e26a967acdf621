"""Power, faults and contactor operations as the history keeps them, without database and clock."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from history_feed import START_TS, BusyStation, charging, fault_words, seen_at, snapshot
from hypothesis import given
from hypothesis import strategies as st

from monitoring.history import chronicle
from monitoring.history.chronicle import Chronicle
from monitoring.history.faults import FaultBook, KeptFault
from monitoring.history.operations import OperationCounter
from monitoring.history.power import PowerBook, PowerRow, minutes_of
from monitoring.history.readings import Wear, reading
from monitoring.schema import Fault

# --- power
# --------------------------------------------------------------------------------------------------------------


def power_book(seconds: int = 100, minutes: int = 100) -> PowerBook:
    return PowerBook(seconds, minutes)


def test_a_second_is_the_mean_of_its_snapshots() -> None:
    book = power_book()
    for ts, kw in [(100.1, 10.0), (100.6, 20.0), (101.1, 30.0), (102.9, 5.0), (103.0, 0.0)]:
        book.take(ts, kw, [kw, 0.0])
    assert [(row.ts, row.station_w, row.guns_w) for row in book.seconds] == [
        (100, 15_000, (15_000, 0)), (101, 30_000, (30_000, 0)), (102, 5_000, (5_000, 0)),
    ]  # fmt: skip


def test_a_minute_is_the_mean_of_its_seconds() -> None:
    book = power_book()
    for second in range(90):
        book.take(6000.0 + second, float(second), [float(second)])
    assert book.minutes[0] == PowerRow(6000, 29_500, (29_500,), 60)
    assert book.news
    assert len(book.minutes) == 1, "one that grows is not written"
    assert minutes_of(book.seconds) == [book.minutes[0], PowerRow(6060, 74_000, (74_000,), 29)]
    book.written(len(book.seconds), [6000])
    assert not book.seconds
    assert not book.minutes


def test_the_rest_of_a_minute_is_added_to_what_was_written_of_it() -> None:
    book = power_book()
    before = PowerRow(5940, 1, (1, 0), 60)
    for second in range(32):
        book.take(6030.0 + second, 10.0, [10.0, 0.0])
    for _ in range(2):
        assert book.adopt([PowerRow(6000, 40_000, (40_000, 0), 30), before]) == [before]
        assert book.minutes == [PowerRow(6000, 25_000, (25_000, 0), 60)]


def test_what_waits_is_bounded_and_counted() -> None:
    book = power_book(seconds=10, minutes=2)
    for second in range(301):
        book.take(6000.0 + second, 1.0, [1.0])
    assert [row.ts for row in book.seconds] == list(range(6290, 6300))
    assert [row.ts for row in book.minutes] == [6180]
    assert book.dropped == 290 + 3


@given(st.integers(0, 2**32), st.integers(1, 240))
def test_minutes_hold_the_energy_of_their_seconds(seed: int, length: int) -> None:
    dice = random.Random(seed)
    kws = [(dice.uniform(0.0, 400.0), dice.uniform(0.0, 400.0)) for _ in range(length)]
    book = power_book(1000, 1000)
    for second, (one, other) in enumerate(kws):
        book.take(6000.0 + second, one + other, [one, other])
    book.finish()
    for gun in (0, 1):
        of_seconds = sum(row.guns_w[gun] for row in book.seconds)
        minutes = minutes_of(book.seconds)
        of_minutes = sum(row.guns_w[gun] * row.seconds for row in minutes)
        assert of_minutes == pytest.approx(of_seconds, abs=30 * len(minutes))  # rounded to whole watts
        assert book.minutes == minutes[:-1]


# --- operations
# ---------------------------------------------------------------------------------------------------------


def count(counter: OperationCounter, *wear: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    found = counter.take([Wear(*each) for each in wear], START_TS)
    return [(each.gun, each.module, each.unloaded, each.loaded) for each in found]


def test_operations_are_what_the_counters_rose_by() -> None:
    counter = OperationCounter()
    assert count(counter, (1, 1, 50, 2)) == []
    assert count(counter, (1, 1, 51, 2)) == [(1, 1, 1, 0)]
    assert count(counter, (1, 1, 51, 2)) == []
    assert count(counter, (1, 1, 53, 3), (2, 4, 0, 1)) == [(1, 1, 2, 1), (2, 4, 0, 1)]  # snapshots were lost
    assert counter.changed == {(1, 1): (53, 3), (2, 4): (0, 1)}


def test_counters_that_a_kill_put_back_count_nothing_twice() -> None:
    counter = OperationCounter()
    count(counter, (1, 1, 105, 0))
    assert count(counter, (1, 1, 103, 0)) == []
    assert count(counter, (1, 1, 104, 0)) == [(1, 1, 1, 0)]


def test_operations_while_nobody_looked_on_are_told_once() -> None:
    counter = OperationCounter()
    count(counter, (1, 1, 60, 2), (3, 3, 5, 0), (4, 4, 9, 9))
    told = counter.adopt({(1, 1): (50, 1), (3, 3): (7, 0), (4, 4): (9, 9)})
    assert [(each.gun, each.unloaded, each.loaded) for each in told] == [(1, 10, 1)]
    assert counter.adopt({(1, 1): (50, 1)}) == []


def test_a_new_history_does_not_take_a_life_of_operations_for_news() -> None:
    counter = OperationCounter()
    count(counter, (1, 1, 60, 2))
    assert counter.adopt({}) == []


# --- faults
# -------------------------------------------------------------------------------------------------------------


class Faults:
    """A book that is shown what stands, and told what is new."""

    def __init__(self) -> None:
        self.book = FaultBook()
        self.book.begin_run("run-1")
        self.ts, self.seq = START_TS, 0

    def show(self, *standing: Fault, news: Sequence[Fault] = (), moved_s: float = 0.0) -> None:
        self.ts += 0.5 + moved_s
        self.seq += 1
        self.book.take_news(news)
        self.book.take(reading(snapshot(self.ts, self.seq, faults=standing)), moved_s)

    @property
    def ended(self) -> list[tuple[str, float, float | None]]:
        return [
            (row.code, row.since_ts - START_TS, row.ended_ts and row.ended_ts - START_TS) for row in self.book.ended
        ]


def test_a_fault_has_a_beginning_and_an_end() -> None:
    faults = Faults()
    raised = fault_words("CAN_FAULT", "station", START_TS + 1.0)
    faults.show(raised, news=[raised])
    faults.show(raised)
    assert list(faults.book.standing) == [("CAN_FAULT", "station")]
    faults.show(news=[fault_words("CAN_FAULT", "station", START_TS + 1.0, START_TS + 1.4)])
    assert faults.ended == [("CAN_FAULT", 1.0, pytest.approx(1.4))]
    assert not faults.book.standing


def test_lost_news_are_made_up_for_by_what_stands() -> None:
    faults = Faults()
    faults.show(fault_words("CAN_FAULT", "station", START_TS + 0.2))
    faults.show()
    assert faults.ended == [("CAN_FAULT", pytest.approx(0.2), pytest.approx(1.0))]
    late = fault_words("CAN_FAULT", "station", START_TS + 0.2, START_TS + 0.9)
    faults.show(news=[late])
    assert len(faults.ended) == 1, "told late it is the same one"


def test_a_fault_between_two_snapshots_is_kept() -> None:
    faults = Faults()
    faults.show(news=[
        fault_words("LOAD_BREAK", "g1m1", START_TS + 0.1),
        fault_words("LOAD_BREAK", "g1m1", START_TS + 0.1, START_TS + 0.3),
    ])  # fmt: skip
    assert faults.ended == [("LOAD_BREAK", pytest.approx(0.1), pytest.approx(0.3))]


def test_the_same_fault_again_is_another_one() -> None:
    faults = Faults()
    faults.show(fault_words("CAN_FAULT", "station", START_TS))
    faults.ts += 60.0
    faults.show(fault_words("CAN_FAULT", "station", START_TS + 58.0))
    assert faults.ended == [("CAN_FAULT", 0.0, pytest.approx(58.0))]
    assert len(faults.book.standing) == 1


def test_a_new_run_of_the_controller_ends_what_stood() -> None:
    faults = Faults()
    faults.show(fault_words("CAN_FAULT", "station", START_TS))
    faults.book.begin_run("run-2")
    assert faults.ended == [("CAN_FAULT", 0.0, pytest.approx(0.5))]


def test_a_clock_that_is_moved_makes_no_second_fault_and_keeps_its_length() -> None:
    faults = Faults()
    raised = fault_words("CAN_FAULT", "station", START_TS)
    faults.show(raised)
    faults.show(raised, moved_s=-3600.0)
    faults.show()
    (row,) = faults.book.ended
    assert row.ended_ts is not None
    assert row.ended_ts - row.since_ts == pytest.approx(1.5)


def test_what_was_written_already_is_known_by_its_beginning() -> None:
    """A page process that starts anew is told the last news once more."""
    faults = Faults()
    past = fault_words("GUN_FAULT", "g1", START_TS - 90.0, START_TS - 80.0)
    stands = fault_words("CAN_FAULT", "station", START_TS - 50.0)
    faults.show(stands, news=[past])
    left = faults.book.adopt([
        KeptFault(3, "GUN_FAULT", "g1", START_TS - 90.0, False),
        KeptFault(4, "CAN_FAULT", "station", START_TS - 50.0, True),
        KeptFault(5, "DISK_FAILED", "station", START_TS - 40.0, True),
    ])  # fmt: skip
    assert [row.row for row in (*faults.book.ended, *faults.book.standing.values())] == [3, 4]
    assert [each.row for each in left] == [5]
    again = fault_words("DISK_FAILED", "station", START_TS - 40.0, START_TS - 30.0)
    faults.show(stands, news=[again])
    assert faults.book.ended[-1].row == 5, "the rest of the news comes with the next line"


# --- all together
# -------------------------------------------------------------------------------------------------------


def test_everything_that_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chronicle, "SESSIONS_KEPT", 3)
    monkeypatch.setattr(chronicle, "OPERATIONS_KEPT", 3)
    books, station = Chronicle(), BusyStation()
    books.power = PowerBook(100, 100)
    for _ in range(round(10 * BusyStation.ROUND_S * 2)):
        line = station.next()
        assert line.snapshot is not None
        books.take(seen_at(station.seq / 2, line.snapshot))
    assert (len(books.sessions.ended), len(books.operations), len(books.power.seconds)) == (3, 3, 100)
    assert books.dropped == (10 - 3) + (10 - 3) + (900 - 100)


def test_a_gun_more_is_no_trouble() -> None:
    books = Chronicle()
    for n in range(1, 9):
        snap = snapshot(START_TS + n / 2, n, [charging(1, 10.0, 0.01 * n)])
        if n > 4:
            snap = snap.model_copy(update={"guns": [*snap.guns, charging(7, 10.0, 0.01 * n)]})
        books.take(seen_at(n / 2, snap))
    assert {len(row.guns_w) for row in books.power.seconds} == {6, 7}
