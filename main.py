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
import json
import logging
import os
import signal
import threading
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import can

import config_manager
from contactor_controller import ContactorController, GpioError, OutputsRefused
from demand_processor import DemandProcessor
from gun import Gun
from home_link import HomeLink
from kept_files import read_kept, write_json
from logger_config import LogSystem, escape, start_logging
from message_processor import MessageProcessor, subscriptions
from mqtt_handler import MqttHandler, load_client_id
from planning.drive import DriveLimits
from planning.faults import FaultBook, FaultCode
from planning.model import FaultReport, StationReport, StationState
from planning.payload import Rejection
from planning.ports import ContactorsPort, ModulesPort
from planning.reconnect import Version
from planning.record import Recorder
from planning.reports import Reports
from planning.settings import Settings, VoltageRange
from power_module_controller import PowerModuleController, open_can_bus
from protocols import PROTOCOLS
from service import EXIT_CONFIG, EXIT_RUNNING, EXIT_SAFE_DOOR, EXIT_STOPPED, Service
from updates.home import commit_of, take_lock
from wires import Refused, Wires, import_gpio, simulated, wires_of
from worker import Clock, ClockWatch, SystemClock, Worker

if TYPE_CHECKING:
    from monitoring.feed import Seen
    from monitoring.onlook import Onlook

log = logging.getLogger(__name__)

VERSION = "0.1.0"
SUPERVISE_S = 0.1
#: Threads take turns this often (Python's own 5 ms are a quarter of what an emergency stop may take to the wire).
SWITCH_S = 0.001
#: The garbage collector looks at new objects when there are so many more of them.
YOUNG_OBJECTS = 20_000
STATUS_S = 1.0
#: So much of a commit's name goes into status.json, by which deploy.py knows which release speaks.
COMMIT_LETTERS = 12
#: What counts up (hours, operations) is written this often.
KEEP_S = 60.0
#: While the safe door is open the control thread is looked at this often.
DOOR_LOOK_S = 0.05
#: The control thread steps every 50 ms at the slowest and CAN threads every 100 ms; three missed periods are too many.
CONTROL_LATE_S = 0.3
CAN_LATE_S = 0.3
#: The last OFF may hang in a CAN driver that hangs; it gets so long.
BY_HAND_S = 0.2
#: A broker that is gone so long is a fault; a reconnect takes 1 s at the least.
BROKER_PATIENCE_S = 5.0
#: A disk that failed is told until it has worked for so long.
DISK_STANDS_S = 10.0
#: status.json is due every second; a disk that took longer than this for it stalls.
DISK_STALLS_S = 3.0
#: News of faults that wait for whoever looks on, which takes them twice a second.
FAULT_NEWS_KEPT = 200
#: On the desk the page takes the next free port of so many, as the broker does.
PAGE_PORTS_TRIED = 50


# --- building ----------------------------------------------------------------------------------------------------


#: A reading counts as fresh for so many rounds of the slowest make: one round may just have been missed.
FRESH_ROUNDS = 1.5


def for_makes(settings: Settings) -> Settings:
    """[Safety] as the makes can hold it: one that is read in a slower round stretches fresh_reading."""
    round_s = max(PROTOCOLS[module.protocol].reads.round_s for module in settings.modules.by_number.values())
    fresh_s = max(settings.safety.fresh_reading_s, FRESH_ROUNDS * round_s)
    return replace(settings, safety=replace(settings.safety, fresh_reading_s=fresh_s))


def drive_limits(settings: Settings) -> DriveLimits:
    """What [Safety], [General] and the nameplate of the module makes allow; of several makes the least."""
    plates = [PROTOCOLS[module.protocol].nameplate for module in settings.modules.by_number.values()]
    safety, general = settings.safety, settings.general
    lows = [plate.low_range_max_v for plate in plates if plate.low_range_max_v is not None]
    low = settings.modules.voltage_range is VoltageRange.LOW and bool(lows)
    return DriveLimits(
        min_v=max(plate.min_v for plate in plates),
        max_v=min([general.max_output_voltage_v, *(p.max_v for p in plates), *(lows if low else ())]),
        module_kw=general.module_power_capacity_kw,
        module_a=min(plate.max_a for plate in plates),
        search_rate_v_per_s=safety.search_rate_v_per_s,
        search_current_a=safety.search_current_a,
        idle_current_a=safety.idle_current_a,
        voltage_margin_v=safety.voltage_margin_v,
        voltage_follow_v_per_s=safety.voltage_follow_v_per_s,
        voltage_rise_factor=safety.voltage_rise_factor,
        ramp_up_a_per_s=safety.ramp_up_a_per_s,
        match_offset_v=safety.match_offset_v,
        fresh_s=safety.fresh_reading_s,
        over_fraction=safety.over_percent_pct / 100.0,
        over_kw=safety.over_power_kw,
        over_a=safety.over_current_a,
    )


@dataclass(frozen=True, slots=True)
class Core:
    """The control path without its wires."""

    guns: dict[int, Gun]
    demand: DemandProcessor
    messages: MessageProcessor


def build_core(
    settings: Settings,
    modules: ModulesPort,
    contactors: ContactorsPort,
    clock: Clock,
    record: Callable[[str], None],
    tell: Callable[[StationReport], None],
    tell_rejected: Callable[[Rejection], None],
    clock_synchronised: Callable[[], bool],
) -> Core:
    """Guns, decisions and message processing over whatever modules and contactors are given."""
    guns = {number: Gun(number) for number in range(1, settings.general.gun_count + 1)}
    recorder = Recorder(settings, record, clock.wall_s)
    demand = DemandProcessor(settings, guns, modules, contactors, drive_limits(settings), recorder, tell)
    messages = MessageProcessor(
        guns, settings.devices, settings.mqtt, demand, tell_rejected, clock, clock_synchronised,
        range(1, settings.general.module_count + 1),
    )  # fmt: skip
    return Core(guns, demand, messages)


class Station:
    """The running rooms. MainThread."""

    def __init__(
        self,
        settings: Settings,
        gpio: Any,
        open_bus: Callable[[], can.BusABC],
        clock: Clock,
        logs: LogSystem,
        speed: float = 1.0,
        mqtt_version: Version = Version.V5,
    ) -> None:
        general, safety = settings.general, settings.safety
        settings = for_makes(settings)
        self.failures: list[tuple[str, BaseException]] = []
        #: appended to when a fault begins or ends; whoever looks on takes them from the other end
        self.fault_news: deque[FaultReport] = deque(maxlen=FAULT_NEWS_KEPT)
        self._settings, self._clock, self._speed = settings, clock, speed
        self._logs = logs
        self._unwritten = 0
        self._reports = Reports(VERSION, settings.mqtt.topic_root, settings.devices.guns, general.gun_count)
        self._renew = threading.Event()
        self.home = HomeLink(settings, VERSION, clock)
        self._home_failed = False
        self.modules = PowerModuleController(
            settings.can, settings.modules, safety, open_bus, clock, self._failed
        )
        self.contactors = ContactorController(
            gpio, settings.gpio, settings.safety, general.gun_count, general.module_count
        )
        watch = ClockWatch(clock.now_s(), clock.wall_s())
        self.core = build_core(
            settings, self.modules, self.contactors, clock, logs.record_inputs, self._tell, self._tell_rejected,
            lambda: watch.synchronised(clock.now_s(), clock.wall_s()),
        )  # fmt: skip
        self.mqtt = MqttHandler(
            settings.mqtt,
            settings.mqtt.client_id or load_client_id(general.station_id, settings.folder),
            (*subscriptions(settings.mqtt.topic_root), *self.home.subscriptions),
            self._reports.last_will(),
            self._hear,
            self._connected,
            SystemClock(),  # the broker lives by the clock on the wall, whatever the speed of a simulation
            on_failure=self._failed,
            version=mqtt_version,
        )
        self._control: Worker | None = None
        self._house = _House(self)
        gate = self.core.demand.gate  # its times are those of the clock on the wall
        gate.stall_s, gate.unwatched_s = gate.stall_s * speed, gate.unwatched_s * speed
        self.contactors.on_emergency_edge = self.core.demand.wake

    def start(self) -> None:
        self.modules.start()
        self._control = self.core.demand.start(self._clock, self._failed)
        self.mqtt.start()

    def watch(self, now_s: float, disk_stalls: bool) -> str | None:
        """What makes the safe door necessary; None: all threads live and are on time. MainThread, every 0.1 s."""
        self.core.demand.watched(now_s)
        self._house.step(now_s, disk_stalls)
        return self._fault(now_s)

    @property
    def passing(self) -> bool:
        """The gate of the heartbeat lets edges through just now."""
        return self.core.demand.passing(self._clock.now_s(), CONTROL_LATE_S * self._speed)

    def _fault(self, now_s: float) -> str | None:
        if self.failures:
            name, error = self.failures[0]
            return f"thread {name} ended: {type(error).__name__}: {error}"
        reason = self.core.demand.door_reason
        if reason is not None:  # the gate opened the door by itself: the program ends, and the service starts it anew
            return reason
        assert self._control is not None
        late_s = (now_s - self._control.last_step_s) / self._speed
        if late_s > CONTROL_LATE_S:
            return f"thread control is late by {late_s:.2f} s"
        late_s = self.modules.late_s(now_s) / self._speed
        if late_s > CAN_LATE_S:
            return f"a CAN thread is late by {late_s:.2f} s"
        return None if self.mqtt.alive else "thread mqtt-out has ended"

    def stop(self, reason: str, failed: bool) -> None:
        """The safe door, then the rest of the rooms; safe_door_s at the longest for what is electrical.

        `failed`: something of ours is broken, which is told as a fault.
        """
        self._off()
        self.core.demand.open_safe_door(reason, failed)
        if not self._door_shut_in_time():
            self._force_door()
            if failed:
                self._tell_failure(reason)
        if self._control is not None:
            self._control.stop(0.5)
        self.mqtt.stop(0.8, self._reports.last_will())
        self.modules.stop(1.0)

    def _off(self) -> None:
        """OFF to all modules before any contactor moves, whichever of our threads still lives."""
        now_s = self._clock.now_s()
        self.modules.off_now(None, now_s)
        if self.modules.sends(now_s, CAN_LATE_S * self._speed):
            return
        sent = threading.Event()
        by_hand = Worker("off-by-hand", lambda _: self._by_hand(sent), self._clock)
        by_hand.start()
        sent.wait(BY_HAND_S)
        by_hand.stop(0.0)

    def _by_hand(self, sent: threading.Event) -> float:
        self.modules.off_by_hand()
        sent.set()
        return BY_HAND_S

    def _tell_failure(self, reason: str) -> None:
        """The control thread, which tells of faults, is what failed."""
        book = FaultBook()
        book.raise_fault(FaultCode.CONTROL_FAILED, "station", self._clock.now_s(), reason)
        for news in book.take_news():
            self._tell_fault(news)

    def _door_shut_in_time(self) -> bool:
        """False when the control thread died or did not walk through the door within safe_door_s."""
        for _ in range(round(self._settings.safety.safe_door_s / DOOR_LOOK_S)):
            if self._control is None or not self._control.alive:
                return self.core.demand.door_shut.is_set()
            if self.core.demand.door_shut.wait(DOOR_LOOK_S / self._speed):
                return True
        return False

    def _force_door(self) -> None:
        """The control thread cannot walk through the door any more: take the wires from it."""
        self._off()
        log.error("Switching everything off without the control thread")
        self.contactors.seize()
        pause = threading.Event()
        self._clock.wait(pause, self._settings.safety.emergency_open_s)
        self.contactors.shut_down(self._clock.now_s())

    @property
    def sentence(self) -> str:
        """The station in one line, for `systemctl status`."""
        health = self.core.demand.health()
        closed, heard = health.contactors_closed, health.modules_heard
        return f"{health.state.value}, {closed} contactors closed, {heard} modules heard"

    def status(self) -> dict[str, Any]:
        """The content of status.json but for the process itself."""
        health = self.core.demand.health()
        return {
            "state": health.state.value,
            "armed": health.armed,
            "mqtt": self.mqtt.connected,
            "can": self.modules.can_status().up,
            "modules_heard": health.modules_heard,
            "contactors_closed": health.contactors_closed,
            "idle_s": round(health.idle_s, 1),
            "step_age_s": round(max(0.0, self._clock.now_s() - health.stepped_at_s), 3),
            **self._outlook(),
        }

    def _outlook(self) -> dict[str, Any]:
        """The rule in force, when guns that lack modules get one more, and what the loss of a module would cost."""
        outlook = self.core.demand.foresee()
        if outlook is None:
            return {}
        now_s = self._clock.now_s()
        etas = outlook.next_module_at_ms.items()
        return {
            "priority": outlook.question.rule.value,
            "eta_next_module_s": {gun: round(max(0.0, at_ms / 1000.0 - now_s)) for gun, at_ms in etas},
            "loss_kw_without_module": outlook.losses_kw,
        }

    def _hear(self, topic: bytes, payload: bytes, retain: bool) -> None:
        """One message from the broker. paho's thread."""
        if not self.home.hear(topic, payload, retain):
            self.core.messages.handle(topic, payload, retain)

    def _connected(self) -> None:
        """A new connection, and its broker may know nothing. Thread `mqtt-out`."""
        self._renew.set()
        self.home.renew()

    def _tell(self, report: StationReport) -> None:
        if self._renew.is_set():
            self._renew.clear()
            self._reports.renew()
        for message in self._reports.step(self._clock.now_s(), self._clock.wall_s(), report):
            self.mqtt.publish(message)
        for news in report.news:
            self._logs.record_fault(self._reports.fault_line(news, self._clock.now_s(), self._clock.wall_s()))
        self.fault_news.extend(report.news)

    def _tell_rejected(self, rejection: Rejection) -> None:
        self.mqtt.publish(self._reports.rejected(rejection, self._clock.wall_s()))

    def _tell_fault(self, news: FaultReport) -> None:
        now_s, wall_s = self._clock.now_s(), self._clock.wall_s()
        self.mqtt.publish(self._reports.fault(news, wall_s))
        self._logs.record_fault(self._reports.fault_line(news, now_s, wall_s))
        self.fault_news.append(news)

    def tell_update(self, content: Mapping[str, object]) -> None:
        """What deploy.py is about. Thread `status`."""
        self.mqtt.publish(self._reports.update(content))

    def tell_home(self, now_s: float) -> None:
        """What is due to Home Assistant; whatever happens there, status.json goes on. Thread `status`."""
        if not self.mqtt.connected or self._home_failed:
            return
        try:
            for message in self.home.step(now_s, self.core.demand.view(), self.modules.details()):
                self.mqtt.publish(message)
        except Exception:
            self._home_failed = True
            log.exception("Home Assistant is told nothing more until the next start")

    def _failed(self, thread: str, error: BaseException) -> None:
        self.failures.append((thread, error))

    @property
    def disk_failures(self) -> int:
        return self._logs.stats.disk_failures + self._unwritten

    def disk_failed(self) -> None:
        """status.json could not be written. Thread `status` alone."""
        self._unwritten += 1


class _House:
    """What the rooms around the control path have seen, told as faults of the station. MainThread."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._told: dict[FaultCode, bool] = {}
        self._connected_at_s: float | None = None
        self._disk_failures = 0
        self._disk_failed_at_s = float("-inf")

    def step(self, now_s: float, disk_stalls: bool) -> None:
        mqtt = self._station.mqtt
        if mqtt.connected or self._connected_at_s is None:
            self._connected_at_s = now_s
        failures = self._station.disk_failures
        if failures > self._disk_failures or disk_stalls:
            self._disk_failures, self._disk_failed_at_s = failures, now_s
        self._note(FaultCode.BROKER_LOST, now_s - self._connected_at_s > BROKER_PATIENCE_S)
        self._note(FaultCode.CLIENT_ID_TAKEN, mqtt.client_id_taken(now_s))
        self._note(FaultCode.DISK_FAILED, now_s - self._disk_failed_at_s < DISK_STANDS_S)

    def _note(self, code: FaultCode, present: bool) -> None:
        if present is not self._told.get(code, False):
            self._told[code] = present
            self._station.core.demand.note_fault(code, present)


# --- files beside config.ini -------------------------------------------------------------------------------------


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


class UpdateFile:
    """update.json, which deploy.py writes: what is new in it, or to a broker that may not know it. Thread `status`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "update.json"
        self._told: bytes | None = None

    def news(self, connected: bool) -> Mapping[str, object] | None:
        """What has to be told now; None: nothing, or the file cannot be understood."""
        if not connected:
            self._told = None
            return None
        try:
            content = self._path.read_bytes()
            if content == self._told:
                return None
            self._told = content
            update = json.loads(content)
        except (OSError, ValueError, RecursionError):
            return None
        return update if isinstance(update, dict) else None


class StatusFile:
    """status.json every second, and station_state.json when what is kept has changed.

    Thread `status`: a disk may stall for seconds, and nobody who watches over threads may wait for it.
    """

    def __init__(self, station: Station, folder: Path, clock: Clock) -> None:
        self._station, self._folder, self._clock = station, folder, clock
        commit = commit_of(Path(__file__).parent)[:COMMIT_LETTERS]
        self._about = {"pid": os.getpid(), "boot_id": boot_id(), "version": VERSION, "commit": commit}
        self._kept: Mapping[str, object] = {}
        self._kept_at_s = float("-inf")
        self._update = UpdateFile(folder)

    def step(self, now_s: float) -> float:
        """One turn; returns the seconds until the next."""
        self.write(now_s)
        content = self._update.news(self._station.mqtt.connected)
        if content is not None:
            self._station.tell_update(content)
        self._station.tell_home(now_s)
        return STATUS_S

    def write(self, now_s: float, ended: bool = False) -> None:
        """Both files now. `ended`: the last time, behind the safe door."""
        content = {"ts": round(self._clock.wall_s(), 3), **self._about, **self._station.status()}
        if ended:
            content["state"] = StationState.OFFLINE.value
        written = write_json(self._folder / "status.json", content)
        self._keep(now_s, ended)
        if not written:
            self._station.disk_failed()

    def _keep(self, now_s: float, ended: bool) -> None:
        """A command at once, what counts up once a minute: each write wears the card."""
        kept = self._station.core.demand.kept()
        commanded = kept.get("site_limit_kw") != self._kept.get("site_limit_kw")
        due = ended or commanded or now_s - self._kept_at_s >= KEEP_S
        if due and kept != self._kept and write_json(self._folder / "station_state.json", kept):
            self._kept, self._kept_at_s = kept, now_s


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
        wires = wires_of(settings, arguments, clock)
    except Refused as error:
        print(error)
        return EXIT_CONFIG
    logs = start_logging(wires.settings.logging, settings.folder)
    try:
        return _run(wires, clock, logs, arguments.speed)
    finally:
        wires.put_away()
        logs.stop()


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
        return _look_on(station, settings, clock, ports_tried)
    except ImportError as error:
        log.warning("There is no page: %s. Is monitoring/ complete?", error)
    except Exception as error:  # NoPage says what to do; nothing else of it may keep the station from its work
        log.debug("What looks on cannot start", exc_info=True)
        log.warning("There is no page: %s", str(error) or type(error).__name__)
    return None


def _look_on(station: Station, settings: Settings, clock: SystemClock, ports_tried: int) -> Onlook:
    from monitoring.feed import About
    from monitoring.onlook import Onlook, PageSetup, Sources

    general, dashboard, history = settings.general, settings.dashboard, settings.history
    about = About(
        general.station_id, VERSION, uuid.uuid4().hex, round(clock.wall_s(), 3), general.module_power_capacity_kw,
        settings.power_limits.gun_max_power_kw, settings.devices.guns, general.module_count,
    )  # fmt: skip
    kept = {"url": history.url, "retention_days": history.retention_days, "max_megabytes": history.max_megabytes}
    setup = PageSetup(dashboard.host, dashboard.port, ports_tried, dashboard.token_file, settings.folder, kept)
    sources = Sources(
        seen=lambda: _seen(station, clock),
        fault_news=station.fault_news,
        command=station.core.messages.command,
        stopping=lambda: station.core.demand.door_reason is not None,
        escape=escape,
    )
    onlook = Onlook(about, setup, sources, clock, SystemClock(), Path(__file__).resolve().parent)
    onlook.start()
    return onlook


def _seen(station: Station, clock: Clock) -> Seen | None:
    """All that is known of the station at this moment; None before its first step. Thread `onlook`."""
    from monitoring.feed import Seen

    demand, counts = station.core.demand, station.core.messages.counts
    view, health, outlook = demand.view(), demand.health(), demand.outlook
    if view is None:
        return None
    return Seen(
        view=view,
        now_s=clock.now_s(),
        wall_s=clock.wall_s(),
        armed=health.armed,
        modules_heard=health.modules_heard,
        contactors_closed=health.contactors_closed,
        stepped_at_s=health.stepped_at_s,
        mqtt=station.mqtt.connected,
        accepted=counts.accepted,
        rejected={reason.value: count for reason, count in counts.rejected.copy().items()},
        details=station.modules.details(),
        losses_kw=outlook.losses_kw if outlook is not None else {},
    )


# --- check -------------------------------------------------------------------------------------------------------


def check(settings: Settings, simulate: bool) -> int:
    """--check: what can be known without setting up a pin or sending a frame. 0: good, 2: something is wrong."""
    print(f"Config in {settings.folder}: good")
    problems = [] if simulate else [*_check_gpio(settings), *_check_can(settings)]
    for problem in problems:
        print(f"Problem: {problem}")
    print("Good to start" if not problems else f"{len(problems)} problem(s) found")
    return EXIT_CONFIG if problems else EXIT_STOPPED


def _check_gpio(settings: Settings) -> list[str]:
    try:
        import_gpio()
    except Refused as error:
        return [str(error)]
    chip = Path("/dev/gpiochip0")
    if chip.exists() and not os.access(chip, os.R_OK | os.W_OK):
        return [f"No permission for {chip}: sudo usermod -aG gpio $USER, then log in again"]
    return _pins_held(settings)


def _pins_held(settings: Settings) -> list[str]:
    """Pins of ours that a kernel driver (a CAN HAT, SPI) holds, as the kernel's own list says."""
    listing = Path("/sys/kernel/debug/gpio")
    try:
        text = listing.read_text()
    except OSError:
        return []
    pins = settings.gpio
    names = ("data_pin", "clock_pin", "latch_pin", "output_enable_pin", "feedback_load_pin", "feedback_clock_pin",
             "feedback_data_pin", "emergency_stop_pin", "heartbeat_pin")  # fmt: skip
    held = {}
    for line in text.splitlines():
        number, _, rest = line.strip().partition(" ")
        if number.startswith("gpio-") and "|" in rest:
            held[number.removeprefix("gpio-")] = rest.split("|")[1].strip(" )")
    return [
        f"[GPIO] {name} = {getattr(pins, name)}: the kernel driver '{held[str(getattr(pins, name))]}' holds this pin. "
        "Choose another pin, or take the overlay out of config.txt"
        for name in names
        if held.get(str(getattr(pins, name)), "").strip()
    ]


def _check_can(settings: Settings) -> list[str]:
    if settings.can.interface != "socketcan":
        return []
    state = Path(f"/sys/class/net/{settings.can.channel}/operstate")
    try:
        up = state.read_text().strip() in ("up", "unknown")
    except OSError:
        return [f"CAN link {settings.can.channel} does not exist: is the adapter plugged in and its overlay loaded?"]
    start = f"sudo ip link set {settings.can.channel} up type can bitrate {settings.can.bitrate} restart-ms 100"
    return [] if up else [f"CAN link {settings.can.channel} is down: {start}"]


# --- what a person does once on site ---------------------------------------------------------------------------------


def probe(settings: Settings, arguments: argparse.Namespace) -> int:
    """--probe: which modules hang on the bus. 0: some do and nothing is wrong with them, 2: else."""
    from commissioning import probe as prober

    lock = take_lock(settings.folder / "main.lock")
    if lock is None:
        print("The station is running: stop it first, two programs on one bus would answer each other's questions.")
        return EXIT_RUNNING
    clock, desk = SystemClock(), None
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
    print("\n".join(("", *prober.report(findings))))
    return EXIT_STOPPED if findings.modules and not prober.trouble(findings) else EXIT_CONFIG


def commission(settings: Settings, arguments: argparse.Namespace) -> int:
    """--commission: the walk through the station. 0: passed, 2: something has to be mended."""
    lock = take_lock(settings.folder / "main.lock")
    if lock is None:
        print("The station is running: stop it first.")
        return EXIT_RUNNING
    clock = SystemClock(arguments.speed)
    try:
        wires = wires_of(settings, arguments, clock)
    except Refused as error:
        print(error)
        return EXIT_CONFIG
    logs = start_logging(wires.settings.logging, settings.folder)
    try:
        if wires.desk is not None:
            wires.desk.start()
        return _commission(wires, clock, arguments.yes)
    finally:
        wires.put_away()
        logs.stop()


def _commission(wires: Wires, clock: SystemClock, yes: bool) -> int:
    """The rooms that a walk needs: modules, contactors, and the broker for what dispensers tell."""
    from commissioning import commission as runner
    from commissioning.walk import Walk

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
    if arguments.check:
        return check(settings, arguments.simulate)
    if arguments.probe:
        return probe(settings, arguments)
    if arguments.commission and arguments.yes and not arguments.simulate:
        print("--yes is for --simulate: on site a person agrees to each stage")
        return EXIT_CONFIG
    if arguments.commission:
        return commission(settings, arguments)
    return run(settings, arguments)


if __name__ == "__main__":
    sys.exit(main())
