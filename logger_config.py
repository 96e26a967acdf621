"""Job: one log, one format, one queue; the recorded inputs of the decisions and the faults go the same way.

Thread: `log` alone touches the files and the console; every other thread only puts into the queue and goes on.
Lock: one, to count what was dropped. Units: bytes and s.
A full, slow or dead disk never raises, blocks or floods: lines are lost, counted and told of, and it is tried again.
"""

from __future__ import annotations

import copy
import logging
import logging.handlers
import os
import queue
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from planning.settings import Logging

log = logging.getLogger(__name__)

#: Records that may wait; the last places are kept for recorded inputs, which a flood of log lines must not push out.
MAX_WAITING = 10_000
MAX_WAITING_RECORDS = 8_000
MAX_BATCH = 500
#: Lines that follow each other are written together: a write for each would wake this thread for each.
GATHER_S = 0.02
MAX_MESSAGE_LENGTH = 8_000
TELL_EVERY_S = 60.0
RETRY_AFTER_S = 1.0
KEPT_INPUT_FILES = 14
#: faults.log: a fault costs about 600 bytes with start and end, so this holds thousands, and one older file is kept.
FAULTS_MAX_BYTES = 2_000_000
#: These talk a lot below WARNING: python-can alone writes about 289 bytes for each frame it sends.
NOISY_LOGGERS = ("can", "paho", "amqtt", "transitions", "asyncio")

# Control characters, line separators and direction marks: with them a message could forge or hide log lines.
_UNSAFE = {*range(32), *range(127, 160), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
_ESCAPES = {code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in _UNSAFE}
_ESCAPES.update({ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"})


@dataclass(frozen=True, slots=True)
class LogStats:
    """Counts since the start."""

    written: int = 0  # log records that reached the file
    dropped: int = 0  # log records that found the queue full
    lost: int = 0  # log records that the disk did not take
    inputs_written: int = 0
    inputs_dropped: int = 0  # recorded inputs that found the queue full or that the disk did not take
    disk_failures: int = 0
    console_failures: int = 0


def escape(text: str) -> str:
    """The text on one line, without a character that could forge a line or drive a terminal."""
    return text.translate(_ESCAPES)


class _Queuer(logging.handlers.QueueHandler):
    """Puts records into the queue and never waits; formats the message, since its arguments may change afterwards."""

    def __init__(self, put: Callable[[logging.LogRecord], None]) -> None:
        super().__init__(queue.SimpleQueue())
        self._put = put

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        ready = copy.copy(record)
        try:
            ready.msg = record.getMessage()
        except Exception as error:  # a wrong format is a slip in our code, the line must come all the same
            ready.msg = f"{record.msg} (arguments {record.args!r} do not fit: {error})"
        ready.args = None
        return ready

    def enqueue(self, record: logging.LogRecord) -> None:
        self._put(record)


class _Format(logging.Formatter):
    """One line a record; a traceback follows indented, so that nothing in it can look like a record."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if len(message) > MAX_MESSAGE_LENGTH:
            message = f"{message[:MAX_MESSAGE_LENGTH]}... ({len(message)} characters)"
        line = f"{self.head(record)}{escape(message)}"
        trace = self.trace(record)
        return line + "".join(f"\n    | {escape(part)}" for part in trace.splitlines()) + "\n"

    def head(self, record: logging.LogRecord) -> str:
        raise NotImplementedError

    def trace(self, record: logging.LogRecord) -> str:
        trace = self.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
        return trace + (record.stack_info or "")


class ConsoleFormat(_Format):
    """HH:MM:SS [LEVEL] message"""

    def head(self, record: logging.LogRecord) -> str:
        return f"{self.formatTime(record, '%H:%M:%S')} [{record.levelname}] "

    def trace(self, record: logging.LogRecord) -> str:
        """None: the person at the console needs the sentence, whoever mends the program has the file."""
        return ""


class FileFormat(_Format):
    """YYYY-MM-DD HH:MM:SS.mmm [LEVEL] thread file:line - message"""

    def head(self, record: logging.LogRecord) -> str:
        stamp = self.formatTime(record, "%Y-%m-%d %H:%M:%S")
        where = f"{record.threadName} {record.filename}:{record.lineno}"
        return f"{stamp}.{int(record.msecs):03d} [{record.levelname}] {where} - "


class _File:
    """A file that is appended to. Every OSError is the caller's; after one the next write opens it anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None
        self._torn = False  # the last write may have ended in the middle of a line

    def write(self, data: bytes) -> None:
        """Append all of `data`. Raises OSError when the disk does not take it."""
        try:
            self._open()
            self._append(b"\n" + data if self._torn else data)
            self._torn = False
        except OSError:
            self._torn = self._file is not None
            self.close()
            raise

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError:
                self._torn = True

    def _open(self) -> None:
        if self._file is not None and self._still_there():
            return
        self.close()
        self._file = self.path.open("ab", buffering=0)
        self._torn = self._torn or self._ends_torn()

    def _ends_torn(self) -> bool:
        """A process before us was killed, or the power went, in the middle of a line: ours shall not hang on to it."""
        status = os.fstat(self._file.fileno())
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            return False
        try:
            with self.path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                return file.read(1) != b"\n"
        except OSError:
            return False

    def _still_there(self) -> bool:
        """False when somebody deleted or moved the file, for instance to make room."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._file.fileno()))
        except OSError:
            return False

    def _append(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) or 0 :]


class _RotatingFile(_File):
    """debug.log, debug.log.1, ...: a new one begins before the old would become larger than `max_bytes`."""

    def __init__(self, path: Path, max_bytes: int, backup_count: int) -> None:
        super().__init__(path)
        self._max_bytes = max_bytes
        self._backup_count = backup_count
        self.head: Callable[[], bytes] = bytes  # what stands at the top of a file after a rollover

    def write(self, data: bytes) -> None:
        head = self.head()
        size = self._size_on_disk()
        # At least as much log as head goes into a file, else a long configuration would give a file a line.
        if size and size + len(data) > max(self._max_bytes, 2 * len(head)):
            self._roll_over()
            super().write(head)
        super().write(data)

    def _size_on_disk(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def _roll_over(self) -> None:
        self.close()
        for number in range(self._backup_count - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self.path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


class _InputFiles:
    """inputs-YYYY-MM-DD.log, one a day (UTC) by the clock at writing; the newest 14 are kept."""

    def __init__(self, folder: Path, utc_now: Callable[[], datetime]) -> None:
        self._folder = folder
        self._utc_now = utc_now
        self._file: _File | None = None

    def write(self, data: bytes) -> None:
        """Append. Raises OSError when the disk does not take it."""
        path = self._folder / f"inputs-{self._utc_now():%Y-%m-%d}.log"
        if self._file is None or self._file.path != path:
            self.close()
            self._file = _File(path)
            self._prune(path)
        self._file.write(data)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _prune(self, current: Path) -> None:
        """Delete all but the newest; never the present one, whose date is old when the clock was not set yet."""
        others = sorted(set(self._folder.glob("inputs-[0-9]*-[0-9]*-[0-9]*.log")) - {current}, reverse=True)
        for path in others[KEPT_INPUT_FILES - 1 :]:
            path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _FaultLine:
    text: str


@dataclass(slots=True)
class _Turn:
    """What one turn of the writer took from the queue, ready to be written."""

    console: list[str]
    file: list[str]
    inputs: list[str]
    faults: list[str]
    waiting: list[threading.Event]


_Item = logging.LogRecord | str | _FaultLine | threading.Event


class LogSystem:
    """The queue, its writer thread and the files. Made by start_logging."""

    def __init__(
        self,
        settings: Logging,
        folder: Path,
        stream: TextIO | None,
        now_s: Callable[[], float],
        utc_now: Callable[[], datetime],
    ) -> None:
        self._queue: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._console_level = logging.getLevelNamesMapping()[settings.console_level]
        self._file_level = logging.getLevelNamesMapping()[settings.file_level]
        self._stream = stream
        self._file = _RotatingFile(folder / settings.file, settings.max_bytes, settings.backup_count)
        self._file.head = self._rollover_head
        self._inputs = _InputFiles(folder, utc_now)
        self._faults = _RotatingFile(folder / "faults.log", FAULTS_MAX_BYTES, 1)
        self._now_s = now_s
        self._formats = ConsoleFormat(), FileFormat()
        self._rollover_lines: tuple[str, ...] = ()
        # Reentrant, since a signal handler may log while its own thread counts.
        self._lock = threading.RLock()
        self._dropped = self._inputs_dropped = 0
        self._written = self._lost = self._inputs_written = self._inputs_lost = self._inputs_noted = 0
        self._disk_failures = self._console_failures = 0
        self._told: dict[str, tuple[float, int]] = {}  # what -> when it was last told, and the count then
        self._file_retry_at_s = self._inputs_retry_at_s = 0.0
        self._stopping = threading.Event()
        self._handler = _Queuer(self._put_record)
        self._level_before = logging.getLogger().level
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    # --- any thread ---

    def record_inputs(self, line: str) -> None:
        """Append one record to today's inputs file. Any thread; never waits; a record that is dropped is counted."""
        if self._queue.qsize() >= MAX_WAITING or self._stopping.is_set():
            with self._lock:
                self._inputs_dropped += 1
        else:
            self._queue.put(line)

    def record_fault(self, line: str) -> None:
        """Append one line to faults.log. Any thread; never waits; the log has the same fault if the queue is full."""
        if self._queue.qsize() < MAX_WAITING and not self._stopping.is_set():
            self._queue.put(_FaultLine(line))

    def set_rollover_lines(self, lines: Iterable[str]) -> None:
        """These lines (the configuration in force) stand at the top of each new file. Any thread."""
        self._rollover_lines = tuple(lines)

    @property
    def stats(self) -> LogStats:
        """The counts so far. Any thread."""
        with self._lock:
            dropped, inputs_dropped = self._dropped, self._inputs_dropped
        return LogStats(
            self._written, dropped, self._lost, self._inputs_written, inputs_dropped + self._inputs_lost,
            self._disk_failures, self._console_failures,
        )  # fmt: skip

    def flush(self, timeout_s: float = 2.0) -> bool:
        """Wait until all that was put in before is written or lost; False when that took longer."""
        done = threading.Event()
        self._queue.put(done)
        return done.wait(timeout_s)

    def stop(self, timeout_s: float = 2.0) -> bool:
        """Take the log off the root logger, write what waits and end the thread; False when that took longer."""
        root = logging.getLogger()
        if self._handler in root.handlers:
            root.removeHandler(self._handler)
            root.setLevel(self._level_before)
        self._stopping.set()
        self._queue.put(threading.Event())  # wakes the writer
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def start(self) -> None:
        """Hang the log on the root logger and start the writer. Once."""
        root = logging.getLogger()
        root.setLevel(min(self._console_level, self._file_level))
        for name in NOISY_LOGGERS:
            logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger(name).level))
        root.addHandler(self._handler)
        self._thread.start()

    def _put_record(self, record: logging.LogRecord) -> None:
        if self._queue.qsize() >= MAX_WAITING_RECORDS:
            with self._lock:
                self._dropped += 1
        else:
            self._queue.put(record)

    # --- the writer thread ---

    def _run(self) -> None:
        while not (self._stopping.is_set() and self._queue.empty()):
            turn = _Turn([], [], [], [], [])
            try:
                self._take(turn)
                self._tell_drops(turn)
                self._write(turn)
            except Exception as error:  # the log may not end; nobody else would tell of it
                self._disk_failures += 1
                self._complain(f"log: {type(error).__name__}: {error}")
            for done in turn.waiting:
                done.set()
        self._file.close()
        self._inputs.close()
        self._faults.close()

    def _take(self, turn: _Turn) -> None:
        """All that waits, up to a batch; waits up to 1 s for the first, and then a moment for those that follow it."""
        try:
            self._sort_in(self._queue.get(timeout=1.0), turn)
            if not turn.waiting:
                self._stopping.wait(GATHER_S)
            for _ in range(MAX_BATCH - 1):
                self._sort_in(self._queue.get_nowait(), turn)
        except queue.Empty:
            pass

    def _sort_in(self, item: _Item, turn: _Turn) -> None:
        if isinstance(item, threading.Event):
            turn.waiting.append(item)
        elif isinstance(item, str):
            turn.inputs.append(escape(item) + "\n")
        elif isinstance(item, _FaultLine):
            turn.faults.append(escape(item.text) + "\n")
        else:
            self._format(item, turn)

    def _format(self, record: logging.LogRecord, turn: _Turn) -> None:
        console, file = self._formats
        if self._stream is not None and record.levelno >= self._console_level:
            turn.console.append(console.format(record))
        if record.levelno >= self._file_level:
            turn.file.append(file.format(record))

    def _tell_drops(self, turn: _Turn) -> None:
        stats = self.stats
        for count, what in (
            (stats.inputs_dropped, "recorded inputs are missing: this stretch cannot be replayed"),
            (stats.dropped, "log lines were dropped: more came than could be written"),
            (stats.lost, "log lines are missing in the file: the disk did not take them"),
        ):
            told_at_s, told = self._told.get(what, (-TELL_EVERY_S, 0))
            if count > told and self._now_s() - told_at_s >= TELL_EVERY_S:
                self._told[what] = self._now_s(), count
                self._format(
                    self._own_record(logging.WARNING, f"{count - told} {what} (since the start {count})"), turn
                )

    def _own_record(self, level: int, message: str) -> logging.LogRecord:
        return log.makeRecord(log.name, level, __file__, 0, message, (), None)

    def _write(self, turn: _Turn) -> None:
        if turn.inputs:
            self._write_inputs(turn.inputs)
        if turn.faults:
            self._write_faults(turn.faults)
        if turn.file:
            self._write_file(turn.file)
        if turn.console:
            self._write_console("".join(turn.console))

    def _write_inputs(self, lines: list[str]) -> None:
        if self._now_s() < self._inputs_retry_at_s:
            self._inputs_lost += len(lines)
            return
        missing = self.stats.inputs_dropped - self._inputs_noted  # whoever replays the record has to know
        note = [f"! {missing} lines are missing\n"] if missing else []
        try:
            self._inputs.write(_encode(note + lines))
            self._inputs_written += len(lines)
            self._inputs_noted += missing
        except OSError as error:
            self._inputs_lost += len(lines)
            self._inputs_retry_at_s = self._disk_failed("inputs", error)

    def _write_faults(self, lines: list[str]) -> None:
        try:
            self._faults.write(_encode(lines))
        except OSError as error:
            self._disk_failed("faults.log", error)

    def _write_file(self, lines: list[str]) -> None:
        if self._now_s() < self._file_retry_at_s:
            self._lost += len(lines)
            return
        try:
            self._file.write(_encode(lines))
            self._written += len(lines)
        except OSError as error:
            self._lost += len(lines)
            self._file_retry_at_s = self._disk_failed(str(self._file.path), error)

    def _disk_failed(self, what: str, error: OSError) -> float:
        """Count it, tell it once a minute, and return when to try again."""
        self._disk_failures += 1
        self._complain(f"log: {what} cannot be written: {error.strerror or error}. Lines are lost until it can")
        return self._now_s() + RETRY_AFTER_S

    def _write_console(self, text: str) -> None:
        stream = self._stream
        if stream is None:
            return
        try:
            encoding = getattr(stream, "encoding", None) or "utf-8"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()
        except (OSError, ValueError):  # a closed pipe or a closed stream
            self._console_failures += 1

    def _complain(self, sentence: str) -> None:
        """One line a minute on stderr: the log itself is what is broken."""
        told_at_s, _ = self._told.get("stderr", (-TELL_EVERY_S, 0))
        if self._now_s() - told_at_s < TELL_EVERY_S:
            return
        self._told["stderr"] = self._now_s(), 0
        try:
            sys.stderr.write(escape(sentence) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):
            self._console_failures += 1

    def _rollover_head(self) -> bytes:
        records = (self._own_record(logging.INFO, line) for line in self._rollover_lines)
        return _encode([self._formats[1].format(record) for record in records])


def _encode(lines: list[str]) -> bytes:
    return "".join(lines).encode("utf-8", "backslashreplace")


def _utc_now() -> datetime:
    return datetime.now(UTC)


def start_logging(
    logging_settings: Logging,
    folder: Path,
    console: bool = True,
    *,
    now_s: Callable[[], float] = time.monotonic,
    utc_now: Callable[[], datetime] = _utc_now,
) -> LogSystem:
    """Start the log: file and recorded inputs relative to `folder`, the console on stdout. Called once.

    `now_s` (monotonic, s) paces complaints and retries, `utc_now` names the file of recorded inputs. Never raises for
    a disk that does not work: what is lost is counted in `LogSystem.stats`.
    """
    system = LogSystem(logging_settings, folder, sys.stdout if console else None, now_s, utc_now)
    system.start()
    return system
