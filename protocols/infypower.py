"""Job: the frames of Infypower REG, CEG and LRG modules.

Thread: any (no state). Lock: none. Units: in each name; mV, mA, 0.1 V, 0.1 A and 10 W exist only on the wire.

Typed from: Infypower "Charging module communication protocol" V1.09 and V1.13, as its users print it (command list,
example frames, status tables; they disagree on four status bits, see STATUS). 125 kbit/s, extended identifiers,
8 bytes, big-endian.

Identifier: error (28:26; 0 in a request), device (25:22; 0x0A one module or all, 0x0B a group), command (21:16),
destination (15:8), source (7:0). We are 0xF0; modules are 0x00 to 0x3E, 0x3F is all of them. A reply swaps the two.

Set-points go to single modules (0x1C). The total for a group (0x1B) is never sent: the two exclude each other, and one
member switched off breaks the sharing of a group.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
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
ALL_MODULES = 0x3F
MAX_ADDRESS = 0x3E
SINGLE, GROUP = 0x0A, 0x0B

_MILLI = 1000
_TENTH = 10
_NOTHING = bytes(8)


class Command(IntEnum):
    """The commands of the driver; the text has more."""

    VOLTAGE_AND_CURRENT = 0x03
    STATUS = 0x04
    AC_VOLTAGE = 0x06
    VOLTAGE_AND_CURRENT_MILLI = 0x09
    NAMEPLATE = 0x0A
    BAR_CODE = 0x0B
    TERMINAL_AND_AVAILABLE = 0x0C
    MODE = 0x0F
    POWER = 0x1A
    SET_MODULE = 0x1C


#: First two bytes of MODE, and the last one.
_RANGE_MODE = bytes((0x11, 0x14, 0, 0, 0, 0, 0))
_LOW, _HIGH = 0xA0, 0xA1
_ON, _OFF = 0, 1


def build_frame(command: int, destination: int, data: bytes = _NOTHING, device: int = SINGLE) -> tuple[int, bytes]:
    """Identifier and data of any request. ValueError: no such address. A short request is answered with an error."""
    if not 0 <= destination <= ALL_MODULES:
        raise ValueError(f"module address {destination}: 0 to {MAX_ADDRESS} is allowed")
    return device << 22 | command << 16 | destination << 8 | CONTROLLER, data.ljust(8, b"\0")


# --- status word ----------------------------------------------------------------------------------------------------

_DC_OFF, _ID_DUPLICATE = "dc_off", "id_duplicate"

#: (byte, bit) of command 4 -> name, class. The vendor does not class them; this is judged from the bit's name. Bits on
#: which the sources disagree are warnings: they are logged, and stop nothing.
STATUS: Mapping[tuple[int, int], StatusRow] = {
    (5, 0): ("power_limited", BitClass.STATE),
    (5, 1): (_ID_DUPLICATE, BitClass.FAULT),
    (5, 2): ("load_sharing", BitClass.FAULT),
    (5, 3): ("input_phase_loss", BitClass.FAULT),
    (5, 4): ("input_unbalance", BitClass.WARNING),
    (5, 5): ("input_under_voltage", BitClass.FAULT),
    (5, 6): ("input_over_voltage", BitClass.FAULT),
    (5, 7): ("pfc_off", BitClass.WARNING_WHILE_ON),
    (6, 0): (_DC_OFF, BitClass.STATE),
    (6, 1): ("fault", BitClass.FAULT),
    (6, 2): ("protection", BitClass.FAULT),
    (6, 3): ("fan_fault", BitClass.WARNING),
    (6, 4): ("over_temperature", BitClass.FAULT),
    (6, 5): ("output_over_voltage", BitClass.FAULT),
    (6, 6): ("walk_in_enabled", BitClass.STATE),
    (6, 7): ("comm_interrupt", BitClass.WARNING),  # it has switched itself off: everything must be sent again
    (7, 0): ("output_short", BitClass.FAULT),
    (7, 1): ("internal_fault_disputed", BitClass.WARNING),
    (7, 2): ("internal_comm_disputed", BitClass.WARNING),
    (7, 3): ("input_abnormal_disputed", BitClass.WARNING),
    (7, 4): ("sleeping", BitClass.STATE),
    (7, 5): ("discharge_abnormal", BitClass.WARNING),
    (7, 6): ("air_duct", BitClass.WARNING),
    (7, 7): ("comm_or_pfc_disputed", BitClass.WARNING),
}


def _flags(data: bytes) -> ModuleFlags:
    """No bit tells the control loop."""
    rows = [row for (byte, bit), row in STATUS.items() if data[byte] >> bit & 1]
    names = {name for name, _ in rows}
    return sorted_flags(rows, on=_DC_OFF not in names, same_serial=_ID_DUPLICATE in names)


# --- what a reply's bytes mean --------------------------------------------------------------------------------------

Head = tuple[int, Signal, None, bool]  # the first four fields of a reading: address, signal, no identity, echo


class CommandRow(NamedTuple):
    """One command that a module answers: what the reply speaks of and how its eight bytes are read."""

    command: Command
    signal: Signal
    read: Callable[[Head, bytes], ModuleReading]
    echo: bool = False


def _floats(head: Head, data: bytes) -> ModuleReading:
    volts, amps = struct.unpack(">ff", data)
    if not (0.0 <= volts < math.inf and 0.0 <= amps < math.inf):
        raise MalformedFrame(f"module address {head[0]}: {volts} V, {amps} A")
    return ModuleReading(*head, voltage_v=volts, current_a=amps)


def _millis(head: Head, data: bytes) -> ModuleReading:
    milli_v, milli_a = struct.unpack(">II", data)
    return ModuleReading(*head, voltage_v=milli_v / _MILLI, current_a=milli_a / _MILLI)


def _status(head: Head, data: bytes) -> ModuleReading:
    ambient_c = data[4] - 256 if data[4] & 0x80 else data[4]
    flags = _flags(data)
    details = (("group", float(data[2])), ("ambient_c", float(ambient_c)))
    return ModuleReading(*head, on=flags.on, flags=flags, details=details)


def _ac_voltages(head: Head, data: bytes) -> ModuleReading:
    names = ("ac_ab_v", "ac_bc_v", "ac_ca_v")
    return ModuleReading(*head, details=tuple(zip(names, _tenths(data, 3), strict=True)))


def _nameplate(head: Head, data: bytes) -> ModuleReading:
    most_v, least_v, tenths_a, tens_w = struct.unpack(">HHHH", data)
    limits_v = (("max_v", float(most_v)), ("min_v", float(least_v)))
    return ModuleReading(*head, details=(*limits_v, ("max_a", tenths_a / _TENTH), ("power_w", tens_w * 10.0)))


def _bar_code(head: Head, data: bytes) -> ModuleReading:
    """Twelve digits, a letter, four digits. The packing is inferred; it gives the one printed pair."""
    letter, digits, number = chr(data[0]), int.from_bytes(data[1:6], "big"), int.from_bytes(data[6:8], "big")
    if not (letter.isascii() and letter.isalnum() and digits < 10**12 and number < 10**4):
        raise MalformedFrame(f"module address {head[0]}: bar code {data.hex(' ')}")
    return ModuleReading(*head, serial=f"{digits:012}{letter}{number:04}")


def _terminal_and_available(head: Head, data: bytes) -> ModuleReading:
    terminal_v, available_a = _tenths(data, 2)
    return ModuleReading(*head, available_a=available_a, details=(("terminal_v", terminal_v),))


def _power(head: Head, data: bytes) -> ModuleReading:
    if data[0] not in (_ON, _OFF):
        raise MalformedFrame(f"module address {head[0]}: on/off value {data[0]}")
    return ModuleReading(*head, on=data[0] == _ON)


def _range(head: Head, data: bytes) -> ModuleReading:
    if data[:7] != _RANGE_MODE:
        return ModuleReading(*head)
    return ModuleReading(*head, low_range={_LOW: True, _HIGH: False}.get(data[7]))


def _tenths(data: bytes, count: int) -> tuple[float, ...]:
    return tuple(value / _TENTH for value in struct.unpack(f">{count}H", data[: 2 * count]))


COMMANDS: tuple[CommandRow, ...] = (
    CommandRow(Command.VOLTAGE_AND_CURRENT, Signal.VOLTAGE_AND_CURRENT, _floats),
    CommandRow(Command.STATUS, Signal.STATUS, _status),
    CommandRow(Command.AC_VOLTAGE, Signal.AC_VOLTAGES, _ac_voltages),
    CommandRow(Command.VOLTAGE_AND_CURRENT_MILLI, Signal.VOLTAGE_AND_CURRENT_SLOW, _millis),
    CommandRow(Command.NAMEPLATE, Signal.NAMEPLATE, _nameplate),
    CommandRow(Command.BAR_CODE, Signal.SERIAL, _bar_code),
    CommandRow(Command.TERMINAL_AND_AVAILABLE, Signal.TERMINAL_AND_AVAILABLE, _terminal_and_available),
    CommandRow(Command.MODE, Signal.SET_RANGE, _range, echo=True),
    CommandRow(Command.POWER, Signal.POWER, _power, echo=True),
    CommandRow(Command.SET_MODULE, Signal.SET_ALL, _millis, echo=True),
)

_REFUSALS = {2: Refusal.COMMAND, 3: Refusal.DATA, 4: Refusal.ADDRESS, 7: Refusal.STARTING}

# --- the make -------------------------------------------------------------------------------------------------------

_ROWS: Mapping[int, CommandRow] = {row.command: row for row in COMMANDS}
_READABLE: Mapping[Signal, int] = {row.signal: row.command for row in COMMANDS if not row.echo}


@dataclass(frozen=True, slots=True, eq=False)  # two makes are the same only when they are one object
class Infypower:
    """See `protocols.base.Make` for the methods."""

    name: str
    nameplate: Nameplate
    timing: Timing
    reads: ReadPlan
    voltage_step_v: float = 1 / _MILLI
    current_step_a: float = 1 / _MILLI

    def encode_setpoint(self, address: int, voltage_v: float, current_a: float) -> tuple[Frame, ...]:
        """One frame. What is below the least that the module keeps is sent as that: it refuses less than 1 A."""
        check_one_module(address, MAX_ADDRESS, "a set-point")
        plate = self.nameplate
        check_setpoint(plate, address, voltage_v, current_a)
        milli_v = max(floor_units(voltage_v, _MILLI), round(plate.min_v * _MILLI))
        milli_a = max(floor_units(current_a, _MILLI), round(plate.min_current_a * _MILLI))
        can_id, data = build_frame(Command.SET_MODULE, address, struct.pack(">II", milli_v, milli_a))
        return (Frame(can_id, data, Signal.SET_ALL, milli_v / _MILLI, milli_a / _MILLI),)

    def encode_power(self, address: int, on: bool) -> tuple[Frame, ...]:
        """One frame."""
        check_one_module(address, MAX_ADDRESS, "ON" if on else "OFF to one")
        return (Frame(*build_frame(Command.POWER, address, bytes((_ON if on else _OFF,))), Signal.POWER, on=on),)

    def encode_all_off(self) -> tuple[Frame, ...]:
        """OFF to every module, whatever its group."""
        return (Frame(*build_frame(Command.POWER, ALL_MODULES, bytes((_OFF,))), on=False),)

    def encode_read(self, address: int | None, signal: Signal) -> tuple[Frame, ...]:
        """One frame. ValueError also for all modules at once: they answer with sums, or not at all."""
        command = command_that_asks(self.name, _READABLE, signal)
        if address is None:
            raise ValueError(f"{self.name} modules are asked one by one")
        check_one_module(address, MAX_ADDRESS, "a question")
        return (Frame(*build_frame(command, address), signal),)

    def encode_range(self, address: int, low: bool) -> tuple[Frame, ...]:
        """One frame; only while the module is off."""
        check_one_module(address, MAX_ADDRESS, "the output range")
        data = _RANGE_MODE + bytes((_LOW if low else _HIGH,))
        return (Frame(*build_frame(Command.MODE, address, data), Signal.SET_RANGE),)

    def address_of(self, can_id: int) -> int | None:
        device, command, destination, source = _fields(can_id)
        if destination != CONTROLLER or source > MAX_ADDRESS:
            return None
        if device == SINGLE or (device == GROUP and command == Command.STATUS):
            return source
        return None  # other answers of a group carry its number, not an address

    def decode(self, can_id: int, data: bytes) -> ModuleReading | None:
        address = self.address_of(can_id)
        if address is None:
            return None
        row = _ROWS.get(can_id >> 16 & 0x3F)
        if row is None:
            raise MalformedFrame(f"module address {address}: unknown command {can_id >> 16 & 0x3F}")
        error = can_id >> 26
        if error:
            refusal = _REFUSALS.get(error)
            if refusal is None:
                raise MalformedFrame(f"module address {address}: unknown error {error}")
            return ModuleReading(address, row.signal, None, refusal=refusal)
        return row.read((address, row.signal, None, row.echo), data)

    def is_request(self, can_id: int, data: bytes) -> bool:
        device, _, destination, source = _fields(can_id)
        return device in (SINGLE, GROUP) and destination <= ALL_MODULES and 0xF0 <= source <= 0xF8

    def split_current(self, total_a: float, parts: int) -> tuple[float, ...]:
        return split_floored(total_a, parts, _MILLI, self.nameplate.max_a)


def _fields(can_id: int) -> tuple[int, int, int, int]:
    """Device, command, destination, source."""
    return can_id >> 22 & 0xF, can_id >> 16 & 0x3F, can_id >> 8 & 0xFF, can_id & 0xFF


INFYPOWER = Infypower(
    name="infypower",
    # REG1K0135A2: 150 to 1000 V, 133 A up to 300 V. It has one range as far as the station is concerned: in automatic
    # mode it changes its relays by itself.
    nameplate=Nameplate(min_v=150.0, max_v=1000.0, max_a=133.0, power_kw=40.0, low_range_max_v=None, min_current_a=1.0),
    timing=Timing(
        spacing_s=0.05,  # "50 to 200 ms": two commands that follow closely are lost
        start_timeout_s=8.0,  # output within about 6 s
        answer_timeout_s=0.25,
        watchdog_s=10.0,  # V1.13: off after 10 s without the controller
        broadcast_reads=False,
        resend_after_on=True,
        sets_echoed=True,
        tells_loop=False,
        reads_terminal_side=False,  # its V is on the module's side of the diode; 0x0C has the other one
    ),
    # 20 frames a second for nine modules: 4 each in 2 s are 36 of 40.
    reads=ReadPlan(
        round_s=2.0,
        round=(Signal.STATUS, Signal.VOLTAGE_AND_CURRENT, Signal.TERMINAL_AND_AVAILABLE),
        watched=(Signal.VOLTAGE_AND_CURRENT,),
        watch_s=0.5,
        first=(Signal.SERIAL, Signal.NAMEPLATE),
        slow=(Signal.SERIAL, Signal.AC_VOLTAGES),
        slow_s=20.0,
    ),
)
