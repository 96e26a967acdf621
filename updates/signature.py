"""Job: whose tag is trusted: a signature by a key of the pinned file, under the name that was signed.

Thread: MainThread. Lock: none. Units: none. A good signature alone proves little: an old tag published under a newer
name still has one. So the name inside the object must be the name outside, and the version be higher than the last.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from updates.home import Home
from updates.journal import version_of
from updates.mirror import GitFailed, Mirror
from updates.terms import Refused

_TAG = re.compile(r"v\d{1,6}\.\d{1,6}\.\d{1,6}", re.ASCII)
_PGP_KEYS = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"
#: So many tags are looked at, the highest first: a flood of bad ones must not keep the station busy for hours.
MOST_TAGS = 20
LIMIT_S = 30.0


class Kind(Enum):
    """How a tag is signed, by the line that its signature begins with."""

    SSH = "-----BEGIN SSH SIGNATURE-----"
    GPG = "-----BEGIN PGP SIGNATURE-----"


class Untrusted(Exception):
    """This tag is not taken; the text says why."""


@dataclass(frozen=True, slots=True)
class SignedTag:
    """A tag that is trusted."""

    name: str
    commit: str


def highest_signed(
    mirror: Mirror, branch: str, signers: Path, floor: str, running: str
) -> tuple[SignedTag | None, list[str]]:
    """The highest trusted tag of the branch above the floor, and why others above it are not taken. Raises Refused."""
    _check_signers(mirror.home, signers)
    names = {name: ref for name, ref in mirror.tags(branch).items() if _TAG.fullmatch(name)}
    above = sorted((name for name in names if version_of(name) > version_of(floor)), key=version_of, reverse=True)
    reasons: list[str] = []
    for name in above[:MOST_TAGS]:
        try:
            tag = SignedTag(name, trusted_commit(mirror, name, names[name], signers))
            if not mirror.descends(tag.commit, running):
                raise Untrusted("it names an older commit than the one that runs")
            return tag, reasons
        except Untrusted as reason:
            reasons.append(f"Tag {name} is not taken: {reason}")
    return None, reasons


def _check_signers(home: Home, signers: Path) -> None:
    """Raises Refused."""
    if not signers.is_file():
        raise Refused(f"[Deploy] allowed_signers_file: there is no file {signers}")
    if signers.stat().st_mode & 0o002:
        raise Refused(f"Everybody on this computer may write {signers}, so it proves nothing. Run: chmod o-w {signers}")
    for inside in (home.releases, home.current, home.mirror):
        if signers.resolve().is_relative_to(inside.resolve()):
            raise Refused(f"{signers} comes with the release that it shall prove. Keep it outside of {inside}")


def trusted_commit(mirror: Mirror, name: str, ref: str, signers: Path) -> str:
    """The commit that a trusted tag names. Raises Untrusted."""
    content = mirror.tag_object(ref)
    if content is None:
        raise Untrusted("it is a plain name without a signature")
    head, _, body = content.partition("\n\n")
    fields = dict(line.split(" ", 1) for line in head.splitlines() if " " in line)
    if fields.get("tag") != name:
        raise Untrusted(f"it was signed as {fields.get('tag')} and published under another name")
    if fields.get("type") != "commit":
        raise Untrusted("it does not name a commit")
    kind = next((kind for kind in Kind if f"\n{kind.value}\n" in f"\n{body}\n"), None)
    if kind is None:
        raise Untrusted("it has no signature")
    _verify(mirror, ref, kind, signers)
    return fields["object"]


def _verify(mirror: Mirror, ref: str, kind: Kind, signers: Path) -> None:
    """By the keys of the pinned file alone: the user's own keyring does not count. Raises Untrusted."""
    pinned = _kind_of(signers)
    if kind is not pinned:
        raise Untrusted(f"it is signed with {kind.name}, and {signers.name} holds keys for {pinned.name}")
    options = {
        "gpg.ssh.allowedSignersFile": str(signers),
        "gpg.ssh.program": "ssh-keygen",
        "gpg.openpgp.program": "gpg",
        "gpg.minTrustLevel": "undefined",  # the file itself says who is trusted
    }
    with tempfile.TemporaryDirectory(prefix="keys-") as keyring:
        if kind is Kind.GPG:
            _import_keys(signers, keyring)
        try:
            mirror.verify(ref, options, Path(keyring))
        except GitFailed as failure:
            raise Untrusted(f"its signature is not by a key of {signers.name} ({failure})") from failure


def _kind_of(signers: Path) -> Kind:
    head = signers.read_bytes()[:4096]
    binary = bool(head) and head[0] & 0x80 != 0  # the first byte of a PGP packet has its highest bit set
    return Kind.GPG if _PGP_KEYS in head or binary else Kind.SSH


def _import_keys(signers: Path, keyring: str) -> None:
    command = ["gpg", "--homedir", keyring, "--batch", "--no-autostart", "--quiet", "--import", str(signers)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Untrusted(f"gpg does not work here: {error}") from error
    if done.returncode != 0:
        raise Untrusted(f"the keys in {signers.name} cannot be read: {done.stderr.strip()}")
