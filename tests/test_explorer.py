"""The hand-over of modules between two guns, searched to the end: no bad state can be reached. And each check is
needed: without it the search finds a bad state.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from explorer import CONFIG, Bounds, Found, World, explore

import contactor_controller
from planning import facts, interlock, module_facts, transition
from planning.contacts import Contacts
from planning.decision import DecisionCore
from planning.transition import Row, Stage
from simulator.virtual import settings_at

NORMAL = {
    "1 module, lost messages, a weld, kills": Bounds(modules=1, loss=True, welds=1, sticks=0, kills=True),
}
SOAK = {
    "2 modules, demands alone": Bounds(modules=2, loss=False, welds=0, kills=False),
    "1 module, all that may happen": Bounds(modules=1, loss=True, welds=1, sticks=1, kills=True),
    "2 modules, a weld, a stuck contactor, kills": Bounds(modules=2, loss=False, welds=1, sticks=1, kills=True),
    "2 modules, lost messages": Bounds(modules=2, loss=True, welds=0, kills=False),
    "3 modules, demands alone": Bounds(modules=3, loss=False, welds=0, kills=False),
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def search(folder: Path, bounds: Bounds, most_states: int = 2_000_000) -> Found:
    settings = settings_at(folder, CONFIG.format(modules=bounds.modules))
    return explore(lambda: World(settings, bounds), most_states)


def search_whole(folder: Path, name: str, bounds: Bounds) -> None:
    start_s = time.perf_counter()
    found = search(folder, bounds)
    took_s = time.perf_counter() - start_s
    print(f"{name}: {found.states} states, {found.transitions} transitions, depth {found.deepest}, {took_s:.0f} s, "
          f"bad states: {1 if found.bad else 0}")  # fmt: skip
    assert not found.bad, f"{found.bad}:\n" + "\n".join(found.way)


@pytest.mark.parametrize("name", NORMAL)
def test_no_bad_state_can_be_reached(tmp_path: Path, name: str) -> None:
    search_whole(tmp_path, name, NORMAL[name])


@pytest.mark.soak
@pytest.mark.parametrize("name", SOAK)
def test_no_bad_state_can_be_reached_in_a_wider_world(tmp_path: Path, name: str) -> None:
    search_whole(tmp_path, name, SOAK[name])


# --- each check is needed ---------------------------------------------------------------------------------------------


def without_row(stage: Stage, condition: str) -> dict[Stage, tuple[Row, ...]]:
    rows = tuple(row for row in transition.TABLE[stage] if row.when.__name__ != condition)
    assert len(rows) == len(transition.TABLE[stage]) - 1
    return {**transition.TABLE, stage: rows}


def with_row(stage: Stage, condition: str, instead: Callable[[transition.Case], bool]) -> dict[Stage, tuple[Row, ...]]:
    rows = tuple(
        dataclasses.replace(row, when=instead) if row.when.__name__ == condition else row
        for row in transition.TABLE[stage]
    )
    assert rows != transition.TABLE[stage]
    return {**transition.TABLE, stage: rows}


def always(_: transition.Case) -> bool:
    return True


Patch = Callable[[pytest.MonkeyPatch], None]


def table(made: dict[Stage, tuple[Row, ...]]) -> Patch:
    return lambda monkeypatch: monkeypatch.setattr(transition, "TABLE", made)


def function(owner: object, name: str, value: object) -> Patch:
    return lambda monkeypatch: monkeypatch.setattr(owner, name, value)


def trusting(*names: str) -> Patch:
    """The interlock believes these facts without looking."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        original = contactor_controller.judge_close

        def judge(contact_facts: interlock.ContactFacts, *rest: object) -> object:
            return original(dataclasses.replace(contact_facts, **dict.fromkeys(names, True)), *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(contactor_controller, "judge_close", judge)

    return patch


def both(*patches: Patch) -> Patch:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        for each in patches:
            each(monkeypatch)

    return patch


def no_interlock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contactor_controller, "judge_close", lambda *_: None)


def blind_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """The core does not look at contactors that are closed without a command."""
    monkeypatch.setattr(DecisionCore, "_contacts_alone", lambda *_: [])


ANY_OPEN = table({**transition.TABLE, Stage.OPEN: (Row(always, Stage.FREE),)})

#: What is taken away, and in which world its absence shows. A weld meets four barriers (the proof in OPEN, its row, the
#: core's look at every contactor, the interlock): any one of them holds it, so they are taken away but for the last.
MUTILATIONS: dict[str, tuple[Patch, Bounds]] = {
    "SERVE opens without unloading": (
        table({**transition.TABLE, Stage.SERVE: (Row(transition.unwanted, Stage.OPEN),)}),
        Bounds(modules=1, loss=False, welds=0, kills=False),
    ),
    "UNLOAD does not wait for the reading": (
        table(with_row(Stage.UNLOAD, "unloaded", always)), Bounds(modules=1, loss=True, welds=0, kills=False),
    ),
    "a weld meets no barrier any more": (
        both(ANY_OPEN, blind_core, no_interlock), Bounds(modules=1, loss=False, welds=1, kills=False),
    ),
    "MATCH closes unmatched, no interlock": (
        both(table(with_row(Stage.MATCH, "matched", always)), no_interlock),
        Bounds(modules=2, loss=False, welds=0, kills=False),
    ),
    "a dead bus is closed onto by a module that is not rested": (
        function(transition, "empty", lambda case: bool(case.facts & transition.Fact.COLD)),
        Bounds(modules=1, loss=False, welds=0, kills=False),
    ),
    "a bus counts as dead although a module is on it, no interlock": (
        both(function(transition, "wanted_bus_dead", always),
             table(with_row(Stage.FREE, "wanted_bus_dead", lambda case: case.want != 0 and transition.empty(case))),
             no_interlock),
        Bounds(modules=2, loss=True, welds=0, kills=False),
    ),
    "unloaded is believed without a reading": (
        function(module_facts.facts, "unloaded", lambda *_: True), Bounds(modules=1, loss=True, welds=0, kills=False),
    ),
    "rested is believed at once": (
        function(facts, "rested", lambda *_, **__: True), Bounds(modules=1, loss=False, welds=0, kills=False),
    ),
    "the interlock, last of four, trusts that other contacts are open": (
        both(ANY_OPEN, blind_core, trusting("others_open")), Bounds(modules=1, loss=False, welds=1, kills=False),
    ),
    "the interlock, last of four, is told by contacts that doubt nothing": (
        both(ANY_OPEN, blind_core, function(Contacts, "unproven", property(lambda _: 0))),
        Bounds(modules=1, loss=False, welds=1, kills=False),
    ),
}  # fmt: skip


def test_the_last_of_four_barriers_holds_a_weld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the sequence nor the core looks any more: the interlock alone keeps two guns apart."""
    both(ANY_OPEN, blind_core)(monkeypatch)
    assert not search(tmp_path, Bounds(modules=1, loss=False, welds=1, kills=False)).bad


@pytest.mark.parametrize("name", MUTILATIONS)
def test_without_a_check_the_search_finds_a_bad_state(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch, bounds = MUTILATIONS[name]
    patch(monkeypatch)
    found = search(tmp_path, bounds, 30_000)
    print(f"{name}: {found.bad} after {found.states} states: {' / '.join(found.way)}")
    assert found.bad, f"{name} is missed by nobody ({found.states} states)"
