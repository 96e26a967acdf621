"""Job: what lies where in HOME, and how a file, a link and a folder are written so that power may go at any time.

Thread: MainThread. Lock: HOME/deploy.lock (flock) over everything that writes. Units: bytes. Standard library only.
HOME is the folder that a person cloned; docs/updates.md shows it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TextIO

RELEASES = "releases"
#: What is not finished yet begins so; whoever finds it may delete it.
UNFINISHED = ".new-"
MANIFEST = ".manifest"
#: Python writes these itself, and again whenever it wants to.
BYTECODE = "__pycache__"
LOCK_TRIES = 3
LOCK_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one station."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.ini"

    @property
    def local(self) -> Path:
        return self.folder / "config.local.ini"

    @property
    def mirror(self) -> Path:
        return self.folder / "mirror.git"

    @property
    def releases(self) -> Path:
        return self.folder / RELEASES

    @property
    def venvs(self) -> Path:
        return self.folder / "venvs"

    @property
    def wheels(self) -> Path:
        return self.folder / "wheels"

    @property
    def current(self) -> Path:
        return self.folder / "current"

    @property
    def journal(self) -> Path:
        return self.folder / "deploy.json"

    @property
    def status(self) -> Path:
        return self.folder / "status.json"

    @property
    def told(self) -> Path:
        return self.folder / "update.json"

    @property
    def deploy_lock(self) -> Path:
        return self.folder / "deploy.lock"

    @property
    def run_lock(self) -> Path:
        return self.folder / "run.lock"

    @property
    def main_lock(self) -> Path:
        return self.folder / "main.lock"

    def release(self, commit: str) -> Path:
        return self.releases / commit

    def venv_of(self, release: Path) -> Path:
        """Shared by all releases with the same lock of packages."""
        lock = release / "requirements.txt"
        content = lock.read_bytes() if lock.is_file() else b""
        return self.venvs / hashlib.sha256(content).hexdigest()[:16]

    def python_of(self, release: Path) -> Path:
        return self.venv_of(release) / "bin" / "python"

    def door_python(self) -> str:
        """A Python that starts HOME/main.py or HOME/deploy.py, which then go on in the right one.

        Not simply our own: the venv of a program that has run for months may have been deleted by an update.
        """
        ours = Path(sys.executable)
        current = self.python_of(self.current) if self.running() else ours
        return str(next((python for python in (current, ours) if python.exists()), Path("/usr/bin/python3")))

    def running(self) -> str:
        """The commit that `current` names; "" when the clone itself runs."""
        try:
            target = Path(os.readlink(self.current))  # noqa: PTH115 - the text of the link, wherever it leads
        except OSError:
            return ""
        return target.name if target.parent.name == RELEASES else ""

    def why_unusable(self, commit: str) -> str | None:
        """What is wrong with the files or the venv of a release; None: it can be started."""
        if not commit:
            return "there is none"
        release = self.release(commit)
        if not self.python_of(release).exists():
            return f"its venv {self.venv_of(release)} is missing"
        return damage(release)


def is_release(folder: Path) -> bool:
    """This folder is releases/<commit>, perhaps by way of `current`."""
    return folder.resolve().parent.name == RELEASES and (folder / MANIFEST).is_file()


def commit_of(folder: Path) -> str:
    """The commit whose files lie in this folder: the release's own name, else git's HEAD; "" = not known."""
    if is_release(folder):
        return folder.resolve().name
    try:
        return _head(folder / ".git")
    except OSError:
        return ""


def _head(git: Path) -> str:
    """Read from the files: git itself may be missing, and it is slow to ask at every start."""
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref: "):
        return head
    name = head.removeprefix("ref: ")
    if (git / name).is_file():
        return (git / name).read_text().strip()
    for line in (git / "packed-refs").read_text().splitlines():
        commit, _, packed = line.partition(" ")
        if packed == name:
            return commit
    return ""


# --- writing --------------------------------------------------------------------------------------------------------


def write_safely(path: Path, content: bytes, like: Path | None = None) -> None:
    """Replace a file in one go: after a power cut there is the old one or the new one, whole.

    Who may read it stays as it was, or becomes as with `like`: there may be secrets in it.
    """
    temporary, model = path.with_name(f"{UNFINISHED}{path.name}"), like or path
    temporary.unlink(missing_ok=True)
    with temporary.open("wb") as file:
        if model.exists():
            os.fchmod(file.fileno(), model.stat().st_mode & 0o777)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make what was created, renamed or deleted in it last."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def sync_tree(folder: Path) -> None:
    """Make every file and folder below it last."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = Path(parent, name)
            if path.is_symlink() or not path.is_file():
                continue
            with path.open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(parent))


def link_current(home: Home, commit: str) -> None:
    """Let `current` name this release. A prepared link is renamed over it: at no time is there none."""
    prepared = home.folder / f"{UNFINISHED}current"
    prepared.unlink(missing_ok=True)
    prepared.symlink_to(Path(RELEASES, commit))
    prepared.replace(home.current)
    sync_folder(home.folder)


def delete(folder: Path) -> None:
    """A folder and all in it. It loses its name first, so that half of it is never taken for the whole."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.is_dir():
        doomed = folder.with_name(f"{UNFINISHED}gone-{folder.name.removeprefix(UNFINISHED)}")
        shutil.rmtree(doomed, ignore_errors=True)
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def delete_unfinished(home: Home) -> None:
    """What a power cut left half made."""
    for folder in (home.releases, home.venvs):
        for path in folder.glob(f"{UNFINISHED}*"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


# --- the manifest ---------------------------------------------------------------------------------------------------


def write_manifest(release: Path) -> None:
    """One line a file, as `sha256sum -c` reads it."""
    lines = [f"{_digest(path)}  {path.relative_to(release)}\n" for path in _files(release)]
    (release / MANIFEST).write_text("".join(lines))


def damage(release: Path) -> str | None:
    """The first file that is not as its manifest says; None: the release is whole."""
    try:
        lines = (release / MANIFEST).read_text().splitlines()
    except (OSError, ValueError):
        return f"{release} has no manifest"
    if not lines:
        return f"the manifest of {release} is empty"
    for line in lines:
        digest, _, name = line.partition("  ")
        try:
            good = _digest(release / name) == digest
        except OSError:
            return f"{release / name} is missing"
        if not good:
            return f"{release / name} is not as its manifest says"
    return None


def _files(release: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(release):
        folders[:] = sorted(folder for folder in folders if folder != BYTECODE)
        for name in sorted(names):
            if name != MANIFEST:
                yield Path(parent, name)
        yield from (Path(parent, folder) for folder in folders if Path(parent, folder).is_symlink())


def _digest(path: Path) -> str:
    if path.is_symlink():
        return hashlib.sha256(os.fsencode(path.readlink())).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- locks ----------------------------------------------------------------------------------------------------------


def take_lock(path: Path) -> TextIO | None:
    """Hold this lock until the file is closed or the process ends; None: somebody else holds it.

    It is tried more than once: whoever asks `is_held` in this moment holds it for some microseconds too.
    """
    lock = path.open("a+")
    pause = Event()
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pause.wait(LOCK_PAUSE_S)
        else:
            return lock
    lock.close()
    return None


def is_held(path: Path) -> bool:
    """Somebody holds this lock. Asks with a shared lock, which is gone before the answer is (see take_lock)."""
    try:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
