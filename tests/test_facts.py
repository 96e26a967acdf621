"""Job: what readings prove: each fact with fresh, stale, early, missing and contradicting readings.

Thread: the test's. Lock: none. Units: V, A, s.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from planning import facts
from planning.model import ModuleState, ModuleStatus
from planning.settings import Safety

SAFETY = Safety()
NOW = 1000.0

OFF = ModuleStatus(
    1, ModuleState.OFF, heard_at_s=NOW - 0.1, on=False, on_at_s=NOW - 0.2, on_asked_at_s=NOW - 0.21,
    last_on_at_s=NOW - 20.0, voltage_v=20.0, voltage_at_s=NOW - 0.2, voltage_asked_at_s=NOW - 0.21,
    current_a=0.0, current_at_s=NOW - 0.2, current_asked_at_s=NOW - 0.205,
)  # fmt: skip
ON = ModuleStatus(
    1, ModuleState.ON, heard_at_s=NOW - 0.1, on=True, on_at_s=NOW - 0.2, on_asked_at_s=NOW - 0.21,
    last_on_at_s=NOW - 0.2, voltage_v=390.0, voltage_at_s=NOW - 0.1, voltage_before_v=388.0,
    voltage_before_at_s=NOW - 0.6, current_a=0.3, current_at_s=NOW - 0.1, set_on=True, set_voltage_v=390.0,
    set_voltage_at_s=NOW - 2.0, set_current_a=1.0, voltage_asked_at_s=NOW - 0.11,
)  # fmt: skip


def test_off_is_proven_by_an_answer_that_was_asked_for_later() -> None:
    assert facts.proven_off_since_s(OFF) == NOW - 0.21
    assert not facts.may_be_on(OFF)


@pytest.mark.parametrize(
    "change",
    [
        {"on": True},
        {"on": None},
        {"set_on": True},
        {"on_asked_at_s": None},
        {"on_asked_at_s": NOW - 20.0},  # asked in the very moment in which it was on last
        {"on_asked_at_s": NOW - 25.0},
    ],
)
def test_off_is_not_proven(change: dict[str, Any]) -> None:
    status = replace(OFF, **change)
    assert facts.proven_off_since_s(status) is None
    assert facts.may_be_on(status)
    assert not facts.cold(status, NOW, SAFETY)


def test_a_module_that_was_never_on_needs_no_later_question() -> None:
    assert facts.proven_off_since_s(replace(OFF, last_on_at_s=None)) is not None


def test_a_module_that_never_answered_counts_as_off_and_a_silent_one_as_on() -> None:
    assert not facts.may_be_on(ModuleStatus(1, ModuleState.UNHEARD))
    assert facts.may_be_on(replace(ON, state=ModuleState.SILENT))


@pytest.mark.parametrize(
    ("change", "is_cold"),
    [
        ({}, True),
        ({"voltage_v": 59.9}, True),
        ({"voltage_v": 60.0}, False),
        ({"voltage_v": None}, False),
        ({"voltage_at_s": None}, False),
        ({"voltage_at_s": NOW - 1.1}, False),
        ({"on_at_s": NOW - 1.1}, False),
        ({"on_at_s": None}, False),
    ],
)
def test_cold(change: dict[str, Any], is_cold: bool) -> None:
    assert facts.cold(replace(OFF, **change), NOW, SAFETY) is is_cold


@pytest.mark.parametrize(
    ("last_on_s", "told_dead_s", "is_rested"),
    [
        (None, None, True),
        (NOW - 10.0, None, True),
        (NOW - 9.9, None, False),
        (NOW - 2.0, NOW - 1.0, True),
        (NOW - 2.0, NOW - 2.0, False),
        (NOW - 2.0, NOW - 3.0, False),
    ],
)
def test_rested(last_on_s: float | None, told_dead_s: float | None, is_rested: bool) -> None:
    assert facts.rested(replace(OFF, last_on_at_s=last_on_s), NOW, SAFETY, told_dead_s) is is_rested


@pytest.mark.parametrize(
    ("change", "bus_v", "is_matched"),
    [
        ({}, 400.0, True),
        ({}, 390.0, True),
        ({}, 408.0, True),
        ({}, 408.1, False),  # the reading before is 20.1 V below
        ({}, 389.9, False),  # above the bus
        ({}, None, False),
        ({"on": False}, 400.0, False),
        ({"on": None}, 400.0, False),
        ({"set_on": False}, 400.0, False),
        ({"set_current_a": 1.1}, 400.0, False),
        ({"current_a": 1.1}, 400.0, False),
        ({"current_a": None}, 400.0, False),
        ({"voltage_v": None}, 400.0, False),
        ({"voltage_at_s": NOW - 1.1}, 400.0, False),
        ({"voltage_before_at_s": NOW - 1.1}, 400.0, False),
        ({"voltage_before_at_s": None}, 400.0, False),
        ({"voltage_before_v": 405.0}, 400.0, False),
        ({"voltage_before_at_s": NOW - 0.1}, 400.0, False),  # one reading counted twice
        ({"current_at_s": NOW - 1.1}, 400.0, False),
        ({"set_voltage_at_s": NOW - 0.12}, 400.0, True),
        ({"set_voltage_at_s": NOW - 0.11}, 400.0, False),  # asked before it was set anew
        ({"voltage_asked_at_s": None}, 400.0, False),
    ],
)
def test_matched(change: dict[str, Any], bus_v: float | None, is_matched: bool) -> None:
    assert facts.matched(replace(ON, **change), bus_v, NOW, SAFETY) is is_matched


ORDERED = NOW - 1.0


@pytest.mark.parametrize(
    ("change", "is_unloaded"),
    [
        ({"off_echo_at_s": NOW - 0.5, "current_asked_at_s": NOW - 0.4}, True),
        ({"off_echo_at_s": NOW - 0.5, "current_asked_at_s": NOW - 0.6}, False),  # asked before the echo
        ({"off_echo_at_s": NOW - 0.5, "current_asked_at_s": None}, False),
        ({"off_echo_at_s": NOW - 0.5, "current_asked_at_s": NOW - 0.4, "current_a": 4.9}, True),
        ({"off_echo_at_s": NOW - 0.5, "current_asked_at_s": NOW - 0.4, "current_a": 5.0}, False),
        ({"off_echo_at_s": NOW - 0.5, "current_asked_at_s": NOW - 0.4, "current_a": None}, False),
        ({"off_echo_at_s": NOW - 1.5, "current_asked_at_s": NOW - 0.4, "on": True}, False),  # an older order's echo
        ({"off_echo_at_s": None, "current_asked_at_s": NOW - 0.4, "on": True}, False),
        ({"off_echo_at_s": None, "current_asked_at_s": NOW - 0.2}, True),  # no echo, but it shows off
        ({"off_echo_at_s": None, "current_asked_at_s": NOW - 0.4}, False),  # asked before it showed off
    ],
)
def test_unloaded(change: dict[str, Any], is_unloaded: bool) -> None:
    assert facts.unloaded(replace(OFF, **change), ORDERED, SAFETY) is is_unloaded


def test_silence_is_counted_from_the_last_frame() -> None:
    assert facts.silent_for_s(ON, NOW) == 0.0
    silent = replace(ON, state=ModuleState.SILENT, heard_at_s=NOW - 3.0)
    assert facts.silent_for_s(silent, NOW) == 3.0
    assert facts.silent_for_s(replace(silent, heard_at_s=None), NOW) == float("inf")


@pytest.mark.parametrize(
    ("set_a", "measured_a", "counts_a"), [(50.0, 40.0, 50.0), (0.0, 40.0, 40.0), (10.0, None, 10.0)]
)
def test_a_silent_module_counts_with_the_larger(set_a: float, measured_a: float | None, counts_a: float) -> None:
    assert facts.counted_a(replace(ON, set_current_a=set_a, current_a=measured_a)) == counts_a
