"""Job: `python main.py --check`: what can be known of config and hardware without setting up a pin or sending a frame.

Thread: MainThread. Lock: none. Units: none.
"""

from __future__ import annotations

import os
from pathlib import Path

from planning.settings import Settings
from service import EXIT_CONFIG, EXIT_STOPPED
from wires import Refused, import_gpio


def check(settings: Settings, simulate: bool) -> int:
    """--check: what can be known without setting up a pin or sending a frame. 0: good, 2: something is wrong."""
    print(f"Config in {settings.folder}: good")
    problems = [] if simulate else [*_check_gpio(settings), *_check_can(settings)]
    for problem in problems:
        print(f"Problem: {problem}")
    print("Good to start" if not problems else f"{len(problems)} problem(s) found")
    return EXIT_CONFIG if problems else EXIT_STOPPED


def _check_gpio(settings: Settings) -> list[str]:
    try:
        import_gpio()
    except Refused as error:
        return [str(error)]
    chip = Path("/dev/gpiochip0")
    if chip.exists() and not os.access(chip, os.R_OK | os.W_OK):
        return [f"No permission for {chip}: sudo usermod -aG gpio $USER, then log in again"]
    return _pins_held(settings)


def _pins_held(settings: Settings) -> list[str]:
    """Pins of ours that a kernel driver (a CAN HAT, SPI) holds, as the kernel's own list says."""
    listing = Path("/sys/kernel/debug/gpio")
    try:
        text = listing.read_text()
    except OSError:
        return []
    pins = settings.gpio
    names = ("data_pin", "clock_pin", "latch_pin", "output_enable_pin", "feedback_load_pin", "feedback_clock_pin",
             "feedback_data_pin", "emergency_stop_pin", "heartbeat_pin")  # fmt: skip
    held = {}
    for line in text.splitlines():
        number, _, rest = line.strip().partition(" ")
        if number.startswith("gpio-") and "|" in rest:
            held[number.removeprefix("gpio-")] = rest.split("|")[1].strip(" )")
    return [
        f"[GPIO] {name} = {getattr(pins, name)}: the kernel driver '{held[str(getattr(pins, name))]}' holds this pin. "
        "Choose another pin, or take the overlay out of config.txt"
        for name in names
        if held.get(str(getattr(pins, name)), "").strip()
    ]


def _check_can(settings: Settings) -> list[str]:
    if settings.can.interface != "socketcan":
        return []
    state = Path(f"/sys/class/net/{settings.can.channel}/operstate")
    try:
        up = state.read_text().strip() in ("up", "unknown")
    except OSError:
        return [f"CAN link {settings.can.channel} does not exist: is the adapter plugged in and its overlay loaded?"]
    start = f"sudo ip link set {settings.can.channel} up type can bitrate {settings.can.bitrate} restart-ms 100"
    return [] if up else [f"CAN link {settings.can.channel} is down: {start}"]
