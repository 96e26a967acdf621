"""The socketcand server against python-can's own client, and against clients that misbehave."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import can
import pytest

from simulator.module_wire import ModuleWire
from simulator.plant import Plant
from simulator.socketcand import MAX_COMMAND, SocketcandServer

READ_SERIAL = bytes.fromhex("1205000000000000")
LIMIT_S = 2.0


@pytest.fixture
def server() -> Iterator[SocketcandServer]:
    server = SocketcandServer(ModuleWire(Plant(seed=5).modules, seed=5).answer)
    server.start()
    yield server
    server.stop()


def connect(server: SocketcandServer) -> can.BusABC:
    return can.Bus(interface="socketcand", channel="can0", host="127.0.0.1", port=server.port)


def request(can_id: int, data: bytes = READ_SERIAL) -> can.Message:
    return can.Message(arbitration_id=can_id, data=data, is_extended_id=True)


def receive(bus: can.BusABC) -> can.Message:
    """The next frame. python-can's client also wakes without one when a piece of text came, so ask again."""
    for _ in range(20):
        message = bus.recv(LIMIT_S / 20)
        if message is not None:
            return message
    raise AssertionError("no frame came")


def test_nine_modules_answer_a_python_can_client(server: SocketcandServer) -> None:
    with connect(server) as bus:
        bus.send(request(0x0220_0000))
        replies = [receive(bus) for _ in range(9)]
    assert {reply.arbitration_id >> 14 & 0x7F for reply in replies} == set(range(1, 10))
    assert all(reply.is_extended_id and reply.dlc == 8 and reply.data[:2].hex() == "1405" for reply in replies)


def test_many_frames_keep_their_order_and_none_is_lost(server: SocketcandServer) -> None:
    with connect(server) as bus:
        for volts in range(100):
            bus.send(request(0x0220_4000, bytes.fromhex("10020000") + (volts * 1000).to_bytes(4, "big")))
        echoes = [receive(bus) for _ in range(100)]
    values = sorted(int.from_bytes(echo.data[4:], "big") // 1000 for echo in echoes)
    assert values == list(range(100))
    assert all(echo.data[0] == 0x11 for echo in echoes)


def test_a_frame_of_one_client_is_seen_by_the_other_with_the_replies(server: SocketcandServer) -> None:
    with connect(server) as first, connect(server) as second:
        second.send(request(0x0220_4000))
        assert receive(second).arbitration_id >> 14 & 0x7F == 1
        first.send(request(0x0220_8000))  # having sent, it is told everything
        assert receive(first).arbitration_id >> 14 & 0x7F == 2
        assert receive(second).arbitration_id == 0x0220_8000
        assert receive(second).data[:2].hex() == "1405"


def test_standard_frames_pass_but_no_module_answers(server: SocketcandServer) -> None:
    with connect(server) as first, connect(server) as second:
        for bus in (first, second):  # both are listening once they got an answer
            bus.send(request(0x0220_4000))
        while receive(second).data[0] != 0x14:
            pass
        first.send(can.Message(arbitration_id=0x123, data=b"\x01\x02", is_extended_id=False))
        seen = receive(second)
        while seen.is_extended_id:
            seen = receive(second)
        assert (seen.arbitration_id, bytes(seen.data)) == (0x123, b"\x01\x02")


@pytest.mark.parametrize(
    "text",
    [
        "< send 02204000 8 12 >",
        "< send zz 1 0 >",
        "< send >",
        "< dance >",
        "<>",
        "< send 02204000 9 1 2 3 4 5 6 7 8 9 >",
    ],
)
def test_nonsense_is_counted_and_the_connection_lives(server: SocketcandServer, text: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), LIMIT_S) as client:
        assert client.recv(100) == b"< hi >"
        client.sendall(text.encode() + b"< echo >")
        assert client.recv(100) == b"< echo >"
    assert server.malformed == 1


def test_no_frame_before_raw_mode(server: SocketcandServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), LIMIT_S) as client:
        assert client.recv(100) == b"< hi >"
        client.sendall(b"< send 02204000 8 12 5 0 0 0 0 0 0 >< echo >")
        assert client.recv(100) == b"< echo >"
    assert (server.malformed, server.frames) == (1, 0)


def test_a_client_that_never_ends_its_command_is_dropped(server: SocketcandServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), LIMIT_S) as client:
        assert client.recv(100) == b"< hi >"
        client.sendall(b"<" + b"x" * (MAX_COMMAND + 1))
        assert client.recv(100) == b""


def test_a_cut_wire_is_silent_and_dropped_clients_may_come_back(server: SocketcandServer) -> None:
    with connect(server) as bus:
        server.cut = True
        bus.send(request(0x0220_4000))
        assert bus.recv(0.1) is None
        server.cut = False
        bus.send(request(0x0220_4000))
        assert receive(bus).data[0] == 0x14
    with connect(server) as bus:
        bus.send(request(0x0220_8000))
        assert receive(bus).data[0] == 0x14


def test_a_taken_port_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError):
        SocketcandServer(lambda *_: [], port=taken.getsockname()[1])
