"""Job: which modules cannot be believed or do not obey: judged from what they tell against what they were set to.

Thread: control (or any one at a time). Lock: none. Units: V, A, s (monotonic).

A module in doubt is not planned with: its gun goes on with others. Each rule waits until the contradiction has lasted,
since readings and set-points are never of the same moment.
"""

from __future__ import annotations

from collections.abc import Sequence

from planning.faults import FaultBook, FaultCode
from planning.model import ModuleState, ModuleStatus
from planning.settings import Safety

#: Against set-points of this stretch a reading is held: it may be that old, and the module needs a moment (rule 7.7).
CURRENT_WINDOW_S = 3.0
#: An unloaded output falls with its bleeder alone: 1000 V to 60 V in 3 to 5 s (makes' data sheets).
VOLTAGE_WINDOW_S = 6.0
#: Rule 7.7 asks for two readings 1 s apart; they come every 0.5 s, give or take some ms. The module shall be found
#: before its gun is stopped for it.
APART_S = 0.9
#: Output 6 to 8 s after ON at the latest (makes' data sheets).
RISE_S = 8.0
RISE_LEAD_V = 40.0
#: A module that comes along with a search lags by what its set-point rises meanwhile: what was set before counts.
RISE_WINDOW_S = 2.0
#: A status word and a current are read up to 0.5 s apart, and a current falls within milliseconds after OFF.
OFF_DELIVERS_S = 3.0
#: In constant current the current is the set one. Half of it is no tolerance of any meter.
CONSTANT_CURRENT_SHARE = 0.5
CONSTANT_CURRENT_LEAST_A = 10.0
#: Below this nothing of note flows: offset of the sensor.
CONDUCTS_A = 1.0

#: In any of these no new duty is given to the module.
_DOUBTS = (
    FaultCode.MODULE_READINGS_FROZEN,
    FaultCode.MODULE_DISOBEYS,
    FaultCode.MODULE_IMPLAUSIBLE,
    FaultCode.MODULE_OFF_NOT_CONFIRMED,
)
#: What PowerModuleController says of readings that it did not use or does not believe.
_IMPOSSIBLE = frozenset({"power_above_nameplate", "readings_impossible"})


class Lasting:
    """A condition that counts only when it has held from one reading to another."""

    __slots__ = ("_since_s",)

    def __init__(self) -> None:
        self._since_s: float | None = None

    def holds(self, present: bool, at_s: float, for_s: float) -> bool:
        """`at_s`: when the reading came that shows it."""
        if not present:
            self._since_s = None
            return False
        if self._since_s is None:
            self._since_s = at_s
        return at_s - self._since_s >= for_s


class _SetPoints:
    """The set-points of the last seconds of one quantity."""

    __slots__ = ("_before", "_now", "_window_s")

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._now = 0.0
        self._before: list[tuple[float, float]] = []  # (when it was replaced, value)

    def take(self, value: float, now_s: float) -> None:
        if value != self._now:
            self._before.append((now_s, self._now))
            self._now = value
        if self._before and now_s - self._before[0][0] > self._window_s:
            self._before = [each for each in self._before if now_s - each[0] <= self._window_s]

    @property
    def highest(self) -> float:
        return max(self._now, *(value for _, value in self._before)) if self._before else self._now

    def lowest_since(self, since_s: float) -> float:
        """Of those that were set at some time since then; no further back than the window."""
        return min([self._now, *(value for at_s, value in self._before if at_s >= since_s)])

    @property
    def lowest(self) -> float:
        return min(self._now, *(value for _, value in self._before)) if self._before else self._now


class _Module:
    """What is remembered of one module."""

    __slots__ = (
        "constant", "current", "delivers", "impossible", "over_a", "over_v", "rises", "seen", "stays_on", "voltage",
    )  # fmt: skip

    def __init__(self) -> None:
        self.current = _SetPoints(CURRENT_WINDOW_S)
        self.voltage = _SetPoints(VOLTAGE_WINDOW_S)
        self.over_a, self.over_v, self.rises = Lasting(), Lasting(), Lasting()
        self.impossible, self.delivers, self.constant, self.stays_on = Lasting(), Lasting(), Lasting(), Lasting()
        self.seen: ModuleStatus | None = None


class ModuleTrust:
    """Raises the faults of modules that lie or do not obey; `doubted` says whether new duty may be given."""

    def __init__(self, module_count: int, safety: Safety, faults: FaultBook) -> None:
        self._modules = tuple(_Module() for _ in range(module_count))
        self._safety = safety
        self._faults = faults

    def doubted(self, module: int) -> bool:
        where = f"m{module}"
        return any(self._faults.stands(code, where) for code in _DOUBTS)

    def look(self, modules: Sequence[ModuleStatus], now_s: float) -> None:
        """Take new readings; a module of which nothing new came costs one comparison."""
        for status, known in zip(modules, self._modules, strict=True):
            if status is not known.seen:
                known.seen = status
                self._judge(status, known, now_s)

    def _judge(self, status: ModuleStatus, known: _Module, now_s: float) -> None:
        where = f"m{status.module}"
        known.current.take(status.set_current_a if status.set_on else 0.0, now_s)
        known.voltage.take(status.set_voltage_v if status.set_on else 0.0, now_s)
        frozen = "readings_frozen" in status.warnings
        self._faults.set(FaultCode.MODULE_READINGS_FROZEN, where, frozen, now_s)
        if frozen or status.state is ModuleState.SILENT:
            return  # what it says is of before, and held against nothing
        disobeys = self._disobeys(status, known, now_s)
        if disobeys:
            self._faults.raise_fault(FaultCode.MODULE_DISOBEYS, where, now_s, disobeys)
        lies = self._lies(status, known, now_s)
        if lies:
            self._faults.raise_fault(FaultCode.MODULE_IMPLAUSIBLE, where, now_s, lies)

    def _disobeys(self, status: ModuleStatus, known: _Module, now_s: float) -> str:
        """What it does against its set-points, in words; '' when it obeys."""
        amps, volts = status.current_a, status.voltage_v
        if amps is None or volts is None or status.current_at_s is None or status.voltage_at_s is None:
            return ""
        safety = self._safety
        highest_a, highest_v = known.current.highest, known.voltage.highest
        margin_a = max(highest_a * safety.over_percent_pct / 100.0, safety.over_current_a)
        if known.over_a.holds(amps > highest_a + margin_a, status.current_at_s, APART_S):
            return f"it gives {amps:.0f} A, set to {highest_a:.0f} A"
        if "commands_refused" in status.warnings:
            return "it refuses what it is told"
        told_at_s = status.on_at_s if status.on_at_s is not None else status.current_at_s
        if known.stays_on.holds(bool(status.on) and not status.set_on, told_at_s, OFF_DELIVERS_S):
            return "it stays on although told OFF"
        driven = bool(status.on) and status.set_on
        over_v = driven and volts > highest_v + safety.voltage_margin_v
        if known.over_v.holds(over_v, status.voltage_at_s, APART_S):
            return f"it gives {volts:.0f} V, set to {highest_v:.0f} V"
        fed = status.set_current_a >= CONDUCTS_A and amps < CONDUCTS_A and not status.constant_current
        low = driven and fed and volts < known.voltage.lowest_since(now_s - RISE_WINDOW_S) - RISE_LEAD_V
        if known.rises.holds(low, status.voltage_at_s, RISE_S):
            return f"it stays at {volts:.0f} V, set to {status.set_voltage_v:.0f} V"
        return ""

    def _lies(self, status: ModuleStatus, known: _Module, now_s: float) -> str:
        """What it tells that cannot be, in words; '' when all fits."""
        impossible = [name for name in status.warnings if name in _IMPOSSIBLE]
        if known.impossible.holds(bool(impossible), now_s, APART_S):
            return impossible[0].replace("_", " ")
        amps, at_s = status.current_a, status.current_at_s
        if amps is None or at_s is None:
            return ""
        if known.delivers.holds(status.on is False and amps >= CONDUCTS_A, at_s, OFF_DELIVERS_S):
            return f"it says off and gives {amps:.0f} A"
        least_a = min(known.current.lowest, status.available_a or known.current.lowest)
        short = amps < least_a * CONSTANT_CURRENT_SHARE
        constant = bool(status.on) and status.constant_current and least_a >= CONSTANT_CURRENT_LEAST_A
        if known.constant.holds(constant and short, at_s, RISE_S):
            return f"it says constant current at {amps:.0f} A, set to {least_a:.0f} A"
        return ""
