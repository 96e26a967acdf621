"""Job: the decisions of the station: takes what the guns say, decides, commands modules and contactors.

Thread: `control` runs step(); observers and commands come from other threads. Lock: one, over what came in and what is
told; held to copy only. Units: kW, V, A, s (monotonic); ms inside the recorded core.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from gun import Gun
from planning import facts
from planning.contacts import bits_of
from planning.decision import Decision, DecisionCore
from planning.drive import DriveLimits
from planning.faults import FaultBook, FaultCode
from planning.feed import Feed
from planning.foresight import Outlook, look_ahead
from planning.gun_control import GunControl
from planning.heartbeat_gate import Check, GateView, HeartbeatGate
from planning.model import (
    OFF_ORDER,
    PROVEN_OPEN,
    CloseEvidence,
    ContactState,
    Crosspoint,
    FaultReport,
    GunReport,
    GunSnapshot,
    GunValues,
    ModuleStatus,
    Severity,
    StationReport,
    StationState,
    VehicleStatus,
)
from planning.module_pool import ModulePool
from planning.module_trust import ModuleTrust
from planning.orders import Orders
from planning.ports import ContactorsPort, ModulesPort
from planning.reasons import ReasonCode
from planning.record import Recorder
from planning.request import GunResult
from planning.safe_door import SafeDoor
from planning.settings import Priority, Settings
from planning.startup import SafeStart, StartAction, StartPhase, StartView
from planning.summary import delivered, gun_report
from planning.transition import SequenceEvent, Stage
from planning.view import GunView, StationView
from planning.watch import SILENT, Watch
from planning.wear import WearBook
from worker import Clock, Worker

log = logging.getLogger(__name__)

#: The longest pause between two steps; the contactors may ask for a shorter one.
STEP_S = 0.05
#: After a decision that moved a module or a contactor the next step follows at once.
FOLLOW_UP_S = 0.005
#: Of a gun that says more statuses than this between two steps the newest count.
STATUSES_KEPT = 8
#: Steps that values of guns ask for leave the other threads four times as long; in a flood see Worker.
REST_SHARE = 4.0
#: Two steps are never closer than this.
LEAST_PAUSE_S = 0.002
#: The ages of the guns and the report are looked at this often.
AGES_S = 0.25
TELL_S = 0.5
#: Modules that come back one by one so soon after all were silent had no fault of their own.
OUTAGE_S = 10.0
#: How long a fault that is an event stands.
MOMENT_S = 5.0
#: A CAN link that was never up is no fault so long after the start: opening it takes a moment.
LINK_PATIENCE_S = 2.0
#: A gun's power is told anew when it moved by this much; modules and the kind of reason at once.
STORY_STEP_KW = 5.0

_LOG_LEVELS = {Severity.WARNING: logging.WARNING, Severity.ERROR: logging.ERROR, Severity.CRITICAL: logging.ERROR}
#: Faults after which a contactor counts as possibly closed for the interlock.
_INTERLOCK_MARKS = frozenset(
    {
        FaultCode.CONTACTOR_STUCK_OPEN,
        FaultCode.CONTACTOR_WELDED,
        FaultCode.CONTACTOR_CLOSED_ALONE,
        FaultCode.CONTACTOR_DROPPED,
    }
)
#: Faults that are events: they stand for MOMENT_S, so that everybody is told.
_MOMENTS = frozenset({FaultCode.LOAD_BREAK, FaultCode.CLOSE_REFUSED, FaultCode.MATCH_TIMEOUT})


class Pace(Enum):
    """MOVING: a contactor, a search or a ramp. WAITING: a module rests before it may change guns. QUIET: nothing."""

    MOVING = "moving"
    WAITING = "waiting"
    QUIET = "quiet"


#: Readings are looked at this often; what a gun says, a contact does or a person commands is looked at at once.
LOOK_S = {Pace.MOVING: 0.0, Pace.WAITING: 0.1, Pace.QUIET: 0.2}


@dataclass(frozen=True, slots=True)
class Told:
    """What the log said last of a gun's allocation."""

    modules: tuple[int, ...] = ()
    reason: ReasonCode = ReasonCode.IDLE
    power_kw: float = 0.0

    def stale(self, now: Told) -> bool:
        """Modules or reason changed, or the power moved so far that a person wants to know."""
        same = self.modules == now.modules and self.reason is now.reason
        return not same or abs(self.power_kw - now.power_kw) >= STORY_STEP_KW


@dataclass(frozen=True, slots=True)
class Health:
    """What status.json tells of the control."""

    state: StationState = StationState.STARTING
    armed: bool = False
    modules_heard: int = 0
    contactors_closed: int = 0
    idle_s: float = 0.0
    stepped_at_s: float = 0.0


class DemandProcessor:
    """One lock, one thread. Everything electrical is decided in step(), in the order of its lines."""

    def __init__(
        self,
        settings: Settings,
        guns: Mapping[int, Gun],
        modules: ModulesPort,
        contactors: ContactorsPort,
        limits: DriveLimits,
        recorder: Recorder,
        tell: Callable[[StationReport], None],
    ) -> None:
        """`recorder` writes the record of the decisions, `tell` takes a report; neither may block."""
        self._settings, self._guns = settings, guns
        self._modules, self._contactors = modules, contactors
        self._recorder, self._tell_others = recorder, tell
        general = settings.general
        self._module_count = general.module_count
        self._used = frozenset(n for n, module in settings.modules.by_number.items() if module.enabled)
        self._controls = {gun: GunControl(gun, settings, limits) for gun in guns}
        self.faults = FaultBook()
        trust = ModuleTrust(self._module_count, settings.safety, self.faults)
        capacity_kw = general.module_power_capacity_kw
        self._pool = ModulePool(self._module_count, capacity_kw, limits.module_a, trust, self.faults)
        self._core = DecisionCore(settings)
        self._wear = WearBook(general.gun_count, self._module_count, settings.safety.idle_current_a)
        self._watch = Watch(self.faults)
        self._feed = Feed(settings, self._core, self._controls, self._pool, self._watch, self._wear, self.faults)
        self._orders = Orders(self._controls, self._pool, self._feed, self._module_count)
        self._decision: Decision | None = None
        self._switched = False  # the last decision moved a module or a contactor: the next step follows at once
        self._start = SafeStart()
        self._site_commanded_kw: float | None = None
        self._site_commanded_at_s: float | None = None
        self._resets = 0
        self._all_silent_at_s = -math.inf
        self._in_the_way: Sequence[str] = ("the station is still starting",)
        self._draining = False
        self._refusals: dict[Crosspoint, object] = {}
        self._moments: dict[tuple[FaultCode, str], float] = {}  # when each ends
        self._look_due_s = self._ages_due_s = self._tell_due_s = float("-inf")
        self._idle_since_s: float | None = None
        self._door: SafeDoor | None = None
        self._armed_no_more = False
        self._conducting: set[int] = set()
        self._idle_reports: dict[int, tuple[tuple[GunResult, GunValues], GunReport]] = {}
        self._allocation_told = {gun: Told() for gun in guns}
        self._link_awaited_until_s: float | None = None
        self._worker: Worker | None = None
        self.gate = HeartbeatGate()
        self._stepped_at_s: float | None = None
        self._slowest_step_s = 0.0  # since the last view
        self._watched_at_s: float | None = None  # by MainThread; one stamp needs no lock
        #: Set when the safe door has been walked through: outputs are disabled.
        self.door_shut = threading.Event()
        self._lock = threading.Lock()
        #: gun -> what it said since the last step, one for each status that it went through
        self._changed: dict[int, list[GunSnapshot]] = {gun: [] for gun in guns}
        self._status_heard: dict[int, VehicleStatus] = {}
        self._commands: list[Callable[[float], None]] = []
        self._door_reason: str | None = None
        self._failed = False  # the door was opened because something of ours is broken
        self._health = Health()
        self._kept: Mapping[str, object] = self._make_kept()
        self._present: Decision | None = None  # the last decision, for others
        self._outlook: Outlook | None = None
        self._view: StationView | None = None
        for gun in guns.values():
            gun.subscribe(self.on_gun_changed)

    # --- any thread -----------------------------------------------------------------------------------------------

    def start(self, clock: Clock, on_failure: Callable[[str, BaseException], None]) -> Worker:
        """Start the control thread. Main thread, once."""
        self._worker = Worker("control", self.step, clock, on_failure, REST_SHARE)
        self._worker.start()
        return self._worker

    def on_gun_changed(self, snapshot: GunSnapshot) -> None:
        """Observer of the guns: note which one changed and wake the control thread. Any thread."""
        status = snapshot.values.status
        with self._lock:
            said = self._changed.setdefault(snapshot.gun, [])
            if not said or said[-1].values.status is not status:
                said.append(snapshot)
            del said[:-STATUSES_KEPT]
            new_status = self._status_heard.get(snapshot.gun) is not status
            self._status_heard[snapshot.gun] = status
        if self._worker is not None:
            # a fault, or a car that is gone while current flows, is an emergency order: it waits for no rest
            self._worker.wake(urgent=new_status)

    def set_site_limit(self, limit_kw: float) -> None:
        """Commanded AC limit of the whole station, kW; lowers what the config allows. Any thread."""

        def command(now_s: float) -> None:
            log.info("Site limit set to %g kW by command", limit_kw)
            self._site_commanded_kw, self._site_commanded_at_s = limit_kw, now_s

        self._do(command)

    def set_max_power(self, gun: int, limit_kw: float) -> None:
        """Commanded limit of one gun, kW; lowers what the config allows. Any thread. Raises KeyError: no such gun."""
        control = self._controls[gun]
        allowed_kw = self._settings.power_limits.gun_max_power_kw[gun]

        def command(_: float) -> None:
            lifted = f": lifted, config.ini allows {allowed_kw:g}" if limit_kw >= allowed_kw else ""
            log.info("Gun %d limited to %g kW by command%s", gun, limit_kw, lifted)
            control.commanded_kw = limit_kw

        self._do(command)

    def set_priority(self, rule: Priority) -> None:
        """Share modules by another rule until the next start; no gun drops to zero for it. Any thread."""

        def command(_: float) -> None:
            log.info("Modules are shared by %s, by command", rule.value)
            self._core.put("rule", rule.name)

        self._do(command)

    def set_draining(self, draining: bool) -> None:
        """Take in no new car, serve those that are here to their end; False: as ever. Any thread."""

        def command(_: float) -> None:
            log.info("The station %s, by command", "drains: no new car is taken in" if draining else "drains no more")
            self._draining = draining
            for control in self._controls.values():
                control.drain(draining)

        self._do(command)

    def set_module_enabled(self, module: int, enabled: bool) -> None:
        """Take a module out of service or back; one that config.ini disables stays out. Any thread."""

        def command(_: float) -> None:
            log.info("Module %d %s by command", module, "enabled" if enabled else "disabled")
            self._pool.set_enabled(module, enabled and self._settings.modules.by_number[module].enabled)

        self._do(command)

    def in_the_way_of_reset(self) -> Sequence[str]:
        """What had to be mended before a reset when the control last looked, as phrases. Any thread."""
        return self._in_the_way

    def reset(self) -> None:
        """A person has looked: clear what latches, as far as the station proves to be safe. Any thread."""
        self._do(self._reset)

    def open_safe_door(self, reason: str, failed: bool = True) -> None:
        """Switch everything off in order and keep it off; `door_shut` tells when. A second call does nothing more.

        `failed`: something of ours is broken, which is told as a fault; False: asked to stop. Any thread.
        """
        with self._lock:
            if self._door_reason is None:
                self._door_reason, self._failed = reason, failed
        self.wake()

    def watched(self, now_s: float) -> None:
        """MainThread looks after the other threads; once it has, it must go on. MainThread."""
        self._watched_at_s = now_s

    def passing(self, now_s: float, within_s: float) -> bool:
        """The gate of the heartbeat let an edge through within `within_s`. Any thread."""
        return now_s - self.gate.passed_at_s <= within_s

    def note_fault(self, code: FaultCode, present: bool, detail: str = "") -> None:
        """A fault of the station that another room has seen, or its end. Any thread."""

        def command(now_s: float) -> None:
            if present:
                self.faults.raise_fault(code, "station", now_s, detail)
            else:
                self.faults.clear(code, "station", now_s)

        self._do(command)

    @property
    def door_reason(self) -> str | None:
        """Why the safe door was opened; None: it was not. Any thread."""
        with self._lock:
            return self._door_reason

    def health(self) -> Health:
        with self._lock:
            return self._health

    def view(self) -> StationView | None:
        """All that the last step which told something saw and decided; None before the first. Any thread."""
        with self._lock:
            return self._view

    @property
    def outlook(self) -> Outlook | None:
        """What `foresee` found last, without working it out; None before that. Any thread."""
        with self._lock:
            return self._outlook

    def foresee(self) -> Outlook | None:
        """What the present allocation leads to; None before the first. Any thread but control: it takes its time."""
        with self._lock:
            present, outlook = self._present, self._outlook
        if present is None or (outlook is not None and outlook.answer is present.allocation):
            return outlook
        outlook = look_ahead(present.question, present.allocation)
        with self._lock:
            self._outlook = outlook
        return outlook

    def kept(self) -> Mapping[str, object]:
        """What is to survive a restart: the commanded site limit, and what modules and contactors wore. Any thread."""
        with self._lock:
            return self._kept

    def restore(self, kept: Mapping[str, object]) -> None:
        """Take over what was kept; what is not as we write it is left aside. Before start()."""
        limit_kw = kept.get("site_limit_kw")
        if isinstance(limit_kw, (int, float)) and 0 <= limit_kw < math.inf:
            self._site_commanded_kw = float(limit_kw)
            log.info("The site limit of %g kW is still in force, by a command before this start", limit_kw)
        self._wear.restore(kept)
        self._feed.worn()
        self._kept = self._make_kept()

    def _make_kept(self) -> Mapping[str, object]:
        return {"site_limit_kw": self._site_commanded_kw, **self._wear.kept()}

    def _do(self, command: Callable[[float], None]) -> None:
        with self._lock:
            self._commands.append(command)
        self.wake()

    def wake(self) -> None:
        """Run the next step now. Any thread."""
        if self._worker is not None:
            self._worker.wake()

    # --- the control thread ---------------------------------------------------------------------------------------

    def step(self, now_s: float) -> float:
        """One step of the station; returns the seconds until the next is wanted. Control thread."""
        beat = self._pass_gate(now_s)
        changed, commands, door_reason = self._take_in()
        pause_s = min(STEP_S, self._contactors.step(now_s, beat))
        stopped = self._stop_at_once(now_s)
        if now_s < self._look_due_s and not changed and not commands and door_reason is None and self._calm():
            return pause_s
        modules = self._modules.status(now_s)
        self._wear.look(modules, now_s)
        self._pool.look(modules, now_s)
        if door_reason is not None:
            return min(pause_s, self._walk_out(now_s, modules, door_reason))
        self._hear(changed, modules, now_s)
        for command in commands:
            command(now_s)
        self._look_after_station(now_s, modules, stopped)
        self._feed.step(now_s, modules, self._decision, self._site_budget_kw(now_s))
        self._stop_welded(now_s)
        moved = self._decide(now_s, modules)
        if moved:
            self._tell(now_s, modules)  # what falls is told before the set-points fall
        self._command(now_s, modules)
        self._switch(now_s, modules)
        if now_s >= self._tell_due_s:
            self._tell(now_s, modules)
        self._look_due_s = now_s + LOOK_S[self.pace]
        if self._core.due_ms is not None:
            # one millisecond on: the core counts whole ones
            due_s = (self._core.due_ms + 1) / 1000.0
            self._look_due_s = min(self._look_due_s, due_s)
            pause_s = min(pause_s, max(LEAST_PAUSE_S, due_s - now_s))
        return FOLLOW_UP_S if self._switched else pause_s

    def _pass_gate(self, now_s: float) -> bool:
        """True when the heartbeat line may have an edge in this step; a check that fails opens the safe door."""
        paused_s = 0.0 if self._stepped_at_s is None else now_s - self._stepped_at_s
        self._stepped_at_s = now_s
        self._slowest_step_s = max(self._slowest_step_s, paused_s)
        unwatched_s = 0.0 if self._watched_at_s is None else now_s - self._watched_at_s
        failed_before = self.gate.failed
        view = GateView(
            armed=self._start.armed,
            paused_s=paused_s,
            unwatched_s=unwatched_s,
            image_verified=self._contactors.image_verified,
            in_door_s=None if self._door is None else self._door.age_s(now_s),
        )
        beat = self.gate.step(now_s, view)
        failed = self.gate.failed
        if failed is not None and failed_before is None:
            self._answer_failed_check(failed, paused_s, now_s)
        return beat

    def _answer_failed_check(self, failed: Check, paused_s: float, now_s: float) -> None:
        if failed is Check.ON_TIME:  # the coils may have dropped under load: nothing is left to be done in order
            self._modules.off_now(None, now_s)
            self._contactors.open_all(now_s)
            self.open_safe_door(f"{failed.words} for {paused_s:.2f} s")
            return
        if failed is Check.IMAGE:
            self.faults.raise_fault(FaultCode.OUTPUT_UNVERIFIED, "station", now_s)
        self.open_safe_door(failed.words)

    def _calm(self) -> bool:
        """Contacts and emergency stop are as they were when everything was last looked at."""
        return self._contactors.emergency_stop_healthy and self._feed.knows(self._contactors.states)

    @property
    def decision(self) -> Decision | None:
        """The last decision, for whoever looks on in the control thread; None before the first."""
        return self._decision

    @property
    def pace(self) -> Pace:
        """How much is on its way just now; long simulations step more slowly when little is. Control thread."""
        if self._decision is None or not self._start.armed:
            return Pace.MOVING
        waiting = False
        for want, (stage, _) in zip(self._decision.wants, self._decision.seats, strict=True):
            if stage not in (Stage.FREE, Stage.SERVE, Stage.WELDED):
                return Pace.MOVING
            waiting = waiting or (want != 0 and stage is Stage.FREE)
        if not all(control.drive.steady for control in self._controls.values()):
            return Pace.MOVING
        return Pace.WAITING if waiting else Pace.QUIET

    def _take_in(self) -> tuple[dict[int, list[GunSnapshot]], list[Callable[[float], None]], str | None]:
        with self._lock:
            changed, self._changed = self._changed, {}
            commands, self._commands = self._commands, []
            return changed, commands, self._door_reason

    def _hear(self, changed: Mapping[int, list[GunSnapshot]], modules: Sequence[ModuleStatus], now_s: float) -> None:
        """What the guns say now, and how old it is."""
        for gun, said in changed.items():
            _, measured_a = delivered(modules, self._seats_of(gun))
            for snapshot in (*said, self._guns[gun].snapshot()):
                self._controls[gun].take(snapshot, measured_a)
        if now_s < self._ages_due_s:
            return
        self._ages_due_s = now_s + AGES_S
        for gun, control in self._controls.items():
            control.hear(self._guns[gun].snapshot())
            if control.grow_old(now_s):
                log.warning("Gun %d: its device is silent, demand forgotten", gun)
                self._guns[gun].forget_demand()
            self.faults.set(FaultCode.GUN_SILENT, control.name, control.silent, now_s)

    def _seats_of(self, gun: int) -> Sequence[tuple[int, Stage]]:
        return self._decision.by_gun.get(gun, ()) if self._decision is not None else ()

    def _crosspoint(self, index: int) -> Crosspoint:
        return Crosspoint(index // self._module_count + 1, index % self._module_count + 1)

    # --- start, stop, station-wide checks --------------------------------------------------------------------------

    def _stop_at_once(self, now_s: float) -> bool:
        """The emergency stop has just been pressed: OFF to all before anything is looked at; True when it was told."""
        pressed = self._start.armed and not self._contactors.emergency_stop_healthy
        if not pressed or self._watch.block is ReasonCode.EMERGENCY_STOP:
            return False
        self._modules.off_now(None, now_s)
        return True

    def _look_after_station(self, now_s: float, modules: Sequence[ModuleStatus], stopped: bool) -> None:
        """`stopped`: all modules were told OFF in this step already."""
        can = self._modules.can_status()
        self.faults.set(FaultCode.CAN_LINK_DOWN, "station", self._link_missed(can.up, now_s), now_s)
        if not self._start.armed:
            self._start_up(now_s, can.up, modules)
        if self._start.phase in (StartPhase.LINK, StartPhase.QUIET):
            return  # the pins are not set up yet
        if self._watch.step(now_s, can, self._contactors, modules, self._used, self._start.armed) and not stopped:
            self._modules.off_now(None, now_s)
        self._feed.contacts(self._contactors.states)
        if self._watch.can_fault_since_s is not None:
            self._all_silent_at_s = now_s
        self._in_the_way = self._hindrances(modules)

    def _link_missed(self, up: bool, now_s: float) -> bool:
        """The link is down, and not only because the station has just started."""
        if self._link_awaited_until_s is None:
            self._link_awaited_until_s = now_s + LINK_PATIENCE_S
        if up:
            self._link_awaited_until_s = now_s
        return not up and now_s >= self._link_awaited_until_s

    def _start_up(self, now_s: float, link_up: bool, modules: Sequence[ModuleStatus]) -> None:
        used = [status for status in modules if status.module in self._used]
        heard = sum(status.heard_at_s is not None for status in used)
        view = StartView(
            link_up=link_up,
            feedback_valid=self._contactors.feedback_valid,
            modules_proven_off=all(facts.proven_off_since_s(status) is not None for status in used),
            start_hear_s=self._settings.safety.start_hear_s,
        )
        action = self._start.step(now_s, view)
        if action is StartAction.OFF_ALL:
            self._modules.off_now(None, now_s)
        elif action is StartAction.LATCH_ZEROS:
            self._contactors.prepare(now_s)
        elif action is StartAction.ENABLE_OUTPUTS:
            self._note_welds()
            self._contactors.enable_outputs(now_s)
        elif action is StartAction.ARM:
            self._contactors.arm()
            self._watch.armed()
            log.info("Station ready: %d of %d modules answer", heard, len(used))

    def _note_welds(self) -> None:
        """A contactor that is closed before anything was commanded is welded; the others may serve."""
        for index, state in enumerate(self._contactors.states):
            if state is not ContactState.OPEN:
                self._contactors.take_out_of_service(self._crosspoint(index))

    def _hindrances(self, modules: Sequence[ModuleStatus]) -> Sequence[str]:
        states = self._contactors.states if self._watch.block is not None else ()
        not_open = [self._crosspoint(index) for index, state in enumerate(states) if state not in PROVEN_OPEN]
        return self._watch.in_the_way_of_reset(self._contactors, modules, not_open)

    def _reset(self, now_s: float) -> None:
        in_the_way = self._hindrances(self._modules.status(now_s))
        if in_the_way:
            log.warning("Reset refused: %s", "; ".join(in_the_way))
            return
        log.info("Reset by a person")
        self._watch.block = None
        self._pool.forgive(now_s)
        self._contactors.restore_all()
        self.faults.clear_by_person(now_s, self._still_closed())
        self._resets += 1
        self._core.put("reset", self._resets)

    def _still_closed(self) -> Callable[[str], bool]:
        """Which crosspoints are not proven open: what is welded stays a fault, whoever resets."""
        states = self._contactors.states
        closed = {str(self._crosspoint(index)) for index, state in enumerate(states) if state not in PROVEN_OPEN}
        return closed.__contains__

    def _walk_out(self, now_s: float, modules: Sequence[ModuleStatus], reason: str) -> float:
        """The safe door, step by step."""
        if self._door is None:
            self._door = SafeDoor(self._settings.safety, now_s)
            log.info("Safe door: %s. Everything is switched off", reason)
            if self._failed:
                self.faults.raise_fault(FaultCode.CONTROL_FAILED, "station", now_s, reason)
        if self.door_shut.is_set():
            return STEP_S
        self._modules.apply((OFF_ORDER,) * self._module_count, now_s)
        closed = [self._crosspoint(index) for index in bits_of(self._contactors.coil_image)]
        orders = self._door.step(now_s, modules, closed, self._contactors.all_proven_open)
        if orders.off_all:
            self._modules.off_now(None, now_s)
        for crosspoint in orders.open:
            log.info("Contactor %s opens", crosspoint)
            self._contactors.request_open(crosspoint, now_s)
        if orders.done:
            self._contactors.shut_down(now_s)
            self._armed_no_more = True
            log.info("All off: contactors open, outputs disabled")
        self._feed.contacts(self._contactors.states)  # what opens here wears as well
        self._tell(now_s, modules)
        if orders.done:
            self.door_shut.set()  # last: whoever waits for it writes down what was told
        return FOLLOW_UP_S

    # --- deciding --------------------------------------------------------------------------------------------------

    def _site_budget_kw(self, now_s: float) -> float:
        """The DC budget of all guns; -1: no limit."""
        limit_kw = self._site_limit_kw(now_s)
        return -1.0 if limit_kw is None else limit_kw * self._settings.general.module_efficiency

    def _site_limit_kw(self, now_s: float) -> float | None:
        """AC limit in force: the config's, lowered by command; one that is not renewed gives way to the fallback."""
        limits = self._settings.power_limits
        commanded_kw = self._site_commanded_kw
        if limits.site_limit_timeout_s > 0:
            if self._site_commanded_at_s is None:
                self._site_commanded_at_s = now_s
            if now_s - self._site_commanded_at_s > limits.site_limit_timeout_s:
                commanded_kw = limits.site_limit_fallback_kw
        return min((kw for kw in (limits.max_site_power_kw, commanded_kw) if kw is not None), default=None)

    def _decide(self, now_s: float, modules: Sequence[ModuleStatus]) -> bool:
        """Run the core when it is due; True when there is something new to tell."""
        now_ms = int(now_s * 1000)
        self._switched = False
        if not self._core.due(now_ms):
            return False
        before = self._decision
        inputs, self._decision = self._core.step(now_ms)
        self._switched = before is None or (before.wants, before.seats) != (self._decision.wants, self._decision.seats)
        self._recorder.take(inputs, self._decision, self._core)
        for event in self._decision.events:
            self._on_event(event, modules, now_s)
        if before is not None and before.allocation is self._decision.allocation:
            return bool(self._decision.events)
        if self._start.armed:
            self._tell_story(self._decision)
        return True

    def _stop_welded(self, now_s: float) -> None:
        """The emergency order of a gun reaches modules too whose contactor cannot be opened any more."""
        for gun in self._feed.take_stopped():
            welded = tuple(module for module, stage in self._seats_of(gun) if stage is Stage.WELDED)
            if welded:
                self._modules.off_now(welded, now_s)

    def _on_event(self, event: SequenceEvent, modules: Sequence[ModuleStatus], now_s: float) -> None:
        crosspoint = Crosspoint(event.gun, event.module)
        log.debug("%s: %s -> %s", crosspoint, event.before.words, event.after.words)
        if event.after is Stage.BREAK or event.fault is FaultCode.CONTACTOR_CLOSED_ALONE:
            self._modules.off_now((event.module,), now_s)
        if event.before is Stage.LOST and now_s - self._all_silent_at_s > OUTAGE_S:
            self._pool.lapsed(event.module, now_s)
        if event.after is Stage.LOST:
            self._feed.lost_a[event.module] = facts.counted_a(modules[event.module - 1])
        if event.fault is None:
            return
        where = f"m{event.module}" if event.fault is FaultCode.MATCH_TIMEOUT else str(crosspoint)
        self.faults.raise_fault(event.fault, where, now_s)
        if event.fault is FaultCode.MATCH_TIMEOUT:
            self._pool.rest(event.module, now_s)
        if event.fault in _INTERLOCK_MARKS:
            self._contactors.take_out_of_service(crosspoint)
        if event.fault in _MOMENTS:
            self._moments[(event.fault, where)] = now_s + MOMENT_S

    def _tell_story(self, decision: Decision) -> None:
        """One INFO line for each gun whose allocation changed, with its reason."""
        for result in decision.allocation.guns:
            now = Told(result.modules, result.reason.code, result.allocated_kw)
            if not self._allocation_told[result.gun].stale(now):
                continue
            self._allocation_told[result.gun] = now
            modules = " ".join(map(str, result.modules))
            given = f"{result.allocated_kw:g} kW by modules {modules}" if modules else "no modules"
            log.info("Gun %d: %s - %s", result.gun, given, result.reason)

    # --- commanding -------------------------------------------------------------------------------------------------

    def _command(self, now_s: float, modules: Sequence[ModuleStatus]) -> None:
        """Renew the orders of all modules; what is not ordered anew falls off by itself."""
        decision = self._decision if self._start.armed else None
        orders = self._orders.step(now_s, decision, modules)
        self._modules.watch(self._orders.fast_reads(decision))
        self._modules.apply(orders, now_s)
        self._note_batteries()

    def _note_batteries(self) -> None:
        """One line when current begins to flow to a gun: from then on the voltage of its bus is known."""
        for gun, control in self._controls.items():
            volts = control.drive.conducting_v
            if (volts is not None) is not (gun in self._conducting):
                self._conducting ^= {gun}
                if volts is not None:
                    log.info("Gun %d: current flows at %.0f V", gun, volts)

    def _switch(self, now_s: float, modules: Sequence[ModuleStatus]) -> None:
        """Bring the coils to what was decided: opens first, closes as the interlock allows."""
        if self._decision is None or not self._start.armed:
            return
        wanted, present = self._decision.coils, self._contactors.coil_image
        if wanted == present:
            return
        for index in bits_of(present & ~wanted):
            crosspoint = self._crosspoint(index)
            log.info("Contactor %s opens", crosspoint)
            self._contactors.request_open(crosspoint, now_s)
        for index in bits_of(wanted & ~present):
            self._close(self._crosspoint(index), now_s, modules)

    def _close(self, crosspoint: Crosspoint, now_s: float, modules: Sequence[ModuleStatus]) -> None:
        others = [
            modules[module - 1]
            for module, stage in self._seats_of(crosspoint.gun)
            if stage.on_bus and module != crosspoint.module
        ]
        control = self._controls[crosspoint.gun]
        told_v = control.told_bus_v(now_s)
        evidence = CloseEvidence(
            module=modules[crosspoint.module - 1],
            # a bus that no module is on is judged by what is told of it alone
            bus_voltage_v=self._feed.bus_v[crosspoint.gun] if others else control.told_steady_v(now_s),
            bus_told_v=told_v,
            bus_has_live_module=any(map(facts.may_be_on, others)),
            told_dead_at_s=self._feed.told_dead_at_s(crosspoint.module),
        )
        refusal = self._contactors.request_close(crosspoint, evidence, now_s)
        if refusal is None:
            log.info("Contactor %s closes", crosspoint)
            self._refusals.pop(crosspoint, None)
        elif self._refusals.get(crosspoint) is not refusal:
            self._refusals[crosspoint] = refusal
            log.debug("Contactor %s may not close: %s", crosspoint, refusal.value)

    # --- telling ----------------------------------------------------------------------------------------------------

    def _tell(self, now_s: float, modules: Sequence[ModuleStatus]) -> None:
        """Faults to the log, the report to others, health and what is kept to whoever asks."""
        self._tell_due_s = now_s + TELL_S
        self._end_moments(now_s)
        fault_news = self.faults.take_news()
        for news in fault_news:
            level = _LOG_LEVELS[news.severity] if news.active else logging.INFO
            log.log(level, "%s %s %s: %s", "Fault" if news.active else "Ended:", news.code, news.id, news.text)
        report = self._make_report(now_s, modules, fault_news)
        self._tell_others(report)
        health = self._make_health(now_s, modules, report)
        kept = self._make_kept()
        view = self._make_view(now_s, modules, report, kept)
        with self._lock:
            self._health, self._kept, self._present, self._view = health, kept, self._decision, view

    def _end_moments(self, now_s: float) -> None:
        for (code, where), ends_s in list(self._moments.items()):
            if now_s >= ends_s:
                del self._moments[(code, where)]
                self.faults.clear(code, where, now_s)

    def _make_report(
        self, now_s: float, modules: Sequence[ModuleStatus], news: Sequence[FaultReport]
    ) -> StationReport:
        guns: tuple[GunReport, ...] = ()
        etas_s = self._etas_s(now_s)
        if self._decision is not None:
            results = self._decision.allocation.guns
            guns = tuple(self._report_gun(result, now_s, modules) for result in results)
            guns = tuple(replace(gun, eta_next_module_s=etas_s[gun.gun]) if gun.gun in etas_s else gun for gun in guns)
        return StationReport(
            state=self._station_state(),
            guns=guns,
            power_kw=sum(gun.delivered_kw for gun in guns),
            site_limit_kw=self._site_limit_kw(now_s),
            modules_available=sum(self._pool.usable(status) for status in modules),
            faults=self.faults.active,
            news=tuple(news),
        )

    def _make_view(
        self, now_s: float, modules: Sequence[ModuleStatus], report: StationReport, worn: Mapping[str, object]
    ) -> StationView:
        slowest_s, self._slowest_step_s = self._slowest_step_s, 0.0
        free = ((Stage.FREE, 0),) * self._module_count
        return StationView(
            now_s=now_s,
            report=report,
            guns=tuple(self._view_gun(control, modules) for control in self._controls.values()),
            modules=tuple(modules),
            seats=self._decision.seats if self._decision is not None else free,
            usable=tuple(self._pool.usable(status) for status in modules),
            enabled=tuple(self._pool.enabled(status.module) for status in modules),
            contacts=tuple(self._contactors.states),
            coils=self._contactors.coil_image,
            can=self._modules.can_status(),
            rule=self._core.rule,
            draining=self._draining,
            emergency_stop_healthy=self._contactors.emergency_stop_healthy,
            slowest_step_s=slowest_s,
            worn=worn,
        )

    def _view_gun(self, control: GunControl, modules: Sequence[ModuleStatus]) -> GunView:
        _, current_a = delivered(modules, self._seats_of(control.gun))
        return GunView(
            values=control.values,
            heard_at_s=control.heard_at_s,
            bus_v=self._feed.bus_v.get(control.gun),
            current_a=current_a,
            commanded_kw=control.commanded_kw,
            kept_out=control.kept_out,
        )

    def _etas_s(self, now_s: float) -> Mapping[int, float]:
        """Gun -> seconds until it gets one more module, as far as somebody has looked ahead."""
        with self._lock:
            outlook = self._outlook
        if outlook is None or self._decision is None or outlook.answer is not self._decision.allocation:
            return {}
        return {gun: max(1.0, at_ms / 1000.0 - now_s) for gun, at_ms in outlook.next_module_at_ms.items()}

    def _report_gun(self, result: GunResult, now_s: float, modules: Sequence[ModuleStatus]) -> GunReport:
        """An idle gun's report stays the same object until something is said or decided about it."""
        control, seats = self._controls[result.gun], self._seats_of(result.gun)
        if seats:
            self._idle_reports.pop(result.gun, None)
            return gun_report(control, result, modules, seats, now_s)
        seen = (result, control.values)
        before = self._idle_reports.get(result.gun)
        if before is not None and before[0] == seen:
            return before[1]
        report = gun_report(control, result, modules, seats, now_s)
        self._idle_reports[result.gun] = (seen, report)
        return report

    def _station_state(self) -> StationState:
        if self._door is not None:
            return StationState.STOPPING
        if self._watch.block is ReasonCode.EMERGENCY_STOP:
            return StationState.EMERGENCY_STOP
        if not self._start.armed:
            return StationState.STARTING
        degraded = any(fault.severity is not Severity.WARNING for fault in self.faults.active)
        return StationState.DEGRADED if degraded else StationState.READY

    def _make_health(self, now_s: float, modules: Sequence[ModuleStatus], report: StationReport) -> Health:
        closed = self._contactors.closed_count
        if closed or report.power_kw > 0.1:
            self._idle_since_s = None
        elif self._idle_since_s is None:
            self._idle_since_s = now_s
        heard = sum(status.state not in SILENT and status.heard_at_s is not None for status in modules)
        idle_s = 0.0 if self._idle_since_s is None else now_s - self._idle_since_s
        armed = self._start.armed and not self._armed_no_more
        return Health(report.state, armed, heard, closed, idle_s, now_s)
