"""Job: a site with a clone, a remote on this disk and a small station: tests of updates with real git and processes.

Thread: the test's. Lock: flock while the one venv is made that all tests share. Units: s (monotonic unless told).
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from threading import Event
from typing import Any
from unittest import mock

import pytest

import deploy
from updates.home import Home, damage, is_held
from updates.journal import Journal, load
from updates.site import Sections, merged
from updates.stage import make_venv

PROJECT = Path(__file__).resolve().parents[1]
STANDIN = PROJECT / "tests" / "standin_station"
LIMIT_S = 30.0
#: [Deploy] at its fastest.
LOCAL = """\
# of this site
[General]
name = site 7

[Deploy]
idle_for = 0
health_timeout = 5
stable_for = 0.4
"""
#: Nothing of the machine's own git settings, and no systemd.
ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "PYTHONDONTWRITEBYTECODE": "1",
    **{f"GIT_{who}_{what}": "test@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}  # fmt: skip


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **ENVIRONMENT}
    )
    assert done.returncode == 0, f"git {' '.join(words)}: {done.stderr}"
    return done.stdout.strip()


def wait_for(condition: Any, what: str, limit_s: float = LIMIT_S) -> Any:
    """Wait until `condition()` is true and return it."""
    tick, end_s = Event(), time.monotonic() + limit_s
    while time.monotonic() < end_s:
        if found := condition():
            return found
        tick.wait(0.02)
    pytest.fail(f"within {limit_s:g} s not reached: {what}")


def shared_venv(folder: Path) -> Path:
    """The venv of the stand-in's empty lock, made once for all tests, with the packages of deploy.py in sight."""
    home, release = Home(folder), folder / "lock"
    folder.mkdir(exist_ok=True)
    with (folder / "made").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        release.mkdir(exist_ok=True)
        (release / "requirements.txt").write_text("")
        venv = home.venv_of(release)
        if not venv.exists():
            make_venv(home, release, lambda line: None)
            packages = next(path for path in sys.path if path.endswith("site-packages"))
            version = f"python{sys.version_info.major}.{sys.version_info.minor}"
            (venv / "lib" / version / "site-packages" / "packages.pth").write_text(packages + "\n")
    return venv


class Remote:
    """A repository with releases of the stand-in station on main."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(STANDIN, folder, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(PROJECT / "updates", folder / "updates", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(PROJECT / "deploy.py", folder)
        shutil.copy(PROJECT / ".gitignore", folder)
        (folder / "requirements.txt").write_text("")
        (folder / "config.ini").write_text("# delivered\n[General]\npower = 40\n")
        git(folder, "init", "-q", "-b", "main")
        self.commit()

    def commit(self, behaviour: str = "", **files: str) -> str:
        """One more release; `behaviour` is added to behaviour.py, `files` replaces others (a__b is a.b)."""
        plain = (STANDIN / "behaviour.py").read_text()
        stamp = f"# {time.monotonic_ns()}\n"  # no two releases are alike
        (self.folder / "behaviour.py").write_text(plain + behaviour + stamp)
        for name, text in files.items():
            (self.folder / name.replace("__", ".")).write_text(text)
        git(self.folder, "add", "-A")
        git(self.folder, "commit", "-qm", "a release")
        return self.head

    @property
    def head(self) -> str:
        return git(self.folder, "rev-parse", "HEAD")


class Site:
    """HOME, and what a person types there."""

    def __init__(self, folder: Path, remote: Remote, venv: Path) -> None:
        git(folder.parent, "clone", "-q", str(remote.folder), str(folder))
        self.home, self.remote = Home(folder), remote
        self.first = remote.head
        self.home.local.write_text(LOCAL)
        self.home.venvs.mkdir()
        (self.home.venvs / venv.name).symlink_to(venv)
        self.programs = folder.parent / "bin"
        self.programs.mkdir()
        self.program("systemctl", "exit 1")
        self.program("nice", 'shift 2; exec "$@"')  # behind everything else would be behind all other tests

    def program(self, name: str, script: str) -> None:
        """A program that is found before the machine's own."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **ENVIRONMENT, "PATH": f"{self.programs}:{os.environ['PATH']}", "PYTHONPATH": ""}

    def command(self, *words: str) -> list[str]:
        """deploy.py of the project, for this site."""
        return [sys.executable, str(PROJECT / "deploy.py"), "--config", str(self.home.config), *words]

    def deploy(self, *words: str) -> tuple[int, str]:
        """deploy.py in this process, which is quicker: exit code and what it said."""
        with redirect_stdout(StringIO()) as said, mock.patch.dict(os.environ, self.environment):
            code = deploy.main(["--config", str(self.home.config), *words])
        return code, said.getvalue()

    def typed(self, *words: str, limit_s: float = LIMIT_S) -> tuple[int, str]:
        """The same, typed in HOME."""
        return self.run([sys.executable, str(self.home.folder / "deploy.py"), *words], limit_s)

    def run(self, command: list[str], limit_s: float = LIMIT_S) -> tuple[int, str]:
        done = subprocess.run(
            command, cwd=self.home.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=limit_s, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    def popen(self, command: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, cwd=self.home.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def start(self) -> None:
        """`python main.py` in HOME, on its own."""
        with (self.home.folder / "start.log").open("wb") as output:
            subprocess.Popen(
                [sys.executable, "main.py"], cwd=self.home.folder, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        wait_for(self.fresh_status, f"it runs: {(self.home.folder / 'start.log').read_text()}")

    def fresh_status(self) -> dict[str, Any] | None:
        """status.json of a station that runs now."""
        try:
            status: dict[str, Any] = json.loads(self.home.status.read_text())
            lives = Path(f"/proc/{status['pid']}/cmdline").read_bytes() != b""  # else dead, and nobody has asked how
        except (OSError, ValueError):
            return None
        fresh = abs(datetime.now(UTC).timestamp() - status["ts"]) < 1.0 and is_held(self.home.main_lock)
        return status if fresh and lives else None

    @property
    def runs(self) -> str:
        """The commit that says it runs, in full."""
        status = wait_for(self.fresh_status, "the station runs")
        return next(name for name in [*self._releases(), self.first] if name.startswith(status["commit"]))

    def _releases(self) -> list[str]:
        return [path.name for path in self.home.releases.glob("*")]

    @property
    def journal(self) -> Journal:
        return load(self.home)

    @property
    def settings(self) -> Sections:
        return merged(self.home)

    def whole(self) -> None:
        """What `current` names is complete."""
        running = self.home.running()
        if running:
            assert damage(self.home.release(running)) is None
            assert (self.home.config).read_bytes() == (self.home.release(running) / "config.ini").read_bytes()

    def pretend(self, **keys: object) -> None:
        """What the station's status.json says instead; complete before it is seen."""
        path = self.home.folder / "pretend.json"
        path.with_suffix(".new").write_text(json.dumps(keys))
        path.with_suffix(".new").replace(path)

    def kill_all(self, number: signal.Signals = signal.SIGKILL) -> None:
        """As a power cut does: every process that works in HOME."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                here = (process / "cwd").readlink().is_relative_to(self.home.folder)
                if here and int(process.name) != os.getpid():
                    os.kill(int(process.name), number)
            except OSError:
                continue

    def stop_all(self) -> None:
        self.kill_all()
        wait_for(lambda: not is_held(self.home.main_lock) and not is_held(self.home.deploy_lock), "all have ended")


@contextmanager
def site(folder: Path, venv: Path) -> Iterator[Site]:
    made = Site(folder / "site", Remote(folder / "remote"), venv)
    try:
        yield made
    finally:
        made.stop_all()


__all__ = ["LOCAL", "Remote", "Site", "git", "shared_venv", "site", "wait_for"]
