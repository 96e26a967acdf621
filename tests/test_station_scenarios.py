"""Job: every scenario in `tests/scenarios/` runs through the whole station, and the referee has nothing to say.

Thread: the test's. Lock: none. Units: as in the files.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from scenario import Scenario

FILES = sorted((Path(__file__).parent / "scenarios").glob("*.ini"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path, tmp_path: Path) -> None:
    scenario = Scenario(path, tmp_path)
    scenario.run()
    for deadline in scenario.deadlines:
        print(f"{path.stem}: '{deadline.line}' after {deadline.took_s:.2f} s (at most {deadline.limit_s:g} s)")


def test_there_are_forty_scenarios_of_faults() -> None:
    faults = [path for path in FILES if "kind = fault" in path.read_text()]
    assert len(faults) >= 40
    for path in faults:
        assert path.read_text().startswith("# "), f"{path.name} begins with its situation and its end in words"
