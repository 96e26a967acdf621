"""Job: settings to text: what is in force for the log, and the table of all keys for the README.

Thread: any (pure). Lock: none. Units: those of the keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from planning.config_keys import KEYS, Key, Kind, numbers, spell
from planning.config_rules import shown
from planning.config_values import show, show_window
from planning.settings import Settings

#: Brokers on the internet that everybody may use: whoever knows the topic can order power there.
PUBLIC_BROKERS = ("broker.hivemq.com", "test.mosquitto.org", "broker.emqx.io", "mqtt.eclipseprojects.io")

FIELDS = {
    "PowerLimits": "power_limits", "General": "general", "MQTT": "mqtt", "Devices": "devices",
    "Allocation": "allocation", "CAN": "can", "Modules": "modules", "GPIO": "gpio", "Safety": "safety",
    "Dashboard": "dashboard", "History": "history", "Logging": "logging", "Deploy": "deploy",
}  # fmt: skip

_FAMILY_VALUES: dict[str, Callable[[Settings, tuple[int, ...]], Any]] = {
    "gunN_max_power": lambda settings, n: settings.power_limits.gun_max_power_kw[n[0]],
    "gunN_max_current": lambda settings, n: settings.power_limits.gun_max_current_a[n[0]],
    "moduleN_address": lambda settings, n: settings.modules.by_number[n[0]].address,
    "moduleN_protocol": lambda settings, n: settings.modules.by_number[n[0]].protocol,
    "moduleN_enabled": lambda settings, n: settings.modules.by_number[n[0]].enabled,
    "gunG_moduleM_pin": lambda settings, n: settings.gpio.direct_pins.get((n[0], n[1])),
    "gunG_moduleM_feedback_pin": lambda settings, n: settings.gpio.direct_feedback_pins.get((n[0], n[1])),
}


def effective_lines(settings: Settings) -> list[str]:
    """What is in force, one line a key as "[Section] key = value", then notes a person should read. For the log.

    The contents of secret files are never in it (they are not even loaded); a password in a URL is masked. Any thread.
    """
    lines = [f"[{section}] {name} = {text}" for section, name, text in _effective(settings)]
    return lines + [f"Note: {note}" for note in notes(settings)]


def _effective(settings: Settings) -> Iterator[tuple[str, str, str]]:
    for key in KEYS:
        if key.name == "DN":
            yield from (("Devices", name, show(guns)) for name, guns in settings.devices.guns.items())
        elif "NAME" in key.name:
            yield from (("CAN", f"option_{name}", shown(name, text)) for name, text in settings.can.options.items())
        else:
            yield from _effective_key(settings, key)


def _effective_key(settings: Settings, key: Key) -> Iterator[tuple[str, str, str]]:
    for parts in numbers(key, settings.general.gun_count, settings.general.module_count):
        family = _FAMILY_VALUES.get(key.name)
        if family is not None:
            value = family(settings, tuple(int(part) for part in parts))
        else:
            value = getattr(getattr(settings, FIELDS[key.section]), key.attribute)
        if value is not None:
            text = show_window(value) if key.kind is Kind.WINDOW else show(value)
            yield key.section, spell(key, parts), mask_url(text) if key.name == "url" else text


def mask_url(url: str) -> str:
    """A database URL without its password."""
    return re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url)


def notes(settings: Settings) -> list[str]:
    """What is allowed but deserves a second look."""
    mqtt, timeout_s = settings.mqtt, settings.safety.demand_timeout_s
    served = {gun for guns in settings.devices.guns.values() for gun in guns}
    found = {
        f"{mqtt.broker} is a public broker: anybody may read its values and order power. Use one of your own":
            mqtt.broker.lower().removesuffix(".") in PUBLIC_BROKERS,
        "the MQTT password travels in clear text. Set tls = true": mqtt.password_file is not None and not mqtt.tls,
        "TLS on port 1883: most brokers listen for TLS on 8883": mqtt.tls and mqtt.port == 1883,
        "demand_timeout is off: a gun whose device falls silent keeps its last demand": timeout_s == 0,
        "demand_timeout is shorter than the 10 s at which devices repeat: guns will drop out": 0 < timeout_s < 10,
    }  # fmt: skip
    unserved = sorted(set(range(1, settings.general.gun_count + 1)) - served)
    return [text for text, holds in found.items() if holds] + [
        f"gun {gun} belongs to no device under [Devices]: nobody can ask for it" for gun in unserved
    ]


def markdown_table() -> str:
    """Every key as a table for the README: section, key, default, what is allowed with its unit, meaning."""
    rows = ["| section | key | default | allowed | meaning |", "| --- | --- | --- | --- | --- |"]
    for key in KEYS:
        cells = (key.section, f"`{key.name}`", key.default_shown, key.allowed, key.meaning)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"
