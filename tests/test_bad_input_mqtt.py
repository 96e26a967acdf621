"""Every row of the bad-input table for MQTT: the bad item changes nothing, is counted by reason, and ends nothing.

B32 on the wire (paho's own reading of such a topic) stands in test_mqtt_handler.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from message_bench import DEVICES, Bench, HandClock, RecordedCommands

from gun import Gun
from message_processor import MAX_ROUTES, MessageProcessor
from planning.model import ValueKind, VehicleStatus
from planning.settings import Devices, Mqtt

DEMAND = "vesec/1/demand/D1"
SOC = "vesec/1/soc/D1"
STATUS = "vesec/1/vehicle_status/D1"


@dataclass(frozen=True)
class Bad:
    """One bad message and the reason that it must be refused with."""

    payload: bytes
    reason: str = "FORMAT"
    topic: str | bytes = DEMAND
    retain: bool = False


def text(payload: str, reason: str = "FORMAT", topic: str | bytes = DEMAND) -> Bad:
    return Bad(payload.encode(), reason, topic)


ROWS: dict[str, list[Bad]] = {
    "B1 NaN": [text('{"demand": NaN}'), text('{"value": NaN}'), text("NaN"), text('{"value": 1, "x": NaN}')],
    "B2 Infinity": [text("Infinity"), text("-Infinity"), text('{"value": Infinity}'), text('{"value": -Infinity}')],
    "B3 1e999": [text("1e999"), text('{"value": 1e999}')],
    "B4 words of float()": [text("nan"), text("1e400"), text("inf"), text("0x28"), text('"1e2"'), text('"nan"')],
    "B5 boolean": [text("true"), text("false"), text('{"value": true}'), text('"true"')],
    "B6 text for a number": [text('"forty"'), text('{"value": "40 kW"}'), text('""'), text('{"value": ""}')],
    "B7 other digits": [
        text("4_0"), text("٤٠"), text("４０"), text('"４０"'), text("4 0"), text("4\n0"), text("\u00a040"),
        text("40\x0b"), text("40\x00"), text("1,5"), text(".5"), text("5."), text("+5"), text("1e-5"),
    ],
    "B8 duplicate key": [text('{"value": 1, "value": 40}'), text('{"value": 1, "x": 1, "x": 2}')],
    "B9 5,000-digit integer": [text("9" * 5000, "SIZE"), text('{"value": ' + "9" * 5000 + "}", "SIZE")],
    "B10 300-digit integer": [
        text("9" * 300, "RANGE"), text('{"value": ' + "9" * 300 + "}", "RANGE"), text("9" * 900, "RANGE"),
    ],
    "B11 nesting": [text("[" * 100_000, "SIZE"), text("[" * 1024), text('{"value":' * 113 + "1"), text("{" * 1000)],
    "B12 trailing rubbish": [
        text("75 kW"), text("75}"), text('{"value": 75} x'), text('"75" "80"'), text('{"value": 75,}'),
    ],
    "B13 empty": [text(""), text("   "), text("", topic=STATUS)],
    "B14 BOM, UTF-16": [Bad(b"\xef\xbb\xbf75"), Bad("75".encode("utf-16")), Bad("75".encode("utf-16-le"))],
    "B15 invalid UTF-8": [Bad(b"\xff\xfe"), Bad(b"7\xc0\xaf5"), Bad(b'{"value": "\xed\xa0\x80"}'), text('"\\ud800"')],
    "B16 signs and bounds": [
        text("-0.0"), text("-0"), text("-5"), text('{"value": -5}'), text("1000.0001", "RANGE"), text("1e-320"),
        text('{"value": 1001}', "RANGE"),
    ],
    "B17 SOC": [
        text("101", "RANGE", SOC), text("-1", "FORMAT", SOC), text("null", "FORMAT", SOC), text("n/a", "FORMAT", SOC),
        text('{"value": null}', "FORMAT", SOC), text("100.01", "RANGE", SOC),
    ],
    "B19 unknown status": [
        text(word, topic=STATUS) for word in ("chargin", "G", "1", "charging now", "ＣＨＡＲＧＩＮＧ", "\u212a")
    ],
    "B20 status of another type": [
        text(payload, topic=STATUS)
        for payload in ('["charging"]', '{"value": {"a": 1}}', '{"status": "C"}', "true", "3")
    ],
    "B22 missing key": [text("{}"), text('{"demand": 40}'), text('{"ts": 1800000000}'), text('{"Value": 40}')],
    "B23 1 MiB": [text("4" * 1024 * 1024, "SIZE"), text(" " * 1023 + "75", "SIZE")],
    "B24 control characters": [
        text("\x1b[2J"), text("75\x00"), text("\r\n\x07ERROR"), text('"\\u001b[2J"', topic=STATUS),
    ],
    "B25 time stamps": [
        text('{"value": 1, "ts": 1800000000000}', "CLOCK"), text('{"value": 1, "ts": 0}', "CLOCK"),
        text('{"value": 1, "ts": 253402300799}', "CLOCK"), text('{"value": 1, "ts": "2027-01-15T08:00:00Z"}'),
        text('{"value": 1, "ts": null}'), text('{"value": 1, "ts": true}'), text('{"value": 1, "ts": -1}'),
        text('{"value": 1, "ts": 1e999}'), text('{"value": 1, "ts": ' + "9" * 400 + "}", "CLOCK"),
    ],
    "B26 sequence": [
        text('{"value": 1, "seq": 100}', "REPLAY"), text('{"value": 1, "seq": 99}', "REPLAY"),
        text('{"value": 1, "seq": 0}', "REPLAY"), text('{"value": 1, "seq": -1}'), text('{"value": 1, "seq": 1.5}'),
        text('{"value": 1, "seq": "101"}'), text('{"value": 1, "seq": 9999999999999999999}'),
        text('{"value": 1, "seq": true}'),
    ],
    "B28 duplicate by QoS 1": [text('{"value": 900, "seq": 100}', "REPLAY")],
    "B29 retained copy": [Bad(b"400", "RETAINED", retain=True), Bad(b"charging", "RETAINED", STATUS, retain=True)],
    "B31 gun and level": [
        text("75", "TOPIC", topic)
        for topic in (
            "vesec/0/demand/D1", "vesec/3/demand/D1", "vesec/7/demand/D1", "vesec/-1/demand/D1", "vesec/01/demand/D1",
            "vesec/1x/demand/D1", "vesec/1 /demand/D1", "vesec//demand/D1", "vesec/1/demand/", "vesec/1/demand",
            "vesec/1/demand/D1/", "/vesec/1/demand/D1", "vesec/1/demand/d1", "vesec/1/demand/D4", "Vesec/1/demand/D1",
            "vesec/١/demand/D1", "vesec/1/dem\u212a/D1", "vesec/1//D1", "vesec/1/demand/D1 ", "",
        )
    ],
    "B32 topic is no UTF-8": [Bad(b"75", "TOPIC", b"vesec/1/\xff/D1"), Bad(b"75", "TOPIC", b"\xff\xfe")],
    "B33 long topic": [
        text("75", "TOPIC", topic)
        for topic in ("x" * 65_535, "vesec/" + "a/" * 128, "vesec/1/demand" + "-" * 300 + "/D1")
    ],
    "B34 wildcard, $SYS": [
        text("75", "TOPIC", topic)
        for topic in ("vesec/+/demand/D1", "vesec/#", "$SYS/broker/load", "vesec/1/demand/+")
    ],
    "B35 another site": [
        text("75", "TOPIC", topic)
        for topic in ("vesec2/1/demand/D1", "other/1/demand/D1", "other/station/reset/central/set")
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    "bad", [pytest.param(bad, id=f"{row} {n}") for row, rows in ROWS.items() for n, bad in enumerate(rows, start=1)]
)
def test_a_bad_message_is_refused_and_changes_nothing(bad: Bad) -> None:
    bench = Bench()
    bench.say(DEMAND, '{"value": 40, "seq": 100}')
    bench.say(SOC, "80")
    bench.say(STATUS, "charging")
    bench.clock.advance(2.0)
    before = {number: gun.snapshot() for number, gun in bench.guns.items()}

    assert bench.say(bad.topic, bad.payload, bad.retain) == bad.reason

    assert {number: gun.snapshot() for number, gun in bench.guns.items()} == before, "age or value was touched"
    assert bench.commands.calls == []
    assert bench.told[-1].reason.value == bad.reason
    shown = bench.told[-1].topic + bench.told[-1].payload + bench.told[-1].sentence
    assert shown.isascii() and shown.isprintable()
    assert bench.say(DEMAND, "50") is None and bench.values().demand_kw == 50.0


def test_b18_jumping_soc_is_accepted() -> None:
    bench = Bench()
    assert [bench.say(SOC, value) for value in ("80", "20", "80")] == [None, None, None]
    assert bench.values().soc_pct == 80.0


def test_b21_unknown_keys_are_ignored_and_counted() -> None:
    bench = Bench()
    assert bench.say(DEMAND, '{"value": 40, "firmware": "1.2", "nested": {"a": [1, 2]}}') is None
    assert bench.values().demand_kw == 40.0 and bench.processor.counts.unknown_keys == 2


def test_b25_stamps_are_only_judged_by_a_clock_that_is_right() -> None:
    bench = Bench(synchronised=False)
    assert bench.say(DEMAND, '{"value": 40, "ts": 0}') is None


def test_b26_a_jump_ahead_is_taken_and_healed_after_silence() -> None:
    bench = Bench()
    assert bench.say(DEMAND, '{"value": 1, "seq": 1000000000}') is None
    assert bench.say(DEMAND, '{"value": 2, "seq": 5}') == "REPLAY"
    bench.clock.advance(10.0)
    assert bench.say(DEMAND, '{"value": 2, "seq": 5}') is None


def test_b27_a_flood_keeps_only_the_newest_value_and_no_queue() -> None:
    bench = Bench()
    for number in range(1000):
        bench.say(DEMAND, str(number))
    assert bench.values().demand_kw == 999.0 and bench.told == []


def test_b29_nothing_stored_on_the_broker_becomes_power() -> None:
    bench = Bench()
    for device in DEVICES.guns:
        for gun_id in (1, 2):
            assert bench.say(f"vesec/{gun_id}/demand/{device}", "400", retain=True) == "RETAINED"
    assert all(bench.values(gun).demand_kw is None for gun in bench.guns)


def test_b30_a_gun_that_is_not_configured_is_refused() -> None:
    told: list[object] = []
    processor = MessageProcessor(
        {1: Gun(1)}, Devices({"D1": (1, 2)}), Mqtt(), RecordedCommands(), told.append, HandClock(), lambda: True
    )
    processor.handle(b"vesec/2/demand/D1", b"75", False)
    assert len(told) == 1


@pytest.mark.parametrize(
    "topic",
    [f"vesec/{what}/central" for what in ("1/allocation", "station/status", "station/fault", "1/rejected")],
)
@pytest.mark.parametrize("retain", [False, True])
def test_b36_our_own_messages_are_ignored_without_a_word(topic: str, retain: bool) -> None:
    bench = Bench()
    assert bench.say(topic, '{"demand_kw": 75}', retain) is None
    assert bench.told == [] and bench.processor.counts.own == 1


def test_a_flood_of_spellings_does_not_fill_the_memory() -> None:
    bench = Bench()
    for number in range(3 * MAX_ROUTES):
        spelling = "demand" + "_" * (number % 200) + "-" * (number // 200)
        assert bench.say(f"vesec/1/{spelling}/D1", "1") is None
    assert len(bench.processor._routes) <= MAX_ROUTES


def test_a_fault_is_still_heard_after_every_bad_message() -> None:
    bench = Bench()
    bench.guns[1].update(ValueKind.STATUS, VehicleStatus.CHARGING, 0.0)
    for rows in ROWS.values():
        for bad in rows:
            bench.say(bad.topic, bad.payload, bad.retain)
    assert bench.say(STATUS, "fault") is None
    assert bench.values().status is VehicleStatus.FAULT


def test_b14_a_byte_order_mark_is_named_since_nobody_sees_it() -> None:
    bench = Bench()
    bench.say(DEMAND, b"\xef\xbb\xbf75")
    assert "byte order mark" in bench.told[0].sentence
