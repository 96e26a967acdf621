"""Job: everything that git does: what is at the remote, what descends from what, and the files of one commit.

Thread: MainThread (GitPython has a timer that ends what takes too long). Lock: HOME/deploy.lock over what writes.
Units: s. HOME's own repository is only read; fetched is into mirror.git, in which nothing is ever checked out.
"""

from __future__ import annotations

import os
import re
import signal
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from updates.home import Home, delete
from updates.settings import DeploySettings, judged_address
from updates.terms import Refused, short

#: A fetch that takes longer is given up; the station's network may be a mobile link.
FETCH_LIMIT_S = 600.0
LIMIT_S = 60.0
#: git asks nobody anything, follows no other protocol, runs no hook, trusts no object unseen, and writes to last. A
#: link that stalls ends the fetch. It works behind everything else: the station may be charging cars.
ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "true",
    "SSH_ASKPASS": "true",
    "GIT_ALLOW_PROTOCOL": "file:https:ssh",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_HTTP_LOW_SPEED_LIMIT": "100",
    "GIT_HTTP_LOW_SPEED_TIME": "30",
}
OPTIONS = {
    "core.fsmonitor": "false",
    "core.fsync": "all",
    "transfer.fsckObjects": "true",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "protocol.ext.allow": "never",
}
#: Unless the site has a command of its own (GIT_SSH_COMMAND, core.sshCommand).
SSH = "ssh -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=15"
#: An empty folder in the mirror, in which git finds no hooks.
NO_HOOKS = "no-hooks"
_DAMAGED = re.compile(r"corrupt|bad (object|ref)|missing (blob|tree|commit)|unable to read|loose object|not a git repo")
_WHY = re.compile(r"^(fatal|error|ssh|Timeout)\b.*", re.MULTILINE)


class GitFailed(Exception):
    """git said no; the text is what it said."""


def git(folder: Path, *words: str, limit_s: float = LIMIT_S, environment: Mapping[str, str] | None = None) -> str:
    """Run git in a folder and return what it printed. Raises GitFailed, Refused when there is no git."""
    try:
        import git as gitpython  # only here: usage and refusals must work without it
    except ImportError as error:
        raise Refused(f"No git or GitPython ({error}). Type make .venv, then .venv/bin/python deploy.py") from error
    options = [word for name, value in OPTIONS.items() for word in ("-c", f"{name}={value}")]
    options += ["-c", f"core.hooksPath={folder / NO_HOOKS}"]
    try:
        status, out, err = gitpython.Git(folder).execute(
            ["nice", "-n", "10", "git", *options, *words],
            with_extended_output=True, with_exceptions=False, kill_after_timeout=limit_s,
            env={**ENVIRONMENT, **(environment or {})},
        )  # fmt: skip
    except gitpython.GitCommandNotFound as error:
        raise Refused(f"git cannot be started ({error}). Type: sudo apt install git") from error
    if status < 0:
        raise GitFailed(f"git {words[0]} was ended by {signal.Signals(-status).name}")
    if status != 0:
        raise GitFailed(_reason(str(err)))
    return str(out)


def _reason(said: str) -> str:
    """What git itself said, in one line."""
    lines = [match.group() for match in _WHY.finditer(said)] or said.splitlines()
    return " ".join(" ".join(lines[:2]).split())[:300] or "it said nothing"


# --- the clone that the person made ---------------------------------------------------------------------------------


def head_of(home: Home) -> str:
    """The commit that HOME is checked out at. Raises Refused."""
    if not (home.folder / ".git").exists():
        raise Refused(f"{home.folder} is no git checkout; clone the station anew")
    try:
        return git(home.folder, "rev-parse", "--verify", "HEAD^{commit}")
    except GitFailed as failure:
        raise Refused(f"git refuses {home.folder}: {failure}. Run this as the owner of the folder") from failure


def changed_files(home: Home) -> list[str]:
    """Tracked files of HOME that are not as they were delivered; config.ini may be, it is looked after elsewhere."""
    head_of(home)  # outside of a repository, or in one of somebody else, git diff would only print how to use it
    try:
        changed = git(home.folder, "diff", "--name-only", "-z", "HEAD", "--").split("\0")
    except GitFailed as failure:
        raise Refused(f"git refuses {home.folder}: {failure}. Run this as the owner of the folder") from failure
    return [name for name in changed if name and name != home.config.name]


def check_clone(home: Home) -> None:
    """Refuse when a person or a git is at work in HOME. Raises Refused."""
    lock = home.folder / ".git" / "index.lock"
    if lock.exists():
        raise Refused(f"Another git works in {home.folder}, or one was killed there. If none runs, delete {lock}")
    changed = changed_files(home)
    if changed:
        names = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        raise Refused(
            f"Changed by hand: {names}. Settings belong into config.local.ini; git diff shows the rest, and "
            "git checkout -- FILE takes it back"
        )


def address_of(home: Home, settings: DeploySettings) -> str:
    """Where updates come from. Raises Refused before git could touch an address that is not allowed."""
    try:
        address = git(home.folder, "remote", "get-url", "--", settings.remote)
    except GitFailed as failure:
        raise Refused(
            f"[Deploy] remote = {settings.remote}: git knows no such remote here ({failure}). See: git remote -v"
        ) from failure
    return judged_address(address, home.folder)


def _ssh(home: Home) -> str:
    """How git reaches an ssh address: as the site says, else without a question to anybody."""
    try:
        own = git(home.folder, "config", "--get", "core.sshCommand")
    except GitFailed:
        own = ""
    return os.environ.get("GIT_SSH_COMMAND") or own or SSH


# --- the mirror -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mirror:
    """HOME/mirror.git: what the remote has, as of the last fetch."""

    home: Home

    def fetch(self, address: str, settings: DeploySettings) -> None:
        """Bring what the remote has. A mirror that is damaged is made anew, once. Raises Refused."""
        try:
            self._fetch(address, settings)
        except GitFailed as failure:
            if not _DAMAGED.search(str(failure)) or not self.home.mirror.exists():
                raise self._no_fetch(settings, failure) from failure
            delete(self.home.mirror)
            try:
                self._fetch(address, settings)
            except GitFailed as again:
                raise self._no_fetch(settings, again) from again

    def _fetch(self, address: str, settings: DeploySettings) -> None:
        self._make()
        branch = f"+refs/heads/{settings.branch}:refs/heads/{settings.branch}"
        tags = ["+refs/tags/v*:refs/tags/v*"] if settings.require_signature else []
        git(self.home.mirror, "fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head",
            "--no-recurse-submodules", address, branch, *tags, limit_s=FETCH_LIMIT_S,
            environment={"GIT_SSH_COMMAND": _ssh(self.home)})  # fmt: skip

    def _no_fetch(self, settings: DeploySettings, failure: GitFailed) -> Refused:
        return Refused(f"{settings.source} could not be fetched: {failure}. Nothing was changed")

    def _make(self) -> None:
        """An empty one if there is none; and locks of a git that was killed are taken away (nobody else works here)."""
        if not (self.home.mirror / "HEAD").exists():
            delete(self.home.mirror)
            git(self.home.folder, "init", "--quiet", "--bare", "--template=", str(self.home.mirror))
        (self.home.mirror / NO_HOOKS).mkdir(exist_ok=True)
        for lock in self.home.mirror.rglob("*.lock"):
            lock.unlink(missing_ok=True)

    def know(self, commit: str) -> None:
        """Make sure that the mirror has a commit of HOME's own, also when the remote has it no more."""
        if not self.has(commit):
            self._make()
            try:
                self._git("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", str(self.home.folder),
                          f"+HEAD:refs/heads/home-{short(commit)}")  # fmt: skip
            except GitFailed as failure:
                raise Refused(f"Commit {short(commit)} of {self.home.folder} cannot be read: {failure}") from failure

    def has(self, commit: str) -> bool:
        return self.home.mirror.exists() and self._asks("cat-file", "-e", f"{commit}^{{commit}}")

    def head(self, branch: str) -> str:
        """The commit at the head of the branch, as of the last fetch."""
        return self._git("rev-parse", "--verify", f"refs/heads/{branch}^{{commit}}")

    def descends(self, commit: str, ancestor: str) -> bool:
        """`commit` came after `ancestor`, or is the same."""
        return self._asks("merge-base", "--is-ancestor", ancestor, commit)

    def count(self, new: str, old: str) -> int:
        """How many commits `new` has that `old` has not."""
        return int(self._git("rev-list", "--count", new, f"^{old}"))

    def tags(self, branch: str) -> dict[str, str]:
        """Every tag v... of a commit on the branch -> the object that its name leads to."""
        listed = self._git("for-each-ref", "--format=%(objectname) %(refname:strip=2)", f"--merged=refs/heads/{branch}",
                           "refs/tags/v*")  # fmt: skip
        return {name: ref for ref, _, name in (line.partition(" ") for line in listed.splitlines())}

    def tag_object(self, ref: str) -> str | None:
        """The text of a tag object; None for a tag that is only a name."""
        return self._git("cat-file", "tag", ref) if self._git("cat-file", "-t", ref) == "tag" else None

    def verify(self, ref: str, options: Mapping[str, str], keyring: Path) -> None:
        """Let git check the signature of a tag object; `keyring`: GPG's, and no other. Raises GitFailed."""
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        git(self.home.mirror, *words, "verify-tag", ref, environment={"GNUPGHOME": str(keyring)})

    def export(self, commit: str, folder: Path) -> None:
        """The files of a commit into an empty folder. Raises GitFailed, OSError."""
        archive = folder.with_name(f"{folder.name}.tar")
        try:
            self._git("archive", "--format=tar", f"--output={archive}", commit)
            with tarfile.open(archive) as files:
                if hasattr(tarfile, "data_filter"):
                    files.extraction_filter = tarfile.data_filter
                files.extractall(folder)
        finally:
            archive.unlink(missing_ok=True)

    def _asks(self, *words: str) -> bool:
        try:
            self._git(*words)
        except GitFailed:
            return False
        return True

    def _git(self, *words: str, limit_s: float = LIMIT_S) -> str:
        return git(self.home.mirror, *words, limit_s=limit_s)
