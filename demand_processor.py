"""Job: the decisions of the station: takes what the guns say, decides, commands modules and contactors.

Thread: `control` runs step(); observers and commands come from other threads. Lock: one, over what came in and what is
told; held to copy only. Units: kW, V, A, s (monotonic); ms inside the recorded core.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gun import Gun
from planning import facts
from planning.decision import Decision, DecisionCore
from planning.drive import DriveInput, DriveLimits
from planning.faults import FaultBook, FaultCode
from planning.gun_control import GunControl
from planning.model import (
    OFF_ORDER,
    CloseEvidence,
    ContactState,
    Crosspoint,
    GunReport,
    GunSnapshot,
    ModuleOrder,
    ModuleState,
    ModuleStatus,
    Severity,
    StationReport,
    StationState,
)
from planning.module_facts import SeatView, gun_facts, seat_facts
from planning.module_pool import ModulePool
from planning.ports import ContactorsPort, ModulesPort
from planning.reasons import BLOCKED, ReasonCode
from planning.safe_door import SafeDoor
from planning.settings import Settings, VoltageRange
from planning.startup import SafeStart, StartAction, StartPhase, StartView
from planning.summary import ON_THE_BUS, delivered, gun_report
from planning.transition import Duty, SequenceEvent, Stage
from worker import Clock, Worker

log = logging.getLogger(__name__)

#: The longest pause between two steps; the contactors may ask for a shorter one.
STEP_S = 0.05
#: After a decision that moved something the next step follows at once.
FOLLOW_UP_S = 0.005
#: The ages of the guns and the report are looked at this often.
AGES_S = 0.25
TELL_S = 0.1
#: V and I each 100 ms for two modules at most; searches come first.
FAST_READS = 2
#: The feedback may be invalid for so long (a plug that is pressed home) before everything is opened.
FEEDBACK_PATIENCE_S = 0.5

_LOG_LEVELS = {Severity.WARNING: logging.WARNING, Severity.ERROR: logging.ERROR, Severity.CRITICAL: logging.ERROR}
_SILENT = (ModuleState.SILENT, ModuleState.UNHEARD)
_INTERLOCK_MARKS = frozenset(
    {FaultCode.CONTACTOR_STUCK_OPEN, FaultCode.CONTACTOR_WELDED, FaultCode.CONTACTOR_CLOSED_ALONE}
)


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
        record: Callable[[str], None],
        tell: Callable[[StationReport], None],
    ) -> None:
        """`record` takes one line of recorded inputs, `tell` a report; neither may block."""
        self._settings, self._guns = settings, guns
        self._modules, self._contactors = modules, contactors
        self._record, self._tell_others = record, tell
        general = settings.general
        self._module_count = general.module_count
        self._controls = {gun: GunControl(gun, settings, limits) for gun in guns}
        self.faults = FaultBook()
        self._pool = ModulePool(self._module_count, general.module_power_capacity_kw, limits.module_a, self.faults)
        self._core = DecisionCore(settings)
        self._decision: Decision | None = None
        self._start = SafeStart()
        self._block: ReasonCode | None = ReasonCode.NOT_ARMED
        self._can_fault_since_s: float | None = None
        self._feedback_bad_since_s: float | None = None
        self._contact_states: list[ContactState] = []
        self._bus_v: dict[int, float | None] = dict.fromkeys(guns)
        self._lost_a: dict[int, float] = {}
        self._refusals: dict[Crosspoint, object] = {}
        self._site_commanded_kw: float | None = None
        self._site_commanded_at_s: float | None = None
        self._resets = 0
        self._ages_due_s = self._tell_due_s = float("-inf")
        self._idle_since_s: float | None = None
        self._door: SafeDoor | None = None
        self._told: dict[int, str] = {}
        self._report: StationReport | None = None
        self._worker: Worker | None = None
        #: Set when the safe door has been walked through: outputs are disabled.
        self.door_shut = threading.Event()
        self._lock = threading.Lock()
        self._changed: set[int] = set(guns)
        self._commands: list[Callable[[float], None]] = []
        self._door_reason: str | None = None
        self._health = Health()
        for gun in guns.values():
            gun.subscribe(self.on_gun_changed)

    # --- any thread -----------------------------------------------------------------------------------------------

    def start(self, clock: Clock, on_failure: Callable[[str, BaseException], None]) -> Worker:
        """Start the control thread. Main thread, once."""
        self._worker = Worker("control", self.step, clock, on_failure)
        self._worker.start()
        return self._worker

    def on_gun_changed(self, snapshot: GunSnapshot) -> None:
        """Observer of the guns: note which one changed and wake the control thread. Any thread."""
        with self._lock:
            self._changed.add(snapshot.gun)
        self._wake()

    def set_site_limit(self, limit_kw: float) -> None:
        """Commanded AC limit of the whole station, kW; lowers what the config allows. Any thread."""

        def command(now_s: float) -> None:
            log.info("Site limit set to %g kW by command", limit_kw)
            self._site_commanded_kw, self._site_commanded_at_s = limit_kw, now_s

        self._do(command)

    def set_max_power(self, gun: int, limit_kw: float) -> None:
        """Commanded limit of one gun, kW; lowers what the config allows. Any thread. Raises KeyError: no such gun."""
        control = self._controls[gun]

        def command(_: float) -> None:
            log.info("Gun %d limited to %g kW by command", gun, limit_kw)
            control.commanded_kw = limit_kw

        self._do(command)

    def set_module_enabled(self, module: int, enabled: bool) -> None:
        """Take a module out of service or back; one that config.ini disables stays out. Any thread."""

        def command(_: float) -> None:
            log.info("Module %d %s by command", module, "enabled" if enabled else "disabled")
            self._pool.set_enabled(module, enabled and self._settings.modules.by_number[module].enabled)

        self._do(command)

    def reset(self) -> None:
        """A person has looked: clear what latches, as far as the station proves to be safe. Any thread."""
        self._do(self._reset)

    def open_safe_door(self, reason: str) -> None:
        """Switch everything off in order and keep it off; `door_shut` tells when. A second call does nothing more."""
        with self._lock:
            self._door_reason = self._door_reason or reason
        self._wake()

    def health(self) -> Health:
        with self._lock:
            return self._health

    def kept(self) -> dict[str, object]:
        """What is to survive a restart: the commanded site limit and the operating hours."""
        with self._lock:
            return {
                "site_limit_kw": self._site_commanded_kw,
                "module_hours": [round(hours, 2) for hours in self._pool.hours],
            }

    def restore(self, site_limit_kw: float | None, module_hours: Sequence[float]) -> None:
        """Take over what was kept. Before start()."""
        self._site_commanded_kw = site_limit_kw
        if len(module_hours) == self._module_count:
            self._pool.set_hours(module_hours)

    def _do(self, command: Callable[[float], None]) -> None:
        with self._lock:
            self._commands.append(command)
        self._wake()

    def _wake(self) -> None:
        if self._worker is not None:
            self._worker.wake()

    # --- the control thread ---------------------------------------------------------------------------------------

    def step(self, now_s: float) -> float:
        """One step of the station; returns the seconds until the next is wanted. Control thread."""
        changed, commands, door_reason = self._take_in()
        pause_s = self._contactors.step(now_s, True)
        modules = self._modules.status(now_s)
        self._pool.look(modules, now_s)
        if door_reason is not None:
            return min(pause_s, self._walk_out(now_s, modules, door_reason))
        self._hear(changed, modules, now_s)
        for command in commands:
            command(now_s)
        if not self._start.armed:
            self._start_up(now_s, modules)
        self._watch_station(now_s, modules)
        self._feed_core(now_s, modules)
        moved = self._decide(now_s, modules)
        self._drive(now_s, modules)
        self._switch(now_s, modules)
        if moved or now_s >= self._tell_due_s:
            self._tell(now_s, modules)
        return FOLLOW_UP_S if moved else min(STEP_S, pause_s)

    def _take_in(self) -> tuple[set[int], list[Callable[[float], None]], str | None]:
        with self._lock:
            changed, self._changed = self._changed, set()
            commands, self._commands = self._commands, []
            return changed, commands, self._door_reason

    def _hear(self, changed: set[int], modules: Sequence[ModuleStatus], now_s: float) -> None:
        """What the guns say now, and how old it is."""
        for gun in changed:
            _, measured_a = delivered(modules, self._seats, gun)
            self._controls[gun].take(self._guns[gun].snapshot(), measured_a)
        if now_s < self._ages_due_s:
            return
        self._ages_due_s = now_s + AGES_S
        for gun, control in self._controls.items():
            control.hear(self._guns[gun].snapshot())
            if control.grow_old(now_s):
                log.warning("Gun %d: its device is silent, demand forgotten", gun)
                self._guns[gun].forget_demand()
            self.faults.set(FaultCode.GUN_SILENT, f"g{gun}", control.silent, now_s)

    @property
    def _seats(self) -> Sequence[tuple[Stage, int]]:
        if self._decision is None:
            return ((Stage.FREE, 0),) * self._module_count
        return self._decision.seats

    # --- start, stop, station-wide checks --------------------------------------------------------------------------

    def _start_up(self, now_s: float, modules: Sequence[ModuleStatus]) -> None:
        configured = self._settings.modules.by_number
        used = [status for status in modules if configured[status.module].enabled]
        view = StartView(
            link_up=self._modules.can_status().up,
            feedback_valid=self._contactors.feedback_valid,
            modules_proven_off=all(facts.proven_off_since_s(status) is not None for status in used),
            any_module_heard=any(status.heard_at_s is not None for status in used),
            start_hear_s=self._settings.safety.start_hear_s,
        )
        action = self._start.step(now_s, view)
        if action is StartAction.OFF_ALL:
            self._modules.off_now(None, now_s)
        elif action is StartAction.LATCH_ZEROS:
            self._contactors.prepare(now_s)
        elif action is StartAction.ENABLE_OUTPUTS:
            self._note_welds(now_s)
            self._contactors.enable_outputs(now_s)
        elif action is StartAction.ARM:
            self._contactors.arm()
            self._block = None
            heard = sum(status.heard_at_s is not None for status in used)
            log.info("Station ready: %d of %d modules answer", heard, len(used))

    def _note_welds(self, now_s: float) -> None:
        """A contactor that is closed before anything was commanded is welded; the others may serve."""
        for index, state in enumerate(self._contactors.states):
            if state is not ContactState.OPEN:
                crosspoint = Crosspoint(index // self._module_count + 1, index % self._module_count + 1)
                self._contactors.take_out_of_service(crosspoint)

    def _watch_station(self, now_s: float, modules: Sequence[ModuleStatus]) -> None:
        can = self._modules.can_status()
        self.faults.set(FaultCode.CAN_LINK_DOWN, "station", not can.up, now_s)
        if can.second_controller:
            self._stop_all(FaultCode.SECOND_CONTROLLER, ReasonCode.FAULT, now_s)
        if self._start.phase in (StartPhase.LINK, StartPhase.QUIET):
            return
        if not self._contactors.emergency_stop_healthy:
            self._stop_all(FaultCode.EMERGENCY_STOP, ReasonCode.EMERGENCY_STOP, now_s)
        if self._contactors.image_verified is False and self._start.armed:
            self.faults.raise_fault(FaultCode.OUTPUT_UNVERIFIED, "station", now_s)
            self.open_safe_door("the coil registers do not hold what was written")
        self._watch_feedback(now_s)
        self._watch_can(now_s, modules)

    def _stop_all(self, code: FaultCode, block: ReasonCode, now_s: float) -> None:
        """Emergency order for everything; stays until a person resets."""
        self._block = block
        if self.faults.raise_fault(code, "station", now_s):
            self._modules.off_now(None, now_s)

    def _watch_feedback(self, now_s: float) -> None:
        if self._contactors.feedback_valid:
            self._feedback_bad_since_s = None
            self.faults.clear(FaultCode.FEEDBACK_INVALID, "station", now_s)
            return
        if self._feedback_bad_since_s is None:
            self._feedback_bad_since_s = now_s
        if now_s - self._feedback_bad_since_s >= FEEDBACK_PATIENCE_S and self.faults.raise_fault(
            FaultCode.FEEDBACK_INVALID, "station", now_s
        ):
            self._modules.off_now(None, now_s)

    def _watch_can(self, now_s: float, modules: Sequence[ModuleStatus]) -> None:
        configured = self._settings.modules.by_number
        silent = all(s.state in _SILENT for s in modules if configured[s.module].enabled)
        if not silent:
            self._can_fault_since_s = None
        elif self._can_fault_since_s is None:
            self._can_fault_since_s = now_s
        self.faults.set(FaultCode.CAN_FAULT, "station", silent and self._start.armed, now_s)

    def _reset(self, now_s: float) -> None:
        modules = self._modules.status(now_s)
        in_the_way = [
            ("the emergency stop is still pressed", not self._contactors.emergency_stop_healthy),
            ("a module is not proven off", self._block is not None and any(map(facts.may_be_on, modules))),
            ("the station is not armed yet", not self._start.armed),
        ]
        reasons = [text for text, present in in_the_way if present]
        if reasons:
            log.warning("Reset refused: %s", "; ".join(reasons))
            return
        log.info("Reset by a person")
        self._block = None
        self._resets += 1
        self._contactors.restore_all()
        self.faults.clear_by_person(now_s)
        self._core.put("reset", self._resets)

    def _walk_out(self, now_s: float, modules: Sequence[ModuleStatus], reason: str) -> float:
        """The safe door, step by step."""
        if self._door is None:
            self._door = SafeDoor(self._settings.safety, reason, now_s)
            log.warning("Safe door: %s. Everything is switched off", reason)
        if self.door_shut.is_set():
            return STEP_S
        self._modules.apply((OFF_ORDER,) * self._module_count, now_s)
        image, count = self._contactors.coil_image, self._module_count
        closed = [Crosspoint(i // count + 1, i % count + 1) for i in range(image.bit_length()) if image >> i & 1]
        orders = self._door.step(now_s, modules, closed, self._contactors.all_proven_open)
        if orders.off_all:
            self._modules.off_now(None, now_s)
        for crosspoint in orders.open:
            self._contactors.request_open(crosspoint, now_s)
        if orders.done:
            self._contactors.shut_down(now_s)
            log.info("All off: contactors open, outputs disabled")
            self.door_shut.set()
        self._tell(now_s, modules)
        return FOLLOW_UP_S

    # --- deciding --------------------------------------------------------------------------------------------------

    def _feed_core(self, now_s: float, modules: Sequence[ModuleStatus]) -> None:
        """Hand the recorded core what it decides from."""
        self._core.put("site", self._site_budget_kw(now_s))
        for gun, control in self._controls.items():
            self._feed_gun(gun, control, now_s, modules)
        breaking = self._next_to_break(now_s, modules)
        for seat, status in zip(self._core.sequencer.seats, modules, strict=True):
            self._feed_module(seat.module, status, breaking, now_s)
        self._feed_contacts()

    def _site_budget_kw(self, now_s: float) -> float:
        """The DC budget of all guns; -1: no limit."""
        limits = self._settings.power_limits
        commanded_kw = self._site_commanded_kw
        if limits.site_limit_timeout_s > 0:
            since_s = self._site_commanded_at_s
            if since_s is None:
                since_s = self._site_commanded_at_s = now_s
            if now_s - since_s > limits.site_limit_timeout_s:
                commanded_kw = limits.site_limit_fallback_kw
        known = [kw for kw in (limits.max_site_power_kw, commanded_kw) if kw is not None]
        return min(known) * self._settings.general.module_efficiency if known else -1.0

    def _feed_gun(self, gun: int, control: GunControl, now_s: float, modules: Sequence[ModuleStatus]) -> None:
        put, values = self._core.put, control.values
        put(f"g{gun}d", values.demand_kw or 0.0)
        put(f"g{gun}s", values.status.name)
        put(f"g{gun}o", -1.0 if values.soc_pct is None else values.soc_pct)
        put(f"g{gun}p", int(bool(values.target_voltage_v)))
        put(f"g{gun}e", control.electrical_limit_kw(now_s))
        put(f"g{gun}c", -1.0 if control.commanded_kw is None else control.commanded_kw)
        put(f"g{gun}b", self._gun_block(control, now_s))
        on_bus = [m for m, (stage, g) in zip(modules, self._seats, strict=True) if g == gun and stage in ON_THE_BUS]
        told_v = control.told_bus_v(now_s)
        bus_v = control.drive.bus_v(now_s, told_v) if on_bus else told_v
        self._bus_v[gun] = bus_v
        live = any(map(facts.may_be_on, on_bus))
        emergency = self._emergency or control.emergency
        put(f"g{gun}f", gun_facts(control, bus_v, live, emergency, now_s, self._settings.safety))

    @property
    def _emergency(self) -> bool:
        latched = self._block not in (None, ReasonCode.NOT_ARMED)
        return latched or self.faults.stands(FaultCode.FEEDBACK_INVALID, "station")

    def _gun_block(self, control: GunControl, now_s: float) -> str:
        """Why this gun may get nothing, as a code; '' when it may."""
        where = f"g{control.gun}"
        fault = control.emergency and not control.drive.over_limit and not control.unplugged_live
        no_load = control.drive.no_load_waiting(now_s)
        self.faults.set(FaultCode.GUN_FAULT, where, fault, now_s)
        self.faults.set(FaultCode.GUN_OVER_LIMIT, where, control.drive.over_limit, now_s)
        self.faults.set(FaultCode.GUN_UNPLUGGED_LIVE, where, control.unplugged_live, now_s)
        self.faults.set(FaultCode.GUN_NO_LOAD, where, no_load, now_s)
        blocks = (
            (self._block is not None, self._block),
            (self._emergency, ReasonCode.FAULT),
            (control.drive.over_limit, ReasonCode.OVER_POWER),
            (control.emergency, ReasonCode.FAULT),
            (self._can_fault_since_s is not None, ReasonCode.CAN_FAULT),
            (no_load, ReasonCode.NO_LOAD),
        )
        return next((code.name for present, code in blocks if present and code is not None), "")

    def _feed_module(self, module: int, status: ModuleStatus, breaking: int, now_s: float) -> None:
        seat = self._core.sequencer.seats[module - 1]
        want = self._want(module)
        gun = seat.gun or want
        bus_v = self._bus_v.get(gun)
        view = SeatView(
            status=status,
            bus_v=bus_v,
            last_bus_told_dead_at_s=self._controls[seat.last_gun].told_dead_at_s if seat.last_gun else None,
            low_range=self._low_range(gun),
            may_break=module == breaking,
        )
        bits = seat_facts(seat, want, view, now_s, self._settings.safety)
        if seat.stage is Stage.FREE and facts.cold(status, now_s, self._settings.safety):
            self._pool.qualified(module, now_s)
        serving_v = bus_v if seat.stage is Stage.SERVE else None
        self._core.put(f"m{module}a", self._pool.available_kw(status, serving_v))
        self._core.put(f"m{module}h", int(self._pool.hours[module - 1]))
        self._core.put(f"m{module}f", bits)

    def _want(self, module: int) -> int:
        if self._decision is None:
            return 0
        return self._decision.allocation.assignment.gun_of(module) or 0

    def _low_range(self, gun: int) -> bool | None:
        """The range that modules of this gun shall have; None: it is left alone."""
        chosen = self._settings.modules.voltage_range
        if chosen is VoltageRange.HIGH or not gun:
            return None
        return True if chosen is VoltageRange.LOW else self._controls[gun].low_range

    def _next_to_break(self, now_s: float, modules: Sequence[ModuleStatus]) -> int:
        """The silent module whose contactor opens under load now; 0: none. The lowest current goes first."""
        safety = self._settings.safety
        can_fault = self._can_fault_since_s is not None
        limit_s = safety.can_fault_open_s if can_fault else safety.silent_open_s
        ripe = [
            (self._lost_a.get(status.module, 0.0), status.module)
            for status, (stage, _) in zip(modules, self._seats, strict=True)
            if stage is Stage.LOST and facts.silent_for_s(status, now_s) >= limit_s
        ]
        return min(ripe)[1] if ripe else 0

    def _feed_contacts(self) -> None:
        states = self._contactors.states
        if states == self._contact_states or self._start.phase in (StartPhase.LINK, StartPhase.QUIET):
            return
        before = self._contact_states
        for index, new in enumerate(states):
            if not before or before[index] is not new:
                gun, module = index // self._module_count + 1, index % self._module_count + 1
                self._core.put(f"x{gun}.{module}", new.value)
        self._contact_states = list(states)

    def _decide(self, now_s: float, modules: Sequence[ModuleStatus]) -> bool:
        """Run the core when it is due; True when something moved."""
        now_ms = int(now_s * 1000)
        if not self._core.due(now_ms):
            return False
        before = self._decision
        record, self._decision = self._core.step(now_ms)
        self._record(record)
        for event in self._decision.events:
            self._on_event(event, modules, now_s)
        self._story(before, self._decision)
        return bool(self._decision.events) or before is None or before.allocation is not self._decision.allocation

    def _on_event(self, event: SequenceEvent, modules: Sequence[ModuleStatus], now_s: float) -> None:
        crosspoint = Crosspoint(event.gun, event.module)
        log.debug("%s: %s -> %s", crosspoint, event.before.value, event.after.value)
        if event.after is Stage.BREAK:
            self._modules.off_now((event.module,), now_s)
        if event.after is Stage.LOST:
            self._lost_a[event.module] = facts.counted_a(modules[event.module - 1])
        if event.fault is None:
            return
        on_module = event.fault is FaultCode.MATCH_TIMEOUT
        where = f"m{event.module}" if on_module else str(crosspoint)
        self.faults.raise_fault(event.fault, where, now_s)
        if event.fault in _INTERLOCK_MARKS:
            self._contactors.take_out_of_service(crosspoint)
        if event.fault in (FaultCode.LOAD_BREAK, FaultCode.CLOSE_REFUSED, FaultCode.MATCH_TIMEOUT):
            self.faults.clear(event.fault, where, now_s)  # an event, not a state

    def _story(self, before: Decision | None, now: Decision) -> None:
        """One INFO line for each gun whose allocation changed, with its reason."""
        if before is not None and before.allocation is now.allocation:
            return
        for result in now.allocation.guns:
            modules = " ".join(map(str, result.modules)) or "none"
            line = f"modules {modules}, {result.allocated_kw:g} kW - {result.reason}"
            if self._told.get(result.gun, "") != line:
                self._told[result.gun] = line
                if before is not None or result.modules:
                    log.info("Gun %d: %s", result.gun, line)

    # --- commanding -------------------------------------------------------------------------------------------------

    def _drive(self, now_s: float, modules: Sequence[ModuleStatus]) -> None:
        """Orders of all modules: those of their gun's drive, else OFF."""
        orders: list[ModuleOrder] = [self._off_order(module) for module in range(1, self._module_count + 1)]
        if self._decision is not None and self._start.armed:
            searching = sum(control.drive.searching for control in self._controls.values())
            for result, target_kw in zip(self._decision.allocation.guns, self._decision.targets_kw, strict=True):
                control = self._controls[result.gun]
                blocked = result.reason.code in BLOCKED
                given = self._drive_input(control, target_kw, result.share_kw, blocked, searching, now_s, modules)
                for module, order in control.drive.step(now_s, given).items():
                    orders[module - 1] = order if order.on else orders[module - 1]
                searching += control.drive.searching
                for module in control.drive.no_start:
                    self._pool.pause(module, now_s)
                control.drive.no_start.clear()
        self._modules.watch(self._fast_reads())
        self._modules.apply(orders, now_s)

    def _off_order(self, module: int) -> ModuleOrder:
        low = self._low_range(self._want(module))
        return OFF_ORDER if low is None else ModuleOrder(low_range=low)

    def _drive_input(
        self,
        control: GunControl,
        target_kw: float,
        share_kw: float | None,
        blocked: bool,
        searching: int,
        now_s: float,
        modules: Sequence[ModuleStatus],
    ) -> DriveInput:
        assert self._decision is not None
        gun = control.gun
        stages = {
            m: stage for m, (stage, g) in enumerate(self._decision.seats, 1) if g == gun and stage is not Stage.FREE
        }
        serving = [m for m, s in stages.items() if s is Stage.SERVE or (s is Stage.WELDED and self._want(m) == gun)]
        limit_kw, limit_a = control.drive_limits(target_kw, share_kw, now_s)
        asked = (control.charging and limit_kw > 0) or control.precharging
        return DriveInput(
            wanted=asked and not blocked and not control.emergency,
            may_start=Stage.CLOSE_DEAD not in stages.values()
            and (searching < FAST_READS or bool(control.values.target_voltage_v)),
            limit_kw=limit_kw,
            limit_a=limit_a,
            target_v=control.values.target_voltage_v,
            voltage_limit_v=control.values.voltage_limit_v,
            told_bus_v=control.told_bus_v(now_s),
            members={m: modules[m - 1] for m in serving},
            matching=tuple(m for m, s in stages.items() if self._decision.duty(m) is Duty.MATCH),
            counted_a=sum(self._lost_a.get(m, 0.0) for m, s in stages.items() if s is Stage.LOST),
            measured_a=delivered(modules, self._decision.seats, gun)[1],
        )

    def _fast_reads(self) -> tuple[int, ...]:
        """Which modules are read every 100 ms: those that search, then match, then unload."""
        wanted = [control.drive.leader for control in self._controls.values() if control.drive.leader]
        for stage in (Stage.MATCH, Stage.CLOSE_LIVE, Stage.UNLOAD):
            wanted += [m for m, (s, _) in enumerate(self._seats, 1) if s is stage]
        return tuple(wanted[:FAST_READS])

    def _switch(self, now_s: float, modules: Sequence[ModuleStatus]) -> None:
        """Bring the coils to what was decided: opens first, closes as the interlock allows."""
        if self._decision is None or not self._start.armed:
            return
        differing = self._contactors.coil_image ^ self._decision.coils
        if not differing:
            return
        crosspoints = [
            (Crosspoint(i // self._module_count + 1, i % self._module_count + 1), bool(self._decision.coils >> i & 1))
            for i in range(differing.bit_length())
            if differing >> i & 1
        ]
        for crosspoint, close in crosspoints:
            if not close:
                log.info("Contactor %s opens", crosspoint)
                self._contactors.request_open(crosspoint, now_s)
        for crosspoint, close in crosspoints:
            if close:
                self._close(crosspoint, now_s, modules)

    def _close(self, crosspoint: Crosspoint, now_s: float, modules: Sequence[ModuleStatus]) -> None:
        on_bus = [
            status
            for status, (stage, gun) in zip(modules, self._seats, strict=True)
            if gun == crosspoint.gun and stage in ON_THE_BUS and status.module != crosspoint.module
        ]
        evidence = CloseEvidence(
            module=modules[crosspoint.module - 1],
            bus_voltage_v=self._bus_v[crosspoint.gun] if on_bus else None,
            bus_told_v=self._controls[crosspoint.gun].told_bus_v(now_s),
            bus_has_live_module=any(map(facts.may_be_on, on_bus)),
        )
        refusal = self._contactors.request_close(crosspoint, evidence, now_s)
        if refusal is None:
            log.info("Contactor %s closes", crosspoint)
            self._refusals.pop(crosspoint, None)
        elif self._refusals.get(crosspoint) is not refusal:
            self._refusals[crosspoint] = refusal
            log.debug("Contactor %s may not close: %s", crosspoint, refusal.value)

    # --- telling ----------------------------------------------------------------------------------------------------

    @property
    def quiet(self) -> bool:
        """Nothing is on its way: no contactor, no search, no ramp. Simulations step more slowly then."""
        settled = (Stage.FREE, Stage.SERVE, Stage.WELDED)
        waiting = any(stage is Stage.FREE and self._want(m) for m, (stage, _) in enumerate(self._seats, 1))
        still = all(stage in settled for stage, _ in self._seats) and not waiting
        return still and self._start.armed and all(control.drive.steady for control in self._controls.values())

    def _tell(self, now_s: float, modules: Sequence[ModuleStatus]) -> None:
        self._tell_due_s = now_s + TELL_S
        for news in self.faults.take_news():
            level = _LOG_LEVELS[news.severity] if news.active else logging.INFO
            log.log(level, "%s %s %s: %s", "Fault" if news.active else "Ended:", news.code, news.id, news.text)
        report = self._make_report(now_s, modules)
        if report != self._report:
            self._report = report
            self._tell_others(report)
        self._note_health(now_s, modules, report)

    def _make_report(self, now_s: float, modules: Sequence[ModuleStatus]) -> StationReport:
        guns: tuple[GunReport, ...] = ()
        if self._decision is not None:
            results = self._decision.allocation.guns
            guns = tuple(gun_report(self._controls[r.gun], r, modules, self._seats, now_s) for r in results)
        limits = (self._settings.power_limits.max_site_power_kw, self._site_commanded_kw)
        return StationReport(
            state=self._station_state(),
            guns=guns,
            power_kw=sum(gun.delivered_kw for gun in guns),
            site_limit_kw=min((kw for kw in limits if kw is not None), default=None),
            modules_available=sum(self._pool.usable(status) for status in modules),
            faults=self.faults.active,
        )

    def _station_state(self) -> StationState:
        if self._door is not None:
            return StationState.STOPPING
        if self._block is ReasonCode.EMERGENCY_STOP:
            return StationState.EMERGENCY_STOP
        if not self._start.armed:
            return StationState.STARTING
        degraded = any(fault.severity is not Severity.WARNING for fault in self.faults.active)
        return StationState.DEGRADED if degraded else StationState.READY

    def _note_health(self, now_s: float, modules: Sequence[ModuleStatus], report: StationReport) -> None:
        closed = self._contactors.closed_count
        if closed or report.power_kw > 0.1:
            self._idle_since_s = None
        elif self._idle_since_s is None:
            self._idle_since_s = now_s
        heard = sum(status.state not in _SILENT and status.heard_at_s is not None for status in modules)
        idle_s = 0.0 if self._idle_since_s is None else now_s - self._idle_since_s
        health = Health(report.state, self._start.armed, heard, closed, idle_s, now_s)
        with self._lock:
            self._health = health
