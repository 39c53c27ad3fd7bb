"""C7 and C13: the ways in which processes begin and end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fault_forks import HOW
from store_tools import ROOT, assert_whole, count, python, query, until

if TYPE_CHECKING:
    from console.store.locations import Locations

SCRIPT = ROOT / "tests" / "faults" / "fault_forks.py"


@pytest.mark.parametrize("how", HOW)
def test_c7_every_call_is_counted_once_however_the_process_was_forked(places: Locations, how: str) -> None:
    process = python(SCRIPT, how, places.data.parent)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert count(places.telemetry) == int(said)
    assert query(places.telemetry, "SELECT sum(dropped) FROM process") == [(0,)]
    assert_whole(places.telemetry)
    assert not list(places.data.glob("*damaged*"))


@pytest.mark.long
@pytest.mark.parametrize("round_", range(10))
def test_c7_a_thousand_forks_while_writing(places: Locations, round_: int) -> None:
    process = python(SCRIPT, "while_writing", places.data.parent, env={"CONSOLE_FORKS": "1000"})
    said, _ = process.communicate(timeout=600)
    assert (process.returncode, count(places.telemetry)) == (0, int(said)), f"round {round_}"
    assert_whole(places.telemetry)


LEAVING = """
import faulthandler, os, signal, sys, time; faulthandler.dump_traceback_later(12)
from pathlib import Path
from store_tools import *
from console.runtime.process import Runtime
runtime = Runtime(places_in(Path(sys.argv[1])))
runtime.current()
if sys.argv[2] == "handled": signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
def is_seen():
    try: return count(places_in(Path(sys.argv[1])).telemetry, "process")
    except sqlite3.Error: return 0
until(is_seen)
for _ in range(20_000): runtime.record(attempt())
os.write(1, b"full\\n")
while sys.argv[2] in ("default", "handled"): time.sleep(0.05)
if sys.argv[2] == "os._exit": os._exit(0)
if sys.argv[2] == "error": raise SystemExit(3)
"""


@pytest.mark.parametrize("how", ["return", "error", "handled", "default", "os._exit"])
def test_c13_a_process_with_a_full_queue_ends_in_time(places: Locations, how: str) -> None:
    process = python("-c", LEAVING, places.data.parent, how)
    assert process.stdout is not None
    assert process.stdout.readline() == "full\n"
    started = time.monotonic()
    if how in ("handled", "default"):
        process.send_signal(signal.SIGTERM)
    code = process.wait(20)
    took = time.monotonic() - started
    process.stdout.close()
    assert code == {"error": 3, "default": -signal.SIGTERM}.get(how, 0)
    assert took < 10, f"{took:.1f} s: 2 s is the goal"
    if how in ("return", "error", "handled"):
        ((dropped, has_ended),) = query(places.telemetry, "SELECT dropped, ended_at IS NOT NULL FROM process")
        assert has_ended
        assert count(places.telemetry) + dropped == 20_000, "flushed, or dropped and counted"
    assert_whole(places.telemetry)


def test_c13_an_exit_while_another_process_holds_the_lock_does_not_hang(places: Locations) -> None:
    import fcntl

    process = python("-c", LEAVING, places.data.parent, "handled")
    assert process.stdout is not None
    assert process.stdout.readline() == "full\n"
    blocker = os.open(places.data / "telemetry.db.lock", os.O_RDWR)
    try:
        until(lambda: _locked(blocker))
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert process.wait(20) == 0
        assert time.monotonic() - started < 10
        fcntl.flock(blocker, fcntl.LOCK_UN)
    finally:
        os.close(blocker)
        process.stdout.close()
    assert_whole(places.telemetry)


def _locked(descriptor: int) -> bool:
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def test_a_forked_child_obeys_switches_with_threads_of_its_own(places: Locations) -> None:
    code = (
        "import os, sys; from pathlib import Path; from store_tools import *; from console.runtime.process import Runtime\n"
        "places = places_in(Path(sys.argv[1])); runtime = Runtime(places); runtime.current()\n"
        "pid = os.fork()\n"
        "if pid:\n"
        "    put_switch(places, SUMMARIZE); assert SUMMARIZE in runtime.current().switches\n"
        "    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
        "until(lambda: SUMMARIZE in runtime.current().switches)\n"
        "(places.kill_directories[0]).mkdir(); (places.kill_directories[0] / 'all').touch()\n"
        "until(lambda: len(runtime.current().switches) == 2)\n"
        "until(lambda: query(places.telemetry, 'SELECT count(*) FROM process')[0][0] == 2)"
    )
    process = python("-c", code, places.data.parent)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert isinstance(places.data, Path)
