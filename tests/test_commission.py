"""The commissioning walk against simulated stations with a wiring fault planted in each: found, named, nothing hurt."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from mosquitto import free_port

import main
from commissioning import report
from commissioning.findings import findings, remarks
from commissioning.walk import STEP_S, Walk
from contactor_controller import ContactorController
from planning.model import Crosspoint
from power_module_controller import PowerModuleController
from simulator.cabinet import Cabinet
from simulator.can_face import WireBus
from simulator.fault_bench import Bench
from simulator.faults import apply
from simulator.gpio_face import SimulatedGpio
from simulator.module_wire import wire_of
from simulator.plant import Plant
from simulator.virtual import VirtualClock, settings_at

PROJECT = Path(__file__).resolve().parents[1]
#: Two guns and three modules show every fault; the whole matrix is walked once.
SMALL = tuple(Crosspoint(gun, module) for gun in (3, 4) for module in (1, 2, 3))
TELLS_EACH_S = 1.0


class Site:
    """The station without its decisions: plant, wires, controllers, dispensers that tell their bus voltage."""

    def __init__(
        self,
        folder: Path,
        crosspoints: Sequence[Crosspoint] | None = SMALL,
        make: str = "uugreen",
        told: Sequence[int] = range(1, 7),
        config: str = "",
    ) -> None:
        """`config`: what config.ini has that is not so in the cabinet."""
        as_wired = settings_at(folder, f"[CAN]\nprotocol = {make}\n")
        settings = settings_at(folder, f"[CAN]\nprotocol = {make}\n{config}")
        if crosspoints is not None:
            used = {each.module for each in crosspoints}
            modules = {n: replace(m, enabled=n in used) for n, m in settings.modules.by_number.items()}
            settings = replace(settings, modules=replace(settings.modules, by_number=modules))
        self.settings = settings
        self.clock = VirtualClock()
        self.plant = Plant(1)
        self.wire = wire_of(self.plant, as_wired, 1)
        self.bus = WireBus(self.wire.answer, self.clock.now_s, speaker=self.wire)
        self.gpio = SimulatedGpio(settings.gpio, self.clock.now_s)
        self.cabinet = Cabinet(self.plant, self.gpio)
        self.controller = PowerModuleController(
            settings.can, settings.modules, settings.safety, lambda: self.bus, self.clock
        )
        general = settings.general
        self.contactors = ContactorController(
            self.gpio, settings.gpio, settings.safety, general.gun_count, general.module_count
        )
        self.controller.open(0.0)
        self.asked: list[str] = []
        self.agrees = True
        self._told_guns = told
        self._told: dict[int, tuple[float, float]] = {}
        self.walk = Walk(settings, self.controller, self.contactors, self, self._consent, lambda _: None, crosspoints)
        self.most_on = self.most_closed = 0

    def told(self, gun: int) -> tuple[float, float] | None:
        return self._told.get(gun)

    def _consent(self, stage: str) -> bool:
        self.asked.append(stage)
        return self.agrees

    def do(self, line: str) -> None:
        apply(line, Bench(self.plant, self.wire, self.bus, self.gpio.chip_faults), self.clock.time_s)

    def run(self, limit_s: float = 3600.0, meanwhile: Callable[[], None] = lambda: None) -> list[str]:
        """Walk to the end; the findings as a person reads them."""
        clock, walking, told_due_s, modules = self.clock, True, 0.0, self.controller
        while walking:
            clock.time_s += STEP_S
            now_s = clock.time_s
            assert now_s < limit_s, "the walk does not end"
            self.cabinet.step(now_s)
            self.wire.watch(now_s)
            if now_s >= told_due_s:
                told_due_s = now_s + TELLS_EACH_S
                self._told = {gun: (self.plant.guns[gun - 1].voltage_v(now_s), now_s) for gun in self._told_guns}
            self._pass_frames(now_s)
            walking = self.walk.step(now_s)
            while modules.tx_due_s(now_s) <= 1e-9:
                if modules.step_tx(now_s) > 0.0:
                    break
            self.most_on = max(self.most_on, sum(module.on for module in self.plant.modules))
            self.most_closed = max(self.most_closed, len(self.plant.closed_contacts()))
            meanwhile()
        self.contactors.shut_down(self.clock.time_s)
        return [str(each) for each in findings(self.walk.observed, self.settings.safety.dead_voltage_v)]

    def _pass_frames(self, now_s: float) -> None:
        while self.bus.next_arrival_s() <= now_s:
            message = self.bus.recv(0)
            if message is not None:
                self.controller.receive(message, now_s)


@pytest.mark.parametrize("make", ["uugreen", "infypower", "tonhe"])
def test_a_station_that_is_wired_right_passes(tmp_path: Path, make: str) -> None:
    site = Site(tmp_path, make=make)
    assert site.run() == []
    seen = site.walk.observed
    assert [each.crosspoint for each in seen.crosspoints] == list(SMALL)
    assert all(each.closed == (each.crosspoint,) and each.module_v is not None for each in seen.crosspoints)
    assert [each.module for each in seen.modules if each.measured_v is not None] == [1, 2, 3]
    assert site.most_on == 1 and site.most_closed == 1
    assert site.plant.violations == [] and not any(module.on for module in site.plant.modules)
    assert len(site.asked) == 3


def test_a_cabinet_of_another_size_than_the_config_is_found_before_a_coil_moves(tmp_path: Path) -> None:
    """With module_count = 8 in a cabinet of nine, the coil of g2m1 is that of g1m9."""
    site = Site(tmp_path, crosspoints=None, config="[General]\nmodule_count = 8\n")
    ended, beyond, stranger = site.run()
    assert "the cabinet is not of the size that config.ini says" in ended
    assert beyond.startswith("feedback input 48: a contactor is proven open there, but config.ini has 48 of them")
    assert stranger.startswith("CAN address 9: a module answers there, and no module in config.ini has that address")
    assert site.most_closed == site.most_on == 0


def test_a_module_that_config_ini_does_not_know_keeps_the_station_from_passing(tmp_path: Path) -> None:
    site = Site(tmp_path, config="[Modules]\nmodule9_address = 10\n")
    assert [each for each in site.run() if each.startswith("CAN address 9: ")] != []


def test_all_54_crosspoints_are_walked(tmp_path: Path) -> None:
    site = Site(tmp_path, crosspoints=None, told=(3,))
    assert site.run() == []
    print(f"\n54 crosspoints in {site.clock.time_s / 60:.1f} min of the station")
    assert len(site.walk.observed.crosspoints) == 54 and site.plant.violations == []


#: line that breaks the station before the walk -> what the report must say, and nothing else
PLANTED = {
    "cross_coils g3m1 g4m2": ["g3m1 and g4m2: their coil wires are crossed. Swap the two wires and do it again"],
    "cross_coils g3m1 g3m2": ["g3m1 and g3m2: their coil wires are crossed. Swap the two wires and do it again"],
    "cross_feedback g3m1 g4m2": ["g3m1 and g4m2: their feedback wires are crossed. Swap the two wires and do it again"],
    "cross_feedback g4m1 g4m3": ["g4m1 and g4m3: their feedback wires are crossed. Swap the two wires and do it again"],
    "swap_addresses m1 m3": [
        "module 1 and 3: their addresses are swapped. Swap the addresses on the modules, or moduleN_address in "
        "config.ini"
    ],
    "reads_open g3m2": [
        "g3m2: it closes and its feedback reads open. Look at its mirror contact and that wire",
    ],
    "stick g4m2": ["g4m2: it does not close. Look at the coil, its wire, its driver and the coil supply"],
    "stuck_bit g4m3 0": ["g4m3: it does not close. Look at the coil, its wire, its driver and the coil supply"],
    "weld g3m3": [
        "g3m3: still reads closed after its coil was off. Measure across the contact with everything dead: welded or "
        "stuck, or its feedback wire is broken",
        "g4m3: not tried: another contactor of this module is not proven open. Mend that first, then do it again",
    ],
    "reads_closed g3m1": [
        "g3m1: reads closed with its coil off. Measure across the contact with everything dead: closed, it is welded; "
        "open, its feedback wire is broken",
        "g3m1: not tried: crosspoint is out of service. Mend that first, then do it again",
        "g4m1: not tried: another contactor of this module is not proven open. Mend that first, then do it again",
    ],
    "deaf m2": [
        "module 2: nothing answers at address 2 (uugreen). Look at its mains, its CAN plug, its address, and protocol; "
        "main.py --probe names what answers",
        "g3m2: not tried: module 2 is not proven off, cold and discharged. Mend that first, then do it again",
        "g4m2: not tried: module 2 is not proven off, cold and discharged. Mend that first, then do it again",
    ],
    "scale_v m1 0.5": [
        "module 1: it does not come up to 150 V with its contactors open. Wrong make in config.ini, or the module is "
        "broken"
    ],
    "battery g4 400": [],
    "ignore_off m2": [
        "station: the walk ended early: module 2 is not proven off although it was told so: take its mains away. "
        "Do it again",
    ],
}


@pytest.mark.parametrize("line", PLANTED)
def test_a_planted_fault_is_found_and_named(tmp_path: Path, line: str) -> None:
    site = Site(tmp_path)
    site.do(line)
    assert site.run() == PLANTED[line]
    assert site.most_on <= 1
    assert [module.number for module in site.plant.modules if module.on] == ([2] if line == "ignore_off m2" else [])


def test_both_wires_crossed_show_only_where_the_power_arrives(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.do("cross_coils g3m1 g4m1")
    site.do("cross_feedback g3m1 g4m1")
    assert site.run() == [
        f"g{gun}m1: feedback is right, but the voltage is on the bus of gun {other}. Coil and feedback wire are both "
        "crossed, or the bus bars or dispensers of these guns are"
        for gun, other in ((3, 4), (4, 3))
    ]


def test_where_no_bus_is_told_coil_and_feedback_are_proven_and_the_rest_is_said(tmp_path: Path) -> None:
    site = Site(tmp_path, told=(4,))
    assert site.run() == []
    powered = {each.crosspoint.gun for each in site.walk.observed.crosspoints if each.module_v is not None}
    assert powered == {4}
    (said,) = remarks(site.walk.observed, range(3, 5))
    assert said.startswith("Gun 3: no bus voltage is told, so only coils and feedback were proven")


def test_a_person_who_does_not_agree_ends_it_with_nothing_switched(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.agrees = False
    (said,) = site.run()
    assert said == "station: the walk ended early: a person did not agree to go on. Do it again"
    assert site.most_on == site.most_closed == 0 and len(site.asked) == 1


def test_the_emergency_stop_ends_it_at_once(tmp_path: Path) -> None:
    site = Site(tmp_path)

    def press() -> None:
        if site.walk.observed.crosspoints and site.plant.modules[1].on and site.plant.estop_healthy:
            site.do("estop press")

    (first, *_) = site.run(meanwhile=press)
    assert first.startswith("station: the walk ended early: the emergency stop was pressed, or its loop is open")
    assert not any(module.on for module in site.plant.modules)


def test_a_feedback_chain_that_tells_nonsense_ends_it_before_anything_moves(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.do("test_bit cut")
    (said,) = site.run()
    assert "the feedback chain tells nonsense" in said and site.most_on == site.most_closed == 0


# --- the program -----------------------------------------------------------------------------------------------------


def run_main(folder: Path, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    disabled = "\n".join(f"module{number}_enabled = false" for number in range(3, 10))
    (folder / "config.ini").write_text(f"[Modules]\n{disabled}\n[MQTT]\nport = {free_port()}\n")
    command = [sys.executable, "main.py", "--simulate", "--commission", "--cars", "0", "--speed", "5", *arguments]
    return subprocess.run(
        [*command, "--config", str(folder / "config.ini")],
        cwd=PROJECT, input=typed, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.process
def test_the_program_walks_a_simulated_station_and_writes_its_report(tmp_path: Path) -> None:
    done = run_main(tmp_path, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    (text,), (machine,) = tmp_path.glob("commission-*.txt"), tmp_path.glob("commission-*.json")
    assert text.read_text().splitlines()[2] == "PASS: everything is wired as config.ini says."
    told = json.loads(machine.read_text())
    assert told["passed"] and told["guns_read"] == [3, 4, 5, 6]
    assert len(told["crosspoints"]) == 12 and all(each["tried"] for each in told["crosspoints"])
    assert {each["module"] for each in told["modules"]} == {1, 2}


@pytest.mark.process
def test_whoever_does_not_type_yes_ends_it(tmp_path: Path) -> None:
    done = run_main(tmp_path, typed="no\n")
    assert done.returncode == 2
    assert "the walk ended early: a person did not agree to go on" in done.stdout


def test_on_site_nobody_agrees_beforehand(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--commission", "--yes"]) == 2
    assert capsys.readouterr().out == "--yes is for --simulate: on site a person agrees to each stage\n"


def test_what_is_to_be_mended_stands_first_in_the_report(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.do("stick g4m2")
    site.run()
    seen, general = site.walk.observed, site.settings.general
    found = findings(seen, site.settings.safety.dead_voltage_v)
    lines = report.text(general.station_id, "0.1.0", 1.8e9, seen, found, [])
    assert lines[2:4] == [
        "NOT PASSED: 1 thing(s) to mend.",
        "  1. g4m2: it does not close. Look at the coil, its wire, its driver and the coil supply",
    ]
    assert any(line.startswith("  g4m2: feedback nothing; module 1") for line in lines)
    machine = report.content(general.station_id, "0.1.0", 1.8e9, seen, found, [])
    assert not machine["passed"] and machine["findings"][0]["where"] == "g4m2"
