"""The simulated station's circuit and its referee: the physics that every other simulated test stands on."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planning.model import Crosspoint
from simulator.contacts import ContactFault
from simulator.gun_bus import MODULE_SIEMENS, FixedBattery, GunBus
from simulator.plant import Plant, index_of
from simulator.power_module import MAX_POWER_W, PowerModule
from simulator.referee import Closing, ViolationKind, judge_closing

BATTERY_V = 640.0


def image(*crosspoints: str) -> int:
    """Coil image of crosspoints written as g1m1."""
    coils = 0
    for name in crosspoints:
        gun, module = name[1:].split("m")
        coils |= 1 << index_of(Crosspoint(int(gun), int(module)))
    return coils


def station(**options: float) -> Plant:
    """A plant with exact meters and modules that forget nothing, unless asked otherwise."""
    return Plant(seed=3, **({"forget_share": 0.0, "meter_error": 0.0} | options))  # type: ignore[arg-type]


def charging(
    modules: int = 1, voltage_v: float = 700.0, current_a: float = 50.0, battery_v: float = BATTERY_V
) -> Plant:
    """A plant whose gun 1 charges a battery through modules 1 to `modules`, settled."""
    plant = station()
    plant.plug(1, FixedBattery(battery_v), 0.0)
    plant.set_coils(image(*(f"g1m{module}" for module in range(1, modules + 1))), 0.0)
    plant.advance(0.1)
    plant.set_output(1, True, plant.now_s)
    for module in plant.modules[:modules]:
        module.set_voltage(voltage_v)
        module.set_current(current_a)
        module.switch(True, plant.now_s)
    plant.advance(8.0)
    return plant


# --- bus bar --------------------------------------------------------------------------------------------------------


def test_the_bleeder_takes_a_bus_from_1000_v_to_60_v_in_four_to_five_seconds() -> None:
    plant = station()
    plant.plug(1, FixedBattery(1000.0), 0.0)
    plant.set_output(1, True, 0.0)
    plant.advance(1.0)
    assert plant.bus_voltage_v(1) == pytest.approx(1000.0)
    plant.set_output(1, False, plant.now_s)
    plant.advance(4.0)
    assert plant.bus_voltage_v(1) > 60.0
    plant.advance(1.0)
    assert plant.bus_voltage_v(1) < 60.0


def test_an_unloaded_bus_follows_its_module_up_and_bleeds_down_when_it_stops() -> None:
    plant = station()
    plant.set_coils(image("g2m4"), 0.0)
    module = plant.modules[3]
    module.set_voltage(800.0)
    module.set_current(2.0)
    module.switch(True, 0.0)
    plant.advance(6.0)
    assert plant.bus_voltage_v(2) == pytest.approx(800.0, abs=0.1)
    assert 0.0 < plant.bus_current_a(2) < 0.1  # what the bleeder takes
    module.switch(False, plant.now_s)
    plant.advance(5.0)
    assert plant.bus_voltage_v(2) < 60.0


@given(
    data=st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 133)), min_size=1, max_size=9),
    battery_v=st.one_of(st.none(), st.floats(150, 950)),
    before_v=st.floats(0, 1000),
)
@settings(max_examples=80, deadline=None)
def test_at_the_solved_voltage_what_flows_in_flows_out(
    data: list[tuple[float, float]], battery_v: float | None, before_v: float
) -> None:
    bus = GunBus(1)
    bus._voltage_v = before_v
    if battery_v is not None:
        bus.battery, bus.connected, bus._ocv_v = FixedBattery(battery_v), True, battery_v
    for number, (reference_v, allowed_a) in enumerate(data, 1):
        module = PowerModule(number, random.Random(number), [])
        module.on, module.reference_v, module.allowed_a = True, reference_v, allowed_a
        bus.live.append(module)
    voltage_v = bus._solve(before_v)
    inflow_a = sum(min(max(0.0, (m.reference_v - voltage_v) * MODULE_SIEMENS), m.allowed_a) for m in bus.live)
    siemens, source_a = bus._load()
    tolerance_a = 0.01 * (siemens + MODULE_SIEMENS * len(data))  # 10 mV off at most
    assert inflow_a + source_a == pytest.approx(siemens * voltage_v, abs=tolerance_a)


# --- module ----------------------------------------------------------------------------------------------------------


def test_nothing_comes_out_before_the_soft_start_is_over() -> None:
    plant = station()
    for module in plant.modules:
        module.set_voltage(500.0)
        module.set_current(10.0)
        module.switch(True, 0.0)
    plant.advance(0.95)
    assert all(module.output_v(plant.now_s) == 0.0 and module.starting(plant.now_s) for module in plant.modules)
    plant.advance(5.0)
    assert all(module.output_v(plant.now_s) == pytest.approx(500.0) for module in plant.modules)
    assert len({module.soft_start_s for module in plant.modules}) == 9
    assert all(1.0 <= module.soft_start_s <= 3.0 for module in plant.modules)


def test_into_a_battery_it_limits_the_current_until_the_voltage_is_reached() -> None:
    plant = charging(voltage_v=700.0, current_a=50.0)
    module = plant.modules[0]
    assert module.constant_current
    assert module.current_a == pytest.approx(50.0)
    assert plant.bus_voltage_v(1) == pytest.approx(BATTERY_V + 50.0 * 0.08, abs=0.01)
    module.set_voltage(642.0)
    plant.advance(1.0)
    assert not module.constant_current
    assert 0.0 < module.current_a < 50.0
    assert plant.bus_voltage_v(1) == pytest.approx(642.0, abs=1.0)


@pytest.mark.parametrize(("battery_v", "highest_a"), [(250.0, 133.0), (640.0, 62.5), (900.0, 44.5)])
def test_it_keeps_to_133_a_and_to_40_kw(battery_v: float, highest_a: float) -> None:
    plant = charging(voltage_v=1000.0, current_a=500.0, battery_v=battery_v)
    assert plant.modules[0].current_a == pytest.approx(highest_a, rel=0.02)
    assert plant.guns[0].power_w <= MAX_POWER_W * 1.001


def test_low_range_ends_at_500_v_and_is_taken_only_while_off() -> None:
    plant = charging(voltage_v=1000.0, current_a=10.0, battery_v=480.0)
    module = plant.modules[0]
    module.set_range(low=True)
    assert not module.low_range
    module.switch(False, plant.now_s)
    module.set_range(low=True)
    module.switch(True, plant.now_s)
    plant.plug(1, None, plant.now_s)
    plant.advance(6.0)
    assert plant.bus_voltage_v(1) == pytest.approx(500.0, abs=0.1)


def test_the_diode_lets_no_current_back() -> None:
    plant = charging(voltage_v=600.0)  # 40 V below the battery
    module = plant.modules[0]
    assert plant.bus_voltage_v(1) == pytest.approx(BATTERY_V, abs=0.01)
    assert module.current_a == 0.0
    assert module.output_v(plant.now_s) == pytest.approx(600.0)  # the reading is of the capacitor before the diode
    assert module.terminal_v(plant.now_s) == pytest.approx(BATTERY_V, abs=0.01)
    module.switch(False, plant.now_s)
    plant.advance(8.0)
    assert module.output_v(plant.now_s) < 60.0
    assert module.terminal_v(plant.now_s) == pytest.approx(BATTERY_V)


def test_modules_in_parallel_add_up_and_the_battery_gets_the_energy() -> None:
    plant = charging(modules=3, current_a=40.0)
    gun = plant.guns[0]
    assert gun.current_a == pytest.approx(120.0)
    assert gun.voltage_v(plant.now_s) == pytest.approx(BATTERY_V + 120.0 * 0.08, abs=0.01)
    before_j = gun.energy_j
    plant.advance(10.0)
    assert gun.energy_j - before_j == pytest.approx(gun.power_w * 10.0, rel=0.002)
    assert gun.peak_a == pytest.approx(120.0)
    assert plant.violations == []


def test_a_higher_limit_is_a_ramp_a_lower_one_takes_milliseconds() -> None:
    plant = charging(current_a=10.0)
    module = plant.modules[0]
    module.set_current(50.0)
    plant.advance(0.1)
    assert 15.0 < module.current_a < 45.0
    plant.advance(1.0)
    module.set_current(5.0)
    plant.advance(0.05)
    assert module.current_a == pytest.approx(5.0)


def test_off_stops_the_current_at_once_and_the_capacitor_in_seconds() -> None:
    plant = charging()
    plant.plug(1, None, plant.now_s)
    for module in plant.modules:
        module.set_voltage(1000.0)
        module.set_current(10.0)
        module.switch(True, plant.now_s)
    plant.advance(8.0)
    for module in plant.modules:
        module.switch(False, plant.now_s)
        assert module.current_a == 0.0
    plant.advance(2.5)
    assert all(module.output_v(plant.now_s) > 60.0 for module in plant.modules)
    plant.advance(3.0)
    assert all(module.output_v(plant.now_s) < 60.0 for module in plant.modules)


def test_a_lower_set_point_of_an_unloaded_module_is_reached_only_through_its_bleeder() -> None:
    plant = station()
    module = plant.modules[0]
    module.set_voltage(1000.0)
    module.set_current(1.0)
    module.switch(True, 0.0)
    plant.advance(8.0)
    module.set_voltage(200.0)
    plant.advance(0.5)
    assert 500.0 < module.output_v(plant.now_s) < 800.0
    plant.advance(3.0)
    assert module.output_v(plant.now_s) == pytest.approx(200.0)


@pytest.mark.parametrize("forget_share", [0.0, 1.0])
def test_some_modules_forget_at_on_what_they_were_told_while_off(forget_share: float) -> None:
    plant = station(forget_share=forget_share)
    module = plant.modules[0]
    module.set_voltage(500.0)
    module.set_current(10.0)
    module.switch(True, 0.0)
    plant.advance(6.0)
    assert (module.output_v(plant.now_s) == 0.0) is (forget_share == 1.0)
    module.set_voltage(500.0)
    module.set_current(10.0)
    module.switch(True, plant.now_s)  # on while on: no new start
    plant.advance(2.0)
    assert module.output_v(plant.now_s) == pytest.approx(500.0)


def test_meters_and_regulators_differ_from_module_to_module() -> None:
    plant = Plant(seed=1, meter_error=0.002)
    assert len({module.gain_v for module in plant.modules}) == 9
    assert all(abs(module.gain_a - 1.0) <= 0.002 for module in plant.modules)


# --- contactors ------------------------------------------------------------------------------------------------------


def test_contactors_take_8_to_30_ms_and_the_mirror_never_says_open_while_poles_are_closed() -> None:
    plant = station()
    everything = (1 << 54) - 1
    plant.set_coils(everything, 0.0)
    plant.advance_to(0.005)
    assert plant.feedback() == 1 << 54
    plant.advance_to(0.031)
    assert plant.feedback() == everything | 1 << 54
    plant.set_coils(0, plant.now_s)
    for _ in range(40):
        plant.advance(0.001)
        assert all(plant.feedback() >> i & 1 for i, closed in enumerate(plant.contacts.closed) if closed)
    assert plant.feedback() == 1 << 54


def test_a_coil_that_is_let_go_before_the_poles_meet_closes_nothing() -> None:
    plant = station()
    plant.set_coils(image("g1m1"), 0.0)
    plant.advance(0.004)
    plant.set_coils(0, plant.now_s)
    plant.advance(0.1)
    assert plant.closed_contacts() == []
    assert plant.referee.closings == 0
    assert plant.feedback() == 1 << 54


def test_welded_stuck_and_blind_contacts() -> None:
    plant = station()
    welded, stuck, blind, broken = (Crosspoint(1, module) for module in (1, 2, 3, 4))
    for crosspoint, fault in (
        (welded, ContactFault.WELDED),
        (stuck, ContactFault.STUCK_OPEN),
        (blind, ContactFault.READS_OPEN),
        (broken, ContactFault.READS_CLOSED),
    ):
        plant.break_contact(crosspoint, fault, 0.0)
    assert plant.feedback() == image("g1m4") | 1 << 54
    plant.set_coils(image("g1m1", "g1m2", "g1m3"), 0.0)
    plant.advance(0.1)
    assert plant.closed_contacts() == [welded, blind]
    assert plant.feedback() == image("g1m1", "g1m4") | 1 << 54
    plant.set_coils(0, plant.now_s)
    plant.advance(0.1)
    assert plant.closed_contacts() == [welded]
    plant.repair_contact(welded, plant.now_s)
    plant.advance(0.1)
    assert plant.closed_contacts() == []


def test_a_contact_that_slams_by_itself_stays_closed() -> None:
    plant = station()
    plant.slam(Crosspoint(6, 9), 0.0)
    plant.advance(0.1)
    assert plant.closed_contacts() == [Crosspoint(6, 9)]
    assert plant.feedback() == 1 << 53 | 1 << 54


def test_the_emergency_stop_takes_the_modules_first_and_the_coils_100_ms_later() -> None:
    plant = charging(modules=2)
    pressed_s = plant.now_s
    plant.press_emergency_stop(pressed_s)
    assert not plant.estop_healthy
    plant.advance(0.01)
    assert plant.bus_current_a(1) == 0.0
    plant.advance_to(pressed_s + 0.1)
    assert len(plant.closed_contacts()) == 2
    plant.advance_to(pressed_s + 0.15)
    assert plant.closed_contacts() == []
    plant.modules[0].switch(True, plant.now_s)
    assert not plant.modules[0].on
    assert plant.violations == []
    plant.release_emergency_stop(plant.now_s)
    plant.modules[0].switch(True, plant.now_s)
    assert plant.modules[0].on


# --- referee ---------------------------------------------------------------------------------------------------------

DEAD = Closing(module_on=False, module_v=20.0, terminal_v=30.0, limit_a=0.0, bus_v=0.0, others_closed=False)
LIVE = Closing(module_on=True, module_v=630.0, terminal_v=630.0, limit_a=1.0, bus_v=640.0, others_closed=True)


def changed(closing: Closing, **fields: float) -> Closing:
    values = {name: getattr(closing, name) for name in Closing.__slots__}
    return Closing(**(values | fields))


@pytest.mark.parametrize(
    ("closing", "kind"),
    [
        (DEAD, None),
        (LIVE, None),
        (changed(DEAD, bus_v=640.0), None),  # first contactor of a gun: nothing is known to be live
        (changed(DEAD, others_closed=True), None),  # told dead
        (changed(LIVE, module_v=640.0), None),
        (changed(LIVE, module_v=620.0), None),
        (changed(DEAD, bus_v=640.0, others_closed=True), ViolationKind.CLOSE_UNMATCHED),
        (changed(DEAD, module_v=70.0), ViolationKind.CLOSE_HIGH),
        (changed(DEAD, module_on=True), ViolationKind.CLOSE_UNMATCHED),
        (changed(DEAD, terminal_v=300.0), ViolationKind.CLOSE_CHARGED),
        (changed(LIVE, module_v=662.0), ViolationKind.CLOSE_HIGH),
        (changed(LIVE, module_v=646.9), None),  # the bus fell while the poles travelled
        (changed(LIVE, module_v=647.1), ViolationKind.CLOSE_UNMATCHED),
        (changed(LIVE, module_v=615.0), ViolationKind.CLOSE_UNMATCHED),
        (changed(LIVE, module_on=False), ViolationKind.CLOSE_UNMATCHED),
        (changed(LIVE, limit_a=10.0), ViolationKind.CLOSE_UNLIMITED),
    ],
)
def test_the_referee_knows_right_from_wrong(closing: Closing, kind: ViolationKind | None) -> None:
    assert judge_closing(closing) is kind


def kinds(plant: Plant) -> list[tuple[ViolationKind, str]]:
    return [(violation.kind, str(violation.crosspoint)) for violation in plant.violations]


def close_a_loaded_module_on_a_dead_bus(plant: Plant) -> None:
    plant.modules[4].set_voltage(700.0)
    plant.modules[4].set_current(1.0)
    plant.modules[4].switch(True, plant.now_s)
    plant.advance(6.0)
    plant.set_coils(image("g1m1", "g2m5"), plant.now_s)


def close_an_off_module_on_a_live_gun(plant: Plant) -> None:
    plant.set_coils(image("g1m1", "g1m5"), plant.now_s)


def open_under_load(plant: Plant) -> None:
    plant.set_coils(0, plant.now_s)


def join_two_guns(plant: Plant) -> None:
    plant.modules[0].switch(False, plant.now_s)
    plant.set_coils(image("g1m1", "g2m1"), plant.now_s)


def open_the_dispenser_under_load(plant: Plant) -> None:
    plant.set_output(1, False, plant.now_s)


def carry_a_charged_lead_to_another_gun(plant: Plant) -> None:
    module = plant.modules[0]
    module.switch(False, plant.now_s)
    plant.advance(4.5)  # its capacitor is empty, but the battery still holds the lead up
    plant.set_coils(0, plant.now_s)
    plant.advance(0.1)
    plant.set_coils(image("g2m1"), plant.now_s)


@pytest.mark.parametrize(
    ("act", "kind", "crosspoint"),
    [
        (close_a_loaded_module_on_a_dead_bus, ViolationKind.CLOSE_HIGH, "g2m5"),
        (close_an_off_module_on_a_live_gun, ViolationKind.CLOSE_UNMATCHED, "g1m5"),
        (open_under_load, ViolationKind.OPEN_LOADED, "g1m1"),
        (join_two_guns, ViolationKind.JOINED, "g2m1"),
        (open_the_dispenser_under_load, ViolationKind.OUTPUT_LOADED, "g1m0"),
        (carry_a_charged_lead_to_another_gun, ViolationKind.CLOSE_CHARGED, "g2m1"),
    ],
)
def test_the_referee_catches_it_in_the_running_plant(
    act: Callable[[Plant], None], kind: ViolationKind, crosspoint: str
) -> None:
    plant = charging()
    assert plant.violations == []
    act(plant)
    plant.advance(0.2)
    assert (kind, crosspoint) in kinds(plant)
    assert plant.referee.counts[kind] == 1


def test_a_module_joins_a_live_bus_as_the_rule_asks_and_nobody_complains() -> None:
    plant = charging()
    joining = plant.modules[1]
    joining.set_voltage(plant.bus_voltage_v(1) - 10.0)
    joining.set_current(1.0)
    joining.switch(True, plant.now_s)
    plant.advance(6.0)
    plant.set_coils(image("g1m1", "g1m2"), plant.now_s)
    plant.advance(0.2)
    assert joining.current_a == 0.0
    joining.set_voltage(700.0)
    joining.set_current(30.0)
    plant.advance(2.0)
    assert plant.bus_current_a(1) == pytest.approx(80.0)
    assert plant.violations == []


# --- time ------------------------------------------------------------------------------------------------------------


def test_the_same_orders_give_the_same_events_whatever_the_pace() -> None:
    def run(pace_s: float) -> tuple[list[str], float]:
        plant = Plant(seed=7)
        plant.plug(1, FixedBattery(BATTERY_V), 0.0)
        plant.set_coils(image("g1m1", "g1m2"), 0.0)
        for module in plant.modules[:2]:
            module.switch(True, 0.0)
            module.set_voltage(700.0)
            module.set_current(20.0)
        while plant.now_s < 6.0:
            plant.advance_to(min(6.0, plant.now_s + pace_s))
        return list(plant.events), plant.guns[0].peak_v

    assert run(6.0) == run(0.5) == run(0.01)


def test_an_idle_station_jumps_over_hours() -> None:
    plant = station()
    plant.advance(1_000_000.0)
    assert plant.now_s == 1_000_000.0
    plant.modules[0].switch(True, plant.now_s)
    plant.modules[0].set_voltage(500.0)
    plant.modules[0].set_current(5.0)
    plant.advance(6.0)
    assert plant.modules[0].output_v(plant.now_s) == pytest.approx(500.0)
