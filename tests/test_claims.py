"""Job: what a gun's claim asks for, and how the site budget is handed out: the exact edges.

Thread: the test's. Lock: none. Units: W.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planning import reasons
from planning.claims import UNLIMITED_W, Budget, Claim, Pool, bits

#: holds two modules of 40 kW for 75 kW, with a margin of 8 kW
CLAIM = Claim(gun=1, target_w=75_000, margin_w=8_000, max_modules=9, reach=0b11, kept_w=80_000, kept_but_one_w=40_000)


@pytest.mark.parametrize(
    ("target_w", "want_w"),
    [
        (0, 0),
        (1, 1),  # one module is enough, margin and all
        (32_000, 32_000),  # exactly the margin below one module: the second one goes
        (32_001, 40_001),  # a watt less than the margin: it stays
        (72_000, 80_000),
        (75_000, 80_000),  # never more than it holds
        (80_000, 80_000),
        (80_001, 80_001),
    ],
)
def test_a_module_goes_only_when_the_rest_would_do_with_the_margin_on_top(target_w: int, want_w: int) -> None:
    assert replace(CLAIM, target_w=target_w).want_w(UNLIMITED_W) == want_w


def test_a_gun_that_asks_for_nothing_keeps_nothing() -> None:
    assert replace(CLAIM, target_w=0, kept_w=5_000, kept_but_one_w=0).want_w(UNLIMITED_W) == 0
    assert CLAIM.want_w(0) == 0


def test_a_limit_has_no_margin_but_a_share_of_the_site_below_it_has() -> None:
    limited = replace(CLAIM, target_w=39_000, limited=True)
    assert limited.want_w(UNLIMITED_W) == limited.want_w(39_000) == 39_000
    assert limited.want_w(38_000) == 46_000


def test_a_gun_wants_no_more_than_its_share_of_the_site() -> None:
    assert CLAIM.want_w(60_000) == 68_000
    assert replace(CLAIM, kept_w=0, kept_but_one_w=0).want_w(60_000) == 60_000


def test_promises_are_kept_back_from_whoever_comes_first() -> None:
    first, second, third = (replace(CLAIM, gun=gun, reserve_w=10 * gun) for gun in (1, 2, 3))
    budget = Budget(100, [first, second, third])
    assert budget.share_w(first) == 50
    budget.spend(first, power_w=45)
    assert (budget.share_w(second), budget.share_w(third)) == (25, 35)
    budget.spend(second, power_w=20)
    assert budget.share_w(third) == 35


@pytest.mark.parametrize(
    ("target_w", "power_w", "left_w"),
    [(30_000, 40_000, 70_000), (75_000, 40_000, 60_000), (200_000, 400_000, 0)],
)
def test_what_is_spent_is_the_least_of_target_share_and_modules(target_w: int, power_w: int, left_w: int) -> None:
    claim = replace(CLAIM, target_w=target_w)
    budget = Budget(100_000, [claim])
    budget.spend(claim, power_w)
    assert budget.share_w(replace(CLAIM, gun=2)) == left_w


def test_a_budget_that_is_overdrawn_gives_nothing() -> None:
    assert Budget(10, [replace(CLAIM, reserve_w=20)]).share_w(CLAIM) == 0


# --- which modules cost least -------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32), modules=st.integers(1, 150), ranked=st.booleans())
def test_the_cheapest_modules_are_those_with_the_least_cost(seed: int, modules: int, ranked: bool) -> None:
    dice = random.Random(seed)
    pool = Pool([40_000] * modules, [dice.choice((0, 0, 1, 2, 3)) for _ in range(modules)])
    for index, holder in enumerate(pool.holder):
        if holder:
            pool.held[holder] = pool.held.get(holder, 0) | 1 << index
            pool.taken |= 1 << index
    pool.busy, pool.excess = dice.getrandbits(modules), dice.getrandbits(modules) & pool.taken
    if ranked:
        pool.rank = {gun: dice.sample(range(modules), modules) for gun in (1, 2, 3)}
    choice, count = dice.getrandbits(modules), dice.randrange(modules + 1)
    for gun in (1, 2, 3):
        by_cost = sorted(bits(choice), key=lambda bit, gun=gun: pool.cost(gun, bit.bit_length() - 1))
        assert pool.cheapest(gun, count, choice) == sum(by_cost[:count])


@given(places=st.sets(st.integers(0, 400)))
def test_a_mask_of_any_length_comes_apart_in_order(places: set[int]) -> None:
    mask = sum(1 << place for place in places)
    assert list(bits(mask)) == [1 << place for place in sorted(places)]


def test_a_reason_names_some_of_many_guns() -> None:
    assert str(reasons.shared(2, (1, 2))).endswith("2 modules short: held by guns 1 and 2")
    assert str(reasons.shared(1, (1, 2, 3), 997)).endswith("1 module short: held by guns 1, 2 and 3 and 997 more")
