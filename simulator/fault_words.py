"""Job: every word that breaks something in the simulated station, and what it does.

Thread: that of the plant. Lock: none. Units: A, V, % in the lines. What each word means stands in `faults.HELP`.
"""

from __future__ import annotations

from planning.model import Crosspoint
from simulator.can_face import ERROR_BUS_OFF, ERROR_RESTARTED, WireBus
from simulator.contacts import ContactFault
from simulator.fault_bench import (
    Action,
    Bench,
    Words,
    board_of,
    crosspoint_of,
    gun_of,
    one_of,
    powered_of,
)
from simulator.gun_bus import FixedBattery
from simulator.plant import index_of
from simulator.socketcand import SocketcandServer

# --- modules ---------------------------------------------------------------------------------------------------------


def _mute(bench: Bench, words: Words, _now_s: float) -> None:
    board_of(bench, words).muted = True


def _deafen(bench: Bench, words: Words, _now_s: float) -> None:
    board_of(bench, words).deaf = True


def _ignore_off(bench: Bench, words: Words, _now_s: float) -> None:
    powered_of(bench, words).module.ignores_off = True


def _ignore_set(bench: Bench, words: Words, _now_s: float) -> None:
    powered_of(bench, words).module.ignores_set_points = True


def _derate(bench: Bench, words: Words, _now_s: float) -> None:
    powered_of(bench, words).module.derate(float(words[1]))


def _overdo_v(bench: Bench, words: Words, _now_s: float) -> None:
    powered_of(bench, words).module.overdo(float(words[1]), 1.0)


def _overdo_a(bench: Bench, words: Words, _now_s: float) -> None:
    powered_of(bench, words).module.overdo(1.0, float(words[1]))


def _scale_v(bench: Bench, words: Words, _now_s: float) -> None:
    board_of(bench, words).scale_v = float(words[1])


def _scale_a(bench: Bench, words: Words, _now_s: float) -> None:
    board_of(bench, words).scale_a = float(words[1])


def _fail(bench: Bench, words: Words, now_s: float) -> None:
    board = board_of(bench, words)
    board.fail(int(words[1], 16) if len(words) > 1 else board.dialect.short_circuit, now_s)


def _overheat(bench: Bench, words: Words, now_s: float) -> None:
    board = board_of(bench, words)
    board.fail(board.dialect.too_hot, now_s)


def _refuse_commands(bench: Bench, words: Words, _now_s: float) -> None:
    board_of(bench, words).refuses = True


def _duplicate(bench: Bench, words: Words, _now_s: float) -> None:
    bench.wire.add_duplicate(board_of(bench, words).address)


def _swap_addresses(bench: Bench, words: Words, _now_s: float) -> None:
    one, other = board_of(bench, words), board_of(bench, words[1:])
    bench.wire.swap_addresses(one.module.number, other.module.number)


MODULE_WORDS: dict[str, Action] = {
    "swap_addresses": _swap_addresses,
    "mute": _mute,
    "deaf": _deafen,
    "freeze": lambda bench, words, now_s: board_of(bench, words).freeze(now_s),
    "ignore_off": _ignore_off,
    "ignore_set": _ignore_set,
    "reboot": lambda bench, words, now_s: board_of(bench, words).reboot(now_s),
    "duplicate": _duplicate,
    "heal": lambda bench, words, now_s: powered_of(bench, words).heal(),
    "derate": _derate,
    "overdo_v": _overdo_v,
    "overdo_a": _overdo_a,
    "scale_v": _scale_v,
    "scale_a": _scale_a,
    "fail": _fail,
    "hot": _overheat,
    "refuse": _refuse_commands,
    "show": lambda bench, words, now_s: board_of(bench, words).show(int(words[1], 16)),
}

# --- contactors and the registers that drive and read them -----------------------------------------------------------


def _contact(fault: ContactFault) -> Action:
    return lambda bench, words, now_s: bench.plant.break_contact(crosspoint_of(words), fault, now_s)


def _stick_bit(bench: Bench, words: Words, _now_s: float) -> None:
    level = {"0": 0, "1": 1, "mend": None}[one_of(words[1], "0", "1", "mend")]
    bench.registers().stick_output(index_of(crosspoint_of(words)), level)


def _flip_bit(bench: Bench, words: Words, _now_s: float) -> None:
    bench.registers().flip_output(index_of(crosspoint_of(words)))


def _chain(bench: Bench, words: Words, _now_s: float) -> None:
    bench.registers().shift_feedback(1 if one_of(words[0], "shift", "mend") == "shift" else 0)


def _test_bit(bench: Bench, words: Words, _now_s: float) -> None:
    bench.registers().flip_test_input(one_of(words[0], "cut", "mend") == "cut")


def _readback(bench: Bench, words: Words, _now_s: float) -> None:
    bench.registers().flip_readback(one_of(words[0], "flip", "mend") == "flip")


def _two(words: Words) -> tuple[Crosspoint, Crosspoint]:
    return crosspoint_of(words), crosspoint_of(words[1:])


CABINET_WORDS: dict[str, Action] = {
    "cross_coils": lambda bench, words, now_s: bench.plant.cross_coils(*_two(words), now_s),
    "cross_feedback": lambda bench, words, now_s: bench.plant.cross_feedback(*_two(words), now_s),
    "weld": _contact(ContactFault.WELDED),
    "stick": _contact(ContactFault.STUCK_OPEN),
    "reads_open": _contact(ContactFault.READS_OPEN),
    "reads_closed": _contact(ContactFault.READS_CLOSED),
    "slam": lambda bench, words, now_s: bench.plant.slam(crosspoint_of(words), now_s),
    "repair": lambda bench, words, now_s: bench.plant.repair_contact(crosspoint_of(words), now_s),
    "stuck_bit": _stick_bit,
    "flip_bit": _flip_bit,
    "chain": _chain,
    "test_bit": _test_bit,
    "readback": _readback,
}

# --- guns, cars, the emergency stop ----------------------------------------------------------------------------------


def _battery(bench: Bench, words: Words, now_s: float) -> None:
    bench.plant.plug(gun_of(words), None if words[1] == "none" else FixedBattery(float(words[1])), now_s)


def _leak(bench: Bench, words: Words, now_s: float) -> None:
    mended = len(words) > 1 and one_of(words[1], "mend") == "mend"
    bench.plant.break_bleeder(gun_of(words), not mended, now_s)


def _emergency_stop(bench: Bench, words: Words, now_s: float) -> None:
    if one_of(words[0], "press", "release") == "press":
        bench.plant.press_emergency_stop(now_s)
    else:
        bench.plant.release_emergency_stop(now_s)


PLANT_WORDS: dict[str, Action] = {
    "battery": _battery,
    "leak": _leak,
    "load_dump": lambda bench, words, now_s: bench.plant.dump_load(gun_of(words), now_s),
    "estop": _emergency_stop,
}

# --- the CAN bus -----------------------------------------------------------------------------------------------------


def _in_virtual_time(bench: Bench) -> WireBus:
    link = bench.can()
    if not isinstance(link, WireBus):
        raise ValueError("A TCP connection stands for the bus here: this can be had in virtual time only")
    return link


def _set_down(bench: Bench, words: Words, _now_s: float) -> None:
    _in_virtual_time(bench).down = words[0] == "down"


def _refuse(bench: Bench, words: Words, _now_s: float) -> None:
    _in_virtual_time(bench).refuse_sends = int(words[1])


def _lose(bench: Bench, words: Words, _now_s: float) -> None:
    bench.can().lose_sends = int(words[1])


def _cut(bench: Bench, words: Words, _now_s: float) -> None:
    bench.can().cut = words[0] == "cut"


def _hang_up(bench: Bench, words: Words, _now_s: float) -> None:
    link = bench.can()
    if not isinstance(link, SocketcandServer):
        raise ValueError(f"Nobody is connected here: `can {words[0]}` is for the plant in a process of its own")
    link.drop_clients()


def _go_bus_off(bench: Bench, words: Words, _now_s: float) -> None:
    """Off: the chip says so and takes no more part. Recovered: it joins again (on site after `restart-ms`)."""
    off = words[0] == "busoff"
    bench.can().cut = off
    bench.can().tell_error(ERROR_BUS_OFF if off else ERROR_RESTARTED)


def _send_as_another(bench: Bench, _words: Words, _now_s: float) -> None:
    """A question to module 5, as only a controller asks it."""
    board = bench.wire.board(5)
    bench.can().foreign(*board.dialect.question(board.address))


_CAN_WORDS: dict[str, Action] = {
    "cut": _cut,
    "join": _cut,
    "drop": _hang_up,
    "down": _set_down,
    "up": _set_down,
    "busoff": _go_bus_off,
    "recover": _go_bus_off,
    "enobufs": _refuse,
    "lose": _lose,
    "flood": lambda bench, words, now_s: bench.can().flood(float(words[1])),
    "calm": lambda bench, words, now_s: bench.can().flood(0.0),
    "controller": _send_as_another,
}


def _can(bench: Bench, words: Words, now_s: float) -> None:
    _CAN_WORDS[one_of(words[0], *_CAN_WORDS)](bench, words, now_s)


ACTIONS: dict[str, Action] = {**MODULE_WORDS, **CABINET_WORDS, **PLANT_WORDS, "can": _can}
