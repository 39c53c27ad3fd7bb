"""The recorder: nothing that goes wrong with the file, or with one call, loses more than is counted, or stores it twice."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from store_tools import assert_whole, attempt, beat, count, now_us, query, report, until

from console.core.calls import Usage
from console.runtime import recorder as module
from console.runtime.recorder import Recorder
from console.store.sqlite import schema, telemetry
from console.store.sqlite.telemetry import RetentionPolicy, TelemetryWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from console.store.locations import Locations


def recorder_in(places: Locations) -> Recorder:
    made = Recorder(TelemetryWriter(places.telemetry), "p", lambda: beat(dropped=made.dropped), RetentionPolicy())
    return made


@contextmanager
def running(recorder: Recorder) -> Iterator[None]:
    thread = threading.Thread(target=recorder.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        recorder.stop()
        thread.join(10)
        assert not thread.is_alive()


def step(recorder: Recorder) -> None:
    """One round of the thread, at once also after a failure."""
    recorder._retry_due_us = 0
    recorder._step()


def stored(places: Locations) -> int:
    """Calls in the file and in those that were set aside."""
    total = 0
    for path in places.data.glob("telemetry.db*"):
        if path.name == "telemetry.db" or path.name.split("-")[-1].isdigit():
            try:
                total += count(path)
            except sqlite3.Error:  # set aside before it had a table
                assert path.name != "telemetry.db"
    return total


class Faulty(sqlite3.Connection):
    """Raises at the n-th call into SQLite, and at those that follow it while `lasting`."""

    left = 10**9
    name = "SQLITE_FULL"
    used = 0

    def _count(self) -> None:
        Faulty.used += 1
        Faulty.left -= 1
        if Faulty.left == 0:
            kind = sqlite3.DatabaseError if Faulty.name == "SQLITE_CORRUPT" else sqlite3.OperationalError
            error = kind("injected")
            error.sqlite_errorname = Faulty.name
            raise error

    def execute(self, *given: Any) -> sqlite3.Cursor:
        self._count()
        return super().execute(*given)

    def executemany(self, *given: Any) -> sqlite3.Cursor:
        self._count()
        return super().executemany(*given)


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> type[Faulty]:
    def connect(*given: Any, **named: Any) -> sqlite3.Connection:
        return sqlite3.connect(*given, factory=Faulty, **named)

    proxy = SimpleNamespace(connect=connect, Connection=sqlite3.Connection, Error=sqlite3.Error)
    monkeypatch.setattr(schema, "sqlite3", proxy)
    monkeypatch.setattr(telemetry, "CHECKPOINT_BYTES", 0)  # every write checkpoints, so that its failure is met as well
    Faulty.left, Faulty.used = 10**9, 0
    return Faulty


@pytest.mark.parametrize("name", ["FULL", "IOERR", "BUSY", "CORRUPT", "READONLY", "CANTOPEN"])
def test_c2_whichever_database_call_fails_no_call_is_lost_uncounted_or_stored_twice(
    tmp_path: Path, faulty: type[Faulty], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    from store_tools import places_in

    caplog.set_level(logging.CRITICAL, "console")
    faulty.name = f"SQLITE_{name}"
    n, stride = 0, 1 if name in ("FULL", "CORRUPT") else 3  # the others go the same way as FULL
    while True:
        n += stride
        (tmp_path / str(n)).mkdir()
        places = places_in(tmp_path / str(n))
        recorder = recorder_in(places)
        faulty.used, faulty.left = 0, n
        put = 0
        for _ in range(3):
            for _ in range(4):
                recorder.put(attempt())
                put += 1
            step(recorder)
        was_met = faulty.left <= 0
        faulty.left = 10**9
        for _ in range(3):
            step(recorder)
        assert recorder.problem is None, "recovered by itself"
        assert stored(places) + recorder.dropped == put, f"call {n} into SQLite"
        assert recorder.dropped == 0
        recorder._writer.close()
        assert_whole(places.telemetry)
        if not was_met:
            break
    assert n > 40, "every call of creating, writing and checkpointing was made to fail"


class Looks:
    """Allowances that only say when they were asked to look, and what for."""

    def __init__(self) -> None:
        self.first = threading.Event()
        self.found: object = None

    def tick(self, reading: Any) -> None:
        if not self.first.is_set():
            with reading() as connection:
                self.found = connection.execute("SELECT count(*) FROM call").fetchone()
            self.first.set()


def test_what_was_spent_before_is_looked_at_before_the_first_wait(places: Locations, monkeypatch: pytest.MonkeyPatch) -> None:
    before = recorder_in(places)
    before.put(attempt())
    step(before)
    before._writer.close()
    monkeypatch.setattr(module, "FLUSH_S", 3600)
    looks: Any = Looks()
    recorder = Recorder(TelemetryWriter(places.telemetry), "p", beat, RetentionPolicy(), allowances=looks)
    with running(recorder):
        assert looks.first.wait(30)
    assert looks.found == (1,)


def test_c5_while_the_writer_is_blocked_the_queue_is_bounded_and_the_oldest_are_dropped_and_counted(places: Locations) -> None:
    recorder = recorder_in(places)
    step(recorder)
    blocker = os.open(places.data / "telemetry.db.lock", os.O_RDWR)
    fcntl.flock(blocker, fcntl.LOCK_EX)
    put = 3 * module.CAPACITY
    took = []
    with running(recorder):
        for number in range(put):
            end = attempt(duration_us=number)
            started = time.perf_counter_ns()
            recorder.put(end)
            took.append(time.perf_counter_ns() - started)
            if number % 1_000 == 0:
                time.sleep(0.01)
                assert recorder.depth <= 2 * module.CAPACITY
        os.close(blocker)
        until(lambda: recorder.depth == 0 and recorder.problem is None, within_s=20)
    took.sort()
    report(f"put: p50 {took[len(took) // 2] / 1000:.1f} us, p99 {took[len(took) * 99 // 100] / 1000:.1f} us")
    assert took[len(took) * 99 // 100] < 1_000_000, "100 us is the goal; a writer that is blocked blocks nobody"
    assert recorder.dropped > 0
    assert count(places.telemetry) + recorder.dropped == put
    (newest,) = query(places.telemetry, "SELECT max(latency_us) FROM call")
    assert newest == (put - 1,), "the oldest were dropped"
    assert_whole(places.telemetry)


def test_c4_puts_of_many_threads_are_all_stored_and_none_is_counted_as_dropped(places: Locations) -> None:
    recorder = recorder_in(places)

    def call() -> None:
        for _ in range(2_000):
            recorder.put(attempt())

    with running(recorder):
        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: recorder.depth == 0, within_s=10)
    assert (count(places.telemetry), recorder.dropped) == (16_000, 0)
    assert_whole(places.telemetry)


@pytest.mark.parametrize(
    "poison",
    [
        {"usage": Usage(2**70, 1, 0, 0, 0)},
        {"usage": Usage("many", 1, 0, 0, 0)},  # type: ignore[arg-type]
        {"model_served": 7},
        {"status": 2**64},
        {"duration_us": 2**80},
    ],
)
def test_one_call_that_cannot_be_stored_is_dropped_and_counted_and_the_others_are_stored(
    places: Locations, poison: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    recorder = recorder_in(places)
    for number in range(50):
        recorder.put(attempt(**(poison if number == 20 else {})))
    step(recorder)
    step(recorder)
    assert count(places.telemetry) == 49
    assert recorder.dropped == 1
    assert recorder.problem is None
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
    recorder._writer.close()
    assert_whole(places.telemetry)


def test_a_beat_that_is_asked_for_while_another_is_being_written_is_sent(
    places: Locations, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats = []
    recorder = recorder_in(places)
    original = TelemetryWriter.write

    def write(self: TelemetryWriter, calls: Any, rollups: Any, heartbeat: Any, process: str) -> None:
        original(self, calls, rollups, heartbeat, process)
        if heartbeat is not None:
            beats.append(heartbeat)
            if len(beats) == 1:
                recorder.wake()  # the control version changes while the old one is on its way

    monkeypatch.setattr(TelemetryWriter, "write", write)
    recorder._step()
    recorder._step()
    assert len(beats) == 2, "the acknowledgement must not wait for the next beat, five seconds later"


def test_a_file_that_was_set_aside_is_said_for_as_long_as_the_process_lives(places: Locations) -> None:
    recorder = recorder_in(places)
    recorder.put(attempt())
    step(recorder)
    recorder._writer.close()
    places.telemetry.write_bytes(b"garbage" * 1_000)
    recorder.put(attempt())
    for _ in range(3):
        step(recorder)
    assert recorder.problem is None
    assert "kept as telemetry.db.damaged-" in (recorder.set_aside or "")
    assert count(places.telemetry) == 1


def test_c3_a_file_that_may_not_grow_is_recovered_from_without_a_restart(places: Locations) -> None:
    recorder = recorder_in(places)
    recorder.put(attempt())
    step(recorder)
    connection = recorder._writer._connection
    assert connection is not None
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    for _ in range(2_000):
        recorder.put(attempt(customer=os.urandom(50).hex()))
    recorder._step()
    assert "full" in (recorder.problem or "")
    for _ in range(10):
        recorder.put(attempt())
    step(recorder)  # a new connection, without the limit
    assert recorder.problem is None
    assert (count(places.telemetry), recorder.dropped) == (2_011, 0)
    recorder._writer.close()
    assert_whole(places.telemetry)


def test_a_retry_that_never_came_ends_the_call_with_its_last_attempt(places: Locations) -> None:
    recorder = recorder_in(places)
    long_ago = now_us() - 60_000_000
    recorder.put(attempt(key="a", outcome="failed", status=529, will_retry=True, hold_us=0, started_us=long_ago))
    recorder.put(attempt(key="b", outcome="failed", status=529, will_retry=True, hold_us=60_000_000, usage=None))
    step(recorder)
    assert query(places.telemetry, "SELECT outcome, attempts FROM call") == [("failed", 1)]
    recorder.put(attempt(key="b"))
    step(recorder)
    assert query(places.telemetry, "SELECT outcome, attempts FROM call ORDER BY at") == [("failed", 1), ("ok", 2)]
    recorder._writer.close()
    assert_whole(places.telemetry)


def test_the_queue_holds_what_it_says() -> None:
    assert isinstance(Recorder(None, "p", beat, RetentionPolicy())._queue, deque)  # type: ignore[arg-type]
    assert module.CAPACITY == 20_000
