"""Job: how Infypower REG modules (V1.13) talk on the CAN wire: bytes in, bytes out.

Thread: that of the plant (no lock). Units on the wire: mV and mA, or float32; 0.1 V and 0.1 A; in Python V, A, s.
Identifier: bits 28:26 error, 25:22 device (0x0A one or all, 0x0B a group), 21:16 command, 15:8 to whom, 7:0 from whom.
Controllers are 0xF0 to 0xF8, modules 0 to 0x3B, 0x3F is all of them.

What these modules are known for: a frame that follows another one within 50 ms may be lost (`HURRY_S`: here it always
is, unless it switches off), nothing heard for 10 s switches them off, less than 1 A or a voltage outside the nameplate
is refused, and while one starts it does not tell its current.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import pack, unpack

from simulator.board import EVERYBODY, Board, Said
from simulator.power_module import HIGH_RANGE_V, MAX_CURRENT_A, MAX_POWER_W, MIN_VOLTAGE_V

ONE, GROUP = 0x0A, 0x0B
ALL = 0x3F
SYSTEM_COUNT, STATUS, TERMINAL, NAMEPLATE, BAR_CODE, MODE = 0x02, 0x04, 0x0C, 0x0A, 0x0B, 0x0F
FLOATS, AC, MILLIS, SWITCH, SET = 0x03, 0x06, 0x09, 0x1A, 0x1C
UNKNOWN_COMMAND, BAD_DATA, STARTING = 2, 3, 7

HURRY_S = 0.045
WATCHDOG_S = 10.0
#: From ON on it answers "starting" for so long.
STARTS_S = 0.5
LEAST_A = 1.0

# status bits: state-2 << 16 | state-1 << 8 | state-0
POWER_LIMITED, TWIN = 0x01_00_00, 0x02_00_00
DC_OFF, PROTECTION, TOO_HOT, WALK_IN, COMM_INTERRUPTED = 0x00_01_00, 0x00_04_00, 0x00_10_00, 0x00_40_00, 0x00_80_00
SHORT = 0x00_00_01


def _status(board: Board, now_s: float) -> bytes:
    del now_s
    word = board.extra_status | WALK_IN
    if not board.module.on:
        word |= DC_OFF
    if board.derated:
        word |= POWER_LIMITED
    if board.lost_controller:
        word |= COMM_INTERRUPTED
    ambient_c = round(25 + 0.08 * board.module.current_a)
    return bytes((0, 0, board.group, 0, ambient_c & 0xFF)) + word.to_bytes(3, "big")


def _floats(board: Board, now_s: float) -> bytes:
    return pack(">ff", board.volts(now_s), board.amps(now_s))


def _millis(board: Board, now_s: float) -> bytes:
    return pack(">II", int(board.volts(now_s) * 1000), int(board.amps(now_s) * 1000))


def _terminal(board: Board, now_s: float) -> bytes:
    """Behind the diode; able to nothing while off."""
    able_a = board.able_amps(now_s) if board.module.on else 0.0
    return pack(">HHHH", int(board.module.terminal_v(now_s) * 10), int(able_a * 10), 0, 0)


def _nameplate(board: Board, now_s: float) -> bytes:
    return pack(">HHHH", int(HIGH_RANGE_V), int(MIN_VOLTAGE_V), int(MAX_CURRENT_A * 10), int(MAX_POWER_W / 10))


def _ac(board: Board, now_s: float) -> bytes:
    return pack(">HHHH", *(round(volts * 10) for volts in board.mains_v), 0)


def _bar_code(board: Board, now_s: float) -> bytes:
    """The 13th sign, twelve digits as one number, the last four as another."""
    plate = board.identity
    digits = int(f"0818{plate.year % 100:02}{plate.month:02}{plate.day:02}51")
    return b"V" + digits.to_bytes(5, "big") + pack(">H", plate.serial)


READS: dict[int, Callable[[Board, float], bytes]] = {
    FLOATS: _floats,
    STATUS: _status,
    AC: _ac,
    MILLIS: _millis,
    NAMEPLATE: _nameplate,
    BAR_CODE: _bar_code,
    TERMINAL: _terminal,
}


def _switch(board: Board, data: bytes, now_s: float) -> int:
    if data[0] not in (0, 1):
        return BAD_DATA
    board.module.switch(data[0] == 0, now_s)
    return 0


def _set(board: Board, data: bytes, now_s: float) -> int:
    volts, amps = (milli / 1000 for milli in unpack(">II", data))
    if not (MIN_VOLTAGE_V <= volts <= HIGH_RANGE_V and LEAST_A <= amps <= MAX_CURRENT_A):
        return BAD_DATA
    board.module.set_voltage(volts)
    board.module.set_current(amps)
    return 0


def _mode(board: Board, data: bytes, now_s: float) -> int:
    if data[:7] != bytes((0x11, 0x14, 0, 0, 0, 0, 0)) or data[7] not in (0xA0, 0xA1, 0xA2):
        return BAD_DATA
    board.module.set_range(data[7] == 0xA0)
    return 0


WRITES: dict[int, Callable[[Board, bytes, float], int]] = {SWITCH: _switch, SET: _set, MODE: _mode}


@dataclass(frozen=True, slots=True)
class InfypowerDialect:
    """See `simulator.board.Dialect` for the members."""

    name: str = "infypower"
    short_circuit: int = SHORT | PROTECTION
    too_hot: int = TOO_HOT | PROTECTION
    twin: int = TWIN
    speech_s: float | None = None
    watchdog_s: float | None = WATCHDOG_S

    def target(self, can_id: int, data: bytes) -> int | None:
        error, device, to, source = can_id >> 26, can_id >> 22 & 15, can_id >> 8 & 0xFF, can_id & 0xFF
        if error or device != ONE or not 0xF0 <= source <= 0xF8 or to > ALL:
            return None
        return EVERYBODY if to == ALL else to

    def reply(self, board: Board, can_id: int, data: bytes, now_s: float, everybody: bool) -> list[Said]:
        command, controller = can_id >> 16 & 0x3F, can_id & 0xFF
        if everybody:
            return self._to_all(board, command, controller, data, now_s)
        hurried, switches_off = now_s - board.heard_at_s < HURRY_S, command == SWITCH and data[0] == 1
        board.heard_controller(now_s)
        if hurried and not switches_off:
            board.hurried += 1
            return []
        error, answer = self._execute(board, command, data, now_s)
        return [(error << 26 | ONE << 22 | command << 16 | controller << 8 | board.address, answer)]

    def speech(self, board: Board, now_s: float) -> list[Said]:
        raise NotImplementedError("these modules speak only when they are asked")

    def question(self, address: int) -> Said:
        return ONE << 22 | FLOATS << 16 | address << 8 | 0xF1, bytes(8)

    @staticmethod
    def _execute(board: Board, command: int, data: bytes, now_s: float) -> tuple[int, bytes]:
        """Error and what is answered."""
        module, read = board.module, READS.get(command)
        if read is not None:
            starting = module.on and now_s < module.starts_at_s - module.soft_start_s + STARTS_S
            if starting and command in (FLOATS, MILLIS, TERMINAL):
                return STARTING, bytes(8)
            return (BAD_DATA, bytes(8)) if any(data) else (0, read(board, now_s))
        write = WRITES.get(command)
        if write is None or board.refuses:
            return UNKNOWN_COMMAND, bytes(8)
        return write(board, data, now_s), data

    def _to_all(self, board: Board, command: int, controller: int, data: bytes, now_s: float) -> list[Said]:
        """OFF and ON are obeyed in silence. How many they are, the one with the lowest address tells."""
        if command == SWITCH:
            board.heard_controller(now_s)
            self._execute(board, command, data, now_s)
        if command == SYSTEM_COUNT and board.speaks_for > 0:
            said = bytes((0, 0, board.speaks_for, 0, 0, 0, 0, 0))
            return [(ONE << 22 | command << 16 | controller << 8 | ALL, said)]
        return []


INFYPOWER = InfypowerDialect()
