"""Job: the parts of README.md and docs/ that come from the code. `make docs` writes them; a test compares.

Thread: MainThread. Lock: none. Units: none.
"""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench import fault_matrix
from planning.config_text import markdown_table
from planning.faults import markdown_lines
from planning.transition import table_lines

ROOT = Path(__file__).parent.parent


def planning_table() -> str:
    """Every file of planning/ with the job that its docstring names."""
    lines = ["| file | job |", "| --- | --- |"]
    for path in sorted((ROOT / "planning").glob("[a-z]*.py")):
        job = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0]
        lines.append(f"| {path.name} | {' '.join(job.split()).removeprefix('Job: ')} |")
    return "\n".join(lines) + "\n"


def switching_table() -> str:
    return "```\n" + "\n".join(table_lines()) + "\n```\n"


def scenarios_page() -> str:
    """Every situation that the tests play through, with its end and its worst times."""
    lines = [
        "# Scenarios", "",
        "Written by `make docs` from `tests/scenarios/`. Each is played against the simulated station by",
        "`tests/test_station_scenarios.py`; the times are the limits that it holds.", "",
        "| scenario | situation and end | worst time |", "| --- | --- | --- |",
    ]  # fmt: skip
    for path in sorted((ROOT / "tests" / "scenarios").glob("*.ini")):
        text = path.read_text(encoding="utf-8")
        story = " ".join(line.removeprefix("#").strip() for line in text.split("[scenario]")[0].splitlines())
        within = re.search(r"^\[within\]\n(.*?)(?=^\[)", text, re.MULTILINE | re.DOTALL)
        limits = re.findall(r"within ([\d.]+) = (.*)", within[1]) if within else []
        worst = "; ".join(f"`{what}` {limit} s" for limit, what in limits)
        lines.append(f"| {path.stem} | {story.strip()} | {worst} |")
    return "\n".join(lines) + "\n"


def pages() -> Iterator[tuple[Path, Callable[[], str]]]:
    """(file, what makes its text with the generated part as it should be)"""
    for name, marker, part in (
        ("README.md", "config", markdown_table),
        ("docs/architecture.md", "planning", planning_table),
        ("docs/switching.md", "table", switching_table),
    ):
        yield ROOT / name, partial(_between_markers, ROOT / name, marker, part)
    yield ROOT / "docs/scenarios.md", scenarios_page
    yield ROOT / "docs/modules.md", fault_matrix.page
    yield ROOT / "docs/faults.md", lambda: "\n".join(markdown_lines()) + "\n"


def _between_markers(page: Path, marker: str, part: Callable[[], str]) -> str:
    """Raises ValueError when the page has no such markers."""
    text = page.read_text()
    begin, end = f"<!-- {marker} -->\n", f"<!-- /{marker} -->"
    if begin not in text or end not in text:
        raise ValueError(f"no markers {begin.strip()} and {end}")
    return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: begin + part() + end, text, flags=re.DOTALL)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    for page, renewed in pages():
        page.write_text(renewed())
