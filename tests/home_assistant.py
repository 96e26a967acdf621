"""Home Assistant's side of the broker, as far as its documentation tells it: what it makes of a discovery message.

Its templates are Jinja. The expressions that ours use mean the same in Python once a filter is an object that waits to
the right of `|`, so they are evaluated as Python; what they do not use (dots in filters, statements) fails here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cache
from types import CodeType
from typing import Any


class Undefined:
    """What a missing key is: empty text, false, and `default` puts something in its place."""

    def __str__(self) -> str:
        return ""

    def __bool__(self) -> bool:
        return False


class _Json:
    """`value_json`: keys as attributes; null is `None`."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._content = content

    def __getattr__(self, key: str) -> Any:
        return self._content.get(key, Undefined())


class _Filter:
    """A filter; `left | it` calls it."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __ror__(self, left: object) -> Any:
        return self._call(left)


def _default(instead: object) -> _Filter:
    return _Filter(lambda left: instead if isinstance(left, Undefined) else left)


def _count(left: object) -> int:
    assert isinstance(left, list | str | dict), f"{left!r} cannot be counted"
    return len(left)


_NAMES = {
    "none": None,
    "default": _default,
    "count": _Filter(_count),
    "lower": _Filter(lambda left: str(left).lower()),
    "tojson": _Filter(json.dumps),
}


@cache
def _compiled(template: str) -> CodeType:
    found = re.fullmatch(r"\{\{ (.*) \}\}", template)
    assert found, f"one expression is expected: {template}"
    return compile(found[1], template, "eval")


def render(template: str, payload: bytes) -> str:
    """What a value template makes of a message."""
    names = {"__builtins__": {}, "value_json": _Json(json.loads(payload)), **_NAMES}
    return str(eval(_compiled(template), names))


@dataclass
class Entity:
    """One entity that was discovered, and the topics on which it hears."""

    key: str
    config: dict[str, Any]
    device: dict[str, Any]
    #: availability topic -> available, the one that spoke last at the end
    there: dict[str, bool] = field(default_factory=dict)
    state: str | None = None

    @property
    def available(self) -> bool:
        wanted = {each["topic"] for each in self.config["availability"]}
        if self.config.get("availability_mode") == "all":
            return wanted <= self.there.keys() and all(self.there.values())
        return bool(self.there) and list(self.there.values())[-1]

    def hear(self, topic: str, payload: bytes) -> None:
        """A message of the broker; whatever the entity cannot take is an error."""
        for each in self.config["availability"]:
            if each["topic"] == topic:
                said = render(each["value_template"], payload)
                assert said in ("online", "offline"), f"{self.config['unique_id']}: {said}"
                self.there.pop(topic, None)
                self.there[topic] = said == "online"
        if self.config.get("state_topic") == topic:
            self._take(render(self.config["value_template"], payload))
        if self.config.get("json_attributes_topic") == topic:
            assert isinstance(json.loads(render(self.config["json_attributes_template"], payload)), dict)
        if self.config.get("latest_version_topic") == topic:
            assert render(self.config["latest_version_template"], payload)

    def _take(self, said: str) -> None:
        """As the platforms of Home Assistant do: `None` is unknown, everything else has to fit."""
        config, name = self.config, self.config["unique_id"]
        assert len(said) <= 255, f"{name}: a state of {len(said)} characters"
        if said == "None":
            self.state = None
            return
        match config["platform"]:
            case "binary_sensor":
                assert said in ("ON", "OFF"), f"{name}: {said}"
            case "switch":
                assert said in (config["state_on"], config["state_off"]), f"{name}: {said}"
            case "select":
                assert said in config["options"], f"{name}: {said}"
            case "number":
                assert config["min"] <= float(said) <= config["max"], f"{name}: {said}"
            case "sensor" if config.get("device_class") == "enum":
                assert said in config["options"], f"{name}: {said}"
            case "sensor" if "state_class" in config or "unit_of_measurement" in config:
                assert float(said) == float(said), f"{name}: {said}"
        self.state = said


class HomeAssistant:
    """All entities that were discovered."""

    def __init__(self) -> None:
        self.entities: dict[str, Entity] = {}
        self._retained: dict[str, bytes] = {}

    def hear(self, topic: str, payload: bytes, retain: bool = True) -> None:
        """One message, in the order in which the broker hands them on."""
        if topic.startswith("homeassistant/device/"):
            self._discover(topic, payload)
            return
        if retain:
            self._retained[topic] = payload
        for entity in self.entities.values():
            entity.hear(topic, payload)

    def of(self, device: str, key: str) -> Entity:
        """The entity of a device by the end of its identifier, such as ("gun_1", "soc")."""
        found = [e for e in self.entities.values() if e.key == key and e.device["identifiers"][0].endswith(device)]
        assert len(found) == 1, f"{device} {key}: {len(found)}"
        return found[0]

    def _discover(self, topic: str, payload: bytes) -> None:
        known = {name: e for name, e in self.entities.items() if e.config["__topic"] != topic}
        if payload:
            config = json.loads(payload)
            shared = {key: config[key] for key in ("availability", "qos")}
            for key, component in config["components"].items():
                made = Entity(key, {**shared, **component, "__topic": topic}, config["device"])
                assert component["unique_id"] not in known, f"{component['unique_id']} is there twice"
                known[component["unique_id"]] = made
                for told, content in self._retained.items():
                    if content:
                        made.hear(told, content)
        self.entities = known
