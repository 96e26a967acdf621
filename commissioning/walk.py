"""Job: the walk of `python main.py --commission`: every module alone, then every contactor alone, by rule 7.2(a).

Thread: one at a time (MainThread on site). Lock: none. Units: V, A, s (monotonic).

Never more than one module is on, at its lowest voltage and smallest current, and never more than one coil. A contactor
closes through the interlock, onto a dead bus, with its module off and cold. Where the dispenser tells a bus voltage the
module is then switched on for a moment, to see where its voltage arrives; elsewhere coil and feedback are proven alone.

The walk is written as it goes, each `yield` being one step of 10 ms: `step` runs it, and keeps heartbeat, feedback and
orders alive. Whoever stops calling `step` for 0.5 s has lost the coil supply and every order.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Protocol

from commissioning.observed import CrosspointSeen, MatchSeen, ModuleSeen, Observed
from planning import facts
from planning.model import (
    OFF_ORDER,
    CloseEvidence,
    CloseRefusal,
    ContactState,
    Crosspoint,
    ModuleOrder,
    ModuleState,
    ModuleStatus,
)
from planning.ports import ContactorsPort, ModulesPort
from planning.settings import Settings
from planning.startup import SafeStart, StartAction, StartView
from protocols import PROTOCOLS
from protocols.base import Make

STEP_S = 0.01
#: A module comes up within 8 s (data sheets), and 150 V fall below 60 V within 3 s; readings may be a round old.
RISE_S = 12.0
FALL_S = 10.0
#: What a reading may differ from its set-point, and a dispenser's from the module's.
NEAR_V = 15.0
#: Devices repeat their values every 10 s.
TOLD_S = 12.0
REST_S = 15.0
OPEN_S = 1.0
#: How long feedback is watched after a coil: close_timeout, the debounce, and a moment for what closes late.
AFTER_CLOSE_S = 0.2

_CLOSED = frozenset({ContactState.CLOSED, ContactState.INTRUDER, ContactState.OPEN_FAILED})

Steps = Generator[None, None, None]


class _Ended(Exception):
    """The walk may not go on; the text says why."""


class Buses(Protocol):
    """What the dispensers tell."""

    def told(self, gun: int) -> tuple[float, float] | None:
        """Voltage of the gun's bus and when it was told; None: never."""


class Walk:
    """See the file's head. `consent` is asked before each stage and may take its time: everything is off then."""

    def __init__(
        self,
        settings: Settings,
        modules: ModulesPort,
        contactors: ContactorsPort,
        buses: Buses,
        consent: Callable[[str], bool],
        say: Callable[[str], None],
        crosspoints: Sequence[Crosspoint] | None = None,
    ) -> None:
        """`crosspoints`: only these contactors; None: all of them, gun by gun."""
        self.observed = Observed()
        self._settings, self._safety = settings, settings.safety
        self._modules, self._contactors, self._buses = modules, contactors, buses
        self._consent, self._say = consent, say
        general = settings.general
        self._numbers = [n for n, module in sorted(settings.modules.by_number.items()) if module.enabled]
        self._guns = range(1, general.gun_count + 1)
        self._module_count = general.module_count
        self._all = [Crosspoint(gun, module) for gun in self._guns for module in range(1, self._module_count + 1)]
        wanted = self._all if crosspoints is None else list(crosspoints)
        self._crosspoints = [each for each in wanted if each.module in self._numbers]
        self._makes: dict[int, Make] = {n: PROTOCOLS[settings.modules.by_number[n].protocol] for n in self._numbers}
        self._orders = [OFF_ORDER] * self._module_count
        self._status: Sequence[ModuleStatus] = ()
        self._stuck: set[Crosspoint] = set()  # already known to read closed without their coil
        self._told_dead_s: dict[int, float] = {}  # module -> when its bus was told dead through its closed contactor
        self._parted_s: dict[int, float] = {}
        self._now_s = 0.0
        self._start = SafeStart()
        self._prepared = False
        self._script = self._walk()

    # --- running -----------------------------------------------------------------------------------------------------

    def step(self, now_s: float) -> bool:
        """One step; False when the walk is over and everything is off. Call it every 10 ms."""
        self._now_s = now_s
        self._status = self._modules.status(now_s)
        if self._prepared:
            self._contactors.step(now_s, healthy=True)
        stopped = self._emergency()
        if stopped:
            self.stop(stopped)
            return False
        try:
            next(self._script)
        except _Ended as ended:
            self.stop(str(ended))
            return False
        except StopIteration:
            self.observed.unconfigured = self._modules.can_status().unconfigured
            self._modules.apply([OFF_ORDER] * self._module_count, now_s)
            return False
        self._modules.apply(self._orders, now_s)
        return True

    def _emergency(self) -> str:
        if self._start.armed and not self._contactors.emergency_stop_healthy:
            return "the emergency stop was pressed, or its loop is open"
        if self._start.armed and self._contactors.image_verified is False:
            return "the readback does not show the image that was written: check the chain of the coil registers"
        return ""

    def stop(self, why: str) -> None:
        """End at once: OFF to all, every coil off. Not called again after `step` gave False."""
        self.observed.stopped = why
        self.observed.unconfigured = self._modules.can_status().unconfigured
        self._orders = [OFF_ORDER] * self._module_count
        self._modules.off_now(None, self._now_s)
        self._modules.apply(self._orders, self._now_s)
        if self._prepared:
            self._contactors.open_all(self._now_s)
        self._script.close()

    def _walk(self) -> Steps:
        if not self._agreed(
            "No car is plugged in at any gun, every dispenser has its contactor open, nobody works in the cabinet, and "
            "the emergency stop is within reach. Modules get their mains and the coils their supply now."
        ):
            return
        yield from self._start_up()
        if self.observed.stopped:
            return
        if not self._agreed("Stage 1: each module alone, all contactors open, at its lowest voltage."):
            return
        for module in self._numbers:
            yield from self._module_alone(module)
        if not self._agreed("Stage 2: each contactor alone; where the bus can be read, with its module for a moment."):
            return
        for crosspoint in self._crosspoints:
            yield from self._contactor_alone(crosspoint)
        yield from self._search()

    def _agreed(self, stage: str) -> bool:
        if self._consent(stage):
            return True
        self.observed.stopped = "a person did not agree to go on"
        return False

    def _until(self, condition: Callable[[], bool], limit_s: float) -> Generator[None, None, bool]:
        end_s = self._now_s + limit_s
        while not condition():
            if self._now_s >= end_s:
                return False
            yield
        return True

    # --- the safe start ----------------------------------------------------------------------------------------------

    def _start_up(self) -> Steps:
        """The same safe start as of the running station."""
        begin_s = self._now_s
        hear_s = max(self._safety.start_hear_s, 2.0 * max(make.reads.round_s for make in self._makes.values()) + 1.0)
        while not self._start.armed:
            off = [facts.proven_off_since_s(self._of(number)) is not None for number in self._numbers]
            view = StartView(
                link_up=self._modules.can_status().up,
                feedback_valid=self._contactors.feedback_valid,
                modules_proven_off=all(off),
                start_hear_s=hear_s,
            )
            self._obey(self._start.step(self._now_s, view))
            if self._now_s - begin_s > hear_s + 10.0:
                self.observed.feedback_valid = self._contactors.feedback_valid
                self.observed.stopped = self._why_not_started(view)
                return
            yield
        yield from self._until(lambda: False, 2 * STEP_S)
        self.observed.contacts = len(self._all)
        self.observed.inputs_beyond = tuple(self._contactors.inputs_beyond)
        if self.observed.inputs_beyond:
            raise _Ended("the cabinet is not of the size that config.ini says")

    def _obey(self, action: StartAction) -> None:
        if action is StartAction.OFF_ALL:
            self._modules.off_now(None, self._now_s)
        elif action is StartAction.LATCH_ZEROS:
            self._contactors.prepare(self._now_s)
            self._prepared = True
        elif action is StartAction.ENABLE_OUTPUTS:
            self.observed.closed_at_start = self._shown_closed()
            self._put_aside(self.observed.closed_at_start)
            self._contactors.enable_outputs(self._now_s)
        elif action is StartAction.ARM:
            self._contactors.arm()

    @staticmethod
    def _why_not_started(view: StartView) -> str:
        if not view.link_up:
            return "the CAN bus is not up"
        if not view.feedback_valid:
            return "the feedback chain tells nonsense: its test bits are wrong. Check the ribbon cable and its supply"
        return "the safe start did not end"

    # --- stage 1 -----------------------------------------------------------------------------------------------------

    def _module_alone(self, module: int) -> Steps:
        place, make = self._settings.modules.by_number[module], self._makes[module]
        status = self._of(module)
        heard = status.heard_at_s is not None
        seen = ModuleSeen(module, place.address, make.name, heard, status.serial, alarms=status.alarms)
        if not heard or status.state not in (ModuleState.OFF, ModuleState.ON):
            self.observed.modules.append(seen)
            self._say(f"Module {module}: {'not heard' if not heard else status.state.value}")
            return
        asked_v = make.nameplate.min_v
        others: set[int] = set()
        self._switch_on(module)
        rose = yield from self._until(lambda: self._rose(module, asked_v, others), RISE_S)
        measured_v = self._of(module).voltage_v if rose else None
        alarms = self._of(module).alarms
        yield from self._switch_off(module)
        fell = yield from self._until(lambda: self._is_cold(module), FALL_S)
        self.observed.modules.append(
            ModuleSeen(
                module, place.address, make.name, True, self._of(module).serial, asked_v, measured_v, fell,
                tuple(sorted(others)), alarms,
            )
        )  # fmt: skip
        at = "does not come up" if measured_v is None else f"{measured_v:.0f} V"
        self._say(f"Module {module} (address {place.address}): set to {asked_v:.0f} V, {at}")

    def _switch_on(self, module: int) -> None:
        plate = self._makes[module].nameplate
        amps = max(plate.min_current_a, self._safety.idle_current_a)
        self._orders[module - 1] = ModuleOrder(True, plate.min_v, amps)

    def _switch_off(self, module: int) -> Steps:
        """Ends the walk when it does not go off: no second one may be switched on beside it."""
        self._orders[module - 1] = OFF_ORDER
        off = yield from self._until(lambda: facts.proven_off_since_s(self._of(module)) is not None, FALL_S)
        if not off:
            raise _Ended(f"module {module} is not proven off although it was told so: take its mains away")

    def _rose(self, module: int, asked_v: float, others: set[int]) -> bool:
        """It is up. Notes modules that are so, too: they share an address or a command."""
        for status in self._status:
            alive = status.on or (status.voltage_v or 0.0) >= self._safety.dead_voltage_v
            if status.module != module and status.module in self._numbers and alive:
                others.add(status.module)
        status = self._of(module)
        return bool(status.on) and status.voltage_v is not None and abs(status.voltage_v - asked_v) <= NEAR_V

    def _is_cold(self, module: int) -> bool:
        return facts.cold(self._of(module), self._now_s, self._safety)

    # --- stage 2 -----------------------------------------------------------------------------------------------------

    def _contactor_alone(self, crosspoint: Crosspoint) -> Steps:
        why = yield from self._prepare(crosspoint)
        if why:
            self._keep(CrosspointSeen(crosspoint, why=why))
            return
        refused = yield from self._close(crosspoint)
        if refused is not None:
            self._keep(CrosspointSeen(crosspoint, refused=refused))
            return
        closed = self._shown_closed()
        module_v: float | None = None
        buses_v: tuple[tuple[int, float], ...] = ()
        if self._reads(crosspoint.gun) and self._came_up(crosspoint.module):
            module_v, buses_v = yield from self._power(crosspoint, crosspoint.module)
        left = yield from self._open(crosspoint)
        self._keep(CrosspointSeen(crosspoint, None, "", closed, module_v, buses_v, left))

    def _keep(self, seen: CrosspointSeen) -> None:
        self.observed.crosspoints.append(seen)
        names = ", ".join(map(str, seen.closed)) or "nothing"
        told = ", ".join(f"gun {gun} {volts:.0f} V" for gun, volts in seen.buses_v if volts >= 1.0)
        said = seen.why or (seen.refused.value if seen.refused else f"feedback shows {names}")
        self._say(f"{seen.crosspoint}: {said}" + (f"; {told or 'no bus has a voltage'}" if seen.buses_v else ""))

    def _prepare(self, crosspoint: Crosspoint) -> Generator[None, None, str]:
        """Wait until this contactor may close; else why it may not, in words."""
        told = self._buses.told(crosspoint.gun)
        if self._reads(crosspoint.gun) and told is not None and told[0] >= self._safety.dead_voltage_v:
            return f"gun {crosspoint.gun} has {told[0]:.0f} V on its bus: something is connected to it"
        rested = yield from self._until(lambda: self._may_close(crosspoint.module), REST_S)
        return "" if rested else f"module {crosspoint.module} is not proven off, cold and discharged"

    def _may_close(self, module: int) -> bool:
        told_dead_s, parted_s = self._told_dead_s.get(module), self._parted_s.get(module)
        rested = facts.rested(self._of(module), self._now_s, self._safety, told_dead_s, parted_s)
        return rested and self._is_cold(module)

    def _close(self, crosspoint: Crosspoint) -> Generator[None, None, CloseRefusal | None]:
        """Close through the interlock and wait until feedback has had its time."""
        refused: CloseRefusal | None = CloseRefusal.PICKUPS
        while refused is CloseRefusal.PICKUPS:
            told = self._told_v(crosspoint.gun)
            evidence = CloseEvidence(
                module=self._of(crosspoint.module),
                bus_voltage_v=told,
                bus_told_v=told,
                bus_has_live_module=False,
                told_dead_at_s=self._told_dead_s.get(crosspoint.module),
            )
            refused = self._contactors.request_close(crosspoint, evidence, self._now_s)
            if refused is CloseRefusal.PICKUPS:
                yield
        if refused is None:
            yield from self._until(lambda: False, self._safety.close_timeout_s + AFTER_CLOSE_S)
        return refused

    def _power(
        self, crosspoint: Crosspoint, module: int
    ) -> Generator[None, None, tuple[float | None, tuple[tuple[int, float], ...]]]:
        """Switch this module on for a moment: its own reading, and what every readable bus tells."""
        asked_v = self._makes[module].nameplate.min_v
        self._switch_on(module)
        rose = yield from self._until(lambda: self._rose(module, asked_v, set()), RISE_S)
        module_v = self._of(module).voltage_v if rose else None
        up_s = self._now_s
        if rose:
            yield from self._until(lambda: self._all_told_since(up_s), TOLD_S)
        buses_v = tuple((gun, told) for gun in self._guns if (told := self._told_v(gun)) is not None)
        yield from self._switch_off(module)
        off_s = self._now_s
        dead = yield from self._until(lambda: self._told_dead_since(crosspoint.gun, off_s), TOLD_S)
        if dead and self._state(crosspoint) is ContactState.CLOSED:
            self._told_dead_s[crosspoint.module] = self._now_s
        return module_v, buses_v if rose else ()

    def _open(self, crosspoint: Crosspoint) -> Generator[None, None, tuple[Crosspoint, ...]]:
        self._contactors.request_open(crosspoint, self._now_s)
        yield from self._until(self._all_open, OPEN_S)
        self._parted_s[crosspoint.module] = self._now_s
        left = self._shown_closed()
        self._put_aside(left)
        return left

    def _put_aside(self, stuck: tuple[Crosspoint, ...]) -> None:
        for crosspoint in stuck:
            self._contactors.take_out_of_service(crosspoint)
        self._stuck.update(stuck)

    # --- whose module hangs where ------------------------------------------------------------------------------------

    def _search(self) -> Steps:
        """Of modules whose voltage never arrived: close their contactor and switch each of the others on in turn."""
        lost = [module for module in self._numbers if self._never_arrived(module)]
        for column in lost if len(lost) > 1 else ():
            crosspoint = next(c for c in self._crosspoints if c.module == column and self._reads(c.gun))
            for module in (each for each in lost if each != column):
                if (yield from self._prepare(crosspoint)) or (yield from self._close(crosspoint)) is not None:
                    continue
                _, buses_v = yield from self._power(crosspoint, module)
                yield from self._open(crosspoint)
                bus_v = dict(buses_v).get(crosspoint.gun)
                self.observed.matches.append(MatchSeen(column, module, bus_v))
                self._told_dead_s.pop(column, None)  # it is not this module that hangs there

    def _never_arrived(self, module: int) -> bool:
        powered = [s for s in self.observed.crosspoints if s.crosspoint.module == module and s.module_v is not None]
        dead_v = self._safety.dead_voltage_v
        return bool(powered) and all(volts < dead_v for seen in powered for _, volts in seen.buses_v)

    # --- looking -----------------------------------------------------------------------------------------------------

    def _of(self, module: int) -> ModuleStatus:
        return next(status for status in self._status if status.module == module)

    def _came_up(self, module: int) -> bool:
        return any(seen.module == module and seen.measured_v is not None for seen in self.observed.modules)

    def _state(self, crosspoint: Crosspoint) -> ContactState:
        return self._contactors.states[(crosspoint.gun - 1) * self._module_count + crosspoint.module - 1]

    def _all_open(self) -> bool:
        states = (self._state(each) for each in self._all if each not in self._stuck)
        return self._contactors.feedback_valid and all(state is ContactState.OPEN for state in states)

    def _shown_closed(self) -> tuple[Crosspoint, ...]:
        """Without those that are known to be stuck."""
        return tuple(each for each in self._all if self._state(each) in _CLOSED and each not in self._stuck)

    def _reads(self, gun: int) -> bool:
        """The gun's dispenser tells a bus voltage, and did so a moment ago."""
        told = self._buses.told(gun)
        fresh = told is not None and self._now_s - told[1] <= TOLD_S
        if fresh and gun not in self.observed.guns_read:
            self.observed.guns_read = tuple(sorted({*self.observed.guns_read, gun}))
        return fresh

    def _told_v(self, gun: int) -> float | None:
        told = self._buses.told(gun)
        return told[0] if told is not None and self._reads(gun) else None

    def _all_told_since(self, since_s: float) -> bool:
        """Every gun that tells at all has told since then; two values, so that the second is no old one."""
        told = [self._buses.told(gun) for gun in self._guns if self._reads(gun)]
        return bool(told) and all(each is not None and each[1] > since_s + 0.5 for each in told)

    def _told_dead_since(self, gun: int, since_s: float) -> bool:
        told = self._buses.told(gun)
        return told is not None and told[1] > since_s and told[0] < self._safety.dead_voltage_v
