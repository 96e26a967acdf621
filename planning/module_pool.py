"""Job: which modules may be planned with, and how many whole kW each can give: faults, pauses, derating.

Thread: control (or any one at a time). Lock: none. Units: kW, V, A, s (monotonic).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from planning.faults import FaultBook, FaultCode
from planning.model import ModuleState, ModuleStatus
from planning.module_trust import ModuleTrust

#: A module that did not start is left alone for so long before it is tried again.
NO_START_PAUSE_S = 60.0
#: Each silence of a module that serves ends in a contactor that opens, after 5 s under load, and a contactor breaks
#: full load some hundred times in its life. After so many in this time it is left alone, each time twice as long.
LAPSES, LAPSES_WITHIN_S = 3, 600.0
LAPSE_PAUSE_S, LONGEST_LAPSE_PAUSE_S = 600.0, 3600.0
#: A lower figure counts at once, a higher one only when it is this much higher, or the module is whole again, for so
#: long: noise must not move modules.
RISE_AT_LEAST_KW, RISE_AFTER_S = 2, 30.0
#: Nearest whole kW.
ROUNDING_KW = 0.5
#: A module with this share of its capacity is whole: voltage and current limit are read one after the other, each good
#: to 0.5 %, while the bus moves by a few volts. Else every ramp would move modules for a kW that is not missing.
WHOLE_SHARE = 0.97
#: What a module showed while current flowed counts so long after it: heat does not go in seconds. Else each idle module
#: would look whole and take the place of the one that serves, which then is idle and looks whole.
SHOWN_S = 900.0
#: Where so many have shown what they give, one that has not counts as the strongest of them: the day is hot, or the
#: pack's voltage low. One alone may be weak by itself.
WITNESSES = 2

#: module state -> the fault it is
_STATE_FAULTS: Mapping[FaultCode, ModuleState] = {
    FaultCode.MODULE_SILENT: ModuleState.SILENT,
    FaultCode.MODULE_FAULT: ModuleState.FAULT,
    FaultCode.MODULE_ADDRESS_CONFLICT: ModuleState.REFUSED,
}
_USABLE = (ModuleState.OFF, ModuleState.ON)


class ModulePool:
    """Keeps what the readings alone do not say: pauses, resets seen, commands."""

    def __init__(
        self, module_count: int, capacity_kw: float, module_a: float, trust: ModuleTrust, faults: FaultBook
    ) -> None:
        self._capacity_kw = capacity_kw
        self._module_a = module_a
        self._trust = trust
        self._faults = faults
        self._enabled = [True] * module_count
        self._resets = [0] * module_count
        self._states: list[ModuleState | None] = [None] * module_count
        self._requalify: set[int] = set()
        self._paused_until_s: dict[int, float] = {}
        self._lapses_s: dict[int, list[float]] = {}
        self._lapse_pauses = [0] * module_count
        self._planned_kw = [0] * module_count
        self._shown_kw: dict[int, tuple[float, float]] = {}  # module -> (when, kW) while current flowed
        self._rising: dict[int, tuple[float, int]] = {}  # index -> since when it could give more than planned, how much
        self._now_s = 0.0

    def set_enabled(self, module: int, enabled: bool) -> None:
        self._enabled[module - 1] = enabled

    def enabled(self, module: int) -> bool:
        """Nobody has taken it out of use by a command."""
        return self._enabled[module - 1]

    def rest(self, module: int, now_s: float) -> None:
        """The module could not join its gun: leave it alone for a while, so that another one is tried."""
        self._paused_until_s[module] = now_s + NO_START_PAUSE_S

    def pause(self, module: int, now_s: float) -> None:
        """The module did not start: leave it alone for a while."""
        self.rest(module, now_s)
        self._faults.raise_fault(FaultCode.MODULE_NO_START, f"m{module}", now_s)

    def lapsed(self, module: int, now_s: float) -> None:
        """It fell silent while its contactor was closed, and others answered: a loose plug, most likely."""
        lapses_s = [at_s for at_s in self._lapses_s.get(module, ()) if now_s - at_s < LAPSES_WITHIN_S] + [now_s]
        self._lapses_s[module] = lapses_s
        if len(lapses_s) < LAPSES:
            return
        pause_s = min(LONGEST_LAPSE_PAUSE_S, LAPSE_PAUSE_S * 2 ** self._lapse_pauses[module - 1])
        self._lapse_pauses[module - 1] += 1
        self._lapses_s[module] = []
        self._paused_until_s[module] = now_s + pause_s
        self._faults.raise_fault(FaultCode.MODULE_UNSTEADY, f"m{module}", now_s, f"for {pause_s / 60:g} minutes")

    def forgive(self, now_s: float) -> None:
        """A person has looked: modules that were left alone for their silences are used again."""
        for module in range(1, len(self._enabled) + 1):
            if self._faults.stands(FaultCode.MODULE_UNSTEADY, f"m{module}"):
                self._paused_until_s[module] = now_s
        self._lapses_s = {}
        self._lapse_pauses = [0] * len(self._enabled)

    def look(self, modules: Sequence[ModuleStatus], now_s: float) -> None:
        """Take new readings: resets, faults."""
        self._trust.look(modules, now_s)
        self._now_s = now_s
        for index, status in enumerate(modules):
            if status.resets > self._resets[index]:
                self._resets[index] = status.resets
                self._requalify.add(status.module)
                self._faults.raise_fault(FaultCode.MODULE_RESET, f"m{status.module}", now_s)
            if status.state is not self._states[index]:
                self._states[index] = status.state
                self._look_at_state(status, now_s)
        for module in [m for m, until_s in self._paused_until_s.items() if now_s >= until_s]:
            del self._paused_until_s[module]
            self._faults.clear(FaultCode.MODULE_NO_START, f"m{module}", now_s)
            self._faults.clear(FaultCode.MODULE_UNSTEADY, f"m{module}", now_s)

    def unqualified(self, module: int) -> bool:
        """It restarted by itself and has not been seen off, cold and free since."""
        return module in self._requalify

    def qualified(self, module: int, now_s: float) -> None:
        """The module is off, cold and free: what it did before is settled."""
        if module in self._requalify:
            self._requalify.discard(module)
            self._faults.clear(FaultCode.MODULE_RESET, f"m{module}", now_s)

    def usable(self, status: ModuleStatus) -> bool:
        """New things may be planned on it."""
        module = status.module
        free = module not in self._requalify and module not in self._paused_until_s
        sound = status.state in _USABLE and not self._trust.doubted(module)
        return free and self._enabled[module - 1] and sound

    def available_kw(self, status: ModuleStatus, bus_v: float | None) -> int:
        """Whole kW that it can give at this bus voltage (unknown: as last shown); 0: nothing new on it."""
        index = status.module - 1
        if not self.usable(status):
            self._planned_kw[index] = 0
            return 0
        if bus_v is None or not status.on:
            power_kw = self._supposed_kw(status.module)
        else:
            limit_a = self._module_a if status.available_a is None else min(self._module_a, status.available_a)
            limit_kw = limit_a * bus_v / 1000.0
            power_kw = limit_kw if limit_kw < WHOLE_SHARE * self._capacity_kw else self._capacity_kw
            self._shown_kw[status.module] = (self._now_s, power_kw)
        whole_kw = int(power_kw + ROUNDING_KW)
        planned_kw = self._planned_kw[index]
        self._planned_kw[index] = whole_kw if whole_kw < planned_kw or not planned_kw else self._risen(index, whole_kw)
        return self._planned_kw[index]

    def _risen(self, index: int, whole_kw: int) -> int:
        """The least that it could give for RISE_AFTER_S, once that is clearly more than is planned; else the plan."""
        planned_kw, full = self._planned_kw[index], whole_kw >= int(self._capacity_kw)
        if whole_kw == planned_kw or not (full or whole_kw >= planned_kw + RISE_AT_LEAST_KW):
            self._rising.pop(index, None)
            return planned_kw
        since_s, least_kw = self._rising.get(index, (self._now_s, whole_kw))
        self._rising[index] = since_s, min(least_kw, whole_kw)
        if self._now_s - since_s < RISE_AFTER_S:
            return planned_kw
        return self._rising.pop(index)[1]

    def _supposed_kw(self, module: int) -> float:
        """What a module counts as that serves nobody just now."""
        shown = self._shown_kw.get(module)
        if shown is not None and self._now_s - shown[0] < SHOWN_S:
            return shown[1]
        others_kw = [kw for at_s, kw in self._shown_kw.values() if self._now_s - at_s < SHOWN_S]
        return max(others_kw) if len(others_kw) >= WITNESSES else self._capacity_kw

    def _look_at_state(self, status: ModuleStatus, now_s: float) -> None:
        where = f"m{status.module}"
        for code, state in _STATE_FAULTS.items():
            present = status.state is state
            if present and not self._faults.stands(code, where):
                self._faults.raise_fault(code, where, now_s, ", ".join(status.alarms))
            elif not present:
                self._faults.clear(code, where, now_s)
