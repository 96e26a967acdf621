"""Job: the real program on the real clock beside the plainest one: latency, messages a second, CPU and memory.

Thread: MainThread. Lock: none. Units: ms, messages a second, % of one core, MB. Needs mosquitto; takes three minutes.

Broker, plant (`python -m simulator --serve`), station and bare program are processes of their own, on this machine's
loopback. Everything that is compared runs in one go, by turns.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mosquitto import Peer
from rig import AHEAD, PROJECT, Frame, Rig, rig, wait_for

from bench import bare
from bench.allocation import quantiles_ms
from bench.feed import Feed, encoded
from bench.table import Table

LATENCIES, MESSAGES, ROUNDS, WATCHED_S = 100, 30_000, 8, 20.0
DEVICES = {"D1": (1, 2), "D2": (3, 4), "D3": (5, 6)}
TARGET_V = 700.0
#: A set-point rises in steps as far apart as the bus allows; the next message waits until the last steps are over.
REST_S = 1.0
BROKER = "max_queued_messages 0\nmax_inflight_messages 0\n"
#: Full load: nine modules, six cars.
FULL_KW = {1: 75.0, 2: 75.0, 3: 75.0, 4: 35.0, 5: 35.0, 6: 35.0}


@contextmanager
def bare_program(station: Rig, task: str) -> Iterator[None]:
    can_port = re.search(r"option_port *= *(\d+)", station.config.read_text())
    assert can_port is not None, "the plant's config.ini names its CAN port"
    command = [*AHEAD, sys.executable, str(PROJECT / "bench" / "bare.py"), str(station.broker.port), can_port[1], task]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


# --- latency --------------------------------------------------------------------------------------------------------


class _Moves:
    """Changed set-points in the plant's frame log, read on from where the last look ended."""

    def __init__(self, station: Rig) -> None:
        self._log = (station.plant.folder / "frames.log").open("rb")
        self._begun = b""
        self._last: dict[int, bytes] = {}
        self.ours: list[Frame] = []
        self.bare: list[Frame] = []

    def look(self) -> None:
        lines = (self._begun + self._log.read()).split(b"\n")
        self._begun = lines.pop()
        for fields in (line.split() for line in lines):
            frame = Frame(float(fields[0]), fields[1] == b">", int(fields[2], 16), bytes.fromhex(fields[3].decode()))
            if frame.can_id == bare.CAN_ID:
                self.bare.append(frame)
            elif frame.set_current and self._last.get(frame.module) != frame.data:
                self._last[frame.module] = frame.data
                self.ours.append(frame)

    def first(self, frames: list[Frame], after_s: float) -> float:
        """Seconds from `after_s` to the next of these frames."""

        def found() -> list[Frame]:
            self.look()
            return [frame for frame in frames[-50:] if frame.at_s > after_s]

        return wait_for(found, "a frame follows", 2.0)[0].at_s - after_s

    def rested(self) -> bool:
        self.look()
        return bool(self.ours) and time.monotonic() - self.ours[-1].at_s > REST_S


def latency(station: Rig) -> Table:
    moves, ours_s, bare_s = _Moves(station), [], []
    with bare_program(station, "send"):
        for number in range(LATENCIES):
            wait_for(moves.rested, "the set-points rest", 10.0)
            at_s = station.say.tell_once("vesec/1/demand/D1", 60.0 if number % 2 else 66.0)
            ours_s.append(moves.first(moves.ours, at_s))
            at_s = station.say.tell_once("bare/1/demand/D1", "60.0")
            bare_s.append(moves.first(moves.bare, at_s))
    rows = [(name, len(s), *quantiles_ms(s)) for name, s in (("bare callback", bare_s), ("station", ours_s))]
    return Table(
        "From an MQTT message to a CAN frame",
        "publish() of a new demand of a gun that charges to the first frame that says so, in the plant. The bare "
        "program hears one like it and sends one frame over the same server. Limit: p99 at most 20 ms above it.",
        ("program", "n", "p50 ms", "p99 ms", "max ms"),
        rows,
    )


# --- messages a second ----------------------------------------------------------------------------------------------


def _messages(root: str) -> Iterator[tuple[str, str]]:
    """What six devices say: a demand that wanders, and the same state of charge and status again; then the mark."""
    for number in range(MESSAGES // 18):
        for device, guns in DEVICES.items():
            for position, gun in enumerate(guns, 1):
                yield f"{root}/{position}/demand/{device}", f"{FULL_KW[gun] - number % 7 / 2:g}"
                yield f"{root}/{position}/soc/{device}", "50"
                yield f"{root}/{position}/vehicle_status/{device}", "charging"
    yield f"{root}/1/soc/D1", bare.MARK.decode()


def _rate(station: Rig, packets: bytes, answer: str) -> float:
    """Messages a second, from the first byte sent to the answer to the last."""
    with Peer(station.broker.port, answer) as ear:
        feed, begun_s = Feed(station.broker.port), time.monotonic()
        feed.pour(packets)
        ear.heard.get(timeout=60.0)
        took_s = time.monotonic() - begun_s
        feed.close()
    return MESSAGES / took_s


def rates(station: Rig) -> Table:
    theirs, our_own = encoded(_messages("bare")), encoded(_messages("vesec"))
    ours, plain = [], []
    for _ in range(ROUNDS):
        with bare_program(station, "count"):
            plain.append(_rate(station, theirs, bare.ANSWER))
        ours.append(_rate(station, our_own, "vesec/1/rejected/central"))
    rows = [
        ("bare callback", ROUNDS, statistics.median(plain), 1.0),
        ("station", ROUNDS, statistics.median(ours), statistics.median(ours) / statistics.median(plain)),
    ]
    return Table(
        "Messages a second",
        f"{MESSAGES:,} messages of six devices at once (each third one a new demand), QoS 1, MQTT 5, to the answer to "
        "the last. The station serves six cars meanwhile. Medians. Limit: 0.7 of the bare callback.",
        ("program", "rounds", "messages a second", "of the bare one"),
        rows,
    )


# --- CPU and memory -------------------------------------------------------------------------------------------------


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mb(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024.0


def _watch(station: Rig, name: str) -> tuple[object, ...]:
    assert station.main is not None
    pid, begun_s = station.main.pid, time.monotonic()
    before_s = _cpu_s(pid)
    wait_for(lambda: time.monotonic() - begun_s >= WATCHED_S, "the time is over", WATCHED_S + 5.0)
    cpu_pct = 100.0 * (_cpu_s(pid) - before_s) / (time.monotonic() - begun_s)
    return name, station.plant.state()["power_kw"], WATCHED_S, cpu_pct, _rss_mb(pid)


def _rest(station: Rig) -> None:
    for device, guns in DEVICES.items():
        for position, _ in enumerate(guns, 1):
            station.say.tell(f"vesec/{position}/vehicle_status/{device}", "available")
            station.say.tell(f"vesec/{position}/demand/{device}", 0)


def _full_load(station: Rig) -> None:
    for device, guns in DEVICES.items():
        for position, gun in enumerate(guns, 1):
            station.say.charge(device, position, FULL_KW[gun], TARGET_V)
    asked_kw = sum(FULL_KW.values())
    wait_for(lambda: station.plant.state()["power_kw"] > 0.97 * asked_kw, "all six cars are served", 60.0)


def tables() -> list[Table]:
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder,
        rig(Path(folder), local="", broker_options=BROKER) as station,
    ):
        _rest(station)
        at_rest = _watch(station, "at rest")
        _full_load(station)
        at_work = _watch(station, "six cars, nine modules")
        tables = [latency(station), rates(station)]
        after = _watch(station, "after all messages")
    load = Table(
        "CPU and memory of the control process",
        "Default settings; devices repeat their values every 5 s. Limits: 3 % of one core at rest, 80 MB.",
        ("state", "power kW", "watched s", "CPU % of one core", "memory MB"),
        [at_rest, at_work, after],
    )
    return [*tables, load]
