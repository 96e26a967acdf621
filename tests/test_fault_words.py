"""The words that break the simulated station: each does what the help says, on every kind of hardware that has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import can
import pytest
from cabinet import WITH_READBACK

from contactor_controller import ShiftRegisterDriver
from planning.model import Crosspoint
from simulator.can_face import FRAME_S, WireBus
from simulator.chip_faults import Chips
from simulator.fault_words import _CAN_WORDS, ACTIONS
from simulator.faults import HELP, Bench, apply
from simulator.gpio_face import FarEnd, SimulatedGpio
from simulator.gpio_shm import ControllerSide, PlantSide, SharedGpio
from simulator.gun_bus import FixedBattery
from simulator.module_wire import ModuleWire
from simulator.plant import Plant, index_of
from simulator.socketcand import SocketcandServer
from simulator.uugreen_dialect import STATUS_OFF, STATUS_TOO_HOT

READ_VOLTS = bytes.fromhex("1200000000000000")
ALL_MODULES, MODULE_4 = 0x0220_0000, 0x0220_0000 | 4 << 14
CLOSED = 1 << index_of(Crosspoint(1, 3))


class OnTheWire:
    """A plant with its CAN bus, a clock to turn by hand, and nobody at the other end."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.plant = Plant(seed=1)
        self.wire = ModuleWire(self.plant.modules)
        self.bus = WireBus(self.wire.answer, lambda: self.now_s)
        self.bench = Bench(self.plant, self.wire, self.bus)

    def do(self, line: str) -> None:
        apply(line, self.bench, self.now_s)

    def heard_by(self, now_s: float) -> list[can.Message]:
        """Everything that arrives until then."""
        self.now_s = now_s
        heard = []
        while (message := self.bus.recv()) is not None:
            heard.append(message)
        return heard

    def ask(self, can_id: int = ALL_MODULES) -> list[can.Message]:
        """Ask for the voltages; what arrives within 50 ms."""
        self.bus.send(can.Message(arbitration_id=can_id, data=READ_VOLTS, is_extended_id=True))
        return self.heard_by(self.now_s + 0.05)

    def status_of_4(self) -> int:
        ((_, _, data),) = self.wire.answer(MODULE_4, bytes.fromhex("1208000000000000"), self.now_s)
        return int.from_bytes(data[4:], "big")


@pytest.fixture
def on_the_wire() -> OnTheWire:
    return OnTheWire()


def test_every_line_of_the_help_does_what_it_says() -> None:
    plant = Plant(seed=1)
    wire = ModuleWire(plant.modules)
    link = WireBus(wire.answer, lambda: 0.0)
    bench = Bench(plant, wire, link)
    for line in (
        "mute m1",
        "deaf m2",
        "freeze m3",
        "ignore_off m4",
        "ignore_set m5",
        "derate m6 20",
        "fail m7 42",
        "reboot m8",
        "duplicate m9",
        "battery g2 480",
        "can cut",
        "stick g1m1",
        "reads_closed g1m2",
        "reads_open g1m3",
        "weld g1m4",
    ):
        assert apply(line, bench, 0.0) == line
    assert wire.board(1).muted
    assert wire.board(2).deaf
    assert wire.board(3).frozen is not None
    assert wire.board(4).module.ignores_off
    assert wire.board(5).module.ignores_set_points
    assert wire.board(6).module.available_a == 20.0
    assert wire.board(7).extra_status == 0x42
    assert wire.board(8).silent_until_s > 0.0
    assert len(wire.boards) == 10
    assert plant.guns[1].battery is not None
    assert link.cut
    assert len(plant.contacts.faults) == 4
    apply("heal m1", bench, 0.0)
    apply("repair g1m4", bench, 0.0)
    apply("can join", bench, 0.0)
    assert not wire.board(1).muted
    assert len(plant.contacts.faults) == 3
    assert not link.cut


@pytest.mark.parametrize(
    "line",
    [
        *("", "explode", "mute", "mute m10", "weld g7m1", "weld m1", "estop maybe"),
        *("can dance", "can flood 101", "leak g1 no"),
    ],
)
def test_a_line_that_says_nothing_is_refused_with_help(line: str) -> None:
    plant = Plant()
    with pytest.raises(ValueError):
        wire = ModuleWire(plant.modules)
        apply(line, Bench(plant, wire, WireBus(wire.answer, lambda: 0.0)), 0.0)


def test_what_needs_a_wire_is_refused_in_words_where_there_is_none() -> None:
    plant = Plant()
    bench = Bench(plant, ModuleWire(plant.modules))
    for line in ("mute m1", "scale_v m1 0.1", "can cut", "stuck_bit g1m1 1", "test_bit cut"):
        with pytest.raises(ValueError, match="level = wire"):
            apply(line, bench, 0.0)
    apply("derate m1 20", bench, 0.0)
    assert plant.modules[0].available_a == 20.0


def test_what_only_one_kind_of_link_has_is_refused_in_words_by_the_other() -> None:
    plant = Plant()
    wire = ModuleWire(plant.modules)
    server = SocketcandServer(wire.answer)
    try:
        for line in ("can enobufs 3", "can down"):
            with pytest.raises(ValueError, match="virtual time only"):
                apply(line, Bench(plant, wire, server), 0.0)
        with pytest.raises(ValueError, match="process of its own"):
            apply("can drop", Bench(plant, wire, WireBus(wire.answer, lambda: 0.0)), 0.0)
    finally:
        server.stop()


def test_every_word_of_the_help_is_known_and_every_known_word_is_in_the_help() -> None:
    lines = [line.split() for line in HELP.splitlines()[:-1]]
    told = {word.rstrip(";") for line in lines for word in line[0].split("|")}
    assert told == set(ACTIONS)
    told_of_can = {word for line in lines if line[0] == "can" for word in line[1].split("|")}
    assert told_of_can | {"calm"} == set(_CAN_WORDS)


# --- modules ---------------------------------------------------------------------------------------------------------


def test_a_hot_module_switches_off_and_shows_why_until_it_is_healed(on_the_wire: OnTheWire) -> None:
    module = on_the_wire.plant.modules[3]
    module.switch(True, 0.0)
    on_the_wire.do("hot m4")
    assert not module.on
    assert on_the_wire.status_of_4() == STATUS_OFF | STATUS_TOO_HOT
    module.switch(True, 0.0)
    assert not module.on
    on_the_wire.do("heal m4")
    module.switch(True, 0.0)
    assert module.on
    assert not on_the_wire.status_of_4() & STATUS_TOO_HOT


def test_a_module_may_show_anything_and_go_on(on_the_wire: OnTheWire) -> None:
    on_the_wire.plant.modules[3].switch(True, 0.0)
    on_the_wire.do("show m4 ffffffff")
    assert on_the_wire.plant.modules[3].on
    assert on_the_wire.status_of_4() == 0xFFFF_FFFF
    on_the_wire.do("heal m4")
    assert not on_the_wire.status_of_4() & STATUS_OFF


def test_meters_and_regulators_go_wrong_each_by_itself(on_the_wire: OnTheWire) -> None:
    plant, module = on_the_wire.plant, on_the_wire.plant.modules[3]
    module.switch(True, 0.0)
    module.set_voltage(500.0)
    module.set_current(10.0)
    plant.advance(6.0)
    board = on_the_wire.wire.board(4)
    assert board.volts(6.0) == pytest.approx(500.0, abs=0.1)
    on_the_wire.do("scale_v m4 0.1")
    assert board.volts(6.0) == pytest.approx(50.0, abs=0.1)
    assert module.output_v(6.0) > 490.0
    on_the_wire.do("heal m4")
    on_the_wire.do("overdo_v m4 1.2")
    plant.advance(6.0)
    assert board.volts(plant.now_s) == pytest.approx(600.0, abs=0.1)


# --- guns and cars ---------------------------------------------------------------------------------------------------


def charge_at_full_current(plant: Plant) -> None:
    """Gun 1 charges a 640 V battery with 50 A from module 3."""
    plant.plug(1, FixedBattery(640.0), 0.0)
    plant.set_coils(CLOSED, 0.0)
    plant.advance(0.1)
    plant.set_output(1, True, plant.now_s)
    module = plant.modules[2]
    module.switch(True, plant.now_s)
    module.set_voltage(700.0)
    module.set_current(50.0)
    plant.advance(8.0)
    assert plant.bus_current_a(1) == pytest.approx(50.0, rel=0.01)


def test_a_car_that_opens_at_full_current_leaves_the_bus_at_the_set_point(on_the_wire: OnTheWire) -> None:
    plant = on_the_wire.plant
    charge_at_full_current(plant)
    apply("load_dump g1", on_the_wire.bench, plant.now_s)
    plant.advance(1.0)
    assert plant.bus_current_a(1) < 1.0
    assert 690.0 < plant.guns[0].peak_v < 705.0
    assert any("load_dump g1 5" in event for event in plant.events)
    apply("battery g1 640", on_the_wire.bench, plant.now_s)
    plant.advance(1.0)
    assert plant.bus_current_a(1) > 40.0


def test_a_bus_without_bleeder_stays_charged_until_it_is_mended(on_the_wire: OnTheWire) -> None:
    plant = on_the_wire.plant
    charge_at_full_current(plant)
    apply("leak g1", on_the_wire.bench, plant.now_s)
    plant.modules[2].switch(False, plant.now_s)
    plant.set_output(1, False, plant.now_s)
    plant.advance(30.0)
    assert plant.bus_voltage_v(1) > 400.0
    apply("leak g1 mend", on_the_wire.bench, plant.now_s)
    plant.advance(5.0)
    assert plant.bus_voltage_v(1) < 60.0


# --- the CAN bus -----------------------------------------------------------------------------------------------------


def strangers(messages: list[can.Message]) -> list[can.Message]:
    return [message for message in messages if message.arbitration_id >> 24 == 0x18]


def test_strangers_take_the_share_that_was_said_and_modules_are_heard_all_the_same(on_the_wire: OnTheWire) -> None:
    on_the_wire.do("can flood 50")
    assert len(strangers(on_the_wire.heard_by(1.0))) == pytest.approx(0.5 / FRAME_S, abs=1)
    on_the_wire.do("can flood 100")
    heard = on_the_wire.ask()
    assert len(heard) - len(strangers(heard)) == 9
    assert len(heard) == pytest.approx(0.05 / FRAME_S, abs=2)
    last_reply = max(m.timestamp for m in heard if m not in strangers(heard))
    assert last_reply < 1.0 + 11 * FRAME_S + 0.004 + FRAME_S  # each gives way to one frame at most
    on_the_wire.do("can calm")
    assert len(on_the_wire.ask()) == 9


def test_bus_off_is_told_and_ends_all_traffic_until_it_recovers(on_the_wire: OnTheWire) -> None:
    on_the_wire.do("can busoff")
    assert on_the_wire.bus.next_arrival_s() == float("-inf")
    (told,) = on_the_wire.ask()
    assert told.is_error_frame
    assert told.arbitration_id == 0x040
    assert on_the_wire.ask() == []
    on_the_wire.do("can recover")
    first, *replies = on_the_wire.ask()
    assert first.is_error_frame
    assert first.arbitration_id == 0x100
    assert len(replies) == 9


def test_the_kernel_refuses_and_the_wire_loses_as_many_frames_as_said(on_the_wire: OnTheWire) -> None:
    on_the_wire.do("can enobufs 2")
    for _ in range(2):
        with pytest.raises(can.CanOperationError):
            on_the_wire.ask()
    on_the_wire.do("can lose 1")
    assert on_the_wire.ask() == []
    assert len(on_the_wire.ask()) == 9
    on_the_wire.do("can down")
    with pytest.raises(can.CanOperationError):
        on_the_wire.bus.recv()
    on_the_wire.do("can up")
    assert len(on_the_wire.ask()) == 9


def test_another_controller_is_a_request_that_nobody_of_us_sent(on_the_wire: OnTheWire) -> None:
    on_the_wire.do("can controller")
    (frame,) = on_the_wire.heard_by(0.0)
    assert frame.arbitration_id == 0x0200_0000 | 5 << 14
    assert bytes(frame.data) == READ_VOLTS


@pytest.fixture
def server() -> Iterator[SocketcandServer]:
    server = SocketcandServer(ModuleWire(Plant(seed=1).modules).answer)
    server.start()
    yield server
    server.stop()


def heard(bus: can.BusABC, wanted: Callable[[can.Message], bool]) -> can.Message:
    """The first frame of this kind; python-can's client wakes without one now and then."""
    for _ in range(400):
        message = bus.recv(0.02)
        if message is not None and wanted(message):
            return message
    raise AssertionError("no such frame came")


def test_a_bus_behind_a_port_has_strangers_bus_off_and_losses_too(server: SocketcandServer) -> None:
    plant = Plant(seed=1)
    bench = Bench(plant, ModuleWire(plant.modules), server)
    with can.Bus(interface="socketcand", channel="can0", host="127.0.0.1", port=server.port) as bus:
        question = can.Message(arbitration_id=MODULE_4, data=READ_VOLTS, is_extended_id=True)
        apply("can lose 1", bench, 0.0)
        bus.send(question)
        bus.send(question)
        heard(bus, lambda message: message.arbitration_id >> 14 & 127 == 4)
        assert server.lose_sends == 0
        apply("can flood 90", bench, 0.0)
        heard(bus, lambda message: message.arbitration_id >> 24 == 0x18)
        apply("can calm", bench, 0.0)
        apply("can controller", bench, 0.0)
        heard(bus, lambda message: message.arbitration_id == 0x0200_0000 | 5 << 14)
        apply("can busoff", bench, 0.0)
        heard(bus, lambda message: message.is_error_frame and message.arbitration_id == 0x040)
        apply("can recover", bench, 0.0)
        bus.send(question)
        heard(bus, lambda message: message.arbitration_id >> 14 & 127 == 4)


# --- registers: chips in this process, and chips in the controller's while the plant says what is broken --------------


class Registers:
    """The driver that runs on site, its chips, and the words."""

    def __init__(self, gpio: SimulatedGpio, chips: Chips, far_end: FarEnd) -> None:
        self.driver = ShiftRegisterDriver(gpio, WITH_READBACK, 54)
        self.far_end = far_end
        plant = Plant()
        self.bench = Bench(plant, ModuleWire(plant.modules), None, chips)
        far_end.feedback_inputs = CLOSED
        self.driver.set_up()
        self.driver.write_image(CLOSED)
        self.driver.write_image(CLOSED)
        self.driver.enable_outputs(True)
        assert self.driver.read_feedback() == CLOSED
        assert far_end.coils == CLOSED

    def do(self, line: str) -> None:
        """What was said holds from the next reading of the feedback on."""
        apply(line, self.bench, 0.0)
        self.driver.read_feedback()


@pytest.fixture(params=["here", "in another process"])
def registers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registers]:
    if request.param == "here":
        gpio = SimulatedGpio(WITH_READBACK, lambda: 0.0)
        assert gpio.chip_faults is not None
        made = Registers(gpio, gpio.chip_faults, gpio)
    else:
        side = PlantSide(tmp_path, WITH_READBACK)
        made = Registers(SharedGpio(ControllerSide(tmp_path)), side, side)
    yield made
    made.driver.tear_down()


def test_a_stuck_driver_does_not_follow_its_register(registers: Registers) -> None:
    registers.do("stuck_bit g1m3 0")
    assert registers.far_end.coils == 0
    registers.do("stuck_bit g6m9 1")
    assert registers.far_end.coils == 1 << 53
    registers.do("stuck_bit g1m3 1")
    assert registers.driver.write_image(0)
    assert registers.driver.write_image(0)  # the readback sees registers, not drivers
    assert registers.far_end.coils == 1 << 53 | CLOSED
    registers.driver.enable_outputs(False)
    assert registers.far_end.coils == 0
    registers.driver.enable_outputs(True)
    registers.do("stuck_bit g1m3 mend")
    registers.do("stuck_bit g6m9 mend")
    assert registers.far_end.coils == 0


def test_a_flipped_bit_is_seen_by_the_readback_and_gone_with_the_next_image(registers: Registers) -> None:
    registers.do("flip_bit g6m9")
    assert registers.far_end.coils == CLOSED | 1 << 53
    assert not registers.driver.write_image(CLOSED)
    assert registers.far_end.coils == CLOSED
    assert registers.driver.write_image(CLOSED)


def test_a_readback_that_tells_the_opposite_is_not_believed(registers: Registers) -> None:
    registers.do("readback flip")
    assert not registers.driver.write_image(CLOSED)
    registers.do("readback mend")
    assert registers.driver.write_image(CLOSED)


@pytest.mark.parametrize(("broken", "mended"), [("chain shift", "chain mend"), ("test_bit cut", "test_bit mend")])
def test_a_feedback_chain_that_is_wrong_somewhere_is_invalid_as_a_whole(
    registers: Registers, broken: str, mended: str
) -> None:
    registers.do(broken)
    assert registers.driver.read_feedback() is None
    registers.do(mended)
    assert registers.driver.read_feedback() == CLOSED


def test_a_new_controller_finds_what_is_broken_but_not_the_noise_of_before(tmp_path: Path) -> None:
    side = PlantSide(tmp_path, WITH_READBACK)
    old = Registers(SharedGpio(ControllerSide(tmp_path)), side, side)
    old.do("flip_bit g6m9")
    old.do("test_bit cut")
    new = ShiftRegisterDriver(SharedGpio(ControllerSide(tmp_path)), WITH_READBACK, 54)
    new.set_up()
    new.write_image(0)
    assert new.read_feedback() is None
    assert side.coil_image_latched == 0
    for driver in (old.driver, new):
        driver.tear_down()
