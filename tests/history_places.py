"""Job: databases for tests of the history: a SQLite file, and a PostgreSQL server of Debian's packages on loopback.

Thread: the test's. Lock: none. Units: s. The server lives as long as the test run (of one worker), has no fsync and
trusts everybody on 127.0.0.1; each test gets a database of its own.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mosquitto import free_port, until

BINARIES = Path("/usr/lib/postgresql")
MEMORY_DISK = Path("/dev/shm")
START_S, END_S = 20.0, 10.0


def need_libpq() -> None:
    """Skips where psycopg does not find its library (on the gate that is a failure)."""
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        pytest.skip(f"PostgreSQL cannot be reached: {error} (Debian: apt-get install libpq5)")


def find_postgres() -> Path:
    """The folder of initdb and postgres; without them the test is skipped (on the gate that is a failure)."""
    need_libpq()
    found = sorted(BINARIES.glob("*/bin/initdb"))
    if not found or shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    return found[-1].parent


class PostgresServer:
    """One server with a folder of its own. initdb refuses root, so both run as the user postgres then."""

    def __init__(self) -> None:
        self.port = free_port()
        self._binaries = find_postgres()
        self._folder = Path(tempfile.mkdtemp(prefix="history-pg-", dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None))
        self._as: list[str] = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._as = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self._run("initdb", "-D", str(self._folder / "data"), "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        command = [
            *self._as, str(self._binaries / "postgres"), "-D", str(self._folder / "data"), "-p", str(self.port),
            "-h", "127.0.0.1", "-k", str(self._folder), "-c", "fsync=off", "-c", "full_page_writes=off",
            "-c", "shared_buffers=16MB", "-c", "max_connections=40", "-c", "logging_collector=off",
        ]  # fmt: skip
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd="/", stdout=log, stderr=subprocess.STDOUT)
        until(self._answers, "PostgreSQL answers", START_S)

    def stop(self) -> None:
        """At once, as when its machine is switched off."""
        if self._process is not None:
            self._process.send_signal(3)  # SIGQUIT: immediate shutdown
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(END_S)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def new_url(self) -> str:
        """The URL of a new, empty database."""
        import psycopg

        self._databases += 1
        name = f"history_{self._databases}"
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return f"postgresql://tester@127.0.0.1:{self.port}/{name}"

    def wait_alone(self, url: str) -> None:
        """Until the server has noticed that a client was killed: what it was just told to commit is in or out then."""
        import psycopg

        name = url.rpartition("/")[2]
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:

            def alone() -> bool:
                row = connection.execute(others, (name,)).fetchone()
                return row is not None and row[0] == 0

            until(alone, "the server has let go of who was killed")

    def _conninfo(self, name: str) -> str:
        return f"host=127.0.0.1 port={self.port} user=tester dbname={name} connect_timeout=2"

    def _answers(self) -> bool:
        import psycopg

        if self._process is not None and self._process.poll() is not None:
            pytest.fail(f"PostgreSQL did not start:\n{(self._folder / 'log').read_text()}")
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self._conninfo("postgres")):
            return True
        return False

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(self._binaries / program), *arguments]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


def servers() -> Iterator[Callable[[], PostgresServer]]:
    """For a session fixture: gives the one running server, which is started when it is first wanted."""
    made: list[PostgresServer] = []

    def server() -> PostgresServer:
        if not made:
            made.append(PostgresServer())
            made[0].start()
        return made[0]

    yield server
    for each in made:
        each.remove()
