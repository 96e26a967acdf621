"""Whatever is commanded and whatever breaks: no module ever stands on two guns, by coil or by metal."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
from cabinet import Cabinet, dead_bus, live_bus, matched_module, off_module

from planning.model import CloseEvidence, Crosspoint

STEPS = 5_000
GUNS, MODULES = 6, 9
COLUMNS = [sum(1 << gun * MODULES + module for gun in range(GUNS)) for module in range(MODULES)]

#: One thing wrong with readings that would otherwise allow the close: it must never be accepted.
SPOIL_OFF: list[dict[str, Any]] = [
    {"on": None},
    {"on": True},
    {"set_on": True},
    {"on_at_s": 0.0},
    {"voltage_v": 300.0},
    {"voltage_v": float("nan")},
    {"voltage_at_s": 0.0},
]
SPOIL_MATCHED: list[dict[str, Any]] = [
    {"on": False},
    {"on_at_s": 0.0},
    {"set_current_a": 20.0},
    {"current_a": 12.0},
    {"current_at_s": 0.0},
    {"set_voltage_v": 400.0},
    {"voltage_v": 410.0},
    {"voltage_before_v": 370.0},
    {"voltage_at_s": 0.0},
    {"voltage_before_at_s": 0.0},
]


class Storm:
    """A planner gone mad and a cabinet that breaks and heals, all by one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.cabinet = Cabinet(seed=seed).start()
        self.asked = self.accepted = 0

    def step(self) -> None:
        roll = self.rng.random
        self.cabinet.run(0.01, healthy=roll() < 0.9)
        if roll() < 0.25:
            self.ask_for_a_close()
        if roll() < 0.30:
            self.open_something()
        if roll() < 0.05:
            self.break_something()
        if roll() < 0.10:
            self.heal()
        self.check()

    def ask_for_a_close(self) -> None:
        module = self.pick_module()
        crosspoint = Crosspoint(self.rng.randint(1, GUNS), module)
        evidence, spoiled = self.evidence(module)
        metal_before, coils_before = self.cabinet.gpio.feedback_inputs, self.cabinet.gpio.coils
        refusal = self.cabinet.contactors.request_close(crosspoint, evidence, self.cabinet.now_s)
        self.asked += 1
        if refusal is None:
            self.accepted += 1
            column = COLUMNS[module - 1]
            assert not spoiled, f"{crosspoint} closed on {evidence}"
            assert not (metal_before | coils_before) & column, f"{crosspoint} closed while its module was not free"
            assert self.cabinet.gpio.emergency_stop_healthy
            assert self.cabinet.gpio.coils == coils_before | self.cabinet.bit(crosspoint)
        else:
            assert self.cabinet.gpio.coils == coils_before

    def pick_module(self) -> int:
        """Mostly a free one, or nothing would ever be accepted."""
        free = [m + 1 for m in range(MODULES) if not self.cabinet.gpio.coils & COLUMNS[m]]
        return self.rng.choice(free) if free and self.rng.random() < 0.8 else self.rng.randint(1, MODULES)

    def evidence(self, module: int) -> tuple[CloseEvidence, bool]:
        spoiled = self.rng.random() < 0.25
        now_s = self.cabinet.now_s
        if self.rng.random() < 0.5:
            values = self.rng.choice(SPOIL_OFF) if spoiled else {}
            return dead_bus(dataclasses.replace(off_module(module, now_s), **values), told_v=3.0), spoiled
        values = self.rng.choice(SPOIL_MATCHED) if spoiled else {}
        return live_bus(dataclasses.replace(matched_module(module, now_s), **values)), spoiled

    def open_something(self) -> None:
        commanded = [c for g in range(1, GUNS + 1) for c in self.cabinet.contactors.closed_or_unproven_of_gun(g)]
        if commanded:
            crosspoint = self.rng.choice(commanded)
            self.cabinet.contactors.request_open(crosspoint, self.cabinet.now_s)
            assert not self.cabinet.gpio.coils & self.cabinet.bit(crosspoint)

    def break_something(self) -> None:
        cabinet, index = self.cabinet, self.rng.randrange(GUNS * MODULES)
        assert cabinet.gpio.input_chain is not None
        match self.rng.randrange(6):
            case 0 | 1:  # what is closed now welds, or opens late
                cabinet.held_closed |= cabinet.gpio.feedback_inputs
            case 2:
                cabinet.held_open |= 1 << index & ~cabinet.gpio.feedback_inputs
            case 3:
                cabinet.gpio.input_chain.flipped = 1 << self.rng.randint(54, 63)
            case 4:
                cabinet.gpio.input_chain.edges_gained = self.rng.choice((-1, 1))
            case _:
                cabinet.gpio.emergency_stop_healthy = False
                cabinet.contactors.step(cabinet.now_s, False)

    def heal(self) -> None:
        cabinet = self.cabinet
        assert cabinet.gpio.input_chain is not None
        cabinet.held_closed = cabinet.held_open = 0
        cabinet.gpio.input_chain.flipped = cabinet.gpio.input_chain.edges_gained = 0
        cabinet.gpio.emergency_stop_healthy = True

    def check(self) -> None:
        coils, metal = self.cabinet.gpio.coils, self.cabinet.gpio.feedback_inputs
        for column in COLUMNS:
            assert (coils & column).bit_count() <= 1
            assert ((coils | metal) & column).bit_count() <= 1


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_no_module_on_two_guns(seed: int) -> None:
    storm = Storm(seed)
    for _ in range(STEPS):
        storm.step()
    assert storm.asked > STEPS / 5
    assert storm.accepted / storm.asked >= 0.3, f"{storm.accepted} of {storm.asked}"
