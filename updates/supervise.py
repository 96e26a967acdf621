"""Job: `deploy.py run`: keep main.py running, and let an update look by itself when [Deploy] interval says so.

Thread: MainThread. Lock: HOME/run.lock (flock) for the life of the process; in it stands the process id of who keeps
main.py running. Units: s.
An update is a process of its own, so that nothing of it stays in this one, which runs for months.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Event

from updates.home import Home, is_held, take_lock
from updates.settings import DeploySettings, read_settings
from updates.terms import Clock, Exit, Refused, Say

LOOK_S = 0.2
#: In run.lock when somebody else keeps main.py running.
UPDATES_ONLY = "updates only"
LEAST_PAUSE_S, MOST_PAUSE_S = 1.0, 60.0
#: Who ran so long was well: the next pause is the shortest again.
WELL_AFTER_S = 60.0
#: As TimeoutStopSec of the unit: the safe door is shut after 3 s.
STOP_LIMIT_S = 10.0


class Pauses:
    """How long to wait before the next start: 1, 2, 4 ... 60 s, and 1 s again after a good run."""

    def __init__(self) -> None:
        self._next_s = LEAST_PAUSE_S

    def after(self, ran_s: float) -> float:
        if ran_s >= WELL_AFTER_S:
            self._next_s = LEAST_PAUSE_S
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, MOST_PAUSE_S)
        return pause_s


class Supervisor:
    """One main.py as a child, when it is ours to start, and at times one update."""

    def __init__(self, home: Home, clock: Clock, say: Say, arguments: Sequence[str], updates_only: bool) -> None:
        """`arguments`: for main.py. `updates_only`: somebody else (a systemd unit) keeps main.py running."""
        self._home, self._clock, self._say = home, clock, say
        self._command = [str(home.folder / "main.py"), *arguments]
        own = home.folder / "deploy.py"
        program = own if own.exists() else Path(sys.argv[0]).absolute()
        self._update_command = [str(program), "--config", str(home.config), "update"]
        self._updates_only = updates_only
        self._asked, self._again = Event(), False
        self._main: subprocess.Popen[bytes] | None = None
        self._update: subprocess.Popen[bytes] | None = None
        self._pauses = Pauses()
        self._started_at_s = self._start_at_s = 0.0
        self._kill_at_s: float | None = None
        self._looked_at_s = 0.0
        self._said = ""

    def run(self) -> Exit:
        """Until SIGTERM, SIGINT or SIGHUP; main.py is then asked to end and waited for. Raises Refused."""
        lock = take_lock(self._home.run_lock)
        if lock is None:
            raise Refused(f"deploy.py run is already at work in {self._home.folder}")
        with lock:
            lock.truncate(0)
            lock.write(UPDATES_ONLY if self._updates_only else str(os.getpid()))
            lock.flush()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, lambda *_: self._asked.set())
            signal.signal(signal.SIGUSR1, self._on_again)
            self._looked_at_s = self._clock.now_s()
            while not self._asked.wait(LOOK_S):
                self._step(self._clock.now_s())
            self._end()
        return Exit.DONE

    def _on_again(self, *_: object) -> None:
        self._again = True

    def _step(self, now_s: float) -> None:
        if not self._updates_only:
            self._keep_running(now_s)
        self._look_for_updates(now_s)

    # --- main.py ----------------------------------------------------------------------------------------------------

    def _keep_running(self, now_s: float) -> None:
        if self._main is not None:
            self._watch_child(self._main, now_s)
        elif self._again or now_s >= self._start_at_s:
            self._start(now_s)

    def _watch_child(self, child: subprocess.Popen[bytes], now_s: float) -> None:
        if child.poll() is not None:
            self._main = None
            pause_s = 0.0 if self._kill_at_s is not None else self._pauses.after(now_s - self._started_at_s)
            self._kill_at_s = None
            self._start_at_s = now_s + pause_s
            self._tell(f"main.py ended with exit code {child.returncode}; it is started again in {pause_s:.0f} s")
        elif self._again and self._kill_at_s is None:
            self._again, self._kill_at_s = False, now_s + STOP_LIMIT_S
            child.terminate()
        elif self._kill_at_s is not None and now_s >= self._kill_at_s:
            child.kill()

    def _start(self, now_s: float) -> None:
        self._again = False
        if is_held(self._home.main_lock):
            self._tell("The station runs already, started by somebody else; it is looked after from its next start on")
            self._start_at_s = now_s + LEAST_PAUSE_S
            return
        self._started_at_s = now_s
        # a session of its own: Ctrl-C at the terminal comes by way of us, once
        self._main = self._popen(self._command)

    # --- updates ----------------------------------------------------------------------------------------------------

    def _look_for_updates(self, now_s: float) -> None:
        if self._update is not None:
            if self._update.poll() is not None:
                self._update = None
                self._looked_at_s = now_s
            return
        settings = self._settings()
        if settings is None or settings.interval_s <= 0 or now_s - self._looked_at_s < settings.interval_s:
            return
        if self._clock.minute_of_day() in settings.window:
            self._update = self._popen(self._update_command)

    def _settings(self) -> DeploySettings | None:
        """Read anew only when a look could be due: a person may have changed them."""
        if self._clock.now_s() - self._looked_at_s < LEAST_PAUSE_S:
            return None
        try:
            return read_settings(self._home)
        except Refused as refusal:
            self._tell(str(refusal))
            return None

    # --- the end ----------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """Whatever an update was doing, the next command settles it; main.py goes through its safe door."""
        for child in (self._update, self._main):
            if child is not None and child.poll() is None:
                child.terminate()
        for child in (self._update, self._main):
            if child is None:
                continue
            try:
                child.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(STOP_LIMIT_S)

    def _popen(self, command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen([self._home.door_python(), *command], cwd=self._home.folder, start_new_session=True)

    def _tell(self, line: str) -> None:
        """Once, not every second."""
        if line != self._said:
            self._said = line
            self._say(line)

