"""Job: how UUGreenPower UR1000X0 (v36.2) and Maxwell ENR (S0) modules talk on the CAN wire: bytes in, bytes out.

Thread: that of the plant (no lock). Units on the wire: mV, mA, milli-degC, 0.1 V and 0.1 A in one-frame sets; in
Python V, A, s. Identifier: bits 28:25 protocol 1, 24:21 monitor, 20:14 module (0 = all), 13:9 production day, 8:0 low
serial bits; requests leave the last two fields 0, replies carry them. Byte 0: group (0 = all) and message type; byte
1: command; 4 to 7: value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from struct import Struct

from simulator.board import EVERYBODY, Board, Identity, Said

SET, SET_REPLY, READ, READ_REPLY, SERIAL_REPLY, ALL_SET, ALL_SET_REPLY = 0, 1, 2, 3, 4, 11, 12
SERIAL = 5

STATUS_DC_UNDER_VOLTAGE = 1 << 8
STATUS_TOO_HOT = 1 << 16
STATUS_DERATED_BY_HEAT = 1 << 23
STATUS_OFF = 1 << 25
STATUS_CONSTANT_CURRENT = 1 << 27
STATUS_SHORT_CIRCUIT = 1 << 30
#: ENR has bit 21 (DC-DC failure) where UU has the short circuit, which is reserved there.
STATUS_FAILURE = 1 << 21

MODE_HIGH, MODE_LOW = 1, 2

_VALUE = Struct(">BBHI")
_ONE_FRAME = Struct(">BBHHH")


def _id_bits(identity: Identity) -> int:
    """The 14 low identifier bits of every reply."""
    return identity.day << 9 | identity.serial & 0x1FF


def _status(board: Board, now_s: float) -> int:
    """The status word of command 8."""
    module = board.module
    word = board.extra_status
    if not module.on:
        word |= STATUS_OFF
    elif module.starting(now_s):
        word |= STATUS_DC_UNDER_VOLTAGE
    elif module.constant_current:
        word |= STATUS_CONSTANT_CURRENT
    if board.derated:
        word |= STATUS_DERATED_BY_HEAT
    return word


def _mode(board: Board, now_s: float) -> int:
    del now_s
    return MODE_LOW if board.module.low_range else MODE_HIGH


def _current_and_ability(board: Board, now_s: float) -> int:
    return int(board.amps(now_s) * 10.0) << 16 | int(board.able_amps(now_s) * 10.0)


def _inlet_millidegrees(board: Board, now_s: float) -> int:
    return round(27_500 + 80 * board.amps(now_s))


#: Command -> the u32 that a read of it brings.
READS: dict[int, Callable[[Board, float], int]] = {
    0: lambda board, now_s: int(board.volts(now_s) * 1000.0),
    1: lambda board, now_s: int(board.amps(now_s) * 1000.0),
    2: lambda board, now_s: round(board.module.set_v * 1000.0),
    3: lambda board, now_s: round(board.module.set_a * 1000.0),
    8: _status,
    20: lambda board, now_s: round(board.mains_v[0] * 1000.0),
    21: lambda board, now_s: round(board.mains_v[1] * 1000.0),
    22: lambda board, now_s: round(board.mains_v[2] * 1000.0),
    26: lambda board, now_s: 10_000 if board.module.on else 4_000,
    30: _inlet_millidegrees,
    47: lambda board, now_s: int(board.amps(now_s) * 1000.0),
    48: lambda board, now_s: int(board.amps(now_s) * 1000.0),
    62: lambda board, now_s: board.silence_level,
    89: lambda board, now_s: board.group,
    96: _mode,
    98: lambda board, now_s: int(board.volts(now_s) * 1000.0),
    101: _mode,
    104: lambda board, now_s: int(board.able_amps(now_s) * 1000.0),
    114: _current_and_ability,
}


def _switch(board: Board, value: int, now_s: float) -> None:
    if value in (0, 1):
        board.module.switch(value == 0, now_s)


def _choose_range(board: Board, value: int, now_s: float) -> None:
    del now_s
    if value in (MODE_HIGH, MODE_LOW):
        board.module.set_range(value == MODE_LOW)


def _regroup(board: Board, value: int, now_s: float) -> None:
    del now_s
    if 1 <= value <= 15:
        board.group = value


def _quieten(board: Board, value: int, now_s: float) -> None:
    del now_s
    if value in (0, 1):
        board.silence_level = value


#: Command -> what a set of it does.
SETS: dict[int, Callable[[Board, int, float], None]] = {
    2: lambda board, value, now_s: board.module.set_voltage(value / 1000.0),
    3: lambda board, value, now_s: board.module.set_current(value / 1000.0),
    4: _switch,
    62: _quieten,
    89: _regroup,
    95: _choose_range,
}


@dataclass(frozen=True, slots=True)
class UUGreenDialect:
    """See `simulator.board.Dialect` for the members."""

    name: str = "uugreen"
    short_circuit: int = STATUS_SHORT_CIRCUIT
    too_hot: int = STATUS_TOO_HOT
    twin: int = 0
    speech_s: float | None = None
    watchdog_s: float | None = None
    unknown: Collection[int] = ()  # commands that this make lacks
    serial: Callable[[Board], Said] | None = None

    def target(self, can_id: int, data: bytes) -> int | None:
        if can_id >> 25 != 1 or can_id >> 21 & 15 > 1 or data[0] & 15 not in (READ, SET, ALL_SET):
            return None
        return (can_id >> 14 & 127) or EVERYBODY

    def reply(self, board: Board, can_id: int, data: bytes, now_s: float, everybody: bool) -> list[Said]:
        kind, group, command = data[0] & 15, data[0] >> 4, data[1]
        if (group and group != board.group) or (kind != ALL_SET and command in self.unknown):
            return []
        if command == SERIAL and kind in (READ, SET) and not (everybody and kind == SET):
            # the guide prints the serial request with message type 0, so the module takes it
            return [self.serial(board) if self.serial is not None else _serial(board)]
        payload = _reply(board, kind, data, now_s, everybody)
        return [] if payload is None else [(_reply_id(board), payload)]

    def speech(self, board: Board, now_s: float) -> list[Said]:
        raise NotImplementedError("these modules speak only when they are asked")

    def question(self, address: int) -> Said:
        return 0x0200_0000 | address << 14, bytes((0x10 | READ, 0, 0, 0, 0, 0, 0, 0))


def _reply_id(board: Board) -> int:
    return 0x0220_0000 | board.address << 14 | _id_bits(board.identity)


def _reply(board: Board, kind: int, data: bytes, now_s: float, broadcast: bool) -> bytes | None:
    command = data[1]
    if kind == READ:
        return _read(board, command, now_s)
    if kind == ALL_SET:
        _set_all(board, data, now_s)
        return None if broadcast else bytes((board.group << 4 | ALL_SET_REPLY,)) + data[1:]
    act = SETS.get(command)
    if act is None:
        return None
    act(board, int.from_bytes(data[4:], "big"), now_s)
    return None if broadcast else bytes((board.group << 4 | SET_REPLY,)) + data[1:]


def _read(board: Board, command: int, now_s: float) -> bytes | None:
    read = READS.get(command)
    if read is None:
        return None
    return _VALUE.pack(board.group << 4 | READ_REPLY, command, 0, read(board, now_s) & 0xFFFF_FFFF)


def _serial(board: Board) -> Said:
    """UU: production date, place and number; bytes 2 to 3 the type."""
    plate = board.identity
    date = plate.day << 13 | plate.month << 18 | (plate.year - 2000) << 22
    type_word = plate.type_code | plate.default_voltage_code << 10
    data = _VALUE.pack(board.group << 4 | SERIAL_REPLY, SERIAL, type_word, plate.serial | date | plate.place << 29)
    return _reply_id(board), data


def _enr_serial(board: Board) -> Said:
    """ENR: year, week, number in three bytes, place letter; the stage letter ends the identifier."""
    plate = board.identity
    number = plate.serial
    digits = bytes((number // 1000, number % 1000 // 10, number % 10))
    week = plate.month * 4
    data = bytes((board.group << 4 | SERIAL_REPLY, SERIAL, plate.year - 2000, week)) + digits + b"W"
    return _reply_id(board) & ~0xFF | ord("D"), data


def _set_all(board: Board, data: bytes, now_s: float) -> None:
    """One-frame set: mode and switch in byte 1, then current limit, battery voltage and voltage reference in tenths."""
    _, flags, current, _battery, voltage = _ONE_FRAME.unpack(data)
    module = board.module
    mode = flags >> 6
    wants_low = mode == 3
    if mode in (2, 3) and module.low_range != wants_low:
        module.switch(False, now_s)
        module.set_range(wants_low)
    module.switch(not flags & 1, now_s)
    module.set_voltage(voltage / 10.0)
    module.set_current(current / 10.0)


UUGREEN = UUGreenDialect()
MAXWELL_ENR = UUGreenDialect(
    name="maxwell_enr", short_circuit=STATUS_FAILURE, unknown=(26, 31, 34, 35, 62), serial=_enr_serial
)
