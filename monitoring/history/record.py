"""Job: put what waits in the books into the database in one transaction, and take up what an earlier process left open.

Thread: history. Lock: none. Units: as tables.py says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select, update

from monitoring.history import tables
from monitoring.history.chronicle import Chronicle
from monitoring.history.database import upsert
from monitoring.history.faults import FaultRow, KeptFault
from monitoring.history.operations import Operation
from monitoring.history.power import MINUTE_S, PowerRow, minutes_of
from monitoring.history.readings import Reading
from monitoring.history.sessions import EndReason, Kept, Session

#: Rows of power in one transaction, so that a long wait for the database is made up for in short steps.
ROWS_AT_ONCE = 1_000
#: So many faults of this run are compared with those that a page process is told at its start.
FAULTS_KNOWN = 1_000
#: A process that ended has left less than a minute unfinished, or what waited for its database.
SECONDS_KNOWN = 7_200


def write(connection: Connection, books: Chronicle) -> Callable[[], None]:
    """Write what waits, inside a transaction of the caller; call what is returned once that is committed."""
    seconds = list(islice(books.power.seconds, ROWS_AT_ONCE))
    minutes = books.power.minutes[:ROWS_AT_ONCE]
    ended, open_sessions = list(books.sessions.ended), list(books.sessions.open.values())
    past_faults, standing = list(books.faults.ended), list(books.faults.standing.values())
    operations = list(islice(books.operations, ROWS_AT_ONCE))

    if books.news:
        _write_run(connection, books.last)
    upsert(connection, tables.power_seconds, [_power(row) for row in seconds], ("ts",))
    _write_minutes(connection, minutes)
    rows: list[tuple[Session | FaultRow, int]] = [
        *((each, _save(connection, tables.sessions, each.row, _session(each))) for each in (*ended, *open_sessions)),
        *((each, _save(connection, tables.faults, each.row, _fault(each))) for each in (*past_faults, *standing)),
    ]
    _write_operations(connection, books, operations)

    def committed() -> None:
        for each, row in rows:
            each.row = row
        books.power.written(len(seconds), [row.ts for row in minutes])
        del books.sessions.ended[: len(ended)], books.faults.ended[: len(past_faults)]
        for _ in operations:
            books.operations.popleft()
        books.counter.changed.clear()
        books.told()

    return committed


def take_up(connection: Connection, books: Chronicle) -> None:
    """What was open when an earlier process ended: gone on with if it is of this run of the controller, else closed.

    Inside a transaction of the caller, once, after the first snapshot and before anything is written.
    """
    if books.last is None:
        raise ValueError("nothing was seen yet")
    run = books.last.run
    _take_up_sessions(connection, books, run)
    _take_up_faults(connection, books, run)
    counters = {
        (gun, module): (unloaded, loaded)
        for gun, module, unloaded, loaded in connection.execute(select(tables.contactors)).all()
    }
    books.operations.extendleft(reversed(books.counter.adopt(counters)))
    _take_up_minutes(connection, books)


def _take_up_sessions(connection: Connection, books: Chronicle, run: str) -> None:
    table = tables.sessions
    restarted = update(table).where(table.c.to_ts.is_(None), table.c.run != run)
    connection.execute(restarted.values(to_ts=table.c.seen_ts, ended=EndReason.CONTROLLER_RESTARTED.name))
    rows = connection.execute(select(table).where(table.c.to_ts.is_(None)).order_by(table.c.id)).all()
    left = books.sessions.adopt(
        Kept(
            row=row.id, gun=row.gun, from_ts=row.from_ts, seen_ts=row.seen_ts, counter_kwh=row.counter_kwh,
            energy_kwh=row.energy_kwh, soc_from_pct=row.soc_from_pct, peak_kw=row.peak_kw, charging_s=row.charging_s,
            waited_s=row.waited_s, clock_moved_s=row.clock_moved_s, modules=frozenset(json.loads(row.modules)),
        )
        for row in rows
    )  # fmt: skip
    for kept in left:
        closed = update(table).where(table.c.id == kept.row)
        connection.execute(closed.values(to_ts=kept.seen_ts, ended=EndReason.NOT_WATCHED.name))


def _take_up_faults(connection: Connection, books: Chronicle, run: str) -> None:
    table = tables.faults
    stands = table.c.ended_ts.is_(None)
    connection.execute(update(table).where(stands, table.c.run != run).values(ended_ts=table.c.seen_ts))
    of_this_run = select(table).where(table.c.run == run).order_by(table.c.id.desc()).limit(FAULTS_KNOWN)
    left = books.faults.adopt(
        KeptFault(row.id, row.code, row.place, row.since_ts, row.ended_ts is None)
        for row in connection.execute(of_this_run).all()
    )
    for kept in left:
        connection.execute(update(table).where(table.c.id == kept.row).values(ended_ts=table.c.seen_ts))


def _take_up_minutes(connection: Connection, books: Chronicle) -> None:
    """Make the minutes that were not over when an earlier process ended from the seconds that it wrote."""
    seconds, minutes = tables.power_seconds, tables.power_minutes
    newest = connection.execute(select(func.max(minutes.c.ts))).scalar()
    unfinished = select(seconds).order_by(seconds.c.ts.desc()).limit(SECONDS_KNOWN)
    if newest is not None:
        unfinished = unfinished.where(seconds.c.ts >= newest + MINUTE_S)
    rows = connection.execute(unfinished).all()
    made = minutes_of(PowerRow(row.ts, row.station_w, tuple(json.loads(row.guns_w))) for row in rows)
    _write_minutes(connection, books.power.adopt(made))


# --- rows -------------------------------------------------------------------------------------------------------------


def _save(connection: Connection, table: Table, row: int | None, values: dict[str, Any]) -> int:
    """Update the row, or insert one where there is none (any more); its number."""
    if row is not None and connection.execute(update(table).where(table.c.id == row).values(values)).rowcount:
        return row
    made = connection.execute(insert(table).values(values)).inserted_primary_key
    assert made is not None
    return int(made[0])


def _write_run(connection: Connection, last: Reading | None) -> None:
    if last is not None:
        row = {
            "run": last.run, "station_id": last.station_id, "version": last.version, "started_ts": last.started_ts,
            "seen_ts": last.ts,
        }  # fmt: skip
        upsert(connection, tables.runs, [row], ("run",))


def _write_minutes(connection: Connection, minutes: Iterable[PowerRow]) -> None:
    upsert(connection, tables.power_minutes, [_power(row) | {"seconds": row.seconds} for row in minutes], ("ts",))


def _power(row: PowerRow) -> dict[str, Any]:
    return {"ts": row.ts, "station_w": row.station_w, "guns_w": _list(row.guns_w)}


def _session(each: Session) -> dict[str, Any]:
    return {
        "gun": each.gun,
        "run": each.run,
        "from_ts": round(each.from_ts, 3),
        "to_ts": None if each.to_ts is None else round(each.to_ts, 3),
        "seen_ts": round(each.seen_ts, 3),
        "energy_kwh": round(each.energy_kwh, 6),
        "counter_kwh": round(each.counter_kwh, 6),
        "soc_from_pct": each.soc_from_pct,
        "soc_to_pct": each.soc_to_pct,
        "peak_kw": round(each.peak_kw, 3),
        "charging_s": round(each.charging_s, 3),
        "waited_s": round(each.waited_s, 3),
        "modules": _list(sorted(each.modules)),
        "ended": each.ended.name if each.ended is not None else None,
        "fault": each.fault,
        "clock_moved_s": round(each.clock_moved_s, 3),
    }


def _fault(each: FaultRow) -> dict[str, Any]:
    return {
        "run": each.run,
        "code": each.code,
        "place": each.where,
        "severity": each.severity,
        "scope": each.scope,
        "text": each.text,
        "since_ts": round(each.since_ts, 3),
        "ended_ts": None if each.ended_ts is None else round(each.ended_ts, 3),
        "seen_ts": round(each.seen_ts, 3),
    }


def _write_operations(connection: Connection, books: Chronicle, operations: Iterable[Operation]) -> None:
    rows = [
        {
            "ts": round(each.ts, 3),
            "gun": each.gun,
            "module": each.module,
            "unloaded": each.unloaded,
            "loaded": each.loaded,
        }
        for each in operations
    ]
    if rows:
        connection.execute(insert(tables.operations), rows)
    changed = books.counter.changed
    counters = [
        {"gun": gun, "module": module, "unloaded": unloaded, "loaded": loaded}
        for (gun, module), (unloaded, loaded) in changed.items()
    ]
    upsert(connection, tables.contactors, counters, ("gun", "module"))


def _list(numbers: Iterable[int]) -> str:
    return json.dumps(list(numbers), separators=(",", ":"))
