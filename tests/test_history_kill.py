"""kill -9 of who writes the history, at random moments: never damaged, at most ten seconds lost, energy only rises."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import IO

import pytest
from history_feed import BusyStation
from history_places import PostgresServer
from history_rig import rows
from page_bench import PageProcess
from sqlalchemy.exc import SQLAlchemyError

from monitoring.history.database import database

ROOT = Path(__file__).parent.parent
#: Station time runs so much faster than the clock; a busy machine may hold the writer up for a good part of a second.
SPEED = 6.0
SHORT_S, LONG_S = (0.01, 0.6), (1.8, 2.2)
#: What a kill may cost, in station time.
LOST_S = 10.0
KWH = 1e-5  # as it is rounded
#: A life of so many lines (5 s of station time) has written its first one, on a busy machine too.
SURELY_WRITTEN = 10


class Nursery:
    """Writers one after the other, each killed after a while."""

    def __init__(self, errors: IO[bytes]) -> None:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
        self._process = subprocess.Popen(
            [sys.executable, "tests/history_nursery.py"], cwd=ROOT, env=environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
        assert self._line() == "ready"

    def life(self, station: BusyStation, url: str, length_s: float) -> int:
        """Let a writer live so long (s of the clock) from `station.seq` on; the last `seq` that it was fed."""
        order = {"url": url, "run": station.run, "begin_ts": station.begin_ts, "seq": station.seq, "speed": SPEED}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        fed, born = station.seq, None
        while born is None:
            word, number = self._line().split()
            if word == "born":
                born = int(number)
            else:
                fed = int(number)
        threading.Event().wait(length_s)
        os.kill(born, signal.SIGKILL)
        while (line := self._line()) != "dead":
            fed = int(line.split()[1])
        return fed

    def close(self) -> None:
        self._process.communicate(timeout=5.0)

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the nursery ended"
        return line.strip()


@contextmanager
def nursery(folder: Path) -> Iterator[Nursery]:
    with (folder / "errors").open("w+b") as errors:
        made = Nursery(errors)
        yield made
        made.close()
        errors.seek(0)
        assert b"Traceback" not in errors.read()


@dataclass(slots=True)
class Watch:
    """What was seen in the database after each kill."""

    url: str
    energy_kwh: dict[tuple[str, int], float] = field(default_factory=dict)
    first_seq: dict[str, int] = field(default_factory=dict)
    #: so far must be known of each run: ten seconds before the end of a life, and the beginning of one that was not too
    #: short
    floor_seq: dict[str, int] = field(default_factory=dict)
    lives: dict[str, int] = field(default_factory=dict)
    most_lost_s: float = 0.0

    def look(self, station: BusyStation, life_began: int, fed: int) -> None:
        if self.url.startswith("sqlite"):
            with sqlite3.connect(self.url.removeprefix("sqlite:///")) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            connection.close()
        place = database(self.url, Path("/"))
        try:
            seconds, sessions = rows(place, "power_seconds"), rows(place, "sessions")
            operations = rows(place, "operations")
        except SQLAlchemyError:
            assert not self.lives, "the tables are gone"
            return  # killed before it had made any
        finally:
            place.close()
        known_ts = (
            max(station.at(life_began), *(row["ts"] + 1.0 for row in seconds[-1:]))
            if seconds
            else station.at(life_began)
        )
        lost_s = station.at(fed) - known_ts
        self.most_lost_s = max(self.most_lost_s, lost_s)
        assert lost_s <= LOST_S
        if fed - life_began >= SURELY_WRITTEN:
            proven = max(life_began + 1, fed - round(2 * LOST_S), self.floor_seq.get(station.run, 0))
            self.floor_seq[station.run] = proven
        safe = self.floor_seq.get(station.run, 0)
        mine = [row for row in sessions if row["run"] == station.run]
        if not self.lives.get(station.run):
            self.first_seq[station.run] = life_began
        self._check_energy(station, mine, safe, fed)
        self.lives[station.run] = self.lives.get(station.run, 0) + bool(mine)
        visits = [row for row in mine if row["gun"] == 2]
        begun = self.first_seq[station.run]
        assert len(visits) <= station.visits(fed) - station.visits(begun) + 1
        assert safe == 0 or len(visits) >= station.visits(safe) - station.visits(begun)
        for row in sessions:
            assert row["to_ts"] is None or row["to_ts"] >= row["from_ts"]
        for earlier, later in pairwise(visits):
            assert earlier["to_ts"] is not None, "one is open at most"
            assert earlier["to_ts"] <= later["from_ts"]
        counted = sum(row["unloaded"] + row["loaded"] for row in operations if row["ts"] >= station.begin_ts)
        assert counted <= station.operations(fed)

    def _check_energy(self, station: BusyStation, mine: list[dict[str, float]], safe: int, fed: int) -> None:
        first = self.first_seq[station.run]
        for gun, counter in ((1, station.gun_1_kwh), (2, station.gun_2_kwh)):
            told = sum(row["energy_kwh"] for row in mine if row["gun"] == gun)
            before = self.energy_kwh.get((station.run, gun), 0.0)
            assert told >= before - KWH, "energy only rises"
            assert told <= counter(fed) - counter(first) + KWH, "no energy is counted twice"
            # a car that went while nobody looked on took its last seconds along; who is still there makes up for them
            gone_kwh = (
                BusyStation.GUN_2_KW * (LOST_S + 3.0) / 3600.0 * self.lives.get(station.run, 0) if gun == 2 else 0.0
            )
            if safe:
                assert told >= counter(safe) - counter(first + 1) - gone_kwh - KWH, "more than ten seconds are lost"
            self.energy_kwh[station.run, gun] = told


def kill_again_and_again(
    url: str, folder: Path, kills: int, seed: int, settle: Callable[[str], None] = lambda _: None
) -> Watch:
    """`settle`: what has to be waited for between a kill and a look."""
    dice, watch, station = random.Random(seed), Watch(url), BusyStation()
    with nursery(folder) as writers:
        for kill in range(kills):
            if kill and dice.random() < 0.2:  # this time the controller was killed too
                station = BusyStation(run=f"run-{kill + 1}", begin_ts=station.at(station.seq) + 30.0)
            began = station.seq
            fed = writers.life(station, url, dice.uniform(*(LONG_S if dice.random() < 0.2 else SHORT_S)))
            settle(url)
            watch.look(station, began, fed)
            if fed == began:
                continue
            station.seq = fed + dice.randrange(6)  # nobody looks on
    print(f"{kills} kills, {sum(watch.energy_kwh.values()):.1f} kWh, at most {watch.most_lost_s:.1f} s lost")
    return watch


def test_killed_at_25_moments(tmp_path: Path) -> None:
    kill_again_and_again(f"sqlite:///{tmp_path / 'history.db'}", tmp_path, 25, seed=1)


def test_killed_while_it_writes_to_a_server(postgres: Callable[[], PostgresServer], tmp_path: Path) -> None:
    server = postgres()
    kill_again_and_again(server.new_url(), tmp_path, 6, 2, server.wait_alone)


@pytest.mark.soak
def test_killed_at_500_moments(tmp_path: Path) -> None:
    """Five histories side by side: most of it is waiting."""

    def one(seed: int) -> None:
        folder = tmp_path / str(seed)
        folder.mkdir()
        kill_again_and_again(f"sqlite:///{folder / 'history.db'}", folder, 100, seed)

    with ThreadPoolExecutor() as pool:
        list(pool.map(one, (3, 5, 6, 7, 8)))


@pytest.mark.soak
def test_killed_at_100_moments_while_it_writes_to_a_server(
    postgres: Callable[[], PostgresServer], tmp_path: Path
) -> None:
    server = postgres()
    kill_again_and_again(server.new_url(), tmp_path, 100, 4, server.wait_alone)


def test_the_page_process_itself_is_killed(tmp_path: Path) -> None:
    """`python -m monitoring`, fed as the station feeds it, in real time; then a second one goes on."""
    station, tick = BusyStation(), threading.Event()
    for life_s in (6.6, 2.0):
        page = PageProcess(tmp_path)
        assert page.word() == {"serves": page.url}
        for _ in range(round(life_s / 0.5)):
            page.tell(station.next())
            tick.wait(0.5)
        page.kill()
    place = database("sqlite:///history.db", tmp_path)
    (gun_1,) = [row for row in rows(place, "sessions") if row["gun"] == 1]
    assert gun_1["energy_kwh"] >= station.gun_1_kwh(station.seq - 4) - station.gun_1_kwh(1) - KWH
    assert gun_1["energy_kwh"] <= station.gun_1_kwh(station.seq) + KWH
    assert rows(place, "power_seconds")[-1]["ts"] >= station.at(station.seq) - LOST_S
    place.close()
    with sqlite3.connect(tmp_path / "history.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    assert b"Traceback" not in (tmp_path / "page.err").read_bytes()
