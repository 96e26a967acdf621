"""Job: build the station from config.ini, start it, watch over its threads, and end it through the safe door.

Thread: MainThread. Lock: none (main.lock keeps a second instance out). Units: s.
Exit codes: 0 stopped as asked, 1 safe door, 2 config or hardware, 3 already running.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # before anything else is imported: this file may not be the one that shall run
    from updates import launcher

    launcher.go_on(Path(__file__), sys.argv[1:])

import argparse
import gc
import logging
import os
import signal
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import config_manager
from contactor_controller import GpioError
from kept_files import read_kept
from logger_config import LogSystem
from planning.settings import Settings
from protocols import PROTOCOLS
from service import EXIT_CONFIG, EXIT_RUNNING, EXIT_SAFE_DOOR, EXIT_STOPPED, Service
from station import VERSION, Station
from status_file import STATUS_S, StatusFile, boot_id
from updates.home import take_lock
from wires import Refused, Wires, wired
from worker import Clock, SystemClock, Worker

if TYPE_CHECKING:
    from monitoring.onlook import Onlook

log = logging.getLogger(__name__)

SUPERVISE_S = 0.1
#: Threads take turns this often (Python's own 5 ms are a quarter of what an emergency stop may take to the wire).
SWITCH_S = 0.001
#: The garbage collector looks at new objects when there are so many more of them.
YOUNG_OBJECTS = 20_000
#: status.json is due every second; a disk that took longer than this for it stalls.
DISK_STALLS_S = 3.0
#: On the desk the page takes the next free port of so many, as the broker does.
PAGE_PORTS_TRIED = 50


# --- running -----------------------------------------------------------------------------------------------------


class Supervisor:
    """Starts the threads and watches them until a signal comes or one of them fails."""

    def __init__(self, station: Station, status: StatusFile, clock: Clock, service: Service) -> None:
        self._station, self._status, self._clock, self._service = station, status, clock, service
        # on the clock on the wall, whatever the speed of a simulation; its end ends nothing
        self._wall = SystemClock()
        self._writer = Worker("status", status.step, self._wall)
        self._asked = threading.Event()
        self._signal = ""

    def run(self) -> int:
        """Start the station and watch it to its end. Returns the exit code. MainThread."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        try:
            self._station.start()
            self._writer.start()
            self._service.ready()
            fault = self._watch()
        except Exception as error:  # whatever it is: nothing stays on without a supervisor
            log.exception("The supervisor failed")
            fault = f"the supervisor failed: {type(error).__name__}: {error}"
        return self._end(fault)

    def _watch(self) -> str | None:
        """Until asked to stop (None) or something fails (what)."""
        while not self._asked.wait(SUPERVISE_S):
            stalls = self._wall.now_s() - self._writer.last_step_s > DISK_STALLS_S
            fault = self._station.watch(self._clock.now_s(), stalls)
            if fault is not None:
                return fault
            if self._station.passing:
                self._service.alive(self._station.sentence)
        return None

    def _end(self, fault: str | None) -> int:
        reason = f"{self._signal} received" if fault is None else fault
        refused = any(isinstance(error, GpioError) for _, error in self._station.failures)
        self._service.stopping(reason)
        if fault is not None and not self._station.failures:  # else the thread itself has said why it ended
            log.error("Stopping: %s", fault)
        self._station.stop(reason, failed=fault is not None)
        self._write_last_status()
        if fault is None:
            return EXIT_STOPPED
        return EXIT_CONFIG if refused else EXIT_SAFE_DOOR

    def _write_last_status(self) -> None:
        """Unless the disk hangs: the writer itself is stuck in it then."""
        if self._writer.stop(STATUS_S):
            self._status.write(self._wall.now_s(), ended=True)

    def _on_signal(self, number: int, _: object) -> None:
        self._signal = signal.Signals(number).name
        self._asked.set()


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Run until asked to stop. Returns the exit code."""
    lock = take_lock(settings.folder / "main.lock")
    if lock is None:
        print(f"The station is already running (main.lock in {settings.folder} is held). See status.json.")
        return EXIT_RUNNING
    sys.setswitchinterval(SWITCH_S)
    clock = SystemClock(arguments.speed)
    try:
        with wired(settings, arguments, clock) as (wires, logs):
            return _run(wires, clock, logs, arguments.speed)
    except Refused as error:
        print(error)
        return EXIT_CONFIG


def _run(wires: Wires, clock: SystemClock, logs: LogSystem, speed: float) -> int:
    settings, desk = wires.settings, wires.desk
    lines = config_manager.effective_lines(settings)
    logs.set_rollover_lines(lines)
    log.info("Station %s, version %s, %d guns, %d modules, config in %s", settings.general.station_id, VERSION,
             settings.general.gun_count, settings.general.module_count, settings.folder)  # fmt: skip
    for line in lines:
        log.debug("%s", line)
    logs.record_inputs(f"# {VERSION} {boot_id()} {os.getpid()}")
    station = Station(settings, wires.gpio, wires.open_bus, clock, logs, speed, wires.mqtt_version)
    station.core.demand.restore(read_kept(settings.folder / "station_state.json"))
    # What stands by now stands for good, and what messages and steps make is freed by its count: the collector looks at
    # the few cycles that are left, seldom (a look at everything takes some 20 ms, with every thread waiting).
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
    if desk is not None:
        desk.start()
        for line in desk.greeting():
            log.info("%s", line)
    supervisor = Supervisor(station, StatusFile(station, settings.folder, clock), clock, Service())
    onlook = look_on(station, settings, clock, PAGE_PORTS_TRIED if desk is not None else 1)
    try:
        return supervisor.run()
    finally:
        if onlook is not None:
            onlook.stop()


# --- looking on --------------------------------------------------------------------------------------------------


def look_on(station: Station, settings: Settings, clock: SystemClock, ports_tried: int) -> Onlook | None:
    """Start what looks on, in a process of its own; None: it is off or cannot be there. The station runs without it."""
    if not settings.dashboard.enabled:
        return None
    try:
        from monitoring.attach import attach

        return attach(station, settings, clock, ports_tried)
    except ImportError as error:
        log.warning("There is no page: %s. Is monitoring/ complete?", error)
    except Exception as error:  # NoPage says what to do; nothing else of it may keep the station from its work
        log.debug("What looks on cannot start", exc_info=True)
        log.warning("There is no page: %s", str(error) or type(error).__name__)
    return None


# --- the command line --------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Controller of a split-power DC charging station")
    parser.add_argument("--config", type=Path, metavar="FILE", help="config file (default: config.ini beside main.py)")
    parser.add_argument("--check", action="store_true", help="check config and hardware, touch nothing, and end")
    parser.add_argument("--probe", action="store_true", help="say which modules answer on the CAN bus, and end")
    parser.add_argument("--commission", action="store_true", help="prove modules, contactors and wiring one by one")
    parser.add_argument("--simulate", action="store_true", help="run the whole station on this desk, with cars")
    desk = parser.add_argument_group("with --simulate")
    desk.add_argument("--broker", type=_address, metavar="HOST:PORT", help="use this MQTT broker, not an own one")
    desk.add_argument("--speed", type=_speed, default=1.0, metavar="X", help="station time runs X times as fast")
    desk.add_argument("--seed", type=int, default=1, metavar="N", help="fixes tolerances and arrivals (1)")
    desk.add_argument("--cars", type=int, default=1000, metavar="N", help="how many cars come (1000)")
    desk.add_argument("--yes", action="store_true", help="agree to every stage of --commission")
    desk.add_argument("--protocol", choices=sorted(PROTOCOLS), help="make of the simulated modules")
    return parser


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is not HOST:PORT")
    return host, int(port)


def _speed(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 100:
        raise argparse.ArgumentTypeError("0.1 to 100")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """The program. Returns the exit code."""
    arguments = _parser().parse_args(argv)
    path = arguments.config or Path(__file__).resolve().parent / "config.ini"
    try:
        settings = config_manager.load(path)
    except config_manager.ConfigError as error:
        print(f"The configuration has to be mended first; no hardware was touched:\n{error}")
        return EXIT_CONFIG
    if arguments.check or arguments.probe or arguments.commission:
        return on_site(settings, arguments)
    return run(settings, arguments)


def on_site(settings: Settings, arguments: argparse.Namespace) -> int:
    """What is asked on site before the station runs; a running one never loads it. Returns the exit code."""
    from commissioning.check import check
    from commissioning.commands import commission, probe

    if arguments.check:
        return check(settings, arguments.simulate)
    if arguments.probe:
        return probe(settings, arguments)
    if arguments.yes and not arguments.simulate:
        print("--yes is for --simulate: on site a person agrees to each stage")
        return EXIT_CONFIG
    return commission(settings, arguments)


if __name__ == "__main__":
    sys.exit(main())
