"""Job: every code of the catalogue is reached by breaking something: most of them by a scenario, the rest by a test.

Thread: the test's. Lock: none. Units: none.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import contactor_controller
from planning.faults import FaultCode
from planning.model import CloseRefusal
from simulator.gun_bus import FixedBattery
from simulator.virtual import VirtualStation, settings_at

TESTS = Path(__file__).parent
#: What no scenario can break: the house around the control path, and an interlock that refuses without a reason.
BY_TESTS = {
    FaultCode.CLOSE_REFUSED: "test_fault_codes::test_a_close_that_is_refused_for_three_seconds_is_told",
    FaultCode.BROKER_LOST: "test_process::test_a_broker_that_goes_takes_the_demand_with_it_and_brings_service_back",
    FaultCode.CLIENT_ID_TAKEN: "test_house_under_stress::test_a_second_client_with_our_id_is_told_and_moves_nothing",
    FaultCode.DISK_FAILED: "test_house_under_stress::test_a_full_disk_is_told_and_the_charge_goes_on",
}


def reached_by_scenarios() -> set[str]:
    texts = [path.read_text(encoding="utf-8") for path in (TESTS / "scenarios").glob("*.ini")]
    return {code for text in texts for code in re.findall(r"(?:fault|told) ([A-Z_]+) \S+$", text, re.MULTILINE)}


@pytest.mark.parametrize("code", FaultCode, ids=lambda code: code.name)
def test_something_that_breaks_reaches_it(code: FaultCode) -> None:
    if code in BY_TESTS:
        file, test = BY_TESTS[code].split("::")
        text = (TESTS / f"{file}.py").read_text(encoding="utf-8")
        assert f"def {test}(" in text and code.name in text
    else:
        assert code.name in reached_by_scenarios()


def test_a_close_that_is_refused_for_three_seconds_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    station = VirtualStation(settings_at(tmp_path))
    station.run_to(11.0)
    monkeypatch.setattr(contactor_controller, "judge_close", lambda *_: CloseRefusal.MODULE_NOT_DEAD)
    station.plant.plug(1, FixedBattery(640.0), station.clock.time_s)
    station.publish("vesec/1/demand/D1", "30")
    station.run_to(14.5)
    told = {(fault.code, fault.id) for fault in station.core.demand.faults.active}
    assert (FaultCode.CLOSE_REFUSED.name, "g1m1") in told
    assert station.plant.referee.closings == 0
    station.run_to(20.0)
    assert FaultCode.CLOSE_REFUSED.name in {fault.code for fault in station.core.demand.faults.ended}
