"""Job: what the rooms are built over: the site's GPIO library and CAN bus, or those of the simulated station.

Thread: MainThread. Lock: none. Units: none. The simulator is loaded inside a function: on site it never is.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import can

from logger_config import LogSystem, start_logging
from planning.reconnect import Version
from planning.settings import Settings
from power_module_controller import open_can_bus
from worker import SystemClock

if TYPE_CHECKING:
    from simulator.desk import Desk


class Refused(Exception):
    """The program cannot start; the text says why and what to do."""


def import_gpio() -> Any:
    """The library named RPi.GPIO, from RPi.GPIO or rpi-lgpio. Raises Refused."""
    hint = "On a desk: python main.py --simulate"
    try:
        return importlib.import_module("RPi.GPIO")
    except ImportError as error:
        raise Refused(
            f"No GPIO library ({error}). On the Raspberry Pi: sudo apt install python3-rpi-lgpio, then make the venv "
            f"with --system-site-packages (make .venv does). {hint}"
        ) from error
    except RuntimeError as error:
        raise Refused(f"The GPIO library does not work here: {error}. {hint}") from error


def check_desk(settings: Settings) -> None:
    """Raises Refused where the simulated station does not fit these settings; nothing is started."""
    with _desk_in_words():
        from simulator.desk import check_size  # only here and below: on site the simulator is never loaded

        check_size(settings)


def simulated(settings: Settings, arguments: argparse.Namespace, clock: SystemClock) -> Desk:
    """Everything around the controller, in this process. Raises Refused."""
    with _desk_in_words():
        from simulator.desk import Desk

        return Desk(
            settings, clock, speed=arguments.speed, seed=arguments.seed, cars=arguments.cars,
            broker=arguments.broker, protocol=arguments.protocol,
        )  # fmt: skip


@contextmanager
def _desk_in_words() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise Refused(f"The simulator's packages are missing ({error}): type make run") from error
    except (OSError, RuntimeError) as error:
        raise Refused(f"The simulated station cannot start: {error}") from error


@dataclass(frozen=True, slots=True)
class Wires:
    """What the rooms are built over: the site's own, or those of the simulated station."""

    settings: Settings
    gpio: Any
    open_bus: Callable[[], can.BusABC]
    desk: Desk | None = None

    @property
    def mqtt_version(self) -> Version:
        """The first to try."""
        return Version.V5 if self.desk is None else self.desk.mqtt_version

    def put_away(self) -> None:
        if self.desk is not None:
            self.desk.stop()


@contextmanager
def wired(settings: Settings, arguments: argparse.Namespace, clock: SystemClock) -> Iterator[tuple[Wires, LogSystem]]:
    """The wires, with the log under way; both are put away at the end. Raises Refused."""
    wires = _wires_of(settings, arguments, clock)
    logs = start_logging(wires.settings.logging, settings.folder)
    try:
        yield wires, logs
    finally:
        wires.put_away()
        logs.stop()


def _wires_of(settings: Settings, arguments: argparse.Namespace, clock: SystemClock) -> Wires:
    """Raises Refused."""
    if arguments.simulate:
        desk = simulated(settings, arguments, clock)
        return Wires(desk.settings, desk.gpio, desk.open_bus, desk)
    return Wires(settings, import_gpio(), lambda: open_can_bus(settings.can))
