"""Job: how Tonhe modules (V1.2) talk on the CAN wire: bytes in, bytes out.

Thread: that of the plant (no lock). Units on the wire: 0.1 V and 0.01 A, little-endian; in Python V, A, s. Identifier
as in J1939: bits 28:26 priority, 23:16 message, 15:8 to whom, 7:0 from whom; the controller is 0xA0, 0xFF is all.

They tell their state each 0.5 s and when it changes, serve 0 V as their least voltage, and switch off after 20 s
without a frame of their controller.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack, unpack

from simulator.board import EVERYBODY, Board, Said
from simulator.power_module import MIN_VOLTAGE_V

ME_TO_CONTROLLER = 0xA000
STATE, CONFIRM, MAINS, MORE = 0x1801_0000, 0x0802_0000, 0x180B_0000, 0x1C91_0000
COMMAND, SWITCH_MANY, SET_MANY, HEARTBEAT = 0x0806, 0x0803, 0x1004, 0x1805
ON, OFF = 0xAA, 0x55
WATCHDOG_S = 20.0
SPEECH_S = 0.5
LEAST_A = 1.0

# status bits: PFC byte << 16 | fault word
HARDWARE, SHORT, TOO_HOT, POWER_LIMITED = 1 << 7, 1 << 15, 1 << 5, 1 << 14
TWIN = 1 << 16 + 4
CAN_TIMEOUT = 1 << 2


def _state(board: Board, now_s: float) -> Said:
    module, word = board.module, board.extra_status
    if board.derated:
        word |= POWER_LIMITED
    code = 0x01 if module.on else 0x11 if module.failed else 0x00
    volts, amps = int(board.volts(now_s) * 10), int(board.amps(now_s) * 100)
    data = pack("<BHHHB", code, min(volts, 0xFFFF), min(amps, 0xFFFF), word & 0xFFFF, word >> 16 & 0xFF)
    return STATE | ME_TO_CONTROLLER | board.address, data


def _mains(board: Board) -> Said:
    return MAINS | ME_TO_CONTROLLER | board.address, pack("<HHHh", *(round(v * 10 / 3**0.5) for v in board.mains_v), 27)


def _more(board: Board) -> Said:
    fault = CAN_TIMEOUT if board.lost_controller else 0
    return MORE | ME_TO_CONTROLLER | board.address, pack("<HHHH", 0, fault, 0, 0)


def _mentioned(address: int, data: bytes, group_at: int) -> bool:
    """Bit k of the mask with multiple m is module 24 m + k + 1."""
    bit = address - 1 - 24 * (data[group_at] & 0x0F)
    return 0 <= bit < 24 and bool(int.from_bytes(data[:3], "little") >> bit & 1)


@dataclass(frozen=True, slots=True)
class TonheDialect:
    """See `simulator.board.Dialect` for the members."""

    name: str = "tonhe"
    short_circuit: int = SHORT
    too_hot: int = TOO_HOT | HARDWARE
    twin: int = TWIN
    speech_s: float | None = SPEECH_S
    watchdog_s: float | None = WATCHDOG_S

    def target(self, can_id: int, data: bytes) -> int | None:
        message, to, source = can_id >> 16, can_id >> 8 & 0xFF, can_id & 0xFF
        if source != 0xA0 or message not in (COMMAND, SWITCH_MANY, SET_MANY, HEARTBEAT):
            return None
        return EVERYBODY if to == 0xFF else to

    def reply(self, board: Board, can_id: int, data: bytes, now_s: float, everybody: bool) -> list[Said]:
        board.heard_controller(now_s)
        message, was_on = can_id >> 16, board.module.on
        said: list[Said] = []
        if message == COMMAND:
            done = not board.refuses and data[0] in (ON, OFF)
            if done:
                self._command(board, data, now_s)
            said.append((CONFIRM | ME_TO_CONTROLLER | board.address, bytes((done, 0, 0, 0, 0, 0, 0, 0))))
        elif message == SWITCH_MANY and _mentioned(board.address, data, 4) and data[3] in (ON, OFF):
            board.module.switch(data[3] == ON, now_s)
        elif message == SET_MANY and _mentioned(board.address, data, 3):
            self._set(board, *unpack("<HH", data[4:8]))
        if board.module.on is not was_on:
            said.append(_state(board, now_s))
        return said

    def speech(self, board: Board, now_s: float) -> list[Said]:
        return [_state(board, now_s), _mains(board), _more(board)]

    def question(self, address: int) -> Said:
        return COMMAND << 16 | address << 8 | 0xA0, bytes((OFF, 0, 0, 0, 0, 0, 0, 0))

    def _command(self, board: Board, data: bytes, now_s: float) -> None:
        switch, _, tenths_v, hundredths_a, _ = unpack("<BBHHH", data)
        if switch == ON:
            self._set(board, tenths_v, hundredths_a)
        board.module.switch(switch == ON, now_s)
        if switch == ON:
            self._set(board, tenths_v, hundredths_a)

    @staticmethod
    def _set(board: Board, tenths_v: int, hundredths_a: int) -> None:
        """0 is served as the least."""
        board.module.set_voltage(max(tenths_v / 10, MIN_VOLTAGE_V))
        board.module.set_current(max(hundredths_a / 100, LEAST_A))


TONHE = TonheDialect()
