"""The whole station with modules of each make, over the wire in virtual time: it serves, follows a limit, is stopped
and serves again, without a fault of its own making."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocols import PROTOCOLS
from simulator.serve import FixedCars
from simulator.virtual import VirtualStation, settings_at

#: The three that differ most; the others share their manners.
IN_EVERY_RUN = ("infypower", "maxwell_mxr", "tonhe")
MAKES = [name if name in IN_EVERY_RUN else pytest.param(name, marks=pytest.mark.soak) for name in PROTOCOLS]
ASKED_KW = {1: 70, 3: 150, 5: 110}


class Site:
    """A car of 640 V on every gun; three of them ask for all nine modules."""

    def __init__(self, folder: Path, config: str) -> None:
        self.station = VirtualStation(settings_at(folder, config))
        self.faults: set[str] = set()
        cars = FixedCars(self.station.plant, 640.0, 0.0)
        self.station.on_step = cars.step

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            second = round(self.station.clock.time_s)
            if second % 5 == 0:
                for gun, asked_kw in ASKED_KW.items():
                    device = f"D{(gun + 1) // 2}"
                    self.station.publish(f"vesec/1/target_voltage/{device}", "700")
                    self.station.publish(f"vesec/1/demand/{device}", str(asked_kw))
                    self.station.publish(f"vesec/1/vehicle_status/{device}", "charging")
            self.station.run_to(second + 1.0)
            self.faults |= {f"{fault.code} {fault.id}" for fault in self.station.core.demand.faults.active}

    @property
    def power_kw(self) -> float:
        return self.station.plant.power_kw()


def served_limited_stopped(site: Site) -> None:
    station, plant = site.station, site.station.plant
    site.run(60)
    assert site.power_kw > 320.0
    for limit_kw in (60.0, 1000.0, 60.0, 1000.0):
        station.core.demand.set_site_limit(limit_kw)
        site.run(2)
    site.run(30)
    assert site.power_kw > 320.0 and site.faults == set()
    plant.press_emergency_stop(station.clock.time_s)
    site.run(2)
    assert not any(module.on for module in plant.modules) and not plant.closed_contacts()
    plant.release_emergency_stop(station.clock.time_s)
    site.run(6)
    station.core.demand.reset()
    site.run(60)
    assert site.power_kw > 320.0
    # the hardware stop takes the modules' enable before anybody told them OFF, and the contactors open under load
    by_the_stop = ("EMERGENCY_STOP", "LOAD_BREAK", "MODULE_RESET")
    assert [fault for fault in site.faults if not fault.startswith(by_the_stop)] == []
    assert [each for each in plant.violations if each.kind.value not in ("open_loaded", "output_loaded")] == []


@pytest.mark.parametrize("make", MAKES)
def test_the_station_serves_with_this_make(tmp_path: Path, make: str) -> None:
    served_limited_stopped(Site(tmp_path, f"[CAN]\nprotocol = {make}\n"))


def test_the_station_serves_with_five_makes_on_one_bus(tmp_path: Path) -> None:
    mixed = ("uugreen", "infypower", "tonhe", "winline", "maxwell_enr") * 2
    lines = "\n".join(f"module{number}_protocol = {make}" for number, make in enumerate(mixed[:9], 1))
    served_limited_stopped(Site(tmp_path, f"[Modules]\n{lines}\n"))
