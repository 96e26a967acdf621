"""deploy.py against a real remote on this disk: what runs, what is new, and a plain no to everything else."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import deploy

PROGRAM = Path(deploy.__file__)


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder: Path, text: str) -> str:
    """One more commit; its short name."""
    (folder / "config.ini").write_text(text)
    git(folder, "add", ".")
    git(folder, "commit", "-qm", text)
    return git(folder, "rev-parse", "HEAD")[:10]


@pytest.fixture
def no_global_git(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    for who in ("AUTHOR", "COMMITTER"):
        settings |= {f"GIT_{who}_NAME": "Test", f"GIT_{who}_EMAIL": "test@localhost"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def remote(tmp_path: Path, no_global_git: None) -> Path:
    """A repository with one commit on main."""
    folder = tmp_path / "remote"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    commit(folder, "[Deploy]\n")
    return folder


@pytest.fixture
def station(tmp_path: Path, remote: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of the remote; deploy.py believes that it lies there."""
    folder = tmp_path / "station"
    git(tmp_path, "clone", "-q", str(remote), str(folder))
    monkeypatch.setattr(deploy, "HERE", folder)
    return folder


def told(capsys: pytest.CaptureFixture[str], station: Path, *words: str) -> tuple[int, list[str]]:
    """(exit code, printed lines)"""
    code = deploy.main(["--config", str(station / "config.ini"), *words])
    return code, capsys.readouterr().out.splitlines()


def write_status(station: Path, age_s: float) -> None:
    content = {"ts": datetime.now(UTC).timestamp() - age_s, "pid": 321, "version": "1.2.3", "state": "ready"}
    (station / "status.json").write_text(json.dumps(content))


def test_status_of_a_running_station(station: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_status(station, age_s=1.0)
    head = git(station, "rev-parse", "HEAD")[:10]
    code, lines = told(capsys, station, "status")
    assert code == 0
    assert lines[0] == "Station: version 1.2.3 is running, ready (process 321)"
    assert lines[1].startswith(f"Files: commit {head} of ")
    assert lines[1].endswith(", branch main, not modified")  # status.json is untracked and does not count


@pytest.mark.parametrize("age_s", [3.5, -3.5, 7200.0])
def test_an_old_status_is_not_running(station: Path, capsys: pytest.CaptureFixture[str], age_s: float) -> None:
    write_status(station, age_s)
    _, lines = told(capsys, station, "status")
    assert lines[0].startswith("Station: not running (status.json is ")
    assert lines[0].endswith(" s old; version 1.2.3 was last ready)")


@pytest.mark.parametrize(
    ("content", "line"),
    [(None, "Station: not running (no status.json in "), ("\0\0", "Station: not known ("), ("[]", "Station: not kn")],
)
def test_no_status_or_a_broken_one(
    station: Path, capsys: pytest.CaptureFixture[str], content: str | None, line: str
) -> None:
    if content is not None:
        (station / "status.json").write_text(content)
    code, lines = told(capsys, station, "status")
    assert code == 0
    assert lines[0].startswith(line)


def test_a_changed_file_and_no_branch_are_named(station: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git(station, "switch", "-q", "--detach")
    (station / "config.ini").write_text("changed")
    _, lines = told(capsys, station, "status")
    assert ", no branch, modified: local changes belong into config.local.ini" in lines[1]


def test_check_counts_what_is_new_and_moves_nothing(
    station: Path, remote: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(capsys, station, "check") == (0, ["Nothing new"])
    before = git(station, "rev-parse", "HEAD")
    commit(remote, "one")
    assert told(capsys, station, "check") == (0, ["1 new commit on origin/main"])
    commit(remote, "two")
    assert told(capsys, station, "check") == (0, ["2 new commits on origin/main"])
    assert git(station, "rev-parse", "HEAD") == before
    assert git(station, "status", "--porcelain") == ""


def test_check_names_commits_that_only_the_station_has(station: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commit(station, "own")
    assert told(capsys, station, "check") == (0, ["Nothing new", "1 commit here that origin/main does not have"])


def test_the_local_file_chooses_the_branch(station: Path, remote: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git(remote, "switch", "-q", "-c", "beta")
    commit(remote, "beta")
    (station / "config.local.ini").write_text("[Deploy]\nbranch = beta\n")
    assert told(capsys, station, "check") == (0, ["1 new commit on origin/beta"])


@pytest.mark.parametrize(
    ("deploy_section", "words"),
    [
        ("remote = elsewhere", "[Deploy] remote = elsewhere: git knows no such remote here"),
        ("remote = --upload-pack=touch", "git knows no such remote here"),
        ("branch = none", "origin/none could not be fetched: fatal: couldn't find remote ref refs/heads/none"),
    ],
)
def test_check_says_why_it_cannot(
    station: Path, capsys: pytest.CaptureFixture[str], deploy_section: str, words: str
) -> None:
    (station / "config.local.ini").write_text(f"[Deploy]\n{deploy_section}\n")
    code, lines = told(capsys, station, "check")
    assert code == 1
    assert len(lines) == 1
    assert words in lines[0]


def test_outside_a_checkout_it_refuses(
    station: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setattr(deploy, "HERE", empty)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    code, lines = told(capsys, station, "check")
    assert code == 1
    assert lines == [f"{empty} is no git checkout; clone the station anew"]


def test_a_folder_of_somebody_else_is_said(
    station: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    code, lines = told(capsys, station, "check")
    assert (code, len(lines)) == (1, 1)
    assert "detected dubious ownership" in lines[0]
    assert lines[0].endswith("Run this as the owner of the folder")


def test_a_clone_without_a_commit_is_said(
    station: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    new = tmp_path / "new"
    new.mkdir()
    git(new, "init", "-q")
    monkeypatch.setattr(deploy, "HERE", new)
    code, lines = told(capsys, station, "check")
    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith(f"git refuses {new}: fatal: ")


def test_git_itself_missing_is_said(
    station: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "git", None)
    write_status(station, age_s=0.0)
    code, lines = told(capsys, station, "status")
    assert code == 1
    assert lines[0].startswith("Station: version 1.2.3 is running")
    assert "Type make .venv" in lines[1]


@pytest.mark.parametrize("words", [(), ("update",), ("run",)])
def test_updating_is_refused_with_the_two_commands(
    station: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    code, lines = told(capsys, station, *words)
    assert (code, len(lines)) == (1, 1)
    assert "Updating is not part of this version" in lines[0]
    assert "git fetch origin main, then git merge --ff-only FETCH_HEAD" in lines[0]


def test_the_two_commands_do_it(station: Path, remote: Path) -> None:
    newest = commit(remote, "newer")
    git(station, "fetch", "origin", "main")
    git(station, "merge", "--ff-only", "FETCH_HEAD")
    assert git(station, "rev-parse", "HEAD").startswith(newest)


def test_rollback_names_its_own_commands(station: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = told(capsys, station, "rollback")
    assert (code, len(lines)) == (1, 1)
    assert "git log --oneline, then git switch --detach COMMIT" in lines[0]


@pytest.mark.parametrize("words", [("bogus",), ("--config",), ("check", "now")])
def test_wrong_usage_is_2(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        deploy.main(words)
    assert ended.value.code == 2


def test_it_imports_nothing_of_the_station_and_git_only_when_needed() -> None:
    """It has to work when the station's own code does not, and say so where GitPython is not installed."""
    statements = ast.walk(ast.parse(PROGRAM.read_text()))
    imports = [n for n in statements if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {a.name for n in imports if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module or "" for n in imports if isinstance(n, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names | {"git"}
    check = "import sys, deploy; sys.exit('git' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=PROGRAM.parent, check=False).returncode == 0
