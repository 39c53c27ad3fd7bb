"""The trends: what is remembered of past steps must never differ from what is read anew."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from console.core.calls import AttemptEnd, CallEnd, Facts
from console.core.rollups import add_up
from console.ops.trends import SETTLED_S, STEP_S, TREND_S, TrendReader
from console.store.sqlite import reads
from console.store.sqlite.telemetry import TelemetryWriter

if TYPE_CHECKING:
    from pathlib import Path

US = 1_000_000
NOW_S = 1_800_000_000


def a_call(ended_s: int, feature: str, status: int) -> CallEnd:
    attempt = AttemptEnd(
        Facts(feature, "acme"), ended_s * US - 500_000, 500_000 + ended_s % 7 * 100_000,
        "ok" if status == 200 else "failed", "primary" if status == 200 else "none", "m", status=status,
    )  # fmt: skip
    return CallEnd(attempt, (attempt,), attempt.started_us, attempt.duration_us)


def test_remembered_steps_agree_with_a_fresh_reading_at_every_moment(tmp_path: Path) -> None:
    generator = random.Random(7)
    path = tmp_path / "telemetry.db"
    writer = TelemetryWriter(path)
    kept = TrendReader()
    now_s = NOW_S
    for _ in range(60):
        now_s += generator.choice((1, 3, 20, 100))
        batch = [
            a_call(
                now_s - generator.randrange(SETTLED_S - STEP_S), generator.choice("ab"), generator.choice((200, 200, 429, 529))
            )
            for _ in range(generator.randrange(4))
        ]
        writer.write(batch, add_up(batch, {"acme"}), None, "p")
        with reads.reading_telemetry(path) as connection:
            for feature in (None, "a", "b"):
                assert kept.read(connection, now_s, feature) == TrendReader().read(connection, now_s, feature)
    writer.close()


def test_nothing_recorded_is_none_and_silence_afterwards_is_zero(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.db"
    writer = TelemetryWriter(path)
    batch = [a_call(NOW_S - 600, "a", 200)]
    writer.write(batch, add_up(batch, set()), None, "p")
    with reads.reading_telemetry(path) as connection:
        trends = {trend.name: trend.values for trend in TrendReader().read(connection, NOW_S, None)}
    writer.close()
    assert len(trends["calls_per_min"]) == TREND_S // STEP_S
    assert trends["calls_per_min"][0] is None
    assert trends["calls_per_min"][-1] == 0.0
    assert trends["p99_ms"][-1] is None
    assert [value for value in trends["calls_per_min"] if value] == [2.0]
