"""Job: writers of the history that live until they are killed: `python tests/history_nursery.py`, one life a line of
stdin.

Thread: MainThread feeds, `history` writes. Lock: none. Units: s; station time runs `speed` times as fast as the clock.

Each life is a process of its own (a fork of this one, which has nothing but imported). It says its number, then the
`seq` of each line before it hands it to the history.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

from history_feed import PERIOD_S, BusyStation

from monitoring.history import History
from worker import SystemClock


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def live(order: dict[str, Any]) -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    clock, tick = SystemClock(speed=order["speed"]), threading.Event()
    station = BusyStation(run=order["run"], begin_ts=order["begin_ts"], seq=order["seq"])
    history = History(order["url"], 365, 500, Path("/"), clock)
    history.start()
    due_s = clock.now_s()
    while True:
        line = station.next()
        say(f"fed {station.seq}")
        history.put(line)
        due_s += PERIOD_S
        clock.wait(tick, due_s - clock.now_s())


def main() -> None:
    say("ready")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            live(json.loads(line))
        say(f"born {child}")
        os.waitpid(child, 0)
        say("dead")


if __name__ == "__main__":
    main()
