"""Job: situations that once went wrong, each as it was seen: they must never come back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from planning.faults import FaultCode
from planning.model import Crosspoint
from planning.reports import OutMessage
from planning.transition import Stage
from simulator.contacts import ContactFault
from simulator.gun_bus import FixedBattery
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


def welded_in_charge(station: VirtualStation) -> None:
    """The contactor of module 2 is found welded while gun 1 goes on with it and module 1."""
    station.plant.break_contact(Crosspoint(1, 2), ContactFault.WELDED, station.clock.time_s)
    station.publish("vesec/1/demand/D1", "30")
    station.run_until(lambda: "CONTACTOR_WELDED g1m2" in faults(station), 15.0)
    for module in range(3, 10):
        station.core.demand.set_module_enabled(module, False)
    station.publish("vesec/1/demand/D1", "75")
    station.run_until(lambda: station.plant.guns[0].power_w > 70_000.0, 30.0)
    decision = station.core.demand.decision
    assert decision is not None and decision.seats[1][0] is Stage.WELDED


def test_the_emergency_order_reaches_a_module_behind_a_welded_contactor(station: VirtualStation) -> None:
    welded_in_charge(station)
    station.wire.board(2).muted = True  # it neither echoes nor shows off
    frames: list[float] = []
    address = station.wire.board(2).address

    def hear(at_s: float, can_id: int, data: bytes, ours: bool) -> None:
        if ours and can_id >> 14 & 127 == address and data[1] == 4 and data[7] == 1:
            frames.append(at_s)

    station.bus._on_frame = hear
    asked_s = station.clock.time_s
    station.publish("vesec/1/vehicle_status/D1", "fault")
    station.run_to(asked_s + 1.0)
    assert frames[0] - asked_s < 0.02, "OFF at once"
    assert len(frames) >= 9, f"and again each 100 ms until it shows off: {frames}"


def test_a_welded_module_that_falls_silent_counts_with_what_it_gave(station: VirtualStation) -> None:
    welded_in_charge(station)
    gave_a = station.plant.modules[1].current_a
    station.wire.board(2).deaf = True
    station.run_to(station.clock.time_s + 6.0)
    assert "MODULE_SILENT m2" in faults(station)
    others = [status for status in station.modules.status(station.clock.time_s) if status.module != 2]
    set_a = sum(status.set_current_a for status in others if status.set_on)
    assert set_a <= 75_000.0 / 640.0 - gave_a + 2.0, "the others go down by what it may still give"
    assert station.plant.guns[0].power_w <= 80_000.0


def test_a_reset_does_not_end_the_fault_of_a_contactor_that_is_still_welded(station: VirtualStation) -> None:
    welded_in_charge(station)
    station.core.demand.reset()
    station.run_to(station.clock.time_s + 1.0)
    assert "CONTACTOR_WELDED g1m2" in faults(station)


def test_a_fault_that_ends_within_one_report_is_told_all_the_same(station: VirtualStation) -> None:
    told: list[bool] = []

    def hear(_: float, message: OutMessage) -> None:
        if message.topic.endswith("fault/central"):
            told.append(json.loads(message.payload)["active"])

    station.on_message = hear
    now_s = station.clock.time_s
    station.core.demand.faults.raise_fault(FaultCode.CAN_SEND_FAILED, "station", now_s)
    station.core.demand.faults.clear(FaultCode.CAN_SEND_FAILED, "station", now_s)
    station.run_to(now_s + 1.0)
    assert told == [True, False]


def test_a_bus_told_dead_is_a_proof_only_through_a_closed_contactor_and_only_until_it_is_fed(
    station: VirtualStation,
) -> None:
    """A module idled on a bus that others fed; "told dead" of before let it close elsewhere with 931 V behind it."""
    feed, gun = station.core.demand._feed, 3
    proofs: dict[int, float | None] = {}
    seen: list[tuple[int, bool]] = []  # (module, its contactor was closed) at each new proof

    def look(_: float) -> None:
        for module in range(1, 10):
            at_s = feed.told_dead_at_s(module)
            if at_s is not None and at_s != proofs.get(module):
                seen.append((module, station.plant.contacts.closed[(gun - 1) * 9 + module - 1]))
            proofs[module] = at_s

    station.on_step = look
    station.publish("vesec/1/demand/D2", "30")
    station.publish("vesec/1/vehicle_status/D2", "connected")
    for _ in range(10):
        station.publish("vesec/1/bus_voltage/D2", "0")
        station.run_to(station.clock.time_s + 1.0)
    assert seen and all(closed for _, closed in seen)
    waiting = {module for module, _ in seen}
    station.publish("vesec/1/vehicle_status/D2", "charging")
    station.run_until(lambda: station.plant.guns[gun - 1].power_w > 10_000.0, 30.0)
    assert all(feed.told_dead_at_s(module) is None for module in waiting), "fed since"


def test_a_module_that_joins_a_bus_held_by_the_car_alone_stays_on_until_it_is_there(tmp_path: Path) -> None:
    """With its coil on, the bus counted as fed and what was told of it as void: the module was switched off between
    coil and contact, and met a charged bus at 339 V without being matched."""
    station = VirtualStation(settings_at(tmp_path), level=Level.WIRE)
    plant = station.plant
    plant.plug(3, FixedBattery(400.0), 0.0)
    plant.set_output(3, True, 0.0)
    for second in range(40):
        station.publish("vesec/1/bus_voltage/D2", f"{plant.guns[2].voltage_v(second):.1f}")
        station.publish("vesec/1/target_voltage/D2", "450")
        station.publish("vesec/1/vehicle_status/D2", "charging")
        station.publish("vesec/1/demand/D2", "75")
        station.run_to(second + 1.0)
    first = next(event for event in plant.events if " closed g3" in event)
    assert "bus 400" in first and "module 39" in first, first
    assert plant.violations == [] and plant.guns[2].power_w > 60_000.0


def test_what_a_bus_had_before_it_was_switched_off_matches_nobody(tmp_path: Path) -> None:
    """After an emergency stop the first module fed the bus anew from 0 V, and the second was matched to the reading of
    before: 346 V onto 102 V. Two modules, else those with fewer hours would come the second time."""
    others_out = "[Modules]\n" + "".join(f"module{n}_enabled = false\n" for n in range(3, 10))
    station = VirtualStation(settings_at(tmp_path, others_out), level=Level.WIRE)
    plant = station.plant
    plant.plug(3, FixedBattery(400.0), 0.0)
    plant.modules[0].soft_start_s = 5.0  # the slower of the two
    for second in range(55):
        if second == 25:
            plant.press_emergency_stop(station.clock.time_s)
        if second == 27:
            plant.release_emergency_stop(station.clock.time_s)
        if second == 29:
            station.core.demand.reset()
        plant.set_output(3, 15 < second < 26 or second > 40, station.clock.time_s)
        station.publish("vesec/1/target_voltage/D2", "450")
        station.publish("vesec/1/vehicle_status/D2", "charging")
        station.publish("vesec/1/demand/D2", "75")
        station.run_to(second + 1.0)
    assert plant.violations == []
    assert len([event for event in plant.events if " closed g3" in event]) >= 4, "both modules came twice"
