"""Job: the coils of all contactors and the mirror contacts that prove what they do; the interlock stands right above.

Thread: the control thread alone, and MainThread only after it has taken over with seize(). Lock: none.
Units: s (monotonic), BCM pin numbers; images are ints, bit i = contact index i = (gun-1)*module_count + (module-1).

Everything leaves here by one of two drivers, shift registers or direct pins, over a GPIO library that is handed in.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from planning.contacts import ROUNDING_S, Contacts, Matrix, bits_of
from planning.interlock import ContactFacts, judge_close
from planning.model import CloseEvidence, CloseRefusal, ContactState, Crosspoint
from planning.settings import Gpio, GpioDriver, Safety

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

READ_MOVING_S = 0.010
READ_IDLE_S = 0.050
#: An older feedback image proves nothing about now: four idle readings were missed.
FEEDBACK_FRESH_S = 0.2
#: The coil supply holds for 4 pick-ups of 50 W at once; the window is that of the contactor's pick-up current.
PICKUP_WINDOW_S = 0.25

CHAIN_BITS = 56
#: What follows the 54 contacts in the feedback chain: 54 wired high, 55 wired low, then ones from the tied far end.
FEEDBACK_BITS = 64
MAX_CONTACTS = 54
TEST_MASK = ((1 << FEEDBACK_BITS) - 1) & ~((1 << MAX_CONTACTS) - 1)
TEST_BITS = TEST_MASK & ~(1 << 55)
BEYOND = (
    "Input {0} of the feedback chain reads a contactor that is proven open, but config.ini has {1} of them "
    "(gun_count x module_count): in a cabinet of another size coils are switched by wrong numbers. Stop the station "
    "and put gun_count and module_count as the cabinet is wired"
)


class GpioError(RuntimeError):
    """The GPIO library refused a pin; the text tells the person on the ladder which one and what to do."""


class ContactorsSeized(RuntimeError):
    """Another thread has taken the contactors over; whoever gets this must not touch them again."""


class OutputsRefused(RuntimeError):
    """The outputs stay disabled because what stands in the registers or the contacts is not proven off."""


class GpioLibrary(Protocol):
    """What we use of RPi.GPIO (or rpi-lgpio under the same name); the module itself is handed in."""

    BCM: int
    IN: int
    OUT: int
    PUD_OFF: int
    PUD_DOWN: int
    PUD_UP: int
    FALLING: int

    def setmode(self, mode: int, /) -> None: ...
    def setwarnings(self, enabled: bool, /) -> None: ...
    def setup(self, channel: int, direction: int, /, pull_up_down: int = ..., initial: int | None = ...) -> None: ...
    def output(self, channel: int, value: Any, /) -> None: ...
    def input(self, channel: int, /) -> int: ...
    def add_event_detect(self, channel: int, edge: int, /, callback: Callable[[int], None]) -> None: ...
    def cleanup(self) -> None: ...


# --- drivers ------------------------------------------------------------------------------------------------------


class PinDriver:
    """The pins that both kinds of wiring have: output enable, heartbeat, emergency stop."""

    def __init__(self, gpio: GpioLibrary, pins: Gpio) -> None:
        self._gpio = gpio
        self._pins = pins
        self._heartbeat_level = 0
        #: Called on a thread of the GPIO library when the emergency stop loop opens: look at once.
        self.on_emergency_edge: Callable[[], None] = lambda: None
        #: False: this library gives no edges, so the pin is looked at more often.
        self.edges = False
        #: Called before a latch edge; raises when the contactors were taken from the calling thread.
        self.check_owner: Callable[[], None] = lambda: None
        #: Mask of inputs behind the last contact that the newest feedback shows proven open.
        self.beyond = 0

    def set_up(self) -> None:
        """Set up every pin in its safe state, output enable first. Raises GpioError."""
        gpio = self._gpio
        with _told_in_words("the pin numbering"):
            gpio.setwarnings(False)  # the pins of a predecessor that was killed are still driven: that is known
            gpio.setmode(gpio.BCM)
        self._set_up_output("output_enable_pin", self._pins.output_enable_pin, initial=1)
        self._set_up_output("heartbeat_pin", self._pins.heartbeat_pin)
        self._set_up_input("emergency_stop_pin", self._pins.emergency_stop_pin, gpio.PUD_DOWN)
        self._set_up_image_pins()
        self._set_up_edge()

    def write_image(self, image: int) -> bool:
        """Drive and latch all coils. False when the readback shows that the image before was not what was written."""
        raise NotImplementedError

    def read_feedback(self) -> int | None:
        """One image of all contacts, 0 = proven open; None when its test bits are wrong."""
        raise NotImplementedError

    def enable_outputs(self, enabled: bool) -> None:
        self._gpio.output(self._pins.output_enable_pin, 0 if enabled else 1)

    def heartbeat_edge(self) -> None:
        self._heartbeat_level ^= 1
        self._gpio.output(self._pins.heartbeat_pin, self._heartbeat_level)

    def heartbeat_stop(self) -> None:
        self._heartbeat_level = 0
        self._gpio.output(self._pins.heartbeat_pin, 0)

    def emergency_stop_healthy(self) -> bool:
        """Normally closed loop: 0 is pressed, or a broken wire."""
        return bool(self._gpio.input(self._pins.emergency_stop_pin))

    def tear_down(self) -> None:
        self._gpio.cleanup()

    def _set_up_image_pins(self) -> None:
        raise NotImplementedError

    def _set_up_edge(self) -> None:
        """Ask for the edge of the emergency stop, on top of the look at each step."""
        try:
            self._gpio.add_event_detect(
                self._pins.emergency_stop_pin, self._gpio.FALLING, callback=lambda _: self.on_emergency_edge()
            )
            self.edges = True
        except (RuntimeError, OSError, ValueError) as error:  # RPi.GPIO on kernels that it does not know
            log.warning("No edge of the emergency stop (%s): the pin is looked at every 10 ms instead", error)

    def _set_up_output(self, name: str, pin: int, initial: int = 0) -> None:
        with _told_in_words(f"{name} (BCM {pin})"):
            self._gpio.setup(pin, self._gpio.OUT, initial=initial)

    def _set_up_input(self, name: str, pin: int, pull: int) -> None:
        with _told_in_words(f"{name} (BCM {pin})"):
            self._gpio.setup(pin, self._gpio.IN, pull_up_down=pull)


class ShiftRegisterDriver(PinDriver):
    """Seven 74HC595 for the coils, seven 74HC165 for the mirror contacts.

    Each level is one call of its own, never a list of pins: two edges in one call come faster than a metre of ribbon
    cable and a 3.3 V register can follow.
    """

    def __init__(self, gpio: GpioLibrary, pins: Gpio, contact_count: int) -> None:
        """Raises ValueError when the chain has too few places."""
        super().__init__(gpio, pins)
        if contact_count > MAX_CONTACTS:
            raise ValueError(f"{contact_count} contacts, but the shift registers carry {MAX_CONTACTS} at most")
        self._contact_mask = (1 << contact_count) - 1
        self._beyond_mask = (1 << MAX_CONTACTS) - 1 & ~self._contact_mask
        self._last_first = tuple(range(CHAIN_BITS - 1, -1, -1))  # the last bit shifted in is index 0
        self._feedback_masks = tuple(1 << index for index in range(FEEDBACK_BITS))
        self._written: int | None = None  # None: the stages hold what they powered up with

    def write_image(self, image: int) -> bool:
        proven = True
        if self._pins.readback_pin is None:
            self._shift(image)
        else:
            shown = self._shift_and_read_back(image, self._pins.readback_pin)
            proven = self._written is None or shown == self._written
        self._written = image
        self.check_owner()
        self._gpio.output(self._pins.latch_pin, 1)
        self._gpio.output(self._pins.latch_pin, 0)
        return proven

    def read_feedback(self) -> int | None:
        output, read, pins = self._gpio.output, self._gpio.input, self._pins
        clock, data = pins.feedback_clock_pin, pins.feedback_data_pin
        output(pins.feedback_load_pin, 0)
        output(pins.feedback_load_pin, 1)
        image = 0
        for mask in self._feedback_masks:
            if read(data):
                image |= mask
            output(clock, 1)
            output(clock, 0)
        if image & TEST_MASK != TEST_BITS:
            return None
        self.beyond = ~image & self._beyond_mask
        return image & self._contact_mask

    def _shift(self, image: int) -> None:
        output, clock, data = self._gpio.output, self._pins.clock_pin, self._pins.data_pin
        level = -1
        for index in self._last_first:
            wanted = image >> index & 1
            if wanted != level:
                output(data, wanted)
                level = wanted
            output(clock, 1)
            output(clock, 0)

    def _shift_and_read_back(self, image: int, readback: int) -> int:
        """Shift `image` in; the image before comes out at the far end, index 55 first."""
        output, read = self._gpio.output, self._gpio.input
        clock, data = self._pins.clock_pin, self._pins.data_pin
        shown = 0
        for index in self._last_first:
            shown = shown << 1 | (1 if read(readback) else 0)
            output(data, image >> index & 1)
            output(clock, 1)
            output(clock, 0)
        return shown

    def _set_up_image_pins(self) -> None:
        pins, gpio = self._pins, self._gpio
        self._set_up_output("latch_pin", pins.latch_pin)
        self._set_up_output("clock_pin", pins.clock_pin)
        self._set_up_output("data_pin", pins.data_pin)
        self._set_up_output("feedback_load_pin", pins.feedback_load_pin, initial=1)
        self._set_up_output("feedback_clock_pin", pins.feedback_clock_pin)
        self._set_up_input("feedback_data_pin", pins.feedback_data_pin, gpio.PUD_OFF)
        if pins.readback_pin is not None:
            self._set_up_input("readback_pin", pins.readback_pin, gpio.PUD_OFF)


class DirectDriver(PinDriver):
    """One pin for each coil and one for each mirror contact; small stations. It has no test bits and no readback."""

    def __init__(self, gpio: GpioLibrary, pins: Gpio, crosspoints: tuple[Crosspoint, ...]) -> None:
        """Raises ValueError when a crosspoint has no pin."""
        super().__init__(gpio, pins)
        missing = [c for c in crosspoints if c not in pins.direct_pins or c not in pins.direct_feedback_pins]
        if missing:
            raise ValueError(f"driver = direct, but these crosspoints have no pins: {', '.join(map(str, missing))}")
        self._coils = [(crosspoint, pins.direct_pins[crosspoint]) for crosspoint in crosspoints]
        self._feedbacks = [(crosspoint, pins.direct_feedback_pins[crosspoint]) for crosspoint in crosspoints]

    def write_image(self, image: int) -> bool:
        self.check_owner()
        for wanted in (0, 1):  # break before make
            for index, (_, pin) in enumerate(self._coils):
                if image >> index & 1 == wanted:
                    self._gpio.output(pin, wanted)
        return True

    def read_feedback(self) -> int | None:
        read = self._gpio.input
        return sum(1 << index for index, (_, pin) in enumerate(self._feedbacks) if read(pin))

    def _set_up_image_pins(self) -> None:
        for (gun, module), pin in self._coils:
            self._set_up_output(f"gun{gun}_module{module}_pin", pin)
        for (gun, module), pin in self._feedbacks:
            self._set_up_input(f"gun{gun}_module{module}_feedback_pin", pin, self._gpio.PUD_UP)


@contextmanager
def _told_in_words(what: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, OSError, ValueError) as error:
        raise GpioError(
            f"GPIO: {what} could not be set up: {error}. Is another program using the pins? Is this user in group gpio "
            "(sudo usermod -aG gpio USER, then log in again)? Without a Raspberry Pi: python main.py --simulate"
        ) from error


# --- the controller -----------------------------------------------------------------------------------------------


class ContactorController:
    """Closes what the interlock allows, opens whatever is asked, and knows of each contactor what is proven."""

    def __init__(
        self,
        gpio: GpioLibrary,
        pins: Gpio,
        safety: Safety,
        gun_count: int,
        module_count: int,
        driver: PinDriver | None = None,
    ) -> None:
        """Touches no pin. Raises ValueError when the wiring cannot carry gun_count x module_count contacts.

        `driver`: what drives the coils instead of what `pins` names (long simulations hand images over as they are).
        """
        self._matrix = Matrix(gun_count, module_count)
        self._safety = safety
        self._driver: PinDriver
        if driver is not None:
            self._driver = driver
        elif pins.driver is GpioDriver.DIRECT:
            self._driver = DirectDriver(gpio, pins, self._matrix.crosspoints)
        else:
            self._driver = ShiftRegisterDriver(gpio, pins, len(self._matrix.crosspoints))
        self._driver.check_owner = self._check_owner
        #: Called on a thread of the GPIO library when the emergency stop loop opens.
        self.on_emergency_edge: Callable[[], None] = lambda: None
        self._driver.on_emergency_edge = lambda: self.on_emergency_edge()
        self._contacts = Contacts(
            len(self._matrix.crosspoints), safety.feedback_debounce_s, safety.close_timeout_s, safety.open_timeout_s
        )
        self._out_of_service = 0
        self._pickups_s: deque[float] = deque(maxlen=safety.pickups_per_250ms)
        self._readback_wired = pins.driver is GpioDriver.SHIFT_REGISTER and pins.readback_pin is not None
        self._prepared = False
        self._enabled = False
        self._armed = False
        self._shut = False
        self._seized_by: int | None = None
        self._refresh_due_s = self._read_due_s = float("-inf")
        #: What the loop said at the last step: False is pressed or a broken wire.
        self.emergency_stop_healthy = False
        #: False while the readback contradicts what was written; None without readback_pin or before the first proof.
        self.image_verified: bool | None = None
        #: Times that the readback did not show the image before, and that the feedback's test bits were wrong.
        self.readback_mismatches = 0
        self.invalid_feedbacks = 0

    # --- start and stop -----------------------------------------------------------------------------------------------

    def prepare(self, now_s: float) -> None:
        """Set up the pins with the outputs disabled and latch zeros. Raises GpioError. Control thread, once."""
        self._check_owner()
        self._prepared = True  # from here on there is something for shut_down() to put back
        self._driver.set_up()
        self.emergency_stop_healthy = self._driver.emergency_stop_healthy()
        self._driver.write_image(0)  # over whatever the registers powered up with
        self._write(now_s)  # with readback_pin this proves the one before
        self._contacts.restart_limits(now_s)

    def enable_outputs(self, now_s: float) -> None:
        """Drive output enable low. Raises OutputsRefused unless zeros are latched and every contact is proven open.

        A welded contact must be taken out of service first: that is how the caller says that it knows of it.
        """
        self._check_owner()
        self._refuse_outputs(now_s)
        self._driver.enable_outputs(True)
        self._enabled = True
        log.info("Coil outputs enabled, heartbeat still off")

    def arm(self) -> None:
        """Allow closes and heartbeat edges. Raises OutputsRefused before enable_outputs()."""
        self._check_owner()
        if not self._enabled:
            raise OutputsRefused("Contactors cannot be armed before the outputs are enabled")
        self._armed = True
        log.info("Contactors armed")
        if self.inputs_beyond:
            log.error("%s", BEYOND.format(self.inputs_beyond[0], len(self._matrix.crosspoints)))

    def seize(self) -> None:
        """Take the contactors from the thread that used them; its next call raises ContactorsSeized. MainThread."""
        self._seized_by = threading.get_ident()

    def shut_down(self, now_s: float) -> None:
        """Latch zeros, disable the outputs, stop the heartbeat, release the pins. A second call does nothing.

        A step that fails does not keep the others from running; only ContactorsSeized is ever raised.
        """
        self._check_owner()
        if self._shut:
            return
        self._shut = True
        self._armed = self._enabled = False
        self._contacts.command(0, now_s)
        if self._prepared:
            self._run_all(
                (lambda: self._driver.write_image(0)),
                (lambda: self._driver.enable_outputs(False)),
                self._driver.heartbeat_stop,
                self._driver.tear_down,
            )

    # --- the control step ---------------------------------------------------------------------------------------------

    def step(self, now_s: float, healthy: bool) -> float:
        """Read, judge, refresh, beat; the seconds until the next call is wanted (0.010 while a contact moves).

        `healthy`: all checks of the control loop passed; without it, or when the image cannot be proven, there is no
        heartbeat edge, and the hardware drops the coil supply 500 ms after the last one. Control thread.
        """
        self._check_owner()
        if self._shut or not self._prepared:
            return READ_IDLE_S
        self.emergency_stop_healthy = self._driver.emergency_stop_healthy()
        if now_s >= self._read_due_s:
            self._read(now_s)
        if now_s >= self._refresh_due_s:
            self._write(now_s)
        if healthy and self._armed and self.image_verified is not False:
            self._driver.heartbeat_edge()
        return READ_MOVING_S if self._contacts.unsettled or not self._driver.edges else READ_IDLE_S

    # --- commands -----------------------------------------------------------------------------------------------------

    def request_close(self, crosspoint: Crosspoint, evidence: CloseEvidence, now_s: float) -> CloseRefusal | None:
        """Close if the interlock finds nothing against it; None: the coil is on. Control thread.

        Raises ValueError for a crosspoint that does not exist or evidence about another module.
        """
        self._check_owner()
        bit = self._bit(crosspoint)
        if evidence.module.module != crosspoint.module:
            raise ValueError(f"Evidence about module {evidence.module.module} cannot close {crosspoint}")
        if self._armed:
            self._read(now_s)  # a contactor that closed by itself since the last look must not be overlooked
        refusal = judge_close(self._facts(crosspoint, bit, now_s), evidence, self._safety, now_s)
        if refusal is None:
            self._pickups_s.append(now_s)
            self._command(self._contacts.image | bit, now_s)
        return refusal

    def request_open(self, crosspoint: Crosspoint, now_s: float) -> None:
        """Coil off, at once and always. Control thread."""
        self._check_owner()
        self._command(self._contacts.image & ~self._bit(crosspoint), now_s)

    def open_all(self, now_s: float) -> None:
        """Every coil off, at once and always. Control thread."""
        self._check_owner()
        self._command(0, now_s)

    def take_out_of_service(self, crosspoint: Crosspoint) -> None:
        """Never close it again, and count it as possibly closed for its module, until restore_all()."""
        self._check_owner()
        self._out_of_service |= self._bit(crosspoint)

    def restore_all(self) -> None:
        """A person has cleared the faults: everything is back in service."""
        self._check_owner()
        self._out_of_service = 0

    # --- what is known ------------------------------------------------------------------------------------------------

    def state(self, crosspoint: Crosspoint) -> ContactState:
        """Raises ValueError for a crosspoint that does not exist."""
        return self._contacts.states[self._matrix.index(crosspoint)]

    def closed_or_unproven_of_gun(self, gun: int) -> tuple[Crosspoint, ...]:
        """The gun's crosspoints that are commanded, closed, or not proven open."""
        return self._matrix.listed(self._possibly_closed & self._matrix.gun_masks[gun])

    def closed_or_unproven_of_module(self, module: int) -> tuple[Crosspoint, ...]:
        """The module's crosspoints that are commanded, closed, not proven open, or out of service."""
        return self._matrix.listed((self._possibly_closed | self._out_of_service) & self._matrix.module_masks[module])

    @property
    def states(self) -> Sequence[ContactState]:
        """All contacts in the order of their index; a view, not to be changed."""
        return self._contacts.states

    @property
    def coil_image(self) -> int:
        """The commanded image, bit i = contact index i."""
        return self._contacts.image

    @property
    def moving(self) -> bool:
        """A contact moves, bounces or cannot be read: the feedback is read every 10 ms."""
        return self._contacts.unsettled

    @property
    def armed(self) -> bool:
        return self._armed

    @property
    def feedback_valid(self) -> bool:
        """True when the last feedback image had the right test bits and has been stable."""
        return self._contacts.valid

    @property
    def inputs_beyond(self) -> Sequence[int]:
        """Inputs of the feedback chain behind the last contact that read proven open, from 0.

        Pulled up and wired to nothing they read closed (section 6 of the contract): a contactor is there that
        config.ini does not know.
        """
        return tuple(bits_of(self._driver.beyond))

    @property
    def all_proven_open(self) -> bool:
        """No coil is commanded and every contact is proven open."""
        return self._contacts.valid and not self._possibly_closed

    @property
    def closed_count(self) -> int:
        """Contacts that are commanded or, with a valid feedback image, seen closed."""
        seen = self._contacts.closed if self._contacts.valid else 0
        return (self._contacts.image | seen).bit_count()

    # --- inside -------------------------------------------------------------------------------------------------------

    @property
    def _possibly_closed(self) -> int:
        return self._contacts.image | self._contacts.unproven

    def _facts(self, crosspoint: Crosspoint, bit: int, now_s: float) -> ContactFacts:
        possibly_closed = self._possibly_closed
        others = self._matrix.module_masks[crosspoint.module] & ~bit
        return ContactFacts(
            armed=self._armed,
            emergency_stop_healthy=self.emergency_stop_healthy,
            feedback_valid=self._contacts.valid,
            in_service=not self._out_of_service & bit,
            others_open=not (possibly_closed | self._out_of_service) & others,
            proven_open=not possibly_closed & bit,
            gun_dark=not possibly_closed & self._matrix.gun_masks[crosspoint.gun],
            pickup_allowed=self._pickup_allowed(now_s),
        )

    def _feedback_is_fresh(self, now_s: float) -> bool:
        return self._contacts.valid and now_s - self._contacts.read_at_s < FEEDBACK_FRESH_S

    def _pickup_allowed(self, now_s: float) -> bool:
        """True unless the last pickups_per_250ms pick-ups all lie within 250 ms."""
        pickups_s = self._pickups_s
        return len(pickups_s) < self._safety.pickups_per_250ms or now_s - pickups_s[0] >= PICKUP_WINDOW_S - ROUNDING_S

    def _command(self, image: int, now_s: float) -> None:
        if image == self._contacts.image or self._shut:
            return
        self._contacts.command(image, now_s)
        self._read_due_s = min(self._read_due_s, now_s + READ_MOVING_S)
        if self._prepared:
            self._write(now_s)

    def _write(self, now_s: float) -> None:
        """Latch the commanded image; when the readback disowns the one before, write once more to prove this one."""
        image = self._contacts.image
        proven = self._driver.write_image(image)
        if not proven:
            self.readback_mismatches += 1
            proven = self._driver.write_image(image)
        if self._readback_wired:
            if proven is not (self.image_verified is not False):
                log.log(*_READBACK_WORDS[proven])
            self.image_verified = proven
        self._refresh_due_s = now_s + self._safety.image_refresh_s - ROUNDING_S

    def _read(self, now_s: float) -> None:
        raw = self._driver.read_feedback()
        was_valid = self._contacts.valid
        self._contacts.feed(raw, now_s)
        if raw is None:
            self.invalid_feedbacks += 1
            if was_valid:
                log.warning("Feedback image invalid: test bits wrong, nothing counts as open; check the ribbon cable")
        elif self._contacts.valid and not was_valid:
            log.info("Feedback image valid, %d contacts closed", self._contacts.closed.bit_count())
        wait_s = READ_MOVING_S if self._contacts.unsettled else READ_IDLE_S
        self._read_due_s = now_s + wait_s - ROUNDING_S

    def _refuse_outputs(self, now_s: float) -> None:
        if not self._prepared or self._shut:
            raise OutputsRefused("The coil outputs cannot be enabled: the pins are not set up")
        if self._contacts.image:
            raise OutputsRefused("The coil outputs cannot be enabled: the latched image is not zero")
        if self.image_verified is False:
            raise OutputsRefused("The coil outputs cannot be enabled: the readback does not show zeros")
        if not self._feedback_is_fresh(now_s):
            raise OutputsRefused("The coil outputs cannot be enabled: there is no valid feedback image")
        not_open = self._matrix.listed(self._contacts.unproven & ~self._out_of_service)
        if not_open:
            names = ", ".join(map(str, not_open))
            raise OutputsRefused(f"The coil outputs cannot be enabled: not proven open and still in service: {names}")

    def _run_all(self, *steps: Callable[[], object]) -> None:
        failures = []
        for step in steps:
            try:
                step()
            except Exception as error:  # the later steps are the ones that make it safe
                failures.append(f"{type(error).__name__}: {error}")
        if failures:
            log.error("Contactors shut down, but not every step worked: %s", "; ".join(failures))
        else:
            log.info("Contactors shut down: zeros latched, outputs disabled, heartbeat off, pins released")

    def _check_owner(self) -> None:
        if self._seized_by is not None and threading.get_ident() != self._seized_by:
            raise ContactorsSeized("The contactors were taken over by another thread")

    def _bit(self, crosspoint: Crosspoint) -> int:
        return 1 << self._matrix.index(crosspoint)


_READBACK_WORDS = {
    False: (logging.ERROR, "Readback differs from the written image twice in a row: heartbeat off, check the chain"),
    True: (logging.INFO, "Readback shows the written image again"),
}
