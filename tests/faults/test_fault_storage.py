"""C1, C3, C4, C11: many writers that are killed, a full disk, a backup while all write; A9 on a full disk."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from fault_writer import BATCH
from store_tools import (
    ROOT,
    SUMMARIZE,
    assert_chain,
    assert_whole,
    attempt,
    count,
    kill,
    places_in,
    put_switch,
    python,
    query,
    until,
)

from console.ops.files import back_up_file
from console.runtime.process import Runtime
from console.store.kept import read_kept

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from console.store.locations import Locations

WRITER = ROOT / "tests" / "faults" / "fault_writer.py"


def kill_writers(places: Locations, seconds: float, writers: int = 8) -> None:
    rng = random.Random(1)
    names = iter(range(1_000_000))
    acknowledged: list[str] = []

    def begin() -> subprocess.Popen[str]:
        return python(WRITER, "batches", places.data.parent, f"w{next(names)}")

    running = [begin() for _ in range(writers)]
    ends = time.monotonic() + seconds
    try:
        while time.monotonic() < ends:
            time.sleep(rng.uniform(0.02, 0.25))
            one = running.pop(rng.randrange(writers))
            one.send_signal(signal.SIGKILL)
            running.append(begin())
            acknowledged += one.communicate()[0].split()
    finally:
        for one in running:
            one.send_signal(signal.SIGKILL)
            acknowledged += one.communicate()[0].split()
    stored = dict(query(places.telemetry, "SELECT customer, count(*) FROM call GROUP BY 1"))
    assert acknowledged
    assert set(acknowledged) <= set(stored), "what was acknowledged is there"
    assert set(stored.values()) == {BATCH}, "batches are there as a whole or not at all"
    assert_whole(places.telemetry)
    assert not list(places.data.glob("*damaged*"))


def test_c1_writers_that_are_killed_lose_nothing_acknowledged_and_leave_whole_batches(places: Locations) -> None:
    kill_writers(places, 4)


@pytest.mark.long
def test_c1_long_writers_that_are_killed_for_a_minute(places: Locations) -> None:
    kill_writers(places, float(os.environ.get("CONSOLE_SECONDS", "60")))


@pytest.mark.parametrize("writers", [8, pytest.param(32, marks=pytest.mark.long)])
def test_c4_many_writers_lose_nothing_or_say_exactly_how_much(places: Locations, writers: int) -> None:
    each = 1_500
    processes = [python(WRITER, "calls", places.data.parent, "w", each) for _ in range(writers)]
    dropped = 0
    for process in processes:
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        dropped += int(said)
    assert count(places.telemetry) + dropped == writers * each
    assert dropped == 0
    assert query(places.telemetry, "SELECT count(*), sum(ended_at IS NOT NULL) FROM process") == [(writers, writers)]
    assert_whole(places.telemetry)


def test_c11_a_backup_under_eight_writers_is_a_commit_point(places: Locations, tmp_path: Path) -> None:
    processes = [python(WRITER, "batches", places.data.parent, f"w{number}") for number in range(8)]
    try:
        until(lambda: places.telemetry.exists() and places.telemetry.stat().st_size > 0, within_s=10)
        time.sleep(0.5)
        for number in range(3):
            copy = tmp_path / f"copy-{number}.db"
            back_up_file(places, "telemetry", copy)
            assert count(copy) > 0
            assert count(copy) % BATCH == 0
            assert_whole(copy)
    finally:
        for process in processes:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    copy.replace(places.telemetry)  # a restore: the WAL that lies beside it is another file's
    for suffix in ("-wal", "-shm"):
        places.telemetry.with_name("telemetry.db" + suffix).unlink(missing_ok=True)
    assert_whole(places.telemetry)


@contextmanager
def small_disk(directory: Path, size: str) -> Iterator[None]:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(directory)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("cannot mount a small disk here; the limit on the file's size is tested all the same")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(directory)], capture_output=True, check=False)


def fill(directory: Path) -> Path:
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return filler


def test_c3_and_a9_on_a_full_disk_calls_go_on_the_break_glass_works_and_recording_recovers(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, "4m"):
        places = places_in(disk)
        places.kill_directories[0].mkdir()
        put_switch(places, SUMMARIZE)
        runtime = Runtime(places)
        put = 0

        def call(number: int) -> None:
            nonlocal put
            for _ in range(number):
                runtime.current()
                runtime.record(attempt())
                put += 1

        try:
            call(200)
            until(lambda: runtime._recorder.depth == 0)
            filler = fill(disk)
            call(3_000)
            until(lambda: runtime._recorder.problem is not None, within_s=10)
            shutil.copyfile("/dev/null", places.kill_directories[0] / "support-reply")  # a name needs no room
            took = until(lambda: len(runtime.current().switches) == 2, within_s=5)
            assert took < 5, "1 s is the goal"
            filler.unlink()
            kill(places, SUMMARIZE)
            until(lambda: runtime._recorder.problem is None and not runtime._recorder.depth, within_s=10)
            assert count(places.telemetry) + runtime._recorder.dropped == put
            assert runtime._recorder.dropped == 0
            until(lambda: SUMMARIZE in read_kept(places.kept)[0].switches)
        finally:
            runtime.close()
        assert_whole(places.telemetry)
        assert_chain(places)


def test_c3_a_limit_on_the_size_of_files_loses_nothing_uncounted(places: Locations) -> None:
    code = (
        "import resource, signal, sys; from pathlib import Path; from store_tools import *\n"
        "from console.runtime.process import Runtime\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "places = places_in(Path(sys.argv[1])); runtime = Runtime(places)\n"
        "def call(n):\n"
        "    for _ in range(n): runtime.current(); runtime.record(attempt())\n"
        "call(100); until(lambda: places.telemetry.exists() and not runtime._recorder.depth)\n"
        "limit = places.telemetry.with_name('telemetry.db-wal').stat().st_size + 20_000\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))\n"
        "call(2_000); until(lambda: runtime._recorder.problem)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "call(100); until(lambda: not runtime._recorder.depth and not runtime._recorder.problem, within_s=10)\n"
        "runtime.close(); print(runtime._recorder.dropped)"
    )
    assert resource.RLIMIT_FSIZE >= 0
    process = python("-c", code, places.data.parent)
    said, _ = process.communicate(timeout=40)
    assert (process.returncode, said) == (0, "0\n")
    assert count(places.telemetry) == 2_200
    assert_whole(places.telemetry)


def test_a9_the_break_glass_directory_needs_neither_database_nor_console(places: Locations) -> None:
    places.control.write_bytes(os.urandom(10_000))
    places.telemetry.write_bytes(os.urandom(10_000))
    places.kill_directories[1].mkdir(parents=True)
    runtime = Runtime(places)
    try:
        assert not runtime.current().switches
        (places.kill_directories[1] / "all").touch()
        assert until(lambda: runtime.current().switches) < 5, "1 s is the goal"
        note = "SELECT state FROM process"
        until(lambda: _has_rows(places) and str(places.kill_directories[1]) in query(places.telemetry, note)[0][0], within_s=10)
        until(lambda: '"glass": ["all"]' in query(places.telemetry, note)[0][0], within_s=10)
    finally:
        runtime.close()


def _has_rows(places: Locations) -> bool:
    try:
        return count(places.telemetry, "process") > 0
    except Exception:  # noqa: BLE001 -- it is being set aside and begun afresh
        return False
