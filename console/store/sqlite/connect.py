"""Opening SQLite files: read-only and writing connections, who may hold a descriptor when, and errors in our own tree.

The rule that everything here serves: **closing any descriptor of a database file drops SQLite's locks on it in this process**
(POSIX advisory locks). So nothing but SQLite opens a database file, except the change counter, which opens and closes under
`BY_HAND`, the same lock that our own writers of control.db hold while they have a connection.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from console.errors import SchemaTooNew, StoreBusy, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BY_HAND: Final = threading.Lock()
"""Held by whoever opens or closes a descriptor of control.db by hand, and by a writing connection of this process."""

os.register_at_fork(after_in_child=lambda: BY_HAND.release() if BY_HAND.locked() else None)

_BUSY: Final = {"SQLITE_BUSY", "SQLITE_LOCKED"}


FILE_ERRORS: Final = (sqlite3.Error, OSError, UnicodeDecodeError)
"""What using a file can raise. The last one: SQLite quotes bytes of a damaged file in its message, `sqlite3` decodes it."""


def is_damaged(error: BaseException | None) -> bool:
    """Whether SQLite says that the file is no (whole) database."""
    name = getattr(error, "sqlite_errorname", "")
    return isinstance(error, UnicodeDecodeError) or name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def store_error(path: Path, error: sqlite3.Error | OSError | UnicodeDecodeError) -> StoreError:
    """The error of our tree for SQLite's or the system's: what happened, to which file, what to do."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    if any(name.startswith(busy) for busy in _BUSY):
        return StoreBusy(f"{path}: locked by another process; try again")
    return StoreError(f"{path}: {error} ({name})")


def uri_of(path: Path, mode: str, *, immutable: bool = False) -> str:
    """The URI of a file for `sqlite3.connect`, whatever characters its path has."""
    return f"file:{quote(str(path))}?mode={mode}" + ("&immutable=1" if immutable else "")


@contextmanager
def reading(path: Path, *, busy_s: float = 0.05) -> Iterator[sqlite3.Connection]:
    """A short read-only connection. Raises StoreError (also for what goes wrong inside the block), never waits longer
    than `busy_s` for a lock."""
    try:
        connection = sqlite3.connect(uri_of(path, "ro"), uri=True, timeout=busy_s, isolation_level=None)
        try:
            yield connection
        finally:
            connection.close()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise store_error(path, error) from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE to COMMIT; rolled back on any exception. Deferred transactions fail at once when somebody else wrote."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def refuse_newer(path: Path, found: int, known: int) -> None:
    """Raises SchemaTooNew for a file of a newer version."""
    if found > known:
        raise SchemaTooNew(
            f"{path}: written by a newer console (schema {found}, this one knows {known}); upgrade this one. "
            "The file was left untouched."
        )
