"""Job: a process started beside the interpreter lock: pipes, folder, session, exit codes, errors.

Thread: the test's. Lock: none. Units: s.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitoring.spawn import Process


class Started:
    """Processes of one test; all of them end with it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._all = folder, []  # type: ignore[var-annotated]

    def __call__(self, script: str, **environment: str) -> Process:
        made = Process([sys.executable, "-S", "-c", script], self._folder, {**os.environ, **environment})
        self._all.append(made)
        return made

    def end(self) -> None:
        for each in self._all:
            each.signal(signal.SIGKILL)
            each.wait(5.0)
            each.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Started]:
    made = Started(tmp_path)
    yield made
    made.end()


def said(descriptor: int) -> bytes:
    """All of it, up to the end."""
    found = b""
    while data := os.read(descriptor, 65536):
        found += data
    return found


def test_its_pipes_its_folder_and_its_environment(start: Started, tmp_path: Path) -> None:
    script = "import os, sys\nprint(os.getcwd(), os.environ['WORD'], sys.stdin.read())\nprint('no', file=sys.stderr)"
    process = start(script, WORD="ä b")
    os.write(process.stdin, b"told")
    process.close_stdin()
    assert said(process.stdout).decode() == f"{tmp_path} ä b told\n"
    assert said(process.stderr) == b"no\n"
    assert process.wait(5.0) and process.poll() == 0


def test_it_leads_a_group_of_its_own_within_our_session_and_has_no_descriptor_of_ours(start: Started) -> None:
    with Path("/dev/null").open() as held:
        process = start("import os\nprint(os.getpgid(0) == os.getpid(), sorted(os.listdir('/proc/self/fd')))")
        assert os.getsid(process.pid) == os.getsid(0), "else `nice` would not count against us"
        words = said(process.stdout).decode()
        assert held.fileno() > 2
    assert words == "True ['0', '1', '2', '3']\n"  # 3 is the listing itself


@pytest.mark.parametrize(("script", "code"), [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", -9)])
def test_how_it_ended(start: Started, script: str, code: int) -> None:
    process = start(script)
    assert process.wait(5.0)
    assert process.poll() == code
    process.signal(signal.SIGKILL)  # it is buried: nobody else is hit


def test_one_that_runs_on(start: Started) -> None:
    process = start("import sys; sys.stdin.read()")
    assert process.poll() is None and not process.wait(0.05)
    process.close_stdin()
    assert process.wait(5.0) and process.poll() == 0


def test_what_cannot_be_started_leaves_nothing_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    for command, folder in ((["/nowhere/python"], tmp_path), ([sys.executable], tmp_path / "nowhere")):
        with pytest.raises(OSError, match="No such file"):
            Process(command, folder, {})
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208
