"""Job: how Maxwell MXR (V1.50) and Winline NXR modules talk on the CAN wire: bytes in, bytes out.

Thread: that of the plant (no lock). Units on the wire: float32 V and A, 1/1024 A; in Python V, A, s. Identifier: bits
28:20 0x060, 19 point to point, 18:11 to whom, 10:3 from whom, 2:0 group. Controllers are 0xF0, modules 0 to 63, 0xFF is
all of them. Data: 3 set or 0x10 read; replies 0x41 float or 0x42 whole number, then 0xF0 done or 0xF2 refused; the
register; its value. A voltage below the least of the module is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import pack, unpack

from simulator.board import EVERYBODY, Board, Said
from simulator.power_module import HIGH_RANGE_V, MAX_CURRENT_A, MAX_POWER_W

CONTROLLER, ALL = 0xF0, 0xFF
SET, READ, FLOAT, WHOLE = 0x03, 0x10, 0x41, 0x42
DONE, REFUSED = 0xF0, 0xF2

PROTECTION, OFF, DERATED, SHORT, TOO_HOT = 1 << 1, 1 << 22, 1 << 24, 1 << 28, 1 << 30


def _status(board: Board, now_s: float) -> int:
    del now_s
    word = board.extra_status
    if not board.module.on:
        word |= OFF
    if board.derated:
        word |= DERATED
    return word


#: Register -> what a read of it brings, as a float or as a whole number.
FLOATS: dict[int, Callable[[Board, float], float]] = {
    0x01: lambda board, now_s: board.volts(now_s),
    0x02: lambda board, now_s: board.amps(now_s),
    0x04: lambda board, now_s: 40.0 + 0.1 * board.module.current_a,
    0x0B: lambda board, now_s: 27.5,
    0x0C: lambda board, now_s: board.mains_v[0] / 3**0.5,
    0x11: lambda board, now_s: MAX_POWER_W,
    0x12: lambda board, now_s: 40.0,  # the base of the ratio, not the most it gives
}
WHOLES: dict[int, Callable[[Board, float], int]] = {
    0x40: _status,
    0x43: lambda board, now_s: board.group << 16 | board.address,
    0x48: lambda board, now_s: round(board.volts(now_s) * board.module.current_a),
    0x4B: lambda board, now_s: 3,
    0x54: lambda board, now_s: board.identity.serial << 16 | board.identity.day << 8 | board.identity.month,
    0x55: lambda board, now_s: board.identity.year,
    0x56: lambda board, now_s: 152,
}


def _set_volts(board: Board, value: bytes, now_s: float, least_v: float) -> bool:
    volts: float = unpack(">f", value)[0]
    if not least_v <= volts <= HIGH_RANGE_V:
        return False
    board.module.set_voltage(volts)
    return True


def _set_amps(board: Board, value: bytes, now_s: float, least_v: float) -> bool:
    amps = int.from_bytes(value, "big") / 1024
    if amps > MAX_CURRENT_A + 0.5:
        return False
    board.module.set_current(amps)
    return True


def _switch(board: Board, value: bytes, now_s: float, least_v: float) -> bool:
    word = int.from_bytes(value, "big")
    if word not in (0, 0x0001_0000):
        return False
    board.module.switch(word == 0, now_s)
    return True


#: Register -> what a set of it does (True: done), and the kind of its reply.
SETS: dict[int, tuple[Callable[[Board, bytes, float, float], bool], int]] = {
    0x1B: (_set_amps, WHOLE),
    0x21: (_set_volts, FLOAT),
    0x30: (_switch, WHOLE),
}


@dataclass(frozen=True, slots=True)
class RegisterDialect:
    """See `simulator.board.Dialect` for the members."""

    name: str
    least_v: float
    short_circuit: int = SHORT | PROTECTION
    too_hot: int = TOO_HOT | PROTECTION
    twin: int = 0
    speech_s: float | None = None
    watchdog_s: float | None = None

    def target(self, can_id: int, data: bytes) -> int | None:
        to, source = can_id >> 11 & 0xFF, can_id >> 3 & 0xFF
        if can_id >> 20 != 0x060 or source != CONTROLLER or data[0] not in (SET, READ):
            return None
        return EVERYBODY if to == ALL else to

    def reply(self, board: Board, can_id: int, data: bytes, now_s: float, everybody: bool) -> list[Said]:
        kind, register, value = data[0], int.from_bytes(data[2:4], "big"), data[4:]
        if kind == READ:
            answer = self._read(board, register, now_s)
        elif board.refuses or register not in SETS:
            answer = bytes((WHOLE, REFUSED)) + data[2:]
        else:
            act, reply_kind = SETS[register]
            done = act(board, value, now_s, self.least_v)
            answer = bytes((reply_kind, DONE if done else REFUSED)) + data[2:]
        if everybody and kind == SET:
            return []
        return [(0x0608_0000 | CONTROLLER << 11 | board.address << 3 | board.group & 7, answer)]

    @staticmethod
    def _read(board: Board, register: int, now_s: float) -> bytes:
        if register in FLOATS:
            return pack(">BBHf", FLOAT, DONE, register, FLOATS[register](board, now_s))
        if register in WHOLES:
            return pack(">BBHI", WHOLE, DONE, register, WHOLES[register](board, now_s) & 0xFFFF_FFFF)
        return pack(">BBHI", WHOLE, REFUSED, register, 0)

    def speech(self, board: Board, now_s: float) -> list[Said]:
        raise NotImplementedError("these modules speak only when they are asked")

    def question(self, address: int) -> Said:
        return 0x0608_0000 | address << 11 | CONTROLLER << 3, bytes((READ, 0, 0, 1, 0, 0, 0, 0))


MAXWELL_MXR = RegisterDialect("maxwell_mxr", least_v=150.0)
WINLINE = RegisterDialect("winline", least_v=200.0)
