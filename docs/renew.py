"""Job: the parts of README.md and docs/ that come from the code. `make docs` writes them; a test compares.

Thread: MainThread. Lock: none. Units: none.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

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


def pages() -> Iterator[tuple[Path, str]]:
    """(file, its text with the generated part as it should be)"""
    for name, marker, part in (
        ("README.md", "config", markdown_table()),
        ("docs/architecture.md", "planning", planning_table()),
        ("docs/switching.md", "table", switching_table()),
    ):
        path = ROOT / name
        yield path, _between_markers(path.read_text(), marker, part)
    yield ROOT / "docs/faults.md", "\n".join(markdown_lines()) + "\n"


def _between_markers(text: str, marker: str, part: str) -> str:
    """Raises ValueError when the page has no such markers."""
    begin, end = f"<!-- {marker} -->\n", f"<!-- /{marker} -->"
    if begin not in text or end not in text:
        raise ValueError(f"no markers {begin.strip()} and {end}")
    return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: begin + part + end, text, flags=re.DOTALL)


if __name__ == "__main__":
    for page, renewed in pages():
        page.write_text(renewed)
