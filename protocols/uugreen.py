"""Job: the frames of UUGreenPower UR1000X0 and of Maxwell ENR modules: one protocol, two tables.

Thread: any (no state). Lock: none. Units: in each name; mV, mA and 0.1 A exist only on the wire.

Typed from: UUGreenPower "UR1000X0 CAN communication guide" v36.2 of 2025-08-18; Maxwell "ENR series CAN protocol" S0 of
2023-09-18. 125 kbit/s, extended identifiers, 8 bytes, big-endian.

Identifier: protocol 1 (28:25), monitor (24:21; ours is 1), module (20:14; 0 = all), then 14 bits that are 0 in a
request and day and serial of the module in a reply. Data: group and message type, command, two bytes 0, a 32-bit value.
The vendor's text lets group 0 mean every group, so it is used with single addresses; OFF to all goes out in the form
of the vendor's own example (group 1, the factory setting) as well: an OFF may not hang on one sentence of a manual.

The text describes one frame that sets all values (type 11). No driver is known to use it, so neither does this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from protocols.base import (
    BitClass,
    Frame,
    MalformedFrame,
    ModuleFlags,
    ModuleReading,
    Nameplate,
    ReadPlan,
    Signal,
    StatusRow,
    Timing,
    check_setpoint,
    command_that_asks,
    floor_units,
    sorted_flags,
    split_floored,
)

ALL_MODULES = 0
ALL_GROUPS = 0
FACTORY_GROUP = 1
MAX_ADDRESS = 127

SET, SET_REPLY, READ, READ_REPLY, SERIAL_REPLY, ALL_SET, ALL_SET_REPLY = 0, 1, 2, 3, 4, 11, 12
_REQUEST_TYPES = frozenset({SET, READ, ALL_SET})

_MONITOR_1 = 1 << 25 | 1 << 21  # protocol 1, monitor 1
_REPLY_MASK = 0x1FE0_0000  # protocol and monitor
_PROTOCOL_1 = 1 << 25
_REQUEST_MASK = 0x1E00_3FFF  # protocol, and the bits that only a module fills
_IDENTITY_MASK = 0x3FFF

_ON, _OFF = 0, 1
_HIGH_RANGE, _LOW_RANGE = 1, 2
_MILLI = 1000
_TENTH = 10


def build_frame(
    address: int, message_type: int, command: int, value: int = 0, *, middle: int = 0, group: int = ALL_GROUPS
) -> tuple[int, bytes]:
    """Identifier and data of any request; `middle` fills bytes 2 and 3. ValueError: no such address."""
    if not ALL_MODULES <= address <= MAX_ADDRESS:
        raise ValueError(f"module address {address}: 1 to {MAX_ADDRESS} is allowed")
    head = bytes((group << 4 | message_type, command)) + middle.to_bytes(2, "big")
    return _MONITOR_1 | address << 14, head + value.to_bytes(4, "big")


# --- status word ----------------------------------------------------------------------------------------------------


_OFF_BIT, _OTHER_LOOP_BIT, _CC_BIT, _SAME_SERIAL_BIT = 25, 26, 27, 29

StatusTable = Mapping[int, StatusRow]

#: bit of command 8 -> name, class. The vendors do not class them; this is judged from the bit's name.
UUGREEN_STATUS: StatusTable = {
    0: ("ac_over_voltage", BitClass.FAULT),
    1: ("ac_under_voltage", BitClass.FAULT),
    2: ("ac_ov_disconnected", BitClass.FAULT),
    3: ("pfc_bus_over_voltage", BitClass.FAULT),
    4: ("pfc_bus_under_voltage", BitClass.FAULT),
    5: ("pfc_bus_unbalance", BitClass.FAULT),
    6: ("dc_over_voltage", BitClass.FAULT),
    7: ("dc_ov_shutdown", BitClass.FAULT),  # latched until off and on, perhaps until an AC cycle
    8: ("dc_under_voltage", BitClass.WARNING_WHILE_ON),
    9: ("fan_stopped", BitClass.FAULT),
    10: ("manual_mode", BitClass.WARNING),
    11: ("fan_driver", BitClass.FAULT),
    12: ("ambient_over_temperature", BitClass.FAULT),
    13: ("ambient_under_temperature", BitClass.FAULT),
    14: ("pfc_over_temperature", BitClass.FAULT),
    15: ("output_relay", BitClass.FAULT),
    16: ("dcdc_over_temperature_1", BitClass.FAULT),
    17: ("dcdc_over_temperature_2", BitClass.FAULT),
    18: ("pfc_dcdc_link_lost", BitClass.FAULT),
    19: ("dcdc_no_pfc_ok", BitClass.WARNING_WHILE_ON),
    20: ("pfc_failure", BitClass.FAULT),
    21: ("dcdc_failure", BitClass.FAULT),
    22: ("derate_ac", BitClass.WARNING),
    23: ("derate_temp", BitClass.WARNING),
    24: ("pfc_off", BitClass.WARNING_WHILE_ON),
    25: ("dcdc_off", BitClass.STATE),
    26: ("loop_bit_26", BitClass.STATE),
    27: ("current_loop", BitClass.STATE),
    28: ("output_unbalance", BitClass.FAULT),
    29: ("same_sn", BitClass.FAULT),
    30: ("short_shutdown", BitClass.FAULT),
    31: ("discharge_circuit", BitClass.FAULT),
}
_RESERVED_ON_ENR = frozenset({10, 17, 19, 24, 30})
ENR_STATUS: StatusTable = {bit: row for bit, row in UUGREEN_STATUS.items() if bit not in _RESERVED_ON_ENR}


def _sorted_flags(word: int, table: StatusTable) -> ModuleFlags:
    return sorted_flags(
        (row for bit, row in table.items() if word >> bit & 1),
        on=not word >> _OFF_BIT & 1,
        constant_current=bool(word >> _CC_BIT & 1) and not word >> _OTHER_LOOP_BIT & 1,
        same_serial=bool(word >> _SAME_SERIAL_BIT & 1),
    )


# --- what a reply's four value bytes mean ---------------------------------------------------------------------------


Head = tuple[int, Signal, int, bool]  # the first four fields of a reading: address, signal, identity, echo


class SignalRow(NamedTuple):
    """One command: what it speaks of, how its value is read, how many wire units make one."""

    command: int
    signal: Signal
    read: Callable[[Head, int, SignalRow], ModuleReading]
    units_per_one: int = 1
    detail: str = ""  # name with unit, for values that no decision uses


def _voltage(head: Head, value: int, row: SignalRow) -> ModuleReading:
    return ModuleReading(*head, voltage_v=value / row.units_per_one)


def _current(head: Head, value: int, row: SignalRow) -> ModuleReading:
    return ModuleReading(*head, current_a=value / row.units_per_one)


def _available(head: Head, value: int, row: SignalRow) -> ModuleReading:
    return ModuleReading(*head, available_a=value / row.units_per_one)


def _current_and_available(head: Head, value: int, row: SignalRow) -> ModuleReading:
    return ModuleReading(
        *head, current_a=(value >> 16) / row.units_per_one, available_a=(value & 0xFFFF) / row.units_per_one
    )


def _power(head: Head, value: int, row: SignalRow) -> ModuleReading:
    if value not in (_ON, _OFF):
        raise MalformedFrame(f"on/off value {value}")
    return ModuleReading(*head, on=value == _ON)


def _range(head: Head, value: int, row: SignalRow) -> ModuleReading:
    # 3 = automatic (ENR): what it will use is not said, so it stays unknown
    return ModuleReading(*head, low_range={_HIGH_RANGE: False, _LOW_RANGE: True}.get(value))


def _detail(head: Head, value: int, row: SignalRow) -> ModuleReading:
    return ModuleReading(*head, details=((row.detail, value / row.units_per_one),))


def _signed_detail(head: Head, value: int, row: SignalRow) -> ModuleReading:
    """Temperatures: two's complement is not stated in the text, but no inlet is at 4 million degrees."""
    return _detail(head, value - (1 << 32) if value >> 31 else value, row)


def _status_row(table: StatusTable) -> SignalRow:
    @lru_cache(maxsize=256)  # a station shows a handful of different words
    def flags_of(word: int) -> ModuleFlags:
        return _sorted_flags(word, table)

    def read(head: Head, value: int, row: SignalRow) -> ModuleReading:
        flags = flags_of(value)
        return ModuleReading(*head, flags=flags, on=flags.on)

    return SignalRow(8, Signal.STATUS, read)


SIGNALS: tuple[SignalRow, ...] = (
    SignalRow(0, Signal.VOLTAGE_SLOW, _voltage, _MILLI),
    SignalRow(1, Signal.CURRENT_SLOW, _current, _MILLI),
    SignalRow(2, Signal.SET_VOLTAGE, _voltage, _MILLI),
    SignalRow(3, Signal.SET_CURRENT, _current, _MILLI),
    SignalRow(4, Signal.POWER, _power),
    _status_row(UUGREEN_STATUS),
    SignalRow(20, Signal.AC_AB, _detail, _MILLI, "ac_ab_v"),
    SignalRow(21, Signal.AC_BC, _detail, _MILLI, "ac_bc_v"),
    SignalRow(22, Signal.AC_CA, _detail, _MILLI, "ac_ca_v"),
    SignalRow(26, Signal.FAN_SUPPLY, _detail, _MILLI, "fan_v"),
    SignalRow(30, Signal.INLET_TEMPERATURE, _signed_detail, _MILLI, "inlet_c"),
    SignalRow(31, Signal.PFC_TEMPERATURE, _signed_detail, _MILLI, "pfc_c"),
    SignalRow(34, Signal.DCDC_TEMPERATURE_1, _signed_detail, _MILLI, "dcdc_1_c"),
    SignalRow(35, Signal.DCDC_TEMPERATURE_2, _signed_detail, _MILLI, "dcdc_2_c"),
    SignalRow(47, Signal.CURRENT_FASTEST, _current, _MILLI),
    SignalRow(48, Signal.CURRENT, _current, _MILLI),
    SignalRow(62, Signal.FAN_SILENCE, _detail, 1, "fan_silence"),
    SignalRow(89, Signal.SET_GROUP, _detail, 1, "set_group"),
    SignalRow(95, Signal.SET_RANGE, _range),
    SignalRow(96, Signal.RANGE_SELECTED, _range),
    SignalRow(98, Signal.VOLTAGE, _voltage, _MILLI),
    SignalRow(101, Signal.RANGE, _range),
    SignalRow(104, Signal.AVAILABLE, _available, _MILLI),
    SignalRow(114, Signal.CURRENT_AND_AVAILABLE, _current_and_available, _TENTH),
)
_ONLY_UUGREEN = frozenset({26, 31, 34, 35, 62})
ENR_SIGNALS: tuple[SignalRow, ...] = (
    *(row for row in SIGNALS if row.command not in _ONLY_UUGREEN and row.signal is not Signal.STATUS),
    _status_row(ENR_STATUS),
    SignalRow(61, Signal.TERMINAL_VOLTAGE, _detail, _MILLI, "terminal_v"),
    SignalRow(120, Signal.FAN_SPEED, _detail, 1, "fan_1_rpm"),
    SignalRow(123, Signal.TEMPERATURE_MARGIN, _signed_detail, _MILLI, "margin_c"),
)

_SERIAL_COMMAND = 5

# --- serial numbers -------------------------------------------------------------------------------------------------

Serial = tuple[str, tuple[tuple[str, float], ...]]  # the number as text, what else the frame says


def _uugreen_serial(can_id: int, data: bytes) -> Serial:
    """Production date, place and number in one text."""
    word = int.from_bytes(data[4:8], "big")
    number, day, month = word & 0x1FFF, word >> 13 & 0x1F, word >> 18 & 0xF
    year, place = word >> 22 & 0x7F, word >> 29
    kind = int.from_bytes(data[2:4], "big")
    details = (("module_type", float(kind & 0x3FF)), ("default_vout", float(kind >> 10)))
    return f"{year:02}{month:02}{day:02}-{place}-{number:04}", details


def _enr_serial(can_id: int, data: bytes) -> Serial:
    """Year, week, number and place letter, as on the label; its last letter (the stage) stands in the identifier."""
    number = data[4] * 1000 + data[5] * 10 + data[6]
    letters = chr(data[7]) + chr(can_id & 0xFF)
    if not (letters.isascii() and letters.isalpha()):
        raise MalformedFrame(f"serial number with the letters {letters!r}")
    return f"{data[2]:02}{data[3]:02}{number:05}{letters}", ()


# --- the make -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)  # two makes are the same only when they are one object
class UUGreenFamily:
    """A make that speaks this protocol. See `protocols.base.Make` for the methods."""

    name: str
    nameplate: Nameplate
    timing: Timing
    reads: ReadPlan
    rows: Mapping[int, SignalRow]
    commands: Mapping[Signal, int]
    serial_of: Callable[[int, bytes], Serial]
    #: False: the identifier of a serial reply carries other things than that of the other replies
    serial_reply_identifies: bool
    voltage_step_v: float = 1 / _MILLI
    current_step_a: float = 1 / _MILLI

    def encode_setpoint(
        self, address: int, voltage_v: float, current_a: float, group: int = ALL_GROUPS
    ) -> tuple[Frame, ...]:
        """Two frames, voltage first. `address` 0 is refused: a set-point to all gives each module the full current."""
        if address == ALL_MODULES:
            raise ValueError("a set-point is never sent to all modules: each would deliver the full current")
        check_setpoint(self.nameplate, address, voltage_v, current_a)
        milli_v, milli_a = floor_units(voltage_v, _MILLI), floor_units(current_a, _MILLI)
        volts = self._set(address, Signal.SET_VOLTAGE, milli_v, group)
        amps = self._set(address, Signal.SET_CURRENT, milli_a, group)
        return volts._replace(voltage_v=milli_v / _MILLI), amps._replace(current_a=milli_a / _MILLI)

    def encode_power(self, address: int, on: bool, group: int = ALL_GROUPS) -> tuple[Frame, ...]:
        """One frame. `address` 0 is refused for ON."""
        if address == ALL_MODULES and on:
            raise ValueError("ON is never sent to all modules")
        return (self._set(address, Signal.POWER, _ON if on else _OFF, group)._replace(on=on),)

    def encode_all_off(self) -> tuple[Frame, ...]:
        """OFF to every module of every group, and once more in the form of the vendor's example."""
        return tuple(
            self._set(ALL_MODULES, Signal.POWER, _OFF, group)._replace(answer=None, on=False)
            for group in (ALL_GROUPS, FACTORY_GROUP)
        )

    def encode_read(self, address: int | None, signal: Signal, group: int = ALL_GROUPS) -> tuple[Frame, ...]:
        """One frame; `address` None asks all modules."""
        command = command_that_asks(self.name, self.commands, signal)
        can_id, data = build_frame(address or ALL_MODULES, READ, command, group=group)
        return (Frame(can_id, data, signal),)

    def encode_range(self, address: int, low: bool, group: int = ALL_GROUPS) -> tuple[Frame, ...]:
        """One frame. Accepted only while the module is off; the UUGreen text lists it as stored in EEPROM."""
        if address == ALL_MODULES:
            raise ValueError("the output range is chosen for one module at a time")
        return (self._set(address, Signal.SET_RANGE, _LOW_RANGE if low else _HIGH_RANGE, group),)

    def address_of(self, can_id: int) -> int | None:
        if can_id & _REPLY_MASK != _MONITOR_1:
            return None
        return can_id >> 14 & MAX_ADDRESS or None

    def decode(self, can_id: int, data: bytes) -> ModuleReading | None:
        message_type = data[0] & 0x0F
        address = self.address_of(can_id)
        if address is None or message_type in _REQUEST_TYPES:
            return None
        identity = can_id & _IDENTITY_MASK
        value = int.from_bytes(data[4:8], "big")
        if message_type in (READ_REPLY, SET_REPLY):
            row = self.rows.get(data[1])
            if row is None:
                raise MalformedFrame(f"module address {address}: unknown command {data[1]}")
            return row.read((address, row.signal, identity, message_type == SET_REPLY), value, row)
        if message_type == SERIAL_REPLY:
            return self._serial(address, identity, can_id, data)
        if message_type == ALL_SET_REPLY:
            return _all_set_echo(address, identity, data)
        raise MalformedFrame(f"module address {address}: unknown message type {message_type}")

    def is_request(self, can_id: int, data: bytes) -> bool:
        return can_id & _REQUEST_MASK == _PROTOCOL_1 and data[0] & 0x0F in _REQUEST_TYPES

    def split_current(self, total_a: float, parts: int) -> tuple[float, ...]:
        return split_floored(total_a, parts, _MILLI, self.nameplate.max_a)

    def _set(self, address: int, signal: Signal, value: int, group: int) -> Frame:
        return Frame(*build_frame(address, SET, self.commands[signal], value, group=group), signal)

    def _serial(self, address: int, identity: int, can_id: int, data: bytes) -> ModuleReading:
        if data[1] != _SERIAL_COMMAND:
            raise MalformedFrame(f"module address {address}: serial reply to command {data[1]}")
        serial, details = self.serial_of(can_id, data)
        known = identity if self.serial_reply_identifies else None
        return ModuleReading(address, Signal.SERIAL, known, serial=serial, details=details)


def _all_set_echo(address: int, identity: int, data: bytes) -> ModuleReading:
    limit, battery, reference = (int.from_bytes(data[i : i + 2], "big") / _TENTH for i in (2, 4, 6))
    return ModuleReading(
        address,
        Signal.SET_ALL,
        identity,
        echo=True,
        voltage_v=reference,
        current_a=limit,
        details=(("vbattery_v", battery), ("byte1", float(data[1]))),
    )


def _commands(rows: Iterable[SignalRow]) -> dict[Signal, int]:
    return {row.signal: row.command for row in rows} | {Signal.SERIAL: _SERIAL_COMMAND}


# 40 kW type (UR100040-SW): 150 to 1000 V, 133 A up to 300 V. In the low range it ends at 500 V.
_NAMEPLATE = Nameplate(
    min_v=150.0, max_v=1000.0, max_a=133.0, power_kw=40.0, low_range_max_v=500.0, min_current_a=0.0
)  # fmt: skip
_TIMING = Timing(
    spacing_s=0.005,
    start_timeout_s=8.0,
    answer_timeout_s=0.25,
    watchdog_s=None,  # neither text speaks of one: a silent module is taken to go on delivering
    broadcast_reads=True,
    resend_after_on=True,
    sets_echoed=True,
    tells_loop=True,
    reads_terminal_side=False,  # "V out"; only ENR has a value of the other side, and names it battery side
)
# The round reads the fast voltage (98) and, in one reply, current and capability (114, 0.1 A), which already counts
# temperature and mains derating. In hand-over the fast current (48) gives the mA.
_READS = ReadPlan(
    round_s=0.5,
    round=(Signal.STATUS, Signal.VOLTAGE, Signal.CURRENT_AND_AVAILABLE),
    watched=(Signal.VOLTAGE, Signal.CURRENT),
    watch_s=0.1,
    first=(Signal.SERIAL, Signal.RANGE),
    slow=(Signal.INLET_TEMPERATURE, Signal.SERIAL, Signal.AC_AB, Signal.RANGE),
    slow_s=5.0,
)

UUGREEN = UUGreenFamily(
    name="uugreen",
    nameplate=_NAMEPLATE,
    timing=_TIMING,
    reads=_READS,
    rows={row.command: row for row in SIGNALS},
    commands=_commands(SIGNALS),
    serial_of=_uugreen_serial,
    serial_reply_identifies=True,
)

MAXWELL_ENR = UUGreenFamily(
    name="maxwell_enr",
    nameplate=_NAMEPLATE,
    timing=_TIMING,
    reads=_READS,
    rows={row.command: row for row in ENR_SIGNALS},
    commands=_commands(ENR_SIGNALS),
    serial_of=_enr_serial,
    serial_reply_identifies=False,
)
