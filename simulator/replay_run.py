"""Job: repeat the decisions of one recorded run and hold each against what the station proved to have decided.

Thread: any. Lock: none. Units: ms of the run's own clock.

After a line that is missing or was changed the core here no longer knows what the station's core knew: it goes on as
well as it can, proves nothing, and takes up the station's memory again at the next mark.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from planning.decision import Decision, DecisionCore, take
from planning.record import COUNTED, Chain, decided, missing_before
from planning.settings import Settings
from simulator.recorded_day import Kind, RecordedLine, RecordedRun

_SHOWN = 120


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that keeps a stretch from being proven. `words`: sentences for a person, the first names the place."""

    line: RecordedLine
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One decision, repeated."""

    line: RecordedLine
    decision: Decision
    of_the_day: bool  # False: of the days before, repeated to come to where this one begins


class RunReplay:
    """Walk `steps` to the end; then the counts and the troubles are complete."""

    def __init__(self, run: RecordedRun, settings: Settings) -> None:
        self.run = run
        self.core = DecisionCore(settings)
        self.troubles: list[Trouble] = []
        self.notes: list[str] = []  # what is no trouble, but to be said
        self.decisions = self.proven = 0  # of the day
        self._settings = settings
        self._chain = Chain()
        self._sound = True  # the core here knows what the station's knew
        self._has_proofs = run.proven
        self._recorded = ""  # what was decided, as last recorded
        self._last: RecordedLine | None = None
        self._last_ms = -1

    def steps(self) -> Iterator[Step]:
        lines = self.run.lines
        for place, line in enumerate(lines):
            if line.kind is Kind.MARK:
                self._pass_mark(line, first=place == 0)
            elif line.kind is Kind.NOTE:
                self.notes.append(f"{line.place}: the log notes that {line.missing} of its lines could not be written.")
            elif line.kind is Kind.INPUTS or line.kind is Kind.UNREADABLE:
                decision = self._repeat(line, ends=place == len(lines) - 1)
                if decision is not None:
                    of_the_day = place >= self.run.lead
                    self.decisions += of_the_day
                    self.proven += of_the_day and self._sound and self._has_proofs
                    yield Step(line, decision, of_the_day)

    # --- lines --------------------------------------------------------------------------------------------------------

    def _repeat(self, line: RecordedLine, ends: bool) -> Decision | None:
        torn = line.kind is Kind.UNREADABLE or (self._has_proofs and not line.proof)
        if torn and ends:
            self.notes.append(
                f"{line.place}: the last line of this run is torn and left aside, as when the power goes or the "
                "program is killed while it is written."
            )
            return None
        try:
            now_ms = -1 if line.kind is Kind.UNREADABLE else take(self.core, line.inputs)
        except (KeyError, ValueError):
            now_ms = -1
        if now_ms < 0 or torn:
            self._lose(line, f"{line.place}: this line is torn or was changed and cannot be read: {_short(line.text)}")
            return None
        if now_ms < self._last_ms:
            self._lose(line, f"{line.place}: its time lies before that of the line above: lines have changed places.")
        self._last_ms = now_ms
        decision = self.core.step(now_ms)[1]
        if line.decided:
            self._recorded = line.decided
        if self._sound and self._has_proofs:
            self._compare(line, decision)
        self._last = line
        return decision

    def _compare(self, line: RecordedLine, decision: Decision) -> None:
        expected = self._chain.proof(line.inputs, decision)
        if expected == line.proof:
            return
        missing = missing_before(expected, line.proof)
        if missing > COUNTED // 2:
            self._lose(line, f"{line.place}: here lines stand twice, or not in the order in which they were written.")
        elif missing:
            above = f" and {self._last.place}" if self._last is not None else ""
            self._lose(line, f"{_lines(missing)} missing between {line.place}{above}.")
        else:
            self._lose(
                line,
                f"{line.place}: here the decision differs, or the line was changed after it was written.",
                f"    inputs    {_short(line.inputs)}",
                f"    recorded  {self._recorded or '(not yet)'} {line.proof}",
                f"    replayed  {decided(decision)} {expected}",
                f"    in full   {decision.line()}",
            )

    def _lose(self, line: RecordedLine, *words: str) -> None:
        """From here on nothing is proven. Only the first reason of a stretch is told: the others follow from it."""
        if self._sound:
            self.troubles.append(Trouble(line, words))
        self._sound = False

    # --- marks --------------------------------------------------------------------------------------------------------

    def _pass_mark(self, line: RecordedLine, first: bool) -> None:
        words = line.words
        here = (self._chain.count, self._chain.state.hex())
        if self._sound and not first:
            if here == (words["count"], words["chain"]) and self.core.state() == words["core"]:
                return
            self._lose(line, f"{line.place}: the memory of the decisions differs from that of this mark.")
        core = DecisionCore(self._settings)
        try:
            core.restore(words["core"], words["at_ms"])
            chain = Chain(words["count"], bytes.fromhex(words["chain"]))
        except (KeyError, TypeError, ValueError, AttributeError):
            self._lose(line, f"{line.place}: this mark cannot be read.")
            return
        if not self._sound:
            self.notes.append(f"{line.place}: from this mark on the decisions are compared again.")
        self.core, self._chain, self._sound = core, chain, True
        self._recorded = words["decided"]


def _lines(count: int) -> str:
    return "1 line is" if count == 1 else f"{count} lines are"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"
