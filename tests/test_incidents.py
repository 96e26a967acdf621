"""Job: situations that once went wrong, each as it was seen: they must never come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from planning.model import Crosspoint
from simulator.contacts import ContactFault
from simulator.serve import FixedCars
from simulator.virtual import Level, VirtualStation, settings_at


@pytest.fixture
def station(tmp_path: Path) -> VirtualStation:
    """Gun 1 charges with modules 1 and 2 from a 640 V battery, over the full wire."""
    made = VirtualStation(settings_at(tmp_path), level=Level.WIRE)
    cars = FixedCars(made.plant, 640.0, 0.0)
    step = made._cabinet.step

    def with_cars(now_s: float) -> None:
        step(now_s)
        cars.step(now_s)

    made._cabinet.step = with_cars  # type: ignore[method-assign]
    made.run_to(11.0)
    made.publish("vesec/1/demand/D1", "75")
    made.run_until(lambda: made.plant.guns[0].power_w > 70_000.0, 30.0)
    return made


def faults(station: VirtualStation) -> set[str]:
    return {f"{fault.code} {fault.id}" for fault in station.core.demand.faults.active}


def test_a_contactor_that_dropped_and_closes_again_joins_nobody(station: VirtualStation) -> None:
    now_s = station.clock.time_s
    station.plant.break_contact(Crosspoint(1, 1), ContactFault.STUCK_OPEN, now_s)
    station.run_until(lambda: "CONTACTOR_DROPPED g1m1" in faults(station), 2.0)
    station.publish("vesec/1/demand/D2", "240")
    station.run_to(now_s + 30.0)
    decision = station.core.demand.decision
    assert decision is not None
    assert decision.wants[0] == 0, "a module with a doubtful contactor serves nobody"
    station.plant.slam(Crosspoint(1, 1), station.clock.time_s)
    station.run_to(station.clock.time_s + 1.0)
    assert "CONTACTOR_CLOSED_ALONE g1m1" in faults(station)
    assert not [violation for violation in station.plant.violations if violation.kind.value == "joined"]


def test_after_a_frozen_second_no_contactor_is_picked_up_again(station: VirtualStation) -> None:
    demand, plant = station.core.demand, station.plant
    closings, edges = plant.referee.closings, station.gpio.heartbeat_edges
    frozen_until_s = station.clock.time_s + 0.6
    station._control_due_s = station._tx_due_s = frozen_until_s
    station.run_to(frozen_until_s - 0.001)
    assert not plant.closed_contacts(), "the monostable has dropped the coils"
    station.run_to(frozen_until_s + 3.0)
    assert demand.door_shut.is_set()
    assert plant.referee.closings == closings
    assert station.gpio.heartbeat_edges <= edges + 1, "the line falls once, when the outputs are disabled already"
    assert station.contactors.coil_image == 0


def test_the_emergency_order_opens_at_60_ms(station: VirtualStation) -> None:
    asked_s = station.clock.time_s
    station.publish("vesec/1/vehicle_status/D1", "fault")
    station.run_until(lambda: station.contactors.coil_image == 0, 1.0, step_s=0.001)
    assert station.clock.time_s - asked_s <= 0.075


def test_a_fault_that_is_over_at_once_still_stops_the_gun(station: VirtualStation) -> None:
    station.publish("vesec/1/vehicle_status/D1", "fault")
    station.publish("vesec/1/vehicle_status/D1", "charging")
    station.run_to(station.clock.time_s + 0.3)
    assert station.plant.guns[0].power_w == 0.0


def test_the_next_car_does_not_get_the_voltage_of_the_last(station: VirtualStation) -> None:
    station.publish("vesec/1/target_voltage/D1", "800")
    station.publish("vesec/1/vehicle_status/D1", "available")
    assert station.core.guns[1].snapshot().values.target_voltage_v is None
