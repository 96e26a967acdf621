"""Job: what status.json tells: may the station be stopped now, and is the new version well. From status.json only.

Thread: any. Lock: none. Units: s. Decisions without a clock: `now_s` is monotonic, `wall_s` Unix seconds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from updates.home import Home, is_held
from updates.journal import Seen

#: main.py replaces status.json every second; older is not running.
FRESH_S = 3.0
#: A disk may hold the writer up for so long before a new version counts as hanging.
SILENT_S = 6.0
#: States in which a restart takes nothing away from anybody. A latched emergency stop is for a person to reset, and a
#: restart would do it.
MAY_STOP = frozenset({"ready", "degraded", "starting"})


@dataclass(frozen=True, slots=True)
class Status:
    """One status.json. `age_s` is negative when its stamp is ahead of our clock."""

    age_s: float
    pid: int
    version: str
    commit: str
    state: str
    seen: Seen
    contactors_closed: int
    idle_s: float

    @property
    def fresh(self) -> bool:
        return abs(self.age_s) <= FRESH_S


def read_status(home: Home, wall_s: float) -> Status | None:
    """The station's last word; None when there is none that can be understood."""
    try:
        return _status(json.loads(home.status.read_text()), wall_s)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _status(content: Mapping[str, Any], wall_s: float) -> Status:
    """Raises ValueError, KeyError, TypeError: nothing is guessed."""
    return Status(
        age_s=wall_s - _finite(content["ts"]),
        pid=_whole(content["pid"]),
        version=str(content["version"]),
        commit=str(content.get("commit", "")),
        state=str(content["state"]),
        seen=_seen(content),
        contactors_closed=_whole(content["contactors_closed"]),
        idle_s=_finite(content["idle_s"]),
    )


def _seen(content: Mapping[str, Any]) -> Seen:
    armed, mqtt, can = (_yes(content[key]) for key in ("armed", "mqtt", "can"))
    return Seen(armed, mqtt, can, _whole(content["modules_heard"]))


def _finite(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is no whole number")
    return value


def _yes(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


# --- may it be stopped? ---------------------------------------------------------------------------------------------


def why_busy(status: Status | None, runs: bool, idle_for_s: float) -> str | None:
    """Why the station may not be stopped now; None: it may. `runs`: main.lock is held."""
    if not runs:
        return None
    if status is None:
        return "the station runs (main.lock is held), but status.json cannot be understood"
    if not status.fresh:
        return f"the station runs (main.lock is held), but status.json is {status.age_s:.0f} s old"
    if status.contactors_closed != 0:
        return f"{status.contactors_closed} contactors are closed"
    if status.state not in MAY_STOP:
        return f"the station is in state {status.state}"
    if status.idle_s < idle_for_s:
        return f"the station has been idle for {status.idle_s:.0f} s, [Deploy] idle_for asks for {idle_for_s:.0f} s"
    return None


def busy(home: Home, wall_s: float, idle_for_s: float) -> str | None:
    """The same of the station in HOME."""
    return why_busy(read_status(home, wall_s), is_held(home.main_lock), idle_for_s)


# --- is the new version well? ---------------------------------------------------------------------------------------


class Verdict(Enum):
    WAIT = "wait"
    GOOD = "good"
    BAD = "bad"


class Watch:
    """Judges a version after its start: armed within health_timeout, then stable_for without a restart."""

    def __init__(
        self, commit: str, old_pid: int, seen: Seen | None, health_timeout_s: float, stable_for_s: float, now_s: float
    ) -> None:
        """`old_pid`: who ran before the start, 0 = nobody. `seen`: what it told last, None = it was not running."""
        self.reason = ""
        self.healthy_at_s: float | None = None
        self._commit, self._old_pid, self._seen = commit, old_pid, seen
        self._health_timeout_s, self._stable_for_s = health_timeout_s, stable_for_s
        self._began_at_s = self._heard_at_s = now_s
        self._pid = 0

    def step(self, now_s: float, status: Status | None, ended: str | None = None) -> Verdict:
        """`ended`: how the process that we started ended, when it did."""
        if ended is not None:
            return self._bad(ended)
        ours = status if status is not None and self._is_of_this_start(status, now_s) else None
        if ours is not None:
            self._heard_at_s = now_s
        lacks = self._lacks(ours)
        if self.healthy_at_s is None:
            return self._starting(now_s, ours, lacks)
        return self._stable(now_s, self.healthy_at_s, ours, lacks)

    def _is_of_this_start(self, status: Status, now_s: float) -> bool:
        """Not the last word of who ran before, which may be a second old and of the same release."""
        since_then = status.age_s <= now_s - self._began_at_s
        return status.fresh and since_then and status.pid != self._old_pid and status.state != "offline"

    def _starting(self, now_s: float, ours: Status | None, lacks: str | None) -> Verdict:
        if ours is not None and lacks is None:
            self.healthy_at_s, self._pid = now_s, ours.pid
            return Verdict.WAIT
        if now_s - self._began_at_s >= self._health_timeout_s:
            return self._bad(f"not healthy after {self._health_timeout_s:.0f} s: {lacks}")
        return Verdict.WAIT

    def _stable(self, now_s: float, healthy_at_s: float, ours: Status | None, lacks: str | None) -> Verdict:
        if ours is not None and ours.pid != self._pid:
            return self._bad(f"it restarted {now_s - healthy_at_s:.0f} s after it was healthy")
        silent_s = now_s - self._heard_at_s
        if silent_s > SILENT_S:
            return self._bad(f"status.json was not renewed for {silent_s:.0f} s: it hangs or has ended")
        over_s = now_s - healthy_at_s - self._stable_for_s
        if ours is not None and lacks is None and over_s >= max(0.0, ours.age_s):  # and it has spoken since then
            return Verdict.GOOD
        if over_s >= self._health_timeout_s:  # a broker that just reconnects gets as long as it had at the start
            return self._bad(f"after {self._stable_for_s:.0f} s: {lacks}")
        return Verdict.WAIT

    def _lacks(self, ours: Status | None) -> str | None:
        """What is missing or worse than before; None: nothing."""
        if ours is None:
            return "no status.json of it"
        if not ours.commit or not self._commit.startswith(ours.commit):
            return f"status.json names commit {ours.commit or 'nowhere'}"
        now, before = ours.seen, self._seen
        if not now.armed and (before is None or before.armed):
            return f"not armed, state {ours.state}"
        if before is None:
            return None
        if before.mqtt and not now.mqtt:
            return "no connection to the broker, which the version before had"
        if before.can and not now.can:
            return "no CAN link, which the version before had"
        if now.modules_heard < before.modules_heard:
            return f"{now.modules_heard} modules heard, the version before heard {before.modules_heard}"
        return None

    def _bad(self, reason: str) -> Verdict:
        self.reason = reason
        return Verdict.BAD
