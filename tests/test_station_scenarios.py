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
    Scenario(path, tmp_path).run()


def test_there_are_scenarios() -> None:
    assert len(FILES) >= 15
