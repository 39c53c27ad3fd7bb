"""What the tests of the store, the runtime, the acts and the faults share: places, ended calls, acts, and what must add up."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console.core.audit import verify_chain
from console.core.calls import LONG_PROMPT_TOKENS, AttemptEnd, CallEnd, Facts, Usage, fold
from console.core.control import KILL_ENGAGED, KILL_RESTORED, kill_key
from console.core.ids import uuid7
from console.core.latency import bucket_of
from console.core.rollups import CUSTOMER_TIERS_S, TIERS_S, Series, add_up
from console.core.switches import Scope
from console.ops.desk import Desk
from console.ops.views import Order
from console.store.configuration import Settings
from console.store.locations import Locations, locations
from console.store.sqlite.control import Change, read_audit, write_change
from console.store.sqlite.telemetry import Heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from console.core.control import ControlRow
    from console.ops.views import Applied
    from console.store.sqlite.telemetry import TelemetryWriter

ROOT = Path(__file__).resolve().parents[2]
US = 1_000_000
SUMMARIZE = Scope("feature", "summarize")
REPLY = Scope("feature", "support-reply")


def now_us() -> int:
    return time.time_ns() // 1000


def places_in(directory: Path) -> Locations:
    """Locations whose break-glass directories are all inside `directory`, whatever the host has in /run."""
    data = directory / "data"
    data.mkdir(exist_ok=True)
    return locations(data, (directory / "host-kill",))


def attempt(**given: Any) -> AttemptEnd:
    """One ended attempt; `feature`, `customer`, `model` and `prompt` go into its facts."""
    facts = {name: given.pop(name) for name in ("feature", "customer", "prompt", "prompt_version") if name in given}
    facts = {"feature": "support-reply", "customer": "acme", **facts}
    models = (given.pop("model", "claude-sonnet-5-5"),)
    ended: dict[str, Any] = {
        "started_us": now_us(), "duration_us": 12_345, "outcome": "ok", "served_by": "primary", "target": models[0],
        "status": 200, "first_token_us": 4_000, "usage": Usage(10, 20, 3, 2, 1), **given,
    }  # fmt: skip
    return AttemptEnd(Facts(**facts, models=models), **ended)


def calls(number: int, **given: Any) -> list[CallEnd]:
    return [fold((), attempt(**given)) for _ in range(number)]


def beat(**given: Any) -> Heartbeat:
    now = now_us()
    values: dict[str, Any] = {
        "id": "p", "pid": os.getpid(), "host": "here", "service": "test", "started_at": now, "at": now, "ended_at": None,
        "control_version": 0, "control_source": "none", "queue_depth": 0, "dropped": 0, "note": None, "state": {}, **given,
    }  # fmt: skip
    return Heartbeat(**values)


def write(writer: TelemetryWriter, batch: Iterable[CallEnd], named: Iterable[str] = ("acme",)) -> None:
    batch = list(batch)
    writer.write(batch, add_up(batch, set(named)), None, "p")


def put_switch(
    places: Locations, scope: Scope, *, engaged: bool = True, version: int | None = None, **given: Any
) -> ControlRow:
    """Writes a switch as an act does, without a preview."""
    at = now_us() if version is None else version
    values: dict[str, Any] = {
        "id": uuid7(at, int.from_bytes(os.urandom(10))), "act": "kill" if engaged else "restore", "key": kill_key(scope),
        "value": KILL_ENGAGED if engaged else KILL_RESTORED, "at": at, "actor": "tester", "claimed": {}, "reason": None,
        "expires_at": None, "undoes": None, "seen_version": None, "floor": 0, **given,
    }  # fmt: skip
    return write_change(places.control, Change(**values))


def desk_in(places: Locations, **given: Any) -> Desk:
    return Desk(Settings(None, "test", None, {}, 2 * 86400, 400 * 86400, None, places), **given)


def kill(places: Locations, scope: Scope, **given: Any) -> Applied:
    return desk_in(places).act(Order("kill", scope, **given), reason="test")[1]


def restore(places: Locations, scope: Scope) -> Applied:
    return desk_in(places).act(Order("restore", scope), reason="test")[1]


def until(condition: Callable[[], object], *, within_s: float = 5.0) -> float:
    """Waits for `condition`; returns the seconds it took, fails the test when it does not come true."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() < started + within_s, f"did not come true within {within_s} s"
        time.sleep(0.005)
    return time.monotonic() - started


def python(*arguments: object, **given: Any) -> subprocess.Popen[str]:
    """Another Python process that finds this package and these tests."""
    path = os.pathsep.join(map(str, (ROOT, *(ROOT / "tests" / part for part in ("store", "faults")))))
    environment = {**os.environ, "PYTHONPATH": path, **given.pop("env", {})}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, **given)


def as_nobody(code: str, *arguments: object) -> str:
    """What `code` prints in a process without privileges: our modules are loaded before the uid is dropped, because
    the interpreter may stand where only root can read."""
    drop = "import os, sys\nif os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    process = python(
        "-c", "import importlib.metadata, console.runtime.process, sqlite_utils, store_tools\n" + drop + code, *arguments
    )
    said = process.communicate(timeout=20)[0]
    assert process.returncode == 0, said
    return said


@contextmanager
def open_to_all() -> Iterator[Locations]:
    """Places that every user of the host can reach: pytest's own directories are the owner's alone."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        places = places_in(Path(directory))
        places.data.chmod(0o755)
        yield places


def console(places: Locations, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The real command, in a process of its own."""
    command = [sys.executable, "-m", "console.cli.main", *arguments, "--data", str(places.data)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


def report(text: str) -> None:
    """A measured figure, shown by `pytest -s`; timings are not asserted but with generous bounds."""
    sys.stdout.write(f"\n    {text}\n")


def query(path: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
        return connection.execute(sql, values).fetchall()


def count(path: Path, table: str = "call") -> int:
    number: int = query(path, f"SELECT count(*) FROM {table}")[0][0]
    return number


def assert_whole(path: Path) -> None:
    """Integrity, and rollups of every tier that are exactly the sums of the raw rows."""
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")
        _assert_sums(connection)
        _assert_attempts(connection)


def _assert_sums(connection: sqlite3.Connection) -> None:
    sums: dict[tuple[object, ...], list[int]] = {}
    latencies: dict[tuple[object, ...], int] = {}
    customers: dict[tuple[object, ...], list[int]] = {}
    for row in connection.execute("SELECT * FROM call"):
        tokens = [row[f"{kind}_tokens"] or 0 for kind in ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")]
        band = "long" if tokens[0] + sum(tokens[2:]) > LONG_PROMPT_TOKENS else ""
        model = row["model_served"] or row["model_asked"]
        series = Series(row["feature"], row["target"], model, row["provider"], row["prompt"] or "",
                        row["prompt_version"] or "", row["served_by"], row["outcome"], band).id  # fmt: skip
        outcome = row["outcome"]
        added = [1, outcome == "failed", outcome in ("blocked", "degraded"), row["attempts"], *tokens]
        ended_s = (row["at"] + row["latency_us"]) // US
        for tier in TIERS_S:
            key = (tier, ended_s // tier * tier, series)
            sums[key] = [a + b for a, b in zip(sums.get(key, [0] * 9), added, strict=True)]
            if outcome in ("ok", "failed"):
                bucket = (*key, "total", bucket_of(row["latency_us"]))
                latencies[bucket] = latencies.get(bucket, 0) + 1
            if row["first_token_us"] is not None:
                bucket = (*key, "first", bucket_of(row["first_token_us"]))
                latencies[bucket] = latencies.get(bucket, 0) + 1
        for tier in CUSTOMER_TIERS_S if row["customer"] is not None else ():
            key = (tier, ended_s // tier * tier, row["feature"], row["target"], model, band)
            customers[key] = [a + b for a, b in zip(customers.get(key, [0] * 9), added, strict=True)]
    stored = {tuple(row)[:3]: list(row)[3:] for row in connection.execute("SELECT * FROM call_rollup")}
    assert stored == sums
    assert {tuple(row)[:5]: row[5] for row in connection.execute("SELECT * FROM latency_rollup")} == latencies
    by_customer: dict[tuple[object, ...], list[int]] = {}
    for row in connection.execute("SELECT * FROM customer_rollup"):
        key = (row["tier"], row["start"], row["feature"], row["target"], row["model"], row["band"])
        by_customer[key] = [a + b for a, b in zip(by_customer.get(key, [0] * 9), list(row)[7:], strict=True)]
    assert by_customer == customers
    unknown = "SELECT count(*) FROM call_rollup WHERE series NOT IN (SELECT id FROM series)"
    assert connection.execute(unknown).fetchone()[0] == 0


def _assert_attempts(connection: sqlite3.Connection) -> None:
    raw: dict[tuple[int, int], int] = {}
    for at, latency in connection.execute("SELECT at, latency_us FROM attempt"):
        for tier in TIERS_S:
            key = (tier, (at + latency) // US // tier * tier)
            raw[key] = raw.get(key, 0) + 1
    stored = connection.execute("SELECT tier, start, sum(count) FROM attempt_rollup GROUP BY tier, start")
    assert {(tier, start): number for tier, start, number in stored} == raw
    orphans = "SELECT count(*) FROM attempt WHERE call NOT IN (SELECT id FROM call)"
    assert connection.execute(orphans).fetchone()[0] == 0


def assert_chain(places: Locations) -> None:
    """The audit is one unbroken chain, and each key's row is its last act's."""
    rows = read_audit(places.control)
    assert verify_chain(rows) is None
    last = {row.key: (row.after, row.version) for row in rows}
    in_force = {key: rest for key, *rest in query(places.control, "SELECT key, value, version FROM control")}
    assert in_force == {key: list(value) for key, value in last.items()}
