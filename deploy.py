"""Job: bring a new version to the station, or go back to the old one, and keep main.py running. The command line of
updates/, which does the work; docs/updates.md says what happens when.

Thread: MainThread of a process of its own. Lock: HOME/deploy.lock (flock), one deploy.py at a time. Units: s.
Imports nothing of the station, so that it works when the station does not. Exit codes: 0 done or nothing new, 1 refused
or postponed, 2 usage, 3 rolled back.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # before anything else is imported: this file may not be the one that shall run
    from updates import launcher

    launcher.go_on(Path(__file__), sys.argv[1:])

import argparse
import os
import pwd
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Event

from updates.home import Home, commit_of, is_held, take_lock
from updates.journal import Journal, Phase, load
from updates.mirror import changed_files
from updates.restart import restart
from updates.sequence import Sequence as Update
from updates.settings import DeploySettings, read_settings
from updates.station import Status, busy, read_status
from updates.supervise import Supervisor
from updates.terms import Exit, Refused, short

HERE = Path(__file__).resolve().parent
#: A second deploy.py waits so long for the first one.
LOCK_WAIT_S = 3.0
LOCK_LOOK_S = 0.1


class RealClock:
    """Time as it is."""

    def now_s(self) -> float:
        return time.monotonic()

    def wall_s(self) -> float:
        return datetime.now(UTC).timestamp()

    def minute_of_day(self) -> int:
        now = datetime.now()  # local time, as the window is
        return now.hour * 60 + now.minute

    def wait(self, seconds: float) -> None:
        Event().wait(seconds)


def say(line: str) -> None:
    print(line, flush=True)


@contextmanager
def locked(home: Home, clock: RealClock, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Nobody else updates meanwhile. Raises Refused."""
    end_s = clock.now_s() + wait_s
    while (lock := take_lock(home.deploy_lock)) is None:
        if clock.now_s() >= end_s:
            raise Refused(f"Another deploy.py is at work in {home.folder}. Wait until it has ended")
        clock.wait(LOCK_LOOK_S)
    with lock:
        yield


def refuse_others(home: Home) -> None:
    """Whoever else writes here leaves files that the station's user cannot change any more. Raises Refused."""
    owner = home.folder.stat().st_uid
    if os.geteuid() != owner:
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = f"#{owner}"
        raise Refused(f"{home.folder} belongs to the user {name}. Type: sudo -u {name} python3 deploy.py ...")


# --- the commands ---------------------------------------------------------------------------------------------------


def update(home: Home, clock: RealClock, named: str) -> Exit:
    with locked(home, clock):
        return Update(home, clock, say).update(named)


def rollback(home: Home, clock: RealClock) -> Exit:
    with locked(home, clock):
        return Update(home, clock, say).rollback()


def check(home: Home, clock: RealClock) -> Exit:
    """Ask the remote what is new. Changes nothing that runs."""
    with locked(home, clock):
        Update(home, clock, say).look()
    return Exit.DONE


def settle(home: Home, clock: RealClock) -> Exit:
    """Started by main.py after a power cut: judge the release on probation, unless another deploy.py does."""
    with locked(home, clock, 0.0):
        return Update(home, clock, say).finish(watch_only=True)


def everything(home: Home, clock: RealClock) -> Exit:
    """Update if something is new, and see that the station runs: what a person on site expects."""
    try:
        ended = update(home, clock, "")
    except Refused as refusal:
        say(str(refusal))
        ended = Exit.REFUSED
    with locked(home, clock):
        return _see_that_it_runs(home, clock, ended)


def _see_that_it_runs(home: Home, clock: RealClock, ended: Exit) -> Exit:
    status = read_status(home, clock.wall_s())
    wanted = home.running() or commit_of(home.folder)
    if not is_held(home.main_lock):
        say("The station does not run: starting it")
    elif status is None or not status.fresh or not status.commit or wanted.startswith(status.commit):
        return ended
    elif (why := busy(home, clock.wall_s(), read_settings(home).idle_for_s)) is not None:
        say(f"The station still runs version {status.version} ({status.commit}); not started anew: {why}")
        return Exit.REFUSED
    else:
        say(f"The station still runs {status.commit}: starting it anew as {short(wanted)}")
    started = restart(home, clock)
    say(f"Started by {started.way.value}; tail -f {home.folder / 'debug.log'} shows what it does")
    return ended


# --- status ---------------------------------------------------------------------------------------------------------


def status(home: Home, clock: RealClock) -> Exit:
    """One screen. Works without git, and with settings that cannot be read."""
    journal = load(home)
    rows = {
        "Running": _running(home, read_status(home, clock.wall_s())),
        "Release": _release(home, journal),
        "Available": _available(home, journal, clock.wall_s()),
        "Last good": ", before it ".join(short(commit) for commit in reversed(journal.good)) or "none yet",
        "Last attempt": _attempt(journal),
        "By itself": _by_itself(home, clock),
        "Files": _files(home),
    }
    for name, text in rows.items():
        say(f"{name:<13} {text}")
    for commit, why in list(journal.refused.items())[-3:]:
        say(f"{'Not again':<13} {short(commit)}: {why}")
    return Exit.DONE


def _running(home: Home, last: Status | None) -> str:
    if last is None:
        return f"not known (no status.json in {home.folder} that can be read)" if home.status.exists() else "no"
    if not last.fresh:
        return f"no (status.json is {last.age_s:.0f} s old; version {last.version} was last {last.state})"
    return f"version {last.version}, commit {last.commit or 'not known'}, {last.state}, process {last.pid}"


def _release(home: Home, journal: Journal) -> str:
    commit = home.running()
    if not commit:
        return f"none: the files in {home.folder} run, commit {short(commit_of(home.folder)) or 'not known'}"
    why = home.why_unusable(commit)
    probation = ", on probation" if journal.unconfirmed else ""
    return f"{short(commit)}{probation}" if why is None else f"{short(commit)}, DAMAGED: {why}"


def _available(home: Home, journal: Journal, wall_s: float) -> str:
    if not journal.fetched_at_s:
        return "not asked yet: deploy.py check"
    hours = max(0.0, wall_s - journal.fetched_at_s) / 3600
    new = journal.available if journal.available != home.running() else ""
    return f"{short(new) or 'nothing new'} (asked {hours:.1f} h ago)"


def _attempt(journal: Journal) -> str:
    if journal.phase is None:
        return journal.reason or "none"
    at = datetime.fromtimestamp(journal.at_s).astimezone()
    name = f"{short(journal.target)}{f' ({journal.tag})' if journal.tag else ''}, {at:%Y-%m-%d %H:%M}"
    if journal.phase is Phase.FAILED:
        return f"{name}: failed, {journal.reason}"
    return f"{name}: {journal.phase.value}"


def _by_itself(home: Home, clock: RealClock) -> str:
    try:
        settings = read_settings(home)
    except Refused as refusal:
        return str(refusal)
    if settings.interval_s <= 0:
        return "only when asked ([Deploy] interval = 0)"
    return f"`deploy.py run` looks every {settings.interval_s:.0f} s, {_next_window(settings, clock)}"


def _next_window(settings: DeploySettings, clock: RealClock) -> str:
    now = clock.minute_of_day() in settings.window
    return f"in the window {settings.window}{', which is now' if now else ''}"


def _files(home: Home) -> str:
    """Whether a person has changed what was delivered."""
    try:
        changed = changed_files(home) if (home.folder / ".git").exists() else []
    except Refused as refusal:
        return str(refusal)
    return f"changed by hand: {', '.join(changed[:5])}" if changed else "not changed by hand"


# --- the command line -----------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Bring a new version to the station. Without a command: update if there is something new, and see "
        "that the station runs"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", default=HERE / "config.ini", help="as for main.py")
    commands = parser.add_subparsers(dest="command", metavar="status|check|update|rollback|run")
    commands.add_parser("status", help="what runs, what is new, what happened last")
    commands.add_parser("check", help="ask the remote what is new")
    wanted = commands.add_parser("update", help="take what is new; switched only while the station is idle")
    wanted.add_argument("commit", nargs="?", default="", help="this one, although it failed before")
    commands.add_parser("rollback", help="back to the confirmed release before this one")
    kept = commands.add_parser("run", help="keep main.py running; updates by itself if [Deploy] interval says so")
    kept.add_argument("--updates-only", action="store_true", help="somebody else, such as systemd, keeps it running")
    kept.add_argument("arguments", nargs="*", metavar="-- ARGS", help="for main.py")
    commands.add_parser("settle")  # for main.py alone
    return parser


def run_command(arguments: argparse.Namespace, home: Home, clock: RealClock) -> Exit:
    """Raises Refused, OSError."""
    command: str | None = arguments.command
    if command == "status":
        return status(home, clock)
    refuse_others(home)
    if command == "check":
        return check(home, clock)
    if command == "update":
        return update(home, clock, arguments.commit)
    if command == "rollback":
        return rollback(home, clock)
    if command == "run":
        return Supervisor(home, clock, say, arguments.arguments, arguments.updates_only).run()
    if command == "settle":
        return settle(home, clock)
    return everything(home, clock)


def main(argv: Sequence[str] | None = None) -> int:
    """The program. Returns the exit code; wrong usage ends it with 2."""
    arguments = _parser().parse_args(argv)
    home = Home(arguments.config.absolute().parent)
    try:
        return run_command(arguments, home, RealClock())
    except Refused as refusal:
        say(str(refusal))
    except OSError as error:
        say(f"{error}. Is this the user that owns {home.folder}, and has its disk room?")
    return Exit.REFUSED


if __name__ == "__main__":
    sys.exit(main())
