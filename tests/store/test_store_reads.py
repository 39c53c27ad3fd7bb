"""Reading telemetry for people: what acts should move, whom they touch, and states that nobody of ours has written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from store_tools import beat, calls, now_us, write

from console.core.rollups import Rollups
from console.store.sqlite import reads
from console.store.sqlite.telemetry import TelemetryWriter

if TYPE_CHECKING:
    from console.store.locations import Locations

US = 1_000_000


def recorded(places: Locations) -> int:
    """Calls of all kinds in one step of ten seconds; returns its start."""
    start = now_us() // (10 * US) * 10 - 60
    at = start * US
    writer = TelemetryWriter(places.telemetry)
    write(writer, calls(5, feature="a", target="sonnet", prompt="reply", prompt_version="2", started_us=at))
    write(
        writer, calls(3, feature="a", target="haiku", served_by="fallback", prompt="reply", prompt_version="3", started_us=at)
    )
    write(writer, calls(2, feature="b", target="haiku", customer="bolt", started_us=at), ("acme", "bolt"))
    write(writer, calls(1, feature="b", target="sonnet", outcome="failed", status=529, served_by="none", started_us=at))
    write(writer, calls(4, feature="a", target="sonnet", outcome="blocked", served_by="none", status=None, prompt="reply", prompt_version="2",
                        started_us=at))  # fmt: skip
    writer.close()
    return start


def test_each_count_counts_its_own_and_only_inside_its_time(places: Locations) -> None:
    start = recorded(places)
    with reads.reading_telemetry(places.telemetry) as connection:
        span = (connection, start, start + 10)
        assert reads.served(*span, target="haiku", feature=None) == 5
        assert reads.served(*span, target="haiku", feature="a") == 3
        assert reads.served(*span, target="sonnet", feature=None) == 5, "neither failed nor blocked calls were served"
        assert reads.sent(*span, target="sonnet") == 6
        assert reads.prompted(*span, prompt="reply", version=2) == 5
        assert reads.prompted(*span, prompt="reply", version=None) == 8
        for other in ((connection, start - 10, start), (connection, start + 10, start + 20)):
            assert reads.served(*other, target="haiku", feature=None) == reads.sent(*other, target="sonnet") == 0
            assert reads.prompted(*other, prompt="reply", version=2) == 0


def test_whom_targets_and_prompts_touch(places: Locations) -> None:
    start = recorded(places)
    with reads.reading_telemetry(places.telemetry) as connection:
        assert reads.touched(connection, start, "target", "haiku") == (5, 15, 2)
        assert reads.touched(connection, start, "prompt", "reply") == (12, 15, 1)
        assert reads.touched(connection, start, "prompt", "nothing") == (0, 15, 0)
    writer = TelemetryWriter(places.telemetry)
    write(writer, calls(1, feature="a", started_us=start * US))
    writer.close()
    with reads.reading_telemetry(places.telemetry) as connection:
        assert reads.touched(connection, start, "prompt", "reply").customers is None, "the feature sends more than this prompt"


def test_a_state_that_is_no_text_or_endless_reads_as_an_empty_one(places: Locations) -> None:
    writer = TelemetryWriter(places.telemetry)
    for name in ("fine", "endless", "bytes", "number"):
        writer.write([], Rollups(), beat(id=name, state={"targets": ["a"]}), name)
    writer.close()
    with closing(sqlite3.connect(places.telemetry)) as connection:
        for name, state in (("endless", "x" * (reads.MAX_STATE + 1)), ("bytes", b"\xff"), ("number", 7)):
            connection.execute("UPDATE process SET state = ? WHERE id = ?", (state, name))
        connection.commit()
    with reads.reading_telemetry(places.telemetry) as connection:
        found = {row.id: row.state for row in reads.processes(connection, 0)}
        assert set(reads.lives(connection, 0)) == set(found)
    assert "targets" in found.pop("fine")
    assert set(found.values()) <= {"{}", "7"}


def test_the_newest_failures_of_a_feature_come_from_an_index_of_failures(places: Locations) -> None:
    writer = TelemetryWriter(places.telemetry)
    at = now_us() - 60 * US
    for number in range(5):
        write(writer, calls(1, feature="a", target="sonnet", status=529, outcome="failed", error="overloaded_error", request_id=f"r{number}",
                            started_us=at + number * US))  # fmt: skip
        write(writer, calls(20, feature="a", started_us=at + number * US))
    write(writer, calls(1, feature="b", status=None, outcome="failed", error="timeout", started_us=at))
    writer.close()
    with reads.reading_telemetry(places.telemetry) as connection:
        found = reads.failures(connection, "a", 3)
        assert [(one.request_id, one.status, one.target) for one in found] == [(f"r{n}", 529, "sonnet") for n in (4, 3, 2)]
        assert [(one.error, one.status) for one in reads.failures(connection, "b", 3)] == [("timeout", None)]
        assert reads.failures(connection, "nobody", 3) == []
        assert reads.failed_attempts(connection, 3600, 0) == {"a": 5, "b": 1}
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT at FROM attempt WHERE feature = ? AND error IS NOT NULL ORDER BY id DESC LIMIT 3", ("a",)
        ).fetchall()
        assert "attempt_failed" in str(plan) and "TEMP B-TREE" not in str(plan), "neither a scan nor a sort"


def test_latencies_are_kept_apart_by_kind_and_a_fallback_counts_only_where_nothing_else_does(places: Locations) -> None:
    start = now_us() - 20 * US
    writer = TelemetryWriter(places.telemetry)
    write(writer, calls(4, feature="a", target="sonnet", duration_us=900_000, first_token_us=90_000, started_us=start))
    write(writer, calls(3, feature="a", target="sonnet", served_by="fallback", duration_us=900_000, started_us=start))
    write(
        writer,
        calls(2, feature="a", target="haiku", served_by="fallback", duration_us=400_000, first_token_us=None, started_us=start),
    )
    write(writer, calls(9, feature="a", target="haiku", outcome="failed", status=529, started_us=start))
    writer.close()
    with reads.reading_telemetry(places.telemetry) as connection:
        found = reads.latencies(connection, 10, 0)
    assert sum(found.by_feature["a"].values()) == 9, "failures took no time that counts"
    assert {name: sum(buckets.values()) for name, buckets in found.by_target.items()} == {"sonnet": 4, "haiku": 2}
    assert {name: sum(buckets.values()) for name, buckets in found.first_by_target.items()} == {"sonnet": 4}


def test_the_busiest_customer_is_one_with_a_name(places: Locations) -> None:
    with_nobody = now_us() - 5 * US
    writer = TelemetryWriter(places.telemetry)
    write(writer, calls(30, feature="a", customer="unnamed", started_us=with_nobody), ("acme", "bolt"))
    write(writer, calls(5, feature="a", customer="bolt", started_us=with_nobody), ("acme", "bolt"))
    write(writer, calls(9, feature="b", customer="acme", started_us=with_nobody), ("acme", "bolt"))
    writer.close()
    with reads.reading_telemetry(places.telemetry) as connection:
        assert reads.busiest_customer(connection, with_nobody // US) == ("acme", 9, 44)
        assert reads.busiest_customer(connection, with_nobody // US + 120) is None


def test_series_tell_their_attempts(places: Locations) -> None:
    start = recorded(places)
    with reads.reading_telemetry(places.telemetry) as connection:
        sums = {(row.feature, row.target, row.outcome): row.attempts for row in reads.series_sums(connection, 10, start)}
    assert sums["a", "sonnet", "ok"] == 5 and sums["a", "sonnet", "blocked"] == 0
