"""Job: the catalogue of faults: what can be wrong, how bad it is, what clears it, and what the person on site shall do.

Thread: any one at a time (FaultBook belongs to the control thread). Lock: none. Units: s.

A fault is told three times with the same words: in the log (`Fault CODE ID: sentence`, `Ended: ...`), on MQTT
(`vesec/station/fault/central`), and in faults.log beside config.ini with its start and its end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum

from planning.model import FaultReport, Scope, Severity

#: So many ended faults are kept for whoever looks on; faults.log has them all.
ENDED_KEPT = 200


class Latch(Enum):
    """What ends a fault."""

    CONDITION = "ends by itself when the cause has gone"
    NEW_STATUS = "ends at the next status that the device tells"
    PERSON = "ends when a person resets it (or restarts the station at the cabinet)"


class FaultCode(Enum):
    """(severity, scope, latch, sentence). The name is the code on MQTT, in the log and on the page."""

    EMERGENCY_STOP = (
        Severity.CRITICAL, Scope.STATION, Latch.PERSON,
        "The emergency stop is pressed or its wire is broken. Make the site safe, release the button, then reset.",
    )
    FEEDBACK_INVALID = (
        Severity.CRITICAL, Scope.STATION, Latch.CONDITION,
        "The contactor feedback chain cannot be read (test bits wrong). Check supply and plugs of the feedback boards.",
    )
    OUTPUT_UNVERIFIED = (
        Severity.CRITICAL, Scope.STATION, Latch.PERSON,
        "The coil registers do not hold what was written. Check the cable to the output boards.",
    )
    CAN_LINK_DOWN = (
        Severity.ERROR, Scope.STATION, Latch.CONDITION,
        "The CAN link to the power modules is down. Check that the link is up and the adapter is plugged in.",
    )
    CAN_FAULT = (
        Severity.ERROR, Scope.STATION, Latch.CONDITION,
        "No power module answers. Check the CAN cable, its two 120 ohm ends and the supply of the modules.",
    )
    CAN_SEND_FAILED = (
        Severity.WARNING, Scope.STATION, Latch.CONDITION,
        "Frames could not be put on the CAN bus. Check the bus for a short or a missing end resistor.",
    )
    CAN_BUS_OFF = (
        Severity.ERROR, Scope.STATION, Latch.CONDITION,
        "The CAN controller switched itself off after too many errors. Look at the cable and at both 120 ohm ends.",
    )
    CAN_STRANGERS = (
        Severity.WARNING, Scope.STATION, Latch.CONDITION,
        "Frames that are not of our modules fill more than 60 % of the CAN bus. Find out what else hangs on it.",
    )
    SECOND_CONTROLLER = (
        Severity.CRITICAL, Scope.STATION, Latch.PERSON,
        "Another controller commands the modules on this CAN bus. Disconnect it, then reset.",
    )
    MODULE_SILENT = (
        Severity.ERROR, Scope.MODULE, Latch.CONDITION,
        "The module does not answer. Check its CAN plug, address and supply; the others go on.",
    )
    MODULE_UNSTEADY = (
        Severity.ERROR, Scope.MODULE, Latch.CONDITION,
        "The module fell silent while closed again and again; each time breaks load. Left alone for 10 to 60 minutes. "
        "Check its CAN plug and supply.",
    )
    MODULE_FAULT = (
        Severity.ERROR, Scope.MODULE, Latch.CONDITION,
        "The module reports a fault of its own. Look at its display; switch its supply off and on if it stays.",
    )
    MODULE_ADDRESS_CONFLICT = (
        Severity.ERROR, Scope.MODULE, Latch.CONDITION,
        "Two modules answer on one address. Give each module its own address.",
    )
    MODULE_RESET = (
        Severity.WARNING, Scope.MODULE, Latch.CONDITION,
        "The module restarted by itself while it delivered. It is taken out, checked and used again.",
    )
    MODULE_NO_START = (
        Severity.ERROR, Scope.MODULE, Latch.CONDITION,
        "The module was told ON and did not deliver in time. It is tried again after a pause.",
    )
    MODULE_OFF_NOT_CONFIRMED = (
        Severity.ERROR, Scope.MODULE, Latch.CONDITION,
        "The module did not confirm OFF in time; its contactor opens all the same. Check its CAN plug.",
    )
    MODULE_READINGS_FROZEN = (
        Severity.ERROR, Scope.MODULE, Latch.CONDITION,
        "The readings of the module stand still although it was set anew. It is not used until they move again.",
    )
    MODULE_DISOBEYS = (
        Severity.ERROR, Scope.MODULE, Latch.PERSON,
        "The module does not follow its set-points. It is not used; check its type, then reset.",
    )
    MODULE_IMPLAUSIBLE = (
        Severity.ERROR, Scope.MODULE, Latch.PERSON,
        "The module tells values that cannot be. It is not used; check its type and protocol, then reset.",
    )
    MATCH_TIMEOUT = (
        Severity.WARNING, Scope.MODULE, Latch.CONDITION,
        "The module did not reach the voltage of the gun in time. It is tried again after a pause.",
    )
    CONTACTOR_STUCK_OPEN = (
        Severity.ERROR, Scope.CROSSPOINT, Latch.PERSON,
        "The contactor did not close, twice. Check coil, driver and feedback wire, then reset.",
    )
    CONTACTOR_WELDED = (
        Severity.CRITICAL, Scope.CROSSPOINT, Latch.PERSON,
        "The contactor did not open. It is welded or its feedback is broken: replace it, then reset.",
    )
    CONTACTOR_DROPPED = (
        Severity.ERROR, Scope.CROSSPOINT, Latch.PERSON,
        "The contactor opened without being told. Check its coil supply and feedback wire, then reset.",
    )
    CONTACTOR_CLOSED_ALONE = (
        Severity.CRITICAL, Scope.CROSSPOINT, Latch.PERSON,
        "The contactor closed without being told. Check driver and coil wiring, then reset.",
    )
    CLOSE_REFUSED = (
        Severity.WARNING, Scope.CROSSPOINT, Latch.CONDITION,
        "The interlock did not allow the contactor to close in time. It is tried again after a pause.",
    )
    LOAD_BREAK = (
        Severity.WARNING, Scope.CROSSPOINT, Latch.CONDITION,
        "The contactor had to open under load. Its life is shorter for it; check it at the next service.",
    )
    GUN_FAULT = (
        Severity.ERROR, Scope.GUN, Latch.CONDITION,
        "The dispenser reports a fault of this gun or its car. Look at the dispenser.",
    )
    GUN_UNPLUGGED_LIVE = (
        Severity.CRITICAL, Scope.GUN, Latch.NEW_STATUS,
        "The dispenser says that no car is there while current flows. The gun was switched off at once.",
    )
    GUN_OVER_LIMIT = (
        Severity.CRITICAL, Scope.GUN, Latch.NEW_STATUS,
        "The modules deliver more than they were told. The gun was stopped; check the type of the modules.",
    )
    GUN_BUS_CHARGED = (
        Severity.ERROR, Scope.GUN, Latch.CONDITION,
        "The bus bar is told above 60 V although no module feeds it. Do not touch it; check bleeder and dispenser.",
    )
    GUN_SILENT = (
        Severity.WARNING, Scope.GUN, Latch.CONDITION,
        "The dispenser has not repeated its values in time. Its demand went to 0; check its network.",
    )
    GUN_NO_LOAD = (
        Severity.WARNING, Scope.GUN, Latch.CONDITION,
        "The car takes no current. Tried again after a minute or at a new status.",
    )
    GUN_LOCKED_WELD = (
        Severity.ERROR, Scope.GUN, Latch.PERSON,
        "A welded contactor keeps this gun joined to a module. The gun is locked after its session.",
    )
    BROKER_LOST = (
        Severity.WARNING, Scope.STATION, Latch.CONDITION,
        "There is no connection to the MQTT broker: no gun can ask for power. Check network and broker.",
    )
    CLIENT_ID_TAKEN = (
        Severity.ERROR, Scope.STATION, Latch.CONDITION,
        "Another client uses the MQTT client_id of this station. Give each station its own [MQTT] client_id.",
    )
    DISK_FAILED = (
        Severity.WARNING, Scope.STATION, Latch.CONDITION,
        "Log, status or recorded inputs cannot be written. Look at the disk: full, read-only or worn out.",
    )
    CONTROL_FAILED = (
        Severity.CRITICAL, Scope.STATION, Latch.CONDITION,
        "The controller found itself at fault, switched everything off and ends; the service starts it anew.",
    )

    @property
    def severity(self) -> Severity:
        severity: Severity = self.value[0]
        return severity

    @property
    def scope(self) -> Scope:
        scope: Scope = self.value[1]
        return scope

    @property
    def latch(self) -> Latch:
        latch: Latch = self.value[2]
        return latch

    @property
    def sentence(self) -> str:
        sentence: str = self.value[3]
        return sentence


def markdown_lines() -> Iterator[str]:
    """docs/faults.md, line by line."""
    yield "# Faults"
    yield ""
    yield "Written by `python -m planning.faults`; a test holds it to the code. critical: someone must come now. error:"
    yield "someone must come. warning: degraded, heals itself."
    yield ""
    yield "Each is told in the log (`Fault CODE ID: sentence`, `Ended: CODE ID: sentence`), on MQTT"
    yield "(`vesec/station/fault/central`) and in faults.log beside config.ini, one JSON line at its start, one at its"
    yield "end."
    yield ""
    yield "A reset, once somebody has looked: the button on the page (needs `[Dashboard] token_file`), or `true` to"
    yield "`vesec/station/reset/central/set` (over TLS with a user or a certificate only), or a restart:"
    yield "`sudo systemctl restart vesec-station`. What is in its way is told: a contactor that is not proven open, a"
    yield "module that is not proven off, a pressed emergency stop."
    yield ""
    yield "| code | severity | where | ends | what it means, what to do |"
    yield "| --- | --- | --- | --- | --- |"
    for code in FaultCode:
        ends = code.latch.value.removeprefix("ends ")
        yield f"| {code.name} | {code.severity.value} | {code.scope.value} | {ends} | {code.sentence} |"


class FaultBook:
    """Which faults stand, since when. The one place where a fault is raised and cleared. Control thread."""

    def __init__(self) -> None:
        # by place first: a healthy place costs one look-up, and every place is looked at in every step
        self._active: dict[str, dict[FaultCode, FaultReport]] = {}
        self._news: list[FaultReport] = []
        self._ended: deque[FaultReport] = deque(maxlen=ENDED_KEPT)

    def raise_fault(self, code: FaultCode, where: str, now_s: float, detail: str = "") -> bool:
        """Raise a fault; True when it is new. `where`: m3, g1m3, g2, station. `detail`: figures for the person."""
        standing = self._active.setdefault(where, {})
        if code in standing:
            return False
        text = f"{code.sentence} ({detail})" if detail else code.sentence
        report = FaultReport(code.name, code.severity, code.scope, where, True, text, now_s)
        standing[code] = report
        self._news.append(report)
        return True

    def clear(self, code: FaultCode, where: str, now_s: float) -> bool:
        """End a fault; True when it stood."""
        standing = self._active.get(where)
        if standing is None or code not in standing:
            return False
        report = standing.pop(code)
        if not standing:
            del self._active[where]
        ended = replace(report, active=False, ended_s=now_s)
        self._news.append(ended)
        self._ended.append(ended)
        return True

    def set(self, code: FaultCode, where: str, present: bool, now_s: float) -> bool:
        """Raise or clear by a condition; True when something changed."""
        if present:
            return self.raise_fault(code, where, now_s)
        return where in self._active and self.clear(code, where, now_s)

    def clear_by_person(self, now_s: float, remains: Callable[[str], bool]) -> None:
        """End all that only a person may end, but for places of which `remains` says that the cause is still there."""
        standing = [(code, where) for where, codes in self._active.items() for code in codes]
        for code, where in standing:
            if code.latch is Latch.PERSON and not remains(where):
                self.clear(code, where, now_s)

    def stands(self, code: FaultCode, where: str) -> bool:
        return where in self._active and code in self._active[where]

    @property
    def active(self) -> tuple[FaultReport, ...]:
        """In the order in which they began."""
        if not self._active:
            return ()
        reports = [report for codes in self._active.values() for report in codes.values()]
        return tuple(sorted(reports, key=lambda report: report.since_s))

    @property
    def ended(self) -> tuple[FaultReport, ...]:
        """The last that ended, with start and end, oldest first."""
        return tuple(self._ended)

    def take_news(self) -> list[FaultReport]:
        """What was raised or cleared since the last call, in order."""
        if not self._news:
            return []
        news, self._news = self._news, []
        return news


if __name__ == "__main__":
    print("\n".join(markdown_lines()))
