"""Job: the chips between the Pi's pins and the contactors: what they do with edges and levels, by their data sheets.

Thread: the one that drives the pins (the far ends are plain ints that the plant may read and set from its own thread).
Lock: none; every far end is a single int. Units: s; images are ints, bit i = contact index i.

A whole register chain is one int, because the controller clocks 120 bits through these functions every few
milliseconds of station time; an object for each bit would cost more than the rest of the simulated station.
"""

from __future__ import annotations

import random
from collections.abc import Callable

#: Seven 8-bit chips in a row, on the way out and on the way back.
CHAIN_BITS = 56
CHAIN_MASK = (1 << CHAIN_BITS) - 1
#: Feedback inputs 0-53 belong to contacts; 54 is wired to the supply and 55 to ground to prove the chain.
CONTACT_INPUTS = (1 << 54) - 1
WIRED_HIGH = 1 << 54
#: The far serial input is tied to 1, so ones follow the 56 inputs for ever: in two's complement, minus one shifted.
TIED_SERIAL_INPUT = -1 << CHAIN_BITS


class OutputChain:
    """Seven 74HC595 in a row, with the 10 kOhm pull-up on their common output enable.

    Rising edge of the clock: every stage takes its neighbour's bit, the first takes `data`. Rising edge of the latch:
    the outputs take the stages. Output enable high: no output drives, the pull-downs hold every coil off.
    At power-up stages and outputs are random, which is why nothing may be enabled before zeros were latched.

    Fault hooks for tests: `stuck_on`, `stuck_off` and `flipped` are masks over the coil outputs; `edges_gained` is the
    number of clock edges that noise adds (+) or swallows (-) in each transfer; `readback_flipped` inverts the wire of
    the serial output.
    """

    __slots__ = (
        "_clock_level",
        "_data_level",
        "_latch_level",
        "_on_change",
        "_stages",
        "coils",
        "edges_gained",
        "enabled",
        "flipped",
        "latched",
        "readback_flipped",
        "stuck_off",
        "stuck_on",
    )

    def __init__(self, seed: int, on_change: Callable[[], None] | None = None) -> None:
        power_up = random.Random(seed)
        self._stages = power_up.getrandbits(CHAIN_BITS)
        self._data_level = 0
        self._clock_level = 0
        self._latch_level = 0
        self._on_change = on_change
        self.latched = power_up.getrandbits(CHAIN_BITS)
        self.enabled = False
        self.coils = 0
        self.stuck_on = 0
        self.stuck_off = 0
        self.flipped = 0
        self.edges_gained = 0
        self.readback_flipped = False

    def data(self, level: int) -> None:
        self._data_level = 1 if level else 0

    def clock(self, level: int) -> None:
        if level:
            if not self._clock_level:
                # Bits that fall out of the far end are cut off at the latch, once for 56 shifts.
                self._stages = self._stages << 1 | self._data_level
            self._clock_level = 1
        else:
            self._clock_level = 0

    def latch(self, level: int) -> None:
        if level and not self._latch_level:
            self._take_stray_edges()
            self._stages &= CHAIN_MASK
            self.latched = self._stages
            self.drive()
        self._latch_level = 1 if level else 0

    def output_enable(self, level: int) -> None:
        """Active low."""
        self.enabled = not level
        self.drive()

    def serial_output(self) -> int:
        """QH' of the far chip: the bit that the next clock edge would push out."""
        return (self._stages >> CHAIN_BITS - 1 & 1) ^ self.readback_flipped

    def disturb(self, mask: int) -> None:
        """A burst of noise that flips these bits in the stages and in the outputs, once."""
        self._stages ^= mask
        self.latched ^= mask
        self.drive()

    def restore(self, latched: int, enabled: bool) -> None:
        """Set the state that the chips kept while no program drove their pins."""
        self._stages = self.latched = latched
        self.enabled = enabled
        self.coils = self._driven()

    def _take_stray_edges(self) -> None:
        if self.edges_gained > 0:
            self._stages <<= self.edges_gained
        else:
            self._stages >>= -self.edges_gained

    def drive(self) -> None:
        """Bring the coils to what latches, enable and faults make of them."""
        self.coils = self._driven()
        if self._on_change is not None:
            self._on_change()

    def _driven(self) -> int:
        if not self.enabled:
            return 0
        return (self.latched ^ self.flipped | self.stuck_on) & ~self.stuck_off


class InputChain:
    """Seven 74HC165 in a row that bring the mirror contacts back.

    Load low: the stages follow the inputs and the clock does nothing. Load high: they hold, the data pin shows index 0
    and each rising clock edge brings the next. `inputs` is asked at the moment of loading for bits 0-53 (1 = high).

    Fault hooks for tests: masks `stuck_high`, `stuck_low` and `flipped` over the 64 bits that are read (54 and 55 are
    the test inputs, 56-63 the tied serial input), `edges_gained` as in OutputChain.
    """

    __slots__ = ("_clock_level", "_inputs", "_loading", "_stages", "edges_gained", "flipped", "stuck_high", "stuck_low")

    def __init__(self, inputs: Callable[[], int]) -> None:
        self._inputs = inputs
        self._stages = 0
        self._loading = False
        self._clock_level = 0
        self.stuck_high = 0
        self.stuck_low = 0
        self.flipped = 0
        self.edges_gained = 0

    def load(self, level: int) -> None:
        if level and self._loading:
            self._stages = self._with_stray_edges(self._wired())
        self._loading = not level

    def clock(self, level: int) -> None:
        if level:
            if not self._clock_level and not self._loading:
                self._stages >>= 1
            self._clock_level = 1
        else:
            self._clock_level = 0

    def data(self) -> int:
        if self._loading:
            return self._wired() & 1
        return self._stages & 1

    def _wired(self) -> int:
        inputs = self._inputs() & CONTACT_INPUTS | WIRED_HIGH | TIED_SERIAL_INPUT
        return (inputs ^ self.flipped | self.stuck_high) & ~self.stuck_low

    def _with_stray_edges(self, stages: int) -> int:
        if self.edges_gained >= 0:
            return stages >> self.edges_gained
        return stages << -self.edges_gained | stages & 1


class DirectCoils:
    """Coil drivers wired to one pin each, behind the same output enable; for small stations without registers."""

    def __init__(self) -> None:
        self.latched = 0
        self.enabled = False

    @property
    def coils(self) -> int:
        return self.latched if self.enabled else 0

    def output_enable(self, level: int) -> None:
        self.enabled = not level

    def coil(self, index: int) -> Callable[[int], None]:
        """The function that the pin of this contact drives."""
        mask = 1 << index

        def drive(level: int) -> None:
            self.latched = self.latched | mask if level else self.latched & ~mask

        return drive


class HeartbeatInput:
    """The retriggerable monostable's input: counts edges and remembers when the last one came."""

    def __init__(self, now_s: Callable[[], float], on_edge: Callable[[], None] | None = None) -> None:
        self.edges = 0
        self.last_edge_s: float | None = None
        self._level = 0
        self._now_s = now_s
        self._on_edge = on_edge

    def drive(self, level: int) -> None:
        if bool(level) == bool(self._level):
            return
        self._level = level
        self.edges += 1
        self.last_edge_s = self._now_s()
        if self._on_edge is not None:
            self._on_edge()
