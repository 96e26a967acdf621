"""Job: the words that the rooms and the decisions share: guns, modules, crosspoints and what is believed of them.

Thread: any (frozen). Lock: none. Units: in each name; times are monotonic seconds (`_s`) or whole milliseconds (`_ms`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from planning.settings import Priority


class Crosspoint(NamedTuple):
    """The contactor that joins the output of `module` to the bus bar of `gun`. Both count from 1."""

    gun: int
    module: int

    def __str__(self) -> str:
        return f"g{self.gun}m{self.module}"


# --- guns ---------------------------------------------------------------------------------------------------------


class ValueKind(Enum):
    """What a device can say about a gun; the value is the message_type in the topic."""

    SOC = "soc"
    DEMAND = "demand"
    STATUS = "vehicle_status"
    TARGET_VOLTAGE = "target_voltage"
    BUS_VOLTAGE = "bus_voltage"
    VOLTAGE_LIMIT = "voltage_limit"
    CURRENT_LIMIT = "current_limit"


class VehicleStatus(Enum):
    NEVER_TOLD = "never told"  # served by demand alone
    NO_CAR = "no car"
    WAITING = "waiting"  # modules may be reserved and contactors closed on a dead bus, modules stay off
    CHARGING = "charging"
    FINISHING = "finishing"  # the car asks for nothing
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class GunValues:
    """The last accepted values of one gun; None = never told, or forgotten because the device fell silent."""

    status: VehicleStatus = VehicleStatus.NEVER_TOLD
    soc_pct: float | None = None
    demand_kw: float | None = None
    target_voltage_v: float | None = None
    bus_voltage_v: float | None = None
    voltage_limit_v: float | None = None
    current_limit_a: float | None = None


@dataclass(frozen=True, slots=True)
class GunSnapshot:
    gun: int
    values: GunValues
    heard_at_s: float | None  # when any valid message of this gun last came
    bus_voltage_at_s: float | None  # when bus_voltage was last told


class GunState(Enum):
    """What is published as `state` of a gun."""

    IDLE = "idle"
    WAITING = "waiting"
    CONNECTING = "connecting"
    CHARGING = "charging"
    STOPPING = "stopping"
    FAULT = "fault"
    DISABLED = "disabled"


class StationState(Enum):
    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    EMERGENCY_STOP = "emergency_stop"
    STOPPING = "stopping"
    UPDATING = "updating"
    OFFLINE = "offline"


# --- modules ------------------------------------------------------------------------------------------------------


class ModuleState(Enum):
    """What the station believes of a power module, judged by PowerModuleController alone."""

    UNHEARD = "unheard"  # never answered since the link came up
    OFF = "off"
    ON = "on"
    SILENT = "silent"  # no frame for silent_after_s; may still deliver
    FAULT = "fault"  # its own status says so
    REFUSED = "refused"  # two serials on one address
    DISABLED = "disabled"  # by config or command


@dataclass(frozen=True, slots=True)
class ModuleStatus:
    """One module as believed at one moment. `*_at_s`: when the reading came; `*_asked_at_s`: when it was asked for."""

    module: int
    state: ModuleState
    heard_at_s: float | None = None
    on: bool | None = None  # what its status word says
    on_at_s: float | None = None  # when that status word arrived
    on_asked_at_s: float | None = None
    off_echo_at_s: float | None = None  # last time it echoed an OFF
    last_on_at_s: float | None = None  # last time it was on, or may have been
    voltage_v: float | None = None
    voltage_at_s: float | None = None
    voltage_asked_at_s: float | None = None
    voltage_before_v: float | None = None  # the reading before the last
    voltage_before_at_s: float | None = None
    current_a: float | None = None
    current_at_s: float | None = None
    current_asked_at_s: float | None = None
    current_before_a: float | None = None
    current_before_at_s: float | None = None
    available_a: float | None = None  # what it says it could deliver now
    constant_current: bool = False
    low_range: bool | None = None
    set_on: bool = False  # what we last put on the wire
    set_voltage_v: float = 0.0
    set_voltage_at_s: float = float("-inf")  # when that voltage took the place of another one
    set_current_a: float = 0.0
    resets: int = 0  # times it was seen to have restarted by itself while it should be on
    serial: str | None = None
    alarms: tuple[str, ...] = ()  # names of the fault bits that are set
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModuleOrder:
    """What a module shall do until the next order; orders not renewed for 0.5 s count as OFF."""

    on: bool = False
    voltage_v: float = 0.0
    current_a: float = 0.0
    low_range: bool | None = None  # None: leave the range alone. Written only while the module is off


OFF_ORDER = ModuleOrder()


@dataclass(frozen=True, slots=True)
class CanStatus:
    """The state of the CAN link."""

    up: bool
    load_1s_pct: float = 0.0
    load_10s_pct: float = 0.0
    sent: int = 0
    received: int = 0
    send_failures: int = 0
    rejected: int = 0  # error, remote, 11-bit, FD and malformed frames
    foreign: int = 0  # frames that are no answer of a configured module
    second_controller: bool = False  # our own kind of request seen from somebody else
    bus_offs: int = 0  # times that the controller chip switched itself off
    crowded: bool = False  # strangers fill the bus
    unconfigured: tuple[int, ...] = ()  # addresses that answer and that no module in config.ini has


# --- crosspoints --------------------------------------------------------------------------------------------------


class ContactState(Enum):
    """One contactor as ContactorController sees it: its command against its debounced feedback."""

    OPEN = "O"  # commanded open, proven open
    CLOSING = "c"  # commanded closed, not confirmed yet, in time
    CLOSED = "C"  # commanded closed, feedback closed
    CLOSE_FAILED = "f"  # commanded closed, proven open after close_timeout
    OPENING = "o"  # commanded open, not proven open yet, in time
    OPEN_FAILED = "W"  # commanded open, still closed after open_timeout: welded
    DROPPED = "d"  # commanded closed and was closed, now open
    INTRUDER = "I"  # commanded open and was proven open, now closed
    UNKNOWN = "?"  # the feedback image is invalid


#: Contact states that prove that no current can pass.
PROVEN_OPEN = frozenset({ContactState.OPEN, ContactState.CLOSE_FAILED, ContactState.DROPPED})


class CloseRefusal(Enum):
    """Why the interlock in ContactorController did not close a contactor."""

    NOT_ARMED = "not armed"
    EMERGENCY_STOP = "emergency stop is open"
    FEEDBACK_INVALID = "feedback image is invalid"
    OUT_OF_SERVICE = "crosspoint is out of service"
    MODULE_ELSEWHERE = "another contactor of the module is not proven open"
    NOT_PROVEN_OPEN = "the contactor itself is not proven open"
    PICKUPS = "too many coils picked up within 250 ms"
    MODULE_NOT_OFF = "dead bus: the module is not proven off"
    MODULE_NOT_DEAD = "dead bus: the module is above dead_voltage"
    MODULE_NOT_RESTED = "dead bus: the module was on within terminal_discharge_time"
    BUS_NOT_DEAD = "the bus is not dead"
    NEED_VOLTAGE = "live bus: the bus voltage is not known"
    MODULE_NOT_ON = "live bus: the module is not on"
    MODULE_LOADED = "live bus: the module is not limited to idle current"
    NOT_MATCHED = "live bus: two fresh readings 0 to match_window below the bus are missing"


@dataclass(frozen=True, slots=True)
class CloseEvidence:
    """The raw readings that the interlock of rule 7.2 judges by itself; nothing in it is anybody's opinion."""

    module: ModuleStatus
    #: rule 7.2: of a conducting module of the gun, else told, else the gun's own reading (30 s); None: unknown
    bus_voltage_v: float | None
    #: bus_voltage told by the dispenser and fresh; None: not told
    bus_told_v: float | None
    #: True when any other module on this gun's bus is on or not known to be off
    bus_has_live_module: bool
    #: when the bus of the module's own closed contactor was last told dead; None: never
    told_dead_at_s: float | None = None


def crosspoint_index(gun: int, module: int, module_count: int) -> int:
    """Contact index on the shift registers: (gun-1)*module_count + (module-1)."""
    return (gun - 1) * module_count + (module - 1)


# --- what is told to people ---------------------------------------------------------------------------------------


class Severity(Enum):
    WARNING = "warning"  # degraded, heals itself
    ERROR = "error"  # someone must come
    CRITICAL = "critical"  # someone must come now


class Scope(Enum):
    MODULE = "module"
    CROSSPOINT = "crosspoint"
    GUN = "gun"
    STATION = "station"


@dataclass(frozen=True, slots=True)
class FaultReport:
    code: str
    severity: Severity
    scope: Scope
    id: str  # m3, g1m3, g2, station
    active: bool
    text: str
    since_s: float
    ended_s: float | None = None  # None: it still stands


@dataclass(frozen=True, slots=True)
class GunReport:
    gun: int
    state: GunState
    demand_kw: float
    allocated_kw: float
    delivered_kw: float
    modules: tuple[int, ...]
    reason: str  # a code and a sentence, such as "SHARED 2 modules short: held by guns 1 and 4"
    soc_pct: float | None = None
    eta_next_module_s: float | None = None  # until it gets one more module; None: it lacks none, or nobody can know


@dataclass(frozen=True, slots=True)
class StationReport:
    """All that is published of the station at one moment; a new one is made when something changed."""

    state: StationState
    guns: tuple[GunReport, ...]
    power_kw: float
    site_limit_kw: float | None
    modules_available: int
    faults: tuple[FaultReport, ...]  # the active ones
    news: tuple[FaultReport, ...] = ()  # faults that were raised or ended since the last report, in order


class StationCommands(Protocol):
    """What may be commanded over MQTT or the page. Limits lower what config.ini allows, never raise it. Any thread."""

    def set_site_limit(self, limit_kw: float) -> None: ...
    def set_max_power(self, gun: int, limit_kw: float) -> None: ...
    def set_module_enabled(self, module: int, enabled: bool) -> None: ...
    def set_priority(self, rule: Priority) -> None: ...
    def set_draining(self, draining: bool) -> None: ...
    def in_the_way_of_reset(self) -> Sequence[str]: ...
    def reset(self) -> None: ...
