"""Job: the station as a whole: its rooms put together, watched over, and brought to rest through the safe door.

Thread: MainThread builds, watches and stops; what others call names its thread. Lock: none. Units: s.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import can

from contactor_controller import ContactorController
from demand_processor import DemandProcessor
from gun import Gun
from home_link import HomeLink
from logger_config import LogSystem
from message_processor import MessageProcessor, subscriptions
from mqtt_handler import MqttHandler, load_client_id
from planning.drive import DriveLimits
from planning.faults import FaultBook, FaultCode
from planning.model import FaultReport, StationReport
from planning.payload import Rejection
from planning.ports import ContactorsPort, ModulesPort
from planning.reconnect import Version
from planning.record import Recorder
from planning.reports import Reports
from planning.settings import Settings, VoltageRange
from power_module_controller import PowerModuleController
from protocols import PROTOCOLS
from worker import Clock, ClockWatch, SystemClock, Worker

log = logging.getLogger(__name__)

VERSION = "0.1.0"
#: A reading counts as fresh for so many rounds of the slowest make: one round may just have been missed.
FRESH_ROUNDS = 1.5
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
#: News of faults that wait for whoever looks on, which takes them twice a second.
FAULT_NEWS_KEPT = 200


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
