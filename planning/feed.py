"""Job: hand the recorded core what it decides from: values, commands, availability, facts and contact states.

Thread: control (or any one at a time). Lock: none. Units: kW, V, A, s (monotonic).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from planning import facts
from planning.decision import Decision, DecisionCore
from planning.faults import FaultBook, FaultCode
from planning.gun_control import GunControl
from planning.model import ContactState, GunValues, ModuleState, ModuleStatus, crosspoint_index
from planning.module_facts import SeatView, gun_facts, seat_facts
from planning.module_pool import ModulePool
from planning.reasons import ReasonCode
from planning.settings import Settings, VoltageRange
from planning.transition import Seat, Stage
from planning.watch import Watch
from planning.wear import WearBook

#: A contactor that has not moved, or has not arrived yet.
_APART = (ContactState.OPEN, ContactState.CLOSING)


class Feed:
    """Looks at everything in each step; only what changed reaches the core."""

    def __init__(
        self,
        settings: Settings,
        core: DecisionCore,
        controls: Mapping[int, GunControl],
        pool: ModulePool,
        watch: Watch,
        wear: WearBook,
        faults: FaultBook,
    ) -> None:
        self._settings, self._safety = settings, settings.safety
        self._wear = wear
        self._core, self._controls, self._pool, self._watch = core, controls, pool, watch
        self._faults = faults
        self._module_count = settings.general.module_count
        self._contact_states: list[ContactState] = []  # as handed over
        self._off_wait_ms = round(self._safety.open_wait_s * 1000)
        self._dead_while_closed: dict[int, float | None] = {}
        self._fed: dict[int, object] = {}  # what an idle gun was fed last
        self._fed_values: dict[int, GunValues] = {}
        #: bus voltage of each gun by rule 7.2; None: unknown
        self.bus_v: dict[int, float | None] = dict.fromkeys(controls)
        #: what a silent module must be assumed to give until its contactor is proven open, A
        self.lost_a: dict[int, float] = {}
        self._stopped: set[int] = set()  # guns under the emergency order
        self._begun: set[int] = set()

    def step(
        self, now_s: float, modules: Sequence[ModuleStatus], decision: Decision | None, site_budget_kw: float
    ) -> None:
        """`site_budget_kw`: DC budget of all guns, -1: no limit."""
        self._core.put("site", site_budget_kw)
        for gun, control in self._controls.items():
            self._feed_gun(gun, control, now_s, modules, decision)
        self._count_silent_welds(modules)
        self._forget_lost()
        breaking = self._next_to_break(now_s, modules, decision)
        wants = decision.wants if decision is not None else (0,) * self._module_count
        for status, want in zip(modules, wants, strict=True):
            self._feed_module(status, want, breaking, now_s)

    def contacts(self, states: Sequence[ContactState]) -> None:
        """Hand over the contact states; the pins must be set up."""
        before = self._contact_states
        if states == before:
            return
        for index, new in enumerate(states):
            if not before or before[index] is not new:
                gun, module = index // self._module_count + 1, index % self._module_count + 1
                self._core.put(f"x{gun}.{module}", new.value)
                if before:
                    self._wear.contact(gun, module, before[index], new)
                    self._core.put(f"w{gun}.{module}", self._wear.weight(gun, module))
        self._contact_states = list(states)

    def worn(self) -> None:
        """Hand over what the contactors have worn so far: what was kept over a restart."""
        for gun in self._controls:
            for module in range(1, self._module_count + 1):
                self._core.put(f"w{gun}.{module}", self._wear.weight(gun, module))

    def knows(self, states: Sequence[ContactState]) -> bool:
        """These contact states have been handed over already."""
        return states == self._contact_states

    def low_range(self, gun: int) -> bool | None:
        """The range that modules of this gun shall have; None: it is left alone."""
        chosen = self._settings.modules.voltage_range
        if chosen is VoltageRange.HIGH or not gun:
            return None
        return True if chosen is VoltageRange.LOW else self._controls[gun].low_range

    # --- guns -------------------------------------------------------------------------------------------------------

    def _feed_gun(
        self, gun: int, control: GunControl, now_s: float, modules: Sequence[ModuleStatus], decision: Decision | None
    ) -> None:
        seats = decision.by_gun.get(gun, ()) if decision is not None else ()
        block = self._block(control, now_s)
        if not block and self._hopeless(control, any(stage.on_bus for _, stage in seats), now_s):
            block = ReasonCode.NEED_VOLTAGE.name
        emergency = self._watch.emergency or control.emergency
        self._note_emergency(gun, emergency)
        control.fault_answered()
        charged = not seats and control.charged_bus_v(now_s, self._safety.dead_voltage_v) is not None
        self._faults.set(FaultCode.GUN_BUS_CHARGED, control.name, charged, now_s)
        told_v, steady_v = control.told_bus_v(now_s), control.told_steady_v(now_s)
        if not seats and told_v is None:
            # nothing of this gun can change but by what its device says: an idle gun costs one comparison
            seen = (control.values, control.commanded_kw, block, emergency)
            if self._fed.get(gun) == seen:
                return
            self._fed[gun] = seen
        else:
            self._fed.pop(gun, None)
        on_bus = [modules[m - 1] for m, stage in seats if stage.on_bus and not self._still_apart(gun, m, stage)]
        live = any(map(facts.may_be_on, on_bus))
        if live or control.drive.driving:
            control.fed(now_s)
        bus_v = control.drive.bus_v(now_s, steady_v) if on_bus else steady_v
        self.bus_v[gun] = bus_v
        self._put_gun(gun, control, block)
        self._core.put(f"g{gun}f", gun_facts(control, bus_v, live, emergency, now_s, self._safety))

    def _hopeless(self, control: GunControl, joined: bool, now_s: float) -> bool:
        """Nobody feeds its bus, and it is told charged at no voltage that a module can be matched to.

        Every module would be tried in vain, one after the other, and be missed at all other guns.
        """
        told_v = None if joined else control.charged_bus_v(now_s, self._safety.dead_voltage_v)
        if told_v is None:
            return False
        return not control.drive.can_match(told_v) or control.told_steady_v(now_s) is None

    def _still_apart(self, gun: int, module: int, stage: Stage) -> bool:
        """It closes onto a live bus and is not there yet: what is told of that bus still is what it was matched to."""
        states = self._contact_states
        if stage is not Stage.CLOSE_LIVE or not states:
            return False
        return states[crosspoint_index(gun, module, self._module_count)] in _APART

    def _put_gun(self, gun: int, control: GunControl, block: str) -> None:
        put, values = self._core.put, control.values
        if self._fed_values.get(gun) is not values:
            self._fed_values[gun] = values
            put(f"g{gun}d", values.demand_kw or 0.0)
            put(f"g{gun}s", values.status.name)
            put(f"g{gun}o", -1.0 if values.soc_pct is None else values.soc_pct)
            put(f"g{gun}p", int(bool(values.target_voltage_v)))
        put(f"g{gun}e", control.electrical_limit_kw())
        put(f"g{gun}c", -1.0 if control.commanded_kw is None else control.commanded_kw)
        put(f"g{gun}b", block)

    def _block(self, control: GunControl, now_s: float) -> str:
        """Why this gun may get nothing, as a code; '' when it may."""
        drive, watch = control.drive, self._watch
        no_load = drive.no_load_waiting(now_s)
        fault = control.emergency and not drive.over_limit and not control.unplugged_live
        where = control.name
        self._faults.set(FaultCode.GUN_FAULT, where, fault, now_s)
        self._faults.set(FaultCode.GUN_OVER_LIMIT, where, drive.over_limit, now_s)
        self._faults.set(FaultCode.GUN_UNPLUGGED_LIVE, where, control.unplugged_live, now_s)
        self._faults.set(FaultCode.GUN_NO_LOAD, where, no_load, now_s)
        self._faults.set(FaultCode.GUN_LOCKED_WELD, where, self._core.locked(control.gun), now_s)
        if watch.block is not None:
            return watch.block.name
        if drive.over_limit:
            return ReasonCode.OVER_POWER.name
        if control.emergency or watch.emergency:
            return ReasonCode.FAULT.name
        if watch.can_fault_since_s is not None:
            return ReasonCode.CAN_FAULT.name
        if control.kept_out:
            return ReasonCode.DRAINING.name
        return ReasonCode.NO_LOAD.name if no_load else ""

    # --- modules ------------------------------------------------------------------------------------------------------

    def _feed_module(self, status: ModuleStatus, want: int, breaking: int, now_s: float) -> None:
        module = status.module
        seat = self._core.sequencer.seats[module - 1]
        gun = seat.gun or want
        bits = 0
        if gun:
            self._note_told_dead(seat, now_s)
            view = SeatView(
                status=status,
                bus_v=self.bus_v[gun],
                bus_told_dead_at_s=self.told_dead_at_s(module),
                low_range=self.low_range(gun),
                may_break=module == breaking,
            )
            bits = seat_facts(seat, want, view, now_s, self._safety)
        if self._pool.unqualified(module) and seat.stage is Stage.FREE and facts.cold(status, now_s, self._safety):
            self._pool.qualified(module, now_s)
        self._watch_off(status, seat, now_s)
        # a bus that is only being charged says nothing about what a module can give
        serving_v = self._controls[gun].drive.conducting_v if seat.stage is Stage.SERVE else None
        self._core.put(f"m{module}a", self._pool.available_kw(status, serving_v))
        self._core.put(f"m{module}h", int(self._wear.hours(module)))
        self._core.put(f"m{module}f", bits)

    def told_dead_at_s(self, module: int) -> float | None:
        """When the bus of the module was last told dead while its contactor was closed.

        Earlier or later it proves nothing: behind an open contactor the lead keeps its charge, whatever the bus does.
        """
        return self._dead_while_closed.get(module)

    def _note_told_dead(self, seat: Seat, now_s: float) -> None:
        states, index = self._contact_states, crosspoint_index(seat.gun, seat.module, self._module_count)
        if seat.gun and states and states[index] is ContactState.CLOSED:
            self._dead_while_closed[seat.module] = self._controls[seat.gun].dead_bus_at_s(now_s)

    def _watch_off(self, status: ModuleStatus, seat: Seat, now_s: float) -> None:
        """Rule 7.3: a module that is to go off and is not shown unloaded in time is a fault until it shows off."""
        where = f"m{status.module}"
        if seat.stage is Stage.UNLOAD:
            if now_s * 1000 - seat.since_ms >= self._off_wait_ms:
                self._faults.raise_fault(FaultCode.MODULE_OFF_NOT_CONFIRMED, where, now_s)
        elif self._faults.stands(FaultCode.MODULE_OFF_NOT_CONFIRMED, where) and not facts.may_be_on(status):
            self._faults.clear(FaultCode.MODULE_OFF_NOT_CONFIRMED, where, now_s)

    def _count_silent_welds(self, modules: Sequence[ModuleStatus]) -> None:
        """A welded module cannot be parted from its gun: silent, it counts until it is heard again (rule 7.6)."""
        for status, seat in zip(modules, self._core.sequencer.seats, strict=True):
            if seat.stage is not Stage.WELDED:
                continue
            if status.state is not ModuleState.SILENT:
                self.lost_a.pop(status.module, None)
            elif status.module not in self.lost_a:
                self.lost_a[status.module] = facts.counted_a(status)

    def take_stopped(self) -> set[int]:
        """Guns whose emergency order began since the last call."""
        begun, self._begun = self._begun, set()
        return begun

    def _note_emergency(self, gun: int, emergency: bool) -> None:
        if emergency and gun not in self._stopped:
            self._begun.add(gun)
        if emergency is not (gun in self._stopped):
            self._stopped ^= {gun}

    def _forget_lost(self) -> None:
        seats = self._core.sequencer.seats
        for module in list(self.lost_a):
            if seats[module - 1].stage is Stage.FREE:
                del self.lost_a[module]

    def _next_to_break(self, now_s: float, modules: Sequence[ModuleStatus], decision: Decision | None) -> int:
        """The silent module whose contactor opens under load now; 0: none. The lowest current goes first."""
        if decision is None or not self.lost_a:
            return 0
        can_fault = self._watch.can_fault_since_s is not None
        limit_s = self._safety.can_fault_open_s if can_fault else self._safety.silent_open_s
        ripe = [
            (self.lost_a.get(status.module, 0.0), status.module)
            for status, (stage, _) in zip(modules, decision.seats, strict=True)
            if stage is Stage.LOST and facts.silent_for_s(status, now_s) >= limit_s
        ]
        return min(ripe)[1] if ripe else 0
