"""The frames of Tonhe against the examples of its text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from protocols.base import MalformedFrame, Refusal, Signal
from protocols.tonhe import (
    ADDRESS_MODE,
    ALL_MODULES,
    FAULTS,
    INPUT_MODE,
    MESSAGES,
    MORE_FAULTS,
    PFC,
    SET_ADDRESS,
    SET_MANY,
    SWITCH_MANY,
    TONHE,
    build_frame,
)

GOLDEN = Path(__file__).parent / "golden" / "tonhe.json"
STATES = {"on": True, "off": False, "fault off": False}


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
    if "heartbeat" in meaning:
        (frame,) = TONHE.encode_read(None, Signal.HEARTBEAT)
    elif module is None or meaning.get("mode") == 1:
        return None
    elif meaning["on"]:
        (frame,) = TONHE.encode_setpoint(module, meaning["voltage_v"], meaning["current_a"])
        assert (frame.voltage_v, frame.current_a) == (meaning["voltage_v"], meaning["current_a"])
        assert frame.on is True
    elif meaning["voltage_v"] == 0.0:
        (frame,) = TONHE.encode_power(module, False)
        assert frame.on is False
    else:
        return None
    return frame.can_id, frame.data


def never_sent(row: dict[str, Any]) -> tuple[int, bytes]:
    """The same by hand: what goes to many at once, what is stored, mode 1, and an OFF that keeps its set-point."""
    meaning = row["meaning"]
    switch = {True: 0xAA, False: 0x55}.get(meaning.get("on", ""), 0)
    volts = round(meaning.get("voltage_v", 0) * 10).to_bytes(2, "little")
    amps = round(meaning.get("current_a", 0) * 100).to_bytes(2, "little")
    if "modules" in meaning:
        multiple = (meaning["modules"][0] - 1) // 24
        mask = sum(1 << number - 1 - 24 * multiple for number in meaning["modules"]).to_bytes(3, "little")
        if "voltage_v" in meaning:
            return build_frame(SET_MANY, ALL_MODULES, mask + bytes((multiple,)) + volts + amps)
        return build_frame(SWITCH_MANY, ALL_MODULES, mask + bytes((switch, multiple)))
    if "new_address" in meaning:
        return build_frame(SET_ADDRESS, ALL_MODULES, bytes((meaning["new_address"],)))
    if "address_mode" in meaning:
        return build_frame(ADDRESS_MODE, ALL_MODULES, bytes((meaning["address_mode"] == "manual",)))
    if "input_mode" in meaning:
        return build_frame(INPUT_MODE, ALL_MODULES, bytes((meaning["input_mode"] == "AC",)))
    return build_frame(0x0806, row["module"], bytes((switch, meaning.get("mode", 0))) + volts + amps)


@pytest.mark.parametrize("row", vectors("tx"))
def test_request_byte_for_byte(row: dict[str, Any]) -> None:
    can_id, data = wire(row)
    assert (sent(row) or never_sent(row)) == (can_id, data)
    assert TONHE.is_request(can_id, data)
    assert TONHE.decode(can_id, data) is None


#: the vector's word -> how the reading says it
SAID: dict[str, Any] = {
    "voltage_v": lambda reading: reading.voltage_v,
    "current_a": lambda reading: reading.current_a,
    "faults": lambda reading: [name for name in reading.flags.names if name in {row[0] for row in FAULTS.values()}],
    "pfc": lambda reading: [name for name in reading.flags.names if name in {row[0] for row in PFC.values()}],
    "confirmed": lambda reading: reading.echo and reading.refusal is None,
    "ac_v": lambda reading: [volts for name, volts in reading.details if name.startswith("ac_")],
    "ambient_c": lambda reading: dict(reading.details)["ambient_c"],
    "ext_fault": lambda reading: sorted(reading.more_warnings),
}


@pytest.mark.parametrize("row", vectors("rx"))
def test_reply_field_by_field(row: dict[str, Any]) -> None:
    can_id, data = wire(row)
    meaning = row["meaning"]
    assert not TONHE.is_request(can_id, data)
    reading = TONHE.decode(can_id, data)
    assert reading is not None
    assert reading.address == row["module"] == TONHE.address_of(can_id)
    told = {key: value for key, value in meaning.items() if key in SAID}
    assert told, "nothing in this vector was looked at"
    assert {key: SAID[key](reading) for key in told} == told
    if "state" in meaning:
        assert reading.flags is not None
        assert reading.on is STATES[meaning["state"]]
        assert ("fault_off" in reading.flags.faults) is (meaning["state"] == "fault off")


def test_every_message_of_the_table_is_held_by_a_vector() -> None:
    seen = {int(row["can_id"][:4], 16) for (row,) in (param.values for param in vectors("rx"))}
    assert {row.message for row in MESSAGES} == seen


# --- status bits ----------------------------------------------------------------------------------------------------


def state(code: int = 1, faults: int = 0, pfc: int = 0) -> Any:
    data = bytes((code, 0, 0, 0, 0)) + faults.to_bytes(2, "little") + bytes((pfc,))
    reading = TONHE.decode(0x1801A001, data)
    assert reading is not None and reading.flags is not None
    return reading.flags


STOPPING = {0, 1, 2, 3, 4, 5, 6, 8, 15}
PFC_STOPPING = {0, 1, 4, 6, 7}


def test_every_bit_is_classed() -> None:
    assert set(FAULTS) == set(range(16)) and set(PFC) == set(range(8))
    for bit in range(16):
        assert bool(state(faults=1 << bit).faults) is (bit in STOPPING), bit
        assert bool(state(faults=1 << bit).warnings) is (bit not in STOPPING), bit
    for bit in range(8):
        assert bool(state(pfc=1 << bit).faults) is (bit in PFC_STOPPING), bit
    assert state(pfc=1 << 4).same_serial and not state(pfc=1 << 5).same_serial
    assert state(code=0, faults=1 << 11).warnings == frozenset()  # a power stage that is off is normal then


def test_the_state_is_the_authority_and_bit_7_counts_only_beside_a_fault() -> None:
    """Warnings 12 and 13 set bit 7 as well."""
    assert state(faults=1 << 7 | 1 << 12).faults == frozenset()
    assert state(faults=1 << 7 | 1 << 12).warnings == {"hw_fault", "output_uv_warning"}
    assert state(faults=1 << 7 | 1 << 15).faults == {"hw_fault", "short"}
    assert state(code=0x11).faults == {"fault_off"}
    assert state(code=0x11, faults=1 << 7).faults == {"fault_off", "hw_fault"}


@pytest.mark.parametrize("bit", MORE_FAULTS)
def test_every_bit_of_the_second_word_is_a_warning_by_name(bit: int) -> None:
    reading = TONHE.decode(0x1C91A005, bytes((0, 0)) + (1 << bit).to_bytes(2, "little") + bytes(4))
    assert reading is not None and reading.more_warnings == {MORE_FAULTS[bit]}


def test_the_second_state_word_is_kept_for_people() -> None:
    reading = TONHE.decode(0x1C91A005, bytes((8, 0)) + bytes(6))
    assert reading is not None and reading.details == (("ext_state", 8.0),)


# --- refusals -------------------------------------------------------------------------------------------------------


def test_to_stop_only_55h_counts_and_no_set_point_is_an_off() -> None:
    (off,) = TONHE.encode_power(3, False)
    assert (off.can_id, off.data.hex(" "), off.on) == (0x080603A0, "55 00 00 00 00 00 00 00", False)
    (least,) = TONHE.encode_setpoint(3, 0.0, 0.0)
    assert least.data.hex(" ") == "aa 00 dc 05 64 00 00 00"
    assert (least.voltage_v, least.current_a, least.on) == (150.0, 1.0, True)
    assert TONHE.encode_power(3, True) == ()


def test_off_to_all_reaches_every_address_that_config_allows() -> None:
    (off,) = TONHE.encode_all_off()
    assert (off.can_id, off.data.hex(" "), off.on) == (0x0803FFA0, "ff ff ff 55 00 00 00 00", False)


def test_a_module_that_did_not_receive_says_so() -> None:
    reading = TONHE.decode(0x0802A004, bytes(8))
    assert reading is not None and reading.refusal is Refusal.COMMAND


@pytest.mark.parametrize(
    ("can_id", "data", "words"), [(0x1801A001, "02", "state 0x2"), (0x0802A001, "07", "confirmation 0x7")]
)
def test_ours_but_malformed_is_told_apart(can_id: int, data: str, words: str) -> None:
    with pytest.raises(MalformedFrame, match=words):
        TONHE.decode(can_id, bytes.fromhex(data).ljust(8, b"\0"))


@pytest.mark.parametrize("can_id", [0x1801A000, 0x1801A0F1, 0x1801A101, 0x1802A001, 0x0220A0A9, 0x0757F802])
def test_what_is_not_for_us_or_of_no_module_is_left_alone(can_id: int) -> None:
    assert TONHE.decode(can_id, bytes(8)) is None


def test_split_of_the_data_sheet() -> None:
    assert TONHE.split_current(400.0, 9) == (44.44,) * 9
