"""Job: tell systemd that the station is up, that it lives, and that it stops; with which exit code the program ends.

Thread: MainThread. Lock: none. Units: none. Not started by systemd (no NOTIFY_SOCKET): every call does nothing.

WATCHDOG=1 goes out only while the gate of the heartbeat lets edges through (main.py): a service that systemd takes for
alive is one whose control loop is.
"""

from __future__ import annotations

import contextlib
import os
import socket

#: As asked; through the safe door by itself; config or hardware has to be mended; it runs already.
EXIT_STOPPED, EXIT_SAFE_DOOR, EXIT_CONFIG, EXIT_RUNNING = 0, 1, 2, 3


class Service:
    """The notify socket of the unit (Type=notify); see sd_notify(3)."""

    def __init__(self, address: str | None = None) -> None:
        """`address`: the socket's path, @ for an abstract one; None: as systemd says in the environment."""
        # taken out of the environment: no child of ours shall speak for the service
        told = os.environ.pop("NOTIFY_SOCKET", "") if address is None else address
        self._address = "\0" + told[1:] if told.startswith("@") else told
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def ready(self) -> None:
        """The threads run. Outputs may still wait for CAN: that is no reason to restart the service."""
        self._say("READY=1")

    def alive(self, sentence: str) -> None:
        """Feed the watchdog; `sentence` is what `systemctl status` shows."""
        self._say(f"WATCHDOG=1\nSTATUS={sentence}")

    def stopping(self, sentence: str) -> None:
        """The safe door is opened; from now on the watchdog waits for nothing."""
        self._say(f"STOPPING=1\nSTATUS={sentence}")

    def _say(self, text: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # a full or missing socket must not stop a station
                self._socket.sendto(text.encode(), self._address)
