"""Job: what the real program records on the real clock is repeated byte for byte, after an end in order and a kill -9.

Thread: the test's. Lock: none. Units: s, kW.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rig import PROJECT, Rig, rig, wait_for

from simulator.recorded_day import read_day

pytestmark = pytest.mark.process

TARGET_V = 680


def replayed(folder: Path, *options: str) -> tuple[int, str]:
    """`python -m simulator.replay` over every day that lies in the folder; the worst code and all words."""
    code, words = 0, ""
    for path in sorted(folder.glob("inputs-*.log")):
        done = subprocess.run(
            [sys.executable, "-m", "simulator.replay", str(path), "--config", str(folder / "config.ini"), *options],
            cwd=PROJECT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        code, words = max(code, done.returncode), words + done.stdout + done.stderr
    return code, words


def serve(station: Rig, gun: int, kw: float) -> None:
    station.say.charge(f"D{(gun + 1) // 2}", (gun - 1) % 2 + 1, kw, TARGET_V)
    station.plant.wait_power(gun, kw, 25.0)


def test_the_record_of_the_real_program_repeats_after_an_end_and_after_a_kill(tmp_path: Path) -> None:
    chance = random.Random(11)
    with rig(tmp_path) as station:
        assert station.main is not None
        folder = station.plant.folder
        serve(station, 1, 70)
        station.say.tell_once("vesec/station/site_limit/central/set", 120)
        station.say.tell("vesec/1/demand/D1", 30)
        station.say.charge("D2", 1, 100, TARGET_V)
        station.plant.wait_power(3, 100, 25.0)
        assert station.main.end() == 0
        code, words = replayed(folder)
        assert code == 0, words
        assert "THE SAME" in words and "torn" not in words

        station.say.tell("vesec/1/demand/D2", 50)
        station.start_main()
        serve(station, 1, 40)
        moment_s = time.monotonic() + chance.uniform(0.0, 1.0)
        wait_for(lambda: time.monotonic() >= moment_s, "a moment of chance", 5.0)
        station.main.kill()
        station.start_main()
        serve(station, 1, 40)
        assert station.main.end() == 0
        code, words = replayed(folder)
        print(words)
        assert code == 0, words
        lives = [run for path in sorted(folder.glob("inputs-*.log")) for run in read_day(path)]
        assert len(lives) >= 3
        assert all(run.decisions >= 10 and run.proven for run in lives)
        assert "THE SAME" in words

        code, words = replayed(folder, "--rule", "fair_share", "--without-module", "4")
        assert code == 0, words
        assert "What if: --rule fair_share --without-module 4" in words
