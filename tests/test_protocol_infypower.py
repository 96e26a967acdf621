"""The frames of Infypower against the frames that its users print, and the promises every make gives."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.base import MalformedFrame, ModuleReading, Refusal, Signal
from protocols.infypower import COMMANDS, INFYPOWER, MAX_ADDRESS, STATUS, Command, build_frame

GOLDEN = Path(__file__).parent / "golden" / "infypower.json"
READS = {
    "vi_float": Signal.VOLTAGE_AND_CURRENT,
    "vi_int": Signal.VOLTAGE_AND_CURRENT_SLOW,
    "status": Signal.STATUS,
    "ac_voltage": Signal.AC_VOLTAGES,
    "capability": Signal.NAMEPLATE,
    "barcode": Signal.SERIAL,
    "external_v_available_i": Signal.TERMINAL_AND_AVAILABLE,
}
REFUSALS = {
    "command abnormal": Refusal.COMMAND,
    "data abnormal": Refusal.DATA,
    "start-up in progress": Refusal.STARTING,
}
SWITCHES = ("walk_in", "led_blink", "sleep", "set_group")
MODES = {"high": (0x14, 0xA1), "low": (0x14, 0xA0), "auto": (0x14, 0xA2)}
NOISES = {"silent": (0x13, 0xA2), "power priority": (0x13, 0xA0)}


def vectors(direction: str) -> list[Any]:
    rows = json.loads(GOLDEN.read_text(encoding="utf-8"))["vectors"]
    return [
        pytest.param(row, id=row["name"] + ("-inferred" if row["inferred"] else ""))
        for row in rows
        if row["direction"] == direction
    ]


def wire(row: dict[str, Any]) -> tuple[int, bytes]:
    return int(row["can_id"], 16), bytes.fromhex(row["data"])


def sent(row: dict[str, Any]) -> tuple[int, bytes] | None:
    """The frame for a vector's meaning by the make's encoders; None: a frame that it never sends."""
    module, meaning = row["module"], row["meaning"]
    if module is None and meaning.get("scope") == "all modules" and not meaning["on"]:
        (frame,) = INFYPOWER.encode_all_off()
    elif module is None:
        return None
    elif "read" in meaning:
        (frame,) = INFYPOWER.encode_read(module, READS[meaning["read"]])
    elif "on" in meaning:
        (frame,) = INFYPOWER.encode_power(module, meaning["on"])
    elif "voltage_v" in meaning:
        (frame,) = INFYPOWER.encode_setpoint(module, meaning["voltage_v"], meaning["current_a"])
        assert (frame.voltage_v, frame.current_a) == (meaning["voltage_v"], meaning["current_a"])
    elif meaning.get("voltage_mode") in ("low", "high"):
        (frame,) = INFYPOWER.encode_range(module, meaning["voltage_mode"] == "low")
    else:
        return None
    return frame.can_id, frame.data


def never_sent(meaning: dict[str, Any]) -> tuple[int, bytes]:
    """The same by hand: totals, groups, whatever a group or all of them would do at once, and what is stored."""
    mode = MODES.get(meaning.get("voltage_mode", "")) or NOISES.get(meaning.get("noise_mode", ""))
    data = bytes(8)
    if "on" in meaning:
        data = bytes((0 if meaning["on"] else 1,))
    elif "voltage_v" in meaning:
        data = struct.pack(">II", round(meaning["voltage_v"] * 1000), round(meaning["current_a"] * 1000))
    elif "address_mode" in meaning:
        data = bytes((1 if meaning["address_mode"] == "DIP" else 0,))
    elif mode:
        data = bytes((0x11, mode[0], 0, 0, 0, 0, 0, mode[1]))
    elif switches := [name for name in SWITCHES if name in meaning]:
        data = bytes((int(meaning[switches[0]]),))
    can_id, data = build_frame(meaning["command"], meaning["dst"], data, meaning["device"])
    return meaning["error"] << 26 | can_id, data


@pytest.mark.parametrize("row", vectors("tx"))
def test_request_byte_for_byte(row: dict[str, Any]) -> None:
    can_id, data = wire(row)
    assert (sent(row) or never_sent(row["meaning"])) == (can_id, data)
    assert INFYPOWER.is_request(can_id, data)
    assert INFYPOWER.decode(can_id, data) is None


@pytest.mark.parametrize("row", vectors("rx"))
def test_reply_field_by_field(row: dict[str, Any]) -> None:
    can_id, data = wire(row)
    meaning = row["meaning"]
    assert not INFYPOWER.is_request(can_id, data)
    reading = INFYPOWER.decode(can_id, data)
    address = meaning["src"] if "ack_of" in meaning else row["module"]
    if meaning["device"] == 13 or address in (None, 0x3F):
        assert reading is None, "sums of groups, and what modules tell each other, are of no single module"
        return
    assert reading is not None
    assert reading.address == address == INFYPOWER.address_of(can_id)
    assert reading.identity is None
    told = {key: value for key, value in meaning.items() if key in SAID}
    assert {key: SAID[key](reading) for key in told} == told
    assert reading.echo is bool(meaning.get("echo", False))
    if not told:
        assert reading.echo, "nothing in this vector was looked at"


def detail(name: str) -> Any:
    return lambda reading: dict(reading.details)[name]


#: the vector's word -> how the reading says it
SAID: dict[str, Any] = {
    "voltage_v": lambda reading: reading.voltage_v,
    "current_a": lambda reading: reading.current_a,
    "available_a": lambda reading: reading.available_a,
    "external_v": detail("terminal_v"),
    "group": detail("group"),
    "ambient_c": detail("ambient_c"),
    "v_max": detail("max_v"),
    "v_min": detail("min_v"),
    "i_max": detail("max_a"),
    "p_rated_w": detail("power_w"),
    "ac_v": lambda reading: [value for _, value in reading.details],
    "barcode": lambda reading: reading.serial,
    "flags": lambda reading: list(reading.flags.names),
    "error_text": lambda reading: next(words for words, why in REFUSALS.items() if why is reading.refusal),
}


def test_echoes_carry_what_was_set() -> None:
    both = INFYPOWER.decode(0x029CF000, bytes.fromhex("00 07 A1 20 00 01 86 A0"))
    off = INFYPOWER.decode(0x029AF000, bytes.fromhex("01 00 00 00 00 00 00 00"))
    low = INFYPOWER.decode(0x028FF000, bytes.fromhex("11 14 00 00 00 00 00 A0"))
    assert both is not None and (both.voltage_v, both.current_a) == (500.0, 100.0)
    assert off is not None and off.on is False
    assert low is not None and low.low_range is True


def test_every_command_of_the_table_is_held_by_a_vector_or_an_echo_of_it() -> None:
    seen = {row["meaning"]["command"] for (row,) in (param.values for param in vectors("rx"))}
    assert {row.command for row in COMMANDS} - seen == {Command.MODE, Command.POWER}


# --- status bits ----------------------------------------------------------------------------------------------------


def status(byte: int, bit: int, *, off: bool = False) -> Any:
    data = bytearray(8)
    data[byte] |= 1 << bit
    data[6] |= off
    reading = INFYPOWER.decode(0x0284F001, bytes(data))
    assert reading is not None and reading.flags is not None
    return reading.flags


STOPPING = {(5, 1), (5, 2), (5, 3), (5, 5), (5, 6), (6, 1), (6, 2), (6, 4), (6, 5), (7, 0)}
DISPUTED = {(7, 1), (7, 2), (7, 3), (7, 7)}
PLAIN_STATES = {(5, 0), (6, 0), (6, 6), (7, 4)}


def test_every_status_bit_is_classed_as_in_the_sheet() -> None:
    assert set(STATUS) == {(byte, bit) for byte in (5, 6, 7) for bit in range(8)}
    for place in STATUS:
        flags = status(*place)
        assert bool(flags.faults) is (place in STOPPING), place
        assert bool(flags.warnings) is (place not in STOPPING | PLAIN_STATES), place
        assert not DISPUTED & {place} or not flags.faults


def test_a_power_stage_that_is_off_warns_only_while_the_module_says_on() -> None:
    assert status(5, 7).warnings == {"pfc_off"}
    assert status(5, 7, off=True).warnings == frozenset()


def test_it_is_on_until_it_says_that_its_output_is_off() -> None:
    assert status(6, 6).on and not status(6, 0).on
    assert status(5, 1).same_serial and not status(5, 2).same_serial


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [-1, 0x3F, 0x40, 0xF0])
def test_only_off_goes_to_all(address: int) -> None:
    for encode in (
        lambda: INFYPOWER.encode_setpoint(address, 400, 1),
        lambda: INFYPOWER.encode_power(address, True),
        lambda: INFYPOWER.encode_power(address, False),
        lambda: INFYPOWER.encode_read(address, Signal.STATUS),
        lambda: INFYPOWER.encode_range(address, True),
    ):
        with pytest.raises(ValueError, match="one module"):
            encode()
    with pytest.raises(ValueError, match="one by one"):
        INFYPOWER.encode_read(None, Signal.STATUS)


def test_less_than_it_keeps_is_sent_as_the_least_and_says_so() -> None:
    (frame,) = INFYPOWER.encode_setpoint(2, 0.0, 0.0)
    assert (frame.can_id, frame.data.hex(" ")) == (0x029C02F0, "00 02 49 f0 00 00 03 e8")
    assert (frame.voltage_v, frame.current_a) == (150.0, 1.0)


@pytest.mark.parametrize(
    ("can_id", "data", "words"),
    [
        (0x02BDF001, bytes(8), "unknown command 61"),
        (0x0683F001, bytes(8), "unknown error 1"),
        (0x0283F001, struct.pack(">ff", math.nan, 1.0), "nan V"),
        (0x0283F001, struct.pack(">ff", 400.0, math.inf), "inf A"),
        (0x0283F001, struct.pack(">ff", -1.0, 1.0), "-1.0 V"),
        (0x029AF001, b"\7" + bytes(7), "on/off value 7"),
        (0x028BF001, bytes(8), "bar code"),
        (0x028BF001, b"V" + b"\xff" * 7, "bar code"),
    ],
)
def test_ours_but_malformed_is_told_apart(can_id: int, data: bytes, words: str) -> None:
    with pytest.raises(MalformedFrame, match=words):
        INFYPOWER.decode(can_id, data)


@pytest.mark.parametrize("can_id", [0x0757F802, 0x0283F001 & ~0xFF00 | 0xF100, 0x0283F03F, 0x02C3F001, 0x02000001])
def test_what_is_not_for_us_or_of_no_single_module_is_left_alone(can_id: int) -> None:
    assert INFYPOWER.decode(can_id, bytes(8)) is None


# --- echoes and invariants ------------------------------------------------------------------------------------------


def answered(can_id: int, data: bytes) -> ModuleReading:
    """What a module answers to a request that it accepts: the same with source and destination swapped."""
    swapped = can_id & ~0xFFFF | (can_id & 0xFF) << 8 | can_id >> 8 & 0xFF
    reading = INFYPOWER.decode(swapped, data)
    assert reading is not None and reading.echo
    return reading


addresses = st.integers(0, MAX_ADDRESS)


@given(addresses, st.floats(150, 1000), st.floats(1, 133))
def test_setpoints_come_back_as_echo_and_never_higher(address: int, voltage_v: float, current_a: float) -> None:
    (frame,) = INFYPOWER.encode_setpoint(address, voltage_v, current_a)
    echo = answered(frame.can_id, frame.data)
    assert (echo.address, echo.signal) == (address, frame.answer)
    assert (echo.voltage_v, echo.current_a) == (frame.voltage_v, frame.current_a)
    assert echo.voltage_v is not None and voltage_v - 0.001000001 < echo.voltage_v <= voltage_v
    assert echo.current_a is not None and current_a - 0.001000001 < echo.current_a <= current_a


@given(addresses, st.booleans())
def test_switching_comes_back_as_echo(address: int, yes: bool) -> None:
    (power,), (span,) = INFYPOWER.encode_power(address, yes), INFYPOWER.encode_range(address, yes)
    assert answered(power.can_id, power.data).on is yes
    assert answered(span.can_id, span.data).low_range is yes


def test_an_automatic_range_says_nothing_of_the_one_in_use() -> None:
    assert answered(0x028F01F0, bytes.fromhex("11 14 00 00 00 00 00 A2")).low_range is None
    assert answered(0x028F01F0, bytes.fromhex("11 13 00 00 00 00 00 A0")).low_range is None


def test_split_of_the_data_sheet() -> None:
    assert INFYPOWER.split_current(400.0, 9) == (44.444,) * 9
