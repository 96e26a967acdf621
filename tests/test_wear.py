"""Job: hours, energy, starts and contactor operations are counted, and survive what a file may hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planning.model import ContactState, ModuleState, ModuleStatus
from planning.wear import LOADED_WEIGHS, WearBook
from simulator.arrivals import timetable
from simulator.virtual import VirtualStation, settings_at

MODULES = 9
OFF = ModuleStatus(1, ModuleState.OFF, on=False, voltage_v=0.0, current_a=0.0)
ON = ModuleStatus(1, ModuleState.ON, on=True, voltage_v=400.0, current_a=50.0)


def book() -> WearBook:
    return WearBook(gun_count=6, module_count=1, idle_current_a=1.0)


def test_hours_energy_and_starts_count_only_while_on() -> None:
    wear = book()
    wear.restore({"module_hours": [100.0], "module_kwh": [1000.0], "module_starts": [7]})
    for at_s, status in ((0.0, OFF), (1800.0, ON), (3600.0, ON), (5400.0, OFF), (7200.0, OFF)):
        wear.look([status], at_s)
    # counted with the newest reading over the time since the one before
    assert wear.kept()["module_hours"] == [101.0]
    assert wear.kept()["module_kwh"] == [1020.0]
    assert wear.kept()["module_starts"] == [8]


def test_a_module_that_was_found_on_has_not_been_started_by_us() -> None:
    wear = book()
    wear.look([replace(OFF, on=None)], 0.0)
    wear.look([ON], 1.0)
    assert wear.kept()["module_starts"] == [0]


@pytest.mark.parametrize(
    ("current_a", "after", "unloaded", "loaded"),
    [
        (0.0, ContactState.OPENING, 1, 0),
        (0.9, ContactState.OPEN_FAILED, 1, 0),
        (1.0, ContactState.OPENING, 0, 1),
        (50.0, ContactState.DROPPED, 0, 1),
        (50.0, ContactState.UNKNOWN, 0, 0),  # a dead feedback chain is no operation
    ],
)
def test_an_operation_is_one_that_was_closed_and_opens(
    current_a: float, after: ContactState, unloaded: int, loaded: int
) -> None:
    wear = book()
    wear.look([replace(ON, current_a=current_a)], 0.0)
    wear.contact(3, 1, ContactState.CLOSED, after)
    wear.contact(3, 1, after, ContactState.OPEN)
    wear.contact(3, 1, ContactState.OPEN, ContactState.CLOSING)
    wear.contact(3, 1, ContactState.CLOSING, ContactState.CLOSED)
    assert wear.weight(3, 1) == unloaded + LOADED_WEIGHS * loaded
    assert wear.weight(2, 1) == 0
    again = book()
    again.restore(wear.kept())
    assert again.kept() == wear.kept()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(hours=JSON, contactors=st.one_of(JSON, st.dictionaries(st.just("g3m1"), JSON)))
def test_whatever_the_file_holds_the_station_starts(hours: object, contactors: object) -> None:
    wear = book()
    wear.restore({"module_hours": hours, "contactors": contactors})
    assert wear.hours(1) >= 0.0 and wear.weight(3, 1) >= 0


def test_what_opens_at_the_safe_door_is_counted_before_the_door_says_that_it_is_shut(tmp_path: Path) -> None:
    """Each update and each restart opens all that is closed."""
    station = VirtualStation(settings_at(tmp_path), arrivals=timetable(1, 6, mean_gap_s=1.0), plain=())
    demand, plant = station.core.demand, station.plant
    station.run_until(lambda: len(plant.closed_contacts()) == MODULES, 120.0)
    opened = plant.referee.openings
    demand.open_safe_door("stopped", failed=False)
    station.run_until(demand.door_shut.is_set, 3.0)
    assert plant.referee.openings == opened + MODULES
    contactors = demand.kept()["contactors"]
    assert isinstance(contactors, dict)
    assert sum(wear["unloaded"] + wear["loaded"] for wear in contactors.values()) == plant.referee.openings
    assert not demand.health().armed
