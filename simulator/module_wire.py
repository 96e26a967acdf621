"""Job: the modules' side of the CAN wire: UUGreenPower UR1000X0 (v36.2), bytes in, bytes out.

Thread: that of the plant (no lock). Units on the wire: mV, mA, milli-degC, 0.1 V and 0.1 A in one-frame sets; in
Python V, A, s. Encoders are the simulator's own: nothing here is shared with the controller, so a wrong scale cannot
cancel out. Identifier: bits 28:25 protocol 1, 24:21 monitor, 20:14 module (0 = all), 13:9 production day, 8:0 low
serial bits; requests leave the last two fields 0, replies carry them. Byte 0: group (0 = all) and message type; byte
1: command; 4 to 7: value.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from struct import Struct

from simulator.power_module import MAX_CURRENT_A, MAX_POWER_W, PowerModule

#: Delay in s, 29-bit identifier, eight data bytes.
Reply = tuple[float, int, bytes]

SET, SET_REPLY, READ, READ_REPLY, SERIAL_REPLY, ALL_SET, ALL_SET_REPLY = 0, 1, 2, 3, 4, 11, 12

STATUS_DC_UNDER_VOLTAGE = 1 << 8
STATUS_TOO_HOT = 1 << 16
STATUS_DERATED_BY_HEAT = 1 << 23
STATUS_OFF = 1 << 25
STATUS_CONSTANT_CURRENT = 1 << 27
STATUS_SHORT_CIRCUIT = 1 << 30

MODE_HIGH, MODE_LOW = 1, 2
#: From the end of the request to the begin of the reply.
REPLY_S = (0.001, 0.004)
#: Its processor needs this long after a brown-out before it answers again.
REBOOT_S = 1.2

_VALUE = Struct(">BBHI")
_ONE_FRAME = Struct(">BBHHH")


@dataclass(frozen=True, slots=True)
class Identity:
    """What is printed on the type plate."""

    serial: int  # 13 bits
    day: int
    month: int
    year: int
    place: int = 0
    type_code: int = 341
    default_voltage_code: int = 10

    def id_bits(self) -> int:
        """The 14 low identifier bits of every reply."""
        return self.day << 9 | self.serial & 0x1FF

    def words(self) -> tuple[int, int]:
        """Bytes 2 to 3, and bytes 4 to 7, of the serial reply."""
        date = self.day << 13 | self.month << 18 | (self.year - 2000) << 22
        return self.type_code | self.default_voltage_code << 10, self.serial | date | self.place << 29


class WireModule:
    """One module's communication board: address, identity, and what can go wrong between it and the power part."""

    def __init__(self, module: PowerModule, address: int, identity: Identity) -> None:
        self.module = module
        self.address = address
        self.identity = identity
        self.group = 1
        self.muted = False
        self.deaf = False  # hears nothing, does nothing
        self.silent_until_s = 0.0
        self.extra_status = 0
        self.frozen: tuple[float, float] | None = None  # V and I that it repeats for ever
        self.scale_v = self.scale_a = 1.0  # what it tells, as a multiple of what it measures
        self.silence_level = 0
        self.mains_v = (400.3, 399.1, 401.8)
        self.reply_id = 0x0220_0000 | address << 14 | identity.id_bits()

    # --- what a test or the control file breaks ----------------------------------------------------------------------

    def reboot(self, now_s: float) -> None:
        """Brown-out: output off, set-points forgotten, dumb for a second."""
        self.module.restart(now_s)
        self.silent_until_s = now_s + REBOOT_S

    def fail(self, status_bits: int, now_s: float) -> None:
        """A fault of its own: it switches off and shows the bits until `heal`."""
        self.extra_status |= status_bits
        self.module.failed = True
        self.module.shut_down(now_s)

    def show(self, status_bits: int) -> None:
        """Show these status bits as well, whatever it does, until `heal`."""
        self.extra_status |= status_bits

    def heal(self) -> None:
        """Back to an honest, healthy module."""
        module = self.module
        self.extra_status = 0
        self.muted = self.deaf = False
        self.frozen = None
        self.scale_v = self.scale_a = 1.0
        module.failed = False
        module.ignores_off = module.ignores_set_points = False
        module.derate(MAX_CURRENT_A)
        module.overdo(1.0, 1.0)

    def freeze(self, now_s: float) -> None:
        """From now on every reading of V and I is the one of this moment."""
        self.frozen = (self.volts(now_s), self.amps(now_s))

    # --- readings ----------------------------------------------------------------------------------------------------

    def volts(self, now_s: float) -> float:
        """Output voltage through its own meter."""
        if self.frozen is not None:
            return self.frozen[0]
        return self.module.output_v(now_s) * self.module.gain_v * self.scale_v

    def amps(self, now_s: float) -> float:
        """Output current through its own meter."""
        if self.frozen is not None:
            return self.frozen[1]
        del now_s
        return self.module.current_a * self.module.gain_a * self.scale_a

    def able_amps(self, now_s: float) -> float:
        """The current that it could deliver now."""
        return min(self.module.available_a, MAX_CURRENT_A, MAX_POWER_W / max(self.volts(now_s), 1.0))

    def status(self, now_s: float) -> int:
        """The status word of command 8."""
        module = self.module
        word = self.extra_status
        if not module.on:
            word |= STATUS_OFF
        elif module.starting(now_s):
            word |= STATUS_DC_UNDER_VOLTAGE
        elif module.constant_current:
            word |= STATUS_CONSTANT_CURRENT
        if module.available_a < MAX_CURRENT_A:
            word |= STATUS_DERATED_BY_HEAT
        return word


def _mode(wire: WireModule, now_s: float) -> int:
    del now_s
    return MODE_LOW if wire.module.low_range else MODE_HIGH


def _current_and_ability(wire: WireModule, now_s: float) -> int:
    return int(wire.amps(now_s) * 10.0) << 16 | int(wire.able_amps(now_s) * 10.0)


def _inlet_millidegrees(wire: WireModule, now_s: float) -> int:
    return round(27_500 + 80 * wire.amps(now_s))


#: Command -> the u32 that a read of it brings.
READS: dict[int, Callable[[WireModule, float], int]] = {
    0: lambda wire, now_s: int(wire.volts(now_s) * 1000.0),
    1: lambda wire, now_s: int(wire.amps(now_s) * 1000.0),
    2: lambda wire, now_s: round(wire.module.set_v * 1000.0),
    3: lambda wire, now_s: round(wire.module.set_a * 1000.0),
    8: WireModule.status,
    20: lambda wire, now_s: round(wire.mains_v[0] * 1000.0),
    21: lambda wire, now_s: round(wire.mains_v[1] * 1000.0),
    22: lambda wire, now_s: round(wire.mains_v[2] * 1000.0),
    26: lambda wire, now_s: 10_000 if wire.module.on else 4_000,
    30: _inlet_millidegrees,
    47: lambda wire, now_s: int(wire.amps(now_s) * 1000.0),
    48: lambda wire, now_s: int(wire.amps(now_s) * 1000.0),
    62: lambda wire, now_s: wire.silence_level,
    89: lambda wire, now_s: wire.group,
    96: _mode,
    98: lambda wire, now_s: int(wire.volts(now_s) * 1000.0),
    101: _mode,
    104: lambda wire, now_s: int(wire.able_amps(now_s) * 1000.0),
    114: _current_and_ability,
}


def _switch(wire: WireModule, value: int, now_s: float) -> None:
    if value in (0, 1):
        wire.module.switch(value == 0, now_s)


def _choose_range(wire: WireModule, value: int, now_s: float) -> None:
    del now_s
    if value in (MODE_HIGH, MODE_LOW):
        wire.module.set_range(value == MODE_LOW)


def _regroup(wire: WireModule, value: int, now_s: float) -> None:
    del now_s
    if 1 <= value <= 15:
        wire.group = value


def _quieten(wire: WireModule, value: int, now_s: float) -> None:
    del now_s
    if value in (0, 1):
        wire.silence_level = value


#: Command -> what a set of it does.
SETS: dict[int, Callable[[WireModule, int, float], None]] = {
    2: lambda wire, value, now_s: wire.module.set_voltage(value / 1000.0),
    3: lambda wire, value, now_s: wire.module.set_current(value / 1000.0),
    4: _switch,
    62: _quieten,
    89: _regroup,
    95: _choose_range,
}


class ModuleWire:
    """All modules on one wire. `answer` takes every frame that anybody sends and gives the frames that come back."""

    def __init__(
        self, modules: Iterable[PowerModule], seed: int = 0, identities: Mapping[int, Identity] | None = None
    ) -> None:
        """Module n answers on address n. `identities`: type plates of some modules, the others get theirs by `seed`."""
        self._rng = random.Random(seed)
        self._next_delay = self._rng.random
        plates = identities or {}
        self.boards = [
            WireModule(module, module.number, plates.get(module.number) or self._identity()) for module in modules
        ]
        self._by_address: dict[int, list[WireModule]] = {0: self.boards}
        for board in self.boards:
            self._by_address[board.address] = [board]

    def board(self, number: int) -> WireModule:
        """The communication board of module `number` (1 to 9)."""
        return self.boards[number - 1]

    def add_duplicate(self, address: int) -> WireModule:
        """A second module, with a serial of its own and nothing on its output, answers on this address too."""
        stranger = WireModule(PowerModule(0, self._rng, []), address, self._identity())
        self.boards.append(stranger)
        self._by_address.setdefault(address, []).append(stranger)
        return stranger

    def remove(self, board: WireModule) -> None:
        """Pull one module's CAN plug for good."""
        self.boards.remove(board)
        self._by_address[board.address].remove(board)

    def answer(self, can_id: int, data: bytes, now_s: float) -> list[Reply]:
        """Replies to one extended data frame, as (delay in s, identifier, data); none if it is no request."""
        if can_id >> 25 != 1 or can_id >> 21 & 15 > 1 or len(data) != 8:
            return []
        first = data[0]
        kind, group = first & 15, first >> 4
        address = can_id >> 14 & 127
        boards = self._by_address.get(address)
        if boards is None or kind not in (READ, SET, ALL_SET):
            return []
        replies: list[Reply] = []
        for board in boards:
            if board.deaf or now_s < board.silent_until_s or (group and group != board.group):
                continue
            payload = _reply(board, kind, data, now_s, address == 0)
            if payload is not None and not board.muted:
                replies.append((REPLY_S[0] + (REPLY_S[1] - REPLY_S[0]) * self._next_delay(), board.reply_id, payload))
        return replies

    def _identity(self) -> Identity:
        rng = self._rng
        return Identity(rng.randrange(1, 8192), rng.randint(1, 28), rng.randint(1, 12), rng.randint(2023, 2026))


def _reply(board: WireModule, kind: int, data: bytes, now_s: float, broadcast: bool) -> bytes | None:
    command = data[1]
    if kind == READ:
        return _read(board, command, now_s)
    if kind == ALL_SET:
        _set_all(board, data, now_s)
        return None if broadcast else bytes((board.group << 4 | ALL_SET_REPLY,)) + data[1:]
    if command == 5:  # the guide prints the serial request with message type 0, so the module takes it
        return None if broadcast else _serial(board)
    act = SETS.get(command)
    if act is None:
        return None
    act(board, int.from_bytes(data[4:], "big"), now_s)
    return None if broadcast else bytes((board.group << 4 | SET_REPLY,)) + data[1:]


def _read(board: WireModule, command: int, now_s: float) -> bytes | None:
    if command == 5:
        return _serial(board)
    read = READS.get(command)
    if read is None:
        return None
    return _VALUE.pack(board.group << 4 | READ_REPLY, command, 0, read(board, now_s) & 0xFFFF_FFFF)


def _serial(board: WireModule) -> bytes:
    type_word, number_word = board.identity.words()
    return _VALUE.pack(board.group << 4 | SERIAL_REPLY, 5, type_word, number_word)


def _set_all(board: WireModule, data: bytes, now_s: float) -> None:
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
