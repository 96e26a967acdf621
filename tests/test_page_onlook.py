"""Job: the thread `onlook` and its child: nothing that the child does makes it wait, grow or end.

Thread: the test's drives the turns by hand; the children are real processes. Lock: none. Units: s.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import textwrap
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from message_bench import HandClock
from mosquitto import until
from page_bench import about_of, seen_of

import monitoring.onlook
from logger_config import escape
from monitoring.child import FLOOD_BYTES, Child
from monitoring.onlook import NoPage, Onlook, PageSetup, Sources
from monitoring.schema import Line, Setup
from planning.faults import FaultBook, FaultCode
from planning.model import FaultReport
from simulator.virtual import Level, VirtualStation, settings_at
from worker import SystemClock

PROJECT = Path(__file__).resolve().parents[1]
#: Reads what it is told into a file, and says what stands in another one.
LISTENER = """
    import sys
    with open("heard", "wb", buffering=0) as heard:
        for line in sys.stdin.buffer:
            heard.write(line)
"""


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> VirtualStation:
    made = VirtualStation(settings_at(tmp_path_factory.mktemp("station")), level=Level.READINGS)
    made.run_to(20.0)
    return made


@dataclass
class Bench:
    """An Onlook over a standing station; `turn` is one turn of its thread."""

    station: VirtualStation
    folder: Path
    clock: HandClock = field(default_factory=HandClock)
    commands: list[tuple[str, bytes, str]] = field(default_factory=list)
    news: deque[FaultReport] = field(default_factory=deque)
    stopping: bool = False
    slowest_s: float = 0.0
    onlook: Any = None

    def open(self, script: str, token: bool = True) -> Onlook:
        token_file = self.folder / "token.txt" if token else None
        history = {"url": "sqlite:///history.db", "retention_days": 365, "max_megabytes": 500}
        setup = PageSetup("127.0.0.1", 8080, 1, token_file, self.folder, history)
        sources = Sources(
            lambda: seen_of(self.station), self.news, self.command, lambda: self.stopping, escape
        )
        command = [sys.executable, "-S", "-c", textwrap.dedent(script)]
        self.onlook = Onlook(about_of(self.station), setup, sources, self.clock, self.clock, self.folder, command)
        logging.getLogger().addHandler(self.onlook._events)
        return self.onlook

    def command(self, name: str, payload: bytes, who: str) -> str | None:
        self.commands.append((name, payload, who))
        return None if name != "nonsense" else "there is no such command"

    def turn(self, after_s: float = 0.5) -> None:
        """One turn `after_s` later, and how long the thread was kept beyond the wait it wanted."""
        self.clock.advance(after_s)
        begun_s = time.perf_counter()
        self.onlook._step(self.clock.now_s())
        took_s = time.perf_counter() - begun_s
        self.slowest_s = max(self.slowest_s, took_s)

    def turns(self, count: int, after_s: float = 0.5) -> None:
        for _ in range(count):
            self.turn(after_s)

    def heard(self) -> list[bytes]:
        try:
            return (self.folder / "heard").read_bytes().splitlines()
        except FileNotFoundError:
            return []

    @property
    def child(self) -> Child:
        assert self.onlook.child is not None
        return self.onlook.child

    def close(self) -> None:
        if self.onlook is not None:
            logging.getLogger().removeHandler(self.onlook._events)
            if self.onlook.child is not None:
                self.onlook.child.kill()
                self.onlook.child.end(2.0)


@pytest.fixture
def bench(station: VirtualStation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(monitoring.onlook, "LISTEN_S", 0.02)
    made = Bench(station, tmp_path)
    yield made
    made.close()


def turn_until(bench: Bench, condition: Any, what: str, after_s: float = 0.01) -> None:
    def found() -> bool:
        bench.turn(after_s)
        return bool(condition())

    until(found, what)


# --- telling ----------------------------------------------------------------------------------------------------------


def test_the_first_line_says_what_to_serve_and_holds_no_secret(bench: Bench) -> None:
    (bench.folder / "token.txt").write_text("a-secret-of-the-station\n")
    bench.open(LISTENER)
    turn_until(bench, bench.heard, "the first line")
    setup = Setup.model_validate_json(bench.heard()[0])
    assert (setup.host, setup.port, setup.token_file) == ("127.0.0.1", 8080, str(bench.folder / "token.txt"))
    assert b"a-secret" not in bench.heard()[0]
    command = Path(f"/proc/{bench.child.pid}/cmdline").read_bytes()
    assert b"token" not in command and b"history" not in command


def test_each_half_second_a_snapshot_with_what_is_new(bench: Bench) -> None:
    bench.open(LISTENER)
    turn_until(bench, bench.heard, "it listens", 0.0)
    logging.getLogger("station").warning("one")
    bench.turns(3)
    book = FaultBook()
    book.raise_fault(FaultCode.LOAD_BREAK, "g1m1", 1.0)
    bench.news.extend(book.take_news())
    logging.getLogger("station").warning("two")
    bench.turns(3)
    turn_until(bench, lambda: len(bench.heard()) >= 8, "seven lines", 0.0)
    lines = [Line.model_validate_json(raw) for raw in bench.heard()[1:]]
    assert [line.snapshot.seq for line in lines if line.snapshot] == [1, 2, 3, 4, 5, 6, 7]
    texts = [[event.text for event in line.events] for line in lines]
    assert texts == [[], ["one"], [], [], ["two"], [], []]
    codes = [[fault.code for fault in line.fault_news] for line in lines]
    assert codes == [[], [], [], [], ["LOAD_BREAK"], [], []]


def test_who_does_not_read_keeps_nobody_waiting_and_gets_whole_lines_later(bench: Bench) -> None:
    bench.open("import time, sys\n" + textwrap.dedent("""
        import os
        while not os.path.exists("go"):
            time.sleep(0.01)
    """) + textwrap.dedent(LISTENER))  # fmt: skip
    logging.getLogger("station").warning("nobody reads this yet")
    bench.turns(60)
    lost = bench.onlook._feed.lost
    print(f"60 snapshots, nobody reads: {lost} dropped, longest turn {bench.slowest_s * 1e3:.1f} ms")
    assert 40 <= lost <= 59 and bench.slowest_s < 0.2
    (bench.folder / "go").touch()
    turn_until(bench, lambda: len(bench.heard()) >= 4, "it reads again")
    bench.turns(3)
    turn_until(bench, lambda: len(bench.heard()) >= 7, "and is told again", 0.0)
    lines = [Line.model_validate_json(raw) for raw in bench.heard()[1:]]
    snapshots = [line.snapshot for line in lines if line.snapshot is not None]
    lost = bench.onlook._feed.lost
    assert snapshots[-1].station.lost_snapshots == lost
    seqs = [snapshot.seq for snapshot in snapshots]
    assert seqs == sorted(seqs) and seqs[-1] - seqs[0] - len(seqs) + 1 == lost
    assert [event.text for line in lines for event in line.events].count("nobody reads this yet") == 1


def test_what_fails_in_here_ends_nothing_and_is_said_once_a_minute(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    onlook = bench.open(LISTENER)
    whole = onlook._sources.seen
    object.__setattr__(onlook._sources, "seen", lambda: 1 / 0)
    bench.turns(200)
    said = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert len(said) == 2 and "ZeroDivisionError" in said[0].getMessage()
    object.__setattr__(onlook._sources, "seen", whole)
    turn_until(bench, lambda: b'"snapshot"' in b"".join(bench.heard()), "it is told again")


# --- hearing ----------------------------------------------------------------------------------------------------------

ACTOR = """
    import json, sys
    for number, (command, payload) in enumerate({acts!r}, 1):
        act = {{"act": number, "command": command, "payload": payload, "who": "token from 10.0.0.5"}}
        print(json.dumps(act), flush=True)
    with open("heard", "wb", buffering=0) as heard:
        for line in sys.stdin.buffer:
            if b'"answer"' in line:
                heard.write(line)
"""


def answers(bench: Bench) -> list[dict[str, Any]]:
    return [json.loads(raw)["answer"] for raw in bench.heard()]


def test_an_act_goes_through_the_door_and_is_answered(bench: Bench) -> None:
    bench.open(ACTOR.format(acts=[("station/site_limit", "300"), ("nonsense", "\u00e9\n")]))
    turn_until(bench, lambda: len(answers(bench)) == 2, "two answers")
    who = "token from 10.0.0.5"
    assert bench.commands == [("station/site_limit", b"300", who), ("nonsense", "\u00e9\n".encode(), who)]
    assert answers(bench) == [{"act": 1, "refused": None}, {"act": 2, "refused": "there is no such command"}]


def test_without_a_token_file_not_even_the_page_process_can_act(bench: Bench) -> None:
    bench.open(ACTOR.format(acts=[("station/reset", "true")]), token=False)
    turn_until(bench, lambda: answers(bench), "an answer")
    assert bench.commands == [] and "token_file" in answers(bench)[0]["refused"]


def test_more_commands_a_second_than_people_type_are_refused(bench: Bench) -> None:
    bench.open(ACTOR.format(acts=[("station/site_limit", str(n)) for n in range(30)]))
    turn_until(bench, lambda: len(answers(bench)) == 30, "thirty answers", 0.0)
    assert len(bench.commands) == 10
    assert sum(answer["refused"] is not None for answer in answers(bench)) == 20


def test_where_it_serves_is_said(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bench.open("""
        import sys
        print('{"serves":"http://127.0.0.1:8080"}', flush=True)
        sys.stdin.read()
    """)
    turn_until(bench, lambda: "Page: http://127.0.0.1:8080" in caplog.text, "the address")


def test_why_it_cannot_serve_is_said_once_and_tried_again_after_a_minute(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.open("""
        open("starts", "a").write("x")
        print('{"cannot":"port 8080 of 127.0.0.1 cannot be had"}', flush=True)
        raise SystemExit(2)
    """)
    for minute in range(3):
        turn_until(bench, lambda: bench.onlook.child is None, "it has ended")
        assert (bench.folder / "starts").read_text() == "x" * (minute + 1)
        bench.turns(100)  # 50 s
        assert bench.onlook.child is None
        bench.turns(22)
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert warnings == ["There is no page: port 8080 of 127.0.0.1 cannot be had. It is tried again each minute"]


# --- a child that has gone mad ----------------------------------------------------------------------------------------

MAD = {
    "floods": "import os\nwhile True: os.write(1, b'x' * 999 + b'\\n')",
    "floods stderr": "import os\nwhile True: os.write(2, b'x' * 999 + b'\\n')",
    "never ends its line": "import os, time\nos.write(1, b'x' * 20000)\ntime.sleep(60)",
    "talks rubbish": "import time\nfor n in range(30): print('{\"act\":', n, flush=True)\ntime.sleep(60)",
    "acts without form": "import time\nword = '{\"act\":1,\"command\":[],\"payload\":{},\"who\":0}'\n"
    "for n in range(30): print(word, flush=True)\ntime.sleep(60)",
}


@pytest.mark.parametrize("how", MAD)
def test_a_child_that_has_gone_mad_is_killed_and_one_line_says_so(
    bench: Bench, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench.open(MAD[how])
    bench.turn()
    child = bench.child
    turn_until(bench, lambda: bench.onlook.child is not child, "it is gone")
    assert child.exit_code == -signal.SIGKILL
    assert child._said_bytes < 2 * FLOOD_BYTES and max(map(len, child._begun.values())) < 2 * FLOOD_BYTES
    bench.turns(10)
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == 1 and "it said" in warnings[0] and "is started again" in warnings[0]
    assert bench.commands == []
    assert bench.slowest_s < 0.3


def test_one_that_dies_is_started_again_after_ever_longer_pauses(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.open("import sys\nopen('starts', 'a').write('x')\nprint('no luck', file=sys.stderr)\nsys.exit(3)")
    starts = bench.folder / "starts"
    pauses_s = []
    for count in range(1, 10):
        turn_until(bench, lambda n=count: starts.exists() and len(starts.read_text()) == n, "it has started", 0.0)
        turn_until(bench, lambda: bench.onlook.child is None, "it has ended", 0.0)
        died_s = bench.clock.now_s()
        while bench.onlook.child is None:
            bench.turn(0.25)
        pauses_s.append(bench.clock.now_s() - died_s)
    assert pauses_s == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60], abs=0.3)
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert "exit code 3: no luck" in warnings[0]
    assert len(warnings) <= 1 + sum(pauses_s) / 60.0


def test_one_that_lived_a_minute_begins_with_the_shortest_pause(bench: Bench) -> None:
    onlook = bench.open("import sys\nsys.stdin.read()")
    onlook._pause_s = 32.0
    bench.turns(130)
    child = bench.child
    child.kill()
    turn_until(bench, lambda: bench.onlook.child is None, "it is buried", 0.0)
    bench.turns(3)
    assert bench.onlook.child is not None


def test_while_the_station_stops_nobody_is_started(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.open("import sys\nsys.stdin.read()")
    bench.turn()
    bench.stopping = True
    bench.child.kill()
    turn_until(bench, lambda: bench.onlook.child is None, "it is gone", 0.0)
    bench.turns(20)
    assert bench.onlook.child is None and "WARNING" not in caplog.text


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["obeys", "ignores", "stands still"])
def test_at_the_end_its_stdin_is_closed_and_after_a_second_it_is_killed(bench: Bench, how: str) -> None:
    script = "import sys\nopen('up', 'w')\nsys.stdin.read()" if how == "obeys" else """
        import time
        open("up", "w")
        time.sleep(60)
    """  # fmt: skip
    onlook = bench.open(script)
    onlook._clock = onlook._station_clock = onlook._worker._clock = SystemClock()
    onlook._line_due_s = onlook._start_due_s = onlook._clock.now_s()
    onlook.start()
    until(lambda: (bench.folder / "up").exists(), "it runs")
    child = bench.child
    if how == "stands still":
        os.kill(child.pid, signal.SIGSTOP)
    begun_s = time.monotonic()
    onlook.stop()
    took_s = time.monotonic() - begun_s
    assert child.exit_code == (0 if how == "obeys" else -signal.SIGKILL)
    assert took_s < (1.0 if how == "obeys" else 2.5)
    assert onlook._events not in logging.getLogger().handlers


def test_missing_packages_are_named_with_what_to_do(station: VirtualStation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    setup = PageSetup("127.0.0.1", 8080, 1, None, Path(), {})
    sources = Sources(lambda: None, deque(), lambda *_: None, lambda: False, escape)
    with pytest.raises(NoPage, match=r"packages are missing \(uvicorn\): type make \.venv"):
        Onlook(about_of(station), setup, sources, HandClock(), HandClock(), PROJECT)
