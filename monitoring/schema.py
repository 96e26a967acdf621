"""Job: the words in which the station is told to whoever looks on: the snapshot, and what the API answers.

Thread: any (the page process; the control process never imports this file: it writes plain JSON of the same keys in
monitoring/feed.py, and a test holds the two together). Lock: none. Units: in each name; `ts` is Unix seconds.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Kw = Annotated[float, Field(description="power", json_schema_extra={"unit": "kW"})]
Volts = Annotated[float, Field(description="voltage", json_schema_extra={"unit": "V"})]
Amperes = Annotated[float, Field(description="current", json_schema_extra={"unit": "A"})]
Percent = Annotated[float, Field(description="share", json_schema_extra={"unit": "%"})]
Celsius = Annotated[float, Field(description="temperature", json_schema_extra={"unit": "°C"})]
Kwh = Annotated[float, Field(description="energy", json_schema_extra={"unit": "kWh"})]
Hours = Annotated[float, Field(description="time switched on", json_schema_extra={"unit": "h"})]
Seconds = Annotated[float, Field(description="time", json_schema_extra={"unit": "s"})]
UnixSeconds = Annotated[float, Field(description="moment, Unix time", json_schema_extra={"unit": "s"})]


class _Words(BaseModel):
    """Frozen; a key that is not known is a slip on one of the two sides."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Can(_Words):
    """The CAN link to the power modules."""

    up: bool
    load_1s_pct: Percent = Field(description="bus load over the last second")
    load_10s_pct: Percent = Field(description="bus load over the last 10 s")
    sent: int = Field(description="frames sent since the start")
    received: int = Field(description="frames received since the start")
    send_failures: int
    rejected: int = Field(description="error, remote, 11-bit and malformed frames")
    foreign: int = Field(description="frames that are no answer of a configured module")
    bus_offs: int = Field(description="times that the CAN controller switched itself off")


class Messages(_Words):
    """What came over MQTT since the start."""

    accepted: int
    rejected: dict[str, int] = Field(description="refused messages by reason")


class Gun(_Words):
    gun: int = Field(description="number of the gun, from 1")
    device: str | None = Field(description="the dispenser that reports it, such as D1")
    device_gun_id: int | None = Field(description="the number that the dispenser counts it by")
    state: Literal["idle", "waiting", "connecting", "charging", "stopping", "fault", "disabled"]
    vehicle_status: str = Field(description="never told, no car, waiting, charging, finishing or fault")
    soc_pct: Percent | None = Field(description="state of charge of the car; null: never told")
    asked_kw: Kw = Field(description="what the car asks for")
    allocated_kw: Kw = Field(description="what it may have")
    delivered_kw: Kw = Field(description="what is measured")
    current_a: Amperes
    voltage_v: Volts | None = Field(description="of its bus bar; null: not known")
    energy_kwh: Kwh = Field(description="delivered since the controller started; never falls")
    modules: list[int] = Field(description="the modules that are given to it")
    reason_code: str = Field(description="one word for machines, such as SHARED")
    reason: str = Field(description="the sentence for people")
    eta_next_module_s: Seconds | None = Field(description="until it gets one more module; null: nobody can know")
    max_power_kw: Kw = Field(description="gunN_max_power of config.ini")
    commanded_kw: Kw | None = Field(description="limit by command; 0 takes the gun out of use; null: none")
    kept_out: bool = Field(description="the station drains and takes in no new car here")
    target_voltage_v: Volts | None
    voltage_limit_v: Volts | None
    current_limit_a: Amperes | None
    heard_s: Seconds | None = Field(description="since its dispenser was last heard; null: never")


class Module(_Words):
    module: int = Field(description="number of the module, from 1")
    state: Literal["unheard", "off", "on", "silent", "fault", "refused", "disabled"]
    usable: bool = Field(description="it may be planned with")
    gun: int | None = Field(description="the gun it serves or is on the way to or from; null: free")
    stage: str = Field(description="where it is in the switching sequence")
    voltage_v: Volts | None
    current_a: Amperes | None
    power_kw: Kw
    temperature_c: Celsius | None = Field(description="the hottest it tells of; null: it tells none")
    hours: Hours
    energy_kwh: Kwh = Field(description="delivered in its life, as counted here")
    starts: int
    serial: str | None
    alarms: list[str] = Field(description="names of the fault bits that are set")
    warnings: list[str]
    heard_s: Seconds | None = Field(description="since its last frame; null: never")


class CrosspointView(_Words):
    """The contactor that joins the output of a module to the bus bar of a gun."""

    gun: int
    module: int
    commanded: bool = Field(description="the coil is on")
    state: Literal[
        "open", "closing", "closed", "close_failed", "opening", "open_failed", "dropped", "intruder", "unknown"
    ] = Field(description="the command against the debounced feedback; open_failed: welded")
    fault: str | None = Field(description="code of the fault that keeps it out of service; null: in service")
    unloaded: int = Field(description="operations without current")
    loaded: int = Field(description="operations with current")


class Fault(_Words):
    code: str
    severity: Literal["warning", "error", "critical"]
    scope: Literal["module", "crosspoint", "gun", "station"]
    id: str = Field(description="m3, g1m3, g2 or station")
    text: str = Field(description="what it means and what to do")
    since_ts: UnixSeconds
    ended_ts: UnixSeconds | None = Field(description="null: it stands")
    latched: bool = Field(description="only a person can end it, by a reset")


class Event(_Words):
    """One line of the log for people (INFO and above)."""

    seq: int = Field(description="counts up from the start of the controller")
    ts: UnixSeconds
    level: Literal["INFO", "WARNING", "ERROR", "CRITICAL"]
    text: str


class StationWords(_Words):
    """The station as a whole."""

    station_id: str
    version: str
    run: str = Field(description="name of this run of the controller: anew at every start")
    started_ts: UnixSeconds
    state: Literal["starting", "ready", "degraded", "emergency_stop", "stopping", "updating", "offline"]
    armed: bool = Field(description="contactors may close")
    mqtt: bool = Field(description="connected to the broker")
    emergency_stop_healthy: bool = Field(description="false: pressed, or its wire is broken")
    power_kw: Kw = Field(description="measured at all guns together")
    energy_kwh: Kwh = Field(description="of all guns since the controller started; never falls")
    site_limit_kw: Kw | None = Field(description="AC limit in force at the feed; null: none")
    rule: Literal["highest_demand", "first_come", "lowest_soc", "fair_share", "gun_priority"]
    draining: bool
    module_kw: Kw = Field(description="rated power of one module")
    modules_available: int
    modules_heard: int
    contactors_closed: int
    slowest_step_s: Seconds = Field(description="longest time between two control steps since the snapshot before")
    step_age_s: Seconds
    loss_kw_without_module: dict[str, dict[str, float]] = Field(
        description="module -> gun -> kW that the gun would lose if this module failed now"
    )
    lost_snapshots: int = Field(description="snapshots that were not told because nobody read them")
    can: Can
    messages: Messages


class Snapshot(_Words):
    """All that is known of the station at one moment."""

    ts: UnixSeconds
    seq: int = Field(description="counts up from the start of the controller")
    station: StationWords
    guns: list[Gun]
    modules: list[Module]
    crosspoints: list[CrosspointView] = Field(description="gun by gun, each with its modules in order")
    faults: list[Fault] = Field(description="those that stand, in the order in which they began")


class Line(_Words):
    """One line from the control process to the page process.

    A page process that was started anew is told the events and fault news again that are still kept; the same fault has
    the same `code`, `id` and `since_ts` for as long as the controller runs.
    """

    snapshot: Snapshot | None = None
    events: list[Event] = Field(default=[], description="new since the last line")
    fault_news: list[Fault] = Field(default=[], description="raised or ended since the last line, in order")
    answer: Answer | None = None


class Act(_Words):
    """One line from the page process to the control process: what a person commands."""

    act: int = Field(description="counts up; the answer names it")
    command: str = Field(description="as in the topic, between root and central/set: station/site_limit, 3/max_power")
    payload: str = Field(description="as over MQTT: 300, true, fair_share", max_length=1024)
    who: str = Field(description="for the log: how the person showed the token, and from which address", max_length=200)


class Answer(_Words):
    """What became of an act."""

    act: int
    refused: str | None = Field(description="why not, in words; null: taken")


class HistorySetup(_Words):
    """[History] of config.ini."""

    url: str
    retention_days: int
    max_megabytes: int


class Setup(_Words):
    """The very first line from the control process to the page process: what it shall serve, and where.

    It goes through the pipe and not over the command line, where everybody on the computer could read it.
    """

    station_id: str
    host: str
    port: int
    ports_tried: int = Field(description="1: this port or none; more: the next free one of so many")
    token_file: str | None = Field(description="file whose first line is the token; null: nobody may act")
    folder: str = Field(description="where config.ini lies; relative paths are meant from there")
    history: HistorySetup


class Serving(_Words):
    """One line from the page process to the control process: where it serves the page, or why it cannot."""

    serves: str | None = Field(default=None, max_length=300)
    cannot: str | None = Field(default=None, max_length=1000)


# --- what the API answers beyond the station's own words --------------------------------------------------------------


class Refusal(_Words):
    """Every answer but 2xx, and 409 of an act."""

    detail: str = Field(description="why not, in one sentence")


class Faults(_Words):
    """Newest first."""

    active: list[Fault]
    ended: list[Fault] = Field(description="the last 200 that ended")


class News(_Words):
    """What an event `news` of the stream says."""

    events: list[Event]
    fault_news: list[Fault]


class Power(_Words):
    """Mean power in steps of equal length, oldest first; a step in which nothing was told is missing."""

    step_s: int = Field(description="length of a step", json_schema_extra={"unit": "s"})
    ts: list[UnixSeconds] = Field(description="where each step begins, Unix time")
    station_kw: list[Kw]
    guns_kw: dict[str, list[Kw]] = Field(description="gun -> its mean power in each step")


class Healthy(_Words):
    healthy: bool
    reasons: list[str] = Field(description="why not, a sentence each; empty when healthy")


class Me(_Words):
    acting: bool = Field(description="a token is configured: whoever shows it may command")
    signed_in: bool
    csrf: str | None = Field(description="for the header X-CSRF-Token of an act; null: not signed in")


class Login(_Words):
    token: str = Field(description="first line of [Dashboard] token_file", min_length=1, max_length=256)


class SignedIn(_Words):
    csrf: str = Field(description="for the header X-CSRF-Token of every act with the cookie")


class Order(_Words):
    command: str = Field(
        description="as in the MQTT topic, between root and central/set: station/site_limit, 3/max_power ...",
        min_length=1,
        max_length=64,
        examples=["station/site_limit"],
    )
    payload: str = Field(description="as over MQTT", max_length=1024, examples=["300", "true", "fair_share"])


class Outcome(_Words):
    refused: str | None = Field(description="why the station did not take it, in words; null: taken")


Line.model_rebuild()
