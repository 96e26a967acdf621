"""Job: what is believed of one power module, from what it said and from what was sent to it.

Thread: whoever holds the lock of PowerModuleController (can-rx for readings, can-tx for what was sent). Lock: none of
its own. Units: in each name; times are monotonic seconds.

A reading counts only when we asked for it a moment ago, when it comes from the module that always answered here, and
when the value is physically possible. Everything else is counted under `counts` and leaves the belief as it was.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum

from planning.model import ModuleState, ModuleStatus
from planning.notebook import Notebook

#: A reading this far above the nameplate is a broken frame or a wrong make, not electricity.
IMPLAUSIBLE_VOLTAGE = 1.2
IMPLAUSIBLE_CURRENT = 1.5
IMPLAUSIBLE_POWER = 1.1
#: A module gives current when it measures so much; below is offset of the sensor.
CONDUCTS_A = 1.0
#: A module that was silent so long may have been exchanged; sooner, another identity is a second module.
EXCHANGE_S = 10.0
#: A refused address is taken back when only one module answered for so long.
REFUSAL_CLEARS_S = 60.0
#: Readings that do not move at all for so long, while the set-points did, come from a stuck sensor.
FROZEN_S = 60.0
FROZEN_MOVE = 10.0  # V or A
#: One frame tells a current in mA, another the same in tenths of an A.
ROUNDING = 0.2  # V or A
#: Commands that it refuses one after the other for so long: it is no accident any more.
REFUSES_S = 3.0
#: A module that does not tell what it holds is taken to hold the current when it gives nearly the set one.
CONSTANT_CURRENT_SHARE = 0.95
#: So many values that cannot be, within so long, are no broken frames any more: wrong make, wrong scale.
IMPOSSIBLE_TIMES = 4
IMPOSSIBLE_WITHIN_S = 5.0
IMPOSSIBLE_ROUNDS = 6.0
#: So many questions that got two answers, within so long, were answered by two modules. One may be a frame that CAN
#: sent twice: a disturbed last bit does that.
DOUBLE_ANSWERS = 3
DOUBLE_WITHIN_S = 10.0
#: An answer may be this late: while this computer stalled it lay in the socket, and others of its kind behind it.
LATE_ANSWER_S = 5.0
_NO_NAMES: frozenset[str] = frozenset()


class Doubt(Enum):
    """Why something that came from a module was not used."""

    UNASKED = "no question of the last moment asked for it"
    IMPLAUSIBLE = "value outside what the module can do"
    SECOND_IDENTITY = "another module answers at this address"
    REFUSED = "the module refused to do or to tell it"


@dataclass(frozen=True, slots=True)
class ViewLimits:
    """The make's and the site's numbers that a view needs."""

    max_v: float
    max_a: float
    power_kw: float
    silent_after_s: float
    answer_timeout_s: float
    round_s: float = 0.5
    unasked_age_s: float | None = None  # the make tells by itself, and what it tells is at most so old
    tells_loop: bool = True
    has_ranges: bool = True


class ModuleView:
    """See the file's head. `now_s` never goes back."""

    def __init__(self, module: int, enabled: bool, limits: ViewLimits, notebook: Notebook) -> None:
        self.module = module
        self.enabled = enabled
        self.counts: Counter[Doubt] = Counter()
        self.details: dict[str, float] = {}
        self._notebook = notebook
        self.heard_at_s: float | None = None
        #: it was first heard, or heard again after a silence: ask who it is
        self.introduce = False
        self.present_since_s = math.inf  # first heard, or heard again after a silence
        self.on: bool | None = None
        self.on_at_s: float | None = None
        self.on_asked_at_s: float | None = None
        self.on_echo_at_s: float | None = None
        self.off_echo_at_s: float | None = None
        self.set_echo_at_s: float | None = None
        self.low_range: bool | None = None
        self.low_range_asked_at_s: float | None = None
        self.alarms: frozenset[str] = _NO_NAMES
        self.warnings: frozenset[str] = _NO_NAMES
        self.more_warnings: frozenset[str] = _NO_NAMES
        self.set_on = False
        self.set_voltage_v = 0.0
        self.set_voltage_at_s = -math.inf
        self.set_current_a = 0.0
        self.resets = 0
        self.refused = False
        #: True until it showed off: before we heard it, an earlier program may have left it on
        self.may_be_on = True
        self.serial: str | None = None
        self._limits = limits
        self._last_on_at_s: float | None = None
        self._voltage = _Measured()
        self._current = _Measured()
        self._available_a: float | None = None
        self._constant_current = False
        self._asked: dict[Hashable, list[float]] = {}
        self._identity: int | None = None
        self._identity_at_s = -math.inf
        self._other_identity: int | None = None
        self._other_identity_at_s = -math.inf
        self._link_lost = False
        self._faults_before: frozenset[str] = _NO_NAMES
        self._same_serial_before = False
        self._moved_v = 0.0  # where the set-points were when the readings last moved
        self._moved_a = 0.0
        self._power_doubts = 0
        self._refuses_since_s: float | None = None
        self._answered_s: dict[Hashable, float] = {}  # signal -> when its last question was answered
        self._owed_s: dict[Hashable, list[float]] = {}  # signal -> questions not answered in time
        self._doubles_s: deque[float] = deque(maxlen=DOUBLE_ANSWERS)
        self._impossible_within_s = max(IMPOSSIBLE_WITHIN_S, IMPOSSIBLE_ROUNDS * limits.round_s)
        self._impossible_s: deque[float] = deque(maxlen=IMPOSSIBLE_TIMES)
        self._frozen = False
        self._unmoved_since_s: float | None = None
        self._changed = True
        self._was_silent = False
        self._status = ModuleStatus(module, ModuleState.UNHEARD)

    # --- questions and answers --------------------------------------------------------------------------------------

    def asked(self, signal: Hashable, now_s: float) -> None:
        """A request that gets a reply of this signal has left."""
        waiting = self._asked.setdefault(signal, [])
        while waiting and now_s - waiting[0] > self._limits.answer_timeout_s:
            self._owe(signal, waiting.pop(0), now_s)
        waiting.append(now_s)

    def answered(self, signal: Hashable, now_s: float) -> float | None:
        """When this reply was asked for; None: it was not, or too long ago.

        Of several open questions the oldest is taken: a reading must never look younger than it is. What a make tells
        by itself was so when the frame was built.
        """
        if self._limits.unasked_age_s is not None:
            return now_s - self._limits.unasked_age_s
        waiting = self._asked.get(signal)
        while waiting:
            asked_at_s = waiting.pop(0)
            if now_s - asked_at_s <= self._limits.answer_timeout_s:
                self._answered_s[signal] = asked_at_s
                return asked_at_s
            self._owe(signal, asked_at_s, now_s)
        self.counts[Doubt.UNASKED] += 1
        late = self._was_owed(signal, now_s)
        if not late and now_s - self._answered_s.get(signal, -math.inf) <= self._limits.answer_timeout_s:
            self._double_answer(now_s)
        return None

    def _owe(self, signal: Hashable, asked_at_s: float, now_s: float) -> None:
        """This question was not answered in time; the answer may still come."""
        owed = [at_s for at_s in self._owed_s.get(signal, ()) if now_s - at_s <= LATE_ANSWER_S]
        self._owed_s[signal] = [*owed, asked_at_s]

    def _was_owed(self, signal: Hashable, now_s: float) -> bool:
        """An answer that is late, or behind a late one: one more than was asked for, but no second module's."""
        owed = [at_s for at_s in self._owed_s.get(signal, ()) if now_s - at_s <= LATE_ANSWER_S]
        self._owed_s[signal] = owed[1:]
        return bool(owed)

    def _double_answer(self, now_s: float) -> None:
        """Of modules whose frames do not tell them apart this is the only sign, before their serials differ."""
        self._doubles_s.append(now_s)
        if len(self._doubles_s) == DOUBLE_ANSWERS and now_s - self._doubles_s[0] < DOUBLE_WITHIN_S:
            self._twin(now_s, "two modules answer at its address; give each its own address")

    def heard(self, now_s: float, identity: int | None) -> bool:
        """A valid frame of this address came. False: it is another module's than so far, its content must not count."""
        silent_s = math.inf if self.heard_at_s is None else now_s - self.heard_at_s
        if silent_s > self._limits.silent_after_s:
            self._returned(silent_s)
            self.present_since_s = now_s
        self.heard_at_s = now_s
        self._changed = True
        if self.may_be_on or self.set_on:
            self._last_on_at_s = now_s
        if identity is not None:
            return self._is_known(identity, now_s, silent_s)
        if self._other_identity is not None:
            self._judge_alone(now_s)
        return True

    def _returned(self, silent_s: float) -> None:
        self.introduce = True
        self.low_range = None if self._limits.has_ranges else False
        if self.heard_at_s is None:
            self._note(logging.DEBUG, "answers")
        else:
            self._note(logging.INFO, f"answers again after {silent_s:.1f} s")

    def _is_known(self, identity: int, now_s: float, silent_s: float) -> bool:
        if identity == self._identity:
            self._identity_at_s = now_s
            if self._other_identity is not None:
                self._judge_twin(now_s)
            return not self.refused
        if self._identity is None:
            self._adopt(identity, now_s)
        elif silent_s >= EXCHANGE_S or self._link_lost or now_s - self._identity_at_s >= EXCHANGE_S:
            self._note(logging.INFO, "was exchanged: another identity answers after the silence")
            self._adopt(identity, now_s)
            self.serial = None
            self.introduce = True
        else:
            self._other_identity, self._other_identity_at_s = identity, now_s
            self.counts[Doubt.SECOND_IDENTITY] += 1
            return False
        return not self.refused

    def _adopt(self, identity: int, now_s: float) -> None:
        self._identity, self._identity_at_s = identity, now_s
        self._other_identity = None
        self._link_lost = False

    def _judge_twin(self, now_s: float) -> None:
        """The known module answers although another one did: two modules share the address, or did once."""
        if now_s - self._other_identity_at_s < EXCHANGE_S:
            self._refuse("two modules answer at its address; give each its own address")
        else:
            self._judge_alone(now_s)

    def _judge_alone(self, now_s: float) -> None:
        if now_s - self._other_identity_at_s > REFUSAL_CLEARS_S:
            self._other_identity = None
            if self.refused:
                self.refused = False
                self._note(logging.INFO, "is alone at its address again")

    def _twin(self, now_s: float, why: str) -> None:
        """Another module was noticed, though not by its identity."""
        self._other_identity_at_s, self._other_identity = now_s, -1
        self._refuse(why)

    def _refuse(self, why: str) -> None:
        if not self.refused:
            self.refused = True
            self._changed = True
            self._note(logging.ERROR, f"is refused: {why}")

    def link_lost(self) -> None:
        """The bus was closed: no answer can be expected, and the module may be exchanged meanwhile."""
        self._asked.clear()
        self._owed_s.clear()
        self._link_lost = True

    # --- readings ---------------------------------------------------------------------------------------------------

    def take_voltage(self, voltage_v: float, now_s: float, asked_at_s: float) -> None:
        if not 0.0 <= voltage_v <= self._limits.max_v * IMPLAUSIBLE_VOLTAGE:
            self._impossible(now_s)
            return
        if self._voltage.take(voltage_v, now_s, asked_at_s):
            self._readings_moved()
        self._changed = True

    def take_current(self, current_a: float, now_s: float, asked_at_s: float) -> None:
        if not 0.0 <= current_a <= self._limits.max_a * IMPLAUSIBLE_CURRENT:
            self._impossible(now_s)
            return
        if self._current.take(current_a, now_s, asked_at_s):
            self._readings_moved()
        self._changed = True
        if current_a >= CONDUCTS_A:
            self.may_be_on = True
            self._last_on_at_s = now_s
        self._judge_power(current_a)

    def take_available(self, available_a: float) -> None:
        if not 0.0 <= available_a <= self._limits.max_a * IMPLAUSIBLE_CURRENT:
            self.counts[Doubt.IMPLAUSIBLE] += 1
            return
        self._available_a = available_a
        self._changed = True

    def _impossible(self, now_s: float) -> None:
        self.counts[Doubt.IMPLAUSIBLE] += 1
        self._impossible_s.append(now_s)
        self._changed = True

    def _judge_power(self, current_a: float) -> None:
        """Voltage and current of one moment may not multiply to more than the module has; two in a row, since they
        are not read at one moment while a set-point moves."""
        power_kw = (self._voltage.value or 0.0) * current_a / 1000.0
        self._power_doubts = self._power_doubts + 1 if power_kw > self._limits.power_kw * IMPLAUSIBLE_POWER else 0

    def take_status(
        self,
        on: bool,
        constant_current: bool,
        faults: frozenset[str],
        warnings: frozenset[str],
        same_serial: bool,
        now_s: float,
        asked_at_s: float,
    ) -> None:
        """A status word. A fault counts when two words in a row show it, and is gone when two do not."""
        if on:
            self.may_be_on = True
        elif not self.set_on and self.may_be_on:
            self.may_be_on = False
            self._last_on_at_s = now_s
        if on is not self.on and self.on is not None:
            self._note(logging.DEBUG, f"shows {'on' if on else 'off'}")
        self.on, self.on_at_s, self.on_asked_at_s = on, now_s, asked_at_s
        self._constant_current = constant_current
        self.warnings = warnings
        if faults or self.alarms or self._faults_before:
            self._debounce(faults)
        if same_serial and self._same_serial_before:
            self._twin(now_s, "it sees its own address or serial number on another module")
        self._same_serial_before = same_serial
        self._changed = True

    def _debounce(self, faults: frozenset[str]) -> None:
        alarms = (faults & self._faults_before) | (self.alarms & (faults | self._faults_before))
        self._faults_before = faults
        if alarms == self.alarms:
            return
        for name in sorted(alarms - self.alarms):
            self._note(logging.WARNING, f"reports the fault {name}")
        for name in sorted(self.alarms - alarms):
            self._note(logging.INFO, f"no longer reports {name}")
        self.alarms = alarms

    def take_range(self, low: bool | None, asked_at_s: float) -> None:
        self.low_range, self.low_range_asked_at_s = low, asked_at_s
        self._changed = True

    def take_serial(self, serial: str, now_s: float) -> None:
        if self.serial is None:
            self._note(logging.DEBUG, f"has the serial number {serial}")
        elif serial != self.serial:
            self.counts[Doubt.SECOND_IDENTITY] += 1
            self._twin(now_s, f"the serial numbers {self.serial} and {serial} answer at one address")
            return
        self.serial = serial
        self._changed = True

    def take_more_warnings(self, names: frozenset[str]) -> None:
        """A second status word, which comes in a frame of its own."""
        for name in sorted(names - self.more_warnings):
            self._note(logging.WARNING, f"warns of {name}")
        self.more_warnings = names
        self._changed = True

    def take_refusal(self, now_s: float, starting: bool, command: bool) -> None:
        """It answered that it does not. `starting`: not yet, which is no fault. `command`: not only a question."""
        if starting:
            return
        self.counts[Doubt.REFUSED] += 1
        if command and self._refuses_since_s is None:
            self._refuses_since_s = now_s
        self._changed = True

    def take_set_echo(self, now_s: float) -> None:
        """It accepted a set-point."""
        self.set_echo_at_s = now_s
        self._refuses_since_s = None
        self._changed = True

    def take_power_echo(self, on: bool, now_s: float) -> None:
        self._refuses_since_s = None
        if on:
            self.on_echo_at_s = now_s
        else:
            self.off_echo_at_s = now_s
        self._changed = True

    # --- what was sent ----------------------------------------------------------------------------------------------

    def sent_on(self, now_s: float) -> None:
        self.set_on = self.may_be_on = True
        self._last_on_at_s = now_s
        self._changed = True

    def sent_off(self, now_s: float) -> None:
        if self.set_on or self.may_be_on:
            self._last_on_at_s = now_s
        self.set_on = False
        self._changed = True

    def sent_setpoint(self, voltage_v: float | None, current_a: float | None, now_s: float) -> None:
        if voltage_v is not None and voltage_v != self.set_voltage_v:
            self.set_voltage_v, self.set_voltage_at_s = voltage_v, now_s
        if current_a is not None:
            self.set_current_a = current_a
        self._changed = True

    def restarted(self) -> None:
        """It went off by itself while it should be on."""
        self.resets += 1
        self._note(logging.WARNING, "went off by itself while it should be on; it stays off until it is ordered anew")
        self._changed = True

    # --- belief -----------------------------------------------------------------------------------------------------

    @property
    def unsettled(self) -> bool:
        """The last status word shows other faults than are believed: another word decides."""
        return self._faults_before != self.alarms

    @property
    def faulty(self) -> bool:
        """The last status word shows a fault, debounced or not."""
        return bool(self.alarms or self._faults_before)

    def silent(self, now_s: float) -> bool:
        """No frame for silent_after_s, or never one."""
        return self.heard_at_s is None or now_s - self.heard_at_s > self._limits.silent_after_s

    def freeze(self, now_s: float) -> ModuleStatus:
        """The belief as it is; a new object only when something changed."""
        silent = self.heard_at_s is not None and now_s - self.heard_at_s > self._limits.silent_after_s
        if silent and not self._was_silent:
            self._note(logging.WARNING, "is silent; it may still deliver")
        if self._changed or silent is not self._was_silent or (silent and self.may_be_on):
            self._was_silent = silent
            self._changed = False
            self._status = self._build(silent, now_s)
        return self._status

    def _state(self, silent: bool) -> ModuleState:
        if not self.enabled:
            return ModuleState.DISABLED
        if silent:
            return ModuleState.SILENT
        if self.refused:
            return ModuleState.REFUSED
        if self.on is None:
            return ModuleState.UNHEARD
        if self.alarms:
            return ModuleState.FAULT
        return ModuleState.ON if self.on else ModuleState.OFF

    def _build(self, silent: bool, now_s: float) -> ModuleStatus:
        if silent and self.may_be_on:
            self._last_on_at_s = now_s
        voltage, current = self._voltage, self._current
        return ModuleStatus(
            self.module,
            self._state(silent),
            heard_at_s=self.heard_at_s,
            on=self.on,
            on_at_s=self.on_at_s,
            on_asked_at_s=self.on_asked_at_s,
            off_echo_at_s=self.off_echo_at_s,
            last_on_at_s=self._last_on_at_s,
            voltage_v=voltage.value,
            voltage_at_s=voltage.at_s,
            voltage_asked_at_s=voltage.asked_at_s,
            voltage_before_v=voltage.before,
            voltage_before_at_s=voltage.before_at_s,
            current_a=current.value,
            current_at_s=current.at_s,
            current_asked_at_s=current.asked_at_s,
            current_before_a=current.before,
            current_before_at_s=current.before_at_s,
            available_a=self._available_a,
            constant_current=self._constant_current if self._limits.tells_loop else self._at_set_current(),
            low_range=self.low_range,
            set_on=self.set_on,
            set_voltage_v=self.set_voltage_v,
            set_voltage_at_s=self.set_voltage_at_s,
            set_current_a=self.set_current_a,
            resets=self.resets,
            serial=self.serial,
            alarms=tuple(sorted(self.alarms)) if self.alarms else (),
            warnings=self._all_warnings(now_s),
        )

    def _at_set_current(self) -> bool:
        amps = self._current.value
        return bool(self.on) and amps is not None and amps >= CONSTANT_CURRENT_SHARE * self.set_current_a > 0.0

    def _all_warnings(self, now_s: float) -> tuple[str, ...]:
        names = sorted(self.warnings | self.more_warnings) if self.warnings or self.more_warnings else []
        if self._refuses_since_s is not None and now_s - self._refuses_since_s > REFUSES_S:
            names.append("commands_refused")
        if self.on is False and (self._current.value or 0.0) >= CONDUCTS_A:
            names.append("off_but_delivers")
        if self._power_doubts >= 2:
            names.append("power_above_nameplate")
        if len(self._impossible_s) == IMPOSSIBLE_TIMES and now_s - self._impossible_s[0] < self._impossible_within_s:
            names.append("readings_impossible")
        if self._stands_still(now_s):
            names.append("readings_frozen")
        return tuple(names)

    def _stands_still(self, now_s: float) -> bool:
        """Once found it lasts until the readings move, also when the module was switched off for it."""
        moved = max(abs(self.set_voltage_v - self._moved_v), abs(self.set_current_a - self._moved_a)) > FROZEN_MOVE
        if not (moved and self.on):
            self._unmoved_since_s = None
        elif self._unmoved_since_s is None:
            self._unmoved_since_s = now_s  # a module that rested has its readings from before
        elif now_s - self._unmoved_since_s > FROZEN_S:
            self._frozen = True
        return self._frozen

    def _readings_moved(self) -> None:
        self._moved_v, self._moved_a = self.set_voltage_v, self.set_current_a
        self._unmoved_since_s, self._frozen = None, False

    def _note(self, level: int, text: str) -> None:
        self._notebook.note(level, f"Module {self.module} {text}")


class _Measured:
    """The last two values of one quantity."""

    __slots__ = ("asked_at_s", "at_s", "before", "before_at_s", "value")

    def __init__(self) -> None:
        self.value: float | None = None
        self.at_s: float | None = None
        self.asked_at_s: float | None = None
        self.before: float | None = None
        self.before_at_s: float | None = None

    def take(self, value: float, now_s: float, asked_at_s: float) -> bool:
        """True when it differs from the last one by more than one way of reading rounds it."""
        moved = self.value is None or abs(value - self.value) > ROUNDING
        self.before, self.before_at_s = self.value, self.at_s
        self.value, self.at_s, self.asked_at_s = value, now_s, asked_at_s
        return moved
