"""Job: the words that every module make shares: a frame to send, a reading that came back, limits and manners as data.

Thread: any (frozen, no state). Lock: none. Units: in each name.

A make is one object that satisfies `Make`. It turns meaning into bytes and bytes into meaning and knows nothing else:
no bus, no clock, no memory of what was sent. `PowerModuleController` alone turns readings into belief.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol


class MalformedFrame(ValueError):
    """The identifier is that of one of our modules, the content makes no sense. It is counted and dropped."""


class Signal(Enum):
    """What a reply speaks of. A make offers some of them; which ones are read when stands in its `ReadPlan`."""

    VOLTAGE = "output voltage"
    CURRENT = "output current"
    VOLTAGE_AND_CURRENT = "output voltage and current"
    VOLTAGE_AND_CURRENT_SLOW = "output voltage and current, averaged"
    VOLTAGE_SLOW = "output voltage, averaged"
    CURRENT_SLOW = "output current, averaged"
    CURRENT_FASTEST = "output current, unfiltered"
    TERMINAL_AND_AVAILABLE = "voltage on the terminal side of the diode, and what it could deliver now"
    TERMINAL_VOLTAGE = "voltage on the terminal side of the diode"
    AVAILABLE = "current it could deliver now"
    CURRENT_AND_AVAILABLE = "output current and what it could deliver now"
    STATUS = "status word"
    MORE_STATUS = "second status word"
    HEARTBEAT = "sign of life"
    SERIAL = "serial number"
    RANGE = "output range in use"
    RANGE_SELECTED = "output range selected"
    POWER = "on or off"
    SET_VOLTAGE = "voltage set-point"
    SET_CURRENT = "current set-point"
    SET_RANGE = "output range to use"
    SET_ALL = "all set-points in one frame"
    SET_GROUP = "group address"
    FAN_SILENCE = "fan silence level"
    FAN_SUPPLY = "fan supply"
    FAN_SPEED = "fan speed"
    INLET_TEMPERATURE = "air inlet temperature"
    PFC_TEMPERATURE = "PFC temperature"
    DCDC_TEMPERATURE_1 = "DC-DC temperature 1"
    DCDC_TEMPERATURE_2 = "DC-DC temperature 2"
    TEMPERATURE_MARGIN = "distance to over-temperature"
    NAMEPLATE = "nameplate"
    RATED_POWER = "rated power"
    RATED_CURRENT = "rated current"
    LIMIT_POINT = "current limit as a share of the rated current"
    SERIAL_HIGH = "serial number, high half"
    VERSION = "firmware"
    ALTITUDE = "altitude"
    GROUP_AND_ADDRESS = "group and address"
    INPUT_POWER = "input power"
    INPUT_MODE = "input mode"
    AC_VOLTAGES = "line voltages"
    AC_AB = "line voltage AB"
    AC_BC = "line voltage BC"
    AC_CA = "line voltage CA"


class Refusal(Enum):
    """Why a module did not do what it was told, or does not tell."""

    COMMAND = "it does not know the command"
    DATA = "it does not take the value"
    ADDRESS = "the address is wrong"
    STARTING = "it is starting; ask again later"  # no fault


class BitClass(Enum):
    """What a set status bit means for us."""

    FAULT = "fault"
    WARNING = "warning"
    WARNING_WHILE_ON = "warning while on"  # normal while the module is off
    STATE = "state"


class Frame(NamedTuple):
    """One extended data frame to send, and what it means for the one who sends it."""

    can_id: int
    data: bytes
    #: the signal of the reply it gets; None: it is executed and not answered
    answer: Signal | None = None
    voltage_v: float | None = None  # the voltage set-point it carries, as the wire rounds it
    current_a: float | None = None  # the current set-point it carries, as the wire rounds it
    on: bool | None = None  # it switches the module on or off, whatever else it says


class ModuleFlags(NamedTuple):
    """A status word, sorted. `faults` and `warnings` are names of set bits; state bits are in neither."""

    on: bool
    constant_current: bool
    faults: frozenset[str]
    warnings: frozenset[str]
    same_serial: bool  # the module itself sees a twin on the bus
    names: tuple[str, ...]  # every set bit, for people


class ModuleReading(NamedTuple):
    """What one reply said. None = this reply does not speak of it.

    In an `echo` the values are the set-points that the module accepted, not what it measures.
    """

    address: int
    signal: Signal
    #: bits of the identifier that differ from module to module (production day, serial); None: the reply has none
    identity: int | None
    echo: bool = False
    voltage_v: float | None = None
    current_a: float | None = None
    available_a: float | None = None
    on: bool | None = None
    flags: ModuleFlags | None = None
    low_range: bool | None = None
    serial: str | None = None
    refusal: Refusal | None = None  # then the reply says nothing else
    more_warnings: frozenset[str] | None = None  # what a second status word adds to the warnings
    details: tuple[tuple[str, float], ...] = ()  # for people and history only: (name with unit, value)


@dataclass(frozen=True, slots=True)
class Nameplate:
    """What the data sheet promises."""

    min_v: float
    max_v: float
    max_a: float
    power_kw: float
    low_range_max_v: float | None  # None: the make has one range
    min_current_a: float  # lowest current set-point it keeps


@dataclass(frozen=True, slots=True)
class Timing:
    """The make's manners on the bus."""

    spacing_s: float  # between two frames of ours
    start_timeout_s: float  # from ON until its status shows on
    answer_timeout_s: float  # a later reply belongs to nobody's question
    watchdog_s: float | None  # switches itself off after so long without us; None: not documented
    broadcast_reads: bool
    resend_after_on: bool  # forgets set-points while off
    sets_echoed: bool
    reads_terminal_side: bool  # voltage reading is taken behind the blocking diode
    tells_loop: bool  # its status says whether voltage or current is what it holds
    #: modules tell by themselves, and what they tell is at most so old; None: they tell only what they are asked
    unasked_age_s: float | None = None


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """Which signals are read how often."""

    round_s: float
    round: tuple[Signal, ...]  # of every module once a round
    watched: tuple[Signal, ...]  # of a module in hand-over, each watch_s
    watch_s: float
    first: tuple[Signal, ...]  # when a module is first heard and after a return
    slow: tuple[Signal, ...]  # one of them each slow_s, in turn
    slow_s: float


class Make(Protocol):
    """A module make. Every method is a pure function; any thread may call it."""

    @property
    def name(self) -> str: ...
    @property
    def nameplate(self) -> Nameplate: ...
    @property
    def timing(self) -> Timing: ...
    @property
    def reads(self) -> ReadPlan: ...
    @property
    def voltage_step_v(self) -> float: ...
    @property
    def current_step_a(self) -> float: ...

    def encode_setpoint(self, address: int, voltage_v: float, current_a: float) -> tuple[Frame, ...]:
        """Voltage and current, floored to the wire's unit; what is below the least that the module takes, as that.

        Only for a module that is on or starts: with some makes the frame switches on. ValueError: NaN, negative or
        above the nameplate.
        """

    def encode_power(self, address: int, on: bool) -> tuple[Frame, ...]:
        """Switch one module on or off. Empty for ON: the make's set-points switch on by themselves."""

    def encode_all_off(self) -> tuple[Frame, ...]:
        """Switch everything on the bus off, whatever its group; not answered."""

    def encode_read(self, address: int | None, signal: Signal) -> tuple[Frame, ...]:
        """Ask one module, or all of them (None). ValueError: the make does not offer the signal."""

    def encode_range(self, address: int, low: bool) -> tuple[Frame, ...]:
        """Choose the low or the high output range. Only while the module is off. ValueError: the make has one range."""

    def address_of(self, can_id: int) -> int | None:
        """The address of the module that a reply with this identifier comes from; None: not a reply of this make."""

    def decode(self, can_id: int, data: bytes) -> ModuleReading | None:
        """Read a reply of 8 bytes. None: not a reply of this make. MalformedFrame: it is, but makes no sense."""

    def is_request(self, can_id: int, data: bytes) -> bool:
        """True for the kind of frame that only a controller sends."""

    def split_current(self, total_a: float, parts: int) -> tuple[float, ...]:
        """Equal shares, floored to the wire's unit and to the nameplate; their sum is never above the total."""


StatusRow = tuple[str, BitClass]  # name of a bit, what it means


def sorted_flags(
    rows: Iterable[StatusRow], on: bool, constant_current: bool = False, same_serial: bool = False
) -> ModuleFlags:
    """The rows of the set bits of a status word, sorted."""
    rows = tuple(rows)
    warns = {BitClass.WARNING, BitClass.WARNING_WHILE_ON} if on else {BitClass.WARNING}
    return ModuleFlags(
        on=on,
        constant_current=constant_current,
        faults=frozenset(name for name, bit_class in rows if bit_class is BitClass.FAULT),
        warnings=frozenset(name for name, bit_class in rows if bit_class in warns),
        same_serial=same_serial,
        names=tuple(name for name, _ in rows),
    )


def check_setpoint(nameplate: Nameplate, address: int, voltage_v: float, current_a: float) -> None:
    """ValueError: NaN, or above the nameplate."""
    if not (voltage_v <= nameplate.max_v and current_a <= nameplate.max_a):
        raise ValueError(
            f"module address {address}: {voltage_v} V, {current_a} A is above the nameplate "
            f"({nameplate.max_v} V, {nameplate.max_a} A)"
        )


def check_one_module(address: int, highest: int, what: str) -> None:
    """ValueError: not the address of one module."""
    if not 0 <= address <= highest:
        raise ValueError(f"{what} goes to one module, 0 to {highest}, not to {address}")


def command_that_asks(name: str, commands: Mapping[Signal, int], signal: Signal) -> int:
    """ValueError: the make does not offer the signal."""
    command = commands.get(signal)
    if command is None:
        raise ValueError(f"{name} modules do not tell their {signal.value}")
    return command


def floor_units(value: float, units_per_one: int) -> int:
    """The largest whole number of wire units that is not above `value` (4.001 A at 1000 a piece are 4001, not 4000).

    Multiplying alone may land on either side of the unit, so the neighbours are compared. ValueError: NaN, infinite or
    negative.
    """
    if not 0.0 <= value < math.inf:
        raise ValueError(f"set-point {value} is not a number of 0 or more")
    units = math.floor(value * units_per_one)
    if units / units_per_one > value:
        return units - 1
    if (units + 1) / units_per_one <= value:
        return units + 1
    return units


def split_floored(total_a: float, parts: int, units_per_a: int, max_a: float) -> tuple[float, ...]:
    """`parts` equal shares of `total_a` in whole wire units, none above `max_a`. ValueError: no parts, bad total."""
    if parts < 1:
        raise ValueError(f"a current cannot be split among {parts} modules")
    units = min(floor_units(total_a, units_per_a) // parts, floor_units(max_a, units_per_a))
    return (units / units_per_a,) * parts
