"""The bell: it only says "look", and nothing depends on it but how soon."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from store_tools import REPLY, SUMMARIZE, kill, put_switch, restore

from console.ops.installation import install
from console.runtime.snapshot import SnapshotHolder
from console.store.bell import SIZE, Listener, bell_of, ring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from console.core.switches import Scope
    from console.store.locations import Locations


@pytest.fixture
def holder(places: Locations) -> Iterator[SnapshotHolder]:
    install(places)
    made = SnapshotHolder(places)
    made.tick()
    yield made
    made.close()


def stopped(holder: SnapshotHolder) -> set[Scope]:
    return set(holder.current().switches)


def test_an_act_is_seen_by_the_very_next_call(places: Locations, holder: SnapshotHolder) -> None:
    for _ in range(20):
        kill(places, REPLY)
        assert stopped(holder) == {REPLY}
        restore(places, REPLY)
        assert stopped(holder) == set()


def test_a_call_between_acts_makes_no_system_call(
    places: Locations, holder: SnapshotHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill(places, REPLY)
    assert stopped(holder) == {REPLY}

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a system call on the path of a call")

    for name in ("pread", "open", "fstat", "stat", "access", "listdir"):
        monkeypatch.setattr(os, name, refuse)
    for _ in range(100):
        assert REPLY in holder.current().switches
    monkeypatch.undo()


def test_a_commit_that_could_not_ring_is_noticed_by_the_watcher(
    places: Locations, holder: SnapshotHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("console.store.sqlite.control.ring", full)
    put_switch(places, REPLY)
    assert stopped(holder) == set(), "nobody has told, and no call looks by itself"
    holder.tick()
    assert stopped(holder) == {REPLY}


def test_a_bell_that_was_removed_and_one_that_was_made_anew_are_followed(places: Locations, holder: SnapshotHolder) -> None:
    bell_of(places.control).unlink()
    holder.tick()
    kill(places, REPLY)
    assert stopped(holder) == {REPLY}, "without a bell every call looks"
    holder.tick()
    kill(places, SUMMARIZE)
    assert stopped(holder) == {REPLY, SUMMARIZE}


@pytest.mark.parametrize("harm", ["short", "link", "missing"])
def test_a_bell_that_cannot_be_trusted_is_not_listened_to(places: Locations, harm: str) -> None:
    install(places)
    bell = bell_of(places.control)
    bell.unlink()
    if harm == "short":
        bell.write_bytes(b"x" * 8)
    elif harm == "link":
        other = places.data / "elsewhere"
        other.write_bytes(bytes(SIZE))
        bell.symlink_to(other)
    listener = Listener(places.control)
    listener.follow()
    assert listener.value() is None


def test_while_a_reading_fails_the_bell_does_not_hide_that_a_new_one_is_due(places: Locations, holder: SnapshotHolder) -> None:
    kill(places, REPLY)
    assert stopped(holder) == {REPLY}
    whole = places.control.read_bytes()
    places.control.write_bytes(b"garbage, and longer than a page of it. " * 200)
    holder.tick()
    assert holder.current().source == "stale"
    ring(places.control, 1)
    assert stopped(holder) == {REPLY}
    places.control.write_bytes(whole)
    kill(places, SUMMARIZE)
    assert stopped(holder) == {REPLY, SUMMARIZE}
