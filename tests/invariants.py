"""Job: the ten invariants of the matrix, looked at in every step of the control, on the metal and on the wire.

Thread: the test's. Lock: none. Units: s, V, A, kW. Nothing here asks the controller what it thinks but for what a gun
has told (demand, status) and whether it is armed; frames are read as the modules hear them.

Excused is what physics does and nobody commanded: a contactor that slams, a coil that drops because the process was
killed, a module that lies. Each excuse is for the one contactor, module or gun that is broken.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from planning.model import Crosspoint, VehicleStatus
from simulator.contacts import CONTACTS, GUNS, MODULES
from simulator.plant import index_of
from simulator.referee import Violation, ViolationKind
from simulator.virtual import VirtualStation

COLUMNS = [sum(1 << gun * MODULES + module for gun in range(GUNS)) for module in range(MODULES)]
#: Lowering a limit is met within 2 s; a step and a frame more.
MET_WITHIN_S = 2.2
#: What a gun in fault still has closed after this hangs on a broken contactor.
OPEN_WITHIN_S = 0.6
#: No gun gives more than it may for longer than this, whatever its modules do.
OVER_AT_MOST_S = 6.0
#: A dispenser that cuts the car off moves the bus at once; a reading of that is there within this time.
OUTPUT_JUMPS_S = 1.0
VOLTAGE_COMMAND, CURRENT_COMMAND, POWER_COMMAND = 2, 3, 4
_CLOSES = (
    ViolationKind.CLOSE_HIGH, ViolationKind.CLOSE_UNMATCHED, ViolationKind.CLOSE_UNLIMITED, ViolationKind.CLOSE_CHARGED,
)  # fmt: skip


@dataclass(slots=True)
class Excuses:
    """What is broken on purpose."""

    slammed: set[int] = field(default_factory=set)  # modules one of whose contactors closed by itself
    contacts: set[Crosspoint] = field(default_factory=set)  # contactors with a fault
    modules: set[int] = field(default_factory=set)  # modules with a fault
    lying_modules: set[int] = field(default_factory=set)  # modules whose readings or output are not what they say
    lying_guns: set[int] = field(default_factory=set)  # guns whose device told a bus voltage that is not true
    output_moved_s: dict[int, float] = field(default_factory=dict)  # gun -> when its dispenser cut or joined the car
    forced_until_s: float = float("-inf")  # process killed or frozen, emergency stop, CAN gone: coils drop under load


@dataclass(slots=True)
class Commanded:
    """What was last put on the wire for one module."""

    on: bool = False
    amps: float = 0.0
    volts: float = 0.0


class Invariants:
    """Hangs on a station; every look raises AssertionError with the invariant's number."""

    def __init__(self, station: VirtualStation) -> None:
        self.station = station
        self.excuses = Excuses()
        self.steps = 0
        self.seen: Counter[str] = Counter()
        self._commanded = [Commanded() for _ in range(MODULES)]
        self._limits_kw: list[deque[tuple[float, float]]] = [deque() for _ in range(GUNS)]
        self._fault_since_s: list[float | None] = [None] * GUNS
        self._over_since_s: list[float | None] = [None] * GUNS
        self._violations = 0
        self._image = 0
        station.on_step = self.look
        station.bus._on_frame = self.hear
        chain = station.gpio.output_chain
        assert chain is not None
        self._chain = chain
        before = chain._on_change

        def latched() -> None:
            if before is not None:
                before()
            self._latched()

        chain._on_change = latched

    # --- what is heard --------------------------------------------------------------------------------------------

    def hear(self, at_s: float, can_id: int, data: bytes, ours: bool) -> None:
        del at_s
        if not ours or data[0] & 0x0F:
            return
        address = can_id >> 14 & 0x7F
        for module in range(MODULES) if address == 0 else (address - 1,):
            if data[1] == POWER_COMMAND:
                self._commanded[module].on = data[7] == 0
            elif data[1] == CURRENT_COMMAND:
                assert address != 0, "a set-point was broadcast"
                self._commanded[module].amps = int.from_bytes(data[4:], "big") / 1000.0
            elif data[1] == VOLTAGE_COMMAND:
                self._commanded[module].volts = int.from_bytes(data[4:], "big") / 1000.0

    @property
    def all_told_off(self) -> bool:
        return not any(each.on for each in self._commanded)

    # --- every latch edge: 1, 2, 5, 9 -----------------------------------------------------------------------------

    def _latched(self) -> None:
        image = self._chain.latched if self._chain.enabled else 0
        rising, self._image = image & ~self._image, image
        if not rising:
            return
        for module, column in enumerate(COLUMNS, 1):
            assert (image & column).bit_count() <= 1, f"1: two coils of module {module} are on"
        demand = self.station.core.demand
        assert demand._start.armed, "9: a coil is picked up before the station is armed"
        assert demand._watch.block is None, f"9: a coil is picked up while {demand._watch.block} stands"
        assert self.station.plant.estop_healthy, "9: a coil is picked up while the emergency stop is pressed"
        for index in range(CONTACTS):
            if rising >> index & 1:
                self.seen["closes"] += 1
                self._others_are_open(index)

    def _others_are_open(self, index: int) -> None:
        module = index % MODULES + 1
        contacts, feedback = self.station.plant.contacts, self.station.plant.feedback()
        for gun in range(GUNS):
            other = gun * MODULES + module - 1
            crosspoint = Crosspoint(gun + 1, module)
            if other == index or module in self.excuses.slammed:
                continue
            assert not contacts.closed[other], f"2: {crosspoint} is closed while its module is closed elsewhere"
            blind = crosspoint in self.excuses.contacts
            assert blind or not feedback >> other & 1, f"2: {crosspoint} is not proven open"

    # --- every step -----------------------------------------------------------------------------------------------

    def look(self, now_s: float) -> None:
        self.steps += 1
        self._one_contactor_a_module()
        self._referee(now_s)
        for gun in range(1, GUNS + 1):
            self._limit(gun, now_s)
            self._set_points_within_the_limit(gun)
            self._power_within_the_limit(gun, now_s)
            self._fault_opens(gun, now_s)

    def _one_contactor_a_module(self) -> None:
        closed = self.station.plant.contacts.closed
        if not any(closed):
            return
        for module in range(1, MODULES + 1):
            guns = [gun for gun in range(1, GUNS + 1) if closed[(gun - 1) * MODULES + module - 1]]
            assert len(guns) <= 1 or module in self.excuses.slammed, f"1: module {module} stands on guns {guns}"

    def _referee(self, now_s: float) -> None:
        violations = self.station.plant.violations
        while self._violations < len(violations):
            violation = violations[self._violations]
            self._violations += 1
            self.seen[violation.kind.value] += 1
            assert self._excused(violation, now_s), f"referee: {violation}"

    def _excused(self, violation: Violation, now_s: float) -> bool:
        excuses, (gun, module) = self.excuses, violation.crosspoint
        broken = module in excuses.slammed or violation.crosspoint in excuses.contacts
        if violation.kind in _CLOSES:  # 3
            jumped = violation.at_s - excuses.output_moved_s.get(gun, float("-inf")) < OUTPUT_JUMPS_S
            lied = gun in excuses.lying_guns or self._gun_lied_to(gun)
            # it was matched when it was told to close; while the poles travelled everything was switched off
            off_meanwhile = violation.kind is ViolationKind.CLOSE_UNMATCHED and self._forced(violation, gun)
            return broken or jumped or off_meanwhile or module in excuses.lying_modules or lied
        if violation.kind is ViolationKind.OPEN_LOADED:  # 4
            return broken or self._forced(violation, gun) or module in excuses.modules
        if violation.kind is ViolationKind.JOINED:
            return module in excuses.slammed
        return True  # the dispenser's own contactor is not ours

    def _forced(self, violation: Violation, gun: int) -> bool:
        return violation.at_s <= self.excuses.forced_until_s or self._in_emergency(gun)

    def _gun_lied_to(self, gun: int) -> bool:
        """A module on this gun tells a wrong voltage, and others were matched to it."""
        closed = self.station.plant.contacts.closed
        return any(closed[index_of(Crosspoint(gun, module))] for module in self.excuses.lying_modules)

    def _in_emergency(self, gun: int) -> bool:
        demand = self.station.core.demand
        return demand._controls[gun].emergency or gun in demand._core._memory.emergency

    # --- 6 and 7: limits ------------------------------------------------------------------------------------------

    def _limit(self, gun: int, now_s: float) -> None:
        control = self.station.core.demand._controls[gun]
        values = control.values
        asks = values.status in (VehicleStatus.NEVER_TOLD, VehicleStatus.WAITING, VehicleStatus.CHARGING)
        limits = [values.demand_kw or 0.0 if asks else 0.0, self.station.settings.power_limits.gun_max_power_kw[gun]]
        if control.commanded_kw is not None:
            limits.append(control.commanded_kw)
        site_kw = self.station.core.demand._site_limit_kw(now_s)
        if site_kw is not None:
            limits.append(site_kw)
        history = self._limits_kw[gun - 1]
        limit_kw = min(limits)
        if not history or history[-1][1] != limit_kw:
            history.append((now_s, limit_kw))
        while len(history) > 1 and history[1][0] < now_s - MET_WITHIN_S:
            history.popleft()

    def _highest_limit_kw(self, gun: int) -> float:
        return max(kw for _, kw in self._limits_kw[gun - 1])

    def _set_points_within_the_limit(self, gun: int) -> None:
        plant = self.station.plant
        bus = plant.guns[gun - 1]
        here = [m for m in range(MODULES) if plant.contacts.closed[(gun - 1) * MODULES + m]]
        on = [m for m in here if self._commanded[m].on and m + 1 not in self.excuses.slammed]
        if not on or bus.battery is None or self._gun_lied_to(gun):
            return
        amps = sum(self._commanded[m].amps for m in on)
        volts = bus.battery.ocv_v()
        kw = sum(self._commanded[m].amps * min(volts, self._commanded[m].volts) for m in on) / 1000.0
        limit_kw = self._highest_limit_kw(gun)
        searching = amps <= 2.01 + 1.0 * len(on)
        assert searching or kw <= limit_kw * 1.03 + 1.0, f"6: gun {gun} is set to {kw:.1f} kW, limit {limit_kw:.1f} kW"
        cable_a = self.station.settings.power_limits.gun_max_current_a[gun]
        assert amps <= cable_a + 0.1, f"6: gun {gun} is set to {amps:.1f} A, its cable carries {cable_a:.0f} A"

    def _power_within_the_limit(self, gun: int, now_s: float) -> None:
        bus = self.station.plant.guns[gun - 1]
        limit_kw = self._highest_limit_kw(gun)
        over = bus.power_w / 1000.0 > limit_kw * 1.1 + 4.0
        if not over:
            self._over_since_s[gun - 1] = None
            return
        since_s = self._over_since_s[gun - 1]
        if since_s is None:
            self._over_since_s[gun - 1] = since_s = now_s
        hangs = any(x.gun == gun for x in self.excuses.contacts) and bool(self.excuses.modules)
        lied = bool(self.excuses.lying_modules)
        late = now_s - since_s > OVER_AT_MOST_S and now_s > self.excuses.forced_until_s
        assert hangs or lied or not late, f"7: gun {gun} gives {bus.power_w / 1000:.1f} kW, may {limit_kw:.1f} kW"

    # --- 8: a gun in fault is open --------------------------------------------------------------------------------

    def _fault_opens(self, gun: int, now_s: float) -> None:
        fault = self.station.core.guns[gun].snapshot().values.status is VehicleStatus.FAULT
        if not fault or self.station.core.demand._start.armed is False:
            self._fault_since_s[gun - 1] = None
            return
        since_s = self._fault_since_s[gun - 1]
        if since_s is None:
            self._fault_since_s[gun - 1] = since_s = now_s
        if now_s - since_s < OPEN_WITHIN_S:
            return
        closed = self.station.plant.contacts.closed
        for module in range(1, MODULES + 1):
            crosspoint = Crosspoint(gun, module)
            if closed[index_of(crosspoint)] and crosspoint not in self.excuses.contacts:
                assert module in self.excuses.slammed, f"8: {crosspoint} is closed although its gun is in fault"
