"""Job: `python -m simulator.replay DAY`: repeat the decisions of a recorded day, or play it with other ones.

Thread: MainThread. Lock: none. Units: kW (AC at the feed for the site). DAY is a date, `today` (UTC, as the files are
named), or the path of a file. Exit codes: 0 the same, 1 something differs or cannot be proven, 2 usage or file.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import config_manager
from planning.record import settings_of
from planning.settings import Priority, Settings
from simulator.outside import Collector, Outside
from simulator.recorded_day import RecordedRun, read_day
from simulator.replay_account import Account
from simulator.replay_page import page
from simulator.replay_report import DAY_NOTE, Compared, Played, day_table, proof_lines, verdict, what_if_lines
from simulator.replay_run import RunReplay
from simulator.replay_sums import DaySum
from simulator.what_if import Left, Otherwise, play
from worker import SystemClock

EXIT_SAME, EXIT_DIFFERS, EXIT_USAGE = 0, 1, 2
ROOT = Path(__file__).parent.parent
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
DAY_MS = 86_400_000
#: Nothing is said of what is done within this; then this often.
PATIENCE_S, TELL_S = 2.0, 5.0


class Refused(Exception):
    """It cannot be done; the text says why and what to do."""


class Progress:
    """Says on stderr how far it is, when it takes its time."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._told_at_s = now_s() + PATIENCE_S - TELL_S

    def of(self, what: str) -> Callable[[float], None]:
        """For one part of the work: call it with the share that is done."""
        return partial(self.tell, what)

    def tell(self, what: str, share: float) -> None:
        if self._now_s() - self._told_at_s >= TELL_S:
            self._told_at_s = self._now_s()
            print(f"{what}: {100.0 * share:.0f} %", file=sys.stderr, flush=True)


@dataclass(slots=True)
class Repeated:
    """One run of the day, repeated."""

    played: Played
    account: Account
    outside: Outside
    offset_ms: int  # time of the day minus the run's own


def main(argv: Sequence[str] | None = None, utc_now: Callable[[], datetime] | None = None) -> int:
    """The program. Returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return _run(arguments, utc_now)
    except config_manager.ConfigError as error:
        print(f"The configuration has to be mended first:\n{error}", file=sys.stderr)
    except Refused as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"{error.filename or 'A file'}: {error.strerror or error}", file=sys.stderr)
    return EXIT_USAGE


def _run(arguments: argparse.Namespace, utc_now: Callable[[], datetime] | None) -> int:
    settings = config_manager.load(arguments.config or ROOT / "config.ini")
    otherwise = _otherwise(arguments)
    path = _path(arguments, settings, utc_now)
    progress = Progress()
    day = _repeat_day(path, settings, progress)
    played = [each.played for each in day]
    print(f"Recorded day {path.name}, {path.stat().st_size / 1e6:.2f} MB, times in UTC\n")
    proof = proof_lines(played)
    print("\n".join(proof))
    if otherwise is None:
        print("\n" + "\n".join([*day_table(_sum(day)), "", *DAY_NOTE]))
    else:
        compared = _compare(path, day, otherwise, progress)
        print("\n" + "\n".join(what_if_lines(compared)))
        if arguments.report is not None:
            arguments.report.write_text(page(compared, [*proof, verdict(played)]), encoding="utf-8")
            print(f"\nThe same with plots: {arguments.report}")
    print("\n" + verdict(played))
    return EXIT_SAME if all(each.sound for each in played) else EXIT_DIFFERS


# --- the day ----------------------------------------------------------------------------------------------------------


def _path(arguments: argparse.Namespace, settings: Settings, utc_now: Callable[[], datetime] | None) -> Path:
    """The file that is meant. Raises Refused."""
    folder: Path = arguments.folder or settings.folder
    named = arguments.day
    if named == "today":
        named = f"{utc_now() if utc_now is not None else _utc_now():%Y-%m-%d}"
    path = folder / f"inputs-{named}.log" if _DATE.fullmatch(named) else Path(named)
    if path.is_file():
        return path
    found = sorted(other.name[7:-4] for other in folder.glob("inputs-[0-9]*-[0-9]*-[0-9]*.log"))
    there = f"Recorded days in {folder}: {', '.join(found)}." if found else f"There is no recorded day in {folder}."
    raise Refused(f"There is no file {path}. {there} DAY is a date such as 2026-11-26, today, or a file.")


def _utc_now() -> datetime:
    return datetime.fromtimestamp(SystemClock().wall_s(), UTC)


def _repeat_day(path: Path, settings: Settings, progress: Progress) -> list[Repeated]:
    runs = read_day(path)
    if not runs:
        raise Refused(f"{path} holds no recorded inputs.")
    midnight_s = _midnight_s(path, runs)
    day: list[Repeated] = []
    for number, run in enumerate(runs, 1):
        free_ms = round(day[-1].played.end_s * 1000) if day else 0
        tell = progress.of(f"Repeating run {number} of {len(runs)}")
        day.append(_repeat(run, _settings(run, settings), midnight_s, free_ms, tell))
    return day


def _midnight_s(path: Path, runs: Sequence[RecordedRun]) -> float | None:
    """Where the day begins on the wall clock, s since 1970; None: nobody wrote the time down."""
    named = _DATE.search(path.name)
    if named is not None:
        try:
            day = date.fromisoformat(named[0])
            return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
        except ValueError:
            pass
    walls_s = [run.about["wall_s"] for run in runs if run.about]
    return math.floor(walls_s[0] / 86_400.0) * 86_400.0 if walls_s else None


def _settings(run: RecordedRun, base: Settings) -> Settings:
    """As recorded; of an older version those of config.ini. Raises Refused."""
    recorded = run.about.get("settings")
    if recorded is None:
        return base
    try:
        return settings_of(recorded, base)
    except (ValueError, TypeError, AttributeError) as error:
        words = "Replay it with the version that wrote it."
        raise Refused(f"The settings in this record cannot be used: {error}. {words}") from error


def _repeat(
    run: RecordedRun, settings: Settings, midnight_s: float | None, free_ms: int, tell: Callable[[float], None]
) -> Repeated:
    """`free_ms`: when the run before ended, for one whose time nobody wrote down."""
    replay = RunReplay(run, settings)
    account, collector = Account(settings), Collector(settings)
    count = max(1, len(run.lines))
    for number, step in enumerate(replay.steps()):
        if step.of_the_day:
            account.look(step.decision, replay.core)
            collector.look(step, replay.core.inputs)
        if number % 500 == 0:
            tell(number / count)
    if not run.about and run.decisions:
        replay.notes.append("Its settings were not recorded: those of the configuration are taken.")
    begin_ms = account.begin_ms or 0
    offset_ms = _offset_ms(run, begin_ms, midnight_s)
    if offset_ms is None:
        offset_ms = free_ms - begin_ms
    begin_s, end_s = (begin_ms + offset_ms) / 1000.0, (account.end_ms + offset_ms) / 1000.0
    played = Played(run, replay if replay.decisions else None, begin_s, end_s)
    return Repeated(played, account, collector.outside, offset_ms)


def _offset_ms(run: RecordedRun, begin_ms: int, midnight_s: float | None) -> int | None:
    """Time of the day minus the run's own; None: nobody wrote it down, or the clock was not set yet when it began."""
    wall_offset_s = run.wall_offset_s()
    if wall_offset_s is None or midnight_s is None:
        return None
    offset_ms = round((wall_offset_s - midnight_s) * 1000)
    return offset_ms if -DAY_MS <= begin_ms + offset_ms <= 2 * DAY_MS else None


def _sum(day: Sequence[Repeated]) -> DaySum:
    total = DaySum()
    for each in day:
        total.add(each.account, each.offset_ms)
    return total


# --- otherwise --------------------------------------------------------------------------------------------------------


def _otherwise(arguments: argparse.Namespace) -> Otherwise | None:
    """What shall be different; None: nothing. Raises Refused."""
    limit_kw = arguments.site_limit
    if limit_kw is not None and not 0.0 <= limit_kw < math.inf:
        raise Refused("--site-limit takes kW at the feed, 0 or more.")
    rule = None if arguments.rule is None else Priority(arguments.rule)
    otherwise = Otherwise(rule, limit_kw, frozenset(arguments.without_module), arguments.cars_stay)
    if otherwise.nothing and (arguments.cars_stay or arguments.report is not None):
        raise Refused("--cars-stay and --report need something that differs: --rule, --site-limit or --without-module.")
    return None if otherwise.nothing else otherwise


def _compare(path: Path, day: Sequence[Repeated], otherwise: Otherwise, progress: Progress) -> Compared:
    model, other = DaySum(), DaySum()
    left: dict[int, Left] = {}
    for number, each in enumerate(day, 1):
        if each.account.begin_ms is None:
            continue
        modules = each.outside.settings.general.module_count
        if not otherwise.without_modules <= set(range(1, modules + 1)):
            raise Refused(f"--without-module: this station has modules 1 to {modules}.")
        words = f"of run {number} of {len(day)}"
        same = play(each.outside, Otherwise(), progress=progress.of(f"Model {words}"))
        changed = play(each.outside, otherwise, same, progress.of(f"What-if {words}"))
        model.add(same.account, each.offset_ms)
        other.add(changed.account, each.offset_ms)
        left = changed.left
    return Compared(f"Recorded day {path.name}, times in UTC", _sum(day), model, other, otherwise, left)


# --- the command line -------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulator.replay",
        description="Repeat the decisions of a recorded day, or see what another rule, limit or a module less would "
        "have made of it.",
    )
    parser.add_argument("day", metavar="DAY", help="a date such as 2026-11-26, today (UTC), or a file")
    parser.add_argument("--config", type=Path, metavar="FILE", help="config file (default: config.ini beside main.py)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where the recorded days lie (default: its folder)")
    other = parser.add_argument_group("what if")
    other.add_argument("--rule", choices=[rule.value for rule in Priority], help="share modules by this rule")
    other.add_argument("--site-limit", type=float, metavar="KW", help="AC limit of the station, if it is the lower one")
    other.add_argument(
        "--without-module", type=int, action="append", default=[], metavar="N", help="without this module; repeatable"
    )
    other.add_argument("--cars-stay", action="store_true", help="each car stays until it has what it had, no longer")
    other.add_argument("--report", type=Path, metavar="FILE.html", help="write the difference with plots")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
