"""Job: lines of the feed for tests of the history: a station of six guns with cars that come, charge and go.

Thread: the test's. Lock: none. Units: in each name; station time, `ts` Unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from monitoring.history.readings import Seen, seen
from monitoring.schema import Can, CrosspointView, Fault, Gun, Line, Messages, Module, Snapshot, StationWords

START_TS = 1_795_000_000.0
PERIOD_S = 0.5
CAN = Can(
    up=True, load_1s_pct=0, load_10s_pct=0, sent=0, received=0, send_failures=0, rejected=0, foreign=0, bus_offs=0
)


@lru_cache(1_000)
def _idle(gun: int) -> Gun:
    return gun_words(gun)


def gun_words(gun: int, **given: Any) -> Gun:
    """A gun without a car, but for what is given."""
    words: dict[str, Any] = {
        "gun": gun, "device": "D1", "device_gun_id": 1, "state": "idle", "vehicle_status": "no car", "soc_pct": None,
        "asked_kw": 0.0, "allocated_kw": 0.0, "delivered_kw": 0.0, "current_a": 0.0, "voltage_v": None,
        "energy_kwh": 0.0, "modules": [], "reason_code": "IDLE", "reason": "no demand", "eta_next_module_s": None,
        "max_power_kw": 240.0, "commanded_kw": None,
        "kept_out": False, "target_voltage_v": None, "voltage_limit_v": None,
        "current_limit_a": None, "heard_s": 0.1,
    }  # fmt: skip
    return Gun(**(words | given))


def charging(gun: int, kw: float, energy_kwh: float, **given: Any) -> Gun:
    """A gun whose car gets what it asks for."""
    given = {"soc_pct": 40.0, "asked_kw": kw, "modules": [gun], **given}
    return gun_words(
        gun, state="charging", vehicle_status="charging", delivered_kw=kw, allocated_kw=kw, energy_kwh=energy_kwh,
        reason_code="SERVED", **given,
    )  # fmt: skip


@lru_cache(1_000)
def module_words(module: int, gun: int | None = None, kw: float = 0.0) -> Module:
    return Module(
        module=module, state="on" if kw else "off", usable=True, gun=gun, stage="FREE", voltage_v=None, current_a=None,
        power_kw=kw, temperature_c=None, hours=1.0, energy_kwh=0.0, starts=1, serial=None, alarms=[], warnings=[],
        heard_s=0.1,
    )  # fmt: skip


@lru_cache(1_000)
def crosspoint_words(gun: int, module: int, unloaded: int, loaded: int) -> CrosspointView:
    return CrosspointView(
        gun=gun, module=module, commanded=False, state="open", fault=None, unloaded=unloaded, loaded=loaded
    )


def fault_words(code: str, where: str, since_ts: float, ended_ts: float | None = None, **given: Any) -> Fault:
    words: dict[str, Any] = {
        "code": code, "severity": "error", "scope": "gun" if where.startswith("g") else "station", "id": where,
        "text": f"{code} at {where}. Look at it.", "since_ts": since_ts, "ended_ts": ended_ts, "latched": False,
    }  # fmt: skip
    return Fault(**(words | given))


def snapshot(
    ts: float,
    seq: int,
    guns: Sequence[Gun] = (),
    *,
    run: str = "run-1",
    state: str = "ready",
    faults: Sequence[Fault] = (),
    wear: Mapping[tuple[int, int], tuple[int, int]] | None = None,
    started_ts: float = START_TS,
) -> Snapshot:
    """A snapshot in which modules give power as their guns say."""
    here = {gun.gun: gun for gun in guns}
    all_guns = [here.get(gun) or _idle(gun) for gun in range(1, 7)]
    serving = {module: gun for gun in all_guns for module in gun.modules}
    modules = [
        module_words(module, serving[module].gun, serving[module].delivered_kw / len(serving[module].modules))
        if module in serving
        else module_words(module)
        for module in range(1, 10)
    ]
    counters = wear or {}
    station = StationWords(
        station_id="test", version="1", run=run, started_ts=started_ts, armed=True, mqtt=True,
        state=state,  # type: ignore[arg-type]
        emergency_stop_healthy=True, power_kw=sum(gun.delivered_kw for gun in all_guns),
        energy_kwh=sum(gun.energy_kwh for gun in all_guns), site_limit_kw=None, rule="highest_demand", draining=False,
        module_kw=40.0, modules_available=9, modules_heard=9, contactors_closed=0, slowest_step_s=0.01, step_age_s=0.01,
        loss_kw_without_module={}, lost_snapshots=0,
        can=CAN, messages=Messages(accepted=0, rejected={}),
    )  # fmt: skip
    crosspoints = [
        crosspoint_words(gun, module, *counters.get((gun, module), (0, 0)))
        for gun in range(1, 7)
        for module in range(1, 10)
    ]
    return Snapshot(
        ts=ts, seq=seq, station=station, guns=all_guns, modules=modules, crosspoints=crosspoints, faults=list(faults)
    )


def seen_at(now_s: float, snap: Snapshot, news: Sequence[Fault] = ()) -> Seen:
    found = seen(Line(snapshot=snap, fault_news=list(news)), now_s)
    assert found is not None
    return found


@dataclass(slots=True)
class BusyStation:
    """Gun 1 charges at 60 kW for ever; gun 2 serves a car for a minute of every 90 s, and its contactor then opens.

    Everything follows from `seq`, so that a test can say what should be there, and a feeder that was killed goes on.
    """

    run: str = "run-1"
    begin_ts: float = START_TS
    seq: int = 0
    base_kwh: float = 0.0  # what the counters of an earlier run had come to; for the test alone
    told_faults: list[Fault] = field(default_factory=list)

    GUN_1_KW = 60.0
    GUN_2_KW = 90.0
    ROUND_S, VISIT_S, POWER_S = 90.0, 60.0, 50.0

    def at(self, seq: int) -> float:
        return self.begin_ts + seq * PERIOD_S

    def gun_1_kwh(self, seq: int) -> float:
        return self.GUN_1_KW * seq * PERIOD_S / 3600.0

    def gun_2_kwh(self, seq: int) -> float:
        rounds, rest_s = divmod(seq * PERIOD_S, self.ROUND_S)
        return self.GUN_2_KW * (rounds * self.POWER_S + min(rest_s, self.POWER_S)) / 3600.0

    def visits(self, seq: int) -> int:
        """Cars that have come to gun 2."""
        return int(seq * PERIOD_S // self.ROUND_S) + 1

    def operations(self, seq: int) -> int:
        """Contactors that have opened: at the end of the power of each visit."""
        rounds, rest_s = divmod(seq * PERIOD_S, self.ROUND_S)
        return int(rounds) + (rest_s > self.POWER_S)

    def next(self) -> Line:
        """The next snapshot."""
        self.seq += 1
        seq = self.seq
        rest_s = seq * PERIOD_S % self.ROUND_S
        guns = [charging(1, self.GUN_1_KW, self.gun_1_kwh(seq), modules=[1, 2])]
        if rest_s <= self.POWER_S:
            guns.append(charging(2, self.GUN_2_KW, self.gun_2_kwh(seq), modules=[3, 4, 5]))
        elif rest_s <= self.VISIT_S:
            guns.append(gun_words(2, vehicle_status="finishing", energy_kwh=self.gun_2_kwh(seq), soc_pct=80.0))
        else:
            guns.append(gun_words(2, energy_kwh=self.gun_2_kwh(seq)))
        counters = {(2, 3): (7, self.operations(seq))}
        return Line(snapshot=snapshot(self.at(seq), seq, guns, run=self.run, wear=counters, started_ts=self.begin_ts))
