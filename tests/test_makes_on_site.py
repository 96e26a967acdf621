"""The real program on the real clock with modules of every make, the plant in a process of its own: the times that the
wire of each make allows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rig import FAST, Frame, Rig, rig, summary, wait_for
from test_under_fire import busy, stop_and_reset, with_tls

from protocols import PROTOCOLS

pytestmark = [pytest.mark.process, pytest.mark.soak]

#: All but the default make, which the other tests of the real program have.
OTHERS = sorted(set(PROTOCOLS) - {"uugreen"})
SET_WITHIN_S = {"infypower": 0.5}  # others: 0.1
LIMITS_KW = (60, 1000, 55, 1000, 50, 1000)

#: (module, A) of a frame that sets a current; None: another frame. Typed from the makers' texts.
Set = Callable[[int, bytes], tuple[int, float] | None]


def _uugreen(can_id: int, data: bytes) -> tuple[int, float] | None:
    is_set = can_id >> 21 == 0x11 and data[0] & 15 == 0 and data[1] == 3
    return (can_id >> 14 & 127, int.from_bytes(data[4:], "big") / 1000) if is_set else None


def _infypower(can_id: int, data: bytes) -> tuple[int, float] | None:
    is_set = can_id >> 16 == 0x029C
    return (can_id >> 8 & 0xFF, int.from_bytes(data[4:], "big") / 1000) if is_set else None


def _registers(can_id: int, data: bytes) -> tuple[int, float] | None:
    is_set = can_id >> 20 == 0x060 and data[0] == 3 and data[3] == 0x1B
    return (can_id >> 11 & 0xFF, int.from_bytes(data[4:], "big") / 1024) if is_set else None


def _tonhe(can_id: int, data: bytes) -> tuple[int, float] | None:
    """Its set-points switch on: the least current that it is told is the stop, 55h."""
    if can_id >> 16 != 0x0806 or data[0] not in (0xAA, 0x55):
        return None
    return can_id >> 8 & 0xFF, 0.0 if data[0] == 0x55 else int.from_bytes(data[4:6], "little") / 100


SETS: dict[str, Set] = {
    "uugreen": _uugreen, "maxwell_enr": _uugreen, "infypower": _infypower, "maxwell_mxr": _registers,
    "winline": _registers, "tonhe": _tonhe,
}  # fmt: skip


def set_a(frames: list[Frame], sets: Set) -> dict[int, float]:
    """Module -> the current that it was set to last."""
    told = [sets(frame.can_id, frame.data) for frame in frames if frame.from_controller]
    return dict(each for each in told if each is not None)


def lowered_s(frames: list[Frame], sets: Set, since_s: float) -> dict[int, float]:
    """Module -> when its current was first set lower than before."""
    last: dict[int, float] = {}
    found: dict[int, float] = {}
    for frame in frames:
        told = sets(frame.can_id, frame.data) if frame.from_controller else None
        if told is None:
            continue
        module, amps = told
        if frame.at_s > since_s and amps < last.get(module, 0.0) - 1.0:
            found.setdefault(module, frame.at_s)
        last[module] = amps
    return found


def lower_all(station: Rig, make: str, times: int) -> None:
    """A lower limit of the site lowers all nine at once: from the first frame to the ninth."""
    plant, spans_s = station.plant, []
    for limit_kw in LIMITS_KW[: 2 * times]:
        if limit_kw == 1000:
            wait_for(lambda: plant.state()["power_kw"] < 100.0, "the limit is kept", 10.0)
        if limit_kw != 1000:
            # one that has just joined still carries its first ampere: nothing to lower there
            wait_for(
                lambda: sum(amps > 5.0 for amps in set_a(plant.frames(), SETS[make]).values()) == 9,
                "nine modules carry their share", 30.0,
            )  # fmt: skip
        since_s = plant.frames()[-1].at_s
        before_kw = plant.state()["power_kw"]
        station.say.tell_once("vesec/station/site_limit/central/set", str(limit_kw))
        if limit_kw == 1000:
            wait_for(lambda: plant.state()["power_kw"] > 320.0, "all power is back", 60.0)
            continue
        lowered = wait_for(
            lambda at_s=since_s: len(found := lowered_s(plant.frames(), SETS[make], at_s)) == 9 and found,
            f"nine lower set-points ({before_kw:.0f} kW before)", 5.0,
        )  # fmt: skip
        spans_s.append(max(lowered.values()) - min(lowered.values()))
    summary(f"{make}: nine set-points on the wire", spans_s)
    assert max(spans_s) <= SET_WITHIN_S.get(make, 0.1)


#: After 1.6 s a simulated module that was at 640 V is around 50 V, near the 60 V at which it counts as live.
RESTED = FAST.replace("terminal_discharge_time = 1.6", "terminal_discharge_time = 3")


def serve_set_and_stop(folder: Path, make: str, stops: int) -> None:
    broker, local = with_tls(folder)
    off = {(frame.can_id, frame.data) for frame in PROTOCOLS[make].encode_all_off()}
    with rig(folder, RESTED + local, broker_options=broker, protocol=make) as station:
        busy(station)
        wait_for(lambda: station.plant.state()["power_kw"] > 300.0, "nine modules at power", 60.0)
        lower_all(station, make, stops)
        stop_and_reset(station, stops, lambda frame: frame.from_controller and (frame.can_id, frame.data) in off)
        # the leads of the simulated modules need longer than 3 s, and a stop opens under load
        hurt = {"joined", "close_high", "close_unmatched", "close_unlimited"}
        state = station.plant.state()
        assert not hurt & state["violation_counts"].keys(), state["violations"]
        assert station.main is not None and station.main.end() == 0


@pytest.mark.parametrize("make", OTHERS)
def test_every_make_serves_is_set_and_stopped_in_time(tmp_path: Path, make: str) -> None:
    serve_set_and_stop(tmp_path, make, 3)
