"""Job: one module's communication board, whatever its make: address, type plate, and what can go wrong between it and
the power part. And what a make's dialect of the CAN bus has to offer.

Thread: that of the plant (no lock). Units: V, A, s monotonic. Dialects have encoders of their own: nothing is shared
with the controller, so a wrong scale cannot cancel out.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol

from simulator.power_module import MAX_CURRENT_A, MAX_POWER_W, PowerModule

#: Identifier and data of a frame.
Said = tuple[int, bytes]
#: Delay in s, 29-bit identifier, eight data bytes.
Reply = tuple[float, int, bytes]

#: What `Dialect.target` gives for a request to all modules.
EVERYBODY = -1
#: Its processor needs this long after a brown-out before it answers again.
REBOOT_S = 1.2


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

    @classmethod
    def by_chance(cls, rng: random.Random) -> Identity:
        return cls(rng.randrange(1, 8192), rng.randint(1, 28), rng.randint(1, 12), rng.randint(2023, 2026))


class Dialect(Protocol):
    """How the modules of one make talk. No state of its own: that is the board's."""

    @property
    def name(self) -> str: ...
    @property
    def short_circuit(self) -> int:
        """Status bits of a shorted output."""
    @property
    def too_hot(self) -> int:
        """Status bits of a module that stopped for its temperature."""
    @property
    def twin(self) -> int:
        """Status bits of a module that sees its own address in use by another one; 0: it does not see that."""
    @property
    def speech_s(self) -> float | None:
        """It speaks by itself each so often; None: only when asked."""
    @property
    def watchdog_s(self) -> float | None:
        """It switches itself off after so long without its controller; None: it goes on."""

    def target(self, can_id: int, data: bytes) -> int | None:
        """The address that a request speaks to, or EVERYBODY; None: no request of this make."""

    def reply(self, board: Board, can_id: int, data: bytes, now_s: float, everybody: bool) -> list[Said]:
        """Do what the request says and give what the module answers."""

    def speech(self, board: Board, now_s: float) -> list[Said]:
        """What it tells by itself."""

    def question(self, address: int) -> Said:
        """A request as only a controller sends it."""


class Board:
    """See the file's head."""

    def __init__(self, module: PowerModule, address: int, identity: Identity, dialect: Dialect) -> None:
        self.module = module
        self.address = address
        self.identity = identity
        self.dialect = dialect
        self.group = 1
        self.muted = False
        self.deaf = False  # hears nothing, does nothing
        self.silent_until_s = 0.0
        self.extra_status = 0
        self.frozen: tuple[float, float] | None = None  # V and I that it repeats for ever
        self.scale_v = self.scale_a = 1.0  # what it tells, as a multiple of what it measures
        self.refuses = False  # it answers every command with its "no"
        self.silence_level = 0
        self.mains_v = (400.3, 399.1, 401.8)
        self.heard_at_s = float("-inf")  # its controller
        self.hurried = 0  # frames that came too soon after another one and were lost
        self.speaks_for = 0  # as the first of its make it tells how many they are
        self.lost_controller = False  # its watchdog has switched it off
        self.speaks_at_s = float("inf")

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
        self._tell(now_s)

    def show(self, status_bits: int) -> None:
        """Show these status bits as well, whatever it does, until `heal`."""
        self.extra_status |= status_bits

    def heal(self) -> None:
        """Back to an honest, healthy module."""
        module = self.module
        self.extra_status = 0
        self.muted = self.deaf = self.refuses = False
        self.frozen = None
        self.scale_v = self.scale_a = 1.0
        module.failed = False
        module.ignores_off = module.ignores_set_points = False
        module.derate(MAX_CURRENT_A)
        module.overdo(1.0, 1.0)

    def freeze(self, now_s: float) -> None:
        """From now on every reading of V and I is the one of this moment."""
        self.frozen = (self.volts(now_s), self.amps(now_s))

    # --- its controller ----------------------------------------------------------------------------------------------

    def hears(self, now_s: float) -> bool:
        """It is there and listens."""
        return not self.deaf and now_s >= self.silent_until_s

    def heard_controller(self, now_s: float) -> None:
        self.heard_at_s = now_s
        self.lost_controller = False

    def watch(self, now_s: float) -> None:
        """Its own watchdog."""
        limit_s = self.dialect.watchdog_s
        if limit_s is not None and self.module.on and now_s - self.heard_at_s > limit_s:
            self.lost_controller = True
            self.module.shut_down(now_s)
            self._tell(now_s)

    def _tell(self, now_s: float) -> None:
        """What changed is told at once, by a make that speaks by itself."""
        if self.dialect.speech_s is not None:
            self.speaks_at_s = now_s

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

    @property
    def derated(self) -> bool:
        return self.module.available_a < MAX_CURRENT_A
