"""Reading and writing control.db: the rows in force, and an act with its audit row in one transaction."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from console.core.audit import FIRST_HASH, AuditRow
from console.core.control import ControlRow, ControlState, merge, missing_texts, next_version
from console.errors import ActConflict, StoreError, VersionChanged
from console.store.bell import ring
from console.store.sqlite.connect import BY_HAND, FILE_ERRORS, reading, refuse_newer, store_error, transaction
from console.store.sqlite.schema import SCHEMAS, ForeignFile, open_current

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_CONTROL_COLUMNS = "key, value, version, actor, reason, at, expires_at, hash"
_AUDIT_COLUMNS = (
    "position, id, at, actor, claimed, act, key, before, after, version, reason, expires_at, undoes, previous_hash, hash"
)


def read_control(path: Path, *, busy_s: float = 0.05) -> list[ControlRow]:
    """Every row of `control`. Raises StoreError (StoreBusy, SchemaTooNew); the rows themselves are not checked here."""
    with reading(path, busy_s=busy_s) as connection:
        _check_ours(connection, path)
        return [ControlRow(*row) for row in connection.execute(f"SELECT {_CONTROL_COLUMNS} FROM control")]


def completed(path: Path, state: ControlState, *, busy_s: float = 0.05) -> ControlState:
    """The state with the registered prompt texts that its pointers name. Those that cannot be read are left out: they must not
    keep a kill from working. Never raises StoreError."""
    missing = missing_texts(state)
    if not missing:
        return state
    try:
        with reading(path, busy_s=busy_s) as connection:
            query = f"SELECT hash, text FROM prompt_version WHERE hash IN ({', '.join('?' * len(missing))})"
            texts = {digest: text for digest, text in connection.execute(query, sorted(missing)) if isinstance(text, str)}
    except StoreError:
        return state
    return merge(state, (), texts)


def read_registered(path: Path) -> list[PromptRow]:
    """Every prompt version that was ever made current, by name and number. Raises StoreError."""
    with reading(path, busy_s=1.0) as connection:
        _check_ours(connection, path)
        rows = connection.execute("SELECT name, version, hash, text FROM prompt_version").fetchall()
    return sorted(PromptRow(name, int(version), digest, text) for name, version, digest, text in rows)


def read_audit(path: Path, *, last: int | None = None) -> list[AuditRow]:
    """The audit rows, oldest first; the newest `last` of them when given. Raises StoreError."""
    with reading(path, busy_s=1.0) as connection:
        _check_ours(connection, path)
        query = f"SELECT {_AUDIT_COLUMNS} FROM audit ORDER BY position DESC LIMIT ?"
        rows = connection.execute(query, (-1 if last is None else last,)).fetchall()
    return [AuditRow(*row) for row in reversed(rows)]


def _check_ours(connection: sqlite3.Connection, path: Path) -> None:
    schema = SCHEMAS["control"]
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id != schema.application_id:
        raise ForeignFile(f"{path}: not a control database of this console")
    refuse_newer(path, version, schema.version)


class PromptRow(NamedTuple):
    """A registered prompt version: the sha256 of its file, and the file's text."""

    name: str
    version: int
    hash: str
    text: str


@dataclass(frozen=True, slots=True)
class Change:
    """One act to write: the key's new value, who and why, and the version of the key that the operator saw (None: any)."""

    id: str
    act: str
    key: str
    value: str
    at: int
    actor: str
    claimed: Mapping[str, str]
    reason: str | None
    expires_at: int | None
    undoes: str | None
    seen_version: int | None
    floor: int
    """A version that some process already runs with: the new one is higher, also when the file was made anew."""
    registers: tuple[PromptRow, ...] = ()
    """Prompt versions that are written down with the act. One that is registered with another text refuses the act."""


@contextmanager
def _writing(path: Path) -> Iterator[sqlite3.Connection]:
    """A writing connection to control.db. Raises StoreError for everything that goes wrong with the file."""
    with BY_HAND:  # spans I/O on purpose: see `connect`; only the change counter of the same process waits, 50 ms at most
        try:
            connection = open_current(path, SCHEMAS["control"], busy_s=5.0)
            try:
                yield connection
            finally:
                connection.close()
        except FILE_ERRORS as error:
            raise store_error(path, error) from error
        except (TypeError, OverflowError) as error:  # a column that holds what nobody of ours has written
            raise StoreError(f"{path}: a row is damaged ({error}); put a backup back, or move the file away") from error


def create_control(path: Path) -> None:
    """Makes an empty control.db unless there is one. Raises StoreError."""
    with _writing(path), suppress(OSError):
        ring(path, 0)


def write_change(path: Path, change: Change) -> ControlRow:
    """Writes the control row and its audit row in one transaction, reads it back, and returns it.

    Raises ActConflict when the key's version is newer than the one that was seen; StoreError.
    """
    with _writing(path) as connection:
        with transaction(connection):
            row = _apply(connection, change)
        with suppress(OSError):  # a full disk, say: then the processes' watchers notice the commit within 50 ms
            ring(path, row.version)
        stored = connection.execute(f"SELECT {_CONTROL_COLUMNS} FROM control WHERE key = ?", (row.key,)).fetchone()
    if stored is None or ControlRow(*stored) != row:
        raise StoreError(f"{path}: the act was written but reads back differently; run `console audit verify`")
    return row


def _apply(connection: sqlite3.Connection, change: Change) -> ControlRow:
    before = connection.execute(f"SELECT {_CONTROL_COLUMNS} FROM control WHERE key = ?", (change.key,)).fetchone()
    known = 0 if before is None else ControlRow(*before).version
    # Newer, not merely different: a file that was made anew or put back from a backup is older than what is in force.
    if before is not None and change.seen_version is not None and known > change.seen_version:
        who = ControlRow(*before).actor
        raise ActConflict(f"{change.key}: changed by {who} since you looked; look again and repeat if you still want it")
    (newest,) = connection.execute("SELECT coalesce(max(version), 0) FROM control").fetchone()
    version = next_version(max(newest, change.floor), change.at)
    row = ControlRow(change.key, change.value, version, change.actor, change.reason, change.at, change.expires_at).sealed()
    connection.execute(
        f"INSERT OR REPLACE INTO control ({_CONTROL_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (row.key, row.value, row.version, row.actor, row.reason, row.at, row.expires_at, row.hash),
    )
    _append_audit(connection, change, row, None if before is None else ControlRow(*before))
    for prompt in change.registers:
        _register(connection, prompt)
    return row


def _register(connection: sqlite3.Connection, prompt: PromptRow) -> None:
    """Writes a prompt version down once and for all."""
    known = connection.execute(
        "SELECT hash FROM prompt_version WHERE name = ? AND version = ?", (prompt.name, str(prompt.version))
    ).fetchone()
    if known is not None and known != (prompt.hash,):
        raise VersionChanged(
            f"{prompt.name} v{prompt.version} was registered with another text: put the file back, or make a new version of it"
        )
    if known is None:
        values = (prompt.name, str(prompt.version), prompt.hash, prompt.text)
        connection.execute("INSERT INTO prompt_version (name, version, hash, text) VALUES (?, ?, ?, ?)", values)


def _append_audit(connection: sqlite3.Connection, change: Change, row: ControlRow, before: ControlRow | None) -> None:
    last = connection.execute("SELECT position, hash FROM audit ORDER BY position DESC LIMIT 1").fetchone()
    position, previous_hash = (0, FIRST_HASH) if last is None else last
    audit = AuditRow(
        position=position + 1,
        id=change.id,
        at=change.at,
        actor=change.actor,
        claimed=json.dumps(dict(change.claimed), ensure_ascii=False, sort_keys=True),
        act=change.act,
        key=change.key,
        before=None if before is None else before.value,
        after=change.value,
        version=row.version,
        reason=change.reason,
        expires_at=change.expires_at,
        undoes=change.undoes,
        previous_hash=previous_hash,
    ).sealed()
    connection.execute(
        f"INSERT INTO audit ({_AUDIT_COLUMNS}) VALUES ({', '.join('?' * 15)})",
        audit.columns(),
    )


def back_up(path: Path, copy: Path) -> None:
    """A consistent copy of any of our databases through SQLite's backup API. Raises StoreError, OSError (FileExistsError),
    sqlite3.Error; then there is no copy."""
    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        with reading(path, busy_s=5.0) as source, closing(sqlite3.connect(copy, isolation_level=None)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
    except BaseException:
        copy.unlink(missing_ok=True)
        raise
