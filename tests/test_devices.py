"""The dispenser devices: what they tell, when, and how they treat their output contactors."""

from __future__ import annotations

import json

import pytest

from simulator.arrivals import timetable
from simulator.devices import Device, Forecourt, OutputRule, Session, Told, default_devices
from simulator.gun_bus import Battery
from simulator.vehicle import Car, CarModel

MODEL = CarModel("Test 77", 77.0, 400, ((0.0, 125.0), (35.0, 125.0), (70.0, 65.0), (100.0, 25.0)))


class Sockets:
    """The dispensers' side of the plant, reduced to what a device can see and do."""

    def __init__(self) -> None:
        self.batteries: dict[int, Battery | None] = {}
        self.closed: dict[int, bool] = {}
        self.current_a = 0.0
        self.voltage_v = 0.0
        self.contacts: set[int] = set()

    def plug(self, gun: int, battery: Battery | None, now_s: float) -> None:
        self.batteries[gun] = battery

    def set_output(self, gun: int, closed: bool, now_s: float) -> None:
        self.closed[gun] = closed

    def bus_voltage_v(self, gun: int) -> float:
        return self.voltage_v

    def bus_current_a(self, gun: int) -> float:
        return self.current_a

    def has_modules(self, gun: int) -> bool:
        return gun in self.contacts


class Bench:
    """One device, its sockets, and time in steps of 0.1 s."""

    def __init__(self, full: bool = False, rule: OutputRule = OutputRule.TOLD) -> None:
        self.sockets = Sockets()
        self.device = Device("D2", (3, 4), self.sockets, full=full, rule=rule)
        self.point = self.device.points[0]
        self.now_s = 100.0

    def run(self, for_s: float) -> list[Told]:
        said = []
        for _ in range(round(for_s * 10)):
            self.now_s += 0.1
            said += self.device.step(self.now_s)
        return said

    def allocate(self, *modules: int) -> None:
        self.device.hear("vesec/3/allocation/central", json.dumps({"modules": modules, "state": "charging"}))


def payloads(said: list[Told], topic: str) -> list[str]:
    return [payload for said_topic, payload in said if said_topic == topic]


def test_a_free_gun_says_so_every_five_seconds() -> None:
    said = Bench().run(15.0)
    assert payloads(said, "vesec/1/vehicle_status/D2") == ["available"] * 3
    assert payloads(said, "vesec/2/vehicle_status/D2") == ["available"] * 3
    assert payloads(said, "vesec/1/demand/D2") == ["0.0"] * 3
    assert payloads(said, "vesec/1/soc/D2") == []


def test_a_session_from_plug_to_unplug() -> None:
    bench = Bench()
    bench.run(1.0)
    car = Car(MODEL, 52.5, target_soc_pct=60.0)
    bench.point.plug_in(car, bench.now_s)
    assert bench.sockets.batteries[3] is car
    said = bench.run(3.9)
    assert payloads(said, "vesec/1/vehicle_status/D2") == ["preparing"]
    assert set(payloads(said, "vesec/1/demand/D2")) <= {"0.0"}
    said = bench.run(1.2)
    assert payloads(said, "vesec/1/vehicle_status/D2") == ["charging"]
    assert payloads(said, "vesec/1/demand/D2")[-1] == "95.0"
    bench.allocate(1, 2, 3)
    bench.run(0.5)
    assert bench.sockets.closed[3]
    car.charge(77.0 * 0.08)
    said = bench.run(1.5)
    assert payloads(said, "vesec/1/vehicle_status/D2") == ["finishing"]
    assert payloads(said, "vesec/1/demand/D2")[-1] == "0.0"
    bench.run(20.0)
    assert (
        bench.point.session is Session.FINISHING
    )  # the station still has its modules there: no unplugging under voltage
    bench.allocate()
    said = bench.run(1.0)
    assert not bench.sockets.closed[3]
    assert payloads(said, "vesec/1/vehicle_status/D2")[-1] == "available"
    assert bench.sockets.batteries[3] is None


def test_a_demand_that_drifts_is_told_when_it_is_repeated() -> None:
    bench = Bench()
    car = Car(MODEL, 40.0, target_soc_pct=100.0)
    bench.point.plug_in(car, bench.now_s)
    bench.run(10.0)
    said = []
    for _ in range(100):
        car.charge(0.05)
        said += bench.run(0.1)
    assert len(payloads(said, "vesec/1/demand/D2")) == 2


def test_the_output_contactor_closes_200_ms_after_modules_are_told_and_opens_unloaded() -> None:
    bench = Bench()
    bench.point.plug_in(Car(MODEL, 20.0), bench.now_s)
    bench.run(5.0)
    bench.allocate(7)
    bench.run(0.2)
    assert not bench.point.output_closed
    bench.run(0.2)
    assert bench.point.output_closed
    bench.sockets.current_a = 30.0
    bench.allocate()
    bench.run(4.0)
    assert bench.point.output_closed
    bench.sockets.current_a = 0.5
    bench.run(0.1)
    assert not bench.point.output_closed


def test_a_current_that_nobody_takes_away_is_cut_in_the_end() -> None:
    bench = Bench()
    bench.point.plug_in(Car(MODEL, 20.0), bench.now_s)
    bench.allocate(7)
    bench.run(6.0)
    bench.sockets.current_a = 30.0
    bench.allocate()
    bench.run(5.2)
    assert not bench.point.output_closed


def test_by_the_other_rule_it_looks_at_the_contactors() -> None:
    bench = Bench(rule=OutputRule.SEEN)
    bench.point.plug_in(Car(MODEL, 20.0), bench.now_s)
    bench.allocate(7)
    bench.run(6.0)
    assert not bench.point.output_closed
    bench.sockets.contacts = {3}
    bench.run(0.5)
    assert bench.point.output_closed


def test_a_full_device_precharges_before_it_connects_the_battery() -> None:
    bench = Bench(full=True)
    car = Car(MODEL, 50.0)
    bench.point.plug_in(car, bench.now_s)
    said = bench.run(3.5)
    assert set(payloads(said, "vesec/1/target_voltage/D2")) == {"0.0"}
    assert payloads(said, "vesec/1/voltage_limit/D2")[0] == "403.2"
    bench.allocate(1)
    said = bench.run(3.0)
    assert payloads(said, "vesec/1/target_voltage/D2")[-1] == f"{car.ocv_v():.1f}"
    assert payloads(said, "vesec/1/demand/D2")[-1:] in ([], ["0.0"])
    assert bench.point.session is Session.PREPARING
    assert not bench.point.output_closed
    bench.sockets.voltage_v = car.ocv_v() - 15.0
    said = bench.run(1.5)
    assert bench.point.output_closed
    assert payloads(said, "vesec/1/vehicle_status/D2") == ["charging"]
    assert payloads(said, "vesec/1/target_voltage/D2")[-1] == "403.2"
    assert payloads(said, "vesec/1/bus_voltage/D2")[-1] == f"{car.ocv_v() - 15.0:.1f}"


def test_a_faulted_gun_asks_for_nothing_and_a_silent_device_says_nothing() -> None:
    bench = Bench()
    bench.point.plug_in(Car(MODEL, 20.0), bench.now_s)
    bench.run(6.0)
    bench.point.faulted = True
    said = bench.run(1.2)
    assert payloads(said, "vesec/1/vehicle_status/D2") == ["faulted"]
    assert payloads(said, "vesec/1/demand/D2") == ["0.0"]
    bench.device.silent = True
    assert bench.run(20.0) == []


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("vesec/4/allocation/central", '{"modules": [1]}'),
        ("vesec/3/rejected/central", '{"modules": [1]}'),
        ("vesec/3/allocation/central", "[]"),
        ("vesec/3/allocation/central", "\x00"),
    ],
)
def test_only_a_readable_allocation_of_the_own_gun_counts(topic: str, payload: str) -> None:
    bench = Bench()
    bench.device.hear(topic, payload)
    assert not bench.point.modules_told


def test_cars_come_by_the_timetable_and_wait_when_every_gun_is_taken() -> None:
    sockets = Sockets()
    forecourt = Forecourt(default_devices(sockets), timetable(1, 8, mean_gap_s=5.0), start_s=50.0)
    now_s = 50.0
    while now_s < 200.0:
        now_s += 0.5
        forecourt.step(now_s)
    assert forecourt.served == 6
    assert sorted(sockets.batteries) == [1, 2, 3, 4, 5, 6]
    forecourt.devices[0].points[1].unplug(now_s)
    forecourt.step(now_s + 0.5)
    assert forecourt.served == 7
