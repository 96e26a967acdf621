"""The send queue, the load meter and the read schedule by themselves."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planning.can_queue import KERNEL_FRAMES, RETRY_LIMIT_S, LoadMeter, Outgoing, Priority, SendQueue
from planning.read_schedule import ReadSchedule, Thinner, Thinning

BITRATE = 125_000
FRAME_S = 0.0012


def queue() -> SendQueue[str]:
    return SendQueue(BITRATE, {"": 0.005})


def item(priority: Priority, module: int, key: str, text: str = "") -> Outgoing[str]:
    paced = priority > Priority.OFF
    return Outgoing(priority, module, key, text or f"{priority.name} {module} {key}", paced=paced)


def leave(sender: SendQueue[str], now_s: float) -> str | None:
    """Send the frame that may leave now."""
    found = sender.next(now_s)
    if found is None:
        return None
    sender.sent(found, False, now_s)
    return found.frame


def test_the_newest_value_replaces_the_waiting_one_and_keeps_its_place() -> None:
    sender = queue()
    sender.put(item(Priority.RAISE, 1, "V", "400"))
    sender.put(item(Priority.RAISE, 1, "I", "50"))
    sender.put(item(Priority.RAISE, 1, "V", "410"))
    assert [leave(sender, 0.0), leave(sender, 1.0), leave(sender, 2.0)] == ["410", "50", None]


def test_a_lower_value_voids_the_higher_one_and_a_renewal_stays_urgent() -> None:
    sender = queue()
    sender.put(item(Priority.RAISE, 1, "I", "80"))
    sender.put(item(Priority.LOWER, 1, "I", "20"))
    sender.put(item(Priority.RAISE, 2, "I", "90"))
    sender.put(item(Priority.RAISE, 1, "I", "25"))
    assert [leave(sender, 0.0), leave(sender, 1.0), leave(sender, 2.0)] == ["25", "90", None]


def test_flush_takes_setpoints_and_leaves_off_and_reads() -> None:
    sender = queue()
    for priority in Priority:
        sender.put(item(priority, 1, "x"))
        sender.put(item(priority, 2, "x"))
    sender.flush(1)
    assert len(sender) == 7 and not sender.holds(1, "x") and sender.holds(2, "x")
    sender.flush(None)
    assert len(sender) == 6 and not sender.control_waits


def test_spacing_holds_for_all_but_off() -> None:
    sender = queue()
    sender.put(item(Priority.READ, 1, "a"))
    sender.put(item(Priority.READ, 1, "b"))
    assert leave(sender, 0.0) is not None
    assert leave(sender, 0.004) is None and sender.wait_s(0.004) == pytest.approx(0.001)
    sender.put(item(Priority.OFF, 1, "off"))
    assert leave(sender, 0.004) == "OFF 1 off"


def test_a_refused_frame_is_tried_for_50_ms_even_when_it_is_renewed() -> None:
    sender = queue()
    sender.put(item(Priority.OFF, 1, "off"))
    now_s, tries = 0.0, 0
    while (found := sender.next(now_s)) is not None:
        tries += 1
        if sender.refused(found, now_s):
            break
        assert sender.wait_s(now_s) == pytest.approx(0.002)
        now_s += 0.002
        sender.put(item(Priority.OFF, 1, "off"))
    assert now_s == pytest.approx(RETRY_LIMIT_S) and tries == 26 and len(sender) == 0
    assert sender.wait_s(now_s) == math.inf


orders = st.lists(
    st.tuples(st.sampled_from(list(Priority)), st.integers(0, 3), st.sampled_from("VI"), st.floats(0, 0.01)),
    max_size=60,
)


@given(orders)
def test_never_more_than_five_in_the_kernel_and_nothing_urgent_waits_for_less(
    puts: list[tuple[Priority, int, str, float]],
) -> None:
    sender = queue()
    now_s, ends = 0.0, [0.0]
    for priority, module, key, pause_s in puts:
        now_s += pause_s
        sender.put(item(priority, module, key))
        while (found := sender.next(now_s)) is not None:
            waiting = [p for p in Priority if sender._waiting[p]]
            assert found.priority is min(waiting)
            sender.sent(found, False, now_s)
            ends.append(max(ends[-1], now_s) + FRAME_S)
            assert sum(end_s > now_s for end_s in ends) <= KERNEL_FRAMES


@given(st.lists(st.floats(0, 0.5), max_size=200))
def test_the_meter_counts_like_a_list_of_times(pauses: list[float]) -> None:
    meter = LoadMeter(BITRATE)
    now_s, times = 1000.0, []
    for pause_s in pauses:
        now_s += pause_s
        meter.add(now_s)
        times.append(int(now_s * 10))
    load_1s, load_10s = meter.pct(now_s)
    tenth = int(now_s * 10)
    assert load_1s == pytest.approx(sum(t > tenth - 10 for t in times) * 0.12)
    assert load_10s == pytest.approx(sum(t > tenth - 100 for t in times) * 0.012)


def test_the_meter_forgets_after_a_pause() -> None:
    meter = LoadMeter(BITRATE)
    meter.add(10.0)
    assert meter.pct(10.0)[0] > 0.0 and meter.pct(11.0)[0] == 0.0
    assert meter.pct(19.0)[1] > 0.0 and meter.pct(20.1) == (0.0, 0.0)


def test_a_make_without_broadcast_reads_is_asked_module_by_module() -> None:
    schedule = ReadSchedule((1, 2, 3), False, 2.0, ("status", "output"), 10.0, ("serial",), 0.1, ("output",))
    asked: list[tuple[float, str, int | None]] = []
    for step in range(400):
        now_s = step * 0.01
        asked += [(now_s, signal, module) for signal, module in schedule.due(now_s, Thinning.NONE)]
    assert {module for _, _, module in asked} == {1, 2, 3}
    assert len(asked) == 2 * 6, "each signal of each module once a round"
    pauses = {round(b[0] - a[0], 2) for a, b in itertools.pairwise(asked)}
    assert max(pauses) < 0.4, "spread over the round, not in one burst"


@pytest.mark.parametrize(
    ("thin", "watched", "slow"),
    [(Thinning.NONE, 20, 1), (Thinning.NO_SLOW, 20, 0), (Thinning.WATCH_HALF, 10, 0), (Thinning.NO_WATCH, 0, 0)],
)
def test_slow_reads_give_way_first_then_the_watched_never_the_round(thin: Thinning, watched: int, slow: int) -> None:
    schedule = ReadSchedule((1, 2), True, 0.5, ("status",), 1.5, ("serial",), 0.1, ("volts",))
    schedule.watch((1,), 0.0)
    asked = [signal for step in range(200) for signal, _ in schedule.due(step * 0.01 + 1e-6, thin)]
    assert abs(asked.count("volts") - watched) <= 1 and asked.count("serial") == slow and asked.count("status") == 4


def test_thinning_starts_at_once_and_ends_after_a_while() -> None:
    thinner = Thinner()
    assert thinner.step(10.0, 10.0, 0.0) is Thinning.NONE
    assert thinner.step(26.0, 10.0, 1.0) is Thinning.NO_WATCH
    assert thinner.step(10.0, 10.0, 5.9) is Thinning.NO_WATCH
    assert thinner.step(10.0, 10.0, 6.1) is Thinning.NONE
    assert thinner.step(10.0, 19.4, 7.0) is Thinning.WATCH_HALF


def test_a_make_that_needs_long_pauses_does_not_hold_up_another() -> None:
    sender = SendQueue[str](BITRATE, {"slow": 0.05, "fast": 0.005})
    for number in (1, 2):
        sender.put(Outgoing(Priority.RAISE, number, "set", f"slow {number}", make="slow"))
    for number in (3, 4):
        sender.put(Outgoing(Priority.READ, number, "read", f"fast {number}", make="fast"))
    left = {}
    for ms in range(70):
        if (text := leave(sender, ms / 1000)) is not None:
            left[text] = ms
    assert left == {"slow 1": 0, "fast 3": 1, "fast 4": 6, "slow 2": 50}


def test_a_question_keeps_the_more_urgent_of_its_places() -> None:
    sender = queue()
    sender.put(item(Priority.RAISE, 1, "set"))
    sender.put(item(Priority.READ, 2, "status", "in its turn"))
    sender.put(item(Priority.HEAR, 2, "status", "at once"))
    sender.put(item(Priority.READ, 2, "status", "again in its turn"))
    sender.put(item(Priority.ASK, 3, "volts", "waited for"))
    assert len(sender) == 3
    assert [leave(sender, 0.01 * n) for n in range(4)] == ["again in its turn", "RAISE 1 set", "waited for", None]


def test_off_said_again_and_again_does_not_keep_questions_away() -> None:
    sender = SendQueue[str](BITRATE, {"slow": 0.05})
    reads = 0
    for ms in range(1000):
        if ms % 40 == 0:
            sender.put(Outgoing(Priority.OFF, ms % 9, "off", "OFF", make="slow", paced=False))
        sender.put(Outgoing(Priority.READ, 1, "read", "read", make="slow"))
        while (text := leave(sender, ms / 1000)) is not None:
            reads += text == "read"
    assert 9 <= reads <= 11, "one each 100 ms"
