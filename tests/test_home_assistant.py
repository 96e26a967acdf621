"""Home Assistant: the discovery fits its documentation, every entity its messages, and the real program its broker."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from queue import Empty
from typing import Any

import jsonschema_rs
import pytest
from home_assistant import HomeAssistant as Hub
from home_assistant import render
from message_bench import Bench
from mosquitto import Peer
from paho.mqtt.client import topic_matches_sub
from rig import FAST, Rig, rig, wait_for

import message_processor
from home_link import HomeLink
from message_processor import RESET, subscriptions
from planning import home_assistant
from planning.home_assistant import BIRTH_TOPIC, HomeAssistant, discovery
from planning.reports import OutMessage, last_will
from planning.settings import Settings
from simulator.arrivals import timetable
from simulator.gun_bus import FixedBattery
from simulator.virtual import Level, VirtualClock, VirtualStation, settings_at

ON = "[MQTT]\nhome_assistant = true\n"
SCHEMA = json.loads((Path(__file__).parent / "home_assistant_schema.json").read_text(encoding="utf-8"))
#: Nothing here is about how fast it is; other tests may keep the machine busy.
LIMIT_S = 30.0
STATIONS = {
    "as it comes": ON,
    "other names": "[General]\nstation_id = depot.7\n[MQTT]\nhome_assistant = true\ntopic_root = site/yard-3\n",
    "two guns, three modules": "[General]\ngun_count = 2\nmodule_count = 3\n[Devices]\nD1 = 1, 2\nD2 =\nD3 =\n" + ON,
    "limits": "[PowerLimits]\nmax_site_power = 250\ngun1_max_power = 0\n" + ON,
    "a page for everybody": "[Dashboard]\nhost = 192.168.1.20\ntoken_file = token.txt\n" + ON,
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_at(tmp_path, ON)


def settings_of(folder: Path, text: str) -> Settings:
    (folder / "token.txt").write_text("a-token-for-the-page-of-the-station\n")
    (folder / "token.txt").chmod(0o600)
    return settings_at(folder, text)


def configs(settings: Settings) -> dict[str, Any]:
    """Discovery topic -> content."""
    return {message.topic: json.loads(message.payload) for message in discovery(settings, "1.2.3")}


# --- discovery ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", STATIONS.values(), ids=STATIONS)
def test_every_discovery_message_fits_the_documented_schema(tmp_path: Path, text: str) -> None:
    settings = settings_of(tmp_path, text)
    validator = jsonschema_rs.validator_for(SCHEMA)
    found = discovery(settings, "1.2.3")
    assert len(found) == 1 + settings.general.gun_count + settings.general.module_count
    for message in found:
        errors = [f"{list(e.instance_path)}: {e.message}" for e in validator.iter_errors(json.loads(message.payload))]
        assert errors == [], message.topic
        assert re.fullmatch(r"homeassistant/device/[a-zA-Z0-9_-]+/config", message.topic)
        assert (message.qos, message.retain) == (1, True)
        assert len(message.payload) < 16_384, "contrib/mosquitto-example.conf takes no more"


@pytest.mark.parametrize(
    "slip",
    [
        {"platform": "sensr"},
        {"state_topics": "vesec/1/allocation/central"},
        {"unit_of_measurement": "kWh"},
        {"state_class": "total"},
        {"entity_category": "config"},
        {"unique_id": ""},
    ],
    ids=lambda slip: next(iter(slip)),
)
def test_the_schema_finds_a_slip(settings: Settings, slip: dict[str, str]) -> None:
    validator = jsonschema_rs.validator_for(SCHEMA)
    config = next(content for topic, content in configs(settings).items() if topic.endswith("_gun_1/config"))
    assert validator.is_valid(config)
    config["components"]["delivered"] |= slip
    assert not validator.is_valid(config)
    del config["components"]["delivered"]
    del config["origin"]
    assert not validator.is_valid(config), "origin is required"


@pytest.mark.parametrize("text", STATIONS.values(), ids=STATIONS)
def test_no_identity_is_there_twice_and_all_hang_on_the_station(tmp_path: Path, text: str) -> None:
    contents = list(configs(settings_of(tmp_path, text)).values())
    identifiers = [content["device"]["identifiers"][0] for content in contents]
    unique = [each["unique_id"] for content in contents for each in content["components"].values()]
    assert len(set(identifiers)) == len(identifiers)
    assert len(set(unique)) == len(unique)
    assert "via_device" not in contents[0]["device"]
    assert {content["device"]["via_device"] for content in contents[1:]} == {identifiers[0]}


def test_two_stations_on_one_broker_share_nothing(tmp_path: Path) -> None:
    both = []
    for root in ("north", "south"):
        (tmp_path / root).mkdir()
        both.append(configs(settings_at(tmp_path / root, f"{ON}topic_root = {root}\n")))
    assert not both[0].keys() & both[1].keys()


def test_every_command_of_an_entity_is_one_that_the_station_takes(tmp_path: Path) -> None:
    """What Home Assistant would send is taken by MessageProcessor, at both ends of a number and for every word."""
    settings = replace(settings_at(tmp_path, ON), mqtt=replace(settings_at(tmp_path, ON).mqtt, tls=True, username="u"))
    bench = Bench(settings.mqtt)
    sent = 0
    for content in configs(settings).values():
        for each in content["components"].values():
            for payload in payloads(each):
                assert bench.say(each["command_topic"], payload) is None, f"{each['unique_id']}: {payload}"
                sent += 1
    kinds = {call[0] for call in bench.commands.calls}
    assert kinds == {"site_limit", "max_power", "enabled", "priority", "drain", "reset"}
    assert len(bench.commands.calls) == sent


def payloads(config: dict[str, Any]) -> list[str]:
    """What the entity may send. Home Assistant writes a whole number without a point."""
    match config["platform"]:
        case "number":
            return [str(int(config["min"])), f"{config['max']:g}", "75.5"]
        case "select":
            return list(config["options"])
        case "switch":
            return [config["payload_on"], config["payload_off"]]
        case "button":
            return [config["payload_press"]]
    assert "command_topic" not in config
    return []


@pytest.mark.parametrize(
    ("tls", "username", "there"), [(False, None, False), (True, None, False), (False, "u", False), (True, "u", True)]
)
def test_a_reset_is_offered_only_where_it_would_be_taken(
    settings: Settings, tls: bool, username: str | None, there: bool
) -> None:
    mqtt = replace(settings.mqtt, tls=tls, username=username)
    station = next(iter(configs(replace(settings, mqtt=mqtt)).values()))
    assert ("reset" in station["components"]) is there
    assert (Bench(mqtt).say(f"vesec/{RESET}/central/set", "true") is None) is there


def test_limits_are_those_of_config_ini_and_of_the_commands(tmp_path: Path) -> None:
    station, gun1, gun2, *_ = configs(settings_at(tmp_path, STATIONS["limits"])).values()
    assert station["components"]["site_limit"]["max"] == 250
    assert "max_power" not in gun1["components"], "config.ini has taken it out of use"
    assert gun2["components"]["max_power"]["max"] == 240
    assert home_assistant.MOST_SITE_LIMIT_KW == message_processor.MAX_SITE_LIMIT_KW


def rights(user: str, *kinds: str) -> list[str]:
    """The topics that contrib/mosquitto-acl gives a user."""
    text = (Path(__file__).parent.parent / "contrib" / "mosquitto-acl").read_text()
    section = re.search(rf"^user {user}\n(.*?)(?=^user |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section
    found = re.findall(r"^topic (\w+) (\S+)$", section[1], re.MULTILINE)
    return [topic for kind, topic in found if kind in (*kinds, "readwrite")]


def test_the_rights_in_contrib_are_enough_for_both_sides(settings: Settings) -> None:
    def matches(topic: str, patterns: list[str]) -> bool:
        return any(topic_matches_sub(pattern, topic) for pattern in patterns)

    may_write, may_read = rights("station", "write"), rights("station", "read")
    assert [topic for topic in HomeAssistant(settings, "1").holds if not matches(topic, may_write)] == []
    assert matches(BIRTH_TOPIC, may_read)
    may_write, may_read = rights("homeassistant", "write"), rights("homeassistant", "read")
    for content in configs(settings).values():
        for each in content["components"].values():
            if "command_topic" in each:
                assert matches(each["command_topic"], may_write), each["unique_id"]
            if "state_topic" in each:
                assert matches(each["state_topic"], may_read), each["unique_id"]
    assert not matches(f"vesec/{RESET}/central/set", may_write), "that is for a person who has looked"


def test_the_page_is_named_only_where_others_can_open_it(tmp_path: Path) -> None:
    station = next(iter(configs(settings_of(tmp_path, STATIONS["a page for everybody"])).values()))
    assert station["device"]["configuration_url"] == "http://192.168.1.20:8080/"
    (tmp_path / "other").mkdir()
    station = next(iter(configs(settings_at(tmp_path / "other", ON)).values()))
    assert "configuration_url" not in station["device"]


# --- every entity against real messages ---------------------------------------------------------------------------


class Desk:
    """A simulated station and a hub that hears all that it publishes."""

    def __init__(self, settings: Settings, cars: int = 0, level: Level = Level.READINGS) -> None:
        arrivals = timetable(5, cars, mean_gap_s=20.0) if cars else None
        self.station = VirtualStation(settings, level=level, seed=3, arrivals=arrivals)
        self.station.on_message = self._published
        self.home = HomeAssistant(settings, "1.2.3")
        self.home.renew()
        self.hub = Hub()
        self.sent: list[tuple[float, OutMessage]] = []

    def _published(self, now_s: float, message: OutMessage) -> None:
        self.sent.append((now_s, message))
        self.hub.hear(message.topic, message.payload, message.retain)

    def run_to(self, end_s: float) -> None:
        """The thread `status` looks once a second."""
        while self.station.clock.time_s < end_s:
            now_s = self.station.clock.time_s + 1.0
            self.station.run_to(now_s)
            for message in self.home.step(now_s, now_s, self.station.core.demand.view()):
                self._published(now_s, message)


def test_every_entity_understands_every_message_of_a_busy_station(settings: Settings) -> None:
    """Cars come and go, a module fails, the station is limited; the hub raises when a value does not fit its entity."""
    desk = Desk(settings, cars=40)
    desk.run_to(200.0)
    desk.station.publish("vesec/station/site_limit/central/set", "150")
    desk.station.publish("vesec/module/4/enabled/central/set", "false")
    desk.station.publish("vesec/station/priority/central/set", "fair_share")
    desk.station.publish("vesec/3/max_power/central/set", "55.5")
    desk.run_to(230.0)
    of = desk.hub.of
    assert of("vesec-1", "site_limit").state == "150.0"
    assert (of("module_4", "enabled").state, of("module_4", "usable").state) == ("false", "OFF")
    assert of("vesec-1", "rule").state == "fair_share"
    assert (of("gun_3", "max_power").state, of("gun_1", "max_power").state) == ("55.5", "240.0")
    desk.run_to(500.0)
    told = [e for e in desk.hub.entities.values() if e.state is not None]
    silent = {e.key for e in desk.hub.entities.values()} - {e.key for e in told}
    assert silent <= {"update", "temperature", "next_module"}, "deploy.py alone tells of updates, the wire of °C"
    assert all(e.available for e in desk.hub.entities.values())
    assert any(float(e.state or 0) > 1 for e in told if e.key == "energy")
    assert {e.state for e in told if e.key == "gun"} - {None}, "modules served guns"


def test_what_is_shown_is_what_was_told(settings: Settings) -> None:
    desk = Desk(settings)
    desk.run_to(12.0)
    desk.station.plant.plug(1, FixedBattery(640.0), 12.0)
    desk.station.plant.set_output(1, True, 12.0)
    desk.station.publish("vesec/1/soc/D1", "42.5")
    desk.station.publish("vesec/1/demand/D1", "75")
    desk.station.publish("vesec/1/vehicle_status/D1", "charging")
    desk.run_to(40.0)
    report = desk.station.reports[0]
    gun, of = report.guns[0], desk.hub.of
    assert (of("gun_1", "soc").state, of("gun_1", "asked").state) == ("42.5", "75.0")
    assert of("gun_1", "state").state == "charging"
    assert float(of("gun_1", "delivered").state or 0) == pytest.approx(75.0, rel=0.05)
    assert of("gun_1", "modules").state == str(len(gun.modules)) == "2"
    assert of("gun_1", "reason").state == gun.reason
    assert of("vesec-1", "power").state == of("gun_1", "delivered").state
    assert of("vesec-1", "modules_available").state == "9"
    assert of("vesec-1", "site_limit").state is None
    serving = {m for m in range(1, 10) if of(f"module_{m}", "gun").state == "1"}
    assert serving == set(gun.modules)
    powers_kw = [float(of(f"module_{m}", "power").state or 0) for m in serving]
    assert sum(powers_kw) == pytest.approx(75.0, rel=0.05)


def test_the_last_will_makes_everything_unavailable_and_breaks_no_template(settings: Settings) -> None:
    desk = Desk(settings)
    desk.run_to(15.0)
    assert all(entity.available for entity in desk.hub.entities.values())
    will = last_will("vesec")
    desk.hub.hear(will.topic, will.payload)
    assert not any(entity.available for entity in desk.hub.entities.values())


def test_a_silent_module_has_no_readings_and_says_so(settings: Settings) -> None:
    desk = Desk(settings)
    desk.run_to(15.0)
    told = next(m for _, m in reversed(desk.sent) if m.topic == "vesec/module/2/status/central")
    silent = {**json.loads(told.payload), "state": "silent", "voltage_v": None}
    of = desk.hub.of
    desk.run_to(26.0)  # the station goes on telling of itself
    desk.hub.hear(told.topic, json.dumps(silent).encode())
    status = next(m for _, m in reversed(desk.sent) if m.topic == "vesec/station/status/central")
    desk.hub.hear(status.topic, status.payload)
    assert [of("module_2", key).available for key in ("voltage", "current", "power")] == [False, False, False]
    assert of("module_2", "state").available and of("module_2", "state").state == "silent"
    assert of("module_3", "voltage").available


def test_a_module_that_rests_after_a_failed_start_is_in_use_all_the_same(settings: Settings) -> None:
    """What a person has switched, and what the station may plan with, are two things."""
    desk = Desk(settings)
    desk.run_to(15.0)
    view = desk.station.core.demand.view()
    assert view is not None
    resting = replace(view, usable=(*view.usable[:6], False, *view.usable[7:]))
    for message in desk.home.step(16.0, 16.0, resting):
        desk.hub.hear(message.topic, message.payload)
    of = desk.hub.of
    assert (of("module_7", "usable").state, of("module_7", "enabled").state) == ("OFF", "true")
    assert (of("module_8", "usable").state, of("module_8", "enabled").state) == ("ON", "true")


def test_a_module_that_config_ini_takes_out_of_use_cannot_pass_for_one_in_use(tmp_path: Path) -> None:
    desk = Desk(settings_at(tmp_path, "[Modules]\nmodule3_enabled = false\n" + ON), level=Level.WIRE)
    enabled = desk.hub.of
    desk.run_to(3.0)
    assert (enabled("module_3", "enabled").state, enabled("module_4", "enabled").state) == ("false", "true")
    desk.station.publish("vesec/module/3/enabled/central/set", "true")
    desk.run_to(5.0)
    assert enabled("module_3", "enabled").state == "false"


# --- when ---------------------------------------------------------------------------------------------------------


def test_modules_are_told_at_changes_and_every_ten_seconds(settings: Settings) -> None:
    desk = Desk(settings)
    desk.run_to(120.0)
    times_s = [at_s for at_s, message in desk.sent if message.topic == "vesec/module/5/status/central"]
    gaps_s = [later - early for early, later in pairwise(times_s)]
    assert max(gaps_s) <= 10.0
    assert sorted(gaps_s)[len(gaps_s) // 2] == 10.0, "an idle module is told no more often"


def test_discovery_comes_with_each_connection_and_when_home_assistant_starts_but_not_in_a_row(
    settings: Settings,
) -> None:
    home = HomeAssistant(settings, "1")
    assert home.step(0.0, 0.0, None) == [], "nothing before there is a connection"
    home.renew()
    first = home.step(1.0, 1.0, None)
    assert len(first) == 16
    assert home.step(2.0, 2.0, None) == []
    home.came_back()
    assert home.step(3.0, 3.0, None) == [], "it was said a moment ago"
    assert home.step(6.0, 6.0, None) == first
    home.came_back()
    home.renew()
    assert home.step(7.0, 7.0, None) == first, "a new connection waits for nothing"
    assert home.step(20.0, 20.0, None) == []


def test_switched_off_it_takes_back_what_it_said_once_and_then_forgets_it(tmp_path: Path) -> None:
    on = settings_at(tmp_path, ON)
    held = HomeAssistant(on, "1").holds
    assert len(held) == 16 + 9 + 1
    off = HomeAssistant(replace(on, mqtt=replace(on.mqtt, home_assistant=False)), "1", held)
    assert off.step(0.0, 0.0, None) == [], "not without a connection"
    assert off.holds == held
    off.renew()
    cleared = off.step(1.0, 1.0, None)
    assert {message.topic for message in cleared} == set(held)
    assert all((m.payload, m.qos, m.retain) == (b"", 1, True) for m in cleared)
    assert off.holds == held, "not before the line has held for a while"
    off.renew()
    assert off.step(2.0, 2.0, None) == cleared
    assert off.step(3.0, 3.0, None) == [] and off.holds == ()


def test_what_the_station_has_no_more_is_taken_back(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    held = HomeAssistant(settings_at(tmp_path, ON), "1").holds
    small = HomeAssistant(settings_at(tmp_path / "small", STATIONS["two guns, three modules"]), "1", held)
    small.renew()
    cleared = [message.topic for message in small.step(0.0, 0.0, None) if not message.payload]
    assert "homeassistant/device/vesec_vesec-1_gun_3/config" in cleared
    assert "vesec/module/4/status/central" in cleared
    assert not {"homeassistant/device/vesec_vesec-1_gun_2/config", "vesec/module/3/status/central"} & set(cleared)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"retained": 3}', '{"retained": [1, null, "other/lamp", "homeassistant/device/x y/config"]}'],
)
def test_a_file_that_cannot_be_trusted_clears_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "home_assistant.json").write_text(content)
    link = HomeLink(settings_at(tmp_path), "1.2.3", VirtualClock())
    link.renew()
    assert link.step(0.0, None) == []


# --- the birth message --------------------------------------------------------------------------------------------


def test_the_birth_message_is_subscribed_to_and_understood_only_when_it_is_on(tmp_path: Path) -> None:
    (tmp_path / "off").mkdir()
    on = HomeLink(settings_at(tmp_path, ON), "1.2.3", VirtualClock())
    off = HomeLink(settings_at(tmp_path / "off"), "1.2.3", VirtualClock())
    assert (on.subscriptions, off.subscriptions) == (("homeassistant/status",), ())
    assert BIRTH_TOPIC not in subscriptions("vesec")
    on.renew()
    assert len(on.step(0.0, None)) == 16
    for payload, retain in ((b"offline", False), (b"online", True), (b"\xff", False), (b"", True)):
        assert on.hear(b"homeassistant/status", payload, retain), "nothing that MessageProcessor would refuse aloud"
    assert on.step(10.0, None) == []
    assert on.hear(b"homeassistant/status", b"online", False)
    assert len(on.step(20.0, None)) == 16
    assert not on.hear(b"vesec/1/demand/D1", b"75", False)


# --- the real program ---------------------------------------------------------------------------------------------


class Watch:
    """A hub on the real broker."""

    def __init__(self, peer: Peer) -> None:
        self.peer, self.hub = peer, Hub()
        self.refused: list[bytes] = []

    def look(self) -> None:
        """Take all that has come."""
        while True:
            try:
                topic, payload, _ = self.peer.heard.get_nowait()
            except Empty:
                return
            if topic.endswith("/rejected/central"):
                self.refused.append(payload)
            elif payload or topic.startswith("homeassistant/"):
                self.hub.hear(topic, payload)

    def until(self, condition: Callable[[], bool], what: str, limit_s: float = LIMIT_S) -> None:
        def holds() -> bool:
            self.look()
            return condition()

        wait_for(holds, what, limit_s)


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path, ON + FAST) as made:
        yield made


@pytest.mark.mosquitto
@pytest.mark.process
def test_the_real_station_in_a_real_broker(station: Rig) -> None:
    """Discovered after the start by who comes late, set from there, found again, and unavailable when it is killed."""
    assert station.main is not None
    with station.peer("homeassistant/#", "vesec/+/allocation/central", "vesec/station/#", "vesec/module/#") as peer:
        watch = Watch(peer)
        hub, of = watch.hub, watch.hub.of
        watch.until(lambda: len({e.device["identifiers"][0] for e in hub.entities.values()}) == 16, "16 devices")
        watch.until(lambda: all(e.available for e in hub.entities.values()), "all are available")
        watch.until(lambda: of("module_9", "state").state == "off", "module 9 is off")
        watch.until(lambda: of("module_9", "temperature").state is not None, "module 9 tells its temperature")
        station.say.charge("D1", 1, 30, 680)
        watch.until(lambda: of("gun_1", "state").state == "charging", "gun 1 charges")

        for device, key, payload, told in (
            ("module_9", "enabled", "false", "false"),
            ("vesec-1", "site_limit", "222", "222.0"),
            ("vesec-1", "rule", "lowest_soc", "lowest_soc"),
            ("vesec-1", "drain", "true", "true"),
            ("gun_2", "max_power", "40", "40.0"),
        ):
            peer.say(of(device, key).config["command_topic"], payload)
            watch.until(lambda at=(device, key), to=told: of(*at).state == to, f"{device} {key} shows {told}")

        first = next(iter(hub.entities))
        known = hub.entities[first]
        peer.say(BIRTH_TOPIC, "online")
        watch.until(lambda: hub.entities[first] is not known, "discovered again after the birth message")
        watch.until(lambda: all(e.available for e in hub.entities.values()), "all are available again")
        assert watch.refused == []
        assert "refused" not in station.main.console

        station.main.kill()
        watch.until(lambda: not any(e.available for e in hub.entities.values()), "unavailable by the last will")


@pytest.mark.mosquitto
@pytest.mark.process
def test_switched_off_the_real_station_leaves_nothing_behind(station: Rig) -> None:
    assert station.main is not None
    kept = station.files / "home_assistant.json"
    wait_for(lambda: kept.exists() and json.loads(kept.read_text())["retained"], "it notes what it retained", LIMIT_S)
    with station.peer("homeassistant/#") as peer:
        watch = Watch(peer)
        watch.until(lambda: len({e.device["identifiers"][0] for e in watch.hub.entities.values()}) == 16, "16 devices")
    station.main.end()
    (station.files / "config.local.ini").write_text(FAST)
    station.start_main()
    wait_for(lambda: json.loads(kept.read_text())["retained"] == [], "all is taken back and forgotten", LIMIT_S)
    with station.peer("homeassistant/#", "vesec/module/#", "vesec/station/#") as late:
        late.say("vesec/end", "")
        heard = []
        while True:
            try:
                heard.append(late.heard.get(timeout=0.5)[0])
            except Empty:
                break
    assert not [t for t in heard if t.startswith(("homeassistant/", "vesec/module/")) or "commanded" in t], heard
    assert "vesec/station/status/central" in heard


@pytest.mark.mosquitto
@pytest.mark.process
def test_an_error_here_is_told_once_and_status_json_goes_on(tmp_path: Path) -> None:
    with rig(tmp_path, ON + FAST, start=False) as made:
        made.start_main(patch="import planning.home_assistant as h; h.HomeAssistant.step = None")
        assert made.main is not None
        made.main.wait_line("Home Assistant is told nothing more until the next start", LIMIT_S)
        before_s = made.status()["ts"]
        wait_for(lambda: made.status()["ts"] > before_s + 2.0, "status.json goes on", LIMIT_S)
        assert made.status()["state"] == "ready"
        assert made.main.console.count("is told nothing more") == 1


def test_templates_are_evaluated_as_home_assistant_would() -> None:
    content = b'{"a": null, "b": 1.5, "c": ["x", "y"], "d": true, "e": "z"}'
    for template, expected in (
        ("{{ value_json.a | default(none) }}", "None"),
        ("{{ value_json.missing | default(none) }}", "None"),
        ("{{ value_json.missing }}", ""),
        ("{{ value_json.b | default(none) }}", "1.5"),
        ("{{ value_json.c | default([]) | count }}", "2"),
        ("{{ value_json.missing | default([]) | count }}", "0"),
        ("{{ value_json.d | lower }}", "true"),
        ("{{ 'ON' if value_json.e in ['y', 'z'] else 'OFF' }}", "ON"),
        ("{{ 'ON' if value_json.missing == 'z' else 'OFF' }}", "OFF"),
        ("{{ value_json.a or value_json.e }}", "z"),
        ("{{ {'c': value_json.c | default([])} | tojson }}", '{"c": ["x", "y"]}'),
    ):
        assert render(template, content) == expected, template

