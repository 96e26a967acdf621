"""Job: the frames of Maxwell MXR and of Winline NXR and UXR modules: one register protocol, two nameplates.

Thread: any (no state). Lock: none. Units: in each name; 1/1024 A and floats exist only on the wire.

Typed from: Maxwell "MXR series CAN protocol" V1.50; Winline "NXR CAN protocol" V1.48 and V1.50. 125 kbit/s, extended
identifiers, 8 bytes, big-endian.

Identifier: protocol 0x060 (28:20), point to point (19), destination (18:11), source (10:3), group (2:0). We are 0xF0;
modules are 0 to 63, 0xFF is all of them. Data: 3 = set, 0x10 = read, replies 0x41 (float) and 0x42 (whole number);
then 0 in a request and 0xF0 for "done" in a reply, the register, and four bytes of value.

The current is set by 0x1B, in 1/1024 A. 0x22 sets the same as a ratio of a rated current that is not the maximum;
the two exclude each other, so 0x22 is never sent. Registers that are stored (altitude, group, address mode) are not
written either.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from protocols.base import (
    BitClass,
    Frame,
    MalformedFrame,
    ModuleFlags,
    ModuleReading,
    Nameplate,
    ReadPlan,
    Refusal,
    Signal,
    StatusRow,
    Timing,
    check_one_module,
    check_setpoint,
    command_that_asks,
    floor_units,
    sorted_flags,
    split_floored,
)

CONTROLLER = 0xF0
ALL_MODULES = 0xFF
MAX_ADDRESS = 63

SET, READ = 0x03, 0x10
FLOAT_REPLY, INTEGER_REPLY = 0x41, 0x42
DONE = 0xF0

_PROTOCOL, _POINT_TO_POINT = 0x060 << 20, 1 << 19
_PROTOCOL_MASK = 0x1FF0_0000
_PER_AMPERE = 1024
#: Voltages are sent on a grid that a float32 holds exactly: rounding to the nearest float might round up.
_PER_VOLT = 64
_ON, _OFF = 0x0000_0000, 0x0001_0000


def build_frame(
    destination: int, kind: int, register: int, value: bytes = b"\0\0\0\0", group: int = 0
) -> tuple[int, bytes]:
    """Identifier and data of any request. ValueError: no such address."""
    if not 0 <= destination <= ALL_MODULES:
        raise ValueError(f"module address {destination}: 0 to {MAX_ADDRESS} is allowed")
    one = _POINT_TO_POINT if destination < CONTROLLER else 0
    can_id = _PROTOCOL | one | destination << 11 | CONTROLLER << 3 | group
    return can_id, bytes((kind, 0)) + register.to_bytes(2, "big") + value


# --- status word ----------------------------------------------------------------------------------------------------

_OFF_BIT = 22

#: bit of register 0x40 -> name, class: severe ones as in the mask of the newer of two known drivers
STATUS: Mapping[int, StatusRow] = {
    0: ("fault", BitClass.FAULT),
    1: ("protection", BitClass.FAULT),
    3: ("sci_comm", BitClass.WARNING),
    4: ("input_mode_error", BitClass.FAULT),
    5: ("input_mode_mismatch", BitClass.FAULT),
    7: ("dcdc_ov", BitClass.FAULT),
    8: ("pfc_abnormal", BitClass.FAULT),
    9: ("ac_ov", BitClass.FAULT),
    14: ("ac_uv", BitClass.FAULT),
    16: ("can_comm", BitClass.FAULT),
    17: ("current_imbalance", BitClass.FAULT),
    _OFF_BIT: ("dcdc_off", BitClass.STATE),  # an idle module has no fault
    23: ("power_limit", BitClass.STATE),
    24: ("derate_temp", BitClass.WARNING),
    25: ("derate_ac", BitClass.WARNING),
    27: ("fan", BitClass.FAULT),
    28: ("short_circuit", BitClass.FAULT),  # latched
    30: ("over_temperature", BitClass.FAULT),
    31: ("output_ov", BitClass.FAULT),  # latched
}


def _flags(word: int) -> ModuleFlags:
    """No bit tells the control loop, and none a twin on the bus."""
    rows = [row for bit, row in STATUS.items() if word >> bit & 1]
    return sorted_flags(rows, on=not word >> _OFF_BIT & 1)


# --- what a reply's four value bytes mean ---------------------------------------------------------------------------

Head = tuple[int, Signal, None, bool]  # the first four fields of a reading: address, signal, no identity, echo


class Register(NamedTuple):
    """One register: what it speaks of, how its value is read, how many wire units make one."""

    number: int
    signal: Signal
    read: Callable[[Head, bytes, Register], ModuleReading]
    units_per_one: int = 1
    detail: str = ""  # name with unit, for values that no decision uses
    echo: bool = False  # a set-point that comes back
    least: float = 0.0


def _float(data: bytes, row: Register) -> float:
    value: float = struct.unpack(">f", data)[0]
    if not row.least <= value < math.inf:
        raise MalformedFrame(f"register {row.number:#x} reads {value}")
    return value / row.units_per_one


def _voltage(head: Head, data: bytes, row: Register) -> ModuleReading:
    return ModuleReading(*head, voltage_v=_float(data, row))


def _current(head: Head, data: bytes, row: Register) -> ModuleReading:
    return ModuleReading(*head, current_a=_float(data, row))


def _detail(head: Head, data: bytes, row: Register) -> ModuleReading:
    return ModuleReading(*head, details=((row.detail, _float(data, row)),))


def _number(head: Head, data: bytes, row: Register) -> ModuleReading:
    return ModuleReading(*head, details=((row.detail, int.from_bytes(data, "big") / row.units_per_one),))


def _set_current(head: Head, data: bytes, row: Register) -> ModuleReading:
    return ModuleReading(*head, current_a=int.from_bytes(data, "big") / row.units_per_one)


def _power(head: Head, data: bytes, row: Register) -> ModuleReading:
    value = int.from_bytes(data, "big")
    if value not in (_ON, _OFF):
        raise MalformedFrame(f"on/off value {value:#x}")
    return ModuleReading(*head, on=value == _ON)


def _status(head: Head, data: bytes, row: Register) -> ModuleReading:
    flags = _flags(int.from_bytes(data, "big"))
    return ModuleReading(*head, on=flags.on, flags=flags)


def _serial(head: Head, data: bytes, row: Register) -> ModuleReading:
    return ModuleReading(*head, serial=data.hex().upper())


def _group_and_address(head: Head, data: bytes, row: Register) -> ModuleReading:
    group, address = struct.unpack(">HH", data)
    return ModuleReading(*head, details=(("group", float(group)), ("address", float(address))))


REGISTERS: tuple[Register, ...] = (
    Register(0x01, Signal.VOLTAGE, _voltage),
    Register(0x02, Signal.CURRENT, _current),
    Register(0x03, Signal.LIMIT_POINT, _detail, 1, "limit_ratio"),
    Register(0x04, Signal.DCDC_TEMPERATURE_1, _detail, 1, "dcdc_c", least=-273.0),
    Register(0x0B, Signal.INLET_TEMPERATURE, _detail, 1, "ambient_c", least=-273.0),
    Register(0x0C, Signal.AC_AB, _detail, 1, "phase_a_v"),
    Register(0x11, Signal.RATED_POWER, _detail, 1, "power_w"),
    Register(0x12, Signal.RATED_CURRENT, _detail, 1, "rated_a"),
    Register(0x17, Signal.ALTITUDE, _number, 1, "altitude_m", echo=True),  # stored: never written
    Register(0x1B, Signal.SET_CURRENT, _set_current, _PER_AMPERE, echo=True),
    Register(0x1E, Signal.SET_GROUP, _number, 1, "set_group", echo=True),  # stored: never written
    Register(0x21, Signal.SET_VOLTAGE, _voltage, echo=True),
    Register(0x30, Signal.POWER, _power, echo=True),
    Register(0x40, Signal.STATUS, _status),
    Register(0x43, Signal.GROUP_AND_ADDRESS, _group_and_address),
    Register(0x48, Signal.INPUT_POWER, _number, 1, "input_w"),
    Register(0x4B, Signal.INPUT_MODE, _number, 1, "input_mode"),
    Register(0x54, Signal.SERIAL, _serial),  # its low half: that of one module differs from that of any other
    Register(0x55, Signal.SERIAL_HIGH, _number, 1, "serial_high"),
    Register(0x56, Signal.VERSION, _number, 1, "dcdc_version"),
    Register(0x75, Signal.FAN_SPEED, _number, 1, "fan"),
)
_ROWS: Mapping[int, Register] = {row.number: row for row in REGISTERS}
_READABLE: Mapping[Signal, int] = {row.signal: row.number for row in REGISTERS if not row.echo}

# --- the make -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)  # two makes are the same only when they are one object
class RegisterFamily:
    """A make that speaks this protocol. See `protocols.base.Make` for the methods."""

    name: str
    nameplate: Nameplate
    timing: Timing
    reads: ReadPlan
    voltage_step_v: float = 1 / _PER_VOLT
    current_step_a: float = 1 / _PER_AMPERE

    def encode_setpoint(self, address: int, voltage_v: float, current_a: float) -> tuple[Frame, ...]:
        """Two frames, voltage first. A voltage below the least of the module would be refused: it is sent as that."""
        check_one_module(address, MAX_ADDRESS, "a set-point")
        plate = self.nameplate
        check_setpoint(plate, address, voltage_v, current_a)
        volts = max(floor_units(voltage_v, _PER_VOLT) / _PER_VOLT, plate.min_v)
        units_a = floor_units(current_a, _PER_AMPERE)
        volts_frame = self._set(address, Signal.SET_VOLTAGE, 0x21, struct.pack(">f", volts))
        amps_frame = self._set(address, Signal.SET_CURRENT, 0x1B, units_a.to_bytes(4, "big"))
        return volts_frame._replace(voltage_v=volts), amps_frame._replace(current_a=units_a / _PER_AMPERE)

    def encode_power(self, address: int, on: bool) -> tuple[Frame, ...]:
        """One frame."""
        check_one_module(address, MAX_ADDRESS, "ON" if on else "OFF to one")
        return (self._set(address, Signal.POWER, 0x30, (_ON if on else _OFF).to_bytes(4, "big"))._replace(on=on),)

    def encode_all_off(self) -> tuple[Frame, ...]:
        """OFF to every module, whatever its group."""
        return (self._set(ALL_MODULES, None, 0x30, _OFF.to_bytes(4, "big"))._replace(on=False),)

    def encode_read(self, address: int | None, signal: Signal) -> tuple[Frame, ...]:
        """One frame. ValueError also for all modules at once: that they all answer is stated nowhere."""
        register = command_that_asks(self.name, _READABLE, signal)
        if address is None:
            raise ValueError(f"{self.name} modules are asked one by one")
        check_one_module(address, MAX_ADDRESS, "a question")
        return (Frame(*build_frame(address, READ, register), signal),)

    def encode_range(self, address: int, low: bool) -> tuple[Frame, ...]:
        """ValueError: the make has one range."""
        raise ValueError(f"{self.name} modules have one output range")

    def address_of(self, can_id: int) -> int | None:
        destination, source = can_id >> 11 & 0xFF, can_id >> 3 & 0xFF
        if can_id & _PROTOCOL_MASK != _PROTOCOL or destination != CONTROLLER or source >= CONTROLLER:
            return None
        return source

    def decode(self, can_id: int, data: bytes) -> ModuleReading | None:
        address = self.address_of(can_id)
        if address is None or data[0] not in (FLOAT_REPLY, INTEGER_REPLY):
            return None
        number = int.from_bytes(data[2:4], "big")
        row = _ROWS.get(number)
        if row is None:
            raise MalformedFrame(f"module address {address}: unknown register {number:#x}")
        if data[1] != DONE:
            return ModuleReading(address, row.signal, None, refusal=Refusal.DATA)
        return row.read((address, row.signal, None, row.echo), data[4:], row)

    def is_request(self, can_id: int, data: bytes) -> bool:
        return can_id & _PROTOCOL_MASK == _PROTOCOL and can_id >> 3 & 0xFF == CONTROLLER and data[0] in (SET, READ)

    def split_current(self, total_a: float, parts: int) -> tuple[float, ...]:
        return split_floored(total_a, parts, _PER_AMPERE, self.nameplate.max_a)

    def _set(self, address: int, answer: Signal | None, register: int, value: bytes) -> Frame:
        return Frame(*build_frame(address, SET, register, value), answer)


_TIMING = Timing(
    spacing_s=0.005,  # two of the known drivers leave 5 ms
    start_timeout_s=8.0,
    answer_timeout_s=0.25,
    watchdog_s=None,  # not documented: a silent module is taken to go on delivering
    broadcast_reads=False,
    resend_after_on=True,
    sets_echoed=True,
    tells_loop=False,
    reads_terminal_side=False,
)
_READS = ReadPlan(
    round_s=0.5,
    round=(Signal.STATUS, Signal.VOLTAGE, Signal.CURRENT),
    watched=(Signal.VOLTAGE, Signal.CURRENT),
    watch_s=0.1,
    first=(Signal.SERIAL, Signal.RATED_POWER),
    slow=(Signal.INLET_TEMPERATURE, Signal.SERIAL, Signal.AC_AB),
    slow_s=5.0,
)

MAXWELL_MXR = RegisterFamily(
    name="maxwell_mxr",
    # MXR100040; its least voltage is in no protocol and taken from its competitors
    nameplate=Nameplate(min_v=150.0, max_v=1000.0, max_a=133.0, power_kw=40.0, low_range_max_v=None, min_current_a=0.0),
    timing=_TIMING,
    reads=_READS,
)

WINLINE = RegisterFamily(
    name="winline",
    # NXR 40 kW; one source names 200 V as the least, another 50 V: the narrower one holds
    nameplate=Nameplate(min_v=200.0, max_v=1000.0, max_a=133.3, power_kw=40.0, low_range_max_v=None, min_current_a=0.0),
    timing=_TIMING,
    reads=_READS,
)
