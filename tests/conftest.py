"""What holds for every test: on the gate (CI=true) nothing is skipped unnoticed, and no test leaves a thread or bus."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from tests.history_places import PostgresServer

#: A skip whose reason begins with this is known and wanted, on the gate too.
ACCEPTED = "accepted:"
#: Names, or beginnings of names, of threads that the station, its simulator and the tests' own helpers start.
OUR_THREADS = (
    "control", "can-rx", "can-tx", "mqtt-out", "mqtt-loop-stop", "paho-mqtt-client", "log", "history", "dashboard",
    "status", "off-by-hand", "onlook", "feed", "gpio-edges", "simulated-", "socketcand", "broker",
    "fake-broker", "fake-client", "fault-proxy",
)  # fmt: skip
#: Files whose tests need a core for many seconds each; those of the mark "process" mostly wait for real processes.
BUSY_FILES = ("test_hours.py", "test_station_machine.py", "test_explorer.py", "test_restart_anywhere.py")
#: The last of these begins when so much of all has run: a long one that begins last is waited for by all workers.
EARLY = 0.8
#: Files whose tests share what takes seconds to make: one worker runs all of them.
SHARING_FILES = (
    "test_what_if.py", "test_replay.py", "test_decision.py", "test_page_server.py", "test_history_api.py",
)  # fmt: skip
#: So many stations of real processes at a time: more of them on two cores disturb each other's times.
STATIONS_AT_ONCE = 3
#: Where tests put their files when it has so much room: the simulated plant stands for metal, which waits for no disk,
#: and a disk that is still busy with the packages just installed held it up for three seconds.
MEMORY_DISK, ROOM = Path("/dev/shm"), 256 * 1024**2
#: A thread that was told to end has this long to do so.
END_S = 2.0

if MEMORY_DISK.is_dir() and os.access(MEMORY_DISK, os.W_OK) and shutil.disk_usage(MEMORY_DISK).free >= ROOM:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY_DISK))

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(optionalhook=True)  # only xdist knows it
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Each worker takes the next test, or the next of SHARING_FILES whole; these come first."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if Path(file).name in SHARING_FILES else nodeid

    return Scheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that wait, tests that are busy and all the short ones, evenly mixed, so that they end together."""
    waiting = [item for item in items if item.get_closest_marker("process")]
    busy = [item for item in items if item.path.name in BUSY_FILES]
    busy.sort(key=lambda item: BUSY_FILES.index(item.path.name))
    long = {*waiting, *busy}
    short = [item for item in items if item not in long]
    kinds = ((waiting, EARLY), (busy, EARLY), (short, 1.0))
    place = {item: end * number / len(kind) for kind, end in kinds for number, item in enumerate(kind)}
    items.sort(key=lambda item: place[item])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, pytest.TestReport]:
    report: pytest.TestReport = yield
    # xdist hands reports on as UTF-8; a test may well have logged bytes that are none
    report.sections = [(title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections]
    return _judged(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, pytest.CollectReport]:
    report: pytest.CollectReport = yield
    return _judged(report)


def _judged(report: Report) -> Report:
    """On the gate a skip counts as a failure: a missing mosquitto must not look like a pass."""
    expected_failure = hasattr(report, "wasxfail")
    if os.environ.get("CI") == "true" and report.skipped and not expected_failure:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(ACCEPTED):
            report.outcome = "failed"
            report.longrepr = f"{report.nodeid} was skipped, and CI=true allows that only as '{ACCEPTED} ...': {reason}"
    return report


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """No thread of ours and no virtual CAN channel outlives the test that made it."""
    threads_before, channels_before = set(threading.enumerate()), _open_channels()
    yield
    left = [thread for thread in threading.enumerate() if thread not in threads_before and _is_ours(thread)]
    for thread in left:
        thread.join(END_S)
    names = sorted(thread.name for thread in left if thread.is_alive())
    channels = sorted(_open_channels() - channels_before)
    assert not names, f"threads outlive the test: {', '.join(names)}"
    assert not channels, f"virtual CAN buses outlive the test: {', '.join(channels)}"


@pytest.fixture(autouse=True)
def one_station_of_few(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A test with real processes waits until fewer than STATIONS_AT_ONCE others run, in whichever worker."""
    if request.node.get_closest_marker("process") is None:
        yield
        return
    folder, tick = tmp_path_factory.getbasetemp().parent, threading.Event()
    with ExitStack() as opened:
        places = [opened.enter_context((folder / f"station-{n}").open("w")) for n in range(STATIONS_AT_ONCE)]
        while not any(_taken(place) for place in places):
            tick.wait(0.1)
        yield


def _taken(place: IO[str]) -> bool:
    """True when this place was free and is ours until it is closed."""
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_ours(thread: threading.Thread) -> bool:
    return thread.name.startswith(OUR_THREADS)


def _open_channels() -> set[str]:
    """The channels of python-can's virtual interface on which a bus is open; a closed bus takes its channel along."""
    virtual = sys.modules.get("can.interfaces.virtual")
    return set() if virtual is None else {str(channel) for channel in virtual.channels}


# --- databases of the history -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], PostgresServer]]:
    """Call it for the PostgreSQL server of this worker; skips where Debian's packages are missing."""
    from tests.history_places import servers  # it needs libpq, which not every machine has

    yield from servers()


@pytest.fixture(params=["sqlite", "postgresql"])
def history_url(request: pytest.FixtureRequest, tmp_path: Path, postgres: Callable[[], PostgresServer]) -> str:
    """[History] url of an empty database, once of each kind."""
    return f"sqlite:///{tmp_path / 'history.db'}" if request.param == "sqlite" else postgres().new_url()
