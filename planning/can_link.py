"""Job: when a CAN link counts as dead, when to open it anew, and what strangers do on it.

Thread: can-rx, or the holder of the lock of PowerModuleController. Lock: none of its own. Units: s, % of the bit rate.
"""

from __future__ import annotations

import logging
import math
from collections import Counter

from planning.can_queue import LoadMeter
from planning.notebook import REMIND_S, Notebook

LINK_SILENT_S = 2.0
#: So many requests without any answer, besides the time above: nobody can answer before he is asked.
SILENT_READS = 3
RETRY_FIRST_S = 1.0
RETRY_LAST_S = 15.0
SECOND_CONTROLLER_S = 60.0
FOREIGN_LOAD_PCT = 60.0
#: So many bus-offs within a minute are no accident: somebody must look at the cable.
BUS_OFFS = 3

#: Bits of an error frame's identifier (Linux, can/error.h).
ERROR_CLASSES = {
    0x001: "transmit timeout",
    0x002: "arbitration lost",
    0x004: "controller",
    0x008: "protocol",
    0x010: "transceiver",
    0x020: "no acknowledge",
    0x040: "bus off",
    0x080: "bus error",
    0x100: "restarted",
}


class LinkWatch:
    """Judges one link by what is heard on it."""

    def __init__(self) -> None:
        self.retry_at_s = -math.inf
        self._retry_s = RETRY_FIRST_S / 2
        self._heard_at_s = -math.inf
        self._unanswered = 0

    def opened(self, now_s: float) -> None:
        self._heard_at_s = now_s
        self._unanswered = 0

    def heard(self, now_s: float) -> None:
        """A module's frame came."""
        self._heard_at_s = now_s
        self._unanswered = 0
        self._retry_s = RETRY_FIRST_S / 2

    def asked(self) -> None:
        """A request has left."""
        self._unanswered += 1

    def silent(self, now_s: float) -> bool:
        """Nothing was heard although we asked."""
        return now_s - self._heard_at_s > LINK_SILENT_S and self._unanswered >= SILENT_READS

    def lost(self, now_s: float) -> None:
        """The link is closed, or could not be opened: again after 1 s, 2 s, 4 s ... 15 s."""
        self._retry_s = min(2 * self._retry_s, RETRY_LAST_S)
        self.retry_at_s = now_s + self._retry_s


class Strangers:
    """Counts what does not come from our modules, and says once what a person must know of it."""

    def __init__(self, bitrate: int, notebook: Notebook) -> None:
        self.frames = 0
        #: error frames by class; frames by an address of our make that config.ini does not have
        self.errors: Counter[str] = Counter()
        self.unconfigured: Counter[int] = Counter()
        #: times that our controller chip switched itself off
        self.bus_offs = 0
        self._notebook = notebook
        self._load = LoadMeter(bitrate)
        self._second_controller_s = -math.inf
        self._bus_off_s: list[float] = []

    def second_controller(self, now_s: float) -> bool:
        """True for a minute after somebody else sent a request of our kind."""
        return now_s - self._second_controller_s < SECOND_CONTROLLER_S

    def crowd(self, now_s: float) -> bool:
        """Strangers fill the bus."""
        return self._load.pct(now_s)[0] > FOREIGN_LOAD_PCT

    def request(self, now_s: float) -> None:
        """A request of our own kind that we did not send."""
        self._count(now_s)
        if not self.second_controller(now_s):
            self._notebook.note(logging.ERROR, "A second controller sends on the CAN bus; unplug one of the two")
        self._second_controller_s = now_s

    def module(self, address: int, now_s: float) -> None:
        """A reply of one of our makes from an address that no module of ours has."""
        self._count(now_s)
        if address not in self.unconfigured:
            text = f"A module answers at CAN address {address}, which no module in config.ini has"
            self._notebook.note(logging.WARNING, text)
        self.unconfigured[address] += 1

    def other(self, now_s: float) -> None:
        """Anything else."""
        self._count(now_s)

    def error_frame(self, error_class: int, now_s: float) -> None:
        """An error frame of the controller chip; its identifier holds the class."""
        names = [name for bit, name in ERROR_CLASSES.items() if error_class & bit] or ["unknown"]
        self.errors.update(names)
        if "bus off" not in names:
            return
        self.bus_offs += 1
        self._bus_off_s = [at_s for at_s in self._bus_off_s if now_s - at_s < REMIND_S] + [now_s]
        if len(self._bus_off_s) == BUS_OFFS:
            text = "The CAN bus went off three times in a minute; look at the cable and at both terminations"
            self._notebook.note(logging.ERROR, text)

    def _count(self, now_s: float) -> None:
        self.frames += 1
        self._load.add(now_s)
        if self.crowd(now_s):
            self._notebook.complain("strangers", "Strangers use more than 60 % of the CAN bus", now_s)
