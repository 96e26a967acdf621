"""Job: what concerns the whole station at once: emergency stop, feedback chain, CAN, a second controller.

Thread: control (or any one at a time). Lock: none. Units: s (monotonic).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from planning import facts
from planning.faults import FaultBook, FaultCode
from planning.model import CanStatus, Crosspoint, ModuleState, ModuleStatus
from planning.ports import ContactorsPort
from planning.reasons import ReasonCode

#: The feedback may be invalid for so long (a plug that is pressed home) before everything is opened.
FEEDBACK_PATIENCE_S = 0.5
#: Frames that were lost on the way out are alarmed until none was lost for so long.
SENDING_PATIENCE_S = 10.0
#: A CAN controller that switched itself off is alarmed for so long; what strangers do, until they were quiet so long.
BUS_OFF_STANDS_S = 60.0
CROWD_PATIENCE_S = 10.0
#: A sentence names so many contactors or modules; of the others it says how many.
NAMED = 3
SILENT = (ModuleState.SILENT, ModuleState.UNHEARD)


class Watch:
    """Why no gun may have anything just now, and when everything has to be switched off at once."""

    def __init__(self, faults: FaultBook) -> None:
        #: why nothing may be served; None: the station may serve
        self.block: ReasonCode | None = ReasonCode.NOT_ARMED
        #: every module is silent since then
        self.can_fault_since_s: float | None = None
        self._faults = faults
        self._feedback_bad_since_s: float | None = None
        self._send_failures = self._bus_offs = 0
        self._bus_off_at_s = self._crowded_at_s = float("-inf")
        self._send_failed_at_s = float("-inf")

    @property
    def emergency(self) -> bool:
        """The emergency order stands for every gun."""
        latched = self.block is not None and self.block is not ReasonCode.NOT_ARMED
        return latched or self._faults.stands(FaultCode.FEEDBACK_INVALID, "station")

    def step(
        self,
        now_s: float,
        can: CanStatus,
        contactors: ContactorsPort,
        modules: Sequence[ModuleStatus],
        used: Collection[int],
        armed: bool,
    ) -> bool:
        """Look at everything once; True when all modules have to be told OFF now. `used`: modules in service."""
        stop = self._stop_all(FaultCode.SECOND_CONTROLLER, ReasonCode.FAULT, can.second_controller, now_s)
        pressed = not contactors.emergency_stop_healthy
        stop |= self._stop_all(FaultCode.EMERGENCY_STOP, ReasonCode.EMERGENCY_STOP, pressed, now_s)
        stop |= self._watch_feedback(contactors.feedback_valid, now_s)
        self._watch_can(modules, used, armed, now_s)
        self._watch_sending(can.send_failures, now_s)
        self._watch_bus(can, now_s)
        return stop

    def armed(self) -> None:
        """The start is over: serve, unless something else stands against it."""
        if self.block is ReasonCode.NOT_ARMED:
            self.block = None

    def in_the_way_of_reset(
        self, contactors: ContactorsPort, modules: Sequence[ModuleStatus], not_open: Sequence[Crosspoint]
    ) -> list[str]:
        """What must be mended before a person may reset, as phrases. `not_open`: contactors not proven open."""
        blocked = self.block is not None
        if not blocked and contactors.emergency_stop_healthy:
            return []
        alive = [status.module for status in modules if blocked and facts.may_be_on(status)]
        hindrances = (
            ("the station is still starting", self.block is ReasonCode.NOT_ARMED),
            ("the emergency stop is still pressed", not contactors.emergency_stop_healthy),
            (f"not proven open: contactor {_some(not_open)}", blocked and not contactors.all_proven_open),
            (f"not proven off: module {_some(alive)}", alive),
        )
        return [text for text, present in hindrances if present]

    def _stop_all(self, code: FaultCode, block: ReasonCode, present: bool, now_s: float) -> bool:
        if not present:
            return False
        self.block = block
        return self._faults.raise_fault(code, "station", now_s)

    def _watch_feedback(self, valid: bool, now_s: float) -> bool:
        if valid:
            self._feedback_bad_since_s = None
            self._faults.set(FaultCode.FEEDBACK_INVALID, "station", False, now_s)
            return False
        if self._feedback_bad_since_s is None:
            self._feedback_bad_since_s = now_s
        late = now_s - self._feedback_bad_since_s >= FEEDBACK_PATIENCE_S
        return late and self._faults.raise_fault(FaultCode.FEEDBACK_INVALID, "station", now_s)

    def _watch_sending(self, failures: int, now_s: float) -> None:
        if failures > self._send_failures:
            self._send_failures, self._send_failed_at_s = failures, now_s
        failing = now_s - self._send_failed_at_s < SENDING_PATIENCE_S
        self._faults.set(FaultCode.CAN_SEND_FAILED, "station", failing, now_s)

    def _watch_bus(self, can: CanStatus, now_s: float) -> None:
        if can.bus_offs > self._bus_offs:
            self._bus_offs, self._bus_off_at_s = can.bus_offs, now_s
        if can.crowded:
            self._crowded_at_s = now_s
        bus_off, crowded = now_s - self._bus_off_at_s < BUS_OFF_STANDS_S, now_s - self._crowded_at_s < CROWD_PATIENCE_S
        self._faults.set(FaultCode.CAN_BUS_OFF, "station", bus_off, now_s)
        self._faults.set(FaultCode.CAN_STRANGERS, "station", crowded, now_s)

    def _watch_can(
        self, modules: Sequence[ModuleStatus], used: Collection[int], armed: bool, now_s: float
    ) -> None:
        silent = all(status.state in SILENT for status in modules if status.module in used)
        if not silent:
            self.can_fault_since_s = None
        elif self.can_fault_since_s is None:
            self.can_fault_since_s = now_s
        self._faults.set(FaultCode.CAN_FAULT, "station", silent and armed, now_s)


def _some(names: Sequence[object]) -> str:
    """The first of many, for a sentence."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(str, names[:NAMED])) + more
