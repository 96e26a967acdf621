"""MessageProcessor: who is meant, what is accepted, what is commanded, and how refusals are told."""

from __future__ import annotations

import logging
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from message_bench import Bench

from planning.model import ValueKind, VehicleStatus
from planning.payload import Reason, Rejection
from planning.settings import Mqtt, Priority


@pytest.fixture
def bench() -> Bench:
    return Bench()


# --- values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "gun"),
    [(f"{gun_id}/demand/D{device}", 2 * device + gun_id - 2) for device in (1, 2, 3) for gun_id in (1, 2)],
)
def test_the_device_and_its_gun_id_name_the_gun(bench: Bench, topic: str, gun: int) -> None:
    assert bench.say(f"vesec/{topic}", "75") is None
    assert {number for number in bench.guns if bench.values(number).demand_kw == 75.0} == {gun}
    assert bench.guns[gun].snapshot().heard_at_s == bench.clock.now_s()


@pytest.mark.parametrize(
    ("message_type", "field"),
    [
        ("soc", "soc_pct"),
        ("DEMAND", "demand_kw"),
        ("target_voltage", "target_voltage_v"),
        ("Target Voltage", "target_voltage_v"),
        ("bus-voltage", "bus_voltage_v"),
        ("VoltageLimit", "voltage_limit_v"),
        ("current_LIMIT", "current_limit_a"),
    ],
)
def test_case_space_and_hyphen_do_not_matter_in_a_message_type(bench: Bench, message_type: str, field: str) -> None:
    assert bench.say(f"vesec/1/{message_type}/D1", "42.5") is None
    assert getattr(bench.values(), field) == 42.5


STATUS = {
    VehicleStatus.NO_CAR: ("disconnected", "available", "idle", "A"),
    VehicleStatus.WAITING: ("connected", "preparing", "B"),
    VehicleStatus.CHARGING: ("charging", "C", "D"),
    VehicleStatus.FINISHING: ("suspended", "finishing"),
    VehicleStatus.FAULT: ("fault", "faulted", "error", "E", "F"),
}


@pytest.mark.parametrize(("status", "word"), [(status, word) for status, words in STATUS.items() for word in words])
def test_status_words(bench: Bench, status: VehicleStatus, word: str) -> None:
    for spelling in (word, word.upper(), f" {word.lower()}\n", f'"{word}"', f'{{"value": "{word}"}}', f"-{word}_"):
        bench.guns[1].update(*_other_status(status))
        assert bench.say("vesec/1/vehicle_status/D1", spelling) is None
        assert bench.values().status is status
    assert bench.say("vesec/1/status/D1", word) is None


def _other_status(status: VehicleStatus) -> tuple[ValueKind, VehicleStatus, float]:
    other = VehicleStatus.FAULT if status is not VehicleStatus.FAULT else VehicleStatus.CHARGING
    return ValueKind.STATUS, other, 0.0


@pytest.mark.parametrize(
    ("payload", "demand_kw"),
    [
        ("75", 75.0), ("120.5", 120.5), (" 75 ", 75.0), ("75\n", 75.0), ("007", 7.0), ("0", 0.0), ("1000", 1000.0),
        ('"75"', 75.0), ('" 75.5 "', 75.5), ('{"value": 75}', 75.0), ('{"value": "75"}', 75.0), ("1.5e2", 150.0),
        ('{"value": 75, "ts": 1800000000, "seq": 1}', 75.0), ('{"value": 75, "temp": -3, "tags": [null, true]}', 75.0),
    ],
)  # fmt: skip
def test_payloads_that_are_accepted(bench: Bench, payload: str, demand_kw: float) -> None:
    assert bench.say("vesec/1/demand/D1", payload) is None
    assert bench.values().demand_kw == demand_kw
    assert math.copysign(1.0, demand_kw) == 1.0


def test_unknown_keys_are_counted(bench: Bench) -> None:
    bench.say("vesec/1/demand/D1", '{"value": 1, "a": 2, "b": 3}')
    assert bench.processor.counts.unknown_keys == 2


LIMITS = {
    "soc": (0, 100), "demand": (0, 1000), "target_voltage": (0, 1500), "bus_voltage": (0, 1500),
    "voltage_limit": (0, 1500), "current_limit": (0, 1000),
}  # fmt: skip


@pytest.mark.parametrize("message_type", LIMITS)
def test_ranges_hold_at_both_ends(bench: Bench, message_type: str) -> None:
    low, high = LIMITS[message_type]
    topic = f"vesec/1/{message_type}/D1"
    assert bench.say(topic, str(low)) is None and bench.say(topic, str(high)) is None
    kept = bench.values()
    assert bench.say(topic, f"{high}.0001") == "RANGE"
    assert bench.values() == kept


# --- clock and sequence -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("off_s", "reason"), [(-5.0, None), (-5.5, "CLOCK"), (5.0, None), (5.5, "CLOCK")])
def test_a_stamp_counts_while_the_clock_is_synchronised(bench: Bench, off_s: float, reason: str | None) -> None:
    payload = f'{{"value": 75, "ts": {bench.clock.wall_s() + off_s}}}'
    assert bench.say("vesec/1/demand/D1", payload) == reason
    assert bench.values().demand_kw == (None if reason else 75.0)
    bench.synchronised = False
    assert bench.say("vesec/1/demand/D1", payload) is None


def test_a_sequence_must_grow(bench: Bench) -> None:
    def sent(seq: int, value: int) -> str | None:
        return bench.say("vesec/1/demand/D1", f'{{"value": {value}, "seq": {seq}}}')

    assert sent(5, 50) is None
    assert sent(5, 60) == "REPLAY" and sent(4, 60) == "REPLAY"
    assert bench.values().demand_kw == 50.0
    assert sent(6, 70) is None
    assert bench.say("vesec/1/soc/D1", '{"value": 1, "seq": 1}') is None, "each topic has its own sequence"
    assert bench.say("vesec/1/DEMAND/D1", '{"value": 1, "seq": 6}') == "REPLAY", "another spelling is the same topic"
    bench.clock.advance(9.9)
    assert sent(1, 80) == "REPLAY"
    bench.clock.advance(0.1)
    assert sent(1, 80) is None, "after 10 s without an accepted message the device may have restarted"
    assert sent(1, 90) == "REPLAY"


def test_a_refused_value_does_not_use_up_its_sequence_number(bench: Bench) -> None:
    assert bench.say("vesec/1/demand/D1", '{"value": 5000, "seq": 9}') == "RANGE"
    assert bench.say("vesec/1/demand/D1", '{"value": 50, "seq": 9}') is None


# --- retained -----------------------------------------------------------------------------------------------------


def test_a_retained_copy_is_refused_and_told(bench: Bench) -> None:
    assert bench.say("vesec/1/demand/D1", "400", retain=True) == "RETAINED"
    assert bench.values().demand_kw is None and bench.guns[1].snapshot().heard_at_s is None
    assert bench.told[0].reason is Reason.RETAINED
    assert bench.say("vesec/1/demand/D1", "", retain=True) is None, "a cleared copy is nobody's mistake"


def test_retained_values_can_be_allowed_but_never_commands() -> None:
    bench = Bench(Mqtt(accept_retained=True))
    assert bench.say("vesec/1/demand/D1", "40", retain=True) is None
    assert bench.values().demand_kw == 40.0
    assert bench.say("vesec/station/site_limit/central/set", "40", retain=True) == "RETAINED"
    assert bench.commands.calls == []


# --- commands -----------------------------------------------------------------------------------------------------

TRUSTED = Mqtt(tls=True, username="station")


@pytest.mark.parametrize(
    ("topic", "payload", "call"),
    [
        ("station/site_limit", "150", ("site_limit", 150.0)),
        ("station/site_limit", '{"value": 0}', ("site_limit", 0.0)),
        ("6/max_power", "80.5", ("max_power", 6, 80.5)),
        ("station/priority", "fair_share", ("priority", Priority.FAIR_SHARE)),
        ("station/priority", ' "First Come" ', ("priority", Priority.FIRST_COME)),
        ("module/9/enabled", "false", ("enabled", 9, False)),
        ("module/1/enabled", '{"value": true}', ("enabled", 1, True)),
        ("station/drain", "true", ("drain", True)),
        ("station/drain", "false", ("drain", False)),
        ("station/reset", "true", ("reset",)),
    ],
)
def test_commands(topic: str, payload: str, call: tuple[object, ...]) -> None:
    bench = Bench(TRUSTED)
    assert bench.say(f"vesec/{topic}/central/set", payload) is None
    assert bench.commands.calls == [call]


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        ("station/site_limit", "-1", "FORMAT"),
        ("station/site_limit", "true", "FORMAT"),
        ("station/site_limit", "10001", "RANGE"),
        ("7/max_power", "80", "TOPIC"),
        ("0/max_power", "80", "TOPIC"),
        ("01/max_power", "80", "TOPIC"),
        ("1/max_power", "1001", "RANGE"),
        ("station/priority", "fairest_share", "FORMAT"),
        ("station/priority", "1", "FORMAT"),
        ("module/10/enabled", "true", "TOPIC"),
        ("module/1/enabled", "1", "FORMAT"),
        ("module/1/enabled", '"true"', "FORMAT"),
        ("module/1/enabled", "True", "FORMAT"),
        ("station/drain", "1", "FORMAT"),
        ("station/reset", "false", "FORMAT"),
        ("station/explode", "true", "TOPIC"),
    ],
)
def test_commands_that_are_refused(topic: str, payload: str, reason: str) -> None:
    bench = Bench(TRUSTED)
    assert bench.say(f"vesec/{topic}/central/set", payload) == reason
    assert bench.commands.calls == []


@pytest.mark.parametrize("mqtt", [Mqtt(), Mqtt(tls=True), Mqtt(username="station")])
def test_a_reset_needs_a_known_sender(mqtt: Mqtt, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(mqtt)
    assert bench.say("vesec/station/reset/central/set", "true") == "TOPIC"
    assert bench.commands.calls == []
    assert "restart the controller at the cabinet" in caplog.text and "[MQTT] tls" in caplog.text


# --- commands of the page -----------------------------------------------------------------------------------------

ANNA = "page session 3f2a from 192.168.1.20"


@pytest.mark.parametrize(
    ("name", "payload", "call"),
    [
        ("station/site_limit", "150", ("site_limit", 150.0)),
        ("3/max_power", "0", ("max_power", 3, 0.0)),
        ("module/4/enabled", "false", ("enabled", 4, False)),
        ("station/drain", "true", ("drain", True)),
        ("station/priority", "fair_share", ("priority", Priority.FAIR_SHARE)),
        ("station/reset", "true", ("reset",)),
    ],
)
def test_a_person_with_the_token_commands_as_over_mqtt_and_may_reset(
    bench: Bench, name: str, payload: str, call: tuple[object, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert bench.processor.command(name, payload.encode(), ANNA) is None
    assert bench.commands.calls == [call]
    assert f"Command of {ANNA}: {name} {payload}" in caplog.text


def test_a_reset_that_cannot_be_done_is_answered_with_what_is_in_the_way(bench: Bench) -> None:
    """The page once said that the station had taken it, and only the log that it was refused."""
    bench.commands.in_the_way = ("the emergency stop is still pressed", "not proven off: module 4")
    refused = bench.processor.command("station/reset", b"true", ANNA)
    assert refused == "the emergency stop is still pressed; not proven off: module 4"
    assert bench.commands.calls == []


@pytest.mark.parametrize(
    ("name", "payload", "why"),
    [
        ("station/site_limit", "10001", "0 to 10000 kW are allowed"),
        ("station/site_limit", "lots", "not a plain decimal number"),
        ("station/site_limit", "", "the payload is empty"),
        ("station/site_limit", "1" * 1025, "at most 1024 are allowed"),
        ("7/max_power", "10", "there is no such command"),
        ("module/10/enabled", "true", "there is no such command"),
        ("station/reset", "false", "a reset is ordered with true"),
        ("vesec/station/reset/central/set", "true", "there is no such command"),
        ("1/demand", "75", "there is no such command"),
        ("", "true", "there is no such command"),
        ("\x00\ud800", "true", "there is no such command"),
    ],
)
def test_what_a_person_commands_wrongly_is_refused_in_words_and_logged(
    bench: Bench, name: str, payload: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    refused = bench.processor.command(name, payload.encode(), ANNA)
    assert refused is not None and why in refused
    assert bench.commands.calls == []
    assert "WARNING" in caplog.text and ANNA in caplog.text
    assert bench.told == [], "on MQTT only what came over MQTT is told"


@given(name=st.text(max_size=40), payload=st.binary(max_size=80))
def test_no_command_makes_it_raise(name: str, payload: bytes) -> None:
    bench = Bench()
    refused = bench.processor.command(name, payload, ANNA)
    assert (refused is None) == bool(bench.commands.calls)


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "sentence"),
    [
        ("vesec/3/demand/D1", "D1 counts its own guns: it has gun_id 1 to 2"),
        ("vesec/1/demand/D4", "no such device in [Devices] of config.ini: D1, D2, D3"),
        ("vesec/1/demnd/D1", "known message types are soc, demand, vehicle_status"),
        ("vesec/station/site_limt/central/set", "no such command: station/site_limit, station/priority,"),
        ("vesec/7/max_power/central/set", "GUN/max_power (gun 1 to 6), module/MODULE/enabled (module 1 to 9), "),
        ("vesec/station/site_limit/set", "each between vesec/ and /central/set"),
        ("vesec/1/demand", "expected vesec/<gun_id>/<message_type>/<device>"),
    ],
)
def test_a_wrong_topic_is_told_what_would_be_right(bench: Bench, topic: str, sentence: str) -> None:
    bench.say(topic, "1")
    assert bench.told[-1].reason is Reason.TOPIC and sentence in bench.told[-1].sentence


def test_a_refusal_is_told_with_everything_needed(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.say("vesec/2/demand/D1", "\x1b[31m" + "é" * 100)
    sentence = "not a plain decimal number such as 75 or 120.5: no comma, sign or unit"
    payload = "\\x1b[31m" + "\\xe9" * 59
    assert bench.told == [Rejection(2, "vesec/2/demand/D1", Reason.FORMAT, payload, sentence)]
    assert sentence in caplog.text and "\x1b" not in caplog.text
    bench.say("vesec/7/demand/D1", "1")
    assert bench.told[-1].gun is None and bench.told[-1].reason is Reason.TOPIC


def test_an_unknown_message_type_is_told_to_its_gun(bench: Bench) -> None:
    assert bench.say("vesec/2/power/D3", "5") == "TOPIC"
    assert bench.told[-1].gun == 6


def test_refusals_are_told_once_a_second_and_gun_and_all_are_counted(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(50):
        bench.say("vesec/1/demand/D1", "x")
        bench.say("vesec/2/demand/D1", "x")
    assert [rejection.gun for rejection in bench.told] == [1, 2]
    assert bench.processor.rejected[Reason.FORMAT] == 100
    bench.clock.advance(1.0)
    bench.say("vesec/1/demand/D1", "x")
    assert len(bench.told) == 3
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 3 and "49 more" in warnings[-1]


def test_what_breaks_inside_is_counted_and_the_next_message_is_taken(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(limit_kw: float) -> None:
        raise RuntimeError("the station is not in the mood")

    bench.commands.set_site_limit = broken  # type: ignore[method-assign]
    assert bench.say("vesec/station/site_limit/central/set", "5") == "INTERNAL"
    assert bench.told == [] and "not in the mood" in caplog.text
    assert bench.say("vesec/1/demand/D1", "75") is None


@given(st.binary(max_size=80), st.binary(max_size=80), st.booleans())
def test_no_bytes_make_it_raise(topic: bytes, payload: bytes, retain: bool) -> None:
    bench = Bench()
    assert bench.say(topic, payload, retain) != "INTERNAL"
    assert bench.say(b"vesec/1/demand/D1", payload, retain) != "INTERNAL"
    demand_kw = bench.values().demand_kw
    assert demand_kw is None or 0.0 <= demand_kw <= 1000.0


def test_b27_a_thousand_messages_a_second_cost_little(bench: Bench) -> None:
    started_s = time.perf_counter()
    for seq in range(2000):
        bench.processor.handle(b"vesec/1/demand/D1", b'{"value": 75.5, "ts": 1800000000, "seq": %d}' % (seq + 1), False)
    # Two seconds' worth; 30 ms here, with a wide margin for a loaded machine.
    assert time.perf_counter() - started_s < 0.6
    assert bench.processor.counts.accepted == 2000


def warned_of_a_flood(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "far too often" in record.getMessage()]


def flood(bench: Bench, messages: int, seconds: float, payload: str = "30") -> None:
    for _ in range(messages):
        bench.say("vesec/1/demand/D1", payload)
        bench.clock.advance(seconds / messages)


def test_b27_what_devices_do_is_no_flood(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    flood(bench, 14 * 60, 60.0)  # seven values twice a second
    assert warned_of_a_flood(caplog) == [] and bench.processor.counts.floods == 0


@pytest.mark.parametrize("payload", ["30", "rubbish"])
def test_b27_a_flood_is_counted_and_told_once_a_minute(
    bench: Bench, caplog: pytest.LogCaptureFixture, payload: str
) -> None:
    flood(bench, 11_000, 11.0, payload)
    assert bench.processor.counts.floods == 2
    (told,) = warned_of_a_flood(caplog)
    assert told.startswith("Gun 1: 501 messages within 0.5 s")
    flood(bench, 110_000 // 2, 55.0, payload)
    assert len(warned_of_a_flood(caplog)) == 2
    assert bench.values(2).demand_kw is None
