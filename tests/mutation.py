"""Job: change the code of the interlock, the switching sequence and the limits in small ways, one at a time, and count
which changes no test notices. Run by `make mutants`; what mutmut shall change and try stands in pyproject.toml.

Thread: its own. Lock: none. Units: none. Exit code 1 when an area falls below GOAL.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

GOAL = 0.90
MUTANTS = Path("mutants")
AREAS: Mapping[str, tuple[str, ...]] = {
    "interlock": ("planning.interlock.*", "planning.contacts.*", "contactor_controller.xǁContactorControllerǁ*"),
    "switching sequence": ("planning.transition.*",),
    "limits": (
        "planning.sharing.*", "planning.drive.*", "planning.orders.*", "planning.gun_control.*",
        "planning.claims.xǁBudgetǁ*", "planning.claims.xǁClaimǁ*",
    ),
}  # fmt: skip
#: mutmut's exit codes. A change that no test reaches (33, 5) counts as one that nobody notices.
NOTICED = {1: "killed", 3: "killed", 24: "timeout", -24: "timeout", 36: "timeout", 152: "timeout", 255: "timeout"}
MISSED = {0: "survived", 5: "no test", 33: "no test"}


def main() -> int:
    """Everything anew, or only what is named on the command line (patterns of mutmut's names)."""
    if not sys.argv[1:]:
        shutil.rmtree(MUTANTS, ignore_errors=True)
    patterns = sys.argv[1:] or [pattern for patterns in AREAS.values() for pattern in patterns]
    mutmut = Path(sys.executable).with_name("mutmut")
    subprocess.run([str(mutmut), "run", "--max-children", "2", *patterns], check=True, stdout=subprocess.DEVNULL)
    results = dict(_results())
    scores = [_tell(area, {name: code for name, code in results.items() if _is_in(name, area)}) for area in AREAS]
    return 0 if all(score >= GOAL for score in scores) else 1


def _results() -> Iterator[tuple[str, int]]:
    for path in sorted(MUTANTS.rglob("*.meta")):
        codes = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
        yield from ((name, code) for name, code in codes.items() if code is not None)


def _is_in(name: str, area: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in AREAS[area])


def _tell(area: str, results: Mapping[str, int]) -> float:
    """Print one area and what was missed in it; the share that was noticed."""
    words = Counter((NOTICED | MISSED).get(code, f"exit code {code}") for code in results.values())
    noticed = sum(code in NOTICED for code in results.values())
    score = noticed / len(results) if results else 0.0
    counts = ", ".join(f"{count} {word}" for word, count in words.most_common())
    print(f"{area}: {noticed} of {len(results)} noticed, {score:.1%} ({counts})")
    for name, code in results.items():
        if code not in NOTICED:
            print(f"    {name}: {MISSED.get(code, code)}")
    return score


if __name__ == "__main__":
    sys.exit(main())
