"""The page's files as they lie there: light, nothing from elsewhere, nothing inline, words for all that can be told,
and colours that everybody can tell apart. What a browser makes of them: test_page_browser.py.
"""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import pytest
from colours import EYES, apart, contrast

from monitoring import schema

PAGE = Path(__file__).parent.parent / "monitoring" / "page"
FILES = sorted(PAGE.iterdir())
SCRIPTS = sorted(PAGE.glob("*.js"))
HTML = (PAGE / "index.html").read_text(encoding="utf-8")
CSS = (PAGE / "page.css").read_text(encoding="utf-8")
#: all that the page may weigh, uncompressed
MOST_BYTES = 200_000
#: the name of SVG, which nobody fetches
SVG = "http://www.w3.org/2000/svg"


def test_it_is_light() -> None:
    weight = sum(path.stat().st_size for path in FILES)
    print(f"{len(FILES)} files, {weight} bytes")
    assert weight <= MOST_BYTES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_is_fetched_from_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace(SVG, "")
    assert re.findall(r"\b(?:https?|wss?):", text) == []
    assert re.findall(r"""["'(]//""", text) == []


def test_nothing_is_inline() -> None:
    """The content security policy allows nothing else, and it shall stay so strict."""
    assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", HTML) == []
    assert re.findall(r"<style", HTML) == []
    assert re.findall(r"\s(?:style|on\w+)=", HTML) == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_text_never_becomes_markup(path: Path) -> None:
    doors = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setHTML|DOMParser|srcdoc"
    text = path.read_text(encoding="utf-8")
    assert re.findall(doors, text) == []
    assert re.findall(r"""setAttribute\([^,]+, ["'](?:style|on\w+)["']""", text) == []


@pytest.mark.parametrize("path", [*SCRIPTS, PAGE / "page.css"], ids=lambda path: path.name)
def test_every_file_opens_with_its_job(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("/* Job: ")


def test_every_script_is_used_and_fetched_at_once() -> None:
    """One round trip: a chain of imports would cost one for each link."""
    preloaded = set(re.findall(r'rel="modulepreload" href="page/([\w.]+)"', HTML)) | {"page.js"}
    texts = [path.read_text(encoding="utf-8") for path in SCRIPTS]
    imported = {name for text in texts for name in re.findall(r'from "\./([\w.]+)"', text)}
    assert imported | {"page.js"} == preloaded == {path.name for path in SCRIPTS}


def test_every_place_that_scripts_look_for_exists() -> None:
    asked = {each for path in SCRIPTS for each in re.findall(r'byId\("([\w-]+)"\)', path.read_text(encoding="utf-8"))}
    assert asked - set(re.findall(r'\bid="([\w-]+)"', HTML)) == set()


# --- words ------------------------------------------------------------------------------------------------------------


def words_of(table: str) -> set[str]:
    """The keys of a table of words.js."""
    text = (PAGE / "words.js").read_text(encoding="utf-8")
    found = re.search(rf"export const {table} = {{\n(.*?)\n}};", text, re.DOTALL)
    assert found, table
    return set(re.findall(r"^  (\w+):", found[1], re.MULTILINE))


def literals(field: Any) -> set[str]:
    return set(get_args(field.annotation))


@pytest.mark.parametrize(
    ("table", "field"),
    [
        ("STATION_STATES", schema.StationWords.model_fields["state"]),
        ("GUN_STATES", schema.Gun.model_fields["state"]),
        ("MODULE_STATES", schema.Module.model_fields["state"]),
        ("CONTACT_STATES", schema.CrosspointView.model_fields["state"]),
        ("RULES", schema.StationWords.model_fields["rule"]),
    ],
)
def test_there_is_a_word_for_every_state(table: str, field: Any) -> None:
    assert words_of(table) == literals(field)


def test_every_state_of_a_contactor_has_its_blade() -> None:
    text = (PAGE / "contactor.js").read_text(encoding="utf-8")
    blades = re.search(r"const BLADE = {\n(.*?)\n}", text, re.DOTALL)
    assert blades
    states = set(re.findall(r"^  (\w+):", blades[1], re.MULTILINE))
    assert states == literals(schema.CrosspointView.model_fields["state"])


# --- colours ----------------------------------------------------------------------------------------------------------

LIGHT, DARK = re.findall(r":root {\n(.*?)\n *}", CSS, re.DOTALL)[:2]
SCHEMES = {name: dict(re.findall(r"--([\w-]+): (#\w{6});", text)) for name, text in (("light", LIGHT), ("dark", DARK))}
GUNS = [f"gun{n}" for n in range(1, 7)]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_stands_out(scheme: str) -> None:
    """WCAG AA."""
    colours = SCHEMES[scheme]
    pairs = [(ink, ground) for ink in ("text", "soft", "action") for ground in ("ground", "panel", "inset")]
    pairs += [(ink, ground) for ink in ("good", "warn", "bad") for ground in ("panel", "inset", f"{ink}-ground")]
    pairs += [(ink, f"{mood}-ground") for ink in ("text", "soft") for mood in ("warn", "bad")]
    pairs += [("action-ink", "action"), ("panel", "bad")]
    pairs += [(f"ink{n}", f"gun{n}") for n in range(1, 7)]
    weak = {f"{ink} on {ground}": round(contrast(colours[ink], colours[ground]), 2) for ink, ground in pairs}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_lines_and_bars_stand_out(scheme: str) -> None:
    """WCAG AA for what is no text."""
    colours = SCHEMES[scheme]
    pairs = [(ink, ground) for ink in (*GUNS, "focus", "strong-line") for ground in ("panel", "inset")]
    weak = {f"{ink} on {ground}": round(contrast(colours[ink], colours[ground]), 2) for ink, ground in pairs}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < 3.0} == {}


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_guns_can_be_told_apart(scheme: str, eyes: str) -> None:
    """By colour alone, though none of them ever stands without its number."""
    colours = SCHEMES[scheme]
    found = {(one, other): apart(colours[one], colours[other], eyes) for one, other in combinations(GUNS, 2)}
    nearest = min(found, key=lambda pair: found[pair])
    print(f"{scheme}, {eyes}: nearest {nearest} {found[nearest]:.1f}")
    assert found[nearest] >= 12.0
