"""Job: `python main.py --commission` on the clock: keeps the walk going, asks the person, ends with the report.

Thread: MainThread. Lock: none. Units: s. commands.py builds the rooms and puts them away; nothing here opens a wire.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from commissioning import report
from commissioning.findings import findings, remarks
from commissioning.walk import STEP_S, Walk
from gun import Gun
from planning.settings import Priority, Settings
from worker import Clock

log = logging.getLogger(__name__)


class GunBuses:
    """The bus voltages that the dispensers tell over MQTT."""

    def __init__(self, guns: Mapping[int, Gun]) -> None:
        self._guns = guns

    def told(self, gun: int) -> tuple[float, float] | None:
        snapshot = self._guns[gun].snapshot()
        volts, at_s = snapshot.values.bus_voltage_v, snapshot.bus_voltage_at_s
        return None if volts is None or at_s is None else (volts, at_s)


class NoCommands:
    """Commands over MQTT do nothing while a person commissions."""

    def set_site_limit(self, limit_kw: float) -> None:
        log.warning("A site limit of %g kW came and does nothing during commissioning", limit_kw)

    def set_max_power(self, gun: int, limit_kw: float) -> None:
        log.warning("A limit of %g kW for gun %d came and does nothing during commissioning", limit_kw, gun)

    def set_module_enabled(self, module: int, enabled: bool) -> None:
        log.warning("A command for module %d came and does nothing during commissioning", module)

    def set_priority(self, rule: Priority) -> None:
        log.warning("The rule %s came and does nothing during commissioning", rule.value)

    def set_draining(self, draining: bool) -> None:
        log.warning("The command to drain (%s) came and does nothing during commissioning", draining)

    def in_the_way_of_reset(self) -> Sequence[str]:
        return ("the station is being commissioned",)

    def reset(self) -> None:
        log.warning("A reset came and does nothing during commissioning")


def ask_person(stage: str) -> bool:
    """True when the person types yes."""
    print(f"\n{stage}")
    try:
        return input("Type yes to go on, anything else to end: ").strip().lower() == "yes"
    except EOFError:
        return False


def agree_always(stage: str) -> bool:
    """For the simulated station."""
    print(f"\n{stage}\nyes (--yes)")
    return True


def run(walk: Walk, clock: Clock, asked_to_stop: threading.Event, failed: Callable[[], str | None]) -> None:
    """Keep the walk going to its end, until a thread fails or somebody stops it."""
    while walk.step(clock.now_s()):
        why = failed()
        if why is None and asked_to_stop.is_set():
            why = "it was stopped"
        if why is not None:
            walk.stop(why)
            return
        clock.wait(asked_to_stop, STEP_S)


def conclude(walk: Walk, settings: Settings, version: str, wall_s: float, folder: Path) -> bool:
    """Print and write the report; True when the station passed."""
    seen, general = walk.observed, settings.general
    found = findings(seen, settings.safety.dead_voltage_v)
    said = remarks(seen, range(1, general.gun_count + 1))
    lines = report.text(general.station_id, version, wall_s, seen, found, said)
    print("\n" + "\n".join(lines[: lines.index("", 2) + 1]))
    try:
        machine = report.content(general.station_id, version, wall_s, seen, found, said)
        path = report.write(folder, wall_s, lines, machine)
        print(f"All of it stands in {path} and {path.with_suffix('.json').name}")
    except OSError as error:
        print(f"The report could not be written ({error}); here it is:\n" + "\n".join(lines))
    return not found
