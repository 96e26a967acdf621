"""`deploy.py run`, systemd and the gate with real processes: who starts main.py anew, and when an update waits.

Thread: the test's. Lock: none. Units: s.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from deploy_rig import LOCAL, Site, shared_venv, site, wait_for

from updates import sequence
from updates.home import is_held
from updates.journal import Phase

END_S = 10.0


@pytest.fixture
def here(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path, shared_venv(tmp_path_factory.getbasetemp().parent / "shared-venv")) as made:
        yield made


def process(here: Site) -> int:
    status = wait_for(here.fresh_status, "the station runs")
    return int(status["pid"])


def test_run_starts_it_again_updates_by_itself_and_stops_it_with_itself(here: Site) -> None:
    here.home.local.write_text(LOCAL + "interval = 1\nwindow = 00:00-24:00\n")
    runner = here.popen(here.command("run", "--"))
    first = process(here)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: process(here) != first, "it was started again")
    newest = here.remote.commit()
    wait_for(lambda: here.journal.phase is Phase.CONFIRMED, "it has updated by itself")
    assert here.runs == newest
    assert here.deploy("run") == (1, f"deploy.py run is already at work in {here.home.folder}\n")
    code, said = here.deploy("rollback")
    assert (code, here.runs) == (0, here.first), said
    runner.send_signal(signal.SIGTERM)
    said, _ = runner.communicate(timeout=END_S)
    assert runner.returncode == 0, said
    assert not is_held(here.home.main_lock)
    assert "main.py ended with exit code -9; it is started again in 1 s" in said
    assert f"1 new commit on origin/main: {newest[:12]}" in said


def test_run_leaves_alone_what_somebody_else_has_started(here: Site) -> None:
    here.start()
    before = process(here)
    runner = here.popen(here.command("run"))
    wait_for(lambda: is_held(here.home.run_lock), "it runs")
    runner.send_signal(signal.SIGINT)
    said, _ = runner.communicate(timeout=END_S)
    assert runner.returncode == 0, said
    assert process(here) == before


#: systemd's part: shows one unit, and restarts it as a service does.
SYSTEMCTL = """
echo "$@" >> {calls}
case $1 in
show) echo ActiveState=active; echo WorkingDirectory={home};;
restart) {restart};;
esac
"""
RESTARTS = """
    cd {home}
    kill $(tr , '\\n' < status.json | grep pid | tr -dc 0-9)
    sleep 0.3
    {python} main.py > /dev/null 2>&1 &
"""


def test_with_systemd_the_unit_is_restarted(here: Site, tmp_path: Path) -> None:
    calls, python = tmp_path / "calls", here.home.python_of(here.home.folder)
    restart = RESTARTS.format(home=here.home.folder, python=python)
    here.program("systemctl", SYSTEMCTL.format(calls=calls, home=here.home.folder, restart=restart))
    here.start()
    newest = here.remote.commit()
    code, said = here.deploy("update")
    assert (code, here.runs) == (0, newest), said
    assert "restart --no-block --no-ask-password vesec-station" in calls.read_text().splitlines()


def test_without_the_right_to_restart_units_main_is_asked_and_the_unit_starts_it(here: Site, tmp_path: Path) -> None:
    deny = "echo Access denied >&2; exit 1"
    here.program("systemctl", SYSTEMCTL.format(calls=tmp_path / "calls", home=here.home.folder, restart=deny))
    code, said = here.deploy()  # nothing runs, so nobody can be asked
    assert code == 1
    assert "systemctl restart vesec-station: Access denied. Type: sudo systemctl restart vesec-station" in said
    unit = here.popen(["sh", "-c", f"while :; do {here.home.python_of(here.home.folder)} main.py; done"])
    first = process(here)
    newest = here.remote.commit()
    code, said = here.deploy("update")
    assert (code, here.runs) == (0, newest), said
    assert process(here) != first
    here.stop_all()
    unit.communicate(timeout=END_S)


def test_an_update_waits_until_the_station_is_idle(here: Site) -> None:
    """Closed contactors, a state that a restart would disturb, not idle for long enough, a station that hangs."""
    here.home.local.write_text(LOCAL.replace("idle_for = 0", "idle_for = 60"))
    here.start()
    before = process(here)
    here.remote.commit()
    busy = {
        "1 contactors are closed": {"contactors_closed": 1},
        "the station is in state emergency_stop": {"state": "emergency_stop"},
        "the station has been idle for 59 s, [Deploy] idle_for asks for 60 s": {"idle_s": 59.4},
        "status.json cannot be understood": {"contactors_closed": None},
        " s old": {"ts": 1.0},
    }
    for words, pretended in busy.items():
        here.pretend(**pretended)
        wait_for(lambda p=pretended: p.items() <= _status(here).items(), f"it says {pretended}")
        code, said = here.deploy("update")
        assert code == 1, said
        assert words in said.splitlines()[-1]
        assert "Postponed: " in said
        assert here.home.running() == ""
        assert here.journal.phase is Phase.TESTED
    told = (here.home.folder / "update.json").read_text()
    assert '"state": "postponed"' in told
    here.pretend()
    assert process(here) == before
    assert here.deploy("update")[0] == 0


def _status(here: Site) -> dict[str, object]:
    content: dict[str, object] = json.loads(here.home.status.read_text())
    return content


def test_a_car_that_comes_in_the_last_moment_stops_it(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the files are moved."""
    here.start()
    before = process(here)
    here.remote.commit()
    switch = sequence.switch_to

    def and_a_car_comes(*words: object) -> object:
        here.pretend(contactors_closed=2)
        wait_for(lambda: _status(here)["contactors_closed"] == 2, "it charges")
        return switch(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(sequence, "switch_to", and_a_car_comes)
    code, said = here.deploy("update")
    assert (code, process(here)) == (1, before), said
    assert "Postponed: 2 contactors are closed" in said
    assert here.home.running() == here.first, "the clone's own commit, as a release"
    assert here.journal.phase is Phase.TESTED
