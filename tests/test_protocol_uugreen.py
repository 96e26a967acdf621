"""The frames of UUGreenPower and Maxwell ENR against the vendors' examples, and the promises every make gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.base import Frame, MalformedFrame, ModuleReading, Signal
from protocols.uugreen import ALL_SET, MAXWELL_ENR, SET, UUGREEN, UUGreenFamily, build_frame

GOLDEN = Path(__file__).parent / "golden"
MAKES = {"uugreen": UUGREEN, "maxwell_enr": MAXWELL_ENR}

READS = {
    "vout": Signal.VOLTAGE_SLOW,
    "iout_slow": Signal.CURRENT_SLOW,
    "status": Signal.STATUS,
    "serial": Signal.SERIAL,
    "vab": Signal.AC_AB,
    "vbc": Signal.AC_BC,
    "vca": Signal.AC_CA,
    "fan_v": Signal.FAN_SUPPLY,
    "inlet_temp": Signal.INLET_TEMPERATURE,
    "pfc_temp": Signal.PFC_TEMPERATURE,
    "dcdc_temp2": Signal.DCDC_TEMPERATURE_1,
    "dcdc_temp3": Signal.DCDC_TEMPERATURE_2,
    "iout_fastest": Signal.CURRENT_FASTEST,
    "iout_fast": Signal.CURRENT,
    "silent": Signal.FAN_SILENCE,
    "hilo_mode": Signal.RANGE_SELECTED,
    "vout_fast": Signal.VOLTAGE,
    "true_hilo": Signal.RANGE,
    "current_capability": Signal.AVAILABLE,
    "current_and_capability": Signal.CURRENT_AND_AVAILABLE,
    "temperature margin m°C": Signal.TEMPERATURE_MARGIN,
    "fan 1 rpm": Signal.FAN_SPEED,
}
MODES = {"high 1000 V": 1, "low 500 V": 2, "automatic (ENR only)": 3}
#: printed with message type 0 by one vendor, with type 2 by the other: we send type 2
NOT_SENT = {"mod1_read_serial_type0_as_printed"}


def vectors(direction: str) -> list[Any]:
    found = []
    for name, make in MAKES.items():
        for row in json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))["vectors"]:
            if row["direction"] == direction:
                mark = "-inferred" if row["inferred"] else ""
                found.append(pytest.param(make, row, id=f"{name}-{row['name']}{mark}"))
    return found


def replies() -> list[Any]:
    """Each make with its own examples, and ENR with those of UUGreen wherever its text says "the same"."""
    found = vectors("rx")
    for make, row in (param.values for param in vectors("rx")):
        command = row["meaning"].get("command")
        if make is UUGREEN and command not in (None, 5, 8) and command in MAXWELL_ENR.rows:
            found.append(pytest.param(MAXWELL_ENR, row, id=f"maxwell_enr-same-{row['name']}"))
    return found


def wire(row: dict[str, Any]) -> tuple[int, bytes]:
    return int(row["can_id"], 16), bytes.fromhex(row["data"])


def encoded(make: UUGreenFamily, row: dict[str, Any]) -> tuple[int, bytes]:
    """The frame for a vector's meaning: by the make's encoders, or `build_frame` for what is never sent."""
    module, meaning, group = row["module"], row["meaning"], int(row["data"][0], 16)
    frame: Frame
    if "vbattery_v" in meaning:
        volts = round(meaning["vbattery_v"] * 10) << 16 | round(meaning["vref_v"] * 10)
        middle = round(meaning["current_a"] * 10)
        return build_frame(module, ALL_SET, meaning.get("byte1", 0), volts, middle=middle, group=group)
    if "read" in meaning:
        (frame,) = make.encode_read(module or None, READS[meaning["read"]], group)
    elif "fan_silent_level" in meaning:
        return build_frame(module, SET, make.commands[Signal.FAN_SILENCE], meaning["fan_silent_level"], group=group)
    elif "set_group" in meaning:
        return build_frame(module, SET, make.commands[Signal.SET_GROUP], meaning["set_group"], group=group)
    elif meaning.get("mode") == "automatic (ENR only)":
        return build_frame(module, SET, make.commands[Signal.SET_RANGE], MODES[meaning["mode"]], group=group)
    elif "mode" in meaning:
        (frame,) = make.encode_range(module, MODES[meaning["mode"]] == 2, group)
    elif module == 0:
        signal, value = _broadcast_set(meaning)
        return build_frame(0, SET, make.commands[signal], value, group=group)
    elif "on" in meaning:
        (frame,) = make.encode_power(module, meaning["on"], group)
    else:
        volts_frame, amps_frame = make.encode_setpoint(
            module, meaning.get("voltage_v", 0.0), meaning.get("current_a", 0.0), group
        )
        frame = volts_frame if "voltage_v" in meaning else amps_frame
    return frame.can_id, frame.data


def _broadcast_set(meaning: dict[str, Any]) -> tuple[Signal, int]:
    if "on" in meaning:
        return Signal.POWER, 0 if meaning["on"] else 1
    if "voltage_v" in meaning:
        return Signal.SET_VOLTAGE, round(meaning["voltage_v"] * 1000)
    return Signal.SET_CURRENT, round(meaning["current_a"] * 1000)


@pytest.mark.parametrize(("make", "row"), vectors("tx"))
def test_request_byte_for_byte(make: UUGreenFamily, row: dict[str, Any]) -> None:
    can_id, data = encoded(make, row)
    expected_id, expected = wire(row)
    assert can_id == expected_id
    if row["name"] in NOT_SENT:
        assert data[0] ^ expected[0] == 2 and data[1:] == expected[1:]
    else:
        assert data.hex(" ") == expected.hex(" ")
    assert make.is_request(expected_id, expected)
    assert make.decode(expected_id, expected) is None


SERIALS = {"mod1_serial": "240617-0-1449"}


@pytest.mark.parametrize(("make", "row"), replies())
def test_reply_field_by_field(make: UUGreenFamily, row: dict[str, Any]) -> None:
    can_id, data = wire(row)
    reading = make.decode(can_id, data)
    assert reading is not None and not make.is_request(can_id, data)
    assert reading.address == row["module"] == make.address_of(can_id)
    assert reading.echo == (data[0] & 15 in (1, 12))
    if reading.identity is not None:
        assert reading.identity == can_id & 0x3FFF
    meaning = row["meaning"]
    assert read_back(reading, meaning) == {key: meaning[key] for key in read_back(reading, meaning)}
    assert said(reading) == expected_fields(meaning)
    if "serial" in meaning or row["name"] in SERIALS:
        assert reading.serial == meaning.get("serial", SERIALS.get(row["name"]))


def read_back(reading: ModuleReading, meaning: dict[str, Any]) -> dict[str, Any]:
    """The vector's own words, filled from the reading."""
    plain: dict[str, Any] = {
        "voltage_v": reading.voltage_v,
        "vref_v": reading.voltage_v,
        "current_a": reading.current_a,
        "capability_a": reading.available_a,
        "on": reading.on,
        **dict(reading.details),
    }
    if reading.flags is not None:
        plain["flags"] = list(reading.flags.names)
    if reading.low_range is not None:
        plain["mode"] = "low 500 V" if reading.low_range else "high 1000 V"
    return {key: plain[key] for key in meaning if key in plain}


FIELDS = {
    "voltage_v": "voltage_v",
    "vref_v": "voltage_v",
    "current_a": "current_a",
    "capability_a": "available_a",
    "on": "on",
    "mode": "low_range",
}


def expected_fields(meaning: dict[str, Any]) -> set[str]:
    fields = {FIELDS[key] for key in meaning if key in FIELDS}
    return fields | ({"flags", "on"} if "flags" in meaning else set())


def said(reading: ModuleReading) -> set[str]:
    names = {*FIELDS.values(), "flags"}
    return {name for name in names if getattr(reading, name) is not None}


#: Rows without an example, by the layout: make, command, value, what the reading says. No decision uses them.
BY_LAYOUT: tuple[tuple[UUGreenFamily, int, int, str, float], ...] = (
    (UUGREEN, 31, 48_250, "pfc_c", 48.25),
    (UUGREEN, 34, 52_500, "dcdc_1_c", 52.5),
    (UUGREEN, 35, 53_750, "dcdc_2_c", 53.75),
    (UUGREEN, 62, 1, "fan_silence", 1.0),
    (MAXWELL_ENR, 61, 640_125, "terminal_v", 640.125),
    (MAXWELL_ENR, 120, 5_400, "fan_1_rpm", 5400.0),
)


def test_rows_without_an_example_are_read_by_the_layout() -> None:
    for make, command, value, name, said in BY_LAYOUT:
        reading = make.decode(0x022063A9, bytes((0x13, command, 0, 0)) + value.to_bytes(4, "big"))
        assert reading is not None and reading.details == ((name, said),)
    for make in MAKES.values():
        low = make.decode(0x022063A9, bytes((0x11, 95, 0, 0, 0, 0, 0, 2)))
        assert low is not None and low.echo and low.low_range is True


def test_every_command_of_the_vectors_is_covered() -> None:
    commands = {row["meaning"].get("command") for _, row in (p.values for p in vectors("rx"))} - {None, 5}
    assert commands <= set(UUGREEN.rows)


def test_every_scale_of_the_table_is_held_by_a_vector() -> None:
    """A wrong factor must not slip through: each scaled row has a vector, or is a temperature nobody decides on."""
    seen = {row["meaning"].get("command") for _, row in (p.values for p in vectors("rx"))}
    seen |= {row["meaning"].get("command") for _, row in (p.values for p in vectors("tx"))}
    unseen = {row.signal for row in UUGREEN.rows.values() if row.units_per_one != 1 and row.command not in seen}
    assert unseen == set()


# --- status bits ----------------------------------------------------------------------------------------------------


def status(make: UUGreenFamily, word: int) -> Any:
    reading = make.decode(0x022063A9, bytes((0x13, 8, 0, 0)) + word.to_bytes(4, "big"))
    assert reading is not None and reading.flags is not None
    return reading.flags


def test_short_circuit_is_a_fault_on_uugreen_and_reserved_on_enr() -> None:
    assert "short_shutdown" in status(UUGREEN, 1 << 30).faults
    assert status(MAXWELL_ENR, 1 << 30).faults == frozenset()


def test_loop_needs_bit_27_alone() -> None:
    assert status(UUGREEN, 1 << 27).constant_current
    assert not status(UUGREEN, 1 << 27 | 1 << 26).constant_current
    assert not status(UUGREEN, 0).constant_current


def test_power_stage_off_warns_only_while_the_module_says_on() -> None:
    assert status(UUGREEN, 1 << 24 | 1 << 25).warnings == frozenset()
    assert status(UUGREEN, 1 << 24).warnings == {"pfc_off"}
    assert status(UUGREEN, 1 << 22 | 1 << 25).warnings == {"derate_ac"}


def test_state_and_derating_bits_are_no_faults() -> None:
    for bit in (8, 10, 19, 22, 23, 24, 25, 26, 27):
        assert status(UUGREEN, 1 << bit).faults == frozenset(), bit
    for bit in {*range(32)} - {8, 10, 19, 22, 23, 24, 25, 26, 27}:
        assert len(status(UUGREEN, 1 << bit).faults) == 1, bit
    assert status(UUGREEN, 1 << 29).same_serial


# --- refusals -------------------------------------------------------------------------------------------------------


def test_only_off_and_reads_go_to_all() -> None:
    with pytest.raises(ValueError, match="never sent to all"):
        UUGREEN.encode_setpoint(0, 400, 1)
    with pytest.raises(ValueError, match="ON is never sent to all"):
        UUGREEN.encode_power(0, True)
    with pytest.raises(ValueError, match="one module at a time"):
        UUGREEN.encode_range(0, True)
    assert [frame.data.hex() for frame in UUGREEN.encode_all_off()] == ["0004000000000001", "1004000000000001"]
    assert all(frame.can_id == 0x02200000 and frame.answer is None for frame in UUGREEN.encode_all_off())


def test_a_signal_that_the_make_lacks_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="maxwell_enr modules do not tell their fan supply"):
        MAXWELL_ENR.encode_read(1, Signal.FAN_SUPPLY)


def test_ours_but_malformed_is_told_apart_from_foreign() -> None:
    with pytest.raises(MalformedFrame, match="unknown command 200"):
        UUGREEN.decode(0x022063A9, bytes((0x13, 200, 0, 0, 0, 0, 0, 0)))
    with pytest.raises(MalformedFrame, match="message type 9"):
        UUGREEN.decode(0x022063A9, bytes((0x19, 0, 0, 0, 0, 0, 0, 0)))
    with pytest.raises(MalformedFrame, match="on/off"):
        UUGREEN.decode(0x022063A9, bytes((0x11, 4, 0, 0, 0, 0, 0, 7)))
    assert UUGREEN.decode(0x0757F801, bytes(8)) is None
    assert UUGREEN.decode(0x024063A9, bytes((0x13, 0, 0, 0, 0, 0, 0, 0))) is None  # another monitor's module


# --- invariants -----------------------------------------------------------------------------------------------------

makes = st.sampled_from([UUGREEN, MAXWELL_ENR])
addresses = st.integers(1, 127)


@given(makes, addresses, st.floats(0, 1000), st.floats(0, 133))
def test_setpoints_come_back_as_echo_and_never_higher(
    make: UUGreenFamily, address: int, voltage_v: float, current_a: float
) -> None:
    volts, amps = make.encode_setpoint(address, voltage_v, current_a)
    echo_v = make.decode(volts.can_id | 0x23A9, bytes((volts.data[0] | 1,)) + volts.data[1:])
    echo_a = make.decode(amps.can_id | 0x23A9, bytes((amps.data[0] | 1,)) + amps.data[1:])
    assert echo_v is not None and echo_a is not None and echo_v.echo and echo_a.echo
    assert echo_v.address == echo_a.address == address
    assert echo_v.voltage_v == volts.voltage_v and echo_a.current_a == amps.current_a
    assert echo_v.voltage_v is not None and voltage_v - 0.001000001 < echo_v.voltage_v <= voltage_v
    assert echo_a.current_a is not None and current_a - 0.001000001 < echo_a.current_a <= current_a


def test_split_of_the_data_sheet() -> None:
    assert UUGREEN.split_current(400.0, 9) == (44.444,) * 9
