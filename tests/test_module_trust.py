"""Job: a module that lies or does not obey is found, and one that only lags behind is not.

Thread: the test's. Lock: none. Units: V, A, s.
"""

from __future__ import annotations

from dataclasses import replace

from planning.faults import FaultBook, FaultCode
from planning.model import ModuleState, ModuleStatus
from planning.module_trust import ModuleTrust
from planning.settings import Safety

STEP_S = 0.5
RUNNING = ModuleStatus(
    1, ModuleState.ON, on=True, voltage_v=640.0, current_a=40.0, available_a=133.0, constant_current=True,
    set_on=True, set_voltage_v=670.0, set_current_a=40.0,
)  # fmt: skip


OFF_AT_LAST = replace(
    RUNNING, state=ModuleState.OFF, on=False, set_on=False, voltage_v=5.0, current_a=0.0, constant_current=False
)


class Bench:
    """Tells a module's readings twice a second."""

    def __init__(self) -> None:
        self.faults = FaultBook()
        self.trust = ModuleTrust(1, Safety(), self.faults)
        self.now_s = 10.0

    def tell(self, status: ModuleStatus, seconds: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            self.now_s += STEP_S
            fresh = replace(status, voltage_at_s=self.now_s, current_at_s=self.now_s, on_at_s=self.now_s)
            self.trust.look([fresh], self.now_s)

    @property
    def codes(self) -> set[str]:
        return {fault.code for fault in self.faults.active}


def found(status: ModuleStatus, seconds: float) -> set[str]:
    bench = Bench()
    bench.tell(RUNNING, 5.0)
    assert bench.codes == set() and not bench.trust.doubted(1)
    bench.tell(status, seconds)
    assert bench.trust.doubted(1) is bool(bench.codes)
    return bench.codes


def test_a_module_that_keeps_its_current_when_it_is_lowered_is_found_after_the_window_and_a_second() -> None:
    lowered = replace(RUNNING, set_current_a=10.0)
    assert found(lowered, 3.0) == set(), "it has three seconds to follow"
    assert found(lowered, 5.0) == {"MODULE_DISOBEYS"}


def test_a_module_that_delivers_although_told_off_is_found() -> None:
    assert found(replace(RUNNING, set_on=False), 5.0) == {"MODULE_DISOBEYS"}


def test_a_little_more_than_set_is_tolerance() -> None:
    assert found(replace(RUNNING, current_a=44.9), 20.0) == set()
    assert found(replace(RUNNING, current_a=45.5), 2.0) == {"MODULE_DISOBEYS"}


def test_more_voltage_than_set_is_found_in_two_readings_a_second_apart() -> None:
    assert found(replace(RUNNING, voltage_v=705.0, current_a=0.0, constant_current=False), 1.0) == set()
    assert found(replace(RUNNING, voltage_v=705.0, current_a=0.0, constant_current=False), 1.5) == {"MODULE_DISOBEYS"}


def test_an_output_that_falls_slowly_after_the_set_point_is_lowered_is_no_disobedience() -> None:
    bench = Bench()
    bench.tell(RUNNING, 5.0)
    idle = replace(RUNNING, set_voltage_v=200.0, current_a=0.0, constant_current=False)
    for volts in (600.0, 450.0, 330.0, 250.0, 210.0, 205.0):
        bench.tell(replace(idle, voltage_v=volts), 1.0)
    assert bench.codes == set()


def test_a_voltage_that_does_not_come_up_is_found_after_the_soft_start() -> None:
    low = replace(RUNNING, voltage_v=64.0, current_a=0.0, constant_current=False)
    assert found(low, 8.0) == set()
    assert found(low, 9.0) == {"MODULE_DISOBEYS"}


def test_a_module_that_is_set_to_nothing_need_not_come_up() -> None:
    starved = replace(RUNNING, voltage_v=64.0, current_a=0.0, set_current_a=0.0, constant_current=False)
    assert found(starved, 20.0) == set()


def test_constant_current_at_half_the_set_one_cannot_be() -> None:
    assert found(replace(RUNNING, current_a=4.0), 9.0) == {"MODULE_IMPLAUSIBLE"}
    assert found(replace(RUNNING, current_a=4.0, available_a=5.0), 9.0) == set(), "a derated one says so"


def test_off_and_delivering_cannot_be() -> None:
    lying = replace(RUNNING, state=ModuleState.OFF, on=False, current_a=4.0, constant_current=False)
    assert found(lying, 3.0) == set()
    assert found(lying, 4.0) == {"MODULE_IMPLAUSIBLE"}


def test_values_that_the_bus_room_refused_are_held_against_the_module() -> None:
    assert found(replace(RUNNING, warnings=("readings_impossible",)), 2.0) == {"MODULE_IMPLAUSIBLE"}
    assert found(replace(RUNNING, warnings=("power_above_nameplate",)), 2.0) == {"MODULE_IMPLAUSIBLE"}


def test_frozen_readings_stand_until_they_move() -> None:
    bench = Bench()
    bench.tell(replace(RUNNING, warnings=("readings_frozen",)), 1.0)
    assert bench.codes == {"MODULE_READINGS_FROZEN"} and bench.trust.doubted(1)
    bench.tell(RUNNING, 1.0)
    assert bench.codes == set() and not bench.trust.doubted(1)


def test_disobedience_stands_until_a_person_resets() -> None:
    bench = Bench()
    bench.tell(replace(RUNNING, set_on=False), 5.0)
    bench.tell(OFF_AT_LAST, 5.0)
    assert bench.codes == {"MODULE_DISOBEYS"}
    bench.faults.clear_by_person(bench.now_s, lambda _: False)
    bench.tell(OFF_AT_LAST, 5.0)
    assert not bench.trust.doubted(1)


def test_a_module_whose_off_is_not_confirmed_gets_no_new_duty() -> None:
    bench = Bench()
    bench.faults.raise_fault(FaultCode.MODULE_OFF_NOT_CONFIRMED, "m1", bench.now_s)
    assert bench.trust.doubted(1)


def test_a_module_that_stays_on_although_told_off_is_found() -> None:
    idle = replace(RUNNING, set_on=False, current_a=0.0, constant_current=False)
    assert found(idle, 3.0) == set(), "a status word is up to half a second old"
    assert found(idle, 4.0) == {"MODULE_DISOBEYS"}


def test_a_module_that_comes_along_with_a_search_lags_by_what_is_set_meanwhile() -> None:
    """An honest one was taken out of service until a person reset it."""
    bench = Bench()
    waits = replace(RUNNING, current_a=0.0, constant_current=False, set_current_a=1.0)
    for step in range(40):  # 40 V a second, and it is 1.5 s late
        set_v, volts = 150.0 + 20.0 * step, max(20.0, 150.0 + 20.0 * (step - 3))
        bench.tell(replace(waits, set_voltage_v=set_v, voltage_v=volts), STEP_S)
    assert bench.codes == set()
    stuck = replace(waits, set_voltage_v=930.0, voltage_v=400.0)
    bench.tell(stuck, 8.0)
    assert bench.codes == set()
    bench.tell(stuck, 2.0)
    assert bench.codes == {"MODULE_DISOBEYS"}
