"""Kill switches where they were once missed: no descriptor left, a first call long after the start, a disk that hangs."""

from __future__ import annotations

import os
import resource
import threading
import time
from typing import TYPE_CHECKING

import pytest
from store_tools import REPLY, kill, until

from console.core.switches import ALL, Scope, stopping
from console.runtime.process import Runtime
from console.store.breakglass import broken_glass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from console.store.locations import Locations


@pytest.fixture
def runtime(places: Locations) -> Iterator[Runtime]:
    made = Runtime(places, service="test")
    yield made
    made.close()


def is_stopped(runtime: Runtime, feature: str = "support-reply") -> bool:
    switches = runtime.current().switches
    return stopping(switches, time.time_ns() // 1000, feature=feature, customer=None, models=("m",)) is not None


def break_glass(places: Locations, name: str) -> None:
    places.kill_directories[0].mkdir(parents=True, exist_ok=True)
    (places.kill_directories[0] / name).touch()


def test_a9_a_file_holds_and_all_is_seen_while_no_descriptor_is_left(places: Locations, runtime: Runtime) -> None:
    break_glass(places, "support-reply")
    until(lambda: is_stopped(runtime))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
        try:
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
        time.sleep(0.6)
        assert is_stopped(runtime), "a directory that cannot be read lifts nothing"
        assert not is_stopped(runtime, "summarize")
        (places.kill_directories[0] / "support-reply").rename(places.kill_directories[0] / "all")
        until(lambda: is_stopped(runtime, "summarize"))
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert is_stopped(runtime, "summarize")


def test_all_is_seen_among_more_files_than_are_looked_at(places: Locations) -> None:
    directory = places.kill_directories[0]
    directory.mkdir(parents=True)
    for number in range(1500):
        (directory / f"feature-{number:04}").touch()
    (directory / "all").touch()
    assert ALL in broken_glass([directory])


@pytest.mark.parametrize("name", ["all", "support-reply"])
def test_the_first_call_long_after_the_start_sees_the_break_glass_file(places: Locations, name: str) -> None:
    for _ in range(20):
        runtime = Runtime(places, service="test")
        break_glass(places, name)
        try:
            assert is_stopped(runtime), "before any thread had a chance to look"
        finally:
            runtime.close()
            (places.kill_directories[0] / name).unlink()


def test_the_first_call_sees_a_control_file_that_was_made_anew_since_the_start(places: Locations) -> None:
    kill(places, Scope("feature", "other"))
    for _ in range(10):
        runtime = Runtime(places, service="test")
        places.control.unlink()
        kill(places, REPLY)
        try:
            assert is_stopped(runtime)
        finally:
            runtime.close()


def test_a_process_that_can_start_no_thread_looks_for_itself_at_every_call(
    places: Locations, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert not is_stopped(runtime)
    break_glass(places, "support-reply")
    until(lambda: is_stopped(runtime), within_s=1.0)
    assert runtime.errors


def test_a_disk_that_hangs_on_keeping_the_snapshot_does_not_delay_the_break_glass(
    places: Locations, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr("console.store.files.os.fsync", lambda descriptor: release.wait(10))
    assert not is_stopped(runtime)
    kill(places, Scope("feature", "other"))
    until(lambda: is_stopped(runtime, "other"))
    time.sleep(0.4)
    break_glass(places, "support-reply")
    until(lambda: is_stopped(runtime), within_s=1.0)
    release.set()
