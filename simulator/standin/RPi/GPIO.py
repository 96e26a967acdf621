"""Job: RPi.GPIO for a machine without pins: simulated chips in this process, the plant in another (`STATION_PLANT`).

Thread: the one that drives the pins. Lock: none (see simulator/gpio_shm.py). Units: BCM pin numbers.

`python -m simulator --serve DIR` is the other end; STATION_PLANT names the same folder. Importing this without it raises
RuntimeError, as the real library does on a machine that is no Raspberry Pi.
"""

import os
import sys
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[3]
if str(_PROJECT) not in sys.path:
    sys.path.append(str(_PROJECT))

from simulator.gpio_shm import ControllerSide, SharedGpio  # noqa: E402 - only findable from here on

_folder = os.environ.get("STATION_PLANT")
if not _folder:
    raise RuntimeError(
        "This RPi.GPIO is the simulator's stand-in and needs STATION_PLANT=DIR, "
        "the folder given to `python -m simulator --serve DIR`"
    )
_gpio = SharedGpio(ControllerSide(Path(_folder)))

BOARD, BCM = _gpio.BOARD, _gpio.BCM
OUT, IN = _gpio.OUT, _gpio.IN
LOW, HIGH = _gpio.LOW, _gpio.HIGH
PUD_OFF, PUD_DOWN, PUD_UP = _gpio.PUD_OFF, _gpio.PUD_DOWN, _gpio.PUD_UP
RISING, FALLING, BOTH = _gpio.RISING, _gpio.FALLING, _gpio.BOTH
VERSION, RPI_INFO = _gpio.VERSION, _gpio.RPI_INFO

setmode = _gpio.setmode
setwarnings = _gpio.setwarnings
setup = _gpio.setup
output = _gpio.output
input = _gpio.input  # noqa: A001 - the real library calls it so
cleanup = _gpio.cleanup
add_event_detect = _gpio.add_event_detect
remove_event_detect = _gpio.remove_event_detect
