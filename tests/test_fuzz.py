"""Job: whatever comes in as bytes ends nothing, fills no memory, and nothing outside the allowed ranges is believed.

Thread: the test's. Lock: none. Units: in each name. Seeds are printed; the long runs are for `make soak`.
"""

from __future__ import annotations

import gc
import json
import logging
import math
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_module import Bench as ModuleBench
from fake_module import FakeModule
from fuzz import FrameFuzz, MessageFuzz
from message_bench import Bench

from planning.model import GunValues, ModuleOrder, ModuleState, ModuleStatus
from planning.payload import RANGES, Reason
from planning.settings import Mqtt

NORMAL, SOAK = 20_000, 1_000_000
GROWTH_LIMIT_KB = 4_000
GUNS = range(1, 7)
#: What a UUGreen module can tell and still be believed: a fifth above its 1000 V, a half above its 133 A.
MOST_V, MOST_A = 1200.0, 199.5
#: After so many lies a module is out of service; a new station believes it again.
BELIEVED_FOR = 200


def rss_kb() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


class Growth:
    """Memory from the end of the warm-up on."""

    def __init__(self, count: int) -> None:
        self.warm_at, self._before_kb = count // 4, 0

    def look(self, number: int) -> None:
        if number == self.warm_at:
            self._before_kb = rss_kb()

    def assert_flat(self, what: str) -> None:
        grown_kb = rss_kb() - self._before_kb
        print(f"{what}: memory grew by {grown_kb} kB after the warm-up")
        assert grown_kb < GROWTH_LIMIT_KB


@pytest.fixture
def no_log() -> Iterator[None]:
    """The test runner keeps every line that is logged, and this memory is not ours."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


# --- messages -----------------------------------------------------------------------------------------------------


def assert_within_ranges(values: GunValues) -> None:
    for kind, allowed in RANGES.items():
        name = f"{kind.value}_{'pct' if allowed.unit == '%' else allowed.unit.lower()}"
        value = getattr(values, name)
        assert value is None or allowed.low <= value <= allowed.high, name


def assert_commands_within_ranges(calls: list[tuple[object, ...]]) -> None:
    for call in calls:
        match call:
            case ("site_limit", float(limit_kw)):
                assert 0.0 <= limit_kw <= 10_000.0
            case ("max_power", int(gun), float(limit_kw)):
                assert gun in GUNS and 0.0 <= limit_kw <= 1000.0
            case ("enabled", int(module), bool()):
                assert 1 <= module <= 9
            case _:
                pytest.fail(f"nobody may command {call}")


def fuzz_messages(count: int, seed: int) -> None:
    bench, fuzz, growth = Bench(), MessageFuzz(seed), Growth(count)
    started_s = time.perf_counter()
    for number in range(count):
        growth.look(number)
        bench.processor.handle(fuzz.topic(), fuzz.payload(), fuzz.chance.random() < 0.02)
        bench.clock.advance(0.001)
        assert_within_ranges(bench.values(number % 6 + 1))
        assert_commands_within_ranges(bench.commands.calls)
        bench.commands.calls.clear()
        bench.told.clear()
    counts = bench.processor.counts
    reasons = ", ".join(f"{reason.value} {n}" for reason, n in counts.rejected.items())
    took_s = time.perf_counter() - started_s
    print(f"seed {seed}: {count} messages in {took_s:.0f} s, {counts.accepted} accepted, refused: {reasons}")
    assert counts.rejected[Reason.INTERNAL] == 0
    assert counts.accepted > count // 20, "a fuzz that is never right tries nothing"
    assert all(counts.rejected[reason] > 0 for reason in Reason if reason is not Reason.INTERNAL)
    growth.assert_flat("messages")


def test_no_message_ends_anything_or_is_believed_outside_its_range() -> None:
    fuzz_messages(NORMAL, seed=31)


@pytest.mark.soak
@pytest.mark.usefixtures("no_log")
def test_a_million_messages() -> None:
    fuzz_messages(SOAK, seed=32)


# --- frames -------------------------------------------------------------------------------------------------------


def two_modules() -> ModuleBench:
    """Both are asked for their readings all the time; the first shall be on."""
    bench = ModuleBench([FakeModule(1, identity=0x201), FakeModule(2, identity=0x202, number=2)]).ready()
    bench.orders[0] = ModuleOrder(on=True, voltage_v=400.0, current_a=50.0)
    bench.run(1.0)
    return bench


def assert_believable(status: ModuleStatus) -> None:
    for value, most in (
        (status.voltage_v, MOST_V), (status.voltage_before_v, MOST_V),
        (status.current_a, MOST_A), (status.current_before_a, MOST_A),
    ):  # fmt: skip
        assert value is None or (math.isfinite(value) and 0.0 <= value <= most), status
    assert status.set_voltage_v <= 1000.0 and status.set_current_a <= 133.4


def answered_with_lies(bench: ModuleBench, fuzz: FrameFuzz) -> bool:
    """Some time in which modules answer what they are asked, but not the truth; whether a voltage was believed."""
    for module in bench.modules:
        module.raw = fuzz.lies()
    before_s = bench.status().voltage_at_s
    bench.run(0.05)
    bench.wire.clear()
    bench.sent.clear()
    return bench.status().voltage_at_s != before_s


def fuzz_frames(count: int, seed: int, strangers: bool) -> None:
    bench, fuzz, growth = two_modules(), FrameFuzz(seed, strangers), Growth(count)
    states: Counter[str] = Counter()
    used, started_s = 0, time.perf_counter()
    for number in range(count):
        growth.look(number)
        if not strangers and number % BELIEVED_FOR == 0:
            bench = two_modules()
        bench.deliver(fuzz.frame())
        for status in bench.controller.status(bench.now_s):
            states[status.state.name] += 1
            assert_believable(status)
        if number % 4 == 0:
            used += answered_with_lies(bench, fuzz)
    took_s = time.perf_counter() - started_s
    print(f"seed {seed}: {count} frames in {took_s:.0f} s, {used} lies believed of module 1; {dict(states)}")
    assert strangers or used > count // 200, "a fuzz that is never believed tries nothing"
    assert states[(ModuleState.REFUSED if strangers else ModuleState.FAULT).name], "lies are noticed"
    growth.assert_flat("frames")


@pytest.mark.parametrize("strangers", [True, False])
def test_no_frame_ends_anything_or_is_believed_outside_the_nameplate(strangers: bool) -> None:
    fuzz_frames(NORMAL // 2, 41, strangers)


@pytest.mark.soak
@pytest.mark.usefixtures("no_log")
@pytest.mark.parametrize("strangers", [True, False])
def test_a_million_frames(strangers: bool) -> None:
    fuzz_frames(SOAK // 2, 42, strangers)


# --- words from the past ------------------------------------------------------------------------------------------


def test_of_a_hundred_thousand_words_from_the_past_or_from_elsewhere_none_is_applied() -> None:
    seed, each = 51, 25_000
    chance = random.Random(seed)
    bench = Bench(Mqtt(tls=True, username="station"))
    for device in ("D1", "D2", "D3"):
        for gun_id in (1, 2):
            assert bench.say(f"vesec/{gun_id}/demand/{device}", '{"value": 11, "seq": 1000000}') is None
            assert bench.say(f"vesec/{gun_id}/vehicle_status/{device}", "idle") is None
    before = {gun: bench.guns[gun].snapshot() for gun in GUNS}

    def demand_topic() -> str:
        return f"vesec/{chance.randint(1, 2)}/demand/D{chance.randint(1, 3)}"

    def stale() -> str | None:
        ts = bench.clock.wall_s() + chance.choice((-1, 1)) * chance.uniform(5.01, 1e6)
        return bench.say(demand_topic(), json.dumps({"value": 400, "ts": ts, "seq": chance.randint(1, 2_000_000)}))

    def replayed() -> str | None:
        payload = {"value": 400, "ts": bench.clock.wall_s(), "seq": chance.randint(0, 1_000_000)}
        return bench.say(demand_topic(), json.dumps(payload))

    def retained() -> str | None:
        topic = chance.choice((demand_topic(), "vesec/1/vehicle_status/D1", "vesec/station/site_limit/central/set"))
        return bench.say(topic, chance.choice(("400", "charging")), retain=True)

    def from_elsewhere() -> str | None:
        gun, device = chance.choice(((0, "D1"), (3, "D1"), (1, "D4"), (7, "D3"), (2, "d2"), (1, "central/D1")))
        root = chance.choice(("vesec", "vesec2", "VESEC", "other/vesec"))
        return bench.say(f"{root}/{gun}/demand/{device}", "400")

    refused = Counter(speak() for speak in (stale, replayed, retained, from_elsewhere) for _ in range(each))
    print(f"seed {seed}: {dict(refused)}")
    assert refused == {"CLOCK": each, "REPLAY": each, "RETAINED": each, "TOPIC": each}
    assert {gun: bench.guns[gun].snapshot() for gun in GUNS} == before, "values and ages as before"
    assert bench.commands.calls == []
