"""Job: what readers ask the history: pages of rows, in short questions that keep nobody waiting.

Thread: any; each call borrows a connection that cannot write and gives it back. Lock: none. Units: as tables.py says.

Long answers are read in portions, each a question of its own that goes on behind the last row: a slow reader holds no
connection, no transaction and no memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Column, ColumnElement, Engine, Row, Table, and_, func, or_, select, true

from monitoring.history import tables
from monitoring.history.models import EndWord, EnergyOfDay, FaultWords, OperationWords, SessionWords
from monitoring.history.moments import LATEST_TS, day_of
from monitoring.history.sessions import EndReason
from monitoring.schema import Power

#: Rows that are read at a time.
PORTION = 1_000


@dataclass(frozen=True, slots=True)
class Span:
    """From (with) to (without), Unix seconds."""

    from_ts: float = 0.0
    to_ts: float = LATEST_TS

    def holds(self, column: Column[Any]) -> ColumnElement[bool]:
        return and_(column >= self.from_ts, column < self.to_ts)


def sessions(
    engine: Engine, span: Span, gun: int | None = None, is_open: bool | None = None, limit: int = PORTION
) -> list[SessionWords]:
    """Sessions that began in the span, newest first."""
    table = tables.sessions
    wanted = [span.holds(table.c.from_ts)]
    if gun is not None:
        wanted.append(table.c.gun == gun)
    if is_open is not None:
        wanted.append(table.c.to_ts.is_(None) if is_open else table.c.to_ts.is_not(None))
    question = select(table).where(*wanted).order_by(table.c.from_ts.desc(), table.c.id.desc()).limit(limit)
    with engine.connect() as connection:
        return [session_words(row) for row in connection.execute(question)]


def faults(engine: Engine, span: Span, limit: int = PORTION) -> list[FaultWords]:
    """Faults that began in the span, newest first."""
    table = tables.faults
    question = select(table).where(span.holds(table.c.since_ts))
    with engine.connect() as connection:
        rows = connection.execute(question.order_by(table.c.since_ts.desc(), table.c.id.desc()).limit(limit))
        return [fault_words(row) for row in rows]


def operations(
    engine: Engine, span: Span, gun: int | None = None, module: int | None = None, limit: int = PORTION
) -> list[OperationWords]:
    """Contactor operations, newest first."""
    table = tables.operations
    wanted = [span.holds(table.c.ts)]
    wanted += [] if gun is None else [table.c.gun == gun]
    wanted += [] if module is None else [table.c.module == module]
    question = select(table).where(*wanted).order_by(table.c.ts.desc(), table.c.id.desc()).limit(limit)
    with engine.connect() as connection:
        return [operation_words(row) for row in connection.execute(question)]


def power_rows(engine: Engine, step_s: int, span: Span) -> int:
    """How many rows of power there are in the span."""
    table = _power_table(step_s)
    with engine.connect() as connection:
        return connection.execute(select(func.count()).where(span.holds(table.c.ts))).scalar() or 0


def power(engine: Engine, step_s: int, span: Span) -> Power:
    """All rows of power in the span; ask power_rows first whether these are not too many."""
    rows = [*each_power(engine, step_s, span)]
    guns = max((len(row.guns_kw) for row in rows), default=0)
    return Power(
        step_s=step_s,
        ts=[row.ts for row in rows],
        station_kw=[row.station_kw for row in rows],
        guns_kw={
            str(gun + 1): [row.guns_kw[gun] if gun < len(row.guns_kw) else 0.0 for row in rows] for gun in range(guns)
        },
    )


def energy_by_day(engine: Engine, span: Span) -> list[EnergyOfDay]:
    """Energy of the sessions by the local day on which they began, oldest first."""
    days: dict[str, dict[int, float]] = {}
    counts: dict[str, int] = {}
    for row in _portions(engine, tables.sessions, tables.sessions.c.from_ts, span):
        day = day_of(row.from_ts).isoformat()
        guns = days.setdefault(day, {})
        guns[row.gun] = guns.get(row.gun, 0.0) + row.energy_kwh
        counts[day] = counts.get(day, 0) + 1
    return [
        EnergyOfDay(
            day=day,
            sessions=counts[day],
            energy_kwh=round(sum(guns.values()), 3),
            guns_kwh={str(gun): round(guns[gun], 3) for gun in sorted(guns)},
        )
        for day, guns in sorted(days.items())
    ]


# --- everything in a span, however long ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PowerStep:
    ts: int
    station_kw: float
    guns_kw: tuple[float, ...]
    seconds: int


def each_session(engine: Engine, span: Span) -> Iterator[SessionWords]:
    """Oldest first."""
    return map(session_words, _portions(engine, tables.sessions, tables.sessions.c.from_ts, span))


def each_fault(engine: Engine, span: Span) -> Iterator[FaultWords]:
    """Oldest first."""
    return map(fault_words, _portions(engine, tables.faults, tables.faults.c.since_ts, span))


def each_operation(engine: Engine, span: Span) -> Iterator[OperationWords]:
    """Oldest first."""
    return map(operation_words, _portions(engine, tables.operations, tables.operations.c.ts, span))


def each_power(engine: Engine, step_s: int, span: Span) -> Iterator[PowerStep]:
    """Oldest first."""
    table = _power_table(step_s)
    return map(_power_step, _portions(engine, table, table.c.ts, span))


def gun_count(engine: Engine, step_s: int) -> int:
    """How many guns the newest row of power has."""
    table = _power_table(step_s)
    with engine.connect() as connection:
        newest = connection.execute(select(table.c.guns_w).order_by(table.c.ts.desc()).limit(1)).scalar()
    return len(json.loads(newest)) if newest is not None else 0


def _portions(engine: Engine, table: Table, at: Column[Any], span: Span) -> Iterator[Row[Any]]:
    """Rows in the order of `at`, and of their numbers where they have some."""
    number = table.c.id if "id" in table.c else None
    behind: ColumnElement[bool] = true()
    order = [at] if number is None else [at, number]
    while True:
        question = select(table).where(span.holds(at), behind).order_by(*order).limit(PORTION)
        with engine.connect() as connection:
            rows = connection.execute(question).all()
        yield from rows
        if len(rows) < PORTION:
            return
        last = rows[-1]
        last_at = getattr(last, at.name)
        behind = at > last_at if number is None else or_(at > last_at, and_(at == last_at, number > last.id))


def _power_table(step_s: int) -> Table:
    return tables.power_seconds if step_s == 1 else tables.power_minutes


# --- from rows to words --------------------------------------------------------------------------------------------


def session_words(row: Row[Any]) -> SessionWords:
    ended = EndReason[row.ended] if row.ended in EndReason.__members__ else None
    until_ts = row.seen_ts if row.to_ts is None else row.to_ts
    return SessionWords(
        session=row.id,
        gun=row.gun,
        run=row.run,
        from_ts=row.from_ts,
        to_ts=row.to_ts,
        duration_s=round(max(0.0, until_ts - row.from_ts), 3),
        energy_kwh=round(row.energy_kwh, 3),
        soc_from_pct=row.soc_from_pct,
        soc_to_pct=row.soc_to_pct,
        peak_kw=row.peak_kw,
        mean_kw=round(row.energy_kwh * 3600.0 / row.charging_s, 3) if row.charging_s else 0.0,
        charging_s=row.charging_s,
        waited_s=row.waited_s,
        modules=json.loads(row.modules),
        ended=None if ended is None else cast(EndWord, ended.name),
        ended_words=None if ended is None else _end_words(ended, row.fault),
        fault=row.fault,
        clock_moved_s=row.clock_moved_s,
    )


def _end_words(ended: EndReason, fault: str | None) -> str:
    return f"{ended.value}: {fault}" if fault else ended.value


def fault_words(row: Row[Any]) -> FaultWords:
    until_ts = row.seen_ts if row.ended_ts is None else row.ended_ts
    return FaultWords(
        code=row.code,
        severity=row.severity,
        scope=row.scope,
        id=row.place,
        text=row.text,
        since_ts=row.since_ts,
        ended_ts=row.ended_ts,
        duration_s=round(max(0.0, until_ts - row.since_ts), 3),
        run=row.run,
    )


def operation_words(row: Row[Any]) -> OperationWords:
    return OperationWords(ts=row.ts, gun=row.gun, module=row.module, unloaded=row.unloaded, loaded=row.loaded)


def _power_step(row: Row[Any]) -> PowerStep:
    guns_kw = tuple(watts / 1000.0 for watts in json.loads(row.guns_w))
    return PowerStep(row.ts, row.station_w / 1000.0, guns_kw, getattr(row, "seconds", 1))
