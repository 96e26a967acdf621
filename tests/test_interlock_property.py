"""Whatever is commanded and whatever breaks: no module ever stands on two guns, by coil or by metal. And each condition
of the interlock is needed: without any one of them the same storm finds a wrong answer.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from condition_deletion import Deletion, deletions
from interlock_storm import Storm

import contactor_controller
from planning import contacts

ROOT = Path(__file__).parent.parent
STEPS, SOAK_STEPS = 12_500, 125_000
SEEDS, SOAK_SEEDS = (1, 2, 3, 4), range(11, 19)
#: A deletion must be found within this many steps of one of these seeds.
HUNT_STEPS, HUNT_SEEDS = 4_000, (5, 6, 7)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """A storm makes thousands of warnings; nobody reads them."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def rage(seed: int, steps: int) -> None:
    storm = Storm(seed)
    for _ in range(steps):
        storm.step()
    print(f"seed {seed}: {steps} steps, {storm.asked} closes asked, {storm.accepted} accepted")
    assert storm.asked > steps / 5
    assert storm.accepted / storm.asked >= 0.3, f"{storm.accepted} of {storm.asked}"


@pytest.mark.parametrize("seed", SEEDS)
def test_no_module_on_two_guns(seed: int) -> None:
    rage(seed, STEPS)


@pytest.mark.soak
@pytest.mark.parametrize("seed", SOAK_SEEDS)
def test_no_module_on_two_guns_in_a_million_steps(seed: int) -> None:
    rage(seed, SOAK_STEPS)


# --- each condition is needed -----------------------------------------------------------------------------------------

INTERLOCK = deletions(
    ROOT / "planning" / "interlock.py",
    ("judge_close", "_judge_contacts", "_judge_voltages", "_bus_is_dead", "_judge_dead_bus", "_judge_live_bus", "_says",
     "_rested", "_unloaded", "_matched", "_read_since_set", "_in_window", "_fresh"),
)  # fmt: skip
CONTROLLER = deletions(
    ROOT / "contactor_controller.py", ("_facts", "_pickup_allowed", "_possibly_closed")
)
CONTACTS = deletions(ROOT / "planning" / "contacts.py", ("unproven",))


def found() -> str:
    """What the storm says of the station as it is patched now; '' when it finds nothing."""
    for seed in HUNT_SEEDS:
        try:
            storm = Storm(seed)
            for _ in range(HUNT_STEPS):
                storm.step()
        except (AssertionError, TypeError, LookupError) as error:  # None or nothing where the condition saw to a value
            return f"seed {seed}: {error}"
    return ""


def test_the_storm_finds_nothing_in_the_whole_interlock() -> None:
    assert found() == ""
    assert len(INTERLOCK) >= 40 and len(CONTROLLER) >= 6 and len(CONTACTS) == 4


@pytest.mark.parametrize("deletion", INTERLOCK, ids=lambda deletion: deletion.name)
def test_the_interlock_without_a_condition_is_found_out(deletion: Deletion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contactor_controller, "judge_close", deletion.load().judge_close)
    assert found(), f"nobody misses {deletion.name}"


@pytest.mark.parametrize("deletion", CONTROLLER, ids=lambda deletion: deletion.name)
def test_the_facts_without_a_condition_are_found_out(deletion: Deletion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contactor_controller, "ContactorController", deletion.load().ContactorController)
    assert found(), f"nobody misses {deletion.name}"


@pytest.mark.parametrize("deletion", CONTACTS, ids=lambda deletion: deletion.name)
def test_contacts_that_forget_a_doubt_are_found_out(deletion: Deletion, monkeypatch: pytest.MonkeyPatch) -> None:
    mutilated = deletion.load().Contacts
    monkeypatch.setattr(contactor_controller, "Contacts", mutilated)
    assert mutilated is not contacts.Contacts
    assert found(), f"nobody misses {deletion.name}"
