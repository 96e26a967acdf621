"""Job: the newest snapshot as Prometheus reads it: every figure of the station under one name with its unit.

Thread: any (reads the board, keeps nothing). Lock: none. Units: base units, as Prometheus wants them in a name: watts
and joules where the field says kW and kWh, seconds where it says hours, ratios from 0 to 1 where it says %. So a rate
of joules is watts, nothing has to be multiplied within a query, and Grafana writes kW and kWh by itself. Voltages,
currents and °C are base units already.

Labels are numbers of guns and modules and words of a fixed list, so the number of series is bounded by the station:
some 520 with 6 guns and 9 modules. The texts of reasons and faults stand in the API. Counters are those of the
controller: they never fall while it runs, and begin anew with it (what modules and contactors wore is kept over a
restart). An old figure must not look like a present one: what is older than FORGET_S is left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, get_args

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from monitoring.schema import CrosspointView, Fault, Gun, Module, Snapshot, StationWords

#: What `render` writes.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Snapshots come twice a second; none for so long and the station counts as not heard.
HEARD_S = 3.0
#: Figures older than this are told no more.
FORGET_S = 15.0
#: What is told of the page process itself.
OF_THE_PROCESS = frozenset(
    {"process_cpu_seconds", "process_resident_memory_bytes", "process_start_time_seconds", "process_open_fds"}
)
_W, _J, _S, _RATIO = 1000.0, 3_600_000.0, 3600.0, 0.01

Labels = tuple[str, ...]
Samples = Iterable[tuple[Labels, float | None]]


class NewestSnapshot(Protocol):
    """What is needed of monitoring.board.Board."""

    def snapshot(self) -> Snapshot | None: ...
    def age_s(self, now_s: float) -> float: ...
    def slowest_step_s(self, now_s: float) -> float: ...


class Drops(Protocol):
    """What is needed of monitoring.history.History."""

    @property
    def dropped(self) -> int: ...


def render(board: NewestSnapshot, history: Drops | None, now_s: float | None = None) -> bytes:
    """The answer to GET /metrics. `now_s`: monotonic; None: now. Any thread; takes a few milliseconds."""
    now_s = time.monotonic() if now_s is None else now_s
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(list(_collect(board, history, now_s))))
    return generate_latest(registry)


class _Collected(Collector):
    """Metrics that were made already."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics

    def describe(self) -> Iterable[Metric]:
        return ()  # else the registry would collect once more to learn the names


def _collect(board: NewestSnapshot, history: Drops | None, now_s: float) -> Iterator[Metric]:
    snapshot, age_s = board.snapshot(), board.age_s(now_s)
    yield _gauge("up", "1: the controller told a snapshot within the last 3 s.",
                 snapshot is not None and age_s <= HEARD_S)  # fmt: skip
    if snapshot is not None:
        yield _gauge("snapshot_age_seconds", "Since the newest snapshot of the controller came.", age_s)
    if snapshot is not None and age_s <= FORGET_S:
        yield from _of_station(snapshot, board.slowest_step_s(now_s))
        yield from _of_can_and_messages(snapshot.station)
        yield from _of_guns(snapshot.guns)
        yield from _of_modules(snapshot.modules)
        yield from _of_contactors(snapshot.crosspoints)
        yield from _of_faults(snapshot.faults)
    if history is not None:
        yield _counter("history_dropped", "Lines and rows that the history could not take in time.", history.dropped)
    yield from (metric for metric in _PROCESS.collect() if metric.name in OF_THE_PROCESS)


_PROCESS = ProcessCollector(registry=None)


def _of_station(snapshot: Snapshot, slowest_step_s: float) -> Iterator[Metric]:
    station = snapshot.station
    yield _gauge("build_info", "Version of the controller.", [((station.version,), 1)], "version")
    yield _gauge("station_info", "Name of the station.", [((station.station_id,), 1)], "station_id")
    yield _gauge("start_time_seconds", "Start of the controller, Unix time.", station.started_ts)
    yield _gauge("station_state", "1 for the state that the station is in.",
                 _one_hot(StationWords, "state", [((), station.state)]), "state")  # fmt: skip
    yield _gauge("station_rule", "1 for the rule by which modules are shared.",
                 _one_hot(StationWords, "rule", [((), station.rule)]), "rule")  # fmt: skip
    yield _gauge("station_armed", "1: contactors may close.", station.armed)
    yield _gauge("station_draining", "1: the station takes in no new car.", station.draining)
    yield _gauge("mqtt_connected", "1: connected to the broker.", station.mqtt)
    yield _gauge("emergency_stop_healthy", "0: the emergency stop is pressed or its wire is broken.",
                 station.emergency_stop_healthy)  # fmt: skip
    yield _gauge("station_power_watts", "Measured at all guns together.", station.power_kw * _W)
    yield _counter("station_energy_joules", "Delivered by all guns since the start.", station.energy_kwh * _J)
    yield _gauge("site_limit_watts", "AC limit in force at the feed; missing: none.",
                 [((), _scaled(station.site_limit_kw, _W))])  # fmt: skip
    yield _gauge("module_rated_watts", "Rated power of one module.", station.module_kw * _W)
    yield _gauge("modules_available", "Modules that may be planned with.", station.modules_available)
    yield _gauge("modules_heard", "Modules that answer.", station.modules_heard)
    yield _gauge("contactors_closed", "Contactors that are closed.", station.contactors_closed)
    yield _gauge("control_slowest_step_seconds", "Longest time between two control steps within the last minute.",
                 slowest_step_s)  # fmt: skip
    yield _gauge("control_step_age_seconds", "Since the last control step, at the snapshot.", station.step_age_s)
    yield _counter("lost_snapshots", "Snapshots that nobody read in time.", station.lost_snapshots)


def _of_can_and_messages(station: StationWords) -> Iterator[Metric]:
    can, messages = station.can, station.messages
    yield _gauge("can_up", "1: the CAN link to the modules is up.", can.up)
    loads = [(("1s",), can.load_1s_pct * _RATIO), (("10s",), can.load_10s_pct * _RATIO)]
    yield _gauge("can_load_ratio", "Bus load over the last second and the last 10 s.", loads, "window")
    frames = [(("sent",), can.sent), (("received",), can.received)]
    yield _counter("can_frames", "Frames on the CAN bus.", frames, "direction")
    errors = [
        (("send_failed",), can.send_failures), (("rejected",), can.rejected), (("foreign",), can.foreign),
        (("bus_off",), can.bus_offs),
    ]  # fmt: skip
    yield _counter("can_errors", "Frames not sent, malformed frames, frames of strangers, times bus-off.",
                   errors, "kind")  # fmt: skip
    yield _counter("messages_accepted", "MQTT messages taken.", messages.accepted)
    rejected = [((reason,), count) for reason, count in messages.rejected.items()]
    yield _counter("messages_rejected", "MQTT messages refused, by reason.", rejected, "reason")


def _of_guns(guns: Sequence[Gun]) -> Iterator[Metric]:
    def gauge(name: str, text: str, value: Callable[[Gun], float | None]) -> Metric:
        return _gauge(f"gun_{name}", text, [((str(gun.gun),), value(gun)) for gun in guns], "gun")

    yield _gauge("gun_state", "1 for the state that the gun is in.",
                 _one_hot(Gun, "state", [((str(gun.gun),), gun.state) for gun in guns]), "gun", "state")  # fmt: skip
    yield gauge("soc_ratio", "State of charge of the car; missing: never told.",
                lambda gun: _scaled(gun.soc_pct, _RATIO))  # fmt: skip
    yield gauge("asked_watts", "What the car asks for.", lambda gun: gun.asked_kw * _W)
    yield gauge("allocated_watts", "What it may have.", lambda gun: gun.allocated_kw * _W)
    yield gauge("delivered_watts", "What is measured.", lambda gun: gun.delivered_kw * _W)
    yield gauge("limit_watts", "Limit by config.ini or command, whichever is lower.",
                lambda gun: min(gun.max_power_kw, _or(gun.commanded_kw, gun.max_power_kw)) * _W)  # fmt: skip
    yield gauge("current_amperes", "Of all its modules.", lambda gun: gun.current_a)
    yield gauge("bus_volts", "Voltage of its bus bar; missing: not known.", lambda gun: gun.voltage_v)
    yield gauge("modules", "Modules that are given to it.", lambda gun: len(gun.modules))
    yield gauge("silence_seconds", "Since its dispenser was last heard; missing: never.", lambda gun: gun.heard_s)
    energy = [((str(gun.gun),), gun.energy_kwh * _J) for gun in guns]
    yield _counter("gun_energy_joules", "Delivered since the start.", energy, "gun")


def _of_modules(modules: Sequence[Module]) -> Iterator[Metric]:
    def samples(value: Callable[[Module], float | None]) -> Samples:
        return [((str(module.module),), value(module)) for module in modules]

    def gauge(name: str, text: str, value: Callable[[Module], float | None]) -> Metric:
        return _gauge(f"module_{name}", text, samples(value), "module")

    def counter(name: str, text: str, value: Callable[[Module], float | None]) -> Metric:
        return _counter(f"module_{name}", text, samples(value), "module")

    states = [((str(module.module),), module.state) for module in modules]
    yield _gauge("module_state", "1 for the state that the module is in.", _one_hot(Module, "state", states),
                 "module", "state")  # fmt: skip
    yield gauge("usable", "1: it may be planned with.", lambda module: module.usable)
    yield gauge("volts", "Measured by the module.", lambda module: module.voltage_v)
    yield gauge("amperes", "Measured by the module.", lambda module: module.current_a)
    yield gauge("watts", "Measured by the module.", lambda module: module.power_kw * _W)
    yield gauge("temperature_celsius", "The hottest it tells of; missing: it tells none.",
                lambda module: module.temperature_c)  # fmt: skip
    yield gauge("alarms", "Fault bits that are set.", lambda module: len(module.alarms))
    yield counter("on_seconds", "Switched on in its life.", lambda module: module.hours * _S)
    yield counter("energy_joules", "Delivered in its life.", lambda module: module.energy_kwh * _J)
    yield counter("starts", "Times it was switched on.", lambda module: module.starts)


def _of_contactors(crosspoints: Sequence[CrosspointView]) -> Iterator[Metric]:
    places = [(str(each.gun), str(each.module)) for each in crosspoints]
    operations: list[tuple[Labels, float | None]] = []
    for place, each in zip(places, crosspoints, strict=True):
        operations += [((*place, "unloaded"), each.unloaded), ((*place, "loaded"), each.loaded)]
    yield _counter("contactor_operations", "Times it closed and opened, without and with current.",
                   operations, "gun", "module", "load")  # fmt: skip
    closed = [(place, each.state == "closed") for place, each in zip(places, crosspoints, strict=True)]
    yield _gauge("contactor_closed", "1: commanded closed and proven closed.", closed, "gun", "module")
    out = [(place, each.fault is not None) for place, each in zip(places, crosspoints, strict=True)]
    yield _gauge("contactor_out_of_service", "1: a fault keeps it out of service.", out, "gun", "module")


def _of_faults(faults: Sequence[Fault]) -> Iterator[Metric]:
    names = [(fault.code, fault.severity, fault.scope, fault.id) for fault in faults]
    counted = [((word,), sum(fault.severity == word for fault in faults)) for word in _words(Fault, "severity")]
    yield _gauge("faults", "Faults that stand.", counted, "severity")
    labels = ("code", "severity", "scope", "id")
    yield _gauge("fault_active", "1 for each fault that stands.", [(name, 1) for name in names], *labels)
    since = [(name, fault.since_ts) for name, fault in zip(names, faults, strict=True)]
    yield _gauge("fault_since_timestamp_seconds", "Since when the fault stands, Unix time.", since, *labels)


# --- one metric ---------------------------------------------------------------------------------------------------


def _gauge(name: str, text: str, value: object, *labels: str) -> Metric:
    return _filled(GaugeMetricFamily(f"vesec_{name}", text, labels=labels), value)


def _counter(name: str, text: str, value: object, *labels: str) -> Metric:
    return _filled(CounterMetricFamily(f"vesec_{name}", text, labels=labels), value)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, value: object) -> Metric:
    """`value`: one figure, or samples; a sample without a figure is left out."""
    samples: list[Any] = value if isinstance(value, list) else [((), value)]
    for label_values, figure in samples:
        if figure is not None:
            family.add_metric(label_values, float(figure))
    return family


def _one_hot(model: type[StationWords | Gun | Module], field: str, present: Iterable[tuple[Labels, str]]) -> Samples:
    words = _words(model, field)
    return [((*labels, word), word == now) for labels, now in present for word in words]


def _words(model: type[StationWords | Gun | Module | Fault], field: str) -> Sequence[str]:
    """All that a field may say, as the schema has it."""
    words: Sequence[str] = get_args(model.model_fields[field].annotation)
    return words


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _or(value: float | None, instead: float) -> float:
    return instead if value is None else value
