"""What every module make promises, whatever its frames: one suite over all of them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planning import config_keys
from planning.config_keys import ADDRESSES
from protocols import PROTOCOLS
from protocols.base import Frame, Make, MalformedFrame, Signal

MAKES = pytest.mark.parametrize("make", PROTOCOLS.values(), ids=PROTOCOLS)
makes = st.sampled_from(list(PROTOCOLS.values()))


def test_config_ini_may_name_every_make_and_no_other() -> None:
    assert set(PROTOCOLS) == set(config_keys.PROTOCOLS) == set(ADDRESSES)
    assert all(name == make.name for name, make in PROTOCOLS.items())


# --- set-points -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("voltage_v", "current_a"),
    [
        (math.nan, 1), (1, math.nan), (-1, 1), (1, -0.001), (1000.001, 1), (1, 133.301), (math.inf, 1), (1, math.inf),
    ],
)  # fmt: skip
@MAKES
def test_bad_setpoints_are_refused(make: Make, voltage_v: float, current_a: float) -> None:
    with pytest.raises(ValueError):
        make.encode_setpoint(1, voltage_v, current_a)


@MAKES
def test_no_set_point_and_no_on_goes_to_more_than_one_module(make: Make) -> None:
    """Each of them would deliver the full current."""
    lowest, highest = ADDRESSES[make.name]
    everybody = {frame.can_id for frame in make.encode_all_off()}
    for address in range(-1, 257):
        for encode in (lambda a: make.encode_setpoint(a, 400, 5), lambda a: make.encode_power(a, True)):
            try:
                frames = encode(address)
            except ValueError:
                assert not lowest <= address <= highest
            else:
                assert not everybody & {frame.can_id for frame in frames}, address


@given(makes, st.floats(0, 1000), st.floats(0, 133), st.data())
def test_a_frame_says_what_it_carries_and_never_more_than_asked(
    make: Make, voltage_v: float, current_a: float, data: st.DataObject
) -> None:
    """Above the least that the module takes; below, it is sent as the least."""
    address = data.draw(st.integers(*ADDRESSES[make.name]))
    frames = make.encode_setpoint(address, voltage_v, current_a)
    (volts,) = [frame.voltage_v for frame in frames if frame.voltage_v is not None]
    (amps,) = [frame.current_a for frame in frames if frame.current_a is not None]
    least_a = make.nameplate.min_current_a
    (least_v,) = [frame.voltage_v for frame in make.encode_setpoint(address, 0.0, 0.0) if frame.voltage_v is not None]
    assert least_v in (0.0, make.nameplate.min_v)
    for sent, asked, least, step in (
        (volts, voltage_v, least_v, make.voltage_step_v),
        (amps, current_a, least_a, make.current_step_a),
    ):
        assert sent == least if asked <= least else asked - step * 1.000001 < sent <= asked


@given(makes, st.floats(0, 2000), st.integers(1, 9))
def test_a_split_never_rounds_up(make: Make, total_a: float, parts: int) -> None:
    shares = make.split_current(total_a, parts)
    units = [round(share / make.current_step_a) for share in shares]
    assert len(set(shares)) == 1 and len(shares) == parts
    assert sum(units) * make.current_step_a <= total_a + 1e-9
    most_a = make.nameplate.max_a
    assert max(shares) <= most_a
    lost_a = total_a - sum(shares)
    assert total_a / parts > most_a - make.current_step_a or lost_a < (parts + 1) * make.current_step_a


# --- OFF ------------------------------------------------------------------------------------------------------------


@MAKES
def test_off_is_one_frame_to_a_module_and_at_most_two_to_all(make: Make) -> None:
    """An OFF must be on the wire within 20 ms, whatever is queued."""
    (off,) = make.encode_power(1, False)
    assert off.on is False and (off.voltage_v, off.current_a) == (None, None)
    everybody = make.encode_all_off()
    assert 1 <= len(everybody) <= 2
    assert all(frame.on is False and frame.answer is None for frame in everybody)


@MAKES
def test_a_make_has_exactly_one_way_to_switch_on(make: Make) -> None:
    power, setpoint = make.encode_power(1, True), make.encode_setpoint(1, 400.0, 5.0)
    assert [frame.on for frame in (*power, *setpoint) if frame.on is not None] == [True]


# --- reading --------------------------------------------------------------------------------------------------------


@MAKES
def test_everything_in_its_read_plan_can_be_asked(make: Make) -> None:
    reads = make.reads
    frames: list[Frame] = []
    for signal in reads.round + reads.slow:
        frames += make.encode_read(None if make.timing.broadcast_reads else 1, signal)
    for signal in reads.watched + reads.first:
        frames += make.encode_read(1, signal)
    assert all(frame.on is None and frame.voltage_v is None and frame.current_a is None for frame in frames)
    assert all(make.is_request(frame.can_id, frame.data) for frame in frames)
    assert all(make.decode(frame.can_id, frame.data) is None for frame in frames)


@MAKES
def test_a_signal_that_the_make_lacks_is_refused_by_name(make: Make) -> None:
    with pytest.raises(ValueError, match=f"{make.name} modules .* {Signal.SET_ALL.value}"):
        make.encode_read(1, Signal.SET_ALL)


@given(makes, st.integers(0, (1 << 29) - 1), st.binary(min_size=8, max_size=8))
def test_any_frame_is_a_reading_or_refused_cleanly(make: Make, can_id: int, data: bytes) -> None:
    try:
        reading = make.decode(can_id, data)
    except MalformedFrame:
        assert make.address_of(can_id) is not None
    else:
        assert reading is None or reading.address == make.address_of(can_id)


@given(makes, makes, st.integers(1, 24))
def test_no_make_takes_the_frames_of_another_for_its_own(one: Make, other: Make, address: int) -> None:
    """Mixed on one bus, a module of one make must not answer for another."""
    if one.encode_all_off() == other.encode_all_off():
        return  # one protocol, two nameplates
    frames = (*one.encode_setpoint(address, 400, 5), *one.encode_power(address, False), *one.encode_all_off())
    for frame in frames:
        assert not other.is_request(frame.can_id, frame.data)
        assert other.address_of(frame.can_id) is None
