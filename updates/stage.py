"""Job: a release and its venv, made beside the running one under names that nobody starts, and tried out there.

Thread: MainThread. Lock: HOME/deploy.lock. Units: s, bytes. Nothing here touches what runs: a power cut leaves a folder
that begins with .new-, and the next update begins anew.
"""

from __future__ import annotations

import compileall
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from updates import site
from updates.home import UNFINISHED, Home, damage, delete, sync_folder, sync_tree, write_manifest, write_safely
from updates.journal import Journal
from updates.mirror import GitFailed, Mirror
from updates.terms import Refused, Say, short

#: Room that a release needs, and a venv with its wheels.
RELEASE_BYTES, VENV_BYTES = 50_000_000, 150_000_000
SAY_S = 10.0
#: pip over a mobile link.
PIP_LIMIT_S = 1200.0
VENV_LIMIT_S = 300.0
IMPORT_LIMIT_S = 120.0
CHECK_LIMIT_S = 60.0
#: What a site does not have the packages for.
NOT_ON_SITE = {"tests", "bench", "docs", "simulator"}
IMPORT_ALL = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n"
_REQUIREMENT = re.compile(r"^[A-Za-z0-9]", re.MULTILINE)
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


class Unfit(Refused):
    """The release itself is at fault: it is not tried again."""


@dataclass(frozen=True, slots=True)
class Done:
    """A program that was run."""

    code: int | None  # None: it took too long and was killed
    output: str

    @property
    def last_line(self) -> str:
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return lines[-1][:300] if lines else "it said nothing"

    @property
    def why(self) -> str:
        return f"took too long. {self.last_line}" if self.code is None else self.last_line


def run_limited(command: Sequence[str | Path], folder: Path, limit_s: float, say: Say | None = None) -> Done:
    """Run a program to its end, behind everything else; one that takes longer is killed with all that it started.

    `say` hears every ten seconds that it still works.
    """
    started = subprocess.Popen(
        ["nice", "-n", "10", *map(str, command)], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    waited_s = 0.0
    while True:
        wait_s = min(SAY_S, limit_s - waited_s)
        try:
            output, _ = started.communicate(timeout=wait_s)
            return Done(started.returncode, output.decode(errors="replace"))
        except subprocess.TimeoutExpired:
            waited_s += wait_s
        if waited_s >= limit_s:
            os.killpg(started.pid, signal.SIGKILL)
            output, _ = started.communicate()
            return Done(None, output.decode(errors="replace"))
        if say is not None:
            say(f"... {waited_s:.0f} s")


def check_room(home: Home, needed_bytes: int) -> None:
    """Raises Refused when the disk has too little room."""
    free = shutil.disk_usage(home.folder).free
    if free < needed_bytes:
        raise Refused(
            f"Only {free // 1_000_000} MB are free at {home.folder}, an update needs {needed_bytes // 1_000_000} MB. "
            "Delete old logs (inputs-*.log, debug.log.*) or get a larger card"
        )


# --- the files ------------------------------------------------------------------------------------------------------


def make_release(mirror: Mirror, commit: str) -> Path:
    """releases/<commit>, whole and lasting. Raises Refused."""
    home, release = mirror.home, mirror.home.release(commit)
    if release.exists() and damage(release) is None:
        return release
    delete(release)
    unfinished = home.releases / f"{UNFINISHED}{commit}"
    try:
        delete(unfinished)
        unfinished.mkdir(parents=True)
        mirror.export(commit, unfinished)
        _compile(unfinished, release)
        write_manifest(unfinished)
        sync_tree(unfinished)
        unfinished.rename(release)
        sync_folder(home.releases)
    except (OSError, GitFailed, tarfile.TarError) as error:
        delete(unfinished)
        raise Refused(f"Release {short(commit)} could not be written: {error}. Nothing was changed") from error
    return release


def _compile(unfinished: Path, release: Path) -> None:
    """Bytecode lies on the disk before the first start: what Python writes by itself may be torn by a power cut."""
    left_out = re.compile("|".join(f"/{name}/" for name in sorted(NOT_ON_SITE)))
    compileall.compile_dir(unfinished, quiet=2, rx=left_out, stripdir=str(unfinished), prependdir=str(release))


# --- the venv -------------------------------------------------------------------------------------------------------


def make_venv(home: Home, release: Path, say: Say) -> None:
    """The venv of this release's lock; releases with the same lock share it. Raises Refused."""
    venv = home.venv_of(release)
    if (venv / "bin" / "python").exists():
        return
    check_room(home, RELEASE_BYTES + VENV_BYTES)
    say("The packages have changed: making a venv (this takes minutes)")
    unfinished = home.venvs / f"{UNFINISHED}{venv.name}"
    try:
        delete(venv)
        delete(unfinished)
        home.venvs.mkdir(exist_ok=True)
        _fill(home, release, unfinished, say)
        sync_tree(unfinished)
        unfinished.rename(venv)
        sync_folder(home.venvs)
    except OSError as error:
        delete(unfinished)
        raise Refused(f"The venv could not be written: {error}. Nothing was changed") from error


def _fill(home: Home, release: Path, venv: Path, say: Say) -> None:
    lock = release / "requirements.txt"
    wanted = lock.is_file() and _REQUIREMENT.search(lock.read_text()) is not None
    options = ["--system-site-packages"] if _system_has_gpio() else []
    if not wanted:
        options.append("--without-pip")
    _must(run_limited([_base_python(), "-m", "venv", *options, venv], home.folder, VENV_LIMIT_S), "No venv")
    if not wanted:
        return
    pip = [str(venv / "bin" / "python"), "-m", "pip"]
    common = ["--quiet", "--require-hashes", "--only-binary", ":all:", "-r", str(lock)]
    say("Fetching the packages")
    _must(
        run_limited([*pip, "download", "--dest", str(home.wheels), *common], home.folder, PIP_LIMIT_S, say),
        "The packages could not be fetched",
    )
    say("Installing the packages")
    _must(
        run_limited(
            [*pip, "install", "--no-index", "--find-links", str(home.wheels), *common], home.folder, PIP_LIMIT_S, say
        ),
        "The packages could not be installed",
    )


def prune_wheels(home: Home, kept: Sequence[Path]) -> None:
    """Delete the downloaded packages that none of these releases asks for."""
    asked = {pin for release in kept for pin in _pins(release / "requirements.txt")}
    for wheel in home.wheels.glob("*.whl"):
        name, version, *_ = wheel.name.split("-")
        if (_plain_name(name), version) not in asked:
            wheel.unlink(missing_ok=True)


def _pins(lock: Path) -> list[tuple[str, str]]:
    text = lock.read_text() if lock.is_file() else ""
    return [(_plain_name(name), version) for name, version in _PIN.findall(text)]


def _plain_name(name: str) -> str:
    """Wheels write python_can where locks write python-can."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _must(done: Done, what: str) -> None:
    if done.code != 0:
        raise Refused(f"{what}: {done.why}. Nothing was changed")


def _base_python() -> Path:
    """The operating system's Python, whatever venv this program itself runs in."""
    base = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    return base if base.exists() else Path(sys.executable)


def _system_has_gpio() -> bool:
    """The GPIO library is the operating system's own package, so the venv must see it (as make .venv does)."""
    look = "import importlib.util as u, sys; sys.exit(u.find_spec('RPi') is None)"
    return run_limited([_base_python(), "-I", "-c", look], Path("/"), CHECK_LIMIT_S).code == 0


# --- trying it out --------------------------------------------------------------------------------------------------


def try_out(home: Home, journal: Journal, commit: str) -> None:
    """Import everything, start deploy.py, and check the site's settings. Raises Unfit, Refused."""
    release = home.release(commit)
    python = home.python_of(release)
    imported = run_limited([python, "-c", IMPORT_ALL, *modules(release)], release, IMPORT_LIMIT_S)
    if imported.code != 0:
        raise Unfit(f"it cannot be imported: {imported.why}")
    helped = run_limited([python, release / "deploy.py", "--help"], release, CHECK_LIMIT_S)
    if helped.code != 0:
        raise Unfit(f"deploy.py does not start: {helped.why}")
    _check_settings(home, journal, release)
    why = damage(release)
    if why is not None:
        raise Unfit(f"it changed its own files when it was tried: {why}")


def modules(release: Path) -> list[str]:
    """Every module that a site may load."""
    found = []
    for path in sorted(release.rglob("*.py")):
        place = path.relative_to(release)
        packages = [parent for parent in place.parents if parent.name]
        whole = all((release / package / "__init__.py").exists() for package in packages)
        if place.parts[0] in NOT_ON_SITE or not whole or path.name == "__main__.py":
            continue
        found.append(".".join(place.parent.parts if path.name == "__init__.py" else place.with_suffix("").parts))
    return [name for name in found if name]


def _check_settings(home: Home, journal: Journal, release: Path) -> None:
    """main.py --check with the site's settings. What is wrong with the running release too is not its fault."""
    trial, local_trial = home.folder / site.TRIAL, home.folder / site.LOCAL_TRIAL
    try:
        write_safely(trial, (release / "config.ini").read_bytes())
        text = site.fitting(home, release, journal.settings_version)
        if text is not None:
            write_safely(local_trial, text.encode(), like=home.local)
        checked = _check(home, release, trial)
    except OSError as error:
        raise Refused(f"The settings could not be tried: {error}") from error
    finally:
        trial.unlink(missing_ok=True)
        local_trial.unlink(missing_ok=True)
    if checked.code == 0:
        return
    before = _check(home, home.release(journal.last_good), home.config)
    if _cannot_read(checked):
        if _cannot_read(before):
            raise Refused(f"The settings have to be mended before an update: {before.why}")
        raise Unfit(f"main.py --check does not take the settings: {checked.why}")
    new = [line for line in _problems(checked) if line not in _problems(before)]
    if new:
        raise Unfit(f"main.py --check: {new[0][:300]}")


def _check(home: Home, release: Path, config: Path) -> Done:
    command = [str(home.python_of(release)), str(release / "main.py"), "--check", "--config", str(config)]
    done = run_limited(command, home.folder, CHECK_LIMIT_S)
    return Done(done.code, done.output.replace(site.LOCAL_TRIAL, home.local.name).replace(site.TRIAL, home.config.name))


def _problems(checked: Done) -> list[str]:
    """What --check found wrong with the site, be it settings in force or the hardware."""
    return [line for line in checked.output.splitlines() if line.startswith("Problem: ")]


def _cannot_read(checked: Done) -> bool:
    """It did not come as far as looking at the site: the settings are wrong, or the program is."""
    return checked.code != 0 and not _problems(checked)
