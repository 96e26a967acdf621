"""Job: why a gun gets what it gets: a code for machines and a sentence for the person at the charger.

Thread: any (frozen). Lock: none. Units: kW.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

#: Sentences that are remembered: a full station says the same few at every decision.
REMEMBERED = 256


class ReasonCode(Enum):
    """The first word of every published `reason`; the value is what is published."""

    # It gets what it may have; the code says what bounds that.
    SERVED = "SERVED"
    GUN_LIMIT = "GUN_LIMIT"
    COMMAND_LIMIT = "COMMAND_LIMIT"
    CURRENT_LIMIT = "CURRENT_LIMIT"
    SITE_LIMIT = "SITE_LIMIT"
    PRECHARGE = "PRECHARGE"
    IDLE = "IDLE"
    # It gets less than it may have.
    SHARED = "SHARED"
    MODULE_LIMIT = "MODULE_LIMIT"
    NO_CROSSPOINT = "NO_CROSSPOINT"
    NO_MODULES = "NO_MODULES"
    # It gets nothing, whatever it asks for (GunRequest.blocked_reason).
    FAULT = "FAULT"
    DISABLED = "DISABLED"
    DRAINING = "DRAINING"
    NO_LOAD = "NO_LOAD"
    WELD_LOCKED = "WELD_LOCKED"
    SILENT_DEVICE = "SILENT_DEVICE"
    CAN_FAULT = "CAN_FAULT"
    EMERGENCY_STOP = "EMERGENCY_STOP"
    OVER_POWER = "OVER_POWER"
    NOT_ARMED = "NOT_ARMED"
    STATION_STOPPING = "STATION_STOPPING"
    # Modules are chosen but do not deliver yet: told by the switching sequence and the drive, never by the allocation.
    CONNECTING = "CONNECTING"
    NEED_VOLTAGE = "NEED_VOLTAGE"
    DISCHARGING = "DISCHARGING"
    SEARCHING = "SEARCHING"
    RAMPING = "RAMPING"
    STOPPING = "STOPPING"


@dataclass(frozen=True, slots=True)
class Reason:
    """A code and one sentence; `str()` is the published text, such as `IDLE no demand`."""

    code: ReasonCode
    sentence: str

    def __str__(self) -> str:
        return f"{self.code.value} {self.sentence}"


def _fixed(sentences: Mapping[ReasonCode, str]) -> dict[ReasonCode, Reason]:
    return {code: Reason(code, sentence) for code, sentence in sentences.items()}


IDLE = Reason(ReasonCode.IDLE, "no demand")
PRECHARGE = Reason(ReasonCode.PRECHARGE, "1 module at low current until the car asks for power")

#: What blocks a gun altogether. Only these codes may be a blocked_reason.
BLOCKED: Mapping[ReasonCode, Reason] = _fixed(
    {
        ReasonCode.FAULT: "the car or the dispenser reports a fault",
        ReasonCode.DISABLED: "the gun is switched off by configuration or command",
        ReasonCode.DRAINING: "the station drains: it takes in no new car until a person ends that",
        ReasonCode.NO_LOAD: "the car takes no current; tried up to three times, a minute apart, then at a new status",
        ReasonCode.NEED_VOLTAGE: "its bus is told charged, at no steady voltage to match modules to: see its meter",
        ReasonCode.WELD_LOCKED: "a contactor of this gun is welded; a person must replace and clear it",
        ReasonCode.SILENT_DEVICE: "the dispenser sends nothing any more",
        ReasonCode.CAN_FAULT: "no power module answers on the CAN bus",
        ReasonCode.EMERGENCY_STOP: "the emergency stop is pressed or not reset yet",
        ReasonCode.OVER_POWER: "more was measured than was set; the gun is stopped",
        ReasonCode.NOT_ARMED: "the station is starting and still proves that everything is off",
        ReasonCode.STATION_STOPPING: "the station is stopping",
    }
)


def served(target_kw: float, modules: int) -> Reason:
    return Reason(ReasonCode.SERVED, f"{target_kw:g} kW as asked by {_modules(modules)}")


def gun_limit(target_kw: float, gun: int) -> Reason:
    return Reason(ReasonCode.GUN_LIMIT, f"held to {target_kw:g} kW by gun{gun}_max_power")


def command_limit(target_kw: float) -> Reason:
    return Reason(ReasonCode.COMMAND_LIMIT, f"held to {target_kw:g} kW by the gun's max_power command")


def current_limit(target_kw: float) -> Reason:
    return Reason(ReasonCode.CURRENT_LIMIT, f"held to {target_kw:g} kW by the current limit of car or cable")


def site_limit(share_kw: float, asked_kw: float) -> Reason:
    return Reason(ReasonCode.SITE_LIMIT, f"{share_kw:g} of {asked_kw:g} kW: the site limit leaves no more")


@lru_cache(REMEMBERED)
def shared(missing: int, holders: tuple[int, ...], more: int = 0) -> Reason:
    """`holders`: the guns that hold modules which this gun could use, ascending; `more` of them are not named."""
    rest = f" and {more} more" if more else ""
    return Reason(ReasonCode.SHARED, f"{_modules(missing)} short: held by {_guns(holders)}{rest}")


def module_limit(allocated_kw: float, max_modules: int) -> Reason:
    return Reason(ReasonCode.MODULE_LIMIT, f"held to {allocated_kw:g} kW: a gun gets {_modules(max_modules)} at most")


def no_crosspoint(missing: int, unreachable: Sequence[int]) -> Reason:
    """`unreachable`: the working modules that no contactor in service joins to this gun, ascending."""
    where = _list("module", unreachable)
    return Reason(ReasonCode.NO_CROSSPOINT, f"{_modules(missing)} short: the contactor to {where} is out of service")


def no_modules(missing: int, usable: int) -> Reason:
    if usable == 0:
        return Reason(ReasonCode.NO_MODULES, "no power module can be used")
    left = "is the only one" if usable == 1 else "are all"
    return Reason(ReasonCode.NO_MODULES, f"{_modules(missing)} short: {_modules(usable)} {left} that can be used")


def _modules(count: int) -> str:
    return "1 module" if count == 1 else f"{count} modules"


def _guns(guns: Sequence[int]) -> str:
    return _list("gun", guns)


def _list(noun: str, numbers: Sequence[int]) -> str:
    words = [str(number) for number in numbers]
    if len(words) == 1:
        return f"{noun} {words[0]}"
    return f"{noun}s {', '.join(words[:-1])} and {words[-1]}"
