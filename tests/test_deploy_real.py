"""The real program updated by the real deploy.py: plant, broker and git as on site.

Thread: the test's. Lock: none. Units: s (monotonic).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any
from unittest import mock

import pytest
from deploy_rig import ENVIRONMENT, PROJECT, git, wait_for
from mosquitto import Peer
from rig import FAST, Rig, gpio_of, rig

from updates.home import Home, damage, is_held

#: What a site needs; tests and the simulator stay at home.
DELIVERED = ("planning", "protocols", "commissioning", "monitoring", "updates")
DEPLOY = "[Dashboard]\nenabled = false\n[Deploy]\nidle_for = 0\nhealth_timeout = 30\nstable_for = 2\n"
PUSH_TO_ARMED_S = 30.0
#: Two starts of the program and what is between them; beside five other workers one start alone took 15 s.
THERE_AND_BACK_S = 90.0

pytestmark = [pytest.mark.mosquitto, pytest.mark.process]


@dataclass(frozen=True, slots=True)
class Site:
    """A clone whose station runs on `plant`; what is committed to `program` is new there."""

    home: Home
    program: Path
    plant: Rig



def remote(folder: Path) -> Path:
    """A repository with the program as it is here."""
    folder.mkdir()
    for name in DELIVERED:
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (*PROJECT.glob("*.py"), PROJECT / "requirements.txt", PROJECT / "config.ini", PROJECT / ".gitignore"):
        shutil.copy(path, folder)
    git(folder, "init", "-q", "-b", "main")
    commit(folder)
    return folder


def commit(folder: Path) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "a release")
    return git(folder, "rev-parse", "HEAD")


def status(home: Home) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(home.status.read_text())
    except (OSError, ValueError):
        return {}
    return content if is_held(home.main_lock) else {}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A clone that runs on its simulated plant, and the repository that it came from."""
    program = remote(tmp_path / "remote")
    git(tmp_path, "clone", "-q", str(program), "site")
    home = Home(tmp_path / "site")
    home.venvs.mkdir()
    home.venv_of(home.folder).symlink_to(sys.prefix)  # the packages are those of the tests
    with rig(tmp_path, local="", start=False) as here, mock.patch.dict(os.environ, gpio_of(here.plant.folder)):
        home.local.write_text((here.plant.folder / "config.ini").read_text() + FAST + DEPLOY)
        try:
            code, said = deploy(home)  # starts what was cloned
            assert code == 0, said
            wait_for(lambda: _armed(home, git(home.folder, "rev-parse", "HEAD")), "the clone runs")
            yield Site(home, program, here)
        finally:
            _stop(home)


def test_the_station_is_updated_and_a_bad_version_is_taken_back(site: Site) -> None:
    heard: list[dict[str, Any]] = []
    with site.plant.peer("vesec/station/update/central") as peer:
        _updates(site.home, site.program)
        told = wait_for(lambda: _told(peer, heard), "the station has told how it ended", THERE_AND_BACK_S)
    assert "current" in [each["state"] for each in told]
    assert set(told[-1]) == {"ts", "state", "running", "available", "reason"}


@pytest.mark.soak
def test_ten_pushes(site: Site) -> None:
    took_s = sorted(_push(site.home, site.program, number)[1] for number in range(10))
    print(f"push to armed: n=10, p50 {took_s[5]:.1f}, max {took_s[-1]:.1f} s")


def _told(peer: Peer, told: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """What came on MQTT, once the last of it is the way back."""
    with suppress(Empty):
        while True:
            told.append(json.loads(peer.heard.get_nowait()[1]))
    return told if told and told[-1]["state"] == "rolled_back" else None


def _push(home: Home, program: Path, number: int) -> tuple[str, float]:
    """One more version: its commit, and the seconds from the push to its being armed."""
    station = program / "station.py"
    station.write_text(station.read_text().replace('VERSION = "', f'VERSION = "{number}.'))
    pushed_at_s = time.monotonic()
    newest = commit(program)
    update = subprocess.Popen(
        command(home, "update"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, **ENVIRONMENT},
    )  # fmt: skip
    wait_for(lambda: _armed(home, newest), "the new version is armed", PUSH_TO_ARMED_S)
    armed_s = time.monotonic() - pushed_at_s
    said, _ = update.communicate(timeout=60)
    assert update.returncode == 0, said
    print(f"push to armed: {armed_s:.1f} s")
    return newest, armed_s


def _updates(home: Home, program: Path) -> None:
    first = status(home)
    newest, _ = _push(home, program, 9)
    new = status(home)
    assert (new["version"], new["commit"]) == (f"9.{first['version']}", newest[:12])
    assert new["modules_heard"] == first["modules_heard"] == 9
    assert damage(home.release(newest)) is None

    # the next one imports and checks well, and says nothing to its modules any more
    station = program / "station.py"
    station.write_text(station.read_text().replace("self.modules.start()", "pass"))
    bad = commit(program)
    code, said = deploy(home, "update")
    assert code == 3, said
    assert bad[:12] in said
    wait_for(lambda: _armed(home, newest), "the version before runs again")


def _armed(home: Home, commit: str) -> bool:
    now = status(home)
    return bool(now) and commit.startswith(now["commit"]) and now["armed"] and now["mqtt"]


def command(home: Home, *words: str) -> list[str]:
    return [sys.executable, str(home.folder / "deploy.py"), *words]


def deploy(home: Home, *words: str) -> tuple[int, str]:
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run(
        command(home, *words), capture_output=True, text=True, timeout=90, check=False, env=environment
    )
    return done.returncode, done.stdout + done.stderr


def _stop(home: Home) -> None:
    if is_held(home.main_lock):
        os.kill(status(home)["pid"], 15)
        wait_for(lambda: not is_held(home.main_lock), "it ends through the safe door")
