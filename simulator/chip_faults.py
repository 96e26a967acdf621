"""Job: what can be wrong in the register chains of the cabinet, for chips here and for those in another process.

Thread: that of the plant. Lock: none. Units: images are ints, bit i = contact index i.
"""

from __future__ import annotations

from typing import Protocol

from simulator.chips import WIRED_HIGH, InputChain, OutputChain


class Chips(Protocol):
    """Chains that can be broken."""

    def stick_output(self, index: int, level: int | None) -> None:
        """The driver of this output stands at 0 or 1 whatever its register holds; None mends it."""

    def flip_output(self, index: int) -> None:
        """A burst of noise turns this bit over in the registers, once."""

    def flip_readback(self, wrong: bool) -> None:
        """The wire of the serial output tells the opposite."""

    def flip_test_input(self, wrong: bool) -> None:
        """The test input that is wired to 1 reads 0."""

    def shift_feedback(self, edges: int) -> None:
        """Noise adds so many clock edges to every reading of the feedback chain; 0 mends it."""


class ChainFaults:
    """Chips in this process."""

    def __init__(self, outputs: OutputChain, inputs: InputChain) -> None:
        self._outputs, self._inputs = outputs, inputs

    def stick_output(self, index: int, level: int | None) -> None:
        outputs = self._outputs
        outputs.stuck_on, outputs.stuck_off = stuck(outputs.stuck_on, outputs.stuck_off, index, level)
        outputs.drive()

    def flip_output(self, index: int) -> None:
        self._outputs.disturb(1 << index)

    def flip_readback(self, wrong: bool) -> None:
        self._outputs.readback_flipped = wrong

    def flip_test_input(self, wrong: bool) -> None:
        self._inputs.flipped = WIRED_HIGH if wrong else 0

    def shift_feedback(self, edges: int) -> None:
        self._inputs.edges_gained = edges


def stuck(on: int, off: int, index: int, level: int | None) -> tuple[int, int]:
    """The masks of drivers stuck at 1 and at 0 when this one changes."""
    bit = 1 << index
    on, off = on & ~bit, off & ~bit
    return (on | bit, off) if level else (on, off | bit) if level is not None else (on, off)
