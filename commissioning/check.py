"""Job: `python main.py --check`: what can be known of config and hardware without setting up a pin or sending a frame.

Thread: MainThread. Lock: none. Units: none.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from planning.settings import Gpio, Settings
from service import EXIT_CONFIG, EXIT_STOPPED
from wires import Refused, check_desk, import_gpio

#: Which driver holds which pin; only root may read it.
KERNELS_PINS = Path("/sys/kernel/debug/gpio")
PIN_NAMES = (
    "data_pin", "clock_pin", "latch_pin", "output_enable_pin", "feedback_load_pin", "feedback_clock_pin",
    "feedback_data_pin", "emergency_stop_pin", "heartbeat_pin", "readback_pin",
)  # fmt: skip


def check(settings: Settings, simulate: bool) -> int:
    """--check: what can be known without setting up a pin or sending a frame. 0: good, 2: something is wrong."""
    print(f"Config in {settings.folder}: good")
    problems = _check_desk(settings) if simulate else [*_check_gpio(settings), *can_problems(settings)]
    for problem in problems:
        print(f"Problem: {problem}")
    print("Good to start" if not problems else f"{len(problems)} problem(s) found")
    return EXIT_CONFIG if problems else EXIT_STOPPED


def _check_desk(settings: Settings) -> list[str]:
    try:
        check_desk(settings)
    except Refused as error:
        return [str(error)]
    return []


def _check_gpio(settings: Settings) -> list[str]:
    try:
        import_gpio()
    except Refused as error:
        return [str(error)]
    chip = Path("/dev/gpiochip0")
    if chip.exists() and not os.access(chip, os.R_OK | os.W_OK):
        return [f"No permission for {chip}: sudo usermod -aG gpio $USER, then log in again"]
    try:
        listing = KERNELS_PINS.read_text()
    except OSError:
        print(f"Not looked at: whether a kernel driver holds one of the pins ({KERNELS_PINS} is for root: use sudo)")
        return []
    return pins_held(settings.gpio, listing)


def pins_held(pins: Gpio, listing: str) -> list[str]:
    """Pins of ours that a kernel driver (a CAN HAT, SPI) holds, as the kernel's own list says.

    Kernels from 6.6 on number the board's pins from 512; the head of the list says so.
    """
    named = {name: getattr(pins, name) for name in PIN_NAMES}
    named |= {f"gun{gun}_module{module}_pin": pin for (gun, module), pin in pins.direct_pins.items()}
    named |= {f"gun{gun}_module{module}_feedback_pin": pin for (gun, module), pin in pins.direct_feedback_pins.items()}
    base = re.search(r"GPIOs (\d+)-\d+,[^\n]*pinctrl", listing)
    held = re.finditer(r"^ *gpio-(\d+) *\([^|\n]*\|([^)\n]*)\)", listing, re.MULTILINE)
    drivers = {int(line[1]) - (int(base[1]) if base else 0): line[2].strip() for line in held}
    return [
        f"[GPIO] {name} = {pin}: the kernel driver '{drivers[pin]}' holds this pin. "
        "Choose another pin, or take the overlay out of config.txt"
        for name, pin in named.items()
        if drivers.get(pin)
    ]


def can_problems(settings: Settings) -> list[str]:
    """Why the CAN link of the kernel cannot be used, in words; no frame is sent."""
    if settings.can.interface != "socketcan":
        return []
    state = Path(f"/sys/class/net/{settings.can.channel}/operstate")
    try:
        up = state.read_text().strip() in ("up", "unknown")
    except OSError:
        return [f"CAN link {settings.can.channel} does not exist: is the adapter plugged in and its overlay loaded?"]
    start = f"sudo ip link set {settings.can.channel} up type can bitrate {settings.can.bitrate} restart-ms 100"
    return [] if up else [f"CAN link {settings.can.channel} is down: {start}"]
