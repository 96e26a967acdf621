"""Job: the catalogue of faults is complete and readable, docs/faults.md agrees, and the book keeps what it is told.

Thread: the test's. Lock: none. Units: s.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from planning.faults import FaultBook, FaultCode, Latch, markdown_lines
from planning.model import Scope, Severity

ROOT = Path(__file__).parent.parent
EVERY = pytest.mark.parametrize("code", FaultCode, ids=lambda code: code.name)


@EVERY
def test_it_says_what_is_wrong_and_what_to_do(code: FaultCode) -> None:
    assert isinstance(code.severity, Severity)
    assert isinstance(code.scope, Scope)
    assert isinstance(code.latch, Latch)
    assert code.sentence[0].isupper()
    assert code.sentence.endswith(".")
    assert len(code.sentence) >= 40
    assert "  " not in code.sentence


@EVERY
def test_what_a_person_must_end_is_no_mere_warning(code: FaultCode) -> None:
    if code.latch is Latch.PERSON:
        assert code.severity is not Severity.WARNING
        assert any(word in code.sentence for word in ("reset", "Check", "locked")), code.sentence


@cache
def _named_in_the_code() -> frozenset[str]:
    """Every X of a FaultCode.X."""
    places = [ROOT / "station.py", ROOT / "demand_processor.py", *(ROOT / "planning").glob("*.py")]
    nodes = [node for path in places for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    attributes = [node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    return frozenset(node.attr for node in attributes if ast.unparse(node.value) == "FaultCode")


@EVERY
def test_something_raises_it(code: FaultCode) -> None:
    """A fault that nothing raises is a promise that nobody keeps."""
    assert code.name in _named_in_the_code()


def test_the_documentation_is_the_catalogue() -> None:
    told = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8").splitlines()
    assert told == list(markdown_lines()), "run: make docs"


# --- the book -------------------------------------------------------------------------------------------------------


def test_a_fault_is_told_once_when_it_begins_and_once_when_it_ends() -> None:
    book = FaultBook()
    assert book.raise_fault(FaultCode.MODULE_SILENT, "m3", 10.0)
    assert not book.raise_fault(FaultCode.MODULE_SILENT, "m3", 11.0)
    assert book.stands(FaultCode.MODULE_SILENT, "m3")
    assert book.clear(FaultCode.MODULE_SILENT, "m3", 12.0)
    assert not book.clear(FaultCode.MODULE_SILENT, "m3", 13.0)
    news = book.take_news()
    assert [(each.code, each.id, each.active, each.since_s) for each in news] == [
        ("MODULE_SILENT", "m3", True, 10.0),
        ("MODULE_SILENT", "m3", False, 10.0),
    ]
    assert book.take_news() == []
    assert book.active == ()


def test_details_go_behind_the_sentence() -> None:
    book = FaultBook()
    book.raise_fault(FaultCode.MODULE_FAULT, "m1", 1.0, "fan, mains")
    assert book.active[0].text == f"{FaultCode.MODULE_FAULT.sentence} (fan, mains)"


def test_the_active_ones_stand_in_the_order_of_their_beginning() -> None:
    book = FaultBook()
    for at_s, where in ((3.0, "g1"), (1.0, "g2"), (2.0, "g3")):
        book.raise_fault(FaultCode.GUN_FAULT, where, at_s)
    assert [fault.id for fault in book.active] == ["g2", "g3", "g1"]


def test_a_person_ends_what_only_a_person_may_end() -> None:
    book = FaultBook()
    for code in FaultCode:
        book.raise_fault(code, "station", 1.0)
    book.clear_by_person(2.0, lambda _: False)
    left = {fault.code for fault in book.active}
    assert left == {code.name for code in FaultCode if code.latch is not Latch.PERSON}


def test_a_condition_raises_and_clears() -> None:
    book = FaultBook()
    changes = [book.set(FaultCode.CAN_LINK_DOWN, "station", present, 1.0) for present in (False, True, True, False)]
    assert changes == [False, True, False, True]


def test_what_a_person_cannot_mend_by_a_word_stays() -> None:
    book = FaultBook()
    for where in ("g1m1", "g2m2"):
        book.raise_fault(FaultCode.CONTACTOR_WELDED, where, 1.0)
    book.clear_by_person(2.0, lambda where: where == "g2m2")
    assert [fault.id for fault in book.active] == ["g2m2"]


def test_an_ended_fault_is_kept_with_its_start_and_its_end() -> None:
    book = FaultBook()
    book.raise_fault(FaultCode.GUN_FAULT, "g1", 1.0)
    assert book.ended == ()
    book.clear(FaultCode.GUN_FAULT, "g1", 4.0)
    (ended,) = book.ended
    assert (ended.code, ended.since_s, ended.ended_s, ended.active) == ("GUN_FAULT", 1.0, 4.0, False)
    assert book.take_news()[-1] == ended
