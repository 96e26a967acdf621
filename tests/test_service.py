"""Job: what systemd hears of the station, over a socket as systemd gives one, and what the unit in contrib/ allows.

Thread: the test's. Lock: none. Units: none.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from service import Service

CONTRIB = Path(__file__).parent.parent / "contrib"
UNIT = CONTRIB / "vesec-station.service"
UNITS = [UNIT, CONTRIB / "vesec-deploy.service"]
MOST_EXPOSURE = 2.0


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """The far end of NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.settimeout(1.0)
        made.bind(str(tmp_path / "notify"))
        yield made


def test_it_speaks_as_sd_notify_does(systemd: socket.socket) -> None:
    service = Service(systemd.getsockname())
    service.ready()
    service.alive("ready, 0 contactors closed")
    service.stopping("SIGTERM received")
    heard = [systemd.recv(1000).decode() for _ in range(3)]
    assert heard == [
        "READY=1",
        "WATCHDOG=1\nSTATUS=ready, 0 contactors closed",
        "STOPPING=1\nSTATUS=SIGTERM received",
    ]


def test_an_abstract_socket_is_named_with_an_at_sign() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as far:
        far.settimeout(1.0)
        far.bind("\0station-test-notify")
        Service("@station-test-notify").ready()
        assert far.recv(100) == b"READY=1"


def test_the_address_is_taken_out_of_the_environment(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", systemd.getsockname())
    Service().ready()
    assert systemd.recv(100) == b"READY=1"
    assert Service()._socket is None, "no child of ours speaks for the service"


def test_without_systemd_and_with_a_dead_one_nothing_happens(tmp_path: Path) -> None:
    Service("").ready()
    Service(str(tmp_path / "nobody")).alive("ready")


# --- the unit ---------------------------------------------------------------------------------------------------------


def unit(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


def test_the_unit_restarts_and_watches_the_station() -> None:
    assert (unit("Type"), unit("NotifyAccess"), unit("Restart")) == (["notify"], ["main"], ["always"])
    assert unit("StartLimitIntervalSec") == ["0"], "a station that gave up is no station"
    assert 1 <= int(unit("WatchdogSec")[0]) <= 10
    assert int(unit("TimeoutStopSec")[0]) >= 5, "the safe door needs 3 s"


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("accepted: systemd-analyze is not on this machine")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_the_unit_is_hardened(path: Path) -> None:
    said = analyze("security", "--offline=true", str(path)).stdout
    exposure = re.search(r"exposure level for \S+: ([\d.]+)", said)
    assert exposure is not None, said
    print(f"exposure {exposure[1]}")
    assert float(exposure[1]) <= MOST_EXPOSURE


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_systemd_understands_the_unit(path: Path) -> None:
    said = analyze("verify", "--man=no", str(path))
    known = ("/opt/vesec", "Failed to prepare", "not executable")  # the program is not installed on this machine
    complaints = [line for line in said.stderr.splitlines() if line.strip() and not any(k in line for k in known)]
    assert complaints == []
