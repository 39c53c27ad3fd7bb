"""The databases as an operator sees them: what state each file is in, and a backup of one."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from console.errors import StoreError
from console.store.sqlite.connect import is_damaged, reading
from console.store.sqlite.control import back_up
from console.store.sqlite.schema import SCHEMAS

if TYPE_CHECKING:
    from pathlib import Path

    from console.store.locations import Locations
    from console.store.sqlite.schema import FileKind

FileState = Literal["ok", "missing", "empty", "foreign", "newer", "damaged", "unreadable"]


@dataclass(frozen=True, slots=True)
class FileView:
    """One database file."""

    kind: str
    path: str
    state: FileState
    size_bytes: int | None
    wal_bytes: int | None
    schema: int | None
    journal_mode: str | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Copied:
    """A finished backup."""

    path: Path
    size_bytes: int


def path_of(places: Locations, kind: str) -> Path:
    """Where a kind of database is."""
    return {"control": places.control, "incident": places.incident, "telemetry": places.telemetry}[kind]


def file_views(places: Locations) -> tuple[FileView, ...]:
    """The three files. Never raises."""
    return tuple(_view(kind, path_of(places, kind)) for kind in SCHEMAS)


def _view(kind: FileKind, path: Path) -> FileView:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return FileView(kind, str(path), "missing", None, None, None, None)
    except OSError as error:
        return FileView(kind, str(path), "unreadable", None, None, None, None, str(error))
    wal = path.with_name(path.name + "-wal")
    wal_bytes = wal.stat().st_size if wal.exists() else None
    try:
        with reading(path, busy_s=1.0) as connection:
            state, schema, mode = _look(connection, kind)
    except StoreError as error:
        return FileView(
            kind, str(path), "damaged" if is_damaged(error.__cause__) else "unreadable", size, wal_bytes, None, None, str(error)
        )
    return FileView(kind, str(path), state, size, wal_bytes, schema, mode)


def _look(connection: sqlite3.Connection, kind: FileKind) -> tuple[FileState, int, str]:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not tables:
        return "empty", schema, mode
    if application_id != SCHEMAS[kind].application_id:
        return "foreign", schema, mode
    if schema > SCHEMAS[kind].version:
        return "newer", schema, mode
    (check,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    return "ok" if check == "ok" else "damaged", schema, mode


def back_up_file(places: Locations, kind: str, copy: Path) -> Copied:
    """Copies one database. Raises StoreError with what to do."""
    source = path_of(places, kind)
    if not source.exists():
        raise StoreError(f"{source}: there is no {kind} database here yet")
    try:
        back_up(source, copy)
    except FileExistsError:
        raise StoreError(f"{copy}: exists already; name another file") from None
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{copy}: cannot be written: {error}") from None
    return Copied(copy, copy.stat().st_size)
