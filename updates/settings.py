"""Job: [Deploy] of config.ini and config.local.ini, and which addresses an update may come from.

Thread: MainThread. Lock: none. Units: s, minutes of the day. Reads the file itself, since it has to work when the
station's own code does not; main.py --check names everything that is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from updates import site
from updates.home import Home
from updates.terms import Refused

DAY_MIN = 24 * 60
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]*")
_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|24:00)")
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.-]*::")


@dataclass(frozen=True, slots=True)
class Window:
    """The time of day at which `run` updates by itself; over midnight when it ends before it begins."""

    from_min: int = 0
    to_min: int = DAY_MIN

    def __contains__(self, minute: int) -> bool:
        if self.from_min < self.to_min:
            return self.from_min <= minute < self.to_min
        return minute >= self.from_min or minute < self.to_min

    def __str__(self) -> str:
        return f"{_clock(self.from_min)}-{_clock(self.to_min)}"


@dataclass(frozen=True, slots=True)
class DeploySettings:
    """Where updates come from and what has to hold."""

    remote: str = "origin"
    branch: str = "main"
    interval_s: float = 0.0
    require_signature: bool = False
    allowed_signers_file: Path | None = None
    window: Window = Window()
    idle_for_s: float = 60.0
    health_timeout_s: float = 60.0
    stable_for_s: float = 60.0
    keep_releases: int = 3

    @property
    def source(self) -> str:
        return f"{self.remote}/{self.branch}"


def read_settings(home: Home) -> DeploySettings:
    """Raises Refused: what cannot be read must not count as "no signature needed"."""
    keys = site.merged(home).get("Deploy", {})
    default = DeploySettings()
    signers = keys.get("allowed_signers_file")
    settings = DeploySettings(
        remote=_named(keys, "remote", default.remote, _NAME, "name of a git remote"),
        branch=_named(keys, "branch", default.branch, _BRANCH, "name of a branch"),
        interval_s=_number(keys, "interval", default.interval_s),
        require_signature=_yes_or_no(keys, "require_signature"),
        allowed_signers_file=home.folder / Path(signers).expanduser() if signers else None,
        window=_window(keys),
        idle_for_s=_number(keys, "idle_for", default.idle_for_s),
        health_timeout_s=_number(keys, "health_timeout", default.health_timeout_s),
        stable_for_s=_number(keys, "stable_for", default.stable_for_s),
        keep_releases=max(2, round(_number(keys, "keep_releases", default.keep_releases))),
    )
    if settings.require_signature and settings.allowed_signers_file is None:
        raise Refused("[Deploy] require_signature needs allowed_signers_file, which says whose signature counts")
    return settings


def _wrong(key: str, text: str, wanted: str) -> Refused:
    return Refused(f"[Deploy] {key} = {text}: this is no {wanted}. Correct it in config.local.ini")


def _named(keys: Mapping[str, str], key: str, default: str, form: re.Pattern[str], wanted: str) -> str:
    text = keys.get(key, default)
    if form.fullmatch(text) is None or ".." in text or text.endswith(("/", ".lock")):
        raise _wrong(key, text, wanted)
    return text


def _number(keys: Mapping[str, str], key: str, default: float) -> float:
    text = keys.get(key, str(default))
    if re.fullmatch(r"\d{1,7}(\.\d+)?", text, re.ASCII) is None:
        raise _wrong(key, text, "plain number")
    return float(text)


def _yes_or_no(keys: Mapping[str, str], key: str) -> bool:
    text = keys.get(key, "false")
    if text.lower() not in ("true", "false"):
        raise _wrong(key, text, "true or false")
    return text.lower() == "true"


def _window(keys: Mapping[str, str]) -> Window:
    text = keys.get("window", str(Window()))
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise _wrong("window", text, "HH:MM-HH:MM")
    h1, m1, h2, m2 = match.groups()
    return Window(int(h1) * 60 + int(m1), DAY_MIN if h2 is None else int(h2) * 60 + int(m2))


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


# --- addresses ------------------------------------------------------------------------------------------------------


def judged_address(address: str, folder: Path) -> str:
    """The address of a remote as git may have it: https, ssh or a path on this computer. Raises Refused.

    git would take an address that begins with "-" for an option and run the program of an ext:: address.
    """
    shown = address if address.isprintable() and len(address) < 200 else ascii(address)[:200]
    if not address or address.startswith("-") or not address.isprintable() or _HELPER.match(address):
        raise Refused(f"The remote's address {shown} is not allowed: https, ssh or a folder of this computer")
    if "://" in address:
        return _judged_url(address, shown)
    host, colon, _ = address.partition(":")
    if colon and "/" not in host:  # user@host:path
        if host.rpartition("@")[2].startswith("-"):
            raise Refused(f"The remote's address {shown} is not allowed: a host does not begin with -")
        return address
    return str(folder / address)


def _judged_url(address: str, shown: str) -> str:
    try:
        parts = urlsplit(address)
        host, secret = parts.hostname or "", parts.password
    except ValueError as error:
        raise Refused(f"The remote's address {shown} cannot be understood: {error}") from error
    if parts.scheme not in ("https", "ssh"):
        raise Refused(f"The remote's address {shown} is not allowed: only https, ssh or a folder of this computer")
    if secret is not None or (parts.scheme == "https" and "@" in parts.netloc):
        raise Refused(
            f"The address of the remote at {host} holds a password or token. Take it out (git remote set-url) and use "
            "a key (ssh) or git's credential helper; the log would show it to everybody"
        )
    if not host or host.startswith("-") or (parts.username or "").startswith("-"):
        raise Refused(f"The remote's address {shown} names no host")
    return address
