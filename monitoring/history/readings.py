"""Job: what the history takes of one line of the feed, small enough that minutes of them can wait in memory.

Thread: any (pure, frozen). Lock: none. Units: in each name; `ts` is Unix seconds, `now_s` monotonic.
"""

from __future__ import annotations

from dataclasses import dataclass

from monitoring.schema import Fault, Line, Snapshot
from planning.model import GunState, StationState, VehicleStatus

#: A module that gives at least this much delivers.
DELIVERS_KW = 0.1


@dataclass(frozen=True, slots=True)
class GunReading:
    gun: int
    status: VehicleStatus
    state: GunState
    reason_code: str
    soc_pct: float | None
    asked_kw: float
    delivered_kw: float
    energy_kwh: float  # a counter of this run of the controller
    delivering: tuple[int, ...]  # modules that give it power now


@dataclass(frozen=True, slots=True)
class Wear:
    """Operations of one contactor in its life, as the controller counts them."""

    gun: int
    module: int
    unloaded: int
    loaded: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The station at one moment."""

    ts: float
    seq: int
    run: str
    station_id: str
    version: str
    started_ts: float
    state: StationState
    power_kw: float
    guns: tuple[GunReading, ...]
    faults: tuple[Fault, ...]  # those that stand
    wear: tuple[Wear, ...]  # contactors that have operated


@dataclass(frozen=True, slots=True)
class Seen:
    """One line of the feed and when it came."""

    now_s: float
    reading: Reading | None
    fault_news: tuple[Fault, ...] = ()


def seen(line: Line, now_s: float) -> Seen | None:
    """What the history takes of a line; None when there is nothing for it."""
    if line.snapshot is None and not line.fault_news:
        return None
    return Seen(now_s, reading(line.snapshot) if line.snapshot is not None else None, tuple(line.fault_news))


def reading(snapshot: Snapshot) -> Reading:
    station = snapshot.station
    giving = [(each.gun, each.module) for each in snapshot.modules if each.gun and each.power_kw >= DELIVERS_KW]
    guns = tuple(
        GunReading(
            gun=each.gun,
            status=VehicleStatus(each.vehicle_status),
            state=GunState(each.state),
            reason_code=each.reason_code,
            soc_pct=each.soc_pct,
            asked_kw=each.asked_kw,
            delivered_kw=each.delivered_kw,
            energy_kwh=each.energy_kwh,
            delivering=tuple(module for gun, module in giving if gun == each.gun),
        )
        for each in snapshot.guns
    )
    wear = tuple(
        Wear(each.gun, each.module, each.unloaded, each.loaded)
        for each in snapshot.crosspoints
        if each.unloaded or each.loaded
    )
    return Reading(
        ts=snapshot.ts,
        seq=snapshot.seq,
        run=station.run,
        station_id=station.station_id,
        version=station.version,
        started_ts=station.started_ts,
        state=StationState(station.state),
        power_kw=station.power_kw,
        guns=guns,
        faults=tuple(snapshot.faults),
        wear=wear,
    )
