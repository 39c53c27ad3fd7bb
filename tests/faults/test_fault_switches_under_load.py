"""A1, A9, A15: switches against sixteen processes under load, by the real command, at a simulated API that logs every request."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from herds import Herd, herd_of
from store_tools import now_us, report, until

from console.ops.installation import install

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKERS = 16


@pytest.fixture(scope="module")
def herd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Herd]:
    with herd_of(WORKERS, 8, tmp_path_factory.mktemp("herd")) as herd:
        yield herd


def watched(herd: Herd, since_us: int, *, seconds: float = 0.8) -> None:
    """Lets the load run on, until there are enough calls that started afterwards to tell."""
    time.sleep(seconds)
    herd.until_made(40, since_us)


def check_kill(herd: Herd, scope: tuple[str, ...], words: tuple[str, ...], others: tuple[str, ...]) -> None:
    before = now_us() - 1_000_000
    herd.until_made(20, before)
    assert herd.reached(before, *words), "the subject's calls reached the API until now"
    said, returned = herd.act("kill", *scope)
    watched(herd, returned)
    assert herd.reached(returned, *words) == [], "a call that started after the command had returned reached the API"
    made = herd.made(returned)
    assert [one for one in made if one.outcome == "blocked"]
    assert all(one.outcome in ("ok", "blocked") for one in made), [one for one in made if one.outcome not in ("ok", "blocked")]
    if others:
        assert herd.reached(returned, *others), "what was not killed goes on"
    processes = said["processes"]
    report(f"kill {' '.join(scope)}: {processes['following']} of {processes['live']} after {processes['waited_ms']} ms, "
           f"written in {said['write_ms']} ms")  # fmt: skip
    assert (processes["following"], processes["live"], processes["laggards"]) == (WORKERS, WORKERS, [])
    assert processes["waited_ms"] < 10_000, "1 s is the goal"
    _, restored = herd.act("restore", *scope)
    watched(herd, restored)
    assert herd.reached(restored, *words), "restored"
    assert {one.outcome for one in herd.made(restored)} == {"ok"}


def test_a1_no_call_that_starts_after_the_kill_reaches_the_api(herd: Herd) -> None:
    check_kill(herd, ("support-reply",), ("support-reply",), ("summarize",))


def test_a1_no_call_that_starts_after_the_kill_of_everything_reaches_the_api(herd: Herd) -> None:
    check_kill(herd, ("--all",), (), ())


def test_a1_no_call_that_starts_after_the_kill_of_a_customer_reaches_the_api(herd: Herd) -> None:
    check_kill(herd, ("--customer", "acme"), ("acme",), ("globex",))


@pytest.mark.long
@pytest.mark.parametrize("round_", range(int(os.environ.get("CONSOLE_SOAK", "50"))))
def test_a1_long_no_call_that_starts_after_the_kill_reaches_the_api(herd: Herd, round_: int) -> None:
    scopes = [
        (("support-reply",), ("support-reply",), ("summarize",)),
        (("--all",), (), ()),
        (("--customer", "acme"), ("acme",), ("globex",)),
        (("--model", "claude-haiku-5-5"), (), ()),
    ]
    check_kill(herd, *scopes[round_ % len(scopes)])


@pytest.mark.parametrize("name", ["support-reply", "all"])
def test_a9_a_break_glass_file_kills_within_a_second_while_control_db_is_corrupt_and_no_console_runs(
    herd: Herd, name: str
) -> None:
    words = () if name == "all" else (name,)
    directory = herd.places.kill_directories[0]
    directory.mkdir(exist_ok=True)
    install(herd.places)
    whole = herd.places.control.read_bytes()
    herd.places.control.write_bytes(os.urandom(len(whole)))
    try:
        made = now_us()
        (directory / name).touch()
        until(lambda: [one for one in herd.made(made) if one.outcome == "blocked"])
        time.sleep(1)
        since = made + 1_000_000
        watched(herd, since)
        last = max((one["started_us"] for one in herd.reached(made, *words)), default=made)
        report(f"break-glass {name}: the last call that reached the API started {(last - made) / 1000:.0f} ms after the file")
        assert last < made + 5_000_000, "1 s is the goal"
        assert herd.reached(max(since, last + 1), *words) == []
        (directory / name).unlink()
        until(lambda: herd.reached(now_us() - 100_000, *words))
    finally:
        (directory / name).unlink(missing_ok=True)
        herd.places.control.write_bytes(whole)
    assert all(one.outcome in ("ok", "blocked") for one in herd.made(made))


def test_a15_a_process_that_does_not_follow_is_named(herd: Herd) -> None:
    stopped = herd.pids[5]
    os.kill(stopped, signal.SIGSTOP)
    try:
        said, _ = herd.act("kill", "summarize")
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert [view["pid"] for view in said["processes"]["laggards"]] == [stopped]
    assert (said["processes"]["following"], said["processes"]["live"]) == (WORKERS - 1, WORKERS)
    until(lambda: {version for _, version, _, _ in herd.processes()} == {said["control_version"]})
    herd.act("restore", "summarize")
