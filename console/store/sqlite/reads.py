"""Reading telemetry.db for people: sums over rollups, never over raw rows, so the cost does not grow with traffic.

Every function takes an open connection of `reading_telemetry`, which is short-lived: a reader that stays keeps the WAL growing.
Times are UTC seconds for rollups, microseconds for processes. Rows are named tuples of what was summed.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from console.errors import StoreError
from console.store.sqlite.connect import refuse_newer, store_error, uri_of
from console.store.sqlite.schema import SCHEMAS, ForeignFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class NothingRecorded(StoreError):
    """There is no telemetry file yet: no application has recorded anything here."""


@contextmanager
def reading_telemetry(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection in one read transaction. Raises NothingRecorded, StoreError."""
    if not path.exists():
        raise NothingRecorded(f"{path}: nothing has been recorded here yet")
    try:
        connection = _open(path)
        try:
            connection.execute("BEGIN")
            _check_ours(connection, path)
            yield connection
        finally:
            connection.close()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise store_error(path, error) from error


def _open(path: Path) -> sqlite3.Connection:
    """Read-only; in a directory that cannot be written and with no writer alive, the file as it stands."""
    connection = sqlite3.connect(uri_of(path, "ro"), uri=True, timeout=0.5, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        wal = path.with_name(path.name + "-wal")
        if wal.exists() and wal.stat().st_size:
            raise
        connection = sqlite3.connect(uri_of(path, "ro", immutable=True), uri=True, isolation_level=None)
    return connection


def _check_ours(connection: sqlite3.Connection, path: Path) -> None:
    schema = SCHEMAS["telemetry"]
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    refuse_newer(path, version, schema.version)
    if version < schema.version:
        raise NothingRecorded(f"{path}: nothing has been recorded here yet")
    if application_id != schema.application_id:
        raise ForeignFile(f"{path}: not a telemetry database of this console")


class ProcessRow(NamedTuple):
    """One row of `process`."""

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
    state: str


def processes(connection: sqlite3.Connection, since_us: int) -> list[ProcessRow]:
    """The processes with a heartbeat since then, newest start first."""
    query = (
        "SELECT id, pid, host, service, started_at, at, ended_at, control_version, control_source, queue_depth, dropped, "
        "note, state FROM process WHERE at >= ? ORDER BY started_at DESC LIMIT 1000"
    )
    return [ProcessRow(*row) for row in connection.execute(query, (since_us,))]


class SeriesSums(NamedTuple):
    """Sums of one series over a window."""

    feature: str
    target: str
    model: str
    provider: str
    prompt: str
    prompt_version: str
    served_by: str
    outcome: str
    band: str
    calls: int
    failed: int
    blocked: int
    tokens: tuple[int, int, int, int, int]


def series_sums(connection: sqlite3.Connection, tier_s: int, since_s: int) -> list[SeriesSums]:
    """Every series with calls that ended in steps of `tier_s` seconds starting at `since_s` or later."""
    query = (
        "SELECT s.feature, s.target, s.model, s.provider, s.prompt, s.prompt_version, s.served_by, s.outcome, s.band, "
        "sum(r.calls), sum(r.failed), sum(r.blocked), sum(r.input_tokens), sum(r.output_tokens), sum(r.cache_read_tokens), "
        "sum(r.cache_write_5m_tokens), sum(r.cache_write_1h_tokens) "
        "FROM call_rollup r JOIN series s ON s.id = r.series WHERE r.tier = ? AND r.start >= ? GROUP BY r.series"
    )
    return [SeriesSums._make((*row[:12], tuple(row[12:]))) for row in connection.execute(query, (tier_s, since_s))]


def latencies(
    connection: sqlite3.Connection, tier_s: int, since_s: int
) -> tuple[Mapping[str, Counter[int]], Mapping[str, Counter[int]]]:
    """Whole-answer latency buckets of answered calls by feature and by target."""
    by_feature: dict[str, Counter[int]] = defaultdict(Counter)
    by_target: dict[str, Counter[int]] = defaultdict(Counter)
    query = (
        "SELECT s.feature, s.target, r.bucket, sum(r.count) FROM latency_rollup r JOIN series s ON s.id = r.series "
        "WHERE r.tier = ? AND r.start >= ? AND r.kind = 'total' AND s.outcome = 'ok' GROUP BY s.feature, s.target, r.bucket"
    )
    for feature, target, bucket, count in connection.execute(query, (tier_s, since_s)):
        by_feature[feature][bucket] += count
        by_target[target][bucket] += count
    return by_feature, by_target


def attempts(connection: sqlite3.Connection, tier_s: int, since_s: int) -> dict[tuple[str, str, str], Counter[str]]:
    """Attempts by (target, model, provider) and result."""
    found: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    query = (
        "SELECT target, model, provider, result, sum(count) FROM attempt_rollup WHERE tier = ? AND start >= ? "
        "GROUP BY target, model, provider, result"
    )
    for target, model, provider, result, count in connection.execute(query, (tier_s, since_s)):
        found[target, model, provider][result] += count
    return found


class Step(NamedTuple):
    """One step of the trends."""

    calls: int
    failed: int
    buckets: Counter[int]


def steps(
    connection: sqlite3.Connection, since_s: int, step_s: int, feature: str | None
) -> tuple[dict[int, Step], dict[int, Counter[str]]]:
    """Calls and latencies, and attempts by result, per step of `step_s` seconds (a multiple of ten); by step number since
    `since_s`. Blocked and degraded calls are not among them: they say nothing of the API."""
    sums: dict[int, Step] = defaultdict(lambda: Step(0, 0, Counter()))
    where = "AND s.feature = ?" if feature is not None else ""
    parameters: tuple[object, ...] = (since_s, step_s, since_s, *([feature] if feature is not None else []))
    query = (
        "SELECT (r.start - ?) / ? AS step, sum(r.calls), sum(r.failed) FROM call_rollup r JOIN series s ON s.id = r.series "
        f"WHERE r.tier = 10 AND r.start >= ? AND s.outcome IN ('ok', 'failed') {where} GROUP BY step"
    )
    for step, calls, failed in connection.execute(query, parameters):
        sums[step] = Step(calls, failed, Counter())
    query = (
        "SELECT (r.start - ?) / ? AS step, r.bucket, sum(r.count) FROM latency_rollup r JOIN series s ON s.id = r.series "
        f"WHERE r.tier = 10 AND r.start >= ? AND r.kind = 'total' AND s.outcome = 'ok' {where} GROUP BY step, r.bucket"
    )
    for step, bucket, count in connection.execute(query, parameters):
        sums[step].buckets[bucket] += count
    results: dict[int, Counter[str]] = defaultdict(Counter)
    query = (
        "SELECT (s.start - ?) / ? AS step, s.result, sum(s.count) FROM attempt_rollup s "
        f"WHERE s.tier = 10 AND s.start >= ? {where} GROUP BY step, s.result"
    )
    for step, result, count in connection.execute(query, parameters):
        results[step][result] += count
    return sums, results


class Touched(NamedTuple):
    """Whom an act would touch."""

    calls: int
    all_calls: int
    customers: int


def touched(connection: sqlite3.Connection, since_s: int, kind: str, name: str) -> Touched:
    """Calls of the subject and of everything, and the subject's customers, in the minutes since `since_s`."""
    column = {"feature": "s.feature", "model": "s.model"}.get(kind)
    (all_calls,) = connection.execute(
        "SELECT coalesce(sum(calls), 0) FROM call_rollup WHERE tier = 10 AND start >= ?", (since_s,)
    ).fetchone()
    minute = since_s // 60 * 60
    customer_column = {"feature": "feature", "model": "model", "customer": "customer"}.get(kind)
    if customer_column is None:
        where, parameters = "", (minute,)
    else:
        where, parameters = f"AND {customer_column} = ?", (minute, name)  # type: ignore[assignment]
    customer_calls, customers = connection.execute(
        f"SELECT coalesce(sum(calls), 0), count(DISTINCT customer) FROM customer_rollup WHERE tier = 60 AND start >= ? {where}",
        parameters,
    ).fetchone()
    if kind == "all":
        return Touched(all_calls, all_calls, customers)
    if column is None:
        return Touched(customer_calls, all_calls, customers)
    (calls,) = connection.execute(
        "SELECT coalesce(sum(r.calls), 0) FROM call_rollup r JOIN series s ON s.id = r.series "
        f"WHERE r.tier = 10 AND r.start >= ? AND {column} = ?",
        (since_s, name),
    ).fetchone()
    return Touched(calls, all_calls, customers)


def reached(connection: sqlite3.Connection, since_s: int, until_s: int, kind: str, name: str) -> int:
    """Calls of the subject that reached the API in the steps of ten seconds from `since_s` to before `until_s`."""
    column = {"feature": "s.feature", "model": "s.model"}.get(kind)
    if kind == "customer":
        (calls,) = connection.execute(
            "SELECT coalesce(sum(calls - blocked), 0) FROM customer_rollup "
            "WHERE tier = 60 AND start >= ? AND start < ? AND customer = ?",
            (since_s // 60 * 60, until_s, name),
        ).fetchone()
        return int(calls)
    where, parameters = ("", (since_s, until_s)) if column is None else (f"AND {column} = ?", (since_s, until_s, name))
    (calls,) = connection.execute(
        "SELECT coalesce(sum(r.calls), 0) FROM call_rollup r JOIN series s ON s.id = r.series "
        f"WHERE r.tier = 10 AND r.start >= ? AND r.start < ? AND s.outcome NOT IN ('blocked', 'degraded') {where}",
        parameters,
    ).fetchone()
    return int(calls)


def newest_us(connection: sqlite3.Connection) -> int | None:
    """When the newest heartbeat was written, or None."""
    (at,) = connection.execute("SELECT max(at) FROM process").fetchone()
    return None if at is None else int(at)


def seen_names(connection: sqlite3.Connection, since_s: int) -> dict[str, list[str]]:
    """The features, models and customers with calls since then: what completion offers and what a typo is compared with."""
    names: dict[str, list[str]] = {}
    for kind, query in (
        ("feature", "SELECT DISTINCT s.feature FROM call_rollup r JOIN series s ON s.id = r.series "
         "WHERE r.tier = 3600 AND r.start >= ? ORDER BY 1 LIMIT 1000"),
        ("model", "SELECT DISTINCT s.model FROM call_rollup r JOIN series s ON s.id = r.series "
         "WHERE r.tier = 3600 AND r.start >= ? ORDER BY 1 LIMIT 1000"),
        ("customer", "SELECT DISTINCT customer FROM customer_rollup WHERE tier = 3600 AND start >= ? ORDER BY 1 LIMIT 5000"),
    ):  # fmt: skip
        names[kind] = [name for (name,) in connection.execute(query, (since_s,))]
    return names
