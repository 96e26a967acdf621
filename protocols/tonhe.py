"""Job: the frames of Tonhe modules (V1.2).

Thread: any (no state). Lock: none. Units: in each name; 0.1 V and 0.01 A exist only on the wire.

Typed from: Tonhe "THJS-TXXY-0060" V1.2. 125 kbit/s, extended identifiers in the manner of J1939, 8 bytes,
little-endian, unlike every other make.

Identifier: priority (28:26), two zero bits, message (23:16), destination (15:8), source (7:0). We are 0xA0, modules are
1 to 240, 0xFF is all of them. Modules speak by themselves, every 0.5 s and when something changes; a command is only
confirmed.

One frame (C_M_24) says everything: on or off, voltage and current. So a set-point always switches on too, and there is
no ON without one. To stop, only 55h counts: 0 V would be served as the least voltage of the module. What is stored
(address, address mode) is never written.
"""

from __future__ import annotations

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
    floor_units,
    sorted_flags,
    split_floored,
)

CONTROLLER = 0xA0
ALL_MODULES = 0xFF
MAX_ADDRESS = 240

#: Identifiers of what we send, without destination and source.
SWITCH_MANY, SET_MANY, HEARTBEAT, COMMAND = 0x0803, 0x1004, 0x1805, 0x0806
SET_ADDRESS, ADDRESS_MODE, INPUT_MODE = 0x1809, 0x1C90, 0x18AA
_REQUESTS = frozenset({SWITCH_MANY, SET_MANY, HEARTBEAT, COMMAND, SET_ADDRESS, ADDRESS_MODE, INPUT_MODE})
#: Identifiers of what modules send.
STATE, CONFIRMATION, AC_INPUT, MORE_STATE = 0x1801, 0x0802, 0x180B, 0x1C91

_ON, _OFF = 0xAA, 0x55
_PER_VOLT, _PER_AMPERE = 10, 100
_FIRST_24 = bytes((0xFF, 0xFF, 0xFF))


def build_frame(message: int, destination: int, data: bytes = b"") -> tuple[int, bytes]:
    """Identifier and data of any request. ValueError: no such address."""
    if destination != ALL_MODULES and not 1 <= destination <= MAX_ADDRESS:
        raise ValueError(f"module address {destination}: 1 to {MAX_ADDRESS} is allowed")
    return message << 16 | destination << 8 | CONTROLLER, data.ljust(8, b"\0")


# --- status ---------------------------------------------------------------------------------------------------------

STATE_OFF, STATE_ON, STATE_FAULT_OFF = 0x00, 0x01, 0x11
_FAULT_OFF = "fault_off"
_HARDWARE = 7

#: bit of the fault word -> name, class. The vendor does not class them; this is judged from the bit's name.
FAULTS: Mapping[int, StatusRow] = {
    0: ("input_under_voltage", BitClass.FAULT),
    1: ("phase_loss", BitClass.FAULT),
    2: ("input_over_voltage", BitClass.FAULT),
    3: ("output_over_voltage", BitClass.FAULT),
    4: ("output_over_current", BitClass.FAULT),
    5: ("temperature_high", BitClass.FAULT),
    6: ("fan", BitClass.FAULT),
    _HARDWARE: ("hw_fault", BitClass.FAULT),  # only beside another fault: warnings set it too
    8: ("bus_exception", BitClass.FAULT),
    9: ("sci_comm", BitClass.WARNING),
    10: ("discharge", BitClass.WARNING),
    11: ("pfc_shutdown", BitClass.WARNING_WHILE_ON),
    12: ("output_uv_warning", BitClass.WARNING),
    13: ("output_ov_warning", BitClass.WARNING),
    14: ("temp_power_limit", BitClass.WARNING),
    15: ("short", BitClass.FAULT),
}
_CONFLICT = 4
#: bit of the PFC's byte -> name, class
PFC: Mapping[int, StatusRow] = {
    0: ("pfc_input_over_current", BitClass.FAULT),
    1: ("mains_frequency", BitClass.FAULT),
    2: ("mains_imbalance", BitClass.WARNING),
    3: ("dctz", BitClass.WARNING),  # the text does not explain it
    _CONFLICT: ("addr_conflict", BitClass.FAULT),
    5: ("bus_bias", BitClass.WARNING),
    6: ("phase_exception", BitClass.FAULT),
    7: ("bus_over_voltage", BitClass.FAULT),
}
#: bit of the second fault word, which comes in a frame of its own -> name. What stops the module shows in its state.
MORE_FAULTS: Mapping[int, str] = {
    0: "front_stage_stop",
    1: "hot_plug",
    2: "can_timeout",
    4: "relay",
    6: "internal_ot",
    7: "inlet_ot",
    8: "input_power_limit",
    9: "ot_power_limit",
    10: "discharge_changeover",
}


def _flags(state: int, word: int, pfc: int) -> ModuleFlags:
    """The state is the authority for "down by a fault". No bit tells the control loop."""
    rows = [row for bit, row in FAULTS.items() if word >> bit & 1]
    rows += [row for bit, row in PFC.items() if pfc >> bit & 1]
    if state == STATE_FAULT_OFF:
        rows.append((_FAULT_OFF, BitClass.FAULT))
    hardware = FAULTS[_HARDWARE]
    if [row for row in rows if row[1] is BitClass.FAULT] == [hardware]:
        rows[rows.index(hardware)] = (hardware[0], BitClass.WARNING)
    return sorted_flags(rows, on=state == STATE_ON, same_serial=bool(pfc >> _CONFLICT & 1))


# --- what a message's eight bytes mean ------------------------------------------------------------------------------

Head = tuple[int, Signal, None, bool]  # the first four fields of a reading: address, signal, no identity, echo


class MessageRow(NamedTuple):
    """One message of a module: what it speaks of and how it is read."""

    message: int
    signal: Signal
    read: Callable[[Head, bytes], ModuleReading]
    echo: bool = False


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _state(head: Head, data: bytes) -> ModuleReading:
    if data[0] not in (STATE_OFF, STATE_ON, STATE_FAULT_OFF):
        raise MalformedFrame(f"module address {head[0]}: state {data[0]:#x}")
    flags = _flags(data[0], _u16(data, 5), data[7])
    volts, amps = _u16(data, 1) / _PER_VOLT, _u16(data, 3) / _PER_AMPERE
    return ModuleReading(*head, voltage_v=volts, current_a=amps, on=flags.on, flags=flags)


def _confirmation(head: Head, data: bytes) -> ModuleReading:
    if data[0] > 1:
        raise MalformedFrame(f"module address {head[0]}: confirmation {data[0]:#x}")
    return ModuleReading(*head, refusal=None if data[0] else Refusal.COMMAND)


def _ac_input(head: Head, data: bytes) -> ModuleReading:
    """Sign of the temperature: not stated; no inlet is at 60000 degrees."""
    names = ("ac_a_v", "ac_b_v", "ac_c_v")
    volts = tuple((name, _u16(data, 2 * index) / _PER_VOLT) for index, name in enumerate(names))
    ambient_c = int.from_bytes(data[6:8], "little", signed=True)
    return ModuleReading(*head, details=(*volts, ("ambient_c", float(ambient_c))))


def _more_state(head: Head, data: bytes) -> ModuleReading:
    warnings = frozenset(name for bit, name in MORE_FAULTS.items() if _u16(data, 2) >> bit & 1)
    return ModuleReading(*head, more_warnings=warnings, details=(("ext_state", float(_u16(data, 0))),))


MESSAGES: tuple[MessageRow, ...] = (
    MessageRow(STATE, Signal.STATUS, _state),
    MessageRow(CONFIRMATION, Signal.SET_ALL, _confirmation, echo=True),
    MessageRow(AC_INPUT, Signal.AC_VOLTAGES, _ac_input),
    MessageRow(MORE_STATE, Signal.MORE_STATUS, _more_state),
)
_ROWS: Mapping[int, MessageRow] = {row.message: row for row in MESSAGES}

# --- the make -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)  # two makes are the same only when they are one object
class Tonhe:
    """See `protocols.base.Make` for the methods."""

    name: str
    nameplate: Nameplate
    timing: Timing
    reads: ReadPlan
    voltage_step_v: float = 1 / _PER_VOLT
    current_step_a: float = 1 / _PER_AMPERE

    def encode_setpoint(self, address: int, voltage_v: float, current_a: float) -> tuple[Frame, ...]:
        """One frame, which also switches on. What is below the least of the module is sent as that: it serves that."""
        check_one_module(address, MAX_ADDRESS, "a set-point")
        plate = self.nameplate
        check_setpoint(plate, address, voltage_v, current_a)
        tenths_v = max(floor_units(voltage_v, _PER_VOLT), round(plate.min_v * _PER_VOLT))
        hundredths_a = max(floor_units(current_a, _PER_AMPERE), round(plate.min_current_a * _PER_AMPERE))
        frame = self._command(address, _ON, tenths_v, hundredths_a)
        return (frame._replace(voltage_v=tenths_v / _PER_VOLT, current_a=hundredths_a / _PER_AMPERE),)

    def encode_power(self, address: int, on: bool) -> tuple[Frame, ...]:
        """OFF: one frame. ON: none, the set-point switches on."""
        check_one_module(address, MAX_ADDRESS, "ON" if on else "OFF to one")
        return () if on else (self._command(address, _OFF, 0, 0),)

    def encode_all_off(self) -> tuple[Frame, ...]:
        """OFF to the modules 1 to 24."""
        return (Frame(*build_frame(SWITCH_MANY, ALL_MODULES, _FIRST_24 + bytes((_OFF,))), on=False),)

    def encode_read(self, address: int | None, signal: Signal) -> tuple[Frame, ...]:
        """The heartbeat to all, which nobody answers. ValueError for anything else: modules tell by themselves."""
        if address is not None or signal is not Signal.HEARTBEAT:
            raise ValueError(f"{self.name} modules are not asked for their {signal.value}: they tell by themselves")
        return (Frame(*build_frame(HEARTBEAT, ALL_MODULES)),)

    def encode_range(self, address: int, low: bool) -> tuple[Frame, ...]:
        """ValueError: the make has one range."""
        raise ValueError(f"{self.name} modules have one output range")

    def address_of(self, can_id: int) -> int | None:
        source = can_id & 0xFF
        if can_id >> 16 not in _ROWS or can_id >> 8 & 0xFF != CONTROLLER or not 1 <= source <= MAX_ADDRESS:
            return None
        return source

    def decode(self, can_id: int, data: bytes) -> ModuleReading | None:
        address = self.address_of(can_id)
        if address is None:
            return None
        row = _ROWS[can_id >> 16]
        return row.read((address, row.signal, None, row.echo), data)

    def is_request(self, can_id: int, data: bytes) -> bool:
        return can_id >> 16 in _REQUESTS and can_id & 0xFF == CONTROLLER

    def split_current(self, total_a: float, parts: int) -> tuple[float, ...]:
        return split_floored(total_a, parts, _PER_AMPERE, self.nameplate.max_a)

    def _command(self, address: int, switch: int, tenths_v: int, hundredths_a: int) -> Frame:
        data = bytes((switch, 0)) + tenths_v.to_bytes(2, "little") + hundredths_a.to_bytes(2, "little")
        return Frame(*build_frame(COMMAND, address, data), Signal.SET_ALL, on=switch == _ON)


TONHE = Tonhe(
    name="tonhe",
    # 40 kW type: its limits are in no text that was at hand, so they are those of its competitors. That it keeps no
    # less than 1 A is taken from them too: the text only says that 0 A is served as the least current.
    nameplate=Nameplate(min_v=150.0, max_v=1000.0, max_a=133.0, power_kw=40.0, low_range_max_v=None, min_current_a=1.0),
    timing=Timing(
        spacing_s=0.005,  # not stated; as with the other makes
        start_timeout_s=8.0,
        answer_timeout_s=0.25,
        watchdog_s=20.0,  # from the manual of a TH750
        broadcast_reads=True,
        resend_after_on=True,
        sets_echoed=True,
        tells_loop=False,
        reads_terminal_side=False,
        unasked_age_s=0.05,  # not stated: a frame that is built waits so long at most for the bus
    ),
    # V1.2 wants a heartbeat every 5 s; with one each round a dead link is found as quickly as with the other makes.
    reads=ReadPlan(
        round_s=0.5,  # modules tell their state that often
        round=(Signal.HEARTBEAT,),
        watched=(),
        watch_s=0.5,
        first=(),
        slow=(),
        slow_s=5.0,
    ),
)
