"""Job: is the station well? The reasons why not, as sentences for whoever watches over many stations.

Thread: any (pure). Lock: none. Units: s.
"""

from __future__ import annotations

from collections.abc import Iterator

from monitoring.schema import Snapshot, StationWords

#: A snapshot comes each 0.5 s, a control step each 0.05 s; after so long without one something stands still.
STALE_S = 3.0


def reasons(snapshot: Snapshot | None, age_s: float) -> list[str]:
    """Empty: it is well. `age_s`: how old the snapshot is."""
    if snapshot is None:
        return ["The station has not told anything yet."]
    if age_s > STALE_S:
        return [f"The station has told nothing for {age_s:.0f} s."]
    faults = [f"{each.code} {each.id}: {each.text}" for each in snapshot.faults if each.severity != "warning"]
    return [*_of_station(snapshot.station), *faults]


def _of_station(station: StationWords) -> Iterator[str]:
    if station.step_age_s > STALE_S:
        yield f"The control loop has not stepped for {station.step_age_s:.0f} s."
    if station.state in ("stopping", "offline"):
        yield "The station is stopping."
    elif not station.armed:
        yield "The station is not armed: no contactor may close."
    if not station.emergency_stop_healthy or station.state == "emergency_stop":
        yield "The emergency stop is pressed or not reset yet."
    if not station.mqtt:
        yield "There is no connection to the MQTT broker: no gun can ask for power."
    if not station.can.up:
        yield "The CAN link to the power modules is down."
