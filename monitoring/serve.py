"""Job: the page process: reads lines from the control process, keeps the board and the history, serves the page.

Thread: MainThread runs uvicorn's event loop; `feed` reads stdin. Lock: none. Units: s (monotonic).

It ends when its stdin ends, whatever else it does: without a station there is nothing to look at, and nothing of it may
outlive the control process.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import ValidationError

from monitoring.acts import Acts
from monitoring.api import make_app
from monitoring.board import Board
from monitoring.doorkeeper import Doorkeeper, read_token
from monitoring.patience import PatientProtocol
from monitoring.schema import Line, Serving, Setup
from monitoring.stream import Stream
from planning.config_values import is_loopback
from worker import SystemClock, Worker

log = logging.getLogger(__name__)

#: A line has some 15 kB; one that is longer than this is none of ours.
LONGEST_LINE = 4_000_000
CHUNK = 65_536
#: After the end of stdin the event loop and the history have so long to end by themselves.
END_S = 3.0
HISTORY_END_S = 0.7
#: Connections of all clients together.
MOST_CONNECTIONS = 250
BACKLOG = 128
LONGEST_HEAD = 16_384
#: A client whose system confirms nothing for so long is gone.
UNCONFIRMED_MS = 30_000
LINES_TOLD = 5

EXIT_ENDED, EXIT_REFUSED = 0, 2


class CannotServe(Exception):
    """The page cannot be served; the text is for the log of the station."""


# --- the address ------------------------------------------------------------------------------------------------------


def listen(host: str, port: int, tries: int) -> socket.socket:
    """A bound socket on the first free port of `tries`. Raises CannotServe."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise CannotServe(f"[Dashboard] host = {host} is no address of this computer ({error.strerror})") from error
    failure: OSError | None = None
    for number in range(port, min(port + tries, 65536)):
        try:
            return _bound(family, (address[0], number, *address[2:]))
        except OSError as error:
            failure = error
    why = failure.strerror if failure is not None else "no port"
    raise CannotServe(
        f"port {port} of {host} cannot be had ({why}): another program may serve there; change [Dashboard] port"
    )


def _bound(family: int, address: tuple[Any, ...]) -> socket.socket:
    made = socket.create_server(address, family=family, backlog=BACKLOG)
    with contextlib.suppress(OSError, AttributeError):  # Linux; accepted sockets inherit it
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNCONFIRMED_MS)
    return made


def url_of(host: str, bound: socket.socket) -> str:
    """What a person types to see the page."""
    shown = "127.0.0.1" if is_loopback(host) else host
    if host in ("0.0.0.0", "::"):
        shown = socket.gethostname()
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{bound.getsockname()[1]}"


# --- the pipes --------------------------------------------------------------------------------------------------------


class Out:
    """What the control process reads of us. Written without waiting: a station that does not read is in trouble."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor

    def write(self, line: bytes) -> bool:
        """False: it does not fit; nothing of it was written. Lines are shorter than PIPE_BUF: all of it or nothing."""
        try:
            return os.write(self._descriptor, line) == len(line)
        except OSError:
            return False

    def say(self, serving: Serving) -> None:
        self.write(serving.model_dump_json(exclude_none=True).encode() + b"\n")


class In:
    """Lines of a pipe. Without Python's own buffer, whose lock a thread that waits would take along to the very end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._begun: list[bytes] = []

    def line(self) -> bytes:
        """Wait for the next line; empty: the other end is closed, or it has gone mad."""
        while not self._lines:
            data = os.read(self._descriptor, CHUNK)
            if not data or sum(map(len, self._begun)) > LONGEST_LINE:
                return b""
            first, *others = data.split(b"\n")
            self._begun.append(first)
            if others:
                self._lines.append(b"".join(self._begun))
                self._lines.extend(others[:-1])
                self._begun = [others[-1]]
        return self._lines.popleft() + b"\n"


class Reader:
    """Thread `feed`: each line of stdin to whom it concerns."""

    def __init__(self, lines: In, house: House, clock: SystemClock) -> None:
        self._lines, self._house, self._clock = lines, house, clock
        self._not_understood = 0
        self.worker = Worker("feed", self._step, clock)

    def _step(self, now_s: float) -> float:
        raw = self._lines.line()
        if not raw:
            self._end()
        try:
            self._house.take(Line.model_validate_json(raw), self._clock.now_s())
        except ValidationError as error:
            self._complain(f"a line of the control process is not understood: {error.errors()[:3]}")
        except Exception as error:  # whatever one line does: the next one is read
            self._complain(f"a line could not be used: {type(error).__name__}: {error}")
        return 0.0

    def _complain(self, sentence: str) -> None:
        self._not_understood += 1
        if self._not_understood <= LINES_TOLD:
            log.warning("%s", sentence)

    def _end(self) -> None:
        """The control process is gone: so are we, one way or the other."""
        self._house.end()
        threading.Event().wait(END_S)
        os._exit(EXIT_ENDED)


# --- all of it --------------------------------------------------------------------------------------------------------


class _Server(uvicorn.Server):
    """uvicorn that leaves the signals to us: it would raise them again before the history is closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class House:
    """Board, stream, history and server of one page process."""

    def __init__(self, setup: Setup, out: Out, clock: SystemClock) -> None:
        """Raises CannotServe."""
        self._clock, self._out = clock, out
        doorkeeper = Doorkeeper(_token(setup.token_file))
        self._socket = listen(setup.host, setup.port, setup.ports_tried)
        self.url = url_of(setup.host, self._socket)
        self.board = Board()
        self.stream = Stream(self.board, clock.now_s)
        self.board.on_line = self.stream.told
        self.acts = Acts(out.write)
        self.history = _history(setup)
        app = make_app(
            self.board, clock=clock, stream=self.stream, acts=self.acts, doorkeeper=doorkeeper, history=self.history,
            host=setup.host,
        )  # fmt: skip
        self._server = _Server(
            uvicorn.Config(
                app, loop="asyncio", http=PatientProtocol, ws="none", lifespan="on", log_config=None, access_log=False,
                log_level="error", proxy_headers=False, server_header=False, limit_concurrency=MOST_CONNECTIONS,
                timeout_keep_alive=15, timeout_graceful_shutdown=1, h11_max_incomplete_event_size=LONGEST_HEAD,
            )
        )  # fmt: skip

    def take(self, line: Line, now_s: float) -> None:
        """One line of the control process. Thread `feed`."""
        if line.answer is not None:
            self.acts.answered(line.answer)
        self.board.put(line, now_s)
        if self.history is not None:
            self.history.put(line)

    def serve(self) -> None:
        """Until `end`. MainThread."""
        if self.history is not None:
            self.history.start()
        self._out.say(Serving(serves=self.url))
        try:
            self._server.run(sockets=[self._socket])
        finally:
            if self.history is not None:
                self.history.stop(HISTORY_END_S)

    def end(self) -> None:
        """Let go of every page and end. Any thread, also from a signal."""
        self.stream.close()
        self._server.should_exit = self._server.force_exit = True  # nobody waits for slow pages


def _token(path: str | None) -> str | None:
    """Raises CannotServe: somebody who wants to act shall not wonder why nobody can."""
    if path is None:
        return None
    try:
        return read_token(Path(path))
    except (OSError, ValueError) as error:
        raise CannotServe(f"[Dashboard] token_file = {path} cannot be read: {error}") from error


def _history(setup: Setup) -> Any:
    """The history, or None where it is missing or does not work: the page is served all the same."""
    try:
        from monitoring.history import History

        kept = setup.history
        return History(kept.url, kept.retention_days, kept.max_megabytes, Path(setup.folder))
    except Exception as error:
        log.warning("There is no history: %s: %s", type(error).__name__, error)
        return None


def run(stdin: int, stdout: int) -> int:
    """Serve until stdin ends or SIGTERM comes. Returns the exit code. MainThread."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    lines, out, clock = In(stdin), Out(stdout), SystemClock()
    first = lines.line()
    if not first:
        return EXIT_ENDED
    try:
        house = House(Setup.model_validate_json(first), out, clock)
    except (CannotServe, ValidationError) as error:
        out.say(Serving(cannot=str(error)[:1000]))
        return EXIT_REFUSED
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: house.end())
    Reader(lines, house, clock).worker.start()
    house.serve()
    return EXIT_ENDED
