"""The in-memory wire: bus timing, order, and what breaks on it; and the modules on python-can's virtual interface."""

from __future__ import annotations

import errno
import uuid
from itertools import pairwise

import can
import pytest

from simulator.can_face import FRAME_S, VirtualCanFace, WireBus
from simulator.module_wire import ModuleWire
from simulator.plant import Plant

ALL, FIRST = 0x0220_0000, 0x0220_4000
READ_SERIAL = bytes.fromhex("1205000000000000")


def request(can_id: int, data: bytes = READ_SERIAL) -> can.Message:
    return can.Message(arbitration_id=can_id, data=data, is_extended_id=True, check=True)


class Bench:
    """A wire with a clock to turn by hand."""

    def __init__(self) -> None:
        self.now_s = 10.0
        self.log: list[tuple[float, int, bytes, bool]] = []
        self.wire = ModuleWire(Plant(seed=5).modules, seed=5)
        self.bus = WireBus(self.wire.answer, lambda: self.now_s, lambda *frame: self.log.append(frame))

    def everything_by(self, now_s: float) -> list[can.Message]:
        self.now_s = now_s
        messages = []
        while (message := self.bus.recv(0.0)) is not None:
            messages.append(message)
        return messages


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_reply_comes_after_request_thinking_and_its_own_time_on_the_bus(bench: Bench) -> None:
    bench.bus.send(request(FIRST))
    assert bench.everything_by(10.0 + FRAME_S + 0.001) == []
    (reply,) = bench.everything_by(10.010)
    assert 10.0 + 2 * FRAME_S + 0.001 <= reply.timestamp <= 10.0 + 2 * FRAME_S + 0.004
    assert reply.is_extended_id


def test_replies_follow_each_other_one_frame_at_a_time_in_the_same_order_every_run(bench: Bench) -> None:
    bench.bus.send(request(ALL))
    replies = bench.everything_by(10.1)
    times_s = [reply.timestamp for reply in replies]
    assert len(replies) == 9
    assert all(later - earlier >= FRAME_S - 1e-9 for earlier, later in pairwise(times_s))
    again = Bench()
    again.bus.send(request(ALL))
    assert [(r.timestamp, r.arbitration_id) for r in again.everything_by(10.1)] == [
        (r.timestamp, r.arbitration_id) for r in replies
    ]


def test_a_burst_of_requests_occupies_the_bus(bench: Bench) -> None:
    for _ in range(50):
        bench.bus.send(request(FIRST))
    assert len(bench.everything_by(10.0 + 50 * FRAME_S)) == 0
    assert len(bench.everything_by(10.0 + 110 * FRAME_S)) == 50


def test_the_frame_log_sees_both_directions(bench: Bench) -> None:
    bench.bus.send(request(FIRST))
    bench.everything_by(10.1)
    assert [(by_controller, data[:2].hex()) for _, _, data, by_controller in bench.log] == [
        (True, "1205"),
        (False, "1405"),
    ]


def test_a_full_buffer_a_dead_link_and_a_cut_wire(bench: Bench) -> None:
    bench.bus.refuse_sends = 1
    with pytest.raises(can.CanOperationError) as refused:
        bench.bus.send(request(FIRST))
    assert refused.value.error_code == errno.ENOBUFS
    bench.bus.lose_sends = 1
    bench.bus.send(request(FIRST))
    bench.bus.cut = True
    bench.bus.send(request(FIRST))
    bench.bus.cut = False
    assert bench.everything_by(11.0) == []
    bench.bus.down = True
    with pytest.raises(can.CanOperationError):
        bench.bus.recv(0.0)
    with pytest.raises(can.CanOperationError):
        bench.bus.send(request(FIRST))
    bench.bus.down = False
    bench.bus.send(request(FIRST))
    assert len(bench.everything_by(12.0)) == 1


def test_modules_ignore_what_is_no_extended_data_frame_and_strangers_arrive(bench: Bench) -> None:
    bench.bus.send(can.Message(arbitration_id=0x204, data=READ_SERIAL, is_extended_id=False))
    bench.bus.send(can.Message(arbitration_id=FIRST, is_extended_id=True, is_remote_frame=True))
    assert bench.everything_by(11.0) == []
    stranger = can.Message(arbitration_id=0x0757_F801, is_extended_id=True)
    bench.bus.inject(stranger)
    assert bench.everything_by(11.0) == [stranger]


def test_the_modules_live_on_the_virtual_interface() -> None:
    channel = uuid.uuid4().hex
    face = VirtualCanFace(ModuleWire(Plant(seed=5).modules).answer, channel)
    face.start()
    with can.Bus(interface="virtual", channel=channel) as bus:
        bus.send(request(ALL))
        replies = [bus.recv(2.0) for _ in range(9)]
    assert face.stop()
    assert face.failure is None
    assert {reply.arbitration_id >> 14 & 0x7F for reply in replies if reply is not None} == set(range(1, 10))
