"""Job: the station on a desk as circuit equations: nine modules, 54 contactors, six gun bus bars, cars behind
dispensers.

Thread: one at a time; whoever shares a Plant between threads locks around it. Lock: none. Units: V, A, W, J; time is
given in (s, monotonic) and runs on a grid of 10 ms. Nothing happens on an idle station, so an idle step costs next to
nothing.
"""

from __future__ import annotations

import random
from collections import deque

from planning.model import Crosspoint
from simulator.contacts import CONTACTS, GUNS, MODULES, ContactFault, Contacts
from simulator.gun_bus import Battery, GunBus
from simulator.power_module import STEP_S, PowerModule
from simulator.referee import LOAD_BREAK_A, Closing, Referee, Violation, ViolationKind

#: The hardware stop takes the modules' enable first and the coil supply this much later.
COIL_SUPPLY_AFTER_S = 0.1
#: The event list keeps the newest; an hour of a busy station fits.
MAX_EVENTS = 100_000


class Plant:
    """The wired station. Coils in, feedback out; modules and buses are there to be looked at."""

    def __init__(
        self, seed: int = 0, now_s: float = 0.0, *, forget_share: float = 0.34, meter_error: float = 0.002
    ) -> None:
        """`seed` fixes every tolerance; `forget_share` of the modules forget at ON what they were set while off."""
        rng = random.Random(seed)
        self._switched: list[PowerModule] = []
        self.modules = [
            PowerModule(number, rng, self._switched, forget_share, meter_error) for number in range(1, MODULES + 1)
        ]
        self.guns = [GunBus(number) for number in range(1, GUNS + 1)]
        self.referee = Referee()
        self.contacts = Contacts(rng, self._poles_moved)
        self.events: deque[str] = deque(maxlen=MAX_EVENTS)
        self.estop_healthy = True
        self.now_s = now_s
        self._start_s, self._ticks = now_s, 0
        self._coils = 0
        self._supply_ends_s: float | None = None  # when the coil supply goes (went) after the hardware stop
        self._live_guns: list[GunBus] = []
        self._free_modules: list[PowerModule] = []

    # --- time ---------------------------------------------------------------------------------------------------------

    def advance(self, dt_s: float) -> None:
        """Move on by `dt_s`."""
        self.advance_to(self.now_s + dt_s)

    def advance_to(self, now_s: float) -> None:
        """Move on to `now_s`; what falls between two grid points is left for the next call."""
        while self._start_s + (self._ticks + 1) * STEP_S <= now_s + 1e-9:
            if self._switched:
                self._regroup(self.now_s)
            if self._at_rest():
                self._ticks = int((now_s - self._start_s) / STEP_S + 1e-6)
                break
            ticks = self._leap(now_s)
            self._ticks += ticks
            self._step(self._start_s + self._ticks * STEP_S, ticks)
        self.now_s = max(self.now_s, now_s)
        self._arrive(self.now_s)

    def _at_rest(self) -> bool:
        return not (self._live_guns or self._free_modules) and self.contacts.next_due_s == float("inf")

    @property
    def calm(self) -> bool:
        """Nothing moves but energy; whoever steps the plant may take longer steps."""
        still = not self._switched and not self._free_modules and self.contacts.next_due_s == float("inf")
        return still and all(gun.steady for gun in self._live_guns)

    def _leap(self, now_s: float) -> int:
        """How many grid steps may be taken in one: while nothing moves only energy flows."""
        if self._free_modules or self.contacts.next_due_s != float("inf"):
            return 1
        ticks = int((now_s - self._start_s) / STEP_S + 1e-6) - self._ticks
        for gun in self._live_guns:
            ticks = min(ticks, gun.steady_steps)
        return max(1, ticks)

    def _step(self, now_s: float, ticks: int) -> None:
        self.now_s = now_s
        self._arrive(now_s)
        for module in self._free_modules:
            module.ramp(now_s, 0.0)
            module.float_alone(now_s)
        for gun in self._live_guns:
            gun.step(now_s, ticks)

    def _arrive(self, now_s: float) -> None:
        if self._supply_ends_s is not None and now_s >= self._supply_ends_s:
            self.contacts.drive(0, self._supply_ends_s)
        if self.contacts.next_due_s <= now_s:
            self.contacts.settle(now_s)

    def _regroup(self, now_s: float) -> None:
        """After a module switched or a contact moved: who is on which bus, and who needs steps at all."""
        for module in self._switched:
            self._note(now_s, "module_on" if module.on else "module_off", f"m{module.number}")
        self._switched.clear()
        for gun in self.guns:
            gun.regroup([module for module in self.modules if module.bus is gun], now_s)
        self._live_guns = [gun for gun in self.guns if gun.live]
        self._free_modules = [module for module in self.modules if module.on and module.bus is None]

    # --- GPIO side ----------------------------------------------------------------------------------------------------

    def set_coils(self, image: int, now_s: float) -> None:
        """Energise the coils whose bits are set: bit (gun-1)*9 + (module-1)."""
        if image == self._coils:
            return
        self._coils = image
        if self._supply_ends_s is None or now_s < self._supply_ends_s:
            self.contacts.drive(image, now_s)

    def feedback(self) -> int:
        """The 56 feedback inputs: bit 0 = proven open, 1 = closed or moving; input 54 reads 1, input 55 reads 0."""
        return self.contacts.feedback()

    def closed_contacts(self) -> list[Crosspoint]:
        """The crosspoints whose main poles are closed, whatever the feedback says."""
        return [crosspoint_of(index) for index in range(CONTACTS) if self.contacts.closed[index]]

    def _poles_moved(self, index: int, closed: bool, at_s: float) -> None:
        crosspoint = crosspoint_of(index)
        module, gun = self.modules[crosspoint.module - 1], self.guns[crosspoint.gun - 1]
        self._regroup(at_s)
        if closed:
            self._poles_met(crosspoint, module, gun, at_s)
        else:
            self._poles_parted(crosspoint, module, gun, at_s)
        self._regroup(at_s)

    def _poles_met(self, crosspoint: Crosspoint, module: PowerModule, gun: GunBus, at_s: float) -> None:
        closing = Closing(
            module_on=module.on,
            module_v=module.output_v(at_s),
            terminal_v=module.terminal_v(at_s),
            limit_a=min(module.set_a, module.available_a),
            bus_v=gun.voltage_v(at_s),
            others_closed=bool(gun.modules),
        )
        self._note(at_s, "closed", f"{crosspoint} bus {closing.bus_v:.1f} V module {closing.module_v:.1f} V")
        self.referee.closed(at_s, crosspoint, closing)
        if module.bus is not None:  # the circuit keeps it on its first gun; that this happened at all is what counts
            volts = f"g{module.bus.number} {closing.terminal_v:.1f} V, g{gun.number} {closing.bus_v:.1f} V"
            self.referee.record(at_s, ViolationKind.JOINED, crosspoint, volts)
        else:
            module.bus = gun

    def _poles_parted(self, crosspoint: Crosspoint, module: PowerModule, gun: GunBus, at_s: float) -> None:
        current_a = module.current_a if module.bus is gun else 0.0
        self._note(at_s, "opened", f"{crosspoint} {current_a:.1f} A")
        self.referee.opened(at_s, crosspoint, current_a)
        if module.bus is gun:
            module.isolate(gun.voltage_v(at_s), at_s)
            module.bus = self._other_gun_of(module)

    def _other_gun_of(self, module: PowerModule) -> GunBus | None:
        """The gun that a wrongly doubled module still hangs on."""
        for gun in self.guns:
            if self.contacts.closed[(gun.number - 1) * MODULES + module.number - 1]:
                return gun
        return None

    # --- dispenser and car --------------------------------------------------------------------------------------------

    def plug(self, gun: int, battery: Battery | None, now_s: float) -> None:
        """Plug a car in, or (None) out; the dispenser's output contactor stays as it is."""
        bus = self.guns[gun - 1]
        bus.attach(battery, bus.connected, now_s)
        self._note(now_s, "plugged" if battery is not None else "unplugged", f"g{gun}")

    def set_output(self, gun: int, closed: bool, now_s: float) -> None:
        """Move the dispenser's output contactor of one gun (at once)."""
        bus = self.guns[gun - 1]
        if bus.connected == closed:
            return
        self._note(now_s, "output_closed" if closed else "output_opened", f"g{gun} {bus.current_a:.1f} A")
        if not closed and bus.current_a > LOAD_BREAK_A:
            detail = f"{bus.current_a:.1f} A"
            self.referee.record(now_s, ViolationKind.OUTPUT_LOADED, Crosspoint(gun, 0), detail)
        bus.attach(bus.battery, closed, now_s)

    def bus_voltage_v(self, gun: int) -> float:
        """Voltage of a gun's bus bar, on the station's side of the output contactor."""
        return self.guns[gun - 1].voltage_v(self.now_s)

    def bus_current_a(self, gun: int) -> float:
        """Current into a gun's dispenser."""
        return self.guns[gun - 1].current_a

    def has_modules(self, gun: int) -> bool:
        """True while a contactor of this gun is closed."""
        return any(self.contacts.closed[(gun - 1) * MODULES : gun * MODULES])

    # --- what goes wrong ----------------------------------------------------------------------------------------------

    def press_emergency_stop(self, now_s: float) -> None:
        """The hardware stop: the loop opens, the modules lose their enable now and the coils their supply in 100 ms."""
        if not self.estop_healthy:
            return
        self.estop_healthy = False
        self._supply_ends_s = now_s + COIL_SUPPLY_AFTER_S
        for module in self.modules:
            module.enabled = False
            module.shut_down(now_s)
        self._note(now_s, "emergency_stop", "pressed")

    def release_emergency_stop(self, now_s: float) -> None:
        """The loop is healthy again; coils and modules follow what they are told."""
        self.estop_healthy = True
        self._supply_ends_s = None
        for module in self.modules:
            module.enabled = True
        self.contacts.drive(self._coils, now_s)
        self._note(now_s, "emergency_stop", "released")

    def break_bleeder(self, gun: int, broken: bool, now_s: float) -> None:
        """The bleeder of a gun's bus bar burns out, or (False) is replaced."""
        self.guns[gun - 1].break_bleeder(broken, now_s)
        self._note(now_s, "bleeder", f"g{gun} {'broken' if broken else 'mended'}")

    def dump_load(self, gun: int, now_s: float) -> None:
        """The car opens its own contactor at whatever current flows; for the station its battery is gone."""
        bus = self.guns[gun - 1]
        self._note(now_s, "load_dump", f"g{gun} {bus.current_a:.1f} A")
        bus.attach(None, bus.connected, now_s)

    def break_contact(self, crosspoint: Crosspoint, fault: ContactFault, now_s: float) -> None:
        """Put a fault into one contactor."""
        self.contacts.break_contact(index_of(crosspoint), fault, now_s)
        self._note(now_s, "fault", f"{crosspoint} {fault.value}")

    def cross_coils(self, one: Crosspoint, other: Crosspoint, now_s: float) -> None:
        """The wires of two coils were crossed when the cabinet was built; once more: they are right again."""
        self.contacts.crossed_coils.append((index_of(one), index_of(other)))
        self._note(now_s, "fault", f"coil wires {one} {other} crossed")

    def cross_feedback(self, one: Crosspoint, other: Crosspoint, now_s: float) -> None:
        """The same for two feedback wires."""
        self.contacts.crossed_feedback.append((index_of(one), index_of(other)))
        self._note(now_s, "fault", f"feedback wires {one} {other} crossed")

    def slam(self, crosspoint: Crosspoint, now_s: float) -> None:
        """Close a contactor that nobody commanded, and weld it."""
        self.contacts.slam(index_of(crosspoint), now_s)
        self._note(now_s, "fault", f"{crosspoint} slammed")

    def repair_contact(self, crosspoint: Crosspoint, now_s: float) -> None:
        """Replace a broken contactor."""
        self.contacts.repair(index_of(crosspoint), now_s)
        self._note(now_s, "repaired", str(crosspoint))

    # --- looking on ---------------------------------------------------------------------------------------------------

    @property
    def violations(self) -> list[Violation]:
        """Every switching against the electrical rules so far, in order."""
        return self.referee.violations

    def power_kw(self) -> float:
        """What all guns deliver together."""
        return sum(gun.power_w for gun in self.guns) / 1000.0

    def _note(self, now_s: float, kind: str, detail: str) -> None:
        self.events.append(f"{round((now_s - self._start_s) * 1000)} {kind} {detail}")


def crosspoint_of(index: int) -> Crosspoint:
    """Contact index to gun and module."""
    return Crosspoint(index // MODULES + 1, index % MODULES + 1)


def index_of(crosspoint: Crosspoint) -> int:
    """Gun and module to contact index; ValueError when there is no such contactor."""
    if not (1 <= crosspoint.gun <= GUNS and 1 <= crosspoint.module <= MODULES):
        raise ValueError(f"no contactor {crosspoint}: guns are 1 to {GUNS}, modules 1 to {MODULES}")
    return (crosspoint.gun - 1) * MODULES + crosspoint.module - 1
