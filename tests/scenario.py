"""Job: run a scenario file against the station in virtual time: what happens when, and what must be seen when.

Thread: the test's. Lock: none. Units: s of station time, kW, V, A, %. The words stand in `tests/scenarios/README.md`.
"""

from __future__ import annotations

import configparser
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from planning.model import GunReport, StationReport
from planning.reports import OutMessage
from planning.settings import Priority
from simulator import faults
from simulator.contacts import GUNS
from simulator.gun_bus import FixedBattery
from simulator.virtual import Level, VirtualStation, settings_at

TICK_S = 0.25
#: how often is looked while something has to come about within a time
LOOK_S = 0.02
REPEAT_S = 5.0
#: what a gun delivers is compared with this much tolerance: meters, voltage grid and load line of the modules
DELIVERY_SHARE = 0.04
_KINDS = {
    "status": "vehicle_status",
    "asks": "demand",
    "target": "target_voltage",
    "bus": "bus_voltage",
    "volts_at_most": "voltage_limit",
    "amps_at_most": "current_limit",
    "soc": "soc",
}
Lines = list[tuple[float, str]]


@dataclass(slots=True)
class Deadline:
    """Something that must be seen within a time after a moment."""

    at_s: float
    limit_s: float
    line: str
    took_s: float | None = None


@dataclass(slots=True)
class Dispenser:
    """What the device of one gun repeats, and how its output contactor behaves."""

    values: dict[str, str] = field(default_factory=dict)
    silent: bool = False
    keeps_open: bool = False
    repeat_due_s: float = 0.0


class Scenario:
    """One file. `run` raises AssertionError that names the file, the moment and what was seen instead."""

    def __init__(self, path: Path, folder: Path) -> None:
        text = configparser.ConfigParser(interpolation=None, delimiters=("=",))
        text.read_string(path.read_text(encoding="utf-8"), path.name)
        self.name = path.stem
        head = text["scenario"]
        self._allowed = sorted(head.get("violations", "").split())
        self._events = _timed(text["events"])
        self._expected = _timed(text["expect"])
        self.deadlines = list(_deadlines(text["within"])) if text.has_section("within") else []
        self._waiting: list[Deadline] = []
        config = "\n".join(_config_lines(text))
        level = Level(head.get("level", "readings"))
        self.station = VirtualStation(settings_at(folder, config), level=level, seed=head.getint("seed", 1))
        self.station.on_message = self._overhear
        self._dispensers = {gun: Dispenser() for gun in range(1, GUNS + 1)}
        self._faults_told: set[tuple[str, str]] = set()
        wired = (self.station.bus, self.station.gpio.chip_faults) if level is Level.WIRE else ()
        self._bench = faults.Bench(self.station.plant, self.station.wire, *wired)

    # --- running ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        moments: list[tuple[float, int, str | Deadline]] = [(at_s, 0, line) for at_s, line in self._events]
        moments += [(deadline.at_s, 1, deadline) for deadline in self.deadlines]
        moments += [(at_s, 2, line) for at_s, line in self._expected]
        for at_s, kind, what in sorted(moments, key=lambda each: each[:2]):
            self._run_to(at_s)
            if isinstance(what, Deadline):
                self._waiting.append(what)
            elif kind == 0:
                self._happen(what)
            else:
                seen = self._seen(what)
                assert not seen, f"{self.name}: at {at_s:g} s expected '{what}', but {seen}"
        self._run_to(max((each.at_s + each.limit_s for each in self._waiting), default=0.0))
        assert not self._waiting, f"{self.name}: never seen: {self._waiting}"
        found = sorted(f"{violation.kind.value}:{violation.crosspoint}" for violation in self.station.plant.violations)
        assert found == self._allowed, f"{self.name}: {self.station.plant.violations}"

    def _run_to(self, end_s: float) -> None:
        while (now_s := self.station.clock.time_s) < end_s:
            for gun, dispenser in self._dispensers.items():
                self._step_dispenser(gun, dispenser, now_s)
            self.station.run_to(min(end_s, now_s + (LOOK_S if self._waiting else TICK_S)))
            self._look_at_deadlines(self.station.clock.time_s)

    def _look_at_deadlines(self, now_s: float) -> None:
        for deadline in list(self._waiting):
            seen = self._seen(deadline.line)
            if not seen:
                deadline.took_s = now_s - deadline.at_s
                self._waiting.remove(deadline)
            late = now_s - deadline.at_s >= deadline.limit_s + LOOK_S / 2
            assert not (seen and late), f"{self.name}: {deadline.limit_s:g} s after {deadline.at_s:g} s not yet " \
                f"'{deadline.line}': {seen}"

    def _step_dispenser(self, gun: int, dispenser: Dispenser, now_s: float) -> None:
        plant = self.station.plant
        plant.set_output(gun, plant.has_modules(gun) and not dispenser.keeps_open, now_s)
        if dispenser.values and not dispenser.silent and now_s >= dispenser.repeat_due_s:
            dispenser.repeat_due_s = now_s + REPEAT_S
            for kind, payload in dispenser.values.items():
                self._publish(gun, kind, payload)

    def _publish(self, gun: int, kind: str, payload: str) -> None:
        self.station.publish(f"vesec/{(gun - 1) % 2 + 1}/{kind}/D{(gun + 1) // 2}", payload)

    def _overhear(self, now_s: float, message: OutMessage) -> None:
        if message.topic.endswith("station/fault/central"):
            content = json.loads(message.payload)
            if content["active"]:
                self._faults_told.add((content["code"], content["id"]))

    # --- what happens -------------------------------------------------------------------------------------------------

    def _happen(self, line: str) -> None:
        words = line.split()
        if words[0] == "gun":
            self._say(int(words[1]), words[2], words[3:])
        elif words[0] == "car":
            self.station.plant.plug(int(words[1]), _battery(words[2]), self.station.clock.time_s)
        elif words[0] == "command":
            self._command(words[1:])
        else:
            faults.apply(line, self._bench, self.station.clock.time_s)

    def _say(self, gun: int, word: str, rest: list[str]) -> None:
        dispenser = self._dispensers[gun]
        if word == "falls_silent":
            dispenser.silent = True
        elif word == "speaks_again":
            dispenser.silent, dispenser.repeat_due_s = False, 0.0
        elif word == "keeps_contactor_open":
            dispenser.keeps_open = True
        else:
            dispenser.values[_KINDS[word]] = rest[0]
            self._publish(gun, _KINDS[word], rest[0])

    def _command(self, words: list[str]) -> None:
        demand = self.station.core.demand
        if words[0] == "site_limit":
            demand.set_site_limit(float(words[1]))
        elif words[0] == "max_power":
            demand.set_max_power(int(words[1]), float(words[2]))
        elif words[0] == "priority":
            demand.set_priority(Priority(words[1]))
        elif words[0] == "drain":
            demand.set_draining(words[1] == "true")
        elif words[0] == "module":
            demand.set_module_enabled(int(words[1]), words[2] == "true")
        else:
            assert words == ["reset"], words
            demand.reset()

    # --- what is seen: '' when it is as expected, else what it is -----------------------------------------------------

    def _seen(self, line: str) -> str:
        words = line.split()
        report = self.station.reports[-1]
        if words[0] == "gun":
            gun = report.guns[int(words[1]) - 1]
            return _GUN_CHECKS[words[2]](self, gun, words[3:])
        return _CHECKS[words[0]](self, report, words[1:])

    def _closed_of(self, gun: int) -> list[int]:
        return [x.module for x in self.station.plant.closed_contacts() if x.gun == gun]

    def _modules_on(self) -> list[int]:
        return [module.number for module in self.station.plant.modules if module.on]

    def _delivered_kw(self, gun: int) -> float:
        return self.station.plant.guns[gun - 1].power_w / 1000.0


def _config_lines(text: configparser.ConfigParser) -> Iterator[str]:
    for section in text.sections():
        if section.startswith("config "):
            yield f"[{section.removeprefix('config ')}]"
            yield from (f"{key} = {value}" for key, value in text[section].items())


def _timed(section: configparser.SectionProxy) -> Lines:
    """`at 5 = what` with further lines below it: one entry a line."""
    return [(float(key.split()[1]), line) for key, text in section.items() for line in text.split("\n") if line.strip()]


def _deadlines(section: configparser.SectionProxy) -> Iterator[Deadline]:
    """`at 26 within 0.3 = what`, with further lines below it."""
    for key, text in section.items():
        _, at_s, _, limit_s = key.split()
        yield from (Deadline(float(at_s), float(limit_s), line) for line in text.split("\n") if line.strip())


def _battery(word: str) -> FixedBattery | None:
    return None if word == "leaves" else FixedBattery(float(word))


def _differs(seen: object, expected: object, what: str) -> str:
    return "" if seen == expected else f"{what} is {seen}"


def _within(seen_kw: float, expected_kw: float, what: str) -> str:
    return "" if abs(seen_kw - expected_kw) <= max(0.5, DELIVERY_SHARE * expected_kw) else f"{what} is {seen_kw:.1f}"


def _numbers(words: list[str]) -> list[int]:
    return [] if words == ["none"] else [int(word) for word in words]


GunCheck = Callable[[Scenario, GunReport, list[str]], str]
Check = Callable[[Scenario, StationReport, list[str]], str]

_GUN_CHECKS: dict[str, GunCheck] = {
    "has": lambda _, gun, words: _differs(list(gun.modules), _numbers(words), "modules"),
    "has_modules": lambda _, gun, words: _differs(len(gun.modules), int(words[0]), "number of modules"),
    "allocated": lambda _, gun, words: _differs(gun.allocated_kw, float(words[0]), "allocated_kw"),
    "delivers": lambda run, gun, words: _within(run._delivered_kw(gun.gun), float(words[0]), "delivered kW"),
    "reports": lambda _, gun, words: _within(gun.delivered_kw, float(words[0]), "delivered_kw told"),
    "state": lambda _, gun, words: _differs(gun.state.value, words[0], "state"),
    "reason": lambda _, gun, words: _differs(gun.reason.split()[0], words[0], "reason"),
    "closed": lambda run, gun, words: _differs(run._closed_of(gun.gun), _numbers(words), "closed contactors' modules"),
    "bus_below": lambda run, gun, words: (
        "" if run.station.plant.bus_voltage_v(gun.gun) < float(words[0]) else
        f"its bus has {run.station.plant.bus_voltage_v(gun.gun):.0f} V"
    ),
}  # fmt: skip
_CHECKS: dict[str, Check] = {
    "station": lambda _, report, words: _differs(report.state.value, words[0], "station"),
    "fault": lambda _, report, words: (
        "" if [f for f in report.faults if [f.code, f.id] == words] else f"faults are {_codes(report)}"
    ),
    "told": lambda run, report, words: (
        "" if (words[0], words[1]) in run._faults_told else f"told were {sorted(run._faults_told)}"
    ),
    "no_fault": lambda _, report, words: _differs(_codes(report), [], "list of faults"),
    "modules_available": lambda _, report, words: _differs(report.modules_available, int(words[0]), "number"),
    "module_off": lambda run, _, words: _differs(run.station.plant.modules[int(words[0]) - 1].on, False, "module on"),
    "module_low": lambda run, _, words: _differs(
        run.station.plant.modules[int(words[0]) - 1].low_range, words[1] == "yes", "low range"
    ),
    "all_off": lambda run, _, words: _differs(run._modules_on(), [], "list of modules on"),
    "closed": lambda run, _, words: _differs(len(run.station.plant.closed_contacts()), int(words[0]), "number closed"),
}


def _codes(report: StationReport) -> list[str]:
    return [f"{fault.code} {fault.id}" for fault in report.faults]
