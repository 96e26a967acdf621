"""Job: every request of six guns, with up to two modules failed, under every rule: see tests/allocation_sweep.py.

Thread: the test's. Lock: none. Units: none.
"""

from __future__ import annotations

import pytest

from planning.settings import Priority
from tests.allocation_sweep import FAILED_SETS, VECTORS, check_in_turn, faults, needs_of, right_counts, share

SAMPLE = 131  # a prime, so that every gun meets every need
BLOCKS = 4


def test_the_sweep_is_as_large_as_it_says() -> None:
    assert (VECTORS, len(FAILED_SETS)) == (117_649, 46)
    assert len({needs_of(number) for number in range(VECTORS)}) == VECTORS


@pytest.mark.parametrize("rule", Priority)
def test_a_sample_of_all_requests(rule: Priority) -> None:
    assert check_in_turn(range(0, VECTORS, SAMPLE), rule) > VECTORS // SAMPLE


@pytest.mark.soak
@pytest.mark.parametrize("block", range(BLOCKS))
@pytest.mark.parametrize("rule", Priority)
def test_all_requests(rule: Priority, block: int) -> None:
    tried = check_in_turn(range(block, VECTORS, BLOCKS), rule)
    print(f"{rule.value}: {tried:,} pairs of request and failed modules, 0 wrong")


def test_the_plain_count_knows_the_rules() -> None:
    needs = (6, 5, 1, 0, 2, 0)
    assert right_counts(needs, 9, Priority.HIGHEST_DEMAND) == [6, 3, 0, 0, 0, 0]
    assert right_counts(needs, 9, Priority.FAIR_SHARE) == [3, 3, 1, 0, 2, 0]
    assert right_counts(needs, 7, Priority.FIRST_COME) == [0, 5, 0, 0, 2, 0]
    assert right_counts(needs, 7, Priority.LOWEST_SOC) == [2, 5, 0, 0, 0, 0]
    assert right_counts(needs, 7, Priority.GUN_PRIORITY) == [2, 5, 0, 0, 0, 0]


def test_the_sweep_sees_what_is_wrong() -> None:
    needs, rule = (6, 5, 1, 0, 2, 0), Priority.HIGHEST_DEMAND
    result = share(needs, (9,), rule)
    assert list(faults(needs, (9,), rule, result)) == []
    assert "a failed module serves" in list(faults(needs, (1,), rule, result))
    assert any("right are" in each for each in faults(needs, (), rule, result))
    other = share(needs, (9,), Priority.FAIR_SHARE)
    assert any("right are" in each for each in faults(needs, (9,), rule, other))
