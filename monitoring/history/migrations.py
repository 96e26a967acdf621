"""Job: bring a database to the present form of its tables, step by step, or say why that cannot be.

Thread: history. Lock: none; a step and its new number are one transaction, so a power cut leaves the one or the other
form. Units: none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Connection, MetaData, delete, insert, inspect, select

from monitoring.history import tables

#: Version -> what leads to it from the version before. Version 1 is the first that was ever written, so nothing leads
#: there.
MIGRATIONS: Mapping[int, Callable[[Connection], None]] = {}


class NotOurs(Exception):
    """The database holds something that this program must not touch; the sentence says what."""


def migrate(
    connection: Connection,
    steps: Mapping[int, Callable[[Connection], None]] = MIGRATIONS,
    metadata: MetaData = tables.metadata,
    newest: int = tables.SCHEMA_VERSION,
) -> int:
    """Make the tables, or bring them to the version `newest`; returns the version it had (0: it was empty).

    Raises NotOurs and changes nothing when the tables are newer than this program, or of another one.
    """
    with connection.begin():
        found = version(connection, metadata)
        if found > newest:
            raise NotOurs(
                f"its tables have form {found}, this program knows {newest} at most: it was written by a newer version"
            )
        if found == 0:
            metadata.create_all(connection)
            _set_version(connection, newest)
    for number in range(found + 1, newest + 1) if found else ():
        with connection.begin():
            steps[number](connection)
            _set_version(connection, number)
    return found


def version(connection: Connection, metadata: MetaData = tables.metadata) -> int:
    """The form of the tables; 0: there are none. Raises NotOurs for tables of our names that are not ours."""
    there = set(inspect(connection).get_table_names())
    if tables.schema_version.name not in there:
        foreign = sorted(there & set(metadata.tables))
        if foreign:
            raise NotOurs(f"there is a table named {foreign[0]} that this program did not make")
        return 0
    found = connection.execute(select(tables.schema_version.c.version)).scalar()
    if found is None:
        raise NotOurs("its table schema_version is empty")
    return int(found)


def _set_version(connection: Connection, number: int) -> None:
    connection.execute(delete(tables.schema_version))
    connection.execute(insert(tables.schema_version).values(version=number))
