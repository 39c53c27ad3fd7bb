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
