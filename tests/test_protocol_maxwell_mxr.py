"""The frames of Maxwell MXR and Winline against the vendors' layouts, and the promises every make gives."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.base import MalformedFrame, ModuleReading, Refusal, Signal
from protocols.maxwell_mxr import (
    FLOAT_REPLY,
    INTEGER_REPLY,
    MAX_ADDRESS,
    MAXWELL_MXR,
    READ,
    REGISTERS,
    SET,
    STATUS,
    WINLINE,
    RegisterFamily,
    build_frame,
)

GOLDEN = Path(__file__).parent / "golden"
MAKES = {"maxwell_mxr": MAXWELL_MXR, "winline": WINLINE}
READS = {
    "voltage": Signal.VOLTAGE,
    "current": Signal.CURRENT,
    "limit_point": Signal.LIMIT_POINT,
    "dc_temp": Signal.DCDC_TEMPERATURE_1,
    "ambient": Signal.INLET_TEMPERATURE,
    "phase_a": Signal.AC_AB,
    "rated_power": Signal.RATED_POWER,
    "rated_current": Signal.RATED_CURRENT,
    "status": Signal.STATUS,
    "group_address": Signal.GROUP_AND_ADDRESS,
    "input_power": Signal.INPUT_POWER,
    "serial_low": Signal.SERIAL,
    "serial_high": Signal.SERIAL_HIGH,
}


def vectors(direction: str) -> list[Any]:
    return [
        pytest.param(make, row, id=f"{name}-{row['name']}" + ("-inferred" if row["inferred"] else ""))
        for name, make in MAKES.items()
        for row in json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))["vectors"]
        if row["direction"] == direction
    ]


def wire(row: dict[str, Any]) -> tuple[int, bytes]:
    return int(row["can_id"], 16), bytes.fromhex(row["data"])


def sent(make: RegisterFamily, row: dict[str, Any]) -> tuple[int, bytes] | None:
    """The frame for a vector's meaning by the make's encoders; None: a frame that it never sends."""
    module, meaning = row["module"], row["meaning"]
    if meaning.get("scope") == "all" and meaning.get("on") is False:
        (frame,) = make.encode_all_off()
    elif module > MAX_ADDRESS:
        return None
    elif "read" in meaning:
        (frame,) = make.encode_read(module, READS[meaning["read"]])
    elif "on" in meaning:
        (frame,) = make.encode_power(module, meaning["on"])
    elif meaning["register"] == 0x21:
        frame, _ = make.encode_setpoint(module, meaning["voltage_v"], 0.0)
        assert frame.voltage_v == meaning["voltage_v"]
    elif meaning["register"] == 0x1B:
        _, frame = make.encode_setpoint(module, 500.0, meaning["current_a"])
        assert frame.current_a is not None
        assert meaning["current_a"] - 1 / 1024 < frame.current_a <= meaning["current_a"]
    else:
        return None
    return frame.can_id, frame.data


def never_sent(row: dict[str, Any]) -> tuple[int, bytes]:
    """The same by hand: groups, ratios, latches, and what the module stores."""
    meaning = row["meaning"]
    kind = READ if "read" in meaning or len(meaning) == 3 else SET
    switched = [meaning.get(key) for key in ("on", "ovp_link", "address_mode")]
    value = bytes(4)
    if "ratio" in meaning or "voltage_v" in meaning:
        value = struct.pack(">f", meaning.get("ratio", meaning.get("voltage_v")))
    elif "warning" in meaning:
        value = (3).to_bytes(4, "big")  # a whole number in a float register: somebody else's mistake
    elif "altitude_m" in meaning or "input_mode" in meaning or meaning["register"] == 0x1E:
        number = meaning.get("altitude_m") or meaning.get("group") or {"AC": 1, "DC": 2}[meaning["input_mode"]]
        value = int(number).to_bytes(4, "big")
    elif "reset" in meaning or False in switched or "DIP" in switched:
        value = bytes((0, 1, 0, 0))
    return build_frame(row["module"], kind, meaning["register"], value, meaning["group_bits"])


@pytest.mark.parametrize(("make", "row"), vectors("tx"))
def test_request_byte_for_byte(make: RegisterFamily, row: dict[str, Any]) -> None:
    can_id, data = wire(row)
    assert (sent(make, row) or never_sent(row)) == (can_id, data)
    assert make.is_request(can_id, data)
    assert make.decode(can_id, data) is None


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_the_ratio_of_a_rated_current_is_never_sent(make: RegisterFamily) -> None:
    """0x22 and 0x1B set the same quantity; a whole number in the float of 0x22 would be 4.2e-45."""
    assert [f.data[2:4].hex() for f in make.encode_setpoint(1, 500.0, 50.0)] == ["0021", "001b"]


@pytest.mark.parametrize(("make", "row"), vectors("rx"))
def test_reply_field_by_field(make: RegisterFamily, row: dict[str, Any]) -> None:
    can_id, data = wire(row)
    meaning = row["meaning"]
    assert not make.is_request(can_id, data)
    reading = make.decode(can_id, data)
    assert reading is not None
    assert reading.address == row["module"] == make.address_of(can_id)
    assert reading.identity is None
    told = {key: value for key, value in meaning.items() if key in SAID}
    assert told, "nothing in this vector was looked at"
    assert {key: SAID[key](reading) for key in told} == told


MODES = {3: "three-phase AC", 5: "mismatch or phase-sequence error"}


def detail(*names: str) -> Any:
    return lambda reading: next(value for name, value in reading.details if name in names)


#: the vector's word -> how the reading says it
SAID: dict[str, Any] = {
    "voltage_v": lambda reading: dict(reading.details).get("phase_a_v", reading.voltage_v),
    "current_a": lambda reading: dict(reading.details).get("rated_a", reading.current_a),
    "ratio": detail("limit_ratio"),
    "temp_c": detail("dcdc_c", "ambient_c"),
    "power_w": detail("power_w", "input_w"),
    "group": detail("group"),
    "address": detail("address"),
    "input_mode": lambda reading: MODES[dict(reading.details)["input_mode"]],
    "version": detail("dcdc_version"),
    "fan": detail("fan"),
    "flags": lambda reading: list(reading.flags.names),
    "ok": lambda reading: reading.refusal is None and reading.echo,
}


def test_rows_without_an_example_are_read_by_the_layout() -> None:
    said = {
        "42 F0 00 17 00 00 0B B8": (("altitude_m", 3000.0),),
        "42 F0 00 1E 00 00 00 05": (("set_group", 5.0),),
        "42 F0 00 55 00 00 07 E9": (("serial_high", 2025.0),),
    }
    for data, details in said.items():
        reading = MAXWELL_MXR.decode(0x060F8008, bytes.fromhex(data))
        assert reading is not None and reading.details == details
    volts = MAXWELL_MXR.decode(0x060F8008, bytes.fromhex("41 F0 00 21 44 2F 00 00"))
    amps = MAXWELL_MXR.decode(0x060F8008, bytes.fromhex("42 F0 00 1B 00 00 28 00"))
    off = MAXWELL_MXR.decode(0x060F8008, bytes.fromhex("42 F0 00 30 00 01 00 00"))
    assert volts is not None and volts.voltage_v == 700.0
    assert amps is not None and amps.current_a == 10.0
    assert off is not None and off.on is False
    serial = MAXWELL_MXR.decode(0x060F8008, bytes.fromhex("42 F0 00 54 12 34 AB CD"))
    assert serial is not None and serial.serial == "1234ABCD"


def test_every_register_is_held_by_a_vector() -> None:
    seen = {row["meaning"]["register"] for param in (*vectors("rx"), *vectors("tx")) for _, row in (param.values,)}
    assert {row.number for row in REGISTERS} <= seen


# --- status bits ----------------------------------------------------------------------------------------------------


def status(word: int) -> Any:
    reading = MAXWELL_MXR.decode(0x060F8008, bytes((INTEGER_REPLY, 0xF0, 0, 0x40)) + word.to_bytes(4, "big"))
    assert reading is not None and reading.flags is not None
    return reading.flags


SEVERE = {0, 1, 4, 5, 7, 8, 9, 14, 16, 17, 27, 28, 30, 31}


def test_every_status_bit_is_classed_as_in_the_sheet() -> None:
    assert {bit for bit in range(32) if status(1 << bit).faults} == SEVERE
    assert {bit for bit in range(32) if status(1 << bit).warnings} == {3, 24, 25}
    assert set(STATUS) >= SEVERE | {22, 23, 24, 25}


def test_an_idle_module_has_no_fault_and_is_off() -> None:
    flags = status(1 << 22)
    assert (flags.on, flags.faults, flags.warnings) == (False, frozenset(), frozenset())
    assert status(0).on


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [-1, 64, 0xF0, 0xFF])
def test_only_off_goes_to_all(address: int) -> None:
    for encode in (
        lambda: MAXWELL_MXR.encode_setpoint(address, 400, 1),
        lambda: MAXWELL_MXR.encode_power(address, True),
        lambda: MAXWELL_MXR.encode_power(address, False),
        lambda: MAXWELL_MXR.encode_read(address, Signal.STATUS),
    ):
        with pytest.raises(ValueError, match="one module"):
            encode()
    with pytest.raises(ValueError, match="one by one"):
        MAXWELL_MXR.encode_read(None, Signal.STATUS)


def test_a_voltage_below_the_least_is_sent_as_the_least_and_says_so() -> None:
    for make, least_v in ((MAXWELL_MXR, 150.0), (WINLINE, 200.0)):
        volts, amps = make.encode_setpoint(1, 0.0, 0.0)
        assert (volts.voltage_v, amps.current_a) == (least_v, 0.0)
        assert struct.unpack(">f", volts.data[4:]) == (least_v,)


def test_what_the_make_lacks_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="winline modules do not tell their fan supply"):
        WINLINE.encode_read(1, Signal.FAN_SUPPLY)
    with pytest.raises(ValueError, match="maxwell_mxr modules do not tell their voltage set-point"):
        MAXWELL_MXR.encode_read(1, Signal.SET_VOLTAGE)
    with pytest.raises(ValueError, match="one output range"):
        WINLINE.encode_range(1, True)


@pytest.mark.parametrize("status_byte", [0xF2, 0x00, 0xFF])
@pytest.mark.parametrize("row", REGISTERS, ids=lambda row: f"{row.number:#x}")
def test_a_value_that_comes_with_a_fault_is_not_used(row: Any, status_byte: int) -> None:
    reading = MAXWELL_MXR.decode(0x060F8008, bytes((FLOAT_REPLY, status_byte, 0, row.number, 0x43, 0xFA, 0, 0)))
    assert reading == ModuleReading(1, row.signal, None, refusal=Refusal.DATA)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("41 F0 00 99 00 00 00 00", "unknown register 0x99"),
        ("41 F0 00 01 7F C0 00 00", "register 0x1 reads nan"),
        ("41 F0 00 02 7F 80 00 00", "register 0x2 reads inf"),
        ("41 F0 00 01 C0 00 00 00", "register 0x1 reads -2.0"),
        ("41 F0 00 04 C4 00 00 00", "register 0x4 reads -512.0"),
        ("42 F0 00 30 00 00 00 01", "on/off value 0x1"),
    ],
)
def test_ours_but_malformed_is_told_apart(data: str, words: str) -> None:
    with pytest.raises(MalformedFrame, match=words):
        MAXWELL_MXR.decode(0x060F8008, bytes.fromhex(data))


@pytest.mark.parametrize("can_id", [0x0757F802, 0x060F0008, 0x060F8780, 0x061F8008, 0x06080F80])
def test_what_is_not_for_us_or_of_no_module_is_left_alone(can_id: int) -> None:
    assert MAXWELL_MXR.decode(can_id, bytes.fromhex("41 F0 00 01 44 2F 00 00")) is None


# --- echoes and invariants ------------------------------------------------------------------------------------------


def answered(make: RegisterFamily, address: int, data: bytes, kind: int) -> ModuleReading:
    """What a module answers to a set that it accepts."""
    reading = make.decode(0x060F8000 | address << 3, bytes((kind, 0xF0)) + data[2:])
    assert reading is not None and reading.echo
    return reading


makes = st.sampled_from([MAXWELL_MXR, WINLINE])
addresses = st.integers(0, MAX_ADDRESS)


@given(makes, addresses, st.floats(200, 1000), st.floats(0, 133))
def test_setpoints_come_back_as_echo_and_never_higher(
    make: RegisterFamily, address: int, voltage_v: float, current_a: float
) -> None:
    volts, amps = make.encode_setpoint(address, voltage_v, current_a)
    echo_v = answered(make, address, volts.data, FLOAT_REPLY)
    echo_a = answered(make, address, amps.data, INTEGER_REPLY)
    assert echo_v.address == echo_a.address == address
    assert (echo_v.signal, echo_a.signal) == (volts.answer, amps.answer)
    assert echo_v.voltage_v == volts.voltage_v and echo_a.current_a == amps.current_a
    assert echo_v.voltage_v is not None and voltage_v - 1 / 64 - 1e-9 < echo_v.voltage_v <= voltage_v
    assert echo_a.current_a is not None and current_a - 1 / 1024 - 1e-9 < echo_a.current_a <= current_a


@given(addresses, st.booleans())
def test_switching_comes_back_as_echo(address: int, yes: bool) -> None:
    (power,) = MAXWELL_MXR.encode_power(address, yes)
    assert answered(MAXWELL_MXR, address, power.data, INTEGER_REPLY).on is yes


def test_split_of_the_data_sheet() -> None:
    share = WINLINE.split_current(400.0, 9)[0]
    assert share == 45511 / 1024 and len(WINLINE.split_current(400.0, 9)) == 9
