"""Job: what the page costs the control: how late its steps begin and how long they take, whoever looks on.

Thread: MainThread. Lock: none. Units: ms, MB, %. Needs mosquitto; takes six minutes.

Broker, plant, station, page and onlookers are processes of their own. The conditions take turns, each on a fresh
station with six cars and nine modules at full load.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rig import PROJECT, Rig, free_port, rig, wait_for

from bench.allocation import quantiles_ms
from bench.station import BROKER, _cpu_s, _full_load, _rss_mb
from bench.table import Table

PAGES, WATCHED_S, ROUNDS = 50, 40.0, 3
CONDITIONS = ("no page", "page, nobody looks", f"{PAGES} pages, a scrape each second")
#: In the control process: how much later than it wanted each step begins, and how long it takes. USR1 writes them.
PROBE = """
import json, signal, time, demand_processor, worker
late_s, took_s = [], []
wait, step = worker.Worker._wait, demand_processor.DemandProcessor.step
def timed_wait(self, delay_s, rested_at_s):
    begun_s = time.monotonic()
    wait(self, delay_s, rested_at_s)
    over_s = time.monotonic() - begun_s - delay_s
    if self.name == "control" and over_s >= 0.0:  # else it was woken before its time
        late_s.append(over_s)
def timed_step(self, now_s):
    begun_s = time.monotonic()
    pause_s = step(self, now_s)
    took_s.append(time.monotonic() - begun_s)
    return pause_s
def write(*_):
    told = {{"late_s": late_s[:], "took_s": took_s[:]}}
    late_s.clear()
    took_s.clear()
    with open({path!r} + ".new", "w") as file:
        json.dump(told, file)
    __import__("os").replace({path!r} + ".new", {path!r})
worker.Worker._wait, demand_processor.DemandProcessor.step = timed_wait, timed_step
signal.signal(signal.SIGUSR1, write)
"""


def _take(station: Rig, path: Path) -> dict[str, list[float]]:
    """What was measured since the last call."""
    assert station.main is not None
    path.unlink(missing_ok=True)
    os.kill(station.main.pid, signal.SIGUSR1)
    told: dict[str, list[float]] = json.loads(wait_for(lambda: path.exists() and path.read_text(), "the figures"))
    return told


def _children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]


def _measure(folder: Path, condition: str) -> dict[str, Any]:
    port, path = free_port(), folder / "figures.json"
    enabled = "false" if condition == CONDITIONS[0] else "true"
    local = f"[Dashboard]\nenabled = {enabled}\nport = {port}\n"
    with rig(folder, local, start=False, broker_options=BROKER) as station:
        station.start_main(patch=PROBE.format(path=str(path)))
        _full_load(station)
        onlookers = None
        if condition == CONDITIONS[2]:
            command = [sys.executable, str(PROJECT / "bench" / "onlookers.py"), str(port), str(PAGES)]
            onlookers = subprocess.Popen(command, stdout=(folder / "onlookers.out").open("wb"))
            wait_for(lambda: (folder / "onlookers.out").read_text().count("\n") >= 3, "they look on", 15.0)
        try:
            return _watch(station, path, folder)
        finally:
            if onlookers is not None:
                onlookers.kill()
                onlookers.wait(5.0)


def _watch(station: Rig, path: Path, folder: Path) -> dict[str, Any]:
    assert station.main is not None
    pids = [station.main.pid, *_children(station.main.pid)]
    _take(station, path)
    begun_s, before_s = time.monotonic(), [_cpu_s(pid) for pid in pids]
    wait_for(lambda: time.monotonic() - begun_s >= WATCHED_S, "the time is over", WATCHED_S + 5.0)
    cpu_pct = [100.0 * (_cpu_s(pid) - s) / WATCHED_S for pid, s in zip(pids, before_s, strict=True)]
    told: dict[str, Any] = dict(_take(station, path))
    told |= {"control_pct": cpu_pct[0], "page_pct": sum(cpu_pct[1:]), "page_mb": sum(map(_rss_mb, pids[1:]))}
    seen = folder / "onlookers.out"
    rows = seen.read_text().splitlines() if seen.exists() else []
    if len(rows) > 2:
        first, last = json.loads(rows[0]), json.loads(rows[-1])
        told["told_each"] = (last["snapshots"] - first["snapshots"]) / (len(rows) - 1) / PAGES
    return told


def tables() -> list[Table]:
    found: dict[str, list[dict[str, Any]]] = {condition: [] for condition in CONDITIONS}
    for number in range(ROUNDS):
        for condition in CONDITIONS[:: 1 if number % 2 == 0 else -1]:
            with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
                found[condition].append(_measure(Path(folder), condition))
    steps = [
        (condition, what, len(values), *quantiles_ms(values))
        for what, key in (("begins late by", "late_s"), ("takes", "took_s"))
        for condition in CONDITIONS
        if (values := [value for each in found[condition] for value in each[key]])
    ]
    costs = [
        (
            condition,
            *(sum(each[key] for each in found[condition]) / ROUNDS for key in ("control_pct", "page_pct", "page_mb")),
            sum(each.get("told_each", 0.0) for each in found[condition]) / ROUNDS,
        )
        for condition in CONDITIONS
    ]
    return [
        Table(
            "What the page costs a control step",
            "A step of the control at full load: how much later than it wanted it begins, and how long it takes. "
            "Limit: p99 with everybody looking on less than 5 ms above that without a page.",
            ("who looks on", "a step", "n", "p50 ms", "p99 ms", "max ms"),
            steps,
        ),
        Table(
            "CPU and memory with a page",
            f"Means of {ROUNDS} x {WATCHED_S:g} s. Limit: page process 120 MB. A snapshot a second for each.",
            ("who looks on", "control, % of a core", "page, % of a core", "page, MB", "snapshots a second"),
            costs,
        ),
    ]
