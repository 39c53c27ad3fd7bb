"""What the processes of a host tell each other about targets: files, believed once, and never in the way of anything."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from console.core.breaker import BreakerPolicy
from console.core.outages import SLACK_US, encode_outage
from console.core.targets import Target
from console.runtime import gate as gate_module
from console.runtime import shared_view
from console.runtime.gate import Gate
from console.runtime.shared_view import LOOK_EVERY_US, SharedView

if TYPE_CHECKING:
    from pathlib import Path

US = 1_000_000
TARGETS = {name: Target(name, f"claude-{name}") for name in "ab"}


class Clock:
    """Both clocks, turned by hand."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.steady_us, self.ahead_us = 1_000 * US, 1_795_000_000 * US
        for module in (gate_module, shared_view):
            patch.setattr(module, "steady_us", lambda: self.steady_us)
            patch.setattr(module, "now_us", lambda: self.steady_us + self.ahead_us)

    def tick(self, seconds: float) -> None:
        self.steady_us += round(seconds * US)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Process:
    """A process's gate and its view."""

    def __init__(self, directory: Path, name: str, targets: dict[str, Target] | None = None) -> None:
        self.gate = Gate(BreakerPolicy(), self._changed)
        self.view: SharedView | None = None
        self.view = SharedView(directory, self.gate, TARGETS if targets is None else targets, name)

    def _changed(self) -> None:
        if self.view is not None:
            self.view.is_due = True

    def settle(self, target: str, *results: Any) -> None:
        for result in results:
            permit = self.gate.admit(target, {})
            assert permit is not None
            self.gate.settle(target, permit, result, reason="529 overloaded_error")

    def fails(self, target: str) -> None:
        self.settle(target, "failure", "failure", "failure")

    def tell(self) -> None:
        assert self.view is not None
        self.view.publish()

    def hear(self, clock: Clock) -> None:
        assert self.view is not None
        clock.tick(LOOK_EVERY_US / US)
        self.view.tick()

    def state(self, target: str) -> str:
        return self.gate.states({}, (target,))[target].state


@pytest.fixture
def two(tmp_path: Path, clock: Clock) -> tuple[Process, Process]:
    return Process(tmp_path / "breakers", "one"), Process(tmp_path / "breakers", "other")


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "breakers").glob("*")) if (tmp_path / "breakers").is_dir() else []


def test_nothing_is_written_while_all_is_well(two: tuple[Process, Process], tmp_path: Path, clock: Clock) -> None:
    one, other = two
    one.settle("a", "success", "failure")
    one.tell()
    other.hear(clock)
    assert files(tmp_path) == []


def test_a_target_that_has_opened_in_one_process_is_probed_by_the_others(
    two: tuple[Process, Process], tmp_path: Path, clock: Clock
) -> None:
    one, other = two
    other.settle("a", "success")
    clock.tick(1)
    one.fails("a")
    one.tell()
    assert len(files(tmp_path)) == 1
    other.hear(clock)
    assert (other.state("a"), other.state("b")) == ("half_open", "closed")
    reason = other.gate.states({}, ())["a"].reason
    assert reason == f"529 overloaded_error x3 in a row (said by pid {os.getpid()})"
    permit = other.gate.admit("a", {})
    assert permit is not None and permit.probe
    assert other.gate.admit("a", {}) is None


def test_it_is_told_no_more_when_it_has_answered_a_probe(two: tuple[Process, Process], tmp_path: Path, clock: Clock) -> None:
    one, _ = two
    one.fails("a")
    one.tell()
    clock.tick(12)
    one.settle("a", "success")
    one.tell()
    assert files(tmp_path) == []


def test_a_suspicion_is_not_passed_on(two: tuple[Process, Process], tmp_path: Path, clock: Clock) -> None:
    one, other = two
    one.fails("a")
    one.tell()
    other.hear(clock)
    other.tell()
    assert len(files(tmp_path)) == 1
    other.settle("a", "failure")
    other.tell()
    assert len(files(tmp_path)) == 2


def test_i7_an_outage_is_believed_once(two: tuple[Process, Process], clock: Clock) -> None:
    """One process's own trouble must not take the target away from the others again and again."""
    one, other = two
    one.fails("a")
    one.tell()
    other.hear(clock)
    other.settle("a", "success")
    clock.tick(11)
    other.settle("a", "success")
    assert other.state("a") == "closed"
    clock.tick(3600)
    for _ in range(5):
        one.settle("a", "failure")
        one.tell()
        other.hear(clock)
        assert other.state("a") == "closed"
        clock.tick(3600)


def test_i7_who_has_had_answers_since_is_not_disturbed(two: tuple[Process, Process], clock: Clock) -> None:
    one, other = two
    one.fails("a")
    one.tell()
    clock.tick(0.1)
    other.settle("a", "success")
    other.hear(clock)
    assert other.state("a") == "closed"


def test_two_processes_do_not_keep_an_outage_alive_between_them(
    two: tuple[Process, Process], tmp_path: Path, clock: Clock
) -> None:
    one, other = two
    one.fails("a")
    one.tell()
    other.hear(clock)
    other.settle("a", "failure")
    other.tell()
    one.hear(clock)
    clock.tick(12)
    for process in two:
        process.settle("a", "success")
        process.tell()
    for process in two:
        process.hear(clock)
    assert files(tmp_path) == []
    clock.tick(20)
    for process in two:
        process.settle("a", "success")
        process.hear(clock)
        assert process.state("a") == "closed"


def test_a_process_that_starts_later_is_told_too(two: tuple[Process, Process], tmp_path: Path, clock: Clock) -> None:
    one, _ = two
    one.fails("a")
    one.tell()
    late = Process(tmp_path / "breakers", "late")
    late.hear(clock)
    assert late.state("a") == "half_open"


def test_what_a_dead_process_has_said_runs_out(two: tuple[Process, Process], tmp_path: Path, clock: Clock) -> None:
    one, _ = two
    one.fails("a")
    one.tell()
    clock.tick(11 + SLACK_US / US)
    late = Process(tmp_path / "breakers", "late")
    late.hear(clock)
    assert late.state("a") == "closed"
    assert late.view is not None and late.view.refused == 0


def test_the_same_name_for_something_else_is_something_else(two: tuple[Process, Process], tmp_path: Path, clock: Clock) -> None:
    one, _ = two
    one.fails("a")
    one.tell()
    stranger = Process(tmp_path / "breakers", "stranger", {"a": Target("a", "claude-b")})
    ignorant = Process(tmp_path / "breakers", "ignorant", {"b": TARGETS["b"]})
    for process in (stranger, ignorant):
        process.hear(clock)
        assert process.state("a") == "closed"


@pytest.mark.parametrize("jump_s", [7200, -50])
def test_b13_a_wall_clock_that_jumps_makes_no_outage_a_new_one(
    two: tuple[Process, Process], tmp_path: Path, clock: Clock, jump_s: int
) -> None:
    one, other = two
    one.fails("a")
    one.tell()
    since = json.loads(files(tmp_path)[0].read_text())["since"]
    other.hear(clock)
    other.settle("a", "success")
    clock.tick(11)
    other.settle("a", "success")
    assert other.state("a") == "closed"
    clock.tick(50)
    clock.ahead_us += jump_s * US
    one.settle("a", "failure")
    one.tell()
    assert json.loads(files(tmp_path)[0].read_text())["since"] == since
    other.hear(clock)
    assert other.view is not None and other.view.refused == 0
    assert other.state("a") == "closed"


HOSTILE = {
    "empty.json": b"",
    "binary.json": bytes(range(256)),
    "long.json": b"[" * 10_000_000,
    "deep.json": b"[" * 3_000,
    "wrong.json": b'{"format": 1}',
}


def test_a4_files_that_are_none_of_ours_are_counted_and_left_alone(
    two: tuple[Process, Process], tmp_path: Path, clock: Clock
) -> None:
    one, other = two
    one.fails("a")
    one.tell()
    directory = tmp_path / "breakers"
    for name, data in HOSTILE.items():
        (directory / name).write_bytes(data)
    (directory / "copy.json").write_bytes(files(tmp_path)[0].read_bytes())
    os.mkfifo(directory / "pipe.json")
    (directory / "directory.json").mkdir()
    (directory / "dangling.json").symlink_to(directory / "nowhere")
    (directory / "zero.json").symlink_to("/dev/zero")
    other.hear(clock)
    assert other.state("a") == "half_open"
    assert other.view is not None
    assert other.view.refused >= len(HOSTILE) + 2
    assert "that no process of ours has written" in other.view.problems()[0]
    assert {path.name for path in files(tmp_path)} >= set(HOSTILE)


def test_a_directory_full_of_files_is_not_read_without_end(two: tuple[Process, Process], tmp_path: Path, clock: Clock) -> None:
    one, other = two
    one.fails("a")
    one.tell()
    for number in range(shared_view.MAX_FILES + 50):
        (tmp_path / "breakers" / f"{number}.json").write_text("{}")
    other.hear(clock)
    assert other.view is not None and other.view.refused <= shared_view.MAX_FILES


def test_c9_a_directory_that_cannot_be_written_is_said_and_nothing_else(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "file").write_text("in the way")
    one = Process(tmp_path / "file" / "breakers", "one")
    one.fails("a")
    one.tell()
    assert one.view is not None and "cannot be written" in one.view.problems()[0]
    one.hear(clock)
    assert one.gate.admit("b", {}) is not None


def test_c7_a_forked_child_leaves_its_parents_files_alone(two: tuple[Process, Process], tmp_path: Path, clock: Clock) -> None:
    one, _ = two
    one.fails("a")
    one.tell()
    (before,) = files(tmp_path)
    assert one.view is not None
    one.view.after_fork("child")
    one.tell()
    assert before in files(tmp_path) and len(files(tmp_path)) == 2
    clock.tick(12)
    one.settle("a", "success")
    one.tell()
    assert files(tmp_path) == [before]


@pytest.mark.parametrize(("mode", "expected"), [(0o700, (0o700, 0o600)), (0o2770, (0o2770, 0o640))])
def test_files_have_the_mode_of_the_applications_others(
    tmp_path: Path, clock: Clock, mode: int, expected: tuple[int, int]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(mode)
    one = Process(data / "breakers", "one")
    one.fails("a")
    one.tell()
    (file,) = (data / "breakers").iterdir()
    assert ((data / "breakers").stat().st_mode & 0o7777, file.stat().st_mode & 0o7777) == expected
    assert json.loads(file.read_text())["target"] == "a"


def test_what_was_left_behind_long_ago_is_taken_away(two: tuple[Process, Process], tmp_path: Path, clock: Clock) -> None:
    one, other = two
    one.fails("a")
    one.tell()
    (left,) = files(tmp_path)
    old_s = (clock.steady_us + clock.ahead_us) / US - 7200
    os.utime(left, (old_s, old_s))
    other.fails("b")
    other.tell()
    assert left not in files(tmp_path) and len(files(tmp_path)) == 1


def test_a_change_within_the_same_tick_of_the_kernel_is_not_missed(
    two: tuple[Process, Process], tmp_path: Path, clock: Clock
) -> None:
    """Two changes may leave the directory with the same time; the first look must not be the last."""
    one, other = two
    one.fails("a")
    one.tell()
    directory = tmp_path / "breakers"
    wall_us = clock.steady_us + clock.ahead_us
    os.utime(directory, ns=(wall_us * 1000, wall_us * 1000))
    other.hear(clock)
    one.fails("b")
    one.tell()
    os.utime(directory, ns=(wall_us * 1000, wall_us * 1000))
    other.hear(clock)
    assert other.state("b") == "half_open"


def test_the_document_of_an_outage_names_its_own_file(two: tuple[Process, Process], tmp_path: Path, clock: Clock) -> None:
    one, _ = two
    one.fails("a")
    one.tell()
    assert one.view is not None
    (outage,) = one.view._published.values()
    assert [(path.name, path.read_text()) for path in files(tmp_path)] == [(outage.file_name, encode_outage(outage))]


def test_a_write_that_failed_is_tried_again(
    two: tuple[Process, Process], tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full for a moment must not keep an outage from the others until its end."""
    one, other = two

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    one.fails("a")
    with monkeypatch.context() as patching:
        patching.setattr(shared_view, "write_whole", full)
        one.tell()
    assert one.view is not None
    assert (files(tmp_path), one.view.is_due) == ([], True)
    assert "No space left on device" in one.view.problems()[0]
    one.tell()
    assert (len(files(tmp_path)), one.view.problems(), one.view.is_due) == (1, [], False)
    other.hear(clock)
    assert other.state("a") == "half_open"


def test_an_idle_process_leaves_no_target_alone_when_its_outage_is_over(
    two: tuple[Process, Process], tmp_path: Path, clock: Clock
) -> None:
    one, other = two
    one.fails("a")
    one.tell()
    other.hear(clock)
    assert (other.state("a"), other.gate.is_calm()) == ("half_open", False)
    clock.tick(11)
    one.settle("a", "success")
    one.tell()
    assert files(tmp_path) == []
    other.hear(clock)
    assert (other.state("a"), other.gate.is_calm()) == ("closed", True)


@pytest.mark.parametrize("is_gone", [False, True], ids=["dead", "directory gone"])
def test_what_a_process_that_died_has_said_is_withdrawn(
    two: tuple[Process, Process], tmp_path: Path, clock: Clock, is_gone: bool
) -> None:
    one, other = two
    one.fails("a")
    one.tell()
    other.hear(clock)
    clock.tick(5 + SLACK_US / US)
    other.hear(clock)
    assert other.state("a") == "half_open"
    if is_gone:
        (tmp_path / "breakers").rename(tmp_path / "elsewhere")
    else:
        clock.tick(6)
    other.hear(clock)
    assert other.state("a") == "closed"


def test_one_process_that_is_well_again_does_not_speak_for_another(
    two: tuple[Process, Process], tmp_path: Path, clock: Clock
) -> None:
    one, other = two
    third = Process(tmp_path / "breakers", "third")
    for process in two:
        process.fails("a")
        process.tell()
    third.hear(clock)
    clock.tick(11)
    one.settle("a", "success")
    one.tell()
    third.hear(clock)
    assert (len(files(tmp_path)), third.state("a")) == (1, "half_open")
    other.settle("a", "success")
    other.tell()
    third.hear(clock)
    assert third.state("a") == "closed"


def test_an_outage_that_is_told_of_again_after_its_time_is_news_to_who_has_not_asked(
    two: tuple[Process, Process], clock: Clock
) -> None:
    one, other = two
    one.fails("a")
    one.tell()
    other.hear(clock)
    clock.tick(60)
    other.hear(clock)
    assert other.state("a") == "closed"
    one.settle("a", "failure")
    one.tell()
    other.hear(clock)
    assert other.state("a") == "half_open"


def test_b13_files_from_before_the_clock_went_back_are_ours_and_say_nothing(
    two: tuple[Process, Process], tmp_path: Path, clock: Clock
) -> None:
    one, other = two
    one.fails("a")
    one.tell()
    clock.ahead_us -= 7200 * US
    other.hear(clock)
    assert other.view is not None
    assert (other.state("a"), other.view.refused, other.view.problems()) == ("closed", 0, [])


def test_an_outage_is_not_missed_among_old_files(two: tuple[Process, Process], tmp_path: Path, clock: Clock) -> None:
    """Also one that comes last in the order of the directory, whatever that is: all of them are told of."""
    one, _ = two
    one.fails("a")
    one.tell()
    (told,) = files(tmp_path)
    for number in range(shared_view.MAX_FILES + 100):
        old = tmp_path / "breakers" / f"{number}.json"
        old.write_text("{}")
        os.utime(old, (1, 1))
    for number in range(20):  # the place of a file in its directory depends on its name
        name = f"one-{number}"
        late = Process(tmp_path / "breakers", f"late-{number}")
        assert late.view is not None
        outage = one.view._published["a"]._replace(process=name)  # type: ignore[union-attr]
        told.unlink()
        told = tmp_path / "breakers" / outage.file_name
        told.write_text(encode_outage(outage))
        late.hear(clock)
        assert late.state("a") == "half_open"


def test_a_file_is_read_once_and_again_when_it_has_changed(
    two: tuple[Process, Process], tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    opened: list[str] = []
    whole = shared_view.read_regular

    def read(path: Path, largest: int) -> str:
        opened.append(path.name)
        return whole(path, largest)

    monkeypatch.setattr(shared_view, "read_regular", read)
    one.fails("a")
    one.tell()
    (first,) = files(tmp_path)
    (tmp_path / "breakers" / "junk.json").write_text("{}")
    other.hear(clock)
    assert sorted(opened) == sorted([first.name, "junk.json"])
    one.fails("b")
    one.tell()
    other.hear(clock)
    assert len(opened) == 3 and other.view is not None and other.view.refused == 1
    assert (other.state("a"), other.state("b")) == ("half_open", "half_open")
    clock.tick(11)
    one.settle("a", "failure")
    one.tell()
    other.hear(clock)
    assert opened[3:] == [first.name]
    (tmp_path / "breakers" / "junk.json").unlink()
    other.hear(clock)
    assert other.view.refused == 0
