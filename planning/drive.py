"""Job: the voltage and current of one gun: search, follow, ramp, shares, and when the car takes nothing.

Thread: control (or any one at a time). Lock: none. Units: V, A, kW, s (monotonic).

    OFF ──wanted──> SEARCH ──two readings of 1 A──> RUN          target_voltage told: OFF ──wanted──> RUN
     ^                │ no current at the limit       │ no current, or the voltage jumps
     └── unwanted ────┴──────> NO_LOAD <──────────────┘   again after 60 s or at a new status; three times at most
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from planning.model import OFF_ORDER, ModuleOrder, ModuleStatus
from planning.sharing import Sharing

#: rule 7.8: again after this pause, and not more often than this in a session
NO_LOAD_PAUSE_S = 60.0
NO_LOAD_TRIES = 3
#: rule 7.8: below idle current for this long while more than this is set
NO_LOAD_AFTER_S = 1.0
#: ... by readings that were asked for so long after it began.
NO_LOAD_READ_S = 0.4
NO_LOAD_SET_A = 5.0
#: makes' data sheets: output 6 to 8 s after ON at the latest
START_TIMEOUT_S = 8.0
#: the search waits for a module that lags behind its set-point (soft start) by more than this
SEARCH_LEAD_V = 40.0
#: the search rises by no more than this long a step's worth, whatever held the control up
SEARCH_STEP_S = 0.2
#: modules that wait to join follow the search in steps of this: two frames a second each
SEARCH_TRACK_V = 50.0
#: rule 7.8: follow only above this current
FOLLOW_ABOVE_A = 2.0
FOLLOW_PIECE_S = 0.5
#: kW is turned into A with the voltage rounded up to this grid, so that noise does not move set-points
VOLTAGE_GRID_V = 2.0
#: rule 7.2: the gun's own conducting reading counts for this long
OWN_READING_S = 30.0
#: rule 7.7: measured against the highest set-point of this window, twice at least this far apart
OVER_WINDOW_S = 3.0
OVER_APART_S = 1.0


class Phase(Enum):
    OFF = "off"
    SEARCH = "searching the voltage"
    RUN = "running"
    NO_LOAD = "no load"


@dataclass(frozen=True, slots=True)
class DriveLimits:
    """What [Safety], [General] and the module make say."""

    min_v: float
    max_v: float
    module_kw: float
    module_a: float
    search_rate_v_per_s: float
    search_current_a: float
    idle_current_a: float
    voltage_margin_v: float
    voltage_follow_v_per_s: float
    voltage_rise_factor: float
    ramp_up_a_per_s: float
    match_offset_v: float
    fresh_s: float
    over_fraction: float
    over_kw: float
    over_a: float


@dataclass(frozen=True, slots=True)
class DriveInput:
    """What a gun may have now, and the modules it has."""

    wanted: bool  # shall deliver (a car that charges, or a told voltage)
    may_start: bool  # no contactor of the gun is on its way to a dead bus, and a reading slot is free
    limit_kw: float
    limit_a: float
    target_v: float | None  # told
    voltage_limit_v: float | None  # told
    told_bus_v: float | None  # told and fresh
    members: Mapping[int, ModuleStatus]  # modules whose contactor is closed and that shall serve
    matching: tuple[int, ...]  # modules that match the voltage of this bus
    closing: tuple[int, ...]  # those of them whose coil is on: they arrive within milliseconds
    counted_a: float  # current of modules that left without proof (silent): still in the sum
    measured_a: float  # what all modules on the bus are measured to give


class Drive:
    """One gun. `step` returns the orders of its modules; everything else is read from the properties."""

    def __init__(self, limits: DriveLimits) -> None:
        self._limits = limits
        self._sharing = Sharing(limits.ramp_up_a_per_s)
        self.phase = Phase.OFF
        self.orders: dict[int, ModuleOrder] = {}
        #: modules that were told ON and did not come: for the caller to take out; cleared by the caller
        self.no_start: set[int] = set()
        #: measured above the set-points for too long (rule 7.7); cleared by new_status()
        self.over_limit = False
        self._matched: dict[int, ModuleOrder] = {}
        self._leader = 0
        self._search_v = 0.0
        self._set_v = 0.0
        self._grid_v = 0.0
        self._phase_since_s = 0.0
        self._stepped_at_s = 0.0
        self._followed_at_s = 0.0
        self._conducted = False
        self._flowed = False  # current has flowed since the modules were last switched on
        self._lowest_v: float | None = None
        self._own_v: float | None = None
        self._own_at_s = float("-inf")
        self._idle_since_s: float | None = None
        self._last_voltage: tuple[float, float] | None = None  # (when, volts) of the reading last looked at
        self._no_loads = 0
        self._no_load_until_s = 0.0
        self._on_since_s: dict[int, float] = {}
        self._set_history: deque[tuple[float, float]] = deque()  # (when, A of all)
        self._over_since_s: float | None = None

    # --- what others read -----------------------------------------------------------------------------------------

    @property
    def driving(self) -> bool:
        """A module of this gun is on, or about to be."""
        return self.phase in (Phase.SEARCH, Phase.RUN)

    @property
    def steady(self) -> bool:
        """Nothing rises and nobody hands over: what is set is what shall be."""
        return self.phase in (Phase.OFF, Phase.NO_LOAD) or (self.phase is Phase.RUN and self._sharing.settled)

    @property
    def searching(self) -> bool:
        return self.phase is Phase.SEARCH

    @property
    def leader(self) -> int:
        """The module that searches; 0: none."""
        return self._leader if self.phase is Phase.SEARCH else 0

    @property
    def set_total_a(self) -> float:
        return self._sharing.total_a if self.phase is Phase.RUN else 0.0

    def bus_v(self, now_s: float, told_v: float | None) -> float | None:
        """Bus voltage by rule 7.2: of a conducting module, else told, else our own of the last 30 s. None: unknown.

        Our own counts only while a module of ours has held the bus ever since: its bleeder empties it in seconds.
        """
        if self.conducting_v is not None and now_s - self._own_at_s <= self._limits.fresh_s:
            return self._own_v
        if told_v is not None:
            return told_v
        # while the voltage is searched anew, what it was before proves nothing
        recent = self.phase is not Phase.SEARCH and now_s - self._own_at_s <= OWN_READING_S
        return self._own_v if recent else None

    @property
    def conducting_v(self) -> float | None:
        """The battery's voltage as last seen at a module that conducts; None: no current has flowed yet."""
        return self._own_v if self.driving and self._conducted else None

    def can_match(self, bus_v: float) -> bool:
        """A module can be set just below this voltage; no make goes below its least one."""
        return bus_v - self._limits.match_offset_v >= self._limits.min_v

    def no_load_waiting(self, now_s: float) -> bool:
        return self.phase is Phase.NO_LOAD and (self._no_loads >= NO_LOAD_TRIES or now_s < self._no_load_until_s)

    # --- events ---------------------------------------------------------------------------------------------------

    def new_status(self) -> None:
        """The device told a new status: a car that took nothing is asked again."""
        self._no_loads = 0
        self._no_load_until_s = 0.0
        self.over_limit = False

    def end_session(self) -> None:
        """The car has gone: what was learnt of its battery is forgotten."""
        self._lowest_v = self._own_v = None
        self._own_at_s = float("-inf")
        self._no_loads = 0
        self._no_load_until_s = 0.0

    # --- the step -------------------------------------------------------------------------------------------------

    def step(self, now_s: float, given: DriveInput) -> Mapping[int, ModuleOrder]:
        """Orders for the modules of this gun: members and those that match. Everything not named is to be off."""
        self._choose_phase(now_s, given)
        self.orders = {}
        if self.phase is Phase.SEARCH:
            self._search(now_s, given)
        if self.phase is Phase.RUN:
            self._run(now_s, given)
        for module in given.members:
            self.orders.setdefault(module, OFF_ORDER)
        self._match(now_s, given)
        self._watch_start(now_s, given)
        self._watch_over_limit(now_s, given)
        self._stepped_at_s = now_s
        return self.orders

    def _enter(self, phase: Phase, now_s: float) -> None:
        self.phase = phase
        self._phase_since_s = now_s
        self._idle_since_s = None
        self._flowed = False
        if phase in (Phase.OFF, Phase.NO_LOAD):
            self._sharing.reset()
            self._conducted = False
            self._last_voltage = None
            self._own_at_s = float("-inf")

    def _choose_phase(self, now_s: float, given: DriveInput) -> None:
        if self.phase is Phase.NO_LOAD and not self.no_load_waiting(now_s):
            self._enter(Phase.OFF, now_s)
        possible = self._ceiling_v(given) >= self._limits.min_v and given.limit_a > 0.0 and given.limit_kw > 0.0
        if not (given.wanted and possible) or not given.members:
            if self.phase is not Phase.OFF and not self.no_load_waiting(now_s):
                self._enter(Phase.OFF, now_s)
            return
        if self.phase is Phase.RUN and not self._conducted and not given.target_v:
            self._enter(Phase.OFF, now_s)  # what was told is told no more, and nothing is known: search
        told_now = self.phase is Phase.SEARCH and bool(given.target_v)
        leader_lost = self.phase is Phase.SEARCH and self._leader not in given.members
        if told_now or leader_lost or (self.phase is Phase.OFF and given.may_start):
            self._start(now_s, given)

    def _start(self, now_s: float, given: DriveInput) -> None:
        self._set_v = 0.0
        if given.target_v:
            self._enter(Phase.RUN, now_s)
            return
        self._enter(Phase.SEARCH, now_s)
        self._leader = min(given.members)
        self._search_v = self._limits.min_v

    def _ceiling_v(self, given: DriveInput) -> float:
        told = given.voltage_limit_v
        return self._limits.max_v if told is None else min(told, self._limits.max_v)

    # --- voltage search (rule 7.8) --------------------------------------------------------------------------------

    def _search(self, now_s: float, given: DriveInput) -> None:
        leader = given.members[self._leader]
        ceiling_v = self._ceiling_v(given)
        if self._conducts_twice(leader):
            assert leader.voltage_v is not None
            self._found(leader.voltage_v, now_s)
            return
        if self._risen(leader):
            rise_v = self._limits.search_rate_v_per_s * min(now_s - self._stepped_at_s, SEARCH_STEP_S)
            self._search_v = min(ceiling_v, self._search_v + rise_v)
        if self._search_v < ceiling_v:
            self._idle_since_s = None
        elif self._risen(leader):
            self._idle_since_s = now_s if self._idle_since_s is None else self._idle_since_s
            if now_s - self._idle_since_s >= NO_LOAD_AFTER_S:
                self._take_nothing(now_s)
                return
        set_v = min(self._search_v, ceiling_v)
        current_a = min(self._limits.search_current_a, given.limit_a, given.limit_kw * 1000.0 / set_v)
        self.orders[self._leader] = ModuleOrder(True, set_v, current_a)

    def _risen(self, leader: ModuleStatus) -> bool:
        """The module is on and follows its set-point; during soft start the search waits for it."""
        return bool(leader.on) and leader.voltage_v is not None and leader.voltage_v > self._search_v - SEARCH_LEAD_V

    def _conducts_twice(self, leader: ModuleStatus) -> bool:
        idle_a = self._limits.idle_current_a
        readings = (leader.current_a, leader.current_before_a)
        times = (leader.current_at_s, leader.current_before_at_s)
        if not leader.on or leader.voltage_v is None or any(a is None or a < idle_a for a in readings):
            return False
        return all(at_s is not None and at_s > self._phase_since_s for at_s in times)

    def _found(self, volts: float, now_s: float) -> None:
        self._enter(Phase.RUN, now_s)
        self._conducted = self._flowed = True
        self._own_v, self._own_at_s = volts, now_s
        self._lowest_v = volts if self._lowest_v is None else min(self._lowest_v, volts)

    def _take_nothing(self, now_s: float) -> None:
        self._no_loads += 1
        self._no_load_until_s = now_s + NO_LOAD_PAUSE_S
        self._enter(Phase.NO_LOAD, now_s)
        self.orders = {}

    # --- running --------------------------------------------------------------------------------------------------

    def _run(self, now_s: float, given: DriveInput) -> None:
        jumped = self._read_bus(now_s, given)
        if not any(status.on for status in given.members.values()):
            self._own_at_s = float("-inf")
            self._flowed = False
        if jumped or self._takes_nothing(now_s, given):
            self._take_nothing(now_s)
            return
        self._follow(now_s, given)
        caps_a = {m: self._cap_a(status) for m, status in given.members.items()}
        measured_a = {m: status.current_a or 0.0 for m, status in given.members.items()}
        shares_a = self._sharing.step(now_s, self._allowed_a(given), caps_a, measured_a)
        for module, current_a in shares_a.items():
            self.orders[module] = ModuleOrder(True, self._set_v, current_a)
        self._remember_set(now_s)

    def _read_bus(self, now_s: float, given: DriveInput) -> bool:
        """Take the newest conducting reading; True when the voltage jumped within one reading (load lost)."""
        jumped = any(self._jumped(status, now_s) for status in given.members.values())
        best: ModuleStatus | None = None
        for status in given.members.values():
            if self._conducts(status, now_s) and (best is None or (status.current_a or 0) > (best.current_a or 0)):
                best = status
        if best is None or best.voltage_v is None or best.voltage_at_s is None:
            return jumped
        self._last_voltage = (best.voltage_at_s, best.voltage_v)
        self._conducted = self._flowed = True
        self._own_v, self._own_at_s = best.voltage_v, best.voltage_at_s
        self._lowest_v = best.voltage_v if self._lowest_v is None else min(self._lowest_v, best.voltage_v)
        return jumped

    def _jumped(self, status: ModuleStatus, now_s: float) -> bool:
        """A module that conducted reads more than the margin above where the bus was last seen conducting."""
        last, volts, at_s = self._last_voltage, status.voltage_v, status.voltage_at_s
        if last is None or volts is None or at_s is None or not self._conducted_before(status, now_s):
            return False
        return at_s > last[0] and volts - last[1] >= self._limits.voltage_margin_v

    def _conducts(self, status: ModuleStatus, now_s: float) -> bool:
        """Current before and after the voltage was read: one that has just failed tells a voltage that falls."""
        current_at_s, voltage_at_s = status.current_at_s, status.voltage_at_s
        if current_at_s is None or voltage_at_s is None or current_at_s < voltage_at_s:
            return False
        if voltage_at_s < self._phase_since_s:
            return False  # of before a short interruption: the modules are switched off and on again since
        return self._conducted_before(status, now_s)

    def _conducted_before(self, status: ModuleStatus, now_s: float) -> bool:
        fresh = status.voltage_at_s is not None and now_s - status.voltage_at_s <= self._limits.fresh_s
        if not status.on or not fresh or (status.current_a or 0.0) < self._limits.idle_current_a:
            return False
        # a voltage asked for before the current began may be that of a module still on its way up
        asked_s = status.voltage_asked_at_s
        readings = ((status.current_a, status.current_at_s), (status.current_before_a, status.current_before_at_s))
        return asked_s is None or any(
            amps is not None and at_s is not None and amps >= self._limits.idle_current_a and at_s <= asked_s
            for amps, at_s in readings
        )

    def _takes_nothing(self, now_s: float, given: DriveInput) -> bool:
        flowing = given.measured_a >= self._limits.idle_current_a
        if flowing or self._sharing.total_a <= NO_LOAD_SET_A or not any(s.on for s in given.members.values()):
            self._idle_since_s = None
            return False
        if self._idle_since_s is None:
            self._idle_since_s = now_s
        # before the first current, soft start and the dispenser's contactor have their time
        patience_s = NO_LOAD_AFTER_S if self._flowed else START_TIMEOUT_S
        return now_s - self._idle_since_s >= patience_s and self._read_since(self._idle_since_s + NO_LOAD_READ_S, given)

    @staticmethod
    def _read_since(at_s: float, given: DriveInput) -> bool:
        """What every module gives was asked for since: the readings of a slow make may be of before the set-points."""
        asked = (status.current_asked_at_s for status in given.members.values() if status.on)
        return all(asked_s is None or asked_s >= at_s for asked_s in asked)

    def _follow(self, now_s: float, given: DriveInput) -> None:
        ceiling_v = self._ceiling_v(given)
        if given.target_v:
            self._set_v = min(given.target_v, ceiling_v)
            return
        if self._own_v is None or self._lowest_v is None:
            self._set_v = min(self._set_v, ceiling_v)
            return
        highest_v = min(ceiling_v, self._lowest_v * self._limits.voltage_rise_factor)
        goal_v = min(self._own_v + self._limits.voltage_margin_v, highest_v)
        if self._set_v == 0.0:
            self._set_v = goal_v
        elif now_s - self._followed_at_s >= FOLLOW_PIECE_S:
            if self._may_follow(given) and abs(goal_v - self._set_v) >= 1.0:
                step_v = self._limits.voltage_follow_v_per_s * FOLLOW_PIECE_S
                self._set_v += max(-step_v, min(step_v, goal_v - self._set_v))
            self._followed_at_s = now_s
        self._set_v = min(self._set_v, highest_v)

    def _may_follow(self, given: DriveInput) -> bool:
        """Frozen in constant voltage: the battery, not we, holds the voltage then."""
        return any(s.constant_current and (s.current_a or 0.0) > FOLLOW_ABOVE_A for s in given.members.values())

    def _allowed_a(self, given: DriveInput) -> float:
        """kW limit and A limit as one current, less what silent modules may still give."""
        # before the first current the bus may still be empty: power then follows from the voltage it is to have
        volts = self._own_v if self._conducted and self._own_v else max(given.told_bus_v or 0.0, self._set_v)
        if not volts:
            return 0.0
        if not self._grid_v - 2 * VOLTAGE_GRID_V <= volts <= self._grid_v:
            self._grid_v = math.ceil(volts / VOLTAGE_GRID_V) * VOLTAGE_GRID_V
        allowed_a = min(given.limit_kw * 1000.0 / self._grid_v, given.limit_a)
        return max(0.0, allowed_a - given.counted_a)

    def _cap_a(self, status: ModuleStatus) -> float:
        by_power_a = self._limits.module_kw * 1000.0 / max(self._grid_v, self._own_v or 0.0, self._limits.min_v)
        cap_a = min(self._limits.module_a, by_power_a)
        return cap_a if status.available_a is None or not status.on else min(cap_a, status.available_a)

    # --- modules that match, and what goes wrong --------------------------------------------------------------------

    def _match(self, now_s: float, given: DriveInput) -> None:
        """Set-points of modules that will join. One whose poles travel holds what it was matched to, come what may."""
        orders = self._match_orders(now_s, given)
        orders |= {m: self._matched[m] for m in given.closing if m not in orders and m in self._matched}
        self.orders |= orders
        self._matched = orders

    def _match_orders(self, now_s: float, given: DriveInput) -> dict[int, ModuleOrder]:
        bus_v = self.bus_v(now_s, given.told_bus_v)
        if self.phase is Phase.SEARCH:
            # they warm up and come along, so that they can join as soon as the voltage is found
            bus_v = self._search_v // SEARCH_TRACK_V * SEARCH_TRACK_V
        elif bus_v is None and self.driving:
            bus_v = self._limits.min_v  # the leader goes to a told voltage: soft start at least is over by then
        if bus_v is None:
            return {}
        # a coarse grid keeps the set-point still while the reading wanders by a volt
        set_v = math.floor((bus_v - self._limits.match_offset_v) / VOLTAGE_GRID_V) * VOLTAGE_GRID_V
        set_v = max(set_v, self._limits.min_v)
        if set_v > self._ceiling_v(given):
            return {}
        return dict.fromkeys(given.matching, ModuleOrder(True, set_v, self._limits.idle_current_a))

    def _watch_start(self, now_s: float, given: DriveInput) -> None:
        told_on = {m for m, order in self.orders.items() if order.on}
        self._on_since_s = {m: self._on_since_s.get(m, now_s) for m in told_on}
        for module, since_s in self._on_since_s.items():
            status = given.members.get(module)
            if status is not None and status.on:
                self._on_since_s[module] = now_s  # one that goes off after this has its whole time to come back
            if status is not None and status.on is not True and now_s - since_s > START_TIMEOUT_S:
                self.no_start.add(module)

    def _remember_set(self, now_s: float) -> None:
        total_a = self._sharing.total_a
        self._set_history.append((now_s, total_a))
        while self._set_history and now_s - self._set_history[0][0] > OVER_WINDOW_S:
            self._set_history.popleft()

    def _watch_over_limit(self, now_s: float, given: DriveInput) -> None:
        """Rule 7.7: measured above the highest set-point of the last 3 s, in two readings 1 s apart."""
        while self._set_history and now_s - self._set_history[0][0] > OVER_WINDOW_S:
            self._set_history.popleft()
        if self.phase is not Phase.RUN or not self._set_history:
            self._over_since_s = None
            return
        highest_a = max(a for _, a in self._set_history) + given.counted_a
        margin_a = max(
            highest_a * self._limits.over_fraction,
            self._limits.over_a,
            self._limits.over_kw * 1000.0 / max(self._own_v or self._set_v, self._limits.min_v),
        )
        if given.measured_a <= highest_a + margin_a:
            self._over_since_s = None
        elif self._over_since_s is None:
            self._over_since_s = now_s
        elif now_s - self._over_since_s >= OVER_APART_S:
            self.over_limit = True
