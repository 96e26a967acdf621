"""What people read agrees with the code: tables, commands, files, sequence, faults."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import deploy
import main
from docs.renew import pages

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]


def between(text: str, name: str) -> str:
    """What stands between the markers of this name, without code fences."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", text, re.DOTALL)
    assert found, f"no markers named {name}"
    return found.group(1).replace("```\n", "")


def commands() -> list[str]:
    """Every line of the code blocks without a language, joined over their indentation."""
    blocks = re.findall(r"^ *```\n(.*?)^ *```", README, re.DOTALL | re.MULTILINE)
    return [line.strip() for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize(("page", "renewed"), list(pages()), ids=lambda value: getattr(value, "name", ""))
def test_what_comes_from_the_code_is_up_to_date(page: Path, renewed: Callable[[], str]) -> None:
    assert page.read_text() == renewed(), f"{page.name} is behind the code: type make docs"


def test_every_line_of_the_tree_exists_and_nothing_at_the_root_is_left_out() -> None:
    told = {line.split()[0] for line in between(README, "tree").splitlines()}
    assert [name for name in told if not (ROOT / name.rstrip("/")).exists()] == []
    packages = {f"{path.parent.name}/" for path in ROOT.glob("*/__init__.py")}
    assert {path.name for path in ROOT.glob("*.py")} | packages <= told


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([\w.$()/-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)) | {".venv"}
    named = {line.split()[1] for line in commands() if line.startswith("make ")}
    assert named <= targets
    assert {"run", "test", ".venv"} <= named


def test_options_and_sub_commands_exist() -> None:
    options = set(re.findall(r"--\w[\w-]*", main._parser().format_help()))
    for line in commands():
        words = line.split("#")[0].split()
        if "main.py" in words:
            assert {word for word in words if word.startswith("--")} <= options
    for option in ("--speed", "--cars", "--seed", "--protocol", "--broker", "--check"):
        assert option in README
        assert option in options
    for word in re.findall(r"python deploy\.py (\w+)", README):
        assert word in deploy._parser().format_help()


def test_files_that_commands_take_exist() -> None:
    for line in commands():
        for name in re.findall(r"(?:contrib|docs)/[\w.-]+", line):
            assert (ROOT / name).is_file(), line


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_test_that_the_hazards_name_exists() -> None:
    page = (ROOT / "docs" / "hazards.md").read_text()
    named = re.findall(r"`(test_\w+)::(\w+)(?:\[(\w+)\])?`", page)
    assert len(named) > 40
    for file, test, scenario in named:
        assert f"def {test}(" in (ROOT / "tests" / f"{file}.py").read_text(), f"{file}::{test}"
        assert not scenario or (ROOT / "tests" / "scenarios" / f"{scenario}.ini").is_file(), scenario


def test_every_row_of_bad_input_has_a_test_that_exists() -> None:
    page = (ROOT / "docs" / "bad-input.md").read_text()
    rows = re.findall(r"^\| B(\d+) \|.*`(test_\w+)::(\w+)` \|$", page, re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(1, 69))
    for _, file, test in rows:
        assert f"def {test}(" in (ROOT / "tests" / f"{file}.py").read_text(), f"{file}::{test}"
    config = (ROOT / "tests" / "test_config_manager.py").read_text()
    for number in range(37, 55):
        assert f"B{number}" in config, f"B{number}"


def test_every_hazard_has_its_row() -> None:
    rows = re.findall(r"^\| H(\d+) \|", (ROOT / "docs" / "hazards.md").read_text(), re.MULTILINE)
    assert [int(row) for row in rows] == list(range(1, 47))


def test_files_that_the_docs_name_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"\b((?:planning|simulator|tests|contrib)/[\w./-]+\.\w+)", page.read_text()):
            assert (ROOT / name).exists(), f"{page.name}: {name}"
