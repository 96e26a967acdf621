"""Job: config.ini and config.local.ini to frozen settings, or every problem at once in words for the person on site.

Thread: the caller's, once at the start. Lock: none. Units: those of each key (planning/config_keys.py).
Each file is read once and as a whole: what somebody edits later counts from the next start.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from planning import config_rules
from planning.config_keys import KEYS, SECTIONS, Key, Kind, find, limits, numbers, spell
from planning.config_rules import Draft, Entry, shown
from planning.config_text import effective_lines, markdown_table
from planning.config_values import nearest, parse, show, show_window
from planning.settings import (
    AllocationSettings,
    Can,
    Dashboard,
    Deploy,
    Devices,
    General,
    Gpio,
    History,
    Logging,
    Module,
    Modules,
    Mqtt,
    PowerLimits,
    Safety,
    Settings,
)

__all__ = ["ConfigError", "effective_lines", "load", "markdown_table"]

LOCAL_NAME = "config.local.ini"
#: What an update tries before it is put in place: the delivered file, and the site's own if it had to be changed.
TRIAL_NAME, LOCAL_TRIAL_NAME = "config.trial.ini", "config.local.trial.ini"
MAX_FILE_BYTES = 1_000_000
#: The token of the page: openssl rand -hex 16 makes 32 signs; nobody guesses 16.
SHORTEST_TOKEN, LONGEST_TOKEN = 16, 256


class ConfigError(ValueError):
    """The configuration cannot be used. `problems` has one sentence for each problem; str() joins them by lines."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(path: Path) -> Settings:
    """The settings of the file at `path`, overlaid key by key by config.local.ini beside it. Any thread.

    Paths in the result are absolute. Raises ConfigError with every problem that was found; touches no hardware.
    """
    path = _tidy(path.expanduser())
    draft = Draft()
    draft.main_file = path.name
    _read_files(draft, path)
    _set_counts(draft)
    _read_values(draft, path.parent)
    config_rules.check(draft)
    if draft.problems:
        raise ConfigError(draft.problems)
    return _build(draft, path.parent)


# --- files to lines -----------------------------------------------------------------------------------------------


def _read_files(draft: Draft, path: Path) -> None:
    """Put the lines of both files into the draft. Raises ConfigError when the main file cannot be read at all."""
    try:
        main = _sections(path, draft.problems)
    except (OSError, ValueError) as error:
        raise ConfigError([_unreadable(path, error)]) from error
    if not main and not draft.problems:
        raise ConfigError([f"{path.name} at {path.parent} names no section: it is empty. Put back the delivered file."])
    _take(draft, path.name, main)
    local = path.with_name(LOCAL_NAME)
    if path.name == TRIAL_NAME and path.with_name(LOCAL_TRIAL_NAME).exists():
        local = path.with_name(LOCAL_TRIAL_NAME)
    if local != path and os.path.lexists(local):
        _overlay(draft, local)


def _overlay(draft: Draft, local: Path) -> None:
    base = {name: draft.entries.get(("General", name)) for name in ("gun_count", "module_count")}
    try:
        _take(draft, local.name, _sections(local, draft.problems))
    except (OSError, ValueError) as error:
        draft.problems.append(_unreadable(local, error))
    draft.dropped_guns = _dropped(draft, "gun_count", base["gun_count"])
    draft.dropped_modules = _dropped(draft, "module_count", base["module_count"])


def _dropped(draft: Draft, name: str, before: Entry | None) -> frozenset[int]:
    """The numbers that the local file's smaller count took from the main file's."""
    after = draft.entries.get(("General", name))
    key = _row("General", name)
    try:
        old = parse(key, before.text if before else key.default)
        new = parse(key, after.text if after else key.default)
    except ValueError:
        return frozenset()
    return frozenset(range(new + 1, old + 1))


def _unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path.name}: there is no such file in {path.parent}. Put it there or name another with --config FILE."
    if isinstance(error, OSError):
        return f"{path.name} in {path.parent} cannot be read: {error.strerror}. Let the station's user read it."
    return f"{path.name} in {path.parent} {error}. Save it as plain text in UTF-8, or put back a good copy."


def _text(path: Path) -> str:
    """The whole file. Raises OSError, or ValueError with what is wrong with its bytes."""
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"is larger than {MAX_FILE_BYTES} bytes")
    if b"\0" in data:
        raise ValueError(
            f"has a zero byte in line {_line_of(data, data.index(0))}, as after a power cut during a write"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = _line_of(data, error.start)
        raise ValueError(f"is not UTF-8: byte {data[error.start]:#04x} in line {line}") from error


def _line_of(data: bytes, position: int) -> int:
    return data.count(b"\n", 0, position) + 1


def _parser(strict: bool) -> configparser.RawConfigParser:
    # No section of that name can be written, so [DEFAULT] is an ordinary (unknown) section and leaks nowhere.
    return configparser.RawConfigParser(
        delimiters=("=",), strict=strict, default_section="", empty_lines_in_values=False, interpolation=None
    )


def _sections(path: Path, problems: list[str]) -> dict[str, dict[str, str]]:
    """Section -> key -> text. What does not parse is added to `problems`, the rest is returned all the same."""
    text, parser = _text(path), _parser(strict=True)
    try:
        parser.read_string(text)
    except (configparser.DuplicateSectionError, configparser.DuplicateOptionError) as error:
        problems.append(_duplicate(path.name, error))
        parser = _parser(strict=False)
        _read_leniently(parser, text, path.name, problems)
    except configparser.Error as error:
        problems.extend(_syntax(path.name, error))
        if isinstance(error, configparser.MissingSectionHeaderError):
            return {}
    return {name: dict(parser.items(name)) for name in parser.sections()}


def _read_leniently(parser: configparser.RawConfigParser, text: str, file: str, problems: list[str]) -> None:
    try:
        parser.read_string(text)
    except configparser.Error as error:
        problems.extend(_syntax(file, error))


def _duplicate(file: str, error: configparser.DuplicateSectionError | configparser.DuplicateOptionError) -> str:
    what = f"[{error.section}]"
    if isinstance(error, configparser.DuplicateOptionError):
        what += f" {error.option}"
    return f"{file} {what} stands there twice, the second time in line {error.lineno}. Delete one."


def _syntax(file: str, error: configparser.Error) -> Iterator[str]:
    if isinstance(error, configparser.MissingSectionHeaderError):
        yield f"{file} line {error.lineno}: a key stands before the first [Section]. Write the section above it."
    elif isinstance(error, configparser.ParsingError):
        for number, line in error.errors:
            bare = line[1:-1].removesuffix("\\n").removesuffix("\\r")  # the line comes as Python would write it
            yield f"{file} line {number}: {shown('', bare)} is neither [Section] nor key = value. Correct or delete it."
    else:
        yield f"{file} cannot be read: {error}."


def _take(draft: Draft, file: str, sections: dict[str, dict[str, str]]) -> None:
    """Put the lines of one file into the draft by the keys' own spelling; unknown names become problems."""
    for written, lines in sections.items():
        section = next((name for name in SECTIONS if name.casefold() == written.strip().casefold()), None)
        if section != written:
            draft.problems.append(_unknown_section(file, written, section))
        for name, text in lines.items() if section else ():
            found = find(section or "", name)
            if found is None:
                draft.problems.append(_unknown_key(file, section or "", name, text))
            else:
                draft.entries[found[0].section, spell(*found)] = Entry(text, file)


def _unknown_section(file: str, written: str, section: str | None) -> str:
    if section:
        return f"{file} [{shown('', written)}]: sections are spelt exactly. Write [{section}]."
    if written == "DEFAULT":
        return f"{file} [DEFAULT]: a section for all sections is not allowed. Write each key under its own section."
    close = nearest(written, SECTIONS)
    hint = f"Did you mean [{close}]?" if close else f"Allowed are {', '.join(f'[{name}]' for name in SECTIONS)}."
    return f"{file} [{shown('', written)}]: there is no such section. {hint}"


def _unknown_key(file: str, section: str, name: str, text: str) -> str:
    place = f"{file} [{section}] {shown('', name)} = {shown(name, text)}: there is no such key"
    elsewhere = [other for other in SECTIONS if find(other, name)]
    if elsewhere:
        return f"{place} here. It belongs under [{elsewhere[0]}]."
    # The numbers are put in the candidates, so that gun3_max_powr finds gun3_max_power.
    parts = tuple(re.findall(r"\d+", name)) or ("1",)
    known = tuple(_spelt_like(key, parts) for key in KEYS if key.section == section)
    close = nearest(name, known)
    return f"{place}. Did you mean {close}?" if close else f"{place}. Allowed are {', '.join(known)}."


def _spelt_like(key: Key, parts: tuple[str, ...]) -> str:
    needed = len(limits(key, 1, 1))
    return spell(key, (*parts, *parts)[:needed]) if needed else key.name


# --- lines to values ----------------------------------------------------------------------------------------------


def _row(section: str, name: str) -> Key:
    found = find(section, name)
    assert found is not None
    return found[0]


def _set_counts(draft: Draft) -> None:
    """The two counts come first: they say which numbered keys there are."""
    for name in ("gun_count", "module_count"):
        _read_value(draft, _row("General", name), name, ())


def _read_values(draft: Draft, folder: Path) -> None:
    guns = draft.get("General", "gun_count")
    modules = draft.get("General", "module_count")
    _refuse_surplus(draft, guns, modules)
    for key in KEYS:
        if key.name not in ("gun_count", "module_count"):
            for parts in numbers(key, guns or 6, modules or 9):
                if key.name != "DN" or (key.section, spell(key, parts)) not in draft.entries:
                    _read_value(draft, key, spell(key, parts), parts)
    for section, name in list(draft.entries):
        key = _row(section, name)
        if "NAME" in key.name or key.name == "DN":
            _read_value(draft, key, name, (name[1:],))
    for section, name in [place for place, value in draft.values.items() if isinstance(value, Path)]:
        _locate(draft, _row(section, name), name, folder)


def _refuse_surplus(draft: Draft, guns: int | None, modules: int | None) -> None:
    """Numbered keys of guns and modules that do not exist: a problem, or dropped with what the local file took away."""
    for (section, name), entry in list(draft.entries.items()):
        key, parts = find(section, name) or (None, ())
        if key is None or not parts or "NAME" in key.name or key.name == "DN":
            continue
        for part, count, gone, word in _counted(key, parts, draft, guns, modules):
            if count is None or int(part) <= count:
                continue
            if not (int(part) in gone and entry.file == draft.main_file):
                draft.refuse(section, name, f"there is no {word} {part}. There are {count} ({word}_count)")
            draft.entries.pop((section, name), None)
            break


def _counted(
    key: Key, parts: tuple[str, ...], draft: Draft, guns: int | None, modules: int | None
) -> Iterator[tuple[str, int | None, frozenset[int], str]]:
    for part, letter in zip(parts, re.findall(r"gun|module", key.name), strict=True):
        if letter == "gun":
            yield part, guns, draft.dropped_guns, "gun"
        else:
            yield part, modules, draft.dropped_modules, "module"


def _read_value(draft: Draft, key: Key, name: str, parts: tuple[str, ...]) -> None:
    """Put one value into the draft, from its line or by default, or a problem."""
    entry = draft.entries.get((key.section, name))
    if entry is None:
        draft.values[key.section, name] = _default(draft, key, parts)
        return
    try:
        value = parse(key, entry.text)
    except ValueError as error:
        draft.refuse(key.section, name, f"{error}. {_advice(draft, key, parts)}")
        return
    if key.name == "DN" and entry.file == draft.main_file:
        value = tuple(gun for gun in value if gun not in draft.dropped_guns)
    draft.values[key.section, name] = value


def _advice(draft: Draft, key: Key, parts: tuple[str, ...]) -> str:
    value = _default(draft, key, parts)
    default = key.default_note if value is None else show_window(value) if key.kind is Kind.WINDOW else show(value)
    return f"Write {key.allowed}, or delete the line (default: {default})"


def _default(draft: Draft, key: Key, parts: tuple[str, ...]) -> Any:
    """What holds when no file names the key; None = nothing."""
    guns, modules = draft.get("General", "gun_count") or 6, draft.get("General", "module_count") or 9
    if key.default == "N":
        return int(parts[0])
    if key.default:
        return parse(key, key.default)
    if key.name == "max_modules_per_gun":
        return modules
    if key.name == "gun_priority":
        return tuple(range(1, guns + 1))
    if key.name == "moduleN_protocol":
        return draft.get("CAN", "protocol")
    if key.name == "DN":
        first = 2 * int(parts[0]) - 1
        return tuple(gun for gun in (first, first + 1) if gun <= guns)
    return None


# --- paths --------------------------------------------------------------------------------------------------------


def _locate(draft: Draft, key: Key, name: str, folder: Path) -> None:
    """Make a path of the files absolute and look at the file it names."""
    try:
        path = draft.values[key.section, name] = absolute(draft[key.section, name], folder)
        _CHECKS[key.kind](path)
        if (key.section, name) == ("Dashboard", "token_file"):
            _check_token(path)
    except (OSError, ValueError, RuntimeError) as error:
        draft.values.pop((key.section, name), None)
        draft.refuse(key.section, name, getattr(error, "strerror", None) or str(error))


def _tidy(path: Path) -> Path:
    """Absolute and without "..", but with its links: the folder of a link stays the folder when an update moves it."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow the links


def absolute(path: Path, folder: Path) -> Path:
    """A path as config.ini means it: ~ is the home folder, the rest is relative to the folder of config.ini."""
    return _tidy(folder / path.expanduser())


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"there is no file {path}. Put it there or correct the path")
    if not os.access(path, os.R_OK):
        raise ValueError(f"the user of the station may not read {path}. Run: chown $USER {path}")
    if path.stat().st_mode & 0o002:
        raise ValueError(f"everybody on this computer may write {path}. Run: chmod o-w {path}")


def _check_secret(path: Path) -> None:
    _check_file(path)
    if path.stat().st_mode & 0o004:
        raise ValueError(f"everybody on this computer may read {path}. Run: chmod 600 {path}")


def _check_token(path: Path) -> None:
    """What stands in the file is looked at here and kept nowhere; the page process reads it by itself."""
    with path.open("rb") as file:
        token = file.readline(LONGEST_TOKEN + 2).strip()
    if not re.fullmatch(rb"[!-~]{%d,%d}" % (SHORTEST_TOKEN, LONGEST_TOKEN), token):
        raise ValueError(
            f"its first line is no token: {SHORTEST_TOKEN} to {LONGEST_TOKEN} letters, digits, signs, no blank. "
            f"Run: (umask 077; openssl rand -hex 16 > {path})"
        )


def _check_output(path: Path) -> None:
    if path.is_dir():
        raise ValueError(f"{path} is a folder. Name a file")
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent}. Make it or correct the path")


_CHECKS: dict[Kind, Callable[[Path], None]] = {
    Kind.FILE: _check_file,
    Kind.SECRET_FILE: _check_secret,
    Kind.OUTPUT_FILE: _check_output,
}


# --- values to settings -------------------------------------------------------------------------------------------


def _build(draft: Draft, folder: Path) -> Settings:
    def plain(section: str) -> dict[str, Any]:
        """The keys without numbers of one section by the names of their fields."""
        rows = [key for key in KEYS if key.section == section and not _is_family(key)]
        return {key.attribute: draft[section, key.name] for key in rows if draft[section, key.name] is not None}

    return Settings(
        folder=folder,
        power_limits=PowerLimits(_by_gun(draft, "max_power"), _by_gun(draft, "max_current"), **plain("PowerLimits")),
        general=General(**plain("General")),
        mqtt=Mqtt(**plain("MQTT")),
        devices=Devices({name: draft[section, name] for section, name in draft.values if section == "Devices"}),
        allocation=AllocationSettings(**plain("Allocation")),
        can=Can(**plain("CAN"), options=_options(draft)),
        modules=Modules(_modules(draft), **plain("Modules")),
        gpio=Gpio(
            **plain("GPIO"), direct_pins=_direct(draft, "pin"), direct_feedback_pins=_direct(draft, "feedback_pin")
        ),
        safety=Safety(**plain("Safety")),
        dashboard=Dashboard(**plain("Dashboard")),
        history=History(**plain("History")),
        logging=Logging(**plain("Logging")),
        deploy=Deploy(**plain("Deploy")),
        given={section: frozenset(draft.section(section)) for section in SECTIONS},
    )


def _is_family(key: Key) -> bool:
    return "NAME" in key.name or bool(limits(key, 1, 1))


def _by_gun(draft: Draft, what: str) -> dict[int, float]:
    return {gun: draft["PowerLimits", f"gun{gun}_{what}"] for gun in range(1, draft["General", "gun_count"] + 1)}


def _options(draft: Draft) -> dict[str, str]:
    return {
        name.removeprefix("option_"): draft["CAN", name] for name in draft.section("CAN") if name.startswith("option_")
    }


def _modules(draft: Draft) -> dict[int, Module]:
    def value(number: int, what: str) -> Any:
        return draft["Modules", f"module{number}_{what}"]

    return {
        number: Module(number, value(number, "address"), value(number, "protocol"), value(number, "enabled"))
        for number in range(1, draft["General", "module_count"] + 1)
    }


def _direct(draft: Draft, end: str) -> dict[tuple[int, int], int]:
    guns, modules = draft["General", "gun_count"], draft["General", "module_count"]
    pins = {
        (gun, module): draft["GPIO", f"gun{gun}_module{module}_{end}"]
        for gun in range(1, guns + 1)
        for module in range(1, modules + 1)
    }
    return {place: pin for place, pin in pins.items() if pin is not None}
