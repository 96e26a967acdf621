"""Job: the recorded inputs of a day as they lie in files: the runs of the controller, and where each can begin.

Thread: any. Lock: none. Units: ms of the run's own clock, s since 1970 where it says wall.

Every start of the controller begins a run with a line `#`; what stands above the first one in the file of a day is the
rest of a run of the day before. It begins at the last mark or head of the files before, which is replayed for nothing
but to come to where the day begins; without them it begins at the first mark of the day.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from planning.core_state import Words

_INPUTS = re.compile(r"\d{1,15}(?: [a-z]\S*=\S*)*")
_PROVEN = re.compile(r"(.*?) (=[\w-][0-9a-f]{4})(?: (>[\d,]+/[0-9a-f]+))?", re.ASCII)
_NOTE = re.compile(r"! (\d{1,9}) lines are missing")
#: A head that hangs on to a line that was torn when the power went; no other line has such a word in it.
_HANGING_HEAD = re.compile(r"(?<=.)(?=# \d+\.\d+\.\d+ )")
#: Files of earlier days that are searched for the beginning of a run; the station keeps no more.
DAYS_BACK = 14


class Kind(Enum):
    HEAD = "#"
    ABOUT = ":"
    MARK = "@"
    NOTE = "!"
    INPUTS = "inputs"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class RecordedLine:
    """One line and what can be said of it without replaying it."""

    file: str
    number: int  # in its file, from 1
    kind: Kind
    text: str
    inputs: str = ""  # INPUTS: time and changes
    proof: str = ""  # INPUTS: empty when there is none
    decided: str = ""  # INPUTS: as written when it changed
    words: Words = field(default_factory=dict)  # ABOUT, MARK
    missing: int = 0  # NOTE

    @property
    def place(self) -> str:
        return f"{self.file} line {self.number}"


@dataclass(slots=True)
class RecordedRun:
    """One life of the controller, as far as it lies in this day."""

    head: str = ""  # without the #; empty: it began on an earlier day, and the file of that day is gone
    lines: list[RecordedLine] = field(default_factory=list)
    lead: int = 0  # so many of the lines are of the days before
    skipped: int = 0  # lines of this day before the first mark, from which nothing can be replayed

    @property
    def about(self) -> Words:
        """When it began and which settings it had, as recorded; empty: an older version recorded it."""
        return next((line.words for line in self.lines if line.words), {})

    @property
    def proven(self) -> bool:
        """Its lines have proofs."""
        return any(line.proof for line in self.lines)

    @property
    def decisions(self) -> int:
        return sum(line.kind is Kind.INPUTS for line in self.lines[self.lead :])

    def wall_offset_s(self) -> float | None:
        """Wall clock minus the run's own clock, s; None: nobody wrote it down."""
        about = self.about
        return float(about["wall_s"]) - float(about["at_ms"]) / 1000.0 if about else None


def read_day(path: Path) -> list[RecordedRun]:
    """The runs of this file, each with what it needs of the files before. Raises OSError when it cannot be read."""
    runs = _runs(_lines(path))
    if runs and not runs[0].head:
        _find_beginning(runs[0], path)
    return [run for run in runs if run.lines or run.skipped]


def _lines(path: Path) -> Iterator[RecordedLine]:
    # what a power cut leaves (zero bytes, half a letter) becomes a line that cannot be read
    text = path.read_bytes().decode("utf-8", "replace")
    for number, line in enumerate(text.split("\n"), 1):
        for part in _HANGING_HEAD.split(line):
            if part.strip():
                yield _line(path.name, number, part)


def _line(file: str, number: int, text: str) -> RecordedLine:
    if text.startswith("#"):
        return RecordedLine(file, number, Kind.HEAD, text)
    if text.startswith((": ", "@ ")):
        return _line_of_words(file, number, text)
    note = _NOTE.fullmatch(text)
    if note is not None:
        return RecordedLine(file, number, Kind.NOTE, text, missing=int(note[1]))
    proven = _PROVEN.fullmatch(text)
    inputs, proof, decided = (proven[1], proven[2], proven[3] or "") if proven is not None else (text, "", "")
    kind = Kind.INPUTS if _INPUTS.fullmatch(inputs) else Kind.UNREADABLE
    return RecordedLine(file, number, kind, text, inputs, proof, decided)


def _line_of_words(file: str, number: int, text: str) -> RecordedLine:
    needed: dict[str, type[Any] | tuple[type[Any], ...]] = {
        "at_ms": int, "wall_s": (int, float), "settings": dict,
    }  # fmt: skip
    if text[0] == Kind.MARK.value:
        needed |= {"count": int, "chain": str, "decided": str, "core": dict}
    try:
        words = json.loads(text[2:])
    except (ValueError, RecursionError):
        words = None
    if not isinstance(words, dict) or any(not isinstance(words.get(name), kind) for name, kind in needed.items()):
        return RecordedLine(file, number, Kind.UNREADABLE, text)
    return RecordedLine(file, number, Kind(text[0]), text, words=words)


def _runs(lines: Iterable[RecordedLine]) -> list[RecordedRun]:
    runs = [RecordedRun()]
    for line in lines:
        if line.kind is Kind.HEAD:
            runs.append(RecordedRun(head=line.text.lstrip("# ") or "no more than this"))
        else:
            runs[-1].lines.append(line)
    return runs if runs[0].lines else runs[1:]


def _find_beginning(run: RecordedRun, path: Path) -> None:
    """Put the lines of the days before in front of it, from where it can begin; else let it begin at its first mark."""
    lead: list[RecordedLine] = []
    others = sorted(other for other in path.parent.glob("inputs-[0-9]*-[0-9]*-[0-9]*.log") if other.name < path.name)
    for other in reversed(others[-DAYS_BACK:] if path.name.startswith("inputs-") else ()):
        try:
            earlier = _runs(_lines(other))
        except OSError:
            break
        if not earlier:
            continue
        last = earlier[-1]
        begins = _last_mark(last.lines)
        if begins is not None or last.head:
            run.head = last.head or "an earlier day"
            run.lines[:0] = [*last.lines[begins or 0 :], *lead]
            run.lead = len(last.lines[begins or 0 :]) + len(lead)
            return
        lead[:0] = last.lines
    first = next((place for place, line in enumerate(run.lines) if line.kind is Kind.MARK), len(run.lines))
    run.skipped = sum(line.kind is Kind.INPUTS for line in run.lines[:first])
    del run.lines[:first]


def _last_mark(lines: list[RecordedLine]) -> int | None:
    marks = [place for place, line in enumerate(lines) if line.kind is Kind.MARK]
    return marks[-1] if marks else None
