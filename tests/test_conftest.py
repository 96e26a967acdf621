"""The watch over the tests can fail: a skip on the gate, a thread and a CAN bus that a test leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")
SAMPLES = '''
import threading

import can
import pytest

KEPT = []


def test_leaves_a_thread():
    threading.Thread(target=threading.Event().wait, args=(9,), name="simulated-plant", daemon=True).start()


def test_leaves_a_bus():
    KEPT.append(can.Bus(interface="virtual", channel="left"))


def test_ends_what_it_started():
    with can.Bus(interface="virtual", channel="closed"):
        pass
    thread = threading.Thread(target=threading.Event().wait, args=(0.05,), name="can-rx")
    thread.start()


def test_skips():
    pytest.skip("mosquitto is not installed")


@pytest.mark.skip(reason="accepted: no such hardware here")
def test_skips_with_a_known_reason():
    pass


@pytest.mark.xfail(reason="known")
def test_expected_to_fail():
    assert False
'''


def run(folder: Path, ci: str) -> str:
    """The report of pytest over the samples."""
    (folder / "conftest.py").write_text(CONFTEST.read_text().replace("END_S = 2.0", "END_S = 0.2"))
    (folder / "test_samples.py").write_text(SAMPLES)
    (folder / "test_module.py").write_text("import pytest\npytest.skip('not here', allow_module_level=True)\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "-q"]
    command += ["--rootdir", ".", "--continue-on-collection-errors", "."]
    environment = {**os.environ, "CI": ci, "PYTEST_ADDOPTS": "", "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("ci", ["true", ""])
def test_leaks_always_fail_and_skips_fail_on_the_gate(tmp_path: Path, ci: str) -> None:
    lines = run(tmp_path, ci).splitlines()

    def ended(start: str) -> bool:
        return any(line.startswith(start) for line in lines)

    assert ended("ERROR test_samples.py::test_leaves_a_thread - AssertionError: threads outlive the test: simulated-pl")
    assert ended("ERROR test_samples.py::test_leaves_a_bus - AssertionError: virtual CAN buses outlive the test: left")
    assert ended("PASSED test_samples.py::test_ends_what_it_started")
    assert not ended("ERROR test_samples.py::test_ends_what_it_started")
    assert ended("FAILED test_samples.py::test_skips ") is (ci == "true")
    assert ended("ERROR test_module.py") is (ci == "true")
    assert ended("XFAIL test_samples.py::test_expected_to_fail")
    skipped = [line for line in lines if line.startswith("SKIPPED")]
    assert any("accepted: no such hardware here" in line for line in skipped)
    assert len(skipped) == (1 if ci == "true" else 3)
