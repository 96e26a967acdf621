"""Job: the journal of updates, HOME/deploy.json: how far the last one came, what is good, what is never tried again.

Thread: MainThread. Lock: HOME/deploy.lock. Units: s (Unix). Standard library only. Each write is whole and lasting
before it returns, so what stands here has happened, or is about to happen and can be repeated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from typing import Any

from updates.home import Home, write_safely

#: An unconfirmed release is started so often; if it is not confirmed by then, the start after that goes back.
MOST_STARTS = 3
#: So many refused commits are remembered.
MOST_REFUSED = 20


class Phase(Enum):
    """How far an update has come. Before SWITCHED nothing that runs has been touched."""

    FETCHED = "fetched"
    STAGED = "staged"
    TESTED = "tested"
    SWITCHED = "switched"
    CONFIRMED = "confirmed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the last status.json before a switch said."""

    armed: bool
    mqtt: bool
    can: bool
    modules_heard: int


@dataclass(frozen=True, slots=True)
class Journal:
    """`target` is the commit that the phase is about; `good` are the confirmed commits, the newest last."""

    phase: Phase | None = None
    target: str = ""
    tag: str = ""
    at_s: float = 0.0
    reason: str = ""
    good: tuple[str, ...] = ()
    floor: str = ""
    starts: int = 0
    seen: Seen | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    settings_version: int = 0
    available: str = ""
    fetched_at_s: float = 0.0

    @property
    def last_good(self) -> str:
        return self.good[-1] if self.good else ""

    @property
    def unconfirmed(self) -> bool:
        return self.phase is Phase.SWITCHED

    def refusing(self, commit: str, reason: str) -> Journal:
        """The same, and this commit is not tried again."""
        rest = {each: why for each, why in self.refused.items() if each != commit}
        return replace(self, refused=dict([*rest.items(), (commit, reason)][-MOST_REFUSED:]))

    def confirmed(self, at_s: float) -> Journal:
        """The target is good. One that was good before was gone back to: what came after it is not tried again."""
        good, journal = self.good, self
        if self.target in good:
            after = good[good.index(self.target) + 1 :]
            good = good[: good.index(self.target)]
            for commit in after:
                journal = journal.refusing(commit, "a person rolled it back")
        floor = max(self.floor, self.tag, key=version_of)
        return replace(
            journal, phase=Phase.CONFIRMED, at_s=at_s, reason="", good=(*good, self.target), floor=floor, starts=0
        )


def version_of(tag: str) -> tuple[int, ...]:
    """v1.20.3 -> (1, 20, 3); () for what is no version, which is lower than all."""
    numbers = tag.removeprefix("v").split(".")
    return tuple(int(number) for number in numbers) if all(n.isascii() and n.isdigit() for n in numbers) else ()


def load(home: Home) -> Journal:
    """The journal. One that cannot be read begins anew: what runs now is then the last good one."""
    try:
        return _journal(json.loads(home.journal.read_text()))
    except FileNotFoundError:
        return Journal()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        running = home.running()
        return Journal(good=(running,) if running else (), reason=f"deploy.json could not be read: {error}")


def save(home: Home, journal: Journal) -> Journal:
    """Write it, and return it."""
    content = asdict(journal) | {"phase": journal.phase.value if journal.phase else None}
    write_safely(home.journal, json.dumps(content, indent=1).encode())
    return journal


def _journal(content: Mapping[str, Any]) -> Journal:
    seen = content["seen"]
    return Journal(
        phase=Phase(content["phase"]) if content["phase"] else None,
        target=str(content["target"]),
        tag=str(content["tag"]),
        at_s=float(content["at_s"]),
        reason=str(content["reason"]),
        good=tuple(str(commit) for commit in content["good"]),
        floor=str(content["floor"]),
        starts=int(content["starts"]),
        seen=Seen(**seen) if seen else None,
        refused={str(commit): str(why) for commit, why in content["refused"].items()},
        settings_version=int(content["settings_version"]),
        available=str(content["available"]),
        fetched_at_s=float(content["fetched_at_s"]),
    )
