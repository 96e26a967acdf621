"""Job: the site's own settings over a change of release: config.ini edited by hand, and keys that changed their name.

Thread: MainThread. Lock: HOME/deploy.lock. Units: none. Standard library only.
config.ini is the release's; what a person wrote into it goes to config.local.ini, once. A release may bring numbered
steps (updates/settings_steps.json): [{"rename": {"MQTT.host": "broker"}, "drop": ["MQTT.old"]}, ...]. The file as it
was before a step stays as config.local.vN.ini, and an older release gets it back.
"""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from updates.home import Home, sync_folder, write_safely
from updates.journal import Journal
from updates.terms import Refused

#: A delivered config.ini and a migrated config.local.ini stand under these names while they are tried.
TRIAL, LOCAL_TRIAL = "config.trial.ini", "config.local.trial.ini"
STEPS = Path("updates", "settings_steps.json")
_HEADER = re.compile(r"\s*\[([^]]+)\]")
_KEY = re.compile(r"(\s*)([^=#;\s][^=]*?)(\s*=.*)", re.DOTALL)

Sections = dict[str, dict[str, str]]


def parse(text: str) -> Sections:
    """Section -> key in lower case -> value, as main.py reads it. Raises configparser.Error."""
    parser = configparser.RawConfigParser(
        delimiters=("=",), strict=False, default_section="", empty_lines_in_values=False, interpolation=None
    )
    parser.read_string(text)
    return {name: dict(parser.items(name)) for name in parser.sections()}


def read(path: Path) -> Sections:
    """The same of a file; nothing when there is none. Raises Refused."""
    try:
        return parse(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise Refused(f"{path} cannot be read ({error}). Mend it; main.py --check says what is wrong") from error


def merged(home: Home) -> Sections:
    """What is in force: config.ini, overlaid by config.local.ini. Raises Refused."""
    found = read(home.config)
    for section, keys in read(home.local).items():
        found.setdefault(section, {}).update(keys)
    return found


# --- config.ini edited by hand --------------------------------------------------------------------------------------


def is_edited(home: Home) -> bool:
    """HOME/config.ini is not what any release here was delivered with."""
    delivered = {path.read_bytes() for path in home.releases.glob("*/config.ini")}
    return home.config.is_file() and home.config.read_bytes() not in delivered


def rescue_edits(home: Home) -> list[str]:
    """Move what was written into config.ini to config.local.ini, and put the delivered file back.

    Returns what was moved, as [section] key. A key that config.local.ini has already stays as it is there, since that
    was in force. Raises Refused.
    """
    if not is_edited(home):
        return []
    edited, local = read(home.config), read(home.local)
    delivered = min(home.releases.glob("*/config.ini"), key=lambda path: _count(_written(read(path), edited)))
    moved = {
        section: {key: value for key, value in keys.items() if key not in local.get(section, {})}
        for section, keys in _written(read(delivered), edited).items()
    }
    if any("\n" in value for keys in moved.values() for value in keys.values()):
        raise Refused(f"{home.config} has a value over two lines. Mend it; main.py --check names it")
    _copy(home.config, home.config.with_name("config.ini.bak"))
    if _count(moved):
        text = home.local.read_text(encoding="utf-8-sig") if home.local.exists() else ""
        if text:
            _copy(home.local, home.local.with_name("config.local.ini.bak"))
        write_safely(home.local, with_keys(text, moved).encode())
    write_safely(home.config, delivered.read_bytes())
    return [f"[{section}] {key}" for section, keys in moved.items() for key in keys]


def _written(delivered: Sections, edited: Sections) -> Sections:
    """What was written into a delivered file. The one with the least of it is the one that was edited."""
    return {
        section: {key: value for key, value in keys.items() if delivered.get(section, {}).get(key) != value}
        for section, keys in edited.items()
    }


def _count(sections: Sections) -> int:
    return sum(len(keys) for keys in sections.values())


def with_keys(text: str, added: Mapping[str, Mapping[str, str]]) -> str:
    """The text of an ini file with more keys; its lines and comments stay. The keys are not there yet."""
    lines = text.splitlines()
    for section, keys in added.items():
        new = [f"{key} = {value}" for key, value in keys.items()]
        if not new:
            continue
        place = next((n for n, line in enumerate(lines) if _header(line) == section), None)
        if place is None:
            lines += [*([""] if lines else []), f"[{section}]", *new]
        else:
            lines[place + 1 : place + 1] = new
    return "\n".join(lines) + "\n"


def _header(line: str) -> str | None:
    match = _HEADER.match(line)
    return match[1] if match else None


# --- keys that changed their name -----------------------------------------------------------------------------------


def steps_of(release: Path) -> list[dict[str, Any]]:
    """The steps that a release brings; its number of settings is how many there are. Raises Refused."""
    try:
        steps = json.loads((release / STEPS).read_text())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise Refused(f"{release / STEPS} cannot be read: {error}") from error
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise Refused(f"{release / STEPS} is no list of steps")
    return steps


def migrated(text: str, step: Mapping[str, Any]) -> str:
    """The text of config.local.ini after one step. Doing a step twice does no harm."""
    renames, drops = dict(step.get("rename", {})), set(step.get("drop", []))
    lines, section = [], ""
    for line in text.splitlines():
        section = _header(line) or section
        key = _KEY.fullmatch(line)
        name = f"{section}.{key[2].lower()}" if key else ""
        if name in drops:
            continue
        lines.append(f"{key[1]}{renames[name]}{key[3]}" if key and name in renames else line)
    return "\n".join(lines) + "\n"


def fitting(home: Home, release: Path, version: int) -> str | None:
    """config.local.ini in the words of this release, older or newer; None: it is good as it is."""
    steps = steps_of(release)
    if len(steps) < version:
        kept = _kept(home, len(steps))
        return kept.read_text(encoding="utf-8-sig") if kept.exists() else None
    if len(steps) == version or not home.local.exists():
        return None
    text = home.local.read_text(encoding="utf-8-sig")
    for step in steps[version:]:
        text = migrated(text, step)
    return text


def put_in_place(home: Home, journal: Journal, commit: str) -> Journal:
    """config.ini of this release, and config.local.ini in its words. Repeating it does no harm. Raises Refused."""
    release = home.release(commit)
    version = len(steps_of(release))
    if version > journal.settings_version:
        _keep(home, journal.settings_version)
        text = fitting(home, release, journal.settings_version)
        if text is not None:
            write_safely(home.local, text.encode())
    elif version < journal.settings_version:
        _bring_back(home, version, journal.settings_version)
    _deliver(home, release)
    return replace(journal, settings_version=version)


def _deliver(home: Home, release: Path) -> None:
    delivered = (release / "config.ini").read_bytes()
    if home.config.exists() and home.config.read_bytes() == delivered:
        return
    try:
        rescue_edits(home)  # somebody may have written into it in this very minute
    except Refused:
        _copy(home.config, home.config.with_name("config.ini.bak"))
    write_safely(home.config, delivered)


def _kept(home: Home, version: int) -> Path:
    return home.local.with_name(f"config.local.v{version}.ini")


def _keep(home: Home, version: int) -> None:
    if home.local.exists() and not _kept(home, version).exists():
        _copy(home.local, _kept(home, version))


def _copy(path: Path, copy: Path) -> None:
    write_safely(copy, path.read_bytes(), like=path)


def _bring_back(home: Home, version: int, newer: int) -> None:
    kept = _kept(home, version)
    if kept.exists():
        _copy(home.local, _kept(home, newer))
        kept.replace(home.local)
        sync_folder(home.folder)
