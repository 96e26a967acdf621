"""What ContactorController asks of its driver, in which order and how often; and what it says and counts."""

from __future__ import annotations

import logging

import pytest
from cabinet import SAFETY, WITH_READBACK, Cabinet

from contactor_controller import READ_IDLE_S, READ_MOVING_S, ContactorController, PinDriver
from planning.settings import Gpio
from simulator.readings import NoGpio


class Recorder(PinDriver):
    """Writes down every call; contacts follow their coils at once."""

    def __init__(self) -> None:
        super().__init__(NoGpio(), Gpio())
        self.edges = True
        self.calls: list[str] = []
        self.feedback: int | None = 0
        self.broken: set[str] = set()

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call in self.broken:
            raise OSError(f"{call} is broken")

    def set_up(self) -> None:
        self._note("set up")

    def write_image(self, image: int) -> bool:
        self._note(f"image {image}")
        self.feedback = image
        return True

    def read_feedback(self) -> int | None:
        self._note("feedback")
        return self.feedback

    def enable_outputs(self, enabled: bool) -> None:
        self._note(f"outputs {enabled}")

    def heartbeat_edge(self) -> None:
        self._note("edge")

    def heartbeat_stop(self) -> None:
        self._note("no heartbeat")

    def tear_down(self) -> None:
        self._note("pins released")

    def emergency_stop_healthy(self) -> bool:
        return True


def started() -> tuple[ContactorController, Recorder]:
    """Armed at 1.0 s, on a station of one gun and two modules."""
    driver = Recorder()
    contactors = ContactorController(NoGpio(), Gpio(), SAFETY, 1, 2, driver=driver)
    contactors.prepare(0.0)
    for tick in range(101):
        contactors.step(tick * 0.01, True)
    contactors.enable_outputs(1.0)
    contactors.arm()
    driver.calls.clear()
    return contactors, driver


def test_before_anything_else_zeros_go_into_the_registers_and_nothing_is_believed() -> None:
    driver = Recorder()
    contactors = ContactorController(NoGpio(), Gpio(), SAFETY, 1, 2, driver=driver)
    assert not contactors.emergency_stop_healthy and not contactors.feedback_valid
    assert contactors.invalid_feedbacks == 0
    contactors.prepare(0.0)
    assert driver.calls == ["set up", "image 0", "image 0"]


def test_a_shut_down_latches_zeros_then_disables_then_stops_the_heartbeat_then_lets_the_pins_go(
    caplog: pytest.LogCaptureFixture,
) -> None:
    contactors, driver = started()
    with caplog.at_level(logging.INFO):
        contactors.shut_down(1.1)
    assert driver.calls == ["image 0", "outputs False", "no heartbeat", "pins released"]
    assert not contactors.armed and contactors.coil_image == 0
    assert "outputs disabled" in caplog.text
    contactors.open_all(1.2)
    contactors.shut_down(1.3)
    assert contactors.step(1.4, True) == READ_IDLE_S
    assert len(driver.calls) == 4, "nobody touches the pins any more"


def test_a_step_of_the_shut_down_that_fails_keeps_none_of_the_others_from_it(caplog: pytest.LogCaptureFixture) -> None:
    contactors, driver = started()
    driver.broken = {"image 0", "no heartbeat"}
    contactors.shut_down(1.1)
    assert driver.calls == ["image 0", "outputs False", "no heartbeat", "pins released"]
    assert "OSError: image 0 is broken; OSError: no heartbeat is broken" in caplog.text


def test_an_idle_station_reads_every_50_ms_refreshes_every_100_ms_and_beats_at_every_step() -> None:
    contactors, driver = started()
    for tick in range(1, 101):
        assert contactors.step(1.0 + tick * 0.01, True) == READ_IDLE_S
    assert driver.calls.count("feedback") == 20
    assert driver.calls.count("image 0") == 10
    assert driver.calls.count("edge") == 100


def test_a_contact_that_moves_is_read_every_10_ms() -> None:
    cabinet = Cabinet().start()
    cabinet.run(0.04)
    assert cabinet.close(1, 1) is None
    cabinet.now_s += READ_MOVING_S
    assert cabinet.contactors.step(cabinet.now_s, True) == READ_MOVING_S
    assert cabinet.contactors.moving


def test_wrong_test_bits_are_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    contactors, driver = started()
    driver.feedback = None
    with caplog.at_level(logging.INFO):
        for tick in range(1, 11):
            contactors.step(1.0 + tick * 0.01, True)
        read = driver.calls.count("feedback")
        assert contactors.invalid_feedbacks == read > 1
        assert caplog.text.count("Feedback image invalid") == 1
        driver.feedback = 0
        for tick in range(11, 31):
            contactors.step(1.0 + tick * 0.01, True)
    assert contactors.invalid_feedbacks == read
    assert caplog.text.count("Feedback image valid, 0 contacts closed") == 1


def test_mismatches_of_the_readback_are_counted() -> None:
    cabinet = Cabinet(WITH_READBACK).start()
    assert cabinet.gpio.output_chain is not None
    for times in (1, 2):
        cabinet.gpio.output_chain.disturb(1 << 10)
        cabinet.run(0.11)
        assert cabinet.contactors.readback_mismatches == times


def test_the_edge_of_the_emergency_stop_is_handed_on() -> None:
    cabinet = Cabinet().start()
    heard: list[bool] = []
    cabinet.contactors.on_emergency_edge = lambda: heard.append(True)
    cabinet.gpio.emergency_stop_healthy = False
    assert heard == [True]
