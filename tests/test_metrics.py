"""Metrics: figures equal the snapshot, names please Prometheus, queries and alerts hold against a real scrape."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
import web
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel
from rig import FAST, Process, free_port, rig, wait_for
from sample_snapshot import GUNS, MODULES, snapshot, words

from monitoring import metrics
from monitoring.board import Board
from monitoring.feed import About, Feed, Seen
from monitoring.schema import Can, CrosspointView, Fault, Gun, Line, Messages, Module, Snapshot, StationWords
from planning.payload import Reason
from simulator.arrivals import timetable
from simulator.virtual import Level, VirtualStation, settings_at

ROOT = Path(__file__).parent.parent
BOARD = ROOT / "contrib" / "grafana-station.json"
CONFIG, ALERTS = ROOT / "contrib" / "prometheus-example.yml", ROOT / "contrib" / "prometheus-alerts.yml"
SCRAPE_MS = 10.0
MOST_SERIES = 1000

Labels = frozenset[tuple[str, str]]
Figures = dict[tuple[str, Labels], float]


class Drops:
    def __init__(self, dropped: int) -> None:
        self.dropped = dropped


def find(program: str) -> str:
    """Path of promtool or prometheus; without it the test is skipped."""
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/bin:/usr/local/bin")
    if found is None:
        pytest.skip(f"{program} is not installed (Debian: apt-get install prometheus)")
    return found


def board_of(*seen: Snapshot) -> Board:
    board = Board()
    for number, each in enumerate(seen):
        board.put(Line(snapshot=each), number * 0.5)
    return board


def scraped(text: bytes) -> Figures:
    """(name, labels) -> value."""
    found: Figures = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def figures(seen: Snapshot, history: Drops | None = None, age_s: float = 0.1) -> Figures:
    return scraped(metrics.render(board_of(seen), history, age_s))


def of(found: Figures, name: str, **labels: object) -> float | None:
    return found.get((f"vesec_{name}", frozenset((key, str(value)) for key, value in labels.items())))


# --- the figures --------------------------------------------------------------------------------------------------


def approx(value: float | None, factor: float) -> object:
    return None if value is None else pytest.approx(value * factor)


@pytest.mark.parametrize("seed", range(20))
def test_every_figure_is_that_of_the_snapshot(seed: int) -> None:
    seen = snapshot(seed)
    found, station = figures(seen, Drops(7)), seen.station
    for name, expected in {
        "up": 1, "snapshot_age_seconds": pytest.approx(0.1), "start_time_seconds": station.started_ts,
        "station_armed": station.armed, "station_draining": station.draining, "mqtt_connected": station.mqtt,
        "emergency_stop_healthy": station.emergency_stop_healthy, "station_power_watts": approx(station.power_kw, 1e3),
        "station_energy_joules_total": approx(station.energy_kwh, 3.6e6),
        "site_limit_watts": approx(station.site_limit_kw, 1e3), "module_rated_watts": approx(station.module_kw, 1e3),
        "modules_available": station.modules_available, "modules_heard": station.modules_heard,
        "contactors_closed": station.contactors_closed, "control_slowest_step_seconds": station.slowest_step_s,
        "control_step_age_seconds": station.step_age_s, "lost_snapshots_total": station.lost_snapshots,
        "can_up": station.can.up, "messages_accepted_total": station.messages.accepted, "history_dropped_total": 7,
    }.items():  # fmt: skip
        assert of(found, name) == expected, name
    assert of(found, "build_info", version=station.version) == 1
    assert of(found, "station_info", station_id=station.station_id) == 1
    assert of(found, "can_load_ratio", window="1s") == approx(station.can.load_1s_pct, 0.01)
    assert of(found, "can_load_ratio", window="10s") == approx(station.can.load_10s_pct, 0.01)
    assert of(found, "can_frames_total", direction="sent") == station.can.sent
    assert of(found, "can_frames_total", direction="received") == station.can.received
    kinds = ("send_failed", "rejected", "foreign", "bus_off")
    errors = [of(found, "can_errors_total", kind=kind) for kind in kinds]
    assert errors == [station.can.send_failures, station.can.rejected, station.can.foreign, station.can.bus_offs]
    for reason in Reason:
        assert of(found, "messages_rejected_total", reason=reason.value) == station.messages.rejected[reason.value]
    for state in words(StationWords, "state"):
        assert of(found, "station_state", state=state) == (state == station.state)
    for rule in words(StationWords, "rule"):
        assert of(found, "station_rule", rule=rule) == (rule == station.rule)


@pytest.mark.parametrize("seed", range(5))
def test_guns_modules_contactors_and_faults_are_those_of_the_snapshot(seed: int) -> None:
    seen = snapshot(seed)
    found = figures(seen)
    for gun in seen.guns:
        limits_kw = [gun.max_power_kw, *([] if gun.commanded_kw is None else [gun.commanded_kw])]
        for name, expected in {
            "soc_ratio": approx(gun.soc_pct, 0.01), "asked_watts": approx(gun.asked_kw, 1e3),
            "allocated_watts": approx(gun.allocated_kw, 1e3), "delivered_watts": approx(gun.delivered_kw, 1e3),
            "limit_watts": approx(min(limits_kw), 1e3), "current_amperes": gun.current_a, "bus_volts": gun.voltage_v,
            "energy_joules_total": approx(gun.energy_kwh, 3.6e6), "modules": len(gun.modules),
            "silence_seconds": gun.heard_s,
        }.items():  # fmt: skip
            assert of(found, f"gun_{name}", gun=gun.gun) == expected, name
        for state in words(Gun, "state"):
            assert of(found, "gun_state", gun=gun.gun, state=state) == (state == gun.state)
    for module in seen.modules:
        for name, value in {
            "usable": module.usable, "volts": module.voltage_v, "amperes": module.current_a,
            "watts": approx(module.power_kw, 1e3), "temperature_celsius": module.temperature_c,
            "alarms": len(module.alarms), "on_seconds_total": approx(module.hours, 3600),
            "energy_joules_total": approx(module.energy_kwh, 3.6e6), "starts_total": module.starts,
        }.items():  # fmt: skip
            assert of(found, f"module_{name}", module=module.module) == value, name
        for state in words(Module, "state"):
            assert of(found, "module_state", module=module.module, state=state) == (state == module.state)
    for each in seen.crosspoints:
        place = {"gun": each.gun, "module": each.module}
        assert of(found, "contactor_operations_total", **place, load="unloaded") == each.unloaded
        assert of(found, "contactor_operations_total", **place, load="loaded") == each.loaded
        assert of(found, "contactor_closed", **place) == (each.state == "closed")
        assert of(found, "contactor_out_of_service", **place) == (each.fault is not None)
    active = {labels: value for (name, labels), value in found.items() if name == "vesec_fault_active"}
    assert len(active) == len(seen.faults)
    for fault in seen.faults:
        named = {"code": fault.code, "severity": fault.severity, "scope": fault.scope, "id": fault.id}
        assert of(found, "fault_active", **named) == 1
        assert of(found, "fault_since_timestamp_seconds", **named) == fault.since_ts
    for severity in words(Fault, "severity"):
        assert of(found, "faults", severity=severity) == sum(each.severity == severity for each in seen.faults)


def snapshots(folder: Path, minutes: int) -> Iterator[Snapshot]:
    """What a simulated station tells every ten seconds while cars come and go."""
    settings = settings_at(folder)
    general = settings.general
    station = VirtualStation(settings, level=Level.READINGS, seed=2, arrivals=timetable(3, 20, mean_gap_s=12.0))
    about = About(
        general.station_id, "0.1.0", "a1", 0.0, general.module_power_capacity_kw,
        settings.power_limits.gun_max_power_kw, settings.devices.guns, general.module_count,
    )  # fmt: skip
    feed, demand, counts = Feed(about), station.core.demand, station.core.messages.counts
    for number in range(1, minutes * 6 + 1):
        now_s = number * 10.0
        station.run_to(now_s)
        if number % 4 == 0:
            station.publish("vesec/1/demand/D1", "12kW")
        view, health = demand.view(), demand.health()
        assert view is not None
        feed.count(view)
        rejected = {reason.value: count for reason, count in counts.rejected.items()}
        seen = Seen(
            view, now_s, now_s, health.armed, health.modules_heard, health.contactors_closed, health.stepped_at_s,
            True, counts.accepted, rejected, (), {},
        )  # fmt: skip
        yield Snapshot.model_validate(feed.snapshot(seen))


def test_counters_never_fall_while_a_simulated_station_serves_cars(tmp_path: Path) -> None:
    before: Figures = {}
    grown: set[str] = set()
    for seen in snapshots(tmp_path, 5):
        found = {key: value for key, value in figures(seen).items() if key[0].endswith("_total")}
        assert before.keys() <= found.keys(), "a counter that stood once stays"
        fallen = {key: (value, found[key]) for key, value in before.items() if found[key] < value}
        assert not fallen
        grown |= {name for (name, labels), value in found.items() if value > before.get((name, labels), value)}
        before = found
    assert grown >= {
        "vesec_gun_energy_joules_total", "vesec_station_energy_joules_total", "vesec_module_energy_joules_total",
        "vesec_module_on_seconds_total", "vesec_module_starts_total", "vesec_contactor_operations_total",
        "vesec_messages_accepted_total", "vesec_messages_rejected_total",
    }  # fmt: skip


#: What is not told as a figure: identities, texts, and what stands in the API for those who want to know more.
LEFT_OUT: Mapping[type[BaseModel], set[str]] = {
    Gun: {"gun", "device", "device_gun_id", "vehicle_status", "reason_code", "reason", "eta_next_module_s", "kept_out",
          "target_voltage_v", "voltage_limit_v", "current_limit_a"},
    Module: {"module", "gun", "stage", "serial", "warnings", "heard_s"},
    CrosspointView: {"gun", "module", "commanded"},
    Fault: {"text", "ended_ts", "latched"},
    StationWords: {"run", "loss_kw_without_module"},
    Can: set(),
    Messages: set(),
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "field"), [(model, f) for model, out in LEFT_OUT.items() for f in model.model_fields if f not in out]
)
def test_no_field_of_the_snapshot_is_left_out_unnoticed(model: type[BaseModel], field: str) -> None:
    """Every field moves a figure, also one that is new in the schema; else it has to be named above."""
    base = snapshot(1).model_dump()
    told = figures(snapshot(1))
    other = next(other for seed in range(2, 50) if (other := part(snapshot(seed).model_dump(), model)[field])
                 not in (None, part(base, model)[field]))  # fmt: skip
    part(base, model)[field] = other
    assert figures(Snapshot.model_validate(base)) != told


def part(content: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """The first thing of this kind in a snapshot."""
    found: Mapping[type[BaseModel], dict[str, Any]] = {
        Gun: content["guns"][0], Module: content["modules"][0], CrosspointView: content["crosspoints"][0],
        Fault: content["faults"][0], StationWords: content["station"], Can: content["station"]["can"],
        Messages: content["station"]["messages"],
    }  # fmt: skip
    return found[model]


def test_before_the_first_snapshot_and_after_the_last_no_figure_passes_for_a_present_one() -> None:
    def names(text: bytes) -> set[str]:
        return {name for name, _ in scraped(text) if not name.startswith("process_")}

    board = Board()
    assert names(metrics.render(board, None, 5.0)) == {"vesec_up"}
    assert of(scraped(metrics.render(board, None, 5.0)), "up") == 0
    board.put(Line(snapshot=snapshot(1)), 10.0)
    fresh, old = scraped(metrics.render(board, None, 13.0)), scraped(metrics.render(board, None, 13.1))
    assert (of(fresh, "up"), of(old, "up")) == (1, 0)
    assert of(old, "snapshot_age_seconds") == pytest.approx(3.1)
    assert of(old, "station_power_watts") is not None, "a short pause makes no hole in every curve"
    gone = metrics.render(board, Drops(3), 25.1)
    assert names(gone) == {"vesec_up", "vesec_snapshot_age_seconds", "vesec_history_dropped_total"}


def test_the_slowest_step_is_that_of_the_last_minute_not_of_the_last_half_second() -> None:
    def seen(slowest_step_s: float) -> Snapshot:
        made = snapshot(1)
        return made.model_copy(update={"station": made.station.model_copy(update={"slowest_step_s": slowest_step_s})})

    board = Board()
    for at_s, slowest_s in ((0.0, 0.05), (0.5, 0.28), (1.0, 0.06)):
        board.put(Line(snapshot=seen(slowest_s)), at_s)

    def told(now_s: float) -> float | None:
        return of(scraped(metrics.render(board, None, now_s)), "control_slowest_step_seconds")

    assert told(1.1) == 0.28
    board.put(Line(snapshot=seen(0.04)), 60.4)
    assert told(60.4) == 0.28
    assert told(60.6) == 0.06
    assert told(61.1) == 0.04


def test_the_number_of_series_is_that_of_the_station_whatever_it_tells() -> None:
    def shape(seed: int) -> set[tuple[str, Labels]]:
        made, same = snapshot(seed), snapshot(1).station
        station = made.station.model_copy(update={"station_id": same.station_id, "version": same.version})
        return set(figures(made.model_copy(update={"faults": [], "station": station})))

    union: set[tuple[str, Labels]] = set()
    for seed in range(10):
        union |= shape(seed)
    assert len(union) < MOST_SERIES
    assert len(union | shape(99)) == len(union)
    print(f"{len(union)} series with {GUNS} guns and {MODULES} modules")


def test_a_scrape_of_a_full_station_takes_less_than_ten_milliseconds() -> None:
    board = board_of(snapshot(1))
    metrics.render(board, None, 0.1)
    took_ms = []
    for _ in range(50):
        start_s = time.thread_time()  # what it costs, however busy other tests keep the machine
        size = len(metrics.render(board, None, 0.1))
        took_ms.append((time.thread_time() - start_s) * 1e3)
    took_ms.sort()
    print(f"n=50 p50={took_ms[24]:.2f} max={took_ms[-1]:.2f} ms, {size} bytes")
    assert took_ms[24] < SCRAPE_MS


def test_many_threads_may_scrape_at_once() -> None:
    board, found, errors = board_of(snapshot(1)), [], []

    def scrape() -> None:
        try:
            found.append(scraped(metrics.render(board, None, 0.1)))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=scrape) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10.0)
    assert errors == []
    stations = [{key: value for key, value in each.items() if key[0].startswith("vesec_")} for each in found]
    assert len(stations) == 8 and all(each == stations[0] for each in stations)


# --- promtool -----------------------------------------------------------------------------------------------------


def promtool(*arguments: str | Path, text: bytes | None = None) -> str:
    """Run it; what it says, and the test fails unless it is content."""
    done = subprocess.run([find("promtool"), *map(str, arguments)], input=text, capture_output=True, timeout=30)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


@pytest.mark.parametrize("seed", range(3))
def test_promtool_finds_nothing_to_say_about_the_names(seed: int) -> None:
    said = promtool("check", "metrics", text=metrics.render(board_of(snapshot(seed)), Drops(1), 0.1))
    assert said.strip() == "", said


def test_promtool_takes_the_example_and_its_alerts() -> None:
    assert "SUCCESS" in promtool("check", "config", CONFIG)
    assert "SUCCESS" in promtool("check", "rules", ALERTS)


def test_every_alert_is_silent_when_all_is_well_and_fires_when_not(tmp_path: Path) -> None:
    shutil.copy(ALERTS, tmp_path)
    played = ROOT / "tests" / "prometheus_alerts.yml"
    shutil.copy(played, tmp_path / "played.yml")
    assert "SUCCESS" in promtool("test", "rules", tmp_path / "played.yml")
    names = set(re.findall(r"- alert: (\w+)", ALERTS.read_text()))
    text = played.read_text()
    for name in names:
        assert f"alertname: {name}, exp_alerts: []" in text, f"{name} is not shown to be silent"
        assert f'alertname="{name}"' in text, f"{name} is not shown to fire"


# --- the board ----------------------------------------------------------------------------------------------------


def panels() -> list[dict[str, Any]]:
    content: dict[str, Any] = json.loads(BOARD.read_text(encoding="utf-8"))
    return [panel for panel in content["panels"] if panel["type"] != "row"]


def queries() -> dict[str, str]:
    """Panel and letter -> its PromQL with Grafana's variables filled in."""
    found = {}
    for panel in panels():
        for target in panel["targets"]:
            text = target["expr"].replace("$instance", ".*")
            text = text.replace("$__rate_interval", "1m").replace("$__range", "1h")
            assert "$" not in text, f"{panel['title']}: an unknown variable in {text}"
            found[f"{panel['title']} {target['refId']}"] = text
    return found


def test_the_board_is_one_that_grafana_takes_and_a_person_understands() -> None:
    content = json.loads(BOARD.read_text(encoding="utf-8"))
    assert content["schemaVersion"] >= 39 and content["id"] is None and content["title"]
    variables = {each["name"]: each["type"] for each in content["templating"]["list"]}
    assert variables == {"datasource": "datasource", "instance": "query"}
    identities = [panel["id"] for panel in content["panels"]]
    assert len(set(identities)) == len(identities)
    for panel in panels():
        name = panel["title"]
        assert name and panel["description"].endswith("."), name
        assert panel["fieldConfig"]["defaults"]["unit"], name
        assert panel["targets"], name
        for place in (panel, *panel["targets"]):
            assert place["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, name


def test_no_panel_lies_on_another() -> None:
    content = json.loads(BOARD.read_text(encoding="utf-8"))
    taken: dict[tuple[int, int], str] = {}
    for panel in content["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} on {taken[x, y]}"
                taken[x, y] = panel["title"]


@pytest.mark.parametrize(
    "what",
    [
        "gun_delivered_watts", "gun_soc_ratio", "gun_modules", 'gun_state{instance=~".*", state="waiting"}',
        "fault_since_timestamp_seconds", "contactor_operations_total", "can_load_ratio", "can_errors_total",
        "control_slowest_step_seconds", "messages_rejected_total",
    ],
)  # fmt: skip
def test_the_board_shows(what: str) -> None:
    assert any(f"vesec_{what}" in query for query in queries().values())


# --- a real Prometheus --------------------------------------------------------------------------------------------


class Prometheus:
    """The server itself, asked over its API."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}"

    def ready(self) -> bool:
        try:
            return web.get(f"{self._address}/-/ready", timeout=1.0).status_code == 200
        except httpx.HTTPError:
            return False

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The samples of an instant query; a query that cannot be understood is an error."""
        answer = web.get(f"{self._address}/api/v1/query", params={"query": query}, timeout=10.0).json()
        assert answer["status"] == "success", f"{query}: {answer}"
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def series(self, name: str) -> list[dict[str, str]]:
        answer = web.get(f"{self._address}/api/v1/series", params={"match[]": name}, timeout=10.0).json()
        found: list[dict[str, str]] = answer["data"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        groups = web.get(f"{self._address}/api/v1/rules", timeout=10.0).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    """The example of contrib/, asking every two seconds: the page comes behind everything else on a busy machine."""
    port = free_port()
    text = CONFIG.read_text().replace("127.0.0.1:8080", target).replace("interval: 5s", "interval: 2s")
    text = text.replace("scrape_timeout: 4s", "scrape_timeout: 2s")
    (folder / "prometheus.yml").write_text(text)
    shutil.copy(ALERTS, folder)
    command = [find("prometheus"), f"--config.file={folder / 'prometheus.yml'}", "--log.level=warn"]
    command += [f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}"]
    process = Process(command, folder / "prometheus.out")
    try:
        made = Prometheus(port)
        wait_for(lambda: made.ready() or not process.running, f"Prometheus is ready:\n{process.console}", 20.0)
        assert process.running, process.console
        yield made
    finally:
        process.kill()


#: What is told only by a station that keeps a history.
OF_THE_HISTORY = () if find_spec("monitoring.history") else ("vesec_history_dropped_total",)


@contextmanager
def scene(folder: Path) -> Iterator[Prometheus]:
    """A station with a car that charges, a gun in fault, a site limit and a refused message, and who scrapes it."""
    find("prometheus")
    page = free_port()
    with rig(folder, f"{FAST}[Dashboard]\nport = {page}\n") as station:
        station.say.charge("D1", 1, 30, 680)
        station.say.tell("vesec/2/vehicle_status/D2", "fault")
        station.say.tell_once("vesec/1/demand/D1", "12kW")
        station.say.tell_once("vesec/station/site_limit/central/set", "300")
        with prometheus(folder, f"127.0.0.1:{page}") as server:
            station.plant.wait_power(1, 30, 30.0)
            for what in ("vesec_gun_delivered_watts > 28e3", "count_over_time(vesec_up[1m]) >= 3",
                         "increase(vesec_gun_energy_joules_total[1m]) > 0"):  # fmt: skip
                wait_for(lambda query=what: server.ask(query), what, 60.0)
            yield server


@pytest.mark.process
@pytest.mark.mosquitto
def test_board_and_alerts_against_a_real_scrape_of_a_real_station(tmp_path: Path) -> None:
    with scene(tmp_path) as server:
        every_query_of_the_board_has_an_answer(server)
        every_metric_and_label_exists(server)
        counters_never_fall(server)


def every_query_of_the_board_has_an_answer(server: Prometheus) -> None:
    empty = {name: query for name, query in queries().items() if not server.ask(query)}
    assert not {name for name, query in empty.items() if not any(each in query for each in OF_THE_HISTORY)}, empty
    told = server.ask("vesec_gun_delivered_watts")
    by_gun = {sample["metric"]["gun"]: float(sample["value"][1]) for sample in told}
    assert by_gun["1"] == pytest.approx(30_000, rel=0.05)
    assert {sample["metric"]["code"] for sample in server.ask("vesec_fault_active == 1")} >= {"GUN_FAULT"}
    assert server.ask('vesec_messages_rejected_total{reason="FORMAT"} >= 1')
    assert float(server.ask("vesec_site_limit_watts")[0]["value"][1]) == 300_000


def every_metric_and_label_exists(server: Prometheus) -> None:
    """Those of the board and those of the alerts, which have no sample while all is well."""
    rules = server.rules()
    assert {rule["name"] for rule in rules} == set(re.findall(r"- alert: (\w+)", ALERTS.read_text()))
    assert {rule["health"] for rule in rules} == {"ok"}
    texts = {**queries(), **{rule["name"]: rule["query"] for rule in rules}}
    for where, text in texts.items():
        for name, labels in selectors(text).items():
            found = server.series(name)
            assert found or name in OF_THE_HISTORY, f"{where}: there is no {name}"
            for label in labels:
                assert all(label in series for series in found), f"{where}: {name} has no label {label}"


def counters_never_fall(server: Prometheus) -> None:
    counters = {name for each in server.series('{job="vesec"}') if (name := each["__name__"]).endswith("_total")}
    assert len(counters) >= 12
    for name in counters:
        assert server.ask(f"resets({name}[1m])"), name
        assert server.ask(f"resets({name}[1m]) > 0") == [], f"{name} fell"
    assert server.ask("increase(vesec_gun_energy_joules_total{gun='1'}[1m]) > 0"), "energy grows while it charges"


WORD = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
METRIC = re.compile(rf"(?<![\w.])({WORD.pattern})\b(?!\s*\()\s*(\{{[^}}]*\}})?")
KEYWORDS = {
    "sum", "by", "rate", "increase", "topk", "max", "count", "or", "and", "on", "unless", "without", "ignoring",
    "group_left", "group_right", "bool",
}  # fmt: skip


def selectors(text: str) -> Mapping[str, set[str]]:
    """Each metric that a query names, with the labels that its own matchers name and those that the query groups by."""
    found: dict[str, set[str]] = {}
    plain = re.sub(r"\[[^\]]*\]", "", text)
    grouped: set[str] = set()
    for group in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", plain):
        grouped |= {word.strip() for word in group.split(",")}
    plain = re.sub(r"\b(?:by|on)\s*\([^)]*\)", "", plain)
    for name, matchers in METRIC.findall(plain_of_strings(plain)):
        if name not in KEYWORDS and not name.isdigit():
            own = set(re.findall(rf"({WORD.pattern})\s*(?:=~|!~|!=|=)", matchers))
            found.setdefault(name, set()).update(own)
    for labels in found.values():
        labels |= grouped
    return found


def plain_of_strings(text: str) -> str:
    """The text with every quoted value emptied."""
    return re.sub(r'"[^"]*"', '""', text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vesec_up == 0", {"vesec_up": set()}),
        ('sum by (load) (increase(a_total{x=~"b{c}"}[1h]))', {"a_total": {"x", "load"}}),
        ('topk(10, a{l="loaded", m!="x"}) / 3.6e6', {"a": {"l", "m"}}),
        ("a == 0 or on (i, j) b{s=\"e\"} == 1", {"a": {"i", "j"}, "b": {"i", "j", "s"}}),
        ("rate(p{i=\"x\"}[10s])", {"p": {"i"}}),
    ],
)
def test_the_tokenizer_finds_metrics_and_labels(text: str, expected: dict[str, set[str]]) -> None:
    assert selectors(text) == expected


def test_numbers_are_plain() -> None:
    """No NaN and no infinity, whatever a module measured: Prometheus would take them and show nothing."""
    for value in figures(snapshot(3)).values():
        assert math.isfinite(value)
