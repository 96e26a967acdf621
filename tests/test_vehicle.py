"""The cars: curve, voltage and battery belong together, and one seed gives one timetable."""

from __future__ import annotations

import pytest

from simulator.arrivals import timetable
from simulator.plant import Plant
from simulator.vehicle import Car, CarModel, car_models, interpolate

MODEL = CarModel("Test 77", 77.0, 400, ((0.0, 125.0), (35.0, 125.0), (70.0, 65.0), (100.0, 25.0)))


def test_the_table_has_cars_of_both_voltage_classes_with_whole_curves() -> None:
    models = car_models()
    assert len(models) == 129
    assert {model.voltage_class_v for model in models} == {400, 800}
    for model in models:
        assert model.battery_kwh > 10.0
        assert [soc for soc, _ in model.curve_kw] == sorted(soc for soc, _ in model.curve_kw)
        assert all(0.0 < power <= 400.0 for _, power in model.curve_kw)


@pytest.mark.parametrize(
    ("soc_pct", "power_kw"), [(0.0, 125.0), (20.0, 125.0), (35.0, 125.0), (52.5, 95.0), (70.0, 65.0), (85.0, 45.0)]
)
def test_the_demand_follows_the_curve(soc_pct: float, power_kw: float) -> None:
    assert Car(MODEL, soc_pct, target_soc_pct=100.0).wanted_kw() == pytest.approx(power_kw)


def test_the_cars_own_limit_and_its_target_count() -> None:
    assert Car(MODEL, 20.0, limit_kw=50.0).wanted_kw() == 50.0
    full = Car(MODEL, 80.0, target_soc_pct=80.0)
    assert full.full
    assert full.wanted_kw() == 0.0


@pytest.mark.parametrize(("voltage_class", "empty_v", "full_v"), [(400, 307.2, 398.4), (800, 614.4, 796.8)])
def test_the_pack_voltage_rises_with_the_charge_and_stays_below_its_limit(
    voltage_class: int, empty_v: float, full_v: float
) -> None:
    model = CarModel("Pack", 80.0, voltage_class, ((0.0, 100.0), (100.0, 10.0)))
    volts = [Car(model, soc).ocv_v() for soc in range(0, 101, 5)]
    assert volts == sorted(volts)
    assert volts[0] == pytest.approx(empty_v)
    assert volts[-1] == pytest.approx(full_v)
    assert volts[-1] < Car(model, 0.0).voltage_limit_v


def test_it_takes_what_is_delivered() -> None:
    car = Car(MODEL, 50.0)
    car.charge(7.7)
    assert car.soc_pct == pytest.approx(60.0)


def test_charged_by_the_plant_it_gets_the_energy_less_its_own_losses() -> None:
    plant, car = Plant(seed=2, forget_share=0.0, meter_error=0.0), Car(MODEL, 20.0)
    plant.plug(1, car, 0.0)
    plant.set_coils(0b11, 0.0)
    plant.advance(0.1)
    plant.set_output(1, True, plant.now_s)
    for module in plant.modules[:2]:
        module.set_voltage(420.0)
        module.set_current(90.0)
        module.switch(True, plant.now_s)
    plant.advance(120.0)
    plant.set_output(1, False, plant.now_s)
    delivered_kwh = plant.guns[0].energy_j / 3.6e6
    taken_kwh = car.energy_kwh - car.arrived_with_kwh
    losses_kwh = 180.0**2 * car.resistance_ohm * 118.0 / 3.6e6
    assert 1.8 < taken_kwh < delivered_kwh
    assert delivered_kwh - taken_kwh == pytest.approx(losses_kwh, rel=0.1)
    assert plant.bus_voltage_v(1) > 300.0


def test_interpolation_is_level_beyond_its_ends() -> None:
    points = ((10.0, 1.0), (20.0, 3.0))
    assert [interpolate(points, x) for x in (0.0, 10.0, 15.0, 20.0, 99.0)] == [1.0, 1.0, 2.0, 3.0, 3.0]


def test_one_seed_one_timetable() -> None:
    first = timetable(4, 40, mean_gap_s=30.0)
    assert first == timetable(4, 40, mean_gap_s=30.0)
    assert first != timetable(5, 40, mean_gap_s=30.0)
    times_s = [arrival.at_s for arrival in first]
    assert times_s == sorted(times_s)
    assert 15.0 < (times_s[-1] - times_s[0]) / 39 < 60.0
    assert all(sorted(arrival.guns_tried) == [1, 2, 3, 4, 5, 6] for arrival in first)
    assert all(arrival.car().soc_pct < arrival.target_soc_pct for arrival in first)
