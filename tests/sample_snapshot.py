"""A snapshot of a full station with every figure drawn at random, for whoever only reads snapshots."""

from __future__ import annotations

import random
from typing import get_args

from monitoring.schema import Can, CrosspointView, Fault, Gun, Messages, Module, Snapshot, StationWords
from planning.payload import Reason

GUNS, MODULES = 6, 9
TS = 1_800_000_000.0
FAULTS = (
    ("CONTACTOR_WELDED", "crosspoint", "g1m3"), ("MODULE_SILENT", "module", "m4"), ("GUN_FAULT", "gun", "g2"),
    ("BROKER_LOST", "station", "station"),
)  # fmt: skip


def words(model: type, field: str) -> tuple[str, ...]:
    """What a field with a fixed list of words may say."""
    found: tuple[str, ...] = get_args(model.model_fields[field].annotation)  # type: ignore[attr-defined]
    return found


def snapshot(seed: int) -> Snapshot:
    """One of many; the same seed gives the same."""
    rng = random.Random(seed)

    def some(high: float) -> float:
        return round(rng.uniform(0, high), 3)

    def maybe(high: float) -> float | None:
        return None if rng.random() < 0.2 else some(high)

    def gun(number: int) -> Gun:
        return Gun(
            gun=number, device=f"D{(number + 1) // 2}", device_gun_id=2 - number % 2,
            state=rng.choice(words(Gun, "state")), vehicle_status="charging", soc_pct=maybe(100), asked_kw=some(240),
            allocated_kw=some(240), delivered_kw=some(240), current_a=some(500), voltage_v=maybe(1000),
            energy_kwh=some(500), modules=sorted(rng.sample(range(1, MODULES + 1), rng.randint(0, 3))),
            reason_code="SHARED", reason="SHARED 2 modules short: held by guns 1 and 4", eta_next_module_s=maybe(60),
            max_power_kw=rng.choice((50, 120, 240)), commanded_kw=maybe(300), kept_out=rng.random() < 0.5,
            target_voltage_v=maybe(1000),
            voltage_limit_v=maybe(1000), current_limit_a=maybe(500), heard_s=maybe(60),
        )  # fmt: skip

    def module(number: int) -> Module:
        return Module(
            module=number, state=rng.choice(words(Module, "state")), usable=rng.random() < 0.7, gun=None, stage="free",
            voltage_v=maybe(1000), current_a=maybe(100), power_kw=some(40), temperature_c=maybe(90), hours=some(20_000),
            energy_kwh=some(500_000), starts=rng.randint(0, 9999), serial=None, alarms=["fan"] * rng.randint(0, 2),
            warnings=[], heard_s=maybe(1),
        )  # fmt: skip

    def crosspoint(gun: int, module: int) -> CrosspointView:
        return CrosspointView(
            gun=gun, module=module, commanded=rng.random() < 0.2, state=rng.choice(words(CrosspointView, "state")),
            fault="CONTACTOR_WELDED" if rng.random() < 0.1 else None, unloaded=rng.randint(0, 99_999),
            loaded=rng.randint(0, 999),
        )  # fmt: skip

    def fault(code: str, scope: str, where: str) -> Fault:
        return Fault(
            code=code, severity=rng.choice(words(Fault, "severity")), scope=scope, id=where, text="What to do.",
            since_ts=TS - some(9999), ended_ts=None, latched=False,
        )  # fmt: skip

    station = StationWords(
        station_id=f"vesec-{seed}", version=f"0.1.{seed}", run="a1", started_ts=TS - some(1e6),
        state=rng.choice(words(StationWords, "state")), armed=rng.random() < 0.5, mqtt=rng.random() < 0.5,
        emergency_stop_healthy=rng.random() < 0.5, power_kw=some(360), energy_kwh=some(9999), site_limit_kw=maybe(400),
        rule=rng.choice(words(StationWords, "rule")), draining=rng.random() < 0.5, module_kw=rng.choice((20, 30, 40)),
        modules_available=rng.randint(0, 9), modules_heard=rng.randint(0, 9), contactors_closed=rng.randint(0, 9),
        slowest_step_s=some(0.3), step_age_s=some(0.1), loss_kw_without_module={"1": {"2": 40.0}},
        lost_snapshots=rng.randint(0, 99),
        can=Can(
            up=rng.random() < 0.5, load_1s_pct=some(30), load_10s_pct=some(20), sent=rng.randint(0, 10**9),
            received=rng.randint(0, 10**9), send_failures=rng.randint(0, 99), rejected=rng.randint(0, 99),
            foreign=rng.randint(0, 99), bus_offs=rng.randint(0, 9),
        ),
        messages=Messages(
            accepted=rng.randint(0, 10**9), rejected={reason.value: rng.randint(0, 99) for reason in Reason}
        ),
    )  # fmt: skip
    return Snapshot(
        ts=TS, seq=seed, station=station,
        guns=[gun(n) for n in range(1, GUNS + 1)],
        modules=[module(n) for n in range(1, MODULES + 1)],
        crosspoints=[crosspoint(g, m) for g in range(1, GUNS + 1) for m in range(1, MODULES + 1)],
        faults=[fault(*each) for each in rng.sample(FAULTS, 2)],
    )  # fmt: skip
