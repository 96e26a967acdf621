"""Job: payloads, topics and CAN frames as chance makes them, most of them nearly right; a seed gives the same again.

Thread: the test's. Lock: none. Units: those of the messages. The frames are those of UUGreen modules.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable

from can import Message
from fake_module import BASE

TYPES = (
    "soc", "demand", "vehicle_status", "status", "target_voltage", "bus_voltage", "voltage_limit", "current_limit",
)  # fmt: skip
COMMANDS = ("station/site_limit", "station/reset", "1/max_power", "6/max_power", "module/1/enabled", "module/9/enabled")
VALUES = (
    "0", "75", "120.5", "100", "100.01", "1000", "1000.1", "1500", "1501", "-1", "-0", "1e3", "1e999", "NaN", "nan",
    "Infinity", "inf", "0x28", "4_0", "007", "true", "false", "null", "charging", "C", "fault", "idle", "chargin",
    '"75"', '"charging"', '""', "[]", "{}", "[75]", '{"a": 1}', "9" * 30, "9" * 400, "٤٠", "４０", " 75 ", "75\x00",
)  # fmt: skip
KEYS = ("value", "ts", "seq", "Value", "demand", "x", "value", "seq")
#: What UUGreen modules are asked for and set to, and some that they do not know.
QUANTITIES = (2, 3, 4, 5, 8, 20, 30, 48, 95, 98, 101, 114, 0, 200, 255)
WORDS = (0, 1, 0xFFFF_FFFF, 0x8000_0000, 640_000, 1_200_000, 1_200_001, 1330, 1000 << 16 | 1330, 0x7FC0_0000)


class MessageFuzz:
    """Topics and payloads."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def topic(self) -> bytes:
        chance = self.chance
        if chance.random() < 0.1:
            topic = f"vesec/{chance.choice(COMMANDS)}/central/set"
        else:
            topic = f"vesec/{chance.randint(1, 2)}/{chance.choice(TYPES)}/D{chance.randint(1, 3)}"
        raw = topic.encode()
        return raw if chance.random() < 0.8 else self._bent(raw)

    def payload(self) -> bytes:
        makers: tuple[Callable[[], bytes], ...] = (self._noise, self._plain, self._object, self._mixed)
        return self.chance.choices(makers, (1, 3, 4, 4))[0]()

    def _noise(self) -> bytes:
        return self.chance.randbytes(self.chance.choice((0, 1, 3, 20, 80, 1024, 1025)))

    def _plain(self) -> bytes:
        if self.chance.random() < 0.5:
            return f"{self.chance.uniform(0, 1600):.{self.chance.randint(0, 3)}f}".encode()
        return self.chance.choice(VALUES).encode()

    def _object(self) -> bytes:
        pairs = (f'"{self.chance.choice(KEYS)}": {self._number()}' for _ in range(self.chance.randint(0, 4)))
        return ("{" + ", ".join(('"value": ' + self._number(), *pairs)) + "}").encode()

    def _number(self) -> str:
        chance = self.chance
        if chance.random() < 0.3:
            return chance.choice(VALUES)
        high = chance.choice((1, 100, 1000, 1500, 2_000_000_000))
        return json.dumps(chance.choice((chance.randint(-1, high), chance.uniform(0, high), math.inf)))

    def _mixed(self) -> bytes:
        return self._bent(self._object() if self.chance.random() < 0.6 else self._plain())

    def _bent(self, raw: bytes) -> bytes:
        """Some bytes changed, left out, doubled or put in."""
        bent = bytearray(raw)
        for _ in range(self.chance.randint(1, 3)):
            at = self.chance.randrange(len(bent) + 1)
            piece = self.chance.choice(
                (b"", self.chance.randbytes(1), b'"', b"/", b"}", b"\xff", bytes(bent[at : at + 3]))
            )
            bent[at : at + self.chance.randint(0, 2)] = piece
        return bytes(bent)


class FrameFuzz:
    """Frames as a bus may bring them: answers of modules that are more or less right, and anything else.

    `strangers`: also from modules that nobody knows, and with serial numbers that change.
    """

    def __init__(self, seed: int, strangers: bool) -> None:
        self.chance = random.Random(seed)
        self._strangers = strangers
        self._quantities = QUANTITIES if strangers else [each for each in QUANTITIES if each != 5]

    def frame(self) -> Message:
        chance = self.chance
        can_id, data = self._answer() if chance.random() < 0.7 else self._anything()
        odd = chance.random()
        return Message(
            arbitration_id=can_id & (0x7FF if odd < 0.02 else 0x1FFF_FFFF),
            data=data,
            is_extended_id=odd >= 0.02,
            is_remote_frame=0.02 <= odd < 0.03,
            is_error_frame=0.03 <= odd < 0.04,
            is_fd=0.04 <= odd < 0.05,
            dlc=chance.randint(0, 15) if 0.05 <= odd < 0.07 else None,
        )

    def word(self) -> int:
        """The value of an answer: at a bound, anything, or what could be true."""
        chance = self.chance
        return chance.choice((chance.choice(WORDS), chance.getrandbits(32), chance.randint(0, 1_100_000)))

    def lies(self) -> dict[int, int]:
        """Command -> what a module answers instead of the truth."""
        return {command: self.word() for command in (8, 30, 48, 98, 101, 114) if self.chance.random() < 0.5}

    def _answer(self) -> tuple[int, bytes]:
        chance = self.chance
        address = chance.randint(0, 11) if self._strangers else chance.randint(1, 2)
        identity = 0x200 + address
        if self._strangers and chance.random() < 0.3:
            identity = chance.getrandbits(14)
        word = self.word()
        head = bytes((chance.choice((0, 1, 2, 3, 3, 3, 3, 4, 0x13, 9)), chance.choice(self._quantities), 0, 0))
        return BASE | address << 14 | identity, head + word.to_bytes(4, "big")

    def _anything(self) -> tuple[int, bytes]:
        return self.chance.getrandbits(29), self.chance.randbytes(self.chance.choice((0, 1, 7, 8, 8, 8, 8, 9, 12)))
