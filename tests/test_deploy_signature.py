"""Only signed tags: what is taken, and everything that must not be.

Thread: the test's. Lock: none. Units: none.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from deploy_rig import LOCAL, Site, git, shared_venv, site


class Keys:
    """SSH keys of people who may, and of others who may not, sign."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.allowed = folder / "allowed_signers"

    def make(self, name: str, allowed: bool, options: str = "") -> Path:
        key = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        if allowed:
            with self.allowed.open("a") as file:
                file.write(f"{name}@example {options} {key.with_suffix('.pub').read_text()}".replace("  ", " "))
        return key


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    made = Keys(tmp_path)
    made.make("maker", allowed=True)
    return made


@pytest.fixture
def here(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Iterator[Site]:
    with site(tmp_path, shared_venv(tmp_path_factory.getbasetemp().parent / "shared-venv")) as made:
        made.home.local.write_text(f"{LOCAL}require_signature = true\nallowed_signers_file = {keys.allowed}\n")
        yield made


def tag(here: Site, name: str, key: Path | None, commit: str = "HEAD") -> None:
    """A tag of the remote, signed by this key; None: annotated and not signed."""
    signed = ["-s", "-m", name] if key else ["-a", "-m", name]
    git(here.remote.folder, "-c", "gpg.format=ssh", "-c", f"user.signingKey={key}", "tag", *signed, name, commit)


def refused(here: Site) -> str:
    """Nothing is taken; what was said."""
    def stands() -> tuple[object, ...]:
        return here.home.running(), here.journal.floor, (here.fresh_status() or {}).get("pid")

    before = stands()
    code, said = here.deploy("update")
    assert code == 1, said
    assert stands() == before
    return said


def test_the_highest_signed_tag_is_taken_and_nothing_below_it_ever_again(here: Site, keys: Keys) -> None:
    maker, stranger = keys.folder / "maker", keys.make("stranger", allowed=False)
    one = here.remote.commit()
    tag(here, "v1.9.0", maker)
    ten = here.remote.commit()
    tag(here, "v1.10.0", maker)
    here.remote.commit()  # the head of the branch has no tag
    code, said = here.deploy("update")
    assert (code, here.home.running(), here.journal.floor) == (0, ten, "v1.10.0"), said
    assert f"v1.10.0 ({ten[:12]})" in said
    assert here.deploy("update") == (0, "Asking origin/main\nNothing new\n")

    # five ways to bring something that is not to be trusted
    here.remote.commit()
    tag(here, "v1.11.0", None)
    git(here.remote.folder, "tag", "v1.12.0")
    tag(here, "v1.13.0", stranger)
    replayed = git(here.remote.folder, "rev-parse", "refs/tags/v1.9.0")
    git(here.remote.folder, "update-ref", "refs/tags/v2.0.0", replayed)
    tag(here, "v1.14.0", maker, one)
    said = refused(here)
    assert "Tag v2.0.0 is not taken: it was signed as v1.9.0 and published under another name" in said
    assert "Tag v1.14.0 is not taken: it names an older commit than the one that runs" in said
    assert "Tag v1.13.0 is not taken: its signature is not by a key of allowed_signers" in said
    assert "Tag v1.12.0 is not taken: it is a plain name without a signature" in said
    assert "Tag v1.11.0 is not taken: it has no signature" in said

    # a good one among them is taken all the same, with the second key
    second = keys.make("second", allowed=True)
    tag(here, "v1.13.5", second)
    code, said = here.deploy("update")
    assert (code, here.journal.floor) == (0, "v1.13.5"), said
    assert "Tag v2.0.0 is not taken" in said

    # a rollback is not held up by the floor, and the floor stays
    code, said = here.deploy("rollback")
    assert (code, here.home.running(), here.journal.floor) == (0, ten, "v1.13.5"), said


def test_a_tag_of_another_branch_or_with_a_strange_name_does_not_count(here: Site, keys: Keys) -> None:
    git(here.remote.folder, "switch", "-q", "-c", "beta")
    here.remote.commit()
    for name in ("v9.0.0", "v9.1", "v9.0.0-rc1", "va.b.c"):
        tag(here, name, keys.folder / "maker")
    git(here.remote.folder, "switch", "-q", "main")
    here.remote.commit()
    assert here.deploy("update") == (0, "Asking origin/main\nNothing new\n")


def test_a_key_that_had_expired_when_the_tag_was_made(here: Site, keys: Keys) -> None:
    here.remote.commit()
    tag(here, "v1.0.0", keys.make("former", allowed=True, options='valid-before="20200101"'))
    assert "its signature is not by a key of allowed_signers" in refused(here)


def test_a_pinned_file_that_is_missing_or_that_others_may_write(here: Site, keys: Keys) -> None:
    here.remote.commit()
    tag(here, "v1.0.0", keys.folder / "maker")
    keys.allowed.chmod(0o666)
    assert "so it proves nothing. Run: chmod o-w" in refused(here)
    keys.allowed.unlink()
    assert "there is no file" in refused(here)
    here.home.local.write_text(LOCAL + "require_signature = true\n")
    assert "require_signature needs allowed_signers_file" in refused(here)
    here.home.local.write_text(LOCAL + "require_signature = perhaps\n")
    assert "this is no true or false" in refused(here)
    here.home.local.write_text(f"{LOCAL}require_signature = true\nallowed_signers_file = mirror.git/allowed\n")
    here.home.mirror.mkdir(exist_ok=True)
    (here.home.mirror / "allowed").touch()
    assert "comes with the release that it shall prove" in refused(here)


def gpg(home: Path, *words: str) -> str:
    command = ["gpg", "--homedir", str(home), "--batch", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def keyrings() -> Iterator[Path]:
    """gpg-agent listens at a socket in here, and the path of a socket has at most 107 letters."""
    with tempfile.TemporaryDirectory(prefix="gpg-", dir="/tmp") as folder:
        yield Path(folder)


def test_gpg_keys_of_the_pinned_file_and_no_others(
    here: Site, keys: Keys, keyrings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keyring of the user is full of other people."""
    maker, stranger = keyrings / "maker", keyrings / "stranger"
    for home in (maker, stranger):
        home.mkdir(mode=0o700)
        gpg(home, "--passphrase", "", "--quick-generate-key", f"{home.name} <{home.name}@example>", "ed25519", "sign")
    keys.allowed.write_text(gpg(maker, "--armor", "--export"))
    monkeypatch.setenv("GNUPGHOME", str(stranger))  # the site's own keyring trusts the stranger
    new = here.remote.commit()
    for name, home in (("v1.0.0", maker), ("v1.1.0", stranger)):
        environment = {**os.environ, "GNUPGHOME": str(home), "GIT_COMMITTER_NAME": "x", "GIT_COMMITTER_EMAIL": "x@y"}
        command = ["git", "-c", f"user.signingKey={home.name}@example", "tag", "-s", "-m", name, name]
        subprocess.run(command, cwd=here.remote.folder, check=True, env=environment)
        gpg_agent_ends(home)
    tag(here, "v1.2.0", keys.folder / "maker")
    code, said = here.deploy("update")
    assert (code, here.home.running(), here.journal.floor) == (0, new, "v1.0.0"), said
    assert "Tag v1.1.0 is not taken: its signature is not by a key of allowed_signers" in said
    assert "Tag v1.2.0 is not taken: it is signed with SSH, and allowed_signers holds keys for GPG" in said


def gpg_agent_ends(home: Path) -> None:
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, capture_output=True)
