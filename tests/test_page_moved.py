"""A page is told at once of words and switches that changed, and of figures once a second."""

from __future__ import annotations

import pytest
from sample_snapshot import snapshot

from monitoring.board import Board
from monitoring.schema import Line, Snapshot
from monitoring.stream import SNAPSHOT_S, Stream, _Page


class Told:
    """A stream without a server, and one page that looks at it."""

    def __init__(self) -> None:
        self._board = Board()
        self._stream = Stream(self._board, lambda: 0.0)
        self._board.on_line = self._stream.told
        self._page = _Page(0, 0.0)

    def after(self, seen: Snapshot, now_s: float) -> int:
        """How many snapshots the page gets when the station says this."""
        self._board.put(Line(snapshot=seen), now_s)
        return sum(chunk.startswith(b"event: snapshot") for chunk in self._stream._due(self._page, now_s))


def test_figures_wait_for_the_next_second() -> None:
    told, first = Told(), snapshot(1)
    assert told.after(first, 0.0) == 1
    station = first.station.model_copy(update={"power_kw": first.station.power_kw + 1.0})
    second = first.model_copy(update={"seq": first.seq + 1, "station": station})
    assert told.after(second, SNAPSHOT_S / 2) == 0
    assert told.after(second.model_copy(update={"seq": first.seq + 2}), SNAPSHOT_S) == 1


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("guns", {"state": "stopping"}),
        ("guns", {"vehicle_status": "no car"}),
        ("modules", {"state": "refused"}),
        ("crosspoints", {"fault": "OF_A_TEST"}),
        ("station", {"mqtt": None}),
    ],
)
def test_what_a_person_waits_for_is_told_at_once(part: str, change: dict[str, object]) -> None:
    told, first = Told(), snapshot(1)
    assert told.after(first, 0.0) == 1
    if part == "station":
        moved: object = first.station.model_copy(update={"mqtt": not first.station.mqtt})
    else:
        one, *others = getattr(first, part)
        moved = [one.model_copy(update=change), *others]
    assert told.after(first.model_copy(update={"seq": first.seq + 1, part: moved}), SNAPSHOT_S / 10) == 1
