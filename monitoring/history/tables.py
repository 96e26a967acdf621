"""Job: the tables of the history, and the number of their form.

Thread: any (data). Lock: none. Units: in each name; `ts` and `*_ts` are Unix seconds (UTC).

Power is one row for the whole station with the guns as a JSON list of whole watts: SQLite and PostgreSQL can both read
into it (json_extract, ->>), and a quiet second costs some thirty bytes. Whoever changes a table here adds a step to
migrations.py.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, Table, Text

#: The form of the tables below; migrations.py leads there from every earlier one.
SCHEMA_VERSION = 1

#: SQLite hands out row numbers for exactly this type.
_RowId = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

#: One row: the form that this database has.
schema_version = Table("schema_version", metadata, Column("version", Integer, nullable=False))

#: Starts of the controller, and until when each was seen.
runs = Table(
    "runs", metadata,
    Column("run", Text, primary_key=True),
    Column("station_id", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("started_ts", Double, nullable=False),
    Column("seen_ts", Double, nullable=False),
)  # fmt: skip

sessions = Table(
    "sessions", metadata,
    Column("id", _RowId, primary_key=True),
    Column("gun", Integer, nullable=False),
    Column("run", Text, nullable=False),
    Column("from_ts", Double, nullable=False),
    Column("to_ts", Double),  # null: it is open
    Column("seen_ts", Double, nullable=False),  # how far it is known
    Column("energy_kwh", Double, nullable=False),
    Column("counter_kwh", Double, nullable=False),  # the gun's counter of that run, then
    Column("soc_from_pct", Double),
    Column("soc_to_pct", Double),
    Column("peak_kw", Double, nullable=False),
    Column("charging_s", Double, nullable=False),  # with power
    Column("waited_s", Double, nullable=False),  # asking for power and without it
    Column("modules", Text, nullable=False),  # JSON list of numbers
    Column("ended", Text),  # name of an EndReason
    Column("fault", Text),  # its code, when it ended by one
    Column("clock_moved_s", Double, nullable=False),  # how far the wall clock was moved while it was open
)  # fmt: skip
Index("sessions_from_ts", sessions.c.from_ts)

faults = Table(
    "faults", metadata,
    Column("id", _RowId, primary_key=True),
    Column("run", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("place", Text, nullable=False),  # m3, g1m3, g2, station
    Column("severity", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("since_ts", Double, nullable=False),
    Column("ended_ts", Double),  # null: it stands
    Column("seen_ts", Double, nullable=False),
)  # fmt: skip
Index("faults_since_ts", faults.c.since_ts)

operations = Table(
    "operations", metadata,
    Column("id", _RowId, primary_key=True),
    Column("ts", Double, nullable=False),
    Column("gun", Integer, nullable=False),
    Column("module", Integer, nullable=False),
    Column("unloaded", Integer, nullable=False),
    Column("loaded", Integer, nullable=False),
)  # fmt: skip
Index("operations_ts", operations.c.ts)

#: Counters of the contactors as they were seen last.
contactors = Table(
    "contactors", metadata,
    Column("gun", Integer, primary_key=True, autoincrement=False),
    Column("module", Integer, primary_key=True, autoincrement=False),
    Column("unloaded", Integer, nullable=False),
    Column("loaded", Integer, nullable=False),
)  # fmt: skip

#: Mean power of each second, for two days.
power_seconds = Table(
    "power_seconds", metadata,
    Column("ts", _RowId, primary_key=True, autoincrement=False),
    Column("station_w", Integer, nullable=False),
    Column("guns_w", Text, nullable=False),  # JSON list, gun 1 first
)  # fmt: skip

#: Mean power of each minute, for as long as the history is kept.
power_minutes = Table(
    "power_minutes", metadata,
    Column("ts", _RowId, primary_key=True, autoincrement=False),
    Column("station_w", Integer, nullable=False),
    Column("guns_w", Text, nullable=False),
    Column("seconds", Integer, nullable=False),  # that were seen of it
)  # fmt: skip
