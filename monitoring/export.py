"""Job: the history as a file: `python -m monitoring.export sessions --from 2026-11-01 --to 2026-11-30 --format csv`.

Thread: MainThread. Lock: none; it reads while the station runs and keeps nobody waiting. Units: in the names of the
columns. Exit codes: 0 done, 1 the history cannot be read or the file not written, 2 usage or config.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import config_manager
from monitoring.history.database import FAILURES, Unusable, database, words
from monitoring.history.moments import ALLOWED, moment
from monitoring.history.queries import Span
from monitoring.history.sheets import Form, Sheet, pieces, table

EXIT_DONE, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
CONFIG = Path(__file__).resolve().parents[1] / "config.ini"


def main(words_typed: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    typed = _parser().parse_args(words_typed)
    try:
        span = _span(typed.begin, typed.end)
        url, folder = (typed.url, Path.cwd()) if typed.url else _from_config(typed.config)
        place = database(url, folder)
    except (ValueError, Unusable) as error:
        return _refuse(str(error), EXIT_USAGE)
    try:
        text = pieces(table(place.readers, Sheet(typed.sheet), span, typed.step), Form(typed.format))
        _write(text, typed.output)
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except OSError as error:
        return _refuse(f"{typed.output or 'the console'} cannot be written: {error.strerror}", EXIT_FAILED)
    except FAILURES as error:
        return _refuse(f"{place.name}: {words(error)}", EXIT_FAILED)
    finally:
        place.close()
    return EXIT_DONE


def _span(begin: str | None, end: str | None) -> Span:
    """Raises ValueError."""
    whole = Span()
    from_ts = whole.from_ts if begin is None else _moment("--from", begin)
    to_ts = whole.to_ts if end is None else _moment("--to", end, end_of_day=True)
    if from_ts > to_ts:
        raise ValueError("--from lies after --to")
    return Span(from_ts, to_ts)


def _moment(name: str, text: str, end_of_day: bool = False) -> float:
    try:
        return moment(text, end_of_day)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def _from_config(path: Path) -> tuple[str, Path]:
    """[History] url, and the folder that it is relative to. Raises ConfigError (a ValueError)."""
    settings = config_manager.load(path)
    return settings.history.url, settings.folder


def _write(text: Iterator[str], output: Path | None) -> None:
    """To the file in one go, so that nobody finds half of it, or to the console."""
    if output is None:
        for piece in text:
            sys.stdout.write(piece)
        sys.stdout.flush()
        return
    part = output.with_name(output.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            file.writelines(text)
        part.replace(output)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _refuse(sentence: str, code: int) -> int:
    sys.stderr.write(f"{sentence}\n")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m monitoring.export",
        description="Write what the history knows of a span as CSV or JSON; what began in the span counts.",
        epilog=f"--from and --to: {ALLOWED}. A day as --to counts whole.",
    )
    parser.add_argument("sheet", choices=[sheet.value for sheet in Sheet])
    parser.add_argument("--from", dest="begin", metavar="WHEN", help="not before this moment")
    parser.add_argument("--to", dest="end", metavar="WHEN", help="before this moment")
    parser.add_argument("--format", choices=[form.value for form in Form], default=Form.CSV.value)
    parser.add_argument(
        "--step", type=int, choices=(1, 60), default=60, help="seconds in a step of power (default: 60)"
    )
    parser.add_argument("--config", type=Path, default=CONFIG, metavar="FILE", help="whose [History] url is read")
    parser.add_argument("--url", help="another database, such as sqlite:///simulated.db of the simulated station")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write this file instead of the console")
    return parser


if __name__ == "__main__":
    sys.exit(main())
