"""Reading telemetry.db for people: sums over rollups, never over raw rows, so the cost does not grow with traffic.

Every function takes an open connection of `reading_telemetry`, which is short-lived: a reader that stays keeps the WAL growing.
Times are UTC seconds for rollups, microseconds for processes. Rows are named tuples of what was summed.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from console.core.calls import FROM_CACHE
from console.core.models import base_model
from console.core.rollups import OTHER_CUSTOMERS
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


MAX_STATE: Final = 262_144
"""Characters of a heartbeat's state that are read: what is longer was not written by us."""


def processes(connection: sqlite3.Connection, since_us: int) -> list[ProcessRow]:
    """The processes with a heartbeat since then, newest start first. A state that is no text, or too long, reads as "{}"."""
    query = (
        "SELECT id, pid, host, service, started_at, at, ended_at, control_version, control_source, queue_depth, dropped, "
        "note, CASE WHEN typeof(state) = 'text' AND length(state) <= ? THEN state ELSE '{}' END "
        "FROM process WHERE at >= ? ORDER BY started_at DESC LIMIT 1000"
    )
    return [ProcessRow(*row) for row in connection.execute(query, (MAX_STATE, since_us))]


def lives(connection: sqlite3.Connection, since_us: int) -> dict[str, tuple[int, int, int | None]]:
    """When each process that was heard of since then started, was last heard, and ended, by id."""
    query = "SELECT id, started_at, at, ended_at FROM process WHERE at >= ? ORDER BY started_at DESC LIMIT 1000"
    return {name: (started, at, ended) for name, started, at, ended in connection.execute(query, (since_us,))}


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
    attempts: int = 0


def series_sums(connection: sqlite3.Connection, tier_s: int, since_s: int, until_s: int = 1 << 62) -> list[SeriesSums]:
    """Every series with calls that ended in steps of `tier_s` seconds that start at `since_s` or later, before `until_s`."""
    query = (
        "SELECT s.feature, s.target, s.model, s.provider, s.prompt, s.prompt_version, s.served_by, s.outcome, s.band, "
        "sum(r.calls), sum(r.failed), sum(r.blocked), sum(r.input_tokens), sum(r.output_tokens), sum(r.cache_read_tokens), "
        "sum(r.cache_write_5m_tokens), sum(r.cache_write_1h_tokens), sum(r.attempts) "
        "FROM call_rollup r JOIN series s ON s.id = r.series WHERE r.tier = ? AND r.start >= ? AND r.start < ? "
        "GROUP BY r.series"
    )
    rows = connection.execute(query, (tier_s, since_s, until_s))
    return [SeriesSums._make((*row[:12], tuple(row[12:17]), row[17])) for row in rows]


class CustomerSums(NamedTuple):
    """Tokens of one customer's calls with one model."""

    customer: str
    model: str
    band: str
    tokens: tuple[int, int, int, int, int]


def customer_sums(connection: sqlite3.Connection, tier_s: int, since_s: int, until_s: int) -> Iterator[CustomerSums]:
    """The tokens of every customer that has rows of its own, over the steps from `since_s` to before `until_s`."""
    query = (
        "SELECT customer, model, band, sum(input_tokens), sum(output_tokens), sum(cache_read_tokens), "
        "sum(cache_write_5m_tokens), sum(cache_write_1h_tokens) FROM customer_rollup "
        "WHERE tier = ? AND start >= ? AND start < ? AND customer <> ? GROUP BY customer, model, band"
    )
    for row in connection.execute(query, (tier_s, since_s, until_s, OTHER_CUSTOMERS)):
        yield CustomerSums._make((*row[:3], tuple(row[3:])))


def heartbeats_of(connection: sqlite3.Connection, host: str, service: str) -> dict[str, tuple[int, bool]]:
    """When each process of a service on a host was last heard, in UTC microseconds, and whether it has ended, by its id."""
    query = "SELECT id, at, ended_at IS NOT NULL FROM process WHERE host = ? AND service = ? ORDER BY at DESC LIMIT 1000"
    return {name: (at, bool(is_over)) for name, at, is_over in connection.execute(query, (host, service))}


class Latencies(NamedTuple):
    """Latency buckets of answered calls.

    A call that came to a target as a fallback has the time of the targets before it in its latency: it counts for its target
    only where the target served nothing else. One that was served from the cache counts for its feature only.
    """

    by_feature: Mapping[str, Counter[int]]
    by_target: Mapping[str, Counter[int]]
    first_by_target: Mapping[str, Counter[int]]
    """Until the first token."""


def latencies(connection: sqlite3.Connection, tier_s: int, since_s: int) -> Latencies:
    """How long answers took, by feature and by target."""
    by_feature: dict[str, Counter[int]] = defaultdict(Counter)
    found: dict[tuple[str, bool], dict[str, Counter[int]]] = defaultdict(lambda: defaultdict(Counter))
    query = (  # added up before the join: a third of the time
        "SELECT s.feature, s.target, s.served_by, sums.kind, sums.bucket, sums.number FROM "
        "(SELECT series, kind, bucket, sum(count) AS number FROM latency_rollup WHERE tier = ? AND start >= ? "
        "GROUP BY series, kind, bucket) sums JOIN series s ON s.id = sums.series WHERE s.outcome = 'ok'"
    )
    for feature, target, served_by, kind, bucket, number in connection.execute(query, (tier_s, since_s)):
        if served_by not in FROM_CACHE:
            found[kind, served_by == "fallback"][target][bucket] += number
        if kind == "total":
            by_feature[feature][bucket] += number
    by_target, first = ({**found[kind, True], **found[kind, False]} for kind in ("total", "first"))
    return Latencies(by_feature, by_target, first)


def attempts(connection: sqlite3.Connection, tier_s: int, since_s: int) -> dict[tuple[str, str, str, str], Counter[str]]:
    """Attempts by (feature, target, model, provider) and result."""
    found: dict[tuple[str, str, str, str], Counter[str]] = defaultdict(Counter)
    query = (
        "SELECT feature, target, model, provider, result, sum(count) FROM attempt_rollup WHERE tier = ? AND start >= ? "
        "GROUP BY feature, target, model, provider, result"
    )
    for feature, target, model, provider, result, count in connection.execute(query, (tier_s, since_s)):
        found[feature, target, model, provider][result] += count
    return found


def failed_attempts(connection: sqlite3.Connection, tier_s: int, since_s: int) -> Counter[str]:
    """How many attempts did not end well, by feature."""
    query = "SELECT feature, sum(count) FROM attempt_rollup WHERE tier = ? AND start >= ? AND result <> 'ok' GROUP BY feature"
    return Counter(dict(connection.execute(query, (tier_s, since_s))))


class FailureRow(NamedTuple):
    """One attempt that failed. `at`: when it was sent."""

    at: int
    feature: str
    target: str
    model: str
    provider: str
    status: int | None
    error: str
    latency_us: int
    request_id: str | None


def failures(connection: sqlite3.Connection, feature: str, limit: int) -> list[FailureRow]:
    """The newest failed attempts of a feature, newest first: `limit` steps of an index that holds failures only."""
    query = (
        "SELECT at, feature, target, model, provider, status, error, latency_us, request_id FROM attempt "
        "WHERE feature = ? AND error IS NOT NULL ORDER BY id DESC LIMIT ?"
    )
    return [FailureRow(*row) for row in connection.execute(query, (feature, limit))]


def busiest_customer(connection: sqlite3.Connection, since_s: int) -> tuple[str, int, int] | None:
    """(name, its calls, the calls of all that name a customer) since that minute; None without any. Reads a row for each
    customer, feature, target and minute: not for every refresh."""
    query = (
        "SELECT customer, sum(calls) FROM customer_rollup WHERE tier = 60 AND start >= ? GROUP BY customer ORDER BY 2 DESC, 1"
    )
    rows = connection.execute(query, (since_s // CUSTOMER_STEP_S * CUSTOMER_STEP_S,)).fetchall()
    named = [(name, calls) for name, calls in rows if name != OTHER_CUSTOMERS]
    return (*named[0], sum(calls for _, calls in rows)) if named else None


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
    customers: int | None
    """None when it cannot be told: a prompt's, when its features send others as well."""


CUSTOMER_STEP_S: Final = 60
STEP_S: Final = 10


def step_of(kind: str) -> int:
    """The finest step, in seconds, in which calls of a kind of scope are counted."""
    return CUSTOMER_STEP_S if kind == "customer" else STEP_S


def touched(connection: sqlite3.Connection, since_s: int, kind: str, name: str) -> Touched:
    """Calls of the subject and of everything, and the subject's customers, since `since_s` (customers: since that minute)."""
    (all_calls,) = connection.execute(
        "SELECT coalesce(sum(calls), 0) FROM call_rollup WHERE tier = 10 AND start >= ?", (since_s,)
    ).fetchone()
    where, names = _matching(connection, kind, name)
    if kind == "prompt":
        return _touched_by_prompt(connection, since_s, name, all_calls)
    customer_calls, customers = connection.execute(
        "SELECT coalesce(sum(s.calls), 0), count(DISTINCT s.customer) FROM customer_rollup s "
        f"WHERE s.tier = 60 AND s.start >= ? {where}",
        (since_s // CUSTOMER_STEP_S * CUSTOMER_STEP_S, *names),
    ).fetchone()
    if kind == "customer":
        return Touched(customer_calls, all_calls, customers)
    (calls,) = connection.execute(
        "SELECT coalesce(sum(r.calls), 0) FROM call_rollup r JOIN series s ON s.id = r.series "
        f"WHERE r.tier = 10 AND r.start >= ? {where}",
        (since_s, *names),
    ).fetchone()
    return Touched(calls, all_calls, customers)


def _touched_by_prompt(connection: sqlite3.Connection, since_s: int, name: str, all_calls: int) -> Touched:
    """Customers are not kept by prompt: they are the features', as long as these send no other prompt."""
    features: dict[str, list[int]] = {}
    query = (
        "SELECT s.feature, s.prompt, sum(r.calls) FROM call_rollup r JOIN series s ON s.id = r.series "
        "WHERE r.tier = 10 AND r.start >= ? GROUP BY s.feature, s.prompt"
    )
    for feature, prompt, calls in connection.execute(query, (since_s,)):
        own_and_other = features.setdefault(feature, [0, 0])
        own_and_other[prompt != name] += calls
    sending = {feature: calls for feature, calls in features.items() if calls[0]}
    customers = None
    if not any(other for _, other in sending.values()):
        named = ", ".join("?" * len(sending))
        (customers,) = connection.execute(
            f"SELECT count(DISTINCT customer) FROM customer_rollup WHERE tier = 60 AND start >= ? AND feature IN ({named})",
            (since_s // CUSTOMER_STEP_S * CUSTOMER_STEP_S, *sending),
        ).fetchone()
    return Touched(sum(own for own, _ in sending.values()), all_calls, customers)


def served(connection: sqlite3.Connection, since_s: int, until_s: int, *, target: str, feature: str | None) -> int:
    """Calls, of a feature or of all, that a target answered from `since_s` to before `until_s`, both multiples of ten."""
    where, names = ("", ()) if feature is None else ("AND s.feature = ?", (feature,))
    query = (
        "SELECT coalesce(sum(r.calls), 0) FROM call_rollup r JOIN series s ON s.id = r.series "
        f"WHERE r.tier = 10 AND r.start >= ? AND r.start < ? AND s.outcome = 'ok' AND s.target = ? {where}"
    )
    (calls,) = connection.execute(query, (since_s, until_s, target, *names)).fetchone()
    return int(calls)


def sent(connection: sqlite3.Connection, since_s: int, until_s: int, *, target: str) -> int:
    """Attempts that went to a target from `since_s` to before `until_s`, both multiples of ten."""
    query = "SELECT coalesce(sum(count), 0) FROM attempt_rollup WHERE tier = 10 AND start >= ? AND start < ? AND target = ?"
    (attempts,) = connection.execute(query, (since_s, until_s, target)).fetchone()
    return int(attempts)


def prompted(connection: sqlite3.Connection, since_s: int, until_s: int, *, prompt: str, version: int | None) -> int:
    """Calls that reached the API with a prompt, and with one version of it, from `since_s` to before `until_s`."""
    where, names = ("", ()) if version is None else ("AND s.prompt_version IN (?, ?)", (str(version), f"v{version}"))
    query = (
        "SELECT coalesce(sum(r.calls), 0) FROM call_rollup r JOIN series s ON s.id = r.series WHERE r.tier = 10 "
        f"AND r.start >= ? AND r.start < ? AND s.outcome NOT IN ('blocked', 'degraded') AND s.prompt = ? {where}"
    )
    (calls,) = connection.execute(query, (since_s, until_s, prompt, *names)).fetchone()
    return int(calls)


def reached(connection: sqlite3.Connection, since_s: int, until_s: int, kind: str, name: str) -> int:
    """Calls of the subject that reached the API from `since_s` to before `until_s`, both at a border of `step_of(kind)`."""
    where, names = _matching(connection, kind, name)
    if kind == "customer":
        query = (
            "SELECT coalesce(sum(s.calls - s.blocked), 0) FROM customer_rollup s "
            "WHERE s.tier = 60 AND s.start >= ? AND s.start < ?"
        )
    else:
        query = (
            "SELECT coalesce(sum(r.calls), 0) FROM call_rollup r JOIN series s ON s.id = r.series "
            "WHERE r.tier = 10 AND r.start >= ? AND r.start < ? AND s.outcome NOT IN ('blocked', 'degraded')"
        )
    (calls,) = connection.execute(f"{query} {where}", (since_s, until_s, *names)).fetchone()
    return int(calls)


def _matching(connection: sqlite3.Connection, kind: str, name: str) -> tuple[str, tuple[str, ...]]:
    """The condition, on a table called `s`, for what a switch on this scope would stop. A model is matched by what was asked
    for, dated snapshots and other providers' ids included, exactly as the switch itself does."""
    if kind == "model":
        asked = [target for (target,) in connection.execute("SELECT DISTINCT target FROM series")]
        names = tuple(target for target in asked if name in (target, base_model(target)))
        return f"AND s.target IN ({', '.join('?' * len(names))})", names
    if kind in ("feature", "customer", "target"):
        return f"AND s.{kind} = ?", (name,)
    return "", ()


def first_step(connection: sqlite3.Connection) -> int | None:
    """The start, in UTC seconds, of the oldest step of ten seconds that is kept, or None."""
    (start,) = connection.execute("SELECT min(start) FROM call_rollup WHERE tier = 10").fetchone()
    return None if start is None else int(start)


def newest_us(connection: sqlite3.Connection) -> int | None:
    """When the newest heartbeat was written, or None."""
    (at,) = connection.execute("SELECT max(at) FROM process").fetchone()
    return None if at is None else int(at)


def seen_names(connection: sqlite3.Connection, since_s: int) -> dict[str, list[str]]:
    """The features, models (as asked for) and customers with calls since then: for completion, and to notice a typo."""
    names: dict[str, list[str]] = {}
    for kind, query in (
        ("feature", "SELECT DISTINCT s.feature FROM call_rollup r JOIN series s ON s.id = r.series "
         "WHERE r.tier = 3600 AND r.start >= ? ORDER BY 1 LIMIT 1000"),
        ("model", "SELECT DISTINCT s.target FROM call_rollup r JOIN series s ON s.id = r.series "
         "WHERE r.tier = 3600 AND r.start >= ? ORDER BY 1 LIMIT 1000"),
        ("customer", "SELECT DISTINCT customer FROM customer_rollup WHERE tier = 3600 AND start >= ? ORDER BY 1 LIMIT 5000"),
    ):  # fmt: skip
        names[kind] = [name for (name,) in connection.execute(query, (since_s,))]
    names["model"] = sorted({*names["model"], *map(base_model, names["model"])})
    return names
