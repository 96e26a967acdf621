"""Every make on the wire against a simulated module of that make, whose encoder is typed from the maker's text."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from bench.fault_matrix import charging, ready, round_s, status_bits
from bench.module_bench import BATTERY_V, NUMBERS, MakeBench
from bench.modules import MOST_1S_PCT, MOST_10S_PCT, measure
from planning.model import ModuleState
from protocols import PROTOCOLS
from protocols.base import BitClass, Frame
from simulator.board import Board, Identity
from simulator.module_wire import DIALECTS
from simulator.power_module import PowerModule

MAKES = pytest.mark.parametrize("make", PROTOCOLS)
REFUSING = [name for name in PROTOCOLS if name not in ("uugreen", "maxwell_enr")]


def test_there_is_a_simulated_module_of_every_make() -> None:
    assert set(DIALECTS) == set(PROTOCOLS)


# --- start, set, ramp ------------------------------------------------------------------------------------------------


@MAKES
def test_a_module_starts_with_its_set_points_before_and_after_the_on(make: str) -> None:
    """It may forget while off what it was set to."""
    bench = ready(make)
    bench.board().module.forgets = True
    since_s = bench.now_s
    bench.order(1, 400.0, 5.0)
    took_s = bench.run_until(lambda: bench.plant.modules[0].output_v(bench.now_s) > 395.0, 8.0)
    assert took_s is not None
    bench.run(round_s(make))
    status = bench.status()
    assert status.state is ModuleState.ON and status.set_on and status.alarms == ()
    module = PROTOCOLS[make]
    sets = [f.at_s for f in bench.ours(since_s) if (f.can_id, f.data) in wire(module.encode_setpoint(1, 400.0, 5.0))]
    ons = module.encode_power(1, True) or module.encode_setpoint(1, 400.0, 5.0)
    on_s = next(f.at_s for f in bench.ours(since_s) if (f.can_id, f.data) in wire(ons))
    assert sets[0] <= on_s < sets[-1]


def wire(frames: tuple[Frame, ...]) -> set[tuple[int, bytes]]:
    return {(frame.can_id, frame.data) for frame in frames}


@MAKES
def test_a_module_is_set_to_what_was_ordered_floored_to_its_wire(make: str) -> None:
    bench = charging(make)
    step_v, step_a = PROTOCOLS[make].voltage_step_v, PROTOCOLS[make].current_step_a
    bench.order(1, 712.3457, 44.44444)
    bench.run(1.0 + round_s(make))
    module, status = bench.board().module, bench.status()
    assert 712.3457 - step_v < module.set_v <= 712.3457 and 44.44444 - step_a < module.set_a <= 44.44444
    assert (status.set_voltage_v, status.set_current_a) == pytest.approx((module.set_v, module.set_a))


@MAKES
def test_what_is_below_the_least_of_the_module_is_set_as_the_least(make: str) -> None:
    """Nor is it told again and again: the module has what it can have."""
    bench = charging(make)
    bench.order(1, 700.0, 0.0)
    bench.run(1.0)
    assert bench.board().module.set_a == PROTOCOLS[make].nameplate.min_current_a
    since_s = bench.now_s
    bench.run(2.0)
    sets = wire(PROTOCOLS[make].encode_setpoint(1, 700.0, 0.0))
    assert sum((f.can_id, f.data) in sets for f in bench.ours(since_s)) <= 4  # the refresh


@MAKES
def test_nine_modules_ramp_together(make: str) -> None:
    bench = charging(make, 5.0, tuple(NUMBERS))
    since_s = bench.now_s
    for tenth in range(1, 41):
        for module in NUMBERS:
            bench.order(module, 700.0, 5.0 + tenth)
        bench.run(0.1)
    late_s = bench.run_until(lambda: all(m.set_a == pytest.approx(45.0) for m in bench.plant.modules), 3.0)
    assert late_s is not None and late_s <= 2.0
    assert bench.highest_load_pct(since_s, 1.0) <= 30.0
    assert all(board.hurried == 0 for board in bench.wire.boards)


# --- read ------------------------------------------------------------------------------------------------------------


@MAKES
def test_readings_are_those_of_the_module(make: str) -> None:
    bench = charging(make, 31.0)
    status, board = bench.status(), bench.board()
    assert status.voltage_v == pytest.approx(board.volts(bench.now_s), abs=0.15)
    assert status.current_a == pytest.approx(board.amps(bench.now_s), abs=0.15)
    assert status.voltage_v == pytest.approx(BATTERY_V, abs=6.0) and status.current_a == pytest.approx(31.0, abs=0.3)
    assert status.constant_current
    off = bench.status(2)
    assert off.on is False and off.current_a == 0.0 and not off.constant_current


@MAKES
def test_its_serial_number_is_known_where_the_make_tells_one(make: str) -> None:
    bench = ready(make)
    serials = {bench.status(module).serial for module in NUMBERS}
    assert serials == {None} if make == "tonhe" else len(serials) == 9 and None not in serials


@MAKES
def test_derating_is_seen_and_is_no_fault(make: str) -> None:
    bench = charging(make, 50.0)
    bench.board().module.derate(30.0)
    bench.run(4.0 * round_s(make) + 1.0)
    status = bench.status()
    assert status.state is ModuleState.ON and status.alarms == ()
    assert status.current_a == pytest.approx(30.0, abs=0.5)
    told = status.available_a is not None and status.available_a == pytest.approx(30.0, abs=0.5)
    assert told or any("limit" in name or "derate" in name for name in status.warnings)


# --- OFF -------------------------------------------------------------------------------------------------------------


@MAKES
def test_the_first_frame_on_a_new_link_is_off_and_what_was_left_on_goes_off(make: str) -> None:
    bench = MakeBench(make)
    for module in bench.plant.modules:
        module.set_voltage(400.0)
        module.set_current(10.0)
        module.switch(True, 0.0)
    for board in bench.wire.boards:
        board.heard_at_s = 0.0
    assert bench.run_until(lambda: not any(module.on for module in bench.plant.modules), 0.1) is not None
    first = bench.ours()[0]
    assert (first.can_id, first.data) in wire(PROTOCOLS[make].encode_all_off())


@MAKES
def test_off_to_each_of_nine_is_on_the_wire_at_once(make: str) -> None:
    bench = charging(make, 5.0, tuple(NUMBERS))
    bench.controller.off_now(tuple(NUMBERS), bench.now_s)
    assert bench.run_until(lambda: not any(module.on for module in bench.plant.modules), 0.05) is not None


@MAKES
def test_a_module_that_misses_an_off_is_told_again(make: str) -> None:
    bench = charging(make)
    bench.board().module.ignores_off = True
    bench.order_off(1)
    bench.run(1.0)
    assert bench.plant.modules[0].on
    bench.board().module.ignores_off = False
    assert bench.run_until(lambda: not bench.plant.modules[0].on, 0.25) is not None
    assert bench.run_until(lambda: bench.status().state is ModuleState.OFF, 1.5 * round_s(make)) is not None


# --- faults ----------------------------------------------------------------------------------------------------------


@MAKES
def test_a_silent_module_is_missed_and_is_off_before_it_serves_again(make: str) -> None:
    bench = charging(make)
    board = bench.board()
    board.muted = True
    limit_s = max(1.5, 1.5 * round_s(make))
    took_s = bench.run_until(lambda: bench.status().state is ModuleState.SILENT, limit_s + 0.5)
    assert took_s is not None and took_s >= limit_s - round_s(make)
    assert bench.run_until(lambda: not board.module.on, 0.5) is not None, "it hears OFF although it does not answer"
    board.muted = False
    bench.order_off(1)
    assert bench.run_until(lambda: bench.status().state is ModuleState.OFF, 1.5 * round_s(make) + 0.5) is not None
    bench.order(1, 700.0, 20.0)
    assert bench.run_until(lambda: board.module.current_a > 19.0, 12.0) is not None


@MAKES
def test_a_module_that_reset_in_mid_charge_is_told_off_before_it_starts_again(make: str) -> None:
    """Where its round is short it is seen off, and then stays so until it is ordered anew; else it was silent."""
    bench = charging(make)
    module, since_s = PROTOCOLS[make], bench.now_s
    bench.board().reboot(since_s)
    bench.run(4.0 * round_s(make) + 2.0)
    offs = [f.at_s for f in bench.ours(since_s) if (f.can_id, f.data) in wire(module.encode_power(1, False))]
    starts = module.encode_power(1, True) or module.encode_setpoint(1, 700.0, 20.0)
    ons = [f.at_s for f in bench.ours(since_s + 1.2) if (f.can_id, f.data) in wire(starts)]
    assert offs and (not ons or offs[0] < ons[0])
    assert bench.plant.modules[0].on is bool(ons)
    if make in ("uugreen", "maxwell_enr", "tonhe"):
        assert not ons and bench.status().resets == 1
    bench.order_off(1)
    bench.run(1.0 + round_s(make))
    bench.order(1, 700.0, 20.0)
    assert bench.run_until(lambda: bench.plant.modules[0].current_a > 19.0, 12.0) is not None
    assert bench.plant.modules[0].set_v == pytest.approx(700.0)


@MAKES
def test_a_module_with_a_fault_is_off_and_named(make: str) -> None:
    bench = charging(make)
    board = bench.board()
    board.fail(board.dialect.short_circuit, bench.now_s)
    assert bench.run_until(lambda: bench.status().state is ModuleState.FAULT, 3.0 * round_s(make)) is not None
    status = bench.status()
    assert status.alarms and not status.set_on
    board.heal()
    bench.order_off(1)
    assert bench.run_until(lambda: bench.status().state is ModuleState.OFF, 4.0 * round_s(make)) is not None


@MAKES
def test_every_status_bit_reaches_belief_as_it_is_classed(make: str) -> None:
    bits = list(status_bits(make).items())
    for first in range(0, len(bits), len(NUMBERS)):
        bench = ready(make)
        shown = dict(zip(NUMBERS, bits[first : first + len(NUMBERS)], strict=False))
        for module, (bit, _) in shown.items():
            bench.board(module).show(bit)
        bench.run(2.0 * round_s(make) + 1.0)
        for module, (_, (name, bit_class)) in shown.items():
            status = bench.status(module)
            alone = name == "hw_fault"  # Tonhe: only beside another fault
            assert status.alarms == ((name,) if bit_class is BitClass.FAULT and not alone else ()), name
            assert status.warnings == ((name,) if bit_class is BitClass.WARNING or alone else ()), name


@MAKES
def test_two_modules_on_one_address_are_refused(make: str) -> None:
    bench = ready(make)
    bench.wire.add_duplicate(1)
    reads = PROTOCOLS[make].reads
    limit_s = max(3.0 * reads.round_s, (len(reads.slow) + 1) * reads.slow_s)
    assert bench.run_until(lambda: bench.status().state is ModuleState.REFUSED, limit_s) is not None
    bench.order(1, 400.0, 5.0)
    bench.run(3.0)
    assert not bench.plant.modules[0].on
    assert bench.status(2).state is ModuleState.OFF


@MAKES
def test_a_module_that_config_ini_does_not_have_is_counted_and_changes_nothing(make: str) -> None:
    bench = charging(make)
    before = bench.status()
    stranger = Board(PowerModule(0, random.Random(1), []), 20, Identity(1, 1, 1, 2025), DIALECTS[make])
    for frame in PROTOCOLS[make].encode_power(20, False):
        for can_id, data in stranger.dialect.reply(stranger, frame.can_id, frame.data, bench.now_s, False):
            bench.bus.foreign(can_id, data)
    bench.run(0.001)
    assert bench.controller.strangers.unconfigured[20] == 1
    assert bench.status().set_current_a == before.set_current_a and bench.status().state is ModuleState.ON


@pytest.mark.parametrize("make", REFUSING)
def test_a_module_that_refuses_what_it_is_told_is_named(make: str) -> None:
    bench = charging(make)
    bench.board().refuses = True
    bench.order(1, 690.0, 10.0)
    bench.run(5.0)
    assert "commands_refused" in bench.status().warnings
    bench.board().refuses = False
    bench.run(2.0)
    assert bench.status().warnings == () and bench.board().module.set_a == pytest.approx(10.0)


def test_an_infypower_module_that_is_starting_has_no_fault() -> None:
    """It answers every question with error 7 in its first half second."""
    bench = ready("infypower")
    bench.watched = (1,)
    bench.order(1, 400.0, 5.0)
    bench.run(4.0)
    starting = [f for f in bench.frames if not f.ours and f.can_id >> 26 == 7]
    assert starting, "it was never asked while it started"
    status = bench.status()
    assert status.state is ModuleState.ON and status.warnings == () and status.alarms == ()


# --- manners ---------------------------------------------------------------------------------------------------------


@MAKES
def test_a_full_station_is_read_set_and_switched_off_in_time_on_a_bus_that_is_never_full(make: str) -> None:
    """Nine modules, two in hand-over, set-points moving all the time."""
    found, timing = measure(make), PROTOCOLS[make].timing
    assert found.load_1s_pct <= MOST_1S_PCT and found.load_10s_pct <= MOST_10S_PCT
    assert found.shortest_gap_s >= timing.spacing_s - 1e-9 and found.hurried == 0
    assert found.oldest_calm_s <= 1.25 * round_s(make)
    assert found.oldest_busy_s <= max(1.0, 1.5 * round_s(make)), "no longer fresh"
    assert found.nine_set_s <= (0.5 if make == "infypower" else 0.1)
    assert found.off_to_all_s <= 0.02


@pytest.mark.parametrize("make", ["infypower", "tonhe"])
def test_no_module_misses_its_controller(make: str) -> None:
    """Infypower switches off after 10 s, Tonhe after 20 s without a frame for it: not while idle, not in full swing."""
    bench = charging(make, 5.0, (1, 2, 3))
    bench.run(45.0)
    assert not any(board.lost_controller for board in bench.wire.boards)
    assert [module.on for module in bench.plant.modules] == [True] * 3 + [False] * 6


@pytest.mark.parametrize("make", ["infypower", "tonhe"])
def test_without_a_controller_it_switches_itself_off_and_starts_only_on_order(make: str) -> None:
    limit_s = PROTOCOLS[make].timing.watchdog_s
    assert limit_s is not None
    bench = charging(make)
    bench.alive = False
    bench.run(limit_s - round_s(make) - 0.5)
    assert bench.plant.modules[0].on
    bench.run(round_s(make) + 1.0)
    assert not bench.plant.modules[0].on and bench.board().lost_controller
    bench.order_off(1)
    bench.alive = True
    bench.run(3.0)
    assert not bench.plant.modules[0].on and bench.status().state is ModuleState.OFF


def _stored(make: str) -> Callable[[int, bytes], bool]:
    """Tells a frame that writes into the memory of a module."""
    return {
        "uugreen": lambda can_id, data: data[0] & 15 == 0 and data[1] in (89, 95),
        "maxwell_enr": lambda can_id, data: data[0] & 15 == 0 and data[1] in (89, 95),
        "infypower": lambda can_id, data: can_id >> 16 & 0x3F in (0x0F, 0x13, 0x16, 0x19, 0x1B, 0x1E, 0x1F),
        "maxwell_mxr": lambda can_id, data: data[0] == 3 and data[3] not in (0x1B, 0x21, 0x30),
        "winline": lambda can_id, data: data[0] == 3 and data[3] not in (0x1B, 0x21, 0x30),
        "tonhe": lambda can_id, data: can_id >> 16 in (0x1809, 0x1C90, 0x18AA),
    }[make]


@MAKES
def test_nothing_that_is_stored_or_shared_is_written(make: str) -> None:
    bench = charging(make, 5.0, (1, 2))
    bench.order_off(1)
    bench.run(12.0)
    stores = _stored(make)
    assert not [frame for frame in bench.ours() if stores(frame.can_id, frame.data)]


# --- mixed -----------------------------------------------------------------------------------------------------------

MIXED = dict(zip(NUMBERS, ("uugreen", "infypower", "tonhe", "winline", "maxwell_enr") * 2, strict=False))


def test_five_makes_share_one_bus() -> None:
    """None waits for the long pauses of another, and none takes the frames of another for its own."""
    bench = MakeBench(makes=MIXED)
    bench.run(5.0)
    bench.connect(*NUMBERS)
    for module in NUMBERS:
        bench.order(module, 700.0, 20.0)
    delivers = lambda: all(m.current_a > 19.0 for m in bench.plant.modules)  # noqa: E731
    assert bench.run_until(delivers, 12.0) is not None
    bench.run(20.0)
    for module in NUMBERS:
        status, round_of_make_s = bench.status(module), round_s(MIXED[module])
        assert status.state is ModuleState.ON and status.warnings == ()
        assert status.current_at_s is not None and bench.now_s - status.current_at_s <= 1.25 * round_of_make_s
    health = bench.controller.can_status()
    assert (health.foreign, health.rejected, health.second_controller) == (0, 0, False)
    assert bench.highest_load_pct(10.0, 10.0) <= 20.0
    assert all(board.hurried == 0 for board in bench.wire.boards)
    bench.controller.off_now(None, bench.now_s)
    assert bench.run_until(lambda: not any(module.on for module in bench.plant.modules), 0.03) is not None
