"""Job: the station, its guns and its modules in Home Assistant: what it discovers over MQTT, and what else it is told.

Thread: `status` (or any one at a time; pure, no clock). Lock: none. Units: as the JSON keys say; `now_s` is monotonic
and decides what is due, `wall_s` is Unix seconds and only becomes `ts`.

Device based discovery: one retained message for each device, written down at https://www.home-assistant.io/integrations/
mqtt/#device-discovery-payload; tests/home_assistant_schema.json is that page as a schema. Nothing is commanded here
that MQTT does not take from everybody (`MessageProcessor`), and a reset only where it would be taken.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum

from planning.model import GunState, ModuleState, ModuleStatus, StationState
from planning.reports import OutMessage, Pace, status_topic
from planning.settings import Priority, Settings
from planning.transition import Stage
from planning.view import StationView, hottest_c

#: Home Assistant's own prefix; where it says that it has started, and with which word.
PREFIX = "homeassistant"
BIRTH_TOPIC, BIRTH = f"{PREFIX}/status", b"online"
#: When Home Assistant starts again and again the discovery is repeated no more often than this.
REPEAT_PAUSE_S = 5.0
#: The most that the number of the site limit offers where config.ini has none; a command takes no more either.
MOST_SITE_LIMIT_KW = 10_000.0

_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_OURS = re.compile(rf"{PREFIX}/device/[a-zA-Z0-9_-]+/config|.+/module/\d+/status/central|.+/station/commanded/central")

Config = dict[str, object]
Details = Mapping[str, float]


class HomeAssistant:
    """Which messages are due. Switched off it only takes back what a broker still holds from when it was on."""

    def __init__(self, settings: Settings, version: str, held: Collection[str] = ()) -> None:
        """`held`: the retained topics that `holds` named last, by which a change of config.ini is noticed."""
        self._settings = settings
        self._on = settings.mqtt.home_assistant
        self._discovery = discovery(settings, version) if self._on else ()
        modules = range(1, settings.general.module_count + 1) if self._on else ()
        root = settings.mqtt.topic_root
        self._modules = {module: Pace() for module in modules}
        self._commanded = Pace()
        own = [message.topic for message in self._discovery]
        own += [module_topic(root, module) for module in modules]
        self._own = (*own, commanded_topic(root)) if self._on else ()
        self._stale = tuple(topic for topic in held if topic not in self._own and _OURS.fullmatch(topic))
        self._clear_due = self._cleared = self._discovery_due = False
        self._discovered_at_s = float("-inf")

    @property
    def holds(self) -> tuple[str, ...]:
        """Every retained topic of ours that a broker may hold: to be kept until the next start."""
        return (*self._own, *self._stale)

    def renew(self) -> None:
        """Say everything again: a new connection, and its broker may know nothing."""
        self._clear_due, self._cleared, self._discovery_due = True, False, True
        self._discovered_at_s = float("-inf")
        for pace in (self._commanded, *self._modules.values()):
            pace.sent_at_s.clear()

    def came_back(self) -> None:
        """Home Assistant has started anew: discover again. What it then subscribes to, the broker has retained."""
        self._discovery_due = True

    def step(
        self, now_s: float, wall_s: float, view: StationView | None, details: Sequence[Details] = ()
    ) -> list[OutMessage]:
        """The messages that are due at `now_s`; `details`: of each module. Only while there is a connection."""
        messages = self._clear()
        if self._discovery_due and now_s - self._discovered_at_s >= REPEAT_PAUSE_S:
            self._discovery_due, self._discovered_at_s = False, now_s
            messages += self._discovery
        if view is not None and self._on:
            messages += self._state_of_modules(now_s, wall_s, view, details)
            messages += self._state_of_commands(now_s, wall_s, view)
        return messages

    def _clear(self) -> list[OutMessage]:
        """Take back what no device of ours stands for any more; forget it once that was said and the line held."""
        if self._clear_due:
            self._clear_due, self._cleared = False, True
            return [OutMessage(topic, b"", qos=1, retain=True) for topic in self._stale]
        if self._cleared:
            self._stale = ()
        return []

    def _state_of_modules(
        self, now_s: float, wall_s: float, view: StationView, details: Sequence[Details]
    ) -> Iterable[OutMessage]:
        for status, pace in zip(view.modules, self._modules.values(), strict=True):
            index = status.module - 1
            stage, gun = view.seats[index]
            on_gun = gun if stage is not Stage.FREE else None
            power_kw = (status.voltage_v or 0.0) * (status.current_a or 0.0) / 1000.0
            facts = (
                status.state, view.usable[index], _in_use(status, view), on_gun, status.alarms, status.warnings,
                status.serial,
            )  # fmt: skip
            if pace.wait_s(facts, (power_kw,), now_s) <= 0:
                pace.sent(facts, (power_kw,), now_s)
                content: Config = {
                    "ts": round(wall_s, 3), **_module_content(status, power_kw, view, on_gun),
                    "temperature_c": _rounded(hottest_c(details[index])) if index < len(details) else None,
                }  # fmt: skip
                yield OutMessage(
                    module_topic(self._settings.mqtt.topic_root, status.module), _json(content), retain=True
                )

    def _state_of_commands(self, now_s: float, wall_s: float, view: StationView) -> Iterable[OutMessage]:
        limits_kw = {
            gun: min(self._settings.power_limits.gun_max_power_kw[gun], kw if kw is not None else float("inf"))
            for gun, kw in enumerate((each.commanded_kw for each in view.guns), start=1)
        }
        facts = (view.rule, view.draining, tuple(limits_kw.values()))
        if self._commanded.wait_s(facts, (), now_s) <= 0:
            self._commanded.sent(facts, (), now_s)
            content: Config = {"ts": round(wall_s, 3), "rule": view.rule.value, "draining": view.draining}
            content |= {f"gun{gun}_max_power_kw": limit_kw for gun, limit_kw in limits_kw.items()}
            yield OutMessage(commanded_topic(self._settings.mqtt.topic_root), _json(content), retain=True)


def module_topic(topic_root: str, module: int) -> str:
    """What a module does: told for Home Assistant alone."""
    return f"{topic_root}/module/{module}/status/central"


def commanded_topic(topic_root: str) -> str:
    """What commands have set, so that Home Assistant shows what holds and not what it once sent."""
    return f"{topic_root}/station/commanded/central"


def _module_content(status: ModuleStatus, power_kw: float, view: StationView, gun: int | None) -> Config:
    index = status.module - 1
    return {
        "state": status.state.value,
        "usable": view.usable[index],
        "enabled": _in_use(status, view),
        "gun": gun,
        "voltage_v": _rounded(status.voltage_v),
        "current_a": _rounded(status.current_a),
        "power_kw": _rounded(power_kw),
        "hours": _worn(view, "module_hours", index),
        "energy_kwh": _worn(view, "module_kwh", index),
        "starts": _worn(view, "module_starts", index),
        "serial": status.serial,
        "alarms": list(status.alarms),
        "warnings": list(status.warnings),
    }


def _in_use(status: ModuleStatus, view: StationView) -> bool:
    """Neither config.ini nor a command takes it out of use."""
    return view.enabled[status.module - 1] and status.state is not ModuleState.DISABLED


def _worn(view: StationView, key: str, index: int) -> object:
    """As fine as a person reads it: every change is a message."""
    values = view.worn.get(key)
    return round(values[index], 1) if isinstance(values, Sequence) else None


def _rounded(value: float | None) -> float | None:
    return round(value, 2) if value is not None and math.isfinite(value) else None


# --- discovery ----------------------------------------------------------------------------------------------------


def discovery(settings: Settings, version: str) -> tuple[OutMessage, ...]:
    """One message for the station, one for each gun, one for each module; the station first, the others hang on it."""
    return tuple(
        OutMessage(f"{PREFIX}/device/{name}/config", _json(config), qos=1, retain=True)
        for name, config in _devices(settings, version)
    )


def _devices(settings: Settings, version: str) -> Iterable[tuple[str, Config]]:
    general, root = settings.general, settings.mqtt.topic_root
    # stations on one broker differ by their root; the station's own name is for people
    station = _NOT_IN_A_NAME.sub("_", f"{root}_{general.station_id}")
    shared: Config = {
        "origin": {"name": "Split-power charging station", "sw_version": version},
        "availability": [_station_is_there(root)],
        "qos": 1,
    }
    device: Config = {
        "identifiers": [station], "name": f"Charging station {general.station_id}",
        "model": "Split-power DC charging station", "sw_version": version,
    }  # fmt: skip
    if settings.dashboard.enabled and settings.dashboard.host not in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "::"):
        device["configuration_url"] = f"http://{settings.dashboard.host}:{settings.dashboard.port}/"
    yield station, {"device": device, **shared, "components": _named(station, _station_entities(settings))}
    for gun in range(1, general.gun_count + 1):
        name = f"{station}_gun_{gun}"
        device = {"identifiers": [name], "name": f"{general.station_id} gun {gun}", "model": "Gun"}
        device["via_device"] = station
        yield name, {"device": device, **shared, "components": _named(name, _gun_entities(settings, gun))}
    for module in range(1, general.module_count + 1):
        name = f"{station}_module_{module}"
        make = settings.modules.by_number[module].protocol
        device = {"identifiers": [name], "name": f"{general.station_id} module {module}", "model": f"{make} module"}
        device["via_device"] = station
        yield name, {"device": device, **shared, "components": _named(name, _module_entities(root, module))}


def _named(device: str, entities: Mapping[str, Config]) -> Config:
    """Each entity with the id by which Home Assistant knows it for ever."""
    return {key: {**config, "unique_id": f"{device}_{key}"} for key, config in entities.items()}


def _station_is_there(root: str) -> Config:
    """The last will says `offline` when the controller is gone, however it went."""
    return {
        "topic": status_topic(root),
        "value_template": "{{ 'offline' if value_json.state == 'offline' else 'online' }}",
    }


def _station_entities(settings: Settings) -> dict[str, Config]:
    root = settings.mqtt.topic_root
    status, update = status_topic(root), f"{root}/station/update/central"
    most_kw = settings.power_limits.max_site_power_kw or MOST_SITE_LIMIT_KW
    entities: dict[str, Config] = {
        "state": _one_of("State", status, "state", StationState),
        "problem": {
            "platform": "binary_sensor", "name": "Problem", "device_class": "problem", "state_topic": status,
            "value_template": "{{ 'ON' if value_json.state in ['degraded', 'emergency_stop'] else 'OFF' }}",
        },
        "power": _power("Power", status, "power_kw"),
        "modules_available": _measured("Modules available", status, "modules_available"),
        "faults": {
            "platform": "sensor", "name": "Faults", "state_topic": status, "state_class": "measurement",
            "value_template": "{{ value_json.faults | default([]) | count }}",
            "json_attributes_topic": status,
            "json_attributes_template": "{{ {'faults': value_json.faults | default([])} | tojson }}",
        },
        "site_limit": _limit("Site limit", f"{root}/station/site_limit", status, "site_limit_kw", most_kw),
        "rule": {
            "platform": "select", "name": "Rule", "options": [rule.value for rule in Priority],
            "command_topic": f"{root}/station/priority/central/set", "entity_category": "config",
            "state_topic": commanded_topic(root), "value_template": _value("rule"),
        },
        "drain": _switch("Drain", f"{root}/station/drain", commanded_topic(root), "draining"),
        "update": {
            "platform": "update", "name": "Program", "entity_category": "diagnostic",
            "state_topic": update, "value_template": _value("running"),
            "latest_version_topic": update,
            "latest_version_template": "{{ value_json.available or value_json.running }}",
        },
    }  # fmt: skip
    if settings.mqtt.authenticated:
        entities["reset"] = {
            "platform": "button", "name": "Reset what latches", "entity_category": "config",
            "command_topic": f"{root}/station/reset/central/set", "payload_press": "true",
        }  # fmt: skip
    return entities


def _gun_entities(settings: Settings, gun: int) -> dict[str, Config]:
    root = settings.mqtt.topic_root
    told, most_kw = f"{root}/{gun}/allocation/central", settings.power_limits.gun_max_power_kw[gun]
    entities: dict[str, Config] = {
        "state": _one_of("State", told, "state", GunState),
        "reason": {
            "platform": "sensor", "name": "Reason", "state_topic": told, "value_template": _value("reason"),
        },
        "soc": _measured("State of charge", told, "soc_pct", "%", "battery"),
        "asked": _power("Asked", told, "demand_kw"),
        "allocated": _power("Allocated", told, "allocated_kw"),
        "delivered": _power("Delivered", told, "delivered_kw"),
        "modules": {
            "platform": "sensor", "name": "Modules", "state_topic": told, "state_class": "measurement",
            "value_template": "{{ value_json.modules | default([]) | count }}",
        },
        "next_module": _measured("Next module in", told, "eta_next_module_s", "s", "duration"),
    }  # fmt: skip
    if most_kw > 0:  # else config.ini has taken the gun out of use, and no command can lift that
        limit = _limit(
            "Highest power", f"{root}/{gun}/max_power", commanded_topic(root), f"gun{gun}_max_power_kw", most_kw
        )
        entities["max_power"] = limit
    return entities


def _module_entities(root: str, module: int) -> dict[str, Config]:
    told = module_topic(root, module)
    measured: dict[str, Config] = {
        "voltage": _measured("Voltage", told, "voltage_v", "V", "voltage"),
        "current": _measured("Current", told, "current_a", "A", "current"),
        "power": _power("Power", told, "power_kw"),
        "temperature": _measured("Temperature", told, "temperature_c", "°C", "temperature"),
    }
    answers: Config = {
        "topic": told,
        "value_template": "{{ 'online' if value_json.state in ['on', 'off', 'fault'] else 'offline' }}",
    }
    for config in measured.values():  # of a silent module nothing is measured; its state is known all the same
        config |= {"availability": [_station_is_there(root), answers], "availability_mode": "all"}
    return {
        "state": _one_of("State", told, "state", ModuleState),
        "usable": {
            "platform": "binary_sensor", "name": "Usable", "state_topic": told,
            "value_template": "{{ 'ON' if value_json.usable else 'OFF' }}",
        },
        **measured,
        "gun": {"platform": "sensor", "name": "Serves gun", "state_topic": told, "value_template": _value("gun")},
        "hours": _counted("Hours on", told, "hours", "h", "duration"),
        "energy": _counted("Energy", told, "energy_kwh", "kWh", "energy"),
        "starts": _counted("Starts", told, "starts"),
        "enabled": _switch("In use", f"{root}/module/{module}/enabled", told, "enabled"),
    }  # fmt: skip


def _value(key: str) -> str:
    """The value of a key; `None` (unknown) for null, and for the last will, which has none but `state`."""
    return f"{{{{ value_json.{key} | default(none) }}}}"


def _measured(name: str, topic: str, key: str, unit: str = "", device_class: str = "") -> Config:
    config: Config = {
        "platform": "sensor", "name": name, "state_topic": topic, "value_template": _value(key),
        "state_class": "measurement",
    }  # fmt: skip
    if unit:
        config["unit_of_measurement"] = unit
    if device_class:
        config["device_class"] = device_class
    return config


def _power(name: str, topic: str, key: str) -> Config:
    return {**_measured(name, topic, key, "kW", "power"), "suggested_display_precision": 1}


def _counted(name: str, topic: str, key: str, unit: str = "", device_class: str = "") -> Config:
    """What only grows; a fall is the start of a new count."""
    counted = _measured(name, topic, key, unit, device_class)
    return {**counted, "state_class": "total_increasing", "entity_category": "diagnostic"}


def _one_of(name: str, topic: str, key: str, words: type[Enum]) -> Config:
    return {
        "platform": "sensor", "name": name, "state_topic": topic, "value_template": _value(key),
        "device_class": "enum", "options": [word.value for word in words],
    }  # fmt: skip


def _switch(name: str, command: str, topic: str, key: str) -> Config:
    return {
        "platform": "switch", "name": name, "entity_category": "config", "command_topic": f"{command}/central/set",
        "payload_on": "true", "payload_off": "false", "state_topic": topic,
        "value_template": f"{{{{ value_json.{key} | lower }}}}", "state_on": "true", "state_off": "false",
    }  # fmt: skip


def _limit(name: str, command: str, topic: str, key: str, most_kw: float) -> Config:
    return {
        "platform": "number", "name": name, "entity_category": "config", "device_class": "power",
        "unit_of_measurement": "kW", "min": 0, "max": most_kw, "step": 1, "mode": "box",
        "command_topic": f"{command}/central/set", "state_topic": topic, "value_template": _value(key),
    }  # fmt: skip


def _json(content: Config) -> bytes:
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
