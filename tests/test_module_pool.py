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
from planning.module_pool import NO_START_PAUSE_S, RISE_AFTER_S, SHOWN_S, ModulePool
from planning.module_trust import ModuleTrust
from planning.settings import Safety

OFF = ModuleStatus(1, ModuleState.OFF, on=False)
ON = replace(OFF, state=ModuleState.ON, on=True, available_a=133.0)


def make(modules: int = 1) -> tuple[ModulePool, FaultBook]:
    book = FaultBook()
    return ModulePool(modules, 40.0, 133.0, ModuleTrust(modules, Safety(), book), book), book


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


def test_one_that_falls_silent_again_and_again_is_left_alone_ever_longer() -> None:
    pool, book = make()

    def usable_at(now_s: float) -> bool:
        pool.look([OFF], now_s)
        return pool.usable(OFF)

    for now_s in (0.0, 100.0, 650.0):
        pool.lapsed(1, now_s)
    assert usable_at(650.0), "not three within ten minutes"
    pool.lapsed(1, 660.0)
    assert not usable_at(1259.9) and book.stands(FaultCode.MODULE_UNSTEADY, "m1")
    assert usable_at(1260.0) and not book.stands(FaultCode.MODULE_UNSTEADY, "m1")
    for now_s in (1300.0, 1301.0, 1302.0):
        pool.lapsed(1, now_s)
    assert not usable_at(2501.9) and usable_at(2502.0)
    for now_s in (2600.0, 2601.0, 2602.0):
        pool.lapsed(1, now_s)
    pool.forgive(2700.0)
    assert usable_at(2700.0), "a person has looked"


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


def test_lower_counts_at_once_higher_only_by_two_kilowatts_for_half_a_minute() -> None:
    pool, _ = make()

    def at(now_s: float, amps: float) -> int:
        status = replace(ON, available_a=amps)
        pool.look([status], now_s)
        return pool.available_kw(status, 400.0)

    assert [at(0.0, 50.0), at(1.0, 45.0), at(2.0, 47.5), at(60.0, 47.5)] == [20, 18, 18, 18], "1 kW more is noise"
    assert [at(61.0, 133.0), at(90.9, 133.0), at(91.0, 133.0)] == [18, 18, 40]
    assert [at(92.0, 50.0), at(93.0, 100.0), at(100.0, 60.0), at(123.0, 133.0)] == [20, 20, 20, 24], "the least of them"
    assert [at(124.0, 60.0), at(125.0, 133.0), at(130.0, 60.0), at(160.0, 133.0)] == [24] * 4, "it starts anew"


def test_what_modules_show_on_a_hot_day_holds_when_they_are_idle_and_for_those_that_never_served() -> None:
    """An idle module looked whole and took the place of the one that served: 2,000 closings an hour with one car."""
    pool, _ = make(modules=3)
    hot = [replace(ON, module=number, available_a=80.0) for number in (1, 2, 3)]
    idle = [replace(OFF, module=number) for number in (1, 2, 3)]
    pool.look(hot, 0.0)
    assert pool.available_kw(hot[0], 400.0) == 32
    assert pool.available_kw(idle[2], None) == 40, "one alone may be weak by itself"
    assert pool.available_kw(hot[1], 400.0) == 32
    assert pool.available_kw(idle[2], None) == 32
    pool.look(idle, SHOWN_S - 1.0)
    assert [pool.available_kw(status, None) for status in idle] == [32, 32, 32]
    for now_s in (SHOWN_S, SHOWN_S + RISE_AFTER_S):
        pool.look(idle, now_s)
        kw = [pool.available_kw(status, None) for status in idle]
    assert kw == [40, 40, 40], "by then it may have cooled down"


@given(st.lists(st.floats(50.0, 52.4), min_size=2, max_size=50))
def test_noise_moves_nothing_up_again(readings_a: list[float]) -> None:
    pool, _ = make()
    figures = [pool.available_kw(replace(ON, available_a=a), 400.0) for a in readings_a]
    assert all(later <= before for before, later in pairwise(figures))
