"""Job: the two databases that a history can lie in: how each is opened, made durable, measured and made smaller.

Thread: `history` has the one connection that writes; readers get connections of their own that cannot write. Lock:
none. Units: bytes, s.

SQLite: WAL, so that readers never keep the writer waiting nor it them. PostgreSQL: the password comes from the service
user's ~/.pgpass (or PGPASSFILE, PGPASSWORD), as libpq does it, or stands in the URL; it is never told to anybody.
"""

from __future__ import annotations

import contextlib
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, Table, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from monitoring.history import tables
from monitoring.history.migrations import NotOurs

#: Somebody else may hold a lock so long; after that it is tried again later.
BUSY_S = 2.0
#: A server that is not there is given up after this.
CONNECT_S = 5
#: No question of a reader takes longer.
QUERY_S = 20
#: The WAL is written back at so many pages (4096 bytes each), and cut to that when it was longer.
WAL_PAGES, PAGE_BYTES = 200, 4096
#: Readers at a time; more of them wait this long for their turn.
READERS, READER_WAIT_S = 4, 5.0
#: Marks our SQLite files: the letters "vesc".
APPLICATION_ID = 0x76657363
#: Free pages are handed back so many at a time, each time a transaction of its own.
VACUUM_PAGES = 500


#: What a database that does not work may raise.
FAILURES = (SQLAlchemyError, sqlite3.Error, OSError)


class Unusable(Exception):
    """The URL cannot be meant; the sentence says why. Trying again does not help."""


class Database(ABC):
    """One place for the history."""

    #: for people: without a password
    name: str
    #: what readers use; connections that cannot write
    readers: Engine
    _writers: Engine
    #: deleted rows leave used_bytes at once, before anything is given back
    frees_at_once: bool

    @abstractmethod
    def open(self) -> Connection:
        """The connection that writes. Raises DBAPIError, OSError, NotOurs."""

    @abstractmethod
    def durable(self, connection: Connection, safe: bool) -> None:
        """Call before a transaction. `safe`: once committed it survives a power cut."""

    @abstractmethod
    def used_bytes(self, connection: Connection) -> int:
        """What the rows and indexes take, without what is free inside."""

    @abstractmethod
    def disk_bytes(self, connection: Connection) -> int:
        """What it takes on the disk."""

    @abstractmethod
    def give_back(self, connection: Connection, table: Table) -> None:
        """Hand back to the disk what was deleted from a table."""

    def still_there(self) -> bool:
        """False when the open connection writes into something that nobody will find again."""
        return True

    def set_aside(self) -> Path | None:
        """Move a broken database out of the way; its new name, or None where that cannot be done."""
        return None

    def close(self) -> None:
        self.readers.dispose()
        self._writers.dispose()


def database(url: str, folder: Path) -> Database:
    """The database that [History] url means. Raises Unusable."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise Unusable("[History] url is no database URL such as sqlite:///history.db") from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise Unusable("[History] url names no file: write sqlite:///history.db")
        return SqliteDatabase(folder / parsed.database)
    if backend in ("postgresql", "postgres"):
        try:
            return PostgresDatabase(parsed.set(drivername="postgresql+psycopg"))
        except ImportError as error:
            raise Unusable(f"PostgreSQL cannot be used here: {error} (Debian: apt install libpq5)") from None
    raise Unusable(f"[History] url is of the kind {backend}: sqlite:/// and postgresql:// are known")


# --- SQLite -----------------------------------------------------------------------------------------------------------


class SqliteDatabase(Database):
    """One file beside config.ini."""

    frees_at_once = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self.busy_s = BUSY_S
        self._inode: int | None = None
        self._writers = create_engine("sqlite://", creator=self._connect_writer, poolclass=NullPool)
        self.readers = create_engine(
            "sqlite://", creator=self._connect_reader, poolclass=QueuePool, pool_size=READERS, max_overflow=0,
            pool_timeout=READER_WAIT_S, pool_recycle=60,
        )  # fmt: skip
        # else sqlite3 begins a transaction at the first write alone, and reads before it see another state
        event.listen(self._writers, "begin", _begin_to_write)
        event.listen(self.readers, "begin", _begin_to_read)

    def open(self) -> Connection:
        if self.path.exists() and not self.path.is_file():
            raise NotOurs("it is not a file")
        connection = self._writers.connect()
        try:
            raw = driver(connection)
            application = raw.execute("PRAGMA application_id").fetchone()[0]
            has_tables = raw.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0
            if application != APPLICATION_ID and (application or has_tables):
                raise NotOurs("the file belongs to another program")
            if application != APPLICATION_ID:  # an empty file; auto_vacuum goes before all that writes into it
                raw.execute("PRAGMA auto_vacuum = INCREMENTAL")
                raw.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            raw.execute("PRAGMA journal_mode = WAL")
            raw.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
            raw.execute(f"PRAGMA journal_size_limit = {WAL_PAGES * PAGE_BYTES}")
            raw.execute("PRAGMA cache_size = -2000")
            self._inode = self.path.stat().st_ino
        except BaseException:
            connection.close()
            raise
        return connection

    def durable(self, connection: Connection, safe: bool) -> None:
        driver(connection).execute(f"PRAGMA synchronous = {'FULL' if safe else 'NORMAL'}")

    def used_bytes(self, connection: Connection) -> int:
        raw = driver(connection)
        pages, free, size = (
            raw.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def disk_bytes(self, connection: Connection) -> int:
        return sum(path.stat().st_size for path in self._files() if path.exists())

    def give_back(self, connection: Connection, table: Table) -> None:
        raw = driver(connection)
        while raw.execute("PRAGMA freelist_count").fetchone()[0] > 0:
            before = raw.execute("PRAGMA page_count").fetchone()[0]
            raw.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()
            if raw.execute("PRAGMA page_count").fetchone()[0] == before:
                break  # a file that was made without auto_vacuum: its free pages are used again, and stay
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def still_there(self) -> bool:
        try:
            return self.path.stat().st_ino == self._inode
        except OSError:
            return False

    def set_aside(self) -> Path | None:
        for number in range(1, 100):
            aside = self.path.with_name(f"{self.path.name}.broken-{number}")
            if not aside.exists():
                for path in self._files():
                    with contextlib.suppress(FileNotFoundError):
                        path.replace(aside.with_name(aside.name + path.name.removeprefix(self.path.name)))
                return aside
        return None

    def _files(self) -> Iterator[Path]:
        yield from (self.path.with_name(self.path.name + end) for end in ("", "-wal", "-shm"))

    def _connect_writer(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=self.busy_s, isolation_level=None, check_same_thread=False)

    def _connect_reader(self) -> sqlite3.Connection:
        # rw and not ro: a file that was left with a WAL needs somebody who may tidy it up. It is never made here
        where = f"file:{quote(str(self.path))}?mode=rw"
        raw = sqlite3.connect(where, uri=True, timeout=self.busy_s, isolation_level=None, check_same_thread=False)
        raw.execute("PRAGMA query_only = ON")
        raw.execute("PRAGMA cache_size = -1000")
        return raw


def driver(connection: Connection) -> sqlite3.Connection:
    """sqlite3's own connection: for PRAGMAs, which must stand outside of a transaction."""
    raw: Any = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def _begin_to_write(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_to_read(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


#: A station that lost its power leaves a connection behind: the server shall find that out within half a minute.
_WRITER_SETTINGS = (
    f"lock_timeout = '{BUSY_S:g}s'",
    "tcp_keepalives_idle = 10",
    "tcp_keepalives_interval = 5",
    "tcp_keepalives_count = 3",
)


class PostgresDatabase(Database):
    """A database of a server, for this station alone."""

    frees_at_once = False

    def __init__(self, url: URL) -> None:
        self.name = url.render_as_string(hide_password=True)
        waits: dict[str, Any] = {} if "connect_timeout" in url.query else {"connect_timeout": CONNECT_S}
        self._writers = create_engine(url, poolclass=NullPool, connect_args=waits)
        self.readers = create_engine(
            url, pool_size=READERS, max_overflow=0, pool_timeout=READER_WAIT_S, pool_pre_ping=True, pool_recycle=300,
            connect_args=waits,
        )  # fmt: skip
        event.listen(self.readers, "connect", _only_read)

    def open(self) -> Connection:
        connection = self._writers.connect()
        try:
            with connection.begin():
                for setting in _WRITER_SETTINGS:
                    connection.execute(text(f"SET {setting}"))
                ours = connection.execute(
                    text("SELECT pg_try_advisory_lock(hashtext('vesec history ' || current_schema()))")
                ).scalar()
            if not ours:
                raise NotOurs("another station, or another process of this one, writes into it")
        except BaseException:
            connection.close()
            raise
        return connection

    def durable(self, connection: Connection, safe: bool) -> None:
        with connection.begin():
            connection.execute(text(f"SET synchronous_commit = {'on' if safe else 'off'}"))

    def used_bytes(self, connection: Connection) -> int:
        return self.disk_bytes(connection)

    def disk_bytes(self, connection: Connection) -> int:
        with connection.begin():
            return sum(self.table_bytes(connection, table) for table in tables.metadata.sorted_tables)

    def table_bytes(self, connection: Connection, table: Table) -> int:
        """With indexes and what lies beside it."""
        found = connection.execute(text("SELECT pg_total_relation_size(to_regclass(:name))"), {"name": table.name})
        return int(found.scalar() or 0)

    def give_back(self, connection: Connection, table: Table) -> None:
        connection.execution_options(isolation_level="AUTOCOMMIT")  # VACUUM stands outside of transactions
        try:
            connection.execute(text(f"VACUUM (FULL, ANALYZE) {table.name}"))
        finally:
            connection.rollback()
            connection.execution_options(isolation_level="READ COMMITTED")


def _only_read(raw: Any, _: object) -> None:
    with raw.cursor() as cursor:
        cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        cursor.execute(f"SET statement_timeout = '{QUERY_S}s'")
    raw.commit()


# --- both -------------------------------------------------------------------------------------------------------------


def upsert(connection: Connection, table: Table, rows: list[dict[str, Any]], keys: tuple[str, ...]) -> None:
    """Insert rows; one whose key is there already takes the place of that."""
    if not rows:
        return
    make: Callable[[Table], Any] = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = make(table)
    rest = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=list(keys), set_=rest), rows)


def is_broken(error: BaseException) -> bool:
    """The file holds what SQLite cannot read any more."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return isinstance(cause, sqlite3.DatabaseError) and "malformed" in str(cause)


#: What SQLite says, and what it means to whoever stands before it.
_PLAIN = {
    "unable to open database file": "the file is not there, or may not be opened",
    "database is locked": "another program holds it locked",
    "readonly database": "the file or its folder may not be written",
    "disk is full": "the disk is full",
    "disk I/O error": "the disk fails",
    "malformed": "the file is damaged",
    "not a database": "the file is no SQLite database",
    "no such table": "it holds no history yet",
}


def words(error: BaseException) -> str:
    """An error of a database in one line, without the statement and its values."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    line = " ".join(str(cause).split()) or type(cause).__name__
    return next((plain for told, plain in _PLAIN.items() if told in line), line[:300])
