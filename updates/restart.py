"""Job: the three ways in which main.py is started anew: by systemd, by `deploy.py run`, or by ourselves.

Thread: MainThread. Lock: none. Units: s. main.py is asked to end (SIGTERM opens the safe door); only a new version on
probation that does not is killed. Every start is that of HOME/main.py, which goes on in what `current` names.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from updates.home import Home, is_held
from updates.station import read_status
from updates.terms import Clock, Refused

UNIT = "vesec-station"
#: The safe door is shut after 3 s; the rest is for broker, CAN and log.
STOP_LIMIT_S = 20.0
#: A new version that hangs gets so long.
PROBATION_LIMIT_S = 8.0
SYSTEMCTL_LIMIT_S = 90.0
LOOK_S = 0.05
#: What main.py means by them when it said nothing on stderr.
EXITS = {1: "safe door, debug.log says why", 2: "config or hardware, main.py --check says why", 3: "it runs already"}
#: ActiveState of a unit that systemd starts again by itself when its process ends.
KEPT_ALIVE = frozenset({"active", "activating", "reloading", "deactivating"})


class Way(Enum):
    """Who starts main.py."""

    SYSTEMD = "systemd"
    SUPERVISOR = "deploy.py run"
    OURSELVES = "this program"


@dataclass(slots=True)
class Started:
    """A start that was asked for; `process` when we made it ourselves."""

    way: Way
    process: subprocess.Popen[bytes] | None = None
    console: Path | None = None

    def ended(self) -> str | None:
        """How our own process ended; None while it runs, and when it is not ours."""
        if self.process is None or self.process.poll() is None:
            return None
        code = self.process.returncode
        return f"it ended with exit code {code}: {_last_line(self.console) or EXITS.get(code, 'it said nothing')}"


def way_of(home: Home) -> Way:
    """Who starts main.py here, as things are now."""
    unit = _unit()
    at_home = Path(unit.get("WorkingDirectory") or "/").resolve() == home.folder.resolve()
    if at_home and (unit.get("ActiveState") in KEPT_ALIVE or not is_held(home.main_lock)):
        return Way.SYSTEMD
    return Way.SUPERVISOR if _supervisor(home) else Way.OURSELVES


def _unit() -> dict[str, str]:
    """What systemd says of the station's unit; nothing where there is no systemd or no such unit."""
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        return {}
    command = [systemctl, "show", UNIT, "--property=ActiveState,WorkingDirectory"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SYSTEMCTL_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line) if done.returncode == 0 else {}


def restart(home: Home, clock: Clock, probation: bool = False) -> Started:
    """Stop main.py through the safe door if it runs, and let what `current` names start. Raises Refused.

    `probation`: what runs is a new version that failed; it is killed when it does not end.
    """
    way = way_of(home)
    if way is Way.SYSTEMD:
        _restart_unit(home, clock, probation)
        return Started(way)
    if way is Way.SUPERVISOR:
        _ask_supervisor(home)
        return Started(way)
    stop(home, clock, probation)
    return start(home)


def start(home: Home) -> Started:
    """Start main.py on its own: it goes on when this program ends.

    Only what it says on stderr is kept: the lines of its console are in debug.log, and would fill the disk here.
    """
    console = home.folder / "start.log"
    with console.open("wb") as output:
        process = subprocess.Popen(
            [home.door_python(), str(home.folder / "main.py")], cwd=home.folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=output, start_new_session=True,
        )  # fmt: skip
    return Started(Way.OURSELVES, process, console)


def stop(home: Home, clock: Clock, probation: bool = False) -> None:
    """Ask main.py to end and wait until it has. Raises Refused when it does not."""
    pid = pid_of(home, clock.wall_s())
    if pid:
        _send(pid, signal.SIGTERM)
    limit_s = PROBATION_LIMIT_S if probation and pid else STOP_LIMIT_S
    if _gone(home, clock, pid, limit_s):
        return
    if probation and pid:
        _send(pid, signal.SIGKILL)
        if _gone(home, clock, pid, limit_s):
            return
    raise Refused(f"The station (process {pid or 'not known'}) did not end within {limit_s:.0f} s after SIGTERM")


def _gone(home: Home, clock: Clock, pid: int, limit_s: float) -> bool:
    end_s = clock.now_s() + limit_s
    while clock.now_s() < end_s:
        if not is_held(home.main_lock):
            return True
        if pid and not _is_main(pid):
            return True  # somebody has already started the next one
        clock.wait(LOOK_S)
    return False


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it ended in this moment
    except PermissionError as error:
        raise Refused(f"The station runs as another user (process {pid}). Run this as that user") from error


def pid_of(home: Home, wall_s: float) -> int:
    """The process of the station that runs in HOME; 0: none runs, or none that is known to be it."""
    if not is_held(home.main_lock):
        return 0
    status = read_status(home, wall_s)
    for pid in (_holder(home.main_lock), status.pid if status else 0):
        if pid > 0 and _is_main(pid):
            return pid
    return 0


def _holder(lock: Path) -> int:
    """The process that holds a lock, as the kernel lists it; 0 = not known."""
    try:
        inode, lines = lock.stat().st_ino, Path("/proc/locks").read_text().splitlines()
    except OSError:
        return 0
    for line in lines:  # 1: FLOCK  ADVISORY  WRITE 4711 00:19:2345 0 EOF
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].endswith(f":{inode}") and fields[4].isdigit():
            return int(fields[4])
    return 0


def _is_main(pid: int) -> bool:
    """This process is a main.py: after a power cut the number may be somebody else's."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(word.endswith(b"main.py") for word in words)


def _restart_unit(home: Home, clock: Clock, probation: bool) -> None:
    """As a user without the right to restart units we ask main.py itself to end: the unit starts it anew."""
    # it shall not wait until a new version has come up: whether it has is for status.json to say
    command = ["systemctl", "restart", "--no-block", "--no-ask-password", UNIT]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SYSTEMCTL_LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise Refused(f"{' '.join(command)} took longer than {SYSTEMCTL_LIMIT_S:.0f} s") from error
    if done.returncode == 0:
        return
    if not pid_of(home, clock.wall_s()):
        raise Refused(f"systemctl restart {UNIT}: {done.stderr.strip()}. Type: sudo systemctl restart {UNIT}")
    stop(home, clock, probation)


def _ask_supervisor(home: Home) -> None:
    """SIGUSR1 lets `deploy.py run` start main.py anew, at once. Raises Refused."""
    try:
        os.kill(_supervisor(home), signal.SIGUSR1)
    except OSError as error:
        raise Refused(f"deploy.py run could not be asked to start the station anew: {error}") from error


def _supervisor(home: Home) -> int:
    """The process of the `deploy.py run` that keeps main.py running here; 0: none does."""
    try:
        return int(home.run_lock.read_text()) if is_held(home.run_lock) else 0
    except (OSError, ValueError):
        return 0


def _last_line(console: Path | None) -> str:
    try:
        lines = console.read_text(errors="replace").split("\n") if console else []
    except OSError:
        lines = []
    said = [line.strip() for line in lines if line.strip()]
    return said[-1][:300] if said else ""
