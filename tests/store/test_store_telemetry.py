"""Writing telemetry.db: batches with their rollups, retention, checkpoints, files that are not ours."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_tools import as_nobody, assert_whole, attempt, beat, calls, count, now_us, open_to_all, places_in, query, write

from console.core.calls import Usage, fold
from console.errors import SchemaTooNew, StoreBusy, StoreError
from console.store.sqlite import telemetry
from console.store.sqlite.telemetry import RetentionPolicy, SetAside, TelemetryWriter

if TYPE_CHECKING:
    from console.store.locations import Locations

ENDED = st.builds(
    dict,
    feature=st.sampled_from(["support-reply", "summarize", "ünï·\n'"]),
    customer=st.sampled_from([None, "acme", "globex", "initech"]),
    model=st.sampled_from(["claude-sonnet-5-5", "claude-haiku-5-5"]),
    outcome=st.sampled_from(["ok", "failed", "blocked", "degraded", "cancelled"]),
    served_by=st.sampled_from(["primary", "none"]),
    started_us=st.integers(1_700_000_000_000_000, 1_700_000_900_000_000),
    duration_us=st.integers(0, 700_000_000),
    first_token_us=st.none() | st.integers(0, 60_000_000),
    usage=st.none() | st.builds(Usage, *[st.integers(0, 120_000)] * 5),
    status=st.sampled_from([None, 200, 429, 529]),
)


@settings(max_examples=25, deadline=None)
@given(batches=st.lists(st.lists(ENDED, max_size=12), max_size=4))
def test_every_tier_of_the_rollups_is_exactly_the_sum_of_the_raw_rows(batches: list[list[dict[str, object]]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        places = places_in(Path(directory))
        writer = TelemetryWriter(places.telemetry)
        for batch in batches:
            write(writer, [fold((), attempt(**one)) for one in batch], named=("acme", "globex"))
        writer.close()
        if batches:
            assert count(places.telemetry) == sum(map(len, batches))
            assert_whole(places.telemetry)


def test_retries_are_attempts_of_one_call(places: Locations) -> None:
    first = attempt(outcome="failed", status=529, will_retry=True, key="k", usage=None)
    second = attempt(started_us=first.started_us + 1_000_000, key="k", retries_taken=1)
    writer = TelemetryWriter(places.telemetry)
    write(writer, [fold((first,), second)])
    writer.close()
    assert (count(places.telemetry), count(places.telemetry, "attempt")) == (1, 2)
    assert_whole(places.telemetry)


def test_retention_deletes_in_bounded_steps_and_leaves_what_is_newer(
    places: Locations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "DELETE_AT_ONCE", 100)
    now, writer = now_us(), TelemetryWriter(places.telemetry)
    write(writer, calls(250, started_us=now - 3 * 86400 * 1_000_000))
    write(writer, calls(40, started_us=now - 86400 * 1_000_000))
    writer.write([], telemetry.Rollups(), beat(id="old", at=now - 2 * 86400 * 1_000_000), "p")
    writer.write([], telemetry.Rollups(), beat(id="new"), "p")
    left = []
    while writer.retain(RetentionPolicy(), now):
        left.append(count(places.telemetry))
    writer.close()
    assert left[:3] == [190, 90, 40]
    assert count(places.telemetry) == count(places.telemetry, "attempt") == 40
    assert query(places.telemetry, "SELECT id FROM process") == [("new",)]
    sums = dict(query(places.telemetry, "SELECT tier, sum(calls) FROM call_rollup GROUP BY tier"))
    assert sums == {10: 40, 300: 290, 3600: 290}, "the fine tier lives as long as the raw rows, the coarse ones longer"
    assert dict(query(places.telemetry, "SELECT tier, sum(calls) FROM customer_rollup GROUP BY tier")) == {60: 40, 3600: 290}


def test_the_wal_stays_bounded_under_steady_writing_with_readers(places: Locations) -> None:
    writer, stopping, sizes = TelemetryWriter(places.telemetry), threading.Event(), [0]
    write(writer, calls(1))
    wal = places.telemetry.with_name("telemetry.db-wal")

    def read() -> None:
        while not stopping.is_set():
            assert query(places.telemetry, "SELECT count(*) FROM call_rollup")
            time.sleep(0.01)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(60):
        write(writer, calls(1_000))
        sizes.append(wal.stat().st_size)
    stopping.set()
    reader.join()
    writer.close()
    assert max(sizes) < 16 * 1024 * 1024, f"{max(sizes):,d} bytes"
    assert count(places.telemetry) == 60_001


def test_a_reader_that_stays_never_makes_the_writers_wait(places: Locations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "CHECKPOINT_BYTES", 0)
    writer = TelemetryWriter(places.telemetry)
    write(writer, calls(1))
    with closing(sqlite3.connect(places.telemetry, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM call").fetchone()
        started = time.monotonic()
        for _ in range(5):
            write(writer, calls(10))
        took = time.monotonic() - started
    writer.close()
    assert took < 2.5, f"each of five checkpoints waited for the reader: {took:.1f} s"
    assert count(places.telemetry) == 51


def test_a_checkpoint_that_fails_after_the_commit_does_not_have_the_rows_written_twice(
    places: Locations, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(sqlite3.Connection):
        def execute(self, sql: str, *rest: object) -> sqlite3.Cursor:  # type: ignore[override]
            if "wal_checkpoint" in sql:
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(sql, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(telemetry, "CHECKPOINT_BYTES", 0)
    writer = TelemetryWriter(places.telemetry)
    write(writer, calls(1))
    writer.close()
    with closing(sqlite3.connect(places.telemetry, isolation_level=None, factory=Failing)) as connection:
        writer._connection, writer._inode = connection, places.telemetry.stat().st_ino
        write(writer, calls(5))  # does not raise: the recorder would write the batch again
        writer._connection = None
    assert count(places.telemetry) == 6
    assert_whole(places.telemetry)


def _zero_length(path: Path) -> None:
    path.write_bytes(b"")


def _foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE cats (name TEXT)")


def _truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def _garbage(path: Path) -> None:
    path.write_bytes(b"all work and no play " * 1_000)


def _damaged_inside(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


@pytest.mark.parametrize("harm", [_foreign, _truncated, _garbage, _damaged_inside])
def test_c8_a_telemetry_file_that_is_no_good_is_set_aside_and_begun_afresh(places: Locations, harm: object) -> None:
    writer = TelemetryWriter(places.telemetry)
    write(writer, calls(500))
    writer.close()
    harm(places.telemetry)  # type: ignore[operator]
    before = places.telemetry.read_bytes()
    with pytest.raises(SetAside, match="kept as telemetry"):
        write(writer, calls(3))
    (aside,) = places.data.glob("telemetry.db.damaged-*[0-9]")
    assert aside.read_bytes() == before, "kept as it was"
    write(writer, calls(3))
    writer.close()
    assert count(places.telemetry) == 3
    assert_whole(places.telemetry)


def test_c8_a_telemetry_file_of_no_bytes_is_begun(places: Locations) -> None:
    _zero_length(places.telemetry)
    writer = TelemetryWriter(places.telemetry)
    write(writer, calls(3))
    writer.close()
    assert count(places.telemetry) == 3


def test_c8_a_telemetry_file_of_a_newer_version_is_refused_and_left_untouched(places: Locations) -> None:
    writer = TelemetryWriter(places.telemetry)
    write(writer, calls(3))
    writer.close()
    with closing(sqlite3.connect(places.telemetry)) as newer:
        newer.execute("PRAGMA user_version = 99")
    before = places.telemetry.read_bytes()
    for _ in range(2):
        with pytest.raises(SchemaTooNew, match="upgrade this one"):
            write(writer, calls(1))
    writer.close()
    assert places.telemetry.read_bytes() == before
    assert list(places.data.glob("*damaged*")) == []


def test_c10_a_file_that_was_deleted_or_replaced_while_open_is_opened_anew(places: Locations) -> None:
    writer = TelemetryWriter(places.telemetry)
    write(writer, calls(3))
    for path in places.data.glob("telemetry.db*"):
        if path.suffix != ".lock":
            path.unlink()
    write(writer, calls(5))
    writer.close()
    assert count(places.telemetry) == 5, "the next batch is in the file that is there now"
    assert_whole(places.telemetry)


def test_a_writer_that_waits_longer_than_a_second_says_busy_and_writes_nothing(places: Locations) -> None:
    writer = TelemetryWriter(places.telemetry)
    write(writer, calls(1))
    descriptor = os.open(places.data / "telemetry.db.lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(StoreBusy):
            write(writer, calls(1))
    finally:
        os.close(descriptor)
    write(writer, calls(1))
    writer.close()
    assert count(places.telemetry) == 2


def test_a_lock_is_given_back_also_when_a_forked_child_lives_on_with_its_descriptor(places: Locations) -> None:
    writer = TelemetryWriter(places.telemetry)
    with writer.locked():
        child = os.fork()
        if child == 0:
            time.sleep(20)
            os._exit(0)
    try:
        write(writer, calls(1))
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    writer.close()
    assert count(places.telemetry) == 1


def test_c7_a_child_that_was_forked_in_the_middle_of_a_write_never_touches_the_file(places: Locations) -> None:
    writer = TelemetryWriter(places.telemetry)
    write(writer, calls(1))
    held = writer.before_fork()
    assert held is not None
    assert writer._connection is None, "closed, so that a child inherits nothing"
    held.release()
    write(writer, calls(1))
    parents = writer._connection
    writer.after_fork(())  # as in a child whose parent could not be brought to rest
    with pytest.raises(StoreError, match="cannot record"):
        write(writer, calls(1))
    assert parents is not None
    assert parents.execute("SELECT count(*) FROM call").fetchone() == (2,), "neither used nor closed"
    parents.close()


def test_a_data_directory_that_is_gone_is_an_error_of_our_tree(places: Locations) -> None:
    writer = TelemetryWriter(places.telemetry)
    places.data.rmdir()
    with pytest.raises(StoreError):
        write(writer, calls(1))


def test_c9_a_reader_of_another_user_works_with_no_writer_alive_and_no_right_to_write() -> None:
    with open_to_all() as places:
        writer = TelemetryWriter(places.telemetry)
        write(writer, calls(7))
        writer.close()
        places.telemetry.chmod(0o644)
        code = (
            "from pathlib import Path; from console.store.sqlite import reads\n"
            "with reads.reading_telemetry(Path(sys.argv[1])) as c: print(reads.touched(c, 0, 'all', '').all_calls)"
        )
        assert as_nobody(code, places.telemetry) == "7\n"
