"""Job: main.py and deploy.py typed in HOME go on in the release that `current` names, in its own venv.

Thread: MainThread, before anything outside the standard library is imported. Lock: HOME/deploy.lock while a start
settles what a power cut left; when a deploy.py holds it, that one is in charge. Units: none.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from updates.home import Home, is_held, is_release, take_lock
from updates.journal import Journal, load
from updates.switch import before_start
from updates.terms import short

#: Set for the one exec, so that a venv that is none cannot send us round in circles.
MARK = "STATION_GOES_ON"
#: With these main.py is asked something and starts no station.
NO_START = {"--check", "--probe", "--commission", "--help", "-h"}


def go_on(script: Path, arguments: Sequence[str]) -> None:
    """Returns when this process is the right one already; else it becomes another program here."""
    folder = script.absolute().parent
    came_here = os.environ.pop(MARK, None) is not None
    if is_release(folder):  # Python itself imports from the folder behind the link, wherever `current` moves later
        return
    home, options = Home(folder), list(arguments)
    if home.running() and "--simulate" not in options:
        if script.name == "main.py" and not NO_START & set(options):
            _settle(home)
        release = _release_for(home, script.name)
        if release is not None:
            own = [] if _names_config(options) else ["--config", str(home.config)]
            _become(home.python_of(release), [str(release / script.name), *own, *options], release)
    venv = folder / ".venv" / "bin" / "python"
    if sys.prefix == sys.base_prefix and venv.exists() and not came_here:
        _become(venv, [str(script), *options], folder)


def _names_config(options: Sequence[str]) -> bool:
    """A --config of our own; what stands behind -- is for somebody else."""
    ours = options[: options.index("--")] if "--" in options else options
    return any(word.split("=")[0] == "--config" for word in ours)


def _settle(home: Home) -> None:
    if is_held(home.main_lock):  # this start will end at once: the station runs already
        return
    try:
        lock = take_lock(home.deploy_lock)
        if lock is None:
            return
        with lock:
            journal = before_start(home, datetime.now(UTC).timestamp())
        if journal.unconfirmed:
            _watch_over(home, journal)
    except Exception as problem:  # whatever it is, it shall not keep the station from starting
        print(f"What an update left could not be settled: {problem}", flush=True)


def _watch_over(home: Home, journal: Journal) -> None:
    """A start after a power cut: the last good release's deploy.py judges this one, on its own beside us."""
    release = home.release(journal.last_good)
    if home.why_unusable(journal.last_good) is not None:
        return
    command = [str(home.python_of(release)), str(release / "deploy.py"), "--config", str(home.config), "settle"]
    environment = {name: value for name, value in os.environ.items() if name not in ("NOTIFY_SOCKET", "WATCHDOG_PID")}
    with (home.folder / "deploy.log").open("ab") as output:
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment,
            cwd=home.folder, start_new_session=True,
        )  # fmt: skip


def _release_for(home: Home, script: str) -> Path | None:
    """main.py: what `current` names. deploy.py: the last good release, since that one judges the other."""
    running = home.running()
    commit = running if script == "main.py" else (load(home).last_good or running)
    why = home.why_unusable(commit)
    if why is None:
        return home.current if script == "main.py" else home.release(commit)
    print(f"Release {short(commit)} cannot be started: {why}. Going on with the files in {home.folder}", flush=True)
    return None


def _become(python: Path, arguments: Sequence[str], folder: Path) -> None:
    place = f"release {short(folder.resolve().name)}" if is_release(folder) else f"{folder / '.venv'}"
    print(f"Going on in {place}", flush=True)
    os.environ[MARK] = "1"
    os.execv(python, [str(python), *arguments])
