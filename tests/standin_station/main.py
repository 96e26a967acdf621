"""Job: stand in for main.py in tests of updates: takes the lock, says in status.json that it runs, and ends at SIGTERM.

Thread: MainThread. Lock: HOME/main.lock. Units: s. What is wrong with a release is its `behaviour.py`; what is wrong
with the site is HOME/pretend.json, whose keys replace those of status.json.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    from updates import launcher

    launcher.go_on(Path(__file__), sys.argv[1:])

import argparse
import configparser
import json
import os
import signal
import time
from datetime import UTC, datetime
from threading import Event

import behaviour

from updates.home import commit_of, take_lock

TICK_S = 0.1


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, default=Path(__file__).parent / "config.ini")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    behaviour.at_start()
    settings = read(arguments.config)
    wrong = [key for key in settings.get("General", {}) if key not in behaviour.KNOWN_KEYS]
    if wrong:
        print(f"The configuration has to be mended first\nconfig.ini [General] {wrong[0]}: no such key")
        return 2
    if arguments.check:
        problem = arguments.config.parent / "problem.txt"
        print(f"Problem: {problem.read_text()}" if problem.exists() else "Good to start")
        return 2 if problem.exists() else 0
    return run(arguments.config.parent, settings)


def read(config: Path) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser(interpolation=None)
    trial = config.with_name("config.local.trial.ini")
    tried = config.name == "config.trial.ini" and trial.exists()
    parser.read([config, trial if tried else config.with_name("config.local.ini")])
    return {name: dict(parser.items(name)) for name in parser.sections()}


def run(folder: Path, settings: dict[str, dict[str, str]]) -> int:
    lock = take_lock(folder / "main.lock")
    if lock is None:
        return 3
    asked = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    began_s = time.monotonic()
    while not asked.wait(TICK_S):
        ran_s = time.monotonic() - began_s
        status = {
            "ts": datetime.now(UTC).timestamp(), "pid": os.getpid(), "version": behaviour.VERSION, "state": "ready",
            "armed": True, "mqtt": True, "can": True, "modules_heard": 9, "contactors_closed": 0, "idle_s": 1000.0,
            "commit": commit_of(Path(__file__).parent)[:12], "settings": settings.get("General", {}),
        }  # fmt: skip
        pretend = folder / "pretend.json"
        status |= json.loads(pretend.read_text()) if pretend.exists() else {}
        behaviour.while_running(ran_s, status)
        temporary = folder / "status.json.tmp"
        temporary.write_text(json.dumps(status))
        temporary.replace(folder / "status.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
