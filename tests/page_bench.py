"""Job: what tests of the page need: a station's view as the control process hands it over, and a page process alone.

Thread: the test's. Lock: none. Units: kW, s.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from pathlib import Path

from mosquitto import free_port

from monitoring.feed import About, Feed, Seen, Words, line
from monitoring.schema import Line
from simulator.virtual import VirtualStation

PROJECT = Path(__file__).resolve().parents[1]
#: The virtual station begins at 0 s; this is the Unix time of that.
OFFSET_S = 1000.0


def about_of(station: VirtualStation) -> About:
    settings = station.settings
    general = settings.general
    return About(
        general.station_id, "0.0", "a-run", OFFSET_S, general.module_power_capacity_kw,
        settings.power_limits.gun_max_power_kw, settings.devices.guns, general.module_count,
    )  # fmt: skip


def seen_of(station: VirtualStation) -> Seen:
    """As monitoring/attach.py takes it from the running station."""
    demand, counts = station.core.demand, station.core.messages.counts
    view, health, outlook = demand.view(), demand.health(), demand.foresee()
    assert view is not None
    now_s = station.clock.time_s
    details = station.modules.details() if hasattr(station, "modules") else ()
    return Seen(
        view=view, now_s=now_s, wall_s=OFFSET_S + now_s, armed=health.armed, modules_heard=health.modules_heard,
        contactors_closed=health.contactors_closed, stepped_at_s=health.stepped_at_s, mqtt=True,
        accepted=counts.accepted, rejected={reason.value: n for reason, n in counts.rejected.items()},
        details=details, losses_kw=outlook.losses_kw if outlook is not None else {},
    )  # fmt: skip


def line_of(station: VirtualStation, feed: Feed | None = None, **more: object) -> Line:
    """One line of the station as it is now, as the page process reads it."""
    feed = feed or Feed(about_of(station))
    seen = seen_of(station)
    feed.count(seen.view)
    content: Words = {"snapshot": feed.snapshot(seen), **more}
    return Line.model_validate_json(line(content))


class PageProcess:
    """`python -m monitoring` without a station: the test says what the control process would."""

    def __init__(self, folder: Path, **setup: object) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "monitoring"], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=(folder / "page.err").open("wb"), bufsize=0,
        )  # fmt: skip
        history = {"url": "sqlite:///history.db", "retention_days": 365, "max_megabytes": 500}
        first = {
            "station_id": "vesec-1", "host": "127.0.0.1", "port": self.port, "ports_tried": 1, "token_file": None,
            "folder": str(folder), "history": history, **setup,
        }  # fmt: skip
        self.write(line(first))

    def write(self, content: bytes) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(content)

    def tell(self, told: Line) -> None:
        self.write(told.model_dump_json().encode() + b"\n")

    def word(self) -> dict[str, object]:
        """The next line that it says."""
        assert self.popen.stdout is not None
        said: dict[str, object] = json.loads(self.popen.stdout.readline())
        return said

    @property
    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        return next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmRSS")) / 1024.0

    def close_stdin(self) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.close()

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait(5.0)
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class Teller:
    """Tells a page process the same snapshot again, each half second, as a station would."""

    def __init__(self, page: PageProcess, told: Line, every_s: float = 0.5) -> None:
        self._page, self._told, self._every_s = page, told, every_s
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="page-teller", daemon=True)
        self.seq = 0

    def __enter__(self) -> Teller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        assert self._told.snapshot is not None
        while not self._ending.wait(self._every_s):
            self.seq += 1
            snapshot = self._told.snapshot.model_copy(update={"seq": self.seq})
            with contextlib.suppress(OSError, ValueError):
                self._page.tell(Line(snapshot=snapshot))
