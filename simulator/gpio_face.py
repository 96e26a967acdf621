"""Job: a GPIO library whose pins lead to simulated chips; near end RPi.GPIO's API, far end plain ints for the plant.

Thread: the controller's control thread drives the pins; a plant may read and set the far end from its own thread.
Lock: none. Units: s, BCM pin numbers; images are ints, bit i = contact index i.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol

from planning.settings import Gpio, GpioDriver
from simulator.chip_faults import ChainFaults
from simulator.chips import DirectCoils, HeartbeatInput, InputChain, OutputChain


class FarEnd(Protocol):
    """What a plant sees of the controller's cabinet, whether it lives in this process or in another."""

    @property
    def coils(self) -> int:
        """Coils that have current now; 0 while output enable is high."""

    @property
    def coil_image_latched(self) -> int:
        """The image in the output latches, driven or not."""

    @property
    def output_enabled(self) -> bool: ...

    @property
    def heartbeat_edges(self) -> int: ...

    @property
    def last_heartbeat_edge_s(self) -> float | None:
        """Monotonic seconds of the last heartbeat edge; None before the first."""

    #: Bit i = feedback input i is high: not proven open.
    feedback_inputs: int
    emergency_stop_healthy: bool


class SimulatedGpio:
    """The part of RPi.GPIO that the controller uses, over chips wired as `pins` says.

    Give an instance wherever the module RPi.GPIO is expected. Wrong use raises what the real library raises.
    `output_chain` and `input_chain` carry the fault hooks for tests, `chip_faults` has words for them (None with the
    direct wiring).
    """

    BOARD: ClassVar[int] = 10
    BCM: ClassVar[int] = 11
    OUT: ClassVar[int] = 0
    IN: ClassVar[int] = 1
    LOW: ClassVar[int] = 0
    HIGH: ClassVar[int] = 1
    PUD_OFF: ClassVar[int] = 20
    PUD_DOWN: ClassVar[int] = 21
    PUD_UP: ClassVar[int] = 22
    RISING: ClassVar[int] = 31
    FALLING: ClassVar[int] = 32
    BOTH: ClassVar[int] = 33
    VERSION: ClassVar[str] = "simulated"
    RPI_INFO: ClassVar[dict[str, Any]] = {"TYPE": "Simulated station", "REVISION": "0", "P1_REVISION": 3}

    def __init__(
        self, pins: Gpio, now_s: Callable[[], float], gun_count: int = 6, module_count: int = 9, seed: int = 0
    ) -> None:
        self.feedback_inputs = 0
        self._emergency_stop_healthy = True
        self._pins = pins
        self._mode: int | None = None
        self._drive: dict[int, Callable[[int], None]] = {}  # pins set up as outputs
        self._sense: dict[int, Callable[[], int]] = {}  # pins set up as inputs
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self.output_chain: OutputChain | None = None
        self.input_chain: InputChain | None = None
        self.chip_faults: ChainFaults | None = None
        self._heartbeat = HeartbeatInput(now_s, self._on_heartbeat_edge)
        self._wired_outputs: dict[int, Callable[[int], None]] = {pins.heartbeat_pin: self._heartbeat.drive}
        self._wired_inputs: dict[int, Callable[[], int]] = {pins.emergency_stop_pin: self._read_emergency_stop}
        self._outputs: OutputChain | DirectCoils
        if pins.driver is GpioDriver.DIRECT:
            self._outputs = self._wire_direct(pins, module_count, gun_count)
        else:
            self._outputs = self._wire_chains(pins, seed)
        self._wired_outputs[pins.output_enable_pin] = self._outputs.output_enable

    # --- the far end: what the plant sees -----------------------------------------------------------------------------

    @property
    def coils(self) -> int:
        """Coils that have current now; 0 while output enable is high."""
        return self._outputs.coils

    @property
    def coil_image_latched(self) -> int:
        """The image in the output latches, driven or not; random at power-up."""
        return self._outputs.latched

    @property
    def output_enabled(self) -> bool:
        return self._outputs.enabled

    @property
    def heartbeat_edges(self) -> int:
        return self._heartbeat.edges

    @property
    def last_heartbeat_edge_s(self) -> float | None:
        return self._heartbeat.last_edge_s

    @property
    def emergency_stop_healthy(self) -> bool:
        """Settable: False presses the emergency stop or breaks its wire."""
        return self._emergency_stop_healthy

    @emergency_stop_healthy.setter
    def emergency_stop_healthy(self, healthy: bool) -> None:
        falls = self._emergency_stop_healthy and not healthy
        self._emergency_stop_healthy = healthy
        callback = self._callbacks.get(self._pins.emergency_stop_pin)
        if falls and callback is not None:
            callback(self._pins.emergency_stop_pin)

    # --- the near end: RPi.GPIO's API ---------------------------------------------------------------------------------

    def setmode(self, mode: int) -> None:
        """Raises ValueError for anything but BCM: the station's pins are BCM numbers."""
        if mode != self.BCM:
            raise ValueError(f"Pin numbering mode {mode} is not simulated, only BCM")
        self._mode = mode

    def setwarnings(self, enabled: bool) -> None:
        """Nothing here warns."""

    def setup(
        self, channel: int | Iterable[int], direction: int, pull_up_down: int = PUD_OFF, initial: int | None = None
    ) -> None:
        """Raises RuntimeError before setmode(); ValueError for a pin or an argument that does not exist."""
        if self._mode is None:
            raise RuntimeError("Call setmode() before setup()")
        for pin in _pins_of(channel):
            self._check_pin(pin)
            if direction == self.OUT:
                self._set_up_output(pin, pull_up_down, initial)
            else:
                self._set_up_input(pin, pull_up_down, initial)

    def output(self, channel: int | list[int] | tuple[int, ...], value: Any) -> None:
        """Raises RuntimeError for a pin that was not set up as an output."""
        try:
            drive = self._drive[channel]  # type: ignore[index]  # the usual case first: one pin
        except (KeyError, TypeError):
            self._output_several(channel, value)
            return
        drive(value)

    def input(self, channel: int) -> int:
        """Raises RuntimeError for a pin that was not set up as an input."""
        try:
            sense = self._sense[channel]
        except KeyError:
            raise RuntimeError(f"GPIO {channel} was not set up as an input") from None
        return sense()

    def cleanup(self, channel: int | Iterable[int] | None = None) -> None:
        """Turn pins into inputs; the resistors on the board then decide: output enable goes high, the rest low."""
        pins = set(self._drive) | set(self._sense) if channel is None else set(_pins_of(channel))
        for pin in pins:
            self._callbacks.pop(pin, None)
            self._sense.pop(pin, None)
            drive = self._drive.pop(pin, None)
            if drive is not None:
                drive(1 if pin == self._pins.output_enable_pin else 0)
        if channel is None:
            self._mode = None

    def forget_process(self) -> None:
        """The process that used the pins was killed: they stay as they are driven, and nobody is called any more."""
        self._callbacks.clear()
        self._drive.clear()
        self._sense.clear()
        self._mode = None

    def add_event_detect(
        self, channel: int, edge: int, callback: Callable[[int], None] | None = None, bouncetime: int | None = None
    ) -> None:
        """Only the falling edge of the emergency stop ever comes, and at once. Raises RuntimeError as the real one."""
        if channel not in self._sense:
            raise RuntimeError(f"GPIO {channel} was not set up as an input")
        if channel in self._callbacks:
            raise RuntimeError(f"Edges of GPIO {channel} are watched already")
        if edge in (self.FALLING, self.BOTH) and callback is not None:
            self._callbacks[channel] = callback

    def remove_event_detect(self, channel: int) -> None:
        self._callbacks.pop(channel, None)

    # --- wiring -------------------------------------------------------------------------------------------------------

    def _wire_chains(self, pins: Gpio, seed: int) -> OutputChain:
        outputs = OutputChain(seed, self._on_outputs)
        inputs = InputChain(self._read_feedback_inputs)
        self._wired_outputs |= {
            pins.data_pin: outputs.data,
            pins.clock_pin: outputs.clock,
            pins.latch_pin: outputs.latch,
            pins.feedback_load_pin: inputs.load,
            pins.feedback_clock_pin: inputs.clock,
        }
        self._wired_inputs[pins.feedback_data_pin] = inputs.data
        if pins.readback_pin is not None:
            self._wired_inputs[pins.readback_pin] = outputs.serial_output
        self.output_chain, self.input_chain = outputs, inputs
        self.chip_faults = ChainFaults(outputs, inputs)
        return outputs

    def _wire_direct(self, pins: Gpio, module_count: int, gun_count: int) -> DirectCoils:
        coils = DirectCoils()
        for gun in range(1, gun_count + 1):
            for module in range(1, module_count + 1):
                index = (gun - 1) * module_count + (module - 1)
                self._wired_outputs[pins.direct_pins[gun, module]] = coils.coil(index)
                self._wired_inputs[pins.direct_feedback_pins[gun, module]] = self._feedback_input(index)
        return coils

    def _feedback_input(self, index: int) -> Callable[[], int]:
        return lambda: self._read_feedback_inputs() >> index & 1

    def _check_pin(self, pin: int) -> None:
        if not 0 <= pin <= 27:
            raise ValueError(f"There is no GPIO {pin} on a Raspberry Pi (0-27)")

    def _set_up_output(self, pin: int, pull_up_down: int, initial: int | None) -> None:
        if pull_up_down != self.PUD_OFF:
            raise ValueError("pull_up_down has no meaning for an output")
        self._sense.pop(pin, None)
        drive = self._drive[pin] = self._wired_outputs.get(pin, _into_the_air)
        # Without `initial` the real pin drives what its register held, low after a boot: on OE that is "on".
        drive(initial if initial is not None and initial >= 0 else 0)

    def _set_up_input(self, pin: int, pull_up_down: int, initial: int | None) -> None:
        if initial is not None and initial >= 0:
            raise ValueError("initial has no meaning for an input")
        self.cleanup(pin)
        pulled_level = 1 if pull_up_down == self.PUD_UP else 0
        self._sense[pin] = self._wired_inputs.get(pin, lambda: pulled_level)

    def _output_several(self, channel: object, value: Any) -> None:
        pins = _pins_of(channel)
        levels = list(value) if isinstance(value, list | tuple) else [value] * len(pins)
        if len(levels) != len(pins):
            raise RuntimeError(f"{len(pins)} pins but {len(levels)} levels")
        for pin, level in zip(pins, levels, strict=True):
            if pin not in self._drive:
                raise RuntimeError(f"GPIO {pin} was not set up as an output")
            self._drive[pin](level)

    # --- what a far end in another process takes over -----------------------------------------------------------------

    def _read_feedback_inputs(self) -> int:
        return self.feedback_inputs

    def _read_emergency_stop(self) -> int:
        return 1 if self._emergency_stop_healthy else 0

    def _on_outputs(self) -> None:
        """The latch or the output enable was driven."""

    def _on_heartbeat_edge(self) -> None:
        """The heartbeat pin changed."""


def _pins_of(channel: object) -> list[int]:
    if isinstance(channel, int):
        return [channel]
    if isinstance(channel, Iterable):
        return [int(pin) for pin in channel]
    raise ValueError(f"A pin is a BCM number or a list of them, not {channel!r}")


def _into_the_air(level: int) -> None:
    """Nothing is connected to this pin."""
