"""Job: measure, print the tables and renew them in docs/bench.md. `python -m bench [PART ...]`, all parts without one.

Thread: MainThread. Lock: none. Units: none. A part is a module of this package with `tables()`.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

from bench.table import Table

PARTS = ("allocation", "trace", "day", "station", "modules", "speed", "page")
ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "bench.md"


def machine() -> str:
    """What a figure counts with: the day, the machine, Python, the commit."""
    cpu = re.search(r"^model name\s*: (.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    model = " ".join((cpu[1] if cpu else platform.machine()).split())
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return (
        f"{date.today():%Y-%m-%d}, {os.cpu_count()} x {model}, Linux {'.'.join(platform.release().split('.')[:2])}, "
        f"Python {platform.python_version()}, commit {commit or 'unknown'}"
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def renewed(page: str, part: str, tables: list[Table], where: str) -> str:
    """The page with this part's tables as they are now. Raises ValueError when it has no place for them."""
    begin, end = f"<!-- {part} -->\n", f"<!-- /{part} -->"
    if begin not in page or end not in page:
        raise ValueError(f"docs/bench.md has no place for {part}: it needs the lines {begin.strip()} and {end}")
    text = begin + f"*{where}*\n\n" + "\n".join(table.markdown() for table in tables) + end
    return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: text, page, flags=re.DOTALL)


def main() -> int:
    parts = sys.argv[1:] or list(PARTS)
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        print(f"No such part: {', '.join(unknown)}. There are {', '.join(PARTS)}.")
        return 2
    for part in parts:
        tables = importlib.import_module(f"bench.{part}").tables()
        for table in tables:
            print(table.markdown(), flush=True)
        PAGE.write_text(renewed(PAGE.read_text(), part, tables, machine()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
