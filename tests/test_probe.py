"""The probe of the CAN bus against simulated modules of every make, and that it tells none of them to do anything."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from can import Message
from rig import wait_for

import config_manager
import main
from commissioning import probe_report
from commissioning.probe import Asker, Findings, ProbeError, probe
from planning.settings import Module
from protocols import PROTOCOLS
from simulator.can_face import WireBus
from simulator.module_wire import ModuleWire
from simulator.plant import Plant

PROJECT = Path(__file__).resolve().parents[1]
NUMBERS = range(1, 10)
MAKES = pytest.mark.parametrize("make", PROTOCOLS)
#: What the delivered config.ini has.
CONFIGURED = {number: Module(number, number, "uugreen") for number in NUMBERS}
ALIKE = {"maxwell_mxr": ("maxwell_mxr", "winline"), "winline": ("maxwell_mxr", "winline")}


def report(findings: Findings, configured: Mapping[int, Module] = CONFIGURED) -> list[str]:
    return probe_report.report(findings, configured, "uugreen")


def trouble(findings: Findings, configured: Mapping[int, Module] = CONFIGURED) -> list[str]:
    return probe_report.trouble(findings, configured)


class Site:
    """Nine modules, a wire, and somebody who waits at it in virtual time."""

    def __init__(self, make: str = "uugreen", makes: Mapping[int, str] | None = None, **wire: Any) -> None:
        self.time_s = 100.0
        self.plant = Plant(seed=1)
        self.wire = ModuleWire(self.plant.modules, 1, makes=dict.fromkeys(NUMBERS, make) | dict(makes or {}), **wire)
        self.sent: list[tuple[int, bytes]] = []
        self.bus = WaitingBus(self)
        for module in self.plant.modules:
            module.set_voltage(432.0)
            module.set_current(10.0)
        self.plant.modules[0].switch(True, self.time_s)

    def now_s(self) -> float:
        return self.time_s

    def wall_s(self) -> float:
        return self.time_s

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        raise AssertionError("nothing waits in virtual time")

    def probe(self) -> Findings:
        return probe(self.bus, self, lambda _: None)


class WaitingBus(WireBus):
    """`recv` lets time pass until a frame is there."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.wire.answer, site.now_s, self._note, site.wire)
        self._site = site

    def recv(self, timeout: float | None = None) -> Message | None:
        site, end_s = self._site, self._site.time_s + (timeout or 0.0)
        while (message := super().recv()) is None and site.time_s < end_s:
            site.time_s = min(max(site.time_s + 1e-4, self.next_arrival_s()), end_s)
        return message

    def _note(self, at_s: float, can_id: int, data: bytes, ours: bool) -> None:
        if ours:
            self._site.sent.append((can_id, data))


@MAKES
def test_all_nine_are_found_with_address_and_serial(make: str) -> None:
    site = Site(make)
    found = site.probe().modules
    assert [module.address for module in found] == list(NUMBERS)
    assert {module.makes for module in found} == {ALIKE.get(make, (make,))}
    serials = [module.serials for module in found]
    assert serials == [()] * 9 if make == "tonhe" else len({serial for (serial,) in serials}) == 9
    assert {module.firmware for module in found} == ({"152"} if make in ALIKE else {""})


@MAKES
def test_it_changes_nothing_in_any_module(make: str) -> None:
    site = Site(make)
    before = [(m.on, m.set_v, m.set_a, m.low_range) for m in site.plant.modules]
    site.probe()
    assert [(m.on, m.set_v, m.set_a, m.low_range) for m in site.plant.modules] == before


def test_only_questions_leave() -> None:
    """Typed here a second time: message type 2; command 02 or 0B of zeros; 0x10."""
    site = Site(makes={2: "infypower", 3: "winline", 4: "tonhe"})
    site.probe()
    assert site.sent
    for can_id, data in site.sent:
        uugreen = can_id >> 21 == 0x11 and data[0] & 15 == 2
        infypower = can_id >> 22 == 0x0A and can_id >> 16 & 0x3F in (0x02, 0x0B) and data == bytes(8)
        maxwell = can_id >> 20 == 0x060 and data[0] == 0x10
        assert uugreen or infypower or maxwell, f"{can_id:08X} {data.hex(' ')}"


@MAKES
def test_whatever_is_no_question_is_not_sent(make: str) -> None:
    site, module = Site(make), PROTOCOLS[make]
    commands = (*module.encode_setpoint(1, 400, 5), *module.encode_power(1, True), *module.encode_power(1, False))
    for frame in (*commands, *module.encode_all_off()):
        with pytest.raises(ValueError, match="no question"):
            Asker(site.bus, site).ask(frame.can_id, frame.data, 0.1)
    assert site.sent == []


def loaded(lines: list[str], folder: Path) -> Mapping[int, Module]:
    """What config.ini says once these lines of the report are in config.local.ini."""
    begin = next((n for n, line in enumerate(lines) if line.startswith(("[", "# "))), len(lines))
    (folder / "config.ini").write_text((PROJECT / "config.ini").read_text())
    differs = lines[begin : lines.index("", begin)] if begin < len(lines) else []
    (folder / "config.local.ini").write_text("\n".join(differs))
    return config_manager.load(folder / "config.ini").modules.by_number


@MAKES
def test_what_it_prints_is_a_config_that_loads(make: str, tmp_path: Path) -> None:
    """The module that has another address is the one that is missing; all others keep their numbers."""
    modules = loaded(report(Site(make, addresses={4: 12}).probe()), tmp_path)
    assert [modules[number].address for number in NUMBERS] == [1, 2, 3, 12, *range(5, 10)]
    assert {module.protocol for module in modules.values()} == {ALIKE.get(make, (make,))[0]}


def test_a_mixed_bus_names_the_make_of_each(tmp_path: Path) -> None:
    findings = Site(makes={2: "infypower", 3: "winline", 4: "tonhe", 5: "maxwell_enr"}).probe()
    assert len(findings.modules) == 9 and trouble(findings) == []
    lines = report(findings)
    assert "# maxwell_mxr and winline speak alike: the label tells which it is" in lines
    modules = loaded(lines, tmp_path)
    told = {number: modules[number].protocol for number in NUMBERS}
    assert told == dict.fromkeys(NUMBERS, "uugreen") | {
        2: "infypower", 3: "maxwell_mxr", 4: "tonhe", 5: "maxwell_enr",
    }  # fmt: skip


def test_where_all_is_as_configured_nothing_is_to_be_written() -> None:
    assert report(Site().probe())[-1] == "config.ini has them as they are: nothing is to be written."
    winline = {number: Module(number, number, "winline") for number in NUMBERS}
    assert probe_report.differences(Site("winline").probe(), winline, "winline") == []


@pytest.mark.parametrize("make", ["uugreen", "tonhe"])
def test_a_module_that_does_not_answer_renumbers_nothing(make: str) -> None:
    """It once printed module_count = 8: with that each coil from gun 2 on is another contactor's."""
    site, configured = Site(make), {number: Module(number, number, make) for number in NUMBERS}
    site.wire.board(4).deaf = site.wire.board(4).muted = True
    findings = site.probe()
    (said,) = trouble(findings, configured)
    assert said.startswith("Module 4 of config.ini (address 4) does not answer: look at its mains, its CAN plug")
    assert "Leave module_count as it is" in said
    assert probe_report.differences(findings, configured, make) == []
    assert not any(line.startswith("module_count") for line in report(findings, configured))


def test_a_module_that_is_switched_off_in_the_config_may_be_missing() -> None:
    site = Site()
    site.wire.board(9).deaf = True
    off = CONFIGURED | {9: Module(9, 9, "uugreen", enabled=False)}
    assert trouble(site.probe(), off) == []


def test_more_modules_than_the_cabinet_has_contactors_for_are_told() -> None:
    eight = {number: Module(number, number, "uugreen") for number in range(1, 9)}
    (said,) = trouble(Site().probe(), eight)
    assert "take address 9 off the bus; if it has more, module_count is wrong" in said


@pytest.mark.parametrize("make", ["uugreen", "infypower", "maxwell_mxr"])
def test_two_modules_on_one_address_are_told(make: str) -> None:
    site = Site(make)
    site.wire.add_duplicate(4)
    assert "Two modules answer at address 4: give each an address of its own." in trouble(site.probe())


def test_an_address_that_cannot_be_used_is_told() -> None:
    site = Site("tonhe", addresses={9: 30})
    assert trouble(site.probe()) == ["Address 30 cannot be used: give that module one from 1 to 24."]


def test_another_controller_is_told() -> None:
    site = Site()
    site.bus.foreign(*site.wire.board(5).dialect.question(5))
    assert trouble(site.probe()) == [
        "Another controller sends commands to uugreen and maxwell_enr on this bus: unplug one of the two."
    ]


def test_infypower_modules_that_are_more_than_answer_are_told() -> None:
    site = Site("infypower")
    site.wire.board(7).muted = True
    said, *others = trouble(site.probe())
    assert said == "Infypower modules say that they are 9, and 8 addresses answer: look for two alike."
    assert [line[:40] for line in others] == ["Module 7 of config.ini (address 7) does "]


def test_where_nothing_answers_it_says_where_to_look() -> None:
    site = Site()
    for board in site.wire.boards:
        board.deaf = True
    site.bus.foreign(0x0757F802, bytes(8))
    lines = report(site.probe())
    assert lines[0].startswith("No module answers. Look at: mains of the modules, both bus terminations")
    assert "0757F802" in lines[1]


def test_a_bus_that_is_down_is_told_in_words() -> None:
    site = Site()
    site.bus.down = True
    with pytest.raises(ProbeError, match="The CAN bus cannot be read"):
        site.probe()
    site.bus.down = False
    site.bus.refuse_sends = 1
    with pytest.raises(ProbeError, match="takes no frames"):
        site.probe()


@pytest.mark.process
def test_the_program_finds_the_modules_of_another_process(tmp_path: Path) -> None:
    """`python main.py --probe` over a socket, as over the wire on site."""
    folder = tmp_path / "plant"
    plant = [sys.executable, "-m", "simulator", "--serve", str(folder), "--broker", "127.0.0.1:1"]
    ask = [sys.executable, "main.py", "--probe", "--config", str(folder / "config.ini")]
    with subprocess.Popen([*plant, "--protocol", "tonhe"], cwd=PROJECT, stdout=subprocess.DEVNULL) as served:
        try:
            wait_for(lambda: (folder / "plant.json").exists(), "the plant is there", 20.0)
            done = subprocess.run(ask, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
        finally:
            served.terminate()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 of 9 modules answer:" in done.stdout
    assert done.stdout.endswith("config.ini has them as they are: nothing is to be written.\n")


def test_where_no_bus_can_be_opened_the_program_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.ini").write_text("[CAN]\ninterface = socketcand\noption_host = 127.0.0.1\noption_port = 1\n")
    assert main.main(["--probe", "--config", str(tmp_path / "config.ini")]) == 2
    assert capsys.readouterr().out.startswith("The modules could not be asked: ")
