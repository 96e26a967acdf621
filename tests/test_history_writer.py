"""The writer of the history with real databases: what is written when, what happens when it cannot be."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from history_feed import START_TS, BusyStation, charging, fault_words, gun_words, snapshot
from history_places import PostgresServer, need_libpq
from history_rig import HandClock, HandWriter, rows
from mosquitto import until
from sqlalchemy import text

from monitoring.history import History, migrations, tables, writer
from monitoring.history.database import SqliteDatabase, Unusable, database, driver
from monitoring.history.migrations import NotOurs, migrate
from monitoring.history.sessions import EndReason
from monitoring.schema import Fault, Gun, Line
from worker import SystemClock

# --- what is written, on both databases
# ----------------------------------------------------------------------------------


def test_all_that_happens_is_written(history_url: str, tmp_path: Path) -> None:
    hand, station = HandWriter(history_url, tmp_path), BusyStation()
    hand.run(station, 200.0)
    hand.close()
    place = database(history_url, tmp_path)
    open_one, *gun_2 = rows(place, "sessions")
    assert (open_one["gun"], open_one["to_ts"]) == (1, None)
    assert open_one["energy_kwh"] == pytest.approx(station.gun_1_kwh(station.seq), abs=0.02)
    assert [each["gun"] for each in gun_2] == [2, 2, 2]
    assert [each["ended"] for each in gun_2] == ["FINISHED", "FINISHED", None]
    assert sum(each["energy_kwh"] for each in gun_2) == pytest.approx(station.gun_2_kwh(station.seq), abs=0.03)
    assert gun_2[0]["to_ts"] - gun_2[0]["from_ts"] == pytest.approx(BusyStation.VISIT_S, abs=1.0)
    assert gun_2[0]["modules"] == "[3,4,5]"
    seconds, minutes = rows(place, "power_seconds"), rows(place, "power_minutes")
    assert [row["ts"] for row in seconds] == list(range(int(START_TS), int(START_TS) + 201))
    assert seconds[10] == {"ts": int(START_TS) + 10, "station_w": 150_000, "guns_w": "[60000,90000,0,0,0,0]"}
    assert [row["seconds"] for row in minutes] == [20, 60, 60, 60]
    operations = rows(place, "operations")
    assert [(row["gun"], row["module"], row["unloaded"], row["loaded"]) for row in operations] == [(2, 3, 0, 1)] * 2
    assert rows(place, "runs")[0]["seen_ts"] == station.at(station.seq)
    place.close()


def test_an_open_session_is_written_at_once_and_then_every_five_seconds(history_url: str, tmp_path: Path) -> None:
    hand, station = HandWriter(history_url, tmp_path), BusyStation()
    hand.run(station, 1.0)
    assert {row["gun"] for row in rows(hand.place, "sessions")} == {1, 2}
    written = hand.writer.written
    for _ in range(8):
        hand.run(station, 5.0)
        (gun_1,) = [row for row in rows(hand.place, "sessions") if row["gun"] == 1]
        assert gun_1["energy_kwh"] >= station.gun_1_kwh(station.seq) - 5.5 * 60.0 / 3600.0
    assert hand.writer.written - written <= 10, "a commit each half second would wear the card out"
    hand.close()


def test_a_page_process_that_was_killed_is_gone_on_with(history_url: str, tmp_path: Path) -> None:
    station, clock = BusyStation(), HandClock()
    for seconds in (33.0, 0.5, 14.0, 61.0):
        hand = HandWriter(history_url, tmp_path, clock)
        hand.run(station, seconds)
        hand.kill()
        station.seq += 6  # nobody looks on for three seconds
        clock.time_s += 3.0
    hand = HandWriter(history_url, tmp_path, clock)
    hand.run(station, 5.0)
    hand.close()
    place = database(history_url, tmp_path)
    sessions = rows(place, "sessions")
    gun_1 = [each for each in sessions if each["gun"] == 1]
    assert len(gun_1) == 1, "it is one and the same visit"
    assert gun_1[0]["energy_kwh"] == pytest.approx(station.gun_1_kwh(station.seq), abs=0.02)
    assert gun_1[0]["seen_ts"] - gun_1[0]["from_ts"] == pytest.approx(station.seq / 2, abs=1.5)
    assert len([each for each in sessions if each["gun"] == 2]) == station.visits(station.seq)
    counted = sum(row["unloaded"] + row["loaded"] for row in rows(place, "operations"))
    assert counted == station.operations(station.seq)
    seconds, minutes = rows(place, "power_seconds"), rows(place, "power_minutes")
    assert [row["ts"] for row in minutes] == [START_TS - 40.0, START_TS + 20.0]
    for minute in minutes:
        seen = [row["station_w"] for row in seconds if 0 <= row["ts"] - minute["ts"] < 60]
        assert minute["seconds"] == pytest.approx(len(seen), abs=2), "a second that was cut in two may count twice"
        assert minute["station_w"] == pytest.approx(sum(seen) / len(seen), rel=0.05)
    place.close()


def test_a_controller_that_starts_anew_closes_what_was_open(history_url: str, tmp_path: Path) -> None:
    hand = HandWriter(history_url, tmp_path)
    first = BusyStation()
    stands = fault_words("CAN_FAULT", "station", START_TS)
    for _ in range(40):
        line = first.next()
        assert line.snapshot is not None
        hand.take(line.model_copy(update={"snapshot": line.snapshot.model_copy(update={"faults": [stands]})}))
    hand.kill()
    second = BusyStation(run="run-2", begin_ts=START_TS + 300.0)
    hand = HandWriter(history_url, tmp_path, HandClock(5_000.0))
    hand.run(second, 3.0)
    old = [row for row in rows(hand.place, "sessions") if row["run"] == "run-1"]
    assert [(row["ended"], row["to_ts"] == row["seen_ts"]) for row in old] == [("CONTROLLER_RESTARTED", True)] * 2
    assert old[0]["energy_kwh"] <= first.gun_1_kwh(first.seq)
    (fault,) = rows(hand.place, "faults")
    assert fault["ended_ts"] == fault["seen_ts"]
    assert fault["ended_ts"] >= START_TS + 14.0
    hand.close()


def test_faults_told_again_to_a_new_page_process_are_not_written_twice(history_url: str, tmp_path: Path) -> None:
    past = fault_words("GUN_FAULT", "g1", START_TS + 1.0, START_TS + 2.0)
    stands = fault_words("CAN_FAULT", "station", START_TS + 1.5)
    clock = HandClock()
    for process in range(3):
        hand = HandWriter(history_url, tmp_path, clock)
        seq = 20 * (process + 1)
        hand.take(Line(snapshot=snapshot(START_TS + seq / 2, seq, faults=[stands]), fault_news=[past]))
        hand.take(Line(snapshot=snapshot(START_TS + seq / 2 + 0.5, seq + 1, faults=[stands])))
        hand.kill()
    found = rows(database(history_url, tmp_path), "faults")
    assert [(row["code"], row["since_ts"], row["ended_ts"]) for row in found] == [
        ("GUN_FAULT", START_TS + 1.0, START_TS + 2.0), ("CAN_FAULT", START_TS + 1.5, None),
    ]  # fmt: skip


def test_a_session_that_the_station_ended_is_closed_when_the_page_process_ends(
    history_url: str, tmp_path: Path
) -> None:
    hand = HandWriter(history_url, tmp_path)
    for n in range(1, 20):
        hand.take(
            Line(snapshot=snapshot(START_TS + n / 2, n, [charging(1, 60.0, n / 120), charging(2, 60.0, n / 120)]))
        )
    stopping = [charging(1, 20.0, 20 / 120), gun_words(2, vehicle_status="charging", energy_kwh=20 / 120)]
    hand.take(Line(snapshot=snapshot(START_TS + 10.0, 20, stopping, state="stopping")))
    hand.close()
    found = rows(database(history_url, tmp_path), "sessions")
    assert [(row["gun"], row["ended"]) for row in found] == [(1, "STATION_STOPPED"), (2, "STATION_STOPPED")]


def test_a_clock_that_jumps_leaves_one_history(history_url: str, tmp_path: Path) -> None:
    hand, station = HandWriter(history_url, tmp_path), BusyStation()
    hand.run(station, 20.0)
    for moved_s in (3 * 365 * 86_400.0, -3 * 365 * 86_400.0 - 3600.0):
        station.begin_ts += moved_s
        hand.run(station, 20.0)
    hand.close()
    place = database(history_url, tmp_path)
    (gun_1,) = [row for row in rows(place, "sessions") if row["gun"] == 1]
    assert gun_1["seen_ts"] - gun_1["from_ts"] == pytest.approx(59.5, abs=1.5)
    assert gun_1["energy_kwh"] == pytest.approx(station.gun_1_kwh(station.seq), abs=0.02)
    assert len(rows(place, "power_seconds")) >= 58, "a clock that is years ahead deletes nothing"
    place.close()


def test_migration_from_an_empty_database(history_url: str, tmp_path: Path) -> None:
    place = database(history_url, tmp_path)
    connection = place.open()
    assert migrate(connection) == 0
    assert migrate(connection) == tables.SCHEMA_VERSION
    connection.close()
    place.close()


def test_a_step_of_the_tables_keeps_what_is_there(history_url: str, tmp_path: Path) -> None:
    """How a form of the tables to come will be reached: one step, one transaction."""
    hand = HandWriter(history_url, tmp_path)
    hand.run(BusyStation(), 10.0)
    hand.close()
    place = database(history_url, tmp_path)
    connection = place.open()
    steps: dict[int, Callable[[object], None]] = {}

    def fails(given: object) -> None:
        connection.execute(text("ALTER TABLE sessions ADD COLUMN tariff TEXT"))
        raise RuntimeError("the power went")

    steps[tables.SCHEMA_VERSION + 1] = fails
    with pytest.raises(RuntimeError):
        migrate(connection, steps, newest=tables.SCHEMA_VERSION + 1)
    with connection.begin():
        assert migrations.version(connection) == tables.SCHEMA_VERSION
        columns = connection.execute(text("SELECT * FROM sessions")).keys()
    assert "tariff" not in columns, "half a step is no step"
    steps[tables.SCHEMA_VERSION + 1] = lambda _: connection.execute(text("ALTER TABLE sessions ADD COLUMN tariff TEXT"))
    assert migrate(connection, steps, newest=tables.SCHEMA_VERSION + 1) == tables.SCHEMA_VERSION
    with connection.begin():
        assert len(connection.execute(text("SELECT tariff FROM sessions")).all()) == 2
    with pytest.raises(NotOurs, match="written by a newer version"):
        migrate(connection)
    connection.close()
    place.close()


def test_tables_that_are_not_ours_are_left_alone(history_url: str, tmp_path: Path) -> None:
    place = database(history_url, tmp_path)
    connection = place.open()
    with connection.begin():
        connection.execute(text("CREATE TABLE sessions (name TEXT)"))
    connection.close()
    place.close()
    hand = HandWriter(history_url, tmp_path)
    hand.run(BusyStation(), 2.0)
    assert hand.writer.trouble is not None
    assert "left alone" in hand.writer.trouble
    hand.kill()


# --- when it cannot be written
# ------------------------------------------------------------------------------------------


def test_a_locked_database_loses_nothing_within_the_bound(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    hand, station = HandWriter("sqlite:///history.db", tmp_path), BusyStation()
    hand.run(station, 10.0)
    shorten_patience(hand)
    blocker = sqlite3.connect(tmp_path / "history.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    hand.run(station, 100.0)
    assert hand.writer.trouble is not None
    assert "another program holds it locked" in hand.writer.trouble
    blocker.execute("ROLLBACK")
    blocker.close()
    hand.run(station, 20.0)
    assert hand.writer.trouble is None
    hand.close()
    place = database("sqlite:///history.db", tmp_path)
    assert len(rows(place, "power_seconds")) == 131
    assert len([row for row in rows(place, "sessions") if row["gun"] == 2]) == station.visits(station.seq)
    place.close()
    told = [record.getMessage() for record in caplog.records if "cannot be written" in record.getMessage()]
    assert 1 <= len(told) <= 3, "once, and then once a minute"
    assert any("is written again" in record.getMessage() for record in caplog.records)


def shorten_patience(hand: HandWriter) -> None:
    """A lock is waited for 2 s of real time otherwise."""
    raw = hand.writer._connection
    assert raw is not None
    assert isinstance(hand.place, SqliteDatabase)
    hand.place.busy_s = 0.01
    hand.writer._close()


def test_what_is_too_much_goes_and_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hand, station = HandWriter("sqlite:///history.db", tmp_path), BusyStation()
    hand.run(station, 10.0)
    shorten_patience(hand)
    hand.writer._books.power._seconds_kept = 50
    blocker = sqlite3.connect(tmp_path / "history.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    hand.run(station, 100.0)
    blocker.close()
    hand.run(station, 20.0)
    hand.close()
    stamps = [row["ts"] for row in rows(database("sqlite:///history.db", tmp_path), "power_seconds")]
    assert hand.writer.dropped > 40
    assert hand.writer.dropped + len(stamps) == station.seq // 2 + 1
    assert any("lines or rows that it could not write" in record.getMessage() for record in caplog.records)


def test_put_never_waits_for_a_stalled_writer(tmp_path: Path) -> None:
    """The thread hangs in the database; lines wait in a bounded queue, the oldest go and are counted."""
    history = History("sqlite:///history.db", 365, 500, tmp_path)
    station, hangs, go_on = BusyStation(), threading.Event(), threading.Event()
    assert history._writer is not None

    def hang(now_s: float) -> float:
        hangs.set()
        go_on.wait(10.0)
        return 0.1

    history._writer.worker._step = hang
    history.start()
    assert hangs.wait(5.0)
    clock = SystemClock()
    begun_s = clock.now_s()
    lines = [station.next() for _ in range(50)]
    for n in range(2_000):
        history.put(lines[n % 50])
    took_s = clock.now_s() - begun_s
    assert history.waiting == writer.LINES_KEPT
    assert history.dropped == 2_000 - writer.LINES_KEPT
    assert took_s < 5.0
    assert history.stop(0.1) is False
    go_on.set()
    until(lambda: not history._writer.worker.alive, "the thread ends")  # type: ignore[union-attr]


def fill(path: Path) -> None:
    """Until nothing more goes onto the disk."""
    with path.open("ab", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(512))


def test_a_full_disk_is_told_in_words_and_gone_on_with(tmp_path: Path) -> None:
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("accepted: a small disk needs the right to mount")
    try:
        hand, station = HandWriter("sqlite:///history.db", disk), BusyStation()
        hand.run(station, 10.0)
        filler = disk / "filler"
        fill(filler)
        hand.run(station, 100.0)
        assert hand.writer.trouble is not None
        assert "the disk is full" in hand.writer.trouble
        filler.unlink()
        hand.run(station, 30.0)
        assert hand.writer.trouble is None
        hand.close()
        place = database("sqlite:///history.db", disk)
        assert len(rows(place, "power_seconds")) == 141
        place.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_file_that_is_taken_away_is_made_anew(tmp_path: Path) -> None:
    hand, station = HandWriter("sqlite:///history.db", tmp_path), BusyStation()
    hand.run(station, 10.0)
    for path in tmp_path.glob("history.db*"):
        path.unlink()
    hand.run(station, 20.0)
    hand.close()
    place = database("sqlite:///history.db", tmp_path)
    assert {row["gun"] for row in rows(place, "sessions")} == {1, 2}, "what is open is written again"
    place.close()


def test_a_damaged_file_is_set_aside_and_a_new_one_begins(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hand, station = HandWriter("sqlite:///history.db", tmp_path), BusyStation()
    hand.run(station, 60.0)
    hand.close()
    path = tmp_path / "history.db"
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)
    hand = HandWriter("sqlite:///history.db", tmp_path)
    hand.run(station, 60.0)
    assert hand.writer.trouble is None
    hand.close()
    assert (tmp_path / "history.db.broken-1").exists()
    assert any("damaged" in record.getMessage() and record.levelno == logging.ERROR for record in caplog.records)


def test_a_file_of_another_program_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    other.close()
    before = path.read_bytes()
    hand = HandWriter("sqlite:///history.db", tmp_path)
    hand.run(BusyStation(), 3.0)
    assert hand.writer.trouble is not None
    assert "belongs to another program" in hand.writer.trouble
    hand.kill()
    text_file = tmp_path / "config.ini"
    text_file.write_text("[General]\n" * 1000)
    hand = HandWriter("sqlite:///config.ini", tmp_path)
    hand.run(BusyStation(), 3.0)
    assert hand.writer.trouble is not None
    assert "no SQLite database" in hand.writer.trouble
    hand.kill()
    assert path.read_bytes() == before
    assert text_file.read_text() == "[General]\n" * 1000


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("mysql://user:hunter2@host/db", "of the kind mysql"),
        ("history.db", "no database URL"),
        ("postgresql://u:hunter2@host:port/db", "no database URL"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_in_words(
    url: str, words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Unusable, match=words) as refused:
        database(url, tmp_path)
    assert "hunter2" not in str(refused.value)
    history = History(url, 365, 500, tmp_path)
    history.start()
    history.put(Line(snapshot=snapshot(START_TS, 1)))
    assert history.engine is None
    assert history.trouble is not None
    assert words in history.trouble
    assert history.stop()
    assert any(words in record.getMessage() for record in caplog.records)


def test_a_password_is_never_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    need_libpq()
    hand = HandWriter("postgresql://station:hunter2@127.0.0.1:1/history", tmp_path)
    hand.run(BusyStation(), 2.0)
    assert hand.writer.trouble is not None
    assert "station:***@127.0.0.1" in hand.writer.trouble
    assert "hunter2" not in caplog.text + hand.writer.trouble
    hand.kill()


def test_a_relative_file_lies_beside_config_ini(tmp_path: Path) -> None:
    assert database("sqlite:///history.db", tmp_path).name == str(tmp_path / "history.db")
    assert database(f"sqlite:///{tmp_path}/x/h.db", Path("/elsewhere")).name == str(tmp_path / "x" / "h.db")


def test_a_folder_that_does_not_exist_is_told_and_tried_again(tmp_path: Path) -> None:
    hand, station = HandWriter("sqlite:///later/history.db", tmp_path), BusyStation()
    hand.run(station, 20.0)
    assert hand.writer.trouble is not None
    assert "not there, or may not be opened" in hand.writer.trouble
    (tmp_path / "later").mkdir()
    hand.run(station, 20.0)
    assert hand.writer.trouble is None
    hand.close()
    assert len(rows(database("sqlite:///later/history.db", tmp_path), "power_seconds")) == 41
    shutil.rmtree(tmp_path / "later")


# --- PostgreSQL alone
# ---------------------------------------------------------------------------------------------------


def test_a_server_that_goes_and_comes_back(postgres: Callable[[], PostgresServer], tmp_path: Path) -> None:
    server = postgres()
    url = server.new_url()
    hand, station = HandWriter(url, tmp_path), BusyStation()
    hand.run(station, 20.0)
    server.stop()
    try:
        hand.run(station, 60.0)
        assert hand.writer.trouble is not None
        assert hand.writer.dropped == 0
    finally:
        server.start()
    hand.run(station, 40.0)
    assert hand.writer.trouble is None
    hand.close()
    place = database(url, tmp_path)
    assert len(rows(place, "power_seconds")) == 121
    (gun_1,) = [row for row in rows(place, "sessions") if row["gun"] == 1]
    assert gun_1["energy_kwh"] == pytest.approx(station.gun_1_kwh(station.seq), abs=0.02)
    place.close()


def test_two_stations_do_not_write_into_one_database(postgres: Callable[[], PostgresServer], tmp_path: Path) -> None:
    url = postgres().new_url()
    one, other = HandWriter(url, tmp_path), HandWriter(url, tmp_path)
    one.run(BusyStation(), 2.0)
    other.run(BusyStation(run="another"), 2.0)
    assert one.writer.trouble is None
    assert other.writer.trouble is not None
    assert "another station" in other.writer.trouble
    one.kill()
    other.run(BusyStation(run="another"), 20.0)
    assert other.writer.trouble is None
    other.kill()


# --- with its thread
# ----------------------------------------------------------------------------------------------------


def test_the_history_as_the_page_process_uses_it(history_url: str, tmp_path: Path) -> None:
    history = History(history_url, 365, 500, tmp_path)
    history.start()
    station = BusyStation()
    for _ in range(40):
        history.put(station.next())
    until(lambda: history.waiting == 0, "the lines are taken")
    assert history.trouble is None
    assert history.stop(5.0)
    place = database(history_url, tmp_path)
    (gun_1,) = [row for row in rows(place, "sessions") if row["gun"] == 1]
    assert gun_1["energy_kwh"] == pytest.approx(station.gun_1_kwh(station.seq), abs=0.02)
    assert gun_1["ended"] is None
    assert EndReason.NOT_WATCHED.name not in {row["ended"] for row in rows(place, "sessions")}
    place.close()


# --- forms of the tables ----------------------------------------------------------------------------------------------

GOLDEN = Path(__file__).parent / "golden" / "history_1.sql"


def test_a_history_of_the_first_form_is_taken_over(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "history.db") as old:
        old.executescript(GOLDEN.read_text())
    old.close()
    hand = HandWriter("sqlite:///history.db", tmp_path)
    hand.run(BusyStation(run="run-2", begin_ts=START_TS + 600.0), 10.0)
    assert hand.writer.trouble is None
    sessions = rows(hand.place, "sessions")
    assert [(row["run"], row["ended"]) for row in sessions] == [
        ("run-1", "CAR_LEFT"), ("run-1", "FINISHED"), ("run-2", None), ("run-2", None),
    ]  # fmt: skip
    assert sessions[1]["energy_kwh"] == 1.2375
    assert [row["code"] for row in rows(hand.place, "faults")] == ["GUN_FAULT"]
    assert rows(hand.place, "power_minutes")[0]["guns_w"] == "[60000,90000,0,0,0,0]"
    hand.close()
    found = sqlite3.connect(tmp_path / "history.db")
    fresh = sqlite3.connect(tmp_path / "fresh.db")
    HandWriter("sqlite:///fresh.db", tmp_path).run(BusyStation(), 1.0)
    ask = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
    assert found.execute(ask).fetchall() == fresh.execute(ask).fetchall(), (
        "tables changed: they need a new number and a step"
    )
    assert found.execute("SELECT version FROM schema_version").fetchall() == [(tables.SCHEMA_VERSION,)]
    found.close()
    fresh.close()


# --- a power cut ----------------------------------------------------------------------------------------------------


def test_sessions_and_faults_are_safe_from_a_power_cut_and_power_alone_is_cheap(tmp_path: Path) -> None:
    full, normal = 2, 1
    hand = HandWriter("sqlite:///history.db", tmp_path)

    def asked_for(*guns: Gun, seconds: float = 6.0, faults: Sequence[Fault] = ()) -> set[int]:
        found = set()
        for _ in range(round(seconds * 2)):
            written, hand.seq = hand.writer.written, hand.seq + 1
            hand.take(Line(snapshot=snapshot(START_TS + 20.0 + hand.seq / 2, hand.seq, guns, faults=faults)))
            if hand.writer.written > written:
                assert hand.writer._connection is not None
                found.add(driver(hand.writer._connection).execute("PRAGMA synchronous").fetchone()[0])
        return found

    asked_for()
    assert asked_for(seconds=12.0) == {normal}
    assert asked_for(charging(1, 60.0, 0.1), seconds=12.0) == {full}
    assert full in asked_for()  # it ended
    assert asked_for() == {normal}
    assert full in asked_for(faults=[fault_words("CAN_FAULT", "station", START_TS)])
    hand.close()
