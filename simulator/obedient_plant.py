"""Job: a station without a will of its own: contactors and modules that do what the decisions say, in the times of the
real ones.

Thread: any. Lock: none. Units: ms of the run's own clock.

It answers with what the core takes for facts (contact states, Fact and GunFact bits), not with volts. The times are
medians of the simulated station. Faults of the recorded day stay where they do not follow from what was decided: a
contactor that welded or stuck does so from then on, a silent module is silent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from planning.contacts import bits_of
from planning.decision import Decision, DecisionCore
from planning.model import ContactState, VehicleStatus
from planning.reasons import BLOCKED
from planning.settings import Settings
from planning.transition import Fact, GunFact, Seat, Stage
from simulator.replay_account import serves

#: The control looks again so long after a decision.
REACT_MS = 20
#: Travel of the poles and the debounced feedback.
CONTACT_MS = 40
#: OFF on the wire, its echo, and a current that was read after it.
UNLOAD_MS = 100
#: Soft start and two readings below the bus; and the readings alone, for a module that came up during the search.
MATCH_MS, MATCHED_READINGS_MS = 3_400, 400
#: From ON to the first current: the voltage is told by the device, or searched from 150 V on at search_rate.
KNOWN_TOLD_MS, SOFT_START_MS, SEARCHED_V = 4_300, 1_400, 350.0
#: The output of a module falls below dead_voltage, and so does a bus by its bleeder.
COLD_MS, BLEED_MS = 4_000, 5_000

_CHARGES = (VehicleStatus.CHARGING.name, VehicleStatus.NEVER_TOLD.name)
_PRESENT = (*_CHARGES, VehicleStatus.WAITING.name)
_ON_STAGES = (Stage.MATCH, Stage.CLOSE_LIVE)


@dataclass(slots=True)
class _Contact:
    key: str
    state: ContactState = ContactState.OPEN
    coil: bool = False
    due_ms: int | None = None  # when it arrives
    arrives: ContactState = ContactState.OPEN
    welded: bool = False  # once closed it stays closed
    stuck: bool = False  # it does not close
    unknown: bool = False  # the feedback chain says nothing
    told: str = ContactState.OPEN.value  # as recorded

    @property
    def shown(self) -> ContactState:
        return ContactState.UNKNOWN if self.unknown else self.state


@dataclass(slots=True)
class _Gun:
    driving_since_ms: int | None = None
    driven_until_ms: int = -(10**12)
    emergency: bool = False  # as recorded


@dataclass(slots=True)
class _Module:
    on: bool = False
    last_on_ms: int = 0
    silent: bool = False


class ObedientPlant:
    """`hear` what the record says of it, `obey` each decision, `look` at `due_ms` and put what is new into the core."""

    def __init__(self, settings: Settings, begin_ms: int, telling: frozenset[int]) -> None:
        """`telling`: the guns whose devices tell voltages. What modules did before `begin_ms` nobody knows."""
        safety, self._module_count = settings.safety, settings.general.module_count
        self._close_timeout_ms = round(safety.close_timeout_s * 1000)
        self._open_timeout_ms = round(safety.open_timeout_s * 1000)
        self._rest_ms = round(safety.terminal_discharge_time_s * 1000)
        self._silent_open_ms = round(safety.silent_open_s * 1000)
        self._search_ms = SOFT_START_MS + round(SEARCHED_V / safety.search_rate_v_per_s * 1000)
        self._telling = telling
        guns, modules = range(1, settings.general.gun_count + 1), range(1, self._module_count + 1)
        self._guns = {gun: _Gun() for gun in guns}
        self._modules = {module: _Module(last_on_ms=begin_ms) for module in modules}
        self._contacts = [_Contact(f"x{gun}.{module}") for gun in guns for module in modules]
        self._moved: set[int] = set()  # contacts that may show something new
        self._coils = 0
        self._decision: Decision | None = None
        self._dues_ms: list[int] = []
        self._now_ms = begin_ms
        self.due_ms: int | None = begin_ms

    # --- what is recorded of it -----------------------------------------------------------------------------------

    def hear_contact(self, index: int, told: str, now_ms: int) -> None:
        """A contact state of the recorded day: faults count, what follows from its decisions does not."""
        contact, before = self._contacts[index], self._contacts[index].told
        self._moved.add(index)
        contact.told = told
        contact.unknown = told == ContactState.UNKNOWN.value
        if told == ContactState.INTRUDER.value or (told == ContactState.OPEN_FAILED.value and before != "o"):
            contact.welded = True
            if contact.state is ContactState.OPEN and not contact.coil:
                alone = told == ContactState.INTRUDER.value
                contact.state = ContactState.INTRUDER if alone else ContactState.OPEN_FAILED
        elif told == ContactState.OPEN_FAILED.value:
            contact.welded = True
            if not contact.coil and contact.state is ContactState.OPENING:
                contact.arrives, contact.due_ms = ContactState.OPEN_FAILED, now_ms + self._open_timeout_ms
        elif told == ContactState.CLOSE_FAILED.value:
            contact.stuck = True
        elif told == ContactState.DROPPED.value:
            contact.stuck = True
            if contact.state is ContactState.CLOSED:
                contact.state = ContactState.DROPPED
        elif told == ContactState.CLOSED.value:
            contact.stuck = False
        elif told == ContactState.OPEN.value and contact.welded:
            contact.welded = False
            if contact.state in (ContactState.OPEN_FAILED, ContactState.INTRUDER):
                contact.state = ContactState.OPEN

    def hear_reset(self) -> None:
        """A person has mended what stuck."""
        for contact in self._contacts:
            contact.stuck = False

    def hear_gun(self, gun: int, bits: int) -> None:
        self._guns[gun].emergency = bool(bits & GunFact.EMERGENCY)

    def hear_module(self, module: int, bits: int) -> None:
        """Silent from a reading that said so until it is available again."""
        if bits & Fact.LOST:
            self._modules[module].silent = True

    def hear_available(self, module: int, kw: int) -> None:
        if kw > 0:
            self._modules[module].silent = False

    # --- what it does ---------------------------------------------------------------------------------------------

    def obey(self, decision: Decision, now_ms: int) -> None:
        """The coils move; the rest follows when it is looked at."""
        self._decision = decision
        for index in bits_of(decision.coils ^ self._coils):
            self._moved.add(index)
            self._command(self._contacts[index], bool(decision.coils >> index & 1), now_ms)
        self._coils = decision.coils
        self.due_ms = now_ms + REACT_MS

    def _command(self, contact: _Contact, coil: bool, now_ms: int) -> None:
        contact.coil = coil
        if coil and contact.state is not ContactState.CLOSED:
            closes = contact.welded or not contact.stuck
            contact.state = ContactState.CLOSING
            contact.arrives = ContactState.CLOSED if closes else ContactState.CLOSE_FAILED
            contact.due_ms = now_ms + (CONTACT_MS if closes else self._close_timeout_ms)
        elif not coil and contact.state in (ContactState.CLOSED, ContactState.CLOSING):
            stays = contact.welded and contact.state is ContactState.CLOSED
            contact.state = ContactState.OPENING
            contact.arrives = ContactState.OPEN_FAILED if stays else ContactState.OPEN
            contact.due_ms = now_ms + (self._open_timeout_ms if stays else CONTACT_MS)
        elif not coil and contact.state in (ContactState.CLOSE_FAILED, ContactState.DROPPED):
            contact.state, contact.due_ms = ContactState.OPEN, None

    def look(self, core: DecisionCore, now_ms: int) -> None:
        """Put what has become of everything by now."""
        self._now_ms, self._dues_ms = now_ms, []
        self._look_at_contacts(core.put)
        decision = self._decision
        if decision is not None:
            for gun in self._guns:
                core.put(f"g{gun}f", int(self._gun_facts(gun, decision, core)))
            for seat, want in zip(core.sequencer.seats, decision.wants, strict=True):
                core.put(f"m{seat.module}f", int(self._module_facts(seat, want, decision)))
        self.due_ms = min(self._dues_ms, default=None)

    def _reached(self, at_ms: int) -> bool:
        """It is so late; else it is looked at then."""
        if self._now_ms >= at_ms:
            return True
        self._dues_ms.append(at_ms)
        return False

    def _look_at_contacts(self, put: Callable[[str, str], None]) -> None:
        for index in sorted(self._moved):
            contact = self._contacts[index]
            if contact.due_ms is not None and self._reached(contact.due_ms):
                contact.state, contact.due_ms = contact.arrives, None
            put(contact.key, contact.shown.value)
            if contact.due_ms is None:
                self._moved.discard(index)

    # --- guns -----------------------------------------------------------------------------------------------------

    def _gun_facts(self, number: int, decision: Decision, core: DecisionCore) -> GunFact:
        gun, seats = self._guns[number], decision.by_gun.get(number, ())
        self._drive(gun, number, seats, decision, core)
        bits = GunFact.EMERGENCY if gun.emergency else GunFact(0)
        if gun.driving_since_ms is not None:
            bits |= GunFact.DRIVING | GunFact.LIVE
            known_ms = KNOWN_TOLD_MS if number in self._telling else self._search_ms
            if self._reached(gun.driving_since_ms + known_ms):
                bits |= GunFact.VOLTAGE_KNOWN
            return bits
        fed = any(stage is Stage.CLOSE_LIVE for _, stage in seats)
        falls_ms = BLEED_MS if number in self._telling else UNLOAD_MS
        if fed or not self._reached(gun.driven_until_ms + falls_ms):
            return bits | GunFact.LIVE
        return bits | GunFact.TOLD_DEAD if number in self._telling else bits

    def _drive(
        self, gun: _Gun, number: int, seats: Sequence[tuple[int, Stage]], decision: Decision, core: DecisionCore
    ) -> None:
        """Whether the gun's modules are on, as planning/drive.py has it."""
        members = any(serves(decision, number, module, stage) for module, stage in seats)
        drives = members and not gun.emergency and self._asks(number, decision, core)
        if not drives:
            if gun.driving_since_ms is not None:
                gun.driving_since_ms, gun.driven_until_ms = None, self._now_ms
        elif gun.driving_since_ms is None and not any(stage is Stage.CLOSE_DEAD for _, stage in seats):
            gun.driving_since_ms = self._now_ms

    @staticmethod
    def _asks(number: int, decision: Decision, core: DecisionCore) -> bool:
        result = decision.allocation.guns[number - 1]
        if result.reason.code in BLOCKED:
            return False
        status, inputs = core.inputs[f"g{number}s"], core.inputs
        limit_kw = decision.targets_kw[number - 1] if result.share_kw is None else result.share_kw
        charges = status in _CHARGES and decision.targets_kw[number - 1] > 0.0 and limit_kw > 0.0
        waits = status == VehicleStatus.WAITING.name or not inputs[f"g{number}d"]
        return charges or (status in _PRESENT and bool(inputs[f"g{number}p"]) and waits)

    # --- modules --------------------------------------------------------------------------------------------------

    def _module_facts(self, seat: Seat, want: int, decision: Decision) -> Fact:
        module, stage = self._modules[seat.module], seat.stage
        self._note_on(module, seat, decision)
        if stage is Stage.FREE:
            return self._free_facts(module, seat) if want else Fact(0)
        bits = Fact.LOST if module.silent else Fact(0)
        if stage is Stage.MATCH and not module.silent and self._matched(seat):
            bits |= Fact.MATCHED
        if stage in (Stage.UNLOAD, Stage.BREAK) and not module.silent and self._reached(seat.since_ms + UNLOAD_MS):
            bits |= Fact.UNLOADED
        if stage is Stage.LOST and self._reached(seat.since_ms + self._silent_open_ms):
            bits |= Fact.BREAK_NOW
        return bits

    def _note_on(self, module: _Module, seat: Seat, decision: Decision) -> None:
        driven = bool(seat.gun) and self._guns[seat.gun].driving_since_ms is not None
        on = seat.stage in _ON_STAGES or (driven and serves(decision, seat.gun, seat.module, seat.stage))
        if module.on or on:
            module.last_on_ms = self._now_ms
        module.on = on

    def _free_facts(self, module: _Module, seat: Seat) -> Fact:
        if module.silent:
            return Fact.LOST
        bits = Fact(0)
        fed_ms = max(module.last_on_ms, -(10**12) if seat.parted_ms is None else seat.parted_ms)
        if self._reached(fed_ms + self._rest_ms):
            bits |= Fact.RESTED
        if self._reached(module.last_on_ms + COLD_MS):
            bits |= Fact.COLD
        return bits

    def _matched(self, seat: Seat) -> bool:
        since_ms = self._guns[seat.gun].driving_since_ms
        if since_ms is None:
            return False
        known_ms = since_ms + (KNOWN_TOLD_MS if seat.gun in self._telling else self._search_ms)
        return self._reached(max(seat.since_ms + MATCH_MS, known_ms + MATCHED_READINGS_MS))
