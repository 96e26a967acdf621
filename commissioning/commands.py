"""Job: --probe and --commission from their lock to their exit code: builds what they need, and puts it away again.

Thread: MainThread. Lock: none (main.lock keeps a station out meanwhile). Units: none.
"""

from __future__ import annotations

import argparse
import signal
import threading

import can

from commissioning import commission as runner
from commissioning import probe as prober
from commissioning.check import can_problems
from commissioning.probe_report import report, trouble
from commissioning.walk import Walk
from contactor_controller import ContactorController, GpioError, OutputsRefused
from gun import Gun
from message_processor import MessageProcessor, subscriptions
from mqtt_handler import MqttHandler
from planning.reports import Reports
from planning.settings import Settings
from power_module_controller import PowerModuleController, open_can_bus
from service import EXIT_CONFIG, EXIT_RUNNING, EXIT_STOPPED
from station import VERSION, for_makes
from updates.home import take_lock
from wires import Refused, Wires, simulated, wired
from worker import SystemClock

RUNNING = "The station is running: stop it first (sudo systemctl stop vesec-station, or Ctrl-C where it was started)"


def probe(settings: Settings, arguments: argparse.Namespace) -> int:
    """--probe: which modules hang on the bus. 0: some do and nothing is wrong with them, 2: else."""
    lock = take_lock(settings.folder / "main.lock")
    if lock is None:
        print(f"{RUNNING}, two programs on one bus would answer each other's questions.")
        return EXIT_RUNNING
    clock, desk = SystemClock(), None
    problems = [] if arguments.simulate else can_problems(settings)
    if problems:
        print(f"The modules could not be asked: {problems[0]}")
        return EXIT_CONFIG
    try:
        if arguments.simulate:
            desk = simulated(settings, arguments, clock)
            desk.start()
        bus = desk.open_bus() if desk is not None else open_can_bus(settings.can)
        with bus:
            findings = prober.probe(bus, clock, print)
    except (Refused, prober.ProbeError, can.CanError, OSError, ValueError, ImportError) as error:
        print(f"The modules could not be asked: {error}")
        return EXIT_CONFIG
    finally:
        if desk is not None:
            desk.stop()
    configured = settings.modules.by_number
    print("\n".join(("", *report(findings, configured, settings.can.protocol))))
    return EXIT_STOPPED if findings.modules and not trouble(findings, configured) else EXIT_CONFIG


def commission(settings: Settings, arguments: argparse.Namespace) -> int:
    """--commission: the walk through the station. 0: passed, 2: something has to be mended."""
    lock = take_lock(settings.folder / "main.lock")
    if lock is None:
        print(f"{RUNNING}.")
        return EXIT_RUNNING
    clock = SystemClock(arguments.speed)
    try:
        with wired(settings, arguments, clock) as (wires, _):
            if wires.desk is not None:
                wires.desk.start()
            return _commission(wires, clock, arguments.yes)
    except Refused as error:
        print(error)
        return EXIT_CONFIG


def _commission(wires: Wires, clock: SystemClock, yes: bool) -> int:
    """The rooms that a walk needs: modules, contactors, and the broker for what dispensers tell."""
    settings = wires.settings
    general, failures, asked = settings.general, [], threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    guns = {number: Gun(number) for number in range(1, general.gun_count + 1)}
    modules = PowerModuleController(
        settings.can, settings.modules, settings.safety, wires.open_bus, clock, lambda *why: failures.append(why)
    )
    paced = for_makes(settings)
    contactors = ContactorController(wires.gpio, settings.gpio, paced.safety, general.gun_count, general.module_count)
    messages = MessageProcessor(
        guns, settings.devices, settings.mqtt, runner.NoCommands(), lambda _: None, clock, lambda: False,
        range(1, general.module_count + 1),
    )  # fmt: skip
    reports = Reports(VERSION, settings.mqtt.topic_root, settings.devices.guns, general.gun_count)
    mqtt = MqttHandler(
        settings.mqtt, f"{general.station_id}-commissioning", subscriptions(settings.mqtt.topic_root),
        reports.last_will(), messages.handle, None, SystemClock(), version=wires.mqtt_version,
    )  # fmt: skip
    consent = runner.agree_always if yes else runner.ask_person
    walk = Walk(paced, modules, contactors, runner.GunBuses(guns), consent, print)
    modules.start()
    mqtt.start()
    try:
        runner.run(walk, clock, asked, lambda: f"thread {failures[0][0]} ended: {failures[0][1]}" if failures else None)
    except (GpioError, OutputsRefused) as error:
        walk.stop(str(error))
    finally:
        contactors.shut_down(clock.now_s())
        modules.stop(1.0)
        mqtt.stop(0.8)
    passed = runner.conclude(walk, settings, VERSION, clock.wall_s(), settings.folder)
    return EXIT_STOPPED if passed else EXIT_CONFIG
