"""Job: status.json for other programs, station_state.json for the next start, and update.json, which deploy.py writes.

Thread: `status`; MainThread writes the last time, behind the safe door. Lock: none. Units: s.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from kept_files import write_json
from planning.model import StationState
from station import VERSION, Station
from updates.home import commit_of
from worker import Clock

STATUS_S = 1.0
#: So much of a commit's name goes into status.json, by which deploy.py knows which release speaks.
COMMIT_LETTERS = 12
#: What counts up (hours, operations) is written this often.
KEEP_S = 60.0


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


class UpdateFile:
    """update.json, which deploy.py writes: what is new in it, or to a broker that may not know it. Thread `status`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "update.json"
        self._told: bytes | None = None

    def news(self, connected: bool) -> Mapping[str, object] | None:
        """What has to be told now; None: nothing, or the file cannot be understood."""
        if not connected:
            self._told = None
            return None
        try:
            content = self._path.read_bytes()
            if content == self._told:
                return None
            self._told = content
            update = json.loads(content)
        except (OSError, ValueError, RecursionError):
            return None
        return update if isinstance(update, dict) else None


class StatusFile:
    """status.json every second, and station_state.json when what is kept has changed.

    Thread `status`: a disk may stall for seconds, and nobody who watches over threads may wait for it.
    """

    def __init__(self, station: Station, folder: Path, clock: Clock) -> None:
        self._station, self._folder, self._clock = station, folder, clock
        commit = commit_of(Path(__file__).parent)[:COMMIT_LETTERS]
        self._about = {"pid": os.getpid(), "boot_id": boot_id(), "version": VERSION, "commit": commit}
        self._kept: Mapping[str, object] = {}
        self._kept_at_s = float("-inf")
        self._update = UpdateFile(folder)

    def step(self, now_s: float) -> float:
        """One turn; returns the seconds until the next."""
        self.write(now_s)
        content = self._update.news(self._station.mqtt.connected)
        if content is not None:
            self._station.tell_update(content)
        self._station.tell_home(now_s)
        return STATUS_S

    def write(self, now_s: float, ended: bool = False) -> None:
        """Both files now. `ended`: the last time, behind the safe door."""
        content = {"ts": round(self._clock.wall_s(), 3), **self._about, **self._station.status()}
        if ended:
            content["state"] = StationState.OFFLINE.value
        written = write_json(self._folder / "status.json", content)
        self._keep(now_s, ended)
        if not written:
            self._station.disk_failed()

    def _keep(self, now_s: float, ended: bool) -> None:
        """A command at once, what counts up once a minute: each write wears the card."""
        kept = self._station.core.demand.kept()
        commanded = kept.get("site_limit_kw") != self._kept.get("site_limit_kw")
        due = ended or commanded or now_s - self._kept_at_s >= KEEP_S
        if due and kept != self._kept and write_json(self._folder / "station_state.json", kept):
            self._kept, self._kept_at_s = kept, now_s
