"""The schemas of the three files as numbered migrations, and bringing a file up to date.

sqlite-utils is loaded only when a file is created or upgraded; an up-to-date file costs two PRAGMAs. `user_version` is the
number of applied migrations and is set inside the migration's own transaction, so a file is of the old or of the new schema.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from console.errors import StoreError
from console.store.files import file_lock, mode_in
from console.store.sqlite.connect import refuse_newer, store_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlite_utils import Database

FileKind = Literal["control", "incident", "telemetry"]

_CONTROL_1: Final = """
CREATE TABLE control (
  key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL, version INTEGER NOT NULL, actor TEXT NOT NULL, reason TEXT,
  at INTEGER NOT NULL, expires_at INTEGER, hash TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE audit (
  position INTEGER NOT NULL PRIMARY KEY, id TEXT NOT NULL UNIQUE, at INTEGER NOT NULL, actor TEXT NOT NULL,
  claimed TEXT NOT NULL, act TEXT NOT NULL, key TEXT NOT NULL, before TEXT, after TEXT NOT NULL, version INTEGER NOT NULL,
  reason TEXT, expires_at INTEGER, undoes TEXT, previous_hash TEXT NOT NULL, hash TEXT NOT NULL
);
CREATE TABLE prompt_version (
  name TEXT NOT NULL, version TEXT NOT NULL, hash TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (name, version)
) WITHOUT ROWID;
"""

_INCIDENT_1: Final = """
CREATE TABLE lease (
  name TEXT NOT NULL PRIMARY KEY, holder TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL, at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE timeline (
  id TEXT NOT NULL PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, actor TEXT, subject TEXT, text TEXT NOT NULL,
  detail TEXT
) WITHOUT ROWID;
"""

_SUMS: Final = """calls INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0, blocked INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0, input_tokens INTEGER NOT NULL DEFAULT 0, output_tokens INTEGER NOT NULL DEFAULT 0,
  cache_read_tokens INTEGER NOT NULL DEFAULT 0, cache_write_5m_tokens INTEGER NOT NULL DEFAULT 0,
  cache_write_1h_tokens INTEGER NOT NULL DEFAULT 0"""

_TELEMETRY_1: Final = f"""
CREATE TABLE process (
  id TEXT NOT NULL PRIMARY KEY, pid INTEGER NOT NULL, host TEXT NOT NULL, service TEXT NOT NULL,
  started_at INTEGER NOT NULL, at INTEGER NOT NULL, ended_at INTEGER, control_version INTEGER NOT NULL,
  control_source TEXT NOT NULL, queue_depth INTEGER NOT NULL, dropped INTEGER NOT NULL, note TEXT, state TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE call (
  id TEXT NOT NULL PRIMARY KEY, process TEXT NOT NULL, at INTEGER NOT NULL, feature TEXT NOT NULL, customer TEXT,
  session TEXT, prompt TEXT, prompt_version TEXT, model_asked TEXT NOT NULL, model_served TEXT, target TEXT NOT NULL,
  provider TEXT NOT NULL, served_by TEXT NOT NULL, outcome TEXT NOT NULL, is_streamed INTEGER NOT NULL,
  attempts INTEGER NOT NULL, latency_us INTEGER NOT NULL, first_token_us INTEGER, input_tokens INTEGER,
  output_tokens INTEGER, cache_read_tokens INTEGER, cache_write_5m_tokens INTEGER, cache_write_1h_tokens INTEGER,
  stop_reason TEXT, status INTEGER, error TEXT, request_id TEXT
) WITHOUT ROWID;
CREATE TABLE attempt (
  id TEXT NOT NULL PRIMARY KEY, call TEXT NOT NULL, at INTEGER NOT NULL, target TEXT NOT NULL, model TEXT NOT NULL,
  provider TEXT NOT NULL, status INTEGER, error TEXT, latency_us INTEGER NOT NULL, request_id TEXT
) WITHOUT ROWID;
CREATE TABLE series (
  id TEXT NOT NULL PRIMARY KEY, feature TEXT NOT NULL, target TEXT NOT NULL, model TEXT NOT NULL, provider TEXT NOT NULL,
  prompt TEXT NOT NULL, prompt_version TEXT NOT NULL, served_by TEXT NOT NULL, outcome TEXT NOT NULL, band TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE call_rollup (
  tier INTEGER NOT NULL, start INTEGER NOT NULL, series TEXT NOT NULL, {_SUMS}, PRIMARY KEY (tier, start, series)
) WITHOUT ROWID;
CREATE TABLE latency_rollup (
  tier INTEGER NOT NULL, start INTEGER NOT NULL, series TEXT NOT NULL, kind TEXT NOT NULL, bucket INTEGER NOT NULL,
  count INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (tier, start, series, kind, bucket)
) WITHOUT ROWID;
CREATE TABLE attempt_rollup (
  tier INTEGER NOT NULL, start INTEGER NOT NULL, feature TEXT NOT NULL, target TEXT NOT NULL, model TEXT NOT NULL,
  provider TEXT NOT NULL, result TEXT NOT NULL, count INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (tier, start, feature, target, model, provider, result)
) WITHOUT ROWID;
CREATE TABLE customer_rollup (
  tier INTEGER NOT NULL, start INTEGER NOT NULL, feature TEXT NOT NULL, customer TEXT NOT NULL, target TEXT NOT NULL,
  model TEXT NOT NULL, band TEXT NOT NULL, {_SUMS}, PRIMARY KEY (tier, start, feature, customer, target, model, band)
) WITHOUT ROWID;
"""


_TELEMETRY_2: Final = """
ALTER TABLE call ADD COLUMN age_us INTEGER;
ALTER TABLE call ADD COLUMN continued INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempt ADD COLUMN feature TEXT NOT NULL DEFAULT '';
CREATE INDEX attempt_failed ON attempt (feature, id) WHERE error IS NOT NULL;
"""
"""The index holds the failures only, so that what went well costs nothing to write."""


@dataclass(frozen=True, slots=True)
class Schema:
    """One file's schema. `migrations` are SQL scripts in order; `application_id` marks the file as ours."""

    kind: FileKind
    application_id: int
    is_wal: bool
    shared_mode: int
    migrations: tuple[str, ...]

    @property
    def version(self) -> int:
        return len(self.migrations)


SCHEMAS: Final[dict[FileKind, Schema]] = {
    "control": Schema("control", 0x43434F31, is_wal=False, shared_mode=0o640, migrations=(_CONTROL_1,)),
    "incident": Schema("incident", 0x43494E31, is_wal=False, shared_mode=0o600, migrations=(_INCIDENT_1,)),
    "telemetry": Schema("telemetry", 0x43544531, is_wal=True, shared_mode=0o660, migrations=(_TELEMETRY_1, _TELEMETRY_2)),
}


def open_current(path: Path, schema: Schema, *, busy_s: float) -> sqlite3.Connection:
    """A writing connection to a file of the current schema, made or upgraded when needed.

    Raises SchemaTooNew, StoreError for a file of somebody else, sqlite3.Error and OSError. The caller holds what has to be
    held (`BY_HAND` for control.db, the shared lock for telemetry.db) and closes the connection.
    """
    if not path.exists():
        _create_private(path, schema)
    # One thread at a time, but not always the same: a fork closes it from whichever thread forks.
    connection = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
    try:
        found = _version(connection, path, schema)
        if found < schema.version:
            with file_lock(path.with_name(path.name + ".schema.lock"), timeout_s=5, mode=mode_in(path.parent, shared=0o660)):
                _migrate(connection, path, schema)
        _set_pragmas(connection, schema)
    except BaseException:
        connection.close()
        raise
    return connection


def _create_private(path: Path, schema: Schema) -> None:
    with suppress(FileExistsError):
        mode = mode_in(path.parent, shared=schema.shared_mode)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        os.fchmod(descriptor, mode)
        os.close(descriptor)


def _version(connection: sqlite3.Connection, path: Path, schema: Schema) -> int:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    # A process that was killed before the first step leaves sqlite-utils' own table alone: that is still an empty file.
    query = "SELECT count(*) FROM sqlite_schema WHERE tbl_name NOT GLOB '_sqlite*' AND tbl_name NOT GLOB 'sqlite_*'"
    (tables,) = connection.execute(query).fetchone()
    if tables and application_id != schema.application_id:
        raise ForeignFile(f"{path}: not a {schema.kind} database of this console")
    refuse_newer(path, found, schema.version)
    return int(found)


class ForeignFile(StoreError):
    """A SQLite file that is not ours."""


def _migrate(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    """Applies what is pending. The connection is in autocommit; each step and its record are one transaction."""
    from sqlite_utils import Database, Migrations  # noqa: PLC0415 -- 60 ms that an up-to-date file does not need

    # For a rollback journal TRUNCATE from the first commit on: the empty journal that stays belongs to the operator, so that an
    # application that may write into the directory cannot put one of its own there.
    connection.execute(f"PRAGMA journal_mode = {'WAL' if schema.is_wal else 'TRUNCATE'}")
    migrations = Migrations(f"console.{schema.kind}")
    for number, script in enumerate(schema.migrations, start=1):
        migrations(name=f"{schema.kind}_{number}")(_step(script, number, schema))
    try:
        migrations.apply(Database(connection))
    except sqlite3.Error as error:
        raise store_error(path, error) from error


def _step(script: str, number: int, schema: Schema) -> Callable[[Database], None]:
    def step(db: Database) -> None:
        connection = db.conn
        for statement in filter(str.strip, script.split(";")):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {schema.application_id}")
        connection.execute(f"PRAGMA user_version = {number}")

    return step


def _set_pragmas(connection: sqlite3.Connection, schema: Schema) -> None:
    if schema.is_wal:
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
    else:
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA trusted_schema = OFF")
