"""Job: the history as sheets for people and their programs: columns and rows, as CSV or JSON, piece by piece.

Thread: any. Lock: none. Units: in the name of each column; moments in ISO 8601 with the local zone.

However long a sheet is, only a portion of it is in memory. A cell of text that a spreadsheet would take for a formula
gets an apostrophe in front; numbers stay numbers.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice

from sqlalchemy import Engine

from monitoring.history import queries
from monitoring.history.models import FaultWords, OperationWords, SessionWords
from monitoring.history.moments import iso
from monitoring.history.queries import PowerStep, Span

Cell = str | int | float | list[int] | None

#: Rows in one piece.
PIECE = 500
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class Sheet(Enum):
    SESSIONS = "sessions"
    POWER = "power"
    FAULTS = "faults"
    OPERATIONS = "operations"


class Form(Enum):
    CSV = "csv"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Table:
    """Names of the columns, and the rows, each with a cell for every column."""

    columns: tuple[str, ...]
    rows: Iterator[Sequence[Cell]]


_SESSION = (
    "session", "gun", "from", "to", "duration_s", "energy_kwh", "soc_from_pct", "soc_to_pct", "peak_kw", "mean_kw",
    "charging_s", "waited_s", "modules", "ended", "ended_words", "fault", "clock_moved_s", "run",
)  # fmt: skip
_FAULT = ("since", "to", "duration_s", "code", "severity", "scope", "id", "text", "run")
_OPERATION = ("at", "gun", "module", "unloaded_operations", "loaded_operations")


def table(engine: Engine, sheet: Sheet, span: Span, step_s: int = 60) -> Table:
    """A sheet of all that began in the span, oldest first. `step_s`: of power, 1 or 60."""
    if sheet is Sheet.SESSIONS:
        return Table(_SESSION, map(_session, queries.each_session(engine, span)))
    if sheet is Sheet.FAULTS:
        return Table(_FAULT, map(_fault, queries.each_fault(engine, span)))
    if sheet is Sheet.OPERATIONS:
        return Table(_OPERATION, map(_operation, queries.each_operation(engine, span)))
    guns = queries.gun_count(engine, step_s)
    columns = ("at", "station_kw", *(f"gun{gun}_kw" for gun in range(1, guns + 1)), "seconds_seen")
    return Table(columns, (_power(row, guns) for row in queries.each_power(engine, step_s, span)))


def pieces(made: Table, form: Form) -> Iterator[str]:
    """The sheet as text, piece by piece."""
    return as_csv(made) if form is Form.CSV else as_json(made)


def as_csv(made: Table) -> Iterator[str]:
    """A line with the names of the columns, then one a row (RFC 4180)."""
    yield _csv_lines([made.columns, *islice(made.rows, PIECE)])
    while rows := list(islice(made.rows, PIECE)):
        yield _csv_lines(rows)


def as_json(made: Table) -> Iterator[str]:
    """A list of objects, one a line."""
    opening = "[\n"
    while rows := list(islice(made.rows, PIECE)):
        objects = (json.dumps(dict(zip(made.columns, row, strict=True)), ensure_ascii=False) for row in rows)
        yield opening + ",\n".join(objects)
        opening = ",\n"
    yield "[]\n" if opening == "[\n" else "\n]\n"


def _csv_lines(rows: Iterable[Sequence[Cell]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([[_csv_cell(cell) for cell in row] for row in rows])
    return text.getvalue()


def _csv_cell(cell: Cell) -> str | int | float | None:
    if isinstance(cell, list):
        return " ".join(map(str, cell))
    if isinstance(cell, str) and cell.startswith(_FORMULA):
        return f"'{cell}"
    return cell


def _session(each: SessionWords) -> Sequence[Cell]:
    return (
        each.session, each.gun, iso(each.from_ts), _iso(each.to_ts), each.duration_s, each.energy_kwh,
        each.soc_from_pct, each.soc_to_pct, each.peak_kw, each.mean_kw, each.charging_s, each.waited_s, each.modules,
        each.ended, each.ended_words, each.fault, each.clock_moved_s, each.run,
    )  # fmt: skip


def _fault(each: FaultWords) -> Sequence[Cell]:
    return (
        iso(each.since_ts), _iso(each.ended_ts), each.duration_s, each.code, each.severity, each.scope, each.id,
        each.text, each.run,
    )  # fmt: skip


def _operation(each: OperationWords) -> Sequence[Cell]:
    return iso(each.ts), each.gun, each.module, each.unloaded, each.loaded


def _power(row: PowerStep, guns: int) -> Sequence[Cell]:
    missing = [None] * (guns - len(row.guns_kw))
    return iso(row.ts), row.station_kw, *row.guns_kw[:guns], *missing, row.seconds


def _iso(ts: float | None) -> str | None:
    return None if ts is None else iso(ts)
