"""The log: formats, rotation, bad disks, floods, and the recorded inputs."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import logger_config
from logger_config import LogSystem, escape, start_logging
from planning.settings import Logging

log = logging.getLogger("tests.room")

Start = Callable[..., LogSystem]


class Clock:
    """Monotonic seconds and the date, moved by the test."""

    def __init__(self) -> None:
        self.s = 1000.0
        self.utc = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def now_s(self) -> float:
        return self.s

    def utc_now(self) -> datetime:
        return self.utc


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(tmp_path: Path, clock: Clock) -> Iterator[Start]:
    started: list[LogSystem] = []

    def make(console: bool = False, **settings: object) -> LogSystem:
        values = {"file": Path("debug.log"), "max_bytes": 100_000} | settings
        system = start_logging(
            Logging(**values),
            tmp_path,
            console,
            now_s=clock.now_s,
            utc_now=clock.utc_now,  # type: ignore[arg-type]
        )
        started.append(system)
        return system

    yield make
    for system in started:
        assert system.stop(), "the writer must end"


def text(tmp_path: Path, name: str = "debug.log") -> str:
    return (tmp_path / name).read_text(encoding="utf-8")


def test_the_file_line_has_date_level_thread_place_and_message(start: Start, tmp_path: Path) -> None:
    system = start()
    worker = threading.Thread(target=lambda: log.warning("module %d is silent", 3), name="can-rx")
    worker.start()
    worker.join()
    assert system.flush()
    pattern = (
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \[WARNING\] can-rx test_logger_config\.py:\d+ - module 3 is silent\n"
    )
    assert re.fullmatch(pattern, text(tmp_path))


def test_the_console_line_is_short_and_follows_its_own_level(
    start: Start, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    system = start(console=True)
    log.debug("a decision")
    log.info("a change")
    assert system.flush()
    assert re.fullmatch(r"\d\d:\d\d:\d\d \[INFO\] a change\n", capsys.readouterr().out)
    assert "a decision" in text(tmp_path)


@pytest.mark.parametrize(
    ("raw", "safe"),
    [
        ("a\nb", r"a\nb"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\0", r"\x00"),
        ("\u202egnp", r"\u202egnp"),
        ("Säule", "Säule"),
    ],
)
def test_B24_control_characters_are_escaped(start: Start, tmp_path: Path, raw: str, safe: str) -> None:
    system = start()
    log.info("payload %s", raw)
    assert system.flush()
    assert text(tmp_path).endswith(f" - payload {safe}\n")
    assert escape(raw) == safe


def test_B24_a_traceback_cannot_forge_a_line(start: Start, tmp_path: Path) -> None:
    system = start()
    try:
        raise ValueError("bad\n2026-01-01 00:00:00.000 [ERROR] control x.py:1 - forged\x1b[2J")
    except ValueError:
        log.exception("refused")
    assert system.flush()
    lines = text(tmp_path).splitlines()
    assert "refused" in lines[0]
    assert all(line.startswith("    | ") for line in lines[1:])
    assert any("forged\\x1b[2J" in line for line in lines[1:])
    assert "\x1b" not in text(tmp_path)


def test_a_wrong_format_still_gives_a_line(start: Start, tmp_path: Path) -> None:
    system = start()
    # Straight to the handler: pytest's own one would fail the test for the slip that is tested here.
    system._handler.handle(log.makeRecord("x", logging.INFO, __file__, 1, "two %s %s", ("one",), None))
    assert system.flush()
    assert "two %s %s (arguments ('one',) do not fit" in text(tmp_path)


def test_lone_surrogates_and_long_messages_do_no_harm(start: Start, tmp_path: Path) -> None:
    system = start()
    log.info("bytes \udcff")
    log.info("x" * 20_000)
    assert system.flush()
    assert "bytes \\udcff" in text(tmp_path)
    assert "... (20000 characters)" in text(tmp_path)
    assert len(text(tmp_path)) < 9_000


def test_libraries_that_talk_a_lot_are_quiet_below_warning(start: Start, tmp_path: Path) -> None:
    system = start()
    logging.getLogger("can.interface").debug("a frame")
    logging.getLogger("paho").warning("a warning")
    assert system.flush()
    assert "a frame" not in text(tmp_path)
    assert "a warning" in text(tmp_path)


def test_rotation_keeps_the_size_and_the_number_of_files(start: Start, tmp_path: Path) -> None:
    system = start(max_bytes=2_000, backup_count=2)
    for number in range(100):
        log.info("line %03d %s", number, "x" * 100)
        assert system.flush()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["debug.log", "debug.log.1", "debug.log.2"]
    assert all((tmp_path / name).stat().st_size <= 2_000 for name in names)
    assert "line 099" in text(tmp_path)
    assert system.stats.written == 100


def test_each_new_file_begins_with_the_configuration(start: Start, tmp_path: Path) -> None:
    system = start(max_bytes=2_000)
    system.set_rollover_lines(["[MQTT] port = 1883", "[CAN] channel = can0"])
    for _ in range(30):
        log.info("x" * 100)
        assert system.flush()
    first, second = text(tmp_path).splitlines()[:2]
    assert first.endswith(" - [MQTT] port = 1883")
    assert second.endswith(" - [CAN] channel = can0")


def test_rollover_lines_longer_than_a_file_do_not_rotate_for_ever(start: Start, tmp_path: Path) -> None:
    system = start(max_bytes=1_000, backup_count=3)
    system.set_rollover_lines(["x" * 3_000])
    for number in range(100):
        log.info("line %d", number)
        assert system.flush()
    assert system.stats.written == 100
    assert (tmp_path / "debug.log.1").exists()
    assert not (tmp_path / "debug.log.3").exists(), "not a file a line"


def test_a_deleted_log_file_comes_back(start: Start, tmp_path: Path) -> None:
    system = start()
    log.info("before")
    assert system.flush()
    (tmp_path / "debug.log").unlink()
    log.info("after")
    assert system.flush()
    assert text(tmp_path).endswith("after\n")


def test_a_full_disk_is_counted_and_told_once_a_minute(
    start: Start, capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    system = start(file=Path("/dev/full"))
    for _ in range(5):
        log.info("lost")
        assert system.flush()
        clock.s += 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "/dev/full cannot be written: No space left on device" in told
    assert system.stats.lost >= 5
    assert system.stats.disk_failures == 5
    clock.s += 60
    log.info("lost")
    assert system.flush()
    assert capsys.readouterr().err.count("\n") == 1


def test_a_missing_folder_heals_and_the_gap_is_told(
    start: Start, tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    system = start(file=Path("card/debug.log"))
    log.info("lost")
    assert system.flush()
    (tmp_path / "card").mkdir()
    log.info("too early: no new try within a second")
    assert system.flush()
    assert not (tmp_path / "card" / "debug.log").exists()
    clock.s += 61
    log.info("healed")
    assert system.flush()
    assert "healed" in text(tmp_path, "card/debug.log")
    assert re.search(r"\d log lines are missing in the file", text(tmp_path, "card/debug.log"))
    assert capsys.readouterr().err.count("\n") == 1


def test_a_torn_line_is_ended_before_the_next(tmp_path: Path) -> None:
    file = logger_config._File(tmp_path / "x.log")
    file.write(b"whole\n")

    class Failing:
        def __init__(self, real: object) -> None:
            self._real = real

        def write(self, data: memoryview) -> int:
            self._real.write(data[:3])  # type: ignore[attr-defined]
            raise OSError(28, "No space left on device")

        def fileno(self) -> int:
            return int(self._real.fileno())  # type: ignore[attr-defined]

        def close(self) -> None:
            self._real.close()  # type: ignore[attr-defined]

    file._file = Failing(file._file)
    with pytest.raises(OSError, match="No space"):
        file.write(b"half of it\n")
    file.write(b"next\n")
    file.close()
    assert (tmp_path / "x.log").read_bytes() == b"whole\nhal\nnext\n"


class Stuck:
    """A console that hangs, as a terminal after Ctrl-S, until the test lets it go on."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()

    def write(self, _text: str) -> int:
        self.reached.set()
        assert self.go_on.wait(10)
        return 0

    def flush(self) -> None:
        """Nothing to do."""


def test_a_flood_drops_log_lines_never_blocks_and_keeps_room_for_inputs(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = Stuck()
    monkeypatch.setattr("sys.stdout", stuck)
    system = start(console=True, max_bytes=10_000_000)
    try:
        log.info("stuck")
        assert stuck.reached.wait(5)
        for _ in range(logger_config.MAX_WAITING_RECORDS + 50):
            log.debug("flood")
        assert system.stats.dropped == 50
        for number in range(logger_config.MAX_WAITING - logger_config.MAX_WAITING_RECORDS + 7):
            system.record_inputs(f"{number}")
        assert system.stats.inputs_dropped == 7
        assert not system.stop(timeout_s=0.01), "stop has a limit"
    finally:
        stuck.go_on.set()
    assert system.stop(timeout_s=10)
    assert "7 recorded inputs are missing: this stretch cannot be replayed" in text(tmp_path)
    assert "50 log lines were dropped" in text(tmp_path)
    lines = text(tmp_path, "inputs-2026-03-01.log").splitlines()
    assert (lines[0], len(lines)) == ("! 7 lines are missing", 2_001)


def test_a_closed_console_is_counted(start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    closed = (tmp_path / "closed").open("w", encoding="utf-8")
    closed.close()
    monkeypatch.setattr("sys.stdout", closed)
    system = start(console=True)
    log.info("nobody listens")
    assert system.flush()
    assert system.stats.console_failures == 1
    assert "nobody listens" in text(tmp_path)


def test_recorded_inputs_go_byte_for_byte_into_the_file_of_the_day(start: Start, tmp_path: Path, clock: Clock) -> None:
    system = start()
    system.record_inputs('{"dt_ms": 50, "demand": {"1": 75.5}}')
    assert system.flush()
    clock.utc += timedelta(days=1)
    system.record_inputs("second day")
    assert system.flush()
    assert text(tmp_path, "inputs-2026-03-01.log") == '{"dt_ms": 50, "demand": {"1": 75.5}}\n'
    assert text(tmp_path, "inputs-2026-03-02.log") == "second day\n"
    assert system.stats.inputs_written == 2


def test_fourteen_days_of_inputs_are_kept(start: Start, tmp_path: Path, clock: Clock) -> None:
    system = start()
    (tmp_path / "inputs-notes.log").write_text("not ours", encoding="utf-8")
    for _ in range(17):
        system.record_inputs("x")
        assert system.flush()
        clock.utc += timedelta(days=1)
    names = sorted(path.name for path in tmp_path.glob("inputs-2*.log"))
    assert len(names) == 14
    assert names[-1] == "inputs-2026-03-17.log"
    assert (tmp_path / "inputs-notes.log").exists()


def test_a_clock_that_is_not_set_does_not_delete_what_is_being_written(
    start: Start, tmp_path: Path, clock: Clock
) -> None:
    for day in range(1, 15):
        (tmp_path / f"inputs-2026-02-{day:02}.log").write_text("old\n", encoding="utf-8")
    clock.utc = datetime(1970, 1, 1, tzinfo=UTC)
    (tmp_path / "inputs-1970-01-01.log").write_text("from before a restart\n", encoding="utf-8")
    system = start()
    system.record_inputs("written while the clock said 1970")
    assert system.flush()
    assert text(tmp_path, "inputs-1970-01-01.log") == "from before a restart\nwritten while the clock said 1970\n"
    assert len(list(tmp_path.glob("inputs-*.log"))) == 14


def test_lost_inputs_are_told_at_most_once_a_minute(start: Start, tmp_path: Path, clock: Clock) -> None:
    system = start()
    (tmp_path / "inputs-2026-03-01.log").mkdir()  # a write there fails, whoever runs the test
    for _ in range(10):
        system.record_inputs("x")
        assert system.flush()
        clock.s += 3
    assert system.flush()
    assert system.stats.inputs_dropped == 10
    assert text(tmp_path).count("recorded inputs are missing") == 1


def test_every_line_of_many_threads_arrives_whole(start: Start, tmp_path: Path) -> None:
    system = start(max_bytes=10_000_000)

    def talk(name: int) -> None:
        for number in range(200):
            log.info("thread %d line %d end", name, number)

    threads = [threading.Thread(target=talk, args=(name,)) for name in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert system.flush(10)
    found = re.findall(r"- thread (\d) line (\d+) end\n", text(tmp_path))
    assert len(set(found)) == 1000
    for name in "01234":
        assert [int(number) for who, number in found if who == name] == list(range(200)), "each thread's lines in order"


def test_stop_writes_what_waits_and_gives_the_root_logger_back(start: Start, tmp_path: Path) -> None:
    level, handlers = logging.getLogger().level, list(logging.getLogger().handlers)
    system = start()
    for number in range(300):
        log.info("last words %d", number)
    assert system.stop()
    assert "last words 299" in text(tmp_path)
    assert logging.getLogger().handlers == handlers
    assert logging.getLogger().level == level
    assert not any(thread.name == "log" for thread in threading.enumerate())
