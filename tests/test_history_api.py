"""What the page process answers about the past, and the same as files: figures, refusals, exports read back."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
import schemathesis
from fastapi.testclient import TestClient
from history_feed import START_TS, BusyStation, fault_words, snapshot
from history_rig import HandClock, HandWriter
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from mosquitto import until
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import insert

from monitoring.api import make_app
from monitoring.board import Board
from monitoring.export import main as export_main
from monitoring.history import History, queries, sheets, tables
from monitoring.history.models import EndWord
from monitoring.history.moments import day_of, iso, moment
from monitoring.history.sessions import EndReason
from monitoring.schema import Line

ROOT = Path(__file__).parent.parent
STATION = BusyStation()
RUN_S = 400.0
#: A text that a spreadsheet would run.
NASTY = '=HYPERLINK("http://evil.example","click"),\n"x"'


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the history of 400 s, written once."""
    folder = tmp_path_factory.mktemp("recorded")
    STATION.seq = 0  # where tests of other files come between, this is made again
    hand = HandWriter("sqlite:///history.db", folder)
    hand.run(STATION, RUN_S)
    past = fault_words("GUN_FAULT", "g1", START_TS + 5.0, START_TS + 9.0, text=NASTY)
    at = STATION.seq + 1
    hand.take(Line(snapshot=snapshot(STATION.at(at), at), fault_news=[past]))
    hand.close()
    return folder


@pytest.fixture
def history(recorded: Path) -> Iterator[History]:
    made = History("sqlite:///history.db", 365, 500, recorded, HandClock(wall_s=START_TS + RUN_S))
    yield made
    made.stop()


@pytest.fixture
def client(history: History) -> Iterator[TestClient]:
    app = make_app(Board(), history=history)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as made:
        yield made


def ok(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


# --- answers
# ------------------------------------------------------------------------------------------------------------


def test_sessions_newest_first(client: TestClient) -> None:
    found = ok(client.get("/api/sessions"))
    assert [(each["gun"], each["ended"]) for each in found[:2]] == [(2, "CAR_LEFT"), (2, "FINISHED")]
    assert len(found) == 1 + STATION.visits(int(RUN_S * 2))
    gun_1 = found[-1] if found[-1]["gun"] == 1 else found[-2]
    assert gun_1["duration_s"] == pytest.approx(RUN_S, abs=1.5)
    assert gun_1["mean_kw"] == pytest.approx(60.0, rel=0.02)
    assert gun_1["modules"] == [1, 2]
    assert found[1]["ended_words"] == "finished by the car"
    assert [each["gun"] for each in ok(client.get("/api/sessions", params={"gun": 1}))] == [1]
    assert len(ok(client.get("/api/sessions", params={"limit": 2}))) == 2
    assert ok(client.get("/api/sessions", params={"open": "true"})) == []
    later = ok(client.get("/api/sessions", params={"from": START_TS + 100.0, "to": START_TS + 200.0}))
    assert [each["from_ts"] for each in later] == [START_TS + 180.0]


def test_power_of_seconds_and_minutes(client: TestClient) -> None:
    span = {"from": str(START_TS), "to": str(START_TS + 60.0)}
    found = ok(client.get("/api/history/power", params={**span, "step": 1}))
    assert found["step_s"] == 1
    assert found["ts"] == [START_TS + n for n in range(60)]
    assert found["station_kw"][10] == 150.0
    assert found["guns_kw"]["2"][10] == 90.0
    assert found["guns_kw"]["6"] == [0.0] * 60
    minutes = ok(client.get("/api/history/power", params={"from": START_TS - 60.0, "to": START_TS + 400.0}))
    assert minutes["step_s"] == 60
    assert minutes["station_kw"][0] == 150.0
    assert ok(client.get("/api/history/power"))["ts"] == minutes["ts"], "without a span: the last day"


def test_too_many_points_are_refused_with_the_way_out(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.history.api.MOST_POINTS", 100)
    answer = client.get("/api/history/power", params={"from": START_TS, "step": 1})
    assert answer.status_code == 422
    assert answer.json()["detail"].endswith("ask for a shorter span, or step=60.")


def test_faults_and_operations(client: TestClient) -> None:
    (fault,) = ok(client.get("/api/history/faults"))
    assert (fault["code"], fault["since_ts"], fault["duration_s"]) == ("GUN_FAULT", START_TS + 5.0, 4.0)
    operations = ok(client.get("/api/history/operations", params={"gun": 2, "module": 3}))
    assert sum(each["loaded"] for each in operations) == STATION.operations(int(RUN_S * 2))
    assert ok(client.get("/api/history/operations", params={"gun": 3})) == []


def test_energy_by_day(client: TestClient) -> None:
    days = ok(client.get("/api/history/energy", params={"from": START_TS - 1.0}))
    assert sum(each["energy_kwh"] for each in days) == pytest.approx(
        STATION.gun_1_kwh(int(RUN_S * 2)) + STATION.gun_2_kwh(int(RUN_S * 2)), abs=0.05
    )
    assert days[0]["day"] == day_of(START_TS).isoformat()
    assert set(days[0]["guns_kwh"]) == {"1", "2"}


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/api/sessions?from=yesterday", "from is no moment: 'yesterday'"),
        ("/api/sessions?to=2026-13-01", "to is no moment"),
        ("/api/sessions?from=99999999999999", "from is no moment"),
        ("/api/sessions?from=999999999999", "1970"),
        ("/api/sessions?from=2026-11-30&to=2026-11-01", "from lies after to."),
        ("/api/sessions?from=nan", "from is no moment"),
        ("/api/sessions?gun=0", "gun"),
        ("/api/sessions?gun=x", "gun"),
        ("/api/sessions?limit=100000", "limit"),
        ("/api/sessions?open=maybe", "open"),
        ("/api/history/power?step=7", "step"),
        ("/api/history/energy?by=week", "by"),
        ("/api/export/sessions.xls", "form"),
        ("/api/export/secrets.csv", "sheet"),
    ],
)
def test_refusals_are_one_sentence(client: TestClient, path: str, sentence: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)
    assert sentence in answer.json()["detail"]


def test_a_history_that_is_not_there_is_told(tmp_path: Path) -> None:
    for url in ("sqlite:///nothing.db", "mysql://host/db"):
        history = History(url, 365, 500, tmp_path)
        with TestClient(make_app(Board(), history=history), base_url="http://127.0.0.1") as client:
            for path in ("/api/sessions", "/api/history/power", "/api/export/faults.csv"):
                answer = client.get(path)
                assert answer.status_code == 503
                assert "history" in answer.json()["detail"]
        history.stop()
    assert not (tmp_path / "nothing.db").exists(), "a reader makes no file"


def test_readers_do_not_wait_for_a_writer_nor_it_for_them(client: TestClient, recorded: Path) -> None:
    """Somebody writes, and does not come to an end; somebody reads, and does not either."""
    writer = sqlite3.connect(recorded / "history.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE sessions SET peak_kw = 999")
    assert 999 not in {each["peak_kw"] for each in ok(client.get("/api/sessions"))}
    writer.execute("ROLLBACK")
    with client.stream("GET", "/api/export/power.csv?step=1") as slow:
        assert slow.status_code == 200
        writer.execute("PRAGMA busy_timeout = 0")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("ROLLBACK")
        busy, _, _ = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert busy == 0, "an answer that is being read holds nothing"
    writer.close()


def test_readers_cannot_write(history: History) -> None:
    assert history.engine is not None
    with history.engine.connect() as connection, pytest.raises(Exception, match=r"readonly|read-only"):
        connection.exec_driver_sql("DELETE FROM sessions")


def test_readers_of_postgresql_cannot_write(history_url: str, tmp_path: Path) -> None:
    hand = HandWriter(history_url, tmp_path)
    hand.run(BusyStation(), 2.0)
    with hand.place.readers.connect() as connection, pytest.raises(Exception, match=r"readonly|read-only"):
        connection.exec_driver_sql("DELETE FROM sessions")
    hand.close()


def test_the_words_for_ends_are_those_of_the_tracker() -> None:
    assert set(get_args(EndWord)) == set(EndReason.__members__)


# --- moments
# ------------------------------------------------------------------------------------------------------------


def test_moments_as_people_write_them() -> None:
    assert moment("1795000000") == moment(" 1795000000.0 ") == START_TS
    assert moment("2026-11-30T18:00:00Z") == moment("2026-11-30T19:00:00+01:00") == moment("2026-11-30T19:00:00 01:00")
    day = datetime(2026, 11, 30).timestamp()
    assert moment("2026-11-30") == day
    assert moment("2026-11-30", end_of_day=True) == datetime(2026, 12, 1).timestamp()
    assert moment("2026-11-30T18:00") == datetime(2026, 11, 30, 18).timestamp()
    assert moment("2026-02-28", end_of_day=True) == datetime(2026, 3, 1).timestamp()


@given(st.text(max_size=40))
def test_whatever_is_written_is_a_moment_or_a_sentence(text: str) -> None:
    for end in (False, True):
        try:
            assert 0.0 <= moment(text, end) <= 253_000_000_000.0
        except ValueError as error:
            assert str(error)


@given(st.floats(0.0, 253_000_000_000.0))
def test_moments_are_told_as_they_are_read(ts: float) -> None:
    assert moment(iso(ts)) == pytest.approx(ts, abs=0.51)


# --- files
# --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sheet", [sheet.value for sheet in sheets.Sheet])
def test_csv_and_json_hold_the_same(client: TestClient, sheet: str) -> None:
    as_csv = client.get(f"/api/export/{sheet}.csv")
    assert as_csv.status_code == 200
    assert as_csv.headers["content-type"].startswith("text/csv; charset=utf-8")
    assert as_csv.headers["content-disposition"] == f'attachment; filename="{sheet}.csv"'
    lines = list(csv.DictReader(io.StringIO(as_csv.text, newline="")))
    objects = ok(client.get(f"/api/export/{sheet}.json"))
    assert len(lines) == len(objects) > 0
    for line, found in zip(lines, objects, strict=True):
        assert list(line) == list(found)
        for name, value in found.items():
            assert same(line[name], value), (name, line[name], value)


def same(cell: str, value: Any) -> bool:
    if value is None:
        return cell == ""
    if isinstance(value, list):
        return cell == " ".join(map(str, value))
    if isinstance(value, str):
        return cell.removeprefix("'") == value
    return float(cell) == value


def test_a_text_that_a_spreadsheet_would_run_is_quoted(client: TestClient) -> None:
    (line,) = csv.DictReader(io.StringIO(client.get("/api/export/faults.csv").text, newline=""))
    assert line["text"] == f"'{NASTY}"
    assert ok(client.get("/api/export/faults.json"))[0]["text"] == NASTY


@given(st.text(max_size=30), st.one_of(st.none(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
def test_no_cell_of_text_begins_a_formula_and_numbers_stay(text: str, number: float | None) -> None:
    made = sheets.Table(("text", "number"), iter([(text, number)]))
    _, (cell, told) = csv.reader(io.StringIO("".join(sheets.as_csv(made)), newline=""))
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert cell in (text, f"'{text}")
    assert told == "" if number is None else float(told) == number


def test_empty_sheets(client: TestClient) -> None:
    assert client.get("/api/export/operations.json?to=1000").text == "[]\n"
    text = client.get("/api/export/operations.csv?to=1000").text
    assert text == "at,gun,module,unloaded_operations,loaded_operations\r\n"


def test_columns_of_power_carry_their_units(client: TestClient) -> None:
    head, first, *_ = client.get("/api/export/power.csv?step=1").text.splitlines()
    assert head == "at,station_kw,gun1_kw,gun2_kw,gun3_kw,gun4_kw,gun5_kw,gun6_kw,seconds_seen"
    assert first.split(",")[1:] == ["150.0", "60.0", "90.0", "0.0", "0.0", "0.0", "0.0", "1"]
    assert moment(first.split(",")[0]) == START_TS


def test_a_long_sheet_is_read_in_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many rows at one moment too: none is left out and none comes twice."""
    monkeypatch.setattr(queries, "PORTION", 7)
    hand = HandWriter("sqlite:///history.db", tmp_path)
    hand.run(BusyStation(), 1.0)
    connection = hand.writer._connection
    assert connection is not None
    with connection.begin():
        connection.execute(
            insert(tables.operations),
            [{"ts": float(n // 20), "gun": 1, "module": n % 9 + 1, "unloaded": n, "loaded": 0} for n in range(200)],
        )
    found = [each.unloaded for each in queries.each_operation(hand.place.readers, queries.Span())]
    assert found == list(range(200))
    hand.close()


# --- python -m monitoring.export
# ----------------------------------------------------------------------------------------


def export(*words: str, folder: Path, limit_s: float = 30.0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "monitoring.export", *words]
    if "--config" not in words:
        command += ["--config", str(folder / "config.ini")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit_s, check=False)


@pytest.fixture
def site(recorded: Path) -> Path:
    (recorded / "config.ini").write_text("[PowerLimits]\ngun1_max_power = 240\n")
    return recorded


def test_the_command_writes_what_the_page_does(site: Path, client: TestClient, tmp_path: Path) -> None:
    output = tmp_path / "sessions.csv"
    done = export("sessions", "--output", str(output), folder=site)
    assert (done.returncode, done.stderr) == (0, "")
    assert output.read_bytes().decode() == client.get("/api/export/sessions.csv").text
    assert [path.name for path in tmp_path.iterdir()] == ["sessions.csv"]
    done = export(
        "power", "--step", "1", "--format", "json", "--from", str(START_TS), "--to", str(START_TS + 10), folder=site
    )
    assert len(json.loads(done.stdout)) == 10


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["sessions", "--from", "soon"], 2, "--from is no moment: 'soon'"),
        (["sessions", "--from", "2026-11-30", "--to", "2026-11-01"], 2, "--from lies after --to"),
        (["sessions", "--url", "sqlite:////nowhere/history.db"], 1, "the file is not there, or may not be opened"),
        (["sessions", "--url", "mysql://x/y"], 2, "of the kind mysql"),
        (["sessions", "--output", "/nowhere/x.csv"], 1, "/nowhere/x.csv cannot be written"),
        (["sessions", "--config", "/nowhere/config.ini"], 2, "config.ini"),
        (["everything"], 2, "invalid choice"),
    ],
)
def test_the_command_refuses_in_words(
    site: Path, words: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = [] if "--config" in words else ["--config", str(site / "config.ini")]
    with nullcontext() if sentence != "invalid choice" else pytest.raises(SystemExit, match="2"):
        assert export_main([*words, *config]) == code
    said = capsys.readouterr()
    assert sentence in said.err
    assert said.out == ""


def test_the_command_works_while_the_station_writes(tmp_path: Path) -> None:
    (tmp_path / "config.ini").write_text("[PowerLimits]\ngun1_max_power = 240\n")
    history = History("sqlite:///history.db", 365, 500, tmp_path)
    history.start()
    station = BusyStation()
    for _ in range(200):
        history.put(station.next())
    until(lambda: history._writer and history._writer.written > 0 and history.waiting == 0, "the lines are written")
    done = export("operations", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert history.trouble is None
    assert history.stop(5.0)


# --- whatever is asked ------------------------------------------------------------------------------------------------

PROMISES = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance,
]  # fmt: skip
LIMITS = hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)


def test_the_api_keeps_what_it_promises(history: History) -> None:
    """schemathesis reads the API's own description and tries to break it: no 5xx, answers as described."""
    headers = {"Host": "127.0.0.1"}
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", make_app(Board(), history=history), headers=headers)
    answers: Counter[int] = Counter()
    tried = []
    for found in schema.get_all_operations():
        operation = found.ok()
        if not operation.path.startswith(("/api/sessions", "/api/history", "/api/export")):
            continue

        @LIMITS
        @given(case=operation.as_strategy())
        def holds(case: schemathesis.Case) -> None:
            answer = case.call_and_validate(base_url="http://127.0.0.1", headers=headers, checks=PROMISES)
            answers[answer.status_code] += 1

        holds()
        tried.append(operation.label)
    print(f"{len(tried)} operations, answers {dict(answers)}")
    assert len(tried) == 6
    assert answers[200] > 20
    assert max(answers) < 500
