"""Job: what is too old goes, and when the database is too large, what is missed least goes first.

Thread: history. Lock: none; each step is short, and the rest is done in the next one. Units: s, bytes; `*_ts` Unix
seconds.

First the oldest seconds, then the oldest minutes, then operations and faults, sessions last. A wall clock that jumps a
day or more ahead deletes nothing for a day: a Pi that believes for an hour that it is 2030 must not lose its past.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, delete, func, select, true

from monitoring.history import tables
from monitoring.history.database import Database

log = logging.getLogger(__name__)

DAY_S = 86_400.0
#: Power of each second is kept so long.
SECONDS_S = 2 * DAY_S
#: Shares of the cap: above HIGH rows go until LOW is reached. What is left is room for the WAL and for the next
#: minutes.
HIGH, LOW = 0.85, 0.75
#: How often age and size are looked at.
AGE_EVERY_S, SIZE_EVERY_S = 3_600.0, 30.0
#: One transaction deletes at least so many rows, or this part of the table; one step has so many transactions.
ROWS, PART, TURNS = 1_000, 10, 10


@dataclass(frozen=True, slots=True)
class Victim:
    """Rows that may go: those of `table` for which `closed` holds; the youngest `spared_s` are spared."""

    table: Table
    at: Column[Any]
    closed: ColumnElement[bool]
    spared_s: float = 0.0


_SECONDS, _MINUTES = tables.power_seconds, tables.power_minutes
_OPERATIONS = Victim(tables.operations, tables.operations.c.ts, true())
_FAULTS = Victim(tables.faults, tables.faults.c.since_ts, tables.faults.c.ended_ts.is_not(None))
_SESSIONS = Victim(tables.sessions, tables.sessions.c.from_ts, tables.sessions.c.to_ts.is_not(None))
_RUNS = Victim(tables.runs, tables.runs.c.seen_ts, true(), spared_s=DAY_S)
#: In the order in which they go.
BY_SIZE = (
    Victim(_SECONDS, _SECONDS.c.ts, true(), spared_s=3_600.0),
    Victim(_MINUTES, _MINUTES.c.ts, true(), spared_s=DAY_S),
    Victim(_SECONDS, _SECONDS.c.ts, true(), spared_s=60.0),
    _OPERATIONS,
    _FAULTS,
    Victim(_MINUTES, _MINUTES.c.ts, true(), spared_s=60.0),
    _SESSIONS,
)


class Pruner:
    """Looks at age and size now and then."""

    def __init__(self, database: Database, retention_days: int, max_bytes: int) -> None:
        self._database = database
        self._retention_s = retention_days * DAY_S
        self._high, self._low = int(HIGH * max_bytes), int(LOW * max_bytes)
        self._age_due_s = self._size_due_s = float("-inf")
        self._clock_moved_s = 0.0

    def begin(self, connection: Connection, newest_ts: float, now_s: float) -> None:
        """Before the first row of this process is written: does the wall clock follow on what is there?"""
        latest = connection.execute(select(func.max(_MINUTES.c.ts))).scalar()
        if latest is not None and newest_ts - latest > DAY_S:
            self._distrust(now_s)

    def step(self, connection: Connection, newest_ts: float, clock_moved_s: float, now_s: float) -> bool:
        """Delete what has to go; True when there is more to do. `clock_moved_s`: by how much, in all, forward."""
        if clock_moved_s - self._clock_moved_s >= DAY_S:
            self._distrust(now_s)
        self._clock_moved_s = clock_moved_s
        more = False
        if now_s >= self._age_due_s:
            more = self._by_age(connection, newest_ts)
            self._age_due_s = now_s if more else now_s + AGE_EVERY_S
        if now_s >= self._size_due_s:
            too_large = self._by_size(connection, newest_ts)
            self._size_due_s = now_s if too_large else now_s + SIZE_EVERY_S
            more |= too_large
        return more

    def _distrust(self, now_s: float) -> None:
        log.warning("The wall clock is a day or more ahead of the history: nothing is deleted for its age for a day")
        self._age_due_s = now_s + DAY_S

    def _by_age(self, connection: Connection, newest_ts: float) -> bool:
        limits = [
            (Victim(_SECONDS, _SECONDS.c.ts, true()), SECONDS_S),
            (Victim(_MINUTES, _MINUTES.c.ts, true()), self._retention_s),
            *((victim, self._retention_s) for victim in (_OPERATIONS, _FAULTS, _SESSIONS, _RUNS)),
        ]
        turns = TURNS
        for victim, age_s in limits:
            while turns and self._delete(connection, victim, newest_ts - age_s):
                turns -= 1
        return turns == 0

    def _by_size(self, connection: Connection, newest_ts: float) -> bool:
        database = self._database
        if database.disk_bytes(connection) <= self._high:
            return False
        turns, emptied = TURNS, None
        for victim in BY_SIZE:
            while turns and database.used_bytes(connection) > self._low:
                if not self._delete(connection, victim, newest_ts - victim.spared_s):
                    break
                turns, emptied = turns - 1, victim
                if not database.frees_at_once:
                    database.give_back(connection, victim.table)
        if emptied is not None:
            log.info(
                "The history was larger than [History] max_megabytes allows: old rows of %s went", emptied.table.name
            )
        if database.frees_at_once:
            database.give_back(connection, tables.power_seconds)
        return turns == 0

    def _delete(self, connection: Connection, victim: Victim, before_ts: float) -> int:
        """Delete the oldest rows of `victim` from before this; how many went."""
        may_go = (victim.at < before_ts) & victim.closed
        self._database.durable(connection, False)
        with connection.begin():
            count = connection.execute(select(func.count()).select_from(victim.table)).scalar() or 0
            oldest = select(victim.at).where(may_go).order_by(victim.at).limit(1)
            last_ts = connection.execute(oldest.offset(max(ROWS, count // PART) - 1)).scalar()
            if last_ts is not None:
                may_go = (victim.at <= last_ts) & victim.closed
            return connection.execute(delete(victim.table).where(may_go)).rowcount
