"""What one refresh of the overview costs: `python -m benchmarks.reading`.

Fills a file with rollups of two days in steps of 10 s, as a busy installation leaves them, and with raw rows of two sizes, and
times `Desk.status(trends=True)`: the whole view that the screen polls once a second.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from console.core.ids import uuid7
from console.core.rollups import Series
from console.ops.desk import Desk
from console.store.configuration import load_settings
from console.store.sqlite.schema import SCHEMAS, open_current

FEATURES = ("support-reply", "summarize", "classify", "draft-email")


def fill_rollups(connection: sqlite3.Connection, now_s: int, days: float) -> int:
    series = [
        Series(feature, model, model, "anthropic", "", "", "primary", outcome, "")
        for feature in FEATURES
        for model in ("claude-sonnet-5-5", "claude-haiku-5-5")
        for outcome in ("ok", "failed")
    ]
    connection.executemany("INSERT INTO series VALUES (?,?,?,?,?,?,?,?,?,?)", [(one.id, *one) for one in series])
    rows = 0
    for tier, length in ((10, days * 86400), (300, 30 * 86400), (3600, 90 * 86400)):
        for start in range(now_s // tier * tier - int(length), now_s, tier):
            sums = [(tier, start, one.id, 300, 3, 0, 300, 90000, 30000, 0, 0, 0) for one in series]
            connection.executemany(f"INSERT INTO call_rollup VALUES ({','.join('?' * 12)})", sums)
            buckets = [
                (tier, start, one.id, kind, bucket, 20)
                for one in series[::2]
                for kind, first in (("total", 310), ("first", 270))
                for bucket in range(first, first + 15)
            ]
            connection.executemany("INSERT INTO latency_rollup VALUES (?,?,?,?,?,?)", buckets)
            attempts = [
                (tier, start, one.feature, one.target, one.model, one.provider, result, 100)
                for one in series[::2]
                for result in ("ok", "529")
            ]
            connection.executemany("INSERT INTO attempt_rollup VALUES (?,?,?,?,?,?,?,?)", attempts)
            rows += len(sums) + len(buckets) + len(attempts)
    return rows


def fill_raw(connection: sqlite3.Connection, count: int, now_s: int) -> None:
    generator = random.Random(1)
    connection.executemany(
        f"INSERT INTO call VALUES ({','.join('?' * 29)})",
        (
            (
                uuid7((now_s - 86400) * 1_000_000 + number, generator.getrandbits(74)), "p", now_s * 1_000_000, "classify",
                "acme", None, None, None, "m", "m", "m", "anthropic", "primary", "ok", 0, 1, 800_000, None, 400, 100, 0, 0, 0,
                "end_turn", 200, None, "req_1", None, 0,
            )
            for number in range(count)
        ),
    )  # fmt: skip


def fill_failures(connection: sqlite3.Connection, count: int, now_s: int) -> None:
    """One attempt in a hundred has failed: a quarter of them of each feature."""
    generator = random.Random(2)
    connection.executemany(
        f"INSERT INTO attempt VALUES ({','.join('?' * 11)})",
        (
            (
                uuid7((now_s - 86400) * 1_000_000 + number, generator.getrandbits(74)), "c", now_s * 1_000_000, "claude-sonnet-5-5",
                "claude-sonnet-5-5", "anthropic", *((529, "overloaded_error") if number % 100 == 0 else (200, None)), 800_000,
                "req_1", FEATURES[number // 100 % len(FEATURES)],
            )
            for number in range(count)
        ),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 1_000_000])
    parser.add_argument("--days", type=float, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        settings = load_settings(None, directory)
        now_s, raw = int(time.time()), 0
        connection = open_current(settings.locations.telemetry, SCHEMAS["telemetry"], busy_s=5)
        connection.execute("BEGIN")
        rollups = fill_rollups(connection, now_s, arguments.days)
        connection.execute("COMMIT")
        for wanted in arguments.rows:
            connection.execute("BEGIN")
            fill_raw(connection, wanted - raw, now_s + raw)
            fill_failures(connection, wanted - raw, now_s + raw)
            raw = wanted
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            desk = Desk(settings)
            desk.status(trends=True)
            took = []
            for _ in range(30):
                before = time.perf_counter()
                desk.status(trends=True)
                took.append((time.perf_counter() - before) * 1000)
            size = Path(settings.locations.telemetry).stat().st_size / 1e6
            print(f"{raw:>10,} raw rows, {rollups:,} rollup rows, {size:,.0f} MB: one refresh {statistics.median(took):.1f} ms"
                  f" (p95 {sorted(took)[28]:.1f})")  # fmt: skip
        connection.close()


if __name__ == "__main__":
    main()
