"""A2: whatever happens to control.db while the load runs: no call fails or waits, decisions stay, the heartbeat says it."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from herds import Herd, herd_of
from store_tools import REPLY, SUMMARIZE, desk_in, kill, now_us, python, report, restore, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORKERS = 4
SECONDS = 1.5


@pytest.fixture(scope="module")
def herd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Herd]:
    with herd_of(WORKERS, 15, tmp_path_factory.mktemp("herd")) as herd:
        yield herd


HOLDING = """
import os, sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = TRUNCATE")
connection.execute("BEGIN EXCLUSIVE")
if sys.argv[2] == "spilled":
    connection.execute("PRAGMA cache_size = 2")
    connection.execute("UPDATE control SET value = '{}', actor = 'half'")
    for n in range(400): connection.execute("INSERT INTO prompt_version VALUES (?, '1', 'h', ?)", (str(n), "x" * 3000))
if sys.argv[2] == "committing":
    connection.execute("UPDATE control SET reason = 'half'")
os.write(1, b"held\\n")
time.sleep(600)
"""


@contextmanager
def held(herd: Herd, how: str, *, stop: bool) -> Iterator[None]:
    process = python("-c", HOLDING, herd.places.control, how)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    if stop:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()


@contextmanager
def put_back(herd: Herd, harm: Callable[[], object]) -> Iterator[None]:
    good = herd.directory / "good.db"
    shutil.copy(herd.places.control, good)
    harm()
    try:
        yield
    finally:
        good.replace(herd.places.control)


@contextmanager
def deleted(herd: Herd) -> Iterator[None]:
    with put_back(herd, herd.places.control.unlink):
        yield


@contextmanager
def deleted_and_made_anew_by_the_next_act(herd: Herd) -> Iterator[None]:
    herd.places.control.unlink()
    yield


@contextmanager
def truncated_and_filled_by_the_next_act(herd: Herd) -> Iterator[None]:
    os.truncate(herd.places.control, 0)
    yield


@contextmanager
def garbage_in_place(herd: Herd) -> Iterator[None]:
    path = herd.places.control
    good = path.read_bytes()
    path.write_bytes(os.urandom(len(good)))
    try:
        yield
    finally:
        path.write_bytes(good)


@contextmanager
def garbage_by_rename(herd: Herd) -> Iterator[None]:
    other = herd.directory / "garbage"
    other.write_bytes(os.urandom(40_000))
    with put_back(herd, lambda: other.replace(herd.places.control)):
        yield


@contextmanager
def truncated_to_zero(herd: Herd) -> Iterator[None]:
    with put_back(herd, lambda: os.truncate(herd.places.control, 0)):
        yield


@contextmanager
def locked(herd: Herd) -> Iterator[None]:
    with held(herd, "only", stop=False):
        yield


@contextmanager
def locked_by_a_stopped_writer_that_has_spilled(herd: Herd) -> Iterator[None]:
    with held(herd, "spilled", stop=True):
        yield


@contextmanager
def locked_by_a_stopped_writer_about_to_commit(herd: Herd) -> Iterator[None]:
    with held(herd, "committing", stop=True):
        yield


TROUBLES = [
    deleted,
    deleted_and_made_anew_by_the_next_act,
    truncated_to_zero,
    truncated_and_filled_by_the_next_act,
    garbage_in_place,
    garbage_by_rename,
    locked,
    locked_by_a_stopped_writer_that_has_spilled,
    locked_by_a_stopped_writer_about_to_commit,
]


def check_trouble(herd: Herd, trouble: Callable[[Herd], object], seconds: float) -> None:
    restore(herd.places, REPLY)
    desk = desk_in(herd.places)
    assert desk.followed(kill(herd.places, SUMMARIZE), wait_s=10).is_complete
    began = now_us()
    herd.until_made(5, began)
    with trouble(herd):  # type: ignore[attr-defined]
        since = now_us()
        if trouble is not locked:  # then nothing can have been committed: what is in force is what the file says
            until(lambda: _all_say_so(herd), within_s=10)
        time.sleep(max(0.0, seconds - (now_us() - since) / 1e6))
        herd.until_made(60, since)
        ended = now_us()
    kill(herd.places, REPLY)
    after = now_us()
    herd.until_made(20, after)
    made = [one for one in herd.made(began) if one.started_us < ended]
    assert {one.outcome for one in made if one.feature == "support-reply"} == {"ok"}, "not one call failed"
    assert {one.outcome for one in made if one.feature == "summarize"} == {"blocked"}, "and the kill stayed"
    added = sorted(one.added_us for one in made)
    p50, p99, most = added[len(added) // 2], added[len(added) * 99 // 100], added[-1]
    report(f"{trouble.__name__}: the middleware added p50 {p50:.0f} us, p99 {p99:.0f} us, at most {most:.0f} us")  # type: ignore[attr-defined]
    assert p99 < 200_000, "1 ms is the goal on a quiet machine"
    assert herd.reached(after) == [], "the next act is obeyed at once"
    until(lambda: {source for _, _, source, _ in herd.processes()} == {"live"}, within_s=10)


def _all_say_so(herd: Herd) -> bool:
    said = herd.processes()
    return len(said) == WORKERS and all(
        source in ("stale", "kept") and "control.db" in (note or "") for *_, source, note in said
    )


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
def test_a2_no_call_fails_or_waits_and_no_decision_changes_while_control_db_is(
    herd: Herd, trouble: Callable[[Herd], object]
) -> None:
    check_trouble(herd, trouble, SECONDS)


@pytest.mark.long
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
def test_a2_long_for_a_minute_while_control_db_is(herd: Herd, trouble: Callable[[Herd], object]) -> None:
    check_trouble(herd, trouble, 60)
