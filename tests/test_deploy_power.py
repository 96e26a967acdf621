"""Power cuts at any point of an update: what starts next is always whole, and the site's settings stay.

Thread: the test's. Lock: none. Units: s.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deploy_rig import PROJECT, Site, shared_venv, site, wait_for

from updates import journal as books
from updates.home import Home, link_current, write_manifest
from updates.journal import MOST_STARTS, Journal, Phase, Seen
from updates.switch import before_start
from updates.terms import Refused

#: Ends the program with SIGKILL at its n-th lasting step: what a power cut does between any two of them.
AT_STEP = """
import os, signal, sys, deploy
left, kept = [int(sys.argv.pop(1))], {}
def counted(name):
    kept[name] = getattr(os, name)
    def step(*words, **more):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return kept[name](*words, **more)
    return step
for name in ("fsync", "rename", "replace", "symlink", "unlink", "mkdir"):
    setattr(os, name, counted(name))
code = deploy.main()
print(f"steps {-left[0]}")
sys.exit(code)
"""


@pytest.fixture
def here(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path, shared_venv(tmp_path_factory.getbasetemp().parent / "shared-venv")) as made:
        yield made


def at_step(here: Site, step: int) -> list[str]:
    """The command of an update that is killed at its n-th step; 0: at none, and it says how many there are."""
    command = here.command("update")
    command[1:2] = ["-c", AT_STEP, str(step)]
    return ["env", f"PYTHONPATH={PROJECT}", *command]


def cut(here: Site, command: list[str], after_s: float) -> None:
    """Let it run until it is killed by itself or after a time; then kill everything else that works in HOME."""
    process = here.popen(command)
    try:
        process.communicate(timeout=after_s)
    except subprocess.TimeoutExpired:
        here.kill_all()
        process.communicate()
    here.stop_all()


def storm(here: Site, cuts: int, seed: int) -> None:
    """Cut the power again and again, half of the times after a random time, half at a random step."""
    chance, found = random.Random(seed), Counter[str]()
    here.start()
    newest = here.remote.commit()
    code, said = here.run(at_step(here, 0))
    assert code == 0, said
    steps = int(said.split()[-1])
    for number in range(cuts):
        before = here.settings
        newest = here.remote.commit(config__ini=f"# delivered, {number}\n[General]\npower = 40\n")
        # the switch itself is within the last 45 steps
        step = (0, chance.randint(1, steps), 0, chance.randint(steps - 45, steps))[number % 4]
        cut(here, at_step(here, step), chance.uniform(0.2, 2.2) if not step else 10.0)
        found[here.journal.phase.name if here.journal.phase else "NONE"] += 1
        here.start()
        assert here.runs == (here.home.running() or here.first), f"cut {number}"
        here.whole()
        assert here.settings == before, f"cut {number}"
        assert here.home.local.read_text().startswith("# of this site\n"), f"cut {number}"
    print(f"{cuts} cuts with seed {seed}, of {steps} steps: {dict(found)}")
    code, said = here.run(here.command("update"))
    assert (code, here.runs) == (0, newest), said
    assert here.journal.refused == {}, "no release is blamed for a power cut"
    assert len(found) > 2


def test_power_may_go_at_any_point(here: Site) -> None:
    storm(here, 20, seed=1)


@pytest.mark.soak
def test_power_may_go_at_any_of_200_points(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Four sites side by side, since they are mostly waiting."""
    venv = shared_venv(tmp_path_factory.getbasetemp().parent / "shared-venv")

    def at_one_site(seed: int) -> None:
        (tmp_path / str(seed)).mkdir()
        with site(tmp_path / str(seed), venv) as here:
            storm(here, 50, seed)

    with ThreadPoolExecutor() as pool:
        list(pool.map(at_one_site, (2, 3, 4, 5)))


# --- starts of an unconfirmed release ---------------------------------------------------------------------------------


def test_a_start_after_a_power_cut_is_judged_by_the_release_before(here: Site) -> None:
    """Nobody types deploy.py: the start itself sees to it that the release is confirmed or taken back.

    Then, much later, the card loses bits.
    """
    new = here.remote.commit()
    assert here.deploy("update")[0] == 0
    here.stop_all()
    books.save(here.home, replace(here.journal, phase=Phase.SWITCHED, good=(here.first,)))
    here.start()
    wait_for(lambda: here.journal.phase is Phase.CONFIRMED, "it is confirmed")
    assert here.journal.good == (here.first, new)
    assert here.runs == new
    here.stop_all()
    (here.home.release(new) / "main.py").write_text("")
    here.start()
    assert here.runs == here.first
    assert "is not as its manifest says" in here.journal.reason
    here.stop_all()
    (here.home.release(here.first) / "main.py").unlink()
    code, said = here.run([str(here.home.python_of(here.home.current)), "main.py", "--check"])
    assert code == 0
    assert f"Going on with the files in {here.home.folder}" in said, "the last way out"
    code, said = here.deploy("update")
    assert (code, here.runs) == (0, new), said
    here.whole()


OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Two confirmed releases; the newer one runs."""
    made = Home(tmp_path)
    for commit in (OLD, NEW):
        release = made.release(commit)
        release.mkdir(parents=True)
        (release / "main.py").write_text(commit)
        (release / "config.ini").write_text(f"# {commit}\n")
        write_manifest(release)
        made.python_of(release).parent.mkdir(parents=True, exist_ok=True)
        made.python_of(release).touch()
    link_current(made, NEW)
    books.save(made, Journal(phase=Phase.CONFIRMED, target=NEW, good=(OLD, NEW)))
    return made


def write(home: Home, **changed: Any) -> Journal:
    return books.save(home, replace(books.load(home), **changed))


def test_a_release_that_is_not_confirmed_in_three_starts_is_taken_back(home: Home) -> None:
    write(home, phase=Phase.SWITCHED, good=(OLD,))
    for start in range(1, MOST_STARTS + 1):
        journal = before_start(home, at_s=100.0)
        assert (journal.starts, home.running()) == (start, NEW)
        assert home.config.read_text() == f"# {NEW}\n"
    journal = before_start(home, at_s=100.0)
    assert (journal.phase, home.running()) == (Phase.FAILED, OLD)
    assert journal.refused == {NEW: "it was started 3 times and never confirmed"}
    assert home.config.read_text() == f"# {OLD}\n"
    assert before_start(home, at_s=100.0) == journal


@pytest.mark.parametrize("phase", [Phase.FETCHED, Phase.STAGED, Phase.TESTED, Phase.FAILED])
def test_a_cut_before_the_switch_leaves_what_runs(home: Home, phase: Phase) -> None:
    write(home, phase=phase, target="0" * 40)
    assert before_start(home, 1.0).phase is phase
    assert home.running() == NEW


def test_a_cut_between_the_journal_and_the_link_undoes_the_switch(home: Home) -> None:
    write(home, phase=Phase.SWITCHED, target="0" * 40)
    assert before_start(home, 1.0).phase is Phase.TESTED
    assert home.running() == NEW


def test_a_cut_on_the_way_back_goes_on_with_the_way_back(home: Home) -> None:
    write(home, phase=Phase.FAILED, good=(OLD,), reason="boom", refused={NEW: "boom"})
    journal = before_start(home, 1.0)
    assert (journal.phase, home.running()) == (Phase.FAILED, OLD)
    assert journal.refused == {NEW: "boom"}


def test_a_damaged_release_is_left_and_deleted_but_not_blamed(home: Home) -> None:
    (home.release(NEW) / "main.py").write_text("lost bits")
    journal = before_start(home, 1.0)
    assert (home.running(), journal.good, journal.refused) == (OLD, (OLD,), {})
    assert not home.release(NEW).exists()
    assert "main.py is not as its manifest says" in journal.reason


def test_with_no_whole_release_it_says_so(home: Home) -> None:
    for commit in (OLD, NEW):
        (home.release(commit) / ".manifest").unlink()
    with pytest.raises(Refused, match="There is no whole release to go back to"):
        before_start(home, 1.0)


@pytest.mark.parametrize("content", ["", "\0\0\0", "[]", "{}", '{"phase": "nonsense"}', "[" * 9999])
def test_a_journal_that_cannot_be_read_begins_anew_with_what_runs(home: Home, content: str) -> None:
    home.journal.write_text(content)
    journal = before_start(home, 1.0)
    assert journal.good == (NEW,)
    assert journal.reason.startswith("deploy.json could not be read")


def test_the_journal_keeps_everything(home: Home) -> None:
    full = Journal(
        Phase.SWITCHED, NEW, "v1.2.3", 5.5, "why", (OLD, NEW), "v1.2.2", 2, Seen(True, False, True, 8), {OLD: "bad"}, 3,
        NEW, 6.5,
    )  # fmt: skip
    assert books.load(home) != books.save(home, full) == books.load(home)


LOOK = "import os, sys\nn = 0\nwhile not os.path.exists(sys.argv[2]):\n    os.stat(sys.argv[1]); n += 1\nprint(n)"


def test_the_link_is_never_missed_while_it_is_moved(home: Home, tmp_path: Path) -> None:
    end = tmp_path / "end"
    command = [sys.executable, "-c", LOOK, str(home.current), str(end)]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for number in range(1000):
        link_current(home, (OLD, NEW)[number % 2])
    end.touch()
    looks, _ = reader.communicate(timeout=10)
    assert reader.returncode == 0
    assert int(looks) > 100
