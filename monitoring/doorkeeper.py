"""Job: who may act: the token, the sessions of the page, and how often somebody may be wrong.

Thread: the page's event loop alone. Lock: none. Units: s (monotonic). Nothing of it is written anywhere.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections import deque
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

#: A signed-in page may act for so long.
SESSION_S = 12 * 3600.0
SESSIONS_KEPT = 64
#: So often may one address, and all together, show a wrong token within WRONG_WINDOW_S.
WRONG_OF_ONE, WRONG_OF_ALL = 5, 50
WRONG_WINDOW_S = 60.0
LONGEST_TOKEN = 256


class Denied(Exception):
    """Somebody may not act; the text is for that person."""

    def __init__(self, status: int, sentence: str, retry_after_s: int | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.retry_after_s = status, sentence, retry_after_s


@dataclass(frozen=True, slots=True)
class Session:
    """One signed-in page."""

    secret: str  # the cookie
    csrf: str
    name: str  # for the log: says nothing about the secret
    ends_s: float


def read_token(path: Path) -> str:
    """The first line of the file. Raises OSError or ValueError."""
    with path.open(encoding="utf-8") as file:
        return file.readline(LONGEST_TOKEN + 2).strip()


class Doorkeeper:
    """Knows the token, gives sessions, counts who is wrong."""

    def __init__(self, token: str | None) -> None:
        """`token`: None or empty: nobody may act."""
        self._token = _digest(token) if token else None
        self._sessions: dict[bytes, Session] = {}  # by digest: a look-up tells nothing by its time
        self._wrong: deque[tuple[float, str]] = deque()  # when, from which address

    @property
    def acting(self) -> bool:
        return self._token is not None

    def sign_in(self, token: str, address: str, now_s: float) -> Session:
        """A session for who shows the token. Raises Denied."""
        self._check(token, address, now_s)
        session = Session(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_hex(3), now_s + SESSION_S)
        self._forget_old(now_s)
        while len(self._sessions) >= SESSIONS_KEPT:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[_digest(session.secret)] = session
        return session

    def bearer(self, token: str, address: str, now_s: float) -> None:
        """A program shows the token with each act. Raises Denied."""
        self._check(token, address, now_s)

    def session(self, secret: str | None, now_s: float) -> Session | None:
        """The session of this cookie; None: none, or it is over."""
        if not secret:
            return None
        session = self._sessions.get(_digest(secret))
        return session if session is not None and now_s < session.ends_s else None

    def sign_out(self, secret: str | None) -> None:
        if secret:
            self._sessions.pop(_digest(secret), None)

    def _check(self, token: str, address: str, now_s: float) -> None:
        if self._token is None:
            raise Denied(404, "Nobody can act here: no token is configured ([Dashboard] token_file).")
        self._refuse_too_many(address, now_s)
        if not hmac.compare_digest(_digest(token), self._token):
            self._wrong.append((now_s, address))
            log.warning("A wrong token was shown from %s", address)  # at most WRONG_OF_ALL a minute
            raise Denied(401, "This is not the token of the station.")

    def _refuse_too_many(self, address: str, now_s: float) -> None:
        """Even the right token is refused then: else an answer would tell that a guess was right."""
        while self._wrong and now_s - self._wrong[0][0] >= WRONG_WINDOW_S:
            self._wrong.popleft()
        of_one = [at_s for at_s, other in self._wrong if other == address]
        for times_s, limit in ((of_one, WRONG_OF_ONE), ([at_s for at_s, _ in self._wrong], WRONG_OF_ALL)):
            if len(times_s) >= limit:
                wait_s = max(1, int(times_s[-limit] + WRONG_WINDOW_S - now_s + 0.999))
                raise Denied(429, f"Too many wrong tokens. Try again in {wait_s} s.", wait_s)

    def _forget_old(self, now_s: float) -> None:
        self._sessions = {digest: each for digest, each in self._sessions.items() if now_s < each.ends_s}


def same(given: str | None, right: str) -> bool:
    """Compare a secret in a time that tells nothing."""
    return given is not None and hmac.compare_digest(_digest(given), _digest(right))


def _digest(text: str) -> bytes:
    """Of equal length whatever the text, so that a comparison does not tell the length of the token."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
