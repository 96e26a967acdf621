"""Job: what each module make costs on the bus, and how quickly its modules are read, set and switched off.

Thread: MainThread. Lock: none. Units: % of 125 kbit/s at 150 bits a frame, s of bench time.

Nine modules on, two of them in hand-over, every set-point moving all the time: the most that a station can ask for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from bench.fault_matrix import charging
from bench.module_bench import NUMBERS, MakeBench
from bench.table import Table
from protocols import PROTOCOLS

SECONDS = 30
#: What design and data sheets allow.
MOST_1S_PCT, MOST_10S_PCT = 30.0, 20.0


@dataclass(frozen=True, slots=True)
class Figures:
    idle_pct: float  # nine modules off
    load_1s_pct: float
    load_10s_pct: float
    oldest_calm_s: float  # reading of any module, nothing moving
    oldest_busy_s: float
    shortest_gap_s: float  # between two frames of ours
    hurried: int  # frames that came too soon for the module
    nine_set_s: float  # until the new set-points of all nine have passed the wire
    off_to_all_s: float  # until an OFF to all has passed it, whatever is queued


def measure(make: str) -> Figures:
    """Every figure of one make."""
    bench = charging(make, 5.0, tuple(NUMBERS))
    oldest_calm_s = _oldest_s(bench, 5, lambda _: None)
    since_s = bench.now_s
    bench.watched = (1, 2)
    oldest_busy_s = _oldest_s(bench, SECONDS, lambda tenth: _order_all(bench, 700.0, 5.0 + tenth % 40))
    times = [frame.at_s for frame in bench.ours(since_s)]
    load_1s_pct, load_10s_pct = bench.highest_load_pct(since_s, 1.0), bench.highest_load_pct(since_s, 10.0)
    bench.run(3.0)
    nine_set_s = _until_all_have(bench, 690.0, 30.0)
    _order_all(bench, 700.0, 40.0)
    bench.run(0.03)
    begin_s = bench.now_s
    bench.controller.off_now(None, begin_s)
    bench.run(1.0)
    off = {(frame.can_id, frame.data) for frame in PROTOCOLS[make].encode_all_off()}
    off_s = min(f.passed_s for f in bench.ours(begin_s) if (f.can_id, f.data) in off) - begin_s
    for module in NUMBERS:
        bench.order_off(module)
    hurried = sum(board.hurried for board in bench.wire.boards)
    bench.run(5.0)
    begin_s = bench.now_s
    bench.run(10.0)
    return Figures(
        idle_pct=bench.load_pct(begin_s, 10.0),
        load_1s_pct=load_1s_pct,
        load_10s_pct=load_10s_pct,
        oldest_calm_s=oldest_calm_s,
        oldest_busy_s=oldest_busy_s,
        shortest_gap_s=min(later_s - at_s for at_s, later_s in pairwise(times)),
        hurried=hurried,
        nine_set_s=nine_set_s,
        off_to_all_s=off_s,
    )


def _until_all_have(bench: MakeBench, volts: float, amps: float) -> float:
    """Order it to all, and seconds until the last new set-point had passed the wire."""
    begin_s = bench.now_s
    _order_all(bench, volts, amps)
    bench.run(1.5)
    make = bench.makes[1]
    wanted = {(f.can_id, f.data) for module in NUMBERS for f in make.encode_setpoint(module, volts, amps)}
    first_s: dict[tuple[int, bytes], float] = {}
    for frame in bench.ours(begin_s):
        first_s.setdefault((frame.can_id, frame.data), frame.passed_s)
    return max(first_s[frame] for frame in wanted) - begin_s


def _order_all(bench: MakeBench, volts: float, amps: float) -> None:
    for module in NUMBERS:
        bench.order(module, volts, amps)


def _oldest_s(bench: MakeBench, seconds: int, each_tenth: Callable[[int], None]) -> float:
    oldest_s = 0.0
    for tenth in range(10 * seconds):
        each_tenth(tenth)
        bench.run(0.1)
        for status in bench.controller.status(bench.now_s):
            for at_s in (status.on_at_s, status.voltage_at_s, status.current_at_s):
                oldest_s = max(oldest_s, bench.now_s - (at_s or 0.0))
    return oldest_s


def tables() -> list[Table]:
    logging.disable(logging.CRITICAL)
    rows = []
    for make in PROTOCOLS:
        found = measure(make)
        rows.append(
            (
                make,
                f"{found.idle_pct:.1f}",
                f"{found.load_1s_pct:.1f}",
                f"{found.load_10s_pct:.1f}",
                f"{found.oldest_calm_s:.2f}",
                f"{found.oldest_busy_s:.2f}",
                round(1000 * found.nine_set_s),
                f"{1000 * found.off_to_all_s:.1f}",
            )
        )
    return [
        Table(
            "The CAN bus with each make of module",
            "Nine modules, two in hand-over, all set-points moving; virtual time at 125 kbit/s. Limits: load 30 % over "
            "1 s, 20 % over 10 s; oldest reading 1.5 rounds; nine set-points 100 ms (Infypower 500); OFF to all 20 ms.",
            (
                "make", "load at rest %", "over 1 s %", "over 10 s %", "oldest reading, calm s", "busy s",
                "nine set-points ms", "OFF to all ms",
            ),
            rows,
        )
    ]  # fmt: skip
