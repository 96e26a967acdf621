"""Updates with real git, real processes and a small station: what comes in, what is kept out, and the way back.

Thread: the test's. Lock: none. Units: s.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from deploy_rig import LOCAL, Site, git, shared_venv, site, wait_for

from updates import restart, stage
from updates.journal import Phase


@pytest.fixture
def here(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path, shared_venv(tmp_path_factory.getbasetemp().parent / "shared-venv")) as made:
        yield made


def test_a_push_runs_confirmed_within_seconds_and_the_clone_was_adopted(here: Site) -> None:
    here.start()
    before = here.settings
    assert here.runs == here.first
    pushed_at_s = time.monotonic()
    newest = here.remote.commit(config__ini="# delivered\n[General]\npower = 40\n# a new option\ncolour = red\n",
                                behaviour='\nKNOWN_KEYS.add("colour")\n')  # fmt: skip
    code, said = here.deploy("update")
    armed_s = time.monotonic() - pushed_at_s
    assert code == 0, said
    assert (here.runs, here.home.running()) == (newest, newest)
    here.whole()
    assert here.journal.good == (here.first, newest)
    assert here.journal.phase is Phase.CONFIRMED
    assert here.settings == {**before, "General": {**before["General"], "colour": "red"}}
    assert here.home.local.read_text() == LOCAL, "the site's own file is not touched"
    assert git(here.home.folder, "rev-parse", "HEAD") == here.first, "the clone is not touched"
    assert {path.name for path in here.home.venvs.iterdir()} == {here.home.venv_of(here.home.current).name}
    print(f"push to confirmed: {armed_s:.1f} s")
    assert armed_s <= 30.0
    assert here.deploy("update") == (0, "Asking origin/main\nNothing new\n")


def test_typed_in_home_both_programs_go_on_in_the_release(here: Site) -> None:
    """And so does the bare command, which also starts a station that does not run."""
    newest = here.remote.commit()
    code, said = here.typed()
    assert code == 0, said
    assert here.runs == newest
    here.stop_all()
    code, said = here.typed()
    assert code == 0, said
    assert said.startswith(f"Going on in release {newest[:12]}\n")
    assert "The station does not run: starting it" in said
    process = wait_for(here.fresh_status, "it runs")["pid"]
    words = Path(f"/proc/{process}/cmdline").read_text().split("\0")
    home = here.home
    assert words[:-1] == [str(home.python_of(home.current)), f"{home.current}/main.py", "--config", str(home.config)]
    code, said = here.run([words[0], str(home.folder / "main.py"), "--check"])
    assert (code, said) == (0, f"Going on in release {newest[:12]}\nGood to start\n")


#: What a release may do wrong -> what is said of it. Those above are seen before anything that runs is touched.
BEFORE_THE_SWITCH = {
    "def at_start(:\n": "SyntaxError",
    "raise RuntimeError('boom at import')\n": "boom at import",
    "import not_there_at_all\n": "No module named 'not_there_at_all'",
    "KNOWN_KEYS = {'power'}\n": "config.ini [General] name: no such key",
    "import threading\nthreading.Event().wait()\n": "took too long",
    "import pathlib\npathlib.Path(__file__).with_name('.gitignore').write_text('')\n": "it changed its own files",
}


def test_a_release_that_cannot_work_is_never_switched_to(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "IMPORT_LIMIT_S", 1.0)
    here.start()
    process = here.fresh_status()
    assert process is not None
    for behaviour, words in BEFORE_THE_SWITCH.items():
        bad = here.remote.commit(behaviour=behaviour)
        code, said = here.deploy("update")
        assert (code, here.runs) == (1, here.first), said
        assert words in said
        assert "The old version goes on" in said
        assert words in here.journal.refused[bad]
        assert not here.home.current.is_symlink(), "nothing that runs was touched"
    code, said = here.deploy("update")
    assert code == 1
    assert f"{bad[:12]} is not tried again: it changed its own files" in said
    status = here.fresh_status()
    assert status is not None
    assert status["pid"] == process["pid"], "the station went on all the time"


def while_running(line: str) -> str:
    return f"def while_running(ran_s, status):\n    {line}\n"


STARTED = "import sys\ndef at_start():\n    '--config' in sys.argv and '--check' not in sys.argv and 1 / 0\n"
#: What a release does wrong once it runs: kind, how, and what is said of it.
AFTER_THE_SWITCH = (
    ("crash after a while", while_running("assert ran_s < 0.6, 'boom'"), "exit code 1: AssertionError: boom"),
    ("never healthy", while_running("status['armed'] = False"), "not healthy after 2 s: not armed"),
    ("crash at the start", STARTED, "exit code 1: ZeroDivisionError"),
    ("loses modules", while_running("status['modules_heard'] = 7"), "7 modules heard, the version before heard 9"),
)


def test_a_release_that_does_not_do_well_is_taken_back(here: Site) -> None:
    here.home.local.write_text(LOCAL.replace("health_timeout = 5", "health_timeout = 2").replace("= 0.4", "= 1"))
    here.start()
    settings = here.settings
    for kind, behaviour, words in AFTER_THE_SWITCH:
        bad = here.remote.commit(behaviour=behaviour)
        code, said = here.deploy("update")
        assert (code, here.runs) == (3, here.first), f"{kind}: {said}"
        assert words in said, kind
        assert words in here.journal.refused[bad], kind
        assert here.journal.phase is Phase.FAILED
        assert here.settings == settings
        here.whole()
    newest = here.remote.commit()
    assert here.deploy("update")[0] == 0
    assert here.runs == newest


def test_a_release_that_hangs_is_killed_and_taken_back(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restart, "PROBATION_LIMIT_S", 1.0)
    here.home.local.write_text(LOCAL.replace("health_timeout = 5", "health_timeout = 9"))
    here.start()
    hang = "if ran_s > 0.2: signal.signal(signal.SIGTERM, signal.SIG_IGN), Event().wait()"
    imports = "import signal\nfrom threading import Event\n"
    bad = here.remote.commit(behaviour=imports + while_running(hang))
    code, said = here.deploy("update")
    assert (code, here.runs) == (3, here.first), said
    assert "it hangs or has ended" in here.journal.refused[bad]


def test_what_the_site_lacked_before_is_not_blamed_on_the_release(here: Site) -> None:
    (here.home.folder / "problem.txt").write_text("CAN link can0 is down")
    here.pretend(mqtt=False, can=False, modules_heard=0, armed=False)
    here.start()
    newest = here.remote.commit()
    assert here.deploy("update")[0] == 0
    assert here.runs == newest


def test_what_the_old_version_lacks_too_is_no_reason_not_to_try_again(here: Site) -> None:
    """The broker goes down in the middle of the update."""
    here.home.local.write_text(LOCAL.replace("health_timeout = 5", "health_timeout = 3"))
    here.start()
    wait_for(here.fresh_status, "the old one has said that it has a broker")
    newest = here.remote.commit()
    update = here.popen(here.command("update"))
    wait_for(lambda: here.journal.phase is Phase.SWITCHED, "it is switched")
    here.pretend(mqtt=False)
    said, _ = update.communicate(timeout=20)
    assert (update.returncode, here.runs) == (3, here.first), said
    assert "is not well either: not healthy after 3 s: no connection to the broker" in said
    assert newest not in here.journal.refused
    here.pretend(mqtt=True)
    here.home.local.write_text(LOCAL)
    assert here.deploy("update")[0] == 0
    assert here.runs == newest


def test_a_disk_without_room_leaves_nothing_behind(here: Site) -> None:
    here.start()
    here.remote.commit(big__txt="0" * 4_000_000)  # packs to nothing, and no file may grow beyond a million
    code, said = here.run(["prlimit", "--fsize=1000000", *here.command("update")])
    assert (code, here.runs) == (1, here.first), said
    assert "could not be written: git archive was ended by SIGXFSZ" in said
    assert {path.name for path in here.home.releases.iterdir()} == {here.first}
    assert not here.journal.refused, "the release is not to blame"
    assert here.deploy("update")[0] == 0


def test_rollback_goes_to_the_release_before_and_stays_there(here: Site) -> None:
    here.home.local.write_text(LOCAL + "keep_releases = 2\n")
    here.start()
    one = here.remote.commit(config__ini="# delivered\n[General]\npower = 41\n")
    assert here.deploy("update")[0] == 0
    two = here.remote.commit(config__ini="# delivered\n[General]\npower = 42\n")
    assert here.deploy("update")[0] == 0
    assert {path.name for path in here.home.releases.iterdir()} == {one, two}, "the oldest is deleted"
    code, said = here.deploy("rollback")
    assert (code, here.runs) == (0, one), said
    assert here.settings["General"]["power"] == "41"
    code, said = here.deploy("update")
    assert code == 1
    assert f"{two[:12]} is not tried again: a person rolled it back" in said
    assert here.deploy("update", "1234567")[0] == 1
    code, said = here.deploy("update", two[:10])
    assert (code, here.runs) == (0, two), said
    assert here.journal.good == (one, two)


def test_config_ini_edited_by_hand_moves_to_the_local_file_once(here: Site) -> None:
    edited = "# delivered\n[General]\npower = 55\nname = not this one\n[Deploy]\nkeep_releases = 5\n"
    here.home.config.write_text(edited)
    here.start()
    before = here.settings
    here.remote.commit(config__ini="# delivered anew\n[General]\npower = 40\n")
    code, said = here.deploy("update")
    assert code == 0, said
    assert "config.ini was edited by hand: [General] power was moved to config.local.ini" in said
    assert here.settings == before
    assert here.home.config.read_text().startswith("# delivered anew")
    assert (here.home.folder / "config.ini.bak").read_text() == edited
    assert here.home.local.read_text().startswith("# of this site\n[General]\npower = 55\nname = site 7\n")
    assert (here.home.folder / "config.local.ini.bak").read_text() == LOCAL


def test_a_key_that_changes_its_name_is_migrated_and_an_older_release_gets_its_own_back(here: Site) -> None:
    here.start()
    (here.remote.folder / "updates" / "settings_steps.json").write_text('[{"rename": {"General.name": "title"}}]')
    new = here.remote.commit(behaviour="KNOWN_KEYS = {'power', 'title'}\n")
    code, said = here.deploy("update")
    assert (code, here.runs) == (0, new), said
    assert here.settings["General"] == {"power": "40", "title": "site 7"}
    assert (here.home.folder / "config.local.v0.ini").read_text() == LOCAL
    code, said = here.deploy("rollback")
    assert (code, here.runs) == (0, here.first), said
    assert here.home.local.read_text() == LOCAL
    assert here.journal.settings_version == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="accepted: only root may give files away")
def test_a_folder_of_somebody_else_is_said(here: Site) -> None:
    here.remote.commit()
    for path in (here.home.folder, *here.home.folder.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    said = f"{here.home.folder} belongs to the user #12345. Type: sudo -u #12345 python3 deploy.py ...\n"
    assert here.deploy("update") == (1, said)
    code, said = here.deploy("status")
    assert code == 0
    assert "detected dubious ownership" in said
