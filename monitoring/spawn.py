"""Job: start a process without keeping any other thread of ours waiting, and ask what became of it.

Thread: the one that started it. Lock: none. Units: s.

subprocess holds Python's interpreter lock until the new program has been loaded, and fork copies all page tables under
it: 10 to 100 ms on a busy machine, in which no thread of the control path could step. libc's posix_spawn, called
through ctypes, suspends the calling thread alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

#: spawn.h of glibc: the new process leads a group of its own, so that Ctrl-C at the terminal does not reach it. It
#: stays in our session: the kernel shares the processors out evenly between sessions (sched_autogroup), and `nice`
#: counts only within one. In a session of its own a page process that starts took as much as the whole station.
POSIX_SPAWN_SETPGROUP = 0x02
#: posix_spawnattr_t has 336 bytes in glibc, posix_spawn_file_actions_t 80.
ROOM = 1024
LOOK_S = 0.01


class Process:
    """A child with pipes: `stdin` is written, `stdout` and `stderr` are read, all by descriptor."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        """`command[0]` is the path of a program. Raises OSError."""
        theirs_in, self.stdin = os.pipe()
        self.stdout, theirs_out = os.pipe()
        self.stderr, theirs_err = os.pipe()
        self._exit_code: int | None = None
        try:
            self.pid = _spawn(command, folder, environment, (theirs_in, theirs_out, theirs_err))
        except OSError:
            self.close()
            raise
        finally:
            for descriptor in (theirs_in, theirs_out, theirs_err):
                os.close(descriptor)

    def poll(self) -> int | None:
        """Its exit code; negative: the signal that ended it; None: it runs."""
        if self._exit_code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else has asked: all that is known is that it is gone
                self._exit_code = 0
            else:
                self._exit_code = os.waitstatus_to_exitcode(status) if pid else None
        return self._exit_code

    def wait(self, timeout_s: float) -> bool:
        """True when it has ended within this time."""
        pause, end_s = threading.Event(), time.monotonic() + timeout_s
        while self.poll() is None:
            if time.monotonic() >= end_s:
                return False
            pause.wait(LOOK_S)
        return True

    def signal(self, number: int) -> None:
        if self.poll() is None:  # not yet asked for: the number still is that of our child
            os.kill(self.pid, number)

    def close_stdin(self) -> None:
        self.stdin = _closed(self.stdin)

    def close(self) -> None:
        """Close our ends of all pipes."""
        self.close_stdin()
        self.stdout, self.stderr = _closed(self.stdout), _closed(self.stderr)


def _closed(descriptor: int) -> int:
    if descriptor >= 0:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    return -1


def _spawn(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], pipes: tuple[int, int, int]
) -> int:
    """The number of the new process. Raises OSError."""
    libc = ctypes.CDLL(None)
    actions, attributes, pid = ctypes.create_string_buffer(ROOM), ctypes.create_string_buffer(ROOM), ctypes.c_int()
    libc.posix_spawn_file_actions_init(actions)
    libc.posix_spawnattr_init(attributes)
    try:
        for number, descriptor in enumerate(pipes):
            libc.posix_spawn_file_actions_adddup2(actions, descriptor, number)
        libc.posix_spawn_file_actions_addchdir_np(actions, os.fsencode(folder))
        with contextlib.suppress(AttributeError):  # glibc 2.34; ours are closed anyway, these are of whoever started us
            libc.posix_spawn_file_actions_addclosefrom_np(actions, len(pipes))
        libc.posix_spawnattr_setflags(attributes, ctypes.c_short(POSIX_SPAWN_SETPGROUP))
        words, variables = _strings(command), _strings(f"{name}={value}" for name, value in environment.items())
        path = os.fsencode(command[0])
        error: int = libc.posix_spawn(ctypes.byref(pid), path, actions, attributes, words, variables)
    except AttributeError as missing:
        raise OSError(f"this system's libc cannot start it ({missing})") from missing
    finally:
        libc.posix_spawn_file_actions_destroy(actions)
        libc.posix_spawnattr_destroy(attributes)
    if error:
        raise OSError(error, os.strerror(error), command[0])
    return pid.value


def _strings(texts: Iterable[str]) -> ctypes.Array[ctypes.c_char_p]:
    """As C wants them: one behind the other, and nothing after the last."""
    found = [os.fsencode(text) for text in texts]
    return (ctypes.c_char_p * (len(found) + 1))(*found, None)
