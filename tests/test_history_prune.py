"""What is too old goes, and the database stays under its cap, whatever lies in it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from history_feed import START_TS, BusyStation
from history_rig import HandWriter, rows
from sqlalchemy import Connection, Table, func, select

from monitoring.history import MEGABYTE, tables
from monitoring.history.database import Database, database
from monitoring.history.migrations import migrate
from monitoring.history.prune import DAY_S, SECONDS_S, Pruner

NEWEST_TS = START_TS
YEAR_S = 365 * DAY_S


def busy(dice: random.Random) -> dict[str, Any]:
    """Every gun has power."""
    guns = [dice.randrange(20_000, 150_000) for _ in range(6)]
    return {"station_w": sum(guns), "guns_w": json.dumps(guns, separators=(",", ":"))}


BUSY = [busy(random.Random(seed)) for seed in range(50)]


def opened(url: str, folder: Path) -> tuple[Database, Connection]:
    place = database(url, folder)
    connection = place.open()
    migrate(connection)
    return place, connection


def fill(connection: Connection, table: Table, made: Iterator[dict[str, Any]]) -> None:
    """As fast as the database takes it: half a million rows shall not take minutes."""
    rows_made = list(made)
    names = ", ".join(rows_made[0])
    raw: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        marks = ", ".join(f":{name}" for name in rows_made[0])
        raw.execute("BEGIN")
        raw.executemany(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", rows_made)
    else:
        with raw.cursor() as cursor, cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
            for row in rows_made:
                copy.write_row(tuple(row.values()))
    raw.commit()


def minutes(days: float, until_ts: float = NEWEST_TS) -> Iterator[dict[str, Any]]:
    """Busy ones: every gun has power."""
    last = int(until_ts) // 60 * 60
    for ts in range(last - int(days * DAY_S), last, 60):
        yield {"ts": ts, **BUSY[ts // 60 % len(BUSY)], "seconds": 60}


def seconds(span_s: float, until_ts: float = NEWEST_TS) -> Iterator[dict[str, Any]]:
    for ts in range(int(until_ts - span_s), int(until_ts)):
        yield {"ts": ts, **BUSY[ts % len(BUSY)]}


def sessions(days: float, a_day: int, until_ts: float = NEWEST_TS) -> Iterator[dict[str, Any]]:
    for n in range(int(days * a_day)):
        from_ts = until_ts - days * DAY_S + n * DAY_S / a_day
        is_open = n == 0  # an open one, however old, is not touched
        yield {
            "gun": n % 6 + 1, "run": "run-1", "from_ts": from_ts, "to_ts": None if is_open else from_ts + 1500.0,
            "seen_ts": from_ts + 1500.0, "energy_kwh": 20.0, "counter_kwh": 20.0, "soc_from_pct": 20.0,
            "soc_to_pct": 80.0, "peak_kw": 120.0, "charging_s": 1400.0, "waited_s": 20.0, "modules": "[1,2,3]",
            "ended": None if is_open else "FINISHED", "fault": None, "clock_moved_s": 0.0,
        }  # fmt: skip


def faults(count: int) -> Iterator[dict[str, Any]]:
    for n in range(count):
        since_ts = NEWEST_TS - YEAR_S + n
        yield {
            "run": "run-1", "code": "MODULE_SILENT", "place": "m1", "severity": "error", "scope": "module",
            "text": "The module does not answer. Check its CAN plug, address and supply; the others go on.",
            "since_ts": since_ts, "ended_ts": None if n == 0 else since_ts + 1.0, "seen_ts": since_ts + 1.0,
        }  # fmt: skip


def count(connection: Connection, table: Table) -> int:
    with connection.begin():
        return connection.execute(select(func.count()).select_from(table)).scalar() or 0


def settle(pruner: Pruner, connection: Connection, now_s: float, newest_ts: float = NEWEST_TS) -> None:
    """Steps until nothing is left to do."""
    for _ in range(300):
        if not pruner.step(connection, newest_ts, 0.0, now_s):
            return
    pytest.fail("pruning does not come to an end")


def test_what_is_too_old_goes(history_url: str, tmp_path: Path) -> None:
    place, connection = opened(history_url, tmp_path)
    fill(connection, tables.power_minutes, minutes(3.0, NEWEST_TS - 363.5 * DAY_S))
    fill(connection, tables.power_seconds, seconds(3_000.0, NEWEST_TS - SECONDS_S + 1_000.0))
    fill(connection, tables.sessions, sessions(400.0, 1))
    settle(Pruner(place, 365, 500 * MEGABYTE), connection, 0.0)
    assert min(row["ts"] for row in rows(place, "power_minutes")) >= NEWEST_TS - YEAR_S
    assert count(connection, tables.power_minutes) == pytest.approx(1.5 * 1440, abs=2)
    assert min(row["ts"] for row in rows(place, "power_seconds")) == NEWEST_TS - SECONDS_S
    assert count(connection, tables.power_seconds) == 1_000
    left = rows(place, "sessions")
    assert len(left) == 366
    assert left[0]["to_ts"] is None, "an open session stays"
    connection.close()
    place.close()


@pytest.mark.parametrize("ahead_s", [3 * YEAR_S, 1.5 * DAY_S])
def test_a_clock_that_is_far_ahead_deletes_nothing_for_a_day(history_url: str, tmp_path: Path, ahead_s: float) -> None:
    place, connection = opened(history_url, tmp_path)
    fill(connection, tables.power_minutes, minutes(2.0))
    pruner = Pruner(place, 1, 500 * MEGABYTE)
    with connection.begin():
        pruner.begin(connection, NEWEST_TS + ahead_s, 100.0)
    assert pruner.step(connection, NEWEST_TS + ahead_s, 0.0, 100.0) is False
    assert pruner.step(connection, NEWEST_TS + ahead_s, 0.0, 100.0 + DAY_S - 1.0) is False
    assert count(connection, tables.power_minutes) == 2 * 1440
    settle(pruner, connection, 101.0 + DAY_S, NEWEST_TS + ahead_s)
    assert count(connection, tables.power_minutes) == 0
    connection.close()
    place.close()


def test_a_clock_that_jumps_while_we_look_on_deletes_nothing_for_a_day(tmp_path: Path) -> None:
    place, connection = opened("sqlite:///history.db", tmp_path)
    fill(connection, tables.power_minutes, minutes(0.5))
    pruner = Pruner(place, 1, 500 * MEGABYTE)
    settle(pruner, connection, 0.0)
    pruner.step(connection, NEWEST_TS + YEAR_S, YEAR_S, 4_000.0)
    assert pruner.step(connection, NEWEST_TS + YEAR_S, YEAR_S, 10_000.0) is False
    assert count(connection, tables.power_minutes) == 720
    connection.close()
    place.close()


def test_a_year_of_a_busy_station_stays_under_a_small_cap(history_url: str, tmp_path: Path) -> None:
    """10 MB, the least that may be set, for what would take some sixty."""
    place, connection = opened(history_url, tmp_path)
    cap = 10 * MEGABYTE
    pruner = Pruner(place, 365, cap)
    fill(connection, tables.sessions, sessions(60.0, 100))
    fill(connection, tables.faults, faults(2_000))
    fill(connection, tables.power_seconds, seconds(6 * 3600.0))
    now_s, largest = 0.0, 0
    # a server of the tests gets a third of the year: it writes each row twice, and VACUUM FULL once more
    for day in range(360 if history_url.startswith("sqlite") else 120, 0, -20):
        # weeks at a time, which no station writes between two looks
        fill(connection, tables.power_minutes, minutes(20.0, NEWEST_TS - (day - 20) * DAY_S))
        now_s += 100.0
        settle(pruner, connection, now_s)
        largest = max(largest, place.disk_bytes(connection))
    assert largest <= cap
    assert count(connection, tables.sessions) == 6_000, "sessions go last"
    assert count(connection, tables.faults) == 2_000
    left = rows(place, "power_minutes")
    assert left[-1]["ts"] >= NEWEST_TS - 120
    assert [row["ts"] for row in left] == list(range(left[0]["ts"], left[-1]["ts"] + 60, 60)), "the oldest went"
    assert len(left) > 28 * 1440
    assert count(connection, tables.power_seconds) >= 3_600, "the last hour of seconds is spared while minutes can go"
    connection.close()
    place.close()


def test_faults_and_sessions_go_when_nothing_else_is_left(history_url: str, tmp_path: Path) -> None:
    place, connection = opened(history_url, tmp_path)
    fill(connection, tables.sessions, sessions(365.0, 40))
    fill(connection, tables.faults, faults(20_000))
    cap = 4 * MEGABYTE
    settle(Pruner(place, 365, cap), connection, 0.0)
    assert place.disk_bytes(connection) <= cap
    stands, *_ = rows(place, "faults")
    assert stands["ended_ts"] is None, "what stands stays"
    left = rows(place, "sessions")
    assert left[0]["to_ts"] is None
    assert left[1]["from_ts"] > NEWEST_TS - YEAR_S
    assert left[-1]["from_ts"] > NEWEST_TS - DAY_S
    connection.close()
    place.close()


def test_the_writer_keeps_its_file_under_the_cap_while_it_writes(tmp_path: Path) -> None:
    """File, WAL and shared memory together, from a file that is too large at first (the cap was lowered)."""
    cap = 10 * MEGABYTE
    place, connection = opened("sqlite:///history.db", tmp_path)
    fill(connection, tables.power_seconds, seconds(SECONDS_S))
    fill(connection, tables.power_minutes, minutes(60.0))
    assert place.disk_bytes(connection) > cap
    connection.close()
    place.close()
    hand, station = HandWriter("sqlite:///history.db", tmp_path, max_megabytes=10), BusyStation(begin_ts=NEWEST_TS)
    hand.run(station, 10.0)
    for _ in range(15):
        hand.run(station, 10.0)
        assert sum(path.stat().st_size for path in tmp_path.glob("history.db*")) <= cap
    hand.close()
    place = database("sqlite:///history.db", tmp_path)
    stamps = [row["ts"] for row in rows(place, "power_seconds")]
    assert stamps[-1] >= station.at(station.seq) - 1.0
    assert len(stamps) >= 3_600
    assert len([row for row in rows(place, "sessions") if row["gun"] == 2]) == station.visits(station.seq)
    place.close()
