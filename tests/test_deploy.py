"""deploy.py as a person meets it: what it says of the station, and every refusal, which changes nothing.

Thread: the test's. Lock: none. Units: s.
"""

from __future__ import annotations

import fcntl
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from deploy_rig import LOCAL, PROJECT, Site, git, shared_venv, site

import deploy
from updates import stage
from updates.home import Home, is_held, take_lock


@pytest.fixture
def here(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path, shared_venv(tmp_path_factory.getbasetemp().parent / "shared-venv")) as made:
        yield made


def write_status(here: Site, age_s: float, **keys: object) -> None:
    """A status.json of this age; the station holds its lock or not as the test likes."""
    content: dict[str, object] = {
        "ts": datetime.now(UTC).timestamp() - age_s, "pid": 321, "version": "1.2.3", "state": "ready", "armed": True,
        "mqtt": True, "can": True, "modules_heard": 9, "contactors_closed": 0, "idle_s": 100.0,
        "commit": "0123456789ab",
    }  # fmt: skip
    here.home.status.write_text(json.dumps(content | keys))


def rows(said: str) -> dict[str, str]:
    """The screen of `status`."""
    return {line[:13].strip(): line[14:] for line in said.splitlines()}


# --- status and check -------------------------------------------------------------------------------------------------


def test_status_of_a_running_station_that_was_never_updated(here: Site) -> None:
    write_status(here, age_s=1.0)
    code, said = here.deploy("status")
    assert code == 0
    assert len(said.splitlines()) <= 24, "one screen"
    told = rows(said)
    assert told["Running"] == "version 1.2.3, commit 0123456789ab, ready, process 321"
    assert told["Release"] == f"none: the files in {here.home.folder} run, commit {here.first[:12]}"
    assert told["Available"] == "not asked yet: deploy.py check"
    assert told["Last good"] == "none yet"
    assert told["Last attempt"] == "none"
    assert told["By itself"] == "only when asked ([Deploy] interval = 0)"
    assert told["Files"] == "not changed by hand"


@pytest.mark.parametrize("age_s", [3.5, -3.5, 7200.0])
def test_an_old_status_is_not_running(here: Site, age_s: float) -> None:
    write_status(here, age_s)
    assert rows(here.deploy("status")[1])["Running"].endswith(" s old; version 1.2.3 was last ready)")


@pytest.mark.parametrize(
    ("content", "line"), [(None, "no"), ("\0\0", "not known (no status.json in "), ("[]", "not known (no sta")]
)
def test_no_status_or_a_broken_one(here: Site, content: str | None, line: str) -> None:
    if content is not None:
        here.home.status.write_text(content)
    assert rows(here.deploy("status")[1])["Running"].startswith(line)


def test_status_names_what_was_changed_and_settings_that_cannot_be_read(here: Site) -> None:
    (here.home.folder / "main.py").write_text("changed")
    here.home.local.write_text("[Deploy]\ninterval = soon\n")
    told = rows(here.deploy("status")[1])
    assert told["Files"] == "changed by hand: main.py"
    assert told["By itself"] == "[Deploy] interval = soon: this is no plain number. Correct it in config.local.ini"
    here.home.local.write_text("[Deploy]\ninterval = 3600\nwindow = 02:00-04:30\n")
    assert "looks every 3600 s, in the window 02:00-04:30" in rows(here.deploy("status")[1])["By itself"]


def test_without_git_status_still_says_what_it_can(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "git", None)
    write_status(here, age_s=0.0)
    code, said = here.deploy("status")
    assert code == 0
    assert rows(said)["Running"].startswith("version 1.2.3")
    assert "Type make .venv" in rows(said)["Files"]
    code, said = here.deploy("check")
    assert (code, len(said.splitlines())) == (1, 1)
    assert "Type make .venv" in said


def test_check_counts_what_is_new_and_moves_nothing(here: Site) -> None:
    assert here.deploy("check") == (0, "Asking origin/main\nNothing new\n")
    before = everything(here)
    here.remote.commit()
    new = here.remote.commit()
    assert here.deploy("check") == (0, f"Asking origin/main\n2 new commits on origin/main: {new[:12]}\n")
    assert everything(here) == before
    assert rows(here.deploy("status")[1])["Available"] == f"{new[:12]} (asked 0.0 h ago)"


def test_the_local_file_chooses_the_branch(here: Site) -> None:
    git(here.remote.folder, "switch", "-q", "-c", "beta")
    here.remote.commit()
    here.home.local.write_text("[Deploy]\nbranch = beta\n")
    assert "1 new commit on origin/beta: " in here.deploy("check")[1]


# --- refusals: a clear word, nothing changed --------------------------------------------------------------------------


def everything(here: Site) -> dict[str, object]:
    """What an update could change: files of the site, its git, its releases, the process."""
    own = ("config.ini", "config.local.ini", "main.py", "deploy.py")
    return {
        "files": [(here.home.folder / name).read_bytes() for name in own],
        "head": (here.home.folder / ".git" / "HEAD").read_text(),
        "current": here.home.running(),
        "releases": sorted(path.name for path in here.home.releases.glob("*")),
        "process": (here.fresh_status() or {}).get("pid"),
    }


def refused(here: Site, *words: str) -> str:
    """The one line of a refused update."""
    before = everything(here)
    code, said = here.deploy("update", *words)
    assert code == 1, said
    assert everything(here) == before
    return said.splitlines()[-1]


def test_files_changed_by_hand(here: Site) -> None:
    here.start()
    here.remote.commit()
    (here.home.folder / "main.py").write_text((here.home.folder / "main.py").read_text() + "# mine\n")
    assert refused(here).startswith("Changed by hand: main.py. Settings belong into config.local.ini; git diff shows ")
    git(here.home.folder, "checkout", "--", "main.py")
    (here.home.folder / ".git" / "index.lock").touch()
    assert refused(here).endswith(f"If none runs, delete {here.home.folder / '.git' / 'index.lock'}")


def test_history_that_was_rewritten_and_commits_of_the_sites_own(here: Site) -> None:
    here.start()
    git(here.remote.folder, "commit", "-q", "--amend", "-m", "another history")
    assert "does not come after what runs" in refused(here)
    git(here.remote.folder, "reset", "-q", "--hard", here.first)
    (here.home.folder / "main.py").write_text("# of this site\n" + (here.home.folder / "main.py").read_text())
    git(here.home.folder, "commit", "-qam", "of this site")
    here.remote.commit()
    assert "or this site has commits of its own. Nothing was changed" in refused(here)


def test_remotes_that_are_not_there(here: Site) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"https://127.0.0.1:{closed.getsockname()[1]}/station.git"
        git(here.home.folder, "remote", "set-url", "origin", address)
        assert refused(here).startswith("origin/main could not be fetched: fatal: unable to access")
    git(here.home.folder, "remote", "set-url", "origin", str(here.home.folder / "nowhere"))
    assert "'" in refused(here)
    git(here.home.folder, "remote", "remove", "origin")
    assert refused(here).startswith("[Deploy] remote = origin: git knows no such remote here")
    here.home.local.write_text(LOCAL + "branch = none\n")
    git(here.home.folder, "remote", "add", "origin", str(here.remote.folder))
    assert "couldn't find remote ref refs/heads/none" in refused(here)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("--upload-pack=touch /tmp/owned", "is not allowed"),
        ("ext::sh -c touch% /tmp/owned", "is not allowed"),
        ("file:///srv/station.git", "only https, ssh or a folder of this computer"),
        ("http://host/station.git", "only https, ssh or a folder of this computer"),
        ("https://user:secret@host/station.git", "holds a password or token"),
        ("https://token@host/station.git", "holds a password or token"),
        ("ssh://-oProxyCommand=touch/x", "names no host"),
        ("-oProxyCommand=touch:x", "is not allowed"),
        ("git@-oProxyCommand=touch:x", "a host does not begin with -"),
    ],
)
def test_addresses_that_git_must_never_see(here: Site, address: str, words: str) -> None:
    git(here.home.folder, "config", "remote.origin.url", address)
    said = refused(here)
    assert words in said
    assert "secret" not in said
    assert not here.home.mirror.exists()


def test_hooks_do_not_run_and_locks_of_a_killed_git_are_no_hindrance(here: Site, tmp_path: Path) -> None:
    hooks, ran = tmp_path / "hooks", tmp_path / "ran"
    hooks.mkdir()
    here.deploy("check")
    for name in ("post-checkout", "reference-transaction", "post-merge"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {ran}\n")
        (hooks / name).chmod(0o755)
    git(here.home.mirror, "config", "core.hooksPath", str(hooks))
    (here.home.mirror / "refs" / "heads" / "main.lock").touch()
    here.remote.commit()
    assert here.deploy("check")[0] == 0
    assert not ran.exists()


def test_a_damaged_mirror_is_made_anew(here: Site) -> None:
    here.deploy("check")
    for pack in here.home.mirror.rglob("objects/??/*"):
        pack.chmod(0o644)
        pack.write_bytes(b"lost")
    for pack in here.home.mirror.rglob("*.pack"):
        pack.chmod(0o644)
        pack.write_bytes(b"lost")
    here.remote.commit()
    code, said = here.deploy("check")
    assert (code, "1 new commit" in said) == (0, True), said


def test_a_disk_that_is_too_full(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    here.start()
    here.remote.commit()
    monkeypatch.setattr(stage.shutil, "disk_usage", lambda _: SimpleNamespace(free=40_000_000))
    assert refused(here).startswith(f"Only 40 MB are free at {here.home.folder}, an update needs 50 MB. Delete old ")


def test_no_git_checkout_and_one_without_a_commit(here: Site, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    code = deploy.main(["--config", str(empty / "config.ini"), "check"])
    assert code == 1
    git(empty, "init", "-q")
    assert deploy.main(["--config", str(empty / "config.ini"), "update"]) == 1


def test_a_start_is_not_refused_because_somebody_asks_whether_it_runs(tmp_path: Path) -> None:
    """Asking holds the lock for an instant, and nobody would start the station again."""
    path = tmp_path / "main.lock"
    with path.open("a+") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        threading.Timer(0.01, fcntl.flock, (asking, fcntl.LOCK_UN)).start()
        ours = take_lock(path)
        assert ours is not None
        assert is_held(path)
        assert take_lock(path) is None, "it really is held"
        ours.close()


def test_packages_that_no_kept_release_asks_for_are_deleted(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.wheels.mkdir()
    kept = ("python_can-4.6.1-py3-none-any.whl", "paho_mqtt-2.1.0-py3-none-any.whl")
    gone = ("python_can-4.5.0-py3-none-any.whl", "wrapt-1.0-cp311-cp311-linux_aarch64.whl")
    for name in (*kept, *gone):
        (home.wheels / name).touch()
    release = home.release("a" * 40)
    release.mkdir(parents=True)
    (release / "requirements.txt").write_text("paho-mqtt==2.1.0 \\\n    --hash=x\nPython.can==4.6.1 ; x\n")
    stage.prune_wheels(home, [release, home.release("b" * 40)])
    assert {path.name for path in home.wheels.iterdir()} == set(kept)


def test_two_at_once(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "LOCK_WAIT_S", 0.3)
    lock = take_lock(here.home.deploy_lock)
    assert lock is not None
    with lock:
        assert refused(here) == f"Another deploy.py is at work in {here.home.folder}. Wait until it has ended"
    here.remote.commit()
    first, second = (here.popen(here.command("update")) for _ in range(2))
    said = [process.communicate(timeout=30)[0] for process in (first, second)]
    codes = sorted(process.returncode for process in (first, second))
    assert codes in ([0, 0], [0, 1]), said
    assert here.journal.good == (here.first, here.remote.head)


# --- usage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("bogus",), ("--config",), ("check", "now"), ("update", "a", "b")])
def test_wrong_usage_is_2(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        deploy.main(words)
    assert ended.value.code == 2


def test_rollback_without_a_release_before(here: Site) -> None:
    code, said = here.deploy("rollback")
    assert (code, said) == (1, "There is no confirmed release before the one that runs. See deploy.py status\n")


def test_git_is_imported_only_when_needed() -> None:
    """So that usage and refusals are said where GitPython is not installed."""
    look = "import sys, deploy; sys.exit('git' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], cwd=PROJECT, check=False).returncode == 0


def test_a_clone_with_a_venv_goes_on_in_it(here: Site) -> None:
    """Typed with the operating system's Python, before the first update."""
    base = Path(sys.base_prefix, "bin", "python3")
    venv = next(here.home.venvs.iterdir())
    (here.home.folder / ".venv").symlink_to(venv.resolve())
    code, said = here.run([str(base), "main.py", "--check"])
    assert (code, said) == (0, f"Going on in {here.home.folder / '.venv'}\nGood to start\n")


