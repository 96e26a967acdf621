"""Job: the page process as the control process sees it: started, written to without waiting, listened to, ended.

Thread: `onlook` alone. Lock: none. Units: bytes, s (monotonic).

Whatever the child does, the caller never waits for it: its stdin is written as far as the pipe has room, what it says
is bounded, and one that says too much is killed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from monitoring.spawn import Process

CHUNK = 65_536
#: A word of the page process is far shorter.
LONGEST_WORD = 8192
#: More than this within FLOOD_S, on both pipes together, and it has gone mad.
FLOOD_BYTES, FLOOD_S = 262_144, 10.0
#: What it writes to stderr goes to the log in lines of at most this, so many of them in FLOOD_S.
LONGEST_COMPLAINT, COMPLAINTS = 500, 50
#: glibc keeps memory for each thread; two such pools do for the page process.
ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "PYTHONUNBUFFERED": "1"}


class Child:
    """One run of `python -m monitoring`."""

    def __init__(self, folder: Path, first: bytes, now_s: float, command: Sequence[str] = ()) -> None:
        """`folder`: that of main.py. `first`: the line that says what to serve. Raises OSError."""
        self.started_s = now_s
        #: What it did that nobody may do; then it is killed.
        self.misdeed: str | None = None
        self.complaint = ""  # the last line of its stderr
        command = command or (sys.executable, "-m", "monitoring")
        self._process = process = Process(command, folder, {**os.environ, **ENVIRONMENT})
        self._begun = {process.stdout: b"", process.stderr: b""}  # lines that have not ended yet
        self._poll = select.poll()
        for descriptor in self._begun:
            os.set_blocking(descriptor, False)
            self._poll.register(descriptor, select.POLLIN)
        os.set_blocking(process.stdin, False)
        self._unwritten = first
        self._window_s, self._said_bytes, self._complaints = now_s, 0, 0

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    # --- writing --------------------------------------------------------------------------------------------------

    def write(self, line: bytes) -> bool:
        """True: the line is on its way. False: nobody reads just now, and nothing of it was written. Never waits."""
        if not self.flush():
            return False
        self._unwritten = line
        self.flush()
        if len(self._unwritten) == len(line):
            self._unwritten = b""
            return False
        return True

    def flush(self) -> bool:
        """Write what is left of the line before; True: nothing is."""
        while self._unwritten:
            try:
                written = os.write(self._process.stdin, self._unwritten)
            except OSError:  # full, or its other end is gone
                return False
            self._unwritten = self._unwritten[written:]
        return True

    # --- listening ------------------------------------------------------------------------------------------------

    def listen(self, wait_s: float, now_s: float) -> tuple[list[bytes], list[str]]:
        """Wait for what it says, at most `wait_s`: its words, and the lines of its stderr."""
        words: list[bytes] = []
        complaints: list[str] = []
        if now_s - self._window_s >= FLOOD_S:
            self._window_s, self._said_bytes, self._complaints = now_s, 0, 0
        for descriptor, _ in self._poll.poll(max(0.0, wait_s) * 1000.0):
            for line in self._lines(descriptor):
                if descriptor == self._process.stdout:
                    words.append(line)
                else:
                    complaints += self._complaint(line)
        return words, complaints

    def _lines(self, descriptor: int) -> Iterator[bytes]:
        try:
            data = os.read(descriptor, CHUNK)
        except OSError:
            return
        if not data:
            self._poll.unregister(descriptor)
        self._said_bytes += len(data)
        *lines, self._begun[descriptor] = (self._begun[descriptor] + data).split(b"\n")
        if self._said_bytes > FLOOD_BYTES:
            self.misdeed = f"it said {self._said_bytes} bytes within {FLOOD_S:g} s"
        elif len(self._begun[descriptor]) > LONGEST_WORD:
            self.misdeed = f"it said a line of more than {LONGEST_WORD} bytes"
        yield from lines

    def _complaint(self, line: bytes) -> Iterator[str]:
        text = line[:LONGEST_COMPLAINT].decode("utf-8", "backslashreplace").strip()
        if text:
            self.complaint = text
            self._complaints += 1
            if self._complaints <= COMPLAINTS:
                yield text

    # --- ending ---------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            self._process.signal(signal.SIGKILL)

    def end(self, wait_s: float) -> bool:
        """Close its stdin, which ends it; kill it after `wait_s`. False: it had to be killed."""
        self._process.close_stdin()
        ended = self._process.wait(wait_s)
        if not ended:
            self.kill()
            self._process.wait(wait_s)  # one that hangs in the kernel is buried by the system
        self.put_away()
        return ended

    def put_away(self) -> None:
        """Close the pipes."""
        self._process.close()

    def why_it_ended(self) -> str:
        """For the log."""
        code = self.exit_code
        if self.misdeed is not None:
            return self.misdeed
        if code is not None and code < 0:
            return f"signal {-code}"
        return f"exit code {code}: {self.complaint}" if self.complaint else f"exit code {code}"
