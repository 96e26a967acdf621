"""Orders, proofs and faults of the modules, on a simulated wire in virtual time."""

from __future__ import annotations

import itertools
import logging
import math
import threading
from collections.abc import Callable, Iterator

import can
import pytest
from can import Message
from fake_module import BASE, FRAME_S, OFF_BIT, Bench, FakeModule, settings_for

from planning.can_link import BUS_OFFS
from planning.model import OFF_ORDER, ModuleOrder, ModuleState
from planning.module_view import Doubt
from planning.settings import Can
from power_module_controller import PowerModuleController, open_can_bus
from simulator.module_wire import ModuleWire
from simulator.plant import Plant
from simulator.socketcand import SocketcandServer
from worker import SystemClock

ON = ModuleOrder(on=True, voltage_v=400.0, current_a=50.0)


def nine(**same: float) -> list[FakeModule]:
    return [FakeModule(number, identity=0x200 + number, number=number, **same) for number in range(1, 10)]  # type: ignore[arg-type]


@pytest.fixture
def one() -> Bench:
    """One module, heard and off."""
    return Bench([FakeModule(1)]).ready()


def running(bench: Bench, order: ModuleOrder = ON) -> Bench:
    for module in bench.modules:
        bench.orders[module.address - 1] = order
    bench.run(1.5)
    assert all(module.on for module in bench.modules)
    return bench


def sets(bench: Bench, since_s: float, module: int = 1) -> list[tuple[int, int]]:
    """(command, value) of what was set at one module."""
    return [(f.command, f.value) for f in bench.ours(since_s) if f.module == module and f.kind == 0]


# --- start and stop -------------------------------------------------------------------------------------------------


def test_the_first_frames_on_a_new_link_are_off_to_all() -> None:
    bench = Bench(nine()).open()
    bench.run(0.05)
    first = bench.ours()[:6]
    assert [(f.module, f.kind, f.command, f.value) for f in first] == [(0, 0, 4, 1)] * 6
    assert {f.data[0] >> 4 for f in first} == {0, 1}


def test_every_module_is_told_off_and_introduced(one: Bench) -> None:
    status = one.status()
    assert status.state is ModuleState.OFF and status.on is False
    assert status.serial == "240617-0-1449" and status.low_range is False and status.available_a == 133.0
    assert status.off_echo_at_s is not None and status.on_asked_at_s is not None
    assert status.on_asked_at_s < (status.on_at_s or 0.0)


def test_start_is_voltage_current_on_and_both_again_after_the_echo(one: Bench) -> None:
    start_s = one.now_s
    running(one)
    assert sets(one, start_s)[:5] == [(2, 400_000), (3, 50_000), (4, 0), (2, 400_000), (3, 50_000)]
    assert (one.modules[0].volts, one.modules[0].amps) == (400.0, 50.0)
    status = one.status()
    assert status.state is ModuleState.ON and status.set_on and status.set_current_a == 50.0


def test_no_start_before_the_module_shows_off() -> None:
    bench = Bench([FakeModule(1, on=True, deaf_to=frozenset({4}))]).open()
    bench.orders[0] = ON
    bench.run(3.0)
    assert all(value == 1 for command, value in sets(bench, 0.0) if command == 4)
    assert not any(command in (2, 3) for command, _ in sets(bench, 0.0))


def test_only_what_changed_is_sent_and_lower_at_once(one: Bench) -> None:
    running(one)
    start_s = one.now_s
    one.order(1, ModuleOrder(True, 400.0, 30.0))
    assert one.run_until(lambda: one.modules[0].amps == 30.0, 0.03)
    assert sets(one, start_s) == [(3, 30_000)]
    one.run(0.2)
    start_s = one.now_s
    one.order(1, ModuleOrder(True, 420.5555, 30.0))
    one.run(0.3)
    assert sets(one, start_s)[0] == (2, 420_555)


def test_lower_goes_before_higher_of_one_apply() -> None:
    bench = running(Bench(nine()).ready())
    start_s = bench.now_s
    bench.orders = [ModuleOrder(True, 400.0, 60.0)] * 5 + [ModuleOrder(True, 400.0, 20.0)] * 4
    bench.run(0.3)
    values = [f.value for f in bench.ours(start_s) if f.kind == 0 and f.command == 3]
    assert values[:4] == [20_000] * 4 and set(values[4:9]) == {60_000}


def test_a_quick_off_and_on_waits_for_a_new_proof_of_off(one: Bench) -> None:
    one.orders[0] = ON
    assert one.run_until(lambda: one.modules[0].on, 1.0)
    off_s = one.now_s
    one.order(1, OFF_ORDER)
    one.run(0.03)
    one.order(1, ON)
    one.run(1.5)
    on_s = next(f.at_s for f in one.ours(off_s) if f.module == 1 and f.command == 4 and f.value == 0)
    asked = [f.at_s for f in one.ours(off_s) if f.module == 0 and f.kind == 2 and f.command == 8]
    assert on_s > min(asked)


def test_nothing_of_a_module_leaves_after_its_off() -> None:
    bench = running(Bench(nine()).ready())
    bench.orders = [ModuleOrder(True, 450.0, 90.0)] * 9
    bench.controller.apply(bench.orders, bench.now_s)
    bench.run(0.012)
    bench.orders = [OFF_ORDER] * 9
    start_s = bench.now_s
    bench.run(0.2)
    later = [f for f in bench.ours(start_s) if f.module and f.kind == 0 and f.command != 4]
    assert len([f for f in later if f.value != 0]) <= 2, "only what the kernel had"
    for module in range(1, 10):
        own = [f.command for f in later if f.module == module and f.value == 0]
        assert own == [3], "its set-point goes to 0 once, before its OFF"


def test_lower_does_not_wait_for_the_pace_of_raising(one: Bench) -> None:
    running(one)
    one.order(1, ModuleOrder(True, 400.0, 60.0))
    assert one.run_until(lambda: one.modules[0].amps == 60.0, 0.2)
    one.order(1, ModuleOrder(True, 400.0, 30.0))
    assert one.run_until(lambda: one.modules[0].amps == 30.0, 0.03)


def test_setpoints_are_refreshed_although_unchanged(one: Bench) -> None:
    running(one)
    start_s = one.now_s
    one.run(10.0)
    count = len([1 for command, _ in sets(one, start_s) if command == 3])
    assert 4 <= count <= 6


def test_a_setpoint_without_echo_is_sent_again_soon(one: Bench) -> None:
    running(one)
    one.modules[0].deaf_to = frozenset({3})
    start_s = one.now_s
    one.order(1, ModuleOrder(True, 400.0, 30.0))
    one.run(1.2)
    assert len([1 for command, _ in sets(one, start_s) if command == 3]) >= 3


def test_off_flushes_the_setpoints_of_its_module(one: Bench) -> None:
    running(one)
    one.order(1, ModuleOrder(True, 500.0, 80.0))
    start_s = one.now_s
    one.order(1, OFF_ORDER)
    one.run(1.0)
    assert sets(one, start_s)[:2] == [(3, 0), (4, 1)], "rule 7.3: set-point to 0, then OFF"
    assert {command for command, _ in sets(one, start_s)[1:]} == {4}
    assert not one.status().set_on


def test_an_emergency_order_is_off_without_any_set_point_before(one: Bench) -> None:
    running(one)
    start_s = one.now_s
    one.controller.off_now((1,), one.now_s)
    one.run(1.0)
    assert {command for command, _ in sets(one, start_s)} == {4}


def test_off_is_repeated_until_confirmed_then_kept_alive(one: Bench) -> None:
    running(one)
    one.modules[0].deaf_to = frozenset({4})
    start_s = one.now_s
    one.order(1, OFF_ORDER)
    one.run(2.0)
    assert 9 <= len(sets(one, start_s)) <= 11
    one.modules[0].deaf_to = frozenset()
    one.run(1.0)
    start_s = one.now_s
    one.run(30.0)
    assert 2 <= len(sets(one, start_s)) <= 4


def test_orders_that_are_not_renewed_count_as_off(one: Bench) -> None:
    running(one)
    one.renew = False
    assert one.run_until(lambda: not one.modules[0].on, 0.6)
    one.renew = True
    one.run(2.0)
    assert one.modules[0].on, "a renewed order counts again"


@pytest.mark.parametrize("bad", [ModuleOrder(True, math.nan, 10.0), ModuleOrder(True, 400.0, -1.0)])
def test_an_order_that_makes_no_sense_is_off(one: Bench, bad: ModuleOrder) -> None:
    running(one)
    one.order(1, bad)
    one.run(0.2)
    assert not one.modules[0].on and one.controller.refused_orders >= 1


def test_orders_are_cut_to_the_nameplate(one: Bench) -> None:
    running(one, ModuleOrder(True, 1200.0, 500.0))
    assert (one.modules[0].volts, one.modules[0].amps) == (1000.0, 133.0)


def test_a_module_that_does_not_start_is_barred_until_ordered_off(one: Bench, caplog: pytest.LogCaptureFixture) -> None:
    one.modules[0].deaf_to = frozenset({4})
    one.modules[0].raw = {8: OFF_BIT}
    one.orders[0] = ON
    with caplog.at_level(logging.WARNING):
        one.run(9.5)
    assert "did not start" in caplog.text
    one.modules[0].deaf_to, one.modules[0].raw = frozenset(), {}
    one.run(3.0)
    assert not one.modules[0].on
    one.order(1, OFF_ORDER)
    one.order(1, ON)
    one.run(2.0)
    assert one.modules[0].on


# --- emergency ------------------------------------------------------------------------------------------------------


def test_emergency_order_for_all() -> None:
    bench = running(Bench(nine()).ready())
    start_s = bench.now_s
    bench.controller.off_now(None, start_s)
    assert bench.run_until(lambda: not any(module.on for module in bench.modules), 0.02)
    bench.run(0.1)
    offs = [f for f in bench.ours(start_s) if f.command == 4]
    assert [f.module for f in offs[:6]] == [0] * 6 and {f.module for f in offs} == set(range(10))
    bench.run(2.0)
    assert not any(module.on for module in bench.modules), "the stale order ON must not undo it"
    bench.orders = [OFF_ORDER] * 9
    bench.run(0.1)
    bench.orders = [ON] * 9
    bench.run(2.0)
    assert all(module.on for module in bench.modules)


def test_emergency_order_for_one_gun_is_addressed_only() -> None:
    bench = running(Bench(nine()).ready())
    start_s = bench.now_s
    bench.controller.off_now((2, 3), start_s)
    bench.run(1.0)
    assert {f.module for f in bench.ours(start_s) if f.command == 4} == {2, 3}
    assert [module.address for module in bench.modules if not module.on] == [2, 3]


def test_emergency_off_each_100_ms_until_confirmed(one: Bench) -> None:
    running(one)
    one.modules[0].deaf_to = frozenset({4})
    start_s = one.now_s
    one.controller.off_now((1,), start_s)
    one.run(1.0)
    assert 9 <= len(sets(one, start_s)) <= 12


def test_off_overtakes_a_full_queue_within_20_ms() -> None:
    bench = running(Bench(nine()).ready())
    bench.orders = [ModuleOrder(True, 410.0, 55.0)] * 9
    bench.controller.apply(bench.orders, bench.now_s)
    for number in range(200):
        bench.controller._put_read(  # as many reads as no schedule would ask
            bench.controller._slots[0].make,
            number % 9 + 1,
            bench.controller._slots[0].make.reads.round[0],
            number,
            (1,),
        )
    start_s = bench.now_s
    bench.controller.off_now((9,), start_s)
    assert bench.run_until(lambda: not bench.modules[8].on, 0.02)


def test_no_more_than_five_frames_wait_in_the_kernel() -> None:
    bench = running(Bench(nine()).ready())
    bench.bus.most_waiting = 0
    bench.controller.off_now(None, bench.now_s)
    bench.run(0.5)
    assert 1 <= bench.bus.most_waiting <= 5


# --- silence, return, restart ---------------------------------------------------------------------------------------


def test_a_silent_module_is_told_off_as_long_as_it_might_be_on(one: Bench) -> None:
    running(one)
    one.modules[0].alive = False
    one.run(2.0)
    assert one.status().state is ModuleState.SILENT
    start_s = one.now_s
    one.run(2.0)
    assert 9 <= len(sets(one, start_s)) <= 11
    last_on_s = one.status().last_on_at_s
    assert last_on_s is not None and one.now_s - last_on_s < 0.1
    one.modules[0].alive = True
    one.run(2.0)
    assert one.modules[0].on, "it showed off and was started again"


def test_a_module_that_was_off_when_it_fell_silent_is_left_alone(one: Bench) -> None:
    one.modules[0].alive = False
    one.run(2.0)
    start_s = one.now_s
    one.run(5.0)
    assert one.status().state is ModuleState.SILENT and len(sets(one, start_s)) <= 1


def test_a_module_never_heard_is_unheard_and_told_off() -> None:
    bench = Bench([FakeModule(1, alive=False)]).open()
    bench.run(5.0)
    assert bench.status().state is ModuleState.UNHEARD
    assert len(sets(bench, bench.now_s - 1.0)) >= 1


def test_a_restart_in_mid_charge_is_counted_and_not_undone(one: Bench) -> None:
    running(one)
    one.modules[0].power_cycle()
    one.run(2.0)
    assert one.status().resets == 1 and not one.modules[0].on
    assert one.status().state is ModuleState.OFF and not one.status().set_on


def test_a_trip_with_a_fault_is_no_restart(one: Bench) -> None:
    running(one)
    one.modules[0].power_cycle()
    one.modules[0].status_bits = 1 << 7
    one.run(2.0)
    status = one.status()
    assert status.resets == 0 and status.state is ModuleState.FAULT and status.alarms == ("dc_ov_shutdown",)


def test_one_faulty_status_word_is_not_believed(one: Bench) -> None:
    seen = one.status().on_at_s
    one.modules[0].status_bits = 1 << 9
    assert one.run_until(lambda: one.status().on_at_s != seen, 1.0)
    one.modules[0].status_bits = 0
    assert one.status().state is ModuleState.OFF
    one.run(1.5)
    assert one.status().alarms == ()


def test_a_module_in_fault_is_not_started(one: Bench) -> None:
    one.modules[0].status_bits = 1 << 30
    one.run(1.5)
    one.orders[0] = ON
    one.run(2.0)
    assert not one.modules[0].on and one.status().alarms == ("short_shutdown",)


# --- who answers ----------------------------------------------------------------------------------------------------


def test_two_modules_at_one_address_are_refused() -> None:
    bench = Bench([FakeModule(1, identity=0x111), FakeModule(1, identity=0x222, number=7)], numbers=[1]).open()
    bench.orders[0] = ON
    bench.run(3.0)
    assert bench.status().state is ModuleState.REFUSED
    assert not any(module.on for module in bench.modules)
    assert all(value == 1 for command, value in sets(bench, 0.0) if command == 4)


def test_a_twin_that_appears_in_mid_charge_ends_it(one: Bench) -> None:
    running(one)
    one.modules.append(FakeModule(1, identity=0x222, number=7))
    one.run(2.0)
    assert one.status().state is ModuleState.REFUSED and not one.modules[0].on


def test_same_serial_bit_is_refused(one: Bench) -> None:
    one.modules[0].status_bits = 1 << 29
    one.run(1.5)
    assert one.status().state is ModuleState.REFUSED


def test_another_serial_with_the_same_identity_is_refused(one: Bench) -> None:
    one.modules[0].number = 1450
    one.run(25.0)
    assert one.status().state is ModuleState.REFUSED


def test_a_strange_identity_does_not_count_as_the_modules_word(one: Bench) -> None:
    one.run_until(lambda: not one._pending, 1.0)
    slot = one.controller._slots[0]
    slot.view._asked.clear()
    slot.view.asked(slot.make.reads.round[1], one.now_s)
    one.deliver(Message(arbitration_id=BASE | 1 << 14 | 0x155, data=VOLTS_900))
    assert one.status().voltage_v == 0.0 and slot.view.counts[Doubt.SECOND_IDENTITY] == 1


def test_a_module_exchanged_while_silent_is_accepted(one: Bench, caplog: pytest.LogCaptureFixture) -> None:
    one.modules[0].alive = False
    one.run(11.0)
    one.modules[:] = [FakeModule(1, identity=0x333, number=77)]
    with caplog.at_level(logging.INFO):
        one.run(2.0)
    assert one.status().state is ModuleState.OFF and one.status().serial == "240617-0-0077"
    assert "was exchanged" in caplog.text


def test_a_configured_stranger_is_counted_by_address(one: Bench) -> None:
    one.modules.append(FakeModule(5, identity=0x55))
    one.run(2.0)
    assert one.controller.strangers.unconfigured[5] > 5
    assert one.controller.can_status().foreign == one.controller.strangers.frames
    assert one.status().state is ModuleState.OFF


def test_a_second_controller_is_seen(one: Bench, caplog: pytest.LogCaptureFixture) -> None:
    assert not one.controller.can_status().second_controller
    one.deliver(Message(arbitration_id=BASE | 1 << 14, data=bytes((0x12, 8, 0, 0, 0, 0, 0, 0)), is_extended_id=True))
    assert one.controller.can_status().second_controller
    assert "second controller" in caplog.text


# --- bad frames (B55 to B68) ----------------------------------------------------------------------------------------

ID = BASE | 1 << 14 | 0x23A9
VOLTS_900 = bytes((3, 98, 0, 0)) + (900_000).to_bytes(4, "big")


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(Message(arbitration_id=ID & 0x7FF, data=VOLTS_900, is_extended_id=False), id="B55-11-bit"),
        pytest.param(Message(arbitration_id=ID, data=VOLTS_900, is_extended_id=False), id="B55-flag-lost"),
        pytest.param(Message(arbitration_id=ID, is_remote_frame=True, dlc=8, is_extended_id=True), id="B56-remote"),
        pytest.param(Message(arbitration_id=ID, data=VOLTS_900, is_error_frame=True), id="B56-error"),
        *(pytest.param(Message(arbitration_id=ID, data=VOLTS_900[:n]), id=f"B57-dlc-{n}") for n in range(8)),
        pytest.param(Message(arbitration_id=ID, data=VOLTS_900 + b"\0"), id="B57-nine-bytes"),
        pytest.param(Message(arbitration_id=ID, data=VOLTS_900, dlc=4), id="B57-dlc-disagrees"),
        pytest.param(Message(arbitration_id=ID, data=VOLTS_900, is_fd=True), id="B58-fd"),
        pytest.param(Message(arbitration_id=ID, data=bytes((3, 200, 0, 0, 0, 0, 0, 0))), id="B59-unknown-command"),
        pytest.param(Message(arbitration_id=ID, data=bytes((9, 98, 0, 0, 0, 0, 0, 0))), id="B59-unknown-type"),
    ],
)
def test_bad_frames_are_counted_and_change_nothing(one: Bench, message: Message) -> None:
    before, rejected = one.status(), one.controller.can_status().rejected
    one.controller._slots[0].view.asked(one.controller._slots[0].make.reads.round[1], one.now_s)
    one.deliver(message)
    assert one.status() == before
    assert one.controller.can_status().rejected == rejected + 1


def test_an_answer_to_no_question_is_heard_but_not_used(one: Bench) -> None:
    before = one.status()
    one.run_until(lambda: not one._pending, 1.0)
    one.run(0.13)
    one.controller._slots[0].view._asked.clear()
    one.deliver(Message(arbitration_id=ID, data=VOLTS_900))
    after = one.status()
    assert after.voltage_v == before.voltage_v and after.heard_at_s == one.now_s
    assert one.controller._slots[0].view.counts[Doubt.UNASKED] == 1


def test_answers_that_come_a_cycle_late_are_not_used(one: Bench) -> None:
    one.modules[0].reply_delay_s = 0.3
    one.run(1.0)
    seen = one.status().voltage_at_s
    one.run(3.0)
    assert one.status().voltage_at_s == seen and one.status().state is ModuleState.OFF


def test_answers_that_lay_in_the_socket_while_we_stalled_are_no_second_module(one: Bench) -> None:
    """Late answers meet those of the next question: two at once, and yet from one module."""
    timely_s = one.modules[0].reply_delay_s
    for _ in range(8):
        one.modules[0].reply_delay_s = 0.55
        one.run(0.5)
        one.modules[0].reply_delay_s = timely_s
        one.run(0.6)
    assert one.controller._slots[0].view.counts[Doubt.UNASKED] > 3
    assert one.status().state is ModuleState.OFF


@pytest.mark.parametrize("word", [0xFFFF_FFFF, 1_200_001, 0x8000_0000])
def test_impossible_voltages_are_not_used(one: Bench, word: int) -> None:
    one.modules[0].raw = {98: word}
    seen = one.status().voltage_at_s
    one.run(2.0)
    assert one.status().voltage_v == 0.0
    assert (one.status().voltage_at_s or 0.0) <= (seen or 0.0) + 0.01
    assert one.controller._slots[0].view.counts[Doubt.IMPLAUSIBLE] >= 3


def test_impossible_currents_are_not_used(one: Bench) -> None:
    one.modules[0].raw = {114: 2000 << 16 | 0xFFFF}
    one.run(2.0)
    assert one.status().current_a == 0.0 and one.status().available_a == 133.0


def test_a_module_that_says_off_but_delivers_is_told(one: Bench) -> None:
    one.modules[0].raw = {114: 300 << 16 | 1330}
    one.run(1.0)
    status = one.status()
    assert "off_but_delivers" in status.warnings
    assert status.last_on_at_s is not None and one.now_s - status.last_on_at_s < 0.6


def test_more_power_than_the_nameplate_is_told(one: Bench) -> None:
    running(one, ModuleOrder(True, 900.0, 100.0))
    one.modules[0].raw = {114: 1000 << 16 | 1330}
    one.run(1.5)
    assert "power_above_nameplate" in one.status().warnings


def test_frozen_readings_are_told(one: Bench) -> None:
    running(one)
    one.modules[0].raw = {98: 400_000, 114: 100 << 16 | 1330}
    one.run(1.0)
    one.orders[0] = ModuleOrder(True, 450.0, 80.0)
    one.run(55.0)
    assert "readings_frozen" not in one.status().warnings
    one.run(10.0)
    assert "readings_frozen" in one.status().warnings


def test_all_status_bits_set_is_a_fault(one: Bench) -> None:
    one.modules[0].raw = {8: 0xFFFF_FFFF & ~(1 << 29)}
    one.run(1.5)
    assert one.status().state is ModuleState.FAULT


def test_a_bus_full_of_strangers_does_not_deafen(one: Bench, caplog: pytest.LogCaptureFixture) -> None:
    for n in range(1500):
        one.offer(one.now_s + n * FRAME_S, 0x0757F800 + n % 7, bytes(8))
    one.run(1.9)
    assert one.status().state is ModuleState.OFF
    assert "60 %" in caplog.text and one.controller.can_status().foreign > 1000


def test_bus_off_is_counted_and_latched(one: Bench, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(BUS_OFFS):
        one.deliver(Message(arbitration_id=0x40, is_error_frame=True, data=bytes(8)))
    assert one.controller.strangers.errors["bus off"] == 3
    assert "went off three times" in caplog.text


# --- range ----------------------------------------------------------------------------------------------------------


def test_range_is_read_first_and_written_only_when_it_differs(one: Bench) -> None:
    module = one.modules[0]
    running(one, ModuleOrder(True, 400.0, 50.0, low_range=False))
    assert module.range_writes == 0
    one.orders[0] = OFF_ORDER
    one.run(2.0)
    start_s = one.now_s
    running(one, ModuleOrder(True, 400.0, 50.0, low_range=True))
    assert module.range_writes == 1 and module.range_code == 2 and one.status().low_range is True
    commands = [command for command, _ in sets(one, start_s)]
    assert commands.index(95) < commands.index(4)


def test_range_never_changes_while_on(one: Bench) -> None:
    running(one)
    one.orders[0] = ModuleOrder(True, 400.0, 50.0, low_range=True)
    one.run(5.0)
    assert one.modules[0].range_writes == 0 and one.modules[0].on


def test_a_range_that_does_not_take_is_written_three_times_at_most(one: Bench) -> None:
    one.modules[0].raw = {101: 1}
    one.orders[0] = ModuleOrder(True, 400.0, 50.0, low_range=True)
    one.run(20.0)
    assert one.modules[0].range_writes == 3 and not one.modules[0].on


def test_low_range_cuts_the_voltage(one: Bench) -> None:
    one.orders[0] = ModuleOrder(True, 700.0, 50.0, low_range=True)
    one.run(2.0)
    assert one.modules[0].volts == 500.0


# --- load and rates -------------------------------------------------------------------------------------------------


def test_load_stays_within_its_limits_with_nine_busy_modules() -> None:
    bench = running(Bench(nine()).ready())
    bench.controller.watch((1, 2))
    worst_1s = worst_10s = 0.0
    for step in range(300):
        amps = 50.0 + step % 60 * 1.1
        bench.orders = [ModuleOrder(True, 400.0 + step % 7 * 3.0, amps)] * 9
        bench.run(0.1)
        status = bench.controller.can_status()
        worst_1s, worst_10s = max(worst_1s, status.load_1s_pct), max(worst_10s, status.load_10s_pct)
    assert 10.0 < worst_10s <= 20.0 and worst_1s <= 30.0
    on_wire = [f for f in bench.wire if f.at_s > bench.now_s - 10.0]
    assert len(on_wire) * 150 / 10.0 / 125_000 <= 0.20


def test_every_reading_comes_each_500_ms_and_watched_ones_each_100_ms() -> None:
    bench = Bench(nine()).ready()
    bench.controller.watch((3, 4, 5))
    bench.run(0.2)
    times: dict[int, set[float]] = {3: set(), 4: set(), 5: set()}
    for _ in range(200):
        bench.run(0.01)
        for number, seen in times.items():
            seen.add(bench.status(number).current_at_s or 0.0)
    assert len(times[3]) >= 20 and len(times[4]) >= 20, "watched: 2 s at 100 ms, and the round"
    assert 4 <= len(times[5]) <= 6, "a third module is not watched"


def test_two_are_watched_at_the_full_rate_while_nine_deliver() -> None:
    bench = running(Bench(nine()).ready())
    bench.run(10.0)
    bench.controller.watch((8, 9))
    bench.run(12.0)
    start_s = bench.now_s
    bench.run(10.0)
    for number in (8, 9):
        reads = [f for f in bench.ours(start_s) if f.module == number and f.kind == 2 and f.command == 48]
        assert len(reads) >= 95
    assert bench.controller.can_status().load_10s_pct <= 20.0


def test_previous_readings_are_kept(one: Bench) -> None:
    running(one)
    one.order(1, ModuleOrder(True, 410.0, 50.0))
    one.run_until(lambda: one.status().voltage_v == 410.0, 2.0)
    assert one.status().voltage_before_v == 400.0
    assert (one.status().voltage_before_at_s or 0.0) < (one.status().voltage_at_s or 0.0)


# --- the link -------------------------------------------------------------------------------------------------------


def test_enobufs_is_retried_each_2_ms_and_nothing_is_lost(one: Bench) -> None:
    one.bus.full_until_s = one.now_s + 0.03
    one.orders[0] = ON
    one.run(1.5)
    assert one.modules[0].on and one.controller.can_status().send_failures == 0


def test_a_kernel_queue_full_for_50_ms_is_counted_and_told(one: Bench, caplog: pytest.LogCaptureFixture) -> None:
    running(one)
    one.bus.full_until_s = one.now_s + 0.2
    one.order(1, OFF_ORDER)
    assert one.run_until(lambda: not one.modules[0].on, 0.25), "an OFF that was given up is queued again"
    assert one.controller.can_status().send_failures >= 1 and "takes no frames" in caplog.text


def test_a_full_buffer_told_without_a_code_is_no_broken_link(one: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    send, full_until_s = one.bus.send, one.now_s + 0.03

    def full(message: Message, timeout: float | None = None) -> None:
        if one.now_s < full_until_s:
            raise can.CanOperationError("Transmit buffer full")
        send(message, timeout)

    monkeypatch.setattr(one.bus, "send", full)
    one.orders[0] = ON
    one.run(1.5)
    assert one.modules[0].on and one.controller.can_status().send_failures == 0


@pytest.mark.parametrize("use", ["send", "recv"])
def test_a_socket_closed_by_the_other_thread_is_a_broken_link(
    one: Bench, monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    def closed(*_: object) -> None:
        raise ValueError("file descriptor cannot be a negative integer (-1)")

    monkeypatch.setattr(one.bus, use, closed)
    one.order(1, ON)
    if use == "send":
        one.run(0.1)
    else:
        one.controller.step_rx(one.now_s)
    assert not one.controller.can_status().up


def test_the_failure_of_a_replaced_bus_leaves_the_new_one_alone(one: Bench) -> None:
    old = one.bus
    one.watch_link = old.broken = True
    one.run(2.1)
    assert len(one.opened) == 2
    one.controller._link_failed(old, "sending failed")
    assert one.controller.can_status().up


def test_off_goes_to_all_three_times_without_a_living_sender(one: Bench) -> None:
    running(one)
    assert not one.controller.sends(one.now_s, 0.3)
    start_s = one.now_s
    one.controller.off_by_hand()
    one.run(0.05)
    frames = [(f.module, f.command, f.value) for f in one.ours(start_s)]
    assert frames.count((0, 4, 1)) == 6 and not one.modules[0].on
    one.bus.broken = True
    one.controller.off_by_hand()  # a dead link must not keep the contactors from opening


def test_a_broken_link_is_opened_anew_and_starts_with_off(one: Bench) -> None:
    running(one)
    one.watch_link = True
    one.bus.broken = True
    one.run(0.6)
    assert not one.controller.can_status().up
    start_s = one.now_s
    one.run(1.5)
    assert len(one.opened) == 2 and one.controller.can_status().up
    assert [(f.module, f.command, f.value) for f in one.ours(start_s)[:6]] == [(0, 4, 1)] * 6


def test_a_link_that_stays_shut_is_tried_with_back_off(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench([FakeModule(1)])
    attempts: list[float] = []
    bench.refuse_open = OSError("No such device")
    opener = bench.controller._open_bus

    def count() -> can.BusABC:
        attempts.append(bench.now_s)
        return opener()

    bench.controller._open_bus = count
    bench.watch_link = True
    bench.run(60.0)
    pauses = [round(b - a) for a, b in itertools.pairwise(attempts)]
    assert pauses[:5] == [1, 2, 4, 8, 15] and max(pauses) == 15
    assert caplog.text.count("cannot be opened") == 1
    bench.refuse_open = None
    bench.run(20.0)
    assert bench.status().state is ModuleState.OFF


def test_a_silent_link_is_opened_anew(one: Bench) -> None:
    one.watch_link = True
    one.modules[0].alive = False
    one.run(4.5)
    assert len(one.opened) >= 2


def test_unknown_socketcand_host_is_told_at_once() -> None:
    with pytest.raises(OSError):
        open_can_bus(Can("socketcand", "can0", options={"host": "127.0.0.1", "port": "9"}))


# --- makes ----------------------------------------------------------------------------------------------------------


def test_two_makes_that_share_their_frames_are_asked_once() -> None:
    bench = Bench(nine(), protocols={2: "maxwell_enr"})
    bench.modules[1].raw = {8: OFF_BIT | 1 << 30}  # reserved on this make
    bench.modules[2].raw = {8: OFF_BIT | 1 << 30}
    bench.ready()
    start_s = bench.now_s
    bench.run(5.0)
    reads = [f for f in bench.ours(start_s) if f.module == 0 and f.kind == 2 and f.command == 8]
    assert len(reads) == 10
    assert bench.status(2).state is ModuleState.OFF and bench.status(3).state is ModuleState.FAULT


def test_a_disabled_module_is_never_switched_on() -> None:
    bench = Bench([FakeModule(1)], enabled=False).ready()
    bench.orders[0] = ON
    bench.run(2.0)
    assert not bench.modules[0].on and bench.status().state is ModuleState.DISABLED


# --- with real threads ----------------------------------------------------------------------------------------------


@pytest.fixture
def echo_modules() -> Iterator[str]:
    """A module at address 1 on python-can's virtual bus, answering on a thread of its own."""
    channel = f"test-{id(object())}"
    bus = can.Bus(interface="virtual", channel=channel)
    module, done = FakeModule(1), threading.Event()

    def answer() -> None:
        while not done.is_set():
            message = bus.recv(0.05)
            reply = None if message is None else module.hear(message.arbitration_id, bytes(message.data))
            if reply is not None:
                bus.send(Message(arbitration_id=reply[0], data=reply[1]))

    thread = threading.Thread(target=answer)
    thread.start()
    yield channel
    done.set()
    thread.join(2.0)
    bus.shutdown()


def test_threads_end_and_the_bus_is_closed(echo_modules: str) -> None:
    buses: list[can.BusABC] = []

    def open_bus() -> can.BusABC:
        buses.append(open_can_bus(Can("virtual", echo_modules)))
        return buses[-1]

    settings = settings_for([1])
    clock = SystemClock()
    controller = PowerModuleController(*settings, open_bus, clock)
    before = set(threading.enumerate())
    controller.start()
    try:
        assert wait_until(lambda: controller.status(clock.now_s())[0].state is ModuleState.OFF)
        assert controller.late_s(clock.now_s()) < 0.5
        assert controller.can_status().up and all(worker.alive for worker in controller.workers)
    finally:
        assert controller.stop()
    assert set(threading.enumerate()) == before
    assert not controller.can_status().up and len(buses) == 1 and buses[0]._is_shutdown
    assert all(worker.failure is None for worker in controller.workers)


def wait_until(done: Callable[[], bool], limit_s: float = 3.0) -> bool:
    """True as soon as `done`, looked at each 20 ms."""
    never = threading.Event()
    return any(done() or never.wait(0.02) for _ in range(int(limit_s / 0.02)))


def test_over_socketcand_a_server_that_goes_is_noticed_and_found_again() -> None:
    def serve(port: int = 0) -> SocketcandServer:
        server = SocketcandServer(ModuleWire(Plant(seed=5).modules, seed=5).answer, port=port)
        server.start()
        return server

    server = serve()
    options = {"host": "127.0.0.1", "port": str(server.port)}
    clock = SystemClock(speed=4.0)  # two seconds of silence in half a second
    _, modules, safety = settings_for(range(1, 10))
    link = Can("socketcand", "can0", options=options)
    controller = PowerModuleController(link, modules, safety, lambda: open_can_bus(link), clock)
    controller.start()
    try:
        assert wait_until(lambda: all(m.state is ModuleState.OFF for m in controller.status(clock.now_s())))
        server.stop()
        assert wait_until(lambda: not controller.can_status().up)
        gone_s = clock.now_s()
        server = serve(server.port)
        assert wait_until(lambda: all((m.heard_at_s or 0.0) > gone_s for m in controller.status(clock.now_s())), 6.0)
        assert controller.can_status().up
    finally:
        assert controller.stop()
        server.stop()
