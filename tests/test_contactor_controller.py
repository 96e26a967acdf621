"""Every refusal of the interlock, every state of a contact, the time limits, and the start and stop of the outputs."""

from __future__ import annotations

import dataclasses
import logging
import threading
from typing import Any

import pytest
from cabinet import (
    TRAVEL_S,
    WITH_READBACK,
    Cabinet,
    dead_bus,
    live_bus,
    matched_module,
    off_module,
)

from contactor_controller import ContactorController, ContactorsSeized, GpioError, OutputsRefused
from planning.contacts import Contacts
from planning.model import CloseEvidence, CloseRefusal, ContactState, Crosspoint, ModuleState, ModuleStatus
from planning.settings import Gpio, Safety
from simulator.gpio_face import SimulatedGpio

G1M1 = Crosspoint(1, 1)
STATES = ContactState


@pytest.fixture
def cabinet() -> Cabinet:
    return Cabinet().start()


@pytest.fixture
def verified() -> Cabinet:
    return Cabinet(WITH_READBACK).start()


def ask(cabinet: Cabinet, evidence: CloseEvidence, crosspoint: Crosspoint = G1M1) -> CloseRefusal | None:
    return cabinet.contactors.request_close(crosspoint, evidence, cabinet.now_s)


# --- refusals: contacts -----------------------------------------------------------------------------------------------


def test_a_close_is_latched_at_once_and_proven_by_feedback(cabinet: Cabinet) -> None:
    assert cabinet.close(1, 1) is None
    assert cabinet.gpio.coils == 1
    assert cabinet.contactors.state(G1M1) is STATES.CLOSING
    cabinet.run(0.1)
    assert cabinet.contactors.state(G1M1) is STATES.CLOSED
    assert cabinet.contactors.closed_count == 1


def test_not_armed() -> None:
    cabinet = Cabinet()
    assert cabinet.close(1, 1) is CloseRefusal.NOT_ARMED
    cabinet.contactors.prepare(cabinet.now_s)
    cabinet.run(0.3)
    cabinet.contactors.enable_outputs(cabinet.now_s)
    assert cabinet.close(1, 1) is CloseRefusal.NOT_ARMED
    cabinet.contactors.arm()
    assert cabinet.close(1, 1) is None


def test_emergency_stop(cabinet: Cabinet) -> None:
    cabinet.gpio.emergency_stop_healthy = False
    cabinet.contactors.step(cabinet.now_s, True)
    assert not cabinet.contactors.emergency_stop_healthy
    assert cabinet.close(1, 1) is CloseRefusal.EMERGENCY_STOP
    cabinet.gpio.emergency_stop_healthy = True
    cabinet.contactors.step(cabinet.now_s, True)
    assert cabinet.close(1, 1) is None


@pytest.mark.parametrize("wrong_bit", [54, 55])
def test_one_wrong_test_bit_and_nothing_counts_as_open(cabinet: Cabinet, wrong_bit: int) -> None:
    assert cabinet.gpio.input_chain is not None
    cabinet.gpio.input_chain.flipped = 1 << wrong_bit
    cabinet.run(0.06)
    assert not cabinet.contactors.feedback_valid
    assert not cabinet.contactors.all_proven_open
    assert {cabinet.contactors.state(Crosspoint(g, m)) for g in range(1, 7) for m in range(1, 10)} == {STATES.UNKNOWN}
    assert cabinet.close(1, 1) is CloseRefusal.FEEDBACK_INVALID
    assert len(cabinet.contactors.closed_or_unproven_of_gun(1)) == 9
    cabinet.gpio.input_chain.flipped = 0
    cabinet.run(0.01)
    assert cabinet.close(1, 1) is CloseRefusal.FEEDBACK_INVALID  # right again, but not for 20 ms yet
    cabinet.run(0.03)
    assert cabinet.close(1, 1) is None


@pytest.mark.parametrize("ones", [56, 60, 63])
def test_the_eight_bits_after_the_chain_are_tested_too(cabinet: Cabinet, ones: int) -> None:
    assert cabinet.gpio.input_chain is not None
    cabinet.gpio.input_chain.stuck_low = 1 << ones
    cabinet.run(0.06)
    assert cabinet.close(1, 1) is CloseRefusal.FEEDBACK_INVALID


@pytest.mark.parametrize("edges", [-1, 1])
def test_feedback_chain_off_by_one(cabinet: Cabinet, edges: int) -> None:
    assert cabinet.gpio.input_chain is not None
    cabinet.gpio.input_chain.edges_gained = edges
    cabinet.run(0.06)
    assert cabinet.close(1, 1) is CloseRefusal.FEEDBACK_INVALID
    assert cabinet.contactors.invalid_feedbacks >= 1


def test_the_feedback_is_read_right_before_a_close(cabinet: Cabinet) -> None:
    cabinet.now_s += 0.04  # the next look of an idle station is due in a moment
    cabinet.held_closed = cabinet.bit(Crosspoint(2, 1))
    cabinet.move_contacts()
    assert cabinet.close(1, 1) is CloseRefusal.MODULE_ELSEWHERE


def test_out_of_service_counts_as_possibly_closed_for_its_module(cabinet: Cabinet) -> None:
    cabinet.contactors.take_out_of_service(G1M1)
    assert cabinet.close(1, 1) is CloseRefusal.OUT_OF_SERVICE
    assert cabinet.close(2, 1) is CloseRefusal.MODULE_ELSEWHERE
    assert cabinet.contactors.closed_or_unproven_of_module(1) == (G1M1,)
    assert cabinet.close(1, 2) is None
    cabinet.contactors.restore_all()
    assert cabinet.close(2, 1) is None


def test_one_module_one_gun(cabinet: Cabinet) -> None:
    assert cabinet.close(1, 1) is None
    assert cabinet.close(2, 1) is CloseRefusal.MODULE_ELSEWHERE  # commanded is enough
    cabinet.run(0.1)
    cabinet.held_closed = 1
    cabinet.open(1, 1)
    cabinet.run(0.5)
    assert cabinet.close(2, 1) is CloseRefusal.MODULE_ELSEWHERE  # so is a weld
    cabinet.held_closed = 0
    cabinet.run(0.1)
    assert cabinet.close(2, 1) is None


def test_a_bouncing_neighbour_is_not_proven_open(cabinet: Cabinet) -> None:
    cabinet.held_closed = cabinet.bit(Crosspoint(4, 1))
    cabinet.run(0.05, period_s=0.05)  # a single raw reading, not yet debounced
    assert cabinet.contactors.state(Crosspoint(4, 1)) is STATES.OPEN
    assert cabinet.close(1, 1) is CloseRefusal.MODULE_ELSEWHERE


def test_one_open_reading_is_no_proof(cabinet: Cabinet) -> None:
    assert cabinet.close(1, 1) is None
    cabinet.run(0.1)
    cabinet.open(1, 1)
    while cabinet.gpio.feedback_inputs:
        cabinet.run(0.01)
    assert cabinet.close(2, 1) is CloseRefusal.MODULE_ELSEWHERE
    cabinet.run(0.02)
    assert cabinet.close(2, 1) is None


def test_the_contact_itself_must_be_proven_open(cabinet: Cabinet) -> None:
    cabinet.held_closed = 1
    cabinet.run(0.2)
    assert cabinet.close(1, 1) is CloseRefusal.NOT_PROVEN_OPEN
    cabinet.held_closed = 0
    cabinet.run(0.1)
    assert cabinet.close(1, 1) is None
    assert cabinet.close(1, 1) is CloseRefusal.NOT_PROVEN_OPEN


def test_at_most_four_pickups_in_250_ms(cabinet: Cabinet) -> None:
    assert [cabinet.close(1, module) for module in range(1, 7)] == [None] * 4 + [CloseRefusal.PICKUPS] * 2
    cabinet.run(0.24)
    assert cabinet.close(1, 5) is CloseRefusal.PICKUPS
    cabinet.run(0.01)
    assert [cabinet.close(1, module) for module in range(5, 10)] == [None] * 4 + [CloseRefusal.PICKUPS]


def test_a_refresh_starts_no_pickup(cabinet: Cabinet) -> None:
    assert cabinet.close(1, 1) is None
    cabinet.run(1.0)
    assert [cabinet.close(1, module) for module in range(2, 6)] == [None] * 4


# --- refusals: voltages -----------------------------------------------------------------------------------------------


def changed(status: ModuleStatus, **values: Any) -> ModuleStatus:
    return dataclasses.replace(status, **values)


@pytest.mark.parametrize(
    ("on_ago_s", "told_dead_ago_s", "refusal"),
    [
        (None, None, None),
        (10.0, None, None),
        (9.9, None, CloseRefusal.MODULE_NOT_RESTED),
        (0.2, 0.1, None),
        (0.2, 0.2, CloseRefusal.MODULE_NOT_RESTED),
        (0.2, 0.3, CloseRefusal.MODULE_NOT_RESTED),
    ],
)
def test_dead_bus_for_charged_terminals(
    cabinet: Cabinet, on_ago_s: float | None, told_dead_ago_s: float | None, refusal: CloseRefusal | None
) -> None:
    """Rule 7.4: what its meter shows is the side of the diode that falls at once."""
    now_s = cabinet.now_s
    last_on_at_s, told_dead_at_s = (None if ago_s is None else now_s - ago_s for ago_s in (on_ago_s, told_dead_ago_s))
    evidence = dead_bus(changed(off_module(1, now_s), last_on_at_s=last_on_at_s))
    assert ask(cabinet, dataclasses.replace(evidence, told_dead_at_s=told_dead_at_s)) is refusal


@pytest.mark.parametrize(
    ("values", "refusal"),
    [
        ({}, None),
        ({"on": None}, CloseRefusal.MODULE_NOT_OFF),
        ({"on": True}, CloseRefusal.MODULE_NOT_OFF),
        ({"set_on": True}, CloseRefusal.MODULE_NOT_OFF),
        ({"state": ModuleState.REFUSED}, CloseRefusal.MODULE_NOT_OFF),
        ({"on_at_s": 0.0}, CloseRefusal.MODULE_NOT_OFF),
        ({"on_at_s": None}, CloseRefusal.MODULE_NOT_OFF),
        ({"voltage_v": 60.0}, CloseRefusal.MODULE_NOT_DEAD),
        ({"voltage_v": 59.9}, None),
        ({"voltage_v": float("nan")}, CloseRefusal.MODULE_NOT_DEAD),
        ({"voltage_v": None}, CloseRefusal.MODULE_NOT_DEAD),
        ({"voltage_at_s": 0.0}, CloseRefusal.MODULE_NOT_DEAD),
    ],
)
def test_dead_bus(cabinet: Cabinet, values: dict[str, Any], refusal: CloseRefusal | None) -> None:
    assert ask(cabinet, dead_bus(changed(off_module(1, cabinet.now_s), **values))) is refusal


@pytest.mark.parametrize(
    ("values", "refusal"),
    [
        ({}, None),
        ({"on": False}, CloseRefusal.BUS_NOT_DEAD),
        ({"on": None}, CloseRefusal.MODULE_NOT_ON),
        ({"state": ModuleState.REFUSED}, CloseRefusal.MODULE_NOT_ON),
        ({"on_at_s": 0.0}, CloseRefusal.MODULE_NOT_ON),
        ({"set_current_a": 1.0}, None),
        ({"set_current_a": 1.1}, CloseRefusal.MODULE_LOADED),
        ({"current_a": 1.1}, CloseRefusal.MODULE_LOADED),
        ({"current_a": None}, CloseRefusal.MODULE_LOADED),
        ({"current_a": float("nan")}, CloseRefusal.MODULE_LOADED),
        ({"current_at_s": 0.0}, CloseRefusal.MODULE_LOADED),
        ({"set_voltage_v": 392.0}, None),
        ({"set_voltage_v": 392.1}, CloseRefusal.NOT_MATCHED),
        ({"voltage_v": 400.0}, None),
        ({"voltage_v": 400.1}, CloseRefusal.NOT_MATCHED),
        ({"voltage_v": 380.0}, None),
        ({"voltage_v": 379.9}, CloseRefusal.NOT_MATCHED),
        ({"voltage_v": float("nan")}, CloseRefusal.NOT_MATCHED),
        ({"voltage_v": None}, CloseRefusal.NOT_MATCHED),
        ({"voltage_before_v": 379.9}, CloseRefusal.NOT_MATCHED),
        ({"voltage_before_v": None}, CloseRefusal.NOT_MATCHED),
        ({"voltage_at_s": 0.0}, CloseRefusal.NOT_MATCHED),
        ({"voltage_before_at_s": 0.0}, CloseRefusal.NOT_MATCHED),
        ({"voltage_before_at_s": None}, CloseRefusal.NOT_MATCHED),
    ],
)
def test_live_bus(cabinet: Cabinet, values: dict[str, Any], refusal: CloseRefusal | None) -> None:
    assert ask(cabinet, live_bus(changed(matched_module(1, cabinet.now_s), **values))) is refusal


def test_one_reading_told_twice_is_not_two(cabinet: Cabinet) -> None:
    module = matched_module(1, cabinet.now_s)
    once = changed(module, voltage_before_at_s=module.voltage_at_s)
    assert ask(cabinet, live_bus(once)) is CloseRefusal.NOT_MATCHED


def test_a_dead_module_never_joins_a_live_bus(cabinet: Cabinet) -> None:
    module = off_module(1, cabinet.now_s)
    assert ask(cabinet, dead_bus(module, told_v=400.0)) is CloseRefusal.BUS_NOT_DEAD  # told alive outweighs a dark gun
    assert ask(cabinet, CloseEvidence(module, None, None, True)) is CloseRefusal.NEED_VOLTAGE
    assert ask(cabinet, CloseEvidence(module, 400.0, 3.0, False)) is CloseRefusal.BUS_NOT_DEAD
    assert ask(cabinet, CloseEvidence(module, 3.0, 3.0, True)) is CloseRefusal.BUS_NOT_DEAD


def test_a_gun_in_use_is_dead_only_when_told(cabinet: Cabinet) -> None:
    assert ask(cabinet, dead_bus(off_module(1, cabinet.now_s))) is None
    second, module = Crosspoint(1, 2), off_module(2, cabinet.now_s)
    assert ask(cabinet, dead_bus(module), second) is CloseRefusal.NEED_VOLTAGE
    assert ask(cabinet, dead_bus(module, told_v=60.0), second) is CloseRefusal.BUS_NOT_DEAD
    assert ask(cabinet, dead_bus(module, told_v=59.0), second) is None


def test_evidence_about_another_module_and_unknown_crosspoints_are_errors(cabinet: Cabinet) -> None:
    with pytest.raises(ValueError, match="module 2 cannot close g1m1"):
        ask(cabinet, dead_bus(off_module(2, cabinet.now_s)))
    with pytest.raises(ValueError, match="no crosspoint g7m1 on this station, only g1m1 to g6m9"):
        cabinet.contactors.state(Crosspoint(7, 1))


# --- states and their limits ------------------------------------------------------------------------------------------


def test_close_fails_300_ms_after_the_latch_edge(cabinet: Cabinet) -> None:
    cabinet.held_open = 1
    cabinet.close(1, 1)
    cabinet.run(0.29)
    assert cabinet.contactors.state(G1M1) is STATES.CLOSING
    cabinet.run(0.01)
    assert cabinet.contactors.state(G1M1) is STATES.CLOSE_FAILED
    cabinet.open(1, 1)
    assert cabinet.contactors.state(G1M1) is STATES.OPENING
    cabinet.run(0.2)
    assert cabinet.contactors.state(G1M1) is STATES.OPEN


def test_a_contact_released_on_its_way_up_may_still_touch(cabinet: Cabinet) -> None:
    """It reads open all the time between the two commands, and the poles meet after the second one."""
    assert cabinet.close(1, 1) is None
    cabinet.run(0.01)
    cabinet.open(1, 1)
    assert cabinet.contactors.state(G1M1) is STATES.OPENING
    assert cabinet.close(2, 1) is CloseRefusal.MODULE_ELSEWHERE
    assert not cabinet.contactors.all_proven_open
    cabinet.run(0.19)
    assert cabinet.close(2, 1) is CloseRefusal.MODULE_ELSEWHERE
    cabinet.run(0.01)
    assert cabinet.contactors.state(G1M1) is STATES.OPEN
    assert cabinet.close(2, 1) is None


def test_open_fails_200_ms_after_the_latch_edge(cabinet: Cabinet) -> None:
    cabinet.close(1, 1)
    cabinet.run(0.5)
    cabinet.held_closed = 1
    cabinet.open(1, 1)
    assert cabinet.gpio.coils == 0
    cabinet.run(0.19)
    assert cabinet.contactors.state(G1M1) is STATES.OPENING
    cabinet.run(0.01)
    assert cabinet.contactors.state(G1M1) is STATES.OPEN_FAILED
    cabinet.held_closed = 0
    cabinet.run(0.1)
    assert cabinet.contactors.state(G1M1) is STATES.OPEN


def test_limits_count_from_the_edge_of_that_coil(cabinet: Cabinet) -> None:
    cabinet.held_open = 1
    cabinet.close(1, 1)
    cabinet.run(0.2)
    cabinet.close(1, 2)  # another coil's edge and the refreshes in between restart nothing
    cabinet.run(0.1)
    assert cabinet.contactors.state(G1M1) is STATES.CLOSE_FAILED


def test_dropped_and_intruder(cabinet: Cabinet) -> None:
    cabinet.close(1, 1)
    cabinet.run(0.1)
    cabinet.held_open, cabinet.held_closed = 1, cabinet.bit(Crosspoint(2, 5))
    cabinet.run(0.1)
    assert cabinet.contactors.state(G1M1) is STATES.DROPPED
    assert cabinet.contactors.state(Crosspoint(2, 5)) is STATES.INTRUDER
    assert cabinet.close(1, 1) is CloseRefusal.NOT_PROVEN_OPEN  # no automatic re-close while it is commanded
    cabinet.open(1, 1)
    cabinet.held_open = 0
    cabinet.run(0.2)
    assert cabinet.contactors.state(G1M1) is STATES.OPEN


def test_closed_at_the_start_is_a_weld() -> None:
    cabinet = Cabinet()
    cabinet.held_closed = 1
    cabinet.contactors.prepare(cabinet.now_s)
    assert cabinet.contactors.state(G1M1) is STATES.UNKNOWN
    cabinet.run(0.1)
    assert cabinet.contactors.state(G1M1) is STATES.OPENING
    cabinet.run(0.2)
    assert cabinet.contactors.state(G1M1) is STATES.OPEN_FAILED
    assert cabinet.contactors.state(Crosspoint(1, 2)) is STATES.OPEN


def test_an_intruder_during_an_invalid_image_is_found_afterwards(cabinet: Cabinet) -> None:
    assert cabinet.gpio.input_chain is not None
    cabinet.gpio.input_chain.flipped = 1 << 54
    cabinet.run(0.1)
    cabinet.held_closed = 1
    cabinet.gpio.input_chain.flipped = 0
    cabinet.run(0.05)
    assert cabinet.contactors.state(G1M1) is STATES.INTRUDER
    assert cabinet.contactors.state(Crosspoint(1, 2)) is STATES.OPEN


def test_debounce_wants_20_ms_of_the_same() -> None:
    contacts = Contacts(2, debounce_s=0.02, close_timeout_s=0.3, open_timeout_s=0.2)
    for step, raw in enumerate([0, 0, 0]):
        contacts.feed(raw, step * 0.01)
    assert contacts.states == [STATES.OPEN] * 2
    seen = []
    for step, raw in enumerate([1, 1, 0, 1, 1, 1], start=3):
        contacts.feed(raw, step * 0.01)
        seen.append(contacts.states[0])
    assert seen == [STATES.OPEN] * 5 + [STATES.INTRUDER]
    assert contacts.states[1] is STATES.OPEN


def test_a_released_contact_that_still_touches_is_no_intruder() -> None:
    contacts = Contacts(1, debounce_s=0.02, close_timeout_s=0.3, open_timeout_s=0.2)
    for step in range(4):
        contacts.feed(0, step * 0.01)
    contacts.command(1, 0.03)
    contacts.command(0, 0.04)
    seen = set()
    for step in range(4, 12):
        contacts.feed(1 if 6 <= step < 10 else 0, step * 0.01)
        seen.add(contacts.states[0])
    assert seen == {STATES.OPENING}
    for step in range(12, 14):
        contacts.feed(0, step * 0.01)
    assert contacts.states[0] is STATES.OPEN  # it was seen closed and then open: that is a proof before 200 ms are over


def test_a_chattering_contact_does_not_hide_its_neighbour() -> None:
    contacts = Contacts(2, debounce_s=0.02, close_timeout_s=0.3, open_timeout_s=0.2)
    for step in range(4):
        contacts.feed(0, step * 0.01)
    for step in range(4, 9):
        contacts.feed(0b10 | step & 1, step * 0.01)
    assert contacts.states == [STATES.OPEN, STATES.INTRUDER]


def test_reads_often_only_while_something_moves(cabinet: Cabinet) -> None:
    assert cabinet.contactors.step(cabinet.now_s, True) == 0.05
    cabinet.close(1, 1)
    assert cabinet.contactors.step(cabinet.now_s, True) == 0.01
    cabinet.run(0.1)
    assert cabinet.contactors.step(cabinet.now_s, True) == 0.05


def test_states_are_in_time_when_the_caller_follows_the_wish(cabinet: Cabinet) -> None:
    cabinet.close(1, 1)
    start_s = cabinet.now_s
    wish_s = cabinet.contactors.step(cabinet.now_s, True)
    while cabinet.contactors.state(G1M1) is STATES.CLOSING:
        cabinet.now_s += wish_s
        cabinet.move_contacts()
        wish_s = cabinet.contactors.step(cabinet.now_s, True)
    assert cabinet.contactors.state(G1M1) is STATES.CLOSED
    assert cabinet.now_s - start_s <= TRAVEL_S + 0.01 + 0.02 + 1e-6  # travel, reading period, debounce


def test_open_all(cabinet: Cabinet) -> None:
    for module in range(1, 5):
        cabinet.close(1, module)
    cabinet.run(0.1)
    assert cabinet.contactors.closed_count == 4
    assert [str(c) for c in cabinet.contactors.closed_or_unproven_of_gun(1)] == ["g1m1", "g1m2", "g1m3", "g1m4"]
    cabinet.contactors.open_all(cabinet.now_s)
    assert cabinet.gpio.coils == 0
    assert not cabinet.contactors.all_proven_open
    cabinet.run(0.1)
    assert cabinet.contactors.all_proven_open


# --- the image --------------------------------------------------------------------------------------------------------


def test_refresh_heals_the_image_within_100_ms(cabinet: Cabinet) -> None:
    assert cabinet.gpio.output_chain is not None
    cabinet.close(1, 1)
    cabinet.gpio.output_chain.disturb(0b11 << 20)
    assert cabinet.gpio.coils != 1
    cabinet.run(0.1)
    assert cabinet.gpio.coils == 1


@pytest.mark.parametrize("index", range(0, 56, 11))
def test_readback_finds_a_flipped_stage_and_the_rewrite_heals_it(verified: Cabinet, index: int) -> None:
    assert verified.gpio.output_chain is not None
    assert verified.contactors.image_verified is True
    verified.gpio.output_chain.disturb(1 << index)
    verified.run(0.1)
    assert verified.contactors.readback_mismatches == 1
    assert verified.contactors.image_verified is True
    assert verified.gpio.coils == 0


@pytest.mark.parametrize("fault", ["edges_gained", "readback_flipped"])
def test_a_lasting_readback_fault_stops_the_heartbeat_at_once(
    verified: Cabinet, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert verified.close(1, 1) is None
    setattr(verified.gpio.output_chain, fault, 1)
    verified.run(0.2)
    assert verified.contactors.image_verified is False
    edges = verified.gpio.heartbeat_edges
    verified.run(1.0)
    assert verified.gpio.heartbeat_edges == edges
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 1
    setattr(verified.gpio.output_chain, fault, 0)
    verified.run(0.3)
    assert verified.contactors.image_verified is True
    assert verified.gpio.heartbeat_edges > edges


def test_without_readback_nothing_is_claimed(cabinet: Cabinet) -> None:
    assert cabinet.contactors.image_verified is None


# --- start, heartbeat, stop -------------------------------------------------------------------------------------------


class Watched(SimulatedGpio):
    """Notes whether any coil ever had current."""

    def __init__(self, *args: Any, **values: Any) -> None:
        self.ever_on = 0
        super().__init__(*args, **values)

    def _on_outputs(self) -> None:
        self.ever_on |= self.coils


@pytest.mark.parametrize("pins", [Gpio(), WITH_READBACK])
def test_no_coil_moves_at_start_whatever_the_latches_hold(pins: Gpio) -> None:
    for seed in range(200):
        now_s = 0.0
        gpio = Watched(pins, lambda: 0.0, seed=seed)
        contactors = ContactorController(gpio, pins, Safety(), 6, 9)
        contactors.prepare(now_s)
        assert gpio.coil_image_latched == 0
        for _ in range(5):
            now_s += 0.01
            contactors.step(now_s, True)
        contactors.enable_outputs(now_s)
        assert (gpio.ever_on, gpio.output_enabled, gpio.heartbeat_edges) == (0, True, 0)


def test_outputs_are_refused_until_everything_is_proven() -> None:
    cabinet = Cabinet(WITH_READBACK)
    contactors = cabinet.contactors
    with pytest.raises(OutputsRefused, match="not set up"):
        contactors.enable_outputs(cabinet.now_s)
    contactors.prepare(cabinet.now_s)
    with pytest.raises(OutputsRefused, match="no valid feedback"):
        contactors.enable_outputs(cabinet.now_s)
    with pytest.raises(OutputsRefused, match="before the outputs"):
        contactors.arm()
    cabinet.held_closed = 0b11
    cabinet.run(0.3)
    with pytest.raises(OutputsRefused, match="g1m1, g1m2"):
        contactors.enable_outputs(cabinet.now_s)
    contactors.take_out_of_service(G1M1)
    contactors.take_out_of_service(Crosspoint(1, 2))
    assert cabinet.gpio.output_chain is not None
    cabinet.gpio.output_chain.readback_flipped = True
    cabinet.run(0.2)
    with pytest.raises(OutputsRefused, match="readback"):
        contactors.enable_outputs(cabinet.now_s)
    cabinet.gpio.output_chain.readback_flipped = False
    cabinet.run(0.2)
    assert not cabinet.gpio.output_enabled
    contactors.enable_outputs(cabinet.now_s)
    assert cabinet.gpio.output_enabled


def test_heartbeat_beats_at_each_healthy_step_once_armed() -> None:
    cabinet = Cabinet()
    cabinet.contactors.prepare(cabinet.now_s)
    cabinet.run(0.3)
    cabinet.contactors.enable_outputs(cabinet.now_s)
    cabinet.run(0.1)
    assert cabinet.gpio.heartbeat_edges == 0
    cabinet.contactors.arm()
    cabinet.run(0.1)
    assert cabinet.gpio.heartbeat_edges == 10
    cabinet.run(0.1, healthy=False)
    assert cabinet.gpio.heartbeat_edges == 10
    cabinet.run(0.1)
    assert cabinet.gpio.heartbeat_edges == 20
    assert cabinet.gpio.last_heartbeat_edge_s == cabinet.now_s


def test_shut_down_twice(cabinet: Cabinet) -> None:
    cabinet.close(1, 1)
    cabinet.run(0.1)
    for _ in range(2):
        cabinet.contactors.shut_down(cabinet.now_s)
        assert (cabinet.gpio.coil_image_latched, cabinet.gpio.output_enabled) == (0, False)
    edges = cabinet.gpio.heartbeat_edges
    cabinet.run(0.1)
    cabinet.open(1, 1)
    cabinet.contactors.open_all(cabinet.now_s)
    assert cabinet.close(1, 1) is CloseRefusal.NOT_ARMED
    assert cabinet.gpio.heartbeat_edges == edges


def test_shut_down_before_prepare_touches_nothing() -> None:
    Cabinet().contactors.shut_down(0.0)


class FailingGpio(SimulatedGpio):
    """A library whose pins fail from some moment on."""

    failing = frozenset[int]()

    def output(self, channel: Any, value: Any) -> None:
        if channel in self.failing:
            raise RuntimeError(f"pin {channel} is gone")
        super().output(channel, value)


def test_shut_down_runs_every_step_and_tells_once(caplog: pytest.LogCaptureFixture) -> None:
    gpio = FailingGpio(Gpio(), lambda: 0.0)
    contactors = ContactorController(gpio, Gpio(), Safety(), 6, 9)
    contactors.prepare(0.0)
    for step in range(1, 6):
        contactors.step(step * 0.01, False)
    contactors.enable_outputs(0.05)
    gpio.failing = frozenset({17, 26})
    contactors.shut_down(0.1)
    assert not gpio.output_enabled
    assert [r.levelno for r in caplog.records if "shut down" in r.message] == [logging.ERROR]
    assert "pin 17 is gone" in caplog.text
    assert "pin 26 is gone" in caplog.text


def test_seize_takes_the_contactors_from_the_other_thread(cabinet: Cabinet) -> None:
    seizer = threading.Thread(target=cabinet.contactors.seize)
    seizer.start()
    seizer.join(2.0)
    calls = (
        lambda: cabinet.contactors.step(cabinet.now_s, True),
        lambda: cabinet.close(1, 1),
        lambda: cabinet.open(1, 1),
        lambda: cabinet.contactors.shut_down(cabinet.now_s),
    )
    for call in calls:
        with pytest.raises(ContactorsSeized):
            call()
    cabinet.contactors.seize()
    cabinet.contactors.shut_down(cabinet.now_s)
    assert not cabinet.gpio.output_enabled


def test_a_write_that_was_overtaken_does_not_latch(cabinet: Cabinet) -> None:
    """The old thread stands in the library while MainThread takes over; what it shifts in never reaches the coils."""
    data, moments = cabinet.gpio.output_chain, []
    assert data is not None
    drive = data.data

    def hang_once(level: int) -> None:
        drive(level)
        if level and not moments:
            moments.append(level)
            seizer = threading.Thread(target=cabinet.contactors.seize)
            seizer.start()
            seizer.join(2.0)

    cabinet.gpio._drive[cabinet.pins.data_pin] = hang_once
    with pytest.raises(ContactorsSeized):
        cabinet.close(1, 1)
    assert moments
    assert cabinet.gpio.coil_image_latched == 0


def test_a_refused_pin_is_told_in_words() -> None:
    class NoAccess(SimulatedGpio):
        def setup(self, *args: Any, **values: Any) -> None:
            if args[0] == 22:
                raise RuntimeError("no access to /dev/gpiochip0")
            super().setup(*args, **values)

    contactors = ContactorController(NoAccess(Gpio(), lambda: 0.0), Gpio(), Safety(), 6, 9)
    with pytest.raises(GpioError, match=r"latch_pin \(BCM 22\).*gpiochip0.*group gpio.*--simulate"):
        contactors.prepare(0.0)
    contactors.shut_down(0.0)


def test_too_many_contacts_for_the_chain() -> None:
    with pytest.raises(ValueError, match=r"63 contacts.*54"):
        ContactorController(SimulatedGpio(Gpio(), lambda: 0.0), Gpio(), Safety(), 7, 9)


def test_small_station_on_the_same_chain() -> None:
    cabinet = Cabinet(guns=2, modules=3).start()
    assert cabinet.close(2, 3) is None
    assert cabinet.gpio.coils == 1 << 5
