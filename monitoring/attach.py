"""Job: put what looks on beside the running station: what it may see, what it may command, and where its page is.

Thread: MainThread attaches; `onlook` then looks. Lock: none. Units: s, kW.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from logger_config import escape
from monitoring.feed import About, Seen
from monitoring.onlook import Onlook, PageSetup, Sources
from planning.settings import Settings
from station import VERSION, Station
from worker import Clock, SystemClock

#: Where `python -m monitoring` is run.
PROGRAM = Path(__file__).resolve().parent.parent


def attach(station: Station, settings: Settings, clock: Clock, ports_tried: int) -> Onlook:
    """Start the thread `onlook` and its page process beside the station; MainThread. Raises NoPage."""
    general, dashboard, history = settings.general, settings.dashboard, settings.history
    about = About(
        general.station_id, VERSION, uuid.uuid4().hex, round(clock.wall_s(), 3), general.module_power_capacity_kw,
        settings.power_limits.gun_max_power_kw, settings.devices.guns, general.module_count,
    )  # fmt: skip
    kept = {"url": history.url, "retention_days": history.retention_days, "max_megabytes": history.max_megabytes}
    setup = PageSetup(dashboard.host, dashboard.port, ports_tried, dashboard.token_file, settings.folder, kept)
    sources = Sources(
        seen=lambda: _seen(station, clock),
        fault_news=station.fault_news,
        command=station.core.messages.command,
        stopping=lambda: station.core.demand.door_reason is not None,
        escape=escape,
    )
    onlook = Onlook(about, setup, sources, clock, SystemClock(), PROGRAM)
    onlook.start()
    return onlook


def _seen(station: Station, clock: Clock) -> Seen | None:
    """All that is known of the station at this moment; None before its first step. Thread `onlook`."""
    demand, counts = station.core.demand, station.core.messages.counts
    view, health, outlook = demand.view(), demand.health(), demand.outlook
    if view is None:
        return None
    return Seen(
        view=view,
        now_s=clock.now_s(),
        wall_s=clock.wall_s(),
        armed=health.armed,
        modules_heard=health.modules_heard,
        contactors_closed=health.contactors_closed,
        stepped_at_s=health.stepped_at_s,
        mqtt=station.mqtt.connected,
        accepted=counts.accepted,
        rejected={reason.value: count for reason, count in counts.rejected.copy().items()},
        details=station.modules.details(),
        losses_kw=outlook.losses_kw if outlook is not None else {},
    )
