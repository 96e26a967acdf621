"""Reconnect and Outbox: the decisions behind the broker connection, in virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from planning.outbox import MAX_EVENTS, Outbox
from planning.reconnect import Ending, Reconnect, Version
from planning.reports import OutMessage


def made(uniform: Callable[[float, float], float] = lambda low, high: 1.0) -> Reconnect:
    return Reconnect(1.0, 15.0, uniform)


def test_delays_double_up_to_the_longest_and_start_anew_after_a_stable_connection() -> None:
    plan = made()
    delays = []
    for _ in range(7):
        plan.ended(Ending.NOT_REACHED, 0.0, 100.0)
        delays.append(plan.retry_at_s - 100.0)
    assert delays == [1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]
    plan.ended(Ending.LOST, 9.9, 200.0)
    assert plan.retry_at_s == 215.0, "a connection that flaps keeps the long delay"
    plan.ended(Ending.LOST, 10.0, 300.0)
    assert plan.retry_at_s == 301.0


def test_jitter_stays_within_the_bounds() -> None:
    plan = made(random.Random(1).uniform)
    delays = []
    for _ in range(500):
        plan.ended(Ending.NOT_REACHED, 0.0, 0.0)
        delays.append(plan.retry_at_s)
    assert min(delays) >= 1.0 and max(delays) <= 15.0 and len(set(delays)) > 200


def test_a_refused_version_is_changed_without_delay_but_only_once() -> None:
    plan = made()
    plan.ended(Ending.VERSION_REFUSED, 0.0, 10.0)
    assert (plan.version, plan.retry_at_s) == (Version.V311, 10.0)
    plan.ended(Ending.VERSION_REFUSED, 0.0, 11.0)
    assert plan.version is Version.V311 and plan.retry_at_s > 11.0


def test_two_unanswered_connections_change_the_version_and_two_more_change_it_back() -> None:
    plan = made()
    seen = []
    for _ in range(5):
        plan.ended(Ending.UNANSWERED, 0.0, 0.0)
        seen.append(plan.version.value)
    assert seen == ["5", "3.1.1", "3.1.1", "5", "5"]


def test_unanswered_means_in_a_row() -> None:
    plan = made()
    for ending in (Ending.UNANSWERED, Ending.NOT_REACHED, Ending.UNANSWERED):
        plan.ended(ending, 0.0, 0.0)
    assert plan.version is Version.V5


@pytest.mark.parametrize("ending", [Ending.TAKEN_OVER, Ending.CLOSED])
def test_six_within_a_minute_are_an_identity_conflict(ending: Ending) -> None:
    plan = made()
    found = []
    for number in range(6):
        plan.ended(ending, 1.0, number * 12.0)
        found.append(plan.identity_conflict(number * 12.0))
    assert found == [False] * 5 + [True]
    assert not plan.identity_conflict(60.1), "a minute later it is over"


def test_a_broker_in_trouble_is_no_identity_conflict() -> None:
    plan = made()
    for number in range(20):
        plan.ended(Ending.CLOSED if number % 2 else Ending.NOT_REACHED, 1.0, float(number))
        assert not plan.identity_conflict(float(number))


def telemetry(number: int, topic: str = "t") -> OutMessage:
    return OutMessage(topic, str(number).encode())


def event(number: int) -> OutMessage:
    return OutMessage("fault", str(number).encode(), qos=1)


def test_the_newest_telemetry_of_a_topic_wins() -> None:
    box = Outbox()
    for message in (telemetry(1), telemetry(2, "other"), telemetry(3)):
        box.put(message, online=True)
    assert box.take(20) == [telemetry(3), telemetry(2, "other")] and len(box) == 0


def test_events_go_first_in_order_and_only_as_many_as_may_be_in_flight() -> None:
    box = Outbox()
    box.put(telemetry(0), online=True)
    for number in range(3):
        box.put(event(number), online=False)
    assert box.take(2) == [event(0), event(1), telemetry(0)]
    box.put_back([event(0), event(1)])
    assert box.take(20) == [event(0), event(1), event(2)]


def test_what_is_dropped_is_counted() -> None:
    box = Outbox()
    box.put(telemetry(1), online=False)
    box.put(telemetry(2), online=True)
    box.drop_telemetry()
    for number in range(MAX_EVENTS + 5):
        box.put(event(number), online=False)
    assert (box.dropped_telemetry, box.dropped_events, len(box)) == (2, 5, MAX_EVENTS)
    assert box.take(1) == [event(5)], "the oldest event goes, the present state of a fault stays"
