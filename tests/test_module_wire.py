"""The simulated modules' side of the CAN wire against bytes typed by hand from the makers' tables."""

from __future__ import annotations

import pytest

from simulator.module_wire import Identity, ModuleWire
from simulator.plant import Plant
from simulator.power_module import PowerModule
from simulator.uugreen_dialect import STATUS_SHORT_CIRCUIT

#: Type plates whose replies carry identifiers seen on a real bus (modules 1 to 4).
PLATES = {
    1: Identity(serial=1449, day=17, month=6, year=2024),
    2: Identity(serial=0x073, day=17, month=6, year=2024),
    3: Identity(serial=0x06D, day=14, month=6, year=2024),
    4: Identity(serial=0x066, day=14, month=6, year=2024),
}


@pytest.fixture
def wire() -> ModuleWire:
    plant = Plant(seed=1, forget_share=0.0, meter_error=0.0)
    return ModuleWire(plant.modules, seed=1, identities=PLATES)


def ask(wire: ModuleWire, can_id: int, data: str, now_s: float = 100.0) -> list[tuple[str, str]]:
    replies = wire.answer(can_id, bytes.fromhex(data), now_s)
    assert all(0.001 <= delay_s <= 0.004 for delay_s, _, _ in replies)
    return [(f"{reply_id:08X}", reply.hex(" ").upper()) for _, reply_id, reply in replies]


def running(module: PowerModule, voltage_v: float, current_a: float = 0.0, constant_current: bool = False) -> None:
    """Put the circuit where the table's example has it."""
    module.on, module.starts_at_s = True, 0.0
    module._output_v, module.current_a, module.constant_current = voltage_v, current_a, constant_current


def test_real_identifiers_carry_production_day_and_serial(wire: ModuleWire) -> None:
    ids = [ask(wire, 0x0220_0000 | module << 14, "12 08 00 00 00 00 00 00")[0][0] for module in (1, 2, 3, 4)]
    assert ids == ["022063A9", "0220A273", "0220DC6D", "02211C66"]


@pytest.mark.parametrize(
    ("request_id", "request_data", "reply"),
    [
        (0x0220_4000, "12 05 00 00 00 00 00 00", ("022063A9", "14 05 29 55 06 1A 25 A9")),
        (0x0220_4000, "10 05 00 00 00 00 00 00", ("022063A9", "14 05 29 55 06 1A 25 A9")),
        (0x0220_4000, "10 02 00 00 00 07 41 9E", ("022063A9", "11 02 00 00 00 07 41 9E")),
        (0x0220_4000, "10 03 00 00 00 00 29 04", ("022063A9", "11 03 00 00 00 00 29 04")),
        (0x0220_4000, "10 04 00 00 00 00 00 00", ("022063A9", "11 04 00 00 00 00 00 00")),
        (0x0220_8000, "10 04 00 00 00 00 00 01", ("0220A273", "11 04 00 00 00 00 00 01")),
        (0x0220_4000, "10 59 00 00 00 00 00 02", ("022063A9", "21 59 00 00 00 00 00 02")),
        (0x0220_4000, "1B 00 00 69 12 61 12 93", ("022063A9", "1C 00 00 69 12 61 12 93")),
        (0x0220_4000, "12 60 00 00 00 00 00 00", ("022063A9", "13 60 00 00 00 00 00 01")),
        (0x0220_8000, "12 65 00 00 00 00 00 00", ("0220A273", "13 65 00 00 00 00 00 01")),
        (0x0220_4000, "12 08 00 00 00 00 00 00", ("022063A9", "13 08 00 00 02 00 00 00")),
        (0x0220_4000, "12 68 00 00 00 00 00 00", ("022063A9", "13 68 00 00 00 02 07 88")),
    ],
)
def test_a_module_that_is_off_answers(
    wire: ModuleWire, request_id: int, request_data: str, reply: tuple[str, str]
) -> None:
    assert ask(wire, request_id, request_data) == [reply]


@pytest.mark.parametrize(
    ("module", "voltage_v", "current_a", "command", "reply"),
    [
        (1, 543.321, 0.0, "00", "13 00 00 00 00 08 4A 59"),
        (2, 799.95, 0.0, "00", "13 00 00 00 00 0C 34 CE"),
        (1, 400.0, 0.0, "62", "13 62 00 00 00 06 1A 80"),
        (1, 400.0, 13.321, "01", "13 01 00 00 00 00 34 09"),
        (3, 400.0, 49.987, "01", "13 01 00 00 00 00 C3 43"),
        (2, 250.0, 133.0, "30", "13 30 00 00 00 02 07 88"),
        (3, 250.0, 12.0, "2F", "13 2F 00 00 00 00 2E E0"),
        (4, 250.0, 50.0, "72", "13 72 00 00 01 F4 05 32"),
        (4, 798.0, 0.0, "68", "13 68 00 00 00 00 C3 CD"),  # 40 kW at 798 V: 50.125 A
        (2, 500.0, 0.0, "08", "13 08 00 00 00 00 00 00"),
    ],
)
def test_readings_come_from_the_circuit(
    wire: ModuleWire, module: int, voltage_v: float, current_a: float, command: str, reply: str
) -> None:
    running(wire.board(module).module, voltage_v + 1e-7, current_a + 1e-7)
    assert ask(wire, 0x0220_0000 | module << 14, f"12 {command} 00 00 00 00 00 00")[0][1] == reply


def test_the_set_points_arrive_with_the_right_scale(wire: ModuleWire) -> None:
    module = wire.board(1).module
    ask(wire, 0x0220_4000, "10 02 00 00 00 07 41 9E")
    ask(wire, 0x0220_4000, "10 03 00 00 00 00 29 04")
    assert (module.set_v, module.set_a) == (475.55, 10.5)
    ask(wire, 0x0222_4000, "1B 80 01 F4 0F 6E 0F A0")
    module = wire.board(9).module
    assert (module.set_v, module.set_a, module.on, module.low_range) == (400.0, 50.0, True, False)
    ask(wire, 0x0222_4000, "1B C0 05 32 0B B8 0B EA")
    assert (module.set_v, module.set_a, module.on, module.low_range) == (305.0, 133.0, True, True)
    ask(wire, 0x0222_4000, "1B 01 00 00 00 00 00 00")
    assert not module.on


def test_status_bits(wire: ModuleWire) -> None:
    board = wire.board(3)
    running(board.module, 500.0, 40.0, constant_current=True)
    assert ask(wire, 0x0220_C000, "12 08 00 00 00 00 00 00") == [("0220DC6D", "13 08 00 00 08 00 00 00")]
    board.module.derate(60.0)
    assert ask(wire, 0x0220_C000, "12 08 00 00 00 00 00 00") == [("0220DC6D", "13 08 00 00 08 80 00 00")]
    board.heal()
    board.fail(STATUS_SHORT_CIRCUIT, 100.0)
    assert ask(wire, 0x0220_C000, "12 08 00 00 00 00 00 00") == [("0220DC6D", "13 08 00 00 42 00 00 00")]
    board.module.switch(True, 100.0)
    assert not board.module.on
    board.heal()
    board.module.switch(True, 100.0)
    assert ask(wire, 0x0220_C000, "12 08 00 00 00 00 00 00") == [("0220DC6D", "13 08 00 00 00 00 01 00")]  # starting


def test_broadcast_reads_are_answered_by_all_and_sets_by_none(wire: ModuleWire) -> None:
    replies = ask(wire, 0x0220_0000, "12 00 00 00 00 00 00 00")
    assert [int(reply_id, 16) >> 14 & 0x7F for reply_id, _ in replies] == list(range(1, 10))
    assert ask(wire, 0x0220_0000, "10 03 00 00 00 00 29 04") == []
    assert ask(wire, 0x0220_0000, "10 04 00 00 00 00 00 00") == []
    assert all(board.module.on and board.module.set_a == 10.5 for board in wire.boards)
    assert ask(wire, 0x0220_0000, "10 04 00 00 00 00 00 01") == []
    assert not any(board.module.on for board in wire.boards)


@pytest.mark.parametrize(
    ("can_id", "data"),
    [
        (0x0260_4000, "12 00 00 00 00 00 00 00"),  # monitor 3
        (0x0420_4000, "12 00 00 00 00 00 00 00"),  # protocol 2
        (0x0220_63A9, "13 00 00 00 00 08 4A 59"),  # a module's reply
        (0x0222_8000, "12 00 00 00 00 00 00 00"),  # module 10: nobody
        (0x0220_4000, "22 00 00 00 00 00 00 00"),  # group 2
        (0x0220_4000, "12 00 00"),
        (0x0220_4000, "12 F0 00 00 00 00 00 00"),  # unknown register
        (0x0220_4000, "10 F0 00 00 00 00 00 00"),
    ],
)
def test_what_is_no_request_to_a_module_gets_no_answer(wire: ModuleWire, can_id: int, data: str) -> None:
    assert ask(wire, can_id, data) == []


def test_group_0_and_the_own_group_are_heard(wire: ModuleWire) -> None:
    assert ask(wire, 0x0220_4000, "00 02 00 00 00 07 A1 20") == [("022063A9", "11 02 00 00 00 07 A1 20")]
    assert wire.board(1).module.set_v == 500.0


def test_the_range_is_changed_only_while_off(wire: ModuleWire) -> None:
    ask(wire, 0x0220_4000, "10 5F 00 00 00 00 00 02")
    assert ask(wire, 0x0220_4000, "12 60 00 00 00 00 00 00")[0][1] == "13 60 00 00 00 00 00 02"
    ask(wire, 0x0220_4000, "10 04 00 00 00 00 00 00")
    ask(wire, 0x0220_4000, "10 5F 00 00 00 00 00 01")
    assert ask(wire, 0x0220_4000, "12 60 00 00 00 00 00 00")[0][1] == "13 60 00 00 00 00 00 02"


def test_a_mute_module_obeys_a_deaf_one_does_not(wire: ModuleWire) -> None:
    wire.board(1).muted = True
    wire.board(2).deaf = True
    assert ask(wire, 0x0220_4000, "10 04 00 00 00 00 00 00") == []
    assert ask(wire, 0x0220_8000, "10 04 00 00 00 00 00 00") == []
    assert wire.board(1).module.on
    assert not wire.board(2).module.on
    assert len(ask(wire, 0x0220_0000, "12 00 00 00 00 00 00 00")) == 7


def test_modules_that_do_not_obey_still_echo(wire: ModuleWire) -> None:
    module = wire.board(1).module
    module.switch(True, 0.0)
    module.ignores_off = module.ignores_set_points = True
    assert ask(wire, 0x0220_4000, "10 04 00 00 00 00 00 01") == [("022063A9", "11 04 00 00 00 00 00 01")]
    assert ask(wire, 0x0220_4000, "10 03 00 00 00 00 29 04") == [("022063A9", "11 03 00 00 00 00 29 04")]
    assert module.on
    assert module.set_a == 0.0


def test_a_reboot_forgets_everything_and_is_silent_for_a_while(wire: ModuleWire) -> None:
    board = wire.board(1)
    board.module.set_current(40.0)
    board.module.switch(True, 0.0)
    board.reboot(100.0)
    assert not board.module.on
    assert board.module.set_a == 0.0
    assert ask(wire, 0x0220_4000, "12 00 00 00 00 00 00 00", now_s=101.0) == []
    assert len(ask(wire, 0x0220_4000, "12 00 00 00 00 00 00 00", now_s=101.3)) == 1


def test_frozen_readings_stay_while_the_circuit_moves(wire: ModuleWire) -> None:
    board = wire.board(1)
    running(board.module, 400.0, 10.0)
    board.freeze(100.0)
    running(board.module, 500.0, 60.0)
    assert ask(wire, 0x0220_4000, "12 62 00 00 00 00 00 00")[0][1] == "13 62 00 00 00 06 1A 80"


def test_a_duplicate_address_shows_a_second_serial(wire: ModuleWire) -> None:
    wire.add_duplicate(4)
    replies = ask(wire, 0x0221_0000, "12 05 00 00 00 00 00 00")
    assert len(replies) == 2
    assert len({data for _, data in replies}) == 2
    assert {int(reply_id, 16) >> 14 & 0x7F for reply_id, _ in replies} == {4}
    assert len(ask(wire, 0x0220_0000, "12 05 00 00 00 00 00 00")) == 10
