"""Job: contactor operations, from the counters that the controller keeps of each contactor's life.

Thread: one at a time (history). Lock: none. Units: operations; `ts` Unix seconds.

Lost snapshots lose no operation: the counters tell how many there were. The controller writes its counters to disk once
a minute, so after a kill they may stand lower than we saw them: then counting goes on from there, and nothing that was
counted is counted again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from monitoring.history.readings import Wear

#: (gun, module) -> operations without and with current, in the contactor's life
Counters = Mapping[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Operation:
    """A contactor opened: so often without and so often with current since we looked before, as a rule once in all."""

    ts: float
    gun: int
    module: int
    unloaded: int
    loaded: int


class OperationCounter:
    """Knows the counters as they were seen last."""

    def __init__(self) -> None:
        #: counters that moved since they were last written
        self.changed: dict[tuple[int, int], tuple[int, int]] = {}
        self._counters: dict[tuple[int, int], tuple[int, int]] = {}
        self._first: Counters | None = None
        self._first_ts = 0.0
        self._adopted = False

    def take(self, wear: Iterable[Wear], ts: float) -> list[Operation]:
        """The operations since the snapshot before; the first one is where counting begins."""
        now = {(each.gun, each.module): (each.unloaded, each.loaded) for each in wear}
        found: list[Operation] = []
        if self._first is None:
            self._first, self._first_ts = now, ts
        else:
            found += _rises(self._counters, now, ts)
        self.changed.update({key: counts for key, counts in now.items() if self._counters.get(key) != counts})
        self._counters.update(now)
        return found

    def adopt(self, kept: Counters) -> list[Operation]:
        """What an earlier process had seen; returns the operations between it and our first snapshot."""
        if self._first is None or self._adopted or not kept:
            return []
        self._adopted = True
        return [*_rises(kept, self._first, self._first_ts)]


def _rises(before: Counters, now: Counters, ts: float) -> Iterable[Operation]:
    for (gun, module), (unloaded, loaded) in now.items():
        unloaded_before, loaded_before = before.get((gun, module), (0, 0))
        rise = max(0, unloaded - unloaded_before), max(0, loaded - loaded_before)
        if any(rise):
            yield Operation(ts, gun, module, *rise)
