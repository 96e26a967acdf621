"""Job: keep a page process beside the control process: feed it twice a second, hand its commands on, start it anew.

Thread: `onlook`. Lock: none. Units: s, by the clock on the wall but for what comes from the station.

Nothing here may reach the control path: a page process that dies, hangs or goes mad costs a line in the log; an error
in this file ends no thread and opens no safe door.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from monitoring.child import Child
from monitoring.events import Events
from monitoring.feed import About, Feed, Seen, Words, line
from planning.model import FaultReport
from worker import Clock, Worker

log = logging.getLogger(__name__)

LINE_S = 0.5
#: Asked to stop, the thread is back from listening within this time.
LISTEN_S = 0.1
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
#: A page process that lived so long begins with the shortest pause again.
LIVED_S = 60.0
SAY_EVERY_S = 60.0
END_S = 1.0
#: One line carries at most so many lines of the log, and news of faults.
EVENTS_IN_LINE = 50
NEWS_IN_LINE = 50
NEWS_KEPT = 200
#: So many commands a second are taken from the page; people type fewer.
ACTS_A_SECOND = 10
#: Words that cannot be understood before the page process is killed.
MOST_RUBBISH = 20
#: What the page process cannot do without, and the history's.
PACKAGES = ("fastapi", "uvicorn", "pydantic")


class NoPage(Exception):
    """The page cannot be there; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What the station gives to whoever looks on."""

    seen: Callable[[], Seen | None]  # None: nothing to see yet
    fault_news: deque[FaultReport]  # the station appends, we take
    command: Callable[[str, bytes, str], str | None]  # MessageProcessor.command
    stopping: Callable[[], bool]
    escape: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class PageSetup:
    """[Dashboard] and [History], as schema.Setup."""

    host: str
    port: int
    ports_tried: int
    token_file: Path | None
    folder: Path
    history: Mapping[str, object]

    def line(self, station_id: str) -> bytes:
        return line(
            {
                "station_id": station_id,
                "host": self.host,
                "port": self.port,
                "ports_tried": self.ports_tried,
                "token_file": None if self.token_file is None else str(self.token_file),
                "folder": str(self.folder),
                "history": dict(self.history),
            }
        )


class Onlook:
    """The thread `onlook` and its child."""

    def __init__(
        self,
        about: About,
        setup: PageSetup,
        sources: Sources,
        station_clock: Clock,
        clock: Clock,
        program: Path,
        command: Sequence[str] = (),
    ) -> None:
        """`station_clock` stamps what is told, `clock` is the one on the wall. `program`: the folder of main.py.

        `command`: what is run instead of `python -m monitoring`. Raises NoPage.
        """
        missing = [name for name in PACKAGES if find_spec(name) is None]
        if missing and not command:
            raise NoPage(f"packages are missing ({', '.join(missing)}): type make .venv")
        self.child: Child | None = None
        self._about, self._setup, self._sources = about, setup, sources
        self._station_clock, self._clock = station_clock, clock
        self._program, self._command = program, command
        self._feed = Feed(about)
        self._events = Events(sources.escape, station_clock.wall_s)
        self._news: deque[tuple[int, Words]] = deque(maxlen=NEWS_KEPT)
        self._news_seq = 0
        self._told_event = self._told_news = 0  # what this child knows
        self._line_due_s = self._start_due_s = clock.now_s()
        self._pause_s = FIRST_PAUSE_S
        self._starts = 0
        self._why = ""  # the page process before this one ended
        self._gave_up = False  # it said itself why there is no page
        self._cannot: object = None  # and what of that was told
        self._said_at_s = self._served_said_at_s = float("-inf")
        self._acts: deque[float] = deque(maxlen=ACTS_A_SECOND)
        self._rubbish = 0
        self._worker = Worker("onlook", self._step, clock)

    def start(self) -> None:
        logging.getLogger().addHandler(self._events)
        self._worker.start()

    def stop(self) -> None:
        """End the thread and the page process. MainThread, behind the safe door."""
        logging.getLogger().removeHandler(self._events)
        self._worker.stop(END_S)
        child, self.child = self.child, None
        if child is not None:
            child.end(END_S)

    # --- the thread -----------------------------------------------------------------------------------------------

    def _step(self, now_s: float) -> float:
        try:
            return self._turn(now_s)
        except Exception as error:  # whatever it is: the station goes on, and so does this thread
            log.debug("What looks on failed", exc_info=True)
            self._say(logging.WARNING, now_s, "The page is not told anything: %s: %s", type(error).__name__, error)
            return LINE_S

    def _turn(self, now_s: float) -> float:
        self._tend(now_s)
        if now_s >= self._line_due_s:
            self._line_due_s = max(self._line_due_s + LINE_S, now_s)
            self._tell()
        due_s = max(0.0, self._line_due_s - now_s)
        if self.child is None:
            return due_s
        words, complaints = self.child.listen(min(due_s, LISTEN_S), now_s)
        for complaint in complaints:
            log.debug("Page process: %s", complaint)
        for word in words:
            self._hear(word, self._clock.now_s())
        return 0.0

    # --- telling --------------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        """One snapshot, with the lines of the log and the faults since the last; what finds no room is lost."""
        seen = self._sources.seen()
        offset_s = self._station_clock.wall_s() - self._station_clock.now_s()
        self._take_news(offset_s)
        if seen is not None:
            self._feed.count(seen.view)
        child = self.child
        if child is None:
            return
        events = self._events.after(self._told_event, EVENTS_IN_LINE)
        news = [each for each in self._news if each[0] > self._told_news][:NEWS_IN_LINE]
        content: Words = {}
        if seen is not None:
            content["snapshot"] = self._feed.snapshot(seen)
        if events:
            content["events"] = events
        if news:
            content["fault_news"] = [words for _, words in news]
        if not content:
            return
        if child.write(line(content)):
            self._told_event = events[-1]["seq"] if events else self._told_event
            self._told_news = news[-1][0] if news else self._told_news
        else:
            self._feed.lost += seen is not None

    def _take_news(self, offset_s: float) -> None:
        waiting = self._sources.fault_news
        for _ in range(len(waiting)):
            self._news_seq += 1
            self._news.append((self._news_seq, self._feed.fault(waiting.popleft(), offset_s)))

    # --- hearing --------------------------------------------------------------------------------------------------

    def _hear(self, word: bytes, now_s: float) -> None:
        """One line of the page process: a command, or where it serves."""
        content = _object(word)
        if set(content) == {"act", "command", "payload", "who"}:
            self._act(content, now_s)
        elif set(content) == {"serves"}:
            self._gave_up, self._cannot = False, None
            if now_s - self._served_said_at_s >= SAY_EVERY_S:
                self._served_said_at_s = now_s
                log.info("Page: %s", content["serves"])
        elif set(content) == {"cannot"}:
            self._pause_s, self._gave_up, cannot = LONGEST_PAUSE_S, True, content["cannot"]
            text = "There is no page: %s. It is tried again each minute"
            if cannot != self._cannot and self._say(logging.WARNING, now_s, text, cannot):
                self._cannot = cannot
        else:
            self._not_understood()

    def _not_understood(self) -> None:
        self._rubbish += 1
        if self._rubbish > MOST_RUBBISH and self.child is not None:
            self.child.misdeed = f"it said {self._rubbish} lines that cannot be understood"

    def _act(self, content: Mapping[str, object], now_s: float) -> None:
        number, command, payload, who = (content[key] for key in ("act", "command", "payload", "who"))
        known = isinstance(command, str) and isinstance(payload, str) and isinstance(who, str)
        if not known or not isinstance(number, int):
            self._not_understood()
            return
        refused = self._refusal(now_s)
        if refused is None:
            refused = self._sources.command(str(command), str(payload).encode("utf-8", "replace"), str(who))
        if self.child is not None:
            self.child.write(line({"answer": {"act": number, "refused": refused}}))

    def _refusal(self, now_s: float) -> str | None:
        """What holds whatever is commanded."""
        if self._setup.token_file is None:
            return "nobody may act: there is no token ([Dashboard] token_file)"
        if len(self._acts) == ACTS_A_SECOND and now_s - self._acts[0] < 1.0:
            return f"more than {ACTS_A_SECOND} commands within a second"
        self._acts.append(now_s)
        return None

    # --- the child's life -----------------------------------------------------------------------------------------

    def _tend(self, now_s: float) -> None:
        """Bury a page process that ended, start the next when its time has come."""
        child = self.child
        if child is not None:
            if child.misdeed is not None:
                child.kill()
            if child.exit_code is None:
                return
            self._bury(child, now_s)
        if now_s >= self._start_due_s and not self._sources.stopping():
            self._begin(now_s)

    def _bury(self, child: Child, now_s: float) -> None:
        words, _ = child.listen(0.0, now_s)  # its last ones say why
        for word in words:
            self._hear(word, now_s)
        child.put_away()
        self.child = None
        if now_s - child.started_s >= LIVED_S:
            self._pause_s = FIRST_PAUSE_S
        self._start_due_s = now_s + self._pause_s
        self._why = child.why_it_ended()
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _begin(self, now_s: float) -> None:
        if self._starts and not self._gave_up:  # not said at its end: when the whole service stops it ends before us
            text = "The page process ended (%s) and is started again; the station went on without it"
            self._say(logging.WARNING, now_s, text, self._why)
        self._starts += 1
        self._told_event = self._told_news = self._rubbish = 0
        try:
            self.child = Child(self._program, self._setup.line(self._about.station_id), now_s, self._command)
        except OSError as error:
            self._why = f"it cannot be started: {error}"
            self._start_due_s = now_s + self._pause_s
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _say(self, level: int, now_s: float, text: str, *arguments: object) -> bool:
        """At most once a minute: the log is for the station. False: it was not said."""
        if now_s - self._said_at_s < SAY_EVERY_S:
            return False
        self._said_at_s = now_s
        log.log(level, text, *arguments)
        return True


def _object(word: bytes) -> Mapping[str, object]:
    """The JSON object of one line; empty when it is none."""
    try:
        content = json.loads(word)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
