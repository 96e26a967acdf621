"""Job: say which version runs and what is new at the remote; later it will update, roll back and keep main.py running.

Thread: MainThread of a process of its own. Lock: none. Units: s. Needs git; imports nothing of the station, so that it
works when the station does not. Exit codes: 0 done or nothing new, 1 refused or postponed, 2 usage.
"""

from __future__ import annotations

import argparse
import configparser
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import git

EXIT_DONE, EXIT_REFUSED, EXIT_USAGE = 0, 1, 2
HERE = Path(__file__).resolve().parent
#: main.py replaces status.json every second.
RUNNING_WITHIN_S = 3.0
#: A fetch that takes longer is given up; the station's network may be a mobile link.
FETCH_LIMIT_S = 120.0
#: git must never ask anybody anything, and a link that stalls ends the fetch.
ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_HTTP_LOW_SPEED_LIMIT": "100",
    "GIT_HTTP_LOW_SPEED_TIME": "30",
}


class Refused(Exception):
    """It cannot be done; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where updates come from: [Deploy] of config.ini and config.local.ini."""

    remote: str = "origin"
    branch: str = "main"

    @property
    def tracking(self) -> str:
        """Where a fetch keeps what the remote has."""
        return f"refs/remotes/{self.remote}/{self.branch}"


def read_source(config: Path) -> Source:
    """Remote and branch; a config that cannot be read gives the defaults (main.py names what is wrong with it)."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read([config, config.with_name("config.local.ini")], encoding="utf-8-sig")
    except (configparser.Error, UnicodeDecodeError):
        return Source()
    told = parser["Deploy"] if parser.has_section("Deploy") else {}
    return Source(told.get("remote", "origin"), told.get("branch", "main"))


# --- status ------------------------------------------------------------------------------------------------------


def running(folder: Path, now_s: float) -> str:
    """What status.json tells, in one line. `now_s`: Unix seconds."""
    path = folder / "status.json"
    try:
        status: dict[str, Any] = json.loads(path.read_text())
        age_s = now_s - float(status["ts"])
        version, state, pid = status["version"], status["state"], status["pid"]
    except FileNotFoundError:
        return f"Station: not running (no status.json in {folder})"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"Station: not known ({path} cannot be read: {error})"
    if abs(age_s) > RUNNING_WITHIN_S:
        return f"Station: not running (status.json is {age_s:.0f} s old; version {version} was last {state})"
    return f"Station: version {version} is running, {state} (process {pid})"


def release(repo: git.Repo) -> str:
    """The commit that is checked out, in one line."""
    commit = repo.head.commit
    branch = "no branch" if repo.head.is_detached else f"branch {repo.active_branch.name}"
    tree = "modified: local changes belong into config.local.ini" if modified(repo) else "not modified"
    return f"Files: commit {commit.hexsha[:10]} of {commit.committed_datetime:%Y-%m-%d}, {branch}, {tree}"


def modified(repo: git.Repo) -> bool:
    """Tracked files differ from the commit; files that the station writes do not count."""
    return bool(repo.is_dirty(untracked_files=False))


def status(config: Path) -> int:
    # the stamp in status.json is wall-clock time, so that is what it is compared with
    print(running(config.parent, datetime.now(UTC).timestamp()))
    print(release(open_repo(HERE)))
    return EXIT_DONE


# --- check -------------------------------------------------------------------------------------------------------


def check(config: Path) -> int:
    """Fetch, and say how many commits are new. Changes no file of the station."""
    repo, source = open_repo(HERE), read_source(config)
    fetch(repo, source)
    new, own = _count(repo, f"HEAD..{source.tracking}"), _count(repo, f"{source.tracking}..HEAD")
    print(f"{new} new {_commits(new)} on {source.remote}/{source.branch}" if new else "Nothing new")
    if own:
        print(f"{own} {_commits(own)} here that {source.remote}/{source.branch} does not have")
    return EXIT_DONE


def fetch(repo: git.Repo, source: Source) -> None:
    """Bring what the remote has into the repository. Raises Refused."""
    import git

    if source.remote not in [remote.name for remote in repo.remotes]:
        raise Refused(f"[Deploy] remote = {source.remote}: git knows no such remote here. See: git remote -v")
    try:
        repo.git.fetch(
            "--quiet", "--no-tags", source.remote, f"+refs/heads/{source.branch}:{source.tracking}",
            kill_after_timeout=FETCH_LIMIT_S,
        )  # fmt: skip
    except git.GitCommandError as error:
        raise Refused(f"{source.remote}/{source.branch} could not be fetched: {_reason(error)}") from error


def _count(repo: git.Repo, span: str) -> int:
    return int(repo.git.rev_list("--count", span))


def _commits(count: int) -> str:
    return "commit" if count == 1 else "commits"


# --- the rest ----------------------------------------------------------------------------------------------------


def open_repo(folder: Path) -> git.Repo:
    """The repository that the program runs from. Raises Refused."""
    try:
        import git  # only here: usage and refusals must work without it
    except ImportError as error:
        raise Refused(f"No git or GitPython ({error}). Type make .venv, then .venv/bin/python deploy.py") from error
    try:
        repo = git.Repo(folder)
        repo.git.update_environment(**ENVIRONMENT)
        repo.git.rev_parse("--verify", "HEAD")
    except git.GitCommandError as error:
        raise Refused(f"git refuses {folder}: {_reason(error)}. Run this as the owner of the folder") from error
    except git.InvalidGitRepositoryError as error:
        raise Refused(f"{folder} is no git checkout; clone the station anew") from error
    return repo


def _reason(error: git.GitCommandError) -> str:
    """What git itself said, in one line."""
    return " ".join(str(error.stderr).split()).removeprefix("stderr: ").strip("' .")


def not_yet(config: Path, command: str | None) -> int:
    """Everything that would move files. Prints the two git commands that do it by hand."""
    source = read_source(config)
    by_hand = f"git fetch {source.remote} {source.branch}, then git merge --ff-only FETCH_HEAD"
    if command == "rollback":
        by_hand = "git log --oneline, then git switch --detach COMMIT"
    print(f"Updating is not part of this version. By hand, while the station is stopped: {by_hand}.")
    return EXIT_REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Which version of the station runs, and what is new")
    parser.add_argument("--config", type=Path, metavar="FILE", default=HERE / "config.ini", help="as for main.py")
    words = {
        "status": "which version runs and which files are here",
        "check": "ask the remote what is new",
        "update": "not in this version",
        "rollback": "not in this version",
        "run": "not in this version",
    }
    commands = parser.add_subparsers(dest="command", metavar="|".join(words))
    for word, meaning in words.items():
        commands.add_parser(word, help=meaning)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The program. Returns the exit code; wrong usage ends it with 2."""
    arguments = _parser().parse_args(argv)
    config = arguments.config.absolute()
    try:
        if arguments.command == "status":
            return status(config)
        if arguments.command == "check":
            return check(config)
        return not_yet(config, arguments.command)
    except Refused as refusal:
        print(refusal)
        return EXIT_REFUSED


if __name__ == "__main__":
    sys.exit(main())
