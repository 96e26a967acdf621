"""Job: the words in which the history is told by the API.

Thread: any (frozen). Lock: none. Units: in each name; `ts` and `*_ts` are Unix seconds.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from monitoring.schema import Kw, Kwh, Percent, Seconds, UnixSeconds


class _Words(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


EndWord = Literal[
    "CAR_LEFT", "FINISHED", "DEMAND_ENDED", "FAULT", "DEVICE_SILENT", "OUT_OF_USE", "DRAINED", "STATION_STOPPED",
    "CONTROLLER_RESTARTED", "NOT_WATCHED",
]  # fmt: skip


class SessionWords(_Words):
    """One visit of a car."""

    session: int = Field(description="number of the session in the database")
    gun: int = Field(description="number of the gun, from 1")
    run: str = Field(description="name of the run of the controller in which it began")
    from_ts: UnixSeconds
    to_ts: UnixSeconds | None = Field(description="null: it is open")
    duration_s: Seconds = Field(description="from beginning to end, or to the last look")
    energy_kwh: Kwh
    soc_from_pct: Percent | None = Field(description="state of charge when power first flowed; null: never told")
    soc_to_pct: Percent | None
    peak_kw: Kw = Field(description="highest power")
    mean_kw: Kw = Field(description="over the time in which power flowed")
    charging_s: Seconds = Field(description="in which power flowed")
    waited_s: Seconds = Field(description="in which the car asked for power and had none, with the time to connect")
    modules: list[int] = Field(description="modules that gave it power")
    ended: EndWord | None = Field(description="why it ended; null: it is open")
    ended_words: str | None = Field(description="the same for people")
    fault: str | None = Field(description="code of the fault that ended it")
    clock_moved_s: Seconds = Field(
        description="by how much the wall clock was moved meanwhile; lengths are right anyhow"
    )


class FaultWords(_Words):
    """A fault that stands or stood."""

    code: str
    severity: Literal["warning", "error", "critical"]
    scope: Literal["module", "crosspoint", "gun", "station"]
    id: str = Field(description="m3, g1m3, g2 or station")
    text: str = Field(description="what it means and what to do")
    since_ts: UnixSeconds
    ended_ts: UnixSeconds | None = Field(description="null: it stands")
    duration_s: Seconds
    run: str = Field(description="name of the run of the controller")


class OperationWords(_Words):
    """A contactor opened."""

    ts: UnixSeconds
    gun: int
    module: int
    unloaded: int = Field(description="so often without current since the look before")
    loaded: int = Field(description="so often with current since the look before")


class EnergyOfDay(_Words):
    """What was delivered in the sessions that began on one day."""

    day: Annotated[str, Field(description="local date, such as 2026-11-30", pattern=r"^\d{4}-\d{2}-\d{2}$")]
    sessions: int
    energy_kwh: Kwh
    guns_kwh: dict[str, Kwh] = Field(description="number of the gun -> energy; guns without a session are missing")
