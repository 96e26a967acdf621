"""The delivered config.ini is the reference: it and the table of keys say the same."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from config_manager import load
from planning.config_keys import KEYS, SECTIONS, Key, find, limits, numbers, spell
from planning.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "config.ini").read_text(encoding="utf-8")
#: A key in force or shown behind a #; a sentence in a comment has no = after its first word.
LINE = re.compile(r"^(# )?([a-z][a-z0-9_]*|D[0-9]+) = (.*)$")


def blocks() -> dict[tuple[str, str], tuple[str, list[tuple[str, str, bool]]]]:
    """(section, row) -> the comment above its first line, and its lines as (name, value, in force)."""
    found: dict[tuple[str, str], tuple[str, list[tuple[str, str, bool]]]] = {}
    section, comment = "", ""
    for line in TEXT.splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section, comment = header[1], ""
        elif match := LINE.match(line):
            row = find(section, match[2])
            assert row is not None, f"[{section}] {match[2]} is no key"
            entry = found.setdefault((section, row[0].name), (comment, []))
            entry[1].append((match[2], match[3], match[1] is None))
        elif line.startswith("#"):
            comment += " " + line.removeprefix("#").strip()
        else:
            comment = ""
    return found


BLOCKS = blocks()


@pytest.mark.parametrize("key", KEYS, ids=lambda key: f"{key.section}-{key.name}")
def test_each_key_stands_there_with_meaning_range_and_default(key: Key) -> None:
    comment, lines = BLOCKS[key.section, key.name]
    assert key.meaning.casefold() in comment.casefold()
    assert f"Allowed: {key.allowed}." in comment
    assert f"Default: {key.default_shown}." in comment
    for name, value, in_force in lines:
        if in_force and key.default:
            row = find(key.section, name)
            assert value == (row[1][0] if row and key.default == "N" else key.default)


@pytest.mark.parametrize("key", [key for key in KEYS if key.default], ids=lambda key: f"{key.section}-{key.name}")
def test_keys_with_a_default_are_in_force_for_every_gun_and_module(key: Key) -> None:
    # The simulated station writes files of its own unless these two are set.
    in_force = (key.section, key.name) not in {("Logging", "file"), ("History", "url")}
    expected = [(spell(key, parts), in_force) for parts in numbers(key, 6, 9)]
    assert [(name, active) for name, _, active in BLOCKS[key.section, key.name][1]] == expected


def test_keys_without_a_default_are_shown_but_not_in_force() -> None:
    for key in KEYS:
        if not key.default and key.name != "DN":
            assert not any(active for _, _, active in BLOCKS[key.section, key.name][1]), key.name


def test_the_delivered_file_is_the_same_as_an_almost_empty_one(tmp_path: Path) -> None:
    (tmp_path / "config.ini").write_text(TEXT, encoding="utf-8")
    delivered = load(tmp_path / "config.ini")
    (tmp_path / "config.ini").write_text("[General]\n", encoding="utf-8")
    empty = load(tmp_path / "config.ini")
    for field in fields(Settings):
        if field.name != "given":
            assert getattr(delivered, field.name) == getattr(empty, field.name)
    assert not delivered.given["Logging"] & {"file"}
    assert not delivered.given["History"] & {"url"}


def test_sections_stand_in_the_order_of_the_table() -> None:
    assert tuple(re.findall(r"^\[(\w+)\]$", TEXT, re.MULTILINE)) == SECTIONS


def test_examples_behind_a_hash_are_possible_values(tmp_path: Path) -> None:
    """Every shown value can be copied as it stands (files apart, which must exist, and pins of the other driver)."""
    for (section, row), (_, lines) in BLOCKS.items():
        for name, value, active in lines:
            key = next(key for key in KEYS if (key.section, key.name) == (section, row))
            if active or row.endswith("_file") or "gunG" in row or (limits(key, 1, 1) and key.default):
                continue
            (tmp_path / "config.ini").write_text(f"[{section}]\n{name} = {value}\n", encoding="utf-8")
            assert name in load(tmp_path / "config.ini").given[section]


def test_the_public_broker_is_called_public() -> None:
    assert "THE DEFAULT BROKER IS PUBLIC" in TEXT


def test_lines_fit_a_terminal() -> None:
    assert max(len(line) for line in TEXT.splitlines()) <= 120
