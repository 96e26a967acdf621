"""Job: how a gun's current is shared: never above what is allowed, up by the ramp, handed over without a dip.

Thread: the test's. Lock: none. Units: A, s.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planning.sharing import HAND_OVER_MIN_A, RAMP_PIECE_S, Sharing, water_fill

RAMP = 25.0
CAP_A = 100.0
CLOSE = pytest.approx

amps = st.floats(0.0, 500.0)
caps = st.dictionaries(st.integers(1, 9), st.floats(0.0, 133.0), max_size=9)
pauses_s = st.sampled_from([0.005, 0.05, 0.1, 0.5, 3.0])


class Gun:
    """A Sharing whose modules give what they are set to, or what the test says."""

    def __init__(self, *modules: int) -> None:
        self.sharing = Sharing(RAMP)
        self.now_s = 100.0
        self.modules = list(modules)
        self.set_a: dict[int, float] = {}
        self.gives: dict[int, float] = {}

    def run(self, for_s: float, allowed_a: float, step_s: float = 0.05) -> list[float]:
        """The total at each step."""
        totals = []
        for _ in range(round(for_s / step_s)):
            self.now_s += step_s
            measured = {m: self.gives.get(m, self.set_a.get(m, 0.0)) for m in self.modules}
            self.set_a = dict(
                self.sharing.step(self.now_s, allowed_a, dict.fromkeys(self.modules, CAP_A), measured)
            )
            totals.append(self.sharing.total_a)
        return totals


@given(amps, st.lists(st.floats(0.0, 133.0), max_size=9))
def test_water_fill_gives_all_that_the_caps_hold_as_evenly_as_they_allow(total_a: float, caps_a: list[float]) -> None:
    shares = water_fill(total_a, caps_a)
    assert sum(shares) == CLOSE(min(total_a, sum(caps_a)), abs=1e-6)
    assert all(0.0 <= share <= cap for share, cap in zip(shares, caps_a, strict=True))
    level = max(shares, default=0.0)
    assert all(share == CLOSE(min(cap, level), abs=1e-6) for share, cap in zip(shares, caps_a, strict=True))


@given(st.lists(st.tuples(pauses_s, amps, caps, st.floats(0.0, 1.2)), min_size=1, max_size=30))
@settings(max_examples=80, deadline=None)
def test_never_above_the_limit_a_cap_or_the_ramp(steps: list[tuple[float, float, dict[int, float], float]]) -> None:
    sharing, now_s = Sharing(RAMP), 100.0
    history: list[tuple[float, float]] = []
    for pause_s, allowed_a, caps_a, giving in steps:
        now_s += pause_s
        measured = {m: sharing.set_a(m) * giving for m in caps_a}
        set_a = sharing.step(now_s, allowed_a, caps_a, measured)
        total_a = sum(set_a.values())
        assert total_a <= allowed_a + 1e-6
        assert all(sharing.set_a(m) == set_a.get(m, 0.0) for m in range(1, 10))
        assert all(-1e-9 <= set_a[m] <= caps_a[m] + 1e-6 for m in caps_a)
        history.append((now_s, total_a))
        for then_s, then_a in history:
            assert total_a - then_a <= RAMP * (now_s - then_s + RAMP_PIECE_S) + 1e-6


def test_the_ramp_arrives_and_no_earlier() -> None:
    gun = Gun(1)
    totals = gun.run(5.0, 100.0)
    reached_s = next(0.05 * (index + 1) for index, total in enumerate(totals) if total >= 99.9)
    assert 3.4 <= reached_s <= 4.2
    assert gun.sharing.settled


def test_it_falls_at_once() -> None:
    gun = Gun(1, 2)
    gun.run(5.0, 100.0)
    assert gun.run(0.05, 30.0) == [CLOSE(30.0)]
    assert gun.run(0.05, 0.0) == [0.0]


def test_it_begins_again_from_nothing_after_a_reset() -> None:
    gun = Gun(1)
    gun.run(5.0, 100.0)
    gun.sharing.reset()
    assert gun.run(0.05, 100.0)[0] <= RAMP * RAMP_PIECE_S


def test_the_others_take_over_what_a_leaving_module_gave() -> None:
    gun = Gun(1, 2)
    gun.run(6.0, 80.0)
    gun.modules.remove(2)
    assert gun.run(0.05, 80.0) == [CLOSE(80.0)]


def test_hand_over_goes_in_small_steps_and_ends_even() -> None:
    gun = Gun(1)
    gun.run(5.0, 80.0)
    gun.modules.append(2)
    biggest, before = 0.0, dict(gun.set_a)
    for _ in range(400):
        assert gun.run(0.05, 80.0) == [CLOSE(80.0)], "the gun's current does not dip"
        biggest, before = max(biggest, before.get(1, 0.0) - gun.set_a[1]), dict(gun.set_a)
    assert gun.set_a[1] == CLOSE(40.0, abs=1.0)
    assert gun.set_a[2] == CLOSE(40.0, abs=1.0)
    assert 0 < biggest <= 4.0 + 1e-6  # 5 % of the gun's current
    assert gun.sharing.settled


def test_hand_over_waits_for_a_module_that_does_not_give() -> None:
    gun = Gun(1)
    gun.run(5.0, 80.0)
    gun.modules.append(2)
    gun.gives[2] = 0.0
    gun.run(20.0, 80.0)
    assert gun.set_a[2] <= 2 * HAND_OVER_MIN_A + 4.0, "what is handed over before the proof is one step"
    assert gun.set_a[1] >= 80.0 - gun.set_a[2] - 1e-6
    del gun.gives[2]
    gun.run(20.0, 80.0)
    assert gun.set_a[2] == CLOSE(40.0, abs=1.0)


def test_free_current_goes_to_the_newcomer_first() -> None:
    gun = Gun(1)
    gun.run(6.0, 140.0)
    assert gun.set_a[1] == CLOSE(CAP_A)
    gun.modules.append(2)
    gun.run(0.05, 140.0)
    assert gun.set_a[1] == CLOSE(CAP_A)
    assert gun.set_a[2] == CLOSE(RAMP * RAMP_PIECE_S)


def test_set_points_wait_for_the_current_and_rise_with_it() -> None:
    gun = Gun(1, 2)
    gun.gives = {1: 0.0, 2: 0.0}
    assert max(gun.run(20.0, 150.0)) == CLOSE(RAMP), "a car that connects late meets one second of the ramp"
    assert gun.sharing.settled, "nothing more can happen until it takes something"
    gun.gives = {}
    assert gun.run(8.0, 150.0)[-1] == CLOSE(150.0)


def test_what_the_gun_has_is_not_taken_back_when_the_car_takes_less() -> None:
    gun = Gun(1, 2)
    gun.run(10.0, 150.0)
    gun.gives = {1: 5.0, 2: 5.0}
    assert min(gun.run(5.0, 150.0)) == CLOSE(150.0)


@pytest.mark.parametrize(("gives_a", "hands_over"), [(None, False), (17.9, False), (18.0, True), (20.0, True)])
def test_a_newcomer_that_is_read_within_two_amperes_gets_more(gives_a: float | None, hands_over: bool) -> None:
    """Module 2 has 20 A of 60 A."""
    gun = Gun(1)
    gun.run(10.0, 40.0)
    gun.modules.append(2)
    gun.gives = {1: 40.0, 2: 0.0}
    gun.run(10.0, 60.0)
    assert gun.set_a == CLOSE({1: 40.0, 2: 20.0})
    before_a, measured_a = gun.set_a[2], {1: 40.0}
    if gives_a is not None:
        measured_a[2] = before_a - (20.0 - gives_a)
    after_a = gun.sharing.step(gun.now_s + 1.0, 60.0, {1: CAP_A, 2: CAP_A}, measured_a)
    assert (after_a[2] > before_a) is hands_over


# --- the exact edges --------------------------------------------------------------------------------------------------


def having(sets: dict[int, float]) -> tuple[Sharing, float]:
    """A gun whose modules came to these set-points, and the moment."""
    sharing, now_s = Sharing(RAMP), 100.0
    while sharing.total_a < sum(sets.values()) - 1e-9:
        now_s += RAMP_PIECE_S
        sharing.step(now_s, sum(sets.values()), sets, sets)
    assert {m: sharing.set_a(m) for m in sets} == CLOSE(sets)
    return sharing, now_s


def evened(sets: dict[int, float], measured: dict[int, float] | None = None, after_s: float = 3.0) -> dict[int, float]:
    """The set-points one step later, now that every module could give more."""
    sharing, now_s = having(sets)
    wide = dict.fromkeys(sets, CAP_A)
    return dict(sharing.step(now_s + after_s, sum(sets.values()), wide, sets if measured is None else measured))


def test_a_gun_rises_by_pieces_of_half_a_second_and_a_new_wish_begins_at_once() -> None:
    sharing = Sharing(RAMP)
    assert sharing.settled
    piece_a = RAMP * RAMP_PIECE_S

    def total_a(now_s: float, allowed_a: float) -> float:
        sharing.step(now_s, allowed_a, {1: CAP_A}, {1: sharing.total_a})
        return sharing.total_a

    assert total_a(100.0, 50.0) == CLOSE(piece_a)
    assert not sharing.settled
    assert total_a(100.25, 50.0) == CLOSE(piece_a), "the same wish waits for its piece"
    assert total_a(100.25, 51.0) == CLOSE(piece_a), "a change of 1 A is the same wish"
    assert total_a(100.375, 52.5) == CLOSE(piece_a + RAMP * 0.375), "another wish"
    assert total_a(100.875, 52.5) == CLOSE(2 * piece_a + RAMP * 0.375), "exactly a piece later"


def test_a_gun_that_had_what_it_wanted_for_long_begins_with_a_whole_piece() -> None:
    sharing, now_s = having({1: 50.0})
    for _ in range(10):
        now_s += 0.1
        sharing.step(now_s, 50.0, {1: CAP_A}, {1: 50.0})
    sharing.step(now_s + 0.1, 90.0, {1: CAP_A}, {1: 50.0})
    assert sharing.total_a == CLOSE(50.0 + RAMP * RAMP_PIECE_S)


def test_half_an_ampere_below_the_wish_has_arrived() -> None:
    sharing = Sharing(RAMP)
    sharing.step(100.0, 13.0, {1: CAP_A}, {1: 0.0})
    assert (sharing.total_a, sharing.settled) == (12.5, True)


def test_a_gun_is_not_settled_while_its_modules_hand_over() -> None:
    sharing, now_s = having({1: 40.0})
    sharing.step(now_s + 1.0, 40.0, {1: CAP_A, 2: CAP_A}, {1: 40.0})
    assert (sharing.set_a(1), sharing.set_a(2)) == CLOSE((38.0, 2.0))
    assert not sharing.settled
    sharing.step(now_s + 1.25, 40.0, {1: CAP_A, 2: CAP_A}, {1: 38.0, 2: 2.0})
    assert sharing.set_a(2) == CLOSE(2.0), "one step each half second"
    sharing.step(now_s + 1.5, 40.0, {1: CAP_A, 2: CAP_A}, {1: 38.0, 2: 2.0})
    assert sharing.set_a(2) == CLOSE(4.0)


@pytest.mark.parametrize(
    ("sets", "then"),
    [
        ({1: 40.0, 2: 30.0, 3: 0.0}, {1: 37.5, 2: 29.0, 3: 3.5}),  # who has more gives more
        ({1: 60.0, 2: 12.0, 3: 0.0}, {1: 56.4, 2: 13.2, 3: 2.4}),  # who has less gets more
        ({1: 21.5, 2: 19.25, 3: 19.25}, {1: 20.0, 2: 20.0, 3: 20.0}),
        ({1: 21.0, 2: 20.4, 3: 18.6}, {1: 20.0, 2: 20.4, 3: 19.6}),  # only what is more than half an ampere over
        ({1: 20.5, 2: 19.5}, {1: 20.5, 2: 19.5}),
    ],
)
def test_one_step_of_a_hand_over(sets: dict[int, float], then: dict[int, float]) -> None:
    assert evened(sets) == CLOSE(then)


def test_a_hand_over_waits_only_for_those_that_gain() -> None:
    sets = {1: 30.0, 2: 20.0, 3: 10.0}
    assert evened(sets, {1: 30.0, 2: 0.0, 3: 10.0})[3] == CLOSE(13.0), "module 2 has its even share"
    assert evened(sets, {1: 30.0, 2: 20.0, 3: 7.9}) == CLOSE(sets)


def test_a_module_that_nobody_measured_gives_nothing() -> None:
    assert evened({1: 40.0, 2: 2.5}, {1: 40.0}) == CLOSE({1: 40.0, 2: 2.5})
