"""Job: what the record says besides inputs: proofs, settings, and marks from which a replay goes on as if it had been
there from the beginning.

Thread: the test's. Lock: none. Units: ms, kW.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recorded import marks_every
from test_decision import PAUSES_MS, Run, _keys

from planning.decision import Decision, DecisionCore, Value, replay, take
from planning.record import COUNTED, Chain, Recorder, decided, missing_before, settings_of, settings_words
from planning.settings import AllocationSettings, Priority, Settings
from simulator.virtual import settings_at


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_at(tmp_path_factory.mktemp("config"))


def recorded(config: Settings, steps: int = 3) -> tuple[list[str], list[str]]:
    """The record and the decisions of a few steps."""
    run, written = Run(config), []
    recorder = Recorder(config, written.append, lambda: 1000.0)
    step = run.core.step

    def taken(now_ms: int) -> tuple[str, Decision]:
        inputs, decision = step(now_ms)
        recorder.take(inputs, decision, run.core)
        return inputs, decision

    run.core.step = taken  # type: ignore[method-assign]
    for number in range(steps):
        run.step(g1s="CHARGING", g1d=10.0 + number)
    return written, run.lines


# --- proofs ---------------------------------------------------------------------------------------------------------


def test_a_line_carries_its_proof_and_what_was_decided_when_that_changed(config: Settings) -> None:
    written, _ = recorded(config)
    assert written[0].startswith(': {"at_ms":1010,"wall_s":1000.0,"settings":{')
    assert " =A" in written[1] and " >100000000/0" in written[1]
    assert " =B" in written[2] and ">" not in written[2]
    assert len(written[2]) - len("1030 g1d=11.0") == len(" =B1234")


def test_the_record_with_proofs_gives_the_same_decisions_as_ever(config: Settings) -> None:
    written, lines = recorded(config, 50)
    assert [decision.line() for decision in replay(config, written)] == lines


def test_a_proof_holds_for_its_place_its_inputs_and_its_decision(config: Settings) -> None:
    first, second = (Run(config).step(g1s="CHARGING", g1d=kw) for kw in (10.0, 50.0))
    proof = Chain().proof("1010 g1d=10.0", first)
    assert proof == Chain().proof("1010 g1d=10.0", first)
    assert proof != Chain().proof("1010 g1d=10.1", first)
    assert proof != Chain().proof("1010 g1d=10.0", second)
    chain = Chain()
    assert chain.proof("1010", first)[2:] != chain.proof("1010", first)[2:], "each stands on all before it"


@given(st.integers(0, 10_000), st.integers(1, COUNTED - 1))
def test_the_letter_tells_how_many_lines_are_missing(count: int, lost: int) -> None:
    decision = _DECISION
    expected = Chain(count).proof("1", decision)
    assert missing_before(expected, Chain(count).proof("2", decision)) == 0
    assert missing_before(expected, Chain(count + lost).proof("1", decision)) == lost


def test_decided_names_guns_of_two_figures_with_commas() -> None:
    assert decided(replace(_DECISION, wants=(1, 0, 9), coils=0x1F)) == ">109/1f"
    assert decided(replace(_DECISION, wants=(1, 0, 12), coils=0)) == ">1,0,12/0"


# --- settings -------------------------------------------------------------------------------------------------------


def test_settings_come_back_as_they_were(tmp_path: Path) -> None:
    text = (
        "[PowerLimits]\ngun2_max_power = 150\nmax_site_power = 300\n[Allocation]\npriority = gun_priority\n"
        "gun_priority = 6, 5, 4, 3, 2, 1\n[Safety]\nramp_up = 12.5\n"
    )
    other = settings_at(tmp_path, text)
    (tmp_path / "plain").mkdir()
    base = settings_at(tmp_path / "plain")
    words = json.loads(json.dumps(settings_words(other)))
    back = settings_of(words, base)
    assert back.allocation == other.allocation
    assert back.power_limits == other.power_limits
    assert back.safety == other.safety
    assert back.general == other.general
    assert back.mqtt == base.mqtt, "what decisions do not follow from is none of the record's"


def test_settings_of_a_newer_version_are_refused_by_name(config: Settings) -> None:
    words = settings_words(config)
    words["allocation"]["astrology"] = 3
    words["moon"] = {"phase": 1}
    with pytest.raises(ValueError, match=r"allocation\.astrology, moon\.phase"):
        settings_of(words, config)


def test_settings_that_an_older_version_did_not_have_keep_their_value(config: Settings) -> None:
    words = settings_words(config)
    del words["allocation"]["rotation_period_s"]
    assert settings_of(words, config).allocation == config.allocation


# --- marks ----------------------------------------------------------------------------------------------------------


def test_a_mark_comes_once_an_hour_and_with_what_is_needed(config: Settings) -> None:
    with marks_every(25):
        written, _ = recorded(config, 7)
    marks = [json.loads(line[2:]) for line in written if line.startswith("@")]
    assert [mark["count"] for mark in marks] == [4, 7]
    assert set(marks[0]) == {"at_ms", "wall_s", "settings", "count", "chain", "decided", "core"}


@given(st.lists(st.tuples(PAUSES_MS, st.lists(_keys(), max_size=12)), min_size=2, max_size=25), st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_core_that_takes_up_the_memory_of_another_decides_the_same(
    config: Settings, steps: list[tuple[int, list[tuple[str, Value]]]], data: st.DataObject
) -> None:
    run, taken_at = Run(config), data.draw(st.integers(0, len(steps) - 2))
    state, now_ms = None, 0
    for number, (after_ms, changes) in enumerate(steps):
        for key, value in changes:
            run.core.put(key, value)
        run.step(after_ms)
        if number == taken_at:
            state, now_ms = json.loads(json.dumps(run.core.state())), run.now_ms
    assert state is not None
    core = DecisionCore(config)
    core.restore(state, now_ms)
    assert core.state() == state
    again = []
    for record in run.records[taken_at + 1 :]:
        again.append(core.step(take(core, record))[1].line())
    assert again == run.lines[taken_at + 1 :]
    assert json.loads(json.dumps(core.state())) == json.loads(json.dumps(run.core.state()))


@pytest.mark.parametrize(
    "damage", [{"inputs": None}, {"inputs": {"g1d": "x"}}, {"inputs": {"g99d": 1.0}}, {"seats": []}, {"guns": [[1]]}]
)
def test_a_memory_that_is_none_is_refused(config: Settings, damage: dict[str, object]) -> None:
    run = Run(config)
    run.step(g1d=10.0)
    with pytest.raises((KeyError, TypeError, ValueError)):
        DecisionCore(config).restore({**run.core.state(), **damage}, 0)


def test_a_value_that_came_back_within_a_step_is_replayed_as_a_change(config: Settings) -> None:
    """The core allocates anew for it, and who waits counts from that moment: the replay has to do the same."""
    run = Run(config)
    for gun in range(1, 6):
        run.core.put(f"g{gun}s", "CHARGING")
        run.core.put(f"g{gun}d", 100.0)
    run.step()
    for module in range(1, 10):
        run.core.put(f"m{module}a", 0)
    run.step()
    run.core.put("g1d", 90.0)
    run.core.put("g1d", 100.0)
    run.step(after_ms=70_000)
    core, again = DecisionCore(config), []
    for record in run.records:
        again.append(core.step(take(core, record))[1].line())
    assert again == run.lines
    assert core.state() == run.core.state()


def _decision() -> Decision:
    from planning.settings import (
        Can,
        Dashboard,
        Deploy,
        Devices,
        General,
        Gpio,
        History,
        Logging,
        Modules,
        Mqtt,
        PowerLimits,
        Safety,
    )  # fmt: skip

    limits = PowerLimits(dict.fromkeys(range(1, 7), 240.0), dict.fromkeys(range(1, 7), 500.0))
    plain = Settings(
        Path(), limits, General(), Mqtt(), Devices({}), AllocationSettings(Priority.HIGHEST_DEMAND), Can(), Modules({}),
        Gpio(), Safety(), Dashboard(), History(), Logging(), Deploy(),
    )  # fmt: skip
    core = DecisionCore(plain)
    core.put("g1d", 10.0)
    return core.step(1)[1]


_DECISION = _decision()
