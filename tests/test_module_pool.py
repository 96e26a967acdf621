"""Job: which modules may be planned with and how many kW each counts for.

Thread: the test's. Lock: none. Units: kW, V, A, h, s.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planning.faults import FaultBook, FaultCode
from planning.model import ModuleState, ModuleStatus
from planning.module_pool import NO_START_PAUSE_S, ModulePool
from planning.module_trust import ModuleTrust
from planning.settings import Safety

OFF = ModuleStatus(1, ModuleState.OFF, on=False)
ON = replace(OFF, state=ModuleState.ON, on=True, available_a=133.0)


def make() -> tuple[ModulePool, FaultBook]:
    book = FaultBook()
    return ModulePool(1, 40.0, 133.0, ModuleTrust(1, Safety(), book), book), book


@pytest.mark.parametrize("state", ModuleState)
def test_only_a_healthy_module_that_answers_is_usable(state: ModuleState) -> None:
    pool, _ = make()
    usable = state in (ModuleState.OFF, ModuleState.ON)
    assert pool.usable(replace(OFF, state=state)) is usable
    assert pool.available_kw(replace(OFF, state=state), None) == (40 if usable else 0)


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (ModuleState.SILENT, FaultCode.MODULE_SILENT),
        (ModuleState.FAULT, FaultCode.MODULE_FAULT),
        (ModuleState.REFUSED, FaultCode.MODULE_ADDRESS_CONFLICT),
    ],
)
def test_its_state_is_a_fault_while_it_lasts(state: ModuleState, code: FaultCode) -> None:
    pool, book = make()
    pool.look([replace(OFF, state=state, alarms=("fan",))], 1.0)
    assert [(fault.code, fault.id) for fault in book.active] == [(code.name, "m1")]
    assert "fan" in book.active[0].text
    pool.look([OFF], 2.0)
    assert book.active == ()


def test_a_module_that_did_not_start_is_left_alone_for_a_minute() -> None:
    pool, book = make()
    pool.pause(1, 100.0)
    assert not pool.usable(OFF)
    assert book.stands(FaultCode.MODULE_NO_START, "m1")
    pool.look([OFF], 100.0 + NO_START_PAUSE_S - 0.1)
    assert not pool.usable(OFF)
    pool.look([OFF], 100.0 + NO_START_PAUSE_S)
    assert pool.usable(OFF)
    assert book.active == ()


def test_a_module_that_restarted_is_used_again_only_when_it_is_seen_cold_and_free() -> None:
    pool, book = make()
    pool.look([replace(ON, resets=1)], 1.0)
    assert pool.available_kw(replace(ON, resets=1), 400.0) == 0
    assert book.stands(FaultCode.MODULE_RESET, "m1")
    pool.look([replace(OFF, resets=1)], 600.0)
    assert not pool.usable(OFF), "never by time alone"
    pool.qualified(1, 601.0)
    assert pool.usable(OFF)
    assert book.active == ()


def test_a_command_takes_it_out_and_back() -> None:
    pool, _ = make()
    pool.set_enabled(1, False)
    assert not pool.usable(OFF)
    pool.set_enabled(1, True)
    assert pool.usable(OFF)


@pytest.mark.parametrize(
    ("available_a", "bus_v", "kw"),
    [(133.0, None, 40), (133.0, 400.0, 40), (133.0, 200.0, 27), (50.0, 400.0, 20), (99.3, 400.0, 40), (None, 200.0, 27)]
)
def test_derating(available_a: float | None, bus_v: float | None, kw: int) -> None:
    pool, _ = make()
    assert pool.available_kw(replace(ON, available_a=available_a), bus_v) == kw


def test_an_off_module_counts_whole() -> None:
    pool, _ = make()
    assert pool.available_kw(replace(OFF, available_a=10.0), 400.0) == 40


def test_lower_counts_at_once_higher_only_by_two_kilowatts() -> None:
    pool, _ = make()
    figures = [pool.available_kw(replace(ON, available_a=a), 400.0) for a in (50.0, 45.0, 47.5, 50.0, 133.0)]
    assert figures == [20, 18, 18, 20, 40]


@given(st.lists(st.floats(50.0, 52.4), min_size=2, max_size=50))
def test_noise_moves_nothing_up_again(readings_a: list[float]) -> None:
    pool, _ = make()
    figures = [pool.available_kw(replace(ON, available_a=a), 400.0) for a in readings_a]
    assert all(later <= before for before, later in pairwise(figures))
