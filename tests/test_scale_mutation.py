"""A wrong factor or a wrong byte order in any row of any make's table makes a test fail: each row is broken in turn.

The tests that must notice are those that hold the makers' example frames, called here as they are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import test_protocol_infypower
import test_protocol_maxwell_mxr
import test_protocol_tonhe
import test_protocol_uugreen

from protocols import PROTOCOLS, infypower, maxwell_mxr, tonhe, uugreen
from protocols.base import ModuleReading, Signal

#: What a reading says in numbers that a wrong factor would change.
NUMBERS = ("voltage_v", "current_a", "available_a")


class Table(NamedTuple):
    """The rows of one make, and the tests that hold its frames."""

    name: str
    rows: dict[Any, Any]
    tests: Any


TABLES = (
    Table("uugreen", uugreen.UUGREEN.rows, test_protocol_uugreen),  # type: ignore[arg-type]
    Table("maxwell_enr", uugreen.MAXWELL_ENR.rows, test_protocol_uugreen),  # type: ignore[arg-type]
    Table("infypower", infypower._ROWS, test_protocol_infypower),  # type: ignore[arg-type]
    Table("maxwell_mxr", maxwell_mxr._ROWS, test_protocol_maxwell_mxr),  # type: ignore[arg-type]
    Table("tonhe", tonhe._ROWS, test_protocol_tonhe),  # type: ignore[arg-type]
)


def every_row(scaled: bool = False) -> list[Any]:
    """`scaled`: only rows that turn a whole number of the wire into a quantity."""
    return [
        pytest.param(table, key, id=f"{table.name}-{row.signal.name}")
        for table in TABLES
        for key, row in table.rows.items()
        if not scaled or has_scale(table, row.signal)
    ]


def has_scale(table: Table, signal: Signal) -> bool:
    for *of, row in (vector.values for vector in table.tests.vectors("rx")):
        if of and of[0].name != table.name:
            continue
        reading = PROTOCOLS[table.name].decode(int(row["can_id"], 16), bytes.fromhex(row["data"]))
        if reading is not None and reading.signal is signal and ten_times(reading) != reading:
            return True
    return False


def ten_times(reading: ModuleReading) -> ModuleReading:
    numbers = {name: getattr(reading, name) for name in NUMBERS if getattr(reading, name) is not None}
    details = tuple((name, 10.0 * value) for name, value in reading.details)
    return reading._replace(details=details, **{name: 10.0 * value for name, value in numbers.items()})


def swapped(data: Any) -> Any:
    if isinstance(data, int):
        return int.from_bytes(data.to_bytes(4, "big"), "little")
    halves = [data[at : at + 4] for at in range(0, len(data), 4)]
    return b"".join(half[::-1] for half in halves)


def breaks_the_scale(read: Callable[..., ModuleReading]) -> Callable[..., ModuleReading]:
    return lambda *arguments: ten_times(read(*arguments))


def breaks_the_order(read: Callable[..., ModuleReading]) -> Callable[..., ModuleReading]:
    return lambda head, data, *rest: read(head, swapped(data), *rest)


def noticed(table: Table, monkeypatch: pytest.MonkeyPatch, key: Any, broken: Any) -> bool:
    """Some test of the make's frames fails with this row."""
    tests = table.tests
    monkeypatch.setitem(table.rows, key, broken)
    for vector in getattr(tests, "replies", lambda: tests.vectors("rx"))():
        try:
            tests.test_reply_field_by_field(*vector.values)
        except Exception:
            return True
    for name, check in vars(tests).items():
        plain = name.startswith("test_") and not hasattr(check, "hypothesis")
        if plain and not inspect.signature(check).parameters:
            try:
                check()
            except Exception:
                return True
    return False


@pytest.mark.parametrize(("table", "key"), every_row(scaled=True))
def test_a_factor_of_ten_in_any_row_is_noticed(table: Table, key: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    row = table.rows[key]
    assert noticed(table, monkeypatch, key, row._replace(read=breaks_the_scale(row.read)))


@pytest.mark.parametrize(("table", "key"), every_row())
def test_another_byte_order_in_any_row_is_noticed(table: Table, key: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    row = table.rows[key]
    assert noticed(table, monkeypatch, key, row._replace(read=breaks_the_order(row.read)))


#: Where a factor is applied to a set-point. Winline's and Maxwell's voltage is a float and has none.
SENT = (
    (uugreen, "_MILLI", test_protocol_uugreen),
    (infypower, "_MILLI", test_protocol_infypower),
    (maxwell_mxr, "_PER_AMPERE", test_protocol_maxwell_mxr),
    (tonhe, "_PER_VOLT", test_protocol_tonhe),
    (tonhe, "_PER_AMPERE", test_protocol_tonhe),
)


@pytest.mark.parametrize(("module", "name", "tests"), SENT)
def test_a_factor_of_ten_in_what_is_sent_is_noticed(
    module: Any, name: str, tests: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, 10 * getattr(module, name))
    failures = 0
    for vector in tests.vectors("tx"):
        try:
            tests.test_request_byte_for_byte(*vector.values)
        except (AssertionError, ValueError, OverflowError):
            failures += 1
    assert failures
