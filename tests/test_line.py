"""Job: the line in pieces is the plain one: each gun passes those ahead of it as long as it overtakes them.

Thread: the test's. Lock: none. Units: kW, %.
"""

from __future__ import annotations

import random

import pytest

from planning.line import PIECE
from planning.request import AllocationLimits, GunRequest
from planning.rules import Standing, order_by_demand, order_by_soc

LIMITS = AllocationLimits()


def the_plain_line_by_demand(guns: list[GunRequest], standing: Standing) -> list[int]:
    """By the words of the contract, one comparison after the other."""
    places = {gun: place for place, gun in enumerate(standing.order)}
    line: list[GunRequest] = []
    for gun in sorted(guns, key=lambda gun: (places.get(gun.gun, len(places)), -gun.demand_kw, gun.gun)):
        place = len(line)
        while place:
            ahead = line[place - 1]
            held_off = ahead.gun in standing.holding
            more = gun.demand_kw > ahead.demand_kw * 1.1
            first = gun.demand_kw > ahead.demand_kw or (gun.demand_kw == ahead.demand_kw and gun.gun < ahead.gun)
            if not (more if held_off else first):
                break
            place -= 1
        line.insert(place, gun)
    return [gun.gun for gun in line]


def the_plain_line_by_soc(guns: list[GunRequest], standing: Standing) -> list[int]:
    places = {gun: place for place, gun in enumerate(standing.order)}
    soc_pct = {gun.gun: 101.0 if gun.soc_pct is None else gun.soc_pct for gun in guns}
    line: list[GunRequest] = []
    for gun in sorted(
        guns, key=lambda gun: (places.get(gun.gun, len(places)), gun.precharge_only, soc_pct[gun.gun], gun.gun)
    ):
        place = len(line)
        while place:
            ahead = line[place - 1]
            if gun.precharge_only is not ahead.precharge_only:
                passes = ahead.precharge_only
            elif ahead.gun in standing.holding:
                passes = soc_pct[gun.gun] + 10.0 < soc_pct[ahead.gun]
            else:
                passes = (soc_pct[gun.gun], gun.gun) < (soc_pct[ahead.gun], ahead.gun)
            if not passes:
                break
            place -= 1
        line.insert(place, gun)
    return [gun.gun for gun in line]


def a_station(dice: random.Random) -> tuple[list[GunRequest], Standing]:
    """Up to eight pieces of guns; few different demands, so that equal ones meet."""
    size = dice.randrange(1, 8 * PIECE)
    guns = [
        GunRequest(
            gun,
            demand_kw=(kw := dice.choice((float(dice.randrange(40, 80)), dice.uniform(1, 240)))),
            target_kw=kw,
            soc_pct=dice.choice((None, float(dice.randrange(100)))),
            precharge_only=dice.random() < 0.1,
        )
        for gun in range(1, size + 1)
    ]
    numbers = [gun.gun for gun in guns]
    by_demand = sorted(guns, key=lambda gun: -gun.demand_kw * dice.gauss(1.0, 0.1))
    last = [gun.gun for gun in by_demand if dice.random() < 0.9] if dice.random() < 0.7 else dice.sample(numbers, size)
    holding = frozenset(gun for gun in numbers if dice.random() < 0.6)
    return guns, Standing(last, holding)


@pytest.mark.parametrize("seed", range(30))
def test_the_line_in_pieces_is_the_plain_one(seed: int) -> None:
    guns, standing = a_station(random.Random(seed))
    assert [gun.gun for gun in order_by_demand(guns, standing, LIMITS)] == the_plain_line_by_demand(guns, standing)
    assert [gun.gun for gun in order_by_soc(guns, standing, LIMITS)] == the_plain_line_by_soc(guns, standing)


def test_a_large_line_costs_hardly_more_for_each_gun() -> None:
    """Comparisons while demands wander by 5 %: one by one, ten times the guns would need ninety times as many."""

    def comparisons(size: int) -> int:
        dice, made = random.Random(1), 0

        class Counted(float):
            def __neg__(self) -> float:  # each comparison of two guns asks for both
                nonlocal made
                made += 1
                return float.__neg__(self)

        before = [dice.uniform(10, 240) for _ in range(size)]
        last = sorted(range(size), key=lambda gun: -before[gun])
        guns = [
            GunRequest(gun, Counted(kw * dice.gauss(1.0, 0.05)), kw, session_since_ms=gun)
            for gun, kw in enumerate(before)
        ]
        order_by_demand(guns, Standing(last, frozenset()), LIMITS)
        return made

    few, many = comparisons(1000), comparisons(10_000)
    assert few > 0
    assert many < 20 * few  # measured 17; of the whole allocation they are a tenth
