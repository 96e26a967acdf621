"""Job: a planner gone mad against a cabinet that breaks and heals, judged by an oracle of its own.

Thread: the test's. Lock: none. Units: s, V, A. The oracle knows what the storm told and what the metal does; it shares
no constant and no line with the interlock. Every answer is compared: a close that may not be, and a wrong reason for a
refusal, since a person mends the cabinet by it.
"""

from __future__ import annotations

import dataclasses
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from cabinet import Cabinet, matched_module, off_module

from planning.model import CloseEvidence, CloseRefusal, Crosspoint, ModuleState, ModuleStatus

GUNS, MODULES = 6, 9
CONTACTS = GUNS * MODULES
COLUMNS = [sum(1 << gun * MODULES + module for gun in range(GUNS)) for module in range(MODULES)]
ROWS = [sum(1 << gun * MODULES + module for module in range(MODULES)) for gun in range(GUNS)]
IN_COLUMN = [tuple(gun * MODULES + module for gun in range(GUNS)) for module in range(MODULES)]
IN_ROW = [tuple(gun * MODULES + module for module in range(MODULES)) for gun in range(GUNS)]
#: A contact that was told or seen anything but open within this time may still count as not proven open.
SETTLE_S = 0.26
STEP_S = 0.01
PICKUPS, PICKUP_S = 4, 0.25
NAN = float("nan")

Told = Callable[[int, float], CloseEvidence]
Verdict = CloseRefusal | None


def _off(**spoiled: Any) -> Callable[[int, float], ModuleStatus]:
    return lambda module, now_s: dataclasses.replace(off_module(module, now_s), **spoiled)


def _on(**spoiled: Any) -> Callable[[int, float], ModuleStatus]:
    return lambda module, now_s: dataclasses.replace(matched_module(module, now_s), **spoiled)


def _told(
    status: Callable[[int, float], ModuleStatus], bus_v: float | None, told_v: float | None, live: bool = False
) -> Told:
    return lambda module, now_s: CloseEvidence(status(module, now_s), bus_v, told_v, live)


def on_before(ago_s: float, told_dead_before_s: float | None = None) -> Told:
    """Off and dead by its meter, on until `ago_s`; its own closed bus was told dead before."""

    def told(module: int, now_s: float) -> CloseEvidence:
        status = dataclasses.replace(off_module(module, now_s), last_on_at_s=now_s - ago_s)
        dead_at_s = None if told_dead_before_s is None else now_s - told_dead_before_s
        return CloseEvidence(status, 3.0, 3.0, False, told_dead_at_s=dead_at_s)

    return told


#: What is told, and the only right answer when the contacts have nothing against it. A matched module's bus has 400 V.
DEAD_GOOD = _told(_off(), 3.0, 3.0)
RESTED_GOOD = (on_before(10.1), on_before(1.0, told_dead_before_s=0.5))
LIVE_GOOD = _told(_on(), 400.0, None, True)
SPOILED: dict[str, tuple[Told, CloseRefusal]] = {
    "off: status unknown": (_told(_off(on=None), 3.0, 3.0), CloseRefusal.MODULE_NOT_OFF),
    "off: it is on": (_told(_off(on=True), 3.0, 3.0), CloseRefusal.MODULE_NOT_OFF),
    "off: told on": (_told(_off(set_on=True), 3.0, 3.0), CloseRefusal.MODULE_NOT_OFF),
    "off: old status": (_told(_off(on_at_s=0.0), 3.0, 3.0), CloseRefusal.MODULE_NOT_OFF),
    "off: never a status": (_told(_off(on_at_s=None), 3.0, 3.0), CloseRefusal.MODULE_NOT_OFF),
    "off: two on one address": (_told(_off(state=ModuleState.REFUSED), 3.0, 3.0), CloseRefusal.MODULE_NOT_OFF),
    "off: charged": (_told(_off(voltage_v=300.0), 3.0, 3.0), CloseRefusal.MODULE_NOT_DEAD),
    "off: just above dead": (_told(_off(voltage_v=60.0), 3.0, 3.0), CloseRefusal.MODULE_NOT_DEAD),
    "off: no number": (_told(_off(voltage_v=NAN), 3.0, 3.0), CloseRefusal.MODULE_NOT_DEAD),
    "off: no voltage": (_told(_off(voltage_v=None), 3.0, 3.0), CloseRefusal.MODULE_NOT_DEAD),
    "off: old voltage": (_told(_off(voltage_at_s=0.0), 3.0, 3.0), CloseRefusal.MODULE_NOT_DEAD),
    "off: on nine seconds ago": (on_before(9.0), CloseRefusal.MODULE_NOT_RESTED),
    "off: on since the bus was told dead": (on_before(5.0, told_dead_before_s=6.0), CloseRefusal.MODULE_NOT_RESTED),
    "bus told alive": (_told(_off(), 400.0, 400.0), CloseRefusal.BUS_NOT_DEAD),
    "bus told just alive": (_told(_off(), 60.0, 60.0), CloseRefusal.BUS_NOT_DEAD),
    "bus told no number": (_told(_off(), 400.0, NAN), CloseRefusal.BUS_NOT_DEAD),
    "bus measured alive though told dead": (_told(_off(), 400.0, 3.0), CloseRefusal.BUS_NOT_DEAD),
    "bus measured alive, nothing told": (_told(_off(), 400.0, None), CloseRefusal.BUS_NOT_DEAD),
    "a live module though told dead": (_told(_off(), None, 3.0, True), CloseRefusal.NEED_VOLTAGE),
    "a live module, nothing known": (_told(_on(), None, None, True), CloseRefusal.NEED_VOLTAGE),
    "live: it is off": (_told(_on(on=False), 400.0, None, True), CloseRefusal.BUS_NOT_DEAD),
    "live: status unknown": (_told(_on(on=None), 400.0, None, True), CloseRefusal.MODULE_NOT_ON),
    "live: old status": (_told(_on(on_at_s=0.0), 400.0, None, True), CloseRefusal.MODULE_NOT_ON),
    "live: two on one address": (_told(_on(state=ModuleState.REFUSED), 400.0, None, True), CloseRefusal.MODULE_NOT_ON),
    "live: not limited": (_told(_on(set_current_a=20.0), 400.0, None, True), CloseRefusal.MODULE_LOADED),
    "live: gives current": (_told(_on(current_a=12.0), 400.0, None, True), CloseRefusal.MODULE_LOADED),
    "live: no current known": (_told(_on(current_a=None), 400.0, None, True), CloseRefusal.MODULE_LOADED),
    "live: current no number": (_told(_on(current_a=NAN), 400.0, None, True), CloseRefusal.MODULE_LOADED),
    "live: old current": (_told(_on(current_at_s=0.0), 400.0, None, True), CloseRefusal.MODULE_LOADED),
    "live: set too high": (_told(_on(set_voltage_v=400.0), 400.0, None, True), CloseRefusal.NOT_MATCHED),
    "live: above the bus": (_told(_on(voltage_v=400.5), 400.0, None, True), CloseRefusal.NOT_MATCHED),
    "live: far below": (_told(_on(voltage_v=379.5), 400.0, None, True), CloseRefusal.NOT_MATCHED),
    "live: no voltage": (_told(_on(voltage_v=None), 400.0, None, True), CloseRefusal.NOT_MATCHED),
    "live: above before": (_told(_on(voltage_before_v=400.5), 400.0, None, True), CloseRefusal.NOT_MATCHED),
    "live: far below before": (_told(_on(voltage_before_v=379.5), 400.0, None, True), CloseRefusal.NOT_MATCHED),
    "live: old voltage": (_told(_on(voltage_at_s=0.0), 400.0, None, True), CloseRefusal.NOT_MATCHED),
    "live: old voltage before": (_told(_on(voltage_before_at_s=0.0), 400.0, None, True), CloseRefusal.NOT_MATCHED),
    "live: no voltage before": (_told(_on(voltage_before_at_s=None), 400.0, None, True), CloseRefusal.NOT_MATCHED),
}  # fmt: skip


def one_reading_twice(module: int, now_s: float) -> CloseEvidence:
    status = matched_module(module, now_s)
    return CloseEvidence(dataclasses.replace(status, voltage_before_at_s=status.voltage_at_s), 400.0, None, True)


def read_before_set(module: int, now_s: float) -> CloseEvidence:
    status = matched_module(module, now_s)
    assert status.voltage_asked_at_s is not None
    return CloseEvidence(dataclasses.replace(status, set_voltage_at_s=status.voltage_asked_at_s), 400.0, None, True)


def set_and_never_asked(module: int, now_s: float) -> CloseEvidence:
    status = matched_module(module, now_s)
    return CloseEvidence(
        dataclasses.replace(status, set_voltage_at_s=now_s, voltage_asked_at_s=None), 400.0, None, True
    )


SPOILED["live: read before it was set"] = (read_before_set, CloseRefusal.NOT_MATCHED)
SPOILED["live: set, and never asked"] = (set_and_never_asked, CloseRefusal.NOT_MATCHED)
SPOILED["live: one reading told twice"] = (one_reading_twice, CloseRefusal.NOT_MATCHED)
SPOILED_NAMES = tuple(SPOILED)


class Storm:
    """All by one seed. `step` breaks, heals, opens, asks, and judges; AssertionError names what was wrong."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.cabinet = Cabinet(seed=seed)
        self.asked = self.accepted = self.refused = 0
        self.armed = False
        self.out_of_service = 0
        self.busy_s = [float("-inf")] * CONTACTS  # when each was last told or seen anything but open
        self.chain_bad = False
        self.settled_at_s = float("inf")  # since when the chain has been read right
        self.pickups_s: deque[float] = deque(maxlen=PICKUPS)
        self.start()

    def start(self) -> None:
        """Nothing closes before the station is armed, whatever is asked."""
        cabinet = self.cabinet
        cabinet.contactors.prepare(cabinet.now_s)
        self.run(30, healthy=False)
        for enable in (False, True):
            if enable:
                cabinet.contactors.enable_outputs(cabinet.now_s)
            for _ in range(3):
                self.ask()
                self.run(2, healthy=False)
        cabinet.contactors.arm()
        self.armed = True

    # --- one step -------------------------------------------------------------------------------------------------

    def step(self) -> None:
        roll = self.rng.random
        self.run(1, healthy=roll() < 0.9)
        if roll() < 0.25:
            self.ask()
        if roll() < 0.01:
            self.burst()
        if roll() < 0.30:
            self.open_something()
        if roll() < 0.04:
            self.break_something()
        if roll() < 0.12:
            self.heal()
        if roll() < 0.02:
            self.rng.choice((self.slam, self.bounce, self.change_its_mind))()
        if roll() < 0.01:
            self.stand_still()
        if roll() < 0.01:
            self.take_out_or_restore()
        self.check()

    def run(self, steps: int, healthy: bool = True) -> None:
        cabinet = self.cabinet
        for _ in range(steps):
            cabinet.run(STEP_S, healthy=healthy)
            self.note_busy()

    def note_busy(self) -> None:
        gpio, now_s = self.cabinet.gpio, self.cabinet.now_s
        busy = gpio.coils | gpio.feedback_inputs
        while busy:
            lowest = busy & -busy
            self.busy_s[lowest.bit_length() - 1] = now_s
            busy ^= lowest

    # --- asking and judging ---------------------------------------------------------------------------------------

    def ask(self) -> Verdict:
        crosspoint = Crosspoint(self.rng.randint(1, GUNS), self.pick_module())
        return self.judge(crosspoint, *self.evidence(crosspoint))

    def ask_nicely(self, crosspoint: Crosspoint) -> Verdict:
        """With readings against which nothing can be said."""
        return self.judge(crosspoint, DEAD_GOOD(crosspoint.module, self.cabinet.now_s), None)

    def judge(self, crosspoint: Crosspoint, told: CloseEvidence, verdict: Verdict) -> Verdict:
        module = crosspoint.module
        allowed = self.allowed(crosspoint, verdict)
        coils_before = self.cabinet.gpio.coils
        answer = self.cabinet.contactors.request_close(crosspoint, told, self.cabinet.now_s)
        self.asked += 1
        assert answer in allowed, f"{crosspoint}: {answer}, but only {allowed} is right for {told}"
        if answer is None:
            self.accepted += 1
            self.pickups_s.append(self.cabinet.now_s)
            metal = self.cabinet.gpio.feedback_inputs
            assert not (metal | coils_before) & COLUMNS[module - 1], f"{crosspoint} closed, its module was not free"
            assert self.cabinet.gpio.coils == coils_before | self.cabinet.bit(crosspoint)
            self.note_busy()
        else:
            self.refused += 1
            assert self.cabinet.gpio.coils == coils_before
        return answer

    def burst(self) -> None:
        """More at once than the coil supply carries."""
        for _ in range(8):
            self.ask()

    def pick_module(self) -> int:
        """Mostly a free one, or nothing would ever be accepted."""
        if self.rng.random() < 0.85:
            first = self.rng.randrange(MODULES)
            for module in (*range(first, MODULES), *range(first)):
                if all(self.settled(index) for index in IN_COLUMN[module]):
                    return module + 1
        return self.rng.randint(1, MODULES)

    def evidence(self, crosspoint: Crosspoint) -> tuple[CloseEvidence, Verdict]:
        """What is told, and what a free contactor must be answered."""
        module, now_s, roll = crosspoint.module, self.cabinet.now_s, self.rng.random()
        if roll < 0.25:
            return DEAD_GOOD(module, now_s), None
        if roll < 0.35:
            return self.rng.choice(RESTED_GOOD)(module, now_s), None
        if roll < 0.70:
            return LIVE_GOOD(module, now_s), None
        if roll < 0.75:  # nothing told at all: good on a gun without any contact, unknown on any other
            told = CloseEvidence(off_module(module, now_s), None, None, False)
            return told, None if self.is_dark(crosspoint.gun) else CloseRefusal.NEED_VOLTAGE
        name = self.rng.choice(SPOILED_NAMES)
        spoiled, refusal = SPOILED[name]
        return spoiled(module, now_s), refusal

    def is_dark(self, gun: int) -> bool | None:
        """No contact of the gun is or was anything but open; None: it was a moment ago, either is right."""
        gpio = self.cabinet.gpio
        if (gpio.coils | gpio.feedback_inputs) & ROWS[gun - 1]:
            return False
        return all(self.settled(index) for index in IN_ROW[gun - 1]) or None

    def allowed(self, crosspoint: Crosspoint, verdict: Verdict) -> set[Verdict]:
        """The right answers; more than one only while a contact is on its way."""
        cabinet, now_s = self.cabinet, self.cabinet.now_s
        if not self.armed:
            return {CloseRefusal.NOT_ARMED}
        if not cabinet.gpio.emergency_stop_healthy:
            return {CloseRefusal.EMERGENCY_STOP}
        if self.chain_bad:
            return {CloseRefusal.FEEDBACK_INVALID}
        if now_s - self.settled_at_s < 0.06:
            return {CloseRefusal.FEEDBACK_INVALID, *self.by_contacts(crosspoint, verdict)}
        return self.by_contacts(crosspoint, verdict)

    def by_contacts(self, crosspoint: Crosspoint, verdict: Verdict) -> set[Verdict]:
        bit, column = self.cabinet.bit(crosspoint), COLUMNS[crosspoint.module - 1]
        others = column & ~bit
        present = self.cabinet.gpio.coils | self.cabinet.gpio.feedback_inputs
        if self.out_of_service & bit:
            return {CloseRefusal.OUT_OF_SERVICE}
        if (present | self.out_of_service) & others:
            return {CloseRefusal.MODULE_ELSEWHERE}
        unsure: set[Verdict] = set()
        own = bit.bit_length() - 1
        if not all(self.settled(index) for index in IN_COLUMN[crosspoint.module - 1] if index != own):
            unsure.add(CloseRefusal.MODULE_ELSEWHERE)
        if present & bit:
            return {CloseRefusal.NOT_PROVEN_OPEN, *unsure}
        if not self.settled(own):
            unsure.add(CloseRefusal.NOT_PROVEN_OPEN)
        if verdict is CloseRefusal.NEED_VOLTAGE and self.is_dark(crosspoint.gun) is None:
            unsure |= {None, CloseRefusal.PICKUPS}
        full = len(self.pickups_s) == PICKUPS and self.cabinet.now_s - self.pickups_s[0] < PICKUP_S - 1e-6
        return {CloseRefusal.PICKUPS if full and verdict is None else verdict, *unsure}

    def settled(self, index: int) -> bool:
        return self.cabinet.now_s - self.busy_s[index] > SETTLE_S

    # --- what happens besides -------------------------------------------------------------------------------------

    def open_something(self) -> None:
        commanded = list(_bits(self.cabinet.gpio.coils))
        if commanded:
            index = self.rng.choice(commanded)
            crosspoint = Crosspoint(index // MODULES + 1, index % MODULES + 1)
            self.cabinet.contactors.request_open(crosspoint, self.cabinet.now_s)
            assert not self.cabinet.gpio.coils & self.cabinet.bit(crosspoint)

    def break_something(self) -> None:
        cabinet, index = self.cabinet, self.rng.randrange(CONTACTS)
        chain = cabinet.gpio.input_chain
        assert chain is not None
        match self.rng.randrange(6):
            case 0 | 1:  # what is closed now welds, or opens late
                cabinet.held_closed |= cabinet.gpio.feedback_inputs
            case 2:
                cabinet.held_open |= 1 << index & ~cabinet.gpio.feedback_inputs
            case 3:
                chain.flipped, self.chain_bad = 1 << self.rng.randint(54, 63), True
            case 4:
                chain.edges_gained, self.chain_bad = self.rng.choice((-1, 1)), True
            case _:
                cabinet.gpio.emergency_stop_healthy = False
        self.run(6, healthy=False)

    def heal(self) -> None:
        cabinet = self.cabinet
        chain = cabinet.gpio.input_chain
        assert chain is not None
        cabinet.held_closed = cabinet.held_open = 0
        chain.flipped = chain.edges_gained = 0
        if self.chain_bad:
            self.chain_bad, self.settled_at_s = False, cabinet.now_s
        elif self.settled_at_s == float("inf"):
            self.settled_at_s = cabinet.now_s
        cabinet.gpio.emergency_stop_healthy = True
        self.run(1)

    def slam(self) -> None:
        """A contactor closes by itself; the next close is asked for before its feedback has settled."""
        crosspoint = Crosspoint(self.rng.randint(1, GUNS), self.pick_module())
        if not all(self.settled(index) for index in IN_COLUMN[crosspoint.module - 1]):
            return
        self.cabinet.held_closed |= self.cabinet.bit(crosspoint)
        self.run(1)
        self.ask_nicely(self.other(crosspoint))
        self.run(8)

    def bounce(self) -> None:
        """A contact that hangs lets go for one reading; the next close is asked for in just this moment."""
        cabinet = self.cabinet
        hanging = cabinet.held_closed & cabinet.gpio.feedback_inputs & ~cabinet.gpio.coils
        if not hanging:
            return
        bit = hanging & -hanging
        index = bit.bit_length() - 1
        cabinet.held_closed &= ~bit
        self.run(1)
        accepted = self.ask_nicely(self.other(Crosspoint(index // MODULES + 1, index % MODULES + 1))) is None
        cabinet.held_closed |= bit
        self.run(1)
        self.check()
        assert not accepted, "a bounce was taken for open"

    def change_its_mind(self) -> None:
        """Told to close and to open before it moved, it closes all the same and hangs there for a while."""
        crosspoint = Crosspoint(self.rng.randint(1, GUNS), self.pick_module())
        if self.ask_nicely(crosspoint) is not None:
            return
        self.run(1)
        self.cabinet.contactors.request_open(crosspoint, self.cabinet.now_s)
        accepted = self.ask_nicely(self.other(crosspoint)) is None
        self.cabinet.held_closed |= self.cabinet.bit(crosspoint)
        self.run(6)
        self.check()
        assert not accepted, "a contactor on its way up was taken for open"

    def other(self, crosspoint: Crosspoint) -> Crosspoint:
        """Another gun of the same module."""
        return Crosspoint((crosspoint.gun + self.rng.randint(0, GUNS - 2)) % GUNS + 1, crosspoint.module)

    def stand_still(self) -> None:
        """The loop is held up, and meanwhile a contactor closes: what was read before proves nothing any more."""
        crosspoint = Crosspoint(self.rng.randint(1, GUNS), self.pick_module())
        if not all(self.settled(index) for index in IN_COLUMN[crosspoint.module - 1]):
            return
        self.cabinet.now_s += 0.5
        self.cabinet.held_closed |= self.cabinet.bit(crosspoint)
        self.cabinet.move_contacts()
        self.note_busy()
        self.ask_nicely(self.other(crosspoint))
        self.run(30)

    def take_out_or_restore(self) -> None:
        contactors, gone = self.cabinet.contactors, self.rng.random() < 0.5
        if gone and not self.out_of_service:
            index = self.rng.randrange(CONTACTS)
            self.out_of_service |= 1 << index
            contactors.take_out_of_service(Crosspoint(index // MODULES + 1, index % MODULES + 1))
        else:
            self.out_of_service = 0
            contactors.restore_all()

    def check(self) -> None:
        coils, metal = self.cabinet.gpio.coils, self.cabinet.gpio.feedback_inputs
        for column in COLUMNS:
            assert ((coils | metal) & column).bit_count() <= 1, "two guns are joined"


def _bits(mask: int) -> list[int]:
    return [index for index in range(CONTACTS) if mask >> index & 1]
