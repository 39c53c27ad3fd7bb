"""The control snapshot of a process: what is in force while the control file is whole, gone, locked, damaged or replaced."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from store_tools import (
    REPLY,
    SUMMARIZE,
    as_nobody,
    kill,
    now_us,
    open_to_all,
    put_switch,
    restore,
    until,
)

from console.core.control import EMPTY, merge
from console.core.switches import ALL, Scope, stopping
from console.runtime import snapshot as module
from console.runtime.snapshot import SnapshotHolder
from console.store.kept import keep, read_kept
from console.store.sqlite.control import create_control, read_control

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from console.store.locations import Locations


@pytest.fixture
def holder(places: Locations) -> Iterator[SnapshotHolder]:
    create_control(places.control)
    holder = SnapshotHolder(places)
    yield holder
    holder.close()


def killed(holder: SnapshotHolder, feature: str = "summarize", *, ticks: bool = False) -> bool:
    if ticks:
        holder._glass_due_us = holder._recheck_due_us = 0
        holder.tick()
    return stopping(holder.current().switches, now_us(), feature=feature, customer="acme", models=("m",)) is not None


def test_a_call_that_starts_after_the_act_obeys_it_without_any_tick(places: Locations, holder: SnapshotHolder) -> None:
    for engaged in (True, False, True, False):
        put_switch(places, SUMMARIZE, engaged=engaged)
        assert killed(holder) is engaged


def test_an_unchanged_file_is_never_read_again(
    places: Locations, holder: SnapshotHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_switch(places, SUMMARIZE)
    assert killed(holder)
    monkeypatch.setattr(module, "read_control", lambda *_args, **_given: pytest.fail("read"))
    for _ in range(100):
        assert killed(holder)


def gone(places: Locations) -> None:
    places.control.unlink()


def empty(places: Locations) -> None:
    os.truncate(places.control, 0)


def garbage(places: Locations) -> None:
    places.control.write_bytes(os.urandom(20_000))


def renamed_garbage(places: Locations) -> None:
    other = places.data / "other"
    other.write_bytes(os.urandom(20_000))
    other.replace(places.control)


def made_anew(places: Locations) -> None:
    places.control.unlink()
    create_control(places.control)


def row_deleted(places: Locations) -> None:
    with closing(sqlite3.connect(places.control)) as connection, connection:
        connection.execute("DELETE FROM control")


def value_changed(places: Locations) -> None:
    with closing(sqlite3.connect(places.control)) as connection, connection:
        connection.execute("""UPDATE control SET value = '{"engaged":false}', version = version + 1000""")


def of_a_newer_console(places: Locations) -> None:
    with closing(sqlite3.connect(places.control)) as connection:
        connection.execute("PRAGMA user_version = 99")


def a_directory(places: Locations) -> None:
    places.control.unlink()
    places.control.mkdir()


HARMS = [gone, empty, garbage, renamed_garbage, made_anew, row_deleted, value_changed, of_a_newer_console, a_directory]


@pytest.mark.parametrize("harm", HARMS)
def test_a8_what_was_killed_stays_killed_whatever_happens_to_the_file(
    places: Locations, holder: SnapshotHolder, harm: Callable[[Locations], None]
) -> None:
    put_switch(places, SUMMARIZE)
    assert killed(holder, ticks=True)
    holder.keep_if_new()
    harm(places)
    for _ in range(3):
        assert killed(holder, ticks=True)
        assert not killed(holder, "support-reply")
    after = SnapshotHolder(places)  # a process that starts now
    assert killed(after)
    assert after.current().source in ("kept", "live")
    after.close()


@pytest.mark.parametrize("harm", [gone, empty, made_anew, row_deleted])
def test_a8_only_an_explicit_restore_brings_it_back(
    places: Locations, holder: SnapshotHolder, harm: Callable[[Locations], None]
) -> None:
    put_switch(places, SUMMARIZE, version=now_us() + 60_000_000)  # a clock that was ahead
    assert killed(holder, ticks=True)
    holder.keep_if_new()
    harm(places)
    assert killed(holder, ticks=True)
    restore(places, SUMMARIZE)
    assert not killed(holder, ticks=True)


def test_a8_an_old_backup_that_is_put_back_lifts_nothing(places: Locations, holder: SnapshotHolder, tmp_path: Path) -> None:
    put_switch(places, SUMMARIZE, engaged=False)
    shutil.copy(places.control, tmp_path / "backup")
    put_switch(places, SUMMARIZE)
    assert killed(holder, ticks=True)
    holder.keep_if_new()
    (tmp_path / "backup").replace(places.control)
    assert killed(holder, ticks=True)
    restore(places, SUMMARIZE)
    assert not killed(holder)


@pytest.mark.parametrize("harm", [gone, empty, garbage, renamed_garbage, of_a_newer_console])
def test_a2_the_trouble_is_said_and_ends_with_the_repair(
    places: Locations, holder: SnapshotHolder, tmp_path: Path, harm: Callable[[Locations], None]
) -> None:
    put_switch(places, SUMMARIZE)
    assert killed(holder, ticks=True)
    shutil.copy(places.control, tmp_path / "good")
    harm(places)
    assert killed(holder, ticks=True)
    assert holder.current().source == "stale"
    assert "control.db" in (holder.current().problem or "")
    (tmp_path / "good").replace(places.control)
    assert killed(holder, ticks=True)
    assert (holder.current().source, holder.current().problem) == ("live", None)
    put_switch(places, SUMMARIZE, engaged=False)
    assert not killed(holder)


def test_a2_a_lock_costs_a_call_its_wait_once_and_not_every_call(places: Locations, holder: SnapshotHolder) -> None:
    put_switch(places, SUMMARIZE)
    assert killed(holder, ticks=True)
    with closing(sqlite3.connect(places.control, isolation_level=None)) as other:
        other.execute("PRAGMA cache_size = 1")
        other.execute("PRAGMA cache_spill = 1")
        other.execute("BEGIN EXCLUSIVE")
        for number in range(300):  # more than the cache holds: pages of the transaction are in the file already
            other.execute("INSERT INTO prompt_version VALUES (?, '1', 'h', ?)", (str(number), "x" * 2_000))
        other.execute("UPDATE control SET actor = 'half done'")
        took = []
        for _ in range(200):
            started = time.perf_counter()
            assert killed(holder)
            took.append(time.perf_counter() - started)
        holder.tick()
        assert killed(holder, ticks=True)
        assert holder.current().source == "stale"
        other.execute("ROLLBACK")
    assert sum(duration > 0.02 for duration in took) <= 2, "one wait, then the failed reading is known"
    assert killed(holder, ticks=True)
    assert holder.current().source == "live"


def test_a12_an_error_that_nobody_expected_keeps_the_previous_snapshot(
    places: Locations, holder: SnapshotHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_switch(places, SUMMARIZE)
    assert killed(holder)

    def broken(*_args: object, **_given: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(module, "read_control", broken)
    put_switch(places, SUMMARIZE, engaged=False)
    assert killed(holder)
    assert holder.current().refused > 0
    assert "a defect" in (holder.current().problem or "")


@pytest.mark.parametrize("harm", [None, gone, garbage, empty, a_directory])
def test_a3_a_start_without_a_readable_file_goes_by_what_was_kept(
    places: Locations, harm: Callable[[Locations], None] | None
) -> None:
    put_switch(places, SUMMARIZE)
    keep(places.kept, merge(EMPTY, read_control(places.control)))
    if harm is not None:
        harm(places)
    started = time.monotonic()
    holder = SnapshotHolder(places)
    assert time.monotonic() - started < 5, "500 ms on a quiet machine"
    assert killed(holder)
    assert holder.current().source == ("live" if harm is None else "kept")
    assert not killed(holder, "support-reply")


@pytest.mark.parametrize("harm", [gone, garbage, empty])
def test_a3_a_start_with_nothing_kept_means_no_overrides(places: Locations, harm: Callable[[Locations], None]) -> None:
    put_switch(places, SUMMARIZE)
    harm(places)
    holder = SnapshotHolder(places)
    assert not killed(holder)
    assert holder.current().source == "none"


@pytest.mark.skipif(os.getuid() != 0, reason="needs a second user: the owner may always read")
@pytest.mark.parametrize("kept", [True, False])
def test_a3_a_start_without_permission_goes_by_what_was_kept_or_has_no_overrides(kept: bool) -> None:
    with open_to_all() as places:
        put_switch(places, SUMMARIZE)
        if kept:
            keep(places.kept, merge(EMPTY, read_control(places.control)))
            places.kept.chmod(0o644)
        places.control.chmod(0o600)
        code = (
            "import time; from pathlib import Path; from store_tools import *\n"
            "from console.runtime.snapshot import SnapshotHolder\n"
            "started = time.monotonic(); found = SnapshotHolder(places_in(Path(sys.argv[1]))).current()\n"
            "print(found.source, len(found.switches), bool(found.problem), time.monotonic() - started < 5)"
        )
        assert as_nobody(code, places.data.parent) == ("kept 1 True True\n" if kept else "none 0 True True\n")


def test_a9_a_file_in_the_break_glass_directory_kills_and_its_removal_lifts_only_that(
    places: Locations, holder: SnapshotHolder
) -> None:
    directory = places.kill_directories[0]
    directory.mkdir()
    (directory / "summarize").touch()
    assert killed(holder, ticks=True)
    assert not killed(holder, "support-reply")
    (directory / "all").touch()
    assert killed(holder, "support-reply", ticks=True)
    put_switch(places, SUMMARIZE)
    for file in directory.iterdir():
        file.unlink()
    assert killed(holder, ticks=True), "control.db's own kill stays"
    assert not killed(holder, "support-reply")


def test_a9_a_kill_that_has_expired_does_not_hide_the_break_glass_file(places: Locations, holder: SnapshotHolder) -> None:
    put_switch(places, SUMMARIZE, expires_at=now_us() - 1)
    put_switch(places, ALL, expires_at=now_us() - 1)
    assert not killed(holder, ticks=True)
    for directory in places.kill_directories:
        directory.mkdir()
    (places.kill_directories[0] / "summarize").touch()
    assert killed(holder, ticks=True)
    (places.kill_directories[1] / "all").touch()
    assert killed(holder, "support-reply", ticks=True)


def test_a_kill_for_a_while_ends_by_itself_in_every_process(places: Locations, holder: SnapshotHolder) -> None:
    kill(places, SUMMARIZE, for_us=300_000)
    assert killed(holder)
    assert until(lambda: not killed(holder)) < 3


def test_a10_an_unknown_kind_of_switch_is_said_and_the_known_ones_work(places: Locations, holder: SnapshotHolder) -> None:
    with closing(sqlite3.connect(places.control)) as connection, connection:
        from console.core.control import ControlRow

        row = ControlRow("throttle/feature/x", "{}", now_us(), "future", None, 1, None).sealed()
        columns = (row.key, row.value, row.version, row.actor, row.reason, row.at, row.expires_at, row.hash)
        connection.execute("INSERT INTO control VALUES (?, ?, ?, ?, ?, ?, ?, ?)", columns)
    put_switch(places, SUMMARIZE)
    assert killed(holder)
    assert holder.current().state.ignored == ("throttle/feature/x",)


def test_a_file_in_wal_mode_is_noticed_and_still_followed(places: Locations, holder: SnapshotHolder) -> None:
    with closing(sqlite3.connect(places.control, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        row_deleted(places)
        killed(holder, ticks=True)
        assert "WAL" in (holder.current().problem or "")


def test_a_kept_snapshot_that_could_not_be_written_is_written_later(places: Locations, holder: SnapshotHolder) -> None:
    places.kept.mkdir()  # as root no permission is missing anywhere: a directory in the way is what fails
    put_switch(places, SUMMARIZE)
    assert killed(holder)
    with pytest.raises(OSError, match="directory"):
        holder.keep_if_new()
    holder.keep_if_new()  # too early: quietly nothing
    places.kept.rmdir()
    holder._keep_due_us = 0
    holder.keep_if_new()
    assert Scope("feature", "summarize") in read_kept(places.kept)[0].switches


def test_many_threads_that_find_a_lock_wait_for_it_together(places: Locations, holder: SnapshotHolder) -> None:
    import threading

    put_switch(places, REPLY)
    assert killed(holder, "support-reply")
    with closing(sqlite3.connect(places.control, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        holder._seen = b"old!"  # as if a commit had been seen that then hangs
        took: list[float] = []

        def call() -> None:
            started = time.perf_counter()
            assert killed(holder, "support-reply")
            took.append(time.perf_counter() - started)

        threads = [threading.Thread(target=call) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert max(took) < 1, "50 ms for the lock, whatever their number"
    assert holder.current().refused <= 4
