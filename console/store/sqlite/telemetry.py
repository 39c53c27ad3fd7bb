"""Writing telemetry.db: batches of calls with their rollups, heartbeats, retention, checkpoints.

SQLite up to 3.51.2 can corrupt a WAL database when two connections write and checkpoint at the same moment; so automatic
checkpoints are off, and commits and checkpoints of all processes take one `flock`. One writer belongs to one thread of one
process. SQLite keeps one table of its file locks per process, which a child of `fork` inherits and believes: it would write
without locks, or for ever wait for one. So the writer is closed before a fork; a child that was forked all the same while it
was open never opens this file.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from console.core.ids import uuid7, uuid7_floor
from console.core.rollups import CUSTOMER_TIERS_S, TIERS_S, US, Rollups, Sums
from console.errors import SchemaTooNew, StoreError
from console.store.files import file_lock, mode_in
from console.store.sqlite.connect import FILE_ERRORS, is_damaged, store_error, transaction
from console.store.sqlite.reads import reading_telemetry
from console.store.sqlite.schema import SCHEMAS, ForeignFile, open_current

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from console.core.calls import CallEnd

CHECKPOINT_BYTES: Final = 4 * 1024 * 1024
LOCK_TIMEOUT_S: Final = 1.0
FORK_WAIT_S: Final = 0.5
DELETE_AT_ONCE: Final = 2_000
"""Rows that one pass of retention deletes per table: a pass must not keep the other writers waiting."""

_SUM_COLUMNS: Final = (
    "calls", "failed", "blocked", "attempts", "input_tokens", "output_tokens", "cache_read_tokens",
    "cache_write_5m_tokens", "cache_write_1h_tokens",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a process says of itself. Times UTC microseconds; `state` is JSON-able detail."""

    id: str
    pid: int
    host: str
    service: str
    started_at: int
    at: int
    ended_at: int | None
    control_version: int
    control_source: str
    queue_depth: int
    dropped: int
    note: str | None
    state: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How long things are kept, in seconds."""

    calls_s: int = 2 * 86400
    rollups_s: tuple[int, ...] = (2 * 86400, 30 * 86400, 400 * 86400)
    """In the order of TIERS_S."""
    processes_s: int = 86400


class TelemetryWriter:
    """The one writing connection of a process. Every method raises StoreError and leaves the file as it was before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = path.with_name(path.name + ".lock")
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._in_use = threading.Lock()
        """Held while SQLite is at work, not while the file's lock is waited for. Only a fork waits for it."""
        self._inherited: list[object] | None = None
        self._known_series: set[str] = set()

    def write(self, calls: Iterable[CallEnd], rollups: Rollups, heartbeat: Heartbeat | None, process: str) -> None:
        """One transaction: raw rows, rollups, heartbeat. A second process that writes at the moment is waited for."""
        call_rows, attempt_rows = _raw_rows(calls, process)
        with _Guard(self):
            connection = self._connected()
            new_series = [(id_, *series) for id_, series in rollups.series.items() if id_ not in self._known_series]
            with transaction(connection):
                connection.executemany(f"INSERT OR IGNORE INTO call VALUES ({_marks(29)})", call_rows)
                connection.executemany(f"INSERT OR IGNORE INTO attempt VALUES ({_marks(11)})", attempt_rows)
                connection.executemany(f"INSERT OR IGNORE INTO series VALUES ({_marks(10)})", new_series)
                _add(connection, "call_rollup", ("tier", "start", "series"), _SUM_COLUMNS, _sum_rows(rollups.calls))
                _add(
                    connection,
                    "latency_rollup",
                    ("tier", "start", "series", "kind", "bucket"),
                    ("count",),
                    ((*key, count) for key, count in rollups.latencies.items()),
                )
                _add(
                    connection,
                    "attempt_rollup",
                    ("tier", "start", "feature", "target", "model", "provider", "result"),
                    ("count",),
                    ((*key, count) for key, count in rollups.attempts.items()),
                )
                _add(
                    connection,
                    "customer_rollup",
                    ("tier", "start", "feature", "customer", "target", "model", "band"),
                    _SUM_COLUMNS,
                    _sum_rows(rollups.customers),
                )
                if heartbeat is not None:
                    _beat(connection, heartbeat)
            self._known_series.update(rollups.series)
            self._checkpoint_when_large(connection)

    def retain(self, policy: RetentionPolicy, now_us: int) -> int:
        """Deletes a bounded number of expired rows; returns how many (0: nothing is left to delete)."""
        with _Guard(self):
            connection = self._connected()
            deleted = 0
            for table, where, value in _expired(policy, now_us):
                keys = "id" if table in ("call", "attempt", "process") else "tier, start"
                with transaction(connection):
                    deleted += _delete(connection, table, keys, where, value)
            self._checkpoint_when_large(connection)
            return deleted

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A read-only connection of its own, which a fork waits for as for a write. Raises NothingRecorded, StoreError."""
        with self._in_use:
            if self._inherited is not None:
                raise StoreError(f"{self._path}: this process was forked while its parent was writing; it cannot read")
            with reading_telemetry(self._path) as connection:
                yield connection

    def close(self) -> None:
        """Closes the connection, which may write a last checkpoint. Idempotent; never raises."""
        connection, self._connection = self._connection, None
        self._known_series.clear()
        if connection is None:
            return
        # Closing the last connection checkpoints; without the lock that could meet another process' commit.
        with suppress(StoreError, OSError, sqlite3.Error), self.locked(), self._in_use:
            connection.close()
            return
        with suppress(sqlite3.Error), self._in_use:
            connection.close()

    def before_fork(self) -> threading.Lock | None:
        """Closes the connection. Returns the lock that keeps it closed until it is released, after the fork; None when a write
        hangs for longer than FORK_WAIT_S, and then the child will not record.

        Without the file's lock, for which a fork would have to wait: whoever holds that has a connection, so this one is not
        the last and does not checkpoint; and if it is, SQLite lets nobody else in meanwhile."""
        if not self._in_use.acquire(timeout=FORK_WAIT_S):
            return None
        self._drop_connection()
        return self._in_use

    def after_fork(self, held: Collection[object]) -> None:
        """In the child. Unless `held` has the lock of `before_fork`, the parent's SQLite was at work, and what this process
        inherited of it is neither used nor closed, only kept."""
        if self._in_use not in held:
            self._inherited = [self._connection, self._inherited]
        self._connection = None
        self._known_series.clear()
        self._in_use = threading.Lock()

    def _connected(self) -> sqlite3.Connection:
        if self._inherited is not None:
            raise StoreError(f"{self._path}: this process was forked while its parent was writing; it cannot record")
        # Under the lock: before it, another process might still be setting the file aside.
        if self._connection is not None and _inode(self._path) != self._inode:
            self._drop_connection()
        if self._connection is None:
            self._connection = open_current(self._path, SCHEMAS["telemetry"], busy_s=LOCK_TIMEOUT_S)
            self._inode = _inode(self._path)
        return self._connection

    def locked(self) -> AbstractContextManager[None]:
        """The lock that all writers of this file share."""
        return file_lock(self._lock, timeout_s=LOCK_TIMEOUT_S, mode=mode_in(self._path.parent, shared=0o660))

    def _checkpoint_when_large(self, connection: sqlite3.Connection) -> None:
        """Never raises: the rows are committed, and a failure here would have them written, and counted, a second time. Waits
        for no reader, since it holds the lock of all writers; what a reader is in the way of, a later checkpoint does."""
        wal = self._path.with_name(self._path.name + "-wal")
        with suppress(OSError, sqlite3.Error):
            if wal.stat().st_size > CHECKPOINT_BYTES:
                connection.execute("PRAGMA busy_timeout = 0")
                try:
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                finally:
                    connection.execute(f"PRAGMA busy_timeout = {int(LOCK_TIMEOUT_S * 1000)}")

    def _drop_connection(self) -> None:
        """Closes without the care of `close`. `_in_use` is held."""
        connection, self._connection = self._connection, None
        self._known_series.clear()
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _set_aside(self) -> Path:
        """Moves a damaged file and its WAL away under a new name, so that a fresh one can be begun."""
        mark = f"{time.time_ns() // 1000}"
        aside = self._path.with_name(f"{self._path.name}.damaged-{mark}")
        self._path.rename(aside)
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                self._path.with_name(self._path.name + suffix).rename(aside.with_name(aside.name + suffix))
        return aside


class SetAside(StoreError):
    """The telemetry file was damaged or somebody else's; it was moved away and the next write begins a fresh one."""


class _Guard:
    """Around every use of the writer: the lock, the errors of our tree, and what to do with a file that is damaged."""

    def __init__(self, writer: TelemetryWriter) -> None:
        self._writer = writer

    def __enter__(self) -> None:
        try:
            self._lock = self._writer.locked()
            self._lock.__enter__()
        except OSError as error:
            raise store_error(self._writer._path, error) from error  # noqa: SLF001
        self._writer._in_use.acquire()  # noqa: SLF001

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if isinstance(error, SchemaTooNew):
                return
            if isinstance(error, ForeignFile) or (isinstance(error, FILE_ERRORS) and is_damaged(error)):
                self._begin_afresh(error)
            if isinstance(error, FILE_ERRORS):
                self._writer._drop_connection()  # noqa: SLF001
                raise store_error(self._writer._path, error) from error  # noqa: SLF001
        finally:
            self._writer._in_use.release()  # noqa: SLF001
            self._lock.__exit__(None, None, None)

    def _begin_afresh(self, error: Exception) -> None:
        self._writer._drop_connection()  # noqa: SLF001
        try:
            aside = self._writer._set_aside()  # noqa: SLF001
        except OSError as failure:
            raise store_error(self._writer._path, failure) from error  # noqa: SLF001
        raise SetAside(f"{self._writer._path}: not usable ({error}); kept as {aside.name}, a fresh one begins") from error  # noqa: SLF001


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _sum_rows(sums: Mapping[Any, Sums]) -> Iterable[tuple[object, ...]]:
    return ((*key, row.calls, row.failed, row.blocked, row.attempts, *row.tokens) for key, row in sums.items())


def _add(
    connection: sqlite3.Connection,
    table: str,
    keys: tuple[str, ...],
    sums: tuple[str, ...],
    rows: Iterable[tuple[object, ...]],
) -> None:
    """Adds rows of (keys, sums) to a rollup table. The names are ours, never from outside."""
    columns = (*keys, *sums)
    adding = ", ".join(f"{name} = {name} + excluded.{name}" for name in sums)
    connection.executemany(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({_marks(len(columns))}) "
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {adding}",
        rows,
    )


def _beat(connection: sqlite3.Connection, beat: Heartbeat) -> None:
    connection.execute(
        f"INSERT OR REPLACE INTO process VALUES ({_marks(13)})",
        (
            beat.id, beat.pid, beat.host, beat.service, beat.started_at, beat.at, beat.ended_at, beat.control_version,
            beat.control_source, beat.queue_depth, beat.dropped, beat.note, json.dumps(dict(beat.state)),
        ),
    )  # fmt: skip


def _raw_rows(calls: Iterable[CallEnd], process: str) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    call_rows: list[tuple[object, ...]] = []
    attempt_rows: list[tuple[object, ...]] = []
    for call in calls:
        last, facts = call.last, call.last.facts
        id_ = uuid7(call.started_us, secrets.randbits(74))
        call_rows.append(
            (
                id_, process, call.started_us, facts.feature, facts.customer, facts.session, facts.prompt,
                facts.prompt_version, facts.model, last.model_served, last.target, last.asked_at, last.served_by,
                last.outcome, int(facts.is_streamed), len(call.attempts), call.duration_us, last.first_token_us,
                *(call.usage or (None,) * 5), last.stop_reason, last.status, last.error, last.request_id, last.age_us,
                last.continued,
            )
        )  # fmt: skip
        attempt_rows.extend(
            (
                uuid7(attempt.started_us, secrets.randbits(74)), id_, attempt.started_us, attempt.target,
                attempt.model, attempt.asked_at, attempt.status, attempt.error,
                attempt.duration_us, attempt.request_id, facts.feature,
            )
            for attempt in call.attempts
        )  # fmt: skip
    return call_rows, attempt_rows


def _expired(policy: RetentionPolicy, now_us: int) -> Iterable[tuple[str, str, object]]:
    yield "call", "id < ?", uuid7_floor(now_us - policy.calls_s * US)
    yield "attempt", "id < ?", uuid7_floor(now_us - policy.calls_s * US)
    yield "process", "at < ?", now_us - policy.processes_s * US
    for tier_s, keep_s in zip(TIERS_S, policy.rollups_s, strict=True):
        for table in ("call_rollup", "latency_rollup", "attempt_rollup"):
            yield table, f"tier = {tier_s} AND start < ?", now_us // US - keep_s
    for tier_s, keep_s in zip(CUSTOMER_TIERS_S, policy.rollups_s[::2], strict=True):
        yield "customer_rollup", f"tier = {tier_s} AND start < ?", now_us // US - keep_s


def _delete(connection: sqlite3.Connection, table: str, keys: str, where: str, value: object) -> int:
    """Deletes about DELETE_AT_ONCE rows; whole steps of a rollup, so that no step is left in part."""
    query = (
        f"DELETE FROM {table} WHERE ({keys}) IN (SELECT DISTINCT {keys} FROM {table} WHERE {where} "
        f"LIMIT {DELETE_AT_ONCE if keys == 'id' else 20})"
    )
    return connection.execute(query, (value,)).rowcount
