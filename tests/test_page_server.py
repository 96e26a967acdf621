"""Job: the page process alone, on the wire: where it serves, the stream, slow and rude clients, memory, its end.

Thread: the test's; each stream has a reader. Lock: none. Units: s (monotonic), MB.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import web
from mosquitto import free_port, until
from page_bench import PROJECT, PageProcess, Teller, line_of

from monitoring.schema import Event, Line, Snapshot
from simulator.virtual import Level, VirtualStation, settings_at

MOST_MB = 120.0
#: It is nice (10) and imports for a second of a processor: beside six workers that ask for all of it, that takes long.
START_LIMIT_S = 60.0
PAGES = 50


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    station = VirtualStation(settings_at(tmp_path_factory.mktemp("station")), level=Level.READINGS)
    station.run_to(20.0)
    return line_of(station)


@contextmanager
def page_process(folder: Path, serving: bool = True, **setup: object) -> Iterator[PageProcess]:
    made = PageProcess(folder, **setup)
    try:
        if serving:
            assert made.word() == {"serves": made.url}
        yield made
    finally:
        made.kill()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[PageProcess]:
    with page_process(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageProcess]:
    """For tests that leave it as well as they found it: each start costs a second of a processor."""
    with page_process(tmp_path_factory.mktemp("page")) as made:
        yield made


def told(page: PageProcess, line: Line) -> None:
    page.tell(line)
    until(lambda: web.get(f"{page.url}/api/snapshot").status_code == 200, "the snapshot is there")


# --- where it serves --------------------------------------------------------------------------------------------------


def test_it_serves_what_it_was_told_and_is_modest(page: PageProcess, line: Line) -> None:
    assert web.get(f"{page.url}/api/snapshot").status_code == 503
    told(page, line)
    answer = web.get(f"{page.url}/api/snapshot")
    assert Snapshot.model_validate_json(answer.content) == line.snapshot
    assert "server" not in answer.headers and "content-security-policy" in answer.headers
    assert os.getpriority(os.PRIO_PROCESS, page.popen.pid) >= 10
    assert Path(f"/proc/{page.popen.pid}/oom_score_adj").read_text().strip() == "800"
    with socket.create_connection(("127.0.0.1", page.port)) as rebound:
        rebound.sendall(b"GET /api/snapshot HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert b" 403 " in rebound.recv(4096).split(b"\r\n")[0]


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with page_process(tmp_path, serving=False, port=port) as page:
            cannot = str(page.word()["cannot"])
            assert f"port {port} of 127.0.0.1 cannot be had" in cannot and "[Dashboard] port" in cannot
            assert page.popen.wait(5.0) == 2
        with page_process(tmp_path, serving=False, port=port, ports_tried=50) as page:
            serves = str(page.word()["serves"])
            assert int(serves.rpartition(":")[2]) in range(port + 1, port + 50)


@pytest.mark.parametrize(
    ("setup", "says"),
    [
        ({"host": "192.0.2.7"}, "192.0.2.7"),
        ({"host": "nowhere.invalid"}, "[Dashboard] host = nowhere.invalid is no address of this computer"),
        ({"token_file": "/nowhere/token"}, "token_file = /nowhere/token cannot be read"),
        ({"port": "none"}, "port"),
    ],
)
def test_why_it_cannot_serve_is_a_sentence(tmp_path: Path, setup: dict[str, object], says: str) -> None:
    with page_process(tmp_path, serving=False, **setup) as page:
        assert says in str(page.word()["cannot"])
        assert page.popen.wait(5.0) == 2


def test_a_line_that_cannot_be_understood_is_left_aside(shared: PageProcess, line: Line) -> None:
    shared.write(b"rubbish\n\xff\xfe\n{}\n[]\n" + b'{"snapshot":{"ts":1}}\n')
    told(shared, line)


# --- the stream -------------------------------------------------------------------------------------------------------


class Follower:
    """One open page: reads events from the stream."""

    def __init__(self, page: PageProcess) -> None:
        self.socket = socket.create_connection(("127.0.0.1", page.port))
        self.socket.settimeout(15.0)
        self.socket.sendall(f"GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n".encode())
        self._file = self.socket.makefile("rb")
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            self.head += self._file.readline()

    def event(self) -> tuple[str, Any]:
        """The next event with data: (name, data); a comment: ('', text)."""
        name = ""
        while True:
            row = self._chunked().decode().rstrip("\n")
            if row.startswith("event: "):
                name = row.removeprefix("event: ")
            elif row.startswith("data: "):
                return name, json.loads(row.removeprefix("data: "))
            elif row.startswith(":"):
                return "", row

    def _chunked(self) -> bytes:
        """One line of the body; chunks may end within it, so their sizes are left out as they come."""
        if not hasattr(self, "_lines"):
            self._lines = self._rows()
        return next(self._lines)

    def _rows(self) -> Iterator[bytes]:
        rest = b""
        while True:
            size = int(self._file.readline(), 16)
            if size == 0:
                return
            rest += self._file.read(size)
            self._file.readline()
            *rows, rest = rest.split(b"\n")
            yield from (row + b"\n" for row in rows)

    def close(self) -> None:
        self._file.close()
        self.socket.close()


def test_a_page_is_told_at_least_each_second_and_news_at_once(shared: PageProcess, line: Line) -> None:
    told(shared, line)
    follower = Follower(shared)
    assert b"content-type: text/event-stream" in follower.head.lower() and b"no-store" in follower.head
    assert follower.event()[0] == "snapshot"
    times_s, seqs = [], []
    with Teller(shared, line):
        for _ in range(5):
            name, data = follower.event()
            assert name == "snapshot"
            times_s.append(time.monotonic())
            seqs.append(data["seq"])
    pauses_s = [after - before for before, after in itertools.pairwise(times_s)]
    print("pauses", [round(each, 2) for each in pauses_s])
    assert max(pauses_s) <= 1.3 and seqs == sorted(set(seqs))
    shared.tell(Line(events=[Event(seq=1, ts=1.0, level="WARNING", text="a contactor welds")]))
    said_s = time.monotonic()
    while (said := follower.event())[0] != "news":
        pass
    assert time.monotonic() - said_s < 0.3
    assert said[1]["events"][0]["text"] == "a contactor welds" and said[1]["fault_news"] == []
    follower.close()


def test_when_the_station_tells_nothing_the_page_is_told_that(shared: PageProcess, line: Line) -> None:
    told(shared, line)
    begun_s = time.monotonic()
    follower = Follower(shared)
    assert follower.event()[0] == "snapshot"
    names = []
    while "" not in names:
        name, data = follower.event()
        names.append(name)
        if name == "stale" and names.count("stale") == 1:
            assert 3.0 <= data["age_s"] <= 4.5 and 2.5 <= time.monotonic() - begun_s <= 5.0
    print(f"comment after {time.monotonic() - begun_s:.1f} s, {names.count('stale')} times stale before")
    assert set(names) == {"stale", ""} and names.count("stale") >= 5
    assert 9.0 <= time.monotonic() - begun_s <= 12.0
    follower.close()


def test_fifty_pages_and_a_scrape_cost_little_memory(page: PageProcess, line: Line) -> None:
    told(page, line)
    at_rest_mb = page.rss_mb
    with ExitStack() as stack, Teller(page, line, 0.1):
        followers = [Follower(page) for _ in range(PAGES)]
        for follower in followers:
            stack.callback(follower.close)
        for _ in range(3):
            assert {follower.event()[0] for follower in followers} == {"snapshot"}
            assert web.get(f"{page.url}/health").status_code in (200, 503)
        at_work_mb = page.rss_mb
    print(f"page process: {at_rest_mb:.0f} MB, with {PAGES} pages {at_work_mb:.0f} MB")
    assert at_work_mb < MOST_MB


def test_a_page_that_does_not_read_is_skipped_and_gets_the_newest(page: PageProcess, line: Line) -> None:
    told(page, line)
    assert line.snapshot is not None
    station = line.snapshot.station.model_copy(update={"version": "x" * 200_000})
    padded = line.snapshot.model_copy(update={"station": station})

    def tell(seqs: range) -> None:
        for seq in seqs:
            page.tell(Line(snapshot=padded.model_copy(update={"seq": seq}), events=[_event(seq)]))
        until(lambda: web.get(f"{page.url}/api/snapshot").json()["seq"] == seqs[-1], "all was taken")

    tell(range(1, 101))  # what it takes to parse them, and what waits for the history, is there now
    slow = Follower(page)
    before_mb = page.rss_mb
    tell(range(101, 401))
    quick = Follower(page)
    assert quick.event()[1]["seq"] == 400
    grown_mb = page.rss_mb - before_mb
    print(f"60 MB told to a page that does not read: {grown_mb:.1f} MB more")
    seqs = []
    while not seqs or seqs[-1] != 400:
        name, data = slow.event()
        if name == "snapshot":
            seqs.append(data["seq"])
    print(f"it was told {len(seqs)} of 301")
    assert len(seqs) < 150
    quick.close()
    slow.close()


def _event(seq: int) -> Event:
    return Event(seq=seq, ts=1.0, level="INFO", text="x")


# --- rude clients -----------------------------------------------------------------------------------------------------


def test_who_asks_for_nothing_or_byte_by_byte_is_hung_up_on(shared: PageProcess, line: Line) -> None:
    told(shared, line)
    silent = socket.create_connection(("127.0.0.1", shared.port))
    drip = socket.create_connection(("127.0.0.1", shared.port))
    body = socket.create_connection(("127.0.0.1", shared.port))
    host = f"Host: 127.0.0.1:{shared.port}\r\n".encode()
    head = b"POST /api/login HTTP/1.1\r\n" + host + b"Content-Type: application/json\r\n"
    body.sendall(head + b"Content-Length: 50\r\n\r\n{")
    begun_s, ended_s = time.monotonic(), {}
    for each in (silent, drip, body):
        each.settimeout(0.05)

    def all_ended() -> bool:
        for name, each in (("silent", silent), ("drip", drip), ("body", body)):
            if name in ended_s:
                continue
            try:
                if name == "drip":
                    each.send(b"G")
                if each.recv(4096) == b"":
                    ended_s[name] = time.monotonic() - begun_s
            except TimeoutError:
                pass
            except OSError:
                ended_s[name] = time.monotonic() - begun_s
        return len(ended_s) == 3

    until(all_ended, "all three are gone", 20.0)
    print({name: round(at_s, 1) for name, at_s in ended_s.items()})
    assert all(9.0 <= at_s <= 15.0 for at_s in ended_s.values())


def test_one_address_cannot_hold_all_connections(shared: PageProcess, line: Line) -> None:
    told(shared, line)
    held = [socket.create_connection(("127.0.0.1", shared.port)) for _ in range(200)]
    try:
        other = socket.create_connection(("127.0.0.1", shared.port), source_address=("127.0.0.2", 0))
        other.sendall(f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{shared.port}\r\n\r\n".encode())
        assert other.recv(100).startswith(b"HTTP/1.1 ") and b"Concurrency" not in other.recv(4096)
        other.close()
    finally:
        for each in held:
            each.close()


RUBBISH = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 50_000, b"A" * 200_000,
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    b"POST /api/act HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999\r\n\r\n",
    b"POST /api/act HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n",
    b"GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
)  # fmt: skip


def test_rubbish_on_the_wire_does_no_harm(shared: PageProcess, line: Line) -> None:
    told(shared, line)
    for rubbish in RUBBISH:
        with socket.create_connection(("127.0.0.1", shared.port)) as rude:
            rude.settimeout(2.0)
            try:
                rude.sendall(rubbish)
                rude.recv(4096)
            except OSError:
                pass
        assert web.get(f"{shared.url}/api/station").status_code == 200, rubbish[:80]
        assert shared.popen.poll() is None, rubbish[:80]


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["stdin ends", "SIGTERM"])
def test_it_ends_at_once_with_pages_open(page: PageProcess, line: Line, how: str) -> None:
    told(page, line)
    followers = [Follower(page) for _ in range(3)]
    begun_s = time.monotonic()
    if how == "SIGTERM":
        page.popen.send_signal(signal.SIGTERM)
    else:
        page.close_stdin()
    code = page.popen.wait(5.0)
    print(f"{how}: ended after {time.monotonic() - begun_s:.2f} s")
    assert code == 0 and time.monotonic() - begun_s < 3.0  # the control process would kill it after 1 s
    for follower in followers:
        follower.close()


def test_without_a_first_line_it_ends() -> None:
    command, nothing = [sys.executable, "-m", "monitoring"], subprocess.DEVNULL
    ended = subprocess.run(command, cwd=PROJECT, stdin=nothing, stdout=subprocess.PIPE, timeout=START_LIMIT_S)
    assert ended.returncode == 0 and ended.stdout == b""


def test_the_next_process_has_the_port_at_once(tmp_path: Path, line: Line) -> None:
    port = free_port()
    for _ in range(2):
        with page_process(tmp_path, serving=False, port=port) as page:
            assert page.word() == {"serves": f"http://127.0.0.1:{port}"}
            page.url = f"http://127.0.0.1:{port}"
            told(page, line)
